#include "producers/import/charset.h"

#include "schemas/utf8.h"

#include <stdint.h>
#include <stdio.h>

enum { REPLACEMENT = 0xfffd };

/* Bytes 0x80 to 0x9f of windows-1252; 0: unassigned. */
static const uint16_t windows_1252[32] = {
    0x20ac, 0,      0x201a, 0x0192, 0x201e, 0x2026, 0x2020, 0x2021, 0x02c6, 0x2030, 0x0160,
    0x2039, 0x0152, 0,      0x017d, 0,      0,      0x2018, 0x2019, 0x201c, 0x201d, 0x2022,
    0x2013, 0x2014, 0x02dc, 0x2122, 0x0161, 0x203a, 0x0153, 0,      0x017e, 0x0178,
};

static bool is_ascii(struct text bytes)
{
    unsigned char seen = 0;
    for (uint32_t i = 0; i < bytes.size; i++)
        seen |= (unsigned char)bytes.data[i];
    return seen < 0x80;
}

bool charset_valid(enum profile_encoding encoding, struct text bytes)
{
    switch (encoding) {
    case ENCODING_UTF_8:
        return utf8_valid(bytes);
    case ENCODING_LATIN_1:
        return true;
    case ENCODING_WINDOWS_1252:
        for (uint32_t i = 0; i < bytes.size; i++) {
            unsigned char c = (unsigned char)bytes.data[i];
            if (c >= 0x80 && c < 0xa0 && windows_1252[c - 0x80] == 0)
                return false;
        }
        return true;
    }
    return false;
}

static size_t put(uint32_t point, char *to)
{
    if (point < 0x80) {
        to[0] = (char)point;
        return 1;
    }
    if (point < 0x800) {
        to[0] = (char)(0xc0 | (point >> 6));
        to[1] = (char)(0x80 | (point & 0x3f));
        return 2;
    }
    to[0] = (char)(0xe0 | (point >> 12));
    to[1] = (char)(0x80 | ((point >> 6) & 0x3f));
    to[2] = (char)(0x80 | (point & 0x3f));
    return 3;
}

struct text charset_decode(enum profile_encoding encoding, struct text bytes, char *to, size_t *ret_used)
{
    *ret_used = 0;
    if (encoding == ENCODING_UTF_8 || is_ascii(bytes))
        return bytes;
    size_t used = 0;
    for (uint32_t i = 0; i < bytes.size; i++) {
        unsigned char c = (unsigned char)bytes.data[i];
        uint32_t point = c;
        if (encoding == ENCODING_WINDOWS_1252 && c >= 0x80 && c < 0xa0)
            point = windows_1252[c - 0x80] != 0 ? windows_1252[c - 0x80] : REPLACEMENT;
        used += put(point, to + used);
    }
    *ret_used = used;
    return (struct text){to, (uint32_t)used};
}

bool charset_has_control(struct text utf8)
{
    for (uint32_t i = 0; i < utf8.size; i++) {
        unsigned char c = (unsigned char)utf8.data[i];
        if (c < 0x20 || c == 0x7f)
            return true;
        if (c == 0xc2 && i + 1 < utf8.size && (unsigned char)utf8.data[i + 1] < 0xa0)
            return true;
    }
    return false;
}

char *charset_quote(struct text bytes, char *to, size_t size)
{
    size_t used = 0;
    for (uint32_t i = 0; i < bytes.size && used + 8 < size; i++) {
        unsigned char c = (unsigned char)bytes.data[i];
        if (c >= 0x20 && c < 0x7f && c != '"' && c != '\\')
            to[used++] = (char)c;
        else
            used += (size_t)snprintf(to + used, size - used, "\\x%02x", c);
        if (used + 8 >= size && i + 1 < bytes.size) {
            memcpy(to + used, "...", 3);
            used += 3;
        }
    }
    to[used] = '\0';
    return to;
}
