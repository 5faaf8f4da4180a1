#include "ops/letters.h"

#include "ops/event_json.h"
#include "ops/reach.h"
#include "ops/scan.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char accrue_prefix[] = "accrue/";

bool letter_ref_parse(const char *text, struct letter_ref *ret)
{
    char kafka_prefix[TOPIC_NAME_SIZE + 1];
    snprintf(kafka_prefix, sizeof(kafka_prefix), "%s/", topic_name(TOPIC_DEAD_LETTER));
    struct letter_ref ref = { .accrue = strncmp(text, accrue_prefix, strlen(accrue_prefix)) == 0 };
    if (!ref.accrue && strncmp(text, kafka_prefix, strlen(kafka_prefix)) != 0)
        return false;
    int64_t numbers[3] = { 0, 0, 0 };
    int wanted = ref.accrue ? 3 : 2;
    const char *at = strchr(text, '/') + 1;
    for (int i = 0; i < wanted; i++) {
        size_t size = strcspn(at, "/");
        numbers[i] = scan_int((struct text){ at, (uint32_t)size }, -1);
        bool last = i + 1 == wanted;
        if (numbers[i] < 0 || (at[size] == '\0') != last)
            return false;
        at += size + 1;
    }
    if (numbers[0] > INT32_MAX || numbers[2] > INT32_MAX)
        return false;
    ref.partition = (int32_t)numbers[0];
    ref.offset = numbers[1];
    ref.seq = (int32_t)numbers[2];
    *ret = ref;
    return true;
}

char *letter_ref_write(const struct letter_ref *ref, char to[LETTER_REF_SIZE])
{
    if (ref->accrue)
        snprintf(to, LETTER_REF_SIZE, "%s%d/%lld/%d", accrue_prefix, ref->partition, (long long)ref->offset,
                 ref->seq);
    else
        snprintf(to, LETTER_REF_SIZE, "%s/%d/%lld", topic_name(TOPIC_DEAD_LETTER), ref->partition,
                 (long long)ref->offset);
    return to;
}

static enum topic origin_of(struct text name)
{
    char text[TOPIC_NAME_SIZE];
    if (name.data == NULL || name.size >= sizeof(text))
        return TOPIC_COUNT;
    memcpy(text, name.data, name.size);
    text[name.size] = '\0';
    return topic_find(text);
}

static uint64_t codes_of(struct text list)
{
    uint64_t set = 0;
    for (uint32_t at = 0; list.data != NULL && at < list.size;) {
        const char *comma = memchr(list.data + at, ',', list.size - at);
        uint32_t size = comma == NULL ? list.size - at : (uint32_t)(comma - list.data) - at;
        enum code code = code_find((struct text){ list.data + at, size });
        if (code != CODE_NONE)
            set |= code_bit(code);
        at += size + 1;
    }
    return set;
}

static bool wanted(const struct letter_filter *filter, const struct letter *letter)
{
    if (filter->codes != 0 && (filter->codes & letter->codes) == 0)
        return false;
    if (filter->stage.data != NULL && !text_equal(filter->stage, letter->stage))
        return false;
    if (filter->topic != TOPIC_COUNT && filter->topic != letter->origin)
        return false;
    return filter->since_ms == 0 || letter->dead_at_ms >= filter->since_ms;
}

void letter_of(const struct bus_record *record, const struct bus_header *headers, size_t count, struct letter *ret)
{
    *ret = (struct letter){
        .ref = { .partition = record->partition, .offset = record->offset },
        .codes_text = scan_header(headers, count, "ll-codes"),
        .stage = scan_header(headers, count, "ll-stage"),
        .message = scan_header(headers, count, "ll-message"),
        .topic = scan_header(headers, count, "ll-topic"),
        .origin_partition = (int32_t)scan_int(scan_header(headers, count, "ll-partition"), -1),
        .origin_offset = scan_int(scan_header(headers, count, "ll-offset"), -1),
        .timestamp_ms = scan_int(scan_header(headers, count, "ll-timestamp"), record->timestamp_ms),
        .dead_at_ms = scan_int(scan_header(headers, count, "ll-first-at"), record->timestamp_ms),
        .file = scan_header(headers, count, "ll-file"),
        .row = scan_header(headers, count, "ll-line"),
        .key = record->key,
        .value = record->value,
        .headers = headers,
        .header_count = count,
        .event_offset = -1,
    };
    ret->codes = codes_of(ret->codes_text);
    ret->origin = origin_of(ret->topic);
    ret->line_alone = ret->file.data == NULL && ret->row.data != NULL;
}

struct kafka_letters {
    const struct letter_filter *filter;
    letter_fn *each;
    void *arg;
};

static bool kafka_letter(void *arg, struct kafka_reader *reader, const struct bus_record *record)
{
    struct kafka_letters *letters = arg;
    const struct letter_ref *only = letters->filter->ref;
    if (only != NULL && (record->partition != only->partition || record->offset != only->offset))
        return record->partition != only->partition || record->offset < only->offset;
    struct bus_header headers[BUS_HEADERS_MAX];
    size_t count = kafka_reader_headers(reader, record, headers);
    struct letter letter;
    letter_of(record, headers, count, &letter);
    /* What accrue refused lies in loyalty.dead too, from the moment it was committed: there it is read, and only there. */
    if (only == NULL && text_equal(letter.stage, TEXT("accrue")))
        return true;
    if (wanted(letters->filter, &letter))
        letters->each(letters->arg, &letter);
    return only == NULL;
}

static enum ll_status each_kafka(struct lens *lens, const struct letter_filter *filter, letter_fn *each,
                                 void *arg, struct ll_err *err)
{
    struct topics topics;
    char path[2 * CONFIG_TEXT_SIZE];
    enum ll_status status =
        topics_load(config_share_path(&lens->config, "topics.conf", path, sizeof(path)), &topics, err);
    if (status != LL_OK)
        return status;
    enum topic which = TOPIC_DEAD_LETTER;
    struct kafka_letters letters = { filter, each, arg };
    struct bus_position start = { TOPIC_DEAD_LETTER, 0, 0 };
    struct scan scan = { &which, 1, &start, 0, "reading dead letters", kafka_letter, &letters };
    if (filter->ref != NULL) {
        start.partition = filter->ref->partition;
        start.offset = filter->ref->offset;
        scan.start_count = 1;
    }
    return scan_run(lens, &topics, &scan, err);
}

/* Postgres's text form of bytea, "\x0aff", into bytes that the caller frees; null stays null. */
static struct text bytes_of(struct text hex)
{
    if (hex.data == NULL || hex.size < 2)
        return (struct text){ NULL, 0 };
    uint32_t size = (hex.size - 2) / 2;
    char *bytes = malloc(size + 1u);
    if (bytes == NULL)
        abort();
    for (uint32_t i = 0; i < size; i++) {
        unsigned char pair[2] = { (unsigned char)hex.data[2 + 2 * i], (unsigned char)hex.data[3 + 2 * i] };
        unsigned value = 0;
        for (int k = 0; k < 2; k++)
            value = value << 4 | (pair[k] <= '9' ? pair[k] - (unsigned)'0' : (pair[k] | 0x20u) - 'a' + 10);
        bytes[i] = (char)value;
    }
    bytes[size] = '\0';
    return (struct text){ bytes, size };
}

static int64_t be32(const char *at)
{
    const unsigned char *b = (const unsigned char *)at;
    return (int32_t)((uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3]);
}

size_t letter_headers(struct text kept, struct bus_header ret[BUS_HEADERS_MAX])
{
    size_t count = 0;
    uint32_t at = 0;
    while (kept.data != NULL && count < BUS_HEADERS_MAX) {
        struct text parts[2] = { { NULL, 0 }, { NULL, 0 } };
        for (int i = 0; i < 2; i++) {
            if (kept.size - at < 4)
                return count;
            int64_t size = be32(kept.data + at);
            at += 4;
            if (size > (int64_t)(kept.size - at))
                return count;
            if (size >= 0) {
                parts[i] = (struct text){ kept.data + at, (uint32_t)size };
                at += (uint32_t)size;
            }
        }
        ret[count++] = (struct bus_header){ parts[0], parts[1] };
    }
    return count;
}

static void accrue_letter(const struct postgres_rows *rows, size_t row, const struct letter_filter *filter,
                          letter_fn *each, void *arg)
{
    struct text key = bytes_of(postgres_rows_text(rows, row, "key"));
    struct text value = bytes_of(postgres_rows_text(rows, row, "value"));
    struct text kept = bytes_of(postgres_rows_text(rows, row, "headers"));
    struct bus_header headers[BUS_HEADERS_MAX];
    struct letter letter = {
        .ref = { true, (int32_t)postgres_rows_int(rows, row, "source_partition"),
                 postgres_rows_int(rows, row, "source_offset"),
                 (int32_t)postgres_rows_int(rows, row, "seq") },
        .codes_text = postgres_rows_text(rows, row, "codes"),
        .stage = TEXT("accrue"),
        .message = postgres_rows_text(rows, row, "message"),
        .topic = postgres_rows_text(rows, row, "raw_topic"),
        .origin_partition = (int32_t)postgres_rows_int(rows, row, "raw_partition"),
        .origin_offset = postgres_rows_int(rows, row, "raw_offset"),
        .timestamp_ms = postgres_rows_int(rows, row, "timestamp_ms"),
        .dead_at_ms = postgres_rows_int(rows, row, "refused_ms"),
        .event_offset = postgres_rows_int(rows, row, "event_offset"),
        .key = key,
        .value = value,
        .headers = headers,
        .header_count = letter_headers(kept, headers),
    };
    letter.codes = codes_of(letter.codes_text);
    letter.origin = origin_of(letter.topic);
    if (wanted(filter, &letter))
        each(arg, &letter);
    free((void *)(uintptr_t)key.data);
    free((void *)(uintptr_t)value.data);
    free((void *)(uintptr_t)kept.data);
}

enum { ROWS_A_TIME = 1000 };

/* Page by page, since a row carries its whole record. */
static enum ll_status each_accrue(struct lens *lens, const struct letter_filter *filter, letter_fn *each,
                                  void *arg, struct ll_err *err)
{
    struct postgres *postgres = NULL;
    enum ll_status status = postgres_open(&lens->config, "lens", &postgres, err);
    struct letter_ref after = { true, -1, -1, -1 };
    for (bool more = true; status == LL_OK && more;) {
        char run[16], partition[16], offset[24], seq[16], limit[16];
        const struct letter_ref *from = filter->ref != NULL ? filter->ref : &after;
        snprintf(run, sizeof(run), "%d", lens->config.program.run);
        snprintf(partition, sizeof(partition), "%d", from->partition);
        snprintf(offset, sizeof(offset), "%lld", (long long)from->offset);
        snprintf(seq, sizeof(seq), "%d", filter->ref != NULL ? from->seq - 1 : from->seq);
        snprintf(limit, sizeof(limit), "%d", filter->ref != NULL ? 1 : ROWS_A_TIME);
        const char *params[] = { run, partition, offset, seq, limit };
        struct postgres_rows *rows = NULL;
        status = postgres_query(postgres,
                                "select * from loyalty.dead_letters where run_id = $1::int"
                                " and (source_partition, source_offset, seq) > ($2::int, $3::bigint, $4::int)"
                                " order by source_partition, source_offset, seq limit $5::int",
                                params, 5, &rows, err);
        if (status != LL_OK)
            break;
        size_t count = postgres_rows_count(rows);
        more = filter->ref == NULL && count == ROWS_A_TIME;
        for (size_t i = 0; i < count; i++) {
            after.partition = (int32_t)postgres_rows_int(rows, i, "source_partition");
            after.offset = postgres_rows_int(rows, i, "source_offset");
            after.seq = (int32_t)postgres_rows_int(rows, i, "seq");
            if (filter->ref == NULL || (after.partition == filter->ref->partition &&
                                        after.offset == filter->ref->offset && after.seq == filter->ref->seq))
                accrue_letter(rows, i, filter, each, arg);
        }
        postgres_rows_free(rows);
    }
    postgres_close(postgres);
    return status;
}

enum ll_status letters_each(struct lens *lens, const struct letter_filter *filter, letter_fn *each, void *arg,
                            struct ll_err *err)
{
    bool ask_kafka = filter->ref == NULL ? !text_equal(filter->stage, TEXT("accrue")) : !filter->ref->accrue;
    bool ask_accrue = filter->ref == NULL ? filter->stage.data == NULL || !ask_kafka : filter->ref->accrue;
    enum ll_status status = ask_kafka ? each_kafka(lens, filter, each, arg, err) : LL_OK;
    if (status == LL_OK && ask_accrue)
        status = each_accrue(lens, filter, each, arg, err);
    return status;
}

static bool read_event(const struct letter *letter, struct codec *codec, struct codec_scratch *scratch, struct event *ret)
{
    enum event_kind kind = EVENT_TRANSACTION;
    if (letter->ref.accrue || text_equal(letter->stage, TEXT("accrue")))
        kind = EVENT_TRANSACTION_VALID;
    else if (letter->origin_offset < 0 || !event_kind_of(letter->origin, &kind))
        return false;
    enum code code = CODE_NONE;
    struct ll_err err = { "" };
    return letter->value.data != NULL &&
           codec_read(codec, kind, letter->value, scratch, ret, &code, &err) == LL_OK;
}

bool letter_event(const struct letter *letter, struct codec *codec, struct codec_scratch *scratch,
                  struct event *ret)
{
    return (letter->codes & code_bit(CODE_RECORD_CRASHED)) == 0 && read_event(letter, codec, scratch, ret);
}

struct text letter_event_id(const struct event *event, struct text *ret_source_ref)
{
    *ret_source_ref = (struct text){ NULL, 0 };
    if (event->kind == EVENT_TRANSACTION || event->kind == EVENT_TRANSACTION_VALID) {
        *ret_source_ref = event->transaction.source_ref;
        return event->transaction.transaction_id;
    }
    if (event->kind == EVENT_CUSTOMER) {
        *ret_source_ref = event->customer.source_ref;
        return event->customer.customer_id;
    }
    if (event->kind == EVENT_PRODUCT) {
        *ret_source_ref = event->product.source_ref;
        return event->product.product_id;
    }
    if (event->kind == EVENT_STORE) {
        *ret_source_ref = event->store.source_ref;
        return event->store.store_id;
    }
    if (event->kind == EVENT_PROMOTION) {
        *ret_source_ref = event->promotion.source_ref;
        return event->promotion.promotion_id;
    }
    return (struct text){ NULL, 0 };
}

int64_t letter_event_lines(const struct transaction *transaction)
{
    return transaction->line_count > 0 ? (int64_t)transaction->line_count : 1;
}

int64_t letter_lines(const struct letter *letter, struct codec *codec, struct codec_scratch *scratch)
{
    if (letter->origin != TOPIC_TRANSACTIONS && letter->origin != TOPIC_TRANSACTIONS_RETRY &&
        letter->origin != TOPIC_COUNT)
        return 0;
    struct event event;
    if (letter->line_alone || !read_event(letter, codec, scratch, &event))
        return 1;
    return letter_event_lines(&event.transaction);
}
