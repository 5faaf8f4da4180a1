#include "state/ledger_postgres.h"

#include "state/copy_field.h"

#include <assert.h>
#include <stdio.h>

/* A flush ends within this time on a healthy server; whoever holds the row longer hangs, or has lost its
 * partition. */
enum { CLAIM_PATIENCE_MS = 1000 };

static int64_t field_int8(const PGresult *result, int column)
{
    assert(PQgetlength(result, 0, column) == 8);
    uint64_t value;
    memcpy(&value, PQgetvalue(result, 0, column), sizeof value);
    return (int64_t)__builtin_bswap64(value);
}

/* Ends the sessions of ours that the claim waits for, on a connection of its own. Best effort: the claim says
 * what comes of it. */
static void end_blockers(struct ledger_postgres *store, int claimant)
{
    struct ll_err ignored;
    struct postgres_link link = { .config = &store->config, .application = "lens-claim" };
    char sql[256];
    snprintf(sql, sizeof sql,
             "select pg_terminate_backend(pid) from pg_stat_activity"
             " where pid = any (pg_blocking_pids(%d)) and application_name = '" LEDGER_APPLICATION "'", claimant);
    if (postgres_link_open(&link, &ignored) == STORE_OK)
        postgres_link_run(&link, sql, NULL, store->config.postgres.timeout_ms, "ending a hanging owner", NULL,
                          &ignored);
    postgres_link_drop(&link);
}

/* True: an answer is there. */
static bool answers_within(struct postgres_link *link, int64_t timeout_ms)
{
    int64_t deadline = ledger_now_ms() + timeout_ms;
    for (;;) {
        int left = PQflush(link->conn);
        if (left < 0 || (left == 0 && !PQisBusy(link->conn)))
            return true;
        int64_t rest = deadline - ledger_now_ms();
        if (rest <= 0)
            return false;
        if (postgres_link_wait(link, left > 0, rest) && PQconsumeInput(link->conn) == 0)
            return true;
    }
}

enum store_reply ledger_claim(void *self, int32_t partition, int64_t wall_ms, struct ledger_claim *ret,
                              struct ll_err *err)
{
    static const char doing[] = "claiming a partition";
    struct ledger_postgres *store = self;
    struct postgres_link *link = &store->reads;
    enum store_reply reply = postgres_link_open(link, err);
    /* So that a flush finds its connection, and an owner that cannot have one learns it now. */
    if (reply == STORE_OK && store->parts == NULL)
        reply = postgres_link_open(&store->lanes[0].link, err);
    if (reply != STORE_OK)
        return reply;
    char sql[768];
    snprintf(sql, sizeof sql,
             "insert into loyalty.partitions as p (run_id, partition, epoch, next_offset, clock, rules_version)"
             " values (%d, %d, greatest(1, %lld), 0, timestamptz 'epoch', 0)"
             " on conflict (run_id, partition) do update"
             " set epoch = greatest(p.epoch + 1, excluded.epoch), updated_at = now()"
             " returning epoch, next_offset, clock, rules_version::int8, read_count, credited, duplicate, dead,"
             " held, control",
             store->config.program.run, partition, (long long)wall_ms);
    if (PQsendQueryParams(link->conn, sql, 0, NULL, NULL, NULL, NULL, 1) == 0) {
        reply = postgres_link_fail(link, NULL, doing, err);
        postgres_link_drop(link);
        return reply;
    }
    int64_t patience = store->config.postgres.timeout_ms / 2;
    if (!answers_within(link, patience < CLAIM_PATIENCE_MS ? patience : CLAIM_PATIENCE_MS))
        end_blockers(store, PQbackendPID(link->conn));
    PGresult *result = NULL;
    reply = postgres_link_finish(link, 2 * store->config.postgres.timeout_ms, doing, &result, err);
    if (reply != STORE_OK)
        return reply;
    *ret = (struct ledger_claim){
        .epoch = field_int8(result, 0),
        .next_offset = field_int8(result, 1),
        .clock_ms = copy_time_to_ms(field_int8(result, 2)),
        .rules_version = (int32_t)field_int8(result, 3),
        .counts = { .read = field_int8(result, 4),
                    .credited = field_int8(result, 5),
                    .duplicate = field_int8(result, 6),
                    .dead = field_int8(result, 7),
                    .held = field_int8(result, 8),
                    .control = field_int8(result, 9) },
    };
    PQclear(result);
    return STORE_OK;
}
