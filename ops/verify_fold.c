#include "ops/verify.h"

#include "ops/event_json.h"
#include "ops/fold.h"
#include "ops/verify_sales.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CONDEMNED_MAX = 256 }; /* of one partition */

struct fold_view {
    struct verify *verify;
    struct check *rows, *ends, *sums;
    struct fold *fold;
    struct verify_sales *sales;
    struct line_part *ends_of;         /* of transactions.valid */
    struct postgres_rows *dead, *held; /* the tables, in order */
    int64_t condemned[CONDEMNED_MAX];  /* of the partition */
    int32_t partition;                 /* that is compared; -1 before the first */
    bool skipped;                      /* it cannot be folded from its beginning */
    struct posting expected;
    bool has_expected;
    struct row_buffer a, b;
    enum ll_status status;
    struct ll_err *err;
};

static void next_expected(struct fold_view *view)
{
    if (view->status == LL_OK)
        view->status = fold_next(view->fold, &view->expected, &view->has_expected, view->err);
}

/* What accrue refused because it killed the process is nothing that can be decided anew: it is taken as refused. */
static void condemn(struct fold_view *view, int32_t partition)
{
    size_t count = 0;
    for (size_t i = 0; i < postgres_rows_count(view->dead); i++)
        if (postgres_rows_int(view->dead, i, "source_partition") == partition && count < CONDEMNED_MAX &&
            text_equal(postgres_rows_text(view->dead, i, "codes"), TEXT("RECORD_CRASHED")))
            view->condemned[count++] = postgres_rows_int(view->dead, i, "source_offset");
    fold_condemn(view->fold, view->condemned, count);
}

static void begin(struct fold_view *view, int32_t partition)
{
    const struct verify_cut *cut = &view->verify->cuts[partition];
    view->partition = partition;
    view->has_expected = false;
    view->skipped = !cut->known;
    if (cut->known && view->ends_of->low[partition] > 0) {
        verify_note(
            view->rows,
            "partition %d: the log begins at offset %lld, what was before is deleted: it is not folded anew",
            partition, (long long)view->ends_of->low[partition]);
        view->skipped = true;
    }
    if (view->skipped || view->status != LL_OK)
        return;
    view->status = fold_begin(view->fold, partition, view->ends_of, cut->next_offset, view->err);
    condemn(view, partition);
    next_expected(view);
}

struct field {
    const char *name;
    int64_t ledger, fold;
};

/* Which field of two rows differs, in words. */
static void row_difference(const struct posting *row, const struct posting *fold, char *to, size_t size)
{
    const struct field fields[] = {
        { "points", row->points, fold->points },
        { "net_minor", row->net_minor, fold->net_minor },
        { "type", row->type, fold->type },
        { "rules_version", row->rules_version, fold->rules_version },
        { "sale_day", row->sale_day, fold->sale_day },
        { "event_time", row->event_time_ms, fold->event_time_ms },
        { "posted_at", row->posted_at_ms, fold->posted_at_ms },
        { "event_offset", row->event_offset, fold->event_offset },
        { "identity_hash", row->identity_hash, fold->identity_hash },
        { "content_hash", row->content_hash, fold->content_hash },
        { "sale_hash", row->sale_hash, fold->sale_hash },
        { "warnings", (int64_t)row->warnings, (int64_t)fold->warnings },
        { "raw_partition", row->raw_partition, fold->raw_partition },
        { "raw_offset", row->raw_offset, fold->raw_offset },
        { "lines", row->line_count, fold->line_count },
        { "rules", row->rule_count, fold->rule_count },
    };
    const struct {
        const char *name;
        struct text ledger, fold;
    } texts[] = {
        { "customer_id", row->customer_id, fold->customer_id },
        { "transaction_id", row->transaction_id, fold->transaction_id },
        { "sale_id", row->sale_id, fold->sale_id },
        { "store_id", row->store_id, fold->store_id },
        { "source", row->source, fold->source },
        { "raw_topic", row->raw_topic, fold->raw_topic },
    };
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        if (!text_equal(texts[i].ledger, texts[i].fold)) {
            snprintf(to, size, "%s is %s in the ledger, %s by the fold", texts[i].name,
                     verify_text(texts[i].ledger), verify_text(texts[i].fold));
            return;
        }
    for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++)
        if (fields[i].ledger != fields[i].fold) {
            snprintf(to, size, "%s is %" PRId64 " in the ledger, %" PRId64 " by the fold", fields[i].name,
                     fields[i].ledger, fields[i].fold);
            return;
        }
    snprintf(to, size, "a line's or a rule's share differs");
}

static void name_row(const struct posting *row, char *to, size_t size)
{
    snprintf(to, size, "row %d/%" PRId64 "/%d of %s %s", row->partition, row->offset, row->seq,
             event_type_name(row->type), verify_text(row->transaction_id));
}

static void report_row(struct fold_view *view, const struct posting *row, const char *what)
{
    char name[200], next[200];
    name_row(row, name, sizeof(name));
    snprintf(next, sizeof(next), "lens ledger %s", verify_text(row->transaction_id));
    verify_differs(view->rows, next, "%s: %s", name, what);
}

static void missing_in_ledger(struct fold_view *view)
{
    char what[120];
    snprintf(what, sizeof(what), "missing in the ledger, the log gives it %" PRId64 " points",
             view->expected.points);
    report_row(view, &view->expected, what);
}

static int order(const struct posting *a, const struct posting *b)
{
    if (a->offset != b->offset)
        return a->offset < b->offset ? -1 : 1;
    return a->seq < b->seq ? -1 : a->seq > b->seq;
}

static void compare_rows(struct fold_view *view, const struct posting *row)
{
    row_buffer_clear(&view->a);
    row_buffer_clear(&view->b);
    posting_write(&view->a, row);
    posting_write(&view->b, &view->expected);
    view->rows->compared++;
    if (view->a.size == view->b.size && memcmp(view->a.data, view->b.data, view->a.size) == 0)
        return;
    char what[400];
    row_difference(row, &view->expected, what, sizeof(what));
    report_row(view, row, what);
}

static bool same(struct fold_view *view, const char *what, int64_t stored, int64_t fold)
{
    view->ends->compared++;
    if (stored != fold)
        verify_differs(view->ends, "lens status",
                       "partition %d: %s is %" PRId64 " in Postgres, %" PRId64 " by the fold",
                       view->partition, what, stored, fold);
    return stored == fold;
}

static void compare_dead(struct fold_view *view)
{
    size_t count = 0, at = 0;
    const struct fold_dead *dead = fold_refused(view->fold, &count);
    const struct verify_cut *cut = &view->verify->cuts[view->partition];
    for (size_t i = 0; i < postgres_rows_count(view->dead); i++) {
        int64_t offset = postgres_rows_int(view->dead, i, "source_offset");
        if (postgres_rows_int(view->dead, i, "source_partition") != view->partition ||
            offset >= cut->next_offset)
            continue;
        char names[1024] = "";
        struct text codes = postgres_rows_text(view->dead, i, "codes");
        bool equal = at < count && dead[at].offset == offset &&
                     dead[at].seq == postgres_rows_int(view->dead, i, "seq") &&
                     dead[at].event_offset == postgres_rows_int(view->dead, i, "event_offset") &&
                     text_equal(codes, text_of(code_names(dead[at].codes, names, sizeof(names))));
        view->ends->compared++;
        if (!equal) {
            verify_differs(view->ends, "lens dlq list --stage accrue",
                           "partition %d: loyalty.dead has a refusal at offset %" PRId64
                           " (%s), the fold %s%s",
                           view->partition, offset, verify_text(codes), at < count ? "another: " : "none",
                           at < count ? names : "");
            return;
        }
        at++;
    }
    if (at < count)
        verify_differs(view->ends, "lens dlq list --stage accrue",
                       "partition %d: the fold refuses offset %" PRId64 ", loyalty.dead does not have it",
                       view->partition, dead[at].event_offset);
}

static void compare_held(struct fold_view *view, const struct partition *state)
{
    const struct held *held = state->held.first;
    for (size_t i = 0; i < postgres_rows_count(view->held); i++) {
        if (postgres_rows_int(view->held, i, "source_partition") != view->partition)
            continue;
        int64_t offset = postgres_rows_int(view->held, i, "source_offset");
        view->ends->compared++;
        if (held == NULL || held->record.event_offset != offset) {
            verify_differs(view->ends, "lens status",
                           "partition %d: loyalty.held has the return at offset %" PRId64
                           ", the fold does not hold it",
                           view->partition, offset);
            return;
        }
        held = held->later;
    }
    if (held != NULL)
        verify_differs(view->ends, "lens status",
                       "partition %d: the fold holds the return at offset %" PRId64
                       ", loyalty.held does not have it",
                       view->partition, held->record.event_offset);
}

static void finish(struct fold_view *view)
{
    if (view->partition < 0 || view->skipped)
        return;
    for (; view->status == LL_OK && view->has_expected; next_expected(view))
        missing_in_ledger(view);
    if (view->status != LL_OK)
        return;
    const struct verify_cut *cut = &view->verify->cuts[view->partition];
    const struct partition *state = fold_state(view->fold);
    const struct ledger_counts *counts = &state->counts;
    same(view, "the count of records read", cut->read, counts->read);
    same(view, "the count of credited events", cut->credited, counts->credited);
    same(view, "the count of duplicates", cut->duplicate, counts->duplicate);
    same(view, "the count of refused events", cut->dead, counts->dead);
    same(view, "the count of held returns", cut->held, counts->held);
    same(view, "the count of control records", cut->control, counts->control);
    same(view, "the rules version announced", cut->rules_version, state->rules_version);
    if (cut->read > 0)
        same(view, "the log's clock", cut->clock_ms, state->clock_ms);
    compare_dead(view);
    compare_held(view, state);
}

/* What a row says in one number is the sum of what it says by rule and by line. */
static void check_sums(struct fold_view *view, const struct posting *row)
{
    int64_t points = 0, net_minor = 0;
    for (uint32_t i = 0; i < row->rule_count; i++)
        points += row->rules[i].points;
    for (uint32_t i = 0; i < row->line_count; i++)
        net_minor += row->lines[i].amount_minor;
    view->sums->compared++;
    if (points == row->points && net_minor == row->net_minor)
        return;
    char name[200], next[200];
    name_row(row, name, sizeof(name));
    snprintf(next, sizeof(next), "lens ledger %s", verify_text(row->transaction_id));
    verify_differs(view->sums, next,
                   "%s: points %" PRId64 ", by rule %" PRId64 "; net %" PRId64 ", by line %" PRId64, name,
                   row->points, points, row->net_minor, net_minor);
}

/* One row of the ledger, in order of (partition, offset, seq). */
static void see_row(void *arg, const struct posting *row)
{
    struct fold_view *view = arg;
    struct verify *verify = view->verify;
    if (row->partition < 0 || row->partition >= verify->partitions) {
        report_row(view, row, "there is no such partition in transactions.valid");
        return;
    }
    if (row->offset >= verify->cuts[row->partition].next_offset || view->status != LL_OK)
        return; /* posted since the cut */
    check_sums(view, row);
    verify_sales_add(view->sales, row);
    while (view->status == LL_OK && view->partition < row->partition) {
        finish(view);
        begin(view, view->partition + 1);
    }
    if (view->skipped)
        return;
    for (; view->status == LL_OK && view->has_expected && order(&view->expected, row) < 0;
         next_expected(view))
        missing_in_ledger(view);
    if (view->status != LL_OK)
        return;
    if (!view->has_expected || order(&view->expected, row) > 0) {
        report_row(view, row, "it is in the ledger, but the log gives no such row");
        return;
    }
    compare_rows(view, row);
    next_expected(view);
}

static enum ll_status compare_all(struct fold_view *view)
{
    struct verify *verify = view->verify;
    struct postgres *stream = NULL;
    enum ll_status status = postgres_open(&verify->lens->config, "lens", &stream, view->err);
    if (status == LL_OK)
        status = postgres_postings(stream, verify->lens->config.program.run, see_row, view, view->err);
    if (stream != NULL)
        postgres_close(stream);
    if (status != LL_OK)
        return status;
    while (view->status == LL_OK && view->partition + 1 < verify->partitions) {
        finish(view);
        begin(view, view->partition + 1);
    }
    finish(view);
    return view->status;
}

/* Held returns and refusals belong to the cut: they are read in its statement's time, and the cut is taken anew with them. */
static enum ll_status take_tables(struct fold_view *view, struct ll_err *err)
{
    struct verify *verify = view->verify;
    struct postgres_rows *cuts = NULL;
    enum ll_status status = postgres_query(
        verify->postgres, "begin isolation level repeatable read read only", NULL, 0, NULL, err);
    if (status == LL_OK)
        status =
            verify_query(verify,
                         "select partition as source_partition, next_offset, loyalty.ms(clock) as clock_ms,"
                         " rules_version, read_count, credited, duplicate, dead, held, control"
                         " from loyalty.partitions where run_id = $1::int",
                         &cuts, err);
    if (status == LL_OK)
        status = verify_query(verify,
                              "select source_partition, source_offset, seq, event_offset, codes"
                              " from loyalty.dead_letters where run_id = $1::int"
                              " order by source_partition, source_offset, seq",
                              &view->dead, err);
    if (status == LL_OK)
        status =
            verify_query(verify,
                         "select partition as source_partition, \"offset\" as source_offset from loyalty.held"
                         " where run_id = $1::int order by 1, 2",
                         &view->held, err);
    for (size_t i = 0; status == LL_OK && i < postgres_rows_count(cuts); i++) {
        int64_t p = postgres_rows_int(cuts, i, "source_partition");
        if (p < 0 || p >= verify->partitions)
            continue;
        struct verify_cut *cut = &verify->cuts[p];
        cut->known = true;
        cut->next_offset = postgres_rows_int(cuts, i, "next_offset");
        cut->clock_ms = postgres_rows_int(cuts, i, "clock_ms");
        cut->rules_version = (int32_t)postgres_rows_int(cuts, i, "rules_version");
        cut->read = postgres_rows_int(cuts, i, "read_count");
        cut->credited = postgres_rows_int(cuts, i, "credited");
        cut->duplicate = postgres_rows_int(cuts, i, "duplicate");
        cut->dead = postgres_rows_int(cuts, i, "dead");
        cut->held = postgres_rows_int(cuts, i, "held");
        cut->control = postgres_rows_int(cuts, i, "control");
    }
    if (cuts != NULL)
        postgres_rows_free(cuts);
    return status == LL_OK ? postgres_query(verify->postgres, "commit", NULL, 0, NULL, err) : status;
}

enum ll_status verify_fold(struct verify *verify, struct ll_err *err)
{
    struct fold_view view = { .verify = verify, .partition = -1, .status = LL_OK, .err = err };
    view.sums =
        verify_check(verify, "ledger rows", "points are the sum by rule, net is the sum by line", "rows");
    view.rows =
        verify_check(verify, "fold", "transactions.valid, decided anew, gives the ledger's rows", "rows");
    view.ends =
        verify_check(verify, "fold: the rest", "and its counts, clock, refusals and held returns", "facts");
    view.ends_of = malloc(sizeof(*view.ends_of));
    if (view.ends_of == NULL)
        abort();
    enum ll_status status = take_tables(&view, err);
    if (status == LL_OK) /* after the cut, so that the ends are not below it */
        status = line_ends(&verify->view, TOPIC_TRANSACTIONS_VALID, view.ends_of, err);
    if (status == LL_OK)
        status =
            fold_new(verify->lens, &verify->view.topics, verify->codec, verify->postgres, &view.fold, err);
    if (status == LL_OK)
        status = verify_sales_new(verify, fold_rules(view.fold), &view.sales, err);
    if (status == LL_OK)
        status = compare_all(&view);
    lens_progress_end(verify->lens);
    if (view.rows->different + view.ends->different > 0 && view.rows->note[0] == '\0')
        verify_note(view.rows, "decided anew by today's accrue.hold_ms, accrue.skew_ms and "
                               "accrue.unreferenced_return: if one of them "
                               "was changed during the run, that shows here");
    if (view.sales != NULL)
        verify_sales_end(view.sales);
    fold_free(view.fold);
    if (view.dead != NULL)
        postgres_rows_free(view.dead);
    if (view.held != NULL)
        postgres_rows_free(view.held);
    row_buffer_done(&view.a);
    row_buffer_done(&view.b);
    free(view.ends_of);
    return status;
}
