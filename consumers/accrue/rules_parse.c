/*
 * From a libconfig document to a compiled rule set.
 * Shape:  one table of keys for the document, one for a rule; each key has a reader. A key that the tables do
 *         not know, another type, a number out of its range, a thing said twice: one error with name:line.
 *         Hexadecimal is refused: libconfig 1.5 cuts it to 32 bits without a word.
 */
#include "consumers/accrue/rules_set.h"

#include "runtime/clock.h"
#include "runtime/conf_text.h"
#include "schemas/event.h"

#include <inttypes.h>
#include <libconfig.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

enum { ITEMS_MAX = 16 << 10 };

struct parse {
    const char *name;
    struct rule_set *set;
    size_t texts_used, texts_size;
    size_t item_count;
    struct ll_err *err;
};

static bool __attribute__((format(printf, 3, 4))) bad(struct parse *parse, int line, const char *format, ...)
{
    char words[256];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(words, sizeof words, format, arguments);
    va_end(arguments);
    ll_fail(parse->err, LL_POISON, "%s:%d: %s", parse->name, line, words);
    return false;
}

static int line_of(const config_setting_t *setting)
{
    return (int)config_setting_source_line(setting);
}

static void *must_have(void *memory)
{
    if (memory == NULL)
        abort();
    return memory;
}

/* A copy that lives as long as the set. Every text of a document is shorter than its place in the document.
 */
static struct text keep(struct parse *parse, const char *text)
{
    size_t size = strlen(text);
    if (size + 1 > parse->texts_size - parse->texts_used)
        abort();
    char *copy = parse->set->texts + parse->texts_used;
    memcpy(copy, text, size + 1);
    parse->texts_used += size + 1;
    return (struct text){ copy, (uint32_t)size };
}

static bool has_control(const char *text, size_t size)
{
    for (size_t i = 0; i < size; i++)
        if ((unsigned char)text[i] < ' ' || text[i] == 127)
            return true;
    return false;
}

static bool read_text(struct parse *parse, config_setting_t *setting, struct text *ret)
{
    const char *text = config_setting_get_string(setting);
    if (config_setting_type(setting) != CONFIG_TYPE_STRING || text == NULL)
        return bad(parse, line_of(setting), "%s must be a text in quotes", config_setting_name(setting));
    size_t size = strlen(text);
    if (size == 0 || size > RULE_TEXT_SIZE_MAX)
        return bad(parse, line_of(setting), "%s must have 1 to %d bytes, this has %zu",
                   config_setting_name(setting), RULE_TEXT_SIZE_MAX, size);
    if (has_control(text, size))
        return bad(parse, line_of(setting), "%s holds a control character", config_setting_name(setting));
    *ret = keep(parse, text);
    return true;
}

static bool read_number(struct parse *parse, config_setting_t *setting, int64_t min, int64_t max,
                        int64_t *ret)
{
    int type = config_setting_type(setting);
    const char *key = config_setting_name(setting);
    if (type != CONFIG_TYPE_INT && type != CONFIG_TYPE_INT64)
        return bad(parse, line_of(setting), "%s must be a whole number", key);
    if (config_setting_get_format(setting) != CONFIG_FORMAT_DEFAULT)
        return bad(parse, line_of(setting), "%s must be written in decimal", key);
    int64_t value = config_setting_get_int64(setting);
    if (value < min || value > max)
        return bad(parse, line_of(setting), "%s must be from %" PRId64 " to %" PRId64, key, min, max);
    *ret = value;
    return true;
}

/* Digits alone, at most 18 of them. Moves *at behind them. */
static bool read_digits(const char **at, int64_t *ret)
{
    int64_t value = 0;
    int count = 0;
    for (; **at >= '0' && **at <= '9'; (*at)++, count++) {
        if (count == 18)
            return false;
        value = value * 10 + (**at - '0');
    }
    *ret = value;
    return count > 0;
}

static bool read_fixed(const char **at, int width, int *ret)
{
    int value = 0;
    for (int i = 0; i < width; i++, (*at)++) {
        if (**at < '0' || **at > '9')
            return false;
        value = value * 10 + (**at - '0');
    }
    *ret = value;
    return true;
}

static bool read_char(const char **at, char expected)
{
    if (**at != expected)
        return false;
    (*at)++;
    return true;
}

/* "2026-01-31" */
static bool read_date(const char **at, int32_t *ret_day)
{
    int year, month, day;
    return read_fixed(at, 4, &year) && read_char(at, '-') && read_fixed(at, 2, &month) &&
           read_char(at, '-') && read_fixed(at, 2, &day) && calendar_day_of(year, month, day, ret_day);
}

/* Keys of a rule. */

typedef bool rule_reader(struct parse *parse, config_setting_t *setting, struct rule *rule);

static bool read_id(struct parse *parse, config_setting_t *setting, struct rule *rule)
{
    int64_t id;
    if (!read_number(parse, setting, 1, INT32_MAX, &id))
        return false;
    rule->id = (int32_t)id;
    return true;
}

static bool read_name(struct parse *parse, config_setting_t *setting, struct rule *rule)
{
    return read_text(parse, setting, &rule->name);
}

static bool read_group(struct parse *parse, config_setting_t *setting, struct rule *rule)
{
    return read_text(parse, setting, &rule->group);
}

static bool read_priority(struct parse *parse, config_setting_t *setting, struct rule *rule)
{
    int64_t priority;
    if (!read_number(parse, setting, -1000000, 1000000, &priority))
        return false;
    rule->priority = (int32_t)priority;
    return true;
}

static bool read_points(struct parse *parse, config_setting_t *setting, struct rule *rule)
{
    return read_number(parse, setting, 0, RULE_POINTS_MAX, &rule->points);
}

static bool read_per_minor(struct parse *parse, config_setting_t *setting, struct rule *rule)
{
    return read_number(parse, setting, 1, RULE_PER_MAX, &rule->per_minor);
}

/* 3, or "3/2" */
static bool read_multiplier(struct parse *parse, config_setting_t *setting, struct rule *rule)
{
    if (config_setting_type(setting) != CONFIG_TYPE_STRING)
        return read_number(parse, setting, 1, RULE_FACTOR_MAX, &rule->factor_num);
    const char *at = config_setting_get_string(setting);
    int64_t num, den = 1;
    bool well_formed =
        read_digits(&at, &num) && (*at == '\0' || (read_char(&at, '/') && read_digits(&at, &den)));
    if (!well_formed || *at != '\0' || num < 1 || den < 1 || num > RULE_FACTOR_MAX || den > RULE_FACTOR_MAX)
        return bad(
            parse, line_of(setting),
            "multiplier must be a whole number or a fraction such as \"3/2\", each part from 1 to %" PRId64,
            RULE_FACTOR_MAX);
    rule->factor_num = num;
    rule->factor_den = den;
    return true;
}

static bool read_threshold(struct parse *parse, config_setting_t *setting, struct rule *rule)
{
    return read_number(parse, setting, 0, RULE_THRESHOLD_MAX, &rule->threshold_minor);
}

static bool read_bonus(struct parse *parse, config_setting_t *setting, struct rule *rule)
{
    return read_number(parse, setting, 1, POINTS_MAX, &rule->bonus);
}

static bool read_cap(struct parse *parse, config_setting_t *setting, struct rule *rule)
{
    return read_number(parse, setting, 1, POINTS_MAX, &rule->cap);
}

static bool is_sequence(const config_setting_t *setting)
{
    int type = config_setting_type(setting);
    return type == CONFIG_TYPE_ARRAY || type == CONFIG_TYPE_LIST;
}

static int order_items(const void *a, const void *b)
{
    return rule_text_order(*(const struct text *)a, *(const struct text *)b);
}

static bool read_filter(struct parse *parse, config_setting_t *setting, struct rule_filter *filter)
{
    const char *key = config_setting_name(setting);
    int count = is_sequence(setting) ? config_setting_length(setting) : 0;
    if (count < 1 || count > RULES_FILTER_MAX)
        return bad(parse, line_of(setting), "%s must be a list of 1 to %d texts: [\"...\", \"...\"]", key,
                   RULES_FILTER_MAX);
    if (parse->item_count + (size_t)count > ITEMS_MAX)
        return bad(parse, line_of(setting), "the set's filters name more than %d things together", ITEMS_MAX);
    filter->items = must_have(calloc((size_t)count, sizeof *filter->items));
    for (int i = 0; i < count; i++) {
        const char *item = config_setting_get_string_elem(setting, i);
        size_t size = item == NULL ? 0 : strlen(item);
        if (size == 0 || size > RULE_TEXT_SIZE_MAX || has_control(item, size))
            return bad(parse, line_of(setting),
                       "%s: item %d must be a text of 1 to %d bytes without control characters", key, i + 1,
                       RULE_TEXT_SIZE_MAX);
        filter->items[i] = keep(parse, item);
    }
    filter->count = (size_t)count;
    parse->item_count += (size_t)count;
    qsort(filter->items, filter->count, sizeof *filter->items, order_items);
    for (size_t i = 1; i < filter->count; i++)
        if (text_equal(filter->items[i - 1], filter->items[i]))
            return bad(parse, line_of(setting), "%s names \"%.*s\" twice", key, TEXT_ARG(filter->items[i]));
    return true;
}

static bool read_categories(struct parse *parse, config_setting_t *setting, struct rule *rule)
{
    return read_filter(parse, setting, &rule->filters[FILTER_CATEGORIES]);
}

static bool read_products(struct parse *parse, config_setting_t *setting, struct rule *rule)
{
    return read_filter(parse, setting, &rule->filters[FILTER_PRODUCTS]);
}

static bool read_promotions(struct parse *parse, config_setting_t *setting, struct rule *rule)
{
    return read_filter(parse, setting, &rule->filters[FILTER_PROMOTIONS]);
}

static bool read_stores(struct parse *parse, config_setting_t *setting, struct rule *rule)
{
    return read_filter(parse, setting, &rule->filters[FILTER_STORES]);
}

static bool read_weekdays(struct parse *parse, config_setting_t *setting, struct rule *rule)
{
    static const char *const NAMES[] = { "mon", "tue", "wed", "thu", "fri", "sat", "sun" };
    int count = is_sequence(setting) ? config_setting_length(setting) : 0;
    unsigned days = 0;
    for (int i = 0; i < count; i++) {
        const char *item = config_setting_get_string_elem(setting, i);
        unsigned day = 0;
        while (day < 7 && (item == NULL || strcmp(item, NAMES[day]) != 0))
            day++;
        if (day == 7 || (days & 1u << day) != 0)
            return bad(parse, line_of(setting),
                       "weekdays: item %d must be one of mon, tue, wed, thu, fri, sat, sun, "
                       "each at most once",
                       i + 1);
        days |= 1u << day;
    }
    if (days == 0)
        return bad(parse, line_of(setting), "weekdays must be a list such as [\"sat\", \"sun\"]");
    rule->weekdays = days;
    return true;
}

static bool read_day(struct parse *parse, config_setting_t *setting, int32_t *ret)
{
    const char *at = config_setting_get_string(setting);
    if (config_setting_type(setting) != CONFIG_TYPE_STRING || at == NULL || !read_date(&at, ret) ||
        *at != '\0')
        return bad(parse, line_of(setting), "%s must be a date such as \"2026-01-31\"",
                   config_setting_name(setting));
    return true;
}

static bool read_from(struct parse *parse, config_setting_t *setting, struct rule *rule)
{
    return read_day(parse, setting, &rule->from_day);
}

static bool read_to(struct parse *parse, config_setting_t *setting, struct rule *rule)
{
    return read_day(parse, setting, &rule->to_day);
}

static const struct {
    const char *key;
    bool required;
    rule_reader *read;
} RULE_KEYS[] = {
    { "id", true, read_id },
    { "name", true, read_name },
    { "group", true, read_group },
    { "priority", false, read_priority },
    { "points", false, read_points },
    { "per_minor", false, read_per_minor },
    { "multiplier", false, read_multiplier },
    { "threshold_minor", false, read_threshold },
    { "bonus", false, read_bonus },
    { "cap", false, read_cap },
    { "categories", false, read_categories },
    { "products", false, read_products },
    { "promotions", false, read_promotions },
    { "stores", false, read_stores },
    { "weekdays", false, read_weekdays },
    { "from", false, read_from },
    { "to", false, read_to },
};
enum { RULE_KEY_COUNT = sizeof RULE_KEYS / sizeof *RULE_KEYS };

static int64_t common_divisor(int64_t a, int64_t b)
{
    while (b != 0) {
        int64_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

static bool has(const config_setting_t *group, const char *key)
{
    return config_setting_get_member(group, key) != NULL;
}

/* What no single key can tell. */
static bool finish_rule(struct parse *parse, const config_setting_t *setting, struct rule *rule)
{
    int line = rule->line;
    if (has(setting, "points") != has(setting, "per_minor"))
        return bad(parse, line,
                   "rule %" PRId32 ": points and per_minor go together (points = 1; per_minor = 1000;)",
                   rule->id);
    if (has(setting, "threshold_minor") != has(setting, "bonus"))
        return bad(parse, line, "rule %" PRId32 ": threshold_minor and bonus go together", rule->id);
    if (!has(setting, "points") && !has(setting, "bonus"))
        return bad(parse, line,
                   "rule %" PRId32 " gives nothing: it needs points and per_minor, or threshold_minor and "
                   "bonus",
                   rule->id);
    if (has(setting, "multiplier") && !has(setting, "points"))
        return bad(parse, line, "rule %" PRId32 ": a multiplier needs points and per_minor", rule->id);
    if (rule->from_day > rule->to_day)
        return bad(parse, line, "rule %" PRId32 ": from lies after to", rule->id);
    rule->rate_num = rule->points * rule->factor_num;
    rule->rate_den = rule->per_minor * rule->factor_den;
    int64_t divisor = common_divisor(rule->rate_num, rule->rate_den);
    rule->rate_num /= divisor;
    rule->rate_den /= divisor;
    rule->filters_lines = rule->filters[FILTER_CATEGORIES].count > 0 ||
                          rule->filters[FILTER_PRODUCTS].count > 0 ||
                          rule->filters[FILTER_PROMOTIONS].count > 0;
    return true;
}

static bool read_rule(struct parse *parse, config_setting_t *setting, struct rule *rule)
{
    *rule = (struct rule){ .per_minor = 1,
                           .factor_num = 1,
                           .factor_den = 1,
                           .cap = POINTS_MAX + 1,
                           .weekdays = WEEKDAYS_ALL,
                           .from_day = INT32_MIN,
                           .to_day = INT32_MAX,
                           .line = line_of(setting) };
    if (config_setting_type(setting) != CONFIG_TYPE_GROUP)
        return bad(parse, rule->line, "a rule must be a group: { id = 1; ... }");
    for (unsigned i = 0; i < (unsigned)config_setting_length(setting); i++) {
        config_setting_t *member = config_setting_get_elem(setting, i);
        size_t key = 0;
        while (key < RULE_KEY_COUNT && strcmp(config_setting_name(member), RULE_KEYS[key].key) != 0)
            key++;
        if (key == RULE_KEY_COUNT)
            return bad(parse, line_of(member),
                       "a rule has no key \"%s\"; deploy/rules/example.conf shows all",
                       config_setting_name(member));
        if (!RULE_KEYS[key].read(parse, member, rule))
            return false;
    }
    for (size_t key = 0; key < RULE_KEY_COUNT; key++)
        if (RULE_KEYS[key].required && !has(setting, RULE_KEYS[key].key))
            return bad(parse, rule->line, "the rule has no %s", RULE_KEYS[key].key);
    return finish_rule(parse, setting, rule);
}

/* The document. */

static int order_rules(const void *left, const void *right)
{
    const struct rule *a = left, *b = right;
    int order = rule_text_order(a->group, b->group);
    if (order != 0)
        return order;
    if (a->priority != b->priority)
        return a->priority > b->priority ? -1 : 1;
    return a->id < b->id ? -1 : 1;
}

static bool read_rules(struct parse *parse, config_setting_t *setting)
{
    struct rule_set *set = parse->set;
    int count = config_setting_type(setting) == CONFIG_TYPE_LIST ? config_setting_length(setting) : 0;
    if (count < 1 || count > RULES_MAX)
        return bad(parse, line_of(setting), "rules must be a list of 1 to %d rules: ( { id = 1; ... } )",
                   RULES_MAX);
    for (int i = 0; i < count; i++) {
        if (!read_rule(parse, config_setting_get_elem(setting, (unsigned)i), &set->rules[i]))
            return false;
        for (int j = 0; j < i; j++)
            if (set->rules[j].id == set->rules[i].id)
                return bad(parse, set->rules[i].line, "rule id %" PRId32 " is taken already, in line %d",
                           set->rules[i].id, set->rules[j].line);
    }
    set->rule_count = (size_t)count;
    qsort(set->rules, set->rule_count, sizeof *set->rules, order_rules);
    for (size_t i = 0; i < set->rule_count; i++)
        set->rules[i].first_of_group = i == 0 || !text_equal(set->rules[i - 1].group, set->rules[i].group);
    const struct rule *only = &set->rules[0];
    set->plain = set->rule_count == 1 && !only->filters_lines && only->filters[FILTER_STORES].count == 0 &&
                 only->weekdays == WEEKDAYS_ALL && only->from_day == INT32_MIN && only->to_day == INT32_MAX;
    return true;
}

/* "always", or "2026-01-31T00:00:00Z": what a sale's own time is compared with, so in UTC. */
static bool read_effective_from(struct parse *parse, config_setting_t *setting)
{
    const char *text =
        config_setting_type(setting) == CONFIG_TYPE_STRING ? config_setting_get_string(setting) : "";
    if (strcmp(text, "always") == 0) {
        parse->set->effective_from_ms = RULES_ALWAYS;
        return true;
    }
    const char *at = text;
    int32_t day;
    int hour, minute, second;
    if (!read_date(&at, &day) || !read_char(&at, 'T') || !read_fixed(&at, 2, &hour) || !read_char(&at, ':') ||
        !read_fixed(&at, 2, &minute) || !read_char(&at, ':') || !read_fixed(&at, 2, &second) ||
        !read_char(&at, 'Z') || *at != '\0' || hour > 23 || minute > 59 || second > 59)
        return bad(parse, line_of(setting),
                   "effective_from must be \"always\" or a time in UTC such as \"2026-01-31T00:00:00Z\"");
    parse->set->effective_from_ms =
        (((int64_t)day * 24 + hour) * 60 + minute) * 60000 + (int64_t)second * 1000;
    return true;
}

static bool read_document(struct parse *parse, const config_t *document)
{
    static const char *const KEYS[] = { "name", "effective_from", "rules" };
    config_setting_t *root = config_root_setting(document);
    bool found[3] = { false };
    for (unsigned i = 0; i < (unsigned)config_setting_length(root); i++) {
        config_setting_t *member = config_setting_get_elem(root, i);
        const char *key = config_setting_name(member);
        if (strcmp(key, KEYS[0]) == 0)
            found[0] = read_text(parse, member, &parse->set->name);
        else if (strcmp(key, KEYS[1]) == 0)
            found[1] = read_effective_from(parse, member);
        else if (strcmp(key, KEYS[2]) == 0)
            found[2] = read_rules(parse, member);
        else
            return bad(parse, line_of(member),
                       "a rule set has no key \"%s\", only name, effective_from and rules", key);
        if (!found[strcmp(key, KEYS[0]) == 0 ? 0 : strcmp(key, KEYS[1]) == 0 ? 1 : 2])
            return false;
    }
    for (int i = 0; i < 3; i++)
        if (!found[i])
            return bad(parse, 1, "the rule set has no %s", KEYS[i]);
    return true;
}

/* The line of the first @include, as libconfig finds it; 0: none. */
static int include_line(const char *document, size_t size)
{
    static const char word[] = "@include";
    const char *end = document + size;
    int line = 1;
    for (const char *at = document; at < end; line++) {
        while (at < end && (*at == ' ' || *at == '\t'))
            at++;
        if ((size_t)(end - at) >= sizeof word - 1 && memcmp(at, word, sizeof word - 1) == 0)
            return line;
        const char *next = memchr(at, '\n', (size_t)(end - at));
        at = next == NULL ? end : next + 1;
    }
    return 0;
}

static enum ll_status check_text(const char *document, size_t size, const char *name, struct ll_err *err)
{
    if (size > EVENT_DOCUMENT_SIZE_MAX)
        return ll_fail(err, LL_POISON, "%s: a rule set has at most %d bytes, this has %zu", name,
                       EVENT_DOCUMENT_SIZE_MAX, size);
    if (memchr(document, '\0', size) != NULL)
        return ll_fail(err, LL_POISON, "%s: holds a NUL byte: this is no text", name);
    int line = include_line(document, size);
    if (line > 0)
        return ll_fail(err, LL_POISON, "%s:%d: a rule set must stand alone: @include is not taken", name, line);
    return LL_OK;
}

enum ll_status rules_parse(const char *document, size_t size, const char *name, struct rule_set **ret,
                           struct ll_err *err)
{
    enum ll_status status = check_text(document, size, name, err);
    if (status != LL_OK)
        return status;
    char *text = conf_text(document, size);
    struct parse parse = { .name = name, .err = err, .texts_size = 2 * size + 1 };
    parse.set = must_have(calloc(1, sizeof *parse.set));
    parse.set->texts = must_have(malloc(parse.texts_size));
    config_t config;
    config_init(&config);
    bool good = false;
    if (config_read_string(&config, text) != CONFIG_TRUE)
        bad(&parse, config_error_line(&config), "%s", config_error_text(&config));
    else
        good = read_document(&parse, &config);
    config_destroy(&config);
    free(text);
    if (!good) {
        rules_free(parse.set);
        return LL_POISON;
    }
    *ret = parse.set;
    return LL_OK;
}
