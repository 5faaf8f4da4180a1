#include "runtime/clock.h"
#include "runtime/kafka.h"
#include "runtime/kafka_admin.h"
#include "runtime/log.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Records of these carry another record within them (a posting the lines of two), so they must be allowed to be larger. */
static bool is_wrapping(enum topic topic)
{
    return topic == TOPIC_DEAD_LETTER || topic == TOPIC_TRANSACTIONS_RETRY ||
           topic == TOPIC_TRANSACTIONS_VALID || topic == TOPIC_LEDGER;
}

void kafka_topic_settings(const struct topics *topics, enum topic topic,
                          struct kafka_topic_setting ret[KAFKA_TOPIC_SETTINGS])
{
    const struct topic_fact *fact = &topics->facts[topic];
    memset(ret, 0, KAFKA_TOPIC_SETTINGS * sizeof *ret);
    ret[0].name = "cleanup.policy";
    snprintf(ret[0].value, sizeof ret[0].value, "%s", fact->compacted ? "compact" : "delete");
    ret[1].name = "retention.ms";
    snprintf(ret[1].value, sizeof ret[1].value, "%lld", (long long)fact->retention_ms);
    ret[2].name = "message.timestamp.type";
    snprintf(ret[2].value, sizeof ret[2].value, "%s", fact->broker_time ? "LogAppendTime" : "CreateTime");
    if (is_wrapping(topic)) {
        ret[3].name = "max.message.bytes";
        snprintf(ret[3].value, sizeof ret[3].value, "%d", KAFKA_RECORD_SIZE_MAX);
    }
}

/* Which topics the broker has, with how many partitions. */
struct present {
    int32_t partitions[TOPIC_COUNT]; /* 0: not there */
};

static enum ll_status look(struct kafka_admin *admin, int timeout_ms, struct present *ret, struct ll_err *err)
{
    const struct rd_kafka_metadata *metadata = NULL;
    rd_kafka_resp_err_t code = rd_kafka_metadata(admin->client.rk, 1, NULL, &metadata, timeout_ms);
    rd_kafka_poll(admin->client.rk, 0);
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR)
        return kafka_fail(&admin->client, err, code, "metadata");
    memset(ret, 0, sizeof *ret);
    for (int at = 0; at < metadata->topic_cnt; at++) {
        enum topic topic = topic_find(metadata->topics[at].topic);
        if (topic != TOPIC_COUNT)
            ret->partitions[topic] = metadata->topics[at].partition_cnt;
    }
    rd_kafka_metadata_destroy(metadata);
    return LL_OK;
}

static rd_kafka_NewTopic_t *new_topic(const struct topics *topics, enum topic topic)
{
    char words[128];
    /* Replication -1: as the broker's default has it. */
    rd_kafka_NewTopic_t *wish =
        rd_kafka_NewTopic_new(topic_name(topic), topics->facts[topic].partitions, -1, words, sizeof words);
    assert(wish != NULL);
    struct kafka_topic_setting settings[KAFKA_TOPIC_SETTINGS];
    kafka_topic_settings(topics, topic, settings);
    for (int at = 0; at < KAFKA_TOPIC_SETTINGS; at++)
        if (settings[at].name != NULL)
            rd_kafka_NewTopic_set_config(wish, settings[at].name, settings[at].value);
    return wish;
}

static enum ll_status take_created(struct kafka_admin *admin, rd_kafka_event_t *answer, int *ret_created,
                                   struct ll_err *err)
{
    size_t count = 0;
    const rd_kafka_topic_result_t **results =
        rd_kafka_CreateTopics_result_topics(rd_kafka_event_CreateTopics_result(answer), &count);
    for (size_t at = 0; at < count; at++) {
        rd_kafka_resp_err_t code = rd_kafka_topic_result_error(results[at]);
        if (code == RD_KAFKA_RESP_ERR_TOPIC_ALREADY_EXISTS)
            continue; /* somebody was faster; the comparison follows */
        if (code != RD_KAFKA_RESP_ERR_NO_ERROR) {
            const char *words = rd_kafka_topic_result_error_string(results[at]);
            enum ll_status status = kafka_fail(&admin->client, err, code, "create");
            return ll_fail(err, status, "kafka %.80s: topic %s cannot be created: %s", admin->client.address,
                           rd_kafka_topic_result_name(results[at]),
                           words == NULL ? rd_kafka_err2str(code) : words);
        }
        (*ret_created)++;
    }
    return LL_OK;
}

static enum ll_status create_missing(struct kafka_admin *admin, const struct topics *topics,
                                     const struct present *present, int *ret_created, int timeout_ms,
                                     struct ll_err *err)
{
    rd_kafka_NewTopic_t *wishes[TOPIC_COUNT];
    size_t count = 0;
    for (int topic = 0; topic < TOPIC_COUNT; topic++)
        if (present->partitions[topic] == 0)
            wishes[count++] = new_topic(topics, (enum topic)topic);
    if (count == 0)
        return LL_OK;
    char words[128];
    rd_kafka_AdminOptions_t *options = kafka_admin_options(admin, RD_KAFKA_ADMIN_OP_CREATETOPICS, timeout_ms);
    rd_kafka_AdminOptions_set_operation_timeout(options, timeout_ms, words, sizeof words);
    rd_kafka_CreateTopics(admin->client.rk, wishes, count, options, admin->answers);
    rd_kafka_AdminOptions_destroy(options);
    rd_kafka_NewTopic_destroy_array(wishes, count);
    enum ll_status status = LL_OK;
    rd_kafka_event_t *answer = kafka_admin_answer(admin, RD_KAFKA_EVENT_CREATETOPICS_RESULT, timeout_ms,
                                                  "create topics", &status, err);
    if (answer == NULL)
        return status;
    status = take_created(admin, answer, ret_created, err);
    rd_kafka_event_destroy(answer);
    return status;
}

/* All differences, as far as they fit; each is logged whole. */
struct differences {
    int count;
    char text[256];
};

static void differ(struct differences *differences, const char *topic, const char *fact, const char *is,
                   const char *wanted)
{
    char one[160];
    snprintf(one, sizeof one, "%s: %s is %.30s, topics.conf says %.30s", topic, fact, is, wanted);
    log_line(LOG_ERROR, "topic_differs", "topic=%s fact=%s broker=%s wanted=%s", topic, fact, log_quote_c(is),
             wanted);
    size_t used = strlen(differences->text);
    if (used + strlen(one) + 3 < sizeof differences->text)
        snprintf(differences->text + used, sizeof differences->text - used, "%s%s", used == 0 ? "" : "; ",
                 one);
    differences->count++;
}

static void compare_settings(const struct topics *topics, enum topic topic,
                             const rd_kafka_ConfigResource_t *resource, struct differences *differences)
{
    struct kafka_topic_setting wanted[KAFKA_TOPIC_SETTINGS];
    kafka_topic_settings(topics, topic, wanted);
    size_t count = 0;
    const rd_kafka_ConfigEntry_t **entries = rd_kafka_ConfigResource_configs(resource, &count);
    for (int at = 0; at < KAFKA_TOPIC_SETTINGS; at++) {
        if (wanted[at].name == NULL)
            continue;
        const char *is = NULL;
        for (size_t entry = 0; entry < count; entry++)
            if (strcmp(rd_kafka_ConfigEntry_name(entries[entry]), wanted[at].name) == 0)
                is = rd_kafka_ConfigEntry_value(entries[entry]);
        if (is == NULL || strcmp(is, wanted[at].value) != 0)
            differ(differences, topic_name(topic), wanted[at].name, is == NULL ? "unset" : is,
                   wanted[at].value);
    }
}

static enum ll_status compare(struct kafka_admin *admin, const struct topics *topics,
                              const struct present *present, struct differences *differences, int timeout_ms,
                              struct ll_err *err)
{
    rd_kafka_ConfigResource_t *resources[TOPIC_COUNT];
    for (int topic = 0; topic < TOPIC_COUNT; topic++) {
        resources[topic] =
            rd_kafka_ConfigResource_new(RD_KAFKA_RESOURCE_TOPIC, topic_name((enum topic)topic));
        char is[16], wanted[16];
        snprintf(is, sizeof is, "%d", present->partitions[topic]);
        snprintf(wanted, sizeof wanted, "%d", topics->facts[topic].partitions);
        if (present->partitions[topic] != topics->facts[topic].partitions)
            differ(differences, topic_name((enum topic)topic), "partitions", is, wanted);
    }
    rd_kafka_AdminOptions_t *options =
        kafka_admin_options(admin, RD_KAFKA_ADMIN_OP_DESCRIBECONFIGS, timeout_ms);
    rd_kafka_DescribeConfigs(admin->client.rk, resources, TOPIC_COUNT, options, admin->answers);
    rd_kafka_AdminOptions_destroy(options);
    rd_kafka_ConfigResource_destroy_array(resources, TOPIC_COUNT);
    enum ll_status status = LL_OK;
    rd_kafka_event_t *answer = kafka_admin_answer(admin, RD_KAFKA_EVENT_DESCRIBECONFIGS_RESULT, timeout_ms,
                                                  "topics' settings", &status, err);
    if (answer == NULL)
        return status;
    size_t count = 0;
    const rd_kafka_ConfigResource_t **described =
        rd_kafka_DescribeConfigs_result_resources(rd_kafka_event_DescribeConfigs_result(answer), &count);
    for (size_t at = 0; at < count && status == LL_OK; at++) {
        rd_kafka_resp_err_t code = rd_kafka_ConfigResource_error(described[at]);
        enum topic topic = topic_find(rd_kafka_ConfigResource_name(described[at]));
        if (code != RD_KAFKA_RESP_ERR_NO_ERROR)
            status = kafka_fail(&admin->client, err, code, rd_kafka_ConfigResource_name(described[at]));
        else if (topic != TOPIC_COUNT)
            compare_settings(topics, topic, described[at], differences);
    }
    rd_kafka_event_destroy(answer);
    return status;
}

/* A topic just made is known to its controller first and to everybody a moment later. */
static enum ll_status wait_until_seen(struct kafka_admin *admin, int timeout_ms, struct present *ret,
                                      struct ll_err *err)
{
    struct clock_source clock = clock_real();
    int64_t until_ms = clock.steady_ms(clock.self) + timeout_ms;
    for (;;) {
        enum ll_status status = look(admin, timeout_ms, ret, err);
        if (status != LL_OK)
            return status;
        int missing = -1;
        for (int topic = 0; topic < TOPIC_COUNT; topic++)
            if (ret->partitions[topic] == 0)
                missing = topic;
        if (missing < 0)
            return LL_OK;
        if (clock.steady_ms(clock.self) > until_ms)
            return ll_fail(err, LL_RETRY,
                           "kafka %.100s: topic %s was created, but is not visible after %d ms",
                           admin->client.address, topic_name((enum topic)missing), timeout_ms);
        rd_kafka_poll(admin->client.rk, 20); /* nothing to wait for but the broker's own gossip */
    }
}

enum ll_status kafka_admin_create_topics(struct kafka_admin *admin, const struct topics *topics,
                                         int *ret_created, int timeout_ms, struct ll_err *err)
{
    struct present present = {{0}};
    *ret_created = 0;
    enum ll_status status = look(admin, timeout_ms, &present, err);
    if (status == LL_OK)
        status = create_missing(admin, topics, &present, ret_created, timeout_ms, err);
    if (status == LL_OK)
        status = wait_until_seen(admin, timeout_ms, &present, err);
    struct differences differences = {0};
    if (status == LL_OK)
        status = compare(admin, topics, &present, &differences, timeout_ms, err);
    if (status == LL_OK && differences.count > 0)
        return ll_fail(err, LL_FATAL, "%d of the broker's topics differ: %s", differences.count,
                       differences.text);
    return status;
}
