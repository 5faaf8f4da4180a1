#include "producers/import/profile_field.h"

#include <stdio.h>
#include <string.h>

#define KIND(symbol) (1u << PROFILE_##symbol)
static const struct field_info fields[] = {
#define X(symbol, name, type, kinds, required, missing, not_positive)                                        \
    [FIELD_ID_##symbol] = {name, FIELD_##type, kinds, required, CODE_##missing, CODE_##not_positive},
    PROFILE_FIELDS(X)
#undef X
};

const struct field_info *profile_field_info(enum field_id id)
{
    return &fields[id];
}

/* Which of a field's keys make sense for which type of field. */
enum {
    FOR_TEXT = 1 << FIELD_TEXT,
    FOR_LIST = 1 << FIELD_LIST,
    FOR_TYPE = 1 << FIELD_TYPE,
    FOR_TIME = 1 << FIELD_TIME,
    FOR_DATE = 1 << FIELD_DATE,
    FOR_MONEY = 1 << FIELD_MONEY,
    FOR_WHOLE = 1 << FIELD_WHOLE,
    FOR_BOOLEAN = 1 << FIELD_BOOLEAN,
    FOR_ALL = (1 << (FIELD_BOOLEAN + 1)) - 1,
};

struct field_reading {
    const struct reading *reading;
    struct profile_file *file;
    const struct field_info *info;
    struct profile_field *field;
};

typedef enum ll_status (*key_reader)(const struct field_reading *in, config_setting_t *at,
                                     struct ll_err *err);

static enum ll_status read_column(const struct field_reading *in, config_setting_t *at, struct ll_err *err)
{
    char name[PROFILE_NAME_SIZE];
    enum ll_status status = reading_text(in->reading, at, name, sizeof name, err);
    if (status != LL_OK)
        return status;
    for (int i = 0; i < in->file->column_count; i++) {
        if (strcmp(in->file->columns[i], name) == 0) {
            in->field->column = i;
            return LL_OK;
        }
    }
    return reading_fail(in->reading, at, err, "column \"%s\" is not in the header", name);
}

static enum ll_status read_value(const struct field_reading *in, config_setting_t *at, struct ll_err *err)
{
    in->field->column = -1;
    return reading_text(in->reading, at, in->field->constant, sizeof in->field->constant, err);
}

static enum ll_status read_default(const struct field_reading *in, config_setting_t *at, struct ll_err *err)
{
    in->field->has_empty = true;
    return reading_text(in->reading, at, in->field->empty, sizeof in->field->empty, err);
}

static enum ll_status read_required(const struct field_reading *in, config_setting_t *at, struct ll_err *err)
{
    return reading_flag(in->reading, at, &in->field->required, err);
}

static enum ll_status read_strip(const struct field_reading *in, config_setting_t *at, struct ll_err *err)
{
    return reading_flag(in->reading, at, &in->field->strip, err);
}

static enum ll_status read_drop_suffix(const struct field_reading *in, config_setting_t *at,
                                       struct ll_err *err)
{
    return reading_text(in->reading, at, in->field->drop_suffix, sizeof in->field->drop_suffix, err);
}

static enum ll_status read_pattern_into(const struct field_reading *in, config_setting_t *at,
                                        struct profile_pattern *pattern, struct ll_err *err)
{
    char text[PROFILE_VALUE_SIZE], whole[PROFILE_VALUE_SIZE + 8], why[120];
    enum ll_status status = reading_text(in->reading, at, text, sizeof text, err);
    if (status != LL_OK)
        return status;
    snprintf(whole, sizeof whole, "^(%s)$", text);
    int bad = regcomp(&pattern->compiled, whole, REG_EXTENDED | REG_NOSUB);
    if (bad != 0) {
        regerror(bad, &pattern->compiled, why, sizeof why);
        return reading_fail(in->reading, at, err, "pattern \"%s\" cannot be read: %s", text, why);
    }
    pattern->set = true;
    return LL_OK;
}

static enum ll_status read_pattern(const struct field_reading *in, config_setting_t *at, struct ll_err *err)
{
    return read_pattern_into(in, at, &in->field->pattern, err);
}

static enum ll_status read_sale(const struct field_reading *in, config_setting_t *at, struct ll_err *err)
{
    return read_pattern_into(in, at, &in->field->types[TRANSACTION_SALE], err);
}

static enum ll_status read_return(const struct field_reading *in, config_setting_t *at, struct ll_err *err)
{
    return read_pattern_into(in, at, &in->field->types[TRANSACTION_RETURN], err);
}

static enum ll_status read_void(const struct field_reading *in, config_setting_t *at, struct ll_err *err)
{
    return read_pattern_into(in, at, &in->field->types[TRANSACTION_VOID], err);
}

static enum ll_status read_format(const struct field_reading *in, config_setting_t *at, struct ll_err *err)
{
    struct when *when = &in->field->when;
    bool list = config_setting_is_aggregate(at) == CONFIG_TRUE;
    int count = list ? config_setting_length(at) : 1;
    if (count < 1 || count > WHEN_FORMATS_MAX)
        return reading_fail(in->reading, at, err, "format must be a format, or a list of up to %d",
                            WHEN_FORMATS_MAX);
    for (int i = 0; i < count; i++) {
        config_setting_t *one = list ? config_setting_get_elem(at, (unsigned)i) : at;
        const char *why;
        enum ll_status status = reading_text(in->reading, one, when->formats[i], WHEN_FORMAT_SIZE, err);
        if (status != LL_OK)
            return status;
        if (!when_check(when->formats[i], &why))
            return reading_fail(in->reading, one, err, "format \"%s\" cannot be used: %s", when->formats[i],
                                why);
    }
    when->count = count;
    return LL_OK;
}

static enum ll_status read_positive(const struct field_reading *in, config_setting_t *at, struct ll_err *err)
{
    return reading_flag(in->reading, at, &in->field->positive, err);
}

static enum ll_status read_nonzero(const struct field_reading *in, config_setting_t *at, struct ll_err *err)
{
    return reading_flag(in->reading, at, &in->field->nonzero, err);
}

static enum ll_status read_computed(const struct field_reading *in, config_setting_t *at, struct ll_err *err)
{
    in->field->column = -1;
    if (in->info != &fields[FIELD_ID_AMOUNT])
        return reading_fail(in->reading, at, err,
                            "only amount can be computed (quantity times unit price less discount)");
    return reading_flag(in->reading, at, &in->field->computed, err);
}

static enum ll_status read_sign(const struct field_reading *in, config_setting_t *at, struct ll_err *err)
{
    static const char *const known[] = {"sale", "return", "void", NULL};
    static const char *const signs[] = {"any", "+", "-", NULL};
    static const signed char values[] = {0, 1, -1};
    if (!config_setting_is_group(at))
        return reading_fail(in->reading, at, err,
                            "sign must be a group { sale = \"+\"; return = \"-\"; void = \"any\"; }");
    enum ll_status status = reading_known(in->reading, at, "sign", known, err);
    for (int type = 0; type < 3 && status == LL_OK; type++) {
        config_setting_t *one = config_setting_get_member(at, known[type]);
        int which = 0;
        if (one != NULL)
            status = reading_choice(in->reading, one, signs, &which, err);
        in->field->sign[type] = values[which];
    }
    return status;
}

static enum ll_status read_separator(const struct field_reading *in, config_setting_t *at, struct ll_err *err)
{
    return reading_char(in->reading, at, &in->field->separator, err);
}

static enum ll_status read_decimal(const struct field_reading *in, config_setting_t *at, struct ll_err *err)
{
    enum ll_status status = reading_char(in->reading, at, &in->field->decimal, err);
    if (status == LL_OK && in->field->decimal != '.' && in->field->decimal != ',')
        return reading_fail(in->reading, at, err, "decimal must be \".\" or \",\"");
    return status;
}

static enum ll_status read_words(const struct field_reading *in, config_setting_t *at,
                                 char (*words)[PROFILE_WORD_SIZE], int *ret_count, struct ll_err *err)
{
    int count = config_setting_length(at);
    if (!config_setting_is_aggregate(at) || count < 1 || count > PROFILE_WORDS_MAX)
        return reading_fail(in->reading, at, err, "%s must be a list of 1 to %d words",
                            config_setting_name(at), PROFILE_WORDS_MAX);
    for (int i = 0; i < count; i++) {
        enum ll_status status = reading_text(in->reading, config_setting_get_elem(at, (unsigned)i), words[i],
                                             PROFILE_WORD_SIZE, err);
        if (status != LL_OK)
            return status;
    }
    *ret_count = count;
    return LL_OK;
}

static enum ll_status read_yes(const struct field_reading *in, config_setting_t *at, struct ll_err *err)
{
    return read_words(in, at, in->field->yes, &in->field->yes_count, err);
}

static enum ll_status read_no(const struct field_reading *in, config_setting_t *at, struct ll_err *err)
{
    return read_words(in, at, in->field->no, &in->field->no_count, err);
}

static enum ll_status read_agree(const struct field_reading *in, config_setting_t *at, struct ll_err *err)
{
    static const char *const names[] = {"same", "earliest", "latest", NULL};
    int which;
    enum ll_status status = reading_choice(in->reading, at, names, &which, err);
    if (status != LL_OK)
        return status;
    if (in->info != &fields[FIELD_ID_EVENT_TIME] || in->file->kind != PROFILE_TRANSACTION_LINES)
        return reading_fail(in->reading, at, err,
                            "rows is for event_time of transaction_lines; all else must be the same");
    in->field->agree = (enum field_agree)which;
    return LL_OK;
}

static const struct {
    const char *name;
    int types;
    key_reader read;
} keys[] = {
    {"column", FOR_ALL, read_column},
    {"value", FOR_ALL, read_value},
    {"default", FOR_ALL, read_default},
    {"required", FOR_ALL, read_required},
    {"strip", FOR_ALL, read_strip},
    {"drop_suffix", FOR_ALL, read_drop_suffix},
    {"pattern", FOR_ALL, read_pattern},
    {"sale", FOR_TYPE, read_sale},
    {"return", FOR_TYPE, read_return},
    {"void", FOR_TYPE, read_void},
    {"format", FOR_TIME | FOR_DATE, read_format},
    {"positive", FOR_MONEY | FOR_WHOLE, read_positive},
    {"nonzero", FOR_MONEY | FOR_WHOLE, read_nonzero},
    {"sign", FOR_MONEY | FOR_WHOLE, read_sign},
    {"computed", FOR_MONEY, read_computed},
    {"decimal", FOR_MONEY, read_decimal},
    {"separator", FOR_LIST, read_separator},
    {"yes", FOR_BOOLEAN, read_yes},
    {"no", FOR_BOOLEAN, read_no},
    {"rows", FOR_TIME, read_agree},
};

static void field_defaults(const struct field_info *info, enum profile_kind kind, struct profile_field *field)
{
    *field = (struct profile_field){.used = true,
                                    .column = -2,
                                    .strip = true,
                                    .separator = ';',
                                    .decimal = '.',
                                    .required = info->required};
    if (kind == PROFILE_PRODUCTS && info == &fields[FIELD_ID_UNIT_PRICE])
        field->required = false; /* a list of products need not know prices */
}

/* What can only be said once all keys are read. */
static enum ll_status finish_field(const struct field_reading *in, config_setting_t *at, struct ll_err *err)
{
    struct profile_field *field = in->field;
    if (field->column == -2)
        return reading_fail(in->reading, at, err, "%s needs a column or a value", in->info->name);
    if ((in->info->type == FIELD_TIME || in->info->type == FIELD_DATE) && field->when.count == 0)
        return reading_fail(in->reading, at, err, "%s needs a format", in->info->name);
    if (in->info->type == FIELD_TYPE && !field->types[0].set && !field->types[1].set && !field->types[2].set)
        return reading_fail(in->reading, at, err,
                            "type needs at least one of sale, return, void: the pattern of such a value");
    bool signs = field->sign[0] != 0 || field->sign[1] != 0 || field->sign[2] != 0;
    if (signs && in->file->kind == PROFILE_SALE_LINES)
        return reading_fail(in->reading, at, err,
                            "sign needs the transaction's type, which is in another file");
    if (signs && field->positive)
        return reading_fail(in->reading, at, err,
                            "sign and positive contradict each other: a sign is dropped once it was checked");
    if (in->info->type == FIELD_BOOLEAN && field->yes_count == 0) {
        static const char *const yes[] = {"true", "yes", "1"}, *const no[] = {"false", "no", "0"};
        for (int i = 0; i < 3; i++) {
            snprintf(field->yes[i], PROFILE_WORD_SIZE, "%s", yes[i]);
            snprintf(field->no[i], PROFILE_WORD_SIZE, "%s", no[i]);
        }
        field->yes_count = field->no_count = 3;
    }
    return LL_OK;
}

static enum ll_status read_field(const struct field_reading *in, config_setting_t *from, struct ll_err *err)
{
    for (int i = 0; i < config_setting_length(from); i++) {
        config_setting_t *member = config_setting_get_elem(from, (unsigned)i);
        const char *name = config_setting_name(member);
        size_t key = 0;
        while (key < sizeof keys / sizeof *keys && strcmp(keys[key].name, name) != 0)
            key++;
        if (key == sizeof keys / sizeof *keys)
            return reading_fail(in->reading, member, err, "field %s has no key \"%s\"", in->info->name, name);
        if ((keys[key].types & (1 << in->info->type)) == 0)
            return reading_fail(in->reading, member, err, "key \"%s\" makes no sense for field %s", name,
                                in->info->name);
        enum ll_status status = keys[key].read(in, member, err);
        if (status != LL_OK)
            return status;
    }
    if (config_setting_get_member(from, "column") != NULL &&
        (config_setting_get_member(from, "value") != NULL ||
         config_setting_get_member(from, "computed") != NULL))
        return reading_fail(in->reading, from, err, "field %s has a column and another origin: choose one",
                            in->info->name);
    return finish_field(in, from, err);
}

enum ll_status profile_fields_read(const struct reading *reading, config_setting_t *from,
                                   struct profile_file *file, struct ll_err *err)
{
    if (!config_setting_is_group(from))
        return reading_fail(reading, from, err, "fields must be a group { ... }");
    for (int i = 0; i < config_setting_length(from); i++) {
        config_setting_t *one = config_setting_get_elem(from, (unsigned)i);
        const char *name = config_setting_name(one);
        int id = 0;
        while (id < FIELD_ID_COUNT && strcmp(fields[id].name, name) != 0)
            id++;
        if (id == FIELD_ID_COUNT || (fields[id].kinds & (1u << file->kind)) == 0)
            return reading_fail(reading, one, err, "%s have no field \"%s\"", profile_kind_name(file->kind),
                                name);
        if (!config_setting_is_group(one))
            return reading_fail(reading, one, err, "field %s must be a group such as { column = \"...\"; }",
                                name);
        field_defaults(&fields[id], file->kind, &file->fields[id]);
        struct field_reading in = {reading, file, &fields[id], &file->fields[id]};
        enum ll_status status = read_field(&in, one, err);
        if (status != LL_OK)
            return status;
    }
    return LL_OK;
}

void profile_fields_free(struct profile_file *file)
{
    for (int id = 0; id < FIELD_ID_COUNT; id++) {
        struct profile_field *field = &file->fields[id];
        if (field->pattern.set)
            regfree(&field->pattern.compiled);
        for (int type = 0; type < 3; type++)
            if (field->types[type].set)
                regfree(&field->types[type].compiled);
    }
}
