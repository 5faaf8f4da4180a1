/*
 * mime.h - a letter as bytes for the wire: headers, a text part and an HTML part.
 * Shape:  pure; the same letter gives the same bytes. Every line ends in CR LF and has at most 78 characters, but for those that
 *         hold one long word (998 is the limit, and no input reaches it). Date and Message-ID are ours: libcurl adds neither.
 * Source: RFC 5322, 2045 to 2047, 3834 (Auto-Submitted), 2369 and 8058 (one-click unsubscribe).
 */
#pragma once

#include "runtime/text.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct mime_letter {
    struct text id; /* hex digits; Message-ID and boundary are derived of it */
    int64_t date_ms;
    struct text from_name, from_address, to_name, to_address; /* addresses have passed address_valid */
    struct text subject;
    struct text text, html;      /* UTF-8 with \n */
    struct text unsubscribe_url; /* whole; empty: no header */
    struct text list;            /* List-Id's first label */
};

/* malloc'd, the caller frees; its size into *ret_size. */
char *mime_write(const struct mime_letter *letter, size_t *ret_size);
/* No control character, blank, bracket, quote, and not longer than a header line may be. */
bool mime_url_valid(struct text url);
