/* One customer: what each row does to its sums, what time does, and that all of it survives being written. */
#include "consumers/segment/clv.h"
#include "consumers/segment/standing.h"
#include "runtime/clock.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static int32_t day_of(int year, int month, int day)
{
    int32_t number = 0;
    cr_assert(calendar_day_of(year, month, day, &number));
    return number;
}

Test(window, ends_on_the_same_day_a_year_later)
{
    static const struct {
        int year, month, day, before_year, before_month, before_day;
        const char *why;
    } cases[] = {
        { 2011, 2, 28, 2010, 2, 28, "a usual day" },
        { 2024, 2, 29, 2023, 2, 28, "29 February: the year before has none" },
        { 2025, 2, 28, 2024, 2, 28, "the leap day stays in for one day more" },
        { 2025, 3, 1, 2024, 3, 1, "and is out" },
        { 2026, 1, 1, 2025, 1, 1, "New Year" },
    };
    for (size_t at = 0; at < sizeof cases / sizeof cases[0]; at++)
        cr_expect_eq(window_before(day_of(cases[at].year, cases[at].month, cases[at].day)),
                     day_of(cases[at].before_year, cases[at].before_month, cases[at].before_day), "%s",
                     cases[at].why);
    for (int32_t day = day_of(2022, 1, 1); day < day_of(2030, 1, 1); day++) {
        int32_t leaves = window_leaves(day);
        cr_assert(window_before(leaves) >= day && window_before(leaves - 1) < day, "%d", day);
    }
}

/* ---- against counting everything anew ---- */

enum { ROWS = 400, RUNS = 60, SALES = 40 };

struct past {
    struct ledger_row rows[ROWS];
    int count;
};

static void recount(const struct past *past, int32_t day, struct standing *ret)
{
    int32_t before = window_before(day);
    standing_init(ret, TEXT("C"));
    for (int at = 0; at < past->count; at++) {
        const struct ledger_row *row = &past->rows[at];
        ret->balance += row->points;
        if (row->type == TRANSACTION_SALE && (ret->first_day == NO_DAY || row->sale_day < ret->first_day))
            ret->first_day = row->sale_day;
        if (row->sale_day <= day && row->sale_day > before) {
            ret->monetary_minor += row->net_minor;
            ret->tier_points += row->points;
        }
        int64_t net_minor = 0;
        for (int other = 0; other < past->count; other++)
            if (past->rows[other].type == TRANSACTION_SALE || past->rows[other].names_sale)
                net_minor += past->rows[other].sale_hash == row->sale_hash ? past->rows[other].net_minor : 0;
        if (row->type != TRANSACTION_SALE || net_minor <= 0 || row->sale_day > day)
            continue;
        ret->frequency += row->sale_day > before;
        ret->last_day = row->sale_day > ret->last_day ? row->sale_day : ret->last_day;
    }
}

static void expect_same(const struct standing *is, const struct standing *want, const char *why)
{
    cr_assert_eq(is->balance, want->balance, "%s", why);
    cr_assert_eq(is->monetary_minor, want->monetary_minor, "%s", why);
    cr_assert_eq(is->tier_points, want->tier_points, "%s", why);
    cr_assert_eq(is->frequency, want->frequency, "%s", why);
    cr_assert_eq(is->last_day, want->last_day, "%s", why);
    cr_assert_eq(is->first_day, want->first_day, "%s", why);
}

/* Sales on the day, late ones, some of tomorrow; returns in part, in full and of none, within a year of their sale. */
static struct ledger_row any_row(const struct past *past, int32_t day)
{
    struct ledger_row row = { .type = TRANSACTION_SALE,
                              .net_minor = 1 + rand() % 5000,
                              .points = rand() % 50 };
    int kind = rand() % 10;
    row.sale_day = kind == 0 ? day + 1 : kind < 3 ? day - rand() % 400 : day;
    row.sale_hash = (uint64_t)(past->count + 1) << 20;
    if (kind < 6 || past->count == 0)
        return row;
    const struct ledger_row *sale = &past->rows[rand() % past->count];
    row.type = kind == 9 ? TRANSACTION_VOID : TRANSACTION_RETURN;
    row.net_minor = -row.net_minor;
    row.points = -row.points;
    row.sale_day = day;
    if (kind == 6 || sale->type != TRANSACTION_SALE || sale->sale_day <= window_before(day))
        return row;
    int64_t left_minor = 0;
    for (int at = 0; at < past->count; at++)
        left_minor += past->rows[at].sale_hash == sale->sale_hash ? past->rows[at].net_minor : 0;
    row.names_sale = true;
    row.sale_hash = sale->sale_hash;
    row.sale_day = sale->sale_day;
    row.net_minor = row.type == TRANSACTION_VOID || -row.net_minor > left_minor ? -left_minor : row.net_minor;
    return row;
}

Test(standing, sums_are_those_of_counting_everything_anew_on_every_day)
{
    static struct past past;
    for (int run = 0; run < RUNS; run++) {
        struct standing customer, want;
        int32_t day = day_of(2023, 6, 1) + run * 17;
        srand((unsigned)run);
        standing_init(&customer, TEXT("C"));
        for (past.count = 0; past.count < SALES * 4; past.count++) {
            for (int days = rand() % 3 == 0 ? rand() % 40 : 0; days > 0; days--) {
                day++;
                if (customer.due_day != NO_DAY &&
                    customer.due_day <= day) /* as the engine does: never on other days */
                    standing_move(&customer, &(struct window){ day, window_before(day), 30 });
                recount(&past, day, &want);
                expect_same(&customer, &want, "after time");
            }
            past.rows[past.count] = any_row(&past, day);
            standing_post(&customer, &past.rows[past.count],
                          &(struct window){ day, window_before(day), 30 });
            past.count++;
            recount(&past, day, &want);
            past.count--;
            expect_same(&customer, &want, "after a row");
        }
        standing_done(&customer);
    }
}

Test(standing, a_sale_that_came_back_whole_is_no_visit)
{
    struct standing customer;
    int32_t day = day_of(2025, 5, 20), before = window_before(day);
    const struct window window = { day, before, 30 };
    standing_init(&customer, TEXT("C"));
    standing_post(&customer, &(struct ledger_row){ TRANSACTION_SALE, false, 1 << 20, day - 40, 1000, 1 }, &window);
    standing_post(&customer, &(struct ledger_row){ TRANSACTION_SALE, false, 2 << 20, day, 700, 1 }, &window);
    cr_expect_eq(customer.frequency, 2);
    standing_post(&customer, &(struct ledger_row){ TRANSACTION_RETURN, true, 2 << 20, day, -300, 0 }, &window);
    cr_expect_eq(customer.frequency, 2, "some of it is left");
    cr_expect_eq(standing_recency(&customer, day), 0);
    standing_post(&customer, &(struct ledger_row){ TRANSACTION_RETURN, true, 2 << 20, day, -400, -1 }, &window);
    cr_expect_eq(customer.frequency, 1);
    cr_expect_eq(standing_recency(&customer, day), 40, "the visit before it");
    standing_post(&customer, &(struct ledger_row){ TRANSACTION_RETURN, false, 0, day, -2000, -2 }, &window);
    cr_expect_eq(customer.frequency, 1, "a return of no sale takes money, not visits");
    cr_expect_eq(customer.monetary_minor, -1000);
    standing_done(&customer);
}

/* ---- as bytes ---- */

static struct text name_of(void *arg, uint32_t category)
{
    return text_of(((const char *const *)arg)[category]);
}

static uint32_t category_of(void *arg, struct text name)
{
    for (uint32_t at = 0;; at++)
        if (text_equal(text_of(((const char *const *)arg)[at]), name))
            return at;
}

Test(standing, is_read_back_as_it_was_written_and_cut_bytes_are_refused)
{
    static const char *const categories[] = { "toys", "garden", NULL };
    struct standing customer, again;
    char bytes[1024];
    int32_t day = day_of(2025, 5, 20);
    standing_init(&customer, TEXT("C"));
    for (int at = 0; at < 9; at++)
        standing_post(
            &customer,
            &(struct ledger_row){ TRANSACTION_SALE, false, (uint64_t)at << 20, day - at, 900 + at, at },
            &(struct window){ day, window_before(day), 30 });
    standing_spend(&customer, 1, 77);
    standing_spend(&customer, 0, -5);
    customer.r = 3;
    customer.rfm = 4;
    customer.tier = TIER_GOLD;
    customer.flags = FLAG_AT_RISK;
    customer.change_count = 12;
    size_t size = standing_size(&customer, name_of, (void *)(uintptr_t)categories);
    cr_assert_eq(standing_write(&customer, bytes, name_of, (void *)(uintptr_t)categories) - bytes,
                 (ptrdiff_t)size);
    for (uint32_t cut = 0; cut <= size; cut++) {
        char *exact = malloc(cut + 1);
        memcpy(exact, bytes, cut);
        standing_init(&again, TEXT("C"));
        bool whole =
            standing_read(&again, (struct text){ exact, cut }, category_of, (void *)(uintptr_t)categories);
        cr_assert_eq(whole, cut == size, "%u", cut);
        free(exact);
        if (!whole)
            standing_done(&again);
    }
    expect_same(&again, &customer, "read back");
    cr_expect_eq(again.entry_count, 9u);
    cr_expect_arr_eq(again.entries, customer.entries, 9 * sizeof(struct entry));
    cr_expect_eq(again.spends[0].category, 1u);
    cr_expect_eq(again.spends[1].net_minor, -5);
    cr_expect_eq(again.due_day, customer.due_day);
    cr_expect_eq(again.tier, TIER_GOLD);
    cr_expect_eq(again.change_count, 12);
    standing_done(&again);
    standing_done(&customer);
}

/* ---- potential ---- */

static int by_number(const void *a, const void *b, void *arg)
{
    (void)arg;
    return (int)((const struct spend *)a)->category - (int)((const struct spend *)b)->category;
}

static struct clv potential(struct standing *customer, int32_t day)
{
    static const struct clv_weights weights = { { 10, 45, 25, 20 } };
    const struct epoch epoch = { .version = 1, .median_balance = 10, .categories = 20 };
    struct clv clv;
    clv_of(customer, &epoch, day, &weights, by_number, NULL, &clv);
    return clv;
}

Test(clv, each_part_is_what_its_formula_says)
{
    struct standing customer;
    int32_t day = day_of(2025, 5, 20), before = window_before(day);
    const struct window window = { day, before, 30 };
    standing_init(&customer, TEXT("C"));
    cr_expect_eq(potential(&customer, day).potential, 0, "who never came has no potential");
    standing_post(&customer, &(struct ledger_row){ TRANSACTION_SALE, false, 1 << 20, day - 100, 1000, 5 }, &window);
    standing_post(&customer, &(struct ledger_row){ TRANSACTION_SALE, false, 2 << 20, day - 45, 4000, 15 }, &window);
    standing_spend(&customer, 0, 2500);
    standing_spend(&customer, 1, 2500);
    standing_spend(&customer, 2, -10);
    struct clv clv = potential(&customer, day);
    /* A = 2500; recent (4000 + 5000) / 3, prior (1000 + 5000) / 3: ratio 1.5 */
    double ratio4 = 1.5 * 1.5 * 1.5 * 1.5;
    cr_expect_float_eq(clv.component[CLV_TRAJECTORY], ratio4 / (1 + ratio4), 1e-12);
    cr_expect_eq(clv.weeks_active, 2);
    cr_expect_eq(clv.weeks_known, 15);
    cr_expect_float_eq(clv.component[CLV_ENGAGEMENT], 5.0 / 19, 1e-12);
    cr_expect_float_eq(clv.breadth, 2, 1e-12, "two categories, evenly");
    cr_expect_float_eq(clv.component[CLV_BREADTH], log(2) / log(8), 1e-12);
    cr_expect_float_eq(clv.component[CLV_POINTS], log(21) / log(101), 1e-12);
    cr_expect_float_eq(clv.gate, pow(2, -15.0 / 120), 1e-12);
    double sum =
        10 * clv.component[0] + 45 * clv.component[1] + 25 * clv.component[2] + 20 * clv.component[3];
    cr_expect_eq(clv.potential, (int)(sum * clv.gate + 0.5));
    standing_move(&customer, &(struct window){ day + 400, window_before(day + 400), 30 });
    cr_expect_eq(potential(&customer, day + 400).potential, 0, "nothing in twelve months");
    standing_done(&customer);
}
