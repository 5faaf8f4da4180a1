#include "consumers/segment/segment.h"

#include "runtime/log.h"

#include <stdlib.h>
#include <string.h>

enum { POLL_MAX = 8192, POLL_MS = 20, BACKOFF_FIRST_MS = 50, BACKOFF_MAX_MS = 2000, SAID_MS = 10000 };
enum { CATCH_UP_MS = 30000, CATCH_UP_ROWS = 20 /* a millisecond */, IDLE_MS = 300, STALL_MS = 1200, LOOK_AFTER_MS = 1000 };

int64_t segment_steady_ms(const struct segment *segment)
{
    return segment->needs.clock.steady_ms(segment->needs.clock.self);
}

void segment_init(struct segment *segment, const struct segment_needs *needs)
{
    memset(segment, 0, sizeof *segment);
    segment->needs = *needs;
    segment->scratch = codec_scratch_new();
    segment->is_event_clock = strcmp(needs->config->segment.clock, "event") == 0;
    segment->published = -1;
    struct engine_settings settings = segment_engine_settings(needs->config);
    engine_init(&segment->engine, &settings, needs->calendar, segment_on_change, segment);
}

void segment_done(struct segment *segment)
{
    engine_done(&segment->engine);
    codec_scratch_free(segment->scratch);
    for (size_t at = 0; at < segment->needs.partitions; at++)
        free(segment->queues[at].records);
    row_buffer_done(&segment->standing);
    row_buffer_done(&segment->newcomers);
    row_buffer_done(&segment->thresholds);
    row_buffer_done(&segment->changes);
    row_buffer_done(&segment->state);
    free(segment->categories);
    free(segment->value);
    memset(segment, 0, sizeof *segment);
}

/* ---- what is waited for ---- */

static void waits(struct segment *segment, const char *what, const struct ll_err *err)
{
    if (segment->needs.process != NULL)
        process_waits_for(segment->needs.process, err->text);
    int64_t now_ms = segment_steady_ms(segment);
    if (segment->said != what || now_ms - segment->said_ms > SAID_MS) {
        log_line(LOG_WARN, "waits", "doing=%s cause=%s", what, log_quote_c(err->text));
        segment->said = what;
        segment->said_ms = now_ms;
    }
}

static void back_off(struct segment *segment, const char *what, const struct ll_err *err)
{
    waits(segment, what, err);
    segment->backoff_ms = segment->backoff_ms == 0 ? BACKOFF_FIRST_MS : segment->backoff_ms * 2;
    if (segment->backoff_ms > BACKOFF_MAX_MS)
        segment->backoff_ms = BACKOFF_MAX_MS;
    segment->wait_until_ms = segment_steady_ms(segment) + segment->backoff_ms;
}

static void all_is_well(struct segment *segment)
{
    segment->backoff_ms = 0;
    segment->said = NULL;
    if (segment->needs.process == NULL)
        return;
    process_waits_for(segment->needs.process, NULL);
    process_ready(segment->needs.process, true);
}

/* ---- the group ---- */

/* From where the standing is. */
static enum ll_status flow(struct segment *segment, struct ll_err *err)
{
    struct bus_position from[SEGMENT_PARTITIONS_MAX];
    for (size_t at = 0; at < segment->needs.partitions; at++)
        from[at] = (struct bus_position){ TOPIC_LEDGER, (int32_t)at, segment->parts[at].next_offset };
    enum ll_status status =
        segment->consumer.ops->start(segment->consumer.self, from, segment->needs.partitions, err);
    segment->is_flowing = status == LL_OK;
    return status;
}

static enum ll_status on_assigned(struct segment *segment, struct ll_err *err)
{
    size_t count;
    bool lost;
    segment->consumer.ops->changed(segment->consumer.self, &count, &lost);
    segment->is_assigned = count == segment->needs.partitions;
    log_line(LOG_INFO, "assigned", "partitions=%zu of=%zu", count, segment->needs.partitions);
    if (segment->is_assigned)
        return LL_OK;
    /* An owner that is not gone yet holds the others: the group tells when it is. */
    return segment->consumer.ops->start(segment->consumer.self, NULL, 0, err);
}

/* What was taken and not committed belongs to whoever has the partitions next: it is taken again from the last commit. */
static enum ll_status on_revoked(struct segment *segment, struct ll_err *err)
{
    size_t count;
    bool lost;
    segment->consumer.ops->changed(segment->consumer.self, &count, &lost);
    log_line(LOG_INFO, "revoked", "partitions=%zu lost=%d", count, lost);
    segment_drop_queues(segment);
    segment->is_assigned = segment->is_flowing = segment->is_mine = false;
    segment_unpublish(segment);
    return segment->consumer.ops->stop(segment->consumer.self, err);
}

static enum ll_status poll_once(struct segment *segment, int timeout_ms, bool *ret_more, struct ll_err *err)
{
    struct bus_record record;
    *ret_more = false;
    switch (segment->consumer.ops->poll(segment->consumer.self, timeout_ms, &record, err)) {
    case BUS_RECORD:
        *ret_more = true;
        segment->is_down = false;
        if (segment->is_mine && segment->is_flowing)
            return segment_take(segment, &record, err);
        segment->consumer.ops->release(segment->consumer.self, &record);
        return LL_OK;
    case BUS_NONE:
        segment->is_down = false;
        return LL_OK;
    case BUS_ASSIGNED:
        return on_assigned(segment, err);
    case BUS_REVOKED:
        return on_revoked(segment, err);
    case BUS_DOWN:
        segment->is_down = true;
        waits(segment, "kafka", err);
        return LL_OK;
    case BUS_BROKEN:
        return LL_FATAL;
    }
    return LL_OK;
}

static bool has_news(const struct segment *segment)
{
    return segment->has_moved || (segment->published >= 0 && segment->published < segment->owner.next_change);
}

static enum ll_status poll_all(struct segment *segment, struct ll_err *err)
{
    bool more = true;
    enum ll_status status = LL_OK;
    for (int at = 0; at < POLL_MAX && more && status == LL_OK; at++) {
        status = poll_once(segment, at > 0 ? 0 : has_news(segment) ? 2 : POLL_MS, &more, err);
        if (at > 0)
            continue;
        if (!more && !segment->is_silent)
            segment->silent_ms = segment_steady_ms(segment);
        segment->is_silent = !more;
    }
    return status;
}

/* ---- the loop ---- */

/* Catching up, a commit would write nearly everybody again and again: the rows come first, for a while. Once they have ended
 * nothing else is to be done. */
static bool is_commit_due(const struct segment *segment)
{
    if (!segment->has_moved)
        return false;
    int64_t now_ms = segment_steady_ms(segment), elapsed_ms = now_ms - segment->committed_ms;
    if (segment->rows_since >= segment->needs.config->segment.flush_rows || elapsed_ms >= CATCH_UP_MS)
        return true;
    bool catches_up = segment->rows_since > elapsed_ms * CATCH_UP_ROWS;
    if (segment->is_silent && now_ms - segment->silent_ms >= (catches_up ? STALL_MS : IDLE_MS))
        return elapsed_ms >= segment->needs.config->segment.flush_ms;
    return now_ms >= segment->commit_at_ms && !catches_up;
}

/* Who stands by is no member of the group, nor was one who has been the owner: it would keep partitions from the new one. */
static void stand_by(struct segment *segment)
{
    if (segment->consumer.ops == NULL)
        return;
    segment_unpublish(segment);
    segment->consumer.ops->close(segment->consumer.self);
    segment->consumer = (struct bus_consumer){ 0 };
    segment->is_assigned = segment->is_flowing = false;
}

static enum ll_status own(struct segment *segment, struct ll_err *err)
{
    enum ll_status status = segment_claim(segment, err);
    if (status != LL_OK) {
        stand_by(segment);
        return status;
    }
    if (segment->consumer.ops == NULL)
        status = segment->needs.open_consumer(segment->needs.arg, &segment->consumer, err);
    segment->is_flowing = false;
    segment->is_mine = status == LL_OK;
    return status;
}

/* Anything but a plain yes: what memory holds may be behind or ahead of Postgres. */
static void doubt(struct segment *segment)
{
    struct ll_err ignored = { "" };
    metric_add(segment->metrics.doubts, 1);
    segment->is_mine = false;
    if (segment->consumer.ops != NULL && segment->is_flowing) {
        segment_drop_queues(segment);
        segment->consumer.ops->start(segment->consumer.self, NULL, 0,
                                     &ignored); /* nothing comes until the next claim */
    }
    segment->is_flowing = false;
}

/* An owner whom the group has not given everything yet asks for its session now and then: had it been lost to another one, both
 * would hold partitions that the other waits for. */
static enum ll_status look_after(struct segment *segment, struct ll_err *err)
{
    const struct segment_store store = segment->needs.store;
    int64_t now_ms = segment_steady_ms(segment);
    if (now_ms < segment->note_at_ms)
        return LL_OK;
    segment->note_at_ms = now_ms + LOOK_AFTER_MS;
    segment->is_mine = store.ops->set_relayed(store.self, segment->noted, 0, err) == STORE_OK;
    return segment->is_mine ? LL_OK : LL_RETRY;
}

static enum ll_status work(struct segment *segment, const char **ret_doing, struct ll_err *err)
{
    enum ll_status status = LL_OK;
    *ret_doing = "claim";
    if (!segment->is_mine)
        status = own(segment, err);
    if (status == LL_OK && !segment->is_assigned)
        status = look_after(segment, err);
    if (status != LL_OK || !segment->is_assigned)
        return status;
    *ret_doing = "start";
    if (!segment->is_flowing)
        return flow(segment, err);
    *ret_doing = "settle";
    status = segment_settle(segment, err);
    *ret_doing = "rows";
    if (status == LL_OK)
        status = segment_days(segment, err);
    *ret_doing = "commit";
    if (status == LL_OK && is_commit_due(segment)) {
        status = segment_commit(segment, err);
        if (status == LL_RETRY)
            doubt(segment);
    }
    *ret_doing = "publish";
    if (status == LL_OK)
        status = segment_publish(segment, err);
    if (status == LL_OK && !has_news(segment))
        segment_ranks_idle(segment);
    if (status == LL_OK && !segment->is_down)
        all_is_well(segment);
    return status;
}

enum ll_status segment_step(struct segment *segment, struct ll_err *err)
{
    const char *doing = "";
    enum ll_status status = LL_OK;
    if (segment->consumer.ops != NULL)
        status = poll_all(segment, err);
    else if (segment_steady_ms(segment) < segment->wait_until_ms)
        process_pause(POLL_MS);
    if (status == LL_OK && segment_steady_ms(segment) >= segment->wait_until_ms)
        status = work(segment, &doing, err);
    if (status == LL_RETRY) {
        if (!segment->is_mine)
            doubt(segment);
        back_off(segment, doing, err);
        status = LL_OK;
    }
    return status;
}

void segment_finish(struct segment *segment)
{
    struct ll_err err = { "" };
    if (segment->is_mine && segment->is_flowing && segment->has_moved &&
        segment_commit(segment, &err) == LL_OK)
        segment_publish(segment, &err);
    segment_drop_queues(segment);
    if (segment->producer.ops != NULL)
        segment->producer.ops->close(segment->producer.self);
    if (segment->consumer.ops != NULL)
        segment->consumer.ops->close(segment->consumer.self);
    segment->producer = (struct bus_producer){ 0 };
    segment->consumer = (struct bus_consumer){ 0 };
}
