/*
 * clock.h - the only place that asks the machine for the time, and the only one that knows time zones.
 * Units:  _ms is int64 ms since 1970 UTC; _day is days since 1970-01-01 in the program's time zone.
 */
#pragma once

#include "runtime/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The seam: wall clock for epochs and ticks, monotonic for time-outs. */
struct clock_source {
    int64_t (*wall_ms)(void *self);
    int64_t (*steady_ms)(void *self);
    void *self;
};
struct clock_source clock_real(void);

/* Calendar of one IANA time zone. Loads it once (the process's TZ is not touched after). */
struct calendar;
enum ll_status calendar_new(const char *time_zone, struct calendar **ret, struct ll_err *err);
void calendar_free(struct calendar *calendar);
/* Local day of a time; cheap: the zone's offset is cached per hour. */
int32_t calendar_day(struct calendar *calendar, int64_t time_ms);
/* 0 Monday .. 6 Sunday. */
int calendar_weekday(int32_t day);
/* Local civil time to UTC ms. A time that does not exist (spring forward) or is out of range is false; of two equal ones
 * the earlier is taken. */
bool calendar_time(struct calendar *calendar, int year, int month, int day, int hour, int minute, int second,
                   int64_t *ret_ms);
/* Civil date of a day number and back (proleptic Gregorian). */
void calendar_date(int32_t day, int *ret_year, int *ret_month, int *ret_day);
bool calendar_day_of(int year, int month, int day, int32_t *ret_day);
/* "2011-02-28T12:34:56.789Z" into to (at least 25 bytes); returns to. */
char *clock_format(int64_t time_ms, char *to, size_t size);
