/*
 * scan.h - read topics from a start to the end that they have now, record by record.
 * Errors: LL_RETRY: no broker answered for REACH_TIMEOUT_MS. LL_FATAL: the reader broke.
 */
#pragma once

#include "ops/lens.h"
#include "runtime/kafka.h"

#include <stdbool.h>

struct scan {
    const enum topic *topics;
    size_t topic_count;
    const struct bus_position *starts; /* partitions that do not begin at their beginning */
    size_t start_count;
    const char *doing; /* shown as progress: "reading transactions.valid"; NULL: silent */
    /* False: enough. The record and its headers are valid during the call. */
    bool (*each)(void *arg, struct kafka_reader *reader, const struct bus_record *record);
    void *arg;
};

enum ll_status scan_run(struct lens *lens, const struct topics *topics, const struct scan *scan,
                        struct ll_err *err);

/* The value of a header; data NULL: there is none. */
struct text scan_header(const struct bus_header *headers, size_t count, const char *name);
/* A decimal number, or otherwise where it is none. */
int64_t scan_int(struct text text, int64_t otherwise);
