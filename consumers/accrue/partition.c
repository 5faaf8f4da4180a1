#include "consumers/accrue/partition.h"

#include <assert.h>
#include <stdlib.h>

void partition_init(struct partition *partition, int32_t number, int64_t identities_max)
{
    *partition = (struct partition){ .number = number, .clock_ms = INT64_MIN, .telling = 1 };
    identities_init(&partition->identities, identities_max);
    accounts_init(&partition->accounts);
    held_init(&partition->held);
    sales_init(&partition->sales);
    for (int i = 0; i < 2; i++)
        pending_init(&partition->pendings[i]);
    partition->filling = &partition->pendings[0];
    pending_clear(partition->filling, 0, ++partition->flush_number);
}

void partition_done(struct partition *partition)
{
    identities_done(&partition->identities);
    accounts_done(&partition->accounts);
    held_done(&partition->held);
    sales_done(&partition->sales);
    for (int i = 0; i < 2; i++)
        pending_done(&partition->pendings[i]);
    free(partition->named);
    free(partition->priors);
    arena_done(&partition->prior_texts);
    *partition = (struct partition){ 0 };
}

void partition_claimed(struct partition *partition, const struct ledger_claim *claim)
{
    partition->epoch = claim->epoch;
    partition->next = partition->flushed_next = partition->told_next = claim->next_offset;
    partition->clock_ms = claim->clock_ms;
    partition->rules_version = claim->rules_version;
    partition->counts = claim->counts;
    pending_clear(partition->filling, claim->next_offset, ++partition->flush_number);
}

static void load_identity(void *arg, int64_t identity_hash, int64_t event_offset, int64_t posted_at_ms)
{
    struct partition *partition = arg;
    /* Rows come newest first; what was left out was posted before the oldest of them. */
    if (posted_at_ms < partition->identities.window_ms)
        partition->identities.window_ms = posted_at_ms;
    identities_add(&partition->identities, identity_hash, event_offset, partition->clock_ms);
}

static void load_account(void *arg, struct text customer_id, int64_t points)
{
    struct partition *partition = arg;
    struct account *account = accounts_add(&partition->accounts, customer_id, accounts_hash(customer_id));
    account->points = points;
    account->known = true;
}

static void load_held(void *arg, const struct kept_record *record)
{
    struct partition *partition = arg;
    held_add(&partition->held, record);
}

enum store_reply partition_load(struct partition *partition, struct ledger *ledger, int64_t identities_max,
                                int64_t accounts_max, struct ll_err *err)
{
    const struct ledger_mark mark = { partition->number, partition->epoch, partition->flushed_next };
    const struct ledger_loader loader = { partition, load_identity, load_account, load_held };
    bool identities_complete, accounts_complete;
    partition->identities.window_ms = INT64_MAX;
    enum store_reply reply = ledger->ops->load(ledger->self, &mark, identities_max, accounts_max, &loader,
                                               &identities_complete, &accounts_complete, err);
    if (reply != STORE_OK)
        return reply;
    partition->identities.complete = identities_complete;
    partition->accounts.complete = accounts_complete;
    return STORE_OK;
}

void partition_begin_batch(struct partition *partition)
{
    partition->prior_count = 0;
    arena_done(&partition->prior_texts);
}

void partition_told(struct partition *partition)
{
    partition->told_next = partition->next;
    partition->telling++;
    partition->named_count = 0;
}

struct account *partition_name(struct partition *partition, struct text customer_id, uint64_t hash)
{
    struct accounts *accounts = &partition->accounts;
    struct account *account = accounts_add(accounts, customer_id, hash);
    if (account->telling != partition->telling) {
        account->telling = partition->telling;
        if (partition->named_count == partition->named_capacity) {
            partition->named_capacity = partition->named_capacity == 0 ? 256 : partition->named_capacity * 2;
            partition->named =
                realloc(partition->named, partition->named_capacity * sizeof *partition->named);
            if (partition->named == NULL)
                abort();
        }
        partition->named[partition->named_count++] = (uint32_t)(account - accounts->list);
    }
    return account;
}

static struct text keep(struct arena *arena, struct text text)
{
    return text.data == NULL ? text : (struct text){ arena_copy(arena, text.data, text.size), text.size };
}

void partition_take_prior(struct partition *partition, const struct posting *posting)
{
    if (posting->offset >= partition->flushed_next)
        return;
    if (partition->prior_count == partition->prior_capacity) {
        partition->prior_capacity = partition->prior_capacity == 0 ? 64 : partition->prior_capacity * 2;
        partition->priors = realloc(partition->priors, partition->prior_capacity * sizeof *partition->priors);
        if (partition->priors == NULL)
            abort();
    }
    partition->priors[partition->prior_count++] =
        (struct prior){ posting->identity_hash, posting->content_hash, posting->type,
                        keep(&partition->prior_texts, posting->source),
                        keep(&partition->prior_texts, posting->transaction_id) };
}

void partition_fly(struct partition *partition)
{
    assert(partition->flying == NULL);
    partition->flying = partition->filling;
    partition->flying->next = partition->next;
    partition->flying->clock_ms = partition->clock_ms;
    partition->flying->rules_version = partition->rules_version;
    partition->flying->counts = partition->counts;
    partition->filling = &partition->pendings[partition->filling == &partition->pendings[0]];
    pending_clear(partition->filling, partition->next, ++partition->flush_number);
}

void partition_landed(struct partition *partition)
{
    struct pending *flown = partition->flying;
    for (size_t i = 0; i < flown->account_count; i++)
        partition->accounts.list[flown->account_at[i]].known = true;
    partition->flushed_next = flown->next;
    partition->flying = NULL;
    identities_settle(&partition->identities, partition->flushed_next);
}

void partition_rest(struct partition *partition)
{
    assert(partition->flying == NULL);
    struct pending *filling = partition->filling;
    int64_t first = filling->first;
    uint32_t flush = filling->flush;
    pending_done(filling == &partition->pendings[0] ? &partition->pendings[1] : &partition->pendings[0]);
    if (filling->events > 0)
        return;
    pending_done(filling);
    pending_clear(filling, first, flush);
}

void partition_part(struct partition *partition, struct ledger_part *ret)
{
    struct pending *flying = partition->flying;
    for (size_t i = 0; i < flying->account_count; i++)
        flying->accounts[i].known = partition->accounts.list[flying->account_at[i]].known;
    *ret = (struct ledger_part){
        .partition = partition->number,
        .epoch = partition->epoch,
        .first_offset = flying->first,
        .next_offset = flying->next,
        .clock_ms = flying->clock_ms,
        .rules_version = flying->rules_version,
        .counts = flying->counts,
        .postings = &flying->postings,
        .dead = flying->dead,
        .dead_count = flying->dead_count,
        .held = flying->held,
        .held_count = flying->held_count,
        .released = flying->released,
        .released_count = flying->released_count,
        .accounts = flying->accounts,
        .account_count = flying->account_count,
    };
}

void partition_pending_at(const struct partition *partition, int64_t offset, struct posting_line *lines,
                          struct posting_rule *rules, ledger_posting_fn *each, void *arg)
{
    const struct pending *pendings[] = { partition->flying, partition->filling };
    for (size_t i = 0; i < 2; i++) {
        if (pendings[i] == NULL)
            continue;
        for (size_t at = pending_lower_bound(pendings[i], offset);
             at < pendings[i]->row_count && pendings[i]->rows[at].offset == offset; at++) {
            const struct row_buffer *buffer = &pendings[i]->postings;
            size_t from = pendings[i]->rows[at].at;
            struct posting posting;
            size_t size = posting_read(buffer->data + from, buffer->size - from, lines, rules, &posting);
            assert(size > 0); /* written by posting_write */
            each(arg, &posting);
        }
    }
}
