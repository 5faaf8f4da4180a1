#include "tests/sim/valid.h"

#include <stdlib.h>
#include <string.h>

static const enum topic FEED[] = { TOPIC_STORES_VALID,     TOPIC_PRODUCTS_VALID, TOPIC_CUSTOMERS_VALID,
                                   TOPIC_PROMOTIONS_VALID, TOPIC_LOYALTY_RULES,  TOPIC_COMMANDS };
static const enum topic JUDGED[] = { TOPIC_STORES, TOPIC_PRODUCTS, TOPIC_CUSTOMERS, TOPIC_PROMOTIONS };

int32_t valid_partitions(const struct valid_world *world, enum topic topic)
{
    return world->topics.facts[topic].partitions;
}

/* ---- faults ---- */

enum { FAULT_NONE, FAULT_BEFORE, FAULT_AFTER, FAULT_DROP };

static void die(struct valid_client *client)
{
    client->alive = false;
    longjmp(client->world->crash, 1);
}

static void pause_within(struct valid_client *client)
{
    struct valid_world *world = client->world;
    jmp_buf kept;
    int64_t steps = 1 + seed_random(&world->seed, 150);
    seed_say(&world->seed, "!! %d pauses for %lld steps", client->number, (long long)steps);
    memcpy(&kept, &world->crash, sizeof kept);
    world->is_nested = true;
    client->asleep_until = INT64_MAX;
    for (int64_t i = 0; i < steps && client->alive; i++)
        valid_step(world);
    client->asleep_until = 0;
    world->is_nested = false;
    world->running = client;
    memcpy(&world->crash, &kept, sizeof kept);
    seed_say(&world->seed, "   %d wakes", client->number);
    if (!client->alive)
        longjmp(world->crash, 1);
}

static int call(struct valid_client *client, const char *what)
{
    struct valid_world *world = client->world;
    static const char *const names[] = { "", "crash before", "crash after", "fails" };
    world->now_ms += seed_random(&world->seed, 2);
    if (!seed_fault_due(&world->seed))
        return FAULT_NONE;
    int fault = 1 + (int)seed_random(&world->seed, 4);
    if (fault == 4) {
        if (!world->is_nested)
            pause_within(client);
        return FAULT_NONE;
    }
    seed_say(&world->seed, "!! %d %s: %s", client->number, what, names[fault]);
    if (fault == FAULT_BEFORE)
        die(client);
    return fault;
}

/* ---- the log ---- */

struct valid_record *valid_append(struct valid_world *world, enum topic topic, int32_t partition, int txn)
{
    struct valid_log *log = &world->logs[topic][partition];
    if (log->records == NULL)
        log->records = calloc(VALID_RECORDS_MAX, sizeof *log->records);
    if (log->records == NULL)
        abort();
    if (log->count == VALID_RECORDS_MAX) {
        seed_bad(&world->seed, "%s is full", topic_name(topic));
        log->count--;
    }
    if (txn >= 0)
        world->txns[txn].touched[topic][partition] = true;
    struct valid_record *record = &log->records[log->count++];
    *record = (struct valid_record){ .txn = txn, .timestamp_ms = world->now_ms };
    return record;
}

bool valid_is_seen(const struct valid_world *world, const struct valid_record *record)
{
    return !record->is_marker && (record->txn < 0 || world->txns[record->txn].state == VALID_COMMITTED);
}

int64_t valid_settled_end(struct valid_world *world, enum topic topic, int32_t partition)
{
    struct valid_log *log = &world->logs[topic][partition];
    for (; log->settled < log->count; log->settled++) {
        const struct valid_record *record = &log->records[log->settled];
        if (record->txn >= 0 && world->txns[record->txn].state == VALID_OPEN)
            break;
    }
    return log->settled;
}

void valid_end_txn(struct valid_world *world, int number, enum valid_state state)
{
    struct valid_txn *txn = &world->txns[number];
    if (txn->state != VALID_OPEN)
        return;
    txn->state = state;
    for (int topic = 0; topic < TOPIC_COUNT; topic++)
        for (int32_t p = 0; p < VALID_PARTITIONS; p++)
            if (txn->touched[topic][p])
                valid_append(world, (enum topic)topic, p, number)->is_marker = true;
    for (size_t i = 0; state == VALID_COMMITTED && i < txn->offset_count; i++)
        world->logs[txn->offsets[i].topic][txn->offsets[i].partition].committed = txn->offsets[i].offset;
    seed_say(&world->seed, "   transaction %d of %d: %s", number, txn->instance, state == VALID_COMMITTED ? "committed" : "aborted");
}

static void fill(struct valid_log *log, enum topic topic, int32_t partition, int64_t offset, struct bus_record *ret)
{
    struct valid_record *record = &log->records[offset];
    *ret = (struct bus_record){ .topic = topic,
                                .partition = partition,
                                .offset = offset,
                                .timestamp_ms = record->timestamp_ms,
                                .key = { record->key, record->key_size },
                                .value = { record->value, record->value_size },
                                .held = record };
}

/* The next record from *at that a reader sees; false: none. *at moves past what it does not see. */
static bool next_of(struct valid_client *client, enum topic topic, int32_t partition, int64_t *at, struct bus_record *ret)
{
    struct valid_world *world = client->world;
    struct valid_log *log = &world->logs[topic][partition];
    bool sees_all = world->bug == VALID_BUG_UNCOMMITTED && topic == TOPIC_TRANSACTIONS_RETRY;
    int64_t end = sees_all ? log->count : valid_settled_end(world, topic, partition);
    while (*at < end && !(sees_all ? !log->records[*at].is_marker : valid_is_seen(world, &log->records[*at])))
        ++*at;
    if (*at >= end)
        return false;
    fill(log, topic, partition, (*at)++, ret);
    return true;
}

/* ---- the consumer ---- */

static void assign(struct valid_client *client)
{
    struct valid_world *world = client->world;
    client->assigned_count = 0;
    int members = 0, mine = 0;
    for (int i = 0; i < world->instance_count; i++) {
        const struct valid_client *member = world->clients[world->member[i]];
        mine = member == client ? members : mine;
        members += member->joined;
    }
    for (size_t t = 0; t < VALIDATE_TOPIC_COUNT; t++)
        for (int32_t p = 0; p < valid_partitions(world, VALIDATE_TOPICS[t]); p++)
            if ((int)(t + (size_t)p) % members == mine)
                client->assigned[client->assigned_count++] = (struct bus_position){ VALIDATE_TOPICS[t], p, BUS_COMMITTED };
    client->generation = world->generation;
    client->has_assignment = true;
}

static enum bus_event poll(void *self, int timeout_ms, struct bus_record *ret, struct ll_err *err)
{
    struct valid_client *client = self;
    struct valid_world *world = client->world;
    int fault = call(client, "poll");
    if (fault == FAULT_AFTER)
        die(client);
    world->now_ms += timeout_ms;
    if (fault == FAULT_DROP || world->down_until > world->seed.step) {
        ll_fail(err, LL_RETRY, "no broker answers");
        return BUS_DOWN;
    }
    if (world->member[client->instance] != client->number) {
        ll_fail(err, LL_FATAL, "another process bears the name");
        return BUS_BROKEN;
    }
    bool is_out = client->has_assignment && !world->joining && client->generation != world->generation;
    if (client->has_assignment && (world->joining || is_out) && !client->joined) {
        client->lost = is_out;
        return BUS_REVOKED;
    }
    if (!client->joined) {
        if (!world->joining) { /* somebody who comes late starts it anew */
            world->joining = true;
            world->joining_until = world->seed.step + 60;
            for (int i = 0; i < world->client_count; i++)
                world->clients[i]->joined = false;
        }
        client->joined = true;
    }
    if (!client->has_assignment) {
        if (world->joining)
            return BUS_NONE;
        assign(client);
        seed_say(&world->seed, "   %d is assigned %zu in generation %d", client->number, client->assigned_count, client->generation);
        return BUS_ASSIGNED;
    }
    for (size_t i = 0, first = seed_random(&world->seed, 32); client->flowing && i < client->assigned_count && seed_random(&world->seed, 5) > 0; i++) {
        const struct bus_position *at = &client->assigned[(first + i) % client->assigned_count];
        int64_t *position = &client->position[at->topic][at->partition];
        if (*position < 0 || client->paused[at->topic][at->partition])
            continue;
        bool found = next_of(client, at->topic, at->partition, position, ret);
        client->polled[at->topic][at->partition] = *position;
        if (found)
            return BUS_RECORD;
    }
    return BUS_NONE;
}

static const struct bus_position *changed(void *self, size_t *ret_count, bool *ret_lost)
{
    struct valid_client *client = self;
    *ret_count = client->assigned_count;
    *ret_lost = client->lost;
    return client->assigned;
}

static enum ll_status start(void *self, const struct bus_position *from, size_t count, struct ll_err *err)
{
    struct valid_client *client = self;
    struct valid_world *world = client->world;
    if (call(client, "start") == FAULT_DROP)
        return ll_fail(err, LL_RETRY, "no broker answers");
    for (int i = world->txn_settled; i < world->txn_count && world->bug != VALID_BUG_UNSETTLED; i++)
        for (size_t k = 0; world->txns[i].state == VALID_OPEN && k < world->txns[i].offset_count; k++)
            for (size_t n = 0; n < count; n++)
                if (world->txns[i].offsets[k].topic == from[n].topic && world->txns[i].offsets[k].partition == from[n].partition)
                    return ll_fail(err, LL_RETRY, "offsets are not settled");
    memset(client->position, -1, sizeof client->position);
    memset(client->paused, 0, sizeof client->paused);
    for (size_t i = 0; i < count; i++)
        client->position[from[i].topic][from[i].partition] = world->logs[from[i].topic][from[i].partition].committed;
    client->flowing = true;
    return LL_OK;
}

static enum ll_status stop(void *self, struct ll_err *err)
{
    struct valid_client *client = self;
    (void)err;
    client->flowing = client->has_assignment = false;
    client->lost = false;
    return LL_OK;
}

static void release(void *self, struct bus_record *record)
{
    (void)self;
    record->held = NULL;
}

static size_t headers(void *self, const struct bus_record *record, struct bus_header ret[BUS_HEADERS_MAX])
{
    (void)self;
    const struct valid_record *kept = record->held;
    memcpy(ret, kept->headers, kept->header_count * sizeof *ret);
    return kept->header_count;
}

static int64_t position(void *self, enum topic topic, int32_t partition)
{
    return ((struct valid_client *)self)->polled[topic][partition];
}

static enum ll_status set_paused(void *self, enum topic topic, int32_t partition, bool paused, struct ll_err *err)
{
    (void)err;
    ((struct valid_client *)self)->paused[topic][partition] = paused;
    return LL_OK;
}

struct bus_consumer valid_consumer(struct valid_client *client)
{
    static const struct bus_consumer_ops ops = { .poll = poll, .changed = changed, .start = start, .stop = stop,
                                                 .release = release, .headers = headers, .position = position,
                                                 .pause = set_paused };
    return (struct bus_consumer){ &ops, client };
}

/* ---- the producer ---- */

static bool is_fenced(const struct valid_client *client)
{
    return client->epoch != client->world->epoch[client->instance];
}

static enum ll_status fenced(struct valid_client *client, struct ll_err *err)
{
    client->txn = -1;
    return ll_fail(err, LL_FATAL, "fenced");
}

static enum ll_status begin(void *self, struct ll_err *err)
{
    struct valid_client *client = self;
    (void)err;
    client->txn = -2; /* the broker hears of it with the first record or offset */
    return LL_OK;
}

static bool join_txn(struct valid_client *client)
{
    struct valid_world *world = client->world;
    if (client->txn >= 0)
        return true;
    if (world->txn_count == VALID_TXNS_MAX)
        return false;
    world->txns[world->txn_count] = (struct valid_txn){ .instance = client->instance, .begun_at = world->seed.step };
    client->txn = world->txn_count++;
    return true;
}

static enum ll_status send(void *self, const struct bus_out *out, struct ll_err *err)
{
    struct valid_client *client = self;
    struct valid_world *world = client->world;
    int fault = call(client, "send");
    if (is_fenced(client))
        return fenced(client, err);
    if (fault == FAULT_DROP || !join_txn(client))
        return ll_fail(err, LL_RETRY, "the transaction has failed");
    struct valid_record *record = valid_append(world, out->topic, out->partition >= 0 ? out->partition : 0, client->txn);
    record->key = valid_keep(world, out->key.data, out->key.size);
    record->value = valid_keep(world, out->value.data, out->value.size);
    record->key_size = out->key.size;
    record->value_size = out->value.size;
    record->timestamp_ms = out->timestamp_ms;
    for (size_t i = 0; i < out->header_count && i < 16; i++)
        record->headers[record->header_count++] = (struct bus_header){
            { valid_keep(world, out->headers[i].name.data, out->headers[i].name.size), out->headers[i].name.size },
            { valid_keep(world, out->headers[i].value.data, out->headers[i].value.size), out->headers[i].value.size }
        };
    if (fault == FAULT_AFTER)
        die(client);
    return LL_OK;
}

static enum ll_status send_offsets(void *self, struct bus_consumer *consumer, const struct bus_position *next, size_t count,
                                   struct ll_err *err)
{
    struct valid_client *client = self;
    struct valid_world *world = client->world;
    (void)consumer;
    int fault = call(client, "offsets");
    if (is_fenced(client))
        return fenced(client, err);
    bool is_mine = client->generation == world->generation || world->bug == VALID_BUG_UNFENCED;
    if (fault == FAULT_DROP || !is_mine || !join_txn(client))
        return ll_fail(err, LL_RETRY, is_mine ? "the transaction has failed" : "another generation of the group");
    struct valid_txn *txn = &world->txns[client->txn];
    memcpy(txn->offsets, next, count * sizeof *next);
    txn->offset_count = count;
    if (world->bug == VALID_BUG_OFFSETS_APART) {
        txn->offset_count = 0;
        for (size_t i = 0; i < count; i++)
            world->logs[next[i].topic][next[i].partition].committed = next[i].offset;
    }
    if (fault == FAULT_AFTER)
        die(client);
    return LL_OK;
}

static enum ll_status abort_txn(void *self, struct ll_err *err)
{
    struct valid_client *client = self;
    int fault = call(client, "abort");
    if (is_fenced(client))
        return fenced(client, err);
    if (fault == FAULT_DROP)
        return ll_fail(err, LL_FATAL, "the transaction cannot be aborted");
    if (client->txn >= 0)
        valid_end_txn(client->world, client->txn, VALID_ABORTED);
    client->txn = -1;
    return LL_OK;
}

static enum ll_status commit(void *self, struct ll_err *err)
{
    struct valid_client *client = self;
    int fault = call(client, "commit");
    if (is_fenced(client))
        return fenced(client, err);
    if (fault == FAULT_DROP && seed_random(&client->world->seed, 2) == 0) {
        enum ll_status status = abort_txn(client, err);
        return status == LL_OK ? ll_fail(err, LL_RETRY, "the transaction was aborted") : status;
    }
    if (client->txn >= 0)
        valid_end_txn(client->world, client->txn, VALID_COMMITTED);
    client->txn = -1;
    if (fault == FAULT_DROP)
        return ll_fail(err, LL_FATAL, "nobody knows whether it was committed");
    if (fault == FAULT_AFTER)
        die(client);
    return LL_OK;
}

static void close_producer(void *self) { ((struct valid_client *)self)->txn = -1; }

enum ll_status valid_open_producer(void *arg, struct bus_producer *ret, struct ll_err *err)
{
    static const struct bus_producer_ops ops = { .begin = begin,         .send_offsets = send_offsets, .commit = commit,
                                                 .abort = abort_txn,     .send = send,                 .close = close_producer };
    struct valid_client *client = arg;
    struct valid_world *world = client->world;
    if (seed_random(&client->world->seed, 3) == 0) /* not ready yet */
        return LL_OK;
    int fault = call(client, "init");
    if (fault == FAULT_DROP)
        return ll_fail(err, LL_RETRY, "no broker answers");
    for (int i = world->txn_settled; i < world->txn_count; i++) /* what a predecessor has left open ends */
        if (world->txns[i].instance == client->instance)
            valid_end_txn(world, i, VALID_ABORTED);
    client->epoch = ++world->epoch[client->instance];
    client->txn = -1;
    if (fault == FAULT_AFTER)
        die(client);
    *ret = (struct bus_producer){ &ops, client };
    return LL_OK;
}

/* ---- what is known beside the records ---- */

static enum bus_event feed_read(void *self, int timeout_ms, struct bus_record *ret, struct ll_err *err)
{
    struct valid_client *client = self;
    (void)err;
    for (size_t i = 0; i < sizeof FEED / sizeof FEED[0]; i++)
        if (next_of(client, FEED[i], 0, &client->feed_at[FEED[i]], ret))
            return BUS_RECORD;
    client->world->now_ms += timeout_ms;
    return BUS_NONE;
}

static bool feed_at_end(void *self)
{
    const struct valid_client *client = self;
    for (size_t i = 0; i < sizeof FEED / sizeof FEED[0]; i++)
        if (client->feed_at[FEED[i]] < client->feed_end[FEED[i]])
            return false;
    return true;
}

static enum ll_status feed_mark_end(void *self, struct ll_err *err)
{
    struct valid_client *client = self;
    if (call(client, "mark end") == FAULT_DROP)
        return ll_fail(err, LL_RETRY, "no broker answers");
    for (size_t i = 0; i < sizeof FEED / sizeof FEED[0]; i++)
        client->feed_end[FEED[i]] = valid_settled_end(client->world, FEED[i], 0);
    return LL_OK;
}

static enum ll_status feed_judged(void *self, bool *ret, struct ll_err *err)
{
    struct valid_client *client = self;
    if (call(client, "judged") == FAULT_DROP)
        return ll_fail(err, LL_RETRY, "no broker answers");
    *ret = true;
    for (size_t i = 0; i < sizeof JUDGED / sizeof JUDGED[0]; i++)
        *ret = *ret && client->world->logs[JUDGED[i]][0].committed == client->world->logs[JUDGED[i]][0].count;
    for (size_t i = 0; i < sizeof FEED / sizeof FEED[0] && client->world->bug != VALID_BUG_OPEN_END; i++)
        *ret = *ret && valid_settled_end(client->world, FEED[i], 0) == client->world->logs[FEED[i]][0].count;
    return LL_OK;
}

struct feed valid_feed(struct valid_client *client)
{
    static const struct feed_ops ops = { .read = feed_read, .release = release, .at_end = feed_at_end,
                                         .mark_end = feed_mark_end, .judged = feed_judged };
    return (struct feed){ &ops, client };
}

static int64_t clock_ms(void *self) { return ((struct valid_world *)self)->now_ms; }

struct clock_source valid_clock(struct valid_world *world)
{
    return (struct clock_source){ clock_ms, clock_ms, world };
}
