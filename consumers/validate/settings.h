/*
 * settings.h - deploy/validation.conf: what is asked of each source.
 * Shape:  a list of sources, each with its references, limits and what a bad line does; the one named "default" is for all that
 *         are not listed.
 * Units:  _ms is int64 ms.
 * Errors: LL_FATAL with file and line: an unknown key, a bad value, a source named twice.
 */
#pragma once

#include "consumers/validate/references.h"
#include "runtime/err.h"
#include "runtime/text.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { SETTINGS_SOURCES_MAX = 256, SETTINGS_NAME_SIZE = 128 };

struct settings_source {
    char name[SETTINGS_NAME_SIZE];
    uint32_t name_size;
    bool required[REFERENCE_KINDS];
    int64_t lateness_ms; /* INT64_MAX: unlimited */
    int64_t skew_ms;
    bool reject_line;   /* a bad line goes alone; else the transaction goes */
    bool allow_refused; /* its refused records never pause a partition */
};

struct settings {
    struct settings_source *sources; /* owned */
    size_t source_count;
    const struct settings_source *fallback; /* "default"; NULL: a source that is not listed is refused */
    bool alias_connect, alias_spring;       /* dead letters carry these tools' header names too */
};

enum ll_status settings_load(const char *path, struct settings *ret, struct ll_err *err);
void settings_done(struct settings *settings);

/* The source's own entry, else the default one, else NULL. NULL for an empty name. */
const struct settings_source *settings_find(const struct settings *settings, struct text source);
