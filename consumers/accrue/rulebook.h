/*
 * rulebook.h - the rule sets that have been published, and which of them is in force for an event.
 * Shape:  versions 1.. as they lie in loyalty.rules, insert-only; loaded when a RULES record names them.
 * Source: DESIGN 4 (effective-dated), 5 (a version begins at its RULES record).
 */
#pragma once

#include "consumers/accrue/rules.h"
#include "runtime/err.h"

#include <stdint.h>

enum { RULEBOOK_VERSIONS_MAX = 1000 };

struct rulebook {
    struct {
        struct rule_set *rules;
        int64_t effective_from_ms;
    } versions[RULEBOOK_VERSIONS_MAX]; /* version v stands at v - 1 */
    int32_t count;
};

void rulebook_done(struct rulebook *book);
/* Adds version count + 1 from its document. */
enum ll_status rulebook_add(struct rulebook *book, const char *document, struct ll_err *err);
/* The highest version up to `announced` whose effective_from is not after the event. 0: none is in force. */
int32_t rulebook_in_force(const struct rulebook *book, int32_t announced, int64_t event_time_ms);
/* NULL for version 0. The version must be loaded. */
const struct rule_set *rulebook_rules(const struct rulebook *book, int32_t version);
