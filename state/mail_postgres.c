#include "state/mail_store.h"

#include "state/postgres_link.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { OID_INT4 = 23, OID_TEXT = 25 };

struct mail_store {
    const struct config *config;
    char settings[256];
    struct postgres_link link;
    bool is_open; /* a transaction is */
};

struct mail_store *mail_store_new(const struct config *config, const char *application)
{
    struct mail_store *store = calloc(1, sizeof *store);
    if (store == NULL)
        abort();
    store->config = config;
    long long timeout = (long long)config->postgres.timeout_ms;
    snprintf(store->settings, sizeof store->settings,
             "set jit = off; set timezone = 'UTC'; set lock_timeout = %lld; set statement_timeout = %lld;"
             " set idle_in_transaction_session_timeout = %lld",
             timeout, POSTGRES_PATIENCE * timeout, POSTGRES_PATIENCE * timeout);
    store->link =
        (struct postgres_link){ .config = config, .application = application, .settings = store->settings };
    return store;
}

void mail_store_free(struct mail_store *store)
{
    if (store == NULL)
        return;
    postgres_link_drop(&store->link);
    free(store);
}

static enum ll_status run(struct mail_store *store, const char *sql, struct ll_err *err)
{
    return postgres_status_of(postgres_link_run(
        &store->link, sql, NULL, POSTGRES_PATIENCE * store->config->postgres.timeout_ms, sql, NULL, err));
}

enum ll_status mail_store_begin(struct mail_store *store, struct ll_err *err)
{
    enum ll_status status = postgres_status_of(postgres_link_open(&store->link, err));
    if (status == LL_OK)
        status = run(store, "begin", err);
    store->is_open = status == LL_OK;
    return status;
}

enum ll_status mail_store_commit(struct mail_store *store, struct ll_err *err)
{
    assert(store->is_open);
    store->is_open = false;
    return run(store, "commit", err);
}

/* Whatever state the connection is in: a fresh one knows nothing of the transaction. */
void mail_store_rollback(struct mail_store *store)
{
    if (store->is_open)
        postgres_link_drop(&store->link);
    store->is_open = false;
}

/* Postgres refuses U+0000 in JSON that it turns into text: one such character in a name would stop the intake. JSON writes it in
 * this one way alone; an even number of backslashes before the u is an escaped backslash. */
static void clean(char *json)
{
    for (char *at = strchr(json, '\\'); at != NULL; at = strchr(at, '\\')) {
        if (strncmp(at, "\\u0000", 6) == 0)
            memcpy(at, "\\u003f", 6);
        at += 2; /* the escaped letter is no beginning of another one */
    }
}

enum ll_status mail_store_call(struct mail_store *store, const char *function, const char *json,
                               char **ret_json, struct ll_err *err)
{
    char sql[128], doing[64];
    uint32_t run_id = __builtin_bswap32((uint32_t)store->config->program.run);
    char *cleaned = strdup(json);
    if (cleaned == NULL)
        abort();
    clean(cleaned);
    snprintf(sql, sizeof sql, "select mail.%s($1, $2::jsonb)::text", function);
    snprintf(doing, sizeof doing, "mail.%s", function);
    const struct postgres_params params = { .count = 2,
                                            .types = { OID_INT4, OID_TEXT },
                                            .values = { (const char *)&run_id, cleaned },
                                            .sizes = { sizeof run_id, (int)strlen(cleaned) } };
    PGresult *result = NULL;
    enum ll_status status =
        store->is_open ? LL_OK : postgres_status_of(postgres_link_open(&store->link, err));
    if (status == LL_OK)
        status = postgres_status_of(postgres_link_run(&store->link, sql, &params,
                                                      POSTGRES_PATIENCE * store->config->postgres.timeout_ms,
                                                      doing, &result, err));
    free(cleaned);
    if (status != LL_OK) {
        store->is_open = false; /* the link was dropped */
        return status;
    }
    if (ret_json != NULL) {
        *ret_json = strndup(PQgetvalue(result, 0, 0), (size_t)PQgetlength(result, 0, 0));
        if (*ret_json == NULL)
            abort();
    }
    PQclear(result);
    return LL_OK;
}
