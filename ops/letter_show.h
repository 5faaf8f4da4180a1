/*
 * letter_show.h - one dead letter in full, on stdout: for a person, or as JSON.
 * Shape:  all of it was written by others and is inert (ops/inert.h): it does nothing to a terminal, nor to a JSON reader.
 */
#pragma once

#include "ops/lens.h"
#include "ops/letters.h"

#include <jansson.h>
#include <stddef.h>

/* takes event: the record in it as JSON; NULL: it does not decode. Returns the exit code. */
int letter_show(struct lens *lens, const struct letter *letter, json_t *event);
/* "3/4711", "3/4711 line 2", "sales.csv:12". */
void letter_where(const struct letter *letter, char *to, size_t size);
