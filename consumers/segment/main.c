/*
 * lens-segment: where each customer stands. Wiring only; segment.h says what it does.
 */
#include "consumers/segment/segment.h"
#include "runtime/kafka.h"
#include "runtime/log.h"
#include "state/postgres.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NAME_SIZE = 160, PATH_SIZE = 2 * CONFIG_TEXT_SIZE };

/* All that is opened, in this order, and closed in reverse. */
struct wiring {
    struct process *process;
    const struct config *config;
    struct codec *codec;
    struct calendar *calendar;
    struct segment_store store;
    struct segment_ranks *ranks;
    struct segment segment;
    char group[NAME_SIZE], transactional_id[NAME_SIZE];
    int32_t partitions;
};

static struct segment_metrics metrics_open(struct process *process)
{
    static const double seconds[] = { 0.005, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5 };
    return (struct segment_metrics){
        .rows =
            metric_counter(process, "lens_segment_rows_total", NULL, "Ledger rows committed to the standing"),
        .ticks = metric_counter(process, "lens_segment_ticks_total", NULL, "TICK records taken"),
        .repeated =
            metric_counter(process, "lens_segment_repeated_total", NULL, "Ledger rows that were in already"),
        .changes = metric_counter(process, "lens_segment_changes_total", NULL, "Changes committed"),
        .published = metric_counter(process, "lens_segment_published_total", NULL, "Changes published"),
        .closes = metric_counter(process, "lens_segment_days_total", NULL, "Days closed"),
        .doubts = metric_counter(process, "lens_segment_doubts_total", NULL, "Claims out of doubt"),
        .customers = metric_gauge(process, "lens_segment_customers", NULL, "Customers in memory"),
        .commit_seconds =
            metric_histogram(process, "lens_segment_commit_seconds", NULL, "Time of a Postgres commit",
                             seconds, sizeof seconds / sizeof seconds[0]),
    };
}

static enum ll_status open_consumer(void *arg, struct bus_consumer *ret, struct ll_err *err)
{
    struct wiring *w = arg;
    const enum topic topics[] = { TOPIC_LEDGER };
    const struct kafka_consumer_options options = {
        .group = w->group, .instance = process_instance(w->process), .topics = topics, .topic_count = 1
    };
    return kafka_consumer_open(w->config, &options, ret, err);
}

static enum ll_status open_producer(void *arg, struct bus_producer *ret, struct ll_err *err)
{
    struct wiring *w = arg;
    return kafka_producer_open(w->config, w->transactional_id, ret, err);
}

/* Waits for both services. */
static enum ll_status check_run(struct wiring *w, struct ll_err *err)
{
    struct kafka_admin *admin;
    enum ll_status status = kafka_admin_open(w->config, &admin, err);
    if (status != LL_OK)
        return status;
    do {
        status = kafka_admin_partitions(admin, TOPIC_LEDGER, &w->partitions, 2000, err);
        if (status == LL_OK && w->partitions == 0)
            status = ll_fail(err, LL_FATAL, "topic %s does not exist: run lens up", topic_name(TOPIC_LEDGER));
        if (status == LL_OK && w->partitions > SEGMENT_PARTITIONS_MAX)
            status = ll_fail(err, LL_FATAL, "topic %s has %d partitions, at most %d fit",
                             topic_name(TOPIC_LEDGER), w->partitions, SEGMENT_PARTITIONS_MAX);
        if (status == LL_OK)
            status = postgres_check_run(w->config, w->partitions, err);
        if (status == LL_RETRY) {
            process_waits_for(w->process, err->text);
            log_line(LOG_WARN, "start_waits", "cause=%s", log_quote_c(err->text));
            process_pause(500);
        }
    } while (status == LL_RETRY && !process_stopping());
    kafka_admin_close(admin);
    return status;
}

static enum ll_status open_all(struct wiring *w, struct ll_err *err)
{
    char path[PATH_SIZE];
    snprintf(w->group, sizeof w->group, "%ssegment", w->config->kafka.group_prefix);
    snprintf(w->transactional_id, sizeof w->transactional_id, "%ssegment-%d", w->config->kafka.group_prefix,
             w->config->program.run);
    enum ll_status status =
        codec_new(config_share_path(w->config, "schemas", path, sizeof path), NULL, &w->codec, err);
    if (status == LL_OK)
        status = calendar_new(w->config->program.time_zone, &w->calendar, err);
    if (status == LL_OK)
        status = check_run(w, err);
    if (status == LL_OK)
        segment_postgres_open(w->config, &w->store);
    if (status == LL_OK)
        segment_ranks_open(w->config, &w->ranks);
    return status;
}

static enum ll_status run(struct wiring *w, struct ll_err *err)
{
    const struct segment_needs needs = {
        .config = w->config,
        .process = w->process,
        .store = w->store,
        .ranks = w->ranks,
        .clock = clock_real(),
        .calendar = w->calendar,
        .codec = w->codec,
        .partitions = (size_t)w->partitions,
        .open_consumer = open_consumer,
        .open_producer = open_producer,
        .arg = w,
    };
    segment_init(&w->segment, &needs);
    w->segment.metrics = metrics_open(w->process);
    enum ll_status status = LL_OK;
    while (status == LL_OK && !process_stopping())
        status = segment_step(&w->segment, err);
    segment_finish(&w->segment);
    process_ready(w->process, false);
    segment_done(&w->segment);
    return status;
}

static enum ll_status check_weights(const struct config *config, struct ll_err *err)
{
    int sum = config->segment.weight_trajectory + config->segment.weight_engagement +
              config->segment.weight_breadth + config->segment.weight_points;
    if (sum != 100)
        return ll_fail(err, LL_FATAL, "%.150s: segment.weight_* sum to %d, not to 100", config->file, sum);
    if (config->segment.tier_silver > config->segment.tier_gold)
        return ll_fail(err, LL_FATAL, "%.150s: segment.tier_silver is above tier_gold", config->file);
    return LL_OK;
}

int main(int argc, char **argv)
{
    static struct wiring w;
    struct ll_err err = { "" };
    int exit_code;
    w.process = process_open_checked(argc, argv, "segment", check_weights, &exit_code);
    if (w.process == NULL)
        return exit_code;
    w.config = process_config(w.process);
    enum ll_status status = check_weights(w.config, &err);
    if (status == LL_OK)
        status = open_all(&w, &err);
    if (status == LL_OK && !process_stopping())
        status = run(&w, &err);
    segment_ranks_close(w.ranks);
    if (w.store.ops != NULL)
        w.store.ops->close(w.store.self);
    calendar_free(w.calendar);
    codec_free(w.codec);
    if (status != LL_OK && !process_stopping())
        log_line(LOG_ERROR, "stopped", "cause=%s", log_quote_c(err.text));
    process_close(w.process);
    return status == LL_OK || process_stopping() ? 0 : 1;
}
