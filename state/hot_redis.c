/*
 * Requests are written as RESP by hand: hiredis formats an argument in 80 ns, which for two arguments a
 * customer would be the largest part of a batch's cost on our side.
 */
#include "state/hot.h"

#include "state/copy_field.h"
#include "state/decimal.h"
#include "state/redis_link.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "runtime/log.h"

enum {
    LIBRARY_SIZE_MAX = 64 * 1024,
    SEND_BUFFER_SIZE = 4 << 20, /* asked for; the kernel gives what net.core.wmem_max allows */
};

struct hot_redis {
    struct config config;
    struct redis_link link;
    bool ready; /* this connection's server has our functions, and forgets nothing by itself */
    struct hot_batch *batches; /* sent, replies outstanding; the caller's */
    size_t count;
    struct row_buffer request;
};

/* ---- requests ---- */

static char *put_head(char *to, char kind, size_t number)
{
    *to++ = kind;
    to = decimal_write(to, (int64_t)number);
    *to++ = '\r';
    *to++ = '\n';
    return to;
}

static char *put_argument(char *to, const char *data, size_t size)
{
    to = put_head(to, '$', size);
    if (size > 0)
        memcpy(to, data, size);
    to += size;
    *to++ = '\r';
    *to++ = '\n';
    return to;
}

static char *put_number(char *to, int64_t value)
{
    char digits[DECIMAL_SIZE_MAX];
    return put_argument(to, digits, (size_t)(decimal_write(digits, value) - digits));
}

enum { ARGUMENT_SIZE = DECIMAL_SIZE_MAX + 5, NUMBERS_MAX = 4 };

/* FCALL function 2 <balance key> <meta key> numbers... customer points ..., appended to the request. */
static void add_call(struct hot_redis *hot, const char *function, int32_t partition, const int64_t *numbers,
                     size_t number_count, const struct hot_balance *balances, size_t count)
{
    char key[REDIS_KEY_SIZE];
    size_t size = 256 + 2 * REDIS_KEY_SIZE + NUMBERS_MAX * (ARGUMENT_SIZE + DECIMAL_SIZE_MAX);
    for (size_t at = 0; at < count; at++)
        size += balances[at].customer_id.size;
    size += count * (2 * ARGUMENT_SIZE + DECIMAL_SIZE_MAX);
    char *to = row_reserve(&hot->request, size);
    to = put_head(to, '*', 5 + number_count + 2 * count);
    to = put_argument(to, "FCALL", 5);
    to = put_argument(to, function, strlen(function));
    to = put_argument(to, "2", 1);
    redis_link_balance_key(hot->config.program.run, partition, key);
    to = put_argument(to, key, strlen(key));
    redis_link_meta_key(hot->config.program.run, partition, key);
    to = put_argument(to, key, strlen(key));
    for (size_t at = 0; at < number_count; at++)
        to = put_number(to, numbers[at]);
    for (size_t at = 0; at < count; at++) {
        to = put_argument(to, balances[at].customer_id.data, balances[at].customer_id.size);
        to = put_number(to, balances[at].points);
    }
    hot->request.size = (size_t)(to - hot->request.data);
    assert(hot->request.size <= hot->request.capacity);
}

/* Writes all of it. */
static enum store_reply send_request(struct hot_redis *hot, const char *doing, struct ll_err *err)
{
    redisContext *context = hot->link.context;
    int done = 0;
    if (redisAppendFormattedCommand(context, hot->request.data, hot->request.size) != REDIS_OK)
        return redis_link_fail(&hot->link, NULL, doing, err);
    while (done == 0)
        if (redisBufferWrite(context, &done) != REDIS_OK)
            return redis_link_fail(&hot->link, NULL, doing, err);
    return STORE_OK;
}

static bool starts_with(const redisReply *reply, const char *word)
{
    return reply->type == REDIS_REPLY_ERROR && strncmp(reply->str, word, strlen(word)) == 0;
}

/* What the function said. */
static enum store_reply meaning(struct hot_redis *hot, const redisReply *reply, const char *doing,
                                struct ll_err *err)
{
    if (reply->type == REDIS_REPLY_STATUS || reply->type == REDIS_REPLY_STRING)
        return STORE_OK;
    bool fenced = starts_with(reply, "FENCED ");
    if (fenced || starts_with(reply, "GAP ")) {
        ll_fail(err, LL_RETRY, "redis: %s: %s", doing, reply->str);
        return fenced ? STORE_NOT_MINE : STORE_GAP;
    }
    enum store_reply failed = redis_link_fail(&hot->link, reply, doing, err);
    if (failed == STORE_DOWN)
        hot->ready = false; /* a failover or a FUNCTION FLUSH: look again before the next call */
    return failed;
}

/* ---- the server is fit ---- */

static enum store_reply read_library(const struct config *config, char **ret, struct ll_err *err)
{
    char path[2 * CONFIG_TEXT_SIZE];
    config_share_path(config, "state/lens.lua", path, sizeof path);
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        ll_fail(err, LL_FATAL, "%s: %s; is $LENS_SHARE right?", path, strerror(errno));
        return STORE_BROKEN;
    }
    char *text = malloc(LIBRARY_SIZE_MAX);
    if (text == NULL)
        abort();
    size_t size = fread(text, 1, LIBRARY_SIZE_MAX - 1, file);
    text[size] = '\0';
    fclose(file);
    *ret = text;
    return STORE_OK;
}

/* "1" of the line `local VERSION = '1'`. */
static bool library_version(const char *library, char *to, size_t size)
{
    static const char mark[] = "local VERSION = '";
    const char *found = strstr(library, mark);
    if (found == NULL)
        return false;
    found += sizeof mark - 1;
    snprintf(to, size, "%.*s", (int)strcspn(found, "'"), found);
    return true;
}

static enum store_reply load_library(struct hot_redis *hot, struct ll_err *err)
{
    char *library = NULL, version[16];
    enum store_reply reply = read_library(&hot->config, &library, err);
    if (reply != STORE_OK)
        return reply;
    if (!library_version(library, version, sizeof version)) {
        free(library);
        ll_fail(err, LL_FATAL, "state/lens.lua names no version");
        return STORE_BROKEN;
    }
    redisReply *answer = redisCommand(hot->link.context, "FCALL lens_version 0");
    if (answer == NULL) {
        free(library);
        return redis_link_fail(&hot->link, NULL, "asking for the function library", err);
    }
    bool current = answer->type == REDIS_REPLY_STRING && strcmp(answer->str, version) == 0;
    bool absent = answer->type == REDIS_REPLY_STRING || starts_with(answer, "ERR Function not found");
    if (!current && !absent)
        reply = redis_link_fail(&hot->link, answer, "asking for the function library", err);
    freeReplyObject(answer);
    if (!current && absent) {
        const char *argv[] = { "FUNCTION", "LOAD", "REPLACE", library };
        const size_t sizes[] = { 8, 4, 7, strlen(library) };
        reply = redis_link_run(&hot->link, 4, argv, sizes, "loading the function library state/lens.lua",
                               &answer, err);
        if (reply == STORE_OK)
            freeReplyObject(answer);
    }
    free(library);
    return reply;
}

/* A Redis that evicts would forget balances one by one, without a trace. */
static enum store_reply check_policy(struct hot_redis *hot, struct ll_err *err)
{
    redisReply *answer = redisCommand(hot->link.context, "CONFIG GET maxmemory-policy");
    if (answer == NULL)
        return redis_link_fail(&hot->link, NULL, "asking for maxmemory-policy", err);
    enum store_reply reply = STORE_OK;
    if (answer->type == REDIS_REPLY_ARRAY && answer->elements == 2 &&
        answer->element[1]->type == REDIS_REPLY_STRING) {
        if (strcmp(answer->element[1]->str, "noeviction") != 0) {
            char name[CONFIG_TEXT_SIZE + 32];
            ll_fail(err, LL_FATAL, "%s: maxmemory-policy is %s: it would drop balances; set it to noeviction",
                    redis_link_name(&hot->config, name, sizeof name), answer->element[1]->str);
            reply = STORE_DOWN;
        }
    } else {
        log_line(LOG_WARN, "redis_policy_unknown", "cause=%s meant=noeviction",
                 log_quote_c(answer->type == REDIS_REPLY_ERROR ? answer->str : "CONFIG GET gave nothing"));
    }
    freeReplyObject(answer);
    return reply;
}

static enum store_reply make_ready(struct hot_redis *hot, struct ll_err *err)
{
    if (hot->link.context != NULL && hot->link.context->err == 0 && hot->ready)
        return STORE_OK;
    assert(hot->count == 0);
    redis_link_drop(&hot->link); /* what the name leads to may be another server now */
    enum store_reply reply = redis_link_open(&hot->link, err);
    if (reply != STORE_OK)
        return reply;
    int size = SEND_BUFFER_SIZE;
    (void)setsockopt(hot->link.context->fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
    reply = load_library(hot, err);
    if (reply == STORE_OK)
        reply = check_policy(hot, err);
    hot->ready = reply == STORE_OK;
    if (reply != STORE_OK)
        redis_link_drop(&hot->link);
    return reply;
}

/* ---- the seam ---- */

static enum store_reply call(struct hot_redis *hot, const char *function, const char *doing,
                             int32_t partition, const int64_t *numbers, size_t number_count,
                             const struct hot_balance *balances, size_t count, redisReply **ret,
                             struct ll_err *err)
{
    assert(hot->count == 0); /* what was applied is collected first */
    enum store_reply reply = make_ready(hot, err);
    if (reply != STORE_OK)
        return reply;
    row_buffer_clear(&hot->request);
    add_call(hot, function, partition, numbers, number_count, balances, count);
    reply = send_request(hot, doing, err);
    if (reply != STORE_OK)
        return reply;
    void *answer = NULL;
    if (redisGetReply(hot->link.context, &answer) != REDIS_OK)
        return redis_link_fail(&hot->link, NULL, doing, err);
    reply = meaning(hot, answer, doing, err);
    if (ret != NULL && reply == STORE_OK)
        *ret = answer;
    else
        freeReplyObject(answer);
    return reply;
}

static enum store_reply hot_claim(void *self, int32_t partition, int64_t epoch, int64_t next,
                                  int64_t *ret_next, struct ll_err *err)
{
    static const char doing[] = "claiming a partition";
    struct hot_redis *hot = self;
    redisReply *answer = NULL;
    enum store_reply reply =
        call(hot, "lens_claim", doing, partition, (const int64_t[]){ epoch, next }, 2, NULL, 0, &answer, err);
    if (reply != STORE_OK)
        return reply;
    bool good =
        answer->type == REDIS_REPLY_STRING && decimal_read(answer->str, (size_t)answer->len, ret_next);
    if (!good)
        reply = redis_link_fail(&hot->link, answer, doing, err);
    freeReplyObject(answer);
    return reply;
}

static enum store_reply hot_apply(void *self, struct hot_batch *batches, size_t count, struct ll_err *err)
{
    struct hot_redis *hot = self;
    assert(hot->count == 0);
    for (size_t at = 0; at < count; at++)
        batches[at].reply = STORE_DOWN;
    enum store_reply reply = make_ready(hot, err);
    if (reply != STORE_OK)
        return reply;
    row_buffer_clear(&hot->request);
    for (size_t at = 0; at < count; at++) {
        const struct hot_batch *batch = &batches[at];
        add_call(hot, "lens_apply", batch->partition,
                 (const int64_t[]){ batch->epoch, batch->first, batch->next }, 3, batch->balances,
                 batch->count);
    }
    reply = send_request(hot, "applying a batch", err);
    if (reply != STORE_OK)
        return reply;
    hot->batches = batches;
    hot->count = count;
    return STORE_OK;
}

static enum store_reply hot_collect(void *self, struct ll_err *err)
{
    static const char doing[] = "applying a batch";
    struct hot_redis *hot = self;
    struct hot_batch *batches = hot->batches;
    size_t count = hot->count;
    hot->count = 0;
    enum store_reply worst = STORE_OK;
    for (size_t at = 0; at < count; at++) {
        void *answer = NULL;
        if (redisGetReply(hot->link.context, &answer) != REDIS_OK)
            return redis_link_fail(&hot->link, NULL, doing, err); /* the rest says STORE_DOWN already */
        struct ll_err words;
        batches[at].reply = meaning(hot, answer, doing, &words);
        freeReplyObject(answer);
        if (batches[at].reply > worst) {
            worst = batches[at].reply;
            if (err != NULL)
                *err = words;
        }
    }
    return worst;
}

static enum store_reply hot_reset(void *self, int32_t partition, int64_t epoch, int64_t token,
                                  struct ll_err *err)
{
    return call(self, "lens_reset", "beginning a rebuild", partition, (const int64_t[]){ epoch, token }, 2,
                NULL, 0, NULL, err);
}

static enum store_reply hot_load(void *self, int32_t partition, int64_t epoch, int64_t token, int64_t chunk,
                                 const struct hot_balance *balances, size_t count, struct ll_err *err)
{
    return call(self, "lens_load", "rebuilding balances", partition,
                (const int64_t[]){ epoch, token, chunk, chunk + 1 }, 4, balances, count, NULL, err);
}

static enum store_reply hot_finish(void *self, int32_t partition, int64_t epoch, int64_t token,
                                   int64_t chunks, int64_t next, struct ll_err *err)
{
    return call(self, "lens_finish", "ending a rebuild", partition,
                (const int64_t[]){ epoch, token, chunks, next }, 4, NULL, 0, NULL, err);
}

static void hot_close(void *self)
{
    struct hot_redis *hot = self;
    if (hot == NULL)
        return;
    redis_link_drop(&hot->link);
    row_buffer_done(&hot->request);
    free(hot);
}

static const struct hot_ops ops = {
    .claim = hot_claim,
    .apply = hot_apply,
    .collect = hot_collect,
    .reset = hot_reset,
    .load = hot_load,
    .finish = hot_finish,
    .close = hot_close,
};

enum ll_status hot_redis_open(const struct config *config, struct hot *ret, struct ll_err *err)
{
    (void)err;
    struct hot_redis *hot = calloc(1, sizeof *hot);
    if (hot == NULL)
        abort();
    hot->config = *config;
    hot->link.config = &hot->config;
    *ret = (struct hot){ .ops = &ops, .self = hot };
    return LL_OK;
}
