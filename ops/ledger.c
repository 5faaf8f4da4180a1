#include "ops/verbs.h"

#include "ops/ledger_rows.h"
#include "ops/options.h"
#include "ops/reach.h"

#include <getopt.h>
#include <stdio.h>

enum { ROWS_DEFAULT = 20, ROWS_MAX = 100000 };

/* An id is a customer's or a transaction's; both are asked for, since no form tells them apart. */
static enum ll_status find(struct lens *lens, struct postgres *postgres, const char *id, int64_t limit,
                           struct postgres_rows **ret, const char **ret_kind, struct ll_err *err)
{
    *ret_kind = "customer";
    enum ll_status status = ledger_rows_find(lens, postgres, LEDGER_BY_CUSTOMER, id, limit, ret, err);
    if (status != LL_OK || postgres_rows_count(*ret) > 0)
        return status;
    postgres_rows_free(*ret);
    *ret = NULL;
    *ret_kind = "transaction";
    return ledger_rows_find(lens, postgres, LEDGER_BY_TRANSACTION, id, limit, ret, err);
}

static int show(struct lens *lens, const char *id, int64_t limit)
{
    struct ll_err err = { "" };
    struct postgres *postgres = NULL;
    struct postgres_rows *rows = NULL;
    const char *kind = NULL;
    int code = reach_postgres(lens, &postgres);
    if (code != LENS_DONE)
        return code;
    code = lens_end(lens, find(lens, postgres, id, limit, &rows, &kind, &err), &err);
    if (code == LENS_DONE && postgres_rows_count(rows) == 0)
        code = lens_fail(lens,
                         "neither a customer nor a transaction \"%s\" has a ledger row; a refused one is in "
                         "`lens dlq list`",
                         id);
    else if (code == LENS_DONE && lens->json)
        code = lens_print_json(
            lens, json_pack("{s:s, s:s, s:o}", "kind", kind, "id", id, "rows", ledger_rows_json(rows)));
    else if (code == LENS_DONE)
        ledger_rows_print(lens, rows, true);
    postgres_rows_free(rows);
    postgres_close(postgres);
    return code;
}

int verb_ledger(struct lens *lens, int argc, char **argv)
{
    static const struct option options[] = { { "limit", required_argument, NULL, 'n' },
                                             { NULL, 0, NULL, 0 } };
    int64_t limit = ROWS_DEFAULT;
    for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        if (option != 'n')
            return LENS_USAGE;
        if (!option_int(optarg, 1, ROWS_MAX, &limit))
            return lens_usage(lens, "--limit is a number from 1 to %d, not \"%s\"", ROWS_MAX, optarg);
    }
    if (optind + 1 != argc)
        return lens_usage(lens, "takes one id, of a customer or a transaction");
    return show(lens, argv[optind], limit);
}
