/* The ledger store against a real Postgres: claims, flushes, what they refuse, and what a lost server leaves
 * behind. */
#include "tests/unit/state_kit.h"

#include "schemas/codes.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

Test(ledger, a_claim_raises_the_epoch)
{
    struct config config = kit_config();
    struct ledger ledger = kit_open(&config);
    struct ledger_claim claim = kit_claim(&ledger, 2, 5000);
    cr_assert_eq(claim.epoch, 5000);
    cr_assert_eq(claim.next_offset, 0);
    cr_assert_eq(claim.clock_ms, 0);
    cr_assert_eq(claim.rules_version, 0);
    cr_assert_eq(claim.counts.read, 0);
    cr_assert_eq(kit_claim(&ledger, 2, 100).epoch, 5001, "a clock that went back does not lower it");
    cr_assert_eq(kit_claim(&ledger, 2, 9000).epoch, 9000);
    cr_assert_eq(kit_claim(&ledger, 3, 9000).epoch, 9000, "partitions are apart");
    kit_close(&ledger);
}

static const struct kept_record dead_record = {
    .offset = 4,
    .seq = 1,
    .event_offset = 3,
    .timestamp_ms = 1700000000000,
    .since_ms = 1700000000500,
    .identity_hash = 1,
    .content_hash = 2,
    .sale_hash = 3,
    .source = { "test", 4 },
    .transaction_id = { "T\0x", 3 },
    .codes = UINT64_C(1) << CODE_ORPHAN_RETURN | UINT64_C(1) << CODE_RETURN_CUSTOMER,
    .message = { "why", 3 },
    .key = { "k\0", 2 },
    .value = { "\377\0v", 3 },
    .raw_topic = { "transactions", 12 },
    .raw_partition = 1,
    .raw_offset = 9,
};
static const struct kept_record held_record = {
    .offset = 5,
    .event_offset = 5,
    .timestamp_ms = 1700000000001,
    .since_ms = 1700000000002,
    .identity_hash = 7,
    .content_hash = 8,
    .sale_hash = 9,
    .source = { "test", 4 },
    .transaction_id = { "T5", 2 },
    .key = { "", 0 },
    .value = { "value", 5 },
    .headers = { "\0\0\0\1a\377\377\377\377", 9 },
    .raw_topic = { "transactions.retry", 18 },
    .raw_partition = 1,
    .raw_offset = 10,
};

struct loaded {
    int64_t identities, accounts, held, points, offsets[8];
};

static void on_identity(void *arg, int64_t identity_hash, int64_t event_offset, int64_t posted_at_ms)
{
    struct loaded *loaded = arg;
    cr_assert_eq(posted_at_ms, 1700000001000 + event_offset);
    cr_assert_eq(identity_hash, 1000 + event_offset);
    if (loaded->identities < 8)
        loaded->offsets[loaded->identities] = event_offset;
    loaded->identities++;
}

static void on_account(void *arg, struct text customer_id, int64_t points)
{
    struct loaded *loaded = arg;
    cr_assert_eq(customer_id.data[0], 'C');
    loaded->accounts++;
    loaded->points += points;
}

static void on_held(void *arg, const struct kept_record *record)
{
    struct loaded *loaded = arg;
    loaded->held++;
    cr_assert_eq(record->offset, held_record.offset);
    cr_assert_eq(record->event_offset, held_record.offset);
    cr_assert_eq(record->timestamp_ms, held_record.timestamp_ms);
    cr_assert_eq(record->since_ms, held_record.since_ms);
    cr_assert_eq(record->identity_hash, 7);
    cr_assert_eq(record->content_hash, 8);
    cr_assert_eq(record->sale_hash, 9);
    cr_assert(text_equal(record->source, held_record.source));
    cr_assert(text_equal(record->transaction_id, held_record.transaction_id));
    cr_assert(text_equal(record->key, held_record.key), "an empty key is not null");
    cr_assert(text_equal(record->value, held_record.value));
    cr_assert(text_equal(record->headers, held_record.headers));
    cr_assert(text_equal(record->raw_topic, held_record.raw_topic));
    cr_assert_eq(record->raw_partition, 1);
    cr_assert_eq(record->raw_offset, 10);
}

static struct loaded load(struct ledger *ledger, int32_t partition, const struct ledger_claim *claim,
                          int64_t next, int64_t identities_max, int64_t accounts_max,
                          bool identities_complete, bool accounts_complete)
{
    struct loaded loaded = { 0 };
    struct ll_err err = { "" };
    struct ledger_mark mark = { partition, claim->epoch, next };
    struct ledger_loader loader = { &loaded, on_identity, on_account, on_held };
    bool all_identities = false, all_accounts = false;
    cr_assert_eq(ledger->ops->load(ledger->self, &mark, identities_max, accounts_max, &loader,
                                   &all_identities, &all_accounts, &err),
                 STORE_OK, "%s", err.text);
    cr_assert_eq(all_identities, identities_complete);
    cr_assert_eq(all_accounts, accounts_complete);
    return loaded;
}

Test(ledger, a_flush_with_everything_and_what_a_successor_loads)
{
    struct config config = kit_config();
    int32_t run = config.program.run;
    struct ledger ledger = kit_open(&config);
    struct ledger_claim claim = kit_claim(&ledger, 1, 1000), other = kit_claim(&ledger, 6, 1000);
    struct row_buffer rows = { 0 }, more = { 0 };
    for (int64_t offset = 0; offset < 3; offset++)
        kit_posting(&rows, &config, 1, offset, 1000 + offset, offset == 0 ? "C1" : "C2");
    kit_posting(&more, &config, 6, 0, 1, "C3");
    struct ledger_account accounts[] = {
        { TEXT("C1"), false, 10, 10, 0, 1000, 1, 1700000000000 },
        { TEXT("C2"), false, 20, 25, 5, 2000, 2, 1700000000001 },
    };
    struct ledger_account third = { TEXT("C3"), false, 10, 10, 0, 1000, 1, 1700000000000 };
    struct ledger_part parts[] = { kit_part(1, &claim, 6, &rows), kit_part(6, &other, 1, &more) };
    parts[0].counts =
        (struct ledger_counts){ .read = 6, .credited = 3, .duplicate = 1, .dead = 1, .held = 1 };
    parts[0].dead = &dead_record;
    parts[0].dead_count = 1;
    parts[0].held = &held_record;
    parts[0].held_count = 1;
    parts[0].accounts = accounts;
    parts[0].account_count = 2;
    parts[1].accounts = &third;
    parts[1].account_count = 1;
    struct ll_err err = { "" };
    cr_assert_eq(kit_flush(&ledger, parts, 2, &err), STORE_OK, "%s", err.text);
    cr_assert_eq(parts[0].reply, STORE_OK);
    cr_assert_eq(parts[1].reply, STORE_OK);
    cr_assert_eq(kit_rows(&config), 4);
    cr_assert_eq(kit_number(&config, "select count(*) as n from loyalty.dead where run_id = %d and codes = "
                            "'{ORPHAN_RETURN,RETURN_CUSTOMER}' and key = '\\x6b00' and value = '\\xff0076' and headers is null "
                            "and transaction_id = 'T?x' and event_offset = 3 and seq = 1", run), 1);
    cr_assert_eq(
        kit_number(
            &config,
            "select net_minor as n from loyalty.ledger_by_category where run_id = %d and partition = 1 "
            "and \"offset\" = 0 and category = 'grocery'",
            run),
        700);

    struct loaded loaded = load(&ledger, 1, &claim, 6, 100, 100, true, true);
    cr_assert_eq(loaded.identities, 3);
    cr_assert_eq(loaded.offsets[0], 2, "the newest comes first");
    cr_assert_eq(loaded.accounts, 2);
    cr_assert_eq(loaded.points, 30);
    cr_assert_eq(loaded.held, 1);

    /* The next one: a known account, a released return, one more row. */
    struct ledger_claim again = kit_claim(&ledger, 1, 1000);
    cr_assert_eq(again.epoch, 1001);
    cr_assert_eq(again.next_offset, 6);
    cr_assert_eq(again.clock_ms, 1700000005000);
    cr_assert_eq(again.rules_version, 1);
    cr_assert_eq(again.counts.read, 6);
    cr_assert_eq(again.counts.credited, 3);
    cr_assert_eq(again.counts.duplicate, 1);
    cr_assert_eq(again.counts.dead, 1);
    cr_assert_eq(again.counts.held, 1);
    row_buffer_clear(&rows);
    kit_posting(&rows, &config, 1, 7, 1007, "C2");
    struct ledger_account known = { TEXT("C2"), true, -5, 0, 5, -300, 1, 1600000000000 };
    const int64_t released[] = { 5 };
    struct ledger_part part = kit_part(1, &again, 8, &rows);
    part.accounts = &known;
    part.account_count = 1;
    part.released = released;
    part.released_count = 1;
    cr_assert_eq(kit_flush(&ledger, &part, 1, &err), STORE_OK, "%s", err.text);
    cr_assert_eq(
        kit_number(
            &config,
            "select points_balance * 1000000 + points_earned * 1000 + points_reversed as n "
            "from loyalty.loyalty_accounts where run_id = %d and customer_id = 'C2' and net_minor = 1700 "
            "and postings = 3 and last_event_at = '2023-11-14 22:13:20.001+00'",
            run),
        15025010);
    loaded = load(&ledger, 1, &again, 8, 100, 100, true, true);
    cr_assert_eq(loaded.held, 0);
    cr_assert_eq(loaded.points, 25);
    row_buffer_done(&rows);
    row_buffer_done(&more);
    kit_close(&ledger);
}

Test(ledger, a_load_says_what_it_left_out)
{
    struct config config = kit_config();
    struct ledger ledger = kit_open(&config);
    struct ledger_claim claim = kit_claim(&ledger, 0, 1);
    struct row_buffer rows = { 0 };
    struct ledger_account accounts[] = { { TEXT("C1"), false, 1, 1, 0, 1, 1, 0 },
                                         { TEXT("C2"), false, 1, 1, 0, 1, 1, 0 } };
    for (int64_t offset = 0; offset < 5; offset++)
        kit_posting(&rows, &config, 0, offset, 1000 + offset, "C1");
    struct ledger_part part = kit_part(0, &claim, 5, &rows);
    part.accounts = accounts;
    part.account_count = 2;
    struct ll_err err = { "" };
    cr_assert_eq(kit_flush(&ledger, &part, 1, &err), STORE_OK, "%s", err.text);
    struct loaded loaded = load(&ledger, 0, &claim, 5, 5, 2, true, true);
    cr_assert_eq(loaded.identities, 5);
    cr_assert_eq(loaded.accounts, 2);
    loaded = load(&ledger, 0, &claim, 5, 4, 1, false, false);
    cr_assert_eq(loaded.identities, 4);
    cr_assert_eq(loaded.offsets[3], 1, "the oldest one is left out");
    cr_assert_eq(loaded.accounts, 0, "all accounts, or none");
    loaded = load(&ledger, 0, &claim, 5, 0, 0, false, false);
    cr_assert_eq(loaded.identities, 0);

    struct ledger_mark wrong = { 0, claim.epoch, 4 };
    struct ledger_loader loader = { &loaded, on_identity, on_account, on_held };
    bool a, b;
    cr_assert_eq(ledger.ops->load(ledger.self, &wrong, 9, 9, &loader, &a, &b, &err), STORE_NOT_MINE);
    row_buffer_done(&rows);
    kit_close(&ledger);
}

Test(ledger, a_read_only_standby_is_down)
{
    struct config config = kit_config();
    setenv("PGOPTIONS", "-c default_transaction_read_only=on", 1);
    struct ledger ledger = kit_open(&config);
    struct ledger_claim claim;
    struct ll_err err = { "" };
    cr_assert_eq(ledger.ops->claim(ledger.self, 0, 1, &claim, &err), STORE_DOWN);
    cr_assert(strstr(err.text, "standby") != NULL, "%s", err.text);
    kit_close(&ledger);
}

struct unreachable_case {
    const char *why, *user, *database, *host;
    enum store_reply reply;
    const char *words;
};

Test(ledger, a_server_that_does_not_let_us_in)
{
    static const struct unreachable_case cases[] = {
        { "no server", "lens", "lens", "/nonesuch", STORE_DOWN, "No such file" },
        { "no such role", "nobody", "lens", NULL, STORE_DOWN, "postgres.user" },
        { "no such database", "lens", "nonesuch", NULL, STORE_BROKEN, "createdb" },
        { "no address", "lens", "lens", "", STORE_DOWN, "lens up" },
    };
    struct config good = kit_config();
    for (size_t at = 0; at < sizeof cases / sizeof cases[0]; at++) {
        struct config config = good;
        snprintf(config.postgres.user, sizeof config.postgres.user, "%s", cases[at].user);
        snprintf(config.postgres.database, sizeof config.postgres.database, "%s", cases[at].database);
        if (cases[at].host != NULL)
            snprintf(config.postgres.host, sizeof config.postgres.host, "%s", cases[at].host);
        struct ledger ledger = kit_open(&config);
        struct ledger_mark mark = { .partition = 0 };
        struct ll_err err = { "" };
        cr_assert_eq(ledger.ops->marks(ledger.self, &mark, 1, &err), cases[at].reply, "%s: %s", cases[at].why,
                     err.text);
        cr_assert(strstr(err.text, cases[at].words) != NULL, "%s: %s", cases[at].why, err.text);
        kit_close(&ledger);
    }
}

struct found {
    int64_t count, sum;
};

static void on_posting(void *arg, const struct posting *posting)
{
    struct found *found = arg;
    found->count++;
    found->sum += posting->identity_hash;
}

static struct found find(struct ledger *ledger, const int64_t *identities, size_t identity_count,
                         const int64_t *sales, size_t sale_count)
{
    struct found found = { 0 };
    struct ll_err err = { "" };
    cr_assert_eq(ledger->ops->find(ledger->self, &(struct ledger_view){ .epoch = -1 }, identities,
                                   identity_count, sales, sale_count, on_posting, &found, &err),
                 STORE_OK, "%s", err.text);
    return found;
}

Test(ledger, postings_are_found_by_identity_and_by_sale)
{
    struct config config = kit_config();
    struct ledger ledger = kit_open(&config);
    struct ledger_claim claim = kit_claim(&ledger, 0, 1000), other = kit_claim(&ledger, 1, 1000);
    struct row_buffer rows = { 0 }, elsewhere = { 0 };
    kit_posting(&rows, &config, 0, 0, 100, "C1");
    kit_posting(&rows, &config, 0, 1, -200, "C1");
    kit_posting(&elsewhere, &config, 1, 0, 100, "C1");
    struct posting refund = { .run = config.program.run,
                              .partition = 0,
                              .offset = 2,
                              .event_offset = 2,
                              .identity_hash = 7,
                              .source = TEXT("test"),
                              .type = TRANSACTION_RETURN,
                              .transaction_id = TEXT("R7"),
                              .sale_hash = 100,
                              .raw_topic = TEXT("transactions") };
    posting_write(&rows, &refund);
    struct ledger_part parts[] = { kit_part(0, &claim, 3, &rows), kit_part(1, &other, 1, &elsewhere) };
    struct ll_err err = { "" };
    cr_assert_eq(kit_flush(&ledger, parts, 2, &err), STORE_OK, "%s", err.text);
    const int64_t ids[] = { 100, -200, INT64_MIN, INT64_MAX };
    cr_assert_eq(find(&ledger, ids, 4, NULL, 0).count, 2, "partition 1 has its own");
    cr_assert_eq(find(&ledger, ids, 4, NULL, 0).sum, -100);
    cr_assert_eq(find(&ledger, NULL, 0, ids, 1).count, 2, "the sale and its return");
    cr_assert_eq(find(&ledger, NULL, 0, ids, 1).sum, 107);
    cr_assert_eq(find(&ledger, ids, 0, ids, 0).count, 0);
    int64_t *many = malloc(20000 * sizeof *many);
    for (int64_t at = 0; at < 20000; at++)
        many[at] = at - 10000;
    cr_assert_eq(find(&ledger, many, 20000, many, 20000).count, 3 + 3 + 1,
                 "what is asked for twice may come twice");
    free(many);
    row_buffer_done(&rows);
    row_buffer_done(&elsewhere);
    kit_close(&ledger);
}

/* Of half an answer a sale would be remembered without the return that a later row tells of. */
Test(ledger, an_answer_that_breaks_off_gives_no_posting_at_all)
{
    struct config config = kit_config();
    struct ledger ledger = kit_open(&config);
    struct ledger_claim claim = kit_claim(&ledger, 0, 1000);
    struct row_buffer rows = { 0 };
    for (int64_t offset = 0; offset < 3; offset++)
        kit_posting(&rows, &config, 0, offset, 100 + offset, "C1");
    struct ledger_part part = kit_part(0, &claim, 3, &rows);
    struct ll_err err = { "" };
    cr_assert_eq(kit_flush(&ledger, &part, 1, &err), STORE_OK, "%s", err.text);
    kit_execute(&config, "alter table loyalty.postings_%d_0 disable trigger all", config.program.run);
    kit_execute(&config, "update loyalty.postings_%d_0 set lines = 'broken' where \"offset\" = 2", config.program.run);
    const int64_t ids[] = { 100, 101, 102 };
    struct found found = { 0 };
    cr_assert_eq(ledger.ops->find(ledger.self, &(struct ledger_view){ .epoch = -1 }, ids, 3, NULL, 0, on_posting, &found, &err),
                 STORE_BROKEN, "%s", err.text);
    cr_assert_eq(found.count, 0);
    row_buffer_done(&rows);
    kit_close(&ledger);
}

static void on_balance(void *arg, struct text customer_id, int64_t points)
{
    struct found *found = arg;
    found->count++;
    found->sum += points + (int64_t)customer_id.size;
}

Test(ledger, balances_of_whoever_has_an_account)
{
    enum { ACCOUNTS = 25000 };
    struct config config = kit_config();
    struct ledger ledger = kit_open(&config);
    struct ledger_claim claim = kit_claim(&ledger, 0, 1000);
    static struct ledger_account accounts[ACCOUNTS];
    static struct text names[ACCOUNTS + 1];
    static char texts[ACCOUNTS][16];
    for (int at = 0; at < ACCOUNTS; at++) {
        snprintf(texts[at], sizeof texts[at], "%07d", at);
        names[at] = text_of(texts[at]);
        accounts[at] = (struct ledger_account){ names[at], false, at, at, 0, 1, 1, 0 };
    }
    names[ACCOUNTS] = TEXT("somebody else");
    struct ledger_part part = kit_part(0, &claim, 1, NULL);
    part.accounts = accounts;
    part.account_count = ACCOUNTS;
    struct ll_err err = { "" };
    cr_assert_eq(kit_flush(&ledger, &part, 1, &err), STORE_OK, "%s", err.text);
    struct found found = { 0 };
    const int64_t sum = (int64_t)ACCOUNTS * (ACCOUNTS - 1) / 2 + 7 * ACCOUNTS;
    cr_assert_eq(ledger.ops->balances(ledger.self, &(struct ledger_view){ .epoch = -1 }, names, ACCOUNTS + 1,
                                      on_balance, &found, &err),
                 STORE_OK, "%s", err.text);
    cr_assert_eq(found.count, ACCOUNTS);
    cr_assert_eq(found.sum, sum);
    struct ledger_mark mark = { 0, claim.epoch, 1 };
    found = (struct found){ 0 };
    cr_assert_eq(ledger.ops->accounts(ledger.self, &mark, on_balance, &found, &err), STORE_OK, "%s",
                 err.text);
    cr_assert_eq(found.sum, sum);
    mark.epoch++;
    cr_assert_eq(ledger.ops->accounts(ledger.self, &mark, on_balance, &found, &err), STORE_NOT_MINE);

    /* Updates in more than one chunk, twice the balance after it. */
    for (int at = 0; at < ACCOUNTS; at++)
        accounts[at].known = true;
    struct ledger_part next = kit_part(0, &claim, 2, NULL);
    next.first_offset = 1;
    next.accounts = accounts;
    next.account_count = ACCOUNTS;
    cr_assert_eq(kit_flush(&ledger, &next, 1, &err), STORE_OK, "%s", err.text);
    cr_assert_eq(kit_number(&config,
                            "select sum(points_balance)::int8 as n from loyalty.accounts where run_id = %d",
                            config.program.run),
                 (int64_t)ACCOUNTS * (ACCOUNTS - 1));
    kit_close(&ledger);
}

Test(ledger, rule_sets_are_read_and_never_changed)
{
    struct config config = kit_config();
    struct ledger ledger = kit_open(&config);
    int32_t version = config.program.run;
    kit_execute(&config,
                "insert into loyalty.rules values (%d, '2024-05-01 00:00:00.25+00', 'rules: ();', 'sha')",
                version);
    char *document = NULL;
    int64_t from_ms = 0;
    struct ll_err err = { "" };
    cr_assert_eq(ledger.ops->rules(ledger.self, version, &document, &from_ms, &err), STORE_OK, "%s",
                 err.text);
    cr_assert_str_eq(document, "rules: ();");
    cr_assert_eq(from_ms, 1714521600250);
    free(document);
    cr_assert_eq(ledger.ops->rules(ledger.self, version + 1000000, &document, &from_ms, &err), STORE_DOWN);
    cr_assert(strstr(err.text, "lens rules publish") != NULL, "%s", err.text);
    struct postgres *postgres = NULL;
    cr_assert_eq(postgres_open(&config, "lens-test", &postgres, &err), LL_OK);
    cr_assert_neq(postgres_query(postgres, "update loyalty.rules set document = ''", NULL, 0, NULL, &err),
                  LL_OK);
    cr_assert_neq(postgres_query(postgres, "delete from loyalty.postings", NULL, 0, NULL, &err), LL_OK);
    cr_assert(strstr(err.text, "never changed") != NULL, "%s", err.text);
    cr_assert_neq(postgres_query(postgres, "truncate loyalty.postings", NULL, 0, NULL, &err), LL_OK);
    postgres_close(postgres);
    kit_close(&ledger);
}

static void on_ordered(void *arg, const struct posting *posting)
{
    int64_t *last = arg;
    int64_t now = (int64_t)posting->partition << 32 | posting->offset;
    cr_assert(now > *last);
    cr_assert_eq(posting->line_count, 3);
    *last = now;
}

Test(ledger, tools_stream_the_postings_in_order)
{
    struct config config = kit_config();
    struct ledger ledger = kit_open(&config);
    struct ll_err err = { "" };
    for (int32_t partition = 3; partition >= 0; partition--) {
        struct ledger_claim claim = kit_claim(&ledger, partition, 1000);
        struct row_buffer rows = { 0 };
        kit_postings(&rows, &config, partition, 5000);
        struct ledger_part part = kit_part(partition, &claim, 5000, &rows);
        cr_assert_eq(kit_flush(&ledger, &part, 1, &err), STORE_OK, "%s", err.text);
        row_buffer_done(&rows);
    }
    kit_close(&ledger);
    struct postgres *postgres = NULL;
    int64_t last = -1;
    cr_assert_eq(postgres_open(&config, "lens-test", &postgres, &err), LL_OK);
    cr_assert_eq(postgres_postings(postgres, config.program.run, on_ordered, &last, &err), LL_OK, "%s",
                 err.text);
    cr_assert_eq(last, (int64_t)3 << 32 | 4999);
    postgres_close(postgres);
}

Test(ledger, a_run_keeps_its_partition_count_and_currency)
{
    struct config config = kit_config();
    struct ll_err err = { "" };
    cr_assert_eq(postgres_check_run(&config, 8, &err), LL_OK, "%s", err.text);
    cr_assert_eq(postgres_check_run(&config, 8, &err), LL_OK, "%s", err.text);
    cr_assert_eq(postgres_check_run(&config, 9, &err), LL_FATAL);
    cr_assert(strstr(err.text, "partitions 8") != NULL, "%s", err.text);
    snprintf(config.program.currency, sizeof config.program.currency, "EUR");
    cr_assert_eq(postgres_check_run(&config, 8, &err), LL_FATAL);
    cr_assert(strstr(err.text, "EUR") != NULL, "%s", err.text);
}

Test(postgres, the_tools_see_data_errors_as_such)
{
    struct config config = kit_config();
    struct postgres *postgres = NULL;
    struct postgres_rows *rows = NULL;
    struct ll_err err = { "" };
    cr_assert_eq(postgres_open(&config, "lens-test", &postgres, &err), LL_OK);
    const char *const params[] = { "x", NULL };
    cr_assert_eq(postgres_query(postgres, "select $1::int4 as n", params, 1, &rows, &err), LL_POISON);
    cr_assert_eq(postgres_query(postgres, "select nonsense", NULL, 0, &rows, &err), LL_FATAL);
    cr_assert_eq(
        postgres_query(postgres, "select $1::text as a, $2::text as b, 7 as n", params, 2, &rows, &err),
        LL_OK);
    cr_assert_eq(postgres_rows_count(rows), 1);
    cr_assert(text_equal(postgres_rows_text(rows, 0, "a"), TEXT("x")));
    cr_assert_null(postgres_rows_text(rows, 0, "b").data);
    cr_assert_eq(postgres_rows_int(rows, 0, "n"), 7);
    cr_assert_eq(postgres_rows_int(rows, 0, "b"), 0);
    postgres_rows_free(rows);
    postgres_close(postgres);
}

static void write_file(const char *folder, const char *name, const char *text)
{
    char path[300];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "we");
    cr_assert_not_null(file);
    fputs(text, file);
    fclose(file);
}

Test(postgres, migrations_are_applied_once_and_never_changed)
{
    struct config config = kit_config();
    struct ll_err err = { "" };
    kit_execute(&config, "create database migrations_%d", config.program.run);
    snprintf(config.postgres.database, sizeof config.postgres.database, "migrations_%d", config.program.run);
    char share[] = "/tmp/lens-share.XXXXXX", folder[64], command[160];
    cr_assert_not_null(mkdtemp(share));
    snprintf(config.share, sizeof config.share, "%s", share);
    snprintf(folder, sizeof folder, "%s/state/migrations", share);
    snprintf(command, sizeof command, "mkdir -p %s", folder);
    cr_assert_eq(system(command), 0);
    int applied = -1;
    cr_assert_eq(postgres_migrate(&config, &applied, &err), LL_FATAL, "an empty folder is a wrong folder");
    write_file(folder, "0001_one.sql", "create table loyalty.one (a int);\n");
    write_file(folder, "0002_two.sql", "create table loyalty.two (a int);\n");
    write_file(folder, "notes.txt", "no migration");
    cr_assert_eq(postgres_migrate(&config, &applied, &err), LL_OK, "%s", err.text);
    cr_assert_eq(applied, 2);
    cr_assert_eq(postgres_migrate(&config, &applied, &err), LL_OK, "%s", err.text);
    cr_assert_eq(applied, 0);
    write_file(folder, "0003_bad.sql", "create table loyalty.three (a int);\n\nselect nonsense;\n");
    cr_assert_eq(postgres_migrate(&config, &applied, &err), LL_FATAL);
    cr_assert(strstr(err.text, "0003_bad.sql:3:") != NULL, "%s", err.text);
    cr_assert_eq(kit_number(&config, "select count(*) as n from loyalty.migrations"), 2);
    write_file(folder, "0003_bad.sql", "commit;\n");
    cr_assert_eq(postgres_migrate(&config, &applied, &err), LL_FATAL);
    cr_assert(strstr(err.text, "transaction") != NULL, "%s", err.text);
    write_file(folder, "0003_bad.sql", "select 1;\n");
    write_file(folder, "0001_one.sql", "create table loyalty.another (a int);\n");
    cr_assert_eq(postgres_migrate(&config, &applied, &err), LL_FATAL);
    cr_assert(strstr(err.text, "changed") != NULL, "%s", err.text);
    snprintf(command, sizeof command, "rm -r %s", share);
    cr_assert_eq(system(command), 0);
}
