/*
 * kafka_client.h - what every connection to Kafka has in common: settings, security, log, health, an end in bounded time.
 * Shape:  struct kafka_client is the first member of the consumer, the producer, the reader and the admin connection, and
 *         librdkafka's opaque pointer. Within runtime/ only: it shows librdkafka's types.
 * Thread: logs and errors arrive inside poll (log.queue), on the application's thread.
 */
#pragma once

#include "runtime/bus.h"
#include "runtime/config.h"
#include "runtime/err.h"

#include <librdkafka/rdkafka.h>
#include <stdbool.h>
#include <stdint.h>

enum {
    KAFKA_ANSWER_MS = 5000,          /* one question to a broker that is there */
    KAFKA_RECORD_SIZE_MAX = 4 << 20, /* a dead letter is a record of up to 1 MB and its headers */
};

struct kafka_client {
    rd_kafka_t *rk;
    const char *role; /* "consumer", for the log */
    char address[CONFIG_TEXT_SIZE];
    char user[CONFIG_TEXT_SIZE], password_file[CONFIG_TEXT_SIZE]; /* "": none is asked for */
    char trouble[320]; /* why the last connection failed */
    bool is_doubtful;  /* a connection failed: it will be asked whether a broker answers */
    bool is_down;      /* no broker answers */
    bool is_refused;   /* not let in: its password is read again */
    bool is_broken;    /* fatal; trouble says why */
    int64_t asked_ms;  /* while down: when the broker was last asked whether it is there */
    int64_t failed_ms; /* when a connection last failed; 0: never */
    rd_kafka_resp_err_t broken_by;
};

/* Settings alike for all, with the callbacks; *ret is taken by kafka_client_start, or destroyed by the
 * caller. */
enum ll_status kafka_client_settings(struct kafka_client *client, const struct config *config,
                                     const char *role, rd_kafka_conf_t **ret, struct ll_err *err);
enum ll_status kafka_set(rd_kafka_conf_t *settings, const char *name, const char *value, struct ll_err *err);
enum ll_status kafka_set_number(rd_kafka_conf_t *settings, const char *name, int64_t value,
                                struct ll_err *err);
/* Takes settings, also on an error. */
enum ll_status kafka_client_start(struct kafka_client *client, rd_kafka_type_t type,
                                  rd_kafka_conf_t *settings, struct ll_err *err);
/* Closes (a consumer leaves its group) and destroys within timeout_ms. False: it hangs and is left behind,
 * and said so; then *client must stay where it is (its process is about to end). Topic handles, messages and
 * partition lists must be gone before. */
bool kafka_client_end(struct kafka_client *client, int timeout_ms);

/* While the broker was away the group forgot this static member and took it in anew; a heartbeat that was still on its way
 * carries its old name then, and librdkafka takes that for a rival's fence, which is fatal. True: broken by a fence so soon
 * after an outage that it is more likely that than another process of the same name. */
bool kafka_client_was_forgotten(const struct kafka_client *client);

/* A fatal error was seen: notes why. */
void kafka_client_broke(struct kafka_client *client, rd_kafka_t *rk);

/* BUS_DOWN, again and again until a broker answers, or BUS_BROKEN, else BUS_NONE. After a failed connection the
 * broker is asked whether it is there (librdkafka's "all brokers down" does not come while requests wait for one),
 * and while it is down once a second, so that it also ends where no record flows. */
enum bus_event kafka_client_health(struct kafka_client *client, struct ll_err *err);

/* "kafka 127.0.0.1:9092: what: librdkafka's words" and the status that the code asks for: LL_RETRY, or
 * LL_FATAL for what no waiting heals. */
enum ll_status kafka_fail(const struct kafka_client *client, struct ll_err *err, rd_kafka_resp_err_t code,
                          const char *what);

/* The same as librdkafka wants it. The caller destroys it, always: a leaked one can make the client's end
 * hang. */
rd_kafka_topic_partition_list_t *kafka_list_new(const struct bus_position *positions, size_t count);
