#include "ops/secure.h"

#include "runtime/kafka.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SECRET_BYTES = 24 };

/* Who has a name of its own. `admin` is `lens`: it makes topics, tables and rights, and may do all; `broker` is the broker to itself. */
static const char *const names[] = { "admin",   "broker", "import", "validate",  "accrue",
                                     "segment", "relay",  "notify", "warehouse", "lag" };
static const char *const stores[] = { "kafka", "redis", "postgres" };

bool secure_is(const struct config *config)
{
    char path[PATH_SIZE];
    return path_exists(path_of(path, "%s/secrets/ca.pem", config->home));
}

static enum ll_status make_secret(const char *home, const char *name, const char *store, struct ll_err *err)
{
    unsigned char bytes[SECRET_BYTES];
    char path[PATH_SIZE], text[2 * SECRET_BYTES + 2];
    if (path_exists(path_of(path, "%s/secrets/%s.%s", home, name, store)))
        return LL_OK;
    if (getrandom(bytes, sizeof bytes, 0) != (ssize_t)sizeof bytes)
        return ll_fail(err, LL_FATAL, "no random numbers for %s: %s", path, strerror(errno));
    for (size_t at = 0; at < sizeof bytes; at++)
        snprintf(text + 2 * at, 3, "%02x", bytes[at]);
    text[sizeof text - 2] = '\n';
    text[sizeof text - 1] = '\0';
    enum ll_status status = file_write(path, text, 0600, NULL, err);
    explicit_bzero(text, sizeof text);
    return status;
}

/* Runs a program in a directory and waits for it; what it says goes to a file of the home's. Returns its exit code. */
static int run_in(const char *dir, const char *log, char *const argv[])
{
    pid_t pid = fork();
    if (pid == 0) {
        int out = open(log, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600),
            null = open("/dev/null", O_RDONLY);
        if (out < 0 || null < 0 || chdir(dir) != 0 || dup2(null, STDIN_FILENO) < 0 ||
            dup2(out, STDOUT_FILENO) < 0 || dup2(out, STDERR_FILENO) < 0)
            _exit(111);
        unsetenv("JAVA_TOOL_OPTIONS");
        execvp(argv[0], argv);
        _exit(127);
    }
    int code = 0;
    if (pid < 0 || waitpid(pid, &code, 0) != pid)
        return -1;
    return WIFEXITED(code) ? WEXITSTATUS(code) : -1;
}

static enum ll_status make_certificates(const struct stack *stack, struct ll_err *err)
{
    char script[PATH_SIZE], dir[PATH_SIZE], log[PATH_SIZE], line[160];
    if (secure_is(stack->config))
        return LL_OK;
    if (access("/usr/bin/openssl", X_OK) != 0)
        return ll_fail(err, LL_FATAL, "openssl is not installed; next: deploy/install-packages");
    path_of(script, "%s/deploy/stack/secure/certificates", stack->config->share);
    path_of(dir, "%s/secrets", stack->config->home);
    path_of(log, "%s/secrets/certificates.log", stack->config->home);
    if (run_in(dir, log, (char *[]){ script, NULL }) == 0)
        return path_remove(log, err);
    file_last_line(log, line, sizeof line);
    return ll_fail(err, LL_FATAL, "no certificates were made: %s (%s)",
                   line[0] != '\0' ? line : "openssl says nothing", log);
}

enum ll_status secure_make(const struct stack *stack, struct ll_err *err)
{
    char path[PATH_SIZE];
    const char *home = stack->config->home;
    if (!secure_is(stack->config) && (path_exists(path_of(path, "%s/kafka/data", home)) ||
                                      path_exists(path_of(path, "%s/data", stack->postgres_dir))))
        return ll_fail(err, LL_FATAL,
                       "%s was begun without passwords, and cannot be given them; next: lens down --purge, "
                       "or another home "
                       "with --home DIR",
                       home);
    enum ll_status status = path_make_dir(path_of(path, "%s/secrets", home), err);
    if (status == LL_OK && chmod(path, 0700) != 0)
        status = ll_fail(err, LL_FATAL, "cannot close %s: %s", path, strerror(errno));
    for (size_t name = 0; name < sizeof names / sizeof names[0]; name++)
        for (size_t store = 0; store < sizeof stores / sizeof stores[0] && status == LL_OK; store++)
            status = make_secret(home, names[name], stores[store], err);
    return status == LL_OK ? make_certificates(stack, err) : status;
}

enum ll_status secure_read(const struct config *config, const char *name, char to[SECURE_SECRET_SIZE],
                           struct ll_err *err)
{
    char path[PATH_SIZE];
    to[0] = '\0';
    if (!secure_is(config))
        return LL_OK;
    return config_secret(path_of(path, "%s/secrets/%s", config->home, name), to, SECURE_SECRET_SIZE, err);
}

/* Is the name one of "a,b,c"? */
static bool is_listed(const char *list, const char *name)
{
    size_t size = strlen(name);
    for (const char *at = list; *at != '\0';) {
        size_t one = strcspn(at, ",");
        if (one == size && memcmp(at, name, size) == 0)
            return true;
        at += one + (at[one] == ',' ? 1 : 0);
    }
    return false;
}

/* What one process may do on topics and groups. */
static enum ll_status grant_process(struct kafka_admin *admin, const struct config *config,
                                    const struct topics *topics, const char *name, struct ll_err *err)
{
    struct kafka_right rights[2 * TOPIC_COUNT + 3];
    char user[80], group[160], tools[160], readers[160];
    size_t count = 0;
    snprintf(user, sizeof user, "User:lens-%s", name);
    snprintf(group, sizeof group, "%s%s", config->kafka.group_prefix, name);
    snprintf(tools, sizeof tools, "%sadmin", config->kafka.group_prefix);
    snprintf(readers, sizeof readers, "%sreader", config->kafka.group_prefix);
    for (int topic = 0; topic < TOPIC_COUNT; topic++) {
        if (is_listed(topics->facts[topic].readers, name))
            rights[count++] = (struct kafka_right){ KAFKA_READ_TOPIC, topic_name((enum topic)topic), false };
        if (is_listed(topics->facts[topic].writers, name))
            rights[count++] = (struct kafka_right){ KAFKA_WRITE_TOPIC, topic_name((enum topic)topic), false };
    }
    rights[count++] = (struct kafka_right){ KAFKA_READ_GROUP, group, true };
    /* Connections that ask or read alone name these, and never join. */
    rights[count++] = (struct kafka_right){ KAFKA_DESCRIBE_GROUP, tools, false };
    rights[count++] = (struct kafka_right){ KAFKA_DESCRIBE_GROUP, readers, false };
    return kafka_admin_grant(admin, user, rights, count, 10000, err);
}

/* librdkafka 2.0.2 knows no rights on transactional ids; Kafka's own tool does, at a JVM a process. */
static enum ll_status grant_transactions(const struct stack *stack, const char *name, struct ll_err *err)
{
    char java[PATH_SIZE], dir[PATH_SIZE], log[PATH_SIZE], jars[PATH_SIZE], settings[PATH_SIZE], id[160],
        user[80], line[160];
    path_of(java, "%s", stack->java);
    path_of(dir, "%s/kafka", stack->config->home);
    path_of(log, "%s/secrets/acls.log", stack->config->home);
    path_of(jars, "%s/*", stack->jars);
    path_of(settings, "%s/secrets/admin.properties", stack->config->home);
    snprintf(id, sizeof id, "%s%s", strcmp(name, "import") == 0 ? "lens-" : stack->config->kafka.group_prefix,
             name);
    snprintf(user, sizeof user, "User:lens-%s", name);
    char *argv[] = { java,
                     "-XX:+UseSerialGC",
                     "-XX:TieredStopAtLevel=1",
                     "-Xmx64m",
                     "-Dlog4j.configuration=file:log4j.properties",
                     "-cp",
                     jars,
                     "kafka.admin.AclCommand",
                     "--bootstrap-server",
                     stack->config->kafka.bootstrap,
                     "--command-config",
                     settings,
                     "--add",
                     "--allow-principal",
                     user,
                     "--operation",
                     "Write",
                     "--operation",
                     "Describe",
                     "--transactional-id",
                     id,
                     "--resource-pattern-type",
                     "prefixed",
                     NULL };
    if (run_in(dir, log, argv) == 0)
        return path_remove(log, err);
    file_last_line(log, line, sizeof line);
    return ll_fail(err, LL_FATAL, "kafka %s: no right for %s on transactions of %s: %s (%s)",
                   stack->config->kafka.bootstrap, user, id, line, log);
}

/* What was granted, in words: another text than the one kept means that something has changed. */
static void describe(const struct config *config, const struct topics *topics, char *to, size_t size)
{
    size_t used = (size_t)snprintf(to, size, "form=1 prefix=%s\n", config->kafka.group_prefix);
    for (int topic = 0; topic < TOPIC_COUNT && used < size; topic++)
        used += (size_t)snprintf(to + used, size - used, "%s readers=%s writers=%s\n",
                                 topic_name((enum topic)topic), topics->facts[topic].readers,
                                 topics->facts[topic].writers);
}

enum ll_status secure_grant(const struct stack *stack, const struct topics *topics, struct ll_err *err)
{
    static const char *const transactional[] = { "import", "validate", "relay", "segment" };
    const struct config *config = stack->config;
    char path[PATH_SIZE], wanted[16384], kept[16384];
    if (!secure_is(config) || !stack->is_private[STACK_KAFKA])
        return LL_OK;
    describe(config, topics, wanted, sizeof wanted);
    if (file_read(path_of(path, "%s/secrets/acls", config->home), kept, sizeof kept) >= 0 &&
        strcmp(kept, wanted) == 0)
        return LL_OK;
    struct kafka_admin *admin = NULL;
    enum ll_status status = kafka_admin_open(config, &admin, err);
    for (size_t at = 2; at < sizeof names / sizeof names[0] && status == LL_OK;
         at++) /* behind admin and broker, who may do all */
        status = grant_process(admin, config, topics, names[at], err);
    kafka_admin_close(admin);
    for (size_t at = 0; at < sizeof transactional / sizeof transactional[0] && status == LL_OK; at++)
        status = grant_transactions(stack, transactional[at], err);
    return status == LL_OK ? file_write(path, wanted, 0600, NULL, err) : status;
}
