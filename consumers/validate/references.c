/* What is written of references, and their lookups for those who seldom ask. How they lie: references_find.h. */
#include "consumers/validate/references.h"

#include "consumers/validate/references_find.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { ARENA_BLOCK_SIZE = 64 << 10, SLOTS_FIRST = 1 << 8, HUGE_SIZE = 2 << 20 };

struct block {
    struct block *next;
    size_t used, size;
    char bytes[];
};

static void *must(void *memory)
{
    if (memory == NULL)
        abort(); /* out of memory: the process restarts at the last commit */
    return memory;
}

static struct text keep(struct references *references, struct text text)
{
    struct block *block = references->arena;
    if (block == NULL || block->size - block->used < text.size) {
        size_t size = text.size > ARENA_BLOCK_SIZE ? text.size : ARENA_BLOCK_SIZE;
        block = must(malloc(sizeof *block + size));
        *block = (struct block){.next = references->arena, .size = size};
        references->arena = block;
    }
    char *to = block->bytes + block->used;
    if (text.size > 0)
        memcpy(to, text.data, text.size);
    block->used += text.size;
    return (struct text){to, text.size};
}

static void slot_put(struct slot *slots, size_t slot_count, uint64_t h, uint32_t entry)
{
    size_t at = h & (slot_count - 1);
    while (slots[at].entry != 0)
        at = (at + 1) & (slot_count - 1);
    slots[at] = (struct slot){.tag = (uint32_t)(h >> 32), .entry = entry};
}

/* Large tables are read at random: huge pages spare a miss of the address translation for each. */
static void *table_memory(size_t size)
{
    size_t align = size >= HUGE_SIZE ? HUGE_SIZE : LINE_SIZE;
    size = (size + align - 1) / align * align;
    void *memory = must(aligned_alloc(align, size));
    if (align == HUGE_SIZE)
        madvise(memory, size, MADV_HUGEPAGE);
    return memory;
}

static void table_grow_slots(struct table *table)
{
    size_t slot_count = table->slot_count == 0 ? SLOTS_FIRST : table->slot_count * 2;
    struct slot *slots = table_memory(slot_count * sizeof *slots);
    memset(slots, 0, slot_count * sizeof *slots);
    for (size_t i = 0; i < table->entry_count; i++) {
        const struct entry *entry = &table->entries[i];
        slot_put(slots, slot_count, hash((struct text){entry_id(entry), entry->id_size}), (uint32_t)i + 1);
    }
    free(table->slots);
    table->slots = slots;
    table->slot_count = slot_count;
}

static void table_grow_entries(struct table *table)
{
    size_t capacity = table->entry_capacity == 0 ? 64 : table->entry_capacity + table->entry_capacity / 2;
    struct entry *entries = table_memory(capacity * sizeof *entries);
    if (table->entry_count > 0)
        memcpy(entries, table->entries, table->entry_count * sizeof *entries);
    free(table->entries);
    table->entries = entries;
    table->entry_capacity = capacity;
}

static void customers_grow(struct customers *customers)
{
    struct customers larger = {.slot_count =
                                   customers->slot_count == 0 ? SLOTS_FIRST : customers->slot_count * 2};
    larger.slots = table_memory(larger.slot_count * sizeof *larger.slots);
    memset(larger.slots, 0, larger.slot_count * sizeof *larger.slots);
    for (size_t i = 0; i < customers->slot_count; i++)
        if (customers->slots[i].hash != 0)
            *customer_slot(&larger, customers->slots[i].hash) = customers->slots[i];
    larger.count = customers->count;
    free(customers->slots);
    *customers = larger;
}

static struct entry *table_add(struct references *references, struct table *table, struct text id, uint64_t h)
{
    if ((table->entry_count + 1) * 10 > table->slot_count * 3) /* sparse: most are found at the first slot */
        table_grow_slots(table);
    if (table->entry_count == table->entry_capacity)
        table_grow_entries(table);
    struct entry *entry = &table->entries[table->entry_count++];
    *entry = (struct entry){.id_size = id.size};
    if (id.size <= ID_HERE_SIZE)
        memcpy(entry->id.here, id.data, id.size);
    else
        entry->id.elsewhere = keep(references, id).data;
    slot_put(table->slots, table->slot_count, h, (uint32_t)table->entry_count);
    return entry;
}

static struct version *entry_versions(struct entry *entry)
{
    return entry->version_count > 1 ? entry->many : &entry->one;
}

static void version_drop(enum reference_kind kind, struct version *version)
{
    if (kind == REFERENCE_PROMOTION)
        reference_promotion_free(version->promotion);
}

static void entry_put(struct entry *entry, enum reference_kind kind, struct version version)
{
    struct version *versions = entry_versions(entry);
    uint32_t at = entry->version_count;
    while (at > 0 && versions[at - 1].from_ms > version.from_ms)
        at--;
    if (at > 0 && versions[at - 1].from_ms == version.from_ms) {
        version_drop(kind, &versions[at - 1]);
        versions[at - 1] = version;
        return;
    }
    if (entry->version_count == 0) {
        entry->one = version;
        entry->version_count = 1;
        return;
    }
    /* Grown at each power of two, so that the capacity needs no field. */
    uint32_t count = entry->version_count;
    if ((count & (count - 1)) == 0) {
        struct version *more = must(malloc(2 * (size_t)count * sizeof *more));
        memcpy(more, versions, count * sizeof *more);
        if (count > 1)
            free(entry->many);
        entry->many = more;
    }
    memmove(&entry->many[at + 1], &entry->many[at], (count - at) * sizeof *entry->many);
    entry->many[at] = version;
    entry->version_count = count + 1;
}

struct references *references_new(void)
{
    return must(calloc(1, sizeof(struct references)));
}

void references_free(struct references *references)
{
    if (references == NULL)
        return;
    for (int kind = 0; kind < REFERENCE_KINDS; kind++) {
        struct table *table = &references->tables[kind];
        for (size_t i = 0; i < table->entry_count; i++) {
            struct version *versions = entry_versions(&table->entries[i]);
            for (uint32_t j = 0; j < table->entries[i].version_count; j++)
                version_drop((enum reference_kind)kind, &versions[j]);
            if (table->entries[i].version_count > 1)
                free(versions);
        }
        free(table->entries);
        free(table->slots);
    }
    while (references->arena != NULL) {
        struct block *next = references->arena->next;
        free(references->arena);
        references->arena = next;
    }
    free(references->customers.slots);
    free(references->names);
    free(references);
}

/* Categories are few: a scan from the newest is enough, and it keeps each word once. */
static struct text keep_name(struct references *references, struct text name)
{
    if (name.data == NULL)
        return name;
    for (uint32_t i = references->name_count; i > 0; i--)
        if (text_equal(references->names[i - 1], name))
            return references->names[i - 1];
    if (references->name_count == references->name_capacity) {
        references->name_capacity = references->name_capacity == 0 ? 32 : 2 * references->name_capacity;
        references->names =
            must(realloc(references->names, references->name_capacity * sizeof *references->names));
    }
    return references->names[references->name_count++] = keep(references, name);
}

static struct entry *entry_of(struct references *references, enum reference_kind kind, struct text id)
{
    if (id.data == NULL || id.size == 0)
        return NULL;
    struct table *table = &references->tables[kind];
    uint64_t h = hash(id);
    struct entry *entry = table_find(table, id, h);
    return entry != NULL ? entry : table_add(references, table, id, h);
}

static void put_customer(struct customers *customers, const struct customer *customer)
{
    if (customer->customer_id.size == 0)
        return;
    if ((customers->count + 1) * 10 > customers->slot_count * 7)
        customers_grow(customers);
    uint64_t h = hash(customer->customer_id);
    struct known *known = customer_slot(customers, h);
    if (known->hash == 0) {
        *known = (struct known){h, customer->effective_from_ms};
        customers->count++;
    } else if (customer->effective_from_ms < known->from_ms) {
        known->from_ms = customer->effective_from_ms;
    }
}

void references_put(struct references *references, const struct event *event)
{
    struct entry *entry;
    struct version version = {0};
    if (event->kind == EVENT_CUSTOMER) {
        put_customer(&references->customers, &event->customer);
    } else if (event->kind == EVENT_PRODUCT) {
        entry = entry_of(references, REFERENCE_PRODUCT, event->product.product_id);
        if (entry == NULL)
            return;
        version.from_ms = event->product.effective_from_ms;
        struct text category = keep_name(references, event->product.category);
        version.product.category = category.data;
        version.product.category_size = category.size;
        version.product.active = event->product.active;
        entry_put(entry, REFERENCE_PRODUCT, version);
    } else if (event->kind == EVENT_STORE) {
        const struct store *store = &event->store;
        entry = entry_of(references, REFERENCE_STORE, store->store_id);
        if (entry == NULL)
            return;
        version.from_ms = store->effective_from_ms;
        version.store.opened_day = store->has_opened ? store->opened_day : INT32_MIN;
        version.store.closed_day = store->has_closed ? store->closed_day : INT32_MAX;
        entry_put(entry, REFERENCE_STORE, version);
    } else if (event->kind == EVENT_PROMOTION) {
        entry = entry_of(references, REFERENCE_PROMOTION, event->promotion.promotion_id);
        if (entry == NULL)
            return;
        version.from_ms = event->promotion.effective_from_ms;
        version.promotion = reference_promotion_new(&event->promotion);
        entry_put(entry, REFERENCE_PROMOTION, version);
    }
}

size_t references_count(const struct references *references, enum reference_kind kind)
{
    assert(kind < REFERENCE_KINDS);
    return kind == REFERENCE_CUSTOMER ? references->customers.count : references->tables[kind].entry_count;
}

void references_seek(const struct references *references, enum reference_kind kind, struct text id,
                     struct reference_seek *ret)
{
    seek_id(references, kind, id, ret);
}

void references_near(const struct references *references, const struct reference_seek *seek)
{
    seek_near(references, seek);
}

bool references_product(const struct references *references, const struct reference_seek *seek,
                        int64_t time_ms, struct reference_product *ret)
{
    return find_product(references, seek, time_ms, ret);
}

bool references_customer(const struct references *references, const struct reference_seek *seek,
                         int64_t time_ms)
{
    return find_customer(references, seek, time_ms);
}

const struct reference_promotion *references_promotion(const struct references *references,
                                                       const struct reference_seek *seek, int64_t time_ms)
{
    assert(seek->kind == REFERENCE_PROMOTION);
    const struct entry *entry = find(references, seek);
    if (entry == NULL)
        return NULL;
    const struct version *version = entry_at(entry, time_ms);
    if (version == NULL)
        version = entry->version_count > 1 ? &entry->many[0] : &entry->one;
    return version->promotion;
}
