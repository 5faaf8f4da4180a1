/*
 * lens-bench-validate - ns of CPU an event, without Kafka: decode, check against 200,000 customers, encode.
 */
#include "consumers/validate/quality.h"

#include "runtime/config.h"
#include "schemas/codec.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
    CUSTOMERS = 200000,
    PRODUCTS = 5000,
    STORES = 200,
    EVENTS = 100000,
    LINES = 3,
    ROUNDS = 9,
    VALUE_SIZE = 512
};

#define ARRIVED_MS INT64_C(1700000000000)

struct bench {
    struct codec *codec;
    struct codec_scratch *scratch;
    struct references *references;
    struct settings_source source;
    struct calendar *calendar;
    char *values; /* one after the other */
    struct text *records, *keys;
    struct quality_verdict verdict;
    uint64_t state;
    size_t sum; /* so that nothing is optimised away */
};

static uint64_t draw(struct bench *bench, uint64_t below)
{
    bench->state = bench->state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (bench->state >> 33) % below;
}

static struct text name(char *to, size_t size, char letter, uint64_t number)
{
    return (struct text){to, (uint32_t)snprintf(to, size, "%c%07" PRIu64, letter, number)};
}

static void fill_references(struct bench *bench)
{
    char id[32], category[32];
    for (uint64_t i = 0; i < CUSTOMERS; i++) {
        struct event event = {.kind = EVENT_CUSTOMER};
        event.customer.customer_id = name(id, sizeof id, 'C', i);
        references_put(bench->references, &event);
    }
    for (uint64_t i = 0; i < PRODUCTS; i++) {
        struct event event = {.kind = EVENT_PRODUCT};
        event.product.product_id = name(id, sizeof id, 'P', i);
        event.product.category = name(category, sizeof category, 'K', i % 20);
        event.product.active = true;
        references_put(bench->references, &event);
    }
    for (uint64_t i = 0; i < STORES; i++) {
        struct event event = {.kind = EVENT_STORE};
        event.store.store_id = name(id, sizeof id, 'S', i);
        event.store.has_opened = true;
        event.store.opened_day = 10000;
        references_put(bench->references, &event);
    }
}

static void fill_events(struct bench *bench)
{
    char transaction_id[40], customer_id[32], store_id[32], product_ids[LINES][32], *at = bench->values;
    for (int i = 0; i < EVENTS; i++) {
        struct line lines[LINES];
        struct event event = {.kind = EVENT_TRANSACTION};
        struct transaction *transaction = &event.transaction;
        snprintf(transaction_id, sizeof transaction_id, "%08" PRIx64 "-0000-4000-8000-%012" PRIx64,
                 draw(bench, UINT32_MAX), (uint64_t)i);
        *transaction = (struct transaction){
            .transaction_id = text_of(transaction_id),
            .event_time_ms = ARRIVED_MS - (int64_t)draw(bench, 86400000),
            .store_id = name(store_id, sizeof store_id, 'S', draw(bench, STORES)),
            .currency = TEXT("GBP"),
            .source = TEXT("pos"),
            .source_ref = TEXT("till-7:1234"),
            .has_total = true,
            .lines = lines,
            .line_count = LINES,
        };
        if (draw(bench, 10) != 0)
            transaction->customer_id = name(customer_id, sizeof customer_id, 'C', draw(bench, CUSTOMERS));
        for (int j = 0; j < LINES; j++) {
            int64_t price = 100 + (int64_t)draw(bench, 5000);
            lines[j] = (struct line){
                .line_no = j + 1,
                .product_id = name(product_ids[j], sizeof product_ids[j], 'P', draw(bench, PRODUCTS)),
                .quantity = 1 + j,
                .unit_price_minor = price,
                .amount_minor = (1 + j) * price,
            };
            transaction->total_minor += lines[j].amount_minor;
        }
        size_t size = codec_write(bench->codec, &event, at, VALUE_SIZE);
        bench->records[i] = (struct text){at, (uint32_t)size};
        at += size;
        /* Kafka brings a record's key beside its value: the customer. */
        bench->keys[i] = (struct text){at, transaction->customer_id.size};
        memcpy(at, customer_id, transaction->customer_id.size);
        at += transaction->customer_id.size;
    }
}

static void die(const char *words)
{
    fprintf(stderr, "lens-bench-validate: %s\n", words);
    exit(1);
}

enum part { DECODE, CHECK, ENCODE };

/* One pass over all events, up to a part. */
static double pass(struct bench *bench, enum part part)
{
    static char out[2 * VALUE_SIZE];
    struct quality_frame frame = {
        .source = &bench->source,
        .references = bench->references,
        .calendar = bench->calendar,
        .currency = TEXT("GBP"),
        .arrived_ms = ARRIVED_MS,
    };
    struct timespec from, to;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &from);
    for (int i = 0; i < EVENTS; i++) {
        struct event event;
        enum code code;
        struct reference_seek ahead; /* as judge.c does */
        if (part != DECODE && bench->keys[i].size > 0)
            references_seek(bench->references, REFERENCE_CUSTOMER, bench->keys[i], &ahead);
        if (codec_read(bench->codec, EVENT_TRANSACTION, bench->records[i], bench->scratch, &event, &code,
                       NULL) != LL_OK)
            die("an event of our own does not decode");
        bench->sum += event.transaction.line_count;
        if (part == DECODE)
            continue;
        quality_check(&frame, &event.transaction, &bench->verdict);
        if (bench->verdict.codes != 0)
            die("an event of our own is refused");
        if (part == CHECK)
            continue;
        event.kind = EVENT_TRANSACTION_VALID;
        event.transaction.content_hash = transaction_content_hash(&event.transaction);
        event.transaction.raw_topic = TEXT("transactions");
        bench->sum += codec_write(bench->codec, &event, out, sizeof out);
    }
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &to);
    return ((double)(to.tv_sec - from.tv_sec) * 1e9 + (double)(to.tv_nsec - from.tv_nsec)) / EVENTS;
}

static int order(const void *left, const void *right)
{
    double a = *(const double *)left, b = *(const double *)right;
    return (a > b) - (a < b);
}

static double median(struct bench *bench, enum part part)
{
    double rounds[ROUNDS];
    pass(bench, part);
    for (int i = 0; i < ROUNDS; i++)
        rounds[i] = pass(bench, part);
    qsort(rounds, ROUNDS, sizeof *rounds, order);
    return rounds[ROUNDS / 2];
}

int main(int argc, char **argv)
{
    static struct bench bench;
    static struct config config;
    struct ll_err err = {""};
    char path[2 * CONFIG_TEXT_SIZE];
    if (config_load(NULL, &config, &err) != LL_OK)
        die(err.text);
    if (codec_new(config_share_path(&config, "schemas", path, sizeof path), NULL, &bench.codec, &err) !=
            LL_OK ||
        calendar_new("Europe/London", &bench.calendar, &err) != LL_OK)
        die(err.text);
    bench.scratch = codec_scratch_new();
    bench.references = references_new();
    bench.values = malloc((size_t)EVENTS * VALUE_SIZE);
    bench.records = calloc(EVENTS, sizeof *bench.records);
    bench.keys = calloc(EVENTS, sizeof *bench.keys);
    if (bench.values == NULL || bench.records == NULL || bench.keys == NULL)
        abort();
    bench.source = (struct settings_source){.lateness_ms = INT64_C(2592000000), .skew_ms = 300000};
    for (int kind = 0; kind < REFERENCE_KINDS; kind++)
        bench.source.required[kind] = true;
    fill_references(&bench);
    fill_events(&bench);
    double decode = median(&bench, DECODE), check = median(&bench, CHECK), encode = median(&bench, ENCODE);
    bool json = argc > 1 && strcmp(argv[1], "--json") == 0;
    printf(json
               ? "{\"decode_ns\": %.1f, \"check_ns\": %.1f, \"encode_ns\": %.1f, \"decode_check_ns\": %.1f}\n"
               : "ns an event: decode %.1f, check %.1f, encode and hash %.1f; decode and check %.1f\n",
           decode, check - decode, encode - check, check);
    return bench.sum == 0;
}
