/*
 * validate_world.h - Kafka, a clock and the side channel in memory, for tests of the validate loop.
 * Shape:  one log per partition; transactions keep what was sent aside until they commit, and leave a marker
 * behind, as the broker does. Faults are set by field. The clock moves only when somebody waits.
 */
#pragma once

#include "consumers/validate/dead.h"
#include "consumers/validate/validate.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { WORLD_PARTITIONS = 2, WORLD_PENDING_MAX = 4096, WORLD_EVENTS_MAX = 16 };

struct world_record {
    char *key, *value; /* owned; NULL: null */
    uint32_t key_size, value_size;
    struct bus_header headers[DEAD_HEADERS_MAX]; /* texts owned */
    size_t header_count;
    int64_t timestamp_ms;
    bool is_marker;
};

struct world_log {
    struct world_record **records; /* owned, and what they point at; by offset */
    size_t count, capacity;
    int64_t committed; /* the group's; -1: none */
    int64_t position;  /* the consumer's; -1: not started */
    int64_t polled;    /* what position() says; -1: nothing polled since the process began */
    bool paused;
    size_t pauses;
    int64_t feed_at, feed_end;
};

struct world_event {
    enum bus_event event;
    bool lost;
};

struct world {
    struct world_log logs[TOPIC_COUNT][WORLD_PARTITIONS];
    struct topics topics;
    struct config config;
    struct settings settings;
    struct codec *codec;
    struct calendar *calendar;
    struct validate *validate;
    struct isolate *isolate; /* opened by the test; NULL: none. world_close closes it */
    struct ll_err err;

    int64_t wall_ms, steady_ms;
    struct world_event events[WORLD_EVENTS_MAX];
    size_t event_count;
    struct bus_position assigned[TOPIC_COUNT * WORLD_PARTITIONS];
    size_t assigned_count;
    bool is_flowing;
    size_t held;  /* records polled and not released */
    size_t robin; /* where the next poll looks first */
    size_t polls;

    struct {
        enum topic topic;
        int32_t partition;
        struct world_record record;
    } pending[WORLD_PENDING_MAX];
    size_t pending_count;
    struct bus_position pending_offsets[TOPIC_COUNT * WORLD_PARTITIONS];
    size_t pending_offset_count;
    bool is_open;
    size_t commits, aborts, opens, starts;
    int64_t started_ms; /* steady, of the last start */

    /* Faults. */
    int fail_commits;      /* so many commits end in an abort */
    int fail_sends;        /* so many sends find the transaction failed */
    int break_commits;     /* so many commits end their producer (LL_FATAL) */
    int break_aborts;      /* so many aborts */
    int slow_opens;        /* so many times a producer is not ready yet */
    int fail_opens;        /* so many times a producer finds no broker */
    bool is_unjudged;      /* another process of the group is behind with references */
    bool is_registry_down; /* a schema id that is not known here cannot be asked for */
};

/* The world, with one product, store and customer known ("P1" of "tea", "S1", "C1"), and the process not
 * started. */
void world_open(struct world *world);
void world_close(struct world *world);
/* A new process against the same Kafka: every partition is assigned to it. */
void world_start(struct world *world);
/* The process is gone without a word (kill -9): its transaction is aborted, as its successor's init does. */
void world_kill(struct world *world);
/* Steps for four seconds: beyond every back-off, within the grace. */
void world_settle(struct world *world);
void world_step(struct world *world, int count);
void world_rebalance(struct world *world, bool lost);

int64_t world_put(struct world *world, enum topic topic, int32_t partition, struct text key,
                  struct text value, const struct bus_header *headers, size_t header_count);
/* Encodes and puts an event; returns its offset. */
int64_t world_put_event(struct world *world, enum topic topic, int32_t partition, struct text key,
                        const struct event *event);
/* A good sale of one line; change it, then world_put_event. lines must hold one line. */
struct event world_sale(const struct world *world, const char *id, struct line *lines);
void world_put_customer(struct world *world, const char *id);
/* Puts a sale that is good but for what is named: 'p' no price, 'c' an unknown customer, 's' another source; 0: nothing. */
int64_t world_put_sale(struct world *world, int32_t partition, const char *id, char fault, const char *name);

/* Records that are no markers. */
size_t world_count(const struct world *world, enum topic topic, int32_t partition);
/* The n-th of them. */
const struct world_record *world_get(const struct world *world, enum topic topic, int32_t partition,
                                     size_t n);
/* "" if there is no such header. */
const char *world_header(const struct world_record *record, const char *name);
/* Valid sales (control records left out) and dead letters that name this raw record. */
size_t world_valid_of(struct world *world, int32_t partition, int64_t offset);
size_t world_dead_of(struct world *world, int32_t partition, int64_t offset);
/* The last RULES version or TICK time of a partition; 0: none. */
int64_t world_control(struct world *world, int32_t partition, enum control_kind kind, size_t *ret_count);
/* Each record of the partition of transactions is one accepted sale or one dead letter, and all are committed. */
void world_expect_decided_once(struct world *world, int32_t partition);
