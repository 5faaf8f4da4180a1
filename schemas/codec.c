#include "schemas/codec.h"

#include "schemas/bind.h"
#include "schemas/ids.h"
#include "schemas/program.h"
#include "schemas/registry.h"
#include "schemas/schema.h"
#include "schemas/scratch.h"
#include "schemas/write.h"
#include "schemas/writers.h"

#include <endian.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct own {
    int32_t id;
    char *json;
    struct schema *schema;
};

struct codec {
    struct registry *registry;
    struct own own[EVENT_KINDS];
    struct writers *writers;
};

static char *copy_text(const char *text)
{
    char *copy = strdup(text);
    if (copy == NULL)
        abort();
    return copy;
}

/* The program that reads what the writer wrote as one of kind, or NULL with the reason kept in refusals. */
static const struct program *resolve(struct codec *codec, struct writer *writer, enum event_kind kind)
{
    struct ll_err why = {.text = ""};
    if (writer->programs[kind] != NULL || writer->refusals[kind] != NULL)
        return writer->programs[kind];
    if (writer->schema == NULL)
        ll_fail(&why, LL_POISON, "%s", writer->unusable);
    else if (writer->kind != kind && writer->kind != EVENT_KINDS)
        ll_fail(&why, LL_POISON, "it is the schema of a %s", event_kind_name(writer->kind));
    else if (bind_of(kind) == NULL)
        ll_fail(&why, LL_POISON, "a %s is written only", event_kind_name(kind));
    else if (program_compile(writer->schema, codec->own[kind].schema, bind_of(kind), &writer->programs[kind],
                             &why) == LL_OK)
        return writer->programs[kind];
    writer->refusals[kind] = copy_text(why.text);
    return NULL;
}

enum ll_status codec_add_writer(struct codec *codec, int32_t schema_id, enum event_kind kind,
                                const char *schema_json, size_t size, struct ll_err *err)
{
    struct ll_err why;
    struct writer *writer = writers_put(codec->writers, schema_id, kind, false);
    if (schema_parse(schema_json, size, &writer->schema, &why) != LL_OK)
        writer->unusable = copy_text(why.text);
    if (resolve(codec, writer, kind) == NULL)
        return ll_fail(err, LL_POISON, "schema %d as a %s: %s", schema_id, event_kind_name(kind),
                       writer->refusals[kind]);
    return LL_OK;
}

/* Our own schemas are named lens.<kind>; any other name says nothing. */
static enum event_kind kind_of_name(const struct schema *schema)
{
    const char *name = schema_root(schema)->name;
    return name != NULL && strncmp(name, "lens.", 5) == 0 ? event_kind_find(name + 5) : EVENT_KINDS;
}

static struct writer *fetch(struct codec *codec, int32_t id, enum ll_status *ret_status, enum code *ret_code,
                            struct ll_err *err)
{
    char *json = NULL;
    struct ll_err why = {.text = ""};
    enum ll_status status = registry_schema(codec->registry, id, &json, ret_code, &why);
    if (status == LL_RETRY || (status == LL_POISON && *ret_code == CODE_SCHEMA_UNKNOWN)) {
        *ret_status = ll_fail(err, status, "%s", why.text);
        return NULL;
    }

    struct writer *writer = writers_put(codec->writers, id, EVENT_KINDS, true);
    if (status != LL_OK || schema_parse(json, strlen(json), &writer->schema, &why) != LL_OK)
        writer->unusable = copy_text(why.text);
    else
        writer->kind = kind_of_name(writer->schema);
    free(json);
    return writer;
}

/* NULL: not found, and *ret_status says whose fault that is. */
static struct writer *find_writer(struct codec *codec, int32_t id, enum ll_status *ret_status,
                                  enum code *ret_code, struct ll_err *err)
{
    struct writer *writer = writers_find(codec->writers, id);
    if (writer != NULL)
        return writer;
    if (codec->registry != NULL && id > 0)
        return fetch(codec, id, ret_status, ret_code, err);
    *ret_code = CODE_SCHEMA_UNKNOWN;
    *ret_status = ll_fail(err, LL_POISON, "schema %d is not in schemas/ids.conf%s", id,
                          codec->registry == NULL ? ", and no registry is configured" : "");
    return NULL;
}

int32_t codec_schema_id(struct text value, enum code *ret_code)
{
    uint32_t id;
    *ret_code = CODE_NONE;
    if (value.size < CODEC_FRAME_SIZE)
        *ret_code = CODE_FRAME_SHORT;
    else if (value.data[0] != 0)
        *ret_code = CODE_FRAME_MAGIC;
    if (*ret_code != CODE_NONE)
        return -1;
    memcpy(&id, value.data + 1, sizeof id);
    return (int32_t)be32toh(id);
}

/* The writer that a value's frame names; NULL as find_writer. */
static struct writer *find_frame(struct codec *codec, struct text value, enum ll_status *ret_status,
                                 enum code *ret_code, struct ll_err *err)
{
    int32_t id = codec_schema_id(value, ret_code);
    if (*ret_code == CODE_NONE)
        return find_writer(codec, id, ret_status, ret_code, err);
    *ret_status =
        ll_fail(err, LL_POISON, "a value of %u bytes: %s", value.size, code_info(*ret_code)->meaning);
    return NULL;
}

enum ll_status codec_kind(struct codec *codec, struct text value, enum event_kind *ret, enum code *ret_code,
                          struct ll_err *err)
{
    enum ll_status status = LL_OK;
    const struct writer *writer = find_frame(codec, value, &status, ret_code, err);
    if (writer != NULL)
        *ret = writer->kind;
    return status;
}

/* What validate accepted must not be too large for the next process: it carries more than the raw one. */
static uint32_t size_limit(enum event_kind kind)
{
    if (kind == EVENT_TRANSACTION_VALID)
        return EVENT_VALID_SIZE_MAX;
    return kind == EVENT_LEDGER ? EVENT_LEDGER_SIZE_MAX : EVENT_SIZE_MAX;
}

static enum ll_status refuse_value(int32_t id, enum event_kind kind, enum code code,
                                   const struct fault *fault, struct ll_err *err)
{
    return ll_fail(err, LL_POISON, "%s (schema %d), byte %zu%s%s: %s", event_kind_name(kind), id,
                   fault->position + CODEC_FRAME_SIZE, fault->field[0] == '\0' ? "" : ", ", fault->field,
                   code_info(code)->meaning);
}

enum ll_status codec_read(struct codec *codec, enum event_kind kind, struct text value,
                          struct codec_scratch *scratch, struct event *ret, enum code *ret_code,
                          struct ll_err *err)
{
    struct fault fault;
    enum ll_status status = LL_OK;
    struct writer *writer = find_frame(codec, value, &status, ret_code, err);
    if (writer == NULL)
        return status;
    const struct program *program = writer->programs[kind];
    if (program == NULL && (program = resolve(codec, writer, kind)) == NULL) {
        *ret_code = CODE_SCHEMA_INCOMPATIBLE;
        return ll_fail(err, LL_POISON, "schema %d as a %s: %s", writer->id, event_kind_name(kind),
                       writer->refusals[kind]);
    }
    uint32_t size_max = size_limit(kind);
    if (value.size > size_max) {
        *ret_code = CODE_DECODE_LIMIT;
        return ll_fail(err, LL_POISON, "a value of %u bytes, at most %u are read", value.size, size_max);
    }

    struct text bytes = {value.data + CODEC_FRAME_SIZE, value.size - CODEC_FRAME_SIZE};
    ret->kind = kind;
    *ret_code = program_read(program, bytes, scratch, event_payload(ret), &fault);
    if (*ret_code != CODE_NONE)
        return refuse_value(writer->id, kind, *ret_code, &fault, err);
    return LL_OK;
}

static char *write_framed(const struct codec *codec, const struct event *event, char *to)
{
    uint32_t id = htobe32((uint32_t)codec->own[event->kind].id);
    to[0] = 0;
    memcpy(to + 1, &id, sizeof id);
    return write_event(to + CODEC_FRAME_SIZE, event);
}

size_t codec_write(const struct codec *codec, const struct event *event, char *to, size_t capacity)
{
    size_t size_max = codec_size_max(event);
    if (size_max == 0)
        return 0;
    if (size_max <= capacity)
        return (size_t)(write_framed(codec, event, to) - to);

    /* It may fit all the same: size_max reckons with the longest numbers. */
    char *aside = malloc(size_max);
    if (aside == NULL)
        abort();
    size_t size = (size_t)(write_framed(codec, event, aside) - aside);
    if (size > capacity)
        size = 0;
    memcpy(to, aside, size);
    free(aside);
    return size;
}

size_t codec_size_max(const struct event *event)
{
    return bind_of(event->kind) == NULL ? 0 : CODEC_FRAME_SIZE + event_size_max(event);
}

int32_t codec_own_id(const struct codec *codec, enum event_kind kind)
{
    return codec->own[kind].id;
}

struct codec_scratch *codec_scratch_new(void)
{
    struct codec_scratch *scratch = malloc(sizeof *scratch);
    if (scratch == NULL)
        abort();
    scratch->used = 0;
    return scratch;
}

void codec_scratch_free(struct codec_scratch *scratch)
{
    free(scratch);
}

/* The whole file, NUL-terminated; the caller frees it. */
static char *load_file(const char *path, struct ll_err *err)
{
    char *text = malloc(SCHEMA_SIZE_MAX + 2);
    FILE *file = fopen(path, "rb");
    if (text == NULL)
        abort();
    if (file == NULL) {
        ll_fail(err, LL_FATAL, "%s: %s", path, strerror(errno));
        free(text);
        return NULL;
    }
    size_t size = fread(text, 1, SCHEMA_SIZE_MAX + 1, file);
    bool failed = ferror(file) != 0;
    fclose(file);
    text[size] = '\0';
    if (!failed)
        return text;
    ll_fail(err, LL_FATAL, "%s: cannot be read", path);
    free(text);
    return NULL;
}

/* A published schema is for ever: records with its id lie in the topics. */
static enum ll_status check_fingerprint(const struct id_entry *entry, const struct schema *schema,
                                        struct ll_err *err)
{
    uint64_t fingerprint = schema_fingerprint(schema);
    if (fingerprint == entry->fingerprint)
        return LL_OK;
    return ll_fail(err, LL_FATAL,
                   "schemas/%s is %016" PRIx64 ", but id %d was published as %016" PRIx64
                   ": keep the published file under old/, and give the changed one a new id in ids.conf",
                   entry->file, fingerprint, entry->id, entry->fingerprint);
}

/* Reads one schema of the table; the own ones become what others are read as. */
static enum ll_status load_entry(struct codec *codec, const char *dir, const struct id_entry *entry,
                                 char **ret_json, struct ll_err *err)
{
    char path[IDS_PATH_SIZE];
    struct schema *schema = NULL;
    snprintf(path, sizeof path, "%s/%s", dir, entry->file);
    *ret_json = load_file(path, err);
    if (*ret_json == NULL)
        return LL_FATAL;
    if (schema_parse(*ret_json, strlen(*ret_json), &schema, err) != LL_OK)
        return ll_wrap(err, LL_FATAL, "%s", path);

    struct own *own = &codec->own[entry->kind];
    enum ll_status status = check_fingerprint(entry, schema, err);
    if (status != LL_OK || !entry->own) {
        schema_free(schema);
        return status;
    }
    own->id = entry->id;
    own->schema = schema;
    own->json = copy_text(*ret_json);
    if (bind_of(entry->kind) != NULL)
        status = bind_check(schema, bind_of(entry->kind), err);
    return status == LL_OK ? LL_OK : ll_wrap(err, LL_FATAL, "%s", path);
}

/* One id must not mean two schemas: a registry that uses an id of our table for something else would have
 * records read as what they are not. */
static enum ll_status check_registry(struct codec *codec, const struct id_entry *entry, struct ll_err *err)
{
    char *json = NULL;
    enum code code;
    struct schema *schema = NULL;
    enum ll_status status = registry_schema(codec->registry, entry->id, &json, &code, err);
    if (status == LL_RETRY)
        return status;
    if (status == LL_POISON && code == CODE_SCHEMA_UNKNOWN)
        return LL_OK;
    bool same = status == LL_OK && schema_parse(json, strlen(json), &schema, err) == LL_OK &&
                schema_fingerprint(schema) == entry->fingerprint;
    schema_free(schema);
    free(json);
    if (same)
        return LL_OK;
    return ll_fail(err, LL_FATAL,
                   "id %d is schemas/%s in schemas/ids.conf and another schema in the registry: use a "
                   "registry that does not give ids from %d on",
                   entry->id, entry->file, entry->id);
}

/* Own schemas first, since older ones are resolved to them. */
static enum ll_status load_all(struct codec *codec, const char *dir, const struct ids *ids,
                               struct ll_err *err)
{
    for (int own = 1; own >= 0; own--) {
        for (const struct id_entry *entry = ids->entries; entry < ids->entries + ids->count; entry++) {
            char *json = NULL;
            if (entry->own != (own == 1))
                continue;
            enum ll_status status = load_entry(codec, dir, entry, &json, err);
            if (status == LL_OK && bind_of(entry->kind) != NULL)
                status = codec_add_writer(codec, entry->id, entry->kind, json, strlen(json), err);
            if (status == LL_OK && codec->registry != NULL)
                status = check_registry(codec, entry, err);
            free(json);
            if (status != LL_OK)
                return status == LL_RETRY ? LL_RETRY : LL_FATAL;
        }
    }
    return LL_OK;
}

enum ll_status codec_new(const char *dir, struct registry *registry, struct codec **ret, struct ll_err *err)
{
    struct codec *codec = calloc(1, sizeof *codec);
    struct ids *ids = calloc(1, sizeof *ids);
    if (codec == NULL || ids == NULL)
        abort();
    codec->registry = registry;
    codec->writers = writers_new();

    enum ll_status status = ids_load(dir, ids, err);
    if (status == LL_OK)
        status = load_all(codec, dir, ids, err);
    if (status == LL_OK) {
        *ret = codec;
        codec = NULL;
    }
    free(ids);
    codec_free(codec);
    return status;
}

void codec_free(struct codec *codec)
{
    if (codec == NULL)
        return;
    writers_free(codec->writers);
    for (int kind = 0; kind < EVENT_KINDS; kind++) {
        schema_free(codec->own[kind].schema);
        free(codec->own[kind].json);
    }
    free(codec);
}
