#include "runtime/process.h"

#include "runtime/clock.h"
#include "runtime/log.h"
#include "runtime/metrics.h"
#include "runtime/metrics_server.h"
#include "runtime/topics.h"

#include <assert.h>
#include <errno.h>
#include <getopt.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

enum { INSTANCE_SIZE = 64, WAITS_SIZE = 320, EXIT_USAGE = 2, INSIDE_MS = 2000 };

struct process {
    struct config config;
    char name[32];
    char instance[INSTANCE_SIZE];
    char port_file[CONFIG_TEXT_SIZE + 80]; /* "": not written */
    struct metrics *metrics;
    struct metrics_server *server;
    struct metric *ready_metric;
    int64_t started_ms;
    pthread_mutex_t lock; /* of what follows: the server's thread reads it */
    bool is_ready;
    char waits_for[WAITS_SIZE]; /* "": nothing */
};

/* The call that the program's one loop is in. Like the stop flag it is the program's, since those who are inside know of no
 * process; the server's thread reads it. */
static struct {
    pthread_mutex_t lock;
    char what[WAITS_SIZE]; /* "": none */
    int64_t since_ms;
} inside = { .lock = PTHREAD_MUTEX_INITIALIZER };

static volatile sig_atomic_t stop_flag;

static void on_stop(int number)
{
    (void)number;
    stop_flag = 1;
}

bool process_stopping(void)
{
    return stop_flag != 0;
}

void process_pause(int ms)
{
    enum { SLICE_MS = 20 }; /* a signal between the test and the sleep is seen after one slice */
    for (int left_ms = ms; left_ms > 0 && !process_stopping(); left_ms -= SLICE_MS)
        nanosleep(&(struct timespec){ .tv_nsec = SLICE_MS * 1000000L }, NULL);
}

void process_take_signals(void)
{
    struct sigaction stop = {.sa_handler = on_stop}; /* no SA_RESTART: a blocked call ends */
    sigemptyset(&stop.sa_mask);
    sigaction(SIGTERM, &stop, NULL);
    sigaction(SIGINT, &stop, NULL);
    struct sigaction ignore = {.sa_handler = SIG_IGN}; /* hiredis writes to sockets that may be gone */
    sigemptyset(&ignore.sa_mask);
    sigaction(SIGPIPE, &ignore, NULL);
}

/* Records are allocated by the client's thread and freed by ours. In an arena of its own, that thread would grow its heap by one
 * mprotect a few pages: a third of a catching-up consumer's CPU. One arena grows in large steps. What the client fetches, and what
 * a commit sends, is kept too: from the kernel each of its pages would come anew, cleared (any of these settings ends glibc's own
 * raising of the threshold). */
static void tune_malloc(void)
{
    enum { GROW_SIZE = 8 << 20, KEEP_SIZE = 64 << 20, MAP_SIZE = 32 << 20 /* the largest that glibc takes */ };
    mallopt(M_ARENA_MAX, 1);
    mallopt(M_TOP_PAD, GROW_SIZE);
    mallopt(M_TRIM_THRESHOLD, KEEP_SIZE);
    mallopt(M_MMAP_THRESHOLD, MAP_SIZE);
}

static void write_usage(const char *name, FILE *to)
{
    fprintf(to,
            "usage: lens-%s [--config FILE] [--instance NAME] [--check]\n"
            "  --config FILE    settings; else LENS_CONFIG, LENS_HOME/lens.conf, deploy/lens.conf\n"
            "  --instance NAME  tells processes of one kind apart (default %s-1)\n"
            "  --check          looks at the configuration, connects to nothing, and leaves\n"
            "  --version        prints the version\n"
            "environment: LENS_HOME, LENS_CONFIG, LENS_SHARE, LENS_LOG=debug|info|warn|error\n"
            "exit: 0 stopped as asked, 1 failed, 2 usage or configuration\n",
            name, name);
}

struct options {
    const char *config, *instance;
    bool is_check;
};

/* False: there is nothing more to do, and *ret_exit says with what. */
static bool read_options(int argc, char **argv, const char *name, struct options *ret, int *ret_exit)
{
    static const struct option known[] = {
        {"config", required_argument, NULL, 'c'}, {"instance", required_argument, NULL, 'i'},
        {"check", no_argument, NULL, 'k'},        {"help", no_argument, NULL, 'h'},
        {"version", no_argument, NULL, 'v'},      {NULL, 0, NULL, 0},
    };
    *ret_exit = EXIT_USAGE;
    optind = 1;
    for (int option; (option = getopt_long(argc, argv, "c:i:h", known, NULL)) != -1;) {
        switch (option) {
        case 'c':
            ret->config = optarg;
            break;
        case 'i':
            ret->instance = optarg;
            break;
        case 'k':
            ret->is_check = true;
            break;
        case 'h':
            write_usage(name, stdout);
            *ret_exit = 0;
            return false;
        case 'v':
            printf("lens-%s %s\n", name, LENS_VERSION);
            *ret_exit = 0;
            return false;
        default:
            write_usage(name, stderr);
            return false;
        }
    }
    if (optind != argc) {
        fprintf(stderr, "lens-%s: %s: there are no arguments, only options\n", name, argv[optind]);
        write_usage(name, stderr);
        return false;
    }
    size_t size = ret->instance == NULL ? 1 : strlen(ret->instance);
    if (ret->instance != NULL &&
        (size == 0 || size >= INSTANCE_SIZE || ret->instance[0] == '.' ||
         strspn(ret->instance, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") !=
             size)) {
        fprintf(stderr,
                "lens-%s: --instance must have 1 to %d characters of a-z A-Z 0-9 . _ - and begin with "
                "another than .\n",
                name, INSTANCE_SIZE - 1);
        return false;
    }
    return true;
}

static enum ll_status check_offline(const struct config *config, struct ll_err *err)
{
    char path[2 * CONFIG_TEXT_SIZE], secret[512];
    struct topics *topics = malloc(sizeof *topics);
    if (topics == NULL)
        abort();
    enum ll_status status =
        topics_load(config_share_path(config, "topics.conf", path, sizeof path), topics, err);
    free(topics);
    const char *const secrets[] = {config->kafka.sasl_password_file, config->redis.password_file,
                                   config->postgres.password_file};
    for (size_t at = 0; at < sizeof secrets / sizeof secrets[0] && status == LL_OK; at++)
        status = config_secret(secrets[at], secret, sizeof secret, err);
    explicit_bzero(secret, sizeof secret);
    const char *const files[] = {config->kafka.ssl_ca_file, config->kafka.ssl_certificate_file,
                                 config->kafka.ssl_key_file, config->postgres.sslrootcert_file};
    for (size_t at = 0; at < sizeof files / sizeof files[0] && status == LL_OK; at++)
        if (files[at][0] != '\0' && access(files[at], R_OK) != 0)
            status = ll_fail(err, LL_FATAL, "%s: %s", files[at], strerror(errno));
    return status;
}

static void write_machine(const struct process *process, FILE *to)
{
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    double cpu_s = (double)used.ru_utime.tv_sec + (double)used.ru_stime.tv_sec +
                   ((double)used.ru_utime.tv_usec + (double)used.ru_stime.tv_usec) / 1e6;
    long pages = 0;
    FILE *statm = fopen("/proc/self/statm", "re");
    if (statm != NULL) {
        if (fscanf(statm, "%*s %ld", &pages) != 1)
            pages = 0;
        fclose(statm);
    }
    fprintf(
        to,
        "# HELP lens_build_info What runs here.\n# TYPE lens_build_info gauge\n"
        "lens_build_info{process=\"%s\",instance=\"%s\",version=\"%s\"} 1\n"
        "# HELP process_start_time_seconds When it started, since 1970 UTC.\n"
        "# TYPE process_start_time_seconds gauge\nprocess_start_time_seconds %.3f\n"
        "# HELP process_resident_memory_bytes Resident memory.\n# TYPE process_resident_memory_bytes gauge\n"
        "process_resident_memory_bytes %lld\n"
        "# HELP process_cpu_seconds_total CPU used, user and system.\n# TYPE process_cpu_seconds_total "
        "counter\n"
        "process_cpu_seconds_total %.3f\n",
        process->name, process->instance, LENS_VERSION, (double)process->started_ms / 1000.0,
        (long long)pages * sysconf(_SC_PAGESIZE), cpu_s);
}

static int64_t steady_ms(void)
{
    struct clock_source clock = clock_real();
    return clock.steady_ms(clock.self);
}

void process_inside(const char *what)
{
    pthread_mutex_lock(&inside.lock);
    snprintf(inside.what, sizeof inside.what, "%s", what == NULL ? "" : what);
    inside.since_ms = what == NULL ? 0 : steady_ms();
    pthread_mutex_unlock(&inside.lock);
}

/* True: the loop is in one call for so long that nothing else can be told. */
static bool answer_inside(FILE *to)
{
    pthread_mutex_lock(&inside.lock);
    bool is_long = inside.what[0] != '\0' && steady_ms() - inside.since_ms > INSIDE_MS;
    if (is_long)
        fprintf(to, "waits for %s\n", inside.what);
    pthread_mutex_unlock(&inside.lock);
    return is_long;
}

static unsigned answer_ready(struct process *process, FILE *to)
{
    if (answer_inside(to))
        return 503;
    pthread_mutex_lock(&process->lock);
    bool is_ready = process->is_ready && process->waits_for[0] == '\0';
    if (is_ready)
        fputs("ready\n", to);
    else if (process->waits_for[0] != '\0')
        fprintf(to, "waits for %s\n", process->waits_for);
    else
        fputs("starting\n", to);
    pthread_mutex_unlock(&process->lock);
    return is_ready ? 200 : 503;
}

static unsigned answer(void *self, const char *path, FILE *to)
{
    struct process *process = self;
    if (strcmp(path, "/metrics") == 0) {
        write_machine(process, to);
        metrics_write(process->metrics, to);
        return 200;
    }
    if (strcmp(path, "/readyz") == 0)
        return answer_ready(process, to);
    if (strcmp(path, "/livez") == 0) {
        fputs("alive\n", to);
        return 200;
    }
    fputs("there are /metrics, /livez, /readyz\n", to);
    return 404;
}

static int32_t metrics_port(const struct process *process)
{
    if (strcmp(process->name, "validate") == 0)
        return process->config.validate.metrics_port;
    if (strcmp(process->name, "accrue") == 0)
        return process->config.accrue.metrics_port;
    if (strcmp(process->name, "relay") == 0)
        return process->config.relay.metrics_port;
    if (strcmp(process->name, "segment") == 0)
        return process->config.segment.metrics_port;
    if (strcmp(process->name, "notify") == 0)
        return process->config.notify.metrics_port;
    return 0;
}

static enum ll_status make_folder(const char *path, struct ll_err *err)
{
    if (mkdir(path, 0755) == 0 || errno == EEXIST)
        return LL_OK;
    return ll_fail(err, LL_FATAL, "%s: %s; LENS_HOME must name a folder that can be written", path,
                   strerror(errno));
}

/* Whole or not at all: whoever reads the port never reads half of it. */
static enum ll_status write_port(struct process *process, struct ll_err *err)
{
    char run[CONFIG_TEXT_SIZE + 8], fresh[sizeof process->port_file + 8];
    config_home_path(&process->config, "run", run, sizeof run);
    enum ll_status status = make_folder(process->config.home, err);
    if (status == LL_OK)
        status = make_folder(run, err);
    if (status != LL_OK)
        return status;
    char path[sizeof process->port_file];
    snprintf(path, sizeof path, "%s/%s.port", run, process->instance);
    snprintf(fresh, sizeof fresh, "%s.new", path);
    FILE *to = fopen(fresh, "we");
    bool is_written = to != NULL && fprintf(to, "%u\n", (unsigned)metrics_server_port(process->server)) > 0;
    if (to != NULL && fclose(to) != 0)
        is_written = false;
    if (!is_written || rename(fresh, path) != 0)
        return ll_fail(err, LL_FATAL, "%s: %s", path, strerror(errno));
    memcpy(process->port_file, path, sizeof path);
    return LL_OK;
}

static enum ll_status start_server(struct process *process, struct ll_err *err)
{
    enum ll_status status =
        metrics_server_start((uint16_t)metrics_port(process), answer, process, &process->server, err);
    return status == LL_OK ? write_port(process, err) : status;
}

struct process *process_open_checked(int argc, char **argv, const char *name, process_check *check,
                                     int *ret_exit)
{
    struct options options = {NULL, NULL, false};
    if (!read_options(argc, argv, name, &options, ret_exit))
        return NULL;
    tune_malloc(); /* before the first thread */
    struct process *process = calloc(1, sizeof *process);
    if (process == NULL)
        abort();
    struct clock_source clock = clock_real();
    process->started_ms = clock.wall_ms(clock.self);
    snprintf(process->name, sizeof process->name, "%s", name);
    snprintf(process->instance, sizeof process->instance, "%s%s",
             options.instance != NULL ? options.instance : name, options.instance != NULL ? "" : "-1");
    pthread_mutex_init(&process->lock, NULL);
    process->metrics = metrics_new();
    process->ready_metric =
        metric_gauge(process, "lens_ready", NULL, "1: does its work; 0: starts, or waits for something.");
    log_init(process->name);
    struct ll_err err = {""};
    *ret_exit = EXIT_USAGE;
    enum ll_status status = config_load(options.config, &process->config, &err);
    if (status == LL_OK)
        status = config_as(&process->config, name, &err);
    if (status == LL_OK)
        status = check_offline(&process->config, &err);
    if (status == LL_OK && check != NULL)
        status = check(&process->config, &err);
    if (status == LL_OK && options.is_check) {
        printf("configuration ok: %s\n", process->config.file);
        *ret_exit = 0;
    }
    if (status == LL_OK && !options.is_check) {
        process_take_signals();
        *ret_exit = 1;
        status = start_server(process, &err);
    }
    if (status != LL_OK)
        fprintf(stderr, "lens-%s: %s\n", name, err.text);
    if (status != LL_OK || options.is_check) {
        process_close(process);
        return NULL;
    }
    *ret_exit = 0;
    log_line(LOG_INFO, "start", "instance=%s version=%s pid=%d metrics_port=%u config=%s", process->instance,
             LENS_VERSION, (int)getpid(), (unsigned)metrics_server_port(process->server),
             log_quote_c(process->config.file));
    return process;
}

struct process *process_open(int argc, char **argv, const char *name, int *ret_exit)
{
    return process_open_checked(argc, argv, name, NULL, ret_exit);
}

void process_close(struct process *process)
{
    if (process == NULL)
        return;
    bool was_running = process->server != NULL;
    metrics_server_stop(process->server);
    if (process->port_file[0] != '\0')
        unlink(process->port_file);
    if (was_running)
        log_line(LOG_INFO, "stop", "instance=%s asked=%s", process->instance,
                 process_stopping() ? "yes" : "no");
    metrics_free(process->metrics);
    pthread_mutex_destroy(&process->lock);
    free(process);
}

const struct config *process_config(const struct process *process)
{
    return &process->config;
}

const char *process_instance(const struct process *process)
{
    return process->instance;
}

static void show_ready(struct process *process)
{
    metric_set(process->ready_metric, process->is_ready && process->waits_for[0] == '\0' ? 1 : 0);
}

void process_ready(struct process *process, bool ready)
{
    pthread_mutex_lock(&process->lock);
    bool is_news = process->is_ready != ready;
    process->is_ready = ready;
    show_ready(process);
    pthread_mutex_unlock(&process->lock);
    struct clock_source clock = clock_real();
    if (is_news)
        log_line(LOG_INFO, "ready", "ready=%s since_start_ms=%lld", ready ? "yes" : "no",
                 (long long)(clock.wall_ms(clock.self) - process->started_ms));
}

void process_waits_for(struct process *process, const char *what)
{
    what = what == NULL ? "" : what;
    pthread_mutex_lock(&process->lock);
    /* The change is news, not that it still waits, nor what the words of the third try are. */
    bool is_news = (process->waits_for[0] == '\0') != (what[0] == '\0');
    snprintf(process->waits_for, sizeof process->waits_for, "%s", what);
    show_ready(process);
    pthread_mutex_unlock(&process->lock);
    if (is_news && what[0] != '\0')
        log_line(LOG_WARN, "wait", "for=%s", log_quote_c(what));
    else if (is_news)
        log_line(LOG_INFO, "wait_over", "%s", "result=ok");
}

struct metric *metric_counter(struct process *process, const char *name, const char *labels, const char *help)
{
    return process == NULL ? NULL
                           : metrics_series(process->metrics, METRIC_COUNTER, name, labels, help, NULL, 0);
}

struct metric *metric_gauge(struct process *process, const char *name, const char *labels, const char *help)
{
    return process == NULL ? NULL
                           : metrics_series(process->metrics, METRIC_GAUGE, name, labels, help, NULL, 0);
}

struct metric *metric_histogram(struct process *process, const char *name, const char *labels,
                                const char *help, const double *bounds, int bound_count)
{
    return process == NULL
               ? NULL
               : metrics_series(process->metrics, METRIC_HISTOGRAM, name, labels, help, bounds, bound_count);
}
