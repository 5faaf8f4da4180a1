/*
 * dead.h - the headers of a dead letter, and of a record that waits in transactions.retry.
 * Shape:  ours, then the original headers, untouched: a reader sees BUS_HEADERS_MAX of them and must not miss ours. Names that
 *         we write replace older ones of the same name, so that a record which is refused again tells of the last time. Pure.
 * Source: DESIGN 3. The aliases are Kafka Connect's (KIP-298) and Spring Kafka's DeadLetterPublishingRecoverer's.
 */
#pragma once

#include "consumers/validate/settings.h"
#include "runtime/bus.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { DEAD_HEADERS_MAX = BUS_HEADERS_MAX + 40, DEAD_MESSAGE_SIZE = 2048, DEAD_CODES_SIZE = 1024 };

/* Where a record first stood, and how often it has come. */
struct origin {
    enum topic topic;
    int32_t partition;
    int64_t offset;
    int64_t timestamp_ms; /* broker's */
    int64_t first_at_ms;  /* ll-first-at of a redriven record, else timestamp_ms */
    int32_t attempt;      /* ll-attempt: how often it was redriven */
};

/* Of a record that was polled from a raw topic or from transactions.retry. */
struct origin origin_of(const struct bus_record *record, const struct bus_header *headers, size_t count);

struct dead_letter {
    struct origin origin;
    uint64_t codes;
    const char *message;
    const char *group;
    int32_t schema_id; /* -1: none could be read */
    int line;          /* position of the line that goes alone; -1: the whole record */
    int32_t line_no;
};

struct dead_headers {
    struct bus_header list[DEAD_HEADERS_MAX];
    size_t count;
    size_t used;
    char text[DEAD_CODES_SIZE + 2048]; /* what the values point at, but for the message */
};

void dead_headers_make(const struct dead_letter *letter, const struct settings *settings,
                       const struct bus_header *original, size_t original_count, struct dead_headers *ret);
/* Carries the origin, for origin_of(). */
void retry_headers_make(const struct origin *origin, const struct bus_header *original, size_t original_count,
                        struct dead_headers *ret);
