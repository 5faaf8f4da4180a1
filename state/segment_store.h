/*
 * segment_store.h - segment's seam to Postgres: standing, thresholds, changes and input offsets, changed together.
 * Shape:  segment_postgres.c fills the table; tests fill it in memory. One process owns a run at a time: it holds a lock for as
 *         long as its session lives, and every commit names the epoch of its claim. Rows are collected in COPY BINARY form by
 *         the writers below and committed as they are.
 * Errors: enum store_reply. STORE_BUSY from claim: another process owns the run. STORE_NOT_MINE: the epoch has risen. STORE_DOWN:
 *         unknown whether it was done: forget everything, claim again.
 */
#pragma once

#include "runtime/config.h"
#include "runtime/err.h"
#include "runtime/text.h"
#include "schemas/event.h"
#include "state/ledger.h"
#include "state/posting.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { SEGMENT_CUTS = 4, SEGMENT_SETTINGS_SIZE = 256 };

struct segment_owner {
    int64_t epoch;
    bool has_day;
    int32_t day; /* that is reckoned with */
    bool is_closed;
    int32_t threshold_version;
    int64_t next_change, relayed_upto;
    char settings[SEGMENT_SETTINGS_SIZE];
};

/* The input of one partition of ledger. */
struct segment_part {
    int32_t partition;
    int64_t next_offset; /* of the topic ledger */
    int64_t row_offset;  /* (row_offset, row_seq): the last row that is in; -1: none */
    int32_t row_seq;
    int64_t clock_ms;
    bool has_day;
    int32_t clock_day;
    int32_t quiet_ticks;
    int64_t rows, ticks, repeated, anonymous;
};

/* A row of segments.thresholds. */
struct segment_threshold {
    int32_t version, day;
    int64_t customers, rated, base, k, members, threshold_minor;
    int32_t r_cuts[SEGMENT_CUTS], f_cuts[SEGMENT_CUTS];
    int64_t m_cuts[SEGMENT_CUTS];
    int64_t median_balance;
    int32_t categories;
    int64_t decided_ms;
    const int64_t *offsets; /* per partition; not loaded */
    size_t offset_count;
};

/* A row of segments.customer_standing. */
struct segment_standing {
    struct text customer_id;
    int32_t day, threshold_version;
    struct segment_snapshot snapshot;
    int64_t tier_points;
    bool high_spender, at_risk;
    int32_t clv_thousandths[4];
    bool has_last_day, has_first_day;
    int32_t last_day, first_day;
    int64_t change_count;
    struct text state;
};

struct segment_commit {
    const struct segment_owner *owner; /* as it is to be; its epoch is the claim's */
    const struct segment_part *parts;
    size_t part_count;
    const struct row_buffer *standing, *newcomers; /* of customers that have a row, and that have none yet */
    const struct row_buffer *thresholds, *changes;
    const struct text *categories; /* newly sold */
    size_t category_count;
};

struct segment_loader {
    void *arg;
    void (*threshold)(void *arg,
                      const struct segment_threshold *threshold); /* the last one; not called without */
    void (*category)(void *arg, struct text name);
    bool (*standing)(void *arg, struct text customer_id, struct text state); /* false: not of our form */
};
typedef void segment_change_row_fn(void *arg, int64_t change_no, const struct segment_change *change);

struct segment_store_ops {
    /* parts[0..count) come back with what is known of each partition. */
    enum store_reply (*claim)(void *self, int64_t wall_ms, struct segment_owner *ret,
                              struct segment_part *parts, size_t count, struct ll_err *err);
    enum store_reply (*load)(void *self, const struct segment_owner *owner, const struct segment_loader *to,
                             struct ll_err *err);
    enum store_reply (*commit)(void *self, const struct segment_commit *commit, struct ll_err *err);
    /* Changes from change_no on, in order, limit at most. */
    enum store_reply (*changes)(void *self, int64_t from, int64_t limit, segment_change_row_fn *each,
                                void *arg, struct ll_err *err);
    /* Changes below upto are in the topic (advisory), and so many of them may come to stand there twice. STORE_OK: the session is
     * the owner's still. */
    enum store_reply (*set_relayed)(void *self, int64_t upto, int64_t again, struct ll_err *err);
    void (*close)(void *self);
};

struct segment_store {
    const struct segment_store_ops *ops;
    void *self;
};

/* Does not connect; claim does. */
void segment_postgres_open(const struct config *config, struct segment_store *ret);

/* segment_rows.c: one row each, appended. */
void segment_write_standing(struct row_buffer *buffer, int32_t run, const struct segment_standing *standing);
void segment_write_threshold(struct row_buffer *buffer, int32_t run,
                             const struct segment_threshold *threshold);
void segment_write_change(struct row_buffer *buffer, int32_t run, int64_t change_no,
                          const struct segment_change *change);
/* A row as segment_write_change writes it; texts are views. False: it is none. */
bool segment_read_change(const char *bytes, size_t size, int64_t *ret_change_no, struct segment_change *ret);
extern const char segment_standing_columns[], segment_threshold_columns[], segment_change_columns[];
