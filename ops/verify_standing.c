#include "ops/verify.h"

#include "ops/report_standing.h"
#include "ops/scan.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/*
 * Everything is one statement each, so that what it compares belongs together while segment goes on. $1: the run, $2: partitions,
 * $3: the settings that the batch knows.
 *
 * Standing is compared at the rows that segment has taken, which are more than those of its last epoch as soon as the next day has
 * begun. Then scores, tier and potential are as of one moment or another of two days, and only what a row alone decides
 * is compared; when the last day is closed and nothing has come since, all of it is.
 */
#define UPTO                                                                                                 \
    "upto as (select array_agg(coalesce(p.row_offset, -1) + 1 order by n) as vector,"                        \
    " coalesce(bool_or(exists (select from loyalty.postings r where r.run_id = $1::int and r.partition = n"  \
    " and r.\"offset\" = p.row_offset and r.seq > p.row_seq)), false) as is_between"                         \
    " from generate_series(0, $2::int - 1) as n left join segments.partitions p"                             \
    " on p.run_id = $1::int and p.partition = n)"

#define DIFFERS(name, is, want)                                                                              \
    "case when (" is ") is distinct from (" want ") then '" name " is ' || coalesce((" is ")::text, 'none')"  \
    " || ', by batch ' || coalesce((" want ")::text, 'none') end"

static const char facts_sql[] =
    "with o as (select * from segments.owner where run_id = $1::int), " UPTO ","
    " epoch as (select t.* from segments.thresholds t join o on t.version = o.threshold_version where t.run_id = $1::int),"
    " batch as materialized (select f.* from o, upto u, lateral segments.batch_facts(o.as_of_day, $1::int, u.vector) f"
    " where not u.is_between),"
    " both_sides as (select coalesce(s.customer_id, b.customer_id) as customer, s.customer_id is null as no_standing,"
    " b.customer_id is null as no_rows, concat_ws('; ',"
    DIFFERS("balance", "s.points_balance", "b.points_balance") ","
    DIFFERS("frequency", "s.frequency::int8", "b.frequency") ","
    DIFFERS("spend", "s.monetary_minor", "b.monetary_minor") ","
    DIFFERS("last purchase", "s.last_day", "b.last_purchase") ","
    DIFFERS("at risk", "s.at_risk", "coalesce(b.recency_days >= 30 and b.points_balance > 0, false)") ","
    " case when $3::bool then " DIFFERS("high spender", "s.high_spender",
    "coalesce(b.monetary_minor > 0 and b.monetary_minor >= (select threshold_minor from epoch), false)") " end) as what"
    " from (select * from segments.customer_standing where run_id = $1::int) s full join batch b using (customer_id)"
    " where not (select is_between from upto))"
    " select customer, 'customer ' || customer || case when no_standing then ' has rows and no standing'"
    " when no_rows then ' has a standing and no rows' else ': ' || what end as words, count(*) over () as wrong"
    " from both_sides where no_standing or no_rows or what <> '' order by customer limit 1";

static const char standing_sql[] =
    "with o as (select * from segments.owner where run_id = $1::int), " UPTO ","
    " batch as materialized (select f.* from o, upto u,"
    " lateral segments.batch_standing(o.as_of_day, $1::int, u.vector, $3::jsonb) f),"
    " both_sides as (select customer_id as customer, concat_ws('; ',"
    DIFFERS("r", "s.r", "b.recency_score") "," DIFFERS("f", "s.f", "b.frequency_score") ","
    DIFFERS("m", "s.m", "b.monetary_score") "," DIFFERS("segment", "coalesce(nullif(s.rfm_segment, $4), $5)", "b.rfm") ","
    DIFFERS("tier", "s.tier", "b.tier") "," DIFFERS("tier points", "s.tier_points", "b.tier_points") ","
    DIFFERS("potential", "s.clv_potential", "b.clv") ") as what"
    " from (select * from segments.customer_standing where run_id = $1::int) s join batch b using (customer_id))"
    " select customer, 'customer ' || customer || ': ' || what as words, count(*) over () as wrong"
    " from both_sides where what <> '' order by customer limit 1";

static const char epoch_sql[] =
    "with t as (select * from segments.thresholds where run_id = $1::int order by version desc limit 1),"
    " members as (select count(*)::int8 as members from t, lateral segments.batch_facts(t.day, $1::int, t.offsets) f"
    " where f.monetary_minor > 0 and f.monetary_minor >= t.threshold_minor),"
    " compared as (select t.version, t.day, concat_ws('; ',"
    DIFFERS("customers", "t.customers", "b.customers") "," DIFFERS("rated", "t.rated", "b.rated") "," DIFFERS("base", "t.base", "b.base") ","
    DIFFERS("k", "t.k", "b.k") "," DIFFERS("threshold", "t.threshold_minor", "b.threshold_minor") ","
    " case when t.rated > 0 then " DIFFERS("recency cuts", "t.r_cuts::int8[]", "b.recency_cuts") " end,"
    " case when t.rated > 0 then " DIFFERS("frequency cuts", "t.f_cuts::int8[]", "b.frequency_cuts") " end,"
    " case when t.rated > 0 then " DIFFERS("spend cuts", "t.m_cuts", "b.monetary_cuts") " end,"
    DIFFERS("median balance", "t.median_balance", "b.median_balance") "," DIFFERS("categories", "t.categories::int8", "b.categories") ","
    " case when $2::bool then " DIFFERS("members", "t.members", "m.members") " end) as what"
    " from t, members m, lateral segments.batch_thresholds(t.day, $1::int, t.offsets) b)"
    " select null::text as customer, 'epoch ' || version || ' of ' || day || ': ' || what as words, 1::int8 as wrong"
    " from compared where what <> ''";

static const char numbers_sql[] =
    "select null::text as customer, 'there are ' || count(*) || ' changes, numbered ' || coalesce(min(change_no), 0) || ' to '"
    " || coalesce(max(change_no), 0) || '; the next one is to be ' || o.next_change as words, 1::int8 as wrong"
    " from segments.owner o left join segments.changes c using (run_id) where o.run_id = $1::int group by o.next_change"
    " having count(c.*) <> o.next_change - 1 or coalesce(max(c.change_no), 0) <> o.next_change - 1";

static const char sequences_sql[] =
    "with own as (select customer_id, count(*) as changes, min(sequence) as first, max(sequence) as last"
    " from segments.changes where run_id = $1::int group by customer_id)"
    " select customer_id as customer, 'customer ' || customer_id || ' has ' || coalesce(c.changes, 0) || ' changes, numbered '"
    " || coalesce(c.first, 0) || ' to ' || coalesce(c.last, 0) || '; its standing knows of ' || coalesce(s.change_count, 0)"
    " as words, count(*) over () as wrong"
    " from (select * from segments.customer_standing where run_id = $1::int) s full join own c using (customer_id)"
    " where coalesce(s.change_count, 0) <> coalesce(c.changes, 0) or coalesce(c.changes, 0) <> coalesce(c.last, 0)"
    " or coalesce(c.first, 1) <> 1 order by customer_id limit 1";

static const char turns_sql[] =
    "select customer_id as customer, 'customer ' || customer_id || ': ' || kind || ' ' || segment || ' (change ' || change_no"
    " || ') comes after ' || coalesce(before, 'nothing') as words, count(*) over () as wrong from ("
    " select *, lag(kind) over (partition by customer_id, segment order by sequence) as before"
    " from segments.changes where run_id = $1::int) c"
    " where kind = coalesce(before, 'EXITED') order by change_no limit 1";

static const char fold_sql[] =
    "with stands as (select customer_id, segment from segments.customer_standing s cross join lateral (values"
    " (case when high_spender then 'HIGH_SPENDER' end), (case when at_risk then 'AT_RISK' end),"
    " ('TIER_' || nullif(tier, '')), ('RFM_' || nullif(rfm_segment, ''))) as m(segment)"
    " where run_id = $1::int and segment is not null)"
    " select customer_id as customer, 'customer ' || customer_id || case when s.segment is null then ' is in ' || segment"
    " || ' by its changes, and does not stand there' else ' stands in ' || segment || ', and no change says so' end as words,"
    " count(*) over () as wrong"
    " from (select *, segment as named from stands) s full join (select customer_id, segment, segment as named"
    " from segments.customer_segments where run_id = $1::int) c using (customer_id, segment)"
    " where s.named is null or c.named is null order by customer_id, segment limit 1";

/* ---- the topic ---- */

struct seen_change {
    uint64_t id; /* the first half of change_id; 0: free */
    bool is_known;
};

struct change_view {
    struct verify *verify;
    struct check *check;
    struct seen_change *slots;
    size_t mask, count;
    int64_t again; /* that stand in the topic once more */
    char first_again[VERIFY_TEXT_SIZE];
};

static uint64_t id_of(struct text change_id)
{
    char digits[17] = "";
    if (change_id.size >= 16)
        memcpy(digits, change_id.data, 16);
    uint64_t id = strtoull(digits, NULL, 16);
    return id == 0 ? 1 : id;
}

static struct seen_change *slot_of(struct change_view *view, uint64_t id)
{
    size_t at = id & view->mask;
    while (view->slots[at].id != 0 && view->slots[at].id != id)
        at = (at + 1) & view->mask;
    return &view->slots[at];
}

static void make_room(struct change_view *view)
{
    struct seen_change *old = view->slots;
    size_t size = old == NULL ? 0 : view->mask + 1;
    if (view->count * 2 < size)
        return;
    view->mask = (size == 0 ? 4096 : size * 4) - 1;
    view->slots = calloc(view->mask + 1, sizeof(*view->slots));
    if (view->slots == NULL)
        abort();
    for (size_t i = 0; i < size; i++)
        if (old[i].id != 0)
            *slot_of(view, old[i].id) = old[i];
    free(old);
}

static bool see_change(void *arg, struct kafka_reader *reader, const struct bus_record *record)
{
    struct change_view *view = arg;
    struct event event;
    enum code code;
    struct ll_err why = { "" };
    (void)reader;
    if (codec_read(view->verify->codec, EVENT_SEGMENT_CHANGE, record->value, view->verify->scratch, &event, &code,
                   &why) != LL_OK) {
        verify_differs(view->check, "lens status", "%s %d/%lld is no change: %s", topic_name(record->topic),
                       record->partition, (long long)record->offset, why.text);
        return true;
    }
    make_room(view);
    uint64_t id = id_of(event.segment_change.change_id);
    struct seen_change *slot = slot_of(view, id);
    if (slot->id == id && view->again++ == 0)
        snprintf(view->first_again, sizeof view->first_again, "change %s of customer %s",
                 verify_text(event.segment_change.change_id), verify_text(event.segment_change.customer_id));
    view->count += slot->id != id;
    slot->id = id;
    return true;
}

/* What is relayed is noted once a second, so the topic may have more than that, but nothing that is not in the table. */
static enum ll_status compare_topic(struct change_view *view, int64_t relayed_upto, struct ll_err *err)
{
    struct postgres_rows *rows = NULL;
    enum ll_status status = verify_query(view->verify,
                                         "select change_no, change_id, customer_id from segments.changes"
                                         " where run_id = $1::int order by change_no",
                                         &rows, err);
    if (status != LL_OK)
        return status;
    for (size_t i = 0; i < postgres_rows_count(rows); i++) {
        uint64_t id = id_of(postgres_rows_text(rows, i, "change_id"));
        int64_t number = postgres_rows_int(rows, i, "change_no");
        struct seen_change *slot = slot_of(view, id);
        if (slot->id != id && number < relayed_upto)
            verify_differs(view->check, "lens status", "change %lld of customer %s is not in the topic",
                           (long long)number, verify_text(postgres_rows_text(rows, i, "customer_id")));
        slot->is_known = slot->id == id;
    }
    postgres_rows_free(rows);
    for (size_t at = 0; view->slots != NULL && at <= view->mask; at++)
        if (view->slots[at].id != 0 && !view->slots[at].is_known)
            verify_differs(view->check, "lens status", "a change whose id begins with %016llx is in the topic, not in the table",
                           (unsigned long long)view->slots[at].id);
    return LL_OK;
}

/* Twice is what Postgres had forgotten and segment has said so, no more. */
static void compare_again(const struct change_view *view, int64_t published_again)
{
    if (view->again > published_again)
        verify_differs(view->check, "lens segments history ID", "%s is twice in the topic (%lld such in all)", view->first_again,
                       (long long)view->again);
    else if (view->again > 0)
        verify_note(view->check, "%lld changes are there twice: Postgres had fallen back behind the topic", (long long)view->again);
}

static enum ll_status check_topic(struct verify *verify, int64_t relayed_upto, int64_t published_again, struct ll_err *err)
{
    static const enum topic topics[] = { TOPIC_SEGMENT_CHANGES };
    struct change_view view = { .verify = verify };
    view.check = verify_check(verify, "standing: topic",
                              "each change that is relayed lies in segment-changes, once, and no other", "changes");
    struct scan scan = { topics, 1, NULL, 0, "reading segment-changes", see_change, &view };
    make_room(&view);
    enum ll_status status = scan_run(verify->lens, &verify->view.topics, &scan, err);
    view.check->compared = (int64_t)view.count;
    if (status == LL_OK)
        status = compare_topic(&view, relayed_upto, err);
    if (status == LL_OK)
        compare_again(&view, published_again);
    free(view.slots);
    return status;
}

/* ---- all of it ---- */

struct stands {
    bool has_run, is_settled; /* is_settled: the last day is closed, and nothing came since */
    int64_t relayed_upto, published_again, customers, changes, epochs;
};

static enum ll_status read_stands(struct verify *verify, const char *const *params, struct stands *ret,
                                  struct ll_err *err)
{
    struct postgres_rows *rows = NULL;
    enum ll_status status = postgres_query(
        verify->postgres,
        "with " UPTO
        " select o.relayed_upto, o.published_again, (o.is_closed and not u.is_between and t.offsets = u.vector)::int as settled,"
        " (select count(*) from segments.customer_standing where run_id = $1::int)::int8 as customers,"
        " (select count(*) from segments.changes where run_id = $1::int)::int8 as changes, (t.version is not null)::int as epochs"
        " from segments.owner o cross join upto u left join segments.thresholds t"
        " on t.run_id = o.run_id and t.version = o.threshold_version"
        " where o.run_id = $1::int and exists (select from segments.partitions where run_id = $1::int and rows > 0)",
        params, 2, &rows, err);
    if (status != LL_OK)
        return status;
    *ret = (struct stands){ .has_run = postgres_rows_count(rows) > 0 };
    if (ret->has_run) {
        ret->is_settled = postgres_rows_int(rows, 0, "settled") == 1;
        ret->relayed_upto = postgres_rows_int(rows, 0, "relayed_upto");
        ret->published_again = postgres_rows_int(rows, 0, "published_again");
        ret->customers = postgres_rows_int(rows, 0, "customers");
        ret->changes = postgres_rows_int(rows, 0, "changes");
        ret->epochs = postgres_rows_int(rows, 0, "epochs");
    }
    postgres_rows_free(rows);
    return LL_OK;
}

static enum ll_status check_changes(struct verify *verify, const struct stands *stands, const char *run,
                                    struct ll_err *err)
{
    static const char *const sql[] = { numbers_sql, sequences_sql, turns_sql, fold_sql };
    struct check *check = verify_check(
        verify, "standing: changes",
        "changes are numbered without a gap, in and out by turns, and end where each customer stands", "changes");
    const char *params[] = { run };
    enum ll_status status = LL_OK;
    check->compared = stands->changes;
    for (size_t i = 0; status == LL_OK && i < sizeof(sql) / sizeof(sql[0]); i++)
        status = verify_rows(verify, check, sql[i], params, 1, "lens segments history ", err);
    return status;
}

static enum ll_status check_standing(struct verify *verify, struct check *check, const struct stands *stands,
                                     const char *run, const char *partitions, struct ll_err *err)
{
    const struct config *config = &verify->lens->config;
    char settings[256];
    const char *exact = config->segment.hysteresis_percent == 0 ? "true" : "false";
    const char *facts[] = { run, partitions, exact };
    const char *full[] = { run, partitions, settings, "", "NONE" };
    const char *of_epoch[] = { run, exact };
    report_batch_settings(config, settings, sizeof(settings));
    struct check *epochs = verify_check(
        verify, "standing: epoch", "the last thresholds are the batch's, of the ledger's rows below their offsets",
        "epochs");
    epochs->compared = stands->epochs;
    lens_progress(verify->lens, "reckoning the standing from the ledger");
    enum ll_status status = verify_rows(verify, check, facts_sql, facts, 3, "lens customer ", err);
    if (status == LL_OK && stands->is_settled)
        status = verify_rows(verify, check, standing_sql, full, 5, "lens customer ", err);
    if (status == LL_OK && !stands->is_settled)
        verify_note(check, "a day is under way: scores, tiers and potential were left out");
    if (status == LL_OK)
        status = verify_rows(verify, epochs, epoch_sql, of_epoch, 2, "lens segments", err);
    lens_progress_end(verify->lens);
    return status;
}

enum ll_status verify_standing(struct verify *verify, struct ll_err *err)
{
    char run[16], partitions[16];
    struct stands stands;
    struct check *check = verify_check(
        verify, "standing", "each customer stands where the ledger's rows below segment's offsets put it", "customers");
    snprintf(run, sizeof(run), "%d", verify->lens->config.program.run);
    snprintf(partitions, sizeof(partitions), "%d", verify->partitions);
    const char *params[] = { run, partitions };
    enum ll_status status = read_stands(verify, params, &stands, err);
    if (status != LL_OK)
        return status;
    if (!stands.has_run) {
        verify_note(check, "lens-segment has not taken in anything yet");
        return LL_OK;
    }
    check->compared = stands.customers;
    status = check_standing(verify, check, &stands, run, partitions, err);
    if (status == LL_OK)
        status = check_changes(verify, &stands, run, err);
    if (status == LL_OK)
        status = check_topic(verify, stands.relayed_upto, stands.published_again, err);
    return status;
}
