/* Every rule of DESIGN 3, as tables: a good sale, one thing changed, and all the codes that it must bring. */
#include "consumers/validate/quality.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#define NOON    INT64_C(1300017600000) /* 2011-03-13T12:00Z */
#define DAY     INT64_C(86400000)
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

static void put_store(struct references *references, const char *id, int64_t from_ms, int32_t opened,
                      int32_t closed)
{
    struct event event = {.kind = EVENT_STORE};
    event.store = (struct store){.store_id = text_of(id),
                                 .effective_from_ms = from_ms,
                                 .has_opened = opened != 0,
                                 .opened_day = opened,
                                 .has_closed = closed != 0,
                                 .closed_day = closed};
    references_put(references, &event);
}

static void put_product(struct references *references, const char *id, const char *category, int64_t from_ms,
                        bool active)
{
    struct event event = {.kind = EVENT_PRODUCT};
    event.product = (struct product){.product_id = text_of(id),
                                     .effective_from_ms = from_ms,
                                     .category = text_of(category),
                                     .active = active};
    references_put(references, &event);
}

static void put_promotion(struct references *references, const char *id, int32_t start, int32_t end,
                          const char *product, const char *category)
{
    struct text products[1] = {text_of(product)}, categories[1] = {text_of(category)};
    struct event event = {.kind = EVENT_PROMOTION};
    event.promotion = (struct promotion){.promotion_id = text_of(id),
                                         .start_day = start,
                                         .end_day = end,
                                         .product_ids = products,
                                         .product_count = product != NULL,
                                         .categories = categories,
                                         .category_count = category != NULL};
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
    struct event customer = {.kind = EVENT_CUSTOMER};
    customer.customer.customer_id = TEXT("C1");
    references_put(f->references, &customer);
    customer.customer.customer_id = TEXT("C-later");
    customer.customer.effective_from_ms = NOON + 1;
    references_put(f->references, &customer);

    f->source = (struct settings_source){.lateness_ms = 30 * DAY, .skew_ms = 300000};
    for (int kind = 0; kind < REFERENCE_KINDS; kind++)
        f->source.required[kind] = true;
    f->frame = (struct quality_frame){.source = &f->source,
                                      .references = f->references,
                                      .calendar = f->calendar,
                                      .currency = TEXT("GBP"),
                                      .arrived_ms = NOON};
    for (int i = 0; i < 3; i++)
        f->lines[i] = (struct line){.line_no = i + 1,
                                    .quantity = 2,
                                    .unit_price_minor = 500,
                                    .discount_minor = 100,
                                    .amount_minor = 900};
    f->lines[0].product_id = TEXT("P1");
    f->lines[1].product_id = TEXT("P2");
    f->lines[2].product_id = TEXT("P3");
    f->sale = (struct transaction){.transaction_id = TEXT("T1"),
                                   .event_time_ms = NOON,
                                   .store_id = TEXT("S1"),
                                   .customer_id = TEXT("C1"),
                                   .currency = TEXT("GBP"),
                                   .has_total = true,
                                   .total_minor = 2700,
                                   .source = TEXT("pos"),
                                   .lines = f->lines,
                                   .line_count = 3};
}

static void close_fixture(struct fixture *f)
{
    references_free(f->references);
    calendar_free(f->calendar);
}

static void require(struct fixture *f, bool required)
{
    for (int kind = 0; kind < REFERENCE_KINDS; kind++)
        f->source.required[kind] = required;
}

static void two_lines_of(struct fixture *f, int64_t amount_minor)
{
    for (int i = 0; i < 2; i++) {
        f->lines[i].quantity = 1;
        f->lines[i].discount_minor = 0;
        f->lines[i].unit_price_minor = f->lines[i].amount_minor = amount_minor;
    }
}

static void judge(struct fixture *f, const char *why, uint64_t codes)
{
    char got[512], wanted[512];
    quality_check(&f->frame, &f->sale, &f->verdict);
    cr_expect_eq(f->verdict.codes, codes, "%s: got %s, wanted %s", why,
                 code_names(f->verdict.codes, got, sizeof got), code_names(codes, wanted, sizeof wanted));
    cr_expect_eq(f->verdict.missing, (codes & QUALITY_MISSING) != 0, "%s", why);
}

/* Why, the codes that must come, and what is changed in a sale that is good. */
#define CASE(why, codes, ...)                                                                                \
    do {                                                                                                     \
        open_fixture(f);                                                                                     \
        __VA_ARGS__;                                                                                         \
        judge(f, why, codes);                                                                                \
        close_fixture(f);                                                                                    \
    } while (0)

/* clang-format off */
Test(validate_quality, every_rule)
{
    static struct fixture fixture, *f = &fixture;
    CASE("a good sale is good", 0, (void)0);
    CASE("an id is needed", B(TRANSACTION_ID_MISSING), f->sale.transaction_id = TEXT(""));
    CASE("blanks are no id", B(TRANSACTION_ID_MISSING), f->sale.transaction_id = TEXT("  "));
    CASE("a source that is not configured is refused, and nothing is asked of references", B(SOURCE_MISSING),
         f->frame.source = NULL);
    CASE("a void may be without lines, whatever its total", 0,
         f->sale.type = TRANSACTION_VOID; f->sale.original_transaction_id = TEXT("T0"); f->sale.line_count = 0);
    CASE("a void names what it voids", B(ORIGINAL_MISSING), f->sale.type = TRANSACTION_VOID);
    CASE("a return need not name its sale", 0, f->sale.type = TRANSACTION_RETURN);
    CASE("0 is no time, and asks nothing of dates", B(TIME_INVALID), f->sale.event_time_ms = 0);
    CASE("seconds taken for milliseconds", B(TIME_INVALID), f->sale.event_time_ms = NOON / 1000);
    CASE("microseconds taken for milliseconds", B(TIME_INVALID), f->sale.event_time_ms = NOON * 1000);
    CASE("the smallest number does not overflow", B(TIME_INVALID), f->sale.event_time_ms = INT64_MIN);
    CASE("exactly the skew is allowed", 0, f->frame.arrived_ms = NOON - 300000);
    CASE("a millisecond more is not", B(TIME_FUTURE), f->frame.arrived_ms = NOON - 300001);
    CASE("exactly the limit is allowed", 0, f->frame.arrived_ms = NOON + 30 * DAY);
    CASE("a millisecond later is not", B(TIME_LATE), f->frame.arrived_ms = NOON + 30 * DAY + 1);
    CASE("unlimited lateness", 0, f->frame.arrived_ms = NOON + 3000 * DAY; f->source.lateness_ms = INT64_MAX);
    CASE("another currency", B(CURRENCY_OTHER), f->sale.currency = TEXT("EUR"));
    CASE("pence are no currency", B(CURRENCY_UNKNOWN), f->sale.currency = TEXT("GBX"));
    CASE("two letters are no currency", B(CURRENCY_UNKNOWN), f->sale.currency = TEXT("GB"));
    CASE("unidentified spend is valid", 0, f->sale.customer_id = (struct text){NULL, 0});
    CASE("an empty customer is none", 0, f->sale.customer_id = TEXT(""));
    CASE("a customer that nobody sent", B(CUSTOMER_UNKNOWN), f->sale.customer_id = TEXT("C9"));
    CASE("a customer that begins later", B(CUSTOMER_UNKNOWN), f->sale.customer_id = TEXT("C-later"));
    CASE("a store must be named", B(STORE_MISSING), f->sale.store_id = (struct text){NULL, 0});
    CASE("a store that nobody sent", B(STORE_UNKNOWN), f->sale.store_id = TEXT("S9"));
    CASE("a store that is known from later on", B(STORE_UNKNOWN), f->sale.store_id = TEXT("later"));
    CASE("closed on the day itself", B(STORE_CLOSED), f->sale.store_id = TEXT("closing"));
    CASE("opens tomorrow", B(STORE_CLOSED), f->sale.store_id = TEXT("opening"));
    CASE("open until tomorrow", 0, f->sale.store_id = TEXT("last-day"));
    CASE("no lines", B(LINES_EMPTY), f->sale.line_count = 0; f->sale.has_total = false);
    CASE("no product", B(PRODUCT_MISSING), f->lines[0].product_id = (struct text){NULL, 0});
    CASE("an empty product", B(PRODUCT_MISSING), f->lines[0].product_id = TEXT(""));
    CASE("a TAB in a product would be two fields of a ledger row", B(TEXT_CONTROL) | B(PRODUCT_UNKNOWN),
         f->lines[0].product_id = TEXT("P\t1"));
    CASE("a NUL in an id, which Postgres does not take", B(TEXT_CONTROL), f->sale.transaction_id = TEXT("T\0001"));
    CASE("an escape at the end of a long id", B(TEXT_CONTROL),
         f->sale.original_transaction_id = TEXT("a-till-with-long-transaction-names\x1b"));
    CASE("DEL is a control character too", B(TEXT_CONTROL), f->sale.channel = TEXT("web\x7f"));
    CASE("letters beyond ASCII are not", 0, f->sale.channel = TEXT("caf\xc3\xa9 \xe2\x82\xac"));
    CASE("a product that nobody sent", B(PRODUCT_UNKNOWN), f->lines[1].product_id = TEXT("P9"));
    CASE("a discontinued product is not sold", B(PRODUCT_UNKNOWN), f->lines[1].product_id = TEXT("gone"));
    CASE("but comes back", 0, f->lines[1].product_id = TEXT("gone"); f->sale.type = TRANSACTION_RETURN);
    CASE("nothing was bought", B(QUANTITY_NOT_POSITIVE) | B(LINE_AMOUNT_MISMATCH), f->lines[0].quantity = 0);
    CASE("the sign is the event type's", B(QUANTITY_NOT_POSITIVE) | B(AMOUNT_NOT_POSITIVE),
         f->lines[0].quantity = -2; f->lines[0].amount_minor = -1100; f->sale.total_minor = 700);
    CASE("no price, so no amount", B(PRICE_NOT_POSITIVE) | B(AMOUNT_NOT_POSITIVE),
         f->lines[0].unit_price_minor = 0; f->lines[0].discount_minor = 0; f->lines[0].amount_minor = 0;
         f->sale.total_minor = 1800);
    CASE("a discount that adds", B(DISCOUNT_NEGATIVE),
         f->lines[0].discount_minor = -100; f->lines[0].amount_minor = 1100; f->sale.total_minor = 2900);
    CASE("a discount of everything leaves no amount", B(AMOUNT_NOT_POSITIVE),
         f->lines[0].discount_minor = 1000; f->lines[0].amount_minor = 0; f->sale.total_minor = 1800);
    CASE("quantity times price less discount, exactly", B(LINE_AMOUNT_MISMATCH),
         f->lines[0].amount_minor = 901; f->sale.total_minor = 2701);
    CASE("the total is the sum, exactly", B(TOTAL_MISMATCH), f->sale.total_minor = 2701);
    CASE("no total, nothing to compare", 0, f->sale.has_total = false; f->sale.total_minor = 5);
    CASE("quantity times price overflows", B(AMOUNT_OVERFLOW), f->lines[0].quantity = INT64_MAX);
    CASE("less a discount overflows", B(AMOUNT_OVERFLOW) | B(DISCOUNT_NEGATIVE),
         f->lines[0].quantity = INT64_MAX; f->lines[0].unit_price_minor = 1; f->lines[0].discount_minor = -1);
    CASE("the sum overflows", B(AMOUNT_OVERFLOW), two_lines_of(f, INT64_MAX));
    CASE("two lines of one number", B(LINE_NO_DUPLICATE), f->lines[2].line_no = 1);
    CASE("any distinct numbers will do", 0, f->lines[0].line_no = 70; f->lines[1].line_no = -3);
    CASE("a promotion for all, on its only day", 0, f->lines[0].promotion_id = TEXT("any"));
    CASE("an empty promotion is none", 0, f->lines[0].promotion_id = TEXT(""));
    CASE("a promotion that nobody sent", B(PROMOTION_UNKNOWN), f->lines[0].promotion_id = TEXT("none"));
    CASE("it ended yesterday", B(PROMOTION_INACTIVE), f->lines[0].promotion_id = TEXT("over"));
    CASE("a promotion of the product's category", 0, f->lines[0].promotion_id = TEXT("tea-only"));
    CASE("of another category", B(PROMOTION_PRODUCT), f->lines[1].promotion_id = TEXT("tea-only"));
    CASE("of the product", 0, f->lines[1].promotion_id = TEXT("p2-only"));
    CASE("of another product", B(PROMOTION_PRODUCT), f->lines[0].promotion_id = TEXT("p2-only"));
    CASE("with its product missing, it is not judged yet", B(PRODUCT_UNKNOWN),
         f->lines[0].promotion_id = TEXT("tea-only"); f->lines[0].product_id = TEXT("P9"));
    CASE("references that are ignored are not asked", 0,
         require(f, false); f->sale.store_id = TEXT("S9"); f->sale.customer_id = TEXT("C9");
         f->lines[0].product_id = TEXT("P9"); f->lines[1].promotion_id = TEXT("none"));
    CASE("all that is wrong is listed",
         B(TRANSACTION_ID_MISSING) | B(CURRENCY_OTHER) | B(CUSTOMER_UNKNOWN) | B(QUANTITY_NOT_POSITIVE) |
             B(LINE_AMOUNT_MISMATCH) | B(PRODUCT_UNKNOWN) | B(TOTAL_MISMATCH),
         f->sale.transaction_id = TEXT("");
         f->sale.currency = TEXT("EUR");
         f->sale.customer_id = TEXT("C9");
         f->lines[0].quantity = 0;
         f->lines[1].product_id = TEXT("P9");
         f->lines[2].amount_minor = 1);
}
/* clang-format on */

/* Eight bytes at a time: each size, each place in it, each byte, beside the neighbours that come nearest. */
Test(validate_quality, control_characters_at_any_place_of_a_text)
{
    static const char beside[] = {' ', '~', '\xc3'};
    char bytes[40];
    for (size_t neighbour = 0; neighbour < sizeof beside; neighbour++)
        for (uint32_t size = 1; size <= sizeof bytes; size++)
            for (uint32_t at = 0; at < size; at++)
                for (int byte = 0; byte < 0xff; byte++) { /* 0xff is in no text */
                    memset(bytes, beside[neighbour], sizeof bytes);
                    bytes[at] = (char)byte;
                    cr_assert_eq(quality_has_control((struct text){bytes, size}),
                                 byte < 0x20 || byte == 0x7f, "byte %02x at %u of %u beside %02x", byte, at,
                                 size, (unsigned char)beside[neighbour]);
                }
    cr_expect(!quality_has_control((struct text){NULL, 0}));
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
        f.lines[i].product_id = (struct text){NULL, 0};
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
    cr_assert_str_eq(
        words,
        "TEXT_CONTROL: customer_id \"C?9?\" holds a control character; "
        "TOTAL_MISMATCH: total_amount 5, the lines' sum is 2700; CUSTOMER_UNKNOWN: customer_id \"C?9?\" is "
        "unknown at event_time 2011-03-13T12:00:00.000Z; QUANTITY_NOT_POSITIVE: lines[1] (line_no 2) "
        "quantity "
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
    {"ann@example.com", "plain", true},
    {"a.b+c_d@mail.example.co.uk", "what many tills send", true},
    {"o'neill@example.com", "an apostrophe is allowed", true},
    {"j\xc3\xbcrgen@b\xc3\xbc"
     "cher.de",
     "beyond ASCII", true},
    {"", "empty", false},
    {"ann", "no at", false},
    {"ann@", "no domain", false},
    {"@example.com", "no local part", false},
    {"ann@example", "one label", false},
    {"ann@example.", "empty label", false},
    {"ann@.example.com", "empty label first", false},
    {"ann@exa mple.com", "a blank", false},
    {"ann@-example.com", "a label begins with a hyphen", false},
    {"ann@example-.com", "a label ends with a hyphen", false},
    {"ann@127.0.0.1", "digits are no top-level domain", false},
    {"ann@bob@example.com", "two ats", false},
    {".ann@example.com", "a dot first", false},
    {"an..n@example.com", "two dots", false},
    {"ann@example.com\r\nBcc: x@y.zz", "a header of its own", false},
    {"ann,bob@example.com", "two addresses", false},
    {"Ann <ann@example.com>", "a display name", false},
};

Test(validate_quality, plausible_emails)
{
    for (size_t i = 0; i < sizeof EMAILS / sizeof EMAILS[0]; i++)
        cr_expect_eq(quality_email_plausible(text_of(EMAILS[i].email)), EMAILS[i].plausible, "%s: %s",
                     EMAILS[i].email, EMAILS[i].why);
}

static const struct {
    const char *phone;
    bool plausible;
} PHONES[] = {
    {"+44 20 7946 0958", true},
    {"(020) 7946-0958", true},
    {"020.7946.0958", true},
    {"123456", true},
    {"12345", false},
    {"1234567890123456", false},
    {"44+20 7946 0958", false},
    {"ring me", false},
    {"", false},
    {"+", false},
};

Test(validate_quality, plausible_phones)
{
    for (size_t i = 0; i < sizeof PHONES / sizeof PHONES[0]; i++)
        cr_expect_eq(quality_phone_plausible(text_of(PHONES[i].phone)), PHONES[i].plausible, "%s",
                     PHONES[i].phone);
}

static const struct {
    const char *why;
    struct event event;
    uint64_t codes;
} REFERENCES[] = {
    {"a good customer",
     {.kind = EVENT_CUSTOMER, .customer = {.customer_id = {"C", 1}, .source = {"x", 1}}},
     0},
    {"no id", {.kind = EVENT_CUSTOMER, .customer = {.source = {"x", 1}}}, B(REFERENCE_ID_MISSING)},
    {"no source", {.kind = EVENT_CUSTOMER, .customer = {.customer_id = {"C", 1}}}, B(SOURCE_MISSING)},
    {"both addresses odd: kept, remarked on",
     {.kind = EVENT_CUSTOMER,
      .customer = {.customer_id = {"C", 1}, .source = {"x", 1}, .email = {"a@b", 3}, .phone = {"1", 1}}},
     B(EMAIL_IMPLAUSIBLE) | B(PHONE_IMPLAUSIBLE)},
    {"from beyond the calendar",
     {.kind = EVENT_PRODUCT,
      .product = {.product_id = {"P", 1}, .source = {"x", 1}, .effective_from_ms = INT64_MAX}},
     B(TIME_INVALID)},
    {"from before the sales is fine",
     {.kind = EVENT_STORE, .store = {.store_id = {"S", 1}, .source = {"x", 1}, .effective_from_ms = -1}},
     0},
    {"a product at no price",
     {.kind = EVENT_PRODUCT, .product = {.product_id = {"P", 1}, .source = {"x", 1}, .has_unit_price = true}},
     B(PRICE_NOT_POSITIVE)},
    {"a TAB in a category would be two fields of a ledger row",
     {.kind = EVENT_PRODUCT, .product = {.product_id = {"P", 1}, .source = {"x", 1}, .category = {"a\tb", 3}}},
     B(TEXT_CONTROL)},
    {"closed before it opened",
     {.kind = EVENT_STORE,
      .store = {.store_id = {"S", 1},
                .source = {"x", 1},
                .has_opened = true,
                .opened_day = 2,
                .has_closed = true,
                .closed_day = 1}},
     B(DATES_REVERSED)},
    {"ends before it starts",
     {.kind = EVENT_PROMOTION,
      .promotion = {.promotion_id = {"A", 1}, .source = {"x", 1}, .start_day = 2, .end_day = 1}},
     B(DATES_REVERSED)},
    {"a promotion of one day",
     {.kind = EVENT_PROMOTION,
      .promotion = {.promotion_id = {"A", 1}, .source = {"x", 1}, .start_day = 2, .end_day = 2}},
     0},
    {"stock of nothing",
     {.kind = EVENT_INVENTORY, .inventory = {.store_id = {"S", 1}, .source = {"x", 1}}},
     B(PRODUCT_MISSING)},
};

Test(validate_quality, reference_records)
{
    for (size_t i = 0; i < sizeof REFERENCES / sizeof REFERENCES[0]; i++) {
        struct event event = REFERENCES[i].event;
        char got[256];
        uint64_t codes = quality_check_reference(&event);
        cr_expect_eq(codes, REFERENCES[i].codes, "%s: got %s", REFERENCES[i].why,
                     code_names(codes, got, sizeof got));
        if (codes != 0)
            cr_expect(strlen(quality_reference_words(&event, codes, got, sizeof got)) > 0);
    }
    cr_assert_eq(quality_rejects(B(EMAIL_IMPLAUSIBLE) | B(PHONE_IMPLAUSIBLE)), 0);
    cr_assert_eq(quality_rejects(B(EMAIL_IMPLAUSIBLE) | B(SOURCE_MISSING)), B(SOURCE_MISSING));
}

Test(validate_quality, only_a_plausible_address_is_mailed)
{
    struct event event = {.kind = EVENT_CUSTOMER};
    event.customer = (struct customer){.customer_id = TEXT("C"), .source = TEXT("x"), .mailable = true};
    quality_check_reference(&event);
    cr_assert_not(event.customer.mailable, "no address: whatever the producer says");
    event.customer.email = TEXT("ann@example.com");
    quality_check_reference(&event);
    cr_assert(event.customer.mailable);
}

Test(validate_quality, rejects_are_the_codes_of_that_severity)
{
    for (int code = 1; code < CODE_COUNT; code++)
        cr_expect_eq(quality_rejects(code_bit((enum code)code)) != 0,
                     code_info((enum code)code)->severity == CODE_REJECT, "%s",
                     code_info((enum code)code)->name);
}
