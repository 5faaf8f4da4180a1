#include "state/segment_store.h"

#include "runtime/clock.h"
#include "state/copy_field.h"
#include "state/ledger_postgres.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SLICE_SIZE = 256 * 1024, LOCK_CLASS = 0x6c6c73 }; /* "lls" */

struct segment_postgres {
    struct config config;
    char settings[512];
    struct postgres_link link;
    struct row_buffer sql;
};

static int64_t patience_ms(const struct segment_postgres *store)
{
    return POSTGRES_PATIENCE * store->config.postgres.timeout_ms;
}

static enum store_reply run(struct segment_postgres *store, const char *doing, PGresult **ret,
                            struct ll_err *err)
{
    return postgres_link_run(&store->link, store->sql.data, NULL, patience_ms(store), doing, ret, err);
}

#define SAY(store, ...) (row_buffer_clear(&(store)->sql), ledger_say(&(store)->sql, __VA_ARGS__))

static int64_t number(const PGresult *result, int row, int column)
{
    return strtoll(PQgetvalue(result, row, column), NULL, 10);
}

static bool flag(const PGresult *result, int column)
{
    return PQgetvalue(result, 0, column)[0] == 't';
}

/* ---- claim ---- */

static enum store_reply lock(struct segment_postgres *store, struct ll_err *err)
{
    PGresult *result = NULL;
    SAY(store, "select pg_try_advisory_lock(%d, %d)", LOCK_CLASS, store->config.program.run);
    enum store_reply reply = run(store, "asking for ownership", &result, err);
    if (reply != STORE_OK)
        return reply;
    bool is_mine = flag(result, 0);
    PQclear(result);
    if (is_mine)
        return STORE_OK;
    postgres_link_drop(&store->link);
    ll_fail(err, LL_RETRY, "another lens-segment owns run %d; this one stands by", store->config.program.run);
    return STORE_BUSY;
}

static enum store_reply claim_owner(struct segment_postgres *store, int64_t wall_ms,
                                    struct segment_owner *ret, struct ll_err *err)
{
    PGresult *result = NULL;
    SAY(store,
        "insert into segments.owner as o (run_id, epoch) values (%d, greatest(1, %lld)) on conflict (run_id) "
        "do update"
        " set epoch = greatest(o.epoch + 1, excluded.epoch), updated_at = now() returning epoch, as_of_day "
        "is not null,"
        " coalesce(as_of_day - date '1970-01-01', 0), is_closed, threshold_version, next_change, "
        "relayed_upto, settings",
        store->config.program.run, (long long)wall_ms);
    enum store_reply reply = run(store, "claiming the standing", &result, err);
    if (reply != STORE_OK)
        return reply;
    *ret = (struct segment_owner){
        .epoch = number(result, 0, 0),
        .has_day = flag(result, 1),
        .day = (int32_t)number(result, 0, 2),
        .is_closed = flag(result, 3),
        .threshold_version = (int32_t)number(result, 0, 4),
        .next_change = number(result, 0, 5),
        .relayed_upto = number(result, 0, 6),
    };
    snprintf(ret->settings, sizeof ret->settings, "%s", PQgetvalue(result, 0, 7));
    PQclear(result);
    return STORE_OK;
}

static enum store_reply read_parts(struct segment_postgres *store, struct segment_part *parts, size_t count,
                                   struct ll_err *err)
{
    PGresult *result = NULL;
    for (size_t at = 0; at < count; at++)
        parts[at] = (struct segment_part){ .partition = (int32_t)at, .row_offset = -1 };
    SAY(store,
        "select partition, next_offset, row_offset, row_seq, (extract(epoch from clock) * 1000)::int8, "
        "clock_day is not null,"
        " coalesce(clock_day - date '1970-01-01', 0), quiet_ticks, rows, ticks, repeated, anonymous"
        " from segments.partitions where run_id = %d",
        store->config.program.run);
    enum store_reply reply = run(store, "reading where segment stands", &result, err);
    for (int row = 0; reply == STORE_OK && row < PQntuples(result); row++) {
        int64_t partition = number(result, row, 0);
        if (partition < 0 || partition >= (int64_t)count)
            continue;
        parts[partition] = (struct segment_part){
            .partition = (int32_t)partition,
            .next_offset = number(result, row, 1),
            .row_offset = number(result, row, 2),
            .row_seq = (int32_t)number(result, row, 3),
            .clock_ms = number(result, row, 4),
            .has_day = PQgetvalue(result, row, 5)[0] == 't',
            .clock_day = (int32_t)number(result, row, 6),
            .quiet_ticks = (int32_t)number(result, row, 7),
            .rows = number(result, row, 8),
            .ticks = number(result, row, 9),
            .repeated = number(result, row, 10),
            .anonymous = number(result, row, 11),
        };
    }
    if (reply == STORE_OK)
        PQclear(result);
    return reply;
}

static enum store_reply segment_claim(void *self, int64_t wall_ms, struct segment_owner *ret,
                                      struct segment_part *parts, size_t count, struct ll_err *err)
{
    struct segment_postgres *store = self;
    enum store_reply reply = postgres_link_open(&store->link, err);
    if (reply == STORE_OK)
        reply = lock(store, err);
    if (reply == STORE_OK)
        reply = claim_owner(store, wall_ms, ret, err);
    if (reply == STORE_OK)
        reply = read_parts(store, parts, count, err);
    return reply;
}

/* ---- load ---- */

static void take_threshold(const PGresult *result, struct segment_threshold *ret)
{
    *ret = (struct segment_threshold){
        .version = (int32_t)number(result, 0, 0),
        .day = (int32_t)number(result, 0, 1),
        .customers = number(result, 0, 2),
        .rated = number(result, 0, 3),
        .base = number(result, 0, 4),
        .k = number(result, 0, 5),
        .threshold_minor = number(result, 0, 6),
        .members = number(result, 0, 7),
        .median_balance = number(result, 0, 8),
        .categories = (int32_t)number(result, 0, 9),
    };
    for (int at = 0; at < SEGMENT_CUTS; at++) {
        ret->r_cuts[at] = (int32_t)number(result, 0, 10 + at);
        ret->f_cuts[at] = (int32_t)number(result, 0, 14 + at);
        ret->m_cuts[at] = number(result, 0, 18 + at);
    }
}

static enum store_reply load_threshold(struct segment_postgres *store, const struct segment_owner *owner,
                                       const struct segment_loader *to, struct ll_err *err)
{
    PGresult *result = NULL;
    struct segment_threshold threshold;
    SAY(store,
        "select version, day - date '1970-01-01', customers, rated, base, k, coalesce(threshold_minor, 0), "
        "members,"
        " median_balance, categories, r_cuts[1], r_cuts[2], r_cuts[3], r_cuts[4], f_cuts[1], f_cuts[2], "
        "f_cuts[3],"
        " f_cuts[4], m_cuts[1], m_cuts[2], m_cuts[3], m_cuts[4] from segments.thresholds where run_id = %d "
        "and version = %d",
        store->config.program.run, owner->threshold_version);
    enum store_reply reply = run(store, "reading thresholds", &result, err);
    if (reply != STORE_OK)
        return reply;
    bool found = PQntuples(result) == 1;
    if (found)
        take_threshold(result, &threshold);
    PQclear(result);
    if (found)
        to->threshold(to->arg, &threshold);
    if (found || owner->threshold_version == 0)
        return STORE_OK;
    ll_fail(err, LL_FATAL, "postgres: segments.thresholds lacks version %d, which segments.owner names",
            owner->threshold_version);
    return STORE_BROKEN;
}

static bool take_category(void *arg, const char *bytes, size_t size)
{
    const struct segment_loader *to = arg;
    struct copy_cursor cursor = { .at = bytes, .end = bytes + size };
    if (take_u16(&cursor) != 1)
        return false;
    struct text name = take_text(&cursor);
    if (!cursor.bad)
        to->category(to->arg, name);
    return !cursor.bad;
}

static bool take_standing(void *arg, const char *bytes, size_t size)
{
    const struct segment_loader *to = arg;
    struct copy_cursor cursor = { .at = bytes, .end = bytes + size };
    if (take_u16(&cursor) != 2)
        return false;
    struct text customer_id = take_text(&cursor), state = take_text(&cursor);
    return !cursor.bad && to->standing(to->arg, customer_id, state);
}

static enum store_reply segment_load(void *self, const struct segment_owner *owner,
                                     const struct segment_loader *to, struct ll_err *err)
{
    static const char doing[] = "loading the standing";
    struct segment_postgres *store = self;
    struct segment_loader loader = *to;
    enum store_reply reply = load_threshold(store, owner, to, err);
    if (reply != STORE_OK)
        return reply;
    SAY(store,
        "copy (select category from segments.categories where run_id = %d order by category) to stdout "
        "(format binary)",
        store->config.program.run);
    reply = postgres_link_copy(&store->link, store->sql.data, patience_ms(store), doing, take_category,
                               &loader, err);
    if (reply != STORE_OK)
        return reply;
    SAY(store,
        "copy (select customer_id, state from segments.customer_standing where run_id = %d) to stdout "
        "(format binary)",
        store->config.program.run);
    return postgres_link_copy(&store->link, store->sql.data, patience_ms(store), doing, take_standing,
                              &loader, err);
}

/* ---- commit ---- */

static bool put_slice(struct segment_postgres *store, const char *bytes, size_t size)
{
    if (PQputCopyData(store->link.conn, bytes, (int)size) != 1)
        return false;
    struct clock_source clock = clock_real();
    int64_t deadline_ms = clock.steady_ms(clock.self) + patience_ms(store);
    for (int left; (left = PQflush(store->link.conn)) != 0;) {
        int64_t rest_ms = deadline_ms - clock.steady_ms(clock.self);
        if (left < 0 || rest_ms <= 0)
            return false;
        if (postgres_link_wait(&store->link, true, rest_ms) && PQconsumeInput(store->link.conn) == 0)
            return false;
    }
    return true;
}

static enum store_reply lost(struct segment_postgres *store, const char *doing, struct ll_err *err)
{
    enum store_reply reply = postgres_link_fail(&store->link, NULL, doing, err);
    postgres_link_drop(&store->link);
    return reply == STORE_OK ? STORE_DOWN : reply;
}

static enum store_reply copy_in(struct segment_postgres *store, const char *table, const char *columns,
                                const struct row_buffer *rows, struct ll_err *err)
{
    static const char header[19] = "PGCOPY\n\377\r\n"; /* flags and extension are 0 */
    if (rows->rows == 0)
        return STORE_OK;
    SAY(store, "copy %s (%s) from stdin (format binary)", table, columns);
    if (PQsendQuery(store->link.conn, store->sql.data) == 0)
        return lost(store, table, err);
    struct clock_source clock = clock_real();
    int64_t deadline_ms = clock.steady_ms(clock.self) + patience_ms(store);
    while (PQflush(store->link.conn) > 0 || PQisBusy(store->link.conn)) {
        int64_t rest_ms = deadline_ms - clock.steady_ms(clock.self);
        if (rest_ms <= 0 ||
            (postgres_link_wait(&store->link, false, rest_ms) && PQconsumeInput(store->link.conn) == 0))
            return lost(store, table, err);
    }
    PGresult *result = PQgetResult(store->link.conn);
    bool feeding = PQresultStatus(result) == PGRES_COPY_IN;
    enum store_reply reply = feeding ? STORE_OK : postgres_link_fail(&store->link, result, table, err);
    PQclear(result);
    if (!feeding) {
        postgres_link_drop(&store->link);
        return reply;
    }
    bool well = put_slice(store, header, sizeof header);
    for (size_t at = 0; well && at < rows->size; at += SLICE_SIZE)
        well = put_slice(store, rows->data + at, rows->size - at < SLICE_SIZE ? rows->size - at : SLICE_SIZE);
    well = well && put_slice(store, "\377\377", 2) && PQputCopyEnd(store->link.conn, NULL) == 1;
    if (!well)
        return lost(store, table, err);
    return postgres_link_finish(&store->link, patience_ms(store), table, NULL, err);
}

static enum store_reply begin(struct segment_postgres *store, const struct segment_owner *owner,
                              struct ll_err *err)
{
    PGresult *result = NULL;
    char day[40] = "null";
    if (owner->has_day)
        snprintf(day, sizeof day, "date '1970-01-01' + %d", owner->day);
    char *settings = PQescapeLiteral(store->link.conn, owner->settings, strlen(owner->settings));
    if (settings == NULL)
        abort();
    SAY(store,
        "begin; update segments.owner set as_of_day = %s, is_closed = %s, threshold_version = %d, "
        "next_change = %lld,"
        " settings = %s, updated_at = now() where run_id = %d and epoch = %lld returning 1",
        day, owner->is_closed ? "true" : "false", owner->threshold_version, (long long)owner->next_change,
        settings, store->config.program.run, (long long)owner->epoch);
    PQfreemem(settings);
    enum store_reply reply = run(store, "guarding the standing", &result, err);
    if (reply != STORE_OK)
        return reply;
    bool is_mine = PQntuples(result) == 1;
    PQclear(result);
    if (is_mine)
        return STORE_OK;
    postgres_link_drop(&store->link);
    ll_fail(err, LL_RETRY, "postgres: segments.owner has another epoch: another lens-segment has taken over");
    return STORE_NOT_MINE;
}

static enum store_reply put_parts(struct segment_postgres *store, const struct segment_commit *commit,
                                  struct ll_err *err)
{
    if (commit->part_count == 0)
        return STORE_OK;
    SAY(store, "insert into segments.partitions values ");
    for (size_t at = 0; at < commit->part_count; at++) {
        const struct segment_part *part = &commit->parts[at];
        char day[40] = "null";
        if (part->has_day)
            snprintf(day, sizeof day, "date '1970-01-01' + %d", part->clock_day);
        ledger_say(&store->sql,
                   "%s(%d,%d,%lld,%lld,%d,timestamptz 'epoch' + %lld * interval '1 "
                   "millisecond',%s,%d,%lld,%lld,%lld,%lld)",
                   at == 0 ? "" : ",", store->config.program.run, part->partition,
                   (long long)part->next_offset, (long long)part->row_offset, part->row_seq,
                   (long long)part->clock_ms, day, part->quiet_ticks, (long long)part->rows,
                   (long long)part->ticks, (long long)part->repeated, (long long)part->anonymous);
    }
    ledger_say(&store->sql,
               " on conflict (run_id, partition) do update set next_offset = excluded.next_offset,"
               " row_offset = excluded.row_offset, row_seq = excluded.row_seq, clock = excluded.clock,"
               " clock_day = excluded.clock_day, quiet_ticks = excluded.quiet_ticks, rows = excluded.rows,"
               " ticks = excluded.ticks, repeated = excluded.repeated, anonymous = excluded.anonymous");
    return run(store, "writing where segment stands", NULL, err);
}

static enum store_reply put_categories(struct segment_postgres *store, const struct segment_commit *commit,
                                       struct ll_err *err)
{
    if (commit->category_count == 0)
        return STORE_OK;
    SAY(store, "insert into segments.categories values ");
    for (size_t at = 0; at < commit->category_count; at++) {
        char *name =
            PQescapeLiteral(store->link.conn, commit->categories[at].data, commit->categories[at].size);
        if (name == NULL)
            return lost(store, "a category's name", err);
        ledger_say(&store->sql, "%s(%d,%s)", at == 0 ? "" : ",", store->config.program.run, name);
        PQfreemem(name);
    }
    ledger_say(&store->sql, " on conflict do nothing");
    return run(store, "writing categories", NULL, err);
}

static enum store_reply put_standing(struct segment_postgres *store, const struct segment_commit *commit,
                                     struct ll_err *err)
{
    enum store_reply reply =
        copy_in(store, "segments.customer_standing", segment_standing_columns, commit->newcomers, err);
    if (reply == STORE_OK)
        reply = copy_in(store, "segment_in", segment_standing_columns, commit->standing, err);
    if (reply != STORE_OK || commit->standing->rows == 0)
        return reply;
    SAY(store,
        "update segments.customer_standing s set"
        " as_of_day = i.as_of_day, threshold_version = i.threshold_version, recency_days = i.recency_days,"
        " frequency = i.frequency, monetary_minor = i.monetary_minor, r = i.r, f = i.f, m = i.m,"
        " rfm_segment = i.rfm_segment, points_balance = i.points_balance, tier = i.tier, tier_points = "
        "i.tier_points,"
        " high_spender = i.high_spender, at_risk = i.at_risk, clv_potential = i.clv_potential,"
        " clv_trajectory = i.clv_trajectory, clv_engagement = i.clv_engagement, clv_breadth = i.clv_breadth,"
        " clv_points = i.clv_points, last_day = i.last_day, first_day = i.first_day, change_count = "
        "i.change_count,"
        " state = i.state from segment_in i where s.run_id = %d and s.customer_id = i.customer_id",
        store->config.program.run);
    PGresult *result = NULL;
    reply = run(store, "writing the standing", &result, err);
    if (reply != STORE_OK)
        return reply;
    bool all = strtoull(PQcmdTuples(result), NULL, 10) == commit->standing->rows;
    PQclear(result);
    if (!all) { /* whoever removed rows by hand has another state than memory */
        postgres_link_drop(&store->link);
        ll_fail(err, LL_RETRY, "postgres: segments.customer_standing lacks customers that were there");
        return STORE_DOWN;
    }
    SAY(store, "truncate segment_in");
    return run(store, "writing the standing", NULL, err);
}

static enum store_reply segment_commit(void *self, const struct segment_commit *commit, struct ll_err *err)
{
    struct segment_postgres *store = self;
    if (store->link.conn == NULL) {
        ll_fail(err, LL_RETRY, "postgres: the session that owned the standing is gone");
        return STORE_DOWN;
    }
    enum store_reply reply = begin(store, commit->owner, err);
    if (reply == STORE_OK)
        reply = copy_in(store, "segments.thresholds", segment_threshold_columns, commit->thresholds, err);
    if (reply == STORE_OK)
        reply = copy_in(store, "segments.changes", segment_change_columns, commit->changes, err);
    if (reply == STORE_OK)
        reply = put_standing(store, commit, err);
    if (reply == STORE_OK)
        reply = put_categories(store, commit, err);
    if (reply == STORE_OK)
        reply = put_parts(store, commit, err);
    SAY(store, "commit");
    return reply == STORE_OK ? run(store, "committing the standing", NULL, err) : reply;
}

/* ---- changes ---- */

struct reading {
    segment_change_row_fn *each;
    void *arg;
};

static bool take_change(void *arg, const char *bytes, size_t size)
{
    const struct reading *reading = arg;
    struct segment_change change;
    int64_t change_no;
    if (!segment_read_change(bytes, size, &change_no, &change))
        return false;
    reading->each(reading->arg, change_no, &change);
    return true;
}

static enum store_reply segment_changes(void *self, int64_t from, int64_t limit, segment_change_row_fn *each,
                                        void *arg, struct ll_err *err)
{
    struct segment_postgres *store = self;
    struct reading reading = { each, arg };
    if (store->link.conn == NULL) {
        ll_fail(err, LL_RETRY, "postgres: the session that owned the standing is gone");
        return STORE_DOWN;
    }
    SAY(store,
        "copy (select %s from segments.changes where run_id = %d and change_no >= %lld order by change_no "
        "limit %lld)"
        " to stdout (format binary)",
        segment_change_columns, store->config.program.run, (long long)from, (long long)limit);
    return postgres_link_copy(&store->link, store->sql.data, patience_ms(store), "reading changes to relay",
                              take_change, &reading, err);
}

static enum store_reply segment_set_relayed(void *self, int64_t upto, int64_t again, struct ll_err *err)
{
    struct segment_postgres *store = self;
    SAY(store,
        "update segments.owner set relayed_upto = greatest(relayed_upto, %lld), published_again = published_again + %lld"
        " where run_id = %d and (relayed_upto < %lld or %lld > 0)",
        (long long)upto, (long long)again, store->config.program.run, (long long)upto, (long long)again);
    return store->link.conn == NULL ? STORE_DOWN : run(store, "noting what is relayed", NULL, err);
}

static void segment_close(void *self)
{
    struct segment_postgres *store = self;
    postgres_link_drop(&store->link);
    row_buffer_done(&store->sql);
    free(store);
}

static const struct segment_store_ops ops = {
    .claim = segment_claim,
    .load = segment_load,
    .commit = segment_commit,
    .changes = segment_changes,
    .set_relayed = segment_set_relayed,
    .close = segment_close,
};

void segment_postgres_open(const struct config *config, struct segment_store *ret)
{
    struct segment_postgres *store = calloc(1, sizeof *store);
    if (store == NULL)
        abort();
    store->config = *config;
    long long patience = (long long)patience_ms(store);
    snprintf(store->settings, sizeof store->settings,
             "set jit = off; set timezone = 'UTC'; set synchronous_commit = on; set statement_timeout = %lld;"
             " set lock_timeout = %lld; set client_min_messages = error; set temp_buffers = '256MB';"
             " create temp table if not exists segment_in (like segments.customer_standing)",
             patience, (long long)config->postgres.timeout_ms);
    store->link = (struct postgres_link){ .config = &store->config,
                                          .application = "lens-segment",
                                          .settings = store->settings };
    *ret = (struct segment_store){ .ops = &ops, .self = store };
}
