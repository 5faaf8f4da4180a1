#include "consumers/validate/loop.h"
#include "runtime/log.h"
#include "schemas/arena.h"
#include "tests/sim/valid.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SETTLE_STEPS_MAX = 20000, QUIET_STEPS = 60, EVENT_STEPS_MAX = 800, TXN_STEPS_MAX = 400 };
static const int64_t BEGIN_MS = INT64_C(1700000000000);

const char *const valid_bug_names[VALID_BUGS] = {
    [VALID_BUG_NONE] = "none",
    [VALID_BUG_OFFSETS_APART] = "valid-offsets-apart",
    [VALID_BUG_UNFENCED] = "valid-unfenced",
    [VALID_BUG_UNSETTLED] = "valid-unsettled",
    [VALID_BUG_UNCOMMITTED] = "valid-uncommitted",
    [VALID_BUG_OPEN_END] = "valid-open-end",
    [VALID_BUG_AHEAD] = "valid-ahead",
};

struct valid_memory {
    struct arena texts;
};

void *valid_keep(struct valid_world *world, const void *bytes, size_t size)
{
    return bytes == NULL ? NULL : arena_copy(&world->memory->texts, (const char *)bytes, size);
}

/* ---- what arrives ---- */

static void put(struct valid_world *world, enum topic topic, int32_t partition, struct text key, struct text value)
{
    struct valid_record *record = valid_append(world, topic, partition, -1);
    record->key = valid_keep(world, key.data, key.size);
    record->value = valid_keep(world, value.data, value.size);
    record->key_size = key.size;
    record->value_size = value.size;
}

static void put_event(struct valid_world *world, enum topic topic, int32_t partition, struct text key, const struct event *event)
{
    char value[2048];
    size_t size = codec_write(world->codec, event, value, sizeof value);
    put(world, topic, partition, key, (struct text){ value, (uint32_t)size });
}

static void put_customer(struct valid_world *world, const char *id)
{
    struct event event = { .kind = EVENT_CUSTOMER,
                           .customer = { .customer_id = text_of(id), .source = TEXT("pos"), .source_ref = TEXT("t:1") } };
    put_event(world, TOPIC_CUSTOMERS, 0, text_of(id), &event);
}

static void put_references(struct valid_world *world)
{
    struct event product = { .kind = EVENT_PRODUCT,
                             .product = { .product_id = TEXT("P1"), .category = TEXT("tea"), .active = true, .source = TEXT("pos"),
                                          .source_ref = TEXT("t:1") } };
    struct event store = { .kind = EVENT_STORE,
                           .store = { .store_id = TEXT("S1"), .source = TEXT("pos"), .source_ref = TEXT("t:1") } };
    put_event(world, TOPIC_PRODUCTS, 0, TEXT("P1"), &product);
    put_event(world, TOPIC_STORES, 0, TEXT("S1"), &store);
    put_customer(world, "C1");
}

static void arrive(struct valid_world *world, struct valid_event *what)
{
    char id[16], customer[16];
    snprintf(id, sizeof id, "T%d", what->number);
    snprintf(customer, sizeof customer, what->kind == 'N' ? "never%d" : "late%d", what->number);
    if (what->kind == 'C') {
        put_customer(world, customer);
        return;
    }
    what->offset = world->logs[TOPIC_TRANSACTIONS][what->partition].count;
    if (what->kind == 'X') {
        put(world, TOPIC_TRANSACTIONS, what->partition, TEXT("x"), TEXT("\x01nothing of ours"));
        return;
    }
    struct line line = { .line_no = 1, .product_id = TEXT("P1"), .quantity = 1, .unit_price_minor = 500, .amount_minor = 500 };
    bool is_known = what->kind == 'G' || what->kind == 'B';
    struct event event = { .kind = EVENT_TRANSACTION,
                           .transaction = { .transaction_id = text_of(id),
                                            .event_time_ms = world->now_ms - 1000,
                                            .store_id = TEXT("S1"),
                                            .customer_id = is_known ? TEXT("C1") : text_of(customer),
                                            .currency = TEXT("GBP"),
                                            .has_total = true,
                                            .total_minor = what->kind == 'B' ? 1 : 500,
                                            .source = TEXT("pos"),
                                            .source_ref = TEXT("till:1"),
                                            .lines = &line,
                                            .line_count = 1 } };
    put_event(world, TOPIC_TRANSACTIONS, what->partition, event.transaction.customer_id, &event);
}

static void make_events(struct valid_world *world)
{
    static const char kinds[] = "GGGGGBXNLL";
    int count = 5 + (int)seed_random(&world->seed, 35);
    for (int i = 0; i < count && world->event_count + 1 < VALID_EVENTS_MAX; i++) {
        struct valid_event event = { .kind = kinds[seed_random(&world->seed, sizeof kinds - 1)],
                                     .number = i,
                                     .partition = (int32_t)seed_random(&world->seed, VALID_PARTITIONS),
                                     .at_step = seed_random(&world->seed, 3) == 0 ? 0 : seed_random(&world->seed, EVENT_STEPS_MAX),
                                     .offset = -1 };
        int64_t customer_at = event.at_step - 100 + seed_random(&world->seed, 300);
        if (world->seed.cut.events[i])
            continue;
        world->events[world->event_count++] = event;
        if (event.kind != 'L')
            continue;
        event.kind = 'C';
        event.at_step = customer_at < 0 ? 0 : customer_at;
        world->events[world->event_count++] = event;
    }
}

static void arrivals(struct valid_world *world)
{
    for (int i = 0; i < world->event_count; i++) {
        struct valid_event *event = &world->events[i];
        if (event->kind == '\0' || event->at_step > world->seed.step || (event->kind != 'C' && event->offset >= 0) ||
            (event->kind == 'C' && event->offset == -2))
            continue;
        arrive(world, event);
        if (event->kind == 'C')
            event->offset = -2;
        world->events_done++;
        seed_say(&world->seed, "arrives: %c%d in %d", event->kind, event->number, event->partition);
    }
}

/* ---- processes ---- */

static void client_start(struct valid_client *client)
{
    struct valid_world *world = client->world;
    struct validate_needs needs = {
        .config = &world->config,
        .topics = &world->topics,
        .settings = &world->settings,
        .codec = world->codec,
        .calendar = world->calendar,
        .clock = valid_clock(world),
        .consumer = valid_consumer(client),
        .feed = valid_feed(client),
        .group = "validate",
        .open_producer = valid_open_producer,
        .arg = client,
    };
    memset(client->position, -1, sizeof client->position);
    memset(client->polled, -1, sizeof client->polled);
    for (int topic = 0; topic < TOPIC_COUNT; topic++)
        client->feed_end[topic] = valid_settled_end(world, (enum topic)topic, 0);
    client->validate = validate_new(&needs);
}

static void spawn(struct valid_world *world, int instance, int64_t after)
{
    if (world->client_count == VALID_CLIENTS_MAX) {
        seed_bad(&world->seed, "too many processes died");
        return;
    }
    struct valid_client *client = calloc(1, sizeof *client);
    if (client == NULL)
        abort();
    *client = (struct valid_client){ .world = world, .number = world->client_count, .instance = instance, .alive = true,
                                     .asleep_until = world->seed.step + after, .txn = -1, .generation = -1 };
    world->clients[world->client_count++] = client;
    world->member[instance] = client->number;
    seed_say(&world->seed, "%d is started as instance %d", client->number, instance);
}

/* What it believes that it may commit of a partition goes past what waits there. */
static void plant(struct valid_client *client)
{
    struct validate *v = client->validate;
    if (client->world->bug != VALID_BUG_AHEAD || v == NULL)
        return;
    for (struct part *part = part_next(v, NULL); part != NULL; part = part_next(v, part))
        if (part->waiting_count > 0 && part->believe_position)
            part->next = client->polled[part->topic][part->partition];
}

static void client_step(struct valid_world *world, struct valid_client *client)
{
    struct ll_err err = { "" };
    world->running = client;
    if (setjmp(world->crash) != 0) {
        struct valid_client *dead = world->running;
        dead->alive = false;
        if (world->member[dead->instance] == dead->number)
            spawn(world, dead->instance, seed_random(&world->seed, 20));
        return;
    }
    if (client->validate == NULL)
        client_start(client);
    plant(client);
    if (validate_step(client->validate, &err) != LL_FATAL)
        return;
    seed_say(&world->seed, "%d stops: %s", client->number, err.text);
    client->alive = false;
    if (world->member[client->instance] == client->number)
        spawn(world, client->instance, seed_random(&world->seed, 20));
}

/* Who has joined makes the new generation; who has not is out of it. */
static void join_as_due(struct valid_world *world)
{
    if (!world->joining)
        return;
    bool all = true, any = false;
    for (int i = 0; i < world->instance_count; i++) {
        const struct valid_client *member = world->clients[world->member[i]];
        all = all && member->joined && member->alive;
        any = any || (member->joined && member->alive);
    }
    if (!any || (!all && world->seed.step < world->joining_until))
        return;
    for (int i = 0; i < world->instance_count; i++) {
        struct valid_client *member = world->clients[world->member[i]];
        member->joined = member->joined && member->alive;
    }
    world->joining = false;
    world->generation++;
}

static void world_fault(struct valid_world *world)
{
    static const char *const names[] = { "kill", "pause", "pause, and the name is started again", "rebalance", "brokers away",
                                         "time passes", "another instance" };
    uint32_t kind = seed_random(&world->seed, 7);
    int instance = (int)seed_random(&world->seed, (uint32_t)world->instance_count);
    struct valid_client *client = world->clients[world->member[instance]];
    seed_say(&world->seed, "!! %s", names[kind]);
    if (client->asleep_until == INT64_MAX && kind <= 2)
        return; /* in the middle of its commit */
    switch (kind) {
    case 0:
        client->alive = false;
        spawn(world, instance, seed_random(&world->seed, 20));
        break;
    case 1:
        client->asleep_until = world->seed.step + 1 + seed_random(&world->seed, 200);
        break;
    case 2:
        client->asleep_until = world->seed.step + 1 + seed_random(&world->seed, 200);
        spawn(world, instance, seed_random(&world->seed, 20));
        break;
    case 3:
        client->joined = false;
        world->joining = true;
        world->joining_until = world->seed.step + 60;
        for (int i = 0; i < world->client_count; i++)
            world->clients[i]->joined = false;
        break;
    case 4:
        world->down_until = world->seed.step + 1 + seed_random(&world->seed, 60);
        break;
    case 5:
        world->now_ms += seed_random(&world->seed, 2) == 0 ? 1000 : 20000;
        break;
    default:
        if (world->instance_count < VALID_INSTANCES)
            spawn(world, world->instance_count++, 0);
        break;
    }
}

/* ---- one step ---- */

void valid_step(struct valid_world *world)
{
    world->seed.step++;
    world->now_ms++;
    arrivals(world);
    while (world->txn_settled < world->txn_count && world->txns[world->txn_settled].state != VALID_OPEN)
        world->txn_settled++;
    for (int i = world->txn_settled; i < world->txn_count; i++)
        if (world->txns[i].state == VALID_OPEN && world->seed.step - world->txns[i].begun_at > TXN_STEPS_MAX) {
            world->epoch[world->txns[i].instance]++; /* the coordinator ends it, and fences who left it */
            valid_end_txn(world, i, VALID_ABORTED);
        }
    join_as_due(world);
    if (seed_fault_due(&world->seed))
        world_fault(world);
    int ready[VALID_CLIENTS_MAX], count = 0;
    for (int i = 0; i < world->client_count; i++)
        if (world->clients[i]->alive && world->clients[i]->asleep_until <= world->seed.step)
            ready[count++] = i;
    if (count > 0)
        client_step(world, world->clients[ready[seed_random(&world->seed, (uint32_t)count)]]);
}

/* Markers and aborted records at the end may stand behind the group's offset: after a rebalance the next record says it. */
static bool is_read(const struct valid_world *world, enum topic topic, int32_t partition)
{
    const struct valid_log *log = &world->logs[topic][partition];
    for (int64_t i = log->committed; i < log->count; i++)
        if (valid_is_seen(world, &log->records[i]))
            return false;
    return true;
}

static bool is_quiet(const struct valid_world *world)
{
    if (world->events_done < world->event_count || world->joining)
        return false;
    for (int i = world->txn_settled; i < world->txn_count; i++)
        if (world->txns[i].state == VALID_OPEN)
            return false;
    for (size_t t = 0; t < VALIDATE_TOPIC_COUNT; t++)
        for (int32_t p = 0; p < valid_partitions(world, VALIDATE_TOPICS[t]); p++)
            if (!is_read(world, VALIDATE_TOPICS[t], p))
                return false;
    for (int i = 0; i < world->client_count; i++)
        if (world->clients[i]->alive && world->clients[i]->asleep_until > world->seed.step)
            return false;
    return true;
}

static void say_unsettled(struct valid_world *world)
{
    seed_bad(&world->seed, "not quiet after %d steps; generation %d%s", SETTLE_STEPS_MAX, world->generation, world->joining ? ", joining" : "");
    for (int i = world->txn_settled; i < world->txn_count; i++)
        if (world->txns[i].state == VALID_OPEN)
            seed_bad(&world->seed, "transaction %d of %d is open", i, world->txns[i].instance);
    for (size_t t = 0; t < VALIDATE_TOPIC_COUNT; t++)
        for (int32_t p = 0; p < valid_partitions(world, VALIDATE_TOPICS[t]); p++) {
            const struct valid_log *log = &world->logs[VALIDATE_TOPICS[t]][p];
            if (!is_read(world, VALIDATE_TOPICS[t], p))
                seed_bad(&world->seed, "%s/%d: committed %lld of %lld", topic_name(VALIDATE_TOPICS[t]), p, (long long)log->committed,
                          (long long)log->count);
        }
}

/* ---- one run ---- */

static void must(enum ll_status status, const struct ll_err *err)
{
    if (status == LL_OK)
        return;
    fprintf(stderr, "%s\n", err->text);
    exit(1);
}

static void world_files(struct valid_world *world)
{
    struct ll_err err = { "" };
    if (world->codec != NULL)
        return;
    world->memory = calloc(1, sizeof *world->memory);
    world->txns = calloc(VALID_TXNS_MAX, sizeof *world->txns);
    if (world->memory == NULL || world->txns == NULL)
        abort();
    must(codec_new(LENS_SOURCE_DIR "/schemas", NULL, &world->codec, &err), &err);
    must(calendar_new("Europe/London", &world->calendar, &err), &err);
    must(topics_load(LENS_SOURCE_DIR "/topics.conf", &world->topics, &err), &err);
    must(settings_load(LENS_SOURCE_DIR "/deploy/validation.conf", &world->settings, &err), &err);
    world->scratch = codec_scratch_new();
    for (int topic = 0; topic < TOPIC_COUNT; topic++) {
        struct topic_fact *fact = &world->topics.facts[topic];
        bool keeps = topic == TOPIC_TRANSACTIONS || topic == TOPIC_TRANSACTIONS_RETRY || topic == TOPIC_TRANSACTIONS_VALID ||
                     topic == TOPIC_DEAD_LETTER;
        fact->partitions = keeps ? VALID_PARTITIONS : 1;
    }
}

static void world_open(struct valid_world *world, const struct sim_case *run)
{
    world_files(world);
    world->seed.random = run->seed * 0x2545f4914f6cdd1du + 54321;
    world->bug = (enum valid_bug)run->bug;
    world->seed.cut = run->cut;
    world->now_ms = BEGIN_MS;
    config_defaults(&world->config);
    memcpy(world->config.program.currency, "GBP", 4);
    world->config.validate.batch_events = 1 + seed_random(&world->seed, 8);
    world->config.validate.batch_ms = 1 + seed_random(&world->seed, 50);
    world->config.validate.grace_ms = 500 + seed_random(&world->seed, 5000);
    world->config.validate.tick_ms = 5000;
    world->config.validate.refused_percent = 100;
    world->seed.faults_left = run->faults == 0 ? 0 : (int)seed_random(&world->seed, (uint32_t)run->faults + 1);
    static const int per_mille[] = { 20, 60, 200 }; /* of ten: a round has many calls */
    world->seed.fault_odds = (uint32_t)per_mille[seed_random(&world->seed, 3)];
    world->seed.fault_of = 10000;
    world->instance_count = 1;
    put_references(world);
    make_events(world);
    spawn(world, 0, 0);
    if (seed_random(&world->seed, 2) == 0)
        spawn(world, world->instance_count++, seed_random(&world->seed, 40));
    world->seed.random ^= run->cut.schedule * 0x9e3779b97f4a7c15u;
}

static void run_close(struct valid_world *world)
{
    for (int i = 0; i < world->client_count; i++) {
        if (world->clients[i]->validate != NULL)
            validate_free(world->clients[i]->validate);
        free(world->clients[i]);
    }
    arena_done(&world->memory->texts);
}

bool valid_run(struct valid_world *world, const struct sim_case *run)
{
    struct valid_log kept[TOPIC_COUNT][VALID_PARTITIONS];
    memcpy(kept, world->logs, sizeof kept);
    struct valid_world *fresh = calloc(1, sizeof *fresh);
    if (fresh == NULL)
        abort();
    *fresh = (struct valid_world){ .codec = world->codec, .scratch = world->scratch, .calendar = world->calendar,
                                   .topics = world->topics, .settings = world->settings, .txns = world->txns,
                                   .memory = world->memory, .seed.trace = world->seed.trace };
    memcpy(world, fresh, sizeof *world);
    free(fresh);
    for (int topic = 0; topic < TOPIC_COUNT; topic++)
        for (int p = 0; p < VALID_PARTITIONS; p++)
            world->logs[topic][p].records = kept[topic][p].records;
    world_open(world, run);
    int64_t quiet = 0, bound = 0;
    while (quiet < QUIET_STEPS && bound < SETTLE_STEPS_MAX && world->seed.bad[0] == '\0') {
        int txns = world->txn_count;
        valid_step(world);
        if (world->txn_count != txns || world->seed.step % 16 == 0)
            valid_check_instant(world);
        if (world->seed.step > 2500)
            world->seed.faults_left = 0;
        quiet = world->seed.faults_left == 0 && is_quiet(world) ? quiet + 1 : 0;
        bound += world->seed.faults_left == 0;
    }
    if (bound >= SETTLE_STEPS_MAX)
        say_unsettled(world);
    if (world->seed.bad[0] == '\0')
        valid_check(world);
    run_close(world);
    return world->seed.bad[0] == '\0';
}

void valid_world_done(struct valid_world *world)
{
    for (int topic = 0; topic < TOPIC_COUNT; topic++)
        for (int p = 0; p < VALID_PARTITIONS; p++)
            free(world->logs[topic][p].records);
    codec_scratch_free(world->scratch);
    codec_free(world->codec);
    calendar_free(world->calendar);
    settings_done(&world->settings);
    free(world->txns);
    free(world->memory);
}
