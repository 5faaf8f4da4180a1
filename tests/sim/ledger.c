/* The simulated Postgres: tables that change in one step, a flush that may be carried out long after it was sent. */
#include "tests/sim/world.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct sim_table *table_of(struct sim_client *client, int32_t partition)
{
    return &client->world->postgres.tables[partition];
}

static enum sim_fault call(struct sim_client *client, const char *what, bool writes)
{
    struct sim_world *world = client->world;
    if (world->seed.step < world->postgres_down_until)
        return FAULT_DROP;
    enum sim_fault fault = sim_call(client, what, writes);
    sim_crash_if(client, fault, FAULT_CRASH_BEFORE);
    return fault;
}

static enum store_reply down(struct ll_err *err)
{
    ll_fail(err, LL_RETRY, "postgres is down");
    return STORE_DOWN;
}

static enum store_reply ledger_claim_partition(void *self, int32_t partition, int64_t wall_ms, struct ledger_claim *ret,
                                               struct ll_err *err)
{
    struct sim_client *client = self;
    enum sim_fault fault = call(client, "postgres claim", true);
    if (fault == FAULT_DROP)
        return down(err);
    struct sim_table *table = table_of(client, partition);
    if (!table->exists)
        *table = (struct sim_table){ .exists = true, .clock_ms = INT64_MIN };
    table->epoch = table->epoch + 1 > wall_ms ? table->epoch + 1 : wall_ms;
    sim_postgres_remember(client->world);
    seed_say(&client->world->seed, "%d claims p%d e%lld at %lld", client->number, partition, (long long)table->epoch,
            (long long)table->next);
    sim_crash_if(client, fault, FAULT_CRASH_AFTER);
    if (fault == FAULT_LOST || fault == FAULT_LATE)
        return down(err);
    *ret = (struct ledger_claim){ table->epoch, table->next, table->clock_ms, table->rules_version, table->counts };
    return STORE_OK;
}

static bool mark_holds(const struct sim_table *table, const struct ledger_mark *mark)
{
    return table->exists && table->epoch == mark->epoch && table->next == mark->next_offset;
}

static bool view_holds(const struct sim_table *table, const struct ledger_view *view)
{
    return table->exists && table->epoch == view->epoch &&
           (table->next == view->next_offset || table->next == view->next_offset_too);
}

static enum store_reply ledger_load(void *self, const struct ledger_mark *mark, int64_t identities_max,
                                    int64_t accounts_max, const struct ledger_loader *to,
                                    bool *ret_identities_complete, bool *ret_accounts_complete, struct ll_err *err)
{
    struct sim_client *client = self;
    if (call(client, "postgres load", false) != FAULT_NONE)
        return down(err);
    const struct sim_table *table = table_of(client, mark->partition);
    if (!mark_holds(table, mark))
        return STORE_NOT_MINE;
    for (size_t i = 0; i < table->held_count; i++)
        to->held(to->arg, &table->held[i]->record);
    int64_t loaded = 0;
    for (size_t i = table->row_count; i-- > 0 && loaded < identities_max; loaded++)
        to->identity(to->arg, table->rows[i]->identity_hash, table->rows[i]->event_offset,
                     table->rows[i]->posted_at_ms);
    *ret_identities_complete = client->world->bug == BUG_MISS_FINAL || loaded == (int64_t)table->row_count;
    *ret_accounts_complete = (int64_t)table->account_count <= accounts_max;
    for (size_t i = 0; i < table->account_count && *ret_accounts_complete; i++)
        to->account(to->arg, text_of(table->accounts[i].customer), table->accounts[i].points);
    return STORE_OK;
}

static enum store_reply ledger_accounts(void *self, const struct ledger_mark *mark, ledger_balance_fn *each, void *arg,
                                        struct ll_err *err)
{
    struct sim_client *client = self;
    if (call(client, "postgres accounts", false) != FAULT_NONE)
        return down(err);
    const struct sim_table *table = table_of(client, mark->partition);
    if (!mark_holds(table, mark))
        return STORE_NOT_MINE;
    for (size_t i = 0; i < table->account_count; i++)
        each(arg, text_of(table->accounts[i].customer), table->accounts[i].points);
    return STORE_OK;
}

static bool among(const int64_t *list, size_t count, int64_t hash)
{
    for (size_t i = 0; i < count; i++)
        if (list[i] == hash)
            return true;
    return false;
}

static enum store_reply ledger_find(void *self, const struct ledger_view *view, const int64_t *identities, size_t identity_count,
                                    const int64_t *sales, size_t sale_count, ledger_posting_fn *each, void *arg,
                                    struct ll_err *err)
{
    static struct posting_line lines[POSTING_LINES_MAX];
    static struct posting_rule rules[POSTING_RULES_MAX];
    struct sim_client *client = self;
    bool is_cut = call(client, "postgres find", false) != FAULT_NONE;
    if (is_cut && client->world->bug != BUG_FIND_CUT)
        return down(err);
    const struct sim_table *table = table_of(client, view->partition);
    if (!view_holds(table, view))
        return STORE_NOT_MINE;
    for (size_t i = 0; i < table->row_count; i++) {
        const struct sim_row *row = table->rows[i];
        if (!among(identities, identity_count, row->identity_hash) && !among(sales, sale_count, row->identity_hash) &&
            !among(sales, sale_count, row->sale_hash))
            continue;
        struct posting posting;
        size_t size = posting_read(row->bytes, row->size, lines, rules, &posting);
        assert(size == row->size);
        each(arg, &posting);
        if (is_cut)
            break;
    }
    return is_cut ? down(err) : STORE_OK;
}

static enum store_reply ledger_balances(void *self, const struct ledger_view *view, const struct text *customers, size_t count,
                                        ledger_balance_fn *each, void *arg, struct ll_err *err)
{
    struct sim_client *client = self;
    if (call(client, "postgres balances", false) != FAULT_NONE)
        return down(err);
    const struct sim_table *table = table_of(client, view->partition);
    if (!view_holds(table, view))
        return STORE_NOT_MINE;
    for (size_t i = 0; i < table->account_count; i++)
        for (size_t j = 0; j < count; j++)
            if (text_equal(text_of(table->accounts[i].customer), customers[j])) {
                each(arg, customers[j], table->accounts[i].points);
                break;
            }
    return STORE_OK;
}

static enum store_reply ledger_rules(void *self, int32_t version, char **ret_document, int64_t *ret_effective_from_ms,
                                     struct ll_err *err)
{
    struct sim_client *client = self;
    if (call(client, "postgres rules", false) != FAULT_NONE)
        return down(err);
    const char *document = sim_rules_document(version);
    if (document == NULL)
        return STORE_BROKEN;
    *ret_document = strdup(document);
    *ret_effective_from_ms = INT64_MIN;
    return STORE_OK;
}

/* ---- the flush ---- */

static char *keep_bytes(struct sim_world *world, const char *data, size_t size)
{
    char *copy = arena_take(&world->memory, size + 1);
    if (size > 0)
        memcpy(copy, data, size);
    return copy;
}

static struct text keep_text(struct sim_world *world, struct text text)
{
    return text.data == NULL ? text : (struct text){ keep_bytes(world, text.data, text.size), text.size };
}

static void name(char to[SIM_NAME_SIZE], struct text text) { snprintf(to, SIM_NAME_SIZE, "%.*s", TEXT_ARG(text)); }

static size_t keep_rows(struct sim_world *world, const struct row_buffer *buffer, struct sim_row **to)
{
    static struct posting_line lines[POSTING_LINES_MAX];
    static struct posting_rule rules[POSTING_RULES_MAX];
    size_t count = 0;
    for (size_t at = 0; at < buffer->size;) {
        struct posting posting;
        size_t size = posting_read(buffer->data + at, buffer->size - at, lines, rules, &posting);
        assert(size > 0 && count < SIM_ROWS_MAX);
        struct sim_row *row = arena_take(&world->memory, sizeof *row);
        *row = (struct sim_row){ .offset = posting.offset,
                                 .event_offset = posting.event_offset,
                                 .identity_hash = posting.identity_hash,
                                 .content_hash = posting.content_hash,
                                 .sale_hash = posting.sale_hash,
                                 .posted_at_ms = posting.posted_at_ms,
                                 .points = posting.points,
                                 .seq = posting.seq,
                                 .rules_version = posting.rules_version,
                                 .type = posting.type,
                                 .bytes = keep_bytes(world, buffer->data + at, size),
                                 .size = size };
        name(row->id, posting.transaction_id);
        name(row->sale, posting.sale_id);
        name(row->customer, posting.customer_id);
        if (world->bug != BUG_ZERO_ROWS || posting.points != 0)
            to[count++] = row;
        at += size;
    }
    return count;
}

static struct sim_kept *keep_record(struct sim_world *world, const struct kept_record *record)
{
    struct sim_kept *kept = arena_take(&world->memory, sizeof *kept);
    kept->record = *record;
    kept->record.source = keep_text(world, record->source);
    kept->record.transaction_id = keep_text(world, record->transaction_id);
    kept->record.message = keep_text(world, record->message);
    kept->record.key = keep_text(world, record->key);
    kept->record.value = keep_text(world, record->value);
    kept->record.headers = keep_text(world, record->headers);
    kept->record.raw_topic = keep_text(world, record->raw_topic);
    return kept;
}

static enum store_reply ledger_flush_begin(void *self, struct ledger_part *parts, size_t count, struct ll_err *err)
{
    struct sim_client *client = self;
    struct sim_world *world = client->world;
    if (world->seed.step < world->postgres_down_until)
        return down(err);
    struct sim_flush *flush = &client->flush;
    *flush = (struct sim_flush){ .waiting = true, .count = count, .half = 1 + seed_random(&world->seed, (uint32_t)count) };
    for (size_t i = 0; i < count; i++) {
        const struct ledger_part *part = &parts[i];
        flush->parts[i] = *part;
        flush->row_count[i] = keep_rows(world, part->postings, flush->rows[i]);
        for (size_t j = 0; j < part->dead_count; j++)
            flush->dead[i][j] = keep_record(world, &part->dead[j]);
        for (size_t j = 0; j < part->held_count; j++)
            flush->held[i][j] = keep_record(world, &part->held[j]);
        for (size_t j = 0; j < part->released_count; j++)
            flush->released[i][j] = part->released[j];
        assert(part->account_count <= SIM_CUSTOMERS + 1);
        for (size_t j = 0; j < part->account_count; j++) {
            const struct ledger_account *account = &part->accounts[j];
            flush->changes[i][j] = (struct sim_account){ .points = account->points_delta,
                                                         .earned = account->earned_delta,
                                                         .reversed = account->reversed_delta,
                                                         .postings = account->postings_delta };
            name(flush->changes[i][j].customer, account->customer_id);
            flush->known[i][j] = account->known;
        }
    }
    return STORE_OK;
}

static void change_account(struct sim_world *world, struct sim_table *table, const struct sim_account *change,
                           bool known)
{
    struct sim_account *account = NULL;
    for (size_t i = 0; i < table->account_count; i++)
        if (strcmp(table->accounts[i].customer, change->customer) == 0)
            account = &table->accounts[i];
    if ((account != NULL) != known)
        seed_bad(&world->seed, "account %s: known=%d, but it is%s there", change->customer, known, account == NULL ? " not" : "");
    if (account == NULL) {
        account = &table->accounts[table->account_count++];
        *account = (struct sim_account){ 0 };
        memcpy(account->customer, change->customer, sizeof account->customer);
    }
    account->points += change->points;
    account->earned += change->earned;
    account->reversed += change->reversed;
    account->postings += change->postings;
}

static void commit_part(struct sim_world *world, struct sim_table *table, const struct sim_flush *flush, size_t i)
{
    const struct ledger_part *part = &flush->parts[i];
    for (size_t j = 0; j < flush->row_count[i]; j++) {
        const struct sim_row *row = flush->rows[i][j];
        for (size_t k = 0; k < table->row_count; k++)
            if (table->rows[k]->offset == row->offset && table->rows[k]->seq == row->seq)
                seed_bad(&world->seed, "primary key: p%d offset %lld seq %d", part->partition, (long long)row->offset, row->seq);
        assert(table->row_count < SIM_ROWS_MAX);
        table->rows[table->row_count++] = row;
    }
    for (size_t j = 0; j < part->dead_count; j++)
        table->dead[table->dead_count++] = flush->dead[i][j];
    for (size_t j = 0; j < part->held_count; j++)
        table->held[table->held_count++] = flush->held[i][j];
    for (size_t j = 0; j < part->released_count; j++) {
        size_t at = 0;
        while (at < table->held_count && table->held[at]->record.event_offset != flush->released[i][j])
            at++;
        if (at == table->held_count) {
            seed_bad(&world->seed, "released %lld was not held", (long long)flush->released[i][j]);
            continue;
        }
        memmove(&table->held[at], &table->held[at + 1], (table->held_count - at - 1) * sizeof table->held[0]);
        table->held_count--;
    }
    for (size_t j = 0; j < part->account_count; j++)
        change_account(world, table, &flush->changes[i][j], flush->known[i][j]);
    table->clock_ms = part->clock_ms;
    table->rules_version = part->rules_version;
    table->counts = part->counts;
    table->next = part->next_offset;
}

enum store_reply sim_postgres_commit(struct sim_world *world, struct sim_flush *flush)
{
    flush->waiting = false;
    enum store_reply reply = STORE_OK;
    for (size_t i = flush->first; i < flush->count; i++) {
        struct ledger_part *part = &flush->parts[i];
        const struct sim_table *table = &world->postgres.tables[part->partition];
        bool mine = world->bug == BUG_EPOCH_UNCHECKED || table->epoch == part->epoch;
        part->reply = table->exists && mine && table->next == part->first_offset ? STORE_OK : STORE_NOT_MINE;
        if (part->reply != STORE_OK)
            reply = STORE_NOT_MINE;
    }
    for (size_t i = flush->first; i < flush->count && reply == STORE_OK; i++) {
        struct sim_table *table = &world->postgres.tables[flush->parts[i].partition];
        commit_part(world, table, flush, i);
        seed_say(&world->seed, "  postgres p%d e%lld [%lld,%lld) rows %zu", flush->parts[i].partition,
                (long long)flush->parts[i].epoch, (long long)flush->parts[i].first_offset,
                (long long)flush->parts[i].next_offset, flush->row_count[i]);
    }
    if (reply == STORE_OK)
        sim_postgres_remember(world);
    return reply;
}

/* One transaction of the flush, with its own fate. */
static enum store_reply lane_end(struct sim_client *client, struct sim_flush *flush, struct ll_err *err)
{
    struct sim_world *world = client->world;
    enum sim_fault fault = sim_call(client, "postgres flush", true);
    if (world->bug == BUG_WATERMARK_APART && fault == FAULT_CRASH_BEFORE) {
        /* The rows are in, the watermark would have been the next statement. */
        int64_t next[SIM_PARTITIONS];
        for (int p = 0; p < SIM_PARTITIONS; p++)
            next[p] = world->postgres.tables[p].next;
        sim_postgres_commit(world, flush);
        for (int p = 0; p < SIM_PARTITIONS; p++)
            world->postgres.tables[p].next = next[p];
    }
    sim_crash_if(client, fault, FAULT_CRASH_BEFORE);
    if (fault == FAULT_LATE && world->late_count < SIM_LATE_MAX) {
        struct sim_flush *copy = malloc(sizeof *copy);
        *copy = *flush;
        world->late[world->late_count].at_step = world->seed.step + 1 + seed_random(&world->seed, 30);
        world->late[world->late_count].client = client->number;
        world->late[world->late_count++].flush = copy;
    }
    if (fault == FAULT_DROP || fault == FAULT_LATE)
        return down(err);
    enum store_reply reply = sim_postgres_commit(world, flush);
    sim_crash_if(client, fault, FAULT_CRASH_AFTER);
    if (fault == FAULT_LOST)
        return down(err);
    for (size_t i = flush->first; i < flush->count; i++) /* the caller's parts are told */
        for (size_t j = 0; j < client->accrue.part_count; j++)
            if (client->accrue.parts[j].partition == flush->parts[i].partition)
                client->accrue.parts[j].reply = flush->parts[i].reply;
    return reply;
}

static enum store_reply ledger_flush_poll(void *self, int timeout_ms, struct ll_err *err)
{
    (void)timeout_ms;
    struct sim_client *client = self;
    struct sim_world *world = client->world;
    struct sim_flush *flush = &client->flush;
    assert(flush->waiting);
    world->now_ms++;
    if (seed_random(&world->seed, 3) == 0)
        return STORE_BUSY;
    flush->waiting = false;
    if (world->seed.step < world->postgres_down_until)
        return down(err);
    if (flush->half == flush->count)
        return lane_end(client, flush, err);
    /* Two transactions: what one comes to says nothing about the other. */
    static _Thread_local struct sim_flush lane;
    enum store_reply replies[2];
    for (size_t i = 0; i < 2; i++) {
        lane = *flush;
        lane.first = i == 0 ? 0 : flush->half;
        lane.count = i == 0 ? flush->half : flush->count;
        replies[i] = lane_end(client, &lane, err);
    }
    return replies[0] == STORE_OK && replies[1] == STORE_OK ? STORE_OK : down(err);
}

static void ledger_flush_abandon(void *self)
{
    struct sim_client *client = self;
    struct sim_world *world = client->world;
    if (!client->flush.waiting)
        return;
    /* Sent, and perhaps still carried out. */
    if (seed_random(&world->seed, 2) == 0)
        sim_postgres_commit(world, &client->flush);
    client->flush.waiting = false;
}

static enum store_reply ledger_marks(void *self, struct ledger_mark *marks, size_t count, struct ll_err *err)
{
    struct sim_client *client = self;
    if (call(client, "postgres marks", false) != FAULT_NONE)
        return down(err);
    for (size_t i = 0; i < count; i++) {
        const struct sim_table *table = table_of(client, marks[i].partition);
        marks[i].epoch = table->epoch;
        marks[i].next_offset = table->next;
    }
    return STORE_OK;
}

static void ledger_close(void *self) { (void)self; }

static const struct ledger_ops ops = {
    .claim = ledger_claim_partition,
    .load = ledger_load,
    .accounts = ledger_accounts,
    .find = ledger_find,
    .balances = ledger_balances,
    .rules = ledger_rules,
    .flush_begin = ledger_flush_begin,
    .flush_poll = ledger_flush_poll,
    .flush_abandon = ledger_flush_abandon,
    .marks = ledger_marks,
    .close = ledger_close,
};

struct ledger sim_ledger(struct sim_client *client) { return (struct ledger){ &ops, client }; }
