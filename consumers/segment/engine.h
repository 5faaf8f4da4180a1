/*
 * engine.h - where every customer stands, and what changes: by a row of the ledger, by a day that ends, by a day that begins.
 * Shape:  pure: rows and days in, struct segment_change out through a function. Customers lie in one growing array; each is in
 *         the list of the day on which time alone changes something for it. What the exact ranks are taken of lies apart in
 *         dense arrays, so that a threshold moves in one pass over 8 bytes per customer.
 *         engine_post judges one customer, with the epoch of the last closed day. engine_close decides the epoch of the day
 *         and judges everybody with it. engine_open begins the next day: windows move, whoever has not come for 30 days is at
 *         risk, tiers are reviewed on the first of a month.
 *         Everything follows from the order of these calls alone.
 * Units:  _minor, _ms, _day as everywhere.
 * Source: DESIGN 6.
 */
#pragma once

#include "consumers/segment/clv.h"
#include "consumers/segment/epoch.h"
#include "consumers/segment/rfm_map.h"
#include "consumers/segment/standing.h"
#include "runtime/clock.h"
#include "schemas/arena.h"
#include "schemas/event.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { DUE_LISTS = 512, NOBODY = UINT32_MAX };

struct engine_settings {
    int32_t run;
    int64_t tier_points[TIER_COUNT]; /* at least so many; TIER_BRONZE: 0 */
    struct clv_weights weights;
    int32_t high_spender_percent, hysteresis_percent;
    int32_t at_risk_days;
};

/* Valid during the call. */
typedef void engine_change_fn(void *arg, const struct segment_change *change);

struct engine_slot {
    uint32_t hash;
    uint32_t number; /* index + 1; 0: free */
};

struct engine {
    struct engine_settings settings;
    struct calendar *calendar; /* kept */
    engine_change_fn *on_change;
    void *on_change_arg;

    struct standing *list;
    int64_t *monetary; /* of list, by the same index */
    uint8_t *high;     /* is a high spender */
    uint32_t count, capacity;
    struct engine_slot *slots;
    uint32_t mask;
    uint32_t *dirty; /* who has changed since engine_clean */
    uint32_t dirty_count, dirty_capacity;
    uint32_t due[DUE_LISTS]; /* first of the list of (day % DUE_LISTS); NOBODY: empty */
    struct arena names;

    struct text *categories; /* interned */
    uint32_t category_count, category_capacity;
    uint32_t *category_slots;
    uint32_t category_mask;
    uint8_t *is_sold;                /* by category: a sale had it */
    uint32_t *sold;                  /* those, in the order in which they came */
    uint32_t sold_count, sold_saved; /* sold_saved: so many are in Postgres */

    struct epoch epoch;  /* the last one decided */
    int32_t day, before; /* reckoned with, and window_before of it; NO_DAY: none yet */
    bool is_closed;      /* the epoch is this day's, and no row has come since */
    int64_t *scratch;
    size_t scratch_capacity;
};

/* What changed something, for the words of a change. */
struct engine_cause {
    enum segment_change_reason reason;
    int64_t effective_ms, detected_ms;
};

void engine_init(struct engine *engine, const struct engine_settings *settings, struct calendar *calendar,
                 engine_change_fn *on_change, void *arg);
void engine_done(struct engine *engine);
/* Forgets everything but the settings. */
void engine_reset(struct engine *engine);

/* NULL: not known. The pointer is good until the next engine_add or engine_post. */
struct standing *engine_find(struct engine *engine, struct text customer_id);
/* Finds it, or adds it. For loading; engine_place then puts it where engine->day wants it. */
struct standing *engine_add(struct engine *engine, struct text customer_id);
void engine_place(struct engine *engine, struct standing *customer);
/* Interned; one that is not known is added, as sold or not. */
uint32_t engine_category(struct engine *engine, struct text name, bool is_sold);
struct text engine_category_name(void *engine, uint32_t category);
int engine_category_order(const void *a, const void *b, void *engine);

/* The day that is reckoned with at first. */
void engine_begin(struct engine *engine, int32_t day);
/* A row of the ledger; lines are the row's. A row without a customer only says what was sold. */
void engine_post(struct engine *engine, const struct ledger_entry *entry);
/* The parts of what follows: the exact threshold, and who is above it, from the dense arrays alone, returning how many have
 * crossed it; and the whole epoch with it. Nobody is told. */
uint32_t engine_move_threshold(struct engine *engine);
void engine_decide(struct engine *engine);
/* Ends engine->day: decides its epoch, whose version is one more, and judges everybody with it. Once more, if rows of the day
 * have come since. */
void engine_close(struct engine *engine, int64_t detected_ms);
/* Goes to the next day. */
void engine_open(struct engine *engine, int64_t detected_ms);
/* Judges everybody again: the settings are others than before. A tier rises at once, and falls at the review, as ever. A share of high spenders that is not the epoch's leads to another
 * epoch, of the day that is reckoned with. */
void engine_rejudge(struct engine *engine, int64_t effective_ms, int64_t detected_ms);

void engine_clv(struct engine *engine, const struct standing *customer, struct clv *ret);
/* Where a customer stands, as changes and its row tell it; clv is engine_clv's. */
struct segment_snapshot engine_snapshot(const struct engine *engine, const struct standing *customer,
                                        const struct clv *clv);
void engine_clean(struct engine *engine);
const char *tier_name(enum tier tier);
/* TIER_NONE if there is no such name. */
enum tier tier_find(const char *name);
/* 32 hex digits and NUL. */
void engine_change_id(int32_t run, struct text customer_id, struct text segment, int64_t sequence,
                      char to[33]);
/* Beginning of a day in the calendar's zone. */
int64_t engine_day_ms(struct engine *engine, int32_t day);
