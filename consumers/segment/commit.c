#include "consumers/segment/segment.h"

#include "runtime/log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { GAP_MS_MAX = 10000, BUFFER_SIZE_MAX = 16 << 20 };

_Static_assert((int)SEGMENT_CUTS == (int)CUTS, "an epoch is kept as it is decided");
_Static_assert((int)CLV_PARTS == 4, "a standing has four contributions");

void segment_settings_text(const struct config *config, char to[SEGMENT_SETTINGS_SIZE])
{
    snprintf(to, SEGMENT_SETTINGS_SIZE, "tiers %lld %lld weights %d %d %d %d high %d hysteresis %d risk %d",
             (long long)config->segment.tier_silver, (long long)config->segment.tier_gold,
             config->segment.weight_trajectory, config->segment.weight_engagement,
             config->segment.weight_breadth, config->segment.weight_points,
             config->segment.high_spender_percent, config->segment.hysteresis_percent,
             config->segment.at_risk_days);
}

struct engine_settings segment_engine_settings(const struct config *config)
{
    return (struct engine_settings){
        .run = config->program.run,
        .tier_points = { 0, 0, config->segment.tier_silver, config->segment.tier_gold },
        .weights = { { config->segment.weight_trajectory, config->segment.weight_engagement,
                       config->segment.weight_breadth, config->segment.weight_points } },
        .high_spender_percent = config->segment.high_spender_percent,
        .hysteresis_percent = config->segment.hysteresis_percent,
        .at_risk_days = config->segment.at_risk_days,
    };
}

static enum ll_status of_reply(enum store_reply reply)
{
    return reply == STORE_OK ? LL_OK : reply == STORE_BROKEN ? LL_FATAL : LL_RETRY;
}

/* ---- claiming ---- */

static void on_threshold(void *arg, const struct segment_threshold *threshold)
{
    struct segment *segment = arg;
    struct epoch *epoch = &segment->engine.epoch;
    *epoch = (struct epoch){
        .version = threshold->version,
        .day = threshold->day,
        .customers = threshold->customers,
        .rated = threshold->rated,
        .base = threshold->base,
        .k = threshold->k,
        .members = threshold->members,
        .threshold_minor = threshold->threshold_minor,
        .median_balance = threshold->median_balance,
        .categories = threshold->categories,
    };
    memcpy(epoch->r_cuts, threshold->r_cuts, sizeof epoch->r_cuts);
    memcpy(epoch->f_cuts, threshold->f_cuts, sizeof epoch->f_cuts);
    memcpy(epoch->m_cuts, threshold->m_cuts, sizeof epoch->m_cuts);
}

static void on_category(void *arg, struct text name)
{
    engine_category(&((struct segment *)arg)->engine, name, true);
}

static uint32_t category_of(void *arg, struct text name)
{
    return engine_category(arg, name, false);
}

static bool on_standing(void *arg, struct text customer_id, struct text state)
{
    struct segment *segment = arg;
    struct standing *customer = engine_add(&segment->engine, customer_id);
    if (!standing_read(customer, state, category_of, &segment->engine))
        return false;
    customer->is_known = true;
    engine_place(&segment->engine, customer);
    return true;
}

static void rejudge_if_other(struct segment *segment)
{
    char now[SEGMENT_SETTINGS_SIZE];
    segment_settings_text(segment->needs.config, now);
    if (strcmp(now, segment->owner.settings) == 0)
        return;
    bool was_other = segment->owner.settings[0] != '\0';
    memcpy(segment->owner.settings, now, sizeof now);
    segment->has_moved = true;
    if (!was_other || segment->engine.day == NO_DAY)
        return;
    int64_t clock_ms = 0;
    for (size_t at = 0; at < segment->needs.partitions; at++)
        clock_ms = segment->parts[at].clock_ms > clock_ms ? segment->parts[at].clock_ms : clock_ms;
    log_line(LOG_INFO, "settings_changed", "settings=%s", log_quote_c(now));
    int32_t version = segment->engine.epoch.version;
    engine_rejudge(&segment->engine, clock_ms, clock_ms);
    if (segment->engine.epoch.version != version)
        segment_on_close(segment, clock_ms);
}

static void forget(struct segment *segment)
{
    segment_drop_queues(segment);
    engine_reset(&segment->engine);
    row_buffer_clear(&segment->thresholds);
    row_buffer_clear(&segment->changes);
    segment->has_moved = false;
    segment->rows_since = segment->change_count = segment->posted_ms = 0;
}

enum ll_status segment_claim(struct segment *segment, struct ll_err *err)
{
    const struct segment_store store = segment->needs.store;
    const struct segment_loader loader = { segment, on_threshold, on_category, on_standing };
    int64_t begin_ms = segment_steady_ms(segment);
    forget(segment);
    enum store_reply reply =
        store.ops->claim(store.self, segment->needs.clock.wall_ms(segment->needs.clock.self), &segment->owner,
                         segment->parts, segment->needs.partitions, err);
    if (reply == STORE_OK && segment->owner.has_day)
        engine_begin(&segment->engine, segment->owner.day); /* engine_place looks at it */
    segment->engine.is_closed = reply == STORE_OK && segment->owner.is_closed;
    if (reply == STORE_OK)
        reply = store.ops->load(store.self, &segment->owner, &loader, err);
    if (reply != STORE_OK)
        return of_reply(reply);
    engine_clean(&segment->engine);
    segment->next_change = segment->owner.next_change;
    segment->ranks_current = false;
    segment->commits = 0;
    segment->committed_ms = segment_steady_ms(segment);
    segment->noted = segment->owner.relayed_upto;
    segment->claimed_next = segment->owner.next_change;
    for (size_t at = 0; at < segment->needs.partitions; at++)
        if (segment->parts[at].clock_ms > segment->posted_ms)
            segment->posted_ms = segment->parts[at].clock_ms;
    log_line(LOG_INFO, "claimed", "epoch=%lld customers=%u version=%d ms=%lld",
             (long long)segment->owner.epoch, segment->engine.count, segment->engine.epoch.version,
             (long long)(segment_steady_ms(segment) - begin_ms));
    metric_set(segment->metrics.customers, segment->engine.count);
    rejudge_if_other(segment);
    return LL_OK;
}

/* ---- collecting ---- */

void segment_on_change(void *arg, const struct segment_change *change)
{
    struct segment *segment = arg;
    segment_write_change(&segment->changes, segment->needs.config->program.run, segment->next_change++,
                         change);
    segment->change_count++;
}

void segment_on_close(struct segment *segment, int64_t decided_ms)
{
    const struct epoch *epoch = &segment->engine.epoch;
    int64_t offsets[SEGMENT_PARTITIONS_MAX];
    for (size_t at = 0; at < segment->needs.partitions; at++)
        offsets[at] = segment->parts[at].row_offset + 1;
    struct segment_threshold threshold = {
        .version = epoch->version,
        .day = epoch->day,
        .customers = epoch->customers,
        .rated = epoch->rated,
        .base = epoch->base,
        .k = epoch->k,
        .members = epoch->members,
        .threshold_minor = epoch->threshold_minor,
        .median_balance = epoch->median_balance,
        .categories = epoch->categories,
        .decided_ms = decided_ms,
        .offsets = offsets,
        .offset_count = segment->needs.partitions,
    };
    memcpy(threshold.r_cuts, epoch->r_cuts, sizeof epoch->r_cuts);
    memcpy(threshold.f_cuts, epoch->f_cuts, sizeof epoch->f_cuts);
    memcpy(threshold.m_cuts, epoch->m_cuts, sizeof epoch->m_cuts);
    segment_write_threshold(&segment->thresholds, segment->needs.config->program.run, &threshold);
    segment->has_moved = true;
    metric_add(segment->metrics.closes, 1);
}

static void collect(struct segment *segment, const struct standing *customer)
{
    struct engine *engine = &segment->engine;
    struct clv clv;
    engine_clv(engine, customer, &clv);
    row_buffer_clear(&segment->state);
    size_t size = standing_size(customer, engine_category_name, engine);
    if (segment->state.capacity < size) {
        segment->state.capacity = size * 2;
        free(segment->state.data);
        segment->state.data = malloc(segment->state.capacity);
        if (segment->state.data == NULL)
            abort();
    }
    standing_write(customer, segment->state.data, engine_category_name, engine);
    struct segment_standing row = {
        .customer_id = customer->id,
        .day = engine->day,
        .threshold_version = engine->epoch.version,
        .snapshot = engine_snapshot(engine, customer, &clv),
        .tier_points = customer->tier_points,
        .high_spender = (customer->flags & FLAG_HIGH_SPENDER) != 0,
        .at_risk = (customer->flags & FLAG_AT_RISK) != 0,
        .has_last_day = customer->last_day != NO_DAY,
        .has_first_day = customer->first_day != NO_DAY,
        .last_day = customer->last_day,
        .first_day = customer->first_day,
        .change_count = customer->change_count,
        .state = { segment->state.data, (uint32_t)size },
    };
    memcpy(row.clv_thousandths, clv.thousandths, sizeof row.clv_thousandths);
    segment_write_standing(customer->is_known ? &segment->standing : &segment->newcomers,
                           segment->needs.config->program.run, &row);
}

static size_t collect_categories(struct segment *segment)
{
    const struct engine *engine = &segment->engine;
    size_t count = engine->sold_count - engine->sold_saved;
    if (count > segment->category_capacity) {
        segment->category_capacity = count * 2;
        free(segment->categories);
        segment->categories = malloc(segment->category_capacity * sizeof *segment->categories);
        if (segment->categories == NULL)
            abort();
    }
    for (size_t at = 0; at < count; at++)
        segment->categories[at] = engine->categories[engine->sold[engine->sold_saved + at]];
    return count;
}

/* What is read on through: transaction markers, when nothing waits behind them. */
static void pass_markers(struct segment *segment)
{
    for (size_t at = 0; at < segment->needs.partitions; at++) {
        if (segment->queues[at].count > 0 || !segment->is_flowing)
            continue;
        int64_t position = segment->consumer.ops->position(segment->consumer.self, TOPIC_LEDGER, (int32_t)at);
        if (position > segment->parts[at].next_offset)
            segment->parts[at].next_offset = position;
    }
}

static void tell_group(struct segment *segment)
{
    struct bus_position next[SEGMENT_PARTITIONS_MAX];
    for (size_t at = 0; at < segment->needs.partitions; at++)
        next[at] = (struct bus_position){ TOPIC_LEDGER, (int32_t)at, segment->parts[at].next_offset };
    if (segment->is_flowing)
        segment->consumer.ops->commit(segment->consumer.self, next, segment->needs.partitions);
}

/* What a large commit took is given back. */
static void empty(struct row_buffer *buffer)
{
    if (buffer->capacity > BUFFER_SIZE_MAX)
        row_buffer_done(buffer);
    row_buffer_clear(buffer);
}

enum ll_status segment_commit(struct segment *segment, struct ll_err *err)
{
    struct engine *engine = &segment->engine;
    int64_t begin_ms = segment_steady_ms(segment);
    pass_markers(segment);
    row_buffer_clear(&segment->standing);
    row_buffer_clear(&segment->newcomers);
    for (uint32_t at = 0; at < engine->dirty_count; at++)
        collect(segment, &engine->list[engine->dirty[at]]);
    segment->owner.has_day = engine->day != NO_DAY;
    segment->owner.day = engine->day;
    segment->owner.is_closed = engine->is_closed;
    segment->owner.threshold_version = engine->epoch.version;
    segment->owner.next_change = segment->next_change;
    size_t category_count = collect_categories(segment); /* may move segment->categories */
    const struct segment_commit commit = {
        .owner = &segment->owner,
        .parts = segment->parts,
        .part_count = segment->needs.partitions,
        .standing = &segment->standing,
        .newcomers = &segment->newcomers,
        .thresholds = &segment->thresholds,
        .changes = &segment->changes,
        .category_count = category_count,
        .categories = segment->categories,
    };
    enum store_reply reply = segment->needs.store.ops->commit(segment->needs.store.self, &commit, err);
    if (reply != STORE_OK)
        return of_reply(reply);
    int64_t took_ms = segment_steady_ms(segment) - begin_ms;
    /* A commit that takes long is not followed by the next at once: most of the time is the rows'. */
    int64_t gap_ms = 3 * took_ms < GAP_MS_MAX ? 3 * took_ms : GAP_MS_MAX;
    if (gap_ms < segment->needs.config->segment.flush_ms)
        gap_ms = segment->needs.config->segment.flush_ms;
    segment->committed_ms = segment_steady_ms(segment);
    segment->commit_at_ms = segment->committed_ms + gap_ms;
    metric_add(segment->metrics.rows, segment->rows_since);
    metric_add(segment->metrics.changes, segment->change_count);
    metric_set(segment->metrics.customers, engine->count);
    metric_observe(segment->metrics.commit_seconds, (double)took_ms / 1000);
    if (segment->rows_since > 0 || segment->thresholds.rows > 0)
        log_line(LOG_INFO, "commit", "rows=%lld customers=%u changes=%lld epochs=%zu ms=%lld",
                 (long long)segment->rows_since, engine->dirty_count, (long long)segment->change_count,
                 segment->thresholds.rows, (long long)took_ms);
    segment_ranks_follow(segment);
    engine_clean(engine);
    row_buffer_clear(&segment->thresholds);
    empty(&segment->standing);
    empty(&segment->newcomers);
    empty(&segment->changes);
    segment->rows_since = segment->change_count = 0;
    segment->has_moved = false;
    tell_group(segment);
    return LL_OK;
}
