#include "consumers/accrue/accounts.h"

#include <stdlib.h>
#include <xxhash.h>

enum { SLOTS_FIRST = 1024 };

void accounts_init(struct accounts *accounts)
{
    *accounts = (struct accounts){ .mask = SLOTS_FIRST - 1, .complete = true };
    accounts->slots = calloc(SLOTS_FIRST, sizeof *accounts->slots);
    if (accounts->slots == NULL)
        abort();
}

void accounts_done(struct accounts *accounts)
{
    free(accounts->list);
    free(accounts->slots);
    arena_done(&accounts->names);
    *accounts = (struct accounts){ 0 };
}

uint64_t accounts_hash(struct text customer_id)
{
    return XXH3_64bits(customer_id.data, customer_id.size);
}

static void grow(struct accounts *accounts)
{
    size_t slot_count = (accounts->mask + 1) * 2;
    free(accounts->slots);
    accounts->slots = calloc(slot_count, sizeof *accounts->slots);
    if (accounts->slots == NULL)
        abort();
    accounts->mask = slot_count - 1;
    for (size_t i = 0; i < accounts->count; i++) {
        size_t at = accounts_hash(accounts->list[i].customer_id) & accounts->mask;
        while (accounts->slots[at] != 0)
            at = (at + 1) & accounts->mask;
        accounts->slots[at] = (uint32_t)i + 1;
    }
}

struct account *accounts_find(struct accounts *accounts, struct text customer_id, uint64_t hash)
{
    for (size_t at = hash & accounts->mask; accounts->slots[at] != 0; at = (at + 1) & accounts->mask) {
        struct account *account = &accounts->list[accounts->slots[at] - 1];
        if (text_equal(account->customer_id, customer_id))
            return account;
    }
    return NULL;
}

struct account *accounts_add(struct accounts *accounts, struct text customer_id, uint64_t hash)
{
    struct account *account = accounts_find(accounts, customer_id, hash);
    if (account != NULL)
        return account;
    if (accounts->count * 8 >= (accounts->mask + 1) * 5)
        grow(accounts);
    if (accounts->count == accounts->capacity) {
        accounts->capacity = accounts->capacity == 0 ? SLOTS_FIRST : accounts->capacity * 2;
        accounts->list = realloc(accounts->list, accounts->capacity * sizeof *accounts->list);
        if (accounts->list == NULL)
            abort();
    }
    size_t at = hash & accounts->mask;
    while (accounts->slots[at] != 0)
        at = (at + 1) & accounts->mask;
    account = &accounts->list[accounts->count++];
    accounts->slots[at] = (uint32_t)accounts->count;
    const char *name = arena_copy(&accounts->names, customer_id.data, customer_id.size);
    *account = (struct account){ .customer_id = { name, customer_id.size } };
    return account;
}
