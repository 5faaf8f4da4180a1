/*
 * world.h - the shops, goods and people that the synthetic sales are made of.
 * Shape:  a pure function of the options: the same seed gives the same world on every machine. Weights are
 *         integer tables (popularity falls as 1/rank), so nothing depends on a math library.
 * Units:  _minor is int64 minor units; _ms is int64 ms since 1970 UTC; _day is days since 1970-01-01.
 */
#pragma once

#include "producers/generate/prng.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    WORLD_CUSTOMERS_MAX = 5000000,
    WORLD_PRODUCTS_MAX = 90000, /* five digits; what lies above is never a product */
    WORLD_STORES_MAX = 900,
    WORLD_PROMOTIONS_MAX = 200,
    WORLD_PROMOTED_MAX = 12,
    WORLD_ID_SIZE = 16,
    WORLD_NAME_SIZE = 64,
    WORLD_DAYS_NEVER = INT32_MAX,
};

struct world_store {
    char id[WORLD_ID_SIZE], name[WORLD_NAME_SIZE];
    const char *city;
    int32_t opened_day, closed_day; /* WORLD_DAYS_NEVER: not closed */
};

struct world_product {
    char id[WORLD_ID_SIZE], name[WORLD_NAME_SIZE];
    int category; /* world_category_name */
    const char *brand;
    int64_t price_minor;
    int64_t new_price_minor; /* from new_from_ms on; 0: it stays */
    int64_t new_from_ms;
};

struct world_customer {
    int64_t since_ms;
    uint32_t look; /* name, address and so on are drawn from it when they are written */
};

struct world_promotion {
    char id[WORLD_ID_SIZE], name[WORLD_NAME_SIZE];
    int32_t start_day, end_day; /* both included */
    int32_t percent;            /* off the price */
    int32_t products[WORLD_PROMOTED_MAX];
    int product_count;
    int category; /* -1: none */
};

/* Draws 0 .. count - 1, each as often as its weight says. */
struct weights {
    uint64_t *upto; /* sums up to and with each */
    uint32_t count;
};

struct world_options {
    uint64_t seed;
    int32_t start_day, days;
    int32_t customers, products, stores;
};

struct world {
    struct world_options options;
    struct world_store *stores; /* the last one closed before the first day; nothing is sold there */
    int32_t store_count;
    struct world_product *products; /* the last one is not active */
    int32_t product_count;
    struct world_customer *customers;
    struct world_promotion
        *promotions; /* 0: for every product, over before the first day. 1: for product 0 alone, all days */
    int32_t promotion_count;
    struct weights store_weights, product_weights, customer_weights;
    int32_t *product_ranks, *customer_ranks; /* who has the first, the second ... weight */
};

enum { WORLD_PROMOTION_OVER = 0, WORLD_PROMOTION_NARROW = 1 };

/* The more popular, the more often. */
int32_t world_draw_customer(const struct world *world, struct prng *prng);
int32_t world_draw_product(const struct world *world, struct prng *prng);

struct world *world_new(const struct world_options *options);
void world_free(struct world *world);

const char *world_category_name(int category);
char *world_customer_id(int32_t customer, char to[WORLD_ID_SIZE]);
int64_t world_price(const struct world_product *product, int64_t time_ms);
/* Index of a promotion that covers the product on that day, -1: none. */
int32_t world_promotion_for(const struct world *world, int32_t product, int32_t day);

struct world_person {
    char name[WORLD_NAME_SIZE], email[WORLD_NAME_SIZE], phone[24];
    const char *language, *country;
    bool consent;
};
void world_person(const struct world *world, int32_t customer, struct world_person *ret);

void weights_harmonic(struct weights *weights, uint32_t count, uint32_t flatness);
void weights_of(struct weights *weights, const uint32_t *each, uint32_t count);
void weights_done(struct weights *weights);
uint32_t weights_draw(const struct weights *weights, struct prng *prng);
