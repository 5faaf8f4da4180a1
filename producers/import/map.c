#include "producers/import/map.h"

#include "producers/import/charset.h"
#include "producers/import/map_values.h"
#include "producers/import/money.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

void map_note(const struct profile_file *file, struct mapped *ret, enum field_id id, enum code code,
              struct text value)
{
    char quoted[72];
    const struct profile_field *field = &file->fields[id];
    size_t used = strlen(ret->message);
    ret->codes |= code_bit(code);
    snprintf(ret->message + used, sizeof ret->message - used, "%s%s \"%s\": %s", used > 0 ? "; " : "",
             field->column >= 0 ? file->columns[field->column] : profile_field_info(id)->name,
             charset_quote(value, quoted, sizeof quoted), code_info(code)->name);
}

static void note_row(struct mapped *ret, enum code code, const char *why)
{
    size_t used = strlen(ret->message);
    ret->codes |= code_bit(code);
    snprintf(ret->message + used, sizeof ret->message - used, "%s%s", used > 0 ? "; " : "", why);
}

static struct text strip(struct text text)
{
    while (text.size > 0 && (text.data[0] == ' ' || text.data[0] == '\t'))
        text = (struct text){text.data + 1, text.size - 1};
    while (text.size > 0 && (text.data[text.size - 1] == ' ' || text.data[text.size - 1] == '\t'))
        text.size--;
    return text;
}

/* The field's text in UTF-8, stripped as the profile says. */
static struct text take_text(struct mapper *mapper, const struct profile_field *field,
                             const struct csv_row *row)
{
    struct text text;
    if (field->column < 0) {
        text = text_of(field->constant);
    } else {
        size_t used;
        text = charset_decode(mapper->profile->encoding, row->fields[mapper->position[field->column]],
                              mapper->decoded + mapper->decoded_used, &used);
        mapper->decoded_used += used;
        if (field->strip)
            text = strip(text);
        size_t suffix = strlen(field->drop_suffix);
        if (suffix > 0 && text.size >= suffix &&
            memcmp(text.data + text.size - suffix, field->drop_suffix, suffix) == 0)
            text.size -= (uint32_t)suffix;
    }
    return text.size == 0 && field->has_empty ? text_of(field->empty) : text;
}

static bool pattern_matches(const struct profile_pattern *pattern, struct text text)
{
    regmatch_t range = {.rm_so = 0, .rm_eo = (regoff_t)text.size};
    return regexec(&pattern->compiled, text.data, 0, &range, REG_STARTEND) == 0;
}

static bool cache_holds(const struct cached *cached, struct text text)
{
    return cached->size == text.size && memcmp(cached->text, text.data, text.size) == 0;
}

static void cache_put(struct cached *cached, struct text text, enum code code, int64_t number)
{
    if (text.size > CACHED_SIZE)
        return;
    memcpy(cached->text, text.data, text.size);
    cached->size = text.size;
    cached->code = code;
    cached->number = number;
}

static enum code parse_type(const struct profile_field *field, struct text text, int64_t *ret)
{
    for (int type = 0; type < 3; type++) {
        if (field->types[type].set && pattern_matches(&field->types[type], text)) {
            *ret = type;
            return CODE_NONE;
        }
    }
    return CODE_TYPE_UNKNOWN;
}

static bool is_word(const char (*words)[PROFILE_WORD_SIZE], int count, struct text text)
{
    for (int i = 0; i < count; i++)
        if (strlen(words[i]) == text.size && strncasecmp(words[i], text.data, text.size) == 0)
            return true;
    return false;
}

static enum code parse_boolean(const struct profile_field *field, struct text text, int64_t *ret)
{
    *ret = is_word(field->yes, field->yes_count, text);
    return *ret != 0 || is_word(field->no, field->no_count, text) ? CODE_NONE : CODE_VALUE_SYNTAX;
}

/* The slow ones come through the cache. */
static enum code parse_slow(struct mapper *mapper, enum field_id id, struct text text, int64_t *ret)
{
    struct cached *cached = &mapper->parsed[id];
    const struct profile_field *field = &mapper->file->fields[id];
    if (cache_holds(cached, text)) {
        *ret = cached->number;
        return cached->code;
    }
    enum code code;
    int32_t day = 0;
    if (profile_field_info(id)->type == FIELD_TYPE) {
        code = parse_type(field, text, ret);
    } else if (profile_field_info(id)->type == FIELD_TIME) {
        code = when_time(&field->when, mapper->calendar, text, ret) ? CODE_NONE : CODE_TIME_SYNTAX;
    } else {
        code = when_day(&field->when, text, &day) ? CODE_NONE : CODE_TIME_SYNTAX;
        *ret = day;
    }
    cache_put(cached, text, code, *ret);
    return code;
}

static enum code parse_whole(enum field_id id, struct text text, int64_t *ret)
{
    bool good = money_parse_whole(text, ret);
    if (good && id == FIELD_ID_LINE_NO)
        good = *ret >= INT32_MIN && *ret <= INT32_MAX;
    return good ? CODE_NONE : profile_field_info(id)->missing;
}

static enum code parse_list(struct mapper *mapper, enum field_id id, struct value *value)
{
    char separator = mapper->file->fields[id].separator;
    value->items = mapper->lists[id == FIELD_ID_CATEGORIES];
    value->item_count = 0;
    const char *at = value->text.data, *end = at + value->text.size;
    while (at < end) {
        const char *stop = memchr(at, separator, (size_t)(end - at));
        stop = stop == NULL ? end : stop;
        struct text item = strip((struct text){at, (uint32_t)(stop - at)});
        if (item.size > EVENT_TEXT_SIZE_MAX || (item.size > 0 && value->item_count == EVENT_LIST_MAX))
            return CODE_DECODE_LIMIT;
        if (item.size > 0)
            value->items[value->item_count++] = item;
        at = stop + 1;
    }
    return CODE_NONE;
}

static enum code parse(struct mapper *mapper, enum field_id id, struct value *value)
{
    const struct profile_field *field = &mapper->file->fields[id];
    switch (profile_field_info(id)->type) {
    case FIELD_TEXT:
        return CODE_NONE;
    case FIELD_LIST:
        return parse_list(mapper, id, value);
    case FIELD_TYPE:
    case FIELD_TIME:
    case FIELD_DATE:
        return parse_slow(mapper, id, value->text, &value->number);
    case FIELD_MONEY:
        return money_parse(value->text, field->decimal, mapper->profile->money_digits, &value->number);
    case FIELD_WHOLE:
        return parse_whole(id, value->text, &value->number);
    case FIELD_BOOLEAN:
        return parse_boolean(field, value->text, &value->number);
    }
    return CODE_VALUE_SYNTAX;
}

static enum code check_pattern(struct mapper *mapper, enum field_id id, struct text text)
{
    const struct profile_field *field = &mapper->file->fields[id];
    struct cached *cached = &mapper->pattern[id];
    if (!field->pattern.set)
        return CODE_NONE;
    if (cache_holds(cached, text))
        return cached->code;
    bool matches = pattern_matches(&field->pattern, text);
    enum code code = matches                                      ? CODE_NONE
                     : profile_field_info(id)->type == FIELD_TEXT ? CODE_ID_SYNTAX
                                                                  : CODE_VALUE_SYNTAX;
    cache_put(cached, text, code, 0);
    return code;
}

/* Signs, once the type is known: the event carries the absolute value. */
static void check_number(struct mapper *mapper, enum field_id id, struct value *value, struct mapped *ret)
{
    const struct profile_field *field = &mapper->file->fields[id];
    const struct field_info *info = profile_field_info(id);
    if ((field->positive && value->number <= 0) || (field->nonzero && value->number == 0))
        map_note(mapper->file, ret, id, info->not_positive, value->text);
    const struct value *type = &mapper->values[FIELD_ID_TYPE];
    int sign = type->present ? field->sign[type->number] : 0;
    if (sign == 0)
        return;
    if (value->number != 0 && (value->number > 0) != (sign > 0))
        map_note(mapper->file, ret, id, CODE_SIGN_MISMATCH, value->text);
    if (value->number == INT64_MIN)
        map_note(mapper->file, ret, id, CODE_AMOUNT_OVERFLOW, value->text);
    else if (value->number < 0)
        value->number = -value->number;
}

static void map_field(struct mapper *mapper, enum field_id id, const struct csv_row *row, struct mapped *ret)
{
    const struct profile_field *field = &mapper->file->fields[id];
    const struct field_info *info = profile_field_info(id);
    struct value *value = &mapper->values[id];
    *value = (struct value){0};
    if (field->computed)
        return;
    struct text text = take_text(mapper, field, row);
    uint64_t before = ret->codes;
    if (text.size == 0) {
        if (field->required)
            map_note(mapper->file, ret, id, info->missing, text);
        return;
    }
    value->text = text;
    if (info->type != FIELD_LIST && text.size > EVENT_TEXT_SIZE_MAX)
        map_note(mapper->file, ret, id, CODE_CSV_LIMIT, text);
    if (charset_has_control(text))
        map_note(mapper->file, ret, id, CODE_TEXT_CONTROL, text);
    enum code code = check_pattern(mapper, id, text);
    if (code != CODE_NONE)
        map_note(mapper->file, ret, id, code, text);
    code = parse(mapper, id, value);
    if (code != CODE_NONE)
        map_note(mapper->file, ret, id, code, text);
    value->present = code == CODE_NONE && ret->codes == before;
    if (code == CODE_NONE && (info->type == FIELD_MONEY || info->type == FIELD_WHOLE))
        check_number(mapper, id, value, ret);
}

void mapper_map(struct mapper *mapper, const struct csv_row *row, struct mapped *ret)
{
    ret->codes = 0;
    ret->message[0] = '\0';
    ret->has_group = false;
    if (row->code != CODE_NONE)
        note_row(ret, row->code, row->why);
    if (memchr(row->raw.data, '\0', row->raw.size) != NULL)
        note_row(ret, CODE_TEXT_CONTROL, "the row holds a NUL");
    if (row->raw.size > 0 && !charset_valid(mapper->profile->encoding, row->raw))
        note_row(ret, CODE_TEXT_ENCODING, "the row is not of the profile's encoding");
    if (row->code != CODE_NONE)
        return; /* no telling which column is which */
    mapper->decoded_used = 0;
    snprintf(mapper->source_ref, sizeof mapper->source_ref, "%s:%lld", mapper->name, (long long)row->line);
    for (int i = 0; i < mapper->used_count; i++)
        map_field(mapper, mapper->used[i], row, ret);
    const struct value *id = &mapper->values[FIELD_ID_TRANSACTION_ID];
    bool empty_id = id->text.size == 0 && !mapper->file->fields[FIELD_ID_TRANSACTION_ID].required;
    ret->has_group = id->present || empty_id;
    ret->group = id->present ? id->text : TEXT("");
    map_assemble(mapper, ret);
}

static enum ll_status match_header(struct mapper *mapper, const struct text *header, size_t count,
                                   struct ll_err *err)
{
    const struct profile_file *file = mapper->file;
    char quoted[80];
    for (int want = 0; want < file->column_count; want++) {
        int found = 0;
        for (size_t i = 0; i < count; i++) {
            if (text_equal(strip(header[i]), text_of(file->columns[want]))) {
                mapper->position[want] = (int)i;
                found++;
            }
        }
        if (found != 1)
            return ll_fail(
                err, LL_FATAL,
                "%s: column \"%s\" is %s in its first line; the profile %s names the %d columns it must have",
                mapper->name, file->columns[want], found == 0 ? "not" : "more than once",
                mapper->profile->path, file->column_count);
    }
    for (size_t i = 0; i < count; i++) {
        bool known = false;
        for (int want = 0; want < file->column_count; want++)
            known = known || mapper->position[want] == (int)i;
        if (!known)
            return ll_fail(
                err, LL_FATAL, "%s: the profile %s does not know column \"%s\": add it to header there",
                mapper->name, mapper->profile->path, charset_quote(header[i], quoted, sizeof quoted));
    }
    return LL_OK;
}

enum ll_status mapper_new(const struct profile *profile, const struct profile_file *file, const char *name,
                          struct calendar *calendar, const struct text *header, size_t header_count,
                          struct mapper **ret, struct ll_err *err)
{
    struct mapper *mapper = calloc(1, sizeof *mapper);
    if (mapper == NULL)
        abort();
    mapper->profile = profile;
    mapper->file = file;
    mapper->calendar = calendar;
    snprintf(mapper->name, sizeof mapper->name, "%s", name);
    for (int id = 0; id < FIELD_ID_COUNT; id++) {
        mapper->pattern[id].size = mapper->parsed[id].size = UINT32_MAX;
        if (file->fields[id].used)
            mapper->used[mapper->used_count++] = (enum field_id)id;
    }
    /* One column may feed every field. */
    mapper->decoded = malloc((size_t)CHARSET_GROWTH * CSV_ROW_SIZE_MAX * (size_t)(mapper->used_count + 1));
    if (mapper->decoded == NULL)
        abort();
    enum ll_status status = match_header(mapper, header, header_count, err);
    if (status != LL_OK) {
        mapper_free(mapper);
        return status;
    }
    *ret = mapper;
    return LL_OK;
}

void mapper_free(struct mapper *mapper)
{
    if (mapper == NULL)
        return;
    free(mapper->decoded);
    free(mapper);
}
