/*
 * stream.h - the transactions, in the order in which they arrive.
 * Shape:  each sale is made on its day and brings its returns, its void and its repetitions along; all wait
 *         in a heap for their time of arrival. stream_next gives them out. What is wrong with one is labelled
 *         on it (defects.h).
 * Units:  _minor is int64 minor units; _ms is int64 ms since 1970 UTC. arrives_ms orders, nothing else.
 */
#pragma once

#include "producers/generate/generate.h"
#include "producers/generate/world.h"
#include "schemas/codes.h"
#include "schemas/event.h"

#include <stdbool.h>
#include <stdint.h>

enum { MADE_LINES_MAX = 10, MADE_ID_SIZE = 24 };

/* Which process must refuse it. */
enum made_stage { STAGE_NONE, STAGE_IMPORT, STAGE_VALIDATE, STAGE_ACCRUE, STAGE_COUNT };

/* Damage below the level of fields, done by the sink. */
enum made_damage {
    DAMAGE_NONE,
    /* of a row */
    DAMAGE_QUOTE,
    DAMAGE_COLUMNS,
    DAMAGE_CONTROL,
    DAMAGE_ENCODING,
    DAMAGE_TYPE,
    DAMAGE_TIME,
    DAMAGE_PRICE_TEXT,
    DAMAGE_PRICE_SCALE,
    DAMAGE_QUANTITY_TEXT,
    DAMAGE_LONG_TEXT,
    DAMAGE_NO_HEADER, /* the header row is left out */
    /* of a frame */
    DAMAGE_FRAME_SHORT,
    DAMAGE_FRAME_MAGIC,
    DAMAGE_SCHEMA_UNKNOWN,
    DAMAGE_SCHEMA_OTHER,
    DAMAGE_TRUNCATED,
    DAMAGE_TRAILING,
    DAMAGE_ENUM,
    DAMAGE_UTF8,
    DAMAGE_LENGTH,
};

struct made_line {
    int32_t line_no;
    char product_id[WORLD_ID_SIZE], promotion_id[WORLD_ID_SIZE];
    int32_t product; /* index in the world */
    int64_t quantity, unit_price_minor, discount_minor, amount_minor;
};

struct made {
    int64_t arrives_ms, number; /* the order; number is unique */
    enum transaction_type type;
    char transaction_id[MADE_ID_SIZE], original_id[MADE_ID_SIZE];
    char store_id[WORLD_ID_SIZE], customer_id[WORLD_ID_SIZE], currency[4], source[16];
    const char *channel; /* "" none */
    int32_t customer;    /* -1: anonymous */
    int64_t event_time_ms, total_minor;
    struct made_line lines[MADE_LINES_MAX];
    int line_count;

    int64_t sale;      /* number of the sale that it is, or belongs to; -1: a return that names none */
    bool sale_watched; /* more will come about this sale: the truth must remember it */
    bool repetition;   /* an exact copy of what came before */
    uint64_t codes;    /* expected; warnings too. 0: it is good */
    enum made_stage stage;
    enum made_damage damage;
    int damaged_line;   /* of a CSV file: -1 the header row, else the line's */
    const char *defect; /* its name; NULL: none */
};

struct stream;

struct stream *stream_new(const struct generate_options *options, const struct world *world);
void stream_free(struct stream *stream);
/* False at the end. Valid until the next call. */
bool stream_next(struct stream *stream, const struct made **ret);

/* For defects.c. */
int64_t made_sum(const struct made *made);
void made_strip_promotions(const struct world *world, struct made *made);
