/* accrue's own loop, with a record that kills it: found in a bounded number of deaths wherever it kills, refused whole, and every
 * other record decided once. The stores are a few numbers; a death leaves the loop by longjmp. Nothing here can be decoded, so that
 * each record is one dead letter and needs no rules. Linked with --wrap=codec_read. */
#include "consumers/accrue/accrue.h"

#include <criterion/criterion.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PARTITIONS = 3, RECORDS_MAX = 3000, DEATHS_MAX = 60, STEPS_MAX = 200000 };

enum place { IN_DECODE, IN_REDIS, IN_FLUSH };

static struct world {
    int64_t count[PARTITIONS], poison[PARTITIONS]; /* records, by number; their offsets are even: markers between */
    enum place place;
    int64_t batch;
    /* Postgres */
    int64_t epoch, epochs[PARTITIONS], next[PARTITIONS];
    struct ledger_counts counts[PARTITIONS];
    unsigned char refused[PARTITIONS][RECORDS_MAX], crashed[PARTITIONS][RECORDS_MAX];
    /* the client */
    int64_t now_ms, at[PARTITIONS];
    bool assigned, started;
    int32_t turn;
    struct ledger_part *parts;
    size_t part_count;
    struct hot_batch *batches;
    size_t batch_count;
    int deaths;
    bool condemned; /* IN_REDIS: the record is refused, and its batch names nobody that kills */
} world;
/* transaction_valid's frame (schemas/ids.conf, 1002), and nothing that can be decoded. */
static const struct text harmless = { "\0\0\0\003\352bytes", 10 }, poison = { "\0\0\0\003\352poison", 11 };
static jmp_buf death;
static char path[64];

enum ll_status __real_codec_read(struct codec *codec, enum event_kind kind, struct text value, struct codec_scratch *scratch,
                                 struct event *ret, enum code *ret_code, struct ll_err *err);
enum ll_status __wrap_codec_read(struct codec *codec, enum event_kind kind, struct text value, struct codec_scratch *scratch,
                                 struct event *ret, enum code *ret_code, struct ll_err *err);
enum ll_status __wrap_codec_read(struct codec *codec, enum event_kind kind, struct text value, struct codec_scratch *scratch,
                                 struct event *ret, enum code *ret_code, struct ll_err *err)
{
    if (world.place == IN_DECODE && text_equal(value, poison))
        longjmp(death, 1);
    return __real_codec_read(codec, kind, value, scratch, ret, ret_code, err);
}

/* ---- clock and bus ---- */

static int64_t tell_ms(void *self)
{
    (void)self;
    return ++world.now_ms;
}

static enum bus_event poll_one(void *self, int timeout_ms, struct bus_record *ret, struct ll_err *err)
{
    (void)self, (void)timeout_ms, (void)err;
    if (!world.assigned) {
        world.assigned = true;
        return BUS_ASSIGNED;
    }
    for (int tries = 0; world.started && tries < PARTITIONS; tries++) {
        int32_t p = world.turn = (world.turn + 1) % PARTITIONS;
        if (world.at[p] == world.count[p])
            continue;
        bool kills = world.at[p] == world.poison[p];
        *ret = (struct bus_record){ .topic = TOPIC_TRANSACTIONS_VALID, .partition = p, .offset = 2 * world.at[p]++,
                                    .timestamp_ms = 1000, .key = { "k", 1 } };
        ret->value = kills ? poison : harmless;
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
    (void)self, (void)err;
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

static void release(void *self, struct bus_record *record) { (void)self, (void)record; }

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

static enum ll_status watermarks(void *self, enum topic topic, int32_t partition, int64_t *ret_low, int64_t *ret_high,
                                 struct ll_err *err)
{
    (void)self, (void)topic, (void)err;
    *ret_low = 0;
    *ret_high = 2 * world.count[partition];
    return LL_OK;
}

static void commit(void *self, const struct bus_position *next, size_t count) { (void)self, (void)next, (void)count; }

static enum ll_status pause_one(void *self, enum topic topic, int32_t partition, bool paused, struct ll_err *err)
{
    (void)self, (void)topic, (void)partition, (void)paused, (void)err;
    return LL_OK;
}

static const struct bus_consumer_ops bus_ops = { .poll = poll_one, .changed = changed, .start = start, .stop = stop,
                                                 .release = release, .headers = headers, .position = position,
                                                 .watermarks = watermarks, .commit = commit, .pause = pause_one };

/* ---- Postgres ---- */

static enum store_reply claim(void *self, int32_t partition, int64_t wall_ms, struct ledger_claim *ret, struct ll_err *err)
{
    (void)self, (void)wall_ms, (void)err;
    *ret = (struct ledger_claim){ .epoch = world.epochs[partition] = ++world.epoch, .next_offset = world.next[partition], .clock_ms = 0,
                                  .counts = world.counts[partition] };
    return STORE_OK;
}

static enum store_reply load(void *self, const struct ledger_mark *mark, int64_t identities_max, int64_t accounts_max,
                             const struct ledger_loader *to, bool *ret_identities, bool *ret_accounts, struct ll_err *err)
{
    (void)self, (void)mark, (void)identities_max, (void)accounts_max, (void)to, (void)err;
    *ret_identities = *ret_accounts = true;
    return STORE_OK;
}

static enum store_reply marks(void *self, struct ledger_mark *marks_of, size_t count, struct ll_err *err)
{
    (void)self, (void)err;
    for (size_t i = 0; i < count; i++)
        marks_of[i] = (struct ledger_mark){ marks_of[i].partition, world.epochs[marks_of[i].partition],
                                            world.next[marks_of[i].partition] };
    return STORE_OK;
}

static bool kills_when_written(int32_t partition, const struct kept_record *dead)
{
    return world.place == IN_FLUSH && dead->event_offset == 2 * world.poison[partition] &&
           (dead->codes & code_bit(CODE_RECORD_CRASHED)) == 0;
}

static enum store_reply flush_begin(void *self, struct ledger_part *parts, size_t count, struct ll_err *err)
{
    (void)self, (void)err;
    for (size_t i = 0; i < count; i++)
        for (size_t k = 0; k < parts[i].dead_count; k++)
            if (kills_when_written(parts[i].partition, &parts[i].dead[k]))
                longjmp(death, 1);
    world.parts = parts;
    world.part_count = count;
    return STORE_OK;
}

static enum store_reply flush_poll(void *self, int timeout_ms, struct ll_err *err)
{
    (void)self, (void)timeout_ms, (void)err;
    for (size_t i = 0; i < world.part_count; i++) {
        struct ledger_part *part = &world.parts[i];
        cr_assert_eq(part->first_offset, world.next[part->partition]);
        for (size_t k = 0; k < part->dead_count; k++) {
            int64_t number = part->dead[k].event_offset / 2;
            bool crashed = (part->dead[k].codes & code_bit(CODE_RECORD_CRASHED)) != 0;
            world.refused[part->partition][number]++;
            world.crashed[part->partition][number] += crashed;
        }
        world.next[part->partition] = part->next_offset;
        world.counts[part->partition] = part->counts;
        part->reply = STORE_OK;
    }
    return STORE_OK;
}

static void flush_abandon(void *self) { (void)self; }

static const struct ledger_ops ledger_ops = { .claim = claim, .load = load, .marks = marks, .flush_begin = flush_begin,
                                              .flush_poll = flush_poll, .flush_abandon = flush_abandon };

/* ---- Redis ---- */

static enum store_reply hot_claim(void *self, int32_t partition, int64_t epoch, int64_t next, int64_t *ret_next,
                                  struct ll_err *err)
{
    (void)self, (void)partition, (void)epoch, (void)err;
    *ret_next = next;
    return STORE_OK;
}

static enum store_reply apply(void *self, struct hot_batch *batches, size_t count, struct ll_err *err)
{
    (void)self, (void)err;
    for (size_t i = 0; i < count && world.place == IN_REDIS; i++) {
        int64_t offset = 2 * world.poison[batches[i].partition];
        if (batches[i].first <= offset && offset < batches[i].next && !world.condemned)
            longjmp(death, 1);
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

static bool all_committed(void)
{
    for (int32_t p = 0; p < PARTITIONS; p++)
        if (world.count[p] > 0 && world.next[p] < 2 * world.count[p] - 1)
            return false;
    return true;
}

/* Until all is committed: true; or until it dies. */
static bool live(struct accrue *accrue)
{
    struct ll_err err = { "" };
    if (setjmp(death) != 0)
        return false;
    for (int step = 0; !all_committed(); step++) {
        cr_assert_lt(step, STEPS_MAX, "it does not come forward");
        cr_assert_eq(accrue_step(accrue, &err), LL_OK, "%s", err.text);
    }
    accrue_finish(accrue, 100);
    return true;
}

static void run(void)
{
    struct config *config = malloc(sizeof *config);
    struct codec *codec = NULL;
    struct calendar *calendar = NULL;
    struct ll_err err = { "" };
    cr_assert_not_null(config);
    config_defaults(config);
    config->accrue.batch_events = world.batch;
    config->accrue.flush_ms = 10;
    cr_assert_eq(codec_new(LENS_SOURCE_DIR "/schemas", NULL, &codec, &err), LL_OK, "%s", err.text);
    cr_assert_eq(calendar_new("UTC", &calendar, &err), LL_OK, "%s", err.text);
    const struct clock_source clock = { tell_ms, tell_ms, NULL };
    for (bool done = false; !done;) {
        struct accrue *accrue = malloc(sizeof *accrue);
        struct isolate *isolate = NULL;
        cr_assert_not_null(accrue);
        world.assigned = world.started = false;
        cr_assert_eq(isolate_open(path, &isolate, &err), LL_OK, "%s", err.text);
        accrue_init(accrue, config, NULL, (struct bus_consumer){ &bus_ops, NULL }, (struct ledger){ &ledger_ops, NULL },
                    (struct hot){ &hot_ops, NULL }, clock, codec, calendar);
        accrue->isolate = isolate;
        for (int32_t p = 0; p < PARTITIONS; p++)
            world.condemned = world.condemned ||
                              isolate_is_condemned(isolate, TOPIC_TRANSACTIONS_VALID, p, 2 * world.poison[p]);
        done = live(accrue);
        isolate_close(isolate);
        accrue_done(accrue);
        free(accrue);
        if (!done)
            cr_assert_lt(++world.deaths, DEATHS_MAX, "it goes on dying");
    }
    calendar_free(calendar);
    codec_free(codec);
    free(config);
}

static const struct {
    const char *why;
    enum place place;
    int64_t count[PARTITIONS], poison[PARTITIONS], batch;
    int deaths; /* at most */
} cases[] = {
    { "none", IN_DECODE, { 2000, 10, 0 }, { -1, -1, -1 }, 500, 0 },
    { "the only record", IN_DECODE, { 1, 0, 0 }, { 0, -1, -1 }, 500, 2 },
    { "deep in a batch", IN_DECODE, { 3000, 0, 0 }, { 1700, -1, -1 }, 4096, 7 },
    { "among other partitions", IN_DECODE, { 1000, 1000, 1000 }, { -1, 999, -1 }, 4096, 7 },
    { "one in each partition", IN_DECODE, { 900, 900, 900 }, { 7, 450, 899 }, 4096, 21 },
    { "its balance kills when it is sent to Redis", IN_REDIS, { 3000, 0, 0 }, { 1700, -1, -1 }, 4096, 7 },
    { "its rows kill when they are sent to Postgres", IN_FLUSH, { 3000, 0, 0 }, { 1700, -1, -1 }, 4096, 9 },
    { "its rows, among other partitions", IN_FLUSH, { 1000, 1000, 1000 }, { -1, 999, -1 }, 4096, 9 },
};

Test(accrue_isolate, a_record_that_kills_is_refused_and_nobody_else_is)
{
    setenv("LENS_LOG", "none", 1);
    snprintf(path, sizeof path, "/tmp/lens-accrue-isolate-%d", (int)getpid());
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        unlink(path);
        world = (struct world){ .place = cases[i].place, .batch = cases[i].batch };
        memcpy(world.count, cases[i].count, sizeof world.count);
        memcpy(world.poison, cases[i].poison, sizeof world.poison);
        run();
        cr_expect_leq(world.deaths, cases[i].deaths, "%s: %d deaths", cases[i].why, world.deaths);
        for (int32_t p = 0; p < PARTITIONS; p++)
            for (int64_t at = 0; at < world.count[p]; at++) {
                cr_assert_eq(world.refused[p][at], 1, "%s: %d/%d refused %d times", cases[i].why, p, (int)at, world.refused[p][at]);
                cr_assert_eq(world.crashed[p][at], at == world.poison[p], "%s: %d/%d", cases[i].why, p, (int)at);
            }
    }
    unlink(path);
}
