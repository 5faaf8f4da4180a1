/*
 * world.h - a simulated Kafka, Postgres and Redis around the real loops of accrue and of the relay: one thread, no real time,
 *         one seed.
 * Shape:  a seed chooses the log of each partition, batch sizes, the schedule and the faults. The stores keep what they were
 *         given and every state they were ever in, so that they can be rolled back. A crash leaves accrue_step (relay_step)
 *         by longjmp at any call to a store; what is remembered dies with it, what the stores hold stays. A relay may also be
 *         paused in the middle of its transaction, while all others go on.
 * Source: DESIGN 5; the faults and invariants are those of the executable model that the protocol was checked with.
 */
#pragma once

#include "consumers/accrue/accrue.h"
#include "consumers/accrue/relay.h"
#include "tests/sim/seed.h"

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
    SIM_RELAYS_MAX = 64,     /* relay processes that ever lived in a run */
    SIM_INSTANCES_MAX = 16,  /* names that they bore, each with its transactional id */
    SIM_TXNS_MAX = 1024,
    SIM_RELAYED_MAX = 4096,  /* records of ledger and dead-letter, aborted ones too */
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
    size_t first, count; /* of the parts: those that one transaction writes */
    size_t half;         /* where the second transaction begins; count: there is none */
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
    bool has_assignment, started[SIM_PARTITIONS], paused[SIM_PARTITIONS];
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

/* ---- where the relay writes ---- */

enum sim_txn_state { TXN_OPEN, TXN_COMMITTED, TXN_ABORTED };

struct sim_txn {
    enum sim_txn_state state;
    int instance, epoch;
    int64_t begun_at; /* step */
    int64_t progress[SIM_PARTITIONS]; /* sent with it; -1: none */
};

/* A record of ledger or dead-letter. */
struct sim_relayed {
    char kind; /* L posting, D dead letter, T tick */
    int32_t partition;
    int64_t offset, points; /* points: of a tick its time */
    int32_t seq;
    char id[SIM_NAME_SIZE];
    int txn;
};

struct sim_broker {
    struct sim_txn txns[SIM_TXNS_MAX];
    int txn_count;
    struct sim_relayed *records; /* SIM_RELAYED_MAX */
    size_t record_count;
    int64_t progress[SIM_PARTITIONS]; /* the group's committed offsets; -1: none, or expired */
    int epoch[SIM_INSTANCES_MAX];     /* of each transactional id */
    int member[SIM_INSTANCES_MAX];    /* the relay that joined last under the name */
    int owner[SIM_PARTITIONS];        /* instance */
    int generation, instance_count;
};

struct sim_relay {
    struct sim_world *world;
    int number, instance;
    bool alive;
    int64_t asleep_until, notices_at; /* steps */
    struct relay relay;
    bool told[SIM_PARTITIONS], has_assignment, changed_lost;
    int generation; /* as it was told */
    struct bus_position changed[SIM_PARTITIONS];
    size_t changed_count;
    int epoch; /* of its producer */
    int txn;   /* -1: none is open */
    bool is_dead; /* the producer has had a fatal error */
    int64_t peeked[SIM_PARTITIONS]; /* BUG_RELAY_FIRST: the progress before the producer was opened */
    bool has_peeked;
};

/* The known bugs that can be planted, each behind a switch, to show that the simulation finds them. */
enum sim_bug {
    BUG_NONE,
    BUG_REDIS_SKIP,      /* Redis's offset is taken as the place to go on from */
    BUG_WATERMARK_APART, /* the watermark is written outside the flush transaction */
    BUG_EPOCH_UNCHECKED, /* the flush does not compare the epoch */
    BUG_MISS_FINAL,      /* a miss in the table of identities is believed */
    BUG_FIND_CUT,        /* a lookup that breaks off gives what it had read */
    BUG_ZERO_ROWS,       /* an event of 0 points leaves no row */
    BUG_WALL_EXPIRY,     /* holding ends by the wall clock */
    BUG_IDLE_UNCHECKED,  /* idle partitions are not looked at */
    BUG_REDIS_UNGUARDED, /* Redis takes a batch wherever it stands */
    BUG_PAUSE_KEPT,      /* a partition that was paused stays so when the bus is started anew */
    BUG_RELAY_APART,     /* the relay's progress is written outside its transaction */
    BUG_RELAY_FIRST,     /* ... is read before the producer is opened */
    BUG_RELAY_UNSETTLED, /* ... is read though a transaction with it is open */
    BUG_RELAY_UNFENCED,  /* offsets are taken under any generation of the group */
    BUG_RELAY_CUT,       /* a slice ends between two rows of one offset */
    BUGS,
};
extern const char *const sim_bug_names[BUGS];

struct sim_world {
    struct sim_seed seed;
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
    int64_t now_ms;
    int64_t postgres_down_until, redis_down_until; /* steps */
    int64_t outage_step_ms; /* how long a step takes while Postgres is down: some outages are long for a loop that makes few steps */
    int event_count;
    struct {
        int64_t at_step;
        int client;
        struct sim_flush *flush;
    } late[SIM_LATE_MAX];
    size_t late_count;
    jmp_buf crash;
    struct sim_client *running;
    struct sim_broker broker;
    struct sim_relay *relays[SIM_RELAYS_MAX];
    int relay_count;
    struct {
        int64_t at_step;
        int txn;
    } late_commits[SIM_LATE_MAX];
    size_t late_commit_count;
    bool is_nested; /* a paused relay looks on */
    jmp_buf relay_crash;
    struct sim_relay *running_relay;
    struct arena memory; /* rows and kept records */
};

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

/* relay.c: the relay's processes, its group and its view of Postgres. */
void sim_relays_open(struct sim_world *world);
void sim_relays_close(struct sim_world *world);
/* Steps that one. */
void sim_relay_step(struct sim_world *world, struct sim_relay *relay);
enum { SIM_RELAY_FAULTS = 5 };
extern const char *const sim_relay_faults[SIM_RELAY_FAULTS];
void sim_relay_fault(struct sim_world *world, uint32_t which);
bool sim_relays_quiet(const struct sim_world *world);
void sim_check_relayed(struct sim_world *world);
enum sim_fault sim_relay_call(struct sim_relay *relay, const char *what, bool writes);
void sim_relay_crash_if(struct sim_relay *relay, enum sim_fault fault, enum sim_fault when);
/* relay_broker.c: transactions, as a broker sees them. */
enum ll_status sim_producer_open(void *arg, struct bus_producer *ret, struct ll_err *err);
bool sim_txn_end(struct sim_world *world, int txn, enum sim_txn_state state);
/* Ends what is open for too long. */
void sim_txns_expire(struct sim_world *world);
bool sim_is_fenced(const struct sim_relay *relay);

/* run.c: everybody but a relay that is paused goes on. */
void sim_step(struct sim_world *world);
/* run.c: one seed from its beginning to a quiet end, then every invariant. True: all hold. */
bool sim_run(struct sim_world *world, const struct sim_case *run);
void sim_world_done(struct sim_world *world);
/* check.c: after every step, and at the end. */
void sim_check_instant(struct sim_world *world);
void sim_check(struct sim_world *world);
