#include "schemas/utf8.h"

#include <stddef.h>

/* How many bytes follow the first one, and between which bounds the second lies (RFC 3629's table). */
static int lead(unsigned char first, unsigned char *ret_low, unsigned char *ret_high)
{
    *ret_low = 0x80;
    *ret_high = 0xbf;
    if (first < 0x80)
        return 0;
    if (first >= 0xc2 && first <= 0xdf)
        return 1;
    if (first >= 0xe0 && first <= 0xef) {
        if (first == 0xe0)
            *ret_low = 0xa0; /* else overlong */
        if (first == 0xed)
            *ret_high = 0x9f; /* else a surrogate */
        return 2;
    }
    if (first >= 0xf0 && first <= 0xf4) {
        if (first == 0xf0)
            *ret_low = 0x90; /* else overlong */
        if (first == 0xf4)
            *ret_high = 0x8f; /* else above U+10FFFF */
        return 3;
    }
    return -1;
}

bool utf8_valid_slow(const unsigned char *at, const unsigned char *end)
{
    while (at < end) {
        unsigned char low, high;
        int follow = lead(*at++, &low, &high);
        if (follow < 0 || follow > end - at)
            return false;
        for (; follow > 0; follow--, at++) {
            if (*at < low || *at > high)
                return false;
            low = 0x80;
            high = 0xbf;
        }
    }
    return true;
}
