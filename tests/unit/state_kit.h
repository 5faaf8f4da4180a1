/*
 * state_kit.h - what the tests of state/ share: the private servers that state_servers started, and what lies
 * in them.
 */
#pragma once

#include "state/ledger_postgres.h"
#include "state/postgres.h"
#include "state/redis_link.h"

#include <stdint.h>

/* Configuration for the servers that $LENS_TEST_SERVERS names, and a run of its own; the tables are there.
 * Without them the test is skipped, and says so. */
struct config kit_config(void);

struct ledger kit_open(const struct config *config);
void kit_close(struct ledger *ledger);

/* One number from Postgres; -1: null. */
int64_t kit_number(const struct config *config, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void kit_execute(const struct config *config, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The backend process of one of the store's connections. */
int kit_flush_backend(const struct ledger *ledger);
void kit_end_backend(const struct config *config, int pid);

/* Polls until it is over. */
enum store_reply kit_flush(struct ledger *ledger, struct ledger_part *parts, size_t count,
                           struct ll_err *err);
/* Claims, which must work. */
struct ledger_claim kit_claim(struct ledger *ledger, int32_t partition, int64_t wall_ms);

/* A sale of customer "C<n % customers>" at an offset, with points 10 and net 1000. */
void kit_posting(struct row_buffer *to, const struct config *config, int32_t partition, int64_t offset,
                 int64_t identity, const char *customer_id);
/* So many rows of one customer, from offset 0 on: from 100,000 on COPY is not over in one poll. */
void kit_postings(struct row_buffer *rows, const struct config *config, int32_t partition, int64_t count);
/* A flush's part that goes from what was claimed to next. */
struct ledger_part kit_part(int32_t partition, const struct ledger_claim *claim, int64_t next,
                            const struct row_buffer *postings);
/* Rows of the run in the ledger. */
int64_t kit_rows(const struct config *config);
