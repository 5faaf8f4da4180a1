/*
 * The ranks in Redis follow the commits, for as long as it keeps up: a small commit is written as it is, after a large one (or
 * where Redis has forgotten, or was away) all of it is written again once nothing else is to be done. Redis down is no reason to
 * wait: nothing is decided from it.
 */
#include "consumers/segment/segment.h"

#include "runtime/log.h"

#include <stdlib.h>

enum { SMALL = 5000, LOOK_MS = 1000, CHUNK = 5000 };

static void stale(struct segment *segment, const struct ll_err *err)
{
    if (segment->ranks_current)
        log_line(LOG_INFO, "ranks_stale", "cause=%s", log_quote_c(err->text));
    segment->ranks_current = false;
    segment->ranks_look_ms = segment_steady_ms(segment) + LOOK_MS;
}

static struct segment_rank rank_of(const struct engine *engine, uint32_t at)
{
    return (struct segment_rank){ engine->list[at].id, engine->monetary[at] };
}

void segment_ranks_follow(struct segment *segment)
{
    struct ll_err err = { "the commit is large" };
    const struct engine *engine = &segment->engine;
    int64_t before = segment->commits++, epoch = segment->owner.epoch;
    if (segment->needs.ranks == NULL || !segment->ranks_current)
        return;
    if (engine->dirty_count > SMALL) {
        stale(segment, &err);
        return;
    }
    struct segment_rank *list = malloc((size_t)SMALL * sizeof *list);
    if (list == NULL)
        abort();
    for (uint32_t at = 0; at < engine->dirty_count; at++)
        list[at] = rank_of(engine, engine->dirty[at]);
    enum store_reply reply = segment_ranks_check(segment->needs.ranks, epoch, before, &err);
    if (reply == STORE_OK)
        reply = segment_ranks_put(segment->needs.ranks, list, engine->dirty_count, &err);
    if (reply == STORE_OK)
        reply = segment_ranks_mark(segment->needs.ranks, epoch, segment->commits, &err);
    free(list);
    if (reply != STORE_OK)
        stale(segment, &err);
}

static enum store_reply rebuild(struct segment *segment, struct ll_err *err)
{
    const struct engine *engine = &segment->engine;
    struct segment_rank *list = malloc((size_t)CHUNK * sizeof *list);
    if (list == NULL)
        abort();
    enum store_reply reply = segment_ranks_reset(segment->needs.ranks, err);
    for (uint32_t from = 0; from < engine->count && reply == STORE_OK; from += CHUNK) {
        size_t count = 0;
        for (uint32_t at = from; at < engine->count && count < CHUNK; at++)
            list[count++] = rank_of(engine, at);
        reply = segment_ranks_put(segment->needs.ranks, list, count, err);
    }
    if (reply == STORE_OK)
        reply = segment_ranks_mark(segment->needs.ranks, segment->owner.epoch, segment->commits, err);
    free(list);
    return reply;
}

void segment_ranks_idle(struct segment *segment)
{
    struct ll_err err = { "" };
    if (segment->needs.ranks == NULL || segment_steady_ms(segment) < segment->ranks_look_ms)
        return;
    segment->ranks_look_ms = segment_steady_ms(segment) + LOOK_MS;
    if (segment->ranks_current &&
        segment_ranks_check(segment->needs.ranks, segment->owner.epoch, segment->commits, &err) == STORE_OK)
        return;
    if (segment->ranks_current)
        stale(segment, &err);
    if (rebuild(segment, &err) != STORE_OK)
        return;
    segment->ranks_current = true;
    log_line(LOG_INFO, "ranks_built", "customers=%u", segment->engine.count);
}
