#include "producers/import/send.h"

#include "runtime/bus.h"
#include "runtime/kafka.h"
#include "runtime/process.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NUMBER_SIZE = 24, CODES_SIZE = 1024, KEY_SIZE = 320 };

struct send {
    struct config config; /* with a transaction time-out of its own */
    const struct codec *codec;
    struct bus_producer producer;
    bool has_producer, is_begun, has_failed;
    char sha256[72];
    struct mark *mark;
    int64_t outputs, skip, committed; /* numbers of outputs */
    int64_t begun_ms;
    struct clock_source clock;
    char *buffer;
    size_t capacity;
};

static enum ll_status failed(struct send *send, enum ll_status status)
{
    if (status != LL_OK)
        send->has_failed = true;
    return status;
}

static enum ll_status ensure_begun(struct send *send, struct ll_err *err)
{
    if (send->is_begun)
        return LL_OK;
    enum ll_status status = send->producer.ops->begin(send->producer.self, err);
    if (status == LL_OK) {
        send->is_begun = true;
        send->begun_ms = send->clock.steady_ms(send->clock.self);
    }
    return status;
}

static enum ll_status put(struct send *send, const struct bus_out *out, struct ll_err *err)
{
    enum ll_status status = ensure_begun(send, err);
    if (status == LL_OK)
        status = send->producer.ops->send(send->producer.self, out, err);
    return failed(send, status);
}

static enum ll_status send_event(void *self, enum topic topic, struct text key, const struct event *event,
                                 struct ll_err *err)
{
    struct send *send = self;
    if (++send->outputs <= send->skip)
        return LL_OK;
    size_t need = codec_size_max(event);
    if (need > send->capacity) {
        free(send->buffer);
        send->capacity = need * 2;
        send->buffer = malloc(send->capacity);
        if (send->buffer == NULL)
            abort();
    }
    size_t size = codec_write(send->codec, event, send->buffer, send->capacity);
    if (size == 0)
        return ll_fail(err, LL_FATAL, "an event of topic %s could not be encoded", topic_name(topic));
    struct bus_out out = {
        .topic = topic, .partition = BUS_BY_KEY, .key = key, .value = {send->buffer, (uint32_t)size}};
    return put(send, &out, err);
}

static enum ll_status send_dead(void *self, const struct dead_row *row, struct ll_err *err)
{
    struct send *send = self;
    if (++send->outputs <= send->skip)
        return LL_OK;
    char codes[CODES_SIZE], line[NUMBER_SIZE], now[NUMBER_SIZE], key[KEY_SIZE];
    code_names(row->codes, codes, sizeof codes);
    snprintf(line, sizeof line, "%lld", (long long)row->line);
    snprintf(now, sizeof now, "%lld", (long long)send->clock.wall_ms(send->clock.self));
    snprintf(key, sizeof key, "%s:%s", row->file, line);
    const struct bus_header headers[] = {
        {TEXT("ll-codes"), text_of(codes)},
        {TEXT("ll-stage"), TEXT("import")},
        {TEXT("ll-message"), text_of(row->message)},
        {TEXT("ll-file"), text_of(row->file)},
        {TEXT("ll-line"), text_of(line)},
        {TEXT("ll-topic"), text_of(topic_name(row->topic))},
        {TEXT("ll-timestamp"), text_of(now)},
        {TEXT("ll-attempt"), TEXT("0")},
        {TEXT("ll-first-at"), text_of(now)},
    };
    struct bus_out out = {.topic = TOPIC_DEAD_LETTER,
                          .partition = BUS_BY_KEY,
                          .key = text_of(key),
                          .value = row->raw,
                          .headers = headers,
                          .header_count = sizeof headers / sizeof *headers};
    return put(send, &out, err);
}

static enum ll_status send_settle(void *self, struct ll_err *err)
{
    struct send *send = self;
    return send->is_begun ? send_commit(send, err) : LL_OK;
}

struct import_sink send_sink(struct send *send)
{
    return (struct import_sink){.event = send_event, .dead = send_dead, .settle = send_settle, .self = send};
}

static enum ll_status put_text(struct send *send, const char *key, const char *value, struct ll_err *err)
{
    struct bus_out out = {
        .topic = TOPIC_IMPORTS, .partition = 0, .key = text_of(key), .value = text_of(value)};
    return put(send, &out, err);
}

static enum ll_status commit(struct send *send, struct ll_err *err)
{
    enum ll_status status = send->producer.ops->commit(send->producer.self, err);
    send->is_begun = false;
    return failed(send, status);
}

static enum ll_status claim(struct send *send, const char *nonce, struct ll_err *err)
{
    char key[80];
    mark_claim_key(send->sha256, key);
    char *value = mark_write_claim(nonce, send->clock.wall_ms(send->clock.self));
    enum ll_status status = put_text(send, key, value, err);
    free(value);
    return status == LL_OK ? commit(send, err) : status;
}

/* Somebody else imports the same file and has taken it over: two that fence each other in turns would never
 * end. */
static enum ll_status check_ours(const struct send *send, const struct topics *topics, const char *nonce,
                                 struct ll_err *err)
{
    struct mark mark;
    char last[MARK_NONCE_SIZE];
    if (nonce[0] == '\0')
        return LL_OK;
    enum ll_status status = mark_read(&send->config, topics, send->sha256, NULL, &mark, last, err);
    mark_done(&mark);
    if (status == LL_OK && strcmp(last, nonce) != 0)
        return ll_fail(
            err, LL_POISON,
            "another lens import of the same file has taken over; it goes on where this one stopped");
    return status;
}

enum ll_status send_ping(const struct config *config, struct ll_err *err)
{
    struct kafka_admin *admin;
    enum ll_status status = kafka_admin_open(config, &admin, err);
    if (status != LL_OK)
        return status;
    status = kafka_admin_ping(admin, SEND_PING_MS, err);
    kafka_admin_close(admin);
    return status;
}

enum ll_status send_open(const struct config *config, const struct topics *topics, const struct codec *codec,
                         const char *sha256, char nonce[MARK_NONCE_SIZE], struct mark *ret_mark,
                         struct send **ret, struct ll_err *err)
{
    struct send *send = calloc(1, sizeof *send);
    if (send == NULL)
        abort();
    send->config = *config;
    if (send->config.kafka.transaction_timeout_ms > SEND_TRANSACTION_MS)
        send->config.kafka.transaction_timeout_ms = SEND_TRANSACTION_MS;
    send->codec = codec;
    send->clock = clock_real();
    snprintf(send->sha256, sizeof send->sha256, "%s", sha256);
    char id[96], last[MARK_NONCE_SIZE];
    snprintf(id, sizeof id, "lens-import-%.32s", sha256);
    enum ll_status status = check_ours(send, topics, nonce, err);
    if (status == LL_OK) {
        status = kafka_producer_open(&send->config, id, &send->producer, err);
        send->has_producer = status == LL_OK;
    }
    if (status == LL_OK) {
        mark_nonce(nonce);
        status = claim(send, nonce, err);
    }
    if (status == LL_OK)
        status = mark_read(&send->config, topics, sha256, nonce, ret_mark, last, err);
    if (status != LL_OK) {
        /* A producer that broke is opened anew, as one that found no broker. */
        status = send->has_failed ? LL_RETRY : status;
        send_close(send);
        return status;
    }
    *ret = send;
    return LL_OK;
}

void send_close(struct send *send)
{
    struct ll_err ignored;
    if (send == NULL)
        return;
    if (send->is_begun && !send->has_failed)
        send->producer.ops->abort(send->producer.self, &ignored);
    if (send->has_producer)
        send->producer.ops->close(send->producer.self);
    free(send->buffer);
    free(send);
}

void send_begin(struct send *send, struct mark *mark, int64_t skip)
{
    send->mark = mark;
    send->skip = send->committed = skip;
}

bool send_is_due(const struct send *send)
{
    return send->is_begun && (send->outputs - send->committed >= SEND_COMMIT_OUTPUTS ||
                              send->clock.steady_ms(send->clock.self) - send->begun_ms >= SEND_COMMIT_MS);
}

enum ll_status send_commit(struct send *send, struct ll_err *err)
{
    char key[80];
    if (send->outputs < send->skip)
        return LL_OK; /* all of this is there already */
    mark_key(send->sha256, key);
    send->mark->outputs = send->outputs;
    clock_format(send->clock.wall_ms(send->clock.self), send->mark->updated_at,
                 sizeof send->mark->updated_at);
    char *value = mark_write(send->sha256, send->mark);
    enum ll_status status = put_text(send, key, value, err);
    free(value);
    if (status == LL_OK)
        status = commit(send, err);
    if (status == LL_OK)
        send->committed = send->outputs;
    return status;
}

bool send_failed(const struct send *send)
{
    return send->has_failed;
}
