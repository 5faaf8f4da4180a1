#include "producers/import/when.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

struct civil {
    int year, month, day, hour, minute, second, ms;
    int half; /* 0 none, 1 AM, 2 PM */
    bool has_hour, has_zone;
    int zone_minutes;
};

struct cursor {
    const char *at, *end;
};

static bool take_digits(struct cursor *from, int least, int most, int *ret)
{
    int value = 0, count = 0;
    for (; count < most && from->at < from->end && *from->at >= '0' && *from->at <= '9'; count++)
        value = value * 10 + (*from->at++ - '0');
    *ret = value;
    return count >= least;
}

static bool take_fraction(struct cursor *from, int *ret_ms)
{
    int count = 0, ms = 0;
    for (; count < 9 && from->at < from->end && *from->at >= '0' && *from->at <= '9'; count++, from->at++)
        if (count < 3)
            ms = ms * 10 + (*from->at - '0');
    for (int i = count; i < 3; i++)
        ms *= 10;
    *ret_ms = ms;
    return count > 0;
}

static bool take_month(struct cursor *from, int *ret)
{
    static const char names[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    if (from->end - from->at < 3)
        return false;
    for (int month = 0; month < 12; month++) {
        if (strncasecmp(from->at, names + (size_t)month * 3, 3) == 0) {
            from->at += 3;
            *ret = month + 1;
            return true;
        }
    }
    return false;
}

static bool take_half(struct cursor *from, int *ret)
{
    if (from->end - from->at < 2 || (from->at[1] != 'M' && from->at[1] != 'm'))
        return false;
    char c = from->at[0];
    *ret = c == 'A' || c == 'a' ? 1 : c == 'P' || c == 'p' ? 2 : 0;
    from->at += 2;
    return *ret != 0;
}

static bool take_zone(struct cursor *from, struct civil *ret)
{
    ret->has_zone = true;
    if (from->at == from->end)
        return false;
    char sign = *from->at++;
    if (sign == 'Z')
        return true;
    int hours, minutes;
    if ((sign != '+' && sign != '-') || !take_digits(from, 2, 2, &hours))
        return false;
    if (from->at < from->end && *from->at == ':')
        from->at++;
    if (!take_digits(from, 2, 2, &minutes) || hours > 14 || minutes > 59)
        return false;
    ret->zone_minutes = (sign == '-' ? -1 : 1) * (hours * 60 + minutes);
    return true;
}

static bool take_directive(struct cursor *from, char directive, int least, struct civil *ret)
{
    switch (directive) {
    case 'Y':
        return take_digits(from, 4, 4, &ret->year);
    case 'y':
        if (!take_digits(from, 2, 2, &ret->year))
            return false;
        ret->year += ret->year < 69 ? 2000 : 1900; /* as POSIX strptime */
        return true;
    case 'm':
        return take_digits(from, least, 2, &ret->month);
    case 'd':
        return take_digits(from, least, 2, &ret->day);
    case 'I':
    case 'H':
        ret->has_hour = true;
        return take_digits(from, least, 2, &ret->hour);
    case 'M':
        return take_digits(from, least, 2, &ret->minute);
    case 'S':
        return take_digits(from, least, 2, &ret->second);
    case 'f':
        return take_fraction(from, &ret->ms);
    case 'b':
        return take_month(from, &ret->month);
    case 'p':
        return take_half(from, &ret->half);
    case 'z':
        return take_zone(from, ret);
    default:
        return false;
    }
}

static bool parse(const char *format, struct text text, struct civil *ret)
{
    struct cursor from = {text.data, text.data + text.size};
    *ret = (struct civil){0};
    for (const char *f = format; *f != '\0'; f++) {
        if (*f == '%' && f[1] != '%') {
            bool loose = f[1] == '-';
            f += loose ? 2 : 1;
            if (!take_directive(&from, *f, loose ? 1 : 2, ret))
                return false;
            continue;
        }
        f += *f == '%';
        if (from.at == from.end || *from.at++ != *f)
            return false;
    }
    if (ret->half != 0) {
        if (ret->hour < 1 || ret->hour > 12)
            return false;
        ret->hour = ret->hour % 12 + (ret->half == 2 ? 12 : 0);
    }
    return from.at == from.end;
}

bool when_check(const char *format, const char **ret_why)
{
    bool seen[128] = {false};
    if (strlen(format) >= WHEN_FORMAT_SIZE) {
        *ret_why = "it is too long";
        return false;
    }
    for (const char *f = format; *f != '\0'; f++) {
        if (*f != '%' || f[1] == '%') {
            f += *f == '%';
            continue;
        }
        bool loose = f[1] == '-';
        f += loose ? 2 : 1;
        if (*f == '\0' || strchr(loose ? "mdHMSI" : "YymdHMSIfbpz", *f) == NULL) {
            *ret_why = "it may hold %Y %y %m %d %b %H %I %p %M %S %f %z %%, and %-m %-d %-H %-I %-M %-S for "
                       "one digit or two";
            return false;
        }
        if (seen[(int)*f]) {
            *ret_why = "it names the same part twice";
            return false;
        }
        seen[(int)*f] = true;
    }
    bool day = (seen['Y'] != seen['y']) && (seen['m'] != seen['b']) && seen['d'];
    bool clock = (!seen['I'] && !seen['p']) || (seen['I'] && seen['p'] && !seen['H']);
    *ret_why = day ? "an hour is %H, or %I with %p" : "it must name a year, a month and a day, each once";
    return day && clock;
}

static bool resolve(const struct civil *civil, struct calendar *calendar, int64_t *ret_ms)
{
    if (civil->has_zone) {
        int32_t day;
        if (!calendar_day_of(civil->year, civil->month, civil->day, &day) || civil->hour > 23 ||
            civil->minute > 59 || civil->second > 59)
            return false;
        int64_t seconds = (int64_t)day * 86400 + civil->hour * 3600 +
                          (civil->minute - civil->zone_minutes) * 60 + civil->second;
        *ret_ms = seconds * 1000 + civil->ms;
        return true;
    }
    /* A day without a time begins where its clocks begin: in some zones the summer's first day has no
     * midnight. */
    for (int hour = civil->hour; hour <= (civil->has_hour ? civil->hour : 3); hour++) {
        if (calendar_time(calendar, civil->year, civil->month, civil->day, hour, civil->minute, civil->second,
                          ret_ms)) {
            *ret_ms += civil->ms;
            return true;
        }
    }
    return false;
}

bool when_time(const struct when *when, struct calendar *calendar, struct text text, int64_t *ret_ms)
{
    struct civil civil;
    for (int i = 0; i < when->count; i++)
        if (parse(when->formats[i], text, &civil))
            return resolve(&civil, calendar, ret_ms);
    return false;
}

bool when_day(const struct when *when, struct text text, int32_t *ret_day)
{
    struct civil civil;
    for (int i = 0; i < when->count; i++)
        if (parse(when->formats[i], text, &civil))
            return calendar_day_of(civil.year, civil.month, civil.day, ret_day);
    return false;
}
