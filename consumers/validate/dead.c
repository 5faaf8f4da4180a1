#include "consumers/validate/dead.h"

#include "schemas/codes.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static bool parse_int64(struct text text, int64_t *ret)
{
    uint32_t i = text.size > 0 && text.data[0] == '-' ? 1 : 0;
    if (i == text.size || text.size - i > 18)
        return false;
    int64_t value = 0;
    for (; i < text.size; i++) {
        if (text.data[i] < '0' || text.data[i] > '9')
            return false;
        value = value * 10 + (text.data[i] - '0');
    }
    *ret = text.data[0] == '-' ? -value : value;
    return true;
}

static bool find_int64(const struct bus_header *headers, size_t count, const char *name, int64_t *ret)
{
    for (size_t i = 0; i < count; i++)
        if (text_equal(headers[i].name, text_of(name)))
            return parse_int64(headers[i].value, ret);
    return false;
}

/* What validate itself put on a record that waits. */
static void origin_from_retry(struct origin *origin, const struct bus_header *headers, size_t count)
{
    int64_t partition, offset, timestamp_ms;
    bool named = false;
    for (size_t i = 0; i < count; i++)
        named = named || (text_equal(headers[i].name, TEXT("ll-topic")) &&
                          text_equal(headers[i].value, text_of(topic_name(TOPIC_TRANSACTIONS))));
    if (!named || !find_int64(headers, count, "ll-partition", &partition) || partition < 0 ||
        partition > INT32_MAX || !find_int64(headers, count, "ll-offset", &offset) ||
        !find_int64(headers, count, "ll-timestamp", &timestamp_ms))
        return;
    origin->topic = TOPIC_TRANSACTIONS;
    origin->partition = (int32_t)partition;
    origin->offset = offset;
    origin->timestamp_ms = timestamp_ms;
}

struct origin origin_of(const struct bus_record *record, const struct bus_header *headers, size_t count)
{
    struct origin origin = {
        .topic = record->topic,
        .partition = record->partition,
        .offset = record->offset,
        .timestamp_ms = record->timestamp_ms,
        .first_at_ms = record->timestamp_ms,
    };
    if (count == 0)
        return origin;
    if (record->topic == TOPIC_TRANSACTIONS_RETRY)
        origin_from_retry(&origin, headers, count);
    origin.first_at_ms = origin.timestamp_ms;
    int64_t value;
    /* Never later than the record itself: a header must not let a time in the future pass. */
    if (find_int64(headers, count, "ll-first-at", &value) && value > 0 && value < origin.timestamp_ms)
        origin.first_at_ms = value;
    if (find_int64(headers, count, "ll-attempt", &value) && value > 0 && value <= INT32_MAX)
        origin.attempt = (int32_t)value;
    return origin;
}

static void add_bytes(struct dead_headers *headers, const char *name, const void *bytes, size_t size)
{
    if (headers->count == DEAD_HEADERS_MAX || sizeof headers->text - headers->used < size)
        return;
    char *to = headers->text + headers->used;
    memcpy(to, bytes, size);
    headers->used += size;
    headers->list[headers->count++] = (struct bus_header){text_of(name), {to, (uint32_t)size}};
}

static void add_text(struct dead_headers *headers, const char *name, const char *text)
{
    add_bytes(headers, name, text, strlen(text));
}

static void add_number(struct dead_headers *headers, const char *name, int64_t value)
{
    char text[24];
    snprintf(text, sizeof text, "%" PRId64, value);
    add_text(headers, name, text);
}

/* The words are long, and live as long as the headers. */
static void add_borrowed(struct dead_headers *headers, const char *name, const char *text)
{
    if (headers->count < DEAD_HEADERS_MAX)
        headers->list[headers->count++] = (struct bus_header){text_of(name), text_of(text)};
}

/* Spring writes numbers as Java's big-endian bytes. */
static void add_java(struct dead_headers *headers, const char *name, int64_t value, size_t size)
{
    unsigned char bytes[8];
    for (size_t i = 0; i < size; i++)
        bytes[i] = (unsigned char)((uint64_t)value >> (8 * (size - 1 - i)));
    add_bytes(headers, name, bytes, size);
}

static bool starts_with(struct text name, struct text start)
{
    return name.size >= start.size && memcmp(name.data, start.data, start.size) == 0;
}

static void add_connect(struct dead_headers *headers, const struct dead_letter *letter)
{
    add_text(headers, "__connect.errors.topic", topic_name(letter->origin.topic));
    add_number(headers, "__connect.errors.partition", letter->origin.partition);
    add_number(headers, "__connect.errors.offset", letter->origin.offset);
    add_text(headers, "__connect.errors.connector.name", letter->group);
    add_text(headers, "__connect.errors.task.id", "0");
    add_text(headers, "__connect.errors.stage", "VALUE_CONVERTER");
    add_borrowed(headers, "__connect.errors.exception.message", letter->message);
}

static void add_spring(struct dead_headers *headers, const struct dead_letter *letter)
{
    add_text(headers, "kafka_dlt-original-topic", topic_name(letter->origin.topic));
    add_java(headers, "kafka_dlt-original-partition", letter->origin.partition, 4);
    add_java(headers, "kafka_dlt-original-offset", letter->origin.offset, 8);
    add_java(headers, "kafka_dlt-original-timestamp", letter->origin.timestamp_ms, 8);
    add_text(headers, "kafka_dlt-original-timestamp-type", "LogAppendTime");
    add_text(headers, "kafka_dlt-original-consumer-group", letter->group);
    add_borrowed(headers, "kafka_dlt-exception-message", letter->message);
}

static bool is_ours(const struct settings *settings, struct text name)
{
    return starts_with(name, TEXT("ll-")) || (settings->alias_connect && starts_with(name, TEXT("__connect.errors."))) ||
           (settings->alias_spring && starts_with(name, TEXT("kafka_dlt-")));
}

void dead_headers_make(const struct dead_letter *letter, const struct settings *settings,
                       const struct bus_header *original, size_t original_count, struct dead_headers *ret)
{
    char codes[DEAD_CODES_SIZE];
    ret->count = ret->used = 0;
    add_text(ret, "ll-codes", code_names(letter->codes, codes, sizeof codes));
    add_text(ret, "ll-stage", "validate");
    add_text(ret, "ll-topic", topic_name(letter->origin.topic));
    add_number(ret, "ll-partition", letter->origin.partition);
    add_number(ret, "ll-offset", letter->origin.offset);
    add_number(ret, "ll-timestamp", letter->origin.timestamp_ms);
    add_number(ret, "ll-schema-id", letter->schema_id);
    add_text(ret, "ll-group", letter->group);
    add_number(ret, "ll-attempt", letter->origin.attempt);
    add_number(ret, "ll-first-at", letter->origin.first_at_ms);
    if (letter->line >= 0) {
        add_number(ret, "ll-line", letter->line_no);
        add_number(ret, "ll-line-index", letter->line);
    }
    add_borrowed(ret, "ll-message", letter->message);
    if (settings->alias_connect)
        add_connect(ret, letter);
    if (settings->alias_spring)
        add_spring(ret, letter);
    for (size_t i = 0; i < original_count; i++)
        if (!is_ours(settings, original[i].name))
            ret->list[ret->count++] = original[i];
}

void retry_headers_make(const struct origin *origin, const struct bus_header *original, size_t original_count,
                        struct dead_headers *ret)
{
    ret->count = ret->used = 0;
    add_text(ret, "ll-topic", topic_name(origin->topic));
    add_number(ret, "ll-partition", origin->partition);
    add_number(ret, "ll-offset", origin->offset);
    add_number(ret, "ll-timestamp", origin->timestamp_ms);
    for (size_t i = 0; i < original_count; i++)
        if (!text_equal(original[i].name, TEXT("ll-topic")) &&
            !text_equal(original[i].name, TEXT("ll-partition")) &&
            !text_equal(original[i].name, TEXT("ll-offset")) &&
            !text_equal(original[i].name, TEXT("ll-timestamp")))
            ret->list[ret->count++] = original[i];
}
