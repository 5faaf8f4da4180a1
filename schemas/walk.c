#include "schemas/walk.h"

#include "schemas/event.h"

struct walk {
    struct cursor *cursor;
    uint32_t *values_left;
};

static enum code walk_node(const struct walk *walk, const struct schema_node *node, unsigned depth);

static enum code walk_record(const struct walk *walk, const struct schema_node *node, unsigned depth)
{
    for (uint32_t i = 0; i < node->count; i++) {
        enum code code = walk_node(walk, node->fields[i].type, depth + 1);
        if (code != CODE_NONE)
            return code;
    }
    return CODE_NONE;
}

static enum code walk_item(const struct walk *walk, const struct schema_node *node, unsigned depth)
{
    if (node->type == SCHEMA_MAP) {
        struct text key;
        enum code code = cursor_text(walk->cursor, EVENT_SIZE_MAX, &key);
        if (code != CODE_NONE)
            return code;
    }
    return walk_node(walk, node->items, depth + 1);
}

/* An array or a map: blocks until an empty one. */
static enum code walk_blocks(const struct walk *walk, const struct schema_node *node, unsigned depth)
{
    enum code code;
    do {
        struct block block;
        code = cursor_block(walk->cursor, WALK_VALUES_MAX, &block);
        if (code != CODE_NONE || block.count == 0)
            return code;
        for (; block.count > 0 && code == CODE_NONE; block.count--)
            code = walk_item(walk, node, depth);
        if (code == CODE_NONE)
            code = cursor_block_ends(walk->cursor, &block);
    } while (code == CODE_NONE);
    return code;
}

static enum code walk_union(const struct walk *walk, const struct schema_node *node, unsigned depth)
{
    uint32_t branch;
    enum code code = cursor_index(walk->cursor, node->count, &branch);
    return code != CODE_NONE ? code : walk_node(walk, node->branches[branch], depth + 1);
}

static enum code walk_node(const struct walk *walk, const struct schema_node *node, unsigned depth)
{
    struct text text;
    int32_t number;
    int64_t big;
    uint32_t symbol;
    bool flag;

    if (depth > WALK_DEPTH_MAX || *walk->values_left == 0)
        return CODE_DECODE_LIMIT;
    --*walk->values_left;

    switch (node->type) {
    case SCHEMA_NULL:
        return CODE_NONE;
    case SCHEMA_BOOLEAN:
        return cursor_boolean(walk->cursor, &flag);
    case SCHEMA_INT:
        return cursor_int(walk->cursor, &number);
    case SCHEMA_LONG:
        return cursor_long(walk->cursor, &big);
    case SCHEMA_FLOAT:
        return cursor_skip(walk->cursor, sizeof(float));
    case SCHEMA_DOUBLE:
        return cursor_skip(walk->cursor, sizeof(double));
    case SCHEMA_BYTES:
        return cursor_bytes(walk->cursor, EVENT_SIZE_MAX, &text);
    case SCHEMA_STRING:
        return cursor_text(walk->cursor, EVENT_SIZE_MAX, &text);
    case SCHEMA_FIXED:
        return cursor_skip(walk->cursor, node->size);
    case SCHEMA_ENUM:
        return cursor_index(walk->cursor, node->count, &symbol);
    case SCHEMA_ARRAY:
    case SCHEMA_MAP:
        return walk_blocks(walk, node, depth);
    case SCHEMA_UNION:
        return walk_union(walk, node, depth);
    case SCHEMA_RECORD:
        return walk_record(walk, node, depth);
    }
    return CODE_DECODE_VALUE;
}

enum code walk_value(struct cursor *cursor, const struct schema_node *node, uint32_t *values_left)
{
    return walk_node(&(struct walk){cursor, values_left}, node, 0);
}

enum code walk_whole(const struct schema_node *node, struct text bytes, size_t *ret_position)
{
    uint32_t values_left = WALK_VALUES_MAX;
    const unsigned char *begin = (const unsigned char *)(bytes.data == NULL ? "" : bytes.data);
    struct cursor cursor = {begin, begin + bytes.size};
    enum code code =
        bytes.size > EVENT_SIZE_MAX ? CODE_DECODE_LIMIT : walk_value(&cursor, node, &values_left);
    *ret_position = (size_t)(cursor.at - begin);
    if (code == CODE_NONE && cursor.at != cursor.end)
        return CODE_DECODE_TRAILING;
    return code;
}
