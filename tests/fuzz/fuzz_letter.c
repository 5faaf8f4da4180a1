/* The headers, key and value of a record: as validate reads them, as it writes them on a dead letter and on a record that
 * waits, and as `lens dlq show` puts them before a person. Byte 0: flags; then headers, key (two bytes of size each), value. */
#include "tests/fuzz/fuzz.h"

#include "consumers/validate/dead.h"
#include "ops/event_json.h"
#include "ops/letter_show.h"

#include <stdlib.h>
#include <string.h>

enum { FLAG_JSON = 1, FLAG_NO_KEY = 2, FLAG_NO_VALUE = 4, FLAG_ACCRUE = 8, FLAG_ALIASES = 16, FLAG_RETRY = 32 };

static void show(const struct letter *letter, bool as_json)
{
    static struct codec_scratch *scratch;
    static struct lens lens;
    if (scratch == NULL)
        scratch = codec_scratch_new();
    struct event event;
    lens.json = as_json;
    json_t *decoded = letter_event(letter, fuzz_codec(), scratch, &event) ? event_json(&event) : NULL;
    fuzz_claim(letter_lines(letter, fuzz_codec(), scratch) >= 0, "less than no lines");
    char *text = NULL;
    size_t size = 0;
    FILE *terminal = stdout;
    stdout = open_memstream(&text, &size);
    int code = letter_show(&lens, letter, decoded);
    fclose(stdout);
    stdout = terminal;
    fuzz_claim(code == LENS_DONE && size > 0, "exit code %d", code);
    fuzz_claim_inert((struct text){ text, (uint32_t)size }, "lens dlq show");
    if (as_json) {
        json_t *json = json_loads(text, 0, NULL);
        fuzz_claim(json_is_object(json), "no JSON: %s", text);
        json_decref(json);
    }
    free(text);
}

static bool is_same(const struct origin *a, const struct origin *b)
{
    return a->topic == b->topic && a->partition == b->partition && a->offset == b->offset && a->timestamp_ms == b->timestamp_ms &&
           a->attempt == b->attempt && a->first_at_ms == b->first_at_ms;
}

/* What is written on a record is found again by who reads it, whatever headers it had: at most BUS_HEADERS_MAX are read. */
static void claim_written(const struct bus_record *record, const struct bus_header *original, size_t count, bool aliases)
{
    static struct dead_headers made;
    struct settings settings = { .alias_connect = aliases, .alias_spring = aliases };
    struct origin origin = origin_of(record, original, count);
    struct bus_record waiting = *record;
    waiting.topic = TOPIC_TRANSACTIONS_RETRY;
    retry_headers_make(&origin, original, count, &made);
    struct origin again = origin_of(&waiting, made.list, made.count > BUS_HEADERS_MAX ? BUS_HEADERS_MAX : made.count);
    fuzz_claim(origin.topic != TOPIC_TRANSACTIONS || is_same(&origin, &again), "a record that waits has another origin");

    struct dead_letter dead = { .origin = origin, .codes = code_bit(CODE_DECODE_VALUE), .message = "why", .group = "g",
                                .schema_id = -1, .line = -1 };
    dead_headers_make(&dead, &settings, original, count, &made);
    fuzz_claim(made.count <= DEAD_HEADERS_MAX, "%zu headers", made.count);
    struct letter letter;
    struct bus_record refused = *record;
    refused.topic = TOPIC_DEAD_LETTER;
    letter_of(&refused, made.list, made.count > BUS_HEADERS_MAX ? BUS_HEADERS_MAX : made.count, &letter);
    fuzz_claim(letter.codes == dead.codes && letter.origin == origin.topic && letter.origin_partition == origin.partition &&
                   letter.origin_offset == origin.offset && text_equal(letter.stage, TEXT("validate")),
               "a dead letter tells of another record");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz fuzz = fuzz_of(data, size);
    int flags = fuzz_byte(&fuzz);
    struct bus_header headers[BUS_HEADERS_MAX];
    size_t count = letter_headers(fuzz_block(&fuzz), headers);
    struct bus_record record = {
        .topic = TOPIC_DEAD_LETTER, .partition = 3, .offset = 4711, .timestamp_ms = INT64_C(1700000000000)
    };
    record.key = fuzz_block(&fuzz);
    record.value = fuzz_rest(&fuzz);
    if ((flags & FLAG_NO_KEY) != 0)
        record.key = (struct text){ NULL, 0 };
    if ((flags & FLAG_NO_VALUE) != 0)
        record.value = (struct text){ NULL, 0 };
    struct letter letter;
    letter_of(&record, headers, count, &letter);
    letter.ref.accrue = (flags & FLAG_ACCRUE) != 0;
    show(&letter, (flags & FLAG_JSON) != 0);
    record.topic = (flags & FLAG_RETRY) != 0 ? TOPIC_TRANSACTIONS_RETRY : TOPIC_TRANSACTIONS;
    claim_written(&record, headers, count, (flags & FLAG_ALIASES) != 0);
    return 0;
}
