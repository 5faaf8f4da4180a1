#include "ops/verify.h"

#include "consumers/accrue/relay_record.h"
#include "ops/scan.h"

#include <stdlib.h>
#include <string.h>

/*
 * The relay's topics are read whole first, then Postgres is streamed beside them. Only what lies below the
 * cut counts: where the relay's group stood before the topics were read, and the ledger when verify began.
 */

/* A record of ledger or dead-letter, or the row that it must be. */
struct relayed {
    int64_t offset;
    int32_t seq;
    uint64_t print; /* of all that it says */
};

struct relayed_part {
    int64_t cut;
    struct relayed *list; /* in the topic's order */
    size_t count, capacity, at;
};

struct relay_view {
    struct verify *verify;
    struct relay_record_maker *maker;
    struct check *ledger_check, *dead_check;
    struct relayed_part *ledger, *dead; /* by partition */
    char *again;                        /* a value written anew */
    size_t again_capacity;
};

static uint64_t print_more(uint64_t print, struct text text)
{
    print = (print ^ (text.data == NULL ? UINT32_MAX : text.size)) * UINT64_C(1099511628211);
    for (uint32_t i = 0; i < text.size; i++)
        print = (print ^ (unsigned char)text.data[i]) * UINT64_C(1099511628211);
    return print;
}

static void keep(struct check *check, struct relayed_part *part, int32_t partition, const struct relayed *one)
{
    if (part->count > 0) {
        const struct relayed *last = &part->list[part->count - 1];
        if (one->offset < last->offset || (one->offset == last->offset && one->seq <= last->seq)) {
            verify_differs(check, "lens status",
                           "partition %d: row %lld/%d lies behind %lld/%d: twice, or out of order", partition,
                           (long long)one->offset, one->seq, (long long)last->offset, last->seq);
            return;
        }
    }
    if (one->offset >= part->cut)
        return;
    if (part->count == part->capacity) {
        part->capacity = part->capacity == 0 ? 1024 : 2 * part->capacity;
        part->list = realloc(part->list, part->capacity * sizeof(*part->list));
        if (part->list == NULL)
            abort();
    }
    part->list[part->count++] = *one;
}

/* An older schema's bytes are others: what was read is written anew. */
static uint64_t ledger_print(struct relay_view *view, const struct bus_record *record,
                             const struct event *event)
{
    size_t needed = codec_size_max(event);
    if (needed > view->again_capacity) {
        free(view->again);
        view->again_capacity = 2 * needed;
        view->again = malloc(view->again_capacity);
        if (view->again == NULL)
            abort();
    }
    size_t size = codec_write(view->verify->codec, event, view->again, view->again_capacity);
    uint64_t print = print_more((uint64_t)record->timestamp_ms, record->key);
    return print_more(print, (struct text){view->again, (uint32_t)size});
}

static void see_ledger(struct relay_view *view, const struct bus_record *record)
{
    struct event event;
    enum code code;
    enum event_kind kind = EVENT_KINDS;
    struct ll_err err = {""};
    if (codec_kind(view->verify->codec, record->value, &kind, &code, &err) == LL_OK && kind == EVENT_CONTROL)
        return; /* a TICK */
    if (codec_read(view->verify->codec, EVENT_LEDGER, record->value, view->verify->scratch, &event, &code,
                   &err) != LL_OK) {
        verify_differs(view->ledger_check, "lens status", "%s %d/%lld is no posting: %s",
                       topic_name(record->topic), record->partition, (long long)record->offset, err.text);
        return;
    }
    if (event.ledger.run != view->verify->lens->config.program.run ||
        record->partition >= view->verify->partitions)
        return;
    struct relayed one = {event.ledger.offset, event.ledger.seq, ledger_print(view, record, &event)};
    keep(view->ledger_check, &view->ledger[record->partition], record->partition, &one);
}

static void see_dead(struct relay_view *view, struct kafka_reader *reader, const struct bus_record *record)
{
    struct bus_header headers[BUS_HEADERS_MAX];
    size_t count = kafka_reader_headers(reader, record, headers);
    int64_t partition = scan_int(scan_header(headers, count, "ll-valid-partition"), -1);
    if (!text_equal(scan_header(headers, count, "ll-stage"), TEXT("accrue")) ||
        scan_int(scan_header(headers, count, "ll-run"), -1) != view->verify->lens->config.program.run ||
        partition < 0 || partition >= view->verify->partitions)
        return;
    uint64_t print = print_more((uint64_t)record->timestamp_ms, scan_header(headers, count, "ll-codes"));
    struct relayed one = {scan_int(scan_header(headers, count, "ll-row-offset"), -1),
                          (int32_t)scan_int(scan_header(headers, count, "ll-row-seq"), -1),
                          print_more(print, scan_header(headers, count, "ll-message"))};
    keep(view->dead_check, &view->dead[partition], (int32_t)partition, &one);
}

static bool see(void *arg, struct kafka_reader *reader, const struct bus_record *record)
{
    struct relay_view *view = arg;
    if (record->topic == TOPIC_LEDGER)
        see_ledger(view, record);
    else
        see_dead(view, reader, record);
    return true;
}

/* The next row of Postgres: the topic's next record must be it. */
static void compare(struct check *check, struct relayed_part *part, int32_t partition,
                    const struct relayed *row, const char *topic)
{
    if (row->offset >= part->cut)
        return;
    check->compared++;
    while (part->at < part->count &&
           (part->list[part->at].offset < row->offset ||
            (part->list[part->at].offset == row->offset && part->list[part->at].seq < row->seq))) {
        const struct relayed *extra = &part->list[part->at++];
        verify_differs(check, "lens status",
                       "partition %d: row %lld/%d is in the topic %s and not in Postgres", partition,
                       (long long)extra->offset, extra->seq, topic);
    }
    const struct relayed *found = part->at < part->count ? &part->list[part->at] : NULL;
    if (found == NULL || found->offset != row->offset || found->seq != row->seq) {
        verify_differs(check, "lens status",
                       "partition %d: row %lld/%d is in Postgres and not in the topic %s, though the relay "
                       "stands at %lld",
                       partition, (long long)row->offset, row->seq, topic, (long long)part->cut);
        return;
    }
    if (found->print != row->print)
        verify_differs(check, "lens status", "partition %d: row %lld/%d says something else in the topic %s",
                       partition, (long long)row->offset, row->seq, topic);
    part->at++;
}

static void see_row(void *arg, const struct posting *posting)
{
    struct relay_view *view = arg;
    struct bus_out out;
    if (posting->partition < 0 || posting->partition >= view->verify->partitions ||
        posting->offset >= view->ledger[posting->partition].cut)
        return;
    relay_record_posting(view->maker, posting, &out);
    struct relayed row = {posting->offset, posting->seq,
                          print_more(print_more((uint64_t)out.timestamp_ms, out.key), out.value)};
    compare(view->ledger_check, &view->ledger[posting->partition], posting->partition, &row,
            topic_name(TOPIC_LEDGER));
}

static enum ll_status compare_dead(struct relay_view *view, struct ll_err *err)
{
    struct postgres_rows *rows = NULL;
    enum ll_status status = verify_query(
        view->verify,
        "select source_partition, source_offset, seq, timestamp_ms, codes, coalesce(message, '') as message"
        " from loyalty.dead_letters where run_id = $1::int order by 1, 2, 3",
        &rows, err);
    if (status != LL_OK)
        return status;
    for (size_t i = 0; i < postgres_rows_count(rows); i++) {
        int32_t partition = (int32_t)postgres_rows_int(rows, i, "source_partition");
        uint64_t print = print_more((uint64_t)postgres_rows_int(rows, i, "timestamp_ms"),
                                    postgres_rows_text(rows, i, "codes"));
        struct relayed row = {postgres_rows_int(rows, i, "source_offset"),
                              (int32_t)postgres_rows_int(rows, i, "seq"),
                              print_more(print, postgres_rows_text(rows, i, "message"))};
        if (partition >= 0 && partition < view->verify->partitions)
            compare(view->dead_check, &view->dead[partition], partition, &row, topic_name(TOPIC_DEAD_LETTER));
    }
    postgres_rows_free(rows);
    return LL_OK;
}

static void compare_rest(struct check *check, struct relayed_part *part, int32_t partition, const char *topic)
{
    for (; part->at < part->count; part->at++)
        verify_differs(check, "lens status",
                       "partition %d: row %lld/%d is in the topic %s and not in Postgres", partition,
                       (long long)part->list[part->at].offset, part->list[part->at].seq, topic);
}

static enum ll_status take_cuts(struct relay_view *view, struct ll_err *err)
{
    struct verify *verify = view->verify;
    struct line_part *part = malloc(sizeof(*part));
    if (part == NULL)
        abort();
    enum ll_status status = line_ends(&verify->view, TOPIC_TRANSACTIONS_VALID, part, err);
    if (status == LL_OK)
        status = line_relayed(&verify->view, part, err);
    int64_t behind = 0;
    for (int32_t p = 0; status == LL_OK && p < verify->partitions && p < part->partitions; p++) {
        int64_t next = verify->cuts[p].known ? verify->cuts[p].next_offset : 0;
        view->ledger[p].cut = view->dead[p].cut = part->at[p] < next ? part->at[p] : next;
        behind += next - view->ledger[p].cut;
    }
    if (behind > 0)
        verify_note(view->ledger_check, "the relay has %s offsets to go; rows from there on were left out",
                    lens_number(behind));
    free(part);
    return status;
}

static enum ll_status read_all(struct relay_view *view, struct ll_err *err)
{
    static const enum topic topics[] = {TOPIC_LEDGER, TOPIC_DEAD_LETTER};
    struct verify *verify = view->verify;
    struct scan scan = {topics, 2, NULL, 0, "reading the ledger's topic", see, view};
    enum ll_status status = take_cuts(view, err);
    if (status == LL_OK)
        status = scan_run(verify->lens, &verify->view.topics, &scan, err);
    if (status == LL_OK)
        status = postgres_postings(verify->postgres, verify->lens->config.program.run, see_row, view, err);
    if (status == LL_OK)
        status = compare_dead(view, err);
    for (int32_t p = 0; status == LL_OK && p < verify->partitions; p++) {
        compare_rest(view->ledger_check, &view->ledger[p], p, topic_name(TOPIC_LEDGER));
        compare_rest(view->dead_check, &view->dead[p], p, topic_name(TOPIC_DEAD_LETTER));
    }
    return status;
}

enum ll_status verify_relay(struct verify *verify, struct ll_err *err)
{
    struct relay_view view = {
        .verify = verify,
        .maker = malloc(sizeof(*view.maker)),
        .ledger = calloc((size_t)verify->partitions + 1, sizeof(*view.ledger)),
        .dead = calloc((size_t)verify->partitions + 1, sizeof(*view.dead)),
    };
    if (view.maker == NULL || view.ledger == NULL || view.dead == NULL)
        abort();
    view.ledger_check =
        verify_check(verify, "relay",
                     "each ledger row that is relayed lies in the topic ledger, once and in order", "rows");
    view.dead_check =
        verify_check(verify, "relay of refusals", "and what accrue refused in dead-letter", "rows");
    relay_record_init(view.maker, verify->codec, verify->lens->config.program.run, "", 1);
    enum ll_status status = read_all(&view, err);
    lens_progress_end(verify->lens);
    relay_record_done(view.maker);
    for (int32_t p = 0; p < verify->partitions; p++) {
        free(view.ledger[p].list);
        free(view.dead[p].list);
    }
    free(view.ledger);
    free(view.dead);
    free(view.maker);
    free(view.again);
    return status;
}
