#include "producers/import/map_values.h"

#include <assert.h>

static struct text text_or_null(const struct mapper *mapper, enum field_id id)
{
    return mapper->values[id].present ? mapper->values[id].text : (struct text){0};
}

static struct text text_or_empty(const struct mapper *mapper, enum field_id id)
{
    return mapper->values[id].present ? mapper->values[id].text : TEXT("");
}

static void map_head(struct mapper *mapper, struct mapped *ret)
{
    const struct value *values = mapper->values;
    ret->head = (struct transaction){
        .transaction_id = text_or_empty(mapper, FIELD_ID_TRANSACTION_ID),
        .type = (enum transaction_type)values[FIELD_ID_TYPE].number,
        .original_transaction_id = text_or_null(mapper, FIELD_ID_ORIGINAL),
        .event_time_ms = values[FIELD_ID_EVENT_TIME].number,
        .store_id = text_or_null(mapper, FIELD_ID_STORE_ID),
        .customer_id = text_or_null(mapper, FIELD_ID_CUSTOMER_ID),
        .currency = mapper->file->fields[FIELD_ID_CURRENCY].used ? text_or_empty(mapper, FIELD_ID_CURRENCY)
                                                                 : text_of(mapper->profile->currency),
        .has_total = values[FIELD_ID_TOTAL].present,
        .total_minor = values[FIELD_ID_TOTAL].number,
        .source = text_of(mapper->profile->source),
        .source_ref = text_of(mapper->source_ref),
        .channel = text_or_null(mapper, FIELD_ID_CHANNEL),
    };
}

static void map_item(struct mapper *mapper, struct mapped *ret)
{
    const struct value *values = mapper->values;
    const struct profile_field *amount = &mapper->file->fields[FIELD_ID_AMOUNT];
    ret->has_line_no = mapper->file->fields[FIELD_ID_LINE_NO].used;
    ret->item = (struct line){
        .line_no = (int32_t)values[FIELD_ID_LINE_NO].number,
        .product_id = text_or_null(mapper, FIELD_ID_PRODUCT_ID),
        .quantity = values[FIELD_ID_QUANTITY].number,
        .unit_price_minor = values[FIELD_ID_UNIT_PRICE].number,
        .discount_minor = values[FIELD_ID_DISCOUNT].number,
        .amount_minor = values[FIELD_ID_AMOUNT].number,
        .promotion_id = text_or_null(mapper, FIELD_ID_PROMOTION_ID),
    };
    if (amount->computed &&
        (__builtin_mul_overflow(ret->item.quantity, ret->item.unit_price_minor, &ret->item.amount_minor) ||
         __builtin_sub_overflow(ret->item.amount_minor, ret->item.discount_minor, &ret->item.amount_minor)))
        map_note(mapper->file, ret, FIELD_ID_AMOUNT, CODE_AMOUNT_OVERFLOW, TEXT("quantity times unit price"));
}

static void map_customer(const struct mapper *mapper, struct customer *ret)
{
    const struct value *values = mapper->values;
    *ret = (struct customer){
        .customer_id = text_or_empty(mapper, FIELD_ID_CUSTOMER_ID),
        .effective_from_ms = values[FIELD_ID_EFFECTIVE_FROM].number,
        .name = text_or_null(mapper, FIELD_ID_NAME),
        .email = text_or_null(mapper, FIELD_ID_EMAIL),
        .phone = text_or_null(mapper, FIELD_ID_PHONE),
        .language = text_or_null(mapper, FIELD_ID_LANGUAGE),
        .country = text_or_null(mapper, FIELD_ID_COUNTRY),
        .consent_marketing = values[FIELD_ID_CONSENT].number != 0,
        .mailable = true,
        .erased = values[FIELD_ID_ERASED].number != 0,
        .source = text_of(mapper->profile->source),
        .source_ref = text_of(mapper->source_ref),
    };
}

static void map_product(const struct mapper *mapper, struct product *ret)
{
    const struct value *values = mapper->values;
    *ret = (struct product){
        .product_id = text_or_empty(mapper, FIELD_ID_PRODUCT_ID),
        .effective_from_ms = values[FIELD_ID_EFFECTIVE_FROM].number,
        .name = text_or_null(mapper, FIELD_ID_NAME),
        .category = text_or_null(mapper, FIELD_ID_CATEGORY),
        .brand = text_or_null(mapper, FIELD_ID_BRAND),
        .has_unit_price = values[FIELD_ID_UNIT_PRICE].present,
        .unit_price_minor = values[FIELD_ID_UNIT_PRICE].number,
        .active = !values[FIELD_ID_ACTIVE].present || values[FIELD_ID_ACTIVE].number != 0,
        .source = text_of(mapper->profile->source),
        .source_ref = text_of(mapper->source_ref),
    };
}

static void map_store(const struct mapper *mapper, struct store *ret)
{
    const struct value *values = mapper->values;
    *ret = (struct store){
        .store_id = text_or_empty(mapper, FIELD_ID_STORE_ID),
        .effective_from_ms = values[FIELD_ID_EFFECTIVE_FROM].number,
        .name = text_or_null(mapper, FIELD_ID_NAME),
        .city = text_or_null(mapper, FIELD_ID_CITY),
        .has_opened = values[FIELD_ID_OPENED].present,
        .opened_day = (int32_t)values[FIELD_ID_OPENED].number,
        .has_closed = values[FIELD_ID_CLOSED].present,
        .closed_day = (int32_t)values[FIELD_ID_CLOSED].number,
        .source = text_of(mapper->profile->source),
        .source_ref = text_of(mapper->source_ref),
    };
}

static void map_promotion(const struct mapper *mapper, struct promotion *ret)
{
    const struct value *values = mapper->values;
    *ret = (struct promotion){
        .promotion_id = text_or_empty(mapper, FIELD_ID_PROMOTION_ID),
        .effective_from_ms = values[FIELD_ID_EFFECTIVE_FROM].number,
        .name = text_or_null(mapper, FIELD_ID_NAME),
        .start_day = (int32_t)values[FIELD_ID_START].number,
        .end_day = (int32_t)values[FIELD_ID_END].number,
        .product_ids = values[FIELD_ID_PRODUCT_IDS].items,
        .product_count = values[FIELD_ID_PRODUCT_IDS].item_count,
        .categories = values[FIELD_ID_CATEGORIES].items,
        .category_count = values[FIELD_ID_CATEGORIES].item_count,
        .source = text_of(mapper->profile->source),
        .source_ref = text_of(mapper->source_ref),
    };
}

static void map_inventory(const struct mapper *mapper, struct inventory *ret)
{
    *ret = (struct inventory){
        .store_id = text_or_empty(mapper, FIELD_ID_STORE_ID),
        .product_id = text_or_empty(mapper, FIELD_ID_PRODUCT_ID),
        .event_time_ms = mapper->values[FIELD_ID_EVENT_TIME].number,
        .on_hand = mapper->values[FIELD_ID_ON_HAND].number,
        .source = text_of(mapper->profile->source),
        .source_ref = text_of(mapper->source_ref),
    };
}

void map_assemble(struct mapper *mapper, struct mapped *ret)
{
    switch (mapper->file->kind) {
    case PROFILE_TRANSACTION_LINES:
        map_head(mapper, ret);
        map_item(mapper, ret);
        break;
    case PROFILE_SALES:
        map_head(mapper, ret);
        break;
    case PROFILE_SALE_LINES:
        map_item(mapper, ret);
        break;
    case PROFILE_STORES:
        ret->reference.kind = EVENT_STORE;
        map_store(mapper, &ret->reference.store);
        break;
    case PROFILE_PRODUCTS:
        ret->reference.kind = EVENT_PRODUCT;
        map_product(mapper, &ret->reference.product);
        break;
    case PROFILE_CUSTOMERS:
        ret->reference.kind = EVENT_CUSTOMER;
        map_customer(mapper, &ret->reference.customer);
        break;
    case PROFILE_PROMOTIONS:
        ret->reference.kind = EVENT_PROMOTION;
        map_promotion(mapper, &ret->reference.promotion);
        break;
    case PROFILE_INVENTORY:
        ret->reference.kind = EVENT_INVENTORY;
        map_inventory(mapper, &ret->reference.inventory);
        break;
    case PROFILE_KIND_COUNT:
        assert(false);
    }
}
