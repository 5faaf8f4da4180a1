/*
 * down.c - `lens down`: processes first, then the stores, then the supervisor; in bounded time, and nothing
 * that is not of this home.
 */
#include "ops/machine.h"
#include "ops/service.h"
#include "ops/stack.h"
#include "ops/stack_files.h"
#include "ops/verbs.h"
#include "runtime/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

enum {
    STOP_MS_MAX = 15000, /* a process finishes its batch, Kafka and Postgres close their files */
    EXIT_MS_MAX = 5000,
    KILL_MS_MAX = 5000,
    LOCK_MS_MAX = 100000, /* an `up` ends by itself before */
    POLL_MS = 20,
};

static int64_t steady_ms(void)
{
    struct clock_source clock = clock_real();
    return clock.steady_ms(clock.self);
}

static bool is_stopped(const struct stack *stack, int service)
{
    char dir[PATH_SIZE];
    struct service_state state;
    service_read(stack_service_dir(stack, (enum stack_service)service, dir), &state);
    return state.step == SERVICE_ABSENT || state.step == SERVICE_DOWN;
}

static bool all_stopped(const struct stack *stack, int first, int last)
{
    for (int at = first; at <= last; at++)
        if (!is_stopped(stack, at))
            return false;
    return true;
}

/* Asks some services together, waits, and kills what has not ended by then. */
static void stop_services(struct lens *lens, const struct stack *stack, int first, int last)
{
    char dir[PATH_SIZE];
    for (int at = first; at <= last; at++)
        service_ask_down(stack_service_dir(stack, (enum stack_service)at, dir));
    int64_t until_ms = steady_ms() + STOP_MS_MAX;
    while (!all_stopped(stack, first, last) && steady_ms() < until_ms) {
        lens_progress(lens, "stopping %s ...", first >= STACK_PROCESS_FIRST ? "processes" : "services");
        machine_pause_ms(POLL_MS);
    }
    for (int at = first; at <= last; at++)
        if (!is_stopped(stack, at)) {
            lens_say(lens, "%s did not stop within %d s and was killed", stack_name((enum stack_service)at),
                     STOP_MS_MAX / 1000);
            service_command(stack_service_dir(stack, (enum stack_service)at, dir), "k");
        }
}

static void signal_one(void *arg, pid_t pid)
{
    kill(pid, *(const int *)arg);
}

/* Everything that carries this home's mark, however it lost its supervisor. Returns how many are left. */
static int sweep(const char *home)
{
    static const int signals[] = { SIGTERM, SIGINT, SIGKILL };
    int left = machine_each_of_stack(home, NULL, NULL);
    for (size_t at = 0; at < sizeof signals / sizeof signals[0] && left > 0; at++) {
        int number = signals[at];
        machine_each_of_stack(home, signal_one, &number);
        int64_t until_ms = steady_ms() + KILL_MS_MAX / 2;
        while ((left = machine_each_of_stack(home, NULL, NULL)) > 0 && steady_ms() < until_ms)
            machine_pause_ms(POLL_MS);
    }
    return left;
}

static int stop_supervisors(struct lens *lens, const struct stack *stack)
{
    const char *home = lens->config.home;
    char dir[PATH_SIZE];
    pid_t supervisor = supervisor_pid(home);
    bool is_supervised = supervisor > 0;
    if (supervisor > 0)
        kill(supervisor, SIGHUP);                    /* it tells every runsv to stop, and leaves */
    for (int at = 0; at < STACK_SERVICE_COUNT; at++) /* those that it does not know any more */
        is_supervised =
            service_command(stack_service_dir(stack, (enum stack_service)at, dir), "x") || is_supervised;
    int64_t until_ms = steady_ms() + (is_supervised ? EXIT_MS_MAX : 0);
    while (machine_each_of_stack(home, NULL, NULL) > 0 && steady_ms() < until_ms)
        machine_pause_ms(POLL_MS);
    return sweep(home);
}

static enum ll_status purge(const struct stack *stack, struct ll_err *err)
{
    char path[PATH_SIZE];
    stack_outside_dir(stack, path);
    enum ll_status status = path[0] != '\0' ? path_remove(path, err) : LL_OK;
    if (status == LL_OK && path[0] != '\0') {
        *strrchr(path, '/') = '\0';
        if (rmdir(path) != 0 && errno != ENOTEMPTY && errno != ENOENT && errno != EEXIST)
            return ll_fail(err, LL_FATAL, "cannot remove %s: %s", path, strerror(errno));
    }
    return status == LL_OK ? path_remove(stack->config->home, err) : status;
}

/* -1: nobody could lock; else to be closed. */
static int lock_home(struct lens *lens)
{
    char path[PATH_SIZE];
    int fd = open(path_of(path, "%s/run/up.lock", lens->config.home), O_RDWR | O_CLOEXEC);
    bool said = false;
    for (int64_t until_ms = steady_ms() + LOCK_MS_MAX;
         fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) != 0 && steady_ms() < until_ms;) {
        if (!said)
            lens_say(lens, "another `lens up` or `down` is at work on this home; waiting for it");
        said = true;
        machine_pause_ms(POLL_MS);
    }
    return fd;
}

static int parse(struct lens *lens, int argc, char **argv, bool *ret_purge)
{
    static const struct option options[] = { { "purge", no_argument, NULL, 'p' }, { NULL, 0, NULL, 0 } };
    for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        if (option != 'p')
            return lens_usage(lens, "no such option");
        *ret_purge = true;
    }
    return optind < argc ? lens_usage(lens, "\"%s\" is too much", argv[optind]) : LENS_DONE;
}

static int finish(struct lens *lens, bool stopped, bool purged)
{
    if (lens->json)
        return lens_print_json(lens, json_pack("{s:s, s:b, s:b}", "home", lens->config.home, "stopped",
                                               stopped, "purged", purged));
    lens_progress_end(lens);
    if (!stopped && !purged)
        printf("nothing runs in %s\n", lens->config.home);
    else
        printf("%s%s\n", purged ? "removed " : "stopped ", lens->config.home);
    return LENS_DONE;
}

int verb_down(struct lens *lens, int argc, char **argv)
{
    static struct stack stack;
    struct ll_err err = { "" };
    bool wants_purge = false;
    char mark[PATH_SIZE];
    int code = parse(lens, argc, argv, &wants_purge);
    if (code != LENS_DONE)
        return code;
    const char *home = lens->config.home;
    if (home[0] == '\0')
        return lens_fail(lens, "%s", lens->config_err.text);
    if (!path_exists(stack_mark(&lens->config, mark)))
        return finish(lens, false, false);
    if (stack_open(&lens->config, &stack, &err) != LL_OK)
        lens_say(lens, "%s; going on without", err.text);
    int lock = lock_home(lens);
    bool ran = supervisor_pid(home) > 0 || machine_each_of_stack(home, NULL, NULL) > 0;
    stop_services(lens, &stack, STACK_PROCESS_FIRST, STACK_SERVICE_COUNT - 1);
    stop_services(lens, &stack, 0, STACK_PROCESS_FIRST - 1);
    int left = stop_supervisors(lens, &stack);
    if (left > 0)
        return lens_fail(lens, "%d processes of %s do not end; next: lens status", left, home);
    enum ll_status status = wants_purge ? purge(&stack, &err) : LL_OK;
    if (lock >= 0)
        close(lock);
    return status == LL_OK ? finish(lens, ran, wants_purge) : lens_end(lens, status, &err);
}
