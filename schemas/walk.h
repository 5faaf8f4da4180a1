/*
 * walk.h - pass over a value of any schema, with every check, and keep nothing.
 * Shape:  the fields of a writer that we do not read are walked; and a whole value can be, to see that it is
 *         one.
 * Errors: a decode code. Work is bounded whatever the bytes and the schema say: depth by WALK_DEPTH_MAX, and
 *         the number of values, those of no size too, by WALK_VALUES_MAX over the whole record (LIMITS 2, D3
 *         and D5).
 */
#pragma once

#include "schemas/codes.h"
#include "schemas/cursor.h"
#include "schemas/schema.h"

enum {
    WALK_DEPTH_MAX = 64,
    WALK_VALUES_MAX = 1 << 20, /* no more than a record of EVENT_SIZE_MAX can hold, at a byte each */
};

/* Moves the cursor behind one value of node's type. *values_left begins as WALK_VALUES_MAX. */
enum code walk_value(struct cursor *cursor, const struct schema_node *node, uint32_t *values_left);

/* Is it exactly one value? *ret_position is where reading stopped. */
enum code walk_whole(const struct schema_node *node, struct text bytes, size_t *ret_position);
