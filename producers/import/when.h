/*
 * when.h - times and dates in a profile's formats, strictly.
 * Shape:  a format is text with %Y (4 digits) %m %d %H %M %S %I %y (2 digits each; 1 or 2 with %-m, %-d, %-H, %-M, %-S, %-I),
 *         %b (Jan .. Dec), %p (AM, PM), %f (fraction of a second, 1 to 9 digits, cut to ms), %z (Z, +hh:mm, +hhmm) and %%. The
 *         whole value must match. Several formats are tried in order.
 * Units:  _ms is int64 ms since 1970 UTC, _day days since 1970-01-01. Without %z a time is local time of the calendar's zone.
 * Errors: a time that the zone's clocks skip does not exist; of two equal ones the earlier is taken.
 */
#pragma once

#include "runtime/clock.h"
#include "runtime/err.h"
#include "runtime/text.h"

#include <stdbool.h>
#include <stdint.h>

enum { WHEN_FORMATS_MAX = 6, WHEN_FORMAT_SIZE = 48 };

struct when {
    char formats[WHEN_FORMATS_MAX][WHEN_FORMAT_SIZE];
    int count;
};

/* Is it a format that can be read? False: *ret_why says, in words, why not. */
bool when_check(const char *format, const char **ret_why);
/* A date without a time is its first moment. */
bool when_time(const struct when *when, struct calendar *calendar, struct text text, int64_t *ret_ms);
bool when_day(const struct when *when, struct text text, int32_t *ret_day);
