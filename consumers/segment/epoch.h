/*
 * epoch.h - the thresholds of one day: who is a high spender, where the fifths are cut, what a median balance is.
 * Shape:  the figures of all customers in, one struct epoch out. An epoch is decided once, when its day is closed, numbered,
 *         published, and never changed.
 *         Cut i of a fifth is the value at rank ceil(i * n / 5) of the n rated customers (those with a sale in the window), so
 *         equal values have equal scores. The threshold is the k-th largest positive spend, k = ceil(base * percent / 100);
 *         whoever has it is in.
 * Units:  _minor is int64 minor units; _day is days since 1970-01-01.
 * Source: DESIGN 6.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { CUTS = 4 };

struct epoch {
    int32_t version; /* 0: none was decided yet, nobody has a score */
    int32_t day;
    int64_t customers, rated;
    int64_t base, k, members;
    int64_t threshold_minor;            /* meaningful if base > 0 */
    int32_t r_cuts[CUTS], f_cuts[CUTS]; /* meaningful if rated > 0 */
    int64_t m_cuts[CUTS];
    int64_t median_balance; /* of the positive ones, the lower of two; 0: there is none */
    int32_t categories;     /* that were sold */
};

/* The value at rank (from 1) of count values, ascending. Reorders them. */
int64_t epoch_rank(int64_t *values, size_t count, size_t rank);
/* The four cuts of count values. Reorders them. */
void epoch_cuts(int64_t *values, size_t count, int64_t ret[CUTS]);
static inline int64_t epoch_k(int64_t base, int32_t percent)
{
    return (base * percent + 99) / 100;
}
/* From all spends of the window, of which those above 0 count: base, k and threshold of *ret. Reorders them. */
void epoch_threshold(struct epoch *ret, int64_t *spends, size_t count, int32_t percent);

/* 1 to 5; 0 before the first epoch. Recency counts the other way round. */
static inline uint8_t epoch_r(const struct epoch *epoch, int32_t recency_days)
{
    uint8_t score = 5;
    for (int at = 0; at < CUTS; at++)
        score = (uint8_t)(score - (recency_days > epoch->r_cuts[at]));
    return epoch->rated == 0 ? 0 : score;
}

static inline uint8_t epoch_f(const struct epoch *epoch, int32_t frequency)
{
    uint8_t score = 1;
    for (int at = 0; at < CUTS; at++)
        score = (uint8_t)(score + (frequency > epoch->f_cuts[at]));
    return epoch->rated == 0 ? 0 : score;
}

static inline uint8_t epoch_m(const struct epoch *epoch, int64_t monetary_minor)
{
    uint8_t score = 1;
    for (int at = 0; at < CUTS; at++)
        score = (uint8_t)(score + (monetary_minor > epoch->m_cuts[at]));
    return epoch->rated == 0 ? 0 : score;
}

/* Who is in stays in until the spend is below the threshold by hysteresis_percent; 0: exactly those at or above it. */
static inline bool epoch_is_high(const struct epoch *epoch, int64_t monetary_minor, bool was,
                                 int32_t hysteresis_percent)
{
    if (epoch->version == 0 || epoch->base == 0 || monetary_minor <= 0)
        return false;
    int64_t limit_minor = epoch->threshold_minor;
    if (was)
        limit_minor -= limit_minor / 100 * hysteresis_percent + limit_minor % 100 * hysteresis_percent / 100;
    return monetary_minor >= limit_minor;
}
