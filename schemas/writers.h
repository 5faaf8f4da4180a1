/*
 * writers.h - the schemas that records were written with, by id, each with what was compiled from it.
 * Shape:  a table of at most WRITERS_MAX; those that came from the registry are dropped when there are more,
 *         and will be asked for again.
 */
#pragma once

#include "schemas/event.h"
#include "schemas/program.h"
#include "schemas/schema.h"

#include <stdbool.h>
#include <stdint.h>

enum { WRITERS_MAX = 1024 };

struct writer {
    int32_t id;
    enum event_kind kind;  /* what it is; EVENT_KINDS: a foreign name, so whatever it is asked for */
    bool fetched;          /* from the registry */
    struct schema *schema; /* NULL: not one that can be read, and why: */
    char *unusable;
    struct program *programs[EVENT_KINDS]; /* compiled when first asked for */
    char *refusals[EVENT_KINDS];           /* why there is none */
};

struct writers;

struct writers *writers_new(void);
void writers_free(struct writers *writers);

/* NULL: there is none of that id. */
struct writer *writers_find(struct writers *writers, int32_t id);
/* A new, empty one under id; what stood there before is gone. The table owns it and what is put into it. */
struct writer *writers_put(struct writers *writers, int32_t id, enum event_kind kind, bool fetched);
