/*
 * segments_one.h - one customer's standing with its reasons: what `lens explain segment` tells and `lens customer` shows.
 * Shape:  one JSON object holds all of it (facts, memberships with since and reason, thresholds, the potential's contributions
 *         with their inputs, and "why": a paragraph); the texts are made of that object. The potential is reckoned anew
 *         from the kept state by the rules of consumers/segment, so that its inputs can be shown.
 */
#pragma once

#include "ops/lens.h"
#include "state/postgres.h"

/* *ret NULL: segment knows nothing of the customer. The caller owns it. */
enum ll_status segments_one_read(struct lens *lens, struct postgres *postgres, const char *customer_id, json_t **ret,
                                 struct ll_err *err);
/* The lines for people: standing, contributions. */
void segments_one_print(struct lens *lens, const json_t *one, int indent);
/* `lens explain segment ID`. */
int segments_one_explain(struct lens *lens, const char *customer_id);
