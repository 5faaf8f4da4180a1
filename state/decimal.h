/*
 * decimal.h - int64 as decimal digits and back, where printf and strtoll would be most of the cost.
 * Errors: decimal_read is strict: an optional '-', digits, nothing else, within int64.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum { DECIMAL_SIZE_MAX = 20 };

/* Writes at to, which has DECIMAL_SIZE_MAX bytes; returns the end. No NUL. */
static inline char *decimal_write(char *to, int64_t value)
{
    uint64_t left = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
    char digits[DECIMAL_SIZE_MAX];
    size_t at = sizeof digits;
    do {
        digits[--at] = (char)('0' + left % 10);
        left /= 10;
    } while (left != 0);
    if (value < 0)
        *to++ = '-';
    memcpy(to, digits + at, sizeof digits - at);
    return to + (sizeof digits - at);
}

static inline bool decimal_read(const char *text, size_t size, int64_t *ret)
{
    bool negative = size > 0 && text[0] == '-';
    size_t at = negative ? 1 : 0;
    if (at == size || size - at > 19)
        return false;
    uint64_t value = 0;
    for (; at < size; at++) {
        if (text[at] < '0' || text[at] > '9')
            return false;
        value = value * 10 + (uint64_t)(text[at] - '0');
    }
    if (value > (uint64_t)INT64_MAX + (negative ? 1 : 0))
        return false;
    *ret = negative ? (int64_t)(0 - value) : (int64_t)value;
    return true;
}
