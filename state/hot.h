/*
 * hot.h - the seam to the hot store (Redis): the balances that tills read, guarded by (epoch, next_offset) per partition.
 * Shape:  hot_redis.c fills the table with calls of the function library lens.lua; tests/sim fills it in memory. Offsets and
 *         epochs travel as decimal strings and are compared as strings: Lua's numbers break at 2^53.
 * Errors: STORE_NOT_MINE: a higher epoch is stored, the caller is fenced. STORE_GAP: the epoch or next_offset stored is not
 *         the caller's, or there is none: rebuild. STORE_DOWN: unknown whether it was done; applying again is harmless,
 *         since balances are absolute.
 */
#pragma once

#include "runtime/config.h"
#include "runtime/err.h"
#include "runtime/text.h"
#include "state/ledger.h"

#include <stddef.h>
#include <stdint.h>

struct hot_balance {
    struct text customer_id;
    int64_t points; /* absolute */
};

/* One partition's batch: if (epoch, next_offset) stored are (epoch, first): balances set, next_offset = next. */
struct hot_batch {
    int32_t partition;
    int64_t epoch, first, next;
    const struct hot_balance *balances;
    size_t count;
    enum store_reply reply; /* set by collect */
};

struct hot_ops {
    /* Stores the epoch unless a higher one is stored. *ret_next: what was stored (-1: none). A stored next at or above
     * `next` is set to `next`; one below, or none, is left: the caller rebuilds. */
    enum store_reply (*claim)(void *self, int32_t partition, int64_t epoch, int64_t next, int64_t *ret_next,
                              struct ll_err *err);
    /* Sends all batches in one write, and returns; collect waits for the replies. Memory of the batches stays until then. */
    enum store_reply (*apply)(void *self, struct hot_batch *batches, size_t count, struct ll_err *err);
    enum store_reply (*collect)(void *self, struct ll_err *err);
    /* Rebuild: reset, then chunks numbered from 0, then finish with the number of chunks. */
    enum store_reply (*reset)(void *self, int32_t partition, int64_t epoch, int64_t token, struct ll_err *err);
    enum store_reply (*load)(void *self, int32_t partition, int64_t epoch, int64_t token, int64_t chunk,
                             const struct hot_balance *balances, size_t count, struct ll_err *err);
    enum store_reply (*finish)(void *self, int32_t partition, int64_t epoch, int64_t token, int64_t chunks,
                               int64_t next, struct ll_err *err);
    void (*close)(void *self);
};

struct hot {
    const struct hot_ops *ops;
    void *self;
};

/* Does not connect; the first call does (function library loaded, maxmemory-policy checked), and again after STORE_DOWN. */
enum ll_status hot_redis_open(const struct config *config, struct hot *ret, struct ll_err *err);
