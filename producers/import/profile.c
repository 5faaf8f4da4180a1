#include "producers/import/profile.h"

#include "producers/import/money.h"
#include "producers/import/profile_field.h"
#include "runtime/conf_text.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { OPEN_ROWS_DEFAULT = 250000, OPEN_ROWS_MAX = 10000000 };

static const char *const kind_names[] = {
#define X(symbol, name, topic) [PROFILE_##symbol] = name,
    PROFILE_KINDS(X)
#undef X
};

static const enum topic kind_topics[] = {
#define X(symbol, name, topic) [PROFILE_##symbol] = TOPIC_##topic,
    PROFILE_KINDS(X)
#undef X
};

const char *profile_kind_name(enum profile_kind kind)
{
    return kind_names[kind];
}

static enum ll_status read_kind(const struct reading *reading, config_setting_t *from, enum profile_kind *ret,
                                struct ll_err *err)
{
    char word[PROFILE_NAME_SIZE];
    enum ll_status status = reading_text(reading, from, word, sizeof word, err);
    if (status != LL_OK)
        return status;
    for (int kind = 0; kind < PROFILE_KIND_COUNT; kind++) {
        if (strcmp(kind_names[kind], word) == 0) {
            *ret = (enum profile_kind)kind;
            return LL_OK;
        }
    }
    return reading_fail(
        reading, from, err,
        "kind \"%s\" is not one of transaction_lines, sales, sale_lines, stores, products, customers, "
        "promotions, inventory",
        word);
}

static enum ll_status read_header(const struct reading *reading, config_setting_t *from,
                                  struct profile_file *file, struct ll_err *err)
{
    int count = config_setting_length(from);
    if (!config_setting_is_aggregate(from) || count < 1 || count > PROFILE_COLUMNS_MAX)
        return reading_fail(reading, from, err, "header must be a list of 1 to %d column names",
                            PROFILE_COLUMNS_MAX);
    for (int i = 0; i < count; i++) {
        config_setting_t *name = config_setting_get_elem(from, (unsigned)i);
        enum ll_status status = reading_text(reading, name, file->columns[i], PROFILE_NAME_SIZE, err);
        if (status != LL_OK)
            return status;
        for (int before = 0; before < i; before++)
            if (strcmp(file->columns[before], file->columns[i]) == 0)
                return reading_fail(reading, name, err, "column \"%s\" is named twice", file->columns[i]);
    }
    file->column_count = count;
    return LL_OK;
}

static enum ll_status read_topic(const struct reading *reading, config_setting_t *from,
                                 struct profile_file *file, struct ll_err *err)
{
    char name[PROFILE_NAME_SIZE];
    enum ll_status status = reading_text(reading, from, name, sizeof name, err);
    if (status != LL_OK)
        return status;
    if (strcmp(name, topic_name(kind_topics[file->kind])) != 0)
        return reading_fail(reading, from, err,
                            "%s go to topic \"%s\", which is the only one that takes their schema",
                            kind_names[file->kind], topic_name(kind_topics[file->kind]));
    return LL_OK;
}

/* What an event of the kind cannot do without, however the profile is written. */
static enum ll_status check_fields(const struct reading *reading, config_setting_t *at,
                                   const struct profile_file *file, struct ll_err *err)
{
    static const enum field_id needed[PROFILE_KIND_COUNT][8] = {
        [PROFILE_STORES] = {FIELD_ID_STORE_ID, FIELD_ID_COUNT},
        [PROFILE_PRODUCTS] = {FIELD_ID_PRODUCT_ID, FIELD_ID_COUNT},
        [PROFILE_CUSTOMERS] = {FIELD_ID_CUSTOMER_ID, FIELD_ID_COUNT},
        [PROFILE_PROMOTIONS] = {FIELD_ID_PROMOTION_ID, FIELD_ID_START, FIELD_ID_END, FIELD_ID_COUNT},
        [PROFILE_INVENTORY] = {FIELD_ID_STORE_ID, FIELD_ID_PRODUCT_ID, FIELD_ID_EVENT_TIME, FIELD_ID_ON_HAND,
                               FIELD_ID_COUNT},
        [PROFILE_TRANSACTION_LINES] = {FIELD_ID_TRANSACTION_ID, FIELD_ID_TYPE, FIELD_ID_EVENT_TIME,
                                       FIELD_ID_PRODUCT_ID, FIELD_ID_QUANTITY, FIELD_ID_UNIT_PRICE,
                                       FIELD_ID_AMOUNT, FIELD_ID_COUNT},
        [PROFILE_SALES] = {FIELD_ID_TRANSACTION_ID, FIELD_ID_TYPE, FIELD_ID_EVENT_TIME, FIELD_ID_COUNT},
        [PROFILE_SALE_LINES] = {FIELD_ID_TRANSACTION_ID, FIELD_ID_PRODUCT_ID, FIELD_ID_QUANTITY,
                                FIELD_ID_UNIT_PRICE, FIELD_ID_AMOUNT, FIELD_ID_COUNT},
    };
    for (const enum field_id *id = needed[file->kind]; *id != FIELD_ID_COUNT; id++)
        if (!file->fields[*id].used)
            return reading_fail(reading, at, err,
                                "a file of %s needs the field %s: give it a column or a value",
                                kind_names[file->kind], profile_field_info(*id)->name);
    return LL_OK;
}

static enum ll_status read_file(const struct reading *reading, config_setting_t *from,
                                struct profile_file *file, struct ll_err *err)
{
    static const char *const known[] = {"kind", "match", "topic", "header", "fields", NULL};
    enum ll_status status = reading_known(reading, from, "a file", known, err);
    if (status != LL_OK)
        return status;
    config_setting_t *kind = config_setting_get_member(from, "kind"),
                     *match = config_setting_get_member(from, "match");
    config_setting_t *header = config_setting_get_member(from, "header"),
                     *fields = config_setting_get_member(from, "fields");
    config_setting_t *topic = config_setting_get_member(from, "topic");
    if (kind == NULL || match == NULL || header == NULL || fields == NULL)
        return reading_fail(reading, from, err, "a file needs kind, match, header and fields");
    status = read_kind(reading, kind, &file->kind, err);
    file->topic = kind_topics[file->kind];
    if (status == LL_OK)
        status = reading_text(reading, match, file->match, sizeof file->match, err);
    if (status == LL_OK && topic != NULL)
        status = read_topic(reading, topic, file, err);
    if (status == LL_OK)
        status = read_header(reading, header, file, err);
    if (status == LL_OK)
        status = profile_fields_read(reading, fields, file, err);
    return status == LL_OK ? check_fields(reading, from, file, err) : status;
}

static enum ll_status read_files(const struct reading *reading, config_setting_t *from,
                                 struct profile *profile, struct ll_err *err)
{
    int count = config_setting_length(from);
    if (!config_setting_is_list(from) || count < 1 || count > PROFILE_FILES_MAX)
        return reading_fail(reading, from, err, "files must be a list ( { ... }, ... ) of 1 to %d",
                            PROFILE_FILES_MAX);
    unsigned kinds = 0;
    for (int i = 0; i < count; i++) {
        config_setting_t *entry = config_setting_get_elem(from, (unsigned)i);
        if (!config_setting_is_group(entry))
            return reading_fail(reading, entry, err, "a file must be a group { ... }");
        enum ll_status status = read_file(reading, entry, &profile->files[i], err);
        if (status != LL_OK)
            return status;
        unsigned bit = 1u << profile->files[i].kind;
        if ((kinds & bit) != 0)
            return reading_fail(reading, entry, err, "there is another file of kind %s",
                                kind_names[profile->files[i].kind]);
        kinds |= bit;
        profile->file_count++;
    }
    if (((kinds >> PROFILE_SALES) & 1) != ((kinds >> PROFILE_SALE_LINES) & 1))
        return reading_fail(reading, from, err, "sales and sale_lines belong together: one is missing");
    return LL_OK;
}

static enum ll_status read_encoding(const struct reading *reading, config_setting_t *from,
                                    enum profile_encoding *ret, struct ll_err *err)
{
    static const char *const names[] = {"utf-8", "latin-1", "windows-1252", NULL};
    int which;
    enum ll_status status = reading_choice(reading, from, names, &which, err);
    if (status == LL_OK)
        *ret = (enum profile_encoding)which;
    return status;
}

static enum ll_status read_delimiter(const struct reading *reading, config_setting_t *from, char *ret,
                                     struct ll_err *err)
{
    enum ll_status status = reading_char(reading, from, ret, err);
    if (status == LL_OK && (*ret == '"' || *ret == '\n' || *ret == '\r'))
        return reading_fail(reading, from, err, "delimiter cannot be a quote or a line's end");
    return status;
}

static enum ll_status read_all(const struct reading *reading, config_setting_t *root, struct profile *profile,
                               struct ll_err *err)
{
    static const char *const known[] = {"source",      "currency", "time_zone", "encoding", "delimiter",
                                        "line_breaks", "bad_row",  "open_rows", "files",    NULL};
    static const char *const bad_rows[] = {"reject_line", "reject_transaction", NULL};
    enum ll_status status = reading_known(reading, root, "a profile", known, err);
    config_setting_t *at;
    int choice = 1;
    if (status == LL_OK && (at = config_setting_get_member(root, "source")) == NULL)
        return reading_fail(reading, root, err,
                            "source is missing: the name of the system whose transaction numbers these are");
    if (status == LL_OK)
        status = reading_text(reading, at, profile->source, sizeof profile->source, err);
    if (status == LL_OK && (at = config_setting_get_member(root, "currency")) != NULL)
        status = reading_text(reading, at, profile->currency, sizeof profile->currency, err);
    profile->money_digits = money_digits(text_of(profile->currency));
    if (status == LL_OK && profile->money_digits < 0)
        return reading_fail(reading, at != NULL ? at : root, err, "currency \"%s\" is not an ISO 4217 code",
                            profile->currency);
    if (status == LL_OK && (at = config_setting_get_member(root, "time_zone")) != NULL)
        status = reading_zone(reading, at, profile->time_zone, sizeof profile->time_zone, err);
    if (status == LL_OK && (at = config_setting_get_member(root, "encoding")) != NULL)
        status = read_encoding(reading, at, &profile->encoding, err);
    if (status == LL_OK && (at = config_setting_get_member(root, "delimiter")) != NULL)
        status = read_delimiter(reading, at, &profile->delimiter, err);
    if (status == LL_OK && (at = config_setting_get_member(root, "line_breaks")) != NULL)
        status = reading_flag(reading, at, &profile->line_breaks, err);
    if (status == LL_OK && (at = config_setting_get_member(root, "bad_row")) != NULL)
        status = reading_choice(reading, at, bad_rows, &choice, err);
    profile->reject_transaction = choice == 1;
    if (status == LL_OK && (at = config_setting_get_member(root, "open_rows")) != NULL)
        status = reading_whole(reading, at, 1, OPEN_ROWS_MAX, &profile->open_rows, err);
    if (status == LL_OK && (at = config_setting_get_member(root, "files")) == NULL)
        return reading_fail(reading, root, err,
                            "files is missing: which files there are, and what their columns feed");
    return status == LL_OK ? read_files(reading, at, profile, err) : status;
}

enum ll_status profile_load(const char *path, const char *currency, const char *time_zone,
                            struct profile **ret, struct ll_err *err)
{
    /* libconfig says only "file I/O error". */
    if (access(path, R_OK) != 0)
        return ll_fail(err, LL_FATAL, "profile %s cannot be read: %s (profiles lie in deploy/profiles)", path,
                       strerror(errno));
    struct profile *profile = calloc(1, sizeof *profile);
    if (profile == NULL)
        abort();
    snprintf(profile->path, sizeof profile->path, "%s", path);
    snprintf(profile->currency, sizeof profile->currency, "%s", currency);
    snprintf(profile->time_zone, sizeof profile->time_zone, "%s", time_zone);
    profile->delimiter = ',';
    profile->line_breaks = true;
    profile->open_rows = OPEN_ROWS_DEFAULT;

    config_t config;
    config_init(&config);
    struct reading reading = {.path = path};
    enum ll_status status;
    if (conf_read_file(&config, path) != CONFIG_TRUE)
        status =
            ll_fail(err, LL_FATAL, "%s:%d: %s", path, config_error_line(&config), config_error_text(&config));
    else
        status = read_all(&reading, config_root_setting(&config), profile, err);
    config_destroy(&config);
    if (status != LL_OK) {
        profile_free(profile);
        return status;
    }
    *ret = profile;
    return LL_OK;
}

void profile_free(struct profile *profile)
{
    if (profile == NULL)
        return;
    for (int i = 0; i < PROFILE_FILES_MAX; i++)
        profile_fields_free(&profile->files[i]);
    free(profile);
}
