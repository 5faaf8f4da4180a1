#include "schemas/ids.h"

#include "schemas/bind.h"

#include "runtime/conf_text.h"

#include <inttypes.h>
#include <libconfig.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static enum ll_status bad(const config_setting_t *at, const char *path, const char *what, struct ll_err *err)
{
    return ll_fail(err, LL_FATAL, "%s:%u: %s", path, config_setting_source_line(at), what);
}

static bool parse_fingerprint(const char *text, uint64_t *ret)
{
    if (strlen(text) != 16 || strspn(text, "0123456789abcdef") != 16)
        return false;
    *ret = strtoull(text, NULL, 16);
    return true;
}

static enum ll_status read_entry(const config_setting_t *setting, const char *path, struct id_entry *ret,
                                 struct ll_err *err)
{
    int id;
    const char *kind, *file, *fingerprint;
    if (config_setting_length(setting) != 4 || !config_setting_lookup_int(setting, "id", &id) ||
        !config_setting_lookup_string(setting, "kind", &kind) ||
        !config_setting_lookup_string(setting, "file", &file) ||
        !config_setting_lookup_string(setting, "fingerprint", &fingerprint))
        return bad(setting, path, "a schema is { id = NUMBER; kind, file, fingerprint = \"...\"; }", err);
    if (id <= 0)
        return bad(setting, path, "an id is above 0", err);
    ret->id = id;
    ret->kind = event_kind_find(kind);
    if (ret->kind == EVENT_KINDS)
        return bad(setting, path, "no such kind of event", err);
    if (strlen(file) >= IDS_FILE_SIZE || strstr(file, "..") != NULL)
        return bad(setting, path, "not a file beside ids.conf", err);
    snprintf(ret->file, sizeof ret->file, "%s", file);
    if (!parse_fingerprint(fingerprint, &ret->fingerprint))
        return bad(setting, path, "a fingerprint is 16 digits of lower-case hexadecimal", err);

    char own[IDS_FILE_SIZE];
    snprintf(own, sizeof own, "%s.avsc", kind);
    ret->own = strcmp(file, own) == 0;
    return LL_OK;
}

static enum ll_status check_unique(const struct ids *ids, const config_setting_t *setting, const char *path,
                                   struct ll_err *err)
{
    const struct id_entry *last = &ids->entries[ids->count - 1];
    for (const struct id_entry *entry = ids->entries; entry < last; entry++) {
        if (entry->id == last->id)
            return bad(setting, path, "an id is given once and for ever; this one is taken", err);
        if (entry->own && last->own && entry->kind == last->kind)
            return bad(setting, path, "this file has an id already", err);
    }
    return LL_OK;
}

static enum ll_status read_all(const config_t *config, const char *path, struct ids *ret, struct ll_err *err)
{
    const config_setting_t *list = config_lookup(config, "schemas");
    int count = list == NULL ? 0 : config_setting_length(list);
    if (count == 0 || count > IDS_MAX)
        return ll_fail(err, LL_FATAL, "%s: schemas is to be a list of 1 to %d entries", path, IDS_MAX);

    bool owned[EVENT_KINDS] = {false};
    for (int i = 0; i < count; i++) {
        const config_setting_t *setting = config_setting_get_elem(list, (unsigned)i);
        struct id_entry *entry = &ret->entries[ret->count++];
        enum ll_status status = read_entry(setting, path, entry, err);
        if (status == LL_OK)
            status = check_unique(ret, setting, path, err);
        if (status != LL_OK)
            return status;
        owned[entry->kind] = owned[entry->kind] || entry->own;
    }
    for (enum event_kind kind = 0; kind < EVENT_KINDS; kind++)
        if (!owned[kind])
            return ll_fail(err, LL_FATAL, "%s: no entry for %s.avsc", path, event_kind_name(kind));
    return LL_OK;
}

enum ll_status ids_load(const char *dir, struct ids *ret, struct ll_err *err)
{
    char path[IDS_PATH_SIZE];
    config_t config;
    enum ll_status status = LL_FATAL;

    snprintf(path, sizeof path, "%s/ids.conf", dir);
    config_init(&config);
    ret->count = 0;
    if (conf_read_file(&config, path) == CONFIG_TRUE)
        status = read_all(&config, path, ret, err);
    else if (config_error_type(&config) == CONFIG_ERR_FILE_IO)
        ll_fail(err, LL_FATAL,
                "%s: cannot be read; is share (or $LENS_SHARE) the folder that holds schemas/?", path);
    else
        ll_fail(err, LL_FATAL, "%s:%d: %s", path, config_error_line(&config), config_error_text(&config));
    config_destroy(&config);
    return status;
}
