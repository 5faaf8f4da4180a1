#include "consumers/accrue/sales.h"

#include <assert.h>
#include <stdlib.h>

enum { SLOTS_FIRST = 256 };

void sales_init(struct sales *sales)
{
    *sales = (struct sales){ .slots = calloc(SLOTS_FIRST, sizeof(struct sale *)), .mask = SLOTS_FIRST - 1 };
    if (sales->slots == NULL)
        abort();
}

static void sale_free(struct sale *sale)
{
    if (sale == NULL)
        return;
    free(sale->returned);
    arena_done(&sale->memory);
    free(sale);
}

void sales_done(struct sales *sales)
{
    for (size_t i = 0; sales->slots != NULL && i <= sales->mask; i++)
        sale_free(sales->slots[i]);
    free(sales->slots);
    *sales = (struct sales){ 0 };
}

struct sale *sales_find(struct sales *sales, int64_t hash, struct text source, struct text transaction_id)
{
    for (size_t at = (size_t)hash & sales->mask; sales->slots[at] != NULL; at = (at + 1) & sales->mask) {
        struct sale *sale = sales->slots[at];
        if (sale->hash == hash && text_equal(sale->source, source) && text_equal(sale->transaction_id, transaction_id))
            return sale;
    }
    return NULL;
}

static void put(struct sales *sales, struct sale *sale)
{
    size_t at = (size_t)sale->hash & sales->mask;
    while (sales->slots[at] != NULL)
        at = (at + 1) & sales->mask;
    sales->slots[at] = sale;
    sales->count++;
}

/* Moves the sales that keep() wants into a table of slot_count slots; frees the others. */
static void rehash(struct sales *sales, size_t slot_count, int64_t flushed_next)
{
    struct sales old = *sales;
    *sales = (struct sales){ .slots = calloc(slot_count, sizeof(struct sale *)), .mask = slot_count - 1 };
    if (sales->slots == NULL)
        abort();
    for (size_t i = 0; i <= old.mask; i++) {
        if (old.slots[i] == NULL)
            continue;
        if (old.slots[i]->last_offset < flushed_next)
            sale_free(old.slots[i]);
        else
            put(sales, old.slots[i]);
    }
    free(old.slots);
}

static struct text keep(struct sale *sale, struct text text)
{
    return text.data == NULL ? text : (struct text){ arena_copy(&sale->memory, text.data, text.size), text.size };
}

struct sale *sales_add(struct sales *sales, int64_t hash, struct text source, struct text transaction_id)
{
    struct sale *sale = sales_find(sales, hash, source, transaction_id);
    if (sale != NULL)
        return sale;
    if (sales->count * 2 > sales->mask)
        rehash(sales, (sales->mask + 1) * 2, INT64_MIN);
    sale = calloc(1, sizeof *sale);
    if (sale == NULL)
        abort();
    sale->hash = hash;
    sale->source = keep(sale, source);
    sale->transaction_id = keep(sale, transaction_id);
    sale->last_offset = -1;
    put(sales, sale);
    return sale;
}

void sales_trim(struct sales *sales, int64_t flushed_next, size_t count_max)
{
    if (sales->count > count_max)
        rehash(sales, sales->mask + 1, flushed_next);
}

bool sale_owns(const struct sale *sale, const struct posting *posting)
{
    return posting->sale_hash == sale->hash && text_equal(posting->source, sale->source) &&
           text_equal(posting->sale_id.data != NULL ? posting->sale_id : posting->transaction_id,
                      sale->transaction_id);
}

/* Sums of what came back stop at the top: no sale holds that much, so the excess is all that is lost. */
static int64_t add_minor(int64_t a, int64_t b)
{
    int64_t sum;
    return __builtin_add_overflow(a, b, &sum) ? INT64_MAX : sum;
}

static struct sale_returned *returned_of(struct sale *sale, struct text product_id)
{
    for (size_t i = 0; i < sale->returned_count; i++)
        if (text_equal(sale->returned[i].product_id, product_id))
            return &sale->returned[i];
    if (sale->returned_count == sale->returned_capacity) {
        sale->returned_capacity = sale->returned_capacity == 0 ? 8 : sale->returned_capacity * 2;
        sale->returned = realloc(sale->returned, sale->returned_capacity * sizeof *sale->returned);
        if (sale->returned == NULL)
            abort();
    }
    struct sale_returned *returned = &sale->returned[sale->returned_count++];
    *returned = (struct sale_returned){ .product_id = keep(sale, product_id) };
    return returned;
}

/* What is left of the lines of one product, the earlier lines going first. Returns what is left to take. */
static int64_t settle_product(struct sale *sale, struct text product_id, int64_t returned_minor)
{
    for (size_t i = 0; i < sale->line_count; i++) {
        struct sale_line *line = &sale->lines[i];
        if (!text_equal(line->product_id, product_id))
            continue;
        int64_t taken = returned_minor < line->amount_minor ? returned_minor : line->amount_minor;
        line->net_minor = sale->voided ? 0 : line->amount_minor - taken;
        returned_minor -= taken;
    }
    return returned_minor;
}

static void settle(struct sale *sale)
{
    for (size_t i = 0; i < sale->line_count; i++)
        sale->lines[i].net_minor = sale->voided ? 0 : sale->lines[i].amount_minor;
    for (size_t i = 0; i < sale->returned_count; i++)
        settle_product(sale, sale->returned[i].product_id, sale->returned[i].amount_minor);
}

static void fold_points(struct sale *sale, const struct posting *posting)
{
    for (uint32_t i = 0; i < posting->rule_count; i++) {
        size_t at = 0;
        while (at < sale->posted_count && sale->posted[at].rule_id != posting->rules[i].rule_id)
            at++;
        if (at == sale->posted_count) {
            assert(sale->posted_count < POSTING_RULES_MAX); /* all postings of a sale are of one rules version */
            sale->posted[sale->posted_count++] = (struct posting_rule){ posting->rules[i].rule_id, 0 };
        }
        sale->posted[at].points += posting->rules[i].points;
    }
}

static void fold_own(struct sale *sale, const struct posting *posting)
{
    sale->exists = true;
    sale->customer_id = keep(sale, posting->customer_id);
    sale->store_id = keep(sale, posting->store_id);
    sale->day = posting->sale_day;
    sale->rules_version = posting->rules_version;
    sale->line_count = posting->line_count;
    sale->lines = arena_take(&sale->memory, (posting->line_count + 1) * sizeof *sale->lines);
    for (uint32_t i = 0; i < posting->line_count; i++) {
        const struct posting_line *line = &posting->lines[i];
        sale->lines[i] = (struct sale_line){ keep(sale, line->product_id), keep(sale, line->category),
                                             keep(sale, line->promotion_id), line->amount_minor, line->amount_minor };
    }
}

void sale_fold(struct sale *sale, const struct posting *posting)
{
    if (posting->offset < sale->last_offset ||
        (posting->offset == sale->last_offset && posting->seq <= sale->last_seq))
        return;
    sale->last_offset = posting->offset;
    sale->last_seq = posting->seq;
    if (posting->type == TRANSACTION_SALE)
        fold_own(sale, posting);
    else if (posting->type == TRANSACTION_VOID)
        sale->voided = true;
    else
        for (uint32_t i = 0; i < posting->line_count; i++) {
            const struct posting_line *line = &posting->lines[i];
            struct sale_returned *returned = returned_of(sale, line->product_id);
            returned->amount_minor = add_minor(returned->amount_minor, line->excess_minor - line->amount_minor);
        }
    fold_points(sale, posting);
    settle(sale);
}

size_t sale_give_back(struct sale *sale, const struct transaction *event, struct posting_line *ret, bool *ret_excess)
{
    size_t count = 0;
    *ret_excess = false;
    int64_t before[EVENT_LINES_MAX];
    for (size_t i = 0; i < sale->line_count; i++)
        before[i] = sale->lines[i].net_minor;

    if (event->type == TRANSACTION_VOID)
        sale->voided = true;
    else
        for (uint32_t i = 0; i < event->line_count; i++) {
            struct sale_returned *returned = returned_of(sale, event->lines[i].product_id);
            returned->amount_minor = add_minor(returned->amount_minor, event->lines[i].amount_minor);
        }
    settle(sale);

    for (size_t i = 0; i < sale->line_count; i++) {
        const struct sale_line *line = &sale->lines[i];
        if (line->net_minor != before[i])
            ret[count++] = (struct posting_line){ line->product_id, line->category, line->promotion_id,
                                                  line->net_minor - before[i], 0 };
    }
    if (event->type == TRANSACTION_VOID)
        return count;

    /* What each product brought back less what the sale gave up for it is excess, kept for the next fold. */
    size_t taken_count = count;
    for (uint32_t i = 0; i < event->line_count; i++) {
        struct text product_id = event->lines[i].product_id;
        bool first = true;
        for (uint32_t j = 0; j < i && first; j++)
            first = !text_equal(event->lines[j].product_id, product_id);
        if (!first)
            continue;
        int64_t excess_minor = 0;
        for (uint32_t j = i; j < event->line_count; j++)
            if (text_equal(event->lines[j].product_id, product_id))
                excess_minor = add_minor(excess_minor, event->lines[j].amount_minor);
        for (size_t j = 0; j < taken_count; j++)
            if (text_equal(ret[j].product_id, product_id))
                excess_minor += ret[j].amount_minor;
        if (excess_minor > 0) {
            *ret_excess = true;
            ret[count++] = (struct posting_line){ product_id, event->lines[i].category, (struct text){ 0 }, 0, excess_minor };
        }
    }
    return count;
}
