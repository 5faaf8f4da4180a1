#include "consumers/accrue/identities.h"

#include "state/pages.h"

#include <string.h>

enum { SLOTS_FIRST = 1024 };
static const uint64_t FREE = UINT64_MAX, REMOVED = UINT64_MAX - 1; /* in place of a slot's contents */

static uint64_t slot_of(uint64_t tag, int64_t offset)
{
    return tag | ((uint64_t)offset & (IDENTITY_SPAN - 1));
}

static bool slot_is(uint64_t slot, uint64_t tag)
{
    return (slot ^ tag) < IDENTITY_SPAN;
}

/* The highest offset of the generation that ends in the slot's bits. */
static int64_t slot_offset(const struct identity_generation *generation, uint64_t slot)
{
    int64_t last = generation->last_offset;
    return last - (int64_t)(((uint64_t)last - slot) & (IDENTITY_SPAN - 1));
}

static void generation_init(struct identity_generation *generation, size_t slot_count)
{
    *generation =
        (struct identity_generation){ .slots = pages_resize(NULL, 0, slot_count * sizeof *generation->slots),
                                      .slot_count = slot_count,
                                      .since_ms = INT64_MIN,
                                      .first_offset = INT64_MAX,
                                      .last_offset = -1 };
    memset(generation->slots, 0xff, slot_count * sizeof *generation->slots); /* FREE */
}

static void generation_done(struct identity_generation *generation)
{
    pages_resize(generation->slots, generation->slot_count * sizeof *generation->slots, 0);
    *generation = (struct identity_generation){ 0 };
}

void identities_init(struct identities *table, int64_t limit)
{
    *table =
        (struct identities){ .limit = limit < SLOTS_FIRST ? SLOTS_FIRST : (size_t)limit, .complete = true };
    generation_init(&table->young, SLOTS_FIRST);
    generation_init(&table->old, 2);
}

void identities_done(struct identities *table)
{
    generation_done(&table->young);
    generation_done(&table->old);
    *table = (struct identities){ 0 };
}

static size_t after(const struct identity_generation *generation, size_t at)
{
    return at + 1 == generation->slot_count ? 0 : at + 1;
}

static void generation_put(struct identity_generation *generation, uint64_t slot)
{
    size_t at = identities_home(generation, slot);
    while (generation->slots[at] != FREE)
        at = after(generation, at);
    generation->slots[at] = slot;
    generation->used++;
}

static void generation_grow(struct identity_generation *generation)
{
    struct identity_generation bigger;
    generation_init(&bigger, generation->slot_count + generation->slot_count / 4);
    for (size_t i = 0; i < generation->slot_count; i++)
        if (generation->slots[i] < REMOVED)
            generation_put(&bigger, generation->slots[i]);
    bigger.since_ms = generation->since_ms;
    bigger.first_offset = generation->first_offset;
    bigger.last_offset = generation->last_offset;
    generation_done(generation);
    *generation = bigger;
}

void identities_add(struct identities *table, int64_t fingerprint, int64_t offset, int64_t clock_ms)
{
    struct identity_generation *young = &table->young;
    if (young->used * 4 >= young->slot_count * 3)
        generation_grow(young);
    if (young->used == 0)
        young->since_ms = clock_ms;
    if (offset < young->first_offset)
        young->first_offset = offset;
    if (offset > young->last_offset)
        young->last_offset = offset;
    generation_put(young, slot_of(identities_tag(fingerprint), offset));
}

void identities_incomplete(struct identities *table, int64_t window_ms)
{
    if (table->complete || window_ms > table->window_ms)
        table->window_ms = window_ms;
    table->complete = false;
}

/* The next slot of the fingerprint from *at on; writable, since remove needs just that. */
static uint64_t *generation_next(const struct identity_generation *generation, uint64_t tag, size_t *at)
{
    while (generation->slots[*at] != FREE) {
        uint64_t *slot = &generation->slots[*at];
        *at = after(generation, *at);
        if (slot_is(*slot, tag))
            return slot;
    }
    return NULL;
}

size_t identities_find(const struct identities *table, int64_t fingerprint, int64_t ret[IDENTITY_HITS_MAX])
{
    size_t count = 0;
    uint64_t tag = identities_tag(fingerprint);
    const struct identity_generation *generations[] = { &table->young, &table->old };
    for (size_t i = 0; i < 2; i++) {
        size_t at = identities_home(generations[i], tag);
        for (const uint64_t *slot; (slot = generation_next(generations[i], tag, &at)) != NULL;) {
            int64_t offset = slot_offset(generations[i], *slot);
            if (count < IDENTITY_HITS_MAX)
                ret[count++] = offset;
            if (offset - IDENTITY_SPAN >= generations[i]->first_offset && count < IDENTITY_HITS_MAX)
                ret[count++] = offset - IDENTITY_SPAN;
        }
    }
    return count;
}

void identities_remove(struct identities *table, int64_t fingerprint, int64_t offset)
{
    uint64_t tag = identities_tag(fingerprint);
    const struct identity_generation *generations[] = { &table->young, &table->old };
    for (size_t i = 0; i < 2; i++) {
        size_t at = identities_home(generations[i], tag);
        for (uint64_t *slot; (slot = generation_next(generations[i], tag, &at)) != NULL;)
            if (*slot == slot_of(tag, offset)) {
                *slot = REMOVED;
                return;
            }
    }
}

void identities_move(struct identities *table, int64_t fingerprint, int64_t from_offset, int64_t to_offset)
{
    identities_remove(table, fingerprint, from_offset);
    /* Into the young generation, by the clock of its first member: the move posts it now. */
    identities_add(table, fingerprint, to_offset, table->young.since_ms);
}

void identities_settle(struct identities *table, int64_t flushed_next)
{
    if (table->young.used < table->limit / 2 || table->old.last_offset >= flushed_next)
        return;
    /* All of the elder ones were posted before the younger generation began. */
    if (table->old.used > 0)
        identities_incomplete(table, table->young.since_ms);
    generation_done(&table->old);
    table->old = table->young;
    generation_init(&table->young, SLOTS_FIRST);
}

bool identities_miss_is_final(const struct identities *table, int64_t arrived_after_ms)
{
    return table->complete || arrived_after_ms > table->window_ms;
}
