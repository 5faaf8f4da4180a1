#include "runtime/config.h"

#include "runtime/clock.h"
#include "runtime/conf_text.h"
#include "runtime/config_settings.h"

#include <assert.h>
#include <errno.h>
#include <libconfig.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SETTINGS_MAX = 128, PATH_SIZE = 192 };

/* One file while it is read: what it said goes to config, and where it said it to lines. */
struct reading {
    const char *file;
    struct config *config;
    int lines[SETTINGS_MAX]; /* 0: the file does not name this setting */
    bool is_stack;
};

void config_defaults(struct config *ret)
{
    memset(ret, 0, sizeof *ret);
    for (size_t at = 0; at < config_setting_count; at++)
        config_setting_default(&config_settings[at], ret);
}

static int line_of(const struct reading *reading, const char *path)
{
    return reading->lines[config_setting_find(path) - config_settings];
}

static enum ll_status fail_unknown(const struct reading *reading, int line, const char *path,
                                   struct ll_err *err)
{
    const char *nearest = config_setting_nearest(path);
    if (nearest == NULL)
        return ll_fail(err, LL_FATAL, "%s:%d: unknown setting %.80s; `lens config` lists all", reading->file,
                       line, path);
    return ll_fail(err, LL_FATAL, "%s:%d: unknown setting %.80s; did you mean %s?", reading->file, line, path,
                   nearest);
}

static bool is_choice(const char *choices, const char *value)
{
    size_t size = strlen(value);
    for (const char *at = choices; *at != '\0';) {
        size_t one = strcspn(at, "|");
        if (one == size && memcmp(at, value, size) == 0)
            return true;
        at += one + (at[one] == '|' ? 1 : 0);
    }
    return false;
}

static enum ll_status take_text(struct reading *reading, const struct setting *row, config_setting_t *from,
                                int line, struct ll_err *err)
{
    if (config_setting_type(from) != CONFIG_TYPE_STRING)
        return ll_fail(err, LL_FATAL, "%s:%d: %s must be a text in \"quotes\"", reading->file, line,
                       row->path);
    const char *value = config_setting_get_string(from);
    int64_t size = (int64_t)strlen(value);
    if (size < row->min || size > row->max)
        return ll_fail(err, LL_FATAL, "%s:%d: %s must have %lld to %lld characters, not %lld", reading->file,
                       line, row->path, (long long)row->min, (long long)row->max, (long long)size);
    if (row->choices != NULL && !is_choice(row->choices, value))
        return ll_fail(err, LL_FATAL, "%s:%d: %s is \"%.40s\"; it must be one of %s", reading->file, line,
                       row->path, value, row->choices);
    for (const char *c = value; *c != '\0'; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7f)
            return ll_fail(err, LL_FATAL, "%s:%d: %s holds a control character", reading->file, line,
                           row->path);
    memcpy((char *)reading->config + row->offset, value, (size_t)size + 1);
    return LL_OK;
}

static enum ll_status take_number(struct reading *reading, const struct setting *row, config_setting_t *from,
                                  int line, struct ll_err *err)
{
    int type = config_setting_type(from);
    if (type != CONFIG_TYPE_INT && type != CONFIG_TYPE_INT64)
        return ll_fail(err, LL_FATAL, "%s:%d: %s must be a whole number%s%s, without quotes", reading->file,
                       line, row->path, row->unit == NULL ? "" : " of ", row->unit == NULL ? "" : row->unit);
    int64_t value = config_setting_get_int64(from);
    if (value < row->min || value > row->max)
        return ll_fail(err, LL_FATAL, "%s:%d: %s is %lld; it must be from %lld to %lld%s%s", reading->file,
                       line, row->path, (long long)value, (long long)row->min, (long long)row->max,
                       row->unit == NULL ? "" : " ", row->unit == NULL ? "" : row->unit);
    char *field = (char *)reading->config + row->offset;
    int32_t narrow = (int32_t)value;
    if (row->type == SETTING_INT32)
        memcpy(field, &narrow, sizeof narrow);
    else
        memcpy(field, &value, sizeof value);
    return LL_OK;
}

static bool is_address(const char *path)
{
    return strncmp(path, "kafka.", 6) == 0 || strncmp(path, "redis.", 6) == 0 ||
           strncmp(path, "postgres.", 9) == 0;
}

static enum ll_status take_setting(struct reading *reading, config_setting_t *from, const char *path,
                                   struct ll_err *err)
{
    int line = (int)config_setting_source_line(from);
    const struct setting *row = config_setting_find(path);
    if (row == NULL)
        return fail_unknown(reading, line, path, err);
    if (reading->is_stack && !is_address(path))
        return ll_fail(err, LL_FATAL, "%s:%d: %s is not an address; it belongs into lens.conf", reading->file,
                       line, path);
    enum ll_status status = row->type == SETTING_TEXT ? take_text(reading, row, from, line, err)
                                                      : take_number(reading, row, from, line, err);
    reading->lines[row - config_settings] = line;
    return status;
}

static enum ll_status take_group(struct reading *reading, config_setting_t *group, struct ll_err *err)
{
    int count = config_setting_length(group);
    for (int at = 0; at < count; at++) {
        config_setting_t *member = config_setting_get_elem(group, (unsigned)at);
        char path[PATH_SIZE];
        snprintf(path, sizeof path, "%.60s.%.100s", config_setting_name(group), config_setting_name(member));
        enum ll_status status = take_setting(reading, member, path, err);
        if (status != LL_OK)
            return status;
    }
    return LL_OK;
}

static bool is_group(const char *name)
{
    size_t size = strlen(name);
    for (size_t at = 0; at < config_setting_count; at++)
        if (strncmp(config_settings[at].path, name, size) == 0 && config_settings[at].path[size] == '.')
            return true;
    return false;
}

static enum ll_status take_root(struct reading *reading, config_setting_t *root, struct ll_err *err)
{
    int count = config_setting_length(root);
    for (int at = 0; at < count; at++) {
        config_setting_t *member = config_setting_get_elem(root, (unsigned)at);
        const char *name = config_setting_name(member);
        int line = (int)config_setting_source_line(member);
        if (!is_group(name))
            return config_setting_is_group(member) && config_setting_length(member) > 0
                       ? take_group(reading, member, err) /* says which setting was probably meant */
                       : fail_unknown(reading, line, name, err);
        if (!config_setting_is_group(member))
            return ll_fail(err, LL_FATAL, "%s:%d: %s is a group: %s: { ... }", reading->file, line, name,
                           name);
        enum ll_status status = take_group(reading, member, err);
        if (status != LL_OK)
            return status;
    }
    return LL_OK;
}

static enum ll_status read_file(struct reading *reading, struct ll_err *err)
{
    struct stat facts;
    if (stat(reading->file, &facts) != 0)
        return ll_fail(err, LL_FATAL, "%s: %s; give another one with --config FILE", reading->file,
                       strerror(errno));
    /* libconfig's scanner ends the process when it cannot read. */
    if (!S_ISREG(facts.st_mode))
        return ll_fail(err, LL_FATAL, "%s: not a file", reading->file);
    if (access(reading->file, R_OK) != 0)
        return ll_fail(err, LL_FATAL, "%s: %s", reading->file, strerror(errno));
    config_t parsed;
    config_init(&parsed);
    enum ll_status status;
    if (conf_read_file(&parsed, reading->file) == CONFIG_TRUE)
        status = take_root(reading, config_root_setting(&parsed), err);
    else
        status = ll_fail(err, LL_FATAL, "%s:%d: %s", reading->file, config_error_line(&parsed),
                         config_error_text(&parsed));
    config_destroy(&parsed);
    return status;
}

static bool is_currency(const char *text)
{
    return strlen(text) == 3 && strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") == 3;
}

/* What one row alone cannot tell. The line is 0 where only defaults are at odds, which a test excludes. */
static enum ll_status check_together(const struct reading *reading, struct ll_err *err)
{
    const struct config *c = reading->config;
    if (!is_currency(c->program.currency))
        return ll_fail(err, LL_FATAL,
                       "%s:%d: program.currency is \"%s\"; it must be three capital letters, e.g. GBP",
                       reading->file, line_of(reading, "program.currency"), c->program.currency);
    struct calendar *calendar = NULL;
    if (calendar_new(c->program.time_zone, &calendar, err) != LL_OK)
        return ll_wrap(err, LL_FATAL, "%s:%d: program.time_zone", reading->file,
                       line_of(reading, "program.time_zone"));
    calendar_free(calendar);
    bool is_sasl = strncmp(c->kafka.security_protocol, "sasl_", 5) == 0;
    if (is_sasl && (c->kafka.sasl_username[0] == '\0' || c->kafka.sasl_password_file[0] == '\0'))
        return ll_fail(err, LL_FATAL,
                       "%s:%d: kafka.security_protocol = \"%s\" needs sasl_username and sasl_password_file",
                       reading->file, line_of(reading, "kafka.security_protocol"),
                       c->kafka.security_protocol);
    if ((c->kafka.ssl_certificate_file[0] == '\0') != (c->kafka.ssl_key_file[0] == '\0'))
        return ll_fail(err, LL_FATAL, "%s:%d: kafka.ssl_certificate_file and kafka.ssl_key_file go together",
                       reading->file,
                       line_of(reading, "kafka.ssl_certificate_file") +
                           line_of(reading, "kafka.ssl_key_file"));
    if (strlen(c->redis.socket) > 107)
        return ll_fail(err, LL_FATAL,
                       "%s:%d: redis.socket has more than the 107 characters that the system allows",
                       reading->file, line_of(reading, "redis.socket"));
    if (c->validate.refused_min > c->validate.refused_window)
        return ll_fail(
            err, LL_FATAL,
            "%s:%d: validate.refused_min is above validate.refused_window: no partition would ever pause",
            reading->file,
            line_of(reading, "validate.refused_min") != 0 ? line_of(reading, "validate.refused_min")
                                                          : line_of(reading, "validate.refused_window"));
    return LL_OK;
}

static void copy_group(struct config *to, const struct reading *from, const char *group)
{
    size_t size = strlen(group);
    for (size_t at = 0; at < config_setting_count; at++) {
        const struct setting *row = &config_settings[at];
        if (strncmp(row->path, group, size) == 0 && from->lines[at] != 0)
            memcpy((char *)to + row->offset, (const char *)from->config + row->offset, row->size);
    }
}

/* Where the file names no service of its own, the private stack's address stands in. */
static enum ll_status overlay_stack(struct config *config, struct ll_err *err)
{
    char path[CONFIG_TEXT_SIZE];
    config_home_path(config, "stack.conf", path, sizeof path);
    if (access(path, F_OK) != 0)
        return LL_OK;
    struct config *stack = malloc(sizeof *stack);
    if (stack == NULL)
        abort();
    config_defaults(stack);
    struct reading reading = {.file = path, .config = stack, .is_stack = true};
    enum ll_status status = read_file(&reading, err);
    if (status == LL_OK) {
        if (config->kafka.bootstrap[0] == '\0')
            copy_group(config, &reading, "kafka.");
        if (config->redis.host[0] == '\0' && config->redis.socket[0] == '\0')
            copy_group(config, &reading, "redis.");
        if (config->postgres.host[0] == '\0')
            copy_group(config, &reading, "postgres.");
    }
    free(stack);
    return status;
}

static bool fits(char *to, const char *path)
{
    int size = snprintf(to, CONFIG_TEXT_SIZE, "%s", path);
    return size >= 0 && size < CONFIG_TEXT_SIZE;
}

/* The nearest folder upwards that holds topics.conf and deploy/ is a checkout of ours. */
static bool find_checkout(char to[PATH_MAX])
{
    if (getcwd(to, PATH_MAX) == NULL)
        return false;
    for (;;) {
        char probe[PATH_MAX + 16];
        snprintf(probe, sizeof probe, "%s/topics.conf", to);
        bool has_map = access(probe, F_OK) == 0;
        snprintf(probe, sizeof probe, "%s/deploy", to);
        if (has_map && access(probe, F_OK) == 0)
            return true;
        char *slash = strrchr(to, '/');
        if (slash == NULL || slash == to)
            return false;
        *slash = '\0';
    }
}

static enum ll_status find_home(struct config *config, struct ll_err *err)
{
    char path[2 * PATH_MAX + 16], folder[PATH_MAX];
    const char *named = getenv("LENS_HOME");
    if (named != NULL && named[0] == '/') {
        snprintf(path, sizeof path, "%s", named);
    } else if (named != NULL && named[0] != '\0') {
        if (getcwd(folder, sizeof folder) == NULL)
            return ll_fail(err, LL_FATAL, "current directory: %s", strerror(errno));
        snprintf(path, sizeof path, "%s/%.*s", folder, PATH_MAX - 1, named);
    } else if (find_checkout(folder)) {
        snprintf(path, sizeof path, "%s/.lens", folder);
    } else {
        if (getcwd(folder, sizeof folder) == NULL)
            return ll_fail(err, LL_FATAL, "current directory: %s", strerror(errno));
        snprintf(path, sizeof path, "%s/.lens", folder);
    }
    size_t size = strlen(path);
    while (size > 1 && path[size - 1] == '/')
        path[--size] = '\0';
    if (!fits(config->home, path))
        return ll_fail(err, LL_FATAL, "LENS_HOME has more than %d characters: choose a shorter one",
                       CONFIG_TEXT_SIZE - 1);
    return LL_OK;
}

static enum ll_status find_file(struct config *config, const char *file, struct ll_err *err)
{
    char path[CONFIG_TEXT_SIZE];
    const char *named = getenv("LENS_CONFIG");
    if (file == NULL && named != NULL && named[0] != '\0')
        file = named;
    if (file == NULL) {
        config_home_path(config, "lens.conf", path, sizeof path);
        if (access(path, F_OK) != 0)
            config_share_path(config, "deploy/lens.conf", path, sizeof path);
        file = path;
    }
    if (!fits(config->file, file))
        return ll_fail(err, LL_FATAL, "%.80s...: a path of more than %d characters", file,
                       CONFIG_TEXT_SIZE - 1);
    return LL_OK;
}

enum ll_status config_load(const char *file, struct config *ret, struct ll_err *err)
{
    assert(config_setting_count <= SETTINGS_MAX);
    config_defaults(ret);
    const char *share = getenv("LENS_SHARE");
    if (!fits(ret->share, share != NULL && share[0] != '\0' ? share : LENS_SOURCE_DIR))
        return ll_fail(err, LL_FATAL, "LENS_SHARE has more than %d characters", CONFIG_TEXT_SIZE - 1);
    enum ll_status status = find_home(ret, err);
    if (status == LL_OK)
        status = find_file(ret, file, err);
    if (status != LL_OK)
        return status;
    struct reading reading = {.file = ret->file, .config = ret};
    status = read_file(&reading, err);
    if (status == LL_OK)
        status = check_together(&reading, err);
    if (status == LL_OK)
        status = overlay_stack(ret, err);
    return status;
}

/* False: it would not fit. */
static bool put_name(char *field, size_t size, const char *process)
{
    char whole[2 * CONFIG_TEXT_SIZE];
    size_t used = 0;
    for (const char *at = field; *at != '\0';) {
        bool is_name = at[0] == '%' && at[1] == 'p';
        const char *piece = is_name ? process : at;
        size_t piece_size = is_name ? strlen(process) : 1;
        if (used + piece_size >= size)
            return false;
        memcpy(whole + used, piece, piece_size);
        used += piece_size;
        at += is_name ? 2 : 1;
    }
    memcpy(field, whole, used);
    field[used] = '\0';
    return true;
}

enum ll_status config_as(struct config *config, const char *process, struct ll_err *err)
{
    static const char *const named[] = {
        "kafka.sasl_username", "kafka.sasl_password_file", "kafka.ssl_certificate_file", "kafka.ssl_key_file",
        "redis.username",      "redis.password_file",      "postgres.user",              "postgres.password_file",
    };
    for (size_t at = 0; at < sizeof named / sizeof named[0]; at++) {
        const struct setting *row = config_setting_find(named[at]);
        if (!put_name((char *)config + row->offset, row->size, process))
            return ll_fail(err, LL_FATAL, "%s: %s is too long with %%p as \"%s\"", config->file, named[at], process);
    }
    return LL_OK;
}

enum ll_status config_secret(const char *path, char *to, size_t size, struct ll_err *err)
{
    to[0] = '\0';
    if (path[0] == '\0')
        return LL_OK;
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return ll_fail(err, LL_FATAL, "secret file %s: %s", path, strerror(errno));
    struct stat facts;
    if (fstat(fileno(file), &facts) != 0)
        facts.st_mode = 0777; /* nothing is known of it */
    if ((facts.st_mode & 077) != 0) {
        fclose(file);
        return ll_fail(err, LL_FATAL,
                       "secret file %s: others can read or change it (mode %o); next: chmod 600 %s", path,
                       (unsigned)(facts.st_mode & 0777), path);
    }
    bool read = fgets(to, (int)size, file) != NULL;
    bool failed = ferror(file) != 0;
    bool at_end = feof(file) != 0;
    fclose(file);
    if (failed)
        return ll_fail(err, LL_FATAL, "secret file %s: cannot be read", path);
    size_t used = read ? strcspn(to, "\r\n") : 0;
    bool whole = read && (to[used] != '\0' || at_end);
    to[used] = '\0';
    if (used == 0)
        return ll_fail(err, LL_FATAL, "secret file %s: its first line is empty", path);
    if (!whole)
        return ll_fail(err, LL_FATAL, "secret file %s: its first line has more than %zu characters", path,
                       size - 2);
    return LL_OK;
}

static char *join(const char *folder, const char *name, char *to, size_t size)
{
    int used = snprintf(to, size, "%s/%s", folder, name);
    if (used < 0 || (size_t)used >= size)
        to[0] = '\0'; /* a cut path would be another file's */
    return to;
}

char *config_share_path(const struct config *config, const char *name, char *to, size_t size)
{
    return join(config->share, name, to, size);
}

char *config_home_path(const struct config *config, const char *name, char *to, size_t size)
{
    return join(config->home, name, to, size);
}
