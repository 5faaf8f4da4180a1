/*
 * posting.h - one row of the ledger: what an accepted event did to points, and everything needed to prove it again.
 * Shape:  a row is written and read in PostgreSQL's COPY BINARY form (PostgreSQL 15 manual, COPY, "Binary Format"), so one
 *         encoder feeds the flush and one parser reads rows that still wait for it, rows looked up, and rows being verified.
 *         Rows are never changed; a correction is a new row.
 *         An empty category, promotion or product of a line is null. A NUL in a text, or a control character in a line's
 *         part, is written as '?': Postgres takes no NUL, and lines are separated by them. A time or day that Postgres
 *         does not hold is cut at its ends.
 * Units:  points are whole points; _minor is int64 minor units of the program's currency, negative when given back;
 *         _ms is int64 ms since 1970 UTC; _day is days since 1970-01-01 in the program's time zone.
 */
#pragma once

#include "runtime/err.h"
#include "runtime/text.h"
#include "schemas/event.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A return row may hold each line of its sale, and each of its own as excess. */
enum { POSTING_LINES_MAX = 2 * EVENT_LINES_MAX, POSTING_RULES_MAX = 64 };

struct posting_line {
    struct text product_id;
    struct text category;     /* nullable */
    struct text promotion_id; /* nullable */
    int64_t amount_minor;     /* net effect: positive on a sale, negative on a return */
    int64_t excess_minor;     /* returned beyond what the sale holds; 0 or positive; no effect on points */
};

struct posting_rule {
    int32_t rule_id;
    int64_t points;
};

struct posting {
    int32_t run;
    int32_t partition;
    int64_t offset; /* of the record that caused the row */
    int32_t seq;    /* 0, or 1.. for held returns that this record released */
    int64_t event_offset; /* of the record that carried the event; == offset but for released returns */
    int64_t identity_hash;
    int64_t content_hash;
    struct text source;
    enum transaction_type type;
    struct text transaction_id;
    struct text sale_id;  /* null: a sale, or a return that names none; else its sale's transaction_id */
    int64_t sale_hash;    /* identity_hash of the sale that this row belongs to; its own where there is none */
    struct text customer_id; /* null: unidentified spend */
    struct text store_id;    /* nullable */
    int64_t net_minor;       /* sum of the lines' amount_minor */
    struct posting_line *lines;
    uint32_t line_count;
    int32_t sale_day; /* the day it is booked to: its sale's */
    int64_t points;   /* target - already posted */
    int32_t rules_version; /* pinned: its sale's. 0: no rule set was in force */
    struct posting_rule *rules; /* what each rule gives, as a difference to what it had given; sums to points */
    uint32_t rule_count;
    int64_t event_time_ms;
    int64_t posted_at_ms; /* the log's clock at the record that caused it */
    uint64_t warnings;    /* set of codes (schemas/codes.h) */
    struct text raw_topic; /* where the event came from */
    int32_t raw_partition;
    int64_t raw_offset;
};

/* Growing byte buffer (pages.h); data is NULL at first. Out of memory aborts (STYLE). */
struct row_buffer {
    char *data;
    size_t size, capacity;
    size_t rows;
};
void row_buffer_done(struct row_buffer *buffer);
/* Keeps the memory. */
void row_buffer_clear(struct row_buffer *buffer);

/* Appends the row; returns the position of its first byte in buffer->data. */
size_t posting_write(struct row_buffer *buffer, const struct posting *posting);
/* Reads the row at bytes[0..size). Texts are views into bytes; lines and rules go to the caller's arrays (POSTING_*_MAX).
 * Returns the bytes consumed, or 0: not a row of ours (a bug or another version of the table). */
size_t posting_read(const char *bytes, size_t size, struct posting_line *lines, struct posting_rule *rules,
                    struct posting *ret);
/* The columns in the order of the encoding, for `COPY loyalty.postings (...)` and `COPY (select ...)`. */
extern const char posting_columns[];
