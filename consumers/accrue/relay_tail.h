/*
 * relay_tail.h - where the relay stands by what lies in its topics, for a group whose offsets are gone.
 * Shape:  offsets of a group expire some days after its last member left. What the relay committed tells the same: behind the
 *         highest offset whose rows are in ledger or dead-letter. Read from the end backwards, only when it is needed.
 * Errors: LL_RETRY also while a transaction is open below the log's end: what lies behind it cannot be seen yet.
 * Source: DESIGN 5.10.
 */
#pragma once

#include "consumers/accrue/relay_record.h"
#include "runtime/config.h"
#include "runtime/topics.h"

#include <stdint.h>

struct relay_tail {
    const struct config *config; /* kept */
    const struct topics *topics; /* kept */
    struct relay_record_maker *maker; /* kept */
};

/* arg is a struct relay_tail (relay_needs.find_end). *ret_progress 0: neither topic has a row of the partition. */
enum ll_status relay_tail_find(void *arg, int32_t partition, int64_t *ret_progress, struct ll_err *err);
