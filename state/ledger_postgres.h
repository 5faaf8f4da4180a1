/*
 * ledger_postgres.h - what the files ledger_*.c share: the store behind the seam of ledger.h.
 * Shape:  a connection for claims and everything that is read, and lanes on which a flush may be under way meanwhile.
 *         ledger_claim.c, ledger_read.c and ledger_flush.c (over ledger_lane.c) fill one part of the table each.
 */
#pragma once

#include "state/ledger.h"
#include "state/postgres_link.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Every session of an owner has this application_name; a claim ends no other program's session. */
#define LEDGER_APPLICATION "lens-ledger"

/* In this order; a stage without anything to do is passed over. */
enum flush_stage {
    FLUSH_NONE,
    FLUSH_GUARD,    /* begin; (epoch, next_offset) compared and set */
    FLUSH_POSTINGS, /* copy, a part at a time: each has its own table */
    FLUSH_OPEN,     /* likewise: copy of accounts that have no row yet */
    FLUSH_UPDATE,   /* likewise: accounts that have one, a chunk at a time */
    FLUSH_DEAD,     /* copy */
    FLUSH_HELD,     /* copy */
    FLUSH_RELEASE,  /* delete what is held no longer */
    FLUSH_COMMIT,
    FLUSH_ROLLBACK, /* a part was not ours */
};

/* One transaction of a flush, for neighbouring parts, on a connection of its own. */
struct ledger_lane {
    const struct config *config;
    struct postgres_link link;
    enum flush_stage stage;
    struct ledger_part *parts; /* the caller's, until the flush is over */
    size_t count;
    bool feeding;              /* the server takes COPY data now */
    bool headed, ended;        /* of that data: the header was sent, the trailer was sent */
    bool for_write;            /* it waits until the socket takes more */
    size_t part, item;         /* how far a stage has come: part, and row or byte in it */
    struct row_buffer scratch; /* rows of a slice, or a statement */
    struct row_buffer arrays[7];
    int64_t expected, named; /* rows that the stage's command must name, and that it named */
    int64_t heard_ms;        /* steady time of the last sign of life */
};

enum { LEDGER_LANES = 4 };

struct ledger_postgres {
    struct config config;
    char read_settings[320], write_settings[320];
    struct postgres_link reads;
    struct ledger_lane lanes[LEDGER_LANES];
    struct ledger_part *parts; /* of the flush under way; NULL: none */
    size_t part_count;
    struct row_buffer sql; /* of reads */
    struct row_buffer found; /* postings of one lookup: given only when all are there */
};

int64_t ledger_now_ms(void);
/* Silence that a live process bears. */
static inline int64_t ledger_patience_ms(const struct ledger_postgres *store)
{
    return POSTGRES_PATIENCE * store->config.postgres.timeout_ms;
}

/* Statements with many numbers in them: appended to buffer, which stays NUL-terminated. */
void ledger_say(struct row_buffer *sql, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* '{1,-2,3}'::int8[] */
void ledger_say_array(struct row_buffer *sql, const int64_t *values, size_t count);

enum store_reply ledger_claim(void *self, int32_t partition, int64_t wall_ms, struct ledger_claim *ret,
                              struct ll_err *err);

enum store_reply ledger_load(void *self, const struct ledger_mark *mark, int64_t identities_max,
                             int64_t accounts_max, const struct ledger_loader *to,
                             bool *ret_identities_complete, bool *ret_accounts_complete, struct ll_err *err);
enum store_reply ledger_accounts(void *self, const struct ledger_mark *mark, ledger_balance_fn *each,
                                 void *arg, struct ll_err *err);
enum store_reply ledger_find(void *self, const struct ledger_view *view, const int64_t *identities,
                             size_t identity_count, const int64_t *sales, size_t sale_count,
                             ledger_posting_fn *each, void *arg, struct ll_err *err);
enum store_reply ledger_balances(void *self, const struct ledger_view *view, const struct text *customers,
                                 size_t count, ledger_balance_fn *each, void *arg, struct ll_err *err);

enum store_reply ledger_flush_begin(void *self, struct ledger_part *parts, size_t count, struct ll_err *err);
enum store_reply ledger_flush_poll(void *self, int timeout_ms, struct ll_err *err);
void ledger_flush_abandon(void *self);

enum { LANE_FEED_SIZE_MAX = 4 * 1024 * 1024 }; /* given to libpq in one flush_poll at most: the loop wants its turn */
/* Connects when needed, and sends the guard. */
enum store_reply ledger_lane_begin(struct ledger_lane *lane, struct ledger_part *parts, size_t count,
                                   struct ll_err *err);
/* As far as it goes without waiting; *fed grows by what libpq took. STORE_BUSY: it waits for the server. STORE_OK: committed.
 * STORE_NOT_MINE: rolled back, and the parts say which. */
enum store_reply ledger_lane_advance(struct ledger_lane *lane, size_t *fed, struct ll_err *err);
const char *ledger_lane_doing(const struct ledger_lane *lane);
void ledger_lane_done(struct ledger_lane *lane);

/* ledger_rows.c: rows of the other tables, as posting_write does it. */
extern const char dead_columns[], held_columns[], account_columns[];
void dead_write(struct row_buffer *buffer, int32_t run, int32_t partition, const struct kept_record *record);
void held_write(struct row_buffer *buffer, int32_t run, int32_t partition, const struct kept_record *record);
bool held_read(const char *bytes, size_t size, struct kept_record *ret);
void account_write(struct row_buffer *buffer, int32_t run, int32_t partition,
                   const struct ledger_account *account);

/* One-dimensional arrays as binary parameters: begin, put elements, end. */
enum { OID_INT8 = 20, OID_INT4 = 23, OID_TEXT = 25, OID_TIME = 1184 };
enum { OID_INT4_ARRAY = 1007, OID_TEXT_ARRAY = 1009, OID_INT8_ARRAY = 1016, OID_TIME_ARRAY = 1185 };
void array_begin(struct row_buffer *buffer, uint32_t element_type);
void array_add_int4(struct row_buffer *buffer, int32_t value);
void array_add_int8(struct row_buffer *buffer, int64_t value);
void array_add_time(struct row_buffer *buffer, int64_t time_ms);
void array_add_text(struct row_buffer *buffer, struct text text);
void array_end(struct row_buffer *buffer);
/* As the next parameter. */
void postgres_params_add(struct postgres_params *params, Oid type, const struct row_buffer *value);
