/*
 * bench_segment.c - `lens bench segment`: ledger rows a second from the topic into committed standing, and one day closed.
 * Shape:  the rows lie in the topic before lens-segment starts: sales of three lines, customers uniform, all of one day; then a
 *         TICK of the next day in each partition, which closes the day for everybody.
 */
#include "ops/bench.h"

#include "ops/machine.h"
#include "ops/table.h"
#include "runtime/clock.h"
#include "runtime/kafka.h"
#include "runtime/process.h"
#include "schemas/codec.h"
#include "state/postgres.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    FLOOR_PER_S = 200000,
    ASK_MS = 20,
    STALL_MS = 300000,
    FLUSH_MS = 60000,
    VALUE_SIZE = 1024,
    PARTITIONS_MAX = 256,
    CATEGORIES = 12,
    LINES = 3,
    DAY = 20000,
};
static const int64_t DAY_MS = 86400000;

struct segment_bench {
    struct bench *bench;
    struct codec *codec;
    struct bus_producer producer;
    struct postgres *postgres;
    int32_t partitions;
    int64_t offsets[PARTITIONS_MAX];
    pid_t pid;
    int64_t net_minor, points, value_size; /* of all that was produced */
    int64_t rows_ms, close_ms, rss_kib, rss_before_kib, own_us, postgres_us, kafka_us;
    int64_t customers, changes, found_net, found_points, members;
};

static uint64_t next_random(uint64_t *state)
{
    uint64_t x = *state += UINT64_C(0x9e3779b97f4a7c15);
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

static enum ll_status send_event(struct segment_bench *b, const struct event *event, struct text key,
                                 int32_t partition, int64_t time_ms, struct ll_err *err)
{
    char value[VALUE_SIZE];
    size_t size = codec_write(b->codec, event, value, sizeof value);
    const struct bus_out out = { .topic = TOPIC_LEDGER,
                                 .partition = partition,
                                 .timestamp_ms = time_ms,
                                 .key = key,
                                 .value = { value, (uint32_t)size } };
    b->value_size += (int64_t)size;
    return b->producer.ops->send(b->producer.self, &out, err);
}

static enum ll_status send_row(struct segment_bench *b, int64_t at, uint64_t *seed, struct ll_err *err)
{
    char customer[16], transaction[24], products[LINES][8], categories[LINES][8];
    struct ledger_line lines[LINES];
    int64_t time_ms = (int64_t)DAY * DAY_MS + 3 * 3600000 + at * 72000000 / b->bench->events;
    struct event event = { .kind = EVENT_LEDGER };
    struct ledger_entry *entry = &event.ledger;
    snprintf(customer, sizeof customer, "C%07lld",
             (long long)(next_random(seed) % (uint64_t)b->bench->customers));
    snprintf(transaction, sizeof transaction, "B%011lld", (long long)at);
    int32_t partition = kafka_partition_of(text_of(customer), b->partitions);
    *entry = (struct ledger_entry){ .run = b->bench->lens->config.program.run,
                                    .partition = partition,
                                    .offset = b->offsets[partition],
                                    .event_offset = b->offsets[partition],
                                    .source = TEXT("bench"),
                                    .type = TRANSACTION_SALE,
                                    .transaction_id = text_of(transaction),
                                    .customer_id = text_of(customer),
                                    .lines = lines,
                                    .line_count = LINES,
                                    .sale_day = DAY,
                                    .rules_version = 1,
                                    .event_time_ms = time_ms,
                                    .posted_at_ms = time_ms };
    b->offsets[partition]++;
    for (int line = 0; line < LINES; line++) {
        uint64_t dice = next_random(seed);
        snprintf(products[line], sizeof products[line], "P%05u", (unsigned)(dice % 5000));
        snprintf(categories[line], sizeof categories[line], "cat%u", (unsigned)(dice % CATEGORIES));
        lines[line] = (struct ledger_line){ .product_id = text_of(products[line]),
                                            .category = text_of(categories[line]),
                                            .amount_minor = (int64_t)(100 + (dice >> 32) % 4000) };
        entry->net_minor += lines[line].amount_minor;
    }
    entry->points = entry->net_minor / 1000;
    struct ledger_rule rule = { 1, entry->points };
    entry->rules = &rule;
    entry->rule_count = 1;
    b->net_minor += entry->net_minor;
    b->points += entry->points;
    return send_event(b, &event, entry->customer_id, partition, time_ms, err);
}

static enum ll_status produce(struct segment_bench *b, struct ll_err *err)
{
    const struct config *config = &b->bench->lens->config;
    char path[PATH_SIZE];
    uint64_t seed = b->bench->seed;
    enum ll_status status =
        codec_new(config_share_path(config, "schemas", path, sizeof path), NULL, &b->codec, err);
    if (status == LL_OK)
        status = kafka_producer_open(config, NULL, &b->producer, err);
    lens_progress(b->bench->lens, "producing %s ledger rows", lens_number(b->bench->events));
    for (int64_t at = 0; at < b->bench->events && status == LL_OK && !process_stopping(); at++)
        status = send_row(b, at, &seed, err);
    return status == LL_OK ? b->producer.ops->flush(b->producer.self, FLUSH_MS, err) : status;
}

/* The clock of the next day, in each partition. */
static enum ll_status produce_ticks(struct segment_bench *b, struct ll_err *err)
{
    enum ll_status status = LL_OK;
    for (int32_t partition = 0; partition < b->partitions && status == LL_OK; partition++) {
        const struct event event = { .kind = EVENT_CONTROL,
                                     .control = { .kind = CONTROL_TICK,
                                                  .time_ms = (DAY + 1) * DAY_MS + 6 * 3600000 } };
        status = send_event(b, &event, (struct text){ 0 }, partition, event.control.time_ms, err);
    }
    return status == LL_OK ? b->producer.ops->flush(b->producer.self, FLUSH_MS, err) : status;
}

static int64_t steady_ms(void)
{
    struct clock_source clock = clock_real();
    return clock.steady_ms(clock.self);
}

static enum ll_status one_int(struct segment_bench *b, const char *sql, int64_t *ret, struct ll_err *err)
{
    struct postgres_rows *rows = NULL;
    enum ll_status status = postgres_query(b->postgres, sql, NULL, 0, &rows, err);
    if (status == LL_OK)
        *ret = postgres_rows_int(rows, 0, "value");
    postgres_rows_free(rows);
    return status;
}

/* Until the query's value is what is wanted; *ret_ms: since begun_ms. */
static enum ll_status wait_value(struct segment_bench *b, const char *sql, int64_t wanted, int64_t begun_ms,
                                 int64_t *ret_ms, struct ll_err *err)
{
    int64_t value = -1, before = -1, moved_ms = steady_ms();
    char words[160];
    int code;
    for (;;) {
        enum ll_status status = one_int(b, sql, &value, err);
        if (status != LL_OK)
            return status;
        if (value >= wanted)
            break;
        if (value != before)
            moved_ms = steady_ms();
        before = value;
        if (bench_ended(b->pid, &code)) {
            b->pid = 0;
            bench_last_words(b->bench, "segment", words, sizeof words);
            return ll_fail(err, LL_FATAL, "lens-segment ended with %d: %s", code, words);
        }
        if (process_stopping() || steady_ms() - moved_ms > STALL_MS)
            return ll_fail(err, LL_FATAL,
                           "%lld of %lld are there, and for %d s no other came; logs are in %s/log (--keep)",
                           (long long)value, (long long)wanted, STALL_MS / 1000, b->bench->home);
        lens_progress(b->bench->lens, "%s of %s, %.1f s", lens_number(value), lens_number(wanted),
                      (double)(steady_ms() - begun_ms) / 1000);
        machine_pause_ms(ASK_MS);
    }
    *ret_ms = steady_ms() - begun_ms;
    return LL_OK;
}

static enum ll_status read_found(struct segment_bench *b, struct ll_err *err)
{
    enum ll_status status =
        one_int(b, "select count(*) as value from segments.customer_standing", &b->customers, err);
    if (status == LL_OK)
        status = one_int(b, "select sum(monetary_minor)::int8 as value from segments.customer_standing",
                         &b->found_net, err);
    if (status == LL_OK)
        status = one_int(b, "select sum(points_balance)::int8 as value from segments.customer_standing",
                         &b->found_points, err);
    if (status == LL_OK)
        status = one_int(b, "select next_change - 1 as value from segments.owner", &b->changes, err);
    if (status == LL_OK)
        status = one_int(b, "select members as value from segments.thresholds", &b->members, err);
    return status;
}

static enum ll_status measure(struct segment_bench *b, struct ll_err *err)
{
    static const char rows_sql[] = "select coalesce(sum(rows), 0)::int8 as value from segments.partitions";
    static const char day_sql[] = "select count(*)::int8 as value from segments.thresholds";
    struct kafka_admin *admin = NULL;
    enum ll_status status = bench_home_open(b->bench, false, err);
    if (status == LL_OK)
        status = kafka_admin_open(&b->bench->lens->config, &admin, err);
    if (status == LL_OK)
        status = kafka_admin_partitions(admin, TOPIC_LEDGER, &b->partitions, 10000, err);
    kafka_admin_close(admin);
    if (status == LL_OK && (b->partitions <= 0 || b->partitions > PARTITIONS_MAX))
        status = ll_fail(err, LL_FATAL, "topic ledger has %d partitions", b->partitions);
    if (status == LL_OK)
        status = produce(b, err);
    if (status == LL_OK)
        status = postgres_open(&b->bench->lens->config, "lens-bench", &b->postgres, err);
    if (status != LL_OK)
        return status;
    int64_t postgres_us = bench_cpu_us(bench_service_pid(b->bench, STACK_POSTGRES), true);
    int64_t kafka_us = bench_cpu_us(bench_service_pid(b->bench, STACK_KAFKA), false), begun_ms = steady_ms();
    b->pid = bench_spawn(b->bench, "segment", err);
    if (b->pid == 0)
        return LL_FATAL;
    status = wait_value(b, rows_sql, b->bench->events, begun_ms, &b->rows_ms, err);
    if (status != LL_OK)
        return status;
    b->own_us = bench_cpu_us(b->pid, false);
    b->postgres_us = bench_cpu_us(bench_service_pid(b->bench, STACK_POSTGRES), true) - postgres_us;
    b->kafka_us = bench_cpu_us(bench_service_pid(b->bench, STACK_KAFKA), false) - kafka_us;
    status = produce_ticks(b, err);
    begun_ms = steady_ms();
    if (status == LL_OK)
        status = wait_value(b, day_sql, 1, begun_ms, &b->close_ms, err);
    b->rss_kib = bench_rss_kib(b->pid, false);
    return status == LL_OK ? read_found(b, err) : status;
}

static bool is_right(const struct segment_bench *b)
{
    return b->found_net == b->net_minor && b->found_points == b->points;
}

static int print(const struct segment_bench *b)
{
    struct lens *lens = b->bench->lens;
    int64_t per_s = b->bench->events * 1000 / (b->rows_ms > 0 ? b->rows_ms : 1);
    int64_t size = b->rss_kib * 1024 / (b->customers > 0 ? b->customers : 1);
    double events = (double)b->bench->events;
    if (lens->json) {
        json_t *to =
            json_pack("{s:s, s:I, s:I, s:I, s:f, s:I, s:i, s:f, s:I, s:f, s:I}", "bench", "segment", "rows",
                      (json_int_t)b->bench->events, "customers", (json_int_t)b->customers, "row_size",
                      (json_int_t)(b->value_size / b->bench->events), "seconds", (double)b->rows_ms / 1000,
                      "rows_per_second", (json_int_t)per_s, "floor_per_second", FLOOR_PER_S, "close_seconds",
                      (double)b->close_ms / 1000, "changes", (json_int_t)b->changes, "rss_mb",
                      (double)b->rss_kib / 1024, "rss_bytes_per_customer", (json_int_t)size);
        json_object_set_new(to, "high_spenders", json_integer(b->members));
        json_object_set_new(to, "cpu_us_per_row",
                            json_pack("{s:f, s:f, s:f}", "segment", (double)b->own_us / events, "postgres",
                                      (double)b->postgres_us / events, "kafka",
                                      (double)b->kafka_us / events));
        json_object_set_new(to, "sums_agree", json_boolean(is_right(b)));
        json_object_set_new(to, "cores", json_integer(sysconf(_SC_NPROCESSORS_ONLN)));
        int code = lens_print_json(lens, to);
        return code != LENS_DONE || is_right(b) ? code : LENS_BAD;
    }
    printf("%s ledger rows of %lld bytes, %s customers, %ld cores: %.2f s, %s rows/s (floor %s)\n",
           lens_number(b->bench->events), (long long)(b->value_size / b->bench->events),
           lens_number(b->customers), sysconf(_SC_NPROCESSORS_ONLN), (double)b->rows_ms / 1000,
           lens_number(per_s), lens_number(FLOOR_PER_S));
    printf("CPU us/row: segment %.2f, postgres %.2f, kafka %.2f\n", (double)b->own_us / events,
           (double)b->postgres_us / events, (double)b->kafka_us / events);
    printf("day closed, everybody judged and written in %.2f s: %s high spenders, %s changes\n",
           (double)b->close_ms / 1000, lens_number(b->members), lens_number(b->changes));
    printf("peak memory %.1f MB, %s bytes a customer with %.1f sales each\n", (double)b->rss_kib / 1024,
           lens_number(size), events / (double)(b->customers > 0 ? b->customers : 1));
    printf("spend and points of all customers: %s\n", is_right(b) ? "as produced" : "DIFFERENT");
    return is_right(b) ? LENS_DONE : LENS_BAD;
}

int bench_segment(struct bench *bench)
{
    struct segment_bench b = { .bench = bench };
    struct ll_err err = { "" };
    enum ll_status status = measure(&b, &err);
    lens_progress_end(bench->lens);
    int code = status == LL_OK ? print(&b) : lens_end(bench->lens, status, &err);
    bench_stop(b.pid);
    if (b.postgres != NULL)
        postgres_close(b.postgres);
    if (b.producer.ops != NULL)
        b.producer.ops->close(b.producer.self);
    codec_free(b.codec);
    return code;
}
