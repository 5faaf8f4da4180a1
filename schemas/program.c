#include "schemas/program.h"

#include "schemas/arena.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

struct program {
    struct program_code code; /* first, so that program_code() is free */
    struct arena arena;
};

struct compiler {
    struct arena *arena;
    struct op *ops;
    uint32_t count;
    struct ll_err *err;
};

static bool compile_record(struct compiler *compiler, const struct schema_node *writer,
                           const struct schema_node *reader, const struct bind_record *bind, char *blank);

static bool refuse(struct compiler *compiler, const char *field, const char *what, const char *which)
{
    ll_fail(compiler->err, LL_POISON, "field %s: %s%s", field, what, which);
    return false;
}

static struct op *emit(struct compiler *compiler, enum op_code code, const char *name)
{
    if (compiler->count == PROGRAM_OPS_MAX) {
        refuse(compiler, name, "too many fields", "");
        return NULL;
    }
    struct op *op = &compiler->ops[compiler->count++];
    *op = (struct op){.code = (uint8_t)code, .name = name};
    return op;
}

static bool emit_bound(struct compiler *compiler, enum op_code code, const char *name,
                       const struct bind_field *bind)
{
    struct op *op = emit(compiler, code, name);
    if (op == NULL)
        return false;
    op->offset = bind->offset;
    op->aside = bind->aside;
    op->limit = bind->limit;
    return true;
}

/* What a field of ours holds when it is not null. */
static const struct schema_node *value_of(const struct schema_node *reader)
{
    return reader->type == SCHEMA_UNION ? reader->branches[1] : reader; /* null first: bind_check */
}

static bool logical_types_agree(const struct schema_node *writer, const struct schema_node *reader)
{
    return writer->logical_type == NULL || reader->logical_type == NULL ||
           strcmp(writer->logical_type, reader->logical_type) == 0;
}

/* By symbol; a symbol that ours lacks becomes our default where there is one. */
static bool compile_enum(struct compiler *compiler, const struct schema_node *writer,
                         const struct schema_node *reader, const struct bind_field *bind, const char *name)
{
    int32_t *symbols = arena_take(compiler->arena, writer->count * sizeof *symbols);
    for (uint32_t i = 0; i < writer->count; i++) {
        symbols[i] = -1;
        for (uint32_t j = 0; j < reader->count; j++)
            if (strcmp(writer->symbols[i], reader->symbols[j]) == 0 ||
                (symbols[i] < 0 && reader->fallback == reader->symbols[j]))
                symbols[i] = (int32_t)j;
    }
    if (!emit_bound(compiler, OP_ENUM, name, bind))
        return false;
    compiler->ops[compiler->count - 1].symbols = symbols;
    compiler->ops[compiler->count - 1].limit = writer->count;
    return true;
}

static bool compile_value(struct compiler *compiler, const struct schema_node *writer,
                          const struct schema_node *reader, const struct bind_field *bind, const char *name);

static bool compile_list(struct compiler *compiler, const struct schema_node *writer,
                         const struct schema_node *reader, const struct bind_field *bind, const char *name)
{
    uint32_t at = compiler->count;
    struct op_list *list = arena_take(compiler->arena, sizeof *list);
    char *blank = arena_take(compiler->arena, bind->items->size);
    *list = (struct op_list){bind->items, blank};
    if (!emit_bound(compiler, OP_LIST, name, bind))
        return false;
    compiler->ops[at].list = list;

    const struct bind_field *item = &bind->items->fields[0];
    bool fits = item->name == NULL
                    ? compile_value(compiler, writer->items, reader->items, item, name)
                    : compile_record(compiler, writer->items, reader->items, bind->items, blank);
    compiler->ops[at].body = (uint16_t)(compiler->count - at - 1);
    return fits;
}

/* The op that takes the writer's type as it is, or as the specification promotes it; -1: there is none. */
static int leaf_op(const struct schema_node *writer, const struct bind_field *bind)
{
    switch (bind->type) {
    case BIND_TEXT:
        return writer->type == SCHEMA_STRING ? OP_TEXT : -1;
    case BIND_INT:
        return writer->type == SCHEMA_INT ? OP_INT : -1;
    case BIND_LONG:
        return writer->type == SCHEMA_LONG ? OP_LONG : writer->type == SCHEMA_INT ? OP_INT_TO_LONG : -1;
    case BIND_BOOLEAN:
        return writer->type == SCHEMA_BOOLEAN ? OP_BOOLEAN : -1;
    case BIND_ENUM:
    case BIND_LIST:
        break;
    }
    return -1;
}

/* Any type of the writer's but a union. */
static bool compile_plain(struct compiler *compiler, const struct schema_node *writer,
                          const struct schema_node *reader, const struct bind_field *bind, const char *name)
{
    bool number = bind->nullable && bind->type != BIND_TEXT;
    if (writer->type == SCHEMA_NULL && bind->nullable)
        return emit_bound(compiler, number ? OP_ABSENT : OP_ABSENT_TEXT, name, bind);
    if (!logical_types_agree(writer, reader))
        return refuse(compiler, name, "its logical type is not ours but ", writer->logical_type);
    if (bind->type == BIND_ENUM && writer->type == SCHEMA_ENUM)
        return compile_enum(compiler, writer, reader, bind, name);
    if (bind->type == BIND_LIST && writer->type == SCHEMA_ARRAY)
        return compile_list(compiler, writer, reader, bind, name);

    int leaf = leaf_op(writer, bind);
    if (leaf < 0)
        return refuse(compiler, name, "ours cannot be read from the writer's ",
                      schema_type_name(writer->type));
    return (!number || emit_bound(compiler, OP_PRESENT, name, bind)) &&
           emit_bound(compiler, (enum op_code)leaf, name, bind);
}

/* Null or the very type that is ours, as nearly every nullable field is: one op instead of five. */
static bool compile_nullable(struct compiler *compiler, const struct schema_node *writer,
                             const struct schema_node *reader, const struct bind_field *bind,
                             const char *name, bool *ret_fits)
{
    if (!bind->nullable || writer->count != 2)
        return false;
    unsigned null_branch = writer->branches[0]->type == SCHEMA_NULL ? 0 : 1;
    const struct schema_node *value = writer->branches[1 - null_branch];
    if (writer->branches[null_branch]->type != SCHEMA_NULL || !logical_types_agree(value, reader))
        return false;

    enum op_code code;
    switch (leaf_op(value, bind)) {
    case OP_TEXT:
        code = OP_TEXT_NULLABLE;
        break;
    case OP_INT:
        code = OP_INT_NULLABLE;
        break;
    case OP_LONG:
        code = OP_LONG_NULLABLE;
        break;
    default:
        return false;
    }
    *ret_fits = emit_bound(compiler, code, name, bind);
    if (*ret_fits)
        compiler->ops[compiler->count - 1].null_branch = (uint8_t)null_branch;
    return true;
}

/* A branch that ours has no place for is refused when a value chooses it; now, only if all are such. */
static bool compile_union(struct compiler *compiler, const struct schema_node *writer,
                          const struct schema_node *reader, const struct bind_field *bind, const char *name)
{
    bool fits = false;
    if (compile_nullable(compiler, writer, reader, bind, name, &fits))
        return fits;

    uint32_t at = compiler->count;
    struct op_branch *branches = arena_take(compiler->arena, writer->count * sizeof *branches);
    struct op *op = emit(compiler, OP_UNION, name);
    if (op == NULL)
        return false;
    op->branches = branches;
    op->limit = writer->count;
    for (uint32_t i = 0; i < writer->count; i++) {
        uint32_t first = compiler->count;
        if (!compile_plain(compiler, writer->branches[i], reader, bind, name)) {
            compiler->count = first;
            continue;
        }
        branches[i] = (struct op_branch){(uint16_t)(first - at), (uint16_t)(compiler->count - first)};
        fits = true;
    }
    op->body = (uint16_t)(compiler->count - at - 1);
    return fits || refuse(compiler, name, "no branch of the writer's union can be read as ours", "");
}

static bool compile_value(struct compiler *compiler, const struct schema_node *writer,
                          const struct schema_node *reader, const struct bind_field *bind, const char *name)
{
    reader = value_of(reader);
    if (writer->type == SCHEMA_UNION)
        return compile_union(compiler, writer, reader, bind, name);
    return compile_plain(compiler, writer, reader, bind, name);
}

/* Our default as it lies in the struct. The blank is zeros before: null, false, 0 and the empty list. */
static bool fill_default(struct compiler *compiler, const struct schema_field *field,
                         const struct bind_field *bind, char *blank)
{
    const json_t *json = field->fallback;
    const struct schema_node *reader = value_of(field->type);
    char *target = blank + bind->offset;
    json_int_t number = json_integer_value(json);

    if (json_is_null(json) && bind->nullable)
        return true;
    switch (bind->type) {
    case BIND_TEXT:
        if (!json_is_string(json) || json_string_length(json) > bind->limit)
            break;
        *(struct text *)(void *)target = text_of(json_string_value(json));
        return true;
    case BIND_INT:
        if (!json_is_integer(json) || number < INT32_MIN || number > INT32_MAX)
            break;
        *(int32_t *)(void *)target = (int32_t)number;
        if (bind->nullable)
            *(bool *)(blank + bind->aside) = true;
        return true;
    case BIND_LONG:
        if (!json_is_integer(json))
            break;
        *(int64_t *)(void *)target = number;
        if (bind->nullable)
            *(bool *)(blank + bind->aside) = true;
        return true;
    case BIND_BOOLEAN:
        if (!json_is_boolean(json))
            break;
        *(bool *)target = json_is_true(json);
        return true;
    case BIND_ENUM:
        for (uint32_t i = 0; json_is_string(json) && i < reader->count; i++)
            if (strcmp(reader->symbols[i], json_string_value(json)) == 0) {
                *(uint32_t *)(void *)target = i;
                return true;
            }
        break;
    case BIND_LIST:
        if (!json_is_array(json) || json_array_size(json) > 0)
            break;
        return true;
    }
    return refuse(compiler, field->name, "our default is no value of its type", "");
}

static const struct bind_field *bind_find(const struct bind_record *bind, const char *name)
{
    for (uint32_t i = 0; i < bind->count; i++)
        if (strcmp(bind->fields[i].name, name) == 0)
            return &bind->fields[i];
    return NULL;
}

static const struct schema_field *field_find(const struct schema_node *record, const char *name)
{
    for (uint32_t i = 0; i < record->count; i++)
        if (strcmp(record->fields[i].name, name) == 0)
            return &record->fields[i];
    return NULL;
}

/* The writer's field for ours: by our name, else by the first of our aliases that it has. */
static const struct schema_field *counterpart(const struct schema_node *writer,
                                              const struct schema_field *ours)
{
    const struct schema_field *field = field_find(writer, ours->name);
    for (uint32_t i = 0; field == NULL && i < ours->alias_count; i++)
        field = field_find(writer, ours->aliases[i]);
    return field;
}

static bool compile_record(struct compiler *compiler, const struct schema_node *writer,
                           const struct schema_node *reader, const struct bind_record *bind, char *blank)
{
    if (writer->type != SCHEMA_RECORD) {
        ll_fail(compiler->err, LL_POISON, "a record of ours cannot be read from the writer's %s",
                schema_type_name(writer->type));
        return false;
    }
    const struct schema_field **ours_of = calloc(writer->count + 1, sizeof(struct schema_field *));
    if (ours_of == NULL)
        abort();

    bool fits = true;
    for (uint32_t i = 0; i < reader->count && fits; i++) {
        const struct schema_field *ours = &reader->fields[i], *theirs = counterpart(writer, ours);
        if (theirs != NULL)
            ours_of[theirs - writer->fields] = ours;
        else if (ours->fallback != NULL)
            fits = fill_default(compiler, ours, bind_find(bind, ours->name), blank);
        else
            fits = refuse(compiler, ours->name, "the writer lacks it and ours has no default", "");
    }
    for (uint32_t i = 0; i < writer->count && fits; i++) {
        const struct schema_field *theirs = &writer->fields[i], *ours = ours_of[i];
        if (ours != NULL) {
            fits = compile_value(compiler, theirs->type, ours->type, bind_find(bind, ours->name), ours->name);
        } else {
            struct op *op = emit(compiler, OP_SKIP, theirs->name);
            if (op != NULL)
                op->node = theirs->type;
            fits = op != NULL;
        }
    }
    free(ours_of);
    return fits;
}

/* Do both lay out their values alike? By their whole text: a fingerprint can be forged. */
static bool same_form(const struct schema *writer, const struct schema *reader)
{
    char *theirs = schema_canonical(writer), *ours = schema_canonical(reader);
    bool same = strcmp(theirs, ours) == 0;
    free(theirs);
    free(ours);
    return same;
}

enum ll_status program_compile(const struct schema *writer, const struct schema *reader,
                               const struct bind_record *bind, struct program **ret, struct ll_err *err)
{
    struct program *program = calloc(1, sizeof *program);
    struct op *ops = calloc(PROGRAM_OPS_MAX, sizeof *ops);
    if (program == NULL || ops == NULL)
        abort();
    struct compiler compiler = {.arena = &program->arena, .ops = ops, .err = err};
    char *blank = arena_take(&program->arena, bind->size);

    enum ll_status status = LL_POISON;
    if (compile_record(&compiler, schema_root(writer), schema_root(reader), bind, blank)) {
        struct op *kept = arena_take(&program->arena, compiler.count * sizeof *ops);
        memcpy(kept, ops, compiler.count * sizeof *ops);
        program->code = (struct program_code){
            .straight = same_form(writer, reader) ? straight_of(bind) : NULL,
            .ops = kept,
            .count = compiler.count,
            .blank = blank,
            .blank_size = bind->size,
        };
        *ret = program;
        program = NULL;
        status = LL_OK;
    }
    free(ops);
    program_free(program);
    return status;
}

void program_free(struct program *program)
{
    if (program == NULL)
        return;
    arena_done(&program->arena);
    free(program);
}

const struct program_code *program_code(const struct program *program)
{
    return &program->code;
}
