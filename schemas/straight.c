#include "schemas/straight.h"

#include "schemas/cursor.h"
#include "schemas/scratch.h"

static inline bool take_int(struct cursor *in, int32_t *ret)
{
    return cursor_int(in, ret) == CODE_NONE;
}

static inline bool take_long(struct cursor *in, int64_t *ret)
{
    return cursor_long(in, ret) == CODE_NONE;
}

static inline bool take_text(struct cursor *in, struct text *ret)
{
    return cursor_text(in, EVENT_TEXT_SIZE_MAX, ret) == CODE_NONE;
}

/* A union of null and a value, null first. */
static inline bool take_branch(struct cursor *in, bool *ret)
{
    if (in->at == in->end || (*in->at & ~2u) != 0)
        return false;
    *ret = *in->at++ == 2;
    return true;
}

static inline bool take_text_nullable(struct cursor *in, struct text *ret)
{
    bool present;
    if (!take_branch(in, &present))
        return false;
    if (present)
        return take_text(in, ret);
    *ret = (struct text){ NULL, 0 };
    return true;
}

static inline bool take_long_nullable(struct cursor *in, bool *ret_present, int64_t *ret)
{
    *ret = 0;
    return take_branch(in, ret_present) && (!*ret_present || take_long(in, ret));
}

static inline bool take_type(struct cursor *in, enum transaction_type *ret)
{
    uint32_t type;
    if (cursor_index(in, TRANSACTION_VOID + 1, &type) != CODE_NONE)
        return false;
    *ret = (enum transaction_type)type;
    return true;
}

static inline bool take_line(struct cursor *in, bool valid, struct line *ret)
{
    ret->category = (struct text){ NULL, 0 };
    return take_int(in, &ret->line_no) && take_text_nullable(in, &ret->product_id) &&
           take_long(in, &ret->quantity) && take_long(in, &ret->unit_price_minor) &&
           take_long(in, &ret->discount_minor) && take_long(in, &ret->amount_minor) &&
           take_text_nullable(in, &ret->promotion_id) && (!valid || take_text_nullable(in, &ret->category));
}

/* In one block, or none. */
static inline bool take_lines(struct cursor *in, bool valid, struct codec_scratch *scratch,
                              struct transaction *ret)
{
    struct line *lines = (struct line *)(void *)scratch->room;
    int64_t count, end = 0;
    if (!take_long(in, &count) || count < 0 || count > EVENT_LINES_MAX)
        return false;
    for (int64_t i = 0; i < count; i++)
        if (!take_line(in, valid, &lines[i]))
            return false;
    ret->lines = lines;
    ret->line_count = (uint32_t)count;
    scratch->used = (size_t)count * sizeof *lines;
    return count == 0 || (take_long(in, &end) && end == 0);
}

static inline bool take_position(struct cursor *in, bool valid, struct transaction *ret)
{
    if (valid)
        return take_long(in, &ret->content_hash) && take_text(in, &ret->raw_topic) &&
               take_int(in, &ret->raw_partition) && take_long(in, &ret->raw_offset) &&
               take_int(in, &ret->attempt);
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
    struct cursor in = { begin, begin + bytes.size };
    return take_text(&in, &ret->transaction_id) && take_type(&in, &ret->type) &&
           take_text_nullable(&in, &ret->original_transaction_id) && take_long(&in, &ret->event_time_ms) &&
           take_text_nullable(&in, &ret->store_id) && take_text_nullable(&in, &ret->customer_id) &&
           take_text(&in, &ret->currency) && take_long_nullable(&in, &ret->has_total, &ret->total_minor) &&
           take_text(&in, &ret->source) && take_text(&in, &ret->source_ref) &&
           take_text_nullable(&in, &ret->channel) && take_lines(&in, valid, scratch, ret) &&
           take_position(&in, valid, ret) && in.at == in.end;
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
