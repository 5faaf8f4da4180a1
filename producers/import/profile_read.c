#include "producers/import/profile_field.h"
#include "runtime/clock.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum ll_status reading_fail(const struct reading *reading, const config_setting_t *at, struct ll_err *err,
                            const char *format, ...)
{
    char words[sizeof err->text];
    va_list args;
    va_start(args, format);
    vsnprintf(words, sizeof words, format, args);
    va_end(args);
    int line = (int)config_setting_source_line(at);
    return ll_fail(err, LL_FATAL, "%s:%d: %s", reading->path, line > 0 ? line : 1, words);
}

enum ll_status reading_known(const struct reading *reading, config_setting_t *group, const char *what,
                             const char *const *known, struct ll_err *err)
{
    for (int i = 0; i < config_setting_length(group); i++) {
        config_setting_t *member = config_setting_get_elem(group, (unsigned)i);
        const char *name = config_setting_name(member);
        int at = 0;
        while (known[at] != NULL && strcmp(known[at], name) != 0)
            at++;
        if (known[at] == NULL)
            return reading_fail(reading, member, err, "%s has no key \"%s\"", what, name);
    }
    return LL_OK;
}

/* What to call a setting: an element of a list has no name. */
static const char *name_of(const config_setting_t *at)
{
    const char *name = config_setting_name(at);
    return name != NULL ? name : "an element";
}

enum ll_status reading_text(const struct reading *reading, config_setting_t *at, char *to, size_t size,
                            struct ll_err *err)
{
    if (config_setting_type(at) != CONFIG_TYPE_STRING)
        return reading_fail(reading, at, err, "%s must be a text in \"quotes\"", name_of(at));
    const char *value = config_setting_get_string(at);
    if (strlen(value) >= size)
        return reading_fail(reading, at, err, "%s has more than %zu characters", name_of(at), size - 1);
    memcpy(to, value, strlen(value) + 1);
    return LL_OK;
}

enum ll_status reading_char(const struct reading *reading, config_setting_t *at, char *ret,
                            struct ll_err *err)
{
    if (config_setting_type(at) != CONFIG_TYPE_STRING || strlen(config_setting_get_string(at)) != 1)
        return reading_fail(reading, at, err, "%s must be one character in \"quotes\"", name_of(at));
    *ret = config_setting_get_string(at)[0];
    return LL_OK;
}

enum ll_status reading_flag(const struct reading *reading, config_setting_t *at, bool *ret,
                            struct ll_err *err)
{
    if (config_setting_type(at) != CONFIG_TYPE_BOOL)
        return reading_fail(reading, at, err, "%s must be true or false", name_of(at));
    *ret = config_setting_get_bool(at) != 0;
    return LL_OK;
}

enum ll_status reading_whole(const struct reading *reading, config_setting_t *at, int64_t min, int64_t max,
                             int64_t *ret, struct ll_err *err)
{
    int type = config_setting_type(at);
    if (type != CONFIG_TYPE_INT && type != CONFIG_TYPE_INT64)
        return reading_fail(reading, at, err, "%s must be a whole number", name_of(at));
    int64_t value = config_setting_get_int64(at);
    if (value < min || value > max)
        return reading_fail(reading, at, err, "%s is %lld; it must be from %lld to %lld", name_of(at),
                            (long long)value, (long long)min, (long long)max);
    *ret = value;
    return LL_OK;
}

enum ll_status reading_choice(const struct reading *reading, config_setting_t *at, const char *const *names,
                              int *ret, struct ll_err *err)
{
    char word[PROFILE_NAME_SIZE], all[160] = "";
    enum ll_status status = reading_text(reading, at, word, sizeof word, err);
    if (status != LL_OK)
        return status;
    for (int i = 0; names[i] != NULL; i++) {
        if (strcmp(names[i], word) == 0) {
            *ret = i;
            return LL_OK;
        }
        size_t used = strlen(all);
        snprintf(all + used, sizeof all - used, "%s%s", i > 0 ? ", " : "", names[i]);
    }
    return reading_fail(reading, at, err, "%s is \"%s\"; it must be one of %s", name_of(at), word, all);
}

enum ll_status reading_zone(const struct reading *reading, config_setting_t *at, char *to, size_t size,
                            struct ll_err *err)
{
    enum ll_status status = reading_text(reading, at, to, size, err);
    if (status != LL_OK)
        return status;
    struct calendar *calendar;
    struct ll_err why;
    if (calendar_new(to, &calendar, &why) != LL_OK)
        return reading_fail(reading, at, err, "%s", why.text);
    calendar_free(calendar);
    return LL_OK;
}
