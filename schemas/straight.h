/*
 * straight.h - transactions in our own schema, field after field, without a program: nearly all that is ever read.
 * Shape:  true: the record is read, as its program would have read it. false: it is not what we write, be it damaged or
 *         only cut otherwise (lines in several blocks). Nothing is said of it then, and *payload means nothing: the
 *         program reads it again from its beginning, and says what is wrong and where.
 */
#pragma once

#include "runtime/text.h"
#include "schemas/bind.h"

#include <stdbool.h>

struct codec_scratch;

typedef bool straight_fn(struct text bytes, struct codec_scratch *scratch, void *payload);

/* The function for values of the schema that the table describes; NULL: a program reads them. */
straight_fn *straight_of(const struct bind_record *bind);
