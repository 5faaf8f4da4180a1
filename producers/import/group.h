/*
 * group.h - the rows of one transaction, wherever they stand in the files, become one event.
 * Shape:  mapped rows in; events and dead rows out (output.h). Two ways: every row carries the transaction's
 * head (transaction_lines), or heads and lines are rows of their own (sales, sale_lines). Limits: a
 * transaction's rows need not be contiguous, but they must lie within profile.open_rows rows of each other
 * (and GROUP_BYTES_MAX of memory): beyond that the transaction whose rows are longest ago is closed, and a
 * row that comes after is a dead row, GROUP_CONFLICT. Closed early, a transaction costs 8 to 16 bytes until
 * the end of the import. A file whose transactions are contiguous may be of any size. A transaction has at
 * most EVENT_LINES_MAX lines and GROUP_EVENT_SIZE_MAX bytes, else all its rows are DECODE_LIMIT. Repeats:
 * heads and lines that stand twice in the files (a till that sent again) are two events, paired block by
 * block in the order of the files; what becomes of the second is accrue's to say.
 */
#pragma once

#include "producers/import/map.h"
#include "producers/import/output.h"
#include "producers/import/profile.h"

enum {
    GROUP_BYTES_MAX = 128 << 20,
    GROUP_EVENT_SIZE_MAX = 900 << 10,     /* below the broker's message.max.bytes with room for the headers */
    GROUP_ROWS_MAX = 4 * EVENT_LINES_MAX, /* no use in keeping more of one transaction */
    GROUP_OCCURRENCE_MAX = 4000, /* rows of one id: above, the search for repeats would take too long */
};

struct groups;

/* profile and output are borrowed for its life. */
struct groups *groups_new(const struct profile *profile, struct output *output);
void groups_free(struct groups *groups);
/* One row, good or bad. file is its name (kept); ordinal its number among the rows of its kind. */
enum ll_status groups_add(struct groups *groups, enum profile_kind kind, const char *file, int64_t ordinal,
                          const struct csv_row *row, const struct mapped *mapped, struct ll_err *err);
/* The files are at their end: closes all, oldest first. */
enum ll_status groups_finish(struct groups *groups, struct ll_err *err);
