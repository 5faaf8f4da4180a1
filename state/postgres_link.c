#include "state/postgres_link.h"

#include "runtime/clock.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum { SOCKET_SIZE = 4 << 20 };

static int64_t now_ms(void)
{
    struct clock_source clock = clock_real();
    return clock.steady_ms(clock.self);
}

char *postgres_link_name(const struct config *config, char *to, size_t size)
{
    if (config->postgres.host[0] == '/')
        snprintf(to, size, "postgres %s/.s.PGSQL.%d", config->postgres.host, config->postgres.port);
    else
        snprintf(to, size, "postgres %s:%d", config->postgres.host, config->postgres.port);
    return to;
}

static bool class_is(const char *state, const char *class) { return strncmp(state, class, 2) == 0; }

/* What a SQLSTATE means for the loop, and what to do about it. */
static enum store_reply reply_of(const struct config *config, const char *state, char *hint, size_t hint_size)
{
    hint[0] = '\0';
    if (strcmp(state, "25006") == 0) {
        snprintf(hint, hint_size, "; it is read-only, a standby: set postgres.host to the primary");
        return STORE_DOWN;
    }
    if (class_is(state, "28")) {
        if (strcmp(state, "28000") == 0)
            snprintf(hint, hint_size, "; look at postgres.user (%s) and at the server's pg_hba.conf",
                     config->postgres.user);
        else if (config->postgres.password_file[0] == '\0')
            snprintf(hint, hint_size, "; no postgres.password_file is set in lens.conf");
        else
            snprintf(hint, hint_size, "; look at postgres.user and at the password in %s",
                     config->postgres.password_file);
        return STORE_DOWN;
    }
    if (strcmp(state, "53100") == 0)
        snprintf(hint, hint_size, "; make room on the server's disk, it goes on by itself");
    if (strcmp(state, "55P03") == 0)
        snprintf(hint, hint_size, "; another program's session holds the row: look at pg_stat_activity");
    if (strcmp(state, "LM001") == 0) /* ours: progress is not where it was believed to be */
        return STORE_NOT_MINE;
    if (class_is(state, "08") || class_is(state, "40") || class_is(state, "53") || class_is(state, "57") ||
        class_is(state, "58") || strcmp(state, "55P03") == 0 || strcmp(state, "25P03") == 0)
        return STORE_DOWN;
    if (strcmp(state, "3D000") == 0)
        snprintf(hint, hint_size, "; create it: createdb -O %s %s", config->postgres.user,
                 config->postgres.database);
    if (strcmp(state, "42P01") == 0 || strcmp(state, "3F000") == 0 || strcmp(state, "42703") == 0 ||
        strcmp(state, "42883") == 0)
        snprintf(hint, hint_size,
                 "; its tables are missing or of another version: lens up applies the migrations");
    if (strcmp(state, "42501") == 0)
        snprintf(hint, hint_size, "; grant it to the role %s", config->postgres.user);
    return STORE_BROKEN;
}

/* The first line of a message, without the severity, the SQLSTATE and libpq's preamble. */
static void first_line(const char *message, char *to, size_t size)
{
    const char *end = message + strcspn(message, "\n");
    static const char *const severities[] = { "FATAL:  ", "ERROR:  ", "PANIC:  " };
    for (size_t at = 0; at < sizeof severities / sizeof severities[0]; at++) {
        const char *found = strstr(message, severities[at]);
        if (found != NULL && found < end)
            message = found + strlen(severities[at]);
    }
    if (end - message > 7 && message[5] == ':' &&
        strspn(message, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ") == 5)
        message += 7;
    static const char preamble[] = "connection to server ";
    if (strncmp(message, preamble, sizeof preamble - 1) == 0) {
        const char *failed = strstr(message, "failed: ");
        if (failed != NULL && failed < end)
            message = failed + strlen("failed: ");
    }
    snprintf(to, size, "%.*s", (int)(end - message), message);
}

/* libpq keeps no SQLSTATE of a refused connection; with PQERRORS_VERBOSE it stands in the message. */
static void state_of_message(const char *message, char to[6])
{
    to[0] = '\0';
    const char *found = strstr(message, "FATAL:  ");
    if (found == NULL)
        return;
    found += strlen("FATAL:  ");
    if (strlen(found) > 5 && found[5] == ':')
        snprintf(to, 6, "%.5s", found);
}

enum store_reply postgres_link_fail(const struct postgres_link *link, const PGresult *result,
                                    const char *doing, struct ll_err *err)
{
    char name[CONFIG_TEXT_SIZE + 32], words[192], hint[CONFIG_TEXT_SIZE + 80], in_message[6];
    postgres_link_name(link->config, name, sizeof name);
    const char *state = result == NULL ? NULL : PQresultErrorField(result, PG_DIAG_SQLSTATE);
    const char *message = result == NULL ? PQerrorMessage(link->conn) : PQresultErrorMessage(result);
    if (message[0] == '\0')
        message = link->conn == NULL ? "not connected" : PQerrorMessage(link->conn);
    if (state == NULL) {
        state_of_message(message, in_message);
        state = in_message;
    }
    first_line(message[0] == '\0' ? "the connection was lost" : message, words, sizeof words);
    hint[0] = '\0';
    enum store_reply reply = STORE_DOWN;
    if (state[0] != '\0')
        reply = reply_of(link->config, state, hint, sizeof hint);
    else if (result != NULL && PQstatus(link->conn) == CONNECTION_OK)
        reply = STORE_BROKEN; /* libpq itself complains about how it is used */
    else if (link->conn != NULL && PQconnectionNeedsPassword(link->conn))
        reply = reply_of(link->config, "28P01", hint, sizeof hint);
    ll_fail(err, LL_RETRY, "%s: %s: %s%s%s%s%s", name, doing, words, state[0] == '\0' ? "" : " (", state,
            state[0] == '\0' ? "" : ")", hint);
    return reply;
}

enum store_reply postgres_link_silent(const struct postgres_link *link, const char *doing, int64_t waited_ms,
                                      struct ll_err *err)
{
    char name[CONFIG_TEXT_SIZE + 32];
    ll_fail(err, LL_RETRY, "%s: %s: no answer for %lld ms",
            postgres_link_name(link->config, name, sizeof name), doing, (long long)waited_ms);
    return STORE_DOWN;
}

bool postgres_link_wait(const struct postgres_link *link, bool for_write, int64_t timeout_ms)
{
    struct pollfd poll_fd = { .fd = PQsocket(link->conn), .events = POLLIN };
    if (poll_fd.fd < 0)
        return true; /* lost: the next call of libpq says so */
    if (for_write)
        poll_fd.events |= POLLOUT;
    if (timeout_ms < 0)
        timeout_ms = 0;
    int ready = poll(&poll_fd, 1, timeout_ms > 60000 ? 60000 : (int)timeout_ms);
    return ready > 0;
}

static void be_quiet(void *arg, const char *message)
{
    (void)arg;
    (void)message;
}

void postgres_link_drop(struct postgres_link *link)
{
    PQfinish(link->conn);
    link->conn = NULL;
}

static enum store_reply connect_within(struct postgres_link *link, int64_t timeout_ms, struct ll_err *err)
{
    int64_t deadline = now_ms() + timeout_ms;
    PostgresPollingStatusType wants = PGRES_POLLING_WRITING;
    while (wants != PGRES_POLLING_OK) {
        if (wants == PGRES_POLLING_FAILED)
            return postgres_link_fail(link, NULL, "connecting", err);
        struct pollfd poll_fd = { .fd = PQsocket(link->conn),
                                  .events = wants == PGRES_POLLING_READING ? POLLIN : POLLOUT };
        int64_t left = deadline - now_ms();
        if (left <= 0)
            return postgres_link_silent(link, "connecting", timeout_ms, err);
        int ready = poll(&poll_fd, 1, (int)left);
        if (ready > 0)
            wants = PQconnectPoll(link->conn);
    }
    return STORE_OK;
}

/* What the socket holds is what Postgres works on until the loop comes by again. A unix socket's buffer stays
 * as it is (200 kB), where TCP's grows by itself; the kernel gives what net.core.wmem_max allows. */
static void widen(int fd)
{
    struct sockaddr_storage address = { 0 };
    socklen_t size = sizeof address;
    int bytes = SOCKET_SIZE;
    if (getsockname(fd, (struct sockaddr *)&address, &size) == 0 && address.ss_family == AF_UNIX)
        (void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes);
}

/* Between statements a server has nothing to say but a farewell (or a setting that changed), which lies in the socket: read
 * here, a server that was restarted meanwhile costs a connection; read by the next statement, a doubt about what it did. */
static bool is_connected(const struct postgres_link *link)
{
    if (link->conn == NULL || PQstatus(link->conn) != CONNECTION_OK)
        return false;
    if (PQtransactionStatus(link->conn) != PQTRANS_IDLE)
        return true;
    while (postgres_link_wait(link, false, 0))
        if (PQconsumeInput(link->conn) == 0)
            return false;
    return true;
}

enum store_reply postgres_link_open(struct postgres_link *link, struct ll_err *err)
{
    const struct config *config = link->config;
    if (is_connected(link))
        return STORE_OK;
    postgres_link_drop(link);
    if (config->postgres.host[0] == '\0') {
        ll_fail(err, LL_RETRY,
                "postgres: no address yet; lens up starts a private one, or set postgres.host in lens.conf");
        return STORE_DOWN;
    }
    char password[1024], port[16], timeout[24];
    if (config_secret(config->postgres.password_file, password, sizeof password, err) != LL_OK) {
        ll_wrap(err, LL_RETRY, "postgres.password_file");
        return STORE_DOWN;
    }
    snprintf(port, sizeof port, "%d", config->postgres.port);
    snprintf(timeout, sizeof timeout, "%lld", (long long)config->postgres.timeout_ms);
    const char *const names[] = { "host", "port", "user", "dbname", "password", "sslmode", "sslrootcert",
                                  "application_name", "client_encoding", "keepalives_idle", "keepalives_interval",
                                  "keepalives_count", "tcp_user_timeout", NULL };
    const char *const values[] = { config->postgres.host,
                                   port,
                                   config->postgres.user,
                                   config->postgres.database,
                                   password,
                                   config->postgres.sslmode,
                                   config->postgres.sslrootcert_file,
                                   link->application,
                                   "UTF8",
                                   "5",
                                   "2",
                                   "3",
                                   timeout,
                                   NULL };
    link->conn = PQconnectStartParams(names, values, 0);
    explicit_bzero(password, sizeof password);
    if (link->conn == NULL)
        abort();
    PQsetErrorVerbosity(link->conn, PQERRORS_VERBOSE);
    PQsetNoticeProcessor(link->conn, be_quiet, NULL);
    enum store_reply reply = PQstatus(link->conn) == CONNECTION_BAD
                                 ? postgres_link_fail(link, NULL, "connecting", err)
                                 : connect_within(link, config->postgres.timeout_ms, err);
    if (reply != STORE_OK) {
        postgres_link_drop(link);
        return reply;
    }
    PQsetErrorVerbosity(link->conn, PQERRORS_DEFAULT);
    widen(PQsocket(link->conn));
    PQsetnonblocking(link->conn, 1);
    if (link->settings == NULL)
        return STORE_OK;
    return postgres_link_run(link, link->settings, NULL, config->postgres.timeout_ms,
                             "setting the session up", NULL, err);
}

/* Sends what waits in libpq. */
static enum store_reply flush_out(struct postgres_link *link, int64_t deadline, const char *doing,
                                  struct ll_err *err)
{
    for (;;) {
        int left = PQflush(link->conn);
        if (left == 0)
            return STORE_OK;
        if (left < 0)
            return postgres_link_fail(link, NULL, doing, err);
        if (now_ms() >= deadline)
            return postgres_link_silent(link, doing, link->config->postgres.timeout_ms, err);
        if (postgres_link_wait(link, true, deadline - now_ms()) && PQconsumeInput(link->conn) == 0)
            return postgres_link_fail(link, NULL, doing, err);
    }
}

/* The next result is there, or the time is over. */
static enum store_reply await(struct postgres_link *link, int64_t timeout_ms, const char *doing,
                              struct ll_err *err)
{
    int64_t deadline = now_ms() + timeout_ms;
    enum store_reply reply = flush_out(link, deadline, doing, err);
    while (reply == STORE_OK && PQisBusy(link->conn)) {
        if (now_ms() >= deadline)
            return postgres_link_silent(link, doing, timeout_ms, err);
        if (postgres_link_wait(link, false, deadline - now_ms()) && PQconsumeInput(link->conn) == 0)
            return postgres_link_fail(link, NULL, doing, err);
    }
    return reply;
}

enum store_reply postgres_link_finish(struct postgres_link *link, int64_t timeout_ms, const char *doing,
                                      PGresult **ret, struct ll_err *err)
{
    PGresult *last = NULL;
    enum store_reply reply = STORE_OK;
    while (reply == STORE_OK) {
        reply = await(link, timeout_ms, doing, err);
        if (reply != STORE_OK)
            break;
        PGresult *result = PQgetResult(link->conn);
        if (result == NULL)
            break;
        PQclear(last);
        last = result;
        ExecStatusType status = PQresultStatus(result);
        if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK)
            reply = postgres_link_fail(link, result, doing, err);
    }
    if (reply == STORE_OK && last == NULL)
        reply = postgres_link_fail(link, NULL, doing, err);
    if (reply != STORE_OK) {
        PQclear(last);
        postgres_link_drop(link);
        return reply;
    }
    if (ret != NULL)
        *ret = last;
    else
        PQclear(last);
    return STORE_OK;
}

enum store_reply postgres_link_run(struct postgres_link *link, const char *sql,
                                   const struct postgres_params *params, int64_t timeout_ms,
                                   const char *doing, PGresult **ret, struct ll_err *err)
{
    static const int binary[POSTGRES_PARAMS_MAX] = { 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1 };
    int sent = params == NULL ? PQsendQuery(link->conn, sql)
                              : PQsendQueryParams(link->conn, sql, params->count, params->types,
                                                  params->values, params->sizes, binary, 1);
    if (sent == 0) {
        enum store_reply reply = postgres_link_fail(link, NULL, doing, err);
        postgres_link_drop(link);
        return reply;
    }
    return postgres_link_finish(link, timeout_ms, doing, ret, err);
}

/* Signature, flags, header extension (PostgreSQL 15 manual, COPY, "Binary Format"). 0: not a COPY stream. */
static size_t copy_header_size(const char *bytes, size_t size)
{
    static const char signature[11] = "PGCOPY\n\377\r\n";
    if (size < 19 || memcmp(bytes, signature, sizeof signature) != 0)
        return 0;
    const unsigned char *at = (const unsigned char *)bytes + 15;
    size_t extension = (size_t)at[0] << 24 | (size_t)at[1] << 16 | (size_t)at[2] << 8 | at[3];
    return extension > size - 19 ? 0 : 19 + extension;
}

/* One CopyData message holds one row; the first one begins with the header, the last one holds the trailer
 * alone. */
static bool copy_message(const char *bytes, size_t size, bool *headed, postgres_row_fn *row, void *arg)
{
    if (!*headed) {
        size_t header = copy_header_size(bytes, size);
        if (header == 0)
            return false;
        *headed = true;
        bytes += header;
        size -= header;
    }
    if (size == 0 || (size == 2 && memcmp(bytes, "\377\377", 2) == 0))
        return true;
    return row(arg, bytes, size);
}

static enum store_reply copy_rows(struct postgres_link *link, int64_t timeout_ms, const char *doing,
                                  postgres_row_fn *row, void *arg, struct ll_err *err)
{
    bool headed = false;
    int64_t deadline = now_ms() + timeout_ms;
    for (;;) {
        char *bytes = NULL;
        int size = PQgetCopyData(link->conn, &bytes, 1);
        if (size == -1)
            return STORE_OK;
        if (size < -1)
            return postgres_link_fail(link, NULL, doing, err);
        if (size > 0) {
            bool taken = copy_message(bytes, (size_t)size, &headed, row, arg);
            PQfreemem(bytes);
            if (!taken) {
                ll_fail(err, LL_FATAL,
                        "postgres: %s: a row is not of the form that this program writes; compare its "
                        "version with that of the tables (select * from loyalty.migrations)",
                        doing);
                return STORE_BROKEN;
            }
            continue;
        }
        if (now_ms() >= deadline)
            return postgres_link_silent(link, doing, timeout_ms, err);
        if (postgres_link_wait(link, false, deadline - now_ms())) {
            deadline = now_ms() + timeout_ms;
            if (PQconsumeInput(link->conn) == 0)
                return postgres_link_fail(link, NULL, doing, err);
        }
    }
}

enum store_reply postgres_link_copy(struct postgres_link *link, const char *sql, int64_t timeout_ms,
                                    const char *doing, postgres_row_fn *row, void *arg, struct ll_err *err)
{
    enum store_reply reply = STORE_OK;
    if (PQsendQuery(link->conn, sql) == 0)
        reply = postgres_link_fail(link, NULL, doing, err);
    if (reply == STORE_OK)
        reply = await(link, timeout_ms, doing, err);
    if (reply == STORE_OK) {
        PGresult *result = PQgetResult(link->conn);
        if (PQresultStatus(result) != PGRES_COPY_OUT)
            reply = postgres_link_fail(link, result, doing, err);
        PQclear(result);
    }
    if (reply == STORE_OK)
        reply = copy_rows(link, timeout_ms, doing, row, arg, err);
    if (reply != STORE_OK) {
        postgres_link_drop(link);
        return reply;
    }
    return postgres_link_finish(link, timeout_ms, doing, NULL, err);
}

enum ll_status postgres_status_of(enum store_reply reply)
{
    switch (reply) {
    case STORE_OK:
        return LL_OK;
    case STORE_BUSY:
    case STORE_NOT_MINE:
    case STORE_GAP:
    case STORE_DOWN:
        return LL_RETRY;
    case STORE_BROKEN:
        return LL_FATAL;
    }
    return LL_FATAL;
}
