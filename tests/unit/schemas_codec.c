/* Each kind by its struct and by its bytes; what every wrong frame, cut, flipped or forged value gets. */
#include "schemas_kit.h"

#include "schemas/bind.h"
#include "schemas/write.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

static struct line raw_lines[] = {
    {.line_no = 1, .product_id = {"P1", 2}, .quantity = 2, .unit_price_minor = 250, .amount_minor = 500},
    {.line_no = -2,
     .quantity = -1,
     .unit_price_minor = INT64_MAX,
     .discount_minor = 7,
     .amount_minor = INT64_MIN,
     .promotion_id = {"X", 1}},
};
static struct line valid_lines[] = {
    {.line_no = 1,
     .product_id = {"P1", 2},
     .quantity = 2,
     .unit_price_minor = 250,
     .amount_minor = 500,
     .category = {"toys", 4}},
};
static struct text products[] = {{"P1", 2}, {"P2", 2}};
static struct text categories[] = {{"toys", 4}};

/* Every kind with every field of its own value, so that no two can be mistaken for each other. */
/* clang-format off */
#define T(words) { words, sizeof words - 1 }
static const struct {
    const char *why;
    int32_t id;
    struct event event;
    const char *script;
} KINDS[] = {
    { "a sale with all that it can have", 1001,
      { .kind = EVENT_TRANSACTION,
        .transaction = { .transaction_id = T("T-1"), .type = TRANSACTION_RETURN, .original_transaction_id = T("T-0"),
                         .event_time_ms = 1700000000000, .store_id = T("S1"), .customer_id = T("C1"),
                         .currency = T("GBP"), .has_total = true, .total_minor = -5, .source = T("till"),
                         .source_ref = T("a.csv:7"), .channel = T("web"), .lines = raw_lines, .line_count = 2 } },
      "'T-1 1 1 'T-0 1700000000000 1 'S1 1 'C1 'GBP 1 -5 'till 'a.csv:7 1 'web 2 "
      "1 1 'P1 2 250 0 500 0 -2 0 -1 9223372036854775807 7 -9223372036854775808 1 'X 0" },
    { "a sale with nothing that may lack", 1001,
      { .kind = EVENT_TRANSACTION,
        .transaction = { .transaction_id = T(""), .currency = T(""), .source = T(""), .source_ref = T("") } },
      "' 0 0 0 0 0 ' 0 ' ' 0 0" },
    { "an accepted one", 1002,
      { .kind = EVENT_TRANSACTION_VALID,
        .transaction = { .transaction_id = T("T-1"), .type = TRANSACTION_VOID, .event_time_ms = 5, .currency = T("GBP"),
                         .source = T("till"), .source_ref = T("r"), .lines = valid_lines, .line_count = 1,
                         .content_hash = -9, .raw_topic = T("transactions"), .raw_partition = 6, .raw_offset = 7,
                         .attempt = 8 } },
      "'T-1 2 0 5 0 0 'GBP 0 'till 'r 0 1 1 1 'P1 2 250 0 500 0 1 'toys 0 -9 'transactions 6 7 8" },
    { "a tick", 1003, { .kind = EVENT_CONTROL, .control = { CONTROL_TICK, 3, 1700000000000 } }, "1 3 1700000000000" },
    { "a customer", 1004,
      { .kind = EVENT_CUSTOMER,
        .customer = { .customer_id = T("C"), .effective_from_ms = 1, .name = T("n"), .email = T("e"), .phone = T("p"),
                      .language = T("l"), .country = T("c"), .consent_marketing = true, .erased = true,
                      .source = T("s"), .source_ref = T("r") } },
      "'C 1 1 'n 1 'e 1 'p 1 'l 1 'c x01 x00 x01 's 'r" },
    { "a customer who can be mailed, and nothing else known", 1004,
      { .kind = EVENT_CUSTOMER,
        .customer = { .customer_id = T("C"), .mailable = true, .source = T("s"), .source_ref = T("r") } },
      "'C 0 0 0 0 0 0 x00 x01 x00 's 'r" },
    { "a product", 1005,
      { .kind = EVENT_PRODUCT,
        .product = { .product_id = T("P"), .effective_from_ms = 1, .name = T("n"), .category = T("c"), .brand = T("b"),
                     .has_unit_price = true, .unit_price_minor = 99, .active = true, .source = T("s"),
                     .source_ref = T("r") } },
      "'P 1 1 'n 1 'c 1 'b 1 99 x01 's 'r" },
    { "a store that has closed", 1006,
      { .kind = EVENT_STORE,
        .store = { .store_id = T("S"), .effective_from_ms = 1, .name = T("n"), .city = T("c"), .has_closed = true,
                   .closed_day = -3, .source = T("s"), .source_ref = T("r") } },
      "'S 1 1 'n 1 'c 0 1 -3 's 'r" },
    { "a store that has opened", 1006,
      { .kind = EVENT_STORE,
        .store = { .store_id = T("S"), .has_opened = true, .opened_day = 4, .source = T("s"), .source_ref = T("r") } },
      "'S 0 0 0 1 4 0 's 'r" },
    { "a promotion", 1007,
      { .kind = EVENT_PROMOTION,
        .promotion = { .promotion_id = T("X"), .effective_from_ms = 1, .name = T("n"), .start_day = 2, .end_day = 3,
                       .product_ids = products, .product_count = 2, .categories = categories, .category_count = 1,
                       .source = T("s"), .source_ref = T("r") } },
      "'X 1 1 'n 2 3 2 'P1 'P2 0 1 'toys 0 's 'r" },
    { "an inventory count", 1008,
      { .kind = EVENT_INVENTORY,
        .inventory = { .store_id = T("S"), .product_id = T("P"), .event_time_ms = 1, .on_hand = -2, .source = T("s"),
                       .source_ref = T("r") } },
      "'S 'P 1 -2 's 'r" },
    { "rules", 1009,
      { .kind = EVENT_LOYALTY_RULES,
        .loyalty_rules = { .version = 1, .effective_from_ms = 2, .published_at_ms = 3, .document = T("rules=();") } },
      "1 2 3 'rules=();" },
    { "a command", 1011,
      { .kind = EVENT_COMMAND,
        .command = { .process = T("p"), .verb = T("v"), .topic = T("t"), .partition = 1, .time_ms = 2 } },
      "'p 'v 't 1 2" },
    { "a change of segment", 1012,
      { .kind = EVENT_SEGMENT_CHANGE,
        .segment_change = { .change_id = T("i"), .customer_id = T("C"), .segment = T("AT_RISK"), .kind = SEGMENT_EXITED,
                            .reason = SEGMENT_POINTS_SPENT, .sequence = 3, .effective_at_ms = 5, .detected_at_ms = 6,
                            .as_of_day = 7, .threshold_version = 8,
                            .snapshot = { .recency_days = 9, .frequency = 10, .monetary_minor = -11, .r = 1, .f = 2,
                                          .m = 4, .rfm_segment = T("LOST"), .points_balance = -12, .tier = T("GOLD"),
                                          .clv_potential = 13 } } },
      "'i 'C 'AT_RISK 1 4 3 5 6 7 8 9 10 -11 1 2 4 'LOST -12 'GOLD 13" },
};
/* clang-format on */

enum { KINDS_COUNT = sizeof KINDS / sizeof KINDS[0] };

static struct codec *codec;
static struct codec_scratch *scratch;

static void setup(void)
{
    codec = kit_codec(NULL, NULL);
    scratch = codec_scratch_new();
}

static void teardown(void)
{
    codec_scratch_free(scratch);
    codec_free(codec);
}

TestSuite(codec, .init = setup, .fini = teardown);

/* From memory that ends where the value ends, so that the sanitizer sees a byte read too many. */
static enum code read_exactly(enum event_kind kind, struct text value, struct event *ret, struct ll_err *err)
{
    enum code code;
    char *copy = malloc(value.size == 0 ? 1 : value.size);
    memcpy(copy, value.data, value.size);
    enum ll_status status =
        codec_read(codec, kind, (struct text){copy, value.size}, scratch, ret, &code, err);
    cr_assert_eq(status, code == CODE_NONE ? LL_OK : LL_POISON);
    if (code != CODE_NONE)
        cr_assert_gt(strlen(err->text), 5u);
    free(copy);
    return code;
}

Test(codec, every_kind_is_written_as_its_schema_says)
{
    for (int i = 0; i < KINDS_COUNT; i++) {
        static struct kit_bytes want, got;
        kit_value(&want, KINDS[i].id, KINDS[i].script);
        got.size = codec_write(codec, &KINDS[i].event, got.data, sizeof got.data);
        cr_expect_eq(codec_own_id(codec, KINDS[i].event.kind), KINDS[i].id);
        cr_expect(text_equal(kit_text(&got), kit_text(&want)), "%s", KINDS[i].why);
    }
}

Test(codec, what_is_read_is_what_was_written)
{
    for (int i = 0; i < KINDS_COUNT; i++) {
        static struct kit_bytes want, got;
        struct event event;
        struct ll_err err;
        enum code code;
        kit_value(&want, KINDS[i].id, KINDS[i].script);
        memset(&event, 0xa5, sizeof event); /* nothing may be left as it was */
        codec_read(codec, KINDS[i].event.kind, kit_text(&want), scratch, &event, &code, &err);
        cr_assert_eq(code, CODE_NONE, "%s: %s", KINDS[i].why, err.text);
        cr_expect_eq(event.kind, KINDS[i].event.kind);
        got.size = codec_write(codec, &event, got.data, sizeof got.data);
        cr_expect(text_equal(kit_text(&got), kit_text(&want)), "%s", KINDS[i].why);
    }
}

Test(codec, both_ways_of_writing_agree)
{
    for (int i = 0; i < KINDS_COUNT; i++) {
        static struct kit_bytes spelled_out, by_table;
        const struct event *event = &KINDS[i].event;
        spelled_out.size = (size_t)(write_event(spelled_out.data, event) - spelled_out.data);
        by_table.size =
            (size_t)(write_bound(by_table.data, bind_of(event->kind), event_payload_const(event)) -
                     by_table.data);
        cr_expect(text_equal(kit_text(&spelled_out), kit_text(&by_table)), "%s", KINDS[i].why);
    }
}

Test(codec, a_raw_line_has_no_category_whatever_scratch_held)
{
    static struct kit_bytes valid, raw;
    struct event event;
    struct ll_err err;
    enum code code;
    kit_value(&valid, KINDS[2].id, KINDS[2].script);
    kit_value(&raw, KINDS[0].id, KINDS[0].script);
    codec_read(codec, EVENT_TRANSACTION_VALID, kit_text(&valid), scratch, &event, &code, &err);
    cr_assert(text_equal(event.transaction.lines[0].category, TEXT("toys")));
    codec_read(codec, EVENT_TRANSACTION, kit_text(&raw), scratch, &event, &code, &err);
    cr_assert_eq(event.transaction.line_count, 2u);
    cr_assert_null(event.transaction.lines[0].category.data);
    cr_assert_null(event.transaction.raw_topic.data);
    cr_assert_eq(event.transaction.attempt, 0);
}

Test(codec, a_value_fits_into_its_very_size_and_into_no_byte_less)
{
    for (int i = 0; i < KINDS_COUNT; i++) {
        static struct kit_bytes want;
        kit_value(&want, KINDS[i].id, KINDS[i].script);
        cr_expect_geq(codec_size_max(&KINDS[i].event), want.size);
        for (size_t capacity = 0; capacity <= want.size; capacity++) {
            char *to = malloc(capacity == 0 ? 1 : capacity);
            size_t size = codec_write(codec, &KINDS[i].event, to, capacity);
            cr_expect_eq(size, capacity == want.size ? want.size : 0u, "%s: %zu", KINDS[i].why, capacity);
            free(to);
        }
    }
}

Test(codec, the_longest_numbers_fit_into_the_size_reckoned)
{
    static char value[1 << 16];
    struct line longest[100];
    struct event event = {.kind = EVENT_TRANSACTION_VALID};
    struct transaction *transaction = &event.transaction;
    for (size_t i = 0; i < sizeof longest / sizeof longest[0]; i++)
        longest[i] = (struct line){.line_no = INT32_MIN,
                                   .product_id = TEXT(""),
                                   .quantity = INT64_MIN,
                                   .unit_price_minor = INT64_MIN,
                                   .discount_minor = INT64_MIN,
                                   .amount_minor = INT64_MIN,
                                   .promotion_id = TEXT(""),
                                   .category = TEXT("")};
    *transaction = (struct transaction){.original_transaction_id = TEXT(""),
                                        .event_time_ms = INT64_MIN,
                                        .store_id = TEXT(""),
                                        .customer_id = TEXT(""),
                                        .has_total = true,
                                        .total_minor = INT64_MIN,
                                        .channel = TEXT(""),
                                        .content_hash = INT64_MIN,
                                        .raw_partition = INT32_MIN,
                                        .raw_offset = INT64_MIN,
                                        .attempt = INT32_MIN};
    for (transaction->line_count = 0; transaction->line_count <= 100; transaction->line_count += 50) {
        transaction->lines = longest;
        size_t size = (size_t)(write_event(value, &event) - value);
        cr_expect_geq(event_size_max(&event), size, "%u lines", transaction->line_count);
    }
}

Test(codec, every_truncation_is_refused_as_one)
{
    for (int i = 0; i < KINDS_COUNT; i++) {
        static struct kit_bytes value;
        kit_value(&value, KINDS[i].id, KINDS[i].script);
        for (uint32_t size = 0; size < value.size; size++) {
            struct event event;
            struct ll_err err;
            enum code code = read_exactly(KINDS[i].event.kind, (struct text){value.data, size}, &event, &err);
            cr_expect_eq(code, size < CODEC_FRAME_SIZE ? CODE_FRAME_SHORT : CODE_DECODE_TRUNCATED,
                         "%s cut to %u: %s", KINDS[i].why, size, kit_code_name(code));
        }
    }
}

Test(codec, every_changed_byte_is_refused_or_is_another_value)
{
    for (int i = 0; i < KINDS_COUNT; i++) {
        static struct kit_bytes value, again;
        kit_value(&value, KINDS[i].id, KINDS[i].script);
        for (size_t at = CODEC_FRAME_SIZE; at < value.size; at++) {
            char before = value.data[at];
            for (int byte = 0; byte < 256; byte++) {
                struct event event;
                struct ll_err err;
                enum code code;
                value.data[at] = (char)byte;
                codec_read(codec, KINDS[i].event.kind, kit_text(&value), scratch, &event, &code, &err);
                if (code != CODE_NONE)
                    continue;
                /* One value, one encoding: what is accepted is what we would have written. */
                again.size = codec_write(codec, &event, again.data, sizeof again.data);
                cr_assert(text_equal(kit_text(&again), kit_text(&value)), "%s: byte %zu as %d", KINDS[i].why,
                          at, byte);
            }
            value.data[at] = before;
        }
    }
}

/* clang-format off */
static const struct {
    const char *why, *bytes; /* hex */
    enum event_kind kind;
    enum code want;
    const char *words; /* in the message */
} FRAMES[] = {
    { "no value at all (a tombstone)", "", EVENT_COMMAND, CODE_FRAME_SHORT, "0 bytes" },
    { "four bytes", "000003eb", EVENT_COMMAND, CODE_FRAME_SHORT, "4 bytes" },
    { "JSON", "7b22613a317d", EVENT_COMMAND, CODE_FRAME_MAGIC, "magic" },
    { "magic byte 1", "01000003f3", EVENT_COMMAND, CODE_FRAME_MAGIC, "magic" },
    { "an id that nobody gave", "0000000001", EVENT_COMMAND, CODE_SCHEMA_UNKNOWN, "schema 1 " },
    { "id 0", "0000000000", EVENT_COMMAND, CODE_SCHEMA_UNKNOWN, "schema 0 " },
    { "the highest id", "00ffffffff", EVENT_COMMAND, CODE_SCHEMA_UNKNOWN, "ids.conf" },
    { "another kind than asked for", "00000003eb", EVENT_COMMAND, CODE_SCHEMA_INCOMPATIBLE, "control" },
    { "a valid one where a raw one is asked for", "00000003ea", EVENT_TRANSACTION, CODE_SCHEMA_INCOMPATIBLE,
      "transaction_valid" },
    { "a posting without a field", "00000003f2", EVENT_LEDGER, CODE_DECODE_TRUNCATED, "run" },
    { "the frame and no more", "00000003f3", EVENT_COMMAND, CODE_DECODE_TRUNCATED, "process" },
    { "a byte after the end", "00000003eb00000000", EVENT_CONTROL, CODE_DECODE_TRAILING, "byte 8" },
};
/* clang-format on */

Test(codec, frames)
{
    for (size_t i = 0; i < sizeof FRAMES / sizeof FRAMES[0]; i++) {
        static struct kit_bytes value;
        char script[64];
        struct event event;
        struct ll_err err = {.text = ""};
        value.size = 0;
        snprintf(script, sizeof script, "x%s", FRAMES[i].bytes);
        kit_compose(&value, script);
        enum code code = read_exactly(FRAMES[i].kind, kit_text(&value), &event, &err);
        cr_expect_eq(code, FRAMES[i].want, "%s: %s", FRAMES[i].why, kit_code_name(code));
        cr_expect_not_null(strstr(err.text, FRAMES[i].words), "%s: %s", FRAMES[i].why, err.text);
    }
}

#define HEAD "'T-1 0 0 5 0 0 'GBP 0 'till 'r 0 "
#define LINE "1 0 2 250 0 500 0 "

/* clang-format off */
static const struct {
    const char *why;
    int32_t id;
    enum event_kind kind;
    const char *script;
    enum code want;
    const char *words;
} HOSTILE[] = {
    { "a type that is none", 1001, EVENT_TRANSACTION, "'T 3 0 5 0 0 'GBP 0 'till 'r 0 0", CODE_DECODE_VALUE,
      "event_type" },
    { "a negative type", 1001, EVENT_TRANSACTION, "'T -1 0 5 0 0 'GBP 0 'till 'r 0 0", CODE_DECODE_VALUE, "event_type" },
    { "a branch that is none", 1001, EVENT_TRANSACTION, "'T 0 2 5 0 0 'GBP 0 'till 'r 0 0", CODE_DECODE_VALUE,
      "original_transaction_id" },
    { "an id that is no UTF-8", 1001, EVENT_TRANSACTION, "3 x61ff62 0 0 5 0 0 'GBP 0 'till 'r 0 0", CODE_DECODE_VALUE,
      "byte 6, transaction_id" },
    { "an id of 2^40 bytes", 1001, EVENT_TRANSACTION, "1099511627776 x6162", CODE_DECODE_LIMIT, "transaction_id" },
    { "an id of -1 bytes", 1001, EVENT_TRANSACTION, "-1 x6162", CODE_DECODE_VALUE, "transaction_id" },
    { "1001 lines", 1001, EVENT_TRANSACTION, HEAD "1001 " LINE, CODE_DECODE_LIMIT, "lines" },
    { "2^62 lines", 1001, EVENT_TRANSACTION, HEAD "4611686018427387904 " LINE, CODE_DECODE_LIMIT, "lines" },
    { "INT64_MIN lines", 1001, EVENT_TRANSACTION, HEAD "-9223372036854775808 9 " LINE, CODE_DECODE_LIMIT, "lines" },
    { "1000 lines, of which one comes", 1001, EVENT_TRANSACTION, HEAD "1000 " LINE, CODE_DECODE_TRUNCATED,
      "lines[1].line_no" },
    { "lines in blocks with sizes", 1001, EVENT_TRANSACTION, HEAD "-1 9 " LINE "-1 9 " LINE "0", CODE_NONE, "" },
    { "a block of another size", 1001, EVENT_TRANSACTION, HEAD "-1 8 " LINE "0", CODE_DECODE_VALUE, "lines" },
    { "a line number beyond an int", 1001, EVENT_TRANSACTION, HEAD "1 4294967297 0 2 250 0 500 0 0", CODE_DECODE_VALUE,
      "lines[0].line_no" },
    { "a quantity of 11 bytes", 1001, EVENT_TRANSACTION, HEAD "1 1 0 xffffffffffffffffffffff01 250 0 500 0 0",
      CODE_DECODE_VALUE, "lines[0].quantity" },
    { "consent 2", 1004, EVENT_CUSTOMER, "'C 1 0 0 0 0 0 x02 x00 x01 's 'r", CODE_DECODE_VALUE, "consent_marketing" },
    { "1001 products", 1007, EVENT_PROMOTION, "'X 1 0 2 3 1001", CODE_DECODE_LIMIT, "product_ids" },
    { "a product of a promotion that is no UTF-8", 1007, EVENT_PROMOTION, "'X 1 0 2 3 2 'a 1 x80 0", CODE_DECODE_VALUE,
      "product_ids[1]:" },
    { "a day beyond an int", 1007, EVENT_PROMOTION, "'X 1 0 2147483648 3 0 0 's 'r", CODE_DECODE_VALUE, "start_day" },
};
/* clang-format on */

Test(codec, forged_values)
{
    for (size_t i = 0; i < sizeof HOSTILE / sizeof HOSTILE[0]; i++) {
        static struct kit_bytes value;
        struct event event;
        struct ll_err err = {.text = ""};
        kit_value(&value, HOSTILE[i].id, HOSTILE[i].script);
        enum code code = read_exactly(HOSTILE[i].kind, kit_text(&value), &event, &err);
        cr_expect_eq(code, HOSTILE[i].want, "%s: %s", HOSTILE[i].why, kit_code_name(code));
        cr_expect_not_null(strstr(err.text, HOSTILE[i].words), "%s: %s", HOSTILE[i].why, err.text);
    }
}

/* A command whose topic is so long. */
static enum code read_topic_of(uint32_t size)
{
    static char words[EVENT_SIZE_MAX + 100], value[EVENT_SIZE_MAX + 200];
    struct event event = {.kind = EVENT_COMMAND}, again;
    struct ll_err err;
    enum code code;
    memset(words, 'a', sizeof words);
    event.command.topic = (struct text){words, size};
    size_t written = codec_write(codec, &event, value, sizeof value);
    cr_assert_gt(written, size);
    codec_read(codec, EVENT_COMMAND, (struct text){value, (uint32_t)written}, scratch, &again, &code, &err);
    return code;
}

Test(codec, the_limits_themselves)
{
    cr_expect_eq(read_topic_of(EVENT_TEXT_SIZE_MAX), CODE_NONE);
    cr_expect_eq(read_topic_of(EVENT_TEXT_SIZE_MAX + 1), CODE_DECODE_LIMIT);
    cr_expect_eq(read_topic_of(EVENT_SIZE_MAX + 1), CODE_DECODE_LIMIT);

    static struct line many[EVENT_LINES_MAX + 1];
    static char value[EVENT_SIZE_MAX], document[EVENT_DOCUMENT_SIZE_MAX + 1];
    struct event event = {.kind = EVENT_TRANSACTION}, again;
    struct ll_err err;
    enum code code;
    event.transaction.lines = many;
    for (uint32_t count = EVENT_LINES_MAX; count <= EVENT_LINES_MAX + 1; count++) {
        event.transaction.line_count = count;
        uint32_t size = (uint32_t)codec_write(codec, &event, value, sizeof value);
        codec_read(codec, EVENT_TRANSACTION, (struct text){value, size}, scratch, &again, &code, &err);
        cr_expect_eq(code, count == EVENT_LINES_MAX ? CODE_NONE : CODE_DECODE_LIMIT);
    }
    memset(document, 'a', sizeof document);
    for (uint32_t more = 0; more < 2; more++) {
        event = (struct event){.kind = EVENT_LOYALTY_RULES,
                               .loyalty_rules = {.document = {document, EVENT_DOCUMENT_SIZE_MAX + more}}};
        uint32_t size = (uint32_t)codec_write(codec, &event, value, sizeof value);
        codec_read(codec, EVENT_LOYALTY_RULES, (struct text){value, size}, scratch, &again, &code, &err);
        cr_expect_eq(code, more == 0 ? CODE_NONE : CODE_DECODE_LIMIT);
    }
}

Test(codec, the_limit_of_lines_is_over_all_blocks)
{
    static struct kit_bytes value;
    struct event event;
    struct ll_err err;
    enum code code;
    for (int blocks = 1; blocks <= 2; blocks++) {
        kit_value(&value, 1001, HEAD);
        for (int block = 0; block < blocks; block++) {
            kit_compose(&value, "600");
            for (int i = 0; i < 600; i++)
                kit_compose(&value, LINE);
        }
        kit_compose(&value, "0");
        codec_read(codec, EVENT_TRANSACTION, kit_text(&value), scratch, &event, &code, &err);
        cr_expect_eq(code, blocks == 1 ? CODE_NONE : CODE_DECODE_LIMIT, "%d", blocks);
    }
}

Test(codec, the_largest_raw_transaction_can_still_be_read_as_a_valid_one)
{
    static struct line many[EVENT_LINES_MAX];
    static char value[EVENT_VALID_SIZE_MAX + 1], words[EVENT_TEXT_SIZE_MAX];
    struct event event = {.kind = EVENT_TRANSACTION}, again;
    struct ll_err err = {.text = ""};
    enum code code;
    memset(words, 'a', sizeof words);
    for (int i = 0; i < EVENT_LINES_MAX; i++)
        many[i] = (struct line){
            .line_no = INT32_MAX, .product_id = {words, 1000}, .category = {words, sizeof words}};
    event.transaction.lines = many;
    event.transaction.line_count = EVENT_LINES_MAX;
    for (event.kind = EVENT_TRANSACTION; event.kind <= EVENT_TRANSACTION_VALID; event.kind++) {
        uint32_t size = (uint32_t)codec_write(codec, &event, value, sizeof value);
        cr_assert_gt(size, (uint32_t)EVENT_LINES_MAX * 1000);
        codec_read(codec, event.kind, (struct text){value, size}, scratch, &again, &code, &err);
        cr_expect_eq(code, CODE_NONE, "%s", err.text);
    }
    again.kind = EVENT_TRANSACTION_VALID;
    codec_write(codec, &again, value, sizeof value);
    codec_read(codec, EVENT_TRANSACTION_VALID, (struct text){value, sizeof value}, scratch, &again, &code,
               &err);
    cr_expect_eq(code, CODE_DECODE_LIMIT);
}

Test(codec, the_kind_of_a_value_is_told_by_its_id)
{
    for (int i = 0; i < KINDS_COUNT; i++) {
        static struct kit_bytes value;
        enum event_kind kind = EVENT_KINDS;
        enum code code;
        kit_value(&value, KINDS[i].id, "");
        cr_expect_eq(codec_kind(codec, kit_text(&value), &kind, &code, NULL), LL_OK);
        cr_expect_eq(kind, KINDS[i].event.kind);
    }
    enum event_kind kind;
    enum code code;
    cr_expect_eq(codec_kind(codec, TEXT("\0\0\0\0\1"), &kind, &code, NULL), LL_POISON);
    cr_expect_eq(code, CODE_SCHEMA_UNKNOWN);
}

Test(codec, an_id_is_read_from_the_frame)
{
    enum code code;
    cr_expect_eq(codec_schema_id(TEXT("\0\1\2\3\4more"), &code), 0x01020304);
    cr_expect_eq(code, CODE_NONE);
    cr_expect_eq(codec_schema_id(TEXT("\0\1\2\3"), &code), -1);
    cr_expect_eq(code, CODE_FRAME_SHORT);
    cr_expect_eq(codec_schema_id(TEXT("\1\1\2\3\4"), &code), -1);
    cr_expect_eq(code, CODE_FRAME_MAGIC);
}
