/*
 * accounts.h - the balances of one partition's customers, as its owner knows them: Postgres plus everything since.
 * Shape:  open addressing over a growing array of accounts; an account keeps its index for as long as the table lives.
 * Units:  points are whole points.
 * Source: DESIGN 5.2: the owner keeps the balance of every customer that it has touched.
 */
#pragma once

#include "runtime/text.h"
#include "schemas/arena.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* One for each customer, so 32 bytes. */
struct account {
    const char *name; /* of name_size bytes: see account_customer_id */
    int64_t points;
    uint32_t telling; /* partition.telling when it was named last */
    uint32_t flush;   /* the flush that gathers its changes, in flush_at */
    uint32_t flush_at;
    uint16_t name_size;
    bool known; /* has a row in Postgres */
};

struct accounts {
    struct account *list;
    size_t count, capacity;
    uint32_t *slots; /* index + 1 into list; 0 free */
    size_t mask;
    struct arena names; /* in blocks, one behind the other */
    char *name_at;
    size_t name_left;
    bool complete; /* a customer that is not here has no account */
};

/* Lives as long as the table. */
static inline struct text account_customer_id(const struct account *account)
{
    return (struct text){ account->name, account->name_size };
}

void accounts_init(struct accounts *accounts); /* complete: it stands for an empty ledger */
void accounts_done(struct accounts *accounts);
uint64_t accounts_hash(struct text customer_id);
/* NULL: not here. hash is accounts_hash(customer_id). */
struct account *accounts_find(struct accounts *accounts, struct text customer_id, uint64_t hash);
/* Finds it, or adds it with balance 0 and no row. Pointers to accounts are good until the next add. */
struct account *accounts_add(struct accounts *accounts, struct text customer_id, uint64_t hash);

/* Two steps ahead of a find, each one cache miss: the slot first, later what it points to. */
static inline void accounts_prefetch_slot(const struct accounts *accounts, uint64_t hash)
{
    __builtin_prefetch(&accounts->slots[hash & accounts->mask]);
}

static inline void accounts_prefetch_account(const struct accounts *accounts, uint64_t hash)
{
    uint32_t slot = accounts->slots[hash & accounts->mask];
    if (slot != 0)
        __builtin_prefetch(&accounts->list[slot - 1]);
}
