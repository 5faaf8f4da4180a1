/* Options, references of dead letters, and what a message's text says: read strictly. */
#include "ops/letters.h"
#include "ops/line.h"
#include "ops/options.h"
#include "ops/scan.h"

#include <criterion/criterion.h>

#include <stdlib.h>

static const struct {
    const char *why, *text;
    int64_t value;
    bool good;
} ints[] = {
    { "a number", "42", 42, true },
    { "the least", "-5", -5, true },
    { "the most", "100", 100, true },
    { "below", "-6", 0, false },
    { "above", "101", 0, false },
    { "nothing", "", 0, false },
    { "a sign alone", "-", 0, false },
    { "with a rest", "42x", 0, false },
    { "with a blank", " 42", 0, false },
    { "hexadecimal is none", "0x10", 0, false },
    { "beyond 64 bits", "99999999999999999999", 0, false },
};

Test(ops_options, whole_numbers)
{
    for (size_t i = 0; i < sizeof(ints) / sizeof(ints[0]); i++) {
        int64_t value = 0;
        cr_expect_eq(option_int(ints[i].text, -5, 100, &value), ints[i].good, "%s", ints[i].why);
        cr_expect_eq(value, ints[i].value, "%s", ints[i].why);
    }
}

static const int64_t now_ms = INT64_C(1700000000000);

static const struct {
    const char *why, *text;
    int64_t ms; /* -1: refused */
} sinces[] = {
    { "seconds ago", "90s", INT64_C(1700000000000) - 90000 },
    { "minutes ago", "30m", INT64_C(1700000000000) - 1800000 },
    { "hours ago", "2h", INT64_C(1700000000000) - 7200000 },
    { "days ago", "7d", INT64_C(1700000000000) - 604800000 },
    { "a day", "2011-02-28", INT64_C(1298851200000) },
    { "a time", "2011-02-28T12:34:56Z", INT64_C(1298896496000) },
    { "no such day", "2011-02-29", -1 },
    { "no such hour", "2011-02-28T24:00:00Z", -1 },
    { "no zone: whose?", "2011-02-28T12:34:56", -1 },
    { "a unit alone", "h", -1 },
    { "no unit", "90", -1 },
    { "another unit", "2w", -1 },
    { "the future", "-2h", -1 },
    { "words", "yesterday", -1 },
};

Test(ops_options, since)
{
    for (size_t i = 0; i < sizeof(sinces) / sizeof(sinces[0]); i++) {
        int64_t ms = -1;
        cr_expect_eq(option_since(sinces[i].text, now_ms, &ms), sinces[i].ms >= 0, "%s", sinces[i].why);
        cr_expect_eq(ms, sinces[i].ms, "%s: %lld", sinces[i].why, (long long)ms);
    }
}

static const struct {
    const char *why, *text;
    bool good;
} refs[] = {
    { "of the topic", "dead-letter/3/17", true },
    { "of accrue", "accrue/3/17/0", true },
    { "the highest offset", "dead-letter/0/9223372036854775807", true },
    { "accrue needs a sequence", "accrue/3/17", false },
    { "the topic has none", "dead-letter/3/17/0", false },
    { "another topic", "transactions/3/17", false },
    { "nothing", "", false },
    { "no offset", "dead-letter/3/", false },
    { "a slash too many", "dead-letter/3/17/", false },
    { "negative", "dead-letter/-3/17", false },
    { "no such partition", "dead-letter/2147483648/1", false },
    { "a word", "dead-letter/three/17", false },
};

Test(ops_letters, a_reference_is_read_and_written_alike)
{
    for (size_t i = 0; i < sizeof(refs) / sizeof(refs[0]); i++) {
        struct letter_ref ref = { 0 };
        char text[LETTER_REF_SIZE];
        cr_expect_eq(letter_ref_parse(refs[i].text, &ref), refs[i].good, "%s", refs[i].why);
        if (refs[i].good)
            cr_expect_str_eq(letter_ref_write(&ref, text), refs[i].text, "%s", refs[i].why);
    }
}

Test(ops_letters, what_counts_as_a_line)
{
    struct letter row = { .origin = TOPIC_TRANSACTIONS, .origin_offset = -1, .value = TEXT("1,2,\"") };
    struct letter alone = { .origin = TOPIC_TRANSACTIONS, .origin_offset = 5, .line_alone = true };
    struct letter customer = { .origin = TOPIC_CUSTOMERS, .origin_offset = 5 };
    struct transaction many = { .line_count = 3 }, none = { .line_count = 0 };
    cr_expect_eq(letter_lines(&row, NULL, NULL), 1, "a row that could not become an event");
    cr_expect_eq(letter_lines(&alone, NULL, NULL), 1, "a line whose transaction went on");
    cr_expect_eq(letter_lines(&customer, NULL, NULL), 0, "a reference record has no lines of sale");
    cr_expect_eq(letter_event_lines(&many), 3);
    cr_expect_eq(letter_event_lines(&none), 1, "a document without lines is one, or it would count as nothing");
}

Test(ops_line, behind_is_summed_over_partitions_and_never_negative)
{
    struct line_part *part = calloc(1, sizeof(*part));
    part->partitions = 3;
    part->end[0] = 10, part->at[0] = 7;
    part->end[1] = 10, part->at[1] = 12; /* went on since the end was taken */
    part->end[2] = 5;
    cr_expect_eq(line_behind(part), 8);
    free(part);
}

Test(ops_scan, a_header_by_name)
{
    const struct bus_header headers[] = { { TEXT("ll-codes"), TEXT("A,B") }, { TEXT("ll-offset"), TEXT("17") } };
    cr_expect(text_equal(scan_header(headers, 2, "ll-codes"), TEXT("A,B")));
    cr_expect(scan_header(headers, 2, "ll-code").data == NULL, "no prefix of a name");
    cr_expect_eq(scan_int(scan_header(headers, 2, "ll-offset"), -1), 17);
    cr_expect_eq(scan_int(scan_header(headers, 2, "ll-partition"), -1), -1);
}
