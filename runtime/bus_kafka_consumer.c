#include "runtime/bus_kafka.h"
#include "runtime/kafka.h"
#include "runtime/kafka_client.h"
#include "runtime/log.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { POSITIONS_MAX = 4096, CLOSE_MS = 10000, POLL_INTERVAL_MS = 60000 };

/* Where the group's partitions stand between the broker's word and the application's answer. */
enum phase {
    PHASE_QUIET,    /* nothing is ours, nothing is asked */
    PHASE_ASSIGNED, /* told (or about to be) of new partitions; waits for start() */
    PHASE_FLOWING,
    PHASE_REVOKED, /* told (or about to be) that they go; waits for stop() */
};

struct consumer {
    struct kafka_client client; /* first: it is librdkafka's opaque pointer */
    rd_kafka_topic_t *handles[TOPIC_COUNT];
    enum phase phase;
    bool is_news; /* the phase has changed and poll has not said so yet */
    bool is_lost;
    bool is_closing;
    struct bus_position changed[POSITIONS_MAX];
    size_t changed_count;
    rd_kafka_topic_partition_list_t *paused; /* by us */
    const struct config *config; /* kept, as the strings of options are: to join again */
    struct kafka_consumer_options options;
    enum topic topics[TOPIC_COUNT];
};

static enum ll_status join(struct consumer *consumer, struct ll_err *err);
static bool leave(struct consumer *consumer);

/* The answer to a rebalance is given by start() and stop(), outside of this callback. */
static void on_rebalance(rd_kafka_t *rk, rd_kafka_resp_err_t code, rd_kafka_topic_partition_list_t *list,
                         void *opaque)
{
    struct consumer *consumer = opaque;
    if (consumer->is_closing ||
        (code != RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS && code != RD_KAFKA_RESP_ERR__REVOKE_PARTITIONS)) {
        rd_kafka_assign(rk, NULL);
        return;
    }
    bool is_assigned = code == RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS;
    consumer->changed_count = 0;
    for (int at = 0; at < list->cnt; at++) {
        enum topic topic = topic_find(list->elems[at].topic);
        assert(topic != TOPIC_COUNT &&
               consumer->changed_count < POSITIONS_MAX); /* only our topics were subscribed */
        consumer->changed[consumer->changed_count++] = (struct bus_position){
            .topic = topic, .partition = list->elems[at].partition, .offset = BUS_COMMITTED};
    }
    consumer->is_lost = !is_assigned && rd_kafka_assignment_lost(rk) != 0;
    consumer->phase = is_assigned ? PHASE_ASSIGNED : PHASE_REVOKED;
    consumer->is_news = true;
    consumer->client.asked_ms = 0; /* a broker has just answered: whoever is thought to be down is asked at once */
    rd_kafka_yield(rk);
}

static void on_commit(rd_kafka_t *rk, rd_kafka_resp_err_t code, rd_kafka_topic_partition_list_t *list,
                      void *opaque)
{
    (void)rk;
    (void)opaque;
    (void)list;
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR && code != RD_KAFKA_RESP_ERR__NO_OFFSET)
        log_line(LOG_WARN, "offsets_commit", "error=%s", log_quote_c(rd_kafka_err2str(code)));
}

/* A handle's opaque pointer leads here, so that a record finds its topic without comparing names. */
static const enum topic numbers[TOPIC_COUNT] = {
#define X(symbol, name) TOPIC_##symbol,
    TOPIC_TABLE(X)
#undef X
};

static enum topic topic_of(const rd_kafka_message_t *message)
{
    const enum topic *number = rd_kafka_topic_opaque(message->rkt);
    return number != NULL ? *number : topic_find(rd_kafka_topic_name(message->rkt));
}

rd_kafka_topic_t *bus_kafka_topic(rd_kafka_t *rk, enum topic topic)
{
    rd_kafka_topic_conf_t *facts = rd_kafka_default_topic_conf_dup(rk);
    rd_kafka_topic_conf_set_opaque(facts, (void *)&numbers[topic]);
    return rd_kafka_topic_new(rk, topic_name(topic), facts);
}

void bus_kafka_record(rd_kafka_message_t *message, struct bus_record *ret)
{
    rd_kafka_timestamp_type_t type;
    *ret = (struct bus_record){
        .topic = topic_of(message),
        .partition = message->partition,
        .offset = message->offset,
        .timestamp_ms = rd_kafka_message_timestamp(message, &type),
        .key = {message->key, (uint32_t)message->key_len},
        .value = {message->payload, (uint32_t)message->len},
        .held = message,
    };
}

/* A message that carries an error instead of a record. */
static enum bus_event judge_error(struct consumer *consumer, const rd_kafka_message_t *message,
                                  struct ll_err *err)
{
    const char *topic = message->rkt == NULL ? "-" : rd_kafka_topic_name(message->rkt);
    const char *words = message->payload == NULL ? "" : rd_kafka_message_errstr(message);
    switch ((int)message->err) {
    case RD_KAFKA_RESP_ERR__FATAL:
        kafka_client_broke(&consumer->client, consumer->client.rk);
        return kafka_client_health(&consumer->client, err);
    case RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET:
    case RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE:
        ll_fail(err, LL_FATAL,
                "kafka %.60s: %s[%d]: the offset where we stand is not in the broker's log: records were "
                "deleted, or this is "
                "another cluster; `lens verify` shows what is missing (%.60s)",
                consumer->client.address, topic, message->partition, words);
        return BUS_BROKEN;
    case RD_KAFKA_RESP_ERR__BAD_MSG:
    case RD_KAFKA_RESP_ERR__BAD_COMPRESSION:
        ll_fail(err, LL_FATAL, "kafka %.60s: %s[%d] offset %lld: the broker's log is damaged: %.100s",
                consumer->client.address, topic, message->partition, (long long)message->offset, words);
        return BUS_BROKEN;
    case RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED:
    case RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED:
    case RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART:
    case RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC:
        kafka_fail(&consumer->client, err, message->err, topic);
        log_line(LOG_WARN, "kafka_refused", "topic=%s error=%s", log_quote_c(topic), log_quote_c(words));
        return BUS_DOWN;
    default: /* librdkafka goes on by itself; MAX_POLL_EXCEEDED is followed by a revoke */
        log_line(LOG_WARN, "kafka_message", "topic=%s partition=%d error=%s", log_quote_c(topic),
                 message->partition, log_quote_c(words));
        return BUS_NONE;
    }
}

static enum bus_event tell_news(struct consumer *consumer)
{
    consumer->is_news = false;
    return consumer->phase == PHASE_ASSIGNED ? BUS_ASSIGNED : BUS_REVOKED;
}

/* The group forgot us while the broker was away: what we had is lost, and we join anew. */
static enum bus_event begin_anew(struct consumer *consumer, struct ll_err *err)
{
    if (consumer->phase != PHASE_QUIET) {
        consumer->phase = PHASE_REVOKED;
        consumer->is_lost = true;
        return tell_news(consumer);
    }
    log_line(LOG_WARN, "kafka_joins_anew", "group=%s trouble=%s", log_quote_c(consumer->options.group),
             log_quote_c(consumer->client.trouble));
    if (!leave(consumer)) {
        ll_fail(err, LL_FATAL, "kafka %.100s: the old connection does not end", consumer->client.address);
        return BUS_BROKEN;
    }
    consumer->is_closing = false;
    return join(consumer, err) == LL_OK ? BUS_NONE : BUS_BROKEN;
}

static enum bus_event consumer_poll(void *self, int timeout_ms, struct bus_record *ret, struct ll_err *err)
{
    struct consumer *consumer = self;
    if (kafka_client_was_forgotten(&consumer->client))
        return begin_anew(consumer, err);
    if (consumer->is_news ||
        consumer->phase == PHASE_REVOKED) /* said again until stop(): nothing may flow meanwhile */
        return tell_news(consumer);
    rd_kafka_message_t *message = rd_kafka_consumer_poll(consumer->client.rk, timeout_ms);
    if (message != NULL && message->err == RD_KAFKA_RESP_ERR_NO_ERROR) {
        bus_kafka_record(message, ret);
        return BUS_RECORD;
    }
    enum bus_event event = BUS_NONE;
    if (message != NULL) {
        event = judge_error(consumer, message, err);
        rd_kafka_message_destroy(message);
    }
    if (kafka_client_was_forgotten(&consumer->client))
        return begin_anew(consumer, err);
    if (event == BUS_NONE && consumer->is_news)
        return tell_news(consumer);
    return event == BUS_NONE ? kafka_client_health(&consumer->client, err) : event;
}

static const struct bus_position *consumer_changed(void *self, size_t *ret_count, bool *ret_lost)
{
    struct consumer *consumer = self;
    *ret_count = consumer->changed_count;
    *ret_lost = consumer->is_lost;
    return consumer->changed;
}

/* Replaces BUS_COMMITTED by the group's offsets. They must be stable: while a predecessor's transaction that
 * holds offsets is still open the broker has no answer, and the caller asks again (KAFKA.md, surprise 5). */
static enum ll_status find_committed(struct consumer *consumer, rd_kafka_topic_partition_list_t *list,
                                     struct ll_err *err)
{
    rd_kafka_topic_partition_list_t *wanted = rd_kafka_topic_partition_list_new(list->cnt);
    for (int at = 0; at < list->cnt; at++)
        if (list->elems[at].offset == BUS_COMMITTED)
            rd_kafka_topic_partition_list_add(wanted, list->elems[at].topic, list->elems[at].partition);
    enum ll_status status = LL_OK;
    if (wanted->cnt > 0) {
        rd_kafka_resp_err_t code = rd_kafka_committed(consumer->client.rk, wanted, KAFKA_ANSWER_MS);
        for (int at = 0; at < wanted->cnt && code == RD_KAFKA_RESP_ERR_NO_ERROR; at++)
            code = wanted->elems[at].err;
        if (code == RD_KAFKA_RESP_ERR__TIMED_OUT)
            status = ll_fail(err, LL_RETRY,
                             "kafka %.100s: the group's offsets are not settled yet: a transaction of a "
                             "predecessor is open, or "
                             "the group's coordinator does not answer",
                             consumer->client.address);
        else if (code != RD_KAFKA_RESP_ERR_NO_ERROR)
            status = kafka_fail(&consumer->client, err, code, "committed offsets");
    }
    for (int at = 0; at < wanted->cnt && status == LL_OK; at++) {
        rd_kafka_topic_partition_t *one =
            rd_kafka_topic_partition_list_find(list, wanted->elems[at].topic, wanted->elems[at].partition);
        one->offset = wanted->elems[at].offset >= 0 ? wanted->elems[at].offset : RD_KAFKA_OFFSET_BEGINNING;
    }
    rd_kafka_topic_partition_list_destroy(wanted);
    return status;
}

/* librdkafka remembers a pause beyond the assignment: partitions that are started again, or come back, would never flow. */
static void resume_all(struct consumer *consumer)
{
    if (consumer->paused->cnt > 0)
        rd_kafka_resume_partitions(consumer->client.rk, consumer->paused);
    rd_kafka_topic_partition_list_destroy(consumer->paused);
    consumer->paused = rd_kafka_topic_partition_list_new(0);
}

/* Returns when what flowed before has been told to stop, not only when librdkafka has noted that it should: until then position()
 * tells where the *old* assignment stood, and a second assignment stops partitions that are stopping already, which ends
 * the process (assertion rktp_started; librdkafka issue 5573). The question is answered by the same thread, in its turn. */
static rd_kafka_resp_err_t assign(struct consumer *consumer, const rd_kafka_topic_partition_list_t *list)
{
    rd_kafka_resp_err_t code = rd_kafka_assign(consumer->client.rk, list);
    rd_kafka_topic_partition_list_t *subscribed = NULL;
    if (rd_kafka_subscription(consumer->client.rk, &subscribed) == RD_KAFKA_RESP_ERR_NO_ERROR)
        rd_kafka_topic_partition_list_destroy(subscribed);
    return code;
}

static enum ll_status consumer_start(void *self, const struct bus_position *from, size_t count,
                                     struct ll_err *err)
{
    struct consumer *consumer = self;
    if (consumer->phase != PHASE_ASSIGNED && consumer->phase != PHASE_FLOWING)
        return ll_fail(err, LL_RETRY, "kafka %.100s: the partitions are gone again",
                       consumer->client.address);
    rd_kafka_topic_partition_list_t *list = kafka_list_new(from, count);
    enum ll_status status = find_committed(consumer, list, err);
    if (status == LL_OK) {
        resume_all(consumer);
        rd_kafka_resp_err_t code = assign(consumer, list);
        if (code != RD_KAFKA_RESP_ERR_NO_ERROR)
            status = kafka_fail(&consumer->client, err, code, "assign");
        else
            consumer->phase = PHASE_FLOWING;
    }
    rd_kafka_topic_partition_list_destroy(list);
    return status;
}

static enum ll_status consumer_stop(void *self, struct ll_err *err)
{
    struct consumer *consumer = self;
    if (consumer->phase == PHASE_QUIET)
        return LL_OK;
    consumer->phase = PHASE_QUIET;
    consumer->is_news = false;
    resume_all(consumer);
    rd_kafka_resp_err_t code = assign(consumer, NULL);
    if (code == RD_KAFKA_RESP_ERR__FATAL) /* fenced: nothing is ours any more, and poll says so */
        return LL_OK;
    return code == RD_KAFKA_RESP_ERR_NO_ERROR ? LL_OK : kafka_fail(&consumer->client, err, code, "unassign");
}

static void consumer_release(void *self, struct bus_record *record)
{
    (void)self;
    if (record->held != NULL)
        rd_kafka_message_destroy(record->held);
    record->held = NULL;
}

size_t bus_kafka_headers(const struct bus_record *record, struct bus_header ret[BUS_HEADERS_MAX])
{
    rd_kafka_headers_t *headers = NULL;
    size_t count = 0;
    if (rd_kafka_message_headers(record->held, &headers) != RD_KAFKA_RESP_ERR_NO_ERROR)
        return 0;
    const char *name;
    const void *value;
    size_t size;
    while (count < BUS_HEADERS_MAX &&
           rd_kafka_header_get_all(headers, count, &name, &value, &size) == RD_KAFKA_RESP_ERR_NO_ERROR) {
        ret[count].name = text_of(name);
        ret[count].value = (struct text){value, (uint32_t)size};
        count++;
    }
    return count;
}

static size_t consumer_headers(void *self, const struct bus_record *record,
                               struct bus_header ret[BUS_HEADERS_MAX])
{
    (void)self;
    return bus_kafka_headers(record, ret);
}

static int64_t consumer_position(void *self, enum topic topic, int32_t partition)
{
    struct consumer *consumer = self;
    struct bus_position wanted = {.topic = topic, .partition = partition};
    rd_kafka_topic_partition_list_t *list = kafka_list_new(&wanted, 1);
    int64_t offset = -1;
    if (rd_kafka_position(consumer->client.rk, list) == RD_KAFKA_RESP_ERR_NO_ERROR &&
        list->elems[0].offset >= 0)
        offset = list->elems[0].offset;
    rd_kafka_topic_partition_list_destroy(list);
    return offset;
}

static enum ll_status consumer_watermarks(void *self, enum topic topic, int32_t partition, int64_t *ret_low,
                                          int64_t *ret_high, struct ll_err *err)
{
    struct consumer *consumer = self;
    rd_kafka_resp_err_t code = rd_kafka_query_watermark_offsets(
        consumer->client.rk, topic_name(topic), partition, ret_low, ret_high, KAFKA_ANSWER_MS);
    return code == RD_KAFKA_RESP_ERR_NO_ERROR ? LL_OK
                                              : kafka_fail(&consumer->client, err, code, topic_name(topic));
}

static enum ll_status consumer_committed(void *self, struct bus_position *positions, size_t count, struct ll_err *err)
{
    struct consumer *consumer = self;
    rd_kafka_topic_partition_list_t *list = kafka_list_new(positions, count);
    for (int at = 0; at < list->cnt; at++)
        list->elems[at].offset = BUS_COMMITTED;
    enum ll_status status = find_committed(consumer, list, err);
    for (size_t at = 0; at < count && status == LL_OK; at++) /* the list keeps the order of the question */
        positions[at].offset = list->elems[at].offset;
    rd_kafka_topic_partition_list_destroy(list);
    return status;
}

static void consumer_commit(void *self, const struct bus_position *next, size_t count)
{
    struct consumer *consumer = self;
    if (count == 0)
        return;
    rd_kafka_topic_partition_list_t *list = kafka_list_new(next, count);
    rd_kafka_resp_err_t code = rd_kafka_commit(consumer->client.rk, list, 1);
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR)
        log_line(LOG_WARN, "offsets_commit", "error=%s", log_quote_c(rd_kafka_err2str(code)));
    rd_kafka_topic_partition_list_destroy(list);
}

static enum ll_status consumer_pause(void *self, enum topic topic, int32_t partition, bool paused,
                                     struct ll_err *err)
{
    struct consumer *consumer = self;
    struct bus_position wanted = {.topic = topic, .partition = partition};
    if (!paused && rd_kafka_topic_partition_list_find(consumer->paused, topic_name(topic), partition) == NULL)
        return LL_OK; /* librdkafka 2.0.2 fetches anew from where the partition was started or paused last */
    rd_kafka_topic_partition_list_t *list = kafka_list_new(&wanted, 1);
    rd_kafka_resp_err_t code = paused ? rd_kafka_pause_partitions(consumer->client.rk, list)
                                      : rd_kafka_resume_partitions(consumer->client.rk, list);
    if (code == RD_KAFKA_RESP_ERR_NO_ERROR)
        code = list->elems[0].err;
    if (code == RD_KAFKA_RESP_ERR_NO_ERROR) {
        rd_kafka_topic_partition_list_del(consumer->paused, topic_name(topic), partition);
        if (paused)
            rd_kafka_topic_partition_list_add(consumer->paused, topic_name(topic), partition);
    }
    /* A list that went through pause holds its partition: not freed, rd_kafka_destroy would wait for ever. */
    rd_kafka_topic_partition_list_destroy(list);
    return code == RD_KAFKA_RESP_ERR_NO_ERROR
               ? LL_OK
               : kafka_fail(&consumer->client, err, code, paused ? "pause" : "resume");
}

static bool leave(struct consumer *consumer)
{
    consumer->is_closing = true;
    for (int topic = 0; topic < TOPIC_COUNT; topic++) {
        if (consumer->handles[topic] != NULL)
            rd_kafka_topic_destroy(consumer->handles[topic]);
        consumer->handles[topic] = NULL;
    }
    if (consumer->paused != NULL) /* it may hold partitions: the client would wait for it for ever */
        rd_kafka_topic_partition_list_destroy(consumer->paused);
    consumer->paused = NULL;
    return kafka_client_end(&consumer->client, CLOSE_MS);
}

static void consumer_close(void *self)
{
    struct consumer *consumer = self;
    if (consumer != NULL && leave(consumer))
        free(consumer); /* else a thread of librdkafka may still look at it */
}

static const struct bus_consumer_ops consumer_ops = {
    .poll = consumer_poll,
    .changed = consumer_changed,
    .start = consumer_start,
    .stop = consumer_stop,
    .release = consumer_release,
    .headers = consumer_headers,
    .position = consumer_position,
    .watermarks = consumer_watermarks,
    .committed = consumer_committed,
    .commit = consumer_commit,
    .pause = consumer_pause,
    .close = consumer_close,
};

rd_kafka_t *bus_kafka_handle(const struct bus_consumer *consumer)
{
    return consumer->ops == &consumer_ops ? ((struct consumer *)consumer->self)->client.rk : NULL;
}

enum ll_status bus_kafka_reading(rd_kafka_conf_t *settings, const struct config *config, bool catch_up,
                                 struct ll_err *err)
{
    /* queued.min.messages: at its default the fetcher sleeps 1 s whenever the queue was full (LIMITS.md 3).
     */
    static const char *const alike[][2] = {
        {"enable.auto.commit", "false"},
        {"enable.auto.offset.store", "false"},
        {"auto.offset.reset", "error"},
        {"isolation.level", "read_committed"},
        {"queued.min.messages", "1000000"},
        {"fetch.message.max.bytes", "4194304"},
        {"check.crcs", "true"},
    };
    enum ll_status status = LL_OK;
    for (size_t at = 0; at < sizeof alike / sizeof alike[0] && status == LL_OK; at++)
        status = kafka_set(settings, alike[at][0], alike[at][1], err);
    if (status == LL_OK)
        status =
            kafka_set_number(settings, "queued.max.messages.kbytes", config->kafka.queue_size / 1024, err);
    if (status == LL_OK)
        status = kafka_set(settings, "fetch.min.bytes", catch_up ? "262144" : "1", err);
    if (status == LL_OK)
        status = kafka_set(settings, "fetch.wait.max.ms", catch_up ? "100" : "20", err);
    return status;
}

static enum ll_status set_group(rd_kafka_conf_t *settings, const struct config *config,
                                const struct kafka_consumer_options *options, struct ll_err *err)
{
    int64_t session_ms = config->kafka.session_timeout_ms;
    /* range: the cooperative assignor of 2.0.2 has an endless loop. A static member keeps its partitions over
     * a restart. */
    enum ll_status status = kafka_set(settings, "group.id", options->group, err);
    if (status == LL_OK)
        status = kafka_set(settings, "partition.assignment.strategy", "range", err);
    if (status == LL_OK)
        status = kafka_set_number(settings, "session.timeout.ms", session_ms, err);
    if (status == LL_OK)
        status = kafka_set_number(settings, "heartbeat.interval.ms",
                                  session_ms / 10 < 1000 ? session_ms / 10 : 1000, err);
    if (status == LL_OK)
        status = kafka_set_number(settings, "max.poll.interval.ms",
                                  session_ms > POLL_INTERVAL_MS ? session_ms : POLL_INTERVAL_MS, err);
    if (status == LL_OK && options->instance != NULL)
        status = kafka_set(settings, "group.instance.id", options->instance, err);
    rd_kafka_conf_set_rebalance_cb(settings, on_rebalance);
    rd_kafka_conf_set_offset_commit_cb(settings, on_commit);
    return status;
}

static enum ll_status subscribe(struct consumer *consumer, struct ll_err *err)
{
    const struct kafka_consumer_options *options = &consumer->options;
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new((int)options->topic_count);
    for (size_t at = 0; at < options->topic_count; at++) {
        enum topic topic = options->topics[at];
        consumer->handles[topic] = bus_kafka_topic(consumer->client.rk, topic);
        rd_kafka_topic_partition_list_add(list, topic_name(topic), RD_KAFKA_PARTITION_UA);
    }
    rd_kafka_resp_err_t code = rd_kafka_subscribe(consumer->client.rk, list);
    rd_kafka_topic_partition_list_destroy(list);
    return code == RD_KAFKA_RESP_ERR_NO_ERROR ? LL_OK : kafka_fail(&consumer->client, err, code, "subscribe");
}

/* A connection of its own, whose member of the group this is from then on. */
static enum ll_status join(struct consumer *consumer, struct ll_err *err)
{
    const struct config *config = consumer->config;
    const struct kafka_consumer_options *options = &consumer->options;
    consumer->client = (struct kafka_client){ .rk = NULL };
    consumer->paused = rd_kafka_topic_partition_list_new(0);
    rd_kafka_conf_t *settings = NULL;
    enum ll_status status = kafka_client_settings(&consumer->client, config, "consumer", &settings, err);
    if (status == LL_OK) {
        status = bus_kafka_reading(settings, config, options->catch_up, err);
        if (status == LL_OK)
            status = set_group(settings, config, options, err);
        if (status == LL_OK)
            status = kafka_client_start(&consumer->client, RD_KAFKA_CONSUMER, settings, err);
        else
            rd_kafka_conf_destroy(settings);
    }
    if (status == LL_OK) {
        rd_kafka_poll_set_consumer(consumer->client.rk);
        status = subscribe(consumer, err);
    }
    return status;
}

enum ll_status kafka_consumer_open(const struct config *config, const struct kafka_consumer_options *options,
                                   struct bus_consumer *ret, struct ll_err *err)
{
    if (options->group == NULL)
        return ll_fail(err, LL_FATAL, "a consumer needs a group; what reads without one is kafka_reader");
    struct consumer *consumer = calloc(1, sizeof *consumer);
    if (consumer == NULL)
        abort();
    assert(options->topic_count <= TOPIC_COUNT);
    memcpy(consumer->topics, options->topics, options->topic_count * sizeof options->topics[0]);
    consumer->config = config;
    consumer->options = *options;
    consumer->options.topics = consumer->topics;
    enum ll_status status = join(consumer, err);
    if (status != LL_OK) {
        consumer_close(consumer);
        return status;
    }
    *ret = (struct bus_consumer){.ops = &consumer_ops, .self = consumer};
    return LL_OK;
}
