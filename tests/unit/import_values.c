/* Money, whole numbers, times and dates, character sets: what is taken, and as what. */
#include "producers/import/charset.h"
#include "producers/import/money.h"
#include "producers/import/when.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

static const struct {
    const char *why, *text;
    char mark;
    int digits;
    enum code code;
    int64_t minor;
} MONEY[] = {
    { "two places", "2.55", '.', 2, CODE_NONE, 255 },
    { "one place", "2.5", '.', 2, CODE_NONE, 250 },
    { "no place", "2", '.', 2, CODE_NONE, 200 },
    { "zero", "0.0", '.', 2, CODE_NONE, 0 },
    { "negative", "-11062.06", '.', 2, CODE_NONE, -1106206 },
    { "a plus", "+1.00", '.', 2, CODE_NONE, 100 },
    { "minus nothing", "-0.00", '.', 2, CODE_NONE, 0 },
    { "leading zeros", "0000000000000000000000001.10", '.', 2, CODE_NONE, 110 },
    { "no minor unit", "1500", '.', 0, CODE_NONE, 1500 },
    { "three places", "1.234", '.', 3, CODE_NONE, 1234 },
    { "a comma where the profile says so", "2,55", ',', 2, CODE_NONE, 255 },
    { "the largest", "92233720368547758.07", '.', 2, CODE_NONE, INT64_MAX },
    { "the smallest", "-92233720368547758.08", '.', 2, CODE_NONE, INT64_MIN },
    { "one more than the largest", "92233720368547758.08", '.', 2, CODE_AMOUNT_OVERFLOW, 0 },
    { "one less than the smallest", "-92233720368547758.09", '.', 2, CODE_AMOUNT_OVERFLOW, 0 },
    { "far too large", "99999999999999999999999999999999", '.', 2, CODE_AMOUNT_OVERFLOW, 0 },
    { "too large only in minor units", "922337203685477581", '.', 2, CODE_AMOUNT_OVERFLOW, 0 },
    { "a place too many", "1.234", '.', 2, CODE_AMOUNT_SCALE, 0 },
    { "a place too many, though zero: nothing is ever rounded", "1.230", '.', 2, CODE_AMOUNT_SCALE, 0 },
    { "any place where there is none", "1.0", '.', 0, CODE_AMOUNT_SCALE, 0 },
    { "many places", "0.30000000000000004", '.', 2, CODE_AMOUNT_SCALE, 0 },
    { "nothing", "", '.', 2, CODE_AMOUNT_SYNTAX, 0 },
    { "a sign alone", "-", '.', 2, CODE_AMOUNT_SYNTAX, 0 },
    { "two signs", "--1", '.', 2, CODE_AMOUNT_SYNTAX, 0 },
    { "a mark alone", ".", '.', 2, CODE_AMOUNT_SYNTAX, 0 },
    { "nothing before the mark", ".5", '.', 2, CODE_AMOUNT_SYNTAX, 0 },
    { "nothing behind the mark", "5.", '.', 2, CODE_AMOUNT_SYNTAX, 0 },
    { "two marks", "1.2.3", '.', 2, CODE_AMOUNT_SYNTAX, 0 },
    { "thousands", "1,000.00", '.', 2, CODE_AMOUNT_SYNTAX, 0 },
    { "the other mark", "2,55", '.', 2, CODE_AMOUNT_SYNTAX, 0 },
    { "an exponent", "1e3", '.', 2, CODE_AMOUNT_SYNTAX, 0 },
    { "hexadecimal", "0x10", '.', 2, CODE_AMOUNT_SYNTAX, 0 },
    { "a currency sign", "$2.55", '.', 2, CODE_AMOUNT_SYNTAX, 0 },
    { "a letter for a digit", "1O.99", '.', 2, CODE_AMOUNT_SYNTAX, 0 },
    { "a blank behind", "2.55 ", '.', 2, CODE_AMOUNT_SYNTAX, 0 },
    { "not a number", "nan", '.', 2, CODE_AMOUNT_SYNTAX, 0 },
};

Test(import_values, money_is_exact_or_refused)
{
    for (size_t i = 0; i < sizeof MONEY / sizeof *MONEY; i++) {
        int64_t minor = -77;
        enum code code = money_parse(text_of(MONEY[i].text), MONEY[i].mark, MONEY[i].digits, &minor);
        cr_expect_eq(code, MONEY[i].code, "%s (%s): code %d", MONEY[i].why, MONEY[i].text, code);
        cr_expect_eq(minor, MONEY[i].code == CODE_NONE ? MONEY[i].minor : -77, "%s (%s): %lld", MONEY[i].why, MONEY[i].text,
                     (long long)minor);
    }
}

static const struct {
    const char *why, *text;
    bool good;
    int64_t value;
} WHOLE[] = {
    { "plain", "6", true, 6 },
    { "negative", "-74215", true, -74215 },
    { "zero", "0", true, 0 },
    { "a plus", "+3", true, 3 },
    { "the largest", "9223372036854775807", true, INT64_MAX },
    { "the smallest", "-9223372036854775808", true, INT64_MIN },
    { "one too large", "9223372036854775808", false, 0 },
    { "a fraction", "1.5", false, 0 },
    { "a fraction of nothing", "1.0", false, 0 },
    { "words", "six", false, 0 },
    { "nothing", "", false, 0 },
    { "a sign alone", "+", false, 0 },
    { "a blank inside", "1 000", false, 0 },
};

Test(import_values, whole_numbers)
{
    for (size_t i = 0; i < sizeof WHOLE / sizeof *WHOLE; i++) {
        int64_t value = 0;
        bool good = money_parse_whole(text_of(WHOLE[i].text), &value);
        cr_expect(good == WHOLE[i].good && value == WHOLE[i].value, "%s (%s): %d %lld", WHOLE[i].why, WHOLE[i].text, good,
                  (long long)value);
    }
}

Test(import_values, a_currency_has_its_minor_digits)
{
    static const struct {
        const char *code;
        int digits;
    } cases[] = { { "GBP", 2 }, { "EUR", 2 }, { "USD", 2 }, { "CHF", 2 }, { "JPY", 0 }, { "KRW", 0 }, { "CLP", 0 }, { "ISK", 0 },
                  { "KWD", 3 }, { "BHD", 3 }, { "TND", 3 }, { "HUF", 2 }, { "XXX", -1 }, { "gbp", -1 }, { "GB", -1 },
                  { "GBPX", -1 }, { "", -1 }, { "D A", -1 }, { "DAF", -1 } };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        cr_expect_eq(money_digits(text_of(cases[i].code)), cases[i].digits, "%s", cases[i].code);
}

static const struct {
    const char *why, *format, *zone, *text, *utc; /* utc NULL: refused */
} TIMES[] = {
    { "winter is UTC in London", "%Y-%m-%d %H:%M:%S", "Europe/London", "2010-12-01 08:26:00", "2010-12-01T08:26:00.000Z" },
    { "summer is an hour ahead", "%Y-%m-%d %H:%M:%S", "Europe/London", "2011-07-01 08:26:00", "2011-07-01T07:26:00.000Z" },
    { "the hour that the clocks skip", "%Y-%m-%d %H:%M:%S", "Europe/London", "2011-03-27 01:30:00", NULL },
    { "its first second", "%Y-%m-%d %H:%M:%S", "Europe/London", "2011-03-27 01:00:00", NULL },
    { "just before it", "%Y-%m-%d %H:%M:%S", "Europe/London", "2011-03-27 00:59:59", "2011-03-27T00:59:59.000Z" },
    { "just after it", "%Y-%m-%d %H:%M:%S", "Europe/London", "2011-03-27 02:00:00", "2011-03-27T01:00:00.000Z" },
    { "of two equal times the earlier", "%Y-%m-%d %H:%M:%S", "Europe/London", "2011-10-30 01:30:00", "2011-10-30T00:30:00.000Z" },
    { "a zone of its own beats the program's", "%Y-%m-%dT%H:%M:%S%z", "Europe/London", "2011-03-27T01:30:00Z", "2011-03-27T01:30:00.000Z" },
    { "an offset", "%Y-%m-%dT%H:%M:%S%z", "Europe/London", "2011-03-27T01:30:00+05:30", "2011-03-26T20:00:00.000Z" },
    { "an offset without colon", "%Y-%m-%dT%H:%M:%S%z", "Europe/London", "2011-01-01T00:00:00-0800", "2011-01-01T08:00:00.000Z" },
    { "ms", "%Y-%m-%dT%H:%M:%S.%f%z", "UTC", "2011-01-01T00:00:00.5Z", "2011-01-01T00:00:00.500Z" },
    { "more than ms are cut", "%Y-%m-%dT%H:%M:%S.%f%z", "UTC", "2011-01-01T00:00:00.123999Z", "2011-01-01T00:00:00.123Z" },
    { "a day alone begins at midnight", "%Y-%m-%d", "Europe/London", "2011-07-01", "2011-06-30T23:00:00.000Z" },
    { "a day without midnight begins at one", "%Y-%m-%d", "America/Sao_Paulo", "2010-10-17", "2010-10-17T03:00:00.000Z" },
    { "one digit where it is allowed", "%-m/%-d/%Y %-H:%M", "UTC", "12/1/2010 8:26", "2010-12-01T08:26:00.000Z" },
    { "two digits there", "%-m/%-d/%Y %-H:%M", "UTC", "12/11/2010 18:26", "2010-12-11T18:26:00.000Z" },
    { "names of months", "%d %b %Y", "UTC", "01 Dec 2010", "2010-12-01T00:00:00.000Z" },
    { "twelve hours", "%Y-%m-%d %I:%M %p", "UTC", "2010-12-01 12:05 AM", "2010-12-01T00:05:00.000Z" },
    { "noon", "%Y-%m-%d %I:%M %p", "UTC", "2010-12-01 12:05 pm", "2010-12-01T12:05:00.000Z" },
    { "hour 13 of 12", "%Y-%m-%d %I:%M %p", "UTC", "2010-12-01 13:05 PM", NULL },
    { "two-digit years as POSIX", "%d.%m.%y", "UTC", "01.12.99", "1999-12-01T00:00:00.000Z" },
    { "two-digit years of this century", "%d.%m.%y", "UTC", "01.12.10", "2010-12-01T00:00:00.000Z" },
    { "a percent sign", "%Y%%%m%%%d", "UTC", "2010%12%01", "2010-12-01T00:00:00.000Z" },
    { "29 February of a leap year", "%Y-%m-%d", "UTC", "2012-02-29", "2012-02-29T00:00:00.000Z" },
    { "29 February of another", "%Y-%m-%d", "UTC", "2011-02-29", NULL },
    { "month 13", "%Y-%m-%d", "UTC", "2011-13-01", NULL },
    { "hour 24", "%Y-%m-%d %H:%M:%S", "UTC", "2011-01-01 24:00:00", NULL },
    { "hour 24 with a zone", "%Y-%m-%dT%H:%M:%S%z", "UTC", "2011-01-01T24:00:00Z", NULL },
    { "a leap second", "%Y-%m-%d %H:%M:%S", "UTC", "2016-12-31 23:59:60", NULL },
    { "one digit where two are asked", "%Y-%m-%d", "UTC", "2011-1-01", NULL },
    { "a blank behind", "%Y-%m-%d", "UTC", "2011-01-01 ", NULL },
    { "something behind", "%Y-%m-%d", "UTC", "2011-01-01T00:00:00Z", NULL },
    { "too short", "%Y-%m-%d", "UTC", "2011-01", NULL },
    { "nothing", "%Y-%m-%d", "UTC", "", NULL },
    { "a zone that is none", "%Y-%m-%d%z", "UTC", "2011-01-01X", NULL },
    { "an offset of 15 hours", "%Y-%m-%d%z", "UTC", "2011-01-01+15:00", NULL },
};

Test(import_values, times_are_strict)
{
    for (size_t i = 0; i < sizeof TIMES / sizeof *TIMES; i++) {
        struct when when = { .count = 1 };
        struct calendar *calendar;
        struct ll_err err;
        const char *why;
        int64_t ms;
        char text[32];
        snprintf(when.formats[0], WHEN_FORMAT_SIZE, "%s", TIMES[i].format);
        cr_assert(when_check(TIMES[i].format, &why), "%s: %s", TIMES[i].why, why);
        cr_assert_eq(calendar_new(TIMES[i].zone, &calendar, &err), LL_OK, "%s", err.text);
        bool good = when_time(&when, calendar, text_of(TIMES[i].text), &ms);
        cr_expect_eq(good, TIMES[i].utc != NULL, "%s", TIMES[i].why);
        if (good && TIMES[i].utc != NULL)
            cr_expect_str_eq(clock_format(ms, text, sizeof text), TIMES[i].utc, "%s", TIMES[i].why);
        calendar_free(calendar);
    }
}

Test(import_values, formats_that_cannot_be_used)
{
    static const char *const bad[] = { "%Y-%m", "%H:%M", "", "%Y-%m-%d %Y", "%Y-%m-%d %Q", "%Y-%m-%d %", "%-Y-%m-%d", "%Y-%m-%d %I",
                                       "%Y-%m-%d %p", "%Y-%m-%d %H %I %p", "%Y %y %m %d", "%Y-%m-%d %b",
                                       "%Y-%m-%d ..............................................." };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        const char *why = NULL;
        cr_expect(!when_check(bad[i], &why) && why != NULL, "%s", bad[i]);
    }
}

Test(import_values, dates_are_days_of_no_zone)
{
    struct when when = { .formats = { "%Y-%m-%d", "%d.%m.%Y" }, .count = 2 };
    int32_t day = 0;
    cr_expect(when_day(&when, TEXT("1970-01-02"), &day) && day == 1);
    cr_expect(when_day(&when, TEXT("28.02.2011"), &day) && day == 15033);
    cr_expect_not(when_day(&when, TEXT("2011-02-30"), &day));
}

Test(import_values, texts_become_utf_8)
{
    char to[64];
    size_t used;
    struct text text = charset_decode(ENCODING_LATIN_1, TEXT("caf\xe9 \xa3"), to, &used);
    cr_expect(text_equal(text, TEXT("caf\xc3\xa9 \xc2\xa3")));
    text = charset_decode(ENCODING_WINDOWS_1252, TEXT("\x80\x93x\x94\xe9"), to, &used);
    cr_expect(text_equal(text, TEXT("\xe2\x82\xac\xe2\x80\x9cx\xe2\x80\x9d\xc3\xa9")));
    cr_expect_not(charset_valid(ENCODING_WINDOWS_1252, TEXT("a\x81")));
    cr_expect(charset_valid(ENCODING_WINDOWS_1252, TEXT("a\x80")));
    cr_expect_not(charset_valid(ENCODING_UTF_8, TEXT("caf\xe9 and more bytes")));
    cr_expect(charset_has_control(TEXT("a\x01")) && charset_has_control(TEXT("a\x7f")) && charset_has_control(TEXT("\xc2\x85")));
    cr_expect_not(charset_has_control(TEXT("\xc3\x85ngstr\xc3\xb6m \xc2\xa3")));
    cr_expect_str_eq(charset_quote(TEXT("a\"\x1b[31m\xe9"), to, sizeof to), "a\\x22\\x1b[31m\\xe9");
}
