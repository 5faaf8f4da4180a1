/* What a sale is worth under a rule set: one case a row, each with its reason. */
#include "consumers/accrue/rules.h"

#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdio.h>

enum { MONDAY = 0, SATURDAY = 5, DAY = 20458 /* 2026-01-05, a Monday */ };

struct sale_case {
    const char *why;
    const char *rules; /* of the document */
    struct rule_line lines[4];
    size_t line_count;
    const char *store;
    int32_t day;
    int weekday;
    const char *expected; /* "id:points ..." */
};

#define BASE                     "{ id = 1; name = \"base\"; group = \"base\"; points = 1; per_minor = 1000; }"
#define ANOTHER(id, group, keys) "{ id = " id "; name = \"r\"; group = \"" group "\"; " keys " }"
#define RULE(keys)               ANOTHER("1", "g", keys)
/* clang-format off */
#define T(literal) { literal, sizeof literal - 1 } /* TEXT is no constant */
#define LINE(product, category, amount) { T(product), T(category), { 0 }, amount }
#define PROMOTED(product, promotion, amount) { T(product), { 0 }, T(promotion), amount }
/* clang-format on */
#define ONE(amount) { LINE("P1", "A", amount) }, 1, "S1", DAY, MONDAY

static struct rule_set *compile(const char *rules)
{
    char document[4096];
    int size = snprintf(document, sizeof document,
                        "name = \"test\"; effective_from = \"always\"; rules = ( %s );", rules);
    struct rule_set *set = NULL;
    struct ll_err err = { "" };
    enum ll_status status = rules_parse(document, (size_t)size, "test", &set, &err);
    cr_assert_eq(status, LL_OK, "%s", err.text);
    return set;
}

/* clang-format off */
static const struct sale_case CASES[] = {
    { "1 point per 10.00", BASE, ONE(1000), "1:1" },
    { "rounds towards zero", BASE, ONE(1999), "1:1" },
    { "less than one point is none, and is left out", BASE, ONE(999), "" },
    { "nothing left after returns", BASE, ONE(0), "" },
    { "one rounding a transaction, not one a line",
      BASE, { LINE("P1", "A", 600), LINE("P2", "A", 600) }, 2, "S1", DAY, MONDAY, "1:1" },
    { "rational multiplier before the rounding", RULE("points = 1; per_minor = 1000; multiplier = \"3/2\";"),
      ONE(1400), "1:2" },
    { "7 points per 3.00 times 1/2", RULE("points = 7; per_minor = 300; multiplier = \"1/2\";"), ONE(1000),
      "1:11" },
    { "beyond 64 bits inside, small outside",
      RULE("points = 1000000; per_minor = 1000000000000; multiplier = \"1000000/999999\";"),
      ONE(INT64_C(9000000000000000)), "1:9000009000" },
    { "bonus from the threshold on",
      RULE("points = 1; per_minor = 1000; threshold_minor = 5000; bonus = 20;"), ONE(5000), "1:25" },
    { "no bonus below", RULE("points = 1; per_minor = 1000; threshold_minor = 5000; bonus = 20;"), ONE(4999),
      "1:4" },
    { "a bonus needs no rate", RULE("threshold_minor = 100; bonus = 20;"), ONE(100), "1:20" },
    { "the multiplier leaves the bonus alone",
      RULE("points = 1; per_minor = 1000; multiplier = 2; threshold_minor = 1; bonus = 5;"), ONE(1000),
      "1:7" },
    { "cap over rate", RULE("points = 1; per_minor = 1000; cap = 3;"), ONE(9000), "1:3" },
    { "cap over rate and bonus together",
      RULE("points = 1; per_minor = 1000; threshold_minor = 1; bonus = 10; cap = 12;"), ONE(9000), "1:12" },
    { "a cap saves from overflow", RULE("points = 1000000; per_minor = 1; cap = 7;"), ONE(INT64_MAX), "1:7" },
    { "only lines of the category count",
      ANOTHER("4", "g", "points = 1; per_minor = 100; categories = [\"B\", \"A\"];"),
      { LINE("P1", "A", 250), LINE("P2", "C", 500), LINE("P3", "B", 250) }, 3, "S1", DAY, MONDAY, "4:5" },
    { "a line without category passes no category filter",
      ANOTHER("4", "g", "points = 1; per_minor = 100; categories = [\"A\"];"),
      { { T("P1"), { 0 }, { 0 }, 900 } }, 1, "S1", DAY, MONDAY, "" },
    { "only those products",
      RULE("points = 1; per_minor = 100; products = [\"P1\", \"P10\"];"),
      { LINE("P1", "A", 100), LINE("P2", "A", 100), LINE("P10", "A", 100) }, 3, "S1", DAY, MONDAY, "1:2" },
    { "only under that promotion",
      RULE("points = 1; per_minor = 100; promotions = [\"M1\"];"),
      { PROMOTED("P1", "M1", 300), PROMOTED("P1", "M2", 300), LINE("P1", "A", 300) }, 3, "S1", DAY, MONDAY,
      "1:3" },
    { "all line filters must pass",
      RULE("points = 1; per_minor = 100; products = [\"P1\"]; categories = [\"B\"];"),
      { LINE("P1", "A", 300), LINE("P2", "B", 300), LINE("P1", "B", 400) }, 3, "S1", DAY, MONDAY, "1:4" },
    { "store", RULE("points = 1; per_minor = 100; stores = [\"S1\", \"S2\"];"), ONE(100), "1:1" },
    { "another store", RULE("points = 1; per_minor = 100; stores = [\"S3\"];"), ONE(100), "" },
    { "no store passes no store filter",
      RULE("points = 1; per_minor = 100; stores = [\"S3\"];"), { LINE("P1", "A", 100) }, 1, NULL, DAY,
      MONDAY, "" },
    { "weekday",
      RULE("points = 1; per_minor = 100; weekdays = [\"sat\", \"sun\"];"), { LINE("P1", "A", 100) }, 1,
      "S1", DAY + 5, SATURDAY, "1:1" },
    { "another weekday", RULE("points = 1; per_minor = 100; weekdays = [\"sat\", \"sun\"];"), ONE(100), "" },
    { "the first and the last day are in",
      RULE("points = 1; per_minor = 100; from = \"2026-01-05\"; to = \"2026-01-05\";"), ONE(100), "1:1" },
    { "the day before is not", RULE("points = 1; per_minor = 100; from = \"2026-01-06\";"), ONE(100), "" },
    { "the day after is not", RULE("points = 1; per_minor = 100; to = \"2026-01-04\";"), ONE(100), "" },
    { "in a group the highest priority wins",
      BASE ", " ANOTHER("2", "base", "priority = 1; points = 2; per_minor = 1000;"), ONE(1000), "2:2" },
    { "also when it gives less",
      BASE ", " ANOTHER("2", "base", "priority = 1; points = 1; per_minor = 5000;"), ONE(4000), "" },
    { "a rule that does not apply leaves its place to the next",
      BASE ", " ANOTHER("2", "base", "priority = 1; points = 2; per_minor = 1000; weekdays = [\"sat\"];"),
      ONE(1000), "1:1" },
    { "a rule without an eligible line does not apply",
      BASE ", " ANOTHER("2", "base", "priority = 1; points = 2; per_minor = 1000; categories = [\"Z\"];"),
      ONE(1000), "1:1" },
    { "tie: the lowest id",
      ANOTHER("9", "g", "points = 9; per_minor = 100;") ", "
      ANOTHER("3", "g", "points = 3; per_minor = 100;"),
      ONE(100), "3:3" },
    { "priorities below zero come last",
      ANOTHER("1", "g", "priority = -5; points = 9; per_minor = 100;") ", "
      ANOTHER("2", "g", "points = 3; per_minor = 100;"),
      ONE(100), "2:3" },
    { "groups add up, ascending by id whatever the groups' order",
      ANOTHER("5", "a", "points = 5; per_minor = 100;") ", "
      ANOTHER("2", "b", "points = 2; per_minor = 100;") ", "
      ANOTHER("3", "aa", "points = 3; per_minor = 100;"),
      ONE(100), "2:2 3:3 5:5" },
    { "each rule rounds by itself",
      ANOTHER("1", "a", "points = 1; per_minor = 1000;") ", "
      ANOTHER("2", "b", "points = 1; per_minor = 1000;"),
      ONE(1900), "1:1 2:1" },
};
/* clang-format on */

static struct rule_sale sale_of(const struct sale_case *c)
{
    return (struct rule_sale){ .lines = c->lines,
                               .line_count = c->line_count,
                               .store_id = text_of(c->store),
                               .day = c->day,
                               .weekday = c->weekday };
}

Test(accrue_rules, cases)
{
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        const struct sale_case *c = &CASES[i];
        struct rule_set *set = compile(c->rules);
        struct rule_sale sale = sale_of(c);
        struct rule_points points[RULES_MAX];
        size_t count = 0;
        int64_t sum = -1, expected_sum = 0;
        struct ll_err err = { "" };
        cr_assert_eq(rules_evaluate(set, &sale, points, &count, &sum, &err), LL_OK, "%s: %s", c->why,
                     err.text);
        char seen[256] = "";
        for (size_t at = 0, used = 0; at < count; at++) {
            used += (size_t)snprintf(seen + used, sizeof seen - used, "%s%" PRId32 ":%" PRId64,
                                     at == 0 ? "" : " ", points[at].rule_id, points[at].points);
            expected_sum += points[at].points;
        }
        cr_expect_str_eq(seen, c->expected, "%s: got \"%s\", expected \"%s\"", c->why, seen, c->expected);
        cr_expect_eq(sum, expected_sum, "%s: the sum is what the rules give", c->why);
        rules_free(set);
    }
}

Test(accrue_rules, more_points_than_a_transaction_may_have_are_refused)
{
    static const struct {
        const char *why, *rules;
        struct rule_line lines[2];
        size_t line_count;
    } OVERFLOWS[] = {
        { "one rule", RULE("points = 1; per_minor = 1;"), { LINE("P", "A", POINTS_MAX + 1) }, 1 },
        { "128 bits",
          RULE("points = 1000000; per_minor = 1; multiplier = 1000000;"),
          { LINE("P", "A", INT64_MAX) },
          1 },
        { "two groups",
          RULE("points = 1; per_minor = 1; }, { id = 2; name = \"x\"; group = \"h\"; points = 1; per_minor = "
               "1;"),
          { LINE("P", "A", POINTS_MAX / 2 + 1) },
          1 },
        { "the amounts", BASE, { LINE("P", "A", INT64_MAX), LINE("P", "A", 1) }, 2 },
    };
    for (size_t i = 0; i < sizeof OVERFLOWS / sizeof *OVERFLOWS; i++) {
        struct rule_set *set = compile(OVERFLOWS[i].rules);
        struct rule_sale sale = { .lines = OVERFLOWS[i].lines,
                                  .line_count = OVERFLOWS[i].line_count,
                                  .day = DAY };
        struct rule_points points[RULES_MAX];
        size_t count = 0;
        int64_t sum = 0;
        struct ll_err err = { "" };
        cr_expect_eq(rules_evaluate(set, &sale, points, &count, &sum, &err), LL_POISON, "%s",
                     OVERFLOWS[i].why);
        cr_expect(strlen(err.text) > 0);
        rules_free(set);
    }
}

Test(accrue_rules, exactly_the_limit_is_taken)
{
    struct rule_set *set = compile(RULE("points = 1; per_minor = 1;"));
    struct rule_line line = LINE("P", "A", POINTS_MAX);
    struct rule_sale sale = { .lines = &line, .line_count = 1, .day = DAY };
    struct rule_points points[RULES_MAX];
    size_t count;
    int64_t sum;
    cr_assert_eq(rules_evaluate(set, &sale, points, &count, &sum, NULL), LL_OK);
    cr_expect_eq(sum, POINTS_MAX);
    rules_free(set);
}
