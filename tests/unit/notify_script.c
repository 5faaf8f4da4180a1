/* What a seed puts into the logs, and which letters that calls for. */
#include "tests/unit/notify_world.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LOG_CHANGES = 2, LOG_CUSTOMERS, LOG_COMMANDS, MINUTE_MS = 60000 };

static const int64_t NOON_MS = INT64_C(1795262400000); /* 2026-11-21T12:00Z */

struct sale {
    int customer;
    char id[16];
    int64_t points;
};

static void append(struct world *w, int number, const struct event *event)
{
    struct world_log *log = &w->logs[number];
    char value[1024];
    size_t size = codec_write(w->codec, event, value, sizeof value);
    cr_assert_gt(size, 0u);
    cr_assert_lt(log->count, WORLD_RECORDS_MAX);
    log->values[log->count] = malloc(size);
    memcpy(log->values[log->count], value, size);
    log->sizes[log->count++] = (uint32_t)size;
    w->order[w->order_count++] = number;
}

/* The last few records of a log come again, as whoever published them does who fell back. */
static void repeat(struct world *w, int number)
{
    struct world_log *log = &w->logs[number];
    int64_t count = 1 + seed_random(&w->seed, 4), end = log->count;
    for (int64_t at = end > count ? end - count : 0; at < end; at++) {
        log->values[log->count] = malloc(log->sizes[at]);
        memcpy(log->values[log->count], log->values[at], log->sizes[at]);
        log->sizes[log->count++] = log->sizes[at];
        w->order[w->order_count++] = number;
    }
}

static void want(struct world *w, int customer, const char *letter, const char *transition)
{
    char key[WORLD_KEY_SIZE];
    snprintf(key, sizeof key, "C%d %s %s", customer, letter, transition);
    for (size_t at = 0; at < w->key_count; at++)
        if (strcmp(w->keys[at], key) == 0)
            return;
    cr_assert_lt(w->key_count, (size_t)WORLD_LETTERS_MAX);
    memcpy(w->keys[w->key_count++], key, sizeof key);
}

static void put_customer(struct world *w, int customer, const char *email, bool consent, bool mailable,
                         bool erased)
{
    char id[8];
    snprintf(id, sizeof id, "C%d", customer);
    struct event event = { .kind = EVENT_CUSTOMER };
    struct world_version *version = &w->versions[w->version_count++];
    *version = (struct world_version){ customer,
                                       NOON_MS - 1000000 + 1000 * (int64_t)w->version_count,
                                       w->logs[LOG_CUSTOMERS].count,
                                       consent,
                                       mailable,
                                       erased,
                                       "" };
    snprintf(version->email, sizeof version->email, "%s", email);
    event.customer = (struct customer){ .customer_id = text_of(id),
                                        .effective_from_ms = version->from_ms,
                                        .name = TEXT("Ann"),
                                        .email = email[0] == '\0' ? (struct text){ NULL, 0 } : text_of(email),
                                        .consent_marketing = consent,
                                        .mailable = mailable,
                                        .erased = erased,
                                        .source = TEXT("test"),
                                        .source_ref = TEXT("") };
    append(w, LOG_CUSTOMERS, &event);
}

/* A sale, or a return of part of one: a customer's rows are all in one partition. */
static void put_row(struct world *w, struct sale *sales, size_t *sale_count, int number)
{
    char id[16], customer[8], transition[64];
    const struct sale *sale = *sale_count > 0 && seed_random(&w->seed, 4) == 0
                                  ? &sales[seed_random(&w->seed, (uint32_t)*sale_count)]
                                  : NULL;
    int c = sale != NULL ? sale->customer : (int)seed_random(&w->seed, WORLD_CUSTOMERS);
    int64_t points = sale != NULL ? -1 - (int64_t)seed_random(&w->seed, (uint32_t)sale->points)
                                  : 10 + (int64_t)seed_random(&w->seed, 90);
    struct ledger_line line = { .product_id = TEXT("P1"), .amount_minor = points * 10 };
    snprintf(id, sizeof id, "T%d", number);
    snprintf(customer, sizeof customer, "C%d", c);
    struct event event = { .kind = EVENT_LEDGER };
    event.ledger = (struct ledger_entry){ .run = w->config.program.run,
                                          .partition = c % 2,
                                          .offset = number / 2,
                                          .seq = number % 2,
                                          .source = TEXT("till"),
                                          .type = sale != NULL ? TRANSACTION_RETURN : TRANSACTION_SALE,
                                          .transaction_id = text_of(id),
                                          .sale_id = sale != NULL ? text_of(sale->id) : (struct text){ 0 },
                                          .customer_id = text_of(customer),
                                          .net_minor = points * 10,
                                          .lines = &line,
                                          .line_count = 1,
                                          .points = points,
                                          .event_time_ms = NOON_MS - MINUTE_MS,
                                          .posted_at_ms = NOON_MS - MINUTE_MS };
    append(w, c % 2, &event);
    w->balance[c] += points;
    w->reversed += sale != NULL ? points : 0;
    snprintf(transition, sizeof transition, "%s|till|%s", sale != NULL ? "RETURN" : "SALE", id);
    if (strcmp(w->config.notify.points, "daily") == 0)
        want(w, c, "points_day", "day|2026-11-21");
    else
        want(w, c, sale != NULL ? "points_reversed" : "points_earned", transition);
    if (sale == NULL) {
        sales[*sale_count] = (struct sale){ c, "", points };
        memcpy(sales[(*sale_count)++].id, id, sizeof id);
    }
}

static void put_change(struct world *w, int number, int64_t sequence[WORLD_CUSTOMERS])
{
    static const struct {
        const char *segment, *entered, *exited;
    } kinds[] = { { "TIER_GOLD", "tier", NULL },
                  { "HIGH_SPENDER", "high_spender", NULL },
                  { "AT_RISK", "at_risk", "welcome_back" },
                  { "RFM_LOYAL_CUSTOMERS", "segment", NULL } };
    size_t kind = seed_random(&w->seed, 4);
    bool enters = seed_random(&w->seed, 3) > 0;
    int c = (int)seed_random(&w->seed, WORLD_CUSTOMERS);
    char id[40], customer[8], transition[64];
    snprintf(id, sizeof id, "%032x", (unsigned)number + 1);
    snprintf(customer, sizeof customer, "C%d", c);
    struct event event = { .kind = EVENT_SEGMENT_CHANGE };
    event.segment_change = (struct segment_change){ .change_id = text_of(id),
                                                    .customer_id = text_of(customer),
                                                    .segment = text_of(kinds[kind].segment),
                                                    .kind = enters ? SEGMENT_ENTERED : SEGMENT_EXITED,
                                                    .reason = SEGMENT_PURCHASE,
                                                    .sequence = ++sequence[c],
                                                    .effective_at_ms = NOON_MS - MINUTE_MS,
                                                    .detected_at_ms = NOON_MS,
                                                    .snapshot = { .rfm_segment = TEXT("LOYAL_CUSTOMERS"),
                                                                  .tier = TEXT("GOLD") } };
    append(w, LOG_CHANGES, &event);
    snprintf(transition, sizeof transition, "change|%s", id);
    const char *letter = enters ? kinds[kind].entered : kinds[kind].exited;
    if (letter != NULL)
        want(w, c, letter, transition);
}

static void put_unsubscribe(struct world *w, const struct token_key *key, int customer, const char *list)
{
    char id[8], token[TOKEN_SIZE];
    snprintf(id, sizeof id, "C%d", customer);
    cr_assert(token_write(key, text_of(list), text_of(id), token));
    struct event event = { .kind = EVENT_COMMAND };
    event.command =
        (struct command){ .process = TEXT("notify"), .verb = TEXT("unsubscribe"), .topic = text_of(token) };
    append(w, LOG_COMMANDS, &event);
}

/* C0 is as they should be, C6 has the same address; C1 has not consented, C2 has no address, C3's is none; C4 is erased on the way,
 * C5 unsubscribes and moves, C6 takes consent back; C7 is not known. */
static void put_first(struct world *w)
{
    put_customer(w, 0, "c0@mail.example", true, true, false);
    put_customer(w, 1, "c1@mail.example", false, true, false);
    put_customer(w, 2, "", true, false, false);
    put_customer(w, 3, "c3@nowhere", true, false, false);
    put_customer(w, 4, "c4@mail.example", true, true, false);
    put_customer(w, 5, "c5@mail.example", true, true, false);
    put_customer(w, 6, "c0@mail.example", true, true, false);
}

static void put_midway(struct world *w, const struct token_key *key, uint32_t what)
{
    switch (what) {
    case 0:
        put_customer(w, 4, "", false, false, true);
        break;
    case 1:
        put_unsubscribe(w, key, 5, "offers");
        break;
    case 2:
        put_unsubscribe(w, key, 5, "points");
        break;
    case 3:
        put_customer(w, 5, "c5@elsewhere.example", true, true, false);
        break;
    default:
        put_customer(w, 6, "c0@mail.example", false, true, false);
        break;
    }
}

void world_fill(struct world *w, const struct token_key *key)
{
    static const enum topic topics[WORLD_LOGS] = { TOPIC_LEDGER, TOPIC_LEDGER, TOPIC_SEGMENT_CHANGES,
                                                   TOPIC_CUSTOMERS_VALID, TOPIC_COMMANDS };
    struct sale sales[64];
    size_t sale_count = 0;
    int64_t sequence[WORLD_CUSTOMERS] = { 0 };
    int rows = 20 + (int)seed_random(&w->seed, 25), changes = 10 + (int)seed_random(&w->seed, 10);
    for (int at = 0; at < WORLD_LOGS; at++) {
        w->logs[at].topic = topics[at];
        w->logs[at].partition = at == 1;
        w->changed[at] = (struct bus_position){ topics[at], at == 1, BUS_COMMITTED };
    }
    put_first(w);
    for (int row = 0, change = 0, midway = 0; row < rows || change < changes || midway < 5;) {
        uint32_t what = seed_random(&w->seed, 12);
        if (what < 6 && row < rows)
            put_row(w, sales, &sale_count, row++);
        else if (what < 9 && change < changes)
            put_change(w, change++, sequence);
        else if (what == 9 && midway < 5 && row > rows / 4)
            put_midway(w, key, (uint32_t)midway++);
        else if (what == 10 && w->order_count < 100)
            repeat(w, (int)seed_random(&w->seed, 3));
    }
    w->now_ms = NOON_MS;
}

void world_done(struct world *w)
{
    for (int at = 0; at < WORLD_LOGS; at++)
        for (int64_t record = 0; record < w->logs[at].count; record++)
            free(w->logs[at].values[record]);
    free(w->late_json);
    mail_store_free(w->late_store);
}
