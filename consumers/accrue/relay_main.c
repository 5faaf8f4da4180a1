/*
 * lens-relay: carries the ledger's committed rows to Kafka. Wiring only; relay.h says what it does.
 */
#include "consumers/accrue/relay.h"
#include "consumers/accrue/relay_tail.h"
#include "runtime/kafka.h"
#include "runtime/log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NAME_SIZE = 160, PATH_SIZE = 2 * CONFIG_TEXT_SIZE };

/* All that is opened, in this order, and closed in reverse. */
struct wiring {
    struct process *process;
    const struct config *config;
    struct topics topics;
    struct codec *codec;
    struct relay_store store;
    struct bus_consumer consumer;
    struct relay relay;
    struct relay_tail tail;
    char group[NAME_SIZE], transactional_id[NAME_SIZE];
};

static struct relay_metrics metrics_open(struct process *process)
{
    const char *rows = "lens_relay_records_total", *help = "Records committed to ledger and dead-letter";
    return (struct relay_metrics){
        .ledger = metric_counter(process, rows, "kind=\"ledger\"", help),
        .dead = metric_counter(process, rows, "kind=\"dead\"", help),
        .ticks = metric_counter(process, rows, "kind=\"tick\"", help),
        .transactions = metric_counter(process, "lens_relay_transactions_total", NULL, "Kafka transactions committed"),
        .aborts = metric_counter(process, "lens_relay_aborts_total", NULL, "Kafka transactions given up"),
        .lag = metric_gauge(process, "lens_relay_lag", NULL, "Offsets of transactions.valid in Postgres and not relayed"),
    };
}

static enum ll_status open_producer(void *arg, struct bus_producer *ret, struct ll_err *err)
{
    struct wiring *w = arg;
    return kafka_producer_open(w->config, w->transactional_id, ret, err);
}

static enum ll_status find_end(void *arg, int32_t partition, int64_t *ret_progress, struct ll_err *err)
{
    struct wiring *w = arg;
    return relay_tail_find(&w->tail, partition, ret_progress, err);
}

static enum ll_status open_all(struct wiring *w, struct ll_err *err)
{
    char path[PATH_SIZE];
    const char *instance = process_instance(w->process);
    bool named = strncmp(instance, "relay", 5) == 0;
    snprintf(w->group, sizeof w->group, "%srelay", w->config->kafka.group_prefix);
    snprintf(w->transactional_id, sizeof w->transactional_id, "%s%s%s", w->config->kafka.group_prefix,
             named ? "" : "relay-", instance);
    const enum topic topics[] = { TOPIC_TRANSACTIONS_VALID };
    const struct kafka_consumer_options options = {
        .group = w->group, .instance = instance, .topics = topics, .topic_count = 1
    };
    enum ll_status status = topics_load(config_share_path(w->config, "topics.conf", path, sizeof path), &w->topics, err);
    if (status == LL_OK)
        status = codec_new(config_share_path(w->config, "schemas", path, sizeof path), NULL, &w->codec, err);
    if (status == LL_OK) {
        relay_postgres_open(w->config, &w->store);
        status = kafka_consumer_open(w->config, &options, &w->consumer, err);
    }
    return status;
}

static enum ll_status run(struct wiring *w, struct ll_err *err)
{
    const struct relay_needs needs = {
        .config = w->config,
        .process = w->process,
        .consumer = w->consumer,
        .store = w->store,
        .clock = clock_real(),
        .codec = w->codec,
        .group = w->group,
        .dead_partitions = w->topics.facts[TOPIC_DEAD_LETTER].partitions,
        .open_producer = open_producer,
        .find_end = find_end,
        .arg = w,
    };
    relay_init(&w->relay, &needs);
    w->relay.metrics = metrics_open(w->process);
    w->tail = (struct relay_tail){ w->config, &w->topics, &w->relay.maker };
    enum ll_status status = LL_OK;
    while (status == LL_OK && !process_stopping())
        status = relay_step(&w->relay, err);
    process_ready(w->process, false);
    relay_done(&w->relay);
    return status;
}

static void close_all(struct wiring *w)
{
    if (w->consumer.ops != NULL)
        w->consumer.ops->close(w->consumer.self);
    if (w->store.ops != NULL)
        w->store.ops->close(w->store.self);
    codec_free(w->codec);
}

int main(int argc, char **argv)
{
    static struct wiring w;
    struct ll_err err = { "" };
    int exit_code;
    w.process = process_open(argc, argv, "relay", &exit_code);
    if (w.process == NULL)
        return exit_code;
    w.config = process_config(w.process);
    enum ll_status status = open_all(&w, &err);
    if (status == LL_OK)
        status = run(&w, &err);
    close_all(&w);
    if (status != LL_OK && !process_stopping())
        log_line(LOG_ERROR, "stopped", "cause=%s", log_quote_c(err.text));
    process_close(w.process);
    return status == LL_OK || process_stopping() ? 0 : 1;
}
