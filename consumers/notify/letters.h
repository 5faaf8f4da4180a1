/*
 * letters.h - the kinds of letters: what each answers to, and its templates.
 * Shape:  deploy/letters/letters.conf lists them; <name>.txt (its first line "Subject: ...") and <name>.html are the templates,
 *         UTF-8 with {{field}}. Which fields there are depends on what the letter answers to; one that is not among them, a file
 *         that is not there, a body without {{unsubscribe_url}}: an error at the start, with file and line. Values are data: in
 *         HTML they are escaped, and nowhere can one bring a line end or a field of its own.
 * Errors: LL_FATAL with file and line.
 */
#pragma once

#include "consumers/notify/decide.h"
#include "runtime/err.h"
#include "runtime/text.h"

#include <stdbool.h>
#include <stddef.h>

enum { LETTERS_MAX = 64, LETTER_NAME_SIZE = 48, LETTER_REASONS_MAX = 8 };

#define LETTER_FIELDS(X)                                                                                     \
    X(NAME, "name")                                                                                          \
    X(PROGRAM, "program")                                                                                    \
    X(CUSTOMER, "customer_id")                                                                               \
    X(UNSUBSCRIBE, "unsubscribe_url")                                                                        \
    X(BALANCE, "balance")                                                                                    \
    X(SPENDABLE, "spendable")                                                                                \
    X(POINTS, "points")                                                                                      \
    X(DAY, "day")                                                                                            \
    X(TRANSACTION, "transaction")                                                                            \
    X(AMOUNT, "amount")                                                                                      \
    X(EARNED, "earned")                                                                                      \
    X(REVERSED, "reversed")                                                                                  \
    X(COUNT, "count")                                                                                        \
    X(SEGMENT, "segment")                                                                                    \
    X(TIER, "tier")                                                                                          \
    X(VISITS, "visits")                                                                                      \
    X(SPEND, "spend")                                                                                        \
    X(RECENCY, "recency_days")

enum letter_field {
#define X(name, word) FIELD_##name,
    LETTER_FIELDS(X)
#undef X
        FIELD_COUNT_OF,
};

enum letter_trigger { ON_POINTS_EARNED, ON_POINTS_REVERSED, ON_POINTS_DAY, ON_ENTERED, ON_EXITED, ON_COUNT };

struct letter_kind {
    char name[LETTER_NAME_SIZE];
    enum letter_trigger on;
    enum letter_class class;
    char list[17];
    char segment[LETTER_NAME_SIZE]; /* ON_ENTERED, ON_EXITED: a name, or a beginning and '*' */
    unsigned reasons;               /* set of segment_change_reason; 0: any */
    char *subject, *text, *html;    /* owned */
};

struct letters {
    struct letter_kind kinds[LETTERS_MAX];
    size_t count;
};

/* NULL: the value is not known; a template that names it gets an empty text (a name: "customer"). */
struct letter_values {
    struct text of[FIELD_COUNT_OF];
};

enum ll_status letters_load(const char *folder, struct letters *ret, struct ll_err *err);
void letters_done(struct letters *letters);

const struct letter_kind *letters_named(const struct letters *letters, struct text name);
/* The first that answers; NULL: none. segment and reason: of a change. */
const struct letter_kind *letters_on(const struct letters *letters, enum letter_trigger on,
                                     struct text segment, int reason);
enum letter_truth letter_truth_of(const struct letter_kind *kind);
const char *letter_class_name(enum letter_class class);

/* malloc'd, NUL-terminated, the caller frees. Checks one template and renders it. */
enum letter_part { LETTER_SUBJECT, LETTER_TEXT, LETTER_HTML };
char *letter_render(const struct letter_kind *kind, enum letter_part part, const struct letter_values *values,
                    size_t *ret_size);
/* Checks a template's fields; path is for the words. line: of its first byte. */
enum ll_status letter_check(const char *path, int line, const char *template, enum letter_trigger on,
                            bool needs_unsubscribe, struct ll_err *err);
