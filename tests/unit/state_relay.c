#include "state_kit.h"

#include "schemas/codes.h"
#include "state/relay_store.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct relay_store open_store(const struct config *config)
{
    struct relay_store store;
    relay_postgres_open(config, &store);
    return store;
}

static void put_partition(const struct config *config, int32_t partition, int64_t next_offset)
{
    kit_execute(config, "insert into loyalty.partitions (run_id, partition, epoch, next_offset, clock, rules_version)"
                        " values (%d, %d, 1, %lld, '2023-11-14 22:13:20+00', 1)",
                config->program.run, partition, (long long)next_offset);
}

static void put_posting(const struct config *config, int32_t partition, int64_t offset, int32_t seq)
{
    kit_execute(config,
                "insert into loyalty.postings (run_id, partition, \"offset\", seq, identity_hash, content_hash, net_minor, points,"
                " event_time, posted_at, raw_offset, sale_day, rules_version, type, source, transaction_id, lines)"
                " values (%d, %d, %lld, %d, 1, 1, 0, 0, now(), now(), 0, '2024-01-01', 1, 'S', 's', 't', '')",
                config->program.run, partition, (long long)offset, seq);
}

static void put_dead(const struct config *config, int32_t partition, int64_t offset, int32_t seq)
{
    kit_execute(config,
                "insert into loyalty.dead (run_id, partition, \"offset\", seq, event_offset, record_time, refused_at, identity_hash,"
                " content_hash, sale_hash, source, transaction_id, codes, message, key, value, headers, raw_topic, raw_partition,"
                " raw_offset) values (%d, %d, %lld, %d, 7, '2023-11-14 22:13:20.5+00', now(), 1, 2, 3, null, 'T', "
                "'{ORPHAN_RETURN,NOT_KNOWN_HERE,RETURN_CUSTOMER}', 'why', null, '\\xff00', null, null, 2, 9)",
                config->program.run, partition, (long long)offset, seq);
}

/* What was given, as words: "L5.0 D5.1 ". */
struct given {
    char words[512];
};

static void on_row(void *arg, const struct relay_row *row)
{
    struct given *given = arg;
    size_t used = strlen(given->words);
    cr_assert((row->posting == NULL) != (row->dead == NULL));
    if (row->posting != NULL)
        snprintf(given->words + used, sizeof given->words - used, "L%lld.%d ", (long long)row->posting->offset, row->posting->seq);
    else
        snprintf(given->words + used, sizeof given->words - used, "D%lld.%d ", (long long)row->dead->offset, row->dead->seq);
}

static struct relay_slice rows(struct relay_store *store, int32_t partition, int64_t from, int64_t limit, struct given *ret)
{
    struct relay_slice slice = { 0 };
    struct ll_err err = { "" };
    ret->words[0] = '\0';
    cr_assert_eq(store->ops->rows(store->self, partition, from, limit, on_row, ret, &slice, &err), STORE_OK, "%s", err.text);
    return slice;
}

static void fill(const struct config *config)
{
    put_partition(config, 3, 9);
    put_posting(config, 3, 1, 0);
    put_posting(config, 3, 2, 1);
    put_dead(config, 3, 2, 0);
    put_dead(config, 3, 2, 2);
    put_posting(config, 3, 5, 0);
    put_dead(config, 3, 6, 0);
    put_dead(config, 3, 6, 1);
    put_dead(config, 3, 6, 2);
    put_posting(config, 3, 8, 0);
    put_posting(config, 3, 9, 0); /* beyond next_offset: not committed, as far as the partition knows */
    put_partition(config, 4, 9);
    put_posting(config, 4, 3, 0); /* another partition's */
}

static const struct {
    const char *why;
    int64_t from, limit;
    const char *want;
    int64_t upto;
} SLICES[] = {
    { "all of it, merged", 0, 1000, "L1.0 D2.0 L2.1 D2.2 L5.0 D6.0 D6.1 D6.2 L8.0 ", 9 },
    { "rows below are let lie", 5, 1000, "L5.0 D6.0 D6.1 D6.2 L8.0 ", 9 },
    { "one row, one offset", 0, 1, "L1.0 ", 2 },
    { "an offset whole, though it has three rows", 2, 1, "D2.0 L2.1 D2.2 ", 3 },
    { "the refused ones end a slice too", 3, 2, "L5.0 D6.0 D6.1 D6.2 ", 7 },
    { "up to next_offset, where no row is", 9, 10, "", 9 },
    { "Postgres has fallen back behind the relay", 30, 10, "", 30 },
};

Test(relay_store, slices_are_merged_and_never_cut_an_offset)
{
    struct config config = kit_config();
    struct relay_store store = open_store(&config);
    fill(&config);
    for (size_t i = 0; i < sizeof SLICES / sizeof SLICES[0]; i++) {
        struct given given;
        struct relay_slice slice = rows(&store, 3, SLICES[i].from, SLICES[i].limit, &given);
        cr_expect_str_eq(given.words, SLICES[i].want, "%s: %s", SLICES[i].why, given.words);
        cr_expect_eq(slice.upto, SLICES[i].upto, "%s: %lld", SLICES[i].why, (long long)slice.upto);
        cr_expect_eq(slice.next_offset, 9);
        cr_expect_eq(slice.clock_ms, 1700000000000);
    }
    store.ops->close(store.self);
}

Test(relay_store, a_partition_that_was_never_claimed_has_nothing)
{
    struct config config = kit_config();
    struct relay_store store = open_store(&config);
    struct given given;
    struct relay_slice slice = rows(&store, 3, 0, 10, &given);
    cr_expect(slice.upto == 0 && slice.next_offset == 0 && given.words[0] == '\0');
    struct relay_mark mark = { .partition = 3, .next_offset = 99 };
    struct ll_err err;
    cr_assert_eq(store.ops->marks(store.self, &mark, 1, &err), STORE_OK);
    cr_expect_eq(mark.next_offset, 0);
    store.ops->close(store.self);
}

static void on_dead(void *arg, const struct relay_row *row)
{
    int *count = arg;
    if (row->dead == NULL)
        return;
    const struct kept_record *dead = row->dead;
    (*count)++;
    cr_expect(dead->event_offset == 7 && dead->timestamp_ms == 1700000000500);
    cr_expect_eq(dead->codes, code_bit(CODE_ORPHAN_RETURN) | code_bit(CODE_RETURN_CUSTOMER));
    cr_expect(text_equal(dead->message, text_of("why")) && text_equal(dead->transaction_id, text_of("T")));
    cr_expect(dead->key.data == NULL && dead->headers.data == NULL && dead->raw_topic.data == NULL);
    cr_expect(text_equal(dead->value, (struct text){ "\377\0", 2 }));
    cr_expect(dead->raw_partition == 2 && dead->raw_offset == 9);
}

Test(relay_store, a_refused_record_comes_back_whole)
{
    struct config config = kit_config();
    struct relay_store store = open_store(&config);
    struct relay_slice slice;
    struct ll_err err = { "" };
    int count = 0;
    fill(&config);
    cr_assert_eq(store.ops->rows(store.self, 3, 0, 100, on_dead, &count, &slice, &err), STORE_OK, "%s", err.text);
    cr_expect_eq(count, 5);
    store.ops->close(store.self);
}

Test(relay_store, what_is_relayed_only_rises_and_waits_for_nobody)
{
    struct config config = kit_config();
    struct relay_store store = open_store(&config);
    struct relay_mark marks[] = { { .partition = 3, .relayed_upto = 5 }, { .partition = 4, .relayed_upto = 6 } };
    struct ll_err err = { "" };
    put_partition(&config, 3, 9);
    put_partition(&config, 4, 9);
    cr_assert_eq(store.ops->set_relayed(store.self, marks, 2, &err), STORE_OK, "%s", err.text);
    marks[0].relayed_upto = 4;
    marks[1].relayed_upto = 7;
    cr_assert_eq(store.ops->set_relayed(store.self, marks, 2, &err), STORE_OK, "%s", err.text);
    cr_assert_eq(store.ops->marks(store.self, marks, 2, &err), STORE_OK, "%s", err.text);
    cr_expect(marks[0].relayed_upto == 5 && marks[1].relayed_upto == 7 && marks[1].next_offset == 9);
    store.ops->close(store.self);
}

Test(relay_store, a_lost_connection_is_replaced)
{
    struct config config = kit_config();
    struct relay_store store = open_store(&config);
    struct relay_mark mark = { .partition = 3 };
    struct ll_err err = { "" };
    put_partition(&config, 3, 9);
    cr_assert_eq(store.ops->marks(store.self, &mark, 1, &err), STORE_OK, "%s", err.text);
    kit_execute(&config, "select pg_terminate_backend(pid, 5000) from pg_stat_activity where application_name = 'lens-relay'");
    cr_expect_eq(store.ops->marks(store.self, &mark, 1, &err), STORE_OK, "%s", err.text);
    cr_expect_eq(mark.next_offset, 9);
    store.ops->close(store.self);
}
