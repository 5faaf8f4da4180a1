/*
 * import_kit.h - for the tests of import: files and profiles in a folder of their own, and all outputs as lines of text.
 */
#pragma once

#include "producers/import/importer.h"

#include <stdbool.h>
#include <stddef.h>

struct kit {
    char folder[64];
    struct ll_err err;
    char *out; /* what came out, a line each */
    size_t out_size, out_used;
    struct import_counts counts;
    int settled; /* how often */
    int64_t fail_at; /* > 0: that output fails with LL_RETRY */
};

/* A new folder under /tmp. */
void kit_init(struct kit *kit);
void kit_done(struct kit *kit);
/* Writes a file into the folder; returns its path, good until the next call. */
const char *kit_file(struct kit *kit, const char *name, const char *bytes, size_t size);
enum ll_status kit_profile(struct kit *kit, const char *text, struct profile **ret);
/* Imports all files of the folder (and of it alone) under the profile in deploy/profiles, or under a text. */
enum ll_status kit_import(struct kit *kit, const char *profile_name, const char *profile_text, int step_rows);
/* Imports what the caller opened. */
enum ll_status kit_run(struct kit *kit, const struct profile *profile, char *const *paths, int path_count, int step_rows);
void kit_print(struct kit *kit, const char *format, ...) __attribute__((format(printf, 2, 3)));
