/*
 * sales.h - what is left of a sale after its returns, for the sales that a return has asked for.
 * Shape:  a sale's state is folded from postings, in any order: its own row gives the lines, returns add to what came back
 *         per product, a void takes the rest. target = rules(lines - returned), so order cannot matter.
 * Units:  _minor is int64 minor units; points are whole points.
 * Source: DESIGN 4.
 */
#pragma once

#include "runtime/err.h"
#include "runtime/text.h"
#include "schemas/arena.h"
#include "state/posting.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct sale_line {
    struct text product_id, category, promotion_id;
    int64_t amount_minor; /* as sold */
    int64_t net_minor;    /* what is left: 0 .. amount_minor */
};

struct sale_returned {
    struct text product_id;
    int64_t amount_minor; /* all that came back, also beyond what was sold */
};

struct sale {
    int64_t hash;
    struct text source, transaction_id;
    bool exists; /* its own posting was seen */
    bool voided;
    struct text customer_id, store_id; /* nullable */
    int32_t day, rules_version;
    struct sale_line *lines;
    size_t line_count;
    struct sale_returned *returned;
    size_t returned_count, returned_capacity;
    struct posting_rule posted[POSTING_RULES_MAX]; /* points given so far, per rule */
    size_t posted_count;
    int64_t last_offset; /* of the last posting folded in; -1: none yet */
    int32_t last_seq;
    struct arena memory;
};

struct sales {
    struct sale **slots;
    size_t mask, count;
};

void sales_init(struct sales *sales);
void sales_done(struct sales *sales);
/* NULL: not here. */
struct sale *sales_find(struct sales *sales, int64_t hash, struct text source, struct text transaction_id);
/* Finds it, or adds one that does not exist yet. */
struct sale *sales_add(struct sales *sales, int64_t hash, struct text source, struct text transaction_id);
/* Frees the sales whose last posting is committed (below flushed_next), if there are more than count_max. */
void sales_trim(struct sales *sales, int64_t flushed_next, size_t count_max);

/* True if the posting is the sale's own, or a return or void of it. */
bool sale_owns(const struct sale *sale, const struct posting *posting);
/* Takes a posting of the sale that was made before, unless it is in already: postings come in (offset, seq) order. */
void sale_fold(struct sale *sale, const struct posting *posting);
/* Takes more back: each line of the return, or all (void). Net amounts follow; writes what that changes, at most
 * POSTING_LINES_MAX lines, to ret. Returns how many; *ret_excess tells whether more came back than was there. */
size_t sale_give_back(struct sale *sale, const struct transaction *event, struct posting_line *ret, bool *ret_excess);
