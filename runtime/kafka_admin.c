#include "runtime/kafka_admin.h"

#include "runtime/clock.h"
#include "runtime/kafka.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CLOSE_MS = 5000 };

static enum ll_status open_admin(const struct config *config, const char *isolation, struct kafka_admin **ret,
                                 struct ll_err *err)
{
    char group[128];
    struct kafka_admin *admin = calloc(1, sizeof *admin);
    if (admin == NULL)
        abort();
    rd_kafka_conf_t *settings = NULL;
    enum ll_status status = kafka_client_settings(&admin->client, config, "admin", &settings, err);
    if (status == LL_OK) { /* a consumer, since its isolation decides which end of a partition is told */
        status = kafka_set(settings, "isolation.level", isolation, err);
        /* It joins no group; without the name of one, librdkafka 2.0.2 dies of a coordinator that has moved or is starting. */
        if (status == LL_OK) {
            snprintf(group, sizeof group, "%sadmin", config->kafka.group_prefix);
            status = kafka_set(settings, "group.id", group, err);
        }
        if (status == LL_OK)
            status = kafka_client_start(&admin->client, RD_KAFKA_CONSUMER, settings, err);
        else
            rd_kafka_conf_destroy(settings);
    }
    if (status != LL_OK) {
        kafka_admin_close(admin);
        return status;
    }
    admin->answers = rd_kafka_queue_new(admin->client.rk);
    *ret = admin;
    return LL_OK;
}

enum ll_status kafka_admin_open(const struct config *config, struct kafka_admin **ret, struct ll_err *err)
{
    return open_admin(config, "read_committed", ret, err);
}

enum ll_status kafka_admin_open_uncommitted(const struct config *config, struct kafka_admin **ret, struct ll_err *err)
{
    return open_admin(config, "read_uncommitted", ret, err);
}

void kafka_admin_close(struct kafka_admin *admin)
{
    if (admin == NULL)
        return;
    if (admin->answers != NULL)
        rd_kafka_queue_destroy(admin->answers);
    if (kafka_client_end(&admin->client, CLOSE_MS))
        free(admin);
}

rd_kafka_AdminOptions_t *kafka_admin_options(struct kafka_admin *admin, rd_kafka_admin_op_t request,
                                             int timeout_ms)
{
    char words[128];
    rd_kafka_AdminOptions_t *options = rd_kafka_AdminOptions_new(admin->client.rk, request);
    rd_kafka_AdminOptions_set_request_timeout(options, timeout_ms, words, sizeof words);
    return options;
}

rd_kafka_event_t *kafka_admin_answer(struct kafka_admin *admin, rd_kafka_event_type_t type, int timeout_ms,
                                     const char *what, enum ll_status *ret_status, struct ll_err *err)
{
    /* librdkafka answers within the request's own time-out; the second is for its being late. */
    rd_kafka_event_t *answer = rd_kafka_queue_poll(admin->answers, timeout_ms + 1000);
    rd_kafka_poll(admin->client.rk, 0); /* lets the reason of a failure arrive */
    rd_kafka_resp_err_t code = answer == NULL                        ? RD_KAFKA_RESP_ERR__TIMED_OUT
                               : rd_kafka_event_type(answer) != type ? RD_KAFKA_RESP_ERR__FAIL
                                                                     : rd_kafka_event_error(answer);
    *ret_status = LL_OK;
    if (code == RD_KAFKA_RESP_ERR_NO_ERROR)
        return answer;
    *ret_status = kafka_fail(&admin->client, err, code, what);
    if (answer != NULL)
        rd_kafka_event_destroy(answer);
    return NULL;
}

enum ll_status kafka_admin_ping(struct kafka_admin *admin, int timeout_ms, struct ll_err *err)
{
    const struct rd_kafka_metadata *metadata = NULL;
    rd_kafka_resp_err_t code = rd_kafka_metadata(admin->client.rk, 0, NULL, &metadata, timeout_ms);
    rd_kafka_poll(admin->client.rk, 0);
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR)
        return kafka_fail(&admin->client, err, code, "metadata");
    rd_kafka_metadata_destroy(metadata);
    return LL_OK;
}

enum ll_status kafka_admin_partitions(struct kafka_admin *admin, enum topic topic, int32_t *ret_count,
                                      int timeout_ms, struct ll_err *err)
{
    /* All topics: asking for one that does not exist would make librdkafka look for it again and again. */
    const struct rd_kafka_metadata *metadata = NULL;
    rd_kafka_resp_err_t code = rd_kafka_metadata(admin->client.rk, 1, NULL, &metadata, timeout_ms);
    rd_kafka_poll(admin->client.rk, 0);
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR)
        return kafka_fail(&admin->client, err, code, "metadata");
    *ret_count = 0;
    for (int at = 0; at < metadata->topic_cnt; at++)
        if (strcmp(metadata->topics[at].topic, topic_name(topic)) == 0)
            *ret_count = metadata->topics[at].partition_cnt;
    rd_kafka_metadata_destroy(metadata);
    return LL_OK;
}

enum ll_status kafka_admin_watermarks(struct kafka_admin *admin, enum topic topic, int32_t partition,
                                      int64_t *ret_low, int64_t *ret_high, int timeout_ms, struct ll_err *err)
{
    rd_kafka_resp_err_t code = rd_kafka_query_watermark_offsets(admin->client.rk, topic_name(topic),
                                                                partition, ret_low, ret_high, timeout_ms);
    rd_kafka_poll(admin->client.rk, 0);
    return code == RD_KAFKA_RESP_ERR_NO_ERROR ? LL_OK
                                              : kafka_fail(&admin->client, err, code, topic_name(topic));
}

static enum ll_status ask_times(struct kafka_admin *admin, int64_t time, struct bus_position *positions,
                                size_t count, int timeout_ms, struct ll_err *err)
{
    rd_kafka_topic_partition_list_t *list = kafka_list_new(positions, count);
    for (int at = 0; at < list->cnt; at++)
        list->elems[at].offset = time;
    const char *what = "offsets";
    rd_kafka_resp_err_t code = rd_kafka_offsets_for_times(admin->client.rk, list, timeout_ms);
    for (int at = 0; at < list->cnt && code == RD_KAFKA_RESP_ERR_NO_ERROR; at++) {
        code = list->elems[at].err;
        what = topic_name(positions[at].topic);
        positions[at].offset = list->elems[at].offset; /* the answers keep the order of the question */
    }
    rd_kafka_topic_partition_list_destroy(list);
    rd_kafka_poll(admin->client.rk, 0);
    return code == RD_KAFKA_RESP_ERR_NO_ERROR ? LL_OK : kafka_fail(&admin->client, err, code, what);
}

enum ll_status kafka_admin_ends(struct kafka_admin *admin, struct bus_position *positions, size_t count,
                                int timeout_ms, struct ll_err *err)
{
    return ask_times(admin, RD_KAFKA_OFFSET_END, positions, count, timeout_ms, err);
}

enum ll_status kafka_admin_starts(struct kafka_admin *admin, struct bus_position *positions, size_t count,
                                  int timeout_ms, struct ll_err *err)
{
    return ask_times(admin, RD_KAFKA_OFFSET_BEGINNING, positions, count, timeout_ms, err);
}

static enum ll_status take_offsets(const struct kafka_admin *admin, rd_kafka_event_t *answer,
                                   struct bus_position *positions, size_t count, struct ll_err *err)
{
    size_t group_count = 0;
    const rd_kafka_group_result_t **groups = rd_kafka_ListConsumerGroupOffsets_result_groups(
        rd_kafka_event_ListConsumerGroupOffsets_result(answer), &group_count);
    if (group_count != 1)
        return kafka_fail(&admin->client, err, RD_KAFKA_RESP_ERR__BAD_MSG, "group offsets");
    const rd_kafka_error_t *error = rd_kafka_group_result_error(groups[0]);
    if (error != NULL)
        return kafka_fail(&admin->client, err, rd_kafka_error_code(error), "group offsets");
    const rd_kafka_topic_partition_list_t *list = rd_kafka_group_result_partitions(groups[0]);
    for (size_t at = 0; list != NULL && at < count; at++) {
        const rd_kafka_topic_partition_t *one =
            rd_kafka_topic_partition_list_find((rd_kafka_topic_partition_list_t *)list,
                                               topic_name(positions[at].topic), positions[at].partition);
        if (one == NULL)
            continue;
        if (one->err != RD_KAFKA_RESP_ERR_NO_ERROR)
            return kafka_fail(&admin->client, err, one->err, one->topic);
        positions[at].offset = one->offset >= 0 ? one->offset : -1;
    }
    return LL_OK;
}

enum ll_status kafka_admin_group_positions(struct kafka_admin *admin, const char *group,
                                           struct bus_position *positions, size_t count, int timeout_ms,
                                           struct ll_err *err)
{
    rd_kafka_topic_partition_list_t *list = kafka_list_new(positions, count);
    for (size_t at = 0; at < count; at++)
        positions[at].offset = -1;
    rd_kafka_ListConsumerGroupOffsets_t *request = rd_kafka_ListConsumerGroupOffsets_new(group, list);
    rd_kafka_AdminOptions_t *options =
        kafka_admin_options(admin, RD_KAFKA_ADMIN_OP_LISTCONSUMERGROUPOFFSETS, timeout_ms);
    rd_kafka_ListConsumerGroupOffsets(admin->client.rk, &request, 1, options, admin->answers);
    rd_kafka_AdminOptions_destroy(options);
    rd_kafka_ListConsumerGroupOffsets_destroy(request);
    rd_kafka_topic_partition_list_destroy(list);
    enum ll_status status = LL_OK;
    rd_kafka_event_t *answer = kafka_admin_answer(admin, RD_KAFKA_EVENT_LISTCONSUMERGROUPOFFSETS_RESULT,
                                                  timeout_ms, "group offsets", &status, err);
    if (answer == NULL)
        return status;
    status = take_offsets(admin, answer, positions, count, err);
    rd_kafka_event_destroy(answer);
    return status;
}

enum ll_status kafka_admin_group_offsets(struct kafka_admin *admin, const char *group, enum topic topic,
                                         int64_t *ret, size_t count, int timeout_ms, struct ll_err *err)
{
    struct bus_position *positions = calloc(count + 1, sizeof *positions);
    if (positions == NULL)
        abort();
    for (size_t at = 0; at < count; at++)
        positions[at] = (struct bus_position){ topic, (int32_t)at, -1 };
    enum ll_status status = kafka_admin_group_positions(admin, group, positions, count, timeout_ms, err);
    for (size_t at = 0; at < count; at++)
        ret[at] = positions[at].offset;
    free(positions);
    return status;
}
