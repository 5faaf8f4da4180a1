/*
 * rules.h - what a sale is worth: rule sets as data, and the pure function from a sale's lines to points.
 * Shape:  a rule set is a libconfig document (deploy/rules/default.conf shows every key), compiled once,
 *         evaluated per sale. Nothing in a rule may depend on other transactions: that keeps a balance a
 *         function of the set of events.
 * Units:  rates are points per minor unit as a rational; amounts are int64 minor units; points are int64
 *         whole points. One rounding, at the end, towards zero, per transaction and rule; products in 128
 *         bits. Then the bonus is added, then the cap limits both together.
 * Groups: in one group the applying rule of the highest priority wins (tie: lowest id), groups add up. A rule
 *         applies if its filters of store, weekday and date pass, and the lines that pass its line filters
 *         come to more than nothing.
 * Source: DESIGN 4.
 */
#pragma once

#include "runtime/err.h"
#include "runtime/text.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { RULES_MAX = 64, RULES_FILTER_MAX = 1000 };

/* effective_from = "always" */
#define RULES_ALWAYS INT64_MIN

struct rule_set;

/* Compiles a document. LL_POISON with file:line-like words (name is used for them): unknown key, bad
 * rational, a date reversed, two rules with one id, no rule at all ... */
enum ll_status rules_parse(const char *document, size_t size, const char *name, struct rule_set **ret,
                           struct ll_err *err);
void rules_free(struct rule_set *rules);
/* When it comes into force, by the event's time: `effective_from` of the document. */
int64_t rules_effective_from_ms(const struct rule_set *rules);
/* One line per rule in words, for `lens rules show`. Returns to. */
char *rules_describe(const struct rule_set *rules, char *to, size_t size);

/* What is still bought: amounts may be reduced by returns, a line of amount 0 counts for nothing. */
struct rule_line {
    struct text product_id, category, promotion_id; /* the last two may be null */
    int64_t amount_minor;                           /* >= 0 */
};

struct rule_sale {
    const struct rule_line *lines;
    size_t line_count;
    struct text store_id; /* nullable */
    int32_t day;          /* local day of the sale */
    int weekday;          /* 0 Monday .. 6 Sunday */
};

struct rule_points {
    int32_t rule_id;
    int64_t points;
};

/* Writes what each winning rule gives (points 0 left out), ascending by rule id, to ret[0..RULES_MAX), and
 * the sum. LL_POISON: beyond POINTS_MAX (the event is POINTS_OVERFLOW). */
enum ll_status rules_evaluate(const struct rule_set *rules, const struct rule_sale *sale,
                              struct rule_points *ret, size_t *ret_count, int64_t *ret_sum,
                              struct ll_err *err);

/* Points that one transaction can give at most: sums of many cannot overflow 64 bits. */
#define POINTS_MAX INT64_C(1000000000000)
