/*
 * lens.h - what every noun of the `lens` command shares: its configuration, how it prints, how it ends.
 * Shape:  lens.c holds one table {noun, usage, function} (lens_print.c the helpers below); ops/<noun>.c
 *         exports `int verb_<noun>(lens, argc, argv)` with argv[0] the noun. The options --json, --config
 *         FILE, --home DIR and --help are taken out of argv before, wherever they stand; a noun parses the
 *         rest with getopt_long (optind is 1).
 * Output: stdout is data (text, or one JSON value with --json), stderr is messages and progress.
 * Errors: what a verb returns is the exit code, one of enum lens_exit.
 */
#pragma once

#include "runtime/config.h"
#include "runtime/err.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

enum lens_exit {
    LENS_DONE = 0,
    LENS_FAILED = 1,
    LENS_USAGE = 2,       /* usage or configuration */
    LENS_BAD = 3,         /* checked, and found bad */
    LENS_UNREACHABLE = 4, /* a service does not answer */
};

struct lens {
    struct config config;
    bool json;               /* print one JSON value on stdout instead of text */
    bool progress;           /* stderr is a terminal: lens_progress may rewrite its line */
    const char *noun;        /* the noun that runs */
    const char *usage;       /* its usage line */
    struct ll_err config_err; /* why there is no configuration, for nouns that run without; else empty */
    bool progress_shown;
};

/* Each prints to stderr and returns the exit code, so that `return lens_usage(...)` reads as one thought. */
int lens_usage(struct lens *lens, const char *format, ...) __attribute__((format(printf, 2, 3)));
int lens_fail(struct lens *lens, const char *format, ...) __attribute__((format(printf, 2, 3)));
int lens_unreachable(struct lens *lens, const char *format, ...) __attribute__((format(printf, 2, 3)));
int lens_bad(struct lens *lens, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The exit code of a failed call: LL_RETRY is unreachable, the rest failed; LL_OK prints nothing and is 0. */
int lens_end(struct lens *lens, enum ll_status status, const struct ll_err *err);

/* A message on stderr, one line. */
void lens_say(struct lens *lens, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Where long work stands. On a terminal one line is rewritten; else nothing: say what matters with
 * lens_say. */
void lens_progress(struct lens *lens, const char *format, ...) __attribute__((format(printf, 2, 3)));
void lens_progress_end(struct lens *lens);

/* Prints the value on stdout, indented, with a newline; takes it (frees). Returns LENS_DONE, or
 * LENS_FAILED if stdout is gone. */
int lens_print_json(struct lens *lens, json_t *takes);

/* "12,345,678" into a ring of static buffers: good for one printf with at most 16 of them. */
const char *lens_number(int64_t value);
/* Minor units of the program's currency as "1,234.56 GBP", same ring. */
const char *lens_money(const struct lens *lens, int64_t minor);
