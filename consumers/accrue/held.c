#include "consumers/accrue/held.h"

#include <stdlib.h>
#include <string.h>

enum { BUCKETS_FIRST = 256 };

static struct held **buckets_new(size_t count)
{
    struct held **buckets = calloc(count, sizeof *buckets);
    if (buckets == NULL)
        abort();
    return buckets;
}

void held_init(struct held_list *list)
{
    *list = (struct held_list){ .by_sale = buckets_new(BUCKETS_FIRST),
                                .by_identity = buckets_new(BUCKETS_FIRST),
                                .mask = BUCKETS_FIRST - 1 };
}

void held_done(struct held_list *list)
{
    for (struct held *held = list->first; held != NULL;) {
        struct held *later = held->later;
        free(held);
        held = later;
    }
    free(list->by_sale);
    free(list->by_identity);
    *list = (struct held_list){ 0 };
}

/* Appends to both chains, so that each stays in the order of offsets. */
static void chain(struct held_list *list, struct held *held)
{
    struct held **at = &list->by_sale[(size_t)held->record.sale_hash & list->mask];
    while (*at != NULL)
        at = &(*at)->next_of_sale;
    *at = held;
    held->next_of_sale = NULL;
    at = &list->by_identity[(size_t)held->record.identity_hash & list->mask];
    while (*at != NULL)
        at = &(*at)->next_of_identity;
    *at = held;
    held->next_of_identity = NULL;
}

static void grow(struct held_list *list)
{
    size_t count = (list->mask + 1) * 2;
    free(list->by_sale);
    free(list->by_identity);
    list->by_sale = buckets_new(count);
    list->by_identity = buckets_new(count);
    list->mask = count - 1;
    for (struct held *held = list->first; held != NULL; held = held->later)
        chain(list, held);
}

static struct text keep(char **at, struct text text)
{
    if (text.data == NULL)
        return text;
    if (text.size > 0)
        memcpy(*at, text.data, text.size);
    struct text copy = { *at, text.size };
    *at += text.size;
    return copy;
}

void held_add(struct held_list *list, const struct kept_record *record)
{
    size_t size = (size_t)record->source.size + record->transaction_id.size + record->message.size +
                  record->key.size + record->value.size + record->headers.size + record->raw_topic.size;
    struct held *held = malloc(sizeof *held + size + 1);
    if (held == NULL)
        abort();
    char *at = held->memory;
    held->record = *record;
    held->record.source = keep(&at, record->source);
    held->record.transaction_id = keep(&at, record->transaction_id);
    held->record.message = keep(&at, record->message);
    held->record.key = keep(&at, record->key);
    held->record.value = keep(&at, record->value);
    held->record.headers = keep(&at, record->headers);
    held->record.raw_topic = keep(&at, record->raw_topic);

    held->later = NULL;
    held->earlier = list->last;
    if (list->last != NULL)
        list->last->later = held;
    else
        list->first = held;
    list->last = held;
    list->count++;
    if (list->count > list->mask)
        grow(list);
    else
        chain(list, held);
}

void held_remove(struct held_list *list, struct held *held)
{
    struct held **at = &list->by_sale[(size_t)held->record.sale_hash & list->mask];
    while (*at != held)
        at = &(*at)->next_of_sale;
    *at = held->next_of_sale;
    at = &list->by_identity[(size_t)held->record.identity_hash & list->mask];
    while (*at != held)
        at = &(*at)->next_of_identity;
    *at = held->next_of_identity;

    if (held->earlier != NULL)
        held->earlier->later = held->later;
    else
        list->first = held->later;
    if (held->later != NULL)
        held->later->earlier = held->earlier;
    else
        list->last = held->earlier;
    list->count--;
    free(held);
}

static struct held *from_sale(struct held *held, int64_t sale_hash)
{
    while (held != NULL && held->record.sale_hash != sale_hash)
        held = held->next_of_sale;
    return held;
}

static struct held *from_identity(struct held *held, int64_t identity_hash)
{
    while (held != NULL && held->record.identity_hash != identity_hash)
        held = held->next_of_identity;
    return held;
}

struct held *held_of_sale(const struct held_list *list, int64_t sale_hash)
{
    return from_sale(list->by_sale[(size_t)sale_hash & list->mask], sale_hash);
}

struct held *held_next_of_sale(const struct held *held)
{
    return from_sale(held->next_of_sale, held->record.sale_hash);
}

struct held *held_of_identity(const struct held_list *list, int64_t identity_hash)
{
    return from_identity(list->by_identity[(size_t)identity_hash & list->mask], identity_hash);
}

struct held *held_next_of_identity(const struct held *held)
{
    return from_identity(held->next_of_identity, held->record.identity_hash);
}
