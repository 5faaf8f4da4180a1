#include "consumers/accrue/pending.h"

#include "state/pages.h"

#define RESIZE(list, from, to) ((list) = pages_resize((list), (from) * sizeof *(list), (to) * sizeof *(list)))

/* Makes room for one more in an array of (pointer, count, capacity). */
#define ROOM_FOR_ONE(list, count, capacity)                     \
    do {                                                        \
        if ((count) == (capacity)) {                            \
            size_t larger = (capacity) == 0 ? 256 : (capacity) * 2; \
            RESIZE((list), (capacity), larger);                 \
            (capacity) = larger;                                \
        }                                                       \
    } while (0)

void pending_init(struct pending *pending)
{
    *pending = (struct pending){ 0 };
}

void pending_done(struct pending *pending)
{
    row_buffer_done(&pending->postings);
    RESIZE(pending->rows, pending->row_capacity, 0);
    RESIZE(pending->dead, pending->dead_capacity, 0);
    RESIZE(pending->held, pending->held_capacity, 0);
    RESIZE(pending->released, pending->released_capacity, 0);
    RESIZE(pending->accounts, pending->account_capacity, 0);
    RESIZE(pending->account_at, pending->account_capacity, 0);
    arena_done(&pending->bytes);
    *pending = (struct pending){ 0 };
}

void pending_clear(struct pending *pending, int64_t first, uint32_t flush)
{
    pending->first = first;
    pending->flush = flush;
    pending->events = 0;
    row_buffer_clear(&pending->postings);
    pending->row_count = pending->dead_count = pending->held_count = pending->released_count = 0;
    pending->account_count = 0;
    arena_done(&pending->bytes);
}

static struct ledger_account *account_change(struct pending *pending, const struct accounts *accounts,
                                             struct account *account)
{
    if (account->flush != pending->flush) {
        if (pending->account_count == pending->account_capacity) {
            size_t larger = pending->account_capacity == 0 ? 256 : pending->account_capacity * 2;
            RESIZE(pending->accounts, pending->account_capacity, larger);
            RESIZE(pending->account_at, pending->account_capacity, larger);
            pending->account_capacity = larger;
        }
        account->flush = pending->flush;
        account->flush_at = (uint32_t)pending->account_count++;
        pending->accounts[account->flush_at] =
            (struct ledger_account){ .customer_id = account_customer_id(account),
                                     .last_event_ms = INT64_MIN };
        pending->account_at[account->flush_at] = (uint32_t)(account - accounts->list);
    }
    return &pending->accounts[account->flush_at];
}

void pending_post(struct pending *pending, const struct posting *posting, struct accounts *accounts,
                  struct account *account)
{
    ROOM_FOR_ONE(pending->rows, pending->row_count, pending->row_capacity);
    size_t at = posting_write(&pending->postings, posting);
    pending->rows[pending->row_count++] = (struct pending_row){ posting->offset, at };
    if (account == NULL)
        return;
    struct ledger_account *change = account_change(pending, accounts, account);
    change->points_delta += posting->points;
    if (posting->points > 0)
        change->earned_delta += posting->points;
    else
        change->reversed_delta -= posting->points;
    change->net_delta_minor += posting->net_minor;
    change->postings_delta++;
    if (posting->event_time_ms > change->last_event_ms)
        change->last_event_ms = posting->event_time_ms;
}

static struct text keep(struct arena *arena, struct text text)
{
    return text.data == NULL ? text : (struct text){ arena_copy(arena, text.data, text.size), text.size };
}

static struct kept_record kept_copy(struct arena *arena, const struct kept_record *record)
{
    struct kept_record copy = *record;
    copy.source = keep(arena, record->source);
    copy.transaction_id = keep(arena, record->transaction_id);
    copy.message = keep(arena, record->message);
    copy.key = keep(arena, record->key);
    copy.value = keep(arena, record->value);
    copy.headers = keep(arena, record->headers);
    copy.raw_topic = keep(arena, record->raw_topic);
    return copy;
}

void pending_kill(struct pending *pending, const struct kept_record *record)
{
    ROOM_FOR_ONE(pending->dead, pending->dead_count, pending->dead_capacity);
    pending->dead[pending->dead_count++] = kept_copy(&pending->bytes, record);
}

void pending_hold(struct pending *pending, const struct kept_record *record)
{
    ROOM_FOR_ONE(pending->held, pending->held_count, pending->held_capacity);
    pending->held[pending->held_count++] = kept_copy(&pending->bytes, record);
}

void pending_release(struct pending *pending, int64_t held_offset)
{
    ROOM_FOR_ONE(pending->released, pending->released_count, pending->released_capacity);
    pending->released[pending->released_count++] = held_offset;
}

size_t pending_lower_bound(const struct pending *pending, int64_t offset)
{
    size_t low = 0, high = pending->row_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (pending->rows[middle].offset < offset)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

size_t pending_size(const struct pending *pending)
{
    size_t size = pending->postings.size + pending->account_count * sizeof *pending->accounts;
    for (size_t i = 0; i < pending->dead_count; i++)
        size += pending->dead[i].value.size;
    for (size_t i = 0; i < pending->held_count; i++)
        size += pending->held[i].value.size;
    return size;
}
