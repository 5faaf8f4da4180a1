/*
 * cursor.h - Avro's primitives out of untrusted bytes, each with every check there is.
 * Shape:  a cursor never passes its end. Each read moves on and returns CODE_NONE, or says why not.
 * Errors: DECODE_TRUNCATED, DECODE_LIMIT, DECODE_VALUE. A number has one encoding only, the shortest, as
 *         every writer makes it: an overlong one is corruption, and would break "same bytes, same content".
 * Source: Avro 1.11 specification, "Binary Encoding"; LIMITS 2, D2, D8, D10.
 */
#pragma once

#include "runtime/text.h"
#include "schemas/codes.h"
#include "schemas/utf8.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct cursor {
    const unsigned char *at, *end;
};

static inline size_t cursor_left(const struct cursor *cursor)
{
    return (size_t)(cursor->end - cursor->at);
}

/* The rest of a number that did not end with its first byte. */
static inline enum code cursor_varint_tail(struct cursor *cursor, uint64_t *ret)
{
    uint64_t value = *cursor->at & 0x7f;
    const unsigned char *at = cursor->at + 1;
    for (unsigned shift = 7; at < cursor->end; shift += 7, at++) {
        value |= (uint64_t)(*at & 0x7f) << shift;
        if (*at < 0x80) {
            if (*at == 0 || (shift == 63 && *at > 1))
                return CODE_DECODE_VALUE;
            cursor->at = at + 1;
            *ret = value;
            return CODE_NONE;
        }
        if (shift == 63)
            return CODE_DECODE_VALUE;
    }
    return CODE_DECODE_TRUNCATED;
}

/* A number that does not end with its first byte: of two bytes or three, as prices are, without a loop. The lengths are
 * asked for one by one: the processor guesses them, and reads on meanwhile. (Reckoned from a word of eight bytes, each read
 * would wait for the one before: a sixth slower.) */
static inline enum code cursor_varint(struct cursor *cursor, uint64_t *ret)
{
    const unsigned char *at = cursor->at;
    if (cursor_left(cursor) >= 3 && at[1] < 0x80) {
        *ret = (at[0] & 0x7fu) | (uint64_t)at[1] << 7;
        if (at[1] == 0)
            return CODE_DECODE_VALUE;
        cursor->at += 2;
        return CODE_NONE;
    }
    if (cursor_left(cursor) >= 3 && at[2] < 0x80) {
        *ret = (at[0] & 0x7fu) | (at[1] & 0x7fu) << 7 | (uint64_t)at[2] << 14;
        if (at[2] == 0)
            return CODE_DECODE_VALUE;
        cursor->at += 3;
        return CODE_NONE;
    }
    return cursor_varint_tail(cursor, ret);
}

static inline enum code cursor_long(struct cursor *cursor, int64_t *ret)
{
    uint64_t raw;
    if (cursor->at == cursor->end)
        return CODE_DECODE_TRUNCATED;
    if (*cursor->at < 0x80) {
        raw = *cursor->at++;
    } else {
        enum code code = cursor_varint(cursor, &raw);
        if (code != CODE_NONE)
            return code;
    }
    *ret = (int64_t)(raw >> 1) ^ -(int64_t)(raw & 1);
    return CODE_NONE;
}

static inline enum code cursor_int(struct cursor *cursor, int32_t *ret)
{
    int64_t value;
    if (cursor->at < cursor->end && *cursor->at < 0x80) { /* no int is too large in one byte */
        int32_t raw = *cursor->at++;
        *ret = (raw >> 1) ^ -(raw & 1);
        return CODE_NONE;
    }
    enum code code = cursor_long(cursor, &value);
    if (code != CODE_NONE)
        return code;
    if (value < INT32_MIN || value > INT32_MAX)
        return CODE_DECODE_VALUE;
    *ret = (int32_t)value;
    return CODE_NONE;
}

static inline enum code cursor_boolean(struct cursor *cursor, bool *ret)
{
    if (cursor->at == cursor->end)
        return CODE_DECODE_TRUNCATED;
    if (*cursor->at > 1)
        return CODE_DECODE_VALUE;
    *ret = *cursor->at++ == 1;
    return CODE_NONE;
}

/* The index of an enum's symbol or of a union's branch, below count. */
static inline enum code cursor_index(struct cursor *cursor, uint32_t count, uint32_t *ret)
{
    int64_t value;
    enum code code = cursor_long(cursor, &value);
    if (code != CODE_NONE)
        return code;
    if (value < 0 || value >= count)
        return CODE_DECODE_VALUE;
    *ret = (uint32_t)value;
    return CODE_NONE;
}

static inline enum code cursor_skip(struct cursor *cursor, size_t size)
{
    if (size > cursor_left(cursor))
        return CODE_DECODE_TRUNCATED;
    cursor->at += size;
    return CODE_NONE;
}

/* Bytes with their size before them: a view. */
static inline enum code cursor_bytes(struct cursor *cursor, uint32_t limit, struct text *ret)
{
    int64_t size;
    if (cursor->at < cursor->end && (*cursor->at & 0x81) == 0) { /* below 64, as nearly all are */
        size = *cursor->at++ >> 1;
    } else {
        enum code code = cursor_long(cursor, &size);
        if (code != CODE_NONE)
            return code;
        if (size < 0)
            return CODE_DECODE_VALUE;
    }
    if (size > limit)
        return CODE_DECODE_LIMIT;
    if ((size_t)size > cursor_left(cursor))
        return CODE_DECODE_TRUNCATED;
    *ret = (struct text){(const char *)cursor->at, (uint32_t)size};
    cursor->at += size;
    return CODE_NONE;
}

static inline enum code cursor_text(struct cursor *cursor, uint32_t limit, struct text *ret)
{
    struct text text;
    enum code code = cursor_bytes(cursor, limit, &text);
    if (code != CODE_NONE)
        return code;
    if (!utf8_valid(text)) {
        cursor->at -= text.size; /* where it stands, for the message */
        return CODE_DECODE_VALUE;
    }
    *ret = text;
    return CODE_NONE;
}

/* The head of an array's or a map's block. count 0: it was the end. A writer may say where the block ends (a
 * negative count, then its size in bytes): it must be true, which cursor_block_ends checks. */
struct block {
    uint32_t count;
    bool sized;
    const unsigned char *end; /* if sized */
};

static inline enum code cursor_block(struct cursor *cursor, uint32_t limit, struct block *ret)
{
    int64_t count, size;
    enum code code = cursor_long(cursor, &count);
    if (code != CODE_NONE)
        return code;
    *ret = (struct block){.sized = count < 0, .end = cursor->end};
    if (ret->sized) {
        if (count < -(int64_t)limit)
            return CODE_DECODE_LIMIT;
        count = -count;
        code = cursor_long(cursor, &size);
        if (code != CODE_NONE)
            return code;
        if (size < 0)
            return CODE_DECODE_VALUE;
        if ((uint64_t)size > cursor_left(cursor))
            return CODE_DECODE_TRUNCATED;
        ret->end = cursor->at + size;
    }
    if (count > limit)
        return CODE_DECODE_LIMIT;
    ret->count = (uint32_t)count;
    return CODE_NONE;
}

static inline enum code cursor_block_ends(const struct cursor *cursor, const struct block *block)
{
    return block->sized && block->end != cursor->at ? CODE_DECODE_VALUE : CODE_NONE;
}
