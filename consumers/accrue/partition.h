/*
 * partition.h - all that the owner of one partition of transactions.valid remembers; gone with it, loaded again at a claim.
 * Shape:  everything in here is a function of the partition's log up to `next`: what Postgres holds up to flushed_next, and
 *         what two pendings add. No wall clock, nothing of another topic.
 * Source: DESIGN 5.
 */
#pragma once

#include "consumers/accrue/accounts.h"
#include "consumers/accrue/held.h"
#include "consumers/accrue/identities.h"
#include "consumers/accrue/pending.h"
#include "consumers/accrue/sales.h"
#include "state/ledger.h"

#include <stdbool.h>
#include <stdint.h>

/* An accepted event with an identity that a batch asks for, as the ledger has it. */
struct prior {
    int64_t identity_hash, content_hash;
    enum transaction_type type;
    struct text source, transaction_id;
};

struct partition {
    int32_t number;
    int64_t epoch;
    int64_t next;          /* decided up to here */
    int64_t flushed_next;  /* Postgres holds up to here */
    int64_t clock_ms;      /* highest record timestamp seen */
    int32_t rules_version; /* highest version announced */
    struct ledger_counts counts;

    struct identities identities;
    struct accounts accounts;
    struct held_list held;
    struct sales sales;
    struct pending pendings[2];
    struct pending *filling;
    struct pending *flying; /* NULL: no flush is under way */
    uint32_t flush_number;

    /* What Redis has not been sent: accounts named by the records from told_next on. */
    int64_t told_next;
    uint32_t telling; /* from 1: a new account has 0 and was never named */
    uint32_t *named;  /* indices of accounts.list */
    size_t named_count, named_capacity;
    /* Of the batch under way: what the ledger says about its identities. */
    struct prior *priors;
    size_t prior_count, prior_capacity;
    struct arena prior_texts;
};

/* identities_max, see identities_init. Stands for an empty log at offset 0. */
void partition_init(struct partition *partition, int32_t number, int64_t identities_max);
void partition_done(struct partition *partition);

/* Takes what a claim returned: the log up to claim->next_offset is in Postgres. */
void partition_claimed(struct partition *partition, const struct ledger_claim *claim);
/* Loads memory through ledger->load. */
enum store_reply partition_load(struct partition *partition, struct ledger *ledger, int64_t identities_max,
                                int64_t accounts_max, struct ll_err *err);

/* Begins a batch: nothing is known of what the ledger holds. */
void partition_begin_batch(struct partition *partition);
/* Redis was sent all below next: nothing is named any more. */
void partition_told(struct partition *partition);
/* The account, named for Redis (added if it is new). hash is accounts_hash(customer_id). */
struct account *partition_name(struct partition *partition, struct text customer_id, uint64_t hash);
/* Keeps a posting that the ledger found for this batch; texts are copied. Postings at or behind flushed_next are left out:
 * they are still pending here. */
void partition_take_prior(struct partition *partition, const struct posting *posting);

/* Hands the filling pending to the flush; the other one fills from now on. No flush may be under way. */
void partition_fly(struct partition *partition);
/* The flush came back committed. */
void partition_landed(struct partition *partition);
/* No flush is under way, and the next one will not be large: frees what the last ones have needed. */
void partition_rest(struct partition *partition);
/* The part of a flush that partition->flying makes, the same however often it is asked for. Its memory is the
 * partition's. */
void partition_part(struct partition *partition, struct ledger_part *ret);

/* Calls for each posting that is pending and was caused by the record at offset. */
void partition_pending_at(const struct partition *partition, int64_t offset, struct posting_line *lines,
                          struct posting_rule *rules, ledger_posting_fn *each, void *arg);
