#include "ops/verify.h"

#include "ops/letters.h"
#include "ops/scan.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>

enum { TRIES = 4, TRY_MS = 500 };

enum fate {
    FATE_RECORD = 1, /* a raw record lies there: no marker, not deleted */
    FATE_VALID = 2,
    FATE_DEAD = 4,
    FATE_WAITS = 8,    /* parked for a reference, not decided yet at the cut */
    FATE_TWICE = 16,   /* decided more than once */
    FATE_COUNTED = 32, /* its lines are known */
};

struct raw_record {
    uint8_t fate;
    int16_t
        lines; /* of the raw record, less those of the valid event and those dropped: 0 when all are accounted for */
};

/* One partition: its records from low up to the cut. */
struct raw_part {
    int64_t low, cut, retry_cut;
    struct raw_record *records;
    int64_t ahead,
        ahead_at; /* the highest raw offset at or beyond the cut that a valid record names, and where; -1: none */
};

struct raw_view {
    struct verify *verify;
    struct raw_part *parts;
    int32_t count;
    int64_t moved; /* valid records in another partition than their raw one */
    int64_t moved_partition, moved_offset, moved_raw;
};

static struct raw_record *record_at(struct raw_view *view, int64_t partition, int64_t offset)
{
    if (partition < 0 || partition >= view->count)
        return NULL;
    struct raw_part *part = &view->parts[partition];
    return offset >= part->low && offset < part->cut ? &part->records[offset - part->low] : NULL;
}

static bool read_event(struct raw_view *view, enum event_kind kind, struct text value, struct event *ret)
{
    enum code code = CODE_NONE;
    struct ll_err err = { "" };
    return codec_read(view->verify->codec, kind, value, view->verify->scratch, ret, &code, &err) == LL_OK;
}

static void decide(struct raw_record *record, enum fate fate)
{
    if ((record->fate & (FATE_VALID | FATE_DEAD)) != 0)
        record->fate |= FATE_TWICE;
    record->fate |= (uint8_t)fate;
}

static void see_raw(struct raw_view *view, const struct bus_record *record)
{
    struct raw_record *raw = record_at(view, record->partition, record->offset);
    if (raw == NULL)
        return;
    raw->fate |= FATE_RECORD;
    struct event event;
    if (!read_event(view, EVENT_TRANSACTION, record->value, &event))
        return;
    raw->fate |= FATE_COUNTED;
    raw->lines = (int16_t)(raw->lines + (int16_t)event.transaction.line_count);
}

static void see_parked(struct raw_view *view, struct kafka_reader *reader, const struct bus_record *record)
{
    struct bus_header headers[BUS_HEADERS_MAX];
    size_t count = kafka_reader_headers(reader, record, headers);
    struct raw_record *raw = record_at(view, scan_int(scan_header(headers, count, "ll-partition"), -1),
                                       scan_int(scan_header(headers, count, "ll-offset"), -1));
    if (raw != NULL && record->offset >= view->parts[record->partition].retry_cut)
        raw->fate |= FATE_WAITS;
}

/* Validate may have gone on since the cut, but never beyond the end of the raw topic. */
static void see_ahead(struct raw_view *view, const struct bus_record *record, int64_t raw_offset)
{
    struct raw_part *part = &view->parts[record->partition];
    if (raw_offset < part->cut || raw_offset < part->ahead)
        return;
    part->ahead = raw_offset;
    part->ahead_at = record->offset;
}

static void see_valid(struct raw_view *view, const struct bus_record *record)
{
    enum code code = CODE_NONE;
    struct event event;
    if (codec_schema_id(record->value, &code) != codec_own_id(view->verify->codec, EVENT_TRANSACTION_VALID) ||
        !read_event(view, EVENT_TRANSACTION_VALID, record->value, &event))
        return; /* a control record; anything else accrue refuses, and verify_fold looks at */
    const struct transaction *t = &event.transaction;
    if (!text_equal(t->raw_topic, text_of(topic_name(TOPIC_TRANSACTIONS))))
        return;
    struct raw_record *raw = record_at(view, t->raw_partition, t->raw_offset);
    if (raw == NULL) {
        see_ahead(view, record, t->raw_offset);
        return;
    }
    decide(raw, FATE_VALID);
    raw->lines = (int16_t)(raw->lines - (int16_t)t->line_count);
    if (t->raw_partition != record->partition && view->moved++ == 0) {
        view->moved_partition = record->partition;
        view->moved_offset = record->offset;
        view->moved_raw = t->raw_partition;
    }
}

static bool see(void *arg, struct kafka_reader *reader, const struct bus_record *record)
{
    struct raw_view *view = arg;
    if (record->partition >= view->count)
        return true;
    if (record->topic == TOPIC_TRANSACTIONS)
        see_raw(view, record);
    else if (record->topic == TOPIC_TRANSACTIONS_RETRY)
        see_parked(view, reader, record);
    else
        see_valid(view, record);
    return true;
}

static void see_letter(void *arg, const struct letter *letter)
{
    struct raw_view *view = arg;
    struct raw_record *raw = record_at(view, letter->origin_partition, letter->origin_offset);
    if (raw == NULL)
        return;
    if (letter->line_alone)
        raw->lines--;
    else
        decide(raw, FATE_DEAD);
}

/* First what validate has consumed, then what it wrote: everything below the cut has been decided by then. */
static enum ll_status take_cuts(struct raw_view *view, struct ll_err *err)
{
    struct line_view *line = &view->verify->view;
    struct line_part *raw = malloc(2 * sizeof(*raw));
    if (raw == NULL)
        abort();
    struct line_part *retry = raw + 1;
    enum ll_status status = line_ends(line, TOPIC_TRANSACTIONS, raw, err);
    if (status == LL_OK)
        status = line_ends(line, TOPIC_TRANSACTIONS_RETRY, retry, err);
    if (status == LL_OK)
        status = line_validated(line, retry, err);
    if (status == LL_OK)
        status = line_validated(line, raw, err);
    view->count = status == LL_OK ? raw->partitions : 0;
    view->parts = calloc((size_t)view->count + 1, sizeof(*view->parts));
    if (view->parts == NULL)
        abort();
    for (int32_t p = 0; p < view->count; p++) {
        struct raw_part *part = &view->parts[p];
        *part = (struct raw_part){ .low = raw->low[p],
                                   .cut = raw->at[p],
                                   .retry_cut = p < retry->partitions ? retry->at[p] : 0,
                                   .ahead = -1 };
        part->records = calloc((size_t)(part->cut - part->low) + 1, sizeof(*part->records));
        if (part->records == NULL)
            abort();
    }
    free(raw);
    return status;
}

static enum ll_status read_all(struct raw_view *view, struct ll_err *err)
{
    struct verify *verify = view->verify;
    static const enum topic topics[] = { TOPIC_TRANSACTIONS, TOPIC_TRANSACTIONS_RETRY,
                                         TOPIC_TRANSACTIONS_VALID };
    struct scan scan = { .topics = topics,
                         .topic_count = 3,
                         .doing = "reading transactions, raw and valid",
                         .each = see,
                         .arg = view };
    struct letter_filter filter = { .stage = TEXT("validate"), .topic = TOPIC_TRANSACTIONS };
    enum ll_status status = scan_run(verify->lens, &verify->view.topics, &scan, err);
    return status == LL_OK ? letters_each(verify->lens, &filter, see_letter, view, err) : status;
}

struct raw_sums {
    int64_t records, valid, dead, waits;
};

static void judge_record(struct check *records, struct check *lines, const struct raw_record *raw,
                         int32_t partition, int64_t offset, struct raw_sums *sums)
{
    bool valid = (raw->fate & FATE_VALID) != 0, dead = (raw->fate & FATE_DEAD) != 0;
    if ((raw->fate & FATE_RECORD) == 0) {
        if (valid || dead)
            verify_differs(records, "lens dlq list --topic transactions",
                           "transactions[%d] offset %lld was decided %s, but no such raw record lies there",
                           partition, (long long)offset, valid ? "valid" : "dead");
        return;
    }
    records->compared++;
    sums->records++;
    sums->valid += valid;
    sums->dead += dead;
    if ((raw->fate & FATE_TWICE) != 0)
        verify_differs(records, "lens dlq list --topic transactions",
                       "transactions[%d] offset %lld was read once but decided more than once (%s)",
                       partition, (long long)offset,
                       valid && dead ? "valid and dead"
                       : valid       ? "valid, again valid"
                                     : "dead, again dead");
    else if (!valid && !dead && (raw->fate & FATE_WAITS) == 0)
        verify_differs(records, "lens status",
                       "transactions[%d] offset %lld was read by validate, but is neither in "
                       "transactions.valid nor in dead-letter",
                       partition, (long long)offset);
    else
        sums->waits += !valid && !dead;
    if (!valid || (raw->fate & (FATE_COUNTED | FATE_TWICE)) != FATE_COUNTED)
        return;
    lines->compared++;
    if (raw->lines != 0)
        verify_differs(lines, "lens dlq list --topic transactions",
                       "transactions[%d] offset %lld: %d lines are %s", partition, (long long)offset,
                       abs(raw->lines),
                       raw->lines > 0 ? "neither valid nor dead" : "more than the raw record has");
}

static void judge(struct raw_view *view, struct check *records, struct check *lines)
{
    struct raw_sums sums = { 0 };
    for (int32_t p = 0; p < view->count; p++)
        for (int64_t at = 0; at < view->parts[p].cut - view->parts[p].low; at++)
            judge_record(records, lines, &view->parts[p].records[at], p, view->parts[p].low + at, &sums);
    if (view->moved > 0)
        verify_differs(
            records, "lens status", "transactions.valid[%lld] offset %lld came from raw partition %lld",
            (long long)view->moved_partition, (long long)view->moved_offset, (long long)view->moved_raw);
    if (sums.waits > 0)
        verify_note(records, "read %s = valid %s + dead %s + waiting for a reference %s",
                    lens_number(sums.records), lens_number(sums.valid), lens_number(sums.dead),
                    lens_number(sums.waits));
}

static enum ll_status judge_ahead(struct raw_view *view, struct check *records, struct ll_err *err)
{
    struct line_part *ends = malloc(sizeof(*ends));
    if (ends == NULL)
        abort();
    enum ll_status status = line_ends(&view->verify->view, TOPIC_TRANSACTIONS, ends, err);
    for (int32_t p = 0; status == LL_OK && p < view->count && p < ends->partitions; p++)
        if (view->parts[p].ahead >= ends->end[p])
            verify_differs(records, "lens status",
                           "transactions.valid[%d] offset %lld came from transactions[%d] offset %lld, but "
                           "no such raw record lies there",
                           p, (long long)view->parts[p].ahead_at, p, (long long)view->parts[p].ahead);
    free(ends);
    return status;
}

static enum ll_status one_try(struct verify *verify, struct check *records, struct check *lines,
                              struct ll_err *err)
{
    struct raw_view view = { .verify = verify };
    enum ll_status status = take_cuts(&view, err);
    if (status == LL_OK)
        status = read_all(&view, err);
    if (status == LL_OK)
        status = judge_ahead(&view, records, err);
    if (status == LL_OK)
        judge(&view, records, lines);
    for (int32_t p = 0; p < view.count; p++)
        free(view.parts[p].records);
    free(view.parts);
    return status;
}

/* A commit reaches the group's offsets and the topics at slightly different moments: what is missing is looked for again. */
enum ll_status verify_raw(struct verify *verify, struct ll_err *err)
{
    struct check *records =
        verify_check(verify, "conservation", "each raw transaction is valid or dead, once", "records");
    struct check *lines =
        verify_check(verify, "conservation of lines", "each of its lines is valid or dead, once", "events");
    struct check empty_records = *records, empty_lines = *lines;
    enum ll_status status = LL_OK;
    for (int try = 0; try < TRIES && status == LL_OK; try++) {
        if (try > 0)
            poll(NULL, 0, TRY_MS);
        *records = empty_records;
        *lines = empty_lines;
        status = one_try(verify, records, lines, err);
        if (records->different + lines->different == 0)
            break;
    }
    return status;
}
