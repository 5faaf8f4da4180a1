/* What a sale is worth: the first rule that applies in each group, in order of priority; groups add up. */
#include "consumers/accrue/rules_set.h"

#include "runtime/clock.h"

#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

void rules_free(struct rule_set *rules)
{
    if (rules == NULL)
        return;
    for (size_t i = 0; i < RULES_MAX; i++)
        for (size_t kind = 0; kind < FILTER_KINDS; kind++)
            free(rules->rules[i].filters[kind].items);
    free(rules->texts);
    free(rules);
}

int64_t rules_effective_from_ms(const struct rule_set *rules)
{
    return rules->effective_from_ms;
}

static bool passes(const struct rule_filter *filter, struct text value)
{
    if (filter->count == 0)
        return true;
    if (value.data == NULL)
        return false;
    size_t low = 0, high = filter->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = rule_text_order(value, filter->items[middle]);
        if (order == 0)
            return true;
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return false;
}

static bool takes_sale(const struct rule *rule, const struct rule_sale *sale)
{
    return (rule->weekdays & 1u << sale->weekday) != 0 && sale->day >= rule->from_day &&
           sale->day <= rule->to_day && passes(&rule->filters[FILTER_STORES], sale->store_id);
}

static bool takes_line(const struct rule *rule, const struct rule_line *line)
{
    return passes(&rule->filters[FILTER_CATEGORIES], line->category) &&
           passes(&rule->filters[FILTER_PRODUCTS], line->product_id) &&
           passes(&rule->filters[FILTER_PROMOTIONS], line->promotion_id);
}

/* Sum of the lines that the rule counts (rule NULL: of all). False: beyond 64 bits. */
static bool eligible_sum(const struct rule *rule, const struct rule_sale *sale, int64_t *ret)
{
    int64_t sum = 0;
    for (size_t i = 0; i < sale->line_count; i++) {
        const struct rule_line *line = &sale->lines[i];
        assert(line->amount_minor >= 0);
        if (line->amount_minor == 0 || (rule != NULL && !takes_line(rule, line)))
            continue;
        if (__builtin_add_overflow(sum, line->amount_minor, &sum))
            return false;
    }
    *ret = sum;
    return true;
}

/* Rate first, then the bonus, then the cap over both. May be above POINTS_MAX, by at most the bonus. */
static int64_t rule_worth(const struct rule *rule, int64_t eligible_minor)
{
    int64_t product, points;
    if (!__builtin_mul_overflow(eligible_minor, rule->rate_num, &product)) {
        points = product / rule->rate_den;
    } else {
        __extension__ typedef __int128 wide;
        wide quotient = (wide)eligible_minor * rule->rate_num / rule->rate_den;
        points = quotient > POINTS_MAX ? POINTS_MAX + 1 : (int64_t)quotient;
    }
    if (points > POINTS_MAX)
        points = POINTS_MAX + 1; /* whatever it is: too much, unless capped */
    if (rule->bonus > 0 && eligible_minor >= rule->threshold_minor)
        points += rule->bonus;
    return points < rule->cap ? points : rule->cap;
}

static enum ll_status overflow(const char *what, int32_t id, struct ll_err *err)
{
    return ll_fail(err, LL_POISON,
                   "%s of rule %" PRId32 " is beyond its limit (%" PRId64 " points a transaction)", what, id,
                   POINTS_MAX);
}

static void insert_by_id(struct rule_points *list, size_t count, struct rule_points one)
{
    size_t at = count;
    for (; at > 0 && list[at - 1].rule_id > one.rule_id; at--)
        list[at] = list[at - 1];
    list[at] = one;
}

enum ll_status rules_evaluate(const struct rule_set *rules, const struct rule_sale *sale,
                              struct rule_points *ret, size_t *ret_count, int64_t *ret_sum,
                              struct ll_err *err)
{
    assert(sale->weekday >= 0 && sale->weekday <= 6);
    int64_t whole;
    if (!eligible_sum(NULL, sale, &whole))
        return overflow("the amount", rules->rules[0].id, err);
    size_t count = 0;
    int64_t sum = 0;
    bool won = false;
    for (size_t i = 0; i < rules->rule_count && whole > 0; i++) {
        const struct rule *rule = &rules->rules[i];
        if (rule->first_of_group)
            won = false;
        if (won || (!rules->plain && !takes_sale(rule, sale)))
            continue;
        int64_t eligible = whole;
        if (rule->filters_lines)
            eligible_sum(rule, sale, &eligible); /* a part of whole: fits */
        if (eligible == 0)
            continue;
        won = true;
        int64_t points = rule_worth(rule, eligible);
        sum += points; /* RULES_MAX * (POINTS_MAX + bonus) is far below 2^63 */
        if (points > POINTS_MAX || sum > POINTS_MAX)
            return overflow("what the sale earns, with that", rule->id, err);
        if (points != 0)
            insert_by_id(ret, count++, (struct rule_points){ rule->id, points });
    }
    *ret_count = count;
    *ret_sum = sum;
    return LL_OK;
}

/* Text that grows into a buffer and is cut at its end. */
struct pen {
    char *to;
    size_t size, used;
};

static void __attribute__((format(printf, 2, 3))) pen_write(struct pen *pen, const char *format, ...)
{
    if (pen->used + 1 >= pen->size)
        return;
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(pen->to + pen->used, pen->size - pen->used, format, arguments);
    va_end(arguments);
    if (length > 0)
        pen->used += (size_t)length < pen->size - pen->used ? (size_t)length : pen->size - pen->used - 1;
}

static void write_money(struct pen *pen, int64_t minor)
{
    pen_write(pen, "%" PRId64 ".%02" PRId64, minor / 100, minor % 100);
}

static void write_filter(struct pen *pen, const char *what, const struct rule_filter *filter)
{
    enum { SHOWN_MAX = 8 };
    if (filter->count == 0)
        return;
    pen_write(pen, "; %s", what);
    for (size_t i = 0; i < filter->count && i < SHOWN_MAX; i++)
        pen_write(pen, "%s%.*s", i == 0 ? " " : ", ", TEXT_ARG(filter->items[i]));
    if (filter->count > SHOWN_MAX)
        pen_write(pen, " and %zu more", filter->count - SHOWN_MAX);
}

static void write_day(struct pen *pen, const char *word, int32_t day)
{
    int year, month, day_of_month;
    calendar_date(day, &year, &month, &day_of_month);
    pen_write(pen, "%s%04d-%02d-%02d", word, year, month, day_of_month);
}

static void write_rule(struct pen *pen, const struct rule *rule)
{
    static const char *const WEEKDAYS[] = { "mon", "tue", "wed", "thu", "fri", "sat", "sun" };
    pen_write(pen, "rule %" PRId32 " \"%.*s\" (group %.*s, priority %" PRId32 "): ", rule->id,
              TEXT_ARG(rule->name), TEXT_ARG(rule->group), rule->priority);
    if (rule->points > 0) {
        pen_write(pen, "%" PRId64 " point%s per ", rule->points, rule->points == 1 ? "" : "s");
        write_money(pen, rule->per_minor);
        if (rule->factor_num != 1 || rule->factor_den != 1)
            pen_write(pen, " times %" PRId64, rule->factor_num);
        if (rule->factor_den != 1)
            pen_write(pen, "/%" PRId64, rule->factor_den);
    } else {
        pen_write(pen, "no points by amount");
    }
    if (rule->bonus > 0) {
        pen_write(pen, ", plus %" PRId64 " from ", rule->bonus);
        write_money(pen, rule->threshold_minor);
    }
    if (rule->cap <= POINTS_MAX)
        pen_write(pen, ", at most %" PRId64, rule->cap);
    write_filter(pen, "categories", &rule->filters[FILTER_CATEGORIES]);
    write_filter(pen, "products", &rule->filters[FILTER_PRODUCTS]);
    write_filter(pen, "promotions", &rule->filters[FILTER_PROMOTIONS]);
    write_filter(pen, "stores", &rule->filters[FILTER_STORES]);
    for (int day = 0, shown = 0; rule->weekdays != WEEKDAYS_ALL && day < 7; day++)
        if ((rule->weekdays & 1u << day) != 0)
            pen_write(pen, "%s%s", shown++ == 0 ? "; on " : ", ", WEEKDAYS[day]);
    if (rule->from_day != INT32_MIN)
        write_day(pen, "; from ", rule->from_day);
    if (rule->to_day != INT32_MAX)
        write_day(pen, "; to ", rule->to_day);
    pen_write(pen, "\n");
}

char *rules_describe(const struct rule_set *rules, char *to, size_t size)
{
    struct pen pen = { to, size, 0 };
    if (size > 0)
        to[0] = '\0';
    char from[40] = "always";
    if (rules->effective_from_ms != RULES_ALWAYS)
        clock_format(rules->effective_from_ms, from, sizeof from);
    pen_write(&pen, "%.*s, in force from %s\n", TEXT_ARG(rules->name), from);
    for (size_t i = 0; i < rules->rule_count; i++)
        write_rule(&pen, &rules->rules[i]);
    return to;
}
