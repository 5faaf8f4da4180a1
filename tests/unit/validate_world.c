#include "tests/unit/validate_world.h"

#include "tests/unit/validate_world_bus.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The registry: the linker puts this before codec_read (--wrap). */

static const struct world *open_world;
enum ll_status __real_codec_read(struct codec *codec, enum event_kind kind, struct text value,
                                 struct codec_scratch *scratch, struct event *ret, enum code *ret_code,
                                 struct ll_err *err);
enum ll_status __wrap_codec_read(struct codec *codec, enum event_kind kind, struct text value,
                                 struct codec_scratch *scratch, struct event *ret, enum code *ret_code,
                                 struct ll_err *err);

enum ll_status __wrap_codec_read(struct codec *codec, enum event_kind kind, struct text value,
                                 struct codec_scratch *scratch, struct event *ret, enum code *ret_code,
                                 struct ll_err *err)
{
    enum ll_status status = __real_codec_read(codec, kind, value, scratch, ret, ret_code, err);
    if (status == LL_POISON && *ret_code == CODE_SCHEMA_UNKNOWN && open_world->is_registry_down)
        return ll_fail(err, LL_RETRY, "the schema registry does not answer");
    return status;
}

static int64_t clock_wall(void *self)
{
    return ((struct world *)self)->wall_ms;
}
static int64_t clock_steady(void *self)
{
    return ((struct world *)self)->steady_ms;
}

/* The world itself. */

void world_open(struct world *world)
{
    memset(world, 0, sizeof *world);
    open_world = world;
    world->wall_ms = INT64_C(1700000000000);
    world->steady_ms = 1000000;
    config_defaults(&world->config);
    snprintf(world->config.program.currency, sizeof world->config.program.currency, "GBP");
    cr_assert_eq(topics_load(LENS_SOURCE_DIR "/topics.conf", &world->topics, &world->err), LL_OK, "%s",
                 world->err.text);
    for (int topic = 0; topic < TOPIC_COUNT; topic++)
        if (world_partitions(world, (enum topic)topic) > WORLD_PARTITIONS)
            world->topics.facts[topic].partitions = WORLD_PARTITIONS;
    cr_assert_eq(settings_load(LENS_SOURCE_DIR "/deploy/validation.conf", &world->settings, &world->err),
                 LL_OK, "%s", world->err.text);
    cr_assert_eq(calendar_new("Europe/London", &world->calendar, &world->err), LL_OK);
    cr_assert_eq(codec_new(LENS_SOURCE_DIR "/schemas", NULL, &world->codec, &world->err), LL_OK, "%s",
                 world->err.text);
    for (int topic = 0; topic < TOPIC_COUNT; topic++)
        for (int32_t partition = 0; partition < WORLD_PARTITIONS; partition++)
            world->logs[topic][partition].committed = -1;
    struct event product = {.kind = EVENT_PRODUCT,
                            .product = {.product_id = TEXT("P1"),
                                        .category = TEXT("tea"),
                                        .active = true,
                                        .source = TEXT("pos"),
                                        .source_ref = TEXT("t:1")}};
    struct event store = {
        .kind = EVENT_STORE,
        .store = {.store_id = TEXT("S1"), .source = TEXT("pos"), .source_ref = TEXT("t:1")}};
    world_put_event(world, TOPIC_PRODUCTS, 0, TEXT("P1"), &product);
    world_put_event(world, TOPIC_STORES, 0, TEXT("S1"), &store);
    world_put_customer(world, "C1");
}

void world_start(struct world *world)
{
    struct validate_needs needs = {
        .config = &world->config,
        .topics = &world->topics,
        .settings = &world->settings,
        .codec = world->codec,
        .calendar = world->calendar,
        .clock = {clock_wall, clock_steady, world},
        .consumer = {&world_consumer, world},
        .feed = {&world_feed, world},
        .group = "lens-validate",
        .isolate = world->isolate,
        .open_producer = world_open_producer,
        .arg = world,
    };
    world->assigned_count = world->event_count = 0;
    world->is_flowing = false;
    for (int topic = 0; topic < TOPIC_COUNT; topic++)
        for (int32_t partition = 0; partition < WORLD_PARTITIONS; partition++) {
            struct world_log *log = &world->logs[topic][partition];
            log->position = log->polled = -1;
            log->paused = false;
            log->feed_at = 0;
            log->feed_end = (int64_t)log->count;
        }
    for (size_t i = 0; i < VALIDATE_TOPIC_COUNT; i++)
        for (int32_t partition = 0; partition < world_partitions(world, VALIDATE_TOPICS[i]); partition++)
            world->assigned[world->assigned_count++] =
                (struct bus_position){VALIDATE_TOPICS[i], partition, BUS_COMMITTED};
    world->events[world->event_count++] = (struct world_event){BUS_ASSIGNED, false};
    world->validate = validate_new(&needs);
}

void world_kill(struct world *world)
{
    validate_free(world->validate);
    world->validate = NULL;
    world->held = 0;
    world_drop_pending(world);
}

void world_close(struct world *world)
{
    if (world->validate != NULL) {
        cr_assert_eq(validate_finish(world->validate, &world->err), LL_OK, "%s", world->err.text);
        cr_assert_eq(world->held, 0, "every record is let go of");
        world_kill(world);
    }
    for (int topic = 0; topic < TOPIC_COUNT; topic++)
        for (int32_t partition = 0; partition < WORLD_PARTITIONS; partition++) {
            struct world_log *log = &world->logs[topic][partition];
            for (size_t i = 0; i < log->count; i++) {
                world_record_free(log->records[i]);
                free(log->records[i]);
            }
            free(log->records);
        }
    codec_free(world->codec);
    calendar_free(world->calendar);
    settings_done(&world->settings);
    isolate_close(world->isolate);
}

void world_step(struct world *world, int count)
{
    for (int i = 0; i < count; i++)
        cr_assert_eq(validate_step(world->validate, &world->err), LL_OK, "%s", world->err.text);
}

void world_settle(struct world *world)
{
    for (int64_t until_ms = world->steady_ms + 4000; world->steady_ms < until_ms;)
        world_step(world, 1);
}

void world_rebalance(struct world *world, bool lost)
{
    world->events[world->event_count++] = (struct world_event){BUS_REVOKED, lost};
    world->events[world->event_count++] = (struct world_event){BUS_ASSIGNED, false};
}

int64_t world_put(struct world *world, enum topic topic, int32_t partition, struct text key,
                  struct text value, const struct bus_header *headers, size_t header_count)
{
    return world_append(&world->logs[topic][partition],
                        world_record_of(key, value, headers, header_count, world->wall_ms));
}

int64_t world_put_event(struct world *world, enum topic topic, int32_t partition, struct text key,
                        const struct event *event)
{
    char value[8192];
    size_t size = codec_write(world->codec, event, value, sizeof value);
    cr_assert(size > 0);
    return world_put(world, topic, partition, key, (struct text){value, (uint32_t)size}, NULL, 0);
}

struct event world_sale(const struct world *world, const char *id, struct line *lines)
{
    lines[0] = (struct line){
        .line_no = 1, .product_id = TEXT("P1"), .quantity = 2, .unit_price_minor = 500, .amount_minor = 1000};
    return (struct event){
        .kind = EVENT_TRANSACTION,
        .transaction = {.transaction_id = text_of(id),
                        .event_time_ms = world->wall_ms - 1000,
                        .store_id = TEXT("S1"),
                        .customer_id = TEXT("C1"),
                        .currency = TEXT("GBP"),
                        .has_total = true,
                        .total_minor = 1000,
                        .source = TEXT("pos"),
                        .source_ref = TEXT("till:1"),
                        .lines = lines,
                        .line_count = 1},
    };
}

void world_put_customer(struct world *world, const char *id)
{
    struct event event = {
        .kind = EVENT_CUSTOMER,
        .customer = {.customer_id = text_of(id), .source = TEXT("pos"), .source_ref = TEXT("t:1")}};
    world_put_event(world, TOPIC_CUSTOMERS, 0, text_of(id), &event);
}

size_t world_count(const struct world *world, enum topic topic, int32_t partition)
{
    size_t count = 0;
    for (size_t i = 0; i < world->logs[topic][partition].count; i++)
        count += !world->logs[topic][partition].records[i]->is_marker;
    return count;
}

const struct world_record *world_get(const struct world *world, enum topic topic, int32_t partition, size_t n)
{
    const struct world_log *log = &world->logs[topic][partition];
    for (size_t i = 0; i < log->count; i++)
        if (!log->records[i]->is_marker && n-- == 0)
            return log->records[i];
    cr_assert_fail("there is no such record in %s/%d", topic_name(topic), partition);
    return NULL;
}

const char *world_header(const struct world_record *record, const char *name)
{
    for (size_t i = 0; i < record->header_count; i++)
        if (text_equal(record->headers[i].name, text_of(name)))
            return record->headers[i].value.data;
    return "";
}

static bool read_valid(struct world *world, const struct world_record *record, struct codec_scratch *scratch,
                       struct event *ret)
{
    enum code code;
    struct text value = {record->value, record->value_size};
    enum event_kind kind = codec_schema_id(value, &code) == codec_own_id(world->codec, EVENT_CONTROL)
                               ? EVENT_CONTROL
                               : EVENT_TRANSACTION_VALID;
    cr_assert_eq(codec_read(world->codec, kind, value, scratch, ret, &code, &world->err), LL_OK, "%s",
                 world->err.text);
    ret->kind = kind;
    return kind == EVENT_TRANSACTION_VALID;
}

size_t world_valid_of(struct world *world, int32_t partition, int64_t offset)
{
    struct codec_scratch *scratch = codec_scratch_new();
    const struct world_log *log = &world->logs[TOPIC_TRANSACTIONS_VALID][partition];
    size_t count = 0;
    struct event event;
    for (size_t i = 0; i < log->count; i++)
        count += !log->records[i]->is_marker && read_valid(world, log->records[i], scratch, &event) &&
                 event.transaction.raw_offset == offset;
    codec_scratch_free(scratch);
    return count;
}

size_t world_dead_of(struct world *world, int32_t partition, int64_t offset)
{
    const struct world_log *log = &world->logs[TOPIC_DEAD_LETTER][partition];
    size_t count = 0;
    char wanted[24];
    snprintf(wanted, sizeof wanted, "%lld", (long long)offset);
    for (size_t i = 0; i < log->count; i++)
        count += !log->records[i]->is_marker &&
                 strcmp(world_header(log->records[i], "ll-topic"), "transactions") == 0 &&
                 strcmp(world_header(log->records[i], "ll-offset"), wanted) == 0;
    return count;
}

int64_t world_control(struct world *world, int32_t partition, enum control_kind kind, size_t *ret_count)
{
    struct codec_scratch *scratch = codec_scratch_new();
    const struct world_log *log = &world->logs[TOPIC_TRANSACTIONS_VALID][partition];
    int64_t last = 0;
    struct event event;
    *ret_count = 0;
    for (size_t i = 0; i < log->count; i++) {
        if (log->records[i]->is_marker || read_valid(world, log->records[i], scratch, &event) ||
            event.control.kind != kind)
            continue;
        cr_assert_eq(log->records[i]->timestamp_ms, event.control.time_ms,
                     "the record's time is the log's clock");
        last = kind == CONTROL_RULES ? event.control.rules_version : event.control.time_ms;
        ++*ret_count;
    }
    codec_scratch_free(scratch);
    return last;
}

int64_t world_put_sale(struct world *world, int32_t partition, const char *id, char fault, const char *name)
{
    struct line lines[2];
    struct event event = world_sale(world, id, lines);
    if (fault == 'p')
        lines[0].unit_price_minor = 0;
    if (fault == 'c')
        event.transaction.customer_id = text_of(name);
    if (fault == 's')
        event.transaction.source = text_of(name);
    return world_put_event(world, TOPIC_TRANSACTIONS, partition, text_of(id), &event);
}

void world_expect_decided_once(struct world *world, int32_t partition)
{
    const struct world_log *log = &world->logs[TOPIC_TRANSACTIONS][partition];
    for (int64_t offset = 0; offset < (int64_t)log->count; offset++)
        if (!log->records[offset]->is_marker)
            cr_assert_eq(world_valid_of(world, partition, offset) + world_dead_of(world, partition, offset),
                         1, "%d/%lld: valid %zu, dead %zu", partition, (long long)offset,
                         world_valid_of(world, partition, offset), world_dead_of(world, partition, offset));
    cr_assert_eq(log->committed, (int64_t)log->count);
}
