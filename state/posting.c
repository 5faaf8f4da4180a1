#include "state/posting.h"

#include "schemas/codes.h"
#include "state/copy_field.h"
#include "state/decimal.h"
#include "state/pages.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum { FIELDS = 26, CODE_NAME_SIZE_MAX = 32 };

const char posting_columns[] =
    "\"offset\", identity_hash, content_hash, net_minor, points, event_time, posted_at, raw_offset, event_offset,"
    " sale_hash, run_id, partition, seq, sale_day, rules_version, raw_partition, type, source, transaction_id,"
    " sale_id, customer_id, store_id, lines, rules, warnings, raw_topic";

/* The raw topic of nearly every row: stored as null. The views say the same. */
static const struct text usual_topic = { "transactions", 12 };

static const char type_letters[3] = { 'S', 'R', 'V' }; /* by enum transaction_type */

static const char *const code_text[] = {
    NULL,
#define X(name, severity, scope, meaning, next) #name,
    CODE_TABLE(X)
#undef X
};

void row_buffer_done(struct row_buffer *buffer)
{
    pages_resize(buffer->data, buffer->capacity, 0);
    *buffer = (struct row_buffer){ 0 };
}

void row_buffer_clear(struct row_buffer *buffer)
{
    buffer->size = 0;
    buffer->rows = 0;
}

/* What the row can need at most, so that one check of the capacity suffices. */
static size_t size_max(const struct posting *posting)
{
    size_t size = 2 + FIELDS * (4 + 8);
    size += posting->source.size + posting->transaction_id.size + posting->sale_id.size +
            posting->customer_id.size + posting->store_id.size + posting->raw_topic.size;
    for (uint32_t at = 0; at < posting->line_count; at++) {
        const struct posting_line *line = &posting->lines[at];
        size +=
            line->product_id.size + line->category.size + line->promotion_id.size + 2 * DECIMAL_SIZE_MAX + 5;
    }
    size += posting->rule_count * (2 * DECIMAL_SIZE_MAX + 2);
    if (posting->warnings != 0)
        size += (size_t)__builtin_popcountll(posting->warnings) * (CODE_NAME_SIZE_MAX + 1);
    return size;
}

/* The separators are control characters, so no part of a line may hold one. */
static char *put_part(char *to, struct text part)
{
    if (part.size == 0)
        return to;
    memcpy(to, part.data, part.size);
    copy_clean(to, part.size, 0x20);
    return to + part.size;
}

static char *put_lines(char *to, const struct posting *posting)
{
    char *start = to;
    to += 4;
    for (uint32_t at = 0; at < posting->line_count; at++) {
        const struct posting_line *line = &posting->lines[at];
        if (at > 0)
            *to++ = '\n';
        to = put_part(to, line->product_id);
        *to++ = '\t';
        to = put_part(to, line->category);
        *to++ = '\t';
        to = put_part(to, line->promotion_id);
        *to++ = '\t';
        to = decimal_write(to, line->amount_minor);
        if (line->excess_minor != 0) {
            *to++ = '\t';
            to = decimal_write(to, line->excess_minor);
        }
    }
    put_u32(start, (uint32_t)(to - start - 4));
    return to;
}

static char *put_rules(char *to, const struct posting *posting)
{
    if (posting->rule_count == 0)
        return put_null(to);
    char *start = to;
    to += 4;
    for (uint32_t at = 0; at < posting->rule_count; at++) {
        if (at > 0)
            *to++ = ' ';
        to = decimal_write(to, posting->rules[at].rule_id);
        *to++ = ':';
        to = decimal_write(to, posting->rules[at].points);
    }
    put_u32(start, (uint32_t)(to - start - 4));
    return to;
}

/* By name: a code's number may change from one version to the next. */
static char *put_warnings(char *to, uint64_t warnings)
{
    if (warnings == 0)
        return put_null(to);
    char *start = to;
    to += 4;
    for (int code = 1; code < CODE_COUNT; code++) {
        if ((warnings & code_bit((enum code)code)) == 0)
            continue;
        if (to > start + 4)
            *to++ = ',';
        size_t size = strlen(code_text[code]);
        assert(size <= CODE_NAME_SIZE_MAX);
        memcpy(to, code_text[code], size);
        to += size;
    }
    put_u32(start, (uint32_t)(to - start - 4));
    return to;
}

size_t posting_write(struct row_buffer *buffer, const struct posting *posting)
{
    assert(posting->line_count <= POSTING_LINES_MAX && posting->rule_count <= POSTING_RULES_MAX);
    char *to = row_reserve(buffer, size_max(posting));
    size_t position = buffer->size;
    to = put_u16(to, FIELDS);
    to = put_int8(to, posting->offset);
    to = put_int8(to, posting->identity_hash);
    to = put_int8(to, posting->content_hash);
    to = put_int8(to, posting->net_minor);
    to = put_int8(to, posting->points);
    to = put_time(to, posting->event_time_ms);
    to = put_time(to, posting->posted_at_ms);
    to = put_int8(to, posting->raw_offset);
    to = posting->event_offset == posting->offset ? put_null(to) : put_int8(to, posting->event_offset);
    to = posting->sale_hash == posting->identity_hash ? put_null(to) : put_int8(to, posting->sale_hash);
    to = put_int4(to, posting->run);
    to = put_int4(to, posting->partition);
    to = put_int4(to, posting->seq);
    to = put_day(to, posting->sale_day);
    to = put_int4(to, posting->rules_version);
    to = posting->raw_partition == posting->partition ? put_null(to) : put_int4(to, posting->raw_partition);
    to = put_u32(to, 1);
    *to++ = type_letters[posting->type];
    to = put_text(to, posting->source);
    to = put_text(to, posting->transaction_id);
    to = put_text(to, posting->sale_id);
    to = put_text(to, posting->customer_id);
    to = put_text(to, posting->store_id);
    to = put_lines(to, posting);
    to = put_rules(to, posting);
    to = put_warnings(to, posting->warnings);
    to = text_equal(posting->raw_topic, usual_topic) ? put_null(to) : put_text(to, posting->raw_topic);
    buffer->size = (size_t)(to - buffer->data);
    assert(buffer->size <= buffer->capacity);
    buffer->rows++;
    return position;
}

/* Cuts the next part off *rest, up to separator or the end. */
static struct text next_part(struct text *rest, char separator)
{
    const char *found = memchr(rest->data, separator, rest->size);
    struct text part = { rest->data, found == NULL ? rest->size : (uint32_t)(found - rest->data) };
    uint32_t used = part.size + (found != NULL ? 1 : 0);
    rest->data += used;
    rest->size -= used;
    return part;
}

static struct text or_null(struct text part) { return part.size == 0 ? (struct text){ NULL, 0 } : part; }

static bool read_lines(struct text lines, struct posting_line *to, uint32_t *ret_count)
{
    uint32_t count = 0;
    while (lines.size > 0) {
        if (count == POSTING_LINES_MAX)
            return false;
        struct text line = next_part(&lines, '\n');
        struct posting_line *read = &to[count++];
        read->product_id = or_null(next_part(&line, '\t'));
        read->category = or_null(next_part(&line, '\t'));
        read->promotion_id = or_null(next_part(&line, '\t'));
        struct text amount = next_part(&line, '\t');
        read->excess_minor = 0;
        if (!decimal_read(amount.data, amount.size, &read->amount_minor) ||
            (line.size > 0 && !decimal_read(line.data, line.size, &read->excess_minor)))
            return false;
    }
    *ret_count = count;
    return true;
}

static bool read_rules(struct text rules, struct posting_rule *to, uint32_t *ret_count)
{
    uint32_t count = 0;
    while (rules.size > 0) {
        if (count == POSTING_RULES_MAX)
            return false;
        struct text rule = next_part(&rules, ' ');
        struct text id = next_part(&rule, ':');
        int64_t number = 0;
        if (!decimal_read(id.data, id.size, &number) || number < INT32_MIN || number > INT32_MAX ||
            !decimal_read(rule.data, rule.size, &to[count].points))
            return false;
        to[count++].rule_id = (int32_t)number;
    }
    *ret_count = count;
    return true;
}

static bool read_warnings(struct text names, uint64_t *ret)
{
    uint64_t set = 0;
    while (names.size > 0) {
        struct text name = next_part(&names, ',');
        int code = 1;
        while (code < CODE_COUNT && !text_equal(name, text_of(code_text[code])))
            code++;
        if (code == CODE_COUNT)
            return false;
        set |= code_bit((enum code)code);
    }
    *ret = set;
    return true;
}

static bool read_type(struct text letter, enum transaction_type *ret)
{
    const char *found = letter.size == 1 ? memchr(type_letters, letter.data[0], sizeof type_letters) : NULL;
    if (found == NULL)
        return false;
    *ret = (enum transaction_type)(found - type_letters);
    return true;
}

size_t posting_read(const char *bytes, size_t size, struct posting_line *lines, struct posting_rule *rules,
                    struct posting *ret)
{
    struct copy_cursor cursor = { .at = bytes, .end = bytes + size };
    if (take_u16(&cursor) != FIELDS)
        return 0;
    struct posting read = { .lines = lines, .rules = rules };
    read.offset = take_int8(&cursor);
    read.identity_hash = take_int8(&cursor);
    read.content_hash = take_int8(&cursor);
    read.net_minor = take_int8(&cursor);
    read.points = take_int8(&cursor);
    read.event_time_ms = take_time(&cursor);
    read.posted_at_ms = take_time(&cursor);
    read.raw_offset = take_int8(&cursor);
    read.event_offset = take_int8_or(&cursor, true, read.offset);
    read.sale_hash = take_int8_or(&cursor, true, read.identity_hash);
    read.run = take_int4(&cursor);
    read.partition = take_int4(&cursor);
    read.seq = take_int4(&cursor);
    int32_t day = take_int4(&cursor);
    read.rules_version = take_int4(&cursor);
    read.raw_partition = take_int4_or(&cursor, true, read.partition);
    struct text type = take_text(&cursor);
    read.source = take_text(&cursor);
    read.transaction_id = take_text(&cursor);
    read.sale_id = take_bytes(&cursor);
    read.customer_id = take_bytes(&cursor);
    read.store_id = take_bytes(&cursor);
    struct text line_text = take_text(&cursor);
    struct text rule_text = take_bytes(&cursor);
    struct text warning_text = take_bytes(&cursor);
    read.raw_topic = take_bytes(&cursor);
    if (cursor.bad || day < COPY_DAY_MIN || day > COPY_DAY_MAX || !read_type(type, &read.type) ||
        !read_lines(line_text, lines, &read.line_count) || !read_rules(rule_text, rules, &read.rule_count) ||
        !read_warnings(warning_text, &read.warnings))
        return 0;
    read.sale_day = day + COPY_EPOCH_DAY;
    if (read.raw_topic.data == NULL)
        read.raw_topic = usual_topic;
    *ret = read;
    return (size_t)(cursor.at - bytes);
}
