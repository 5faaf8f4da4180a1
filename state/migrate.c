#include "state/postgres.h"

#include "state/postgres_link.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Two `lens up` at once: one waits for the other. "lens" in ASCII. */
#define MIGRATION_LOCK "1818586739"

enum { MIGRATIONS_MAX = 1000, MIGRATION_SIZE_MAX = 4 << 20 };

static bool is_migration(const char *name)
{
    size_t size = strlen(name);
    return size > 9 && size < 128 && strspn(name, "0123456789") == 4 && name[4] == '_' &&
           strcmp(name + size - 4, ".sql") == 0;
}

static int by_name(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

static void free_names(char **names, size_t count)
{
    for (size_t at = 0; at < count; at++)
        free(names[at]);
}

static enum ll_status list(const char *folder, char **names, size_t *ret_count, struct ll_err *err)
{
    *ret_count = 0;
    DIR *dir = opendir(folder);
    if (dir == NULL)
        return ll_fail(err, LL_FATAL, "migrations %s: %s; is $LENS_SHARE right?", folder, strerror(errno));
    size_t count = 0;
    for (struct dirent *entry = readdir(dir); entry != NULL && count < MIGRATIONS_MAX; entry = readdir(dir)) {
        if (!is_migration(entry->d_name))
            continue;
        names[count] = strdup(entry->d_name);
        if (names[count] == NULL)
            abort();
        count++;
    }
    closedir(dir);
    qsort(names, count, sizeof *names, by_name);
    *ret_count = count;
    if (count == 0)
        return ll_fail(err, LL_FATAL, "migrations %s: there are none; is $LENS_SHARE right?", folder);
    for (size_t at = 1; at < count; at++)
        if (strncmp(names[at - 1], names[at], 4) == 0)
            return ll_fail(err, LL_FATAL, "migrations %s and %s have the same number", names[at - 1],
                           names[at]);
    return LL_OK;
}

/* The whole file, NUL-terminated; the caller frees. */
static enum ll_status read_file(const char *path, char **ret, struct ll_err *err)
{
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return ll_fail(err, LL_FATAL, "migration %s: %s", path, strerror(errno));
    char *text = malloc(MIGRATION_SIZE_MAX + 1);
    if (text == NULL)
        abort();
    size_t size = fread(text, 1, MIGRATION_SIZE_MAX, file);
    bool whole = ferror(file) == 0 && fgetc(file) == EOF;
    fclose(file);
    text[size] = '\0';
    if (!whole || strlen(text) != size) {
        free(text);
        return ll_fail(err, LL_FATAL, "migration %s: cannot be read whole", path);
    }
    *ret = text;
    return LL_OK;
}

/* What the server says about a file, with the line where it says it. */
static enum ll_status apply_failed(const PGresult *result, const char *name, const char *text,
                                   struct ll_err *err)
{
    const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    const char *message = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
    const char *position = PQresultErrorField(result, PG_DIAG_STATEMENT_POSITION);
    size_t line = 1;
    size_t at = position == NULL ? 0 : strtoul(position, NULL, 10); /* counts characters: near enough */
    for (size_t byte = 0; byte + 1 < at && text[byte] != '\0'; byte++)
        line += text[byte] == '\n';
    return ll_fail(err, LL_FATAL, "migration %s:%zu: %s (%s)", name, line,
                   message == NULL ? "the connection was lost" : message, state == NULL ? "08006" : state);
}

/* The file and its mark in one transaction. */
static enum ll_status apply(struct postgres_link *link, const char *name, const char *text, const char *sha,
                            struct ll_err *err)
{
    const char *const params[] = { name, sha };
    PQsetnonblocking(link->conn, 0);
    PQclear(PQexec(link->conn, "begin"));
    PGresult *result = PQexec(link->conn, text);
    ExecStatusType got = PQresultStatus(result);
    enum ll_status status = LL_OK;
    if (got != PGRES_COMMAND_OK && got != PGRES_TUPLES_OK)
        status = apply_failed(result, name, text, err);
    else if (PQtransactionStatus(link->conn) != PQTRANS_INTRANS)
        status = ll_fail(err, LL_FATAL,
                         "migration %s ends its transaction: it must hold no begin and no commit", name);
    PQclear(result);
    if (status == LL_OK) {
        result = PQexecParams(link->conn,
                              "insert into loyalty.migrations (number, name, sha256) values (left($1, 4)::int, $1, $2)", 2,
                              NULL, params, NULL, NULL, 0);
        if (PQresultStatus(result) != PGRES_COMMAND_OK)
            status = apply_failed(result, name, "", err);
        PQclear(result);
    }
    result = PQexec(link->conn, status == LL_OK ? "commit" : "rollback");
    if (status == LL_OK && strcmp(PQcmdStatus(result), "COMMIT") != 0)
        status = apply_failed(result, name, "", err);
    PQclear(result);
    PQsetnonblocking(link->conn, 1);
    return status;
}

/* Compares one file with what was applied under its number, and applies it if nothing was. */
static enum ll_status migrate_one(struct postgres_link *link, const char *folder, const char *name,
                                  int *applied, struct ll_err *err)
{
    char path[2 * CONFIG_TEXT_SIZE];
    char *text = NULL;
    PGresult *result = NULL;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    enum ll_status status = read_file(path, &text, err);
    if (status != LL_OK)
        return status;
    int size = (int)strlen(text);
    const char *const values[] = { text, name };
    const int sizes[] = { size, (int)strlen(name) };
    const int formats[] = { 1, 0 };
    const Oid types[] = { 17 /* bytea */, 25 /* text */ };
    PQsetnonblocking(link->conn, 0);
    result = PQexecParams(link->conn,
                          "select encode(sha256($1), 'hex') as sha, m.name, m.sha256 from (select 1) one"
                          " left join loyalty.migrations m on m.number = left($2, 4)::int",
                          2, types, values, sizes, formats, 0);
    PQsetnonblocking(link->conn, 1);
    if (PQresultStatus(result) != PGRES_TUPLES_OK) {
        status = apply_failed(result, name, "", err);
    } else if (PQgetisnull(result, 0, 1)) {
        status = apply(link, name, text, PQgetvalue(result, 0, 0), err);
        *applied += status == LL_OK;
    } else if (strcmp(PQgetvalue(result, 0, 1), name) != 0 ||
               strcmp(PQgetvalue(result, 0, 2), PQgetvalue(result, 0, 0)) != 0) {
        status = ll_fail(err, LL_FATAL,
                         "migration %s was changed after it was applied as %s: put it back, and write the change as a new "
                         "file", name, PQgetvalue(result, 0, 1));
    }
    PQclear(result);
    free(text);
    return status;
}

enum ll_status postgres_migrate(const struct config *config, int *ret_applied, struct ll_err *err)
{
    char folder[CONFIG_TEXT_SIZE];
    char **names = calloc(MIGRATIONS_MAX, sizeof *names);
    if (names == NULL)
        abort();
    size_t count = 0;
    int applied = 0;
    struct postgres_link link = { .config = config, .application = "lens-migrate", .settings = NULL };
    enum ll_status status =
        list(config_share_path(config, "state/migrations", folder, sizeof folder), names, &count, err);
    if (status == LL_OK)
        status = postgres_status_of(postgres_link_open(&link, err));
    if (status == LL_OK)
        status = postgres_status_of(postgres_link_run(
            &link,
            "select pg_advisory_lock(" MIGRATION_LOCK "); create schema if not exists loyalty;"
            " create table if not exists loyalty.migrations (number int4 primary key, name text not null,"
            " sha256 text not null, applied_at timestamptz not null default now())",
            NULL, POSTGRES_PATIENCE * config->postgres.timeout_ms, "preparing migrations", NULL, err));
    for (size_t at = 0; status == LL_OK && at < count; at++)
        status = migrate_one(&link, folder, names[at], &applied, err);
    postgres_link_drop(&link);
    free_names(names, count);
    free(names);
    if (status == LL_OK)
        *ret_applied = applied;
    return status;
}
