/*
 * report_standing.h - what `lens report` says of segments, tiers and letters.
 * Shape:  one object, built by Postgres. segments.report, the stream's own: as_of, high_spender {base, k, threshold_minor,
 *         members}, at_risk, tiers, segments, changes (the last of each reason); segments.batch_report, of any day: the same
 *         without changes. Then letters by state, and letters_held by reason.
 * Units:  _minor is int64 minor units; the rest are customers or letters.
 */
#pragma once

#include "ops/lens.h"
#include "state/postgres.h"

/* as_of: "YYYY-MM-DD", or NULL for where the stream is. The caller frees *ret. */
enum ll_status report_standing_read(const struct lens *lens, struct postgres *postgres, const char *as_of,
                                    json_t **ret, struct ll_err *err);
/* The settings of segment that the batch functions know, as JSON. */
void report_batch_settings(const struct config *config, char *to, size_t size);
void report_standing_print(const struct lens *lens, const json_t *standing);
