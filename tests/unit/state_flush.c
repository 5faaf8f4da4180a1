/* A flush against a real Postgres: what it refuses, and what a server or an owner that dies in its middle leaves behind. */
#include "tests/unit/state_kit.h"

#include <criterion/criterion.h>
#include <string.h>

struct not_mine {
    const char *why;
    int64_t epoch_error, first_error;
};

Test(flush, a_flush_of_what_is_not_mine_does_nothing)
{
    static const struct not_mine cases[] = {
        { "an older epoch", -1, 0 },
        { "a higher epoch", 1, 0 },
        { "beyond next_offset", 0, 1 },
        { "below next_offset", 0, -1 },
    };
    struct config config = kit_config();
    struct ledger ledger = kit_open(&config);
    for (size_t at = 0; at < sizeof cases / sizeof cases[0]; at++) {
        struct ledger_claim mine = kit_claim(&ledger, 4, 1000), other = kit_claim(&ledger, 5, 1000);
        struct row_buffer rows[2] = { 0 };
        kit_posting(&rows[0], &config, 4, 0, 1, "C1");
        kit_posting(&rows[1], &config, 5, 0, 2, "C2");
        struct ledger_part parts[] = { kit_part(4, &mine, 1, &rows[0]), kit_part(5, &other, 1, &rows[1]) };
        parts[1].epoch += cases[at].epoch_error;
        parts[1].first_offset += cases[at].first_error;
        struct ll_err err = { "" };
        cr_assert_eq(kit_flush(&ledger, parts, 2, &err), STORE_NOT_MINE, "%s", cases[at].why);
        cr_assert_eq(parts[0].reply, STORE_OK, "%s", cases[at].why);
        cr_assert_eq(parts[1].reply, STORE_NOT_MINE, "%s", cases[at].why);
        cr_assert_eq(kit_rows(&config), 0);
        struct ledger_mark marks[] = { { .partition = 4 }, { .partition = 99 }, { .partition = 5 } };
        cr_assert_eq(ledger.ops->marks(ledger.self, marks, 3, &err), STORE_OK);
        cr_assert_eq(marks[0].epoch, mine.epoch);
        cr_assert_eq(marks[0].next_offset, 0);
        cr_assert_eq(marks[1].epoch, -1, "no such partition");
        cr_assert_eq(marks[2].epoch, other.epoch);
        row_buffer_done(&rows[0]);
        row_buffer_done(&rows[1]);
    }
    kit_close(&ledger);
}

static void poll_until_copying(struct ledger *ledger)
{
    struct ledger_postgres *store = ledger->self;
    struct ll_err err = { "" };
    while (store->lanes[0].stage != FLUSH_POSTINGS || !store->lanes[0].feeding)
        cr_assert_eq(ledger->ops->flush_poll(ledger->self, 1, &err), STORE_BUSY, "%s", err.text);
}

Test(flush, a_backend_that_dies_in_a_flush_leaves_nothing)
{
    struct config config = kit_config();
    struct ledger ledger = kit_open(&config);
    struct ledger_claim claim = kit_claim(&ledger, 0, 1000);
    struct row_buffer rows = { 0 };
    kit_postings(&rows, &config, 0, 200000);
    struct ledger_part part = kit_part(0, &claim, 200000, &rows);
    struct ll_err err = { "" };
    cr_assert_eq(ledger.ops->flush_begin(ledger.self, &part, 1, &err), STORE_OK);
    poll_until_copying(&ledger);
    kit_end_backend(&config, kit_flush_backend(&ledger));
    enum store_reply reply = STORE_BUSY;
    while (reply == STORE_BUSY)
        reply = ledger.ops->flush_poll(ledger.self, 100, &err);
    cr_assert_eq(reply, STORE_DOWN);
    cr_assert_eq(part.reply, STORE_DOWN);
    cr_assert(strlen(err.text) > 0);
    cr_assert_eq(kit_rows(&config), 0);
    struct ledger_mark mark = { .partition = 0 };
    cr_assert_eq(ledger.ops->marks(ledger.self, &mark, 1, &err), STORE_OK);
    cr_assert_eq(mark.next_offset, 0);
    cr_assert_eq(kit_flush(&ledger, &part, 1, &err), STORE_OK, "and the next one connects again: %s",
                 err.text);
    cr_assert_eq(kit_rows(&config), 200000);
    row_buffer_done(&rows);
    kit_close(&ledger);
}

Test(flush, an_abandoned_flush_leaves_nothing_and_the_next_one_works)
{
    struct config config = kit_config();
    struct ledger ledger = kit_open(&config);
    struct ledger_claim claim = kit_claim(&ledger, 0, 1000);
    struct row_buffer rows = { 0 };
    struct ll_err err = { "" };
    ledger.ops->flush_abandon(ledger.self); /* nothing is under way */
    kit_posting(&rows, &config, 0, 0, 1, "C1");
    struct ledger_part part = kit_part(0, &claim, 1, &rows);
    cr_assert_eq(ledger.ops->flush_begin(ledger.self, &part, 1, &err), STORE_OK, "%s", err.text);
    ledger.ops->flush_abandon(ledger.self);
    cr_expect_eq(kit_rows(&config), 0);
    cr_assert_eq(kit_flush(&ledger, &part, 1, &err), STORE_OK, "%s", err.text);
    cr_expect_eq(kit_rows(&config), 1);
    row_buffer_done(&rows);
    kit_close(&ledger);
}

Test(flush, connections_that_the_server_ended_between_statements_are_replaced)
{
    struct config config = kit_config();
    struct ledger ledger = kit_open(&config);
    struct ledger_claim claim = kit_claim(&ledger, 0, 1000);
    struct ledger_postgres *store = ledger.self;
    kit_end_backend(&config, PQbackendPID(store->reads.conn));
    kit_end_backend(&config, kit_flush_backend(&ledger));
    struct row_buffer rows = { 0 };
    kit_posting(&rows, &config, 0, 0, 1, "C1");
    struct ledger_part part = kit_part(0, &claim, 1, &rows);
    struct ledger_mark mark = { .partition = 0 };
    struct ll_err err = { "" };
    cr_assert_eq(ledger.ops->marks(ledger.self, &mark, 1, &err), STORE_OK, "%s", err.text);
    cr_assert_eq(mark.epoch, 1000);
    cr_assert_eq(kit_flush(&ledger, &part, 1, &err), STORE_OK, "%s", err.text);
    cr_assert_eq(kit_rows(&config), 1);
    row_buffer_done(&rows);
    kit_close(&ledger);
}

Test(flush, a_claim_ends_an_owner_that_hangs_in_its_flush)
{
    struct config config = kit_config();
    struct ledger old = kit_open(&config), new = kit_open(&config);
    struct ledger_claim claim = kit_claim(&old, 0, 1000);
    struct row_buffer rows = { 0 };
    kit_postings(&rows, &config, 0, 100000);
    struct ledger_part part = kit_part(0, &claim, 100000, &rows);
    struct ll_err err = { "" };
    cr_assert_eq(old.ops->flush_begin(old.self, &part, 1, &err), STORE_OK);
    poll_until_copying(&old);
    int64_t before = ledger_now_ms();
    cr_assert_eq(kit_claim(&new, 0, 2000).epoch, 2000);
    cr_assert(ledger_now_ms() - before < 4000);
    enum store_reply reply = STORE_BUSY;
    while (reply == STORE_BUSY)
        reply = old.ops->flush_poll(old.self, 100, &err);
    cr_assert_eq(reply, STORE_DOWN);
    cr_assert_eq(kit_flush(&old, &part, 1, &err), STORE_NOT_MINE, "it wakes up, and is refused");
    cr_assert_eq(kit_rows(&config), 0);
    row_buffer_done(&rows);
    kit_close(&old);
    kit_close(&new);
}

Test(flush, a_claim_does_not_end_sessions_of_others)
{
    struct config config = kit_config();
    config.postgres.timeout_ms = 600;
    struct ledger ledger = kit_open(&config);
    kit_claim(&ledger, 0, 1000);
    struct postgres *psql = NULL;
    struct ll_err err = { "" };
    cr_assert_eq(postgres_open(&config, "psql", &psql, &err), LL_OK);
    char sql[128];
    snprintf(sql, sizeof sql, "begin; update loyalty.partitions set epoch = epoch where run_id = %d",
             config.program.run);
    cr_assert_eq(postgres_query(psql, sql, NULL, 0, NULL, &err), LL_OK, "%s", err.text);
    struct ledger_claim claim;
    cr_assert_eq(ledger.ops->claim(ledger.self, 0, 2000, &claim, &err), STORE_DOWN);
    cr_assert(strstr(err.text, "lock") != NULL, "%s", err.text);
    cr_assert_eq(postgres_query(psql, "commit", NULL, 0, NULL, &err), LL_OK, "%s", err.text);
    postgres_close(psql);
    cr_assert_eq(kit_claim(&ledger, 0, 2000).epoch, 2000);
    kit_close(&ledger);
}

Test(flush, a_row_that_is_there_already_is_a_bug)
{
    struct config config = kit_config();
    struct ledger ledger = kit_open(&config);
    struct ledger_claim claim = kit_claim(&ledger, 0, 1000);
    struct row_buffer rows = { 0 };
    kit_posting(&rows, &config, 0, 0, 1, "C1");
    struct ledger_part part = kit_part(0, &claim, 1, &rows);
    struct ll_err err = { "" };
    cr_assert_eq(kit_flush(&ledger, &part, 1, &err), STORE_OK);
    kit_execute(&config, "update loyalty.partitions set next_offset = 0 where run_id = %d",
                config.program.run);
    cr_assert_eq(kit_flush(&ledger, &part, 1, &err), STORE_BROKEN);
    cr_assert(strstr(err.text, "postings_") != NULL && strstr(err.text, "_pkey") != NULL, "%s", err.text);
    row_buffer_done(&rows);
    kit_close(&ledger);
}

Test(flush, each_partition_of_a_run_has_tables_of_its_own)
{
    struct config config = kit_config();
    struct ledger ledger = kit_open(&config);
    const int run = config.program.run;
    struct ll_err err = { "" };
    struct row_buffer rows[2] = { { 0 }, { 0 } };
    struct ledger_part parts[2];
    const struct ledger_account accounts[2] = {
        { .customer_id = TEXT("C1"), .points_delta = 10, .earned_delta = 10, .net_delta_minor = 1000, .postings_delta = 1 },
        { .customer_id = TEXT("C2"), .points_delta = 20, .earned_delta = 20, .net_delta_minor = 1000, .postings_delta = 1 },
    };
    for (int32_t at = 0; at < 2; at++) {
        struct ledger_claim claim = kit_claim(&ledger, at, 1000);
        kit_posting(&rows[at], &config, at, 0, 1 + at, at == 0 ? "C1" : "C2");
        parts[at] = kit_part(at, &claim, 1, &rows[at]);
        parts[at].accounts = &accounts[at]; /* both are new: two COPYs, each into its own table */
        parts[at].account_count = 1;
    }
    cr_assert_eq(kit_flush(&ledger, parts, 2, &err), STORE_OK, "%s", err.text);
    for (int at = 0; at < 2; at++) {
        cr_expect_eq(kit_number(&config, "select count(*) as n from loyalty.postings_%d_%d", run, at), 1);
        cr_expect_eq(kit_number(&config, "select points_balance as n from loyalty.accounts_%d_%d", run, at), 10 * (at + 1));
        row_buffer_done(&rows[at]);
    }
    struct postgres *postgres = NULL;
    cr_assert_eq(postgres_open(&config, "lens-test", &postgres, &err), LL_OK);
    char sql[80];
    snprintf(sql, sizeof sql, "delete from loyalty.postings_%d_1", run);
    cr_expect_neq(postgres_query(postgres, sql, NULL, 0, NULL, &err), LL_OK, "by its own name too the ledger is insert-only");
    cr_expect(strstr(err.text, "never changed") != NULL, "%s", err.text);
    postgres_close(postgres);
    kit_close(&ledger);
}

struct broken_case {
    const char *why;
    struct ledger_account account;
    int64_t released;
};

Test(flush, memory_that_differs_from_the_tables_is_a_bug)
{
    static const struct broken_case cases[] = {
        { "a known account without a row", { { "C9", 2 }, true, 1, 1, 0, 1, 1, 0 }, -1 },
        { "a new account with a row", { { "C1", 2 }, false, 1, 1, 0, 1, 1, 0 }, -1 },
        { "a released return that was not held", { { "C1", 2 }, true, 1, 1, 0, 1, 1, 0 }, 44 },
    };
    struct config config = kit_config();
    struct ledger ledger = kit_open(&config);
    struct ledger_claim claim = kit_claim(&ledger, 0, 1000);
    struct ledger_account first = { TEXT("C1"), false, 10, 10, 0, 1000, 1, 0 };
    struct ledger_part part = kit_part(0, &claim, 1, NULL);
    part.accounts = &first;
    part.account_count = 1;
    struct ll_err err = { "" };
    cr_assert_eq(kit_flush(&ledger, &part, 1, &err), STORE_OK, "no rows, an account: %s", err.text);
    for (size_t at = 0; at < sizeof cases / sizeof cases[0]; at++) {
        part = kit_part(0, &claim, 2, NULL);
        part.first_offset = 1;
        part.accounts = &cases[at].account;
        part.account_count = 1;
        part.released = &cases[at].released;
        part.released_count = cases[at].released >= 0;
        cr_assert_eq(kit_flush(&ledger, &part, 1, &err), STORE_BROKEN, "%s", cases[at].why);
        struct ledger_mark mark = { .partition = 0 };
        cr_assert_eq(ledger.ops->marks(ledger.self, &mark, 1, &err), STORE_OK);
        cr_assert_eq(mark.next_offset, 1, "%s", cases[at].why);
    }
    kit_close(&ledger);
}

/* A flush so large that it is two transactions, one for partition 0 and one for partition 1. */
struct two_lanes {
    struct config config;
    struct ledger ledger;
    struct ledger_claim claims[2];
    struct row_buffer rows[2];
    struct ledger_part parts[2];
};

static void two_lanes(struct two_lanes *to)
{
    enum { ROWS = 40000 };
    *to = (struct two_lanes){ .config = kit_config() };
    to->ledger = kit_open(&to->config);
    for (int32_t at = 0; at < 2; at++) {
        to->claims[at] = kit_claim(&to->ledger, at, 1000);
        kit_postings(&to->rows[at], &to->config, at, ROWS);
        to->parts[at] = kit_part(at, &to->claims[at], ROWS, &to->rows[at]);
    }
}

static void two_lanes_done(struct two_lanes *lanes)
{
    row_buffer_done(&lanes->rows[0]);
    row_buffer_done(&lanes->rows[1]);
    kit_close(&lanes->ledger);
}

Test(flush, a_large_one_goes_over_two_connections)
{
    struct two_lanes lanes;
    two_lanes(&lanes);
    struct ll_err err = { "" };
    cr_assert_eq(lanes.ledger.ops->flush_begin(lanes.ledger.self, lanes.parts, 2, &err), STORE_OK, "%s", err.text);
    const struct ledger_postgres *store = lanes.ledger.self;
    cr_assert_neq(store->lanes[0].stage, FLUSH_NONE);
    cr_assert_neq(store->lanes[1].stage, FLUSH_NONE);
    enum store_reply reply = STORE_BUSY;
    while (reply == STORE_BUSY)
        reply = lanes.ledger.ops->flush_poll(lanes.ledger.self, 100, &err);
    cr_assert_eq(reply, STORE_OK, "%s", err.text);
    cr_assert_eq(kit_rows(&lanes.config), 80000);
    for (int at = 0; at < 2; at++) {
        cr_assert_eq(lanes.parts[at].reply, STORE_OK);
        struct ledger_mark mark = { .partition = at };
        cr_assert_eq(lanes.ledger.ops->marks(lanes.ledger.self, &mark, 1, &err), STORE_OK);
        cr_assert_eq(mark.next_offset, 40000);
    }
    two_lanes_done(&lanes);
}

Test(flush, of_which_one_half_is_not_mine_says_that_it_does_not_know)
{
    struct two_lanes lanes;
    two_lanes(&lanes);
    kit_claim(&lanes.ledger, 1, 2000);
    struct ll_err err = { "" };
    cr_assert_eq(kit_flush(&lanes.ledger, lanes.parts, 2, &err), STORE_DOWN);
    cr_assert_eq(lanes.parts[0].reply, STORE_DOWN);
    cr_assert_eq(lanes.parts[1].reply, STORE_DOWN);
    struct ledger_mark marks[] = { { .partition = 0 }, { .partition = 1 } };
    cr_assert_eq(lanes.ledger.ops->marks(lanes.ledger.self, marks, 2, &err), STORE_OK);
    cr_assert_eq(marks[1].next_offset, 0);
    cr_assert_eq(marks[1].epoch, 2000);
    cr_assert_eq(kit_rows(&lanes.config), marks[0].next_offset, "a half is there whole, or not at all");
    two_lanes_done(&lanes);
}

Test(flush, whose_second_connection_dies_is_resolved_by_what_the_partitions_hold)
{
    struct two_lanes lanes;
    two_lanes(&lanes);
    struct ll_err err = { "" };
    cr_assert_eq(lanes.ledger.ops->flush_begin(lanes.ledger.self, lanes.parts, 2, &err), STORE_OK, "%s", err.text);
    const struct ledger_postgres *store = lanes.ledger.self;
    kit_end_backend(&lanes.config, PQbackendPID(store->lanes[1].link.conn));
    enum store_reply reply = STORE_BUSY;
    while (reply == STORE_BUSY)
        reply = lanes.ledger.ops->flush_poll(lanes.ledger.self, 100, &err);
    cr_assert_eq(reply, STORE_DOWN);
    struct ledger_mark marks[] = { { .partition = 0 }, { .partition = 1 } };
    cr_assert_eq(lanes.ledger.ops->marks(lanes.ledger.self, marks, 2, &err), STORE_OK);
    cr_assert_eq(marks[1].next_offset, 0);
    /* What is not there yet is sent again, as the loop does. */
    size_t from = marks[0].next_offset == 0 ? 0 : 1;
    cr_assert_eq(kit_flush(&lanes.ledger, lanes.parts + from, 2 - from, &err), STORE_OK, "%s", err.text);
    cr_assert_eq(kit_rows(&lanes.config), 80000);
    two_lanes_done(&lanes);
}
