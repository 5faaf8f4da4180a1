#include "ops/bench.h"

#include "ops/machine.h"
#include "ops/rules.h"
#include "ops/service.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { STOP_MS = 10000, STOP_POLL_MS = 20 };

/* Starts a program; its stdout and stderr go to log, or stdout to stderr where log is NULL. */
static pid_t start(char *const argv[], const char *log, struct ll_err *err)
{
    pid_t pid = fork();
    if (pid < 0) {
        ll_fail(err, LL_FATAL, "cannot start %s: %s", argv[0], strerror(errno));
        return 0;
    }
    if (pid > 0)
        return pid;
    int out = log == NULL ? STDERR_FILENO : open(log, O_WRONLY | O_CREAT | O_APPEND, 0644);
    if (out < 0 || dup2(out, STDOUT_FILENO) < 0 || (log != NULL && dup2(out, STDERR_FILENO) < 0))
        _exit(126);
    setpgid(0, 0); /* a Ctrl-C is ours: everything is stopped in order */
    signal(SIGINT, SIG_DFL);
    signal(SIGTERM, SIG_DFL);
    execv(argv[0], argv);
    _exit(127);
}

static int run(char *const argv[], const char *log, struct ll_err *err)
{
    int status = 0;
    pid_t pid = start(argv, log, err);
    if (pid == 0)
        return -1;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        continue;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static enum ll_status find_programs(struct bench *bench, struct ll_err *err)
{
    ssize_t size = readlink("/proc/self/exe", bench->programs, sizeof(bench->programs) - 1);
    if (size <= 0)
        return ll_fail(err, LL_FATAL, "cannot tell where lens lies: %s", strerror(errno));
    bench->programs[size] = '\0';
    *strrchr(bench->programs, '/') = '\0';
    return LL_OK;
}

static enum ll_status up(struct bench *bench, bool processes, struct ll_err *err)
{
    char lens[PATH_SIZE], log[PATH_SIZE];
    path_of(lens, "%s/lens", bench->programs);
    path_of(log, "%s.log", bench->home);
    char *argv[] = { lens, "up", "--bench", processes ? NULL : "--no-processes", NULL };
    int code = run(argv, log, err);
    if (code != 0) {
        char words[160];
        file_last_line(log, words, sizeof(words));
        return ll_fail(err, LL_FATAL, "`lens up` in %s ended with %d: %s", bench->home, code, words);
    }
    unlink(log);
    return LL_OK;
}

enum ll_status bench_processes_up(struct bench *bench, struct ll_err *err)
{
    return up(bench, true, err);
}

enum ll_status bench_home_open(struct bench *bench, bool processes, struct ll_err *err)
{
    /* The bench's sales name products and stores that nobody has sent. */
    static const char source[] = "sources = ( { name = \"bench\"; references = \"ignored\"; } );\n";
    /* Its customers have no address, and a letter a sale, held back, is not what is measured. */
    static const char settings[] = "notify: { delivery = \"off\"; };\n";
    const char *tmp = getenv("TMPDIR");
    char path[PATH_SIZE];
    enum ll_status status = find_programs(bench, err);
    if (status != LL_OK)
        return status;
    path_of(bench->home, "%s/lens-bench-XXXXXX", tmp == NULL || tmp[0] != '/' ? "/tmp" : tmp);
    if (mkdtemp(bench->home) == NULL)
        return ll_fail(err, LL_FATAL, "cannot make %s: %s", bench->home, strerror(errno));
    lens_say(bench->lens, "starting a stack of its own in %s", bench->home);
    setenv("LENS_HOME", bench->home, 1);
    bench->is_up = true;
    status = file_write(path_of(path, "%s/lens.conf", bench->home), settings, 0644, NULL, err);
    if (status == LL_OK)
        status = up(bench, false, err);
    if (status == LL_OK)
        status = config_load(NULL, &bench->lens->config, err);
    if (status == LL_OK)
        status = config_as(&bench->lens->config, "admin", err);
    if (status == LL_OK)
        status = stack_open(&bench->lens->config, &bench->stack, err);
    if (status == LL_OK)
        status = rules_ensure_default(&bench->lens->config, err);
    if (status == LL_OK)
        status = file_write(path_of(path, "%s/validation.conf", bench->home), source, 0644, NULL, err);
    return status == LL_OK && processes ? up(bench, true, err) : status;
}

void bench_home_close(struct bench *bench)
{
    if (!bench->is_up)
        return;
    char lens[PATH_SIZE], log[PATH_SIZE];
    struct ll_err err;
    path_of(lens, "%s/lens", bench->programs);
    path_of(log, "%s.log", bench->home);
    char *down[] = { lens, "down", bench->keep ? NULL : "--purge", NULL };
    int code = run(down, log, &err);
    if (code != 0)
        lens_say(bench->lens,
                 "`lens down` ended with %d: LENS_HOME=%s lens down --purge; its words are in %s", code,
                 bench->home, log);
    else {
        unlink(log);
        if (!bench->keep)
            rmdir(bench->home); /* where --purge leaves the directory itself */
    }
    if (bench->keep)
        lens_say(bench->lens, "kept: %s (stopped)", bench->home);
    bench->is_up = false;
}

pid_t bench_spawn(struct bench *bench, const char *name, struct ll_err *err)
{
    char program[PATH_SIZE], log[PATH_SIZE], instance[64];
    path_of(program, "%s/lens-%s", bench->programs, name);
    path_of(log, "%s/log/bench-%s.log", bench->home, name);
    snprintf(instance, sizeof(instance), "%s-1", name);
    if (access(program, X_OK) != 0) {
        ll_fail(err, LL_FATAL, "%s is not built; next: cmake --build build", program);
        return 0;
    }
    char *argv[] = { program, "--instance", instance, NULL };
    return start(argv, log, err);
}

pid_t bench_spawn_load(struct bench *bench, int64_t events, bool valid, struct ll_err *err)
{
    char program[PATH_SIZE], log[PATH_SIZE], count[32], rate[32], customers[32], seed[32];
    path_of(program, "%s/lens", bench->programs);
    path_of(log, "%s/log/bench-load.log", bench->home);
    snprintf(count, sizeof(count), "%lld", (long long)events);
    snprintf(rate, sizeof(rate), "%lld", (long long)bench->rate_per_s);
    snprintf(customers, sizeof(customers), "%lld", (long long)bench->customers);
    snprintf(seed, sizeof(seed), "%llu", (unsigned long long)bench->seed++);
    char *argv[] = { program, "bench",       "load",    "--events", count, "--rate",
                     rate,    "--customers", customers, "--seed",   seed,  valid ? "--valid" : NULL,
                     NULL };
    return start(argv, log, err);
}

bool bench_ended(pid_t pid, int *ret_code)
{
    int status = 0;
    if (pid == 0 || waitpid(pid, &status, WNOHANG) != pid)
        return false;
    *ret_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    return true;
}

void bench_stop(pid_t pid)
{
    int code = 0;
    if (pid == 0)
        return;
    kill(pid, SIGTERM);
    for (int waited_ms = 0; waited_ms < STOP_MS; waited_ms += STOP_POLL_MS) {
        if (bench_ended(pid, &code))
            return;
        machine_pause_ms(STOP_POLL_MS);
    }
    kill(pid, SIGKILL);
    waitpid(pid, &code, 0);
}

void bench_last_words(const struct bench *bench, const char *name, char *to, size_t size)
{
    char log[PATH_SIZE];
    file_last_line(path_of(log, "%s/log/bench-%s.log", bench->home, name), to, size);
}

pid_t bench_service_pid(const struct bench *bench, enum stack_service service)
{
    char dir[PATH_SIZE];
    struct service_state state;
    service_read(stack_service_dir(&bench->stack, service, dir), &state);
    return state.step == SERVICE_RUNNING ? state.pid : 0;
}
