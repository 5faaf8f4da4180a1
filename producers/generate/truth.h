/*
 * truth.h - what the pipeline must come to, by a computation of its own; the pipeline never reads it.
 * Shape:  every transaction that goes out is taken in, in the order of arrival. The rules are the few that
 *         the default rule set needs: 1 point for every 10.00 of what is left of a sale, rounded down once a
 *         transaction. A sale posts its points; a return or void posts the difference that it makes; a return
 *         that names no sale takes floor(total / 10.00). A return that comes before its sale posts when the
 *         sale comes.
 * Files:  truth/customers.csv, truth/summary.json, truth/defects.csv: one row for each dead letter (or
 *         warning) that must appear.
 * Units:  _minor is int64 minor units; points are whole points.
 */
#pragma once

#include "producers/generate/stream.h"
#include "runtime/err.h"

#include <stdint.h>

/* Where a transaction was written. */
struct placed {
    const char *head_file; /* a topic's name where it went to a topic */
    int64_t head_line;     /* 0: there is no line (a topic; a header row that was left out) */
    const char *item_file; /* NULL: the lines are part of the head */
    int64_t item_line;     /* of the first line */
};

struct truth;

/* Makes <out>/truth and opens its files. */
enum ll_status truth_new(const struct generate_options *options, struct truth **ret, struct ll_err *err);
void truth_take(struct truth *truth, const struct made *made, const struct placed *placed);
/* A reference record that is refused, or taken with a warning. */
void truth_reference(struct truth *truth, const char *file, int64_t line, const char *id, uint64_t codes,
                     const char *defect);
/* A reference record, good or bad. */
void truth_count_reference(struct truth *truth);
/* Writes everything; fills ret. */
enum ll_status truth_finish(struct truth *truth, struct generate_result *ret, struct ll_err *err);
void truth_free(struct truth *truth);
