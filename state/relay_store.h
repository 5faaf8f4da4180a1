/*
 * relay_store.h - the relay's seam to Postgres: what is committed there and not in Kafka yet.
 * Shape:  relay_postgres.c fills the table; tests/sim fills it in memory. Postings and refused records of a partition come
 *         merged in the order of (offset, seq).
 * Errors: enum store_reply, of which STORE_OK, STORE_DOWN and STORE_BROKEN occur; err has words unless STORE_OK.
 */
#pragma once

#include "runtime/config.h"
#include "runtime/err.h"
#include "state/ledger.h"
#include "state/posting.h"

#include <stddef.h>
#include <stdint.h>

struct relay_mark {
    int32_t partition;
    int64_t next_offset;  /* every row below it is committed; 0: the partition was never claimed */
    int64_t relayed_upto; /* what set_relayed said last */
};

/* One of the two is there. Valid during the call only. */
struct relay_row {
    const struct posting *posting;
    const struct kept_record *dead;
};
typedef void relay_row_fn(void *arg, const struct relay_row *row);

struct relay_slice {
    int64_t upto;        /* every row below this offset was given: an offset's rows all, or none */
    int64_t next_offset; /* as Postgres had it in the same snapshot */
    int64_t clock_ms;    /* the partition's clock at next_offset */
};

struct relay_store_ops {
    /* One question for all of them. */
    enum store_reply (*marks)(void *self, struct relay_mark *marks, size_t count, struct ll_err *err);
    /* The rows at or above from, in one snapshot: about limit of them, but all those of the last offset. */
    enum store_reply (*rows)(void *self, int32_t partition, int64_t from, int64_t limit, relay_row_fn *each, void *arg,
                             struct relay_slice *ret, struct ll_err *err);
    /* Advisory: how far they have been relayed. Only ever rises; a partition whose row is locked now is left out. */
    enum store_reply (*set_relayed)(void *self, const struct relay_mark *marks, size_t count, struct ll_err *err);
    void (*close)(void *self);
};

struct relay_store {
    const struct relay_store_ops *ops;
    void *self;
};

/* Does not connect; the first call does, and every call reconnects after STORE_DOWN. */
void relay_postgres_open(const struct config *config, struct relay_store *ret);
