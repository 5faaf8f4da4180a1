/*
 * group_set.h - inside group.c: the transactions whose rows are still coming, by id and by age.
 * Shape:  a hash table of groups, which is also a list from the one that was touched longest ago; a set of
 * the ids (their hashes) of those that had to be closed before the end. Each row is one block of memory: its
 * bytes, texts and numbers.
 */
#pragma once

#include "producers/import/map.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct group_row {
    struct group_row *next;
    const char *file;
    int64_t line, ordinal;
    uint64_t codes;
    size_t size;
    struct text raw;
    const char *message;
    bool has_line_no;
    uint32_t place;           /* which of several heads it belongs to; group.c's */
    struct line item;         /* no line: a row of heads alone */
    struct transaction *head; /* NULL: a row of lines alone, or one whose head is the group's */
};

struct group {
    struct group *chain, *older, *newer;
    uint64_t hash;
    struct text id; /* behind the struct */
    bool paired;    /* heads and lines are rows of their own */
    struct group_row *first, *last;
    const struct group_row *head; /* the first good row with a head */
    int64_t event_time_ms;
    uint64_t codes; /* of all its rows */
    uint32_t row_count, head_count;
};

struct group_set {
    struct group **table;
    size_t table_size, count;
    struct group *oldest, *newest;
    int64_t row_count, bytes;
    uint64_t *closed; /* hashes; 0: empty place */
    size_t closed_size, closed_count;
};

struct group_new {
    const char *file;
    int64_t ordinal;
    const struct csv_row *row;
    const struct mapped *mapped;
    uint64_t codes;
    const char *message;
    bool has_head, has_item;
};

void group_set_init(struct group_set *set);
void group_set_done(struct group_set *set);
/* Finds the group, or makes an empty one. */
struct group *group_set_find(struct group_set *set, struct text id, bool paired, bool *ret_found);
bool group_set_was_closed(const struct group_set *set, const struct group *group);
/* Appends a copy of the row; the group is now the newest. */
void group_set_add(struct group_set *set, struct group *group, const struct group_new *in);
/* Takes the group out and frees it; early: more of its rows may come, remember it. */
void group_set_remove(struct group_set *set, struct group *group, bool early);
