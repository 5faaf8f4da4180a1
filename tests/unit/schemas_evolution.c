/* A writer's schema that is not ours, read as ours: what the Avro specification calls schema resolution. */
#include "schemas_kit.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

/* clang-format off */
#define RECORD(name, fields) "{\"type\":\"record\",\"name\":\"" name "\",\"fields\":[" fields "]}"
#define FIELD(name, type) "{\"name\":\"" name "\",\"type\":" type "}"
#define NAMED(name, type) FIELD(name, "\"" type "\"")
#define OPTION(type) "[\"null\",\"" type "\"]"
#define LOGICAL(type, logical) "{\"type\":\"" type "\",\"logicalType\":\"" logical "\"}"
#define LIST(items) "{\"type\":\"array\",\"items\":" items "}"
#define ENUM(symbols) "{\"type\":\"enum\",\"name\":\"E\",\"symbols\":[" symbols "]}"

#define PROCESS NAMED("process", "string")
#define VERB NAMED("verb", "string")
#define TOPIC NAMED("topic", "string")
#define PARTITION NAMED("partition", "int")
#define TIME NAMED("time", "long")
#define COMMAND(fields) EVENT_COMMAND, RECORD("command", fields)
#define CONTROL(symbols, rest) EVENT_CONTROL, RECORD("control", FIELD("kind", ENUM(symbols)) rest "," TIME)
#define PRODUCT(price) \
    EVENT_PRODUCT, \
        RECORD("product", NAMED("product_id", "string") "," NAMED("effective_from", "long") "," price NAMED("source", "string"))
#define STORE(day) \
    EVENT_STORE, RECORD("store", NAMED("store_id", "string") "," NAMED("effective_from", "long") "," day "," \
                        NAMED("source", "string"))
#define PROMOTION(lists) \
    EVENT_PROMOTION, \
        RECORD("promotion", NAMED("promotion_id", "string") "," NAMED("effective_from", "long") "," \
               NAMED("start_day", "int") "," NAMED("end_day", "int") "," lists NAMED("source", "string"))
#define SALE(line) \
    EVENT_TRANSACTION, \
        RECORD("sale", NAMED("transaction_id", "string") "," FIELD("event_type", ENUM("\"SALE\",\"RETURN\",\"VOID\"")) "," \
               NAMED("event_time", "long") "," NAMED("currency", "string") "," NAMED("source", "string") "," \
               FIELD("lines", LIST(line)))

enum { WRITER = 77 };

static const struct {
    const char *why;
    enum event_kind kind;
    const char *writer, *wrote;
    const char *ours; /* what it is in our schema; NULL: refused */
    enum code code;   /* then */
} CASES[] = {
    { "the very same", COMMAND(PROCESS "," VERB "," TOPIC "," PARTITION "," TIME), "'p 'v 't 1 2", "'p 'v 't 1 2", 0 },
    { "fields in another order", COMMAND(TIME "," TOPIC "," PARTITION "," VERB "," PROCESS), "2 't 1 'v 'p",
      "'p 'v 't 1 2", 0 },
    { "another name of the record: the topic says what it is",
      EVENT_COMMAND, RECORD("com.acme.Order", PROCESS "," VERB "," TOPIC "," PARTITION "," TIME), "'p 'v 't 1 2",
      "'p 'v 't 1 2", 0 },
    { "fields that we do not have, of every type",
      COMMAND(NAMED("a", "null") "," PROCESS "," NAMED("b", "boolean") "," NAMED("c", "int") "," NAMED("d", "long") ","
              VERB "," NAMED("e", "float") "," NAMED("f", "double") "," NAMED("g", "bytes") "," NAMED("h", "string") ","
              TOPIC "," FIELD("i", "{\"type\":\"fixed\",\"name\":\"F\",\"size\":2}") "," FIELD("j", ENUM("\"A\",\"B\"")) ","
              PARTITION "," FIELD("k", LIST("\"long\"")) "," FIELD("l", "{\"type\":\"map\",\"values\":\"int\"}") ","
              FIELD("m", "[\"null\",\"E\",\"string\"]") "," TIME ","
              FIELD("n", RECORD("N", FIELD("next", "[\"null\",\"N\"]")))),
      "'p x01 3 4 'v x00000000 x0000000000000000 2 xffff 'h 't xaabb 1 1 3 1 2 3 0 1 'k 9 0 1 1 2 1 1 0", "'p 'v 't 1 2",
      0 },
    { "a bad byte in a field that we do not have", COMMAND(PROCESS "," VERB "," NAMED("a", "boolean") "," TOPIC ","
      PARTITION "," TIME), "'p 'v x02 't 1 2", NULL, CODE_DECODE_VALUE },
    { "a field less, which has a default", EVENT_CONTROL, RECORD("control", FIELD("kind", ENUM("\"RULES\",\"TICK\"")) "," TIME),
      "1 5", "1 0 5", 0 },
    { "a field less, which has none", COMMAND(PROCESS "," VERB "," TOPIC "," TIME), "'p 'v 't 2", NULL,
      CODE_SCHEMA_INCOMPATIBLE },
    { "defaults of every kind: null, true, the empty text", PRODUCT(""), "'P 5 's", "'P 5 0 0 0 0 x01 's 0", 0 },
    { "defaults of lists", PROMOTION(""), "'X 1 2 3 's", "'X 1 0 2 3 0 0 's 0", 0 },

    { "int where we have long", COMMAND(PROCESS "," VERB "," TOPIC "," PARTITION "," NAMED("time", "int")),
      "'p 'v 't 1 -2", "'p 'v 't 1 -2", 0 },
    { "an int that is a long's number", COMMAND(PROCESS "," VERB "," TOPIC "," PARTITION "," NAMED("time", "int")),
      "'p 'v 't 1 4294967296", NULL, CODE_DECODE_VALUE },
    { "long where we have int", COMMAND(PROCESS "," VERB "," TOPIC "," NAMED("partition", "long") "," TIME),
      "'p 'v 't 1 2", NULL, CODE_SCHEMA_INCOMPATIBLE },
    { "float where we have long: no float ever holds points",
      COMMAND(PROCESS "," VERB "," TOPIC "," PARTITION "," NAMED("time", "float")), "'p 'v 't 1 x00000000", NULL,
      CODE_SCHEMA_INCOMPATIBLE },
    { "bytes where we have string", COMMAND(NAMED("process", "bytes") "," VERB "," TOPIC "," PARTITION "," TIME),
      "'p 'v 't 1 2", NULL, CODE_SCHEMA_INCOMPATIBLE },
    { "micros where we have millis",
      COMMAND(PROCESS "," VERB "," TOPIC "," PARTITION "," FIELD("time", LOGICAL("long", "timestamp-micros"))),
      "'p 'v 't 1 2", NULL, CODE_SCHEMA_INCOMPATIBLE },
    { "millis where we have millis",
      COMMAND(PROCESS "," VERB "," TOPIC "," PARTITION "," FIELD("time", LOGICAL("long", "timestamp-millis"))),
      "'p 'v 't 1 2", "'p 'v 't 1 2", 0 },
    { "an amount of some logical type, where we say none",
      PRODUCT(FIELD("unit_price", LOGICAL("long", "cents")) ","), "'P 5 99 's", "'P 5 0 0 0 1 99 x01 's 0", 0 },

    { "symbols in another order", CONTROL("\"TICK\",\"RULES\"", ""), "0 5", "1 0 5", 0 },
    { "a symbol more, not used", CONTROL("\"OTHER\",\"RULES\",\"TICK\"", ""), "2 5", "1 0 5", 0 },
    { "a symbol more, used", CONTROL("\"OTHER\",\"RULES\",\"TICK\"", ""), "0 5", NULL, CODE_SCHEMA_INCOMPATIBLE },
    { "a symbol less", CONTROL("\"TICK\"", ""), "0 5", "1 0 5", 0 },
    { "an index beyond the writer's symbols", CONTROL("\"TICK\"", ""), "1 5", NULL, CODE_DECODE_VALUE },
    { "a string where we have an enum", EVENT_CONTROL, RECORD("control", NAMED("kind", "string") "," TIME), "'TICK 5",
      NULL, CODE_SCHEMA_INCOMPATIBLE },

    { "null last instead of first", PRODUCT(FIELD("name", "[\"string\",\"null\"]") ","), "'P 5 0 'n 's",
      "'P 5 1 'n 0 0 0 x01 's 0", 0 },
    { "null last, and null", PRODUCT(FIELD("name", "[\"string\",\"null\"]") ","), "'P 5 1 's", "'P 5 0 0 0 0 x01 's 0", 0 },
    { "never null where we allow it", PRODUCT(NAMED("name", "string") "," NAMED("unit_price", "long") ","),
      "'P 5 'n 99 's", "'P 5 1 'n 0 0 1 99 x01 's 0", 0 },
    { "an int, never null, where we have long or null", PRODUCT(NAMED("unit_price", "int") ","), "'P 5 99 's",
      "'P 5 0 0 0 1 99 x01 's 0", 0 },
    { "int or null where we have long or null", PRODUCT(FIELD("unit_price", OPTION("int")) ","), "'P 5 1 99 's",
      "'P 5 0 0 0 1 99 x01 's 0", 0 },
    { "int or null, and null", PRODUCT(FIELD("unit_price", OPTION("int")) ","), "'P 5 0 's", "'P 5 0 0 0 0 x01 's 0", 0 },
    { "always null where we allow it", PRODUCT(NAMED("name", "null") "," NAMED("unit_price", "null") ","), "'P 5 's",
      "'P 5 0 0 0 0 x01 's 0", 0 },
    { "three branches, one of them ours", PRODUCT(FIELD("unit_price", "[\"string\",\"null\",\"long\",\"int\"]") ","),
      "'P 5 2 99 's", "'P 5 0 0 0 1 99 x01 's 0", 0 },
    { "three branches, promoted", PRODUCT(FIELD("unit_price", "[\"string\",\"null\",\"long\",\"int\"]") ","), "'P 5 3 99 's",
      "'P 5 0 0 0 1 99 x01 's 0", 0 },
    { "three branches, null", PRODUCT(FIELD("unit_price", "[\"string\",\"null\",\"long\",\"int\"]") ","), "'P 5 1 's",
      "'P 5 0 0 0 0 x01 's 0", 0 },
    { "three branches, one that is not ours", PRODUCT(FIELD("unit_price", "[\"string\",\"null\",\"long\",\"int\"]") ","),
      "'P 5 0 '99 's", NULL, CODE_SCHEMA_INCOMPATIBLE },
    { "three branches, one that is none", PRODUCT(FIELD("unit_price", "[\"string\",\"null\",\"long\",\"int\"]") ","),
      "'P 5 4 's", NULL, CODE_DECODE_VALUE },
    { "no branch is ours", PRODUCT(FIELD("unit_price", "[\"string\",\"bytes\"]") ","), "'P 5 0 '99 's", NULL,
      CODE_SCHEMA_INCOMPATIBLE },
    { "nullable where we are not, with a value",
      COMMAND(FIELD("process", OPTION("string")) "," VERB "," TOPIC "," PARTITION "," TIME), "1 'p 'v 't 1 2",
      "'p 'v 't 1 2", 0 },
    { "nullable where we are not, and null",
      COMMAND(FIELD("process", OPTION("string")) "," VERB "," TOPIC "," PARTITION "," TIME), "0 'v 't 1 2", NULL,
      CODE_SCHEMA_INCOMPATIBLE },
    { "a nullable micros where we have millis",
      COMMAND(PROCESS "," VERB "," TOPIC "," PARTITION "," FIELD("time", "[\"null\"," LOGICAL("long", "timestamp-micros") "]")),
      "'p 'v 't 1 1 2", NULL, CODE_SCHEMA_INCOMPATIBLE },

    { "a nullable day that is a time of day, and null", STORE(FIELD("opened_day", "[\"null\"," LOGICAL("int", "time-millis") "]")),
      "'S 5 0 's", "'S 5 0 0 0 0 's 0", 0 },
    { "a nullable day that is a time of day, and one", STORE(FIELD("opened_day", "[\"null\"," LOGICAL("int", "time-millis") "]")),
      "'S 5 1 9 's", NULL, CODE_SCHEMA_INCOMPATIBLE },
    { "a nullable day", STORE(FIELD("opened_day", "[\"null\"," LOGICAL("int", "date") "]")), "'S 5 1 9 's",
      "'S 5 0 0 1 9 0 's 0", 0 },

    { "a nullable list, with one", PROMOTION(FIELD("product_ids", "[\"null\"," LIST("\"string\"") "]") ","),
      "'X 1 2 3 1 2 'a 'b 0 's", "'X 1 0 2 3 2 'a 'b 0 0 's 0", 0 },
    { "a nullable list, and null", PROMOTION(FIELD("product_ids", "[\"null\"," LIST("\"string\"") "]") ","),
      "'X 1 2 3 0 's", NULL, CODE_SCHEMA_INCOMPATIBLE },
    { "a list of nullable texts, none null", PROMOTION(FIELD("product_ids", LIST(OPTION("string"))) ","),
      "'X 1 2 3 2 1 'a 1 'b 0 's", "'X 1 0 2 3 2 'a 'b 0 0 's 0", 0 },
    { "a list of nullable texts, one null", PROMOTION(FIELD("product_ids", LIST(OPTION("string"))) ","),
      "'X 1 2 3 2 1 'a 0 0 's", NULL, CODE_SCHEMA_INCOMPATIBLE },
    { "a list of numbers where we have texts", PROMOTION(FIELD("product_ids", LIST("\"int\"")) ","), "'X 1 2 3 0 's",
      NULL, CODE_SCHEMA_INCOMPATIBLE },
    { "a map where we have a list", PROMOTION(FIELD("product_ids", "{\"type\":\"map\",\"values\":\"string\"}") ","),
      "'X 1 2 3 0 's", NULL, CODE_SCHEMA_INCOMPATIBLE },

    { "a line's fields in another order, more of them, and fewer",
      SALE(RECORD("l", NAMED("amount", "int") "," NAMED("note", "string") "," NAMED("quantity", "long") ","
                  NAMED("unit_price", "long") "," NAMED("line_no", "int"))),
      "'T 0 5 'GBP 's 2 500 'x 2 250 1 900 'y 1 900 2 0", "'T 0 0 5 0 0 'GBP 0 's 0 0 2 1 0 2 250 0 500 0 2 0 1 900 0 900 0 0",
      0 },
    { "a line that lacks what has no default", SALE(RECORD("l", NAMED("line_no", "int"))), "'T 0 5 'GBP 's 0", NULL,
      CODE_SCHEMA_INCOMPATIBLE },
    { "lines that are texts", SALE("\"string\""), "'T 0 5 'GBP 's 0", NULL, CODE_SCHEMA_INCOMPATIBLE },

    { "no record at all", EVENT_COMMAND, "\"string\"", "'p", NULL, CODE_SCHEMA_INCOMPATIBLE },
    { "not a schema", EVENT_COMMAND, "{", "", NULL, CODE_SCHEMA_INCOMPATIBLE },
};
/* clang-format on */

static enum code read_as(struct codec *codec, struct codec_scratch *scratch, enum event_kind kind,
                         const char *script, struct event *ret, struct ll_err *err)
{
    static struct kit_bytes value;
    enum code code;
    kit_value(&value, WRITER, script);
    codec_read(codec, kind, kit_text(&value), scratch, ret, &code, err);
    return code;
}

static void expect_ours(struct codec *codec, const struct event *event, const char *script, const char *why)
{
    static struct kit_bytes want, got;
    kit_value(&want, codec_own_id(codec, event->kind), script);
    got.size = codec_write(codec, event, got.data, sizeof got.data);
    cr_expect(text_equal(kit_text(&got), kit_text(&want)), "%s", why);
}

Test(evolution, a_writers_schema_is_resolved_to_ours)
{
    struct codec *codec = kit_codec(NULL, NULL);
    struct codec_scratch *scratch = codec_scratch_new();
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        struct event event;
        struct ll_err add_err = {.text = ""}, err = {.text = ""};
        codec_add_writer(codec, WRITER, CASES[i].kind, CASES[i].writer, strlen(CASES[i].writer), &add_err);
        memset(&event, 0xa5, sizeof event);
        enum code code = read_as(codec, scratch, CASES[i].kind, CASES[i].wrote, &event, &err);
        cr_expect_eq(code, CASES[i].code, "%s: %s: %s", CASES[i].why, kit_code_name(code), err.text);
        if (code == CODE_NONE && CASES[i].ours != NULL)
            expect_ours(codec, &event, CASES[i].ours, CASES[i].why);
    }
    codec_scratch_free(scratch);
    codec_free(codec);
}

/* clang-format off */
static const struct {
    const char *why;
    enum event_kind kind;
    const char *writer, *words;
} REASONS[] = {
    { "what lacks", COMMAND(PROCESS "," VERB "," TOPIC "," TIME), "schema 77 as a command: field partition: the writer lacks" },
    { "what differs", COMMAND(PROCESS "," VERB "," TOPIC "," NAMED("partition", "string") "," TIME),
      "field partition: ours cannot be read from the writer's string" },
    { "what kind of time",
      COMMAND(PROCESS "," VERB "," TOPIC "," PARTITION "," FIELD("time", LOGICAL("long", "timestamp-micros"))),
      "field time: its logical type is not ours but timestamp-micros" },
};
/* clang-format on */

Test(evolution, a_refusal_names_the_field_and_the_cause)
{
    struct codec *codec = kit_codec(NULL, NULL);
    for (size_t i = 0; i < sizeof REASONS / sizeof REASONS[0]; i++) {
        struct ll_err err = {.text = ""};
        enum ll_status status = codec_add_writer(codec, WRITER, REASONS[i].kind, REASONS[i].writer,
                                                 strlen(REASONS[i].writer), &err);
        cr_expect_eq(status, LL_POISON);
        cr_expect_not_null(strstr(err.text, REASONS[i].words), "%s: %s", REASONS[i].why, err.text);
    }
    codec_free(codec);
}

/* Ours may evolve too: a copy of schemas/ in which one of our own files says more. */
/* clang-format off */
static const struct {
    const char *why, *file, *from, *to;
    enum event_kind kind;
    const char *writer, *wrote, *ours;
} OURS[] = {
    { "a field of ours that was called otherwise", "command.avsc", "\"name\": \"verb\"",
      "\"name\": \"verb\", \"aliases\": [\"order\", \"action\"]",
      COMMAND(PROCESS "," NAMED("action", "string") "," TOPIC "," PARTITION "," TIME), "'p 'v 't 1 2", "'p 'v 't 1 2" },
    { "the name before the alias, where the writer has both", "command.avsc", "\"name\": \"verb\"",
      "\"name\": \"verb\", \"aliases\": [\"order\", \"action\"]",
      COMMAND(PROCESS "," NAMED("action", "string") "," VERB "," TOPIC "," PARTITION "," TIME), "'p 'old 'v 't 1 2",
      "'p 'v 't 1 2" },
    { "an unknown symbol becomes our default, where we have one", "control.avsc", "[\"RULES\", \"TICK\"]",
      "[\"RULES\", \"TICK\"], \"default\": \"TICK\"", CONTROL("\"RULES\",\"OTHER\"", ""), "1 5", "1 0 5" },
    { "and a known one stays", "control.avsc", "[\"RULES\", \"TICK\"]", "[\"RULES\", \"TICK\"], \"default\": \"TICK\"",
      CONTROL("\"OTHER\",\"RULES\"", ""), "1 5", "0 0 5" },
    { "a default that is a text", "command.avsc", "\"name\": \"verb\", \"type\": \"string\"",
      "\"name\": \"verb\", \"type\": \"string\", \"default\": \"resume\"", COMMAND(PROCESS "," TOPIC "," PARTITION "," TIME),
      "'p 't 1 2", "'p 'resume 't 1 2" },
    { "a default that is an enum's symbol", "control.avsc", "\"doc\": \"RULES: a", "\"default\": \"TICK\", \"doc\": \"RULES: a",
      EVENT_CONTROL, RECORD("control", TIME), "5", "1 0 5" },
    { "a default that is a number where null is allowed", "product.avsc",
      "\"name\": \"unit_price\", \"type\": [\"null\", \"long\"], \"default\": null",
      "\"name\": \"unit_price\", \"type\": [\"null\", \"long\"], \"default\": 7", PRODUCT(""), "'P 5 's",
      "'P 5 0 0 0 1 7 x01 's 0" },
    { "a default within a line", "transaction.avsc", "\"name\": \"discount\", \"type\": \"long\", \"default\": 0",
      "\"name\": \"discount\", \"type\": \"long\", \"default\": 3",
      SALE(RECORD("l", NAMED("line_no", "int") "," NAMED("quantity", "long") "," NAMED("unit_price", "long") ","
                  NAMED("amount", "long"))),
      "'T 0 5 'GBP 's 2 1 2 250 500 2 1 9 9 0", "'T 0 0 5 0 0 'GBP 0 's 0 0 2 1 0 2 250 3 500 0 2 0 1 9 3 9 0 0" },
};
/* clang-format on */

Test(evolution, ours_may_say_more_than_a_writer_knew)
{
    for (size_t i = 0; i < sizeof OURS / sizeof OURS[0]; i++) {
        char dir[KIT_PATH_SIZE];
        struct event event;
        struct ll_err err = {.text = ""};
        kit_copy_schemas(OURS[i].file, OURS[i].from, OURS[i].to, dir);
        struct codec *codec = kit_codec(dir, NULL);
        struct codec_scratch *scratch = codec_scratch_new();
        codec_add_writer(codec, WRITER, OURS[i].kind, OURS[i].writer, strlen(OURS[i].writer), &err);
        memset(&event, 0xa5, sizeof event);
        enum code code = read_as(codec, scratch, OURS[i].kind, OURS[i].wrote, &event, &err);
        cr_expect_eq(code, CODE_NONE, "%s: %s: %s", OURS[i].why, kit_code_name(code), err.text);
        if (code == CODE_NONE)
            expect_ours(codec, &event, OURS[i].ours, OURS[i].why);
        codec_scratch_free(scratch);
        codec_free(codec);
        kit_remove_schemas(dir);
    }
}
