#include "consumers/validate/references.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

static void put_product(struct references *references, const char *id, const char *category, int64_t from_ms)
{
    struct event event = {.kind = EVENT_PRODUCT};
    event.product = (struct product){.product_id = text_of(id),
                                     .category = text_of(category),
                                     .effective_from_ms = from_ms,
                                     .active = true};
    references_put(references, &event);
}

static const char *category_at(const struct references *references, const char *id, int64_t time_ms)
{
    static char name[64];
    struct reference_seek seek;
    struct reference_product product;
    references_seek(references, REFERENCE_PRODUCT, text_of(id), &seek);
    references_near(references, &seek);
    if (!references_product(references, &seek, time_ms, &product))
        return "-";
    snprintf(name, sizeof name, "%.*s", TEXT_ARG(product.category));
    return name;
}

static bool knows_customer(const struct references *references, const char *id, int64_t time_ms)
{
    struct reference_seek seek;
    references_seek(references, REFERENCE_CUSTOMER, text_of(id), &seek);
    references_near(references, &seek);
    return references_customer(references, &seek, time_ms);
}

Test(validate_references, an_empty_store_knows_nothing)
{
    struct references *references = references_new();
    cr_assert_not(knows_customer(references, "C", 0));
    cr_assert_str_eq(category_at(references, "P", 0), "-");
    references_free(references);
}

Test(validate_references, the_version_in_force_counts_in_whatever_order_they_came)
{
    struct references *references = references_new();
    put_product(references, "P", "third", 300);
    put_product(references, "P", "first", 100);
    put_product(references, "P", "second", 200);
    put_product(references, "P", "fourth", 400);
    put_product(references, "P", "fifth", 500);
    cr_assert_str_eq(category_at(references, "P", 99), "-");
    cr_assert_str_eq(category_at(references, "P", 100), "first");
    cr_assert_str_eq(category_at(references, "P", 199), "first");
    cr_assert_str_eq(category_at(references, "P", 200), "second");
    cr_assert_str_eq(category_at(references, "P", 399), "third");
    cr_assert_str_eq(category_at(references, "P", INT64_MAX), "fifth");
    cr_assert_eq(references_count(references, REFERENCE_PRODUCT), 1);
    references_free(references);
}

Test(validate_references, a_version_that_comes_again_replaces_itself)
{
    struct references *references = references_new();
    put_product(references, "P", "wrong", 100);
    put_product(references, "P", "later", 200);
    put_product(references, "P", "right", 100);
    cr_assert_str_eq(category_at(references, "P", 150), "right");
    cr_assert_str_eq(category_at(references, "P", 250), "later");
    references_free(references);
}

Test(validate_references, a_customer_is_known_from_its_earliest_version)
{
    struct references *references = references_new();
    struct event event = {.kind = EVENT_CUSTOMER};
    event.customer = (struct customer){.customer_id = TEXT("C"), .effective_from_ms = 200};
    references_put(references, &event);
    cr_assert_not(knows_customer(references, "C", 100));
    event.customer.effective_from_ms = 100;
    references_put(references, &event);
    event.customer.effective_from_ms = 300;
    references_put(references, &event);
    cr_assert(knows_customer(references, "C", 100));
    cr_assert_not(knows_customer(references, "C", 99));
    cr_assert_eq(references_count(references, REFERENCE_CUSTOMER), 1);
    references_free(references);
}

Test(validate_references, promotions_before_their_first_version_and_by_list)
{
    struct references *references = references_new();
    struct text products[] = {TEXT("P2"), TEXT("P1"), TEXT("P10")}, categories[] = {TEXT("tea")};
    struct event event = {.kind = EVENT_PROMOTION};
    event.promotion = (struct promotion){.promotion_id = TEXT("A"),
                                         .effective_from_ms = 100,
                                         .start_day = 3,
                                         .end_day = 5,
                                         .product_ids = products,
                                         .product_count = 3,
                                         .categories = categories,
                                         .category_count = 1};
    references_put(references, &event);
    event.promotion.effective_from_ms = 200;
    event.promotion.end_day = 9;
    event.promotion.product_count = event.promotion.category_count = 0;
    references_put(references, &event);
    references_put(references, &event);
    struct reference_seek seek;
    references_seek(references, REFERENCE_PROMOTION, TEXT("A"), &seek);
    const struct reference_promotion *early = references_promotion(references, &seek, 0);
    const struct reference_promotion *late = references_promotion(references, &seek, 200);
    cr_assert(early != NULL && late != NULL && early != late);
    cr_assert(reference_promotion_runs(early, 3) && reference_promotion_runs(early, 5));
    cr_assert_not(reference_promotion_runs(early, 2) || reference_promotion_runs(early, 6));
    cr_assert(reference_promotion_covers(early, TEXT("P1"), TEXT("cake")));
    cr_assert(reference_promotion_covers(early, TEXT("P9"), TEXT("tea")));
    cr_assert_not(reference_promotion_covers(early, TEXT("P"), TEXT("te")));
    cr_assert_not(reference_promotion_covers(early, TEXT("P9"), (struct text){NULL, 0}));
    cr_assert(reference_promotion_covers(late, TEXT("P9"), TEXT("cake")), "both lists empty: every product");
    references_free(references);
}

Test(validate_references, long_ids_and_shared_beginnings)
{
    struct references *references = references_new();
    char id[200];
    for (int i = 1; i < 200; i++) {
        memset(id, 'x', sizeof id);
        id[i] = '\0';
        put_product(references, id, i % 2 == 0 ? "even" : "odd", 0);
    }
    for (int i = 1; i < 200; i++) {
        memset(id, 'x', sizeof id);
        id[i] = '\0';
        cr_assert_str_eq(category_at(references, id, 0), i % 2 == 0 ? "even" : "odd", "%d", i);
    }
    cr_assert_str_eq(category_at(references, "y", 0), "-");
    references_free(references);
}

static void write_id(char *to, size_t size, int form, int number)
{
    if (form == 0)
        snprintf(to, size, "%d", number);
    else if (form == 1)
        snprintf(to, size, "C%09d", number);
    else
        snprintf(to, size, "00000000-0000-4000-8000-%012d", number);
}

/* Customers are known by their fingerprint alone, so ids as alike as these must all differ in it. */
Test(validate_references, a_million_customers_of_three_kinds_of_id)
{
    enum { EACH = 350000 };
    struct references *references = references_new();
    struct event event = {.kind = EVENT_CUSTOMER};
    char id[64];
    for (int form = 0; form < 3; form++)
        for (int i = 0; i < EACH; i++) {
            write_id(id, sizeof id, form, i);
            event.customer.customer_id = text_of(id);
            references_put(references, &event);
        }
    cr_assert_eq(references_count(references, REFERENCE_CUSTOMER), 3 * EACH);
    for (int form = 0; form < 3; form++)
        for (int i = EACH; i < EACH + 1000; i++) {
            write_id(id, sizeof id, form, i);
            cr_assert_not(knows_customer(references, id, 0), "%s", id);
        }
    references_free(references);
}
