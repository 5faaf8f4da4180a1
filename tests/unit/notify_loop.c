/*
 * The loop of lens-notify over the real SQL of schema mail, under faults: no letter twice, none lost, none to whom it may not go.
 *
 * Each seed is a world of its own (notify_world.h) with a run id of its own. Replay one with its trace:
 *     tests/unit/state_servers up /tmp/s; SEED=17 LENS_TEST_SERVERS=/tmp/s build/bin/unit_notify_loop; tests/unit/state_servers down /tmp/s
 * LENS_MAIL_SEEDS=N runs so many seeds. Every fourth seed also runs without faults: the same letters must come of it.
 */
#include "tests/unit/notify_world.h"
#include "tests/unit/state_kit.h"

#include "runtime/log.h"

#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SEEDS = 100, STEPS_MAX = 20000, RUN_FIRST = 1000000 };

/* What all worlds share. */
static struct {
    struct config config;
    struct letters letters;
    struct token_key key;
    struct calendar *calendar;
    struct codec *codec;
    struct postgres *postgres;
    char trace[SIM_TRACE_SIZE];
    int64_t kills, doubts, handed_over, rows;
} kit;

static struct postgres_rows *ask(const char *format, ...) __attribute__((format(printf, 1, 2)));
static struct postgres_rows *ask(const char *format, ...)
{
    char sql[512];
    struct postgres_rows *rows = NULL;
    struct ll_err err = { "" };
    va_list args;
    va_start(args, format);
    vsnprintf(sql, sizeof sql, format, args);
    va_end(args);
    cr_assert_eq(postgres_query(kit.postgres, sql, NULL, 0, &rows, &err), LL_OK, "%s", err.text);
    return rows;
}

static int64_t ask_number(const struct world *w, const char *what)
{
    struct postgres_rows *rows =
        ask("select %s as n from mail.letters where run_id = %d", what, w->config.program.run);
    int64_t number = postgres_rows_int(rows, 0, "n");
    postgres_rows_free(rows);
    return number;
}

static void open_kit(void)
{
    struct ll_err err = { "" };
    setenv("LENS_LOG", "error", 1);
    log_init("notify");
    kit.config = kit_config();
    cr_assert_eq(letters_load(LENS_SOURCE_DIR "/deploy/letters", &kit.letters, &err), LL_OK, "%s", err.text);
    cr_assert_eq(calendar_new("UTC", &kit.calendar, &err), LL_OK, "%s", err.text);
    cr_assert_eq(codec_new(LENS_SOURCE_DIR "/schemas", NULL, &kit.codec, &err), LL_OK, "%s", err.text);
    cr_assert_eq(postgres_open(&kit.config, "lens-test", &kit.postgres, &err), LL_OK, "%s", err.text);
    memset(kit.key.bytes, 'k', kit.key.size = TOKEN_KEY_MIN);
}

static void close_kit(void)
{
    postgres_close(kit.postgres);
    codec_free(kit.codec);
    calendar_free(kit.calendar);
    letters_done(&kit.letters);
}

/* ---- one world ---- */

static struct world *world_of(uint64_t seed, bool faulty)
{
    static const char *const tables[] = { "progress", "recipients", "accounts",     "standing",
                                          "letters",  "decisions",  "unsubscribed", "suppressed" };
    struct world *w = calloc(1, sizeof *w);
    w->number = seed;
    w->seed.random = seed;
    w->codec = kit.codec;
    w->config = kit.config;
    w->config.program.run = w->config.notify.live_run = RUN_FIRST + 2 * (int32_t)seed + faulty;
    w->policy = (enum world_policy)(seed % 5 % 3); /* files: one in five */
    snprintf(w->config.notify.unknown, sizeof w->config.notify.unknown, "%s",
             w->policy == POLICY_HOLD ? "hold" : "resend");
    snprintf(w->config.notify.points, sizeof w->config.notify.points, "%s",
             seed_random(&w->seed, 4) == 0 ? "daily" : "transaction");
    w->config.notify.rate = 1 + seed_random(&w->seed, seed_random(&w->seed, 2) == 0 ? 10 : 200);
    w->config.notify.delay_ms = seed_random(&w->seed, 3000);
    world_fill(w, &kit.key);
    w->seed.trace = kit.trace;
    w->seed.trace_size = 0;
    w->seed.fault_odds = 1;
    w->seed.fault_of = 8 + seed_random(&w->seed, 40);
    w->seed.faults_left = faulty ? 3 + (int)seed_random(&w->seed, 15) : 0;
    w->post_faults_left = faulty ? (int)seed_random(&w->seed, 15) : 0;
    w->late_store = mail_store_new(&w->config, "lens-late");
    for (size_t at = 0; at < sizeof tables / sizeof tables[0]; at++)
        postgres_rows_free(ask("delete from mail.%s where run_id = %d", tables[at], w->config.program.run));
    return w;
}

static struct world_client *begin_process(struct world *w, const char *instance)
{
    struct world_client *client = calloc(1, sizeof *client);
    struct notify *n = &client->notify;
    client->world = w;
    *n = (struct notify){ .config = &w->config,
                          .codec = kit.codec,
                          .scratch = codec_scratch_new(),
                          .clock = world_clock(w),
                          .consumer = world_consumer(client),
                          .store = mail_store_new(&w->config, "lens-notify") };
    n->outbox = (struct outbox){ .config = &w->config,
                                 .letters = &kit.letters,
                                 .key = &kit.key,
                                 .calendar = kit.calendar,
                                 .clock = n->clock,
                                 .store = n->store,
                                 .post = world_post(w),
                                 .instance = instance };
    intake_init(&n->intake, &w->config, &kit.letters, &kit.key, kit.calendar);
    outbox_init(&n->outbox);
    n->outbox.chance = w->number;
    return client;
}

static void end_process(struct world_client *client)
{
    if (client == NULL)
        return;
    struct notify *n = &client->notify;
    intake_done(&n->intake);
    outbox_done(&n->outbox);
    codec_scratch_free(n->scratch);
    mail_store_free(n->store);
    free(client);
}

/* Nothing is left to be done, or time goes on to when something is. */
static bool is_at_rest(struct world *w, const struct world_client *other)
{
    if (ask_number(w, "count(*) filter (where state in ('waiting', 'claimed', 'sending'))") == 0)
        return w->late_json == NULL || w->seed.faults_left == 0;
    int64_t due_ms = ask_number(w, "coalesce(mail.ms(min(due_at) filter (where state = 'waiting')), 0)");
    if (ask_number(w, "count(*) filter (where state in ('claimed', 'sending'))") > 0)
        w->now_ms += other != NULL && other->asleep_to_ms > w->now_ms
                         ? 100000
                         : 20000; /* a lease of ten minutes goes by */
    else if (due_ms > w->now_ms)
        w->now_ms = due_ms;
    return false;
}

/* It may stop by itself where another has taken its place. */
static void stopped(struct world *w, struct world_client *client, const struct ll_err *err)
{
    if (!client->is_dead && !client->is_fenced)
        seed_bad(&w->seed, "notify stops: %s", err->text);
    world_die(client);
    seed_say(&w->seed, "== %s ends: %s", client->notify.outbox.instance, err->text);
}

/* False: the process has ended. */
static bool step(struct world *w, struct world_client *client)
{
    struct ll_err err = { "" };
    w->runs = client;
    enum ll_status status = notify_step(&client->notify, &err);
    if (status == LL_OK && !client->is_dead)
        return true;
    stopped(w, client, &err);
    return false;
}

static void finish(struct world *w, struct world_client *client)
{
    struct ll_err err = { "" };
    if (client == NULL)
        return;
    w->runs = client;
    if (notify_finish(&client->notify, &err) != LL_OK)
        stopped(w, client, &err);
}

/* The process is stopped (a machine that hangs), and another one takes its place; later it goes on with what it has in hand. If the
 * other one has its name, Kafka fences it, but it may take some steps before it hears so. */
static void send_to_sleep(struct world *w, struct world_client *client)
{
    seed_say(&w->seed, "== %s sleeps, sending %s", client->notify.outbox.instance, client->sending);
    client->is_out = true;
    client->told = false;
    client->asleep_to_ms = w->now_ms + seed_random(&w->seed, seed_random(&w->seed, 2) == 0 ? 5000 : 1000000);
    world_doubt(client);
}

/* Mostly under the name of the one before. */
static struct world_client *start(struct world *w, const char **name, struct world_client *other)
{
    static const char *const names[] = { "notify-1", "notify-2", "notify-3" };
    if (seed_random(&w->seed, 4) == 0)
        *name = names[seed_random(&w->seed, 3)];
    seed_say(&w->seed, "== %s begins", *name);
    if (other != NULL && strcmp(*name, other->notify.outbox.instance) == 0)
        other->is_fenced = true;
    return begin_process(w, *name);
}

static void live(struct world *w)
{
    const char *name = "notify-1";
    struct world_client *owner = NULL, *other = NULL;
    for (; w->seed.step < STEPS_MAX && w->seed.bad[0] == '\0'; w->seed.step++) {
        if (owner == NULL)
            owner = start(w, &name, other);
        if (other != NULL && w->now_ms >= other->asleep_to_ms && !step(w, other)) {
            end_process(other);
            other = NULL;
        }
        if (!step(w, owner)) {
            end_process(owner);
            owner = NULL;
        } else if (other == NULL && seed_random(&w->seed, 5) == 0 && seed_fault_due(&w->seed)) {
            other = owner;
            send_to_sleep(w, other);
            owner = NULL;
        } else if (w->seed.step % 20 == 0 && world_is_drained(w, &owner->notify) && is_at_rest(w, other)) {
            break;
        }
    }
    if (w->seed.step == STEPS_MAX)
        seed_bad(&w->seed, "it does not come to rest");
    finish(w, owner);
    finish(w, other);
    end_process(owner);
    end_process(other);
}

/* ---- what must hold ---- */

static void check_letter(struct world *w, const char *id, struct text state, struct text reason)
{
    const struct world_letter *letter = world_letter(w, id);
    bool is_sent = text_equal(state, TEXT("sent"));
    if (text_empty(reason))
        seed_bad(&w->seed, "letter %s is %.*s without a reason", id, TEXT_ARG(state));
    if (is_sent && letter->accepted == 0)
        seed_bad(&w->seed, "letter %s is sent, but was not handed over", id);
    if (!is_sent && letter->accepted > 0 && letter->doubts == 0)
        seed_bad(&w->seed, "letter %s was handed over, but is %.*s (%.*s)", id, TEXT_ARG(state),
                 TEXT_ARG(reason));
    if (text_equal(state, TEXT("unknown")) && (letter->doubts == 0 || w->policy != POLICY_HOLD))
        seed_bad(&w->seed, "letter %s is unknown, but there was no doubt", id);
    if (text_equal(reason, TEXT("REFUSED")) && letter->refused == 0)
        seed_bad(&w->seed, "letter %s is dead, but nobody refused it", id);
}

static int by_words(const void *a, const void *b)
{
    return strcmp(a, b);
}

static void check_letters(struct world *w)
{
    struct postgres_rows *rows =
        ask("select letter_id, concat_ws(' ', customer_id, letter, transition) as key, state, reason"
            " from mail.letters where run_id = %d order by concat_ws(' ', customer_id, letter, transition) "
            "collate \"C\"",
            w->config.program.run);
    size_t count = postgres_rows_count(rows), known = w->letter_count;
    qsort(w->keys, w->key_count, sizeof w->keys[0], by_words);
    if (count != w->key_count)
        seed_bad(&w->seed, "%zu letters, not %zu", count, w->key_count);
    for (size_t at = 0; at < count && at < w->key_count; at++) {
        char id[OUTBOX_ID_SIZE];
        struct text key = postgres_rows_text(rows, at, "key");
        if (!text_equal(key, text_of(w->keys[at])))
            seed_bad(&w->seed, "letter \"%.*s\", not \"%s\"", TEXT_ARG(key), w->keys[at]);
        snprintf(id, sizeof id, "%.*s", TEXT_ARG(postgres_rows_text(rows, at, "letter_id")));
        check_letter(w, id, postgres_rows_text(rows, at, "state"), postgres_rows_text(rows, at, "reason"));
    }
    postgres_rows_free(rows);
    for (size_t at = 0; at < known && count > 0; at++)
        kit.handed_over += w->letters[at].accepted;
    kit.rows += (int64_t)count;
}

static void check_sums(struct world *w)
{
    struct postgres_rows *rows =
        ask("select customer_id, balance from mail.accounts where run_id = %d", w->config.program.run);
    int64_t is[WORLD_CUSTOMERS] = { 0 }, total = 0;
    for (size_t at = 0; at < postgres_rows_count(rows); at++)
        is[postgres_rows_text(rows, at, "customer_id").data[1] - '0'] =
            postgres_rows_int(rows, at, "balance");
    postgres_rows_free(rows);
    for (int c = 0; c < WORLD_CUSTOMERS; c++) {
        total += w->balance[c];
        if (is[c] != w->balance[c])
            seed_bad(&w->seed, "C%d has %" PRId64 " points, not %" PRId64, c, is[c], w->balance[c]);
    }
    bool is_daily = strcmp(w->config.notify.points, "daily") == 0;
    int64_t told =
        ask_number(w, "coalesce(sum(points) filter (where list = 'points' and letter <> 'tier'), 0)");
    int64_t reversed = ask_number(w, "coalesce(sum(reversed), 0)");
    if (told != total)
        seed_bad(&w->seed, "letters tell of %" PRId64 " points, not %" PRId64, told, total);
    if (reversed != (is_daily ? 0 : w->reversed))
        seed_bad(&w->seed, "%" PRId64 " points were returned by the letters, not %" PRId64, reversed,
                 w->reversed);
    rows = ask("select topic, partition, next_offset from mail.progress where run_id = %d",
               w->config.program.run);
    if (postgres_rows_count(rows) != WORLD_LOGS)
        seed_bad(&w->seed, "%zu inputs have progress", postgres_rows_count(rows));
    for (size_t at = 0; at < postgres_rows_count(rows); at++)
        for (int log = 0; log < WORLD_LOGS; log++)
            if (text_equal(postgres_rows_text(rows, at, "topic"), text_of(topic_name(w->logs[log].topic))) &&
                postgres_rows_int(rows, at, "partition") == w->logs[log].partition &&
                postgres_rows_int(rows, at, "next_offset") != w->logs[log].count)
                seed_bad(&w->seed, "progress of log %d is not its end", log);
    postgres_rows_free(rows);
}

static bool holds(uint64_t seed, bool faulty)
{
    struct world *w = world_of(seed, faulty);
    world_enter(w);
    live(w);
    if (w->seed.bad[0] == '\0') {
        check_letters(w);
        check_sums(w);
    }
    if (w->lost > w->doubtful_kills)
        seed_bad(&w->seed, "%" PRId64 " letters were in doubt after %d kills", w->lost, w->doubtful_kills);
    bool good = w->seed.bad[0] == '\0';
    if (!good || getenv("SEED") != NULL)
        fprintf(stderr, "%.*s", (int)w->seed.trace_size, kit.trace);
    if (!good)
        fprintf(stderr, "seed %" PRIu64 "%s, again: SEED=%" PRIu64 "\n%s", seed,
                faulty ? "" : " without faults", seed, w->seed.bad);
    kit.kills += w->kills;
    kit.doubts += w->doubtful_kills;
    world_done(w);
    free(w);
    return good;
}

Test(notify_loop, under_any_fault_each_letter_goes_once_and_to_whom_it_may, .timeout = 100)
{
    const char *one = getenv("SEED"), *many = getenv("LENS_MAIL_SEEDS");
    uint64_t first = one != NULL ? strtoull(one, NULL, 10) : 1;
    uint64_t last = one != NULL ? first : many != NULL ? strtoull(many, NULL, 10) : SEEDS;
    open_kit();
    for (uint64_t seed = first; seed <= last; seed++) {
        cr_assert(holds(seed, true), "seed %" PRIu64, seed);
        cr_assert(seed % 4 != 0 || holds(seed, false), "seed %" PRIu64 " without faults", seed);
    }
    fprintf(stderr,
            "%" PRId64 " letters, %" PRId64 " handed over, %" PRId64 " kills, %" PRId64 " of them in doubt\n",
            kit.rows, kit.handed_over, kit.kills, kit.doubts);
    if (one == NULL && last >= SEEDS)
        cr_assert(kit.kills > (int64_t)last && kit.doubts > (int64_t)last / 4,
                  "the worlds have become too kind");
    close_kit();
}
