#include "producers/import/group_set.h"

#include <stdlib.h>
#include <string.h>

enum { TABLE_SIZE = 1 << 14, CLOSED_SIZE = 1 << 12 };

/* FNV-1a, with a final mix since tables take its low bits. Never 0: that is an empty place. */
static uint64_t hash_of(struct text id)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    for (uint32_t i = 0; i < id.size; i++)
        hash = (hash ^ (unsigned char)id.data[i]) * UINT64_C(0x100000001b3);
    hash ^= hash >> 32;
    hash *= UINT64_C(0xd6e8feb86659fd93);
    hash ^= hash >> 32;
    return hash == 0 ? 1 : hash;
}

static void *get(size_t size)
{
    void *memory = calloc(1, size);
    if (memory == NULL)
        abort();
    return memory;
}

void group_set_init(struct group_set *set)
{
    *set = (struct group_set){.table_size = TABLE_SIZE, .closed_size = CLOSED_SIZE};
    set->table = get(TABLE_SIZE * sizeof(void *));
    set->closed = get(CLOSED_SIZE * sizeof *set->closed);
}

void group_set_done(struct group_set *set)
{
    for (struct group *group = set->oldest, *newer; group != NULL; group = newer) {
        newer = group->newer;
        group_set_remove(set, group, false);
    }
    free(set->table);
    free(set->closed);
}

static void grow_table(struct group_set *set)
{
    size_t size = set->table_size * 2;
    struct group **table = get(size * sizeof(void *));
    for (struct group *group = set->oldest; group != NULL; group = group->newer) {
        group->chain = table[group->hash & (size - 1)];
        table[group->hash & (size - 1)] = group;
    }
    free(set->table);
    set->table = table;
    set->table_size = size;
}

static void unlink_age(struct group_set *set, struct group *group)
{
    *(group->older != NULL ? &group->older->newer : &set->oldest) = group->newer;
    *(group->newer != NULL ? &group->newer->older : &set->newest) = group->older;
    group->older = group->newer = NULL;
}

static void link_newest(struct group_set *set, struct group *group)
{
    group->older = set->newest;
    *(set->newest != NULL ? &set->newest->newer : &set->oldest) = group;
    set->newest = group;
}

struct group *group_set_find(struct group_set *set, struct text id, bool paired, bool *ret_found)
{
    uint64_t hash = hash_of(id);
    for (struct group *group = set->table[hash & (set->table_size - 1)]; group != NULL;
         group = group->chain) {
        if (group->hash == hash && text_equal(group->id, id)) {
            *ret_found = true;
            return group;
        }
    }
    *ret_found = false;
    if (set->count >= set->table_size)
        grow_table(set);
    struct group *group = get(sizeof *group + id.size + 1);
    char *name = (char *)(group + 1);
    memcpy(name, id.data, id.size);
    group->id = (struct text){name, id.size};
    group->hash = hash;
    group->paired = paired;
    group->chain = set->table[hash & (set->table_size - 1)];
    set->table[hash & (set->table_size - 1)] = group;
    set->count++;
    link_newest(set, group);
    return group;
}

static void put_closed(uint64_t *table, size_t size, uint64_t hash)
{
    size_t at = hash & (size - 1);
    while (table[at] != 0 && table[at] != hash)
        at = (at + 1) & (size - 1);
    table[at] = hash;
}

bool group_set_was_closed(const struct group_set *set, const struct group *group)
{
    size_t at = group->hash & (set->closed_size - 1);
    while (set->closed[at] != 0 && set->closed[at] != group->hash)
        at = (at + 1) & (set->closed_size - 1);
    return set->closed[at] != 0;
}

static void remember_closed(struct group_set *set, const struct group *group)
{
    if (group_set_was_closed(set, group))
        return;
    if (set->closed_count * 4 >= set->closed_size * 3) {
        size_t size = set->closed_size * 2;
        uint64_t *table = get(size * sizeof *table);
        for (size_t i = 0; i < set->closed_size; i++)
            if (set->closed[i] != 0)
                put_closed(table, size, set->closed[i]);
        free(set->closed);
        set->closed = table;
        set->closed_size = size;
    }
    put_closed(set->closed, set->closed_size, group->hash);
    set->closed_count++;
}

static struct text copy(char **at, struct text text)
{
    if (text.data == NULL)
        return text;
    char *to = *at;
    memcpy(to, text.data, text.size);
    *at += text.size;
    return (struct text){to, text.size};
}

static size_t head_size(const struct transaction *head)
{
    return sizeof *head + head->transaction_id.size + head->original_transaction_id.size +
           head->store_id.size + head->customer_id.size + head->currency.size + head->source_ref.size +
           head->channel.size;
}

/* source is the profile's, which outlives all rows. */
static void copy_head(char **at, const struct transaction *from, struct transaction *to)
{
    *to = *from;
    to->transaction_id = copy(at, from->transaction_id);
    to->original_transaction_id = copy(at, from->original_transaction_id);
    to->store_id = copy(at, from->store_id);
    to->customer_id = copy(at, from->customer_id);
    to->currency = copy(at, from->currency);
    to->source_ref = copy(at, from->source_ref);
    to->channel = copy(at, from->channel);
}

void group_set_add(struct group_set *set, struct group *group, const struct group_new *in)
{
    const struct mapped *mapped = in->mapped;
    bool good = in->codes == 0, keeps_head = good && in->has_head && (group->paired || group->head == NULL);
    bool keeps_item = good && in->has_item;
    size_t size = sizeof(struct group_row) + in->row->raw.size;
    size += keeps_head ? head_size(&mapped->head) : 0;
    size += keeps_item ? mapped->item.product_id.size + mapped->item.promotion_id.size : 0;
    size += good ? 0 : strlen(in->message) + 1;
    struct group_row *row = malloc(size);
    if (row == NULL)
        abort();
    *row = (struct group_row){.file = in->file,
                              .line = in->row->line,
                              .ordinal = in->ordinal,
                              .codes = in->codes,
                              .size = size,
                              .has_line_no = mapped->has_line_no};
    char *at = (char *)(row + 1);
    if (keeps_head) { /* first: it wants alignment */
        row->head = (struct transaction *)(void *)at;
        at += sizeof *row->head;
        copy_head(&at, &mapped->head, row->head);
        group->head = group->head == NULL ? row : group->head;
        group->head_count++;
    }
    if (keeps_item) {
        row->item = mapped->item;
        row->item.product_id = copy(&at, mapped->item.product_id);
        row->item.promotion_id = copy(&at, mapped->item.promotion_id);
    }
    row->raw = copy(&at, in->row->raw);
    if (!good) {
        row->message = at;
        memcpy(at, in->message, strlen(in->message) + 1);
    }
    *(group->last != NULL ? &group->last->next : &group->first) = row;
    group->last = row;
    group->codes |= in->codes;
    group->row_count++;
    set->row_count++;
    set->bytes += (int64_t)size;
    unlink_age(set, group);
    link_newest(set, group);
}

void group_set_remove(struct group_set *set, struct group *group, bool early)
{
    if (early)
        remember_closed(set, group);
    unlink_age(set, group);
    struct group **at = &set->table[group->hash & (set->table_size - 1)];
    while (*at != group)
        at = &(*at)->chain;
    *at = group->chain;
    set->count--;
    for (struct group_row *row = group->first, *next; row != NULL; row = next) {
        next = row->next;
        set->row_count--;
        set->bytes -= (int64_t)row->size;
        free(row);
    }
    free(group);
}
