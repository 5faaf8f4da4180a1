#include "consumers/validate/settings.h"

#include "runtime/conf_text.h"

#include <libconfig.h>
#include <stdlib.h>
#include <string.h>

#define DAY_MS INT64_C(86400000)

static const char *const KIND_NAMES[REFERENCE_KINDS] = {
    [REFERENCE_STORE] = "store",
    [REFERENCE_PRODUCT] = "product",
    [REFERENCE_CUSTOMER] = "customer",
    [REFERENCE_PROMOTION] = "promotion",
};

struct reading {
    const char *path;
    struct settings *settings;
    struct ll_err *err;
};

static enum ll_status refuse(const struct reading *reading, const config_setting_t *setting, const char *must)
{
    const char *name = config_setting_name(setting);
    return ll_fail(reading->err, LL_FATAL, "%s:%u: %s %s", reading->path, config_setting_source_line(setting),
                   name != NULL ? name : "an entry", must);
}

/* "required" or "ignored". */
static enum ll_status read_required(const struct reading *reading, const config_setting_t *setting, bool *ret)
{
    const char *word = config_setting_get_string(setting);
    if (word != NULL && strcmp(word, "required") == 0)
        *ret = true;
    else if (word != NULL && strcmp(word, "ignored") == 0)
        *ret = false;
    else
        return refuse(reading, setting, "must be \"required\" or \"ignored\"");
    return LL_OK;
}

/* One word for all kinds, or a group that says it of each. */
static enum ll_status read_references(const struct reading *reading, const config_setting_t *setting,
                                      struct settings_source *source)
{
    if (!config_setting_is_group(setting)) {
        bool required = false;
        enum ll_status status = read_required(reading, setting, &required);
        for (int kind = 0; kind < REFERENCE_KINDS; kind++)
            source->required[kind] = required;
        return status;
    }
    for (int i = 0; i < config_setting_length(setting); i++) {
        const config_setting_t *entry = config_setting_get_elem(setting, (unsigned)i);
        const char *name = config_setting_name(entry);
        int kind = 0;
        while (kind < REFERENCE_KINDS && strcmp(name, KIND_NAMES[kind]) != 0)
            kind++;
        if (kind == REFERENCE_KINDS)
            return refuse(reading, entry, "is no reference; there are store, product, customer, promotion");
        enum ll_status status = read_required(reading, entry, &source->required[kind]);
        if (status != LL_OK)
            return status;
    }
    return LL_OK;
}

static enum ll_status read_ms(const struct reading *reading, const config_setting_t *setting,
                              bool may_be_unlimited, int64_t *ret)
{
    const char *word = config_setting_get_string(setting);
    if (may_be_unlimited && word != NULL && strcmp(word, "unlimited") == 0) {
        *ret = INT64_MAX;
        return LL_OK;
    }
    int type = config_setting_type(setting);
    int64_t value = config_setting_get_int64(setting);
    if ((type != CONFIG_TYPE_INT && type != CONFIG_TYPE_INT64) || value < 0 || value > 100 * 366 * DAY_MS)
        return refuse(reading, setting,
                      may_be_unlimited ? "must be milliseconds, 0 to 3162240000000L, or \"unlimited\""
                                       : "must be milliseconds, 0 to 3162240000000L");
    *ret = value;
    return LL_OK;
}

static enum ll_status read_name(const struct reading *reading, const config_setting_t *setting,
                                struct settings_source *source)
{
    const char *name = config_setting_get_string(setting);
    size_t size = name == NULL ? 0 : strlen(name);
    if (size == 0 || size >= sizeof source->name)
        return refuse(reading, setting, "must be a string of 1 to 127 bytes");
    memcpy(source->name, name, size + 1);
    source->name_size = (uint32_t)size;
    for (size_t i = 0; i + 1 < reading->settings->source_count; i++)
        if (strcmp(reading->settings->sources[i].name, name) == 0)
            return refuse(reading, setting, "names a source that stands above already");
    return LL_OK;
}

static enum ll_status read_bool(const struct reading *reading, const config_setting_t *setting, bool *ret)
{
    if (config_setting_type(setting) != CONFIG_TYPE_BOOL)
        return refuse(reading, setting, "must be true or false");
    *ret = config_setting_get_bool(setting) != 0;
    return LL_OK;
}

static enum ll_status read_source_key(const struct reading *reading, const config_setting_t *setting,
                                      struct settings_source *source)
{
    const char *key = config_setting_name(setting);
    if (strcmp(key, "name") == 0)
        return read_name(reading, setting, source);
    if (strcmp(key, "references") == 0)
        return read_references(reading, setting, source);
    if (strcmp(key, "lateness_ms") == 0)
        return read_ms(reading, setting, true, &source->lateness_ms);
    if (strcmp(key, "skew_ms") == 0)
        return read_ms(reading, setting, false, &source->skew_ms);
    if (strcmp(key, "allow_refused") == 0)
        return read_bool(reading, setting, &source->allow_refused);
    if (strcmp(key, "bad_line") != 0)
        return refuse(
            reading, setting,
            "is no setting of a source; there are name, references, lateness_ms, skew_ms, bad_line, "
            "allow_refused");
    const char *word = config_setting_get_string(setting);
    if (word == NULL || (strcmp(word, "reject_line") != 0 && strcmp(word, "reject_transaction") != 0))
        return refuse(reading, setting, "must be \"reject_transaction\" or \"reject_line\"");
    source->reject_line = strcmp(word, "reject_line") == 0;
    return LL_OK;
}

static enum ll_status read_source(const struct reading *reading, const config_setting_t *group)
{
    struct settings *settings = reading->settings;
    struct settings_source *source = &settings->sources[settings->source_count++];
    *source = (struct settings_source){.lateness_ms = 30 * DAY_MS, .skew_ms = 300000};
    for (int kind = 0; kind < REFERENCE_KINDS; kind++)
        source->required[kind] = true;
    if (!config_setting_is_group(group))
        return refuse(reading, group, "of sources must be a group: { name = \"...\"; ... }");
    for (int i = 0; i < config_setting_length(group); i++) {
        enum ll_status status = read_source_key(reading, config_setting_get_elem(group, (unsigned)i), source);
        if (status != LL_OK)
            return status;
    }
    if (source->name_size == 0)
        return refuse(reading, group, "of sources has no name");
    return LL_OK;
}

static enum ll_status read_sources(const struct reading *reading, const config_setting_t *list)
{
    int count = config_setting_length(list);
    if (!config_setting_is_list(list) || count == 0 || count > SETTINGS_SOURCES_MAX)
        return refuse(reading, list, "must be a list of 1 to 256 groups: ( { name = \"...\"; ... }, ... )");
    reading->settings->sources = calloc((size_t)count, sizeof *reading->settings->sources);
    if (reading->settings->sources == NULL)
        abort();
    for (int i = 0; i < count; i++) {
        enum ll_status status = read_source(reading, config_setting_get_elem(list, (unsigned)i));
        if (status != LL_OK)
            return status;
    }
    return LL_OK;
}

static enum ll_status read_aliases(const struct reading *reading, const config_setting_t *list)
{
    if (!config_setting_is_array(list))
        return refuse(reading, list, "must be an array: [ \"connect\", \"spring\" ]");
    for (int i = 0; i < config_setting_length(list); i++) {
        const char *word = config_setting_get_string_elem(list, i);
        if (word != NULL && strcmp(word, "connect") == 0)
            reading->settings->alias_connect = true;
        else if (word != NULL && strcmp(word, "spring") == 0)
            reading->settings->alias_spring = true;
        else
            return refuse(reading, list, "knows \"connect\" and \"spring\"");
    }
    return LL_OK;
}

static enum ll_status read_all(const struct reading *reading, const config_setting_t *root)
{
    for (int i = 0; i < config_setting_length(root); i++) {
        const config_setting_t *setting = config_setting_get_elem(root, (unsigned)i);
        enum ll_status status;
        if (strcmp(config_setting_name(setting), "sources") == 0)
            status = read_sources(reading, setting);
        else if (strcmp(config_setting_name(setting), "dead_letter_aliases") == 0)
            status = read_aliases(reading, setting);
        else
            status = refuse(reading, setting, "is no setting; there are sources, dead_letter_aliases");
        if (status != LL_OK)
            return status;
    }
    if (reading->settings->source_count == 0)
        return ll_fail(reading->err, LL_FATAL, "%s: sources is missing: nothing would ever be accepted",
                       reading->path);
    return LL_OK;
}

enum ll_status settings_load(const char *path, struct settings *ret, struct ll_err *err)
{
    enum ll_status status;
    struct settings settings = {0};
    struct reading reading = {.path = path, .settings = &settings, .err = err};
    config_t file;
    config_init(&file);
    if (conf_read_file(&file, path) == CONFIG_FALSE) {
        if (config_error_type(&file) == CONFIG_ERR_FILE_IO)
            status =
                ll_fail(err, LL_FATAL,
                        "%s: cannot be read; deploy/validation.conf of the source tree is a good one", path);
        else
            status =
                ll_fail(err, LL_FATAL, "%s:%d: %s", path, config_error_line(&file), config_error_text(&file));
    } else {
        status = read_all(&reading, config_root_setting(&file));
    }
    config_destroy(&file);
    if (status != LL_OK) {
        settings_done(&settings);
        return status;
    }
    for (size_t i = 0; i < settings.source_count; i++)
        if (strcmp(settings.sources[i].name, "default") == 0)
            settings.fallback = &settings.sources[i];
    *ret = settings;
    return LL_OK;
}

void settings_done(struct settings *settings)
{
    free(settings->sources);
    *settings = (struct settings){0};
}

const struct settings_source *settings_find(const struct settings *settings, struct text source)
{
    if (source.size == 0)
        return NULL;
    for (size_t i = 0; i < settings->source_count; i++) {
        const struct settings_source *entry = &settings->sources[i];
        if (entry->name_size == source.size && memcmp(entry->name, source.data, source.size) == 0)
            return entry;
    }
    return settings->fallback;
}
