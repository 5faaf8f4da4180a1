/*
 * held.h - returns that came before their sale, until it comes or their time is up.
 * Shape:  a list in the order of their offsets (and so of since_ms, as the log's clock never goes back), with chains by sale
 *         and by identity.
 * Units:  _ms is the log's clock.
 * Source: DESIGN 5.9.
 */
#pragma once

#include "state/ledger.h"

#include <stddef.h>
#include <stdint.h>

struct held {
    struct kept_record record; /* texts live in memory */
    struct held *next_of_sale, *next_of_identity; /* in their buckets, ascending by offset */
    struct held *earlier, *later;
    char memory[];
};

struct held_list {
    struct held *first, *last;
    struct held **by_sale, **by_identity; /* buckets */
    size_t mask, count;
};

void held_init(struct held_list *list);
void held_done(struct held_list *list);
/* Copies it. Offsets must ascend. */
void held_add(struct held_list *list, const struct kept_record *record);
/* Takes it out and frees it. */
void held_remove(struct held_list *list, struct held *held);
/* The first one that waits for the sale / has the identity hash; go on with held_next_*. NULL: none. */
struct held *held_of_sale(const struct held_list *list, int64_t sale_hash);
struct held *held_next_of_sale(const struct held *held);
struct held *held_of_identity(const struct held_list *list, int64_t identity_hash);
struct held *held_next_of_identity(const struct held *held);
