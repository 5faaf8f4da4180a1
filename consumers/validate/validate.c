#include "consumers/validate/loop.h"

#include "runtime/log.h"

#include <malloc.h>
#include <stdlib.h>

const enum topic VALIDATE_TOPICS[] = {
    TOPIC_STORES,    TOPIC_PRODUCTS,     TOPIC_CUSTOMERS,         TOPIC_PROMOTIONS,
    TOPIC_INVENTORY, TOPIC_TRANSACTIONS, TOPIC_TRANSACTIONS_RETRY};
const size_t VALIDATE_TOPIC_COUNT = sizeof VALIDATE_TOPICS / sizeof VALIDATE_TOPICS[0];

enum {
    IDLE_MS = 50,      /* longest wait with nothing to do: references and commands are looked at after it */
    PATIENCE_MS = 5,   /* a batch that nothing more comes to for so long is committed */
    BACK_OFF_MS = 500, /* after a failure of the environment */
    QUICK_MS = 2000,   /* a start takes less; what takes longer waits for somebody: looked at less often */
    CLOCK_EVERY = 64,  /* records between two looks at the clock */
    REFERENCES_MS = 30000, /* sales wait no longer for raw references that do not come forward */
    RECORD_BUFFER_SIZE = 64 << 10,
    BUSY_COUNT = 20000, /* records after which, and ... */
    REST_MS = 500,      /* ... the quiet in which memory is given back */
};

static void close_producer(struct validate *v)
{
    if (v->producer.ops != NULL)
        v->producer.ops->close(v->producer.self);
    v->producer = (struct bus_producer){0};
    v->open = false;
}

/* Fatal for one producer (fenced, its transaction's time is over, its end unknown) is a wait here: the next one's opening
 * settles what it left, and all is read again from where that ended. */
static enum ll_status of_producer(struct validate *v, enum ll_status status, const struct ll_err *err)
{
    if (status != LL_FATAL)
        return status;
    log_line(LOG_WARN, "producer_lost", "cause=%s", log_quote_c(err->text));
    close_producer(v);
    return LL_RETRY;
}

/* Before a start: the group's offsets are settled once a producer is open. */
static enum ll_status need_producer(struct validate *v, struct ll_err *err)
{
    if (v->producer.ops != NULL || steady_ms(v) < v->trouble_ms)
        return LL_OK;
    enum ll_status status = v->needs.open_producer(v->needs.arg, &v->producer, err);
    if (status != LL_OK)
        v->producer = (struct bus_producer){0};
    return status;
}

enum ll_status batch_open(struct validate *v, struct ll_err *err)
{
    if (v->open)
        return LL_OK;
    enum ll_status status = v->producer.ops->begin(v->producer.self, err);
    if (status == LL_OK) {
        v->open = true;
        v->opened_at_ms = steady_ms(v);
    }
    return of_producer(v, status, err);
}

enum ll_status batch_send(struct validate *v, const struct bus_out *out, struct ll_err *err)
{
    enum ll_status status = batch_open(v, err);
    if (status != LL_OK)
        return status;
    return of_producer(v, v->producer.ops->send(v->producer.self, out, err), err);
}

struct text batch_encode(struct validate *v, const struct event *event)
{
    size_t needed = codec_size_max(event);
    if (needed > v->buffer_size) {
        v->buffer_size = needed < RECORD_BUFFER_SIZE ? RECORD_BUFFER_SIZE : needed;
        free(v->buffer);
        v->buffer = malloc(v->buffer_size);
        if (v->buffer == NULL)
            abort();
    }
    size_t size = codec_write(v->needs.codec, event, v->buffer, v->buffer_size);
    return (struct text){v->buffer, (uint32_t)size};
}

/* Outputs, dead letters, control records and the offsets of all that was decided: in at once, or not at all.
 */
static enum ll_status batch_commit(struct validate *v, struct ll_err *err)
{
    size_t count = v->started ? parts_positions(v) : 0;
    if (!v->open && count == 0) {
        isolate_release(v->needs.isolate); /* what was heard waits, and must not count for the next batch */
        v->record_count = 0;
        return LL_OK;
    }
    int64_t began_ms = steady_ms(v);
    enum ll_status status = batch_open(v, err);
    if (status == LL_OK && count > 0)
        status = v->producer.ops->send_offsets(v->producer.self, &v->needs.consumer, v->positions, count, err);
    if (status == LL_OK)
        status = v->producer.ops->commit(v->producer.self, err);
    if (status != LL_OK)
        return v->open ? of_producer(v, status, err) : status;
    v->open = false;
    parts_committed(v, count);
    isolate_release(v->needs.isolate);
    control_committed(v);
    report_committed(v, steady_ms(v) - began_ms);
    v->busy_ms = began_ms;
    v->busy_count += v->record_count;
    v->record_count = 0;
    return LL_OK;
}

int64_t batch_most(const struct validate *v)
{
    int64_t most = isolate_most(v->needs.isolate), all = v->needs.config->validate.batch_events;
    return most < all ? most : all;
}

/* Nothing of the open transaction is to be seen, and nothing since the last commit is remembered. */
static void batch_abort(struct validate *v)
{
    struct ll_err why = {""};
    if (v->open)
        of_producer(v, v->producer.ops->abort(v->producer.self, &why), &why);
    v->open = false;
    v->record_count = 0;
    v->tally = (struct tally){0};
    metric_add(v->metrics.aborts, 1);
    parts_forget(v);
}

/* The environment failed: read again from the last commit, after a while. */
static void reread(struct validate *v, const struct ll_err *err)
{
    report_waits_for(v, err->text);
    v->started = false;
    v->trouble_ms = steady_ms(v) + BACK_OFF_MS;
    batch_abort(v);
}

static enum ll_status on_assigned(struct validate *v, struct ll_err *err)
{
    size_t count;
    bool lost;
    const struct bus_position *changed =
        v->needs.consumer.ops->changed(v->needs.consumer.self, &count, &lost);
    enum ll_status status = parts_assign(v, changed, count, err);
    log_line(LOG_INFO, "partitions_assigned", "count=%zu", count);
    v->assigned = true;
    v->started = false;
    v->assigned_ms = wall_ms(v);
    v->behind = false;
    v->settle_due_ms = 0;
    v->quick_ms = steady_ms(v) + QUICK_MS;
    if (v->phase == PHASE_RUNNING)
        v->phase = PHASE_REFERENCES;
    return status;
}

/* What is decided is still ours to commit, unless the group has given it away already. */
static enum ll_status on_revoked(struct validate *v, struct ll_err *err)
{
    size_t count;
    bool lost;
    v->needs.consumer.ops->changed(v->needs.consumer.self, &count, &lost);
    enum ll_status status = lost ? LL_RETRY : batch_commit(v, err);
    if (status == LL_RETRY) {
        batch_abort(v);
        status = LL_OK;
    }
    log_line(LOG_INFO, "partitions_revoked", "count=%zu lost=%d", count, lost);
    v->assigned = v->started = false;
    parts_revoke(v);
    enum ll_status stopped = v->needs.consumer.ops->stop(v->needs.consumer.self, err);
    return status == LL_OK ? stopped : status;
}

/* Sales flow once every reference that was sent before them is known. Where all raw ones were judged before, as after most
 * restarts, that is told by asking alone; else the reference topics are read alone until then. */
static enum ll_status start_as_due(struct validate *v, struct ll_err *err)
{
    int64_t now_ms = steady_ms(v);
    if (v->phase == PHASE_LOADING && v->needs.feed.ops->at_end(v->needs.feed.self)) {
        v->phase = PHASE_REFERENCES;
        v->busy_ms = now_ms;
        v->busy_count = BUSY_COUNT; /* what was read ahead of the references is idle now */
        log_line(LOG_INFO, "references_loaded",
                 "stores=%zu products=%zu customers=%zu promotions=%zu rules_version=%d",
                 references_count(v->references, REFERENCE_STORE),
                 references_count(v->references, REFERENCE_PRODUCT),
                 references_count(v->references, REFERENCE_CUSTOMER),
                 references_count(v->references, REFERENCE_PROMOTION), v->rules_version);
    }
    if (v->phase == PHASE_LOADING || !v->assigned || v->producer.ops == NULL || now_ms < v->trouble_ms)
        return LL_OK;
    if (v->phase == PHASE_REFERENCES && !v->started && !v->behind) {
        enum ll_status status = follow_settle(v, err);
        if (status != LL_OK)
            return status;
    }
    bool known = v->known_ms >= v->assigned_ms || (v->started && now_ms - v->read_last_ms > REFERENCES_MS);
    if (v->phase == PHASE_REFERENCES && !known && (v->started || !v->behind))
        return LL_OK;
    if (v->phase == PHASE_RUNNING && v->started)
        return LL_OK;
    if (v->started) {
        enum ll_status status = batch_commit(v, err);
        if (status != LL_OK)
            return status;
        parts_forget(v); /* what waits comes again */
    }
    bool all = v->phase == PHASE_RUNNING || known;
    enum ll_status status = parts_start(v, !all, err);
    if (status != LL_OK)
        return status;
    v->started = true;
    v->read_last_ms = now_ms;
    v->phase = all ? PHASE_RUNNING : PHASE_REFERENCES;
    log_line(LOG_INFO, "partitions_started", "what=%s", all ? "all" : "references");
    report_round(v); /* told now, not after the wait for records */
    return LL_OK;
}

static enum ll_status on_record(struct validate *v, struct bus_record *record, int64_t now_ms,
                                struct ll_err *err)
{
    if (!v->started) { /* left from before an abort: it comes again */
        v->needs.consumer.ops->release(v->needs.consumer.self, record);
        return LL_OK;
    }
    struct part *part = part_of(v, record->topic, record->partition);
    if (part == NULL || !part->started) {
        v->needs.consumer.ops->release(v->needs.consumer.self, record);
        return ll_fail(err, LL_FATAL, "kafka: a record of %s/%d came, which is not ours",
                       topic_name(record->topic), record->partition);
    }
    part->last_record_ms = now_ms;
    if (record->topic != TOPIC_TRANSACTIONS && record->topic != TOPIC_TRANSACTIONS_RETRY)
        v->read_last_ms = now_ms;
    v->record_count++;
    return part_take(v, part, record, err);
}

/* How long poll may wait. */
static int wait_ms(const struct validate *v, int64_t now_ms)
{
    if (!v->open)
        return v->started && v->phase == PHASE_RUNNING ? IDLE_MS : now_ms < v->quick_ms ? 1 : 5;
    int64_t left_ms = v->opened_at_ms + v->needs.config->validate.batch_ms - now_ms;
    return left_ms <= 0 ? 0 : left_ms > PATIENCE_MS ? PATIENCE_MS : (int)left_ms;
}

/* Polls until the batch is full, its time is over, or nothing more comes. */
static enum ll_status take_batch(struct validate *v, struct ll_err *err)
{
    struct bus_record record;
    int64_t now_ms = steady_ms(v);
    enum ll_status status = LL_OK;
    for (int looks = 1; status == LL_OK && v->record_count < batch_most(v);
         looks++) {
        if (looks % CLOCK_EVERY == 0)
            now_ms = steady_ms(v);
        int timeout_ms = wait_ms(v, now_ms);
        if (v->open && timeout_ms == 0)
            return LL_OK;
        /* Without a wait the client need not look at its clock: what is there already comes cheaper. */
        enum bus_event event = v->needs.consumer.ops->poll(v->needs.consumer.self, 0, &record, err);
        if (event == BUS_NONE && v->open) {
            /* Nothing more is waiting: this is live. The commit itself takes longer than this, and gathers the next batch. */
            enum { SETTLE_MS = 5 };
            now_ms = steady_ms(v);
            int64_t left_ms = v->opened_at_ms + SETTLE_MS - now_ms;
            if (left_ms <= 0)
                return LL_OK;
            timeout_ms = left_ms < timeout_ms ? (int)left_ms : timeout_ms;
        }
        if (event == BUS_NONE || event == BUS_DOWN)
            event = v->needs.consumer.ops->poll(v->needs.consumer.self, timeout_ms, &record, err);
        switch (event) {
        case BUS_RECORD:
            status = on_record(v, &record, now_ms, err);
            break;
        case BUS_NONE:
            return LL_OK;
        case BUS_ASSIGNED:
            return on_assigned(v, err);
        case BUS_REVOKED:
            return on_revoked(v, err);
        case BUS_DOWN:
            v->down = true;
            report_waits_for(v, err->text);
            return LL_OK;
        case BUS_BROKEN:
            return LL_FATAL;
        }
    }
    return status;
}

/* After much work memory lies idle in the allocator: it goes back when there is time for it. */
static void rest(struct validate *v)
{
    if (v->busy_count < BUSY_COUNT || v->open || steady_ms(v) - v->busy_ms < REST_MS)
        return;
    malloc_trim(0);
    v->busy_count = 0;
}

enum ll_status validate_step(struct validate *v, struct ll_err *err)
{
    v->down = false;
    enum ll_status status = need_producer(v, err);
    if (status == LL_OK)
        status = follow(v, err); /* references, rule sets, commands */
    if (status == LL_OK)
        status = start_as_due(v, err);
    if (status == LL_OK)
        status = control_write(v, err); /* RULES before the sales that it is for */
    if (status == LL_OK)
        status = parts_retry(v, err);
    if (status == LL_OK)
        status = take_batch(v, err);
    if (status == LL_OK)
        status = batch_commit(v, err);
    if (status == LL_OK)
        status = follow_settle(v, err);
    report_round(v);
    rest(v);
    if (status != LL_RETRY)
        return status;
    reread(v, err);
    return LL_OK;
}

enum ll_status validate_finish(struct validate *v, struct ll_err *err)
{
    enum ll_status status = batch_commit(v, err);
    if (status == LL_RETRY) {
        batch_abort(v);
        status = LL_OK;
    }
    parts_revoke(v);
    v->assigned = v->started = false;
    enum ll_status stopped = v->needs.consumer.ops->stop(v->needs.consumer.self, err);
    return status == LL_OK ? stopped : status;
}

struct validate *validate_new(const struct validate_needs *needs)
{
    struct validate *v = calloc(1, sizeof *v);
    if (v == NULL)
        abort();
    v->needs = *needs;
    v->phase = PHASE_LOADING;
    v->quick_ms = steady_ms(v) + QUICK_MS;
    v->currency = text_of(needs->config->program.currency);
    v->references = references_new();
    v->scratch = codec_scratch_new();
    v->feed_scratch = codec_scratch_new();
    parts_init(v);
    report_init(v);
    report_round(v); /* not ready before the references are there */
    return v;
}

void validate_free(struct validate *v)
{
    if (v == NULL)
        return;
    parts_done(v);
    close_producer(v);
    references_free(v->references);
    codec_scratch_free(v->scratch);
    codec_scratch_free(v->feed_scratch);
    free(v->buffer);
    free(v);
}
