#include "consumers/validate/loop.h"

#include "runtime/log.h"

#include <assert.h>
#include <stdlib.h>

static bool is_raw(enum topic topic)
{
    return topic != TOPIC_TRANSACTIONS_RETRY;
}

static bool is_reference(enum topic topic)
{
    return topic != TOPIC_TRANSACTIONS_RETRY && topic != TOPIC_TRANSACTIONS;
}

/* A partition is paused while too much waits, or while its breaker is open. Only what we paused is ever
 * resumed. */
static enum ll_status pause_as_due(struct validate *v, struct part *part, struct ll_err *err)
{
    bool pause = part->is_full || (is_raw(part->topic) && part->breaker.open);
    if (!part->started || pause == part->is_paused)
        return LL_OK;
    enum ll_status status =
        v->needs.consumer.ops->pause(v->needs.consumer.self, part->topic, part->partition, pause, err);
    if (status == LL_OK)
        part->is_paused = pause;
    return status;
}

void parts_init(struct validate *v)
{
    const struct config *config = v->needs.config;
    size_t total = 0;
    for (size_t i = 0; i < VALIDATE_TOPIC_COUNT; i++) {
        enum topic topic = VALIDATE_TOPICS[i];
        int32_t count = v->needs.topics->facts[topic].partitions;
        assert(count > 0); /* topics.conf was checked */
        v->parts[topic] = calloc((size_t)count, sizeof(struct part));
        if (v->parts[topic] == NULL)
            abort();
        total += (size_t)count;
        for (int32_t partition = 0; partition < count; partition++) {
            struct part *part = &v->parts[topic][partition];
            part->topic = topic;
            part->partition = partition;
            part->next = part->committed = -1;
            if (is_raw(topic))
                breaker_init(&part->breaker, config->validate.refused_window, config->validate.refused_min,
                             config->validate.refused_percent);
        }
    }
    assert(total > 0);
    v->positions = calloc(total, sizeof *v->positions);
    if (v->positions == NULL)
        abort();
}

static void waiting_drop(struct validate *v, struct part *part)
{
    while (part->waiting_count > 0) {
        v->needs.consumer.ops->release(v->needs.consumer.self, &part->waiting[part->waiting_first]);
        part->waiting_first = (part->waiting_first + 1) % PART_WAITING_MAX;
        part->waiting_count--;
    }
    free(part->waiting);
    part->waiting = NULL;
    part->waiting_first = 0;
}

void parts_done(struct validate *v)
{
    for (size_t i = 0; i < VALIDATE_TOPIC_COUNT; i++) {
        enum topic topic = VALIDATE_TOPICS[i];
        for (int32_t p = 0; v->parts[topic] != NULL && p < v->needs.topics->facts[topic].partitions; p++) {
            waiting_drop(v, &v->parts[topic][p]);
            breaker_done(&v->parts[topic][p].breaker);
        }
        free(v->parts[topic]);
        v->parts[topic] = NULL;
    }
    free(v->positions);
    v->positions = NULL;
}

struct part *part_of(struct validate *v, enum topic topic, int32_t partition)
{
    if (topic >= TOPIC_COUNT || v->parts[topic] == NULL || partition < 0 ||
        partition >= v->needs.topics->facts[topic].partitions)
        return NULL;
    struct part *part = &v->parts[topic][partition];
    return part->owned ? part : NULL;
}

struct part *part_next(struct validate *v, struct part *part)
{
    size_t i = 0;
    int32_t partition = 0;
    if (part != NULL) {
        while (VALIDATE_TOPICS[i] != part->topic)
            i++;
        partition = part->partition + 1;
    }
    for (; i < VALIDATE_TOPIC_COUNT; i++, partition = 0)
        for (; partition < v->needs.topics->facts[VALIDATE_TOPICS[i]].partitions; partition++)
            if (v->parts[VALIDATE_TOPICS[i]][partition].owned)
                return &v->parts[VALIDATE_TOPICS[i]][partition];
    return NULL;
}

enum ll_status parts_assign(struct validate *v, const struct bus_position *changed, size_t count,
                            struct ll_err *err)
{
    parts_revoke(v);
    isolate_keep(v->needs.isolate, changed, count);
    for (size_t i = 0; i < count; i++) {
        enum topic topic = changed[i].topic;
        int32_t partition = changed[i].partition;
        if (v->parts[topic] == NULL || partition >= v->needs.topics->facts[topic].partitions)
            return ll_fail(err, LL_FATAL,
                           "topic %s has a partition %d on the broker, topics.conf says %d: set it there, or "
                           "use another "
                           "cluster; a run's partitions are fixed",
                           topic_name(topic), partition, v->needs.topics->facts[topic].partitions);
        struct part *part = &v->parts[topic][partition];
        /* On a second assignment the client still knows the position of the first. */
        part->believe_position = !part->used;
        part->used = true;
        part->next = part->committed = -1;
        part->owned = true;
        part->log_ms = part->tick_ms = 0;
        part->rules_told = part->rules_telling = 0;
    }
    return LL_OK;
}

void parts_revoke(struct validate *v)
{
    for (struct part *part = part_next(v, NULL); part != NULL; part = part_next(v, part)) {
        waiting_drop(v, part);
        isolate_drop(v->needs.isolate, part->topic, part->partition);
        part->owned = part->started = part->is_full = false;
    }
}

void parts_forget(struct validate *v)
{
    isolate_release(v->needs.isolate);
    for (struct part *part = part_next(v, NULL); part != NULL; part = part_next(v, part)) {
        waiting_drop(v, part);
        part->believe_position = part->believe_position && !part->started;
        part->is_full = false;
        part->next = part->committed;
        part->rules_telling = part->rules_told;
        if (is_raw(part->topic) && !part->breaker.open)
            breaker_forget(&part->breaker); /* the same records come again */
    }
}

enum ll_status parts_start(struct validate *v, bool references_only, struct ll_err *err)
{
    size_t count = 0;
    int64_t now_ms = steady_ms(v);
    for (struct part *part = part_next(v, NULL); part != NULL; part = part_next(v, part)) {
        part->started = !references_only || is_reference(part->topic);
        part->last_record_ms = part->tick_due_ms = now_ms;
        if (part->started)
            v->positions[count++] = (struct bus_position){part->topic, part->partition, BUS_COMMITTED};
    }
    enum ll_status status = v->needs.consumer.ops->start(v->needs.consumer.self, v->positions, count, err);
    for (struct part *part = part_next(v, NULL); status == LL_OK && part != NULL; part = part_next(v, part)) {
        part->is_paused = false;
        status = pause_as_due(v, part, err);
    }
    return status;
}

static enum ll_status hold_back(struct validate *v, struct part *part, struct bus_record *record,
                                struct ll_err *err)
{
    if (part->waiting == NULL) {
        part->waiting = malloc(PART_WAITING_MAX * sizeof *part->waiting);
        if (part->waiting == NULL)
            abort();
    }
    assert(part->waiting_count < PART_WAITING_MAX);
    part->waiting[(part->waiting_first + part->waiting_count++) % PART_WAITING_MAX] = *record;
    part->is_full = part->is_full || part->waiting_count == PART_WAITING_MAX;
    return pause_as_due(v, part, err);
}

enum ll_status part_take(struct validate *v, struct part *part, struct bus_record *record, struct ll_err *err)
{
    bool wait = part->waiting_count > 0; /* a partition is decided in its order */
    enum ll_status status = LL_OK;
    if (record->timestamp_ms > part->log_ms)
        part->log_ms = record->timestamp_ms;
    if (!wait)
        status = judge_record(v, part, record, &wait, err);
    if (status == LL_OK && wait)
        return hold_back(v, part, record, err);
    if (status == LL_OK) {
        part->next = record->offset + 1;
        part->believe_position = true;
    }
    v->needs.consumer.ops->release(v->needs.consumer.self, record);
    return status;
}

static enum ll_status retry_one(struct validate *v, struct part *part, struct ll_err *err)
{
    while (part->waiting_count > 0 && v->record_count < batch_most(v)) {
        struct bus_record *record = &part->waiting[part->waiting_first];
        bool wait = false;
        enum ll_status status = judge_record(v, part, record, &wait, err);
        if (status != LL_OK || wait)
            return status;
        v->record_count++;
        part->next = record->offset + 1;
        part->waiting_first = (part->waiting_first + 1) % PART_WAITING_MAX;
        part->waiting_count--;
        v->needs.consumer.ops->release(v->needs.consumer.self, record);
    }
    if (part->waiting_count == 0)
        waiting_drop(v, part);
    part->is_full = part->is_full && part->waiting_count > PART_WAITING_MAX / 2;
    return pause_as_due(v, part, err);
}

enum ll_status parts_retry(struct validate *v, struct ll_err *err)
{
    enum { RETRY_MS = 200 };
    int64_t now_ms = steady_ms(v);
    if (now_ms < v->retry_due_ms && !v->news)
        return LL_OK;
    v->retry_due_ms = now_ms + RETRY_MS;
    v->news = false;
    for (struct part *part = part_next(v, NULL); part != NULL; part = part_next(v, part)) {
        if (part->waiting_count == 0)
            continue;
        enum ll_status status = retry_one(v, part, err);
        if (status != LL_OK)
            return status;
    }
    return LL_OK;
}

size_t parts_positions(struct validate *v)
{
    size_t count = 0;
    for (struct part *part = part_next(v, NULL); part != NULL; part = part_next(v, part)) {
        int64_t next = part->next;
        if (!part->started)
            continue;
        /* With nothing held back, all that was polled is decided, and transaction markers behind it are too.
         */
        if (part->waiting_count == 0 && part->believe_position) {
            int64_t position =
                v->needs.consumer.ops->position(v->needs.consumer.self, part->topic, part->partition);
            next = position > next ? position : next;
        }
        if (next >= 0 && next > part->committed)
            v->positions[count++] = (struct bus_position){part->topic, part->partition, next};
    }
    return count;
}

void parts_committed(struct validate *v, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct part *part = part_of(v, v->positions[i].topic, v->positions[i].partition);
        assert(part != NULL);
        part->committed = part->next = v->positions[i].offset;
        isolate_settle(v->needs.isolate, part->topic, part->partition, part->committed);
    }
}

enum ll_status part_refused_too_much(struct validate *v, struct part *part, struct ll_err *err)
{
    part->opened_ms = wall_ms(v);
    log_line(LOG_ERROR, "partition_paused",
             "topic=%s partition=%d refused=%u of=%u next=\"lens dlq stats, then lens resume %s/%d\"",
             topic_name(part->topic), part->partition, part->breaker.heard.refused, part->breaker.heard.seen,
             topic_name(part->topic), part->partition);
    /* What it holds back is no suspect any more: the others would go through theirs step by step until an operator comes. */
    isolate_drop(v->needs.isolate, part->topic, part->partition);
    return pause_as_due(v, part, err);
}

enum ll_status parts_resume(struct validate *v, enum topic topic, int32_t partition, int64_t time_ms,
                            struct ll_err *err)
{
    /* Of others' partitions, too: one that was ours when it was paused may come back. */
    enum ll_status status = LL_OK;
    for (size_t i = 0; i < VALIDATE_TOPIC_COUNT; i++)
        for (int32_t p = 0; p < v->needs.topics->facts[VALIDATE_TOPICS[i]].partitions && status == LL_OK; p++) {
            struct part *part = &v->parts[VALIDATE_TOPICS[i]][p];
            /* A command that is older than the pause was meant for an earlier one. */
            if (!is_raw(part->topic) || !part->breaker.open || time_ms < part->opened_ms ||
                (topic != TOPIC_COUNT && topic != part->topic) || (partition >= 0 && partition != part->partition))
                continue;
            breaker_waive(&part->breaker);
            log_line(LOG_INFO, "partition_resumed", "topic=%s partition=%d", topic_name(part->topic), part->partition);
            status = pause_as_due(v, part, err);
        }
    return status;
}

size_t parts_waiting(struct validate *v)
{
    size_t count = 0;
    for (struct part *part = part_next(v, NULL); part != NULL; part = part_next(v, part))
        count += part->waiting_count;
    return count;
}

size_t parts_paused(struct validate *v)
{
    size_t count = 0;
    for (struct part *part = part_next(v, NULL); part != NULL; part = part_next(v, part))
        count += is_raw(part->topic) && part->breaker.open;
    return count;
}
