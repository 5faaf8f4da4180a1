/*
 * kafka_admin.h - the admin connection, as its two parts share it.
 * Shape:  within runtime/ only: it shows librdkafka's types.
 */
#pragma once

#include "runtime/kafka_client.h"

struct kafka_admin {
    struct kafka_client client; /* first: it is librdkafka's opaque pointer */
    rd_kafka_queue_t *answers;
};

/* What a topic is created with and compared by. */
enum { KAFKA_TOPIC_SETTINGS = 4, KAFKA_SETTING_SIZE = 32 };
struct kafka_topic_setting {
    const char *name;
    char value[KAFKA_SETTING_SIZE];
};
void kafka_topic_settings(const struct topics *topics, enum topic topic,
                          struct kafka_topic_setting ret[KAFKA_TOPIC_SETTINGS]);

/* Options of one request; the caller destroys them. */
rd_kafka_AdminOptions_t *kafka_admin_options(struct kafka_admin *admin, rd_kafka_admin_op_t request,
                                             int timeout_ms);
/* The answer to the request just sent, of that type; NULL with err filled if there is none. The caller
 * destroys it. */
rd_kafka_event_t *kafka_admin_answer(struct kafka_admin *admin, rd_kafka_event_type_t type, int timeout_ms,
                                     const char *what, enum ll_status *ret_status, struct ll_err *err);
