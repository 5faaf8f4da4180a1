/*
 * bus.h - the seam to Kafka: records in, records out, transactions, rebalances as events.
 * Shape:  two tables of functions. bus_kafka.c fills them over librdkafka; tests/sim fills them in memory. A consumer is
 *         one loop: poll, and do what the event says. A topic is its enum topic (runtime/topics.h).
 * Errors: LL_RETRY back off and try again; LL_FATAL the client is dead (fenced, or broken): stop the process, or for a
 *         producer close it and open a new one.
 * Thread: one thread only. librdkafka's callbacks run inside poll.
 */
#pragma once

#include "runtime/err.h"
#include "runtime/text.h"
#include "runtime/topics.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { BUS_HEADERS_MAX = 64 };

struct bus_header {
    struct text name, value;
};

/* One record. Texts are views, valid until bus_release. */
struct bus_record {
    enum topic topic;
    int32_t partition;
    int64_t offset;
    int64_t timestamp_ms;
    struct text key, value; /* data NULL: null */
    void *held;             /* the client's own message */
};

struct bus_position {
    enum topic topic;
    int32_t partition;
    int64_t offset; /* the next to read; BUS_COMMITTED: where the group stands, else the beginning */
};
enum { BUS_COMMITTED = -1000, BUS_BEGINNING = -2 };

enum bus_event {
    BUS_NONE,     /* nothing within the time */
    BUS_RECORD,   /* *ret is a record; release it when done */
    BUS_ASSIGNED, /* these partitions are ours now (changed()); nothing flows until start() */
    BUS_REVOKED,  /* these go (changed(), *lost tells whether they are gone already); let go of them, then call stop() */
    BUS_DOWN,     /* no broker answers (err says): in place of BUS_NONE until one does; go on polling */
    BUS_BROKEN,   /* fatal: fenced, or offset out of range (err says); stop the process */
};

struct bus_consumer_ops {
    enum bus_event (*poll)(void *self, int timeout_ms, struct bus_record *ret, struct ll_err *err);
    /* The partitions of the last ASSIGNED or REVOKED event; valid until the next poll. */
    const struct bus_position *(*changed)(void *self, size_t *ret_count, bool *ret_lost);
    /* These flow from here, what was paused before too. count 0: the partitions are ours, but nothing is fetched. */
    enum ll_status (*start)(void *self, const struct bus_position *from, size_t count, struct ll_err *err);
    enum ll_status (*stop)(void *self, struct ll_err *err); /* everything: assignment is eager */
    void (*release)(void *self, struct bus_record *record);
    /* The record's headers, at most BUS_HEADERS_MAX, views valid until release. Returns how many. */
    size_t (*headers)(void *self, const struct bus_record *record, struct bus_header ret[BUS_HEADERS_MAX]);
    /* Where the consumer stands: behind the last record polled, past transaction markers. -1: nothing polled since start(). */
    int64_t (*position)(void *self, enum topic topic, int32_t partition);
    enum ll_status (*watermarks)(void *self, enum topic topic, int32_t partition, int64_t *ret_low, int64_t *ret_high,
                                 struct ll_err *err);
    /* Where the group stands in these partitions, into positions; BUS_BEGINNING: nowhere yet. Only settled offsets are told:
     * LL_RETRY while a transaction that holds one of them is open. */
    enum ll_status (*committed)(void *self, struct bus_position *positions, size_t count, struct ll_err *err);
    /* Advisory group offsets, for lag tools; asynchronous, errors are logged and forgotten. */
    void (*commit)(void *self, const struct bus_position *next, size_t count);
    enum ll_status (*pause)(void *self, enum topic topic, int32_t partition, bool paused, struct ll_err *err);
    void (*close)(void *self); /* in bounded time */
};

struct bus_consumer {
    const struct bus_consumer_ops *ops;
    void *self;
};

struct bus_out {
    enum topic topic;
    int32_t partition; /* BUS_BY_KEY: murmur2_random of the key, as Java clients do */
    int64_t timestamp_ms; /* 0: now */
    struct text key, value;
    const struct bus_header *headers;
    size_t header_count;
};
enum { BUS_BY_KEY = -1 };

struct bus_producer_ops {
    /* Transactions, for a producer that was opened with a transactional id; all others return LL_FATAL. */
    enum ll_status (*begin)(void *self, struct ll_err *err);
    /* Puts the consumer's offsets into the transaction, fenced by its group's generation (KIP-447). */
    enum ll_status (*send_offsets)(void *self, struct bus_consumer *consumer, const struct bus_position *next,
                                   size_t count, struct ll_err *err);
    /* LL_OK: all sent records and offsets are in, at once. LL_RETRY: the transaction is aborted, nothing is in: the
     * caller rereads from its last commit. LL_FATAL: close the producer, open a new one. */
    enum ll_status (*commit)(void *self, struct ll_err *err);
    enum ll_status (*abort)(void *self, struct ll_err *err);

    /* Copies the record into the client's queue; waits while the queue is full. */
    enum ll_status (*send)(void *self, const struct bus_out *out, struct ll_err *err);
    /* Waits until everything sent was acknowledged. LL_FATAL names the first record that was not. */
    enum ll_status (*flush)(void *self, int timeout_ms, struct ll_err *err);
    void (*close)(void *self);
};

struct bus_producer {
    const struct bus_producer_ops *ops;
    void *self;
};
