#include "ops/verify_sales.h"

#include "runtime/clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Lines with the same product, category and promotion are one: rules see sums. */
struct sum_line {
    struct text product_id, category, promotion_id; /* owned */
    int64_t amount_minor;
};

/* A sale with returns, while its rows come in. It lives in one partition; the same identity in two is another check's matter. */
struct sum {
    int64_t hash;
    int32_t partition;
    bool exists;                                       /* its own row was seen */
    struct text transaction_id, customer_id, store_id; /* owned */
    int32_t day, version;
    int64_t points;
    struct sum_line *lines;
    size_t count, capacity;
};

struct verify_sales {
    struct verify *verify;
    struct check *check;
    const struct rulebook *rules;
    bool reverse_unreferenced;
    struct sum *sums; /* by slot; count 0 and hash 0: free */
    bool *used;
    size_t mask;
    struct rule_line lines[POSTING_LINES_MAX];
};

static struct text copy(struct text text)
{
    if (text.data == NULL)
        return text;
    char *bytes = malloc(text.size + 1u);
    if (bytes == NULL)
        abort();
    memcpy(bytes, text.data, text.size);
    return (struct text){ bytes, text.size };
}

static void drop(struct text text)
{
    free((void *)(uintptr_t)text.data);
}

static size_t slot_of(const struct verify_sales *sales, int32_t partition, int64_t hash)
{
    size_t at = (size_t)((uint64_t)hash ^ (uint64_t)hash >> 32) & sales->mask;
    while (sales->used[at] && (sales->sums[at].hash != hash || sales->sums[at].partition != partition))
        at = (at + 1) & sales->mask;
    return at;
}

enum ll_status verify_sales_new(struct verify *verify, const struct rulebook *rules,
                                struct verify_sales **ret, struct ll_err *err)
{
    struct postgres_rows *rows = NULL;
    enum ll_status status =
        verify_query(verify,
                     "select distinct partition as source_partition, sale_hash from loyalty.postings"
                     " where run_id = $1::int and sale_hash is not null",
                     &rows, err);
    if (status != LL_OK)
        return status;
    struct verify_sales *sales = calloc(1, sizeof(*sales));
    if (sales == NULL)
        abort();
    sales->verify = verify;
    sales->check = verify_check(
        verify, "sales", "points of a sale and its returns = rules(lines sold - lines returned)", "sales");
    sales->rules = rules;
    sales->reverse_unreferenced = strcmp(verify->lens->config.accrue.unreferenced_return, "reverse") == 0;
    size_t slots = 64;
    while (slots < 2 * postgres_rows_count(rows))
        slots *= 2;
    sales->mask = slots - 1;
    sales->sums = calloc(slots, sizeof(*sales->sums));
    sales->used = calloc(slots, sizeof(*sales->used));
    if (sales->sums == NULL || sales->used == NULL)
        abort();
    for (size_t i = 0; i < postgres_rows_count(rows); i++) {
        int64_t hash = postgres_rows_int(rows, i, "sale_hash");
        int32_t partition = (int32_t)postgres_rows_int(rows, i, "source_partition");
        size_t at = slot_of(sales, partition, hash);
        sales->used[at] = true;
        sales->sums[at].hash = hash;
        sales->sums[at].partition = partition;
    }
    postgres_rows_free(rows);
    *ret = sales;
    return LL_OK;
}

/* False: the lines cannot be priced (beyond the limit), so they are worth nothing. */
static int64_t worth(struct verify_sales *sales, int32_t version, struct text customer_id,
                     struct text store_id, int32_t day, size_t line_count)
{
    const struct rule_set *rules = rulebook_rules(sales->rules, version);
    if (customer_id.data == NULL || rules == NULL)
        return 0;
    struct rule_sale sale = { sales->lines, line_count, store_id, day, calendar_weekday(day) };
    struct rule_points points[RULES_MAX];
    size_t count = 0;
    int64_t sum = 0;
    return rules_evaluate(rules, &sale, points, &count, &sum, NULL) == LL_OK ? sum : 0;
}

static void compare(struct verify_sales *sales, struct text id, int64_t posted, int64_t target)
{
    sales->check->compared++;
    if (posted == target)
        return;
    char next[200];
    snprintf(next, sizeof(next), "lens ledger %s", verify_text(id));
    verify_differs(sales->check, next, "%s: posted %lld points in all, by the rules it is worth %lld",
                   verify_text(id), (long long)posted, (long long)target);
}

/* A sale without returns, or a return that names no sale. */
static void compare_alone(struct verify_sales *sales, const struct posting *posting)
{
    int64_t sign = posting->type == TRANSACTION_SALE ? 1 : -1;
    for (uint32_t i = 0; i < posting->line_count; i++) {
        const struct posting_line *line = &posting->lines[i];
        sales->lines[i] = (struct rule_line){ line->product_id, line->category, line->promotion_id,
                                              sign * line->amount_minor };
    }
    int64_t target = posting->type != TRANSACTION_SALE && !sales->reverse_unreferenced
                         ? 0
                         : sign * worth(sales, posting->rules_version, posting->customer_id,
                                        posting->store_id, posting->sale_day, posting->line_count);
    compare(sales, posting->transaction_id, posting->points, target);
}

static void sum_line(struct sum *sum, const struct posting_line *line)
{
    size_t at = 0;
    while (at < sum->count && !(text_equal(sum->lines[at].product_id, line->product_id) &&
                                text_equal(sum->lines[at].category, line->category) &&
                                text_equal(sum->lines[at].promotion_id, line->promotion_id)))
        at++;
    if (at == sum->count) {
        if (sum->count == sum->capacity) {
            sum->capacity = sum->capacity == 0 ? 4 : 2 * sum->capacity;
            sum->lines = realloc(sum->lines, sum->capacity * sizeof(*sum->lines));
            if (sum->lines == NULL)
                abort();
        }
        sum->lines[sum->count++] =
            (struct sum_line){ copy(line->product_id), copy(line->category), copy(line->promotion_id), 0 };
    }
    sum->lines[at].amount_minor += line->amount_minor;
}

void verify_sales_add(struct verify_sales *sales, const struct posting *posting)
{
    size_t at = slot_of(sales, posting->partition, posting->sale_hash);
    if (!sales->used[at]) {
        compare_alone(sales, posting);
        return;
    }
    struct sum *sum = &sales->sums[at];
    sum->points += posting->points;
    for (uint32_t i = 0; i < posting->line_count; i++)
        sum_line(sum, &posting->lines[i]);
    if (posting->type != TRANSACTION_SALE)
        return;
    sum->exists = true;
    sum->transaction_id = copy(posting->transaction_id);
    sum->customer_id = copy(posting->customer_id);
    sum->store_id = copy(posting->store_id);
    sum->day = posting->sale_day;
    sum->version = posting->rules_version;
}

static void compare_sum(struct verify_sales *sales, const struct sum *sum)
{
    for (size_t i = 0; i < sum->count; i++) {
        const struct sum_line *line = &sum->lines[i];
        if (line->amount_minor < 0) {
            verify_differs(sales->check, "lens ledger",
                           "%s: more of product %s came back than was sold, by %lld",
                           verify_text(sum->transaction_id), verify_text(line->product_id),
                           (long long)-line->amount_minor);
            return;
        }
        sales->lines[i < POSTING_LINES_MAX ? i : 0] =
            (struct rule_line){ line->product_id, line->category, line->promotion_id, line->amount_minor };
    }
    compare(sales, sum->transaction_id, sum->points,
            worth(sales, sum->version, sum->customer_id, sum->store_id, sum->day, sum->count));
}

void verify_sales_end(struct verify_sales *takes)
{
    struct verify_sales *sales = takes;
    for (size_t at = 0; at <= sales->mask; at++) {
        struct sum *sum = &sales->sums[at];
        if (!sales->used[at])
            continue;
        if (sum->exists) /* else its rows lie behind the cut */
            compare_sum(sales, sum);
        for (size_t i = 0; i < sum->count; i++) {
            drop(sum->lines[i].product_id);
            drop(sum->lines[i].category);
            drop(sum->lines[i].promotion_id);
        }
        drop(sum->transaction_id);
        drop(sum->customer_id);
        drop(sum->store_id);
        free(sum->lines);
    }
    free(sales->sums);
    free(sales->used);
    free(sales);
}
