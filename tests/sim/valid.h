/*
 * valid.h - a simulated Kafka around the real loop of validate: one thread, no real time, one seed.
 * Shape:  raw records arrive over time: good sales, bad ones, bytes that are no event, sales before their customer or without
 *         one, and the customers. Two instances at most share the group; each step one process that lives and does not sleep
 *         makes a round. A crash leaves the loop by longjmp at any call of a seam; its successor bears its name, ends its
 *         transaction, and joins the group. Readers see committed records only, in the order of the log, up to the first that
 *         is still open. A process may be paused in the middle of its commit while all others go on.
 * Source: DESIGN 3; KIP-98 (transactions), KIP-447 (offsets fenced by the group's generation).
 */
#pragma once

#include "consumers/validate/validate.h"
#include "tests/sim/seed.h"

#include <setjmp.h>
#include <stdbool.h>
#include <stdint.h>

enum {
    VALID_PARTITIONS = 2,     /* of transactions, and of what keeps its partition */
    VALID_EVENTS_MAX = 60,
    VALID_RECORDS_MAX = 8000, /* of one partition's log */
    VALID_CLIENTS_MAX = 48,
    VALID_INSTANCES = 2,
    VALID_TXNS_MAX = 3000,
};

enum valid_bug {
    VALID_BUG_NONE,
    VALID_BUG_OFFSETS_APART, /* offsets are committed beside the transaction */
    VALID_BUG_UNFENCED,      /* offsets are taken from any generation of the group */
    VALID_BUG_UNSETTLED,     /* a start reads offsets though a transaction with them is open */
    VALID_BUG_UNCOMMITTED,   /* records of open and aborted transactions are read */
    VALID_BUG_OPEN_END,      /* the end of the references is taken where an open transaction hides the rest */
    VALID_BUG_AHEAD,         /* the offset of a partition goes past records that wait */
    VALID_BUGS,
};
extern const char *const valid_bug_names[VALID_BUGS];

enum valid_state { VALID_OPEN, VALID_COMMITTED, VALID_ABORTED };

struct valid_txn {
    enum valid_state state;
    int instance;
    int64_t begun_at; /* step */
    struct bus_position offsets[32];
    size_t offset_count;
    bool touched[TOPIC_COUNT][VALID_PARTITIONS];
};

struct valid_record {
    char *key, *value; /* owned by the world's arena */
    uint32_t key_size, value_size;
    struct bus_header headers[16];
    size_t header_count;
    int64_t timestamp_ms;
    int txn; /* -1: none */
    bool is_marker;
};

struct valid_log {
    struct valid_record *records; /* VALID_RECORDS_MAX, made when first used */
    int64_t count, committed;     /* committed: the group's; 0: none yet */
    int64_t settled;              /* nothing below is of an open transaction */
};

struct valid_client {
    struct valid_world *world;
    int number, instance;
    bool alive, joined, must_leave, lost;
    int64_t asleep_until;
    int generation;     /* that it was last assigned in */
    bool has_assignment, flowing;
    struct bus_position assigned[32];
    size_t assigned_count;
    int64_t position[TOPIC_COUNT][VALID_PARTITIONS], polled[TOPIC_COUNT][VALID_PARTITIONS];
    bool paused[TOPIC_COUNT][VALID_PARTITIONS];
    int64_t feed_at[TOPIC_COUNT], feed_end[TOPIC_COUNT];
    int epoch, txn; /* of its producer; -1: none is open */
    struct validate *validate;
};

/* What arrives. kind: G good, B bad, X no event, N a customer who never comes, L one who may come later, C that customer. */
struct valid_event {
    char kind;
    int number;
    int32_t partition;
    int64_t at_step, offset; /* offset: -1 before it is there */
};

struct valid_world {
    struct sim_seed seed;
    enum valid_bug bug;
    struct config config;
    struct topics topics;
    struct settings settings;
    struct codec *codec;
    struct codec_scratch *scratch;
    struct calendar *calendar;
    struct valid_log logs[TOPIC_COUNT][VALID_PARTITIONS];
    struct valid_event events[VALID_EVENTS_MAX];
    int event_count, events_done;
    struct valid_txn *txns;
    int txn_count, txn_settled; /* none below txn_settled is open */
    struct valid_client *clients[VALID_CLIENTS_MAX];
    int client_count, instance_count;
    int epoch[VALID_INSTANCES], member[VALID_INSTANCES]; /* member: the client that bears the name */
    int generation;
    bool joining;
    int64_t joining_until; /* step: who has not joined by then is out */
    int64_t now_ms, down_until;
    jmp_buf crash;
    struct valid_client *running;
    bool is_nested;
    uint64_t hash; /* of all that is committed, at the end */
    struct valid_memory *memory;
};

void *valid_keep(struct valid_world *world, const void *bytes, size_t size);

/* valid_bus.c */
struct bus_consumer valid_consumer(struct valid_client *client);
/* arg: the client. */
enum ll_status valid_open_producer(void *arg, struct bus_producer *ret, struct ll_err *err);
struct feed valid_feed(struct valid_client *client);
struct clock_source valid_clock(struct valid_world *world);
int32_t valid_partitions(const struct valid_world *world, enum topic topic);
struct valid_record *valid_append(struct valid_world *world, enum topic topic, int32_t partition, int txn);
void valid_end_txn(struct valid_world *world, int txn, enum valid_state state);
/* Of readers of committed records: up to here everything is settled. */
int64_t valid_settled_end(struct valid_world *world, enum topic topic, int32_t partition);
bool valid_is_seen(const struct valid_world *world, const struct valid_record *record);

/* valid_run.c */
void valid_step(struct valid_world *world);
bool valid_run(struct valid_world *world, const struct sim_case *run);
void valid_world_done(struct valid_world *world);
/* valid_check.c */
void valid_check_instant(struct valid_world *world);
void valid_check(struct valid_world *world);
