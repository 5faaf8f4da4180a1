/* Our reading and writing against avro-c's, on random schemas, values and damage. A failure names its seed.
 */
#include "schemas_oracle.h"

#include "schemas/bind.h"
#include "schemas/walk.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

enum { VALUES = 400, SCHEMAS = 150, VALUES_OF_SCHEMA = 10, DAMAGED = 2000, JSON_SIZE = 64 << 10 };

static char *own_json(enum event_kind kind)
{
    char path[KIT_PATH_SIZE];
    snprintf(path, sizeof path, LENS_SOURCE_DIR "/schemas/%s.avsc", event_kind_name(kind));
    return kit_file(path, NULL);
}

static enum code walk(const struct schema *schema, struct text bytes)
{
    size_t position;
    return walk_whole(schema_root(schema), bytes, &position);
}

Test(avro, what_avro_writes_of_our_kinds_we_read_and_write_alike)
{
    struct codec *codec = kit_codec(NULL, NULL);
    struct codec_scratch *scratch = codec_scratch_new();
    for (enum event_kind kind = 0; kind < EVENT_KINDS; kind++) {
        struct oracle oracle;
        uint64_t seed = kind;
        char *json = own_json(kind);
        oracle_open(&oracle, json);
        for (int i = 0; i < VALUES && bind_of(kind) != NULL; i++) {
            static struct kit_bytes bytes, value, again;
            struct event event;
            enum code code;
            struct ll_err err;
            oracle_random_bytes(&oracle, &seed, &bytes);
            kit_value(&value, codec_own_id(codec, kind), "");
            memcpy(value.data + value.size, bytes.data, bytes.size);
            value.size += bytes.size;
            codec_read(codec, kind, kit_text(&value), scratch, &event, &code, &err);
            cr_assert_eq(code, CODE_NONE, "%s, value %d: %s", event_kind_name(kind), i, err.text);
            again.size = codec_write(codec, &event, again.data, sizeof again.data);
            cr_assert(text_equal(kit_text(&value), kit_text(&again)), "%s, value %d", event_kind_name(kind),
                      i);
        }
        oracle_close(&oracle);
        free(json);
    }
    codec_scratch_free(scratch);
    codec_free(codec);
}

Test(avro, what_avro_writes_of_any_schema_is_walked_to_its_very_end)
{
    static char json[JSON_SIZE];
    static struct kit_bytes bytes;
    for (uint64_t number = 0; number < SCHEMAS; number++) {
        struct oracle oracle;
        uint64_t seed = number;
        oracle_random_schema(&seed, json, sizeof json);
        struct schema *schema = kit_schema(json);
        oracle_open(&oracle, json);
        for (int i = 0; i < VALUES_OF_SCHEMA; i++) {
            oracle_random_bytes(&oracle, &seed, &bytes);
            enum code code = walk(schema, kit_text(&bytes));
            cr_assert_eq(code, CODE_NONE, "seed %lu, value %d: %s\n%s", (unsigned long)number, i,
                         kit_code_name(code), json);
        }
        oracle_close(&oracle);
        schema_free(schema);
    }
}

Test(avro, a_canonical_form_is_its_own)
{
    static char json[JSON_SIZE];
    for (uint64_t number = 0; number < SCHEMAS; number++) {
        uint64_t seed = number;
        oracle_random_schema(&seed, json, sizeof json);
        struct schema *schema = kit_schema(json);
        char *canonical = schema_canonical(schema);
        struct schema *again = kit_schema(canonical);
        cr_expect_eq(schema_fingerprint(schema), schema_fingerprint(again), "seed %lu",
                     (unsigned long)number);
        free(canonical);
        schema_free(schema);
        schema_free(again);
    }
}

/* One to three bytes changed, inserted, or cut away. */
static struct text damage(const struct kit_bytes *bytes, uint64_t *seed)
{
    size_t size = bytes->size;
    char *data = malloc(size + 4);
    memcpy(data, bytes->data, size);
    for (uint64_t i = 1 + kit_random(seed) % 3; i > 0 && size > 0; i--) {
        size_t at = kit_random(seed) % size;
        switch (kit_random(seed) % 4) {
        case 0:
            size = at;
            break;
        case 1:
            memmove(data + at + 1, data + at, size - at);
            size++;
            break;
        default:
            data[at] = (char)kit_random(seed);
        }
    }
    return (struct text){data, (uint32_t)size};
}

/* avro-c is laxer, so: what we accept it accepts, and writes alike; what we refuse although it would write
 * the same bytes again is a value out of its range (enum, UTF-8), never a question of where it ends. */
static void compare(enum code ours, enum verdict theirs, const char *what, size_t i)
{
    if (ours == CODE_NONE)
        cr_assert(theirs == VERDICT_SAME || theirs == VERDICT_OTHER,
                  "%s, value %zu: we accept, avro-c says %d", what, i, theirs);
    if (theirs == VERDICT_SAME)
        cr_assert(ours == CODE_NONE || ours == CODE_DECODE_VALUE || ours == CODE_DECODE_LIMIT,
                  "%s, value %zu: avro-c accepts, we say %s", what, i, kit_code_name(ours));
    if (theirs == VERDICT_TRAILING)
        cr_assert_neq(ours, CODE_DECODE_TRUNCATED, "%s, value %zu", what, i);
}

Test(avro, the_verdict_on_damaged_values_of_our_kinds)
{
    struct codec *codec = kit_codec(NULL, NULL);
    struct codec_scratch *scratch = codec_scratch_new();
    unsigned accepted = 0, other = 0;
    for (enum event_kind kind = 0; kind < EVENT_KINDS; kind++) {
        static struct text values[DAMAGED];
        static enum verdict verdicts[DAMAGED];
        static struct kit_bytes bytes, value;
        struct oracle oracle;
        uint64_t seed = 1000 + kind;
        char *json = own_json(kind);
        oracle_open(&oracle, json);
        for (int i = 0; i < DAMAGED; i++) {
            oracle_random_bytes(&oracle, &seed, &bytes);
            values[i] = damage(&bytes, &seed);
        }
        oracle_close(&oracle);
        oracle_judge(json, values, DAMAGED, verdicts);
        for (size_t i = 0; i < DAMAGED && bind_of(kind) != NULL; i++) {
            struct event event;
            struct ll_err err;
            enum code code;
            kit_value(&value, codec_own_id(codec, kind), "");
            memcpy(value.data + value.size, values[i].data, values[i].size);
            value.size += values[i].size;
            codec_read(codec, kind, kit_text(&value), scratch, &event, &code, &err);
            compare(code, verdicts[i], event_kind_name(kind), i);
            accepted += code == CODE_NONE;
            other += code == CODE_NONE && verdicts[i] == VERDICT_OTHER;
        }
        for (size_t i = 0; i < DAMAGED; i++)
            free((char *)values[i].data);
        free(json);
    }
    cr_expect_gt(accepted, 1000u);
    cr_expect_lt(other, accepted / 100, "blocks with sizes alone may be written otherwise: %u of %u", other,
                 accepted);
    codec_scratch_free(scratch);
    codec_free(codec);
}

/* Can a value take no byte? Of such avro-c makes as many as a forged count asks for (LIMITS 2, D3). */
static bool is_empty(const struct schema_node *node)
{
    if (node->type != SCHEMA_RECORD)
        return node->type == SCHEMA_NULL;
    for (uint32_t i = 0; i < node->count; i++)
        if (!is_empty(node->fields[i].type))
            return false;
    return true;
}

static bool lists_the_empty(const struct schema_node *node, unsigned depth)
{
    if (depth > WALK_DEPTH_MAX)
        return false;
    if (node->type == SCHEMA_ARRAY || node->type == SCHEMA_MAP)
        return is_empty(node->items) || lists_the_empty(node->items, depth + 1);
    for (uint32_t i = 0; i < node->count && node->type == SCHEMA_RECORD; i++)
        if (lists_the_empty(node->fields[i].type, depth + 1))
            return true;
    for (uint32_t i = 0; i < node->count && node->type == SCHEMA_UNION; i++)
        if (node->branches[i]->name == NULL && lists_the_empty(node->branches[i], depth + 1))
            return true;
    return false;
}

Test(avro, the_verdict_on_damaged_values_of_any_schema)
{
    enum { FEW = 60 };
    static char json[JSON_SIZE], what[64];
    static struct kit_bytes bytes;
    for (uint64_t number = 0; number < SCHEMAS; number++) {
        struct text values[FEW];
        enum verdict verdicts[FEW];
        struct oracle oracle;
        uint64_t seed = number;
        snprintf(what, sizeof what, "seed %d", (int)number);
        oracle_random_schema(&seed, json, sizeof json);
        struct schema *schema = kit_schema(json);
        if (lists_the_empty(schema_root(schema), 0)) {
            schema_free(schema);
            continue;
        }
        oracle_open(&oracle, json);
        for (int i = 0; i < FEW; i++) {
            oracle_random_bytes(&oracle, &seed, &bytes);
            values[i] = damage(&bytes, &seed);
        }
        oracle_close(&oracle);
        oracle_judge(json, values, FEW, verdicts);
        for (size_t i = 0; i < FEW; i++) {
            compare(walk(schema, values[i]), verdicts[i], what, i);
            free((char *)values[i].data);
        }
        schema_free(schema);
    }
}
