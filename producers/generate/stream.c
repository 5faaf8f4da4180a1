#include "producers/generate/stream.h"

#include "producers/generate/defects.h"
#include "runtime/clock.h"
#include "runtime/kafka.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SECOND_MS INT64_C(1000)
#define MINUTE_MS (60 * SECOND_MS)
#define HOUR_MS   (60 * MINUTE_MS)
#define DAY_MS    (24 * HOUR_MS)

enum {
    STREAM_SALES = 20,
    ANONYMOUS_PERMILLE = 100,
    LATE_PERMILLE = 10, /* arrive days after they happened */
    VOID_PERMILLE = 5,
    EARLY_PERMILLE = 50,    /* of the returns: arrive before their sale */
    UNNAMED_PERMILLE = 100, /* of the returns: name no sale */
    RETURN_DAYS_MAX = 9,
    TRIES_MAX = 20,
    PARTITIONS =
        8, /* of topics.conf: a return under another customer meets its sale only within one partition */
};

/* How busy the days of a week and the hours of a day are; nobody sells outside. */
static const uint32_t WEEKDAY_WEIGHTS[7] = { 10, 9, 10, 11, 14, 18, 12 };
static const uint32_t HOUR_WEIGHTS[24] = { [8] = 4,  [9] = 7,  [10] = 9,  [11] = 11, [12] = 13, [13] = 11,
                                           [14] = 9, [15] = 9, [16] = 11, [17] = 14, [18] = 11, [19] = 6 };
static const uint32_t SUNDAY_WEIGHTS[24] = { [10] = 8, [11] = 12, [12] = 14, [13] = 13, [14] = 11, [15] = 8 };
static const uint32_t LINE_WEIGHTS[MADE_LINES_MAX] = { 24, 22, 17, 13, 9, 6, 4, 2, 2, 1 };

struct stream {
    const struct generate_options *options;
    const struct world *world;
    struct prng prng;
    struct weights hours, sunday_hours, line_counts;
    int32_t day; /* the next one to make */
    int64_t sales_made, number;
    uint64_t defect_turn;
    struct made **heap;
    size_t heap_count, heap_capacity;
    struct made *given; /* the one that the caller looks at */
};

/* The heap of what has not arrived yet. */

static bool before(const struct made *a, const struct made *b)
{
    return a->arrives_ms != b->arrives_ms ? a->arrives_ms < b->arrives_ms : a->number < b->number;
}

static struct made *push(struct stream *stream, const struct made *made)
{
    if (stream->heap_count == stream->heap_capacity) {
        stream->heap_capacity = stream->heap_capacity == 0 ? 1024 : stream->heap_capacity * 2;
        stream->heap = realloc(stream->heap, stream->heap_capacity * sizeof(struct made *));
        if (stream->heap == NULL)
            abort();
    }
    struct made *copy = malloc(sizeof *copy);
    if (copy == NULL)
        abort();
    *copy = *made;
    size_t at = stream->heap_count++;
    for (; at > 0 && before(copy, stream->heap[(at - 1) / 2]); at = (at - 1) / 2)
        stream->heap[at] = stream->heap[(at - 1) / 2];
    stream->heap[at] = copy;
    return copy;
}

static struct made *pop(struct stream *stream)
{
    struct made *first = stream->heap[0], *last = stream->heap[--stream->heap_count];
    size_t at = 0;
    for (;;) {
        size_t child = 2 * at + 1;
        if (child >= stream->heap_count)
            break;
        if (child + 1 < stream->heap_count && before(stream->heap[child + 1], stream->heap[child]))
            child++;
        if (!before(stream->heap[child], last))
            break;
        stream->heap[at] = stream->heap[child];
        at = child;
    }
    stream->heap[at] = last;
    return first;
}

/* One sale. */

int64_t made_sum(const struct made *made)
{
    int64_t sum = 0;
    for (int i = 0; i < made->line_count; i++)
        sum += made->lines[i].amount_minor;
    return sum;
}

void made_strip_promotions(const struct world *world, struct made *made)
{
    for (int i = 0; i < made->line_count; i++) {
        struct made_line *line = &made->lines[i];
        line->promotion_id[0] = '\0';
        line->discount_minor = 0;
        line->unit_price_minor = world_price(&world->products[line->product], made->event_time_ms);
        line->amount_minor = line->quantity * line->unit_price_minor;
    }
    made->total_minor = made_sum(made);
}

static void name_transaction(struct stream *stream, struct made *made)
{
    made->number = stream->number++;
    snprintf(made->transaction_id, sizeof made->transaction_id, "T%010" PRId64, made->number + 1);
}

static bool has_product(const struct made *made, int32_t product)
{
    for (int i = 0; i < made->line_count; i++)
        if (made->lines[i].product == product)
            return true;
    return false;
}

static void add_line(struct stream *stream, struct made *made)
{
    const struct world *world = stream->world;
    int32_t product = world_draw_product(world, &stream->prng);
    for (int tries = 0; has_product(made, product); tries++)
        product = tries < TRIES_MAX ? world_draw_product(world, &stream->prng)
                                    : (product + 1) % world->options.products;
    struct made_line *line = &made->lines[made->line_count++];
    *line = (struct made_line){ .line_no = made->line_count, .product = product };
    memcpy(line->product_id, world->products[product].id, sizeof line->product_id);
    line->quantity = prng_chance(&stream->prng, 700) ? 1 : prng_between(&stream->prng, 2, 6);
    line->unit_price_minor = world_price(&world->products[product], made->event_time_ms);
    int32_t promotion = world_promotion_for(world, product, (int32_t)(made->event_time_ms / DAY_MS));
    if (promotion >= 0 && prng_chance(&stream->prng, 800)) {
        memcpy(line->promotion_id, world->promotions[promotion].id, sizeof line->promotion_id);
        line->discount_minor =
            line->quantity * line->unit_price_minor * world->promotions[promotion].percent / 100;
    }
    line->amount_minor = line->quantity * line->unit_price_minor - line->discount_minor;
}

static void choose_customer(struct stream *stream, struct made *made)
{
    made->customer = -1;
    made->customer_id[0] = '\0';
    if (prng_chance(&stream->prng, ANONYMOUS_PERMILLE))
        return;
    for (int tries = 0; tries < TRIES_MAX; tries++) {
        int32_t customer = world_draw_customer(stream->world, &stream->prng);
        if (stream->world->customers[customer].since_ms > made->event_time_ms)
            continue; /* has not joined yet */
        made->customer = customer;
        world_customer_id(customer, made->customer_id);
        return;
    }
}

static void start_made(struct stream *stream, enum transaction_type type, int64_t event_time_ms,
                       struct made *made)
{
    static const char *const CHANNELS[] = { "store", "store", "store", "store", "app", "" };
    *made = (struct made){
        .type = type, .event_time_ms = event_time_ms, .arrives_ms = event_time_ms, .sale = -1
    };
    name_transaction(stream, made);
    const struct world *world = stream->world;
    const struct world_store *store = &world->stores[weights_draw(&world->store_weights, &stream->prng)];
    memcpy(made->store_id, store->id, sizeof made->store_id);
    memcpy(made->currency, stream->options->currency, sizeof made->currency);
    strcpy(made->source, stream->options->topics ? "generator" : "header_lines");
    made->channel = CHANNELS[prng_below(&stream->prng, 6)];
    choose_customer(stream, made);
}

/* What comes after a sale. */

/* Some time in a later hour of opening; -1: after the last day. */
static int64_t time_after(struct stream *stream, const struct made *sale, int32_t days_max)
{
    int64_t day = sale->event_time_ms / DAY_MS + prng_below(&stream->prng, (uint32_t)days_max + 1);
    int64_t time_ms = day * DAY_MS + 10 * HOUR_MS + prng_below(&stream->prng, 6 * 3600) * SECOND_MS;
    if (time_ms <= sale->event_time_ms)
        time_ms = sale->event_time_ms + prng_between(&stream->prng, 5, 55) * MINUTE_MS;
    return time_ms < (stream->options->start_day + stream->options->days) * DAY_MS ? time_ms : -1;
}

static void follow(struct stream *stream, const struct made *sale, enum transaction_type type,
                   int64_t time_ms, struct made *made)
{
    *made = *sale;
    made->type = type;
    memcpy(made->original_id, sale->transaction_id, sizeof made->original_id);
    name_transaction(stream, made);
    made->event_time_ms = made->arrives_ms = time_ms;
    made->line_count = 0;
    made->sale_watched = false;
}

/* So many pieces of a line go back; its discount goes back with them, the last piece taking the rest. */
static void give_back(struct made *made, const struct made_line *sold, int64_t from, int64_t quantity)
{
    struct made_line *line = &made->lines[made->line_count++];
    *line = *sold;
    line->line_no = made->line_count;
    line->promotion_id[0] = '\0'; /* it may be over by now */
    line->quantity = quantity;
    line->discount_minor = sold->discount_minor * (from + quantity) / sold->quantity -
                           sold->discount_minor * from / sold->quantity;
    line->amount_minor = quantity * line->unit_price_minor - line->discount_minor;
}

static int32_t pieces(struct stream *stream, const struct made_line *line)
{
    return line->quantity == 1 ? 1 : prng_between(&stream->prng, 1, (int32_t)line->quantity);
}

static bool push_return(struct stream *stream, struct made *made)
{
    made->total_minor = made_sum(made);
    if (made->line_count == 0)
        return false;
    push(stream, made);
    return true;
}

/* A return, or two of different lines. True if the sale is to be remembered. */
static bool make_returns(struct stream *stream, struct made *sale)
{
    struct prng *prng = &stream->prng;
    int64_t time_ms = time_after(stream, sale, RETURN_DAYS_MAX);
    if (time_ms < 0)
        return false;
    uint32_t how = prng_below(prng, 100);
    struct made made;
    follow(stream, sale, TRANSACTION_RETURN, time_ms, &made);
    if (how < 40) { /* all of it */
        for (int i = 0; i < sale->line_count; i++)
            give_back(&made, &sale->lines[i], 0, sale->lines[i].quantity);
    } else if (how < 75) { /* some of one line */
        const struct made_line *line = &sale->lines[prng_below(prng, (uint32_t)sale->line_count)];
        give_back(&made, line, 0, pieces(stream, line));
    } else if (how < 90) { /* the first line in two steps, or once */
        const struct made_line *line = &sale->lines[0];
        int64_t first = pieces(stream, line);
        give_back(&made, line, 0, first);
        int64_t second_ms = time_after(stream, &made, 3);
        if (first < line->quantity && second_ms >= 0) {
            struct made second;
            follow(stream, sale, TRANSACTION_RETURN, second_ms, &second);
            give_back(&second, line, first, line->quantity - first);
            push_return(stream, &second);
        }
    } else { /* more than was sold */
        const struct made_line *line = &sale->lines[0];
        give_back(&made, line, 0, line->quantity + prng_between(prng, 1, 3));
        made.codes = code_bit(CODE_REFUND_EXCESS);
    }
    push_return(stream, &made);
    if (prng_chance(prng, EARLY_PERMILLE))
        sale->arrives_ms = time_ms + prng_between(prng, 1, 60) * SECOND_MS;
    return true;
}

static void make_unnamed_return(struct stream *stream, const struct made *sale)
{
    struct made made;
    start_made(stream, TRANSACTION_RETURN,
               sale->event_time_ms + prng_between(&stream->prng, 1, 30) * MINUTE_MS, &made);
    add_line(stream, &made);
    made_strip_promotions(stream->world, &made);
    push_return(stream, &made);
}

static bool make_void(struct stream *stream, const struct made *sale)
{
    struct made made;
    follow(stream, sale, TRANSACTION_VOID,
           sale->event_time_ms + prng_between(&stream->prng, 1, 20) * MINUTE_MS, &made);
    push(stream, &made);
    return true;
}

static void make_repetition(struct stream *stream, const struct made *sale)
{
    struct made made = *sale;
    made.number = stream->number++;
    made.arrives_ms = sale->arrives_ms + prng_between(&stream->prng, 1, 1500) * MINUTE_MS;
    made.repetition = true;
    push(stream, &made);
}

/* The same identity with another content. */
static void make_conflict(struct stream *stream, const struct made *sale)
{
    struct made made = *sale;
    made.number = stream->number++;
    made.arrives_ms = sale->arrives_ms + prng_between(&stream->prng, 1, 600) * MINUTE_MS;
    struct made_line *line = &made.lines[0];
    line->quantity++;
    line->amount_minor += line->unit_price_minor;
    made.total_minor = made_sum(&made);
    made.codes = code_bit(CODE_DUPLICATE_CONFLICT);
    made.stage = STAGE_ACCRUE;
    made.defect = "duplicate_conflict";
    push(stream, &made);
}

/* A return that names another customer of the same partition. */
static bool make_stolen_return(struct stream *stream, const struct made *sale)
{
    struct made made;
    int64_t time_ms = time_after(stream, sale, RETURN_DAYS_MAX);
    if (sale->customer < 0 || time_ms < 0)
        return false;
    follow(stream, sale, TRANSACTION_RETURN, time_ms, &made);
    give_back(&made, &sale->lines[0], 0, sale->lines[0].quantity);
    int32_t partition = kafka_partition_of(text_of(sale->customer_id), PARTITIONS);
    for (int32_t step = 1; step < stream->world->options.customers; step++) {
        made.customer = (sale->customer + step) % stream->world->options.customers;
        world_customer_id(made.customer, made.customer_id);
        if (stream->world->customers[made.customer].since_ms <= sale->event_time_ms &&
            kafka_partition_of(text_of(made.customer_id), PARTITIONS) == partition) {
            made.codes = code_bit(CODE_RETURN_CUSTOMER);
            made.stage = STAGE_ACCRUE;
            made.defect = "return_customer";
            return push_return(stream, &made);
        }
    }
    return false;
}

enum { LATER_DEFECTS = 2 };

static void make_defect(struct stream *stream, struct made *sale)
{
    size_t ways = defects_count(stream->options->topics);
    uint64_t turn = stream->defect_turn++ % (ways + LATER_DEFECTS);
    while (sale->line_count < 2)
        add_line(stream, sale);
    sale->total_minor = made_sum(sale);
    if (turn < ways)
        defects_plant(stream->world, stream->options, turn, sale);
    else if (turn > ways && make_stolen_return(stream, sale))
        sale->sale_watched = false; /* a refused return changes nothing about its sale */
    else
        make_conflict(stream, sale);
}

static bool chance(struct stream *stream, int32_t permyriad)
{
    return (int32_t)prng_below(&stream->prng, 10000) < permyriad;
}

static void make_sale(struct stream *stream, int64_t event_time_ms)
{
    struct made sale;
    start_made(stream, TRANSACTION_SALE, event_time_ms, &sale);
    sale.sale = stream->sales_made++;
    for (uint32_t count = weights_draw(&stream->line_counts, &stream->prng) + 1; count > 0; count--)
        add_line(stream, &sale);
    sale.total_minor = made_sum(&sale);
    if (chance(stream, stream->options->defects_permyriad)) {
        make_defect(stream, &sale);
    } else if (chance(stream, stream->options->returns_permyriad)) {
        if (prng_chance(&stream->prng, UNNAMED_PERMILLE))
            make_unnamed_return(stream, &sale);
        else
            sale.sale_watched = make_returns(stream, &sale);
    } else if (chance(stream, stream->options->duplicates_permyriad)) {
        make_repetition(stream, &sale);
    } else if (prng_chance(&stream->prng, VOID_PERMILLE)) {
        sale.sale_watched = make_void(stream, &sale);
    } else if (prng_chance(&stream->prng, LATE_PERMILLE)) {
        sale.arrives_ms += prng_between(&stream->prng, 1, 5) * DAY_MS;
    }
    push(stream, &sale);
}

static int order_times(const void *left, const void *right)
{
    const int32_t *a = left, *b = right;
    return *a < *b ? -1 : *a > *b;
}

/* Weights of all days up to and without this one. */
static int64_t weight_before(const struct stream *stream, int32_t day)
{
    int64_t sum = 0;
    for (int32_t i = 0; i < day; i++)
        sum += WEEKDAY_WEIGHTS[calendar_weekday(stream->options->start_day + i)];
    return sum;
}

static void make_day(struct stream *stream)
{
    const struct generate_options *options = stream->options;
    int64_t whole = weight_before(stream, options->days);
    int64_t upto = options->sales * weight_before(stream, stream->day + 1) / whole;
    size_t count = (size_t)(upto - stream->sales_made);
    int32_t day = options->start_day + stream->day++;
    int32_t *seconds = calloc(count + 1, sizeof *seconds);
    if (seconds == NULL)
        abort();
    const struct weights *hours = calendar_weekday(day) == 6 ? &stream->sunday_hours : &stream->hours;
    for (size_t i = 0; i < count; i++) {
        int32_t hour = (int32_t)weights_draw(hours, &stream->prng);
        seconds[i] = hour * 3600 + (int32_t)prng_below(&stream->prng, 3600);
    }
    qsort(seconds, count, sizeof *seconds, order_times);
    for (size_t i = 0; i < count; i++)
        make_sale(stream, day * DAY_MS + seconds[i] * SECOND_MS);
    free(seconds);
}

struct stream *stream_new(const struct generate_options *options, const struct world *world)
{
    struct stream *stream = calloc(1, sizeof *stream);
    if (stream == NULL)
        abort();
    stream->options = options;
    stream->world = world;
    stream->prng = prng_of(options->seed, STREAM_SALES);
    weights_of(&stream->hours, HOUR_WEIGHTS, 24);
    weights_of(&stream->sunday_hours, SUNDAY_WEIGHTS, 24);
    weights_of(&stream->line_counts, LINE_WEIGHTS, MADE_LINES_MAX);
    return stream;
}

void stream_free(struct stream *stream)
{
    if (stream == NULL)
        return;
    while (stream->heap_count > 0)
        free(pop(stream));
    free(stream->heap);
    free(stream->given);
    weights_done(&stream->hours);
    weights_done(&stream->sunday_hours);
    weights_done(&stream->line_counts);
    free(stream);
}

bool stream_next(struct stream *stream, const struct made **ret)
{
    const struct generate_options *options = stream->options;
    /* What was made on a day may arrive on it; nothing made later arrives before the day begins. */
    while (stream->day < options->days &&
           (stream->heap_count == 0 ||
            stream->heap[0]->arrives_ms >= (options->start_day + stream->day) * DAY_MS))
        make_day(stream);
    free(stream->given);
    stream->given = NULL;
    if (stream->heap_count == 0)
        return false;
    stream->given = pop(stream);
    *ret = stream->given;
    return true;
}
