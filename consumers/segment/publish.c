/*
 * Committed changes, onward to segment-changes: as the relay of the ledger does it, for rows that are already one sequence.
 * The progress is the group's committed offset of partition 0 of segment-changes, sent in the Kafka transaction that carries the
 * records, under the group's real metadata: it is the number of the next change. The producer is opened first, since that ends
 * what a predecessor left open; then the progress is read.
 */
#include "consumers/segment/segment.h"

#include "runtime/log.h"

#include <stdlib.h>

enum { PUBLISH_ROWS = 10000, NOTE_MS = 1000 };

void segment_unpublish(struct segment *segment)
{
    if (segment->producer.ops != NULL)
        segment->producer.ops->close(segment->producer.self);
    segment->producer = (struct bus_producer){ 0 };
    segment->published = -1;
}

static enum ll_status need_progress(struct segment *segment, struct ll_err *err)
{
    enum ll_status status = LL_OK;
    if (segment->producer.ops == NULL) {
        segment->published = -1;
        status = segment->needs.open_producer(segment->needs.arg, &segment->producer, err);
        if (status != LL_OK) {
            segment->producer = (struct bus_producer){ 0 };
            return status;
        }
    }
    if (segment->published >= 0)
        return LL_OK;
    struct bus_position position = { TOPIC_SEGMENT_CHANGES, 0, BUS_COMMITTED };
    status = segment->consumer.ops->committed(segment->consumer.self, &position, 1, err);
    if (status != LL_OK)
        return status;
    /* A group that was away too long has forgotten; Postgres was told then. */
    segment->published = position.offset >= 0 ? position.offset : segment->noted;
    log_line(LOG_INFO, "published", "next=%lld", (long long)segment->published);
    return LL_OK;
}

static void send_change(void *arg, int64_t change_no, const struct segment_change *change)
{
    struct segment *segment = arg;
    struct event event = { .kind = EVENT_SEGMENT_CHANGE, .segment_change = *change };
    if (segment->sending != LL_OK)
        return;
    size_t needed = codec_size_max(&event);
    if (needed > segment->value_capacity) {
        segment->value_capacity = needed * 2;
        free(segment->value);
        segment->value = malloc(segment->value_capacity);
        if (segment->value == NULL)
            abort();
    }
    size_t size = codec_write(segment->needs.codec, &event, segment->value, segment->value_capacity);
    const struct bus_out out = { .topic = TOPIC_SEGMENT_CHANGES,
                                 .partition = BUS_BY_KEY,
                                 .timestamp_ms = change->detected_at_ms,
                                 .key = change->customer_id,
                                 .value = { segment->value, (uint32_t)size } };
    segment->sending = segment->producer.ops->send(segment->producer.self, &out, &segment->sending_err);
    segment->sent_upto = change_no + 1;
}

/* Undone, or nobody knows whether: what is believed of the progress holds no more. */
static enum ll_status give_up(struct segment *segment, enum ll_status status, struct ll_err *err)
{
    struct ll_err ignored = { "" };
    segment->published = -1;
    if (status == LL_POISON)
        return ll_wrap(err, LL_FATAL, "segment: a change cannot be sent");
    if (status == LL_FATAL || segment->producer.ops->abort(segment->producer.self, &ignored) != LL_OK)
        segment_unpublish(segment);
    return LL_RETRY;
}

static enum ll_status send_slice(struct segment *segment, struct ll_err *err)
{
    enum ll_status status = segment->producer.ops->begin(segment->producer.self, err);
    if (status != LL_OK)
        return give_up(segment, status, err);
    segment->sending = LL_OK;
    segment->sent_upto = segment->published;
    enum store_reply reply = segment->needs.store.ops->changes(segment->needs.store.self, segment->published,
                                                               PUBLISH_ROWS, send_change, segment, err);
    if (reply != STORE_OK) {
        give_up(segment, LL_RETRY, &(struct ll_err){ "" });
        segment->is_mine = false;
        return reply == STORE_BROKEN ? LL_FATAL : LL_RETRY;
    }
    status = segment->sending;
    if (status != LL_OK)
        *err = segment->sending_err;
    const struct bus_position next = { TOPIC_SEGMENT_CHANGES, 0, segment->sent_upto };
    if (status == LL_OK)
        status =
            segment->producer.ops->send_offsets(segment->producer.self, &segment->consumer, &next, 1, err);
    if (status == LL_OK)
        status = segment->producer.ops->commit(segment->producer.self, err);
    if (status != LL_OK)
        return give_up(segment, status, err);
    metric_add(segment->metrics.published, segment->sent_upto - segment->published);
    segment->published = segment->sent_upto;
    return LL_OK;
}

/* A progress beyond what Postgres held when it was claimed: Postgres has fallen back, and the changes that it forgot are made again,
 * under other numbers. They are sent again too, since none may be missing; readers drop what is not above a customer's last. The
 * progress goes back before anything is committed: later nobody could tell. */
enum ll_status segment_settle(struct segment *segment, struct ll_err *err)
{
    if (segment->claimed_next == INT64_MAX)
        return LL_OK;
    enum ll_status status = need_progress(segment, err);
    if (status == LL_OK && segment->published > segment->claimed_next) {
        const struct bus_position next = { TOPIC_SEGMENT_CHANGES, 0, segment->claimed_next };
        const struct segment_store store = segment->needs.store;
        const int64_t again = segment->published - segment->claimed_next;
        segment->is_mine = store.ops->set_relayed(store.self, segment->noted, again, err) == STORE_OK;
        if (!segment->is_mine) /* it is ahead because somebody else is */
            return LL_RETRY;
        log_line(LOG_WARN, "published_again", "from=%lld to=%lld", (long long)next.offset,
                 (long long)segment->published);
        status = segment->producer.ops->begin(segment->producer.self, err);
        if (status == LL_OK)
            status = segment->producer.ops->send_offsets(segment->producer.self, &segment->consumer, &next, 1,
                                                         err);
        if (status == LL_OK)
            status = segment->producer.ops->commit(segment->producer.self, err);
        if (status != LL_OK)
            return give_up(segment, status, err);
        segment->published = segment->claimed_next;
    }
    if (status == LL_OK)
        segment->claimed_next = INT64_MAX;
    return status;
}

static enum ll_status note(struct segment *segment, struct ll_err *err)
{
    int64_t now_ms = segment_steady_ms(segment);
    if (segment->published <= segment->noted || now_ms < segment->note_at_ms)
        return LL_OK;
    segment->note_at_ms = now_ms + NOTE_MS;
    enum store_reply reply =
        segment->needs.store.ops->set_relayed(segment->needs.store.self, segment->published, 0, err);
    if (reply == STORE_OK)
        segment->noted = segment->published;
    else
        segment->is_mine = false; /* the session is gone, and with it the ownership */
    return reply == STORE_OK ? LL_OK : reply == STORE_BROKEN ? LL_FATAL : LL_RETRY;
}

enum ll_status segment_publish(struct segment *segment, struct ll_err *err)
{
    enum ll_status status = need_progress(segment, err);
    if (status == LL_OK && segment->published < segment->owner.next_change)
        status = send_slice(segment, err);
    if (status == LL_OK)
        status = note(segment, err);
    return status;
}
