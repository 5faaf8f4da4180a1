#include "consumers/notify/intake.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TRANSITION_SIZE = 3200, DAY_SIZE = 16 };

static json_t *text_json(struct text text)
{
    json_t *json = text.data == NULL ? json_null() : json_stringn(text.data, text.size);
    return json == NULL ? json_string("") : json; /* no UTF-8: the codec has refused it before */
}

void intake_init(struct intake *intake, const struct config *config, const struct letters *letters,
                 const struct token_key *key, struct calendar *calendar)
{
    *intake = (struct intake){ .config = config, .letters = letters, .key = key, .calendar = calendar };
    intake_clear(intake);
}

void intake_done(struct intake *intake)
{
    json_t **const arrays[] = { &intake->customers, &intake->changes,      &intake->points, &intake->notes,
                                &intake->reversals, &intake->unsubscribes, &intake->retries };
    for (size_t at = 0; at < sizeof arrays / sizeof arrays[0]; at++) {
        json_decref(*arrays[at]);
        *arrays[at] = NULL;
    }
    intake->letter_count = 0;
}

void intake_clear(struct intake *intake)
{
    intake_done(intake);
    json_t **const arrays[] = { &intake->customers, &intake->changes,      &intake->points, &intake->notes,
                                &intake->reversals, &intake->unsubscribes, &intake->retries };
    for (size_t at = 0; at < sizeof arrays / sizeof arrays[0]; at++)
        *arrays[at] = json_array();
}

void intake_customer(struct intake *intake, const struct customer *customer)
{
    json_array_append_new(
        intake->customers,
        json_pack("{s:o, s:I, s:o, s:o, s:o, s:b, s:b, s:b}", "id", text_json(customer->customer_id), "from",
                  (json_int_t)customer->effective_from_ms, "name", text_json(customer->name), "email",
                  text_json(customer->email), "language", text_json(customer->language), "consent",
                  customer->consent_marketing, "mailable", customer->mailable, "erased", customer->erased));
}

static char *day_words(struct intake *intake, int64_t time_ms, char to[DAY_SIZE])
{
    static const char *const months[] = { "Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                          "Jul", "Aug", "Sep", "Oct", "Nov", "Dec" };
    int year, month, day;
    calendar_date(calendar_day(intake->calendar, time_ms), &year, &month, &day);
    snprintf(to, DAY_SIZE, "%d %s %d", day, months[(month - 1) % 12], year % 100000);
    return to;
}

struct note {
    const struct letter_kind *kind;
    struct text customer;
    const char *transition;
    int64_t points, happened_ms, due_ms;
    bool digest;
    json_t *facts; /* taken */
};

static void add_note(struct intake *intake, const struct note *note, int64_t now_ms)
{
    enum decide_reason reason = decide_at_once(intake->config, note->happened_ms, now_ms);
    json_t *entry = json_pack("{s:o, s:s, s:s, s:s, s:s, s:o, s:I, s:I, s:I, s:s, s:b}", "customer",
                              text_json(note->customer), "letter", note->kind->name, "class",
                              letter_class_name(note->kind->class), "list", note->kind->list, "transition",
                              note->transition, "facts", note->facts, "points", (json_int_t)note->points,
                              "happened", (json_int_t)note->happened_ms, "due", (json_int_t)note->due_ms,
                              "state", reason == DECIDE_OK ? "waiting" : "held", "digest", note->digest);
    json_object_set_new(entry, "reason",
                        reason == DECIDE_OK ? json_null() : json_string(decide_name(reason)));
    json_array_append_new(intake->notes, entry);
    intake->letter_count++;
}

/* One letter for the customer's day as it is here, when the entry comes in: what comes late is in a later day's. */
static void note_day(struct intake *intake, const struct ledger_entry *entry, int64_t now_ms)
{
    const struct letter_kind *kind = letters_on(intake->letters, ON_POINTS_DAY, TEXT(""), 0);
    int32_t day = calendar_day(intake->calendar, now_ms);
    int year, month, date;
    char transition[32], words[DAY_SIZE];
    int64_t due_ms = now_ms;
    if (kind == NULL)
        return;
    calendar_date(day, &year, &month, &date);
    snprintf(transition, sizeof transition, "day|%d-%02d-%02d", year, month, date);
    calendar_date(day + 1, &year, &month, &date);
    int32_t hour = intake->config->notify.digest_hour;
    while (hour < 24 && !calendar_time(intake->calendar, year, month, date, hour, 0, 0, &due_ms))
        hour++; /* the clocks skip it */
    /* Old news comes in after a stop or in a backfill: it is no part of today's. */
    enum decide_reason reason = decide_at_once(intake->config, entry->event_time_ms, now_ms);
    char old[64];
    snprintf(old, sizeof old, "old|%s", day_words(intake, entry->event_time_ms, words));
    add_note(intake,
             &(struct note){ .kind = kind,
                             .customer = entry->customer_id,
                             .transition = reason == DECIDE_OK ? transition : old,
                             .points = entry->points,
                             .happened_ms = entry->event_time_ms,
                             .due_ms = due_ms,
                             .digest = true,
                             .facts = json_pack(
                                 "{s:I, s:I}", "earned", (json_int_t)(entry->points > 0 ? entry->points : 0),
                                 "reversed", (json_int_t)(entry->points < 0 ? -entry->points : 0)) },
             now_ms);
}

static void write_transition(char to[TRANSITION_SIZE], const char *type, struct text source, struct text id)
{
    snprintf(to, TRANSITION_SIZE, "%s|%.*s|%.*s", type, TEXT_ARG(source), TEXT_ARG(id));
}

static void note_transaction(struct intake *intake, const struct ledger_entry *entry, int64_t now_ms)
{
    static const char *const types[] = {
        [TRANSACTION_SALE] = "SALE", [TRANSACTION_RETURN] = "RETURN", [TRANSACTION_VOID] = "VOID"
    };
    char transition[TRANSITION_SIZE], day[DAY_SIZE];
    const struct letter_kind *earned = letters_on(intake->letters, ON_POINTS_EARNED, TEXT(""), 0);
    if (earned != NULL && entry->type != TRANSACTION_SALE && entry->sale_id.data != NULL) {
        write_transition(transition, "SALE", entry->source, entry->sale_id);
        json_array_append_new(intake->reversals,
                              json_pack("{s:o, s:s, s:s, s:I}", "customer", text_json(entry->customer_id),
                                        "letter", earned->name, "transition", transition, "points",
                                        (json_int_t)entry->points));
    }
    const struct letter_kind *kind =
        entry->points > 0 ? earned : letters_on(intake->letters, ON_POINTS_REVERSED, TEXT(""), 0);
    if (kind == NULL)
        return;
    write_transition(transition, types[entry->type], entry->source, entry->transaction_id);
    add_note(intake,
             &(struct note){ .kind = kind,
                             .customer = entry->customer_id,
                             .transition = transition,
                             .points = entry->points,
                             .happened_ms = entry->event_time_ms,
                             .due_ms = now_ms + intake->config->notify.delay_ms,
                             .facts = json_pack(
                                 "{s:o, s:I, s:s}", "transaction", text_json(entry->transaction_id), "amount",
                                 (json_int_t)(entry->net_minor < 0 ? -entry->net_minor : entry->net_minor),
                                 "day", day_words(intake, entry->event_time_ms, day)) },
             now_ms);
}

void intake_ledger(struct intake *intake, const struct ledger_entry *entry, int64_t now_ms)
{
    if (entry->customer_id.data == NULL || entry->points == 0)
        return;
    json_array_append_new(intake->points, json_pack("{s:o, s:I}", "customer", text_json(entry->customer_id),
                                                    "points", (json_int_t)entry->points));
    if (strcmp(intake->config->notify.points, "daily") == 0)
        note_day(intake, entry, now_ms);
    else if (strcmp(intake->config->notify.points, "transaction") == 0)
        note_transaction(intake, entry, now_ms);
}

char *intake_segment_words(struct text segment, char *to, size_t size)
{
    bool is_tier = segment.size > 5 && memcmp(segment.data, "TIER_", 5) == 0;
    bool is_rfm = segment.size > 4 && memcmp(segment.data, "RFM_", 4) == 0;
    uint32_t from = is_tier ? 5 : is_rfm ? 4 : 0;
    size_t used = 0;
    for (uint32_t at = from; at < segment.size && used + 1 < size; at++) {
        char c = segment.data[at] == '_' ? ' ' : (char)tolower((unsigned char)segment.data[at]);
        to[used++] = is_tier && at == from ? (char)toupper((unsigned char)c) : c;
    }
    to[used] = '\0';
    return to;
}

void intake_change(struct intake *intake, const struct segment_change *change, int64_t now_ms)
{
    bool inside = change->kind == SEGMENT_ENTERED;
    json_array_append_new(intake->changes,
                          json_pack("{s:o, s:o, s:I, s:b}", "customer", text_json(change->customer_id),
                                    "segment", text_json(change->segment), "sequence",
                                    (json_int_t)change->sequence, "inside", inside));
    const struct letter_kind *kind =
        letters_on(intake->letters, inside ? ON_ENTERED : ON_EXITED, change->segment, (int)change->reason);
    if (kind == NULL)
        return;
    char transition[64], words[64], day[DAY_SIZE], tier[32];
    struct text tier_name = change->snapshot.tier;
    snprintf(transition, sizeof transition, "change|%.*s", TEXT_ARG(change->change_id));
    snprintf(tier, sizeof tier, "%.*s", TEXT_ARG(tier_name));
    for (size_t at = 1; tier[0] != '\0' && tier[at] != '\0'; at++)
        tier[at] = (char)tolower((unsigned char)tier[at]);
    add_note(intake,
             &(struct note){ .kind = kind,
                             .customer = change->customer_id,
                             .transition = transition,
                             .happened_ms = change->effective_at_ms,
                             .due_ms = now_ms + intake->config->notify.delay_ms,
                             .facts = json_pack("{s:o, s:s, s:s, s:i, s:I, s:i, s:s}", "segment",
                                                text_json(change->segment), "words",
                                                intake_segment_words(change->segment, words, sizeof words),
                                                "tier", tier, "visits", change->snapshot.frequency, "spend",
                                                (json_int_t)change->snapshot.monetary_minor, "recency_days",
                                                change->snapshot.recency_days, "day",
                                                day_words(intake, change->effective_at_ms, day)) },
             now_ms);
}

bool intake_command(struct intake *intake, const struct command *command)
{
    if (!text_equal(command->process, TEXT("notify")))
        return false;
    if (text_equal(command->verb, TEXT("retry"))) {
        json_array_append_new(intake->retries, text_json(command->topic));
        return true;
    }
    char list[TOKEN_LIST_MAX + 1], customer[TOKEN_CUSTOMER_MAX + 1];
    if (!text_equal(command->verb, TEXT("unsubscribe")) ||
        !token_read(intake->key, command->topic, list, customer))
        return false;
    json_array_append_new(intake->unsubscribes, json_pack("{s:s, s:s}", "customer", customer, "list", list));
    return true;
}

char *intake_json(const struct intake *intake, json_t *progress, int64_t now_ms)
{
    json_t *batch =
        json_pack("{s:I, s:o, s:O, s:O, s:O, s:O, s:O, s:O, s:O}", "now", (json_int_t)now_ms, "progress",
                  progress, "customers", intake->customers, "changes", intake->changes, "points",
                  intake->points, "letters", intake->notes, "reversals", intake->reversals, "unsubscribes",
                  intake->unsubscribes, "retries", intake->retries);
    char *text = batch == NULL ? NULL : json_dumps(batch, JSON_COMPACT);
    if (text == NULL)
        abort();
    json_decref(batch);
    return text;
}
