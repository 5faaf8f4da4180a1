/*
 * schemas_oracle.h - avro-c as the other opinion: random schemas and values, their bytes, and its verdict on
 * any bytes.
 * Shape:  what avro-c may not survive (LIMITS 2) runs in a process of its own.
 */
#pragma once

#include "schemas_kit.h"

#include <avro.h>
#include <stdint.h>

struct oracle {
    avro_schema_t schema;
    avro_value_iface_t *iface;
    avro_value_t value;
};

void oracle_open(struct oracle *oracle, const char *schema_json);
void oracle_close(struct oracle *oracle);

/* Fills the value at random and encodes it. */
void oracle_random_bytes(struct oracle *oracle, uint64_t *seed, struct kit_bytes *ret);

/* A random schema as JSON text of any types, recursive ones too. */
void oracle_random_schema(uint64_t *seed, char *to, size_t size);

enum verdict {
    VERDICT_DIED = 0,
    VERDICT_REFUSED,
    VERDICT_TRAILING, /* it read a value and left bytes */
    VERDICT_SAME,     /* it accepted, and writes the same bytes again */
    VERDICT_OTHER,    /* it accepted, and writes other bytes */
};

/* Its verdict on each of count values, which lie in values[i]. */
void oracle_judge(const char *schema_json, const struct text *values, size_t count, enum verdict *ret);
