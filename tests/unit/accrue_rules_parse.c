/* Rule set documents: what is taken, what is refused, and in which words. */
#include "consumers/accrue/rules.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#define HEAD       "name = \"n\"; effective_from = \"always\";\n"
#define RULE(keys) HEAD "rules = ( { id = 1; name = \"r\"; group = \"g\"; " keys " } );"
#define BASE       "points = 1; per_minor = 1000; "

static const struct {
    const char *why, *document, *words;
} REFUSED[] = {
    { "not libconfig", HEAD "rules = ( {", "x.conf:2: syntax error" },
    { "nothing", "", "x.conf:1: the rule set has no name" },
    { "no rules", HEAD, "x.conf:1: the rule set has no rules" },
    { "no rule at all", HEAD "rules = ();", "x.conf:2: rules must be a list of 1 to 64" },
    { "rules as a group", HEAD "rules = { };", "x.conf:2: rules must be a list of 1 to 64" },
    { "a rule that is a number", HEAD "rules = ( 1 );", "a rule must be a group" },
    { "no effective_from", "name = \"n\"; rules = ( { id = 1; name = \"r\"; group = \"g\"; " BASE "} );",
      "no effective_from" },
    { "unknown key", HEAD "more = 1;", "x.conf:2: a rule set has no key \"more\"" },
    { "unknown key of a rule", RULE(BASE "rate = 1;"), "x.conf:2: a rule has no key \"rate\"" },
    { "the same key twice", RULE(BASE "points = 2;"), "duplicate setting name" },
    { "no id", HEAD "rules = ( { name = \"r\"; group = \"g\"; " BASE "} );", "the rule has no id" },
    { "no group", HEAD "rules = ( { id = 1; name = \"r\"; " BASE "} );", "the rule has no group" },
    { "id 0", HEAD "rules = ( { id = 0; name = \"r\"; group = \"g\"; " BASE "} );",
      "id must be from 1 to 2147483647" },
    { "the same id twice",
      HEAD "rules = (\n{ id = 1; name = \"r\"; group = \"g\"; " BASE
           "},\n{ id = 1; name = \"r\"; group = \"h\"; " BASE "} );",
      "x.conf:4: rule id 1 is taken already, in line 3" },
    { "gives nothing", RULE(""), "rule 1 gives nothing" },
    { "points without per_minor", RULE("points = 1;"), "points and per_minor go together" },
    { "per_minor without points", RULE("per_minor = 1;"), "points and per_minor go together" },
    { "threshold without bonus", RULE(BASE "threshold_minor = 1;"), "threshold_minor and bonus go together" },
    { "bonus without threshold", RULE(BASE "bonus = 1;"), "threshold_minor and bonus go together" },
    { "multiplier of nothing", RULE("threshold_minor = 1; bonus = 1; multiplier = 2;"),
      "a multiplier needs points" },
    { "a text for a number", RULE("points = \"1\"; per_minor = 1000;"), "points must be a whole number" },
    { "a float", RULE("points = 1.5; per_minor = 1000;"), "points must be a whole number" },
    { "a boolean", RULE("points = true; per_minor = 1000;"), "points must be a whole number" },
    { "hexadecimal", RULE("points = 0x10; per_minor = 1000;"), "points must be written in decimal" },
    { "negative points", RULE("points = -1; per_minor = 1000;"), "points must be from 0 to 1000000" },
    { "per nothing", RULE("points = 1; per_minor = 0;"), "per_minor must be from 1" },
    { "beyond 64 bits", RULE("points = 1; per_minor = 99999999999999999999999;"),
      "per_minor must be from 1" },
    { "a number that 32 bits would cut to 1", RULE("points = 4294967297; per_minor = 1000;"),
      "points must be from 0 to 1000000" },
    { "an open text", HEAD "x = \"\\", "syntax error" },
    { "an open comment", HEAD "/*", "the rule set has no rules" },
    { "a factor by nothing", RULE(BASE "multiplier = \"1/0\";"), "multiplier must be" },
    { "a factor with a blank", RULE(BASE "multiplier = \"1 /2\";"), "multiplier must be" },
    { "a negative factor", RULE(BASE "multiplier = \"-1/2\";"), "multiplier must be" },
    { "an empty factor", RULE(BASE "multiplier = \"\";"), "multiplier must be" },
    { "two fractions", RULE(BASE "multiplier = \"1/2/3\";"), "multiplier must be" },
    { "a long factor", RULE(BASE "multiplier = \"10000000000000000000000/1\";"), "multiplier must be" },
    { "a float factor", RULE(BASE "multiplier = 1.5;"), "multiplier must be a whole number" },
    { "cap 0", RULE(BASE "cap = 0;"), "cap must be from 1" },
    { "an empty filter", RULE(BASE "stores = [];"), "stores must be a list of 1 to 1000" },
    { "a filter that is a text", RULE(BASE "stores = \"S1\";"), "stores must be a list" },
    { "a filter of numbers", RULE(BASE "stores = [1, 2];"), "stores: item 1 must be a text" },
    { "a filter with nothing in it", RULE(BASE "stores = [\"\"];"), "stores: item 1 must be a text" },
    { "one thing twice in a filter", RULE(BASE "products = [\"a\", \"b\", \"a\"];"),
      "products names \"a\" twice" },
    { "no such weekday", RULE(BASE "weekdays = [\"monday\"];"), "weekdays: item 1 must be one of" },
    { "a weekday twice", RULE(BASE "weekdays = [\"mon\", \"mon\"];"), "weekdays: item 2 must be one of" },
    { "no weekday", RULE(BASE "weekdays = [];"), "weekdays must be a list" },
    { "no such date", RULE(BASE "from = \"2026-02-30\";"), "from must be a date" },
    { "a date with more", RULE(BASE "to = \"2026-02-03T00\";"), "to must be a date" },
    { "dates reversed", RULE(BASE "from = \"2026-02-02\"; to = \"2026-02-01\";"),
      "rule 1: from lies after to" },
    { "an empty name", HEAD "rules = ( { id = 1; name = \"\"; group = \"g\"; " BASE "} );",
      "name must have 1 to 200 bytes" },
    { "a line feed in a name", HEAD "rules = ( { id = 1; name = \"a\\nb\"; group = \"g\"; " BASE "} );",
      "control character" },
    { "another file", HEAD "  @include \"/etc/passwd\"\n", "x.conf:2: a rule set must stand alone" },
    { "a time without zone", "name = \"n\"; effective_from = \"2026-01-01T00:00:00\";",
      "effective_from must be" },
    { "hour 24", "name = \"n\"; effective_from = \"2026-01-01T24:00:00Z\";", "effective_from must be" },
    { "a number for a time", "name = \"n\"; effective_from = 1;", "effective_from must be" },
};

Test(accrue_rules_parse, refuses_with_file_and_line)
{
    for (size_t i = 0; i < sizeof REFUSED / sizeof *REFUSED; i++) {
        struct rule_set *set = NULL;
        struct ll_err err = { "" };
        enum ll_status status =
            rules_parse(REFUSED[i].document, strlen(REFUSED[i].document), "x.conf", &set, &err);
        cr_expect_eq(status, LL_POISON, "%s", REFUSED[i].why);
        cr_expect_null(set, "%s", REFUSED[i].why);
        cr_expect_not_null(strstr(err.text, REFUSED[i].words), "%s: \"%s\" does not hold \"%s\"",
                           REFUSED[i].why, err.text, REFUSED[i].words);
    }
}

Test(accrue_rules_parse, refuses_bytes_that_are_no_text)
{
    struct rule_set *set = NULL;
    struct ll_err err;
    cr_expect_eq(rules_parse("name\0= 1;", 9, "x", &set, &err), LL_POISON);
    size_t size = (256 << 10) + 1;
    char *large = malloc(size);
    memset(large, '#', size);
    cr_expect_eq(rules_parse(large, size, "x", &set, &err), LL_POISON);
    free(large);
}

Test(accrue_rules_parse, refuses_more_rules_than_fit)
{
    char document[65536];
    size_t used = (size_t)snprintf(document, sizeof document, "%srules = ( ", HEAD);
    for (int id = 1; id <= RULES_MAX + 1; id++)
        used +=
            (size_t)snprintf(document + used, sizeof document - used,
                             "%s{ id = %d; name = \"r\"; group = \"g\"; %s}", id == 1 ? "" : ", ", id, BASE);
    used += (size_t)snprintf(document + used, sizeof document - used, " );");
    struct rule_set *set = NULL;
    cr_expect_eq(rules_parse(document, used, "x", &set, NULL), LL_POISON);
}

Test(accrue_rules_parse, needs_no_terminator)
{
    char document[] = RULE(BASE) "garbage";
    struct rule_set *set = NULL;
    struct ll_err err = { "" };
    cr_assert_eq(rules_parse(document, sizeof document - 1 - 7, "x", &set, &err), LL_OK, "%s", err.text);
    cr_expect_eq(rules_effective_from_ms(set), RULES_ALWAYS);
    rules_free(set);
}

Test(accrue_rules_parse, long_numbers_need_no_suffix)
{
    static const char DOCUMENT[] =
        RULE("points = 1; per_minor = 5000000000; /* 9999999999 */ threshold_minor = 5000000001L; "
             "bonus = 7; products = [\"1234567890123\"]; # 12345678901");
    struct rule_set *set = NULL;
    struct ll_err err = { "" };
    cr_expect_eq(rules_parse(DOCUMENT, sizeof DOCUMENT - 1, "x", &set, &err), LL_POISON,
                 "the comment eats the end");
    static const char WHOLE[] =
        RULE("points = 1; per_minor = 5000000000; /* 9999999999 */ threshold_minor = 5000000001L; "
             "bonus = 7; products = [\"1234567890123\"]; # 12345678901\n");
    cr_assert_eq(rules_parse(WHOLE, sizeof WHOLE - 1, "x", &set, &err), LL_OK, "%s", err.text);
    struct rule_line line = { TEXT("1234567890123"), { 0 }, { 0 }, INT64_C(10000000000) };
    struct rule_sale sale = { .lines = &line, .line_count = 1 };
    struct rule_points points[RULES_MAX];
    size_t count;
    int64_t sum;
    cr_assert_eq(rules_evaluate(set, &sale, points, &count, &sum, NULL), LL_OK);
    cr_expect_eq(sum, 9);
    rules_free(set);
}

static struct rule_set *load(const char *path)
{
    char document[16384];
    FILE *file = fopen(path, "r");
    cr_assert_not_null(file, "%s", path);
    size_t size = fread(document, 1, sizeof document, file);
    fclose(file);
    struct rule_set *set = NULL;
    struct ll_err err = { "" };
    cr_assert_eq(rules_parse(document, size, path, &set, &err), LL_OK, "%s", err.text);
    return set;
}

Test(accrue_rules_parse, shipped_default_gives_a_point_for_every_ten)
{
    struct rule_set *set = load(LENS_SOURCE_DIR "/deploy/rules/default.conf");
    char words[1024];
    cr_expect_str_eq(rules_describe(set, words, sizeof words),
                     "Default, in force from always\n"
                     "rule 1 \"base\" (group base, priority 0): 1 point per 10.00\n");
    struct rule_line line = { TEXT("P"), { 0 }, { 0 }, 12345 };
    struct rule_sale sale = { .lines = &line, .line_count = 1 };
    struct rule_points points[RULES_MAX];
    size_t count;
    int64_t sum;
    cr_assert_eq(rules_evaluate(set, &sale, points, &count, &sum, NULL), LL_OK);
    cr_expect_eq(sum, 12);
    rules_free(set);
}

Test(accrue_rules_parse, shipped_example_says_everything_it_does)
{
    struct rule_set *set = load(LENS_SOURCE_DIR "/deploy/rules/example.conf");
    cr_expect_eq(rules_effective_from_ms(set), INT64_C(1767225600000));
    char words[2048];
    cr_expect_str_eq(
        rules_describe(set, words, sizeof words),
        "Example, in force from 2026-01-01T00:00:00.000Z\n"
        "rule 2 \"weekend\" (group base, priority 10): 1 point per 10.00 times 3/2; on sat, sun\n"
        "rule 1 \"base\" (group base, priority 0): 1 point per 10.00\n"
        "rule 3 \"big basket\" (group basket, priority 0): no points by amount, plus 50 from 100.00\n"
        "rule 4 \"fresh fortnight\" (group campaign, priority 1): 2 points per 10.00, at most 500; "
        "categories Fruit, "
        "Bakery; stores S001, S002; from 2026-02-01; to 2026-02-14\n"
        "rule 5 \"featured\" (group campaign, priority 0): 3 points per 5.00; products P0001, P0002; "
        "promotions PR001\n");
    rules_free(set);
}

Test(accrue_rules_parse, description_is_cut_at_its_size)
{
    struct rule_set *set = load(LENS_SOURCE_DIR "/deploy/rules/example.conf");
    char words[20];
    cr_expect_str_eq(rules_describe(set, words, sizeof words), "Example, in force f");
    rules_free(set);
}
