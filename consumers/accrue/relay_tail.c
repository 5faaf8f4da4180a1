#include "consumers/accrue/relay_tail.h"

#include "runtime/clock.h"
#include "runtime/kafka.h"
#include "runtime/process.h"

#include <string.h>

enum { WINDOW_FIRST = 1000, WINDOW_FACTOR = 16, ASK_MS = 5000, READ_MS = 100, SILENCE_MS = 10000, SETTLE_MS = 2000 };

static int64_t steady_ms(void)
{
    struct clock_source clock = clock_real();
    return clock.steady_ms(clock.self);
}

/* Both ends of a partition, the upper one once no open transaction hides anything below it. */
static enum ll_status find_ends(const struct relay_tail *tail, enum topic topic, int32_t partition, int64_t *ret_low,
                                int64_t *ret_end, struct ll_err *err)
{
    struct kafka_admin *all = NULL, *visible = NULL;
    int64_t low, shown = -1, until_ms = steady_ms() + SETTLE_MS;
    enum ll_status status = kafka_admin_open_uncommitted(tail->config, &all, err);
    if (status == LL_OK)
        status = kafka_admin_open(tail->config, &visible, err);
    if (status == LL_OK)
        status = kafka_admin_watermarks(all, topic, partition, ret_low, ret_end, ASK_MS, err);
    while (status == LL_OK && shown < *ret_end) {
        status = kafka_admin_watermarks(visible, topic, partition, &low, &shown, ASK_MS, err);
        if (status == LL_OK && shown < *ret_end && steady_ms() > until_ms)
            status = ll_fail(err, LL_RETRY, "kafka %.80s: %s[%d]: a transaction is open at offset %lld, below the end at %lld",
                             tail->config->kafka.bootstrap, topic_name(topic), partition, (long long)shown,
                             (long long)*ret_end);
        if (status == LL_OK && shown < *ret_end)
            process_pause(20);
    }
    kafka_admin_close(visible);
    kafka_admin_close(all);
    return status;
}

/* The highest row offset among the records from start on; *ret_offset stays if there is none. */
static enum ll_status read_from(const struct relay_tail *tail, enum topic topic, int32_t topic_partition, int64_t start,
                                int32_t partition, int64_t *ret_offset, struct ll_err *err)
{
    struct kafka_reader *reader = NULL;
    enum ll_status status = kafka_reader_open(tail->config, tail->topics, &topic, 1, &reader, err);
    if (status != LL_OK)
        return status;
    for (int32_t p = 0; p < tail->topics->facts[topic].partitions; p++)
        kafka_reader_start_at(reader, topic, p, p == topic_partition ? start : -1); /* -1: the end */
    int64_t heard_ms = steady_ms();
    while (status == LL_OK && !kafka_reader_at_end(reader)) {
        struct bus_record record;
        struct bus_header headers[BUS_HEADERS_MAX];
        enum bus_event event = kafka_reader_read(reader, READ_MS, &record, err);
        if (event == BUS_RECORD) {
            size_t count = kafka_reader_headers(reader, &record, headers);
            int64_t offset = record.partition != topic_partition
                                 ? -1
                                 : relay_record_offset(tail->maker, partition, &record, headers, count);
            *ret_offset = offset > *ret_offset ? offset : *ret_offset;
            kafka_reader_release(reader, &record);
            heard_ms = steady_ms();
        } else if (event == BUS_BROKEN) {
            status = LL_FATAL;
        } else if (steady_ms() - heard_ms > SILENCE_MS || process_stopping()) {
            status = ll_fail(err, LL_RETRY, "kafka %.80s: the end of %s cannot be read", tail->config->kafka.bootstrap,
                             topic_name(topic));
        }
    }
    kafka_reader_close(reader);
    return status;
}

static enum ll_status find_last(const struct relay_tail *tail, enum topic topic, int32_t partition, int64_t *ret_offset,
                                struct ll_err *err)
{
    int32_t topic_partition = partition % tail->topics->facts[topic].partitions;
    int64_t low, end;
    *ret_offset = -1;
    enum ll_status status = find_ends(tail, topic, topic_partition, &low, &end, err);
    for (int64_t window = WINDOW_FIRST; status == LL_OK && low < end && *ret_offset < 0; window *= WINDOW_FACTOR) {
        int64_t start = end - low > window ? end - window : low;
        status = read_from(tail, topic, topic_partition, start, partition, ret_offset, err);
        if (start == low)
            break;
    }
    return status;
}

enum ll_status relay_tail_find(void *arg, int32_t partition, int64_t *ret_progress, struct ll_err *err)
{
    const struct relay_tail *tail = arg;
    int64_t ledger = -1, dead = -1;
    enum ll_status status = find_last(tail, TOPIC_LEDGER, partition, &ledger, err);
    if (status == LL_OK)
        status = find_last(tail, TOPIC_DEAD_LETTER, partition, &dead, err);
    if (status == LL_OK)
        *ret_progress = (ledger > dead ? ledger : dead) + 1;
    return status;
}
