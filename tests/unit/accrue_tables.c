/* The memory of one partition: identities, accounts, held returns. */
#include "consumers/accrue/accounts.h"
#include "consumers/accrue/held.h"
#include "consumers/accrue/identities.h"

#include <criterion/criterion.h>
#include <stdio.h>

Test(identities, what_was_added_is_found_until_it_is_removed)
{
    struct identities table;
    identities_init(&table, 1 << 20);
    for (int64_t i = 0; i < 50000; i++)
        identities_add(&table, i * 7919, i, i);
    int64_t hits[IDENTITY_HITS_MAX];
    for (int64_t i = 0; i < 50000; i++) {
        cr_assert_eq(identities_find(&table, i * 7919, hits), 1);
        cr_assert_eq(hits[0], i);
    }
    identities_remove(&table, 7919, 1);
    cr_assert_eq(identities_find(&table, 7919, hits), 0);
    identities_move(&table, 2 * 7919, 2, 60000);
    cr_assert_eq(identities_find(&table, 2 * 7919, hits), 1);
    cr_assert_eq(hits[0], 60000);
    identities_done(&table);
}

Test(identities, one_fingerprint_may_stand_for_two_identities)
{
    struct identities table;
    identities_init(&table, 4096);
    identities_add(&table, 42, 1, 0);
    identities_add(&table, 42, 9, 0);
    int64_t hits[IDENTITY_HITS_MAX];
    cr_assert_eq(identities_find(&table, 42, hits), 2);
    cr_assert_eq(hits[0] + hits[1], 10);
    identities_done(&table);
}

/* What is not committed is found under its own offset; of the rest it is enough that one is committed: the ledger is asked. */
Test(identities, a_generation_may_be_longer_than_the_offsets_it_keeps)
{
    enum { APART = 60000, IDENTITIES = 4000 };
    const int64_t flushed_next = INT64_C(1) * APART * IDENTITIES - IDENTITY_SPAN / 2;
    struct identities table;
    int64_t hits[IDENTITY_HITS_MAX];
    cr_assert_gt(flushed_next, 2 * (int64_t)IDENTITY_SPAN);
    identities_init(&table, 1 << 20);
    for (int64_t i = 0; i < IDENTITIES; i++)
        identities_add(&table, i * 7919, i * APART, i);
    for (int64_t i = 0; i < IDENTITIES; i++) {
        bool is_own = false, is_committed = false;
        for (size_t k = identities_find(&table, i * 7919, hits); k-- > 0;) {
            is_own = is_own || hits[k] == i * APART;
            is_committed = is_committed || hits[k] < flushed_next;
        }
        cr_assert(i * APART < flushed_next ? is_committed : is_own, "identity %d", (int)i);
    }
    identities_remove(&table, 3 * 7919, 3 * APART);
    cr_assert_eq(identities_find(&table, 3 * 7919, hits), 0);
    identities_done(&table);
}

Test(identities, a_miss_is_final_only_inside_the_window)
{
    struct identities table;
    identities_init(&table, 2048);
    cr_assert(identities_miss_is_final(&table, 0), "a complete table knows all");
    for (int64_t i = 0; i < 5000; i++) {
        identities_add(&table, i * 104729, i, i * 10); /* the clock goes 10 ms a record */
        identities_settle(&table, i + 1);              /* all is committed at once */
    }
    cr_assert(!table.complete);
    int64_t hits[IDENTITY_HITS_MAX];
    for (int64_t i = 0; i < 5000; i++) {
        bool here = identities_find(&table, i * 104729, hits) > 0;
        bool final = identities_miss_is_final(&table, i * 10);
        cr_assert(here || !final, "identity %ld is gone, and its absence would be believed", (long)i);
    }
    cr_assert(identities_miss_is_final(&table, 4999 * 10));
    identities_done(&table);
}

Test(identities, what_is_not_committed_is_never_dropped)
{
    struct identities table;
    identities_init(&table, 2048);
    for (int64_t i = 0; i < 5000; i++) {
        identities_add(&table, i * 104729, i, i);
        identities_settle(&table, 0); /* nothing is committed */
    }
    int64_t hits[IDENTITY_HITS_MAX];
    for (int64_t i = 0; i < 5000; i++)
        cr_assert_eq(identities_find(&table, i * 104729, hits), 1);
    identities_done(&table);
}

Test(accounts, many_are_kept_apart)
{
    struct accounts accounts;
    accounts_init(&accounts);
    char name[16];
    for (int i = 0; i < 20000; i++) {
        struct text id = { name, (uint32_t)snprintf(name, sizeof name, "c%d", i) };
        accounts_add(&accounts, id, accounts_hash(id))->points = i;
    }
    for (int i = 0; i < 20000; i++) {
        struct text id = { name, (uint32_t)snprintf(name, sizeof name, "c%d", i) };
        struct account *account = accounts_find(&accounts, id, accounts_hash(id));
        cr_assert_not_null(account);
        cr_assert_eq(account->points, i);
    }
    cr_assert_null(accounts_find(&accounts, TEXT("nobody"), accounts_hash(TEXT("nobody"))));
    accounts_done(&accounts);
}

Test(held, chains_keep_the_order_of_offsets)
{
    struct held_list list;
    held_init(&list);
    for (int64_t i = 0; i < 1000; i++) {
        struct kept_record record = { .event_offset = i,
                                      .identity_hash = i,
                                      .sale_hash = i % 10,
                                      .value = TEXT("bytes"),
                                      .source = TEXT("till") };
        held_add(&list, &record);
    }
    int64_t last = -1;
    size_t count = 0;
    for (struct held *held = held_of_sale(&list, 3), *next; held != NULL; held = next, count++) {
        next = held_next_of_sale(held);
        cr_assert_gt(held->record.event_offset, last);
        last = held->record.event_offset;
        cr_assert(text_equal(held->record.value, TEXT("bytes")));
        held_remove(&list, held);
    }
    cr_assert_eq(count, 100);
    cr_assert_eq(list.count, 900);
    cr_assert_null(held_of_sale(&list, 3));
    cr_assert_null(held_of_identity(&list, 13));
    cr_assert_eq(held_of_identity(&list, 14)->record.event_offset, 14);
    cr_assert_eq(list.first->record.event_offset, 0);
    held_done(&list);
}
