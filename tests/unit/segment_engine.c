/* Everybody: cuts and thresholds against sorting, who changes what and why, and that two orders give the same. */
#include "consumers/segment/engine.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { TOLD_MAX = 4096 };

static struct {
    char customer[32], segment[48], id[33];
    enum segment_change_kind kind;
    enum segment_change_reason reason;
    int32_t day, version;
    int64_t sequence, effective_ms;
} told[TOLD_MAX];
static int told_count;
static struct calendar *calendar;
static struct engine engine;

static void on_change(void *arg, const struct segment_change *change)
{
    (void)arg;
    if (told_count == TOLD_MAX)
        return;
    snprintf(told[told_count].customer, 32, "%.*s", (int)change->customer_id.size, change->customer_id.data);
    snprintf(told[told_count].segment, 48, "%.*s", (int)change->segment.size, change->segment.data);
    snprintf(told[told_count].id, 33, "%.*s", (int)change->change_id.size, change->change_id.data);
    told[told_count].kind = change->kind;
    told[told_count].reason = change->reason;
    told[told_count].day = change->as_of_day;
    told[told_count].version = change->threshold_version;
    told[told_count].effective_ms = change->effective_at_ms;
    told[told_count++].sequence = change->sequence;
}

static const struct engine_settings settings = { .run = 1,
                                                 .tier_points = { 0, 0, 500, 2000 },
                                                 .weights = { { 10, 45, 25, 20 } },
                                                 .high_spender_percent = 10,
                                                 .at_risk_days = 30 };

static void setup(void)
{
    struct ll_err err;
    cr_assert_eq(calendar_new("Europe/London", &calendar, &err), LL_OK);
    engine_init(&engine, &settings, calendar, on_change, NULL);
    told_count = 0;
}

static void teardown(void)
{
    engine_done(&engine);
    calendar_free(calendar);
}

TestSuite(segment, .init = setup, .fini = teardown);

static int32_t day_of(int year, int month, int day)
{
    int32_t number = 0;
    cr_assert(calendar_day_of(year, month, day, &number));
    return number;
}

static void sell(const char *customer, const char *id, int32_t day, int64_t net_minor, int64_t points)
{
    struct ledger_entry entry = { .type = TRANSACTION_SALE,
                                  .source = TEXT("till"),
                                  .transaction_id = text_of(id),
                                  .customer_id = text_of(customer),
                                  .net_minor = net_minor,
                                  .sale_day = day,
                                  .points = points,
                                  .event_time_ms = (int64_t)day * 86400000 + 1 };
    engine_post(&engine, &entry);
}

static void give_back(const char *customer, const char *sale, int32_t day, int64_t net_minor, int64_t points)
{
    struct ledger_entry entry = { .type = TRANSACTION_RETURN,
                                  .source = TEXT("till"),
                                  .transaction_id = TEXT("R"),
                                  .sale_id = text_of(sale),
                                  .customer_id = text_of(customer),
                                  .net_minor = -net_minor,
                                  .sale_day = day,
                                  .points = -points };
    engine_post(&engine, &entry);
}

/* The last thing told of the customer and the segment; -1: nothing. */
static int last_told(const char *customer, const char *segment)
{
    for (int at = told_count - 1; at >= 0; at--)
        if (strcmp(told[at].customer, customer) == 0 && strcmp(told[at].segment, segment) == 0)
            return at;
    return -1;
}

static void expect_told(const char *customer, const char *segment, enum segment_change_kind kind,
                        enum segment_change_reason reason, int32_t day)
{
    int at = last_told(customer, segment);
    cr_assert_geq(at, 0, "nothing was told of %s %s", customer, segment);
    cr_expect_eq(told[at].kind, kind, "%s %s", customer, segment);
    cr_expect_eq(told[at].reason, reason, "%s %s: %d", customer, segment, (int)told[at].reason);
    cr_expect_eq(told[at].day, day, "%s %s", customer, segment);
}

/* ---- ranks ---- */

static int ascending(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

Test(segment, ranks_are_those_of_sorting)
{
    enum { MOST = 300 };
    int64_t values[MOST], sorted[MOST], cuts[CUTS];
    for (unsigned seed = 0; seed < 400; seed++) {
        srand(seed);
        size_t count = 1 + (size_t)rand() % MOST;
        int spread = seed % 3 == 0 ? 4 : seed % 3 == 1 ? 40 : 100000;
        for (size_t at = 0; at < count; at++)
            sorted[at] = values[at] = seed % 7 == 0 ? (int64_t)at : rand() % spread - spread / 3;
        qsort(sorted, count, sizeof *sorted, ascending);
        epoch_cuts(values, count, cuts);
        for (size_t i = 1; i <= CUTS; i++)
            cr_assert_eq(cuts[i - 1], sorted[(i * count + 4) / 5 - 1], "seed %u cut %zu", seed, i);
        struct epoch epoch = { 0 };
        epoch_threshold(&epoch, values, count, 10);
        size_t base = 0;
        for (size_t at = 0; at < count; at++)
            base += sorted[at] > 0;
        cr_assert_eq(epoch.base, (int64_t)base);
        if (base > 0)
            cr_assert_eq(epoch.threshold_minor, sorted[count - (base + 9) / 10], "seed %u", seed);
    }
}

Test(segment, every_cell_of_scores_has_one_name_and_every_name_a_cell)
{
    int cells[RFM_COUNT] = { 0 };
    for (int r = 1; r <= 5; r++)
        for (int f = 1; f <= 5; f++)
            for (int m = 1; m <= 5; m++)
                cells[rfm_of(r, f, m)]++;
    cr_expect_eq(cells[RFM_NONE], 0);
    for (int at = 1; at < RFM_COUNT; at++) {
        cr_expect_gt(cells[at], 0, "%s", rfm_name((enum rfm_segment)at));
        cr_expect_eq(rfm_find(rfm_name((enum rfm_segment)at)), (enum rfm_segment)at);
    }
    cr_expect_eq(rfm_of(0, 1, 1), RFM_NONE);
    cr_expect_eq(rfm_of(5, 6, 1), RFM_NONE);
    cr_expect_eq(rfm_of(5, 5, 5), RFM_CHAMPION);
    cr_expect_eq(rfm_of(1, 1, 1), RFM_LOST);
}

/* ---- who changes what ---- */

/* Sells what gives ten customers other spends, points and days, and closes the day. */
static void sell_to_ten(int32_t day)
{
    engine_begin(&engine, day);
    for (int at = 0; at < 10; at++) {
        char id[16];
        snprintf(id, sizeof id, "C%d", at);
        sell(id, id, day - 4 * at, 1000 + at, 1 + at);
    }
    engine_close(&engine, 1);
}

Test(segment, other_settings_change_who_is_in_what_once_by_reason_rules)
{
    sell_to_ten(20000);
    cr_expect_eq(engine.epoch.k, 1);
    expect_told("C9", "AT_RISK", SEGMENT_ENTERED, SEGMENT_POINTS_EARNED, 20000);
    int before = told_count;
    engine.settings.high_spender_percent = 30;
    engine.settings.at_risk_days = 20;
    engine_rejudge(&engine, 5, 6);
    cr_expect_eq(engine.epoch.version, 2, "another share, another epoch");
    cr_expect_eq(engine.epoch.day, 20000);
    cr_expect_eq(engine.epoch.k, 3);
    expect_told("C8", "HIGH_SPENDER", SEGMENT_ENTERED, SEGMENT_RULES, 20000);
    expect_told("C7", "HIGH_SPENDER", SEGMENT_ENTERED, SEGMENT_RULES, 20000);
    for (int at = 5; at < 8; at++) {
        char id[16];
        snprintf(id, sizeof id, "C%d", at);
        expect_told(id, "AT_RISK", SEGMENT_ENTERED, SEGMENT_RULES, 20000);
    }
    cr_expect_eq(told_count - before, 5, "%d", told_count - before);
    engine_rejudge(&engine, 7, 8);
    cr_expect_eq(told_count - before, 5, "the second time nothing is left to tell");
    cr_expect_eq(engine.epoch.version, 2);
    engine_open(&engine, 9);
    engine_open(&engine, 9);
    engine_open(&engine, 9);
    engine_open(&engine, 9);
    expect_told("C4", "AT_RISK", SEGMENT_ENTERED, SEGMENT_TIME, 20004);
}


Test(segment, another_customers_purchase_pushes_one_out_when_the_day_is_closed)
{
    int32_t day = day_of(2025, 3, 3);
    engine_begin(&engine, day);
    for (int at = 0; at < 10; at++) {
        char id[16];
        snprintf(id, sizeof id, "C%d", at);
        sell(id, id, day, 1000 + at, 1);
    }
    cr_expect_eq(last_told("C9", "HIGH_SPENDER"), -1, "before the first epoch nobody is");
    engine_close(&engine, 1);
    cr_expect_eq(engine.epoch.k, 1);
    cr_expect_eq(engine.epoch.threshold_minor, 1009);
    expect_told("C9", "HIGH_SPENDER", SEGMENT_ENTERED, SEGMENT_THRESHOLD, day);
    engine_open(&engine, 2);
    sell("C0", "more", day + 1, 500, 0);
    expect_told("C0", "HIGH_SPENDER", SEGMENT_ENTERED, SEGMENT_PURCHASE, day + 1);
    expect_told("C9", "HIGH_SPENDER", SEGMENT_ENTERED, SEGMENT_THRESHOLD, day);
    engine_close(&engine, 3);
    expect_told("C9", "HIGH_SPENDER", SEGMENT_EXITED, SEGMENT_THRESHOLD, day + 1);
    cr_expect_eq(engine.epoch.members, 1);
    give_back("C0", "more", day + 1, 500, 0);
    expect_told("C0", "HIGH_SPENDER", SEGMENT_EXITED, SEGMENT_RETURN, day + 1);
}

Test(segment, ties_at_the_threshold_are_in)
{
    engine_begin(&engine, 20000);
    for (int at = 0; at < 20; at++) {
        char id[16];
        snprintf(id, sizeof id, "C%d", at);
        sell(id, id, 20000, at < 4 ? 900 : 100, 0);
    }
    engine_close(&engine, 1);
    cr_expect_eq(engine.epoch.k, 2);
    cr_expect_eq(engine.epoch.members, 4);
}

Test(segment, time_alone_puts_one_at_risk_on_the_thirtieth_day_and_a_visit_takes_it_out)
{
    int32_t day = day_of(2025, 3, 3);
    engine_begin(&engine, day);
    sell("C", "1", day, 1000, 1);
    sell("D", "2", day, 1000, 0);
    for (int at = 1; at <= 40; at++) {
        engine_close(&engine, at);
        engine_open(&engine, at);
        cr_assert_eq(last_told("C", "AT_RISK") >= 0, at >= 30, "day %d", at);
    }
    expect_told("C", "AT_RISK", SEGMENT_ENTERED, SEGMENT_TIME, day + 30);
    int64_t begins_ms = 0;
    calendar_time(calendar, 2025, 4, 2, 0, 0, 0, &begins_ms);
    cr_expect_eq(told[last_told("C", "AT_RISK")].effective_ms, begins_ms,
                 "midnight in London, in summer time");
    cr_expect_eq(last_told("D", "AT_RISK"), -1, "there is nothing to spend");
    sell("C", "3", day + 40, 1000, 1);
    expect_told("C", "AT_RISK", SEGMENT_EXITED, SEGMENT_PURCHASE, day + 40);
    give_back("C", "3", day + 40, 1000, 1);
    expect_told("C", "AT_RISK", SEGMENT_ENTERED, SEGMENT_RETURN, day + 40);
}

Test(segment, a_sale_leaves_the_window_on_its_day_without_an_event)
{
    int32_t day = day_of(2024, 2, 29);
    engine_begin(&engine, day);
    sell("C", "1", day, 1000, 1);
    engine_close(&engine, 0);
    expect_told("C", "HIGH_SPENDER", SEGMENT_ENTERED, SEGMENT_THRESHOLD, day);
    while (engine.day < day_of(2025, 2, 28))
        engine_open(&engine, 0);
    cr_expect_eq(engine_find(&engine, TEXT("C"))->frequency, 1);
    engine_open(&engine, 0);
    cr_expect_eq(engine_find(&engine, TEXT("C"))->frequency, 0);
    expect_told("C", "HIGH_SPENDER", SEGMENT_EXITED, SEGMENT_TIME, day_of(2025, 3, 1));
    expect_told("C", "TIER_BRONZE", SEGMENT_ENTERED, SEGMENT_PURCHASE, day);
}

Test(segment, a_tier_rises_at_once_and_falls_at_the_review)
{
    int32_t day = day_of(2025, 3, 20);
    engine_begin(&engine, day);
    sell("C", "1", day, 1000, 499);
    sell("C", "2", day, 1000, 1);
    expect_told("C", "TIER_BRONZE", SEGMENT_EXITED, SEGMENT_POINTS_EARNED, day);
    expect_told("C", "TIER_SILVER", SEGMENT_ENTERED, SEGMENT_POINTS_EARNED, day);
    give_back("C", "2", day, 1000, 1);
    cr_expect_eq(engine_find(&engine, TEXT("C"))->tier, TIER_SILVER, "not before the review");
    while (engine.day < day_of(2025, 3, 31))
        engine_open(&engine, 0);
    cr_expect_eq(engine_find(&engine, TEXT("C"))->tier, TIER_SILVER);
    engine_open(&engine, 0);
    expect_told("C", "TIER_SILVER", SEGMENT_EXITED, SEGMENT_TIME, day_of(2025, 4, 1));
    expect_told("C", "TIER_BRONZE", SEGMENT_ENTERED, SEGMENT_TIME, day_of(2025, 4, 1));
}

Test(segment, other_limits_of_tiers_are_no_review)
{
    int32_t day = day_of(2025, 3, 20);
    engine_begin(&engine, day);
    sell("C", "1", day, 1000, 2000);
    give_back("C", "1", day, 900, 1200);
    sell("D", "2", day, 1000, 450);
    int before = told_count;
    engine.settings.tier_points[TIER_SILVER] = 400;
    engine_rejudge(&engine, 0, 0);
    expect_told("D", "TIER_SILVER", SEGMENT_ENTERED, SEGMENT_RULES, day);
    cr_expect_eq(told_count - before, 2, "and nothing of C: %d", told_count - before);
    cr_expect_eq(engine_find(&engine, TEXT("C"))->tier, TIER_GOLD);
}

Test(segment, the_same_state_twice_tells_nothing_and_ids_are_derived)
{
    engine_begin(&engine, 20000);
    sell("C", "1", 20000, 1000, 1);
    engine_close(&engine, 0);
    int count = told_count;
    engine_close(&engine, 0);
    engine_rejudge(&engine, 0, 0);
    sell("C", "2", 20000, 0, 0);
    give_back("C", "none such", 20000, 0, 0);
    cr_expect_eq(told_count, count);
    for (int at = 0; at < told_count; at++) {
        char id[33];
        cr_expect_eq(told[at].sequence, at + 1);
        engine_change_id(1, TEXT("C"), text_of(told[at].segment), at + 1, id);
        cr_expect_str_eq(told[at].id, id);
        for (int other = 0; other < at; other++)
            cr_expect_str_neq(told[at].id, told[other].id);
    }
    engine_change_id(1, TEXT("C"), TEXT("AT_RISK"), 1, told[0].id);
    engine_change_id(2, TEXT("C"), TEXT("AT_RISK"), 1, told[1].id);
    cr_expect_str_neq(told[0].id, told[1].id, "another run, another change");
}

Test(segment, a_loaded_engine_goes_on_as_the_one_that_was_written)
{
    struct engine other;
    char bytes[4096];
    int32_t day = day_of(2025, 3, 3);
    engine_begin(&engine, day);
    for (int at = 0; at < 50; at++) {
        char id[16];
        snprintf(id, sizeof id, "C%d", at);
        sell(id, id, day - at, 1000 + at * 7 % 13, at);
    }
    engine_close(&engine, 0);
    engine_init(&other, &settings, calendar, on_change, NULL);
    engine_begin(&other, day);
    other.epoch = engine.epoch;
    other.is_closed = true;
    for (uint32_t at = 0; at < engine.count; at++) {
        char *end = standing_write(&engine.list[at], bytes, engine_category_name, &engine);
        struct standing *customer = engine_add(&other, engine.list[at].id);
        cr_assert(standing_read(customer, (struct text){ bytes, (uint32_t)(end - bytes) }, NULL, NULL));
        engine_place(&other, customer);
    }
    int before = told_count, first = 0;
    for (int at = 0; at < 100; at++) {
        engine_open(&engine, 0);
        engine_close(&engine, 0);
    }
    first = told_count - before;
    for (int at = 0; at < 100; at++) {
        engine_open(&other, 0);
        engine_close(&other, 0);
    }
    cr_expect_gt(first, 20, "%d", first);
    cr_expect_eq(told_count - before - first, first);
    cr_expect_eq(memcmp(&engine.epoch, &other.epoch, sizeof engine.epoch), 0);
    engine_done(&other);
}

#ifdef __SANITIZE_ADDRESS__
enum { LIMIT_MS = 2000 };
#else
enum { LIMIT_MS = 50 };
#endif
enum { MANY = 1000000, HIGHER = 700 };

static double cpu_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

static void add_many(void)
{
    for (int at = 0; at < MANY; at++) {
        char id[16];
        snprintf(id, sizeof id, "C%07d", at);
        struct standing *customer = engine_add(&engine, text_of(id));
        customer->monetary_minor = (int64_t)rand() * (rand() % 100) - 1000000;
        customer->frequency = 1 + rand() % 50;
        customer->balance = rand() % 3000;
        customer->last_day = customer->first_day = engine.day - rand() % 360;
        engine_place(&engine, customer);
    }
}

static double move_once(uint32_t *ret_crossed)
{
    double begin_ms = cpu_ms();
    *ret_crossed = engine_move_threshold(&engine);
    return cpu_ms() - begin_ms;
}

/* The threshold: the exact rank, and who is above it now. Only those few have another membership; scores are another thing. */
Test(segment, a_threshold_moves_among_a_million_within_50_ms)
{
    double moved_ms = 1e9, decided_ms = 1e9, begin_ms;
    uint32_t crossed = 0, wrong = 0;
    srand(7);
    engine_begin(&engine, 20000);
    add_many();
    engine.epoch.version = 1;
    cr_expect_gt(move_once(&crossed), 0.0);
    cr_expect_eq(crossed, engine.epoch.k, "the first time whoever is in has entered");
    for (int try = 0; try < 3; try++) {
        int64_t before_minor = engine.epoch.threshold_minor;
        for (uint32_t at = 0, raised = 0; raised < HIGHER; at++) /* so many rise above it: as many fall below */
            if (!engine.high[at]) {
                engine.list[at].monetary_minor = engine.monetary[at] = before_minor * 2;
                raised++;
            }
        double ms = move_once(&crossed);
        moved_ms = ms < moved_ms ? ms : moved_ms;
        cr_expect_gt(engine.epoch.threshold_minor, before_minor);
        cr_expect_geq(crossed, 2 * HIGHER - 2 * HIGHER / 10);
        cr_expect_leq(crossed, 2 * HIGHER);
        cr_expect_geq(engine.epoch.members, engine.epoch.k);
        begin_ms = cpu_ms();
        engine_decide(&engine);
        decided_ms = cpu_ms() - begin_ms < decided_ms ? cpu_ms() - begin_ms : decided_ms;
    }
    for (uint32_t at = 0; at < MANY; at++)
        wrong += engine.high[at] != (engine.monetary[at] >= engine.epoch.threshold_minor);
    cr_expect_eq(wrong, 0);
    begin_ms = cpu_ms();
    engine_close(&engine, 0);
    double closed_ms = cpu_ms() - begin_ms;
    printf("%d customers: threshold moved, %u crossed it: %.1f ms; with all cuts: %.1f ms; day closed, everybody scored for the "
           "first time and told: %.0f ms",
           MANY, crossed, moved_ms, decided_ms, closed_ms);
    begin_ms = cpu_ms();
    engine_close(&engine, 0);
    printf("; once more: %.0f ms\n", cpu_ms() - begin_ms);
    cr_expect_lt(moved_ms, LIMIT_MS);
}
