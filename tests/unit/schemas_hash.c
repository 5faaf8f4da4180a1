/* Golden values: they lie in ledgers, and must be the same for ever. A test that fails here is right; the
 * code is not. */
#include "schemas/event.h"

#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdlib.h>

static struct line lines[] = {
    {.line_no = 1, .product_id = {"P1", 2}, .quantity = 2, .unit_price_minor = 250, .amount_minor = 500},
    {.line_no = 2,
     .product_id = {"P2", 2},
     .quantity = 1,
     .unit_price_minor = 1000,
     .discount_minor = 100,
     .amount_minor = 900,
     .promotion_id = {"X", 1}},
};

static struct transaction sample(void)
{
    return (struct transaction){.transaction_id = TEXT("T-1"),
                                .type = TRANSACTION_SALE,
                                .event_time_ms = INT64_C(1700000000000),
                                .store_id = TEXT("S1"),
                                .customer_id = TEXT("C1"),
                                .currency = TEXT("GBP"),
                                .has_total = true,
                                .total_minor = 1400,
                                .source = TEXT("till"),
                                .source_ref = TEXT("a.csv:7"),
                                .lines = lines,
                                .line_count = 2};
}

Test(hash, content_is_what_it_was)
{
    struct transaction empty = {.transaction_id = TEXT("")}, whole = sample();
    cr_expect_eq((uint64_t)transaction_content_hash(&empty), UINT64_C(0xb8342d65e4b3363d), "%016" PRIx64,
                 (uint64_t)transaction_content_hash(&empty));
    cr_expect_eq((uint64_t)transaction_content_hash(&whole), UINT64_C(0x8228dc533d42cb48), "%016" PRIx64,
                 (uint64_t)transaction_content_hash(&whole));
}

Test(hash, identity_is_what_it_was)
{
    uint64_t hash = (uint64_t)transaction_identity_hash(TEXT("till"), TRANSACTION_SALE, TEXT("T-1"));
    cr_expect_eq(hash, UINT64_C(0xf0222610fa4383de), "%016" PRIx64, hash);
}

Test(hash, a_transaction_longer_than_the_room_hashes_as_at_once)
{
    enum { MANY = 300 };
    struct line many[MANY];
    struct transaction transaction = sample();
    for (int i = 0; i < MANY; i++) {
        many[i] = lines[0];
        many[i].line_no = i;
    }
    transaction.lines = many;
    transaction.line_count = MANY;
    uint64_t hash = (uint64_t)transaction_content_hash(&transaction);
    cr_expect_eq(hash, UINT64_C(0xf2d55a5ab6ec0ab0), "%016" PRIx64, hash);
}

/* Each changes one thing of the sample. */
/* clang-format off */
static void set_id(struct transaction *t) { t->transaction_id = TEXT("T-2"); }
static void set_type(struct transaction *t) { t->type = TRANSACTION_RETURN; }
static void set_original(struct transaction *t) { t->original_transaction_id = TEXT("T-0"); }
static void set_time(struct transaction *t) { t->event_time_ms++; }
static void set_store(struct transaction *t) { t->store_id = TEXT("S2"); }
static void set_no_customer(struct transaction *t) { t->customer_id = (struct text){ 0 }; }
static void set_empty_customer(struct transaction *t) { t->customer_id = TEXT(""); }
static void set_currency(struct transaction *t) { t->currency = TEXT("EUR"); }
static void set_total(struct transaction *t) { t->total_minor++; }
static void set_no_total(struct transaction *t) { t->has_total = false; }
static void set_source(struct transaction *t) { t->source = TEXT("tilt"); }
static void set_channel(struct transaction *t) { t->channel = TEXT("web"); }
static void set_shift(struct transaction *t)
{
    t->currency = TEXT("GB");
    t->source = TEXT("Ptill");
}
static void set_fewer(struct transaction *t) { t->line_count = 1; }
static void set_ref(struct transaction *t) { t->source_ref = TEXT("b.csv:9"); }
static void set_raw(struct transaction *t)
{
    t->raw_topic = TEXT("transactions");
    t->raw_partition = 3;
    t->raw_offset = 4;
    t->attempt = 5;
    t->content_hash = 6;
}
static void set_hidden_total(struct transaction *t)
{
    t->has_total = false;
    t->total_minor = 99;
}

static const struct {
    const char *why;
    void (*change)(struct transaction *);
    bool same;
} CHANGES[] = {
    { "another id", set_id, false },
    { "another type", set_type, false },
    { "a sale that it takes back", set_original, false },
    { "another millisecond", set_time, false },
    { "another store", set_store, false },
    { "no customer", set_no_customer, false },
    { "an empty customer is not no customer", set_empty_customer, false },
    { "another currency", set_currency, false },
    { "another total", set_total, false },
    { "no total", set_no_total, false },
    { "another source", set_source, false },
    { "another channel", set_channel, false },
    { "bytes that move from one field to the next", set_shift, false },
    { "a line less", set_fewer, false },
    { "another file and line is the same content", set_ref, true },
    { "another place in Kafka is the same content", set_raw, true },
};
/* clang-format on */

Test(hash, content_is_every_business_field_and_nothing_else)
{
    struct transaction before = sample();
    int64_t hash = transaction_content_hash(&before);
    for (size_t i = 0; i < sizeof CHANGES / sizeof CHANGES[0]; i++) {
        struct transaction after = sample();
        CHANGES[i].change(&after);
        cr_expect_eq(transaction_content_hash(&after) == hash, CHANGES[i].same, "%s", CHANGES[i].why);
    }
}

Test(hash, a_total_that_is_not_there_does_not_count)
{
    struct transaction without = sample(), hidden = sample();
    set_no_total(&without);
    set_hidden_total(&hidden);
    cr_expect_eq(transaction_content_hash(&without), transaction_content_hash(&hidden));
}

Test(hash, lines_in_another_order_are_the_same_content)
{
    struct line turned[] = {lines[1], lines[0]};
    struct transaction as_told = sample(), other = sample();
    other.lines = turned;
    cr_expect_eq(transaction_content_hash(&as_told), transaction_content_hash(&other));
}

Test(hash, a_category_is_not_content_but_a_promotion_is)
{
    struct line changed[] = {lines[0], lines[1]};
    struct transaction before = sample(), after = sample();
    after.lines = changed;
    changed[0].category = TEXT("toys");
    cr_expect_eq(transaction_content_hash(&before), transaction_content_hash(&after));
    changed[0].promotion_id = TEXT("Y");
    cr_expect_neq(transaction_content_hash(&before), transaction_content_hash(&after));
}

Test(hash, identity_is_source_type_and_id)
{
    int64_t hash = transaction_identity_hash(TEXT("till"), TRANSACTION_SALE, TEXT("T-1"));
    cr_expect_neq(hash, transaction_identity_hash(TEXT("tilt"), TRANSACTION_SALE, TEXT("T-1")));
    cr_expect_neq(hash, transaction_identity_hash(TEXT("till"), TRANSACTION_VOID, TEXT("T-1")));
    cr_expect_neq(hash, transaction_identity_hash(TEXT("till"), TRANSACTION_SALE, TEXT("T-2")));
    cr_expect_neq(transaction_identity_hash(TEXT("ab"), TRANSACTION_SALE, TEXT("c")),
                  transaction_identity_hash(TEXT("a"), TRANSACTION_SALE, TEXT("bc")));
}
