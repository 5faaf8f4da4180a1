/*
 * write.c - from a struct of event.h to the bytes of one record, in our own schema.
 * Shape:  sized first (the most that it can take), then written with no check at all. The hot kinds are
 *         spelled out; the others follow their table in bind.c. Both ways give the same bytes as avro-c,
 *         which is tested.
 */
#include "schemas/write.h"

#include "schemas/encode.h"

#include <assert.h>

enum {
    /* Most that the numbers, sizes and branches of a record take, texts aside. */
    TRANSACTION_FIXED_SIZE = 20 * (VARINT_SIZE_MAX + 1),
    LINE_FIXED_SIZE = 8 * (VARINT_SIZE_MAX + 1),
};

static char *write_line(char *to, const struct line *line, bool valid)
{
    to = encode_long(to, line->line_no);
    to = encode_text_nullable(to, line->product_id);
    to = encode_long(to, line->quantity);
    to = encode_long(to, line->unit_price_minor);
    to = encode_long(to, line->discount_minor);
    to = encode_long(to, line->amount_minor);
    to = encode_text_nullable(to, line->promotion_id);
    return valid ? encode_text_nullable(to, line->category) : to;
}

static inline char *write_transaction(char *to, const struct transaction *transaction, bool valid)
{
    to = encode_text(to, transaction->transaction_id);
    to = encode_long(to, transaction->type);
    to = encode_text_nullable(to, transaction->original_transaction_id);
    to = encode_long(to, transaction->event_time_ms);
    to = encode_text_nullable(to, transaction->store_id);
    to = encode_text_nullable(to, transaction->customer_id);
    to = encode_text(to, transaction->currency);
    to = encode_long_nullable(to, transaction->has_total, transaction->total_minor);
    to = encode_text(to, transaction->source);
    to = encode_text(to, transaction->source_ref);
    to = encode_text_nullable(to, transaction->channel);
    if (transaction->line_count > 0)
        to = encode_long(to, transaction->line_count);
    for (uint32_t i = 0; i < transaction->line_count; i++)
        to = write_line(to, &transaction->lines[i], valid);
    to = encode_long(to, 0);
    if (!valid)
        return to;
    to = encode_long(to, transaction->content_hash);
    to = encode_text(to, transaction->raw_topic);
    to = encode_long(to, transaction->raw_partition);
    to = encode_long(to, transaction->raw_offset);
    return encode_long(to, transaction->attempt);
}

static char *write_control(char *to, const struct control *control)
{
    to = encode_long(to, control->kind);
    to = encode_long(to, control->rules_version);
    return encode_long(to, control->time_ms);
}

static char *write_list(char *to, const struct bind_field *field, const char *base)
{
    const char *item = *(const char *const *)(const void *)(base + field->offset);
    uint32_t count = *(const uint32_t *)(const void *)(base + field->aside);
    if (count > 0)
        to = encode_long(to, count);
    for (uint32_t i = 0; i < count; i++, item += field->items->size)
        to = write_bound(to, field->items, item);
    return encode_long(to, 0);
}

static char *write_field(char *to, const struct bind_field *field, const char *base)
{
    const void *member = base + field->offset;
    switch (field->type) {
    case BIND_TEXT:
        if (field->nullable)
            return encode_text_nullable(to, *(const struct text *)member);
        return encode_text(to, *(const struct text *)member);
    case BIND_INT:
        if (field->nullable)
            return encode_long_nullable(to, *(const bool *)(base + field->aside), *(const int32_t *)member);
        return encode_long(to, *(const int32_t *)member);
    case BIND_LONG:
        if (field->nullable)
            return encode_long_nullable(to, *(const bool *)(base + field->aside), *(const int64_t *)member);
        return encode_long(to, *(const int64_t *)member);
    case BIND_BOOLEAN:
        return encode_boolean(to, *(const bool *)member);
    case BIND_ENUM:
        return encode_long(to, *(const uint32_t *)member);
    case BIND_LIST:
        return write_list(to, field, base);
    }
    return to;
}

char *write_bound(char *to, const struct bind_record *bind, const void *record)
{
    for (uint32_t i = 0; i < bind->count; i++)
        to = write_field(to, &bind->fields[i], record);
    return to;
}

char *write_event(char *to, const struct event *event)
{
    switch (event->kind) {
    case EVENT_TRANSACTION:
        return write_transaction(to, &event->transaction, false);
    case EVENT_TRANSACTION_VALID:
        return write_transaction(to, &event->transaction, true);
    case EVENT_CONTROL:
        return write_control(to, &event->control);
    case EVENT_CUSTOMER:
    case EVENT_PRODUCT:
    case EVENT_STORE:
    case EVENT_PROMOTION:
    case EVENT_INVENTORY:
    case EVENT_LOYALTY_RULES:
    case EVENT_LEDGER:
    case EVENT_COMMAND:
    case EVENT_SEGMENT_CHANGE:
        return write_bound(to, bind_of(event->kind), event_payload_const(event));
    case EVENT_KINDS:
        break;
    }
    assert(!"no struct of event.h is written as this kind");
    return to;
}

static size_t transaction_size_max(const struct transaction *transaction)
{
    size_t size = TRANSACTION_FIXED_SIZE + (size_t)transaction->line_count * LINE_FIXED_SIZE;
    size += (size_t)transaction->transaction_id.size + transaction->original_transaction_id.size +
            transaction->store_id.size + transaction->customer_id.size + transaction->currency.size +
            transaction->source.size + transaction->source_ref.size + transaction->channel.size +
            transaction->raw_topic.size;
    for (uint32_t i = 0; i < transaction->line_count; i++) {
        const struct line *line = &transaction->lines[i];
        size += (size_t)line->product_id.size + line->promotion_id.size + line->category.size;
    }
    return size;
}

static size_t bound_size_max(const struct bind_record *bind, const void *record);

static size_t list_size_max(const struct bind_field *field, const char *base)
{
    const char *item = *(const char *const *)(const void *)(base + field->offset);
    uint32_t count = *(const uint32_t *)(const void *)(base + field->aside);
    size_t size = VARINT_SIZE_MAX;
    for (uint32_t i = 0; i < count; i++, item += field->items->size)
        size += bound_size_max(field->items, item);
    return size;
}

static size_t bound_size_max(const struct bind_record *bind, const void *record)
{
    const char *base = record;
    /* Any number, any text's size, with its branch before it. */
    size_t size = bind->count * (VARINT_SIZE_MAX + 1);
    for (uint32_t i = 0; i < bind->count; i++) {
        const struct bind_field *field = &bind->fields[i];
        if (field->type == BIND_TEXT)
            size += ((const struct text *)(const void *)(base + field->offset))->size;
        else if (field->type == BIND_LIST)
            size += list_size_max(field, base);
    }
    return size;
}

size_t event_size_max(const struct event *event)
{
    if (event->kind == EVENT_TRANSACTION || event->kind == EVENT_TRANSACTION_VALID)
        return transaction_size_max(&event->transaction);
    return bound_size_max(bind_of(event->kind), event_payload_const(event));
}
