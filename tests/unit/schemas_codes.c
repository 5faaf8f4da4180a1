#include "schemas/codes.h"

#include <criterion/criterion.h>

Test(codes, every_code_has_words_and_is_found_by_its_name)
{
    for (enum code code = CODE_NONE + 1; code < CODE_COUNT; code++) {
        const struct code_info *info = code_info(code);
        cr_assert_not_null(info);
        cr_assert_gt(strlen(info->meaning), 10u, "%s", info->name);
        cr_assert_gt(strlen(info->next), 5u, "%s", info->name);
        cr_assert_eq(code_find(text_of(info->name)), code);
        cr_assert_str_neq(code_scope_name(info->scope), "unknown");
    }
}

Test(codes, what_is_no_code_is_none)
{
    cr_assert_null(code_info(CODE_NONE));
    cr_assert_null(code_info(CODE_COUNT));
    cr_assert_eq(code_find(TEXT("DECODE_LIMITS")), CODE_NONE);
    cr_assert_eq(code_find(TEXT("DECODE")), CODE_NONE);
    cr_assert_eq(code_find((struct text){0}), CODE_NONE);
}

static const struct {
    const char *why;
    uint64_t set;
    size_t size;
    const char *want;
} NAMES[] = {
    {"no code, no name", 0, 64, ""},
    {"table order, whatever the order of finding",
     UINT64_C(1) << CODE_TIME_LATE | UINT64_C(1) << CODE_FRAME_SHORT, 64, "FRAME_SHORT,TIME_LATE"},
    {"exactly fits", UINT64_C(1) << CODE_FRAME_SHORT, 12, "FRAME_SHORT"},
    {"never half a name", UINT64_C(1) << CODE_FRAME_SHORT, 11, ""},
    {"cut between names", UINT64_C(1) << CODE_TIME_LATE | UINT64_C(1) << CODE_FRAME_SHORT, 20, "FRAME_SHORT"},
};

Test(codes, names_of_a_set)
{
    for (size_t i = 0; i < sizeof NAMES / sizeof NAMES[0]; i++) {
        char names[64];
        cr_assert_str_eq(code_names(NAMES[i].set, names, NAMES[i].size), NAMES[i].want, "%s: %s",
                         NAMES[i].why, names);
    }
}
