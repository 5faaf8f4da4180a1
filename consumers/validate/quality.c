#include "consumers/validate/quality.h"

#include "consumers/validate/references_find.h"

#include "schemas/utf8.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* An event time outside of these is a mistaken unit (seconds, microseconds) or an absent value, not a time.
 */
#define DAY_MS      INT64_C(86400000)
#define TIME_MIN_MS INT64_C(631152000000)  /* 1990-01-01 */
#define TIME_MAX_MS INT64_C(4102444800000) /* 2100-01-01 */

/* Blank counts as absent. */
static bool missing(struct text text)
{
    for (uint32_t i = 0; i < text.size; i++)
        if (text.data[i] != ' ')
            return false;
    return true;
}

static void null_if_empty(struct text *text)
{
    if (text->size == 0)
        text->data = NULL;
}

/* A control character in an identifier: a ledger row, a log line and a terminal each take some of them for something else,
 * and Postgres has no NUL. */
bool quality_has_control(struct text text)
{
    struct utf8_look look = { 0, 0 };
    utf8_look(text, &look);
    return utf8_has_control(&look);
}

static uint64_t check_time(const struct quality_frame *frame, int64_t time_ms)
{
    if (time_ms < TIME_MIN_MS || time_ms >= TIME_MAX_MS)
        return code_bit(CODE_TIME_INVALID);
    if (frame->source == NULL)
        return 0;
    if (time_ms - frame->arrived_ms > frame->source->skew_ms)
        return code_bit(CODE_TIME_FUTURE);
    if (frame->source->lateness_ms != INT64_MAX && frame->arrived_ms - time_ms > frame->source->lateness_ms)
        return code_bit(CODE_TIME_LATE);
    return 0;
}

/* Three letters each, and nearly always the same. */
static bool same_currency(struct text a, struct text b)
{
    return a.size == 3 && b.size == 3 ? memcmp(a.data, b.data, 3) == 0 : text_equal(a, b);
}

static uint64_t check_header(const struct quality_frame *frame, struct transaction *transaction)
{
    uint64_t codes = 0;
    if (missing(transaction->transaction_id))
        codes |= code_bit(CODE_TRANSACTION_ID_MISSING);
    if (frame->source == NULL)
        codes |= code_bit(CODE_SOURCE_MISSING);
    if (transaction->type == TRANSACTION_VOID && missing(transaction->original_transaction_id))
        codes |= code_bit(CODE_ORIGINAL_MISSING);
    if (!transaction->has_no_control &&
        (quality_has_control(transaction->transaction_id) ||
         quality_has_control(transaction->original_transaction_id) ||
         quality_has_control(transaction->store_id) || quality_has_control(transaction->customer_id) ||
         quality_has_control(transaction->source) || quality_has_control(transaction->channel)))
        codes |= code_bit(CODE_TEXT_CONTROL);
    codes |= check_time(frame, transaction->event_time_ms);
    if (!same_currency(transaction->currency, frame->currency))
        codes |= code_bit(quality_currency_known(transaction->currency) ? CODE_CURRENCY_OTHER
                                                                        : CODE_CURRENCY_UNKNOWN);
    return codes;
}

/* The date as of which references count. With no plausible time of its own, only whether they exist is asked.
 */
static int64_t as_of(const struct transaction *transaction)
{
    int64_t time_ms = transaction->event_time_ms;
    return time_ms >= TIME_MIN_MS && time_ms < TIME_MAX_MS ? time_ms : INT64_MAX;
}

/* Open on the day itself, whatever the time zone: only near an end the calendar is asked. */
static bool is_open(const struct quality_frame *frame, const struct reference_store *store, int64_t time_ms)
{
    int64_t utc_day = time_ms / DAY_MS;
    if (store->opened_day < utc_day && utc_day + 1 < store->closed_day)
        return true;
    int32_t day = calendar_day(frame->calendar, time_ms);
    return store->opened_day <= day && day < store->closed_day;
}

static uint64_t check_store(const struct quality_frame *frame, const struct transaction *transaction,
                            const struct reference_seek *seek, int64_t time_ms)
{
    struct reference_store store;
    if (missing(transaction->store_id))
        return code_bit(CODE_STORE_MISSING);
    if (!find_store(frame->references, seek, time_ms, &store))
        return code_bit(CODE_STORE_UNKNOWN);
    return time_ms == INT64_MAX || is_open(frame, &store, time_ms) ? 0 : code_bit(CODE_STORE_CLOSED);
}

static uint64_t check_amounts(const struct line *line)
{
    uint64_t codes = 0;
    if (line->quantity <= 0)
        codes |= code_bit(CODE_QUANTITY_NOT_POSITIVE);
    if (line->unit_price_minor <= 0)
        codes |= code_bit(CODE_PRICE_NOT_POSITIVE);
    if (line->amount_minor <= 0)
        codes |= code_bit(CODE_AMOUNT_NOT_POSITIVE);
    if (line->discount_minor < 0)
        codes |= code_bit(CODE_DISCOUNT_NEGATIVE);
    int64_t amount;
    if (__builtin_mul_overflow(line->quantity, line->unit_price_minor, &amount) ||
        __builtin_sub_overflow(amount, line->discount_minor, &amount))
        codes |= code_bit(CODE_AMOUNT_OVERFLOW);
    else if (amount != line->amount_minor)
        codes |= code_bit(CODE_LINE_AMOUNT_MISMATCH);
    return codes;
}

static uint64_t check_promotion(const struct quality_frame *frame, const struct line *line, int64_t time_ms)
{
    struct reference_seek seek;
    seek_id(frame->references, REFERENCE_PROMOTION, line->promotion_id, &seek);
    const struct reference_promotion *promotion = references_promotion(frame->references, &seek, time_ms);
    if (promotion == NULL)
        return code_bit(CODE_PROMOTION_UNKNOWN);
    uint64_t codes = 0;
    if (time_ms != INT64_MAX && !reference_promotion_runs(promotion, calendar_day(frame->calendar, time_ms)))
        codes |= code_bit(CODE_PROMOTION_INACTIVE);
    if (!reference_promotion_covers(promotion, line->product_id, line->category))
        codes |= code_bit(CODE_PROMOTION_PRODUCT);
    return codes;
}

static uint64_t check_line(const struct quality_frame *frame, const struct transaction *transaction,
                           const struct reference_seek *seek, int64_t time_ms, struct line *line)
{
    uint64_t codes = check_amounts(line);
    null_if_empty(&line->promotion_id);
    line->category = (struct text){NULL, 0};
    if (!transaction->has_no_control &&
        (quality_has_control(line->product_id) || quality_has_control(line->promotion_id)))
        codes |= code_bit(CODE_TEXT_CONTROL);
    if (missing(line->product_id)) {
        codes |= code_bit(CODE_PRODUCT_MISSING);
    } else {
        struct reference_product product;
        /* A discontinued product can still be brought back. */
        if (find_product(frame->references, seek, time_ms, &product) &&
            (product.active || transaction->type != TRANSACTION_SALE))
            line->category = product.category;
        else if (frame->source != NULL && frame->source->required[REFERENCE_PRODUCT])
            codes |= code_bit(CODE_PRODUCT_UNKNOWN);
    }
    /* With its product unknown, a promotion by category cannot be judged: it is, once the product is there.
     */
    if (frame->source != NULL && frame->source->required[REFERENCE_PROMOTION] &&
        line->promotion_id.data != NULL && (codes & code_bit(CODE_PRODUCT_UNKNOWN)) == 0)
        codes |= check_promotion(frame, line, time_ms);
    return codes;
}

struct numbered {
    int32_t line_no;
    uint32_t at;
};

static int numbered_order(const void *left, const void *right)
{
    const struct numbered *a = left, *b = right;
    if (a->line_no != b->line_no)
        return a->line_no < b->line_no ? -1 : 1;
    return a->at < b->at ? -1 : 1;
}

/* Marks the second and later lines of a number. Lines mostly come in order: then a look at each neighbour is
 * enough. */
static void check_line_numbers(const struct transaction *transaction, struct quality_verdict *verdict)
{
    uint32_t i = 1;
    while (i < transaction->line_count && transaction->lines[i - 1].line_no < transaction->lines[i].line_no)
        i++;
    if (i >= transaction->line_count)
        return;
    struct numbered numbers[EVENT_LINES_MAX];
    for (i = 0; i < transaction->line_count; i++)
        numbers[i] = (struct numbered){transaction->lines[i].line_no, i};
    qsort(numbers, transaction->line_count, sizeof *numbers, numbered_order);
    for (i = 1; i < transaction->line_count; i++)
        if (numbers[i - 1].line_no == numbers[i].line_no)
            verdict->line_codes[numbers[i].at] |= code_bit(CODE_LINE_NO_DUPLICATE);
}

static uint64_t check_total(const struct transaction *transaction, int64_t sum_minor, bool overflow)
{
    if (overflow)
        return code_bit(CODE_AMOUNT_OVERFLOW);
    /* A void names the sale's total and need not list its lines. */
    if (!transaction->has_total || (transaction->line_count == 0 && transaction->type == TRANSACTION_VOID))
        return 0;
    return sum_minor == transaction->total_minor ? 0 : code_bit(CODE_TOTAL_MISMATCH);
}

/* What a transaction asks the references, sought some time before it is asked. */
enum { SEEKS_MAX = 8 };

struct seeks {
    struct reference_seek store, customer, products[SEEKS_MAX];
};

static uint32_t seek_products(const struct quality_frame *frame, const struct transaction *transaction,
                              uint32_t from, struct seeks *seeks)
{
    uint32_t count = transaction->line_count - from;
    count = count < SEEKS_MAX ? count : SEEKS_MAX;
    for (uint32_t i = 0; i < count; i++)
        seek_id(frame->references, REFERENCE_PRODUCT, transaction->lines[from + i].product_id,
                &seeks->products[i]);
    return count;
}

static void check_lines(const struct quality_frame *frame, struct transaction *transaction, int64_t time_ms,
                        struct seeks *seeks, uint32_t sought, struct quality_verdict *verdict)
{
    for (uint32_t from = 0; from < transaction->line_count; from += sought) {
        if (from > 0)
            sought = seek_products(frame, transaction, from, seeks);
        for (uint32_t i = 0; i < sought; i++)
            seek_near(frame->references, &seeks->products[i]);
        for (uint32_t i = 0; i < sought; i++)
            verdict->line_codes[from + i] =
                check_line(frame, transaction, &seeks->products[i], time_ms, &transaction->lines[from + i]);
    }
}

static void sum_up(const struct quality_frame *frame, const struct transaction *transaction,
                   struct quality_verdict *ret)
{
    uint64_t line_codes = 0;
    uint32_t bad_line_count = 0;
    int64_t sum_minor = 0;
    bool overflow = false;
    for (uint32_t i = 0; i < transaction->line_count; i++) {
        line_codes |= ret->line_codes[i];
        bad_line_count += ret->line_codes[i] != 0;
        overflow |= __builtin_add_overflow(sum_minor, transaction->lines[i].amount_minor, &sum_minor);
    }
    ret->sum_minor = sum_minor;
    ret->record_codes |= check_total(transaction, sum_minor, overflow);
    ret->codes = ret->record_codes | line_codes;
    ret->bad_line_count = bad_line_count;
    ret->missing = (ret->codes & QUALITY_MISSING) != 0;
    /* Lines that go alone leave a transaction behind, unless all of them go. */
    if (frame->source != NULL && frame->source->reject_line && transaction->line_count > 0 &&
        ret->bad_line_count == transaction->line_count) {
        ret->record_codes |= code_bit(CODE_LINES_EMPTY);
        ret->codes |= code_bit(CODE_LINES_EMPTY);
    }
}

void quality_check(const struct quality_frame *frame, struct transaction *transaction,
                   struct quality_verdict *ret)
{
    assert(transaction->line_count <= EVENT_LINES_MAX);
    null_if_empty(&transaction->original_transaction_id);
    null_if_empty(&transaction->store_id);
    null_if_empty(&transaction->customer_id);
    null_if_empty(&transaction->channel);

    struct seeks seeks;
    int64_t time_ms = as_of(transaction);
    bool asks_store = frame->source != NULL && frame->source->required[REFERENCE_STORE];
    bool asks_customer = frame->source != NULL && frame->source->required[REFERENCE_CUSTOMER] &&
                         transaction->customer_id.data != NULL;
    if (asks_customer)
        seek_id(frame->references, REFERENCE_CUSTOMER, transaction->customer_id, &seeks.customer);
    if (asks_store)
        seek_id(frame->references, REFERENCE_STORE, transaction->store_id, &seeks.store);
    uint32_t sought = seek_products(frame, transaction, 0, &seeks);

    ret->record_codes = check_header(frame, transaction);
    if (transaction->line_count == 0 && transaction->type != TRANSACTION_VOID)
        ret->record_codes |= code_bit(CODE_LINES_EMPTY);
    check_lines(frame, transaction, time_ms, &seeks, sought, ret);
    check_line_numbers(transaction, ret);
    if (asks_store)
        ret->record_codes |= check_store(frame, transaction, &seeks.store, time_ms);
    if (asks_customer && !find_customer(frame->references, &seeks.customer, time_ms))
        ret->record_codes |= code_bit(CODE_CUSTOMER_UNKNOWN);
    sum_up(frame, transaction, ret);
}

void quality_drop_lines(struct transaction *transaction, const struct quality_verdict *verdict)
{
    uint32_t kept = 0;
    int64_t sum = 0;
    for (uint32_t i = 0; i < transaction->line_count; i++) {
        if (verdict->line_codes[i] != 0)
            continue;
        sum += transaction->lines[i]
                   .amount_minor; /* cannot overflow: they are all positive, and so is a good sum */
        transaction->lines[kept++] = transaction->lines[i];
    }
    transaction->line_count = kept;
    if (transaction->has_total)
        transaction->total_minor = sum;
}
