/*
 * outbox.h - sends what is due: judged, claimed, handed over, and what became of it written down.
 * Shape:  outbox_step does one round and returns: letters that are due are judged in one transaction and those that may go are
 *         claimed in it, with their bytes; then each is handed over. To a server, a letter's row says "sending" before its first
 *         byte goes, in the transaction that keeps the result of the one before: after kill -9 one letter at most is in doubt.
 *         Files have no doubt: the same letter twice is one file, so a round of them is one transaction.
 * Errors: LL_OK: *ret_next_ms is when to come again (steady). LL_RETRY: Postgres; what was handed over is kept and written first at
 *         the next call. LL_FATAL: stop.
 */
#pragma once

#include "consumers/notify/decide.h"
#include "consumers/notify/letters.h"
#include "consumers/notify/post.h"
#include "consumers/notify/token.h"
#include "runtime/clock.h"
#include "runtime/process.h"
#include "state/mail_store.h"

#include <jansson.h>

enum { OUTBOX_CLAIM_MAX = 100, OUTBOX_ID_SIZE = 33, OUTBOX_MARK_SIZE = 128, OUTBOX_CLAIM_SIZE = 160 };

struct outbox_metrics {
    struct metric *sent, *put_off, *refused, *unknown, *down;
    struct metric *held[DECIDE_COUNT];
    struct metric *waiting;
};

/* A claimed letter. */
struct outbox_letter {
    char id[OUTBOX_ID_SIZE];
    char to[256];
    char *message; /* owned */
    size_t size;
    int64_t attempts;
};

struct outbox {
    const struct config *config;
    const struct letters *letters;
    const struct token_key *key;
    struct calendar *calendar;
    struct clock_source clock;
    struct mail_store *store;
    struct post post;
    struct process *process; /* NULL in tests */
    struct outbox_metrics metrics;
    const char *instance;

    char mark[OUTBOX_MARK_SIZE];   /* how its claims begin, and nobody else's: instance:pid-random. */
    char claim[OUTBOX_CLAIM_SIZE]; /* of the letters below; a new one for each round */
    int64_t round;
    struct outbox_letter claimed[OUTBOX_CLAIM_MAX];
    size_t claimed_count, claimed_at;
    json_t *results;   /* handed over, not written yet */
    int64_t began_ms;  /* wall; what its name claimed before was left behind, what it claims later was not */
    bool must_recover; /* somebody may have left claimed letters: at the start, and after a lost reply */
    int64_t recover_at_ms, pause_ms, paused_until_ms; /* steady */
    double tokens;
    int64_t tokens_at_ms;
    unsigned long long chance;
};

void outbox_init(struct outbox *outbox);
void outbox_done(struct outbox *outbox);
/* Writes what was handed over. */
enum ll_status outbox_finish(struct outbox *outbox, struct ll_err *err);
enum ll_status outbox_step(struct outbox *outbox, int64_t *ret_next_ms, struct ll_err *err);
