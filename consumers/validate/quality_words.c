#include "consumers/validate/quality.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Appends to a text of fixed size; what does not fit is cut. */
struct words {
    char *to;
    size_t size, used;
};

static void add(struct words *words, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void add(struct words *words, const char *format, ...)
{
    if (words->used + 1 >= words->size)
        return;
    va_list arguments;
    va_start(arguments, format);
    int written = vsnprintf(words->to + words->used, words->size - words->used, format, arguments);
    va_end(arguments);
    if (written > 0)
        words->used += (size_t)written;
    if (words->used >= words->size)
        words->used = words->size - 1;
}

/* A record's own bytes, made fit for a header, a log line and a terminal. */
static void add_text(struct words *words, struct text text)
{
    enum { SHOWN_MAX = 64 };
    char shown[SHOWN_MAX + 1];
    uint32_t size = text.size < SHOWN_MAX ? text.size : SHOWN_MAX;
    for (uint32_t i = 0; i < size; i++) {
        unsigned char c = (unsigned char)text.data[i];
        shown[i] = c >= 0x20 && c < 0x7f && c != '"' && c != '\\' ? (char)c : '?';
    }
    shown[size] = '\0';
    if (text.data == NULL)
        add(words, "null");
    else
        add(words, "\"%s\"%s", shown, text.size > SHOWN_MAX ? "..." : "");
}

static void add_control(struct words *words, const char *field, struct text text)
{
    if (!quality_has_control(text))
        return;
    add(words, "%s ", field);
    add_text(words, text);
    add(words, " holds a control character ");
}

static void add_record_code(struct words *words, const struct quality_frame *frame,
                            const struct transaction *t, const struct quality_verdict *verdict,
                            enum code code)
{
    char event_time[32], arrived[32];
    add(words, "%s%s: ", words->used > 0 ? "; " : "", code_info(code)->name);
    switch ((int)code) {
    case CODE_TRANSACTION_ID_MISSING:
        add(words, "transaction_id is ");
        add_text(words, t->transaction_id);
        return;
    case CODE_TEXT_CONTROL:
        add_control(words, "transaction_id", t->transaction_id);
        add_control(words, "original_transaction_id", t->original_transaction_id);
        add_control(words, "store_id", t->store_id);
        add_control(words, "customer_id", t->customer_id);
        add_control(words, "source", t->source);
        add_control(words, "channel", t->channel);
        words->used -= words->used > 0; /* the last blank */
        words->to[words->used] = '\0';
        return;
    case CODE_SOURCE_MISSING:
        add(words, "source ");
        add_text(words, t->source);
        add(words, t->source.size == 0 ? " is empty" : " is not in validation.conf");
        return;
    case CODE_ORIGINAL_MISSING:
        add(words, "original_transaction_id of a void is ");
        add_text(words, t->original_transaction_id);
        return;
    case CODE_TIME_INVALID:
        add(words, "event_time %" PRId64 " is no plausible time in milliseconds", t->event_time_ms);
        return;
    case CODE_TIME_FUTURE:
        add(words, "event_time %s is more than %" PRId64 " ms after its arrival at %s",
            clock_format(t->event_time_ms, event_time, sizeof event_time), frame->source->skew_ms,
            clock_format(frame->arrived_ms, arrived, sizeof arrived));
        return;
    case CODE_TIME_LATE:
        add(words, "event_time %s is more than %" PRId64 " ms before its arrival at %s",
            clock_format(t->event_time_ms, event_time, sizeof event_time), frame->source->lateness_ms,
            clock_format(frame->arrived_ms, arrived, sizeof arrived));
        return;
    case CODE_CURRENCY_UNKNOWN:
    case CODE_CURRENCY_OTHER:
        add(words, "currency ");
        add_text(words, t->currency);
        add(words, ", the program's is %.*s", TEXT_ARG(frame->currency));
        return;
    case CODE_LINES_EMPTY:
        add(words, t->line_count == 0 ? "lines is empty" : "none of the %" PRIu32 " lines is good",
            t->line_count);
        return;
    case CODE_TOTAL_MISMATCH:
        add(words, "total_amount %" PRId64 ", the lines' sum is %" PRId64, t->total_minor,
            verdict->sum_minor);
        return;
    case CODE_AMOUNT_OVERFLOW:
        add(words, "the sum of the line amounts is beyond 64 bits");
        return;
    case CODE_STORE_MISSING:
        add(words, "store_id is ");
        add_text(words, t->store_id);
        return;
    case CODE_STORE_UNKNOWN:
    case CODE_STORE_CLOSED:
        add(words, "store_id ");
        add_text(words, t->store_id);
        add(words,
            code == CODE_STORE_CLOSED ? " is not open at event_time %s" : " is unknown at event_time %s",
            clock_format(t->event_time_ms, event_time, sizeof event_time));
        return;
    case CODE_CUSTOMER_UNKNOWN:
        add(words, "customer_id ");
        add_text(words, t->customer_id);
        add(words, " is unknown at event_time %s",
            clock_format(t->event_time_ms, event_time, sizeof event_time));
        return;
    default:
        add(words, "%s", code_info(code)->meaning);
    }
}

static void add_line_code(struct words *words, const struct line *line, uint32_t at, enum code code)
{
    add(words, "%s%s: lines[%" PRIu32 "] (line_no %" PRId32 ") ", words->used > 0 ? "; " : "",
        code_info(code)->name, at, line->line_no);
    switch ((int)code) {
    case CODE_PRODUCT_MISSING:
    case CODE_PRODUCT_UNKNOWN:
        add(words, "product_id ");
        add_text(words, line->product_id);
        return;
    case CODE_QUANTITY_NOT_POSITIVE:
        add(words, "quantity %" PRId64, line->quantity);
        return;
    case CODE_PRICE_NOT_POSITIVE:
        add(words, "unit_price %" PRId64, line->unit_price_minor);
        return;
    case CODE_AMOUNT_NOT_POSITIVE:
        add(words, "amount %" PRId64, line->amount_minor);
        return;
    case CODE_DISCOUNT_NEGATIVE:
        add(words, "discount %" PRId64, line->discount_minor);
        return;
    case CODE_LINE_AMOUNT_MISMATCH:
    case CODE_AMOUNT_OVERFLOW:
        add(words, "amount %" PRId64 ", but %" PRId64 " x %" PRId64 " - %" PRId64 " is %s",
            line->amount_minor, line->quantity, line->unit_price_minor, line->discount_minor,
            code == CODE_AMOUNT_OVERFLOW ? "beyond 64 bits" : "not that");
        return;
    case CODE_PROMOTION_UNKNOWN:
    case CODE_PROMOTION_INACTIVE:
    case CODE_PROMOTION_PRODUCT:
        add(words, "promotion_id ");
        add_text(words, line->promotion_id);
        add(words, ", product_id ");
        add_text(words, line->product_id);
        return;
    default:
        add(words, "%s", code_info(code)->meaning);
    }
}

char *quality_words(const struct quality_frame *frame, const struct transaction *transaction,
                    const struct quality_verdict *verdict, int line, char *to, size_t size)
{
    struct words words = {to, size, 0};
    to[0] = '\0';
    for (int code = 1; line == QUALITY_ALL && code < CODE_COUNT; code++)
        if ((verdict->record_codes & code_bit((enum code)code)) != 0)
            add_record_code(&words, frame, transaction, verdict, (enum code)code);
    for (uint32_t i = 0; i < transaction->line_count; i++)
        for (int code = 1; (line == QUALITY_ALL || (uint32_t)line == i) && code < CODE_COUNT; code++)
            if ((verdict->line_codes[i] & code_bit((enum code)code)) != 0)
                add_line_code(&words, &transaction->lines[i], i, (enum code)code);
    return to;
}

static void add_reference_value(struct words *words, const struct event *event, enum code code)
{
    if (event->kind == EVENT_CUSTOMER && code == CODE_EMAIL_IMPLAUSIBLE) {
        add(words, "email of customer ");
        add_text(words, event->customer.customer_id); /* never the address itself: this goes to logs */
    } else if (event->kind == EVENT_CUSTOMER && code == CODE_PHONE_IMPLAUSIBLE) {
        add(words, "phone of customer ");
        add_text(words, event->customer.customer_id);
    } else if (event->kind == EVENT_PRODUCT && code == CODE_PRICE_NOT_POSITIVE) {
        add(words, "unit_price %" PRId64 " of product ", event->product.unit_price_minor);
        add_text(words, event->product.product_id);
    } else if (event->kind == EVENT_STORE && code == CODE_DATES_REVERSED) {
        add(words, "store ");
        add_text(words, event->store.store_id);
        add(words, " opened on day %" PRId32 ", closed on day %" PRId32, event->store.opened_day,
            event->store.closed_day);
    } else if (event->kind == EVENT_PROMOTION && code == CODE_DATES_REVERSED) {
        add(words, "promotion ");
        add_text(words, event->promotion.promotion_id);
        add(words, " starts on day %" PRId32 ", ends on day %" PRId32, event->promotion.start_day,
            event->promotion.end_day);
    } else {
        add(words, "%s", code_info(code)->meaning);
    }
}

char *quality_reference_words(const struct event *event, uint64_t codes, char *to, size_t size)
{
    struct words words = {to, size, 0};
    to[0] = '\0';
    for (int code = 1; code < CODE_COUNT; code++) {
        if ((codes & code_bit((enum code)code)) == 0)
            continue;
        add(&words, "%s%s: ", words.used > 0 ? "; " : "", code_info((enum code)code)->name);
        add_reference_value(&words, event, (enum code)code);
    }
    return to;
}
