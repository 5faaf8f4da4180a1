#include "producers/generate/defects.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

/* No time zone, no closing day and no lateness limit makes anything else of these. */
#define FAR_FUTURE_MS INT64_C(4083912000000) /* 2099-05-31T12:00:00Z */
#define HUGE_QUANTITY INT64_C(900000000000000)

struct spoiling {
    const struct world *world;
    const struct generate_options *options;
    struct made *made;
};

typedef void spoil_fn(struct spoiling *spoiling);

static struct made_line *first_line(struct spoiling *spoiling)
{
    return &spoiling->made->lines[0];
}

static void sum_up(struct spoiling *spoiling)
{
    spoiling->made->total_minor = made_sum(spoiling->made);
}

static void void_of_nothing(struct spoiling *spoiling)
{
    spoiling->made->type = TRANSACTION_VOID;
    spoiling->made->line_count = 0;
}

static void no_transaction_id(struct spoiling *spoiling)
{
    spoiling->made->transaction_id[0] = '\0';
}

static void no_source(struct spoiling *spoiling)
{
    spoiling->made->source[0] = '\0';
}

static void no_time(struct spoiling *spoiling)
{
    spoiling->made->event_time_ms = 0;
}

static void future_time(struct spoiling *spoiling)
{
    spoiling->made->event_time_ms = FAR_FUTURE_MS;
    made_strip_promotions(spoiling->world, spoiling->made);
}

/* A till that is read live, and was offline for longer than its source allows. Nobody is a customer for that long. */
static void late_time(struct spoiling *spoiling)
{
    struct made *made = spoiling->made;
    strcpy(made->source, "pos");
    made->event_time_ms = (spoiling->options->start_day - 60) * INT64_C(86400000) + 43200000;
    made->customer = -1;
    made->customer_id[0] = '\0';
    made_strip_promotions(spoiling->world, made);
}

static void quantity_zero(struct spoiling *spoiling)
{
    struct made_line *line = first_line(spoiling);
    line->quantity = line->discount_minor = line->amount_minor = 0;
    sum_up(spoiling);
}

static void price_zero(struct spoiling *spoiling)
{
    struct made_line *line = first_line(spoiling);
    line->unit_price_minor = line->discount_minor = line->amount_minor = 0;
    sum_up(spoiling);
}

static void given_away(struct spoiling *spoiling)
{
    struct made_line *line = first_line(spoiling);
    line->discount_minor = line->quantity * line->unit_price_minor;
    line->amount_minor = 0;
    sum_up(spoiling);
}

static void discount_negative(struct spoiling *spoiling)
{
    struct made_line *line = first_line(spoiling);
    line->discount_minor = -100;
    line->amount_minor = line->quantity * line->unit_price_minor + 100;
    sum_up(spoiling);
}

static void currency_unknown(struct spoiling *spoiling)
{
    strcpy(spoiling->made->currency, "XQZ");
}

static void currency_other(struct spoiling *spoiling)
{
    strcpy(spoiling->made->currency, strcmp(spoiling->options->currency, "SEK") == 0 ? "NOK" : "SEK");
}

static void lines_lost(struct spoiling *spoiling)
{
    spoiling->made->line_count = 0;
}

static void line_number_twice(struct spoiling *spoiling)
{
    spoiling->made->lines[1].line_no = spoiling->made->lines[0].line_no;
}

static void amount_off(struct spoiling *spoiling)
{
    first_line(spoiling)->amount_minor++;
    sum_up(spoiling);
}

static void total_off(struct spoiling *spoiling)
{
    spoiling->made->total_minor += 100;
}

static void amount_huge(struct spoiling *spoiling)
{
    struct made_line *line = first_line(spoiling);
    line->quantity = HUGE_QUANTITY;
    line->unit_price_minor = 1000000;
    line->discount_minor = 0;
    line->amount_minor = 1000000;
    sum_up(spoiling);
}

static void no_store(struct spoiling *spoiling)
{
    spoiling->made->store_id[0] = '\0';
}

static void store_unknown(struct spoiling *spoiling)
{
    strcpy(spoiling->made->store_id, "S999");
}

static void store_closed(struct spoiling *spoiling)
{
    const struct world *world = spoiling->world;
    memcpy(spoiling->made->store_id, world->stores[world->store_count - 1].id,
           sizeof spoiling->made->store_id);
}

/* Without its promotion, which may not be for another product. */
static struct made_line *plain_line(struct spoiling *spoiling)
{
    made_strip_promotions(spoiling->world, spoiling->made);
    return first_line(spoiling);
}

static void no_product(struct spoiling *spoiling)
{
    plain_line(spoiling)->product_id[0] = '\0';
}

static void product_unknown(struct spoiling *spoiling)
{
    strcpy(plain_line(spoiling)->product_id, "P99999");
}

static void product_discontinued(struct spoiling *spoiling)
{
    const struct world *world = spoiling->world;
    memcpy(plain_line(spoiling)->product_id, world->products[world->product_count - 1].id, WORLD_ID_SIZE);
}

static void customer_unknown(struct spoiling *spoiling)
{
    strcpy(spoiling->made->customer_id, "C9999999");
    spoiling->made->customer = -1;
}

static void promotion_unknown(struct spoiling *spoiling)
{
    strcpy(plain_line(spoiling)->promotion_id, "PR999");
}

static void promote(struct spoiling *spoiling, int promotion)
{
    struct made_line *line = plain_line(spoiling);
    memcpy(line->promotion_id, spoiling->world->promotions[promotion].id, sizeof line->promotion_id);
}

static void promotion_over(struct spoiling *spoiling)
{
    promote(spoiling, WORLD_PROMOTION_OVER);
}

static void promotion_of_another(struct spoiling *spoiling)
{
    int line =
        spoiling->made->lines[0].product == spoiling->world->promotions[WORLD_PROMOTION_NARROW].products[0];
    made_strip_promotions(spoiling->world, spoiling->made);
    memcpy(spoiling->made->lines[line].promotion_id, spoiling->world->promotions[WORLD_PROMOTION_NARROW].id,
           WORLD_ID_SIZE);
}

/* Everything at once: all of it must be said. */
static void many_things(struct spoiling *spoiling)
{
    made_strip_promotions(spoiling->world, spoiling->made);
    struct made *made = spoiling->made;
    made->lines[0].quantity = 0;
    made->lines[0].amount_minor = 0;
    strcpy(made->lines[1].product_id, "P99999");
    made->lines[1].amount_minor += 5;
    strcpy(made->store_id, "S999");
    strcpy(made->currency, "XQZ");
    made->total_minor = made_sum(made) + 1;
}

#define DAMAGE(name, kind, line)                                                                             \
    static void name(struct spoiling *spoiling)                                                              \
    {                                                                                                        \
        spoiling->made->damage = DAMAGE_##kind;                                                              \
        spoiling->made->damaged_line = line;                                                                 \
    }
DAMAGE(header_quote, QUOTE, -1)
DAMAGE(line_quote, QUOTE, 0)
DAMAGE(header_columns, COLUMNS, -1)
DAMAGE(line_columns, COLUMNS, 1)
DAMAGE(control, CONTROL, -1)
DAMAGE(encoding, ENCODING, -1)
DAMAGE(type_unknown, TYPE, -1)
DAMAGE(time_syntax, TIME, -1)
DAMAGE(price_text, PRICE_TEXT, 0)
DAMAGE(price_scale, PRICE_SCALE, 1)
DAMAGE(quantity_text, QUANTITY_TEXT, 0)
DAMAGE(header_lost, NO_HEADER, -1)
DAMAGE(text_long, LONG_TEXT, -1)
DAMAGE(frame_short, FRAME_SHORT, -1)
DAMAGE(frame_magic, FRAME_MAGIC, -1)
DAMAGE(schema_unknown, SCHEMA_UNKNOWN, -1)
DAMAGE(schema_other, SCHEMA_OTHER, -1)
DAMAGE(truncated, TRUNCATED, -1)
DAMAGE(trailing, TRAILING, -1)
DAMAGE(enum_index, ENUM, -1)
DAMAGE(utf8, UTF8, -1)
DAMAGE(length_forged, LENGTH, -1)

enum { CSV = 1, AVRO = 2, ANY = CSV | AVRO };

#define B(name) ((uint64_t)1 << CODE_##name)

static const struct {
    const char *name;
    uint64_t codes;
    enum made_stage stage;
    unsigned outputs;
    spoil_fn *spoil;
} WAYS[] = {
    { "void_of_nothing", B(ORIGINAL_MISSING), STAGE_VALIDATE, ANY, void_of_nothing },
    { "no_transaction_id", B(TRANSACTION_ID_MISSING), STAGE_VALIDATE, ANY, no_transaction_id },
    { "no_source", B(SOURCE_MISSING), STAGE_VALIDATE, AVRO, no_source },
    { "no_time", B(TIME_INVALID), STAGE_VALIDATE, ANY, no_time },
    { "future_time", B(TIME_FUTURE), STAGE_VALIDATE, ANY, future_time },
    { "quantity_zero", B(QUANTITY_NOT_POSITIVE) | B(AMOUNT_NOT_POSITIVE), STAGE_VALIDATE, ANY,
      quantity_zero },
    { "price_zero", B(PRICE_NOT_POSITIVE) | B(AMOUNT_NOT_POSITIVE), STAGE_VALIDATE, ANY, price_zero },
    { "given_away", B(AMOUNT_NOT_POSITIVE), STAGE_VALIDATE, ANY, given_away },
    { "discount_negative", B(DISCOUNT_NEGATIVE), STAGE_VALIDATE, ANY, discount_negative },
    { "currency_unknown", B(CURRENCY_UNKNOWN), STAGE_VALIDATE, ANY, currency_unknown },
    { "currency_other", B(CURRENCY_OTHER), STAGE_VALIDATE, ANY, currency_other },
    { "lines_lost", B(LINES_EMPTY) | B(TOTAL_MISMATCH), STAGE_VALIDATE, ANY, lines_lost },
    { "line_number_twice", B(LINE_NO_DUPLICATE), STAGE_VALIDATE, ANY, line_number_twice },
    { "amount_off", B(LINE_AMOUNT_MISMATCH), STAGE_VALIDATE, ANY, amount_off },
    { "total_off", B(TOTAL_MISMATCH), STAGE_VALIDATE, ANY, total_off },
    { "amount_huge", B(AMOUNT_OVERFLOW), STAGE_VALIDATE, ANY, amount_huge },
    { "no_store", B(STORE_MISSING), STAGE_VALIDATE, ANY, no_store },
    { "store_unknown", B(STORE_UNKNOWN), STAGE_VALIDATE, ANY, store_unknown },
    { "store_closed", B(STORE_CLOSED), STAGE_VALIDATE, ANY, store_closed },
    { "no_product", B(PRODUCT_MISSING), STAGE_VALIDATE, ANY, no_product },
    { "product_unknown", B(PRODUCT_UNKNOWN), STAGE_VALIDATE, ANY, product_unknown },
    { "product_discontinued", B(PRODUCT_UNKNOWN), STAGE_VALIDATE, ANY, product_discontinued },
    { "customer_unknown", B(CUSTOMER_UNKNOWN), STAGE_VALIDATE, ANY, customer_unknown },
    { "promotion_unknown", B(PROMOTION_UNKNOWN), STAGE_VALIDATE, ANY, promotion_unknown },
    { "promotion_over", B(PROMOTION_INACTIVE), STAGE_VALIDATE, ANY, promotion_over },
    { "promotion_of_another", B(PROMOTION_PRODUCT), STAGE_VALIDATE, ANY, promotion_of_another },
    { "many_things",
      B(QUANTITY_NOT_POSITIVE) | B(AMOUNT_NOT_POSITIVE) | B(PRODUCT_UNKNOWN) | B(LINE_AMOUNT_MISMATCH) |
          B(STORE_UNKNOWN) | B(CURRENCY_UNKNOWN) | B(TOTAL_MISMATCH),
      STAGE_VALIDATE, ANY, many_things },
    { "header_quote", B(CSV_SYNTAX), STAGE_IMPORT, CSV, header_quote },
    { "line_quote", B(CSV_SYNTAX), STAGE_IMPORT, CSV, line_quote },
    { "header_columns", B(CSV_COLUMNS), STAGE_IMPORT, CSV, header_columns },
    { "line_columns", B(CSV_COLUMNS), STAGE_IMPORT, CSV, line_columns },
    { "control", B(TEXT_CONTROL), STAGE_IMPORT, CSV, control },
    { "encoding", B(TEXT_ENCODING), STAGE_IMPORT, CSV, encoding },
    { "type_unknown", B(TYPE_UNKNOWN), STAGE_IMPORT, CSV, type_unknown },
    { "time_syntax", B(TIME_SYNTAX), STAGE_IMPORT, CSV, time_syntax },
    { "price_text", B(AMOUNT_SYNTAX), STAGE_IMPORT, CSV, price_text },
    { "price_scale", B(AMOUNT_SCALE), STAGE_IMPORT, CSV, price_scale },
    { "quantity_text", B(QUANTITY_SYNTAX), STAGE_IMPORT, CSV, quantity_text },
    { "header_lost", B(HEADER_MISSING), STAGE_IMPORT, CSV, header_lost },
    { "frame_short", B(FRAME_SHORT), STAGE_VALIDATE, AVRO, frame_short },
    { "frame_magic", B(FRAME_MAGIC), STAGE_VALIDATE, AVRO, frame_magic },
    { "schema_unknown", B(SCHEMA_UNKNOWN), STAGE_VALIDATE, AVRO, schema_unknown },
    { "schema_other", B(SCHEMA_INCOMPATIBLE), STAGE_VALIDATE, AVRO, schema_other },
    { "truncated", B(DECODE_TRUNCATED), STAGE_VALIDATE, AVRO, truncated },
    { "trailing", B(DECODE_TRAILING), STAGE_VALIDATE, AVRO, trailing },
    { "enum_index", B(DECODE_VALUE), STAGE_VALIDATE, AVRO, enum_index },
    { "utf8", B(DECODE_VALUE), STAGE_VALIDATE, AVRO, utf8 },
    { "length_forged", B(DECODE_LIMIT), STAGE_VALIDATE, AVRO, length_forged },
    { "late_time", B(TIME_LATE), STAGE_VALIDATE, AVRO, late_time },
    { "text_long", B(CSV_LIMIT), STAGE_IMPORT, CSV, text_long },
};
enum { WAY_COUNT = sizeof WAYS / sizeof *WAYS };

size_t defects_count(bool topics)
{
    size_t count = 0;
    for (size_t i = 0; i < WAY_COUNT; i++)
        count += (WAYS[i].outputs & (topics ? AVRO : CSV)) != 0;
    return count;
}

void defects_plant(const struct world *world, const struct generate_options *options, uint64_t turn,
                   struct made *made)
{
    assert(made->line_count >= 2);
    size_t way = 0;
    for (;; way++) {
        if ((WAYS[way].outputs & (options->topics ? AVRO : CSV)) == 0)
            continue;
        if (turn-- == 0)
            break;
    }
    struct spoiling spoiling = { world, options, made };
    made->defect = WAYS[way].name;
    made->codes = WAYS[way].codes;
    made->stage = WAYS[way].stage;
    WAYS[way].spoil(&spoiling);
}
