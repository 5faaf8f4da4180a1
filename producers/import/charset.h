/*
 * charset.h - text of a profile's encoding as UTF-8.
 * Shape:  charset_valid judges a whole row once; charset_decode then turns single fields into UTF-8.
 * Source: the Encoding Standard's index for windows-1252, but that its five unassigned bytes are refused.
 */
#pragma once

#include "producers/import/profile.h"
#include "runtime/text.h"

#include <stdbool.h>
#include <stddef.h>

enum { CHARSET_GROWTH = 3 }; /* UTF-8 bytes that one byte can become */

/* Is every byte a character of the encoding? */
bool charset_valid(enum profile_encoding encoding, struct text bytes);
/* The text as UTF-8: itself where that is the same, else in to, which must hold CHARSET_GROWTH times its
 * size. */
struct text charset_decode(enum profile_encoding encoding, struct text bytes, char *to, size_t *ret_used);
/* A NUL or another control character (C0, DEL, C1) in UTF-8 text. */
bool charset_has_control(struct text utf8);
/* The text fit for one line of a message: at most so much of it, what is not printable as \xHH. Returns to.
 */
char *charset_quote(struct text bytes, char *to, size_t size);
