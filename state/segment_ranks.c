#include "state/segment_ranks.h"

#include "state/postgres_link.h"
#include "state/redis_link.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CHUNK = 512, NUMBER_SIZE = 24 };

struct segment_ranks {
    struct config config;
    struct redis_link link;
    char key[REDIS_KEY_SIZE], mark[REDIS_KEY_SIZE];
};

static void name_keys(struct segment_ranks *ranks)
{
    snprintf(ranks->key, sizeof ranks->key, "ll:{r%d.segments}:monetary", ranks->config.program.run);
    snprintf(ranks->mark, sizeof ranks->mark, "ll:{r%d.segments}:mark", ranks->config.program.run);
}

void segment_ranks_open(const struct config *config, struct segment_ranks **ret)
{
    struct segment_ranks *ranks = calloc(1, sizeof *ranks);
    if (ranks == NULL)
        abort();
    ranks->config = *config;
    ranks->link.config = &ranks->config;
    name_keys(ranks);
    *ret = ranks;
}

void segment_ranks_close(struct segment_ranks *ranks)
{
    if (ranks == NULL)
        return;
    redis_link_drop(&ranks->link);
    free(ranks);
}

static enum store_reply run(struct segment_ranks *ranks, int argc, const char **argv, const char *doing,
                            redisReply **ret, struct ll_err *err)
{
    redisReply *reply = NULL;
    enum store_reply done = redis_link_open(&ranks->link, err);
    if (done == STORE_OK)
        done = redis_link_run(&ranks->link, argc, argv, NULL, doing, &reply, err);
    if (done == STORE_OK && ret != NULL)
        *ret = reply;
    else if (done == STORE_OK)
        freeReplyObject(reply);
    return done;
}

enum store_reply segment_ranks_reset(struct segment_ranks *ranks, struct ll_err *err)
{
    return run(ranks, 3, (const char *[]){ "DEL", ranks->mark, ranks->key }, "emptying the ranks", NULL, err);
}

/* One command for those that are in, one for those that are not. */
static void append(struct segment_ranks *ranks, const struct segment_rank *list, size_t count, bool positive,
                   int *commands)
{
    char numbers[CHUNK][NUMBER_SIZE];
    const char *argv[2 + 2 * CHUNK] = { positive ? "ZADD" : "ZREM", ranks->key };
    size_t sizes[2 + 2 * CHUNK] = { 4, strlen(ranks->key) };
    int argc = 2;
    for (size_t at = 0; at < count; at++) {
        if ((list[at].spend_minor > 0) != positive)
            continue;
        if (positive) {
            argv[argc] = numbers[at];
            sizes[argc++] =
                (size_t)snprintf(numbers[at], NUMBER_SIZE, "%lld", (long long)list[at].spend_minor);
        }
        argv[argc] = list[at].customer_id.data;
        sizes[argc++] = list[at].customer_id.size;
    }
    if (argc == 2)
        return;
    redisAppendCommandArgv(ranks->link.context, argc, argv, sizes);
    ++*commands;
}

enum store_reply segment_ranks_put(struct segment_ranks *ranks, const struct segment_rank *list, size_t count,
                                   struct ll_err *err)
{
    enum store_reply done = redis_link_open(&ranks->link, err);
    for (size_t at = 0; at < count && done == STORE_OK; at += CHUNK) {
        int commands = 0;
        size_t size = count - at < CHUNK ? count - at : CHUNK;
        append(ranks, list + at, size, true, &commands);
        append(ranks, list + at, size, false, &commands);
        for (; commands > 0 && done == STORE_OK; commands--) {
            redisReply *reply = NULL;
            if (redisGetReply(ranks->link.context, (void **)&reply) != REDIS_OK)
                return redis_link_fail(&ranks->link, NULL, "writing ranks", err);
            if (reply->type == REDIS_REPLY_ERROR) {
                done = redis_link_fail(&ranks->link, reply, "writing ranks", err);
                redis_link_drop(&ranks->link);
            }
            freeReplyObject(reply);
        }
    }
    return done;
}

static void say_mark(int64_t epoch, int64_t commit, char to[2 * NUMBER_SIZE])
{
    snprintf(to, 2 * NUMBER_SIZE, "%lld/%lld", (long long)epoch, (long long)commit);
}

enum store_reply segment_ranks_check(struct segment_ranks *ranks, int64_t epoch, int64_t commit,
                                     struct ll_err *err)
{
    char wanted[2 * NUMBER_SIZE];
    redisReply *reply = NULL;
    say_mark(epoch, commit, wanted);
    enum store_reply done =
        run(ranks, 2, (const char *[]){ "GET", ranks->mark }, "looking at the ranks", &reply, err);
    if (done != STORE_OK)
        return done;
    bool same = reply->type == REDIS_REPLY_STRING && strcmp(reply->str, wanted) == 0;
    freeReplyObject(reply);
    if (same)
        return STORE_OK;
    ll_fail(err, LL_RETRY, "redis: the ranks are not those that this process wrote");
    return STORE_GAP;
}

enum store_reply segment_ranks_mark(struct segment_ranks *ranks, int64_t epoch, int64_t commit,
                                    struct ll_err *err)
{
    char mark[2 * NUMBER_SIZE];
    say_mark(epoch, commit, mark);
    return run(ranks, 3, (const char *[]){ "SET", ranks->mark, mark }, "marking the ranks", NULL, err);
}

/* ---- for tools ---- */

static enum ll_status read_rank(struct segment_ranks *ranks, int64_t rank, int64_t *ret_minor,
                                struct ll_err *err)
{
    char at[NUMBER_SIZE];
    redisReply *reply = NULL;
    snprintf(at, sizeof at, "%lld", (long long)rank - 1);
    enum store_reply done = run(ranks, 5, (const char *[]){ "ZREVRANGE", ranks->key, at, at, "WITHSCORES" },
                                "reading a rank", &reply, err);
    if (done != STORE_OK)
        return postgres_status_of(done);
    *ret_minor = 0;
    if (reply->type == REDIS_REPLY_ARRAY && reply->elements == 2 &&
        reply->element[1]->type == REDIS_REPLY_STRING)
        *ret_minor = (int64_t)strtod(reply->element[1]->str, NULL);
    freeReplyObject(reply);
    return LL_OK;
}

enum ll_status segment_ranks_read(const struct config *config, int64_t *ret_count,
                                  int64_t *ret_threshold_minor, struct ll_err *err)
{
    struct segment_ranks *ranks = NULL;
    redisReply *reply = NULL;
    segment_ranks_open(config, &ranks);
    *ret_count = -1;
    *ret_threshold_minor = 0;
    enum ll_status status = postgres_status_of(
        run(ranks, 2, (const char *[]){ "EXISTS", ranks->mark }, "looking for the ranks", &reply, err));
    bool exists = status == LL_OK && reply->integer == 1;
    if (status == LL_OK)
        freeReplyObject(reply);
    if (exists) {
        status = postgres_status_of(
            run(ranks, 2, (const char *[]){ "ZCARD", ranks->key }, "counting ranks", &reply, err));
        if (status == LL_OK) {
            *ret_count = reply->integer;
            freeReplyObject(reply);
        }
    }
    if (status == LL_OK && *ret_count > 0)
        status = read_rank(ranks, (*ret_count * config->segment.high_spender_percent + 99) / 100,
                           ret_threshold_minor, err);
    segment_ranks_close(ranks);
    return status;
}
