/*
 * verify.h - recompute what must be true of the whole line, and find the first thing that is not.
 * Shape:  verify.c runs the checks in turn and prints; each check is one file and one function, and writes what it found into struct
 *         check: how much it compared, how much differed, the first difference with both values and the next command.
 *         It works on a line that runs: every check takes a cut (group offsets, the ledger's next_offset) before it reads, and
 *         looks only below it; what may be ahead of the cut (Redis, by one flush) is asked again before it counts as different.
 * Source: DESIGN 3 (conservation), 4 (a balance is a function of the set of events), 5 (the watermarks).
 */
#pragma once

#include "ops/lens.h"
#include "ops/line.h"
#include "schemas/codec.h"
#include "state/postgres.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { VERIFY_CHECKS_MAX = 24, VERIFY_TEXT_SIZE = 480 };

struct check {
    const char *name;
    const char *what; /* in words */
    const char *unit; /* of compared and different */
    int64_t compared, different;
    char first[VERIFY_TEXT_SIZE]; /* the first difference, both values */
    char next[VERIFY_TEXT_SIZE];  /* the next command */
    char note[VERIFY_TEXT_SIZE];  /* what was left out, and why; empty: nothing */
};

/* One partition of transactions.valid in the cut: what the ledger says of it. */
struct verify_cut {
    int64_t next_offset, clock_ms;
    int32_t rules_version;
    int64_t read, credited, duplicate, dead, held, control;
    int64_t ledger_rows, dead_rows, held_rows;
    bool known; /* it has a row */
};

struct verify {
    struct lens *lens;
    struct line_view view;
    struct codec *codec;
    struct codec_scratch *scratch;
    struct postgres *postgres;
    struct verify_cut *cuts; /* by partition */
    int32_t partitions;
    struct check checks[VERIFY_CHECKS_MAX];
    size_t check_count;
};

struct check *verify_check(struct verify *verify, const char *name, const char *what, const char *unit);
/* One more difference; the first one is kept with its next command. format may hold untrusted bytes: they are made inert. */
void verify_differs(struct check *check, const char *next, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void verify_note(struct check *check, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Inert, for %s, in a ring of static buffers: good for one message with at most 8 of them. */
const char *verify_text(struct text text);
/* The rows of a query whose $1 is the run. */
enum ll_status verify_query(struct verify *verify, const char *sql, struct postgres_rows **ret,
                            struct ll_err *err);

/* verify_raw.c: every raw record was decided once, as valid or dead, or is parked and waits; every line of it too. */
enum ll_status verify_raw(struct verify *verify, struct ll_err *err);
/* verify_reference.c: every reference record is valid, by its key, or dead. */
enum ll_status verify_reference(struct verify *verify, struct ll_err *err);
/* verify_counts.c: what each partition's row says that accrue read is the sum of what it did, and the rows are there; accounts
 * are the fold of the ledger; identities are unique. */
enum ll_status verify_counts(struct verify *verify, struct ll_err *err);
/* verify_redis.c: every balance that Redis shows is the ledger's. */
enum ll_status verify_redis(struct verify *verify, struct ll_err *err);
/* verify_fold.c: transactions.valid through the decision code, from nothing, gives the same ledger, refusals, holds and counts. */
enum ll_status verify_fold(struct verify *verify, struct ll_err *err);
/* verify_relay.c: what the relay has carried to ledger and dead-letter is what Postgres holds, each row once and in order. */
enum ll_status verify_relay(struct verify *verify, struct ll_err *err);
/* verify_standing.c: the last epoch and everybody's standing are what the batch makes of the ledger's rows below segment's offsets;
 * changes are numbered without a gap, end where each customer stands, and lie in their topic. */
enum ll_status verify_standing(struct verify *verify, struct ll_err *err);
/* verify_letters.c: what gives rise to a letter has one, and no letter is without cause; the balances that letters name are the
 * ledger's. */
enum ll_status verify_letters(struct verify *verify, struct ll_err *err);
/* Of a query whose rows are differences: the first one's words from its column `words`, all of them from `wrong`; next names the
 * column `customer`, if there is one. */
enum ll_status verify_rows(struct verify *verify, struct check *check, const char *sql, const char *const *params,
                           int param_count, const char *next, struct ll_err *err);
