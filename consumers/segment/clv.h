/*
 * clv.h - the potential of a customer, 0 to 100: how spend per visit moves, how often, how broadly, with what points in hand.
 * Shape:  pure: one customer and the epoch in, the parts with their inputs out. Four components from 0 to 1, each times its
 *         weight and the gate, are the contributions; their sum is the potential.
 *           A = M / F; recent and prior spend per visit are smoothed by two average visits:
 *           trajectory = logistic(4 ln(((S[0,90) + 2A) / (n + 2)) / ((S[90,365) + 2A) / (n' + 2))), taken without a logarithm:
 *                        x/y is that ratio and logistic(4 ln r) = r^4 / (1 + r^4)
 *           engagement = min(1, 2 (W + 0.5) / (V + 4)): W weeks with a visit of the last 26, V weeks since the first sale, at
 *                        most 26, the begun one included
 *           breadth    = H / ln(min(8, categories sold)), at most 1: H is the entropy of the shares of spend by category
 *           points     = ln(1 + balance) / ln(1 + 10 median), at most 1
 *           gate       = 2^-(max(0, R - 30) / 120)
 *         A customer without a visit in twelve months has none. The one place in the program with floating point: what comes
 *         out is an integer, rounded half up.
 * Source: DESIGN 6; issue "Standing and letters", 3.
 */
#pragma once

#include "consumers/segment/epoch.h"
#include "consumers/segment/standing.h"

enum clv_part { CLV_TRAJECTORY, CLV_ENGAGEMENT, CLV_BREADTH, CLV_POINTS, CLV_PARTS };

struct clv_weights {
    int32_t of[CLV_PARTS]; /* sum to 100 */
};

struct clv {
    int32_t potential;
    int32_t thousandths[CLV_PARTS]; /* contributions */
    double component[CLV_PARTS];    /* 0 to 1 */
    double gate;
    /* inputs */
    int64_t recent_minor, prior_minor; /* S[0,90), S[90,365) */
    int32_t recent_visits, prior_visits;
    int32_t weeks_active, weeks_known;
    double breadth; /* exp(entropy): so many categories, evenly */
    int32_t breadth_of;
    int64_t balance, median_balance;
    int32_t recency_days;
};

/* The order of categories by name, since sums of fractions depend on it. */
typedef int clv_order_fn(const void *a, const void *b, void *arg);

void clv_of(const struct standing *customer, const struct epoch *epoch, int32_t day,
            const struct clv_weights *weights, clv_order_fn *order, void *arg, struct clv *ret);
