/* Kafka, as segment sees it: the topic ledger through a group, segment-changes through transactions under one id. */
#include "tests/sim/seg.h"

#include <stdlib.h>
#include <string.h>

enum { SESSION_STEPS = 60, TXN_STEPS = 300 };

static bool is_down(const struct seg_world *world)
{
    return world->kafka_down_until > world->seed.step;
}

/* ---- the group ---- */

static void rebalance(struct seg_world *world)
{
    world->generation++;
}

void seg_leave(struct seg_client *client)
{
    if (client->joined)
        rebalance(client->world);
    client->joined = false;
}

/* Who is silent for too long is out of the group; what is open for too long is aborted, and its producer with it. */
void seg_bus_step(struct seg_world *world)
{
    for (int at = 0; at < world->client_count; at++) {
        struct seg_client *client = world->clients[at];
        if (client->joined && world->seed.step - client->polled_at > SESSION_STEPS && !is_down(world)) {
            seed_say(&world->seed, "   %d is out of the group", client->number);
            seg_leave(client);
        }
    }
    for (int at = 0; at < world->txn_count; at++) {
        const struct seg_txn *txn = &world->txns[at];
        if (txn->state != SEG_TXN_OPEN)
            continue;
        if (txn->commits_at > 0 && txn->commits_at <= world->seed.step)
            seg_end_txn(world, at, SEG_TXN_COMMITTED);
        if (txn->commits_at > 0 || world->seed.step - txn->begun_at <= TXN_STEPS)
            continue;
        world->producer_epoch++;
        seg_end_txn(world, at, SEG_TXN_ABORTED);
    }
}

/* The partitions are shared by those that have joined, in the order of their numbers. */
static void assign(struct seg_client *client)
{
    struct seg_world *world = client->world;
    int members = 0, own = 0;
    for (int at = 0; at < world->client_count; at++) {
        own = world->clients[at] == client ? members : own;
        members += world->clients[at]->joined;
    }
    client->changed_count = 0;
    for (int p = 0; p < SEG_PARTITIONS; p++)
        if (p % members == own)
            client->changed[client->changed_count++] = (struct bus_position){ TOPIC_LEDGER, p, BUS_COMMITTED };
    client->told = true;
    client->flowing = false;
    client->generation = world->generation;
    seed_say(&world->seed, "%d gets %zu partitions", client->number, client->changed_count);
}

/* An assignment waits until all other members have let go of theirs. */
static bool have_let_go(const struct seg_client *client)
{
    const struct seg_world *world = client->world;
    for (int at = 0; at < world->client_count; at++) {
        const struct seg_client *other = world->clients[at];
        if (other != client && other->joined && other->told && other->generation != world->generation)
            return false;
    }
    return true;
}

static enum bus_event change_of_group(struct seg_client *client)
{
    struct seg_world *world = client->world;
    if (client->told && (!client->joined || client->generation != world->generation)) {
        client->changed_lost = !client->joined;
        client->told = client->flowing = false;
        seed_say(&world->seed, "%d gives its partitions back", client->number);
        return BUS_REVOKED;
    }
    if (!client->joined) {
        client->joined = true;
        rebalance(world);
    }
    if (client->generation == world->generation || !have_let_go(client))
        return BUS_NONE;
    assign(client);
    return BUS_ASSIGNED;
}

static enum bus_event poll(void *self, int timeout_ms, struct bus_record *ret, struct ll_err *err)
{
    struct seg_client *client = self;
    struct seg_world *world = client->world;
    client->polled_at = world->seed.step;
    if (world->member[client->instance] != client->number) {
        ll_fail(err, LL_FATAL, "fenced: another member has the name");
        return BUS_BROKEN;
    }
    if (is_down(world)) {
        world->now_ms += timeout_ms;
        ll_fail(err, LL_RETRY, "no broker answers");
        return BUS_DOWN;
    }
    enum bus_event event = change_of_group(client);
    if (event != BUS_NONE)
        return event;
    for (uint32_t try = 0; client->flowing && try < SEG_PARTITIONS; try++) {
        uint32_t p = seed_random(&world->seed, SEG_PARTITIONS);
        struct seg_log *log = &world->logs[p];
        if (client->paused[p])
            continue;
        while (client->next[p] < log->count && log->records[client->next[p]].value == NULL &&
               log->records[client->next[p]].at_step <= world->seed.step)
            client->next[p]++; /* markers */
        if (client->next[p] >= log->count || log->records[client->next[p]].at_step > world->seed.step)
            continue;
        int64_t offset = client->next[p]++;
        if (client->read_to[p] < offset + 1)
            client->read_to[p] = offset + 1;
        *ret = (struct bus_record){ .topic = TOPIC_LEDGER,
                                    .partition = (int32_t)p,
                                    .offset = offset,
                                    .value = { log->records[offset].value, log->records[offset].size } };
        return BUS_RECORD;
    }
    world->now_ms += timeout_ms;
    return BUS_NONE;
}

static const struct bus_position *changed(void *self, size_t *ret_count, bool *ret_lost)
{
    const struct seg_client *client = self;
    *ret_count = client->changed_count;
    *ret_lost = client->changed_lost;
    return client->changed;
}

static enum ll_status start(void *self, const struct bus_position *from, size_t count, struct ll_err *err)
{
    struct seg_client *client = self;
    enum seg_fault fault = seg_call(client, "start");
    if (is_down(client->world) || fault == SEG_FAILS)
        return ll_fail(err, LL_RETRY, "no broker answers");
    client->flowing = count > 0;
    for (size_t at = 0; at < count; at++) {
        int32_t p = from[at].partition;
        if (from[at].offset > client->world->logs[p].count)
            seed_bad(&client->world->seed, "p%d is to start at %lld of %lld", p, (long long)from[at].offset,
                     (long long)client->world->logs[p].count);
        client->next[p] = from[at].offset < 0 ? 0 : from[at].offset;
        if (client->world->bug == SEG_BUG_START_ON && client->read_to[p] > client->next[p])
            client->next[p] = client->read_to[p];
        client->paused[p] = client->paused[p] && client->world->bug == SEG_BUG_PAUSE_KEPT;
    }
    if (fault == SEG_CRASH_AFTER)
        seg_die(client);
    return LL_OK;
}

static enum ll_status stop(void *self, struct ll_err *err)
{
    (void)err;
    ((struct seg_client *)self)->flowing = false;
    return LL_OK;
}

static void release(void *self, struct bus_record *record)
{
    (void)self;
    record->value = (struct text){ 0 };
}

static int64_t position(void *self, enum topic topic, int32_t partition)
{
    (void)topic;
    return ((struct seg_client *)self)->next[partition];
}

static enum ll_status committed(void *self, struct bus_position *positions, size_t count, struct ll_err *err)
{
    struct seg_client *client = self;
    struct seg_world *world = client->world;
    enum seg_fault fault = seg_call(client, "progress");
    if (is_down(world) || fault == SEG_FAILS)
        return ll_fail(err, LL_RETRY, "no broker answers");
    for (int at = 0; at < world->txn_count && world->bug != SEG_BUG_PUBLISH_UNSETTLED; at++)
        if (world->txns[at].state == SEG_TXN_OPEN && world->txns[at].progress >= 0)
            return ll_fail(err, LL_RETRY, "a transaction with it is open");
    for (size_t at = 0; at < count; at++)
        positions[at].offset = world->progress < 0 ? BUS_BEGINNING : world->progress;
    if (fault == SEG_CRASH_AFTER)
        seg_die(client);
    return LL_OK;
}

static void commit_group(void *self, const struct bus_position *next, size_t count)
{
    (void)self;
    (void)next;
    (void)count;
}

static enum ll_status pause_partition(void *self, enum topic topic, int32_t partition, bool paused,
                                      struct ll_err *err)
{
    (void)topic;
    (void)err;
    ((struct seg_client *)self)->paused[partition] = paused;
    return LL_OK;
}

static void close_consumer(void *self)
{
    seg_leave(self);
}

enum ll_status seg_open_consumer(void *arg, struct bus_consumer *ret, struct ll_err *err)
{
    static const struct bus_consumer_ops ops = { .poll = poll,
                                                 .changed = changed,
                                                 .start = start,
                                                 .stop = stop,
                                                 .release = release,
                                                 .position = position,
                                                 .committed = committed,
                                                 .commit = commit_group,
                                                 .pause = pause_partition,
                                                 .close = close_consumer };
    struct seg_client *client = arg;
    if (seg_call(client, "open") == SEG_FAILS)
        return ll_fail(err, LL_RETRY, "no broker answers");
    client->generation = -1;
    *ret = (struct bus_consumer){ &ops, client };
    return LL_OK;
}

/* ---- the producer ---- */

void seg_end_txn(struct seg_world *world, int number, enum seg_txn_state state)
{
    struct seg_txn *txn = &world->txns[number];
    if (txn->state != SEG_TXN_OPEN)
        return;
    txn->state = state;
    if (state == SEG_TXN_COMMITTED && txn->progress >= 0)
        world->progress = world->published_upto = txn->progress;
    world->fell_behind = world->fell_behind || world->progress > world->store.now.owner.next_change;
    seed_say(&world->seed, "   transaction %d is %s, progress %lld", number,
             state == SEG_TXN_COMMITTED ? "committed" : "aborted", (long long)world->progress);
}

static bool is_fenced(const struct seg_client *client)
{
    return client->producer_epoch != client->world->producer_epoch &&
           client->world->bug != SEG_BUG_PUBLISH_UNFENCED;
}

static enum ll_status fenced(struct seg_client *client, struct ll_err *err)
{
    client->txn = -1;
    return ll_fail(err, LL_FATAL, "fenced: another producer has the transactional id");
}

static enum ll_status begin(void *self, struct ll_err *err)
{
    struct seg_client *client = self;
    if (seg_call(client, "begin") == SEG_FAILS)
        return ll_fail(err, LL_RETRY, "no broker answers");
    if (is_fenced(client))
        return fenced(client, err);
    client->txn = -1; /* the coordinator hears of it with the first record */
    return LL_OK;
}

static bool join_txn(struct seg_client *client)
{
    struct seg_world *world = client->world;
    if (client->txn >= 0)
        return world->txns[client->txn].state == SEG_TXN_OPEN;
    if (world->txn_count == SEG_TXNS_MAX) {
        seed_bad(&world->seed, "too many transactions");
        return false;
    }
    client->txn = world->txn_count++;
    world->txns[client->txn] = (struct seg_txn){ .progress = -1, .begun_at = world->seed.step };
    return true;
}

static int customer_of(struct text id)
{
    char digits[8] = "";
    if (id.size > 1 && id.size < sizeof digits)
        memcpy(digits, id.data + 1, id.size - 1);
    int customer = atoi(digits);
    return customer < SEG_CUSTOMERS ? customer : 0;
}

static enum ll_status send(void *self, const struct bus_out *out, struct ll_err *err)
{
    struct seg_client *client = self;
    struct seg_world *world = client->world;
    struct event event;
    enum code code;
    if (is_fenced(client))
        return fenced(client, err);
    if (is_down(world) || !join_txn(client) || world->sent_count == SEG_SENT_MAX)
        return ll_fail(err, LL_RETRY, "the transaction has failed");
    if (codec_read(world->codec, EVENT_SEGMENT_CHANGE, out->value, world->scratch, &event, &code, err) != LL_OK ||
        event.segment_change.change_id.size != 32) {
        seed_bad(&world->seed, "a record of segment-changes does not decode");
        return LL_OK;
    }
    struct seg_sent *sent = &world->sent[world->sent_count++];
    sent->txn = client->txn;
    sent->customer = customer_of(event.segment_change.customer_id);
    sent->sequence = event.segment_change.sequence;
    memcpy(sent->change_id, event.segment_change.change_id.data, 32);
    sent->change_id[32] = '\0';
    return LL_OK;
}

static enum ll_status send_offsets(void *self, struct bus_consumer *consumer, const struct bus_position *next,
                                   size_t count, struct ll_err *err)
{
    struct seg_client *client = self;
    struct seg_world *world = client->world;
    (void)consumer;
    enum seg_fault fault = seg_call(client, "offsets");
    if (is_fenced(client))
        return fenced(client, err);
    bool is_member = client->joined && client->generation == world->generation;
    if (fault == SEG_FAILS || is_down(world) || count != 1 ||
        (!is_member && world->bug != SEG_BUG_PUBLISH_UNFENCED) || !join_txn(client))
        return ll_fail(err, LL_RETRY, is_member ? "the transaction has failed" : "another generation of the group");
    world->txns[client->txn].progress = next[0].offset;
    if (world->bug == SEG_BUG_PUBLISH_APART) {
        world->txns[client->txn].progress = -1;
        world->progress = next[0].offset;
    }
    if (fault == SEG_CRASH_AFTER)
        seg_die(client);
    return LL_OK;
}

static enum ll_status abort_txn(void *self, struct ll_err *err)
{
    struct seg_client *client = self;
    if (is_fenced(client))
        return fenced(client, err);
    if (is_down(client->world))
        return ll_fail(err, LL_FATAL, "no broker answers");
    if (client->txn >= 0)
        seg_end_txn(client->world, client->txn, SEG_TXN_ABORTED);
    client->txn = -1;
    return LL_OK;
}

static enum ll_status commit_txn(void *self, struct ll_err *err)
{
    struct seg_client *client = self;
    struct seg_world *world = client->world;
    enum seg_fault fault = seg_call(client, "publish");
    if (is_fenced(client))
        return fenced(client, err);
    if (client->txn >= 0 && world->txns[client->txn].state != SEG_TXN_OPEN)
        return ll_fail(err, LL_FATAL, "the transaction was ended");
    uint32_t how = fault == SEG_FAILS || is_down(world) ? 1 + seed_random(&world->seed, 3) : 0;
    if (how == 1) { /* not done, and known */
        abort_txn(client, err);
        return ll_fail(err, LL_RETRY, "the transaction was aborted");
    }
    if (client->txn >= 0 && how == 0)
        seg_end_txn(world, client->txn, SEG_TXN_COMMITTED);
    if (client->txn >= 0 && how == 3 && !is_down(world)) /* the coordinator has it; markers follow */
        world->txns[client->txn].commits_at = world->seed.step + 1 + seed_random(&world->seed, 30);
    client->txn = -1;
    if (fault == SEG_CRASH_AFTER)
        seg_die(client);
    return how == 0 ? LL_OK : ll_fail(err, LL_FATAL, "nobody knows whether it was committed");
}

static void close_producer(void *self)
{
    (void)self;
}

enum ll_status seg_open_producer(void *arg, struct bus_producer *ret, struct ll_err *err)
{
    static const struct bus_producer_ops ops = { .begin = begin,
                                                 .send = send,
                                                 .send_offsets = send_offsets,
                                                 .commit = commit_txn,
                                                 .abort = abort_txn,
                                                 .close = close_producer };
    struct seg_client *client = arg;
    struct seg_world *world = client->world;
    enum seg_fault fault = seg_call(client, "init");
    if (is_down(world) || fault == SEG_FAILS)
        return ll_fail(err, LL_RETRY, "no coordinator");
    for (int at = 0; at < world->txn_count; at++) { /* what a predecessor left */
        bool ends = world->txns[at].state == SEG_TXN_OPEN && world->txns[at].commits_at > 0;
        if (ends && world->bug != SEG_BUG_PUBLISH_UNSETTLED)
            return ll_fail(err, LL_RETRY, "a transaction of the same id is being committed");
        if (!ends && world->bug != SEG_BUG_PUBLISH_UNFENCED)
            seg_end_txn(world, at, SEG_TXN_ABORTED);
    }
    client->producer_epoch = ++world->producer_epoch;
    client->txn = -1;
    if (fault == SEG_CRASH_AFTER)
        seg_die(client);
    *ret = (struct bus_producer){ &ops, client };
    return LL_OK;
}
