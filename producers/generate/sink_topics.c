/* Straight onto the raw topics, as a till system would: Avro in Confluent's frame, some of it damaged. */
#include "producers/generate/sink.h"

#include "producers/generate/pace.h"
#include "producers/generate/settle.h"
#include "runtime/kafka.h"
#include "schemas/codec.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { VALUE_SIZE = 64 << 10, FLUSH_TIMEOUT_MS = 120000, SETTLE_TIMEOUT_MS = 10000, NO_SUCH_SCHEMA = 987654 };

struct to_topics {
    const struct config *config;
    struct codec *codec;
    struct bus_producer producer;
    struct pace pace;
    int64_t rate_per_s, sent, due;
    char value[VALUE_SIZE];
};

static enum ll_status send(struct to_topics *to, enum topic topic, struct text key, size_t size,
                           struct placed *ret, struct ll_err *err)
{
    struct bus_out out = {
        .topic = topic, .partition = BUS_BY_KEY, .key = key, .value = { to->value, (uint32_t)size }
    };
    *ret = (struct placed){ .head_file = topic_name(topic) };
    return to->producer.ops->send(to->producer.self, &out, err);
}

static enum ll_status topics_reference(void *self, const struct event *event, struct placed *ret,
                                       struct ll_err *err)
{
    struct to_topics *to = self;
    size_t size = codec_write(to->codec, event, to->value, sizeof to->value);
    assert(size > 0);
    switch ((int)event->kind) {
    case EVENT_STORE:
        return send(to, TOPIC_STORES, event->store.store_id, size, ret, err);
    case EVENT_PRODUCT:
        return send(to, TOPIC_PRODUCTS, event->product.product_id, size, ret, err);
    case EVENT_CUSTOMER:
        return send(to, TOPIC_CUSTOMERS, event->customer.customer_id, size, ret, err);
    default:
        assert(event->kind == EVENT_PROMOTION);
        return send(to, TOPIC_PROMOTIONS, event->promotion.promotion_id, size, ret, err);
    }
}

static enum ll_status topics_flush(void *self, struct ll_err *err)
{
    struct to_topics *to = self;
    return to->producer.ops->flush(to->producer.self, FLUSH_TIMEOUT_MS, err);
}

static enum ll_status topics_settle(void *self, struct ll_err *err)
{
    struct to_topics *to = self;
    enum ll_status status = topics_flush(self, err);
    if (status == LL_OK)
        status = settle_references(to->config, SETTLE_TIMEOUT_MS, err);
    to->pace = pace_of(to->rate_per_s);
    return status;
}

static struct text text_or_null(const char *text)
{
    return text[0] == '\0' ? (struct text){ NULL, 0 } : text_of(text);
}

static struct event event_of(const struct made *made, struct line lines[MADE_LINES_MAX])
{
    for (int i = 0; i < made->line_count; i++) {
        const struct made_line *line = &made->lines[i];
        lines[i] = (struct line){ line->line_no,
                                  text_or_null(line->product_id),
                                  line->quantity,
                                  line->unit_price_minor,
                                  line->discount_minor,
                                  line->amount_minor,
                                  text_or_null(line->promotion_id),
                                  { NULL, 0 } };
    }
    return (struct event){ .kind = EVENT_TRANSACTION,
                           .transaction = { .transaction_id = text_of(made->transaction_id),
                                            .type = made->type,
                                            .original_transaction_id = text_or_null(made->original_id),
                                            .event_time_ms = made->event_time_ms,
                                            .store_id = text_or_null(made->store_id),
                                            .customer_id = text_or_null(made->customer_id),
                                            .currency = text_of(made->currency),
                                            .has_total = true,
                                            .total_minor = made->total_minor,
                                            .source = text_of(made->source),
                                            .source_ref = TEXT("generator"),
                                            .channel = text_or_null(made->channel),
                                            .lines = lines,
                                            .line_count = (uint32_t)made->line_count } };
}

static void set_schema(char *value, int32_t schema_id)
{
    for (int i = 0; i < 4; i++)
        value[1 + i] = (char)(schema_id >> (24 - 8 * i));
}

/* The frame is followed by the transaction id (length in one byte, since it is short), then by the type. */
static size_t damage(struct to_topics *to, const struct made *made, size_t size)
{
    char *value = to->value;
    size_t id_at = CODEC_FRAME_SIZE + 1, type_at = id_at + strlen(made->transaction_id);
    switch ((int)made->damage) {
    case DAMAGE_FRAME_SHORT:
        return CODEC_FRAME_SIZE - 1;
    case DAMAGE_FRAME_MAGIC:
        value[0] = 7;
        break;
    case DAMAGE_SCHEMA_UNKNOWN:
        set_schema(value, NO_SUCH_SCHEMA);
        break;
    case DAMAGE_SCHEMA_OTHER:
        set_schema(value, codec_own_id(to->codec, EVENT_CUSTOMER));
        break;
    case DAMAGE_TRUNCATED:
        return size - 3;
    case DAMAGE_TRAILING:
        value[size] = 0;
        return size + 1;
    case DAMAGE_ENUM:
        value[type_at] = 2 * 9; /* there are three */
        break;
    case DAMAGE_UTF8:
        value[id_at + 2] = (char)0xff;
        break;
    case DAMAGE_LENGTH: /* says that the id has 2^34 bytes */
        memcpy(value + CODEC_FRAME_SIZE, "\x80\x80\x80\x80\x80\x01", 6);
        break;
    default:
        assert(made->damage == DAMAGE_NONE);
    }
    return size;
}

static enum ll_status topics_transaction(void *self, const struct made *made, struct placed *ret,
                                         struct ll_err *err)
{
    struct to_topics *to = self;
    struct line lines[MADE_LINES_MAX];
    struct event event = event_of(made, lines);
    size_t size = codec_write(to->codec, &event, to->value, sizeof to->value - 1);
    assert(size > 0);
    size = damage(to, made, size);
    const struct transaction *transaction = &event.transaction;
    struct text key = transaction->customer_id.data != NULL ? transaction->customer_id
                      : transaction->original_transaction_id.data != NULL
                          ? transaction->original_transaction_id
                          : transaction->transaction_id;
    if (to->sent >= to->due)
        to->due = pace_wait(&to->pace, to->sent);
    to->sent++;
    return send(to, TOPIC_TRANSACTIONS, key, size, ret, err);
}

static void topics_close(void *self)
{
    struct to_topics *to = self;
    if (to->producer.ops != NULL)
        to->producer.ops->close(to->producer.self);
    codec_free(to->codec);
    free(to);
}

static const struct sink_ops OPS = { topics_reference, topics_settle, topics_transaction, topics_flush,
                                     topics_close };

enum ll_status sink_topics_open(const struct generate_options *options, const struct config *config,
                                struct sink *ret, struct ll_err *err)
{
    struct to_topics *to = calloc(1, sizeof *to);
    if (to == NULL)
        abort();
    to->config = config;
    to->rate_per_s = options->rate_per_s;
    char path[2 * CONFIG_TEXT_SIZE];
    enum ll_status status =
        codec_new(config_share_path(config, "schemas", path, sizeof path), NULL, &to->codec, err);
    if (status == LL_OK)
        status = kafka_producer_open(config, NULL, &to->producer, err);
    if (status != LL_OK) {
        topics_close(to);
        return status;
    }
    *ret = (struct sink){ &OPS, to };
    return LL_OK;
}
