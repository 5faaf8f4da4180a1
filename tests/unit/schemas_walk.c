/* Values of any schema: what is a whole one, and what hostile bytes get. D1..D15: avro-c's defects in LIMITS.
 */
#include "schemas_kit.h"

#include "schemas/cursor.h"
#include "schemas/event.h"
#include "schemas/walk.h"

#include <criterion/criterion.h>
#include <stdlib.h>

#define LIST         "{\"type\":\"record\",\"name\":\"L\",\"fields\":[{\"name\":\"next\",\"type\":[\"null\",\"L\"]}]}"
#define ARRAY(items) "{\"type\":\"array\",\"items\":" items "}"
#define MAP(values)  "{\"type\":\"map\",\"values\":" values "}"
#define ENUM         "{\"type\":\"enum\",\"name\":\"E\",\"symbols\":[\"A\",\"B\",\"C\"]}"
#define EMPTY        "{\"type\":\"record\",\"name\":\"N\",\"fields\":[]}"
#define OK           CODE_NONE
#define TRUNCATED    CODE_DECODE_TRUNCATED
#define LIMIT        CODE_DECODE_LIMIT
#define TRAILING     CODE_DECODE_TRAILING
#define VALUE        CODE_DECODE_VALUE

/* clang-format off */
static const struct {
    const char *why, *schema, *script;
    enum code want;
} WALKS[] = {
    { "null is no byte", "\"null\"", "", OK },
    { "null with a byte", "\"null\"", "x00", TRAILING },
    { "true", "\"boolean\"", "x01", OK },
    { "D10: a boolean of 7", "\"boolean\"", "x07", VALUE },
    { "no boolean", "\"boolean\"", "", TRUNCATED },
    { "the smallest int", "\"int\"", "-2147483648", OK },
    { "the largest int", "\"int\"", "2147483647", OK },
    { "an int above 32 bits", "\"int\"", "2147483648", VALUE },
    { "an int below 32 bits", "\"int\"", "-2147483649", VALUE },
    { "the smallest long", "\"long\"", "-9223372036854775808", OK },
    { "the largest long", "\"long\"", "9223372036854775807", OK },
    { "D10: a tenth byte of 0x7f", "\"long\"", "xffffffffffffffffff7f", VALUE },
    { "a long of 65 bits", "\"long\"", "xffffffffffffffffff02", VALUE },
    { "an eleventh byte", "\"long\"", "xffffffffffffffffffff01", VALUE },
    { "D10: zero in two bytes", "\"long\"", "x8000", VALUE },
    { "D10: one in three bytes", "\"int\"", "x828000", VALUE },
    { "a long that does not end", "\"long\"", "xffffff", TRUNCATED },
    { "a float", "\"float\"", "x00000000", OK },
    { "three quarters of a float", "\"float\"", "x000000", TRUNCATED },
    { "a double", "\"double\"", "x0000000000000000", OK },
    { "a fixed", "{\"type\":\"fixed\",\"name\":\"F\",\"size\":3}", "xaabbcc", OK },
    { "a fixed cut short", "{\"type\":\"fixed\",\"name\":\"F\",\"size\":3}", "xaabb", TRUNCATED },
    { "bytes of any kind", "\"bytes\"", "2 xfffe", OK },
    { "D1: a string cut short", "\"string\"", "5 x6162", TRUNCATED },
    { "D1: no string at all", "\"string\"", "5", TRUNCATED },
    { "D2: a string of 1 GB", "\"string\"", "1073741824 x6162", LIMIT },
    { "D2: a string of 2^60", "\"string\"", "1152921504606846976 x6162", LIMIT },
    { "D2: a string of INT64_MAX", "\"string\"", "9223372036854775807 x6162", LIMIT },
    { "D8: a string of negative size", "\"string\"", "-3 x616263", VALUE },
    { "D8: bytes of negative size", "\"bytes\"", "-1 x61", VALUE },
    { "an empty string", "\"string\"", "0", OK },
    { "a string of two, three and four bytes a letter", "\"string\"", "9 xc3a9e282acf09f9880", OK },
    { "UTF-8: a byte that begins nothing", "\"string\"", "1 xff", VALUE },
    { "UTF-8: a continuation alone", "\"string\"", "1 x80", VALUE },
    { "UTF-8: cut within a letter", "\"string\"", "2 x61c3", VALUE },
    { "UTF-8: overlong slash", "\"string\"", "2 xc0af", VALUE },
    { "UTF-8: overlong, three bytes", "\"string\"", "3 xe08080", VALUE },
    { "UTF-8: overlong, four bytes", "\"string\"", "4 xf0808080", VALUE },
    { "UTF-8: a surrogate", "\"string\"", "3 xeda080", VALUE },
    { "UTF-8: above U+10FFFF", "\"string\"", "4 xf4908080", VALUE },
    { "UTF-8: far above", "\"string\"", "4 xf5808080", VALUE },
    { "UTF-8: wrong in the last of many", "\"string\"", "17 x6161616161616161616161616161616180", VALUE },
    { "an enum's last symbol", ENUM, "2", OK },
    { "D4: an enum's index 99", ENUM, "99", VALUE },
    { "D4: an enum's index -7", ENUM, "-7", VALUE },
    { "D4: an enum's index 2^32+1", ENUM, "4294967297", VALUE },
    { "a union's branch", "[\"null\",\"int\"]", "1 5", OK },
    { "a union's branch that is none", "[\"null\",\"int\"]", "2 5", VALUE },
    { "a negative branch", "[\"null\",\"int\"]", "-1 5", VALUE },
    { "D10: a branch of 2^32", "[\"null\",\"int\"]", "4294967296", VALUE },
    { "no value of an empty union", "[]", "0", VALUE },
    { "an empty array", ARRAY("\"int\""), "0", OK },
    { "an array in two blocks", ARRAY("\"int\""), "2 7 8 1 9 0", OK },
    { "an array with the size of its block", ARRAY("\"int\""), "-2 2 7 8 0", OK },
    { "an array with no end", ARRAY("\"int\""), "2 7 8", TRUNCATED },
    { "D9: a block of INT64_MIN", ARRAY("\"int\""), "-9223372036854775808 2 7 8 0", LIMIT },
    { "D9: a block's size of -100", ARRAY("\"int\""), "-2 -100 7 8 0", VALUE },
    { "D9: a block's size too small", ARRAY("\"int\""), "-2 1 7 8 0", VALUE },
    { "D9: a block's size too large", ARRAY("\"int\""), "-2 3 7 8 0", VALUE },
    { "a block's size beyond the end", ARRAY("\"int\""), "-2 1000 7 8 0", TRUNCATED },
    { "D3: 2^40 nulls", ARRAY("\"null\""), "1099511627776 0", LIMIT },
    { "D3: 2^50 nulls", ARRAY("\"null\""), "1125899906842624 0", LIMIT },
    { "D3: 2^20 nulls, one more than the values", ARRAY("\"null\""), "1048576 0", LIMIT },
    { "D3: 2^19 nulls twice and once more", ARRAY("\"null\""), "524288 524288 1 0", LIMIT },
    { "a few nulls", ARRAY("\"null\""), "1000 0", OK },
    { "D3: 2^30 empty records", ARRAY(EMPTY), "1073741824 0", LIMIT },
    { "D3: a million times a million, by nesting", ARRAY(ARRAY("\"null\"")), "1000 1000000 0 1000000 0 0", LIMIT },
    { "a map", MAP("\"int\""), "2 'a 1 'b 2 0", OK },
    { "a map's key that is no UTF-8", MAP("\"int\""), "1 1 xff 2 0", VALUE },
    { "D3: a map of nulls is bounded by its keys", MAP("\"null\""), "1000 'a 0", TRUNCATED },
    { "D11: a record within itself", "{\"type\":\"record\",\"name\":\"R\",\"fields\":[{\"name\":\"r\",\"type\":\"R\"}]}",
      "0 0 0 0", LIMIT },
    { "two nested records", LIST, "1 1 0", OK },
    { "bytes after the end", LIST, "1 1 0 0", TRAILING },
};
/* clang-format on */

static enum code walk(const struct schema *schema, struct text bytes)
{
    size_t position;
    return walk_whole(schema_root(schema), bytes, &position);
}

Test(walk, every_type_and_every_defect)
{
    for (size_t i = 0; i < sizeof WALKS / sizeof WALKS[0]; i++) {
        static struct kit_bytes bytes;
        struct schema *schema = kit_schema(WALKS[i].schema);
        bytes.size = 0;
        kit_compose(&bytes, WALKS[i].script);
        enum code code = walk(schema, kit_text(&bytes));
        cr_expect_eq(code, WALKS[i].want, "%s: %s, want %s", WALKS[i].why, kit_code_name(code),
                     kit_code_name(WALKS[i].want));
        schema_free(schema);
    }
}

Test(walk, D5_depth_is_limited_where_the_schema_does_not)
{
    enum { DEEP = 50000 };
    struct schema *schema = kit_schema(LIST);
    char *bytes = malloc(DEEP);
    memset(bytes, 2, DEEP);
    cr_expect_eq(walk(schema, (struct text){bytes, DEEP}), CODE_DECODE_LIMIT);

    /* A level is a union and a record. */
    unsigned levels = WALK_DEPTH_MAX / 2 - 1;
    bytes[levels] = 0;
    cr_expect_eq(walk(schema, (struct text){bytes, levels + 1}), CODE_NONE);
    bytes[levels] = 2;
    bytes[levels + 1] = 2;
    bytes[levels + 2] = 0;
    cr_expect_eq(walk(schema, (struct text){bytes, levels + 3}), CODE_DECODE_LIMIT);
    free(bytes);
    schema_free(schema);
}

Test(walk, a_value_is_at_most_so_large)
{
    struct schema *schema = kit_schema(ARRAY("\"bytes\""));
    char *bytes = calloc(EVENT_SIZE_MAX + 1, 1);
    cr_expect_eq(walk(schema, (struct text){bytes, EVENT_SIZE_MAX + 1}), CODE_DECODE_LIMIT);
    cr_expect_eq(walk(schema, (struct text){bytes, 1}), CODE_NONE);
    free(bytes);
    schema_free(schema);
}

Test(walk, no_bytes_is_a_null_and_nothing_else)
{
    struct schema *null = kit_schema("\"null\""), *number = kit_schema("\"int\"");
    cr_expect_eq(walk(null, (struct text){0}), CODE_NONE);
    cr_expect_eq(walk(number, (struct text){0}), CODE_DECODE_TRUNCATED);
    schema_free(null);
    schema_free(number);
}

/* Every text of up to four bytes of the interesting kind, against the definition: decode, and see that it is
 * shortest. */
static bool utf8_by_definition(const unsigned char *at, size_t size)
{
    for (size_t i = 0; i < size;) {
        static const uint32_t LEAST[] = {0, 0x80, 0x800, 0x10000};
        size_t follow = at[i] < 0x80             ? 0
                        : (at[i] & 0xe0) == 0xc0 ? 1
                        : (at[i] & 0xf0) == 0xe0 ? 2
                        : (at[i] & 0xf8) == 0xf0 ? 3
                                                 : 9;
        if (follow > 3 || i + follow >= size + (follow == 0))
            return false;
        uint32_t point = follow == 0 ? at[i] : at[i] & (0x3fu >> follow);
        for (size_t j = 1; j <= follow; j++) {
            if ((at[i + j] & 0xc0) != 0x80)
                return false;
            point = point << 6 | (at[i + j] & 0x3f);
        }
        if (point < LEAST[follow] || point > 0x10ffff || (point >= 0xd800 && point < 0xe000))
            return false;
        i += follow + 1;
    }
    return true;
}

Test(walk, utf8_agrees_with_its_definition)
{
    static const unsigned char EDGES[] = {0x00, 0x41, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf,
                                          0xc0, 0xc1, 0xc2, 0xdf, 0xe0, 0xe1, 0xec, 0xed, 0xee,
                                          0xef, 0xf0, 0xf1, 0xf3, 0xf4, 0xf5, 0xf8, 0xff};
    enum { COUNT = sizeof EDGES };
    for (unsigned n = 0; n < COUNT * COUNT * COUNT * COUNT; n++) {
        unsigned char bytes[4] = {EDGES[n % COUNT], EDGES[n / COUNT % COUNT],
                                  EDGES[n / COUNT / COUNT % COUNT], EDGES[n / COUNT / COUNT / COUNT]};
        for (uint32_t size = 1; size <= 4; size++)
            if (utf8_valid((struct text){(const char *)bytes, size}) != utf8_by_definition(bytes, size))
                cr_assert_fail("%02x %02x %02x %02x, %u bytes", bytes[0], bytes[1], bytes[2], bytes[3], size);
    }
}

Test(walk, utf8_sees_a_wrong_byte_wherever_it_stands)
{
    char bytes[80];
    for (uint32_t size = 1; size <= sizeof bytes; size++)
        for (uint32_t at = 0; at < size; at++) {
            memset(bytes, 'a', size);
            cr_assert(utf8_valid((struct text){bytes, size}));
            bytes[at] = (char)0x80;
            cr_assert_not(utf8_valid((struct text){bytes, size}), "%u of %u", at, size);
        }
}
