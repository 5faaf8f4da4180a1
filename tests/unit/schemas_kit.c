#include "schemas_kit.h"

#include "schemas/encode.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static void append(struct kit_bytes *to, const char *from, size_t size)
{
    cr_assert(to->size + size <= KIT_BYTES_MAX);
    memcpy(to->data + to->size, from, size);
    to->size += size;
}

static void append_long(struct kit_bytes *to, int64_t value)
{
    char bytes[VARINT_SIZE_MAX];
    append(to, bytes, (size_t)(encode_long(bytes, value) - bytes));
}

static void append_hex(struct kit_bytes *to, const char *digits, size_t size)
{
    for (size_t i = 0; i + 1 < size; i += 2) {
        char pair[3] = {digits[i], digits[i + 1], '\0'}, byte = (char)strtoul(pair, NULL, 16);
        append(to, &byte, 1);
    }
}

void kit_compose(struct kit_bytes *to, const char *script)
{
    for (const char *word = script; *word != '\0';) {
        size_t size = strcspn(word, " ");
        if (word[0] == '\'') {
            append_long(to, (int64_t)size - 1);
            append(to, word + 1, size - 1);
        } else if (word[0] == 'x') {
            append_hex(to, word + 1, size - 1);
        } else if (size > 0) {
            append_long(to, strtoll(word, NULL, 10));
        }
        word += size;
        word += strspn(word, " ");
    }
}

void kit_value(struct kit_bytes *to, int32_t schema_id, const char *script)
{
    const char frame[CODEC_FRAME_SIZE] = {0, (char)(schema_id >> 24), (char)(schema_id >> 16),
                                          (char)(schema_id >> 8), (char)schema_id};
    to->size = 0;
    append(to, frame, sizeof frame);
    kit_compose(to, script);
}

struct text kit_text(const struct kit_bytes *bytes)
{
    return (struct text){bytes->data, (uint32_t)bytes->size};
}

struct codec *kit_codec(const char *dir, struct registry *registry)
{
    struct codec *codec = NULL;
    struct ll_err err = {.text = ""};
    enum ll_status status = codec_new(dir != NULL ? dir : LENS_SOURCE_DIR "/schemas", registry, &codec, &err);
    cr_assert_eq(status, LL_OK, "%s", err.text);
    return codec;
}

struct schema *kit_schema(const char *json)
{
    struct schema *schema = NULL;
    struct ll_err err = {.text = ""};
    cr_assert_eq(schema_parse(json, strlen(json), &schema, &err), LL_OK, "%s: %s", json, err.text);
    return schema;
}

char *kit_file(const char *path, size_t *ret_size)
{
    FILE *file = fopen(path, "rb");
    cr_assert_not_null(file, "%s", path);
    cr_assert_eq(fseek(file, 0, SEEK_END), 0);
    size_t size = (size_t)ftell(file);
    rewind(file);
    char *data = malloc(size + 1);
    cr_assert_eq(fread(data, 1, size, file), size);
    data[size] = '\0';
    fclose(file);
    if (ret_size != NULL)
        *ret_size = size;
    return data;
}

bool kit_shared(const char *name, char to[KIT_PATH_SIZE])
{
    const char *root = getenv("LENS_SHARED_DATA");
    snprintf(to, KIT_PATH_SIZE, "%s/%s", root != NULL ? root : LENS_SOURCE_DIR "/../shared/data", name);
    return access(to, R_OK) == 0;
}

uint64_t kit_random(uint64_t *seed)
{
    uint64_t x = *seed += UINT64_C(0x9e3779b97f4a7c15);
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

const char *kit_code_name(enum code code)
{
    return code == CODE_NONE ? "OK" : code_info(code)->name;
}

/* Calls each for every .avsc and for ids.conf of dir. */
static void each_file(const char *dir, void (*each)(const char *dir, const char *name, void *arg), void *arg)
{
    DIR *folder = opendir(dir);
    cr_assert_not_null(folder, "%s", dir);
    for (struct dirent *entry; (entry = readdir(folder)) != NULL;) {
        const char *dot = strrchr(entry->d_name, '.');
        if (dot != NULL && (strcmp(dot, ".avsc") == 0 || strcmp(entry->d_name, "ids.conf") == 0))
            each(dir, entry->d_name, arg);
    }
    closedir(folder);
}

struct copying {
    const char *to_dir, *file, *from, *to;
};

static void copy_one(const char *dir, const char *name, void *arg)
{
    const struct copying *copying = arg;
    char path[2 * KIT_PATH_SIZE];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    char *text = kit_file(path, NULL), *at = NULL;
    if (copying->file != NULL && strcmp(copying->file, name) == 0) {
        at = strstr(text, copying->from);
        cr_assert_not_null(at, "%s has no %s", name, copying->from);
    }
    snprintf(path, sizeof path, "%s/%s", copying->to_dir, name);
    FILE *file = fopen(path, "w");
    if (at == NULL)
        fputs(text, file);
    else
        fprintf(file, "%.*s%s%s", (int)(at - text), text, copying->to, at + strlen(copying->from));
    fclose(file);
    free(text);
}

void kit_copy_schemas(const char *file, const char *from, const char *to, char dir[KIT_PATH_SIZE])
{
    struct copying copying = {dir, file, from, to};
    strcpy(dir, "/tmp/lens-schemas-XXXXXX");
    cr_assert_not_null(mkdtemp(dir));
    each_file(LENS_SOURCE_DIR "/schemas", copy_one, &copying);
}

static void remove_one(const char *dir, const char *name, void *arg)
{
    char path[2 * KIT_PATH_SIZE];
    (void)arg;
    snprintf(path, sizeof path, "%s/%s", dir, name);
    unlink(path);
}

void kit_remove_schemas(const char *dir)
{
    each_file(dir, remove_one, NULL);
    rmdir(dir);
}
