/*
 * log.h - one structured line per event on stderr: ts=... level=... process=... event=... key=value ...
 * Shape:  logfmt; values with blanks, quotes or control characters are quoted and escaped, so that no record's bytes can
 *         forge a line or reach a terminal.
 */
#pragma once

#include "runtime/text.h"

#include <stdint.h>

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR };

/* Names this process in every line; name is kept. Level from $LENS_LOG (debug, info, warn, error), default info. */
void log_init(const char *process);
/* event is a noun_verb of [a-z_]; format gives `key=value` pairs, values made safe with log_quote where they are not ours.
 *   log_line(LOG_INFO, "flush", "rows=%zu ms=%lld", rows, ms); */
void log_line(enum log_level level, const char *event, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* The text as a safe logfmt value, in a ring of static buffers: good for one log_line call with at most 8 of them. */
const char *log_quote(struct text text);
const char *log_quote_c(const char *text);
