#include "consumers/accrue/rulebook.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

void rulebook_done(struct rulebook *book)
{
    for (int32_t i = 0; i < book->count; i++)
        rules_free(book->versions[i].rules);
    book->count = 0;
}

enum ll_status rulebook_add(struct rulebook *book, const char *document, struct ll_err *err)
{
    if (book->count == RULEBOOK_VERSIONS_MAX)
        return ll_fail(err, LL_FATAL, "rules: more than %d versions", RULEBOOK_VERSIONS_MAX);
    char name[32];
    snprintf(name, sizeof name, "rules version %d", book->count + 1);
    struct rule_set *rules;
    enum ll_status status = rules_parse(document, strlen(document), name, &rules, err);
    if (status != LL_OK)
        return status;
    book->versions[book->count].rules = rules;
    book->versions[book->count].effective_from_ms = rules_effective_from_ms(rules);
    book->count++;
    return LL_OK;
}

int32_t rulebook_in_force(const struct rulebook *book, int32_t announced, int64_t event_time_ms)
{
    assert(announced <= book->count);
    for (int32_t version = announced; version > 0; version--)
        if (book->versions[version - 1].effective_from_ms <= event_time_ms)
            return version;
    return 0;
}

const struct rule_set *rulebook_rules(const struct rulebook *book, int32_t version)
{
    assert(version >= 0 && version <= book->count);
    return version == 0 ? NULL : book->versions[version - 1].rules;
}
