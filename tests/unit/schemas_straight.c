/* The straight way to a transaction and its program say the same of any bytes; numbers and texts at the edges of what is
 * read without a loop. */
#include "schemas_kit.h"

#include "schemas/bind.h"
#include "schemas/program.h"
#include "schemas/scratch.h"
#include "schemas/write.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

struct way {
    struct schema *schema;
    struct program *program;
    struct codec_scratch *scratch, *other;
};

static struct schema *own_schema(enum event_kind kind)
{
    char path[KIT_PATH_SIZE];
    snprintf(path, sizeof path, "%s/schemas/%s.avsc", LENS_SOURCE_DIR, event_kind_name(kind));
    char *json = kit_file(path, NULL);
    struct schema *schema = kit_schema(json);
    free(json);
    return schema;
}

static void open_way(struct way *way, enum event_kind kind)
{
    struct ll_err err;
    way->schema = own_schema(kind);
    cr_assert_eq(program_compile(way->schema, way->schema, bind_of(kind), &way->program, &err), LL_OK, "%s",
                 err.text);
    way->scratch = codec_scratch_new();
    way->other = codec_scratch_new();
    memset(way->scratch->room, 0xa5, SCRATCH_SIZE); /* nothing may be left as it was */
}

static void close_way(struct way *way)
{
    codec_scratch_free(way->scratch);
    codec_scratch_free(way->other);
    program_free(way->program);
    schema_free(way->schema);
}

/* All that there is of it, whichever kind it was. */
static struct text bytes_of(const struct event *event, struct kit_bytes *to)
{
    struct event copy = *event;
    copy.kind = EVENT_TRANSACTION_VALID;
    cr_assert_leq(event_size_max(&copy), sizeof to->data);
    to->size = (size_t)(write_event(to->data, &copy) - to->data);
    return kit_text(to);
}

/* From memory that ends where the bytes end, so that the sanitizer sees a byte read too many. */
static enum code both(const struct way *way, struct text bytes, const char *why)
{
    static struct kit_bytes straight_bytes, run_bytes;
    struct event straight, run;
    struct fault fault = { .position = 0 }, other = { .position = 0 };
    char *copy = malloc(bytes.size == 0 ? 1 : bytes.size);
    memcpy(copy, bytes.data, bytes.size);
    memset(&straight, 0xa5, sizeof straight);
    struct text exact = { copy, bytes.size };

    enum code code = program_read(way->program, exact, way->scratch, event_payload(&straight), &fault);
    cr_assert_eq(code, program_run(way->program, exact, way->other, event_payload(&run), &other), "%s: %s",
                 why, kit_code_name(code));
    cr_assert_eq(way->scratch->used, way->other->used, "%s", why);
    if (code == CODE_NONE) {
        cr_assert(text_equal(bytes_of(&straight, &straight_bytes), bytes_of(&run, &run_bytes)), "%s", why);
        cr_assert_not(run.transaction.has_no_control, "%s: the program does not look", why);
    }
    else
        cr_assert(fault.position == other.position && strcmp(fault.field, other.field) == 0, "%s", why);
    free(copy);
    return code;
}

#define HEAD                                                                                                 \
    "'0f2e-0000-4000-8000-00000000beef 1 1 'T-0 1700000000000 1 'S1 1 'C1 'GBP 1 -5 'till 'a.csv:7 1 'web "

static const struct {
    const char *why;
    enum event_kind kind;
    const char *script;
    bool straight;
} VALUES[] = {
    { "all that it can have", EVENT_TRANSACTION,
      HEAD "2 1 1 'P1 2 250 0 500 0 -2 0 -1 9223372036854775807 7 -9223372036854775808 1 'X 0", true },
    { "nothing that may lack", EVENT_TRANSACTION, "' 0 0 0 0 0 ' 0 ' ' 0 0", true },
    { "an accepted one", EVENT_TRANSACTION_VALID,
      HEAD "1 1 1 'P1 2 250 0 500 0 1 'toys 0 -9 'transactions 6 7 8", true },
    { "lines in two blocks", EVENT_TRANSACTION, HEAD "1 1 0 2 250 0 500 0 1 2 0 2 250 0 500 0 0", false },
    { "lines in blocks with sizes", EVENT_TRANSACTION, HEAD "-1 9 1 0 2 250 0 500 0 0", false },
};

Test(straight, is_taken_by_what_we_write)
{
    for (size_t i = 0; i < sizeof VALUES / sizeof VALUES[0]; i++) {
        static struct kit_bytes value;
        struct way way;
        struct event event;
        open_way(&way, VALUES[i].kind);
        value.size = 0;
        kit_compose(&value, VALUES[i].script);
        straight_fn *straight = program_code(way.program)->straight;
        cr_assert_not_null(straight);
        cr_expect_eq(straight(kit_text(&value), way.scratch, event_payload(&event)), VALUES[i].straight, "%s",
                     VALUES[i].why);
        cr_expect_eq(both(&way, kit_text(&value), VALUES[i].why), CODE_NONE);
        close_way(&way);
    }
}

Test(straight, is_for_our_own_form_alone)
{
    struct ll_err err;
    struct schema *raw = own_schema(EVENT_TRANSACTION), *valid = own_schema(EVENT_TRANSACTION_VALID),
                  *tick = own_schema(EVENT_CONTROL);
    struct program *program;
    cr_assert_eq(program_compile(valid, raw, bind_of(EVENT_TRANSACTION), &program, &err), LL_OK, "%s",
                 err.text);
    cr_expect_null(program_code(program)->straight, "another form is read as it was written");
    program_free(program);
    cr_assert_eq(program_compile(tick, tick, bind_of(EVENT_CONTROL), &program, &err), LL_OK, "%s", err.text);
    cr_expect_null(program_code(program)->straight, "a tick is seldom");
    program_free(program);
    schema_free(raw);
    schema_free(valid);
    schema_free(tick);
}

Test(straight, agrees_with_the_program_about_every_cut_and_every_changed_byte)
{
    for (size_t i = 0; i < sizeof VALUES / sizeof VALUES[0]; i++) {
        static struct kit_bytes value;
        struct way way;
        open_way(&way, VALUES[i].kind);
        value.size = 0;
        kit_compose(&value, VALUES[i].script);
        for (uint32_t size = 0; size < value.size; size++)
            cr_assert_eq(both(&way, (struct text){ value.data, size }, VALUES[i].why), CODE_DECODE_TRUNCATED);
        for (size_t at = 0; at < value.size; at++) {
            char before = value.data[at];
            for (int byte = 0; byte < 256; byte++) {
                value.data[at] = (char)byte;
                both(&way, kit_text(&value), VALUES[i].why);
            }
            value.data[at] = before;
        }
        close_way(&way);
    }
}

/* Raw bytes of a number: in the midst of a value, and as the last bytes of one. */
static const struct {
    const char *why, *bytes;
    enum code want;
    int64_t value;
} NUMBERS[] = {
    { "one byte", "x02", CODE_NONE, 1 },
    { "the largest of one", "x7e", CODE_NONE, 63 },
    { "the smallest of two", "x8001", CODE_NONE, 64 },
    { "the largest of two", "xfe7f", CODE_NONE, 8191 },
    { "the smallest of three", "x808001", CODE_NONE, 8192 },
    { "the largest of three", "xfeff7f", CODE_NONE, 1048575 },
    { "the smallest of four", "x80808001", CODE_NONE, 1048576 },
    { "six, as a time has", "x808890c8f962", CODE_NONE, 1699943154176 },
    { "the smallest of eight", "x8080808080808001", CODE_NONE, INT64_C(1) << 48 },
    { "the largest of nine", "xfeffffffffffffff7f", CODE_NONE, (INT64_C(1) << 62) - 1 },
    { "the largest of ten", "xfeffffffffffffffff01", CODE_NONE, INT64_MAX },
    { "the least of all", "xffffffffffffffffff01", CODE_NONE, INT64_MIN },
    { "beyond 64 bits", "xffffffffffffffffff02", CODE_DECODE_VALUE, 0 },
    { "eleven bytes", "xffffffffffffffffffff01", CODE_DECODE_VALUE, 0 },
    { "overlong: 0 of two", "x8000", CODE_DECODE_VALUE, 0 },
    { "overlong: 0 of three", "x808000", CODE_DECODE_VALUE, 0 },
    { "overlong: of four", "xfeffff00", CODE_DECODE_VALUE, 0 },
    { "overlong: of ten", "xffffffffffffffffff00", CODE_DECODE_VALUE, 0 },
    { "none", "x", CODE_DECODE_TRUNCATED, 0 },
    { "one that goes on", "x80", CODE_DECODE_TRUNCATED, 0 },
    { "two that go on", "x8080", CODE_DECODE_TRUNCATED, 0 },
    { "three that go on", "x808080", CODE_DECODE_TRUNCATED, 0 },
    { "nine that go on", "x808080808080808080", CODE_DECODE_TRUNCATED, 0 },
};

Test(straight, numbers_of_every_length_at_the_end_and_before_it)
{
    static struct kit_bytes value;
    struct way last, midst;
    open_way(&last, EVENT_CONTROL);
    open_way(&midst, EVENT_TRANSACTION);
    for (size_t i = 0; i < sizeof NUMBERS / sizeof NUMBERS[0]; i++) {
        struct control control;
        struct fault fault;
        value.size = 0;
        kit_compose(&value, "1 3");
        kit_compose(&value, NUMBERS[i].bytes);
        char *exact = malloc(value.size);
        memcpy(exact, value.data, value.size);
        enum code code = program_read(last.program, (struct text){ exact, (uint32_t)value.size },
                                      last.scratch, &control, &fault);
        cr_expect_eq(code, NUMBERS[i].want, "%s: %s", NUMBERS[i].why, kit_code_name(code));
        cr_expect(code != CODE_NONE || control.time_ms == NUMBERS[i].value, "%s", NUMBERS[i].why);
        free(exact);

        value.size = 0;
        kit_compose(&value, "'T 0 0");
        kit_compose(&value, NUMBERS[i].bytes);
        kit_compose(&value, "0 0 'GBP 0 'till 'r 0 0");
        code = both(&midst, kit_text(&value), NUMBERS[i].why);
        if (NUMBERS[i].want != CODE_DECODE_TRUNCATED)
            cr_expect_eq(code, NUMBERS[i].want, "%s: %s", NUMBERS[i].why, kit_code_name(code));
    }
    close_way(&last);
    close_way(&midst);
}

Test(straight, texts_of_every_size_with_a_letter_or_half_of_one_anywhere)
{
    static struct kit_bytes value;
    struct way way;
    open_way(&way, EVENT_TRANSACTION);
    for (uint32_t size = 0; size <= 70; size++) {
        for (uint32_t at = 0; at <= size; at++) {
            char words[80] = "'";
            memset(words + 1, 'a', size);
            words[size + 1] = '\0';
            for (int half = 0; half < 3 && at < size; half++) {
                if (half < 2) /* the second byte alone, then the first alone */
                    words[1 + at] = half == 0 ? '\xa9' : '\xc3';
                else if (at + 1 < size)
                    memcpy(words + 1 + at, "\xc3\xa9", 2);
                value.size = 0;
                kit_compose(&value, words);
                kit_compose(&value, "0 0 5 0 0 'GBP 0 'till 'r 0 0");
                bool whole = half == 2 && at + 1 < size;
                cr_assert_eq(both(&way, kit_text(&value), words), whole ? CODE_NONE : CODE_DECODE_VALUE,
                             "size %u at %u half %d", size, at, half);
            }
        }
    }
    close_way(&way);
}

/* Whether the straight way says of the event that it holds no control character. */
static bool has_no_control(const struct way *way, const struct event *event)
{
    static struct kit_bytes value;
    struct event read;
    value.size = (size_t)(write_event(value.data, event) - value.data);
    memset(&read, 0xa5, sizeof read);
    cr_assert(program_code(way->program)->straight(kit_text(&value), way->scratch, event_payload(&read)));
    return read.transaction.has_no_control;
}

/* The check of a sale looks at its texts only where this says that there is something to be seen. */
Test(straight, sees_a_control_character_in_any_text_wherever_it_stands)
{
    struct line lines[2] = { { .line_no = 1, .quantity = 1 }, { .line_no = 2, .quantity = 1 } };
    struct event event = { .kind = EVENT_TRANSACTION_VALID,
                           .transaction = { .lines = lines, .line_count = 2, .event_time_ms = 1 } };
    struct transaction *t = &event.transaction;
    struct text *const texts[] = { &t->transaction_id,      &t->original_transaction_id, &t->store_id,
                                   &t->customer_id,         &t->currency,                &t->source,
                                   &t->source_ref,          &t->channel,                 &lines[0].product_id,
                                   &lines[1].promotion_id, &lines[1].category,          &t->raw_topic };
    struct way way;
    open_way(&way, EVENT_TRANSACTION_VALID);
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        char words[40];
        for (uint32_t size = 0; size < 40; size++) {
            memset(words, size % 2 == 0 ? ' ' : '~', sizeof words); /* the neighbours of what is sought */
            *texts[i] = (struct text){ words, size };
            cr_assert(has_no_control(&way, &event), "text %zu of %u", i, size);
            for (uint32_t at = 0; at < size; at++) {
                static const char sought[] = { 0, 1, '\n', 0x1f, 0x7f };
                for (size_t j = 0; j < sizeof sought; j++) {
                    char kept = words[at];
                    words[at] = sought[j];
                    cr_assert_not(has_no_control(&way, &event), "text %zu of %u, %d at %u", i, size, sought[j], at);
                    words[at] = kept;
                }
            }
        }
        *texts[i] = (struct text){ NULL, 0 };
    }
    close_way(&way);
}

Test(straight, the_limit_of_a_text)
{
    static struct kit_bytes value;
    static char words[EVENT_TEXT_SIZE_MAX + 3] = "'";
    struct way way;
    open_way(&way, EVENT_TRANSACTION);
    for (uint32_t size = EVENT_TEXT_SIZE_MAX - 1; size <= EVENT_TEXT_SIZE_MAX + 1; size++) {
        memset(words + 1, 'a', size);
        value.size = 0;
        kit_compose(&value, words);
        kit_compose(&value, "0 0 5 0 0 'GBP 0 'till 'r 0 0");
        cr_expect_eq(both(&way, kit_text(&value), "a long id"),
                     size <= EVENT_TEXT_SIZE_MAX ? CODE_NONE : CODE_DECODE_LIMIT);
    }
    close_way(&way);
}
