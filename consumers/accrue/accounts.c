#include "consumers/accrue/accounts.h"

#include "state/pages.h"

#include <assert.h>
#include <string.h>
#include <xxhash.h>

enum { SLOTS_FIRST = 1024, NAMES_SIZE = 4096 };

static void slots_init(struct accounts *accounts, size_t slot_count)
{
    accounts->slots = pages_resize(NULL, 0, slot_count * sizeof *accounts->slots);
    memset(accounts->slots, 0, slot_count * sizeof *accounts->slots);
    accounts->mask = slot_count - 1;
}

static void slots_done(struct accounts *accounts)
{
    if (accounts->slots != NULL)
        pages_resize(accounts->slots, (accounts->mask + 1) * sizeof *accounts->slots, 0);
}

void accounts_init(struct accounts *accounts)
{
    *accounts = (struct accounts){ .complete = true };
    slots_init(accounts, SLOTS_FIRST);
}

void accounts_done(struct accounts *accounts)
{
    pages_resize(accounts->list, accounts->capacity * sizeof *accounts->list, 0);
    slots_done(accounts);
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
    slots_done(accounts);
    slots_init(accounts, slot_count);
    for (size_t i = 0; i < accounts->count; i++) {
        size_t at = accounts_hash(account_customer_id(&accounts->list[i])) & accounts->mask;
        while (accounts->slots[at] != 0)
            at = (at + 1) & accounts->mask;
        accounts->slots[at] = (uint32_t)i + 1;
    }
}

struct account *accounts_find(struct accounts *accounts, struct text customer_id, uint64_t hash)
{
    for (size_t at = hash & accounts->mask; accounts->slots[at] != 0; at = (at + 1) & accounts->mask) {
        struct account *account = &accounts->list[accounts->slots[at] - 1];
        if (text_equal(account_customer_id(account), customer_id))
            return account;
    }
    return NULL;
}

static const char *keep_name(struct accounts *accounts, struct text name)
{
    if (name.size > accounts->name_left) {
        accounts->name_left = name.size > NAMES_SIZE ? name.size : NAMES_SIZE;
        accounts->name_at = arena_take(&accounts->names, accounts->name_left);
    }
    assert(name.size <= UINT16_MAX); /* EVENT_TEXT_SIZE_MAX is less */
    char *kept = accounts->name_at;
    if (name.size > 0)
        memcpy(kept, name.data, name.size);
    accounts->name_at += name.size;
    accounts->name_left -= name.size;
    return kept;
}

struct account *accounts_add(struct accounts *accounts, struct text customer_id, uint64_t hash)
{
    struct account *account = accounts_find(accounts, customer_id, hash);
    if (account != NULL)
        return account;
    if (accounts->count * 8 >= (accounts->mask + 1) * 5)
        grow(accounts);
    if (accounts->count == accounts->capacity) {
        size_t larger = accounts->capacity == 0 ? SLOTS_FIRST : accounts->capacity * 2;
        accounts->list = pages_resize(accounts->list, accounts->capacity * sizeof *accounts->list,
                                      larger * sizeof *accounts->list);
        accounts->capacity = larger;
    }
    size_t at = hash & accounts->mask;
    while (accounts->slots[at] != 0)
        at = (at + 1) & accounts->mask;
    account = &accounts->list[accounts->count++];
    accounts->slots[at] = (uint32_t)accounts->count;
    *account =
        (struct account){ .name = keep_name(accounts, customer_id), .name_size = (uint16_t)customer_id.size };
    return account;
}
