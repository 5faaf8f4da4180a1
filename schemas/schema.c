#include "schemas/schema.h"

#include "schemas/arena.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

struct schema {
    struct arena arena;
    json_t *json; /* defaults point into it */
    const struct schema_node *root;
    uint32_t node_count;
};

struct parser {
    struct schema *schema;
    struct schema_node *named[SCHEMA_NAMES_MAX];
    uint32_t named_count;
    struct ll_err *err;
};

static const char *const TYPE_NAMES[] = {
    [SCHEMA_NULL] = "null",   [SCHEMA_BOOLEAN] = "boolean", [SCHEMA_INT] = "int",
    [SCHEMA_LONG] = "long",   [SCHEMA_FLOAT] = "float",     [SCHEMA_DOUBLE] = "double",
    [SCHEMA_BYTES] = "bytes", [SCHEMA_STRING] = "string",   [SCHEMA_FIXED] = "fixed",
    [SCHEMA_ENUM] = "enum",   [SCHEMA_ARRAY] = "array",     [SCHEMA_MAP] = "map",
    [SCHEMA_UNION] = "union", [SCHEMA_RECORD] = "record",
};

enum { TYPE_COUNT = sizeof TYPE_NAMES / sizeof TYPE_NAMES[0] };

static const struct schema_node *parse_type(struct parser *parser, const json_t *json, const char *space,
                                            unsigned depth);

static void *refuse(struct parser *parser, const char *what, const char *name)
{
    ll_fail(parser->err, LL_POISON, "schema: %s%s%s", what, name[0] == '\0' ? "" : ": ", name);
    return NULL;
}

static struct schema_node *new_node(struct parser *parser, enum schema_type type)
{
    struct schema_node *node = arena_take(&parser->schema->arena, sizeof *node);
    node->type = type;
    node->index = parser->schema->node_count++;
    return node;
}

static const char *keep(struct parser *parser, const char *text)
{
    return arena_copy(&parser->schema->arena, text, strlen(text));
}

/* [A-Za-z_][A-Za-z0-9_]*, and of such parts joined by dots where dots is set. */
static bool name_valid(const char *name, bool dots)
{
    bool first = true;
    for (const char *at = name; *at != '\0'; at++) {
        bool letter = (*at >= 'a' && *at <= 'z') || (*at >= 'A' && *at <= 'Z') || *at == '_';
        bool digit = *at >= '0' && *at <= '9';
        if (dots && *at == '.' && !first)
            first = true;
        else if (letter || (digit && !first))
            first = false;
        else
            return false;
    }
    return !first;
}

/* Full name of name in the namespace space, into to. A dotted name is full already. */
static bool full_name(const char *name, const char *space, char to[static SCHEMA_NAME_SIZE])
{
    bool full = strchr(name, '.') != NULL || space[0] == '\0';
    int size = snprintf(to, SCHEMA_NAME_SIZE, "%s%s%s", full ? "" : space, full ? "" : ".", name);
    return size < SCHEMA_NAME_SIZE && name_valid(to, true);
}

static void space_of(const char *name, char to[static SCHEMA_NAME_SIZE])
{
    const char *dot = strrchr(name, '.');
    size_t size = dot == NULL ? 0 : (size_t)(dot - name);
    memcpy(to, name, size);
    to[size] = '\0';
}

static const struct schema_node *find_named(const struct parser *parser, const char *name)
{
    for (uint32_t i = 0; i < parser->named_count; i++)
        if (strcmp(parser->named[i]->name, name) == 0)
            return parser->named[i];
    return NULL;
}

/* A type that is only named: a primitive, or one defined before. */
static const struct schema_node *parse_reference(struct parser *parser, const char *name, const char *space)
{
    char full[SCHEMA_NAME_SIZE];
    for (enum schema_type type = 0; type <= SCHEMA_STRING; type++)
        if (strcmp(name, TYPE_NAMES[type]) == 0)
            return new_node(parser, type);
    const struct schema_node *node = full_name(name, space, full) ? find_named(parser, full) : NULL;
    return node != NULL ? node : refuse(parser, "no such type", name);
}

/* Begins a record, an enum or a fixed: its name is known from here on, for its own fields to refer to. */
static struct schema_node *begin_named(struct parser *parser, enum schema_type type, const json_t *json,
                                       const char *space, char ret_space[static SCHEMA_NAME_SIZE])
{
    char full[SCHEMA_NAME_SIZE];
    const json_t *name = json_object_get(json, "name"), *own_space = json_object_get(json, "namespace");

    if (!json_is_string(name))
        return refuse(parser, "a type without a name", TYPE_NAMES[type]);
    if (own_space != NULL && !json_is_string(own_space))
        return refuse(parser, "a namespace that is no string", json_string_value(name));
    if (!full_name(json_string_value(name), own_space != NULL ? json_string_value(own_space) : space, full))
        return refuse(parser, "not a name", json_string_value(name));
    if (find_named(parser, full) != NULL)
        return refuse(parser, "defined twice", full);
    if (parser->named_count == SCHEMA_NAMES_MAX)
        return refuse(parser, "too many named types at", full);

    struct schema_node *node = new_node(parser, type);
    node->name = keep(parser, full);
    parser->named[parser->named_count++] = node;
    space_of(full, ret_space);
    return node;
}

static const char *parse_field(struct parser *parser, const json_t *json, const char *space, unsigned depth,
                               struct schema_field *ret)
{
    const json_t *name = json_object_get(json, "name"), *type = json_object_get(json, "type");
    const json_t *aliases = json_object_get(json, "aliases");

    if (!json_is_string(name) || !name_valid(json_string_value(name), false) ||
        json_string_length(name) >= SCHEMA_NAME_SIZE)
        return refuse(parser, "a field without a proper name", "");
    ret->name = keep(parser, json_string_value(name));
    if (type == NULL)
        return refuse(parser, "a field without a type", ret->name);
    ret->type = parse_type(parser, type, space, depth + 1);
    if (ret->type == NULL)
        return NULL;
    ret->fallback = json_object_get(json, "default");
    if (json_array_size(aliases) > SCHEMA_MEMBERS_MAX)
        return refuse(parser, "too many aliases", ret->name);
    ret->aliases = arena_take(&parser->schema->arena, json_array_size(aliases) * sizeof(char *));
    for (size_t i = 0; i < json_array_size(aliases); i++) {
        const json_t *alias = json_array_get(aliases, i);
        if (!json_is_string(alias) || !name_valid(json_string_value(alias), false))
            return refuse(parser, "an alias that is no name", ret->name);
        ret->aliases[ret->alias_count++] = keep(parser, json_string_value(alias));
    }
    return ret->name;
}

static const struct schema_node *parse_record(struct parser *parser, const json_t *json, const char *space,
                                              unsigned depth)
{
    char inner[SCHEMA_NAME_SIZE];
    const json_t *fields = json_object_get(json, "fields");
    struct schema_node *node = begin_named(parser, SCHEMA_RECORD, json, space, inner);
    if (node == NULL)
        return NULL;
    if (!json_is_array(fields) || json_array_size(fields) > SCHEMA_MEMBERS_MAX)
        return refuse(parser, "fields that are no list, or too many", node->name);

    node->fields = arena_take(&parser->schema->arena, json_array_size(fields) * sizeof *node->fields);
    for (size_t i = 0; i < json_array_size(fields); i++) {
        const char *name = parse_field(parser, json_array_get(fields, i), inner, depth, &node->fields[i]);
        if (name == NULL)
            return NULL;
        for (size_t j = 0; j < i; j++)
            if (strcmp(node->fields[j].name, name) == 0)
                return refuse(parser, "two fields of one name", name);
        node->count++;
    }
    return node;
}

static const struct schema_node *parse_enum(struct parser *parser, const json_t *json, const char *space)
{
    char inner[SCHEMA_NAME_SIZE];
    const json_t *symbols = json_object_get(json, "symbols"), *fallback = json_object_get(json, "default");
    struct schema_node *node = begin_named(parser, SCHEMA_ENUM, json, space, inner);
    if (node == NULL)
        return NULL;
    if (!json_is_array(symbols) || json_array_size(symbols) > SCHEMA_MEMBERS_MAX)
        return refuse(parser, "symbols that are no list, or too many", node->name);

    node->symbols = arena_take(&parser->schema->arena, json_array_size(symbols) * sizeof(char *));
    for (size_t i = 0; i < json_array_size(symbols); i++) {
        const char *symbol = json_string_value(json_array_get(symbols, i));
        if (symbol == NULL || !name_valid(symbol, false))
            return refuse(parser, "a symbol that is no name", node->name);
        for (size_t j = 0; j < i; j++)
            if (strcmp(node->symbols[j], symbol) == 0)
                return refuse(parser, "two symbols of one name", symbol);
        node->symbols[i] = keep(parser, symbol);
        node->count++;
        if (json_is_string(fallback) && strcmp(json_string_value(fallback), symbol) == 0)
            node->fallback = node->symbols[i];
    }
    if (fallback != NULL && node->fallback == NULL)
        return refuse(parser, "a default that is no symbol", node->name);
    return node;
}

static const struct schema_node *parse_fixed(struct parser *parser, const json_t *json, const char *space)
{
    char inner[SCHEMA_NAME_SIZE];
    const json_t *size = json_object_get(json, "size");
    struct schema_node *node = begin_named(parser, SCHEMA_FIXED, json, space, inner);
    if (node == NULL)
        return NULL;
    if (!json_is_integer(size) || json_integer_value(size) < 0 ||
        json_integer_value(size) > SCHEMA_FIXED_SIZE_MAX)
        return refuse(parser, "a fixed without a size, or beyond its limit", node->name);
    node->size = (uint32_t)json_integer_value(size);
    return node;
}

static const struct schema_node *parse_items(struct parser *parser, enum schema_type type,
                                             const json_t *items, const char *space, unsigned depth)
{
    if (items == NULL)
        return refuse(parser, "no items or values", TYPE_NAMES[type]);
    struct schema_node *node = new_node(parser, type);
    node->items = parse_type(parser, items, space, depth + 1);
    return node->items != NULL ? node : NULL;
}

/* A union holds each unnamed type once, each named type once, and no union. */
static bool branches_collide(const struct schema_node *a, const struct schema_node *b)
{
    return a->type == b->type && (a->name == NULL || strcmp(a->name, b->name) == 0);
}

static const struct schema_node *parse_union(struct parser *parser, const json_t *json, const char *space,
                                             unsigned depth)
{
    if (json_array_size(json) > SCHEMA_MEMBERS_MAX)
        return refuse(parser, "too many branches of a union", "");
    struct schema_node *node = new_node(parser, SCHEMA_UNION);
    node->branches = arena_take(&parser->schema->arena, json_array_size(json) * sizeof(struct schema_node *));
    for (size_t i = 0; i < json_array_size(json); i++) {
        const struct schema_node *branch = parse_type(parser, json_array_get(json, i), space, depth + 1);
        if (branch == NULL)
            return NULL;
        if (branch->type == SCHEMA_UNION)
            return refuse(parser, "a union within a union", "");
        for (size_t j = 0; j < i; j++)
            if (branches_collide(branch, node->branches[j]))
                return refuse(parser, "a union with one branch twice", TYPE_NAMES[branch->type]);
        node->branches[i] = branch;
        node->count++;
    }
    return node;
}

static const struct schema_node *parse_object(struct parser *parser, const json_t *json, const char *space,
                                              unsigned depth)
{
    const json_t *type = json_object_get(json, "type"), *logical = json_object_get(json, "logicalType");
    if (json_is_object(type) || json_is_array(type))
        return parse_type(parser, type, space, depth + 1);
    if (!json_is_string(type))
        return refuse(parser, "a type that is neither a name, an object nor a list", "");

    const char *name = json_string_value(type);
    if (strcmp(name, "record") == 0)
        return parse_record(parser, json, space, depth);
    if (strcmp(name, "enum") == 0)
        return parse_enum(parser, json, space);
    if (strcmp(name, "array") == 0)
        return parse_items(parser, SCHEMA_ARRAY, json_object_get(json, "items"), space, depth);
    if (strcmp(name, "map") == 0)
        return parse_items(parser, SCHEMA_MAP, json_object_get(json, "values"), space, depth);
    if (strcmp(name, "fixed") == 0)
        return parse_fixed(parser, json, space);

    for (enum schema_type primitive = 0; primitive <= SCHEMA_STRING; primitive++) {
        if (strcmp(name, TYPE_NAMES[primitive]) != 0)
            continue;
        struct schema_node *node = new_node(parser, primitive);
        if (json_is_string(logical))
            node->logical_type = keep(parser, json_string_value(logical));
        return node;
    }
    return parse_reference(parser, name, space);
}

static const struct schema_node *parse_type(struct parser *parser, const json_t *json, const char *space,
                                            unsigned depth)
{
    if (depth > SCHEMA_DEPTH_MAX)
        return refuse(parser, "types nested too deep", "");
    if (json_is_string(json))
        return parse_reference(parser, json_string_value(json), space);
    if (json_is_array(json))
        return parse_union(parser, json, space, depth);
    if (json_is_object(json))
        return parse_object(parser, json, space, depth);
    return refuse(parser, "a type that is neither a name, an object nor a list", "");
}

enum ll_status schema_parse(const char *json, size_t size, struct schema **ret, struct ll_err *err)
{
    json_error_t at;
    if (size > SCHEMA_SIZE_MAX)
        return ll_fail(err, LL_POISON, "schema: %zu bytes of JSON, at most %d are read", size,
                       SCHEMA_SIZE_MAX);

    struct schema *schema = calloc(1, sizeof *schema);
    struct parser *parser = calloc(1, sizeof *parser);
    if (schema == NULL || parser == NULL)
        abort();
    *parser = (struct parser){.schema = schema, .err = err};

    enum ll_status status = LL_POISON;
    schema->json = json_loadb(json, size, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &at);
    if (schema->json == NULL) {
        ll_fail(err, LL_POISON, "schema: not JSON: %s (line %d, column %d)", at.text, at.line, at.column);
        goto out;
    }
    schema->root = parse_type(parser, schema->json, "", 0);
    if (schema->root == NULL)
        goto out;
    status = LL_OK;
    *ret = schema;
    schema = NULL;

out:
    free(parser);
    schema_free(schema);
    return status;
}

void schema_free(struct schema *schema)
{
    if (schema == NULL)
        return;
    json_decref(schema->json);
    arena_done(&schema->arena);
    free(schema);
}

const struct schema_node *schema_root(const struct schema *schema)
{
    return schema->root;
}

uint32_t schema_node_count(const struct schema *schema)
{
    return schema->node_count;
}

const char *schema_type_name(enum schema_type type)
{
    return (size_t)type < TYPE_COUNT ? TYPE_NAMES[type] : "unknown";
}
