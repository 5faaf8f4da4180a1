/*
 * references.h - what is known of stores, products, customers and promotions, and since when.
 * Shape:  versions of a thing by (kind, id, effective_from_ms); a lookup asks for the version in force at a time. A version
 *         that comes again replaces itself. A lookup has three steps, so that a caller with several ids lets their cache misses
 *         overlap: seek (hashes), near (fetches), then the question itself. No allocation per lookup.
 * Units:  _ms as in event.h; days are local days of the program.
 * Source: DESIGN 3.
 */
#pragma once

#include "runtime/text.h"
#include "schemas/event.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum reference_kind {
    REFERENCE_STORE,
    REFERENCE_PRODUCT,
    REFERENCE_CUSTOMER,
    REFERENCE_PROMOTION,
    REFERENCE_KINDS
};

struct references;

struct references *references_new(void);
void references_free(struct references *references);

/* Takes in one version (copies it). Events of other kinds, and ones without an id, change nothing. */
void references_put(struct references *references, const struct event *event);

/* Distinct ids of a kind. */
size_t references_count(const struct references *references, enum reference_kind kind);

/* An id that is looked up; its text is borrowed. */
struct reference_seek {
    enum reference_kind kind;
    struct text id;
    uint64_t hash;
};
void references_seek(const struct references *references, enum reference_kind kind, struct text id,
                     struct reference_seek *ret);
/* Optional: asks the memory for what the question will read. */
void references_near(const struct references *references, const struct reference_seek *seek);

/* Of each: false if there is no version in force at that time. Texts live as long as the store. */
struct reference_store {
    int32_t opened_day, closed_day; /* open on [opened, closed); INT32_MIN, INT32_MAX: no such end */
};

struct reference_product {
    struct text category; /* nullable */
    bool active;
};
bool references_product(const struct references *references, const struct reference_seek *seek,
                        int64_t time_ms, struct reference_product *ret);

/* Known at that time? Nothing else of a customer is asked for here, so that all that is kept of one is a
 * fingerprint and its earliest version: among a million customers an unknown one passes once in 10^13. */
bool references_customer(const struct references *references, const struct reference_seek *seek,
                         int64_t time_ms);

/* A promotion carries its own dates, so before its first version the first one counts. */
struct reference_promotion;
const struct reference_promotion *references_promotion(const struct references *references,
                                                       const struct reference_seek *seek, int64_t time_ms);
/* One version of a promotion, on its own (reference_promotion.c); new copies. */
struct reference_promotion *reference_promotion_new(const struct promotion *promotion);
void reference_promotion_free(struct reference_promotion *promotion);
bool reference_promotion_runs(const struct reference_promotion *promotion, int32_t day);
bool reference_promotion_covers(const struct reference_promotion *promotion, struct text product_id,
                                struct text category);
