#include "runtime/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum ll_status ll_fail(struct ll_err *err, enum ll_status status, const char *format, ...)
{
    if (err != NULL) {
        va_list args;
        va_start(args, format);
        vsnprintf(err->text, sizeof err->text, format, args);
        va_end(args);
    }
    return status;
}

enum ll_status ll_wrap(struct ll_err *err, enum ll_status status, const char *format, ...)
{
    if (err == NULL)
        return status;
    char inner[sizeof err->text];
    memcpy(inner, err->text, sizeof inner);
    inner[sizeof inner - 1] = '\0';
    va_list args;
    va_start(args, format);
    int used = vsnprintf(err->text, sizeof err->text, format, args);
    va_end(args);
    int room = (int)sizeof err->text - 1 - used;
    if (used >= 0 && room > 2)
        snprintf(err->text + used, (size_t)room + 1, ": %.*s", room - 2, inner);
    return status;
}
