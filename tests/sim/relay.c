/* The relay's processes in the simulated world: their group, their view of Postgres, what happens to them, and what must be
 * true of what they leave behind. */
#include "tests/sim/world.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* ---- faults at calls ---- */

/* A relay that is paused in the middle of a step: the others go on, and it wakes up as if nothing had happened. */
static void pause_within(struct sim_relay *relay)
{
    struct sim_world *world = relay->world;
    jmp_buf kept;
    int64_t steps = 1 + seed_random(&world->seed, 200);
    seed_say(&world->seed, "!! relay %d pauses for %lld steps", relay->number, (long long)steps);
    memcpy(&kept, &world->relay_crash, sizeof kept);
    world->is_nested = true;
    relay->asleep_until = INT64_MAX;
    if (seed_random(&world->seed, 2) == 0) /* its session is over, or its name is started again */
        sim_relay_fault(world, 1 + seed_random(&world->seed, 3));
    for (int64_t i = 0; i < steps && relay->alive; i++)
        sim_step(world);
    relay->asleep_until = 0;
    world->is_nested = false;
    world->running_relay = relay;
    memcpy(&world->relay_crash, &kept, sizeof kept);
    seed_say(&world->seed, "   relay %d wakes", relay->number);
    if (!relay->alive) /* killed while it was paused */
        longjmp(world->relay_crash, 1);
}

enum sim_fault sim_relay_call(struct sim_relay *relay, const char *what, bool writes)
{
    struct sim_world *world = relay->world;
    world->now_ms += seed_random(&world->seed, 3);
    if (!seed_fault_due(&world->seed))
        return FAULT_NONE;
    static const enum sim_fault writing[] = { FAULT_CRASH_BEFORE, FAULT_CRASH_AFTER, FAULT_LOST, FAULT_DROP, FAULT_LATE };
    static const enum sim_fault reading[] = { FAULT_CRASH_BEFORE, FAULT_DROP };
    static const char *const names[] = { "none", "crash before", "crash after", "lost reply", "dropped", "late" };
    if (!world->is_nested && seed_random(&world->seed, 3) == 0) {
        seed_say(&world->seed, "!! relay %d at %s:", relay->number, what);
        pause_within(relay);
        return FAULT_NONE;
    }
    enum sim_fault fault = writes ? writing[seed_random(&world->seed, 5)] : reading[seed_random(&world->seed, 2)];
    seed_say(&world->seed, "!! relay %d %s: %s", relay->number, what, names[fault]);
    return fault;
}

void sim_relay_crash_if(struct sim_relay *relay, enum sim_fault fault, enum sim_fault when)
{
    if (fault == when && (fault == FAULT_CRASH_BEFORE || fault == FAULT_CRASH_AFTER)) {
        relay->alive = false;
        longjmp(relay->world->relay_crash, 1);
    }
}

/* ---- the group ---- */

static bool owns(const struct sim_relay *relay, int partition)
{
    const struct sim_broker *broker = &relay->world->broker;
    return broker->owner[partition] == relay->instance && broker->member[relay->instance] == relay->number;
}

static enum bus_event change(struct sim_relay *relay)
{
    relay->changed_count = 0;
    if (relay->has_assignment) { /* eager: everything goes first */
        relay->changed_lost = seed_random(&relay->world->seed, 2) == 0;
        memset(relay->told, 0, sizeof relay->told);
        relay->has_assignment = false;
        return BUS_REVOKED;
    }
    for (int p = 0; p < SIM_PARTITIONS; p++) {
        relay->told[p] = owns(relay, p);
        if (relay->told[p])
            relay->changed[relay->changed_count++] = (struct bus_position){ TOPIC_TRANSACTIONS_VALID, p, BUS_COMMITTED };
    }
    relay->has_assignment = true;
    relay->generation = relay->world->broker.generation;
    return BUS_ASSIGNED;
}

static enum bus_event bus_poll(void *self, int timeout_ms, struct bus_record *ret, struct ll_err *err)
{
    (void)ret;
    struct sim_relay *relay = self;
    struct sim_world *world = relay->world;
    world->now_ms += timeout_ms > 0 ? timeout_ms : 1;
    if (world->seed.step < relay->notices_at)
        return BUS_NONE;
    if (world->broker.member[relay->instance] != relay->number) {
        ll_fail(err, LL_FATAL, "fenced instance");
        return BUS_BROKEN;
    }
    return relay->has_assignment && relay->generation == world->broker.generation ? BUS_NONE : change(relay);
}

static const struct bus_position *bus_changed(void *self, size_t *ret_count, bool *ret_lost)
{
    struct sim_relay *relay = self;
    *ret_count = relay->changed_count;
    *ret_lost = relay->changed_lost;
    return relay->changed;
}

static enum ll_status bus_start(void *self, const struct bus_position *from, size_t count, struct ll_err *err)
{
    (void)self, (void)from, (void)err;
    assert(count == 0); /* it wants partitions, never records */
    return LL_OK;
}

static enum ll_status bus_stop(void *self, struct ll_err *err)
{
    (void)self, (void)err;
    return LL_OK;
}

static enum ll_status bus_committed(void *self, struct bus_position *positions, size_t count, struct ll_err *err)
{
    struct sim_relay *relay = self;
    struct sim_broker *broker = &relay->world->broker;
    enum sim_fault fault = sim_relay_call(relay, "kafka committed", false);
    sim_relay_crash_if(relay, fault, FAULT_CRASH_BEFORE);
    if (fault == FAULT_DROP)
        return ll_fail(err, LL_RETRY, "committed: no answer");
    bool settled = true;
    for (int i = 0; i < broker->txn_count; i++)
        for (size_t j = 0; j < count; j++)
            settled = settled &&
                      (broker->txns[i].state != TXN_OPEN || broker->txns[i].progress[positions[j].partition] < 0);
    bool peeks = relay->has_peeked;
    relay->has_peeked = false;
    if (!settled && relay->world->bug != BUG_RELAY_UNSETTLED && !peeks)
        return ll_fail(err, LL_RETRY, "a transaction is open");
    for (size_t j = 0; j < count; j++) {
        int64_t progress = peeks ? relay->peeked[positions[j].partition] : broker->progress[positions[j].partition];
        positions[j].offset = progress < 0 ? BUS_BEGINNING : progress;
    }
    return LL_OK;
}

static void bus_close(void *self) { (void)self; }

static const struct bus_consumer_ops bus_ops = {
    .poll = bus_poll,
    .changed = bus_changed,
    .start = bus_start,
    .stop = bus_stop,
    .committed = bus_committed,
    .close = bus_close,
};

/* What relay_tail.c finds: nothing may be hidden below the end. */
static enum ll_status find_end(void *arg, int32_t partition, int64_t *ret_progress, struct ll_err *err)
{
    struct sim_relay *relay = arg;
    struct sim_broker *broker = &relay->world->broker;
    enum sim_fault fault = sim_relay_call(relay, "kafka tail", false);
    sim_relay_crash_if(relay, fault, FAULT_CRASH_BEFORE);
    if (fault == FAULT_DROP)
        return ll_fail(err, LL_RETRY, "tail: no answer");
    *ret_progress = 0;
    for (size_t i = 0; i < broker->record_count; i++) {
        const struct sim_relayed *record = &broker->records[i];
        if (record->partition != partition)
            continue;
        if (broker->txns[record->txn].state == TXN_OPEN)
            return ll_fail(err, LL_RETRY, "tail: a transaction is open");
        if (broker->txns[record->txn].state == TXN_COMMITTED && record->offset >= *ret_progress)
            *ret_progress = record->offset + 1;
    }
    return LL_OK;
}

/* ---- Postgres ---- */

static bool postgres_answers(struct sim_relay *relay, const char *what, struct ll_err *err)
{
    enum sim_fault fault = FAULT_DROP;
    if (relay->world->seed.step >= relay->world->postgres_down_until)
        fault = sim_relay_call(relay, what, false);
    sim_relay_crash_if(relay, fault, FAULT_CRASH_BEFORE);
    if (fault == FAULT_NONE)
        return true;
    ll_fail(err, LL_RETRY, "postgres is down");
    return false;
}

static enum store_reply store_marks(void *self, struct relay_mark *marks, size_t count, struct ll_err *err)
{
    struct sim_relay *relay = self;
    if (!postgres_answers(relay, "postgres relay marks", err))
        return STORE_DOWN;
    for (size_t i = 0; i < count; i++)
        marks[i].next_offset = relay->world->postgres.tables[marks[i].partition].next;
    return STORE_OK;
}

/* Where the slice ends: as relay_postgres.c has it. */
static int64_t slice_end(const struct sim_table *table, int64_t from, int64_t limit)
{
    int64_t upto = table->next, rows = 0, dead = 0;
    for (size_t i = 0; i < table->row_count; i++)
        if (table->rows[i]->offset >= from && ++rows == limit && table->rows[i]->offset + 1 < upto)
            upto = table->rows[i]->offset + 1;
    for (size_t i = 0; i < table->dead_count; i++)
        if (table->dead[i]->record.offset >= from && ++dead == limit && table->dead[i]->record.offset + 1 < upto)
            upto = table->dead[i]->record.offset + 1;
    return upto;
}

static enum store_reply store_rows(void *self, int32_t partition, int64_t from, int64_t limit, relay_row_fn *each, void *arg,
                                   struct relay_slice *ret, struct ll_err *err)
{
    static struct posting_line lines[POSTING_LINES_MAX];
    static struct posting_rule rules[POSTING_RULES_MAX];
    struct sim_relay *relay = self;
    if (!postgres_answers(relay, "postgres relay rows", err))
        return STORE_DOWN;
    const struct sim_table table = relay->world->postgres.tables[partition]; /* a snapshot */
    *ret = (struct relay_slice){ .upto = from, .next_offset = table.next, .clock_ms = table.clock_ms };
    int64_t end = slice_end(&table, from, limit), given = 0;
    bool cuts = relay->world->bug == BUG_RELAY_CUT;
    size_t row = 0, dead = 0;
    while (row < table.row_count || dead < table.dead_count) {
        const struct sim_row *posting = row < table.row_count ? table.rows[row] : NULL;
        const struct kept_record *refused = dead < table.dead_count ? &table.dead[dead]->record : NULL;
        bool is_dead = posting == NULL || (refused != NULL && (refused->offset < posting->offset ||
                                           (refused->offset == posting->offset && refused->seq < posting->seq)));
        int64_t offset = is_dead ? refused->offset : posting->offset;
        row += !is_dead;
        dead += is_dead;
        if (offset < from || offset >= end || (cuts && given == limit))
            continue;
        given++;
        struct posting read;
        if (!is_dead) {
            size_t size = posting_read(posting->bytes, posting->size, lines, rules, &read);
            assert(size == posting->size);
        }
        each(arg, &(struct relay_row){ is_dead ? NULL : &read, is_dead ? refused : NULL });
    }
    if (end > from)
        ret->upto = end;
    return STORE_OK;
}

static enum store_reply store_set_relayed(void *self, const struct relay_mark *marks, size_t count, struct ll_err *err)
{
    (void)marks, (void)count;
    return postgres_answers(self, "postgres relay note", err) ? STORE_OK : STORE_DOWN;
}

static void store_close(void *self) { (void)self; }

static const struct relay_store_ops store_ops = {
    .marks = store_marks,
    .rows = store_rows,
    .set_relayed = store_set_relayed,
    .close = store_close,
};

/* ---- processes ---- */

static struct sim_relay *spawn(struct sim_world *world, int instance)
{
    if (world->relay_count == SIM_RELAYS_MAX)
        return NULL;
    struct sim_relay *relay = calloc(1, sizeof *relay);
    if (relay == NULL)
        abort();
    relay->world = world;
    relay->number = world->relay_count;
    relay->instance = instance;
    relay->alive = true;
    relay->txn = -1;
    world->broker.member[instance] = relay->number;
    world->relays[world->relay_count++] = relay;
    const struct relay_needs needs = {
        .config = &world->config,
        .consumer = { &bus_ops, relay },
        .store = { &store_ops, relay },
        .clock = sim_clock(world),
        .codec = world->codec,
        .group = "relay",
        .dead_partitions = SIM_PARTITIONS,
        .open_producer = sim_producer_open,
        .find_end = find_end,
        .arg = relay,
    };
    relay_init(&relay->relay, &needs);
    seed_say(&world->seed, "relay %d starts as instance %d", relay->number, instance);
    return relay;
}

/* Everybody joins again; some hear of it later. */
static void rebalance(struct sim_world *world, int partition, int instance)
{
    struct sim_broker *broker = &world->broker;
    broker->owner[partition] = instance;
    broker->generation++;
    for (int i = 0; i < world->relay_count; i++)
        if (world->relays[i]->instance != instance)
            world->relays[i]->notices_at = world->seed.step + seed_random(&world->seed, 40);
}

static int member_of(struct sim_world *world, int partition)
{
    return world->broker.member[world->broker.owner[partition]];
}

const char *const sim_relay_faults[SIM_RELAY_FAULTS] = {
    "relay kill", "relay pause and same name again", "relay pause and another takes over", "relay rebalance",
    "relay progress expires",
};

void sim_relay_fault(struct sim_world *world, uint32_t which)
{
    struct sim_broker *broker = &world->broker;
    int partition = (int)seed_random(&world->seed, SIM_PARTITIONS);
    struct sim_relay *relay = world->relays[member_of(world, partition)];
    if (relay->asleep_until != INT64_MAX && which <= 2 && which >= 1)
        relay->asleep_until = world->seed.step + 1 + seed_random(&world->seed, 200);
    switch (which) {
    case 0:
        relay->alive = false;
        spawn(world, relay->instance);
        break;
    case 1: /* the old one hears of it later, if at all */
        relay->notices_at = world->seed.step + seed_random(&world->seed, 250);
        if (spawn(world, relay->instance) == NULL)
            relay->asleep_until = 0;
        break;
    case 2:
    case 3:
        if (broker->instance_count == SIM_INSTANCES_MAX || spawn(world, broker->instance_count) == NULL)
            break;
        rebalance(world, partition, broker->instance_count++);
        if (which == 2) /* out of the group for good: nobody may wait for its partitions */
            for (int p = 0; p < SIM_PARTITIONS; p++)
                if (broker->owner[p] == relay->instance)
                    broker->owner[p] = broker->instance_count - 1;
        break;
    default:
        for (int i = 0; i < broker->txn_count; i++)
            if (broker->txns[i].state == TXN_OPEN)
                return;
        for (int p = 0; p < SIM_PARTITIONS; p++)
            broker->progress[p] = -1;
    }
}

/* A relay died in the middle of a step: its supervisor starts the name again, unless somebody has already. */
static void replace(struct sim_world *world, const struct sim_relay *dead)
{
    if (world->broker.member[dead->instance] == dead->number && spawn(world, dead->instance) == NULL)
        seed_bad(&world->seed, "too many relays died");
}

void sim_relay_step(struct sim_world *world, struct sim_relay *relay)
{
    struct ll_err err = { "" };
    world->running_relay = relay;
    if (setjmp(world->relay_crash) != 0) {
        replace(world, world->running_relay);
        return;
    }
    if (relay_step(&relay->relay, &err) != LL_FATAL)
        return;
    relay->alive = false;
    if (world->broker.member[relay->instance] == relay->number)
        seed_bad(&world->seed, "relay %d stops: %s", relay->number, err.text);
}

void sim_relays_open(struct sim_world *world)
{
    struct sim_broker *broker = &world->broker;
    world->config.relay.poll_ms = 1 + seed_random(&world->seed, 10);
    world->config.relay.slice_rows = 1 + seed_random(&world->seed, 4);
    broker->instance_count = 1 + (int)seed_random(&world->seed, 2);
    for (int p = 0; p < SIM_PARTITIONS; p++) {
        broker->progress[p] = -1;
        broker->owner[p] = p % broker->instance_count;
    }
    for (int i = 0; i < broker->instance_count; i++)
        spawn(world, i);
}

void sim_relays_close(struct sim_world *world)
{
    for (int i = 0; i < world->relay_count; i++) {
        relay_done(&world->relays[i]->relay);
        free(world->relays[i]);
    }
}

/* Progress that has expired comes back with the next transaction, and there may be none: then the owner knows it alone. */
static int64_t progress_of(const struct sim_world *world, int partition)
{
    const struct sim_relay *relay = world->relays[world->broker.member[world->broker.owner[partition]]];
    for (size_t i = 0; i < relay->relay.part_count && world->broker.progress[partition] < 0; i++)
        if (relay->relay.parts[i].number == partition)
            return relay->relay.parts[i].progress;
    return world->broker.progress[partition];
}

bool sim_relays_quiet(const struct sim_world *world)
{
    for (int p = 0; p < SIM_PARTITIONS; p++)
        if (progress_of(world, p) != world->logs[p].end)
            return false;
    for (int i = 0; i < world->relay_count; i++)
        if (world->relays[i]->alive && world->relays[i]->asleep_until > world->seed.step)
            return false;
    for (int i = 0; i < world->broker.txn_count; i++)
        if (world->broker.txns[i].state == TXN_OPEN)
            return false;
    return true;
}

/* ---- what must be true ---- */

/* The clock of a partition once everything below an offset has been seen. */
static int64_t clock_at(const struct sim_log *log, int64_t upto)
{
    int64_t clock_ms = INT64_MIN;
    for (size_t i = 0; i < log->count && log->records[i].offset < upto; i++)
        if (log->records[i].timestamp_ms > clock_ms)
            clock_ms = log->records[i].timestamp_ms;
    return clock_ms;
}

/* The row that comes after n others: postings and refused records, merged. False: there is none. */
static bool row_at(const struct sim_table *table, size_t *row, size_t *dead, struct sim_relayed *ret)
{
    const struct sim_row *posting = *row < table->row_count ? table->rows[*row] : NULL;
    const struct kept_record *refused = *dead < table->dead_count ? &table->dead[*dead]->record : NULL;
    if (posting == NULL && refused == NULL)
        return false;
    bool is_dead = posting == NULL || (refused != NULL && (refused->offset < posting->offset ||
                                       (refused->offset == posting->offset && refused->seq < posting->seq)));
    *ret = (struct sim_relayed){ .kind = is_dead ? 'D' : 'L',
                                 .offset = is_dead ? refused->offset : posting->offset,
                                 .seq = is_dead ? refused->seq : posting->seq,
                                 .points = is_dead ? 0 : posting->points };
    if (is_dead)
        snprintf(ret->id, sizeof ret->id, "%.*s", TEXT_ARG(refused->transaction_id));
    else
        memcpy(ret->id, posting->id, sizeof ret->id);
    *row += !is_dead;
    *dead += is_dead;
    return true;
}

static void check_partition(struct sim_world *world, int32_t partition)
{
    const struct sim_broker *broker = &world->broker;
    const struct sim_table *table = &world->postgres.tables[partition];
    struct sim_relayed want, last = { .offset = -1, .txn = -1 };
    size_t row = 0, dead = 0, ticks = 0;
    for (size_t i = 0; i < broker->record_count; i++) {
        const struct sim_relayed *have = &broker->records[i];
        if (have->partition != partition || broker->txns[have->txn].state != TXN_COMMITTED)
            continue;
        if (have->offset < last.offset || (have->offset == last.offset && have->seq <= last.seq))
            seed_bad(&world->seed, "p%d: %c %lld.%d is relayed behind %lld.%d", partition, have->kind, (long long)have->offset,
                    have->seq, (long long)last.offset, last.seq);
        if (have->kind != 'T' && have->offset == last.offset && last.kind != 'T' && have->txn != last.txn)
            seed_bad(&world->seed, "p%d: the rows of offset %lld lie in two transactions", partition, (long long)have->offset);
        last = *have;
        if (have->kind == 'T') {
            ticks++;
            if (have->points != clock_at(&world->logs[partition], have->offset + 1) || have->seq != RELAY_TICK_SEQ)
                seed_bad(&world->seed, "p%d: a tick says %lld at %lld", partition, (long long)have->points,
                        (long long)have->offset);
            continue;
        }
        if (!row_at(table, &row, &dead, &want))
            seed_bad(&world->seed, "p%d: %c %lld.%d %s is relayed and not in postgres", partition, have->kind,
                    (long long)have->offset, have->seq, have->id);
        else if (want.kind != have->kind || want.offset != have->offset || want.seq != have->seq ||
                 want.points != have->points || strcmp(want.id, have->id) != 0)
            seed_bad(&world->seed, "p%d: %c %lld.%d %s %+lld expected in the topics, found %c %lld.%d %s %+lld", partition, want.kind,
                    (long long)want.offset, want.seq, want.id, (long long)want.points, have->kind,
                    (long long)have->offset, have->seq, have->id, (long long)have->points);
    }
    if (row_at(table, &row, &dead, &want))
        seed_bad(&world->seed, "p%d: %c %lld.%d %s was not relayed", partition, want.kind, (long long)want.offset, want.seq,
                want.id);
    if (ticks == 0)
        seed_bad(&world->seed, "p%d: no tick was relayed", partition);
}

void sim_check_relayed(struct sim_world *world)
{
    for (int32_t partition = 0; partition < SIM_PARTITIONS; partition++)
        check_partition(world, partition);
}
