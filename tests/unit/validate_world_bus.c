/* Kafka in memory: logs, the group's consumer, transactions, and the side channel that references come by. */
#include "tests/unit/validate_world_bus.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

static const enum topic FEED[] = {TOPIC_STORES_VALID,     TOPIC_PRODUCTS_VALID, TOPIC_CUSTOMERS_VALID,
                                  TOPIC_PROMOTIONS_VALID, TOPIC_LOYALTY_RULES,  TOPIC_COMMANDS};
static const enum topic JUDGED[] = {TOPIC_STORES, TOPIC_PRODUCTS, TOPIC_CUSTOMERS, TOPIC_PROMOTIONS};

static char *copy(const char *from, size_t size)
{
    if (from == NULL)
        return NULL;
    char *to = malloc(size + 1);
    if (to == NULL)
        abort();
    memcpy(to, from, size);
    to[size] = '\0';
    return to;
}

struct world_record world_record_of(struct text key, struct text value, const struct bus_header *headers,
                                    size_t count, int64_t timestamp_ms)
{
    struct world_record record = {.key = copy(key.data, key.size),
                                  .value = copy(value.data, value.size),
                                  .key_size = key.size,
                                  .value_size = value.size,
                                  .timestamp_ms = timestamp_ms,
                                  .header_count = count};
    for (size_t i = 0; i < count; i++) {
        record.headers[i].name =
            (struct text){copy(headers[i].name.data, headers[i].name.size), headers[i].name.size};
        record.headers[i].value =
            (struct text){copy(headers[i].value.data, headers[i].value.size), headers[i].value.size};
    }
    return record;
}

void world_record_free(struct world_record *record)
{
    free(record->key);
    free(record->value);
    for (size_t i = 0; i < record->header_count; i++) {
        free((char *)(uintptr_t)record->headers[i].name.data);
        free((char *)(uintptr_t)record->headers[i].value.data);
    }
}

int64_t world_append(struct world_log *log, struct world_record record)
{
    if (log->count == log->capacity) {
        log->capacity = log->capacity == 0 ? 64 : 2 * log->capacity;
        log->records = realloc(log->records, log->capacity * sizeof *log->records);
        if (log->records == NULL)
            abort();
    }
    struct world_record *kept = malloc(sizeof *kept);
    if (kept == NULL)
        abort();
    *kept = record;
    log->records[log->count++] = kept;
    return (int64_t)log->count - 1;
}

int32_t world_partitions(const struct world *world, enum topic topic)
{
    return world->topics.facts[topic].partitions;
}

/* The consumer. */

static bool is_assigned(const struct world *world, enum topic topic, int32_t partition)
{
    for (size_t i = 0; i < world->assigned_count; i++)
        if (world->assigned[i].topic == topic && world->assigned[i].partition == partition)
            return true;
    return false;
}

static void fill(struct world_log *log, enum topic topic, int32_t partition, int64_t offset,
                 struct bus_record *ret)
{
    struct world_record *record = log->records[offset];
    *ret = (struct bus_record){.topic = topic,
                               .partition = partition,
                               .offset = offset,
                               .timestamp_ms = record->timestamp_ms,
                               .key = {record->key, record->key_size},
                               .value = {record->value, record->value_size},
                               .held = record};
}

static enum bus_event world_poll(void *self, int timeout_ms, struct bus_record *ret, struct ll_err *err)
{
    struct world *world = self;
    (void)err;
    world->polls++;
    if (world->event_count > 0) {
        enum bus_event event = world->events[0].event;
        return event;
    }
    enum { LOGS = TOPIC_COUNT * WORLD_PARTITIONS };
    for (size_t i = 0; world->is_flowing && i < LOGS; i++) {
        size_t at = (world->robin + i) % LOGS;
        enum topic topic = (enum topic)(at / WORLD_PARTITIONS);
        int32_t partition = (int32_t)(at % WORLD_PARTITIONS);
        struct world_log *log = &world->logs[topic][partition];
        if (log->position < 0 || log->paused || !is_assigned(world, topic, partition))
            continue;
        while ((size_t)log->position < log->count && log->records[log->position]->is_marker)
            log->polled = ++log->position;
        if ((size_t)log->position == log->count)
            continue;
        fill(log, topic, partition, log->position++, ret);
        log->polled = log->position;
        world->held++;
        world->robin = at + 1;
        return BUS_RECORD;
    }
    world->wall_ms += timeout_ms;
    world->steady_ms += timeout_ms;
    return BUS_NONE;
}

static const struct bus_position *world_changed(void *self, size_t *ret_count, bool *ret_lost)
{
    struct world *world = self;
    *ret_count = world->assigned_count;
    *ret_lost = world->event_count > 0 && world->events[0].lost;
    if (world->event_count > 0)
        memmove(world->events, world->events + 1, --world->event_count * sizeof *world->events);
    return world->assigned;
}

static enum ll_status world_start_at(void *self, const struct bus_position *from, size_t count,
                                     struct ll_err *err)
{
    struct world *world = self;
    (void)err;
    for (int topic = 0; topic < TOPIC_COUNT; topic++)
        for (int32_t partition = 0; partition < WORLD_PARTITIONS; partition++)
            world->logs[topic][partition].position = -1, world->logs[topic][partition].paused = false;
    for (size_t i = 0; i < count; i++) {
        struct world_log *log = &world->logs[from[i].topic][from[i].partition];
        cr_assert_eq(from[i].offset, BUS_COMMITTED);
        log->position = log->committed < 0 ? 0 : log->committed;
    }
    cr_assert(world->opens > 0, "a predecessor's transaction ends before the group's offsets are read");
    world->is_flowing = true;
    world->starts++;
    world->started_ms = world->steady_ms;
    return LL_OK;
}

static enum ll_status world_stop(void *self, struct ll_err *err)
{
    struct world *world = self;
    (void)err;
    cr_assert_eq(world->held, 0, "a record is held beyond stop");
    world->is_flowing = false;
    return LL_OK;
}

static void world_release(void *self, struct bus_record *record)
{
    struct world *world = self;
    cr_assert(record->held != NULL && world->held > 0, "released twice");
    world->held--;
    record->held = NULL;
}

static size_t world_headers(void *self, const struct bus_record *record,
                            struct bus_header ret[BUS_HEADERS_MAX])
{
    (void)self;
    const struct world_record *kept = record->held;
    size_t count = kept->header_count < BUS_HEADERS_MAX ? kept->header_count : BUS_HEADERS_MAX;
    memcpy(ret, kept->headers, count * sizeof *ret);
    return count;
}

static int64_t world_position(void *self, enum topic topic, int32_t partition)
{
    struct world *world = self;
    return world->logs[topic][partition].polled;
}

static enum ll_status world_pause(void *self, enum topic topic, int32_t partition, bool paused,
                                  struct ll_err *err)
{
    struct world *world = self;
    (void)err;
    world->logs[topic][partition].paused = paused;
    world->logs[topic][partition].pauses += paused;
    return LL_OK;
}

const struct bus_consumer_ops world_consumer = {
    .poll = world_poll,
    .changed = world_changed,
    .start = world_start_at,
    .stop = world_stop,
    .release = world_release,
    .headers = world_headers,
    .position = world_position,
    .pause = world_pause,
};

/* The producer. */

void world_drop_pending(struct world *world)
{
    for (size_t i = 0; i < world->pending_count; i++)
        world_record_free(&world->pending[i].record);
    world->pending_count = world->pending_offset_count = 0;
    world->is_open = false;
}

static enum ll_status world_begin(void *self, struct ll_err *err)
{
    struct world *world = self;
    (void)err;
    cr_assert_not(world->is_open, "a transaction is open already");
    world->is_open = true;
    return LL_OK;
}

static enum ll_status world_send_offsets(void *self, struct bus_consumer *consumer,
                                         const struct bus_position *next, size_t count, struct ll_err *err)
{
    struct world *world = self;
    (void)consumer;
    (void)err;
    cr_assert(world->is_open);
    for (size_t i = 0; i < count; i++)
        cr_assert(is_assigned(world, next[i].topic, next[i].partition), "an offset of what is not ours");
    memcpy(world->pending_offsets, next, count * sizeof *next);
    world->pending_offset_count = count;
    return LL_OK;
}

static enum ll_status world_abort(void *self, struct ll_err *err)
{
    struct world *world = self;
    if (world->break_aborts > 0) {
        world->break_aborts--;
        return ll_fail(err, LL_FATAL, "its transaction's time is over");
    }
    if (world->is_open)
        world->aborts++;
    world_drop_pending(world);
    return LL_OK;
}

static enum ll_status world_commit(void *self, struct ll_err *err)
{
    struct world *world = self;
    cr_assert(world->is_open);
    world->steady_ms += 12;
    world->wall_ms += 12;
    if (world->break_commits > 0) {
        world->break_commits--;
        return ll_fail(err, LL_FATAL, "fenced");
    }
    if (world->fail_commits > 0) {
        world->fail_commits--;
        world_abort(world, err);
        return ll_fail(err, LL_RETRY, "the transaction was aborted");
    }
    bool marked[TOPIC_COUNT][WORLD_PARTITIONS] = {{false}};
    for (size_t i = 0; i < world->pending_count; i++) {
        world_append(&world->logs[world->pending[i].topic][world->pending[i].partition], world->pending[i].record);
        marked[world->pending[i].topic][world->pending[i].partition] = true;
    }
    for (int topic = 0; topic < TOPIC_COUNT; topic++)
        for (int32_t partition = 0; partition < WORLD_PARTITIONS; partition++)
            if (marked[topic][partition])
                world_append(&world->logs[topic][partition], (struct world_record){.is_marker = true});
    for (size_t i = 0; i < world->pending_offset_count; i++) {
        const struct bus_position *next = &world->pending_offsets[i];
        struct world_log *log = &world->logs[next->topic][next->partition];
        cr_assert(next->offset > log->committed, "a group's offset never goes back");
        cr_assert((size_t)next->offset <= log->count, "nor beyond the log");
        log->committed = next->offset;
    }
    world->pending_count = world->pending_offset_count = 0;
    world->is_open = false;
    world->commits++;
    return LL_OK;
}

static enum ll_status world_send(void *self, const struct bus_out *out, struct ll_err *err)
{
    struct world *world = self;
    cr_assert(world->is_open, "sent outside of a transaction");
    cr_assert(world->pending_count < WORLD_PENDING_MAX);
    if (world->fail_sends > 0) {
        world->fail_sends--;
        return ll_fail(err, LL_RETRY, "the transaction has failed");
    }
    cr_assert(out->partition >= 0 && out->partition < world_partitions(world, out->topic));
    world->pending[world->pending_count].topic = out->topic;
    world->pending[world->pending_count].partition = out->partition;
    world->pending[world->pending_count].record =
        world_record_of(out->key, out->value, out->headers, out->header_count, out->timestamp_ms);
    world->pending_count++;
    return LL_OK;
}

/* Its transaction stays open until a successor's init. */
static void world_close_producer(void *self) { (void)self; }

static const struct bus_producer_ops world_producer = {
    .begin = world_begin,
    .send_offsets = world_send_offsets,
    .commit = world_commit,
    .abort = world_abort,
    .send = world_send,
    .close = world_close_producer,
};

enum ll_status world_open_producer(void *arg, struct bus_producer *ret, struct ll_err *err)
{
    struct world *world = arg;
    if (world->slow_opens > 0) {
        world->slow_opens--;
        return LL_OK;
    }
    if (world->fail_opens > 0) {
        world->fail_opens--;
        return ll_fail(err, LL_RETRY, "no broker answers");
    }
    world_drop_pending(world);
    world->opens++;
    *ret = (struct bus_producer){&world_producer, world};
    return LL_OK;
}

/* The side channel. */

static enum bus_event feed_read(void *self, int timeout_ms, struct bus_record *ret, struct ll_err *err)
{
    struct world *world = self;
    (void)err;
    for (size_t i = 0; i < sizeof FEED / sizeof FEED[0]; i++)
        for (int32_t partition = 0; partition < world_partitions(world, FEED[i]); partition++) {
            struct world_log *log = &world->logs[FEED[i]][partition];
            while ((size_t)log->feed_at < log->count && log->records[log->feed_at]->is_marker)
                log->feed_at++;
            if ((size_t)log->feed_at == log->count)
                continue;
            fill(log, FEED[i], partition, log->feed_at++, ret);
            return BUS_RECORD;
        }
    world->wall_ms += timeout_ms;
    world->steady_ms += timeout_ms;
    return BUS_NONE;
}

static void feed_release(void *self, struct bus_record *record)
{
    (void)self;
    record->held = NULL;
}

static bool feed_at_end(void *self)
{
    const struct world *world = self;
    for (size_t i = 0; i < sizeof FEED / sizeof FEED[0]; i++)
        for (int32_t partition = 0; partition < world_partitions(world, FEED[i]); partition++)
            if (world->logs[FEED[i]][partition].feed_at < world->logs[FEED[i]][partition].feed_end)
                return false;
    return true;
}

static enum ll_status feed_mark_end(void *self, struct ll_err *err)
{
    struct world *world = self;
    (void)err;
    for (size_t i = 0; i < sizeof FEED / sizeof FEED[0]; i++)
        for (int32_t partition = 0; partition < world_partitions(world, FEED[i]); partition++)
            world->logs[FEED[i]][partition].feed_end = (int64_t)world->logs[FEED[i]][partition].count;
    return LL_OK;
}

static enum ll_status feed_judged(void *self, bool *ret, struct ll_err *err)
{
    const struct world *world = self;
    (void)err;
    *ret = !world->is_unjudged;
    for (size_t i = 0; i < sizeof JUDGED / sizeof JUDGED[0]; i++)
        for (int32_t partition = 0; partition < world_partitions(world, JUDGED[i]); partition++) {
            const struct world_log *log = &world->logs[JUDGED[i]][partition];
            *ret = *ret && (log->committed < 0 ? 0 : log->committed) == (int64_t)log->count;
        }
    return LL_OK;
}

const struct feed_ops world_feed = {
    .read = feed_read,
    .release = feed_release,
    .at_end = feed_at_end,
    .mark_end = feed_mark_end,
    .judged = feed_judged,
};
