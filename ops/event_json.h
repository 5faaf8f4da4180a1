/*
 * event_json.h - an event as JSON, for people and programs that look at one record.
 * Shape:  every field by its name in the .avsc; strings inert (ops/inert.h); times as ISO 8601 beside their milliseconds.
 */
#pragma once

#include "runtime/topics.h"
#include "schemas/event.h"

#include <jansson.h>
#include <stdbool.h>

/* The caller owns it. */
json_t *event_json(const struct event *event);
/* What a topic's values are. False: no event of ours (dead-letter). */
bool event_kind_of(enum topic topic, enum event_kind *ret);
/* "2011-02-28T12:34:56.789Z". */
json_t *event_json_time(int64_t time_ms);
/* "2011-02-28". */
json_t *event_json_day(int32_t day);
const char *event_type_name(enum transaction_type type);
