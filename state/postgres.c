#include "state/postgres.h"

#include "state/postgres_link.h"
#include "state/posting.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct postgres {
    struct config config;
    char application[64];
    struct postgres_link link;
};

struct postgres_rows {
    PGresult *result;
};

enum ll_status postgres_open(const struct config *config, const char *application, struct postgres **ret,
                             struct ll_err *err)
{
    struct postgres *postgres = calloc(1, sizeof *postgres);
    if (postgres == NULL)
        abort();
    postgres->config = *config;
    snprintf(postgres->application, sizeof postgres->application, "%s", application);
    postgres->link = (struct postgres_link){ .config = &postgres->config,
                                             .application = postgres->application,
                                             .settings = "set jit = off; set timezone = 'UTC'" };
    enum ll_status status = postgres_status_of(postgres_link_open(&postgres->link, err));
    if (status != LL_OK) {
        postgres_close(postgres);
        return status;
    }
    *ret = postgres;
    return LL_OK;
}

void postgres_close(struct postgres *postgres)
{
    if (postgres == NULL)
        return;
    postgres_link_drop(&postgres->link);
    free(postgres);
}

enum ll_status postgres_ping(const struct config *config, struct ll_err *err)
{
    struct postgres *postgres = NULL;
    enum ll_status status = postgres_open(config, "lens-ping", &postgres, err);
    if (status == LL_OK)
        status = postgres_status_of(postgres_link_run(&postgres->link, "select 1", NULL,
                                                      config->postgres.timeout_ms,
                                                      "asking whether it is there", NULL, err));
    postgres_close(postgres);
    return status;
}

/* A failed statement leaves the connection usable: the tools ask on. */
static enum ll_status query_failed(struct postgres *postgres, const PGresult *result, struct ll_err *err)
{
    enum store_reply reply = postgres_link_fail(&postgres->link, result, "query", err);
    const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    if (state != NULL && (strncmp(state, "22", 2) == 0 || strncmp(state, "23", 2) == 0))
        return LL_POISON;
    return postgres_status_of(reply);
}

enum ll_status postgres_query(struct postgres *postgres, const char *sql, const char *const *params,
                              int param_count, struct postgres_rows **ret, struct ll_err *err)
{
    enum ll_status status = postgres_status_of(postgres_link_open(&postgres->link, err));
    if (status != LL_OK)
        return status;
    /* No bound in time: a tool's query may take long, and a dead host is noticed by TCP. */
    PQsetnonblocking(postgres->link.conn, 0);
    PGresult *result = param_count == 0
                           ? PQexec(postgres->link.conn, sql)
                           : PQexecParams(postgres->link.conn, sql, param_count, NULL, params, NULL, NULL, 0);
    PQsetnonblocking(postgres->link.conn, 1);
    ExecStatusType got = PQresultStatus(result);
    if (got != PGRES_COMMAND_OK && got != PGRES_TUPLES_OK) {
        status = query_failed(postgres, result, err);
        PQclear(result);
        return status;
    }
    if (ret == NULL) {
        PQclear(result);
        return LL_OK;
    }
    struct postgres_rows *rows = malloc(sizeof *rows);
    if (rows == NULL)
        abort();
    rows->result = result;
    *ret = rows;
    return LL_OK;
}

size_t postgres_rows_count(const struct postgres_rows *rows) { return (size_t)PQntuples(rows->result); }

struct text postgres_rows_text(const struct postgres_rows *rows, size_t row, const char *column)
{
    int at = PQfnumber(rows->result, column);
    assert(at >= 0 && (int)row < PQntuples(rows->result));
    if (PQgetisnull(rows->result, (int)row, at))
        return (struct text){ NULL, 0 };
    return (struct text){ PQgetvalue(rows->result, (int)row, at),
                          (uint32_t)PQgetlength(rows->result, (int)row, at) };
}

int64_t postgres_rows_int(const struct postgres_rows *rows, size_t row, const char *column)
{
    struct text text = postgres_rows_text(rows, row, column);
    return text.data == NULL ? 0 : strtoll(text.data, NULL, 10);
}

void postgres_rows_free(struct postgres_rows *rows)
{
    if (rows == NULL)
        return;
    PQclear(rows->result);
    free(rows);
}

struct postings_reader {
    void (*each)(void *arg, const struct posting *posting);
    void *arg;
    struct posting_line *lines;
    struct posting_rule *rules;
};

static bool read_one(void *arg, const char *bytes, size_t size)
{
    struct postings_reader *reader = arg;
    struct posting posting;
    if (posting_read(bytes, size, reader->lines, reader->rules, &posting) != size)
        return false;
    reader->each(reader->arg, &posting);
    return true;
}

/* Partitions that have been claimed, ascending; malloc'd, the caller frees. */
static enum store_reply claimed(struct postgres_link *link, int32_t run, int64_t patience, int32_t **ret, int *ret_count,
                                struct ll_err *err)
{
    char sql[128];
    snprintf(sql, sizeof sql, "select partition::text from loyalty.partitions where run_id = %d order by partition", run);
    PGresult *result = NULL;
    enum store_reply reply = postgres_link_run(link, sql, NULL, patience, "reading the ledger", &result, err);
    if (reply != STORE_OK)
        return reply;
    *ret_count = PQntuples(result);
    *ret = calloc((size_t)*ret_count + 1, sizeof **ret);
    if (*ret == NULL)
        abort();
    for (int row = 0; row < *ret_count; row++)
        (*ret)[row] = (int32_t)strtol(PQgetvalue(result, row, 0), NULL, 10);
    PQclear(result);
    return STORE_OK;
}

enum ll_status postgres_postings(struct postgres *postgres, int32_t run,
                                 void (*each)(void *arg, const struct posting *), void *arg,
                                 struct ll_err *err)
{
    static const char doing[] = "reading the ledger";
    struct postgres_link *link = &postgres->link;
    int64_t patience = POSTGRES_PATIENCE * postgres->config.postgres.timeout_ms;
    enum store_reply reply = postgres_link_open(link, err);
    /* Each primary key gives the order; sorting millions of rows would need a disk of its own. */
    if (reply == STORE_OK)
        reply = postgres_link_run(link, "begin isolation level repeatable read read only; set local enable_sort = off", NULL,
                                  patience, doing, NULL, err);
    int32_t *partitions = NULL;
    int count = 0;
    if (reply == STORE_OK)
        reply = claimed(link, run, patience, &partitions, &count, err);
    struct postings_reader reader = { .each = each, .arg = arg };
    reader.lines = malloc(POSTING_LINES_MAX * sizeof *reader.lines);
    reader.rules = malloc(POSTING_RULES_MAX * sizeof *reader.rules);
    if (reader.lines == NULL || reader.rules == NULL)
        abort();
    for (int at = 0; reply == STORE_OK && at < count; at++) {
        char sql[1024];
        int size = snprintf(sql, sizeof sql,
                            "copy (select %s from loyalty.postings where run_id = %d and partition = %d"
                            " order by \"offset\", seq) to stdout (format binary)", posting_columns, run, partitions[at]);
        assert(size > 0 && (size_t)size < sizeof sql);
        reply = postgres_link_copy(link, sql, patience, doing, read_one, &reader, err);
    }
    if (reply == STORE_OK)
        reply = postgres_link_run(link, "commit", NULL, patience, doing, NULL, err);
    free(partitions);
    free(reader.lines);
    free(reader.rules);
    return postgres_status_of(reply);
}

enum ll_status postgres_check_run(const struct config *config, int32_t partitions, struct ll_err *err)
{
    char run[16], count[16];
    snprintf(run, sizeof run, "%d", config->program.run);
    snprintf(count, sizeof count, "%d", partitions);
    const char *const params[] = { run, config->program.name, count, config->program.currency,
                                   config->program.time_zone };
    struct postgres *postgres = NULL;
    struct postgres_rows *rows = NULL;
    enum ll_status status = postgres_open(config, "lens-run", &postgres, err);
    if (status == LL_OK)
        status = postgres_query(postgres,
                                "insert into loyalty.runs (run_id, program, partitions, currency, time_zone)"
                                " values ($1, $2, $3, $4, $5) on conflict (run_id) do nothing",
                                params, 5, NULL, err);
    if (status == LL_OK)
        status = postgres_query(postgres,
                                "select partitions, currency, time_zone from loyalty.runs where run_id = $1",
                                params, 1, &rows, err);
    if (status == LL_OK && postgres_rows_count(rows) != 1)
        status = ll_fail(err, LL_FATAL, "postgres: run %s vanished from loyalty.runs", run);
    static const char *const columns[] = { "partitions", "currency", "time_zone" };
    static const char *const settings[] = { "the topic transactions", "program.currency",
                                            "program.time_zone" };
    for (size_t at = 0; status == LL_OK && at < 3; at++) {
        struct text stored = postgres_rows_text(rows, 0, columns[at]);
        const char *mine = params[at + 2];
        if (!text_equal(stored, text_of(mine)))
            status = ll_fail(err, LL_FATAL,
                             "run %s was begun with %s %.*s, but %s says %s: its state cannot be used; put the old value "
                             "back, or set program.run to a new run",
                             run, columns[at], TEXT_ARG(stored), settings[at], mine);
    }
    postgres_rows_free(rows);
    postgres_close(postgres);
    return status;
}
