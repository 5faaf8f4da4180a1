/* Large arrays: what they hold stays through every way of growing and shrinking, and what is freed is gone from the process. */
#include "state/pages.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const size_t sizes[] = { 1,       100,           PAGES_MIN - 1, PAGES_MIN,     PAGES_MIN + 1,
                                1 << 20, PAGES_MIN,     8 << 20,       4096,          12345,
                                3 << 20, PAGES_MIN - 1, PAGES_MIN,     PAGES_MIN + 1, 10 };

static char byte_at(size_t i)
{
    return (char)(i * 31 + (i >> 8));
}

Test(pages, contents_stay_while_the_size_changes)
{
    char *pages = NULL;
    size_t size = 0;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        pages = pages_resize(pages, size, sizes[i]);
        size_t both = size < sizes[i] ? size : sizes[i];
        for (size_t k = 0; k < both; k++)
            cr_assert_eq(pages[k], byte_at(k), "%zu to %zu: byte %zu", size, sizes[i], k);
        size = sizes[i];
        for (size_t k = 0; k < size; k++)
            pages[k] = byte_at(k);
    }
    cr_assert_null(pages_resize(pages, size, 0));
    cr_assert_null(pages_resize(NULL, 0, 0));
}

#ifndef __SANITIZE_ADDRESS__
static long resident_kib(void)
{
    long all = 0, resident = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    cr_assert_not_null(file);
    cr_assert_eq(fscanf(file, "%ld %ld", &all, &resident), 2);
    fclose(file);
    return resident * (sysconf(_SC_PAGESIZE) / 1024);
}

Test(pages, what_is_freed_or_never_written_is_not_resident)
{
    enum { MIB = 1 << 20 };
    long before = resident_kib();
    char *pages = pages_resize(NULL, 0, 64 * MIB), *behind = pages_resize(NULL, 0, MIB);
    cr_assert_lt(resident_kib() - before, 1024);
    memset(pages, 1, 32 * MIB);
    memset(behind, 1, MIB);
    cr_assert_gt(resident_kib() - before, 32 * 1024);
    pages_resize(pages, 64 * MIB, 0);
    cr_assert_lt(resident_kib() - before, 4 * 1024);
    pages_resize(behind, MIB, 0);
}
#endif
