#include "ops/segments_one.h"

#include "consumers/segment/engine.h"
#include "ops/inert.h"
#include "ops/reach.h"
#include "ops/table.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WHY_SIZE = 2048, RUN_SIZE = 16 };

static const char read_sql[] =
    "select (to_jsonb(s) - 'state' - 'run_id')::text as standing, encode(s.state, 'hex') as state,"
    " s.as_of_day - date '1970-01-01' as day,"
    " coalesce((select (to_jsonb(t) - 'run_id' - 'offsets')::text from segments.thresholds t"
    "            where t.run_id = s.run_id and t.version = s.threshold_version), '{}') as epoch,"
    " coalesce((select jsonb_agg(jsonb_build_object('segment', segment, 'since', since, 'reason', reason, "
    "'as_of_day', as_of_day)"
    "                            order by segment)::text from segments.customer_segments c"
    "            where c.run_id = s.run_id and c.customer_id = s.customer_id), '[]') as segments"
    "  from segments.customer_standing s where s.run_id = $1::int and s.customer_id = $2";

static json_t *load(const struct postgres_rows *rows, const char *column)
{
    struct text text = postgres_rows_text(rows, 0, column);
    return json_loadb(text.data, text.size, 0, NULL);
}

static int64_t number(const json_t *object, const char *key)
{
    return json_integer_value(json_object_get(object, key));
}
static const char *words(const json_t *object, const char *key)
{
    const char *value = json_string_value(json_object_get(object, key));
    return value == NULL ? "" : value;
}

/* ---- the potential, reckoned anew ---- */

static uint32_t category_of(void *arg, struct text name)
{
    return engine_category(arg, name, false);
}

static bool take_hex(struct text hex, char *to)
{
    for (uint32_t at = 0; at + 1 < hex.size; at += 2) {
        char pair[3] = { hex.data[at], hex.data[at + 1], '\0' }, *end;
        to[at / 2] = (char)strtoul(pair, &end, 16);
        if (*end != '\0')
            return false;
    }
    return true;
}

static bool reckon(const struct lens *lens, const struct postgres_rows *rows, const json_t *epoch,
                   struct clv *ret)
{
    struct text hex = postgres_rows_text(rows, 0, "state");
    const struct engine_settings settings = {
        .run = lens->config.program.run,
        .weights = { { lens->config.segment.weight_trajectory, lens->config.segment.weight_engagement,
                       lens->config.segment.weight_breadth, lens->config.segment.weight_points } },
    };
    struct engine engine;
    char *state = malloc(hex.size / 2 + 1);
    if (state == NULL)
        abort();
    engine_init(&engine, &settings, NULL, NULL, NULL);
    engine_begin(&engine, (int32_t)postgres_rows_int(rows, 0, "day"));
    engine.epoch.median_balance = number(epoch, "median_balance");
    engine.epoch.categories = (int32_t)number(epoch, "categories");
    struct standing *customer = engine_add(&engine, TEXT("one"));
    bool well = take_hex(hex, state) &&
                standing_read(customer, (struct text){ state, hex.size / 2 }, category_of, &engine);
    if (well)
        engine_clv(&engine, customer, ret);
    engine_done(&engine);
    free(state);
    return well;
}

static json_t *part_json(const struct lens *lens, const struct clv *clv, enum clv_part part)
{
    static const char *const names[CLV_PARTS] = { "trajectory", "engagement", "breadth", "points" };
    const int32_t weights[CLV_PARTS] = { lens->config.segment.weight_trajectory,
                                         lens->config.segment.weight_engagement,
                                         lens->config.segment.weight_breadth,
                                         lens->config.segment.weight_points };
    json_t *inputs = NULL;
    switch (part) {
    case CLV_TRAJECTORY:
        inputs = json_pack("{s:I, s:i, s:I, s:i}", "recent_minor", (json_int_t)clv->recent_minor,
                           "recent_visits", clv->recent_visits, "prior_minor", (json_int_t)clv->prior_minor,
                           "prior_visits", clv->prior_visits);
        break;
    case CLV_ENGAGEMENT:
        inputs =
            json_pack("{s:i, s:i}", "weeks_with_a_visit", clv->weeks_active, "weeks_known", clv->weeks_known);
        break;
    case CLV_BREADTH:
        inputs = json_pack("{s:f, s:i}", "categories_evenly", clv->breadth, "of", clv->breadth_of);
        break;
    case CLV_POINTS:
        inputs = json_pack("{s:I, s:I}", "balance", (json_int_t)clv->balance, "median_balance",
                           (json_int_t)clv->median_balance);
        break;
    case CLV_PARTS:
        break;
    }
    return json_pack("{s:s, s:i, s:f, s:i, s:o}", "part", names[part], "weight", weights[part], "component",
                     clv->component[part], "thousandths", clv->thousandths[part], "inputs", inputs);
}

static json_t *clv_json(const struct lens *lens, const struct clv *clv)
{
    json_t *parts = json_array();
    for (enum clv_part part = CLV_TRAJECTORY; part < CLV_PARTS; part++)
        json_array_append_new(parts, part_json(lens, clv, part));
    return json_pack("{s:i, s:f, s:i, s:o}", "potential", clv->potential, "gate", clv->gate, "recency_days",
                     clv->recency_days, "contributions", parts);
}

/* ---- why, in one paragraph ---- */

struct prose {
    char text[WHY_SIZE];
    size_t used;
};

static void say(struct prose *prose, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void say(struct prose *prose, const char *format, ...)
{
    va_list values;
    va_start(values, format);
    int size = vsnprintf(prose->text + prose->used, sizeof prose->text - prose->used, format, values);
    va_end(values);
    if (size > 0)
        prose->used += (size_t)size < sizeof prose->text - prose->used ? (size_t)size
                                                                       : sizeof prose->text - prose->used - 1;
}

/* "since 2011-02-28 (PURCHASE)"; empty: is no member. */
static void say_since(struct prose *prose, const json_t *one, const char *segment)
{
    const json_t *membership;
    size_t at;
    json_array_foreach(json_object_get(one, "segments"), at,
                       membership) if (strcmp(words(membership, "segment"), segment) == 0)
        say(prose, " since %.10s (%s)", words(membership, "since"), words(membership, "reason"));
}

static void say_scores(struct prose *prose, const json_t *one, const json_t *epoch)
{
    int64_t version = number(one, "threshold_version");
    char segment[64];
    if (version == 0) {
        say(prose, " No day has been closed yet, so there are no thresholds and no scores.");
        return;
    }
    if (number(one, "r") == 0) {
        say(prose, " Without a sale in twelve months there are no scores.");
        return;
    }
    snprintf(segment, sizeof segment, "RFM_%s", words(one, "rfm_segment"));
    say(prose,
        " Against the fifths of %s (version %lld) that is recency %lld, frequency %lld, spend %lld of 5: %s, "
        "who %s,",
        words(epoch, "day"), (long long)version, (long long)number(one, "r"), (long long)number(one, "f"),
        (long long)number(one, "m"), words(one, "rfm_segment"),
        rfm_meaning(rfm_find(words(one, "rfm_segment"))));
    say_since(prose, one, segment);
    say(prose, ".");
}

static void say_flags(const struct lens *lens, struct prose *prose, const json_t *one, const json_t *epoch)
{
    bool high = json_is_true(json_object_get(one, "high_spender")),
         risk = json_is_true(json_object_get(one, "at_risk"));
    int64_t balance = number(one, "points_balance");
    if (number(one, "threshold_version") > 0 && number(epoch, "base") > 0) {
        say(prose, " %s high spender", high ? "A" : "No");
        if (high)
            say_since(prose, one, "HIGH_SPENDER");
        say(prose, ": the threshold is %s, the spend of number %s among %s customers.",
            lens_money(lens, number(epoch, "threshold_minor")), lens_number(number(epoch, "k")),
            lens_number(number(epoch, "base")));
    }
    say(prose, " %s at risk", risk ? "Is" : "Is not");
    if (risk)
        say_since(prose, one, "AT_RISK");
    if (json_is_null(json_object_get(one, "recency_days")))
        say(prose, ": has never bought.");
    else
        say(prose, ": %lld days without a visit (%d are the limit) and %s points that could be spent.",
            (long long)number(one, "recency_days"), lens->config.segment.at_risk_days,
            lens_number(balance > 0 ? balance : 0));
}

static void say_facts(const struct lens *lens, struct prose *prose, const json_t *one)
{
    say(prose, "As of %s, %s ", words(one, "as_of_day"), words(one, "customer_id"));
    if (json_is_null(json_object_get(one, "recency_days")))
        say(prose, "has no sale of which anything is left");
    else
        say(prose, "bought last on %s, %lld days ago, and %lld times in twelve months",
            words(one, "last_day"), (long long)number(one, "recency_days"),
            (long long)number(one, "frequency"));
    say(prose, ", for %s in all.", lens_money(lens, number(one, "monetary_minor")));
}

static void say_tier(const struct lens *lens, struct prose *prose, const json_t *one)
{
    char segment[64];
    snprintf(segment, sizeof segment, "TIER_%s", words(one, "tier"));
    say(prose, " Tier %s", words(one, "tier"));
    say_since(prose, one, segment);
    say(prose,
        ": %s points in twelve months, SILVER from %s, GOLD from %s; it falls only at the review on the "
        "first of a month.",
        lens_number(number(one, "tier_points")), lens_number(lens->config.segment.tier_silver),
        lens_number(lens->config.segment.tier_gold));
}

static json_t *why(const struct lens *lens, const json_t *one, const json_t *epoch, const struct clv *clv)
{
    struct prose prose = { .used = 0 };
    say_facts(lens, &prose, one);
    say_scores(&prose, one, epoch);
    say_flags(lens, &prose, one, epoch);
    say_tier(lens, &prose, one);
    say(&prose,
        " The potential is %d of 100: trajectory %.1f, engagement %.1f, breadth %.1f, points %.1f, after a "
        "recency gate of %.2f.",
        clv->potential, clv->thousandths[CLV_TRAJECTORY] / 1000.0, clv->thousandths[CLV_ENGAGEMENT] / 1000.0,
        clv->thousandths[CLV_BREADTH] / 1000.0, clv->thousandths[CLV_POINTS] / 1000.0, clv->gate);
    return inert_json((struct text){ prose.text, (uint32_t)prose.used });
}

/* ---- */

static enum ll_status make(struct lens *lens, const struct postgres_rows *rows, json_t **ret,
                           struct ll_err *err)
{
    struct clv clv = { 0 };
    json_t *one = load(rows, "standing"), *epoch = load(rows, "epoch"), *segments = load(rows, "segments");
    enum ll_status status = LL_OK;
    if (one == NULL || epoch == NULL || segments == NULL || !reckon(lens, rows, epoch, &clv)) {
        status = ll_fail(
            err, LL_FATAL,
            "postgres: segments.customer_standing has a row that is not of the form that segment writes");
        json_decref(one);
        json_decref(epoch);
        json_decref(segments);
        return status;
    }
    json_object_set_new(one, "segments", segments);
    json_object_set_new(one, "clv", clv_json(lens, &clv));
    json_object_set_new(one, "why", why(lens, one, epoch, &clv));
    json_object_set_new(one, "thresholds", epoch);
    json_object_set_new(one, "customer_id", inert_json(text_of(words(one, "customer_id"))));
    *ret = one;
    return status;
}

enum ll_status segments_one_read(struct lens *lens, struct postgres *postgres, const char *customer_id,
                                 json_t **ret, struct ll_err *err)
{
    struct postgres_rows *rows = NULL;
    char run[RUN_SIZE];
    snprintf(run, sizeof run, "%d", lens->config.program.run);
    const char *params[] = { run, customer_id };
    *ret = NULL;
    enum ll_status status = postgres_query(postgres, read_sql, params, 2, &rows, err);
    if (status != LL_OK)
        return status;
    if (postgres_rows_count(rows) > 0)
        status = make(lens, rows, ret, err);
    postgres_rows_free(rows);
    return status;
}

void segments_one_print(struct lens *lens, const json_t *one, int indent)
{
    static const char *const said[CLV_PARTS] = { "spend per visit, recent against prior",
                                                 "weeks with a visit of those known",
                                                 "categories, evenly spread",
                                                 "balance against ten times the median" };
    const json_t *clv = json_object_get(one, "clv"), *part, *membership;
    size_t at;
    struct table *table = table_new("|");
    json_array_foreach(json_object_get(one, "segments"), at, membership)
    {
        table_cell(table, "%s", words(membership, "segment"));
        table_cell(table, "since %.10s, %s", words(membership, "since"), words(membership, "reason"));
    }
    printf("standing as of %s: last visit %s, %s visits in twelve months, %s, tier points %s\n",
           words(one, "as_of_day"), words(one, "last_day")[0] == '\0' ? "never" : words(one, "last_day"),
           lens_number(number(one, "frequency")), lens_money(lens, number(one, "monetary_minor")),
           lens_number(number(one, "tier_points")));
    table_print(table, indent, stdout);
    printf("potential %lld of 100, recency gate %.3f\n", (long long)number(clv, "potential"),
           json_real_value(json_object_get(clv, "gate")));
    table = table_new("PART|>CONTRIBUTION|>OF|>COMPONENT|INPUTS");
    json_array_foreach(json_object_get(clv, "contributions"), at, part)
    {
        const json_t *inputs = json_object_get(part, "inputs");
        table_cell(table, "%s", words(part, "part"));
        table_cell(table, "%.3f", (double)number(part, "thousandths") / 1000);
        table_cell(table, "%lld", (long long)number(part, "weight"));
        table_cell(table, "%.4f", json_real_value(json_object_get(part, "component")));
        if (at == CLV_TRAJECTORY)
            table_cell(
                table, "%s: %s in %lld visits, %s in %lld", said[at],
                lens_money(lens, number(inputs, "recent_minor")), (long long)number(inputs, "recent_visits"),
                lens_money(lens, number(inputs, "prior_minor")), (long long)number(inputs, "prior_visits"));
        else if (at == CLV_ENGAGEMENT)
            table_cell(table, "%s: %lld of %lld", said[at], (long long)number(inputs, "weeks_with_a_visit"),
                       (long long)number(inputs, "weeks_known"));
        else if (at == CLV_BREADTH)
            table_cell(table, "%s: %.2f of %lld", said[at],
                       json_real_value(json_object_get(inputs, "categories_evenly")),
                       (long long)number(inputs, "of"));
        else
            table_cell(table, "%s: %s against 10 x %s", said[at], lens_number(number(inputs, "balance")),
                       lens_number(number(inputs, "median_balance")));
    }
    table_print(table, indent, stdout);
}

int segments_one_explain(struct lens *lens, const char *customer_id)
{
    struct postgres *postgres = NULL;
    struct ll_err err = { "" };
    json_t *one = NULL;
    int code = reach_postgres(lens, &postgres);
    if (code == LENS_DONE)
        code = lens_end(lens, segments_one_read(lens, postgres, customer_id, &one, &err), &err);
    if (code == LENS_DONE && one == NULL)
        code =
            lens_fail(lens, "segment knows no customer \"%s\": see `lens customer`, or `lens segments wait`",
                      customer_id);
    else if (code == LENS_DONE && lens->json) {
        code = lens_print_json(lens, json_incref(one));
    } else if (code == LENS_DONE) {
        inert_print(text_of(words(one, "why")), stdout);
        putchar('\n');
    }
    json_decref(one);
    if (postgres != NULL)
        postgres_close(postgres);
    return code;
}
