#include "producers/generate/settle.h"

#include "runtime/clock.h"
#include "runtime/kafka.h"

#include <stdbool.h>
#include <stdio.h>
#include <time.h>

enum { ANSWER_MS = 5000, PAUSE_MS = 20, PARTITIONS_MAX = 64 };

static enum ll_status is_judged(struct kafka_admin *admin, const char *group, enum topic topic, bool *ret,
                                struct ll_err *err)
{
    int64_t offsets[PARTITIONS_MAX], low, high;
    int32_t count;
    enum ll_status status = kafka_admin_partitions(admin, topic, &count, ANSWER_MS, err);
    if (status != LL_OK)
        return status;
    if (count > PARTITIONS_MAX)
        return ll_fail(err, LL_FATAL, "topic %s has more than %d partitions", topic_name(topic),
                       PARTITIONS_MAX);
    status = kafka_admin_group_offsets(admin, group, topic, offsets, (size_t)count, ANSWER_MS, err);
    for (int32_t i = 0; status == LL_OK && i < count; i++) {
        status = kafka_admin_watermarks(admin, topic, i, &low, &high, ANSWER_MS, err);
        *ret = *ret && high <= (offsets[i] < low ? low : offsets[i]);
    }
    return status;
}

enum ll_status settle_references(const struct config *config, int timeout_ms, struct ll_err *err)
{
    static const enum topic TOPICS[] = { TOPIC_STORES, TOPIC_PRODUCTS, TOPIC_CUSTOMERS, TOPIC_PROMOTIONS };
    char group[96];
    snprintf(group, sizeof group, "%svalidate", config->kafka.group_prefix);
    struct kafka_admin *admin;
    enum ll_status status = kafka_admin_open(config, &admin, err);
    if (status != LL_OK)
        return status;
    struct clock_source clock = clock_real();
    int64_t until_ms = clock.steady_ms(clock.self) + timeout_ms;
    for (bool judged = false; status == LL_OK && !judged && clock.steady_ms(clock.self) < until_ms;) {
        judged = true;
        for (size_t i = 0; status == LL_OK && judged && i < sizeof TOPICS / sizeof *TOPICS; i++)
            status = is_judged(admin, group, TOPICS[i], &judged, err);
        if (!judged)
            nanosleep(&(struct timespec){ .tv_nsec = PAUSE_MS * 1000000L }, NULL);
    }
    kafka_admin_close(admin);
    return status;
}
