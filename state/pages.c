#include "state/pages.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* Under a sanitizer all is malloc's, so that it sees who writes past an end. */
static bool is_mapped(size_t size)
{
#ifdef __SANITIZE_ADDRESS__
    (void)size;
    return false;
#else
    return size >= PAGES_MIN;
#endif
}

static void *take(size_t size)
{
    void *pages = is_mapped(size)
                      ? mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
                      : malloc(size);
    if (pages == NULL || pages == MAP_FAILED)
        abort();
    return pages;
}

static void give_back(void *pages, size_t size)
{
    if (!is_mapped(size))
        free(pages);
    else if (munmap(pages, size) != 0)
        abort();
}

void *pages_resize(void *pages, size_t from_size, size_t to_size)
{
    if (to_size == 0) {
        if (from_size > 0)
            give_back(pages, from_size);
        return NULL;
    }
    if (from_size == 0)
        return take(to_size);
    if (is_mapped(from_size) && is_mapped(to_size))
        pages = mremap(pages, from_size, to_size, MREMAP_MAYMOVE);
    else if (!is_mapped(from_size) && !is_mapped(to_size))
        pages = realloc(pages, to_size);
    else {
        void *moved = take(to_size);
        memcpy(moved, pages, from_size < to_size ? from_size : to_size);
        give_back(pages, from_size);
        return moved;
    }
    if (pages == NULL || pages == MAP_FAILED)
        abort();
    return pages;
}
