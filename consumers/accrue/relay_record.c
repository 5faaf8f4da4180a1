#include "consumers/accrue/relay_record.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CODES_SIZE = 1024 };

_Static_assert((int)EVENT_LEDGER_LINES_MAX >= (int)POSTING_LINES_MAX, "every line of a posting must fit into its event");
_Static_assert((int)EVENT_RULES_MAX >= (int)POSTING_RULES_MAX, "every rule of a posting must fit into its event");

void relay_record_init(struct relay_record_maker *maker, struct codec *codec, int32_t run, const char *group,
                       int32_t dead_partitions)
{
    maker->codec = codec;
    maker->run = run;
    maker->group = group;
    maker->dead_partitions = dead_partitions;
    maker->scratch = codec_scratch_new();
    maker->value = NULL;
    maker->value_capacity = 0;
}

void relay_record_done(struct relay_record_maker *maker)
{
    codec_scratch_free(maker->scratch);
    free(maker->value);
}

static struct text encode(struct relay_record_maker *maker, const struct event *event)
{
    size_t needed = codec_size_max(event);
    if (needed > maker->value_capacity) {
        maker->value_capacity = needed < 65536 ? 65536 : needed;
        free(maker->value);
        maker->value = malloc(maker->value_capacity);
        if (maker->value == NULL)
            abort();
    }
    size_t size = codec_write(maker->codec, event, maker->value, maker->value_capacity);
    assert(size > 0);
    return (struct text){ maker->value, (uint32_t)size };
}

/* ---- headers ---- */

static void begin_headers(struct relay_record_maker *maker)
{
    maker->header_count = 0;
    maker->used = 0;
}

static void add_borrowed(struct relay_record_maker *maker, const char *name, struct text value)
{
    assert(maker->header_count < RELAY_HEADERS_MAX);
    maker->headers[maker->header_count++] = (struct bus_header){ text_of(name), value };
}

static void add_text(struct relay_record_maker *maker, const char *name, const char *text)
{
    size_t size = strlen(text);
    assert(sizeof maker->texts - maker->used >= size);
    char *to = maker->texts + maker->used;
    memcpy(to, text, size);
    maker->used += size;
    add_borrowed(maker, name, (struct text){ to, (uint32_t)size });
}

static void add_number(struct relay_record_maker *maker, const char *name, int64_t value)
{
    char text[24];
    snprintf(text, sizeof text, "%" PRId64, value);
    add_text(maker, name, text);
}

/* One part of (u32 size, bytes); size -1: null. False: nothing more that is whole. */
static bool take_part(struct text *rest, struct text *ret)
{
    if (rest->size < 4)
        return false;
    const unsigned char *at = (const unsigned char *)rest->data;
    uint32_t size = (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
    bool is_null = size == UINT32_MAX;
    if (!is_null && size > rest->size - 4)
        return false;
    *ret = (struct text){ is_null ? NULL : rest->data + 4, is_null ? 0 : size };
    uint32_t used = 4 + (is_null ? 0 : size);
    rest->data += used;
    rest->size -= used;
    return true;
}

/* The record's own, but for those that we are about to write. */
static void add_kept(struct relay_record_maker *maker, struct text kept)
{
    struct text name, value;
    while (maker->header_count < BUS_HEADERS_MAX && take_part(&kept, &name) && take_part(&kept, &value))
        if (name.data != NULL && (name.size < 3 || memcmp(name.data, "ll-", 3) != 0))
            maker->headers[maker->header_count++] = (struct bus_header){ name, value };
}

/* ---- records ---- */

static void fill_entry(struct relay_record_maker *maker, const struct posting *posting, struct ledger_entry *ret)
{
    for (uint32_t i = 0; i < posting->line_count; i++) {
        const struct posting_line *line = &posting->lines[i];
        maker->lines[i] = (struct ledger_line){ .product_id = line->product_id,
                                                .category = line->category,
                                                .promotion_id = line->promotion_id,
                                                .amount_minor = line->amount_minor,
                                                .excess_minor = line->excess_minor };
    }
    for (uint32_t i = 0; i < posting->rule_count; i++)
        maker->rules[i] = (struct ledger_rule){ posting->rules[i].rule_id, posting->rules[i].points };
    *ret = (struct ledger_entry){
        .run = posting->run,
        .partition = posting->partition,
        .offset = posting->offset,
        .seq = posting->seq,
        .event_offset = posting->event_offset,
        .source = posting->source,
        .type = posting->type,
        .transaction_id = posting->transaction_id,
        .sale_id = posting->sale_id,
        .customer_id = posting->customer_id,
        .net_minor = posting->net_minor,
        .lines = maker->lines,
        .line_count = posting->line_count,
        .sale_day = posting->sale_day,
        .points = posting->points,
        .rules_version = posting->rules_version,
        .rules = maker->rules,
        .rule_count = posting->rule_count,
        .event_time_ms = posting->event_time_ms,
        .posted_at_ms = posting->posted_at_ms,
        .flags = (int64_t)posting->warnings,
    };
}

void relay_record_posting(struct relay_record_maker *maker, const struct posting *posting, struct bus_out *ret)
{
    struct event event = { .kind = EVENT_LEDGER };
    fill_entry(maker, posting, &event.ledger);
    struct text key = posting->transaction_id; /* the same rule as the sale's */
    if (!text_empty(posting->customer_id))
        key = posting->customer_id;
    else if (!text_empty(posting->sale_id))
        key = posting->sale_id;
    *ret = (struct bus_out){ .topic = TOPIC_LEDGER,
                             .partition = posting->partition,
                             .timestamp_ms = posting->posted_at_ms,
                             .key = key,
                             .value = encode(maker, &event) };
}

/* How often it had been redriven; 0 where it cannot be decoded. */
static int32_t attempt_of(struct relay_record_maker *maker, struct text value)
{
    struct event event;
    enum code code;
    if (value.data == NULL ||
        codec_read(maker->codec, EVENT_TRANSACTION_VALID, value, maker->scratch, &event, &code, NULL) != LL_OK)
        return 0;
    return event.transaction.attempt;
}

void relay_record_dead(struct relay_record_maker *maker, int32_t partition, const struct kept_record *dead,
                       struct bus_out *ret)
{
    char codes[CODES_SIZE];
    enum code frame_code;
    bool raw_known = dead->raw_topic.data != NULL; /* else it could not be decoded: its own place is all there is */
    begin_headers(maker);
    add_kept(maker, dead->headers);
    add_text(maker, "ll-codes", code_names(dead->codes, codes, sizeof codes));
    add_text(maker, "ll-stage", "accrue");
    add_borrowed(maker, "ll-topic", raw_known ? dead->raw_topic : text_of(topic_name(TOPIC_TRANSACTIONS_VALID)));
    add_number(maker, "ll-partition", raw_known ? dead->raw_partition : partition);
    add_number(maker, "ll-offset", raw_known ? dead->raw_offset : dead->event_offset);
    add_number(maker, "ll-timestamp", dead->timestamp_ms);
    add_number(maker, "ll-schema-id", dead->value.data == NULL ? -1 : codec_schema_id(dead->value, &frame_code));
    add_text(maker, "ll-group", maker->group);
    add_number(maker, "ll-attempt", attempt_of(maker, dead->value));
    add_number(maker, "ll-first-at", dead->timestamp_ms);
    add_number(maker, "ll-run", maker->run);
    add_number(maker, "ll-valid-partition", partition);
    add_number(maker, "ll-valid-offset", dead->event_offset);
    add_number(maker, "ll-row-offset", dead->offset);
    add_number(maker, "ll-row-seq", dead->seq);
    add_borrowed(maker, "ll-message", dead->message.data == NULL ? TEXT("") : dead->message);
    *ret = (struct bus_out){ .topic = TOPIC_DEAD_LETTER,
                             .partition = partition % maker->dead_partitions,
                             .timestamp_ms = dead->timestamp_ms,
                             .key = dead->key,
                             .value = dead->value,
                             .headers = maker->headers,
                             .header_count = maker->header_count };
}

void relay_record_omit(struct relay_record_maker *maker, struct bus_out *out)
{
    add_borrowed(maker, "ll-value-omitted", TEXT("too large"));
    out->header_count = maker->header_count;
    out->value = (struct text){ NULL, 0 };
}

void relay_record_tick(struct relay_record_maker *maker, int32_t partition, int64_t upto, int64_t clock_ms,
                       struct bus_out *ret)
{
    struct event event = { .kind = EVENT_CONTROL, .control = { .kind = CONTROL_TICK, .time_ms = clock_ms } };
    begin_headers(maker);
    add_number(maker, "ll-run", maker->run);
    add_number(maker, "ll-offset", upto - 1);
    add_number(maker, "ll-seq", RELAY_TICK_SEQ);
    *ret = (struct bus_out){ .topic = TOPIC_LEDGER,
                             .partition = partition,
                             .timestamp_ms = clock_ms,
                             .value = encode(maker, &event),
                             .headers = maker->headers,
                             .header_count = maker->header_count };
}

/* ---- read back ---- */

/* -1: no such header, or no number. */
static int64_t header_number(const struct bus_header *headers, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++) {
        char text[24];
        if (!text_equal(headers[i].name, text_of(name)) || headers[i].value.size >= sizeof text ||
            headers[i].value.size == 0)
            continue;
        memcpy(text, headers[i].value.data, headers[i].value.size);
        text[headers[i].value.size] = '\0';
        char *end;
        long long value = strtoll(text, &end, 10);
        return *end == '\0' ? value : -1;
    }
    return -1;
}

int64_t relay_record_offset(struct relay_record_maker *maker, int32_t partition, const struct bus_record *record,
                            const struct bus_header *headers, size_t header_count)
{
    enum event_kind kind = EVENT_KINDS;
    enum code code;
    struct event event;
    bool is_ledger = record->topic == TOPIC_LEDGER;
    if (is_ledger && codec_kind(maker->codec, record->value, &kind, &code, NULL) == LL_OK && kind == EVENT_LEDGER) {
        if (codec_read(maker->codec, kind, record->value, maker->scratch, &event, &code, NULL) != LL_OK)
            return -1;
        return event.ledger.run == maker->run && event.ledger.partition == partition ? event.ledger.offset : -1;
    }
    if (header_number(headers, header_count, "ll-run") != maker->run ||
        (!is_ledger && header_number(headers, header_count, "ll-valid-partition") != partition))
        return -1;
    return header_number(headers, header_count, is_ledger ? "ll-offset" : "ll-row-offset");
}
