#include "producers/import/group.h"

#include "producers/import/group_set.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct groups {
    const struct profile *profile;
    struct output *output;
    struct group_set set;
    struct line lines[EVENT_LINES_MAX];
};

static enum ll_status give_dead(struct groups *groups, const struct group_row *row, uint64_t codes,
                                const char *message, struct ll_err *err)
{
    struct dead_row dead = {.codes = codes,
                            .message = message,
                            .raw = row->raw,
                            .file = row->file,
                            .line = row->line,
                            .topic = TOPIC_TRANSACTIONS};
    return output_dead(groups->output, &dead, err);
}

/* All rows of the transaction go: what one of them did wrong is said in each. */
static enum ll_status reject_all(struct groups *groups, const struct group *group, uint64_t codes,
                                 const char *message, struct ll_err *err)
{
    enum ll_status status = LL_OK;
    for (const struct group_row *row = group->first; row != NULL && status == LL_OK; row = row->next)
        status = give_dead(groups, row, codes, row->codes != 0 ? row->message : message, err);
    return status;
}

static enum ll_status reject_for_row(struct groups *groups, const struct group *group, struct ll_err *err)
{
    char message[480];
    const struct group_row *bad = group->first;
    while (bad->codes == 0)
        bad = bad->next;
    snprintf(message, sizeof message, "refused with %s:%lld of the same transaction: %s", bad->file,
             (long long)bad->line, bad->message);
    return reject_all(groups, group, group->codes, message, err);
}

static size_t text_sizes(const struct line *line)
{
    return line->product_id.size + line->promotion_id.size;
}

enum { HEAD_SIZE = 16 << 10, LINE_SIZE = 64 }; /* upper bounds of what is not a line's text */

/* head with the first count of groups->lines as an event, standing for rows of the files. */
static enum ll_status give_event(struct groups *groups, const struct transaction *head, uint32_t count,
                                 int64_t rows, struct ll_err *err)
{
    struct event event = {.kind = EVENT_TRANSACTION, .transaction = *head};
    event.transaction.lines = groups->lines;
    event.transaction.line_count = count;
    return output_event(groups->output, TOPIC_TRANSACTIONS, &event, rows, err);
}

static enum ll_status reject_too_large(struct groups *groups, const struct group *group, struct ll_err *err)
{
    char message[200];
    snprintf(message, sizeof message, "transaction of %u rows: an event has at most %d lines and %d bytes",
             group->row_count, EVENT_LINES_MAX, GROUP_EVENT_SIZE_MAX);
    return reject_all(groups, group, code_bit(CODE_DECODE_LIMIT), message, err);
}

/* Every row carries the head. */
static enum ll_status close_lines(struct groups *groups, const struct group *group, struct ll_err *err)
{
    if (group->codes != 0)
        return reject_for_row(groups, group, err);
    size_t size = HEAD_SIZE;
    uint32_t count = 0;
    for (const struct group_row *row = group->first; row != NULL; row = row->next) {
        size += LINE_SIZE + text_sizes(&row->item);
        if (count == EVENT_LINES_MAX || size > GROUP_EVENT_SIZE_MAX)
            return reject_too_large(groups, group, err);
        groups->lines[count++] = row->item;
        if (!row->has_line_no)
            groups->lines[count - 1].line_no = (int32_t)count;
    }
    struct transaction head = *group->head->head;
    head.event_time_ms = group->event_time_ms;
    return give_event(groups, &head, count, count, err);
}

/* A line that follows right after the one before it, with a higher number, belongs with it. */
static bool begins_block(const struct group_row *before, const struct group_row *row)
{
    return before == NULL || row->ordinal != before->ordinal + 1 || row->item.line_no <= before->item.line_no;
}

/* How many lines before this one have its number. */
static uint32_t occurrence(const struct group *group, const struct group_row *of)
{
    uint32_t count = 0;
    for (const struct group_row *row = group->first; row != of; row = row->next)
        count += row->head == NULL && row->item.line_no == of->item.line_no;
    return count;
}

/* Tells each line which of the heads it belongs to: of several, the index-th gets the index-th block of
 * lines, or where blocks and heads do not pair, the lines whose number occurs for the index-th time. */
static void assign_places(const struct group *group)
{
    uint32_t blocks = 0;
    const struct group_row *before = NULL;
    for (struct group_row *row = group->first; row != NULL; row = row->next) {
        if (row->head != NULL)
            continue;
        blocks += begins_block(before, row);
        row->place = blocks - 1;
        before = row;
    }
    if (blocks == group->head_count)
        return;
    for (struct group_row *row = group->first; row != NULL; row = row->next) {
        if (row->head != NULL)
            continue;
        if (group->head_count == 1)
            row->place = 0;
        else if (group->row_count <= GROUP_OCCURRENCE_MAX)
            row->place = occurrence(group, row);
        if (row->place >= group->head_count)
            row->place = group->head_count - 1;
    }
}

/* The rows by place, in the files' order within each: from[place] is where the place's rows begin. */
struct places {
    const struct group_row **heads, **lines;
    uint32_t *from;
};

static struct places places_new(const struct group *group)
{
    uint32_t heads = group->head_count, lines = group->row_count - heads, seen = 0;
    struct places places = {calloc(heads, sizeof(void *)), calloc(lines + 1, sizeof(void *)),
                            calloc(heads + 2, sizeof *places.from)};
    if (places.heads == NULL || places.lines == NULL || places.from == NULL)
        abort();
    assign_places(group);
    for (const struct group_row *row = group->first; row != NULL; row = row->next) {
        if (row->head != NULL)
            places.heads[seen++] = row;
        else
            places.from[row->place + 2]++;
    }
    for (uint32_t i = 2; i < heads + 2; i++)
        places.from[i] += places.from[i - 1];
    for (const struct group_row *row = group->first; row != NULL; row = row->next)
        if (row->head == NULL)
            places.lines[places.from[row->place + 1]++] = row;
    return places;
}

static void places_free(struct places *places)
{
    free(places->heads);
    free(places->lines);
    free(places->from);
}

/* Puts a place's lines into groups->lines. False: they are too many for one event. */
static bool collect(struct groups *groups, const struct places *places, uint32_t place, uint32_t *ret_count)
{
    size_t size = HEAD_SIZE;
    uint32_t count = 0;
    for (uint32_t i = places->from[place]; i < places->from[place + 1]; i++) {
        const struct group_row *row = places->lines[i];
        size += LINE_SIZE + text_sizes(&row->item);
        if (count == EVENT_LINES_MAX || size > GROUP_EVENT_SIZE_MAX)
            return false;
        groups->lines[count++] = row->item;
        if (!row->has_line_no)
            groups->lines[count - 1].line_no = (int32_t)count;
    }
    *ret_count = count;
    return true;
}

static enum ll_status reject_headless(struct groups *groups, const struct group *group, struct ll_err *err)
{
    if (group_set_was_closed(&groups->set, group))
        return reject_all(
            groups, group, code_bit(CODE_GROUP_CONFLICT),
            "the transaction was closed before: its rows lie too far apart (open_rows in the profile)", err);
    return reject_all(groups, group, code_bit(CODE_HEADER_MISSING), "no header row names this transaction",
                      err);
}

/* Heads and lines are rows of their own. */
static enum ll_status close_paired(struct groups *groups, const struct group *group, struct ll_err *err)
{
    if (group->codes != 0)
        return reject_for_row(groups, group, err);
    if (group->head_count == 0)
        return reject_headless(groups, group, err);
    struct places places = places_new(group);
    enum ll_status status = LL_OK;
    uint32_t count;
    bool fits = true;
    for (uint32_t i = 0; i < group->head_count && fits; i++)
        fits = collect(groups, &places, i, &count);
    if (!fits)
        status = reject_too_large(groups, group, err);
    for (uint32_t i = 0; i < group->head_count && fits && status == LL_OK; i++) {
        collect(groups, &places, i, &count);
        status = give_event(groups, places.heads[i]->head, count, (int64_t)count + 1, err);
    }
    places_free(&places);
    return status;
}

static enum ll_status close_group(struct groups *groups, struct group *group, bool early, struct ll_err *err)
{
    enum ll_status status =
        group->paired ? close_paired(groups, group, err) : close_lines(groups, group, err);
    group_set_remove(&groups->set, group, early);
    return status;
}

static enum ll_status make_room(struct groups *groups, struct ll_err *err)
{
    enum ll_status status = LL_OK;
    while (status == LL_OK &&
           (groups->set.row_count > groups->profile->open_rows || groups->set.bytes > GROUP_BYTES_MAX))
        status = close_group(groups, groups->set.oldest, true, err);
    return status;
}

static bool same_head(const struct transaction *a, const struct transaction *b)
{
    return a->type == b->type && text_equal(a->original_transaction_id, b->original_transaction_id) &&
           text_equal(a->store_id, b->store_id) && text_equal(a->customer_id, b->customer_id) &&
           text_equal(a->currency, b->currency) && a->has_total == b->has_total &&
           a->total_minor == b->total_minor && text_equal(a->channel, b->channel);
}

/* Does the row agree with those before it? If so, its time is taken into account. */
static bool agrees(struct groups *groups, struct group *group, const struct transaction *head)
{
    const struct profile_file *file = NULL;
    for (int i = 0; i < groups->profile->file_count; i++)
        if (groups->profile->files[i].kind == PROFILE_TRANSACTION_LINES)
            file = &groups->profile->files[i];
    assert(file != NULL);
    enum field_agree agree = file->fields[FIELD_ID_EVENT_TIME].agree;
    if (group->head == NULL) {
        group->event_time_ms = head->event_time_ms;
        return true;
    }
    if (!same_head(group->head->head, head) ||
        (agree == AGREE_SAME && head->event_time_ms != group->event_time_ms))
        return false;
    if (agree == AGREE_LATEST ? head->event_time_ms > group->event_time_ms
                              : head->event_time_ms < group->event_time_ms)
        group->event_time_ms = head->event_time_ms;
    return true;
}

static enum ll_status dead_now(struct groups *groups, const char *file, const struct csv_row *row,
                               uint64_t codes, const char *message, struct ll_err *err)
{
    struct dead_row dead = {.codes = codes,
                            .message = message,
                            .raw = row->raw,
                            .file = file,
                            .line = row->line,
                            .topic = TOPIC_TRANSACTIONS};
    return output_dead(groups->output, &dead, err);
}

enum ll_status groups_add(struct groups *groups, enum profile_kind kind, const char *file, int64_t ordinal,
                          const struct csv_row *row, const struct mapped *mapped, struct ll_err *err)
{
    bool paired = kind != PROFILE_TRANSACTION_LINES, good = mapped->codes == 0;
    if (!good && (!mapped->has_group || !groups->profile->reject_transaction))
        return dead_now(groups, file, row, mapped->codes, mapped->message, err);
    struct group_new in = {.file = file,
                           .ordinal = ordinal,
                           .row = row,
                           .mapped = mapped,
                           .codes = mapped->codes,
                           .message = mapped->message,
                           .has_head = kind != PROFILE_SALE_LINES,
                           .has_item = kind != PROFILE_SALES};
    bool found;
    struct group *group = group_set_find(&groups->set, mapped->group, paired, &found);
    if (!found && !paired && group_set_was_closed(&groups->set, group)) {
        group_set_remove(&groups->set, group, true);
        return dead_now(
            groups, file, row, code_bit(CODE_GROUP_CONFLICT) | mapped->codes,
            "the transaction was closed before: its rows lie too far apart (open_rows in the profile)", err);
    }
    if (!paired && group->row_count >= GROUP_ROWS_MAX)
        return dead_now(groups, file, row, code_bit(CODE_DECODE_LIMIT) | mapped->codes,
                        "the transaction has too many rows", err);
    if (good && !paired && !agrees(groups, group, &mapped->head)) {
        in.codes = code_bit(CODE_GROUP_CONFLICT);
        in.message =
            "the row contradicts an earlier row of its transaction (customer, store, type, time ...)";
        if (!groups->profile->reject_transaction)
            return dead_now(groups, file, row, in.codes, in.message, err);
    }
    group_set_add(&groups->set, group, &in);
    return make_room(groups, err);
}

enum ll_status groups_finish(struct groups *groups, struct ll_err *err)
{
    enum ll_status status = LL_OK;
    while (status == LL_OK && groups->set.oldest != NULL)
        status = close_group(groups, groups->set.oldest, false, err);
    return status;
}

struct groups *groups_new(const struct profile *profile, struct output *output)
{
    struct groups *groups = calloc(1, sizeof *groups);
    if (groups == NULL)
        abort();
    groups->profile = profile;
    groups->output = output;
    group_set_init(&groups->set);
    return groups;
}

void groups_free(struct groups *groups)
{
    if (groups == NULL)
        return;
    group_set_done(&groups->set);
    free(groups);
}
