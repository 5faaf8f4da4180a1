/*
 * profile_field.h - inside profile.c: one field's settings, and how a setting is read with its file and line
 * in every error.
 */
#pragma once

#include "producers/import/profile.h"
#include "runtime/err.h"

#include <libconfig.h>
#include <stdint.h>

struct reading {
    const char *path;
};

enum ll_status profile_fields_read(const struct reading *reading, config_setting_t *from,
                                   struct profile_file *file, struct ll_err *err);
void profile_fields_free(struct profile_file *file);

/* LL_FATAL with "path:line: words". */
enum ll_status reading_fail(const struct reading *reading, const config_setting_t *at, struct ll_err *err,
                            const char *format, ...) __attribute__((format(printf, 4, 5)));
/* Every member of the group is one of known (NULL at the end). */
enum ll_status reading_known(const struct reading *reading, config_setting_t *group, const char *what,
                             const char *const *known, struct ll_err *err);
enum ll_status reading_text(const struct reading *reading, config_setting_t *at, char *to, size_t size,
                            struct ll_err *err);
enum ll_status reading_char(const struct reading *reading, config_setting_t *at, char *ret,
                            struct ll_err *err);
enum ll_status reading_flag(const struct reading *reading, config_setting_t *at, bool *ret,
                            struct ll_err *err);
enum ll_status reading_whole(const struct reading *reading, config_setting_t *at, int64_t min, int64_t max,
                             int64_t *ret, struct ll_err *err);
enum ll_status reading_choice(const struct reading *reading, config_setting_t *at, const char *const *names,
                              int *ret, struct ll_err *err);
enum ll_status reading_zone(const struct reading *reading, config_setting_t *at, char *to, size_t size,
                            struct ll_err *err);
