/*
 * mail_show.h - one letter for people and programs: its row of mail.letters, and its text as a mail program would show it.
 */
#pragma once

#include "ops/event_json.h"
#include "ops/inert.h"
#include "state/postgres.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

/* whole: with the message, and its text part decoded. The caller owns it. */
json_t *mail_letter_json(const struct postgres_rows *rows, size_t row, bool whole);
/* One line: which, to whom, about what. */
void mail_letter_head(const struct postgres_rows *rows);
/* raw: the bytes that were handed over, else headers and the text part. Every byte inert. */
void mail_letter_print(const struct postgres_rows *rows, bool raw);

/* The text part of a message of ours, decoded: malloc'd, the caller frees; NULL: there is none. */
char *mail_text_part(struct text message, size_t *ret_size);
