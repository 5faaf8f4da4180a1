/* write.c - the program from our own schema to itself, run the other way: from a struct to the bytes of one record. */
#include "schemas/program.h"

#include <assert.h>
#include <string.h>

enum { VARINT_SIZE_MAX = 10 };

struct out {
    char *at, *end;
    bool full;
};

static inline size_t out_left(const struct out *out) { return (size_t)(out->end - out->at); }

static inline char *varint(char *to, uint64_t raw)
{
    for (; raw >= 0x80; raw >>= 7)
        *to++ = (char)(raw | 0x80);
    *to++ = (char)raw;
    return to;
}

/* Near the end a number goes through a buffer, so that what fits exactly fits. */
static void put_raw_slowly(struct out *out, uint64_t raw)
{
    char bytes[VARINT_SIZE_MAX];
    size_t size = (size_t)(varint(bytes, raw) - bytes);
    if (size > out_left(out)) {
        out->full = true;
        return;
    }
    memcpy(out->at, bytes, size);
    out->at += size;
}

static inline void put_long(struct out *out, int64_t value)
{
    uint64_t raw = ((uint64_t)value << 1) ^ (uint64_t)(value >> 63);
    if (out_left(out) >= VARINT_SIZE_MAX)
        out->at = varint(out->at, raw);
    else
        put_raw_slowly(out, raw);
}

/* memcpy for texts, which are short: no call, no loop, up to 32 bytes. */
static inline void copy_short(char *to, const char *from, size_t size)
{
    if (size > 32) {
        memcpy(to, from, size);
    } else if (size >= 16) {
        char head[16], tail[16];
        memcpy(head, from, 16);
        memcpy(tail, from + size - 16, 16);
        memcpy(to, head, 16);
        memcpy(to + size - 16, tail, 16);
    } else if (size >= 8) {
        uint64_t head, tail;
        memcpy(&head, from, 8);
        memcpy(&tail, from + size - 8, 8);
        memcpy(to, &head, 8);
        memcpy(to + size - 8, &tail, 8);
    } else if (size >= 4) {
        uint32_t head, tail;
        memcpy(&head, from, 4);
        memcpy(&tail, from + size - 4, 4);
        memcpy(to, &head, 4);
        memcpy(to + size - 4, &tail, 4);
    } else {
        for (size_t i = 0; i < size; i++)
            to[i] = from[i];
    }
}

/* A text that must not be null but is, is written as the empty one. */
static inline void put_text(struct out *out, struct text text)
{
    put_long(out, text.size);
    if (text.size > out_left(out)) {
        out->full = true;
        return;
    }
    copy_short(out->at, text.data, text.size);
    out->at += text.size;
}

/* The index of the branch in a union of null and something. */
static inline void put_presence(struct out *out, const struct op *op, bool present)
{
    put_long(out, present ? 1 - op->null_branch : op->null_branch);
}

static void put_fields(struct out *out, const struct op *op, uint32_t count, const char *base);

static void put_list(struct out *out, const struct op *op, const char *base)
{
    const char *item = *(const char *const *)(const void *)(base + op->offset);
    uint32_t count = *(const uint32_t *)(const void *)(base + op->aside);
    if (count > 0) {
        put_long(out, count);
        for (uint32_t i = 0; i < count && !out->full; i++, item += op->list->items->size)
            put_fields(out, op + 1, op->body, item);
    }
    put_long(out, 0);
}

static void put_fields(struct out *out, const struct op *op, uint32_t count, const char *base)
{
    const struct op *end = op + count;
    for (; op < end; op += 1 + op->body) {
        const void *field = base + op->offset;
        bool present;
        switch ((enum op_code)op->code) {
        case OP_TEXT:
            put_text(out, *(const struct text *)field);
            break;
        case OP_TEXT_NULLABLE:
            present = ((const struct text *)field)->data != NULL;
            put_presence(out, op, present);
            if (present)
                put_text(out, *(const struct text *)field);
            break;
        case OP_INT:
            put_long(out, *(const int32_t *)field);
            break;
        case OP_INT_NULLABLE:
            present = *(const bool *)(base + op->aside);
            put_presence(out, op, present);
            if (present)
                put_long(out, *(const int32_t *)field);
            break;
        case OP_LONG:
            put_long(out, *(const int64_t *)field);
            break;
        case OP_LONG_NULLABLE:
            present = *(const bool *)(base + op->aside);
            put_presence(out, op, present);
            if (present)
                put_long(out, *(const int64_t *)field);
            break;
        case OP_BOOLEAN:
            put_long(out, *(const bool *)field ? -1 : 0); /* zigzag: one byte, 1 or 0 */
            break;
        case OP_ENUM:
            assert(*(const uint32_t *)field < op->limit);
            put_long(out, *(const uint32_t *)field);
            break;
        case OP_LIST:
            put_list(out, op, base);
            break;
        case OP_INT_TO_LONG:
        case OP_UNION:
        case OP_PRESENT:
        case OP_ABSENT:
        case OP_ABSENT_TEXT:
        case OP_SKIP:
            assert(!"a program from a schema to itself has no such op");
        }
    }
}

size_t program_write(const struct program *program, const void *payload, char *to, size_t capacity)
{
    const struct program_code *code = program_code(program);
    struct out out = { to, to + capacity, false };
    put_fields(&out, code->ops, code->count, payload);
    return out.full ? 0 : (size_t)(out.at - to);
}

static size_t list_size_max(const struct bind_field *field, const char *base)
{
    const char *item = *(const char *const *)(const void *)(base + field->offset);
    uint32_t count = *(const uint32_t *)(const void *)(base + field->aside);
    size_t size = 2 * VARINT_SIZE_MAX;
    for (uint32_t i = 0; i < count; i++, item += field->items->size)
        size += record_size_max(field->items, item);
    return size;
}

size_t record_size_max(const struct bind_record *bind, const void *payload)
{
    const char *base = payload;
    size_t size = bind->count * (VARINT_SIZE_MAX + 1); /* any number, any text's size, with its branch before it */
    for (uint32_t i = 0; i < bind->count; i++) {
        const struct bind_field *field = &bind->fields[i];
        if (field->type == BIND_TEXT)
            size += ((const struct text *)(const void *)(base + field->offset))->size;
        else if (field->type == BIND_LIST)
            size += list_size_max(field, base);
    }
    return size;
}
