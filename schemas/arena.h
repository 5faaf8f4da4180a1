/*
 * arena.h - memory of one schema or one program: taken piece by piece, given back as a whole.
 * Shape:  an arena of zeros is empty and ready. Out of memory aborts.
 */
#pragma once

#include <stddef.h>

struct arena_block;

struct arena {
    struct arena_block *blocks;
    char *at;
    size_t left;
};

/* Zeroed and aligned for anything. */
void *arena_take(struct arena *arena, size_t size);
/* A NUL-terminated copy. */
char *arena_copy(struct arena *arena, const char *data, size_t size);
void arena_done(struct arena *arena);
