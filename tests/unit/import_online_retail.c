/* The whole of UCI's file through its profile. */
#include "import_kit.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

/* The real file's figures are those that an independent program found (README of the shared data). */
Test(import_online_retail, the_file_gives_the_published_figures)
{
    const char *data = getenv("LENS_SHARED_DATA") != NULL ? getenv("LENS_SHARED_DATA") : getenv("LENS_DATA");
    char path[512], command[1024];
    struct kit kit;
    snprintf(path, sizeof path, "%s/online_retail/online_retail_2010-12_2011-02.csv.gz", data != NULL ? data : LENS_SOURCE_DIR "/../shared/data");
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        fprintf(stderr, "skipped: %s is not there\n", path); /* CTest looks for the word */
        cr_skip("%s is not there", path);
    }
    fclose(file);
    kit_init(&kit);
    snprintf(command, sizeof command, "gzip -dc '%s' > %s/f.csv", path, kit.folder);
    cr_assert_eq(system(command), 0);
    cr_expect_eq(kit_import(&kit, "online_retail", NULL, 1000), LL_OK, "%s", kit.err.text);
    cr_expect_eq(kit.counts.lines_read, 105335);
    cr_expect_eq(kit.counts.lines_good, 104795);
    cr_expect_eq(kit.counts.lines_bad, 540);
    cr_expect_eq(kit.counts.bad_by_code[CODE_PRICE_NOT_POSITIVE], 540);
    cr_expect_eq(kit.counts.bad_by_code[CODE_SIGN_MISMATCH], 214);
    cr_expect_eq(kit.counts.events[TOPIC_TRANSACTIONS], 4550);
    cr_expect_eq(kit.counts.sales, 3745);
    cr_expect_eq(kit.counts.returns, 805);
    cr_expect_eq(kit.counts.net_minor, 180701993);
    kit_done(&kit);
}
