/*
 * run.h - one import from its options to its summary.
 * Shape:  open the profile and the files; take the import over; run, commit by commit; when Kafka fails,
 * begin again from the mark, until it has been away for RUN_PATIENCE_MS. The summary goes to stdout, all else
 * to stderr.
 */
#pragma once

#include "runtime/config.h"

#include <stdbool.h>

enum { RUN_PATIENCE_MS = 300000, RUN_FIRST_MS = 10000 };

/* As `lens` ends (ops/lens.h). */
enum run_exit {
    RUN_DONE = 0,
    RUN_FAILED = 1,
    RUN_USAGE = 2,
    RUN_BEFORE = 3 /* imported before */,
    RUN_UNREACHABLE = 4
};

struct run_options {
    const char *profile; /* a name, or a .conf file; NULL with check: none */
    char *const *paths;
    int path_count;
    bool again, json, dry_run, check;
    bool is_terminal; /* of stderr: progress rewrites one line */
};

int run_import(const struct config *config, const struct run_options *options);
