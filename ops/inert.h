/*
 * inert.h - show bytes that somebody else wrote without letting them act on a terminal or break a JSON reader.
 * Shape:  bytes in, printable UTF-8 out. Control characters (C0, DEL, C1), escapes, line and paragraph separators, the
 *         characters that turn the direction of writing, and bytes that are no UTF-8 become \xNN, byte by byte; a
 *         backslash is doubled only where it stands before an x, so that what was shown can be told from what was there.
 * Source: Unicode 15, 3.9 (well-formed UTF-8); Trojan Source (CVE-2021-42574) for the directions.
 */
#pragma once

#include "runtime/text.h"

#include <jansson.h>
#include <stddef.h>
#include <stdio.h>

/* Writes the text inert into to, cut with "..." where size does not suffice, and a NUL. Returns to. */
char *inert_write(struct text text, char *to, size_t size);
void inert_print(struct text text, FILE *to);
/* A string of JSON: as it is where it is harmless, else inert. Null for null. The caller owns it. */
json_t *inert_json(struct text text);
/* Hex and characters, 16 bytes a line, at most size_max bytes of it and then how many more there are. */
void inert_dump(struct text text, size_t size_max, FILE *to);

/* How many bytes of the text's beginning make one harmless character; 0: the first byte is to be escaped. */
size_t inert_harmless(const char *data, size_t size);
