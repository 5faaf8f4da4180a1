/* The validate loop against a Kafka in memory: each raw record is decided once, whatever happens around it.
 */
#include "tests/unit/validate_world.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static struct world world;

static void open_world(void) { world_open(&world); }
static void close_world(void) { world_close(&world); }
TestSuite(validate_loop, .init = open_world, .fini = close_world);

static void read_first_valid(int32_t partition, struct codec_scratch *scratch, struct event *ret)
{
    struct world_record record = {0};
    enum code code;
    for (size_t n = 0;; n++) {
        record = *world_get(&world, TOPIC_TRANSACTIONS_VALID, partition, n);
        struct text value = {record.value, record.value_size};
        if (codec_schema_id(value, &code) != codec_own_id(world.codec, EVENT_TRANSACTION_VALID))
            continue;
        cr_assert_eq(codec_read(world.codec, EVENT_TRANSACTION_VALID, value, scratch, ret, &code, &world.err),
                     LL_OK);
        return;
    }
}

Test(validate_loop, a_good_sale_goes_on_with_its_category_and_where_it_came_from)
{
    int64_t offset = world_put_sale(&world, 1, "T1", 0, NULL);
    int64_t arrived_ms = world.wall_ms;
    world_start(&world);
    world_settle(&world);
    struct codec_scratch *scratch = codec_scratch_new();
    struct event event;
    read_first_valid(1, scratch, &event);
    const struct world_record *record = world_get(&world, TOPIC_TRANSACTIONS_VALID, 1, 0);
    cr_assert_str_eq(record->key, "C1", "the customer is the key");
    cr_assert_eq(record->timestamp_ms, arrived_ms);
    cr_assert(text_equal(event.transaction.raw_topic, TEXT("transactions")));
    cr_assert_eq(event.transaction.raw_partition, 1);
    cr_assert_eq(event.transaction.raw_offset, offset);
    cr_assert_eq(event.transaction.attempt, 0);
    cr_assert(text_equal(event.transaction.lines[0].category, TEXT("tea")));
    cr_assert_eq(event.transaction.content_hash, transaction_content_hash(&event.transaction));
    codec_scratch_free(scratch);
    world_expect_decided_once(&world, 1);
    cr_assert_eq(world_count(&world, TOPIC_TRANSACTIONS_RETRY, 1), 0,
                 "references that came before are known");
}

Test(validate_loop, keys_follow_the_plan)
{
    struct line lines[1];
    struct event event = world_sale(&world, "T1", lines);
    event.transaction.customer_id = (struct text){NULL, 0};
    world_put_event(&world, TOPIC_TRANSACTIONS, 0, TEXT("x"), &event);
    event.transaction.type = TRANSACTION_RETURN;
    event.transaction.original_transaction_id = TEXT("T0");
    world_put_event(&world, TOPIC_TRANSACTIONS, 0, TEXT("x"), &event);
    world_start(&world);
    world_settle(&world);
    cr_assert_str_eq(world_get(&world, TOPIC_TRANSACTIONS_VALID, 0, 0)->key, "T1");
    cr_assert_str_eq(world_get(&world, TOPIC_TRANSACTIONS_VALID, 0, 1)->key, "T0");
}

Test(validate_loop, a_dead_letter_is_the_record_itself_and_says_why)
{
    struct line lines[1];
    struct event event = world_sale(&world, "T1", lines);
    event.transaction.total_minor = 5;
    char value[1024];
    uint32_t size = (uint32_t)codec_write(world.codec, &event, value, sizeof value);
    struct bus_header headers[] = {{TEXT("trace"), TEXT("abc")}, {TEXT("ll-codes"), TEXT("OLD")}};
    world_put(&world, TOPIC_TRANSACTIONS, 1, TEXT("key"), TEXT("\x01garbage"), NULL, 0);
    int64_t offset =
        world_put(&world, TOPIC_TRANSACTIONS, 1, TEXT("key"), (struct text){value, size}, headers, 2);
    int64_t arrived_ms = world.wall_ms;
    world_start(&world);
    world_settle(&world);
    const struct world_record *garbage = world_get(&world, TOPIC_DEAD_LETTER, 1, 0);
    cr_assert_str_eq(world_header(garbage, "ll-codes"), "FRAME_MAGIC");
    cr_assert_str_eq(world_header(garbage, "ll-schema-id"), "-1");
    const struct world_record *record = world_get(&world, TOPIC_DEAD_LETTER, 1, 1);
    char wanted[32];
    cr_assert_str_eq(record->key, "key");
    cr_assert(record->value_size == size && memcmp(record->value, value, size) == 0,
              "the bytes are untouched");
    cr_assert_eq(record->timestamp_ms, arrived_ms);
    cr_assert_str_eq(world_header(record, "trace"), "abc");
    cr_assert_str_eq(world_header(record, "ll-codes"), "TOTAL_MISMATCH", "ours replaces an older one");
    cr_assert_str_eq(world_header(record, "ll-stage"), "validate");
    cr_assert_str_eq(world_header(record, "ll-topic"), "transactions");
    cr_assert_str_eq(world_header(record, "ll-partition"), "1");
    snprintf(wanted, sizeof wanted, "%lld", (long long)offset);
    cr_assert_str_eq(world_header(record, "ll-offset"), wanted);
    snprintf(wanted, sizeof wanted, "%lld", (long long)arrived_ms);
    cr_assert_str_eq(world_header(record, "ll-timestamp"), wanted);
    cr_assert_str_eq(world_header(record, "ll-first-at"), wanted);
    snprintf(wanted, sizeof wanted, "%d", codec_own_id(world.codec, EVENT_TRANSACTION));
    cr_assert_str_eq(world_header(record, "ll-schema-id"), wanted);
    cr_assert_str_eq(world_header(record, "ll-group"), "lens-validate");
    cr_assert_str_eq(world_header(record, "ll-attempt"), "0");
    cr_assert_str_eq(world_header(record, "ll-message"),
                     "TOTAL_MISMATCH: total_amount 5, the lines' sum is 1000");
    cr_assert_str_eq(world_header(record, "__connect.errors.topic"), "", "aliases only where configured");
}

Test(validate_loop, aliases_of_other_tools)
{
    world.settings.alias_connect = world.settings.alias_spring = true;
    world_put_sale(&world, 1, "T1", 'p', NULL);
    world_start(&world);
    world_settle(&world);
    const struct world_record *record = world_get(&world, TOPIC_DEAD_LETTER, 1, 0);
    cr_assert_str_eq(world_header(record, "__connect.errors.topic"), "transactions");
    cr_assert_str_eq(world_header(record, "__connect.errors.offset"), "0");
    cr_assert_str_eq(world_header(record, "kafka_dlt-original-topic"), "transactions");
    cr_assert_eq(memcmp(world_header(record, "kafka_dlt-original-partition"), "\0\0\0\1", 4), 0);
}

Test(validate_loop, an_aborted_batch_is_read_again_and_leaves_nothing_behind)
{
    for (int i = 0; i < 50; i++) {
        char id[16];
        snprintf(id, sizeof id, "T%d", i);
        world_put_sale(&world, i % 2, id, i % 5 == 0 ? 'p' : 0, NULL);
    }
    world_start(&world);
    world.fail_commits = 3;
    world_settle(&world);
    cr_assert_geq(world.aborts, 3);
    world_expect_decided_once(&world, 0);
    world_expect_decided_once(&world, 1);
}

Test(validate_loop, a_send_that_fails_aborts_too)
{
    world_put_sale(&world, 0, "T1", 0, NULL);
    world_put_sale(&world, 0, "T2", 0, NULL);
    world_start(&world);
    world_step(&world, 20);
    world_put_sale(&world, 0, "T3", 0, NULL);
    world.fail_sends = 1;
    world_settle(&world);
    world_expect_decided_once(&world, 0);
}

Test(validate_loop, a_producer_that_is_lost_is_replaced_and_nothing_with_it)
{
    world_put_sale(&world, 0, "T1", 0, NULL);
    world_start(&world);
    world_settle(&world);
    cr_assert_eq(world.opens, 1);
    world_put_sale(&world, 0, "T2", 0, NULL);
    world.break_commits = 1;
    world.fail_opens = 2; /* the broker is not back yet */
    world_settle(&world);
    world_expect_decided_once(&world, 0);
    cr_assert_eq(world.opens, 2);
}

Test(validate_loop, until_a_producer_is_ready_references_are_read_and_nothing_is_started)
{
    int64_t offset = world_put_sale(&world, 0, "T1", 0, NULL);
    world.slow_opens = 40;
    world_start(&world);
    world_step(&world, 30);
    cr_assert_eq(world.starts, 0);
    cr_assert_eq(world.logs[TOPIC_TRANSACTIONS][0].position, -1);
    world_settle(&world);
    cr_assert_eq(world.opens, 1);
    cr_assert_eq(world_valid_of(&world, 0, offset), 1);
}

Test(validate_loop, where_no_raw_reference_waits_sales_are_started_at_once)
{
    world_start(&world);
    world_settle(&world);
    cr_assert_eq(world.starts, 2, "the first time the references are judged alone");
    world_kill(&world);
    int64_t offset = world_put_sale(&world, 0, "T1", 0, NULL), began_ms = world.steady_ms;
    world.starts = 0;
    world_start(&world);
    while (world.starts == 0 && world.steady_ms < began_ms + 1000)
        world_step(&world, 1);
    cr_assert_leq(world.started_ms, began_ms + 5, "nothing is waited for: %lld ms",
                  (long long)(world.started_ms - began_ms));
    world_settle(&world);
    cr_assert_eq(world.starts, 1);
    cr_assert_eq(world_valid_of(&world, 0, offset), 1);
    cr_assert_eq(world_count(&world, TOPIC_TRANSACTIONS_RETRY, 0), 0);
}

Test(validate_loop, a_raw_reference_before_a_sale_is_judged_first_after_a_rebalance_too)
{
    world_start(&world);
    world_settle(&world);
    world_put_customer(&world, "new");
    int64_t offset = world_put_sale(&world, 1, "T1", 'c', "new");
    world_rebalance(&world, false);
    world_step(&world, 1); /* revoked before anything was polled */
    world.starts = 0;
    world_settle(&world);
    cr_assert_eq(world.starts, 2);
    cr_assert_eq(world_valid_of(&world, 1, offset), 1);
    cr_assert_eq(world_count(&world, TOPIC_TRANSACTIONS_RETRY, 1), 0,
                 "it was known when the sale was judged");
}

Test(validate_loop, a_transaction_that_cannot_even_be_aborted_ends_with_its_producer)
{
    world_put_sale(&world, 0, "T1", 0, NULL);
    world_start(&world);
    world_settle(&world);
    world_put_sale(&world, 0, "T2", 0, NULL);
    world_put_sale(&world, 0, "T3", 0, NULL);
    world.fail_sends = 1;
    world.break_aborts = 1;
    world_settle(&world);
    world_expect_decided_once(&world, 0);
    cr_assert_eq(world.opens, 2);
}

Test(validate_loop, killed_at_every_step_each_record_is_still_decided_once)
{
    for (int i = 0; i < 40; i++) {
        char id[16];
        snprintf(id, sizeof id, "T%d", i);
        world_put_sale(&world, i % 2, id, i % 7 == 0 ? 'p' : i % 11 == 0 ? 'c' : 0, "later");
    }
    world.config.validate.batch_events = 3;
    for (int steps = 1; steps < 12; steps++) {
        world_start(&world);
        world_step(&world, steps);
        world_kill(&world);
    }
    world_put_customer(&world, "later");
    world_start(&world);
    world_settle(&world);
    world_expect_decided_once(&world, 0);
    world_expect_decided_once(&world, 1);
}

Test(validate_loop, a_rebalance_commits_what_is_decided_and_goes_on_behind_it)
{
    for (int i = 0; i < 30; i++) {
        char id[16];
        snprintf(id, sizeof id, "T%d", i);
        world_put_sale(&world, 0, id, i % 10 == 3 ? 'c' : 0, "later"); /* some wait while it happens */
    }
    world_start(&world);
    world_step(&world, 8);
    world_rebalance(&world, false);
    world_step(&world, 8);
    world_rebalance(&world, true);
    world_step(&world, 8);
    world_put_customer(&world, "later");
    world_settle(&world);
    world_expect_decided_once(&world, 0);
}

Test(validate_loop, partitions_that_are_lost_are_not_committed)
{
    world_start(&world);
    world_settle(&world);
    world_put_sale(&world, 0, "T1", 0, NULL);
    world.config.validate.batch_events = 1000;
    size_t commits = world.commits;
    world_rebalance(&world, true);
    world_step(&world, 1); /* revoked */
    cr_assert_eq(world.commits, commits);
    world_settle(&world);
    world_expect_decided_once(&world, 0);
}

Test(validate_loop, a_redriven_record_keeps_its_first_arrival_and_counts_its_attempts)
{
    struct line lines[1];
    struct event event = world_sale(&world, "T1", lines);
    char value[1024], first[32];
    int64_t first_ms = world.wall_ms - INT64_C(40) * 86400000;
    event.transaction.event_time_ms = first_ms - 1000; /* late by now, in time then */
    uint32_t size = (uint32_t)codec_write(world.codec, &event, value, sizeof value);
    snprintf(first, sizeof first, "%lld", (long long)first_ms);
    struct bus_header headers[] = {{TEXT("ll-first-at"), text_of(first)}, {TEXT("ll-attempt"), TEXT("2")}};
    world_put(&world, TOPIC_TRANSACTIONS, 0, TEXT("C1"), (struct text){value, size}, headers, 2);
    event.transaction.total_minor = 1;
    size = (uint32_t)codec_write(world.codec, &event, value, sizeof value);
    world_put(&world, TOPIC_TRANSACTIONS, 0, TEXT("C1"), (struct text){value, size}, headers, 2);
    world_start(&world);
    world_settle(&world);
    struct codec_scratch *scratch = codec_scratch_new();
    read_first_valid(0, scratch, &event);
    cr_assert_eq(event.transaction.attempt, 2);
    codec_scratch_free(scratch);
    const struct world_record *record = world_get(&world, TOPIC_DEAD_LETTER, 0, 0);
    cr_assert_str_eq(world_header(record, "ll-attempt"), "2");
    cr_assert_str_eq(world_header(record, "ll-first-at"), first);
    cr_assert_str_eq(world_header(record, "ll-codes"), "TOTAL_MISMATCH");
}

Test(validate_loop, a_bad_line_goes_alone_with_the_whole_event)
{
    struct line lines[3];
    struct event event = world_sale(&world, "T1", lines);
    event.transaction.source = TEXT("online_retail");
    event.transaction.lines = lines;
    event.transaction.line_count = 3;
    event.transaction.total_minor = 3000;
    lines[1] = lines[2] = lines[0];
    lines[1].line_no = 7;
    lines[1].unit_price_minor = 0;
    lines[2].line_no = 9;
    world_put_event(&world, TOPIC_TRANSACTIONS, 0, TEXT("C1"), &event);
    world_start(&world);
    world_settle(&world);
    const struct world_record *record = world_get(&world, TOPIC_DEAD_LETTER, 0, 0);
    const struct world_record *raw = world_get(&world, TOPIC_TRANSACTIONS, 0, 0);
    cr_assert_str_eq(world_header(record, "ll-line"), "7");
    cr_assert_str_eq(world_header(record, "ll-line-index"), "1");
    cr_assert_str_eq(world_header(record, "ll-codes"), "PRICE_NOT_POSITIVE,LINE_AMOUNT_MISMATCH");
    cr_assert(record->value_size == raw->value_size &&
              memcmp(record->value, raw->value, raw->value_size) == 0);
    struct codec_scratch *scratch = codec_scratch_new();
    read_first_valid(0, scratch, &event);
    cr_assert_eq(event.transaction.line_count, 2);
    cr_assert_eq(event.transaction.lines[1].line_no, 9);
    cr_assert_eq(event.transaction.total_minor, 2000);
    cr_assert_eq(event.transaction.content_hash, transaction_content_hash(&event.transaction));
    codec_scratch_free(scratch);
}

static void publish_rules(int32_t version)
{
    struct event rules = {.kind = EVENT_LOYALTY_RULES,
                          .loyalty_rules = {.version = version, .document = TEXT("x")}};
    world_put_event(&world, TOPIC_LOYALTY_RULES, 0, TEXT(""), &rules);
}

Test(validate_loop, rules_are_told_to_every_partition_before_the_sales)
{
    size_t count;
    publish_rules(3);
    world_put_sale(&world, 0, "T1", 0, NULL);
    world_start(&world);
    world_settle(&world);
    cr_assert_eq(world_control(&world, 0, CONTROL_RULES, &count), 3);
    cr_assert_eq(world_control(&world, 1, CONTROL_RULES, &count), 3);
    enum code code;
    const struct world_record *first = world_get(&world, TOPIC_TRANSACTIONS_VALID, 0, 0);
    cr_assert_eq(codec_schema_id((struct text){first->value, first->value_size}, &code),
                 codec_own_id(world.codec, EVENT_CONTROL), "rules come first");
    publish_rules(4);
    world.fail_commits = 1; /* and an abort does not swallow them */
    world_settle(&world);
    cr_assert_eq(world_control(&world, 0, CONTROL_RULES, &count), 4);
    world_rebalance(&world, false);
    world_settle(&world);
    cr_assert_eq(world_control(&world, 1, CONTROL_RULES, &count), 4);
    cr_assert_eq(count, 3, "told again to whoever has them now");
}

Test(validate_loop, the_clock_ticks_in_quiet_partitions_and_never_ahead_of_a_backlog)
{
    size_t count;
    world.config.validate.tick_ms = 1000;
    world_start(&world);
    world_step(&world, 200);
    int64_t tick_ms = world_control(&world, 0, CONTROL_TICK, &count);
    cr_assert_geq(count, 5);
    cr_assert_geq(tick_ms, world.wall_ms - 2000);
    cr_assert_leq(tick_ms, world.wall_ms);
    world_kill(&world);

    int64_t backlog_ms = world.wall_ms;
    for (int i = 0; i < 300; i++) {
        char id[16];
        snprintf(id, sizeof id, "T%d", i);
        world_put_sale(&world, 0, id, 0, NULL);
    }
    world.wall_ms += 3600000; /* an hour later a successor starts */
    world.config.validate.batch_events = 2;
    world.config.validate.tick_ms = 100;
    world_start(&world);
    while (world.logs[TOPIC_TRANSACTIONS][0].committed < 290) {
        world_step(&world, 1);
        cr_assert_leq(world_control(&world, 0, CONTROL_TICK, &count), backlog_ms, "the backlog's own time");
    }
    world_step(&world, 100);
    cr_assert_gt(world_control(&world, 0, CONTROL_TICK, &count), backlog_ms + 3600000, "then the wall's");
}

Test(validate_loop, an_idle_process_writes_nothing)
{
    world.config.validate.tick_ms = 3600000;
    world_start(&world);
    world_step(&world, 100);
    size_t commits = world.commits;
    world_step(&world, 200);
    cr_assert_eq(world.commits, commits);
}

Test(validate_loop, reference_records_go_to_their_valid_topics)
{
    struct event event = {.kind = EVENT_CUSTOMER,
                          .customer = {.customer_id = TEXT("C2"),
                                       .effective_from_ms = 77,
                                       .email = TEXT("a@b"),
                                       .mailable = true,
                                       .source = TEXT("pos"),
                                       .source_ref = TEXT("t:2")}};
    world_put_event(&world, TOPIC_CUSTOMERS, 0, TEXT("C2"), &event);
    struct event promotion = {.kind = EVENT_PROMOTION,
                              .promotion = {.promotion_id = TEXT("A"),
                                            .start_day = 2,
                                            .end_day = 1,
                                            .source = TEXT("pos"),
                                            .source_ref = TEXT("t:3")}};
    world_put_event(&world, TOPIC_PROMOTIONS, 0, TEXT("A"), &promotion);
    struct event stock = {.kind = EVENT_INVENTORY,
                          .inventory = {.store_id = TEXT("S1"),
                                        .product_id = TEXT("P1"),
                                        .event_time_ms = world.wall_ms,
                                        .on_hand = 3,
                                        .source = TEXT("pos"),
                                        .source_ref = TEXT("t:4")}};
    world_put_event(&world, TOPIC_INVENTORY, 0, TEXT("S1"), &stock);
    world_start(&world);
    world_settle(&world);
    cr_assert_eq(world_count(&world, TOPIC_PRODUCTS_VALID, 0), 1);
    cr_assert_eq(world_count(&world, TOPIC_STORES_VALID, 0), 1);
    cr_assert_eq(world_count(&world, TOPIC_INVENTORY_VALID, 0), 1);
    cr_assert_eq(world_count(&world, TOPIC_PROMOTIONS_VALID, 0), 0);
    const struct world_record *record = world_get(&world, TOPIC_CUSTOMERS_VALID, 0, 1);
    cr_assert_str_eq(record->key, "C2|77");
    struct codec_scratch *scratch = codec_scratch_new();
    enum code code;
    cr_assert_eq(codec_read(world.codec, EVENT_CUSTOMER, (struct text){record->value, record->value_size},
                            scratch, &event, &code, &world.err),
                 LL_OK);
    cr_assert_not(event.customer.mailable, "kept, never mailed");
    codec_scratch_free(scratch);
    cr_assert_str_eq(world_header(world_get(&world, TOPIC_DEAD_LETTER, 0, 0), "ll-codes"), "DATES_REVERSED");
    cr_assert_str_eq(world_header(world_get(&world, TOPIC_DEAD_LETTER, 0, 0), "ll-topic"), "promotions");
}

/* As a process leaves it that died of these records of one partition, so often. */
static void die_of(int64_t first, int64_t count, int deaths)
{
    char path[64];
    snprintf(path, sizeof path, "/tmp/lens-validate-loop-%d", (int)getpid());
    unlink(path);
    for (int i = 0; i <= deaths; i++) {
        isolate_close(world.isolate);
        cr_assert_eq(isolate_open(path, &world.isolate, &world.err), LL_OK, "%s", world.err.text);
        for (int64_t offset = first; i < deaths && offset < first + count; offset++)
            isolate_take(world.isolate, TOPIC_TRANSACTIONS, 0, offset);
    }
    unlink(path);
}

Test(validate_loop, a_record_that_killed_the_process_is_refused_unread)
{
    world_put_sale(&world, 0, "T0", 0, NULL);
    int64_t offset = world_put_sale(&world, 0, "T1", 0, NULL);
    world_put_sale(&world, 0, "T2", 0, NULL);
    die_of(offset, 1, ISOLATE_DEATHS);
    world_start(&world);
    world_settle(&world);
    world_expect_decided_once(&world, 0);
    cr_assert_eq(world_dead_of(&world, 0, offset), 1);
    const struct world_record *dead = world_get(&world, TOPIC_DEAD_LETTER, 0, 0);
    const struct world_record *raw = world_get(&world, TOPIC_TRANSACTIONS, 0, 1);
    cr_assert_str_eq(world_header(dead, "ll-codes"), "RECORD_CRASHED");
    cr_assert(dead->value_size == raw->value_size && memcmp(dead->value, raw->value, raw->value_size) == 0);
    cr_assert_not(isolate_is_condemned(world.isolate, TOPIC_TRANSACTIONS, 0, offset), "it is committed");
}

/* Until an operator comes nothing of it is decided: its suspects would slow all others down for so long. */
Test(validate_loop, a_partition_that_is_paused_has_no_suspects)
{
    for (int i = 0; i < 300; i++)
        world_put_sale(&world, 0, "T1", 'p', NULL);
    die_of(0, 300, 1);
    world_start(&world);
    world_settle(&world);
    cr_assert(world.logs[TOPIC_TRANSACTIONS][0].paused);
    cr_assert_eq(isolate_most(world.isolate), INT64_MAX);
}

Test(validate_loop, suspects_are_taken_a_few_at_a_time)
{
    for (int i = 0; i < 32; i++)
        world_put_sale(&world, 0, "T1", 0, NULL);
    die_of(0, 32, 1);
    cr_assert_eq(isolate_most(world.isolate), 4);
    world_start(&world);
    size_t commits = world.commits;
    world_settle(&world);
    cr_assert_geq(world.commits, commits + 8, "%zu transactions", world.commits - commits);
    cr_assert_eq(isolate_most(world.isolate), INT64_MAX, "all are decided, nobody was it");
    world_expect_decided_once(&world, 0);
}
