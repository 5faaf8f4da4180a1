/* The topic map: every topic once, every fact checked. */
#include "runtime/topics.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct topics topics;
static struct ll_err err;
static char original[32 << 10];

static void read_original(void)
{
    FILE *from = fopen(LENS_SOURCE_DIR "/topics.conf", "r");
    cr_assert_not_null(from);
    size_t size = fread(original, 1, sizeof original - 1, from);
    original[size] = '\0';
    fclose(from);
}

TestSuite(topics, .init = read_original);

/* The map with the first `from` after `after` replaced by `to`. */
static enum ll_status load_changed(const char *after, const char *from, const char *to)
{
    char path[] = "/tmp/lens-topics-XXXXXX";
    int fd = mkstemp(path);
    FILE *file = fdopen(fd, "w");
    cr_assert_not_null(file);
    const char *start = strstr(original, after);
    cr_assert_not_null(start, "%s", after);
    const char *at = strstr(start, from);
    cr_assert_not_null(at, "%s", from);
    fprintf(file, "%.*s%s%s", (int)(at - original), original, to, at + strlen(from));
    fclose(file);
    enum ll_status status = topics_load(path, &topics, &err);
    unlink(path);
    return status;
}

Test(topics, the_checked_in_map_is_whole)
{
    cr_assert_eq(topics_load(LENS_SOURCE_DIR "/topics.conf", &topics, &err), LL_OK, "%s", err.text);
    for (int topic = 0; topic < TOPIC_COUNT; topic++) {
        cr_assert_str_eq(topics.facts[topic].name, topic_name((enum topic)topic));
        cr_assert_eq(topic_find(topics.facts[topic].name), topic);
    }
    cr_assert_eq(topics.facts[TOPIC_TRANSACTIONS].partitions, 8);
    cr_assert(topics.facts[TOPIC_TRANSACTIONS].broker_time, "lateness is measured against the broker's time");
    cr_assert_not(topics.facts[TOPIC_TRANSACTIONS_VALID].broker_time,
                  "accrue's clock is the time that validate gives");
    cr_assert(topics.facts[TOPIC_STORES_VALID].compacted);
    cr_assert_eq(topics.facts[TOPIC_LEDGER].retention_ms, -1);
    cr_assert_eq(topic_find("nothing"), TOPIC_COUNT);
}

Test(topics, every_schema_named_is_there)
{
    cr_assert_eq(topics_load(LENS_SOURCE_DIR "/topics.conf", &topics, &err), LL_OK);
    for (int topic = 0; topic < TOPIC_COUNT; topic++) {
        char path[512];
        snprintf(path, sizeof path, "%s/schemas/%s.avsc", LENS_SOURCE_DIR, topics.facts[topic].schema);
        cr_expect(strcmp(topics.facts[topic].schema, "bytes") == 0 || access(path, R_OK) == 0, "%s", path);
    }
}

static const struct refused {
    const char *after, *from, *to, *words, *why;
} refused[] = {
    {"\"ledger\"", "partitions = 8", "partitions = 4", "\"ledger\" has 4 partitions, \"transactions\" has 8",
     "must agree"},
    {"\"ledger\"", "partitions = 8", "partitions = 0", "partitions is 0; it must be from 1 to 1024", "none"},
    {"\"ledger\"", "partitions = 8", "partitions = \"8\"", "partitions must be a whole number", "a text"},
    {"\"ledger\"", "partitions = 8;", "", "topic \"ledger\" does not say its partitions", "left out"},
    {"\"ledger\"", "partitions = 8", "partition = 8", "unknown fact \"partition\"", "mistyped"},
    {"\"ledger\"", "cleanup = \"delete\"", "cleanup = \"keep\"", "it must be \"delete\" or \"compact\"",
     "no such policy"},
    {"\"ledger\"", "time = \"producer\"", "time = \"log\"", "it must be \"producer\" or \"broker\"",
     "no such time"},
    {"\"ledger\"", "retention_ms = -1", "retention_ms = -2", "retention_ms is -2", "below for ever"},
    {"\"ledger\"", "writers = \"", "writers = \"caf\xe9", "a text is not UTF-8", "it would be shown, and break JSON"},
    {"\"ledger\"", "writers = \"", "writers = \"\\xed\\xa0\\x80", "a text is not UTF-8", "written as escapes"},
    {"topics = (", "topics = (", "\n@include \"/tmp\"\ntopics = (", "syntax error", "libconfig ends the process over a folder"},
    {"\"ledger\"", "retention_ms = -1", "retention_ms = 0", "retention_ms is 0", "what is written would be gone"},
    {"name = \"ledger\"", "ledger", "ledgers", "no process knows a topic \"ledgers\"", "unknown topic"},
    {"name = \"ledger\"", "ledger", "stores", "topic \"stores\" is already described in line", "twice"},
    {"topics = (", "topics", "topic", "unknown entry \"topic\"", "another list"},
    {"topics = (", "topics = (", "topics = ( 5,", "a topic is a group", "a number among them"},
    {"topics = (", "topics = (", "topics = ", "syntax error", "not libconfig"},
};

Test(topics, mistakes_are_told_with_file_and_line)
{
    for (size_t at = 0; at < sizeof refused / sizeof refused[0]; at++) {
        const struct refused *one = &refused[at];
        err.text[0] = '\0';
        cr_expect_eq(load_changed(one->after, one->from, one->to), LL_FATAL, "%s", one->why);
        cr_expect(strstr(err.text, one->words) != NULL, "%s: %s", one->why, err.text);
        int line = 0;
        cr_expect_eq(sscanf(err.text, "/tmp/lens-topics-%*6s:%d:", &line) == 1 && line > 0, 1, "%s: %s",
                     one->why, err.text);
    }
}

Test(topics, a_topic_left_out_is_named)
{
    char *start = strstr(original, "    {\n        name = \"commands\"");
    cr_assert_not_null(start);
    memcpy(start, ");", 3);
    char *comma = strrchr(original, ','); /* behind the last one that stays */
    *comma = ' ';
    char path[] = "/tmp/lens-topics-XXXXXX";
    FILE *file = fdopen(mkstemp(path), "w");
    fputs(original, file);
    fclose(file);
    cr_expect_eq(topics_load(path, &topics, &err), LL_FATAL);
    cr_expect(strstr(err.text, "topic \"commands\" is missing from the list") != NULL, "%s", err.text);
    unlink(path);
    cr_expect_eq(topics_load("/nowhere/topics.conf", &topics, &err), LL_FATAL);
    cr_expect(strstr(err.text, "/nowhere/topics.conf: No such file") != NULL, "%s", err.text);
}
