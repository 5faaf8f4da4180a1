#include "consumers/validate/feed.h"

#include "runtime/kafka.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* A group whose offsets stand still below the end may have nothing but transaction markers ahead of it, which are in no record's
 * place: after so long that is looked at. */
enum { STANDSTILL_MS = 5000, LOOK_MS = 2000, ANSWER_MS = 5000, PARTITIONS_MAX = 6 * 1024 /* of six topics: topics.c */ };

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
    const struct config *config;
    const struct topics *topics;
    const char *group;
    struct clock_source clock;
    int64_t stands_at;       /* sum of the group's offsets when it was last seen to move */
    int64_t stands_since_ms; /* steady; or when what lies ahead was last looked at */
    int64_t *seen_to; /* of each partition of JUDGED: from the group's offset to here nothing but markers was found */
};

/* What of the raw references lies before the group. */
struct ahead {
    struct bus_position stands[PARTITIONS_MAX]; /* where the group stands; -1: nothing is ahead there */
    struct bus_position ends[PARTITIONS_MAX];
    size_t count;
    int64_t offsets, sum; /* how many lie ahead; of where it stands */
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

static size_t partitions_of(const struct real_feed *feed, const enum topic *which, size_t count,
                            struct bus_position *ret)
{
    size_t at = 0;
    for (size_t t = 0; t < count; t++)
        for (int32_t i = 0; i < feed->topics->facts[which[t]].partitions; i++) {
            assert(at < PARTITIONS_MAX);
            ret[at++] = (struct bus_position){ which[t], i, -1 };
        }
    return at;
}

static enum ll_status feed_mark_end(void *self, struct ll_err *err)
{
    struct real_feed *feed = self;
    struct bus_position ends[PARTITIONS_MAX];
    size_t count = partitions_of(feed, READ, READ_COUNT, ends);
    enum ll_status status = kafka_admin_ends(feed->admin, ends, count, ANSWER_MS, err);
    if (status == LL_OK)
        kafka_reader_mark_ends(feed->reader, ends, count);
    return status;
}

/* Ends are asked first: what arrives in between is not asked for. */
static enum ll_status ask_ahead(struct real_feed *feed, struct ahead *ret, struct ll_err *err)
{
    struct bus_position lows[PARTITIONS_MAX];
    ret->count = partitions_of(feed, JUDGED, JUDGED_COUNT, ret->ends);
    memcpy(ret->stands, ret->ends, ret->count * sizeof *ret->ends);
    memcpy(lows, ret->ends, ret->count * sizeof *ret->ends);
    enum ll_status status = kafka_admin_ends(feed->admin, ret->ends, ret->count, ANSWER_MS, err);
    if (status == LL_OK)
        status = kafka_admin_group_positions(feed->admin, feed->group, ret->stands, ret->count, ANSWER_MS, err);
    bool is_ahead = false, knows_lows = false;
    for (size_t i = 0; status == LL_OK && i < ret->count; i++)
        is_ahead = is_ahead || ret->stands[i].offset < ret->ends[i].offset;
    if (status == LL_OK && is_ahead) { /* what is deleted is not ahead */
        status = kafka_admin_starts(feed->admin, lows, ret->count, ANSWER_MS, err);
        knows_lows = true;
    }
    ret->offsets = ret->sum = 0;
    for (size_t i = 0; status == LL_OK && i < ret->count; i++) {
        int64_t low = knows_lows ? lows[i].offset : 0, stands = ret->stands[i].offset, end = ret->ends[i].offset;
        stands = stands < low ? low : stands;
        ret->sum += stands;
        stands = stands < feed->seen_to[i] ? feed->seen_to[i] : stands;
        ret->offsets += stands < end ? end - stands : 0;
        ret->stands[i].offset = stands < end ? stands : -1;
    }
    return status;
}

/* Reads what lies ahead, up to the first record. If there is none, that is kept: later records lie behind it. */
static enum ll_status look_ahead(struct real_feed *feed, const struct ahead *ahead, bool *ret_markers, struct ll_err *err)
{
    struct kafka_reader *reader = NULL;
    enum ll_status status = kafka_reader_open(feed->config, feed->topics, JUDGED, JUDGED_COUNT, &reader, err);
    if (status != LL_OK)
        return status;
    for (size_t i = 0; i < ahead->count; i++)
        kafka_reader_start_at(reader, ahead->stands[i].topic, ahead->stands[i].partition,
                              ahead->stands[i].offset >= 0 ? ahead->stands[i].offset : ahead->ends[i].offset);
    kafka_reader_mark_ends(reader, ahead->ends, ahead->count);
    int64_t until_ms = feed->clock.steady_ms(feed->clock.self) + LOOK_MS;
    bool has_record = false;
    while (!has_record && !kafka_reader_at_end(reader) && feed->clock.steady_ms(feed->clock.self) < until_ms) {
        struct bus_record record;
        enum bus_event event = kafka_reader_read(reader, 20, &record, err);
        has_record = event == BUS_RECORD;
        if (has_record)
            kafka_reader_release(reader, &record);
        if (event == BUS_BROKEN || event == BUS_DOWN)
            break;
    }
    *ret_markers = !has_record && kafka_reader_at_end(reader);
    for (size_t i = 0; *ret_markers && i < ahead->count; i++)
        feed->seen_to[i] = ahead->ends[i].offset;
    kafka_reader_close(reader);
    return LL_OK;
}

/* No transaction is open on the valid references: all that is in can be read. */
static enum ll_status all_visible(struct real_feed *feed, bool *ret, struct ll_err *err)
{
    struct bus_position ends[PARTITIONS_MAX], visible[PARTITIONS_MAX];
    size_t count = partitions_of(feed, REFERENCES, REFERENCES_COUNT, ends);
    memcpy(visible, ends, count * sizeof *ends);
    enum ll_status status = kafka_admin_ends(feed->all, ends, count, ANSWER_MS, err);
    if (status == LL_OK)
        status = kafka_admin_ends(feed->admin, visible, count, ANSWER_MS, err);
    *ret = true;
    for (size_t i = 0; status == LL_OK && i < count; i++)
        *ret = *ret && visible[i].offset >= ends[i].offset;
    return status;
}

static enum ll_status feed_judged(void *self, bool *ret, struct ll_err *err)
{
    struct real_feed *feed = self;
    struct ahead ahead;
    enum ll_status status = ask_ahead(feed, &ahead, err);
    if (status != LL_OK)
        return status;
    int64_t now_ms = feed->clock.steady_ms(feed->clock.self);
    if (ahead.sum != feed->stands_at || ahead.offsets == 0) {
        feed->stands_at = ahead.sum;
        feed->stands_since_ms = now_ms;
    }
    *ret = ahead.offsets == 0;
    if (!*ret && now_ms - feed->stands_since_ms >= STANDSTILL_MS) {
        feed->stands_since_ms = now_ms;
        status = look_ahead(feed, &ahead, ret, err);
    }
    return status == LL_OK && *ret ? all_visible(feed, ret, err) : status;
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
    free(feed->seen_to);
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
    if (feed == NULL || (feed->seen_to = calloc(PARTITIONS_MAX, sizeof *feed->seen_to)) == NULL)
        abort();
    feed->config = config;
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
