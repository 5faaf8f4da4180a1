#include "state/segment_store.h"

#include "state/copy_field.h"

enum { OID_OF_INT4 = 23, OID_OF_INT8 = 20, ROW_SIZE = 640 };

const char segment_standing_columns[] = "run_id, customer_id, as_of_day, threshold_version, recency_days, "
                                        "frequency, monetary_minor, r, f, m, rfm_segment,"
                                        " points_balance, tier, tier_points, high_spender, at_risk, "
                                        "clv_potential, clv_trajectory, clv_engagement, clv_breadth,"
                                        " clv_points, last_day, first_day, change_count, state";
const char segment_threshold_columns[] = "run_id, version, day, offsets, customers, rated, base, k, "
                                         "threshold_minor, members, r_cuts, f_cuts, m_cuts,"
                                         " median_balance, categories, decided_at";
const char segment_change_columns[] = "run_id, change_no, change_id, customer_id, segment, kind, reason, "
                                      "sequence, effective_at, detected_at, as_of_day,"
                                      " threshold_version, recency_days, frequency, monetary_minor, r, f, m, "
                                      "rfm_segment, points_balance, tier, clv_potential";
enum { STANDING_FIELDS = 25, THRESHOLD_FIELDS = 16, CHANGE_FIELDS = 22 };

static const char *const kinds[] = { [SEGMENT_ENTERED] = "ENTERED", [SEGMENT_EXITED] = "EXITED" };
static const char *const reasons[] = {
    [SEGMENT_PURCHASE] = "PURCHASE",
    [SEGMENT_TIME] = "TIME",
    [SEGMENT_RETURN] = "RETURN",
    [SEGMENT_THRESHOLD] = "THRESHOLD",
    [SEGMENT_POINTS_SPENT] = "POINTS_SPENT",
    [SEGMENT_POINTS_EARNED] = "POINTS_EARNED",
    [SEGMENT_RULES] = "RULES",
};
enum { KINDS = sizeof kinds / sizeof kinds[0], REASONS = sizeof reasons / sizeof reasons[0] };

static char *put_bool(char *to, bool value)
{
    to = put_u32(to, 1);
    *to++ = value;
    return to;
}

static void row_end(struct row_buffer *buffer, const char *end)
{
    buffer->size = (size_t)(end - buffer->data);
    buffer->rows++;
}

void segment_write_standing(struct row_buffer *buffer, int32_t run, const struct segment_standing *standing)
{
    const struct segment_snapshot *snapshot = &standing->snapshot;
    char *to = row_reserve(buffer, ROW_SIZE + standing->customer_id.size + standing->state.size);
    to = put_u16(to, STANDING_FIELDS);
    to = put_int4(to, run);
    to = put_text(to, standing->customer_id);
    to = put_day(to, standing->day);
    to = put_int4(to, standing->threshold_version);
    to = snapshot->recency_days < 0 ? put_null(to) : put_int4(to, snapshot->recency_days);
    to = put_int4(to, snapshot->frequency);
    to = put_int8(to, snapshot->monetary_minor);
    to = put_int4(to, snapshot->r);
    to = put_int4(to, snapshot->f);
    to = put_int4(to, snapshot->m);
    to = put_text(to, snapshot->rfm_segment);
    to = put_int8(to, snapshot->points_balance);
    to = put_text(to, snapshot->tier);
    to = put_int8(to, standing->tier_points);
    to = put_bool(to, standing->high_spender);
    to = put_bool(to, standing->at_risk);
    to = put_int4(to, snapshot->clv_potential);
    for (int part = 0; part < 4; part++)
        to = put_int4(to, standing->clv_thousandths[part]);
    to = standing->has_last_day ? put_day(to, standing->last_day) : put_null(to);
    to = standing->has_first_day ? put_day(to, standing->first_day) : put_null(to);
    to = put_int8(to, standing->change_count);
    row_end(buffer, put_bytes(to, standing->state));
}

/* One dimension, no nulls, from 1. */
static char *put_array(char *to, uint32_t type, size_t count, size_t size)
{
    to = put_u32(to, (uint32_t)(count == 0 ? 12 : 20 + count * (4 + size)));
    to = put_u32(to, count == 0 ? 0 : 1);
    to = put_u32(to, 0);
    to = put_u32(to, type);
    if (count == 0)
        return to;
    to = put_u32(to, (uint32_t)count);
    return put_u32(to, 1);
}

void segment_write_threshold(struct row_buffer *buffer, int32_t run,
                             const struct segment_threshold *threshold)
{
    size_t cuts = threshold->rated == 0 ? 0 : SEGMENT_CUTS;
    char *to = row_reserve(buffer, ROW_SIZE + threshold->offset_count * 12);
    to = put_u16(to, THRESHOLD_FIELDS);
    to = put_int4(to, run);
    to = put_int4(to, threshold->version);
    to = put_day(to, threshold->day);
    to = put_array(to, OID_OF_INT8, threshold->offset_count, 8);
    for (size_t at = 0; at < threshold->offset_count; at++)
        to = put_int8(to, threshold->offsets[at]);
    to = put_int8(to, threshold->customers);
    to = put_int8(to, threshold->rated);
    to = put_int8(to, threshold->base);
    to = put_int8(to, threshold->k);
    to = threshold->base == 0 ? put_null(to) : put_int8(to, threshold->threshold_minor);
    to = put_int8(to, threshold->members);
    to = put_array(to, OID_OF_INT4, cuts, 4);
    for (size_t at = 0; at < cuts; at++)
        to = put_int4(to, threshold->r_cuts[at]);
    to = put_array(to, OID_OF_INT4, cuts, 4);
    for (size_t at = 0; at < cuts; at++)
        to = put_int4(to, threshold->f_cuts[at]);
    to = put_array(to, OID_OF_INT8, cuts, 8);
    for (size_t at = 0; at < cuts; at++)
        to = put_int8(to, threshold->m_cuts[at]);
    to = put_int8(to, threshold->median_balance);
    to = put_int4(to, threshold->categories);
    row_end(buffer, put_time(to, threshold->decided_ms));
}

void segment_write_change(struct row_buffer *buffer, int32_t run, int64_t change_no,
                          const struct segment_change *change)
{
    const struct segment_snapshot *snapshot = &change->snapshot;
    char *to = row_reserve(buffer, ROW_SIZE + change->customer_id.size);
    to = put_u16(to, CHANGE_FIELDS);
    to = put_int4(to, run);
    to = put_int8(to, change_no);
    to = put_text(to, change->change_id);
    to = put_text(to, change->customer_id);
    to = put_text(to, change->segment);
    to = put_text(to, text_of(kinds[change->kind]));
    to = put_text(to, text_of(reasons[change->reason]));
    to = put_int8(to, change->sequence);
    to = put_time(to, change->effective_at_ms);
    to = put_time(to, change->detected_at_ms);
    to = put_day(to, change->as_of_day);
    to = put_int4(to, change->threshold_version);
    to = put_int4(to, snapshot->recency_days);
    to = put_int4(to, snapshot->frequency);
    to = put_int8(to, snapshot->monetary_minor);
    to = put_int4(to, snapshot->r);
    to = put_int4(to, snapshot->f);
    to = put_int4(to, snapshot->m);
    to = put_text(to, snapshot->rfm_segment);
    to = put_int8(to, snapshot->points_balance);
    to = put_text(to, snapshot->tier);
    row_end(buffer, put_int4(to, snapshot->clv_potential));
}

static int find_word(const char *const *words, int count, struct text word)
{
    for (int at = 0; at < count; at++)
        if (text_equal(text_of(words[at]), word))
            return at;
    return -1;
}

bool segment_read_change(const char *bytes, size_t size, int64_t *ret_change_no, struct segment_change *ret)
{
    struct copy_cursor cursor = { .at = bytes, .end = bytes + size };
    struct segment_change change = { 0 };
    struct segment_snapshot *snapshot = &change.snapshot;
    if (take_u16(&cursor) != CHANGE_FIELDS)
        return false;
    (void)take_int4(&cursor); /* the run was asked for */
    int64_t change_no = take_int8(&cursor);
    change.change_id = take_text(&cursor);
    change.customer_id = take_text(&cursor);
    change.segment = take_text(&cursor);
    int kind = find_word(kinds, KINDS, take_text(&cursor));
    int reason = find_word(reasons, REASONS, take_text(&cursor));
    change.sequence = take_int8(&cursor);
    change.effective_at_ms = take_time(&cursor);
    change.detected_at_ms = take_time(&cursor);
    change.as_of_day = take_int4(&cursor) + COPY_EPOCH_DAY;
    change.threshold_version = take_int4(&cursor);
    snapshot->recency_days = take_int4(&cursor);
    snapshot->frequency = take_int4(&cursor);
    snapshot->monetary_minor = take_int8(&cursor);
    snapshot->r = take_int4(&cursor);
    snapshot->f = take_int4(&cursor);
    snapshot->m = take_int4(&cursor);
    snapshot->rfm_segment = take_text(&cursor);
    snapshot->points_balance = take_int8(&cursor);
    snapshot->tier = take_text(&cursor);
    snapshot->clv_potential = take_int4(&cursor);
    if (cursor.bad || cursor.at != cursor.end || kind < 0 || reason < 0)
        return false;
    change.kind = (enum segment_change_kind)kind;
    change.reason = (enum segment_change_reason)reason;
    *ret = change;
    *ret_change_no = change_no;
    return true;
}
