/* The hot store against a real Redis: who may write, what is refused, rebuilds, and a server that forgets or
 * goes away. */
#include "tests/unit/state_kit.h"

#include "state/hot.h"
#include "state/redis.h"

#include <criterion/criterion.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct hot open_hot(const struct config *config)
{
    struct hot hot;
    struct ll_err err = { "" };
    cr_assert_eq(hot_redis_open(config, &hot, &err), LL_OK);
    return hot;
}

/* A command beside the store, as an administrator or a failure would give it. */
static void command(const struct config *config, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
static void command(const struct config *config, const char *format, ...)
{
    redisContext *context = redisConnectUnix(config->redis.socket);
    cr_assert(context != NULL && context->err == 0);
    va_list args;
    va_start(args, format);
    redisReply *reply = redisvCommand(context, format, args);
    va_end(args);
    cr_assert(reply != NULL && reply->type != REDIS_REPLY_ERROR, "%s", reply == NULL ? "" : reply->str);
    freeReplyObject(reply);
    redisFree(context);
}

static int64_t claim(struct hot *hot, int32_t partition, int64_t epoch, int64_t next)
{
    struct ll_err err = { "" };
    int64_t stored = -2;
    cr_assert_eq(hot->ops->claim(hot->self, partition, epoch, next, &stored, &err), STORE_OK, "%s", err.text);
    return stored;
}

static enum store_reply apply(struct hot *hot, int32_t partition, int64_t epoch, int64_t first, int64_t next,
                              const struct hot_balance *balances, size_t count, struct ll_err *err)
{
    struct hot_batch batch = { .partition = partition, .epoch = epoch, .first = first, .next = next,
                               .balances = balances, .count = count };
    enum store_reply reply = hot->ops->apply(hot->self, &batch, 1, err);
    if (reply == STORE_OK)
        reply = hot->ops->collect(hot->self, err);
    cr_assert_eq(batch.reply, reply);
    return reply;
}

static void rebuild(struct hot *hot, int32_t partition, int64_t epoch, int64_t token, int64_t next)
{
    struct ll_err err = { "" };
    cr_assert_eq(hot->ops->reset(hot->self, partition, epoch, token, &err), STORE_OK, "%s", err.text);
    cr_assert_eq(hot->ops->finish(hot->self, partition, epoch, token, 0, next, &err), STORE_OK, "%s",
                 err.text);
}

static void check_mark(const struct config *config, int32_t partition, int64_t epoch, int64_t next)
{
    struct redis *redis = NULL;
    struct ll_err err = { "" };
    int64_t stored_epoch = -2, stored_next = -2;
    cr_assert_eq(redis_open(config, &redis, &err), LL_OK, "%s", err.text);
    cr_assert_eq(redis_mark(redis, config->program.run, partition, &stored_epoch, &stored_next, &err), LL_OK,
                 "%s", err.text);
    cr_assert_eq(stored_epoch, epoch, "epoch %lld", (long long)stored_epoch);
    cr_assert_eq(stored_next, next, "next %lld", (long long)stored_next);
    redis_close(redis);
}

/* INT64_MIN: there is none. */
static int64_t balance(const struct config *config, int32_t partition, struct text customer_id)
{
    struct redis *redis = NULL;
    struct ll_err err = { "" };
    int64_t points = 0;
    bool found = false;
    cr_assert_eq(redis_open(config, &redis, &err), LL_OK, "%s", err.text);
    cr_assert_eq(redis_balance(redis, config->program.run, partition, customer_id, &points, &found, &err),
                 LL_OK);
    redis_close(redis);
    return found ? points : INT64_MIN;
}

Test(hot, a_claim_fences_and_never_raises_next)
{
    struct config config = kit_config();
    struct hot hot = open_hot(&config);
    struct ll_err err = { "" };
    int64_t stored;
    cr_assert_eq(claim(&hot, 0, 10, 500), -1, "none is stored, and none is set");
    check_mark(&config, 0, 10, -1);
    rebuild(&hot, 0, 10, 1, 500);
    check_mark(&config, 0, 10, 500);
    cr_assert_eq(claim(&hot, 0, 11, 600), 500, "Redis has less: left for a rebuild");
    check_mark(&config, 0, 11, 500);
    cr_assert_eq(claim(&hot, 0, 12, 400), 500, "Redis has more: set back");
    check_mark(&config, 0, 12, 400);
    cr_assert_eq(hot.ops->claim(hot.self, 0, 11, 400, &stored, &err), STORE_NOT_MINE);
    cr_assert(strstr(err.text, "12") != NULL, "%s", err.text);
    check_mark(&config, 0, 12, 400);
    hot.ops->close(hot.self);
}

Test(hot, a_batch_sets_absolute_balances)
{
    struct config config = kit_config();
    struct hot hot = open_hot(&config);
    struct ll_err err = { "" };
    claim(&hot, 3, 10, 0);
    rebuild(&hot, 3, 10, 1, 0);
    struct hot_balance balances[] = { { TEXT("C1"), 100 },
                                      { TEXT("C 2\r\n$5"), -7 },
                                      { TEXT(""), INT64_MIN } };
    cr_assert_eq(apply(&hot, 3, 10, 0, 20, balances, 3, &err), STORE_OK, "%s", err.text);
    cr_assert_eq(balance(&config, 3, TEXT("C1")), 100);
    cr_assert_eq(balance(&config, 3, TEXT("C 2\r\n$5")), -7, "any bytes are an id");
    cr_assert_eq(balance(&config, 3, TEXT("nobody")), INT64_MIN);
    check_mark(&config, 3, 10, 20);
    balances[0].points = 90;
    cr_assert_eq(apply(&hot, 3, 10, 20, 21, balances, 1, &err), STORE_OK);
    cr_assert_eq(balance(&config, 3, TEXT("C1")), 90);
    cr_assert_eq(apply(&hot, 3, 10, 21, 21, NULL, 0, &err), STORE_OK,
                 "an empty one asks whether all is as believed");
    check_mark(&config, 3, 10, 21);
    hot.ops->close(hot.self);
}

struct refused_case {
    const char *why;
    int64_t epoch, first;
    enum store_reply reply;
};

Test(hot, a_batch_is_refused_before_anything_is_written)
{
    static const struct refused_case cases[] = {
        { "an older epoch", 9, 9007199254740993, STORE_NOT_MINE },
        { "an older epoch with fewer digits", 1, 9007199254740993, STORE_NOT_MINE },
        { "a higher epoch that never claimed", 100, 9007199254740993, STORE_GAP },
        { "one above, past 2^53", 10, 9007199254740994, STORE_GAP },
        { "one below, past 2^53: the same number to Lua", 10, 9007199254740992, STORE_GAP },
    };
    struct config config = kit_config();
    struct hot hot = open_hot(&config);
    struct ll_err err = { "" };
    claim(&hot, 0, 10, 0);
    rebuild(&hot, 0, 10, 1, 9007199254740993);
    struct hot_balance one = { TEXT("C1"), 1 };
    for (size_t at = 0; at < sizeof cases / sizeof cases[0]; at++) {
        cr_assert_eq(apply(&hot, 0, cases[at].epoch, cases[at].first, 9007199254740999, &one, 1, &err),
                     cases[at].reply, "%s: %s", cases[at].why, err.text);
        cr_assert_eq(balance(&config, 0, one.customer_id), INT64_MIN, "%s", cases[at].why);
        check_mark(&config, 0, 10, 9007199254740993);
    }
    cr_assert_eq(apply(&hot, 0, 10, 9007199254740993, INT64_MAX, &one, 1, &err), STORE_OK, "%s", err.text);
    check_mark(&config, 0, 10, INT64_MAX);
    hot.ops->close(hot.self);
}

Test(hot, epochs_past_2_to_53_are_compared_whole)
{
    struct config config = kit_config();
    struct hot hot = open_hot(&config);
    struct ll_err err = { "" };
    int64_t stored;
    claim(&hot, 0, 9007199254740993, 0);
    cr_assert_eq(hot.ops->claim(hot.self, 0, 9007199254740992, 0, &stored, &err), STORE_NOT_MINE);
    claim(&hot, 0, 9007199254740994, 0);
    hot.ops->close(hot.self);
}

Test(hot, batches_of_several_partitions_have_replies_of_their_own)
{
    struct config config = kit_config();
    struct hot hot = open_hot(&config);
    struct ll_err err = { "" };
    struct hot_balance one = { TEXT("C1"), 1 };
    struct hot_batch batches[4];
    for (int32_t partition = 0; partition < 4; partition++) {
        claim(&hot, partition, 10, 0);
        rebuild(&hot, partition, 10, 1, 0);
        batches[partition] = (struct hot_batch){ .partition = partition, .epoch = 10, .first = 0, .next = 5,
                                                 .balances = &one, .count = 1 };
    }
    batches[1].first = 3;
    batches[2].epoch = 9;
    cr_assert_eq(hot.ops->apply(hot.self, batches, 4, &err), STORE_OK, "%s", err.text);
    cr_assert_eq(hot.ops->collect(hot.self, &err), STORE_GAP, "the worst of them");
    cr_assert_eq(batches[0].reply, STORE_OK);
    cr_assert_eq(batches[1].reply, STORE_GAP);
    cr_assert_eq(batches[2].reply, STORE_NOT_MINE);
    cr_assert_eq(batches[3].reply, STORE_OK);
    check_mark(&config, 3, 10, 5);
    hot.ops->close(hot.self);
}

enum { MANY = 30000 };
static char many_ids[MANY][16];
static struct hot_balance many_balances[MANY];

static void make_many(void)
{
    for (int at = 0; at < MANY; at++) {
        snprintf(many_ids[at], sizeof many_ids[at], "C%07d", at);
        many_balances[at] = (struct hot_balance){ text_of(many_ids[at]), at };
    }
}

struct sum {
    int64_t count, points;
};

static void add_balance(void *arg, struct text customer_id, int64_t points)
{
    struct sum *sum = arg;
    (void)customer_id;
    sum->count++;
    sum->points += points;
}

static struct sum sum_of(const struct config *config, int32_t partition)
{
    struct redis *redis = NULL;
    struct sum sum = { 0 };
    struct ll_err err = { "" };
    cr_assert_eq(redis_open(config, &redis, &err), LL_OK);
    cr_assert_eq(redis_balances(redis, config->program.run, partition, add_balance, &sum, &err), LL_OK, "%s",
                 err.text);
    redis_close(redis);
    return sum;
}

Test(hot, a_batch_larger_than_lua_unpacks)
{
    struct config config = kit_config();
    struct hot hot = open_hot(&config);
    struct ll_err err = { "" };
    make_many();
    claim(&hot, 0, 10, 0);
    rebuild(&hot, 0, 10, 1, 0);
    cr_assert_eq(apply(&hot, 0, 10, 0, 1, many_balances, MANY, &err), STORE_OK, "%s", err.text);
    struct sum sum = sum_of(&config, 0);
    cr_assert_eq(sum.count, MANY);
    cr_assert_eq(sum.points, (int64_t)MANY * (MANY - 1) / 2);
    hot.ops->close(hot.self);
}

Test(hot, a_rebuild_takes_its_chunks_in_turn)
{
    struct config config = kit_config();
    struct hot hot = open_hot(&config);
    const struct hot_ops *ops = hot.ops;
    struct ll_err err = { "" };
    struct hot_balance old = { TEXT("gone"), 1 }, a = { TEXT("A"), 1 }, b = { TEXT("B"), 2 };
    claim(&hot, 0, 10, 0);
    rebuild(&hot, 0, 10, 1, 0);
    cr_assert_eq(apply(&hot, 0, 10, 0, 9, &old, 1, &err), STORE_OK);
    cr_assert_eq(ops->reset(hot.self, 0, 10, 77, &err), STORE_OK);
    check_mark(&config, 0, 10, -1);
    cr_assert_eq(balance(&config, 0, old.customer_id), INT64_MIN);
    cr_assert_eq(apply(&hot, 0, 10, 9, 10, &a, 1, &err), STORE_GAP, "half a rebuild is no balance");
    cr_assert_eq(ops->load(hot.self, 0, 10, 78, 0, &a, 1, &err), STORE_GAP, "another rebuild's");
    cr_assert_eq(ops->load(hot.self, 0, 11, 77, 0, &a, 1, &err), STORE_GAP, "another epoch's");
    cr_assert_eq(ops->load(hot.self, 0, 9, 77, 0, &a, 1, &err), STORE_NOT_MINE, "an old owner's");
    cr_assert_eq(ops->load(hot.self, 0, 10, 77, 1, &b, 1, &err), STORE_GAP, "the second before the first");
    cr_assert_eq(balance(&config, 0, a.customer_id), INT64_MIN);
    cr_assert_eq(ops->load(hot.self, 0, 10, 77, 0, &a, 1, &err), STORE_OK, "%s", err.text);
    cr_assert_eq(ops->load(hot.self, 0, 10, 77, 0, &a, 1, &err), STORE_GAP, "twice");
    cr_assert_eq(ops->finish(hot.self, 0, 10, 77, 2, 50, &err), STORE_GAP, "one chunk is missing");
    check_mark(&config, 0, 10, -1);
    cr_assert_eq(ops->load(hot.self, 0, 10, 77, 1, &b, 1, &err), STORE_OK);
    cr_assert_eq(ops->finish(hot.self, 0, 10, 77, 2, 50, &err), STORE_OK);
    check_mark(&config, 0, 10, 50);
    cr_assert_eq(balance(&config, 0, b.customer_id), 2);
    cr_assert_eq(ops->reset(hot.self, 0, 9, 1, &err), STORE_NOT_MINE, "an old owner resets nothing");
    check_mark(&config, 0, 10, 50);
    /* A new owner's claim ends a rebuild that is under way. */
    cr_assert_eq(ops->reset(hot.self, 0, 10, 79, &err), STORE_OK);
    claim(&hot, 0, 11, 50);
    cr_assert_eq(ops->load(hot.self, 0, 10, 79, 0, &a, 1, &err), STORE_NOT_MINE);
    cr_assert_eq(ops->finish(hot.self, 0, 10, 79, 0, 50, &err), STORE_NOT_MINE);
    check_mark(&config, 0, 11, -1);
    hot.ops->close(hot.self);
}

Test(hot, data_that_was_wiped_is_a_gap)
{
    struct config config = kit_config();
    struct hot hot = open_hot(&config);
    struct ll_err err = { "" };
    struct hot_balance one = { TEXT("C1"), 1 };
    claim(&hot, 0, 10, 0);
    rebuild(&hot, 0, 10, 1, 5);
    command(&config, "FLUSHALL");
    cr_assert_eq(apply(&hot, 0, 10, 5, 5, NULL, 0, &err), STORE_GAP);
    cr_assert_eq(apply(&hot, 0, 10, 5, 6, &one, 1, &err), STORE_GAP);
    cr_assert_eq(balance(&config, 0, one.customer_id), INT64_MIN);
    rebuild(&hot, 0, 10, 2, 5);
    cr_assert_eq(apply(&hot, 0, 10, 5, 6, &one, 1, &err), STORE_OK, "%s", err.text);
    hot.ops->close(hot.self);
}

Test(hot, functions_that_were_lost_are_loaded_again)
{
    struct config config = kit_config();
    struct hot hot = open_hot(&config);
    struct ll_err err = { "" };
    claim(&hot, 0, 10, 0);
    rebuild(&hot, 0, 10, 1, 5);
    command(&config, "FUNCTION FLUSH");
    cr_assert_eq(apply(&hot, 0, 10, 5, 6, NULL, 0, &err), STORE_DOWN);
    cr_assert_eq(apply(&hot, 0, 10, 5, 6, NULL, 0, &err), STORE_OK, "%s", err.text);
    hot.ops->close(hot.self);
}

Test(hot, an_older_library_is_replaced)
{
    struct config config = kit_config();
    struct ll_err err = { "" };
    command(&config, "FUNCTION LOAD REPLACE %s",
            "#!lua name=lens\nredis.register_function('lens_version', function() return '0' end)");
    struct hot hot = open_hot(&config);
    claim(&hot, 0, 10, 0);
    rebuild(&hot, 0, 10, 1, 5);
    cr_assert_eq(apply(&hot, 0, 10, 5, 6, NULL, 0, &err), STORE_OK, "%s", err.text);
    hot.ops->close(hot.self);
}

Test(hot, a_lost_connection_says_so_and_the_next_call_connects)
{
    struct config config = kit_config();
    struct hot hot = open_hot(&config);
    struct ll_err err = { "" };
    make_many();
    claim(&hot, 0, 10, 0);
    rebuild(&hot, 0, 10, 1, 0);
    command(&config, "CLIENT KILL TYPE normal SKIPME yes");
    struct hot_batch batches[] = {
        { .partition = 0, .epoch = 10, .first = 0, .next = 1, .balances = many_balances, .count = MANY },
        { .partition = 0, .epoch = 10, .first = 1, .next = 2, .balances = many_balances, .count = MANY }
    };
    enum store_reply reply = hot.ops->apply(hot.self, batches, 2, &err);
    if (reply == STORE_OK)
        reply = hot.ops->collect(hot.self, &err);
    cr_assert_eq(reply, STORE_DOWN);
    cr_assert_eq(batches[0].reply, STORE_DOWN);
    cr_assert_eq(batches[1].reply, STORE_DOWN);
    cr_assert_eq(apply(&hot, 0, 10, 0, 1, many_balances, MANY, &err), STORE_OK, "%s", err.text);
    hot.ops->close(hot.self);
}

Test(hot, a_server_that_is_silent_is_down_in_time)
{
    struct config config = kit_config();
    config.redis.timeout_ms = 500;
    struct hot hot = open_hot(&config);
    struct ll_err err = { "" };
    claim(&hot, 0, 10, 0);
    rebuild(&hot, 0, 10, 1, 0);
    command(&config, "CLIENT PAUSE 2500 ALL");
    int64_t before = ledger_now_ms();
    cr_assert_eq(apply(&hot, 0, 10, 0, 1, NULL, 0, &err), STORE_DOWN);
    cr_assert(ledger_now_ms() - before < 1500);
    cr_assert(strstr(err.text, "in time") != NULL, "%s", err.text);
    enum store_reply reply = STORE_DOWN;
    while (reply ==
           STORE_DOWN) /* the lost call may be carried out late: refused then, since next has moved */
        reply = apply(&hot, 0, 10, 0, 1, NULL, 0, &err);
    cr_assert(reply == STORE_OK || reply == STORE_GAP, "%s", err.text);
    check_mark(&config, 0, 10, 1);
    hot.ops->close(hot.self);
}

Test(hot, a_redis_that_evicts_is_not_used)
{
    struct config config = kit_config();
    struct hot hot = open_hot(&config);
    struct ll_err err = { "" };
    int64_t stored;
    command(&config, "CONFIG SET maxmemory-policy allkeys-lru");
    enum store_reply reply = hot.ops->claim(hot.self, 0, 10, 0, &stored, &err);
    command(&config, "CONFIG SET maxmemory-policy noeviction");
    cr_assert_eq(reply, STORE_DOWN);
    cr_assert(strstr(err.text, "noeviction") != NULL, "%s", err.text);
    claim(&hot, 0, 10, 0);
    hot.ops->close(hot.self);
}

Test(hot, a_full_redis_applies_nothing)
{
    struct config config = kit_config();
    struct hot hot = open_hot(&config);
    struct ll_err err = { "" };
    struct hot_balance one = { TEXT("C1"), 1 };
    claim(&hot, 0, 10, 0);
    rebuild(&hot, 0, 10, 1, 0);
    command(&config, "CONFIG SET maxmemory 1");
    enum store_reply reply = apply(&hot, 0, 10, 0, 1, &one, 1, &err);
    command(&config, "CONFIG SET maxmemory 0");
    cr_assert_eq(reply, STORE_DOWN);
    cr_assert(strstr(err.text, "maxmemory") != NULL, "%s", err.text);
    check_mark(&config, 0, 10, 0);
    cr_assert_eq(apply(&hot, 0, 10, 0, 1, &one, 1, &err), STORE_OK, "%s", err.text);
    hot.ops->close(hot.self);
}

Test(hot, keys_of_another_program_are_broken)
{
    struct config config = kit_config();
    struct hot hot = open_hot(&config);
    struct ll_err err = { "" };
    int64_t stored;
    command(&config, "SET ll:{r%d.p0}:meta x", config.program.run);
    cr_assert_eq(hot.ops->claim(hot.self, 0, 10, 0, &stored, &err), STORE_BROKEN);
    cr_assert(strstr(err.text, "another program") != NULL, "%s", err.text);
    hot.ops->close(hot.self);
}

struct unreachable_case {
    const char *why, *socket, *host, *words;
    int32_t port;
};

Test(hot, a_server_that_is_not_there)
{
    static const struct unreachable_case cases[] = {
        { "no socket", "/nonesuch/redis.sock", "", "No such file", 1 },
        { "no listener", "", "127.0.0.1", "refused", 1 },
        { "no address", "", "", "lens up", 1 },
    };
    struct config config = kit_config();
    for (size_t at = 0; at < sizeof cases / sizeof cases[0]; at++) {
        snprintf(config.redis.socket, sizeof config.redis.socket, "%s", cases[at].socket);
        snprintf(config.redis.host, sizeof config.redis.host, "%s", cases[at].host);
        config.redis.port = cases[at].port;
        struct hot hot = open_hot(&config);
        struct ll_err err = { "" };
        int64_t stored;
        cr_assert_eq(hot.ops->claim(hot.self, 0, 1, 0, &stored, &err), STORE_DOWN, "%s", cases[at].why);
        cr_assert(strstr(err.text, cases[at].words) != NULL, "%s: %s", cases[at].why, err.text);
        cr_assert_eq(hot.ops->apply(hot.self, NULL, 0, &err), STORE_DOWN);
        hot.ops->close(hot.self);
    }
}

Test(hot, a_wrong_password_names_its_file)
{
    struct config config = kit_config();
    struct ll_err err = { "" };
    char path[] = "/tmp/lens-password.XXXXXX";
    int file = mkstemp(path);
    cr_assert(file >= 0 && write(file, "wrong\n", 6) == 6);
    close(file);
    command(&config, "CONFIG SET requirepass right");
    enum ll_status without = redis_ping(&config, &err);
    bool tells = strstr(err.text, "password_file") != NULL;
    snprintf(config.redis.password_file, sizeof config.redis.password_file, "%s", path);
    enum ll_status with = redis_ping(&config, &err);
    redisContext *context = redisConnectUnix(config.redis.socket);
    freeReplyObject(redisCommand(context, "AUTH right"));
    freeReplyObject(redisCommand(context, "CONFIG SET requirepass %s", ""));
    redisFree(context);
    unlink(path);
    cr_assert_eq(without, LL_RETRY);
    cr_assert(tells);
    cr_assert_eq(with, LL_RETRY);
    cr_assert(strstr(err.text, "password") != NULL, "%s", err.text);
}
