/*
 * lens-accrue: credits points. Wiring only; accrue.h says what it does.
 */
#include "consumers/accrue/accrue.h"
#include "runtime/kafka.h"
#include "runtime/log.h"
#include "state/postgres.h"

#include <stdio.h>
#include <stdlib.h>

static struct accrue_metrics metrics_open(struct process *process)
{
    static const double seconds[] = { 0.005, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5 };
    const char *events = "lens_accrue_events_total", *help = "Records decided and committed, by outcome";
    return (struct accrue_metrics){
        .credited = metric_counter(process, events, "outcome=\"credited\"", help),
        .duplicate = metric_counter(process, events, "outcome=\"duplicate\"", help),
        .dead = metric_counter(process, events, "outcome=\"dead\"", help),
        .control = metric_counter(process, events, "outcome=\"control\"", help),
        .held = metric_gauge(process, "lens_accrue_held", NULL, "Returns that wait for their sale"),
        .stale = metric_gauge(process, "lens_accrue_redis_stale", NULL, "Partitions that Redis does not hold"),
        .unclaimed = metric_gauge(process, "lens_accrue_unclaimed", NULL, "Partitions that wait to be claimed"),
        .unflushed = metric_gauge(process, "lens_accrue_unflushed", NULL, "Events decided, not yet in Postgres"),
        .flush_seconds = metric_histogram(process, "lens_accrue_flush_seconds", NULL, "Time of a Postgres commit",
                                          seconds, sizeof seconds / sizeof seconds[0]),
        .flush_rows = metric_counter(process, "lens_accrue_postings_total", NULL, "Ledger rows committed"),
        .doubts = metric_counter(process, "lens_accrue_doubts_total", NULL, "Partitions claimed again out of doubt"),
        .rebuilds = metric_counter(process, "lens_accrue_redis_rebuilds_total", NULL, "Partitions rebuilt in Redis"),
    };
}

static enum ll_status run(struct process *process, struct accrue *accrue, struct ll_err *err)
{
    enum ll_status status = LL_OK;
    while (status == LL_OK && !process_stopping())
        status = accrue_step(accrue, err);
    accrue_finish(accrue, 5000);
    process_ready(process, false);
    return status;
}

/* The run in Postgres must be of this program and of as many partitions as the topic has: state lives per partition. Waits
 * for both services. */
static enum ll_status check_run(struct process *process, const struct config *config, struct ll_err *err)
{
    struct kafka_admin *admin;
    enum ll_status status = kafka_admin_open(config, &admin, err);
    if (status != LL_OK)
        return status;
    do {
        int32_t partitions = 0;
        status = kafka_admin_partitions(admin, TOPIC_TRANSACTIONS_VALID, &partitions, 2000, err);
        if (status == LL_OK && partitions == 0)
            status = ll_fail(err, LL_FATAL, "topic %s does not exist: run lens up",
                             topic_name(TOPIC_TRANSACTIONS_VALID));
        if (status == LL_OK)
            status = postgres_check_run(config, partitions, err);
        if (status == LL_RETRY) {
            process_waits_for(process, err->text);
            log_line(LOG_WARN, "start_waits", "cause=%s", log_quote_c(err->text));
            process_pause(500);
        }
    } while (status == LL_RETRY && !process_stopping());
    kafka_admin_close(admin);
    return status;
}

int main(int argc, char **argv)
{
    int exit_code;
    struct process *process = process_open(argc, argv, "accrue", &exit_code);
    if (process == NULL)
        return exit_code;
    const struct config *config = process_config(process);
    struct ll_err err = { "" };
    struct codec *codec = NULL;
    struct calendar *calendar = NULL;
    struct ledger ledger = { 0 };
    struct hot hot = { 0 };
    struct bus_consumer bus = { 0 };
    struct accrue *accrue = NULL;
    char path[CONFIG_TEXT_SIZE * 2];

    /* 1 what needs no service */
    enum ll_status status = codec_new(config_share_path(config, "schemas", path, sizeof path), NULL, &codec, &err);
    if (status == LL_OK)
        status = calendar_new(config->program.time_zone, &calendar, &err);
    /* 2 the stores */
    if (status == LL_OK)
        status = check_run(process, config, &err);
    if (status == LL_OK)
        status = ledger_postgres_open(config, &ledger, &err);
    if (status == LL_OK)
        status = hot_redis_open(config, &hot, &err);
    /* 3 the bus */
    char group[128];
    snprintf(group, sizeof group, "%saccrue", config->kafka.group_prefix);
    const enum topic topics[] = { TOPIC_TRANSACTIONS_VALID };
    const struct kafka_consumer_options options = {
        .group = group, .instance = process_instance(process), .topics = topics, .topic_count = 1
    };
    if (status == LL_OK)
        status = kafka_consumer_open(config, &options, &bus, &err);
    /* 4 the loop */
    if (status == LL_OK && !process_stopping()) {
        accrue = malloc(sizeof *accrue);
        if (accrue == NULL)
            abort();
        accrue_init(accrue, config, process, bus, ledger, hot, clock_real(), codec, calendar);
        accrue->metrics = metrics_open(process);
        accrue->isolate = isolate_start(config->home, process_instance(process), config->accrue.hang_ms);
        status = run(process, accrue, &err);
        isolate_close(accrue->isolate);
        accrue_done(accrue);
        free(accrue);
    }
    /* 5 in reverse */
    if (bus.ops != NULL)
        bus.ops->close(bus.self);
    if (hot.ops != NULL)
        hot.ops->close(hot.self);
    if (ledger.ops != NULL)
        ledger.ops->close(ledger.self);
    calendar_free(calendar);
    codec_free(codec);
    if (status != LL_OK && !process_stopping())
        log_line(LOG_ERROR, "stopped", "cause=%s", log_quote_c(err.text));
    process_close(process);
    return status == LL_OK || process_stopping() ? 0 : 1;
}
