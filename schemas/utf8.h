/*
 * utf8.h - is it UTF-8? No overlong form, no surrogate, nothing above U+10FFFF.
 * Shape:  ASCII, which nearly all texts are, is seen 8 bytes at a time; the rest is for utf8_valid_slow.
 * Source: RFC 3629, section 4.
 */
#pragma once

#include "runtime/text.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

bool utf8_valid_slow(const unsigned char *at, const unsigned char *end);

static inline uint64_t utf8_load8(const char *at)
{
    uint64_t word;
    memcpy(&word, at, sizeof word);
    return word;
}

static inline uint32_t utf8_load4(const char *at)
{
    uint32_t word;
    memcpy(&word, at, sizeof word);
    return word;
}

static inline bool utf8_valid(struct text text)
{
    const char *at = text.data, *end = text.data + text.size;
    uint64_t seen = 0;
    if (text.size >= 8) {
        for (; end - at > 8; at += 8)
            seen |= utf8_load8(at);
        seen |= utf8_load8(end - 8); /* overlaps: no loop for the last bytes */
    } else if (text.size >= 4) {
        seen = utf8_load4(at) | utf8_load4(end - 4);
    } else {
        for (; at < end; at++)
            seen |= (unsigned char)*at;
    }
    if ((seen & UINT64_C(0x8080808080808080)) == 0)
        return true;
    return utf8_valid_slow((const unsigned char *)text.data, (const unsigned char *)end);
}
