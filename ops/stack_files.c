#include "ops/stack_files.h"

#include "ops/machine.h"
#include "ops/secure.h"

#include <dirent.h>
#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

enum { DISK_MIN_MIB = 512, VALUE_SIZE = PATH_SIZE + 64 };
static const char OUTSIDE[] = "/var/lib/loyalty-lens";

/* FNV-1a: tells homes apart in names and spreads their ports. */
static uint64_t hash_more(uint64_t hash, const char *text)
{
    for (const char *at = text; *at != '\0'; at++)
        hash = (hash ^ (unsigned char)*at) * UINT64_C(1099511628211);
    return hash;
}

static uint64_t home_hash(const char *home) { return hash_more(UINT64_C(14695981039346656037), home); }

/* Of what the processes read when they start. */
static uint64_t config_hash(const struct config *config)
{
    char path[PATH_SIZE], *text = malloc(FILE_SIZE_MAX);
    uint64_t hash = UINT64_C(14695981039346656037);
    if (text == NULL)
        abort();
    if (file_read(config->file, text, FILE_SIZE_MAX) > 0)
        hash = hash_more(hash, text);
    if (file_read(config_share_path(config, "deploy/validation.conf", path, sizeof path), text, FILE_SIZE_MAX) > 0)
        hash = hash_more(hash, text);
    free(text);
    return hash;
}

static bool holds_other_things(const char *home)
{
    DIR *dir = opendir(home);
    struct dirent *entry;
    bool found = false;
    while (dir != NULL && !found && (entry = readdir(dir)) != NULL)
        found = strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0 &&
                strcmp(entry->d_name, "lens.conf") != 0;
    if (dir != NULL)
        closedir(dir);
    return found;
}

enum ll_status stack_make_home(const struct stack *stack, struct ll_err *err)
{
    const char *home = stack->config->home;
    char path[PATH_SIZE];
    if (!stack_path_is_plain(home) || !stack_path_is_plain(stack->programs) || !stack_path_is_plain(stack->jars) ||
        !stack_path_is_plain(stack->config->file))
        return ll_fail(err, LL_FATAL,
                       "%s: quotes, commas, $, @, * and control characters in LENS_HOME, the cache's or the "
                       "program's path "
                       "would break the services' files; choose another directory",
                       home);
    stack_mark(stack->config, path);
    if (!path_exists(path) && holds_other_things(home))
        return ll_fail(
            err, LL_FATAL,
            "LENS_HOME %s holds files that are not ours; give a new or an empty directory with --home DIR",
            home);
    static const char *const below[] = { "kafka", "redis", "run", "log", "service" };
    enum ll_status status = path_make_dir(home, err);
    if (status == LL_OK)
        status =
            file_write(stack_mark(stack->config, path),
                       "Made by `lens up`; `lens down --purge` removes this directory.\n", 0644, NULL, err);
    for (size_t at = 0; at < sizeof below / sizeof below[0] && status == LL_OK; at++)
        status = path_make_dir(path_of(path, "%s/%s", home, below[at]), err);
    int64_t free_mib = machine_disk_free_mib(home);
    if (status == LL_OK && free_mib >= 0 && free_mib < DISK_MIN_MIB)
        return ll_fail(err, LL_FATAL,
                       "%s: only %lld MB free, the stack needs %d MB; make room, or choose another place "
                       "with --home DIR",
                       home, (long long)free_mib, DISK_MIN_MIB);
    return status;
}

static enum ll_status check_port(int port, const char *name, bool is_ours, struct ll_err *err)
{
    char owner[128];
    if (is_ours || machine_port_is_free(port))
        return LL_OK;
    machine_port_owner(port, owner, sizeof owner);
    return ll_fail(err, LL_FATAL,
                   "port %d, which this home keeps for %s, is in use by %s; stop that, or choose others: "
                   "lens up --new-ports",
                   port, name, owner);
}

enum ll_status stack_choose_ports(struct stack *stack, const struct stack_options *options,
                                  const bool is_ours[STACK_SERVICE_COUNT], struct ll_err *err)
{
    if (options->new_ports)
        stack->kafka_port = stack->redis_port = stack->postgres_port = 0;
    /* Only what has none gets one, since the others' clients know theirs; what lens.conf names needs none. */
    bool kafka = stack->is_private[STACK_KAFKA] && stack->kafka_port == 0,
         redis = stack->is_private[STACK_REDIS] && stack->redis_port == 0,
         postgres = stack->is_private[STACK_POSTGRES] && stack->postgres_port == 0;
    int base = kafka || redis || postgres ? machine_find_ports((uint32_t)home_hash(stack->config->home), 4) : -1;
    if (base == 0)
        return ll_fail(err, LL_FATAL,
                       "no four free ports in a row between 20000 and 32000; next: lens doctor");
    if (kafka) {
        stack->kafka_port = base;
        stack->kafka_controller_port = base + 1;
    }
    if (redis)
        stack->redis_port = base + 2;
    if (postgres)
        stack->postgres_port = base + 3;
    enum ll_status status = LL_OK;
    if (stack->is_private[STACK_KAFKA])
        status = check_port(stack->kafka_port, "kafka", is_ours[STACK_KAFKA], err);
    if (status == LL_OK && stack->is_private[STACK_KAFKA])
        status = check_port(stack->kafka_controller_port, "kafka's controller", is_ours[STACK_KAFKA], err);
    if (status == LL_OK && stack->is_private[STACK_REDIS])
        status = check_port(stack->redis_port, "redis", is_ours[STACK_REDIS], err);
    if (status == LL_OK && stack->is_private[STACK_POSTGRES])
        status = check_port(stack->postgres_port, "postgres", is_ours[STACK_POSTGRES], err);
    return status;
}

/* Can that user get into the directory? Asked by becoming it, so that groups and access lists count too. */
static bool is_reachable(const char *dir, const struct passwd *user)
{
    int code = 1;
    pid_t pid = fork();
    if (pid == 0) {
        if (setgroups(0, NULL) != 0 || setgid(user->pw_gid) != 0 || setuid(user->pw_uid) != 0)
            _exit(1);
        _exit(access(dir, X_OK) == 0 ? 0 : 1);
    }
    return pid > 0 && waitpid(pid, &code, 0) == pid && WIFEXITED(code) && WEXITSTATUS(code) == 0;
}

/* Postgres refuses to run as root. Then the user `postgres` runs it, and its files must lie where that
 * user can get: a home under /root is closed to it, so they go to /var/lib/loyalty-lens/<hash of the
 * home>, with a link from the home. */
static enum ll_status place_postgres(struct stack *stack, struct ll_err *err)
{
    char path[PATH_SIZE];
    enum ll_status status;
    if (geteuid() != 0)
        return path_make_dir(stack->postgres_dir, err);
    const struct passwd *user = getpwnam("postgres");
    if (user == NULL)
        user = getpwnam("nobody");
    if (user == NULL)
        return ll_fail(err, LL_FATAL,
                       "Postgres does not run as root, and there is neither a user postgres nor nobody; "
                       "next: deploy/install-packages");
    snprintf(stack->postgres_user, sizeof stack->postgres_user, "%s", user->pw_name);
    path_of(path, "%s/postgres", stack->config->home);
    if (!path_exists(path) && !is_reachable(stack->config->home, user)) {
        path_of(stack->postgres_dir, "%s/%016llx", OUTSIDE,
                (unsigned long long)home_hash(stack->config->home));
        status = path_make_dir(stack->postgres_dir, err);
        if (status == LL_OK)
            status = path_remove(path, err); /* a link whose target is gone */
        if (status != LL_OK)
            return status;
        if (symlink(stack->postgres_dir, path) != 0)
            return ll_fail(err, LL_FATAL, "cannot link %s to %s: %s", path, stack->postgres_dir,
                           strerror(errno));
    }
    status = path_make_dir(stack->postgres_dir, err);
    if (status == LL_OK && chown(stack->postgres_dir, user->pw_uid, user->pw_gid) != 0)
        return ll_fail(err, LL_FATAL, "cannot give %s to the user %s: %s", stack->postgres_dir, user->pw_name,
                       strerror(errno));
    return status;
}

void stack_outside_dir(const struct stack *stack, char to[PATH_SIZE])
{
    path_of(to, "%s/", OUTSIDE);
    if (strncmp(stack->postgres_dir, to, strlen(to)) == 0)
        path_of(to, "%s", stack->postgres_dir);
    else
        to[0] = '\0';
}

static bool socket_fits(const char *path)
{
    return strlen(path) < sizeof((struct sockaddr_un *)0)->sun_path;
}

/* Who connects, and what the other end must show: one file for all processes, each with its own password. */
static void secure_settings(const struct stack *stack, char kafka[4 * PATH_SIZE], char redis[4 * PATH_SIZE],
                            char postgres[4 * PATH_SIZE])
{
    const char *home = stack->config->home;
    kafka[0] = redis[0] = '\0';
    path_of(postgres, "user = \"lens\";");
    if (!secure_is(stack->config))
        return;
    snprintf(kafka, 4 * PATH_SIZE,
             " security_protocol = \"sasl_ssl\"; sasl_mechanism = \"SCRAM-SHA-512\"; sasl_username = \"lens-%%p\";\n"
             "  sasl_password_file = \"%s/secrets/%%p.kafka\"; ssl_ca_file = \"%s/secrets/ca.pem\";", home, home);
    snprintf(redis, 4 * PATH_SIZE, " username = \"lens-%%p\"; password_file = \"%s/secrets/%%p.redis\";", home);
    snprintf(postgres, 4 * PATH_SIZE,
             "user = \"lens_%%p\"; password_file = \"%s/secrets/%%p.postgres\"; sslmode = \"verify-full\";\n"
             "  sslrootcert_file = \"%s/secrets/ca.pem\";", home, home);
}

/* The addresses for config_load. A unix socket is preferred: less work for both ends. Postgres has TLS on TCP alone. */
static enum ll_status write_addresses(const struct stack *stack, struct ll_err *err)
{
    char text[16 * PATH_SIZE], path[PATH_SIZE], socket_path[PATH_SIZE];
    char kafka[4 * PATH_SIZE], redis[4 * PATH_SIZE], postgres[4 * PATH_SIZE];
    secure_settings(stack, kafka, redis, postgres);
    size_t used =
        (size_t)snprintf(text, sizeof text, "// Addresses of the private stack, chosen by `lens up`.\n");
    if (stack->is_private[STACK_KAFKA])
        used += (size_t)snprintf(text + used, sizeof text - used,
                                 "kafka: { bootstrap = \"127.0.0.1:%d\";%s };\n", stack->kafka_port, kafka);
    if (stack->is_private[STACK_REDIS]) {
        path_of(socket_path, "%s/run/redis.sock", stack->config->home);
        used += (size_t)snprintf(text + used, sizeof text - used,
                                 "redis: { host = \"127.0.0.1\"; port = %d; socket = \"%s\";%s };\n",
                                 stack->redis_port, socket_fits(socket_path) ? socket_path : "", redis);
    }
    if (stack->is_private[STACK_POSTGRES]) {
        path_of(socket_path, "%s/.s.PGSQL.%d", stack->postgres_dir, stack->postgres_port);
        snprintf(text + used, sizeof text - used,
                 "postgres: { host = \"%s\"; port = %d; database = \"lens\"; %s };\n",
                 socket_fits(socket_path) && !secure_is(stack->config) ? stack->postgres_dir : "127.0.0.1",
                 stack->postgres_port, postgres);
    }
    return file_write(path_of(path, "%s/stack.conf", stack->config->home), text, 0644, NULL, err);
}

/* The cluster's id is kept, since Kafka refuses a directory that was formatted with another one. */
static void cluster_id(const struct stack *stack, char to[32])
{
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    uint64_t bits = home_hash(stack->config->home);
    for (int at = 0; at < 21;
         at++, bits = bits * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407))
        to[at] = letters[at == 0 ? bits >> 59
                                 : bits >> 58]; /* the first is no dash, which would read as an option */
    to[21] = 'A';                               /* 128 bits leave two of the last letter's six */
    to[22] = '\0';
}

struct values {
    char name[32], kafka[16], controller[16], redis[16], postgres[16], cluster[32], user[128],
        socket[VALUE_SIZE], redis_socket[VALUE_SIZE], config[VALUE_SIZE], digest[32], redis_users[VALUE_SIZE],
        broker_password[SECURE_SECRET_SIZE], admin_password[SECURE_SECRET_SIZE];
};
enum { BLANK_COUNT = 23 };

static void fill_values(const struct stack *stack, struct values *v)
{
    char path[PATH_SIZE];
    snprintf(v->kafka, sizeof v->kafka, "%d", stack->kafka_port);
    snprintf(v->controller, sizeof v->controller, "%d", stack->kafka_controller_port);
    snprintf(v->redis, sizeof v->redis, "%d", stack->redis_port);
    snprintf(v->postgres, sizeof v->postgres, "%d", stack->postgres_port);
    cluster_id(stack, v->cluster);
    v->user[0] = '\0';
    if (stack->postgres_user[0] != '\0')
        snprintf(v->user, sizeof v->user, "chpst -u %s", stack->postgres_user);
    path_of(path, "%s/.s.PGSQL.%d", stack->postgres_dir, stack->postgres_port);
    snprintf(v->socket, sizeof v->socket, "\"%s\"", stack->postgres_dir);
    if (!socket_fits(path))
        v->socket[0] = '\0';
    path_of(path, "%s/run/redis.sock", stack->config->home);
    const char *named = getenv("LENS_CONFIG");
    v->config[0] = '\0';
    if (named != NULL && named[0] != '\0')
        snprintf(v->config, sizeof v->config, "--config '%s'", stack->config->file);
    snprintf(v->digest, sizeof v->digest, "%016llx", (unsigned long long)config_hash(stack->config));
    v->redis_socket[0] = '\0';
    if (socket_fits(path))
        snprintf(v->redis_socket, sizeof v->redis_socket, "unixsocket \"%s\"\nunixsocketperm 700", path);
}

static enum ll_status fill_secrets(const struct stack *stack, struct values *v, struct ll_err *err)
{
    v->redis_users[0] = '\0';
    if (secure_is(stack->config))
        snprintf(v->redis_users, sizeof v->redis_users, "aclfile \"%s/redis/users.acl\"", stack->config->home);
    enum ll_status status = secure_read(stack->config, "broker.kafka", v->broker_password, err);
    return status == LL_OK ? secure_read(stack->config, "admin.kafka", v->admin_password, err) : status;
}

static const char *jvm_options(bool bench)
{
    return bench ? "-Xms1g -Xmx1g" : "-XX:TieredStopAtLevel=1 -Xms32m -Xmx128m";
}

struct template
{
    const char *from, *to; /* below deploy/stack, below LENS_HOME */
    mode_t mode;
    enum stack_service service;
    bool secure; /* only where a home is */
};

static const struct template templates[] = {
    { "secure/kafka.properties", "kafka/secure.properties", 0600, STACK_KAFKA, true },
    { "secure/admin.properties", "secrets/admin.properties", 0600, STACK_KAFKA, true },
    { "secure/postgresql.conf", "postgres/secure.conf", 0600, STACK_POSTGRES, true },
    { "secure/pg_hba.conf", "postgres/pg_hba.conf", 0600, STACK_POSTGRES, true },
    { "kafka/server.properties", "kafka/server.properties", 0644, STACK_KAFKA, false },
    { "kafka/log4j.properties", "kafka/log4j.properties", 0644, STACK_KAFKA, false },
    { "kafka/run", "service/kafka/run", 0755, STACK_KAFKA, false },
    { "redis/redis.conf", "redis/redis.conf", 0644, STACK_REDIS, false },
    { "redis/run", "service/redis/run", 0755, STACK_REDIS, false },
    { "postgres/postgresql.conf", "postgres/postgresql.conf", 0644, STACK_POSTGRES, false },
    { "postgres/run", "service/postgres/run", 0755, STACK_POSTGRES, false },
    { "postgres/control-t", "service/postgres/control/t", 0755, STACK_POSTGRES, false },
    { "process/run", "service/validate/run", 0755, STACK_VALIDATE, false },
    { "process/run", "service/accrue/run", 0755, STACK_ACCRUE, false },
    { "process/run", "service/relay/run", 0755, STACK_RELAY, false },
    { "process/run", "service/segment/run", 0755, STACK_SEGMENT, false },
    { "process/run", "service/notify/run", 0755, STACK_NOTIFY, false },
};

static enum ll_status fill_one(const struct stack *stack, const char *from, const char *to, mode_t mode,
                               const struct file_blank *blanks, bool *changed, struct ll_err *err)
{
    char from_path[PATH_SIZE], to_path[PATH_SIZE];
    path_of(from_path, "%s/deploy/stack/%s", stack->config->share, from);
    return file_fill(from_path, path_of(to_path, "%s/%s", stack->config->home, to), mode, blanks, BLANK_COUNT,
                     changed, err);
}

static enum ll_status write_service(const struct stack *stack, enum stack_service service,
                                    const struct file_blank *blanks, bool *changed, struct ll_err *err)
{
    char path[PATH_SIZE], to[PATH_SIZE];
    const char *name = stack_name(service);
    enum ll_status status = path_make_dir(path_of(path, "%s/service/%s/log", stack->config->home, name), err);
    if (status == LL_OK)
        status = path_make_dir(path_of(path, "%s/service/%s/control", stack->config->home, name), err);
    if (status == LL_OK)
        status = path_make_dir(path_of(path, "%s/log/%s", stack->config->home, name), err);
    if (status == LL_OK)
        status = fill_one(stack, "log-run", path_of(to, "service/%s/log/run", name), 0755, blanks, NULL, err);
    if (status == LL_OK)
        status = fill_one(stack, "finish", path_of(to, "service/%s/finish", name), 0755, blanks, NULL, err);
    for (size_t at = 0; at < sizeof templates / sizeof templates[0] && status == LL_OK; at++)
        if (templates[at].service == service && (!templates[at].secure || secure_is(stack->config)))
            status = fill_one(stack, templates[at].from, templates[at].to, templates[at].mode, blanks,
                              changed, err);
    return status;
}

enum ll_status stack_write(struct stack *stack, const struct stack_options *options,
                           bool ret_changed[STACK_SERVICE_COUNT], struct ll_err *err)
{
    struct values v;
    enum ll_status status = LL_OK;
    if (stack->is_private[STACK_POSTGRES])
        status = place_postgres(stack, err);
    if (status == LL_OK && (options->secure || secure_is(stack->config)))
        status = secure_make(stack, err);
    if (status == LL_OK)
        status = fill_secrets(stack, &v, err);
    if (status != LL_OK)
        return status;
    fill_values(stack, &v);
    const struct file_blank blanks[BLANK_COUNT] = {
        { "HOME", stack->config->home },
        { "NAME", v.name },
        { "BIN", stack->programs },
        { "JAVA", stack->java },
        { "JARS", stack->jars },
        { "JVM", jvm_options(options->bench) },
        { "SHARED_BUFFERS", options->bench ? "1GB" : "256MB" },
        { "CLUSTER_ID", v.cluster },
        { "KAFKA_PORT", v.kafka },
        { "REDIS_PORT", v.redis },
        { "KAFKA_CONTROLLER_PORT", v.controller },
        { "REDIS_SOCKET", v.redis_socket },
        { "POSTGRES_PORT", v.postgres },
        { "POSTGRES_DIR", stack->postgres_dir },
        { "POSTGRES_BIN", stack->postgres_programs },
        { "POSTGRES_SOCKET", v.socket },
        { "AS_USER", v.user },
        { "CONFIG", v.config },
        { "CONFIG_DIGEST", v.digest },
        { "REDIS_USERS", v.redis_users },
        { "BROKER_PASSWORD", v.broker_password },
        { "ADMIN_PASSWORD", v.admin_password },
        { "POSTGRES_OWNER", secure_is(stack->config) ? "lens_admin" : "lens" },
    };
    for (int at = 0; at < STACK_SERVICE_COUNT && status == LL_OK; at++) {
        ret_changed[at] = false;
        snprintf(v.name, sizeof v.name, "%s", stack_name((enum stack_service)at));
        if (stack->is_private[at])
            status = write_service(stack, (enum stack_service)at, blanks, &ret_changed[at], err);
    }
    explicit_bzero(v.broker_password, sizeof v.broker_password);
    explicit_bzero(v.admin_password, sizeof v.admin_password);
    return status == LL_OK ? write_addresses(stack, err) : status;
}
