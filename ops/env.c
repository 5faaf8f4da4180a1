/*
 * env.c - `lens env`: the services' addresses for a shell. `eval "$(lens env --export)"`, then psql, redis-
 * cli -p "$REDIS_PORT", kcat -b ...
 */
#include "ops/readyz.h"
#include "ops/stack.h"
#include "ops/verbs.h"

#include <ctype.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>

enum { VARIABLES_MAX = 16, VALUE_SIZE = PATH_SIZE };

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
