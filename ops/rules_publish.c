#include "ops/rules.h"

#include "consumers/accrue/rules.h"
#include "ops/files.h"
#include "runtime/clock.h"
#include "runtime/kafka.h"
#include "runtime/topics.h"
#include "schemas/codec.h"
#include "state/postgres.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum { ANNOUNCE_TIMEOUT_MS = 30000, POLL_MS = 200, DOCUMENT_SIZE = EVENT_DOCUMENT_SIZE_MAX + 1 };

/* The highest version that was ever announced; versions are announced in order. */
static enum ll_status announced_version(const struct config *config, const struct topics *topics,
                                        struct codec *codec, int32_t *ret, struct ll_err *err)
{
    static const enum topic TOPICS[] = { TOPIC_LOYALTY_RULES };
    struct kafka_reader *reader;
    enum ll_status status = kafka_reader_open(config, topics, TOPICS, 1, &reader, err);
    if (status != LL_OK)
        return status;
    struct codec_scratch *scratch = codec_scratch_new();
    struct clock_source clock = clock_real();
    int64_t until_ms = clock.steady_ms(clock.self) + ANNOUNCE_TIMEOUT_MS;
    *ret = 0;
    while (status == LL_OK && !kafka_reader_at_end(reader)) {
        struct bus_record record;
        enum bus_event event = kafka_reader_read(reader, POLL_MS, &record, err);
        if (event == BUS_RECORD) {
            struct event rules;
            enum code code;
            if (codec_read(codec, EVENT_LOYALTY_RULES, record.value, scratch, &rules, &code, NULL) == LL_OK &&
                rules.loyalty_rules.version > *ret)
                *ret = rules.loyalty_rules.version;
            kafka_reader_release(reader, &record);
        } else if (event == BUS_BROKEN) {
            status = LL_FATAL;
        } else if (clock.steady_ms(clock.self) > until_ms) {
            status = event == BUS_DOWN
                         ? LL_RETRY
                         : ll_fail(err, LL_RETRY, "kafka %s: topic %s was not read to its end in %d s",
                                   config->kafka.bootstrap, topic_name(TOPIC_LOYALTY_RULES),
                                   ANNOUNCE_TIMEOUT_MS / 1000);
        }
    }
    codec_scratch_free(scratch);
    kafka_reader_close(reader);
    return status;
}

static enum ll_status send_rules(struct bus_producer *producer, const struct codec *codec,
                                 const struct loyalty_rules *rules, struct ll_err *err)
{
    struct event event = { .kind = EVENT_LOYALTY_RULES, .loyalty_rules = *rules };
    size_t capacity = codec_size_max(&event);
    char *value = malloc(capacity);
    if (value == NULL)
        abort();
    size_t size = codec_write(codec, &event, value, capacity);
    struct bus_out out = { .topic = TOPIC_LOYALTY_RULES, .partition = 0, .value = { value, (uint32_t)size } };
    enum ll_status status = producer->ops->send(producer->self, &out, err);
    free(value);
    return status;
}

/* Announces every stored version after the last announced one. */
static enum ll_status announce_from(const struct config *config, struct postgres *postgres,
                                    struct codec *codec, int32_t after, struct ll_err *err)
{
    char version[16];
    snprintf(version, sizeof version, "%" PRId32, after);
    const char *params[] = { version };
    struct postgres_rows *rows = NULL;
    /* -infinity has no milliseconds: the smallest number there is stands for it. */
    enum ll_status status =
        postgres_query(postgres,
                       "select version, document,"
                       " case when effective_from = '-infinity' then (-9223372036854775808)::int8"
                       " else (extract(epoch from effective_from) * 1000)::int8 end as effective_from_ms,"
                       " (extract(epoch from published_at) * 1000)::int8 as published_at_ms"
                       " from loyalty.rules where version > $1::int4 order by version",
                       params, 1, &rows, err);
    if (status != LL_OK)
        return status;
    struct bus_producer producer = { NULL, NULL };
    if (postgres_rows_count(rows) > 0)
        status = kafka_producer_open(config, NULL, &producer, err);
    for (size_t row = 0; status == LL_OK && row < postgres_rows_count(rows); row++) {
        struct loyalty_rules rules = { .version = (int32_t)postgres_rows_int(rows, row, "version"),
                                       .effective_from_ms = postgres_rows_int(rows, row, "effective_from_ms"),
                                       .published_at_ms = postgres_rows_int(rows, row, "published_at_ms"),
                                       .document = postgres_rows_text(rows, row, "document") };
        status = send_rules(&producer, codec, &rules, err);
    }
    if (status == LL_OK && producer.ops != NULL)
        status = producer.ops->flush(producer.self, ANNOUNCE_TIMEOUT_MS, err);
    if (producer.ops != NULL)
        producer.ops->close(producer.self);
    postgres_rows_free(rows);
    return status;
}

static enum ll_status announce(const struct config *config, struct postgres *postgres, int32_t latest,
                               bool *ret_was_announced, struct ll_err *err)
{
    char path[2 * CONFIG_TEXT_SIZE];
    struct topics topics;
    enum ll_status status =
        topics_load(config_share_path(config, "topics.conf", path, sizeof path), &topics, err);
    if (status != LL_OK)
        return status;
    struct codec *codec;
    status = codec_new(config_share_path(config, "schemas", path, sizeof path), NULL, &codec, err);
    if (status != LL_OK)
        return status;
    int32_t announced = 0;
    status = announced_version(config, &topics, codec, &announced, err);
    *ret_was_announced = announced >= latest;
    if (status == LL_OK && announced < latest)
        status = announce_from(config, postgres, codec, announced, err);
    codec_free(codec);
    return status;
}

/* One statement is one transaction; two that meet collide in the primary key. The document's own words tell
 * when it begins. */
static enum ll_status store(struct postgres *postgres, const char *document, const char *effective_from,
                            bool only_first, struct rules_published *ret, struct ll_err *err)
{
    const char *params[] = { document, effective_from, only_first ? "true" : "false" };
    struct postgres_rows *rows = NULL;
    enum ll_status status = postgres_query(
        postgres,
        "with latest as (select version, document from loyalty.rules order by version desc limit 1),"
        " added as (insert into loyalty.rules (version, effective_from, document, sha256)"
        "  select coalesce((select version from latest), 0) + 1, $2::timestamptz, $1::text,"
        "   encode(sha256(convert_to($1::text, 'UTF8')), 'hex')"
        "  where not exists (select from latest where document = $1::text or $3::bool) returning version)"
        " select coalesce((select version from added), (select version from latest)) as version,"
        "  (select count(*) from added) as added",
        params, 3, &rows, err);
    if (status != LL_OK)
        return ll_wrap(err, status, "storing the rule set in loyalty.rules");
    ret->version = (int32_t)postgres_rows_int(rows, 0, "version");
    ret->is_new = postgres_rows_int(rows, 0, "added") != 0;
    postgres_rows_free(rows);
    return LL_OK;
}

static enum ll_status publish(const struct config *config, const char *document, bool only_first,
                              struct rules_published *ret, struct ll_err *err)
{
    struct rule_set *rules;
    enum ll_status status = rules_parse(document, strlen(document), "rule set", &rules, err);
    if (status != LL_OK)
        return status;
    char effective_from[40] = "-infinity";
    if (rules_effective_from_ms(rules) != RULES_ALWAYS)
        clock_format(rules_effective_from_ms(rules), effective_from, sizeof effective_from);
    rules_free(rules);
    struct postgres *postgres;
    status = postgres_open(config, "lens-rules", &postgres, err);
    if (status != LL_OK)
        return status;
    status = store(postgres, document, effective_from, only_first, ret, err);
    if (status == LL_OK) {
        status = announce(config, postgres, ret->version, &ret->was_announced, err);
        if (status != LL_OK)
            ll_wrap(err, status, "version %" PRId32 " is stored, but not announced; publish it again",
                    ret->version);
    }
    postgres_close(postgres);
    return status;
}

enum ll_status rules_publish(const struct config *config, const char *document, struct rules_published *ret,
                             struct ll_err *err)
{
    return publish(config, document, false, ret, err);
}

enum ll_status rules_ensure_default(const struct config *config, struct ll_err *err)
{
    char path[2 * CONFIG_TEXT_SIZE];
    config_share_path(config, "deploy/rules/default.conf", path, sizeof path);
    char *document = malloc(DOCUMENT_SIZE);
    if (document == NULL)
        abort();
    struct rules_published published;
    enum ll_status status = LL_OK;
    if (file_read(path, document, DOCUMENT_SIZE) < 0)
        status = ll_fail(err, LL_FATAL, "%s: cannot be read: it belongs to the installation", path);
    if (status == LL_OK)
        status = publish(config, document, true, &published, err);
    free(document);
    return status;
}
