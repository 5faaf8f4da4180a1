/* The id table and the files beside it: files that do not fit together are refused at the start. */
#include "schemas_kit.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

/* clang-format off */
static const struct {
    const char *why, *file, *from, *to, *words;
} CASES[] = {
    { "a published schema was changed", "command.avsc", "\"verb\"", "\"order\"",
      "but id 1011 was published as bfc82db5c23c2c26" },
    { "a schema that is not JSON any more", "control.avsc", "\"fields\"", "fields", "control.avsc: schema: not JSON" },
    { "an id given twice", "ids.conf", "id = 1004", "id = 1003", "ids.conf:10: an id is given once" },
    { "a file given twice", "ids.conf", "\"customer\"; file = \"customer.avsc\"", "\"control\"; file = \"control.avsc\"",
      "ids.conf:10: this file has an id already" },
    { "a kind that is none", "ids.conf", "kind = \"store\"", "kind = \"shop\"", "ids.conf:12: no such kind" },
    { "a kind with no file of its own", "ids.conf", "\"store.avsc\"", "\"old/store.v1.avsc\"", "no entry for store.avsc" },
    { "an id that no frame can hold", "ids.conf", "id = 1004", "id = 0", "ids.conf:10: an id is above 0" },
    { "a fingerprint that is none", "ids.conf", "bfc82db5c23c2c26", "BFC82DB5", "16 digits" },
    { "a file elsewhere", "ids.conf", "\"store.avsc\"", "\"../store.avsc\"", "not a file beside" },
    { "an entry that says too little", "ids.conf", "kind = \"store\"; ", "", "ids.conf:12: a schema is {" },
    { "a file that is not there", "ids.conf", "\"store.avsc\"", "\"store.avsc\"; extra = 1", "ids.conf:12: a schema is {" },
    { "no configuration", "ids.conf", "schemas = (", "schemas = ", "ids.conf:8: syntax error" },
    { "another name for the list", "ids.conf", "schemas = (", "schemata = (", "schemas is to be a list" },
};
/* clang-format on */

Test(ids, what_does_not_fit_together_is_refused)
{
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        char dir[KIT_PATH_SIZE];
        struct codec *codec = NULL;
        struct ll_err err = {.text = ""};
        kit_copy_schemas(CASES[i].file, CASES[i].from, CASES[i].to, dir);
        cr_expect_eq(codec_new(dir, NULL, &codec, &err), LL_FATAL, "%s", CASES[i].why);
        cr_expect_not_null(strstr(err.text, CASES[i].words), "%s: %s", CASES[i].why, err.text);
        kit_remove_schemas(dir);
    }
}

Test(ids, a_folder_that_is_none_is_told)
{
    struct codec *codec = NULL;
    struct ll_err err = {.text = ""};
    cr_expect_eq(codec_new("/nonexistent", NULL, &codec, &err), LL_FATAL);
    cr_expect_not_null(strstr(err.text, "/nonexistent/ids.conf"), "%s", err.text);
}

Test(ids, an_older_schema_of_a_kind_is_read_under_its_own_id)
{
    /* Fields came later: what was published stays in the table, and is read with their defaults. */
    static struct kit_bytes value, want, got;
    char dir[KIT_PATH_SIZE], old[2 * KIT_PATH_SIZE], line[256];
    struct event event;
    struct ll_err err = {.text = ""};
    enum code code;
    enum event_kind kind;

    snprintf(line, sizeof line,
             "{ id = 900; kind = \"product\"; file = \"was.avsc\"; fingerprint = \"%s\"; },\n  { id = 1001",
             "dd8435c03a8a97b1");
    kit_copy_schemas("ids.conf", "{ id = 1001", line, dir);
    snprintf(old, sizeof old, "%s/was.avsc", dir);
    FILE *file = fopen(old, "w");
    fputs("{\"type\":\"record\",\"name\":\"product\",\"namespace\":\"lens\",\"fields\":["
          "{\"name\":\"product_id\",\"type\":\"string\"},{\"name\":\"source\",\"type\":\"string\"},"
          "{\"name\":\"effective_from\",\"type\":\"long\"}]}",
          file);
    fclose(file);

    struct codec *codec = kit_codec(dir, NULL);
    struct codec_scratch *scratch = codec_scratch_new();
    kit_value(&value, 900, "'P 's 5");
    cr_assert_eq(codec_kind(codec, kit_text(&value), &kind, &code, &err), LL_OK);
    cr_expect_eq(kind, EVENT_PRODUCT);
    cr_expect_eq(codec_own_id(codec, EVENT_PRODUCT), 1005);
    codec_read(codec, EVENT_PRODUCT, kit_text(&value), scratch, &event, &code, &err);
    cr_assert_eq(code, CODE_NONE, "%s", err.text);
    kit_value(&want, 1005, "'P 5 0 0 0 0 x01 's 0");
    got.size = codec_write(codec, &event, got.data, sizeof got.data);
    cr_expect(text_equal(kit_text(&got), kit_text(&want)));
    codec_scratch_free(scratch);
    codec_free(codec);
    kit_remove_schemas(dir);
}
