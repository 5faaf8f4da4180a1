#include "consumers/validate/feed.h"

#include "runtime/kafka.h"

#include <stdlib.h>
#include <string.h>

/* A group's offset that stands still for so long below the end has only transaction markers ahead of it. */
enum { STANDSTILL_MS = 10000, ANSWER_MS = 5000, PARTITIONS_MAX = 1024 };

static const enum topic READ[] = {TOPIC_STORES_VALID,     TOPIC_PRODUCTS_VALID, TOPIC_CUSTOMERS_VALID,
                                  TOPIC_PROMOTIONS_VALID, TOPIC_LOYALTY_RULES,  TOPIC_COMMANDS};
static const enum topic JUDGED[] = {TOPIC_STORES, TOPIC_PRODUCTS, TOPIC_CUSTOMERS, TOPIC_PROMOTIONS};
static const enum topic REFERENCES[] = {TOPIC_STORES_VALID, TOPIC_PRODUCTS_VALID, TOPIC_CUSTOMERS_VALID,
                                        TOPIC_PROMOTIONS_VALID};
enum {
    READ_COUNT = sizeof READ / sizeof READ[0],
    JUDGED_COUNT = sizeof JUDGED / sizeof JUDGED[0],
    REFERENCES_COUNT = sizeof REFERENCES / sizeof REFERENCES[0]
};

struct real_feed {
    struct kafka_reader *reader;
    struct kafka_admin *admin, *all; /* sees what is committed; sees all */
    const struct topics *topics;
    const char *group;
    struct clock_source clock;
    int64_t stands_at;       /* sum of the group's offsets when it was last seen to move */
    int64_t stands_since_ms; /* steady */
};

static enum bus_event feed_read(void *self, int timeout_ms, struct bus_record *ret, struct ll_err *err)
{
    struct real_feed *feed = self;
    return kafka_reader_read(feed->reader, timeout_ms, ret, err);
}

static void feed_release(void *self, struct bus_record *record)
{
    struct real_feed *feed = self;
    kafka_reader_release(feed->reader, record);
}

static bool feed_at_end(void *self)
{
    struct real_feed *feed = self;
    return kafka_reader_at_end(feed->reader);
}

static enum ll_status feed_mark_end(void *self, struct ll_err *err)
{
    struct real_feed *feed = self;
    return kafka_reader_mark_end(feed->reader, err);
}

/* Adds up what of one topic lies before the group, and where the group stands. Ends are asked first: what
 * arrives in between is not asked for. */
static enum ll_status topic_ahead(struct real_feed *feed, enum topic topic, int64_t *ahead, int64_t *stands,
                                  struct ll_err *err)
{
    int64_t lows[PARTITIONS_MAX], ends[PARTITIONS_MAX], offsets[PARTITIONS_MAX];
    int32_t count = feed->topics->facts[topic].partitions;
    if (count > PARTITIONS_MAX)
        return ll_fail(err, LL_FATAL, "topic %s has %d partitions, more than %d", topic_name(topic), count,
                       PARTITIONS_MAX);
    for (int32_t i = 0; i < count; i++) {
        enum ll_status status =
            kafka_admin_watermarks(feed->admin, topic, i, &lows[i], &ends[i], ANSWER_MS, err);
        if (status != LL_OK)
            return status;
    }
    enum ll_status status =
        kafka_admin_group_offsets(feed->admin, feed->group, topic, offsets, (size_t)count, ANSWER_MS, err);
    for (int32_t i = 0; status == LL_OK && i < count; i++) {
        int64_t stand = offsets[i] < lows[i] ? lows[i] : offsets[i];
        *ahead += stand < ends[i] ? ends[i] - stand : 0;
        *stands += stand;
    }
    return status;
}

/* No transaction is open on the valid references: all that is in can be read. */
static enum ll_status all_visible(struct real_feed *feed, bool *ret, struct ll_err *err)
{
    *ret = true;
    for (int t = 0; t < REFERENCES_COUNT && *ret; t++)
        for (int32_t i = 0; i < feed->topics->facts[REFERENCES[t]].partitions && *ret; i++) {
            int64_t low, end, visible;
            enum ll_status status = kafka_admin_watermarks(feed->all, REFERENCES[t], i, &low, &end, ANSWER_MS, err);
            if (status == LL_OK)
                status = kafka_admin_watermarks(feed->admin, REFERENCES[t], i, &low, &visible, ANSWER_MS, err);
            if (status != LL_OK)
                return status;
            *ret = visible >= end;
        }
    return LL_OK;
}

static enum ll_status feed_judged(void *self, bool *ret, struct ll_err *err)
{
    struct real_feed *feed = self;
    int64_t ahead = 0, stands = 0;
    for (int i = 0; i < JUDGED_COUNT; i++) {
        enum ll_status status = topic_ahead(feed, JUDGED[i], &ahead, &stands, err);
        if (status != LL_OK)
            return status;
    }
    int64_t now_ms = feed->clock.steady_ms(feed->clock.self);
    if (stands != feed->stands_at || ahead == 0) {
        feed->stands_at = stands;
        feed->stands_since_ms = now_ms;
    }
    *ret = ahead == 0 || now_ms - feed->stands_since_ms >= STANDSTILL_MS;
    return *ret ? all_visible(feed, ret, err) : LL_OK;
}

static void feed_close(void *self)
{
    struct real_feed *feed = self;
    if (feed == NULL)
        return;
    if (feed->reader != NULL)
        kafka_reader_close(feed->reader);
    if (feed->admin != NULL)
        kafka_admin_close(feed->admin);
    if (feed->all != NULL)
        kafka_admin_close(feed->all);
    free(feed);
}

static const struct feed_ops OPS = {
    .read = feed_read,
    .release = feed_release,
    .at_end = feed_at_end,
    .mark_end = feed_mark_end,
    .judged = feed_judged,
    .close = feed_close,
};

enum ll_status feed_open(const struct config *config, const struct topics *topics, const char *group,
                         struct clock_source clock, struct feed *ret, struct ll_err *err)
{
    struct real_feed *feed = calloc(1, sizeof *feed);
    if (feed == NULL)
        abort();
    feed->topics = topics;
    feed->group = group;
    feed->clock = clock;
    feed->stands_at = -1;
    feed->stands_since_ms = clock.steady_ms(clock.self);
    enum ll_status status = kafka_admin_open(config, &feed->admin, err);
    if (status == LL_OK)
        status = kafka_admin_open_uncommitted(config, &feed->all, err);
    if (status == LL_OK)
        status = kafka_reader_open(config, topics, READ, READ_COUNT, &feed->reader, err);
    if (status != LL_OK) {
        feed_close(feed);
        return status;
    }
    *ret = (struct feed){.ops = &OPS, .self = feed};
    return LL_OK;
}
