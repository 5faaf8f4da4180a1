/* The generator's foundations: the same numbers on every machine, spread as they should be. */
#include "producers/generate/pace.h"
#include "producers/generate/prng.h"
#include "producers/generate/world.h"

#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdio.h>

/* The reference implementation, seeded with 1, 2, 3, 4, gives these first. */
Test(generate_prng, is_xoshiro256_starstar)
{
    struct prng prng = { { 1, 2, 3, 4 } };
    static const uint64_t EXPECTED[] = { 11520, 0, 1509978240, 1215971899390074240 };
    for (size_t i = 0; i < sizeof EXPECTED / sizeof *EXPECTED; i++)
        cr_expect_eq(prng_next(&prng), EXPECTED[i]);
}

/* The reference implementation, seeded with 1234567. */
Test(generate_prng, is_seeded_by_splitmix64)
{
    uint64_t seed = 1234567;
    static const uint64_t EXPECTED[] = { UINT64_C(6457827717110365317), UINT64_C(3203168211198807973),
                                         UINT64_C(9817491932198370423), UINT64_C(4593380528125082431) };
    for (size_t i = 0; i < sizeof EXPECTED / sizeof *EXPECTED; i++)
        cr_expect_eq(prng_mix(&seed), EXPECTED[i]);
}

Test(generate_prng, stays_within_its_bound_and_reaches_all_of_it)
{
    struct prng prng = prng_of(42, 1);
    for (uint32_t bound = 1; bound < 40; bound++) {
        uint64_t seen = 0;
        for (int i = 0; i < 2000; i++) {
            uint32_t value = prng_below(&prng, bound);
            cr_assert(value < bound);
            seen |= UINT64_C(1) << value;
        }
        cr_expect_eq(seen, (UINT64_C(1) << bound) - 1);
    }
    for (int i = 0; i < 1000; i++)
        cr_assert(prng_between(&prng, -3, 3) >= -3 && prng_between(&prng, -3, 3) <= 3);
}

Test(generate_prng, streams_of_a_seed_differ)
{
    struct prng a = prng_of(1, 1), b = prng_of(1, 2), c = prng_of(2, 1);
    uint64_t first = prng_next(&a);
    cr_expect_neq(first, prng_next(&b));
    cr_expect_neq(first, prng_next(&c));
}

Test(generate_world, weights_are_kept)
{
    static const uint32_t EACH[] = { 5, 0, 95 };
    struct weights weights;
    weights_of(&weights, EACH, 3);
    struct prng prng = prng_of(3, 1);
    int counts[3] = { 0 };
    for (int i = 0; i < 10000; i++)
        counts[weights_draw(&weights, &prng)]++;
    cr_expect_eq(counts[1], 0);
    cr_expect(counts[0] > 400 && counts[0] < 600, "%d", counts[0]);
    weights_done(&weights);
}

Test(generate_world, popularity_falls_with_rank)
{
    struct weights weights;
    weights_harmonic(&weights, 100, 0);
    struct prng prng = prng_of(3, 1);
    int counts[100] = { 0 };
    for (int i = 0; i < 100000; i++)
        counts[weights_draw(&weights, &prng)]++;
    cr_expect(counts[0] > counts[1] && counts[1] > counts[9] && counts[9] > counts[99] && counts[99] > 0);
    weights_done(&weights);
}

static struct world *small_world(uint64_t seed)
{
    return world_new(&(struct world_options){
        .seed = seed, .start_day = 20458, .days = 14, .customers = 50, .products = 40, .stores = 3 });
}

Test(generate_world, has_what_the_defects_need)
{
    struct world *world = small_world(1);
    cr_expect_eq(world->store_count, 4);
    cr_expect(world->stores[3].closed_day < 20458, "the last store is shut before the first day");
    cr_expect_eq(world->product_count, 41);
    cr_expect(world->promotions[WORLD_PROMOTION_OVER].end_day < 20458);
    cr_expect_eq(world->promotions[WORLD_PROMOTION_NARROW].product_count, 1);
    cr_expect_eq(world_promotion_for(world, 0, 20458), WORLD_PROMOTION_NARROW);
    for (int32_t i = 0; i < world->promotion_count; i++) {
        const struct world_promotion *promotion = &world->promotions[i];
        cr_expect(promotion->start_day <= promotion->end_day && promotion->percent > 0 &&
                  promotion->percent < 100);
        for (int a = 0; a < promotion->product_count; a++)
            for (int b = 0; b < a; b++)
                cr_expect_neq(promotion->products[a], promotion->products[b],
                              "a product stands once in a promotion");
    }
    world_free(world);
}

Test(generate_world, prices_are_above_nothing_and_change_on_their_day)
{
    struct world *world = small_world(2);
    for (int32_t i = 0; i < world->product_count; i++) {
        const struct world_product *product = &world->products[i];
        cr_expect(product->price_minor > 0);
        if (product->new_price_minor != 0) {
            cr_expect_eq(world_price(product, product->new_from_ms - 1), product->price_minor);
            cr_expect_eq(world_price(product, product->new_from_ms), product->new_price_minor);
        }
    }
    world_free(world);
}
