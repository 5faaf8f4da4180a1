/* The simulated bus: the logs, an assignment that changes under way, records in order, offsets with gaps. */
#include "tests/sim/world.h"

void sim_assign(struct sim_world *world, int32_t partition, int client, int64_t notice_steps)
{
    int before = world->owner[partition];
    if (before == client)
        return;
    world->owner[partition] = client;
    if (before >= 0)
        world->clients[before]->notices_at = world->seed.step + notice_steps;
    if (client >= 0)
        world->clients[client]->notices_at = world->seed.step;
}

static bool assignment_differs(const struct sim_client *client)
{
    for (int p = 0; p < SIM_PARTITIONS; p++)
        if (client->told[p] != (client->world->owner[p] == client->number))
            return true;
    return false;
}

static enum bus_event change(struct sim_client *client)
{
    client->changed_count = 0;
    if (client->has_assignment) { /* eager: everything goes first */
        client->changed_lost = seed_random(&client->world->seed, 2) == 0;
        for (int p = 0; p < SIM_PARTITIONS; p++) {
            if (client->told[p])
                client->changed[client->changed_count++] = (struct bus_position){ TOPIC_TRANSACTIONS_VALID, p, 0 };
            client->told[p] = client->started[p] = false;
        }
        client->has_assignment = false;
        return BUS_REVOKED;
    }
    for (int p = 0; p < SIM_PARTITIONS; p++) {
        client->told[p] = client->world->owner[p] == client->number;
        if (client->told[p])
            client->changed[client->changed_count++] = (struct bus_position){ TOPIC_TRANSACTIONS_VALID, p, 0 };
    }
    client->has_assignment = true;
    return BUS_ASSIGNED;
}

/* The first record at or behind an offset, or NULL. */
static const struct sim_record *record_at(const struct sim_log *log, int64_t offset)
{
    for (size_t i = 0; i < log->count; i++)
        if (log->records[i].offset >= offset)
            return &log->records[i];
    return NULL;
}

static enum bus_event bus_poll(void *self, int timeout_ms, struct bus_record *ret, struct ll_err *err)
{
    (void)timeout_ms, (void)err;
    struct sim_client *client = self;
    struct sim_world *world = client->world;
    world->now_ms += seed_random(&world->seed, 3);
    if ((!client->has_assignment || assignment_differs(client)) && world->seed.step >= client->notices_at)
        return change(client);
    if (seed_random(&world->seed, 4) == 0)
        return BUS_NONE; /* batches end anywhere */
    int first = (int)seed_random(&world->seed, SIM_PARTITIONS);
    for (int i = 0; i < SIM_PARTITIONS; i++) {
        int p = (first + i) % SIM_PARTITIONS;
        if (!client->started[p] || client->paused[p])
            continue;
        const struct sim_record *record = record_at(&world->logs[p], client->position[p]);
        if (record == NULL)
            continue;
        client->position[p] = record->offset + 1;
        *ret = (struct bus_record){ .topic = TOPIC_TRANSACTIONS_VALID,
                                    .partition = p,
                                    .offset = record->offset,
                                    .timestamp_ms = world->bug == BUG_WALL_EXPIRY ? world->now_ms
                                                                                  : record->timestamp_ms,
                                    .value = { record->value, (uint32_t)record->size } };
        return BUS_RECORD;
    }
    return BUS_NONE;
}

static const struct bus_position *bus_changed(void *self, size_t *ret_count, bool *ret_lost)
{
    struct sim_client *client = self;
    *ret_count = client->changed_count;
    *ret_lost = client->changed_lost;
    return client->changed;
}

static enum ll_status bus_start(void *self, const struct bus_position *from, size_t count, struct ll_err *err)
{
    (void)err;
    struct sim_client *client = self;
    for (int p = 0; p < SIM_PARTITIONS; p++) {
        client->started[p] = false;
        client->paused[p] = client->paused[p] && client->world->bug == BUG_PAUSE_KEPT;
    }
    for (size_t i = 0; i < count; i++) {
        client->started[from[i].partition] = client->told[from[i].partition];
        client->position[from[i].partition] = from[i].offset;
        const struct sim_shard *shard = &client->world->redis.shards[from[i].partition];
        if (client->world->bug == BUG_REDIS_SKIP && shard->next > from[i].offset)
            client->position[from[i].partition] = shard->next; /* "these are in already" */
    }
    return LL_OK;
}

static enum ll_status bus_stop(void *self, struct ll_err *err)
{
    (void)err;
    struct sim_client *client = self;
    for (int p = 0; p < SIM_PARTITIONS; p++)
        client->started[p] = client->paused[p] = false;
    return LL_OK;
}

static void bus_release(void *self, struct bus_record *record) { (void)self, (void)record; }

static size_t bus_headers(void *self, const struct bus_record *record, struct bus_header ret[BUS_HEADERS_MAX])
{
    (void)self, (void)record, (void)ret;
    return 0;
}

static int64_t bus_position_of(void *self, enum topic topic, int32_t partition)
{
    (void)topic;
    struct sim_client *client = self;
    if (!client->started[partition])
        return -1;
    const struct sim_log *log = &client->world->logs[partition];
    const struct sim_record *record = record_at(log, client->position[partition]);
    return record != NULL ? record->offset : log->end; /* past markers */
}

static enum ll_status bus_watermarks(void *self, enum topic topic, int32_t partition, int64_t *ret_low,
                                     int64_t *ret_high, struct ll_err *err)
{
    (void)topic, (void)err;
    struct sim_client *client = self;
    *ret_low = 0;
    *ret_high = client->world->logs[partition].end;
    return LL_OK;
}

static void bus_commit(void *self, const struct bus_position *next, size_t count)
{
    (void)self, (void)next, (void)count;
}

static enum ll_status bus_pause(void *self, enum topic topic, int32_t partition, bool paused, struct ll_err *err)
{
    (void)topic, (void)err;
    ((struct sim_client *)self)->paused[partition] = paused;
    return LL_OK;
}

static void bus_close(void *self) { (void)self; }

static const struct bus_consumer_ops ops = {
    .poll = bus_poll,
    .changed = bus_changed,
    .start = bus_start,
    .stop = bus_stop,
    .release = bus_release,
    .headers = bus_headers,
    .position = bus_position_of,
    .watermarks = bus_watermarks,
    .commit = bus_commit,
    .pause = bus_pause,
    .close = bus_close,
};

struct bus_consumer sim_bus(struct sim_client *client) { return (struct bus_consumer){ &ops, client }; }
