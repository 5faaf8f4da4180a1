/*
 * env.c - `lens env`: the services' addresses for a shell. `eval "$(lens env --export)"`, then psql, redis-
 * cli -p "$REDIS_PORT", kcat -b ... Where passwords are asked for, psql and kcat are given files to read them from
 * (LENS_HOME/run, 0600, written anew each time), and redis-cli's user is told how: no password is ever printed.
 */
#include "ops/readyz.h"
#include "ops/stack.h"
#include "ops/verbs.h"

#include <ctype.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>

enum { VARIABLES_MAX = 24, SECRET_SIZE = 512, VALUE_SIZE = PATH_SIZE };

struct variables {
    struct {
        char name[48], value[VALUE_SIZE];
    } of[VARIABLES_MAX];
    size_t count;
};

static void add(struct variables *variables, const char *name, const char *value)
{
    if (value[0] == '\0' || variables->count == VARIABLES_MAX)
        return;
    snprintf(variables->of[variables->count].name, sizeof variables->of[0].name, "%s", name);
    snprintf(variables->of[variables->count].value, VALUE_SIZE, "%s", value);
    variables->count++;
}

static void add_number(struct variables *variables, const char *name, int number)
{
    char text[16];
    snprintf(text, sizeof text, "%d", number);
    add(variables, name, text);
}

/* The private Postgres listens on loopback too, which every client can use; a socket's directory only
 * libpq's. */
static void collect(const struct stack *stack, struct variables *to)
{
    const struct config *c = stack->config;
    add(to, "LENS_HOME", c->home);
    if (stack->is_private[STACK_POSTGRES] ? stack->postgres_port > 0 : true) {
        add(to, "PGHOST", stack->is_private[STACK_POSTGRES] ? "127.0.0.1" : c->postgres.host);
        add_number(to, "PGPORT", c->postgres.port);
        add(to, "PGUSER", c->postgres.user);
        add(to, "PGDATABASE", c->postgres.database);
    }
    if (stack->is_private[STACK_REDIS] ? stack->redis_port > 0 : c->redis.host[0] != '\0') {
        add(to, "REDIS_HOST", stack->is_private[STACK_REDIS] ? "127.0.0.1" : c->redis.host);
        add_number(to, "REDIS_PORT", c->redis.port);
    }
    add(to, "REDIS_SOCKET", c->redis.socket);
    add(to, "KAFKA_BOOTSTRAP", c->kafka.bootstrap);
    for (int at = STACK_PROCESS_FIRST; at < STACK_SERVICE_COUNT; at++) {
        char name[48], address[64];
        const char *process = stack_name((enum stack_service)at);
        snprintf(name, sizeof name, "LENS_%s_METRICS", process);
        for (char *letter = name; *letter != '\0'; letter++)
            *letter = (char)toupper((unsigned char)*letter);
        readyz_address(c, process, address, sizeof address);
        add(to, name, address);
    }
}

/* The password in a line of libpq's own file, where ':' and '\\' are escaped. */
static void write_pgpass(const char *password, char to[2 * SECRET_SIZE + 16])
{
    size_t used = (size_t)snprintf(to, 16, "*:*:*:*:");
    for (; *password != '\0'; password++) {
        if (*password == ':' || *password == '\\')
            to[used++] = '\\';
        to[used++] = *password;
    }
    to[used++] = '\n';
    to[used] = '\0';
}

static enum ll_status collect_postgres(const struct config *c, struct variables *to, struct ll_err *err)
{
    char password[SECRET_SIZE], line[2 * SECRET_SIZE + 16], path[PATH_SIZE];
    if (c->postgres.sslmode[0] != '\0' && strcmp(c->postgres.sslmode, "prefer") != 0)
        add(to, "PGSSLMODE", c->postgres.sslmode);
    add(to, "PGSSLROOTCERT", c->postgres.sslrootcert_file);
    if (c->postgres.password_file[0] == '\0')
        return LL_OK;
    enum ll_status status = config_secret(c->postgres.password_file, password, sizeof password, err);
    write_pgpass(password, line);
    if (status == LL_OK)
        status = file_write(path_of(path, "%s/run/pgpass", c->home), line, 0600, NULL, err);
    explicit_bzero(password, sizeof password);
    explicit_bzero(line, sizeof line);
    if (status == LL_OK)
        add(to, "PGPASSFILE", path);
    return status;
}

/* kcat's file is librdkafka's settings. */
static enum ll_status collect_kafka(const struct config *c, struct variables *to, struct ll_err *err)
{
    char password[SECRET_SIZE], text[4 * PATH_SIZE + SECRET_SIZE], path[PATH_SIZE];
    if (strncmp(c->kafka.security_protocol, "sasl_", 5) != 0)
        return LL_OK;
    enum ll_status status = config_secret(c->kafka.sasl_password_file, password, sizeof password, err);
    snprintf(text, sizeof text,
             "bootstrap.servers=%s\nsecurity.protocol=%s\nsasl.mechanisms=%s\nsasl.username=%s\nsasl.password=%s\n%s%s\n",
             c->kafka.bootstrap, c->kafka.security_protocol, c->kafka.sasl_mechanism, c->kafka.sasl_username, password,
             c->kafka.ssl_ca_file[0] != '\0' ? "ssl.ca.location=" : "", c->kafka.ssl_ca_file);
    if (status == LL_OK)
        status = file_write(path_of(path, "%s/run/kcat.conf", c->home), text, 0600, NULL, err);
    explicit_bzero(password, sizeof password);
    explicit_bzero(text, sizeof text);
    if (status == LL_OK)
        add(to, "KCAT_CONFIG", path);
    return status;
}

/* redis-cli reads a password from its terminal or its environment alone. */
static void collect_redis(struct lens *lens, struct variables *to)
{
    const struct config *c = &lens->config;
    if (c->redis.password_file[0] == '\0')
        return;
    add(to, "REDIS_USER", c->redis.username[0] != '\0' ? c->redis.username : "default");
    add(to, "REDIS_PASSWORD_FILE", c->redis.password_file);
    if (!lens->json)
        lens_say(lens, "redis asks for a password: REDISCLI_AUTH=$(head -n 1 \"$REDIS_PASSWORD_FILE\") redis-cli"
                       " -p \"$REDIS_PORT\" --user \"$REDIS_USER\"");
}

static void print_quoted(const char *value)
{
    if (value[strspn(value, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_./:,-+@%")] ==
        '\0') {
        fputs(value, stdout);
        return;
    }
    putchar('\'');
    for (; *value != '\0'; value++)
        if (*value == '\'')
            fputs("'\\''", stdout);
        else
            putchar(*value);
    putchar('\'');
}

int verb_env(struct lens *lens, int argc, char **argv)
{
    static const struct option options[] = { { "export", no_argument, NULL, 'e' }, { NULL, 0, NULL, 0 } };
    static struct variables variables;
    struct stack stack;
    struct ll_err err;
    bool exports = false;
    for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        if (option != 'e')
            return lens_usage(lens, "no such option");
        exports = true;
    }
    if (optind < argc)
        return lens_usage(lens, "\"%s\" is too much", argv[optind]);
    enum ll_status status = stack_open(&lens->config, &stack, &err);
    if (status != LL_OK)
        return lens_end(lens, status, &err);
    collect(&stack, &variables);
    collect_redis(lens, &variables);
    status = collect_postgres(&lens->config, &variables, &err);
    if (status == LL_OK)
        status = collect_kafka(&lens->config, &variables, &err);
    if (status != LL_OK)
        return lens_end(lens, status, &err);
    if (stack.is_private[STACK_KAFKA] && stack.kafka_port == 0)
        lens_say(lens, "the private stack of %s has no addresses yet; next: lens up", lens->config.home);
    json_t *object = lens->json ? json_object() : NULL;
    for (size_t at = 0; at < variables.count; at++) {
        if (object != NULL) {
            json_object_set_new(object, variables.of[at].name, json_string(variables.of[at].value));
            continue;
        }
        printf("%s%s=", exports ? "export " : "", variables.of[at].name);
        print_quoted(variables.of[at].value);
        putchar('\n');
    }
    return object != NULL ? lens_print_json(lens, object) : LENS_DONE;
}
