/*
 * bind.h - where each field of our schemas lies in the structs of event.h.
 * Shape:  one table per kind; the compiler, the encoder and the sizes all follow it, so that a field is named
 *         in two places only: its .avsc and its row here. codec_new compares the two.
 */
#pragma once

#include "runtime/err.h"
#include "schemas/event.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct schema;

enum bind_type {
    BIND_TEXT,    /* struct text; null is data == NULL */
    BIND_INT,     /* int32_t */
    BIND_LONG,    /* int64_t */
    BIND_BOOLEAN, /* bool */
    BIND_ENUM,    /* an enum whose numbers are the positions in symbols */
    BIND_LIST,    /* a pointer to items, and their count (uint32_t) at aside */
};

struct bind_field {
    const char *name; /* NULL: the item of a list that is no record */
    enum bind_type type;
    bool nullable;   /* numbers: a bool at aside says whether there is one */
    uint16_t offset; /* from the record's beginning */
    uint16_t aside;
    uint32_t limit;                  /* TEXT: bytes; LIST: items */
    const char *const *symbols;      /* ENUM; ends with NULL */
    const struct bind_record *items; /* LIST */
};

struct bind_record {
    uint32_t size; /* of the struct */
    uint32_t count;
    const struct bind_field *fields;
};

/* The table of a kind; NULL where event.h has no struct for it. Its offsets begin at event_payload. */
const struct bind_record *bind_of(enum event_kind kind);

/* All members of the event's union begin at one address. */
static inline void *event_payload(struct event *event)
{
    return &event->transaction;
}
static inline const void *event_payload_const(const struct event *event)
{
    return &event->transaction;
}

/* The name of a kind: of its .avsc, of its record, in ids.conf. */
const char *event_kind_name(enum event_kind kind);
/* EVENT_KINDS if there is no such name. */
enum event_kind event_kind_find(const char *name);

/* Is every field of the schema in the table, and of the type that the table says, and the other way round?
 * LL_FATAL: our own files do not fit together. */
enum ll_status bind_check(const struct schema *schema, const struct bind_record *bind, struct ll_err *err);
