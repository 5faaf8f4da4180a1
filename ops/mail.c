/*
 * mail.c - `lens mail`: letters that went, wait, or were held back, and why; and what an operator may ask lens-notify to do.
 * Shape:  everything is read from mail.*; retry and unsubscribe are commands on the topic `commands`, which lens-notify obeys: this
 *         waits until it has.
 */
#include "ops/mail_show.h"
#include "ops/options.h"
#include "ops/reach.h"
#include "ops/table.h"
#include "ops/verbs.h"

#include "consumers/notify/token.h"
#include "runtime/clock.h"

#include <getopt.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

enum {
    ROWS_DEFAULT = 20,
    ROWS_MAX = 1000000,
    FLUSH_MS = 10000,
    OBEY_MS = 20000,
    OBEY_POLL_MS = 100,
    VALUE_SIZE = 1024,
    IDS_MAX = 1000
};

struct chosen {
    const char *state, *reason, *customer, *letter;
    int64_t limit;
    bool raw;
};

struct mail {
    struct lens *lens;
    struct postgres *postgres;
    struct chosen chosen;
    char run[16];
};

#define LETTER_COLUMNS                                                                                       \
    "select letter_id, customer_id, letter, class, list, transition, state, coalesce(reason, '') as "        \
    "reason, attempts,"                                                                                      \
    " subject, address, reply, mail.ms(noted_at) as noted_ms, mail.ms(due_at) as due_ms, mail.ms(sent_at) "  \
    "as sent_ms,"                                                                                            \
    " convert_from(message, 'UTF8') as message from mail.letters where run_id = $1::int"

static const char list_sql[] =
    LETTER_COLUMNS " and ($2::text is null or state = $2) and ($3::text is null or reason = $3)"
                   " and ($4::text is null or customer_id = $4) and ($5::text is null or letter = $5)"
                   " order by noted_at desc, letter_id limit $6::int8";
static const char find_sql[] = LETTER_COLUMNS " and letter_id like $2 || '%' order by letter_id limit 2";
static const char counts_sql[] =
    "select letter, state, coalesce(reason, '') as reason, letters from mail.counts where run_id = $1::int"
    " order by state, reason, letter";
static const char why_sql[] = "select letter_id, mail.ms(at) as at_ms, verdict, reason, detail from mail.why"
                              " where run_id = $1::int and letter_id = $2 order by number, at";

static enum ll_status query(struct mail *mail, const char *sql, const char *const *params, int count,
                            struct postgres_rows **ret, struct ll_err *err)
{
    return postgres_query(mail->postgres, sql, params, count, ret, err);
}

/* ---- list ---- */

static json_t *counts_json(const struct postgres_rows *counts)
{
    json_t *all = json_array();
    for (size_t at = 0; at < postgres_rows_count(counts); at++)
        json_array_append_new(all, json_pack("{s:o, s:o, s:o, s:I}", "letter",
                                             inert_json(postgres_rows_text(counts, at, "letter")), "state",
                                             inert_json(postgres_rows_text(counts, at, "state")), "reason",
                                             inert_json(postgres_rows_text(counts, at, "reason")), "count",
                                             (json_int_t)postgres_rows_int(counts, at, "letters")));
    return all;
}

static void print_list(const struct postgres_rows *rows, const struct postgres_rows *counts)
{
    struct table *table = table_new("ID|NOTED|CUSTOMER|LETTER|STATE|REASON|SUBJECT");
    char when[32];
    for (size_t at = 0; at < postgres_rows_count(rows); at++) {
        struct text id = postgres_rows_text(rows, at, "letter_id");
        table_cell(table, "%.12s", id.data);
        table_cell(table, "%.19s", clock_format(postgres_rows_int(rows, at, "noted_ms"), when, sizeof when));
        table_text(table, postgres_rows_text(rows, at, "customer_id"));
        table_text(table, postgres_rows_text(rows, at, "letter"));
        table_text(table, postgres_rows_text(rows, at, "state"));
        table_text(table, postgres_rows_text(rows, at, "reason"));
        table_text(table, postgres_rows_text(rows, at, "subject"));
    }
    table_print(table, 0, stdout);
    table = table_new("STATE|REASON|LETTER|>LETTERS");
    for (size_t at = 0; at < postgres_rows_count(counts); at++) {
        table_text(table, postgres_rows_text(counts, at, "state"));
        table_text(table, postgres_rows_text(counts, at, "reason"));
        table_text(table, postgres_rows_text(counts, at, "letter"));
        table_number(table, postgres_rows_int(counts, at, "letters"));
    }
    fputs("\nall of them:\n", stdout);
    table_print(table, 2, stdout);
}

static int list(struct mail *mail, int argc, char **argv)
{
    struct ll_err err = { "" };
    struct postgres_rows *rows = NULL, *counts = NULL;
    char limit[24];
    (void)argv;
    if (argc != 0)
        return lens_usage(mail->lens, "list takes options alone");
    snprintf(limit, sizeof limit, "%lld", (long long)mail->chosen.limit);
    const char *params[] = { mail->run,           mail->chosen.state,
                             mail->chosen.reason, mail->chosen.customer,
                             mail->chosen.letter, limit };
    enum ll_status status = query(mail, list_sql, params, 6, &rows, &err);
    if (status == LL_OK)
        status = query(mail, counts_sql, params, 1, &counts, &err);
    int code = lens_end(mail->lens, status, &err);
    if (code == LENS_DONE && mail->lens->json) {
        json_t *all = json_array();
        for (size_t at = 0; at < postgres_rows_count(rows); at++)
            json_array_append_new(all, mail_letter_json(rows, at, false));
        code = lens_print_json(mail->lens,
                               json_pack("{s:o, s:o}", "letters", all, "counts", counts_json(counts)));
    } else if (code == LENS_DONE) {
        print_list(rows, counts);
    }
    postgres_rows_free(rows);
    postgres_rows_free(counts);
    return code;
}

/* ---- one letter ---- */

static bool is_hex(const char *text)
{
    size_t size = strlen(text);
    return size >= 6 && size <= 32 && strspn(text, "0123456789abcdef") == size;
}

/* By its id, or by the beginning of it. */
static int find(struct mail *mail, const char *id, struct postgres_rows **ret)
{
    struct ll_err err = { "" };
    const char *params[] = { mail->run, id };
    if (!is_hex(id))
        return lens_usage(mail->lens,
                          "\"%s\" is no letter's id: 6 to 32 hex digits, as `lens mail list` shows them", id);
    int code = lens_end(mail->lens, query(mail, find_sql, params, 2, ret, &err), &err);
    if (code != LENS_DONE || postgres_rows_count(*ret) == 1)
        return code;
    bool is_many = postgres_rows_count(*ret) > 1;
    postgres_rows_free(*ret);
    *ret = NULL;
    return lens_fail(mail->lens,
                     is_many ? "more than one letter's id begins with \"%s\": give more digits"
                             : "no letter \"%s\" in this run; see `lens mail list`",
                     id);
}

static int show(struct mail *mail, int argc, char **argv)
{
    struct postgres_rows *rows = NULL;
    if (argc != 1)
        return lens_usage(mail->lens, "show takes one letter's id");
    int code = find(mail, argv[0], &rows);
    if (code == LENS_DONE && mail->lens->json)
        code = lens_print_json(mail->lens, mail_letter_json(rows, 0, true));
    else if (code == LENS_DONE)
        mail_letter_print(rows, mail->chosen.raw);
    postgres_rows_free(rows);
    return code;
}

static json_t *why_json(const struct postgres_rows *rows)
{
    json_t *all = json_array();
    for (size_t at = 0; at < postgres_rows_count(rows); at++)
        json_array_append_new(all, json_pack("{s:o, s:o, s:o, s:o}", "at",
                                             event_json_time(postgres_rows_int(rows, at, "at_ms")), "verdict",
                                             inert_json(postgres_rows_text(rows, at, "verdict")), "reason",
                                             inert_json(postgres_rows_text(rows, at, "reason")), "detail",
                                             inert_json(postgres_rows_text(rows, at, "detail"))));
    return all;
}

static int why(struct mail *mail, int argc, char **argv)
{
    struct ll_err err = { "" };
    struct postgres_rows *letter = NULL, *rows = NULL;
    if (argc != 1)
        return lens_usage(mail->lens, "why takes one letter's id");
    int code = find(mail, argv[0], &letter);
    if (code != LENS_DONE)
        return code;
    char id[64];
    snprintf(id, sizeof id, "%.*s", TEXT_ARG(postgres_rows_text(letter, 0, "letter_id")));
    const char *params[] = { mail->run, id };
    code = lens_end(mail->lens, query(mail, why_sql, params, 2, &rows, &err), &err);
    if (code == LENS_DONE && mail->lens->json) {
        json_t *json = mail_letter_json(letter, 0, false);
        json_object_set_new(json, "decisions", why_json(rows));
        code = lens_print_json(mail->lens, json);
    } else if (code == LENS_DONE) {
        struct table *table = table_new("AT|VERDICT|REASON|");
        char when[32];
        for (size_t at = 0; at < postgres_rows_count(rows); at++) {
            table_cell(table, "%s", clock_format(postgres_rows_int(rows, at, "at_ms"), when, sizeof when));
            table_text(table, postgres_rows_text(rows, at, "verdict"));
            table_text(table, postgres_rows_text(rows, at, "reason"));
            table_text(table, postgres_rows_text(rows, at, "detail"));
        }
        mail_letter_head(letter);
        table_print(table, 2, stdout);
    }
    postgres_rows_free(rows);
    postgres_rows_free(letter);
    return code;
}

/* ---- commands ---- */

static enum ll_status send_command(struct lens *lens, const char *verb, const char *const *about, int count,
                                   struct ll_err *err)
{
    struct codec *codec = NULL;
    struct bus_producer producer = { 0 };
    char value[VALUE_SIZE], path[2 * CONFIG_TEXT_SIZE];
    struct clock_source clock = clock_real();
    enum ll_status status =
        codec_new(config_share_path(&lens->config, "schemas", path, sizeof path), NULL, &codec, err);
    if (status == LL_OK)
        status = kafka_producer_open(&lens->config, NULL, &producer, err);
    for (int at = 0; status == LL_OK && at < count; at++) {
        const struct event event = { .kind = EVENT_COMMAND,
                                     .command = { .process = TEXT("notify"),
                                                  .verb = text_of(verb),
                                                  .topic = text_of(about[at]), /* what it is about */
                                                  .partition = -1,
                                                  .time_ms = clock.wall_ms(clock.self) } };
        const struct bus_out out = { .topic = TOPIC_COMMANDS,
                                     .partition = 0,
                                     .key = TEXT("notify"),
                                     .value = { value,
                                                (uint32_t)codec_write(codec, &event, value, sizeof value) } };
        status = producer.ops->send(producer.self, &out, err);
    }
    if (status == LL_OK)
        status = producer.ops->flush(producer.self, FLUSH_MS, err);
    if (producer.ops != NULL)
        producer.ops->close(producer.self);
    codec_free(codec);
    return status;
}

/* Until the query, which counts as column n, says as many as wanted. */
static int obeyed(struct mail *mail, const char *sql, const char *const *params, int count, int64_t wanted)
{
    struct clock_source clock = clock_real();
    int64_t until_ms = clock.steady_ms(clock.self) + OBEY_MS, found = 0;
    for (;;) {
        struct ll_err err = { "" };
        struct postgres_rows *rows = NULL;
        int code = lens_end(mail->lens, query(mail, sql, params, count, &rows, &err), &err);
        found = code == LENS_DONE ? postgres_rows_int(rows, 0, "n") : 0;
        postgres_rows_free(rows);
        if (code != LENS_DONE || found >= wanted)
            return code;
        if (clock.steady_ms(clock.self) > until_ms)
            return lens_unreachable(
                mail->lens,
                "lens-notify has not done it within %d s, and does when it runs; see `lens status`",
                OBEY_MS / 1000);
        poll(NULL, 0, OBEY_POLL_MS);
    }
}

static int count_retried(struct mail *mail, const char *id, int64_t *ret)
{
    struct ll_err err = { "" };
    struct postgres_rows *rows = NULL;
    const char *params[] = { mail->run, id };
    int code = lens_end(mail->lens,
                        query(mail,
                              "select count(*) as n from mail.decisions where run_id = $1::int and letter_id "
                              "= $2 and reason = 'RETRIED'",
                              params, 2, &rows, &err),
                        &err);
    if (code == LENS_DONE)
        *ret = postgres_rows_int(rows, 0, "n");
    postgres_rows_free(rows);
    return code;
}

static int retry(struct mail *mail, int argc, char **argv)
{
    struct ll_err err = { "" };
    struct postgres_rows *rows = NULL;
    if (argc != 1)
        return lens_usage(mail->lens, "retry takes one letter's id");
    int code = find(mail, argv[0], &rows);
    if (code != LENS_DONE)
        return code;
    char id[64], state[32];
    snprintf(id, sizeof id, "%.*s", TEXT_ARG(postgres_rows_text(rows, 0, "letter_id")));
    snprintf(state, sizeof state, "%.*s", TEXT_ARG(postgres_rows_text(rows, 0, "state")));
    postgres_rows_free(rows);
    if (strcmp(state, "held") != 0 && strcmp(state, "dead") != 0 && strcmp(state, "unknown") != 0)
        return lens_fail(mail->lens, "letter %s is %s: only held, dead and unknown ones can be tried again",
                         id, state);
    int64_t before = 0;
    code = count_retried(mail, id, &before);
    const char *about[] = { id };
    if (code == LENS_DONE)
        code = lens_end(mail->lens, send_command(mail->lens, "retry", about, 1, &err), &err);
    const char *params[] = { mail->run, id };
    if (code == LENS_DONE)
        code = obeyed(mail,
                      "select count(*) as n from mail.decisions where run_id = $1::int and letter_id = $2 "
                      "and reason = 'RETRIED'",
                      params, 2, before + 1);
    if (code == LENS_DONE && mail->lens->json)
        return lens_print_json(mail->lens, json_pack("{s:s, s:b}", "id", id, "retried", true));
    if (code == LENS_DONE)
        printf("letter %s is judged again; `lens mail why %.12s` says what came of it\n", id, id);
    return code;
}

static int unsubscribe(struct mail *mail, int argc, char **argv)
{
    static struct token_key key;
    struct ll_err err = { "" };
    char list_name[TOKEN_LIST_MAX + 1], customer[TOKEN_CUSTOMER_MAX + 1];
    if (argc != 1)
        return lens_usage(
            mail->lens, "unsubscribe takes one token: what stands behind notify.unsubscribe_url in a letter");
    if (token_key_load(&mail->lens->config, false, &key, &err) != LL_OK)
        return lens_fail(mail->lens, "%s", err.text);
    if (!token_read(&key, text_of(argv[0]), list_name, customer))
        return lens_fail(mail->lens,
                         "this token was not made with this installation's key: nothing was changed");
    const char *about[] = { argv[0] };
    int code = lens_end(mail->lens, send_command(mail->lens, "unsubscribe", about, 1, &err), &err);
    const char *params[] = { mail->run, customer, list_name };
    if (code == LENS_DONE)
        code = obeyed(mail,
                      "select count(*) as n from mail.unsubscribed where run_id = $1::int and customer_id = "
                      "$2 and list = $3",
                      params, 3, 1);
    if (code == LENS_DONE && mail->lens->json)
        return lens_print_json(mail->lens,
                               json_pack("{s:o, s:s, s:b}", "customer_id", inert_json(text_of(customer)),
                                         "list", list_name, "unsubscribed", true));
    if (code == LENS_DONE) {
        fputs("customer ", stdout);
        inert_print(text_of(customer), stdout);
        printf(" gets no more letters of the list \"%s\"\n", list_name);
    }
    return code;
}

/* ---- the noun ---- */

static const struct {
    const char *name;
    int (*run)(struct mail *mail, int argc, char **argv);
} verbs[] = {
    { "list", list }, { "show", show }, { "why", why }, { "retry", retry }, { "unsubscribe", unsubscribe }
};

static int read_options(struct lens *lens, int argc, char **argv, struct chosen *ret)
{
    static const struct option options[] = { { "state", required_argument, NULL, 's' },
                                             { "reason", required_argument, NULL, 'r' },
                                             { "customer", required_argument, NULL, 'c' },
                                             { "letter", required_argument, NULL, 'l' },
                                             { "limit", required_argument, NULL, 'n' },
                                             { "raw", no_argument, NULL, 'w' },
                                             { NULL, 0, NULL, 0 } };
    for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;)
        switch (option) {
        case 's':
            ret->state = optarg;
            break;
        case 'r':
            ret->reason = optarg;
            break;
        case 'c':
            ret->customer = optarg;
            break;
        case 'l':
            ret->letter = optarg;
            break;
        case 'w':
            ret->raw = true;
            break;
        case 'n':
            if (!option_int(optarg, 0, ROWS_MAX, &ret->limit))
                return lens_usage(lens, "--limit is a number from 0 to %d, not \"%s\"", ROWS_MAX, optarg);
            break;
        default:
            return LENS_USAGE;
        }
    return LENS_DONE;
}

int verb_mail(struct lens *lens, int argc, char **argv)
{
    struct mail mail = { .lens = lens, .chosen = { .limit = ROWS_DEFAULT } };
    int code = read_options(lens, argc, argv, &mail.chosen);
    if (code != LENS_DONE)
        return code;
    if (optind >= argc)
        return lens_usage(lens, "list, show, why, retry or unsubscribe?");
    snprintf(mail.run, sizeof mail.run, "%d", lens->config.program.run);
    for (size_t at = 0; at < sizeof verbs / sizeof verbs[0]; at++) {
        if (strcmp(verbs[at].name, argv[optind]) != 0)
            continue;
        code = reach_postgres(lens, &mail.postgres);
        if (code == LENS_DONE)
            code = verbs[at].run(&mail, argc - optind - 1, argv + optind + 1);
        postgres_close(mail.postgres);
        return code;
    }
    return lens_usage(lens, "there is no \"%s\": list, show, why, retry, unsubscribe", argv[optind]);
}
