#include "tests/sim/seg.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SETTLE_STEPS_MAX = 12000, QUIET_STEPS = 80, FAULT_STEPS_MAX = 2500, TICK_STEPS = 40, LATE_STEPS = 300 };
static const int64_t BEGIN_MS = INT64_C(1700000000000);

const char *const seg_bug_names[SEG_BUGS] = {
    [SEG_BUG_NONE] = "none",
    [SEG_BUG_OFFSETS_APART] = "seg-offsets-apart",
    [SEG_BUG_CHANGES_APART] = "seg-changes-apart",
    [SEG_BUG_EPOCH_UNCHECKED] = "seg-epoch-unchecked",
    [SEG_BUG_LOST_YES] = "seg-lost-yes",
    [SEG_BUG_DOUBT_KEEPS] = "seg-doubt-keeps",
    [SEG_BUG_ROW_FORGOTTEN] = "seg-row-forgotten",
    [SEG_BUG_START_ON] = "seg-start-on",
    [SEG_BUG_PAUSE_KEPT] = "seg-pause-kept",
    [SEG_BUG_PUBLISH_APART] = "seg-publish-apart",
    [SEG_BUG_PUBLISH_UNSETTLED] = "seg-publish-unsettled",
    [SEG_BUG_PUBLISH_UNFENCED] = "seg-publish-unfenced",
};

/* The loop waits for its turn with Postgres by sleeping: here that is nothing but time. Linked in place of process_pause. */
static struct seg_world *pausing;
void __wrap_process_pause(int ms);
void __wrap_process_pause(int ms)
{
    if (pausing != NULL)
        pausing->now_ms += ms;
}

static int64_t wall_ms(void *self)
{
    return ++((struct seg_world *)self)->now_ms; /* no two claims at one time */
}

static int64_t steady_ms(void *self)
{
    return ((struct seg_world *)self)->now_ms;
}

/* ---- what befalls a call ---- */

void seg_die(struct seg_client *client)
{
    client->alive = false;
    longjmp(client->world->crash, 1);
}

/* Others go on while it stands in the middle of something. */
static void pause_within(struct seg_client *client)
{
    struct seg_world *world = client->world;
    jmp_buf kept;
    int64_t steps = 1 + seed_random(&world->seed, 200);
    seed_say(&world->seed, "!! %d pauses for %lld steps", client->number, (long long)steps);
    memcpy(&kept, &world->crash, sizeof kept);
    world->is_nested = true;
    client->asleep_since = world->seed.step;
    client->asleep_until = INT64_MAX;
    client->session_until = world->seed.step + 20 + seed_random(&world->seed, 100);
    for (int64_t at = 0; at < steps && client->alive && world->seed.bad[0] == '\0'; at++)
        seg_step(world);
    client->asleep_until = 0;
    world->is_nested = false;
    world->running = client;
    memcpy(&world->crash, &kept, sizeof kept);
    seed_say(&world->seed, "   %d wakes", client->number);
    if (!client->alive)
        longjmp(world->crash, 1);
}

enum seg_fault seg_call(struct seg_client *client, const char *what)
{
    struct seg_world *world = client->world;
    world->now_ms += seed_random(&world->seed, 2);
    if (!seed_fault_due(&world->seed))
        return SEG_NONE;
    uint32_t kind = seed_random(&world->seed, 5);
    if (kind == 0) {
        if (!world->is_nested)
            pause_within(client);
        return SEG_NONE;
    }
    seed_say(&world->seed, "!! %d %s: %s", client->number, what,
             kind == 1   ? "crash before"
             : kind == 2 ? "crash after"
                         : "fails");
    if (kind == 1)
        seg_die(client);
    return kind == 2 ? SEG_CRASH_AFTER : SEG_FAILS;
}

/* ---- processes ---- */

static void spawn(struct seg_world *world, int instance, int64_t after)
{
    if (world->client_count == SEG_CLIENTS_MAX) {
        seed_bad(&world->seed, "too many processes died");
        return;
    }
    struct seg_client *client = calloc(1, sizeof *client);
    if (client == NULL)
        abort();
    *client = (struct seg_client){ .world = world,
                                   .number = world->client_count,
                                   .instance = instance,
                                   .alive = true,
                                   .asleep_until = world->seed.step + after,
                                   .session_until = INT64_MAX,
                                   .txn = -1,
                                   .generation = -1 };
    world->clients[world->client_count++] = client;
    int before = world->member[instance];
    if (before >= 0)
        seg_leave(world->clients[before]); /* static membership: the name joins anew */
    world->member[instance] = client->number;
    seed_say(&world->seed, "%d is started as instance %d", client->number, instance);
}

/* Its session with Postgres ends at once, or when the server misses it. */
static void bury(struct seg_world *world, struct seg_client *dead)
{
    dead->alive = false;
    dead->session_until = world->seed.step + (seed_random(&world->seed, 2) == 0 ? 0 : seed_random(&world->seed, 60));
    if (world->member[dead->instance] == dead->number)
        spawn(world, dead->instance, seed_random(&world->seed, 20));
}

static void client_step(struct seg_world *world, struct seg_client *client)
{
    struct ll_err err = { "" };
    world->running = client;
    if (setjmp(world->crash) != 0) {
        bury(world, world->running);
        return;
    }
    if (!client->is_open) {
        const struct segment_needs needs = {
            .config = &world->config,
            .store = seg_store_of(client),
            .clock = { wall_ms, steady_ms, world },
            .calendar = world->calendar,
            .codec = world->codec,
            .partitions = SEG_PARTITIONS,
            .open_consumer = seg_open_consumer,
            .open_producer = seg_open_producer,
            .arg = client,
        };
        client->is_open = true;
        segment_init(&client->segment, &needs);
    }
    if (segment_step(&client->segment, &err) != LL_FATAL)
        return;
    seed_say(&world->seed, "%d stops: %s", client->number, err.text);
    bury(world, client);
}

static void doze(struct seg_world *world, struct seg_client *client)
{
    client->asleep_since = world->seed.step;
    client->asleep_until = world->seed.step + 1 + seed_random(&world->seed, 250);
    client->session_until = world->seed.step + 20 + seed_random(&world->seed, 150);
}

/* Nobody read the group's offsets for days: they are gone. What Postgres was told last must stand in. */
static void forget_group(struct seg_world *world)
{
    bool is_settled = world->txn_count == 0 || world->txns[world->txn_count - 1].state != SEG_TXN_OPEN;
    if (is_settled && world->progress >= 0 && world->store.now.owner.relayed_upto == world->progress)
        world->progress = -1;
}

static void world_fault(struct seg_world *world)
{
    static const char *const names[] = { "kill",
                                         "pause",
                                         "pause, and the name is started again",
                                         "rebalance",
                                         "another instance",
                                         "postgres away",
                                         "postgres restarts",
                                         "postgres back one",
                                         "postgres far back",
                                         "kafka away",
                                         "time passes",
                                         "kafka forgets the group" };
    struct sim_seed *seed = &world->seed;
    uint32_t kind = seed_random(seed, sizeof names / sizeof names[0]);
    struct seg_client *client = world->clients[world->member[seed_random(seed, (uint32_t)world->instance_count)]];
    seed_say(seed, "!! %s", names[kind]);
    if (client->asleep_until == INT64_MAX && kind <= 2)
        return; /* in the middle of something */
    switch (kind) {
    case 0: bury(world, client); break;
    case 1: doze(world, client); break;
    case 2:
        doze(world, client);
        spawn(world, client->instance, seed_random(seed, 20));
        break;
    case 3: world->generation++; break;
    case 4:
        if (world->instance_count < SEG_INSTANCES)
            spawn(world, world->instance_count++, 0);
        break;
    case 5:
    case 6:
        if (kind == 5)
            world->postgres_down_until = seed->step + 1 + seed_random(seed, 60);
        world->under_way_count = 0;
        world->store.server++;
        for (int at = 0; at < world->client_count; at++)
            seg_cut_session(world->clients[at]);
        break;
    case 7:
    case 8: seg_fall_back(world, kind == 8); break;
    case 9: world->kafka_down_until = seed->step + 1 + seed_random(seed, 100); break;
    case 10: world->now_ms += seed_random(seed, 2) == 0 ? 1000 : 20000; break;
    default: forget_group(world); break;
    }
}

/* ---- one step ---- */

/* The clocks go on: by event time whoever starts anew must hear again that nothing comes. */
static void live(struct seg_world *world)
{
    if (world->seed.step < world->last_arrival)
        return;
    int64_t last = world->last_arrival, since = world->seed.step - last;
    if (since == LATE_STEPS)
        while (world->late_sent < world->late_count)
            seg_send_late(world);
    for (int32_t p = 0; p < SEG_PARTITIONS && world->seed.step % TICK_STEPS == 0; p++)
        if (world->logs[p].count < SEG_RECORDS_MAX)
            seg_tick(world, p, world->tick_ms + (p > 0 ? 0 : world->by_event ? 20000 : 1), world->seed.step);
    world->last_arrival = last;
}

void seg_step(struct seg_world *world)
{
    world->seed.step++;
    world->now_ms++;
    live(world);
    seg_store_step(world);
    seg_bus_step(world);
    if (seed_fault_due(&world->seed))
        world_fault(world);
    int ready[SEG_CLIENTS_MAX], count = 0;
    for (int at = 0; at < world->client_count; at++)
        if (world->clients[at]->alive && world->clients[at]->asleep_until <= world->seed.step)
            ready[count++] = at;
    if (count > 0)
        client_step(world, world->clients[ready[seed_random(&world->seed, (uint32_t)count)]]);
}

static size_t published(const struct seg_world *world)
{
    size_t count = 0;
    for (size_t at = 0; at < world->sent_count; at++)
        count += world->txns[world->sent[at].txn].state == SEG_TXN_COMMITTED;
    return count;
}

static const char *waits_for(const struct seg_world *world)
{
    const struct seg_state *now = &world->store.now;
    if (world->seed.step < world->last_arrival || world->late_sent < world->late_count)
        return "arrivals";
    if (world->kafka_down_until > world->seed.step || world->postgres_down_until > world->seed.step)
        return "what is away";
    int64_t rows = world->late_count;
    for (int at = 0; at < world->row_count; at++)
        rows += world->rows[at].partition >= 0;
    for (int p = 0; p < SEG_PARTITIONS; p++) {
        int64_t end = world->logs[p].made;
        rows -= now->parts[p].rows;
        while (end > 0 && world->logs[p].records[end - 1].value == NULL)
            end--;
        if (now->parts[p].next_offset < end)
            return "the ledger's end";
    }
    if (rows > 0)
        return "late rows";
    if (world->by_event && now->owner.has_day && !now->owner.is_closed)
        return "the end of the last day";
    if (world->progress != now->owner.next_change && !(world->progress < 0 && now->change_count == 0) &&
        !(world->progress < 0 && now->owner.relayed_upto == now->owner.next_change))
        return "changes to be published";
    for (int at = 0; at < world->client_count; at++)
        if (world->clients[at]->alive && world->clients[at]->asleep_until > world->seed.step)
            return "one that sleeps";
    return world->under_way_count > 0 ? "a commit under way" : NULL;
}

/* ---- one run ---- */

static void must(enum ll_status status, const struct ll_err *err)
{
    if (status == LL_OK)
        return;
    fprintf(stderr, "%s\n", err->text);
    exit(1);
}

static void world_files(struct seg_world *world)
{
    struct ll_err err = { "" };
    if (world->codec != NULL)
        return;
    world->history = malloc(SEG_HISTORY_MAX * sizeof *world->history);
    world->txns = malloc(SEG_TXNS_MAX * sizeof *world->txns);
    world->sent = malloc(SEG_SENT_MAX * sizeof *world->sent);
    if (world->history == NULL || world->txns == NULL || world->sent == NULL)
        abort();
    must(codec_new(LENS_SOURCE_DIR "/schemas", NULL, &world->codec, &err), &err);
    must(calendar_new("UTC", &world->calendar, &err), &err);
    world->scratch = codec_scratch_new();
}

static void world_settings(struct seg_world *world)
{
    struct sim_seed *seed = &world->seed;
    config_defaults(&world->config);
    world->by_event = seed_random(seed, 2) == 0;
    snprintf(world->config.segment.clock, sizeof world->config.segment.clock, "%s",
             world->by_event ? "event" : "log");
    world->config.segment.tier_silver = 200 + seed_random(seed, 2000);
    world->config.segment.tier_gold = world->config.segment.tier_silver * 2;
    world->config.segment.hysteresis_percent = seed_random(seed, 3) == 0 ? 10 : 0;
    if (seed_random(seed, 3) == 0) {
        world->config.segment.at_risk_days = 5 + (int32_t)seed_random(seed, 60);
        world->config.segment.high_spender_percent = 1 + (int32_t)seed_random(seed, 50);
    }
}

/* Everything that lives, over the ledger as it is: with the case's faults, or without any. */
static void live_begin(struct seg_world *world, const struct sim_case *run, bool has_faults)
{
    struct sim_seed *seed = &world->seed;
    seed->step = 0;
    seed->faults_left = has_faults && run->faults > 0 ? (int)seed_random(seed, (uint32_t)run->faults + 1) : 0;
    static const uint32_t odds[] = { 20, 60, 200 };
    seed->fault_odds = odds[seed_random(seed, 3)];
    seed->fault_of = 10000;
    world->now_ms = BEGIN_MS;
    world->config.segment.flush_ms = 5 + seed_random(seed, 40);
    world->config.segment.flush_rows = 1 + seed_random(seed, 60);
    world->config.segment.ahead_records = 1 + seed_random(seed, 30);
    memset(&world->store, 0, sizeof world->store);
    world->store.now.owner.next_change = world->store.now.owner.relayed_upto = 1;
    for (int p = 0; p < SEG_PARTITIONS; p++) {
        world->store.now.parts[p] = (struct segment_part){ .partition = p, .row_offset = -1 };
        world->logs[p].count = world->logs[p].made;
    }
    world->history[0] = world->store.now;
    world->history_count = 1;
    world->under_way_count = world->sent_count = 0;
    world->txn_count = world->client_count = world->late_sent = 0;
    world->postgres_down_until = world->kafka_down_until = 0;
    world->fell_behind = world->is_nested = false;
    world->progress = -1;
    world->published_upto = 1;
    world->producer_epoch = world->generation = 0;
    world->instance_count = 1;
    world->member[0] = world->member[1] = -1;
    spawn(world, 0, 0);
    if (has_faults && seed_random(seed, 2) == 0)
        spawn(world, world->instance_count++, seed_random(seed, 40));
    seed->random ^= has_faults ? run->cut.schedule * 0x9e3779b97f4a7c15u : 0;
}

static void live_end(struct seg_world *world)
{
    for (int at = 0; at < world->client_count; at++) {
        if (world->clients[at]->is_open)
            segment_done(&world->clients[at]->segment);
        free(world->clients[at]);
    }
    world->client_count = 0;
}

static void live_through(struct seg_world *world)
{
    int64_t quiet = 0, bound = 0;
    while (quiet < QUIET_STEPS && bound < SETTLE_STEPS_MAX && world->seed.bad[0] == '\0') {
        int txns = world->txn_count;
        seg_step(world);
        if (world->txn_count != txns || world->seed.step % 16 == 0)
            seg_check_topic(world);
        if (world->seed.step > world->last_arrival + FAULT_STEPS_MAX)
            world->seed.faults_left = 0;
        quiet = world->seed.faults_left == 0 && waits_for(world) == NULL ? quiet + 1 : 0;
        bound += world->seed.faults_left == 0;
    }
    if (bound >= SETTLE_STEPS_MAX)
        seed_bad(&world->seed, "not quiet after %d steps: it waits for %s; %zu of %zu published", SETTLE_STEPS_MAX,
                 waits_for(world), published(world), world->store.now.change_count);
}

bool seg_run(struct seg_world *world, const struct sim_case *run)
{
    struct seg_world *fresh = calloc(1, sizeof *fresh);
    if (fresh == NULL)
        abort();
    world_files(world);
    *fresh = (struct seg_world){ .seed.trace = world->seed.trace,
                                 .codec = world->codec,
                                 .scratch = world->scratch,
                                 .calendar = world->calendar,
                                 .history = world->history,
                                 .txns = world->txns,
                                 .sent = world->sent };
    *world = *fresh;
    free(fresh);
    pausing = world;
    world->seed.random = run->seed * 0x2545f4914f6cdd1du + 98765;
    world->seed.cut = run->cut;
    world_settings(world);
    seg_make_ledger(world);
    live_begin(world, run, false);
    live_through(world);
    world->plain = world->store;
    live_end(world);
    if (world->seed.bad[0] != '\0')
        seed_bad(&world->seed, "without any fault");
    world->bug = (enum seg_bug)run->bug;
    world->seed.trace_size = 0; /* of the run with faults */
    world->seed.random = run->seed * 0x9e3779b97f4a7c15u + 4711;
    if (world->seed.bad[0] == '\0') {
        live_begin(world, run, true);
        live_through(world);
        if (world->seed.bad[0] == '\0')
            seg_check(world);
        live_end(world);
    }
    arena_done(&world->memory);
    return world->seed.bad[0] == '\0';
}

void seg_world_done(struct seg_world *world)
{
    codec_scratch_free(world->scratch);
    codec_free(world->codec);
    calendar_free(world->calendar);
    free(world->history);
    free(world->txns);
    free(world->sent);
}
