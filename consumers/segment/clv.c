#include "consumers/segment/clv.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { RECENT_DAYS = 90, YEAR_DAYS = 365, WEEKS = 26, WEEK_DAYS = 7, GATE_DAYS = 30, SPENDS_SORTED = 64 };

static void count_visits(const struct standing *customer, int32_t day, struct clv *clv)
{
    uint32_t weeks = 0;
    for (uint32_t at = 0; at < customer->entry_count; at++) {
        const struct entry *entry = &customer->entries[at];
        int32_t age = day - entry_day(entry);
        bool counts = entry_counts(entry);
        if (age < 0 || age >= YEAR_DAYS)
            continue;
        if (counts && age < WEEKS * WEEK_DAYS)
            weeks |= UINT32_C(1) << (age / WEEK_DAYS);
        if (age < RECENT_DAYS) {
            clv->recent_minor += entry->net_minor;
            clv->recent_visits += counts;
        } else {
            clv->prior_minor += entry->net_minor;
            clv->prior_visits += counts;
        }
    }
    clv->weeks_active = __builtin_popcount(weeks);
    int32_t known = (day - customer->first_day) / WEEK_DAYS + 1;
    clv->weeks_known = known < WEEKS ? known : WEEKS;
}

/* Both sides of the ratio multiplied by F (n + 2) (n' + 2), so that they are whole numbers for as long as they fit. */
static double trajectory(const struct standing *customer, const struct clv *clv)
{
    int64_t spent_minor = customer->monetary_minor > 0 ? customer->monetary_minor : 0,
            f = customer->frequency;
    double x = (double)(clv->recent_minor * f + 2 * spent_minor) * (clv->prior_visits + 2);
    double y = (double)(clv->prior_minor * f + 2 * spent_minor) * (clv->recent_visits + 2);
    if (x <= 0)
        return 0;
    if (y <= 0)
        return 1;
    double t = x <= y ? x / y : y / x;
    t = t < 1e-20 ? 1e-20 : t;
    double t4 = (t * t) * (t * t);
    return x <= y ? t4 / (1 + t4) : 1 / (1 + t4);
}

static double entropy(const struct standing *customer, clv_order_fn *order, void *arg)
{
    struct spend few[SPENDS_SORTED], *spends = few;
    int64_t total_minor = 0;
    uint32_t count = 0;
    if (customer->spend_count > SPENDS_SORTED)
        spends = malloc(customer->spend_count * sizeof *spends);
    if (spends == NULL)
        abort();
    for (uint32_t at = 0; at < customer->spend_count; at++)
        if (customer->spends[at].net_minor > 0) {
            spends[count++] = customer->spends[at];
            total_minor += customer->spends[at].net_minor;
        }
    qsort_r(spends, count, sizeof *spends, order, arg);
    double sum = 0;
    for (uint32_t at = 0; at < count; at++) {
        double p = (double)spends[at].net_minor / (double)total_minor;
        sum += -(p * log(p));
    }
    if (spends != few)
        free(spends);
    return sum;
}

static double at_most_1(double value)
{
    return value < 1 ? value : 1;
}

void clv_of(const struct standing *customer, const struct epoch *epoch, int32_t day,
            const struct clv_weights *weights, clv_order_fn *order, void *arg, struct clv *ret)
{
    memset(ret, 0, sizeof *ret);
    ret->recency_days = standing_recency(customer, day);
    ret->balance = customer->balance;
    ret->median_balance = epoch->median_balance;
    ret->breadth_of = epoch->categories < 8 ? epoch->categories : 8;
    if (customer->frequency == 0)
        return;
    count_visits(customer, day, ret);
    ret->component[CLV_TRAJECTORY] = trajectory(customer, ret);
    ret->component[CLV_ENGAGEMENT] = at_most_1((2 * ret->weeks_active + 1) / (double)(ret->weeks_known + 4));
    double h = entropy(customer, order, arg);
    ret->breadth = exp(h);
    if (ret->breadth_of >= 2)
        ret->component[CLV_BREADTH] = at_most_1(h / log(ret->breadth_of));
    if (customer->balance > 0 && epoch->median_balance > 0)
        ret->component[CLV_POINTS] =
            at_most_1(log(1 + (double)customer->balance) / log(1 + 10 * (double)epoch->median_balance));
    ret->gate =
        ret->recency_days <= GATE_DAYS ? 1 : pow(2, -(double)(ret->recency_days - GATE_DAYS) / 120);
    int32_t sum = 0;
    for (int part = 0; part < CLV_PARTS; part++) {
        ret->thousandths[part] =
            (int32_t)floor(weights->of[part] * ret->component[part] * ret->gate * 1000 + 0.5);
        sum += ret->thousandths[part];
    }
    ret->potential = (sum + 500) / 1000;
}
