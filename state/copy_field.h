/*
 * copy_field.h - fields of PostgreSQL's COPY BINARY form, written and read.
 * Shape:  writing: the caller has made room (row_reserve) once per row, the functions only store. Reading: a
 *         cursor that never passes its end; a field of another width makes the cursor bad, and it stays bad.
 * Source: PostgreSQL 15 manual, COPY, "Binary Format"; src/backend/utils/adt for the forms of the types.
 */
#pragma once

#include "runtime/text.h"
#include "state/pages.h"
#include "state/posting.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* timestamptz is us since 2000, date is days since 2000; both end somewhere. */
#define COPY_EPOCH_MS INT64_C(946684800000)
#define COPY_TIME_MS_MIN INT64_C(-211813488000000)
#define COPY_TIME_MS_MAX INT64_C(9223371331199999)
enum { COPY_EPOCH_DAY = 10957, COPY_DAY_MIN = -2451545, COPY_DAY_MAX = 2145031948 };

/* Room for size more bytes. */
static inline char *row_reserve(struct row_buffer *buffer, size_t size)
{
    if (buffer->capacity - buffer->size < size) {
        size_t capacity = buffer->capacity == 0 ? 4096 : buffer->capacity;
        while (capacity - buffer->size < size)
            capacity *= 2;
        buffer->data = pages_resize(buffer->data, buffer->capacity, capacity);
        buffer->capacity = capacity;
    }
    return buffer->data + buffer->size;
}

static inline char *put_u16(char *to, uint16_t value)
{
    value = __builtin_bswap16(value);
    memcpy(to, &value, sizeof value);
    return to + sizeof value;
}

static inline char *put_u32(char *to, uint32_t value)
{
    value = __builtin_bswap32(value);
    memcpy(to, &value, sizeof value);
    return to + sizeof value;
}

static inline char *put_u64(char *to, uint64_t value)
{
    value = __builtin_bswap64(value);
    memcpy(to, &value, sizeof value);
    return to + sizeof value;
}

static inline char *put_null(char *to) { return put_u32(to, UINT32_MAX); }
static inline char *put_int4(char *to, int32_t value) { return put_u32(put_u32(to, 4), (uint32_t)value); }
static inline char *put_int8(char *to, int64_t value) { return put_u64(put_u32(to, 8), (uint64_t)value); }

/* A time beyond what timestamptz holds is cut at its ends. */
static inline int64_t copy_time_of(int64_t time_ms)
{
    if (time_ms < COPY_TIME_MS_MIN + COPY_EPOCH_MS)
        return COPY_TIME_MS_MIN * 1000;
    if (time_ms > COPY_TIME_MS_MAX + COPY_EPOCH_MS)
        return COPY_TIME_MS_MAX * 1000;
    return (time_ms - COPY_EPOCH_MS) * 1000;
}

static inline char *put_time(char *to, int64_t time_ms) { return put_int8(to, copy_time_of(time_ms)); }

static inline char *put_day(char *to, int32_t day)
{
    int64_t since = (int64_t)day - COPY_EPOCH_DAY;
    if (since < COPY_DAY_MIN)
        since = COPY_DAY_MIN;
    return put_int4(to, (int32_t)(since > COPY_DAY_MAX ? COPY_DAY_MAX : since));
}

/* bytea, or a text that is known to be good. */
static inline char *put_bytes(char *to, struct text bytes)
{
    if (bytes.data == NULL)
        return put_null(to);
    to = put_u32(to, bytes.size);
    if (bytes.size > 0)
        memcpy(to, bytes.data, bytes.size);
    return to + bytes.size;
}

/* Bytes below limit become '?'. Postgres refuses NUL in a text, and one such byte would stop the partition.
 * */
static inline void copy_clean(char *at, size_t size, unsigned char limit)
{
    const uint64_t ones = UINT64_C(0x0101010101010101);
    char *end = at + size;
    for (; end - at >= 8; at += 8) {
        uint64_t word;
        memcpy(&word, at, sizeof word);
        if (((word - ones * limit) & ~word & (ones << 7)) == 0)
            continue;
        for (int byte = 0; byte < 8; byte++)
            if ((unsigned char)at[byte] < limit)
                at[byte] = '?';
    }
    for (; at < end; at++)
        if ((unsigned char)*at < limit)
            *at = '?';
}

static inline char *put_text(char *to, struct text text)
{
    char *end = put_bytes(to, text);
    copy_clean(end - text.size, text.size, 1);
    return end;
}

struct copy_cursor {
    const char *at, *end;
    bool bad;
};

static inline uint16_t take_u16(struct copy_cursor *cursor)
{
    uint16_t value = 0;
    if (cursor->end - cursor->at < 2) {
        cursor->bad = true;
        return 0;
    }
    memcpy(&value, cursor->at, sizeof value);
    cursor->at += sizeof value;
    return __builtin_bswap16(value);
}

/* A field's bytes; data NULL: null. */
static inline struct text take_bytes(struct copy_cursor *cursor)
{
    uint32_t size = 0;
    if (cursor->bad || cursor->end - cursor->at < 4) {
        cursor->bad = true;
        return (struct text){ NULL, 0 };
    }
    memcpy(&size, cursor->at, sizeof size);
    size = __builtin_bswap32(size);
    cursor->at += sizeof size;
    if (size == UINT32_MAX)
        return (struct text){ NULL, 0 };
    if (size > (uint64_t)(cursor->end - cursor->at)) {
        cursor->bad = true;
        return (struct text){ NULL, 0 };
    }
    struct text bytes = { cursor->at, size };
    cursor->at += size;
    return bytes;
}

/* A text that must be there. */
static inline struct text take_text(struct copy_cursor *cursor)
{
    struct text text = take_bytes(cursor);
    if (text.data == NULL)
        cursor->bad = true;
    return text;
}

static inline int64_t take_int8_or(struct copy_cursor *cursor, bool may_be_null, int64_t if_null)
{
    struct text bytes = take_bytes(cursor);
    uint64_t value;
    if (bytes.size != 8) {
        cursor->bad |= bytes.data != NULL || !may_be_null;
        return if_null;
    }
    memcpy(&value, bytes.data, sizeof value);
    return (int64_t)__builtin_bswap64(value);
}

static inline int64_t take_int8(struct copy_cursor *cursor) { return take_int8_or(cursor, false, 0); }

static inline int32_t take_int4_or(struct copy_cursor *cursor, bool may_be_null, int32_t if_null)
{
    struct text bytes = take_bytes(cursor);
    uint32_t value;
    if (bytes.size != 4) {
        cursor->bad |= bytes.data != NULL || !may_be_null;
        return if_null;
    }
    memcpy(&value, bytes.data, sizeof value);
    return (int32_t)__builtin_bswap32(value);
}

static inline int32_t take_int4(struct copy_cursor *cursor) { return take_int4_or(cursor, false, 0); }

static inline int64_t copy_time_to_ms(int64_t time)
{
    int64_t ms = time / 1000;
    return ms - (time % 1000 < 0) + COPY_EPOCH_MS;
}

static inline int64_t take_time(struct copy_cursor *cursor) { return copy_time_to_ms(take_int8(cursor)); }
