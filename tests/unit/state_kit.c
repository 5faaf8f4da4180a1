#include "tests/unit/state_kit.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct config kit_config(void)
{
    struct config config;
    struct ll_err err = { "" };
    config_defaults(&config);
    char folder[128] = "";
    const char *pointer = getenv("LENS_TEST_SERVERS");
    FILE *file = pointer == NULL ? NULL : fopen(pointer, "re");
    if (file != NULL) {
        if (fgets(folder, sizeof folder, file) == NULL)
            folder[0] = '\0';
        fclose(file);
    }
    folder[strcspn(folder, "\n")] = '\0';
    if (folder[0] == '\0')
        cr_skip_test("no servers: tests/unit/state_servers up FILE, and LENS_TEST_SERVERS=FILE");
    signal(SIGPIPE, SIG_IGN);
    snprintf(config.share, sizeof config.share, "%s", LENS_SOURCE_DIR);
    snprintf(config.postgres.host, sizeof config.postgres.host, "%s", folder);
    snprintf(config.redis.socket, sizeof config.redis.socket, "%s/redis.sock", folder);
    config.program.run = (int32_t)getpid(); /* Criterion gives each test a process */
    int applied = 0;
    cr_assert_eq(postgres_migrate(&config, &applied, &err), LL_OK, "%s", err.text);
    return config;
}

static struct postgres_rows *query(const struct config *config, const char *sql)
{
    struct postgres *postgres = NULL;
    struct postgres_rows *rows = NULL;
    struct ll_err err = { "" };
    cr_assert_eq(postgres_open(config, "lens-test", &postgres, &err), LL_OK, "%s", err.text);
    cr_assert_eq(postgres_query(postgres, sql, NULL, 0, &rows, &err), LL_OK, "%s", err.text);
    postgres_close(postgres);
    return rows;
}

int64_t kit_number(const struct config *config, const char *format, ...)
{
    char sql[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(sql, sizeof sql, format, args);
    va_end(args);
    struct postgres_rows *rows = query(config, sql);
    struct text text = postgres_rows_text(rows, 0, "n");
    int64_t number = text.data == NULL ? -1 : postgres_rows_int(rows, 0, "n");
    postgres_rows_free(rows);
    return number;
}

void kit_execute(const struct config *config, const char *format, ...)
{
    char sql[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(sql, sizeof sql, format, args);
    va_end(args);
    postgres_rows_free(query(config, sql));
}

int kit_flush_backend(const struct ledger *ledger)
{
    const struct ledger_postgres *store = ledger->self;
    return PQbackendPID(store->lanes[0].link.conn);
}

void kit_end_backend(const struct config *config, int pid)
{
    kit_execute(config, "select pg_terminate_backend(%d, 5000)", pid);
}

enum store_reply kit_flush(struct ledger *ledger, struct ledger_part *parts, size_t count, struct ll_err *err)
{
    enum store_reply reply = ledger->ops->flush_begin(ledger->self, parts, count, err);
    while (reply == STORE_OK || reply == STORE_BUSY) {
        reply = ledger->ops->flush_poll(ledger->self, 100, err);
        if (reply == STORE_OK)
            return reply;
    }
    return reply;
}

struct ledger_claim kit_claim(struct ledger *ledger, int32_t partition, int64_t wall_ms)
{
    struct ledger_claim claim;
    struct ll_err err = { "" };
    cr_assert_eq(ledger->ops->claim(ledger->self, partition, wall_ms, &claim, &err), STORE_OK, "%s",
                 err.text);
    return claim;
}

void kit_posting(struct row_buffer *to, const struct config *config, int32_t partition, int64_t offset,
                 int64_t identity, const char *customer_id)
{
    char id[32];
    snprintf(id, sizeof id, "T%lld", (long long)identity);
    struct posting_line lines[] = { { TEXT("P1"), TEXT("grocery"), TEXT("PR1"), 700, 0 },
                                    { TEXT("P2"), TEXT("garden"), { NULL, 0 }, 200, 0 },
                                    { TEXT("P3"), { NULL, 0 }, { NULL, 0 }, 100, 0 } };
    struct posting_rule rules[] = { { 1, 10 } };
    const struct posting posting = {
        .run = config->program.run,
        .partition = partition,
        .offset = offset,
        .event_offset = offset,
        .identity_hash = identity,
        .content_hash = ~identity,
        .source = TEXT("test"),
        .type = TRANSACTION_SALE,
        .transaction_id = text_of(id),
        .sale_hash = identity,
        .customer_id = text_of(customer_id),
        .store_id = TEXT("S1"),
        .net_minor = 1000,
        .lines = lines,
        .line_count = 3,
        .sale_day = 20000,
        .points = 10,
        .rules_version = 1,
        .rules = rules,
        .rule_count = 1,
        .event_time_ms = 1700000000000 + offset,
        .posted_at_ms = 1700000001000 + offset,
        .raw_topic = TEXT("transactions"),
        .raw_partition = partition,
        .raw_offset = offset,
    };
    posting_write(to, &posting);
}

struct ledger kit_open(const struct config *config)
{
    struct ledger ledger;
    struct ll_err err = { "" };
    cr_assert_eq(ledger_postgres_open(config, &ledger, &err), LL_OK);
    return ledger;
}

void kit_close(struct ledger *ledger) { ledger->ops->close(ledger->self); }

struct ledger_part kit_part(int32_t partition, const struct ledger_claim *claim, int64_t next,
                                  const struct row_buffer *postings)
{
    return (struct ledger_part){ .partition = partition,
                                 .epoch = claim->epoch,
                                 .first_offset = claim->next_offset,
                                 .next_offset = next,
                                 .clock_ms = 1700000005000,
                                 .rules_version = 1,
                                 .counts = { .read = 1, .credited = 1 },
                                 .postings = postings };
}

int64_t kit_rows(const struct config *config)
{
    return kit_number(config, "select count(*) as n from loyalty.postings where run_id = %d",
                      config->program.run);
}

void kit_postings(struct row_buffer *rows, const struct config *config, int32_t partition, int64_t count)
{
    for (int64_t offset = 0; offset < count; offset++)
        kit_posting(rows, config, partition, offset, 1000 + offset, "C1");
}
