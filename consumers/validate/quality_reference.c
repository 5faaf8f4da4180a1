#include "consumers/validate/quality.h"

#include <string.h>

/* Things may be older than any sale, but not older than the calendar, nor from the far future. */
#define EFFECTIVE_MIN_MS INT64_C(-62135596800000) /* 0001-01-01 */
#define EFFECTIVE_MAX_MS INT64_C(7258118400000)   /* 2200-01-01 */

enum {
    EMAIL_SIZE_MAX = 254,
    EMAIL_LOCAL_SIZE_MAX = 64,
    LABEL_SIZE_MAX = 63,
    PHONE_DIGITS_MIN = 6,
    PHONE_DIGITS_MAX = 15
};

static bool word_char(unsigned char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

/* atext of RFC 5322 and dots that neither begin, end nor repeat. Bytes beyond ASCII pass (RFC 6531). */
static bool local_plausible(struct text local)
{
    if (local.size == 0 || local.size > EMAIL_LOCAL_SIZE_MAX)
        return false;
    for (uint32_t i = 0; i < local.size; i++) {
        unsigned char c = (unsigned char)local.data[i];
        if (c == '.') {
            if (i == 0 || i + 1 == local.size || local.data[i - 1] == '.')
                return false;
        } else if (!word_char(c) && c < 0x80 && (c == 0 || strchr("!#$%&'*+-/=?^_`{|}~", c) == NULL)) {
            return false;
        }
    }
    return true;
}

/* At least two labels of letters, digits and inner hyphens; the last is no number. */
static bool domain_plausible(struct text domain)
{
    uint32_t labels = 0, label_size = 0;
    bool digits_only = true;
    for (uint32_t i = 0; i <= domain.size; i++) {
        if (i == domain.size || domain.data[i] == '.') {
            if (label_size == 0 || label_size > LABEL_SIZE_MAX || domain.data[i - 1] == '-' ||
                domain.data[i - label_size] == '-')
                return false;
            labels++;
            if (i == domain.size)
                return labels >= 2 && label_size >= 2 && !digits_only;
            label_size = 0;
            digits_only = true;
            continue;
        }
        unsigned char c = (unsigned char)domain.data[i];
        if (!word_char(c) && c != '-' && c < 0x80)
            return false;
        digits_only = digits_only && c >= '0' && c <= '9';
        label_size++;
    }
    return false;
}

bool quality_email_plausible(struct text email)
{
    if (email.size == 0 || email.size > EMAIL_SIZE_MAX)
        return false;
    const char *at = memchr(email.data, '@', email.size);
    if (at == NULL)
        return false;
    struct text local = {email.data, (uint32_t)(at - email.data)};
    struct text domain = {at + 1, email.size - local.size - 1};
    return local_plausible(local) && domain_plausible(domain);
}

bool quality_phone_plausible(struct text phone)
{
    int digits = 0;
    for (uint32_t i = 0; i < phone.size; i++) {
        char c = phone.data[i];
        if (c >= '0' && c <= '9')
            digits++;
        else if (c == '+' ? i != 0 : (c == '\0' || strchr(" .-/()", c) == NULL))
            return false;
    }
    return digits >= PHONE_DIGITS_MIN && digits <= PHONE_DIGITS_MAX;
}

static uint64_t check_version(struct text id, int64_t effective_from_ms, struct text source)
{
    uint64_t codes = 0;
    if (id.size == 0)
        codes |= code_bit(CODE_REFERENCE_ID_MISSING);
    if (effective_from_ms < EFFECTIVE_MIN_MS || effective_from_ms >= EFFECTIVE_MAX_MS)
        codes |= code_bit(CODE_TIME_INVALID);
    if (source.size == 0)
        codes |= code_bit(CODE_SOURCE_MISSING);
    if (quality_has_control(id) || quality_has_control(source))
        codes |= code_bit(CODE_TEXT_CONTROL);
    return codes;
}

static uint64_t check_customer(struct customer *customer)
{
    uint64_t codes = check_version(customer->customer_id, customer->effective_from_ms, customer->source);
    customer->mailable = customer->email.size > 0 && quality_email_plausible(customer->email);
    if (customer->email.size > 0 && !customer->mailable)
        codes |= code_bit(CODE_EMAIL_IMPLAUSIBLE);
    if (customer->phone.size > 0 && !quality_phone_plausible(customer->phone))
        codes |= code_bit(CODE_PHONE_IMPLAUSIBLE);
    return codes;
}

static uint64_t check_product(const struct product *product)
{
    uint64_t codes = check_version(product->product_id, product->effective_from_ms, product->source);
    if (product->has_unit_price && product->unit_price_minor <= 0)
        codes |= code_bit(CODE_PRICE_NOT_POSITIVE);
    if (quality_has_control(product->category))
        codes |= code_bit(CODE_TEXT_CONTROL);
    return codes;
}

static uint64_t check_store(const struct store *store)
{
    uint64_t codes = check_version(store->store_id, store->effective_from_ms, store->source);
    if (store->has_opened && store->has_closed && store->opened_day > store->closed_day)
        codes |= code_bit(CODE_DATES_REVERSED);
    return codes;
}

static uint64_t check_promotion(const struct promotion *promotion)
{
    uint64_t codes = check_version(promotion->promotion_id, promotion->effective_from_ms, promotion->source);
    if (promotion->start_day > promotion->end_day)
        codes |= code_bit(CODE_DATES_REVERSED);
    return codes;
}

static uint64_t check_inventory(const struct inventory *inventory)
{
    uint64_t codes = check_version(inventory->store_id, inventory->event_time_ms, inventory->source);
    if (inventory->product_id.size == 0)
        codes |= code_bit(CODE_PRODUCT_MISSING);
    return codes;
}

uint64_t quality_check_reference(struct event *event)
{
    switch ((int)event->kind) {
    case EVENT_CUSTOMER:
        return check_customer(&event->customer);
    case EVENT_PRODUCT:
        return check_product(&event->product);
    case EVENT_STORE:
        return check_store(&event->store);
    case EVENT_PROMOTION:
        return check_promotion(&event->promotion);
    case EVENT_INVENTORY:
        return check_inventory(&event->inventory);
    default:
        return 0;
    }
}

uint64_t quality_rejects(uint64_t codes)
{
    return codes & ~(code_bit(CODE_EMAIL_IMPLAUSIBLE) | code_bit(CODE_PHONE_IMPLAUSIBLE) |
                     code_bit(CODE_RULES_MISSING) | code_bit(CODE_REFUND_EXCESS));
}
