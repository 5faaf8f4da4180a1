/*
 * A lane is one transaction of a flush, in stages (enum flush_stage). ledger_lane_advance moves it on as far as the socket
 * allows, and never waits on a call of libpq: the loop goes on deciding while Postgres writes.
 */
#include "state/ledger_postgres.h"

#include "state/copy_field.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

enum {
    SLICE_SIZE = 128 * 1024,         /* given to libpq at once */
    UPDATE_ROWS_MAX = 150000, /* of one update: bounds its arrays (15 MB); each one may scan all accounts */
};

static const char doing_of[][32] = {
    [FLUSH_NONE] = "flush",
    [FLUSH_GUARD] = "flush: watermark",
    [FLUSH_POSTINGS] = "flush: ledger rows",
    [FLUSH_DEAD] = "flush: dead letters",
    [FLUSH_HELD] = "flush: held returns",
    [FLUSH_RELEASE] = "flush: released returns",
    [FLUSH_OPEN] = "flush: new accounts",
    [FLUSH_UPDATE] = "flush: accounts",
    [FLUSH_COMMIT] = "flush: commit",
    [FLUSH_ROLLBACK] = "flush: rollback",
};

const char *ledger_lane_doing(const struct ledger_lane *lane) { return doing_of[lane->stage]; }

void ledger_lane_done(struct ledger_lane *lane)
{
    postgres_link_drop(&lane->link);
    row_buffer_done(&lane->scratch);
    for (size_t at = 0; at < sizeof lane->arrays / sizeof lane->arrays[0]; at++)
        row_buffer_done(&lane->arrays[at]);
}

static enum store_reply send(struct ledger_lane *lane, const char *sql,
                             const struct postgres_params *params, struct ll_err *err)
{
    static const int binary[POSTGRES_PARAMS_MAX] = { 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1 };
    PGconn *conn = lane->link.conn;
    int sent = params == NULL ? PQsendQuery(conn, sql)
                              : PQsendQueryParams(conn, sql, params->count, params->types, params->values,
                                                  params->sizes, binary, 1);
    return sent != 0 ? STORE_OK : postgres_link_fail(&lane->link, NULL, ledger_lane_doing(lane), err);
}

/* ---- what each stage sends ---- */

static enum store_reply send_guard(struct ledger_lane *lane, struct ll_err *err)
{
    struct row_buffer *sql = &lane->scratch;
    row_buffer_clear(sql);
    ledger_say(sql,
               "begin; update loyalty.partitions p set next_offset = v.next_offset,"
               " clock = timestamptz 'epoch' + v.clock_ms * interval '1 millisecond', rules_version = v.rules_version,"
               " read_count = v.read_count, credited = v.credited, duplicate = v.duplicate, dead = v.dead, held = v.held,"
               " control = v.control, updated_at = now() from (values ");
    for (size_t at = 0; at < lane->count; at++) {
        const struct ledger_part *part = &lane->parts[at];
        const struct ledger_counts *counts = &part->counts;
        ledger_say(sql,
                   "%s(%d::int4,%lld::int8,%lld::int8,%lld::int8,%lld::int8,%d::int4,"
                   "%lld::int8,%lld::int8,%lld::int8,%lld::int8,%lld::int8,%lld::int8)",
                   at == 0 ? "" : ",", part->partition, (long long)part->epoch, (long long)part->first_offset,
                   (long long)part->next_offset, (long long)part->clock_ms, part->rules_version,
                   (long long)counts->read, (long long)counts->credited, (long long)counts->duplicate,
                   (long long)counts->dead, (long long)counts->held, (long long)counts->control);
    }
    ledger_say(sql,
               ") as v (partition, epoch, first_offset, next_offset, clock_ms, rules_version, read_count, credited, duplicate,"
               " dead, held, control) where p.run_id = %d and p.partition = v.partition and p.epoch = v.epoch"
               " and p.next_offset = v.first_offset returning p.partition", lane->config->program.run);
    return send(lane, sql->data, NULL, err);
}

static enum store_reply send_copy(struct ledger_lane *lane, const char *table, const char *columns,
                                  struct ll_err *err)
{
    char sql[640];
    int size = snprintf(sql, sizeof sql, "copy loyalty.%s (%s) from stdin (format binary)", table, columns);
    assert(size > 0 && (size_t)size < sizeof sql);
    return send(lane, sql, NULL, err);
}

static enum store_reply send_release(struct ledger_lane *lane, struct ll_err *err)
{
    array_begin(&lane->arrays[0], OID_INT4);
    array_begin(&lane->arrays[1], OID_INT8);
    for (size_t at = 0; at < lane->count; at++) {
        const struct ledger_part *part = &lane->parts[at];
        for (size_t row = 0; row < part->released_count; row++) {
            array_add_int4(&lane->arrays[0], part->partition);
            array_add_int8(&lane->arrays[1], part->released[row]);
        }
    }
    array_end(&lane->arrays[0]);
    array_end(&lane->arrays[1]);
    struct postgres_params params = { 0 };
    postgres_params_add(&params, OID_INT4_ARRAY, &lane->arrays[0]);
    postgres_params_add(&params, OID_INT8_ARRAY, &lane->arrays[1]);
    char sql[256];
    snprintf(sql, sizeof sql,
             "delete from loyalty.held h using unnest($1, $2) as u (partition, at)"
             " where h.run_id = %d and h.partition = u.partition and h.\"offset\" = u.at", lane->config->program.run);
    return send(lane, sql, &params, err);
}

/* ---- the tables that each part has for itself ---- */

/* From the part's item-th account on: those that have a row already, or those that have none. */
static size_t accounts_left(const struct ledger_part *part, size_t item, bool known)
{
    size_t rows = 0;
    for (; item < part->account_count; item++)
        rows += part->accounts[item].known == known;
    return rows;
}

static enum store_reply send_own_copy(struct ledger_lane *lane, const char *table, const char *columns, size_t rows,
                                      struct ll_err *err)
{
    char name[48];
    snprintf(name, sizeof name, "%s_%d_%d", table, lane->config->program.run, lane->parts[lane->part].partition);
    lane->headed = lane->ended = false;
    lane->expected += (int64_t)rows;
    return send_copy(lane, name, columns, err);
}

static void add_update(struct row_buffer arrays[7], const struct ledger_account *account)
{
    array_add_text(&arrays[0], account->customer_id);
    array_add_int8(&arrays[1], account->points_delta);
    array_add_int8(&arrays[2], account->earned_delta);
    array_add_int8(&arrays[3], account->reversed_delta);
    array_add_int8(&arrays[4], account->net_delta_minor);
    array_add_int8(&arrays[5], account->postings_delta);
    array_add_time(&arrays[6], account->last_event_ms);
}

/* A chunk of the part's accounts that have a row. */
static enum store_reply send_update(struct ledger_lane *lane, const struct ledger_part *part, struct ll_err *err)
{
    static const uint32_t elements[7] = { OID_TEXT, OID_INT8, OID_INT8, OID_INT8, OID_INT8, OID_INT8, OID_TIME };
    static const Oid types[7] = { OID_TEXT_ARRAY, OID_INT8_ARRAY, OID_INT8_ARRAY, OID_INT8_ARRAY,
                                  OID_INT8_ARRAY, OID_INT8_ARRAY, OID_TIME_ARRAY };
    struct row_buffer *arrays = lane->arrays;
    for (size_t at = 0; at < 7; at++)
        array_begin(&arrays[at], elements[at]);
    for (; lane->item < part->account_count && arrays[0].rows < UPDATE_ROWS_MAX; lane->item++)
        if (part->accounts[lane->item].known)
            add_update(arrays, &part->accounts[lane->item]);
    lane->expected += (int64_t)arrays[0].rows;
    struct postgres_params params = { 0 };
    for (size_t at = 0; at < 7; at++) {
        array_end(&arrays[at]);
        postgres_params_add(&params, types[at], &arrays[at]);
    }
    char sql[640];
    snprintf(sql, sizeof sql,
             "update loyalty.accounts_%d_%d a set points_balance = a.points_balance + u.points,"
             " points_earned = a.points_earned + u.earned, points_reversed = a.points_reversed + u.reversed,"
             " net_minor = a.net_minor + u.net, postings = a.postings + u.postings,"
             " last_event_at = greatest(a.last_event_at, u.at)"
             " from unnest($1, $2, $3, $4, $5, $6, $7) as u (customer_id, points, earned, reversed, net, postings, at)"
             " where a.customer_id = u.customer_id",
             lane->config->program.run, part->partition);
    return send(lane, sql, &params, err);
}

/* The stage's next command: for the part that it has come to, or the next one that has something. Nothing left: *ret_sent
 * false. */
static enum store_reply send_own(struct ledger_lane *lane, bool *ret_sent, struct ll_err *err)
{
    *ret_sent = true;
    for (; lane->part < lane->count; lane->part++, lane->item = 0) {
        const struct ledger_part *part = &lane->parts[lane->part];
        if (lane->stage == FLUSH_POSTINGS) {
            if (lane->item == 0 && part->postings != NULL && part->postings->rows > 0)
                return send_own_copy(lane, "postings", posting_columns, part->postings->rows, err);
            continue;
        }
        size_t rows = accounts_left(part, lane->item, lane->stage == FLUSH_UPDATE);
        if (rows > 0)
            return lane->stage == FLUSH_UPDATE ? send_update(lane, part, err)
                                               : send_own_copy(lane, "accounts", account_columns, rows, err);
    }
    *ret_sent = false;
    return STORE_OK;
}

/* ---- from stage to stage ---- */

static int64_t rows_of(const struct ledger_lane *lane, enum flush_stage stage)
{
    size_t rows = 0;
    for (size_t at = 0; at < lane->count; at++) {
        const struct ledger_part *part = &lane->parts[at];
        if (stage == FLUSH_DEAD)
            rows += part->dead_count;
        if (stage == FLUSH_HELD)
            rows += part->held_count;
        if (stage == FLUSH_RELEASE)
            rows += part->released_count;
    }
    return (int64_t)rows;
}

/* Begins the stage, or the next one that has something to do. */
static enum store_reply stage_begin(struct ledger_lane *lane, enum flush_stage stage, struct ll_err *err)
{
    bool sent = false;
    for (;; stage++) {
        lane->stage = stage;
        lane->part = lane->item = 0;
        lane->named = 0;
        lane->headed = lane->ended = lane->feeding = false;
        lane->expected = rows_of(lane, stage);
        switch (stage) {
        case FLUSH_GUARD:
            return send_guard(lane, err);
        case FLUSH_POSTINGS:
        case FLUSH_OPEN:
        case FLUSH_UPDATE: {
            enum store_reply reply = send_own(lane, &sent, err);
            if (sent || reply != STORE_OK)
                return reply;
            break;
        }
        case FLUSH_DEAD:
            if (lane->expected > 0)
                return send_copy(lane, "dead", dead_columns, err);
            break;
        case FLUSH_HELD:
            if (lane->expected > 0)
                return send_copy(lane, "held", held_columns, err);
            break;
        case FLUSH_RELEASE:
            if (lane->expected > 0)
                return send_release(lane, err);
            break;
        case FLUSH_COMMIT:
            return send(lane, "commit", NULL, err);
        case FLUSH_ROLLBACK:
            return send(lane, "rollback", NULL, err);
        case FLUSH_NONE:
            assert(false);
        }
    }
}

/* Which parts the guard found as they believe to be. */
static void take_guard(struct ledger_lane *lane, const PGresult *result)
{
    for (size_t at = 0; at < lane->count; at++) {
        lane->parts[at].reply = STORE_NOT_MINE;
        for (int row = 0; row < PQntuples(result); row++)
            if (strtol(PQgetvalue(result, row, 0), NULL, 10) == lane->parts[at].partition)
                lane->parts[at].reply = STORE_OK;
    }
    lane->expected = (int64_t)lane->count;
    lane->named = PQntuples(result);
}

static enum store_reply take_result(struct ledger_lane *lane, PGresult *result, struct ll_err *err)
{
    ExecStatusType status = PQresultStatus(result);
    if (status == PGRES_COPY_IN) {
        lane->feeding = true;
        return STORE_OK;
    }
    if (status == PGRES_TUPLES_OK && lane->stage == FLUSH_GUARD) {
        take_guard(lane, result);
        return STORE_OK;
    }
    if (status != PGRES_COMMAND_OK)
        return postgres_link_fail(&lane->link, result, ledger_lane_doing(lane), err);
    if (lane->stage == FLUSH_COMMIT && strcmp(PQcmdStatus(result), "COMMIT") != 0) {
        ll_fail(err, LL_FATAL, "postgres: flush: the commit was answered with %s",
                PQcmdStatus(result));
        return STORE_BROKEN;
    }
    lane->named += strtoll(PQcmdTuples(result), NULL, 10);
    return STORE_OK;
}

/* The server has answered the stage's command whole: on to the next. STORE_BUSY: it was sent. */
static enum store_reply stage_end(struct ledger_lane *lane, struct ll_err *err)
{
    enum store_reply reply = STORE_OK;
    if (lane->stage == FLUSH_ROLLBACK) {
        ll_fail(err, LL_RETRY,
                "postgres: flush: epoch or next_offset of a partition is not what this owner believes");
        return STORE_NOT_MINE;
    }
    if (lane->stage == FLUSH_COMMIT)
        return STORE_OK;
    if (lane->named != lane->expected) {
        if (lane->stage == FLUSH_GUARD) {
            reply = stage_begin(lane, FLUSH_ROLLBACK, err);
            return reply == STORE_OK ? STORE_BUSY : reply;
        }
        ll_fail(err, LL_FATAL,
                "postgres: %s: %lld rows were meant, %lld were there: memory and tables differ", ledger_lane_doing(lane),
                (long long)lane->expected, (long long)lane->named);
        return STORE_BROKEN;
    }
    bool sent = false;
    if (lane->stage == FLUSH_POSTINGS || lane->stage == FLUSH_OPEN || lane->stage == FLUSH_UPDATE)
        reply = send_own(lane, &sent, err);
    if (sent || reply != STORE_OK)
        return reply == STORE_OK ? STORE_BUSY : reply;
    reply = stage_begin(lane, lane->stage + 1, err);
    return reply == STORE_OK ? STORE_BUSY : reply;
}

/* ---- COPY data ---- */

/* One row of the stage's table into scratch. */
static void write_row(const struct ledger_lane *lane, struct row_buffer *to,
                      const struct ledger_part *part, size_t item)
{
    int32_t run = lane->config->program.run;
    if (lane->stage == FLUSH_DEAD)
        dead_write(to, run, part->partition, &part->dead[item]);
    else if (lane->stage == FLUSH_HELD)
        held_write(to, run, part->partition, &part->held[item]);
    else if (!part->accounts[item].known)
        account_write(to, run, part->partition, &part->accounts[item]);
}

static size_t items_of(const struct ledger_lane *lane, const struct ledger_part *part)
{
    if (lane->stage == FLUSH_DEAD)
        return part->dead_count;
    return lane->stage == FLUSH_HELD ? part->held_count : part->account_count;
}

/* The next slice: of rows that are encoded already, or newly encoded ones. Empty: there is no more. */
static struct text next_slice(struct ledger_lane *lane)
{
    if (lane->stage == FLUSH_POSTINGS) {
        const struct row_buffer *rows = lane->parts[lane->part].postings;
        size_t left = rows->size - lane->item;
        size_t size = left < SLICE_SIZE ? left : SLICE_SIZE;
        struct text slice = { rows->data + lane->item, (uint32_t)size };
        lane->item += size;
        return slice;
    }
    row_buffer_clear(&lane->scratch);
    for (; lane->part < lane->count; lane->part++, lane->item = 0) {
        const struct ledger_part *part = &lane->parts[lane->part];
        for (size_t count = items_of(lane, part); lane->item < count; lane->item++) {
            if (lane->scratch.size >= SLICE_SIZE)
                return (struct text){ lane->scratch.data, (uint32_t)lane->scratch.size };
            write_row(lane, &lane->scratch, part, lane->item);
        }
        if (lane->stage == FLUSH_OPEN) /* the next part's are of another table */
            break;
    }
    return (struct text){ lane->scratch.data, (uint32_t)lane->scratch.size };
}

static bool put_copy(PGconn *conn, const char *bytes, size_t size)
{
    return PQputCopyData(conn, bytes, (int)size) == 1;
}

/* Feeds as much as the socket takes. STORE_BUSY: it takes no more now. STORE_OK: all is sent. */
static enum store_reply feed(struct ledger_lane *lane, size_t *fed, struct ll_err *err)
{
    static const char header[19] = "PGCOPY\n\377\r\n"; /* flags and extension are 0 */
    PGconn *conn = lane->link.conn;
    bool well = true;
    for (size_t most = *fed + LANE_FEED_SIZE_MAX; well && *fed < most;) {
        int left = PQflush(conn);
        if (left > 0)
            return STORE_BUSY;
        well = left == 0;
        if (!well)
            break;
        if (lane->ended) {
            lane->feeding = false;
            return STORE_OK;
        }
        if (!lane->headed) {
            lane->headed = true;
            well = put_copy(conn, header, sizeof header);
        }
        struct text slice = next_slice(lane);
        if (slice.size > 0) {
            well = well && put_copy(conn, slice.data, slice.size);
            *fed += slice.size;
        } else {
            lane->ended = true;
            well = well && put_copy(conn, "\377\377", 2) && PQputCopyEnd(conn, NULL) == 1;
        }
    }
    return well ? STORE_BUSY : postgres_link_fail(&lane->link, NULL, ledger_lane_doing(lane), err);
}

/* As far as it goes without waiting. STORE_BUSY: it waits for the server. */
enum store_reply ledger_lane_advance(struct ledger_lane *lane, size_t *fed, struct ll_err *err)
{
    PGconn *conn = lane->link.conn;
    for (;;) {
        lane->for_write = false;
        if (lane->feeding) {
            enum store_reply reply = feed(lane, fed, err);
            lane->for_write = reply == STORE_BUSY;
            if (reply != STORE_OK)
                return reply;
        }
        int left = PQflush(conn);
        if (left < 0)
            return postgres_link_fail(&lane->link, NULL, ledger_lane_doing(lane), err);
        lane->for_write = left > 0;
        if (left > 0 || PQisBusy(conn))
            return STORE_BUSY;
        PGresult *result = PQgetResult(conn);
        enum store_reply reply = result == NULL ? stage_end(lane, err) : take_result(lane, result, err);
        PQclear(result);
        if (result == NULL ? reply != STORE_BUSY : reply != STORE_OK)
            return reply;
    }
}

enum store_reply ledger_lane_begin(struct ledger_lane *lane, struct ledger_part *parts, size_t count,
                                   struct ll_err *err)
{
    enum store_reply reply = postgres_link_open(&lane->link, err);
    if (reply != STORE_OK)
        return reply;
    lane->parts = parts;
    lane->count = count;
    lane->heard_ms = ledger_now_ms();
    return stage_begin(lane, FLUSH_GUARD, err);
}
