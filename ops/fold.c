#include "ops/fold.h"

#include "ops/reach.h"
#include "runtime/clock.h"
#include "runtime/kafka.h"
#include "state/ledger.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BATCH = 2000, READ_MS = 100, SALES_MAX = 10000 };

struct fold {
    struct lens *lens;
    const struct topics *topics;
    struct codec *codec;
    struct codec_scratch *scratch;
    struct calendar *calendar;
    struct rulebook book;
    struct decider *decider;
    struct ledger ledger;

    struct partition memory;
    bool begun;
    struct kafka_reader *reader;
    int64_t upto, records;
    const int64_t *condemned; /* borrowed */
    size_t condemned_count;

    struct bus_record batch[BATCH];
    struct decide_input inputs[BATCH];
    size_t line_at[BATCH];
    size_t count;
    struct line *lines;
    size_t line_count, line_capacity;

    size_t at; /* of the next row in filling->postings */
    struct posting_line row_lines[POSTING_LINES_MAX];
    struct posting_rule row_rules[POSTING_RULES_MAX];
    struct fold_dead *dead;
    size_t dead_count, dead_capacity;
};

static enum ll_status load_rules(struct fold *fold, struct postgres *postgres, struct ll_err *err)
{
    struct postgres_rows *rows = NULL;
    enum ll_status status = postgres_query(
        postgres, "select version, document from loyalty.rules order by version", NULL, 0, &rows, err);
    for (size_t i = 0; status == LL_OK && i < postgres_rows_count(rows); i++) {
        struct text text = postgres_rows_text(rows, i, "document");
        char *document = strndup(text.data, text.size);
        if (document == NULL)
            abort();
        if (postgres_rows_int(rows, i, "version") != fold->book.count + 1)
            status = ll_fail(err, LL_FATAL, "loyalty.rules has no version %d; see `lens rules show`",
                             fold->book.count + 1);
        else
            status = rulebook_add(&fold->book, document, err);
        free(document);
    }
    if (rows != NULL)
        postgres_rows_free(rows);
    return status;
}

enum ll_status fold_new(struct lens *lens, const struct topics *topics, struct codec *codec,
                        struct postgres *postgres, struct fold **ret, struct ll_err *err)
{
    struct fold *fold = calloc(1, sizeof(*fold));
    if (fold == NULL)
        abort();
    *fold = (struct fold){ .lens = lens, .topics = topics, .codec = codec, .scratch = codec_scratch_new() };
    enum ll_status status = calendar_new(lens->config.program.time_zone, &fold->calendar, err);
    if (status == LL_OK)
        status = ledger_postgres_open(&lens->config, &fold->ledger, err);
    if (status == LL_OK)
        status = load_rules(fold, postgres, err);
    if (status != LL_OK) {
        fold_free(fold);
        return status;
    }
    const struct decide_settings settings = {
        .run = lens->config.program.run,
        .hold_ms = lens->config.accrue.hold_ms,
        .skew_ms = lens->config.accrue.skew_ms,
        .reverse_unreferenced = strcmp(lens->config.accrue.unreferenced_return, "reverse") == 0,
    };
    fold->decider = decider_new(codec, &fold->book, fold->calendar, &settings);
    *ret = fold;
    return LL_OK;
}

static void release_batch(struct fold *fold)
{
    for (size_t i = 0; i < fold->count; i++)
        kafka_reader_release(fold->reader, &fold->batch[i]);
    fold->count = 0;
    fold->line_count = 0;
}

static void end_partition(struct fold *fold)
{
    release_batch(fold);
    if (fold->reader != NULL)
        kafka_reader_close(fold->reader);
    fold->reader = NULL;
    if (fold->begun)
        partition_done(&fold->memory);
    fold->begun = false;
    fold->dead_count = 0;
    fold->at = 0;
}

void fold_free(struct fold *fold)
{
    if (fold == NULL)
        return;
    end_partition(fold);
    decider_free(fold->decider);
    rulebook_done(&fold->book);
    if (fold->ledger.ops != NULL)
        fold->ledger.ops->close(fold->ledger.self);
    if (fold->calendar != NULL)
        calendar_free(fold->calendar);
    codec_scratch_free(fold->scratch);
    free(fold->lines);
    free(fold->dead);
    free(fold);
}

enum ll_status fold_begin(struct fold *fold, int32_t partition, const struct line_part *ends, int64_t upto,
                          struct ll_err *err)
{
    end_partition(fold);
    /* No identity is ever forgotten, so only rows that are there are looked up. */
    partition_init(&fold->memory, partition, INT64_MAX);
    fold->begun = true;
    fold->condemned_count = 0;
    fold->upto = upto;
    enum topic topic = TOPIC_TRANSACTIONS_VALID;
    enum ll_status status =
        kafka_reader_open(&fold->lens->config, fold->topics, &topic, 1, &fold->reader, err);
    for (int32_t p = 0; status == LL_OK && p < ends->partitions; p++)
        if (p != partition) /* nothing is wanted of it */
            kafka_reader_start_at(fold->reader, topic, p, ends->end[p]);
    return status;
}

void fold_condemn(struct fold *fold, const int64_t *offsets, size_t count)
{
    fold->condemned = offsets;
    fold->condemned_count = count;
}

static bool is_condemned(const struct fold *fold, int64_t offset)
{
    size_t i = 0;
    while (i < fold->condemned_count && fold->condemned[i] < offset)
        i++;
    return i < fold->condemned_count && fold->condemned[i] == offset;
}

static void keep_lines(struct fold *fold, size_t at)
{
    struct transaction *transaction = &fold->inputs[at].transaction;
    size_t needed = fold->line_count + transaction->line_count;
    if (needed > fold->line_capacity) {
        fold->line_capacity = 2 * needed;
        fold->lines = realloc(fold->lines, fold->line_capacity * sizeof(*fold->lines));
        if (fold->lines == NULL)
            abort();
    }
    fold->line_at[at] = fold->line_count;
    if (transaction->line_count > 0)
        memcpy(fold->lines + fold->line_count, transaction->lines,
               transaction->line_count * sizeof(*fold->lines));
    fold->line_count = needed;
}

/* Fills the batch from the log; it stays empty at the end. */
static enum ll_status read_batch(struct fold *fold, struct ll_err *err)
{
    struct clock_source clock = clock_real();
    int64_t asked_ms = clock.steady_ms(clock.self);
    while (fold->count < BATCH && !kafka_reader_at_end(fold->reader)) {
        struct bus_record *record = &fold->batch[fold->count];
        enum bus_event event = kafka_reader_read(fold->reader, READ_MS, record, err);
        if (event == BUS_BROKEN)
            return LL_FATAL;
        if (event != BUS_RECORD) {
            if (clock.steady_ms(clock.self) - asked_ms > REACH_TIMEOUT_MS)
                return ll_fail(err, LL_RETRY, "kafka %s: nothing could be read for %d s; see `lens status`",
                               fold->lens->config.kafka.bootstrap, REACH_TIMEOUT_MS / 1000);
            continue;
        }
        if (record->partition == fold->memory.number && record->offset < fold->upto)
            fold->count++;
        else
            kafka_reader_release(fold->reader, record);
    }
    return LL_OK;
}

static enum ll_status decode_batch(struct fold *fold, struct ll_err *err)
{
    for (size_t i = 0; i < fold->count; i++) {
        const struct bus_record *record = &fold->batch[i];
        fold->inputs[i] = (struct decide_input){ .offset = record->offset,
                                                 .timestamp_ms = record->timestamp_ms,
                                                 .key = record->key,
                                                 .value = record->value };
        enum ll_status status = LL_OK;
        if (is_condemned(fold, record->offset))
            fold->inputs[i].code = CODE_RECORD_CRASHED;
        else
            status = decide_decode(fold->codec, fold->scratch, &fold->inputs[i], err);
        if (status != LL_OK)
            return status;
        if (!fold->inputs[i].is_control && fold->inputs[i].code == CODE_NONE)
            keep_lines(fold, i);
        if (fold->inputs[i].is_control && fold->inputs[i].control.rules_version > fold->book.count)
            return ll_fail(err, LL_FATAL,
                           "transactions.valid[%d] offset %lld announces rules version %d, which is not in "
                           "loyalty.rules",
                           record->partition, (long long)record->offset,
                           fold->inputs[i].control.rules_version);
    }
    for (size_t i = 0; i < fold->count; i++)
        if (!fold->inputs[i].is_control && fold->inputs[i].code == CODE_NONE)
            fold->inputs[i].transaction.lines = fold->lines + fold->line_at[i];
    return LL_OK;
}

static void take_found(void *arg, const struct posting *posting)
{
    decide_found(arg, posting);
}

static enum ll_status look_up(struct fold *fold, struct ll_err *err)
{
    static int64_t identities[BATCH], sales[BATCH];
    size_t identity_count = 0, sale_count = 0;
    for (size_t i = 0; i < fold->count; i++) {
        decide_needs(fold->decider, &fold->memory,
                     &fold->inputs[i]); /* no balance: every account began here */
        if (fold->inputs[i].needs_identity)
            identities[identity_count++] = fold->inputs[i].identity_hash;
        if (fold->inputs[i].needs_sale)
            sales[sale_count++] = fold->inputs[i].sale_hash;
    }
    if (identity_count + sale_count == 0)
        return LL_OK;
    const struct ledger_view view = { .partition = fold->memory.number, .epoch = -1 };
    enum store_reply reply = fold->ledger.ops->find(fold->ledger.self, &view, identities, identity_count,
                                                    sales, sale_count, take_found, &fold->memory, err);
    return reply == STORE_OK ? LL_OK : reply == STORE_DOWN ? LL_RETRY : LL_FATAL;
}

static void keep_dead(struct fold *fold)
{
    const struct pending *pending = fold->memory.filling;
    for (size_t i = 0; i < pending->dead_count; i++) {
        if (fold->dead_count == fold->dead_capacity) {
            fold->dead_capacity = fold->dead_capacity == 0 ? 64 : 2 * fold->dead_capacity;
            fold->dead = realloc(fold->dead, fold->dead_capacity * sizeof(*fold->dead));
            if (fold->dead == NULL)
                abort();
        }
        const struct kept_record *dead = &pending->dead[i];
        fold->dead[fold->dead_count++] =
            (struct fold_dead){ dead->offset, dead->event_offset, dead->seq, dead->codes };
    }
}

/* Lets go of the batch before, whose rows the caller has seen, and decides the next one. */
static enum ll_status next_batch(struct fold *fold, struct ll_err *err)
{
    release_batch(fold);
    fold->at = 0;
    if (fold->memory.next > fold->memory.flushed_next) {
        partition_fly(&fold->memory);
        partition_landed(&fold->memory);
        sales_trim(&fold->memory.sales, fold->memory.flushed_next, SALES_MAX);
    }
    enum ll_status status = read_batch(fold, err);
    if (status != LL_OK || fold->count == 0)
        return status;
    partition_begin_batch(&fold->memory);
    status = decode_batch(fold, err);
    if (status == LL_OK)
        status = look_up(fold, err);
    if (status != LL_OK)
        return status;
    for (size_t i = 0; i < fold->count; i++)
        decide_record(fold->decider, &fold->memory, &fold->inputs[i]);
    keep_dead(fold);
    fold->records += (int64_t)fold->count;
    lens_progress(fold->lens, "folding transactions.valid anew: %s records", lens_number(fold->records));
    return LL_OK;
}

enum ll_status fold_next(struct fold *fold, struct posting *ret, bool *ret_found, struct ll_err *err)
{
    *ret_found = false;
    const struct row_buffer *rows = &fold->memory.filling->postings;
    while (fold->at >= rows->size) {
        enum ll_status status = next_batch(fold, err);
        if (status != LL_OK || fold->count == 0)
            return status;
        rows = &fold->memory.filling->postings;
    }
    size_t size =
        posting_read(rows->data + fold->at, rows->size - fold->at, fold->row_lines, fold->row_rules, ret);
    assert(size > 0); /* written by posting_write */
    fold->at += size;
    *ret_found = true;
    return LL_OK;
}

const struct partition *fold_state(const struct fold *fold)
{
    return &fold->memory;
}

const struct fold_dead *fold_refused(const struct fold *fold, size_t *ret_count)
{
    *ret_count = fold->dead_count;
    return fold->dead;
}

const struct rulebook *fold_rules(const struct fold *fold)
{
    return &fold->book;
}
