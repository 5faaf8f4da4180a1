/* The invariants of validate: each raw record is decided once, and its offset and its decision are seen together. */
#include "tests/sim/valid.h"

#include <stdlib.h>
#include <string.h>

struct fate {
    int valid, dead, waits;
    bool was_bad; /* its dead letter says another record's time */
};

static int64_t header_number(const struct valid_record *record, const char *name)
{
    for (size_t i = 0; i < record->header_count; i++)
        if (text_equal(record->headers[i].name, text_of(name))) {
            char text[24] = "";
            struct text value = record->headers[i].value;
            memcpy(text, value.data, value.size < sizeof text ? value.size : sizeof text - 1);
            return strtoll(text, NULL, 10);
        }
    return -1;
}

static bool header_is(const struct valid_record *record, const char *name, struct text value)
{
    for (size_t i = 0; i < record->header_count; i++)
        if (text_equal(record->headers[i].name, text_of(name)))
            return text_equal(record->headers[i].value, value);
    return false;
}

/* The event of a record of transactions.valid; false: a control record. */
static bool read_valid(struct valid_world *world, const struct valid_record *record, struct event *ret)
{
    enum code code = CODE_NONE;
    struct ll_err err = { "" };
    struct text value = { record->value, record->value_size };
    if (codec_schema_id(value, &code) == codec_own_id(world->codec, EVENT_CONTROL))
        return false;
    if (codec_read(world->codec, EVENT_TRANSACTION_VALID, value, world->scratch, ret, &code, &err) == LL_OK)
        return true;
    seed_bad(&world->seed, "a record of transactions.valid does not decode: %s", err.text);
    return false;
}

static void fates_of(struct valid_world *world, int32_t p, struct fate *fates)
{
    const struct valid_log *valid = &world->logs[TOPIC_TRANSACTIONS_VALID][p], *dead = &world->logs[TOPIC_DEAD_LETTER][p],
                           *retry = &world->logs[TOPIC_TRANSACTIONS_RETRY][p], *raw = &world->logs[TOPIC_TRANSACTIONS][p];
    struct event event;
    for (int64_t i = 0; i < valid->count; i++)
        if (valid_is_seen(world, &valid->records[i]) && read_valid(world, &valid->records[i], &event)) {
            int64_t offset = event.transaction.raw_offset;
            if (offset < 0 || offset >= raw->count) {
                seed_bad(&world->seed, "p%d: a valid record names raw offset %lld", p, (long long)offset);
                continue;
            }
            fates[offset].valid++;
            fates[offset].was_bad = fates[offset].was_bad || valid->records[i].timestamp_ms != raw->records[offset].timestamp_ms;
        }
    for (int64_t i = 0; i < dead->count; i++) {
        int64_t offset = header_number(&dead->records[i], "ll-offset");
        if (!valid_is_seen(world, &dead->records[i]) || !header_is(&dead->records[i], "ll-topic", TEXT("transactions")))
            continue;
        if (offset < 0 || offset >= raw->count) {
            seed_bad(&world->seed, "p%d: a dead letter names raw offset %lld", p, (long long)offset);
            continue;
        }
        fates[offset].dead++;
        fates[offset].was_bad = fates[offset].was_bad || dead->records[i].timestamp_ms != raw->records[offset].timestamp_ms;
    }
    for (int64_t i = retry->committed; i < retry->count; i++) {
        int64_t offset = header_number(&retry->records[i], "ll-offset");
        if (valid_is_seen(world, &retry->records[i]) && offset >= 0 && offset < raw->count)
            fates[offset].waits++;
    }
}

void valid_check_instant(struct valid_world *world)
{
    for (int32_t p = 0; p < VALID_PARTITIONS; p++) {
        const struct valid_log *raw = &world->logs[TOPIC_TRANSACTIONS][p];
        struct fate fates[VALID_EVENTS_MAX + 1] = { { 0, 0, 0, false } };
        fates_of(world, p, fates);
        for (int64_t offset = 0; offset < raw->count && world->seed.bad[0] == '\0'; offset++) {
            const struct fate *fate = &fates[offset];
            int wanted = offset < raw->committed ? 1 : 0;
            if (fate->valid + fate->dead + fate->waits != wanted)
                seed_bad(&world->seed, "step %lld, p%d offset %lld, %s: %d valid, %d dead, %d waiting", (long long)world->seed.step, p,
                          (long long)offset, wanted == 1 ? "committed" : "not committed", fate->valid, fate->dead, fate->waits);
            if (fate->was_bad)
                seed_bad(&world->seed, "p%d offset %lld: not the raw record's time", p, (long long)offset);
        }
    }
}

static void mix(struct valid_world *world, const void *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++)
        world->hash = (world->hash ^ ((const unsigned char *)bytes)[i]) * UINT64_C(0x100000001b3);
}

static void check_event(struct valid_world *world, const struct valid_event *event, const struct fate *fate)
{
    static const char must_be[] = "GBXN", wanted[] = "vddd"; /* L: as time would have it */
    const char *at = strchr(must_be, event->kind);
    if (at == NULL || event->kind == '\0')
        return;
    char got = fate->valid == 1 ? 'v' : 'd';
    if (got != wanted[at - must_be])
        seed_bad(&world->seed, "p%d offset %lld is of kind %c, and %s", event->partition, (long long)event->offset, event->kind,
                  got == 'v' ? "valid" : "dead");
}

void valid_check(struct valid_world *world)
{
    valid_check_instant(world);
    for (int32_t p = 0; p < VALID_PARTITIONS; p++) {
        struct fate fates[VALID_EVENTS_MAX + 1] = { { 0, 0, 0, false } };
        fates_of(world, p, fates);
        for (int i = 0; i < world->event_count; i++)
            if (world->events[i].kind != 'C' && world->events[i].partition == p && world->events[i].offset >= 0)
                check_event(world, &world->events[i], &fates[world->events[i].offset]);
    }
    int64_t customers = 0;
    for (int64_t i = 0; i < world->logs[TOPIC_CUSTOMERS_VALID][0].count; i++)
        customers += valid_is_seen(world, &world->logs[TOPIC_CUSTOMERS_VALID][0].records[i]);
    if (customers != world->logs[TOPIC_CUSTOMERS][0].count)
        seed_bad(&world->seed, "%lld customers sent, %lld valid", (long long)world->logs[TOPIC_CUSTOMERS][0].count, (long long)customers);
    world->hash = 1;
    for (int topic = 0; topic < TOPIC_COUNT; topic++)
        for (int32_t p = 0; p < valid_partitions(world, (enum topic)topic); p++)
            for (int64_t i = 0; i < world->logs[topic][p].count; i++) {
                const struct valid_record *record = &world->logs[topic][p].records[i];
                mix(world, record->value, record->value_size);
                mix(world, &record->timestamp_ms, sizeof record->timestamp_ms);
            }
}
