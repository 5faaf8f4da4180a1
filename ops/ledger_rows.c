#include "ops/ledger_rows.h"

#include "ops/event_json.h"
#include "ops/inert.h"
#include "ops/table.h"
#include "runtime/clock.h"

#include <stdio.h>

enum ll_status ledger_rows_find(struct lens *lens, struct postgres *postgres, enum ledger_key key,
                                const char *id, int64_t limit, struct postgres_rows **ret, struct ll_err *err)
{
    char run[16], rows[24];
    snprintf(run, sizeof(run), "%d", lens->config.program.run);
    snprintf(rows, sizeof(rows), "%lld", (long long)limit);
    const char *params[] = { run, id, rows };
    const char *sql =
        key == LEDGER_BY_CUSTOMER
            ? "select * from loyalty.ledger_rows where run_id = $1::int and customer_id = $2"
              " and source_partition in (select partition from loyalty.accounts" /* a range of the key */
              " where run_id = $1::int and customer_id = $2)"
              " order by posted_ms desc, source_offset desc, seq desc limit $3::bigint"
            : "select * from loyalty.ledger_rows where run_id = $1::int"
              " and (transaction_id = $2 or sale_id = $2)"
              " order by posted_ms desc, source_offset desc, seq desc limit $3::bigint";
    return postgres_query(postgres, sql, params, 3, ret, err);
}

/* A column of JSON made by Postgres, its strings inert. */
static json_t *inert_copy(const json_t *value)
{
    if (json_is_string(value))
        return inert_json((struct text){ json_string_value(value), (uint32_t)json_string_length(value) });
    if (json_is_array(value)) {
        json_t *copy = json_array();
        for (size_t i = 0; i < json_array_size(value); i++)
            json_array_append_new(copy, inert_copy(json_array_get(value, i)));
        return copy;
    }
    if (json_is_object(value)) {
        json_t *copy = json_object();
        for (void *at = json_object_iter((json_t *)(uintptr_t)value); at != NULL;
             at = json_object_iter_next((json_t *)(uintptr_t)value, at))
            json_object_set_new(copy, json_object_iter_key(at), inert_copy(json_object_iter_value(at)));
        return copy;
    }
    return json_deep_copy(value);
}

static json_t *column_json(const struct postgres_rows *rows, size_t row, const char *column)
{
    struct text text = postgres_rows_text(rows, row, column);
    json_t *parsed = text.data == NULL ? NULL : json_loadb(text.data, text.size, JSON_ALLOW_NUL, NULL);
    json_t *value = parsed == NULL ? json_array() : inert_copy(parsed);
    json_decref(parsed);
    return value;
}

static json_t *row_json(const struct postgres_rows *rows, size_t row)
{
    static const char *const texts[] = { "type",   "transaction_id", "sale_id",  "customer_id", "store_id",
                                         "source", "sale_day",       "warnings", "raw_topic" };
    static const char *const numbers[] = { "points",           "net_minor",     "rules_version",
                                           "source_partition", "source_offset", "seq",
                                           "event_offset",     "raw_partition", "raw_offset" };
    json_t *to = json_object();
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        json_object_set_new(to, texts[i], inert_json(postgres_rows_text(rows, row, texts[i])));
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
        json_object_set_new(to, numbers[i], json_integer(postgres_rows_int(rows, row, numbers[i])));
    json_object_set_new(to, "event_time", event_json_time(postgres_rows_int(rows, row, "event_ms")));
    json_object_set_new(to, "posted_at", event_json_time(postgres_rows_int(rows, row, "posted_ms")));
    json_object_set_new(to, "rules", column_json(rows, row, "rules"));
    json_object_set_new(to, "lines", column_json(rows, row, "lines"));
    return to;
}

json_t *ledger_rows_json(const struct postgres_rows *rows)
{
    json_t *all = json_array();
    for (size_t i = 0; i < postgres_rows_count(rows); i++)
        json_array_append_new(all, row_json(rows, i));
    return all;
}

static void print_table(struct lens *lens, const struct postgres_rows *rows, size_t from, size_t count,
                        bool head)
{
    struct table *table =
        table_new(head ? "EVENT TIME|TYPE|TRANSACTION|OF SALE|CUSTOMER|>NET|>POINTS|>RULES|WHERE|REMARKS"
                       : "|||||>|>|>||");
    for (size_t i = from; i < from + count; i++) {
        char when[32];
        table_cell(table, "%.19sZ", clock_format(postgres_rows_int(rows, i, "event_ms"), when, sizeof(when)));
        table_text(table, postgres_rows_text(rows, i, "type"));
        table_text(table, postgres_rows_text(rows, i, "transaction_id"));
        table_text(table, postgres_rows_text(rows, i, "sale_id"));
        table_text(table, postgres_rows_text(rows, i, "customer_id"));
        table_cell(table, "%s", lens_money(lens, postgres_rows_int(rows, i, "net_minor")));
        table_number(table, postgres_rows_int(rows, i, "points"));
        table_number(table, postgres_rows_int(rows, i, "rules_version"));
        table_cell(table, "%lld/%lld%s%.0lld", (long long)postgres_rows_int(rows, i, "source_partition"),
                   (long long)postgres_rows_int(rows, i, "source_offset"),
                   postgres_rows_int(rows, i, "seq") > 0 ? "/" : "",
                   (long long)postgres_rows_int(rows, i, "seq"));
        table_text(table, postgres_rows_text(rows, i, "warnings"));
    }
    table_print(table, 0, stdout);
}

static void print_lines(struct lens *lens, const struct postgres_rows *rows, size_t row)
{
    json_t *lines = column_json(rows, row, "lines"), *rules = column_json(rows, row, "rules");
    struct table *table = table_new("||>|");
    size_t at;
    json_t *item;
    json_array_foreach(rules, at, item)
    {
        table_cell(table, "rule %" JSON_INTEGER_FORMAT, json_integer_value(json_object_get(item, "rule_id")));
        table_cell(table, "%s", "");
        table_cell(table, "%s points", lens_number(json_integer_value(json_object_get(item, "points"))));
        table_cell(table, "%s", "");
    }
    json_array_foreach(lines, at, item)
    {
        const char *category = json_string_value(json_object_get(item, "category"));
        const char *promotion = json_string_value(json_object_get(item, "promotion_id"));
        const char *product = json_string_value(json_object_get(item, "product_id"));
        int64_t excess = json_integer_value(json_object_get(item, "excess_minor"));
        table_cell(table, "line %s", product == NULL ? "-" : product);
        table_cell(table, "%s%s%s", category == NULL ? "" : category, promotion == NULL ? "" : " promotion ",
                   promotion == NULL ? "" : promotion);
        table_cell(table, "%s", lens_money(lens, json_integer_value(json_object_get(item, "net_minor"))));
        table_cell(table, "%s%s", excess > 0 ? "and beyond the sale " : "",
                   excess > 0 ? lens_money(lens, excess) : "");
    }
    table_print(table, 4, stdout);
    json_decref(lines);
    json_decref(rules);
}

void ledger_rows_print(struct lens *lens, const struct postgres_rows *rows, bool detail)
{
    size_t count = postgres_rows_count(rows);
    if (!detail) {
        print_table(lens, rows, 0, count, true);
        return;
    }
    for (size_t i = 0; i < count; i++) {
        print_table(lens, rows, i, 1, true);
        print_lines(lens, rows, i);
        fputs(i + 1 < count ? "\n" : "", stdout);
    }
}
