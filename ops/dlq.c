#include "ops/verbs.h"

#include "ops/event_json.h"
#include "ops/inert.h"
#include "ops/letter_show.h"
#include "ops/letters.h"
#include "ops/options.h"
#include "ops/reach.h"
#include "ops/table.h"
#include "runtime/clock.h"

#include <getopt.h>
#include <stdlib.h>
#include <string.h>

enum { LIST_DEFAULT = 20, LIST_MAX = 100000, TEXT_SIZE = 160, CODES_SIZE = 1024 };

/* What a list keeps of a letter, inert already. */
struct entry {
    int64_t at_ms;
    size_t order; /* as it came: ties stay in the order of the store */
    char ref[LETTER_REF_SIZE], stage[16], topic[TOPIC_NAME_SIZE], where[TEXT_SIZE], codes[CODES_SIZE],
        message[TEXT_SIZE];
    char id[TEXT_SIZE], source_ref[TEXT_SIZE]; /* of the event in it; "" where there is none */
};

struct list {
    struct entry *entries;
    size_t count, limit, seen;
    struct codec *codec;
    struct codec_scratch *scratch;
};

static int newest_first(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;
    if (x->at_ms != y->at_ms)
        return x->at_ms > y->at_ms ? -1 : 1;
    return x->order > y->order ? -1 : 1;
}

static void list_add(void *arg, const struct letter *letter)
{
    struct list *list = arg;
    if (list->count == 2 * list->limit) {
        qsort(list->entries, list->count, sizeof(*list->entries), newest_first);
        list->count = list->limit;
    }
    struct entry *entry = &list->entries[list->count++];
    entry->at_ms = letter->dead_at_ms;
    entry->order = list->seen++;
    letter_ref_write(&letter->ref, entry->ref);
    inert_write(letter->stage, entry->stage, sizeof(entry->stage));
    inert_write(letter->topic, entry->topic, sizeof(entry->topic));
    letter_where(letter, entry->where, sizeof(entry->where));
    inert_write(letter->codes_text, entry->codes, sizeof(entry->codes));
    inert_write(letter->message, entry->message, sizeof(entry->message));
    struct event event;
    struct text id = { NULL, 0 }, source_ref = { NULL, 0 };
    if (letter_event(letter, list->codec, list->scratch, &event))
        id = letter_event_id(&event, &source_ref);
    inert_write(id, entry->id, sizeof(entry->id));
    inert_write(source_ref, entry->source_ref, sizeof(entry->source_ref));
}

static int list_print(struct lens *lens, const struct list *list, size_t count)
{
    char when[32];
    if (lens->json) {
        json_t *all = json_array();
        for (size_t i = 0; i < count; i++) {
            const struct entry *e = &list->entries[i];
            json_array_append_new(
                all, json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s}", "ref", e->ref, "refused_at",
                               clock_format(e->at_ms, when, sizeof(when)), "stage", e->stage, "topic",
                               e->topic, "where", e->where, "id", e->id, "source_ref", e->source_ref, "codes",
                               e->codes, "message", e->message));
        }
        return lens_print_json(lens,
                               json_pack("{s:I, s:o}", "found", (json_int_t)list->seen, "letters", all));
    }
    if (count == 0) {
        printf("no dead letter\n");
        return LENS_DONE;
    }
    struct table *table = table_new("REFERENCE|REFUSED AT|STAGE|TOPIC|WHERE|ID|CODES|WHY");
    for (size_t i = 0; i < count; i++) {
        const struct entry *e = &list->entries[i];
        table_cell(table, "%s", e->ref);
        table_cell(table, "%.19sZ", clock_format(e->at_ms, when, sizeof(when)));
        table_cell(table, "%s", e->stage);
        table_cell(table, "%s", e->topic);
        table_cell(table, "%s", e->where);
        table_cell(table, "%s", e->id[0] != '\0' ? e->id : "-");
        table_cell(table, "%s", e->codes);
        table_cell(table, "%.60s", e->message);
    }
    table_print(table, 0, stdout);
    if (list->seen > count)
        lens_say(lens, "the newest %s of %s; --limit shows more, `lens dlq stats` counts them",
                 lens_number((int64_t)count), lens_number((int64_t)list->seen));
    return LENS_DONE;
}

static int dlq_list(struct lens *lens, const struct letter_filter *filter, int64_t limit)
{
    struct ll_err err = { "" };
    struct list list = { .limit = (size_t)limit };
    list.entries = calloc(2 * list.limit, sizeof(*list.entries));
    if (list.entries == NULL)
        abort();
    int code = reach_codec(lens, &list.codec);
    list.scratch = codec_scratch_new();
    if (code == LENS_DONE)
        code = lens_end(lens, letters_each(lens, filter, list_add, &list, &err), &err);
    if (code == LENS_DONE) {
        qsort(list.entries, list.count, sizeof(*list.entries), newest_first);
        code = list_print(lens, &list, list.count < list.limit ? list.count : list.limit);
    }
    codec_scratch_free(list.scratch);
    codec_free(list.codec);
    free(list.entries);
    return code;
}

enum { STAGES = 4 };
static const char *const stages[STAGES] = { "import", "validate", "accrue", "other" };

struct stats {
    struct codec *codec;
    struct codec_scratch *scratch;
    int64_t letters[STAGES], lines[STAGES];
    int64_t code_letters[STAGES][CODE_COUNT], code_lines[STAGES][CODE_COUNT];
    int64_t first_ms, last_ms, total;
};

static void stats_add(void *arg, const struct letter *letter)
{
    struct stats *stats = arg;
    size_t stage = 0;
    while (stage + 1 < STAGES && !text_equal(letter->stage, text_of(stages[stage])))
        stage++;
    int64_t lines = letter_lines(letter, stats->codec, stats->scratch);
    stats->letters[stage]++;
    stats->lines[stage] += lines;
    for (int code = 1; code < CODE_COUNT; code++)
        if ((letter->codes & code_bit((enum code)code)) != 0) {
            stats->code_letters[stage][code]++;
            stats->code_lines[stage][code] += lines;
        }
    if (stats->total++ == 0 || letter->dead_at_ms < stats->first_ms)
        stats->first_ms = letter->dead_at_ms;
    if (stats->total == 1 || letter->dead_at_ms > stats->last_ms)
        stats->last_ms = letter->dead_at_ms;
}

static int stats_print_json(struct lens *lens, const struct stats *stats)
{
    json_t *by_stage = json_object();
    for (size_t stage = 0; stage < STAGES; stage++) {
        json_t *codes = json_object();
        for (int code = 1; code < CODE_COUNT; code++)
            if (stats->code_letters[stage][code] > 0)
                json_object_set_new(codes, code_info((enum code)code)->name,
                                    json_pack("{s:I, s:I}", "letters",
                                              (json_int_t)stats->code_letters[stage][code], "lines",
                                              (json_int_t)stats->code_lines[stage][code]));
        json_object_set_new(by_stage, stages[stage],
                            json_pack("{s:I, s:I, s:o}", "letters", (json_int_t)stats->letters[stage],
                                      "lines", (json_int_t)stats->lines[stage], "by_code", codes));
    }
    return lens_print_json(lens,
                           json_pack("{s:I, s:o, s:o, s:o}", "letters", (json_int_t)stats->total, "first",
                                     stats->total > 0 ? event_json_time(stats->first_ms) : json_null(),
                                     "last", stats->total > 0 ? event_json_time(stats->last_ms) : json_null(),
                                     "by_stage", by_stage));
}

static int stats_print(struct lens *lens, const struct stats *stats)
{
    if (lens->json)
        return stats_print_json(lens, stats);
    if (stats->total == 0) {
        printf("no dead letter\n");
        return LENS_DONE;
    }
    char first[32], last[32];
    printf("%s dead letters, from %s to %s\n\n", lens_number(stats->total),
           clock_format(stats->first_ms, first, sizeof(first)),
           clock_format(stats->last_ms, last, sizeof(last)));
    struct table *table = table_new("STAGE|CODE|>LETTERS|>LINES|WHAT IT MEANS");
    for (size_t stage = 0; stage < STAGES; stage++)
        for (int code = 1; code < CODE_COUNT; code++) {
            if (stats->code_letters[stage][code] == 0)
                continue;
            table_cell(table, "%s", stages[stage]);
            table_cell(table, "%s", code_info((enum code)code)->name);
            table_number(table, stats->code_letters[stage][code]);
            table_number(table, stats->code_lines[stage][code]);
            table_cell(table, "%s", code_info((enum code)code)->meaning);
        }
    table_print(table, 0, stdout);
    printf("\nA letter with two codes counts under both. `lens dlq list --code CODE` shows them.\n");
    return LENS_DONE;
}

static int dlq_stats(struct lens *lens, const struct letter_filter *filter)
{
    struct ll_err err = { "" };
    struct stats *stats = calloc(1, sizeof(*stats));
    if (stats == NULL)
        abort();
    int code = reach_codec(lens, &stats->codec);
    if (code == LENS_DONE) {
        stats->scratch = codec_scratch_new();
        code = lens_end(lens, letters_each(lens, filter, stats_add, stats, &err), &err);
        codec_scratch_free(stats->scratch);
        codec_free(stats->codec);
    }
    if (code == LENS_DONE)
        code = stats_print(lens, stats);
    free(stats);
    return code;
}

struct show {
    struct lens *lens;
    struct codec *codec;
    struct codec_scratch *scratch;
    bool found;
    int code;
};

static void show_one(void *arg, const struct letter *letter)
{
    struct show *show = arg;
    struct event event;
    json_t *decoded = letter_event(letter, show->codec, show->scratch, &event) ? event_json(&event) : NULL;
    show->found = true;
    show->code = letter_show(show->lens, letter, decoded);
}

static int dlq_show(struct lens *lens, const char *text)
{
    struct letter_ref ref;
    struct ll_err err = { "" };
    if (!letter_ref_parse(text, &ref))
        return lens_usage(lens, "\"%s\" is no reference of a dead letter; `lens dlq list` shows them", text);
    struct letter_filter filter = { .topic = TOPIC_COUNT, .ref = &ref };
    struct show show = { .lens = lens };
    int code = reach_codec(lens, &show.codec);
    if (code != LENS_DONE)
        return code;
    show.scratch = codec_scratch_new();
    code = lens_end(lens, letters_each(lens, &filter, show_one, &show, &err), &err);
    codec_scratch_free(show.scratch);
    codec_free(show.codec);
    if (code == LENS_DONE && !show.found)
        return lens_fail(lens, "there is no dead letter %s; `lens dlq list` shows what there is", text);
    return code != LENS_DONE ? code : show.code;
}

struct dlq_options {
    struct letter_filter filter;
    int64_t limit;
};

static int parse(struct lens *lens, int argc, char **argv, struct dlq_options *ret)
{
    static const struct option options[] = {
        { "code", required_argument, NULL, 'c' },  { "stage", required_argument, NULL, 's' },
        { "topic", required_argument, NULL, 't' }, { "since", required_argument, NULL, 'f' },
        { "limit", required_argument, NULL, 'n' }, { NULL, 0, NULL, 0 }
    };
    struct clock_source clock = clock_real();
    *ret = (struct dlq_options){ .filter = { .topic = TOPIC_COUNT }, .limit = LIST_DEFAULT };
    for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        enum code code = option == 'c' ? code_find(text_of(optarg)) : CODE_NONE;
        if (option == 'c' && code == CODE_NONE)
            return lens_usage(lens, "there is no code \"%s\"; `lens explain` lists them", optarg);
        if (option == 'c')
            ret->filter.codes |= code_bit(code);
        else if (option == 's')
            ret->filter.stage = text_of(optarg);
        else if (option == 't' && (ret->filter.topic = topic_find(optarg)) == TOPIC_COUNT)
            return lens_usage(lens, "there is no topic \"%s\" in topics.conf", optarg);
        else if (option == 'f' && !option_since(optarg, clock.wall_ms(clock.self), &ret->filter.since_ms))
            return lens_usage(lens, "--since takes 90s, 30m, 2h, 7d, or 2011-02-28[T12:34:56Z], not \"%s\"",
                              optarg);
        else if (option == 'n' && !option_int(optarg, 1, LIST_MAX, &ret->limit))
            return lens_usage(lens, "--limit is a number from 1 to %d, not \"%s\"", LIST_MAX, optarg);
        else if (option == '?')
            return LENS_USAGE;
    }
    return LENS_DONE;
}

int verb_dlq(struct lens *lens, int argc, char **argv)
{
    struct dlq_options options;
    int code = parse(lens, argc, argv, &options);
    if (code != LENS_DONE)
        return code;
    const char *verb = optind < argc ? argv[optind] : "list";
    const char *argument = optind + 1 < argc ? argv[optind + 1] : NULL;
    if (strcmp(verb, "show") == 0)
        return argument == NULL || optind + 2 < argc ? lens_usage(lens, "show takes one reference")
                                                     : dlq_show(lens, argument);
    if (argument != NULL)
        return lens_usage(lens, "%s takes no argument, got \"%s\"", verb, argument);
    if (strcmp(verb, "list") == 0)
        return dlq_list(lens, &options.filter, options.limit);
    if (strcmp(verb, "stats") == 0)
        return dlq_stats(lens, &options.filter);
    return lens_usage(lens, "there is no \"dlq %s\"", verb);
}
