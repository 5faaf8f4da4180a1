#include "runtime/topics.h"

#include "runtime/conf_text.h"

#include <assert.h>
#include <errno.h>
#include <libconfig.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PARTITIONS_MAX = 1024 };

static const char *const names[TOPIC_COUNT] = {
#define X(symbol, name) [TOPIC_##symbol] = name,
    TOPIC_TABLE(X)
#undef X
};

/* State lives per partition, and a record keeps its partition number from raw to ledger. */
static const enum topic same_partitions[] = {TOPIC_TRANSACTIONS_RETRY, TOPIC_TRANSACTIONS_VALID,
                                             TOPIC_LEDGER};

const char *topic_name(enum topic topic)
{
    assert((int)topic >= 0 && topic < TOPIC_COUNT);
    return names[topic];
}

enum topic topic_find(const char *name)
{
    for (int topic = 0; topic < TOPIC_COUNT; topic++)
        if (strcmp(names[topic], name) == 0)
            return (enum topic)topic;
    return TOPIC_COUNT;
}

/* The file while it is read; line of each topic, 0 while it was not named. */
struct reading {
    const char *file;
    struct topics *topics;
    int lines[TOPIC_COUNT];
};

static enum ll_status take_text(const struct reading *reading, config_setting_t *from, char *to, size_t size,
                                struct ll_err *err)
{
    int line = (int)config_setting_source_line(from);
    const char *name = config_setting_name(from);
    if (config_setting_type(from) != CONFIG_TYPE_STRING)
        return ll_fail(err, LL_FATAL, "%s:%d: %s must be a text in \"quotes\"", reading->file, line, name);
    const char *value = config_setting_get_string(from);
    if (strlen(value) >= size)
        return ll_fail(err, LL_FATAL, "%s:%d: %s has more than %zu characters", reading->file, line, name,
                       size - 1);
    snprintf(to, size, "%s", value);
    return LL_OK;
}

static enum ll_status take_number(const struct reading *reading, config_setting_t *from, int64_t min,
                                  int64_t max, int64_t *ret, struct ll_err *err)
{
    int line = (int)config_setting_source_line(from);
    const char *name = config_setting_name(from);
    int type = config_setting_type(from);
    if (type != CONFIG_TYPE_INT && type != CONFIG_TYPE_INT64)
        return ll_fail(err, LL_FATAL, "%s:%d: %s must be a whole number", reading->file, line, name);
    int64_t value = config_setting_get_int64(from);
    if (value < min || value > max)
        return ll_fail(err, LL_FATAL, "%s:%d: %s is %lld; it must be from %lld to %lld", reading->file, line,
                       name, (long long)value, (long long)min, (long long)max);
    *ret = value;
    return LL_OK;
}

/* One of two words. */
static enum ll_status take_choice(const struct reading *reading, config_setting_t *from, const char *no,
                                  const char *yes, bool *ret, struct ll_err *err)
{
    char word[TOPIC_NAME_SIZE];
    enum ll_status status = take_text(reading, from, word, sizeof word, err);
    if (status != LL_OK)
        return status;
    *ret = strcmp(word, yes) == 0;
    if (!*ret && strcmp(word, no) != 0)
        return ll_fail(err, LL_FATAL, "%s:%d: %s is \"%s\"; it must be \"%s\" or \"%s\"", reading->file,
                       (int)config_setting_source_line(from), config_setting_name(from), word, no, yes);
    return LL_OK;
}

enum fact {
    FACT_NAME,
    FACT_PARTITIONS,
    FACT_KEY,
    FACT_SCHEMA,
    FACT_CLEANUP,
    FACT_RETENTION_MS,
    FACT_TIME,
    FACT_WRITERS,
    FACT_READERS,
    FACT_COUNT
};
static const char *const fact_names[FACT_COUNT] = {
    "name", "partitions", "key", "schema", "cleanup", "retention_ms", "time", "writers", "readers"};

static enum ll_status take_fact(const struct reading *reading, enum fact fact, config_setting_t *from,
                                struct topic_fact *to, struct ll_err *err)
{
    int64_t number = 0;
    enum ll_status status = LL_OK;
    switch (fact) {
    case FACT_NAME:
        return take_text(reading, from, to->name, sizeof to->name, err);
    case FACT_PARTITIONS:
        status = take_number(reading, from, 1, PARTITIONS_MAX, &number, err);
        to->partitions = (int32_t)number;
        return status;
    case FACT_KEY:
        return take_text(reading, from, to->key, sizeof to->key, err);
    case FACT_SCHEMA:
        return take_text(reading, from, to->schema, sizeof to->schema, err);
    case FACT_CLEANUP:
        return take_choice(reading, from, "delete", "compact", &to->compacted, err);
    case FACT_RETENTION_MS:
        status = take_number(reading, from, -1, INT64_MAX, &to->retention_ms, err);
        if (status == LL_OK && to->retention_ms == 0)
            return ll_fail(err, LL_FATAL, "%s:%d: retention_ms is 0; it must be -1 (for ever) or above 0",
                           reading->file, (int)config_setting_source_line(from));
        return status;
    case FACT_TIME:
        return take_choice(reading, from, "producer", "broker", &to->broker_time, err);
    case FACT_WRITERS:
        return take_text(reading, from, to->writers, sizeof to->writers, err);
    case FACT_READERS:
        return take_text(reading, from, to->readers, sizeof to->readers, err);
    case FACT_COUNT:
        break;
    }
    return LL_OK;
}

static enum ll_status take_topic(struct reading *reading, config_setting_t *group, struct ll_err *err)
{
    int line = (int)config_setting_source_line(group);
    if (!config_setting_is_group(group))
        return ll_fail(err, LL_FATAL, "%s:%d: a topic is a group { name = ...; partitions = ...; ... }",
                       reading->file, line);
    struct topic_fact read = {.retention_ms = -1};
    bool named[FACT_COUNT] = {false};
    for (int at = 0; at < config_setting_length(group); at++) {
        config_setting_t *member = config_setting_get_elem(group, (unsigned)at);
        int fact = 0;
        while (fact < FACT_COUNT && strcmp(fact_names[fact], config_setting_name(member)) != 0)
            fact++;
        if (fact == FACT_COUNT)
            return ll_fail(err, LL_FATAL,
                           "%s:%d: unknown fact \"%.60s\"; known are name, partitions, key, schema, cleanup, "
                           "retention_ms, "
                           "time, writers, readers",
                           reading->file, (int)config_setting_source_line(member),
                           config_setting_name(member));
        enum ll_status status = take_fact(reading, (enum fact)fact, member, &read, err);
        if (status != LL_OK)
            return status;
        named[fact] = true;
    }
    for (int fact = 0; fact < FACT_COUNT; fact++)
        if (!named[fact])
            return ll_fail(err, LL_FATAL, "%s:%d: topic \"%s\" does not say its %s", reading->file, line,
                           read.name, fact_names[fact]);
    enum topic topic = topic_find(read.name);
    if (topic == TOPIC_COUNT)
        return ll_fail(err, LL_FATAL, "%s:%d: no process knows a topic \"%s\"", reading->file, line,
                       read.name);
    if (reading->lines[topic] != 0)
        return ll_fail(err, LL_FATAL, "%s:%d: topic \"%s\" is already described in line %d", reading->file,
                       line, read.name, reading->lines[topic]);
    reading->lines[topic] = line;
    reading->topics->facts[topic] = read;
    return LL_OK;
}

static enum ll_status check_whole(const struct reading *reading, int list_line, struct ll_err *err)
{
    for (int topic = 0; topic < TOPIC_COUNT; topic++)
        if (reading->lines[topic] == 0)
            return ll_fail(err, LL_FATAL, "%s:%d: topic \"%s\" is missing from the list", reading->file,
                           list_line, names[topic]);
    const struct topic_fact *raw = &reading->topics->facts[TOPIC_TRANSACTIONS];
    for (size_t at = 0; at < sizeof same_partitions / sizeof same_partitions[0]; at++) {
        const struct topic_fact *other = &reading->topics->facts[same_partitions[at]];
        if (other->partitions != raw->partitions)
            return ll_fail(err, LL_FATAL,
                           "%s:%d: topic \"%s\" has %d partitions, \"%s\" has %d; a record keeps its "
                           "partition, so they must agree",
                           reading->file, reading->lines[same_partitions[at]], other->name, other->partitions,
                           raw->name, raw->partitions);
    }
    return LL_OK;
}

static enum ll_status take_root(struct reading *reading, config_setting_t *root, struct ll_err *err)
{
    config_setting_t *list = config_setting_get_member(root, "topics");
    for (int at = 0; at < config_setting_length(root); at++) {
        config_setting_t *member = config_setting_get_elem(root, (unsigned)at);
        if (member != list)
            return ll_fail(
                err, LL_FATAL, "%s:%d: unknown entry \"%.60s\"; the file is one list, topics = ( ... )",
                reading->file, (int)config_setting_source_line(member), config_setting_name(member));
    }
    if (list == NULL || !config_setting_is_list(list))
        return ll_fail(err, LL_FATAL, "%s:1: the file must be one list, topics = ( { ... }, { ... } )",
                       reading->file);
    for (int at = 0; at < config_setting_length(list); at++) {
        enum ll_status status = take_topic(reading, config_setting_get_elem(list, (unsigned)at), err);
        if (status != LL_OK)
            return status;
    }
    return check_whole(reading, (int)config_setting_source_line(list), err);
}

enum ll_status topics_load(const char *path, struct topics *ret, struct ll_err *err)
{
    struct stat facts;
    if (stat(path, &facts) != 0 || access(path, R_OK) != 0)
        return ll_fail(err, LL_FATAL, "%s: %s; LENS_SHARE must name the folder that holds topics.conf", path,
                       strerror(errno));
    if (!S_ISREG(facts.st_mode)) /* libconfig's scanner ends the process when it cannot read */
        return ll_fail(err, LL_FATAL, "%s: not a file", path);
    memset(ret, 0, sizeof *ret);
    struct reading reading = {.file = path, .topics = ret};
    config_t parsed;
    config_init(&parsed);
    enum ll_status status;
    if (conf_read_file(&parsed, path) == CONFIG_TRUE)
        status = take_root(&reading, config_root_setting(&parsed), err);
    else
        status =
            ll_fail(err, LL_FATAL, "%s:%d: %s", path, config_error_line(&parsed), config_error_text(&parsed));
    config_destroy(&parsed);
    return status;
}
