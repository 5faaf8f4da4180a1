#include "schemas/arena.h"

#include <stdalign.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCK_SIZE = 4096 };

struct arena_block {
    struct arena_block *next;
    alignas(max_align_t) char data[];
};

void *arena_take(struct arena *arena, size_t size)
{
    size_t aligned = (size + alignof(max_align_t) - 1) / alignof(max_align_t) * alignof(max_align_t);
    if (aligned > arena->left) {
        size_t room = aligned > BLOCK_SIZE ? aligned : BLOCK_SIZE;
        struct arena_block *block = calloc(1, sizeof *block + room);
        if (block == NULL)
            abort();
        block->next = arena->blocks;
        arena->blocks = block;
        arena->at = block->data;
        arena->left = room;
    }
    void *piece = arena->at;
    arena->at += aligned;
    arena->left -= aligned;
    return piece;
}

char *arena_copy(struct arena *arena, const char *data, size_t size)
{
    char *copy = arena_take(arena, size + 1);
    memcpy(copy, data, size);
    return copy;
}

void arena_done(struct arena *arena)
{
    for (struct arena_block *block = arena->blocks; block != NULL;) {
        struct arena_block *next = block->next;
        free(block);
        block = next;
    }
    *arena = (struct arena){0};
}
