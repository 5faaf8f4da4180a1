/* When accrue's loop tells Redis and Postgres what it has decided: live at once, while catching up gathered; and how it ends. */
#include "tests/unit/accrue_world.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

enum { BATCH = 100, CUSTOMERS = 50, STEPS_MAX = 20000, FLUSHES_MAX = 16, FLUSH_EVENTS = 1600 };

static struct {
    size_t customers;             /* sent to Redis, all calls together */
    int64_t flushes[FLUSHES_MAX]; /* rows of each */
    int flush_count;
} seen;

/* A sale of one of a few customers. No rules are in force: it is posted, and gives no points. */
static struct text sale(int32_t partition, int64_t number)
{
    static char value[1024];
    char id[32], customer[32];
    snprintf(id, sizeof id, "sale-%d-%lld", (int)partition, (long long)number);
    snprintf(customer, sizeof customer, "customer-%d-%lld", (int)partition, (long long)number % CUSTOMERS);
    struct line line = {
        .line_no = 1, .product_id = TEXT("p"), .quantity = 1, .unit_price_minor = 500, .amount_minor = 500
    };
    struct event event = { .kind = EVENT_TRANSACTION_VALID };
    event.transaction = (struct transaction){ .transaction_id = text_of(id),
                                              .type = TRANSACTION_SALE,
                                              .customer_id = text_of(customer),
                                              .event_time_ms = 1000,
                                              .store_id = TEXT("s"),
                                              .currency = TEXT("EUR"),
                                              .source = TEXT("till"),
                                              .source_ref = TEXT("1"),
                                              .lines = &line,
                                              .line_count = 1,
                                              .raw_topic = TEXT("transactions") };
    event.transaction.content_hash = transaction_content_hash(&event.transaction);
    size_t size = codec_write(world.codec, &event, value, sizeof value);
    cr_assert_gt(size, 0);
    return (struct text){ value, (uint32_t)size };
}

/* The bus's records live until they are released: as many as a batch may hold. */
static struct text kept_sale(int32_t partition, int64_t number)
{
    static char kept[4 * BATCH][256];
    static size_t at;
    struct text value = sale(partition, number);
    cr_assert_leq(value.size, sizeof kept[0]);
    at = (at + 1) % (sizeof kept / sizeof kept[0]);
    memcpy(kept[at], value.data, value.size);
    return (struct text){ kept[at], value.size };
}

static void count_customers(const struct hot_batch *batch)
{
    seen.customers += batch->count;
}

/* One partition, and nothing that ends a batch or begins a flush by itself. */
static struct accrue *begin(int64_t count)
{
    memset(&seen, 0, sizeof seen);
    world_open();
    world.value = kept_sale;
    world.count[0] = count;
    world.config.accrue.batch_events = BATCH;
    world.config.accrue.flush_ms = 60000;
    world.on_apply = count_customers;
    return world_start(NULL);
}

static void end(struct accrue *accrue)
{
    accrue_finish(accrue, 1000);
    world_stop(accrue);
    world_close();
}

static void step(struct accrue *accrue)
{
    struct ll_err err = { "" };
    cr_assert_eq(accrue_step(accrue, &err), LL_OK, "%s", err.text);
}

static void step_until_started(struct accrue *accrue)
{
    for (int i = 0; !world.started; i++) {
        cr_assert_lt(i, STEPS_MAX);
        step(accrue);
    }
}

Test(accrue_loop, while_catching_up_a_customer_of_several_batches_is_told_once)
{
    struct accrue *accrue = begin(10 * BATCH + 1);
    step_until_started(accrue);
    for (int i = 0; i < 10; i++) {
        step(accrue);
        cr_assert_eq(world.at[0], (i + 1) * BATCH);
        cr_assert_eq(world.applies, 0, "batch %d was told", i);
    }
    step(accrue); /* not full: nothing more waits */
    cr_assert_eq(world.applies, 1);
    cr_assert_eq(world.told[0], 2 * 10 * BATCH + 1);
    cr_assert_eq(seen.customers, CUSTOMERS);
    end(accrue);
}

Test(accrue_loop, a_start_that_fails_is_tried_again)
{
    struct accrue *accrue = begin(BATCH);
    world.start_retries = 3;
    step_until_started(accrue);
    for (int i = 0; i < 3; i++)
        step(accrue);
    cr_assert_eq(world.at[0], BATCH);
    end(accrue);
}

/* Else the group takes it for dead after a minute (max.poll.interval.ms). */
Test(accrue_loop, a_full_batch_that_waits_for_postgres_does_not_keep_from_polling)
{
    struct accrue *accrue = begin(10 * BATCH);
    world.is_away = true;
    step_until_started(accrue);
    step(accrue);
    cr_assert_eq(world.at[0], BATCH);
    for (int64_t until_ms = world.now_ms + 6000; world.now_ms < until_ms;)
        step(accrue);
    cr_assert(world.paused[0]);
    int64_t looks = world.looks;
    for (int i = 0; i < 10; i++)
        step(accrue);
    cr_assert_eq(world.looks, looks + 10);
    cr_assert_eq(world.at[0], BATCH);
    world.is_away = false;
    for (int i = 0; i < STEPS_MAX && world.at[0] < 10 * BATCH; i++)
        step(accrue);
    end(accrue);
    cr_assert_eq(world.next[0], 2 * 10 * BATCH - 1);
}

Test(accrue_loop, live_every_batch_is_told_at_once)
{
    enum { BURST = 40 };
    struct accrue *accrue = begin(10 * BURST);
    world.burst = BURST;
    step_until_started(accrue);
    for (int i = 0; i < 10; i++) {
        step(accrue);
        cr_assert_eq(world.at[0], (i + 1) * BURST);
        cr_assert_eq(world.applies, i + 1);
        cr_assert_eq(world.told[0], 2 * world.at[0] - 1);
    }
    cr_assert_eq(seen.customers, 10 * BURST);
    end(accrue);
}

static void redis_is_not_behind(const struct ledger_part *part)
{
    cr_assert_eq(world.told[part->partition], part->next_offset, "Postgres is given what Redis was not");
    if (part->postings->rows > 0)
        seen.flush_count++;
}

Test(accrue_loop, redis_is_told_before_a_flush_begins)
{
    struct accrue *accrue = begin(20 * BATCH);
    world.count[1] = world.count[2] = 20 * BATCH;
    world.config.accrue.flush_events = 8 * BATCH; /* the first after one batch, in the midst of catching up */
    world.on_begin = redis_is_not_behind;
    for (int i = 0; world.at[0] + world.at[1] + world.at[2] < 60 * BATCH; i++) {
        cr_assert_lt(i, STEPS_MAX);
        step(accrue);
    }
    cr_assert_gt(seen.flush_count, 5);
    end(accrue);
}

static void note_flush(const struct ledger_part *part)
{
    if (part->postings->rows > 0 && seen.flush_count < FLUSHES_MAX)
        seen.flushes[seen.flush_count++] = (int64_t)part->postings->rows;
}

Test(accrue_loop, the_first_flushes_of_a_catch_up_are_small)
{
    static const int64_t wanted[] = { FLUSH_EVENTS / 8, FLUSH_EVENTS / 4, FLUSH_EVENTS / 2, FLUSH_EVENTS };
    enum { WANTED = sizeof wanted / sizeof wanted[0] };
    struct accrue *accrue = begin(RECORDS_MAX);
    world.config.accrue.flush_events = FLUSH_EVENTS;
    world.on_begin = note_flush;
    for (int i = 0; world.at[0] < RECORDS_MAX; i++) {
        cr_assert_lt(i, STEPS_MAX);
        step(accrue);
    }
    cr_assert_geq(seen.flush_count, WANTED);
    for (int i = 0; i < WANTED; i++)
        cr_assert_eq(seen.flushes[i], wanted[i], "flush %d has %lld rows", i, (long long)seen.flushes[i]);
    end(accrue);
}

Test(accrue_loop, live_a_flush_does_not_wait_for_more_than_a_few_megabytes)
{
    enum { BURST = 40, RECORDS = 500 * BURST };
    struct accrue *accrue = begin(RECORDS);
    world.burst = BURST;
    world.on_begin = note_flush;
    world.config.accrue.flush_ms = 6000; /* a quarter of it passes here, but not all */
    for (int i = 0; world.at[0] < RECORDS; i++) {
        cr_assert_lt(i, STEPS_MAX);
        step(accrue);
    }
    cr_assert_lt(world.now_ms, world.config.accrue.flush_ms, "%lld ms", (long long)world.now_ms);
    cr_assert_gt(seen.flush_count, 0, "%d rows wait after %lld ms", RECORDS, (long long)world.now_ms);
    end(accrue);
}

/* The store says that this can never work: the loop ends with its words, and whoever stops asks it nothing more. */
static void ends_with_its_words(struct accrue *accrue)
{
    struct ll_err err = { "" };
    enum ll_status status = LL_OK;
    for (int i = 0; status == LL_OK; i++) {
        cr_assert_lt(i, STEPS_MAX, "it goes on");
        status = accrue_step(accrue, &err);
    }
    cr_assert_eq(status, LL_FATAL);
    cr_assert_str_eq(err.text, world_broken);
    int begins = world.begins, polls = world.polls;
    int64_t before_ms = world.now_ms;
    accrue_finish(accrue, 60000);
    cr_assert_eq(world.begins, begins, "a flush was begun again");
    cr_assert_eq(world.polls, polls, "it was asked again");
    cr_assert_lt(world.now_ms - before_ms, 1000, "it waited");
    world_stop(accrue);
    world_close();
}

Test(accrue_loop, a_flush_that_cannot_begin_ends_the_loop)
{
    struct accrue *accrue = begin(20 * BATCH);
    world.config.accrue.flush_events = 8 * BATCH;
    world.begin_reply = STORE_BROKEN;
    ends_with_its_words(accrue);
}

Test(accrue_loop, a_flush_that_cannot_end_ends_the_loop)
{
    struct accrue *accrue = begin(20 * BATCH);
    world.config.accrue.flush_events = 8 * BATCH;
    world.poll_reply = STORE_BROKEN;
    ends_with_its_words(accrue);
}
