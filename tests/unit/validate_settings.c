/* deploy/validation.conf: what it may say, and what is said about it when it says something else. */
#include "consumers/validate/breaker.h"
#include "consumers/validate/settings.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static enum ll_status load(const char *document, struct settings *ret, struct ll_err *err)
{
    char path[] = "/tmp/validation-XXXXXX";
    int file = mkstemp(path);
    cr_assert(file >= 0 && write(file, document, strlen(document)) == (ssize_t)strlen(document));
    close(file);
    enum ll_status status = settings_load(path, ret, err);
    unlink(path);
    return status;
}

Test(validate_settings, the_shipped_file_is_good)
{
    struct settings settings;
    struct ll_err err = {""};
    cr_assert_eq(settings_load(LENS_SOURCE_DIR "/deploy/validation.conf", &settings, &err), LL_OK, "%s",
                 err.text);
    const struct settings_source *retail = settings_find(&settings, TEXT("online_retail"));
    cr_assert(retail != NULL && retail->reject_line && retail->lateness_ms == INT64_MAX);
    cr_assert_not(retail->required[REFERENCE_PRODUCT]);
    const struct settings_source *lines = settings_find(&settings, TEXT("header_lines"));
    cr_assert(lines != NULL && !lines->reject_line && lines->required[REFERENCE_CUSTOMER]);
    cr_assert(settings_find(&settings, TEXT("pos")) != NULL);
    cr_assert(settings_find(&settings, TEXT("generator")) != NULL);
    cr_assert_null(settings_find(&settings, TEXT("nobody")), "there is no default");
    cr_assert_null(settings_find(&settings, TEXT("po")));
    cr_assert_null(settings_find(&settings, TEXT("")));
    settings_done(&settings);
}

Test(validate_settings, each_kind_of_reference_and_a_default)
{
    struct settings settings;
    struct ll_err err = {""};
    cr_assert_eq(load("sources = ( { name = \"default\"; references = { store = \"ignored\"; };"
                      " lateness_ms = 4294967297; skew_ms = 7; allow_refused = true; } );"
                      "dead_letter_aliases = [ \"connect\", \"spring\" ];",
                      &settings, &err),
                 LL_OK, "%s", err.text);
    const struct settings_source *any = settings_find(&settings, TEXT("whoever"));
    cr_assert_not_null(any);
    cr_assert(!any->required[REFERENCE_STORE] && any->required[REFERENCE_PRODUCT]);
    cr_assert(any->lateness_ms == INT64_C(4294967297) && any->skew_ms == 7 && any->allow_refused &&
              !any->reject_line);
    cr_assert(settings.alias_connect && settings.alias_spring);
    cr_assert_null(settings_find(&settings, TEXT("")), "an empty source is missing, whatever the default");
    settings_done(&settings);
}

static const struct {
    const char *document, *words, *why;
} BAD[] = {
    {"sources = ( { name = \"a\" }", ":1: ", "syntax"},
    {"", "sources is missing", "nothing said"},
    {"sources = ();", ":1: sources must be a list", "nobody named"},
    {"sources = { name = \"a\"; };", ":1: sources must be a list", "a group is no list"},
    {"sources = ( { name = \"a\"; } );\nsource = 1;", ":2: source is no setting", "an unknown key"},
    {"sources = (\n{ name = \"a\";\n lateness = 1; } );", ":3: lateness is no setting of a source",
     "in a source"},
    {"sources = ( { skew_ms = 1; } );", "has no name", "no name"},
    {"sources = ( { name = \"\"; } );", "name must be", "an empty name"},
    {"sources = ( { name = \"a\"; }, { name = \"a\"; } );", "stands above already", "named twice"},
    {"sources = ( { name = \"a\"; references = \"maybe\"; } );", "references must be", "no such word"},
    {"sources = ( { name = \"a\"; references = { shop = \"ignored\"; }; } );", "shop is no reference",
     "no such kind"},
    {"sources = ( { name = \"a\"; lateness_ms = -1; } );", "lateness_ms must be", "negative"},
    {"sources = ( { name = \"a\"; lateness_ms = 1.5; } );", "lateness_ms must be", "no whole number"},
    {"sources = ( { name = \"a\"; skew_ms = \"unlimited\"; } );", "skew_ms must be", "a skew has a limit"},
    {"sources = ( { name = \"a\"; bad_line = \"drop\"; } );", "bad_line must be", "no such word"},
    {"sources = ( { name = \"a\"; allow_refused = 1; } );", "allow_refused must be true or false",
     "no boolean"},
    {"sources = ( 5 );", "must be a group", "a number is no source"},
    {"sources = ( { name = \"a\"; } ); dead_letter_aliases = [ \"kafka\" ];", "knows \"connect\"",
     "no such tool"},
};

Test(validate_settings, errors_name_file_line_and_what_is_meant)
{
    for (size_t i = 0; i < sizeof BAD / sizeof BAD[0]; i++) {
        struct settings settings;
        struct ll_err err = {""};
        cr_expect_eq(load(BAD[i].document, &settings, &err), LL_FATAL, "%s", BAD[i].why);
        cr_expect(strstr(err.text, BAD[i].words) != NULL && strncmp(err.text, "/tmp/validation-", 16) == 0,
                  "%s: %s", BAD[i].why, err.text);
    }
    struct settings settings;
    struct ll_err err = {""};
    cr_assert_eq(settings_load("/nowhere/validation.conf", &settings, &err), LL_FATAL);
    cr_assert(strstr(err.text, "/nowhere/validation.conf: cannot be read") != NULL, "%s", err.text);
}

Test(validate_breaker, opens_by_number_and_share)
{
    struct breaker breaker;
    breaker_init(&breaker, 1000, 50, 20);
    for (int i = 0; i < 49; i++)
        cr_assert_not(breaker_add(&breaker, true), "fewer than 50 never open it");
    for (int i = 0; i < 200; i++)
        cr_assert_not(breaker_add(&breaker, false));
    cr_assert_not(breaker_add(&breaker, true), "50 of 250 are 20 %%, not more");
    cr_assert(breaker_add(&breaker, true), "51 of 251");
    cr_assert(breaker.open);
    cr_assert_not(breaker_add(&breaker, true), "it is told once");
    breaker_done(&breaker);
}

Test(validate_breaker, closed_by_hand_it_stays_closed_until_the_trouble_is_over)
{
    struct breaker breaker;
    breaker_init(&breaker, 100, 10, 20);
    while (!breaker.open)
        breaker_add(&breaker, true);
    breaker_waive(&breaker);
    for (int i = 0; i < 500; i++)
        cr_assert_not(breaker_add(&breaker, true), "go on is meant for all of it");
    for (int i = 0; i < 100; i++)
        cr_assert_not(breaker_add(&breaker, false));
    bool opened = false;
    for (int i = 0; i < 100; i++)
        opened = breaker_add(&breaker, true) || opened;
    cr_assert(opened, "new trouble is new");
    breaker_done(&breaker);
}

Test(validate_breaker, forgets_what_lies_behind_the_window)
{
    struct breaker breaker;
    breaker_init(&breaker, 100, 10, 20);
    for (int round = 0; round < 50; round++)
        for (int i = 0; i < 100; i++)
            cr_assert_not(breaker_add(&breaker, i % 5 == 4), "20 of 100, for ever");
    cr_assert_eq(breaker.heard.refused, 20);
    cr_assert_eq(breaker.heard.seen, 100);
    breaker_done(&breaker);
}
