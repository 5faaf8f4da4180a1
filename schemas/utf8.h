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

/* Of some bytes, or of several texts. */
struct utf8_look {
    uint64_t beyond;  /* top bits: a byte beyond ASCII */
    uint64_t control; /* top bits: a control character; the other bits mean nothing */
};

/* The top bit of a byte below 0x20, which borrows it, or of DEL, to which one more adds it. What has it already is no control
 * character; 0xff, which would carry into its neighbour, is in no UTF-8. */
static inline void utf8_look_at(uint64_t eight, struct utf8_look *look)
{
    const uint64_t ones = 0x0101010101010101u;
    look->beyond |= eight;
    look->control |= ((eight - ones * 0x20) | (eight + ones)) & ~eight;
}

/* Adds what is in text: eight bytes at a time, the last ones overlapping. */
static inline void utf8_look(struct text text, struct utf8_look *look)
{
    const char *at = text.data, *end = text.data + text.size;
    if (text.size >= 8) {
        for (; end - at > 8; at += 8)
            utf8_look_at(utf8_load8(at), look);
        utf8_look_at(utf8_load8(end - 8), look);
    } else if (text.size >= 4) {
        utf8_look_at(utf8_load4(at) | (uint64_t)utf8_load4(end - 4) << 32, look);
    } else if (text.size > 0) {
        const unsigned char *few = (const unsigned char *)at;
        utf8_look_at(0x2020202020000000u | few[0] | (uint64_t)few[text.size / 2] << 8 |
                         (uint64_t)few[text.size - 1] << 16, look);
    }
}

static inline bool utf8_has_control(const struct utf8_look *look)
{
    return (look->control & UINT64_C(0x8080808080808080)) != 0;
}

static inline bool utf8_valid_as(struct text text, const struct utf8_look *look)
{
    return (look->beyond & UINT64_C(0x8080808080808080)) == 0 ||
           utf8_valid_slow((const unsigned char *)text.data, (const unsigned char *)text.data + text.size);
}

static inline bool utf8_valid(struct text text)
{
    struct utf8_look look = { 0, 0 };
    utf8_look(text, &look);
    return utf8_valid_as(text, &look);
}
