/*
 * money.h - from a decimal text to whole minor units, exactly or not at all.
 * Shape:  digits, one decimal mark, digits; a sign in front. No float, no rounding, no thousands marks, no exponent.
 * Units:  _minor is int64 minor units; digits is how many decimal places the currency has (ISO 4217).
 * Errors: CODE_NONE, AMOUNT_SYNTAX, AMOUNT_SCALE (more places than the currency has, zeros too) or AMOUNT_OVERFLOW.
 * Source: ISO 4217:2015, list one, as of 2024.
 */
#pragma once

#include "runtime/text.h"
#include "schemas/codes.h"

#include <stdint.h>

/* Decimal places of an ISO 4217 code; -1: no such currency. */
int money_digits(struct text currency);

/* *ret_minor is written only with CODE_NONE. mark is '.' or ','. */
enum code money_parse(struct text text, char mark, int digits, int64_t *ret_minor);

/* A whole number, sign allowed; false: it is none, or does not fit. */
bool money_parse_whole(struct text text, int64_t *ret);
