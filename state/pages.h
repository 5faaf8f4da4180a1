/*
 * pages.h - large arrays beside malloc's heap: they grow where they are, and go back to the kernel at once.
 * Shape:  malloc's heap is tuned for what comes and goes all the time (runtime/process.c), so a table of megabytes that grows in it
 *         by copying leaves its old places behind. From PAGES_MIN on an array has pages of its own: capacity that was never
 *         written to costs nothing, growing moves no byte, a freed one is gone. Smaller ones are malloc's.
 */
#pragma once

#include <stddef.h>

enum { PAGES_MIN = 64 << 10 };

/* As realloc, with the size that it had told: from_size 0 makes one, to_size 0 frees it and returns NULL. What is added is not
 * cleared. Out of memory aborts. */
void *pages_resize(void *pages, size_t from_size, size_t to_size);
