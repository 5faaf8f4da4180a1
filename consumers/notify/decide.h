/*
 * decide.h - may this letter go now? One verdict and one reason, by rules in a fixed order.
 * Shape:  pure: facts and limits in, a verdict out; no clock, no I/O. The first rule that stops the letter names the reason.
 * Order:  of another run, too old (neither can change); then DESIGN 7: erased, invalid or bounced address, unsubscribed, no consent,
 *         already sent, no longer true now, frequency cap, quiet hours.
 * Units:  _ms is int64 ms since 1970 UTC, or a length of time.
 */
#pragma once

#include "runtime/clock.h"
#include "runtime/config.h"
#include "runtime/text.h"

#include <stdbool.h>
#include <stdint.h>

enum letter_class { CLASS_TRANSACTIONAL, CLASS_SERVICE, CLASS_MARKETING };

/* What a letter needs to be true. */
enum letter_truth {
    TRUTH_ALWAYS,
    TRUTH_POINTS,  /* some of its points are left */
    TRUTH_INSIDE,  /* the customer is in the segment */
    TRUTH_OUTSIDE, /* ... is not */
};

#define DECIDE_REASONS(X)                                                                                    \
    X(OK, "every rule lets it go")                                                                           \
    X(REPLAY, "it is of a run that is not the live one (notify.live_run)")                                   \
    X(TOO_OLD, "what it tells happened longer ago than notify.age_ms")                                       \
    X(ERASED, "the customer asked to be erased")                                                             \
    X(NO_ADDRESS, "no address of the customer is known")                                                     \
    X(BAD_ADDRESS, "the address has a form that no mail server takes")                                       \
    X(BOUNCED, "a server refused the address for good; `lens mail retry ID` tries it again")                 \
    X(UNSUBSCRIBED, "the customer has unsubscribed from this list")                                          \
    X(NO_CONSENT, "the customer has not agreed to marketing")                                                \
    X(ALREADY_SENT, "it was sent before")                                                                    \
    X(NOT_TRUE, "what it tells is no longer true")                                                           \
    X(CAPPED, "the customer has had notify.cap_letters of its class within notify.cap_ms")                   \
    X(QUIET_HOURS, "it is between notify.quiet_from_hour and quiet_to_hour; it waits")

enum decide_reason {
#define X(name, words) DECIDE_##name,
    DECIDE_REASONS(X)
#undef X
        DECIDE_COUNT,
};

struct decide_facts {
    enum letter_class class;
    enum letter_truth truth;
    int64_t happened_ms;
    bool erased, known, mailable, consent, unsubscribed, sent;
    struct text address;
    bool bounced;
    bool inside;              /* TRUTH_INSIDE, TRUTH_OUTSIDE */
    int64_t points, reversed; /* TRUTH_POINTS: reversed is zero or below */
    int64_t recent;           /* marketing letters of late */
};

/* *ret_until_ms: with QUIET_HOURS, when they end. */
enum decide_reason decide(const struct config *config, struct calendar *calendar,
                          const struct decide_facts *facts, int64_t now_ms, int64_t *ret_until_ms);
/* The rules that time and the customer cannot change: a letter that fails is held at once. */
enum decide_reason decide_at_once(const struct config *config, int64_t happened_ms, int64_t now_ms);
const char *decide_name(enum decide_reason reason);
const char *decide_words(enum decide_reason reason);

/* How long after the attempt-th put-off the next one is due: doubled each time up to the most, half of it left to chance (0 to 1). */
int64_t decide_backoff_ms(const struct config *config, int64_t attempt, double chance);
