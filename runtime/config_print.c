#include "runtime/config_settings.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

enum { VALUE_SIZE = 2 * CONFIG_TEXT_SIZE + 8 };

static json_t *json_value(const struct setting *row, const struct config *config)
{
    const char *field = (const char *)config + row->offset;
    int32_t narrow = 0;
    int64_t wide = 0;
    switch (row->type) {
    case SETTING_TEXT:
        return json_string(field);
    case SETTING_INT32:
        memcpy(&narrow, field, sizeof narrow);
        return json_integer(narrow);
    case SETTING_INT64:
        memcpy(&wide, field, sizeof wide);
        return json_integer(wide);
    }
    return json_null();
}

static void print_json(const struct config *config, const struct config *defaults, FILE *to)
{
    json_t *settings = json_object();
    for (size_t at = 0; at < config_setting_count; at++) {
        const struct setting *row = &config_settings[at];
        json_t *one = json_object();
        json_object_set_new(one, "value", json_value(row, config));
        json_object_set_new(one, "default", json_value(row, defaults));
        json_object_set_new(one, "unit", row->unit == NULL ? json_null() : json_string(row->unit));
        json_object_set_new(one, "help", json_string(row->help));
        json_object_set_new(settings, row->path, one);
    }
    json_t *all = json_object();
    json_object_set_new(all, "home", json_string(config->home));
    json_object_set_new(all, "file", json_string(config->file));
    json_object_set_new(all, "share", json_string(config->share));
    json_object_set_new(all, "settings", settings);
    json_dumpf(all, to, JSON_INDENT(2));
    fputc('\n', to);
    json_decref(all);
}

void config_print(const struct config *config, bool json, FILE *to)
{
    struct config *defaults = malloc(sizeof *defaults);
    if (defaults == NULL)
        abort();
    config_defaults(defaults);
    if (json) {
        print_json(config, defaults, to);
        free(defaults);
        return;
    }
    fprintf(to, "# file %s\n# home %s\n# share %s\n", config->file, config->home, config->share);
    for (size_t at = 0; at < config_setting_count; at++) {
        const struct setting *row = &config_settings[at];
        char value[VALUE_SIZE], preset[VALUE_SIZE];
        config_setting_write(row, config, value, sizeof value);
        config_setting_write(row, defaults, preset, sizeof preset);
        char pair[VALUE_SIZE + 64];
        snprintf(pair, sizeof pair, "%s = %s", row->path, value);
        fprintf(to, "%-48s # ", pair);
        if (row->unit != NULL)
            fprintf(to, "%s; ", row->unit);
        if (strcmp(value, preset) != 0)
            fprintf(to, "default %s; ", preset);
        fprintf(to, "%s\n", row->help);
    }
    free(defaults);
}

static void print_range(const struct setting *row, FILE *to)
{
    switch (row->type) {
    case SETTING_TEXT:
        if (row->choices == NULL)
            return;
        fputs("    # One of ", to);
        for (const char *c = row->choices; *c != '\0'; c++)
            if (*c == '|')
                fputs(" | ", to);
            else
                fputc(*c, to);
        fputs(".\n", to);
        return;
    case SETTING_INT32:
    case SETTING_INT64:
        fprintf(to, "    # %s%sfrom %" PRId64 " to %" PRId64 ".\n", row->unit == NULL ? "" : row->unit,
                row->unit == NULL ? "" : ", ", row->min, row->max);
        return;
    }
}

void config_print_defaults(FILE *to)
{
    struct config *defaults = malloc(sizeof *defaults);
    if (defaults == NULL)
        abort();
    config_defaults(defaults);
    fputs("# Every setting of every process, at its default. A setting that is left out has its default; one "
          "that is not\n"
          "# listed here is an error. Copy this file to LENS_HOME/lens.conf, or name another with --config "
          "FILE or LENS_CONFIG.\n"
          "# Addresses left empty are those of the private stack that `lens up` starts.\n",
          to);
    char group[32] = "";
    for (size_t at = 0; at < config_setting_count; at++) {
        const struct setting *row = &config_settings[at];
        size_t size = strcspn(row->path, ".");
        if (strncmp(row->path, group, size) != 0 || group[size] != '\0') {
            fprintf(to, "%s\n%.*s:\n{\n", group[0] == '\0' ? "" : "};\n", (int)size, row->path);
            snprintf(group, sizeof group, "%.*s", (int)size, row->path);
        } else {
            fputc('\n', to);
        }
        char value[VALUE_SIZE];
        fprintf(to, "    # %s\n", row->help);
        print_range(row, to);
        fprintf(to, "    %s = %s;\n", row->path + size + 1,
                config_setting_write(row, defaults, value, sizeof value));
    }
    fputs("};\n", to);
    free(defaults);
}
