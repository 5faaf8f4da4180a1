#include "schemas_kit.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define R(fields) "{\"type\":\"record\",\"name\":\"R\",\"fields\":[" fields "]}"

/* clang-format off */
static const struct {
    const char *why, *json, *canonical; /* canonical NULL: refused */
} PARSE[] = {
    { "a name alone", "\"long\"", "\"long\"" },
    { "an object around a name", "{\"type\":\"long\",\"logicalType\":\"timestamp-millis\"}", "\"long\"" },
    { "a type that is an object itself", "{\"type\":{\"type\":\"array\",\"items\":\"int\"}}",
      "{\"type\":\"array\",\"items\":\"int\"}" },
    { "a record that holds itself through a union", R("{\"name\":\"next\",\"type\":[\"null\",\"R\"]}"),
      "{\"name\":\"R\",\"type\":\"record\",\"fields\":[{\"name\":\"next\",\"type\":[\"null\",\"R\"]}]}" },
    { "a record within itself: a schema that has no value", R("{\"name\":\"r\",\"type\":\"R\"}"),
      "{\"name\":\"R\",\"type\":\"record\",\"fields\":[{\"name\":\"r\",\"type\":\"R\"}]}" },
    { "a name with a namespace of its own", "{\"type\":\"fixed\",\"name\":\"a.b.F\",\"namespace\":\"x\",\"size\":0}",
      "{\"name\":\"a.b.F\",\"type\":\"fixed\",\"size\":0}" },
    { "an enum with a default", "{\"type\":\"enum\",\"name\":\"E\",\"symbols\":[\"A\",\"B\"],\"default\":\"B\"}",
      "{\"name\":\"E\",\"type\":\"enum\",\"symbols\":[\"A\",\"B\"]}" },

    { "not JSON", "{\"type\":", NULL },
    { "nothing", "", NULL },
    { "a key twice: which one is meant?", "{\"type\":\"int\",\"type\":\"long\"}", NULL },
    { "a number", "7", NULL },
    { "an unknown name", "\"panther\"", NULL },
    { "an object with no type", "{\"name\":\"x\"}", NULL },
    { "an array of nothing", "{\"type\":\"array\"}", NULL },
    { "D11: a fixed of negative size", "{\"type\":\"fixed\",\"name\":\"F\",\"size\":-5}", NULL },
    { "D12: a fixed of 8 GB", "{\"type\":\"fixed\",\"name\":\"F\",\"size\":8589934592}", NULL },
    { "D12: a field twice", R("{\"name\":\"a\",\"type\":\"int\"},{\"name\":\"a\",\"type\":\"int\"}"), NULL },
    { "D12: a symbol twice", "{\"type\":\"enum\",\"name\":\"E\",\"symbols\":[\"A\",\"A\"]}", NULL },
    { "D12: a union in a union", "[\"null\",[\"int\"]]", NULL },
    { "D12: a branch twice", "[\"null\",\"null\"]", NULL },
    { "two arrays in a union", "[{\"type\":\"array\",\"items\":\"int\"},{\"type\":\"array\",\"items\":\"long\"}]", NULL },
    { "D13: a name defined twice",
      R("{\"name\":\"a\",\"type\":{\"type\":\"fixed\",\"name\":\"R\",\"size\":1}}"), NULL },
    { "D13: not an identifier", "{\"type\":\"record\",\"name\":\"2d2\",\"fields\":[]}", NULL },
    { "a name that ends with a dot", "{\"type\":\"record\",\"name\":\"a.\",\"fields\":[]}", NULL },
    { "a field with a dot", R("{\"name\":\"a.b\",\"type\":\"int\"}"), NULL },
    { "a default that is no symbol",
      "{\"type\":\"enum\",\"name\":\"E\",\"symbols\":[\"A\"],\"default\":\"B\"}", NULL },
    { "an alias that is no name", R("{\"name\":\"a\",\"type\":\"int\",\"aliases\":[\"-\"]}"), NULL },
    { "a NUL in a name", "{\"type\":\"record\",\"name\":\"a\\u0000b\",\"fields\":[]}", NULL },
};
/* clang-format on */

Test(schema, what_is_a_schema_and_what_is_not)
{
    for (size_t i = 0; i < sizeof PARSE / sizeof PARSE[0]; i++) {
        struct schema *schema = NULL;
        struct ll_err err = {.text = ""};
        enum ll_status status = schema_parse(PARSE[i].json, strlen(PARSE[i].json), &schema, &err);
        cr_expect_eq(status == LL_OK, PARSE[i].canonical != NULL, "%s: %s", PARSE[i].why, err.text);
        if (status != LL_OK) {
            cr_expect(strncmp(err.text, "schema: ", 8) == 0, "%s: %s", PARSE[i].why, err.text);
            continue;
        }
        char *canonical = schema_canonical(schema);
        cr_expect_str_eq(canonical, PARSE[i].canonical, "%s", PARSE[i].why);
        free(canonical);
        schema_free(schema);
    }
}

static enum ll_status parse_text(const char *json)
{
    struct schema *schema = NULL;
    enum ll_status status = schema_parse(json, strlen(json), &schema, NULL);
    schema_free(schema);
    return status;
}

/* "[" or "{array of" so many times. */
static char *nested(unsigned depth)
{
    const char open[] = "{\"type\":\"array\",\"items\":";
    char *json = calloc(depth * (sizeof open + 1) + 16, 1), *at = json;
    for (unsigned i = 0; i < depth; i++)
        at = stpcpy(at, open);
    at = stpcpy(at, "\"int\"");
    for (unsigned i = 0; i < depth; i++)
        *at++ = '}';
    return json;
}

Test(schema, depth_is_limited)
{
    static const struct {
        unsigned depth;
        enum ll_status want;
    } CASES[] = {{SCHEMA_DEPTH_MAX, LL_OK}, {SCHEMA_DEPTH_MAX + 1, LL_POISON}, {1000, LL_POISON}};
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        char *json = nested(CASES[i].depth);
        cr_expect_eq(parse_text(json), CASES[i].want, "%u", CASES[i].depth);
        free(json);
    }
}

Test(schema, depth_of_json_that_is_no_schema_is_limited_too)
{
    enum { DEEP = 100000 };
    char *json = malloc(DEEP + 1);
    memset(json, '[', DEEP);
    json[DEEP] = '\0';
    cr_expect_eq(parse_text(json), LL_POISON);
    free(json);
}

Test(schema, size_and_members_are_limited)
{
    char *big = calloc(SCHEMA_SIZE_MAX + 2, 1), *at = big;
    memset(big, ' ', SCHEMA_SIZE_MAX + 1);
    memcpy(big, "\"int\"", 5);
    cr_expect_eq(parse_text(big), LL_POISON);
    big[SCHEMA_SIZE_MAX] = '\0';
    cr_expect_eq(parse_text(big), LL_OK);

    at = stpcpy(at, "{\"type\":\"enum\",\"name\":\"E\",\"symbols\":[\"A\"");
    for (int i = 0; i < SCHEMA_MEMBERS_MAX; i++)
        at += sprintf(at, ",\"A%d\"", i);
    strcpy(at, "]}");
    cr_expect_eq(parse_text(big), LL_POISON);
    free(big);
}

/* One schema, its canonical form and its fingerprint, in the Avro project's own file of them. */
struct golden {
    char input[2048], canonical[2048];
    int64_t fingerprint;
    bool has_fingerprint;
};

static void check_golden(const struct golden *golden)
{
    struct schema *schema = kit_schema(golden->input);
    char *canonical = schema_canonical(schema);
    cr_expect_str_eq(canonical, golden->canonical, "%s", golden->input);
    if (golden->has_fingerprint)
        cr_expect_eq((int64_t)schema_fingerprint(schema), golden->fingerprint, "%s", golden->input);
    free(canonical);
    schema_free(schema);
}

Test(schema, canonical_forms_and_fingerprints_are_those_of_the_avro_project)
{
    char path[KIT_PATH_SIZE];
    if (!kit_shared("avro/share/test/data/schema-tests.txt", path))
        cr_skip("no %s", path);

    char *line = NULL;
    size_t room = 0, seen = 0;
    bool within = false;
    struct golden golden = {.input = ""};
    FILE *file = fopen(path, "r");
    while (getline(&line, &room, file) > 0) {
        line[strcspn(line, "\n")] = '\0';
        if (within) {
            within = strcmp(line, "INPUT") != 0;
            if (within)
                strcat(golden.input, line);
        } else if (strncmp(line, "<<INPUT", 7) == 0) {
            if (seen++ > 0)
                check_golden(&golden);
            golden = (struct golden){.input = ""};
            within = line[7] == '\0';
            if (!within)
                strcpy(golden.input, line + 8);
        } else if (sscanf(line, "<<fingerprint %" SCNd64, &golden.fingerprint) == 1) {
            golden.has_fingerprint = true;
        } else if (strncmp(line, "<<canonical ", 12) == 0) {
            strcpy(golden.canonical, line + 12);
        }
    }
    check_golden(&golden);
    cr_expect_gt(seen, 30u);
    fclose(file);
    free(line);
}

static void parse_folder(const char *name, enum ll_status want)
{
    char folder[KIT_PATH_SIZE], path[2 * KIT_PATH_SIZE];
    if (!kit_shared(name, folder))
        cr_skip("no %s", folder);
    DIR *dir = opendir(folder);
    unsigned seen = 0;
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        struct schema *schema = NULL;
        struct ll_err err = {.text = ""};
        size_t size;
        if (entry->d_name[0] == '.')
            continue;
        snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        char *json = kit_file(path, &size);
        cr_expect_eq(schema_parse(json, size, &schema, &err), want, "%s: %s", entry->d_name, err.text);
        schema_free(schema);
        free(json);
        seen++;
    }
    closedir(dir);
    cr_expect_gt(seen, 10u);
}

Test(schema, what_the_avro_project_says_must_pass_does)
{
    parse_folder("avro/lang/c/tests/schema_tests/pass", LL_OK);
}

Test(schema, what_the_avro_project_says_must_fail_does)
{
    parse_folder("avro/lang/c/tests/schema_tests/fail", LL_POISON);
}

Test(schema, every_truncation_of_a_schema_is_refused_and_every_changed_byte_survived)
{
    size_t size;
    struct schema *schema;
    char *json = kit_file(LENS_SOURCE_DIR "/schemas/transaction.avsc", &size);
    size_t end = (size_t)(strrchr(json, '}') - json) + 1;
    for (size_t cut = 0; cut < end; cut++)
        cr_assert_eq(schema_parse(json, cut, &schema, NULL), LL_POISON, "%zu", cut);

    uint64_t seed = 3;
    for (int i = 0; i < 3000; i++) {
        size_t at = kit_random(&seed) % size;
        char before = json[at];
        json[at] = (char)kit_random(&seed);
        if (schema_parse(json, size, &schema, NULL) == LL_OK) {
            free(schema_canonical(schema));
            schema_free(schema);
        }
        json[at] = before;
    }
    free(json);
}
