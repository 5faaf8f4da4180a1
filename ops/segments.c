/*
 * segments.c - `lens segments`: who is in what, now or as of a day; one customer's changes; wait until segment has come up.
 */
#include "ops/verbs.h"

#include "ops/event_json.h"
#include "ops/options.h"
#include "ops/reach.h"
#include "ops/table.h"
#include "runtime/clock.h"
#include "state/segment_ranks.h"

#include <getopt.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

enum {
    RUN_SIZE = 16,
    DAY_SIZE = 16,
    WAIT_S = 600,
    WAIT_S_MAX = 7 * 24 * 3600,
    POLL_MS = 200,
    LIMIT = 50,
    LIMIT_MAX = 100000
};

struct asking {
    struct lens *lens;
    struct postgres *postgres;
    char run[RUN_SIZE];
    int64_t live_base, live_threshold_minor; /* by the ranks in Redis; live_base -1: there are none */
};

static int ask(struct asking *asking, const char *sql, const char *const *params, int count,
               struct postgres_rows **ret)
{
    struct ll_err err = { "" };
    return lens_end(asking->lens, postgres_query(asking->postgres, sql, params, count, ret, &err), &err);
}

/* ---- the list ---- */

static const char epoch_sql[] =
    "select o.as_of_day::text as as_of, o.is_closed::int as closed, t.version, t.day::text as day, "
    "t.customers, t.rated, t.base,"
    " t.k, t.threshold_minor, t.members, t.median_balance, t.categories, t.r_cuts::text as r_cuts, "
    "t.f_cuts::text as f_cuts,"
    " t.m_cuts::text as m_cuts, (t.threshold_minor is null)::int as nobody"
    "  from segments.owner o left join lateral (select * from segments.thresholds t where t.run_id = o.run_id"
    "       and ($2::date is null or t.day <= $2::date) order by t.version desc limit 1) as t on true where "
    "o.run_id = $1::int";
static const char members_sql[] =
    "with members as (select segment, count(*) as n from segments.members($1::int, $2::date) group by "
    "segment),"
    " moves as (select segment, count(*) filter (where kind = 'ENTERED') as entered, count(*) filter (where "
    "kind = 'EXITED') as exited"
    "             from segments.changes where run_id = $1::int and as_of_day = $2::date group by segment)"
    " select segment, coalesce(n, 0) as members, coalesce(entered, 0) as entered, coalesce(exited, 0) as "
    "exited"
    "   from members full join moves using (segment) order by segment";

static const char *text_at(const struct postgres_rows *rows, size_t row, const char *column, char *to,
                           size_t size)
{
    struct text text = postgres_rows_text(rows, row, column);
    snprintf(to, size, "%.*s", (int)text.size, text.data == NULL ? "" : text.data);
    return to;
}

static json_t *epoch_json(const struct postgres_rows *rows)
{
    char day[DAY_SIZE], r[64], f[64], m[128];
    if (postgres_rows_text(rows, 0, "version").data == NULL)
        return json_null();
    json_t *to = json_pack(
        "{s:I, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:s, s:s, s:s}", "version",
        (json_int_t)postgres_rows_int(rows, 0, "version"), "day", text_at(rows, 0, "day", day, sizeof day),
        "customers", (json_int_t)postgres_rows_int(rows, 0, "customers"), "rated",
        (json_int_t)postgres_rows_int(rows, 0, "rated"), "base",
        (json_int_t)postgres_rows_int(rows, 0, "base"), "k", (json_int_t)postgres_rows_int(rows, 0, "k"),
        "members", (json_int_t)postgres_rows_int(rows, 0, "members"), "median_balance",
        (json_int_t)postgres_rows_int(rows, 0, "median_balance"), "categories",
        (json_int_t)postgres_rows_int(rows, 0, "categories"), "r_cuts",
        text_at(rows, 0, "r_cuts", r, sizeof r), "f_cuts", text_at(rows, 0, "f_cuts", f, sizeof f), "m_cuts",
        text_at(rows, 0, "m_cuts", m, sizeof m));
    json_object_set_new(to, "threshold_minor",
                        postgres_rows_int(rows, 0, "nobody") != 0
                            ? json_null()
                            : json_integer(postgres_rows_int(rows, 0, "threshold_minor")));
    return to;
}

static int list_json(struct asking *asking, const char *day, const struct postgres_rows *epoch,
                     const struct postgres_rows *members)
{
    json_t *segments = json_object();
    char name[64];
    for (size_t at = 0; at < postgres_rows_count(members); at++)
        json_object_set_new(segments, text_at(members, at, "segment", name, sizeof name),
                            json_pack("{s:I, s:I, s:I}", "members",
                                      (json_int_t)postgres_rows_int(members, at, "members"), "entered",
                                      (json_int_t)postgres_rows_int(members, at, "entered"), "exited",
                                      (json_int_t)postgres_rows_int(members, at, "exited")));
    json_t *live = asking->live_base < 0
                       ? json_null()
                       : json_pack("{s:I, s:I}", "base", (json_int_t)asking->live_base, "threshold_minor",
                                   (json_int_t)asking->live_threshold_minor);
    return lens_print_json(asking->lens,
                           json_pack("{s:s, s:o, s:b, s:o, s:o}", "as_of", day, "live", live, "closed",
                                     postgres_rows_text(epoch, 0, "version").data != NULL &&
                                         strcmp(text_at(epoch, 0, "day", name, sizeof name), day) == 0,
                                     "thresholds", epoch_json(epoch), "segments", segments));
}

static void list_text(struct asking *asking, const char *day, const struct postgres_rows *epoch,
                      const struct postgres_rows *members)
{
    char of[DAY_SIZE], r[64], f[64], m[128];
    struct table *table = table_new("SEGMENT|>MEMBERS|>ENTERED|>LEFT");
    for (size_t at = 0; at < postgres_rows_count(members); at++) {
        table_text(table, postgres_rows_text(members, at, "segment"));
        table_number(table, postgres_rows_int(members, at, "members"));
        table_number(table, postgres_rows_int(members, at, "entered"));
        table_number(table, postgres_rows_int(members, at, "exited"));
    }
    printf("standing as of %s (entered and left: on that day)\n", day);
    table_print(table, 2, stdout);
    if (postgres_rows_text(epoch, 0, "version").data == NULL) {
        printf("\nno day has been closed yet: there are no thresholds and no scores\n");
        return;
    }
    printf("\nthresholds of %s, version %s\n", text_at(epoch, 0, "day", of, sizeof of),
           lens_number(postgres_rows_int(epoch, 0, "version")));
    if (postgres_rows_int(epoch, 0, "nobody") == 0)
        printf("  high spenders from %s: number %s of %s with positive spend in twelve months\n",
               lens_money(asking->lens, postgres_rows_int(epoch, 0, "threshold_minor")),
               lens_number(postgres_rows_int(epoch, 0, "k")),
               lens_number(postgres_rows_int(epoch, 0, "base")));
    printf("  fifths of %s customers: recency %s days, frequency %s, spend %s minor units\n",
           lens_number(postgres_rows_int(epoch, 0, "rated")), text_at(epoch, 0, "r_cuts", r, sizeof r),
           text_at(epoch, 0, "f_cuts", f, sizeof f), text_at(epoch, 0, "m_cuts", m, sizeof m));
    if (asking->live_base > 0)
        printf("now, by the ranks in Redis: %s, number %s of %s\n",
               lens_money(asking->lens, asking->live_threshold_minor),
               lens_number((asking->live_base * asking->lens->config.segment.high_spender_percent + 99) / 100),
               lens_number(asking->live_base));
}

/* What the threshold would be now; Redis is asked, and may be away. */
static void read_live(struct asking *asking)
{
    struct ll_err err = { "" };
    if (segment_ranks_read(&asking->lens->config, &asking->live_base, &asking->live_threshold_minor, &err) !=
        LL_OK)
        asking->live_base = -1;
}

static int list(struct asking *asking, const char *as_of)
{
    struct postgres_rows *epoch = NULL, *members = NULL;
    char day[DAY_SIZE];
    const char *params[] = { asking->run, as_of };
    int code = ask(asking, epoch_sql, params, 2, &epoch);
    if (code == LENS_DONE &&
        (postgres_rows_count(epoch) == 0 || postgres_rows_text(epoch, 0, "as_of").data == NULL))
        code = lens_fail(asking->lens,
                         "segment has seen no ledger row yet; `lens status` tells what it waits for");
    if (code == LENS_DONE) {
        text_at(epoch, 0, "as_of", day, sizeof day);
        params[1] = as_of == NULL ? day : as_of;
        code = ask(asking, members_sql, params, 2, &members);
    }
    if (code == LENS_DONE && as_of == NULL)
        read_live(asking);
    if (code == LENS_DONE && asking->lens->json)
        code = list_json(asking, params[1], epoch, members);
    else if (code == LENS_DONE)
        list_text(asking, params[1], epoch, members);
    if (epoch != NULL)
        postgres_rows_free(epoch);
    if (members != NULL)
        postgres_rows_free(members);
    return code;
}

/* ---- one customer's changes ---- */

static json_t *change_json(const struct postgres_rows *rows, size_t at)
{
    char id[40], segment[64], kind[16], reason[24], day[DAY_SIZE], rfm[32], tier[16];
    json_t *to = json_pack("{s:s, s:I, s:s, s:s, s:s, s:s, s:I}", "change_id",
                           text_at(rows, at, "change_id", id, sizeof id), "sequence",
                           (json_int_t)postgres_rows_int(rows, at, "sequence"), "segment",
                           text_at(rows, at, "segment", segment, sizeof segment), "kind",
                           text_at(rows, at, "kind", kind, sizeof kind), "reason",
                           text_at(rows, at, "reason", reason, sizeof reason), "as_of_day",
                           text_at(rows, at, "day", day, sizeof day), "threshold_version",
                           (json_int_t)postgres_rows_int(rows, at, "threshold_version"));
    json_object_set_new(to, "effective_at", event_json_time(postgres_rows_int(rows, at, "effective_ms")));
    json_object_set_new(to, "detected_at", event_json_time(postgres_rows_int(rows, at, "detected_ms")));
    json_object_set_new(to, "snapshot",
                        json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:s, s:I, s:s, s:I}", "recency_days",
                                  (json_int_t)postgres_rows_int(rows, at, "recency_days"), "frequency",
                                  (json_int_t)postgres_rows_int(rows, at, "frequency"), "monetary_minor",
                                  (json_int_t)postgres_rows_int(rows, at, "monetary_minor"), "r",
                                  (json_int_t)postgres_rows_int(rows, at, "r"), "f",
                                  (json_int_t)postgres_rows_int(rows, at, "f"), "m",
                                  (json_int_t)postgres_rows_int(rows, at, "m"), "rfm_segment",
                                  text_at(rows, at, "rfm_segment", rfm, sizeof rfm), "points_balance",
                                  (json_int_t)postgres_rows_int(rows, at, "points_balance"), "tier",
                                  text_at(rows, at, "tier", tier, sizeof tier), "clv_potential",
                                  (json_int_t)postgres_rows_int(rows, at, "clv_potential")));
    return to;
}

static void history_text(struct asking *asking, const struct postgres_rows *rows)
{
    struct table *table =
        table_new(">#|EFFECTIVE|SEGMENT|KIND|REASON|>THRESHOLDS|>R|>F|>M|>SPEND|>POINTS|>POTENTIAL");
    for (size_t at = 0; at < postgres_rows_count(rows); at++) {
        char when[32];
        table_number(table, postgres_rows_int(rows, at, "sequence"));
        table_cell(table, "%s", clock_format(postgres_rows_int(rows, at, "effective_ms"), when, sizeof when));
        table_text(table, postgres_rows_text(rows, at, "segment"));
        table_text(table, postgres_rows_text(rows, at, "kind"));
        table_text(table, postgres_rows_text(rows, at, "reason"));
        table_number(table, postgres_rows_int(rows, at, "threshold_version"));
        table_number(table, postgres_rows_int(rows, at, "r"));
        table_number(table, postgres_rows_int(rows, at, "f"));
        table_number(table, postgres_rows_int(rows, at, "m"));
        table_cell(table, "%s", lens_money(asking->lens, postgres_rows_int(rows, at, "monetary_minor")));
        table_number(table, postgres_rows_int(rows, at, "points_balance"));
        table_number(table, postgres_rows_int(rows, at, "clv_potential"));
    }
    table_print(table, 0, stdout);
}

static int history(struct asking *asking, const char *id, int64_t limit)
{
    static const char sql[] = "select * from (select change_id, sequence, segment, kind, reason, "
                              "as_of_day::text as day, threshold_version,"
                              " (extract(epoch from effective_at) * 1000)::int8 as effective_ms,"
                              " (extract(epoch from detected_at) * 1000)::int8 as detected_ms, recency_days, "
                              "frequency, monetary_minor, r, f, m,"
                              " rfm_segment, points_balance, tier, clv_potential from segments.changes where "
                              "run_id = $1::int and customer_id = $2"
                              " order by sequence desc limit $3::int8) as last order by sequence";
    struct postgres_rows *rows = NULL;
    char most[24];
    snprintf(most, sizeof most, "%lld", (long long)limit);
    const char *params[] = { asking->run, id, most };
    int code = ask(asking, sql, params, 3, &rows);
    if (code == LENS_DONE && postgres_rows_count(rows) == 0)
        code = lens_fail(asking->lens,
                         "segment knows no customer \"%s\"; `lens customer` shows what the ledger knows", id);
    else if (code == LENS_DONE && asking->lens->json) {
        json_t *all = json_array();
        for (size_t at = 0; at < postgres_rows_count(rows); at++)
            json_array_append_new(all, change_json(rows, at));
        code = lens_print_json(asking->lens, all);
    } else if (code == LENS_DONE) {
        history_text(asking, rows);
    }
    if (rows != NULL)
        postgres_rows_free(rows);
    return code;
}

/* ---- waiting ---- */

/* Rows of the ledger that are not in the standing; with the sales' own clock the last day must be closed, too. */
static const char behind_sql[] =
    "select (select count(*) from loyalty.postings p left join segments.partitions s"
    "          on s.run_id = p.run_id and s.partition = p.partition"
    "         where p.run_id = $1::int and (p.\"offset\", p.seq) > (coalesce(s.row_offset, -1), "
    "coalesce(s.row_seq, 0))) as behind,"
    " (select is_closed::int from segments.owner where run_id = $1::int) as closed,"
    " (select next_change - 1 from segments.owner where run_id = $1::int) as changes";

static int wait_until(struct asking *asking, int64_t timeout_s)
{
    struct clock_source clock = clock_real();
    int64_t begun_ms = clock.steady_ms(clock.self), behind = 0;
    bool by_event = strcmp(asking->lens->config.segment.clock, "event") == 0;
    for (;;) {
        struct postgres_rows *rows = NULL;
        const char *params[] = { asking->run };
        int code = ask(asking, behind_sql, params, 1, &rows);
        if (code != LENS_DONE)
            return code;
        behind = postgres_rows_int(rows, 0, "behind");
        bool is_closed = postgres_rows_int(rows, 0, "closed") != 0;
        int64_t changes = postgres_rows_int(rows, 0, "changes"),
                took_ms = clock.steady_ms(clock.self) - begun_ms;
        postgres_rows_free(rows);
        if (behind == 0 && (is_closed || !by_event)) {
            lens_progress_end(asking->lens);
            if (asking->lens->json)
                return lens_print_json(asking->lens,
                                       json_pack("{s:b, s:I, s:f}", "done", 1, "changes", (json_int_t)changes,
                                                 "waited_s", (double)took_ms / 1000));
            printf("every customer's standing is up to the ledger, %s changes (waited %.1f s)\n",
                   lens_number(changes), (double)took_ms / 1000);
            return LENS_DONE;
        }
        if (took_ms > timeout_s * 1000)
            break;
        lens_progress(asking->lens, "segment is %s rows behind%s", lens_number(behind),
                      behind == 0 ? ", the day is open" : "");
        poll(NULL, 0, POLL_MS);
    }
    lens_progress_end(asking->lens);
    return lens_fail(asking->lens, "segment is %s ledger rows behind%s after %lld s: see `lens status`",
                     lens_number(behind), behind == 0 ? ", and its day is not closed" : "",
                     (long long)timeout_s);
}

int verb_segments(struct lens *lens, int argc, char **argv)
{
    static const struct option options[] = { { "as-of", required_argument, NULL, 'a' },
                                             { "limit", required_argument, NULL, 'n' },
                                             { "timeout", required_argument, NULL, 't' },
                                             { NULL, 0, NULL, 0 } };
    struct asking asking = { .lens = lens, .live_base = -1 };
    int64_t limit = LIMIT, timeout_s = WAIT_S, as_of_ms;
    const char *as_of = NULL;
    for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        if (option == 'a' && strlen(optarg) == 10 && option_since(optarg, 0, &as_of_ms))
            as_of = optarg;
        else if (option == 'a')
            return lens_usage(lens, "--as-of is a day such as 2011-02-28, not \"%s\"", optarg);
        else if (option == 'n' && !option_int(optarg, 1, LIMIT_MAX, &limit))
            return lens_usage(lens, "--limit is a number from 1 to %d, not \"%s\"", LIMIT_MAX, optarg);
        else if (option == 't' && !option_int(optarg, 0, WAIT_S_MAX, &timeout_s))
            return lens_usage(lens, "--timeout is a number of seconds, not \"%s\"", optarg);
        else if (option == '?')
            return LENS_USAGE;
    }
    const char *what = optind < argc ? argv[optind] : "list";
    bool is_history = strcmp(what, "history") == 0, is_wait = strcmp(what, "wait") == 0,
         is_list = strcmp(what, "list") == 0;
    int wanted = is_history ? 2 : optind < argc ? 1 : 0;
    if ((!is_history && !is_wait && !is_list) || optind + wanted != argc)
        return lens_usage(lens, "takes nothing, or one of list, history ID, wait");
    snprintf(asking.run, sizeof asking.run, "%d", lens->config.program.run);
    int code = reach_postgres(lens, &asking.postgres);
    if (code == LENS_DONE)
        code = is_history ? history(&asking, argv[optind + 1], limit)
               : is_wait  ? wait_until(&asking, timeout_s)
                          : list(&asking, as_of);
    if (asking.postgres != NULL)
        postgres_close(asking.postgres);
    return code;
}
