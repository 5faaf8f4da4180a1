/* read.c - runs a program over the bytes of one record. Pure: no state but the arguments, no allocation. */
#include "schemas/cursor.h"
#include "schemas/program.h"
#include "schemas/scratch.h"
#include "schemas/walk.h"

#include <stdio.h>
#include <string.h>

#define UNLIKELY(condition) __builtin_expect(condition, 0)
#define OUT_OF_LINE         __attribute__((noinline)) /* rare enough to keep out of the frame of run() */

struct reading {
    struct cursor in;
    struct codec_scratch *scratch;
    uint32_t values_left; /* of what is skipped: walk.h */
    char *field;          /* where the fault is told: char[FAULT_FIELD_SIZE] */
};

static enum code run(struct reading *reading, const struct op *op, uint32_t count, char *base);

/* Puts "list[3]" before the field in which an item was refused. */
static void tell_item(struct reading *reading, const struct op *op, uint32_t item)
{
    char inner[FAULT_FIELD_SIZE];
    memcpy(inner, reading->field, sizeof inner);
    bool named = strcmp(inner, op->name) != 0; /* the items of a plain list have no name of their own */
    snprintf(reading->field, FAULT_FIELD_SIZE, "%.40s[%u]%s%.40s", op->name, item, named ? "." : "",
             named ? inner : "");
}

/* Items lie one after the other in scratch, whatever blocks the writer cut the array into. */
static OUT_OF_LINE enum code run_list(struct reading *reading, const struct op *op, char *base)
{
    struct codec_scratch *scratch = reading->scratch;
    const struct op_list *list = op->list;
    char *items = scratch->room + scratch->used;
    uint32_t total = 0;
    enum code code;

    do {
        struct block block;
        code = cursor_block(&reading->in, op->limit - total, &block);
        if (code != CODE_NONE || block.count == 0)
            break;
        if (block.count * (size_t)list->items->size > SCRATCH_SIZE - scratch->used)
            return CODE_DECODE_LIMIT;
        for (; block.count > 0; block.count--, total++) {
            char *item = scratch->room + scratch->used;
            scratch->used += list->items->size;
            memcpy(item, list->blank, list->items->size);
            code = run(reading, op + 1, op->body, item);
            if (UNLIKELY(code != CODE_NONE)) {
                tell_item(reading, op, total);
                return code;
            }
        }
        code = cursor_block_ends(&reading->in, &block);
    } while (code == CODE_NONE);
    *(void **)(void *)(base + op->offset) = items;
    *(uint32_t *)(void *)(base + op->aside) = total;
    return code;
}

static OUT_OF_LINE enum code run_union(struct reading *reading, const struct op *op, char *base)
{
    uint32_t branch;
    enum code code = cursor_index(&reading->in, op->limit, &branch);
    if (code != CODE_NONE)
        return code;
    if (op->branches[branch].count == 0)
        return CODE_SCHEMA_INCOMPATIBLE;
    return run(reading, op + op->branches[branch].first, op->branches[branch].count, base);
}

static inline enum code read_enum(struct cursor *in, const struct op *op, uint32_t *ret)
{
    uint32_t index;
    enum code code = cursor_index(in, op->limit, &index);
    if (code != CODE_NONE)
        return code;
    if (op->symbols[index] < 0)
        return CODE_SCHEMA_INCOMPATIBLE;
    *ret = (uint32_t)op->symbols[index];
    return CODE_NONE;
}

/* Which of the two branches? A canonical index is one byte, 0 or 2. */
static inline enum code read_presence(struct cursor *in, const struct op *op, bool *ret)
{
    if (in->at == in->end)
        return CODE_DECODE_TRUNCATED;
    if (*in->at != 0 && *in->at != 2)
        return CODE_DECODE_VALUE;
    *ret = *in->at++ >> 1 != op->null_branch;
    return CODE_NONE;
}

static inline enum code read_text_nullable(struct cursor *in, const struct op *op, struct text *ret)
{
    bool present;
    enum code code = read_presence(in, op, &present);
    if (code != CODE_NONE)
        return code;
    if (present)
        return cursor_text(in, op->limit, ret);
    *ret = (struct text){0};
    return CODE_NONE;
}

static inline enum code read_long_nullable(struct cursor *in, const struct op *op, int64_t *ret,
                                           bool *ret_present)
{
    enum code code = read_presence(in, op, ret_present);
    if (code != CODE_NONE || !*ret_present)
        return code;
    return cursor_long(in, ret);
}

static inline enum code read_int_nullable(struct cursor *in, const struct op *op, int32_t *ret,
                                          bool *ret_present)
{
    enum code code = read_presence(in, op, ret_present);
    if (code != CODE_NONE || !*ret_present)
        return code;
    return cursor_int(in, ret);
}

static inline enum code read_int_as_long(struct cursor *in, int64_t *ret)
{
    int32_t value;
    enum code code = cursor_int(in, &value);
    if (code == CODE_NONE)
        *ret = value;
    return code;
}

/* The cursor is a local copy while ops run, so that it stays in registers. */
static enum code run(struct reading *reading, const struct op *op, uint32_t count, char *base)
{
    struct cursor in = reading->in;
    const struct op *end = op + count;
    enum code code = CODE_NONE;

    for (; op < end; op++) {
        void *target = base + op->offset;
        switch ((enum op_code)op->code) {
        case OP_TEXT:
            code = cursor_text(&in, op->limit, target);
            break;
        case OP_TEXT_NULLABLE:
            code = read_text_nullable(&in, op, target);
            break;
        case OP_INT:
            code = cursor_int(&in, target);
            break;
        case OP_INT_NULLABLE:
            code = read_int_nullable(&in, op, target, (bool *)(base + op->aside));
            break;
        case OP_INT_TO_LONG:
            code = read_int_as_long(&in, target);
            break;
        case OP_LONG:
            code = cursor_long(&in, target);
            break;
        case OP_LONG_NULLABLE:
            code = read_long_nullable(&in, op, target, (bool *)(base + op->aside));
            break;
        case OP_BOOLEAN:
            code = cursor_boolean(&in, target);
            break;
        case OP_ENUM:
            code = read_enum(&in, op, target);
            break;
        case OP_PRESENT:
            *(bool *)(base + op->aside) = true;
            break;
        case OP_ABSENT:
            *(bool *)(base + op->aside) = false;
            break;
        case OP_ABSENT_TEXT:
            *(struct text *)target = (struct text){0};
            break;
        case OP_LIST:
            reading->in = in;
            code = run_list(reading, op, base);
            in = reading->in;
            op += code == CODE_NONE ? op->body : 0;
            break;
        case OP_UNION:
            reading->in = in;
            code = run_union(reading, op, base);
            in = reading->in;
            op += code == CODE_NONE ? op->body : 0;
            break;
        case OP_SKIP:
            reading->in = in;
            code = walk_value(&reading->in, op->node, &reading->values_left);
            in = reading->in;
            break;
        }
        if (UNLIKELY(code != CODE_NONE)) {
            if (reading->field[0] == '\0')
                snprintf(reading->field, FAULT_FIELD_SIZE, "%.80s", op->name);
            break;
        }
    }
    reading->in = in;
    return code;
}

OUT_OF_LINE enum code program_run(const struct program *program, struct text bytes,
                                  struct codec_scratch *scratch, void *payload, struct fault *ret_fault)
{
    const struct program_code *code_of = program_code(program);
    const unsigned char *begin = (const unsigned char *)bytes.data;
    char field[FAULT_FIELD_SIZE];
    struct reading reading = {.in = {begin, begin + bytes.size},
                              .scratch = scratch,
                              .values_left = WALK_VALUES_MAX,
                              .field = field};

    field[0] = '\0';
    scratch->used = 0;
    memcpy(payload, code_of->blank, code_of->blank_size);
    enum code code = run(&reading, code_of->ops, code_of->count, payload);
    if (code == CODE_NONE && reading.in.at != reading.in.end)
        code = CODE_DECODE_TRAILING;
    if (UNLIKELY(code != CODE_NONE)) {
        ret_fault->position = (size_t)(reading.in.at - begin);
        memcpy(ret_fault->field, field, sizeof field);
    }
    return code;
}

enum code program_read(const struct program *program, struct text bytes, struct codec_scratch *scratch,
                       void *payload, struct fault *ret_fault)
{
    straight_fn *straight = program_code(program)->straight;
    if (straight != NULL && straight(bytes, scratch, payload))
        return CODE_NONE;
    return program_run(program, bytes, scratch, payload, ret_fault);
}
