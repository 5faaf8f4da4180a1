/* The simulated Redis: the function library as hot.h describes it, with faults at every call. */
#include "tests/sim/world.h"

#include <stdio.h>
#include <string.h>

static struct sim_shard *shard_of(struct sim_client *client, int32_t partition)
{
    return &client->world->redis.shards[partition];
}

static void set_balance(struct sim_shard *shard, struct text customer, int64_t points)
{
    size_t at = 0;
    while (at < shard->count && !text_equal(text_of(shard->balances[at].customer), customer))
        at++;
    if (at == shard->count)
        snprintf(shard->balances[shard->count++].customer, SIM_NAME_SIZE, "%.*s", TEXT_ARG(customer));
    shard->balances[at].points = points;
}

/* The reply after the fault that struck the call. */
static enum store_reply answer(struct sim_client *client, enum sim_fault fault, enum store_reply reply)
{
    sim_redis_remember(client->world);
    sim_crash_if(client, fault, FAULT_CRASH_AFTER);
    return fault == FAULT_LOST ? STORE_DOWN : reply;
}

static enum sim_fault call(struct sim_client *client, const char *what)
{
    struct sim_world *world = client->world;
    if (world->seed.step < world->redis_down_until)
        return FAULT_DROP;
    if (client->hot_count > 0)
        seed_bad(&client->world->seed, "%s: answers to what was applied before are not collected", what);
    enum sim_fault fault = sim_call(client, what, true);
    sim_crash_if(client, fault, FAULT_CRASH_BEFORE);
    return fault == FAULT_LATE ? FAULT_LOST : fault;
}

static enum store_reply hot_claim(void *self, int32_t partition, int64_t epoch, int64_t next, int64_t *ret_next,
                                  struct ll_err *err)
{
    struct sim_client *client = self;
    enum sim_fault fault = call(client, "redis claim");
    if (fault == FAULT_DROP)
        return (void)ll_fail(err, LL_RETRY, "redis is down"), STORE_DOWN;
    struct sim_shard *shard = shard_of(client, partition);
    if (shard->epoch > epoch)
        return answer(client, fault, STORE_NOT_MINE);
    *ret_next = shard->next;
    shard->epoch = epoch;
    if (shard->next >= next && client->world->bug != BUG_REDIS_SKIP) {
        shard->ahead = shard->next > shard->ahead ? shard->next : shard->ahead;
        shard->next = next;
    }
    return answer(client, fault, STORE_OK);
}

static enum store_reply apply_one(struct sim_client *client, const struct hot_batch *batch)
{
    struct sim_shard *shard = shard_of(client, batch->partition);
    bool fences = client->world->bug != BUG_EPOCH_UNCHECKED, guarded = client->world->bug != BUG_REDIS_UNGUARDED;
    if (fences && shard->epoch > batch->epoch)
        return STORE_NOT_MINE;
    if (guarded && ((fences && shard->epoch != batch->epoch) || shard->next != batch->first))
        return STORE_GAP;
    for (size_t i = 0; i < batch->count; i++)
        set_balance(shard, batch->balances[i].customer_id, batch->balances[i].points);
    shard->next = batch->next;
    return STORE_OK;
}

static enum store_reply hot_apply(void *self, struct hot_batch *batches, size_t count, struct ll_err *err)
{
    struct sim_client *client = self;
    enum sim_fault fault = call(client, "redis apply");
    if (fault == FAULT_DROP)
        return (void)ll_fail(err, LL_RETRY, "redis is down"), STORE_DOWN;
    for (size_t i = 0; i < count; i++) {
        batches[i].reply = apply_one(client, &batches[i]);
        seed_say(&client->world->seed, "%d redis apply p%d e%lld [%lld,%lld) -> %d", client->number, batches[i].partition,
                (long long)batches[i].epoch, (long long)batches[i].first, (long long)batches[i].next,
                batches[i].reply);
    }
    client->hot_batches = batches;
    client->hot_count = count; /* until collected */
    client->hot_lost = answer(client, fault, STORE_OK) == STORE_DOWN;
    return STORE_OK;
}

static enum store_reply hot_collect_replies(void *self, struct ll_err *err)
{
    struct sim_client *client = self;
    size_t count = client->hot_count;
    client->hot_count = 0;
    if (!client->hot_lost)
        return STORE_OK;
    for (size_t i = 0; i < count; i++)
        client->hot_batches[i].reply = STORE_DOWN;
    ll_fail(err, LL_RETRY, "redis: reply lost");
    return STORE_DOWN;
}

static enum store_reply hot_reset(void *self, int32_t partition, int64_t epoch, int64_t token, struct ll_err *err)
{
    struct sim_client *client = self;
    enum sim_fault fault = call(client, "redis reset");
    if (fault == FAULT_DROP)
        return (void)ll_fail(err, LL_RETRY, "redis is down"), STORE_DOWN;
    struct sim_shard *shard = shard_of(client, partition);
    if (shard->epoch > epoch)
        return answer(client, fault, STORE_NOT_MINE);
    *shard = (struct sim_shard){ .epoch = epoch, .next = -1, .token = token };
    return answer(client, fault, STORE_OK);
}

static enum store_reply hot_load(void *self, int32_t partition, int64_t epoch, int64_t token, int64_t chunk,
                                 const struct hot_balance *balances, size_t count, struct ll_err *err)
{
    struct sim_client *client = self;
    enum sim_fault fault = call(client, "redis load");
    if (fault == FAULT_DROP)
        return (void)ll_fail(err, LL_RETRY, "redis is down"), STORE_DOWN;
    struct sim_shard *shard = shard_of(client, partition);
    bool fences = client->world->bug != BUG_EPOCH_UNCHECKED;
    if (fences && (shard->epoch != epoch || shard->token != token || shard->chunks != chunk))
        return answer(client, fault, STORE_GAP);
    for (size_t i = 0; i < count; i++)
        set_balance(shard, balances[i].customer_id, balances[i].points);
    shard->chunks++;
    return answer(client, fault, STORE_OK);
}

static enum store_reply hot_finish(void *self, int32_t partition, int64_t epoch, int64_t token, int64_t chunks,
                                   int64_t next, struct ll_err *err)
{
    struct sim_client *client = self;
    enum sim_fault fault = call(client, "redis finish");
    if (fault == FAULT_DROP)
        return (void)ll_fail(err, LL_RETRY, "redis is down"), STORE_DOWN;
    struct sim_shard *shard = shard_of(client, partition);
    bool fences = client->world->bug != BUG_EPOCH_UNCHECKED;
    if (fences && (shard->epoch != epoch || shard->token != token || shard->chunks != chunks))
        return answer(client, fault, STORE_GAP);
    shard->next = next;
    shard->token = -1;
    return answer(client, fault, STORE_OK);
}

static void hot_close(void *self) { (void)self; }

static const struct hot_ops ops = {
    .claim = hot_claim,
    .apply = hot_apply,
    .collect = hot_collect_replies,
    .reset = hot_reset,
    .load = hot_load,
    .finish = hot_finish,
    .close = hot_close,
};

struct hot sim_hot(struct sim_client *client) { return (struct hot){ &ops, client }; }
