/*
 * mail_store.h - letters' state in Postgres: the functions of schema mail, called with JSON.
 * Shape:  each function takes (run, jsonb) and gives a jsonb; what it does stands in state/migrations/0005_mail.sql. A call is a
 *         transaction of its own, or part of the one that mail_store_begin opened.
 * Errors: LL_RETRY: Postgres does not answer; whether the call was done is not known, and mail.take may be called again with the
 *         same batch. LL_FATAL: it refuses: another process has taken the partitions over, or the tables are of another version.
 */
#pragma once

#include "runtime/config.h"
#include "runtime/err.h"

struct mail_store;

/* Does not connect; the first call does, and every call reconnects after LL_RETRY. config is kept. */
struct mail_store *mail_store_new(const struct config *config, const char *application);
void mail_store_free(struct mail_store *store);

enum ll_status mail_store_begin(struct mail_store *store, struct ll_err *err);
enum ll_status mail_store_commit(struct mail_store *store, struct ll_err *err);
void mail_store_rollback(struct mail_store *store);

/* select mail.<function>(run, json); the answer is NUL-terminated, and the caller frees it. ret_json may be NULL. */
enum ll_status mail_store_call(struct mail_store *store, const char *function, const char *json,
                               char **ret_json, struct ll_err *err);
