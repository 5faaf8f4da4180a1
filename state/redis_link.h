/*
 * redis_link.h - one hiredis connection: opened in bounded time, its errors translated.
 * Shape:  within state/ only. A context that failed once is dead (a reply may still be on its way): it is
 *         dropped, and the next redis_link_open connects again. SIGPIPE must be ignored by the process:
 *         hiredis writes without MSG_NOSIGNAL.
 * Source: KAFKA.md of the project's measurements, section 10; hiredis 0.14.1.
 */
#pragma once

#include "runtime/config.h"
#include "runtime/err.h"
#include "state/ledger.h"

#include <hiredis/hiredis.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { REDIS_KEY_SIZE = 64 };

struct redis_link {
    const struct config *config; /* kept */
    redisContext *context;       /* NULL: not connected */
};

/* Connects unless it is connected. */
enum store_reply redis_link_open(struct redis_link *link, struct ll_err *err);
void redis_link_drop(struct redis_link *link);
/* "redis 127.0.0.1:6379" into to; returns to. */
char *redis_link_name(const struct config *config, char *to, size_t size);
/* Words for an error reply (or NULL: for the connection's own failure, which drops the link). */
enum store_reply redis_link_fail(struct redis_link *link, const redisReply *reply, const char *doing,
                                 struct ll_err *err);
/* One command and its reply, which the caller frees. An error reply is a failure. */
enum store_reply redis_link_run(struct redis_link *link, int argc, const char **argv, const size_t *sizes,
                                const char *doing, redisReply **ret, struct ll_err *err);

/* ll:{r1.p0}:balance - all keys of a partition share a hash tag, so that Redis Cluster keeps them together.
 * */
char *redis_link_balance_key(int32_t run, int32_t partition, char to[REDIS_KEY_SIZE]);
char *redis_link_meta_key(int32_t run, int32_t partition, char to[REDIS_KEY_SIZE]);
