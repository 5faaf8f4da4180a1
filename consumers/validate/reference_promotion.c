#include "consumers/validate/references.h"

#include <stdlib.h>
#include <string.h>

struct reference_promotion {
    int32_t start_day, end_day;
    uint32_t product_count, category_count;
    struct text *products, *categories; /* sorted by bytes; the bytes follow in the same allocation */
};

static int text_order(const void *left, const void *right)
{
    const struct text *a = left, *b = right;
    uint32_t size = a->size < b->size ? a->size : b->size;
    int order = size == 0 ? 0 : memcmp(a->data, b->data, size);
    return order != 0 ? order : (a->size > b->size) - (a->size < b->size);
}

static struct text *list_copy(struct text *to, const struct text *from, uint32_t count, char **bytes)
{
    for (uint32_t i = 0; i < count; i++) {
        if (from[i].size > 0)
            memcpy(*bytes, from[i].data, from[i].size);
        to[i] = (struct text){*bytes, from[i].size};
        *bytes += from[i].size;
    }
    if (count > 0)
        qsort(to, count, sizeof *to, text_order);
    return to;
}

struct reference_promotion *reference_promotion_new(const struct promotion *promotion)
{
    size_t lists = (size_t)promotion->product_count + promotion->category_count;
    size_t bytes = 0;
    for (uint32_t i = 0; i < promotion->product_count; i++)
        bytes += promotion->product_ids[i].size;
    for (uint32_t i = 0; i < promotion->category_count; i++)
        bytes += promotion->categories[i].size;
    struct reference_promotion *copy = malloc(sizeof *copy + lists * sizeof(struct text) + bytes);
    if (copy == NULL)
        abort();
    struct text *texts = (struct text *)(copy + 1);
    char *at = (char *)(texts + lists);
    *copy = (struct reference_promotion){
        .start_day = promotion->start_day,
        .end_day = promotion->end_day,
        .product_count = promotion->product_count,
        .category_count = promotion->category_count,
    };
    copy->products = list_copy(texts, promotion->product_ids, promotion->product_count, &at);
    copy->categories =
        list_copy(texts + promotion->product_count, promotion->categories, promotion->category_count, &at);
    return copy;
}

void reference_promotion_free(struct reference_promotion *promotion)
{
    free(promotion);
}

bool reference_promotion_runs(const struct reference_promotion *promotion, int32_t day)
{
    return promotion->start_day <= day && day <= promotion->end_day;
}

static bool list_has(const struct text *list, uint32_t count, struct text text)
{
    return text.data != NULL && count > 0 && bsearch(&text, list, count, sizeof *list, text_order) != NULL;
}

bool reference_promotion_covers(const struct reference_promotion *promotion, struct text product_id,
                                struct text category)
{
    if (promotion->product_count == 0 && promotion->category_count == 0)
        return true;
    return list_has(promotion->products, promotion->product_count, product_id) ||
           list_has(promotion->categories, promotion->category_count, category);
}
