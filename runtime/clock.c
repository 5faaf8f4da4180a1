#include "runtime/clock.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

enum { MS_PER_SECOND = 1000, SECONDS_PER_DAY = 86400, SPANS_MAX = 1024 };

static int64_t read_clock(clockid_t which)
{
    struct timespec now;
    clock_gettime(which, &now);
    return (int64_t)now.tv_sec * MS_PER_SECOND + now.tv_nsec / 1000000;
}

static int64_t real_wall_ms(void *self)
{
    (void)self;
    return read_clock(CLOCK_REALTIME);
}

static int64_t real_steady_ms(void *self)
{
    (void)self;
    return read_clock(CLOCK_MONOTONIC);
}

struct clock_source clock_real(void)
{
    return (struct clock_source){.wall_ms = real_wall_ms, .steady_ms = real_steady_ms, .self = NULL};
}

/* A stretch of time with one offset from UTC; it ends where the next one starts. */
struct span {
    int64_t from_s;
    int32_t offset_s;
};

struct calendar {
    size_t span_count;
    size_t last; /* the span that answered last: sales come roughly in order */
    struct span spans[SPANS_MAX];
};

/* The zone's rules are walked once between these; outside, the nearest offset holds. */
#define WALK_FROM_S INT64_C(-2208988800) /* 1900-01-01 */
#define WALK_TO_S   INT64_C(4102444800)  /* 2100-01-01 */
/* No zone ever had two changes within so short a time. */
#define WALK_STEP_S (INT64_C(3) * SECONDS_PER_DAY)

static int32_t offset_at(int64_t time_s)
{
    time_t time = (time_t)time_s;
    struct tm local;
    if (localtime_r(&time, &local) == NULL)
        return 0;
    return (int32_t)local.tm_gmtoff;
}

static bool walk_zone(struct calendar *calendar)
{
    int32_t offset = offset_at(WALK_FROM_S);
    calendar->spans[0] = (struct span){.from_s = INT64_MIN, .offset_s = offset};
    calendar->span_count = 1;
    for (int64_t at = WALK_FROM_S; at < WALK_TO_S; at += WALK_STEP_S) {
        int32_t next = offset_at(at + WALK_STEP_S);
        if (next == offset)
            continue;
        int64_t low = at, high = at + WALK_STEP_S; /* offset holds at low, no longer at high */
        while (high - low > 1) {
            int64_t middle = low + (high - low) / 2;
            if (offset_at(middle) == offset)
                low = middle;
            else
                high = middle;
        }
        if (calendar->span_count == SPANS_MAX)
            return false;
        offset = offset_at(high);
        calendar->spans[calendar->span_count++] = (struct span){.from_s = high, .offset_s = offset};
        at = high - WALK_STEP_S; /* go on from the change itself */
    }
    return true;
}

/* glibc takes any unknown name for UTC, silently: the zone's file must be there. */
static bool zone_exists(const char *time_zone)
{
    if (time_zone[0] == '\0' || strlen(time_zone) > 63 || strstr(time_zone, "..") != NULL)
        return false;
    for (const char *c = time_zone; *c != '\0'; c++)
        if (!isalnum((unsigned char)*c) && strchr("/_+-", *c) == NULL)
            return false;
    if (time_zone[0] == '/')
        return false;
    char path[128];
    snprintf(path, sizeof path, "/usr/share/zoneinfo/%s", time_zone);
    struct stat status;
    return stat(path, &status) == 0 && S_ISREG(status.st_mode);
}

enum ll_status calendar_new(const char *time_zone, struct calendar **ret, struct ll_err *err)
{
    bool is_utc = strcmp(time_zone, "UTC") == 0;
    if (!is_utc && !zone_exists(time_zone))
        return ll_fail(
            err, LL_FATAL,
            "time zone \"%s\" is not in /usr/share/zoneinfo: give an IANA name such as Europe/London "
            "(Debian package tzdata)",
            time_zone);
    struct calendar *calendar = calloc(1, sizeof *calendar);
    if (calendar == NULL)
        abort();
    /* The rules are asked of the C library, once; then the process gets its own TZ back. */
    const char *before = getenv("TZ");
    char *kept = before == NULL ? NULL : strdup(before);
    char zone[80];
    snprintf(zone, sizeof zone, ":%s", time_zone);
    setenv("TZ", is_utc ? "UTC0" : zone, 1);
    tzset();
    bool walked = walk_zone(calendar);
    if (kept == NULL)
        unsetenv("TZ");
    else
        setenv("TZ", kept, 1);
    tzset();
    free(kept);
    if (!walked) {
        free(calendar);
        return ll_fail(err, LL_FATAL, "time zone \"%s\" has more than %d changes: its file is damaged",
                       time_zone, SPANS_MAX);
    }
    *ret = calendar;
    return LL_OK;
}

void calendar_free(struct calendar *calendar)
{
    free(calendar);
}

static bool span_holds(const struct calendar *calendar, size_t index, int64_t time_s)
{
    return time_s >= calendar->spans[index].from_s &&
           (index + 1 == calendar->span_count || time_s < calendar->spans[index + 1].from_s);
}

static size_t span_of(struct calendar *calendar, int64_t time_s)
{
    if (span_holds(calendar, calendar->last, time_s))
        return calendar->last;
    size_t low = 0, high = calendar->span_count;
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (calendar->spans[middle].from_s <= time_s)
            low = middle;
        else
            high = middle;
    }
    calendar->last = low;
    return low;
}

static int64_t floor_divide(int64_t value, int64_t by)
{
    int64_t quotient = value / by;
    return value % by < 0 ? quotient - 1 : quotient;
}

int32_t calendar_day(struct calendar *calendar, int64_t time_ms)
{
    int64_t time_s = floor_divide(time_ms, MS_PER_SECOND);
    int64_t day = floor_divide(time_s + calendar->spans[span_of(calendar, time_s)].offset_s, SECONDS_PER_DAY);
    if (day > INT32_MAX)
        return INT32_MAX;
    return day < INT32_MIN ? INT32_MIN : (int32_t)day;
}

int calendar_weekday(int32_t day)
{
    /* 1970-01-01 was a Thursday. */
    return (int)((((int64_t)day + 3) % 7 + 7) % 7);
}

/* Both ways after Howard Hinnant's "chrono-compatible low-level date algorithms": eras of 400 years from
 * 0000-03-01. */
void calendar_date(int32_t day, int *ret_year, int *ret_month, int *ret_day)
{
    int64_t shifted = (int64_t)day + 719468;
    int64_t era = floor_divide(shifted, 146097);
    int64_t day_of_era = shifted - era * 146097;
    int64_t year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    int64_t day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    int64_t month_from_march = (5 * day_of_year + 2) / 153;
    *ret_day = (int)(day_of_year - (153 * month_from_march + 2) / 5 + 1);
    *ret_month = (int)(month_from_march < 10 ? month_from_march + 3 : month_from_march - 9);
    *ret_year = (int)(year_of_era + era * 400 + (*ret_month <= 2 ? 1 : 0));
}

static int days_in_month(int year, int month)
{
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    return month == 2 && leap ? 29 : days[month - 1];
}

bool calendar_day_of(int year, int month, int day, int32_t *ret_day)
{
    if (year < 1 || year > 9999 || month < 1 || month > 12 || day < 1 || day > days_in_month(year, month))
        return false;
    int64_t years = month <= 2 ? year - 1 : year;
    int64_t era = floor_divide(years, 400);
    int64_t year_of_era = years - era * 400;
    int64_t day_of_year = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1;
    int64_t day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    *ret_day = (int32_t)(era * 146097 + day_of_era - 719468);
    return true;
}

bool calendar_time(struct calendar *calendar, int year, int month, int day, int hour, int minute, int second,
                   int64_t *ret_ms)
{
    int32_t day_number;
    if (!calendar_day_of(year, month, day, &day_number) || hour < 0 || hour > 23 || minute < 0 ||
        minute > 59 || second < 0 || second > 59)
        return false;
    int64_t local_s = (int64_t)day_number * SECONDS_PER_DAY + hour * 3600 + minute * 60 + second;
    /* The first span, in order of time, in which the clocks on the wall show this; none of them is a day off
     * UTC. */
    for (size_t at = span_of(calendar, local_s - SECONDS_PER_DAY); at < calendar->span_count; at++) {
        if (calendar->spans[at].from_s > local_s + SECONDS_PER_DAY)
            break;
        int64_t time_s = local_s - calendar->spans[at].offset_s;
        if (span_holds(calendar, at, time_s)) {
            *ret_ms = time_s * MS_PER_SECOND;
            return true;
        }
    }
    return false;
}

char *clock_format(int64_t time_ms, char *to, size_t size)
{
    int64_t day = floor_divide(time_ms, INT64_C(1000) * SECONDS_PER_DAY);
    if (day < -719162 || day > 2932896) { /* outside the years 1 to 9999 the number itself is clearer */
        snprintf(to, size, "%lld", (long long)time_ms);
        return to;
    }
    int year, month, day_of_month;
    calendar_date((int32_t)day, &year, &month, &day_of_month);
    int in_day_ms = (int)(time_ms - day * INT64_C(1000) * SECONDS_PER_DAY);
    snprintf(to, size, "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ", year, month, day_of_month, in_day_ms / 3600000,
             in_day_ms / 60000 % 60, in_day_ms / 1000 % 60, in_day_ms % 1000);
    return to;
}
