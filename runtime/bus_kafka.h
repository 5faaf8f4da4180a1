/*
 * bus_kafka.h - what the parts of the Kafka bus need of each other.
 * Shape:  within runtime/ only: it shows librdkafka's types.
 */
#pragma once

#include "runtime/bus.h"
#include "runtime/config.h"
#include "runtime/err.h"

#include <librdkafka/rdkafka.h>
#include <stdbool.h>
#include <stddef.h>

/* The settings of everything that reads. */
enum ll_status bus_kafka_reading(rd_kafka_conf_t *settings, const struct config *config, bool catch_up,
                                 struct ll_err *err);
size_t bus_kafka_headers(const struct bus_record *record, struct bus_header ret[BUS_HEADERS_MAX]);
/* A message as a record; ret->held is the message. */
void bus_kafka_record(rd_kafka_message_t *message, struct bus_record *ret);
/* librdkafka's consumer behind it, for its group's metadata; NULL if it is not one of ours. */
rd_kafka_t *bus_kafka_handle(const struct bus_consumer *consumer);
/* Makes the handle by which a topic's records know their enum topic. Destroy before the client. */
rd_kafka_topic_t *bus_kafka_topic(rd_kafka_t *rk, enum topic topic);
