/* The topic ledger, as a seed wants it. */
#include "tests/sim/seg.h"

#include <stdio.h>
#include <stdlib.h>

enum { SALES_MAX = SEG_ROWS_MAX, RETURN_DAYS = 300 };
static const int64_t DAY_MS = 86400000;

struct sale {
    int32_t partition, day;
    int customer;
    int64_t left_minor, left_points;
};

struct making {
    struct seg_world *world;
    struct sale sales[SALES_MAX];
    int32_t day[SEG_PARTITIONS];
    int64_t at_step, posted_ms;
    uint32_t spread; /* of arrival */
    uint64_t random; /* of arrival: what is cut changes nothing of the others */
};

static struct seg_record *append(struct seg_world *world, int32_t partition, int64_t at_step)
{
    struct seg_log *log = &world->logs[partition];
    if (log->count == SEG_RECORDS_MAX) {
        seed_bad(&world->seed, "the ledger of p%d is full", partition);
        log->count--;
    }
    struct seg_record *record = &log->records[log->count++];
    *record = (struct seg_record){ .at_step = at_step };
    if (at_step > world->last_arrival)
        world->last_arrival = at_step;
    return record;
}

static void put(struct seg_world *world, int32_t partition, int64_t at_step, const struct event *event)
{
    char value[1024];
    size_t size = codec_write(world->codec, event, value, sizeof value);
    struct seg_record *record = append(world, partition, at_step);
    record->value = arena_copy(&world->memory, value, size);
    record->size = (uint32_t)size;
}

void seg_tick(struct seg_world *world, int32_t partition, int64_t time_ms, int64_t at_step)
{
    struct event event = { .kind = EVENT_CONTROL, .control = { .kind = CONTROL_TICK, .time_ms = time_ms } };
    put(world, partition, at_step, &event);
    if (time_ms > world->tick_ms)
        world->tick_ms = time_ms;
}

static void put_row(struct seg_world *world, const struct seg_row *row, int64_t posted_ms, int64_t at_step)
{
    char id[16], sale[16], customer[16];
    snprintf(id, sizeof id, "T%d", row->number);
    snprintf(sale, sizeof sale, "T%d", row->sale);
    snprintf(customer, sizeof customer, "C%d", row->customer);
    struct ledger_line line = { .product_id = TEXT("P"),
                                .category = row->is_food ? TEXT("food") : TEXT("toys"),
                                .amount_minor = row->net_minor };
    bool names_sale = row->type != TRANSACTION_SALE && row->sale >= 0;
    struct event event = { .kind = EVENT_LEDGER };
    event.ledger = (struct ledger_entry){
        .run = 1,
        .partition = row->partition,
        .offset = row->offset,
        .seq = row->seq,
        .event_offset = row->offset,
        .source = TEXT("till"),
        .type = row->type,
        .transaction_id = text_of(id),
        .sale_id = names_sale ? text_of(sale) : (struct text){ 0 },
        .customer_id = row->customer >= 0 ? text_of(customer) : (struct text){ 0 },
        .net_minor = row->net_minor,
        .lines = &line,
        .line_count = 1,
        .sale_day = row->day,
        .points = row->points,
        .event_time_ms = row->event_ms,
        .posted_at_ms = posted_ms,
    };
    put(world, row->partition, at_step, &event);
}

/* A sale of that partition that is not too old and of which something is left; -1: there is none. */
static int find_sale(struct making *making, int32_t partition, int before)
{
    for (int try = 0; try < 8 && before > 0; try++) {
        int at = (int)seed_random(&making->world->seed, (uint32_t)before);
        const struct sale *sale = &making->sales[at];
        if (sale->left_minor > 0 && sale->partition == partition &&
            making->day[partition] - sale->day < RETURN_DAYS)
            return at;
    }
    return -1;
}

static void give_back(struct making *making, struct seg_row *row, int at)
{
    struct sale *sale = &making->sales[at];
    uint32_t how = seed_random(&making->world->seed, 3);
    row->sale = at;
    row->day = sale->day;
    row->customer = sale->customer;
    row->type = how == 2 ? TRANSACTION_VOID : TRANSACTION_RETURN;
    row->net_minor = -sale->left_minor;
    row->points = -sale->left_points;
    if (how == 0) {
        row->net_minor = -(1 + (int64_t)seed_random(&making->world->seed, (uint32_t)sale->left_minor));
        row->points = row->net_minor / 10 < -sale->left_points ? -sale->left_points : row->net_minor / 10;
    }
    sale->left_minor += row->net_minor;
    sale->left_points += row->points;
}

/* The row's day of its own: mostly the partition's, sometimes some days ago, or ahead where that moves no clock. */
static int32_t own_day(struct making *making, int32_t partition)
{
    struct sim_seed *seed = &making->world->seed;
    int32_t day = making->day[partition];
    uint32_t kind = seed_random(seed, 24);
    if (kind < 3)
        return day - (int32_t)seed_random(seed, 4);
    return kind == 3 && !making->world->by_event ? day + 1 : day;
}

static struct seg_row random_row(struct making *making, int number, int32_t partition)
{
    struct seg_world *world = making->world;
    struct sim_seed *seed = &world->seed;
    uint32_t kind = seed_random(seed, 100);
    struct seg_row row = { .number = number, .partition = partition, .is_food = seed_random(seed, 2) == 0 };
    int customers = SEG_CUSTOMERS / SEG_PARTITIONS;
    row.day = own_day(making, partition);
    row.event_ms = row.day * DAY_MS + DAY_MS / 2 + number;
    row.customer = (int)seed_random(seed, (uint32_t)customers) * SEG_PARTITIONS + partition;
    row.net_minor = 1 + seed_random(seed, 9000);
    row.points = row.net_minor / 10;
    row.sale = number;
    row.type = TRANSACTION_SALE;
    int sale = kind < 25 ? find_sale(making, partition, number) : -1;
    if (sale >= 0) {
        give_back(making, &row, sale);
    } else if (kind < 32) { /* of no sale */
        row.type = TRANSACTION_RETURN;
        row.sale = -1;
        row.net_minor = -row.net_minor / 4 - 1;
        row.points = row.net_minor / 10;
    } else {
        if (kind < 38)
            row.customer = -1;
        making->sales[number] =
            (struct sale){ partition, row.day, row.customer, row.net_minor, row.points };
    }
    return row;
}

/* Days go on, in each partition by itself; sometimes nothing is sold for a while, or for a year. */
static void pass_time(struct making *making, int32_t partition, uint32_t pace, bool has_spell, int32_t last)
{
    struct sim_seed *seed = &making->world->seed;
    int32_t *day = &making->day[partition];
    if (seed_random(seed, pace) == 0)
        *day += 1 + (seed_random(seed, 6) == 0 ? (int32_t)seed_random(seed, 35) : 0);
    if (has_spell && seed_random(seed, 60) == 0)
        *day += 340 + (int32_t)seed_random(seed, 40);
    if (*day > last)
        *day = last;
}

static void arrive(struct making *making, const struct seg_row *row)
{
    struct seg_world *world = making->world;
    struct sim_seed of_row = { .random = making->random + (uint64_t)row->number * 1000 }, *seed = &of_row;
    int64_t clock_ms = making->day[row->partition] * DAY_MS + DAY_MS / 2 + row->number;
    int64_t posted_ms = world->by_event ? making->posted_ms + row->number : clock_ms;
    int64_t begin = world->logs[row->partition].count;
    if (making->spread > 0)
        making->at_step += seed_random(seed, making->spread);
    put_row(world, row, posted_ms, making->at_step);
    if (seed_random(seed, 10) == 0) /* the relay does not; a reader drops it all the same */
        put_row(world, row, posted_ms, making->at_step);
    if (seed_random(seed, 12) == 0 && begin > 0) { /* nor does it send what lies further back */
        const struct seg_record *old = &world->logs[row->partition].records[begin - 1];
        if (old->value != NULL) {
            struct seg_record *again = append(world, row->partition, making->at_step);
            again->value = old->value;
            again->size = old->size;
        }
    }
    if (seed_random(seed, 6) == 0)
        seg_tick(world, row->partition, posted_ms, making->at_step);
    if (seed_random(seed, 5) == 0)
        append(world, row->partition, making->at_step); /* a marker */
}

/* The place of its record: of one more, or released by the one before. */
static void place(struct seg_world *world, struct seg_row *row, bool may_follow)
{
    struct seg_log *log = &world->logs[row->partition];
    bool follows = may_follow && log->offset >= 0 && row->type != TRANSACTION_SALE &&
                   seed_random(&world->seed, 3) == 0;
    log->seq = follows ? log->seq + 1 : 0;
    log->offset += follows ? 0 : 1 + (int64_t)seed_random(&world->seed, 3);
    row->offset = log->offset;
    row->seq = log->seq;
}

static void make_late(struct making *making, int32_t last)
{
    struct seg_world *world = making->world;
    world->late_count = 1 + (int)seed_random(&world->seed, SEG_LATE_ROWS_MAX);
    for (int at = 0; at < world->late_count; at++) {
        int number = SEG_ROWS_MAX + at;
        struct seg_row row = { .number = number,
                               .partition = (int32_t)seed_random(&world->seed, SEG_PARTITIONS),
                               .type = TRANSACTION_SALE,
                               .sale = number,
                               .net_minor = 1 + seed_random(&world->seed, 9000),
                               .day = last - 2 + (int32_t)seed_random(&world->seed, 4) };
        row.customer = row.partition + SEG_PARTITIONS * (int)seed_random(&world->seed, 2);
        row.points = row.net_minor / 10;
        row.event_ms = row.day * DAY_MS + DAY_MS / 2 + number;
        place(world, &row, false);
        world->rows[world->row_count + at] = row;
    }
}

/* By event time the end of history is found by a TICK; what comes behind it meets a closed day. */
void seg_send_late(struct seg_world *world)
{
    if (world->late_sent == world->late_count)
        return;
    const struct seg_row *row = &world->rows[world->row_count + world->late_sent++];
    put_row(world, row, world->tick_ms + 1, world->seed.step);
    seed_say(&world->seed, "a late row of C%d for day %d", row->customer, row->day);
}

void seg_make_ledger(struct seg_world *world)
{
    struct sim_seed *seed = &world->seed;
    struct making *making = calloc(1, sizeof *making);
    if (making == NULL)
        abort();
    making->world = world;
    making->random = seed->random;
    making->spread = seed_random(seed, 2) == 0 ? 0 : 1 + seed_random(seed, 12);
    world->first_day = 20000 + (int32_t)seed_random(seed, 400);
    bool has_spell = seed_random(seed, 8) == 0, has_late = world->by_event && seed_random(seed, 4) == 0;
    int32_t last = world->first_day + 5 + (int32_t)seed_random(seed, 50) + (has_spell ? 400 : 0);
    int count = 10 + (int)seed_random(seed, SEG_ROWS_MAX - 20);
    uint32_t pace = 1 + seed_random(seed, 8);
    making->posted_ms = (last + 100) * DAY_MS;
    for (int p = 0; p < SEG_PARTITIONS; p++) {
        making->day[p] = world->first_day + (int32_t)seed_random(seed, 3);
        world->logs[p].offset = -1;
    }
    for (int number = 0; number < count; number++) {
        int32_t partition = (int32_t)seed_random(seed, SEG_PARTITIONS);
        int32_t before = making->day[partition];
        pass_time(making, partition, pace, has_spell, last);
        struct seg_row row = random_row(making, number, partition);
        bool is_cut = seed->cut.events[number] || (row.sale >= 0 && seed->cut.events[row.sale]);
        place(world, &row, making->day[partition] == before);
        world->rows[number] = row;
        if (is_cut)
            world->rows[number].partition = -1;
        else
            arrive(making, &row);
    }
    world->row_count = count;
    if (has_late)
        make_late(making, last);
    for (int p = 0; p < SEG_PARTITIONS; p++) {
        int64_t end_ms = (last + (int64_t)seed_random(seed, 2)) * DAY_MS + DAY_MS - 1000;
        if (!world->by_event) /* the clocks end on one day, at different hours */
            end_ms = (last + 1) * DAY_MS + 1 + (int64_t)seed_random(seed, 3600000);
        seg_tick(world, p, world->by_event ? making->posted_ms + 20000 + count : end_ms, making->at_step);
    }
    for (int p = 0; p < SEG_PARTITIONS; p++)
        world->logs[p].made = world->logs[p].count;
    free(making);
}
