/* Errors, log lines, time and calendars: what everything else stands on. */
#include "runtime/clock.h"
#include "runtime/err.h"
#include "runtime/kafka.h"
#include "runtime/log.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

Test(err, words_are_cut_never_overrun)
{
    struct ll_err err;
    char large[1000];
    memset(large, 'x', sizeof large - 1);
    large[sizeof large - 1] = '\0';
    cr_assert_eq(ll_fail(&err, LL_RETRY, "%s", large), LL_RETRY);
    cr_assert_eq(strlen(err.text), sizeof err.text - 1);
    cr_assert_eq(ll_wrap(&err, LL_FATAL, "%s", large), LL_FATAL);
    cr_assert_eq(strlen(err.text), sizeof err.text - 1);
    ll_fail(&err, LL_OK, "inner");
    ll_wrap(&err, LL_OK, "outer %d", 1);
    cr_assert_str_eq(err.text, "outer 1: inner");
    cr_assert_eq(ll_fail(NULL, LL_POISON, "nobody listens"), LL_POISON);
    cr_assert_eq(ll_wrap(NULL, LL_POISON, "nobody listens"), LL_POISON);
}

static const struct quoted {
    struct text text;
    const char *as, *why;
} quoted[] = {
    {{"plain-1.2:3/4", 13}, "plain-1.2:3/4", "as it is"},
    {{NULL, 0}, "null", "absent"},
    {{"", 0}, "\"\"", "empty is not absent"},
    {{"two words", 9}, "\"two words\"", "a blank would end the value"},
    {{"a=b", 3}, "\"a=b\"", "would look like a pair"},
    {{"say \"hi\"", 8}, "\"say \\\"hi\\\"\"", "quotes"},
    {{"a\\b", 3}, "\"a\\\\b\"", "a backslash"},
    {{"a\nlevel=error", 13}, "\"a\\nlevel=error\"", "a forged line"},
    {{"\x1b[31m", 5}, "\"\\x1b[31m\"", "a terminal's command"},
    {{"a\0b", 3}, "\"a\\x00b\"", "a NUL within"},
    {{"\xc3\xa9", 2}, "\"\\xc3\\xa9\"", "beyond ASCII"},
    {{"\x9b", 1}, "\"\\x9b\"", "a C1 control"},
    {{"\t\r\x7f", 3}, "\"\\t\\r\\x7f\"", "other controls"},
};

Test(log, values_are_quoted_so_that_no_bytes_forge_a_line)
{
    for (size_t at = 0; at < sizeof quoted / sizeof quoted[0]; at++)
        cr_expect_str_eq(log_quote(quoted[at].text), quoted[at].as, "%s", quoted[at].why);
    cr_expect_str_eq(log_quote_c("x y"), "\"x y\"");
    cr_expect_str_eq(log_quote_c(NULL), "null");
}

Test(log, long_values_are_cut)
{
    static char large[100000];
    memset(large, '\n', sizeof large);
    const char *got = log_quote((struct text){large, sizeof large});
    cr_assert_lt(strlen(got), 1024);
    cr_assert_str_eq(got + strlen(got) - 4, "...\"");
}

Test(log, eight_values_live_side_by_side)
{
    const char *values[8];
    char one[16];
    for (int at = 0; at < 8; at++) {
        snprintf(one, sizeof one, "v%d", at);
        values[at] = log_quote_c(one);
    }
    for (int at = 0; at < 8; at++) {
        snprintf(one, sizeof one, "v%d", at);
        cr_expect_str_eq(values[at], one);
    }
}

Test(log, a_line_is_one_line_with_time_level_process_and_event)
{
    char path[] = "/tmp/lens-log-XXXXXX", text[8192] = "";
    int fd = mkstemp(path), kept = dup(STDERR_FILENO);
    setenv("LENS_LOG", "warn", 1);
    log_init("tested");
    dup2(fd, STDERR_FILENO);
    log_line(LOG_INFO, "quiet", "x=%d", 1);
    log_line(LOG_WARN, "said", "x=%d text=%s", 1, "un\nquoted");
    static char large[6000];
    memset(large, 'x', sizeof large - 1);
    log_line(LOG_ERROR, "long", "text=%s", large);
    dup2(kept, STDERR_FILENO);
    ssize_t size = pread(fd, text, sizeof text - 1, 0);
    close(fd);
    close(kept);
    unlink(path);
    cr_assert_gt(size, 0);
    cr_assert_null(strstr(text, "quiet"));
    cr_assert_not_null(strstr(text, "Z level=warn process=tested event=said x=1 text=un?quoted\nts="));
    cr_assert_eq(text[size - 1], '\n');
    cr_assert_leq(size, 4096 + 100);
}

Test(clock, formats_any_time)
{
    char to[32];
    cr_expect_str_eq(clock_format(1298896440123, to, sizeof to), "2011-02-28T12:34:00.123Z");
    cr_expect_str_eq(clock_format(0, to, sizeof to), "1970-01-01T00:00:00.000Z");
    cr_expect_str_eq(clock_format(-1, to, sizeof to), "1969-12-31T23:59:59.999Z");
    cr_expect_str_eq(clock_format(951782400000, to, sizeof to), "2000-02-29T00:00:00.000Z");
    cr_expect_str_eq(clock_format(INT64_MAX, to, sizeof to), "9223372036854775807");
    cr_expect_str_eq(clock_format(INT64_MIN, to, sizeof to), "-9223372036854775808");
    cr_expect_str_eq(clock_format(INT64_C(253402300799999), to, sizeof to), "9999-12-31T23:59:59.999Z");
}

Test(clock, steady_never_steps_back)
{
    struct clock_source clock = clock_real();
    int64_t before = clock.steady_ms(clock.self);
    cr_assert_geq(clock.steady_ms(clock.self), before);
    cr_assert_gt(clock.wall_ms(clock.self), INT64_C(1700000000000));
}

static const struct local_case {
    const char *zone;
    int year, month, day, hour, minute;
    const char *utc; /* NULL: no such time */
    const char *why;
} local_cases[] = {
    {"Europe/London", 2011, 1, 15, 12, 0, "2011-01-15T12:00:00.000Z", "winter is UTC"},
    {"Europe/London", 2011, 7, 15, 12, 0, "2011-07-15T11:00:00.000Z", "summer is an hour ahead"},
    {"Europe/London", 2011, 3, 27, 0, 59, "2011-03-27T00:59:00.000Z", "the last minute of winter"},
    {"Europe/London", 2011, 3, 27, 1, 0, NULL, "the clock springs from 1:00 to 2:00"},
    {"Europe/London", 2011, 3, 27, 1, 59, NULL, "still in the gap"},
    {"Europe/London", 2011, 3, 27, 2, 0, "2011-03-27T01:00:00.000Z", "the first minute of summer"},
    {"Europe/London", 2011, 10, 30, 1, 30, "2011-10-30T00:30:00.000Z", "of two, the earlier"},
    {"Europe/London", 2011, 10, 30, 2, 0, "2011-10-30T02:00:00.000Z", "only one of these"},
    {"Europe/London", 1970, 6, 1, 12, 0, "1970-06-01T11:00:00.000Z", "British Standard Time"},
    {"America/New_York", 2024, 3, 10, 2, 30, NULL, "gap"},
    {"America/New_York", 2024, 3, 10, 3, 0, "2024-03-10T07:00:00.000Z", "after the gap"},
    {"America/New_York", 2024, 11, 3, 1, 30, "2024-11-03T05:30:00.000Z", "of two, the earlier"},
    {"America/New_York", 2024, 12, 31, 23, 59, "2025-01-01T04:59:00.000Z", "behind UTC"},
    {"America/New_York", 2060, 7, 1, 12, 0, "2060-07-01T16:00:00.000Z",
     "beyond the table of 2037: by the rule"},
    {"Pacific/Auckland", 2024, 4, 7, 2, 30, "2024-04-06T13:30:00.000Z", "of two, the earlier, in the south"},
    {"Pacific/Apia", 2011, 12, 30, 12, 0, NULL, "a whole day that Samoa left out"},
    {"Asia/Kathmandu", 2024, 1, 1, 5, 45, "2024-01-01T00:00:00.000Z", "a quarter of an hour"},
    {"UTC", 2024, 2, 29, 0, 0, "2024-02-29T00:00:00.000Z", "a leap day"},
    {"UTC", 2023, 2, 29, 0, 0, NULL, "not a leap year"},
    {"UTC", 2024, 13, 1, 0, 0, NULL, "month 13"},
    {"UTC", 2024, 4, 31, 0, 0, NULL, "31 April"},
    {"UTC", 2024, 1, 1, 24, 0, NULL, "hour 24"},
    {"UTC", 0, 1, 1, 0, 0, NULL, "year 0"},
};

Test(calendar, local_times_become_utc)
{
    for (size_t at = 0; at < sizeof local_cases / sizeof local_cases[0]; at++) {
        const struct local_case *one = &local_cases[at];
        struct calendar *calendar;
        struct ll_err err;
        char got[32];
        int64_t ms = 0;
        cr_assert_eq(calendar_new(one->zone, &calendar, &err), LL_OK, "%s", err.text);
        bool is = calendar_time(calendar, one->year, one->month, one->day, one->hour, one->minute, 0, &ms);
        cr_expect_eq(is, one->utc != NULL, "%s %s", one->zone, one->why);
        if (is && one->utc != NULL)
            cr_expect_str_eq(clock_format(ms, got, sizeof got), one->utc, "%s %s", one->zone, one->why);
        calendar_free(calendar);
    }
}

Test(calendar, a_day_begins_at_local_midnight)
{
    struct calendar *london, *york;
    struct ll_err err;
    int32_t day;
    cr_assert_eq(calendar_new("Europe/London", &london, &err), LL_OK, "%s", err.text);
    cr_assert_eq(calendar_new("America/New_York", &york, &err), LL_OK, "two calendars at once: %s", err.text);
    cr_assert(calendar_day_of(2011, 7, 15, &day));
    int64_t midnight_ms = (int64_t)day * 86400000 - 3600000; /* summer */
    cr_expect_eq(calendar_day(london, midnight_ms - 1), day - 1);
    cr_expect_eq(calendar_day(london, midnight_ms), day);
    cr_expect_eq(calendar_day(york, midnight_ms), day - 1);
    cr_expect_eq(calendar_day(york, midnight_ms + 5 * 3600000 - 1), day - 1);
    cr_expect_eq(calendar_day(york, midnight_ms + 5 * 3600000), day);
    cr_expect_eq(calendar_day(london, -1), -1 + 1, "an hour ahead in 1970");
    cr_expect_eq(calendar_day(london, INT64_MIN), INT32_MIN, "no overflow");
    cr_expect_eq(calendar_day(london, INT64_MAX), INT32_MAX);
    calendar_free(london);
    calendar_free(york);
}

Test(calendar, dates_go_there_and_back)
{
    for (int32_t day = -800000; day <= 2932896; day += 97) {
        int year, month, of_month;
        int32_t back;
        calendar_date(day, &year, &month, &of_month);
        if (year < 1)
            continue;
        cr_assert(calendar_day_of(year, month, of_month, &back));
        cr_assert_eq(back, day);
    }
    cr_expect_eq(calendar_weekday(0), 3, "1970-01-01 was a Thursday");
    cr_expect_eq(calendar_weekday(-1), 2);
    cr_expect_eq(calendar_weekday(4), 0, "a Monday");
    cr_expect_eq(calendar_weekday(INT32_MIN) >= 0 && calendar_weekday(INT32_MAX) <= 6, 1);
}

Test(calendar, the_process_keeps_its_own_zone)
{
    struct calendar *calendar;
    setenv("TZ", "Asia/Tokyo", 1);
    cr_assert_eq(calendar_new("Europe/London", &calendar, NULL), LL_OK);
    cr_assert_str_eq(getenv("TZ"), "Asia/Tokyo");
    calendar_free(calendar);
}

Test(calendar, unknown_zones_are_refused)
{
    static const char *const zones[] = {
        "", "Europe", "Europe/Nowhere", "/etc/passwd", "../../../etc/passwd", "a b"};
    struct calendar *calendar;
    for (size_t at = 0; at < sizeof zones / sizeof zones[0]; at++)
        cr_expect_eq(calendar_new(zones[at], &calendar, NULL), LL_FATAL, "\"%s\"", zones[at]);
}

/* Hashes that Apache Kafka's own UtilsTest expects of Java's murmur2; the partition is their last 31 bits. */
static const struct hashed {
    const char *key;
    int32_t murmur2;
} hashed[] = {
    {"21", -973932308},
    {"foobar", -790332482},
    {"a-little-bit-long-string", -985981536},
    {"a-little-bit-longer-string", -1486304829},
    {"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971},
    {"abc", 479470107},
};

Test(kafka_partition, equals_java)
{
    for (size_t at = 0; at < sizeof hashed / sizeof hashed[0]; at++) {
        int32_t positive = hashed[at].murmur2 & 0x7fffffff;
        struct text key = text_of(hashed[at].key);
        cr_expect_eq(kafka_partition_of(key, INT32_MAX), positive % INT32_MAX, "%s", hashed[at].key);
        cr_expect_eq(kafka_partition_of(key, 8), positive % 8, "%s", hashed[at].key);
    }
    cr_expect_eq(kafka_partition_of((struct text){NULL, 0}, 8), kafka_partition_of(TEXT(""), 8));
}
