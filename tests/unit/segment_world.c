#include "tests/unit/segment_world.h"

#include "state/copy_field.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

uint64_t world_dice(struct world *w, uint64_t sides)
{
    uint64_t x = w->random += UINT64_C(0x9e3779b97f4a7c15);
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return (x ^ (x >> 31)) % sides;
}

static bool fails(struct world *w)
{
    return (int)world_dice(w, 1000) < w->faults;
}

void kept_put(struct kept_list *list, const char *key, int64_t number, const char *bytes, size_t size)
{
    struct kept *at = NULL;
    for (size_t i = 0; i < list->count && key != NULL; i++)
        if (strcmp(list->rows[i].key, key) == 0)
            at = &list->rows[i];
    if (at == NULL) {
        cr_assert_lt(list->count, (size_t)KEPT_MAX);
        at = &list->rows[list->count++];
        at->bytes = NULL;
    }
    free(at->bytes);
    at->bytes = malloc(size + 1);
    memcpy(at->bytes, bytes, size);
    at->size = size;
    at->number = number;
    snprintf(at->key, sizeof at->key, "%s", key == NULL ? "" : key);
}

void kept_drop(struct kept_list *list)
{
    for (size_t i = 0; i < list->count; i++)
        free(list->rows[i].bytes);
    list->count = 0;
}

/* Live, the clock goes on: a second later, in every partition that was read to its end. In the log's own clock that would end days
 * that have no rows. */
static void tell_time(struct world *w)
{
    for (int p = 0; p < PARTITIONS && w->config.segment.clock[0] == 'e'; p++)
        if (w->logs[p].next == w->logs[p].count && w->logs[p].count < RECORDS_MAX)
            world_tick(w, p, w->last_tick_ms += 1000);
}

/* ---- the bus ---- */

static enum bus_event bus_poll(void *self, int timeout_ms, struct bus_record *ret, struct ll_err *err)
{
    struct world *w = self;
    (void)err;
    w->now_ms += timeout_ms;
    if (!w->told) {
        w->told = true;
        return BUS_ASSIGNED;
    }
    if (w->faults > 0 && world_dice(w, 3000) == 0) {
        w->told = w->flowing = false;
        return BUS_REVOKED;
    }
    if (w->flowing && world_dice(w, 200) == 0)
        tell_time(w);
    for (int try = 0; w->flowing && try < PARTITIONS; try++) {
        size_t p = world_dice(w, PARTITIONS);
        if (w->logs[p].paused || w->logs[p].next >= w->logs[p].count || world_dice(w, 4) == 0)
            continue;
        int64_t offset = w->logs[p].next++;
        *ret = (struct bus_record){ .topic = TOPIC_LEDGER,
                                    .partition = (int32_t)p,
                                    .offset = offset,
                                    .value = { w->logs[p].values[offset], w->logs[p].sizes[offset] } };
        return BUS_RECORD;
    }
    return BUS_NONE;
}

static const struct bus_position *bus_changed(void *self, size_t *ret_count, bool *ret_lost)
{
    *ret_count = PARTITIONS;
    *ret_lost = false;
    return ((struct world *)self)->changed;
}

static enum ll_status bus_start(void *self, const struct bus_position *from, size_t count, struct ll_err *err)
{
    struct world *w = self;
    (void)err;
    w->flowing = count > 0;
    for (size_t at = 0; at < count; at++) {
        w->logs[at].next = from[at].offset;
        w->logs[at].paused = false;
    }
    return LL_OK;
}

static enum ll_status bus_stop(void *self, struct ll_err *err)
{
    (void)self;
    (void)err;
    return LL_OK;
}

static void bus_release(void *self, struct bus_record *record)
{
    (void)self;
    record->value = (struct text){ 0 };
}

static int64_t bus_position(void *self, enum topic topic, int32_t partition)
{
    (void)topic;
    return ((struct world *)self)->logs[partition].next;
}

static enum ll_status bus_committed(void *self, struct bus_position *positions, size_t count,
                                    struct ll_err *err)
{
    (void)err;
    cr_assert_eq(count, 1u);
    positions[0].offset = ((struct world *)self)->progress;
    return LL_OK;
}

static void bus_commit(void *self, const struct bus_position *next, size_t count)
{
    (void)self;
    (void)next;
    (void)count;
}

static enum ll_status bus_pause(void *self, enum topic topic, int32_t partition, bool paused,
                                struct ll_err *err)
{
    (void)topic;
    (void)err;
    ((struct world *)self)->logs[partition].paused = paused;
    return LL_OK;
}

static void bus_close(void *self)
{
    (void)self;
}

static const struct bus_consumer_ops consumer_ops = {
    .poll = bus_poll,
    .changed = bus_changed,
    .start = bus_start,
    .stop = bus_stop,
    .release = bus_release,
    .position = bus_position,
    .committed = bus_committed,
    .commit = bus_commit,
    .pause = bus_pause,
    .close = bus_close,
};

static enum ll_status producer_begin(void *self, struct ll_err *err)
{
    struct world *w = self;
    kept_drop(&w->sent);
    w->sent_progress = -1;
    return fails(w) ? ll_fail(err, LL_RETRY, "begin") : LL_OK;
}

static enum ll_status producer_send(void *self, const struct bus_out *out, struct ll_err *err)
{
    struct world *w = self;
    if (fails(w))
        return ll_fail(err, LL_RETRY, "send");
    kept_put(&w->sent, NULL, 0, out->value.data, out->value.size);
    return LL_OK;
}

static enum ll_status producer_offsets(void *self, struct bus_consumer *consumer,
                                       const struct bus_position *next, size_t count, struct ll_err *err)
{
    (void)consumer;
    (void)err;
    cr_assert_eq(count, 1u);
    ((struct world *)self)->sent_progress = next[0].offset;
    return LL_OK;
}

/* Done and not told, or not done: both look the same. */
static enum ll_status producer_commit(void *self, struct ll_err *err)
{
    struct world *w = self;
    bool lost = fails(w), done = !lost || world_dice(w, 2) == 0;
    for (size_t at = 0; at < w->sent.count && done; at++)
        kept_put(&w->published, NULL, 0, w->sent.rows[at].bytes, w->sent.rows[at].size);
    if (done)
        w->progress = w->sent_progress;
    kept_drop(&w->sent);
    return lost ? ll_fail(err, LL_FATAL, "commit") : LL_OK;
}

static enum ll_status producer_abort(void *self, struct ll_err *err)
{
    (void)err;
    kept_drop(&((struct world *)self)->sent);
    return LL_OK;
}

static const struct bus_producer_ops producer_ops = {
    .begin = producer_begin,
    .send = producer_send,
    .send_offsets = producer_offsets,
    .commit = producer_commit,
    .abort = producer_abort,
    .close = bus_close,
};

static enum ll_status open_consumer(void *arg, struct bus_consumer *ret, struct ll_err *err)
{
    (void)err;
    *ret = (struct bus_consumer){ &consumer_ops, arg };
    return LL_OK;
}

static enum ll_status open_producer(void *arg, struct bus_producer *ret, struct ll_err *err)
{
    if (fails(arg))
        return ll_fail(err, LL_RETRY, "no coordinator");
    kept_drop(&((struct world *)arg)->sent);
    *ret = (struct bus_producer){ &producer_ops, arg };
    return LL_OK;
}

/* ---- the store ---- */

static enum store_reply store_claim(void *self, int64_t wall_ms, struct segment_owner *ret,
                                    struct segment_part *parts, size_t count, struct ll_err *err)
{
    struct world *w = self;
    (void)wall_ms;
    if (fails(w)) {
        ll_fail(err, LL_RETRY, "claim");
        return world_dice(w, 2) == 0 ? STORE_BUSY : STORE_DOWN;
    }
    w->owner.epoch++;
    w->is_owned = true;
    *ret = w->owner;
    memcpy(parts, w->parts, count * sizeof *parts);
    return STORE_OK;
}

/* The fields of one row; arrays of a threshold have 20 bytes before their elements. */
static size_t split(const char *bytes, size_t size, struct text fields[32], size_t *ret_size)
{
    struct copy_cursor cursor = { .at = bytes, .end = bytes + size };
    size_t count = take_u16(&cursor);
    for (size_t at = 0; at < count; at++)
        fields[at] = take_bytes(&cursor);
    cr_assert(!cursor.bad);
    *ret_size = (size_t)(cursor.at - bytes);
    return count;
}

static int64_t int_of(struct text field)
{
    uint64_t value = 0;
    for (uint32_t at = 0; at < field.size; at++)
        value = value << 8 | (unsigned char)field.data[at];
    return field.size == 4 ? (int32_t)value : (int64_t)value;
}

static int64_t element(struct text array, size_t at, uint32_t size)
{
    return array.size < 20 ? 0 : int_of((struct text){ array.data + 24 + at * (4 + size), size });
}

static enum store_reply store_load(void *self, const struct segment_owner *owner,
                                   const struct segment_loader *to, struct ll_err *err)
{
    struct world *w = self;
    struct text f[32];
    size_t size;
    (void)err;
    for (size_t at = 0; at < w->thresholds.count; at++) {
        if (w->thresholds.rows[at].number != owner->threshold_version)
            continue;
        split(w->thresholds.rows[at].bytes, w->thresholds.rows[at].size, f, &size);
        struct segment_threshold t = { .version = (int32_t)int_of(f[1]),
                                       .day = (int32_t)int_of(f[2]) + COPY_EPOCH_DAY,
                                       .customers = int_of(f[4]),
                                       .rated = int_of(f[5]),
                                       .base = int_of(f[6]),
                                       .k = int_of(f[7]),
                                       .threshold_minor = int_of(f[8]),
                                       .members = int_of(f[9]),
                                       .median_balance = int_of(f[13]),
                                       .categories = (int32_t)int_of(f[14]) };
        for (size_t cut = 0; cut < SEGMENT_CUTS; cut++) {
            t.r_cuts[cut] = (int32_t)element(f[10], cut, 4);
            t.f_cuts[cut] = (int32_t)element(f[11], cut, 4);
            t.m_cuts[cut] = element(f[12], cut, 8);
        }
        to->threshold(to->arg, &t);
    }
    for (size_t at = 0; at < w->category_count; at++)
        to->category(to->arg, w->categories[at]);
    for (size_t at = 0; at < w->standing.count; at++) {
        size_t count = split(w->standing.rows[at].bytes, w->standing.rows[at].size, f, &size);
        cr_assert(to->standing(to->arg, f[1], f[count - 1]));
    }
    return STORE_OK;
}

static void keep_standing(struct world *w, const struct row_buffer *rows, bool is_new)
{
    struct text f[32];
    char key[64];
    size_t size, before = w->standing.count;
    for (size_t at = 0; at < rows->size; at += size) {
        split(rows->data + at, rows->size - at, f, &size);
        snprintf(key, sizeof key, "%.*s", (int)f[1].size, f[1].data);
        kept_put(&w->standing, key, 0, rows->data + at, size);
    }
    cr_assert_eq(w->standing.count, before + (is_new ? rows->rows : 0),
                 "new customers are new, known ones known");
}

static void apply(struct world *w, const struct segment_commit *commit)
{
    struct text f[32];
    size_t size;
    w->owner = *commit->owner;
    memcpy(w->parts, commit->parts, commit->part_count * sizeof *w->parts);
    keep_standing(w, commit->newcomers, true);
    keep_standing(w, commit->standing, false);
    for (size_t at = 0; at < commit->thresholds->size; at += size) {
        split(commit->thresholds->data + at, commit->thresholds->size - at, f, &size);
        kept_put(&w->thresholds, NULL, int_of(f[1]), commit->thresholds->data + at, size);
    }
    for (size_t at = 0; at < commit->changes->size; at += size) {
        char key[64];
        split(commit->changes->data + at, commit->changes->size - at, f, &size);
        snprintf(key, sizeof key, "%.*s", (int)f[2].size, f[2].data);
        size_t before = w->changes.count;
        kept_put(&w->changes, key, int_of(f[1]), commit->changes->data + at, size);
        cr_assert_eq(w->changes.count, before + 1, "a change is made once");
    }
    for (size_t at = 0; at < commit->category_count; at++) {
        char *name = strndup(commit->categories[at].data, commit->categories[at].size);
        w->categories[w->category_count++] = text_of(name);
    }
}

static enum store_reply store_commit(void *self, const struct segment_commit *commit, struct ll_err *err)
{
    struct world *w = self;
    if (!w->is_owned || commit->owner->epoch != w->owner.epoch) {
        ll_fail(err, LL_RETRY, "epoch");
        return STORE_NOT_MINE;
    }
    bool lost = fails(w);
    if (!lost || world_dice(w, 2) == 0)
        apply(w, commit);
    if (!lost)
        return STORE_OK;
    w->is_owned = false;
    ll_fail(err, LL_RETRY, "no reply");
    return STORE_DOWN;
}

static enum store_reply store_changes(void *self, int64_t from, int64_t limit, segment_change_row_fn *each,
                                      void *arg, struct ll_err *err)
{
    struct world *w = self;
    (void)err;
    for (int64_t number = from; number < from + limit && number < from + 7; number++)
        for (size_t at = 0; at < w->changes.count; at++) {
            struct segment_change change;
            int64_t change_no;
            if (w->changes.rows[at].number != number)
                continue;
            cr_assert(segment_read_change(w->changes.rows[at].bytes, w->changes.rows[at].size, &change_no,
                                          &change));
            each(arg, change_no, &change);
        }
    return STORE_OK;
}

static enum store_reply store_set(void *self, int64_t upto, int64_t again, struct ll_err *err)
{
    (void)again, (void)err;
    ((struct world *)self)->owner.relayed_upto = upto;
    return STORE_OK;
}

static const struct segment_store_ops store_ops = { .claim = store_claim,
                                                    .load = store_load,
                                                    .commit = store_commit,
                                                    .changes = store_changes,
                                                    .set_relayed = store_set,
                                                    .close = bus_close };

static int64_t now(void *self)
{
    return ((struct world *)self)->now_ms += 1;
}

/* ---- the ledger ---- */

void world_append(struct world *w, int partition, const struct event *event)
{
    char value[512];
    size_t size = codec_write(w->codec, event, value, sizeof value);
    cr_assert_gt(size, 0u);
    int64_t at = w->logs[partition].count++;
    w->logs[partition].values[at] = malloc(size);
    memcpy(w->logs[partition].values[at], value, size);
    w->logs[partition].sizes[at] = (uint32_t)size;
}

void world_tick(struct world *w, int partition, int64_t time_ms)
{
    world_append(w, partition,
           &(struct event){ .kind = EVENT_CONTROL, .control = { .kind = CONTROL_TICK, .time_ms = time_ms } });
}

/* ---- all of it ---- */

struct world *world_new(struct codec *codec, struct calendar *calendar, bool by_event)
{
    struct world *w = calloc(1, sizeof *w);
    w->codec = codec;
    w->calendar = calendar;
    config_defaults(&w->config);
    snprintf(w->config.segment.clock, sizeof w->config.segment.clock, "%s", by_event ? "event" : "log");
    w->owner.next_change = w->owner.relayed_upto = 1;
    w->progress = -1;
    w->now_ms = 1000000;
    for (int p = 0; p < PARTITIONS; p++)
        w->parts[p] = (struct segment_part){ .partition = p, .row_offset = -1 };
    return w;
}

void world_free(struct world *w)
{
    for (int p = 0; p < PARTITIONS; p++)
        for (int64_t at = 0; at < w->logs[p].count; at++)
            free(w->logs[p].values[at]);
    for (size_t at = 0; at < w->category_count; at++)
        free((char *)(uintptr_t)w->categories[at].data);
    kept_drop(&w->sent);
    kept_drop(&w->published);
    kept_drop(&w->standing);
    kept_drop(&w->thresholds);
    kept_drop(&w->changes);
    free(w);
}

struct segment_needs world_needs(struct world *w)
{
    return (struct segment_needs){
        .config = &w->config,
        .store = { &store_ops, w },
        .clock = { now, now, w },
        .calendar = w->calendar,
        .codec = w->codec,
        .partitions = PARTITIONS,
        .open_consumer = open_consumer,
        .open_producer = open_producer,
        .arg = w,
    };
}

void world_kill(struct world *w)
{
    w->told = w->flowing = w->is_owned = false;
}
