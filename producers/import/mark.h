/*
 * mark.h - how far an import of certain bytes has come: a record in topic "imports".
 * Shape:  key = sha256 of the files, value = JSON. It is written in the same Kafka transaction as the events
 * and dead letters that it counts, so it is neither ahead of them nor behind: a killed import leaves out just
 * what is there. The outputs of an import are in one fixed order (output.h), so the mark is their number.
 * Claim:  whoever takes an import over first writes a claim (key = "claim:" sha256) and reads the topic up to
 * it. Since a read_committed reader stops before every open transaction, whoever sees their claim has seen
 * every mark before it.
 */
#pragma once

#include "runtime/config.h"
#include "runtime/err.h"
#include "runtime/text.h"
#include "runtime/topics.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

enum { MARK_TEXT_SIZE = 320, MARK_NONCE_SIZE = 40 };

enum mark_state { MARK_NONE, MARK_RUNNING, MARK_DONE, MARK_UNREADABLE };

struct mark {
    enum mark_state state;
    int64_t attempt;               /* 1, and one more for each --again */
    int64_t outputs;               /* events and dead letters that are there, of this attempt */
    char settings[MARK_TEXT_SIZE]; /* profile's sum, time zone, currency: with others the order would be
                                      another */
    char updated_at[32];
    json_t *summary; /* owned; NULL: none */
};

void mark_done(struct mark *mark);
/* A random name for one claim. */
void mark_nonce(char to[MARK_NONCE_SIZE]);
/* Keys and values as the topic has them. The JSON is for free(). */
void mark_key(const char *sha256, char to[80]);
void mark_claim_key(const char *sha256, char to[80]);
char *mark_write(const char *sha256, const struct mark *mark);
char *mark_write_claim(const char *nonce, int64_t now_ms);

/* Reads the topic up to the claim with that nonce (NULL: up to its end as it is now). ret_claim: the nonce of
 * the last claim seen,
 * "" if none. LL_RETRY: the broker does not answer, or another import's open transaction stands in the way
 * for too long. */
enum ll_status mark_read(const struct config *config, const struct topics *topics, const char *sha256,
                         const char *nonce, struct mark *ret, char ret_claim[MARK_NONCE_SIZE],
                         struct ll_err *err);
