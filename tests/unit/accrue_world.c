#include "tests/unit/accrue_world.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

struct world world;
const char world_broken[] = "ERROR: relation \"loyalty.postings_1_0\" does not exist";

/* ---- clock and bus ---- */

static int64_t tell_ms(void *self)
{
    (void)self;
    return ++world.now_ms;
}

static enum bus_event poll_one(void *self, int timeout_ms, struct bus_record *ret, struct ll_err *err)
{
    (void)self, (void)timeout_ms, (void)err;
    world.looks++;
    if (!world.assigned) {
        world.assigned = true;
        return BUS_ASSIGNED;
    }
    if (world.burst > 0 && world.taken == world.burst) {
        world.taken = 0;
        return BUS_NONE;
    }
    for (int tries = 0; world.started && tries < PARTITIONS; tries++) {
        int32_t p = world.turn = (world.turn + 1) % PARTITIONS;
        if (world.at[p] == world.count[p] || world.paused[p])
            continue;
        int64_t number = world.at[p]++;
        *ret = (struct bus_record){ .topic = TOPIC_TRANSACTIONS_VALID,
                                    .partition = p,
                                    .offset = 2 * number,
                                    .timestamp_ms = 1000,
                                    .key = { "k", 1 } };
        ret->value = world.value(p, number);
        world.taken++;
        return BUS_RECORD;
    }
    return BUS_NONE;
}

static const struct bus_position *changed(void *self, size_t *ret_count, bool *ret_lost)
{
    static struct bus_position all[PARTITIONS];
    (void)self;
    for (int32_t p = 0; p < PARTITIONS; p++)
        all[p] = (struct bus_position){ .topic = TOPIC_TRANSACTIONS_VALID, .partition = p };
    *ret_count = PARTITIONS;
    *ret_lost = false;
    return all;
}

static enum ll_status start(void *self, const struct bus_position *from, size_t count, struct ll_err *err)
{
    (void)self;
    if (world.start_retries > 0) {
        world.start_retries--;
        return ll_fail(err, LL_RETRY, "no broker answers");
    }
    memset(world.paused, 0, sizeof world.paused);
    for (size_t i = 0; i < count; i++)
        world.at[from[i].partition] = (from[i].offset + 1) / 2;
    world.started = true;
    return LL_OK;
}

static enum ll_status stop(void *self, struct ll_err *err)
{
    (void)self, (void)err;
    world.started = false;
    return LL_OK;
}

static void release(void *self, struct bus_record *record)
{
    (void)self, (void)record;
}

static size_t headers(void *self, const struct bus_record *record, struct bus_header ret[BUS_HEADERS_MAX])
{
    (void)self, (void)record, (void)ret;
    return 0;
}

static int64_t position(void *self, enum topic topic, int32_t partition)
{
    (void)self, (void)topic;
    return world.at[partition] == 0 ? -1 : 2 * world.at[partition] - 1;
}

static enum ll_status watermarks(void *self, enum topic topic, int32_t partition, int64_t *ret_low,
                                 int64_t *ret_high, struct ll_err *err)
{
    (void)self, (void)topic, (void)err;
    *ret_low = 0;
    *ret_high = 2 * world.count[partition];
    return LL_OK;
}

static void commit(void *self, const struct bus_position *next, size_t count)
{
    (void)self, (void)next, (void)count;
}

static enum ll_status pause_one(void *self, enum topic topic, int32_t partition, bool paused,
                                struct ll_err *err)
{
    (void)self, (void)topic, (void)err;
    world.paused[partition] = paused;
    return LL_OK;
}

static const struct bus_consumer_ops bus_ops = { .poll = poll_one,
                                                 .changed = changed,
                                                 .start = start,
                                                 .stop = stop,
                                                 .release = release,
                                                 .headers = headers,
                                                 .position = position,
                                                 .watermarks = watermarks,
                                                 .commit = commit,
                                                 .pause = pause_one };

/* ---- Postgres ---- */

static enum store_reply claim(void *self, int32_t partition, int64_t wall_ms, struct ledger_claim *ret,
                              struct ll_err *err)
{
    (void)self, (void)wall_ms, (void)err;
    *ret = (struct ledger_claim){ .epoch = world.epochs[partition] = ++world.epoch,
                                  .next_offset = world.next[partition],
                                  .clock_ms = 0,
                                  .counts = world.counts[partition] };
    return STORE_OK;
}

static enum store_reply load(void *self, const struct ledger_mark *mark, int64_t identities_max,
                             int64_t accounts_max, const struct ledger_loader *to, bool *ret_identities,
                             bool *ret_accounts, struct ll_err *err)
{
    (void)self, (void)mark, (void)identities_max, (void)accounts_max, (void)to, (void)err;
    *ret_identities = !world.is_away;
    *ret_accounts = true;
    return STORE_OK;
}

static enum store_reply find(void *self, const struct ledger_view *view, const int64_t *identities, size_t identity_count,
                             const int64_t *sales, size_t sale_count, ledger_posting_fn *each, void *arg, struct ll_err *err)
{
    (void)self, (void)view, (void)identities, (void)identity_count, (void)sales, (void)sale_count, (void)each, (void)arg;
    if (!world.is_away)
        return STORE_OK;
    ll_fail(err, LL_RETRY, "Postgres does not answer");
    return STORE_DOWN;
}

static enum store_reply marks(void *self, struct ledger_mark *marks_of, size_t count, struct ll_err *err)
{
    (void)self, (void)err;
    for (size_t i = 0; i < count; i++)
        marks_of[i] = (struct ledger_mark){ marks_of[i].partition, world.epochs[marks_of[i].partition],
                                            world.next[marks_of[i].partition] };
    return STORE_OK;
}

static enum store_reply broken(struct ll_err *err)
{
    ll_fail(err, LL_FATAL, "%s", world_broken);
    return STORE_BROKEN;
}

static enum store_reply flush_begin(void *self, struct ledger_part *parts, size_t count, struct ll_err *err)
{
    (void)self;
    world.begins++;
    if (world.begin_reply == STORE_BROKEN)
        return broken(err);
    for (size_t i = 0; i < count && world.on_begin != NULL; i++)
        world.on_begin(&parts[i]);
    world.parts = parts;
    world.part_count = count;
    return STORE_OK;
}

static enum store_reply flush_poll(void *self, int timeout_ms, struct ll_err *err)
{
    (void)self, (void)timeout_ms;
    world.polls++;
    if (world.poll_reply == STORE_BROKEN)
        return broken(err);
    for (size_t i = 0; i < world.part_count; i++) {
        struct ledger_part *part = &world.parts[i];
        cr_assert_eq(part->first_offset, world.next[part->partition]);
        if (world.on_commit != NULL)
            world.on_commit(part);
        world.next[part->partition] = part->next_offset;
        world.counts[part->partition] = part->counts;
        part->reply = STORE_OK;
    }
    return STORE_OK;
}

static void flush_abandon(void *self)
{
    (void)self;
}

static const struct ledger_ops ledger_ops = { .claim = claim,
                                              .load = load,
                                              .find = find,
                                              .marks = marks,
                                              .flush_begin = flush_begin,
                                              .flush_poll = flush_poll,
                                              .flush_abandon = flush_abandon };

/* ---- Redis ---- */

static enum store_reply hot_claim(void *self, int32_t partition, int64_t epoch, int64_t next,
                                  int64_t *ret_next, struct ll_err *err)
{
    (void)self, (void)epoch, (void)err;
    *ret_next = world.told[partition] = next;
    return STORE_OK;
}

static enum store_reply apply(void *self, struct hot_batch *batches, size_t count, struct ll_err *err)
{
    (void)self, (void)err;
    world.applies++;
    for (size_t i = 0; i < count; i++) {
        if (world.on_apply != NULL)
            world.on_apply(&batches[i]);
        cr_assert_eq(batches[i].first, world.told[batches[i].partition]);
        world.told[batches[i].partition] = batches[i].next;
    }
    world.batches = batches;
    world.batch_count = count;
    return STORE_OK;
}

static enum store_reply collect(void *self, struct ll_err *err)
{
    (void)self, (void)err;
    for (size_t i = 0; i < world.batch_count; i++)
        world.batches[i].reply = STORE_OK;
    return STORE_OK;
}

static const struct hot_ops hot_ops = { .claim = hot_claim, .apply = apply, .collect = collect };

/* ---- lives ---- */

void world_open(void)
{
    struct ll_err err = { "" };
    setenv("LENS_LOG", "none", 1);
    world = (struct world){ 0 };
    config_defaults(&world.config);
    cr_assert_eq(codec_new(LENS_SOURCE_DIR "/schemas", NULL, &world.codec, &err), LL_OK, "%s", err.text);
    cr_assert_eq(calendar_new("UTC", &world.calendar, &err), LL_OK, "%s", err.text);
}

void world_close(void)
{
    calendar_free(world.calendar);
    codec_free(world.codec);
}

struct accrue *world_start(struct isolate *isolate)
{
    struct accrue *accrue = malloc(sizeof *accrue);
    cr_assert_not_null(accrue);
    world.assigned = world.started = false;
    world.part_count = world.batch_count = 0;
    accrue_init(accrue, &world.config, NULL, (struct bus_consumer){ &bus_ops, NULL },
                (struct ledger){ &ledger_ops, NULL }, (struct hot){ &hot_ops, NULL },
                (struct clock_source){ tell_ms, tell_ms, NULL }, world.codec, world.calendar);
    accrue->isolate = isolate;
    return accrue;
}

void world_stop(struct accrue *accrue)
{
    accrue_done(accrue);
    free(accrue);
}

bool world_all_committed(void)
{
    for (int32_t p = 0; p < PARTITIONS; p++)
        if (world.count[p] > 0 && world.next[p] < 2 * world.count[p] - 1)
            return false;
    return true;
}
