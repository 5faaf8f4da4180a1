/*
 * output.h - what leaves an import, in one fixed order, and the counts of it.
 * Shape:  an event or a dead row goes to the sink; its place in the order is its number. The order depends on
 * the files and the profile alone, so that a killed import can be run again and leave out what is already
 * there.
 */
#pragma once

#include "runtime/err.h"
#include "runtime/topics.h"
#include "schemas/codes.h"
#include "schemas/event.h"

#include <stdint.h>

struct dead_row {
    uint64_t codes;
    const char *message;
    struct text raw; /* as it stands in the file */
    const char *file;
    int64_t line;
    enum topic topic; /* where it would have gone */
};

/* Where outputs go: Kafka, or a test. */
struct import_sink {
    enum ll_status (*event)(void *self, enum topic topic, struct text key, const struct event *event,
                            struct ll_err *err);
    enum ll_status (*dead)(void *self, const struct dead_row *row, struct ll_err *err);
    /* All references are out, sales follow: they must be visible first. */
    enum ll_status (*settle)(void *self, struct ll_err *err);
    void *self;
};

struct import_counts {
    int64_t lines_read, lines_good, lines_bad; /* rows but the headers; at the end read = good + bad */
    int64_t lines_blank;
    int64_t bad_by_code[CODE_COUNT];
    int64_t events[TOPIC_COUNT];
    int64_t sales, returns, voids;
    int64_t net_minor; /* of the events: sales less returns; may wrap only with absurd input, and then says
                          nothing */
    int64_t outputs;   /* events and dead rows */
};

struct output {
    struct import_sink sink;
    struct import_counts counts;
};

/* rows: how many of the file's rows the event stands for. */
enum ll_status output_event(struct output *output, enum topic topic, const struct event *event, int64_t rows,
                            struct ll_err *err);
enum ll_status output_dead(struct output *output, const struct dead_row *row, struct ll_err *err);
/* The record's key: a sale's is customer_id, else original_transaction_id, else transaction_id (DESIGN 1). */
struct text output_key(const struct event *event);
