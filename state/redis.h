/*
 * redis.h - what the tools ask Redis: is it there, and the balances that it shows.
 */
#pragma once

#include "runtime/config.h"
#include "runtime/err.h"
#include "runtime/text.h"

#include <stdbool.h>
#include <stdint.h>

struct redis;

enum ll_status redis_ping(const struct config *config, struct ll_err *err);
enum ll_status redis_open(const struct config *config, struct redis **ret, struct ll_err *err);
void redis_close(struct redis *redis);
/* The partition's (epoch, next_offset); -1 where there is none. */
enum ll_status redis_mark(struct redis *redis, int32_t run, int32_t partition, int64_t *ret_epoch, int64_t *ret_next,
                          struct ll_err *err);
/* One balance; *ret_found false if Redis has none. */
enum ll_status redis_balance(struct redis *redis, int32_t run, int32_t partition, struct text customer_id,
                             int64_t *ret_points, bool *ret_found, struct ll_err *err);
/* Every balance of a partition (HSCAN; a field may come twice while it is written to). */
enum ll_status redis_balances(struct redis *redis, int32_t run, int32_t partition,
                              void (*each)(void *arg, struct text customer_id, int64_t points), void *arg,
                              struct ll_err *err);
