#include "schemas/straight.h"

#include "schemas/cursor.h"
#include "schemas/scratch.h"

/* A cursor, and what its texts hold: the check for control characters needs no walk of its own. */
struct straight {
    struct cursor in;
    struct utf8_look texts;
};

static inline bool take_int(struct straight *from, int32_t *ret)
{
    return cursor_int(&from->in, ret) == CODE_NONE;
}

static inline bool take_long(struct straight *from, int64_t *ret)
{
    return cursor_long(&from->in, ret) == CODE_NONE;
}

static inline bool take_text(struct straight *from, struct text *ret)
{
    if (cursor_bytes(&from->in, EVENT_TEXT_SIZE_MAX, ret) != CODE_NONE)
        return false;
    struct utf8_look look = { 0, 0 };
    utf8_look(*ret, &look);
    from->texts.control |= look.control;
    return utf8_valid_as(*ret, &look);
}

/* A union of null and a value, null first. */
static inline bool take_branch(struct straight *from, bool *ret)
{
    struct cursor *in = &from->in;
    if (in->at == in->end || (*in->at & ~2u) != 0)
        return false;
    *ret = *in->at++ == 2;
    return true;
}

static inline bool take_text_nullable(struct straight *from, struct text *ret)
{
    bool present;
    if (!take_branch(from, &present))
        return false;
    if (present)
        return take_text(from, ret);
    *ret = (struct text){ NULL, 0 };
    return true;
}

static inline bool take_long_nullable(struct straight *from, bool *ret_present, int64_t *ret)
{
    *ret = 0;
    return take_branch(from, ret_present) && (!*ret_present || take_long(from, ret));
}

static inline bool take_type(struct straight *from, enum transaction_type *ret)
{
    uint32_t type;
    if (cursor_index(&from->in, TRANSACTION_VOID + 1, &type) != CODE_NONE)
        return false;
    *ret = (enum transaction_type)type;
    return true;
}

static inline bool take_line(struct straight *from, bool valid, struct line *ret)
{
    ret->category = (struct text){ NULL, 0 };
    return take_int(from, &ret->line_no) && take_text_nullable(from, &ret->product_id) &&
           take_long(from, &ret->quantity) && take_long(from, &ret->unit_price_minor) &&
           take_long(from, &ret->discount_minor) && take_long(from, &ret->amount_minor) &&
           take_text_nullable(from, &ret->promotion_id) && (!valid || take_text_nullable(from, &ret->category));
}

/* In one block, or none. */
static inline bool take_lines(struct straight *from, bool valid, struct codec_scratch *scratch,
                              struct transaction *ret)
{
    struct line *lines = (struct line *)(void *)scratch->room;
    int64_t count, end = 0;
    if (!take_long(from, &count) || count < 0 || count > EVENT_LINES_MAX)
        return false;
    for (int64_t i = 0; i < count; i++)
        if (!take_line(from, valid, &lines[i]))
            return false;
    ret->lines = lines;
    ret->line_count = (uint32_t)count;
    scratch->used = (size_t)count * sizeof *lines;
    return count == 0 || (take_long(from, &end) && end == 0);
}

static inline bool take_position(struct straight *from, bool valid, struct transaction *ret)
{
    if (valid)
        return take_long(from, &ret->content_hash) && take_text(from, &ret->raw_topic) &&
               take_int(from, &ret->raw_partition) && take_long(from, &ret->raw_offset) &&
               take_int(from, &ret->attempt);
    ret->content_hash = 0;
    ret->raw_topic = (struct text){ NULL, 0 };
    ret->raw_partition = 0;
    ret->raw_offset = 0;
    ret->attempt = 0;
    return true;
}

static inline bool read_transaction(struct text bytes, bool valid, struct codec_scratch *scratch,
                                    struct transaction *ret)
{
    const unsigned char *begin = (const unsigned char *)bytes.data;
    struct straight from = { .in = { begin, begin + bytes.size } };
    bool all =
        take_text(&from, &ret->transaction_id) && take_type(&from, &ret->type) &&
        take_text_nullable(&from, &ret->original_transaction_id) && take_long(&from, &ret->event_time_ms) &&
        take_text_nullable(&from, &ret->store_id) && take_text_nullable(&from, &ret->customer_id) &&
        take_text(&from, &ret->currency) && take_long_nullable(&from, &ret->has_total, &ret->total_minor) &&
        take_text(&from, &ret->source) && take_text(&from, &ret->source_ref) &&
        take_text_nullable(&from, &ret->channel) && take_lines(&from, valid, scratch, ret) &&
        take_position(&from, valid, ret) && from.in.at == from.in.end;
    ret->has_no_control = !utf8_has_control(&from.texts);
    return all;
}

/* As one piece of code, whatever the compiler thinks of its size: a seventh less. */
#define FLAT __attribute__((flatten))

static FLAT bool read_raw(struct text bytes, struct codec_scratch *scratch, void *payload)
{
    return read_transaction(bytes, false, scratch, payload);
}

static FLAT bool read_valid(struct text bytes, struct codec_scratch *scratch, void *payload)
{
    return read_transaction(bytes, true, scratch, payload);
}

straight_fn *straight_of(const struct bind_record *bind)
{
    if (bind == bind_of(EVENT_TRANSACTION))
        return read_raw;
    return bind == bind_of(EVENT_TRANSACTION_VALID) ? read_valid : NULL;
}
