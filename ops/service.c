#include "ops/service.h"

#include "ops/files.h"
#include "ops/machine.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* supervise/status: TAI64N time (12 bytes), pid (4, little endian), paused, wanted 'u' or 'd', got TERM,
 * state. */
enum { STATUS_SIZE = 20, STATUS_PID = 12, STATUS_WANT = 17, STATUS_STATE = 19 };
static const uint64_t TAI_OF_UNIX_EPOCH = UINT64_C(4611686018427387914);

static bool has_runsv(const char *dir)
{
    char path[PATH_SIZE];
    int fd = open(path_of(path, "%s/supervise/ok", dir), O_WRONLY | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return false;
    close(fd);
    return true;
}

void service_read(const char *dir, struct service_state *ret)
{
    char path[PATH_SIZE], bytes[STATUS_SIZE + 1];
    *ret = (struct service_state){ .step = SERVICE_ABSENT };
    ret->restarts = file_number(path_of(path, "%s/restarts", dir), 0);
    if (!has_runsv(dir) ||
        file_read(path_of(path, "%s/supervise/status", dir), bytes, sizeof bytes) < STATUS_SIZE)
        return;
    const unsigned char *status = (const unsigned char *)bytes;
    uint64_t tai = 0;
    for (int at = 0; at < 8; at++)
        tai = tai << 8 | status[at];
    uint32_t pid = 0;
    for (int at = 3; at >= 0; at--)
        pid = pid << 8 | status[STATUS_PID + at];
    ret->pid = (pid_t)pid;
    ret->wants_up = status[STATUS_WANT] == 'u';
    ret->since_s = (int64_t)(tai - TAI_OF_UNIX_EPOCH);
    ret->step = status[STATUS_STATE] == 1   ? SERVICE_RUNNING
                : status[STATUS_STATE] == 2 ? SERVICE_RESTARTING
                                            : SERVICE_DOWN;
}

bool service_command(const char *dir, const char *letters)
{
    char path[PATH_SIZE];
    int fd = open(path_of(path, "%s/supervise/control", dir), O_WRONLY | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return false;
    bool sent = write(fd, letters, strlen(letters)) == (ssize_t)strlen(letters);
    close(fd);
    return sent;
}

void service_ask_down(const char *dir)
{
    struct service_state state;
    service_command(dir, "d");
    service_read(dir, &state);
    /* runsv waits for the finish script, which may sleep for 30 s. */
    if (state.step == SERVICE_RESTARTING && state.pid > 0)
        kill(state.pid, SIGTERM);
}

const char *service_step_name(enum service_step step)
{
    switch (step) {
    case SERVICE_ABSENT:
        return "absent";
    case SERVICE_DOWN:
        return "down";
    case SERVICE_RUNNING:
        return "running";
    case SERVICE_RESTARTING:
        return "restarting";
    }
    return "unknown";
}

pid_t supervisor_pid(const char *home)
{
    char path[PATH_SIZE];
    pid_t pid = (pid_t)file_number(path_of(path, "%s/run/supervisor.pid", home), 0);
    return pid > 1 && machine_is_of_stack(pid, home) ? pid : 0;
}

static void become_supervisor(const char *home, int log)
{
    char path[PATH_SIZE];
    int null = open("/dev/null", O_RDWR);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGPIPE, SIG_DFL);
    if (setsid() < 0 || dup2(null, STDIN_FILENO) < 0 || dup2(log, STDOUT_FILENO) < 0 ||
        dup2(log, STDERR_FILENO) < 0)
        _exit(111);
    close_range(3, ~0U, 0);
    if (chdir("/") != 0 || setenv("LENS_HOME", home, 1) != 0 || setenv("LENS_STACK", home, 1) != 0)
        _exit(111);
    /* libpq's and redis-cli's own variables are about another server. */
    static const char *const foreign[] = { "LENS_CONFIG", "PGHOST",     "PGPORT", "PGUSER",    "PGDATABASE",
                                           "PGPASSWORD", "PGDATA", "PGOPTIONS", "JAVA_TOOL_OPTIONS" };
    for (size_t at = 0; at < sizeof foreign / sizeof foreign[0]; at++)
        unsetenv(foreign[at]);
    execlp("runsvdir", "runsvdir", "-P", path_of(path, "%s/service", home), (char *)NULL);
    _exit(111);
}

enum ll_status supervisor_start(const char *home, struct ll_err *err)
{
    char path[PATH_SIZE], number[32];
    int log =
        open(path_of(path, "%s/log/supervisor.log", home), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (log < 0)
        return ll_fail(err, LL_FATAL, "cannot write %s: %s", path, strerror(errno));
    /* runsvdir waits for a second when its directory has just changed. */
    struct timespec past[2] = { { .tv_nsec = UTIME_OMIT }, { .tv_sec = 1 } };
    utimensat(AT_FDCWD, path_of(path, "%s/service", home), past, 0);
    pid_t pid = fork();
    if (pid == 0)
        become_supervisor(home, log);
    close(log);
    if (pid < 0)
        return ll_fail(err, LL_FATAL, "cannot start the supervisor: %s", strerror(errno));
    snprintf(number, sizeof number, "%ld\n", (long)pid);
    return file_write(path_of(path, "%s/run/supervisor.pid", home), number, 0644, NULL, err);
}
