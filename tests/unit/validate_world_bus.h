/*
 * validate_world_bus.h - the Kafka of a world, for validate_world.c alone: tests see validate_world.h.
 */
#pragma once

#include "tests/unit/validate_world.h"

/* self is the world. */
extern const struct bus_consumer_ops world_consumer;
extern const struct feed_ops world_feed;
/* arg is the world; what an earlier producer left open is aborted. */
enum ll_status world_open_producer(void *arg, struct bus_producer *ret, struct ll_err *err);
void world_drop_pending(struct world *world);

int32_t world_partitions(const struct world *world, enum topic topic);
/* Copies all that it is given. */
struct world_record world_record_of(struct text key, struct text value, const struct bus_header *headers, size_t count,
                                    int64_t timestamp_ms);
void world_record_free(struct world_record *record);
/* Takes what record points at; returns its offset. */
int64_t world_append(struct world_log *log, struct world_record record);
