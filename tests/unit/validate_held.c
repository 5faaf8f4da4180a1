/* The validate loop against a Kafka in memory: what is not decided at once. Records wait for a reference or for the registry,
 * partitions for an operator; in the end each raw record is decided once all the same. */
#include "tests/unit/validate_world.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

static struct world world;

static void open_world(void) { world_open(&world); }
static void close_world(void) { world_close(&world); }
TestSuite(validate_held, .init = open_world, .fini = close_world);

/* lens resume, said at a time; partition -1: of all topics. */
static void put_resume(int32_t partition, int64_t time_ms)
{
    struct event command = {.kind = EVENT_COMMAND,
                            .command = {.process = TEXT("validate"),
                                        .verb = TEXT("resume"),
                                        .topic = partition < 0 ? TEXT("") : TEXT("transactions"),
                                        .partition = partition,
                                        .time_ms = time_ms}};
    world_put_event(&world, TOPIC_COMMANDS, 0, TEXT("validate"), &command);
}

Test(validate_held, a_sale_before_its_customer_waits_and_is_taken_with_its_own_time)
{
    world_start(&world);
    world_settle(&world);
    int64_t arrived_ms = world.wall_ms;
    int64_t offset = world_put_sale(&world, 1, "T1", 'c', "new");
    world_settle(&world);
    cr_assert_eq(world_valid_of(&world, 1, offset) + world_dead_of(&world, 1, offset), 0);
    cr_assert_eq(world_count(&world, TOPIC_TRANSACTIONS_RETRY, 1), 1);
    cr_assert_eq(world.logs[TOPIC_TRANSACTIONS][1].committed, offset + 1, "its own partition goes on");
    cr_assert_leq(world.logs[TOPIC_TRANSACTIONS_RETRY][1].committed, 0, "what waits is not acknowledged");
    world_put_customer(&world, "new");
    world_settle(&world);
    cr_assert_eq(world_valid_of(&world, 1, offset), 1);
    cr_assert_eq(world.logs[TOPIC_TRANSACTIONS_RETRY][1].committed, 2, "past the record and its marker");
    size_t n = world_count(&world, TOPIC_TRANSACTIONS_VALID, 1);
    bool found = false;
    for (size_t i = 0; i < n; i++) {
        const struct world_record *record = world_get(&world, TOPIC_TRANSACTIONS_VALID, 1, i);
        found = found || (record->key != NULL && strcmp(record->key, "new") == 0 &&
                          record->timestamp_ms == arrived_ms);
    }
    cr_assert(found, "the raw record's time is kept");
}

Test(validate_held, a_customer_who_never_comes_is_a_dead_letter_of_the_raw_record)
{
    world_start(&world);
    world_settle(&world);
    int64_t arrived_ms = world.wall_ms;
    world_put_sale(&world, 1, "T0", 0, NULL);
    int64_t offset = world_put_sale(&world, 1, "T1", 'c', "never");
    while (world_dead_of(&world, 1, offset) == 0 && world.wall_ms < arrived_ms + 60000)
        world_step(&world, 1);
    cr_assert_geq(world.wall_ms, arrived_ms + world.config.validate.grace_ms);
    cr_assert_leq(world.wall_ms, arrived_ms + world.config.validate.grace_ms + 2000);
    const struct world_record *record = world_get(&world, TOPIC_DEAD_LETTER, 1, 0);
    char wanted[32];
    cr_assert_str_eq(world_header(record, "ll-codes"), "CUSTOMER_UNKNOWN");
    cr_assert_str_eq(world_header(record, "ll-topic"), "transactions");
    cr_assert_str_eq(world_header(record, "ll-offset"), "1");
    snprintf(wanted, sizeof wanted, "%lld", (long long)arrived_ms);
    cr_assert_str_eq(world_header(record, "ll-timestamp"), wanted);
    cr_assert_eq(record->timestamp_ms, arrived_ms);
    world_expect_decided_once(&world, 1);
}

Test(validate_held, a_record_of_many_headers_that_waited_is_still_its_raw_record)
{
    struct line lines[1];
    struct event event = world_sale(&world, "T1", lines);
    char value[1024];
    struct bus_header headers[BUS_HEADERS_MAX];
    event.transaction.customer_id = TEXT("never");
    uint32_t size = (uint32_t)codec_write(world.codec, &event, value, sizeof value);
    for (int i = 0; i < BUS_HEADERS_MAX; i++)
        headers[i] = (struct bus_header){TEXT("theirs"), TEXT("x")};
    world_start(&world);
    world_settle(&world);
    world_put_sale(&world, 1, "T0", 0, NULL);
    int64_t arrived_ms = world.wall_ms, offset = world_put(&world, TOPIC_TRANSACTIONS, 1, TEXT("C1"),
                                                           (struct text){value, size}, headers, BUS_HEADERS_MAX);
    while (world_count(&world, TOPIC_DEAD_LETTER, 1) == 0 && world.wall_ms < arrived_ms + 60000)
        world_step(&world, 1);
    cr_assert_eq(world_dead_of(&world, 1, offset), 1);
    const struct world_record *dead = world_get(&world, TOPIC_DEAD_LETTER, 1, 0);
    cr_assert_eq(dead->timestamp_ms, arrived_ms);
    cr_assert(text_equal(dead->headers[0].name, TEXT("ll-codes")), "ours are among the first that a reader sees");
    world_expect_decided_once(&world, 1);
}

Test(validate_held, while_references_are_still_being_judged_nobody_is_unknown)
{
    world_start(&world);
    world_settle(&world);
    int64_t offset = world_put_sale(&world, 0, "T1", 'c', "slow");
    world.is_unjudged = true; /* another process of the group is behind */
    world_step(&world, 600);
    cr_assert_eq(world_dead_of(&world, 0, offset), 0,
                 "the grace is over, but the customer may lie in the raw topic");
    world.is_unjudged = false;
    world_put_customer(&world, "slow");
    world_settle(&world);
    cr_assert_eq(world_valid_of(&world, 0, offset), 1);
}

Test(validate_held, thousands_that_wait_pause_their_partition_and_all_are_decided)
{
    enum { COUNT = 5000 };
    world_start(&world);
    world_settle(&world);
    world.config.validate.refused_percent = 100;
    for (int i = 0; i < COUNT; i++) {
        char id[16];
        snprintf(id, sizeof id, "T%d", i);
        world_put_sale(&world, 0, id, 'c', "never");
        if (i % 1000 == 999)
            world_step(&world, 2);
    }
    world_settle(&world);
    cr_assert(world.logs[TOPIC_TRANSACTIONS_RETRY][0].paused);
    world_step(&world, 600);
    cr_assert_not(world.logs[TOPIC_TRANSACTIONS_RETRY][0].paused);
    cr_assert_eq(world_count(&world, TOPIC_DEAD_LETTER, 0), COUNT);
}

Test(validate_held, too_much_refused_pauses_the_partition_until_a_command)
{
    for (int i = 0; i < 300; i++) {
        char id[16];
        snprintf(id, sizeof id, "T%d", i);
        world_put_sale(&world, 0, id, 'p', NULL);
        world_put_sale(&world, 1, id, 0, NULL);
    }
    world_start(&world);
    world_settle(&world);
    cr_assert(world.logs[TOPIC_TRANSACTIONS][0].paused);
    cr_assert_not(world.logs[TOPIC_TRANSACTIONS][1].paused, "the other goes on");
    cr_assert_eq(world_count(&world, TOPIC_DEAD_LETTER, 0), 50);
    world_expect_decided_once(&world, 1);
    put_resume(0, world.wall_ms - 100000);
    world_settle(&world);
    cr_assert_eq(world_count(&world, TOPIC_DEAD_LETTER, 0), 50,
                 "a command from before the pause is not for it");
    put_resume(0, world.wall_ms);
    world_settle(&world);
    world_expect_decided_once(&world, 0);
    for (int i = 0; i < 1000; i++)
        world_put_sale(&world, 0, "good", 0, NULL);
    for (int i = 0; i < 1000; i++)
        world_put_sale(&world, 0, "bad", 'p', NULL);
    world_settle(&world);
    cr_assert(world.logs[TOPIC_TRANSACTIONS][0].paused, "what comes after good times is new trouble");
    put_resume(-1, world.wall_ms);
    world_settle(&world);
    cr_assert_not(world.logs[TOPIC_TRANSACTIONS][0].paused, "all");
}

/* Of two processes the other one went on with it; then the partition came back. */
Test(validate_held, a_command_is_also_for_who_has_lost_the_partition_meanwhile)
{
    for (int i = 0; i < 300; i++)
        world_put_sale(&world, 0, "T", 'p', NULL);
    world_start(&world);
    world_settle(&world);
    cr_assert(world.logs[TOPIC_TRANSACTIONS][0].paused);
    world.events[world.event_count++] = (struct world_event){BUS_REVOKED, false};
    world_settle(&world);
    put_resume(0, world.wall_ms);
    world_settle(&world);
    world.events[world.event_count++] = (struct world_event){BUS_ASSIGNED, false};
    world_settle(&world);
    cr_assert_not(world.logs[TOPIC_TRANSACTIONS][0].paused);
    cr_assert_eq(world_count(&world, TOPIC_DEAD_LETTER, 0), 300);
}

Test(validate_held, sales_that_wait_for_a_reference_are_not_left_out_of_the_share)
{
    world_start(&world);
    world_settle(&world);
    for (int i = 0; i < 1000; i++) /* 6 of 100 are bad, the others are before their customer */
        world_put_sale(&world, 0, "T", i % 16 == 15 ? 'p' : 'c', "late");
    world_settle(&world);
    cr_assert_not(world.logs[TOPIC_TRANSACTIONS][0].paused, "50 refused of 50 decided are 50 of 1,000 heard");
    world_put_customer(&world, "late");
    world_settle(&world);
    world_expect_decided_once(&world, 0);
}

Test(validate_held, too_much_refused_after_a_wait_pauses_the_partition_too)
{
    world_start(&world);
    world_settle(&world);
    for (int i = 0; i < 1000; i++)
        world_put_sale(&world, 0, "T", 'c', "never");
    world_step(&world, 600);
    cr_assert(world.logs[TOPIC_TRANSACTIONS][0].paused);
    cr_assert_lt(world_count(&world, TOPIC_DEAD_LETTER, 0), 300);
}

Test(validate_held, go_on_is_meant_for_those_that_wait_too)
{
    world_start(&world);
    world_settle(&world);
    for (int i = 0; i < 1000; i++)
        world_put_sale(&world, 0, "T", 'c', "never");
    world_step(&world, 600);
    cr_assert(world.logs[TOPIC_TRANSACTIONS][0].paused);
    for (int i = 0; i < 1500; i++) /* more than a window, all of the same trouble */
        world_put_sale(&world, 0, "T", 'c', "never");
    put_resume(-1, world.wall_ms);
    world_step(&world, 1200);
    cr_assert_not(world.logs[TOPIC_TRANSACTIONS][0].paused, "said once, it is said for all of it");
    world_expect_decided_once(&world, 0);
}

Test(validate_held, a_paused_partition_stays_paused_over_a_rebalance)
{
    for (int i = 0; i < 300; i++)
        world_put_sale(&world, 0, "T", 'p', NULL);
    world_start(&world);
    world_settle(&world);
    world_rebalance(&world, false);
    world_settle(&world);
    cr_assert(world.logs[TOPIC_TRANSACTIONS][0].paused);
    cr_assert_eq(world_count(&world, TOPIC_DEAD_LETTER, 0), 50);
}

Test(validate_held, a_source_may_be_allowed_to_be_refused)
{
    for (int i = 0; i < 300; i++) {
        struct line lines[1];
        struct event event = world_sale(&world, "T1", lines);
        event.transaction.source = TEXT("generator");
        event.transaction.total_minor = 1;
        world_put_event(&world, TOPIC_TRANSACTIONS, 0, TEXT("C1"), &event);
    }
    world_start(&world);
    world_settle(&world);
    cr_assert_eq(world_count(&world, TOPIC_DEAD_LETTER, 0), 300);
}

Test(validate_held, while_the_registry_is_down_records_wait_and_none_is_refused)
{
    world.is_registry_down = true;
    world_put_sale(&world, 0, "T0", 0, NULL);
    world_put(&world, TOPIC_TRANSACTIONS, 0, TEXT("C1"), TEXT("\0\0\x0f\x42\x40record of schema 1000000"),
              NULL, 0);
    world_put_sale(&world, 0, "T2", 0, NULL);
    world_put_sale(&world, 1, "T3", 0, NULL);
    world_start(&world);
    world_settle(&world);
    cr_assert_eq(world_count(&world, TOPIC_DEAD_LETTER, 0), 0, "an environment's failure is nobody's fault");
    cr_assert_eq(world.logs[TOPIC_TRANSACTIONS][0].committed, 1, "what stands before it is done");
    cr_assert_eq(world_valid_of(&world, 0, 2), 0, "what stands behind it waits");
    world_expect_decided_once(&world, 1);
    world_rebalance(&world, false);
    world_settle(&world);
    cr_assert_eq(world.logs[TOPIC_TRANSACTIONS][0].committed, 1);
    world.is_registry_down = false; /* and it does not know the schema */
    world_settle(&world);
    world_expect_decided_once(&world, 0);
    cr_assert_str_eq(world_header(world_get(&world, TOPIC_DEAD_LETTER, 0, 0), "ll-codes"), "SCHEMA_UNKNOWN");
    cr_assert_str_eq(world_header(world_get(&world, TOPIC_DEAD_LETTER, 0, 0), "ll-schema-id"), "1000000");
}

Test(validate_held, a_reference_record_that_waits_is_decided_once_over_the_start_of_the_sales)
{
    world.is_registry_down = true;
    world_put(&world, TOPIC_CUSTOMERS, 0, TEXT("C9"), TEXT("\0\0\x0f\x42\x40record of schema 1000000"), NULL,
              0);
    world_put_sale(&world, 0, "T0", 0, NULL);
    world_start(&world);
    world_settle(&world);
    cr_assert_eq(world_count(&world, TOPIC_TRANSACTIONS_VALID, 0), 0, "a customer may still come of it");
    for (int i = 0; i < 8; i++)
        world_settle(&world);
    world_expect_decided_once(&world, 0); /* but not for ever */
    world.is_registry_down = false;
    world_settle(&world);
    cr_assert_eq(world_count(&world, TOPIC_DEAD_LETTER, 0), 1);
    cr_assert_str_eq(world_header(world_get(&world, TOPIC_DEAD_LETTER, 0, 0), "ll-topic"), "customers");
}

Test(validate_held, records_that_wait_do_not_stop_those_behind_them)
{
    world.config.validate.batch_events = 2;
    world.config.validate.tick_ms = 3600000; /* no control record commits for them */
    world_start(&world);
    world_settle(&world);
    for (int i = 0; i < 4; i++)
        world_put_sale(&world, 1, "T1", 'c', "never");
    world_settle(&world);
    int64_t offset = world_put_sale(&world, 1, "T2", 0, NULL);
    size_t polls = world.polls;
    world_step(&world, 20);
    cr_assert_gt(world.polls, polls, "the group must hear of us");
    cr_assert_eq(world_valid_of(&world, 1, offset), 1);
}
