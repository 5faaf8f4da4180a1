#include "schemas_oracle.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { VALUE_DEPTH = 6, SCHEMA_DEPTH = 4 };

/* avro-c allocates what a forged length says (LIMITS 2, D2): without memory behind it, but the sanitizer
 * would fill it. */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
    return "allocator_may_return_null=1:max_allocation_size_mb=64";
}

void oracle_open(struct oracle *oracle, const char *schema_json)
{
    cr_assert_eq(avro_schema_from_json_length(schema_json, strlen(schema_json), &oracle->schema), 0, "%s: %s",
                 schema_json, avro_strerror());
    oracle->iface = avro_generic_class_from_schema(oracle->schema);
    cr_assert_eq(avro_generic_value_new(oracle->iface, &oracle->value), 0);
}

void oracle_close(struct oracle *oracle)
{
    avro_value_decref(&oracle->value);
    avro_value_iface_decref(oracle->iface);
    avro_schema_decref(oracle->schema);
}

static bool chance(uint64_t *seed, unsigned in)
{
    return kit_random(seed) % in == 0;
}

/* Numbers near the places where their encoding grows. */
static int64_t random_number(uint64_t *seed, unsigned bits)
{
    unsigned shift = (unsigned)(kit_random(seed) % bits);
    return (int64_t)(kit_random(seed) >> (64 - bits) >> shift) * (chance(seed, 2) ? 1 : -1);
}

static void fill_text(avro_value_t *value, uint64_t *seed)
{
    static const char *const PIECES[] = {
        "a", "P-", "loyalty", "\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x98\x80", "012345678"};
    char text[128] = "";
    for (uint64_t i = kit_random(seed) % 6; i > 0; i--)
        strcat(text, PIECES[kit_random(seed) % 7]);
    avro_value_set_string(value, text);
}

static void fill(avro_value_t *value, uint64_t *seed, unsigned depth);

static void fill_items(avro_value_t *value, uint64_t *seed, unsigned depth, bool map)
{
    uint64_t count = depth >= VALUE_DEPTH ? 0 : kit_random(seed) % 4;
    for (uint64_t i = 0; i < count; i++) {
        avro_value_t item;
        char key[16];
        snprintf(key, sizeof key, "k%d", (int)i);
        if (map)
            avro_value_add(value, key, &item, NULL, NULL);
        else
            avro_value_append(value, &item, NULL);
        fill(&item, seed, depth + 1);
    }
}

static void fill_union(avro_value_t *value, uint64_t *seed, unsigned depth)
{
    avro_value_t branch;
    size_t count = avro_schema_union_size(avro_value_get_schema(value));
    /* The first branch leads to no recursion. */
    int which = depth >= VALUE_DEPTH ? 0 : (int)(kit_random(seed) % count);
    avro_value_set_branch(value, which, &branch);
    fill(&branch, seed, depth + 1);
}

static void fill_record(avro_value_t *value, uint64_t *seed, unsigned depth)
{
    size_t count;
    avro_value_get_size(value, &count);
    for (size_t i = 0; i < count; i++) {
        avro_value_t field;
        avro_value_get_by_index(value, i, &field, NULL);
        fill(&field, seed, depth + 1);
    }
}

static void fill_bytes(avro_value_t *value, uint64_t *seed, bool fixed)
{
    uint64_t random[32];
    for (size_t i = 0; i < sizeof random / sizeof random[0]; i++)
        random[i] = kit_random(seed);
    if (fixed)
        avro_value_set_fixed(value, random, (size_t)avro_schema_fixed_size(avro_value_get_schema(value)));
    else
        avro_value_set_bytes(value, random, kit_random(seed) % 10);
}

static void fill(avro_value_t *value, uint64_t *seed, unsigned depth)
{
    switch (avro_value_get_type(value)) {
    case AVRO_STRING:
        fill_text(value, seed);
        break;
    case AVRO_BYTES:
        fill_bytes(value, seed, false);
        break;
    case AVRO_INT32:
        avro_value_set_int(value, (int32_t)random_number(seed, 31));
        break;
    case AVRO_INT64:
        avro_value_set_long(value, random_number(seed, 63));
        break;
    case AVRO_FLOAT:
        avro_value_set_float(value, (float)kit_random(seed));
        break;
    case AVRO_DOUBLE:
        avro_value_set_double(value, (double)kit_random(seed));
        break;
    case AVRO_BOOLEAN:
        avro_value_set_boolean(value, chance(seed, 2));
        break;
    case AVRO_NULL:
        avro_value_set_null(value);
        break;
    case AVRO_ENUM:
        avro_value_set_enum(value, (int)(kit_random(seed) % (size_t)avro_schema_enum_number_of_symbols(
                                                                avro_value_get_schema(value))));
        break;
    case AVRO_FIXED:
        fill_bytes(value, seed, true);
        break;
    case AVRO_ARRAY:
        fill_items(value, seed, depth, false);
        break;
    case AVRO_MAP:
        fill_items(value, seed, depth, true);
        break;
    case AVRO_UNION:
        fill_union(value, seed, depth);
        break;
    case AVRO_RECORD:
        fill_record(value, seed, depth);
        break;
    case AVRO_LINK:
        cr_assert_fail("a link is no value");
    }
}

static size_t encode(avro_value_t *value, char *to, size_t room)
{
    avro_writer_t writer = avro_writer_memory(to, (int64_t)room);
    int result = avro_value_write(writer, value);
    size_t size = (size_t)avro_writer_tell(writer);
    avro_writer_free(writer);
    return result == 0 ? size : SIZE_MAX;
}

void oracle_random_bytes(struct oracle *oracle, uint64_t *seed, struct kit_bytes *ret)
{
    avro_value_reset(&oracle->value);
    fill(&oracle->value, seed, 0);
    ret->size = encode(&oracle->value, ret->data, sizeof ret->data);
    cr_assert_neq(ret->size, SIZE_MAX, "%s", avro_strerror());
}

/* A schema being written as text. */
struct draft {
    uint64_t *seed;
    char *at, *end;
    int names;
};

__attribute__((format(printf, 2, 3))) static void say(struct draft *draft, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    int size = vsnprintf(draft->at, (size_t)(draft->end - draft->at), format, arguments);
    va_end(arguments);
    cr_assert_lt(size, draft->end - draft->at);
    draft->at += size;
}

static void draft_type(struct draft *draft, unsigned depth, int within);

static void draft_record(struct draft *draft, unsigned depth)
{
    int name = draft->names++;
    uint64_t count = 1 + kit_random(draft->seed) % 5;
    say(draft, "{\"type\":\"record\",\"name\":\"n%d.R%d\",\"fields\":[", name % 3, name);
    for (uint64_t i = 0; i < count; i++) {
        say(draft, "%s{\"name\":\"f%d\",\"type\":", i == 0 ? "" : ",", (int)i);
        draft_type(draft, depth + 1, name);
        say(draft, "}");
    }
    say(draft, "]}");
}

static void draft_union(struct draft *draft, unsigned depth, int within)
{
    say(draft, "[\"null\"");
    if (chance(draft->seed, 2))
        say(draft, ",\"string\"");
    if (chance(draft->seed, 2))
        say(draft, ",\"long\"");
    if (chance(draft->seed, 3) && within >= 0)
        say(draft, ",\"n%d.R%d\"", within % 3, within);
    else if (chance(draft->seed, 2)) {
        say(draft, ",");
        draft_record(draft, depth + 1);
    }
    say(draft, "]");
}

static void draft_type(struct draft *draft, unsigned depth, int within)
{
    static const char *const PRIMITIVES[] = {"null",  "boolean", "int",   "long",
                                             "float", "double",  "bytes", "string"};
    switch (depth >= SCHEMA_DEPTH ? 0 : kit_random(draft->seed) % 7) {
    case 1:
        draft_record(draft, depth);
        break;
    case 2:
        say(draft, "{\"type\":\"array\",\"items\":");
        draft_type(draft, depth + 1, within);
        say(draft, "}");
        break;
    case 3:
        say(draft, "{\"type\":\"map\",\"values\":");
        draft_type(draft, depth + 1, within);
        say(draft, "}");
        break;
    case 4:
        draft_union(draft, depth, within);
        break;
    case 5:
        say(draft, "{\"type\":\"enum\",\"name\":\"E%d\",\"symbols\":[\"A\",\"B\",\"C\"]}", draft->names++);
        break;
    case 6:
        say(draft, "{\"type\":\"fixed\",\"name\":\"F%d\",\"size\":%d}", draft->names++,
            1 + (int)(kit_random(draft->seed) % 9));
        break;
    default:
        say(draft, "\"%s\"", PRIMITIVES[kit_random(draft->seed) % 8]);
    }
}

void oracle_random_schema(uint64_t *seed, char *to, size_t size)
{
    struct draft draft = {seed, to, to + size, 0};
    draft_record(&draft, 0);
}

static enum verdict judge_one(struct oracle *oracle, struct text bytes)
{
    static char again[KIT_BYTES_MAX];
    avro_reader_t reader = avro_reader_memory(bytes.data, bytes.size);
    avro_value_reset(&oracle->value);
    int result = avro_value_read(reader, &oracle->value);
    bool trailing = result == 0 && avro_skip(reader, 1) == 0;
    avro_reader_free(reader);
    if (result != 0)
        return VERDICT_REFUSED;
    if (trailing)
        return VERDICT_TRAILING;
    size_t size = encode(&oracle->value, again, sizeof again);
    return size == bytes.size && memcmp(again, bytes.data, size) == 0 ? VERDICT_SAME : VERDICT_OTHER;
}

/* Goes on from where the child before died. Its leaks and last words are avro-c's own, and go with it. */
static void judge_from(const char *schema_json, const struct text *values, size_t from, size_t count,
                       enum verdict *shared, size_t *shared_at)
{
    pid_t child = fork();
    if (child == 0) {
        struct oracle oracle;
        int null = open("/dev/null", O_WRONLY);
        dup2(null, STDERR_FILENO);
        oracle_open(&oracle, schema_json);
        for (size_t i = from; i < count; i++) {
            *shared_at = i;
            alarm(5);
            shared[i] = judge_one(&oracle, values[i]);
        }
        *shared_at = count;
        _exit(0);
    }
    waitpid(child, NULL, 0);
}

void oracle_judge(const char *schema_json, const struct text *values, size_t count, enum verdict *ret)
{
    size_t room = sizeof(size_t) + count * sizeof *ret;
    size_t *shared_at = mmap(NULL, room, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    cr_assert_neq(shared_at, MAP_FAILED);
    enum verdict *shared = (void *)(shared_at + 1);
    for (size_t from = 0; from < count; from = *shared_at + (*shared_at < count)) {
        *shared_at = from;
        judge_from(schema_json, values, from, count, shared, shared_at);
        if (*shared_at == count)
            break;
    }
    memcpy(ret, shared, count * sizeof *ret);
    munmap(shared_at, room);
}
