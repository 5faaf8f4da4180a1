#include "ops/verify.h"

#include <stdio.h>

/*
 * What lens-notify has taken in is known by where it stands in the ledger ($1: the run), and by the last change of each customer
 * that it has seen. Which letter answers to what is a matter of letters.conf, and of when it was changed: so a cause is missed
 * a letter between the first and the last one of its kind only.
 */
#define TAKEN                                                                                                \
    "with taken as materialized ("                                                                           \
    " select p.partition, p.\"offset\", p.seq, p.customer_id, p.points, sign(p.points) as direction,"        \
    " case p.type when 'S' then 'SALE' when 'R' then 'RETURN' else 'VOID' end || '|' || p.source || '|' ||"  \
    " p.transaction_id as transition"                                                                        \
    " from loyalty.postings p join mail.progress g on g.run_id = p.run_id and g.topic = 'ledger'"            \
    " and g.partition = p.partition and (p.\"offset\", p.seq) <= (g.row_offset, g.row_seq)"                  \
    " where p.run_id = $1::int and p.customer_id is not null and p.points <> 0)"

static const char balances_sql[] =
    TAKEN ", ledger as (select customer_id, sum(points)::int8 as points from taken group by customer_id)"
          " select customer_id as customer, 'customer ' || customer_id || ': letters name '"
          " || coalesce(a.balance::text, 'no balance') || ', the rows that lens-notify has taken in come to '"
          " || coalesce(l.points::text, 'none') as words, count(*) over () as wrong"
          " from (select customer_id, balance from mail.accounts where run_id = $1::int) a"
          " full join ledger l using (customer_id)"
          " where coalesce(a.balance, 0) <> coalesce(l.points, 0) order by customer_id limit 1";

static const char ids_sql[] =
    "select customer_id as customer, 'letter ' || letter_id || ' (' || letter || ', ' || transition || ') is '"
    " || mail.id(run_id, customer_id, letter, transition) || ' by its customer, letter and transition' as words,"
    " count(*) over () as wrong from mail.letters where run_id = $1::int"
    " and letter_id <> mail.id(run_id, customer_id, letter, transition) order by letter_id limit 1";

static const char causeless_sql[] =
    TAKEN " select l.customer_id as customer, 'letter ' || l.letter_id || ' (' || l.letter || ') is about '"
          " || l.transition || ', which never was' as words, count(*) over () as wrong"
          " from mail.letters l where l.run_id = $1::int and not case split_part(l.transition, '|', 1)"
          " when 'change' then exists (select from segments.changes c where c.run_id = l.run_id"
          " and c.change_id = split_part(l.transition, '|', 2) and c.customer_id = l.customer_id)"
          " when 'day' then exists (select from taken t where t.customer_id = l.customer_id)"
          " when 'old' then exists (select from taken t where t.customer_id = l.customer_id)"
          " else (l.customer_id, l.transition, l.points) in (select customer_id, transition, points from taken) end"
          " order by l.letter_id limit 1";

/* One pass each: a window tells the first and the last row of a kind that has a letter. */
static const char postings_sql[] =
    TAKEN ", answered as (select t.*, l.letter from taken t left join (select customer_id, transition, letter from mail.letters"
          " where run_id = $1::int) l using (customer_id, transition)),"
          " spans as (select *, min(array[\"offset\", seq]) filter (where letter is not null) over kind as first,"
          " max(array[\"offset\", seq]) filter (where letter is not null) over kind as last,"
          " max(letter) over kind as named from answered window kind as (partition by partition, direction))"
          " select customer_id as customer, 'customer ' || customer_id || ': ' || transition || ' (' || points"
          " || ' points, partition ' || partition || ', row ' || \"offset\" || '/' || seq || ') has no letter ' || named as words,"
          " count(*) over () as wrong from spans"
          " where letter is null and array[\"offset\", seq] between first and last"
          " order by partition, \"offset\", seq limit 1";

static const char changes_sql[] =
    "with seen as materialized (select customer_id, max(sequence) as sequence from mail.standing where run_id = $1::int"
    " group by customer_id), answered as (select c.change_no, c.customer_id, c.segment, c.kind, c.reason, c.sequence, l.letter"
    " from segments.changes c left join (select customer_id, split_part(transition, '|', 2) as change_id, letter"
    " from mail.letters where run_id = $1::int and transition like 'change|%') l using (customer_id, change_id)"
    " where c.run_id = $1::int),"
    " spans as (select a.*, min(change_no) filter (where letter is not null) over same as first,"
    " max(change_no) filter (where letter is not null) over same as last, max(letter) over same as named"
    " from answered a window same as (partition by segment, kind, reason))"
    " select p.customer_id as customer, 'customer ' || p.customer_id || ': ' || kind || ' ' || segment || ' (change '"
    " || change_no || ') has no letter ' || named as words, count(*) over () as wrong"
    " from spans p join seen s on s.customer_id = p.customer_id and p.sequence <= s.sequence"
    " where letter is null and change_no between first and last order by change_no limit 1";

/* Whole tables against whole tables, often before any statistics: row by row is never right (hours for 200,000 customers). */
static enum ll_status join_whole(struct verify *verify, bool whole, struct ll_err *err)
{
    return postgres_query(verify->postgres, whole ? "set enable_nestloop = off" : "reset enable_nestloop", NULL, 0, NULL, err);
}

static enum ll_status count_rows(struct verify *verify, struct check *letters, struct check *balances,
                                 bool *ret_has_run, struct ll_err *err)
{
    struct postgres_rows *rows = NULL;
    enum ll_status status = verify_query(
        verify,
        "select (select count(*) from mail.letters where run_id = $1::int)::int8 as letters,"
        " (select count(*) from mail.accounts where run_id = $1::int)::int8 as accounts,"
        " (select count(*) from mail.progress where run_id = $1::int and row_offset >= 0)::int8 as inputs",
        &rows, err);
    if (status != LL_OK)
        return status;
    letters->compared = postgres_rows_int(rows, 0, "letters");
    balances->compared = postgres_rows_int(rows, 0, "accounts");
    *ret_has_run = postgres_rows_int(rows, 0, "inputs") > 0;
    postgres_rows_free(rows);
    return LL_OK;
}

enum ll_status verify_letters(struct verify *verify, struct ll_err *err)
{
    struct check *letters = verify_check(
        verify, "letters",
        "each letter has its cause; between the first and the last letter of a kind each cause has one", "letters");
    struct check *balances = verify_check(
        verify, "letters: balances", "the balances that letters name are the ledger's", "customers");
    static const char *const sql[] = { ids_sql, causeless_sql, postings_sql, changes_sql };
    char run[16];
    bool has_run;
    enum ll_status status = count_rows(verify, letters, balances, &has_run, err);
    if (status != LL_OK)
        return status;
    if (!has_run) {
        verify_note(letters, "lens-notify has not taken in anything yet");
        return LL_OK;
    }
    snprintf(run, sizeof(run), "%d", verify->lens->config.program.run);
    const char *params[] = { run };
    lens_progress(verify->lens, "looking for the cause of each letter");
    status = join_whole(verify, true, err);
    for (size_t i = 0; status == LL_OK && i < sizeof(sql) / sizeof(sql[0]); i++)
        status = verify_rows(verify, letters, sql[i], params, 1, "lens customer ", err);
    if (status == LL_OK)
        status = verify_rows(verify, balances, balances_sql, params, 1, "lens customer ", err);
    if (status == LL_OK)
        status = join_whole(verify, false, err);
    lens_progress_end(verify->lens);
    return status;
}
