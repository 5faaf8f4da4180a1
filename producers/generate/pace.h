/*
 * pace.h - a steady rate: how many may be sent by now, and waiting for the next.
 * Units:  _ns is ns of the monotonic clock. A rate is kept within a millisecond; what was missed is made up
 *         for.
 */
#pragma once

#include <stdint.h>
#include <time.h>

struct pace {
    int64_t rate_per_s; /* 0: no limit */
    int64_t start_ns;
};

static inline int64_t pace_now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static inline struct pace pace_of(int64_t rate_per_s)
{
    return (struct pace){ rate_per_s, pace_now_ns() };
}

/* Waits until more than sent are due, and returns how many are. */
static inline int64_t pace_wait(const struct pace *pace, int64_t sent)
{
    enum { STEP_NS = 1000000 };
    while (pace->rate_per_s > 0) {
        int64_t now_ns = pace_now_ns();
        int64_t due = (now_ns - pace->start_ns) / 1000 * pace->rate_per_s / 1000000 + 1;
        if (due > sent)
            return due;
        struct timespec at = { .tv_sec = (time_t)((now_ns + STEP_NS) / 1000000000),
                               .tv_nsec = (long)((now_ns + STEP_NS) % 1000000000) };
        while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL) != 0)
            ;
    }
    return INT64_MAX;
}
