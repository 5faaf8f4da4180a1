/*
 * bench_load.h - many plain sales at full speed (or at a steady rate) onto the topics, for `lens bench`.
 * Shape:  sales of 3 lines and about 150 bytes, customers uniform, one in ten anonymous, nothing wrong with
 *         any of them; source "bench", no references. Onto transactions, or, already judged, onto
 *         transactions.valid (a RULES record of version 1 goes first into every partition). Keys and
 *         partitions are those of every other writer.
 */
#pragma once

#include "runtime/config.h"
#include "runtime/err.h"

#include <stdbool.h>
#include <stdint.h>

struct bench_truth {
    int64_t events, anonymous;
    int64_t net_minor;         /* of all */
    int64_t points;            /* of the identified ones, by the default rule set */
    int64_t value_size;        /* bytes of all values */
    int64_t elapsed_ms;        /* until the last was acknowledged */
    int64_t first_ms, last_ms; /* wall clock when the first and the last were handed over */
};

/* Returns when all are acknowledged. rate_per_s 0: full speed. Another seed gives other transaction ids. */
enum ll_status bench_load(const struct config *config, int64_t events, uint64_t seed, int64_t customers,
                          bool valid, int64_t rate_per_s, struct bench_truth *ret, struct ll_err *err);
