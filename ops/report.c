#include "ops/verbs.h"

#include "ops/inert.h"
#include "ops/letters.h"
#include "ops/line.h"
#include "ops/options.h"
#include "ops/reach.h"
#include "ops/report_standing.h"
#include "ops/scan.h"
#include "ops/table.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TOP_DEFAULT = 5, TOP_MAX = 1000 };

/* Everything that the report says; the field names are those of the JSON. */
struct figures {
    int64_t lines_read, lines_good, lines_bad, lines_duplicate, lines_held, lines_waiting;
    int64_t bad_by_code[CODE_COUNT], dead_by_code[CODE_COUNT], dead_letters;
    int64_t transactions, sales, returns, voids, duplicates, held, refused_by_accrue;
    int64_t net_minor, customers, customers_below_zero;
    int64_t points_earned, points_reversed, points_balance;
    int64_t unidentified_transactions, unidentified_net_minor;
};

struct report {
    struct lens *lens;
    struct topics topics;
    struct codec *codec;
    struct codec_scratch *scratch;
    struct postgres *postgres;
    struct figures figures;
    struct postgres_rows *fates; /* by partition and offset: what became of a stretch of transactions.valid */
    size_t fate_at[LINE_PARTITIONS_MAX]; /* the next one of each partition */
    int64_t next_offset[LINE_PARTITIONS_MAX];
    struct postgres_rows *top, *warnings;
    const char *as_of; /* NULL: standing as the stream has it */
    json_t *standing;
};

static enum ll_status query(struct report *report, const char *sql, struct postgres_rows **ret,
                            struct ll_err *err)
{
    char run[16];
    snprintf(run, sizeof(run), "%d", report->lens->config.program.run);
    const char *params[] = { run };
    return postgres_query(report->postgres, sql, params, 1, ret, err);
}

static enum ll_status read_totals(struct report *report, struct ll_err *err)
{
    struct figures *f = &report->figures;
    struct postgres_rows *rows = NULL;
    enum ll_status status =
        query(report, "select * from loyalty.report_totals where run_id = $1::int", &rows, err);
    if (status != LL_OK)
        return status;
    if (postgres_rows_count(rows) > 0) {
        f->transactions = postgres_rows_int(rows, 0, "transactions");
        f->sales = postgres_rows_int(rows, 0, "sales");
        f->returns = postgres_rows_int(rows, 0, "returns");
        f->voids = postgres_rows_int(rows, 0, "voids");
        f->net_minor = postgres_rows_int(rows, 0, "net_minor");
        f->points_earned = postgres_rows_int(rows, 0, "points_earned");
        f->points_reversed = postgres_rows_int(rows, 0, "points_reversed");
        f->points_balance = postgres_rows_int(rows, 0, "points_balance");
        f->unidentified_transactions = postgres_rows_int(rows, 0, "unidentified_transactions");
        f->unidentified_net_minor = postgres_rows_int(rows, 0, "unidentified_net_minor");
    }
    postgres_rows_free(rows);
    status = query(report,
                   "select count(*)::int8 as customers,"
                   " count(*) filter (where points_balance < 0)::int8 as below_zero"
                   " from loyalty.report_customers where run_id = $1::int",
                   &rows, err);
    if (status != LL_OK)
        return status;
    f->customers = postgres_rows_int(rows, 0, "customers");
    f->customers_below_zero = postgres_rows_int(rows, 0, "below_zero");
    postgres_rows_free(rows);
    return LL_OK;
}

static enum ll_status read_partitions(struct report *report, struct ll_err *err)
{
    struct postgres_rows *rows = NULL;
    enum ll_status status = query(report,
                                  "select partition as source_partition, next_offset, duplicate, dead, held"
                                  " from loyalty.partitions where run_id = $1::int",
                                  &rows, err);
    if (status != LL_OK)
        return status;
    for (size_t i = 0; i < postgres_rows_count(rows); i++) {
        int64_t p = postgres_rows_int(rows, i, "source_partition");
        if (p >= 0 && p < LINE_PARTITIONS_MAX)
            report->next_offset[p] = postgres_rows_int(rows, i, "next_offset");
        report->figures.duplicates += postgres_rows_int(rows, i, "duplicate");
        report->figures.refused_by_accrue += postgres_rows_int(rows, i, "dead");
        report->figures.held += postgres_rows_int(rows, i, "held");
    }
    postgres_rows_free(rows);
    status = query(
        report,
        "select partition as source_partition, first_offset, last_offset, 'G' as fate"
        " from loyalty.ledger_spans where run_id = $1::int"
        " union all select partition, event_offset, event_offset, 'D' from loyalty.dead where run_id = "
        "$1::int"
        " union all select partition, \"offset\", \"offset\", 'H' from loyalty.held where run_id = $1::int"
        " order by 1, 2",
        &report->fates, err);
    if (status != LL_OK)
        return status;
    for (size_t i = postgres_rows_count(report->fates); i-- > 0;) {
        int64_t p = postgres_rows_int(report->fates, i, "source_partition");
        if (p >= 0 && p < LINE_PARTITIONS_MAX)
            report->fate_at[p] = i;
    }
    return LL_OK;
}

/* One snapshot: all that Postgres says belongs together. */
static enum ll_status read_postgres(struct report *report, int64_t top, struct ll_err *err)
{
    char sql[256];
    snprintf(sql, sizeof(sql),
             "select * from loyalty.report_customers where run_id = $1::int"
             " order by points_balance desc, customer_id limit %lld",
             (long long)top);
    enum ll_status status = postgres_query(
        report->postgres, "begin isolation level repeatable read read only", NULL, 0, NULL, err);
    if (status == LL_OK)
        status = read_totals(report, err);
    if (status == LL_OK)
        status = read_partitions(report, err);
    if (status == LL_OK)
        status = query(report, sql, &report->top, err);
    if (status == LL_OK)
        status = query(report,
                       "select code, rows from loyalty.report_warnings where run_id = $1::int order by code",
                       &report->warnings, err);
    if (status == LL_OK)
        status = report_standing_read(report->lens, report->postgres, report->as_of, &report->standing, err);
    return status == LL_OK ? postgres_query(report->postgres, "commit", NULL, 0, NULL, err) : status;
}

static bool read_event(struct report *report, enum event_kind kind, const struct bus_record *record,
                       struct event *ret)
{
    enum code code = CODE_NONE;
    struct ll_err err = { "" };
    return codec_read(report->codec, kind, record->value, report->scratch, ret, &code, &err) == LL_OK;
}

/* What became of the record: 'G' a ledger row, 'D' refused, 'H' held, else 0. Offsets ascend within a partition. */
static char fate_of(struct report *report, int32_t partition, int64_t offset)
{
    const struct postgres_rows *fates = report->fates;
    size_t *at = &report->fate_at[partition];
    while (*at < postgres_rows_count(fates) &&
           postgres_rows_int(fates, *at, "source_partition") == partition) {
        if (offset > postgres_rows_int(fates, *at, "last_offset"))
            ++*at;
        else
            return offset >= postgres_rows_int(fates, *at, "first_offset")
                       ? postgres_rows_text(fates, *at, "fate").data[0]
                       : 0;
    }
    return 0;
}

static bool see(void *arg, struct kafka_reader *reader, const struct bus_record *record)
{
    (void)reader;
    struct report *report = arg;
    struct figures *f = &report->figures;
    struct event event;
    enum code code = CODE_NONE;
    if (record->topic == TOPIC_TRANSACTIONS) {
        bool decodes = read_event(report, EVENT_TRANSACTION, record, &event);
        f->lines_read += decodes ? letter_event_lines(&event.transaction) : 1;
        return true;
    }
    if (record->partition >= LINE_PARTITIONS_MAX ||
        record->offset >= report->next_offset[record->partition] ||
        codec_schema_id(record->value, &code) == codec_own_id(report->codec, EVENT_CONTROL))
        return true; /* not credited yet, or no event */
    char fate = fate_of(report, record->partition, record->offset);
    if (!read_event(report, EVENT_TRANSACTION_VALID, record, &event))
        return true;
    int64_t lines = letter_event_lines(&event.transaction);
    if (fate == 'G')
        f->lines_good += lines;
    else if (fate == 'H')
        f->lines_held += lines;
    else if (fate == 0)
        f->lines_duplicate += lines;
    return true; /* what was refused is counted as a dead letter */
}

static void see_letter(void *arg, const struct letter *letter)
{
    struct report *report = arg;
    struct figures *f = &report->figures;
    int64_t lines = letter_lines(letter, report->codec, report->scratch);
    f->dead_letters++;
    f->lines_bad += lines;
    if (text_equal(letter->stage, TEXT("import")))
        f->lines_read += lines;
    for (int code = 1; code < CODE_COUNT; code++)
        if ((letter->codes & code_bit((enum code)code)) != 0) {
            f->dead_by_code[code]++;
            f->bad_by_code[code] += lines;
        }
}

static enum ll_status read_topics(struct report *report, struct ll_err *err)
{
    static const enum topic topics[] = { TOPIC_TRANSACTIONS, TOPIC_TRANSACTIONS_VALID };
    struct scan scan = {
        .topics = topics, .topic_count = 2, .doing = "counting lines", .each = see, .arg = report
    };
    struct letter_filter all = { .topic = TOPIC_COUNT };
    struct figures *f = &report->figures;
    enum ll_status status = scan_run(report->lens, &report->topics, &scan, err);
    if (status == LL_OK)
        status = letters_each(report->lens, &all, see_letter, report, err);
    f->lines_waiting = f->lines_read - f->lines_good - f->lines_bad - f->lines_duplicate - f->lines_held;
    return status;
}

static json_t *codes_json(const int64_t by_code[CODE_COUNT])
{
    json_t *to = json_object();
    for (int code = 1; code < CODE_COUNT; code++)
        if (by_code[code] > 0)
            json_object_set_new(to, code_info((enum code)code)->name, json_integer(by_code[code]));
    return to;
}

static int print_json(struct report *report)
{
    const struct figures *f = &report->figures;
    json_t *to = json_object();
#define FIGURE(name) json_object_set_new(to, #name, json_integer(f->name))
    FIGURE(lines_read);
    FIGURE(lines_good);
    FIGURE(lines_bad);
    FIGURE(lines_duplicate);
    FIGURE(lines_held);
    FIGURE(lines_waiting);
    json_object_set_new(to, "bad_by_code", codes_json(f->bad_by_code));
    FIGURE(dead_letters);
    json_object_set_new(to, "dead_letters_by_code", codes_json(f->dead_by_code));
    FIGURE(transactions);
    FIGURE(sales);
    FIGURE(returns);
    FIGURE(voids);
    FIGURE(duplicates);
    FIGURE(held);
    FIGURE(refused_by_accrue);
    json_object_set_new(to, "currency", json_string(report->lens->config.program.currency));
    FIGURE(net_minor);
    FIGURE(customers);
    FIGURE(points_earned);
    FIGURE(points_reversed);
    FIGURE(points_balance);
    FIGURE(customers_below_zero);
    FIGURE(unidentified_transactions);
    FIGURE(unidentified_net_minor);
#undef FIGURE
    json_t *warnings = json_object();
    for (size_t i = 0; i < postgres_rows_count(report->warnings); i++) {
        char code[64];
        snprintf(code, sizeof(code), "%.*s", TEXT_ARG(postgres_rows_text(report->warnings, i, "code")));
        json_object_set_new(warnings, code, json_integer(postgres_rows_int(report->warnings, i, "rows")));
    }
    json_object_set_new(to, "warnings_by_code", warnings);
    json_t *top = json_array();
    static const char *const columns[] = { "points_balance", "points_earned", "points_reversed", "net_minor",
                                           "postings" };
    for (size_t i = 0; i < postgres_rows_count(report->top); i++) {
        json_t *one = json_object();
        json_object_set_new(one, "customer_id",
                            inert_json(postgres_rows_text(report->top, i, "customer_id")));
        for (size_t c = 0; c < sizeof(columns) / sizeof(columns[0]); c++)
            json_object_set_new(one, columns[c], json_integer(postgres_rows_int(report->top, i, columns[c])));
        json_array_append_new(top, one);
    }
    json_object_set_new(to, "top_customers", top);
    json_object_update(to, report->standing);
    return lens_print_json(report->lens, to);
}

static void row(struct table *table, const char *name, int64_t value, const char *remark)
{
    table_cell(table, "%s", name);
    table_number(table, value);
    table_cell(table, "%s", remark);
}

static void print_lines(const struct report *report)
{
    const struct figures *f = &report->figures;
    struct table *table = table_new("|>|");
    row(table, "lines read", f->lines_read, "");
    row(table, "  good", f->lines_good, "credited");
    if (f->lines_duplicate > 0)
        row(table, "  duplicate", f->lines_duplicate, "came before, credited once");
    if (f->lines_held > 0)
        row(table, "  held", f->lines_held, "of returns that wait for their sale");
    if (f->lines_waiting != 0)
        row(table, "  on the way", f->lines_waiting, "lens wait");
    row(table, "  bad", f->lines_bad, f->lines_bad > 0 ? "lens dlq list" : "");
    for (int code = 1; code < CODE_COUNT; code++)
        if (f->bad_by_code[code] > 0) {
            char name[64];
            snprintf(name, sizeof(name), "    %s", code_info((enum code)code)->name);
            row(table, name, f->bad_by_code[code], code_info((enum code)code)->meaning);
        }
    table_print(table, 0, stdout);
}

static void print_text(struct report *report)
{
    const struct figures *f = &report->figures;
    print_lines(report);
    fputc('\n', stdout);
    struct table *table = table_new("|>|");
    row(table, "transactions credited", f->transactions, "");
    row(table, "  sales", f->sales, "");
    row(table, "  returns", f->returns, "");
    if (f->voids > 0)
        row(table, "  voids", f->voids, "");
    row(table, "duplicates", f->duplicates, "not credited again");
    row(table, "returns held", f->held, "");
    table_cell(table, "net");
    table_cell(table, "%s", lens_money(report->lens, f->net_minor));
    table_cell(table, "%s", "");
    table_cell(table, "  unidentified");
    table_cell(table, "%s", lens_money(report->lens, f->unidentified_net_minor));
    table_cell(table, "in %s transactions without a customer", lens_number(f->unidentified_transactions));
    row(table, "points earned", f->points_earned, "");
    row(table, "points reversed", f->points_reversed, "");
    row(table, "points balance", f->points_balance, "");
    row(table, "customers", f->customers, "");
    row(table, "  below zero", f->customers_below_zero, "");
    for (size_t i = 0; i < postgres_rows_count(report->warnings); i++) {
        char name[64];
        struct text code = postgres_rows_text(report->warnings, i, "code");
        const struct code_info *info = code_info(code_find(code));
        snprintf(name, sizeof(name), "remark %.*s", TEXT_ARG(code));
        row(table, name, postgres_rows_int(report->warnings, i, "rows"), info == NULL ? "" : info->meaning);
    }
    table_print(table, 0, stdout);
    report_standing_print(report->lens, report->standing);
    if (postgres_rows_count(report->top) == 0)
        return;
    fputs("\nrichest customers\n", stdout);
    table = table_new("CUSTOMER|>BALANCE|>EARNED|>REVERSED|>NET|>POSTINGS");
    for (size_t i = 0; i < postgres_rows_count(report->top); i++) {
        table_text(table, postgres_rows_text(report->top, i, "customer_id"));
        table_number(table, postgres_rows_int(report->top, i, "points_balance"));
        table_number(table, postgres_rows_int(report->top, i, "points_earned"));
        table_number(table, postgres_rows_int(report->top, i, "points_reversed"));
        table_cell(table, "%s", lens_money(report->lens, postgres_rows_int(report->top, i, "net_minor")));
        table_number(table, postgres_rows_int(report->top, i, "postings"));
    }
    table_print(table, 2, stdout);
}

static int make(struct report *report, int64_t top)
{
    struct lens *lens = report->lens;
    struct ll_err err = { "" };
    int code = reach_topics(lens, &report->topics);
    if (code == LENS_DONE)
        code = reach_codec(lens, &report->codec);
    if (code == LENS_DONE)
        code = reach_postgres(lens, &report->postgres);
    if (code != LENS_DONE)
        return code;
    report->scratch = codec_scratch_new();
    enum ll_status status = read_postgres(report, top, &err);
    if (status == LL_OK)
        status = read_topics(report, &err);
    if (status != LL_OK)
        return lens_end(lens, status, &err);
    lens_progress_end(lens);
    if (lens->json)
        return print_json(report);
    print_text(report);
    return LENS_DONE;
}

int verb_report(struct lens *lens, int argc, char **argv)
{
    static const struct option options[] = { { "top", required_argument, NULL, 't' },
                                             { "as-of", required_argument, NULL, 'd' },
                                             { NULL, 0, NULL, 0 } };
    int64_t top = TOP_DEFAULT, day_ms;
    const char *as_of = NULL;
    for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        if (option == 'd') {
            as_of = optarg;
            if (strlen(as_of) != sizeof "YYYY-MM-DD" - 1 || as_of[4] != '-' ||
                !option_since(as_of, 0, &day_ms))
                return lens_usage(lens, "--as-of is a day such as 2011-02-28, not \"%s\"", as_of);
            continue;
        }
        if (option != 't')
            return LENS_USAGE;
        if (!option_int(optarg, 0, TOP_MAX, &top))
            return lens_usage(lens, "--top is a number up to %d, not \"%s\"", TOP_MAX, optarg);
    }
    if (optind < argc)
        return lens_usage(lens, "takes no argument, got \"%s\"", argv[optind]);
    struct report *report = calloc(1, sizeof(*report));
    if (report == NULL)
        abort();
    report->lens = lens;
    report->as_of = as_of;
    int code = make(report, top);
    if (report->postgres != NULL)
        postgres_close(report->postgres);
    struct postgres_rows *const rows[] = { report->fates, report->top, report->warnings };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        if (rows[i] != NULL)
            postgres_rows_free(rows[i]);
    json_decref(report->standing);
    codec_scratch_free(report->scratch);
    codec_free(report->codec);
    free(report);
    return code;
}
