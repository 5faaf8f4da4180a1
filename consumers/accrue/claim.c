#include "consumers/accrue/accrue.h"

#include "runtime/log.h"

#include <stdlib.h>
#include <string.h>

enum {
    BACKOFF_FIRST_MS = 50,
    BACKOFF_MAX_MS = 2000,
    REBUILD_CHUNK = 2000,
    LOADED_PART = 4, /* of the identities that memory may hold, one in four is loaded at a claim: a restart must be short,
                        and older ones are looked up as they are asked for */
};

static int64_t steady_ms(const struct accrue *accrue) { return accrue->clock.steady_ms(accrue->clock.self); }
static int64_t wall_ms(const struct accrue *accrue) { return accrue->clock.wall_ms(accrue->clock.self); }

void claim_waits(struct accrue *accrue, const char *event, const struct ll_err *err)
{
    if (accrue->process != NULL)
        process_waits_for(accrue->process, err->text);
    int64_t now_ms = steady_ms(accrue);
    if (accrue->waits_said != event || now_ms - accrue->waits_said_ms > 10000) {
        log_line(LOG_WARN, event, "cause=%s", log_quote_c(err->text));
        accrue->waits_said = event;
        accrue->waits_said_ms = now_ms;
    }
}

void claim_doubt(struct accrue *accrue, struct owned *owned, const char *why)
{
    log_line(LOG_WARN, "doubt", "partition=%d cause=%s", owned->memory.number, log_quote_c(why));
    metric_add(accrue->metrics.doubts, 1);
    batch_drop(accrue);
    owned->state = OWNED_UNCLAIMED; /* its memory stays until claim_one: a flush may still be reading it */
    owned->stale = false;
    accrue->restart = true;
    accrue->claim_at_ms = 0;
}

enum store_reply claim_load_rules(struct accrue *accrue, int32_t version, struct ll_err *err)
{
    while (accrue->book.count < version) {
        char *document;
        int64_t effective_from_ms;
        enum store_reply reply = accrue->ledger.ops->rules(accrue->ledger.self, accrue->book.count + 1, &document,
                                                           &effective_from_ms, err);
        if (reply != STORE_OK)
            return reply;
        enum ll_status status = rulebook_add(&accrue->book, document, err);
        free(document);
        if (status != LL_OK)
            return STORE_BROKEN;
        log_line(LOG_INFO, "rules_loaded", "version=%d", accrue->book.count);
    }
    return STORE_OK;
}

/* Postgres's offset must lie in what the broker still has; else data is lost, or this is another cluster. */
static enum ll_status check_watermarks(struct accrue *accrue, const struct partition *partition, struct ll_err *err)
{
    int64_t low, high;
    enum ll_status status = accrue->bus.ops->watermarks(accrue->bus.self, TOPIC_TRANSACTIONS_VALID, partition->number,
                                                        &low, &high, err);
    if (status != LL_OK)
        return status;
    if (partition->next >= low && partition->next <= high)
        return LL_OK;
    return ll_fail(err, LL_FATAL,
                   "%s partition %d: Postgres stands at offset %lld, the broker holds %lld to %lld: records were lost, or "
                   "this is another cluster; check kafka.bootstrap, then lens doctor",
                   topic_name(TOPIC_TRANSACTIONS_VALID), partition->number, (long long)partition->next,
                   (long long)low, (long long)high);
}

static enum ll_status of_reply(enum store_reply reply)
{
    return reply == STORE_OK ? LL_OK : reply == STORE_BROKEN ? LL_FATAL : LL_RETRY;
}

static enum ll_status claim_redis(struct accrue *accrue, struct owned *owned, struct ll_err *err)
{
    const struct partition *partition = &owned->memory;
    int64_t stored_next;
    enum store_reply reply = accrue->hot.ops->claim(accrue->hot.self, partition->number, partition->epoch,
                                                    partition->next, &stored_next, err);
    owned->stale = reply != STORE_OK || stored_next < partition->next;
    if (reply == STORE_DOWN) {
        claim_waits(accrue, "redis_down", err); /* Postgres goes on without it */
        return LL_OK;
    }
    return reply == STORE_GAP ? LL_OK : of_reply(reply);
}

/* DESIGN 5.1, in this order. LL_RETRY: again later. */
static enum ll_status claim_one(struct accrue *accrue, struct owned *owned, struct ll_err *err)
{
    struct partition *partition = &owned->memory;
    int32_t number = partition->number;
    partition_done(partition);
    partition_init(partition, number, accrue->config->accrue.dedupe_events);
    struct ledger_claim claim;
    enum ll_status status =
        of_reply(accrue->ledger.ops->claim(accrue->ledger.self, number, wall_ms(accrue), &claim, err));
    if (status != LL_OK)
        return status;
    partition_claimed(partition, &claim);
    isolate_release_part(accrue->isolate, TOPIC_TRANSACTIONS_VALID, number);
    isolate_settle(accrue->isolate, TOPIC_TRANSACTIONS_VALID, number, partition->next);
    owned->told = claim.counts;
    status = check_watermarks(accrue, partition, err);
    if (status == LL_OK)
        status = of_reply(claim_load_rules(accrue, claim.rules_version, err));
    if (status == LL_OK)
        status = of_reply(partition_load(partition, &accrue->ledger, accrue->config->accrue.dedupe_events / LOADED_PART,
                                         accrue->config->accrue.customers_max, err));
    if (status == LL_OK)
        status = claim_redis(accrue, owned, err);
    if (status != LL_OK)
        return status;
    owned->state = OWNED_READY;
    owned->applied_at_ms = steady_ms(accrue);
    log_line(LOG_INFO, "claimed", "partition=%d epoch=%lld next=%lld rules=%d redis=%s", number,
             (long long)partition->epoch, (long long)partition->next, partition->rules_version,
             owned->stale ? "stale" : "good");
    return LL_OK;
}

static enum ll_status start_bus(struct accrue *accrue, struct ll_err *err)
{
    struct bus_position from[ACCRUE_PARTITIONS_MAX];
    size_t count = 0;
    for (size_t i = 0; i < accrue->owned_count; i++)
        if (accrue->owned[i].state == OWNED_READY)
            from[count++] = (struct bus_position){ TOPIC_TRANSACTIONS_VALID, accrue->owned[i].memory.number,
                                                   accrue->owned[i].memory.next };
    batch_drop(accrue); /* read again from `next` */
    accrue->restart = false;
    accrue->paused = false;
    return accrue->bus.ops->start(accrue->bus.self, from, count, err);
}

/* Postgres may fall back on a stale standby with nobody writing: seen here, at the latest flush_ms later. */
enum ll_status claim_check_marks(struct accrue *accrue, struct ll_err *err)
{
    int64_t now_ms = steady_ms(accrue);
    if (accrue->flush_state != FLUSH_NONE || now_ms - accrue->marks_at_ms < accrue->config->accrue.flush_ms)
        return LL_OK;
    accrue->marks_at_ms = now_ms;
    struct ledger_mark marks[ACCRUE_PARTITIONS_MAX];
    struct owned *owners[ACCRUE_PARTITIONS_MAX];
    size_t count = 0;
    for (size_t i = 0; i < accrue->owned_count; i++)
        if (accrue->owned[i].state == OWNED_READY) {
            owners[count] = &accrue->owned[i];
            marks[count++] = (struct ledger_mark){ .partition = accrue->owned[i].memory.number };
        }
    if (count == 0)
        return LL_OK;
    enum store_reply reply = accrue->ledger.ops->marks(accrue->ledger.self, marks, count, err);
    if (reply == STORE_BROKEN)
        return LL_FATAL;
    accrue->postgres_down = reply != STORE_OK;
    if (reply != STORE_OK) {
        claim_waits(accrue, "postgres_down", err);
        return LL_OK;
    }
    for (size_t i = 0; i < count; i++)
        if (marks[i].epoch != owners[i]->memory.epoch || marks[i].next_offset != owners[i]->memory.flushed_next)
            claim_doubt(accrue, owners[i], "Postgres holds another epoch or offset");
    return LL_OK;
}

enum ll_status claim_some(struct accrue *accrue, struct ll_err *err)
{
    if (!accrue->restart || accrue->flush_state != FLUSH_NONE || steady_ms(accrue) < accrue->claim_at_ms)
        return LL_OK;
    hot_collect(accrue); /* one call to Redis at a time; it may raise doubts of its own */
    bool all = true;
    for (size_t i = 0; i < accrue->owned_count && all; i++) {
        if (accrue->owned[i].state == OWNED_READY)
            continue;
        enum ll_status status = claim_one(accrue, &accrue->owned[i], err);
        if (status == LL_FATAL || status == LL_POISON)
            return LL_FATAL;
        if (status == LL_RETRY) {
            all = false;
            accrue->backoff_ms = accrue->backoff_ms == 0 ? BACKOFF_FIRST_MS : accrue->backoff_ms * 2;
            if (accrue->backoff_ms > BACKOFF_MAX_MS)
                accrue->backoff_ms = BACKOFF_MAX_MS;
            accrue->claim_at_ms = steady_ms(accrue) + accrue->backoff_ms;
            claim_waits(accrue, "claim_waits", err);
        }
    }
    if (!all)
        return LL_OK; /* what is ready waits with the rest: nothing flows until the bus is started */
    accrue->backoff_ms = 0;
    enum ll_status status = start_bus(accrue, err);
    if (status == LL_RETRY) { /* a batch was dropped: nothing may be taken before the start */
        accrue->restart = true;
        accrue->claim_at_ms = steady_ms(accrue) + BACKOFF_FIRST_MS;
        claim_waits(accrue, "start_waits", err);
        return LL_OK;
    }
    if (status == LL_OK && accrue->process != NULL)
        process_ready(accrue->process, true);
    return status;
}

/* ---- Redis rebuilt ---- */

struct rebuild {
    struct accrue *accrue;
    struct owned *owned;
    int64_t token, chunks;
    struct hot_balance balances[REBUILD_CHUNK];
    size_t count;
    struct arena texts;
    enum store_reply reply;
    struct ll_err *err;
};

static void send_chunk(struct rebuild *rebuild)
{
    const struct partition *partition = &rebuild->owned->memory;
    if (rebuild->count > 0 && rebuild->reply == STORE_OK) {
        rebuild->reply = rebuild->accrue->hot.ops->load(rebuild->accrue->hot.self, partition->number, partition->epoch,
                                                        rebuild->token, rebuild->chunks, rebuild->balances,
                                                        rebuild->count, rebuild->err);
        rebuild->chunks++;
    }
    rebuild->count = 0;
    arena_done(&rebuild->texts);
}

static void add_balance(struct rebuild *rebuild, struct text customer_id, int64_t points)
{
    rebuild->balances[rebuild->count++] =
        (struct hot_balance){ { arena_copy(&rebuild->texts, customer_id.data, customer_id.size), customer_id.size },
                              points };
    if (rebuild->count == REBUILD_CHUNK)
        send_chunk(rebuild);
}

/* Postgres's balances, but for customers that memory knows better. */
static void add_committed(void *arg, struct text customer_id, int64_t points)
{
    struct rebuild *rebuild = arg;
    struct accounts *accounts = &rebuild->owned->memory.accounts;
    if (accounts_find(accounts, customer_id, accounts_hash(customer_id)) == NULL)
        add_balance(rebuild, customer_id, points);
}

/* DESIGN 5.6. STORE_NOT_MINE: doubt. Others: later again. */
static enum store_reply rebuild_one(struct rebuild *rebuild)
{
    struct accrue *accrue = rebuild->accrue;
    struct partition *partition = &rebuild->owned->memory;
    int64_t stored_next;
    enum store_reply reply = accrue->hot.ops->claim(accrue->hot.self, partition->number, partition->epoch,
                                                    partition->flushed_next, &stored_next, rebuild->err);
    if (reply == STORE_OK)
        reply = accrue->hot.ops->reset(accrue->hot.self, partition->number, partition->epoch, rebuild->token,
                                       rebuild->err);
    if (reply == STORE_OK && !partition->accounts.complete) {
        const struct ledger_mark mark = { partition->number, partition->epoch, partition->flushed_next };
        reply = accrue->ledger.ops->accounts(accrue->ledger.self, &mark, add_committed, rebuild, rebuild->err);
    }
    for (size_t i = 0; i < partition->accounts.count && reply == STORE_OK && rebuild->reply == STORE_OK; i++)
        add_balance(rebuild, account_customer_id(&partition->accounts.list[i]), partition->accounts.list[i].points);
    send_chunk(rebuild);
    if (reply == STORE_OK)
        reply = rebuild->reply;
    if (reply == STORE_OK)
        reply = accrue->hot.ops->finish(accrue->hot.self, partition->number, partition->epoch, rebuild->token,
                                        rebuild->chunks, partition->next, rebuild->err);
    return reply;
}

/* Between batches, and with no flush under way: only then do memory, its offset and Postgres's mark belong together. */
void claim_rebuild_stale(struct accrue *accrue)
{
    if (accrue->flush_state != FLUSH_NONE || accrue->batch_count > 0 || steady_ms(accrue) < accrue->rebuild_at_ms)
        return;
    for (size_t i = 0; i < accrue->owned_count; i++) {
        struct owned *owned = &accrue->owned[i];
        if (!owned->stale || owned->state != OWNED_READY)
            continue;
        hot_collect(accrue);
        partition_told(&owned->memory); /* all of it, as it stands now */
        struct ll_err err = { "" };
        struct rebuild rebuild = { .accrue = accrue, .owned = owned, .err = &err, .token = wall_ms(accrue) };
        enum store_reply reply = rebuild_one(&rebuild);
        arena_done(&rebuild.texts);
        if (reply == STORE_OK) {
            owned->stale = false;
            owned->applied_at_ms = steady_ms(accrue);
            metric_add(accrue->metrics.rebuilds, 1);
            log_line(LOG_INFO, "redis_rebuilt", "partition=%d next=%lld", owned->memory.number,
                     (long long)owned->memory.next);
            continue;
        }
        if (reply == STORE_NOT_MINE)
            claim_doubt(accrue, owned, "not ours any more while Redis was rebuilt");
        else
            claim_waits(accrue, "rebuild_waits", &err);
        accrue->rebuild_at_ms = steady_ms(accrue) + 200;
        return;
    }
}
