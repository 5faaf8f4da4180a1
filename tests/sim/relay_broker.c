/* The simulated broker as the relay's producer meets it: transactions, fencing by epoch and by generation, commits that arrive
 * late, transactions that nobody ends. */
#include "tests/sim/world.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TXN_STEPS_MAX = 150 };

bool sim_txn_end(struct sim_world *world, int txn, enum sim_txn_state state)
{
    struct sim_txn *ended = &world->broker.txns[txn];
    if (ended->state != TXN_OPEN)
        return ended->state == state;
    ended->state = state;
    for (int p = 0; p < SIM_PARTITIONS && state == TXN_COMMITTED; p++)
        if (ended->progress[p] >= 0)
            world->broker.progress[p] = ended->progress[p];
    seed_say(&world->seed, "  txn %d %s, progress %lld %lld", txn, state == TXN_COMMITTED ? "committed" : "aborted",
            (long long)world->broker.progress[0], (long long)world->broker.progress[1]);
    return true;
}

static void deliver_late(struct sim_world *world, int64_t until_step)
{
    for (size_t i = 0; i < SIM_LATE_MAX; i++)
        if (world->late_commits[i].at_step != 0 && world->late_commits[i].at_step <= until_step) {
            world->late_commits[i].at_step = 0;
            sim_txn_end(world, world->late_commits[i].txn, TXN_COMMITTED);
        }
}

void sim_txns_expire(struct sim_world *world)
{
    deliver_late(world, world->seed.step);
    for (int i = 0; i < world->broker.txn_count; i++) {
        struct sim_txn *txn = &world->broker.txns[i];
        if (txn->state != TXN_OPEN || world->seed.step - txn->begun_at <= TXN_STEPS_MAX)
            continue;
        world->broker.epoch[txn->instance]++; /* its producer is fenced */
        sim_txn_end(world, i, TXN_ABORTED);
    }
}

bool sim_is_fenced(const struct sim_relay *relay)
{
    return relay->is_dead || relay->world->broker.epoch[relay->instance] != relay->epoch;
}

static enum ll_status fatal(struct sim_relay *relay, const char *why, struct ll_err *err)
{
    relay->is_dead = true;
    return ll_fail(err, LL_FATAL, "producer: %s", why);
}

static enum ll_status producer_begin(void *self, struct ll_err *err)
{
    struct sim_relay *relay = self;
    if (sim_is_fenced(relay))
        return fatal(relay, "fenced", err);
    relay->txn = -1; /* the broker hears of it with the first record */
    return LL_OK;
}

static struct sim_txn *need_txn(struct sim_relay *relay)
{
    struct sim_broker *broker = &relay->world->broker;
    if (relay->txn < 0) {
        assert(broker->txn_count < SIM_TXNS_MAX);
        relay->txn = broker->txn_count++;
        broker->txns[relay->txn] = (struct sim_txn){ .instance = relay->instance,
                                                     .epoch = relay->epoch,
                                                     .begun_at = relay->world->seed.step,
                                                     .progress = { -1, -1 } };
    }
    return &broker->txns[relay->txn];
}

static int64_t number_of(const struct bus_out *out, const char *name)
{
    char text[32];
    for (size_t i = 0; i < out->header_count; i++)
        if (text_equal(out->headers[i].name, text_of(name))) {
            snprintf(text, sizeof text, "%.*s", TEXT_ARG(out->headers[i].value));
            return atoll(text);
        }
    return -1;
}

/* What a reader makes of it. */
static void read_record(struct sim_relay *relay, const struct bus_out *out, struct sim_relayed *ret)
{
    struct event event;
    enum code code;
    enum event_kind kind = EVENT_TRANSACTION_VALID;
    struct codec *codec = relay->world->codec;
    struct codec_scratch *scratch = relay->relay.maker.scratch;
    *ret = (struct sim_relayed){ .kind = 'D', .partition = out->partition, .txn = relay->txn };
    enum ll_status status = out->topic == TOPIC_LEDGER ? codec_kind(codec, out->value, &kind, &code, NULL) : LL_OK;
    if (status == LL_OK)
        status = codec_read(codec, kind, out->value, scratch, &event, &code, NULL);
    assert(status == LL_OK);
    if (kind == EVENT_LEDGER) {
        ret->kind = 'L';
        ret->offset = event.ledger.offset;
        ret->seq = event.ledger.seq;
        ret->points = event.ledger.points;
        snprintf(ret->id, sizeof ret->id, "%.*s", TEXT_ARG(event.ledger.transaction_id));
    } else if (kind == EVENT_CONTROL) {
        ret->kind = 'T';
        ret->offset = number_of(out, "ll-offset");
        ret->seq = (int32_t)number_of(out, "ll-seq");
        ret->points = event.control.time_ms;
    } else {
        ret->offset = number_of(out, "ll-row-offset");
        ret->seq = (int32_t)number_of(out, "ll-row-seq");
        snprintf(ret->id, sizeof ret->id, "%.*s", TEXT_ARG(event.transaction.transaction_id));
    }
}

static enum ll_status producer_send(void *self, const struct bus_out *out, struct ll_err *err)
{
    struct sim_relay *relay = self;
    struct sim_broker *broker = &relay->world->broker;
    enum sim_fault fault = sim_relay_call(relay, "kafka send", false);
    sim_relay_crash_if(relay, fault, FAULT_CRASH_BEFORE);
    if (fault == FAULT_DROP)
        return ll_fail(err, LL_RETRY, "send failed");
    need_txn(relay);
    if (sim_is_fenced(relay) || broker->txns[relay->txn].state != TXN_OPEN)
        return fatal(relay, "fenced", err);
    assert(broker->record_count < SIM_RELAYED_MAX);
    struct sim_relayed *record = &broker->records[broker->record_count++];
    read_record(relay, out, record);
    seed_say(&relay->world->seed, "  relay %d sends %c p%d %lld.%d %s in txn %d", relay->number, record->kind, record->partition,
            (long long)record->offset, record->seq, record->id, relay->txn);
    return LL_OK;
}

static enum ll_status producer_abort(void *self, struct ll_err *err)
{
    struct sim_relay *relay = self;
    enum sim_fault fault = sim_relay_call(relay, "kafka abort", false);
    sim_relay_crash_if(relay, fault, FAULT_CRASH_BEFORE);
    if (sim_is_fenced(relay) || fault == FAULT_DROP)
        return fatal(relay, "abort failed", err);
    if (relay->txn >= 0 && !sim_txn_end(relay->world, relay->txn, TXN_ABORTED))
        return fatal(relay, "abort of what is committed", err);
    relay->txn = -1;
    return LL_OK;
}

/* What only an abort heals. */
static enum ll_status abort_and_retry(struct sim_relay *relay, const char *why, struct ll_err *err)
{
    enum ll_status status = producer_abort(relay, err);
    return status == LL_OK ? ll_fail(err, LL_RETRY, "%s", why) : status;
}

static enum ll_status producer_send_offsets(void *self, struct bus_consumer *consumer, const struct bus_position *next,
                                            size_t count, struct ll_err *err)
{
    (void)consumer;
    struct sim_relay *relay = self;
    struct sim_world *world = relay->world;
    enum sim_fault fault = sim_relay_call(relay, "kafka offsets", true);
    sim_relay_crash_if(relay, fault, FAULT_CRASH_BEFORE);
    if (sim_is_fenced(relay))
        return fatal(relay, "fenced", err);
    if (fault == FAULT_DROP)
        return abort_and_retry(relay, "offsets not sent", err);
    bool is_member = relay->generation == world->broker.generation && world->broker.member[relay->instance] == relay->number;
    if (!is_member && world->bug != BUG_RELAY_UNFENCED)
        return abort_and_retry(relay, "illegal generation", err);
    struct sim_txn *txn = need_txn(relay);
    if (txn->state != TXN_OPEN)
        return fatal(relay, "the transaction is over", err);
    for (size_t i = 0; i < count; i++) {
        txn->progress[next[i].partition] = next[i].offset;
        if (world->bug == BUG_RELAY_APART)
            world->broker.progress[next[i].partition] = next[i].offset;
    }
    sim_relay_crash_if(relay, fault, FAULT_CRASH_AFTER);
    if (fault == FAULT_LOST || fault == FAULT_LATE)
        return abort_and_retry(relay, "offsets: reply lost", err);
    return LL_OK;
}

static enum ll_status producer_commit(void *self, struct ll_err *err)
{
    struct sim_relay *relay = self;
    struct sim_world *world = relay->world;
    enum sim_fault fault = sim_relay_call(relay, "kafka commit", true);
    sim_relay_crash_if(relay, fault, FAULT_CRASH_BEFORE);
    if (sim_is_fenced(relay))
        return fatal(relay, "fenced", err);
    if (fault == FAULT_DROP) /* neither done nor undone: the next init ends it */
        return fatal(relay, "commit: no answer", err);
    if (fault == FAULT_LATE) { /* it comes when it comes, unless an init or the time-out ends the transaction before */
        size_t at = world->late_commit_count++ % SIM_LATE_MAX;
        world->late_commits[at].at_step = relay->txn < 0 ? 0 : world->seed.step + 1 + seed_random(&world->seed, 30);
        world->late_commits[at].txn = relay->txn;
        return fatal(relay, "commit: on its way", err);
    }
    if (relay->txn >= 0 && !sim_txn_end(world, relay->txn, TXN_COMMITTED))
        return fatal(relay, "commit of what is over", err);
    relay->txn = -1;
    sim_relay_crash_if(relay, fault, FAULT_CRASH_AFTER);
    return fault == FAULT_LOST ? fatal(relay, "commit: reply lost", err) : LL_OK;
}

static enum ll_status producer_flush(void *self, int timeout_ms, struct ll_err *err)
{
    (void)self, (void)timeout_ms, (void)err;
    return LL_OK;
}

static void producer_close(void *self) { (void)self; }

static const struct bus_producer_ops ops = {
    .begin = producer_begin,
    .send_offsets = producer_send_offsets,
    .commit = producer_commit,
    .abort = producer_abort,
    .send = producer_send,
    .flush = producer_flush,
    .close = producer_close,
};

enum ll_status sim_producer_open(void *arg, struct bus_producer *ret, struct ll_err *err)
{
    struct sim_relay *relay = arg;
    struct sim_broker *broker = &relay->world->broker;
    if (relay->world->bug == BUG_RELAY_FIRST) {
        memcpy(relay->peeked, broker->progress, sizeof relay->peeked);
        relay->has_peeked = true;
    }
    enum sim_fault fault = sim_relay_call(relay, "kafka init", true);
    if (seed_random(&relay->world->seed, 2) == 0) /* what is on its way may be faster */
        deliver_late(relay->world, INT64_MAX);
    sim_relay_crash_if(relay, fault, FAULT_CRASH_BEFORE);
    if (fault == FAULT_DROP)
        return ll_fail(err, LL_RETRY, "init: no answer");
    for (int i = 0; i < broker->txn_count; i++)
        if (broker->txns[i].instance == relay->instance)
            sim_txn_end(relay->world, i, TXN_ABORTED);
    relay->epoch = ++broker->epoch[relay->instance];
    relay->is_dead = false;
    relay->txn = -1;
    seed_say(&relay->world->seed, "relay %d opens instance %d epoch %d", relay->number, relay->instance, relay->epoch);
    sim_relay_crash_if(relay, fault, FAULT_CRASH_AFTER);
    if (fault == FAULT_LOST || fault == FAULT_LATE)
        return ll_fail(err, LL_RETRY, "init: reply lost");
    *ret = (struct bus_producer){ &ops, relay };
    return LL_OK;
}
