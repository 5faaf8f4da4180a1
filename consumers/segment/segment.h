/*
 * segment.h - the loop of segment: rows of ledger in, standing and its changes out, each once.
 * Shape:  segment_step does every duty once and returns: own the run, poll, take what the day allows, end days, commit, publish.
 *         One process owns all partitions, since an exact rank needs them all; another one stands by until the owner's session
 *         with Postgres ends. State, changes, thresholds and input offsets are one Postgres transaction under the claim's
 *         epoch; anything else than a plain yes is a doubt: forget all, claim again, load.
 *
 *         A day ends when every partition has left it. A partition whose next record belongs to a later day waits, so a day
 *         ends between the same two records of each partition whatever order the partitions came in: the changes follow from
 *         the logs alone. days.c has the rules. What waits is kept as it was polled; beyond segment.ahead_records the
 *         partition is paused.
 *
 *         publish.c carries committed changes to the topic segment-changes, in order, by Kafka transactions that hold their own
 *         progress.
 * Errors: LL_OK: call it again. LL_FATAL: stop the process (err says why).
 * Source: DESIGN 5.10, 6.
 */
#pragma once

#include "consumers/segment/engine.h"
#include "runtime/bus.h"
#include "runtime/config.h"
#include "runtime/process.h"
#include "schemas/codec.h"
#include "state/segment_ranks.h"
#include "state/segment_store.h"

enum { SEGMENT_PARTITIONS_MAX = 256 };

/* Records of one partition that wait for their day: a ring. */
struct segment_queue {
    struct bus_record *records;
    size_t first, count, capacity;
    bool is_paused;
    bool is_judged;    /* the first one's day is known */
    int32_t day;       /* of it */
    int64_t posted_ms; /* of it; 0: a TICK */
    int64_t tick_ms;   /* the last TICK's time; 0: none since the start */
};

struct segment_metrics {
    struct metric *rows, *ticks, *repeated, *changes, *published, *closes, *doubts, *customers, *waiting,
        *commit_seconds;
};

struct segment_needs {
    const struct config *config;
    struct process *process; /* NULL in tests */
    struct segment_store store;
    struct segment_ranks *ranks; /* NULL: none are kept */
    struct clock_source clock;
    struct calendar *calendar;
    struct codec *codec;
    size_t partitions; /* of ledger */
    /* Opened once the run is ours: who stands by is no member of the group. */
    enum ll_status (*open_consumer)(void *arg, struct bus_consumer *ret, struct ll_err *err);
    enum ll_status (*open_producer)(void *arg, struct bus_producer *ret, struct ll_err *err);
    void *arg;
};

struct segment {
    struct segment_needs needs;
    struct segment_metrics metrics;
    struct bus_consumer consumer; /* ops NULL: none is open */
    struct bus_producer producer;
    struct engine engine;
    struct segment_owner owner;
    struct segment_part parts[SEGMENT_PARTITIONS_MAX];
    struct segment_queue queues[SEGMENT_PARTITIONS_MAX];
    struct codec_scratch *scratch;
    bool is_event_clock;
    bool is_mine, is_assigned, is_flowing; /* claimed and loaded; the group gave us all; records come */
    bool is_down;                          /* no broker answers */

    int64_t posted_ms;  /* highest posted_at of the rows that are in, or wait for a later day */
    bool has_moved;     /* since the last commit */
    int64_t rows_since; /* the last commit */
    struct row_buffer standing, newcomers, thresholds, changes, state;
    struct text *categories;
    size_t category_capacity;
    int64_t next_change, change_count; /* change_count: not committed yet */

    bool ranks_current; /* Redis holds what was committed */
    int64_t commits;    /* of this claim */
    int64_t ranks_look_ms;

    int64_t published; /* the next change that is not in Kafka; -1: not known */
    int64_t noted;     /* what Postgres was told of it */
    int64_t claimed_next; /* the next change when it was claimed; INT64_MAX: the progress is not ahead of it */
    enum ll_status sending;
    struct ll_err sending_err;
    int64_t sent_upto;
    char *value;
    size_t value_capacity;

    bool is_silent;                  /* the last poll brought nothing */
    int64_t committed_ms, silent_ms; /* steady: of the last commit; since when nothing comes */
    int64_t commit_at_ms, note_at_ms, wait_until_ms, backoff_ms; /* steady */
    const char *said;
    int64_t said_ms;
};

void segment_init(struct segment *segment, const struct segment_needs *needs);
enum ll_status segment_step(struct segment *segment, struct ll_err *err);
/* Commits what can be, closes consumer and producer. */
void segment_finish(struct segment *segment);
void segment_done(struct segment *segment);

/* The words by which a claim sees that the settings are others than before. */
void segment_settings_text(const struct config *config, char to[SEGMENT_SETTINGS_SIZE]);
struct engine_settings segment_engine_settings(const struct config *config);

/* ---- days.c ---- */
/* Takes the record: applied now, or kept for its day. */
enum ll_status segment_take(struct segment *segment, struct bus_record *record, struct ll_err *err);
/* All that the records at hand allow. */
enum ll_status segment_days(struct segment *segment, struct ll_err *err);
void segment_drop_queues(struct segment *segment);

/* ---- commit.c ---- */
enum ll_status segment_claim(struct segment *segment, struct ll_err *err);
/* LL_RETRY: in doubt. */
enum ll_status segment_commit(struct segment *segment, struct ll_err *err);
void segment_on_change(void *segment, const struct segment_change *change);
void segment_on_close(struct segment *segment, int64_t decided_ms);

/* ---- publish.c ---- */
/* LL_RETRY: later again. */
enum ll_status segment_publish(struct segment *segment, struct ll_err *err);
/* After a claim, before the first commit. LL_RETRY: later again. */
enum ll_status segment_settle(struct segment *segment, struct ll_err *err);
void segment_unpublish(struct segment *segment); /* closes the producer; the progress is asked for again */

/* ---- ranks.c ---- */
void segment_ranks_follow(struct segment *segment); /* after a commit, before the engine is clean */
void segment_ranks_idle(struct segment *segment);   /* when nothing is to be committed */

int64_t segment_steady_ms(const struct segment *segment);
