/* What one record does (DESIGN 4), as tables: a case is a short log of one partition, and what each record must cause. */
#include "consumers/accrue/decide.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { STEPS_MAX = 12, HOLD_MS = 7000, SKEW_MS = 100 };

static const char rules_document[] =
    "name = \"test\"; effective_from = \"always\";"
    "rules = ( { id = 1; name = \"base\"; group = \"base\"; points = 1; per_minor = 1000; },"
    "          { id = 2; name = \"big\"; group = \"big\"; points = 0; per_minor = 1; threshold_minor = 10000; bonus = 7; } );";

enum outcome { CREDITED, DUPLICATE, DEAD, HELD, CONTROL_DONE };

/* S sale, R return, V void, T tick at clock_ms, A rules announced. */
struct step {
    char kind;
    const char *id, *sale, *customer;
    int64_t amounts[3]; /* of products p0, p1, p2; 0: no line */
    int64_t clock_ms;
    enum outcome outcome;
    enum code code;
    int64_t balance; /* of customer, afterwards */
};

struct log_case {
    const char *why;
    struct step steps[STEPS_MAX];
};

struct bench {
    struct codec *codec;
    struct codec_scratch *scratch;
    struct calendar *calendar;
    struct rulebook book;
    struct decider *decider;
    struct partition partition;
    int64_t offset;
};

static void bench_open(struct bench *bench)
{
    struct ll_err err;
    memset(bench, 0, sizeof *bench);
    cr_assert_eq(codec_new(LENS_SOURCE_DIR "/schemas", NULL, &bench->codec, &err), LL_OK, "%s", err.text);
    cr_assert_eq(calendar_new("Europe/London", &bench->calendar, &err), LL_OK);
    cr_assert_eq(rulebook_add(&bench->book, rules_document, &err), LL_OK, "%s", err.text);
    const struct decide_settings settings = { 1, HOLD_MS, SKEW_MS, true };
    bench->scratch = codec_scratch_new();
    bench->decider = decider_new(bench->codec, &bench->book, bench->calendar, &settings);
    partition_init(&bench->partition, 0, 1 << 20);
    bench->partition.rules_version = 1;
}

static void bench_close(struct bench *bench)
{
    partition_done(&bench->partition);
    decider_free(bench->decider);
    codec_scratch_free(bench->scratch);
    rulebook_done(&bench->book);
    calendar_free(bench->calendar);
    codec_free(bench->codec);
}

static size_t encode(struct bench *bench, const struct step *step, char *to, size_t capacity)
{
    static const char *products[] = { "p0", "p1", "p2" };
    struct event event = { .kind = EVENT_CONTROL };
    struct line lines[3];
    memset(lines, 0, sizeof lines);
    if (step->kind == 'T' || step->kind == 'A') {
        event.control = (struct control){ step->kind == 'T' ? CONTROL_TICK : CONTROL_RULES, step->kind == 'A', 0 };
    } else {
        event.kind = EVENT_TRANSACTION_VALID;
        struct transaction *tx = &event.transaction;
        *tx = (struct transaction){ .transaction_id = text_of(step->id),
                                    .type = step->kind == 'S'   ? TRANSACTION_SALE
                                            : step->kind == 'R' ? TRANSACTION_RETURN
                                                                : TRANSACTION_VOID,
                                    .original_transaction_id = text_of(step->sale),
                                    .customer_id = text_of(step->customer),
                                    .currency = TEXT("GBP"),
                                    .source = TEXT("till"),
                                    .source_ref = TEXT("test:1"),
                                    .raw_topic = TEXT("transactions"),
                                    .lines = lines };
        for (int i = 0; i < 3; i++)
            if (step->amounts[i] != 0)
                lines[tx->line_count++] = (struct line){ .line_no = i,
                                                         .product_id = text_of(products[i]),
                                                         .quantity = 1,
                                                         .unit_price_minor = step->amounts[i],
                                                         .amount_minor = step->amounts[i] };
        tx->content_hash = transaction_content_hash(tx);
    }
    size_t size = codec_write(bench->codec, &event, to, capacity);
    cr_assert_gt(size, 0);
    return size;
}

static void run_step(struct bench *bench, const struct step *step)
{
    char bytes[2048];
    size_t size = encode(bench, step, bytes, sizeof bytes);
    struct decide_input input = { .offset = bench->offset++,
                                  .timestamp_ms = step->clock_ms,
                                  .value = { bytes, (uint32_t)size } };
    struct ll_err err;
    cr_assert_eq(decide_decode(bench->codec, bench->scratch, &input, &err), LL_OK, "%s", err.text);
    partition_begin_batch(&bench->partition);
    struct text missing = decide_needs(bench->decider, &bench->partition, &input);
    cr_assert_null(missing.data);
    cr_assert(!input.needs_identity && !input.needs_sale, "all of a fresh log is in memory");
    decide_record(bench->decider, &bench->partition, &input);
}

static int64_t balance_of(struct bench *bench, const char *customer)
{
    struct text id = text_of(customer);
    struct account *account = accounts_find(&bench->partition.accounts, id, accounts_hash(id));
    return account == NULL ? 0 : account->points;
}

static void run_case(const struct log_case *test)
{
    struct bench bench;
    bench_open(&bench);
    for (int i = 0; i < STEPS_MAX && test->steps[i].kind != '\0'; i++) {
        const struct step *step = &test->steps[i];
        struct ledger_counts before = bench.partition.counts;
        run_step(&bench, step);
        struct ledger_counts *now = &bench.partition.counts;
        const struct pending *pending = bench.partition.filling;
        cr_expect_eq(now->read, now->credited + now->duplicate + now->dead + now->held + now->control,
                     "%s: step %d: conservation", test->why, i);
        switch (step->outcome) {
        case CREDITED:
            cr_expect_gt(now->credited, before.credited, "%s: step %d is credited", test->why, i);
            break;
        case DUPLICATE:
            cr_expect_eq(now->duplicate, before.duplicate + 1, "%s: step %d is a duplicate", test->why, i);
            break;
        case HELD:
            cr_expect_eq(now->held, before.held + 1, "%s: step %d is held", test->why, i);
            break;
        case CONTROL_DONE:
            cr_expect_eq(now->control, before.control + 1, "%s: step %d is control", test->why, i);
            break;
        case DEAD:
            cr_assert_eq(now->dead, before.dead + 1, "%s: step %d is dead", test->why, i);
            break;
        }
        if (step->code != CODE_NONE)
            cr_expect_eq(pending->dead[pending->dead_count - 1].codes, code_bit(step->code), "%s: step %d: code",
                         test->why, i);
        if (step->customer != NULL)
            cr_expect_eq(balance_of(&bench, step->customer), step->balance, "%s: step %d: balance %ld, not %ld",
                         test->why, i, (long)balance_of(&bench, step->customer), (long)step->balance);
    }
    bench_close(&bench);
}

static const struct log_case cases[] = {
    { "a sale earns by the rules, rounded down once",
      { { 'S', "s1", NULL, "c", { 999, 1002 }, 1, CREDITED, 0, 2 } } },
    { "a threshold counts the whole transaction",
      { { 'S', "s1", NULL, "c", { 4000, 6000 }, 1, CREDITED, 0, 17 } } },
    { "a full return leaves exactly nothing",
      { { 'S', "s1", NULL, "c", { 4000, 6999 }, 1, CREDITED, 0, 17 },
        { 'R', "r1", "s1", "c", { 4000, 6999 }, 2, CREDITED, 0, 0 } } },
    { "a partial return takes the bonus when what is left does not reach it",
      { { 'S', "s1", NULL, "c", { 4000, 6000 }, 1, CREDITED, 0, 17 },
        { 'R', "r1", "s1", "c", { 500 }, 2, CREDITED, 0, 9 } } },
    { "two halves of one point are taken back as one",
      { { 'S', "s1", NULL, "c", { 1000 }, 1, CREDITED, 0, 1 },
        { 'R', "r1", "s1", "c", { 1 }, 2, CREDITED, 0, 0 },
        { 'R', "r2", "s1", "c", { 999 }, 3, CREDITED, 0, 0 } } },
    { "a refund above the sale clamps at the sale",
      { { 'S', "s1", NULL, "c", { 5000 }, 1, CREDITED, 0, 5 },
        { 'R', "r1", "s1", "c", { 9000 }, 2, CREDITED, 0, 0 },
        { 'R', "r2", "s1", "c", { 1000 }, 3, CREDITED, 0, 0 } } },
    { "returning what was not in the sale takes nothing",
      { { 'S', "s1", NULL, "c", { 5000 }, 1, CREDITED, 0, 5 },
        { 'R', "r1", "s1", "c", { 0, 4000 }, 2, CREDITED, 0, 5 } } },
    { "a return before its sale is held, and posted behind it",
      { { 'R', "r1", "s1", "c", { 2000 }, 1, HELD, 0, 0 },
        { 'S', "s1", NULL, "c", { 5000 }, 2, CREDITED, 0, 3 },
        { 'R', "r1", "s1", "c", { 2000 }, 3, DUPLICATE, 0, 3 } } },
    { "a held return is a duplicate's first copy too",
      { { 'R', "r1", "s1", "c", { 2000 }, 1, HELD, 0, 0 },
        { 'R', "r1", "s1", "c", { 2000 }, 2, DUPLICATE, 0, 0 },
        { 'R', "r1", "s1", "c", { 3000 }, 3, DEAD, CODE_DUPLICATE_CONFLICT, 0 } } },
    { "a held return expires by the log's clock and releases its identity",
      { { 'R', "r1", "s1", "c", { 2000 }, 1, HELD, 0, 0 },
        { 'T', NULL, NULL, NULL, { 0 }, HOLD_MS, CONTROL_DONE, 0, 0 },
        { 'S', "s0", NULL, "c", { 1000 }, HOLD_MS + 1, DEAD, CODE_ORPHAN_RETURN, 1 },
        { 'S', "s1", NULL, "c", { 5000 }, HOLD_MS + 2, CREDITED, 0, 6 },
        { 'R', "r1", "s1", "c", { 2000 }, HOLD_MS + 3, CREDITED, 0, 4 } } },
    { "the same event twice is a duplicate",
      { { 'S', "s1", NULL, "c", { 5000 }, 1, CREDITED, 0, 5 }, { 'S', "s1", NULL, "c", { 5000 }, 2, DUPLICATE, 0, 5 } } },
    { "the same identity with other content is refused, and the first copy stands",
      { { 'S', "s1", NULL, "c", { 5000 }, 1, CREDITED, 0, 5 },
        { 'S', "s1", NULL, "c", { 9000 }, 2, DEAD, CODE_DUPLICATE_CONFLICT, 5 },
        { 'S', "s1", NULL, "c", { 5000 }, 3, DUPLICATE, 0, 5 } } },
    { "a sale and a return may share an id",
      { { 'S', "x", NULL, "c", { 5000 }, 1, CREDITED, 0, 5 }, { 'R', "x", "x", "c", { 5000 }, 2, CREDITED, 0, 0 } } },
    { "a return that names another customer is refused",
      { { 'S', "s1", NULL, "c", { 5000 }, 1, CREDITED, 0, 5 },
        { 'R', "r1", "s1", "d", { 5000 }, 2, DEAD, CODE_RETURN_CUSTOMER, 0 },
        { 'R', "r1", "s1", "c", { 5000 }, 3, CREDITED, 0, 0 } } },
    { "a held return of another customer is refused when the sale comes",
      { { 'R', "r1", "s1", "d", { 2000 }, 1, HELD, 0, 0 },
        { 'S', "s1", NULL, "c", { 5000 }, 2, DEAD, CODE_RETURN_CUSTOMER, 5 } } },
    { "a void takes all that is left",
      { { 'S', "s1", NULL, "c", { 5000, 7000 }, 1, CREDITED, 0, 19 },
        { 'R', "r1", "s1", "c", { 3000 }, 2, CREDITED, 0, 9 },
        { 'V', "v1", "s1", "c", { 0 }, 3, CREDITED, 0, 0 },
        { 'R', "r2", "s1", "c", { 1000 }, 4, CREDITED, 0, 0 } } },
    { "a void before its sale",
      { { 'V', "v1", "s1", "c", { 0 }, 1, HELD, 0, 0 }, { 'S', "s1", NULL, "c", { 5000 }, 2, CREDITED, 0, 0 } } },
    { "a return with no reference takes points by the rules; balances may go below zero",
      { { 'R', "r1", NULL, "c", { 12345 }, 1, CREDITED, 0, -19 } } },
    { "a sale with no customer earns nothing, and nobody is charged for its return",
      { { 'S', "s1", NULL, NULL, { 50000 }, 1, CREDITED, 0, 0 }, { 'R', "r1", "s1", NULL, { 50000 }, 2, CREDITED, 0, 0 } } },
    { "a return that names a customer where the sale had none is refused",
      { { 'S', "s1", NULL, NULL, { 50000 }, 1, CREDITED, 0, 0 },
        { 'R', "r1", "s1", "c", { 50000 }, 2, DEAD, CODE_RETURN_CUSTOMER, 0 } } },
};

Test(decide, logs)
{
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        run_case(&cases[i]);
}

/* Every accepted event leaves exactly one row, also with nothing in it. */
Test(decide, every_accepted_event_leaves_one_row)
{
    struct bench bench;
    bench_open(&bench);
    static const struct step steps[] = {
        { 'S', "small", NULL, "c", { 5 }, 1, CREDITED, 0, 0 },
        { 'S', "nobody", NULL, NULL, { 5000 }, 1, CREDITED, 0, 0 },
        { 'R', "back", "small", "c", { 5 }, 1, CREDITED, 0, 0 },
        { 'R', "excess", "small", "c", { 5 }, 1, CREDITED, 0, 0 },
    };
    for (size_t i = 0; i < 4; i++)
        run_step(&bench, &steps[i]);
    cr_assert_eq(bench.partition.filling->postings.rows, 4);
    bench_close(&bench);
}

/* ---- the same set of events, in any order, with duplicates: the same balances and the same points per sale ---- */

static uint32_t next_random(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*state >> 33);
}

static void shuffle(struct step *steps, size_t count, uint64_t *state)
{
    for (size_t i = count; i > 1; i--) {
        size_t j = next_random(state) % i;
        struct step kept = steps[i - 1];
        steps[i - 1] = steps[j];
        steps[j] = kept;
    }
}

Test(decide, balances_depend_on_the_set_of_events_only)
{
    enum { EVENTS = 14, COPIES = 6 };
    static char ids[EVENTS][16];
    static const char *customers[] = { "c0", "c1", "c2" };
    for (uint64_t seed = 1; seed <= 150; seed++) {
        uint64_t state = seed;
        struct step steps[EVENTS + COPIES];
        memset(steps, 0, sizeof steps);
        for (int i = 0; i < EVENTS; i++) {
            snprintf(ids[i], sizeof ids[i], "e%d", i);
            struct step *step = &steps[i];
            step->id = ids[i];
            step->clock_ms = 1;
            step->kind = i < 5 ? 'S' : next_random(&state) % 6 == 0 ? 'V' : 'R';
            step->sale = i < 5 ? NULL : ids[next_random(&state) % 5];
            step->customer = customers[i < 5 ? i % 3 : (int)(step->sale[1] - '0') % 3];
            for (int j = 0; j < 3; j++)
                step->amounts[j] = step->kind == 'V' ? 0 : (next_random(&state) % 3 == 0 ? 0 : next_random(&state) % 9000 + 1);
            if (step->kind != 'V' && step->amounts[0] + step->amounts[1] + step->amounts[2] == 0)
                step->amounts[0] = 1234;
        }
        int64_t expected[3] = { 0, 0, 0 };
        for (int order = 0; order < 6; order++) {
            for (int i = 0; i < COPIES; i++)
                steps[EVENTS + i] = steps[next_random(&state) % EVENTS];
            struct step shuffled[EVENTS + COPIES];
            memcpy(shuffled, steps, sizeof steps);
            shuffle(shuffled, EVENTS + COPIES, &state);
            struct bench bench;
            bench_open(&bench);
            for (int i = 0; i < EVENTS + COPIES; i++)
                run_step(&bench, &shuffled[i]);
            cr_assert_eq(bench.partition.counts.credited, EVENTS);
            cr_assert_eq(bench.partition.counts.duplicate, COPIES);
            for (int c = 0; c < 3; c++) {
                if (order == 0)
                    expected[c] = balance_of(&bench, customers[c]);
                cr_assert_eq(balance_of(&bench, customers[c]), expected[c], "seed %lu order %d", (unsigned long)seed, order);
            }
            bench_close(&bench);
        }
    }
}

/* The table keeps a part of each fingerprint: what it finds may be another's, that says nothing of older events. */
Test(decide, what_waits_for_its_flush_does_not_hide_what_the_ledger_may_hold)
{
    static const struct step late = { .kind = 'R', .id = "r", .sale = "s", .customer = "c", .amounts = { 100 } };
    struct bench bench;
    char bytes[2048];
    struct ll_err err;
    bench_open(&bench);
    struct decide_input input = { .offset = 9, .value = { bytes, (uint32_t)encode(&bench, &late, bytes, sizeof bytes) } };
    cr_assert_eq(decide_decode(bench.codec, bench.scratch, &input, &err), LL_OK, "%s", err.text);
    struct identities *identities = &bench.partition.identities;
    identities_add(identities, input.identity_hash, 7, 0);
    identities_add(identities, input.sale_hash, 8, 0);
    decide_needs(bench.decider, &bench.partition, &input);
    cr_expect(!input.needs_identity && !input.needs_sale, "memory knows all");
    identities_incomplete(identities, INT64_MAX);
    decide_needs(bench.decider, &bench.partition, &input);
    cr_expect(input.needs_identity);
    cr_expect(input.needs_sale);
    bench_close(&bench);
}
