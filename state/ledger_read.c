#include "state/ledger_postgres.h"

#include "state/copy_field.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

enum { BALANCES_AT_ONCE = 10000 };

static struct ledger_view view_of(const struct ledger_mark *mark)
{
    return (struct ledger_view){ mark->partition, mark->epoch, mark->next_offset, mark->next_offset };
}

/* A snapshot in which view must hold. STORE_OK: it is open. */
static enum store_reply snapshot_open(struct ledger_postgres *store, const struct ledger_view *view,
                                      const char *doing, struct ll_err *err)
{
    struct postgres_link *link = &store->reads;
    enum store_reply reply = postgres_link_open(link, err);
    if (reply != STORE_OK)
        return reply;
    char sql[320];
    int size = snprintf(sql, sizeof sql,
                        "begin isolation level repeatable read read only;"
                        " select 1 from loyalty.partitions where run_id = %d and partition = %d",
                        store->config.program.run, view->partition);
    if (view->epoch >= 0)
        snprintf(sql + size, sizeof sql - (size_t)size, " and epoch = %lld and next_offset in (%lld, %lld)",
                 (long long)view->epoch, (long long)view->next_offset, (long long)view->next_offset_too);
    PGresult *result = NULL;
    reply = postgres_link_run(link, sql, NULL, store->config.postgres.timeout_ms, doing, &result, err);
    if (reply != STORE_OK)
        return reply;
    bool holds = PQntuples(result) == 1;
    PQclear(result);
    if (holds)
        return STORE_OK;
    reply = postgres_link_run(link, "rollback", NULL, store->config.postgres.timeout_ms, doing, NULL, err);
    if (reply != STORE_OK)
        return reply;
    ll_fail(err, LL_RETRY, "partition %d: Postgres does not stand at epoch %lld and offset %lld any more",
            view->partition, (long long)view->epoch, (long long)view->next_offset);
    return STORE_NOT_MINE;
}

static enum store_reply snapshot_close(struct ledger_postgres *store, const char *doing, struct ll_err *err)
{
    return postgres_link_run(&store->reads, "commit", NULL, store->config.postgres.timeout_ms, doing, NULL,
                             err);
}

struct identity_reader {
    const struct ledger_loader *to;
    int64_t left; /* to be passed on */
    bool complete;
};

static bool read_identity(void *arg, const char *bytes, size_t size)
{
    struct identity_reader *reader = arg;
    struct copy_cursor cursor = { .at = bytes, .end = bytes + size };
    if (take_u16(&cursor) != 3)
        return false;
    int64_t hash = take_int8(&cursor);
    int64_t offset = take_int8(&cursor);
    int64_t posted_at_ms = take_time(&cursor);
    if (cursor.bad || cursor.at != cursor.end)
        return false;
    if (reader->left-- > 0)
        reader->to->identity(reader->to->arg, hash, offset, posted_at_ms);
    else
        reader->complete = false;
    return true;
}

static bool read_held(void *arg, const char *bytes, size_t size)
{
    const struct ledger_loader *const *to = arg;
    struct kept_record record;
    if (!held_read(bytes, size, &record))
        return false;
    (*to)->held((*to)->arg, &record);
    return true;
}

struct balance_reader {
    ledger_balance_fn *each;
    void *arg;
};

static bool read_balance(void *arg, const char *bytes, size_t size)
{
    struct balance_reader *reader = arg;
    struct copy_cursor cursor = { .at = bytes, .end = bytes + size };
    if (take_u16(&cursor) != 2)
        return false;
    struct text customer_id = take_text(&cursor);
    int64_t points = take_int8(&cursor);
    if (cursor.bad || cursor.at != cursor.end)
        return false;
    reader->each(reader->arg, customer_id, points);
    return true;
}

static enum store_reply copy_accounts(struct ledger_postgres *store, int32_t partition,
                                      struct balance_reader *reader, const char *doing, struct ll_err *err)
{
    char sql[256];
    snprintf(sql, sizeof sql,
             "copy (select customer_id, points_balance from loyalty.accounts_%d_%d) to stdout (format binary)", store->config.program.run, partition);
    return postgres_link_copy(&store->reads, sql, ledger_patience_ms(store), doing, read_balance, reader,
                              err);
}

/* Are there more than max? Counts no further. */
static enum store_reply accounts_fit(struct ledger_postgres *store, int32_t partition, int64_t max, bool *ret,
                                     const char *doing, struct ll_err *err)
{
    char sql[256];
    snprintf(sql, sizeof sql,
             "select 1 from loyalty.accounts_%d_%d offset %lld limit 1",
             store->config.program.run, partition, (long long)max);
    PGresult *result = NULL;
    enum store_reply reply =
        postgres_link_run(&store->reads, sql, NULL, ledger_patience_ms(store), doing, &result, err);
    if (reply != STORE_OK)
        return reply;
    *ret = PQntuples(result) == 0;
    PQclear(result);
    return STORE_OK;
}

enum store_reply ledger_load(void *self, const struct ledger_mark *mark, int64_t identities_max,
                             int64_t accounts_max, const struct ledger_loader *to,
                             bool *ret_identities_complete, bool *ret_accounts_complete, struct ll_err *err)
{
    static const char doing[] = "loading a partition";
    struct ledger_postgres *store = self;
    int run = store->config.program.run;
    const struct ledger_view view = view_of(mark);
    enum store_reply reply = snapshot_open(store, &view, doing, err);
    if (reply != STORE_OK)
        return reply;
    char sql[640];
    snprintf(sql, sizeof sql,
             "copy (select %s from loyalty.held where run_id = %d and partition = %d order by \"offset\")"
             " to stdout (format binary)", held_columns, run, mark->partition);
    reply = postgres_link_copy(&store->reads, sql, ledger_patience_ms(store), doing, read_held,
                               &to, err);
    if (reply != STORE_OK)
        return reply;
    struct identity_reader identities = { .to = to, .left = identities_max, .complete = true };
    snprintf(sql, sizeof sql,
             "copy (select identity_hash, coalesce(event_offset, \"offset\"), posted_at from loyalty.postings_%d_%d"
             " order by \"offset\" desc, seq desc limit %lld)"
             " to stdout (format binary)",
             run, mark->partition, (long long)identities_max + 1);
    reply = postgres_link_copy(&store->reads, sql, ledger_patience_ms(store), doing, read_identity,
                               &identities, err);
    bool accounts_complete = false;
    if (reply == STORE_OK)
        reply = accounts_fit(store, mark->partition, accounts_max, &accounts_complete, doing, err);
    struct balance_reader accounts = { to->account, to->arg };
    if (reply == STORE_OK && accounts_complete)
        reply = copy_accounts(store, mark->partition, &accounts, doing, err);
    if (reply == STORE_OK)
        reply = snapshot_close(store, doing, err);
    if (reply != STORE_OK)
        return reply;
    *ret_identities_complete = identities.complete;
    *ret_accounts_complete = accounts_complete;
    return STORE_OK;
}

enum store_reply ledger_accounts(void *self, const struct ledger_mark *mark, ledger_balance_fn *each,
                                 void *arg, struct ll_err *err)
{
    static const char doing[] = "reading a partition's accounts";
    struct ledger_postgres *store = self;
    struct balance_reader reader = { each, arg };
    const struct ledger_view view = view_of(mark);
    enum store_reply reply = snapshot_open(store, &view, doing, err);
    if (reply == STORE_OK)
        reply = copy_accounts(store, mark->partition, &reader, doing, err);
    if (reply == STORE_OK)
        reply = snapshot_close(store, doing, err);
    return reply;
}

struct posting_reader {
    struct row_buffer *rows;
    struct posting_line lines[POSTING_LINES_MAX];
    struct posting_rule rules[POSTING_RULES_MAX];
};

static bool keep_posting(void *arg, const char *bytes, size_t size)
{
    struct posting_reader *reader = arg;
    struct posting posting;
    if (posting_read(bytes, size, reader->lines, reader->rules, &posting) != size)
        return false;
    memcpy(row_reserve(reader->rows, size), bytes, size);
    reader->rows->size += size;
    return true;
}

static void give_postings(struct posting_reader *reader, ledger_posting_fn *each, void *arg)
{
    for (size_t at = 0; at < reader->rows->size;) {
        struct posting posting;
        size_t size = posting_read(reader->rows->data + at, reader->rows->size - at, reader->lines, reader->rules, &posting);
        assert(size > 0); /* read before */
        each(arg, &posting);
        at += size;
    }
}

/* One look into one index per hash, whatever the statistics say (there are none before the first ANALYZE, and
 * the planner then thinks of 1/200 of the table per hash): the fence of `offset 0` fixes the order of the
 * join, the partition's own table needs no condition that the primary key could serve, and the session scans no table. */
static void say_leg(struct row_buffer *sql, const struct ledger_postgres *store, int32_t partition,
                    const int64_t *hashes, size_t count, const int64_t *more, size_t more_count,
                    const char *column)
{
    if (count + more_count == 0)
        return;
    ledger_say(sql, "%sselect found.* from unnest(", sql->rows == 0 ? "" : " union all ");
    ledger_say_array(sql, hashes, count);
    ledger_say(sql, " || ");
    ledger_say_array(sql, more, more_count);
    ledger_say(sql,
               ") as wanted cross join lateral (select %s from loyalty.postings_%d_%d where %s = wanted offset 0) as found",
               posting_columns, store->config.program.run, partition, column);
    sql->rows++;
}

enum store_reply ledger_find(void *self, const struct ledger_view *view, const int64_t *identities,
                             size_t identity_count, const int64_t *sales, size_t sale_count,
                             ledger_posting_fn *each, void *arg, struct ll_err *err)
{
    static const char doing[] = "looking up postings";
    struct ledger_postgres *store = self;
    if (identity_count == 0 && sale_count == 0)
        return STORE_OK;
    enum store_reply reply = snapshot_open(store, view, doing, err);
    if (reply != STORE_OK)
        return reply;
    struct row_buffer *sql = &store->sql;
    row_buffer_clear(sql);
    ledger_say(sql, "copy (select * from (");
    /* A row whose own identity is the sale's has no sale_hash beside it. */
    say_leg(sql, store, view->partition, identities, identity_count, sales, sale_count, "identity_hash");
    say_leg(sql, store, view->partition, sales, sale_count, NULL, 0, "sale_hash");
    ledger_say(sql, ") as found order by \"offset\", seq) to stdout (format binary)");
    struct posting_reader *reader = malloc(sizeof *reader);
    if (reader == NULL)
        abort();
    reader->rows = &store->found;
    row_buffer_clear(reader->rows);
    reply = postgres_link_copy(&store->reads, sql->data, ledger_patience_ms(store), doing, keep_posting,
                               reader, err);
    if (reply == STORE_OK)
        reply = snapshot_close(store, doing, err);
    if (reply == STORE_OK)
        give_postings(reader, each, arg);
    free(reader);
    return reply;
}

static enum store_reply balances_slice(struct ledger_postgres *store, int32_t partition,
                                       const struct text *customers, size_t count, ledger_balance_fn *each,
                                       void *arg, struct ll_err *err)
{
    struct row_buffer *names = &store->sql;
    array_begin(names, OID_TEXT);
    for (size_t at = 0; at < count; at++)
        array_add_text(names, customers[at]);
    array_end(names);
    struct postgres_params params = { 0 };
    postgres_params_add(&params, OID_TEXT_ARRAY, names);
    char sql[256];
    snprintf(sql, sizeof sql,
             "select customer_id, points_balance from loyalty.accounts_%d_%d where customer_id = any ($1)", store->config.program.run, partition);
    PGresult *result = NULL;
    enum store_reply reply = postgres_link_run(&store->reads, sql, &params, ledger_patience_ms(store),
                                               "looking up balances", &result, err);
    if (reply != STORE_OK)
        return reply;
    for (int row = 0; row < PQntuples(result); row++) {
        uint64_t points;
        memcpy(&points, PQgetvalue(result, row, 1), sizeof points);
        each(arg, (struct text){ PQgetvalue(result, row, 0), (uint32_t)PQgetlength(result, row, 0) },
             (int64_t)__builtin_bswap64(points));
    }
    PQclear(result);
    return STORE_OK;
}

enum store_reply ledger_balances(void *self, const struct ledger_view *view, const struct text *customers,
                                 size_t count, ledger_balance_fn *each, void *arg, struct ll_err *err)
{
    struct ledger_postgres *store = self;
    static const char doing[] = "looking up balances";
    if (count == 0)
        return STORE_OK;
    enum store_reply reply = snapshot_open(store, view, doing, err);
    for (size_t at = 0; reply == STORE_OK && at < count; at += BALANCES_AT_ONCE) {
        size_t slice = count - at < BALANCES_AT_ONCE ? count - at : BALANCES_AT_ONCE;
        reply = balances_slice(store, view->partition, customers + at, slice, each, arg, err);
    }
    return reply == STORE_OK ? snapshot_close(store, doing, err) : reply;
}
