/* accrue's own loop, with a record that kills it: found in a bounded number of deaths wherever it kills, refused whole, and every
 * other record decided once. A death leaves the loop by longjmp. Nothing here can be decoded, so that each record is one dead
 * letter and needs no rules. Linked with --wrap=codec_read. */
#include "tests/unit/accrue_world.h"

#include <criterion/criterion.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { DEATHS_MAX = 60, STEPS_MAX = 200000 };

enum place { IN_DECODE, IN_REDIS, IN_FLUSH };

static struct {
    enum place place;
    int64_t poison[PARTITIONS]; /* records, by number */
    unsigned char refused[PARTITIONS][RECORDS_MAX], crashed[PARTITIONS][RECORDS_MAX];
    int deaths;
    bool condemned; /* IN_REDIS: the record is refused, and its batch names nobody that kills */
} trial;
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
    if (trial.place == IN_DECODE && text_equal(value, poison))
        longjmp(death, 1);
    return __real_codec_read(codec, kind, value, scratch, ret, ret_code, err);
}

static struct text value_of(int32_t partition, int64_t number)
{
    return number == trial.poison[partition] ? poison : harmless;
}

static void on_begin(const struct ledger_part *part)
{
    for (size_t i = 0; i < part->dead_count && trial.place == IN_FLUSH; i++)
        if (part->dead[i].event_offset == 2 * trial.poison[part->partition] &&
            (part->dead[i].codes & code_bit(CODE_RECORD_CRASHED)) == 0)
            longjmp(death, 1);
}

static void on_commit(const struct ledger_part *part)
{
    for (size_t i = 0; i < part->dead_count; i++) {
        int64_t number = part->dead[i].event_offset / 2;
        trial.refused[part->partition][number]++;
        if ((part->dead[i].codes & code_bit(CODE_RECORD_CRASHED)) != 0)
            trial.crashed[part->partition][number]++;
    }
}

static void on_apply(const struct hot_batch *batch)
{
    int64_t offset = 2 * trial.poison[batch->partition];
    if (trial.place == IN_REDIS && batch->first <= offset && offset < batch->next && !trial.condemned)
        longjmp(death, 1);
}

/* Until all is committed: true; or until it dies. */
static bool live(struct accrue *accrue)
{
    struct ll_err err = { "" };
    if (setjmp(death) != 0)
        return false;
    for (int step = 0; !world_all_committed(); step++) {
        cr_assert_lt(step, STEPS_MAX, "it does not come forward");
        cr_assert_eq(accrue_step(accrue, &err), LL_OK, "%s", err.text);
    }
    accrue_finish(accrue, 100);
    return true;
}

static void run(void)
{
    for (bool done = false; !done;) {
        struct ll_err err = { "" };
        struct isolate *isolate = NULL;
        cr_assert_eq(isolate_open(path, &isolate, &err), LL_OK, "%s", err.text);
        struct accrue *accrue = world_start(isolate);
        for (int32_t p = 0; p < PARTITIONS; p++)
            trial.condemned = trial.condemned ||
                              isolate_is_condemned(isolate, TOPIC_TRANSACTIONS_VALID, p, 2 * trial.poison[p]);
        done = live(accrue);
        isolate_close(isolate);
        world_stop(accrue);
        if (!done)
            cr_assert_lt(++trial.deaths, DEATHS_MAX, "it goes on dying");
    }
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
    snprintf(path, sizeof path, "/tmp/lens-accrue-isolate-%d", (int)getpid());
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        unlink(path);
        world_open();
        world.config.accrue.batch_events = cases[i].batch;
        world.config.accrue.flush_ms = 10;
        world.value = value_of;
        world.on_apply = on_apply;
        world.on_begin = on_begin;
        world.on_commit = on_commit;
        memset(&trial, 0, sizeof trial);
        trial.place = cases[i].place;
        memcpy(world.count, cases[i].count, sizeof world.count);
        memcpy(trial.poison, cases[i].poison, sizeof trial.poison);
        run();
        cr_expect_leq(trial.deaths, cases[i].deaths, "%s: %d deaths", cases[i].why, trial.deaths);
        for (int32_t p = 0; p < PARTITIONS; p++)
            for (int64_t at = 0; at < world.count[p]; at++) {
                cr_assert_eq(trial.refused[p][at], 1, "%s: %d/%d refused %d times", cases[i].why, p, (int)at, trial.refused[p][at]);
                cr_assert_eq(trial.crashed[p][at], at == trial.poison[p], "%s: %d/%d", cases[i].why, p, (int)at);
            }
        world_close();
    }
    unlink(path);
}
