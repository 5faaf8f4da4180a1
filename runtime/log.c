#include "runtime/log.h"

#include "runtime/clock.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { LINE_SIZE = 4096, QUOTED_SIZE = 1024, QUOTED_RING = 8 };

static const char *log_process = "lens";
static enum log_level log_least = LOG_INFO;

static const char *const level_names[] = {"debug", "info", "warn", "error"};

void log_init(const char *process)
{
    log_process = process;
    log_least = LOG_INFO;
    const char *wanted = getenv("LENS_LOG");
    for (int level = LOG_DEBUG; wanted != NULL && level <= LOG_ERROR; level++)
        if (strcmp(wanted, level_names[level]) == 0)
            log_least = (enum log_level)level;
}

void log_line(enum log_level level, const char *event, const char *format, ...)
{
    if (level < log_least)
        return;
    char line[LINE_SIZE];
    char now[32];
    struct clock_source clock = clock_real();
    clock_format(clock.wall_ms(clock.self), now, sizeof now);
    int used = snprintf(line, sizeof line - 1, "ts=%s level=%s process=%s event=%s ", now, level_names[level],
                        log_process, event);
    if (used < 0 || used >= (int)sizeof line - 1)
        return;
    va_list args;
    va_start(args, format);
    int more = vsnprintf(line + used, sizeof line - 1 - (size_t)used, format, args);
    va_end(args);
    size_t size = strlen(line);
    if (more <= 0)
        size = (size_t)used - 1; /* no pairs: no blank at the end */
    /* A value that somebody forgot to quote still cannot forge a second line or reach the terminal. */
    for (size_t at = 0; at < size; at++)
        if ((unsigned char)line[at] < 0x20 || line[at] == 0x7f)
            line[at] = '?';
    line[size++] = '\n';
    /* One write: lines of several processes on one pipe do not mix. A reader that is gone is not our failure.
     */
    ssize_t written = write(STDERR_FILENO, line, size);
    (void)written;
}

static bool is_plain(struct text text)
{
    if (text.size == 0 || text.size >= QUOTED_SIZE)
        return false;
    for (uint32_t at = 0; at < text.size; at++) {
        unsigned char c = (unsigned char)text.data[at];
        if (c <= 0x20 || c >= 0x7f || c == '"' || c == '=' || c == '\\')
            return false;
    }
    return true;
}

/* Everything but printable ASCII is escaped: terminals also act on C1 controls and on bidirectional marks. */
static size_t escape(unsigned char c, char to[5])
{
    switch (c) {
    case '"':
    case '\\':
        return (size_t)snprintf(to, 5, "\\%c", c);
    case '\n':
        return (size_t)snprintf(to, 5, "\\n");
    case '\r':
        return (size_t)snprintf(to, 5, "\\r");
    case '\t':
        return (size_t)snprintf(to, 5, "\\t");
    default:
        if (c >= 0x20 && c < 0x7f)
            return (size_t)snprintf(to, 5, "%c", c);
        return (size_t)snprintf(to, 5, "\\x%02x", c);
    }
}

const char *log_quote(struct text text)
{
    static _Thread_local char ring[QUOTED_RING][QUOTED_SIZE];
    static _Thread_local unsigned turn;
    char *to = ring[turn++ % QUOTED_RING];
    if (text.data == NULL)
        return "null";
    if (is_plain(text)) {
        memcpy(to, text.data, text.size);
        to[text.size] = '\0';
        return to;
    }
    size_t used = 0;
    to[used++] = '"';
    for (uint32_t at = 0; at < text.size; at++) {
        char piece[5];
        size_t size = escape((unsigned char)text.data[at], piece);
        if (used + size + 5 > QUOTED_SIZE) { /* room for `..."` and the end */
            memcpy(to + used, "...", 3);
            used += 3;
            break;
        }
        memcpy(to + used, piece, size);
        used += size;
    }
    to[used++] = '"';
    to[used] = '\0';
    return to;
}

const char *log_quote_c(const char *text)
{
    return log_quote(text_of(text));
}
