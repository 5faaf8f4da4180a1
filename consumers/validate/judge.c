#include "consumers/validate/loop.h"

#include "runtime/kafka.h"
#include "runtime/log.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* One raw record while it is judged. */
struct hearing {
    const struct bus_record *record;
    struct bus_header headers[BUS_HEADERS_MAX];
    size_t header_count;
    struct origin origin;
};

static enum event_kind kind_of(enum topic topic)
{
    switch ((int)topic) {
    case TOPIC_CUSTOMERS:
    case TOPIC_CUSTOMERS_VALID:
        return EVENT_CUSTOMER;
    case TOPIC_PRODUCTS:
    case TOPIC_PRODUCTS_VALID:
        return EVENT_PRODUCT;
    case TOPIC_STORES:
    case TOPIC_STORES_VALID:
        return EVENT_STORE;
    case TOPIC_PROMOTIONS:
    case TOPIC_PROMOTIONS_VALID:
        return EVENT_PROMOTION;
    case TOPIC_INVENTORY:
        return EVENT_INVENTORY;
    default:
        return EVENT_TRANSACTION;
    }
}

static enum topic valid_of(enum topic raw)
{
    switch ((int)raw) {
    case TOPIC_CUSTOMERS:
        return TOPIC_CUSTOMERS_VALID;
    case TOPIC_PRODUCTS:
        return TOPIC_PRODUCTS_VALID;
    case TOPIC_STORES:
        return TOPIC_STORES_VALID;
    case TOPIC_PROMOTIONS:
        return TOPIC_PROMOTIONS_VALID;
    case TOPIC_INVENTORY:
        return TOPIC_INVENTORY_VALID;
    default:
        return TOPIC_TRANSACTIONS_VALID;
    }
}

static void count_codes(struct validate *v, uint64_t codes)
{
    for (int code = 1; code < CODE_COUNT; code++)
        v->tally.codes[code] += (codes & code_bit((enum code)code)) != 0;
}

/* Bytes of a record in a log line are never ours: only where it stands is told. */
static enum ll_status send_dead(struct validate *v, const struct hearing *hearing, uint64_t codes, int line,
                                int32_t line_no, struct ll_err *err)
{
    enum code frame_code;
    const struct origin *origin = &hearing->origin;
    struct dead_letter letter = {
        .origin = *origin,
        .codes = codes,
        .message = v->message,
        .group = v->needs.group,
        .schema_id = codec_schema_id(hearing->record->value, &frame_code),
        .line = line,
        .line_no = line_no,
    };
    dead_headers_make(&letter, v->needs.settings, hearing->headers, hearing->header_count, &v->headers);
    struct bus_out out = {
        .topic = TOPIC_DEAD_LETTER,
        .partition = origin->partition % v->needs.topics->facts[TOPIC_DEAD_LETTER].partitions,
        .timestamp_ms = origin->timestamp_ms,
        .key = hearing->record->key,
        .value = hearing->record->value,
        .headers = v->headers.list,
        .header_count = v->headers.count,
    };
    v->tally.outcomes[origin->topic][line >= 0 ? OUTCOME_LINE_DEAD : OUTCOME_DEAD]++;
    count_codes(v, codes);
    enum ll_status status = batch_send(v, &out, err);
    if (status != LL_POISON)
        return status;
    /* With our headers it is beyond the broker's limit: the value stays where it came from, ll-offset says
     * where. */
    assert(v->headers.count < DEAD_HEADERS_MAX);
    v->headers.list[v->headers.count++] = (struct bus_header){TEXT("ll-value-omitted"), TEXT("too large")};
    out.header_count = v->headers.count;
    out.value = (struct text){NULL, 0};
    return batch_send(v, &out, err);
}

/* Counts the verdict on the whole record; the partition in which too much is refused stops here. */
static enum ll_status count_verdict(struct validate *v, const struct hearing *hearing,
                                    const struct settings_source *source, bool refused, struct ll_err *err)
{
    struct part *part = part_of(v, hearing->origin.topic, hearing->origin.partition);
    if (part == NULL || v->needs.config->validate.refused_percent >= 100)
        return LL_OK;
    bool counts = refused && (source == NULL || !source->allow_refused);
    return breaker_add(&part->breaker, counts) ? part_refused_too_much(v, part, err) : LL_OK;
}

static enum ll_status send_valid(struct validate *v, const struct hearing *hearing, const struct event *event,
                                 struct text key, int32_t partition, struct ll_err *err)
{
    enum topic raw = hearing->origin.topic;
    struct bus_out out = {
        .topic = valid_of(raw),
        .partition = partition,
        .timestamp_ms = hearing->origin.timestamp_ms,
        .key = key,
        .value = batch_encode(v, event),
    };
    assert(out.value.size > 0);
    v->tally.outcomes[raw][OUTCOME_VALID]++;
    return batch_send(v, &out, err);
}

static enum ll_status send_retry(struct validate *v, const struct hearing *hearing, struct ll_err *err)
{
    retry_headers_make(&hearing->origin, hearing->headers, hearing->header_count, &v->headers);
    struct bus_out out = {
        .topic = TOPIC_TRANSACTIONS_RETRY,
        .partition = hearing->origin.partition,
        .timestamp_ms = hearing->origin.timestamp_ms,
        .key = hearing->record->key,
        .value = hearing->record->value,
        .headers = v->headers.list,
        .header_count = v->headers.count,
    };
    v->tally.outcomes[hearing->origin.topic][OUTCOME_RETRY]++;
    /* Left out, the few bad ones that need no reference to be refused would be nearly all that is counted. */
    struct part *part = part_of(v, hearing->origin.topic, hearing->origin.partition);
    if (part != NULL)
        breaker_wait(&part->breaker);
    return batch_send(v, &out, err);
}

static struct text key_of(const struct transaction *transaction)
{
    if (transaction->customer_id.size > 0)
        return transaction->customer_id;
    return transaction->original_transaction_id.size > 0 ? transaction->original_transaction_id
                                                         : transaction->transaction_id;
}

static enum ll_status accept_transaction(struct validate *v, const struct hearing *hearing,
                                         struct event *event, struct ll_err *err)
{
    struct transaction *transaction = &event->transaction;
    event->kind = EVENT_TRANSACTION_VALID;
    transaction->content_hash = transaction_content_hash(transaction);
    transaction->raw_topic = text_of(topic_name(hearing->origin.topic));
    transaction->raw_partition = hearing->origin.partition;
    transaction->raw_offset = hearing->origin.offset;
    transaction->attempt = hearing->origin.attempt;
    return send_valid(v, hearing, event, key_of(transaction), hearing->origin.partition, err);
}

/* Each bad line is a dead letter of its own, the rest goes on. */
static enum ll_status drop_lines(struct validate *v, const struct hearing *hearing,
                                 const struct quality_frame *frame, struct transaction *transaction,
                                 struct ll_err *err)
{
    for (uint32_t i = 0; i < transaction->line_count; i++) {
        if (v->verdict.line_codes[i] == 0)
            continue;
        quality_words(frame, transaction, &v->verdict, (int)i, v->message, sizeof v->message);
        enum ll_status status =
            send_dead(v, hearing, v->verdict.line_codes[i], (int)i, transaction->lines[i].line_no, err);
        if (status != LL_OK)
            return status;
    }
    quality_drop_lines(transaction, &v->verdict);
    return LL_OK;
}

/* Nothing that was sent before the record's time was up can still be unknown to us. */
static bool grace_is_over(const struct validate *v, const struct origin *origin)
{
    return v->known_ms >= origin->timestamp_ms + v->needs.config->validate.grace_ms;
}

static enum ll_status judge_transaction(struct validate *v, const struct hearing *hearing,
                                        struct event *event, bool *ret_wait, struct ll_err *err)
{
    struct transaction *transaction = &event->transaction;
    struct quality_frame frame = {
        .source = settings_find(v->needs.settings, transaction->source),
        .references = v->references,
        .calendar = v->needs.calendar,
        .currency = v->currency,
        .arrived_ms = hearing->origin.first_at_ms,
    };
    quality_check(&frame, transaction, &v->verdict);
    if (v->verdict.codes == 0) {
        enum ll_status status = count_verdict(v, hearing, frame.source, false, err);
        return status == LL_OK ? accept_transaction(v, hearing, event, err) : status;
    }
    if (v->verdict.missing && !grace_is_over(v, &hearing->origin)) {
        *ret_wait = hearing->record->topic == TOPIC_TRANSACTIONS_RETRY;
        return *ret_wait ? LL_OK : send_retry(v, hearing, err);
    }
    bool refused = v->verdict.record_codes != 0 || !frame.source->reject_line;
    /* For the partition, a transaction that lost half of its lines is refused. */
    bool is_bad = refused || 2 * v->verdict.bad_line_count >= transaction->line_count;
    enum ll_status status = count_verdict(v, hearing, frame.source, is_bad, err);
    if (status == LL_OK && refused) {
        quality_words(&frame, transaction, &v->verdict, QUALITY_ALL, v->message, sizeof v->message);
        return send_dead(v, hearing, v->verdict.codes, -1, 0, err);
    }
    if (status == LL_OK)
        status = drop_lines(v, hearing, &frame, transaction, err);
    return status == LL_OK ? accept_transaction(v, hearing, event, err) : status;
}

static struct text reference_key(const struct event *event, struct text *ret_id, char *to, size_t size)
{
    struct text id = {NULL, 0};
    int64_t from_ms = 0;
    switch ((int)event->kind) {
    case EVENT_CUSTOMER:
        id = event->customer.customer_id;
        from_ms = event->customer.effective_from_ms;
        break;
    case EVENT_PRODUCT:
        id = event->product.product_id;
        from_ms = event->product.effective_from_ms;
        break;
    case EVENT_STORE:
        id = event->store.store_id;
        from_ms = event->store.effective_from_ms;
        break;
    case EVENT_PROMOTION:
        id = event->promotion.promotion_id;
        from_ms = event->promotion.effective_from_ms;
        break;
    default:
        break;
    }
    int written;
    if (event->kind == EVENT_INVENTORY) {
        id = event->inventory.store_id;
        written = snprintf(to, size, "%.*s|%.*s|%" PRId64, TEXT_ARG(id),
                           TEXT_ARG(event->inventory.product_id), event->inventory.event_time_ms);
    } else {
        written = snprintf(to, size, "%.*s|%" PRId64, TEXT_ARG(id), from_ms);
    }
    *ret_id = id;
    assert(written > 0 && (size_t)written < size);
    return (struct text){to, (uint32_t)written};
}

/* A whole file of odd addresses is one finding, not a log of its own: the metric has the number. */
static void warn(struct validate *v, const struct hearing *hearing)
{
    enum { SPELL_MS = 60000, SHOWN_MAX = 10 };
    int64_t now_ms = steady_ms(v);
    if (now_ms - v->warned_since_ms >= SPELL_MS) {
        v->warned_since_ms = now_ms;
        v->warned_count = 0;
    }
    if (v->warned_count++ >= SHOWN_MAX)
        return;
    log_line(LOG_WARN, "reference_warning", "topic=%s partition=%d offset=%" PRId64 " message=%s%s",
             topic_name(hearing->origin.topic), hearing->origin.partition, hearing->origin.offset,
             log_quote_c(v->message), v->warned_count == SHOWN_MAX ? " more=\"not shown for a minute\"" : "");
}

static enum ll_status judge_reference(struct validate *v, const struct hearing *hearing, struct event *event,
                                      struct ll_err *err)
{
    uint64_t codes = quality_check_reference(event);
    bool refused = quality_rejects(codes) != 0;
    enum ll_status status = count_verdict(v, hearing, NULL, refused, err);
    if (status != LL_OK)
        return status;
    if (codes != 0)
        quality_reference_words(event, codes, v->message, sizeof v->message);
    if (refused)
        return send_dead(v, hearing, codes, -1, 0, err);
    if (codes != 0) {
        warn(v, hearing);
        count_codes(v, codes);
    }
    char key[2 * EVENT_TEXT_SIZE_MAX + 64];
    struct text id, whole = reference_key(event, &id, key, sizeof key);
    int32_t partitions = v->needs.topics->facts[valid_of(hearing->origin.topic)].partitions;
    /* By the thing, not by its version: all versions of a thing stay in one partition, in order. */
    return send_valid(v, hearing, event, whole, kafka_partition_of(id, partitions), err);
}

/* It killed the process, again and again: it is refused unread. */
static enum ll_status refuse_condemned(struct validate *v, const struct hearing *hearing, struct ll_err *err)
{
    const struct code_info *info = code_info(CODE_RECORD_CRASHED);
    snprintf(v->message, sizeof v->message, "%s: %s", info->name, info->meaning);
    enum ll_status status = count_verdict(v, hearing, NULL, true, err);
    return status == LL_OK ? send_dead(v, hearing, code_bit(CODE_RECORD_CRASHED), -1, 0, err) : status;
}

static enum ll_status hear(struct validate *v, struct part *part, const struct bus_record *record,
                           bool *ret_wait, struct ll_err *err)
{
    struct hearing hearing; /* its headers are set as far as header_count says */
    hearing.record = record;
    hearing.header_count = v->needs.consumer.ops->headers(v->needs.consumer.self, record, hearing.headers);
    hearing.origin = origin_of(record, hearing.headers, hearing.header_count);

    /* What waits for references is not decided while an operator looks into what is refused. */
    const struct part *raw = part_of(v, hearing.origin.topic, hearing.origin.partition);
    *ret_wait = raw != NULL && raw != part && raw->breaker.open;
    if (*ret_wait)
        return LL_OK;

    if (isolate_is_condemned(v->needs.isolate, record->topic, record->partition, record->offset))
        return refuse_condemned(v, &hearing, err);

    /* A sale's key is its customer, mostly: memory can look for it while the bytes are decoded. */
    struct reference_seek ahead;
    if (record->key.size > 0)
        references_seek(v->references, REFERENCE_CUSTOMER, record->key, &ahead);

    struct event event;
    enum code code = CODE_NONE;
    struct ll_err why = {""};
    switch (
        codec_read(v->needs.codec, kind_of(record->topic), record->value, v->scratch, &event, &code, &why)) {
    case LL_OK:
        return event.kind == EVENT_TRANSACTION ? judge_transaction(v, &hearing, &event, ret_wait, err)
                                               : judge_reference(v, &hearing, &event, err);
    case LL_POISON: {
        enum ll_status status = count_verdict(v, &hearing, NULL, true, err);
        snprintf(v->message, sizeof v->message, "%s: %s", code_info(code)->name, why.text);
        return status == LL_OK ? send_dead(v, &hearing, code_bit(code), -1, 0, err) : status;
    }
    case LL_RETRY: /* the registry does not answer: the record waits, its partition behind it */
        v->registry_down = true;
        report_waits_for(v, why.text);
        *ret_wait = true;
        return LL_OK;
    case LL_FATAL:
        break;
    }
    return ll_fail(err, LL_FATAL, "%s", why.text);
}

enum ll_status judge_record(struct validate *v, struct part *part, const struct bus_record *record,
                            bool *ret_wait, struct ll_err *err)
{
    isolate_take(v->needs.isolate, record->topic, record->partition, record->offset);
    enum ll_status status = hear(v, part, record, ret_wait, err);
    isolate_work(v->needs.isolate, false);
    return status;
}
