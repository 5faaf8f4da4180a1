#include "consumers/segment/standing.h"

#include "runtime/clock.h"

#include <stdlib.h>
#include <string.h>

enum { STATE_VERSION = 1, DAY_BITS = 16, ENTRIES_FIRST = 4, SPENDS_FIRST = 2 };

static void *grown(void *list, uint32_t *capacity, uint32_t first, size_t size)
{
    *capacity = *capacity == 0 ? first : *capacity * 2;
    list = realloc(list, (size_t)*capacity * size);
    if (list == NULL)
        abort();
    return list;
}

int32_t window_before(int32_t day)
{
    int year, month, at;
    int32_t before = day;
    calendar_date(day, &year, &month, &at);
    if (!calendar_day_of(year - 1, month, at, &before)) /* 29 February: the 28th */
        calendar_day_of(year - 1, month, at - 1, &before);
    return before;
}

int32_t window_leaves(int32_t day)
{
    int32_t leaves = day + 365;
    while (window_before(leaves) < day)
        leaves++;
    return leaves;
}

void standing_init(struct standing *customer, struct text id)
{
    memset(customer, 0, sizeof *customer);
    customer->id = id;
    customer->last_day = customer->old_last_day = customer->first_day = customer->due_day = NO_DAY;
}

void standing_done(struct standing *customer)
{
    free(customer->entries);
    free(customer->spends);
}

static uint64_t sale_of(uint64_t hash, int32_t day)
{
    uint64_t kept = hash >> DAY_BITS;
    return (kept == 0 ? 1 : kept) << DAY_BITS | (uint64_t)(uint32_t)day;
}

static struct entry *find(struct standing *customer, uint64_t sale)
{
    for (uint32_t at = customer->entry_count; at > 0; at--)
        if (customer->entries[at - 1].sale == sale)
            return &customer->entries[at - 1];
    return NULL;
}

static void add_entry(struct standing *customer, uint64_t sale, const struct ledger_row *row)
{
    if (customer->entry_count == customer->entry_capacity)
        customer->entries =
            grown(customer->entries, &customer->entry_capacity, ENTRIES_FIRST, sizeof *customer->entries);
    customer->entries[customer->entry_count++] = (struct entry){ row->net_minor, row->points, sale };
}

static void find_last(struct standing *customer, int32_t day)
{
    customer->last_day = customer->old_last_day;
    for (uint32_t at = 0; at < customer->entry_count; at++) {
        const struct entry *entry = &customer->entries[at];
        if (entry_counts(entry) && entry_day(entry) <= day && entry_day(entry) > customer->last_day)
            customer->last_day = entry_day(entry);
    }
}

static void due_no_later(struct standing *customer, int32_t due)
{
    if (customer->due_day == NO_DAY || due < customer->due_day)
        customer->due_day = due;
}

/* The day on which it is at risk, if it does not come before. */
static void due_at_risk(struct standing *customer, const struct window *window)
{
    if (customer->last_day != NO_DAY && customer->last_day + window->at_risk_days > window->day)
        due_no_later(customer, customer->last_day + window->at_risk_days);
}

/* A sale, or what comes back of none: an entry of its own. */
static void post_new(struct standing *customer, uint64_t sale, const struct ledger_row *row,
                     const struct window *window)
{
    bool counts = row->type == TRANSACTION_SALE && row->net_minor > 0;
    if (row->sale_day <= window->before) { /* older than anything that is looked at, but for the last visit */
        if (counts && row->sale_day > customer->old_last_day)
            customer->old_last_day = row->sale_day;
        if (counts && row->sale_day > customer->last_day)
            customer->last_day = row->sale_day;
        return;
    }
    add_entry(customer, sale, row);
    if (row->sale_day > window->day) { /* a till's clock is ahead */
        due_no_later(customer, row->sale_day);
        return;
    }
    customer->monetary_minor += row->net_minor;
    customer->tier_points += row->points;
    due_no_later(customer, row->sale_day + 365); /* or a day later: standing_move looks it up */
    if (!counts)
        return;
    customer->frequency++;
    if (row->sale_day > customer->last_day)
        customer->last_day = row->sale_day;
    due_at_risk(customer, window);
}

static void post_return(struct standing *customer, struct entry *entry, const struct ledger_row *row,
                        const struct window *window)
{
    bool counted = entry_counts(entry);
    entry->net_minor += row->net_minor;
    entry->points += row->points;
    if (entry_day(entry) > window->day)
        return;
    customer->monetary_minor += row->net_minor;
    customer->tier_points += row->points;
    if (counted && !entry_counts(entry)) {
        customer->frequency--;
        if (entry_day(entry) == customer->last_day) {
            find_last(customer, window->day);
            due_at_risk(customer, window);
        }
    }
}

void standing_post(struct standing *customer, const struct ledger_row *row, const struct window *window)
{
    struct ledger_row taken = *row;
    if (taken.sale_day < 0 || taken.sale_day > UINT16_MAX)
        taken.sale_day = taken.sale_day < 0 ? 0 : UINT16_MAX;
    customer->balance += taken.points;
    bool belongs = taken.type == TRANSACTION_SALE || taken.names_sale;
    uint64_t sale = belongs ? sale_of(taken.sale_hash, taken.sale_day) : (uint64_t)(uint32_t)taken.sale_day;
    if (taken.type == TRANSACTION_SALE) {
        if (customer->first_day == NO_DAY || taken.sale_day < customer->first_day)
            customer->first_day = taken.sale_day;
    } else {
        struct entry *entry = taken.sale_day > window->before ? find(customer, sale) : NULL;
        if (entry != NULL) {
            post_return(customer, entry, &taken, window);
            return;
        }
    }
    post_new(customer, sale, &taken, window);
}

void standing_spend(struct standing *customer, uint32_t category, int64_t net_minor)
{
    for (uint32_t at = 0; at < customer->spend_count; at++)
        if (customer->spends[at].category == category) {
            customer->spends[at].net_minor += net_minor;
            return;
        }
    if (customer->spend_count == customer->spend_capacity)
        customer->spends =
            grown(customer->spends, &customer->spend_capacity, SPENDS_FIRST, sizeof *customer->spends);
    customer->spends[customer->spend_count++] = (struct spend){ net_minor, category, 0 };
}

void standing_move(struct standing *customer, const struct window *window)
{
    uint32_t kept = 0;
    int32_t oldest = NO_DAY, ahead = NO_DAY, last = customer->old_last_day;
    customer->monetary_minor = customer->tier_points = 0;
    customer->frequency = 0;
    for (uint32_t at = 0; at < customer->entry_count; at++) {
        struct entry entry = customer->entries[at];
        int32_t sale_day = entry_day(&entry);
        if (sale_day <= window->before) {
            if (entry_counts(&entry) && sale_day > customer->old_last_day)
                customer->old_last_day = sale_day;
        } else if (sale_day > window->day) {
            ahead = ahead == NO_DAY || sale_day < ahead ? sale_day : ahead;
            customer->entries[kept++] = entry;
        } else {
            oldest = oldest == NO_DAY || sale_day < oldest ? sale_day : oldest;
            customer->monetary_minor += entry.net_minor;
            customer->tier_points += entry.points;
            customer->frequency += entry_counts(&entry);
            if (entry_counts(&entry) && sale_day > last)
                last = sale_day;
            customer->entries[kept++] = entry;
        }
    }
    customer->entry_count = kept;
    customer->last_day = last > customer->old_last_day ? last : customer->old_last_day;
    customer->due_day = NO_DAY;
    if (oldest != NO_DAY)
        due_no_later(customer, window_leaves(oldest));
    if (ahead != NO_DAY)
        due_no_later(customer, ahead);
    due_at_risk(customer, window);
}

/* ---- as bytes ---- */

static char *put(char *to, const void *from, size_t size)
{
    memcpy(to, from, size);
    return to + size;
}

/* Version, then what is not carried along by the entries. */
struct fixed_state {
    int64_t balance, monetary_minor, tier_points, change_count;
    int32_t frequency, last_day, old_last_day, first_day, due_day;
    uint32_t entry_count, spend_count;
    uint8_t r, f, m, rfm, tier, flags, version, unused;
};
_Static_assert(sizeof(struct fixed_state) == 72, "no holes: they would be written");
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
               "the state of a customer is kept as it lies in memory");

size_t standing_size(const struct standing *customer, standing_name_fn *name_of, void *arg)
{
    size_t size = sizeof(struct fixed_state) + customer->entry_count * sizeof *customer->entries;
    for (uint32_t at = 0; at < customer->spend_count; at++)
        size += sizeof(int64_t) + sizeof(uint32_t) + name_of(arg, customer->spends[at].category).size;
    return size;
}

char *standing_write(const struct standing *customer, char *to, standing_name_fn *name_of, void *arg)
{
    struct fixed_state state = {
        .balance = customer->balance,
        .monetary_minor = customer->monetary_minor,
        .tier_points = customer->tier_points,
        .change_count = customer->change_count,
        .frequency = customer->frequency,
        .last_day = customer->last_day,
        .old_last_day = customer->old_last_day,
        .first_day = customer->first_day,
        .due_day = customer->due_day,
        .entry_count = customer->entry_count,
        .spend_count = customer->spend_count,
        .r = customer->r,
        .f = customer->f,
        .m = customer->m,
        .rfm = customer->rfm,
        .tier = customer->tier,
        .flags = customer->flags,
        .version = STATE_VERSION,
    };
    to = put(to, &state, sizeof state);
    if (customer->entry_count > 0)
        to = put(to, customer->entries, customer->entry_count * sizeof *customer->entries);
    for (uint32_t at = 0; at < customer->spend_count; at++) {
        struct text name = name_of(arg, customer->spends[at].category);
        to = put(to, &customer->spends[at].net_minor, sizeof(int64_t));
        to = put(to, &name.size, sizeof name.size);
        to = put(to, name.data, name.size);
    }
    return to;
}

static bool take(struct text *rest, void *to, size_t size)
{
    if (rest->size < size)
        return false;
    memcpy(to, rest->data, size);
    rest->data += size;
    rest->size -= (uint32_t)size;
    return true;
}

bool standing_read(struct standing *customer, struct text bytes, standing_category_fn *category_of, void *arg)
{
    struct fixed_state state;
    if (!take(&bytes, &state, sizeof state) || state.version != STATE_VERSION ||
        bytes.size / sizeof(struct entry) < state.entry_count)
        return false;
    customer->balance = state.balance;
    customer->monetary_minor = state.monetary_minor;
    customer->tier_points = state.tier_points;
    customer->change_count = state.change_count;
    customer->frequency = state.frequency;
    customer->last_day = state.last_day;
    customer->old_last_day = state.old_last_day;
    customer->first_day = state.first_day;
    customer->due_day = state.due_day;
    customer->r = state.r;
    customer->f = state.f;
    customer->m = state.m;
    customer->rfm = state.rfm;
    customer->tier = state.tier;
    customer->flags = state.flags;
    while (customer->entry_count < state.entry_count) {
        struct entry entry;
        take(&bytes, &entry, sizeof entry);
        add_entry(customer, entry.sale,
                  &(struct ledger_row){ .net_minor = entry.net_minor, .points = entry.points });
    }
    for (uint32_t at = 0; at < state.spend_count; at++) {
        int64_t net_minor;
        uint32_t size;
        if (!take(&bytes, &net_minor, sizeof net_minor) || !take(&bytes, &size, sizeof size) ||
            bytes.size < size)
            return false;
        standing_spend(customer, category_of(arg, (struct text){ bytes.data, size }), net_minor);
        bytes.data += size;
        bytes.size -= size;
    }
    return bytes.size == 0;
}
