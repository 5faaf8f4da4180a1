/*
 * up.c - `lens up`: what is missing is made, what is down is started, what answers already is left alone.
 * Shape:  1 home, 2 ports and files, 3 supervisor, 4 stores ready, 5 topics, migrations and a rule set, 6 our
 *         processes ready. Each step may be repeated, so an interrupted `up` is finished by the next one.
 */
#include "ops/machine.h"
#include "ops/rules.h"
#include "ops/secure.h"
#include "ops/service.h"
#include "ops/stack.h"
#include "ops/stack_files.h"
#include "ops/verbs.h"
#include "runtime/clock.h"
#include "runtime/kafka.h"
#include "runtime/topics.h"
#include "state/postgres.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

enum {
    READY_MS_MAX =
        90000, /* a JVM on a loaded machine; a hopeless start is seen much earlier, by its deaths */
    EXTERNAL_MS_MAX = 5000,
    RUNSV_MS_MAX = 10000, /* runsvdir looks for new services every five seconds */
    ASK_MS = 1000,
    POLL_MS = 20,
    DEATHS_MAX = 3,
};

struct up {
    struct lens *lens;
    struct stack stack;
    struct stack_options options;
    bool no_processes;
    bool changed[STACK_SERVICE_COUNT];
    pid_t ran_as[STACK_SERVICE_COUNT];               /* before its files were looked at; 0: it did not run */
    pid_t leaving[STACK_SERVICE_COUNT];              /* was told to stop, and may answer until it has */
    int64_t begun_ms, ready_ms[STACK_SERVICE_COUNT]; /* since begun */
    int topics_created, migrations_applied;
};

static int64_t steady_ms(void)
{
    struct clock_source clock = clock_real();
    return clock.steady_ms(clock.self);
}

static int parse(struct up *up, int argc, char **argv)
{
    static const struct option options[] = {
        { "no-processes", no_argument, NULL, 'n' },
        { "bench", no_argument, NULL, 'b' },
        { "new-ports", no_argument, NULL, 'p' },
        { "secure", no_argument, NULL, 's' },
        { NULL, 0, NULL, 0 },
    };
    for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        if (option == 'n')
            up->no_processes = true;
        else if (option == 'b')
            up->options.bench = true;
        else if (option == 'p')
            up->options.new_ports = true;
        else if (option == 's')
            up->options.secure = true;
        else
            return lens_usage(up->lens, "no such option");
    }
    if (optind < argc)
        return lens_usage(up->lens, "\"%s\" is too much", argv[optind]);
    return LENS_DONE;
}

/* What is not installed, before anything is touched. */
static enum ll_status check_installed(const struct up *up, struct ll_err *err)
{
    static const char next[] = "next: deploy/install-packages";
    const struct stack *stack = &up->stack;
    char path[PATH_SIZE];
    if (access("/usr/bin/runsvdir", X_OK) != 0)
        return ll_fail(err, LL_FATAL, "runit is not installed; %s", next);
    if (stack->is_private[STACK_REDIS] && access("/usr/bin/redis-server", X_OK) != 0)
        return ll_fail(err, LL_FATAL, "redis-server is not installed; %s", next);
    if (stack->is_private[STACK_POSTGRES] && stack->postgres_programs[0] == '\0')
        return ll_fail(err, LL_FATAL, "Postgres 15 is not installed; %s", next);
    if (stack->is_private[STACK_KAFKA] && stack->java[0] == '\0')
        return ll_fail(err, LL_FATAL, "there is no Java 17; %s", next);
    if (stack->is_private[STACK_KAFKA] && !path_exists(path_of(path, "%s/jars.sha256", stack->jars)))
        return ll_fail(err, LL_FATAL, "Kafka's jars are not in %s; %s", stack->jars, next);
    for (int at = STACK_PROCESS_FIRST; at < STACK_SERVICE_COUNT && !up->no_processes; at++)
        if (access(path_of(path, "%s/lens-%s", stack->programs, stack_name((enum stack_service)at)), X_OK) !=
            0)
            return ll_fail(err, LL_FATAL,
                           "%s is not built; next: cmake --preset release && cmake --build --preset release",
                           path);
    return LL_OK;
}

/* One `up` or `down` of a home at a time. The lock goes with the process. */
static enum ll_status lock_home(const struct up *up, struct ll_err *err)
{
    char path[PATH_SIZE];
    int fd = open(path_of(path, "%s/run/up.lock", up->lens->config.home), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (fd < 0)
        return ll_fail(err, LL_FATAL, "cannot write %s: %s", path, strerror(errno));
    if (flock(fd, LOCK_EX | LOCK_NB) == 0)
        return LL_OK;
    lens_say(up->lens, "another `lens up` or `down` is at work on this home; waiting for it");
    return flock(fd, LOCK_EX) == 0 ? LL_OK
                                   : ll_fail(err, LL_FATAL, "cannot lock %s: %s", path, strerror(errno));
}

static bool is_wanted(const struct up *up, int service)
{
    return up->stack.is_private[service] && (service < STACK_PROCESS_FIRST || !up->no_processes);
}

/* A process is kept from starting until the stores are prepared; the supervisor obeys the file only when
 * it begins with the service. */
static enum ll_status hold_processes(const struct up *up, struct ll_err *err)
{
    char dir[PATH_SIZE], path[PATH_SIZE];
    enum ll_status status = LL_OK;
    for (int at = STACK_PROCESS_FIRST; at < STACK_SERVICE_COUNT && status == LL_OK; at++)
        status =
            file_write(path_of(path, "%s/down", stack_service_dir(&up->stack, (enum stack_service)at, dir)),
                       "", 0644, NULL, err);
    return status;
}

static enum ll_status prepare(struct up *up, struct ll_err *err)
{
    struct stack *stack = &up->stack;
    bool is_ours[STACK_SERVICE_COUNT] = { false };
    char dir[PATH_SIZE];
    for (int at = 0; at < STACK_SERVICE_COUNT; at++) {
        struct service_state state;
        service_read(stack_service_dir(stack, (enum stack_service)at, dir), &state);
        is_ours[at] = state.step == SERVICE_RUNNING;
        up->ran_as[at] = is_ours[at] ? state.pid : 0;
        if (is_ours[at] && up->options.new_ports)
            return ll_fail(err, LL_FATAL, "--new-ports needs a stopped stack; next: lens down");
    }
    enum ll_status status = stack_choose_ports(stack, &up->options, is_ours, err);
    if (status == LL_OK)
        status = stack_write(stack, &up->options, up->changed, err);
    if (status == LL_OK)
        status = config_load(NULL, &up->lens->config, err); /* with the addresses that were just written */
    if (status == LL_OK)
        status = config_as(&up->lens->config, "admin", err);
    return status;
}

static enum ll_status start_supervisor(struct up *up, struct ll_err *err)
{
    const char *home = up->lens->config.home;
    char dir[PATH_SIZE];
    enum ll_status status = LL_OK;
    if (supervisor_pid(home) == 0) {
        status = hold_processes(up, err);
        if (status == LL_OK)
            status = supervisor_start(home, err);
    }
    for (int at = 0; at < STACK_SERVICE_COUNT && status == LL_OK; at++) {
        if (!up->stack.is_private[at])
            continue;
        struct service_state state;
        int64_t until_ms = steady_ms() + RUNSV_MS_MAX;
        do {
            service_read(stack_service_dir(&up->stack, (enum stack_service)at, dir), &state);
            if (state.step == SERVICE_ABSENT)
                machine_pause_ms(POLL_MS);
        } while (state.step == SERVICE_ABSENT && steady_ms() < until_ms);
        if (state.step == SERVICE_ABSENT)
            status = ll_fail(
                err, LL_FATAL,
                "the supervisor does not start; see %s/log/supervisor.log, then: lens down && lens up", home);
    }
    return status;
}

static enum ll_status start_service(struct up *up, enum stack_service service, struct ll_err *err)
{
    char dir[PATH_SIZE], path[PATH_SIZE];
    struct service_state state;
    service_read(stack_service_dir(&up->stack, service, dir), &state);
    bool is_old = state.step == SERVICE_RUNNING && state.pid == up->ran_as[service] &&
                  (up->changed[service] || machine_program_is_gone(state.pid));
    enum ll_status status = path_remove(path_of(path, "%s/down", dir), err);
    if (status != LL_OK)
        return status;
    path_remove(path_of(path, "%s/restarts", dir), NULL);
    path_remove(path_of(path, "%s/young", dir), NULL);
    if (is_old) {
        file_write(path_of(path, "%s/asked", dir), "", 0644, NULL, NULL);
        service_command(dir, "t");
        up->leaving[service] = state.pid;
    }
    if (state.step == SERVICE_RESTARTING && state.pid > 0)
        service_ask_down(dir); /* out of the wait */
    if (!service_command(dir, "u"))
        return ll_fail(err, LL_FATAL, "the supervisor of %s does not listen; next: lens down && lens up",
                       stack_name(service));
    return LL_OK;
}

/* The words of a service that dies again and again. */
static enum ll_status fail_dying(const struct up *up, enum stack_service service, struct ll_err *err)
{
    char log[PATH_SIZE], line[160];
    file_last_fault(stack_log(&up->stack, service, log), line, sizeof line);
    return ll_fail(err, LL_FATAL, "%s does not stay up: %s (log: %s); next: lens doctor", stack_name(service),
                   line[0] != '\0' ? line : "it says nothing", log);
}

static enum ll_status wait_ready(struct up *up, enum stack_service service, struct ll_err *err)
{
    bool is_private = up->stack.is_private[service];
    int64_t until_ms = steady_ms() + (is_private ? READY_MS_MAX : EXTERNAL_MS_MAX);
    const char *name = stack_name(service);
    char dir[PATH_SIZE], log[PATH_SIZE];
    stack_service_dir(&up->stack, service, dir);
    for (;;) {
        struct service_state state;
        lens_progress(up->lens, "waiting for %s ... %.1f s", name,
                      (double)(steady_ms() - up->begun_ms) / 1000);
        service_read(dir, &state);
        enum ll_status status = LL_RETRY;
        if (is_private && state.step != SERVICE_ABSENT && state.pid == up->leaving[service] && state.pid != 0)
            ll_fail(err, status, "it does not stop");
        else
            status = stack_ask(&up->stack, service, ASK_MS, err);
        if (status == LL_OK)
            break;
        if (is_private && state.restarts >= DEATHS_MAX)
            return fail_dying(up, service, err);
        if (status != LL_RETRY)
            return is_private ? ll_wrap(err, status, "%s", name)
                              : ll_wrap(err, status, "%s, which %s names", name, up->lens->config.file);
        if (steady_ms() > until_ms && !is_private)
            return ll_wrap(err, LL_RETRY, "%s, which %s names, does not answer", name, up->lens->config.file);
        if (steady_ms() > until_ms)
            return ll_wrap(err, LL_RETRY, "%s is not ready after %d s (log: %s)", name, READY_MS_MAX / 1000,
                           stack_log(&up->stack, service, log));
        machine_pause_ms(POLL_MS);
    }
    up->ready_ms[service] = steady_ms() - up->begun_ms;
    return LL_OK;
}

static enum ll_status start_stores(struct up *up, struct ll_err *err)
{
    enum ll_status status = LL_OK;
    for (int at = 0; at < STACK_PROCESS_FIRST && status == LL_OK; at++)
        if (up->stack.is_private[at])
            status = start_service(up, (enum stack_service)at, err);
    for (int at = 0; at < STACK_PROCESS_FIRST && status == LL_OK; at++)
        status = wait_ready(up, (enum stack_service)at, err);
    return status;
}

/* Each time, so that tables of new migrations are granted too, and roles that were made meanwhile have their rights. */
static enum ll_status grant_roles(const struct config *config, struct ll_err *err)
{
    struct postgres *postgres = NULL;
    enum ll_status status = postgres_open(config, "lens-up", &postgres, err);
    if (status == LL_OK)
        status = postgres_query(postgres, "select loyalty.grant_roles()", NULL, 0, NULL, err);
    postgres_close(postgres);
    return status;
}

/* Topics by topics.conf, tables by state/migrations, and a first rule set where there is none: before any
 * process runs, so that validate announces it before the first sale. */
static enum ll_status prepare_stores(struct up *up, struct ll_err *err)
{
    const struct config *config = &up->lens->config;
    static struct topics topics;
    struct kafka_admin *admin = NULL;
    char path[PATH_SIZE];
    lens_progress(up->lens, "making topics and tables ...");
    enum ll_status status =
        topics_load(config_share_path(config, "topics.conf", path, sizeof path), &topics, err);
    if (status == LL_OK)
        status = kafka_admin_open(config, &admin, err);
    if (status == LL_OK)
        status = kafka_admin_create_topics(admin, &topics, &up->topics_created, 30000, err);
    kafka_admin_close(admin);
    if (status == LL_OK)
        status = secure_grant(&up->stack, &topics, err);
    if (status == LL_OK)
        status = postgres_migrate(config, &up->migrations_applied, err);
    if (status == LL_OK)
        status = grant_roles(config, err);
    if (status == LL_OK)
        status = rules_ensure_default(config, err);
    return status;
}

static enum ll_status start_processes(struct up *up, struct ll_err *err)
{
    enum ll_status status = LL_OK;
    for (int at = STACK_PROCESS_FIRST; at < STACK_SERVICE_COUNT && status == LL_OK && !up->no_processes; at++)
        status = start_service(up, (enum stack_service)at, err);
    for (int at = STACK_PROCESS_FIRST; at < STACK_SERVICE_COUNT && status == LL_OK && !up->no_processes; at++)
        status = wait_ready(up, (enum stack_service)at, err);
    return status;
}

static int print(const struct up *up)
{
    char address[PATH_SIZE];
    if (up->lens->json) {
        json_t *services = json_object();
        for (int at = 0; at < STACK_SERVICE_COUNT; at++) {
            if (at >= STACK_PROCESS_FIRST && up->no_processes)
                continue;
            stack_address(&up->stack, (enum stack_service)at, address, sizeof address);
            json_object_set_new(services, stack_name((enum stack_service)at),
                                json_pack("{s:s, s:b, s:I}", "address", address, "private",
                                          is_wanted(up, at) ? 1 : 0, "ready_ms",
                                          (json_int_t)up->ready_ms[at]));
        }
        return lens_print_json(up->lens, json_pack("{s:s, s:o, s:i, s:i, s:I}", "home", up->lens->config.home,
                                                   "services", services, "topics_created", up->topics_created,
                                                   "migrations_applied", up->migrations_applied, "total_ms",
                                                   (json_int_t)(steady_ms() - up->begun_ms)));
    }
    lens_progress_end(up->lens);
    for (int at = 0; at < STACK_SERVICE_COUNT; at++) {
        if (at >= STACK_PROCESS_FIRST && up->no_processes)
            continue;
        stack_address(&up->stack, (enum stack_service)at, address, sizeof address);
        printf("%-9s %-22s ready after %.1f s%s\n", stack_name((enum stack_service)at), address,
               (double)up->ready_ms[at] / 1000, up->stack.is_private[at] ? "" : " (named by lens.conf)");
    }
    printf("%d topics made, %d migrations applied; home %s\n", up->topics_created, up->migrations_applied,
           up->lens->config.home);
    return LENS_DONE;
}

int verb_up(struct lens *lens, int argc, char **argv)
{
    struct up up = { .lens = lens, .begun_ms = steady_ms() };
    struct ll_err err = { "" };
    int code = parse(&up, argc, argv);
    if (code != LENS_DONE)
        return code;
    enum ll_status status = stack_open(&lens->config, &up.stack, &err);
    if (status == LL_OK)
        status = check_installed(&up, &err);
    if (status == LL_OK)
        status = stack_make_home(&up.stack, &err);
    if (status == LL_OK)
        status = lock_home(&up, &err);
    if (status == LL_OK)
        status = prepare(&up, &err);
    if (status == LL_OK)
        status = start_supervisor(&up, &err);
    if (status == LL_OK)
        status = start_stores(&up, &err);
    if (status == LL_OK)
        status = prepare_stores(&up, &err);
    if (status == LL_OK)
        status = start_processes(&up, &err);
    return status == LL_OK ? print(&up) : lens_end(lens, status, &err);
}
