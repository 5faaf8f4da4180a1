/*
 * scratch.h - room for the lists of one event: taken once, used again for every record.
 */
#pragma once

#include "schemas/event.h"

#include <stdalign.h>
#include <stddef.h>

/* The largest lists are a posting's. */
enum {
    SCRATCH_SIZE =
        EVENT_LEDGER_LINES_MAX * sizeof(struct ledger_line) + EVENT_RULES_MAX * sizeof(struct ledger_rule)
};

_Static_assert(SCRATCH_SIZE >= EVENT_LINES_MAX * sizeof(struct line), "the lines of a transaction must fit");

_Static_assert(SCRATCH_SIZE >= 2 * EVENT_LIST_MAX * sizeof(struct text),
               "both lists of a promotion must fit");

struct codec_scratch {
    size_t used;
    alignas(max_align_t) char room[SCRATCH_SIZE];
};
