#include "consumers/accrue/identities.h"

#include <stdlib.h>

enum { SLOTS_FIRST = 1024 };
static const int64_t FREE = -1, REMOVED = -2; /* in place of an offset */

static void generation_init(struct identity_generation *generation, size_t slot_count)
{
    generation->slots = malloc(slot_count * sizeof *generation->slots);
    if (generation->slots == NULL)
        abort();
    for (size_t i = 0; i < slot_count; i++)
        generation->slots[i].offset = FREE;
    generation->mask = slot_count - 1;
    generation->used = 0;
    generation->since_ms = INT64_MIN;
    generation->last_offset = -1;
}

void identities_init(struct identities *table, int64_t limit)
{
    *table = (struct identities){ .limit = limit < SLOTS_FIRST ? SLOTS_FIRST : (size_t)limit, .complete = true };
    generation_init(&table->young, SLOTS_FIRST);
    generation_init(&table->old, 2);
}

void identities_done(struct identities *table)
{
    free(table->young.slots);
    free(table->old.slots);
    *table = (struct identities){ 0 };
}

static void generation_put(struct identity_generation *generation, int64_t fingerprint, int64_t offset)
{
    size_t at = (size_t)fingerprint & generation->mask;
    while (generation->slots[at].offset != FREE)
        at = (at + 1) & generation->mask;
    generation->slots[at] = (struct identity_slot){ fingerprint, offset };
    generation->used++;
    if (offset > generation->last_offset)
        generation->last_offset = offset;
}

static void generation_grow(struct identity_generation *generation)
{
    struct identity_generation bigger;
    generation_init(&bigger, (generation->mask + 1) * 2);
    for (size_t i = 0; i <= generation->mask; i++)
        if (generation->slots[i].offset >= 0)
            generation_put(&bigger, generation->slots[i].fingerprint, generation->slots[i].offset);
    bigger.since_ms = generation->since_ms;
    bigger.last_offset = generation->last_offset;
    free(generation->slots);
    *generation = bigger;
}

void identities_add(struct identities *table, int64_t fingerprint, int64_t offset, int64_t clock_ms)
{
    struct identity_generation *young = &table->young;
    if (young->used * 8 >= (young->mask + 1) * 5)
        generation_grow(young);
    if (young->used == 0)
        young->since_ms = clock_ms;
    generation_put(young, fingerprint, offset);
}

void identities_incomplete(struct identities *table, int64_t window_ms)
{
    if (table->complete || window_ms > table->window_ms)
        table->window_ms = window_ms;
    table->complete = false;
}

/* The next slot of the fingerprint from *at on; writable, since remove needs just that. */
static struct identity_slot *generation_next(const struct identity_generation *generation, int64_t fingerprint,
                                             size_t *at)
{
    for (; generation->slots[*at].offset != FREE; *at = (*at + 1) & generation->mask) {
        struct identity_slot *slot = &generation->slots[*at];
        if (slot->fingerprint == fingerprint && slot->offset >= 0) {
            *at = (*at + 1) & generation->mask;
            return slot;
        }
    }
    return NULL;
}

static struct identity_slot *find_slot(const struct identities *table, int64_t fingerprint, int64_t offset)
{
    const struct identity_generation *generations[] = { &table->young, &table->old };
    for (size_t i = 0; i < 2; i++) {
        size_t at = (size_t)fingerprint & generations[i]->mask;
        for (struct identity_slot *slot; (slot = generation_next(generations[i], fingerprint, &at)) != NULL;)
            if (slot->offset == offset)
                return slot;
    }
    return NULL;
}

size_t identities_find(const struct identities *table, int64_t fingerprint, int64_t ret[IDENTITY_HITS_MAX])
{
    size_t count = 0;
    const struct identity_generation *generations[] = { &table->young, &table->old };
    for (size_t i = 0; i < 2; i++) {
        size_t at = (size_t)fingerprint & generations[i]->mask;
        for (struct identity_slot *slot; (slot = generation_next(generations[i], fingerprint, &at)) != NULL;)
            if (count < IDENTITY_HITS_MAX)
                ret[count++] = slot->offset;
    }
    return count;
}

void identities_remove(struct identities *table, int64_t fingerprint, int64_t offset)
{
    struct identity_slot *slot = find_slot(table, fingerprint, offset);
    if (slot != NULL)
        slot->offset = REMOVED;
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
    free(table->old.slots);
    table->old = table->young;
    generation_init(&table->young, SLOTS_FIRST);
}

bool identities_miss_is_final(const struct identities *table, int64_t arrived_after_ms)
{
    return table->complete || arrived_after_ms > table->window_ms;
}
