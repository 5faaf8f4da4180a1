/*
 * kafka.h - opens what bus.h describes on a real broker, and the few admin requests that the tools need.
 * Source: KAFKA.md for every setting; librdkafka 2.0.2 has no usable batch API and no usable seek.
 */
#pragma once

#include "runtime/bus.h"
#include "runtime/config.h"
#include "runtime/err.h"
#include "runtime/topics.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct kafka_consumer_options {
    const char *group;    /* group.id; NULL: no group, for kafka_reader */
    const char *instance; /* group.instance.id (static membership); NULL: dynamic */
    const enum topic *topics;
    size_t topic_count;
    bool catch_up; /* large fetches */
};

/* Validates and connects in the background; does not wait for the broker. */
enum ll_status kafka_consumer_open(const struct config *config, const struct kafka_consumer_options *options,
                                   struct bus_consumer *ret, struct ll_err *err);

/* transactional_id NULL: idempotent, acks=all. With one: init_transactions is done here (waits for the broker; a
 * predecessor is fenced and its open transaction aborted). */
enum ll_status kafka_producer_open(const struct config *config, const char *transactional_id, struct bus_producer *ret,
                                   struct ll_err *err);
/* The same in steps, for who has other things to do meanwhile: begin connects in the background; ready moves the start of
 * transactions on, for timeout_ms at most. Until *ret_ready is true the producer is good for nothing but ready and close.
 * After an error of ready it is closed, and *producer empty.
 * pace_ms: after a small transaction the next one begins so much later; 0: at once. The broker answers the end of one before its
 * markers are in all partitions, and refuses the next one's partitions until they are (CONCURRENT_TRANSACTIONS); the client then
 * asks again after 20 ms, and for the offsets after 100. To come a little later is sooner done. */
enum ll_status kafka_producer_begin(const struct config *config, const char *transactional_id, int pace_ms,
                                    struct bus_producer *ret, struct ll_err *err);
enum ll_status kafka_producer_ready(struct bus_producer *producer, int timeout_ms, bool *ret_ready,
                                    struct ll_err *err);

/* A reader without a group: all partitions of some topics from a start to now, read_committed. For references, dead
 * letters, verify. */
struct kafka_reader;
enum ll_status kafka_reader_open(const struct config *config, const struct topics *topics, const enum topic *which,
                                 size_t count, struct kafka_reader **ret, struct ll_err *err);
/* Puts one partition at an offset before the first read (default: the beginning). */
void kafka_reader_start_at(struct kafka_reader *reader, enum topic topic, int32_t partition, int64_t offset);
/* BUS_RECORD, BUS_NONE (nothing within the time), BUS_DOWN, BUS_BROKEN. Release with kafka_reader_release. */
enum bus_event kafka_reader_read(struct kafka_reader *reader, int timeout_ms, struct bus_record *ret, struct ll_err *err);
size_t kafka_reader_headers(struct kafka_reader *reader, const struct bus_record *record,
                            struct bus_header ret[BUS_HEADERS_MAX]);
void kafka_reader_release(struct kafka_reader *reader, struct bus_record *record);
/* True once every partition was read up to the high watermark (LSO) that it had when the reader was opened (or when
 * kafka_reader_mark_ends was last called). */
bool kafka_reader_at_end(struct kafka_reader *reader);
/* Reads on to ends that the caller has asked for, on another connection: on the reader's own a question waits behind a fetch
 * that waits for records. */
void kafka_reader_mark_ends(struct kafka_reader *reader, const struct bus_position *ends, size_t count);
void kafka_reader_close(struct kafka_reader *reader);

/* Admin. Each waits timeout_ms at most; LL_RETRY: the broker did not answer. */
struct kafka_admin;
enum ll_status kafka_admin_open(const struct config *config, struct kafka_admin **ret, struct ll_err *err);
/* The same, but its watermarks tell where the log ends, whatever transactions are open below. */
enum ll_status kafka_admin_open_uncommitted(const struct config *config, struct kafka_admin **ret, struct ll_err *err);
void kafka_admin_close(struct kafka_admin *admin);
/* Asks for the cluster's metadata: is anybody there? */
enum ll_status kafka_admin_ping(struct kafka_admin *admin, int timeout_ms, struct ll_err *err);
/* Creates what is missing. A topic that exists with other facts is LL_FATAL with the difference, all of them listed. */
enum ll_status kafka_admin_create_topics(struct kafka_admin *admin, const struct topics *topics, int *ret_created,
                                         int timeout_ms, struct ll_err *err);
/* Partition count on the broker; 0: no such topic. */
enum ll_status kafka_admin_partitions(struct kafka_admin *admin, enum topic topic, int32_t *ret_count, int timeout_ms,
                                      struct ll_err *err);
/* read_committed end (LSO) and log start of one partition. */
enum ll_status kafka_admin_watermarks(struct kafka_admin *admin, enum topic topic, int32_t partition, int64_t *ret_low,
                                      int64_t *ret_high, int timeout_ms, struct ll_err *err);
/* The same of many partitions in one question: fills positions[].offset with the end (LSO), or with the log's start. */
enum ll_status kafka_admin_ends(struct kafka_admin *admin, struct bus_position *positions, size_t count,
                                int timeout_ms, struct ll_err *err);
enum ll_status kafka_admin_starts(struct kafka_admin *admin, struct bus_position *positions, size_t count,
                                  int timeout_ms, struct ll_err *err);
/* A group's committed offsets (-1: none) of many partitions in one question. */
enum ll_status kafka_admin_group_positions(struct kafka_admin *admin, const char *group,
                                           struct bus_position *positions, size_t count, int timeout_ms,
                                           struct ll_err *err);
/* A group's committed offsets of one topic, ret[partition] (-1: none), count = partitions asked for. */
enum ll_status kafka_admin_group_offsets(struct kafka_admin *admin, const char *group, enum topic topic,
                                         int64_t *ret, size_t count, int timeout_ms, struct ll_err *err);

/* A right of one user on a topic or a group (prefix: on all whose name begins so), from any host. */
enum kafka_act { KAFKA_READ_TOPIC, KAFKA_WRITE_TOPIC, KAFKA_READ_GROUP, KAFKA_DESCRIBE_GROUP };
struct kafka_right {
    enum kafka_act act;
    const char *name;
    bool is_prefix;
};
/* Rights that are there already stay. Rights on transactional ids are beyond librdkafka 2.0.2. */
enum ll_status kafka_admin_grant(struct kafka_admin *admin, const char *user, const struct kafka_right *rights, size_t count,
                                 int timeout_ms, struct ll_err *err);

/* The partition of a key under murmur2_random, as Java's producer and librdkafka's give it. */
int32_t kafka_partition_of(struct text key, int32_t partitions);
