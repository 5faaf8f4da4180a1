/*
 * status.c - `lens status`: every service and process, since when, how much memory, how often it died, and
 * what it waits for.
 */
#include "ops/machine.h"
#include "ops/service.h"
#include "ops/stack.h"
#include "ops/verbs.h"
#include "runtime/clock.h"
#include "runtime/kafka.h"
#include "runtime/topics.h"
#include "state/postgres.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>

enum { ASK_MS = 1000, DETAIL_SIZE = 320, DISK_LOW_MIB = 512, PARTITIONS_MAX = 256 };

static const char MAKE_ROOM[] = "; make room there, it goes on by itself";

struct row {
    const char *state; /* ready | waiting | restarting | down | external | unreachable */
    bool is_private;
    struct service_state service;
    char address[PATH_SIZE], detail[DETAIL_SIZE];
    int64_t rss_kib, uptime_s, lag; /* lag -1: not known */
};

/* What each process reads. */
static const enum topic inputs[STACK_SERVICE_COUNT] = {
    [STACK_VALIDATE] = TOPIC_TRANSACTIONS,
    [STACK_ACCRUE] = TOPIC_TRANSACTIONS_VALID,
    [STACK_RELAY] = TOPIC_TRANSACTIONS_VALID,
    [STACK_SEGMENT] = TOPIC_LEDGER,
    [STACK_NOTIFY] = TOPIC_LEDGER,
};

/* The relay's input ends where accrue stands in Postgres, not where the topic does. False: Postgres cannot tell. */
static bool find_credited(const struct config *config, int64_t ends[PARTITIONS_MAX])
{
    struct config hurried = *config;
    struct postgres *postgres = NULL;
    struct postgres_rows *rows = NULL;
    char run[16];
    const char *params[] = { run };
    struct ll_err err;
    if (hurried.postgres.timeout_ms > ASK_MS)
        hurried.postgres.timeout_ms = ASK_MS;
    snprintf(run, sizeof run, "%d", config->program.run);
    bool is_told = postgres_open(&hurried, "lens", &postgres, &err) == LL_OK &&
                   postgres_query(postgres,
                                  "select partition as source_partition, next_offset from loyalty.partitions"
                                  " where run_id = $1::int", params, 1, &rows, &err) == LL_OK;
    for (size_t at = 0; is_told && at < postgres_rows_count(rows); at++) {
        int64_t partition = postgres_rows_int(rows, at, "source_partition");
        if (partition >= 0 && partition < PARTITIONS_MAX)
            ends[partition] = postgres_rows_int(rows, at, "next_offset");
    }
    postgres_rows_free(rows);
    postgres_close(postgres);
    return is_told;
}

/* Records between where the group stands and the ends of its partitions; -1: the broker cannot tell. */
static int64_t group_lag(struct kafka_admin *admin, const struct config *config, enum stack_service service)
{
    char group[128];
    int64_t next[PARTITIONS_MAX], ends[PARTITIONS_MAX] = { 0 }, lag = 0;
    bool is_relay = service == STACK_RELAY;
    int32_t count = 0;
    struct ll_err err;
    snprintf(group, sizeof group, "%s%s", config->kafka.group_prefix, stack_name(service));
    if (kafka_admin_partitions(admin, inputs[service], &count, ASK_MS, &err) != LL_OK || count <= 0 ||
        count > PARTITIONS_MAX ||
        kafka_admin_group_offsets(admin, group, inputs[service], next, (size_t)count, ASK_MS, &err) != LL_OK ||
        (is_relay && !find_credited(config, ends)))
        return -1;
    for (int32_t at = 0; at < count; at++) {
        int64_t low, high;
        if (kafka_admin_watermarks(admin, inputs[service], at, &low, &high, ASK_MS, &err) != LL_OK)
            return -1;
        if (is_relay)
            high = ends[at];
        int64_t from = next[at] < low ? low : next[at];
        lag += high > from ? high - from : 0;
    }
    return lag;
}

static void describe(const struct stack *stack, enum stack_service service, struct row *row)
{
    char path[PATH_SIZE];
    struct ll_err err = { "" };
    struct clock_source clock = clock_real();
    *row = (struct row){ .is_private = stack->is_private[service], .lag = -1 };
    stack_address(stack, service, row->address, sizeof row->address);
    if (row->is_private)
        service_read(stack_service_dir(stack, service, path), &row->service);
    bool runs = row->is_private && row->service.step == SERVICE_RUNNING;
    if (runs) {
        row->rss_kib = machine_rss_kib(row->service.pid);
        row->uptime_s = clock.wall_ms(clock.self) / 1000 - row->service.since_s;
    }
    if (runs || !row->is_private) {
        enum ll_status status = stack_ask(stack, service, ASK_MS, &err);
        row->state = status == LL_OK ? (runs ? "ready" : "external") : (runs ? "waiting" : "unreachable");
        snprintf(row->detail, sizeof row->detail, "%s", status == LL_OK ? "" : err.text);
        return;
    }
    row->state = row->service.step == SERVICE_RESTARTING ? "restarting" : "down";
    if (row->service.step == SERVICE_RESTARTING ||
        (row->service.step == SERVICE_DOWN && row->service.wants_up)) {
        row->state = "restarting";
        file_last_fault(stack_log(stack, service, path), row->detail, sizeof row->detail - sizeof MAKE_ROOM);
        size_t used = strlen(row->detail);
        if (strstr(row->detail, strerror(ENOSPC)) != NULL)
            snprintf(row->detail + used, sizeof row->detail - used, "%s", MAKE_ROOM);
    }
}

static json_t *to_json(const struct row *row)
{
    json_t *object = json_pack("{s:s, s:b, s:s, s:s}", "state", row->state, "private", row->is_private,
                               "address", row->address, "waits_for", row->detail);
    if (!row->is_private)
        return object;
    json_object_set_new(object, "pid",
                        row->service.step == SERVICE_RUNNING ? json_integer(row->service.pid) : json_null());
    json_object_set_new(object, "uptime_s", json_integer(row->uptime_s));
    json_object_set_new(object, "rss_mb", json_real((double)row->rss_kib / 1024));
    json_object_set_new(object, "restarts", json_integer(row->service.restarts));
    if (row->lag >= 0)
        json_object_set_new(object, "lag", json_integer(row->lag));
    return object;
}

static const char *duration(int64_t seconds, char to[32])
{
    if (seconds < 120)
        snprintf(to, 32, "%llds", (long long)seconds);
    else if (seconds < 7200)
        snprintf(to, 32, "%lldm", (long long)(seconds / 60));
    else
        snprintf(to, 32, "%lldh", (long long)(seconds / 3600));
    return to;
}

static void print_row(const char *name, const struct row *row)
{
    char up[32], pid[16] = "-", lag[24] = "-";
    if (row->service.step == SERVICE_RUNNING)
        snprintf(pid, sizeof pid, "%ld", (long)row->service.pid);
    if (row->lag >= 0)
        snprintf(lag, sizeof lag, "%s", lens_number(row->lag));
    printf("%-9s %-11s %8s %6s %7.1f %8ld %10s  %s\n", name, row->state, pid,
           row->uptime_s > 0 ? duration(row->uptime_s, up) : "-", (double)row->rss_kib / 1024,
           row->service.restarts, lag, row->address);
    if (row->detail[0] != '\0')
        printf("          %s %s\n", strcmp(row->state, "waiting") == 0 ? "waits for:" : "says:", row->detail);
}

static void collect_lags(const struct stack *stack, struct row rows[STACK_SERVICE_COUNT])
{
    struct kafka_admin *admin = NULL;
    struct ll_err err;
    bool answers =
        strcmp(rows[STACK_KAFKA].state, "ready") == 0 || strcmp(rows[STACK_KAFKA].state, "external") == 0;
    if (!answers || kafka_admin_open(stack->config, &admin, &err) != LL_OK)
        return;
    for (int at = STACK_PROCESS_FIRST; at < STACK_SERVICE_COUNT; at++)
        rows[at].lag = group_lag(admin, stack->config, (enum stack_service)at);
    kafka_admin_close(admin);
}

static bool is_good(const struct row *row)
{
    return strcmp(row->state, "ready") == 0 || strcmp(row->state, "external") == 0;
}

int verb_status(struct lens *lens, int argc, char **argv)
{
    static struct row rows[STACK_SERVICE_COUNT];
    struct stack stack;
    struct ll_err err;
    (void)argv;
    if (argc > 1)
        return lens_usage(lens, "\"%s\" is too much", argv[1]);
    enum ll_status status = stack_open(&lens->config, &stack, &err);
    if (status != LL_OK)
        return lens_end(lens, status, &err);
    bool good = true;
    for (int at = 0; at < STACK_SERVICE_COUNT; at++) {
        describe(&stack, (enum stack_service)at, &rows[at]);
        good = good && is_good(&rows[at]);
    }
    collect_lags(&stack, rows);
    int64_t free_mib = machine_disk_free_mib(lens->config.home);
    bool supervised = supervisor_pid(lens->config.home) > 0;
    if (lens->json) {
        json_t *services = json_object();
        for (int at = 0; at < STACK_SERVICE_COUNT; at++)
            json_object_set_new(services, stack_name((enum stack_service)at), to_json(&rows[at]));
        int code = lens_print_json(lens, json_pack("{s:s, s:b, s:b, s:I, s:o}", "home", lens->config.home,
                                                   "ready", good, "supervised", supervised, "disk_free_mb",
                                                   (json_int_t)free_mib, "services", services));
        return code != LENS_DONE ? code : good ? LENS_DONE : LENS_UNREACHABLE;
    }
    printf("%-9s %-11s %8s %6s %7s %8s %10s  %s\n", "service", "state", "pid", "up", "MB", "restarts", "lag",
           "address");
    for (int at = 0; at < STACK_SERVICE_COUNT; at++)
        print_row(stack_name((enum stack_service)at), &rows[at]);
    if (free_mib >= 0 && free_mib < DISK_LOW_MIB)
        lens_say(lens, "only %lld MB free for %s; make room: services stop where the disk is full",
                 (long long)free_mib, lens->config.home);
    if (!good)
        lens_say(lens, supervised ? "not everything is ready; next: lens doctor"
                                  : "the private stack does not run; next: lens up");
    return good ? LENS_DONE : LENS_UNREACHABLE;
}
