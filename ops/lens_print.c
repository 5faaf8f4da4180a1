#include "ops/lens.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static void print_message(struct lens *lens, const char *format, va_list args)
{
    lens_progress_end(lens);
    fprintf(stderr, "lens%s%s: ", lens->noun != NULL ? " " : "", lens->noun != NULL ? lens->noun : "");
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
}

#define PRINT_MESSAGE(lens, format)                                                                          \
    do {                                                                                                     \
        va_list args;                                                                                        \
        va_start(args, format);                                                                              \
        print_message(lens, format, args);                                                                   \
        va_end(args);                                                                                        \
    } while (0)

int lens_usage(struct lens *lens, const char *format, ...)
{
    PRINT_MESSAGE(lens, format);
    if (lens->usage != NULL)
        fprintf(stderr, "usage: lens %s\n", lens->usage);
    return LENS_USAGE;
}

int lens_fail(struct lens *lens, const char *format, ...)
{
    PRINT_MESSAGE(lens, format);
    return LENS_FAILED;
}

int lens_unreachable(struct lens *lens, const char *format, ...)
{
    PRINT_MESSAGE(lens, format);
    return LENS_UNREACHABLE;
}

int lens_bad(struct lens *lens, const char *format, ...)
{
    PRINT_MESSAGE(lens, format);
    return LENS_BAD;
}

void lens_say(struct lens *lens, const char *format, ...)
{
    PRINT_MESSAGE(lens, format);
}

int lens_end(struct lens *lens, enum ll_status status, const struct ll_err *err)
{
    switch (status) {
    case LL_OK:
        return LENS_DONE;
    case LL_RETRY:
        return lens_unreachable(lens, "%s", err->text);
    case LL_POISON:
    case LL_FATAL:
        break;
    }
    return lens_fail(lens, "%s", err->text);
}

void lens_progress(struct lens *lens, const char *format, ...)
{
    if (!lens->progress)
        return;
    va_list args;
    va_start(args, format);
    fputs("\r\033[K", stderr);
    vfprintf(stderr, format, args);
    va_end(args);
    fflush(stderr);
    lens->progress_shown = true;
}

void lens_progress_end(struct lens *lens)
{
    if (lens->progress_shown)
        fputs("\r\033[K", stderr);
    lens->progress_shown = false;
}

int lens_print_json(struct lens *lens, json_t *takes)
{
    lens_progress_end(lens);
    int failed = json_dumpf(takes, stdout, JSON_INDENT(2) | JSON_ENCODE_ANY);
    json_decref(takes);
    if (failed != 0 || putchar('\n') == EOF || fflush(stdout) != 0)
        return lens_fail(lens, "cannot write to stdout");
    return LENS_DONE;
}

enum { RING_COUNT = 16, RING_SIZE = 64 };

static char *ring_next(void)
{
    static char ring[RING_COUNT][RING_SIZE];
    static size_t at;
    return ring[at++ % RING_COUNT];
}

/* Writes value with a comma before each group of three digits. */
static void write_grouped(uint64_t value, bool negative, char to[RING_SIZE])
{
    char digits[32];
    int size = snprintf(digits, sizeof digits, "%" PRIu64, value);
    char *out = to;
    if (negative)
        *out++ = '-';
    for (int at = 0; at < size; at++) {
        if (at > 0 && (size - at) % 3 == 0)
            *out++ = ',';
        *out++ = digits[at];
    }
    *out = '\0';
}

static uint64_t magnitude(int64_t value)
{
    return value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
}

const char *lens_number(int64_t value)
{
    char *to = ring_next();
    write_grouped(magnitude(value), value < 0, to);
    return to;
}

const char *lens_money(const struct lens *lens, int64_t minor)
{
    char *to = ring_next(), whole[RING_SIZE];
    uint64_t size = magnitude(minor);
    write_grouped(size / 100, minor < 0, whole);
    snprintf(to, RING_SIZE, "%.40s.%02" PRIu64 " %.3s", whole, size % 100, lens->config.program.currency);
    return to;
}
