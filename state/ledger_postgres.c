#include "state/ledger_postgres.h"

#include "runtime/clock.h"
#include "state/copy_field.h"
#include "state/decimal.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

int64_t ledger_now_ms(void)
{
    struct clock_source clock = clock_real();
    return clock.steady_ms(clock.self);
}

void ledger_say(struct row_buffer *sql, const char *format, ...)
{
    for (size_t room = 1024;; room *= 2) {
        char *to = row_reserve(sql, room);
        va_list args;
        va_start(args, format);
        int size = vsnprintf(to, room, format, args);
        va_end(args);
        assert(size >= 0);
        if ((size_t)size < room) {
            sql->size += (size_t)size;
            return;
        }
    }
}

void ledger_say_array(struct row_buffer *sql, const int64_t *values, size_t count)
{
    char *to = row_reserve(sql, count * (DECIMAL_SIZE_MAX + 1) + 16);
    *to++ = '\'';
    *to++ = '{';
    for (size_t at = 0; at < count; at++) {
        if (at > 0)
            *to++ = ',';
        to = decimal_write(to, values[at]);
    }
    memcpy(to, "}'::int8[]", 11);
    sql->size = (size_t)(to + 10 - sql->data);
}

static enum store_reply rules(void *self, int32_t version, char **ret_document,
                              int64_t *ret_effective_from_ms, struct ll_err *err)
{
    static const char doing[] = "reading a rule set";
    struct ledger_postgres *store = self;
    enum store_reply reply = postgres_link_open(&store->reads, err);
    if (reply != STORE_OK)
        return reply;
    char sql[128];
    snprintf(sql, sizeof sql, "select document, effective_from from loyalty.rules where version = %d",
             version);
    PGresult *result = NULL;
    struct postgres_params none = { 0 };
    reply =
        postgres_link_run(&store->reads, sql, &none, store->config.postgres.timeout_ms, doing, &result, err);
    if (reply != STORE_OK)
        return reply;
    if (PQntuples(result) != 1) {
        PQclear(result);
        char name[CONFIG_TEXT_SIZE + 32];
        ll_fail(err, LL_RETRY,
                "%s: there is no rule set %d in loyalty.rules, but transactions.valid names it: is this the right database? If it "
                "has fallen back to an older state, `lens rules publish FILE` stores the set again",
                postgres_link_name(&store->config, name, sizeof name), version);
        return STORE_DOWN;
    }
    *ret_document = strdup(PQgetvalue(result, 0, 0));
    if (*ret_document == NULL)
        abort();
    uint64_t time;
    memcpy(&time, PQgetvalue(result, 0, 1), sizeof time);
    *ret_effective_from_ms = copy_time_to_ms((int64_t)__builtin_bswap64(time));
    PQclear(result);
    return STORE_OK;
}

static enum store_reply marks(void *self, struct ledger_mark *marks_of, size_t count, struct ll_err *err)
{
    struct ledger_postgres *store = self;
    enum store_reply reply = count == 0 ? STORE_OK : postgres_link_open(&store->reads, err);
    if (reply != STORE_OK || count == 0)
        return reply;
    struct row_buffer *sql = &store->sql;
    row_buffer_clear(sql);
    ledger_say(sql,
               "select partition::int8, epoch, next_offset from loyalty.partitions where run_id = %d and "
               "partition in (",
               store->config.program.run);
    for (size_t at = 0; at < count; at++)
        ledger_say(sql, "%s%d", at == 0 ? "" : ",", marks_of[at].partition);
    ledger_say(sql, ")");
    PGresult *result = NULL;
    struct postgres_params none = { 0 };
    reply = postgres_link_run(&store->reads, sql->data, &none, store->config.postgres.timeout_ms,
                              "reading watermarks", &result, err);
    if (reply != STORE_OK)
        return reply;
    for (size_t at = 0; at < count; at++)
        marks_of[at].epoch = marks_of[at].next_offset = -1;
    for (int row = 0; row < PQntuples(result); row++) {
        uint64_t values[3];
        for (int column = 0; column < 3; column++) {
            memcpy(&values[column], PQgetvalue(result, row, column), sizeof values[column]);
            values[column] = __builtin_bswap64(values[column]);
        }
        for (size_t at = 0; at < count; at++) {
            if (marks_of[at].partition != (int32_t)values[0])
                continue;
            marks_of[at].epoch = (int64_t)values[1];
            marks_of[at].next_offset = (int64_t)values[2];
        }
    }
    PQclear(result);
    return STORE_OK;
}

static void close_store(void *self)
{
    struct ledger_postgres *store = self;
    if (store == NULL)
        return;
    postgres_link_drop(&store->reads);
    for (size_t i = 0; i < LEDGER_LANES; i++)
        ledger_lane_done(&store->lanes[i]);
    row_buffer_done(&store->sql);
    row_buffer_done(&store->found);
    free(store);
}

static const struct ledger_ops ops = {
    .claim = ledger_claim,
    .load = ledger_load,
    .accounts = ledger_accounts,
    .find = ledger_find,
    .balances = ledger_balances,
    .rules = rules,
    .flush_begin = ledger_flush_begin,
    .flush_poll = ledger_flush_poll,
    .flush_abandon = ledger_flush_abandon,
    .marks = marks,
    .close = close_store,
};

enum ll_status ledger_postgres_open(const struct config *config, struct ledger *ret, struct ll_err *err)
{
    (void)err;
    struct ledger_postgres *store = calloc(1, sizeof *store);
    if (store == NULL)
        abort();
    store->config = *config;
    long long timeout = (long long)config->postgres.timeout_ms,
              patience = (long long)ledger_patience_ms(store);
    /* Reads look few rows up in large tables, often before the first ANALYZE: a scan of a whole table is
     * never right. */
    snprintf(store->read_settings, sizeof store->read_settings,
             "set jit = off; set timezone = 'UTC'; set enable_seqscan = off; set lock_timeout = %lld; "
             "set statement_timeout = %lld; set idle_in_transaction_session_timeout = %lld", timeout, patience, patience);
    /* Accounts are hot: a second's few thousand are looked up one by one, not found by a scan of all; and what a catch-up
     * flush changes is most of them: hashed, not sorted by name. */
    snprintf(store->write_settings, sizeof store->write_settings,
             "set jit = off; set timezone = 'UTC'; set work_mem = '64MB'; set random_page_cost = 1.1; set enable_mergejoin = off; "
             "set lock_timeout = %lld; "
             "set statement_timeout = %lld; set idle_in_transaction_session_timeout = %lld", timeout, patience, patience);
    store->reads = (struct postgres_link){ .config = &store->config, .application = LEDGER_APPLICATION,
                                           .settings = store->read_settings };
    for (size_t i = 0; i < LEDGER_LANES; i++)
        store->lanes[i] = (struct ledger_lane){ .config = &store->config,
                                                .link = { .config = &store->config, .application = LEDGER_APPLICATION,
                                                          .settings = store->write_settings } };
    *ret = (struct ledger){ .ops = &ops, .self = store };
    return LL_OK;
}
