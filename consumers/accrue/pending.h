/*
 * pending.h - what a partition has decided and not yet committed: the part of the next flush, gathered as it will be sent.
 * Shape:  postings lie encoded as the flush sends them, with an index by offset, since a duplicate or a return may ask for a
 *         row that Postgres does not have yet. A partition has two: one that fills, one that flies.
 * Source: DESIGN 5.3.
 */
#pragma once

#include "consumers/accrue/accounts.h"
#include "schemas/arena.h"
#include "state/ledger.h"
#include "state/posting.h"

#include <stddef.h>
#include <stdint.h>

struct pending {
    int64_t first; /* where Postgres must stand for this to be taken */
    /* As they were when it was handed to the flush (partition_fly). */
    int64_t next, clock_ms;
    int32_t rules_version;
    struct ledger_counts counts;

    int64_t events;
    struct row_buffer postings;
    struct pending_row {
        int64_t offset;
        size_t at;
    } *rows; /* ascending by offset */
    size_t row_count, row_capacity;
    struct kept_record *dead, *held;
    size_t dead_count, dead_capacity, held_count, held_capacity;
    int64_t *released;
    size_t released_count, released_capacity;
    struct ledger_account *accounts;
    uint32_t *account_at; /* its index in struct accounts */
    size_t account_count, account_capacity;
    struct arena bytes; /* of dead and held */
    uint32_t flush;     /* its number: account->flush == flush means that account->flush_at is an index in accounts */
};

void pending_init(struct pending *pending);
void pending_done(struct pending *pending);
/* Empty, keeping the memory; flush is a number not used before in this partition. */
void pending_clear(struct pending *pending, int64_t first, uint32_t flush);

/* Adds the row and its effect on the account (NULL: nobody's). */
void pending_post(struct pending *pending, const struct posting *posting, struct accounts *accounts,
                  struct account *account);
/* Copies everything the record's texts point at. */
void pending_kill(struct pending *pending, const struct kept_record *record);
void pending_hold(struct pending *pending, const struct kept_record *record);
void pending_release(struct pending *pending, int64_t held_offset);

/* Index of the first row caused by a record at or behind offset; row_count if none. */
size_t pending_lower_bound(const struct pending *pending, int64_t offset);
/* Bytes that the flush will send, about. */
size_t pending_size(const struct pending *pending);
