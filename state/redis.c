#include "state/redis.h"

#include "state/decimal.h"
#include "state/postgres_link.h"
#include "state/redis_link.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct redis {
    struct config config;
    struct redis_link link;
};

enum ll_status redis_open(const struct config *config, struct redis **ret, struct ll_err *err)
{
    struct redis *redis = calloc(1, sizeof *redis);
    if (redis == NULL)
        abort();
    redis->config = *config;
    redis->link.config = &redis->config;
    enum ll_status status = postgres_status_of(redis_link_open(&redis->link, err));
    if (status != LL_OK) {
        redis_close(redis);
        return status;
    }
    *ret = redis;
    return LL_OK;
}

void redis_close(struct redis *redis)
{
    if (redis == NULL)
        return;
    redis_link_drop(&redis->link);
    free(redis);
}

/* Connects first where the link was lost. */
static enum ll_status ask(struct redis *redis, int argc, const char **argv, const size_t *sizes,
                          const char *doing, redisReply **ret, struct ll_err *err)
{
    enum store_reply done = redis_link_open(&redis->link, err);
    if (done == STORE_OK)
        done = redis_link_run(&redis->link, argc, argv, sizes, doing, ret, err);
    return postgres_status_of(done);
}

enum ll_status redis_ping(const struct config *config, struct ll_err *err)
{
    struct redis *redis = NULL;
    redisReply *reply = NULL;
    enum ll_status status = redis_open(config, &redis, err);
    if (status == LL_OK)
        status = ask(redis, 1, (const char *[]){ "PING" }, (size_t[]){ 4 }, "asking whether it is there",
                     &reply, err);
    if (status == LL_OK)
        freeReplyObject(reply);
    redis_close(redis);
    return status;
}

/* A string reply that must hold a number; none: *ret_found false. */
static enum ll_status number(const redisReply *reply, const char *what, int64_t *ret, bool *ret_found,
                             struct ll_err *err)
{
    *ret_found = false;
    if (reply->type == REDIS_REPLY_NIL)
        return LL_OK;
    if (reply->type != REDIS_REPLY_STRING || !decimal_read(reply->str, (size_t)reply->len, ret))
        return ll_fail(err, LL_FATAL, "redis: %s is no number", what);
    *ret_found = true;
    return LL_OK;
}

enum ll_status redis_mark(struct redis *redis, int32_t run, int32_t partition, int64_t *ret_epoch,
                          int64_t *ret_next, struct ll_err *err)
{
    char key[REDIS_KEY_SIZE];
    redis_link_meta_key(run, partition, key);
    redisReply *reply = NULL;
    const char *argv[] = { "HMGET", key, "epoch", "next" };
    const size_t sizes[] = { 5, strlen(key), 5, 4 };
    enum ll_status status = ask(redis, 4, argv, sizes, "reading a watermark", &reply, err);
    if (status != LL_OK)
        return status;
    assert(reply != NULL);
    bool has_epoch = false, has_next = false;
    if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 2)
        status = ll_fail(err, LL_FATAL, "redis: %s is no watermark", key);
    *ret_epoch = *ret_next = -1;
    if (status == LL_OK)
        status = number(reply->element[0], key, ret_epoch, &has_epoch, err);
    if (status == LL_OK)
        status = number(reply->element[1], key, ret_next, &has_next, err);
    freeReplyObject(reply);
    return status;
}

enum ll_status redis_balance(struct redis *redis, int32_t run, int32_t partition, struct text customer_id,
                             int64_t *ret_points, bool *ret_found, struct ll_err *err)
{
    char key[REDIS_KEY_SIZE];
    redis_link_balance_key(run, partition, key);
    redisReply *reply = NULL;
    const char *argv[] = { "HGET", key, customer_id.data };
    const size_t sizes[] = { 4, strlen(key), customer_id.size };
    enum ll_status status = ask(redis, 3, argv, sizes, "reading a balance", &reply, err);
    if (status != LL_OK)
        return status;
    assert(reply != NULL);
    *ret_points = 0;
    status = number(reply, key, ret_points, ret_found, err);
    freeReplyObject(reply);
    return status;
}

/* One page of HSCAN: the cursor, then field, value, field, value ... */
static enum ll_status page(const redisReply *reply, const char *key, char cursor[32],
                           void (*each)(void *arg, struct text customer_id, int64_t points), void *arg,
                           struct ll_err *err)
{
    if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 2 ||
        reply->element[0]->type != REDIS_REPLY_STRING || reply->element[1]->type != REDIS_REPLY_ARRAY ||
        reply->element[1]->elements % 2 != 0)
        return ll_fail(err, LL_FATAL, "redis: HSCAN %s gave something else", key);
    snprintf(cursor, 32, "%s", reply->element[0]->str);
    for (size_t at = 0; at < reply->element[1]->elements; at += 2) {
        const redisReply *field = reply->element[1]->element[at];
        int64_t points = 0;
        bool found = false;
        enum ll_status status = number(reply->element[1]->element[at + 1], key, &points, &found, err);
        if (status != LL_OK)
            return status;
        each(arg, (struct text){ field->str, (uint32_t)field->len }, points);
    }
    return LL_OK;
}

enum ll_status redis_balances(struct redis *redis, int32_t run, int32_t partition,
                              void (*each)(void *arg, struct text customer_id, int64_t points), void *arg,
                              struct ll_err *err)
{
    char key[REDIS_KEY_SIZE], cursor[32] = "0";
    redis_link_balance_key(run, partition, key);
    enum ll_status status = LL_OK;
    do {
        redisReply *reply = NULL;
        const char *argv[] = { "HSCAN", key, cursor, "COUNT", "2000" };
        const size_t sizes[] = { 5, strlen(key), strlen(cursor), 5, 4 };
        status = ask(redis, 5, argv, sizes, "reading balances", &reply, err);
        if (status == LL_OK) {
            status = page(reply, key, cursor, each, arg, err);
            freeReplyObject(reply);
        }
    } while (status == LL_OK && strcmp(cursor, "0") != 0);
    return status;
}
