#include "consumers/notify/notify.h"

#include "runtime/log.h"

#include <stdlib.h>
#include <string.h>

enum {
    BATCH_RECORDS = 2000,
    BATCH_MS = 50,
    POLL_MS = 50,
    BACKOFF_FIRST_MS = 50,
    BACKOFF_MAX_MS = 2000,
    NOTE_MS = 1000,  /* between two words to Kafka about how far we are */
    SAID_MS = 10000, /* the same cause is logged again after so long */
};

const enum topic NOTIFY_TOPICS[] = { TOPIC_LEDGER, TOPIC_SEGMENT_CHANGES, TOPIC_CUSTOMERS_VALID,
                                     TOPIC_COMMANDS };

static int64_t steady_ms(const struct notify *notify)
{
    return notify->clock.steady_ms(notify->clock.self);
}
static int64_t wall_ms(const struct notify *notify)
{
    return notify->clock.wall_ms(notify->clock.self);
}

static void waits(struct notify *notify, const struct ll_err *err)
{
    if (notify->process != NULL)
        process_waits_for(notify->process, err->text);
    if (steady_ms(notify) - notify->said_ms > SAID_MS || notify->said_ms == 0) {
        log_line(LOG_WARN, "waits", "cause=%s", log_quote_c(err->text));
        notify->said_ms = steady_ms(notify);
    }
}

/* What was gathered is forgotten; reading begins again where mail.progress stands. */
static void doubt(struct notify *notify, const struct ll_err *err)
{
    waits(notify, err);
    intake_clear(&notify->intake);
    notify->gathered = 0;
    notify->is_reading = false;
    notify->backoff_ms = notify->backoff_ms == 0 ? BACKOFF_FIRST_MS : notify->backoff_ms * 2;
    if (notify->backoff_ms > BACKOFF_MAX_MS)
        notify->backoff_ms = BACKOFF_MAX_MS;
    notify->again_at_ms = steady_ms(notify) + notify->backoff_ms;
}

static void all_is_well(struct notify *notify)
{
    if (notify->is_down)
        return; /* poll has the last word on Kafka */
    bool was_waiting = notify->backoff_ms > 0 || notify->said_ms > 0;
    notify->backoff_ms = notify->said_ms = 0;
    if (notify->process == NULL)
        return;
    if (was_waiting)
        process_waits_for(notify->process, NULL);
    process_ready(notify->process, true);
}

/* ---- where the inputs stand ---- */

static struct notify_input *input_of(struct notify *notify, enum topic topic, int32_t partition)
{
    for (size_t at = 0; at < notify->input_count; at++)
        if (notify->inputs[at].topic == topic && notify->inputs[at].partition == partition)
            return &notify->inputs[at];
    return NULL;
}

static enum ll_status load_stands(struct notify *notify, struct ll_err *err)
{
    char *answer = NULL;
    enum ll_status status = mail_store_call(notify->store, "stands", "{}", &answer, err);
    if (status != LL_OK)
        return status;
    json_t *rows = json_loads(answer, 0, NULL), *row;
    free(answer);
    for (size_t at = 0; at < notify->input_count; at++) {
        struct notify_input *input = &notify->inputs[at];
        input->stands = input->next = 0;
        input->row_offset = input->kept_offset = input->row_seq = input->kept_seq = -1;
    }
    size_t at;
    json_array_foreach(rows, at, row)
    {
        enum topic topic = topic_find(json_string_value(json_object_get(row, "topic")));
        struct notify_input *input =
            input_of(notify, topic, (int32_t)json_integer_value(json_object_get(row, "partition")));
        if (input == NULL)
            continue;
        input->stands = input->next = json_integer_value(json_object_get(row, "next"));
        input->row_offset = input->kept_offset = json_integer_value(json_object_get(row, "row_offset"));
        input->row_seq = input->kept_seq = (int32_t)json_integer_value(json_object_get(row, "row_seq"));
    }
    json_decref(rows);
    return LL_OK;
}

static enum ll_status start_reading(struct notify *notify, struct ll_err *err)
{
    struct bus_position from[NOTIFY_INPUTS_MAX];
    enum ll_status status = load_stands(notify, err);
    for (size_t at = 0; at < notify->input_count; at++) {
        const struct notify_input *input = &notify->inputs[at];
        from[at] = (struct bus_position){ input->topic, input->partition,
                                          input->stands > 0 ? input->stands : BUS_BEGINNING };
    }
    if (status == LL_OK)
        status = notify->consumer.ops->start(notify->consumer.self, from, notify->input_count, err);
    notify->is_reading = status == LL_OK;
    if (status == LL_OK)
        all_is_well(notify);
    return status;
}

static enum ll_status on_assigned(struct notify *notify, struct ll_err *err)
{
    size_t count;
    bool lost;
    const struct bus_position *positions =
        notify->consumer.ops->changed(notify->consumer.self, &count, &lost);
    if (count > NOTIFY_INPUTS_MAX)
        return ll_fail(err, LL_FATAL, "notify: %zu partitions assigned, at most %d fit: start more processes",
                       count, NOTIFY_INPUTS_MAX);
    intake_clear(&notify->intake);
    notify->gathered = 0;
    notify->input_count = count;
    for (size_t at = 0; at < count; at++)
        notify->inputs[at] =
            (struct notify_input){ .topic = positions[at].topic, .partition = positions[at].partition };
    notify->is_assigned = true;
    notify->is_reading = false;
    notify->again_at_ms = 0;
    log_line(LOG_INFO, "assigned", "partitions=%zu", count);
    return notify->consumer.ops->start(notify->consumer.self, NULL, 0, err);
}

/* What was gathered goes to whoever has the partitions next: it reads from mail.progress. */
static enum ll_status on_revoked(struct notify *notify, struct ll_err *err)
{
    log_line(LOG_INFO, "revoked", "partitions=%zu", notify->input_count);
    intake_clear(&notify->intake);
    notify->gathered = 0;
    notify->input_count = 0;
    notify->is_assigned = notify->is_reading = false;
    return notify->consumer.ops->stop(notify->consumer.self, err);
}

/* ---- a record ---- */

static void refused(struct notify *notify, const struct bus_record *record, const char *why)
{
    metric_add(notify->metrics.refused, 1);
    log_line(LOG_ERROR, "record_refused", "topic=%s partition=%d offset=%lld cause=%s",
             topic_name(record->topic), record->partition, (long long)record->offset, log_quote_c(why));
}

static void take_ledger(struct notify *notify, struct notify_input *input, const struct bus_record *record)
{
    struct event event;
    enum code code;
    enum event_kind kind;
    struct ll_err err = { "" };
    if (codec_kind(notify->codec, record->value, &kind, &code, &err) == LL_OK && kind == EVENT_CONTROL)
        return; /* TICK: a clock for those that reckon with the log's time */
    if (codec_read(notify->codec, EVENT_LEDGER, record->value, notify->scratch, &event, &code, &err) !=
        LL_OK) {
        refused(notify, record, err.text);
        return;
    }
    const struct ledger_entry *entry = &event.ledger;
    bool is_new = entry->offset > input->row_offset ||
                  (entry->offset == input->row_offset && entry->seq > input->row_seq);
    if (entry->run != notify->config->program.run || !is_new) {
        metric_add(notify->metrics.dropped, 1);
        return;
    }
    input->row_offset = entry->offset;
    input->row_seq = entry->seq;
    intake_ledger(&notify->intake, entry, wall_ms(notify));
}

static void take_other(struct notify *notify, const struct bus_record *record, enum event_kind kind)
{
    struct event event;
    enum code code;
    struct ll_err err = { "" };
    if (record->value.data == NULL)
        return; /* a tombstone: compaction may forget a version, we do not */
    if (codec_read(notify->codec, kind, record->value, notify->scratch, &event, &code, &err) != LL_OK)
        refused(notify, record, err.text);
    else if (kind == EVENT_CUSTOMER)
        intake_customer(&notify->intake, &event.customer);
    else if (kind == EVENT_SEGMENT_CHANGE)
        intake_change(&notify->intake, &event.segment_change, wall_ms(notify));
    else if (kind == EVENT_COMMAND)
        intake_command(&notify->intake, &event.command);
}

static void on_record(struct notify *notify, const struct bus_record *record)
{
    struct notify_input *input = input_of(notify, record->topic, record->partition);
    if (!notify->is_reading || input == NULL || record->offset < input->next)
        return;
    if (notify->gathered++ == 0)
        notify->gathered_since_ms = steady_ms(notify);
    input->next = record->offset + 1;
    metric_add(notify->metrics.records[record->topic == TOPIC_LEDGER            ? 0
                                       : record->topic == TOPIC_SEGMENT_CHANGES ? 1
                                       : record->topic == TOPIC_CUSTOMERS_VALID ? 2
                                                                                : 3],
               1);
    if (record->topic == TOPIC_LEDGER)
        take_ledger(notify, input, record);
    else
        take_other(notify, record,
                   record->topic == TOPIC_SEGMENT_CHANGES   ? EVENT_SEGMENT_CHANGE
                   : record->topic == TOPIC_CUSTOMERS_VALID ? EVENT_CUSTOMER
                                                            : EVENT_COMMAND);
}

/* ---- the batch ---- */

static enum ll_status commit(struct notify *notify, struct ll_err *err)
{
    struct bus_position next[NOTIFY_INPUTS_MAX];
    size_t count = 0;
    json_t *progress = json_array();
    for (size_t at = 0; at < notify->input_count; at++) {
        const struct notify_input *input = &notify->inputs[at];
        if (input->next == input->stands)
            continue;
        json_array_append_new(progress,
                              json_pack("{s:s, s:i, s:I, s:I, s:I, s:i}", "topic", topic_name(input->topic),
                                        "partition", input->partition, "from", (json_int_t)input->stands,
                                        "to", (json_int_t)input->next, "row_offset",
                                        (json_int_t)input->row_offset, "row_seq", input->row_seq));
        next[count++] = (struct bus_position){ input->topic, input->partition, input->next };
    }
    char *batch = intake_json(&notify->intake, progress, wall_ms(notify));
    enum ll_status status = mail_store_call(notify->store, "take", batch, NULL, err);
    free(batch);
    if (status != LL_OK)
        return status;
    notify->consumer.ops->commit(notify->consumer.self, next, count);
    for (size_t at = 0; at < notify->input_count; at++) {
        struct notify_input *input = &notify->inputs[at];
        input->stands = input->next;
        input->kept_offset = input->row_offset;
        input->kept_seq = input->row_seq;
        input->noted = input->next > input->noted ? input->next : input->noted;
    }
    intake_clear(&notify->intake);
    notify->gathered = 0;
    all_is_well(notify);
    return LL_OK;
}

static bool batch_is_due(const struct notify *notify)
{
    return notify->gathered >= BATCH_RECORDS ||
           (notify->gathered > 0 && steady_ms(notify) - notify->gathered_since_ms >= BATCH_MS);
}

/* Polls until a batch is due or there is nothing to be had. */
static enum ll_status poll_group(struct notify *notify, int timeout_ms, struct ll_err *err)
{
    for (;;) {
        struct bus_record record;
        enum bus_event event = notify->consumer.ops->poll(notify->consumer.self, timeout_ms, &record, err);
        bool was_down = notify->is_down;
        notify->is_down = event == BUS_DOWN;
        if (was_down && !notify->is_down && notify->is_reading)
            all_is_well(notify);
        switch (event) {
        case BUS_RECORD:
            on_record(notify, &record);
            notify->consumer.ops->release(notify->consumer.self, &record);
            break;
        case BUS_NONE:
            return LL_OK;
        case BUS_ASSIGNED:
            return on_assigned(notify, err);
        case BUS_REVOKED:
            return on_revoked(notify, err);
        case BUS_DOWN:
            waits(notify, err);
            return LL_OK;
        case BUS_BROKEN:
            return LL_FATAL;
        }
        if (batch_is_due(notify) || notify->gathered == 0)
            return LL_OK;
        timeout_ms = 2;
    }
}

/* ---- sending ---- */

/* Whoever has the customers' partition waits for its end; the others judge by what that one has written. */
static enum ll_status customers_at_end(struct notify *notify, bool *ret, struct ll_err *err)
{
    *ret = true;
    for (size_t at = 0; at < notify->input_count; at++) {
        const struct notify_input *input = &notify->inputs[at];
        int64_t low, high;
        if (input->topic != TOPIC_CUSTOMERS_VALID)
            continue;
        enum ll_status status = notify->consumer.ops->watermarks(notify->consumer.self, input->topic,
                                                                 input->partition, &low, &high, err);
        if (status != LL_OK)
            return status;
        /* The end lies behind a transaction's marker: only the client knows that nothing was before it. */
        int64_t position =
            notify->consumer.ops->position(notify->consumer.self, input->topic, input->partition);
        int64_t stands = position > input->stands && notify->gathered == 0 ? position : input->stands;
        *ret = *ret && stands >= high;
    }
    return LL_OK;
}

/* Past transaction markers, which are no records: a lag of nothing but markers is none. For lag tools alone. */
static void note_positions(struct notify *notify)
{
    struct bus_position next[NOTIFY_INPUTS_MAX];
    size_t count = 0;
    if (notify->gathered > 0 || steady_ms(notify) < notify->note_at_ms)
        return;
    notify->note_at_ms = steady_ms(notify) + NOTE_MS;
    for (size_t at = 0; at < notify->input_count; at++) {
        struct notify_input *input = &notify->inputs[at];
        int64_t position =
            notify->consumer.ops->position(notify->consumer.self, input->topic, input->partition);
        if (position <= input->noted)
            continue;
        input->noted = position;
        next[count++] = (struct bus_position){ input->topic, input->partition, position };
    }
    if (count > 0)
        notify->consumer.ops->commit(notify->consumer.self, next, count);
}

static enum ll_status send_due(struct notify *notify, struct ll_err *err)
{
    bool is_at_end = false;
    int64_t next_ms = steady_ms(notify) + POLL_MS;
    enum ll_status status = customers_at_end(notify, &is_at_end, err);
    if (status == LL_OK && is_at_end)
        status = outbox_step(&notify->outbox, &next_ms, err);
    notify->send_at_ms = next_ms;
    return status;
}

/* ---- the loop ---- */

static enum ll_status work(struct notify *notify, struct ll_err *err)
{
    if (!notify->is_assigned || steady_ms(notify) < notify->again_at_ms)
        return LL_OK;
    if (!notify->is_reading)
        return start_reading(notify, err);
    enum ll_status status = batch_is_due(notify) ? commit(notify, err) : LL_OK;
    if (status != LL_OK)
        return status;
    note_positions(notify);
    return steady_ms(notify) >= notify->send_at_ms ? send_due(notify, err) : LL_OK;
}

enum ll_status notify_step(struct notify *notify, struct ll_err *err)
{
    int64_t now_ms = steady_ms(notify), wait_ms = POLL_MS;
    if (notify->is_reading && notify->send_at_ms - now_ms < wait_ms)
        wait_ms = notify->send_at_ms > now_ms ? notify->send_at_ms - now_ms : 0;
    if (notify->gathered > 0 && wait_ms > 5)
        wait_ms = 5;
    enum ll_status status = poll_group(notify, (int)wait_ms, err);
    if (status == LL_OK)
        status = work(notify, err);
    if (status != LL_RETRY)
        return status;
    doubt(notify, err);
    return LL_OK;
}

enum ll_status notify_finish(struct notify *notify, struct ll_err *err)
{
    if (!notify->is_reading)
        return LL_OK;
    enum ll_status status = notify->gathered > 0 ? commit(notify, err) : LL_OK;
    /* Asked to stop, outbox hands nothing more over: it writes what it has in hand, and the rest is given back at the next start. */
    if (status == LL_OK)
        status = outbox_finish(&notify->outbox, err);
    return status == LL_RETRY ? LL_OK : status;
}
