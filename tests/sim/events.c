#include "tests/sim/world.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

/* Two rule sets, simple enough to be computed again by hand in sim_target. */
static const char *const documents[] = {
    "name = \"one\"; effective_from = \"always\";"
    "rules = ( { id = 1; name = \"base\"; group = \"a\"; points = 1; per_minor = 10; },"
    "          { id = 2; name = \"big\"; group = \"b\"; points = 0; per_minor = 1; threshold_minor = 100; bonus = 7; } );",
    "name = \"two\"; effective_from = \"always\";"
    "rules = ( { id = 1; name = \"base\"; group = \"a\"; points = 1; per_minor = 5; cap = 40; } );",
};

const char *sim_rules_document(int32_t version)
{
    return version >= 1 && version <= 2 ? documents[version - 1] : NULL;
}

int64_t sim_target(int64_t net_minor, int32_t rules_version)
{
    if (net_minor <= 0)
        return 0;
    if (rules_version == 1)
        return net_minor / 10 + (net_minor >= 100 ? 7 : 0);
    if (rules_version == 2)
        return net_minor / 5 < 40 ? net_minor / 5 : 40;
    return 0;
}

static void encode(struct sim_world *world, int32_t partition, struct sim_record *record)
{
    struct sim_event *said = &record->event;
    struct event event = { .kind = EVENT_CONTROL };
    struct line line = { .line_no = 1, .product_id = TEXT("p"), .quantity = 1 };
    if (said->kind == 'A' || said->kind == 'T') {
        event.control = (struct control){ said->kind == 'A' ? CONTROL_RULES : CONTROL_TICK, said->rules_version,
                                          record->timestamp_ms };
    } else {
        line.unit_price_minor = line.amount_minor = said->amount_minor;
        event.kind = EVENT_TRANSACTION_VALID;
        event.transaction = (struct transaction){
            .transaction_id = text_of(said->id),
            .type = said->kind == 'S' ? TRANSACTION_SALE : said->kind == 'R' ? TRANSACTION_RETURN : TRANSACTION_VOID,
            .original_transaction_id = said->sale[0] != '\0' ? text_of(said->sale) : (struct text){ 0 },
            .event_time_ms = 5000, /* the same in all copies; older than any window */
            .customer_id = said->customer[0] != '\0' ? text_of(said->customer) : (struct text){ 0 },
            .currency = TEXT("GBP"),
            .source = TEXT("till"),
            .source_ref = TEXT("sim"),
            .lines = &line,
            .line_count = said->kind == 'V' ? 0 : 1,
            .raw_topic = TEXT("transactions"),
            .raw_partition = partition,
            .raw_offset = record->offset,
        };
        event.transaction.content_hash = transaction_content_hash(&event.transaction);
    }
    record->size = codec_write(world->codec, &event, record->value, sizeof record->value);
    assert(record->size > 0);
}

static void random_event(struct sim_world *world, int32_t partition, struct sim_event *ret)
{
    static const char kinds[] = "SSSSRRRRRVTA";
    static const int64_t amounts[] = { 5, 45, 120, 120, 230 }, returns[] = { 20, 60, 60, 110 };
    ret->kind = kinds[seed_random(&world->seed, sizeof kinds - 1)];
    uint32_t sale = seed_random(&world->seed, 6);
    if (ret->kind == 'A') {
        ret->rules_version = 1 + (int32_t)seed_random(&world->seed, 2);
        return;
    }
    if (ret->kind == 'T')
        return;
    bool anonymous = sale == 5;
    snprintf(ret->customer, sizeof ret->customer, "c%d.%u", partition, sale % SIM_CUSTOMERS);
    if (ret->kind == 'S') {
        snprintf(ret->id, sizeof ret->id, "s%d.%u", partition, sale);
        ret->amount_minor = amounts[seed_random(&world->seed, 5)];
    } else {
        uint32_t number = seed_random(&world->seed, 9);
        sale = number % 6;
        snprintf(ret->customer, sizeof ret->customer, "c%d.%u", partition,
                 seed_random(&world->seed, 10) == 0 ? 0 : sale % SIM_CUSTOMERS);
        snprintf(ret->id, sizeof ret->id, "%c%d.%u", ret->kind == 'R' ? 'r' : 'v', partition, number);
        if (seed_random(&world->seed, 12) != 0 || ret->kind == 'V')
            snprintf(ret->sale, sizeof ret->sale, "s%d.%u", partition, sale);
        ret->amount_minor = returns[seed_random(&world->seed, 4)];
        anonymous = sale == 5;
    }
    if (anonymous)
        ret->customer[0] = '\0';
}

void sim_make_logs(struct sim_world *world)
{
    for (int32_t partition = 0; partition < SIM_PARTITIONS; partition++) {
        struct sim_log *log = &world->logs[partition];
        int64_t offset = 0, timestamp_ms = 10000;
        size_t count = 4 + seed_random(&world->seed, 26);
        for (size_t i = 0; i < count; i++) {
            struct sim_record *record = &log->records[log->count];
            offset += seed_random(&world->seed, 4) == 0 ? 2 : 1; /* a transaction marker between */
            timestamp_ms += seed_random(&world->seed, 3) == 0 ? 1000 : 0;
            if (seed_random(&world->seed, 12) == 0)
                timestamp_ms += world->config.accrue.hold_ms;
            record->offset = offset;
            record->timestamp_ms = timestamp_ms;
            if (i == 0)
                record->event = (struct sim_event){ .kind = 'A', .rules_version = 1 };
            else
                random_event(world, partition, &record->event);
            int number = world->event_count++;
            if (i > 0 && number < SIM_CUT_EVENTS_MAX && world->seed.cut.events[number]) {
                record->event = (struct sim_event){ .kind = '\0' };
                continue;
            }
            encode(world, partition, record);
            log->count++;
        }
        log->end = offset + 1 + (int64_t)seed_random(&world->seed, 2);
    }
}
