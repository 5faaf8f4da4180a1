/*
 * When a record may be taken, and when a day has ended.
 * clock = log: a partition's day is that of its clock, the highest posted_at or TICK. A record of a later day than the one reckoned
 * with waits; the day ends when every partition has such a record.
 * clock = event: a partition's day is the highest day of its sales' own times; TICKs say only that nothing comes. A partition
 * without a waiting row does not hold the others up once a TICK is quiet_ms later than every row that was seen: validate lets
 * no TICK run ahead of records that it still has to judge.
 */
#include "consumers/segment/segment.h"

#include "runtime/log.h"

#include <assert.h>
#include <stdlib.h>

enum { QUEUE_FIRST = 64 };

static struct bus_record *head_of(struct segment_queue *queue)
{
    return queue->count == 0 ? NULL : &queue->records[queue->first];
}

static void push(struct segment_queue *queue, const struct bus_record *record)
{
    if (queue->count == queue->capacity) {
        size_t capacity = queue->capacity == 0 ? QUEUE_FIRST : queue->capacity * 2;
        struct bus_record *records = malloc(capacity * sizeof *records);
        if (records == NULL)
            abort();
        for (size_t at = 0; at < queue->count; at++)
            records[at] = queue->records[(queue->first + at) % queue->capacity];
        free(queue->records);
        queue->records = records;
        queue->first = 0;
        queue->capacity = capacity;
    }
    queue->records[(queue->first + queue->count++) % queue->capacity] = *record;
}

static void pop(struct segment *segment, struct segment_queue *queue)
{
    segment->consumer.ops->release(segment->consumer.self, head_of(queue));
    queue->first = (queue->first + 1) % queue->capacity;
    queue->count--;
    queue->is_judged = false;
}

void segment_drop_queues(struct segment *segment)
{
    for (size_t at = 0; at < segment->needs.partitions; at++) {
        struct segment_queue *queue = &segment->queues[at];
        while (queue->count > 0)
            pop(segment, queue);
        queue->is_paused = false;
        queue->tick_ms = 0;
    }
}

/* ---- one record ---- */

static enum ll_status decode(struct segment *segment, const struct bus_record *record, struct event *ret,
                             struct ll_err *err)
{
    enum code code;
    enum event_kind kind;
    struct ll_err why = { "" };
    enum ll_status status = codec_kind(segment->needs.codec, record->value, &kind, &code, &why);
    if (status == LL_OK && kind != EVENT_CONTROL)
        kind = EVENT_LEDGER;
    if (status == LL_OK)
        status = codec_read(segment->needs.codec, kind, record->value, segment->scratch, ret, &code, &why);
    if (status == LL_OK)
        return LL_OK;
    return ll_fail(err, status == LL_POISON ? LL_FATAL : status,
                   "ledger %d/%lld is not what the relay writes: %.100s", record->partition,
                   (long long)record->offset, why.text);
}

static bool is_row(const struct event *event)
{
    return event->kind == EVENT_LEDGER;
}

/* The day that its partition comes to with this record. */
static int32_t day_of(struct segment *segment, const struct segment_part *part, const struct event *event)
{
    int64_t time_ms = part->clock_ms;
    if (segment->is_event_clock) {
        if (!is_row(event) || event->ledger.seq > 0) /* it belongs to the row before it */
            return part->has_day ? part->clock_day : NO_DAY;
        time_ms = event->ledger.event_time_ms;
    } else {
        int64_t at_ms = is_row(event) ? event->ledger.posted_at_ms : event->control.time_ms;
        time_ms = at_ms > time_ms ? at_ms : time_ms;
    }
    int32_t day = calendar_day(segment->needs.calendar, time_ms);
    return part->has_day && part->clock_day > day ? part->clock_day : day;
}

static bool may_take(const struct segment *segment, int32_t day)
{
    return day == NO_DAY || (segment->engine.day != NO_DAY && day <= segment->engine.day);
}

static void take_row(struct segment *segment, struct segment_part *part, const struct ledger_entry *entry)
{
    if (entry->run != segment->needs.config->program.run)
        return;
    if (entry->offset < part->row_offset ||
        (entry->offset == part->row_offset && entry->seq <= part->row_seq)) {
        part->repeated++;
        metric_add(segment->metrics.repeated, 1);
        return;
    }
    part->row_offset = entry->offset;
    part->row_seq = entry->seq;
    part->quiet_ticks = 0;
    part->rows++;
    part->anonymous += text_empty(entry->customer_id);
    segment->rows_since++;
    engine_post(&segment->engine, entry);
}

static void take(struct segment *segment, const struct bus_record *record, const struct event *event,
                 int32_t day)
{
    struct segment_part *part = &segment->parts[record->partition];
    int64_t at_ms = is_row(event) ? event->ledger.posted_at_ms : event->control.time_ms;
    if (is_row(event) || !segment->is_event_clock) /* else a TICK is no time of a sale's */
        part->clock_ms = at_ms > part->clock_ms ? at_ms : part->clock_ms;
    if (day != NO_DAY) {
        part->has_day = true;
        part->clock_day = day;
    }
    if (is_row(event)) {
        take_row(segment, part, &event->ledger);
    } else {
        part->ticks++;
        part->quiet_ticks++;
        segment->queues[record->partition].tick_ms = event->control.time_ms;
        metric_add(segment->metrics.ticks, 1);
    }
    part->next_offset = record->offset + 1;
    segment->has_moved = true;
}

static void look_at(struct segment *segment, const struct event *event)
{
    if (is_row(event) && event->ledger.posted_at_ms > segment->posted_ms)
        segment->posted_ms = event->ledger.posted_at_ms;
}

enum ll_status segment_take(struct segment *segment, struct bus_record *record, struct ll_err *err)
{
    struct event event;
    assert(record->partition >= 0 && (size_t)record->partition < segment->needs.partitions);
    struct segment_queue *queue = &segment->queues[record->partition];
    if (queue->count > 0) {
        push(queue, record);
        if (queue->count < (size_t)segment->needs.config->segment.ahead_records || queue->is_paused)
            return LL_OK;
        queue->is_paused = true;
        return segment->consumer.ops->pause(segment->consumer.self, TOPIC_LEDGER, record->partition, true,
                                            err);
    }
    enum ll_status status = decode(segment, record, &event, err);
    if (status != LL_OK)
        return status;
    look_at(segment, &event);
    int32_t day = day_of(segment, &segment->parts[record->partition], &event);
    if (!may_take(segment, day)) {
        push(queue, record);
        queue->is_judged = true;
        queue->day = day;
        return LL_OK;
    }
    take(segment, record, &event, day);
    segment->consumer.ops->release(segment->consumer.self, record);
    return LL_OK;
}

/* ---- days ---- */

/* Takes from a partition's queue what the day allows. */
static enum ll_status drain(struct segment *segment, struct segment_queue *queue, int32_t partition,
                            struct ll_err *err)
{
    for (struct bus_record *record; (record = head_of(queue)) != NULL;) {
        struct event event;
        if (queue->is_judged && !may_take(segment, queue->day))
            break;
        enum ll_status status = decode(segment, record, &event, err);
        if (status != LL_OK)
            return status;
        look_at(segment, &event);
        queue->day = day_of(segment, &segment->parts[partition], &event);
        queue->is_judged = true;
        if (!may_take(segment, queue->day))
            break;
        take(segment, record, &event, queue->day);
        pop(segment, queue);
    }
    if (!queue->is_paused || queue->count > (size_t)segment->needs.config->segment.ahead_records / 2)
        return LL_OK;
    queue->is_paused = false;
    return segment->consumer.ops->pause(segment->consumer.self, TOPIC_LEDGER, partition, false, err);
}

static bool is_drained(const struct segment *segment, size_t at)
{
    return segment->is_event_clock && segment->parts[at].quiet_ticks > 0 &&
           segment->queues[at].tick_ms >= segment->posted_ms + segment->needs.config->segment.quiet_ms;
}

/* Every partition has left the day; *ret_next: the first day that one of them waits with, NO_DAY: none does. */
static bool all_have_left(const struct segment *segment, int32_t *ret_next)
{
    *ret_next = NO_DAY;
    for (size_t at = 0; at < segment->needs.partitions; at++) {
        const struct segment_queue *queue = &segment->queues[at];
        if (queue->count == 0 && !is_drained(segment, at))
            return false;
        if (queue->count > 0 && (*ret_next == NO_DAY || queue->day < *ret_next))
            *ret_next = queue->day;
    }
    return true;
}

static int64_t clock_of(const struct segment *segment)
{
    int64_t clock_ms = segment->posted_ms;
    for (size_t at = 0; at < segment->needs.partitions && !segment->is_event_clock; at++)
        if (segment->parts[at].clock_ms > clock_ms)
            clock_ms = segment->parts[at].clock_ms;
    return clock_ms;
}

enum ll_status segment_days(struct segment *segment, struct ll_err *err)
{
    for (;;) {
        int32_t next;
        for (size_t at = 0; at < segment->needs.partitions; at++) {
            enum ll_status status = drain(segment, &segment->queues[at], (int32_t)at, err);
            if (status != LL_OK)
                return status;
        }
        if (!all_have_left(segment, &next))
            return LL_OK;
        if (segment->engine.day == NO_DAY) {
            if (next == NO_DAY)
                return LL_OK;
            engine_begin(&segment->engine, next);
            continue;
        }
        if (!segment->engine.is_closed) {
            engine_close(&segment->engine, clock_of(segment));
            segment_on_close(segment, clock_of(segment));
        }
        if (next == NO_DAY)
            return LL_OK;
        engine_open(&segment->engine, clock_of(segment));
        segment->has_moved = true;
    }
}
