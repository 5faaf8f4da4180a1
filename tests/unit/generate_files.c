/* The files of a seed, byte for byte, and what cannot be generated. */
#include "producers/generate/defects.h"
#include "producers/generate/generate.h"
#include "producers/generate/stream.h"
#include "schemas/codes.h"

#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *const NAMES[] = { "stores.csv",          "products.csv",      "customers.csv",
                                     "promotions.csv",      "sales.csv",         "sale_lines.csv",
                                     "truth/customers.csv", "truth/defects.csv", "truth/summary.json" };
enum { NAME_COUNT = sizeof NAMES / sizeof *NAMES };

/* FNV-1a, 64 bits. */
static uint64_t digest(const char *directory, const char *name)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", directory, name);
    FILE *file = fopen(path, "rb");
    cr_assert_not_null(file, "%s", path);
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    for (int c; (c = getc(file)) != EOF;)
        hash = (hash ^ (uint64_t)c) * UINT64_C(0x100000001b3);
    fclose(file);
    return hash;
}

static void clean(const char *directory)
{
    char path[256];
    for (size_t i = 0; i < NAME_COUNT; i++) {
        snprintf(path, sizeof path, "%s/%s", directory, NAMES[i]);
        unlink(path);
    }
    snprintf(path, sizeof path, "%s/truth", directory);
    rmdir(path);
    rmdir(directory);
}

static struct generate_options small(char *directory)
{
    cr_assert_not_null(mkdtemp(directory));
    struct generate_options options;
    generate_defaults(&options);
    options.seed = 7;
    options.sales = 2000;
    options.customers = 200;
    options.defects_permyriad = 500;
    snprintf(options.out, sizeof options.out, "%s", directory);
    return options;
}

/* A changed line here is a changed demo and a changed bench: only with a reason. */
Test(generate_files, are_the_same_on_every_machine)
{
    static const uint64_t EXPECTED[NAME_COUNT] = {
        UINT64_C(0xb18e203d646f2e56), UINT64_C(0xee49b1e06c1c126a), UINT64_C(0x1138dc5ecc568f8d),
        UINT64_C(0x2686721072e1cfd7), UINT64_C(0x59cbbe3c38f7d3a5), UINT64_C(0x48376257c92457d9),
        UINT64_C(0x1c90c409e6989f3a),
    };
    char directory[] = "/tmp/lens-generate-XXXXXX";
    struct generate_options options = small(directory);
    struct generate_result result;
    struct ll_err err = { "" };
    cr_assert_eq(generate_run(&options, NULL, NULL, NULL, &result, &err), LL_OK, "%s", err.text);
    for (size_t i = 0; i < NAME_COUNT - 2; i++) { /* the last two name codes in the order of their table */
        uint64_t seen = digest(directory, NAMES[i]);
        cr_expect_eq(seen, EXPECTED[i], "%s: 0x%016" PRIx64, NAMES[i], seen);
    }
    clean(directory);
}

Test(generate_files, nonsense_is_refused)
{
    char directory[] = "/tmp/lens-generate-XXXXXX";
    struct generate_options good = small(directory), bad = good;
    clean(directory);
    struct ll_err err = { "" };
    cr_expect_eq(generate_check(&good, &err), LL_OK, "%s", err.text);
    bad.days = 0;
    cr_expect_eq(generate_check(&bad, &err), LL_FATAL);
    bad = good;
    bad.defects_permyriad = 10001;
    cr_expect_eq(generate_check(&bad, &err), LL_FATAL);
    bad = good;
    bad.products = 5;
    cr_expect_eq(generate_check(&bad, &err), LL_FATAL);
    bad = good;
    bad.out[0] = '\0';
    cr_expect_eq(generate_check(&bad, &err), LL_FATAL);
}

static struct world *world_of(const struct generate_options *options)
{
    return world_new(&(struct world_options){ options->seed, options->start_day, options->days,
                                              options->customers, options->products, options->stores });
}

/* Every way, on both outputs, is labelled with codes that refuse it, at the stage that has them. */
Test(generate_defects, each_is_labelled)
{
    struct generate_options options;
    generate_defaults(&options);
    struct world *world = world_of(&options);
    for (int topics = 0; topics < 2; topics++) {
        options.topics = topics;
        for (uint64_t turn = 0; turn < defects_count(topics); turn++) {
            struct made made = {
                .line_count = 2, .transaction_id = "T1", .currency = "GBP", .source = "x", .channel = ""
            };
            for (int i = 0; i < 2; i++)
                made.lines[i] = (struct made_line){ .line_no = i + 1,
                                                    .product = i + 1,
                                                    .quantity = 1,
                                                    .unit_price_minor = 100,
                                                    .amount_minor = 100 };
            defects_plant(world, &options, turn, &made);
            cr_expect_not_null(made.defect);
            cr_expect_neq(made.codes, 0u, "%s", made.defect);
            cr_expect(made.stage == STAGE_IMPORT || made.stage == STAGE_VALIDATE);
            for (enum code code = 1; code < CODE_COUNT; code++)
                if ((made.codes & code_bit(code)) != 0) {
                    cr_expect_eq(code_info(code)->severity, CODE_REJECT, "%s", made.defect);
                    cr_expect_eq(code_info(code)->scope == CODE_ROW, made.stage == STAGE_IMPORT, "%s",
                                 made.defect);
                }
        }
    }
    world_free(world);
}

/* Every code that judging a transaction can give is planted on one output or the other. */
Test(generate_defects, all_codes_are_planted)
{
    struct generate_options options;
    generate_defaults(&options);
    struct world *world = world_of(&options);
    uint64_t planted = 0;
    for (int topics = 0; topics < 2; topics++) {
        options.topics = topics;
        for (uint64_t turn = 0; turn < defects_count(topics); turn++) {
            struct made made = { .line_count = 2,
                                 .lines = { { .product = 1 }, { .product = 2 } },
                                 .channel = "" };
            defects_plant(world, &options, turn, &made);
            planted |= made.codes;
        }
    }
    world_free(world);
    /* By nature of the outputs: no lateness limit holds for them; references have codes of their own; a
     * profile's patterns are its own affair. */
    uint64_t elsewhere = code_bit(CODE_TIME_LATE) | code_bit(CODE_REFERENCE_ID_MISSING) |
                         code_bit(CODE_DATES_REVERSED) | code_bit(CODE_EMAIL_IMPLAUSIBLE) |
                         code_bit(CODE_PHONE_IMPLAUSIBLE);
    for (enum code code = 1; code < CODE_COUNT; code++) {
        enum code_scope scope = code_info(code)->scope;
        if (scope == CODE_FRAME || scope == CODE_FIELD || scope == CODE_RECORD || scope == CODE_REFERENCE)
            cr_expect(((planted | elsewhere) & code_bit(code)) != 0, "%s is never planted",
                      code_info(code)->name);
    }
}

/* What follows a sale comes after it in number, repeats come after what they repeat, and time of arrival
 * never runs back. */
Test(generate_stream, arrives_in_order_and_refers_to_what_is_there)
{
    struct generate_options options;
    generate_defaults(&options);
    options.sales = 5000;
    options.returns_permyriad = 2000;
    options.duplicates_permyriad = 500;
    struct world *world = world_of(&options);
    struct stream *stream = stream_new(&options, world);
    char(*sales)[MADE_ID_SIZE] = calloc((size_t)options.sales, sizeof *sales);
    char(*named)[MADE_ID_SIZE] = calloc((size_t)options.sales, sizeof *named);
    int64_t last_ms = 0, sale_count = 0, returns = 0, early = 0;
    for (const struct made *made; stream_next(stream, &made);) {
        cr_expect(made->arrives_ms >= last_ms);
        last_ms = made->arrives_ms;
        if (made->type == TRANSACTION_SALE && !made->repetition && made->stage == STAGE_NONE) {
            sale_count++;
            memcpy(sales[made->sale], made->transaction_id, MADE_ID_SIZE);
        }
        if (made->type == TRANSACTION_SALE && made->repetition)
            cr_expect_str_eq(made->transaction_id, sales[made->sale]);
        if (made->type == TRANSACTION_RETURN && made->sale >= 0) {
            returns++;
            early += sales[made->sale][0] == '\0';
            memcpy(named[made->sale], made->original_id, MADE_ID_SIZE);
        }
    }
    for (int64_t i = 0; i < options.sales; i++)
        if (named[i][0] != '\0')
            cr_expect_str_eq(named[i], sales[i]);
    cr_expect(sale_count > 4900 && sale_count <= 5000, "%" PRId64, sale_count);
    cr_expect(returns > 600 && early > 5, "%" PRId64 " returns, %" PRId64 " before their sale", returns,
              early);
    free(sales);
    free(named);
    stream_free(stream);
    world_free(world);
}
