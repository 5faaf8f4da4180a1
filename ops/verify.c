#include "ops/verify.h"
#include "ops/verbs.h"

#include "ops/inert.h"
#include "ops/reach.h"
#include "ops/table.h"
#include "runtime/clock.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct check *verify_check(struct verify *verify, const char *name, const char *what, const char *unit)
{
    assert(verify->check_count < VERIFY_CHECKS_MAX);
    struct check *check = &verify->checks[verify->check_count++];
    *check = (struct check){ .name = name, .what = what, .unit = unit };
    return check;
}

static void write_inert(char to[VERIFY_TEXT_SIZE], const char *format, va_list args)
{
    char raw[VERIFY_TEXT_SIZE];
    vsnprintf(raw, sizeof(raw), format, args);
    inert_write(text_of(raw), to, VERIFY_TEXT_SIZE);
}

void verify_differs(struct check *check, const char *next, const char *format, ...)
{
    if (check->different++ > 0)
        return;
    va_list args;
    va_start(args, format);
    write_inert(check->first, format, args);
    va_end(args);
    snprintf(check->next, sizeof(check->next), "%s", next);
}

void verify_note(struct check *check, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    write_inert(check->note, format, args);
    va_end(args);
}

const char *verify_text(struct text text)
{
    enum { RING = 8, SIZE = 96 };
    static char ring[RING][SIZE];
    static size_t at;
    char *to = ring[at++ % RING];
    if (text.data == NULL)
        return strcpy(to, "(none)");
    return inert_write(text, to, SIZE);
}

enum ll_status verify_query(struct verify *verify, const char *sql, struct postgres_rows **ret,
                            struct ll_err *err)
{
    char run[16];
    snprintf(run, sizeof(run), "%d", verify->lens->config.program.run);
    const char *params[] = { run };
    return postgres_query(verify->postgres, sql, params, 1, ret, err);
}

enum ll_status verify_rows(struct verify *verify, struct check *check, const char *sql,
                           const char *const *params, int param_count, const char *next, struct ll_err *err)
{
    struct postgres_rows *rows = NULL;
    char command[200];
    enum ll_status status = postgres_query(verify->postgres, sql, params, param_count, &rows, err);
    if (status != LL_OK)
        return status;
    if (postgres_rows_count(rows) > 0) {
        struct text customer = postgres_rows_text(rows, 0, "customer");
        snprintf(command, sizeof(command), "%s%s", next, customer.data == NULL ? "" : verify_text(customer));
        struct text words = postgres_rows_text(rows, 0, "words");
        int64_t before = check->different;
        verify_differs(check, command, "%.*s", TEXT_ARG(words));
        check->different = before + postgres_rows_int(rows, 0, "wrong");
    }
    postgres_rows_free(rows);
    return LL_OK;
}

/* In one statement, so that counts and offsets belong together. */
static enum ll_status take_cut(struct verify *verify, struct ll_err *err)
{
    struct line_part *part = malloc(sizeof(*part));
    struct postgres_rows *rows = NULL;
    if (part == NULL)
        abort();
    enum ll_status status = line_ends(&verify->view, TOPIC_TRANSACTIONS_VALID, part, err);
    verify->partitions = part->partitions;
    free(part);
    if (status != LL_OK)
        return status;
    verify->cuts = calloc((size_t)verify->partitions + 1, sizeof(*verify->cuts));
    if (verify->cuts == NULL)
        abort();
    status = verify_query(
        verify,
        "select c.*, c.partition as source_partition, loyalty.ms(p.clock) as clock_ms, p.rules_version"
        " from loyalty.verify_counts c join loyalty.partitions p using (run_id, partition)"
        " where run_id = $1::int",
        &rows, err);
    if (status != LL_OK)
        return status;
    for (size_t i = 0; i < postgres_rows_count(rows); i++) {
        int64_t partition = postgres_rows_int(rows, i, "source_partition");
        if (partition < 0 || partition >= verify->partitions)
            continue;
        verify->cuts[partition] = (struct verify_cut){
            .known = true,
            .next_offset = postgres_rows_int(rows, i, "next_offset"),
            .clock_ms = postgres_rows_int(rows, i, "clock_ms"),
            .rules_version = (int32_t)postgres_rows_int(rows, i, "rules_version"),
            .read = postgres_rows_int(rows, i, "read_count"),
            .credited = postgres_rows_int(rows, i, "credited"),
            .duplicate = postgres_rows_int(rows, i, "duplicate"),
            .dead = postgres_rows_int(rows, i, "dead"),
            .held = postgres_rows_int(rows, i, "held"),
            .control = postgres_rows_int(rows, i, "control"),
            .ledger_rows = postgres_rows_int(rows, i, "ledger_rows"),
            .dead_rows = postgres_rows_int(rows, i, "dead_rows"),
            .held_rows = postgres_rows_int(rows, i, "held_rows"),
        };
    }
    postgres_rows_free(rows);
    return LL_OK;
}

static int print_json(struct lens *lens, const struct verify *verify, int64_t different, double seconds)
{
    json_t *checks = json_array();
    for (size_t i = 0; i < verify->check_count; i++) {
        const struct check *check = &verify->checks[i];
        json_t *one = json_pack("{s:s, s:s, s:s, s:I, s:I}", "check", check->name, "what", check->what,
                                "unit", check->unit, "compared", (json_int_t)check->compared, "different",
                                (json_int_t)check->different);
        json_object_set_new(one, "first", check->different > 0 ? json_string(check->first) : json_null());
        json_object_set_new(one, "next", check->different > 0 ? json_string(check->next) : json_null());
        json_object_set_new(one, "note", check->note[0] != '\0' ? json_string(check->note) : json_null());
        json_array_append_new(checks, one);
    }
    return lens_print_json(lens, json_pack("{s:b, s:I, s:f, s:o}", "ok", different == 0, "different",
                                           (json_int_t)different, "seconds", seconds, "checks", checks));
}

static void print_text(const struct verify *verify, int64_t different, double seconds)
{
    struct table *table = table_new("CHECK|>COMPARED||>DIFFERENT|WHAT MUST BE TRUE");
    for (size_t i = 0; i < verify->check_count; i++) {
        const struct check *check = &verify->checks[i];
        table_cell(table, "%s", check->name);
        table_number(table, check->compared);
        table_cell(table, "%s", check->unit);
        table_number(table, check->different);
        table_cell(table, "%s", check->what);
    }
    table_print(table, 0, stdout);
    for (size_t i = 0; i < verify->check_count; i++) {
        const struct check *check = &verify->checks[i];
        if (check->different > 0)
            printf("\n%s: %s\n  next: %s\n", check->name, check->first, check->next);
        if (check->note[0] != '\0')
            printf("\n%s: %s\n", check->name, check->note);
    }
    printf("\nverify: %s (%.1f s)\n", different == 0 ? "OK, nothing differs" : "DIFFERENCES FOUND", seconds);
}

static enum ll_status run_checks(struct verify *verify, struct ll_err *err)
{
    static enum ll_status (*const checks[])(struct verify *,
                                            struct ll_err *) = { verify_raw, verify_reference, verify_counts,
                                                                 verify_redis, verify_fold, verify_relay,
                                                                 verify_standing, verify_letters };
    enum ll_status status = take_cut(verify, err);
    for (size_t i = 0; status == LL_OK && i < sizeof(checks) / sizeof(checks[0]); i++)
        status = checks[i](verify, err);
    return status;
}

int verb_verify(struct lens *lens, int argc, char **argv)
{
    if (argc > 1)
        return lens_usage(lens, "takes no argument, got \"%s\"", argv[1]);
    struct clock_source clock = clock_real();
    int64_t started_ms = clock.steady_ms(clock.self);
    struct ll_err err = { "" };
    struct verify *verify = calloc(1, sizeof(*verify));
    if (verify == NULL)
        abort();
    verify->lens = lens;
    int code = reach_codec(lens, &verify->codec);
    if (code == LENS_DONE)
        code = reach_postgres(lens, &verify->postgres);
    if (code == LENS_DONE)
        code = lens_end(lens, line_open(lens, &verify->view, &err), &err);
    if (code == LENS_DONE) {
        verify->scratch = codec_scratch_new();
        code = lens_end(lens, run_checks(verify, &err), &err);
    }
    if (code == LENS_DONE) {
        int64_t different = 0;
        double seconds = (double)(clock.steady_ms(clock.self) - started_ms) / 1000;
        for (size_t i = 0; i < verify->check_count; i++)
            different += verify->checks[i].different;
        lens_progress_end(lens);
        if (lens->json)
            code = print_json(lens, verify, different, seconds);
        else
            print_text(verify, different, seconds);
        code = code == LENS_DONE && different > 0 ? LENS_BAD : code;
    }
    line_close(&verify->view);
    if (verify->postgres != NULL)
        postgres_close(verify->postgres);
    codec_scratch_free(verify->scratch);
    codec_free(verify->codec);
    free(verify->cuts);
    free(verify);
    return code;
}
