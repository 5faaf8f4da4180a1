#include "state/relay_store.h"

#include "schemas/codes.h"
#include "state/copy_field.h"
#include "state/ledger_postgres.h"

#include <stdio.h>
#include <stdlib.h>

struct relay_postgres {
    struct config config;
    char settings[320];
    struct postgres_link link;
    struct row_buffer sql;
    struct row_buffer dead; /* a slice's refused records, as they came */
};

static int64_t patience_ms(const struct relay_postgres *store)
{
    return POSTGRES_PATIENCE * store->config.postgres.timeout_ms;
}

static int64_t int8_at(const PGresult *result, int row, int column)
{
    uint64_t value;
    memcpy(&value, PQgetvalue(result, row, column), sizeof value);
    return (int64_t)__builtin_bswap64(value);
}

/* One statement with binary results. */
static enum store_reply ask(struct relay_postgres *store, const char *doing, PGresult **ret, struct ll_err *err)
{
    struct postgres_params none = { 0 };
    return postgres_link_run(&store->link, store->sql.data, &none, store->config.postgres.timeout_ms, doing, ret, err);
}

static enum store_reply relay_marks(void *self, struct relay_mark *marks, size_t count, struct ll_err *err)
{
    struct relay_postgres *store = self;
    enum store_reply reply = count == 0 ? STORE_OK : postgres_link_open(&store->link, err);
    if (reply != STORE_OK || count == 0)
        return reply;
    row_buffer_clear(&store->sql);
    ledger_say(&store->sql,
               "select partition::int8, next_offset, relayed_upto from loyalty.partitions where run_id = %d and partition in (",
               store->config.program.run);
    for (size_t at = 0; at < count; at++) {
        ledger_say(&store->sql, "%s%d", at == 0 ? "" : ",", marks[at].partition);
        marks[at].next_offset = marks[at].relayed_upto = 0;
    }
    ledger_say(&store->sql, ")");
    PGresult *result = NULL;
    reply = ask(store, "looking for rows to relay", &result, err);
    if (reply != STORE_OK)
        return reply;
    for (int row = 0; row < PQntuples(result); row++)
        for (size_t at = 0; at < count; at++)
            if (marks[at].partition == int8_at(result, row, 0)) {
                marks[at].next_offset = int8_at(result, row, 1);
                marks[at].relayed_upto = int8_at(result, row, 2);
            }
    PQclear(result);
    return STORE_OK;
}

/* ---- a slice ---- */

/* Where the slice ends: behind the offset of the limit-th posting or refused record, else at next_offset. All of it from one
 * snapshot: had Postgres fallen back between two of them, rows that are missing now would be taken for none. */
static enum store_reply open_slice(struct relay_postgres *store, int32_t partition, int64_t from, int64_t limit,
                                   struct relay_slice *ret, bool *ret_any_dead, struct ll_err *err)
{
    static const char doing[] = "reading rows to relay";
    int run = store->config.program.run;
    enum store_reply reply = postgres_link_run(&store->link, "begin isolation level repeatable read read only", NULL,
                                               store->config.postgres.timeout_ms, doing, NULL, err);
    if (reply != STORE_OK)
        return reply;
    row_buffer_clear(&store->sql);
    ledger_say(&store->sql, "select p.next_offset, p.clock, least(p.next_offset");
    static const char *const tables[] = { "postings", "dead" };
    for (int at = 0; at < 2; at++)
        ledger_say(&store->sql,
                   ", (select \"offset\" + 1 from loyalty.%s where run_id = %d and partition = %d and \"offset\" >= %lld"
                   " and \"offset\" < p.next_offset order by \"offset\" offset %lld limit 1)",
                   tables[at], run, partition, (long long)from, (long long)limit - 1);
    ledger_say(&store->sql,
               "), exists (select from loyalty.dead where run_id = %d and partition = %d and \"offset\" >= %lld)"
               " from loyalty.partitions p where run_id = %d and partition = %d",
               run, partition, (long long)from, run, partition);
    PGresult *result = NULL;
    reply = ask(store, doing, &result, err);
    if (reply != STORE_OK)
        return reply;
    *ret = (struct relay_slice){ .upto = from };
    *ret_any_dead = false;
    if (PQntuples(result) == 1) {
        ret->next_offset = int8_at(result, 0, 0);
        ret->clock_ms = copy_time_to_ms(int8_at(result, 0, 1));
        ret->upto = int8_at(result, 0, 2) > from ? int8_at(result, 0, 2) : from;
        *ret_any_dead = PQgetvalue(result, 0, 3)[0] != 0;
    }
    PQclear(result);
    return STORE_OK;
}

static const char *const code_text[] = {
    NULL,
#define X(name, severity, scope, meaning, next) #name,
    CODE_TABLE(X)
#undef X
};

/* text[] of names. A name that is none of ours is left out: this program is older than the row. */
static uint64_t codes_of(struct text array)
{
    struct copy_cursor cursor = { .at = array.data, .end = array.data + array.size };
    uint64_t set = 0;
    if (array.size < 20) /* no dimension: no element */
        return 0;
    cursor.at += 20;
    while (!cursor.bad && cursor.at < cursor.end) {
        struct text name = take_text(&cursor);
        for (int code = 1; code < CODE_COUNT; code++)
            if (text_equal(name, text_of(code_text[code])))
                set |= code_bit((enum code)code);
    }
    return set;
}

static bool read_dead(const char *bytes, size_t size, struct kept_record *ret)
{
    enum { FIELDS = 20 };
    struct copy_cursor cursor = { .at = bytes, .end = bytes + size };
    struct kept_record record = { 0 };
    if (take_u16(&cursor) != FIELDS)
        return false;
    (void)take_int4(&cursor); /* run and partition were asked for */
    (void)take_int4(&cursor);
    record.offset = take_int8(&cursor);
    record.seq = take_int4(&cursor);
    record.event_offset = take_int8(&cursor);
    record.timestamp_ms = take_time(&cursor);
    record.since_ms = take_time(&cursor);
    record.identity_hash = take_int8(&cursor);
    record.content_hash = take_int8(&cursor);
    record.sale_hash = take_int8(&cursor);
    record.source = take_bytes(&cursor);
    record.transaction_id = take_bytes(&cursor);
    record.codes = codes_of(take_text(&cursor));
    record.message = take_bytes(&cursor);
    record.key = take_bytes(&cursor);
    record.value = take_bytes(&cursor);
    record.headers = take_bytes(&cursor);
    record.raw_topic = take_bytes(&cursor);
    record.raw_partition = take_int4(&cursor);
    record.raw_offset = take_int8(&cursor);
    if (cursor.bad || cursor.at != cursor.end)
        return false;
    *ret = record;
    return true;
}

static bool keep_dead(void *arg, const char *bytes, size_t size)
{
    struct row_buffer *dead = arg;
    char *to = row_reserve(dead, sizeof size + size);
    memcpy(to, &size, sizeof size);
    memcpy(to + sizeof size, bytes, size);
    dead->size += sizeof size + size;
    dead->rows++;
    return true;
}

struct merge {
    relay_row_fn *each;
    void *arg;
    const struct row_buffer *dead;
    size_t dead_at; /* bytes of dead that are behind */
    struct posting_line lines[POSTING_LINES_MAX];
    struct posting_rule rules[POSTING_RULES_MAX];
};

/* Passes on the refused records that come before (offset, seq). False: bytes that are no row of ours. */
static bool merge_dead(struct merge *merge, int64_t offset, int32_t seq)
{
    while (merge->dead_at < merge->dead->size) {
        const char *at = merge->dead->data + merge->dead_at;
        size_t size;
        struct kept_record record;
        memcpy(&size, at, sizeof size);
        if (!read_dead(at + sizeof size, size, &record))
            return false;
        if (record.offset > offset || (record.offset == offset && record.seq > seq))
            return true;
        merge->each(merge->arg, &(struct relay_row){ .dead = &record });
        merge->dead_at += sizeof size + size;
    }
    return true;
}

static bool merge_posting(void *arg, const char *bytes, size_t size)
{
    struct merge *merge = arg;
    struct posting posting;
    if (posting_read(bytes, size, merge->lines, merge->rules, &posting) != size ||
        !merge_dead(merge, posting.offset, posting.seq))
        return false;
    merge->each(merge->arg, &(struct relay_row){ .posting = &posting });
    return true;
}

static void say_copy(struct relay_postgres *store, const char *columns, const char *table, int32_t partition, int64_t from,
                     int64_t upto)
{
    row_buffer_clear(&store->sql);
    ledger_say(&store->sql,
               "copy (select %s from loyalty.%s where run_id = %d and partition = %d and \"offset\" >= %lld and \"offset\" < %lld"
               " order by \"offset\", seq) to stdout (format binary)",
               columns, table, store->config.program.run, partition, (long long)from, (long long)upto);
}

static enum store_reply copy_slice(struct relay_postgres *store, int32_t partition, int64_t from, int64_t upto, bool any_dead,
                                   struct merge *merge, struct ll_err *err)
{
    static const char doing[] = "reading rows to relay";
    enum store_reply reply = STORE_OK;
    row_buffer_clear(&store->dead);
    if (any_dead) {
        say_copy(store, dead_columns, "dead", partition, from, upto);
        reply = postgres_link_copy(&store->link, store->sql.data, patience_ms(store), doing, keep_dead, &store->dead, err);
    }
    if (reply == STORE_OK) {
        say_copy(store, posting_columns, "postings", partition, from, upto);
        reply = postgres_link_copy(&store->link, store->sql.data, patience_ms(store), doing, merge_posting, merge, err);
    }
    if (reply == STORE_OK && !merge_dead(merge, INT64_MAX, INT32_MAX)) {
        ll_fail(err, LL_FATAL, "postgres: loyalty.dead has a row that is not of the form that this program writes");
        reply = STORE_BROKEN;
    }
    return reply;
}

static enum store_reply relay_rows(void *self, int32_t partition, int64_t from, int64_t limit, relay_row_fn *each, void *arg,
                                   struct relay_slice *ret, struct ll_err *err)
{
    struct relay_postgres *store = self;
    bool any_dead;
    enum store_reply reply = postgres_link_open(&store->link, err);
    if (reply == STORE_OK)
        reply = open_slice(store, partition, from, limit, ret, &any_dead, err);
    if (reply == STORE_OK && ret->upto > from) {
        struct merge *merge = malloc(sizeof *merge);
        if (merge == NULL)
            abort();
        merge->each = each;
        merge->arg = arg;
        merge->dead = &store->dead;
        merge->dead_at = 0;
        reply = copy_slice(store, partition, from, ret->upto, any_dead, merge, err);
        free(merge);
    }
    if (reply == STORE_BROKEN)
        postgres_link_drop(&store->link);
    if (reply != STORE_OK)
        return reply;
    return postgres_link_run(&store->link, "commit", NULL, store->config.postgres.timeout_ms, "reading rows to relay", NULL,
                             err);
}

/* Accrue's flush locks the same rows for as long as it copies: whoever waits for it could be waited for by it. */
static enum store_reply relay_set(void *self, const struct relay_mark *marks, size_t count, struct ll_err *err)
{
    struct relay_postgres *store = self;
    enum store_reply reply = count == 0 ? STORE_OK : postgres_link_open(&store->link, err);
    if (reply != STORE_OK || count == 0)
        return reply;
    row_buffer_clear(&store->sql);
    ledger_say(&store->sql, "with now (partition, upto) as (values ");
    for (size_t at = 0; at < count; at++)
        ledger_say(&store->sql, "%s(%d, %lld::int8)", at == 0 ? "" : ", ", marks[at].partition,
                   (long long)marks[at].relayed_upto);
    ledger_say(&store->sql,
               "), free as (select p.partition, upto from loyalty.partitions p join now using (partition)"
               " where p.run_id = %d and p.relayed_upto < upto for update of p skip locked)"
               " update loyalty.partitions p set relayed_upto = upto from free"
               " where p.run_id = %d and p.partition = free.partition and p.relayed_upto < upto",
               store->config.program.run, store->config.program.run);
    return ask(store, "noting what is relayed", NULL, err);
}

static void relay_close(void *self)
{
    struct relay_postgres *store = self;
    if (store == NULL)
        return;
    postgres_link_drop(&store->link);
    row_buffer_done(&store->sql);
    row_buffer_done(&store->dead);
    free(store);
}

static const struct relay_store_ops ops = {
    .marks = relay_marks,
    .rows = relay_rows,
    .set_relayed = relay_set,
    .close = relay_close,
};

void relay_postgres_open(const struct config *config, struct relay_store *ret)
{
    struct relay_postgres *store = calloc(1, sizeof *store);
    if (store == NULL)
        abort();
    store->config = *config;
    long long timeout = (long long)config->postgres.timeout_ms, patience = (long long)patience_ms(store);
    /* A range of the primary key, by it: without statistics the planner would sort the whole partition. */
    snprintf(store->settings, sizeof store->settings,
             "set jit = off; set timezone = 'UTC'; set enable_seqscan = off; set enable_bitmapscan = off;"
             " set enable_sort = off; set lock_timeout = %lld; set statement_timeout = %lld;"
             " set idle_in_transaction_session_timeout = %lld", timeout, patience, patience);
    store->link = (struct postgres_link){ .config = &store->config, .application = "lens-relay", .settings = store->settings };
    *ret = (struct relay_store){ .ops = &ops, .self = store };
}
