/* The world as reference records; where defects are asked for, some that are refused or remarked on. */
#include "producers/generate/sink.h"

#include <stdio.h>
#include <string.h>

#define DAY_MS INT64_C(86400000)

struct writing {
    const struct generate_options *options;
    const struct world *world;
    struct sink *sink;
    struct truth *truth;
    struct ll_err *err;
    struct text source;
};

static enum ll_status write_one(struct writing *writing, const struct event *event, struct text id,
                                uint64_t codes, const char *defect)
{
    struct placed placed = { 0 };
    enum ll_status status = writing->sink->ops->reference(writing->sink->self, event, &placed, writing->err);
    truth_count_reference(writing->truth);
    char name[WORLD_ID_SIZE];
    snprintf(name, sizeof name, "%.*s", TEXT_ARG(id));
    if (codes != 0)
        truth_reference(writing->truth, placed.head_file, placed.head_line, name, codes, defect);
    return status;
}

static enum ll_status write_store(struct writing *writing, const struct world_store *store)
{
    bool closes = store->closed_day != WORLD_DAYS_NEVER;
    bool reversed = closes && store->closed_day < store->opened_day;
    int32_t since_day = reversed ? store->closed_day : store->opened_day;
    struct event event = { .kind = EVENT_STORE,
                           .store = { .store_id = text_of(store->id),
                                      .effective_from_ms = since_day * DAY_MS,
                                      .name = text_of(store->name),
                                      .city = text_of(store->city),
                                      .has_opened = true,
                                      .opened_day = store->opened_day,
                                      .has_closed = closes,
                                      .closed_day = closes ? store->closed_day : 0,
                                      .source = writing->source } };
    return write_one(writing, &event, event.store.store_id, reversed ? code_bit(CODE_DATES_REVERSED) : 0,
                     "store_reversed");
}

static enum ll_status write_stores(struct writing *writing, bool defects)
{
    const struct world *world = writing->world;
    enum ll_status status = LL_OK;
    for (int32_t i = 0; status == LL_OK && i < world->store_count; i++)
        status = write_store(writing, &world->stores[i]);
    struct world_store reversed = { .id = "S990",
                                    .name = "Never Was",
                                    .city = "Nowhere",
                                    .opened_day = world->options.start_day,
                                    .closed_day = world->options.start_day - 9 };
    return status == LL_OK && defects ? write_store(writing, &reversed) : status;
}

static enum ll_status write_product(struct writing *writing, const struct world_product *product,
                                    int64_t from_ms, int64_t price_minor, bool active)
{
    struct event event = { .kind = EVENT_PRODUCT,
                           .product = { .product_id = text_of(product->id),
                                        .effective_from_ms = from_ms,
                                        .name = text_of(product->name),
                                        .category = text_of(world_category_name(product->category)),
                                        .brand = text_of(product->brand),
                                        .has_unit_price = true,
                                        .unit_price_minor = price_minor,
                                        .active = active,
                                        .source = writing->source } };
    return write_one(writing, &event, event.product.product_id,
                     price_minor == 0 ? code_bit(CODE_PRICE_NOT_POSITIVE) : 0, "product_without_price");
}

static enum ll_status write_products(struct writing *writing, bool defects)
{
    const struct world *world = writing->world;
    int64_t from_ms = (world->options.start_day - 365) * DAY_MS;
    enum ll_status status = LL_OK;
    for (int32_t i = 0; status == LL_OK && i < world->product_count; i++) {
        const struct world_product *product = &world->products[i];
        status = write_product(writing, product, from_ms, product->price_minor, i + 1 < world->product_count);
        if (status == LL_OK && product->new_price_minor != 0)
            status = write_product(writing, product, product->new_from_ms, product->new_price_minor,
                                   i + 1 < world->product_count);
    }
    struct world_product unpriced = { .id = "P99000", .name = "Priceless", .brand = "Everyday" };
    return status == LL_OK && defects ? write_product(writing, &unpriced, from_ms, 0, true) : status;
}

static enum ll_status write_customers(struct writing *writing, bool defects)
{
    const struct world *world = writing->world;
    enum ll_status status = LL_OK;
    for (int32_t i = 0; status == LL_OK && i < world->options.customers; i++) {
        struct world_person person;
        world_person(world, i, &person);
        char id[WORLD_ID_SIZE];
        uint64_t codes = 0;
        if (defects && i % 100 == 37) {
            snprintf(person.email, sizeof person.email, "customer%d at example", i + 1);
            codes |= code_bit(CODE_EMAIL_IMPLAUSIBLE);
        }
        if (defects && i % 200 == 37) {
            snprintf(person.phone, sizeof person.phone, "unknown");
            codes |= code_bit(CODE_PHONE_IMPLAUSIBLE);
        }
        struct event event = { .kind = EVENT_CUSTOMER,
                               .customer = { .customer_id = text_of(world_customer_id(i, id)),
                                             .effective_from_ms = world->customers[i].since_ms,
                                             .name = text_of(person.name),
                                             .email = text_of(person.email),
                                             .phone = text_of(person.phone),
                                             .language = text_of(person.language),
                                             .country = text_of(person.country),
                                             .consent_marketing = person.consent,
                                             .mailable = true,
                                             .source = writing->source } };
        status = write_one(writing, &event, event.customer.customer_id, codes, "customer_unreachable");
    }
    if (status != LL_OK || !defects || !writing->options->topics)
        return status; /* in a file it is no row of the profile: import refuses it */
    const struct event nameless = { .kind = EVENT_CUSTOMER,
                                    .customer = { .customer_id = TEXT(""),
                                                  .effective_from_ms = world->customers[0].since_ms,
                                                  .name = TEXT("Nobody"),
                                                  .source = writing->source } };
    return write_one(writing, &nameless, nameless.customer.customer_id, code_bit(CODE_REFERENCE_ID_MISSING),
                     "customer_without_id");
}

static enum ll_status write_promotion(struct writing *writing, const struct world_promotion *promotion)
{
    struct text products[WORLD_PROMOTED_MAX], category;
    for (int i = 0; i < promotion->product_count; i++)
        products[i] = text_of(writing->world->products[promotion->products[i]].id);
    bool by_category = promotion->category >= 0;
    category = text_of(by_category ? world_category_name(promotion->category) : "");
    bool reversed = promotion->end_day < promotion->start_day;
    struct event event = { .kind = EVENT_PROMOTION,
                           .promotion = { .promotion_id = text_of(promotion->id),
                                          .effective_from_ms = (promotion->start_day - 14) * DAY_MS,
                                          .name = text_of(promotion->name),
                                          .start_day = promotion->start_day,
                                          .end_day = promotion->end_day,
                                          .product_ids = products,
                                          .product_count = (uint32_t)promotion->product_count,
                                          .categories = &category,
                                          .category_count = by_category,
                                          .source = writing->source } };
    return write_one(writing, &event, event.promotion.promotion_id,
                     reversed ? code_bit(CODE_DATES_REVERSED) : 0, "promotion_reversed");
}

static enum ll_status write_promotions(struct writing *writing, bool defects)
{
    const struct world *world = writing->world;
    enum ll_status status = LL_OK;
    for (int32_t i = 0; status == LL_OK && i < world->promotion_count; i++)
        status = write_promotion(writing, &world->promotions[i]);
    struct world_promotion reversed = { .id = "PR990",
                                        .name = "Ends before it begins",
                                        .category = -1,
                                        .start_day = world->options.start_day + 3,
                                        .end_day = world->options.start_day + 1 };
    return status == LL_OK && defects ? write_promotion(writing, &reversed) : status;
}

enum ll_status references_write(const struct generate_options *options, const struct world *world,
                                struct sink *sink, struct truth *truth, struct ll_err *err)
{
    struct writing writing = { options, world, sink, truth, err, TEXT("generator") };
    bool defects = options->defects_permyriad > 0;
    enum ll_status status = write_stores(&writing, defects);
    if (status == LL_OK)
        status = write_products(&writing, defects);
    if (status == LL_OK)
        status = write_customers(&writing, defects);
    if (status == LL_OK)
        status = write_promotions(&writing, defects);
    return status == LL_OK ? sink->ops->settle(sink->self, err) : status;
}
