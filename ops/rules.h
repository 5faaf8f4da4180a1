/*
 * rules.h - publish rule sets: stored insert-only in loyalty.rules first, announced on the topic
 * loyalty-rules after.
 * Shape:  a version that is stored and not announced is announced by the next call, so that an interruption
 *         between the two heals.
 * Errors: LL_RETRY Postgres or Kafka does not answer; LL_POISON the document.
 */
#pragma once

#include "runtime/config.h"
#include "runtime/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct rules_published {
    int32_t version;
    bool is_new;        /* stored by this call; else the latest version was the same document already */
    bool was_announced; /* before this call */
};

/* Publishes the document as the next version, unless it is the latest one already. It must be a rule set
 * (rules_parse). */
enum ll_status rules_publish(const struct config *config, const char *document, struct rules_published *ret,
                             struct ll_err *err);
/* Publishes deploy/rules/default.conf where loyalty.rules is empty; else announces what was not announced.
 * For `lens up`. */
enum ll_status rules_ensure_default(const struct config *config, struct ll_err *err);
