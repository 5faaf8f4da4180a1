/*
 * rules_set.h - a compiled rule set, as rules_parse.c builds it and rules.c reads it; nobody else looks
 * inside.
 * Shape:  rules lie sorted by (group, priority from high to low, id), so that the first that applies in a
 *         group wins. All texts lie in one block, filters sorted, so that a lookup is a binary search.
 * Units:  _minor is int64 minor units; _day is days since 1970-01-01 in the program's time zone.
 */
#pragma once

#include "consumers/accrue/rules.h"
#include "runtime/text.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum rule_filter_kind { FILTER_CATEGORIES, FILTER_PRODUCTS, FILTER_PROMOTIONS, FILTER_STORES, FILTER_KINDS };

enum { WEEKDAYS_ALL = 0x7f, RULE_TEXT_SIZE_MAX = 200 };

/* Bounds of one rule's numbers. They keep eligible * points * multiplier within 2^63 * 2^40, and the divisor
 * in 64 bits. */
#define RULE_POINTS_MAX    INT64_C(1000000)
#define RULE_PER_MAX       INT64_C(1000000000000)
#define RULE_FACTOR_MAX    INT64_C(1000000)
#define RULE_THRESHOLD_MAX INT64_C(1000000000000000000)

struct rule_filter {
    struct text *items; /* owned; sorted by size, then bytes; each once */
    size_t count;       /* 0: everything passes */
};

struct rule {
    int32_t id;
    int32_t priority;
    struct text name, group;
    int64_t points, per_minor;      /* as written */
    int64_t factor_num, factor_den; /* multiplier, as written */
    int64_t rate_num, rate_den;     /* points * multiplier per minor unit, reduced */
    int64_t threshold_minor, bonus; /* bonus 0: none */
    int64_t cap;                    /* of rate and bonus together; POINTS_MAX + 1: none */
    struct rule_filter filters[FILTER_KINDS];
    unsigned weekdays;        /* bit 0 Monday */
    int32_t from_day, to_day; /* both included */
    bool filters_lines;       /* by category, product or promotion */
    bool first_of_group;
    int line; /* of the document */
};

struct rule_set {
    struct text name;
    int64_t effective_from_ms; /* RULES_ALWAYS: since ever */
    size_t rule_count;
    struct rule rules[RULES_MAX];
    bool plain; /* one rule, without filters, bonus or cap */
    char *texts;
};

/* The order of a filter's items. */
static inline int rule_text_order(struct text a, struct text b)
{
    if (a.size != b.size)
        return a.size < b.size ? -1 : 1;
    return a.size == 0 ? 0 : memcmp(a.data, b.data, a.size);
}
