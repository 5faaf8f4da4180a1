/*
 * encode.h - Avro's primitives into a buffer that is known to suffice.
 * Shape:  each takes where to write and returns where it has written up to.
 */
#pragma once

#include "runtime/text.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum { VARINT_SIZE_MAX = 10 };

static inline char *encode_long(char *to, int64_t value)
{
    uint64_t raw = ((uint64_t)value << 1) ^ (uint64_t)(value >> 63);
    for (; raw >= 0x80; raw >>= 7)
        *to++ = (char)(raw | 0x80);
    *to++ = (char)raw;
    return to;
}

static inline char *encode_boolean(char *to, bool value)
{
    *to++ = value ? 1 : 0;
    return to;
}

/* memcpy for texts, which are short: no call and no loop up to 64 bytes. The pieces overlap. */
static inline void encode_copy(char *to, const char *from, size_t size)
{
    if (size >= 64) {
        memcpy(to, from, size);
    } else if (size >= 32) {
        memcpy(to, from, 32);
        memcpy(to + size - 32, from + size - 32, 32);
    } else if (size >= 16) {
        memcpy(to, from, 16);
        memcpy(to + size - 16, from + size - 16, 16);
    } else if (size >= 8) {
        memcpy(to, from, 8);
        memcpy(to + size - 8, from + size - 8, 8);
    } else if (size >= 4) {
        memcpy(to, from, 4);
        memcpy(to + size - 4, from + size - 4, 4);
    } else {
        for (size_t i = 0; i < size; i++)
            to[i] = from[i];
    }
}

/* A text that must not be null but is, is written as the empty one. */
static inline char *encode_text(char *to, struct text text)
{
    to = encode_long(to, text.size);
    encode_copy(to, text.data, text.size);
    return to + text.size;
}

/* Our own nullable fields are unions of null and the value, null first (bind_check sees to it). */
static inline char *encode_branch(char *to, bool present)
{
    *to++ = present ? 2 : 0;
    return to;
}

static inline char *encode_text_nullable(char *to, struct text text)
{
    to = encode_branch(to, text.data != NULL);
    return text.data == NULL ? to : encode_text(to, text);
}

static inline char *encode_long_nullable(char *to, bool present, int64_t value)
{
    to = encode_branch(to, present);
    return present ? encode_long(to, value) : to;
}
