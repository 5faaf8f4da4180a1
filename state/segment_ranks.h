/*
 * segment_ranks.h - spend of twelve months by customer in Redis, in order: what the threshold would be now.
 * Shape:  a sorted set ll:{r<run>.segments}:monetary (member customer_id, score minor units; only spends above 0) and, beside it, a
 *         mark: which claim wrote it, and after which commit. A mark that is not the writer's own means that Redis was
 *         emptied, fell back or belongs to another owner: the set is built again, whole. Nothing is decided from it.
 *         A score is exact up to 2^53 minor units.
 * Errors: STORE_GAP: the mark is another one. STORE_DOWN: no answer.
 */
#pragma once

#include "runtime/config.h"
#include "runtime/err.h"
#include "runtime/text.h"
#include "state/ledger.h"

#include <stddef.h>
#include <stdint.h>

struct segment_ranks;

struct segment_rank {
    struct text customer_id;
    int64_t spend_minor;
};

void segment_ranks_open(const struct config *config, struct segment_ranks **ret); /* does not connect */
void segment_ranks_close(struct segment_ranks *ranks);
enum store_reply segment_ranks_reset(struct segment_ranks *ranks, struct ll_err *err);
enum store_reply segment_ranks_put(struct segment_ranks *ranks, const struct segment_rank *list, size_t count,
                                   struct ll_err *err);
enum store_reply segment_ranks_check(struct segment_ranks *ranks, int64_t epoch, int64_t commit,
                                     struct ll_err *err);
enum store_reply segment_ranks_mark(struct segment_ranks *ranks, int64_t epoch, int64_t commit,
                                    struct ll_err *err);

/* For tools: how many there are, and the k-th largest spend, k by segment.high_spender_percent. *ret_count -1: there is no set. */
enum ll_status segment_ranks_read(const struct config *config, int64_t *ret_count,
                                  int64_t *ret_threshold_minor, struct ll_err *err);
