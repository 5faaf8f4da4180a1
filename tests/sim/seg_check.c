/* The invariants of segment: the topic is the table, the table is what a run without faults gives, and what plain sums over the
 * ledger's rows give. */
#include "tests/sim/seg.h"

#include "state/copy_field.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A customer, added up from the rows with nothing carried along. */
struct plain_sum {
    bool is_there;
    int64_t balance, monetary_minor, frequency;
    int32_t last_day; /* INT32_MIN: none */
};

/* ---- the topic ---- */

void seg_check_topic(struct seg_world *world)
{
    const struct seg_store *store = &world->store;
    size_t count = 0;
    if (world->fell_behind)
        return;
    for (size_t at = 0; at < world->sent_count && world->seed.bad[0] == '\0'; at++) {
        if (world->txns[world->sent[at].txn].state != SEG_TXN_COMMITTED)
            continue;
        if (count >= store->now.change_count)
            seed_bad(&world->seed, "the topic has more changes than the %zu that are committed", store->now.change_count);
        else if (strcmp(store->changes[count]->key, world->sent[at].change_id) != 0)
            seed_bad(&world->seed, "step %lld: record %zu of the topic is not change %zu", (long long)world->seed.step,
                     count + 1, count + 1);
        count++;
    }
}

/* After Postgres has forgotten what was published, it is made and published again: whoever drops a sequence that is not above the
 * customer's last has each change once, in order, all the same. By event time, with rows behind the end of history, the changes
 * that were forgotten need not come again. */
static void check_sequences(struct seg_world *world)
{
    int64_t last[SEG_CUSTOMERS] = { 0 };
    for (size_t at = 0; at < world->sent_count; at++) {
        const struct seg_sent *sent = &world->sent[at];
        if (world->txns[sent->txn].state != SEG_TXN_COMMITTED || sent->sequence <= last[sent->customer])
            continue;
        if (sent->sequence != last[sent->customer] + 1)
            seed_bad(&world->seed, "the topic lacks change %lld of C%d", (long long)last[sent->customer] + 1, sent->customer);
        last[sent->customer] = sent->sequence;
    }
    for (int at = 0; at < SEG_CUSTOMERS; at++) {
        const struct seg_kept *row = world->store.now.standing[at];
        int64_t made = row == NULL ? 0 : seg_number(seg_field(row, segment_standing_columns, "change_count"));
        if (last[at] < made || (last[at] > made && world->late_count == 0))
            seed_bad(&world->seed, "the topic has %lld changes of C%d, the table %lld", (long long)last[at], at,
                     (long long)made);
    }
}

static void check_published(struct seg_world *world)
{
    size_t count = 0;
    check_sequences(world);
    for (size_t at = 0; at < world->sent_count; at++)
        count += world->txns[world->sent[at].txn].state == SEG_TXN_COMMITTED;
    seg_check_topic(world);
    if (!world->fell_behind && count != world->store.now.change_count)
        seed_bad(&world->seed, "%zu changes are published, %zu are there", count, world->store.now.change_count);
}

/* ---- as without faults ---- */

static int by_key(const void *a, const void *b)
{
    const struct seg_kept *const *x = a, *const *y = b;
    return strcmp((*x)->key, (*y)->key);
}

static bool is_same(const struct seg_kept *is, const struct seg_kept *want, size_t skip)
{
    return is->bytes.size == want->bytes.size &&
           memcmp(is->bytes.data + skip, want->bytes.data + skip, is->bytes.size - skip) == 0;
}

/* Numbers of changes count in the order in which partitions came, which differs. */
static void check_changes(struct seg_world *world)
{
    enum { NUMBERED = 2 + 8 + 12 }; /* bytes up to behind change_no */
    static const struct seg_kept *is[SEG_CHANGES_MAX], *want[SEG_CHANGES_MAX];
    size_t count = world->store.now.change_count, plain = world->plain.now.change_count;
    memcpy(is, world->store.changes, count * sizeof(void *));
    memcpy(want, world->plain.changes, plain * sizeof(void *));
    qsort(is, count, sizeof(void *), by_key);
    qsort(want, plain, sizeof(void *), by_key);
    for (size_t at = 0; at < count && at < plain && world->seed.bad[0] == '\0'; at++)
        if (!is_same(is[at], want[at], NUMBERED))
            seed_bad(&world->seed, "change %s is another one without faults (%s)", is[at]->key, want[at]->key);
    if (count != plain)
        seed_bad(&world->seed, "%zu changes, without faults %zu", count, plain);
}

static void check_same(struct seg_world *world)
{
    const struct seg_store *is = &world->store, *want = &world->plain;
    check_changes(world);
    if (is->now.epoch_count != want->now.epoch_count)
        seed_bad(&world->seed, "%zu epochs, without faults %zu", is->now.epoch_count, want->now.epoch_count);
    for (size_t at = 0; at < is->now.epoch_count && at < want->now.epoch_count; at++)
        if (!is_same(is->epochs[at], want->epochs[at], 0) && world->seed.bad[0] == '\0')
            seed_bad(&world->seed, "epoch %lld is another one without faults", (long long)is->epochs[at]->number);
    for (int at = 0; at < SEG_CUSTOMERS; at++) {
        const struct seg_kept *row = is->now.standing[at], *plain = want->now.standing[at];
        if ((row == NULL) != (plain == NULL) || (row != NULL && !is_same(row, plain, 0)))
            seed_bad(&world->seed, "C%d stands elsewhere without faults", at);
    }
}

/* ---- sums of the rows ---- */

static bool is_there(const struct seg_row *row, const int64_t *offsets)
{
    return row->partition >= 0 && (offsets == NULL || row->offset < offsets[row->partition]);
}

/* What is left of the sale of that number. */
static int64_t left_of(const struct seg_world *world, int sale, const int64_t *offsets)
{
    int64_t left_minor = 0;
    for (int at = 0; at < world->row_count + world->late_count; at++)
        if (world->rows[at].sale == sale && is_there(&world->rows[at], offsets))
            left_minor += world->rows[at].net_minor;
    return left_minor;
}

/* offsets: of the rows below them only; NULL: of all. */
static void sum(const struct seg_world *world, int32_t day, const int64_t *offsets, struct plain_sum *ret)
{
    int32_t before = window_before(day);
    for (int at = 0; at < SEG_CUSTOMERS; at++)
        ret[at] = (struct plain_sum){ .last_day = INT32_MIN };
    for (int at = 0; at < world->row_count + world->late_count; at++) {
        const struct seg_row *row = &world->rows[at];
        if (row->customer < 0 || !is_there(row, offsets))
            continue;
        struct plain_sum *customer = &ret[row->customer];
        bool in_window = row->day > before && row->day <= day;
        customer->is_there = true;
        customer->balance += row->points;
        customer->monetary_minor += in_window ? row->net_minor : 0;
        if (row->type != TRANSACTION_SALE || row->day > day || left_of(world, row->sale, offsets) <= 0)
            continue;
        customer->frequency += in_window;
        if (row->day > customer->last_day)
            customer->last_day = row->day;
    }
}

/* ---- epochs ---- */

static int descending(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (y > x) - (y < x);
}

static void differs(struct seg_world *world, const char *whose, const char *what, int64_t is, int64_t want)
{
    if (is != want)
        seed_bad(&world->seed, "%s: %s is %lld, by the rows %lld", whose, what, (long long)is, (long long)want);
}

static void check_epoch(struct seg_world *world, const struct seg_kept *epoch)
{
#define OF_EPOCH(name) seg_number(seg_field(epoch, segment_threshold_columns, name))
    struct plain_sum sums[SEG_CUSTOMERS];
    int64_t offsets[SEG_PARTITIONS], spends[SEG_CUSTOMERS], balances[SEG_CUSTOMERS];
    int64_t base = 0, rated = 0, positive = 0, known = 0;
    char whose[64];
    for (size_t p = 0; p < SEG_PARTITIONS; p++)
        offsets[p] = seg_element(seg_field(epoch, segment_threshold_columns, "offsets"), p, 8);
    sum(world, (int32_t)OF_EPOCH("day") + COPY_EPOCH_DAY, offsets, sums);
    for (int at = 0; at < SEG_CUSTOMERS; at++) {
        known += sums[at].is_there;
        rated += sums[at].frequency > 0;
        if (sums[at].monetary_minor > 0)
            spends[base++] = sums[at].monetary_minor;
        if (sums[at].balance > 0)
            balances[positive++] = sums[at].balance;
    }
    qsort(spends, (size_t)base, sizeof *spends, descending);
    qsort(balances, (size_t)positive, sizeof *balances, descending);
    int64_t k = (base * world->config.segment.high_spender_percent + 99) / 100;
    snprintf(whose, sizeof whose, "epoch %lld", (long long)epoch->number);
    differs(world, whose, "customers", OF_EPOCH("customers"), known);
    differs(world, whose, "rated", OF_EPOCH("rated"), rated);
    differs(world, whose, "base", OF_EPOCH("base"), base);
    differs(world, whose, "k", OF_EPOCH("k"), k);
    if (base > 0)
        differs(world, whose, "threshold", OF_EPOCH("threshold_minor"), spends[k - 1]);
    differs(world, whose, "median balance", OF_EPOCH("median_balance"),
            positive == 0 ? 0 : balances[positive - (positive + 1) / 2]);
}

/* ---- standing ---- */

static bool is_high(const struct seg_world *world, int32_t version, int64_t monetary_minor, bool is)
{
    for (size_t at = 0; at < world->store.now.epoch_count; at++) {
        const struct seg_kept *epoch = world->store.epochs[at];
        if (epoch->number != version || OF_EPOCH("base") == 0)
            continue;
        int64_t threshold = OF_EPOCH("threshold_minor");
        int64_t low = threshold - threshold * world->config.segment.hysteresis_percent / 100;
        /* in between it depends on what was */
        return monetary_minor >= threshold ? true : monetary_minor < low || monetary_minor <= 0 ? false : is;
    }
    return false;
}

static void check_standing(struct seg_world *world, int at, const struct plain_sum *now)
{
#define OF_CUSTOMER(name) seg_number(seg_field(row, segment_standing_columns, name))
    const struct seg_kept *row = world->store.now.standing[at];
    struct plain_sum then[SEG_CUSTOMERS];
    if ((row == NULL) == now->is_there) {
        seed_bad(&world->seed, "C%d has %s standing", at, row == NULL ? "no" : "a");
        return;
    }
    if (row == NULL)
        return;
    int32_t day = (int32_t)OF_CUSTOMER("as_of_day") + COPY_EPOCH_DAY;
    sum(world, day, NULL, then);
    struct text recency = seg_field(row, segment_standing_columns, "recency_days");
    differs(world, row->key, "recency", recency.data == NULL ? -1 : seg_number(recency),
            then[at].last_day == INT32_MIN ? -1 : day - then[at].last_day);
    differs(world, row->key, "frequency", OF_CUSTOMER("frequency"), now->frequency);
    differs(world, row->key, "spend", OF_CUSTOMER("monetary_minor"), now->monetary_minor);
    differs(world, row->key, "balance", OF_CUSTOMER("points_balance"), now->balance);
    bool high = OF_CUSTOMER("high_spender") != 0;
    differs(world, row->key, "high spender", high,
            is_high(world, (int32_t)OF_CUSTOMER("threshold_version"), now->monetary_minor, high));
    bool risk = now->last_day != INT32_MIN && now->balance > 0 &&
                world->store.now.owner.day - now->last_day >= world->config.segment.at_risk_days;
    differs(world, row->key, "at risk", OF_CUSTOMER("at_risk") != 0, risk);
}

/* ---- changes ---- */

enum { MEMBERSHIPS = 32 };
struct membership {
    char segment[40];
    bool is_in;
};

static bool is_named(const struct seg_kept *row, const char *prefix, const char *column, const char *segment)
{
    struct text name = seg_field(row, segment_standing_columns, column);
    size_t size = strlen(prefix);
    return strncmp(segment, prefix, size) == 0 && text_equal(name, text_of(segment + size));
}

static bool should_be_in(const struct seg_kept *row, const char *segment)
{
    if (strcmp(segment, "HIGH_SPENDER") == 0)
        return OF_CUSTOMER("high_spender") != 0;
    if (strcmp(segment, "AT_RISK") == 0)
        return OF_CUSTOMER("at_risk") != 0;
    return is_named(row, "TIER_", "tier", segment) || is_named(row, "RFM_", "rfm_segment", segment);
}

/* Each customer's changes: numbered without a gap, in and out by turns, and where they end is where it stands. */
static void check_fold(struct seg_world *world, int at)
{
    struct membership memberships[MEMBERSHIPS];
    size_t count = 0;
    int64_t sequence = 0, in = 0;
    const struct seg_kept *row = world->store.now.standing[at];
    char customer[16];
    snprintf(customer, sizeof customer, "C%d", at);
    for (size_t i = 0; i < world->store.now.change_count; i++) {
        const struct seg_kept *change = world->store.changes[i];
        struct text segment = seg_field(change, segment_change_columns, "segment");
        if (!text_equal(seg_field(change, segment_change_columns, "customer_id"), text_of(customer)))
            continue;
        bool enters = text_equal(seg_field(change, segment_change_columns, "kind"), TEXT("ENTERED"));
        differs(world, customer, "sequence", seg_number(seg_field(change, segment_change_columns, "sequence")),
                ++sequence);
        struct membership *found = NULL;
        for (size_t m = 0; m < count; m++)
            if (text_equal(segment, text_of(memberships[m].segment)))
                found = &memberships[m];
        if (found == NULL && count < MEMBERSHIPS) {
            found = &memberships[count++];
            *found = (struct membership){ .is_in = false };
            snprintf(found->segment, sizeof found->segment, "%.*s", (int)segment.size, segment.data);
        }
        if (found == NULL || found->is_in == enters)
            seed_bad(&world->seed, "%s %s %.*s twice", customer, enters ? "enters" : "leaves", (int)segment.size,
                     segment.data);
        else
            found->is_in = enters;
    }
    for (size_t m = 0; m < count && row != NULL; m++) {
        in += memberships[m].is_in;
        if (memberships[m].is_in != should_be_in(row, memberships[m].segment))
            seed_bad(&world->seed, "%s stands otherwise than its changes say: %s", customer, memberships[m].segment);
    }
    if (row == NULL)
        return;
    differs(world, customer, "count of changes", OF_CUSTOMER("change_count"), sequence);
    int64_t should = (OF_CUSTOMER("high_spender") != 0) + (OF_CUSTOMER("at_risk") != 0);
    should += seg_field(row, segment_standing_columns, "tier").size > 0;
    should += seg_field(row, segment_standing_columns, "rfm_segment").size > 0;
    differs(world, customer, "memberships by changes", in, should);
}

static void check_rows(struct seg_world *world)
{
    int64_t rows = 0, made = 0;
    for (int p = 0; p < SEG_PARTITIONS; p++)
        rows += world->store.now.parts[p].rows;
    for (int at = 0; at < world->row_count + world->late_count; at++)
        made += world->rows[at].partition >= 0;
    if (rows != made)
        seed_bad(&world->seed, "%lld rows are in, %lld were sent", (long long)rows, (long long)made);
}

void seg_check(struct seg_world *world)
{
    struct plain_sum sums[SEG_CUSTOMERS];
    check_published(world);
    check_rows(world);
    if (world->late_count == 0) /* else it matters whether a row came before its day was found to be at its end */
        check_same(world);
    for (size_t at = 0; at < world->store.now.epoch_count && world->seed.bad[0] == '\0'; at++)
        check_epoch(world, world->store.epochs[at]);
    sum(world, world->store.now.owner.day, NULL, sums);
    for (int at = 0; at < SEG_CUSTOMERS && world->seed.bad[0] == '\0'; at++) {
        check_standing(world, at, &sums[at]);
        check_fold(world, at);
    }
}
