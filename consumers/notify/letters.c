#include "consumers/notify/letters.h"

#include "runtime/conf_text.h"

#include <errno.h>
#include <libconfig.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TEMPLATE_SIZE_MAX = 256 << 10, PATH_SIZE = 1024 };

static const char *const field_names[FIELD_COUNT_OF] = {
#define X(name, word) [FIELD_##name] = word,
    LETTER_FIELDS(X)
#undef X
};
static const char *const trigger_names[ON_COUNT] = {
    [ON_POINTS_EARNED] = "points_earned",
    [ON_POINTS_REVERSED] = "points_reversed",
    [ON_POINTS_DAY] = "points_day",
    [ON_ENTERED] = "entered",
    [ON_EXITED] = "exited",
};
static const char *const class_names[] = { "transactional", "service", "marketing" };
/* In the order of enum segment_change_reason. */
static const char *const reason_names[] = { "PURCHASE",     "TIME",          "RETURN", "THRESHOLD",
                                            "POINTS_SPENT", "POINTS_EARNED", "RULES" };

#define BIT(field) (1U << FIELD_##field)
#define COMMON                                                                                               \
    (BIT(NAME) | BIT(PROGRAM) | BIT(CUSTOMER) | BIT(UNSUBSCRIBE) | BIT(BALANCE) | BIT(SPENDABLE) | BIT(DAY))
static const unsigned fields_of[ON_COUNT] = {
    [ON_POINTS_EARNED] = COMMON | BIT(POINTS) | BIT(TRANSACTION) | BIT(AMOUNT),
    [ON_POINTS_REVERSED] = COMMON | BIT(POINTS) | BIT(TRANSACTION) | BIT(AMOUNT),
    [ON_POINTS_DAY] = COMMON | BIT(POINTS) | BIT(EARNED) | BIT(REVERSED) | BIT(COUNT),
    [ON_ENTERED] = COMMON | BIT(SEGMENT) | BIT(TIER) | BIT(VISITS) | BIT(SPEND) | BIT(RECENCY),
    [ON_EXITED] = COMMON | BIT(SEGMENT) | BIT(TIER) | BIT(VISITS) | BIT(SPEND) | BIT(RECENCY),
};

/* ---- templates ---- */

static int find_field(const char *name, size_t size)
{
    for (int field = 0; field < FIELD_COUNT_OF; field++)
        if (strlen(field_names[field]) == size && memcmp(field_names[field], name, size) == 0)
            return field;
    return -1;
}

static enum ll_status no_field(const char *path, int line, const char *name, size_t size,
                               enum letter_trigger on, struct ll_err *err)
{
    char known[200] = "";
    for (int field = 0; field < FIELD_COUNT_OF; field++)
        if (fields_of[on] & 1U << field) {
            strncat(known, known[0] == '\0' ? "" : ", ", sizeof known - strlen(known) - 1);
            strncat(known, field_names[field], sizeof known - strlen(known) - 1);
        }
    return ll_fail(err, LL_FATAL, "%s:%d: a letter on %s has no field {{%.*s}}; it has %s", path, line,
                   trigger_names[on], (int)(size < 32 ? size : 32), name, known);
}

enum ll_status letter_check(const char *path, int line, const char *template, enum letter_trigger on,
                            bool needs_unsubscribe, struct ll_err *err)
{
    unsigned found = 0;
    for (const char *at = template; *at != '\0'; at++) {
        if (*at == '\n')
            line++;
        if (strncmp(at, "}}", 2) == 0)
            return ll_fail(err, LL_FATAL, "%s:%d: }} without {{ before it", path, line);
        if (strncmp(at, "{{", 2) != 0)
            continue;
        const char *end = strstr(at, "}}");
        if (end == NULL || memchr(at, '\n', (size_t)(end - at)) != NULL)
            return ll_fail(err, LL_FATAL, "%s:%d: {{ without }} on the same line", path, line);
        int field = find_field(at + 2, (size_t)(end - at) - 2);
        if (field < 0 || (fields_of[on] & 1U << field) == 0)
            return no_field(path, line, at + 2, (size_t)(end - at) - 2, on, err);
        found |= 1U << field;
        at = end + 1;
    }
    if (needs_unsubscribe && (found & BIT(UNSUBSCRIBE)) == 0)
        return ll_fail(err, LL_FATAL,
                       "%s: {{unsubscribe_url}} is missing: no letter goes out without a way to stop them",
                       path);
    return LL_OK;
}

/* In HTML what could be read as markup; everywhere what could end a line. */
static void write_value(FILE *to, struct text value, bool is_html)
{
    for (uint32_t at = 0; at < value.size; at++) {
        unsigned char c = (unsigned char)value.data[at];
        if (c < 0x20 || c == 0x7f)
            fputc(' ', to);
        else if (is_html && c == '&')
            fputs("&amp;", to);
        else if (is_html && c == '<')
            fputs("&lt;", to);
        else if (is_html && c == '>')
            fputs("&gt;", to);
        else if (is_html && c == '"')
            fputs("&quot;", to);
        else if (is_html && c == '\'')
            fputs("&#39;", to);
        else
            fputc(c, to);
    }
}

char *letter_render(const struct letter_kind *kind, enum letter_part part, const struct letter_values *values,
                    size_t *ret_size)
{
    const char *template = part == LETTER_SUBJECT ? kind->subject
                           : part == LETTER_TEXT  ? kind->text
                                                  : kind->html;
    char *text = NULL;
    FILE *to = open_memstream(&text, ret_size);
    if (to == NULL)
        abort();
    for (const char *at = template; *at != '\0';) {
        const char *open = strstr(at, "{{");
        size_t size = open == NULL ? strlen(at) : (size_t)(open - at);
        fwrite(at, 1, size, to);
        if (open == NULL)
            break;
        const char *end = strstr(open, "}}"); /* letter_check has seen it */
        int field = find_field(open + 2, (size_t)(end - open) - 2);
        struct text value = values->of[field];
        if (text_empty(value) && field == FIELD_NAME)
            value = TEXT("customer");
        write_value(to, value, part == LETTER_HTML);
        at = end + 2;
    }
    if (fclose(to) != 0)
        abort();
    return text;
}

/* ---- files ---- */

static enum ll_status read_file(const char *path, char **ret, struct ll_err *err)
{
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return ll_fail(err, LL_FATAL,
                       "%s: %s; each letter of letters.conf has a .txt and a .html (notify.letters_dir)",
                       path, strerror(errno));
    char *text = malloc(TEMPLATE_SIZE_MAX + 1);
    if (text == NULL)
        abort();
    size_t size = fread(text, 1, TEMPLATE_SIZE_MAX + 1, file);
    bool is_whole = ferror(file) == 0 && size <= TEMPLATE_SIZE_MAX;
    fclose(file);
    if (is_whole)
        text[size] = '\0';
    if (!is_whole || strlen(text) != size) {
        free(text);
        return ll_fail(err, LL_FATAL, "%s: is no text of at most %d bytes", path, TEMPLATE_SIZE_MAX);
    }
    *ret = text;
    return LL_OK;
}

static enum ll_status load_templates(const char *folder, struct letter_kind *kind, struct ll_err *err)
{
    static const char mark[] = "Subject: ";
    char path[PATH_SIZE], *text = NULL;
    snprintf(path, sizeof path, "%s/%s.txt", folder, kind->name);
    enum ll_status status = read_file(path, &text, err);
    if (status != LL_OK)
        return status;
    char *end = strchr(text, '\n');
    if (strncmp(text, mark, sizeof mark - 1) != 0 || end == NULL || end[1] != '\n') {
        free(text);
        return ll_fail(err, LL_FATAL, "%s:1: must be \"Subject: ...\", and line 2 empty", path);
    }
    kind->text = strdup(end + 2);
    *end = '\0';
    kind->subject = strdup(text + sizeof mark - 1);
    free(text);
    if (kind->text == NULL || kind->subject == NULL)
        abort();
    status = letter_check(path, 1, kind->subject, kind->on, false, err);
    if (status == LL_OK)
        status = letter_check(path, 3, kind->text, kind->on, true, err);
    snprintf(path, sizeof path, "%s/%s.html", folder, kind->name);
    if (status == LL_OK)
        status = read_file(path, &kind->html, err);
    return status == LL_OK ? letter_check(path, 1, kind->html, kind->on, true, err) : status;
}

/* ---- letters.conf ---- */

struct reading {
    const char *path;
    struct ll_err *err;
};

static enum ll_status refuse(const struct reading *reading, const config_setting_t *setting, const char *must)
{
    return ll_fail(reading->err, LL_FATAL, "%s:%u: %s %s", reading->path, config_setting_source_line(setting),
                   config_setting_name(setting) == NULL ? "an entry" : config_setting_name(setting), must);
}

/* The word's place in the list; -1: it is none of them. */
static int word_of(const char *word, const char *const *words, size_t count)
{
    for (size_t at = 0; word != NULL && at < count; at++)
        if (strcmp(word, words[at]) == 0)
            return (int)at;
    return -1;
}

static bool is_name(const char *word, const char *letters, size_t size)
{
    return word != NULL && word[0] != '\0' && strlen(word) < size && strspn(word, letters) == strlen(word);
}

static enum ll_status read_reasons(const struct reading *reading, const config_setting_t *setting,
                                   unsigned *ret)
{
    for (int at = 0; at < config_setting_length(setting); at++) {
        int reason = word_of(config_setting_get_string_elem(setting, at), reason_names,
                             sizeof reason_names / sizeof reason_names[0]);
        if (reason < 0)
            return refuse(reading, setting,
                          "must be a list of reasons of segment_change.avsc: \"PURCHASE\", \"TIME\", ...");
        *ret |= 1U << reason;
    }
    return LL_OK;
}

static enum ll_status read_key(const struct reading *reading, const config_setting_t *setting,
                               struct letter_kind *kind, unsigned *seen)
{
    static const char lower[] = "abcdefghijklmnopqrstuvwxyz0123456789_",
                      upper[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_*";
    static const char *const keys[] = { "name", "on", "class", "list", "segment", "reasons" };
    int key = word_of(config_setting_name(setting), keys, sizeof keys / sizeof keys[0]), word = 0;
    const char *value = config_setting_get_string(setting);
    if (key < 0)
        return refuse(reading, setting, "is no key of a letter: name, on, class, list, segment, reasons");
    *seen |= 1U << key;
    switch (key) {
    case 0:
        if (!is_name(value, lower, sizeof kind->name))
            return refuse(reading, setting, "must be a name of a-z 0-9 _");
        strcpy(kind->name, value);
        return LL_OK;
    case 1:
        word = word_of(value, trigger_names, ON_COUNT);
        kind->on = (enum letter_trigger)word;
        return word >= 0 ? LL_OK
                         : refuse(reading, setting,
                                  "must be points_earned, points_reversed, points_day, entered or exited");
    case 2:
        word = word_of(value, class_names, 3);
        kind->class = (enum letter_class)word;
        return word >= 0 ? LL_OK : refuse(reading, setting, "must be transactional, service or marketing");
    case 3:
        if (!is_name(value, lower, sizeof kind->list))
            return refuse(reading, setting, "must be a short name of a-z 0-9 _");
        strcpy(kind->list, value);
        return LL_OK;
    case 4:
        if (!is_name(value, upper, sizeof kind->segment) ||
            (strchr(value, '*') != NULL && strchr(value, '*')[1] != '\0'))
            return refuse(reading, setting, "must be a segment, or a beginning and *");
        strcpy(kind->segment, value);
        return LL_OK;
    default:
        return read_reasons(reading, setting, &kind->reasons);
    }
}

static enum ll_status read_letter(const struct reading *reading, const config_setting_t *entry,
                                  struct letters *letters)
{
    enum { NEEDED = 15, SEGMENT = 16, REASONS = 32 };
    struct letter_kind kind = { .name = "" };
    unsigned seen = 0;
    for (int at = 0; at < config_setting_length(entry); at++) {
        enum ll_status status = read_key(reading, config_setting_get_elem(entry, (unsigned)at), &kind, &seen);
        if (status != LL_OK)
            return status;
    }
    if ((seen & NEEDED) != NEEDED)
        return refuse(reading, entry, "needs name, on, class and list");
    bool is_change = kind.on == ON_ENTERED || kind.on == ON_EXITED;
    if (is_change != ((seen & SEGMENT) != 0) || (!is_change && (seen & REASONS) != 0))
        return refuse(reading, entry, "has a segment if, and only if, it is on entered or exited");
    if (letters_named(letters, text_of(kind.name)) != NULL)
        return refuse(reading, entry, "has the name of an earlier one");
    if (letters->count == LETTERS_MAX)
        return refuse(reading, entry, "is one too many");
    letters->kinds[letters->count++] = kind;
    return LL_OK;
}

enum ll_status letters_load(const char *folder, struct letters *ret, struct ll_err *err)
{
    char path[PATH_SIZE];
    config_t file;
    memset(ret, 0, sizeof *ret);
    config_init(&file);
    snprintf(path, sizeof path, "%s/letters.conf", folder);
    struct reading reading = { path, err };
    enum ll_status status = LL_OK;
    if (conf_read_file(&file, path) != CONFIG_TRUE)
        status =
            ll_fail(err, LL_FATAL, "%s:%d: %s", path, config_error_line(&file), config_error_text(&file));
    const config_setting_t *list = status == LL_OK ? config_lookup(&file, "letters") : NULL;
    if (status == LL_OK && (list == NULL || !config_setting_is_list(list)))
        status = ll_fail(err, LL_FATAL, "%s: must hold letters = ( { name = ...; }, ... )", path);
    for (int at = 0; status == LL_OK && at < config_setting_length(list); at++)
        status = read_letter(&reading, config_setting_get_elem(list, (unsigned)at), ret);
    config_destroy(&file);
    for (size_t at = 0; status == LL_OK && at < ret->count; at++)
        status = load_templates(folder, &ret->kinds[at], err);
    if (status != LL_OK)
        letters_done(ret);
    return status;
}

void letters_done(struct letters *letters)
{
    for (size_t at = 0; at < letters->count; at++) {
        free(letters->kinds[at].subject);
        free(letters->kinds[at].text);
        free(letters->kinds[at].html);
    }
    memset(letters, 0, sizeof *letters);
}

/* ---- which one ---- */

const struct letter_kind *letters_named(const struct letters *letters, struct text name)
{
    for (size_t at = 0; at < letters->count; at++)
        if (text_equal(text_of(letters->kinds[at].name), name))
            return &letters->kinds[at];
    return NULL;
}

static bool matches(const char *pattern, struct text segment)
{
    size_t size = strlen(pattern);
    if (size > 0 && pattern[size - 1] == '*')
        return segment.size >= size - 1 && memcmp(pattern, segment.data, size - 1) == 0;
    return text_equal(text_of(pattern), segment);
}

const struct letter_kind *letters_on(const struct letters *letters, enum letter_trigger on,
                                     struct text segment, int reason)
{
    for (size_t at = 0; at < letters->count; at++) {
        const struct letter_kind *kind = &letters->kinds[at];
        if (kind->on != on || (kind->segment[0] != '\0' && !matches(kind->segment, segment)))
            continue;
        if (kind->reasons == 0 || (kind->reasons & 1U << reason) != 0)
            return kind;
    }
    return NULL;
}

enum letter_truth letter_truth_of(const struct letter_kind *kind)
{
    switch (kind->on) {
    case ON_POINTS_EARNED:
        return TRUTH_POINTS;
    case ON_ENTERED:
        return TRUTH_INSIDE;
    case ON_EXITED:
        return TRUTH_OUTSIDE;
    case ON_POINTS_REVERSED:
    case ON_POINTS_DAY:
    case ON_COUNT:
        break;
    }
    return TRUTH_ALWAYS;
}

const char *letter_class_name(enum letter_class class)
{
    return class_names[class];
}
