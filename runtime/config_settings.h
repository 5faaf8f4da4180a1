/*
 * config_settings.h - the table of settings: what config.c checks, config_print.c prints and deploy/lens.conf says.
 * Shape:  one row per setting; within the configuration's sources only.
 */
#pragma once

#include "runtime/config.h"

#include <stddef.h>
#include <stdint.h>

enum setting_type { SETTING_TEXT, SETTING_INT32, SETTING_INT64 };

struct setting {
    const char *path; /* "accrue.flush_ms"; rows of one group lie together */
    enum setting_type type;
    size_t offset; /* in struct config */
    size_t size;
    const char *text;    /* default of a text */
    const char *choices; /* "a|b|c", or NULL: any text */
    int64_t number;      /* default of a number */
    int64_t min, max;    /* of a number, or of a text's length */
    const char *unit;    /* "ms"; NULL: none */
    const char *help;
};

extern const struct setting config_settings[];
extern const size_t config_setting_count;

/* NULL if there is none. */
const struct setting *config_setting_find(const char *path);
/* The row (or, for_group, the group) whose name is nearest to path; NULL if none is near. */
const char *config_setting_nearest(const char *path);
/* The value as text, as it stands in a file: quoted if it is one. Returns to. */
char *config_setting_write(const struct setting *setting, const struct config *config, char *to, size_t size);
void config_setting_default(const struct setting *setting, struct config *config);
