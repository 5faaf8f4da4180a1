/*
 * hash.c - the two hashes that are kept for ever: of a transaction's content, and of its identity.
 * Shape:  XXH3-64, seed 0, over a canonical encoding that is ours alone: no Avro schema version, no compiler
 *         and no byte order can change it. Numbers are little-endian, int32 as 4 bytes, int64 as 8; a text is
 *         its size as 4 bytes (0xffffffff for null) and its bytes.
 *           content:  1 (the encoding's version, one byte), transaction_id, type (one byte),
 *                     original_transaction_id, event_time_ms, store_id, customer_id, currency, has_total (one
 *                     byte), total_minor (0 without), source, channel, line_count (4 bytes), then per line,
 *                     ascending by line_no: line_no, product_id, quantity, unit_price_minor, discount_minor,
 *                     amount_minor, promotion_id.
 *           identity: source, type (one byte), transaction_id.
 *         Lines are sorted because a line's number is its identity: the same lines told in another order are
 *         the same content, and a duplicate rather than a conflict.
 */
#include "schemas/event.h"

#include <endian.h>
#include <stdlib.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

enum { CONTENT_VERSION = 1, ROOM = 4096, NULL_TEXT = -1 };

/* Bytes on their way into the hash: most transactions fit into room and are hashed at once; for the others
 * state takes over, with the same result. */
struct hasher {
    size_t used;
    bool spilled;
    unsigned char room[ROOM];
    XXH3_state_t state;
};

static void spill(struct hasher *hasher)
{
    if (!hasher->spilled)
        XXH3_64bits_reset(&hasher->state);
    hasher->spilled = true;
    XXH3_64bits_update(&hasher->state, hasher->room, hasher->used);
    hasher->used = 0;
}

static inline void put_bytes(struct hasher *hasher, const void *bytes, size_t size)
{
    if (size > ROOM - hasher->used) {
        spill(hasher);
        if (size > ROOM) {
            XXH3_64bits_update(&hasher->state, bytes, size);
            return;
        }
    }
    memcpy(hasher->room + hasher->used, bytes, size);
    hasher->used += size;
}

static inline void put_byte(struct hasher *hasher, unsigned value)
{
    put_bytes(hasher, &(unsigned char){(unsigned char)value}, 1);
}

static inline void put_int(struct hasher *hasher, int32_t value)
{
    put_bytes(hasher, &(uint32_t){htole32((uint32_t)value)}, sizeof(uint32_t));
}

static inline void put_long(struct hasher *hasher, int64_t value)
{
    put_bytes(hasher, &(uint64_t){htole64((uint64_t)value)}, sizeof(uint64_t));
}

static inline void put_text(struct hasher *hasher, struct text text)
{
    put_int(hasher, text.data == NULL ? NULL_TEXT : (int32_t)text.size);
    if (text.data != NULL)
        put_bytes(hasher, text.data, text.size);
}

static int64_t hasher_end(struct hasher *hasher)
{
    if (!hasher->spilled)
        return (int64_t)XXH3_64bits(hasher->room, hasher->used);
    spill(hasher);
    return (int64_t)XXH3_64bits_digest(&hasher->state);
}

static void put_line(struct hasher *hasher, const struct line *line)
{
    put_int(hasher, line->line_no);
    put_text(hasher, line->product_id);
    put_long(hasher, line->quantity);
    put_long(hasher, line->unit_price_minor);
    put_long(hasher, line->discount_minor);
    put_long(hasher, line->amount_minor);
    put_text(hasher, line->promotion_id);
}

static int line_order(const void *a, const void *b)
{
    const struct line *left = *(struct line *const *)a, *right = *(struct line *const *)b;
    if (left->line_no != right->line_no)
        return left->line_no < right->line_no ? -1 : 1;
    return left < right ? -1 : left > right; /* equal numbers (never valid) stay as told */
}

static void put_lines_sorted(struct hasher *hasher, const struct transaction *transaction)
{
    const struct line **order = malloc(transaction->line_count * sizeof(struct line *));
    if (order == NULL)
        abort();
    for (uint32_t i = 0; i < transaction->line_count; i++)
        order[i] = &transaction->lines[i];
    qsort(order, transaction->line_count, sizeof(struct line *), line_order);
    for (uint32_t i = 0; i < transaction->line_count; i++)
        put_line(hasher, order[i]);
    free(order);
}

static bool lines_ascend(const struct transaction *transaction)
{
    for (uint32_t i = 1; i < transaction->line_count; i++)
        if (transaction->lines[i - 1].line_no > transaction->lines[i].line_no)
            return false;
    return true;
}

int64_t transaction_content_hash(const struct transaction *transaction)
{
    struct hasher hasher;
    hasher.used = 0;
    hasher.spilled = false;

    put_byte(&hasher, CONTENT_VERSION);
    put_text(&hasher, transaction->transaction_id);
    put_byte(&hasher, transaction->type);
    put_text(&hasher, transaction->original_transaction_id);
    put_long(&hasher, transaction->event_time_ms);
    put_text(&hasher, transaction->store_id);
    put_text(&hasher, transaction->customer_id);
    put_text(&hasher, transaction->currency);
    put_byte(&hasher, transaction->has_total);
    put_long(&hasher, transaction->has_total ? transaction->total_minor : 0);
    put_text(&hasher, transaction->source);
    put_text(&hasher, transaction->channel);
    put_int(&hasher, (int32_t)transaction->line_count);
    if (lines_ascend(transaction))
        for (uint32_t i = 0; i < transaction->line_count; i++)
            put_line(&hasher, &transaction->lines[i]);
    else
        put_lines_sorted(&hasher, transaction);
    return hasher_end(&hasher);
}

int64_t transaction_identity_hash(struct text source, enum transaction_type type, struct text transaction_id)
{
    struct hasher hasher;
    hasher.used = 0;
    hasher.spilled = false;

    put_text(&hasher, source);
    put_byte(&hasher, type);
    put_text(&hasher, transaction_id);
    return hasher_end(&hasher);
}
