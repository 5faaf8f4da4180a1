/*
 * ledger_rows.h - ledger rows as `lens ledger` and `lens customer` show them.
 * Shape:  a query on the view loyalty.ledger_rows (state/migrations/0002_report.sql), printed as a table or as JSON.
 */
#pragma once

#include "ops/lens.h"
#include "state/postgres.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

enum ledger_key { LEDGER_BY_CUSTOMER, LEDGER_BY_TRANSACTION };

/* Newest first. A transaction's rows are its own and those of the returns and voids that name it. */
enum ll_status ledger_rows_find(struct lens *lens, struct postgres *postgres, enum ledger_key key,
                                const char *id, int64_t limit, struct postgres_rows **ret,
                                struct ll_err *err);
/* The caller owns it. */
json_t *ledger_rows_json(const struct postgres_rows *rows);
/* detail: each row's rules and lines below it. */
void ledger_rows_print(struct lens *lens, const struct postgres_rows *rows, bool detail);
