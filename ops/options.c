#include "ops/options.h"

#include "ops/scan.h"
#include "runtime/clock.h"

#include <stdio.h>
#include <string.h>

bool option_int(const char *text, int64_t min, int64_t max, int64_t *ret)
{
    struct text view = text_of(text);
    int64_t value = scan_int(view, INT64_MIN);
    if (value == INT64_MIN || value < min || value > max)
        return false;
    *ret = value;
    return true;
}

static bool ago(const char *text, int64_t now_ms, int64_t *ret_ms)
{
    size_t size = strlen(text);
    if (size < 2 || size > 12)
        return false;
    static const struct {
        char unit;
        int64_t ms;
    } units[] = { { 's', 1000 }, { 'm', 60000 }, { 'h', 3600000 }, { 'd', 86400000 } };
    int64_t count = scan_int((struct text){ text, (uint32_t)size - 1 }, -1);
    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++)
        if (count >= 0 && count <= 1000000 && text[size - 1] == units[i].unit) {
            *ret_ms = now_ms - count * units[i].ms;
            return true;
        }
    return false;
}

bool option_since(const char *text, int64_t now_ms, int64_t *ret_ms)
{
    if (ago(text, now_ms, ret_ms))
        return true;
    int year = 0, month = 0, day = 0, hour = 0, minute = 0, second = 0, end = 0;
    int32_t day_number = 0;
    if (sscanf(text, "%4d-%2d-%2d%n", &year, &month, &day, &end) != 3 ||
        !calendar_day_of(year, month, day, &day_number))
        return false;
    if (text[end] != '\0') {
        int rest = 0;
        if (sscanf(text + end, "T%2d:%2d:%2d%n", &hour, &minute, &second, &rest) != 3 || hour > 23 ||
            minute > 59 || second > 59 || hour < 0 || minute < 0 || second < 0 ||
            strcmp(text + end + rest, "Z") != 0)
            return false;
    }
    *ret_ms = ((int64_t)day_number * 86400 + hour * 3600 + minute * 60 + second) * 1000;
    return true;
}
