/*
 * decode_bench.c - what reading, writing and hashing one event costs: lens-bench-decode [SCHEMAS_DIR].
 * Shape:  20,000 distinct transactions of 1 to 5 lines (3.0 on average), UUID ids, one customer in ten null;
 *         nanoseconds of CPU per event, the median of five rounds. Source of the event: LIMITS, "Schema
 *         used".
 */
#include "schemas/codec.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { EVENTS = 20000, PASSES = 20, ROUNDS = 5, VALUE_SIZE = 4096, LINES_MAX = 5 };

struct bench {
    struct codec *codec;
    struct codec_scratch *scratch;
    struct event events[EVENTS];
    struct text raw[EVENTS], valid[EVENTS];
    char room[EVENTS * 500]; /* the values, one after the other, as in a fetched batch */
    size_t room_used;
    uint64_t seed;
};

/* splitmix64 */
static uint64_t random_next(struct bench *bench)
{
    uint64_t x = bench->seed += UINT64_C(0x9e3779b97f4a7c15);
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

/* prefix and the number, at least digits long */
static struct text print(const char *prefix, int digits, uint64_t number)
{
    char words[64];
    int size = snprintf(words, sizeof words, "%s%0*" PRIu64, prefix, digits, number);
    char *kept = malloc((size_t)size);
    if (kept == NULL)
        abort();
    memcpy(kept, words, (size_t)size);
    return (struct text){kept, (uint32_t)size};
}

static void make_line(struct bench *bench, struct line *line, int32_t line_no)
{
    int64_t quantity = 1 + (int64_t)(random_next(bench) % 3),
            price = 99 + (int64_t)(random_next(bench) % 5000);
    *line = (struct line){.line_no = line_no,
                          .product_id = print("P", 5, random_next(bench) % 100000),
                          .quantity = quantity,
                          .unit_price_minor = price,
                          .amount_minor = quantity * price,
                          .promotion_id = random_next(bench) % 5 == 0 ? TEXT("PR0042") : (struct text){0},
                          .category = TEXT("grocery")};
}

static void make_event(struct bench *bench, struct event *event)
{
    struct transaction *transaction = &event->transaction;
    uint64_t a = random_next(bench), b = random_next(bench);
    char id[40];
    snprintf(id, sizeof id, "%08x-%04x-4%03x-9%03x-%012" PRIx64, (unsigned)a, (unsigned)(a >> 32) & 0xffff,
             (unsigned)(a >> 48) & 0xfff, (unsigned)b & 0xfff, b >> 16);

    *event = (struct event){.kind = EVENT_TRANSACTION};
    transaction->transaction_id = (struct text){strdup(id), 36};
    transaction->event_time_ms = INT64_C(1760000000000) + (int64_t)(random_next(bench) % 1000000000);
    transaction->store_id = print("S", 3, random_next(bench) % 300);
    if (random_next(bench) % 10 != 0)
        transaction->customer_id = print("C", 6, random_next(bench) % 200000);
    transaction->currency = TEXT("GBP");
    transaction->has_total = true;
    transaction->source = TEXT("till");
    transaction->source_ref = TEXT("");
    transaction->channel = TEXT("store");
    transaction->raw_topic = TEXT("transactions");
    transaction->raw_offset = (int64_t)(random_next(bench) % 3000000);
    transaction->line_count = 1 + (uint32_t)(random_next(bench) % LINES_MAX);
    transaction->lines = calloc(transaction->line_count, sizeof *transaction->lines);
    for (uint32_t i = 0; i < transaction->line_count; i++) {
        make_line(bench, &transaction->lines[i], (int32_t)i + 1);
        transaction->total_minor += transaction->lines[i].amount_minor;
    }
    transaction->content_hash = transaction_content_hash(transaction);
}

static struct text encode(struct bench *bench, struct event *event, enum event_kind kind)
{
    char value[VALUE_SIZE];
    event->kind = kind;
    size_t size = codec_write(bench->codec, event, value, sizeof value);
    char *kept = bench->room + bench->room_used;
    bench->room_used += size;
    if (size == 0 || bench->room_used > sizeof bench->room)
        abort();
    memcpy(kept, value, size);
    return (struct text){kept, (uint32_t)size};
}

typedef uint64_t pass_fn(struct bench *bench);

static uint64_t read_all(struct bench *bench, enum event_kind kind, const struct text *values)
{
    uint64_t sum = 0;
    for (int i = 0; i < EVENTS; i++) {
        struct event event;
        enum code code;
        struct ll_err err;
        if (codec_read(bench->codec, kind, values[i], bench->scratch, &event, &code, &err) != LL_OK) {
            fprintf(stderr, "%s\n", err.text);
            exit(1);
        }
        sum += (uint64_t)event.transaction.total_minor + event.transaction.line_count;
    }
    return sum;
}

static uint64_t pass_read_raw(struct bench *bench)
{
    return read_all(bench, EVENT_TRANSACTION, bench->raw);
}

static uint64_t pass_read_valid(struct bench *bench)
{
    return read_all(bench, EVENT_TRANSACTION_VALID, bench->valid);
}

static uint64_t write_all(struct bench *bench, enum event_kind kind)
{
    char value[VALUE_SIZE];
    uint64_t sum = 0;
    for (int i = 0; i < EVENTS; i++) {
        bench->events[i].kind = kind;
        sum += codec_write(bench->codec, &bench->events[i], value, sizeof value);
        sum += (unsigned char)value[9];
    }
    return sum;
}

static uint64_t pass_write_raw(struct bench *bench)
{
    return write_all(bench, EVENT_TRANSACTION);
}

static uint64_t pass_write_valid(struct bench *bench)
{
    return write_all(bench, EVENT_TRANSACTION_VALID);
}

static uint64_t pass_size(struct bench *bench)
{
    uint64_t sum = 0;
    for (int i = 0; i < EVENTS; i++)
        sum += codec_size_max(&bench->events[i]);
    return sum;
}

static uint64_t pass_content(struct bench *bench)
{
    uint64_t sum = 0;
    for (int i = 0; i < EVENTS; i++)
        sum += (uint64_t)transaction_content_hash(&bench->events[i].transaction);
    return sum;
}

static uint64_t pass_identity(struct bench *bench)
{
    uint64_t sum = 0;
    for (int i = 0; i < EVENTS; i++) {
        const struct transaction *transaction = &bench->events[i].transaction;
        sum += (uint64_t)transaction_identity_hash(transaction->source, transaction->type,
                                                   transaction->transaction_id);
    }
    return sum;
}

static double cpu_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

static int ascending(const void *a, const void *b)
{
    double left = *(const double *)a, right = *(const double *)b;
    return left < right ? -1 : left > right;
}

static void measure(struct bench *bench, const char *name, pass_fn *pass)
{
    double rounds[ROUNDS];
    uint64_t sum = pass(bench); /* warm; printed, so that no work can be left out */
    for (int round = 0; round < ROUNDS; round++) {
        double begin = cpu_ns();
        for (int i = 0; i < PASSES; i++)
            sum += pass(bench);
        rounds[round] = (cpu_ns() - begin) / PASSES / EVENTS;
    }
    qsort(rounds, ROUNDS, sizeof rounds[0], ascending);
    printf("%-24s %7.1f ns/event  [%.1f .. %.1f]  #%016" PRIx64 "\n", name, rounds[ROUNDS / 2], rounds[0],
           rounds[ROUNDS - 1], sum);
}

int main(int argc, char **argv)
{
    static struct bench bench = {.seed = 42};
    struct ll_err err;
    uint64_t raw_size = 0, valid_size = 0;

    if (codec_new(argc > 1 ? argv[1] : LENS_SOURCE_DIR "/schemas", NULL, &bench.codec, &err) != LL_OK) {
        fprintf(stderr, "%s\n", err.text);
        return 1;
    }
    bench.scratch = codec_scratch_new();
    for (int i = 0; i < EVENTS; i++) {
        make_event(&bench, &bench.events[i]);
    }
    for (int i = 0; i < EVENTS; i++) {
        bench.raw[i] = encode(&bench, &bench.events[i], EVENT_TRANSACTION);
        raw_size += bench.raw[i].size;
    }
    for (int i = 0; i < EVENTS; i++) {
        bench.valid[i] = encode(&bench, &bench.events[i], EVENT_TRANSACTION_VALID);
        valid_size += bench.valid[i].size;
    }
    printf("%d events, transaction %.1f bytes, transaction_valid %.1f bytes on average\n", EVENTS,
           (double)raw_size / EVENTS, (double)valid_size / EVENTS);
    measure(&bench, "read transaction", pass_read_raw);
    measure(&bench, "read transaction_valid", pass_read_valid);
    measure(&bench, "write transaction", pass_write_raw);
    measure(&bench, "write transaction_valid", pass_write_valid);
    measure(&bench, "size_max", pass_size);
    measure(&bench, "content hash", pass_content);
    measure(&bench, "identity hash", pass_identity);
    return 0;
}
