#include "consumers/accrue/accrue.h"

#include "runtime/log.h"

#include <stdlib.h>
#include <string.h>

void accrue_init(struct accrue *accrue, const struct config *config, struct process *process, struct bus_consumer bus,
                 struct ledger ledger, struct hot hot, struct clock_source clock, struct codec *codec,
                 struct calendar *calendar)
{
    memset(accrue, 0, sizeof *accrue);
    accrue->config = config;
    accrue->process = process;
    accrue->bus = bus;
    accrue->ledger = ledger;
    accrue->hot = hot;
    accrue->clock = clock;
    accrue->codec = codec;
    accrue->scratch = codec_scratch_new();
    accrue->calendar = calendar;
    const struct decide_settings settings = {
        .run = config->program.run,
        .hold_ms = config->accrue.hold_ms,
        .skew_ms = config->accrue.skew_ms,
        .reverse_unreferenced = strcmp(config->accrue.unreferenced_return, "reverse") == 0,
    };
    accrue->decider = decider_new(codec, &accrue->book, calendar, &settings);
    size_t batch_max = (size_t)config->accrue.batch_events;
    accrue->flush_part = 1;
    accrue->batch = calloc(batch_max, sizeof *accrue->batch);
    accrue->identity_asks = calloc(batch_max, sizeof *accrue->identity_asks);
    accrue->sale_asks = calloc(batch_max, sizeof *accrue->sale_asks);
    accrue->balance_asks = calloc(batch_max, sizeof *accrue->balance_asks);
    if (accrue->batch == NULL || accrue->identity_asks == NULL || accrue->sale_asks == NULL ||
        accrue->balance_asks == NULL)
        abort();
}

void accrue_done(struct accrue *accrue)
{
    batch_drop(accrue);
    for (size_t i = 0; i < accrue->owned_count; i++) {
        partition_done(&accrue->owned[i].memory);
        free(accrue->owned[i].balances);
    }
    decider_free(accrue->decider);
    rulebook_done(&accrue->book);
    codec_scratch_free(accrue->scratch);
    free(accrue->batch);
    free(accrue->lines);
    free(accrue->identity_asks);
    free(accrue->sale_asks);
    free(accrue->balance_asks);
    memset(accrue, 0, sizeof *accrue);
}

static int64_t steady_ms(const struct accrue *accrue) { return accrue->clock.steady_ms(accrue->clock.self); }

static struct owned *owned_of(struct accrue *accrue, int32_t partition)
{
    if (accrue->last_owned < accrue->owned_count &&
        accrue->owned[accrue->last_owned].memory.number == partition)
        return &accrue->owned[accrue->last_owned];
    for (size_t i = 0; i < accrue->owned_count; i++)
        if (accrue->owned[i].memory.number == partition)
            return &accrue->owned[accrue->last_owned = i];
    return NULL;
}

/* ---- partitions come and go ---- */

static enum ll_status assigned(struct accrue *accrue, struct ll_err *err)
{
    size_t count;
    bool lost;
    const struct bus_position *positions = accrue->bus.ops->changed(accrue->bus.self, &count, &lost);
    if (count > ACCRUE_PARTITIONS_MAX)
        return ll_fail(err, LL_FATAL, "accrue: %zu partitions assigned, at most %d fit: start more processes", count,
                       ACCRUE_PARTITIONS_MAX);
    for (size_t i = 0; i < count; i++) {
        struct owned *owned = &accrue->owned[i];
        *owned = (struct owned){ .state = OWNED_UNCLAIMED };
        partition_init(&owned->memory, positions[i].partition, accrue->config->accrue.dedupe_events);
    }
    isolate_keep(accrue->isolate, positions, count);
    accrue->owned_count = count;
    accrue->restart = true;
    accrue->claim_at_ms = accrue->backoff_ms = 0;
    log_line(LOG_INFO, "assigned", "partitions=%zu", count);
    return LL_OK;
}

static enum ll_status revoked(struct accrue *accrue, struct ll_err *err)
{
    size_t count;
    bool lost;
    accrue->bus.ops->changed(accrue->bus.self, &count, &lost);
    log_line(LOG_INFO, "revoked", "partitions=%zu lost=%d", accrue->owned_count, lost);
    accrue_finish(accrue, lost ? 0 : 3000);
    return accrue->bus.ops->stop(accrue->bus.self, err);
}

void accrue_finish(struct accrue *accrue, int timeout_ms)
{
    batch_drop(accrue);
    hot_tell(accrue);
    hot_collect(accrue);
    flush_all(accrue, timeout_ms);
    accrue->ledger.ops->flush_abandon(accrue->ledger.self); /* its memory goes now */
    for (size_t i = 0; i < accrue->owned_count; i++) {
        isolate_drop(accrue->isolate, TOPIC_TRANSACTIONS_VALID, accrue->owned[i].memory.number);
        partition_done(&accrue->owned[i].memory);
        free(accrue->owned[i].balances);
    }
    accrue->owned_count = 0;
    accrue->part_count = 0;
    accrue->flush_state = FLUSH_NONE;
}

/* ---- a batch: poll and decode ---- */

void batch_drop(struct accrue *accrue)
{
    for (size_t i = 0; i < accrue->batch_count; i++)
        accrue->bus.ops->release(accrue->bus.self, &accrue->batch[i].record);
    for (size_t i = 0; i < accrue->owned_count; i++)
        accrue->owned[i].in_batch = false;
    accrue->batch_count = 0;
    accrue->batch_decoded = false;
    accrue->line_count = 0;
}

static void batch_take(struct accrue *accrue, const struct bus_record *record)
{
    struct owned *owned = owned_of(accrue, record->partition);
    /* Before a restart of the bus nothing is taken: a batch may have been dropped, and this one would leave a gap. */
    if (owned == NULL || owned->state != OWNED_READY || accrue->restart || record->offset < owned->memory.next) {
        struct bus_record gone = *record;
        accrue->bus.ops->release(accrue->bus.self, &gone);
        return;
    }
    if (!owned->in_batch) {
        owned->in_batch = true;
        partition_begin_batch(&owned->memory);
    }
    struct batch_record *taken = &accrue->batch[accrue->batch_count++];
    accrue->batch_decoded = false;
    taken->record = *record;
    taken->owned = (uint32_t)(owned - accrue->owned);
}

/* How long the next poll may wait: nothing else must be done before. */
static int poll_wait_ms(const struct accrue *accrue)
{
    if (accrue->flush_state == FLUSH_FLYING)
        return 1;
    if (accrue->hot_count > 0)
        return 0;
    bool claims_now = accrue->restart && accrue->flush_state == FLUSH_NONE && steady_ms(accrue) >= accrue->claim_at_ms;
    return claims_now ? 0 : 10;
}

static enum ll_status on_event(struct accrue *accrue, enum bus_event event, struct ll_err *err)
{
    switch (event) {
    case BUS_ASSIGNED:
        return assigned(accrue, err);
    case BUS_REVOKED:
        return revoked(accrue, err);
    case BUS_DOWN:
        claim_waits(accrue, "kafka_down", err);
        return LL_OK;
    case BUS_BROKEN:
        return LL_FATAL;
    case BUS_NONE:
    case BUS_RECORD:
        break;
    }
    return LL_OK;
}

/* The group must hear of us though the batch is full. */
static enum ll_status poll_paused(struct accrue *accrue, struct ll_err *err)
{
    struct bus_record record;
    enum bus_event event = accrue->bus.ops->poll(accrue->bus.self, 10, &record, err);
    accrue->kafka_down = event == BUS_DOWN;
    if (event != BUS_RECORD)
        return on_event(accrue, event, err);
    struct owned *owned = owned_of(accrue, record.partition);
    accrue->bus.ops->release(accrue->bus.self, &record);
    if (owned != NULL)
        claim_doubt(accrue, owned, "a record came though its partition is paused");
    return LL_OK;
}

static size_t batch_most(const struct accrue *accrue)
{
    int64_t all = accrue->config->accrue.batch_events, most = isolate_most(accrue->isolate);
    return (size_t)(most < all ? most : all);
}

static enum ll_status batch_poll(struct accrue *accrue, struct ll_err *err)
{
    int64_t until_ms = steady_ms(accrue) + accrue->config->accrue.batch_ms;
    size_t most = batch_most(accrue);
    accrue->behind = false;
    int wait_ms = poll_wait_ms(accrue);
    while (accrue->batch_count < most) {
        struct bus_record record;
        enum bus_event event = accrue->bus.ops->poll(accrue->bus.self, wait_ms, &record, err);
        accrue->kafka_down = event == BUS_DOWN;
        if (event != BUS_RECORD)
            return on_event(accrue, event, err);
        batch_take(accrue, &record);
        wait_ms = 0;
        if ((accrue->batch_count & 255) == 0 && steady_ms(accrue) >= until_ms)
            break;
    }
    accrue->behind = true;
    return LL_OK;
}

/* Scratch is used again for the next record, so the lines move into the batch's own array. */
static void batch_keep_lines(struct accrue *accrue, struct batch_record *taken)
{
    struct transaction *tx = &taken->input.transaction;
    size_t needed = accrue->line_count + tx->line_count;
    if (needed > accrue->line_capacity) {
        accrue->line_capacity = needed * 2;
        accrue->lines = realloc(accrue->lines, accrue->line_capacity * sizeof *accrue->lines);
        if (accrue->lines == NULL)
            abort();
    }
    taken->line_at = accrue->line_count;
    if (tx->line_count > 0)
        memcpy(accrue->lines + accrue->line_count, tx->lines, tx->line_count * sizeof *tx->lines);
    accrue->line_count = needed;
}

/* A record that has killed the process again and again is refused unread. */
static enum ll_status record_decode(struct accrue *accrue, struct batch_record *taken, struct ll_err *err)
{
    int32_t partition = accrue->owned[taken->owned].memory.number;
    isolate_take(accrue->isolate, TOPIC_TRANSACTIONS_VALID, partition, taken->record.offset);
    if (isolate_is_condemned(accrue->isolate, TOPIC_TRANSACTIONS_VALID, partition, taken->record.offset)) {
        taken->input.code = CODE_RECORD_CRASHED;
        return LL_OK;
    }
    return decide_decode(accrue->codec, accrue->scratch, &taken->input, err);
}

static enum ll_status batch_decode(struct accrue *accrue, struct ll_err *err)
{
    accrue->line_count = 0;
    for (size_t i = 0; i < accrue->batch_count; i++) {
        struct batch_record *taken = &accrue->batch[i];
        taken->input = (struct decide_input){ .offset = taken->record.offset,
                                              .timestamp_ms = taken->record.timestamp_ms,
                                              .key = taken->record.key,
                                              .value = taken->record.value };
        enum ll_status status = record_decode(accrue, taken, err);
        if (status != LL_OK)
            return status;
        if (taken->input.is_control || taken->input.code != CODE_NONE)
            continue;
        batch_keep_lines(accrue, taken);
        const struct partition *partition = &accrue->owned[taken->owned].memory;
        identities_prefetch(&partition->identities, taken->input.identity_hash);
        accounts_prefetch_slot(&partition->accounts, taken->input.customer_hash);
    }
    for (size_t i = 0; i < accrue->batch_count; i++)
        accrue->batch[i].input.transaction.lines = accrue->lines + accrue->batch[i].line_at;
    accrue->batch_decoded = true;
    return LL_OK;
}

/* ---- a batch: look up what memory lacks ---- */

static void take_found(void *arg, const struct posting *posting)
{
    struct partition *partition = arg;
    decide_found(partition, posting);
}

static void take_balance(void *arg, struct text customer_id, int64_t points)
{
    struct partition *partition = arg;
    struct account *account = accounts_add(&partition->accounts, customer_id, accounts_hash(customer_id));
    account->points = points;
    account->known = true;
}

static enum store_reply look_up_partition(struct accrue *accrue, uint32_t owned_at, struct ll_err *err)
{
    struct partition *partition = &accrue->owned[owned_at].memory;
    size_t identity_count = 0, sale_count = 0, balance_count = 0;
    for (size_t i = 0; i < accrue->batch_count; i++) {
        struct decide_input *input = &accrue->batch[i].input;
        if (accrue->batch[i].owned != owned_at)
            continue;
        struct text customer_id = decide_needs(accrue->decider, partition, input);
        if (input->needs_identity)
            accrue->identity_asks[identity_count++] = input->identity_hash;
        if (input->needs_sale)
            accrue->sale_asks[sale_count++] = input->sale_hash;
        if (customer_id.data != NULL)
            accrue->balance_asks[balance_count++] = customer_id;
    }
    const struct ledger_view view = { partition->number, partition->epoch, partition->flushed_next,
                                      partition->flying != NULL ? partition->flying->next : partition->flushed_next };
    enum store_reply reply = STORE_OK;
    if (identity_count + sale_count > 0)
        reply = accrue->ledger.ops->find(accrue->ledger.self, &view, accrue->identity_asks, identity_count,
                                         accrue->sale_asks, sale_count, take_found, partition, err);
    if (reply == STORE_OK && balance_count > 0)
        reply = accrue->ledger.ops->balances(accrue->ledger.self, &view, accrue->balance_asks, balance_count,
                                             take_balance, partition, err);
    if (reply == STORE_NOT_MINE)
        claim_doubt(accrue, &accrue->owned[owned_at], "Postgres holds another epoch or offset than it was asked for");
    return reply;
}

static enum store_reply look_up_rules(struct accrue *accrue, struct ll_err *err)
{
    for (size_t i = 0; i < accrue->batch_count; i++) {
        const struct decide_input *input = &accrue->batch[i].input;
        if (!input->is_control || input->control.kind != CONTROL_RULES)
            continue;
        enum store_reply reply = claim_load_rules(accrue, input->control.rules_version, err);
        if (reply != STORE_OK)
            return reply;
    }
    return STORE_OK;
}

/* LL_RETRY: Postgres does not answer; the batch waits. A doubt drops the batch. */
static enum ll_status batch_look_up(struct accrue *accrue, struct ll_err *err)
{
    enum store_reply reply = look_up_rules(accrue, err);
    for (uint32_t i = 0; i < accrue->owned_count && reply == STORE_OK; i++)
        if (accrue->owned[i].in_batch)
            reply = look_up_partition(accrue, i, err);
    if (reply == STORE_OK || reply == STORE_NOT_MINE)
        return LL_OK;
    return reply == STORE_BROKEN ? LL_FATAL : LL_RETRY;
}

/* ---- a batch: Redis ---- */

/* What Redis has not been told of one partition: every customer that was named since, with the balance of now. */
static struct hot_batch hot_batch_of(struct owned *owned)
{
    const struct partition *partition = &owned->memory;
    if (partition->named_count > owned->balance_capacity) {
        owned->balance_capacity = partition->named_count * 2;
        owned->balances = realloc(owned->balances, owned->balance_capacity * sizeof *owned->balances);
        if (owned->balances == NULL)
            abort();
    }
    for (size_t i = 0; i < partition->named_count; i++) {
        const struct account *account = &partition->accounts.list[partition->named[i]];
        owned->balances[i] = (struct hot_balance){ account_customer_id(account), account->points };
    }
    return (struct hot_batch){ .partition = partition->number,
                               .epoch = partition->epoch,
                               .first = partition->told_next,
                               .next = partition->next,
                               .balances = owned->balances,
                               .count = partition->named_count };
}

static void hot_add(struct accrue *accrue, struct owned *owned)
{
    accrue->hot_owned[accrue->hot_count] = (uint32_t)(owned - accrue->owned);
    accrue->hot_batches[accrue->hot_count++] = hot_batch_of(owned);
    partition_told(&owned->memory);
    owned->applied_at_ms = steady_ms(accrue);
}

static void mark_stale(struct accrue *accrue, struct owned *owned, const char *why)
{
    if (!owned->stale)
        log_line(LOG_WARN, "redis_stale", "partition=%d cause=%s", owned->memory.number, log_quote_c(why));
    owned->stale = true;
    metric_set(accrue->metrics.stale, 1);
}

static void hot_send(struct accrue *accrue)
{
    if (accrue->hot_count == 0)
        return;
    struct ll_err err = { "" };
    isolate_work(accrue->isolate, true);
    enum store_reply reply = accrue->hot.ops->apply(accrue->hot.self, accrue->hot_batches, accrue->hot_count, &err);
    isolate_work(accrue->isolate, false);
    if (reply == STORE_OK)
        return;
    for (size_t i = 0; i < accrue->hot_count; i++)
        mark_stale(accrue, &accrue->owned[accrue->hot_owned[i]], err.text);
    accrue->hot_count = 0;
    claim_waits(accrue, "redis_down", &err);
}

void hot_collect(struct accrue *accrue)
{
    if (accrue->hot_count == 0)
        return;
    struct ll_err err = { "" };
    enum store_reply all = accrue->hot.ops->collect(accrue->hot.self, &err);
    size_t count = accrue->hot_count;
    accrue->hot_count = 0;
    for (size_t i = 0; i < count; i++) {
        struct owned *owned = &accrue->owned[accrue->hot_owned[i]];
        enum store_reply reply = accrue->hot_batches[i].reply;
        if (reply == STORE_NOT_MINE)
            claim_doubt(accrue, owned, "Redis holds a higher epoch");
        else if (reply != STORE_OK)
            mark_stale(accrue, owned, reply == STORE_GAP ? "Redis stands at another epoch or offset" : err.text);
    }
    if (all == STORE_DOWN)
        claim_waits(accrue, "redis_down", &err);
}

void hot_tell(struct accrue *accrue)
{
    hot_collect(accrue);
    for (size_t i = 0; i < accrue->owned_count; i++) {
        struct owned *owned = &accrue->owned[i];
        if (owned->state == OWNED_READY && !owned->stale && owned->memory.next > owned->memory.told_next)
            hot_add(accrue, owned);
    }
    hot_send(accrue);
}

/* While catching up, customers are gathered over several batches: one that comes again is sent once. What waits is bounded, since
 * one call must not hold Redis for long. */
static bool hot_can_wait(const struct accrue *accrue)
{
    enum { NAMED_MAX = 16384 };
    for (size_t i = 0; i < accrue->owned_count; i++)
        if (accrue->owned[i].memory.named_count >= NAMED_MAX)
            return false;
    return accrue->behind;
}

/* ---- the loop ---- */

static void batch_decide(struct accrue *accrue)
{
    for (size_t i = 0; i < accrue->batch_count; i++) {
        struct batch_record *taken = &accrue->batch[i];
        decide_record(accrue->decider, &accrue->owned[taken->owned].memory, &taken->input);
    }
}

static enum ll_status batch_step(struct accrue *accrue, struct ll_err *err)
{
    enum ll_status status = LL_OK;
    if (!accrue->batch_decoded)
        status = batch_decode(accrue, err);
    isolate_work(accrue->isolate, false);
    if (status == LL_OK)
        status = batch_look_up(accrue, err);
    if (status == LL_RETRY) {
        claim_waits(accrue, "lookup_waits", err);
        accrue->lookup_at_ms = steady_ms(accrue) + 200;
        return LL_OK;
    }
    if (status != LL_OK)
        return status;
    if (accrue->batch_count == 0)
        return LL_OK; /* dropped by a doubt */
    isolate_work(accrue->isolate, true);
    batch_decide(accrue);
    isolate_work(accrue->isolate, false);
    batch_drop(accrue);
    if (!hot_can_wait(accrue))
        hot_tell(accrue); /* its answer is taken after the next batch: Redis works while that is decoded */
    return LL_OK;
}

/* Keeps the group membership alive while nothing may be taken. */
static enum ll_status set_paused(struct accrue *accrue, bool paused, struct ll_err *err)
{
    if (accrue->paused == paused)
        return LL_OK;
    accrue->paused = paused;
    log_line(LOG_INFO, paused ? "paused" : "resumed", "partitions=%zu", accrue->owned_count);
    for (size_t i = 0; i < accrue->owned_count; i++) {
        if (accrue->owned[i].state != OWNED_READY)
            continue;
        enum ll_status status = accrue->bus.ops->pause(accrue->bus.self, TOPIC_TRANSACTIONS_VALID,
                                                       accrue->owned[i].memory.number, paused, err);
        if (status == LL_FATAL)
            return status;
    }
    return LL_OK;
}

/* Nothing came: let positions move past transaction markers, and see that both stores still hold what was put there. */
static void beat(struct accrue *accrue)
{
    int64_t now_ms = steady_ms(accrue);
    if (now_ms - accrue->beat_at_ms < accrue->config->accrue.flush_ms)
        return;
    accrue->beat_at_ms = now_ms;
    hot_collect(accrue);
    int64_t stale = 0, unclaimed = 0, held = 0, unflushed = 0;
    for (size_t i = 0; i < accrue->owned_count; i++) {
        struct owned *owned = &accrue->owned[i];
        stale += owned->stale;
        unclaimed += owned->state == OWNED_UNCLAIMED;
        held += owned->memory.counts.held;
        unflushed += owned->memory.filling->events;
        if (owned->state != OWNED_READY || owned->in_batch || accrue->restart)
            continue;
        int64_t position = accrue->bus.ops->position(accrue->bus.self, TOPIC_TRANSACTIONS_VALID, owned->memory.number);
        if (position > owned->memory.next)
            owned->memory.next = position; /* all that was polled is decided: what lies between are markers */
        if (!owned->stale && (owned->memory.next > owned->memory.told_next ||
                              now_ms - owned->applied_at_ms >= accrue->config->accrue.flush_ms))
            hot_add(accrue, owned);
    }
    hot_send(accrue);
    metric_set(accrue->metrics.stale, stale);
    metric_set(accrue->metrics.unclaimed, unclaimed);
    metric_set(accrue->metrics.held, held);
    metric_set(accrue->metrics.unflushed, unflushed);
    if (accrue->process != NULL && accrue->owned_count > 0 && stale + unclaimed == 0 && !accrue->kafka_down &&
        !accrue->postgres_down && accrue->flush_state != FLUSH_UNKNOWN && accrue->batch_count == 0)
        process_waits_for(accrue->process, NULL);
}

/* Memory bounds: what is committed and not needed is forgotten. */
static void trim(struct accrue *accrue)
{
    for (size_t i = 0; i < accrue->owned_count; i++) {
        struct partition *partition = &accrue->owned[i].memory;
        sales_trim(&partition->sales, partition->flushed_next, 50000);
        bool is_named = partition->named_count > 0 && !accrue->owned[i].stale; /* a rebuild asks Postgres instead */
        if (!is_named && partition->flying == NULL && partition->filling->account_count == 0 &&
            (int64_t)partition->accounts.count > accrue->config->accrue.customers_max) {
            partition->named_count = 0;
            accounts_done(&partition->accounts);
            accounts_init(&partition->accounts);
            partition->accounts.complete = false;
        }
    }
}

/* A batch that waits for Postgres, or a full pending: nothing more may be taken. For a moment the records wait in the
 * client's queue; after PAUSE_AFTER_MS the partitions are paused and polled, so that the group keeps us. */
static enum ll_status take(struct accrue *accrue, struct ll_err *err)
{
    enum { PAUSE_AFTER_MS = 5000 };
    int64_t now_ms = steady_ms(accrue);
    bool waits = accrue->batch_count > 0 || flush_is_full(accrue);
    if (!waits)
        accrue->waits_since_ms = 0;
    else if (accrue->waits_since_ms == 0)
        accrue->waits_since_ms = now_ms;
    bool pause = waits && now_ms - accrue->waits_since_ms > PAUSE_AFTER_MS;
    enum ll_status status = set_paused(accrue, pause, err);
    if (status != LL_OK)
        return status;
    if (waits && !pause)
        return LL_OK;
    return accrue->batch_count < batch_most(accrue) ? batch_poll(accrue, err) : poll_paused(accrue, err);
}

enum ll_status accrue_step(struct accrue *accrue, struct ll_err *err)
{
    enum ll_status status = take(accrue, err);
    if (status == LL_OK && accrue->batch_count > 0 && steady_ms(accrue) >= accrue->lookup_at_ms)
        status = batch_step(accrue, err);
    else
        hot_tell(accrue);
    if (status == LL_OK)
        status = flush_step(accrue, err);
    if (status == LL_OK && accrue->batch_count == 0)
        beat(accrue);
    if (status == LL_OK)
        status = claim_check_marks(accrue, err);
    if (status == LL_OK)
        status = claim_some(accrue, err);
    if (status == LL_OK) {
        claim_rebuild_stale(accrue);
        trim(accrue);
    }
    return status;
}
