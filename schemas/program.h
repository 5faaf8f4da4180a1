/*
 * program.h - how the bytes of one writer's schema become one kind of event: resolved once, run per record.
 * Shape:  a program is a flat list of ops, one per field of the writer in the writer's order. An op that has
 *         parts (a list's item, a union's branches) is followed by them; body says how many ops to step over.
 *         What the writer does not have, its reader's defaults, needs no op: it lies in the blank that every
 *         record begins as.
 * Errors: program_compile: LL_POISON, the writer's schema cannot be resolved to ours. program_read: a decode
 *         code, or SCHEMA_INCOMPATIBLE for a value (an enum's symbol, a union's branch) that ours has no
 *         place for.
 * Source: Avro 1.11 specification, "Schema Resolution". Two things are ours: names of records are not
 *         compared (the topic says what a value is, and producers name it as their company does), and two
 *         different logical types never resolve (micros read as millis would be a thousand times too late).
 */
#pragma once

#include "runtime/err.h"
#include "runtime/text.h"
#include "schemas/bind.h"
#include "schemas/codes.h"
#include "schemas/schema.h"
#include "schemas/straight.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { PROGRAM_OPS_MAX = 2000, FAULT_FIELD_SIZE = 96 };

enum op_code {
    OP_TEXT,
    OP_TEXT_NULLABLE, /* *_NULLABLE: the writer's union of null and the very same type, in either order */
    OP_INT,
    OP_INT_NULLABLE,
    OP_INT_TO_LONG,
    OP_LONG,
    OP_LONG_NULLABLE,
    OP_BOOLEAN,
    OP_ENUM,
    OP_LIST,
    OP_UNION,       /* any other union: the branch's ops are run */
    OP_PRESENT,     /* no bytes: a nullable number is there */
    OP_ABSENT,      /* no bytes: a nullable number is not there */
    OP_ABSENT_TEXT, /* no bytes: a null text */
    OP_SKIP,        /* bytes that we do not read, checked all the same */
};

struct op_list {
    const struct bind_record *items;
    const void *blank; /* what an item begins as */
};

struct op_branch {
    uint16_t first, count; /* ops, counted from the union's own; count 0: ours has no place for it */
};

struct op {
    uint8_t code;
    uint8_t null_branch;    /* *_NULLABLE: 0 or 1 */
    uint16_t offset, aside; /* as in struct bind_field */
    uint16_t body;
    uint32_t limit;   /* TEXT: bytes; LIST: items; ENUM, UNION: the writer's symbols or branches */
    const char *name; /* of the field, for messages */
    union {
        const int32_t *symbols; /* ENUM: the writer's index to ours; -1: no such symbol */
        const struct op_branch *branches;
        const struct op_list *list;
        const struct schema_node *node; /* SKIP */
    };
};

struct program;
struct codec_scratch;

/* Where reading stopped, and in which field. */
struct fault {
    size_t position;
    char field[FAULT_FIELD_SIZE];
};

/* writer and reader are borrowed for the program's life. */
enum ll_status program_compile(const struct schema *writer, const struct schema *reader,
                               const struct bind_record *bind, struct program **ret, struct ll_err *err);
void program_free(struct program *program);

/* Reads exactly one record into the struct at payload; its lists lie in scratch. *ret_fault is written on
 * failure. */
enum code program_read(const struct program *program, struct text bytes, struct codec_scratch *scratch,
                       void *payload, struct fault *ret_fault);
/* The same by the ops alone: what the straight way must agree with. */
enum code program_run(const struct program *program, struct text bytes, struct codec_scratch *scratch,
                      void *payload, struct fault *ret_fault);

/* For read.c. */
struct program_code {
    straight_fn *straight; /* tried first; NULL: the writer's schema is not ours, or the kind is rare */
    const struct op *ops;
    uint32_t count;
    const void *blank;
    uint32_t blank_size;
};
const struct program_code *program_code(const struct program *program);
