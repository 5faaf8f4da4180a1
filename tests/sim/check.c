/* The invariants: what both stores hold at the end must be what one clean, naive pass over each log gives. */
#include "tests/sim/world.h"

#include <stdio.h>
#include <string.h>

struct expected_row {
    int64_t offset, points;
    int32_t seq, rules_version;
    bool dead;
    char id[SIM_NAME_SIZE], customer[SIM_NAME_SIZE];
};

struct expected_sale {
    char id[SIM_NAME_SIZE], customer[SIM_NAME_SIZE];
    int64_t amount, returned, posted;
    int32_t rules_version;
    bool voided;
};

struct expected_seen {
    const struct sim_event *event;
};

/* One clean pass, written apart from decide.c: plain lists, searched from end to end. */
struct pass {
    int64_t hold_ms, clock_ms;
    int32_t rules_version;
    struct expected_row rows[SIM_ROWS_MAX];
    size_t row_count;
    struct expected_sale sales[SIM_RECORDS_MAX];
    size_t sale_count;
    struct expected_seen seen[SIM_RECORDS_MAX];
    size_t seen_count;
    struct {
        const struct sim_record *record;
        int64_t since_ms;
    } held[SIM_RECORDS_MAX];
    size_t held_count;
    int64_t duplicates, controls;
};

static struct expected_row *add_row(struct pass *pass, int64_t offset, const struct sim_event *event, bool dead)
{
    struct expected_row *row = &pass->rows[pass->row_count];
    int32_t seq = pass->row_count > 0 && row[-1].offset == offset ? row[-1].seq + 1 : 0;
    *row = (struct expected_row){ .offset = offset, .seq = seq, .dead = dead };
    memcpy(row->id, event->id, sizeof row->id);
    memcpy(row->customer, event->customer, sizeof row->customer);
    pass->row_count++;
    return row;
}

static int64_t worth(const struct expected_sale *sale)
{
    if (sale->voided || sale->customer[0] == '\0')
        return 0;
    return sim_target(sale->amount - sale->returned, sale->rules_version);
}

static struct expected_sale *sale_called(struct pass *pass, const char *id)
{
    for (size_t i = 0; i < pass->sale_count; i++)
        if (strcmp(pass->sales[i].id, id) == 0)
            return &pass->sales[i];
    return NULL;
}

static void forget(struct pass *pass, const struct sim_event *event)
{
    for (size_t i = 0; i < pass->seen_count; i++)
        if (pass->seen[i].event == event) {
            pass->seen[i] = pass->seen[--pass->seen_count];
            return;
        }
}

static void give_back(struct pass *pass, int64_t offset, const struct sim_event *event, struct expected_sale *sale)
{
    if (strcmp(event->customer, sale->customer) != 0) {
        add_row(pass, offset, event, true);
        forget(pass, event);
        return;
    }
    if (event->kind == 'V')
        sale->voided = true;
    else
        sale->returned += event->amount_minor;
    struct expected_row *row = add_row(pass, offset, event, false);
    row->points = worth(sale) - sale->posted;
    row->rules_version = sale->rules_version;
    sale->posted += row->points;
}

static void take_sale(struct pass *pass, const struct sim_record *record)
{
    const struct sim_event *event = &record->event;
    struct expected_sale *sale = &pass->sales[pass->sale_count++];
    *sale = (struct expected_sale){ .amount = event->amount_minor, .rules_version = pass->rules_version };
    memcpy(sale->id, event->id, sizeof sale->id);
    memcpy(sale->customer, event->customer, sizeof sale->customer);
    struct expected_row *row = add_row(pass, record->offset, event, false);
    row->points = sale->posted = worth(sale);
    row->rules_version = sale->rules_version;
    size_t kept = 0, count = pass->held_count;
    for (size_t i = 0; i < count; i++) {
        if (strcmp(pass->held[i].record->event.sale, event->id) == 0)
            give_back(pass, record->offset, &pass->held[i].record->event, sale);
        else
            pass->held[kept++] = pass->held[i];
    }
    pass->held_count = kept;
}

static void expire(struct pass *pass, int64_t offset)
{
    size_t kept = 0;
    for (size_t i = 0; i < pass->held_count; i++) {
        if (pass->clock_ms - pass->held[i].since_ms >= pass->hold_ms) {
            add_row(pass, offset, &pass->held[i].record->event, true);
            forget(pass, &pass->held[i].record->event);
        } else {
            pass->held[kept++] = pass->held[i];
        }
    }
    pass->held_count = kept;
}

static bool same_content(const struct sim_event *a, const struct sim_event *b)
{
    return strcmp(a->customer, b->customer) == 0 && strcmp(a->sale, b->sale) == 0 &&
           (a->kind == 'V' || a->amount_minor == b->amount_minor);
}

static void take(struct pass *pass, const struct sim_record *record)
{
    const struct sim_event *event = &record->event;
    if (record->timestamp_ms > pass->clock_ms)
        pass->clock_ms = record->timestamp_ms;
    expire(pass, record->offset);
    if (event->kind == 'A' || event->kind == 'T') {
        pass->controls++;
        if (event->kind == 'A' && event->rules_version > pass->rules_version)
            pass->rules_version = event->rules_version;
        return;
    }
    for (size_t i = 0; i < pass->seen_count; i++) {
        const struct sim_event *first = pass->seen[i].event;
        if (first->kind != event->kind || strcmp(first->id, event->id) != 0)
            continue;
        if (same_content(first, event))
            pass->duplicates++;
        else
            add_row(pass, record->offset, event, true);
        return;
    }
    pass->seen[pass->seen_count++].event = event;
    if (event->kind == 'S') {
        take_sale(pass, record);
    } else if (event->sale[0] == '\0') {
        struct expected_row *row = add_row(pass, record->offset, event, false);
        row->points = event->customer[0] == '\0' ? 0 : -sim_target(event->amount_minor, pass->rules_version);
        row->rules_version = pass->rules_version;
    } else {
        struct expected_sale *sale = sale_called(pass, event->sale);
        if (sale != NULL) {
            give_back(pass, record->offset, event, sale);
        } else {
            pass->held[pass->held_count].record = record;
            pass->held[pass->held_count++].since_ms = pass->clock_ms;
        }
    }
}

static void check_rows(struct sim_world *world, int32_t partition, const struct pass *pass)
{
    const struct sim_table *table = &world->postgres.tables[partition];
    size_t row = 0, dead = 0;
    for (size_t i = 0; i < pass->row_count; i++) {
        const struct expected_row *want = &pass->rows[i];
        if (want->dead) {
            const struct kept_record *have = dead < table->dead_count ? &table->dead[dead++]->record : NULL;
            if (have == NULL || have->offset != want->offset || have->seq != want->seq ||
                !text_equal(have->transaction_id, text_of(want->id)))
                seed_bad(&world->seed, "p%d: dead row %lld.%d %s expected, found %lld.%d", partition, (long long)want->offset,
                        want->seq, want->id, have ? (long long)have->offset : -1, have ? have->seq : -1);
            continue;
        }
        const struct sim_row *have = row < table->row_count ? table->rows[row++] : NULL;
        if (have == NULL || have->offset != want->offset || have->seq != want->seq || have->points != want->points ||
            have->rules_version != want->rules_version || strcmp(have->id, want->id) != 0 ||
            strcmp(have->customer, want->customer) != 0)
            seed_bad(&world->seed, "p%d: row %lld.%d %s %+lld v%d expected, found %lld.%d %s %+lld v%d", partition,
                    (long long)want->offset, want->seq, want->id, (long long)want->points, want->rules_version,
                    have ? (long long)have->offset : -1, have ? have->seq : -1, have ? have->id : "none",
                    have ? (long long)have->points : 0, have ? have->rules_version : 0);
    }
    if (row != table->row_count || dead != table->dead_count || table->held_count != pass->held_count)
        seed_bad(&world->seed, "p%d: %zu rows, %zu dead, %zu held; expected %zu, %zu, %zu", partition, table->row_count,
                table->dead_count, table->held_count, row, dead, pass->held_count);
}

static int64_t redis_points(const struct sim_shard *shard, const char *customer)
{
    for (size_t i = 0; i < shard->count; i++)
        if (strcmp(shard->balances[i].customer, customer) == 0)
            return shard->balances[i].points;
    return 0;
}

static void check_balances(struct sim_world *world, int32_t partition)
{
    const struct sim_table *table = &world->postgres.tables[partition];
    const struct sim_shard *shard = &world->redis.shards[partition];
    if (shard->epoch != table->epoch || shard->next != table->next)
        seed_bad(&world->seed, "p%d: redis e%lld next %lld, postgres e%lld next %lld", partition, (long long)shard->epoch,
                (long long)shard->next, (long long)table->epoch, (long long)table->next);
    for (size_t i = 0; i < table->account_count; i++) {
        const struct sim_account *account = &table->accounts[i];
        int64_t sum = 0, postings = 0;
        for (size_t j = 0; j < table->row_count; j++)
            if (strcmp(table->rows[j]->customer, account->customer) == 0) {
                sum += table->rows[j]->points;
                postings++;
            }
        if (sum != account->points || sum != account->earned - account->reversed || postings != account->postings)
            seed_bad(&world->seed, "p%d: %s has account %lld (%lld - %lld, %lld rows), ledger %lld (%lld rows)", partition,
                    account->customer, (long long)account->points, (long long)account->earned,
                    (long long)account->reversed, (long long)account->postings, (long long)sum, (long long)postings);
        if (redis_points(shard, account->customer) != account->points)
            seed_bad(&world->seed, "p%d: %s has %lld in redis, %lld in postgres", partition, account->customer,
                    (long long)redis_points(shard, account->customer), (long long)account->points);
    }
    for (size_t i = 0; i < shard->count; i++) {
        bool there = shard->balances[i].points == 0;
        for (size_t j = 0; j < table->account_count; j++)
            there = there || strcmp(table->accounts[j].customer, shard->balances[i].customer) == 0;
        if (!there)
            seed_bad(&world->seed, "p%d: redis has %s, postgres has not", partition, shard->balances[i].customer);
    }
}

static void check_conservation(struct sim_world *world, int32_t partition, const struct pass *pass)
{
    const struct ledger_counts *counts = &world->postgres.tables[partition].counts;
    int64_t records = (int64_t)world->logs[partition].count, dead = 0;
    for (size_t i = 0; i < pass->row_count; i++)
        dead += pass->rows[i].dead;
    if (counts->read != records || counts->dead != dead || counts->duplicate != pass->duplicates ||
        counts->control != pass->controls || counts->held != (int64_t)pass->held_count ||
        counts->credited != (int64_t)pass->row_count - dead ||
        counts->read != counts->credited + counts->duplicate + counts->dead + counts->held + counts->control)
        seed_bad(&world->seed, "p%d: read %lld of %lld = credited %lld + duplicate %lld + dead %lld + held %lld + control %lld",
                partition, (long long)counts->read, (long long)records, (long long)counts->credited,
                (long long)counts->duplicate, (long long)counts->dead, (long long)counts->held,
                (long long)counts->control);
}

/* Whenever both stores stand at the same offset, and Redis has not been set back there, they hold the same balances. */
void sim_check_instant(struct sim_world *world)
{
    for (int32_t partition = 0; partition < SIM_PARTITIONS; partition++) {
        const struct sim_table *table = &world->postgres.tables[partition];
        const struct sim_shard *shard = &world->redis.shards[partition];
        if (!table->exists || shard->next != table->next || shard->next < shard->ahead)
            continue;
        for (size_t i = 0; i < table->account_count; i++)
            if (redis_points(shard, table->accounts[i].customer) != table->accounts[i].points)
                seed_bad(&world->seed, "step %lld, p%d at %lld: %s has %lld in redis, %lld in postgres", (long long)world->seed.step,
                        partition, (long long)table->next, table->accounts[i].customer,
                        (long long)redis_points(shard, table->accounts[i].customer),
                        (long long)table->accounts[i].points);
    }
}

void sim_check(struct sim_world *world)
{
    static struct pass pass;
    for (int32_t partition = 0; partition < SIM_PARTITIONS; partition++) {
        const struct sim_log *log = &world->logs[partition];
        memset(&pass, 0, sizeof pass);
        pass.hold_ms = world->config.accrue.hold_ms;
        pass.clock_ms = INT64_MIN;
        for (size_t i = 0; i < log->count; i++)
            take(&pass, &log->records[i]);
        if (world->postgres.tables[partition].next != log->end)
            seed_bad(&world->seed, "p%d: postgres stands at %lld, not %lld", partition,
                    (long long)world->postgres.tables[partition].next, (long long)log->end);
        check_rows(world, partition, &pass);
        check_balances(world, partition);
        check_conservation(world, partition, &pass);
    }
}
