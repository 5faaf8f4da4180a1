#include "ops/bench.h"

#include "ops/machine.h"
#include "ops/readyz.h"
#include "ops/table.h"
#include "runtime/clock.h"
#include "runtime/kafka.h"
#include "runtime/process.h"
#include "runtime/topics.h"
#include "schemas/codec.h"
#include "state/postgres.h"
#include "state/redis.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
    PROBE_EVERY_US = 10000, /* a probe is a customer nobody else has */
    PROBE_LOOK_US = 100,
    PROBE_LOST_MS = 5000,
    WARM_MS = 3000,
    KILLS = 5,
    STARTS = 7,
    WORK_MS = 1000,
    STEADY_MS = 11000, /* between two kills: the supervisor restarts at once what lived for ten seconds */
    READY_MS_MAX = 30000,
    BEHIND_MS_MAX = 30000,
};

/* How long samples took, in microseconds. */
struct samples {
    int64_t *us;
    size_t count, capacity;
    int64_t lost;
};

struct prober {
    struct bench *bench;
    bool valid;
    struct codec *codec;
    struct bus_producer producer;
    struct redis *redis;
    int32_t partitions;
    int64_t number;
    struct samples samples;
};

static int64_t now_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static void pause_us(int64_t us)
{
    struct timespec pause = { us / 1000000, us % 1000000 * 1000 };
    if (us > 0)
        nanosleep(&pause, NULL);
}

static void samples_add(struct samples *samples, int64_t us)
{
    if (samples->count == samples->capacity) {
        samples->capacity = samples->capacity == 0 ? 1024 : 2 * samples->capacity;
        samples->us = realloc(samples->us, samples->capacity * sizeof(*samples->us));
        if (samples->us == NULL)
            abort();
    }
    samples->us[samples->count++] = us;
}

static int ascending(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return x < y ? -1 : x > y;
}

static double percentile_ms(struct samples *samples, double share)
{
    if (samples->count == 0)
        return 0;
    qsort(samples->us, samples->count, sizeof(*samples->us), ascending);
    size_t at = (size_t)(share * (double)(samples->count - 1) + 0.5);
    return (double)samples->us[at] / 1000;
}

/* linger_ms 0: what a till that cares for latency sets. */
static enum ll_status prober_open(struct prober *prober, struct bench *bench, bool valid, struct ll_err *err)
{
    static struct config config;
    struct topics topics;
    char path[PATH_SIZE];
    config = bench->lens->config;
    config.kafka.linger_ms = 0;
    *prober = (struct prober){ .bench = bench, .valid = valid };
    enum ll_status status =
        topics_load(config_share_path(&config, "topics.conf", path, sizeof(path)), &topics, err);
    if (status == LL_OK)
        status =
            codec_new(config_share_path(&config, "schemas", path, sizeof(path)), NULL, &prober->codec, err);
    if (status == LL_OK)
        status = redis_open(&config, &prober->redis, err);
    if (status == LL_OK)
        status = kafka_producer_open(&config, NULL, &prober->producer, err);
    prober->partitions = topics.facts[TOPIC_TRANSACTIONS_VALID].partitions;
    return status;
}

static void prober_close(struct prober *prober)
{
    if (prober->producer.ops != NULL)
        prober->producer.ops->close(prober->producer.self);
    if (prober->redis != NULL)
        redis_close(prober->redis);
    codec_free(prober->codec);
}

static enum ll_status send_probe(struct prober *prober, const char *id, int32_t partition, struct ll_err *err)
{
    const struct config *config = &prober->bench->lens->config;
    struct clock_source clock = clock_real();
    struct line line = { .line_no = 1,
                         .product_id = TEXT("P00001"),
                         .quantity = 1,
                         .unit_price_minor = 5000,
                         .amount_minor = 5000 };
    struct event event = { .kind = prober->valid ? EVENT_TRANSACTION_VALID : EVENT_TRANSACTION };
    struct transaction *t = &event.transaction;
    *t = (struct transaction){ .transaction_id = text_of(id),
                               .type = TRANSACTION_SALE,
                               .customer_id = text_of(id),
                               .event_time_ms = clock.wall_ms(clock.self),
                               .store_id = TEXT("S0001"),
                               .currency = text_of(config->program.currency),
                               .has_total = true,
                               .total_minor = 5000,
                               .source = TEXT("bench"),
                               .source_ref = TEXT("probe"),
                               .lines = &line,
                               .line_count = 1,
                               .raw_topic = text_of(topic_name(TOPIC_TRANSACTIONS)),
                               .raw_partition = partition,
                               .raw_offset = prober->number };
    t->content_hash = transaction_content_hash(t);
    char value[1024];
    struct bus_out out = { .topic = prober->valid ? TOPIC_TRANSACTIONS_VALID : TOPIC_TRANSACTIONS,
                           .partition = partition,
                           .key = text_of(id) };
    out.value = (struct text){ value, (uint32_t)codec_write(prober->codec, &event, value, sizeof(value)) };
    return prober->producer.ops->send(prober->producer.self, &out, err);
}

/* Sends one and looks until Redis shows its customer's balance. */
static enum ll_status probe(struct prober *prober, bool keep, struct ll_err *err)
{
    char id[32];
    snprintf(id, sizeof(id), "probe-%c%07lld", prober->valid ? 'v' : 'r', (long long)++prober->number);
    int32_t partition = kafka_partition_of(text_of(id), prober->partitions);
    int64_t begun_us = now_us(), points = 0;
    bool found = false;
    enum ll_status status = send_probe(prober, id, partition, err);
    while (status == LL_OK && !found && now_us() - begun_us < PROBE_LOST_MS * 1000) {
        pause_us(PROBE_LOOK_US);
        status = redis_balance(prober->redis, prober->bench->lens->config.program.run, partition, text_of(id),
                               &points, &found, err);
    }
    int64_t took_us = now_us() - begun_us;
    if (status == LL_OK && keep && found)
        samples_add(&prober->samples, took_us);
    else if (status == LL_OK && keep)
        prober->samples.lost++;
    pause_us(PROBE_EVERY_US - took_us);
    return status;
}

/* Probes for so long beside a load of rate_per_s; the first seconds do not count. */
static enum ll_status probe_under_load(struct bench *bench, bool valid, struct prober *prober,
                                       struct ll_err *err)
{
    int64_t events = bench->rate_per_s * (bench->seconds + WARM_MS / 1000 + 1);
    pid_t load = events == 0 ? 0 : bench_spawn_load(bench, events, valid, err);
    if (events > 0 && load == 0)
        return LL_FATAL;
    enum ll_status status = prober_open(prober, bench, valid, err);
    int64_t begun_us = now_us();
    int64_t end_us = begun_us + WARM_MS * 1000 + bench->seconds * 1000000;
    while (status == LL_OK && now_us() < end_us) {
        status = probe(prober, now_us() - begun_us > WARM_MS * 1000, err);
        int code = 0;
        if (load != 0 && bench_ended(load, &code) && code != 0) {
            load = 0;
            status = ll_fail(err, LL_FATAL, "the load ended with %d", code);
        }
        if (process_stopping())
            status = ll_fail(err, LL_FATAL, "interrupted");
        lens_progress(bench->lens, "%s events/s onto %s, %zu probes", lens_number(bench->rate_per_s),
                      topic_name(valid ? TOPIC_TRANSACTIONS_VALID : TOPIC_TRANSACTIONS),
                      prober->samples.count);
    }
    lens_progress_end(bench->lens);
    bench_stop(load);
    return status;
}

static json_t *samples_json(struct samples *samples, double goal_p50, double goal_p99)
{
    return json_pack("{s:I, s:I, s:f, s:f, s:f, s:f, s:f}", "probes", (json_int_t)samples->count, "lost",
                     (json_int_t)samples->lost, "p50_ms", percentile_ms(samples, 0.5), "p99_ms",
                     percentile_ms(samples, 0.99), "max_ms", percentile_ms(samples, 1), "goal_p50_ms",
                     goal_p50, "goal_p99_ms", goal_p99);
}

static void samples_row(struct table *table, const char *name, struct samples *samples)
{
    table_cell(table, "%s", name);
    table_number(table, (int64_t)samples->count);
    table_cell(table, "%.2f", percentile_ms(samples, 0.5));
    table_cell(table, "%.2f", percentile_ms(samples, 0.99));
    table_cell(table, "%.2f", percentile_ms(samples, 1));
    table_number(table, samples->lost);
}

static const enum stack_service own_services[] = { STACK_VALIDATE, STACK_ACCRUE };
enum { OWN_SERVICES = sizeof(own_services) / sizeof(own_services[0]) };

int bench_latency(struct bench *bench)
{
    struct ll_err err = { "" };
    struct lens *lens = bench->lens;
    struct prober valid = { 0 }, raw = { 0 };
    int64_t rss_kib[OWN_SERVICES] = { 0 };
    enum ll_status status = bench_home_open(bench, true, &err);
    if (status == LL_OK)
        status = probe_under_load(bench, true, &valid, &err);
    if (status == LL_OK)
        status = probe_under_load(bench, false, &raw, &err);
    for (size_t i = 0; i < OWN_SERVICES; i++)
        rss_kib[i] = bench_rss_kib(bench_service_pid(bench, own_services[i]), false);
    prober_close(&valid);
    prober_close(&raw);
    int code = lens_end(lens, status, &err);
    if (code == LENS_DONE && lens->json) {
        json_t *rss = json_object();
        for (size_t i = 0; i < OWN_SERVICES; i++)
            json_object_set_new(rss, stack_name(own_services[i]), json_real((double)rss_kib[i] / 1024));
        code = lens_print_json(lens, json_pack("{s:s, s:I, s:o, s:o, s:o}", "bench", "latency",
                                               "events_per_second", (json_int_t)bench->rate_per_s,
                                               "from_valid", samples_json(&valid.samples, 5, 10), "from_raw",
                                               samples_json(&raw.samples, 5, 10), "rss_mb", rss));
    } else if (code == LENS_DONE) {
        printf("from produce to visible in Redis, beside %s events/s, %lld s each (goal: p50 5 ms, p99 10 "
               "ms)\n\n",
               lens_number(bench->rate_per_s), (long long)bench->seconds);
        struct table *table = table_new("PRODUCED TO|>PROBES|>P50 MS|>P99 MS|>MAX MS|>LOST");
        samples_row(table, topic_name(TOPIC_TRANSACTIONS_VALID), &valid.samples);
        samples_row(table, topic_name(TOPIC_TRANSACTIONS), &raw.samples);
        table_print(table, 0, stdout);
        fputc('\n', stdout);
        for (size_t i = 0; i < OWN_SERVICES; i++)
            printf("lens-%s: %.1f MB peak RSS (goal: below 50)\n", stack_name(own_services[i]),
                   (double)rss_kib[i] / 1024);
    }
    free(valid.samples.us);
    free(raw.samples.us);
    return code;
}

/* ---- recovery ---- */

struct recovery {
    struct bench *bench;
    struct postgres *postgres;
    struct redis *redis;
    int32_t partitions;
    struct samples redis_us, postgres_us; /* from kill -9 to the next credited event */
    double first_ms[OWN_SERVICES]; /* the first start of all: the stores make tables and topics for it */
    struct samples start_us[OWN_SERVICES];  /* started again after SIGTERM, nothing else going on */
    struct samples loaded_us[OWN_SERVICES]; /* started again after kill -9, beside the load */
};

static enum ll_status credited(struct recovery *r, int64_t *ret, struct ll_err *err)
{
    struct postgres_rows *rows = NULL;
    enum ll_status status = postgres_query(
        r->postgres, "select coalesce(sum(credited), 0)::int8 as value from loyalty.partitions", NULL, 0,
        &rows, err);
    if (status == LL_OK)
        *ret = postgres_rows_int(rows, 0, "value");
    if (rows != NULL)
        postgres_rows_free(rows);
    return status;
}

/* The highest offset that Redis has shown, per partition, summed: what is new beyond it was credited since. */
static enum ll_status shown(struct recovery *r, int64_t *ret, struct ll_err *err)
{
    *ret = 0;
    for (int32_t p = 0; p < r->partitions; p++) {
        int64_t epoch = -1, next = -1;
        enum ll_status status =
            redis_mark(r->redis, r->bench->lens->config.program.run, p, &epoch, &next, err);
        if (status != LL_OK)
            return status;
        *ret += next > 0 ? next : 0;
    }
    return LL_OK;
}

static enum ll_status one_kill(struct recovery *r, struct ll_err *err)
{
    pid_t pid = bench_service_pid(r->bench, STACK_ACCRUE);
    int64_t before = 0, shown_before = 0, now = 0, killed_us = 0;
    bool in_redis = false, in_postgres = false;
    if (pid == 0)
        return ll_fail(err, LL_FATAL, "accrue does not run");
    kill(pid, SIGKILL);
    killed_us = now_us();
    enum ll_status status = shown(r, &shown_before, err); /* Redis was ahead of the ledger */
    if (status == LL_OK)
        status = credited(r, &before, err);
    while (status == LL_OK && !(in_redis && in_postgres) && now_us() - killed_us < READY_MS_MAX * 1000) {
        pause_us(2000);
        if (!in_redis)
            status = shown(r, &now, err);
        if (status == LL_OK && !in_redis && now > shown_before) {
            in_redis = true;
            samples_add(&r->redis_us, now_us() - killed_us);
        }
        if (status == LL_OK && !in_postgres)
            status = credited(r, &now, err);
        if (status == LL_OK && !in_postgres && now > before) {
            in_postgres = true;
            samples_add(&r->postgres_us, now_us() - killed_us);
        }
    }
    if (status == LL_OK && !(in_redis && in_postgres))
        return ll_fail(err, LL_FATAL, "no event was credited for %d s after kill -9 of accrue",
                       READY_MS_MAX / 1000);
    return status;
}

static void kill_now(pid_t pid)
{
    int code = 0;
    kill(pid, SIGKILL);
    while (!bench_ended(pid, &code))
        pause_us(500);
}

/* Start of a process: exec to /readyz saying 200, the supervisor's service stopped meanwhile. Then it works for a while, and is
 * stopped or killed. */
static enum ll_status time_start(struct recovery *r, size_t at, bool kills, int64_t *ret_us,
                                 struct ll_err *err)
{
    struct bench *bench = r->bench;
    const char *name = stack_name(own_services[at]);
    struct ll_err waiting;
    int64_t begun_us = now_us();
    pid_t pid = bench_spawn(bench, name, err);
    if (pid == 0)
        return LL_FATAL;
    int code = 0;
    while (readyz_ask(&bench->lens->config, name, 1000, &waiting) != LL_OK) {
        if (bench_ended(pid, &code))
            return ll_fail(err, LL_FATAL, "lens-%s ended with %d at its start", name, code);
        if (now_us() - begun_us > READY_MS_MAX * 1000) {
            bench_stop(pid);
            return ll_wrap(err, LL_FATAL, "lens-%s is not ready after %d s", name, READY_MS_MAX / 1000);
        }
        pause_us(500);
    }
    *ret_us = now_us() - begun_us;
    machine_pause_ms(kills ? WORK_MS : 0);
    if (kills)
        kill_now(pid);
    else
        bench_stop(pid);
    return LL_OK;
}

/* The port of one that was killed would be asked until its successor has written its own. */
static void forget_port(const struct bench *bench, const char *name)
{
    char path[PATH_SIZE];
    unlink(path_of(path, "%s/run/%s-1.port", bench->home, name));
}

static enum ll_status time_starts(struct recovery *r, size_t at, struct ll_err *err)
{
    int64_t took_us = 0;
    enum ll_status status = time_start(r, at, false, &took_us, err);
    r->first_ms[at] = (double)took_us / 1000;
    for (int i = 0; status == LL_OK && i < STARTS; i++) {
        status = time_start(r, at, false, &took_us, err);
        if (status == LL_OK)
            samples_add(&r->start_us[at], took_us);
    }
    return status;
}

static enum ll_status time_loaded_starts(struct recovery *r, size_t at, struct ll_err *err)
{
    struct bench *bench = r->bench;
    int64_t took_us = 0, events = bench->rate_per_s * (2 + STARTS * 2 * WORK_MS / 1000);
    pid_t load = bench_spawn_load(bench, events, own_services[at] == STACK_ACCRUE, err);
    if (load == 0)
        return LL_FATAL;
    machine_pause_ms(WORK_MS);
    /* Not counted: its successor is the first that finds a killed one's work. */
    enum ll_status status = time_start(r, at, true, &took_us, err);
    for (int i = 0; status == LL_OK && i < STARTS; i++) {
        forget_port(bench, stack_name(own_services[at]));
        status = time_start(r, at, true, &took_us, err);
        if (status == LL_OK)
            samples_add(&r->loaded_us[at], took_us);
    }
    bench_stop(load);
    forget_port(bench, stack_name(own_services[at]));
    return status;
}

static enum ll_status recover(struct recovery *r, struct ll_err *err)
{
    struct bench *bench = r->bench;
    struct topics topics;
    char path[PATH_SIZE];
    enum ll_status status = bench_home_open(bench, false, err);
    if (status == LL_OK)
        status = topics_load(config_share_path(&bench->lens->config, "topics.conf", path, sizeof(path)),
                             &topics, err);
    for (size_t i = 0; status == LL_OK && i < OWN_SERVICES; i++)
        status = time_starts(r, i, err);
    if (status == LL_OK)
        status = bench_processes_up(bench, err);
    if (status == LL_OK)
        status = postgres_open(&bench->lens->config, "lens-bench", &r->postgres, err);
    if (status == LL_OK)
        status = redis_open(&bench->lens->config, &r->redis, err);
    if (status != LL_OK)
        return status;
    r->partitions = topics.facts[TOPIC_TRANSACTIONS_VALID].partitions;
    int64_t events = bench->rate_per_s * (KILLS * 13 + 30);
    pid_t load = bench_spawn_load(bench, events, true, err);
    status = load == 0 ? LL_FATAL : LL_OK;
    for (int i = 0; status == LL_OK && i < KILLS && !process_stopping(); i++) {
        lens_progress(bench->lens, "kill -9 of accrue, %d of %d", i + 1, KILLS);
        machine_pause_ms(i == 0 ? WARM_MS : STEADY_MS);
        status = one_kill(r, err);
    }
    bench_stop(load);
    return status;
}

/* In a home of its own: what those that were killed leave undone is work for whoever is measured after them. */
static enum ll_status recover_loaded(struct recovery *r, struct ll_err *err)
{
    lens_progress_end(r->bench->lens);
    bench_home_close(r->bench);
    enum ll_status status = bench_home_open(r->bench, false, err);
    for (size_t i = 0; status == LL_OK && i < OWN_SERVICES; i++)
        status = time_loaded_starts(r, i, err);
    return status;
}

int bench_recovery(struct bench *bench)
{
    struct ll_err err = { "" };
    struct recovery r = { .bench = bench };
    struct lens *lens = bench->lens;
    enum ll_status status = recover(&r, &err);
    if (r.redis != NULL)
        redis_close(r.redis);
    if (r.postgres != NULL)
        postgres_close(r.postgres);
    if (status == LL_OK && !process_stopping())
        status = recover_loaded(&r, &err);
    int code = lens_end(lens, status, &err);
    lens_progress_end(lens);
    if (code == LENS_DONE && lens->json) {
        json_t *start = json_object(), *first = json_object(), *loaded = json_object();
        for (size_t i = 0; i < OWN_SERVICES; i++) {
            const char *name = stack_name(own_services[i]);
            json_object_set_new(first, name, json_real(r.first_ms[i]));
            json_object_set_new(start, name, json_real(percentile_ms(&r.start_us[i], 0.5)));
            json_object_set_new(loaded, name, json_real(percentile_ms(&r.loaded_us[i], 0.5)));
        }
        code = lens_print_json(
            lens,
            json_pack("{s:s, s:I, s:I, s:{s:f, s:f}, s:{s:f, s:f}, s:f, s:o, s:o, s:o}", "bench", "recovery",
                      "events_per_second", (json_int_t)bench->rate_per_s, "kills",
                      (json_int_t)r.postgres_us.count, "redis_ms", "p50", percentile_ms(&r.redis_us, 0.5),
                      "max", percentile_ms(&r.redis_us, 1), "postgres_ms", "p50",
                      percentile_ms(&r.postgres_us, 0.5), "max", percentile_ms(&r.postgres_us, 1), "goal_ms",
                      2000.0, "start_ms", start, "start_loaded_ms", loaded, "start_first_ms", first));
    } else if (code == LENS_DONE) {
        printf("from kill -9 of accrue to the next credited event, beside %s events/s, %zu kills (goal: "
               "below 2 s)\n\n",
               lens_number(bench->rate_per_s), r.postgres_us.count);
        struct table *table = table_new("SEEN IN|>KILLS|>P50 MS|>P99 MS|>MAX MS|>LOST");
        samples_row(table, "Redis", &r.redis_us);
        samples_row(table, "Postgres", &r.postgres_us);
        table_print(table, 0, stdout);
        fputc('\n', stdout);
        for (size_t i = 0; i < OWN_SERVICES; i++)
            printf("lens-%s: ready %.0f ms after a start (goal: below 100), %.0f after kill -9 beside the "
                   "load (medians "
                   "of %d), %.0f the first time of all\n",
                   stack_name(own_services[i]), percentile_ms(&r.start_us[i], 0.5),
                   percentile_ms(&r.loaded_us[i], 0.5), STARTS, r.first_ms[i]);
    }
    for (size_t i = 0; i < OWN_SERVICES; i++) {
        free(r.start_us[i].us);
        free(r.loaded_us[i].us);
    }
    free(r.redis_us.us);
    free(r.postgres_us.us);
    return code;
}
