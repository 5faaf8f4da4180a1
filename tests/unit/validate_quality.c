/* Every rule of DESIGN 3, as tables: a good sale, one thing changed, and all the codes that it must bring. */
#include "consumers/validate/quality.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#define NOON INT64_C(1300017600000) /* 2011-03-13T12:00Z */
#define DAY INT64_C(86400000)
#define B(name) (UINT64_C(1) << CODE_##name) /* a constant, unlike code_bit */

enum { DAY_NOON = 15046 }; /* NOON's day */

struct fixture {
    struct references *references;
    struct calendar *calendar;
    struct settings_source source;
    struct quality_frame frame;
    struct line lines[3];
    struct transaction sale;
    struct quality_verdict verdict;
};

static void put_store(struct references *references, const char *id, int64_t from_ms, int32_t opened, int32_t closed)
{
    struct event event = { .kind = EVENT_STORE };
    event.store = (struct store){ .store_id = text_of(id), .effective_from_ms = from_ms,
                                  .has_opened = opened != 0, .opened_day = opened,
                                  .has_closed = closed != 0, .closed_day = closed };
    references_put(references, &event);
}

static void put_product(struct references *references, const char *id, const char *category, int64_t from_ms, bool active)
{
    struct event event = { .kind = EVENT_PRODUCT };
    event.product = (struct product){ .product_id = text_of(id), .effective_from_ms = from_ms,
                                      .category = text_of(category), .active = active };
    references_put(references, &event);
}

static void put_promotion(struct references *references, const char *id, int32_t start, int32_t end,
                          const char *product, const char *category)
{
    struct text products[1] = { text_of(product) }, categories[1] = { text_of(category) };
    struct event event = { .kind = EVENT_PROMOTION };
    event.promotion = (struct promotion){ .promotion_id = text_of(id), .start_day = start, .end_day = end,
                                          .product_ids = products, .product_count = product != NULL,
                                          .categories = categories, .category_count = category != NULL };
    references_put(references, &event);
}

static void open_fixture(struct fixture *f)
{
    struct ll_err err;
    memset(f, 0, sizeof *f);
    f->references = references_new();
    cr_assert_eq(calendar_new("Europe/London", &f->calendar, &err), LL_OK, "%s", err.text);
    put_store(f->references, "S1", 0, 0, 0);
    put_store(f->references, "closing", 0, DAY_NOON - 100, DAY_NOON);
    put_store(f->references, "opening", 0, DAY_NOON + 1, 0);
    put_store(f->references, "last-day", 0, 0, DAY_NOON + 1);
    put_store(f->references, "later", NOON + 1, 0, 0);
    put_product(f->references, "P1", "tea", 0, true);
    put_product(f->references, "P2", "cake", 0, true);
    put_product(f->references, "P3", NULL, 0, true);
    put_product(f->references, "gone", "tea", 0, true);
    put_product(f->references, "gone", "tea", NOON - DAY, false);
    put_product(f->references, "moved", "old", 0, true);
    put_product(f->references, "moved", "new", NOON + 1, true);
    put_promotion(f->references, "any", DAY_NOON, DAY_NOON, NULL, NULL);
    put_promotion(f->references, "over", DAY_NOON - 9, DAY_NOON - 1, NULL, NULL);
    put_promotion(f->references, "tea-only", 0, DAY_NOON + 9, NULL, "tea");
    put_promotion(f->references, "p2-only", 0, DAY_NOON + 9, "P2", NULL);
    struct event customer = { .kind = EVENT_CUSTOMER };
    customer.customer.customer_id = TEXT("C1");
    references_put(f->references, &customer);
    customer.customer.customer_id = TEXT("C-later");
    customer.customer.effective_from_ms = NOON + 1;
    references_put(f->references, &customer);

    f->source = (struct settings_source){ .lateness_ms = 30 * DAY, .skew_ms = 300000 };
    for (int kind = 0; kind < REFERENCE_KINDS; kind++)
        f->source.required[kind] = true;
    f->frame = (struct quality_frame){ .source = &f->source, .references = f->references, .calendar = f->calendar,
                                       .currency = TEXT("GBP"), .arrived_ms = NOON };
    for (int i = 0; i < 3; i++)
        f->lines[i] = (struct line){ .line_no = i + 1, .quantity = 2, .unit_price_minor = 500, .discount_minor = 100,
                                     .amount_minor = 900 };
    f->lines[0].product_id = TEXT("P1");
    f->lines[1].product_id = TEXT("P2");
    f->lines[2].product_id = TEXT("P3");
    f->sale = (struct transaction){ .transaction_id = TEXT("T1"), .event_time_ms = NOON, .store_id = TEXT("S1"),
                                    .customer_id = TEXT("C1"), .currency = TEXT("GBP"), .has_total = true,
                                    .total_minor = 2700, .source = TEXT("pos"), .lines = f->lines, .line_count = 3 };
}

static void close_fixture(struct fixture *f)
{
    references_free(f->references);
    calendar_free(f->calendar);
}

static void nothing(struct fixture *f) { (void)f; }
static void no_id(struct fixture *f) { f->sale.transaction_id = TEXT(""); }
static void blank_id(struct fixture *f) { f->sale.transaction_id = TEXT("  "); }
static void no_source(struct fixture *f) { f->frame.source = NULL; }
static void void_alone(struct fixture *f)
{
    f->sale.type = TRANSACTION_VOID;
    f->sale.original_transaction_id = TEXT("T0");
    f->sale.line_count = 0; /* and the sale's total stays */
}
static void void_of_nothing(struct fixture *f) { f->sale.type = TRANSACTION_VOID; }
static void return_alone(struct fixture *f) { f->sale.type = TRANSACTION_RETURN; }
static void time_zero(struct fixture *f) { f->sale.event_time_ms = 0; }
static void time_seconds(struct fixture *f) { f->sale.event_time_ms = NOON / 1000; }
static void time_micros(struct fixture *f) { f->sale.event_time_ms = NOON * 1000; }
static void time_minimum(struct fixture *f) { f->sale.event_time_ms = INT64_MIN; }
static void skew_edge(struct fixture *f) { f->frame.arrived_ms = NOON - 300000; }
static void skew_over(struct fixture *f) { f->frame.arrived_ms = NOON - 300001; }
static void late_edge(struct fixture *f) { f->frame.arrived_ms = NOON + 30 * DAY; }
static void late_over(struct fixture *f) { f->frame.arrived_ms = NOON + 30 * DAY + 1; }
static void late_allowed(struct fixture *f)
{
    f->frame.arrived_ms = NOON + 3000 * DAY;
    f->source.lateness_ms = INT64_MAX;
}
static void currency_wrong(struct fixture *f) { f->sale.currency = TEXT("EUR"); }
static void currency_none(struct fixture *f) { f->sale.currency = TEXT("GBX"); }
static void currency_short(struct fixture *f) { f->sale.currency = TEXT("GB"); }
static void no_customer(struct fixture *f) { f->sale.customer_id = (struct text){ NULL, 0 }; }
static void empty_customer(struct fixture *f) { f->sale.customer_id = TEXT(""); }
static void customer_unknown(struct fixture *f) { f->sale.customer_id = TEXT("C9"); }
static void customer_later(struct fixture *f) { f->sale.customer_id = TEXT("C-later"); }
static void store_none(struct fixture *f) { f->sale.store_id = (struct text){ NULL, 0 }; }
static void store_unknown(struct fixture *f) { f->sale.store_id = TEXT("S9"); }
static void store_later(struct fixture *f) { f->sale.store_id = TEXT("later"); }
static void store_closed(struct fixture *f) { f->sale.store_id = TEXT("closing"); }
static void store_not_yet(struct fixture *f) { f->sale.store_id = TEXT("opening"); }
static void store_last_day(struct fixture *f) { f->sale.store_id = TEXT("last-day"); }
static void lines_none(struct fixture *f)
{
    f->sale.line_count = 0;
    f->sale.has_total = false;
}
static void product_null(struct fixture *f) { f->lines[0].product_id = (struct text){ NULL, 0 }; }
static void product_empty(struct fixture *f) { f->lines[0].product_id = TEXT(""); }
static void product_unknown(struct fixture *f) { f->lines[1].product_id = TEXT("P9"); }
static void product_gone(struct fixture *f) { f->lines[1].product_id = TEXT("gone"); }
static void product_gone_return(struct fixture *f) { f->lines[1].product_id = TEXT("gone"); f->sale.type = TRANSACTION_RETURN; }
static void quantity_zero(struct fixture *f) { f->lines[0].quantity = 0; }
static void quantity_negative(struct fixture *f)
{
    f->lines[0].quantity = -2;
    f->lines[0].amount_minor = -1100;
    f->sale.total_minor = 700;
}
static void price_zero(struct fixture *f)
{
    f->lines[0].unit_price_minor = 0;
    f->lines[0].discount_minor = 0;
    f->lines[0].amount_minor = 0;
    f->sale.total_minor = 1800;
}
static void discount_negative(struct fixture *f)
{
    f->lines[0].discount_minor = -100;
    f->lines[0].amount_minor = 1100;
    f->sale.total_minor = 2900;
}
static void given_away(struct fixture *f)
{
    f->lines[0].discount_minor = 1000;
    f->lines[0].amount_minor = 0;
    f->sale.total_minor = 1800;
}
static void amount_off_by_one(struct fixture *f) { f->lines[0].amount_minor = 901; f->sale.total_minor = 2701; }
static void total_off_by_one(struct fixture *f) { f->sale.total_minor = 2701; }
static void no_total(struct fixture *f) { f->sale.has_total = false; f->sale.total_minor = 5; }
static void product_overflows(struct fixture *f) { f->lines[0].quantity = INT64_MAX; }
static void discount_overflows(struct fixture *f)
{
    f->lines[0].quantity = INT64_MAX;
    f->lines[0].unit_price_minor = 1;
    f->lines[0].discount_minor = -1;
}
static void sum_overflows(struct fixture *f)
{
    for (int i = 0; i < 2; i++)
        f->lines[i] = (struct line){ .line_no = i + 1, .product_id = TEXT("P1"), .quantity = 1,
                                     .unit_price_minor = INT64_MAX, .amount_minor = INT64_MAX };
}
static void same_number(struct fixture *f) { f->lines[2].line_no = 1; }
static void odd_numbers(struct fixture *f) { f->lines[0].line_no = 70; f->lines[1].line_no = -3; }
static void promotion_runs(struct fixture *f) { f->lines[0].promotion_id = TEXT("any"); }
static void promotion_empty(struct fixture *f) { f->lines[0].promotion_id = TEXT(""); }
static void promotion_unknown(struct fixture *f) { f->lines[0].promotion_id = TEXT("none"); }
static void promotion_over(struct fixture *f) { f->lines[0].promotion_id = TEXT("over"); }
static void promotion_category(struct fixture *f) { f->lines[0].promotion_id = TEXT("tea-only"); }
static void promotion_other_category(struct fixture *f) { f->lines[1].promotion_id = TEXT("tea-only"); }
static void promotion_product(struct fixture *f) { f->lines[1].promotion_id = TEXT("p2-only"); }
static void promotion_other_product(struct fixture *f) { f->lines[0].promotion_id = TEXT("p2-only"); }
static void promotion_without_product(struct fixture *f)
{
    f->lines[0].promotion_id = TEXT("tea-only");
    f->lines[0].product_id = TEXT("P9");
}
static void all_ignored(struct fixture *f)
{
    for (int kind = 0; kind < REFERENCE_KINDS; kind++)
        f->source.required[kind] = false;
    f->sale.store_id = TEXT("S9");
    f->sale.customer_id = TEXT("C9");
    f->lines[0].product_id = TEXT("P9");
    f->lines[1].promotion_id = TEXT("none");
}
static void many(struct fixture *f)
{
    f->sale.transaction_id = TEXT("");
    f->sale.currency = TEXT("EUR");
    f->sale.customer_id = TEXT("C9");
    f->lines[0].quantity = 0;
    f->lines[1].product_id = TEXT("P9");
    f->lines[2].amount_minor = 1;
}

static const struct {
    const char *why;
    void (*change)(struct fixture *f);
    uint64_t codes;
} CASES[] = {
    { "a good sale is good", nothing, 0 },
    { "an id is needed", no_id, B(TRANSACTION_ID_MISSING) },
    { "blanks are no id", blank_id, B(TRANSACTION_ID_MISSING) },
    { "a source that is not configured is refused, and nothing is asked of references", no_source, B(SOURCE_MISSING) },
    { "a void may be without lines, whatever its total", void_alone, 0 },
    { "a void names what it voids", void_of_nothing, B(ORIGINAL_MISSING) },
    { "a return need not name its sale", return_alone, 0 },
    { "0 is no time, and asks nothing of dates", time_zero, B(TIME_INVALID) },
    { "seconds taken for milliseconds", time_seconds, B(TIME_INVALID) },
    { "microseconds taken for milliseconds", time_micros, B(TIME_INVALID) },
    { "the smallest number does not overflow", time_minimum, B(TIME_INVALID) },
    { "exactly the skew is allowed", skew_edge, 0 },
    { "a millisecond more is not", skew_over, B(TIME_FUTURE) },
    { "exactly the limit is allowed", late_edge, 0 },
    { "a millisecond later is not", late_over, B(TIME_LATE) },
    { "unlimited lateness", late_allowed, 0 },
    { "another currency", currency_wrong, B(CURRENCY_OTHER) },
    { "pence are no currency", currency_none, B(CURRENCY_UNKNOWN) },
    { "two letters are no currency", currency_short, B(CURRENCY_UNKNOWN) },
    { "unidentified spend is valid", no_customer, 0 },
    { "an empty customer is none", empty_customer, 0 },
    { "a customer that nobody sent", customer_unknown, B(CUSTOMER_UNKNOWN) },
    { "a customer that begins later", customer_later, B(CUSTOMER_UNKNOWN) },
    { "a store must be named", store_none, B(STORE_MISSING) },
    { "a store that nobody sent", store_unknown, B(STORE_UNKNOWN) },
    { "a store that is known from later on", store_later, B(STORE_UNKNOWN) },
    { "closed on the day itself", store_closed, B(STORE_CLOSED) },
    { "opens tomorrow", store_not_yet, B(STORE_CLOSED) },
    { "open until tomorrow", store_last_day, 0 },
    { "no lines", lines_none, B(LINES_EMPTY) },
    { "no product", product_null, B(PRODUCT_MISSING) },
    { "an empty product", product_empty, B(PRODUCT_MISSING) },
    { "a product that nobody sent", product_unknown, B(PRODUCT_UNKNOWN) },
    { "a discontinued product is not sold", product_gone, B(PRODUCT_UNKNOWN) },
    { "but comes back", product_gone_return, 0 },
    { "nothing was bought", quantity_zero, B(QUANTITY_NOT_POSITIVE) | B(LINE_AMOUNT_MISMATCH) },
    { "the sign is the event type's", quantity_negative, B(QUANTITY_NOT_POSITIVE) | B(AMOUNT_NOT_POSITIVE) },
    { "no price, so no amount", price_zero, B(PRICE_NOT_POSITIVE) | B(AMOUNT_NOT_POSITIVE) },
    { "a discount that adds", discount_negative, B(DISCOUNT_NEGATIVE) },
    { "a discount of everything leaves no amount", given_away, B(AMOUNT_NOT_POSITIVE) },
    { "quantity times price less discount, exactly", amount_off_by_one, B(LINE_AMOUNT_MISMATCH) },
    { "the total is the sum, exactly", total_off_by_one, B(TOTAL_MISMATCH) },
    { "no total, nothing to compare", no_total, 0 },
    { "quantity times price overflows", product_overflows, B(AMOUNT_OVERFLOW) },
    { "less a discount overflows", discount_overflows, B(AMOUNT_OVERFLOW) | B(DISCOUNT_NEGATIVE) },
    { "the sum overflows", sum_overflows, B(AMOUNT_OVERFLOW) },
    { "two lines of one number", same_number, B(LINE_NO_DUPLICATE) },
    { "any distinct numbers will do", odd_numbers, 0 },
    { "a promotion for all, on its only day", promotion_runs, 0 },
    { "an empty promotion is none", promotion_empty, 0 },
    { "a promotion that nobody sent", promotion_unknown, B(PROMOTION_UNKNOWN) },
    { "it ended yesterday", promotion_over, B(PROMOTION_INACTIVE) },
    { "a promotion of the product's category", promotion_category, 0 },
    { "of another category", promotion_other_category, B(PROMOTION_PRODUCT) },
    { "of the product", promotion_product, 0 },
    { "of another product", promotion_other_product, B(PROMOTION_PRODUCT) },
    { "with its product missing, it is not judged yet", promotion_without_product, B(PRODUCT_UNKNOWN) },
    { "references that are ignored are not asked", all_ignored, 0 },
    { "all that is wrong is listed", many,
      B(TRANSACTION_ID_MISSING) | B(CURRENCY_OTHER) | B(CUSTOMER_UNKNOWN) | B(QUANTITY_NOT_POSITIVE) |
          B(LINE_AMOUNT_MISMATCH) | B(PRODUCT_UNKNOWN) | B(TOTAL_MISMATCH) },
};

Test(validate_quality, every_rule)
{
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        static struct fixture f;
        char got[512], wanted[512];
        open_fixture(&f);
        CASES[i].change(&f);
        quality_check(&f.frame, &f.sale, &f.verdict);
        cr_expect_eq(f.verdict.codes, CASES[i].codes, "%s: got %s, wanted %s", CASES[i].why,
                     code_names(f.verdict.codes, got, sizeof got), code_names(CASES[i].codes, wanted, sizeof wanted));
        cr_expect_eq(f.verdict.missing, (CASES[i].codes & QUALITY_MISSING) != 0, "%s", CASES[i].why);
        close_fixture(&f);
    }
}

Test(validate_quality, category_is_that_of_the_event_date)
{
    static struct fixture f;
    open_fixture(&f);
    f.lines[0].product_id = TEXT("moved");
    quality_check(&f.frame, &f.sale, &f.verdict);
    cr_assert(text_equal(f.lines[0].category, TEXT("old")));
    cr_assert(f.lines[2].category.data == NULL);
    f.sale.event_time_ms = NOON + 1;
    quality_check(&f.frame, &f.sale, &f.verdict);
    cr_assert(text_equal(f.lines[0].category, TEXT("new")));
    close_fixture(&f);
}

Test(validate_quality, second_and_later_lines_of_a_number_are_the_bad_ones)
{
    static struct fixture f;
    open_fixture(&f);
    f.lines[0].line_no = f.lines[1].line_no = f.lines[2].line_no = 7;
    quality_check(&f.frame, &f.sale, &f.verdict);
    cr_assert_eq(f.verdict.line_codes[0], 0);
    cr_assert_eq(f.verdict.line_codes[1], B(LINE_NO_DUPLICATE));
    cr_assert_eq(f.verdict.line_codes[2], B(LINE_NO_DUPLICATE));
    close_fixture(&f);
}

Test(validate_quality, bad_lines_go_alone_and_the_total_follows)
{
    static struct fixture f;
    open_fixture(&f);
    f.source.reject_line = true;
    f.lines[1].quantity = 0;
    quality_check(&f.frame, &f.sale, &f.verdict);
    cr_assert_eq(f.verdict.record_codes, 0, "the lines' sum as sent still is the total");
    cr_assert_eq(f.verdict.bad_line_count, 1);
    quality_drop_lines(&f.sale, &f.verdict);
    cr_assert_eq(f.sale.line_count, 2);
    cr_assert_eq(f.sale.lines[1].line_no, 3);
    cr_assert_eq(f.sale.total_minor, 1800);
    close_fixture(&f);
}

Test(validate_quality, with_every_line_bad_the_whole_goes)
{
    static struct fixture f;
    open_fixture(&f);
    f.source.reject_line = true;
    for (int i = 0; i < 3; i++)
        f.lines[i].product_id = (struct text){ NULL, 0 };
    quality_check(&f.frame, &f.sale, &f.verdict);
    cr_assert_eq(f.verdict.record_codes, B(LINES_EMPTY));
    close_fixture(&f);
}

Test(validate_quality, words_name_field_line_and_value)
{
    static struct fixture f;
    char words[1024];
    open_fixture(&f);
    f.sale.total_minor = 5;
    f.lines[1].quantity = 0;
    f.sale.customer_id = TEXT("C\n9\"");
    quality_check(&f.frame, &f.sale, &f.verdict);
    quality_words(&f.frame, &f.sale, &f.verdict, QUALITY_ALL, words, sizeof words);
    cr_assert_str_eq(words,
                     "TOTAL_MISMATCH: total_amount 5, the lines' sum is 2700; CUSTOMER_UNKNOWN: customer_id \"C?9?\" is "
                     "unknown at event_time 2011-03-13T12:00:00.000Z; QUANTITY_NOT_POSITIVE: lines[1] (line_no 2) quantity "
                     "0; LINE_AMOUNT_MISMATCH: lines[1] (line_no 2) amount 900, but 0 x 500 - 100 is not that");
    quality_words(&f.frame, &f.sale, &f.verdict, 1, words, sizeof words);
    cr_assert(strncmp(words, "QUANTITY_NOT_POSITIVE", 21) == 0, "one line's words alone: %s", words);
    char small[16];
    quality_words(&f.frame, &f.sale, &f.verdict, QUALITY_ALL, small, sizeof small);
    cr_assert_eq(strlen(small), sizeof small - 1, "cut, not overrun");
    close_fixture(&f);
}

Test(validate_quality, a_thousand_lines_of_descending_numbers)
{
    static struct fixture f;
    static struct line lines[EVENT_LINES_MAX];
    open_fixture(&f);
    for (int i = 0; i < EVENT_LINES_MAX; i++) {
        lines[i] = f.lines[0];
        lines[i].line_no = EVENT_LINES_MAX - i;
    }
    lines[500].line_no = 1;
    f.sale.lines = lines;
    f.sale.line_count = EVENT_LINES_MAX;
    f.sale.has_total = false;
    quality_check(&f.frame, &f.sale, &f.verdict);
    cr_assert_eq(f.verdict.codes, B(LINE_NO_DUPLICATE));
    cr_assert_eq(f.verdict.bad_line_count, 1);
    cr_assert_eq(f.verdict.line_codes[EVENT_LINES_MAX - 1], B(LINE_NO_DUPLICATE));
    close_fixture(&f);
}

static const struct {
    const char *email, *why;
    bool plausible;
} EMAILS[] = {
    { "ann@example.com", "plain", true },
    { "a.b+c_d@mail.example.co.uk", "what many tills send", true },
    { "o'neill@example.com", "an apostrophe is allowed", true },
    { "j\xc3\xbcrgen@b\xc3\xbc" "cher.de", "beyond ASCII", true },
    { "", "empty", false },
    { "ann", "no at", false },
    { "ann@", "no domain", false },
    { "@example.com", "no local part", false },
    { "ann@example", "one label", false },
    { "ann@example.", "empty label", false },
    { "ann@.example.com", "empty label first", false },
    { "ann@exa mple.com", "a blank", false },
    { "ann@-example.com", "a label begins with a hyphen", false },
    { "ann@example-.com", "a label ends with a hyphen", false },
    { "ann@127.0.0.1", "digits are no top-level domain", false },
    { "ann@bob@example.com", "two ats", false },
    { ".ann@example.com", "a dot first", false },
    { "an..n@example.com", "two dots", false },
    { "ann@example.com\r\nBcc: x@y.zz", "a header of its own", false },
    { "ann,bob@example.com", "two addresses", false },
    { "Ann <ann@example.com>", "a display name", false },
};

Test(validate_quality, plausible_emails)
{
    for (size_t i = 0; i < sizeof EMAILS / sizeof EMAILS[0]; i++)
        cr_expect_eq(quality_email_plausible(text_of(EMAILS[i].email)), EMAILS[i].plausible, "%s: %s", EMAILS[i].email,
                     EMAILS[i].why);
}

static const struct {
    const char *phone;
    bool plausible;
} PHONES[] = {
    { "+44 20 7946 0958", true }, { "(020) 7946-0958", true }, { "020.7946.0958", true }, { "123456", true },
    { "12345", false },           { "1234567890123456", false }, { "44+20 7946 0958", false }, { "ring me", false },
    { "", false },                { "+", false },
};

Test(validate_quality, plausible_phones)
{
    for (size_t i = 0; i < sizeof PHONES / sizeof PHONES[0]; i++)
        cr_expect_eq(quality_phone_plausible(text_of(PHONES[i].phone)), PHONES[i].plausible, "%s", PHONES[i].phone);
}

static const struct {
    const char *why;
    struct event event;
    uint64_t codes;
} REFERENCES[] = {
    { "a good customer", { .kind = EVENT_CUSTOMER, .customer = { .customer_id = { "C", 1 }, .source = { "x", 1 } } }, 0 },
    { "no id", { .kind = EVENT_CUSTOMER, .customer = { .source = { "x", 1 } } }, B(REFERENCE_ID_MISSING) },
    { "no source", { .kind = EVENT_CUSTOMER, .customer = { .customer_id = { "C", 1 } } }, B(SOURCE_MISSING) },
    { "both addresses odd: kept, remarked on",
      { .kind = EVENT_CUSTOMER,
        .customer = { .customer_id = { "C", 1 }, .source = { "x", 1 }, .email = { "a@b", 3 }, .phone = { "1", 1 } } },
      B(EMAIL_IMPLAUSIBLE) | B(PHONE_IMPLAUSIBLE) },
    { "from beyond the calendar",
      { .kind = EVENT_PRODUCT,
        .product = { .product_id = { "P", 1 }, .source = { "x", 1 }, .effective_from_ms = INT64_MAX } },
      B(TIME_INVALID) },
    { "from before the sales is fine",
      { .kind = EVENT_STORE, .store = { .store_id = { "S", 1 }, .source = { "x", 1 }, .effective_from_ms = -1 } }, 0 },
    { "a product at no price",
      { .kind = EVENT_PRODUCT, .product = { .product_id = { "P", 1 }, .source = { "x", 1 }, .has_unit_price = true } },
      B(PRICE_NOT_POSITIVE) },
    { "closed before it opened",
      { .kind = EVENT_STORE,
        .store = { .store_id = { "S", 1 }, .source = { "x", 1 }, .has_opened = true, .opened_day = 2,
                   .has_closed = true, .closed_day = 1 } },
      B(DATES_REVERSED) },
    { "ends before it starts",
      { .kind = EVENT_PROMOTION,
        .promotion = { .promotion_id = { "A", 1 }, .source = { "x", 1 }, .start_day = 2, .end_day = 1 } },
      B(DATES_REVERSED) },
    { "a promotion of one day",
      { .kind = EVENT_PROMOTION,
        .promotion = { .promotion_id = { "A", 1 }, .source = { "x", 1 }, .start_day = 2, .end_day = 2 } },
      0 },
    { "stock of nothing", { .kind = EVENT_INVENTORY, .inventory = { .store_id = { "S", 1 }, .source = { "x", 1 } } },
      B(PRODUCT_MISSING) },
};

Test(validate_quality, reference_records)
{
    for (size_t i = 0; i < sizeof REFERENCES / sizeof REFERENCES[0]; i++) {
        struct event event = REFERENCES[i].event;
        char got[256];
        uint64_t codes = quality_check_reference(&event);
        cr_expect_eq(codes, REFERENCES[i].codes, "%s: got %s", REFERENCES[i].why, code_names(codes, got, sizeof got));
        if (codes != 0)
            cr_expect(strlen(quality_reference_words(&event, codes, got, sizeof got)) > 0);
    }
    cr_assert_eq(quality_rejects(B(EMAIL_IMPLAUSIBLE) | B(PHONE_IMPLAUSIBLE)), 0);
    cr_assert_eq(quality_rejects(B(EMAIL_IMPLAUSIBLE) | B(SOURCE_MISSING)), B(SOURCE_MISSING));
}

Test(validate_quality, only_a_plausible_address_is_mailed)
{
    struct event event = { .kind = EVENT_CUSTOMER };
    event.customer = (struct customer){ .customer_id = TEXT("C"), .source = TEXT("x"), .mailable = true };
    quality_check_reference(&event);
    cr_assert_not(event.customer.mailable, "no address: whatever the producer says");
    event.customer.email = TEXT("ann@example.com");
    quality_check_reference(&event);
    cr_assert(event.customer.mailable);
}

Test(validate_quality, rejects_are_the_codes_of_that_severity)
{
    for (int code = 1; code < CODE_COUNT; code++)
        cr_expect_eq(quality_rejects(code_bit((enum code)code)) != 0, code_info((enum code)code)->severity == CODE_REJECT,
                     "%s", code_info((enum code)code)->name);
}
