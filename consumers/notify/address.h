/*
 * address.h - what may stand in an envelope and in a header, and how what may not is written.
 * Shape:  pure. libcurl puts an address into MAIL FROM and RCPT TO as it comes, CR LF and '>' included, so nothing reaches it that
 *         did not pass address_valid: dot-atom @ host name, ASCII, nothing quoted, nothing that a parser could read in two ways.
 * Source: RFC 5321 4.1.2 and 4.5.3.1 (64, 255), RFC 5322 3.2.3, RFC 1123 2.1; RFC 2047 for words that are not ASCII.
 */
#pragma once

#include "runtime/text.h"

#include <stdbool.h>
#include <stdio.h>

enum { ADDRESS_SIZE_MAX = 254 };

bool address_valid(struct text address);
/* Behind the '@' of a valid one. */
struct text address_domain(struct text address);

/* At most so many bytes, and no character of UTF-8 cut in two. */
struct text text_cut(struct text text, uint32_t size_max);

/* "Name: text" CR LF, for free text: a Subject. Control characters become blanks; what is not plain ASCII, or would be read as an
 * encoded word, is one or more encoded words (UTF-8, base64) that never cut a character; lines have at most 78 characters where a blank lets them, 998 always. */
void header_write_text(FILE *to, const char *name, struct text text);
/* "Name: display <address>" CR LF. An empty display: the address alone. */
void header_write_address(FILE *to, const char *name, struct text display, struct text address);
