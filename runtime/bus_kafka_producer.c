#include "runtime/bus_kafka.h"
#include "runtime/clock.h"
#include "runtime/kafka.h"
#include "runtime/kafka_client.h"
#include "runtime/log.h"
#include "runtime/process.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    CLOSE_MS = 10000,
    INIT_MS = 30000,     /* a broker that is there answers in 0.5 s; its coordinator may still be loading */
    OFTEN_MS = 500,      /* a start of transactions is moved on as often as the caller likes for so long, ... */
    SELDOM_MS = 200,     /* ... then so often, whatever the caller's time-out */
    STEP_MS = 2000,      /* one try of a call that can be resumed: between tries SIGTERM is looked at */
    STOPPING_MS = 10000, /* a process that was asked to stop waits no longer for a broker that is away */
    FULL_MS = 50,        /* one wait for room in the queue */
    SMALL_RECORDS = 5000, /* what takes longer to fill than this need not be paced */
    QUEUE_RECORDS = 500000,
    QUEUE_KBYTES = 131072,
};

struct producer {
    struct kafka_client client; /* first: it is librdkafka's opaque pointer */
    rd_kafka_topic_t *handles[TOPIC_COUNT];
    int64_t begun_ms, asked_ms; /* its opening, and when that was last moved on */
    int pace_ms;
    int64_t ended_ms; /* the last transaction, ... */
    int records;      /* ... or the open one: its records */
    bool is_transactional;
    bool is_open;    /* a transaction is */
    bool has_failed; /* a record was not acknowledged; failure names the first */
    char failure[200];
};

/* Only failures come here (delivery.report.only.error). Purged records belong to a transaction that we
 * aborted. */
static void on_failure(rd_kafka_t *rk, const rd_kafka_message_t *message, void *opaque)
{
    (void)rk;
    struct producer *producer = opaque;
    if (message->err == RD_KAFKA_RESP_ERR_NO_ERROR || message->err == RD_KAFKA_RESP_ERR__PURGE_QUEUE ||
        message->err == RD_KAFKA_RESP_ERR__PURGE_INFLIGHT || producer->has_failed)
        return;
    producer->has_failed = true;
    snprintf(producer->failure, sizeof producer->failure,
             "%s[%d]: a record of %zu bytes was not taken: %.100s", rd_kafka_topic_name(message->rkt),
             message->partition, message->len, rd_kafka_err2str(message->err));
}

static int64_t now_ms(void)
{
    struct clock_source clock = clock_real();
    return clock.steady_ms(clock.self);
}

/* True when a call that can be resumed should be given up: the process was asked to stop and its broker is
 * away. */
static bool is_time_up(int64_t since_ms)
{
    return process_stopping() && now_ms() - since_ms > STOPPING_MS;
}

/* Takes error. */
static enum ll_status fail_call(struct producer *producer, rd_kafka_error_t *error, const char *what,
                                struct ll_err *err)
{
    bool is_fatal = rd_kafka_error_is_fatal(error) != 0;
    ll_fail(err, is_fatal ? LL_FATAL : LL_RETRY, "kafka %.100s: %s: %s", producer->client.address, what,
            rd_kafka_error_string(error));
    rd_kafka_error_destroy(error);
    return is_fatal ? LL_FATAL : LL_RETRY;
}

/* The calls of a transaction last as long as the broker is away. */
static void go_inside(const struct producer *producer, const char *doing)
{
    char what[2 * CONFIG_TEXT_SIZE];
    snprintf(what, sizeof what, "kafka %.100s: %s", producer->client.address, doing);
    process_inside(what);
}

static enum ll_status fail_kind(const struct producer *producer, struct ll_err *err)
{
    return ll_fail(err, LL_FATAL,
                   "kafka %.100s: this producer has no transactions: it was opened without an id",
                   producer->client.address);
}

static void keep_pace(struct producer *producer)
{
    int64_t left_ms = 0;
    do
        rd_kafka_poll(producer->client.rk, left_ms > 0 ? (int)left_ms : 0);
    while (producer->records < SMALL_RECORDS && !producer->client.is_down &&
           (left_ms = producer->ended_ms + producer->pace_ms - now_ms()) > 0);
}

static enum ll_status producer_begin(void *self, struct ll_err *err)
{
    struct producer *producer = self;
    if (!producer->is_transactional)
        return fail_kind(producer, err);
    keep_pace(producer);
    producer->records = 0;
    producer->has_failed = false;
    rd_kafka_error_t *error = rd_kafka_begin_transaction(producer->client.rk);
    if (error != NULL)
        return fail_call(producer, error, "begin transaction", err);
    producer->is_open = true;
    return LL_OK;
}

static enum ll_status resume_abort(struct producer *producer, struct ll_err *err)
{
    int64_t since_ms = now_ms();
    rd_kafka_error_t *error;
    while ((error = rd_kafka_abort_transaction(producer->client.rk, STEP_MS)) != NULL) {
        if (!rd_kafka_error_is_retriable(error) || is_time_up(since_ms)) {
            /* A transaction that cannot even be aborted ends with its producer: the next one's init aborts
             * it. */
            fail_call(producer, error, "abort transaction", err);
            return LL_FATAL;
        }
        rd_kafka_error_destroy(error);
    }
    producer->is_open = false;
    producer->ended_ms = now_ms();
    rd_kafka_poll(producer->client.rk, 0);
    producer->has_failed = false;
    return LL_OK;
}

static enum ll_status producer_abort(void *self, struct ll_err *err)
{
    struct producer *producer = self;
    if (!producer->is_transactional)
        return fail_kind(producer, err);
    if (!producer->is_open)
        return LL_OK;
    go_inside(producer, "the end of a transaction that is given up");
    enum ll_status status = resume_abort(producer, err);
    process_inside(NULL);
    return status;
}

/* After an error that only an abort heals. err already has the words. */
static enum ll_status abort_and_retry(struct producer *producer, struct ll_err *err)
{
    struct ll_err why;
    enum ll_status status = producer_abort(producer, &why);
    return status == LL_OK ? LL_RETRY : ll_fail(err, status, "%s", why.text);
}

static enum ll_status producer_send_offsets(void *self, struct bus_consumer *consumer,
                                            const struct bus_position *next, size_t count, struct ll_err *err)
{
    struct producer *producer = self;
    if (!producer->is_transactional)
        return fail_kind(producer, err);
    if (!producer->is_open)
        return ll_fail(err, LL_RETRY, "kafka %.100s: no transaction is open", producer->client.address);
    rd_kafka_t *reader = bus_kafka_handle(consumer);
    if (reader == NULL)
        return ll_fail(err, LL_FATAL,
                       "offsets of a consumer that is not Kafka's cannot enter a Kafka transaction");
    rd_kafka_consumer_group_metadata_t *generation = rd_kafka_consumer_group_metadata(reader);
    if (generation == NULL)
        return ll_fail(err, LL_RETRY, "kafka %.100s: the consumer is in no group", producer->client.address);
    rd_kafka_topic_partition_list_t *list = kafka_list_new(next, count);
    /* The one call of a transaction that cannot be resumed after a time-out: it gets none. */
    go_inside(producer, "the offsets of a transaction");
    rd_kafka_error_t *error = rd_kafka_send_offsets_to_transaction(producer->client.rk, list, generation, -1);
    process_inside(NULL);
    rd_kafka_topic_partition_list_destroy(list);
    rd_kafka_consumer_group_metadata_destroy(generation);
    if (error == NULL)
        return LL_OK;
    enum ll_status status = fail_call(producer, error, "offsets into the transaction", err);
    return status == LL_FATAL ? LL_FATAL : abort_and_retry(producer, err);
}

static enum ll_status resume_commit(struct producer *producer, struct ll_err *err)
{
    int64_t since_ms = now_ms();
    rd_kafka_error_t *error;
    while ((error = rd_kafka_commit_transaction(producer->client.rk, STEP_MS)) != NULL) {
        if (rd_kafka_error_txn_requires_abort(error)) {
            fail_call(producer, error, "commit transaction", err);
            return abort_and_retry(producer, err);
        }
        /* Timed out is neither done nor undone: the same commit is asked for again, never aborted. */
        if (!rd_kafka_error_is_retriable(error) || is_time_up(since_ms)) {
            fail_call(producer, error, "commit transaction", err);
            return LL_FATAL;
        }
        rd_kafka_error_destroy(error);
    }
    producer->is_open = false;
    producer->ended_ms = now_ms();
    return LL_OK;
}

static enum ll_status producer_commit(void *self, struct ll_err *err)
{
    struct producer *producer = self;
    if (!producer->is_transactional)
        return fail_kind(producer, err);
    if (!producer->is_open)
        return ll_fail(err, LL_RETRY, "kafka %.100s: the transaction was aborted", producer->client.address);
    rd_kafka_poll(producer->client.rk, 0);
    if (producer->has_failed) {
        ll_fail(err, LL_RETRY, "kafka %.80s: %s", producer->client.address, producer->failure);
        return abort_and_retry(producer, err);
    }
    go_inside(producer, "the commit of a transaction");
    enum ll_status status = resume_commit(producer, err);
    process_inside(NULL);
    return status;
}

/* The first record of a topic that the client knows nothing of waits a second for metadata; asked for, it
 * takes 1 ms. */
static enum ll_status meet_topic(struct producer *producer, enum topic topic, struct ll_err *err)
{
    rd_kafka_topic_t *handle = bus_kafka_topic(producer->client.rk, topic);
    const struct rd_kafka_metadata *metadata = NULL;
    rd_kafka_resp_err_t code = rd_kafka_metadata(producer->client.rk, 0, handle, &metadata, KAFKA_ANSWER_MS);
    if (code == RD_KAFKA_RESP_ERR_NO_ERROR) {
        if (metadata->topic_cnt == 1)
            code = metadata->topics[0].err;
        rd_kafka_metadata_destroy(metadata);
    }
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR) {
        rd_kafka_topic_destroy(handle);
        return kafka_fail(&producer->client, err, code, topic_name(topic));
    }
    producer->handles[topic] = handle;
    return LL_OK;
}

static rd_kafka_headers_t *copy_headers(const struct bus_out *out)
{
    rd_kafka_headers_t *headers = rd_kafka_headers_new(out->header_count);
    for (size_t at = 0; at < out->header_count; at++)
        rd_kafka_header_add(headers, out->headers[at].name.data, (ssize_t)out->headers[at].name.size,
                            out->headers[at].value.data, (ssize_t)out->headers[at].value.size);
    return headers;
}

static enum ll_status refuse(struct producer *producer, const struct bus_out *out, rd_kafka_resp_err_t code,
                             struct ll_err *err)
{
    if (code == RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE)
        return ll_fail(err, LL_POISON, "%s: a record of %u bytes is above the limit of %d",
                       topic_name(out->topic), out->value.size, KAFKA_RECORD_SIZE_MAX);
    if (code == RD_KAFKA_RESP_ERR__STATE) /* the transaction has failed meanwhile: abort() and read again */
        return ll_fail(err, LL_RETRY, "kafka %.80s: %s", producer->client.address,
                       producer->has_failed ? producer->failure : "the transaction has failed");
    return kafka_fail(&producer->client, err, code, topic_name(out->topic));
}

static enum ll_status producer_send(void *self, const struct bus_out *out, struct ll_err *err)
{
    struct producer *producer = self;
    if (producer->handles[out->topic] == NULL) {
        enum ll_status status = meet_topic(producer, out->topic, err);
        if (status != LL_OK)
            return status;
    }
    rd_kafka_vu_t parts[7];
    size_t count = 0;
    /* Field by field: the padded unions are large, and this path is walked for every record. */
    parts[count].vtype = RD_KAFKA_VTYPE_RKT;
    parts[count++].u.rkt = producer->handles[out->topic];
    parts[count].vtype = RD_KAFKA_VTYPE_PARTITION;
    parts[count++].u.i32 = out->partition == BUS_BY_KEY ? RD_KAFKA_PARTITION_UA : out->partition;
    parts[count].vtype = RD_KAFKA_VTYPE_MSGFLAGS;
    parts[count++].u.i = RD_KAFKA_MSG_F_COPY;
    parts[count].vtype = RD_KAFKA_VTYPE_TIMESTAMP;
    parts[count++].u.i64 = out->timestamp_ms;
    parts[count].vtype = RD_KAFKA_VTYPE_KEY;
    parts[count].u.mem.ptr = (void *)out->key.data;
    parts[count++].u.mem.size = out->key.size;
    parts[count].vtype = RD_KAFKA_VTYPE_VALUE;
    parts[count].u.mem.ptr = (void *)out->value.data;
    parts[count++].u.mem.size = out->value.size;
    rd_kafka_headers_t *headers = NULL;
    if (out->header_count > 0) {
        headers = copy_headers(out);
        parts[count].vtype = RD_KAFKA_VTYPE_HEADERS;
        parts[count++].u.headers = headers;
    }
    int64_t since_ms = 0;
    rd_kafka_error_t *error;
    while ((error = rd_kafka_produceva(producer->client.rk, parts, count)) != NULL) {
        rd_kafka_resp_err_t code = rd_kafka_error_code(error);
        rd_kafka_error_destroy(error);
        bool is_full = code == RD_KAFKA_RESP_ERR__QUEUE_FULL;
        if (is_full && since_ms == 0)
            since_ms = now_ms();
        if (!is_full || is_time_up(since_ms) || producer->has_failed || producer->client.is_broken) {
            if (headers != NULL)
                rd_kafka_headers_destroy(headers); /* taken only when the record was */
            return refuse(producer, out, code, err);
        }
        rd_kafka_poll(producer->client.rk, FULL_MS);
    }
    producer->records++;
    return LL_OK;
}

static enum ll_status producer_flush(void *self, int timeout_ms, struct ll_err *err)
{
    struct producer *producer = self;
    int64_t until_ms = now_ms() + timeout_ms;
    rd_kafka_resp_err_t code;
    do { /* rd_kafka_yield in a callback (a broker went away) ends it before its time */
        int64_t left_ms = until_ms - now_ms();
        code = rd_kafka_flush(producer->client.rk, left_ms > 0 ? (int)left_ms : 0);
    } while (code == RD_KAFKA_RESP_ERR__TIMED_OUT && !producer->has_failed && !producer->client.is_broken &&
             now_ms() < until_ms);
    if (producer->client.is_broken) {
        kafka_client_health(&producer->client, err);
        return LL_FATAL;
    }
    if (producer->has_failed)
        return ll_fail(err, LL_FATAL, "kafka %.80s: %s", producer->client.address, producer->failure);
    if (code == RD_KAFKA_RESP_ERR_NO_ERROR)
        return LL_OK;
    return ll_fail(err, LL_RETRY, "kafka %.100s: %d records are not acknowledged after %d ms%s%s",
                   producer->client.address, rd_kafka_outq_len(producer->client.rk), timeout_ms,
                   producer->client.trouble[0] == '\0' ? "" : ": ", producer->client.trouble);
}

static void producer_close(void *self)
{
    struct producer *producer = self;
    if (producer == NULL)
        return;
    for (int topic = 0; topic < TOPIC_COUNT; topic++)
        if (producer->handles[topic] != NULL)
            rd_kafka_topic_destroy(producer->handles[topic]);
    if (kafka_client_end(&producer->client, CLOSE_MS))
        free(producer);
}

static const struct bus_producer_ops producer_ops = {
    .begin = producer_begin,
    .send_offsets = producer_send_offsets,
    .commit = producer_commit,
    .abort = producer_abort,
    .send = producer_send,
    .flush = producer_flush,
    .close = producer_close,
};

static enum ll_status set_writing(rd_kafka_conf_t *settings, const struct config *config,
                                  const char *transactional_id, struct ll_err *err)
{
    static const char *const alike[][2] = {
        {"enable.idempotence", "true"},
        {"acks", "all"},
        {"partitioner", "murmur2_random"},
        {"delivery.report.only.error", "true"},
    };
    enum ll_status status = LL_OK;
    for (size_t at = 0; at < sizeof alike / sizeof alike[0] && status == LL_OK; at++)
        status = kafka_set(settings, alike[at][0], alike[at][1], err);
    if (status == LL_OK)
        status = kafka_set_number(settings, "linger.ms", config->kafka.linger_ms, err);
    if (status == LL_OK)
        status = kafka_set(settings, "compression.codec", config->kafka.compression, err);
    if (status == LL_OK)
        status = kafka_set_number(settings, "message.max.bytes", KAFKA_RECORD_SIZE_MAX, err);
    if (status == LL_OK)
        status = kafka_set_number(settings, "queue.buffering.max.messages", QUEUE_RECORDS, err);
    if (status == LL_OK)
        status = kafka_set_number(settings, "queue.buffering.max.kbytes", QUEUE_KBYTES, err);
    if (status == LL_OK && transactional_id != NULL)
        status = kafka_set(settings, "transactional.id", transactional_id, err);
    if (status == LL_OK && transactional_id != NULL)
        status =
            kafka_set_number(settings, "transaction.timeout.ms", config->kafka.transaction_timeout_ms, err);
    rd_kafka_conf_set_dr_msg_cb(settings, on_failure);
    return status;
}

/* One try of what can be resumed. LL_OK with *ret_ready false: not yet. */
static enum ll_status resume_init(struct producer *producer, int timeout_ms, bool *ret_ready,
                                  struct ll_err *err)
{
    rd_kafka_error_t *error = rd_kafka_init_transactions(producer->client.rk, timeout_ms);
    *ret_ready = error == NULL;
    if (error == NULL)
        return LL_OK;
    rd_kafka_poll(producer->client.rk, 0);
    if (rd_kafka_error_is_retriable(error) && !process_stopping() &&
        now_ms() - producer->begun_ms <= INIT_MS) {
        rd_kafka_error_destroy(error);
        return LL_OK;
    }
    enum ll_status status = fail_call(producer, error, "transactions", err);
    if (producer->client.trouble[0] != '\0')
        ll_fail(err, status, "kafka %.80s: transactions: %s", producer->client.address,
                producer->client.trouble);
    return status;
}

enum ll_status kafka_producer_begin(const struct config *config, const char *transactional_id, int pace_ms,
                                    struct bus_producer *ret, struct ll_err *err)
{
    struct producer *producer = calloc(1, sizeof *producer);
    if (producer == NULL)
        abort();
    producer->is_transactional = transactional_id != NULL;
    producer->pace_ms = pace_ms;
    producer->begun_ms = now_ms();
    rd_kafka_conf_t *settings = NULL;
    enum ll_status status = kafka_client_settings(&producer->client, config, "producer", &settings, err);
    if (status == LL_OK) {
        status = set_writing(settings, config, transactional_id, err);
        if (status == LL_OK)
            status = kafka_client_start(&producer->client, RD_KAFKA_PRODUCER, settings, err);
        else
            rd_kafka_conf_destroy(settings);
    }
    if (status != LL_OK) {
        producer_close(producer);
        return status;
    }
    *ret = (struct bus_producer){.ops = &producer_ops, .self = producer};
    return LL_OK;
}

/* Fences a predecessor of the same id and aborts what it left open. While it does, the broker refuses; librdkafka would wait
 * half a second then, but a call that is resumed asks again at once (one request at a time: seen). */
enum ll_status kafka_producer_ready(struct bus_producer *bus, int timeout_ms, bool *ret_ready,
                                    struct ll_err *err)
{
    struct producer *producer = bus->self;
    enum ll_status status = LL_OK;
    *ret_ready = !producer->is_transactional;
    int64_t asked_ms = now_ms();
    bool is_early = timeout_ms < SELDOM_MS && asked_ms - producer->begun_ms > OFTEN_MS &&
                    asked_ms - producer->asked_ms < SELDOM_MS;
    if (producer->is_transactional && !is_early) {
        producer->asked_ms = asked_ms;
        status = resume_init(producer, timeout_ms, ret_ready, err);
    }
    if (status != LL_OK) {
        producer_close(producer);
        *bus = (struct bus_producer){ 0 };
    }
    return status;
}

enum ll_status kafka_producer_open(const struct config *config, const char *transactional_id,
                                   struct bus_producer *ret, struct ll_err *err)
{
    struct bus_producer opening = { 0 };
    bool is_ready = false;
    enum ll_status status = kafka_producer_begin(config, transactional_id, 0, &opening, err);
    if (status == LL_OK)
        go_inside(opening.self, "the start of transactions");
    while (status == LL_OK && !is_ready)
        status = kafka_producer_ready(&opening, STEP_MS, &is_ready, err);
    process_inside(NULL);
    if (status == LL_OK)
        *ret = opening;
    return status;
}
