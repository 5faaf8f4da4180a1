/*
 * standing.h - what is known of one customer, kept so that a ledger row costs the same whatever came before.
 * Shape:  an entry per sale of the last twelve months (and one per day for returns that name no sale): a sale that is returned
 *         in full must stop counting, so its net is kept by itself. Sums over the window are carried along; standing_move
 *         brings them to another day. due_day is the first day on which time alone changes something.
 *         The balance, and what was spent by category, are of all time.
 * Units:  _minor is int64 minor units of the program's currency; _day is days since 1970-01-01 in the program's time zone.
 * Memory: sizeof (struct standing) + 24 bytes per entry + 16 per category + the id.
 * Source: DESIGN 6.
 */
#pragma once

#include "runtime/text.h"
#include "schemas/event.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { NO_DAY = INT32_MIN };

enum tier { TIER_NONE, TIER_BRONZE, TIER_SILVER, TIER_GOLD, TIER_COUNT };
enum { FLAG_HIGH_SPENDER = 1, FLAG_AT_RISK = 2 };

struct entry {
    int64_t net_minor;
    int64_t points;
    uint64_t sale; /* (hash << 16) | day; see entry_day */
};

/* What was spent in one category, of all time. */
struct spend {
    int64_t net_minor;
    uint32_t category; /* an interned one: engine.h */
    uint32_t unused;
};

struct standing {
    struct text id; /* lives in the table's arena */
    struct entry *entries;
    struct spend *spends;
    uint32_t entry_count, entry_capacity;
    uint32_t spend_count, spend_capacity;
    int64_t balance;
    int64_t monetary_minor, tier_points; /* in the window */
    int64_t change_count;
    int32_t frequency; /* in the window */
    int32_t
        last_day; /* of the last sale whose net is positive, up to the day that is reckoned with; NO_DAY: none */
    int32_t old_last_day;    /* the same, of entries that have left the window */
    int32_t first_day;       /* of the first sale, whatever became of it */
    int32_t due_day;         /* NO_DAY: never */
    uint32_t next, previous; /* in its day's list: engine.h */
    uint8_t r, f, m;
    uint8_t rfm;  /* enum rfm_segment */
    uint8_t tier; /* enum tier */
    uint8_t flags;
    bool is_dirty; /* has changed since the last commit */
    bool is_known; /* has a row in Postgres */
};

/* One row of the ledger, as far as it concerns its customer. */
struct ledger_row {
    enum transaction_type type;
    bool names_sale;    /* RETURN, VOID */
    uint64_t sale_hash; /* of its sale */
    int32_t sale_day;
    int64_t net_minor, points;
};

/* What a customer's figures are reckoned with. */
struct window {
    int32_t day, before; /* window_before(day) */
    int32_t at_risk_days;
};

/* The window that ends with a day: from > window_before(day), up to day. */
int32_t window_before(int32_t day);
/* The first day whose window does not hold `day` any more. */
int32_t window_leaves(int32_t day);

static inline int32_t entry_day(const struct entry *entry)
{
    return (int32_t)(entry->sale & 0xffff);
}
/* False: a return that names no sale. */
static inline bool entry_is_sale(const struct entry *entry)
{
    return entry->sale >> 16 != 0;
}
/* A visit: a sale of which something is left. */
static inline bool entry_counts(const struct entry *entry)
{
    return entry_is_sale(entry) && entry->net_minor > 0;
}

void standing_init(struct standing *customer, struct text id);
void standing_done(struct standing *customer);
void standing_post(struct standing *customer, const struct ledger_row *row, const struct window *window);
void standing_spend(struct standing *customer, uint32_t category, int64_t net_minor);
/* Makes the sums those of the window, forgets what has left it, and finds due_day. */
void standing_move(struct standing *customer, const struct window *window);
/* R; -1: never bought. */
static inline int32_t standing_recency(const struct standing *customer, int32_t day)
{
    return customer->last_day == NO_DAY ? -1 : day - customer->last_day;
}

/* All of it as bytes, for its row in Postgres: at most standing_size bytes, little-endian, read back by standing_read. The
 * category of a spend is written as given by name_of and read back by category_of. */
typedef struct text standing_name_fn(void *arg, uint32_t category);
typedef uint32_t standing_category_fn(void *arg, struct text name);
size_t standing_size(const struct standing *customer, standing_name_fn *name_of, void *arg);
char *standing_write(const struct standing *customer, char *to, standing_name_fn *name_of, void *arg);
/* False: not what standing_write writes. */
bool standing_read(struct standing *customer, struct text bytes, standing_category_fn *category_of,
                   void *arg);
