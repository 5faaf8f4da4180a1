/*
 * postgres_link.h - one libpq connection: opened in bounded time, never waited on for ever, its errors
 * translated.
 * Shape:  within state/ only. Calls that can wait take a time; after a lost or silent server the link is
 *         dropped, and the next postgres_link_open connects again.
 * Errors: enum store_reply by SQLSTATE class (08, 28, 40, 53, 57, 58: STORE_DOWN), in words that name the
 *         server, what was being done, and what to do where that is known.
 * Source: PostgreSQL 15 manual, "Asynchronous Command Processing", appendix A (SQLSTATE).
 */
#pragma once

#include "runtime/config.h"
#include "runtime/err.h"
#include "state/ledger.h"

#include <libpq-fe.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Catch-up writes for seconds and a cold disk reads for seconds: silence is given this many times
 * postgres.timeout_ms before it is taken for death. A dead host is noticed within timeout_ms all the same
 * (tcp_user_timeout). */
enum { POSTGRES_PATIENCE = 6, POSTGRES_PARAMS_MAX = 12 };

struct postgres_link {
    const struct config *config; /* kept */
    const char *application;     /* kept */
    const char *settings;        /* kept; SQL to run once connected, or NULL */
    PGconn *conn;                /* NULL: not connected */
};

/* Binary parameters of one statement. */
struct postgres_params {
    int count;
    Oid types[POSTGRES_PARAMS_MAX];
    const char *values[POSTGRES_PARAMS_MAX];
    int sizes[POSTGRES_PARAMS_MAX];
};

/* Connects unless it is connected; a connection that the server has ended since its last statement counts as none. */
enum store_reply postgres_link_open(struct postgres_link *link, struct ll_err *err);
void postgres_link_drop(struct postgres_link *link);
/* "postgres 127.0.0.1:5432" into to; returns to. */
char *postgres_link_name(const struct config *config, char *to, size_t size);

/* Words for a failed result (or NULL: for the connection's own failure). Does not drop. */
enum store_reply postgres_link_fail(const struct postgres_link *link, const PGresult *result,
                                    const char *doing, struct ll_err *err);
enum store_reply postgres_link_silent(const struct postgres_link *link, const char *doing, int64_t waited_ms,
                                      struct ll_err *err);

/* Waits until the socket can be read (or written), at most timeout_ms. False: it cannot yet. */
bool postgres_link_wait(const struct postgres_link *link, bool for_write, int64_t timeout_ms);
/* Runs sql and waits for all its results, at most timeout_ms; the last one goes to *ret (NULL: it is thrown
 * away), which the caller clears. Anything but STORE_OK has dropped the link. params NULL: sql may hold
 * several statements. */
enum store_reply postgres_link_run(struct postgres_link *link, const char *sql,
                                   const struct postgres_params *params, int64_t timeout_ms,
                                   const char *doing, PGresult **ret, struct ll_err *err);
/* The second half of postgres_link_run, for a statement that was sent already. */
enum store_reply postgres_link_finish(struct postgres_link *link, int64_t timeout_ms, const char *doing,
                                      PGresult **ret, struct ll_err *err);

/* Runs `COPY ... TO STDOUT (FORMAT binary)`; row gets the bytes of each row, its field count first. row
 * returns false for bytes that are no row of ours: STORE_BROKEN. timeout_ms bounds silence, not the whole. */
typedef bool postgres_row_fn(void *arg, const char *bytes, size_t size);
enum store_reply postgres_link_copy(struct postgres_link *link, const char *sql, int64_t timeout_ms,
                                    const char *doing, postgres_row_fn *row, void *arg, struct ll_err *err);

enum ll_status postgres_status_of(enum store_reply reply);
