/*
 * map.h - one row and its profile to what it says: the head of a transaction, a line of one, or a reference record.
 * Shape:  struct csv_row in, struct mapped out; pure. All that is wrong with the row is found, not only the first thing. Texts
 *         are views into the row and the mapper: valid until the next call.
 * Units:  _minor is minor units of the profile's currency: the lines of a transaction may lie in a file that names none, and
 *         validate refuses every currency but the program's.
 */
#pragma once

#include "producers/import/csvfile.h"
#include "producers/import/profile.h"
#include "runtime/clock.h"
#include "runtime/err.h"
#include "schemas/codes.h"
#include "schemas/event.h"

#include <stdbool.h>
#include <stdint.h>

struct mapped {
    uint64_t codes;    /* 0: good */
    char message[400]; /* with codes: which columns, with their values */
    bool has_group;    /* the transaction is known by its id, even where the row is bad */
    struct text group; /* transaction_id */
    bool has_line_no;
    struct transaction head; /* transaction_lines and sales: all but the lines */
    struct line item;        /* transaction_lines and sale_lines */
    struct event reference;  /* stores, products, customers, promotions, inventory */
};

struct mapper;

/* Checks that the file's header names just the profile's columns, in any order; name is the file's, for
 * source_ref. calendar and profile are borrowed for the mapper's life. */
enum ll_status mapper_new(const struct profile *profile, const struct profile_file *file, const char *name,
                          struct calendar *calendar, const struct text *header, size_t header_count,
                          struct mapper **ret, struct ll_err *err);
void mapper_free(struct mapper *mapper);
void mapper_map(struct mapper *mapper, const struct csv_row *row, struct mapped *ret);
