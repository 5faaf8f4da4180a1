/*
 * map_values.h - inside map.c: the values of one row by field, and what they are put together to.
 */
#pragma once

#include "producers/import/csvfile.h"
#include "producers/import/map.h"

enum { CACHED_SIZE = 40, SOURCE_REF_SIZE = 300 };

/* The last text that was judged: the rows of a transaction share their time, their customer and their number,
 * and a regular expression costs as much as the rest of the row. */
struct cached {
    char text[CACHED_SIZE];
    uint32_t size; /* UINT32_MAX: nothing yet */
    enum code code;
    int64_t number;
};

struct value {
    bool present; /* neither empty nor bad */
    struct text text;
    int64_t number;
    struct text *items;
    uint32_t item_count;
};

struct mapper {
    const struct profile *profile;
    const struct profile_file *file;
    struct calendar *calendar;
    char name[256];
    char source_ref[SOURCE_REF_SIZE];
    int position[PROFILE_COLUMNS_MAX]; /* of the profile's columns in this file */
    enum field_id used[FIELD_ID_COUNT];
    int used_count;
    struct cached pattern[FIELD_ID_COUNT], parsed[FIELD_ID_COUNT];
    struct value values[FIELD_ID_COUNT];
    struct text lists[2][EVENT_LIST_MAX];
    char *decoded;
    size_t decoded_used;
};

/* Adds a code and the column that earned it. */
void map_note(const struct profile_file *file, struct mapped *ret, enum field_id id, enum code code,
              struct text value);
/* The values as what the file's kind is: a head, a line, a reference. */
void map_assemble(struct mapper *mapper, struct mapped *ret);
