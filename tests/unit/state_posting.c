#include "schemas/codes.h"
#include "state/copy_field.h"
#include "state/decimal.h"
#include "state/posting.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

static struct posting_line lines_read[POSTING_LINES_MAX];
static struct posting_rule rules_read[POSTING_RULES_MAX];

static struct posting plain(void)
{
    return (struct posting){
        .run = 1,
        .partition = 3,
        .offset = 77,
        .event_offset = 77,
        .identity_hash = -5,
        .content_hash = 6,
        .source = TEXT("tills"),
        .type = TRANSACTION_SALE,
        .transaction_id = TEXT("T1"),
        .sale_hash = -5,
        .event_time_ms = 1700000000123,
        .posted_at_ms = 1700000000999,
        .raw_topic = TEXT("transactions"),
        .raw_partition = 3,
        .raw_offset = 12,
    };
}

static void check_equal(const struct posting *a, const struct posting *b)
{
#define SAME(field) cr_assert_eq(a->field, b->field, #field)
#define SAME_TEXT(field) cr_assert(text_equal(a->field, b->field), #field)
    SAME(run);
    SAME(partition);
    SAME(offset);
    SAME(seq);
    SAME(event_offset);
    SAME(identity_hash);
    SAME(content_hash);
    SAME_TEXT(source);
    SAME(type);
    SAME_TEXT(transaction_id);
    SAME_TEXT(sale_id);
    SAME(sale_hash);
    SAME_TEXT(customer_id);
    SAME_TEXT(store_id);
    SAME(net_minor);
    SAME(line_count);
    for (uint32_t at = 0; at < a->line_count; at++) {
        SAME_TEXT(lines[at].product_id);
        SAME_TEXT(lines[at].category);
        SAME_TEXT(lines[at].promotion_id);
        SAME(lines[at].amount_minor);
        SAME(lines[at].excess_minor);
    }
    SAME(sale_day);
    SAME(points);
    SAME(rules_version);
    SAME(rule_count);
    for (uint32_t at = 0; at < a->rule_count; at++) {
        SAME(rules[at].rule_id);
        SAME(rules[at].points);
    }
    SAME(event_time_ms);
    SAME(posted_at_ms);
    SAME(warnings);
    SAME_TEXT(raw_topic);
    SAME(raw_partition);
    SAME(raw_offset);
}

static void check_round_trip(const struct posting *posting)
{
    struct row_buffer buffer = { 0 };
    struct posting read;
    cr_assert_eq(posting_write(&buffer, posting), 0);
    size_t second = posting_write(&buffer, posting);
    cr_assert_eq(buffer.rows, 2);
    cr_assert_eq(buffer.size, 2 * second);
    cr_assert_eq(posting_read(buffer.data, buffer.size, lines_read, rules_read, &read), second,
                 "the first row ends there");
    check_equal(posting, &read);
    cr_assert_eq(posting_read(buffer.data + second, second, lines_read, rules_read, &read), second);
    check_equal(posting, &read);
    row_buffer_done(&buffer);
}

Test(posting, everything_null)
{
    struct posting posting = plain();
    check_round_trip(&posting);
}

Test(posting, everything_set)
{
    struct posting_line lines[] = {
        { TEXT("P1"), TEXT("grocery"), TEXT("PR"), -1250, 3 },
        { TEXT("P2"), { NULL, 0 }, { NULL, 0 }, INT64_MAX, 0 },
        { TEXT("Pürée 🍞"), TEXT("b"), { NULL, 0 }, INT64_MIN, INT64_MAX },
    };
    struct posting_rule rules[] = { { 1, -125 }, { INT32_MAX, INT64_MAX }, { INT32_MIN, INT64_MIN } };
    struct posting posting = plain();
    posting.type = TRANSACTION_VOID;
    posting.seq = 4;
    posting.event_offset = 12;
    posting.sale_id = TEXT("T0");
    posting.sale_hash = INT64_MIN;
    posting.customer_id = TEXT("C1");
    posting.store_id = TEXT("S1");
    posting.net_minor = INT64_MIN;
    posting.lines = lines;
    posting.line_count = 3;
    posting.sale_day = 15000;
    posting.points = INT64_MAX;
    posting.rules_version = 9;
    posting.rules = rules;
    posting.rule_count = 3;
    posting.warnings = code_bit(CODE_REFUND_EXCESS) | code_bit(CODE_RULES_MISSING);
    posting.raw_topic = TEXT("transactions.retry");
    posting.raw_partition = 0;
    check_round_trip(&posting);
}

Test(posting, every_warning_has_its_name)
{
    struct posting posting = plain();
    posting.warnings = ~UINT64_C(0) >> (64 - CODE_COUNT) & ~UINT64_C(1);
    check_round_trip(&posting);
}

Test(posting, most_lines_and_rules)
{
    static struct posting_line lines[POSTING_LINES_MAX];
    static struct posting_rule rules[POSTING_RULES_MAX];
    static char name[EVENT_TEXT_SIZE_MAX];
    memset(name, 'x', sizeof name);
    for (int at = 0; at < POSTING_LINES_MAX; at++)
        lines[at] = (struct posting_line){
            { name, sizeof name }, { name, sizeof name }, { name, sizeof name }, INT64_MIN, INT64_MIN
        };
    for (int at = 0; at < POSTING_RULES_MAX; at++)
        rules[at] = (struct posting_rule){ INT32_MIN, INT64_MIN };
    struct posting posting = plain();
    posting.lines = lines;
    posting.line_count = POSTING_LINES_MAX;
    posting.rules = rules;
    posting.rule_count = POSTING_RULES_MAX;
    check_round_trip(&posting);
}

Test(posting, empty_text_is_not_null)
{
    struct posting posting = plain();
    posting.customer_id = TEXT("");
    check_round_trip(&posting);
}

/* Postgres refuses NUL, and a tab would move the amounts into another column. */
Test(posting, bytes_that_would_stop_the_partition)
{
    struct posting_line line = { TEXT("P\t1\n"), TEXT("\x1f"), TEXT("eight by\x01te"), 5, 0 };
    struct posting posting = plain(), read;
    posting.transaction_id = TEXT("T\0one and more");
    posting.lines = &line;
    posting.line_count = 1;
    struct row_buffer buffer = { 0 };
    posting_write(&buffer, &posting);
    cr_assert_eq(posting_read(buffer.data, buffer.size, lines_read, rules_read, &read), buffer.size);
    cr_assert(text_equal(read.transaction_id, TEXT("T?one and more")));
    cr_assert_eq(read.line_count, 1);
    cr_assert(text_equal(read.lines[0].product_id, TEXT("P?1?")));
    cr_assert(text_equal(read.lines[0].category, TEXT("?")));
    cr_assert(text_equal(read.lines[0].promotion_id, TEXT("eight by?te")));
    row_buffer_done(&buffer);
}

struct time_case {
    const char *why;
    int64_t ms, read_ms;
};

Test(posting, times)
{
    static const struct time_case cases[] = {
        { "1970", 0, 0 },
        { "before 1970", -1, -1 },
        { "before 2000", COPY_EPOCH_MS - 1, COPY_EPOCH_MS - 1 },
        { "too early for timestamptz", INT64_MIN, COPY_TIME_MS_MIN + COPY_EPOCH_MS },
        { "too late for timestamptz", INT64_MAX, COPY_TIME_MS_MAX + COPY_EPOCH_MS },
    };
    for (size_t at = 0; at < sizeof cases / sizeof cases[0]; at++) {
        struct posting posting = plain(), read;
        struct row_buffer buffer = { 0 };
        posting.event_time_ms = cases[at].ms;
        posting_write(&buffer, &posting);
        cr_assert_gt(posting_read(buffer.data, buffer.size, lines_read, rules_read, &read), 0);
        cr_assert_eq(read.event_time_ms, cases[at].read_ms, "%s", cases[at].why);
        row_buffer_done(&buffer);
    }
}

Test(posting, days)
{
    static const int32_t days[][2] = { { 0, 0 }, { -1, -1 }, { 20000, 20000 },
                                       { INT32_MIN, COPY_DAY_MIN + COPY_EPOCH_DAY },
                                       { INT32_MAX, COPY_DAY_MAX + COPY_EPOCH_DAY } };
    for (size_t at = 0; at < sizeof days / sizeof days[0]; at++) {
        struct posting posting = plain(), read;
        struct row_buffer buffer = { 0 };
        posting.sale_day = days[at][0];
        posting_write(&buffer, &posting);
        cr_assert_gt(posting_read(buffer.data, buffer.size, lines_read, rules_read, &read), 0);
        cr_assert_eq(read.sale_day, days[at][1]);
        row_buffer_done(&buffer);
    }
}

static struct row_buffer full_row(void)
{
    struct posting_line lines[] = { { TEXT("P1"), TEXT("c"), TEXT("q"), 12, 3 },
                                    { TEXT("P2"), TEXT("c"), TEXT("q"), 1, 0 } };
    struct posting_rule rules[] = { { 1, 2 }, { 3, 4 } };
    struct posting posting = plain();
    posting.customer_id = TEXT("C1");
    posting.lines = lines;
    posting.line_count = 2;
    posting.rules = rules;
    posting.rule_count = 2;
    posting.warnings = code_bit(CODE_REFUND_EXCESS);
    struct row_buffer buffer = { 0 };
    posting_write(&buffer, &posting);
    return buffer;
}

Test(posting, no_cut_row_is_read)
{
    struct row_buffer row = full_row();
    struct posting read;
    for (size_t size = 0; size < row.size; size++) {
        char *cut = malloc(size == 0 ? 1 : size); /* its own allocation: the sanitizer sees a step too far */
        if (size > 0)
            memcpy(cut, row.data, size);
        cr_assert_eq(posting_read(cut, size, lines_read, rules_read, &read), 0, "cut at %zu", size);
        free(cut);
    }
    row_buffer_done(&row);
}

/* Any byte may be anything: no crash, no step past the end, and what is read is within the limits. */
Test(posting, no_changed_byte_does_harm)
{
    struct row_buffer row = full_row();
    static const unsigned char values[] = { 0, 1, 9, 10, 32, 44, 45, 58, 127, 128, 255 };
    for (size_t at = 0; at < row.size; at++) {
        for (size_t value = 0; value < sizeof values; value++) {
            struct posting read;
            char *changed = malloc(row.size);
            memcpy(changed, row.data, row.size);
            changed[at] = (char)values[value];
            size_t used = posting_read(changed, row.size, lines_read, rules_read, &read);
            cr_assert_leq(used, row.size);
            if (used > 0)
                cr_assert(read.line_count <= POSTING_LINES_MAX && read.rule_count <= POSTING_RULES_MAX);
            free(changed);
        }
    }
    row_buffer_done(&row);
}

/* A row of another version may have more lines or rules than there is room for. */
Test(posting, more_lines_than_room)
{
    struct row_buffer lines = { 0 };
    static char text[(POSTING_LINES_MAX + 1) * 6];
    size_t used = 0;
    for (int at = 0; at <= POSTING_LINES_MAX; at++)
        used += (size_t)sprintf(text + used, "%sp\t\t\t1", at == 0 ? "" : "\n");
    /* The plain row's empty lines field is the last but three. */
    struct posting posting = plain(), read;
    posting_write(&lines, &posting);
    struct row_buffer forged = { 0 };
    size_t head = lines.size - 4 * 4;
    char *to = row_reserve(&forged, head + used + 64);
    memcpy(to, lines.data, head);
    to = put_bytes(to + head, (struct text){ text, (uint32_t)used });
    to = put_null(put_null(put_null(to)));
    cr_assert_eq(posting_read(forged.data, (size_t)(to - forged.data), lines_read, rules_read, &read), 0);
    row_buffer_done(&lines);
    row_buffer_done(&forged);
}

struct decimal_case {
    const char *text;
    bool good;
    int64_t value;
};

Test(decimal, strict)
{
    static const struct decimal_case cases[] = {
        { "0", true, 0 },
        { "-0", true, 0 },
        { "9223372036854775807", true, INT64_MAX },
        { "-9223372036854775808", true, INT64_MIN },
        { "9223372036854775808", false, 0 },
        { "-9223372036854775809", false, 0 },
        { "99999999999999999999", false, 0 },
        { "", false, 0 },
        { "-", false, 0 },
        { "+1", false, 0 },
        { " 1", false, 0 },
        { "1 ", false, 0 },
        { "1e3", false, 0 },
    };
    for (size_t at = 0; at < sizeof cases / sizeof cases[0]; at++) {
        int64_t value = 0;
        cr_assert_eq(decimal_read(cases[at].text, strlen(cases[at].text), &value), cases[at].good, "%s",
                     cases[at].text);
        if (cases[at].good)
            cr_assert_eq(value, cases[at].value);
    }
    char digits[DECIMAL_SIZE_MAX + 1] = "";
    *decimal_write(digits, INT64_MIN) = '\0';
    cr_assert_str_eq(digits, "-9223372036854775808");
}
