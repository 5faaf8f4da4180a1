#include "consumers/accrue/accrue.h"

#include "runtime/log.h"

#include <malloc.h>

/* Postgres must not wait while a whole flush is gathered: when catching up begins, the first are small, and each is twice as large
 * as the one before. */
enum { FLUSH_PARTS = 8 };

static int64_t steady_ms(const struct accrue *accrue)
{
    return accrue->clock.steady_ms(accrue->clock.self);
}

static bool too_many_accounts(const struct accrue *accrue)
{
    for (size_t i = 0; i < accrue->owned_count; i++)
        if ((int64_t)accrue->owned[i].memory.accounts.count > accrue->config->accrue.customers_max)
            return true;
    return false;
}

static bool is_isolating(const struct accrue *accrue)
{
    return isolate_most(accrue->isolate) != INT64_MAX;
}

static int64_t size_pending(const struct accrue *accrue)
{
    int64_t size = 0;
    for (size_t i = 0; i < accrue->owned_count; i++)
        size += (int64_t)pending_size(accrue->owned[i].memory.filling);
    return size;
}

static bool pending_is_full(const struct accrue *accrue)
{
    int64_t events = 0, size = size_pending(accrue);
    for (size_t i = 0; i < accrue->owned_count; i++)
        events += accrue->owned[i].memory.filling->events;
    return events * FLUSH_PARTS >= accrue->config->accrue.flush_events * accrue->flush_part ||
           size * FLUSH_PARTS >= accrue->config->accrue.flush_size * accrue->flush_part ||
           too_many_accounts(accrue) || (is_isolating(accrue) && events > 0);
}

bool flush_is_full(const struct accrue *accrue)
{
    return accrue->flush_state != FLUSH_NONE && (pending_is_full(accrue) || is_isolating(accrue));
}

/* ---- the end of a flush ---- */

static void landed(struct accrue *accrue, size_t part)
{
    struct owned *owned = &accrue->owned[accrue->part_owned[part]];
    const struct ledger_counts *now = &accrue->parts[part].counts;
    metric_add(accrue->metrics.flush_rows, (int64_t)owned->memory.flying->postings.rows);
    metric_add(accrue->metrics.credited, now->credited - owned->told.credited);
    metric_add(accrue->metrics.duplicate, now->duplicate - owned->told.duplicate);
    metric_add(accrue->metrics.dead, now->dead - owned->told.dead);
    metric_add(accrue->metrics.control, now->control - owned->told.control);
    owned->told = *now;
    partition_landed(&owned->memory);
    if (accrue->flush_part < FLUSH_PARTS / 2)
        partition_rest(
            &owned->memory); /* live, the next flush grows slowly: until then nobody needs the memory */
    isolate_settle(accrue->isolate, TOPIC_TRANSACTIONS_VALID, owned->memory.number,
                   owned->memory.flushed_next);
}

/* Group offsets are advisory: lag tools read them, we never do. */
static void commit_offsets(struct accrue *accrue)
{
    struct bus_position positions[ACCRUE_PARTITIONS_MAX];
    size_t count = 0;
    for (size_t i = 0; i < accrue->owned_count; i++)
        if (accrue->owned[i].state == OWNED_READY)
            positions[count++] =
                (struct bus_position){ TOPIC_TRANSACTIONS_VALID, accrue->owned[i].memory.number,
                                       accrue->owned[i].memory.flushed_next };
    accrue->bus.ops->commit(accrue->bus.self, positions, count);
}

static void flush_committed(struct accrue *accrue)
{
    size_t rows = 0;
    for (size_t i = 0; i < accrue->part_count; i++) {
        rows += accrue->parts[i].postings->rows;
        landed(accrue, i);
    }
    int64_t took_ms = steady_ms(accrue) - accrue->flush_began_ms;
    metric_observe(accrue->metrics.flush_seconds, (double)took_ms / 1000.0);
    log_line(LOG_DEBUG, "flush", "partitions=%zu rows=%zu ms=%lld", accrue->part_count, rows,
             (long long)took_ms);
    accrue->part_count = 0;
    accrue->flush_state = FLUSH_NONE;
    accrue->postgres_down = false;
    commit_offsets(accrue);
    if (accrue->has_caught_up && accrue->flush_part == 1) {
        malloc_trim(0); /* what the client had fetched ahead lies idle in the allocator */
        accrue->has_caught_up = false;
    }
}

/* Takes part i out of the flush under way. */
static void drop_part(struct accrue *accrue, size_t i)
{
    accrue->part_count--;
    accrue->parts[i] = accrue->parts[accrue->part_count];
    accrue->part_owned[i] = accrue->part_owned[accrue->part_count];
}

static enum ll_status begin(struct accrue *accrue, struct ll_err *err);

/* Nothing was done, since some parts are not ours any more: those are claimed again, the others are sent again. */
static enum ll_status flush_refused(struct accrue *accrue, struct ll_err *err)
{
    for (size_t i = accrue->part_count; i-- > 0;) {
        if (accrue->parts[i].reply != STORE_NOT_MINE)
            continue;
        struct owned *owned = &accrue->owned[accrue->part_owned[i]];
        drop_part(accrue, i);
        claim_doubt(accrue, owned, "Postgres holds another epoch or offset");
    }
    return begin(accrue, err);
}

/* A reply was lost, or half of the flush was refused: only what Postgres holds now can tell. A commit that is still on its way meets the guard: it and the
 * flush that is sent again cannot both be taken. */
static enum ll_status flush_resolve(struct accrue *accrue, struct ll_err *err)
{
    if (steady_ms(accrue) < accrue->unknown_at_ms)
        return LL_OK;
    struct ledger_mark marks[ACCRUE_PARTITIONS_MAX];
    for (size_t i = 0; i < accrue->part_count; i++)
        marks[i] = (struct ledger_mark){ .partition = accrue->parts[i].partition };
    enum store_reply reply = accrue->ledger.ops->marks(accrue->ledger.self, marks, accrue->part_count, err);
    if (reply == STORE_BROKEN)
        return LL_FATAL;
    if (reply != STORE_OK) {
        accrue->unknown_at_ms = steady_ms(accrue) + 500;
        claim_waits(accrue, "postgres_down", err);
        return LL_OK;
    }
    for (size_t i = accrue->part_count; i-- > 0;) {
        const struct ledger_part *part = &accrue->parts[i];
        struct owned *owned = &accrue->owned[accrue->part_owned[i]];
        bool mine = marks[i].epoch == part->epoch;
        if (mine && marks[i].next_offset == part->first_offset)
            continue; /* not done: sent again below */
        if (mine && marks[i].next_offset == part->next_offset)
            landed(accrue, i);
        drop_part(accrue, i);
        if (owned->memory.flying != NULL)
            claim_doubt(accrue, owned, "Postgres holds another epoch or offset after a lost reply");
    }
    log_line(LOG_INFO, "flush_resolved", "resend=%zu", accrue->part_count);
    return begin(accrue, err);
}

/* ---- the beginning of a flush ---- */

static enum ll_status begin(struct accrue *accrue, struct ll_err *err)
{
    if (accrue->part_count == 0) {
        accrue->flush_state = FLUSH_NONE;
        commit_offsets(accrue);
        return LL_OK;
    }
    for (size_t i = 0; i < accrue->part_count; i++)
        partition_part(&accrue->owned[accrue->part_owned[i]].memory, &accrue->parts[i]);
    isolate_work(accrue->isolate, true); /* rows that kill are somebody's */
    enum store_reply reply =
        accrue->ledger.ops->flush_begin(accrue->ledger.self, accrue->parts, accrue->part_count, err);
    isolate_work(accrue->isolate, false);
    switch (reply) {
    case STORE_OK:
    case STORE_BUSY:
        accrue->flush_state = FLUSH_FLYING;
        return LL_OK;
    case STORE_DOWN:
    case STORE_NOT_MINE:
    case STORE_GAP:
        accrue->flush_state = FLUSH_UNKNOWN;
        accrue->unknown_at_ms = steady_ms(accrue) + 200;
        claim_waits(accrue, "postgres_down", err);
        return LL_OK;
    case STORE_BROKEN:
        accrue->flush_state = FLUSH_UNKNOWN; /* whoever stops now waits for nothing */
        break;
    }
    return LL_FATAL;
}

static enum ll_status flush_start(struct accrue *accrue, struct ll_err *err)
{
    accrue->flush_part = !accrue->behind                    ? 1
                         : accrue->flush_part < FLUSH_PARTS ? accrue->flush_part * 2
                                                            : FLUSH_PARTS;
    accrue->has_caught_up = accrue->has_caught_up || accrue->flush_part == FLUSH_PARTS;
    hot_tell(accrue); /* Redis behind Postgres would have to be rebuilt after a crash */
    accrue->flush_began_ms = accrue->flushed_at_ms = steady_ms(accrue);
    for (size_t i = 0; i < accrue->owned_count; i++) {
        struct partition *partition = &accrue->owned[i].memory;
        if (accrue->owned[i].state != OWNED_READY || partition->next == partition->filling->first)
            continue;
        partition_fly(partition);
        accrue->part_owned[accrue->part_count++] = (uint32_t)i;
    }
    return accrue->part_count == 0 ? LL_OK : begin(accrue, err);
}

static enum ll_status flush_continue(struct accrue *accrue, int timeout_ms, struct ll_err *err)
{
    switch (accrue->ledger.ops->flush_poll(accrue->ledger.self, timeout_ms, err)) {
    case STORE_BUSY:
        return LL_OK;
    case STORE_OK:
        flush_committed(accrue);
        return LL_OK;
    case STORE_NOT_MINE:
        return flush_refused(accrue, err);
    case STORE_DOWN:
    case STORE_GAP:
        accrue->flush_state = FLUSH_UNKNOWN;
        accrue->unknown_at_ms = steady_ms(accrue) + 200;
        claim_waits(accrue, "postgres_down", err);
        return LL_OK;
    case STORE_BROKEN:
        accrue->flush_state = FLUSH_UNKNOWN; /* whoever stops now waits for nothing */
        break;
    }
    return LL_FATAL;
}

/* Always at a batch boundary: the loop calls it between batches. */
enum ll_status flush_step(struct accrue *accrue, struct ll_err *err)
{
    if (accrue->flush_state == FLUSH_UNKNOWN)
        return flush_resolve(accrue, err);
    if (accrue->flush_state == FLUSH_FLYING) {
        enum ll_status status = flush_continue(accrue, accrue->waits_since_ms != 0 ? 2 : 0, err);
        if (status != LL_OK || accrue->flush_state != FLUSH_NONE)
            return status;
    }
    /* Changing an account costs more than adding a row: while catching up, events are gathered for longer, so that a
     * customer's many events change the account once. */
    enum { CATCH_UP_FACTOR = 5 };
    int64_t interval_ms = accrue->config->accrue.flush_ms * (accrue->behind ? CATCH_UP_FACTOR : 1);
    /* Live there is nothing to gather for, and what waits is memory: up to four times as often. */
    enum { LIVE_FACTOR = 4, LIVE_SIZE_MAX = 3 << 20 };
    int64_t since_ms = steady_ms(accrue) - accrue->flushed_at_ms;
    bool is_live = !accrue->behind && accrue->flush_part == 1 && since_ms * LIVE_FACTOR >= interval_ms;
    if (since_ms < interval_ms && !pending_is_full(accrue) && (!is_live || size_pending(accrue) < LIVE_SIZE_MAX))
        return LL_OK;
    return flush_start(accrue, err);
}

void flush_all(struct accrue *accrue, int timeout_ms)
{
    int64_t until_ms = steady_ms(accrue) + timeout_ms;
    struct ll_err err = { "" };
    /* The flush under way, and one more for what was decided since. */
    for (int round = 0; round < 2 && steady_ms(accrue) < until_ms; round++) {
        if (accrue->flush_state == FLUSH_NONE && flush_start(accrue, &err) != LL_OK)
            break;
        while (accrue->flush_state == FLUSH_FLYING && steady_ms(accrue) < until_ms)
            if (flush_continue(accrue, 10, &err) != LL_OK)
                break;
        if (accrue->flush_state != FLUSH_NONE)
            break; /* unknown: the next owner reads what is there */
    }
    if (err.text[0] != '\0')
        log_line(LOG_WARN, "flush_left", "cause=%s", log_quote_c(err.text));
}
