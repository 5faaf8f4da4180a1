#include "ops/verbs.h"

#include "ops/segments_one.h"
#include "ops/table.h"
#include "schemas/codes.h"

#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

static const char *severity_name(const struct code_info *info)
{
    return info->severity == CODE_WARN ? "warn" : "reject";
}

static json_t *code_json(const struct code_info *info)
{
    return json_pack("{s:s, s:s, s:s, s:s, s:s}", "code", info->name, "severity", severity_name(info),
                     "scope", code_scope_name(info->scope), "meaning", info->meaning, "next", info->next);
}

static int explain_all(struct lens *lens)
{
    json_t *all = lens->json ? json_array() : NULL;
    struct table *table = lens->json ? NULL : table_new("CODE|SEVERITY|SCOPE|MEANING");
    for (int code = 1; code < CODE_COUNT; code++) {
        const struct code_info *info = code_info((enum code)code);
        if (lens->json) {
            json_array_append_new(all, code_json(info));
            continue;
        }
        table_cell(table, "%s", info->name);
        table_cell(table, "%s", severity_name(info));
        table_cell(table, "%s", code_scope_name(info->scope));
        table_cell(table, "%s", info->meaning);
    }
    if (lens->json)
        return lens_print_json(lens, all);
    table_print(table, 0, stdout);
    return LENS_DONE;
}

/* Letters in either case: codes are typed by hand. */
static const struct code_info *find_any_case(const char *name)
{
    for (int code = 1; code < CODE_COUNT; code++)
        if (strcasecmp(code_info((enum code)code)->name, name) == 0)
            return code_info((enum code)code);
    return NULL;
}

int verb_explain(struct lens *lens, int argc, char **argv)
{
    static const struct option options[] = {{NULL, 0, NULL, 0}};
    if (getopt_long(argc, argv, "", options, NULL) != -1)
        return lens_usage(lens, "there are no options of its own");
    if (optind == argc)
        return explain_all(lens);
    if (optind + 2 == argc && strcmp(argv[optind], "segment") == 0)
        return lens->config_err.text[0] != '\0' ? lens_usage(lens, "%s", lens->config_err.text)
                                                : segments_one_explain(lens, argv[optind + 1]);
    if (optind + 1 != argc)
        return lens_usage(lens, "one code at a time, or segment and a customer");
    const struct code_info *info = find_any_case(argv[optind]);
    if (info == NULL)
        return lens_usage(lens, "%s: there is no such code; `lens explain` lists all", argv[optind]);
    if (lens->json)
        return lens_print_json(lens, code_json(info));
    printf("%s (%s, %s)\n  what  %s\n  next  %s\n", info->name, severity_name(info),
           code_scope_name(info->scope), info->meaning, info->next);
    return LENS_DONE;
}
