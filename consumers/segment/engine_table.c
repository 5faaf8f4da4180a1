#include "consumers/segment/engine_table.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

enum { SLOTS_FIRST = 1024, LIST_FIRST = 256 };

static void *list_of(size_t count, size_t size)
{
    void *list = calloc(count, size);
    if (list == NULL)
        abort();
    return list;
}

static void *grown(void *list, size_t count, size_t size)
{
    list = realloc(list, count * size);
    if (list == NULL)
        abort();
    return list;
}

static void begin(struct engine *engine)
{
    engine->slots = list_of(SLOTS_FIRST, sizeof *engine->slots);
    engine->mask = SLOTS_FIRST - 1;
    engine->category_slots = list_of(SLOTS_FIRST, sizeof *engine->category_slots);
    engine->category_mask = SLOTS_FIRST - 1;
    for (int at = 0; at < DUE_LISTS; at++)
        engine->due[at] = NOBODY;
    engine->day = engine->before = NO_DAY;
}

void engine_init(struct engine *engine, const struct engine_settings *settings, struct calendar *calendar,
                 engine_change_fn *on_change, void *arg)
{
    *engine = (struct engine){
        .settings = *settings, .calendar = calendar, .on_change = on_change, .on_change_arg = arg
    };
    begin(engine);
}

void engine_done(struct engine *engine)
{
    for (uint32_t at = 0; at < engine->count; at++)
        standing_done(&engine->list[at]);
    free(engine->list);
    free(engine->monetary);
    free(engine->high);
    free(engine->slots);
    free(engine->dirty);
    free(engine->categories);
    free(engine->category_slots);
    free(engine->is_sold);
    free(engine->sold);
    free(engine->scratch);
    arena_done(&engine->names);
}

void engine_reset(struct engine *engine)
{
    struct engine was = *engine;
    engine_done(engine);
    engine_init(engine, &was.settings, was.calendar, was.on_change, was.on_change_arg);
}

/* ---- customers ---- */

static uint32_t hash_of(struct text text)
{
    return (uint32_t)XXH3_64bits(text.data, text.size);
}

/* Who is elsewhere in memory is looked at only where the hash says that it is the one. */
static uint32_t slot_of(const struct engine *engine, struct text id, uint32_t hash)
{
    uint32_t slot = hash & engine->mask;
    while (engine->slots[slot].number != 0 &&
           (engine->slots[slot].hash != hash ||
            !text_equal(engine->list[engine->slots[slot].number - 1].id, id)))
        slot = (slot + 1) & engine->mask;
    return slot;
}

static void grow_slots(struct engine *engine)
{
    struct engine_slot *was = engine->slots;
    uint32_t was_mask = engine->mask;
    engine->mask = engine->mask * 2 + 1;
    engine->slots = list_of((size_t)engine->mask + 1, sizeof *engine->slots);
    for (uint32_t at = 0; at <= was_mask; at++) {
        uint32_t slot = was[at].hash & engine->mask;
        while (engine->slots[slot].number != 0)
            slot = (slot + 1) & engine->mask;
        if (was[at].number != 0)
            engine->slots[slot] = was[at];
    }
    free(was);
}

static void grow_list(struct engine *engine)
{
    engine->capacity = engine->capacity == 0 ? LIST_FIRST : engine->capacity * 2;
    engine->list = grown(engine->list, engine->capacity, sizeof *engine->list);
    engine->monetary = grown(engine->monetary, engine->capacity, sizeof *engine->monetary);
    engine->high = grown(engine->high, engine->capacity, sizeof *engine->high);
    engine->dirty = grown(engine->dirty, engine->capacity, sizeof *engine->dirty);
    engine->dirty_capacity = engine->capacity;
}

struct standing *engine_find(struct engine *engine, struct text customer_id)
{
    uint32_t number = engine->slots[slot_of(engine, customer_id, hash_of(customer_id))].number;
    return number == 0 ? NULL : &engine->list[number - 1];
}

struct standing *engine_add(struct engine *engine, struct text customer_id)
{
    uint32_t hash = hash_of(customer_id), slot = slot_of(engine, customer_id, hash);
    if (engine->slots[slot].number != 0)
        return &engine->list[engine->slots[slot].number - 1];
    if (engine->count >= engine->mask / 2) {
        grow_slots(engine);
        slot = slot_of(engine, customer_id, hash);
    }
    if (engine->count == engine->capacity)
        grow_list(engine);
    uint32_t at = engine->count++;
    struct text kept = { arena_copy(&engine->names, customer_id.data, customer_id.size), customer_id.size };
    standing_init(&engine->list[at], kept);
    engine->monetary[at] = 0;
    engine->high[at] = 0;
    engine->slots[slot] = (struct engine_slot){ hash, at + 1 };
    return &engine->list[at];
}

void engine_place(struct engine *engine, struct standing *customer)
{
    uint32_t at = (uint32_t)(customer - engine->list);
    engine->monetary[at] = customer->monetary_minor;
    engine->high[at] = (customer->flags & FLAG_HIGH_SPENDER) != 0;
    engine_table_due(engine, customer, NO_DAY);
}

void engine_table_dirty(struct engine *engine, struct standing *customer)
{
    if (customer->is_dirty)
        return;
    customer->is_dirty = true;
    assert(engine->dirty_count < engine->dirty_capacity);
    engine->dirty[engine->dirty_count++] = (uint32_t)(customer - engine->list);
}

void engine_clean(struct engine *engine)
{
    for (uint32_t at = 0; at < engine->dirty_count; at++) {
        struct standing *customer = &engine->list[engine->dirty[at]];
        customer->is_dirty = false;
        customer->is_known = true;
    }
    engine->dirty_count = 0;
    engine->sold_saved = engine->sold_count;
}

/* ---- due lists ---- */

static uint32_t *due_list(struct engine *engine, int32_t day)
{
    return &engine->due[(uint32_t)day % DUE_LISTS];
}

void engine_table_due(struct engine *engine, struct standing *customer, int32_t due_was)
{
    uint32_t self = (uint32_t)(customer - engine->list);
    if (due_was != NO_DAY) {
        if (customer->previous == NOBODY)
            *due_list(engine, due_was) = customer->next;
        else
            engine->list[customer->previous].next = customer->next;
        if (customer->next != NOBODY)
            engine->list[customer->next].previous = customer->previous;
    }
    customer->next = customer->previous = NOBODY;
    if (customer->due_day == NO_DAY)
        return;
    /* A day is in no other's list: nothing is due later than a year and a day from the day reckoned with. */
    uint32_t *first = due_list(engine, customer->due_day);
    customer->next = *first;
    if (*first != NOBODY)
        engine->list[*first].previous = self;
    *first = self;
}

uint32_t engine_table_take_due(struct engine *engine, int32_t day)
{
    uint32_t *first = due_list(engine, day), taken = *first;
    *first = NOBODY;
    return taken;
}

/* ---- categories ---- */

static uint32_t category_slot(const struct engine *engine, struct text name)
{
    uint32_t slot = hash_of(name) & engine->category_mask;
    while (engine->category_slots[slot] != 0 &&
           !text_equal(engine->categories[engine->category_slots[slot] - 1], name))
        slot = (slot + 1) & engine->category_mask;
    return slot;
}

static void grow_categories(struct engine *engine)
{
    engine->category_capacity = engine->category_capacity == 0 ? LIST_FIRST : engine->category_capacity * 2;
    engine->categories = grown(engine->categories, engine->category_capacity, sizeof *engine->categories);
    engine->is_sold = grown(engine->is_sold, engine->category_capacity, sizeof *engine->is_sold);
    engine->sold = grown(engine->sold, engine->category_capacity, sizeof *engine->sold);
    free(engine->category_slots);
    engine->category_mask = engine->category_capacity * 4 - 1;
    engine->category_slots = list_of((size_t)engine->category_mask + 1, sizeof *engine->category_slots);
    for (uint32_t at = 0; at < engine->category_count; at++)
        engine->category_slots[category_slot(engine, engine->categories[at])] = at + 1;
}

uint32_t engine_category(struct engine *engine, struct text name, bool is_sold)
{
    uint32_t slot = category_slot(engine, name);
    if (engine->category_slots[slot] == 0) {
        if (engine->category_count == engine->category_capacity) {
            grow_categories(engine);
            slot = category_slot(engine, name);
        }
        engine->categories[engine->category_count] =
            (struct text){ arena_copy(&engine->names, name.data, name.size), name.size };
        engine->is_sold[engine->category_count] = 0;
        engine->category_slots[slot] = ++engine->category_count;
    }
    uint32_t at = engine->category_slots[slot] - 1;
    if (is_sold && !engine->is_sold[at]) {
        engine->is_sold[at] = 1;
        engine->sold[engine->sold_count++] = at;
    }
    return at;
}

struct text engine_category_name(void *engine, uint32_t category)
{
    return ((struct engine *)engine)->categories[category];
}

int engine_category_order(const void *a, const void *b, void *engine)
{
    struct text x = engine_category_name(engine, ((const struct spend *)a)->category);
    struct text y = engine_category_name(engine, ((const struct spend *)b)->category);
    int order = memcmp(x.data, y.data, x.size < y.size ? x.size : y.size);
    return order != 0 ? order : (x.size > y.size) - (x.size < y.size);
}

/* ---- identity of a change ---- */

void engine_change_id(int32_t run, struct text customer_id, struct text segment, int64_t sequence,
                      char to[33])
{
    static const char digits[] = "0123456789abcdef";
    XXH3_state_t state;
    const uint32_t sizes[2] = { customer_id.size, segment.size };
    XXH3_128bits_reset(&state);
    XXH3_128bits_update(&state, &run, sizeof run);
    XXH3_128bits_update(&state, sizes, sizeof sizes);
    XXH3_128bits_update(&state, customer_id.data, customer_id.size);
    XXH3_128bits_update(&state, segment.data, segment.size);
    XXH3_128bits_update(&state, &sequence, sizeof sequence);
    XXH128_canonical_t canonical;
    XXH128_canonicalFromHash(&canonical, XXH3_128bits_digest(&state));
    for (int at = 0; at < 16; at++) {
        to[2 * at] = digits[canonical.digest[at] >> 4];
        to[2 * at + 1] = digits[canonical.digest[at] & 15];
    }
    to[32] = '\0';
}
