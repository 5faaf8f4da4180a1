#include "ops/verify.h"

#include <stdio.h>

static void check_partition(struct check *check, int32_t partition, const struct verify_cut *cut)
{
    int64_t sum = cut->credited + cut->duplicate + cut->dead + cut->held + cut->control;
    check->compared += cut->read;
    if (cut->read != sum)
        verify_differs(check, "lens status",
                       "partition %d: read %lld, but credited %lld + duplicate %lld + dead %lld + held %lld "
                       "+ control %lld = %lld",
                       partition, (long long)cut->read, (long long)cut->credited, (long long)cut->duplicate,
                       (long long)cut->dead, (long long)cut->held, (long long)cut->control, (long long)sum);
    static const char *const names[] = { "credited", "dead", "held" };
    const int64_t counts[] = { cut->credited, cut->dead, cut->held };
    const int64_t rows[] = { cut->ledger_rows, cut->dead_rows, cut->held_rows };
    static const char *const tables[] = { "loyalty.postings", "loyalty.dead", "loyalty.held" };
    for (size_t i = 0; i < 3; i++)
        if (counts[i] != rows[i])
            verify_differs(check, "lens verify --json", "partition %d: counted %lld %s, %s has %lld rows",
                           partition, (long long)counts[i], names[i], tables[i], (long long)rows[i]);
}

static enum ll_status check_accounts(struct verify *verify, struct ll_err *err)
{
    struct check *check =
        verify_check(verify, "accounts", "each account is the sum of its ledger rows", "customers");
    struct postgres_rows *rows = NULL;
    enum ll_status status = verify_query(
        verify, "select count(*)::int8 as accounts from loyalty.accounts where run_id = $1::int", &rows, err);
    if (status != LL_OK)
        return status;
    check->compared = postgres_rows_int(rows, 0, "accounts");
    postgres_rows_free(rows);
    status = verify_query(verify,
                          "select *, partition as source_partition, count(*) over () as wrong"
                          " from loyalty.verify_accounts where run_id = $1::int"
                          " order by partition, customer_id limit 1",
                          &rows, err);
    if (status != LL_OK)
        return status;
    if (postgres_rows_count(rows) > 0) {
        struct text customer = postgres_rows_text(rows, 0, "customer_id");
        char next[200];
        snprintf(next, sizeof(next), "lens customer %s", verify_text(customer));
        bool no_account = postgres_rows_text(rows, 0, "account_points").data == NULL;
        bool no_rows = postgres_rows_text(rows, 0, "ledger_points").data == NULL;
        verify_differs(check, next,
                       "customer %s, partition %lld: ledger%s %lld points in %lld rows (net %lld), account%s "
                       "%lld in %lld (net %lld)",
                       verify_text(customer), (long long)postgres_rows_int(rows, 0, "source_partition"),
                       no_rows ? " has no row:" : "", (long long)postgres_rows_int(rows, 0, "ledger_points"),
                       (long long)postgres_rows_int(rows, 0, "ledger_postings"),
                       (long long)postgres_rows_int(rows, 0, "ledger_net_minor"),
                       no_account ? " is missing:" : "",
                       (long long)postgres_rows_int(rows, 0, "account_points"),
                       (long long)postgres_rows_int(rows, 0, "account_postings"),
                       (long long)postgres_rows_int(rows, 0, "account_net_minor"));
        check->different = postgres_rows_int(rows, 0, "wrong");
    }
    postgres_rows_free(rows);
    return LL_OK;
}

static enum ll_status check_identities(struct verify *verify, struct ll_err *err)
{
    struct check *check =
        verify_check(verify, "identities",
                     "each (source, type, transaction_id) is credited once, in one partition", "rows");
    struct postgres_rows *rows = NULL;
    enum ll_status status = verify_query(verify,
                                         "select *, count(*) over () as wrong from loyalty.verify_identities"
                                         " where run_id = $1::int order by transaction_id limit 1",
                                         &rows, err);
    if (status != LL_OK)
        return status;
    for (int32_t p = 0; p < verify->partitions; p++)
        check->compared += verify->cuts[p].ledger_rows;
    if (postgres_rows_count(rows) > 0) {
        struct text id = postgres_rows_text(rows, 0, "transaction_id");
        char next[200];
        snprintf(next, sizeof(next), "lens ledger %s", verify_text(id));
        int64_t first = postgres_rows_int(rows, 0, "first_partition"),
                last = postgres_rows_int(rows, 0, "last_partition");
        verify_differs(check, next, "%s (%s) has %lld rows, in partitions %lld%s%.0lld%s", verify_text(id),
                       verify_text(postgres_rows_text(rows, 0, "source")),
                       (long long)postgres_rows_int(rows, 0, "rows"), (long long)first,
                       first != last ? " to " : "", first != last ? (long long)last : 0,
                       first != last ? ": its producer does not key it as topics.conf says" : "");
        check->different = postgres_rows_int(rows, 0, "wrong");
    }
    postgres_rows_free(rows);
    return LL_OK;
}

enum ll_status verify_counts(struct verify *verify, struct ll_err *err)
{
    struct check *check = verify_check(
        verify, "counts", "read = credited + duplicate + dead + held + control, by partition", "records");
    for (int32_t p = 0; p < verify->partitions; p++)
        if (verify->cuts[p].known)
            check_partition(check, p, &verify->cuts[p]);
    lens_progress(verify->lens, "summing the ledger by customer");
    enum ll_status status = check_accounts(verify, err);
    if (status == LL_OK)
        status = check_identities(verify, err);
    lens_progress_end(verify->lens);
    return status;
}
