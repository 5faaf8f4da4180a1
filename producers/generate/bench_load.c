#include "producers/generate/bench_load.h"

#include "producers/generate/pace.h"
#include "producers/generate/prng.h"
#include "runtime/clock.h"
#include "runtime/kafka.h"
#include "runtime/topics.h"
#include "schemas/codec.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    LINES = 3,
    PRODUCTS = 5000,
    STORES = 200,
    PARTITIONS_MAX = 1024,
    VALUE_SIZE_MAX = 1024,
    FLUSH_TIMEOUT_MS = 120000,
};

struct load {
    struct codec *codec;
    struct bus_producer producer;
    struct prng prng;
    enum topic topic;
    bool valid;
    int32_t partitions;
    int64_t raw_offsets[PARTITIONS_MAX];
    uint32_t customers;
    int64_t event_time_ms;
    /* texts of the event at hand, digits filled in; "b" and the seed's last six hex digits begin the
     * transaction id */
    char transaction_id[20], customer_id[10], store_id[6], product_ids[LINES][7];
    struct line lines[LINES];
    struct event event;
};

static void write_digits(char *to, int width, uint64_t value)
{
    for (int i = width; i-- > 0; value /= 10)
        to[i] = (char)('0' + value % 10);
}

static void prepare(struct load *load, uint64_t seed)
{
    snprintf(load->transaction_id, sizeof load->transaction_id, "b%06" PRIx64 "-0000000000", seed & 0xffffff);
    memcpy(load->customer_id, "C00000000", sizeof load->customer_id);
    memcpy(load->store_id, "S0000", sizeof load->store_id);
    struct transaction *transaction = &load->event.transaction;
    load->event.kind = load->valid ? EVENT_TRANSACTION_VALID : EVENT_TRANSACTION;
    *transaction = (struct transaction){ .transaction_id = text_of(load->transaction_id),
                                         .type = TRANSACTION_SALE,
                                         .store_id = text_of(load->store_id),
                                         .currency = TEXT("GBP"),
                                         .has_total = true,
                                         .source = TEXT("bench"),
                                         .source_ref = TEXT("bench"),
                                         .lines = load->lines,
                                         .line_count = LINES,
                                         .raw_topic = text_of(topic_name(TOPIC_TRANSACTIONS)) };
    for (int i = 0; i < LINES; i++) {
        memcpy(load->product_ids[i], "P00000", sizeof load->product_ids[i]);
        load->lines[i] = (struct line){ .line_no = i + 1, .product_id = text_of(load->product_ids[i]) };
    }
}

/* The next sale into load->event. */
static void make_sale(struct load *load, int64_t number, const struct config *config,
                      struct bench_truth *truth)
{
    struct transaction *transaction = &load->event.transaction;
    write_digits(load->transaction_id + 8, 10, (uint64_t)number);
    write_digits(load->store_id + 1, 4, prng_below(&load->prng, STORES) + 1);
    bool anonymous = prng_chance(&load->prng, 100);
    write_digits(load->customer_id + 1, 8, prng_below(&load->prng, load->customers) + 1);
    transaction->customer_id = anonymous ? (struct text){ NULL, 0 } : text_of(load->customer_id);
    transaction->currency = text_of(config->program.currency);
    transaction->event_time_ms = load->event_time_ms;
    int64_t total = 0;
    for (int i = 0; i < LINES; i++) {
        struct line *line = &load->lines[i];
        write_digits(load->product_ids[i] + 1, 5, prng_below(&load->prng, PRODUCTS) + 1);
        line->quantity = prng_between(&load->prng, 1, 4);
        line->unit_price_minor = prng_between(&load->prng, 50, 2500);
        line->amount_minor = line->quantity * line->unit_price_minor;
        if (load->valid)
            line->category = TEXT("bench");
        total += line->amount_minor;
    }
    transaction->total_minor = total;
    truth->net_minor += total;
    if (anonymous)
        truth->anonymous++;
    else
        truth->points += total / 1000;
}

static enum ll_status send_sale(struct load *load, struct bench_truth *truth, struct ll_err *err)
{
    struct transaction *transaction = &load->event.transaction;
    struct text key =
        transaction->customer_id.data != NULL ? transaction->customer_id : transaction->transaction_id;
    struct bus_out out = { .topic = load->topic,
                           .partition = kafka_partition_of(key, load->partitions),
                           .key = key };
    if (load->valid) {
        transaction->raw_partition = out.partition;
        transaction->raw_offset = load->raw_offsets[out.partition]++;
        transaction->content_hash = transaction_content_hash(transaction);
    }
    char value[VALUE_SIZE_MAX];
    out.value = (struct text){ value, (uint32_t)codec_write(load->codec, &load->event, value, sizeof value) };
    truth->value_size += out.value.size;
    return load->producer.ops->send(load->producer.self, &out, err);
}

/* Version 1 is in force from here on, in every partition. */
static enum ll_status send_rules(struct load *load, struct ll_err *err)
{
    struct event event = { .kind = EVENT_CONTROL,
                           .control = {
                               .kind = CONTROL_RULES, .rules_version = 1, .time_ms = load->event_time_ms } };
    enum ll_status status = LL_OK;
    for (int32_t partition = 0; status == LL_OK && partition < load->partitions; partition++) {
        char value[VALUE_SIZE_MAX];
        struct bus_out out = { .topic = load->topic,
                               .partition = partition,
                               .timestamp_ms = load->event_time_ms };
        out.value = (struct text){ value, (uint32_t)codec_write(load->codec, &event, value, sizeof value) };
        status = load->producer.ops->send(load->producer.self, &out, err);
    }
    return status;
}

static enum ll_status send_all(struct load *load, const struct config *config, int64_t events,
                               int64_t rate_per_s, struct bench_truth *truth, struct ll_err *err)
{
    enum { TIME_EVERY = 1024 };
    struct clock_source clock = clock_real();
    struct pace pace = pace_of(rate_per_s);
    enum ll_status status = LL_OK;
    truth->first_ms = clock.wall_ms(clock.self);
    for (int64_t sent = 0; status == LL_OK && sent < events;) {
        int64_t due = pace_wait(&pace, sent);
        due = due < events ? due : events;
        for (; status == LL_OK && sent < due; sent++) {
            if (sent % TIME_EVERY == 0 || rate_per_s > 0)
                load->event_time_ms = clock.wall_ms(clock.self);
            make_sale(load, sent, config, truth);
            status = send_sale(load, truth, err);
        }
        truth->events = sent;
    }
    truth->last_ms = clock.wall_ms(clock.self);
    if (status == LL_OK)
        status = load->producer.ops->flush(load->producer.self, FLUSH_TIMEOUT_MS, err);
    truth->elapsed_ms = (pace_now_ns() - pace.start_ns) / 1000000;
    return status;
}

enum ll_status bench_load(const struct config *config, int64_t events, uint64_t seed, int64_t customers,
                          bool valid, int64_t rate_per_s, struct bench_truth *ret, struct ll_err *err)
{
    if (customers < 1 || customers > 99999999 || events < 0 || events > INT64_C(9999999999))
        return ll_fail(err, LL_FATAL, "bench: at most 9,999,999,999 events and 1 to 99,999,999 customers");
    char path[2 * CONFIG_TEXT_SIZE];
    struct topics topics;
    enum ll_status status =
        topics_load(config_share_path(config, "topics.conf", path, sizeof path), &topics, err);
    if (status != LL_OK)
        return status;
    struct load *load = calloc(1, sizeof *load);
    if (load == NULL)
        abort();
    struct clock_source clock = clock_real();
    *load = (struct load){ .prng = prng_of(seed, 1),
                           .valid = valid,
                           .customers = (uint32_t)customers,
                           .topic = valid ? TOPIC_TRANSACTIONS_VALID : TOPIC_TRANSACTIONS,
                           .event_time_ms = clock.wall_ms(clock.self) };
    load->partitions = topics.facts[load->topic].partitions;
    *ret = (struct bench_truth){ 0 };
    if (load->partitions > PARTITIONS_MAX)
        status = ll_fail(err, LL_FATAL, "bench: more than %d partitions", PARTITIONS_MAX);
    if (status == LL_OK)
        status = codec_new(config_share_path(config, "schemas", path, sizeof path), NULL, &load->codec, err);
    if (status == LL_OK)
        status = kafka_producer_open(config, NULL, &load->producer, err);
    if (status == LL_OK) {
        prepare(load, seed);
        if (valid)
            status = send_rules(load, err);
        if (status == LL_OK)
            status = send_all(load, config, events, rate_per_s, ret, err);
        load->producer.ops->close(load->producer.self);
    }
    codec_free(load->codec);
    free(load);
    return status;
}
