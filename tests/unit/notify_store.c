/* Between notify and the store: faults before and after each call, and what was really done, as it passes. */
#include "tests/unit/notify_world.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct world *the_world;

void world_enter(struct world *w)
{
    the_world = w;
}

/* ---- what was done ---- */

static int customer_of(const json_t *row)
{
    return json_string_value(json_object_get(row, "customer"))[1] - '0';
}

static void saw_take(struct world *w, const json_t *given)
{
    size_t at;
    json_t *row;
    json_array_foreach(json_object_get(given, "progress"), at,
                       row) if (strcmp(json_string_value(json_object_get(row, "topic")), "customers.valid") ==
                                0) w->customers_taken = json_integer_value(json_object_get(row, "to"));
    json_array_foreach(json_object_get(given, "unsubscribes"), at, row)
        w->unsubscribed[customer_of(row)][json_string_value(json_object_get(row, "list"))[0] == 'o'] = true;
}

static bool is_suppressed(const struct world *w, const char *address)
{
    for (size_t at = 0; at < w->suppressed_count; at++)
        if (strcmp(w->suppressed[at], address) == 0)
            return true;
    return false;
}

/* Of a letter that may go: why not? As the customers' topic is now, to its end; for a process that does not read it, as it was taken. */
static const char *why_not(const struct world *w, const json_t *verdict)
{
    const struct world_version *last = NULL;
    int customer = customer_of(verdict);
    bool is_marketing = json_is_true(json_object_get(verdict, "marketing"));
    int64_t end = w->runs->is_out ? w->customers_taken : w->logs[3].visible;
    for (size_t at = 0; at < w->version_count; at++) {
        const struct world_version *version = &w->versions[at];
        if (version->customer != customer || version->offset >= end)
            continue;
        if (version->erased)
            return "erased";
        last = version;
    }
    if (last == NULL || last->email[0] == '\0')
        return "without an address";
    if (strcmp(last->email, json_string_value(json_object_get(verdict, "address"))) != 0)
        return "at another address";
    if (!last->mailable)
        return "not mailable";
    if (is_suppressed(w, last->email))
        return "suppressed";
    if (w->unsubscribed[customer][is_marketing])
        return "unsubscribed";
    return is_marketing && !last->consent ? "without consent" : NULL;
}

static void saw_judge(struct world *w, const json_t *given)
{
    size_t at;
    json_t *verdict;
    json_array_foreach(json_object_get(given, "verdicts"), at, verdict)
    {
        const char *id = json_string_value(json_object_get(verdict, "id"));
        const char *state = json_string_value(json_object_get(verdict, "state")), *why = NULL;
        if (strcmp(state, "claimed") == 0)
            why = why_not(w, verdict);
        seed_say(&w->seed, "   judged %s: %s %s", id, state,
                 json_string_value(json_object_get(verdict, "reason")));
        if (why != NULL)
            seed_bad(&w->seed, "letter %s may go, but its customer C%d is %s", id, customer_of(verdict), why);
    }
}

static void saw_finish(struct world *w, const json_t *given, const json_t *answer, bool is_late)
{
    size_t at;
    json_t *result;
    const char *next = json_string_value(json_object_get(given, "next"));
    json_array_foreach(json_object_get(given, "results"), at, result)
    {
        const char *id = json_string_value(json_object_get(result, "id"));
        if (is_late)
            continue; /* whose claim it was by then is not known here, nor with one that slept */
        world_letter(w, id)->is_unnoted = false;
        if (strcmp(id, w->runs->sending) == 0)
            w->runs->sending[0] = '\0';
        if (!w->runs->is_out && json_is_true(json_object_get(result, "suppress")) &&
            !is_suppressed(w, world_letter(w, id)->to) && w->suppressed_count < 32)
            snprintf(w->suppressed[w->suppressed_count++], 64, "%s", world_letter(w, id)->to);
    }
    if (next == NULL || !json_is_true(json_object_get(answer, "next")) || strcmp(next, w->runs->sending) == 0)
        return;
    if (is_late) { /* marked by the dead: nobody hands it over */
        world_letter(w, next)->doubts++;
        w->doubtful_kills++;
    } else {
        snprintf(w->runs->sending, sizeof w->runs->sending, "%s", next);
    }
}

static void saw(struct world *w, const char *function, const char *json, const char *answer_json,
                bool is_late)
{
    json_t *given = json_loads(json, 0, NULL), *answer = json_loads(answer_json, 0, NULL);
    if (strcmp(function, "take") == 0)
        saw_take(w, given);
    else if (strcmp(function, "judge") == 0)
        saw_judge(w, given);
    else if (strcmp(function, "finish") == 0)
        saw_finish(w, given, answer, is_late);
    else if (strcmp(function, "recover") == 0)
        w->lost += json_integer_value(json_object_get(answer, "lost"));
    json_decref(given);
    json_decref(answer);
}

/* ---- the store: real, with faults before and after ---- */

enum ll_status __real_mail_store_begin(struct mail_store *store, struct ll_err *err);
enum ll_status __real_mail_store_commit(struct mail_store *store, struct ll_err *err);
void __real_mail_store_rollback(struct mail_store *store);
enum ll_status __real_mail_store_call(struct mail_store *store, const char *function, const char *json,
                                      char **ret_json, struct ll_err *err);
enum ll_status __wrap_mail_store_begin(struct mail_store *store, struct ll_err *err);
enum ll_status __wrap_mail_store_commit(struct mail_store *store, struct ll_err *err);
void __wrap_mail_store_rollback(struct mail_store *store);
enum ll_status __wrap_mail_store_call(struct mail_store *store, const char *function, const char *json,
                                      char **ret_json, struct ll_err *err);

enum call_fault { CALL_GOOD, CALL_FAILS, CALL_LOST, CALL_LATE, CALL_DIES_BEFORE, CALL_DIES_AFTER };

static enum call_fault fault_of(struct world *w, const char *what, bool can_be_late)
{
    static const char *const words[] = {
        "", "fails", "its reply is lost", "is done late", "dies before it", "dies after it"
    };
    w->now_ms += seed_random(&w->seed, 3);
    if (!seed_fault_due(&w->seed))
        return CALL_GOOD;
    enum call_fault fault = 1 + seed_random(&w->seed, 5);
    if (fault == CALL_LATE && (!can_be_late || w->late_json != NULL))
        fault = CALL_LOST;
    seed_say(&w->seed, "!! %s: %s", what, words[fault]);
    return fault;
}

static enum ll_status gone(struct world *w, struct ll_err *err)
{
    world_die(w->runs);
    return ll_fail(err, LL_FATAL, "the process is dead");
}

static enum ll_status no_reply(struct mail_store *store, struct ll_err *err)
{
    the_world->runs->is_in_transaction = false;
    __real_mail_store_rollback(store);
    return ll_fail(err, LL_RETRY, "no reply");
}

enum ll_status __wrap_mail_store_begin(struct mail_store *store, struct ll_err *err)
{
    struct world *w = the_world;
    enum call_fault fault = w->runs->is_dead ? CALL_DIES_BEFORE : fault_of(w, "begin", false);
    if (fault == CALL_DIES_BEFORE || fault == CALL_DIES_AFTER)
        return gone(w, err);
    if (fault != CALL_GOOD)
        return no_reply(store, err);
    w->runs->is_in_transaction = true;
    return __real_mail_store_begin(store, err);
}

enum ll_status __wrap_mail_store_commit(struct mail_store *store, struct ll_err *err)
{
    struct world *w = the_world;
    enum call_fault fault = w->runs->is_dead ? CALL_DIES_BEFORE : fault_of(w, "commit", false);
    if (fault == CALL_DIES_BEFORE)
        return gone(w, err);
    if (fault == CALL_FAILS)
        return no_reply(store, err);
    enum ll_status status = __real_mail_store_commit(store, err);
    w->runs->is_in_transaction = false;
    if (fault == CALL_DIES_AFTER)
        return gone(w, err);
    return fault == CALL_GOOD ? status : no_reply(store, err);
}

void __wrap_mail_store_rollback(struct mail_store *store)
{
    the_world->runs->is_in_transaction = false;
    __real_mail_store_rollback(store);
}

/* What a client gave up on is done after all, or refused. */
static void do_late(struct world *w)
{
    struct ll_err err = { "" };
    char *answer = NULL;
    enum ll_status status =
        __real_mail_store_call(w->late_store, w->late_function, w->late_json, &answer, &err);
    seed_say(&w->seed, "   late %s: %s", w->late_function, status == LL_OK ? answer : err.text);
    if (status == LL_OK)
        saw(w, w->late_function, w->late_json, answer, true);
    free(answer);
    free(w->late_json);
    w->late_json = NULL;
}

enum ll_status __wrap_mail_store_call(struct mail_store *store, const char *function, const char *json,
                                      char **ret_json, struct ll_err *err)
{
    struct world *w = the_world;
    char *answer = NULL;
    if (w->runs->is_dead)
        return gone(w, err);
    if (w->late_json != NULL && !w->runs->is_in_transaction && seed_random(&w->seed, 4) == 0)
        do_late(w);
    bool can_be_late = strcmp(function, "take") == 0 || strcmp(function, "finish") == 0;
    enum call_fault fault = fault_of(w, function, can_be_late);
    if (fault == CALL_DIES_BEFORE)
        return gone(w, err);
    if (fault == CALL_LATE) {
        snprintf(w->late_function, sizeof w->late_function, "%s", function);
        w->late_json = strdup(json);
    }
    if (fault == CALL_FAILS || fault == CALL_LATE)
        return no_reply(store, err);
    enum ll_status status = __real_mail_store_call(store, function, json, &answer, err);
    if (status != LL_OK) {
        seed_say(&w->seed, "   %s: %s", function, err->text);
        w->runs->is_in_transaction = false;
        return status;
    }
    if (strcmp(function, "due") != 0 && strcmp(function, "judge") != 0 && strcmp(function, "outlook") != 0)
        seed_say(&w->seed, "   %s: %.120s", function, answer);
    saw(w, function, json, answer, false);
    if (fault == CALL_GOOD && ret_json != NULL)
        *ret_json = answer;
    else
        free(answer);
    if (fault == CALL_DIES_AFTER)
        return gone(w, err);
    return fault == CALL_LOST ? no_reply(store, err) : LL_OK;
}
