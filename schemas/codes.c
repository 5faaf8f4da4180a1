#include "schemas/codes.h"

#include <string.h>

static const struct code_info CODES[CODE_COUNT] = {
/* clang-format off */
#define X(name, severity, scope, meaning, next) \
    [CODE_##name] = { #name, CODE_##severity, CODE_##scope, meaning, next },
    CODE_TABLE(X)
#undef X
    /* clang-format on */
};

const struct code_info *code_info(enum code code)
{
    if (code <= CODE_NONE || code >= CODE_COUNT)
        return NULL;
    return &CODES[code];
}

enum code code_find(struct text name)
{
    for (enum code code = CODE_NONE + 1; code < CODE_COUNT; code++)
        if (text_equal(name, text_of(CODES[code].name)))
            return code;
    return CODE_NONE;
}

const char *code_scope_name(enum code_scope scope)
{
    switch (scope) {
    case CODE_FRAME:
        return "frame";
    case CODE_ROW:
        return "row";
    case CODE_FIELD:
        return "field";
    case CODE_RECORD:
        return "record";
    case CODE_REFERENCE:
        return "reference";
    case CODE_POINTS:
        return "points";
    case CODE_PROCESS:
        return "process";
    }
    return "unknown";
}

char *code_names(uint64_t set, char *to, size_t size)
{
    size_t used = 0;
    if (size == 0)
        return to;
    for (enum code code = CODE_NONE + 1; code < CODE_COUNT; code++) {
        if ((set & code_bit(code)) == 0)
            continue;
        const char *name = CODES[code].name;
        size_t name_size = strlen(name), comma = used > 0 ? 1 : 0;
        if (used + comma + name_size >= size)
            break; /* a whole name less, never half a name */
        if (comma > 0)
            to[used++] = ',';
        memcpy(to + used, name, name_size);
        used += name_size;
    }
    to[used] = '\0';
    return to;
}
