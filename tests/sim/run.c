#include "tests/sim/world.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SETTLE_STEPS_MAX = 20000, WALL_BASE_MS = 1000000000 };

const char *const sim_bug_names[BUGS] = {
    [BUG_NONE] = "none",
    [BUG_REDIS_SKIP] = "redis-skip",
    [BUG_WATERMARK_APART] = "watermark-apart",
    [BUG_EPOCH_UNCHECKED] = "epoch-unchecked",
    [BUG_MISS_FINAL] = "miss-final",
    [BUG_FIND_CUT] = "find-cut",
    [BUG_ZERO_ROWS] = "zero-rows",
    [BUG_WALL_EXPIRY] = "wall-expiry",
    [BUG_IDLE_UNCHECKED] = "idle-unchecked",
    [BUG_REDIS_UNGUARDED] = "redis-unguarded",
    [BUG_PAUSE_KEPT] = "pause-kept",
    [BUG_RELAY_APART] = "relay-apart",
    [BUG_RELAY_FIRST] = "relay-first",
    [BUG_RELAY_UNSETTLED] = "relay-unsettled",
    [BUG_RELAY_UNFENCED] = "relay-unfenced",
    [BUG_RELAY_CUT] = "relay-cut",
};

/* ---- clock, history, faults at calls ---- */

static int64_t wall_ms(void *self)
{
    struct sim_world *world = self;
    return WALL_BASE_MS + ++world->now_ms; /* no two claims at one time */
}

static int64_t steady_ms(void *self)
{
    struct sim_world *world = self;
    return world->now_ms;
}

struct clock_source sim_clock(struct sim_world *world) { return (struct clock_source){ wall_ms, steady_ms, world }; }

void sim_postgres_remember(struct sim_world *world)
{
    if (world->postgres_history_count < SIM_HISTORY_MAX)
        world->postgres_history[world->postgres_history_count++] = world->postgres;
}

void sim_redis_remember(struct sim_world *world)
{
    if (world->redis_history_count < SIM_HISTORY_MAX)
        world->redis_history[world->redis_history_count++] = world->redis;
}

enum sim_fault sim_call(struct sim_client *client, const char *what, bool writes)
{
    struct sim_world *world = client->world;
    world->now_ms += seed_random(&world->seed, 3);
    if (!seed_fault_due(&world->seed))
        return FAULT_NONE;
    static const enum sim_fault writing[] = { FAULT_CRASH_BEFORE, FAULT_CRASH_AFTER, FAULT_LOST, FAULT_DROP, FAULT_LATE };
    static const enum sim_fault reading[] = { FAULT_CRASH_BEFORE, FAULT_DROP };
    enum sim_fault fault = writes ? writing[seed_random(&world->seed, 5)] : reading[seed_random(&world->seed, 2)];
    static const char *const names[] = { "none", "crash before", "crash after", "lost reply", "dropped", "late" };
    seed_say(&world->seed, "!! %d %s: %s", client->number, what, names[fault]);
    return fault;
}

void sim_crash_if(struct sim_client *client, enum sim_fault fault, enum sim_fault when)
{
    if (fault == when && (fault == FAULT_CRASH_BEFORE || fault == FAULT_CRASH_AFTER)) {
        client->alive = false;
        longjmp(client->world->crash, 1);
    }
}

/* ---- processes ---- */

static struct sim_client *spawn(struct sim_world *world)
{
    if (world->client_count == SIM_CLIENTS_MAX)
        return NULL;
    struct sim_client *client = calloc(1, sizeof *client);
    if (client == NULL)
        abort();
    client->world = world;
    client->number = world->client_count;
    client->alive = true;
    client->notices_at = world->seed.step;
    world->clients[world->client_count++] = client;
    accrue_init(&client->accrue, &world->config, NULL, sim_bus(client), sim_ledger(client), sim_hot(client),
                sim_clock(world), world->codec, world->calendar);
    return client;
}

static void replace(struct sim_world *world, int dead, int64_t notice_steps)
{
    struct sim_client *client = spawn(world);
    if (client == NULL)
        return;
    for (int32_t p = 0; p < SIM_PARTITIONS; p++)
        if (world->owner[p] == dead)
            sim_assign(world, p, client->number, notice_steps);
}

static int random_owner(struct sim_world *world) { return world->owner[seed_random(&world->seed, SIM_PARTITIONS)]; }

static void postgres_back(struct sim_world *world, bool by_one)
{
    size_t count = world->postgres_history_count;
    if (count > 1)
        world->postgres = world->postgres_history[by_one ? count - 2 : count / 2];
    sim_postgres_remember(world);
}

static void postgres_away(struct sim_world *world)
{
    world->postgres_down_until = world->seed.step + 1 + seed_random(&world->seed, 100);
    world->outage_step_ms = seed_random(&world->seed, 2) == 0 ? 0 : 200;
}

static void world_fault(struct sim_world *world)
{
    static const char *const names[] = { "kill",      "pause and replace", "rebalance", "wipe redis", "redis back one",
                                         "redis far back", "postgres back one", "postgres far back", "postgres down",
                                         "redis down", "postgres fails over", "time passes" };
    uint32_t count = sizeof names / sizeof names[0], kind = seed_random(&world->seed, count + SIM_RELAY_FAULTS);
    seed_say(&world->seed, "!! %s", kind < count ? names[kind] : sim_relay_faults[kind - count]);
    if (kind >= count) {
        sim_relay_fault(world, kind - count);
        return;
    }
    int client = random_owner(world);
    switch (kind) {
    case 0:
        world->clients[client]->alive = false;
        replace(world, client, 0);
        break;
    case 1: {
        int64_t steps = 1 + seed_random(&world->seed, 200);
        world->clients[client]->asleep_until = world->seed.step + steps;
        replace(world, client, steps + seed_random(&world->seed, 20));
        break;
    }
    case 2: {
        struct sim_client *joined = spawn(world);
        if (joined != NULL)
            sim_assign(world, (int32_t)seed_random(&world->seed, SIM_PARTITIONS), joined->number, seed_random(&world->seed, 20));
        break;
    }
    case 3:
        for (int i = 0; i < SIM_PARTITIONS; i++)
            world->redis.shards[i] = (struct sim_shard){ .epoch = -1, .next = -1, .token = -1 };
        sim_redis_remember(world);
        break;
    case 4:
    case 5:
        if (world->redis_history_count > 1)
            world->redis = world->redis_history[kind == 4 ? world->redis_history_count - 2
                                                          : world->redis_history_count / 2];
        sim_redis_remember(world);
        break;
    case 6:
    case 7:
        postgres_back(world, kind == 6);
        break;
    case 8:
        postgres_away(world);
        break;
    case 9:
        world->redis_down_until = world->seed.step + 1 + seed_random(&world->seed, 100);
        break;
    case 10: /* to a standby that lags, which takes over after a while */
        postgres_back(world, seed_random(&world->seed, 2) == 0);
        postgres_away(world);
        break;
    default:
        world->now_ms += world->config.accrue.hold_ms * 2;
        break;
    }
}

/* ---- one step ---- */

static void late_arrivals(struct sim_world *world)
{
    for (size_t i = world->late_count; i-- > 0;) {
        if (world->late[i].at_step > world->seed.step)
            continue;
        enum store_reply reply = sim_postgres_commit(world, world->late[i].flush);
        seed_say(&world->seed, "  late flush of %d -> %d", world->late[i].client, reply);
        free(world->late[i].flush);
        world->late[i] = world->late[--world->late_count];
    }
}

static void plant_before_step(struct sim_client *client)
{
    if (client->world->bug != BUG_IDLE_UNCHECKED)
        return;
    client->accrue.marks_at_ms = client->world->now_ms;
    for (size_t i = 0; i < client->accrue.owned_count; i++)
        client->accrue.owned[i].applied_at_ms = client->world->now_ms;
}

static void client_step(struct sim_world *world, struct sim_client *client)
{
    struct ll_err err = { "" };
    world->running = client;
    if (setjmp(world->crash) != 0) {
        replace(world, world->running->number, 0);
        return;
    }
    plant_before_step(client);
    if (accrue_step(&client->accrue, &err) == LL_FATAL) {
        seed_bad(&world->seed, "%d stops: %s", client->number, err.text);
        client->alive = false;
    }
}

void sim_step(struct sim_world *world)
{
    world->seed.step++;
    world->now_ms += 1 + (world->seed.step < world->postgres_down_until ? world->outage_step_ms : 0);
    late_arrivals(world);
    sim_txns_expire(world);
    if (seed_fault_due(&world->seed))
        world_fault(world);
    int ready[SIM_CLIENTS_MAX + SIM_RELAYS_MAX], count = 0;
    for (int i = 0; i < world->client_count; i++)
        if (world->clients[i]->alive && world->clients[i]->asleep_until <= world->seed.step)
            ready[count++] = i;
    for (int i = 0; i < world->relay_count; i++)
        if (world->relays[i]->alive && world->relays[i]->asleep_until <= world->seed.step)
            ready[count++] = SIM_CLIENTS_MAX + i;
    if (count == 0)
        return;
    int chosen = ready[seed_random(&world->seed, (uint32_t)count)];
    if (chosen < SIM_CLIENTS_MAX)
        client_step(world, world->clients[chosen]);
    else
        sim_relay_step(world, world->relays[chosen - SIM_CLIENTS_MAX]);
}

static bool is_quiet(const struct sim_world *world)
{
    for (int i = 0; i < SIM_PARTITIONS; i++) {
        const struct sim_table *table = &world->postgres.tables[i];
        const struct sim_shard *shard = &world->redis.shards[i];
        if (table->next != world->logs[i].end || shard->next != table->next || shard->epoch != table->epoch ||
            shard->token >= 0)
            return false;
    }
    for (int i = 0; i < world->client_count; i++)
        if (world->clients[i]->alive && world->clients[i]->asleep_until > world->seed.step)
            return false;
    return world->late_count == 0 && sim_relays_quiet(world);
}

/* ---- one run ---- */

static void world_open(struct sim_world *world, const struct sim_case *run)
{
    struct ll_err err;
    world->seed.random = run->seed * 0x2545f4914f6cdd1du + 12345;
    world->bug = (enum sim_bug)run->bug;
    world->seed.cut = run->cut;
    config_defaults(&world->config);
    world->config.accrue.batch_events = 1 + seed_random(&world->seed, 6);
    world->config.accrue.batch_ms = 1000;
    world->config.accrue.flush_ms = 5 + seed_random(&world->seed, 40);
    world->config.accrue.flush_events = 1 + seed_random(&world->seed, 12);
    world->config.accrue.hold_ms = 5000;
    world->config.accrue.dedupe_events = seed_random(&world->seed, 2) == 0 ? 1000000 : 1 + seed_random(&world->seed, 4);
    world->config.accrue.customers_max = seed_random(&world->seed, 2) == 0 ? 1000000 : 1 + seed_random(&world->seed, 2);
    world->seed.faults_left = run->faults == 0 ? 0 : (int)seed_random(&world->seed, (uint32_t)run->faults + 1);
    static const int per_mille[] = { 10, 30, 80 };
    world->seed.fault_odds = (uint32_t)per_mille[seed_random(&world->seed, 3)];
    world->seed.fault_of = 1000;
    if (world->codec == NULL && codec_new(LENS_SOURCE_DIR "/schemas", NULL, &world->codec, &err) != LL_OK) {
        fprintf(stderr, "%s\n", err.text);
        exit(1);
    }
    if (world->calendar == NULL && calendar_new("Europe/London", &world->calendar, &err) != LL_OK) {
        fprintf(stderr, "%s\n", err.text);
        exit(1);
    }
    for (int i = 0; i < SIM_PARTITIONS; i++) {
        world->owner[i] = -1;
        world->redis.shards[i] = (struct sim_shard){ .epoch = -1, .next = -1, .token = -1 };
    }
    sim_make_logs(world);
    struct sim_client *first = spawn(world), *second = seed_random(&world->seed, 2) == 0 ? spawn(world) : first;
    for (int32_t p = 0; p < SIM_PARTITIONS; p++)
        sim_assign(world, p, (p == 0 ? first : second)->number, 0);
    sim_relays_open(world);
    world->seed.random ^= run->cut.schedule * 0x9e3779b97f4a7c15u;
}

static void run_close(struct sim_world *world)
{
    for (int i = 0; i < world->client_count; i++) {
        accrue_done(&world->clients[i]->accrue);
        free(world->clients[i]);
    }
    sim_relays_close(world);
    for (size_t i = 0; i < world->late_count; i++)
        free(world->late[i].flush);
    arena_done(&world->memory);
}

bool sim_run(struct sim_world *world, const struct sim_case *run)
{
    struct sim_world kept = { .codec = world->codec,
                              .calendar = world->calendar,
                              .postgres_history = world->postgres_history,
                              .redis_history = world->redis_history,
                              .broker.records = world->broker.records,
                              .seed.trace = world->seed.trace };
    memset(world, 0, sizeof *world);
    world->codec = kept.codec;
    world->calendar = kept.calendar;
    world->postgres_history = kept.postgres_history;
    world->redis_history = kept.redis_history;
    world->broker.records = kept.broker.records;
    world->seed.trace = kept.seed.trace;
    if (world->postgres_history == NULL) {
        world->postgres_history = malloc(SIM_HISTORY_MAX * sizeof *world->postgres_history);
        world->redis_history = malloc(SIM_HISTORY_MAX * sizeof *world->redis_history);
        world->broker.records = malloc(SIM_RELAYED_MAX * sizeof *world->broker.records);
    }
    world_open(world, run);
    int64_t quiet = 0, bound = 0;
    while (quiet < 300 && bound < SETTLE_STEPS_MAX) {
        sim_step(world);
        if (world->seed.bad[0] == '\0')
            sim_check_instant(world);
        if (world->seed.faults_left > 0 && world->seed.step > 1500)
            world->seed.faults_left = 0;
        quiet = world->seed.faults_left == 0 && is_quiet(world) ? quiet + 1 : 0;
        bound += world->seed.faults_left == 0;
    }
    if (bound >= SETTLE_STEPS_MAX)
        seed_bad(&world->seed, "not quiet after %d steps", SETTLE_STEPS_MAX);
    sim_check(world);
    sim_check_relayed(world);
    run_close(world);
    return world->seed.bad[0] == '\0';
}

void sim_world_done(struct sim_world *world)
{
    codec_free(world->codec);
    calendar_free(world->calendar);
    free(world->postgres_history);
    free(world->redis_history);
    free(world->broker.records);
}
