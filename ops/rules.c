/* lens rules: check a rule set, publish it, show what is published. */
#include "ops/rules.h"

#include "consumers/accrue/rules.h"
#include "ops/files.h"
#include "ops/inert.h"
#include "ops/reach.h"
#include "ops/verbs.h"
#include "runtime/clock.h"
#include "schemas/event.h"
#include "schemas/utf8.h"

#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WORDS_SIZE = 64 << 10 };

/* A name in a rule set may be anything: line by line, inert. */
static void print_lines(const char *words)
{
    while (*words != '\0') {
        size_t size = strcspn(words, "\n");
        inert_print((struct text){ words, (uint32_t)size }, stdout);
        putchar('\n');
        words += size + (words[size] == '\n' ? 1 : 0);
    }
}

/* A checked document and what it says. */
struct document {
    char *text;
    char *words;
    int64_t effective_from_ms;
};

static void document_done(struct document *document)
{
    free(document->text);
    free(document->words);
}

static enum ll_status document_check(const char *name, struct document *document, struct ll_err *err)
{
    struct rule_set *rules;
    enum ll_status status = rules_parse(document->text, strlen(document->text), name, &rules, err);
    if (status != LL_OK)
        return status;
    document->words = malloc(WORDS_SIZE);
    if (document->words == NULL)
        abort();
    rules_describe(rules, document->words, WORDS_SIZE);
    document->effective_from_ms = rules_effective_from_ms(rules);
    rules_free(rules);
    return LL_OK;
}

static int document_load(struct lens *lens, const char *path, struct document *ret)
{
    *ret = (struct document){ .text = malloc(EVENT_DOCUMENT_SIZE_MAX + 2) };
    if (ret->text == NULL)
        abort();
    ssize_t size = file_read(path, ret->text, EVENT_DOCUMENT_SIZE_MAX + 2);
    struct ll_err err = { "" };
    int exit_code = LENS_DONE;
    if (size < 0)
        exit_code = lens_fail(lens, "%s: cannot be read", path);
    else if (size > EVENT_DOCUMENT_SIZE_MAX)
        exit_code = lens_bad(lens, "%s: more than %d bytes", path, EVENT_DOCUMENT_SIZE_MAX);
    else if (strlen(ret->text) != (size_t)size || !utf8_valid((struct text){ ret->text, (uint32_t)size }))
        exit_code = lens_bad(lens, "%s: is no UTF-8 text", path);
    else if (document_check(path, ret, &err) != LL_OK)
        exit_code = lens_bad(lens, "%s", err.text);
    if (exit_code != LENS_DONE)
        document_done(ret);
    return exit_code;
}

static int check(struct lens *lens, const char *path)
{
    struct document document;
    int exit_code = document_load(lens, path, &document);
    if (exit_code != LENS_DONE)
        return exit_code;
    if (lens->json)
        exit_code = lens_print_json(lens, json_pack("{s:b, s:s}", "good", 1, "describes", document.words));
    else
        print_lines(document.words);
    document_done(&document);
    return exit_code;
}

static int publish(struct lens *lens, const char *path, bool yes)
{
    struct document document;
    int exit_code = document_load(lens, path, &document);
    if (exit_code != LENS_DONE)
        return exit_code;
    if (!lens->json)
        print_lines(document.words);
    struct rules_published published = { 0 };
    struct ll_err err = { "" };
    if (yes)
        exit_code = lens_end(lens, rules_publish(&lens->config, document.text, &published, &err), &err);
    document_done(&document);
    if (exit_code != LENS_DONE)
        return exit_code;
    if (!yes)
        lens_say(lens, "nothing is published yet; do it with: lens rules publish %s --yes", path);
    else if (!published.is_new)
        lens_say(lens, "this is version %" PRId32 " already%s", published.version,
                 published.was_announced ? "; nothing new" : "; it is announced now");
    else
        lens_say(lens,
                 "published as version %" PRId32
                 "; sales that arrive from now on and happened since it is in force use it",
                 published.version);
    if (lens->json)
        return lens_print_json(lens, json_pack("{s:b, s:o, s:b}", "published", yes, "version",
                                               yes ? json_integer(published.version) : json_null(), "new",
                                               published.is_new));
    return LENS_DONE;
}

#define COLUMNS                                                                                              \
    "select version, to_char(effective_from at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"') as "       \
    "effective_from,"                                                                                        \
    " to_char(published_at at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"') as published_at,"           \
    " effective_from = '-infinity' as always, sha256, document from loyalty.rules "

static json_t *row_json(const struct postgres_rows *rows, size_t row, const struct document *document)
{
    bool always = document->effective_from_ms == RULES_ALWAYS;
    return json_pack("{s:I, s:o, s:o, s:o, s:o, s:s}", "version",
                     (json_int_t)postgres_rows_int(rows, row, "version"), "effective_from",
                     always ? json_null() : inert_json(postgres_rows_text(rows, row, "effective_from")),
                     "published_at", inert_json(postgres_rows_text(rows, row, "published_at")), "sha256",
                     inert_json(postgres_rows_text(rows, row, "sha256")), "document",
                     json_string(document->text), "describes", document->words);
}

static void row_print(const struct postgres_rows *rows, size_t row, const struct document *document,
                      bool whole)
{
    printf("version %" PRId64 ", published %.*s, sha256 %.12s\n", postgres_rows_int(rows, row, "version"),
           TEXT_ARG(postgres_rows_text(rows, row, "published_at")),
           postgres_rows_text(rows, row, "sha256").data);
    print_lines(document->words);
    if (whole)
        print_lines(document->text);
}

static int show_rows(struct lens *lens, const struct postgres_rows *rows, bool whole)
{
    json_t *list = json_array();
    for (size_t row = 0; row < postgres_rows_count(rows); row++) {
        struct text text = postgres_rows_text(rows, row, "document");
        struct document document = { .text = strndup(text.data, text.size) };
        char name[32];
        snprintf(name, sizeof name, "version %" PRId64, postgres_rows_int(rows, row, "version"));
        struct ll_err err = { "" };
        if (document_check(name, &document, &err) != LL_OK) {
            document_done(&document);
            json_decref(list);
            return lens_bad(lens, "%s", err.text);
        }
        if (lens->json)
            json_array_append_new(list, row_json(rows, row, &document));
        else
            row_print(rows, row, &document, whole);
        document_done(&document);
    }
    if (lens->json)
        return lens_print_json(lens, list);
    json_decref(list);
    return LENS_DONE;
}

static int show(struct lens *lens, const char *version)
{
    struct postgres *postgres;
    int exit_code = reach_postgres(lens, &postgres);
    if (exit_code != LENS_DONE)
        return exit_code;
    struct postgres_rows *rows = NULL;
    struct ll_err err = { "" };
    const char *params[] = { version };
    enum ll_status status =
        version != NULL ? postgres_query(postgres, COLUMNS "where version = $1::int4", params, 1, &rows, &err)
                        : postgres_query(postgres, COLUMNS "order by version", NULL, 0, &rows, &err);
    if (status != LL_OK)
        exit_code = lens_end(lens, status, &err);
    else if (postgres_rows_count(rows) == 0 && version != NULL)
        exit_code = lens_fail(lens, "there is no version %s; all of them: lens rules show", version);
    else if (postgres_rows_count(rows) == 0 && !lens->json)
        lens_say(lens,
                 "no rule set is published; the default one: lens rules publish %s/deploy/rules/default.conf "
                 "--yes",
                 lens->config.share);
    else
        exit_code = show_rows(lens, rows, version != NULL);
    postgres_rows_free(rows);
    postgres_close(postgres);
    return exit_code;
}

static bool is_version(const char *text)
{
    return text[0] != '\0' && strlen(text) <= 9 && strspn(text, "0123456789") == strlen(text);
}

int verb_rules(struct lens *lens, int argc, char **argv)
{
    static const struct option OPTIONS[] = { { "yes", no_argument, NULL, 'y' }, { NULL, 0, NULL, 0 } };
    bool yes = false;
    opterr = 0; /* our words, not getopt's */
    for (int option; (option = getopt_long(argc, argv, "y", OPTIONS, NULL)) != -1;) {
        if (option != 'y')
            return lens_usage(lens, "%s is no option", argv[optind - 1]);
        yes = true;
    }
    const char *verb = optind < argc ? argv[optind++] : "";
    const char *argument = optind < argc ? argv[optind++] : NULL;
    if (optind < argc)
        return lens_usage(lens, "too much: %s", argv[optind]);
    if (strcmp(verb, "show") == 0 && !yes && (argument == NULL || is_version(argument)))
        return show(lens, argument);
    if (strcmp(verb, "check") == 0 && !yes && argument != NULL)
        return check(lens, argument);
    if (strcmp(verb, "publish") == 0 && argument != NULL)
        return publish(lens, argument, yes);
    return lens_usage(lens, "%s",
                      argument == NULL && verb[0] != '\0' ? "a file is missing" : "check, publish or show");
}
