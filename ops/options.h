/*
 * options.h - the values of options that several nouns share, read strictly.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* A whole number within [min, max]. */
bool option_int(const char *text, int64_t min, int64_t max, int64_t *ret);
/* "90s", "30m", "2h", "7d" before now, or a UTC date or time: 2011-02-28, 2011-02-28T12:34:56Z. */
bool option_since(const char *text, int64_t now_ms, int64_t *ret_ms);
