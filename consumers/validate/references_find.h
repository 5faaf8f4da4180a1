/*
 * references_find.h - the lookups of references.h as code to be compiled into the one caller that makes several for every
 * sale: the calls alone would be a twentieth of its time. Everybody else calls references.h.
 * Shape:  each kind is a table: slots of (tag, entry number) probed linearly, and entries of one cache line in a growing
 *         array, which hold a short id and a single version, by far the most common, in place. Longer ids lie in an arena
 *         whose blocks never move. Customers, who may be many, are a table of their own: 16 bytes each, one cache miss a
 *         lookup.
 */
#pragma once

#include "consumers/validate/references.h"

#include <assert.h>
#include <string.h>

enum { ID_HERE_SIZE = 32, LINE_SIZE = 64 };

#define INLINE static inline __attribute__((always_inline))

struct version {
    int64_t from_ms;
    union {
        struct reference_store store;
        struct {
            const char *category; /* in names; NULL: null */
            uint32_t category_size;
            bool active;
        } product;
        struct reference_promotion *promotion; /* owned */
    };
};

struct entry {
    union {
        struct version one;
        struct version *many; /* owned, ascending by from_ms; where version_count > 1 */
    };
    uint32_t version_count;
    uint32_t id_size;
    union {
        char here[ID_HERE_SIZE];
        const char *elsewhere; /* where id_size is above ID_HERE_SIZE */
    } id;
};
_Static_assert(sizeof(struct entry) == LINE_SIZE, "a lookup touches one cache line of the entry");

struct slot {
    uint32_t tag;   /* high half of the hash */
    uint32_t entry; /* number plus one; 0: free */
};

struct table {
    struct slot *slots;
    size_t slot_count; /* a power of two */
    struct entry *entries;
    size_t entry_count, entry_capacity;
};

struct known {
    uint64_t hash; /* 0: free */
    int64_t from_ms;
};

struct customers {
    struct known *slots;
    size_t slot_count; /* a power of two */
    size_t count;
};

struct references {
    struct table tables[REFERENCE_KINDS]; /* that of customers stays empty */
    struct customers customers;
    struct block *arena;
    struct text *names; /* categories, each once */
    uint32_t name_count, name_capacity;
};

INLINE uint64_t load_word(const char *from, uint32_t size)
{
    uint64_t word = 0;
    memcpy(&word, from, size);
    return word;
}

INLINE uint64_t mix(uint64_t h, uint64_t word)
{
    h = (h ^ word) * UINT64_C(0x9E3779B97F4A7C15);
    return h ^ (h >> 32);
}

/* Words of eight bytes, the last one overlapping. */
INLINE uint64_t hash(struct text id)
{
    uint64_t h = id.size * UINT64_C(0xD6E8FEB86659FD93);
    if (id.size >= 8) {
        for (uint32_t at = 0; at + 8 < id.size; at += 8)
            h = mix(h, load_word(id.data + at, 8));
        h = mix(h, load_word(id.data + id.size - 8, 8));
    } else if (id.size >= 4) {
        h = mix(h, load_word(id.data, 4) | load_word(id.data + id.size - 4, 4) << 32);
    } else {
        for (uint32_t at = 0; at < id.size; at++)
            h = mix(h, (unsigned char)id.data[at]);
    }
    h *= UINT64_C(0xD6E8FEB86659FD93);
    h ^= h >> 29;
    return h != 0 ? h : 1; /* 0 marks a free slot */
}

INLINE bool same_bytes(const char *left, const char *right, uint32_t size)
{
    if (size < 8)
        return memcmp(left, right, size) == 0;
    for (uint32_t at = 0; at + 8 < size; at += 8)
        if (load_word(left + at, 8) != load_word(right + at, 8))
            return false;
    return load_word(left + size - 8, 8) == load_word(right + size - 8, 8);
}

INLINE const char *entry_id(const struct entry *entry)
{
    return entry->id_size <= ID_HERE_SIZE ? entry->id.here : entry->id.elsewhere;
}

INLINE struct entry *table_find(const struct table *table, struct text id, uint64_t h)
{
    if (table->slot_count == 0)
        return NULL;
    uint32_t tag = (uint32_t)(h >> 32);
    for (size_t at = h & (table->slot_count - 1);; at = (at + 1) & (table->slot_count - 1)) {
        const struct slot *slot = &table->slots[at];
        if (slot->entry == 0)
            return NULL;
        if (slot->tag != tag)
            continue;
        struct entry *entry = &table->entries[slot->entry - 1];
        if (entry->id_size == id.size && same_bytes(entry_id(entry), id.data, id.size))
            return entry;
    }
}

INLINE struct known *customer_slot(const struct customers *customers, uint64_t h)
{
    size_t at = h & (customers->slot_count - 1);
    while (customers->slots[at].hash != 0 && customers->slots[at].hash != h)
        at = (at + 1) & (customers->slot_count - 1);
    return &customers->slots[at];
}

/* The version in force at a time; NULL before the first. */
INLINE const struct version *entry_at(const struct entry *entry, int64_t time_ms)
{
    const struct version *versions = entry->version_count > 1 ? entry->many : &entry->one;
    for (uint32_t i = entry->version_count; i > 0; i--)
        if (versions[i - 1].from_ms <= time_ms)
            return &versions[i - 1];
    return NULL;
}

INLINE void seek_id(const struct references *references, enum reference_kind kind, struct text id,
                    struct reference_seek *ret)
{
    const struct table *table = &references->tables[kind];
    const struct customers *customers = &references->customers;
    uint64_t h = hash(id);
    if (kind == REFERENCE_CUSTOMER && customers->slot_count > 0)
        __builtin_prefetch(&customers->slots[h & (customers->slot_count - 1)]);
    else if (table->slot_count > 0)
        __builtin_prefetch(&table->slots[h & (table->slot_count - 1)]);
    ret->kind = kind;
    ret->id.data = id.data;
    ret->id.size = id.size;
    ret->hash = h;
}

INLINE void seek_near(const struct references *references, const struct reference_seek *seek)
{
    const struct table *table = &references->tables[seek->kind];
    if (table->slot_count == 0)
        return;
    const struct slot *slot = &table->slots[seek->hash & (table->slot_count - 1)];
    if (slot->entry != 0) /* mostly the right one; if not, the wrong line is fetched */
        __builtin_prefetch(&table->entries[slot->entry - 1]);
}

INLINE const struct entry *find(const struct references *references, const struct reference_seek *seek)
{
    return seek->id.size == 0 ? NULL : table_find(&references->tables[seek->kind], seek->id, seek->hash);
}

INLINE const struct version *find_at(const struct references *references, const struct reference_seek *seek,
                                     int64_t time_ms)
{
    const struct entry *entry = find(references, seek);
    return entry == NULL ? NULL : entry_at(entry, time_ms);
}

INLINE bool find_store(const struct references *references, const struct reference_seek *seek,
                       int64_t time_ms, struct reference_store *ret)
{
    assert(seek->kind == REFERENCE_STORE);
    const struct version *version = find_at(references, seek, time_ms);
    if (version == NULL)
        return false;
    *ret = version->store;
    return true;
}

INLINE bool find_product(const struct references *references, const struct reference_seek *seek,
                         int64_t time_ms, struct reference_product *ret)
{
    assert(seek->kind == REFERENCE_PRODUCT);
    const struct version *version = find_at(references, seek, time_ms);
    if (version == NULL)
        return false;
    ret->category.data = version->product.category;
    ret->category.size = version->product.category_size;
    ret->active = version->product.active;
    return true;
}

INLINE bool find_customer(const struct references *references, const struct reference_seek *seek,
                          int64_t time_ms)
{
    assert(seek->kind == REFERENCE_CUSTOMER);
    if (seek->id.size == 0 || references->customers.slot_count == 0)
        return false;
    const struct known *known = customer_slot(&references->customers, seek->hash);
    return known->hash != 0 && known->from_ms <= time_ms;
}
