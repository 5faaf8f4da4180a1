/*
 * err.h - what went wrong, and what the loop must do about it.
 * Errors: a status names the action, struct ll_err carries the words; the caller owns it. The words name the thing,
 *         the cause and the next command.
 */
#pragma once

#include <stddef.h>

enum ll_status {
    LL_OK = 0, /* done: commit */
    LL_RETRY,  /* the environment failed: back off, try the same again */
    LL_POISON, /* this record can never be taken: dead-letter it, go on */
    LL_FATAL,  /* stop the process; the supervisor starts it again */
};

struct ll_err {
    char text[320];
};

/* Writes the words (cut at the size of text) and returns status, so that `return ll_fail(...)` reads as one thought.
 * err may be NULL. */
enum ll_status ll_fail(struct ll_err *err, enum ll_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Puts "context: " before the words that are already there; returns status. */
enum ll_status ll_wrap(struct ll_err *err, enum ll_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
