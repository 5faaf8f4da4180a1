/*
 * accrue.h - the process that credits points: one loop over transactions.valid, exactly once into Redis and Postgres.
 * Shape:  accrue_step does every duty once and returns: poll a batch, look up what memory lacks, decide, apply to Redis, move
 *         the flush to Postgres on, look whether both stores still hold what was put there, mend what does not. The stores,
 *         the bus and the clock are seams, so that tests/sim runs this very loop.
 *         Read in this order: accrue.c (the loop and the batch), flush.c (the commit), claim.c (doubt, claims, Redis rebuilt),
 *         then decide.c for what a record means.
 * Errors: LL_OK: call it again. LL_FATAL: stop the process (err says why); a restart resumes at Postgres's offset.
 * Source: DESIGN 5. Sentences that look odd are there because their absence was caught by a model; keep them.
 */
#pragma once

#include "consumers/accrue/decide.h"
#include "consumers/accrue/partition.h"
#include "consumers/accrue/rulebook.h"
#include "runtime/bus.h"
#include "runtime/clock.h"
#include "runtime/config.h"
#include "runtime/isolate.h"
#include "runtime/process.h"
#include "schemas/codec.h"
#include "state/hot.h"
#include "state/ledger.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { ACCRUE_PARTITIONS_MAX = 256 };

enum owned_state {
    OWNED_UNCLAIMED, /* nothing flows; claim_some tries */
    OWNED_READY,
};

/* One assigned partition. */
struct owned {
    struct partition memory;
    enum owned_state state;
    bool stale;            /* Redis does not hold its balances: rebuild it */
    bool in_batch;
    struct ledger_counts told; /* what the metrics have been told */
    int64_t applied_at_ms; /* steady time of the last guarded call to Redis */
    struct hot_balance *balances;
    size_t balance_capacity;
};

struct batch_record {
    struct bus_record record;
    struct decide_input input;
    uint32_t owned;      /* index in accrue->owned */
    size_t line_at;      /* in accrue->lines, since scratch is used again for the next record */
};

struct accrue_metrics {
    struct metric *credited, *duplicate, *dead, *control; /* committed */
    struct metric *held, *stale, *unclaimed, *unflushed;
    struct metric *flush_seconds, *flush_rows, *doubts, *rebuilds;
};

struct accrue {
    const struct config *config;
    struct process *process; /* NULL in simulation */
    struct isolate *isolate; /* set after accrue_init; NULL: a record that kills the process is not looked for */
    struct bus_consumer bus;
    struct ledger ledger;
    struct hot hot;
    struct clock_source clock;
    struct codec *codec;
    struct codec_scratch *scratch;
    struct calendar *calendar;
    struct rulebook book;
    struct decider *decider;
    struct accrue_metrics metrics;

    struct owned owned[ACCRUE_PARTITIONS_MAX];
    size_t owned_count;
    size_t last_owned; /* of the record polled last: most often the next one's too */
    bool restart; /* who is ready, or where it stands, has changed: start the bus anew */
    bool paused;

    struct batch_record *batch;
    size_t batch_count;
    bool batch_decoded;
    bool behind; /* the last poll ended with the batch full: more is waiting, this is catching up */
    struct line *lines;
    size_t line_count, line_capacity;
    int64_t *identity_asks, *sale_asks; /* of one partition's lookup */
    struct text *balance_asks;

    struct hot_batch hot_batches[ACCRUE_PARTITIONS_MAX];
    uint32_t hot_owned[ACCRUE_PARTITIONS_MAX];
    size_t hot_count; /* sent, not collected */

    struct ledger_part parts[ACCRUE_PARTITIONS_MAX];
    uint32_t part_owned[ACCRUE_PARTITIONS_MAX];
    size_t part_count; /* of the flush under way */
    enum { FLUSH_NONE, FLUSH_FLYING, FLUSH_UNKNOWN } flush_state;
    int64_t flush_part; /* of a full flush, in FLUSH_PARTS: how large the next one may become */
    bool has_caught_up; /* since memory was last given back */
    int64_t flush_began_ms, flushed_at_ms, beat_at_ms;

    int64_t waits_since_ms; /* nothing may be taken since; 0: it may */
    bool kafka_down, postgres_down; /* did not answer when they were asked last */
    const char *waits_said; /* what claim_waits said last, and when */
    int64_t waits_said_ms;
    int64_t claim_at_ms, marks_at_ms, rebuild_at_ms, lookup_at_ms, unknown_at_ms; /* not tried again before */
    int64_t backoff_ms;
};

/* Everything is borrowed for accrue's life. process may be NULL. Owns no connection: closing is the caller's. */
void accrue_init(struct accrue *accrue, const struct config *config, struct process *process, struct bus_consumer bus,
                 struct ledger ledger, struct hot hot, struct clock_source clock, struct codec *codec,
                 struct calendar *calendar);
enum ll_status accrue_step(struct accrue *accrue, struct ll_err *err);
/* Commits what is decided, within timeout_ms; then drops everything. */
void accrue_finish(struct accrue *accrue, int timeout_ms);
void accrue_done(struct accrue *accrue);

/* ---- shared by the files of this folder ---- */

/* flush.c */
enum ll_status flush_step(struct accrue *accrue, struct ll_err *err);
/* Waits for the flush under way and flushes the rest, at most timeout_ms. */
void flush_all(struct accrue *accrue, int timeout_ms);
/* So much is undecided in Postgres that no more may be taken; while a record is looked for that kills the process, anything. */
bool flush_is_full(const struct accrue *accrue);

/* claim.c */
/* Something about the partition is not as it was believed: everything that is remembered is dropped, it is claimed again. */
void claim_doubt(struct accrue *accrue, struct owned *owned, const char *why);
enum ll_status claim_some(struct accrue *accrue, struct ll_err *err);
enum ll_status claim_check_marks(struct accrue *accrue, struct ll_err *err);
void claim_rebuild_stale(struct accrue *accrue);
enum store_reply claim_load_rules(struct accrue *accrue, int32_t version, struct ll_err *err);
/* Tells what is waited for, in the log (once per cause) and to /readyz. */
void claim_waits(struct accrue *accrue, const char *event, const struct ll_err *err);

/* accrue.c */
void batch_drop(struct accrue *accrue);
void hot_collect(struct accrue *accrue);
/* Sends Redis what it has not been told yet, and takes its answers to what was sent before. */
void hot_tell(struct accrue *accrue);
