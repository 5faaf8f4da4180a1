/*
 * world.h - a simulated Kafka, Postgres and Redis around the real loop of accrue: one thread, no real time, one seed.
 * Shape:  a seed chooses the log of each partition, batch sizes, the schedule and the faults. The stores keep what they were
 *         given and every state they were ever in, so that they can be rolled back. A crash leaves accrue_step by longjmp
 *         at any call to a store; what is remembered dies with it, what the stores hold stays.
 * Source: DESIGN 5; the faults and invariants are those of the executable model that the protocol was checked with.
 */
#pragma once

#include "consumers/accrue/accrue.h"

#include <setjmp.h>
#include <stdbool.h>
#include <stdint.h>

enum {
    SIM_PARTITIONS = 2,
    SIM_RECORDS_MAX = 64,  /* of one partition's log */
    SIM_ROWS_MAX = 256,
    SIM_CUSTOMERS = 3,     /* of one partition */
    SIM_CLIENTS_MAX = 64,  /* processes that ever lived in a run */
    SIM_HISTORY_MAX = 4096,
    SIM_LATE_MAX = 64,
    SIM_VALUE_SIZE = 512,
    SIM_NAME_SIZE = 16,
    SIM_TRACE_SIZE = 1 << 18,
};

/* ---- the log ---- */

struct sim_event {
    char kind; /* S R V sale, return, void; A rules announced; T tick */
    char id[SIM_NAME_SIZE], sale[SIM_NAME_SIZE], customer[SIM_NAME_SIZE]; /* empty: none */
    int64_t amount_minor; /* of one product */
    int32_t rules_version;
};

struct sim_record {
    int64_t offset, timestamp_ms;
    struct sim_event event;
    size_t size;
    char value[SIM_VALUE_SIZE];
};

struct sim_log {
    struct sim_record records[SIM_RECORDS_MAX];
    size_t count;
    int64_t end; /* high watermark: past a transaction marker */
};

/* ---- Postgres ---- */

struct sim_row {
    int64_t offset, event_offset, identity_hash, content_hash, sale_hash, posted_at_ms, points;
    int32_t seq, rules_version;
    enum transaction_type type;
    char id[SIM_NAME_SIZE], sale[SIM_NAME_SIZE], customer[SIM_NAME_SIZE];
    char *bytes; /* as posting_write made it; lives as long as the world */
    size_t size;
};

struct sim_kept {
    struct kept_record record; /* texts live as long as the world */
};

struct sim_account {
    char customer[SIM_NAME_SIZE];
    int64_t points, earned, reversed, postings;
};

struct sim_table {
    bool exists;
    int64_t epoch, next, clock_ms;
    int32_t rules_version;
    struct ledger_counts counts;
    const struct sim_row *rows[SIM_ROWS_MAX];
    size_t row_count;
    const struct sim_kept *dead[SIM_ROWS_MAX], *held[SIM_RECORDS_MAX];
    size_t dead_count, held_count;
    struct sim_account accounts[SIM_CUSTOMERS + 1];
    size_t account_count;
};

struct sim_postgres {
    struct sim_table tables[SIM_PARTITIONS];
};

/* A flush on its way: deep enough a copy that it can be carried out after its sender is gone. */
struct sim_flush {
    bool waiting;
    size_t count;
    struct ledger_part parts[SIM_PARTITIONS];
    struct sim_row *rows[SIM_PARTITIONS][SIM_ROWS_MAX];
    size_t row_count[SIM_PARTITIONS];
    struct sim_kept *dead[SIM_PARTITIONS][SIM_ROWS_MAX], *held[SIM_PARTITIONS][SIM_RECORDS_MAX];
    int64_t released[SIM_PARTITIONS][SIM_RECORDS_MAX];
    struct sim_account changes[SIM_PARTITIONS][SIM_CUSTOMERS + 1];
    bool known[SIM_PARTITIONS][SIM_CUSTOMERS + 1];
};

/* ---- Redis ---- */

struct sim_shard {
    int64_t epoch, next;   /* -1: none */
    int64_t ahead;         /* a claim has set next back from here: until it is reached again, balances may be newer */
    int64_t token, chunks; /* of the rebuild under way; token -1: none */
    struct {
        char customer[SIM_NAME_SIZE];
        int64_t points;
    } balances[SIM_CUSTOMERS + 1];
    size_t count;
};

struct sim_redis {
    struct sim_shard shards[SIM_PARTITIONS];
};

/* ---- processes ---- */

struct sim_client {
    struct sim_world *world;
    int number;
    bool alive;
    int64_t asleep_until; /* step; a paused owner */
    struct accrue accrue;
    /* bus */
    bool told[SIM_PARTITIONS]; /* what it believes to own */
    bool has_assignment, started[SIM_PARTITIONS];
    int64_t position[SIM_PARTITIONS];
    struct bus_position changed[SIM_PARTITIONS];
    size_t changed_count;
    bool changed_lost;
    int64_t notices_at; /* step at which it learns that its assignment has changed */
    /* stores */
    struct sim_flush flush;
    struct hot_batch *hot_batches;
    size_t hot_count;
    bool hot_lost;
};

/* The known bugs that can be planted, each behind a switch, to show that the simulation finds them. */
enum sim_bug {
    BUG_NONE,
    BUG_REDIS_SKIP,      /* Redis's offset is taken as the place to go on from */
    BUG_WATERMARK_APART, /* the watermark is written outside the flush transaction */
    BUG_EPOCH_UNCHECKED, /* the flush does not compare the epoch */
    BUG_MISS_FINAL,      /* a miss in the table of identities is believed */
    BUG_ZERO_ROWS,       /* an event of 0 points leaves no row */
    BUG_WALL_EXPIRY,     /* holding ends by the wall clock */
    BUG_IDLE_UNCHECKED,  /* idle partitions are not looked at */
    BUG_REDIS_UNGUARDED, /* Redis takes a batch wherever it stands */
    BUGS,
};
extern const char *const sim_bug_names[BUGS];

struct sim_world {
    uint64_t random;
    enum sim_bug bug;
    struct config config;
    struct codec *codec;
    struct calendar *calendar;
    struct sim_log logs[SIM_PARTITIONS];
    struct sim_postgres postgres;
    struct sim_redis redis;
    struct sim_postgres *postgres_history;
    size_t postgres_history_count;
    struct sim_redis *redis_history;
    size_t redis_history_count;
    struct sim_client *clients[SIM_CLIENTS_MAX];
    int client_count;
    int owner[SIM_PARTITIONS]; /* client number; -1: nobody */
    int64_t step, now_ms;
    int64_t postgres_down_until, redis_down_until; /* steps */
    int faults_left, fault_per_mille; /* of calls to stores */
    int faults_done;
    struct {
        int64_t at_step;
        int client;
        struct sim_flush *flush;
    } late[SIM_LATE_MAX];
    size_t late_count;
    jmp_buf crash;
    struct sim_client *running;
    struct arena memory; /* rows and kept records */
    char *trace;
    size_t trace_size;
    char bad[1024]; /* what an invariant says; empty: all hold */
};

uint32_t sim_random(struct sim_world *world, uint32_t below);
void sim_say(struct sim_world *world, const char *format, ...) __attribute__((format(printf, 2, 3)));
void sim_bad(struct sim_world *world, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* events.c: a random log for each partition. */
void sim_make_logs(struct sim_world *world);
int64_t sim_target(int64_t net_minor, int32_t rules_version);
const char *sim_rules_document(int32_t version);

/* bus.c, ledger.c, hot.c: the seams. */
struct bus_consumer sim_bus(struct sim_client *client);
struct ledger sim_ledger(struct sim_client *client);
struct hot sim_hot(struct sim_client *client);
struct clock_source sim_clock(struct sim_world *world);
void sim_assign(struct sim_world *world, int32_t partition, int client, int64_t notice_steps);

/* What happens to a call: the fault that strikes it. */
enum sim_fault { FAULT_NONE, FAULT_CRASH_BEFORE, FAULT_CRASH_AFTER, FAULT_LOST, FAULT_DROP, FAULT_LATE };
enum sim_fault sim_call(struct sim_client *client, const char *what, bool writes);
void sim_crash_if(struct sim_client *client, enum sim_fault fault, enum sim_fault when);
/* Carries out a flush; STORE_OK or STORE_NOT_MINE. */
enum store_reply sim_postgres_commit(struct sim_world *world, struct sim_flush *flush);
void sim_postgres_remember(struct sim_world *world);
void sim_redis_remember(struct sim_world *world);

/* run.c: one seed from its beginning to a quiet end, then every invariant. True: all hold. */
bool sim_run(struct sim_world *world, uint64_t seed, enum sim_bug bug, int faults);
void sim_world_done(struct sim_world *world);
/* check.c: after every step, and at the end. */
void sim_check_instant(struct sim_world *world);
void sim_check(struct sim_world *world);
