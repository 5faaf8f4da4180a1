/*
 * generate.h - synthetic sales from a seed: byte-identical on every machine, with everything that real ones
 * bring along.
 * Shape:  options -> a world (world.h) -> a stream of transactions in the order in which they arrive
 *         (stream.h) -> a sink: CSV files of the profile header_lines (sink_csv.c), or Avro on the raw topics
 *         (sink_topics.c). Beside them the truth (truth.h): what every customer must end with, by a
 *         computation of its own, and every planted defect with its codes.
 * Units:  _permyriad is hundredths of a percent.
 */
#pragma once

#include "runtime/config.h"
#include "runtime/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { GENERATE_PATH_SIZE = 768 };

struct generate_options {
    uint64_t seed;
    int32_t start_day, days;
    int32_t customers, products, stores;
    int64_t sales;
    int32_t defects_permyriad, returns_permyriad, duplicates_permyriad; /* of the sales */
    char currency[4];
    char out[GENERATE_PATH_SIZE]; /* directory of the CSV files and of truth/ */
    bool topics;                  /* onto the raw topics; out takes the truth alone */
    int64_t rate_per_s;           /* with topics: 0 is full speed */
};

struct generate_result {
    int64_t transactions, lines; /* written, bad ones and repetitions too */
    int64_t defects;
    int64_t points_balance;
};

void generate_defaults(struct generate_options *ret);
/* Words for a bad combination. */
enum ll_status generate_check(const struct generate_options *options, struct ll_err *err);

typedef void generate_progress_fn(void *arg, int64_t done, int64_t total);

/* config is needed with topics alone. progress may be NULL. LL_RETRY: Kafka; LL_FATAL: a file cannot be
 * written. */
enum ll_status generate_run(const struct generate_options *options, const struct config *config,
                            generate_progress_fn *progress, void *arg, struct generate_result *ret,
                            struct ll_err *err);
