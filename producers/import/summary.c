#include "producers/import/summary.h"

#include "producers/import/money.h"

#include <stdlib.h>
#include <string.h>

char *summary_number(int64_t value, char to[32])
{
    char digits[24];
    int size = snprintf(digits, sizeof digits, "%lld", (long long)value), used = 0;
    for (int i = 0; i < size; i++) {
        to[used++] = digits[i];
        if (digits[i] != '-' && i + 1 < size && (size - i - 1) % 3 == 0)
            to[used++] = ',';
    }
    to[used] = '\0';
    return to;
}

static json_t *bad_by_code(const struct import_counts *counts)
{
    json_t *object = json_object();
    for (int code = 1; code < CODE_COUNT; code++)
        if (counts->bad_by_code[code] > 0)
            json_object_set_new(object, code_info((enum code)code)->name,
                                json_integer(counts->bad_by_code[code]));
    return object;
}

static json_t *events_by_topic(const struct import_counts *counts)
{
    json_t *object = json_object();
    for (int topic = 0; topic < TOPIC_COUNT; topic++)
        if (counts->events[topic] > 0)
            json_object_set_new(object, topic_name((enum topic)topic), json_integer(counts->events[topic]));
    return object;
}

static json_t *files_of(const struct summary_facts *facts)
{
    json_t *list = json_array();
    for (int i = 0; i < facts->files->count; i++) {
        const struct fileset_file *file = &facts->files->files[i];
        json_array_append_new(list, json_pack("{s:s, s:s, s:s, s:I, s:I}", "file", file->name, "kind",
                                              profile_kind_name(file->spec->kind), "sha256", file->sha256,
                                              "bytes", (json_int_t)file->size, "rows",
                                              (json_int_t)importer_file_rows(facts->importer, i)));
    }
    return list;
}

json_t *summary_json(const struct summary_facts *facts)
{
    const struct import_counts *counts = importer_counts(facts->importer);
    json_t *summary = json_pack(
        "{s:s, s:s, s:o, s:I, s:I, s:I, s:I, s:o, s:o, s:I, s:I, s:I, s:I, s:I, s:s, s:I, s:f, s:s, s:s, "
        "s:b, "
        "s:I, s:I}",
        "profile", facts->profile, "sha256", facts->files->sha256, "files", files_of(facts), "lines_read",
        (json_int_t)counts->lines_read, "lines_good", (json_int_t)counts->lines_good, "lines_bad",
        (json_int_t)counts->lines_bad, "lines_blank", (json_int_t)counts->lines_blank, "bad_by_code",
        bad_by_code(counts), "events", events_by_topic(counts), "transactions",
        (json_int_t)counts->events[TOPIC_TRANSACTIONS], "sales", (json_int_t)counts->sales, "returns",
        (json_int_t)counts->returns, "voids", (json_int_t)counts->voids, "net_minor",
        (json_int_t)counts->net_minor, "currency", facts->currency, "bytes", (json_int_t)facts->files->size,
        "seconds", facts->seconds, "started_at", facts->started_at, "ended_at", facts->ended_at, "done",
        facts->done, "attempt", (json_int_t)facts->attempt, "resumed_at", (json_int_t)facts->resumed_at);
    if (summary == NULL)
        abort();
    return summary;
}

static int64_t number_of(const json_t *summary, const char *name)
{
    return json_integer_value(json_object_get(summary, name));
}

static void print_pairs(json_t *object, const char *label, const char *none, FILE *to)
{
    char number[32];
    const char *name;
    json_t *value;
    bool first = true;
    fprintf(to, "  %-13s ", label);
    json_object_foreach(object, name, value)
    {
        fprintf(to, "%s%s %s", first ? "" : ", ", summary_number(json_integer_value(value), number), name);
        first = false;
    }
    fprintf(to, "%s\n", first ? none : "");
}

static void print_files(const json_t *summary, FILE *to)
{
    size_t index;
    json_t *file;
    char number[32];
    json_array_foreach(json_object_get(summary, "files"), index, file) fprintf(
        to, "  %-13s %s: %s rows, sha256 %.16s...\n", index == 0 ? "files" : "",
        json_string_value(json_object_get(file, "file")), summary_number(number_of(file, "rows"), number),
        json_string_value(json_object_get(file, "sha256")));
}

static void print_money(int64_t minor, const char *currency, FILE *to)
{
    char number[32];
    int digits = money_digits(text_of(currency));
    int64_t unit = digits == 3 ? 1000 : digits == 2 ? 100 : 1;
    fprintf(to, "%s%s", minor < 0 && minor > -unit ? "-" : "", summary_number(minor / unit, number));
    if (digits > 0)
        fprintf(to, ".%0*lld", digits, llabs((long long)(minor % unit)));
    fprintf(to, " %s", currency);
}

void summary_print(const json_t *summary, FILE *to)
{
    char a[32], b[32], c[32], d[32];
    double seconds = json_real_value(json_object_get(summary, "seconds"));
    print_files(summary, to);
    fprintf(to, "  %-13s %s read = %s good + %s bad", "rows",
            summary_number(number_of(summary, "lines_read"), a),
            summary_number(number_of(summary, "lines_good"), b),
            summary_number(number_of(summary, "lines_bad"), c));
    if (number_of(summary, "lines_blank") > 0)
        fprintf(to, "; %s empty lines skipped", summary_number(number_of(summary, "lines_blank"), d));
    fputc('\n', to);
    print_pairs(json_object_get(summary, "bad_by_code"), "bad by reason", "none", to);
    fprintf(to, "  %-13s %s = %s sales + %s returns + %s voids, net ", "transactions",
            summary_number(number_of(summary, "transactions"), a),
            summary_number(number_of(summary, "sales"), b), summary_number(number_of(summary, "returns"), c),
            summary_number(number_of(summary, "voids"), d));
    print_money(number_of(summary, "net_minor"), json_string_value(json_object_get(summary, "currency")), to);
    fputc('\n', to);
    print_pairs(json_object_get(summary, "events"), "events to", "none", to);
    fprintf(
        to, "  %-13s %s bytes in %.2f s (%s rows/s)\n", "time",
        summary_number(number_of(summary, "bytes"), a), seconds,
        summary_number(seconds > 0 ? (int64_t)((double)number_of(summary, "lines_read") / seconds) : 0, b));
}
