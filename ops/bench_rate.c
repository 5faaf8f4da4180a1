#include "ops/bench.h"

#include "ops/machine.h"
#include "ops/table.h"
#include "runtime/clock.h"
#include "runtime/process.h"
#include "runtime/topics.h"
#include "state/postgres.h"
#include "state/redis.h"

#include <stdio.h>
#include <unistd.h>

enum { ASK_MS = 50, STALL_MS = 60000, OWN_MAX = 2, PARTS_MAX = OWN_MAX + 3 };

/* One line of the result: a process, its CPU and its memory. */
struct share {
    const char *name;
    pid_t pid;
    bool children;
    bool own; /* started here, and stopped here */
    int64_t before_us, cpu_us, rss_kib;
};

struct rate {
    struct bench *bench;
    const char *name;
    int64_t floor_per_s; /* issue part 11 */
    const char *own[OWN_MAX];
    size_t own_count;
    struct share shares[PARTS_MAX];
    size_t share_count;
    struct bench_truth truth;
    struct postgres *postgres;
    int64_t ms;
    int64_t ledger_rows, ledger_points, account_points, redis_points;
};

static int64_t steady_ms(void)
{
    struct clock_source clock = clock_real();
    return clock.steady_ms(clock.self);
}

static enum ll_status one_int(struct rate *rate, const char *sql, int64_t *ret, struct ll_err *err)
{
    struct postgres_rows *rows = NULL;
    enum ll_status status = postgres_query(rate->postgres, sql, NULL, 0, &rows, err);
    if (status == LL_OK)
        *ret = postgres_rows_int(rows, 0, "value");
    if (rows != NULL)
        postgres_rows_free(rows);
    return status;
}

static void add_share(struct rate *rate, const char *name, pid_t pid, bool children, bool own)
{
    struct share *share = &rate->shares[rate->share_count++];
    *share = (struct share){ .name = name, .pid = pid, .children = children, .own = own };
    share->before_us = own ? 0 : bench_cpu_us(pid, children);
}

static enum ll_status start_own(struct rate *rate, struct ll_err *err)
{
    struct bench *bench = rate->bench;
    add_share(rate, "kafka", bench_service_pid(bench, STACK_KAFKA), false, false);
    add_share(rate, "redis", bench_service_pid(bench, STACK_REDIS), false, false);
    add_share(rate, "postgres", bench_service_pid(bench, STACK_POSTGRES), true, false);
    for (size_t i = 0; i < rate->own_count; i++) {
        pid_t pid = bench_spawn(bench, rate->own[i], err);
        if (pid == 0)
            return LL_FATAL;
        add_share(rate, rate->own[i], pid, false, true);
    }
    return LL_OK;
}

static enum ll_status died(struct rate *rate, struct ll_err *err)
{
    for (size_t i = 0; i < rate->share_count; i++) {
        int code = 0;
        char words[160];
        struct share *share = &rate->shares[i];
        if (!share->own || !bench_ended(share->pid, &code))
            continue;
        share->pid = 0;
        bench_last_words(rate->bench, share->name, words, sizeof(words));
        return ll_fail(err, LL_FATAL, "lens-%s ended with %d: %s", share->name, code, words);
    }
    return LL_OK;
}

/* Until every event has its row, and Redis stands where the ledger does. */
static enum ll_status wait_credited(struct rate *rate, struct ll_err *err)
{
    int64_t begun_ms = steady_ms(), moved_ms = begun_ms, credited = 0, before = -1;
    while (credited < rate->truth.events) {
        machine_pause_ms(ASK_MS);
        enum ll_status status = one_int(
            rate, "select coalesce(sum(credited), 0)::int8 as value from loyalty.partitions", &credited, err);
        if (status == LL_OK)
            status = died(rate, err);
        if (status != LL_OK)
            return status;
        if (process_stopping())
            return ll_fail(err, LL_FATAL, "interrupted");
        int64_t now_ms = steady_ms();
        if (credited > before)
            moved_ms = now_ms;
        before = credited;
        if (now_ms - moved_ms > STALL_MS)
            return ll_fail(
                err, LL_FATAL,
                "%lld of %lld events are credited, and for %d s no other was; logs are in %s/log (--keep)",
                (long long)credited, (long long)rate->truth.events, STALL_MS / 1000, rate->bench->home);
        lens_progress(rate->bench->lens, "%s of %s events credited, %.1f s", lens_number(credited),
                      lens_number(rate->truth.events), (double)(now_ms - begun_ms) / 1000);
    }
    rate->ms = steady_ms() - begun_ms;
    return LL_OK;
}

static void add_balance(void *arg, struct text customer_id, int64_t points)
{
    (void)customer_id;
    *(int64_t *)arg += points;
}

static enum ll_status check_sums(struct rate *rate, struct ll_err *err)
{
    const struct config *config = &rate->bench->lens->config;
    struct redis *redis = NULL;
    struct topics topics;
    char path[PATH_SIZE];
    enum ll_status status =
        topics_load(config_share_path(config, "topics.conf", path, sizeof(path)), &topics, err);
    if (status == LL_OK)
        status = one_int(rate, "select count(*) as value from loyalty.postings", &rate->ledger_rows, err);
    if (status == LL_OK)
        status = one_int(rate, "select coalesce(sum(points), 0)::int8 as value from loyalty.postings",
                         &rate->ledger_points, err);
    if (status == LL_OK)
        status = one_int(rate, "select coalesce(sum(points_balance), 0)::int8 as value from loyalty.accounts",
                         &rate->account_points, err);
    if (status == LL_OK)
        status = redis_open(config, &redis, err);
    for (int32_t p = 0; status == LL_OK && p < topics.facts[TOPIC_TRANSACTIONS_VALID].partitions; p++)
        status = redis_balances(redis, config->program.run, p, add_balance, &rate->redis_points, err);
    if (redis != NULL)
        redis_close(redis);
    return status;
}

static bool sums_agree(const struct rate *rate)
{
    return rate->ledger_rows == rate->truth.events && rate->ledger_points == rate->truth.points &&
           rate->account_points == rate->truth.points && rate->redis_points == rate->truth.points;
}

static double per_event(const struct rate *rate, int64_t us)
{
    return (double)us / (double)rate->truth.events;
}

static int print_json(const struct rate *rate, int64_t events_per_s)
{
    json_t *cpu = json_object(), *rss = json_object(), *threads = json_object();
    int64_t total_us = 0;
    for (size_t i = 0; i < rate->share_count; i++) {
        const struct share *share = &rate->shares[i];
        json_object_set_new(cpu, share->name, json_real(per_event(rate, share->cpu_us)));
        json_object_set_new(rss, share->name, json_real((double)share->rss_kib / 1024));
        if (share->own)
            json_object_set_new(threads, share->name, bench_threads(share->pid, rate->truth.events));
        total_us += share->cpu_us;
    }
    json_object_set_new(cpu, "total", json_real(per_event(rate, total_us)));
    json_t *to = json_pack("{s:s, s:I, s:I, s:f, s:I, s:I, s:o, s:o, s:o}", "bench", rate->name, "events",
                           (json_int_t)rate->truth.events, "customers", (json_int_t)rate->bench->customers,
                           "seconds", (double)rate->ms / 1000, "events_per_second", (json_int_t)events_per_s,
                           "floor_per_second", (json_int_t)rate->floor_per_s, "cpu_us_per_event", cpu,
                           "rss_mb", rss, "cpu_us_per_event_by_thread", threads);
    json_object_set_new(to, "event_size", json_integer(rate->truth.value_size / rate->truth.events));
    json_object_set_new(to, "load_seconds", json_real((double)rate->truth.elapsed_ms / 1000));
    json_object_set_new(to, "cores", json_integer(sysconf(_SC_NPROCESSORS_ONLN)));
    json_object_set_new(to, "points",
                        json_pack("{s:I, s:I, s:I, s:I}", "expected", (json_int_t)rate->truth.points,
                                  "ledger", (json_int_t)rate->ledger_points, "accounts",
                                  (json_int_t)rate->account_points, "redis", (json_int_t)rate->redis_points));
    json_object_set_new(to, "points_agree", json_boolean(sums_agree(rate)));
    return lens_print_json(rate->bench->lens, to);
}

static void print_text(const struct rate *rate, int64_t events_per_s)
{
    printf("%s events of %lld bytes, %s customers, %ld cores: %.2f s, %s events/s (floor %s)\n\n",
           lens_number(rate->truth.events), (long long)(rate->truth.value_size / rate->truth.events),
           lens_number(rate->bench->customers), sysconf(_SC_NPROCESSORS_ONLN), (double)rate->ms / 1000,
           lens_number(events_per_s), lens_number(rate->floor_per_s));
    struct table *table = table_new("PROCESS|>CPU US/EVENT|>PEAK RSS MB");
    int64_t total_us = 0;
    for (size_t i = 0; i < rate->share_count; i++) {
        table_cell(table, "%s", rate->shares[i].name);
        table_cell(table, "%.2f", per_event(rate, rate->shares[i].cpu_us));
        table_cell(table, "%.1f", (double)rate->shares[i].rss_kib / 1024);
        total_us += rate->shares[i].cpu_us;
    }
    table_cell(table, "all");
    table_cell(table, "%.2f", per_event(rate, total_us));
    table_cell(table, "%s", "");
    table_print(table, 0, stdout);
    printf("\npoints: expected %s, ledger %s, accounts %s, Redis %s: %s\n", lens_number(rate->truth.points),
           lens_number(rate->ledger_points), lens_number(rate->account_points),
           lens_number(rate->redis_points), sums_agree(rate) ? "all the same" : "DIFFERENT");
}

static enum ll_status measure(struct rate *rate, bool valid, struct ll_err *err)
{
    struct bench *bench = rate->bench;
    enum ll_status status = bench_home_open(bench, false, err);
    if (status != LL_OK)
        return status;
    lens_progress(bench->lens, "producing %s events", lens_number(bench->events));
    status = bench_load(&bench->lens->config, bench->events, bench->seed, bench->customers, valid, 0,
                        &rate->truth, err);
    if (status == LL_OK)
        status = postgres_open(&bench->lens->config, "lens-bench", &rate->postgres, err);
    if (status == LL_OK)
        status = start_own(rate, err);
    if (status == LL_OK)
        status = wait_credited(rate, err);
    lens_progress_end(bench->lens);
    for (size_t i = 0; status == LL_OK && i < rate->share_count; i++) {
        struct share *share = &rate->shares[i];
        share->cpu_us = bench_cpu_us(share->pid, share->children) - share->before_us;
        share->rss_kib = bench_rss_kib(share->pid, share->children);
    }
    return status == LL_OK ? check_sums(rate, err) : status;
}

static int run(struct rate *rate, bool valid)
{
    struct ll_err err = { "" };
    int code = lens_end(rate->bench->lens, measure(rate, valid, &err), &err);
    if (code == LENS_DONE) {
        int64_t events_per_s = rate->truth.events * 1000 / (rate->ms > 0 ? rate->ms : 1);
        if (rate->bench->lens->json)
            code = print_json(rate, events_per_s);
        else
            print_text(rate, events_per_s);
        if (code == LENS_DONE && !sums_agree(rate))
            code = LENS_BAD;
    }
    for (size_t i = rate->share_count; i-- > 0;)
        if (rate->shares[i].own)
            bench_stop(rate->shares[i].pid);
    if (rate->postgres != NULL)
        postgres_close(rate->postgres);
    return code;
}

int bench_accrue(struct bench *bench)
{
    struct rate rate = {
        .bench = bench, .name = "accrue", .floor_per_s = 230000, .own = { "accrue" }, .own_count = 1
    };
    return run(&rate, true);
}

int bench_line(struct bench *bench)
{
    struct rate rate = {
        .bench = bench, .name = "line", .floor_per_s = 100000, .own = { "validate", "accrue" }, .own_count = 2
    };
    return run(&rate, false);
}
