#include "consumers/accrue/relay_record.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

static struct codec *codec;
static struct codec_scratch *scratch;
static struct relay_record_maker *maker;

static void open_all(void)
{
    struct ll_err err = { "" };
    cr_assert_eq(codec_new(LENS_SOURCE_DIR "/schemas", NULL, &codec, &err), LL_OK, "%s", err.text);
    scratch = codec_scratch_new();
    maker = calloc(1, sizeof *maker);
    relay_record_init(maker, codec, 1, "lens-relay", 8);
}

static void close_all(void)
{
    relay_record_done(maker);
    free(maker);
    codec_scratch_free(scratch);
    codec_free(codec);
}

TestSuite(relay_record, .init = open_all, .fini = close_all);

static struct posting_line two_lines[] = {
    { { "P-1", 3 }, { "toys", 4 }, { NULL, 0 }, -500, 0 },
    { { "P-2", 3 }, { NULL, 0 }, { "PR-9", 4 }, 0, 250 },
};
static struct posting_rule one_rule[] = { { 3, -50 } };

static struct posting sample(void)
{
    return (struct posting){
        .run = 1, .partition = 5, .offset = 100, .seq = 2, .event_offset = 90, .identity_hash = 7, .content_hash = 8,
        .source = TEXT("till"), .type = TRANSACTION_RETURN, .transaction_id = TEXT("R-1"), .sale_id = TEXT("S-1"),
        .sale_hash = 9, .customer_id = TEXT("C-1"), .store_id = TEXT("1"), .net_minor = -500, .lines = two_lines,
        .line_count = 2, .sale_day = 20000, .points = -50, .rules_version = 4, .rules = one_rule, .rule_count = 1,
        .event_time_ms = 1700000000000, .posted_at_ms = 1700000005000, .warnings = code_bit(CODE_REFUND_EXCESS),
        .raw_topic = TEXT("transactions"), .raw_partition = 5, .raw_offset = 77,
    };
}

static struct bus_record as_record(const struct bus_out *out)
{
    return (struct bus_record){ .topic = out->topic, .partition = out->partition, .key = out->key, .value = out->value };
}

Test(relay_record, a_posting_is_read_as_it_was_committed)
{
    struct posting posting = sample();
    struct bus_out out;
    struct event event;
    enum code code;
    struct ll_err err;
    relay_record_posting(maker, &posting, &out);
    cr_assert_eq(codec_read(codec, EVENT_LEDGER, out.value, scratch, &event, &code, &err), LL_OK, "%s", err.text);
    const struct ledger_entry *entry = &event.ledger;
    cr_expect_eq(out.topic, TOPIC_LEDGER);
    cr_expect_eq(out.partition, 5);
    cr_expect_eq(out.timestamp_ms, 1700000005000);
    cr_expect_eq(out.header_count, 0u);
    cr_expect(entry->run == 1 && entry->partition == 5 && entry->offset == 100 && entry->seq == 2 && entry->event_offset == 90);
    cr_expect(text_equal(entry->source, TEXT("till")) && text_equal(entry->transaction_id, TEXT("R-1")));
    cr_expect(text_equal(entry->sale_id, TEXT("S-1")) && text_equal(entry->customer_id, TEXT("C-1")));
    cr_expect(entry->type == TRANSACTION_RETURN && entry->net_minor == -500 && entry->sale_day == 20000);
    cr_expect(entry->points == -50 && entry->rules_version == 4 && entry->event_time_ms == 1700000000000);
    cr_expect_eq(entry->posted_at_ms, 1700000005000);
    cr_expect_eq((uint64_t)entry->flags, code_bit(CODE_REFUND_EXCESS));
    cr_assert_eq(entry->line_count, 2u);
    cr_expect(text_equal(entry->lines[0].category, TEXT("toys")) && entry->lines[0].promotion_id.data == NULL);
    cr_expect(entry->lines[0].amount_minor == -500 && entry->lines[1].excess_minor == 250);
    cr_expect(text_equal(entry->lines[1].promotion_id, TEXT("PR-9")) && entry->lines[1].category.data == NULL);
    cr_assert_eq(entry->rule_count, 1u);
    cr_expect(entry->rules[0].rule_id == 3 && entry->rules[0].points == -50);
}

static const struct {
    const char *why, *customer_id, *sale_id, *want;
} KEYS[] = {
    { "a customer's rows meet in his partition", "C-1", "S-1", "C-1" },
    { "an anonymous return lies with its sale", NULL, "S-1", "S-1" },
    { "an anonymous sale has its own name alone", NULL, NULL, "R-1" },
};

Test(relay_record, the_key_is_the_sales_key)
{
    for (size_t i = 0; i < sizeof KEYS / sizeof KEYS[0]; i++) {
        struct posting posting = sample();
        struct bus_out out;
        posting.customer_id = text_of(KEYS[i].customer_id);
        posting.sale_id = text_of(KEYS[i].sale_id);
        relay_record_posting(maker, &posting, &out);
        cr_expect(text_equal(out.key, text_of(KEYS[i].want)), "%s", KEYS[i].why);
    }
}

Test(relay_record, the_largest_posting_fits_and_is_read)
{
    static char name[EVENT_TEXT_SIZE_MAX / 2];
    struct posting_line *lines = calloc(POSTING_LINES_MAX, sizeof *lines);
    struct posting_rule *rules = calloc(POSTING_RULES_MAX, sizeof *rules);
    memset(name, 'x', sizeof name);
    for (int i = 0; i < POSTING_LINES_MAX; i++)
        lines[i] = (struct posting_line){ { name, sizeof name }, { name, sizeof name }, { NULL, 0 }, INT64_MIN, INT64_MAX };
    struct posting posting = sample();
    posting.lines = lines;
    posting.line_count = POSTING_LINES_MAX;
    posting.rules = rules;
    posting.rule_count = POSTING_RULES_MAX;
    struct bus_out out;
    struct event event;
    enum code code;
    struct ll_err err = { "" };
    relay_record_posting(maker, &posting, &out);
    cr_expect_eq(codec_read(codec, EVENT_LEDGER, out.value, scratch, &event, &code, &err), LL_OK, "%s", err.text);
    cr_expect_eq(event.ledger.line_count, (uint32_t)POSTING_LINES_MAX);
    cr_expect_eq(event.ledger.rule_count, (uint32_t)POSTING_RULES_MAX);
    free(lines);
    free(rules);
}

static struct text header(const struct bus_out *out, const char *name)
{
    struct text found = { NULL, 0 };
    for (size_t i = 0; i < out->header_count; i++)
        if (text_equal(out->headers[i].name, text_of(name))) {
            cr_assert_null(found.data, "%s stands twice", name);
            found = out->headers[i].value;
        }
    return found;
}

Test(relay_record, a_refused_record_is_whole_and_says_where_it_came_from)
{
    static const char kept[] = "\0\0\0\5trace\0\0\0\2ab" "\0\0\0\7ll-codes\0\0\0\3old" "\0\0\0\4null\377\377\377\377";
    struct kept_record dead = {
        .offset = 100, .seq = 1, .event_offset = 95, .timestamp_ms = 1700000000000, .since_ms = 1700000009000,
        .codes = code_bit(CODE_ORPHAN_RETURN), .message = TEXT("no sale"), .key = TEXT("C-1"), .value = TEXT("\1bytes"),
        .headers = { kept, sizeof kept - 1 }, .raw_topic = TEXT("transactions"), .raw_partition = 3, .raw_offset = 44,
    };
    struct bus_out out;
    relay_record_dead(maker, 5, &dead, &out);
    cr_expect(out.topic == TOPIC_DEAD_LETTER && out.partition == 5 && out.timestamp_ms == 1700000000000);
    cr_expect(text_equal(out.key, dead.key) && text_equal(out.value, dead.value));
    cr_expect(text_equal(header(&out, "trace"), TEXT("ab")));
    cr_expect(text_equal(header(&out, "ll-codes"), TEXT("ORPHAN_RETURN")));
    cr_expect(text_equal(header(&out, "ll-stage"), TEXT("accrue")));
    cr_expect(text_equal(header(&out, "ll-message"), TEXT("no sale")));
    cr_expect(text_equal(header(&out, "ll-topic"), TEXT("transactions")));
    cr_expect(text_equal(header(&out, "ll-partition"), TEXT("3")));
    cr_expect(text_equal(header(&out, "ll-offset"), TEXT("44")));
    cr_expect(text_equal(header(&out, "ll-valid-offset"), TEXT("95")));
    cr_expect(text_equal(header(&out, "ll-row-offset"), TEXT("100")) && text_equal(header(&out, "ll-row-seq"), TEXT("1")));
    cr_expect(text_equal(header(&out, "ll-group"), TEXT("lens-relay")) && text_equal(header(&out, "ll-attempt"), TEXT("0")));
    relay_record_omit(maker, &out);
    cr_expect(out.value.data == NULL && header(&out, "ll-value-omitted").data != NULL);
}

Test(relay_record, undecodable_bytes_name_their_own_place)
{
    struct kept_record dead = { .offset = 7, .event_offset = 7, .codes = code_bit(CODE_FRAME_MAGIC), .value = TEXT("?????") };
    struct bus_out out;
    relay_record_dead(maker, 9, &dead, &out);
    cr_expect_eq(out.partition, 1, "eight partitions of dead-letter");
    cr_expect(text_equal(header(&out, "ll-topic"), TEXT("transactions.valid")));
    cr_expect(text_equal(header(&out, "ll-partition"), TEXT("9")) && text_equal(header(&out, "ll-offset"), TEXT("7")));
    cr_expect(text_equal(header(&out, "ll-schema-id"), TEXT("-1")));
}

Test(relay_record, broken_kept_headers_are_no_headers)
{
    static const char *const kept[] = { "\0\0\0\5tra", "\377\377\377\377\0\0\0\1a", "\0\0", "\0\0\0\1a\177\377\377\377b" };
    static const uint32_t sizes[] = { 7, 9, 2, 10 };
    for (size_t i = 0; i < 4; i++) {
        struct kept_record dead = { .value = TEXT("v"), .headers = { kept[i], sizes[i] } };
        struct bus_out out;
        relay_record_dead(maker, 0, &dead, &out);
        cr_expect(text_equal(out.headers[0].name, TEXT("ll-codes")), "%zu", i);
    }
}

Test(relay_record, offsets_are_found_again)
{
    struct posting posting = sample();
    struct kept_record dead = { .offset = 33, .value = TEXT("v") };
    struct bus_out out;
    struct bus_record record;
    relay_record_posting(maker, &posting, &out);
    record = as_record(&out);
    cr_expect_eq(relay_record_offset(maker, 5, &record, NULL, 0), 100);
    posting.run = 2;
    relay_record_posting(maker, &posting, &out);
    record = as_record(&out);
    cr_expect_eq(relay_record_offset(maker, 5, &record, NULL, 0), -1, "another run's");
    relay_record_tick(maker, 5, 200, 1700000000000, &out);
    record = as_record(&out);
    cr_expect_eq(relay_record_offset(maker, 5, &record, out.headers, out.header_count), 199);
    relay_record_dead(maker, 13, &dead, &out);
    record = as_record(&out);
    cr_expect_eq(relay_record_offset(maker, 13, &record, out.headers, out.header_count), 33);
    cr_expect_eq(relay_record_offset(maker, 5, &record, out.headers, out.header_count), -1, "another partition's");
    cr_expect_eq(relay_record_offset(maker, 13, &record, out.headers, 3), -1, "validate's dead letters carry no row");
}
