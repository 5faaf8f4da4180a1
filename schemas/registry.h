/*
 * registry.h - a Confluent-compatible schema registry, asked over HTTP.
 * Shape:  blocking, within timeout_ms; one connection, kept. What a registry does not know is remembered for
 *         a short while, so that a flood of records with one unknown id asks once; what it knows, the codec
 *         keeps.
 * Errors: LL_RETRY: down, slow, refusing, or answering what no registry answers: the environment's failure,
 *         never the record's. LL_POISON with a code: SCHEMA_UNKNOWN (404), SCHEMA_INCOMPATIBLE (not Avro, or
 *         with references).
 * Source: Confluent Schema Registry API, GET /schemas/ids/{id}, POST /subjects/{subject}/versions.
 */
#pragma once

#include "runtime/clock.h"
#include "runtime/err.h"
#include "schemas/codes.h"

#include <stddef.h>
#include <stdint.h>

enum {
    REGISTRY_ANSWER_SIZE_MAX = 1 << 20, /* bytes of one answer */
    REGISTRY_UNKNOWN_MS = 10 * 1000,    /* how long a 404 is believed */
    REGISTRY_UNKNOWN_SLOTS = 256,       /* so many of them at a time */
};

struct registry;

/* url may carry a path and user:password@ (never shown in errors). Does not connect. LL_FATAL: not an http(s)
 * URL. */
enum ll_status registry_open(const char *url, int64_t timeout_ms, struct clock_source clock,
                             struct registry **ret, struct ll_err *err);
void registry_close(struct registry *registry);

/* The schema's JSON text; the caller frees it. *ret_code is set with LL_POISON. */
enum ll_status registry_schema(struct registry *registry, int32_t id, char **ret_json, enum code *ret_code,
                               struct ll_err *err);
