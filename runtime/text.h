/*
 * text.h - a view of bytes that somebody else owns.
 * Shape:  data == NULL means null (absent); size 0 with data set means the empty string. Never NUL-terminated.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

struct text {
    const char *data;
    uint32_t size;
};

#define TEXT(literal) ((struct text){ (literal), sizeof(literal) - 1 })
/* For printf's "%.*s". */
#define TEXT_ARG(t) (int)(t).size, (t).data != NULL ? (t).data : ""

static inline struct text text_of(const char *c_string)
{
    return (struct text){ c_string, c_string == NULL ? 0 : (uint32_t)strlen(c_string) };
}

static inline bool text_equal(struct text a, struct text b)
{
    if ((a.data == NULL) != (b.data == NULL) || a.size != b.size)
        return false;
    return a.size == 0 || memcmp(a.data, b.data, a.size) == 0;
}

static inline bool text_empty(struct text t) { return t.size == 0; }
