#include "ops/verbs.h"

#include "ops/event_json.h"
#include "ops/ledger_rows.h"
#include "ops/options.h"
#include "ops/reach.h"
#include "ops/segments_one.h"
#include "ops/table.h"
#include "runtime/clock.h"

#include <getopt.h>
#include <poll.h>
#include <stdio.h>

enum { ROWS_DEFAULT = 5, ROWS_MAX = 100000, TRIES = 10, TRY_MS = 300 };

struct account {
    int32_t partition;
    int64_t balance, earned, reversed, net_minor, postings, last_event_ms, next_offset;
    bool redis_found, redis_current; /* current: Redis stands at or beyond the ledger */
    int64_t redis_balance;
};

static enum ll_status read_account(struct lens *lens, struct postgres *postgres, const char *id,
                                   struct account *ret, bool *ret_found, struct ll_err *err)
{
    struct postgres_rows *rows = NULL;
    char run[16];
    snprintf(run, sizeof(run), "%d", lens->config.program.run);
    const char *params[] = { run, id };
    enum ll_status status =
        postgres_query(postgres,
                       "select c.partition as source_partition, c.points_balance, c.points_earned,"
                       " c.points_reversed, c.net_minor, c.postings, c.last_event_ms, p.next_offset"
                       " from loyalty.report_customers c join loyalty.partitions p"
                       " using (run_id, partition) where c.run_id = $1::int and c.customer_id = $2",
                       params, 2, &rows, err);
    if (status != LL_OK)
        return status;
    *ret_found = postgres_rows_count(rows) > 0;
    if (*ret_found)
        *ret = (struct account){
            .partition = (int32_t)postgres_rows_int(rows, 0, "source_partition"),
            .balance = postgres_rows_int(rows, 0, "points_balance"),
            .earned = postgres_rows_int(rows, 0, "points_earned"),
            .reversed = postgres_rows_int(rows, 0, "points_reversed"),
            .net_minor = postgres_rows_int(rows, 0, "net_minor"),
            .postings = postgres_rows_int(rows, 0, "postings"),
            .last_event_ms = postgres_rows_int(rows, 0, "last_event_ms"),
            .next_offset = postgres_rows_int(rows, 0, "next_offset"),
        };
    postgres_rows_free(rows);
    return LL_OK;
}

/* Redis is ahead of the ledger by up to one flush, so a difference counts only if it lasts. */
static enum ll_status read_both(struct lens *lens, struct postgres *postgres, struct redis *redis,
                                const char *id, struct account *ret, bool *ret_found, struct ll_err *err)
{
    enum ll_status status = LL_OK;
    for (int try = 0; try < TRIES && status == LL_OK; try++) {
        if (try > 0)
            poll(NULL, 0, TRY_MS);
        status = read_account(lens, postgres, id, ret, ret_found, err);
        if (status != LL_OK || !*ret_found)
            return status;
        int64_t epoch = -1, next = -1;
        status = redis_mark(redis, lens->config.program.run, ret->partition, &epoch, &next, err);
        if (status == LL_OK)
            status = redis_balance(redis, lens->config.program.run, ret->partition, text_of(id),
                                   &ret->redis_balance, &ret->redis_found, err);
        ret->redis_current = next >= ret->next_offset;
        if (ret->redis_current && ret->redis_found && ret->redis_balance == ret->balance)
            return status;
    }
    return status;
}

static int print(struct lens *lens, const char *id, const struct account *a, const struct postgres_rows *rows,
                 const json_t *standing)
{
    bool agree = a->redis_found && a->redis_current && a->redis_balance == a->balance;
    int64_t spendable = a->balance > 0 ? a->balance : 0;
    if (lens->json) {
        json_t *to = json_pack("{s:s, s:i, s:I, s:I, s:I, s:I, s:I, s:I}", "customer_id", id, "partition",
                               a->partition, "points_balance", (json_int_t)a->balance, "points_spendable",
                               (json_int_t)spendable, "points_earned", (json_int_t)a->earned,
                               "points_reversed", (json_int_t)a->reversed, "net_minor",
                               (json_int_t)a->net_minor, "postings", (json_int_t)a->postings);
        json_object_set_new(to, "redis_balance",
                            a->redis_found ? json_integer(a->redis_balance) : json_null());
        json_object_set_new(to, "stores_agree", json_boolean(agree));
        json_object_set_new(to, "last_event", event_json_time(a->last_event_ms));
        json_object_set_new(to, "ledger", ledger_rows_json(rows));
        json_object_set_new(to, "standing", standing == NULL ? json_null() : json_deep_copy(standing));
        int code = lens_print_json(lens, to);
        return code != LENS_DONE || agree ? code : LENS_BAD;
    }
    char when[32];
    struct table *table = table_new("|>|");
#define ROW(name, value, remark)                                                                             \
    (table_cell(table, "%s", name), table_number(table, value), table_cell(table, "%s", remark))
    ROW("balance (Postgres)", a->balance, "points");
    if (a->redis_found)
        ROW("balance (Redis)", a->redis_balance,
            agree              ? "points, the same"
            : a->redis_current ? "points: DIFFERS"
                               : "points: behind the ledger");
    ROW("may be spent", spendable, "points");
    ROW("earned", a->earned, "points");
    ROW("reversed", a->reversed, "points");
    ROW("postings", a->postings, "");
#undef ROW
    printf("customer %s, partition %d, net spend %s, last event %s\n", id, a->partition,
           lens_money(lens, a->net_minor), clock_format(a->last_event_ms, when, sizeof(when)));
    table_print(table, 2, stdout);
    if (!a->redis_found)
        printf("  Redis has no balance of this customer: see `lens status`, then `lens verify`\n");
    fputc('\n', stdout);
    if (standing != NULL) {
        segments_one_print(lens, standing, 2);
        fputc('\n', stdout);
    }
    ledger_rows_print(lens, rows, false);
    return agree ? LENS_DONE : LENS_BAD;
}

static int show(struct lens *lens, const char *id, int64_t limit)
{
    struct ll_err err = { "" };
    struct postgres *postgres = NULL;
    struct redis *redis = NULL;
    struct postgres_rows *rows = NULL;
    json_t *standing = NULL;
    struct account account = { 0 };
    bool found = false;
    int code = reach_postgres(lens, &postgres);
    if (code == LENS_DONE)
        code = reach_redis(lens, &redis);
    if (code == LENS_DONE)
        code = lens_end(lens, read_both(lens, postgres, redis, id, &account, &found, &err), &err);
    if (code == LENS_DONE && !found)
        code = lens_fail(lens, "customer \"%s\" has no ledger row; a refused sale is in `lens dlq list`", id);
    else if (code == LENS_DONE) {
        code = lens_end(lens, ledger_rows_find(lens, postgres, LEDGER_BY_CUSTOMER, id, limit, &rows, &err),
                        &err);
        if (code == LENS_DONE)
            code = lens_end(lens, segments_one_read(lens, postgres, id, &standing, &err), &err);
        if (code == LENS_DONE)
            code = print(lens, id, &account, rows, standing);
    }
    json_decref(standing);
    if (rows != NULL)
        postgres_rows_free(rows);
    if (redis != NULL)
        redis_close(redis);
    if (postgres != NULL)
        postgres_close(postgres);
    return code;
}

int verb_customer(struct lens *lens, int argc, char **argv)
{
    static const struct option options[] = { { "limit", required_argument, NULL, 'n' },
                                             { NULL, 0, NULL, 0 } };
    int64_t limit = ROWS_DEFAULT;
    for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        if (option != 'n')
            return LENS_USAGE;
        if (!option_int(optarg, 1, ROWS_MAX, &limit))
            return lens_usage(lens, "--limit is a number from 1 to %d, not \"%s\"", ROWS_MAX, optarg);
    }
    if (optind + 1 != argc)
        return lens_usage(lens, "takes one customer id");
    return show(lens, argv[optind], limit);
}
