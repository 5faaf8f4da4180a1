/*
 * fold.h - transactions.valid through the decision code, from nothing, one partition at a time, row by row.
 * Shape:  fold_begin puts it at a partition's beginning; fold_next gives the rows that its log causes, in order of (offset, seq); at the
 *         end fold_state tells what is left: counts, clock, held returns. Rows below the batch that is being decided are looked
 *         up in the ledger, as accrue does: whoever compares row by row has found them equal by then.
 * Errors: LL_RETRY: Kafka or Postgres does not answer. LL_FATAL: the log cannot be read from its beginning.
 */
#pragma once

#include "consumers/accrue/decide.h"
#include "consumers/accrue/partition.h"
#include "consumers/accrue/rulebook.h"
#include "ops/lens.h"
#include "ops/line.h"
#include "runtime/topics.h"
#include "state/postgres.h"

#include <stdbool.h>
#include <stdint.h>

struct fold;

/* What accrue refused, by the fold. */
struct fold_dead {
    int64_t offset, event_offset;
    int32_t seq;
    uint64_t codes;
};

/* codec and topics are borrowed for the fold's life. Reads the rule sets through postgres. */
enum ll_status fold_new(struct lens *lens, const struct topics *topics, struct codec *codec,
                        struct postgres *postgres, struct fold **ret, struct ll_err *err);
void fold_free(struct fold *fold);

/* Records below upto are folded. ends: of all partitions of transactions.valid. */
enum ll_status fold_begin(struct fold *fold, int32_t partition, const struct line_part *ends, int64_t upto,
                          struct ll_err *err);
/* Offsets, ascending, that are refused unread, as accrue has refused them: they killed it. Borrowed until fold_begin is called
 * again. */
void fold_condemn(struct fold *fold, const int64_t *offsets, size_t count);
/* *ret is valid until the next call; *ret_found false: there are no more. */
enum ll_status fold_next(struct fold *fold, struct posting *ret, bool *ret_found, struct ll_err *err);
const struct partition *fold_state(const struct fold *fold);
const struct fold_dead *fold_refused(const struct fold *fold, size_t *ret_count);
const struct rulebook *fold_rules(const struct fold *fold);
