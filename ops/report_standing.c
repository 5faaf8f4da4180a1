#include "ops/report_standing.h"

#include "ops/table.h"

#include <stdio.h>
#include <string.h>

/* A query of one row and one column, a JSON object; its keys go into *to. */
static enum ll_status add(struct postgres *postgres, const char *sql, const char *const *params,
                          int param_count, json_t *to, struct ll_err *err)
{
    struct postgres_rows *rows = NULL;
    enum ll_status status = postgres_query(postgres, sql, params, param_count, &rows, err);
    if (status != LL_OK)
        return status;
    struct text text = postgres_rows_text(rows, 0, "report");
    json_error_t error;
    json_t *object = json_loadb(text.data, text.size, 0, &error);
    if (object == NULL || json_object_update(to, object) != 0)
        status = ll_fail(err, LL_FATAL, "Postgres answered with what is no JSON object: %s", error.text);
    json_decref(object);
    postgres_rows_free(rows);
    return status;
}

void report_batch_settings(const struct config *config, char *to, size_t size)
{
    snprintf(
        to, size,
        "{\"silver_points\": %lld, \"gold_points\": %lld, \"clv_trajectory\": %d, \"clv_engagement\": %d,"
        " \"clv_breadth\": %d, \"clv_points\": %d, \"at_risk_days\": %d, \"high_spender_percent\": %d}",
        (long long)config->segment.tier_silver, (long long)config->segment.tier_gold,
        config->segment.weight_trajectory, config->segment.weight_engagement, config->segment.weight_breadth,
        config->segment.weight_points, config->segment.at_risk_days, config->segment.high_spender_percent);
}

enum ll_status report_standing_read(const struct lens *lens, struct postgres *postgres, const char *as_of,
                                    json_t **ret, struct ll_err *err)
{
    char run[16], settings[256];
    snprintf(run, sizeof run, "%d", lens->config.program.run);
    report_batch_settings(&lens->config, settings, sizeof settings);
    const char *params[] = { run, as_of, settings };
    json_t *to = json_object();
    enum ll_status status =
        as_of == NULL ? add(postgres, "select segments.report($1::int) as report", params, 1, to, err)
                      : add(postgres, "select segments.batch_report($2::date, $1::int, $3::jsonb) as report",
                            params, 3, to, err);
    if (status == LL_OK)
        status = add(postgres,
                     "select jsonb_build_object("
                     "'letters', (select coalesce(jsonb_object_agg(state, n), '{}')"
                     " from (select state, sum(letters) as n from mail.counts where run_id = $1::int group "
                     "by state) as s),"
                     "'letters_held', (select coalesce(jsonb_object_agg(reason, n), '{}')"
                     " from (select reason, sum(letters) as n from mail.counts where run_id = $1::int and "
                     "state = 'held'"
                     " and reason is not null group by reason) as r)) as report",
                     params, 1, to, err);
    if (status != LL_OK) {
        json_decref(to);
        return status;
    }
    *ret = to;
    return LL_OK;
}

static void row(struct table *table, const char *name, int64_t value, const char *remark)
{
    table_cell(table, "%s", name);
    table_number(table, value);
    table_cell(table, "%s", remark);
}

static int64_t number(const json_t *of, const char *key)
{
    return json_integer_value(json_object_get(of, key));
}

/* What the members of a named segment have in common, by consumers/segment/rfm_map.h. */
static const struct {
    const char *name, *meaning;
} segments[] = {
    { "CHAMPION", "bought lately, and more and more often than most" },
    { "LOYAL", "buy often and much" },
    { "POTENTIAL_LOYALIST", "bought lately, more than once or more than little" },
    { "NEW_CUSTOMER", "bought lately, little so far" },
    { "PROMISING", "bought not long ago, little so far" },
    { "NEEDS_ATTENTION", "middling, and it is a while" },
    { "ABOUT_TO_SLEEP", "little, and it is a while" },
    { "SLIPPING", "bought often and much, but not lately" },
    { "CANNOT_LOSE", "bought often and much, long ago" },
    { "HIBERNATING", "long ago" },
    { "LOST", "little, and long ago" },
    { "NONE", "no purchase in twelve months" },
};

static void cell(struct table *table, const json_t *of, const char *key)
{
    const char *value = json_string_value(json_object_get(of, key));
    table_text(table, value == NULL ? (struct text){ 0 } : text_of(value));
}

static void print_changes(const json_t *changes)
{
    if (json_array_size(changes) == 0)
        return;
    fputs("\nthe last change of each reason (lens explain segment ID)\n", stdout);
    struct table *table = table_new("EFFECTIVE|CUSTOMER|SEGMENT|KIND|REASON|>THRESHOLDS");
    for (size_t i = 0; i < json_array_size(changes); i++) {
        const json_t *change = json_array_get(changes, i);
        cell(table, change, "effective_at");
        cell(table, change, "customer_id");
        cell(table, change, "segment");
        cell(table, change, "kind");
        cell(table, change, "reason");
        table_number(table, number(change, "threshold_version"));
    }
    table_print(table, 2, stdout);
}

static void print_letters(const json_t *standing)
{
    json_t *letters = json_object_get(standing, "letters");
    if (json_object_size(letters) == 0)
        return;
    fputs("\nletters (lens mail list)\n", stdout);
    struct table *table = table_new("|>|");
    const char *name, *reason;
    const json_t *count, *held;
    json_object_foreach(letters, name, count)
    {
        row(table, name, json_integer_value(count), "");
        if (strcmp(name, "held") != 0)
            continue;
        json_object_foreach(json_object_get(standing, "letters_held"), reason, held)
        {
            char indented[80];
            snprintf(indented, sizeof indented, "  %s", reason);
            row(table, indented, json_integer_value(held), "");
        }
    }
    table_print(table, 2, stdout);
}

void report_standing_print(const struct lens *lens, const json_t *standing)
{
    const char *as_of = json_string_value(json_object_get(standing, "as_of"));
    if (as_of == NULL) {
        fputs("\nstanding: no day has begun yet; is segment running? `lens status`\n", stdout);
        return;
    }
    printf("\nstanding as of %s\n", as_of);
    const json_t *high = json_object_get(standing, "high_spender");
    const json_t *threshold = json_object_get(high, "threshold_minor");
    char remark[160] = "nobody has spent anything in twelve months";
    if (json_is_integer(threshold))
        snprintf(remark, sizeof remark,
                 "spent %s or more in twelve months: the top %s of %s customers, ties in",
                 lens_money(lens, json_integer_value(threshold)), lens_number(number(high, "k")),
                 lens_number(number(high, "base")));
    struct table *table = table_new("|>|");
    row(table, "high spenders", number(high, "members"), remark);
    row(table, "at risk", number(standing, "at_risk"), "no purchase for 30 days, and points to spend");
    static const char *const tiers[] = { "GOLD", "SILVER", "BRONZE" };
    const int64_t floors[] = { lens->config.segment.tier_gold, lens->config.segment.tier_silver, 0 };
    for (size_t i = 0; i < sizeof tiers / sizeof tiers[0]; i++) {
        char name[32];
        snprintf(name, sizeof name, "tier %s", tiers[i]);
        remark[0] = '\0';
        if (floors[i] > 0)
            snprintf(remark, sizeof remark, "%s points in twelve months", lens_number(floors[i]));
        row(table, name, number(json_object_get(standing, "tiers"), tiers[i]), remark);
    }
    const json_t *counts = json_object_get(standing, "segments");
    for (size_t i = 0; i < sizeof segments / sizeof segments[0]; i++)
        if (json_object_get(counts, segments[i].name) != NULL)
            row(table, segments[i].name, number(counts, segments[i].name), segments[i].meaning);
    table_print(table, 2, stdout);
    print_changes(json_object_get(standing, "changes"));
    print_letters(standing);
}
