#include "consumers/accrue/relay.h"

#include "runtime/log.h"

#include <stdlib.h>
#include <string.h>

enum {
    BACKOFF_FIRST_MS = 50,
    BACKOFF_MAX_MS = 2000,
    NOTE_MS = 1000,         /* between two words to Postgres about how far we are */
    SAID_MS = 10000,        /* the same cause is logged again after so long */
};

static int64_t steady_ms(const struct relay *relay) { return relay->needs.clock.steady_ms(relay->needs.clock.self); }

void relay_init(struct relay *relay, const struct relay_needs *needs)
{
    memset(relay, 0, sizeof *relay);
    relay->needs = *needs;
    relay_record_init(&relay->maker, needs->codec, needs->config->program.run, needs->group, needs->dead_partitions);
}

static void close_producer(struct relay *relay)
{
    if (relay->producer.ops != NULL)
        relay->producer.ops->close(relay->producer.self);
    relay->producer = (struct bus_producer){ 0 };
}

void relay_done(struct relay *relay)
{
    close_producer(relay);
    relay_record_done(&relay->maker);
    memset(relay, 0, sizeof *relay);
}

/* ---- what is waited for ---- */

static void waits(struct relay *relay, const struct ll_err *err)
{
    if (relay->needs.process != NULL)
        process_waits_for(relay->needs.process, err->text);
    int64_t now_ms = steady_ms(relay);
    if (relay->said != relay->doing || now_ms - relay->said_ms > SAID_MS) {
        log_line(LOG_WARN, "waits", "doing=%s cause=%s", relay->doing, log_quote_c(err->text));
        relay->said = relay->doing;
        relay->said_ms = now_ms;
    }
}

static void back_off(struct relay *relay, const struct ll_err *err)
{
    waits(relay, err);
    relay->backoff_ms = relay->backoff_ms == 0 ? BACKOFF_FIRST_MS : relay->backoff_ms * 2;
    if (relay->backoff_ms > BACKOFF_MAX_MS)
        relay->backoff_ms = BACKOFF_MAX_MS;
    relay->wait_until_ms = steady_ms(relay) + relay->backoff_ms;
}

static void all_is_well(struct relay *relay)
{
    relay->backoff_ms = 0;
    relay->said = NULL;
    if (relay->needs.process == NULL)
        return;
    process_waits_for(relay->needs.process, NULL);
    process_ready(relay->needs.process, true);
}

/* What is believed of the progress was true for one producer and one assignment. */
static void forget_progress(struct relay *relay)
{
    for (size_t i = 0; i < relay->part_count; i++)
        relay->parts[i].progress = -1;
}

/* ---- the group ---- */

static enum ll_status on_assigned(struct relay *relay, struct ll_err *err)
{
    size_t count;
    bool lost;
    const struct bus_position *positions = relay->needs.consumer.ops->changed(relay->needs.consumer.self, &count, &lost);
    if (count > RELAY_PARTITIONS_MAX)
        return ll_fail(err, LL_FATAL, "relay: %zu partitions assigned, at most %d fit: start more processes", count,
                       RELAY_PARTITIONS_MAX);
    relay->part_count = 0;
    for (size_t i = 0; i < count; i++)
        relay->parts[relay->part_count++] =
            (struct relay_part){ .number = positions[i].partition, .progress = -1, .upto = -1, .minute = INT64_MIN };
    log_line(LOG_INFO, "assigned", "partitions=%zu", count);
    /* The group is asked for partitions alone: their records are not fetched. */
    enum ll_status status = relay->needs.consumer.ops->start(relay->needs.consumer.self, NULL, 0, err);
    relay->assigned = status == LL_OK;
    return status;
}

static enum ll_status on_revoked(struct relay *relay, struct ll_err *err)
{
    log_line(LOG_INFO, "revoked", "partitions=%zu", relay->part_count);
    relay->part_count = 0;
    relay->assigned = false;
    return relay->needs.consumer.ops->stop(relay->needs.consumer.self, err);
}

static enum ll_status poll_group(struct relay *relay, int timeout_ms, struct ll_err *err)
{
    struct bus_record record;
    relay->doing = "group";
    relay->is_down = false;
    switch (relay->needs.consumer.ops->poll(relay->needs.consumer.self, timeout_ms, &record, err)) {
    case BUS_RECORD:
        relay->needs.consumer.ops->release(relay->needs.consumer.self, &record);
        return LL_OK;
    case BUS_NONE:
        return LL_OK;
    case BUS_ASSIGNED:
        return on_assigned(relay, err);
    case BUS_REVOKED:
        return on_revoked(relay, err);
    case BUS_DOWN:
        relay->is_down = true;
        waits(relay, err);
        return LL_OK;
    case BUS_BROKEN:
        return LL_FATAL;
    }
    return LL_OK;
}

/* ---- where we stand ---- */

static enum ll_status need_producer(struct relay *relay, struct ll_err *err)
{
    if (relay->producer.ops != NULL)
        return LL_OK;
    relay->doing = "producer";
    forget_progress(relay);
    enum ll_status status = relay->needs.open_producer(relay->needs.arg, &relay->producer, err);
    if (status != LL_OK)
        relay->producer = (struct bus_producer){ 0 };
    return status;
}

static enum ll_status find_progress(struct relay *relay, struct relay_part *part, int64_t offset, struct ll_err *err)
{
    part->progress = offset;
    if (offset >= 0)
        return LL_OK;
    part->progress = -1; /* the group was never there, or its offsets have expired */
    enum ll_status status = relay->needs.find_end(relay->needs.arg, part->number, &offset, err);
    if (status != LL_OK)
        return status;
    part->progress = offset;
    log_line(LOG_INFO, "progress_found", "partition=%d progress=%lld", part->number, (long long)offset);
    return LL_OK;
}

/* Only after a producer is open: what its predecessor had begun is done or undone by then. */
static enum ll_status need_progress(struct relay *relay, struct ll_err *err)
{
    struct bus_position positions[RELAY_PARTITIONS_MAX];
    struct relay_part *asked[RELAY_PARTITIONS_MAX];
    size_t count = 0;
    for (size_t i = 0; i < relay->part_count; i++)
        if (relay->parts[i].progress < 0) {
            positions[count] = (struct bus_position){ TOPIC_TRANSACTIONS_VALID, relay->parts[i].number, BUS_COMMITTED };
            asked[count++] = &relay->parts[i];
        }
    if (count == 0)
        return LL_OK;
    relay->doing = "progress";
    enum ll_status status = relay->needs.consumer.ops->committed(relay->needs.consumer.self, positions, count, err);
    for (size_t i = 0; i < count && status == LL_OK; i++)
        status = find_progress(relay, asked[i], positions[i].offset, err);
    if (status == LL_OK)
        log_line(LOG_INFO, "progress_known", "partitions=%zu", count);
    return status;
}

static enum ll_status of_reply(enum store_reply reply)
{
    return reply == STORE_OK ? LL_OK : reply == STORE_BROKEN ? LL_FATAL : LL_RETRY;
}

static enum ll_status look(struct relay *relay, struct ll_err *err)
{
    struct relay_mark marks[RELAY_PARTITIONS_MAX];
    relay->doing = "postgres";
    for (size_t i = 0; i < relay->part_count; i++)
        marks[i] = (struct relay_mark){ .partition = relay->parts[i].number };
    enum store_reply reply = relay->needs.store.ops->marks(relay->needs.store.self, marks, relay->part_count, err);
    int64_t lag = 0;
    for (size_t i = 0; i < relay->part_count && reply == STORE_OK; i++) {
        struct relay_part *part = &relay->parts[i];
        part->next = marks[i].next_offset;
        part->noted = marks[i].relayed_upto;
        lag += part->next > part->progress ? part->next - part->progress : 0;
    }
    if (reply == STORE_OK)
        metric_set(relay->metrics.lag, lag);
    return of_reply(reply);
}

/* ---- one transaction ---- */

static enum ll_status send(struct relay *relay, const struct bus_out *out, int64_t *count)
{
    if (relay->sending == LL_OK)
        relay->sending = relay->producer.ops->send(relay->producer.self, out, &relay->sending_err);
    *count += relay->sending == LL_OK;
    return relay->sending;
}

struct forwarding {
    struct relay *relay;
    struct relay_part *part;
};

/* After a failure the rest of the slice is let pass. */
static void forward_row(void *arg, const struct relay_row *row)
{
    struct forwarding *forwarding = arg;
    struct relay *relay = forwarding->relay;
    struct bus_out out;
    if (relay->sending != LL_OK)
        return;
    if (row->posting != NULL) {
        relay_record_posting(&relay->maker, row->posting, &out);
        send(relay, &out, &relay->sent_ledger);
        return;
    }
    relay_record_dead(&relay->maker, forwarding->part->number, row->dead, &out);
    if (send(relay, &out, &relay->sent_dead) == LL_POISON) {
        relay->sending = LL_OK;
        relay_record_omit(&relay->maker, &out);
        send(relay, &out, &relay->sent_dead);
    }
}

static void forward_tick(struct relay *relay, struct relay_part *part, const struct relay_slice *slice)
{
    int64_t minute = slice->clock_ms / relay->needs.config->relay.tick_ms;
    part->new_minute = part->minute;
    if (slice->upto != slice->next_offset || slice->clock_ms <= 0 || minute == part->minute || relay->sending != LL_OK)
        return;
    struct bus_out out;
    relay_record_tick(&relay->maker, part->number, slice->upto, slice->clock_ms, &out);
    if (send(relay, &out, &relay->sent_ticks) == LL_OK)
        part->new_minute = minute;
}

/* LL_RETRY, LL_FATAL: Postgres's word; what the producer says is in relay->sending. */
static enum ll_status forward_part(struct relay *relay, struct relay_part *part, struct ll_err *err)
{
    struct relay_slice slice;
    struct forwarding forwarding = { relay, part };
    enum store_reply reply =
        relay->needs.store.ops->rows(relay->needs.store.self, part->number, part->progress,
                                     relay->needs.config->relay.slice_rows, forward_row, &forwarding, &slice, err);
    if (reply != STORE_OK)
        return of_reply(reply);
    part->next = slice.next_offset;
    if (slice.upto > part->progress) { /* else Postgres has fallen back meanwhile: accrue will decide the same again */
        forward_tick(relay, part, &slice);
        part->upto = slice.upto;
    }
    return LL_OK;
}

static enum ll_status end_transaction(struct relay *relay, struct ll_err *err)
{
    struct bus_position next[RELAY_PARTITIONS_MAX];
    size_t count = 0;
    for (size_t i = 0; i < relay->part_count; i++)
        if (relay->parts[i].upto >= 0)
            next[count++] =
                (struct bus_position){ TOPIC_TRANSACTIONS_VALID, relay->parts[i].number, relay->parts[i].upto };
    if (count == 0)
        return relay->producer.ops->abort(relay->producer.self, err);
    enum ll_status status =
        relay->producer.ops->send_offsets(relay->producer.self, &relay->needs.consumer, next, count, err);
    return status == LL_OK ? relay->producer.ops->commit(relay->producer.self, err) : status;
}

static void count_committed(struct relay *relay)
{
    for (size_t i = 0; i < relay->part_count; i++) {
        struct relay_part *part = &relay->parts[i];
        if (part->upto < 0)
            continue;
        part->progress = part->upto;
        part->minute = part->new_minute;
    }
    metric_add(relay->metrics.ledger, relay->sent_ledger);
    metric_add(relay->metrics.dead, relay->sent_dead);
    metric_add(relay->metrics.ticks, relay->sent_ticks);
    metric_add(relay->metrics.transactions, 1);
}

/* The transaction is undone, or nobody knows whether: then it ends with its producer. Either way, what was believed of the
 * progress holds no more. Fatal for one producer (fenced, its time is over) is a wait here: the next one is another. */
static enum ll_status give_up(struct relay *relay, enum ll_status status, struct ll_err *err)
{
    struct ll_err abort_err = { "" };
    metric_add(relay->metrics.aborts, 1);
    forget_progress(relay);
    if (status == LL_POISON)
        return ll_wrap(err, LL_FATAL, "relay: a posting cannot be sent");
    if (status == LL_FATAL || relay->producer.ops->abort(relay->producer.self, &abort_err) != LL_OK)
        close_producer(relay);
    return LL_RETRY;
}

static bool is_behind(const struct relay_part *part) { return part->next > part->progress; }

/* LL_RETRY: nothing was forwarded, or nobody knows. */
static enum ll_status forward(struct relay *relay, struct ll_err *err)
{
    relay->doing = "transaction";
    relay->sending = LL_OK;
    relay->sent_ledger = relay->sent_dead = relay->sent_ticks = 0;
    enum ll_status status = relay->producer.ops->begin(relay->producer.self, err);
    if (status != LL_OK)
        return give_up(relay, status, err);
    for (size_t i = 0; i < relay->part_count && status == LL_OK && relay->sending == LL_OK; i++)
        if (is_behind(&relay->parts[i]))
            status = forward_part(relay, &relay->parts[i], err);
    bool is_broken = status == LL_FATAL; /* Postgres is, for good */
    if (status == LL_OK && relay->sending != LL_OK) {
        status = relay->sending;
        *err = relay->sending_err;
    }
    if (status == LL_OK)
        status = end_transaction(relay, err);
    if (status == LL_OK)
        count_committed(relay);
    for (size_t i = 0; i < relay->part_count; i++)
        relay->parts[i].upto = -1;
    if (status == LL_OK)
        return LL_OK;
    status = give_up(relay, status, err);
    return is_broken ? LL_FATAL : status;
}

/* ---- what others are told ---- */

static enum ll_status note_progress(struct relay *relay, struct ll_err *err)
{
    struct relay_mark marks[RELAY_PARTITIONS_MAX];
    size_t count = 0;
    int64_t now_ms = steady_ms(relay);
    if (now_ms - relay->note_at_ms < NOTE_MS)
        return LL_OK;
    relay->note_at_ms = now_ms;
    for (size_t i = 0; i < relay->part_count; i++)
        if (relay->parts[i].progress > relay->parts[i].noted)
            marks[count++] = (struct relay_mark){ .partition = relay->parts[i].number,
                                                  .relayed_upto = relay->parts[i].progress };
    relay->doing = "postgres";
    return of_reply(relay->needs.store.ops->set_relayed(relay->needs.store.self, marks, count, err));
}

/* ---- the loop ---- */

static bool any_behind(const struct relay *relay)
{
    for (size_t i = 0; i < relay->part_count; i++)
        if (is_behind(&relay->parts[i]))
            return true;
    return false;
}

/* LL_RETRY: later again. */
static enum ll_status work(struct relay *relay, struct ll_err *err)
{
    enum ll_status status = need_producer(relay, err);
    if (status == LL_OK)
        status = need_progress(relay, err);
    if (status == LL_OK)
        status = look(relay, err);
    if (status == LL_OK && any_behind(relay))
        status = forward(relay, err);
    if (status == LL_OK)
        status = note_progress(relay, err);
    if (status == LL_OK)
        all_is_well(relay);
    return status;
}

enum ll_status relay_step(struct relay *relay, struct ll_err *err)
{
    int64_t now_ms = steady_ms(relay);
    int64_t due_ms = relay->look_at_ms > relay->wait_until_ms ? relay->look_at_ms : relay->wait_until_ms;
    int64_t poll_ms = relay->needs.config->relay.poll_ms;
    int64_t wait_ms = !relay->assigned ? poll_ms : due_ms > now_ms ? due_ms - now_ms : 0;
    enum ll_status status = poll_group(relay, (int)(wait_ms < poll_ms ? wait_ms : poll_ms), err);
    if (status == LL_OK && relay->assigned && !relay->is_down && steady_ms(relay) >= due_ms) {
        status = work(relay, err);
        relay->look_at_ms = status == LL_OK && any_behind(relay) ? 0 : steady_ms(relay) + poll_ms;
    }
    if (status != LL_RETRY)
        return status;
    back_off(relay, err);
    return LL_OK;
}
