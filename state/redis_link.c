#include "state/redis_link.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>

char *redis_link_name(const struct config *config, char *to, size_t size)
{
    if (config->redis.socket[0] != '\0')
        snprintf(to, size, "redis %s", config->redis.socket);
    else
        snprintf(to, size, "redis %s:%d", config->redis.host, config->redis.port);
    return to;
}

char *redis_link_balance_key(int32_t run, int32_t partition, char to[REDIS_KEY_SIZE])
{
    snprintf(to, REDIS_KEY_SIZE, "ll:{r%d.p%d}:balance", run, partition);
    return to;
}

char *redis_link_meta_key(int32_t run, int32_t partition, char to[REDIS_KEY_SIZE])
{
    snprintf(to, REDIS_KEY_SIZE, "ll:{r%d.p%d}:meta", run, partition);
    return to;
}

void redis_link_drop(struct redis_link *link)
{
    if (link->context != NULL)
        redisFree(link->context);
    link->context = NULL;
}

struct reply_meaning {
    const char *prefix;
    enum store_reply reply;
    const char *hint;
};

/* The first word of an error says what it is. */
static const struct reply_meaning meanings[] = {
    { "LOADING ", STORE_DOWN, "; it is reading its files, and answers when that is done" },
    { "BUSY ", STORE_DOWN, "; a script keeps it busy: redis-cli script kill, or function kill" },
    { "READONLY ", STORE_DOWN, "; it is a replica: set redis.host to the primary" },
    { "MASTERDOWN ", STORE_DOWN, "; it is a replica without its primary" },
    { "CLUSTERDOWN ", STORE_DOWN, "" },
    { "OOM ", STORE_DOWN, "; raise its maxmemory: nothing of the batch was applied" },
    { "MISCONF ", STORE_DOWN, "; it cannot write its files: make room on its disk" },
    { "NOREPLICAS ", STORE_DOWN, "; it waits for its replicas" },
    { "NOAUTH ", STORE_DOWN, "; set redis.password_file in lens.conf" },
    { "ERR AUTH ", STORE_DOWN, "; it has no password: empty redis.password_file in lens.conf" },
    { "ERR max number of clients ", STORE_DOWN, "; raise its maxclients" },
    { "ERR Function not found", STORE_DOWN, "; the function library is loaded again at the next call" },
    { "NOPERM ", STORE_BROKEN, "; its user may not do this: see ACL in its configuration" },
    { "WRONGTYPE ", STORE_BROKEN, "; another program uses our keys ll:{r*}: give it a Redis of its own" },
};

enum store_reply redis_link_fail(struct redis_link *link, const redisReply *reply, const char *doing,
                                 struct ll_err *err)
{
    char name[CONFIG_TEXT_SIZE + 32];
    redis_link_name(link->config, name, sizeof name);
    if (reply == NULL) {
        const redisContext *context = link->context;
        const char *words = context == NULL ? "not connected" : context->errstr;
        if (context != NULL && context->err == REDIS_ERR_IO && (errno == EAGAIN || errno == EWOULDBLOCK))
            words = "no answer in time";
        ll_fail(err, LL_RETRY, "%s: %s: %s", name, doing, words);
        redis_link_drop(link);
        return STORE_DOWN;
    }
    if (reply->type != REDIS_REPLY_ERROR) {
        ll_fail(err, LL_FATAL, "%s: %s: an unexpected kind of reply (%d)", name, doing, reply->type);
        return STORE_BROKEN;
    }
    if (strncmp(reply->str, "WRONGPASS ", 10) == 0) { /* its own words would leave no room for the file's name */
        ll_fail(err, LL_RETRY, "%.80s: %s: WRONGPASS; look at redis.username and at the password in %s", name, doing,
                link->config->redis.password_file);
        return STORE_DOWN;
    }
    enum store_reply meaning = STORE_BROKEN;
    const char *hint = "";
    for (size_t at = 0; at < sizeof meanings / sizeof meanings[0]; at++) {
        if (strncmp(reply->str, meanings[at].prefix, strlen(meanings[at].prefix)) == 0) {
            meaning = meanings[at].reply;
            hint = meanings[at].hint;
        }
    }
    ll_fail(err, LL_RETRY, "%s: %s: %.*s%s", name, doing, (int)(reply->len > 160 ? 160 : reply->len),
            reply->str, hint);
    return meaning;
}

enum store_reply redis_link_run(struct redis_link *link, int argc, const char **argv, const size_t *sizes,
                                const char *doing, redisReply **ret, struct ll_err *err)
{
    redisReply *reply = redisCommandArgv(link->context, argc, argv, sizes);
    if (reply == NULL)
        return redis_link_fail(link, NULL, doing, err);
    if (reply->type == REDIS_REPLY_ERROR) {
        enum store_reply failed = redis_link_fail(link, reply, doing, err);
        freeReplyObject(reply);
        return failed;
    }
    *ret = reply;
    return STORE_OK;
}

static enum store_reply authenticate(struct redis_link *link, struct ll_err *err)
{
    char password[1024];
    if (config_secret(link->config->redis.password_file, password, sizeof password, err) != LL_OK) {
        ll_wrap(err, LL_RETRY, "redis.password_file");
        return STORE_DOWN;
    }
    if (password[0] == '\0')
        return STORE_OK;
    const char *user = link->config->redis.username;
    int with_user = user[0] != '\0' ? 1 : 0;
    const char *argv[] = { "AUTH", with_user ? user : password, password };
    const size_t sizes[] = { 4, strlen(argv[1]), strlen(password) };
    redisReply *reply = NULL;
    enum store_reply done = redis_link_run(link, 2 + with_user, argv, sizes, "giving the password", &reply, err);
    explicit_bzero(password, sizeof password);
    if (done == STORE_OK)
        freeReplyObject(reply);
    return done;
}

enum store_reply redis_link_open(struct redis_link *link, struct ll_err *err)
{
    const struct config *config = link->config;
    if (link->context != NULL && link->context->err == 0)
        return STORE_OK;
    redis_link_drop(link);
    if (config->redis.socket[0] == '\0' && config->redis.host[0] == '\0') {
        ll_fail(err, LL_RETRY,
                "redis: no address yet; lens up starts a private one, or set redis.host in lens.conf");
        return STORE_DOWN;
    }
    struct timeval time = { .tv_sec = config->redis.timeout_ms / 1000,
                            .tv_usec = config->redis.timeout_ms % 1000 * 1000 };
    link->context = config->redis.socket[0] != '\0'
                        ? redisConnectUnixWithTimeout(config->redis.socket, time)
                        : redisConnectWithTimeout(config->redis.host, config->redis.port, time);
    if (link->context == NULL)
        abort();
    if (link->context->err != 0 || redisSetTimeout(link->context, time) != REDIS_OK)
        return redis_link_fail(link, NULL, "connecting", err);
    if (config->redis.socket[0] == '\0')
        redisEnableKeepAlive(link->context);
    enum store_reply done = authenticate(link, err);
    if (done != STORE_OK)
        redis_link_drop(link);
    return done;
}
