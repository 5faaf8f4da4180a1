#include "producers/generate/world.h"

#include "runtime/clock.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DAY_MS INT64_C(86400000)

enum { STREAM_STORES = 10, STREAM_PRODUCTS, STREAM_CUSTOMERS, STREAM_PROMOTIONS };

static void *zeroed(size_t count, size_t size)
{
    void *memory = calloc(count, size);
    if (memory == NULL)
        abort();
    return memory;
}

#define COUNT(list) ((int32_t)(sizeof(list) / sizeof *(list)))

static const char *const CITIES[] = { "London",  "Manchester", "Leeds",  "Bristol",  "York",  "Cardiff",
                                      "Glasgow", "Norwich",    "Exeter", "Bath",     "Derby", "Oxford",
                                      "Chester", "Durham",     "Truro",  "Llandudno" };
static const char *const PLACES[] = { "High Street", "Market Square", "Station Road", "Riverside",
                                      "North Gate",  "Old Mill",      "The Arcade",   "Retail Park" };
static const char *const BRANDS[] = { "Alder",  "Birch & Co", "Caf\xc3\xa9 Noir", "Dovetail", "Everyday",
                                      "Fennel", "Grange",     "Harbour",          "Ivy",      "Juniper" };
static const char *const FIRST_NAMES[] = { "Amelia",  "Bilal",       "Chlo\xc3\xab", "David",
                                           "Efua",    "Fiona",       "George",       "Harriet",
                                           "Imran",   "Jos\xc3\xa9", "Katarzyna",    "Liam",
                                           "Maya",    "Noah",        "Olivia",       "Priya",
                                           "Quentin", "Rosa",        "Si\xc3\xa2n",  "Tom\xc3\xa1\xc5\xa1",
                                           "Uma",     "Victor",      "Wen",          "Yusuf" };
static const char *const LAST_NAMES[] = { "Adams",  "Baker",  "Clarke",  "Davies",  "Evans",  "Fraser",
                                          "Green",  "Hughes", "Iqbal",   "Jones",   "Khan",   "Lewis",
                                          "Morgan", "Nowak",  "O'Neill", "Patel",   "Quinn",  "Roberts",
                                          "Smith",  "Taylor", "Usman",   "Vaughan", "Walker", "Young" };

static const struct {
    const char *name;
    int32_t price_from, price_to; /* minor units */
    const char *things[6];
} CATEGORIES[] = {
    { "Fruit", 60, 450, { "Apples", "Bananas", "Pears", "Grapes", "Oranges", "Plums" } },
    { "Vegetables", 50, 380, { "Carrots", "Leeks", "Potatoes", "Spinach", "Tomatoes", "Onions" } },
    { "Dairy", 80, 650, { "Milk", "Butter", "Cheddar", "Yoghurt", "Cream", "Eggs" } },
    { "Bakery", 90, 520, { "Sourdough", "Rolls", "Croissants", "Scones", "Bagels", "Rye bread" } },
    { "Meat and fish", 280, 1900, { "Chicken", "Mince", "Salmon", "Cod", "Bacon", "Lamb" } },
    { "Pantry", 70, 780, { "Rice", "Pasta", "Jam, strawberry", "Honey", "Oats", "Olive oil" } },
    { "Drinks", 60, 1400, { "Tea", "Coffee", "Orange juice", "Water", "Lemonade", "Cider" } },
    { "Household", 120, 2400, { "Soap", "Towels", "Candles", "Sponge", "Bin bags", "Detergent" } },
    { "Health", 150, 2900, { "Shampoo", "Toothpaste", "Vitamins", "Plasters", "Lip balm", "Razors" } },
    { "Garden", 250, 6900, { "Seeds", "Compost", "Gloves", "Watering can", "Trowel", "Plant pot 12\"" } },
    { "Kitchen", 300, 12900, { "Saucepan", "Knife", "Mug", "Kettle", "Plate", "Whisk" } },
    { "Toys", 200, 7900, { "Puzzle", "Blocks", "Teddy", "Ball", "Kite", "Board game" } },
};

const char *world_category_name(int category)
{
    return CATEGORIES[category].name;
}

char *world_customer_id(int32_t customer, char to[WORLD_ID_SIZE])
{
    snprintf(to, WORLD_ID_SIZE, "C%07" PRId32, customer + 1);
    return to;
}

/* Weights. */

void weights_of(struct weights *weights, const uint32_t *each, uint32_t count)
{
    weights->upto = zeroed(count, sizeof *weights->upto);
    weights->count = count;
    uint64_t sum = 0;
    for (uint32_t i = 0; i < count; i++)
        weights->upto[i] = sum += each[i];
}

/* 1 / (rank + flatness) */
void weights_harmonic(struct weights *weights, uint32_t count, uint32_t flatness)
{
    weights->upto = zeroed(count, sizeof *weights->upto);
    weights->count = count;
    uint64_t sum = 0;
    for (uint32_t i = 0; i < count; i++)
        weights->upto[i] = sum += UINT64_C(1000000000) / (i + 1 + flatness);
}

void weights_done(struct weights *weights)
{
    free(weights->upto);
}

uint32_t weights_draw(const struct weights *weights, struct prng *prng)
{
    uint64_t total = weights->upto[weights->count - 1];
    /* The remainder's bias is below 2^-20: totals stay below 2^44. */
    uint64_t at = prng_next(prng) % total;
    uint32_t low = 0, high = weights->count - 1;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (weights->upto[middle] > at)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

/* 0 .. count - 1 in a random order (Fisher and Yates). */
static int32_t *shuffled(struct prng *prng, int32_t count)
{
    int32_t *list = zeroed((size_t)count, sizeof *list);
    for (int32_t i = 0; i < count; i++) {
        int32_t other = (int32_t)prng_below(prng, (uint32_t)i + 1);
        list[i] = list[other];
        list[other] = i;
    }
    return list;
}

int32_t world_draw_customer(const struct world *world, struct prng *prng)
{
    return world->customer_ranks[weights_draw(&world->customer_weights, prng)];
}

int32_t world_draw_product(const struct world *world, struct prng *prng)
{
    return world->product_ranks[weights_draw(&world->product_weights, prng)];
}

/* Stores, products, customers, promotions. */

static void make_stores(struct world *world)
{
    struct prng prng = prng_of(world->options.seed, STREAM_STORES);
    world->store_count = world->options.stores + 1;
    world->stores = zeroed((size_t)world->store_count, sizeof *world->stores);
    for (int32_t i = 0; i < world->store_count; i++) {
        struct world_store *store = &world->stores[i];
        snprintf(store->id, sizeof store->id, "S%03" PRId32, i + 1);
        store->city = CITIES[prng_below(&prng, (uint32_t)COUNT(CITIES))];
        snprintf(store->name, sizeof store->name, "%s %s", store->city,
                 PLACES[prng_below(&prng, (uint32_t)COUNT(PLACES))]);
        store->opened_day = world->options.start_day - prng_between(&prng, 400, 6000);
        store->closed_day = WORLD_DAYS_NEVER;
    }
    world->stores[world->store_count - 1].closed_day = world->options.start_day - 30;
    weights_harmonic(&world->store_weights, (uint32_t)world->options.stores, 4);
}

static void make_products(struct world *world)
{
    struct prng prng = prng_of(world->options.seed, STREAM_PRODUCTS);
    int64_t half_ms = (world->options.start_day + world->options.days / 2) * DAY_MS;
    world->product_count = world->options.products + 1;
    world->products = zeroed((size_t)world->product_count, sizeof *world->products);
    for (int32_t i = 0; i < world->product_count; i++) {
        struct world_product *product = &world->products[i];
        snprintf(product->id, sizeof product->id, "P%05" PRId32, i + 1);
        product->category = i % COUNT(CATEGORIES);
        product->brand = BRANDS[prng_below(&prng, (uint32_t)COUNT(BRANDS))];
        const char *thing = CATEGORIES[product->category].things[prng_below(&prng, 6)];
        snprintf(product->name, sizeof product->name, "%s %s", product->brand, thing);
        product->price_minor = prng_between(&prng, CATEGORIES[product->category].price_from,
                                            CATEGORIES[product->category].price_to);
        if (prng_chance(&prng, 700)) /* most prices end in 9 */
            product->price_minor = product->price_minor / 10 * 10 + 9;
        if (prng_chance(&prng, 50)) {
            product->new_price_minor = product->price_minor * prng_between(&prng, 90, 115) / 100 + 1;
            product->new_from_ms = half_ms;
        }
    }
    weights_harmonic(&world->product_weights, (uint32_t)world->options.products, 20);
    world->product_ranks = shuffled(&prng, world->options.products);
}

int64_t world_price(const struct world_product *product, int64_t time_ms)
{
    return product->new_price_minor != 0 && time_ms >= product->new_from_ms ? product->new_price_minor
                                                                            : product->price_minor;
}

static void make_customers(struct world *world)
{
    struct prng prng = prng_of(world->options.seed, STREAM_CUSTOMERS);
    int32_t count = world->options.customers;
    int64_t start_ms = world->options.start_day * DAY_MS;
    world->customers = zeroed((size_t)count, sizeof *world->customers);
    for (int32_t i = 0; i < count; i++) {
        struct world_customer *customer = &world->customers[i];
        customer->look = (uint32_t)prng_next(&prng);
        if (prng_chance(&prng, 50)) /* joins in the course of the days */
            customer->since_ms = start_ms + prng_below(&prng, (uint32_t)world->options.days) * DAY_MS;
        else
            customer->since_ms = start_ms - prng_between(&prng, 1, 1500) * DAY_MS;
    }
    weights_harmonic(&world->customer_weights, (uint32_t)count, 15);
    world->customer_ranks = shuffled(&prng, count);
}

void world_person(const struct world *world, int32_t customer, struct world_person *ret)
{
    uint32_t look = world->customers[customer].look;
    const char *first = FIRST_NAMES[look % (uint32_t)COUNT(FIRST_NAMES)];
    const char *last = LAST_NAMES[look / 32 % (uint32_t)COUNT(LAST_NAMES)];
    snprintf(ret->name, sizeof ret->name, "%s %s", first, last);
    snprintf(ret->email, sizeof ret->email, "customer%" PRId32 "@example.com", customer + 1);
    /* Ofcom keeps 020 7946 0000 to 0999 free for fiction. */
    snprintf(ret->phone, sizeof ret->phone, "+44 20 7946 0%03" PRIu32, look / 1024 % 1000);
    ret->language = look % 11 == 0 ? "cy" : look % 13 == 0 ? "pl" : "en";
    ret->country = look % 17 == 0 ? "IE" : "GB";
    ret->consent = look % 10 < 6;
}

static bool covers(const struct world *world, const struct world_promotion *promotion, int32_t product)
{
    if (promotion->category >= 0)
        return world->products[product].category == promotion->category;
    for (int i = 0; i < promotion->product_count; i++)
        if (promotion->products[i] == product)
            return true;
    return false;
}

static void make_promotion(struct world *world, struct prng *prng, int32_t at)
{
    struct world_promotion *promotion = &world->promotions[at];
    snprintf(promotion->id, sizeof promotion->id, "PR%03" PRId32, at + 1);
    promotion->percent = 5 * prng_between(prng, 1, 6);
    promotion->category = -1;
    promotion->start_day =
        world->options.start_day + (int32_t)prng_below(prng, (uint32_t)world->options.days);
    promotion->end_day = promotion->start_day + prng_between(prng, 2, 9);
    if (prng_chance(prng, 400)) {
        promotion->category = (int)prng_below(prng, (uint32_t)COUNT(CATEGORIES));
        snprintf(promotion->name, sizeof promotion->name, "%d %% off %s", promotion->percent,
                 CATEGORIES[promotion->category].name);
        return;
    }
    for (int draws = prng_between(prng, 3, WORLD_PROMOTED_MAX); draws > 0; draws--) {
        int32_t product = world_draw_product(world, prng);
        if (!covers(world, promotion, product))
            promotion->products[promotion->product_count++] = product;
    }
    snprintf(promotion->name, sizeof promotion->name, "%d %% off, week %d", promotion->percent, at);
}

static void make_promotions(struct world *world)
{
    struct prng prng = prng_of(world->options.seed, STREAM_PROMOTIONS);
    int32_t count = 2 + world->options.days / 3 + 4;
    world->promotion_count = count < WORLD_PROMOTIONS_MAX ? count : WORLD_PROMOTIONS_MAX;
    world->promotions = zeroed((size_t)world->promotion_count, sizeof *world->promotions);
    for (int32_t i = 0; i < world->promotion_count; i++)
        make_promotion(world, &prng, i);
    struct world_promotion *over = &world->promotions[WORLD_PROMOTION_OVER];
    *over = (struct world_promotion){ .id = "PR001",
                                      .name = "Winter clearance",
                                      .percent = 10,
                                      .category = -1,
                                      .start_day = world->options.start_day - 60,
                                      .end_day = world->options.start_day - 31 };
    struct world_promotion *narrow = &world->promotions[WORLD_PROMOTION_NARROW];
    *narrow = (struct world_promotion){ .id = "PR002",
                                        .name = "Thing of the month",
                                        .percent = 15,
                                        .category = -1,
                                        .product_count = 1,
                                        .start_day = world->options.start_day - 1,
                                        .end_day = world->options.start_day + world->options.days + 30 };
}

int32_t world_promotion_for(const struct world *world, int32_t product, int32_t day)
{
    for (int32_t i = WORLD_PROMOTION_NARROW; i < world->promotion_count; i++) {
        const struct world_promotion *promotion = &world->promotions[i];
        if (day >= promotion->start_day && day <= promotion->end_day && covers(world, promotion, product))
            return i;
    }
    return -1;
}

struct world *world_new(const struct world_options *options)
{
    struct world *world = zeroed(1, sizeof *world);
    world->options = *options;
    make_stores(world);
    make_products(world);
    make_customers(world);
    make_promotions(world);
    return world;
}

void world_free(struct world *world)
{
    if (world == NULL)
        return;
    weights_done(&world->store_weights);
    weights_done(&world->product_weights);
    weights_done(&world->customer_weights);
    free(world->product_ranks);
    free(world->customer_ranks);
    free(world->stores);
    free(world->products);
    free(world->customers);
    free(world->promotions);
    free(world);
}
