#include "state/ledger_postgres.h"

#include "schemas/codes.h"
#include "state/copy_field.h"

#include <assert.h>
#include <string.h>

const char dead_columns[] =
    "run_id, partition, \"offset\", seq, event_offset, record_time, refused_at, identity_hash, content_hash, sale_hash,"
    " source, transaction_id, codes, message, key, value, headers, raw_topic, raw_partition, raw_offset";
const char held_columns[] =
    "run_id, partition, \"offset\", record_time, held_since, identity_hash, content_hash, sale_hash, source,"
    " transaction_id, key, value, headers, raw_topic, raw_partition, raw_offset";
const char account_columns[] =
    "points_balance, points_earned, points_reversed, net_minor, postings, last_event_at, run_id, partition, customer_id";

enum { DEAD_FIELDS = 20, HELD_FIELDS = 16, ACCOUNT_FIELDS = 9, FIELD_SIZE = 12, CODE_SIZE_MAX = 36 };

static const char *const code_text[] = {
    NULL,
#define X(name, severity, scope, meaning, next) #name,
    CODE_TABLE(X)
#undef X
};

static size_t kept_size(const struct kept_record *record)
{
    return (size_t)record->source.size + record->transaction_id.size + record->message.size +
           record->key.size + record->value.size + record->headers.size + record->raw_topic.size;
}

/* text[] of the codes' names. */
static char *put_codes(char *to, uint64_t codes)
{
    char *start = to;
    uint32_t count = 0;
    to = put_u32(to + 4, 1);
    to = put_u32(to, 0);
    to = put_u32(to, OID_TEXT);
    char *dimension = to;
    to = put_u32(to + 4, 1);
    for (int code = 1; code < CODE_COUNT; code++) {
        if ((codes & code_bit((enum code)code)) == 0)
            continue;
        count++;
        to = put_bytes(to, text_of(code_text[code]));
    }
    put_u32(dimension, count);
    if (count == 0) { /* an array without elements has no dimension */
        put_u32(start + 4, 0);
        to = dimension;
    }
    put_u32(start, (uint32_t)(to - start - 4));
    return to;
}

static void row_end(struct row_buffer *buffer, const char *to)
{
    buffer->size = (size_t)(to - buffer->data);
    assert(buffer->size <= buffer->capacity);
    buffer->rows++;
}

static char *put_kept_end(char *to, const struct kept_record *record)
{
    to = put_bytes(to, record->key);
    to = put_bytes(to, record->value);
    to = put_bytes(to, record->headers);
    to = put_text(to, record->raw_topic);
    to = put_int4(to, record->raw_partition);
    return put_int8(to, record->raw_offset);
}

void dead_write(struct row_buffer *buffer, int32_t run, int32_t partition, const struct kept_record *record)
{
    size_t codes = (size_t)__builtin_popcountll(record->codes) * CODE_SIZE_MAX + 32;
    char *to = row_reserve(buffer, 2 + DEAD_FIELDS * FIELD_SIZE + kept_size(record) + codes);
    to = put_u16(to, DEAD_FIELDS);
    to = put_int4(to, run);
    to = put_int4(to, partition);
    to = put_int8(to, record->offset);
    to = put_int4(to, record->seq);
    to = put_int8(to, record->event_offset);
    to = put_time(to, record->timestamp_ms);
    to = put_time(to, record->since_ms);
    to = put_int8(to, record->identity_hash);
    to = put_int8(to, record->content_hash);
    to = put_int8(to, record->sale_hash);
    to = put_text(to, record->source);
    to = put_text(to, record->transaction_id);
    to = put_codes(to, record->codes);
    to = put_text(to, record->message);
    row_end(buffer, put_kept_end(to, record));
}

void held_write(struct row_buffer *buffer, int32_t run, int32_t partition, const struct kept_record *record)
{
    char *to = row_reserve(buffer, 2 + HELD_FIELDS * FIELD_SIZE + kept_size(record));
    to = put_u16(to, HELD_FIELDS);
    to = put_int4(to, run);
    to = put_int4(to, partition);
    to = put_int8(to, record->offset);
    to = put_time(to, record->timestamp_ms);
    to = put_time(to, record->since_ms);
    to = put_int8(to, record->identity_hash);
    to = put_int8(to, record->content_hash);
    to = put_int8(to, record->sale_hash);
    to = put_text(to, record->source);
    to = put_text(to, record->transaction_id);
    row_end(buffer, put_kept_end(to, record));
}

bool held_read(const char *bytes, size_t size, struct kept_record *ret)
{
    struct copy_cursor cursor = { .at = bytes, .end = bytes + size };
    struct kept_record record = { 0 };
    if (take_u16(&cursor) != HELD_FIELDS)
        return false;
    (void)take_int4(&cursor); /* run and partition were asked for */
    (void)take_int4(&cursor);
    record.offset = record.event_offset = take_int8(&cursor);
    record.timestamp_ms = take_time(&cursor);
    record.since_ms = take_time(&cursor);
    record.identity_hash = take_int8(&cursor);
    record.content_hash = take_int8(&cursor);
    record.sale_hash = take_int8(&cursor);
    record.source = take_bytes(&cursor);
    record.transaction_id = take_bytes(&cursor);
    record.key = take_bytes(&cursor);
    record.value = take_bytes(&cursor);
    record.headers = take_bytes(&cursor);
    record.raw_topic = take_bytes(&cursor);
    record.raw_partition = take_int4(&cursor);
    record.raw_offset = take_int8(&cursor);
    if (cursor.bad || cursor.at != cursor.end)
        return false;
    *ret = record;
    return true;
}

void account_write(struct row_buffer *buffer, int32_t run, int32_t partition,
                   const struct ledger_account *account)
{
    char *to = row_reserve(buffer, 2 + ACCOUNT_FIELDS * FIELD_SIZE + account->customer_id.size);
    to = put_u16(to, ACCOUNT_FIELDS);
    to = put_int8(to, account->points_delta);
    to = put_int8(to, account->earned_delta);
    to = put_int8(to, account->reversed_delta);
    to = put_int8(to, account->net_delta_minor);
    to = put_int8(to, account->postings_delta);
    to = put_time(to, account->last_event_ms);
    to = put_int4(to, run);
    to = put_int4(to, partition);
    row_end(buffer, put_text(to, account->customer_id));
}

void array_begin(struct row_buffer *buffer, uint32_t element_type)
{
    row_buffer_clear(buffer);
    char *to = row_reserve(buffer, 20);
    to = put_u32(to, 1);
    to = put_u32(to, 0);
    to = put_u32(to, element_type);
    to = put_u32(to, 0); /* how many: array_end */
    to = put_u32(to, 1);
    buffer->size = (size_t)(to - buffer->data);
}

void array_add_int4(struct row_buffer *buffer, int32_t value)
{
    row_end(buffer, put_int4(row_reserve(buffer, FIELD_SIZE), value));
}

void array_add_int8(struct row_buffer *buffer, int64_t value)
{
    row_end(buffer, put_int8(row_reserve(buffer, FIELD_SIZE), value));
}

void array_add_time(struct row_buffer *buffer, int64_t time_ms)
{
    row_end(buffer, put_time(row_reserve(buffer, FIELD_SIZE), time_ms));
}

void array_add_text(struct row_buffer *buffer, struct text text)
{
    row_end(buffer, put_text(row_reserve(buffer, FIELD_SIZE + text.size), text));
}

void array_end(struct row_buffer *buffer)
{
    put_u32(buffer->data + 12, (uint32_t)buffer->rows);
    if (buffer->rows == 0) { /* an array without elements has no dimension */
        put_u32(buffer->data, 0);
        buffer->size = 12;
    }
}

void postgres_params_add(struct postgres_params *params, Oid type, const struct row_buffer *value)
{
    assert(params->count < POSTGRES_PARAMS_MAX);
    params->types[params->count] = type;
    params->values[params->count] = value->data;
    params->sizes[params->count] = (int)value->size;
    params->count++;
}
