/*
 * summary.h - what an import did, for people and for programs.
 */
#pragma once

#include "producers/import/fileset.h"
#include "producers/import/importer.h"
#include "producers/import/profile.h"

#include <jansson.h>
#include <stdint.h>
#include <stdio.h>

struct summary_facts {
    const char *profile; /* its name */
    const struct fileset *files;
    const struct importer *importer;
    const char *currency;
    int64_t attempt;
    int64_t resumed_at; /* outputs that were there from a run before; 0: none */
    double seconds;
    const char *started_at, *ended_at; /* the latter: so far */
    bool done;
};

/* The caller's to free (json_decref). */
json_t *summary_json(const struct summary_facts *facts);
/* As text, from the same JSON. */
void summary_print(const json_t *summary, FILE *to);
/* "12,345,678" into to; returns to. */
char *summary_number(int64_t value, char to[32]);
