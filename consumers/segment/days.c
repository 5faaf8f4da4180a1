/*
 * When a record may be taken, and when a day has ended.
 * clock = log: a partition's day is that of its clock, the highest posted_at or TICK. A record of a later day than the one reckoned
 * with waits; the day ends when every partition has such a record.
 * clock = event: a partition's day is the highest day of its sales' own times; TICKs say only that nothing comes. A row that was
 * posted quiet_ms or more after every row that is in, or waits for a later day, comes later: it holds no day up, and neither does
 * a partition without a row once a TICK is so far on (validate lets no TICK run ahead of records that it still has to judge).
 * Where nothing else is left the day is closed, and the first of what comes later is next: once no partition can bring an earlier
 * one. Rows of a closed day are taken into it, and it is closed again, under a new version, as it was the first time.
 * All of this asks for what the records say and for nothing else, not for when they were read.
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

/* When it was posted, for the rule of quiet; 0: a TICK, which is never late. */
static int64_t posted_of(const struct segment_part *part, const struct event *event)
{
    int64_t posted_ms = is_row(event) ? event->ledger.posted_at_ms : 0;
    return is_row(event) && part->clock_ms > posted_ms ? part->clock_ms : posted_ms;
}

static bool comes_later(const struct segment *segment, int64_t posted_ms)
{
    return segment->is_event_clock && posted_ms > segment->posted_ms &&
           posted_ms >= segment->posted_ms + segment->needs.config->segment.quiet_ms;
}

/* The partition's next record: may it be taken, given its day and when it was posted? */
static bool may_take(struct segment *segment, int32_t day, int64_t posted_ms)
{
    if (comes_later(segment, posted_ms))
        return false;
    if (posted_ms > segment->posted_ms)
        segment->posted_ms = posted_ms;
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
    const struct segment_part *part = &segment->parts[record->partition];
    int32_t day = day_of(segment, part, &event);
    int64_t posted_ms = posted_of(part, &event);
    if (!may_take(segment, day, posted_ms)) {
        push(queue, record);
        queue->is_judged = true;
        queue->day = day;
        queue->posted_ms = posted_ms;
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
        if (queue->is_judged && !may_take(segment, queue->day, queue->posted_ms))
            break;
        enum ll_status status = decode(segment, record, &event, err);
        if (status != LL_OK)
            return status;
        queue->day = day_of(segment, &segment->parts[partition], &event);
        queue->posted_ms = posted_of(&segment->parts[partition], &event);
        queue->is_judged = true;
        if (!may_take(segment, queue->day, queue->posted_ms))
            break;
        take(segment, record, &event, queue->day);
        pop(segment, queue);
    }
    if (!queue->is_paused || queue->count > (size_t)segment->needs.config->segment.ahead_records / 2)
        return LL_OK;
    queue->is_paused = false;
    return segment->consumer.ops->pause(segment->consumer.self, TOPIC_LEDGER, partition, false, err);
}

/* As long as one takes rows, or waits for a later day, with which another's are not so late any more. */
static enum ll_status drain_all(struct segment *segment, struct ll_err *err)
{
    int64_t before_ms;
    do {
        before_ms = segment->posted_ms;
        for (size_t at = 0; at < segment->needs.partitions; at++) {
            enum ll_status status = drain(segment, &segment->queues[at], (int32_t)at, err);
            if (status != LL_OK)
                return status;
        }
    } while (segment->posted_ms > before_ms);
    return LL_OK;
}

/* Every partition has left the day; *ret_next: the first day that one of them waits with, NO_DAY: none does. */
static bool all_have_left(const struct segment *segment, int32_t *ret_next)
{
    *ret_next = NO_DAY;
    for (size_t at = 0; at < segment->needs.partitions; at++) {
        const struct segment_queue *queue = &segment->queues[at];
        if (queue->count == 0 && !comes_later(segment, queue->tick_ms))
            return false;
        if (queue->count > 0 && !comes_later(segment, queue->posted_ms) &&
            (*ret_next == NO_DAY || queue->day < *ret_next))
            *ret_next = queue->day;
    }
    return true;
}

/* Nothing is left but what comes later. The first of it is next, if no partition can bring an earlier one. */
static bool go_on(struct segment *segment)
{
    int64_t first_ms = INT64_MAX;
    for (size_t at = 0; at < segment->needs.partitions; at++)
        if (segment->queues[at].count > 0 && segment->queues[at].posted_ms < first_ms)
            first_ms = segment->queues[at].posted_ms;
    for (size_t at = 0; at < segment->needs.partitions; at++)
        if (segment->queues[at].count == 0 && segment->queues[at].tick_ms < first_ms)
            return false;
    segment->posted_ms = first_ms;
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
        enum ll_status status = drain_all(segment, err);
        if (status != LL_OK || !all_have_left(segment, &next))
            return status;
        if (segment->engine.day == NO_DAY && next != NO_DAY) {
            engine_begin(&segment->engine, next);
            continue;
        }
        if (segment->engine.day != NO_DAY && !segment->engine.is_closed) {
            engine_close(&segment->engine, clock_of(segment));
            segment_on_close(segment, clock_of(segment));
        }
        if (next != NO_DAY) {
            engine_open(&segment->engine, clock_of(segment));
            segment->has_moved = true;
        } else if (!go_on(segment)) {
            return LL_OK;
        }
    }
}
