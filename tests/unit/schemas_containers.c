/* The Avro project's own files: what other languages' writers wrote is walked value by value; corrupt ones
 * are refused. */
#include "schemas_oracle.h"

#include "schemas/cursor.h"
#include "schemas/event.h"
#include "schemas/walk.h"

#include <criterion/criterion.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

enum { SYNC_SIZE = 16 };

/* An object container: its schema, its codec, and where its blocks begin. Just enough of a reader for these
 * files. */
struct container {
    char *data;
    struct text schema, codec;
    const unsigned char *sync;
    struct cursor at;
};

typedef void value_fn(void *arg, const struct schema_node *schema, struct text value);

static enum code read_metadata(struct container *container)
{
    for (;;) {
        struct block block;
        enum code code = cursor_block(&container->at, 100, &block);
        if (code != CODE_NONE || block.count == 0)
            return code;
        for (; block.count > 0; block.count--) {
            struct text key, value;
            if ((code = cursor_text(&container->at, EVENT_SIZE_MAX, &key)) != CODE_NONE ||
                (code = cursor_bytes(&container->at, EVENT_SIZE_MAX, &value)) != CODE_NONE)
                return code;
            if (text_equal(key, TEXT("avro.schema")))
                container->schema = value;
            if (text_equal(key, TEXT("avro.codec")))
                container->codec = value;
        }
    }
}

static enum code container_open(struct container *container, const char *path)
{
    size_t size;
    container->data = kit_file(path, &size);
    container->codec = TEXT("null");
    container->schema = (struct text){0};
    if (size < 4 || memcmp(container->data, "Obj\1", 4) != 0)
        return CODE_FRAME_MAGIC;
    container->at = (struct cursor){(const unsigned char *)container->data + 4,
                                    (const unsigned char *)container->data + size};
    enum code code = read_metadata(container);
    container->sync = container->at.at;
    return code != CODE_NONE ? code : cursor_skip(&container->at, SYNC_SIZE);
}

/* Walks the values of one block of the null codec, from first to exactly its last byte. */
static enum code walk_block(const struct schema_node *schema, int64_t count, struct text block,
                            value_fn *each, void *arg)
{
    const unsigned char *begin = (const unsigned char *)block.data;
    struct cursor cursor = {begin, begin + block.size};
    for (; count > 0; count--) {
        uint32_t values_left = WALK_VALUES_MAX;
        const char *value = (const char *)cursor.at;
        enum code code = walk_value(&cursor, schema, &values_left);
        if (code != CODE_NONE)
            return code;
        if (each != NULL)
            each(arg, schema, (struct text){value, (uint32_t)((const char *)cursor.at - value)});
    }
    return cursor.at == cursor.end ? CODE_NONE : CODE_DECODE_TRAILING;
}

static enum code walk_container(struct container *container, const struct schema_node *schema, value_fn *each,
                                void *arg)
{
    while (container->at.at < container->at.end) {
        int64_t count;
        struct text block;
        enum code code = cursor_long(&container->at, &count);
        if (code == CODE_NONE)
            code = cursor_bytes(&container->at, EVENT_SIZE_MAX, &block);
        if (code == CODE_NONE && cursor_left(&container->at) < SYNC_SIZE)
            code = CODE_DECODE_TRUNCATED;
        if (code == CODE_NONE && memcmp(container->at.at, container->sync, SYNC_SIZE) != 0)
            code = CODE_DECODE_VALUE;
        if (code == CODE_NONE)
            code = walk_block(schema, count, block, each, arg);
        if (code != CODE_NONE)
            return code;
        container->at.at += SYNC_SIZE;
    }
    return CODE_NONE;
}

static enum code walk_file(const char *path, value_fn *each, void *arg)
{
    struct container container;
    struct schema *schema = NULL;
    enum code code = container_open(&container, path);
    if (code == CODE_NONE &&
        schema_parse(container.schema.data, container.schema.size, &schema, NULL) != LL_OK)
        code = CODE_SCHEMA_INCOMPATIBLE;
    if (code == CODE_NONE)
        code = walk_container(&container, schema_root(schema), each, arg);
    schema_free(schema);
    free(container.data);
    return code;
}

static void count_value(void *arg, const struct schema_node *schema, struct text value)
{
    unsigned *seen = arg;
    (void)schema;
    (void)value;
    ++*seen;
}

/* clang-format off */
static const struct {
    const char *name;
    enum code want;
    unsigned values;
} FILES[] = {
    { "avro/share/test/data/weather.avro", CODE_NONE, 5 },
    { "avro/share/test/data/test.avro12", CODE_FRAME_MAGIC, 0 }, /* the container of Avro 1.2 */
    { "avro/share/test/data/schemas/simple/data.avro", CODE_NONE, 3 },
    { "avro/share/test/data/schemas/withUnion/data.avro", CODE_NONE, 3 },
    { "avro/lang/c/tests/avro-1237-good.avro", CODE_NONE, 2 },
    { "avro/lang/c/tests/avro-1237-bad-union-discriminant.avro", CODE_DECODE_VALUE, 1 },
    { "avro/lang/c/tests/avro-1238-good.avro", CODE_NONE, 2 },
    { "avro/lang/c/tests/avro-1238-truncated.avro", CODE_DECODE_TRUNCATED, 0 },
    { "avro/lang/c/tests/avro-1279-codec.avro", CODE_NONE, 3 },
    { "avro/lang/c/tests/avro-1279-no-codec.avro", CODE_NONE, 3 },
};
/* clang-format on */

Test(containers, are_walked_to_their_end_or_refused)
{
    for (size_t i = 0; i < sizeof FILES / sizeof FILES[0]; i++) {
        char path[KIT_PATH_SIZE];
        unsigned seen = 0;
        if (!kit_shared(FILES[i].name, path))
            cr_skip("no %s", path);
        enum code code = walk_file(path, count_value, &seen);
        cr_expect_eq(code, FILES[i].want, "%s: %s", FILES[i].name, kit_code_name(code));
        cr_expect_eq(seen, FILES[i].values, "%s: %u values", FILES[i].name, seen);
    }
}

/* One reading, compared with a line of weather.json. */
static void check_weather(void *arg, const struct schema_node *schema, struct text value)
{
    json_t *want = json_loadf(arg, JSON_DISABLE_EOF_CHECK, NULL);
    const unsigned char *begin = (const unsigned char *)value.data;
    struct cursor cursor = {begin, begin + value.size};
    struct text station = {0};
    int64_t time = 0;
    int32_t temp = 0;
    (void)schema;
    cr_assert_eq(cursor_text(&cursor, 100, &station), CODE_NONE);
    cr_assert_eq(cursor_long(&cursor, &time), CODE_NONE);
    cr_assert_eq(cursor_int(&cursor, &temp), CODE_NONE);
    cr_assert(text_equal(station, text_of(json_string_value(json_object_get(want, "station")))));
    cr_assert_eq(time, json_integer_value(json_object_get(want, "time")));
    cr_assert_eq(temp, json_integer_value(json_object_get(want, "temp")));
    json_decref(want);
}

Test(containers, weather_is_what_its_json_says)
{
    char path[KIT_PATH_SIZE], json[KIT_PATH_SIZE];
    if (!kit_shared("avro/share/test/data/weather.avro", path) ||
        !kit_shared("avro/share/test/data/weather.json", json))
        cr_skip("no %s", path);
    FILE *file = fopen(json, "r");
    cr_expect_eq(walk_file(path, check_weather, file), CODE_NONE);
    fclose(file);
}

/* The schema of each container parses to the same canonical form whoever tells it. */
Test(containers, weathers_schema_is_its_avsc)
{
    char path[KIT_PATH_SIZE], avsc[KIT_PATH_SIZE];
    struct container container;
    struct schema *within = NULL;
    if (!kit_shared("avro/share/test/data/weather.avro", path) ||
        !kit_shared("avro/share/test/schemas/weather.avsc", avsc))
        cr_skip("no %s", path);
    char *json = kit_file(avsc, NULL);
    struct schema *beside = kit_schema(json);
    cr_assert_eq(container_open(&container, path), CODE_NONE);
    cr_assert_eq(schema_parse(container.schema.data, container.schema.size, &within, NULL), LL_OK);
    cr_expect_eq(schema_fingerprint(within), schema_fingerprint(beside));
    schema_free(within);
    schema_free(beside);
    free(json);
    free(container.data);
}

/* What avro-c unpacks and reads, it hands us as bytes again. */
static unsigned walk_packed(const char *path)
{
    static char bytes[1 << 16];
    struct container container;
    struct schema *schema = NULL;
    avro_file_reader_t reader;
    avro_value_t value;
    unsigned seen = 0;
    cr_assert_eq(container_open(&container, path), CODE_NONE);
    cr_assert_eq(schema_parse(container.schema.data, container.schema.size, &schema, NULL), LL_OK);
    cr_assert_eq(avro_file_reader(path, &reader), 0, "%s: %s", path, avro_strerror());
    avro_schema_t writer = avro_file_reader_get_writer_schema(reader);
    avro_value_iface_t *iface = avro_generic_class_from_schema(writer);
    avro_generic_value_new(iface, &value);
    for (; avro_file_reader_read_value(reader, &value) == 0; avro_value_reset(&value), seen++) {
        size_t position;
        avro_writer_t memory = avro_writer_memory(bytes, sizeof bytes);
        cr_assert_eq(avro_value_write(memory, &value), 0);
        struct text written = {bytes, (uint32_t)avro_writer_tell(memory)};
        cr_expect_eq(walk_whole(schema_root(schema), written, &position), CODE_NONE, "%s, value %u", path,
                     seen);
        avro_writer_free(memory);
    }
    avro_value_decref(&value);
    avro_value_iface_decref(iface);
    avro_schema_decref(writer);
    avro_file_reader_close(reader);
    schema_free(schema);
    free(container.data);
    return seen;
}

static const struct {
    const char *name;
    unsigned values;
} PACKED[] = {
    {"avro/share/test/data/weather-deflate.avro", 5},
    {"avro/share/test/data/weather-sorted.avro", 5},
    {"avro/share/test/data/weather-snappy.avro", 5},
    {"avro/share/test/data/syncInMeta.avro", 6001},
};

Test(containers, packed_ones_hold_what_their_schema_says)
{
    for (size_t i = 0; i < sizeof PACKED / sizeof PACKED[0]; i++) {
        char path[KIT_PATH_SIZE];
        if (!kit_shared(PACKED[i].name, path))
            cr_skip("no %s", path);
        unsigned seen = walk_packed(path);
        cr_expect_eq(seen, PACKED[i].values, "%s: %u values", PACKED[i].name, seen);
    }
}

/* Single-object encoding: two marker bytes, the schema's fingerprint in little-endian, the value. */
Test(containers, a_single_object_names_its_schema_by_our_fingerprint)
{
    char message_path[KIT_PATH_SIZE], schema_path[KIT_PATH_SIZE];
    size_t size, position;
    uint64_t fingerprint = 0;
    if (!kit_shared("avro/share/test/data/messageV1/test_message.bin", message_path) ||
        !kit_shared("avro/share/test/data/messageV1/test_schema.avsc", schema_path))
        cr_skip("no %s", message_path);
    char *message = kit_file(message_path, &size), *json = kit_file(schema_path, NULL);
    struct schema *schema = kit_schema(json);
    cr_assert_eq(memcmp(message, "\xc3\x01", 2), 0);
    for (int i = 7; i >= 0; i--)
        fingerprint = fingerprint << 8 | (unsigned char)message[2 + i];
    cr_expect_eq(schema_fingerprint(schema), fingerprint, "%016" PRIx64, schema_fingerprint(schema));
    cr_expect_eq(walk_whole(schema_root(schema), (struct text){message + 10, (uint32_t)size - 10}, &position),
                 CODE_NONE);
    schema_free(schema);
    free(json);
    free(message);
}
