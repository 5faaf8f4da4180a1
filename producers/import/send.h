/*
 * send.h - an import's outputs into Kafka, each exactly once, however often the import is killed.
 * Shape:  an import_sink over a transactional producer. send_open takes the import over (a predecessor is fenced and its open
 *         transaction aborted), claims it and reads its mark; outputs that the mark counts are left out; send_commit makes what
 *         was sent since the last commit visible at once, together with the new mark. Limits: while a transaction is open,
 *         readers of the partitions that it touches wait: SEND_COMMIT_MS at most, and after a kill -9 until the import is run
 *         again or SEND_TRANSACTION_MS have passed.
 * Errors: send_failed tells a bus that failed (run again from the mark) from files that did.
 */
#pragma once

#include "producers/import/mark.h"
#include "producers/import/output.h"
#include "runtime/clock.h"
#include "runtime/config.h"
#include "runtime/topics.h"
#include "schemas/codec.h"

#include <stdbool.h>

enum {
    SEND_COMMIT_MS = 500,
    SEND_COMMIT_OUTPUTS = 20000,
    SEND_TRANSACTION_MS = 15000,
    SEND_PING_MS = 5000,
};

struct send;

/* Is a broker there? Quicker to say no than a transactional producer, which waits for its coordinator. */
enum ll_status send_ping(const struct config *config, struct ll_err *err);

/* config, topics and codec are borrowed. nonce: this run's, "" at first; another's claim since is LL_POISON:
 * that one goes on. *ret_mark: what is there already. */
enum ll_status send_open(const struct config *config, const struct topics *topics, const struct codec *codec,
                         const char *sha256, char nonce[MARK_NONCE_SIZE], struct mark *ret_mark,
                         struct send **ret, struct ll_err *err);
/* Drops what was not committed. */
void send_close(struct send *send);
struct import_sink send_sink(struct send *send);
/* Outputs up to this number are there already. mark is borrowed: its attempt, settings and state go into
 * every commit; its outputs and time are kept up to date. */
void send_begin(struct send *send, struct mark *mark, int64_t skip);
/* Is it time to commit? */
bool send_is_due(const struct send *send);
enum ll_status send_commit(struct send *send, struct ll_err *err);
bool send_failed(const struct send *send);
