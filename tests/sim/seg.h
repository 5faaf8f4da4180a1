/*
 * seg.h - a simulated Kafka and Postgres around the real loop of segment: one thread, no real time, one seed.
 * Shape:  a seed makes the topic ledger: sales, returns in part and in full, of no sale, voids, rows without a customer, late rows,
 *         days without any, TICKs, transaction markers, rows that come twice. The loop runs over it once without any fault;
 *         that is what must come out. Then it runs again, by another schedule: processes that die before and after each call,
 *         replies that are lost, commits that arrive late, sessions that are cut, a paused owner that wakes up, partitions
 *         taken and given back, a Postgres that falls back, Kafka transactions that die inside. Two instances at most; one
 *         stands by.
 * Source: DESIGN 6; KIP-98, KIP-447.
 */
#pragma once

#include "consumers/segment/segment.h"
#include "schemas/arena.h"
#include "tests/sim/seed.h"

#include <setjmp.h>
#include <stdbool.h>
#include <stdint.h>

enum {
    SEG_PARTITIONS = 3,
    SEG_CUSTOMERS = 12,
    SEG_ROWS_MAX = 240,    /* one event of the cut each */
    SEG_LATE_ROWS_MAX = 8, /* that come after the end of history */
    SEG_RECORDS_MAX = 4000,
    SEG_EPOCHS_MAX = 1024,
    SEG_CHANGES_MAX = 8192,
    SEG_CATEGORIES_MAX = 16,
    SEG_HISTORY_MAX = 2048,
    SEG_CLIENTS_MAX = 48,
    SEG_INSTANCES = 2,
    SEG_TXNS_MAX = 4096,
    SEG_SENT_MAX = 32768,
    SEG_UNDER_WAY_MAX = 16,
};

enum seg_bug {
    SEG_BUG_NONE,
    SEG_BUG_OFFSETS_APART,     /* input offsets are written beside the commit */
    SEG_BUG_CHANGES_APART,     /* changes are written beside the commit */
    SEG_BUG_EPOCH_UNCHECKED,   /* a commit is taken under any claim */
    SEG_BUG_LOST_YES,          /* a lost reply is taken for a yes */
    SEG_BUG_DOUBT_KEEPS,       /* in doubt, the offsets are believed to be those of memory */
    SEG_BUG_ROW_FORGOTTEN,     /* which row was last in is not kept */
    SEG_BUG_START_ON,          /* partitions that come back flow on from where they were polled to */
    SEG_BUG_PAUSE_KEPT,        /* ... and stay paused if they were before */
    SEG_BUG_PUBLISH_APART,     /* the progress of publishing is written beside its Kafka transaction */
    SEG_BUG_PUBLISH_UNSETTLED, /* ... and read though a transaction with it is open */
    SEG_BUG_PUBLISH_UNFENCED,  /* a producer that another one has replaced may go on */
    SEG_BUGS,
};
extern const char *const seg_bug_names[SEG_BUGS];

/* A row of the ledger as the check sees it. */
struct seg_row {
    int number; /* of the cut */
    int32_t partition, seq;
    int64_t offset; /* of transactions.valid */
    enum transaction_type type;
    int customer; /* -1: none */
    int sale;     /* number of the sale that it belongs to; -1: of none */
    int32_t day;  /* that it is booked to */
    int64_t net_minor, points, event_ms;
    bool is_food;
};

struct seg_record {
    const char *value; /* NULL: a transaction marker */
    uint32_t size;
    int64_t at_step; /* it is there */
};

struct seg_log {
    struct seg_record records[SEG_RECORDS_MAX];
    int64_t count, made; /* made: without what came live */
    int64_t offset;      /* of the last row */
    int32_t seq;
};

/* A row as segment wrote it, in COPY BINARY form; lives as long as the run. */
struct seg_kept {
    struct text bytes;
    char key[48];
    int64_t number;
};

/* What Postgres holds. Epochs and changes only grow, so that counts tell a state. */
struct seg_state {
    struct segment_owner owner;
    struct segment_part parts[SEG_PARTITIONS];
    const struct seg_kept *standing[SEG_CUSTOMERS];
    size_t epoch_count, change_count, category_count;
};

struct seg_store {
    struct seg_state now;
    const struct seg_kept *epochs[SEG_EPOCHS_MAX], *changes[SEG_CHANGES_MAX];
    struct text categories[SEG_CATEGORIES_MAX];
    int server; /* one more with each fall */
};

struct seg_write; /* a commit on its way */

enum seg_txn_state { SEG_TXN_OPEN, SEG_TXN_COMMITTED, SEG_TXN_ABORTED };

struct seg_txn {
    enum seg_txn_state state;
    int64_t progress, begun_at; /* progress -1: none */
    int64_t commits_at;         /* step; 0: no commit is under way */
};

struct seg_sent {
    int txn, customer;
    int64_t sequence; /* of the customer's changes */
    char change_id[33];
};

struct seg_client {
    struct seg_world *world;
    int number, instance;
    bool alive, is_open;
    int64_t asleep_since, asleep_until, polled_at; /* steps */
    struct segment segment;
    /* Postgres */
    bool has_session, has_lock;
    int64_t session_until; /* step at which the server misses a process that is gone */
    int server;
    int64_t epoch; /* of its claim */
    int64_t kept[SEG_PARTITIONS]; /* SEG_BUG_DOUBT_KEEPS: the offsets of the last commit that it sent */
    bool has_kept;
    /* the group */
    bool joined, told, flowing;
    int generation;
    struct bus_position changed[SEG_PARTITIONS];
    size_t changed_count;
    bool changed_lost, paused[SEG_PARTITIONS];
    int64_t next[SEG_PARTITIONS], read_to[SEG_PARTITIONS];
    /* its producer */
    int producer_epoch, txn;
};

struct seg_world {
    struct sim_seed seed;
    enum seg_bug bug;
    struct config config;
    struct codec *codec;
    struct codec_scratch *scratch;
    struct calendar *calendar;
    struct arena memory;
    bool by_event;
    int32_t first_day;
    int64_t now_ms, tick_ms; /* tick_ms: the last TICK's time, which moves no day once all is there */

    struct seg_row rows[SEG_ROWS_MAX + SEG_LATE_ROWS_MAX];
    int row_count, late_count, late_sent; /* the late ones lie behind the others */
    int64_t last_arrival;
    struct seg_log logs[SEG_PARTITIONS];

    struct seg_store store, plain; /* plain: what came out without faults */
    struct seg_state *history;
    size_t history_count;
    struct {
        int64_t at_step;
        struct seg_write *write;
    } under_way[SEG_UNDER_WAY_MAX];
    size_t under_way_count;
    int64_t postgres_down_until, kafka_down_until; /* steps */
    bool fell_behind; /* Postgres has forgotten changes that the topic has */

    struct seg_txn *txns;
    int txn_count;
    struct seg_sent *sent;
    size_t sent_count;
    int64_t progress, published_upto; /* of the group, -1: none, or forgotten; as it was last */
    int producer_epoch, generation;

    struct seg_client *clients[SEG_CLIENTS_MAX];
    int client_count, instance_count, member[SEG_INSTANCES]; /* member: who bears the name */
    jmp_buf crash;
    struct seg_client *running;
    bool is_nested;
};

/* What befalls a call. A crash before, and a pause, have happened when this returns. */
enum seg_fault { SEG_NONE, SEG_CRASH_AFTER, SEG_FAILS };
enum seg_fault seg_call(struct seg_client *client, const char *what);
void seg_die(struct seg_client *client);

/* seg_ledger.c */
void seg_make_ledger(struct seg_world *world);
void seg_tick(struct seg_world *world, int32_t partition, int64_t time_ms, int64_t at_step);
void seg_send_late(struct seg_world *world);

/* seg_store.c */
struct segment_store seg_store_of(struct seg_client *client);
void seg_cut_session(struct seg_client *client);
void seg_store_step(struct seg_world *world);
/* To the state before the last commit, or to any. */
void seg_fall_back(struct seg_world *world, bool far);
/* The field of that column of a row whose columns are those. */
struct text seg_field(const struct seg_kept *row, const char *columns, const char *name);
int64_t seg_number(struct text field);
int64_t seg_element(struct text array, size_t at, uint32_t size);

/* seg_bus.c */
enum ll_status seg_open_consumer(void *arg, struct bus_consumer *ret, struct ll_err *err);
enum ll_status seg_open_producer(void *arg, struct bus_producer *ret, struct ll_err *err);
void seg_end_txn(struct seg_world *world, int txn, enum seg_txn_state state);
void seg_leave(struct seg_client *client);
void seg_bus_step(struct seg_world *world);

/* seg_run.c */
void seg_step(struct seg_world *world);
bool seg_run(struct seg_world *world, const struct sim_case *run);
void seg_world_done(struct seg_world *world);

/* seg_check.c */
void seg_check_topic(struct seg_world *world); /* at any moment */
void seg_check(struct seg_world *world);
