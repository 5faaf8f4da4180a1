#include "ops/scan.h"

#include "ops/reach.h"
#include "runtime/clock.h"

enum { READ_MS = 100, PROGRESS_RECORDS = 50000 };

static void tell(struct lens *lens, const struct scan *scan, int64_t records)
{
    if (scan->doing != NULL && records % PROGRESS_RECORDS == 0)
        lens_progress(lens, "%s: %s records", scan->doing, lens_number(records));
}

static enum ll_status read_all(struct lens *lens, const struct scan *scan, struct kafka_reader *reader,
                               struct ll_err *err)
{
    struct clock_source clock = clock_real();
    int64_t heard_ms = clock.steady_ms(clock.self);
    int64_t records = 0, heard_records = 0;
    while (!kafka_reader_at_end(reader)) {
        struct bus_record record;
        enum bus_event event = kafka_reader_read(reader, READ_MS, &record, err);
        if (event == BUS_BROKEN)
            return LL_FATAL;
        if (event == BUS_RECORD) {
            bool more = scan->each(scan->arg, reader, &record);
            kafka_reader_release(reader, &record);
            if (!more)
                return LL_OK;
            tell(lens, scan, ++records);
            continue;
        }
        if (records > heard_records) {
            heard_records = records;
            heard_ms = clock.steady_ms(clock.self);
        }
        if (clock.steady_ms(clock.self) - heard_ms > REACH_TIMEOUT_MS)
            return ll_fail(err, LL_RETRY, "kafka %s: nothing could be read for %d s; see `lens status`",
                           lens->config.kafka.bootstrap, REACH_TIMEOUT_MS / 1000);
    }
    return LL_OK;
}

enum ll_status scan_run(struct lens *lens, const struct topics *topics, const struct scan *scan,
                        struct ll_err *err)
{
    struct kafka_reader *reader = NULL;
    enum ll_status status =
        kafka_reader_open(&lens->config, topics, scan->topics, scan->topic_count, &reader, err);
    if (status != LL_OK)
        return status;
    for (size_t i = 0; i < scan->start_count; i++)
        kafka_reader_start_at(reader, scan->starts[i].topic, scan->starts[i].partition,
                              scan->starts[i].offset);
    status = read_all(lens, scan, reader, err);
    if (scan->doing != NULL)
        lens_progress_end(lens);
    kafka_reader_close(reader);
    return status;
}

struct text scan_header(const struct bus_header *headers, size_t count, const char *name)
{
    struct text wanted = text_of(name);
    for (size_t i = 0; i < count; i++)
        if (text_equal(headers[i].name, wanted))
            return headers[i].value;
    return (struct text){ NULL, 0 };
}

int64_t scan_int(struct text text, int64_t otherwise)
{
    if (text.data == NULL || text.size == 0 || text.size > 19)
        return otherwise;
    bool negative = text.data[0] == '-';
    int64_t value = 0;
    if (negative && text.size == 1)
        return otherwise;
    for (uint32_t i = negative ? 1 : 0; i < text.size; i++) {
        if (text.data[i] < '0' || text.data[i] > '9')
            return otherwise;
        if (__builtin_mul_overflow(value, 10, &value) ||
            __builtin_add_overflow(value, text.data[i] - '0', &value))
            return otherwise;
    }
    return negative ? -value : value;
}
