#include "consumers/segment/engine.h"

#include "consumers/segment/engine_table.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const tiers[TIER_COUNT] = { "", "BRONZE", "SILVER", "GOLD" };

const char *tier_name(enum tier tier)
{
    return tier < TIER_COUNT ? tiers[tier] : "";
}

enum tier tier_find(const char *name)
{
    for (enum tier at = TIER_BRONZE; at < TIER_COUNT; at++)
        if (strcmp(tiers[at], name) == 0)
            return at;
    return TIER_NONE;
}

int64_t engine_day_ms(struct engine *engine, int32_t day)
{
    int year, month, at;
    int64_t ms = (int64_t)day * 86400000;
    calendar_date(day, &year, &month, &at);
    for (int hour = 0; hour < 3; hour++) /* where clocks go forward at midnight, the day begins later */
        if (calendar_time(engine->calendar, year, month, at, hour, 0, 0, &ms))
            break;
    return ms;
}

void engine_clv(struct engine *engine, const struct standing *customer, struct clv *ret)
{
    clv_of(customer, &engine->epoch, engine->day, &engine->settings.weights, engine_category_order, engine,
           ret);
}

/* ---- changes ---- */

/* What a customer is a member of. */
struct membership {
    uint8_t flags, tier, rfm;
};

static struct membership membership_of(const struct standing *customer)
{
    return (struct membership){ customer->flags, customer->tier, customer->rfm };
}

struct telling {
    struct engine *engine;
    struct standing *customer;
    const struct engine_cause *cause;
    struct segment_change change; /* but for what differs from one to the next */
    char rfm[32];
};

static void tell(struct telling *telling, const char *segment, enum segment_change_kind kind,
                 enum segment_change_reason reason)
{
    char id[33];
    struct segment_change *change = &telling->change;
    struct engine *engine = telling->engine;
    change->segment = text_of(segment);
    change->kind = kind;
    change->reason = reason;
    change->sequence = ++telling->customer->change_count;
    engine_change_id(engine->settings.run, telling->customer->id, change->segment, change->sequence, id);
    change->change_id = text_of(id);
    engine->on_change(engine->on_change_arg, change);
}

struct segment_snapshot engine_snapshot(const struct engine *engine, const struct standing *customer,
                                        const struct clv *clv)
{
    return (struct segment_snapshot){
        .recency_days = standing_recency(customer, engine->day),
        .frequency = customer->frequency,
        .monetary_minor = customer->monetary_minor,
        .r = customer->r,
        .f = customer->f,
        .m = customer->m,
        .rfm_segment = text_of(rfm_name(customer->rfm)),
        .points_balance = customer->balance,
        .tier = text_of(tier_name(customer->tier)),
        .clv_potential = clv->potential,
    };
}

static void fill(struct telling *telling)
{
    struct engine *engine = telling->engine;
    const struct standing *customer = telling->customer;
    struct clv clv;
    engine_clv(engine, customer, &clv);
    telling->change = (struct segment_change){
        .customer_id = customer->id,
        .effective_at_ms = telling->cause->effective_ms,
        .detected_at_ms = telling->cause->detected_ms,
        .as_of_day = engine->day,
        .threshold_version = engine->epoch.version,
        .snapshot = engine_snapshot(engine, customer, &clv),
    };
}

static void tell_named(struct telling *telling, const char *prefix, const char *name,
                       enum segment_change_kind kind, enum segment_change_reason reason)
{
    char segment[48];
    snprintf(segment, sizeof segment, "%s%s", prefix, name);
    tell(telling, segment, kind, reason);
}

/* A sale that made someone at risk gave the points for it: it was an old one. */
static enum segment_change_reason risk_reason(enum segment_change_reason reason, bool enters)
{
    return reason == SEGMENT_PURCHASE && enters ? SEGMENT_POINTS_EARNED : reason;
}

/* Leaving comes before entering, so that who reads them in order never sees two tiers at once. */
static void tell_changes(struct engine *engine, struct standing *customer, struct membership was,
                         const struct engine_cause *cause)
{
    struct membership is = membership_of(customer);
    if (is.flags == was.flags && is.tier == was.tier && is.rfm == was.rfm)
        return;
    struct telling telling = { .engine = engine, .customer = customer, .cause = cause };
    uint8_t changed = is.flags ^ was.flags;
    enum segment_change_reason reason = cause->reason;
    enum segment_change_reason tier_reason =
        reason == SEGMENT_PURCHASE && was.tier != TIER_NONE ? SEGMENT_POINTS_EARNED : reason;
    fill(&telling);
    if (was.rfm != is.rfm && was.rfm != RFM_NONE)
        tell_named(&telling, "RFM_", rfm_name(was.rfm), SEGMENT_EXITED, reason);
    if (was.tier != is.tier && was.tier != TIER_NONE)
        tell_named(&telling, "TIER_", tier_name(was.tier), SEGMENT_EXITED, tier_reason);
    if (changed & FLAG_HIGH_SPENDER)
        tell(&telling, "HIGH_SPENDER", is.flags & FLAG_HIGH_SPENDER ? SEGMENT_ENTERED : SEGMENT_EXITED,
             reason);
    if (changed & FLAG_AT_RISK)
        tell(&telling, "AT_RISK", is.flags & FLAG_AT_RISK ? SEGMENT_ENTERED : SEGMENT_EXITED,
             risk_reason(reason, (is.flags & FLAG_AT_RISK) != 0));
    if (was.tier != is.tier && is.tier != TIER_NONE)
        tell_named(&telling, "TIER_", tier_name(is.tier), SEGMENT_ENTERED, tier_reason);
    if (was.rfm != is.rfm && is.rfm != RFM_NONE)
        tell_named(&telling, "RFM_", rfm_name(is.rfm), SEGMENT_ENTERED, reason);
}

/* ---- judging ---- */

static struct window window_of(const struct engine *engine)
{
    return (struct window){ engine->day, engine->before, engine->settings.at_risk_days };
}

static enum tier level_of(const struct engine *engine, int64_t points)
{
    enum tier level = TIER_BRONZE;
    while (level + 1 < TIER_COUNT && points >= engine->settings.tier_points[level + 1])
        level++;
    return level;
}

static void set_flags(struct engine *engine, struct standing *customer, bool is_high)
{
    bool risk = customer->last_day != NO_DAY && customer->balance > 0 &&
                engine->day - customer->last_day >= engine->settings.at_risk_days;
    customer->flags = (uint8_t)((is_high ? FLAG_HIGH_SPENDER : 0) | (risk ? FLAG_AT_RISK : 0));
}

static void judge_flags(struct engine *engine, struct standing *customer)
{
    uint32_t at = (uint32_t)(customer - engine->list);
    engine->monetary[at] = customer->monetary_minor;
    engine->high[at] = epoch_is_high(&engine->epoch, customer->monetary_minor, engine->high[at],
                                     engine->settings.hysteresis_percent);
    set_flags(engine, customer, engine->high[at]);
}

static void judge_scores(struct engine *engine, struct standing *customer)
{
    const struct epoch *epoch = &engine->epoch;
    bool rated = customer->frequency > 0 && epoch->version > 0;
    customer->r = rated ? epoch_r(epoch, standing_recency(customer, engine->day)) : 0;
    customer->f = rated ? epoch_f(epoch, customer->frequency) : 0;
    customer->m = rated ? epoch_m(epoch, customer->monetary_minor) : 0;
    customer->rfm = (uint8_t)rfm_of(customer->r, customer->f, customer->m);
}

static void judge_tier(struct engine *engine, struct standing *customer, bool review)
{
    enum tier level = level_of(engine, customer->tier_points);
    if (review || level > customer->tier)
        customer->tier = (uint8_t)level;
}

static void post_customer(struct engine *engine, const struct ledger_entry *entry)
{
    struct standing *customer = engine_add(engine, entry->customer_id);
    struct membership was = membership_of(customer);
    int32_t due_was = customer->due_day;
    bool is_sale = entry->type == TRANSACTION_SALE;
    struct text sale_id = is_sale || text_empty(entry->sale_id) ? entry->transaction_id : entry->sale_id;
    struct ledger_row row = {
        .type = entry->type,
        .names_sale = !is_sale && !text_empty(entry->sale_id),
        .sale_hash = (uint64_t)transaction_identity_hash(entry->source, TRANSACTION_SALE, sale_id),
        .sale_day = entry->sale_day,
        .net_minor = entry->net_minor,
        .points = entry->points,
    };
    const struct window window = window_of(engine);
    standing_post(customer, &row, &window);
    for (uint32_t at = 0; at < entry->line_count; at++)
        if (!text_empty(entry->lines[at].category))
            standing_spend(customer, engine_category(engine, entry->lines[at].category, is_sale),
                           entry->lines[at].amount_minor);
    if (customer->due_day != due_was)
        engine_table_due(engine, customer, due_was);
    engine_table_dirty(engine, customer);
    judge_tier(engine, customer, false);
    judge_flags(engine, customer);
    judge_scores(engine, customer);
    struct engine_cause cause = { is_sale ? SEGMENT_PURCHASE : SEGMENT_RETURN, entry->event_time_ms,
                                  entry->posted_at_ms };
    tell_changes(engine, customer, was, &cause);
}

void engine_post(struct engine *engine, const struct ledger_entry *entry)
{
    engine->is_closed = false;
    if (!text_empty(entry->customer_id)) {
        post_customer(engine, entry);
        return;
    }
    for (uint32_t at = 0; at < entry->line_count && entry->type == TRANSACTION_SALE; at++)
        if (!text_empty(entry->lines[at].category))
            engine_category(engine, entry->lines[at].category, true);
}

/* ---- days ---- */

enum { GATHERED = 4 };

/* Room for the figures of everybody, a column each. */
static int64_t *scratch_of(struct engine *engine)
{
    if (engine->scratch_capacity < engine->count) {
        engine->scratch_capacity = engine->capacity;
        free(engine->scratch);
        engine->scratch = malloc(engine->scratch_capacity * GATHERED * sizeof *engine->scratch);
        if (engine->scratch == NULL)
            abort();
    }
    return engine->scratch;
}

static void narrow_cuts(int64_t *values, size_t count, int32_t ret[CUTS])
{
    int64_t cuts[CUTS];
    epoch_cuts(values, count, cuts);
    for (int at = 0; at < CUTS; at++)
        ret[at] = (int32_t)cuts[at];
}

/* What scores and potential are measured by: all customers are looked at, once. */
static void decide_cuts(struct engine *engine, struct epoch *epoch)
{
    int64_t *f = scratch_of(engine), *r = f + engine->scratch_capacity, *m = r + engine->scratch_capacity,
            *balance = m + engine->scratch_capacity;
    size_t rated = 0, positive = 0;
    for (uint32_t at = 0; at < engine->count; at++) {
        const struct standing *customer = &engine->list[at];
        f[rated] = customer->frequency;
        r[rated] = standing_recency(customer, engine->day);
        m[rated] = customer->monetary_minor;
        rated += customer->frequency > 0;
        balance[positive] = customer->balance;
        positive += customer->balance > 0;
    }
    epoch->rated = (int64_t)rated;
    epoch->median_balance = positive == 0 ? 0 : epoch_rank(balance, positive, (positive + 1) / 2);
    if (rated == 0)
        return;
    narrow_cuts(f, rated, epoch->f_cuts);
    narrow_cuts(r, rated, epoch->r_cuts);
    epoch_cuts(m, rated, epoch->m_cuts);
}

uint32_t engine_move_threshold(struct engine *engine)
{
    struct epoch *epoch = &engine->epoch;
    int64_t *values = scratch_of(engine);
    uint32_t crossed = 0;
    if (engine->count > 0)
        memcpy(values, engine->monetary, engine->count * sizeof *values);
    epoch_threshold(epoch, values, engine->count, engine->settings.high_spender_percent);
    epoch->members = 0;
    for (uint32_t at = 0; at < engine->count; at++) {
        bool is = epoch_is_high(epoch, engine->monetary[at], engine->high[at],
                                engine->settings.hysteresis_percent);
        crossed += is != engine->high[at];
        engine->high[at] = is;
        epoch->members += is;
    }
    return crossed;
}

void engine_decide(struct engine *engine)
{
    struct epoch epoch = { .version = engine->epoch.version + 1,
                           .day = engine->day,
                           .customers = engine->count,
                           .categories = (int32_t)engine->sold_count };
    decide_cuts(engine, &epoch);
    engine->epoch = epoch;
    engine_move_threshold(engine);
}

void engine_close(struct engine *engine, int64_t detected_ms)
{
    struct engine_cause cause = { SEGMENT_THRESHOLD, engine_day_ms(engine, engine->day + 1), detected_ms };
    engine_decide(engine);
    engine->is_closed = true;
    for (uint32_t at = 0; at < engine->count; at++) {
        struct standing *customer = &engine->list[at];
        struct membership was = membership_of(customer);
        set_flags(engine, customer, engine->high[at]);
        judge_scores(engine, customer);
        engine_table_dirty(engine, customer);
        tell_changes(engine, customer, was, &cause);
    }
}

void engine_begin(struct engine *engine, int32_t day)
{
    engine->day = day;
    engine->before = window_before(day);
    engine->is_closed = false;
}

static void review(struct engine *engine, const struct engine_cause *cause)
{
    for (uint32_t at = 0; at < engine->count; at++) {
        struct standing *customer = &engine->list[at];
        struct membership was = membership_of(customer);
        judge_tier(engine, customer, true);
        if (customer->tier != was.tier) {
            engine_table_dirty(engine, customer);
            tell_changes(engine, customer, was, cause);
        }
    }
}

void engine_open(struct engine *engine, int64_t detected_ms)
{
    int year, month, day;
    engine_begin(engine, engine->day + 1);
    struct engine_cause cause = { SEGMENT_TIME, engine_day_ms(engine, engine->day), detected_ms };
    const struct window window = window_of(engine);
    uint32_t at = engine_table_take_due(engine, engine->day);
    while (at != NOBODY) {
        struct standing *customer = &engine->list[at];
        struct membership was = membership_of(customer);
        at = customer->next;
        standing_move(customer, &window);
        engine_table_due(engine, customer, NO_DAY);
        judge_flags(engine, customer);
        engine_table_dirty(engine, customer);
        tell_changes(engine, customer, was, &cause);
    }
    calendar_date(engine->day, &year, &month, &day);
    if (day == 1)
        review(engine, &cause);
}

void engine_rejudge(struct engine *engine, int64_t effective_ms, int64_t detected_ms)
{
    struct engine_cause cause = { SEGMENT_RULES, effective_ms, detected_ms };
    const struct window window = window_of(engine);
    bool decides = engine->epoch.version > 0 &&
                   engine->epoch.k != epoch_k(engine->epoch.base, engine->settings.high_spender_percent);
    if (decides)
        engine_decide(engine);
    for (uint32_t at = 0; at < engine->count; at++) {
        struct standing *customer = &engine->list[at];
        struct membership was = membership_of(customer);
        int32_t due_was = customer->due_day;
        standing_move(customer, &window);
        if (customer->due_day != due_was)
            engine_table_due(engine, customer, due_was);
        judge_tier(engine, customer, false);
        judge_flags(engine, customer);
        if (decides)
            judge_scores(engine, customer);
        engine_table_dirty(engine, customer);
        tell_changes(engine, customer, was, &cause);
    }
}
