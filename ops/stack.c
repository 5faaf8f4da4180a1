#include "ops/stack.h"

#include "ops/machine.h"
#include "ops/readyz.h"
#include "runtime/conf_text.h"
#include "runtime/kafka.h"
#include "state/postgres.h"
#include "state/redis.h"

#include <errno.h>
#include <libconfig.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *const names[STACK_SERVICE_COUNT] = {
    [STACK_REDIS] = "redis",       [STACK_POSTGRES] = "postgres", [STACK_KAFKA] = "kafka",
    [STACK_VALIDATE] = "validate", [STACK_ACCRUE] = "accrue",     [STACK_RELAY] = "relay",
    [STACK_SEGMENT] = "segment",   [STACK_NOTIFY] = "notify",
};

const char *stack_name(enum stack_service service)
{
    return names[service];
}

char *stack_service_dir(const struct stack *stack, enum stack_service service, char to[PATH_SIZE])
{
    return path_of(to, "%s/service/%s", stack->config->home, names[service]);
}

char *stack_log(const struct stack *stack, enum stack_service service, char to[PATH_SIZE])
{
    return path_of(to, "%s/log/%s/current", stack->config->home, names[service]);
}

char *stack_mark(const struct config *config, char to[PATH_SIZE])
{
    return path_of(to, "%s/.loyalty-lens", config->home);
}

bool stack_path_is_plain(const char *path)
{
    for (const char *at = path; *at != '\0'; at++)
        if ((unsigned char)*at < 0x20 || strchr("'\"\\,@$`*", *at) != NULL)
            return false;
    return true;
}

void stack_address(const struct stack *stack, enum stack_service service, char *to, size_t size)
{
    const struct config *c = stack->config;
    bool ours = stack->is_private[service];
    if (service == STACK_KAFKA)
        snprintf(to, size, "%s", c->kafka.bootstrap);
    else if (service == STACK_POSTGRES)
        snprintf(to, size, "%s:%d", ours ? "127.0.0.1" : c->postgres.host, (int)c->postgres.port);
    else if (service != STACK_REDIS)
        readyz_address(c, names[service], to, size);
    else if (ours || c->redis.socket[0] == '\0')
        snprintf(to, size, "%s:%d", ours ? "127.0.0.1" : c->redis.host, (int)c->redis.port);
    else
        snprintf(to, size, "%s", c->redis.socket);
}

static bool is_set_to(const char *value, const char *kept)
{
    return value[0] == '\0' || strcmp(value, kept) == 0;
}

/* What an earlier `lens up` chose. config_load has laid the same file over what lens.conf leaves empty, so
 * an address that differs from it was named by lens.conf. */
static enum ll_status read_choices(struct stack *stack, struct ll_err *err)
{
    const struct config *c = stack->config;
    const char *bootstrap = "", *redis_host = "", *postgres_host = "";
    char path[PATH_SIZE];
    enum ll_status status = LL_OK;
    config_t file;
    config_init(&file);
    path_of(path, "%s/stack.conf", c->home);
    if (path_exists(path)) {
        if (conf_read_file(&file, path) != CONFIG_TRUE)
            status = ll_fail(err, LL_FATAL, "%s:%d: %s; next: lens up --new-ports", path,
                             config_error_line(&file), config_error_text(&file));
        config_lookup_string(&file, "kafka.bootstrap", &bootstrap);
        config_lookup_string(&file, "redis.host", &redis_host);
        config_lookup_int(&file, "redis.port", &stack->redis_port);
        config_lookup_string(&file, "postgres.host", &postgres_host);
        config_lookup_int(&file, "postgres.port", &stack->postgres_port);
    }
    const char *colon = strrchr(bootstrap, ':');
    stack->kafka_port = colon == NULL ? 0 : atoi(colon + 1);
    stack->kafka_controller_port = stack->kafka_port == 0 ? 0 : stack->kafka_port + 1;
    stack->is_private[STACK_KAFKA] = is_set_to(c->kafka.bootstrap, bootstrap);
    stack->is_private[STACK_REDIS] =
        (c->redis.host[0] == '\0' && c->redis.socket[0] == '\0') ||
        (strcmp(c->redis.host, redis_host) == 0 && c->redis.port == stack->redis_port);
    stack->is_private[STACK_POSTGRES] = is_set_to(c->postgres.host, postgres_host);
    for (int at = STACK_PROCESS_FIRST; at < STACK_SERVICE_COUNT; at++)
        stack->is_private[at] = true;
    config_destroy(&file);
    return status;
}

static enum ll_status find_programs(char to[PATH_SIZE], struct ll_err *err)
{
    ssize_t size = readlink("/proc/self/exe", to, PATH_SIZE - 1);
    if (size <= 0)
        return ll_fail(err, LL_FATAL, "cannot read /proc/self/exe: %s; is /proc mounted?", strerror(errno));
    to[size] = '\0';
    *strrchr(to, '/') = '\0';
    return LL_OK;
}

static void find_java(char to[PATH_SIZE])
{
    static const char *const places[] = { "/usr/lib/jvm/java-17-openjdk-amd64",
                                          "/usr/lib/jvm/java-17-openjdk-arm64", "/usr/lib/jvm/default-java" };
    const char *named = getenv("JAVA_HOME");
    if (named != NULL && named[0] != '\0' && access(path_of(to, "%s/bin/java", named), X_OK) == 0)
        return;
    for (size_t at = 0; at < sizeof places / sizeof places[0]; at++)
        if (access(path_of(to, "%s/bin/java", places[at]), X_OK) == 0)
            return;
    to[0] = '\0';
}

static void find_postgres(char to[PATH_SIZE])
{
    for (int version = 15; version <= 20; version++)
        if (access(path_of(to, "/usr/lib/postgresql/%d/bin/initdb", version), X_OK) == 0) {
            *strrchr(to, '/') = '\0';
            return;
        }
    to[0] = '\0';
}

enum ll_status stack_open(struct config *config, struct stack *ret, struct ll_err *err)
{
    char path[PATH_SIZE], target[PATH_SIZE];
    *ret = (struct stack){ .config = config };
    const char *cache = getenv("LENS_CACHE"), *user_home = getenv("HOME");
    if (cache != NULL && cache[0] != '\0')
        path_of(ret->jars, "%s/kafka-3.9.1", cache);
    else
        path_of(ret->jars, "%s/.cache/loyalty-lens/kafka-3.9.1", user_home == NULL ? "" : user_home);
    find_java(ret->java);
    find_postgres(ret->postgres_programs);
    ssize_t size = readlink(path_of(path, "%s/postgres", config->home), target, sizeof target - 1);
    target[size < 0 ? 0 : size] = '\0';
    path_of(ret->postgres_dir, "%s", size > 0 ? target : path);
    enum ll_status status = find_programs(ret->programs, err);
    return status == LL_OK ? read_choices(ret, err) : status;
}

static enum ll_status ask_kafka(const struct stack *stack, int timeout_ms, struct ll_err *err)
{
    struct kafka_admin *admin = NULL;
    /* The client waits longer after each refused connection: so it is not started before somebody listens. */
    if (stack->is_private[STACK_KAFKA] && !machine_port_answers(stack->kafka_port))
        return ll_fail(err, LL_RETRY, "nobody listens on 127.0.0.1:%d", stack->kafka_port);
    enum ll_status status = kafka_admin_open(stack->config, &admin, err);
    if (status == LL_OK)
        status = kafka_admin_ping(admin, timeout_ms, err);
    kafka_admin_close(admin);
    return status;
}

enum ll_status stack_ask(const struct stack *stack, enum stack_service service, int timeout_ms,
                         struct ll_err *err)
{
    /* Several seconds of patience are for live processes; who asks whether a service is there asks again. */
    struct config hurried = *stack->config;
    if (hurried.redis.timeout_ms > timeout_ms)
        hurried.redis.timeout_ms = timeout_ms;
    if (hurried.postgres.timeout_ms > timeout_ms)
        hurried.postgres.timeout_ms = timeout_ms;
    switch (service) {
    case STACK_KAFKA:
        return ask_kafka(stack, timeout_ms, err);
    case STACK_REDIS:
        return redis_ping(&hurried, err);
    case STACK_POSTGRES:
        return postgres_ping(&hurried, err);
    case STACK_VALIDATE:
    case STACK_ACCRUE:
    case STACK_RELAY:
    case STACK_SEGMENT:
    case STACK_NOTIFY:
        return readyz_ask(stack->config, names[service], timeout_ms, err);
    case STACK_SERVICE_COUNT:
        break;
    }
    return ll_fail(err, LL_FATAL, "no such service");
}
