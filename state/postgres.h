/*
 * postgres.h - a plain connection to Postgres for the tools: ping, migrations, and queries with text results.
 * Shape:  SQL that is more than one line lives in state/migrations as views and functions; the tools select from those.
 *         The hot path does not come through here (ledger_postgres.c).
 */
#pragma once

#include "runtime/config.h"
#include "runtime/err.h"
#include "runtime/text.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct postgres;

/* LL_OK: it answers and takes our user. Fails within config->postgres.timeout_ms. */
enum ll_status postgres_ping(const struct config *config, struct ll_err *err);
/* Applies what is missing of state/migrations/NNNN_*.sql, each in one transaction, under an advisory lock; the sha of what
 * was applied is kept, and a changed old file is an error. */
enum ll_status postgres_migrate(const struct config *config, int *ret_applied, struct ll_err *err);
/* Enters config->program's run with this partition count of transactions, or compares: a start with another partition
 * count, currency or time zone is LL_FATAL. */
enum ll_status postgres_check_run(const struct config *config, int32_t partitions, struct ll_err *err);

enum ll_status postgres_open(const struct config *config, const char *application, struct postgres **ret,
                             struct ll_err *err);
void postgres_close(struct postgres *postgres);

struct postgres_rows;
/* params are text, NULL is SQL's null. *ret may be asked for as NULL when no rows are wanted. LL_RETRY: environment;
 * LL_POISON: the data (SQLSTATE classes 22, 23); LL_FATAL: the rest. */
enum ll_status postgres_query(struct postgres *postgres, const char *sql, const char *const *params, int param_count,
                              struct postgres_rows **ret, struct ll_err *err);
size_t postgres_rows_count(const struct postgres_rows *rows);
/* By column name, which must exist. Text is valid until free; data NULL: null. */
struct text postgres_rows_text(const struct postgres_rows *rows, size_t row, const char *column);
int64_t postgres_rows_int(const struct postgres_rows *rows, size_t row, const char *column); /* null: 0 */
void postgres_rows_free(struct postgres_rows *rows);

/* Streams the postings of a run (all partitions, in order of partition, offset, seq) through each, without holding them. */
struct posting;
enum ll_status postgres_postings(struct postgres *postgres, int32_t run, void (*each)(void *arg, const struct posting *),
                                 void *arg, struct ll_err *err);
