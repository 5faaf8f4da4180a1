/*
 * codes.h - every reason for which a record is refused or remarked on, in one table.
 * Shape:  X(name, severity, scope, what it means, what to do next). `lens explain CODE` prints a row; dead letters name
 *         them in `ll-codes`; DESIGN 3 and 4 say where each is decided.
 */
#pragma once

#include "runtime/text.h"

#include <stddef.h>
#include <stdint.h>

enum code_severity { CODE_REJECT, CODE_WARN };
enum code_scope { CODE_FRAME, CODE_ROW, CODE_FIELD, CODE_RECORD, CODE_REFERENCE, CODE_POINTS, CODE_PROCESS };

/* clang-format off */
#define CODE_TABLE(X) \
    X(FRAME_SHORT, REJECT, FRAME, "the value is shorter than the five bytes of Confluent's frame", "let the producer write Avro in Confluent's wire format") \
    X(FRAME_MAGIC, REJECT, FRAME, "the value does not begin with magic byte 0", "let the producer write Avro in Confluent's wire format") \
    X(SCHEMA_UNKNOWN, REJECT, FRAME, "neither the id table nor the registry knows the schema id", "register the schema, then lens dlq redrive") \
    X(SCHEMA_INCOMPATIBLE, REJECT, FRAME, "the writer's schema cannot be resolved to ours", "compare it with schemas/*.avsc; a new field needs a default") \
    X(DECODE_TRUNCATED, REJECT, FRAME, "the bytes end before the record does", "look for a producer that cuts values") \
    X(DECODE_LIMIT, REJECT, FRAME, "a length, a count or the depth is beyond its limit", "split the record, or look for corrupt bytes") \
    X(DECODE_TRAILING, REJECT, FRAME, "bytes follow after the record's end", "check that the schema id is the one it was written with") \
    X(DECODE_VALUE, REJECT, FRAME, "a byte sequence is no value of its type (UTF-8, varint, enum, union, boolean)", "check that the schema id is the one it was written with") \
    X(CSV_SYNTAX, REJECT, ROW, "the row is not well-formed CSV (quotes)", "mend the row in the file, import it again with --again") \
    X(CSV_COLUMNS, REJECT, ROW, "the row has another number of columns than the header", "mend the row in the file, import it again with --again") \
    X(CSV_LIMIT, REJECT, ROW, "the row or a field is longer than its limit", "mend the row in the file, import it again with --again") \
    X(TEXT_ENCODING, REJECT, ROW, "the text is not of the profile's encoding", "set encoding in the profile, or convert the file") \
    X(TEXT_CONTROL, REJECT, ROW, "a text or an identifier holds a NUL or another control character", "mend the row in the file, or the record's producer") \
    X(ID_SYNTAX, REJECT, ROW, "an identifier is not of the profile's form", "mend the row, or the pattern in the profile") \
    X(TIME_SYNTAX, REJECT, ROW, "a time is not of the profile's format, or no such time exists", "mend the row, or time_format in the profile") \
    X(AMOUNT_SYNTAX, REJECT, ROW, "an amount of money is not a decimal number", "mend the row") \
    X(AMOUNT_SCALE, REJECT, ROW, "an amount of money has more decimal places than its currency", "mend the row; nothing is ever rounded") \
    X(QUANTITY_SYNTAX, REJECT, ROW, "a quantity is not a whole number", "mend the row") \
    X(SIGN_MISMATCH, REJECT, ROW, "a sign contradicts the kind of document (a negative quantity on a sale)", "mend the row") \
    X(TYPE_UNKNOWN, REJECT, ROW, "the document is neither a sale, a return nor a void", "mend the row, or the profile") \
    X(GROUP_CONFLICT, REJECT, ROW, "rows of one transaction contradict each other", "mend the rows") \
    X(HEADER_MISSING, REJECT, ROW, "a line item has no header row", "add the header row, import again with --again") \
    X(TRANSACTION_ID_MISSING, REJECT, FIELD, "transaction_id is empty", "name the transaction") \
    X(SOURCE_MISSING, REJECT, FIELD, "source is empty, or not in deploy/validation.conf", "add the source to deploy/validation.conf") \
    X(ORIGINAL_MISSING, REJECT, FIELD, "a void does not name the sale that it voids", "set original_transaction_id, then lens dlq redrive") \
    X(TIME_INVALID, REJECT, FIELD, "event_time is absent or not a plausible time", "correct event_time, then lens dlq redrive") \
    X(TIME_FUTURE, REJECT, FIELD, "event_time is later than the record's own time by more than the skew", "correct the till's clock") \
    X(TIME_LATE, REJECT, FIELD, "event_time is older than the source's lateness limit", "raise lateness_ms of the source if it is meant, then lens dlq redrive") \
    X(PRODUCT_MISSING, REJECT, FIELD, "a line has no product_id", "name the product, then lens dlq redrive") \
    X(QUANTITY_NOT_POSITIVE, REJECT, FIELD, "a quantity is zero or negative; the sign is the event type's", "correct the line, then lens dlq redrive") \
    X(PRICE_NOT_POSITIVE, REJECT, FIELD, "a unit price is zero or negative", "correct the line, then lens dlq redrive") \
    X(AMOUNT_NOT_POSITIVE, REJECT, FIELD, "a line amount is zero or negative", "correct the line, then lens dlq redrive") \
    X(DISCOUNT_NEGATIVE, REJECT, FIELD, "a discount is negative", "correct the line, then lens dlq redrive") \
    X(CURRENCY_UNKNOWN, REJECT, FIELD, "the currency is not an ISO 4217 code", "correct it, then lens dlq redrive") \
    X(CURRENCY_OTHER, REJECT, FIELD, "the currency is not the program's", "convert it before it is sent") \
    X(LINES_EMPTY, REJECT, RECORD, "the transaction has no line, or none that is good", "send its lines") \
    X(LINE_NO_DUPLICATE, REJECT, RECORD, "two lines have the same number", "number the lines") \
    X(LINE_AMOUNT_MISMATCH, REJECT, RECORD, "a line amount is not quantity times unit price less discount", "correct the line, then lens dlq redrive") \
    X(TOTAL_MISMATCH, REJECT, RECORD, "the header total is not the sum of the line amounts", "correct the total, then lens dlq redrive") \
    X(AMOUNT_OVERFLOW, REJECT, RECORD, "an amount does not fit into 64 bits of minor units", "look for corrupt amounts") \
    X(STORE_MISSING, REJECT, REFERENCE, "the source must name a store and does not", "name the store, or set references = \"ignored\" for the source") \
    X(STORE_UNKNOWN, REJECT, REFERENCE, "no such store on that date", "send the store, then lens dlq redrive") \
    X(STORE_CLOSED, REJECT, REFERENCE, "the store was not open on that date", "correct the store's dates, then lens dlq redrive") \
    X(PRODUCT_UNKNOWN, REJECT, REFERENCE, "no such product on that date", "send the product, then lens dlq redrive") \
    X(CUSTOMER_UNKNOWN, REJECT, REFERENCE, "no such customer on that date", "send the customer, then lens dlq redrive") \
    X(PROMOTION_UNKNOWN, REJECT, REFERENCE, "no such promotion", "send the promotion, then lens dlq redrive") \
    X(PROMOTION_INACTIVE, REJECT, REFERENCE, "the promotion does not run on that date", "correct the promotion's dates, then lens dlq redrive") \
    X(PROMOTION_PRODUCT, REJECT, REFERENCE, "the promotion is not for that product", "correct the promotion, then lens dlq redrive") \
    X(DATES_REVERSED, REJECT, RECORD, "a start lies after its end", "correct the dates") \
    X(REFERENCE_ID_MISSING, REJECT, FIELD, "a customer, product, store or promotion has no id", "name it") \
    X(EMAIL_IMPLAUSIBLE, WARN, FIELD, "the e-mail address has no plausible form: the customer is kept, never mailed", "correct the address") \
    X(PHONE_IMPLAUSIBLE, WARN, FIELD, "the phone number has no plausible form", "correct the number") \
    X(DUPLICATE_CONFLICT, REJECT, POINTS, "the identity was accepted before with other content", "compare both (lens ledger); give the new one its own id") \
    X(ORPHAN_RETURN, REJECT, POINTS, "the sale of a return did not come within the holding time", "send the sale, then lens dlq redrive") \
    X(RETURN_CUSTOMER, REJECT, POINTS, "a return names another customer than its sale", "correct the customer, then lens dlq redrive") \
    X(POINTS_OVERFLOW, REJECT, POINTS, "the points do not fit into their limit", "look for corrupt amounts or rules") \
    X(RULES_MISSING, WARN, POINTS, "no rule set was in force at the event's time: it earned nothing", "publish rules that begin earlier: lens rules publish") \
    X(REFUND_EXCESS, WARN, POINTS, "more was refunded than the sale holds: clamped at the sale", "look at the sale's returns (lens ledger)") \
    X(RECORD_CRASHED, REJECT, PROCESS, "the record killed the process again and again, and was isolated", "report it with lens dlq show") \
    X(VALUE_SYNTAX, REJECT, ROW, "a value is not of the form that its column has in the profile", "mend the row, or the profile")
/* clang-format on */

enum code {
    CODE_NONE = 0,
#define X(name, severity, scope, meaning, next) CODE_##name,
    CODE_TABLE(X)
#undef X
        CODE_COUNT,
};

/* A set of codes: bit (1 << code). */
_Static_assert(CODE_COUNT <= 64, "a set of codes is one uint64_t");

struct code_info {
    const char *name;
    enum code_severity severity;
    enum code_scope scope;
    const char *meaning;
    const char *next;
};

/* NULL for CODE_NONE and out of range. */
const struct code_info *code_info(enum code code);
/* CODE_NONE if there is no such name. */
enum code code_find(struct text name);
const char *code_scope_name(enum code_scope scope);

static inline uint64_t code_bit(enum code code) { return (uint64_t)1 << code; }
/* The set's names, comma-separated in table order, into to (cut at size); returns to. */
char *code_names(uint64_t set, char *to, size_t size);
