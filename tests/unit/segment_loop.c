/* Whatever order the partitions come in, whatever fails on the way: the same standing, thresholds and changes, each change
 * published once. A seed chooses; a failing one is printed. */
#include "tests/unit/segment_world.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS_MAX = 400, CUSTOMERS = 23, DAYS = 50, STEPS_MAX = 200000 };
static const int64_t DAY_MS = 86400000, BEGIN_DAY = 20000;

static struct codec *codec;
static struct calendar *calendar;

/* ---- the ledger ---- */

enum pace { BY_LOG, BY_EVENT, IN_FILES };
enum { FILE_ROWS = 80, REPEATED_ROWS = 12, QUIET_MS = 15000 };

/* When the next row is posted. By event: within seconds. In files: one partition may be silent for long while others are not; between
 * two files all are, and the second one begins with rows of the last day of the first. */
static int64_t pace_of(struct world *w, enum pace pace, int at, int64_t posted_ms, int64_t day[PARTITIONS])
{
    if (pace != IN_FILES)
        return posted_ms + 1;
    if (at % FILE_ROWS != 0)
        return posted_ms + (world_dice(w, 10) == 0 ? 4000 + (int64_t)world_dice(w, 10000) : 1);
    for (int p = 1; p < PARTITIONS; p++)
        day[0] = day[p] > day[0] ? day[p] : day[0];
    for (int p = 1; p < PARTITIONS; p++)
        day[p] = day[0];
    return posted_ms + QUIET_MS + (int64_t)world_dice(w, 50000);
}

static void append_row(struct world *w, int at, int p, int64_t event_ms, int64_t posted_ms)
{
    char customer[24], id[16], sale[16];
    bool back = world_dice(w, 6) == 0;
    snprintf(customer, sizeof customer, "C%d", (int)world_dice(w, CUSTOMERS) * PARTITIONS + p);
    snprintf(id, sizeof id, "T%d", at);
    snprintf(sale, sizeof sale, "T%d", (int)world_dice(w, (uint64_t)at + 1));
    struct ledger_line line = { .product_id = TEXT("P"),
                                .category = world_dice(w, 2) == 0 ? TEXT("toys") : TEXT("food"),
                                .amount_minor = (int64_t)(1 + world_dice(w, 9000)) * (back ? -1 : 1) };
    struct event event = { .kind = EVENT_LEDGER };
    event.ledger = (struct ledger_entry){
        .run = 1,
        .partition = p,
        .offset = w->logs[p].count,
        .source = TEXT("till"),
        .type = back ? TRANSACTION_RETURN : TRANSACTION_SALE,
        .transaction_id = text_of(id),
        .sale_id = back && world_dice(w, 2) == 0 ? text_of(sale) : (struct text){ 0 },
        .customer_id = text_of(customer),
        .net_minor = line.amount_minor,
        .lines = &line,
        .line_count = 1,
        .sale_day = (int32_t)(event_ms / DAY_MS),
        .points = line.amount_minor / 10,
        .event_time_ms = event_ms,
        .posted_at_ms = posted_ms,
    };
    world_append(w, p, &event);
    if (world_dice(w, 10) == 0)
        world_append(w, p, &event); /* the relay never does; a reader drops it all the same */
}

/* Sales and returns of fifty days, in each partition mostly in the order of their time, some twice; then the clocks at the end.
 * By the log's clock they are posted when they happened, with a TICK for each day. */
static void fill(struct world *w, uint64_t seed, enum pace pace)
{
    w->random = seed;
    int64_t day[PARTITIONS] = { 0 }, posted_ms = (BEGIN_DAY + DAYS + 100) * DAY_MS;
    for (int at = 0; at < ROWS_MAX; at++) {
        int p = (int)world_dice(w, PARTITIONS);
        posted_ms = pace_of(w, pace, at, posted_ms, day);
        bool repeats = pace == IN_FILES && at % FILE_ROWS < REPEATED_ROWS;
        if (world_dice(w, 3) == 0 && day[p] < DAYS - 1 && !repeats)
            day[p]++;
        int64_t late = world_dice(w, 12) == 0 ? (int64_t)world_dice(w, 3) : 0;
        int64_t event_ms = (BEGIN_DAY + day[p] - late) * DAY_MS + 43200000 + at;
        append_row(w, at, p, event_ms, pace == BY_LOG ? event_ms : posted_ms);
        if (pace != BY_EVENT && world_dice(w, 4) == 0)
            world_tick(w, p, pace == BY_LOG ? event_ms : posted_ms);
    }
    w->last_tick_ms = posted_ms + 1000000;
    for (int p = 0; p < PARTITIONS; p++)
        world_tick(w, p, pace != BY_LOG ? w->last_tick_ms : (BEGIN_DAY + DAYS) * DAY_MS + 1);
}

static struct world *world_of(uint64_t seed, enum pace pace)
{
    struct world *w = world_new(codec, calendar, pace != BY_LOG);
    w->config.segment.quiet_ms = QUIET_MS;
    fill(w, seed, pace);
    return w;
}

/* ---- a run ---- */

static bool is_done(const struct world *w)
{
    for (int p = 0; p < PARTITIONS; p++)
        if (w->parts[p].next_offset < w->logs[p].count)
            return false;
    bool by_event = w->config.segment.clock[0] == 'e';
    return (!by_event || w->owner.is_closed) && w->published.count == w->changes.count;
}

static void run(struct world *w, uint64_t seed, int faults)
{
    struct segment segment;
    struct ll_err err = { "" };
    const struct segment_needs needs = world_needs(w);
    w->random = seed;
    w->faults = faults;
    w->config.segment.flush_ms = 10;
    w->config.segment.flush_rows = 1 + (int64_t)world_dice(w, 60);
    w->config.segment.ahead_records = 1 + (int64_t)world_dice(w, 30);
    segment_init(&segment, &needs);
    int steps = 0;
    while (!is_done(w) && steps++ < STEPS_MAX) {
        if (steps == STEPS_MAX / 2)
            w->faults = 0;
        cr_assert_eq(segment_step(&segment, &err), LL_OK, "seed %llu: %s", (unsigned long long)seed,
                     err.text);
        w->now_ms += 5;
        if (faults > 0 && world_dice(w, 400) == 0) { /* killed: nothing of its memory is left */
            segment_drop_queues(&segment);
            segment_done(&segment);
            world_kill(w);
            segment_init(&segment, &needs);
        }
    }
    cr_assert(is_done(w), "seed %llu does not come to its end", (unsigned long long)seed);
    segment_finish(&segment);
    segment_done(&segment);
}

static int by_key(const void *a, const void *b)
{
    const struct kept *x = a, *y = b;
    int order = strcmp(x->key, y->key);
    return order != 0 ? order : (x->number > y->number) - (x->number < y->number);
}

/* The same rows; of a change all but its number, which counts in the order in which partitions came. */
static void expect_same(struct kept_list *is, struct kept_list *want, bool numbered, const char *what,
                        uint64_t seed)
{
    cr_assert_eq(is->count, want->count, "seed %llu: %zu %s, not %zu", (unsigned long long)seed, is->count,
                 what, want->count);
    qsort(is->rows, is->count, sizeof *is->rows, by_key);
    qsort(want->rows, want->count, sizeof *want->rows, by_key);
    size_t skip = numbered ? 2 + 8 + 12 : 0;
    for (size_t at = 0; at < is->count; at++)
        cr_assert(
            is->rows[at].size == want->rows[at].size &&
                memcmp(is->rows[at].bytes + skip, want->rows[at].bytes + skip, is->rows[at].size - skip) == 0,
            "seed %llu: %s %s differs", (unsigned long long)seed, what, is->rows[at].key);
}

/* Each row once, though some came twice. */
static void expect_rows_once(const struct world *w)
{
    int64_t rows = 0, repeated = 0;
    for (int p = 0; p < PARTITIONS; p++) {
        rows += w->parts[p].rows;
        repeated += w->parts[p].repeated;
    }
    cr_assert_eq(rows, ROWS_MAX);
    cr_assert_gt(repeated, 5);
}

static void expect_published_once(struct world *w, uint64_t seed)
{
    struct codec_scratch *scratch = codec_scratch_new();
    struct kept_list *seen = calloc(1, sizeof *seen);
    char key[64];
    for (size_t at = 0; at < w->published.count; at++) {
        struct event event;
        enum code code;
        struct text value = { w->published.rows[at].bytes, (uint32_t)w->published.rows[at].size };
        cr_assert_eq(codec_read(codec, EVENT_SEGMENT_CHANGE, value, scratch, &event, &code, NULL), LL_OK);
        snprintf(key, sizeof key, "%.*s", (int)event.segment_change.change_id.size,
                 event.segment_change.change_id.data);
        kept_put(seen, key, 0, "", 0);
    }
    cr_assert_eq(seen->count, w->published.count, "seed %llu: a change was published twice",
                 (unsigned long long)seed);
    cr_assert_eq(seen->count, w->changes.count);
    kept_drop(seen);
    free(seen);
    codec_scratch_free(scratch);
}

/* Versions beyond the first of their day. */
static size_t epochs_superseded(const struct kept_list *thresholds)
{
    size_t count = 0;
    for (size_t at = 0; at + 1 < thresholds->count; at++)
        for (size_t other = 0; other < at; other++) /* the day is the third field: 2 + 8 + 8 bytes on */
            if (memcmp(thresholds->rows[at].bytes + 22, thresholds->rows[other].bytes + 22, 4) == 0) {
                count++;
                break;
            }
    return count;
}

static void compare(enum pace pace, uint64_t worlds, uint64_t runs)
{
    struct ll_err err = { "" };
    size_t superseded = 0;
    cr_assert_eq(codec_new(LENS_SOURCE_DIR "/schemas", NULL, &codec, &err), LL_OK, "%s", err.text);
    cr_assert_eq(calendar_new("UTC", &calendar, &err), LL_OK);
    for (uint64_t ledger = 1; ledger <= worlds; ledger++) {
        struct world *plain = world_of(ledger, pace);
        run(plain, 1, 0);
        cr_assert_geq(plain->thresholds.count, 20u);
        cr_assert_gt(plain->changes.count, 200u);
        superseded += epochs_superseded(&plain->thresholds);
        for (uint64_t seed = 2; seed < 2 + runs; seed++) {
            struct world *w = world_of(ledger, pace);
            run(w, seed * 1000 + ledger, seed % 2 == 0 ? 0 : 30);
            expect_same(&w->thresholds, &plain->thresholds, false, "epochs", seed);
            expect_same(&w->changes, &plain->changes, true, "changes", seed);
            expect_same(&w->standing, &plain->standing, false, "standing", seed);
            expect_published_once(w, seed);
            expect_rows_once(w);
            world_free(w);
        }
        world_free(plain);
    }
    cr_assert_eq(superseded >= 2 * worlds, pace == IN_FILES, "%zu days were closed again", superseded);
    calendar_free(calendar);
    codec_free(codec);
}

Test(loop, any_order_of_partitions_and_any_fault_gives_the_same_by_the_sales_own_time)
{
    compare(BY_EVENT, 15, 12);
}
Test(loop, any_order_of_partitions_and_any_fault_gives_the_same_by_the_logs_clock)
{
    compare(BY_LOG, 15, 12);
}
Test(loop, a_second_file_of_the_same_days_closes_the_last_one_again_in_any_order)
{
    compare(IN_FILES, 15, 12);
}
