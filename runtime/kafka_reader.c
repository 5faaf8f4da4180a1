#include "runtime/bus_kafka.h"
#include "runtime/kafka.h"
#include "runtime/kafka_client.h"
#include "runtime/log.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CLOSE_MS = 10000 };

/* One partition while it is read. */
struct stretch {
    enum topic topic;
    int32_t partition;
    int64_t start;   /* BUS_BEGINNING, or an offset */
    int64_t reached; /* the next offset, as far as known here */
    int64_t low, end;
    bool is_done; /* reached the end that was marked */
};

struct kafka_reader {
    struct kafka_client client; /* first: it is librdkafka's opaque pointer */
    rd_kafka_topic_t *handles[TOPIC_COUNT];
    struct stretch *stretches;
    size_t stretch_count;
    size_t first[TOPIC_COUNT]; /* where a topic's stretches begin; SIZE_MAX: not read */
    size_t open_count;         /* not done */
    bool is_assigned;
    bool is_again;   /* assigned anew, since a log began later than was told */
    bool is_settled; /* the positions were asked since the last record */
};

static struct stretch *stretch_of(struct kafka_reader *reader, enum topic topic, int32_t partition)
{
    if (topic >= TOPIC_COUNT || reader->first[topic] == SIZE_MAX)
        return NULL;
    size_t at = reader->first[topic] + (size_t)partition;
    return at < reader->stretch_count && reader->stretches[at].topic == topic ? &reader->stretches[at] : NULL;
}

static void reach(struct kafka_reader *reader, struct stretch *stretch, int64_t offset)
{
    if (offset > stretch->reached)
        stretch->reached = offset;
    if (!stretch->is_done && stretch->reached >= stretch->end) {
        stretch->is_done = true;
        reader->open_count--;
    }
}

/* A topic that was made a moment ago: its leader does not know of it yet. */
static bool passes_by_itself(rd_kafka_resp_err_t code)
{
    return code == RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION ||
           code == RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE;
}

/* One question for all partitions: the first offset at or after a time; -1 asks for the end (LSO), -2 for the
 * start. */
static rd_kafka_resp_err_t ask_once(struct kafka_reader *reader, int64_t time,
                                    rd_kafka_topic_partition_list_t *list, const char **ret_what)
{
    for (int at = 0; at < list->cnt; at++)
        list->elems[at].offset = time;
    rd_kafka_resp_err_t code = rd_kafka_offsets_for_times(reader->client.rk, list, KAFKA_ANSWER_MS);
    *ret_what = "offsets";
    for (int at = 0; at < list->cnt && code == RD_KAFKA_RESP_ERR_NO_ERROR; at++)
        if (list->elems[at].err != RD_KAFKA_RESP_ERR_NO_ERROR) {
            code = list->elems[at].err;
            *ret_what = topic_name(topic_find(list->elems[at].topic));
        }
    return code;
}

static enum ll_status ask_offsets(struct kafka_reader *reader, int64_t time,
                                  rd_kafka_topic_partition_list_t **ret, struct ll_err *err)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new((int)reader->stretch_count);
    for (size_t at = 0; at < reader->stretch_count; at++)
        rd_kafka_topic_partition_list_add(list, topic_name(reader->stretches[at].topic),
                                          reader->stretches[at].partition);
    enum { TRIES = 100, BETWEEN_MS = 50 };
    const char *what;
    rd_kafka_resp_err_t code = ask_once(reader, time, list, &what);
    for (int tries = 0; tries < TRIES && passes_by_itself(code); tries++) {
        rd_kafka_poll(reader->client.rk, BETWEEN_MS);
        code = ask_once(reader, time, list, &what);
    }
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR) {
        rd_kafka_poll(reader->client.rk, 0); /* lets the reason arrive */
        rd_kafka_topic_partition_list_destroy(list);
        return kafka_fail(&reader->client, err, code, what);
    }
    *ret = list;
    return LL_OK;
}

static bool is_beyond(const struct kafka_reader *reader, const rd_kafka_topic_partition_list_t *ends)
{
    bool beyond = false;
    for (size_t at = 0; at < reader->stretch_count; at++)
        beyond = beyond || ends->elems[at].offset > reader->stretches[at].reached;
    return beyond;
}

static enum ll_status mark_end(struct kafka_reader *reader, struct ll_err *err)
{
    rd_kafka_topic_partition_list_t *lows = NULL, *ends = NULL;
    enum ll_status status = ask_offsets(reader, RD_KAFKA_OFFSET_END, &ends, err);
    if (status == LL_OK && is_beyond(reader, ends)) /* else no low is above what was reached */
        status = ask_offsets(reader, BUS_BEGINNING, &lows, err);
    if (status == LL_OK) {
        assert(ends != NULL);
        reader->open_count = reader->stretch_count;
        reader->is_settled = false;
        for (size_t at = 0; at < reader->stretch_count;
             at++) { /* the answers keep the order of the question */
            struct stretch *stretch = &reader->stretches[at];
            assert(ends->elems[at].partition == stretch->partition);
            if (lows != NULL)
                stretch->low = lows->elems[at].offset;
            stretch->end = ends->elems[at].offset;
            stretch->is_done = false;
            reach(reader, stretch, stretch->start >= 0 ? stretch->start : stretch->low);
        }
    }
    if (lows != NULL)
        rd_kafka_topic_partition_list_destroy(lows);
    if (ends != NULL)
        rd_kafka_topic_partition_list_destroy(ends);
    return status;
}

void kafka_reader_mark_ends(struct kafka_reader *reader, const struct bus_position *ends, size_t count)
{
    reader->is_settled = false;
    for (size_t at = 0; at < count; at++) {
        struct stretch *stretch = stretch_of(reader, ends[at].topic, ends[at].partition);
        assert(stretch != NULL);
        if (stretch->is_done)
            reader->open_count++;
        stretch->is_done = false;
        stretch->end = ends[at].offset;
        reach(reader, stretch, stretch->low);
    }
}

void kafka_reader_start_at(struct kafka_reader *reader, enum topic topic, int32_t partition, int64_t offset)
{
    assert(!reader->is_assigned);
    struct stretch *stretch = stretch_of(reader, topic, partition);
    if (stretch == NULL)
        return;
    stretch->start = offset;
    if (offset >= 0)
        reach(reader, stretch, offset);
}

/* The beginning is named by its offset, known from when the end was marked: a client that had to ask would fetch the
 * partitions that it knows already, and wait there for something new before it fetched the others. */
static int64_t start_of(const struct kafka_reader *reader, const struct stretch *stretch)
{
    if (stretch->start >= 0)
        return stretch->reached > stretch->start ? stretch->reached : stretch->start;
    return stretch->reached > stretch->low || !reader->is_again ? stretch->reached : stretch->start;
}

static enum ll_status assign(struct kafka_reader *reader, struct ll_err *err)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new((int)reader->stretch_count);
    for (size_t at = 0; at < reader->stretch_count; at++) {
        const struct stretch *stretch = &reader->stretches[at];
        rd_kafka_topic_partition_list_add(list, topic_name(stretch->topic), stretch->partition)->offset =
            start_of(reader, stretch);
    }
    rd_kafka_resp_err_t code = rd_kafka_assign(reader->client.rk, list);
    rd_kafka_topic_partition_list_destroy(list);
    reader->is_assigned = code == RD_KAFKA_RESP_ERR_NO_ERROR;
    return reader->is_assigned ? LL_OK : kafka_fail(&reader->client, err, code, "assign");
}

static enum bus_event judge_error(struct kafka_reader *reader, const rd_kafka_message_t *message,
                                  struct ll_err *err)
{
    const char *topic = message->rkt == NULL ? "-" : rd_kafka_topic_name(message->rkt);
    if (message->err == RD_KAFKA_RESP_ERR__PARTITION_EOF) {
        struct stretch *stretch = stretch_of(reader, topic_find(topic), message->partition);
        if (stretch != NULL)
            reach(reader, stretch, message->offset);
        return BUS_NONE;
    }
    if (message->err == RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET ||
        message->err == RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE) {
        const struct stretch *stretch = stretch_of(reader, topic_find(topic), message->partition);
        if (stretch != NULL && stretch->start < 0 && stretch->reached <= stretch->low && !reader->is_again) {
            reader->is_again =
                true; /* its first records were deleted since: from what is its beginning now */
            reader->is_assigned = false;
            return BUS_NONE;
        }
        ll_fail(err, LL_FATAL,
                "kafka %.100s: %s[%d]: the offset asked for is not in the broker's log: records were "
                "deleted, or this is another "
                "cluster",
                reader->client.address, topic, message->partition);
        return BUS_BROKEN;
    }
    enum ll_status status = kafka_fail(&reader->client, err, message->err, topic);
    if (status == LL_FATAL || message->err == RD_KAFKA_RESP_ERR__BAD_MSG)
        return BUS_BROKEN;
    log_line(LOG_WARN, "kafka_message", "error=%s", log_quote_c(err == NULL ? "" : err->text));
    return BUS_NONE;
}

enum bus_event kafka_reader_read(struct kafka_reader *reader, int timeout_ms, struct bus_record *ret,
                                 struct ll_err *err)
{
    if (!reader->is_assigned && assign(reader, err) != LL_OK)
        return BUS_BROKEN;
    rd_kafka_message_t *message = rd_kafka_consumer_poll(reader->client.rk, timeout_ms);
    if (message == NULL) {
        reader->is_settled = false;
        return kafka_client_health(&reader->client, err);
    }
    if (message->err == RD_KAFKA_RESP_ERR_NO_ERROR) {
        bus_kafka_record(message, ret);
        struct stretch *stretch = stretch_of(reader, ret->topic, ret->partition);
        if (stretch != NULL)
            reach(reader, stretch, ret->offset + 1);
        return BUS_RECORD;
    }
    enum bus_event event = judge_error(reader, message, err);
    rd_kafka_message_destroy(message);
    return event;
}

size_t kafka_reader_headers(struct kafka_reader *reader, const struct bus_record *record,
                            struct bus_header ret[BUS_HEADERS_MAX])
{
    (void)reader;
    return bus_kafka_headers(record, ret);
}

void kafka_reader_release(struct kafka_reader *reader, struct bus_record *record)
{
    (void)reader;
    if (record->held != NULL)
        rd_kafka_message_destroy(record->held);
    record->held = NULL;
}

/* The end may lie behind a transaction's marker, which is no record: then only the client knows that it was
 * passed. */
static void ask_positions(struct kafka_reader *reader)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new((int)reader->stretch_count);
    for (size_t at = 0; at < reader->stretch_count; at++)
        rd_kafka_topic_partition_list_add(list, topic_name(reader->stretches[at].topic),
                                          reader->stretches[at].partition);
    if (rd_kafka_position(reader->client.rk, list) == RD_KAFKA_RESP_ERR_NO_ERROR)
        for (size_t at = 0; at < reader->stretch_count; at++)
            if (list->elems[at].offset >= 0)
                reach(reader, &reader->stretches[at], list->elems[at].offset);
    rd_kafka_topic_partition_list_destroy(list);
    reader->is_settled = true;
}

bool kafka_reader_at_end(struct kafka_reader *reader)
{
    if (reader->open_count > 0 && reader->is_assigned && !reader->is_settled)
        ask_positions(reader);
    return reader->open_count == 0;
}

void kafka_reader_close(struct kafka_reader *reader)
{
    if (reader == NULL)
        return;
    for (int topic = 0; topic < TOPIC_COUNT; topic++)
        if (reader->handles[topic] != NULL)
            rd_kafka_topic_destroy(reader->handles[topic]);
    free(reader->stretches);
    reader->stretches = NULL;
    if (kafka_client_end(&reader->client, CLOSE_MS))
        free(reader);
}

static enum ll_status open_client(struct kafka_reader *reader, const struct config *config,
                                  struct ll_err *err)
{
    rd_kafka_conf_t *settings = NULL;
    enum ll_status status = kafka_client_settings(&reader->client, config, "reader", &settings, err);
    if (status != LL_OK)
        return status;
    char group[sizeof config->kafka.group_prefix + 16];
    snprintf(group, sizeof group, "%sreader", config->kafka.group_prefix);
    status = bus_kafka_reading(settings, config, false, err);
    if (status == LL_OK) /* librdkafka wants a name; without a subscription no group comes to be */
        status = kafka_set(settings, "group.id", group, err);
    if (status == LL_OK)
        status = kafka_set(settings, "enable.partition.eof", "true", err);
    if (status != LL_OK) {
        rd_kafka_conf_destroy(settings);
        return status;
    }
    status = kafka_client_start(&reader->client, RD_KAFKA_CONSUMER, settings, err);
    if (status == LL_OK)
        rd_kafka_poll_set_consumer(reader->client.rk);
    return status;
}

enum ll_status kafka_reader_open(const struct config *config, const struct topics *topics,
                                 const enum topic *which, size_t count, struct kafka_reader **ret,
                                 struct ll_err *err)
{
    struct kafka_reader *reader = calloc(1, sizeof *reader);
    size_t partitions = 0;
    for (size_t at = 0; at < count; at++)
        partitions += (size_t)topics->facts[which[at]].partitions;
    if (reader == NULL || (reader->stretches = calloc(partitions + 1, sizeof *reader->stretches)) == NULL)
        abort();
    for (int topic = 0; topic < TOPIC_COUNT; topic++)
        reader->first[topic] = SIZE_MAX;
    for (size_t at = 0; at < count; at++) {
        reader->first[which[at]] = reader->stretch_count;
        for (int32_t partition = 0; partition < topics->facts[which[at]].partitions; partition++)
            reader->stretches[reader->stretch_count++] =
                (struct stretch){.topic = which[at], .partition = partition, .start = BUS_BEGINNING};
    }
    enum ll_status status = open_client(reader, config, err);
    for (size_t at = 0; at < count && status == LL_OK; at++)
        reader->handles[which[at]] = bus_kafka_topic(reader->client.rk, which[at]);
    if (status == LL_OK)
        status = mark_end(reader, err);
    if (status != LL_OK) {
        kafka_reader_close(reader);
        return status;
    }
    *ret = reader;
    return LL_OK;
}
