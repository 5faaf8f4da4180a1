/*
 * quality.h - is a record good? Every rule that it breaks, not only the first.
 * Shape:  one decoded event in; a set of codes out, for the record and for each of its lines. Pure: no clock, no I/O. The words
 *         are made apart from the verdict, since almost all records are good.
 * Units:  as in event.h.
 * Source: DESIGN 3; schemas/codes.h says what each code means.
 */
#pragma once

#include "consumers/validate/references.h"
#include "consumers/validate/settings.h"
#include "runtime/clock.h"
#include "schemas/codes.h"
#include "schemas/event.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What is judged against. */
struct quality_frame {
    const struct settings_source *source; /* settings_find(); NULL: SOURCE_MISSING */
    const struct references *references;
    struct calendar *calendar; /* of the program's time zone */
    struct text currency;      /* the program's */
    int64_t arrived_ms; /* broker timestamp of the raw record; of a redriven one, that of its first arrival */
};

struct quality_verdict {
    uint64_t codes;        /* all, of the record and of its lines */
    uint64_t record_codes; /* those that concern the whole */
    uint32_t bad_line_count;
    bool missing; /* a reference is not there (yet): until it is, or time is up, the list of reasons is not
                     final */
    int64_t sum_minor;                    /* of the line amounts as sent; meaningless with AMOUNT_OVERFLOW */
    uint64_t line_codes[EVENT_LINES_MAX]; /* the first line_count are set */
};

/* A reference that may still arrive: only these are worth waiting for. */
#define QUALITY_MISSING                                                                                      \
    (code_bit(CODE_STORE_UNKNOWN) | code_bit(CODE_PRODUCT_UNKNOWN) | code_bit(CODE_CUSTOMER_UNKNOWN) |       \
     code_bit(CODE_PROMOTION_UNKNOWN))

/* Judges a transaction. Also writes each line's category as of the event's date, and makes an empty optional
 * text null. */
void quality_check(const struct quality_frame *frame, struct transaction *transaction,
                   struct quality_verdict *ret);

/* Judges a customer, product, store, promotion or inventory record. May return warnings beside rejects; a
 * customer whose address is not plausible gets mailable = false. */
uint64_t quality_check_reference(struct event *event);

/* A byte below 0x20, or DEL. */
bool quality_has_control(struct text text);

/* Only the rejects of a set. */
uint64_t quality_rejects(uint64_t codes);

/* What is wrong, naming field and line, "; " between: as much as fits. line: the position of one line, or
 * QUALITY_ALL. Returns to. */
enum { QUALITY_ALL = -1 };
char *quality_words(const struct quality_frame *frame, const struct transaction *transaction,
                    const struct quality_verdict *verdict, int line, char *to, size_t size);
char *quality_reference_words(const struct event *event, uint64_t codes, char *to, size_t size);

/* Takes the bad lines out; the total, where there is one, becomes the sum of what is left. */
void quality_drop_lines(struct transaction *transaction, const struct quality_verdict *verdict);

/* "local@domain.tld", and nothing that could start a header of its own. */
bool quality_email_plausible(struct text email);
/* 6 to 15 digits (E.164), a leading +, blanks, dots, dashes, slashes, brackets. */
bool quality_phone_plausible(struct text phone);
/* One of ISO 4217's active codes of currencies. */
bool quality_currency_known(struct text currency);
