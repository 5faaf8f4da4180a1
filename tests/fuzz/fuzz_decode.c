/* Somebody else's schema and a value written with it, resolved to ours: byte 0 the kind, byte 1 even: our own schema, odd: two
 * bytes of size and a schema as JSON; then the value without its frame. */
#include "tests/fuzz/fuzz.h"

#include "schemas/bind.h"
#include "schemas/program.h"
#include "schemas/schema.h"
#include "schemas/write.h"

#include <stdlib.h>
#include <string.h>

struct reader {
    struct schema *schema;
    struct program *own;
};

static struct schema *load(enum event_kind kind)
{
    char path[512], json[SCHEMA_SIZE_MAX];
    struct schema *schema = NULL;
    struct ll_err err = { "" };
    snprintf(path, sizeof path, "%s/schemas/%s.avsc", LENS_SOURCE_DIR, event_kind_name(kind));
    FILE *file = fopen(path, "rb");
    fuzz_claim(file != NULL, "%s cannot be read", path);
    size_t size = fread(json, 1, sizeof json, file);
    fclose(file);
    fuzz_claim(schema_parse(json, size, &schema, &err) == LL_OK, "%s: %s", path, err.text);
    return schema;
}

static const struct reader *reader_of(enum event_kind kind)
{
    static struct reader readers[EVENT_KINDS];
    struct reader *reader = &readers[kind];
    struct ll_err err = { "" };
    if (reader->schema == NULL) {
        reader->schema = load(kind);
        fuzz_claim(program_compile(reader->schema, reader->schema, bind_of(kind), &reader->own, &err) ==
                       LL_OK,
                   "%s", err.text);
    }
    return reader;
}

/* The straight way, where there is one, and the ops: the same verdict, and the same event. */
static void claim_both_ways(const struct program *program, struct text value, enum code code,
                            const struct event *event, const struct fault *fault)
{
    static struct codec_scratch *scratch;
    static char one[EVENT_SIZE_MAX], two[EVENT_SIZE_MAX];
    if (scratch == NULL)
        scratch = codec_scratch_new();
    struct event again = { .kind = event->kind };
    struct fault other = { .position = 0 };
    enum code run = program_run(program, value, scratch, event_payload(&again), &other);
    fuzz_claim(run == code, "code %d, by the ops alone %d", code, run);
    if (code != CODE_NONE) {
        fuzz_claim(other.position == fault->position && strcmp(other.field, fault->field) == 0,
                   "the faults differ");
        return;
    }
    if (event_size_max(event) > sizeof one || event_size_max(&again) > sizeof two)
        return;
    size_t size = (size_t)(write_event(one, event) - one);
    fuzz_claim((size_t)(write_event(two, &again) - two) == size && memcmp(one, two, size) == 0,
               "the events differ");
}

static void read_with(enum event_kind kind, const struct program *program, struct text value)
{
    static struct codec_scratch *scratch;
    if (scratch == NULL)
        scratch = codec_scratch_new();
    struct event event = { .kind = kind };
    struct fault fault = { .position = 0 };
    enum code code = program_read(program, value, scratch, event_payload(&event), &fault);
    fuzz_claim(code == CODE_NONE || code_info(code) != NULL, "code %d", code);
    claim_both_ways(program, value, code, &event, &fault);
    if (code == CODE_NONE)
        fuzz_claim_event(&event);
    else
        fuzz_claim(fault.position <= value.size && memchr(fault.field, '\0', sizeof fault.field) != NULL,
                   "the fault lies at byte %zu of %u", fault.position, value.size);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz fuzz = fuzz_of(data, size);
    enum event_kind kind = (enum event_kind)(fuzz_byte(&fuzz) % EVENT_KINDS);
    if (bind_of(kind) == NULL)
        return 0;
    const struct reader *reader = reader_of(kind);
    if (fuzz_byte(&fuzz) % 2 == 0) {
        read_with(kind, reader->own, fuzz_rest(&fuzz));
        return 0;
    }
    struct text json = fuzz_block(&fuzz);
    struct schema *writer = NULL;
    struct program *program = NULL;
    struct ll_err err = { "" };
    enum ll_status status = schema_parse(json.data, json.size, &writer, &err);
    fuzz_claim(status == LL_OK || (status == LL_POISON && err.text[0] != '\0'), "schema: status %d", status);
    if (status != LL_OK)
        return 0;
    status = program_compile(writer, reader->schema, bind_of(kind), &program, &err);
    fuzz_claim(status == LL_OK || (status == LL_POISON && err.text[0] != '\0'), "program: status %d", status);
    if (status == LL_OK)
        read_with(kind, program, fuzz_rest(&fuzz));
    program_free(program);
    schema_free(writer);
    return 0;
}
