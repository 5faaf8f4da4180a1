/*
 * ledger.h - the seam to the authority: the ledger store (Postgres), one call per sentence of DESIGN 5.
 * Shape:  ledger_postgres.c fills the table; tests/sim fills it in memory. Per partition the store keeps (epoch,
 *         next_offset) beside the rows, changed in the same transaction.
 * Errors: enum store_reply. err has words whenever the reply is not STORE_OK or STORE_BUSY.
 */
#pragma once

#include "runtime/config.h"
#include "runtime/err.h"
#include "runtime/text.h"
#include "schemas/event.h"
#include "state/posting.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum store_reply {
    STORE_OK,
    STORE_BUSY,     /* not finished yet: ask again */
    STORE_NOT_MINE, /* epoch or next_offset are not what the caller believes: doubt */
    STORE_GAP,      /* Redis stands elsewhere, or has lost its data: rebuild it */
    STORE_DOWN,     /* no answer, or none that tells whether it was done: back off, doubt, claim again */
    STORE_BROKEN,   /* can never work (schema, permission, a bug): stop */
};

struct ledger_counts {
    int64_t read, credited, duplicate, dead, held, control; /* held: now held; read = sum of the others */
};

struct ledger_claim {
    int64_t epoch, next_offset, clock_ms;
    int32_t rules_version;
    struct ledger_counts counts;
};

struct ledger_mark {
    int32_t partition;
    int64_t epoch, next_offset;
};

/* What must hold in the snapshot that a lookup reads: a store that has fallen back to an older state must not answer for the
 * one that memory was loaded from. */
struct ledger_view {
    int32_t partition;
    int64_t epoch; /* -1: whoever owns it, wherever it stands (tools) */
    int64_t next_offset;
    int64_t next_offset_too; /* the flush under way may be in already; without one, the same */
};

/* A record kept whole: refused, or held. Everything that is needed to publish it again. */
struct kept_record {
    int64_t offset; /* of the record that caused the row (dead), or of the record itself (held) */
    int32_t seq;    /* dead only */
    int64_t event_offset;
    int64_t timestamp_ms;
    int64_t since_ms;      /* held: the log's clock when it was held. dead: when it was refused */
    int64_t identity_hash; /* 0: it could not be decoded */
    int64_t content_hash;
    int64_t sale_hash; /* held: what it waits for */
    struct text source, transaction_id; /* nullable */
    uint64_t codes;        /* dead */
    struct text message;   /* dead: in words */
    struct text key, value; /* nullable, untouched */
    struct text headers;   /* as bus headers: (u32 size, name, u32 size or -1, value) repeated, big-endian; may be null */
    struct text raw_topic;
    int32_t raw_partition;
    int64_t raw_offset;
};

/* What one flush does to an account: differences, since the row changes under the same guard. */
struct ledger_account {
    struct text customer_id;
    bool known; /* it has a row already */
    int64_t points_delta, earned_delta, reversed_delta; /* points = earned - reversed */
    int64_t net_delta_minor;
    int64_t postings_delta;
    int64_t last_event_ms; /* highest event time among the flush's rows */
};

/* One partition's part of a flush. All memory is the caller's and stays untouched until flush_poll says done. */
struct ledger_part {
    int32_t partition;
    int64_t epoch, first_offset; /* compared */
    int64_t next_offset, clock_ms; /* set */
    int32_t rules_version;
    struct ledger_counts counts; /* absolute, after this part */
    const struct row_buffer *postings;
    const struct kept_record *dead;
    size_t dead_count;
    const struct kept_record *held; /* newly held */
    size_t held_count;
    const int64_t *released; /* offsets of held records that are held no longer */
    size_t released_count;
    const struct ledger_account *accounts;
    size_t account_count;
    enum store_reply reply; /* set by flush_poll: STORE_OK, or STORE_NOT_MINE for the part that stopped the flush */
};

/* Where load puts what it reads. arg is passed through. Texts are valid during the call only. */
struct ledger_loader {
    void *arg;
    void (*identity)(void *arg, int64_t identity_hash, int64_t event_offset, int64_t posted_at_ms);
    void (*account)(void *arg, struct text customer_id, int64_t points);
    void (*held)(void *arg, const struct kept_record *record);
};

typedef void ledger_posting_fn(void *arg, const struct posting *posting);
typedef void ledger_balance_fn(void *arg, struct text customer_id, int64_t points);

struct ledger_ops {
    /* Creates the partition's row if there is none. epoch = max(epoch + 1, wall_ms). Ends the database session of an owner
     * that hangs in the middle of a flush and so holds the row's lock. */
    enum store_reply (*claim)(void *self, int32_t partition, int64_t wall_ms, struct ledger_claim *ret,
                              struct ll_err *err);
    /* All held records, the ledger's newest identities (newest first, at most identities_max), the accounts (none at all when
     * there are more than accounts_max), in one snapshot in which mark must hold. *ret_..._complete: nothing was left out. */
    enum store_reply (*load)(void *self, const struct ledger_mark *mark, int64_t identities_max, int64_t accounts_max,
                             const struct ledger_loader *to, bool *ret_identities_complete,
                             bool *ret_accounts_complete, struct ll_err *err);
    /* All accounts of the partition in one snapshot in which mark must hold: for a rebuild of Redis. */
    enum store_reply (*accounts)(void *self, const struct ledger_mark *mark, ledger_balance_fn *each, void *arg,
                                 struct ll_err *err);
    /* Every posting of the partition whose identity_hash is among identities or sales, or whose sale_hash is among sales:
     * ascending by (offset, seq), so that a sale comes before its returns. The same row may come again right behind. All are
     * given, or, with any reply but STORE_OK, none: a sale that is known without its returns would be believed. */
    enum store_reply (*find)(void *self, const struct ledger_view *view, const int64_t *identities, size_t identity_count,
                             const int64_t *sales, size_t sale_count, ledger_posting_fn *each, void *arg,
                             struct ll_err *err);
    /* Balances of those customers that have an account in the partition. */
    enum store_reply (*balances)(void *self, const struct ledger_view *view, const struct text *customers, size_t count,
                                 ledger_balance_fn *each, void *arg, struct ll_err *err);
    /* The document of a rule set; malloc'd, the caller frees. STORE_DOWN, too: there is no
     * such version; where Postgres has fallen back to an older state, it must be published again. */
    enum store_reply (*rules)(void *self, int32_t version, char **ret_document, int64_t *ret_effective_from_ms,
                              struct ll_err *err);
    /* Starts the writing of all parts and returns at once: each part with its watermark is written whole or not at all. One flush
     * at a time. */
    enum store_reply (*flush_begin)(void *self, struct ledger_part *parts, size_t count, struct ll_err *err);
    /* Moves the flush on; waits at most timeout_ms. STORE_OK: committed. STORE_NOT_MINE: nothing was done, and each such
     * part says so. STORE_DOWN: unknown which parts were done. */
    enum store_reply (*flush_poll)(void *self, int timeout_ms, struct ll_err *err);
    /* Forgets the flush under way, if there is one, and with it the parts' memory; whether it was done stays unknown. */
    void (*flush_abandon)(void *self);
    /* Reads (epoch, next_offset) of the partitions named in marks into marks. */
    enum store_reply (*marks)(void *self, struct ledger_mark *marks, size_t count, struct ll_err *err);
    void (*close)(void *self);
};

struct ledger {
    const struct ledger_ops *ops;
    void *self;
};

/* Does not connect; the first call does, and every call reconnects after STORE_DOWN. */
enum ll_status ledger_postgres_open(const struct config *config, struct ledger *ret, struct ll_err *err);
