/*
 * schema.h - an Avro schema as JSON text, parsed into a small graph of nodes that the compiler and the walker
 * can follow.
 * Shape:  everything lives in the schema's arena; nodes of recursive types point back. Names are full names.
 *         Unlike avro-c, it keeps what resolution needs (defaults, aliases, logical types, an enum's default)
 *         and refuses what the specification forbids (LIMITS 2, D11 to D13). A record that holds itself
 *         without end is a schema; a value of it is refused for its depth.
 * Errors: LL_POISON, with the place in words. Schemas come from a registry too: nothing about them is
 *         trusted.
 * Source: Avro 1.11 specification, "Schema Declaration", "Parsing Canonical Form for Schemas".
 */
#pragma once

#include "runtime/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct json_t;

enum {
    SCHEMA_SIZE_MAX = 256 << 10,     /* bytes of JSON */
    SCHEMA_DEPTH_MAX = 32,           /* types within types */
    SCHEMA_NAMES_MAX = 1000,         /* named types */
    SCHEMA_MEMBERS_MAX = 1000,       /* fields of a record, symbols of an enum, branches of a union */
    SCHEMA_FIXED_SIZE_MAX = 1 << 20, /* bytes of a fixed */
    SCHEMA_NAME_SIZE = 256,          /* of a full name, with its NUL */
};

enum schema_type {
    SCHEMA_NULL,
    SCHEMA_BOOLEAN,
    SCHEMA_INT,
    SCHEMA_LONG,
    SCHEMA_FLOAT,
    SCHEMA_DOUBLE,
    SCHEMA_BYTES,
    SCHEMA_STRING,
    SCHEMA_FIXED,
    SCHEMA_ENUM,
    SCHEMA_ARRAY,
    SCHEMA_MAP,
    SCHEMA_UNION,
    SCHEMA_RECORD,
};

struct schema_field {
    const char *name;
    const struct schema_node *type;
    const struct json_t *fallback; /* the default as JSON; NULL: none */
    const char **aliases;
    uint32_t alias_count;
};

struct schema_node {
    enum schema_type type;
    uint32_t index;           /* position among the schema's nodes */
    const char *name;         /* FIXED, ENUM, RECORD */
    const char *logical_type; /* or NULL */
    uint32_t size;            /* FIXED: bytes */
    uint32_t count;           /* of fields, symbols or branches */
    union {
        struct schema_field *fields;         /* RECORD */
        const char **symbols;                /* ENUM */
        const struct schema_node **branches; /* UNION */
        const struct schema_node *items;     /* ARRAY, MAP: what each item or value is */
    };
    const char *fallback; /* ENUM: its default symbol, or NULL */
};

struct schema;

enum ll_status schema_parse(const char *json, size_t size, struct schema **ret, struct ll_err *err);
void schema_free(struct schema *schema);

const struct schema_node *schema_root(const struct schema *schema);
uint32_t schema_node_count(const struct schema *schema);
const char *schema_type_name(enum schema_type type);

/* The Parsing Canonical Form, NUL-terminated; the caller frees it. Never NULL. */
char *schema_canonical(const struct schema *schema);
/* CRC-64-AVRO of the canonical form: equal for schemas that read each other's bytes alike. */
uint64_t schema_fingerprint(const struct schema *schema);
