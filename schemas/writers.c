#include "schemas/writers.h"

#include <stdlib.h>

enum { SLOTS = 2 * WRITERS_MAX };

struct writers {
    struct writer *slots[SLOTS]; /* open addressing by id */
    uint32_t count;
};

/* The slot that holds id, or the empty one where it belongs. */
static struct writer **slot_of(struct writers *writers, int32_t id)
{
    uint32_t slot = ((uint32_t)id * UINT32_C(2654435769)) >> 16;
    for (;; slot++) {
        struct writer **at = &writers->slots[slot % SLOTS];
        if (*at == NULL || (*at)->id == id)
            return at;
    }
}

static void writer_free(struct writer *writer)
{
    for (int kind = 0; kind < EVENT_KINDS; kind++) {
        program_free(writer->programs[kind]);
        free(writer->refusals[kind]);
    }
    schema_free(writer->schema);
    free(writer->unusable);
    free(writer);
}

static void drop_fetched(struct writers *writers)
{
    struct writer *kept[WRITERS_MAX];
    uint32_t count = 0;
    for (uint32_t i = 0; i < SLOTS; i++) {
        struct writer *writer = writers->slots[i];
        writers->slots[i] = NULL;
        if (writer != NULL && !writer->fetched)
            kept[count++] = writer;
        else if (writer != NULL)
            writer_free(writer);
    }
    writers->count = count;
    for (uint32_t i = 0; i < count; i++)
        *slot_of(writers, kept[i]->id) = kept[i];
}

struct writers *writers_new(void)
{
    struct writers *writers = calloc(1, sizeof *writers);
    if (writers == NULL)
        abort();
    return writers;
}

void writers_free(struct writers *writers)
{
    if (writers == NULL)
        return;
    for (uint32_t i = 0; i < SLOTS; i++)
        if (writers->slots[i] != NULL)
            writer_free(writers->slots[i]);
    free(writers);
}

struct writer *writers_find(struct writers *writers, int32_t id)
{
    return *slot_of(writers, id);
}

struct writer *writers_put(struct writers *writers, int32_t id, enum event_kind kind, bool fetched)
{
    if (writers->count == WRITERS_MAX)
        drop_fetched(writers);
    struct writer **slot = slot_of(writers, id), *writer = calloc(1, sizeof *writer);
    if (writer == NULL || writers->count == WRITERS_MAX)
        abort();
    if (*slot != NULL)
        writer_free(*slot);
    else
        writers->count++;
    writer->id = id;
    writer->kind = kind;
    writer->fetched = fetched;
    *slot = writer;
    return writer;
}
