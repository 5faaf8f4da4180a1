#include "consumers/notify/outbox.h"

#include "consumers/notify/address.h"
#include "consumers/notify/mime.h"
#include "runtime/log.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

enum {
    IDLE_MS = 200,        /* between looks for due letters */
    RECOVER_MS = 60000,   /* between looks for letters that another process left */
    LEASE_MS = 600000,    /* a claim of another instance is believed so long */
    PAUSE_FIRST_MS = 500, /* after a server did not answer */
    PAUSE_MAX_MS = 60000,
    DUE_MAX = 2 * OUTBOX_CLAIM_MAX, /* judged in one round: half of them may be held back */
    VALUE_SIZE = 64,
};

static int64_t steady_ms(const struct outbox *outbox)
{
    return outbox->clock.steady_ms(outbox->clock.self);
}
static int64_t wall_ms(const struct outbox *outbox)
{
    return outbox->clock.wall_ms(outbox->clock.self);
}

void outbox_init(struct outbox *outbox)
{
    outbox->results = json_array();
    outbox->began_ms = wall_ms(outbox);
    outbox->must_recover = true;
    outbox->tokens = 1;
    outbox->tokens_at_ms = steady_ms(outbox);
    if (getrandom(&outbox->chance, sizeof outbox->chance, 0) != (ssize_t)sizeof outbox->chance)
        outbox->chance = (unsigned long long)wall_ms(outbox) ^ (unsigned long long)getpid();
    snprintf(outbox->mark, sizeof outbox->mark, "%.64s:%d-%016llx.", outbox->instance, (int)getpid(),
             outbox->chance);
}

static void new_claim(struct outbox *outbox)
{
    snprintf(outbox->claim, sizeof outbox->claim, "%s%lld", outbox->mark, (long long)++outbox->round);
}

static void drop_claimed(struct outbox *outbox)
{
    for (size_t at = 0; at < outbox->claimed_count; at++)
        free(outbox->claimed[at].message);
    outbox->claimed_count = outbox->claimed_at = 0;
}

void outbox_done(struct outbox *outbox)
{
    drop_claimed(outbox);
    json_decref(outbox->results);
    outbox->results = NULL;
}

/* xorshift64*: jitter needs to be uneven, not secret. */
static double chance(struct outbox *outbox)
{
    unsigned long long x = outbox->chance | 1;
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    outbox->chance = x;
    return (double)((x * 2685821657736338717ULL) >> 11) / 9007199254740992.0;
}

/* One call; takes asked. ret NULL: the answer is not wanted. */
static enum ll_status ask(struct outbox *outbox, const char *function, json_t *takes, json_t **ret,
                          struct ll_err *err)
{
    char *given = json_dumps(takes, JSON_COMPACT), *answer = NULL;
    json_decref(takes);
    if (given == NULL)
        abort();
    enum ll_status status = mail_store_call(outbox->store, function, given, &answer, err);
    free(given);
    if (status == LL_OK && ret != NULL) {
        *ret = json_loads(answer, 0, NULL);
        if (*ret == NULL)
            status = ll_fail(err, LL_FATAL, "mail.%s answers what is no JSON", function);
    }
    free(answer);
    return status;
}

/* ---- one judgement ---- */

static struct text text_at(const json_t *row, const char *name)
{
    const json_t *value = json_object_get(row, name);
    return json_is_string(value)
               ? (struct text){ json_string_value(value), (uint32_t)json_string_length(value) }
               : (struct text){ NULL, 0 };
}

static int64_t int_at(const json_t *row, const char *name)
{
    return json_integer_value(json_object_get(row, name));
}
static bool bool_at(const json_t *row, const char *name)
{
    return json_is_true(json_object_get(row, name));
}

static struct decide_facts facts_of(const json_t *row, const struct letter_kind *kind)
{
    return (struct decide_facts){
        .class = kind->class,
        .truth = letter_truth_of(kind),
        .happened_ms = int_at(row, "happened"),
        .erased = bool_at(row, "erased"),
        .known = bool_at(row, "known"),
        .mailable = bool_at(row, "mailable"),
        .consent = bool_at(row, "consent"),
        .unsubscribed = bool_at(row, "unsubscribed"),
        .sent = bool_at(row, "sent"),
        .address = text_at(row, "email"),
        .bounced = !json_is_null(json_object_get(row, "bounced")),
        .inside = bool_at(row, "inside"),
        .points = int_at(row, "points"),
        .reversed = int_at(row, "reversed"),
        .recent = int_at(row, "recent"),
    };
}

struct filling {
    char number[FIELD_COUNT_OF][VALUE_SIZE];
    char url[CONFIG_TEXT_SIZE + TOKEN_SIZE];
    struct letter_values values;
};

static void fill_number(struct filling *filling, enum letter_field field, int64_t value)
{
    snprintf(filling->number[field], VALUE_SIZE, "%lld", (long long)value);
    filling->values.of[field] = text_of(filling->number[field]);
}

static void fill_money(struct filling *filling, enum letter_field field, int64_t minor, const char *currency)
{
    snprintf(filling->number[field], VALUE_SIZE, "%s%lld.%02lld %.3s", minor < 0 ? "-" : "",
             (long long)llabs(minor / 100), (long long)llabs(minor % 100), currency);
    filling->values.of[field] = text_of(filling->number[field]);
}

static void fill(const struct outbox *outbox, const json_t *row, struct filling *to)
{
    const json_t *facts = json_object_get(row, "facts");
    const char *currency = outbox->config->program.currency;
    int64_t balance = int_at(row, "balance"), points = int_at(row, "points");
    struct text *of = to->values.of;
    of[FIELD_NAME] = text_at(row, "name");
    of[FIELD_PROGRAM] = text_of(outbox->config->program.name);
    of[FIELD_CUSTOMER] = text_at(row, "customer");
    of[FIELD_UNSUBSCRIBE] = text_of(to->url);
    fill_number(to, FIELD_BALANCE, balance);
    fill_number(to, FIELD_SPENDABLE, balance > 0 ? balance : 0);
    fill_number(to, FIELD_POINTS, points < 0 && json_object_get(facts, "earned") == NULL ? -points : points);
    of[FIELD_DAY] = text_at(facts, "day");
    if (json_object_get(facts, "earned") != NULL) {
        fill_number(to, FIELD_EARNED, int_at(facts, "earned"));
        fill_number(to, FIELD_REVERSED, int_at(facts, "reversed"));
        fill_number(to, FIELD_COUNT, int_at(facts, "count"));
        struct text transition = text_at(row, "transition"); /* "day|2026-11-21" */
        of[FIELD_DAY] =
            transition.size > 4 ? (struct text){ transition.data + 4, transition.size - 4 } : transition;
    }
    of[FIELD_TRANSACTION] = text_at(facts, "transaction");
    fill_money(to, FIELD_AMOUNT, int_at(facts, "amount"), currency);
    of[FIELD_SEGMENT] = text_at(facts, "words");
    of[FIELD_TIER] = text_at(facts, "tier");
    fill_number(to, FIELD_VISITS, int_at(facts, "visits"));
    fill_money(to, FIELD_SPEND, int_at(facts, "spend"), currency);
    fill_number(to, FIELD_RECENCY, int_at(facts, "recency_days"));
}

/* The letter's bytes; its subject comes back too. */
static char *write_letter(const struct outbox *outbox, const json_t *row, const struct letter_kind *kind,
                          size_t *ret_size, char **ret_subject)
{
    struct filling filling = { .url = "" };
    char token[TOKEN_SIZE];
    if (!token_write(outbox->key, text_of(kind->list), text_at(row, "customer"), token))
        return NULL;
    snprintf(filling.url, sizeof filling.url, "%s%s", outbox->config->notify.unsubscribe_url, token);
    fill(outbox, row, &filling);
    size_t subject_size, text_size, html_size;
    char *subject = letter_render(kind, LETTER_SUBJECT, &filling.values, &subject_size);
    char *text = letter_render(kind, LETTER_TEXT, &filling.values, &text_size);
    char *html = letter_render(kind, LETTER_HTML, &filling.values, &html_size);
    const char *from_name = outbox->config->notify.from_name[0] != '\0' ? outbox->config->notify.from_name
                                                                        : outbox->config->program.name;
    const struct mime_letter letter = {
        .id = text_at(row, "id"),
        .date_ms = wall_ms(outbox),
        .from_name = text_of(from_name),
        .from_address = text_of(outbox->config->notify.from_address),
        .to_name = text_cut(text_at(row, "name"), 200),
        .to_address = text_at(row, "email"),
        .subject = text_cut((struct text){ subject, (uint32_t)subject_size }, 500),
        .text = { text, (uint32_t)text_size },
        .html = { html, (uint32_t)html_size },
        .unsubscribe_url = text_of(filling.url),
        .list = text_of(kind->list),
    };
    char *message = mime_write(&letter, ret_size);
    free(text);
    free(html);
    *ret_subject = subject;
    return message;
}

/* Base64 for the JSON that carries it into Postgres. */
static json_t *base64_json(const char *bytes, size_t size)
{
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    char *text = malloc(size / 3 * 4 + 5);
    size_t used = 0;
    if (text == NULL)
        abort();
    for (size_t at = 0; at < size; at += 3) {
        unsigned bits = (unsigned)(unsigned char)bytes[at] << 16;
        bits |= at + 1 < size ? (unsigned)(unsigned char)bytes[at + 1] << 8 : 0;
        bits |= at + 2 < size ? (unsigned)(unsigned char)bytes[at + 2] : 0;
        text[used++] = letters[bits >> 18];
        text[used++] = letters[bits >> 12 & 63];
        text[used++] = at + 1 < size ? letters[bits >> 6 & 63] : '=';
        text[used++] = at + 2 < size ? letters[bits & 63] : '=';
    }
    json_t *json = json_stringn(text, used);
    free(text);
    return json;
}

/* Of earlier letters in the same round to the same customer: the store does not know of them yet. */
static int64_t count_of_round(const json_t *verdicts, struct text customer)
{
    int64_t count = 0;
    size_t at;
    json_t *verdict;
    json_array_foreach(verdicts, at, verdict) count += json_is_true(json_object_get(verdict, "marketing")) &&
                                                       text_equal(text_at(verdict, "customer"), customer);
    return count;
}

static json_t *verdict_of(struct outbox *outbox, const json_t *row, const json_t *verdicts, int64_t now_ms)
{
    const struct letter_kind *kind = letters_named(outbox->letters, text_at(row, "letter"));
    json_t *verdict = json_pack("{s:O, s:O, s:s, s:s}", "id", json_object_get(row, "id"), "customer",
                                json_object_get(row, "customer"), "state", "held", "reason", "NO_TEMPLATE");
    if (kind == NULL) {
        json_object_set_new(verdict, "detail",
                            json_string("letters.conf has no letter of this name any more"));
        return verdict;
    }
    struct decide_facts facts = facts_of(row, kind);
    facts.recent += count_of_round(verdicts, text_at(row, "customer"));
    int64_t until_ms = 0;
    enum decide_reason reason = decide(outbox->config, outbox->calendar, &facts, now_ms, &until_ms);
    metric_add(outbox->metrics.held[reason], reason != DECIDE_OK);
    json_object_set_new(verdict, "reason", json_string(decide_name(reason)));
    json_object_set_new(verdict, "detail", json_string(decide_words(reason)));
    if (reason == DECIDE_QUIET_HOURS) {
        json_object_set_new(verdict, "state", json_string("waiting"));
        json_object_set_new(verdict, "due", json_integer(until_ms));
    }
    if (reason == DECIDE_BOUNCED)
        json_object_set(verdict, "detail", json_object_get(row, "bounced"));
    if (reason != DECIDE_OK)
        return verdict;
    struct outbox_letter *letter = &outbox->claimed[outbox->claimed_count];
    char *subject = NULL;
    letter->message = write_letter(outbox, row, kind, &letter->size, &subject);
    if (letter->message == NULL) {
        json_object_set_new(verdict, "reason", json_string("NO_TOKEN"));
        json_object_set_new(verdict, "detail",
                            json_string("the customer's id is too long for an unsubscribe token"));
        return verdict;
    }
    outbox->claimed_count++;
    snprintf(letter->id, sizeof letter->id, "%.*s", TEXT_ARG(text_at(row, "id")));
    snprintf(letter->to, sizeof letter->to, "%.*s", TEXT_ARG(facts.address));
    letter->attempts = int_at(row, "attempts");
    json_object_set_new(verdict, "state", json_string("claimed"));
    json_object_set_new(verdict, "marketing", json_boolean(kind->class == CLASS_MARKETING));
    json_object_set_new(verdict, "address", json_string(letter->to));
    json_object_set_new(verdict, "subject", json_string(subject));
    json_object_set_new(verdict, "message", base64_json(letter->message, letter->size));
    free(subject);
    return verdict;
}

/* Judges what is due and claims what may go, or nothing of it. */
static enum ll_status judge(struct outbox *outbox, size_t *ret_judged, struct ll_err *err)
{
    int64_t now_ms = wall_ms(outbox);
    json_t *rows = NULL, *verdicts = json_array();
    new_claim(outbox);
    enum ll_status status = mail_store_begin(outbox->store, err);
    if (status == LL_OK)
        status = ask(outbox, "due",
                     json_pack("{s:I, s:i, s:I}", "now", (json_int_t)now_ms, "most", DUE_MAX, "cap_ms",
                               (json_int_t)outbox->config->notify.cap_ms),
                     &rows, err);
    size_t at, judged = 0;
    size_t most = outbox->config->notify.rate < OUTBOX_CLAIM_MAX ? (size_t)outbox->config->notify.rate
                                                                 : OUTBOX_CLAIM_MAX;
    json_t *row;
    json_array_foreach(rows, at, row)
    {
        if (outbox->claimed_count == most)
            break;
        json_array_append_new(verdicts, verdict_of(outbox, row, verdicts, now_ms));
        judged++;
    }
    json_decref(rows);
    if (status == LL_OK && judged > 0)
        status = ask(outbox, "judge",
                     json_pack("{s:I, s:s, s:O}", "now", (json_int_t)now_ms, "claim", outbox->claim,
                               "verdicts", verdicts),
                     NULL, err);
    json_decref(verdicts);
    if (status == LL_OK)
        status = mail_store_commit(outbox->store, err);
    if (status !=
        LL_OK) { /* it may have been done all the same: then the letters are claimed, and nobody has them */
        mail_store_rollback(outbox->store);
        drop_claimed(outbox);
        outbox->must_recover = true;
        return status;
    }
    *ret_judged = judged;
    return LL_OK;
}

/* ---- handing over ---- */

static enum ll_status finish(struct outbox *outbox, const char *next, bool *ret_ours, struct ll_err *err)
{
    if (next == NULL && json_array_size(outbox->results) == 0)
        return LL_OK;
    if (outbox->post.ops->settle != NULL) {
        enum ll_status settled = outbox->post.ops->settle(outbox->post.self, err);
        if (settled != LL_OK)
            return settled;
    }
    json_t *answer = NULL;
    json_t *given = json_pack("{s:I, s:s, s:O, s:s?}", "now", (json_int_t)wall_ms(outbox), "claim",
                              outbox->claim, "results", outbox->results, "next", next);
    enum ll_status status = ask(outbox, "finish", given, &answer, err);
    if (status != LL_OK)
        return status;
    if (ret_ours != NULL)
        *ret_ours = json_is_true(json_object_get(answer, "next"));
    json_decref(answer);
    json_array_clear(outbox->results);
    return LL_OK;
}

static void add_result(struct outbox *outbox, const char *id, const char *state, const char *reason,
                       const char *words, int64_t due_ms, int attempt, bool suppress)
{
    json_t *result = json_pack("{s:s, s:s, s:s, s:s, s:i, s:b}", "id", id, "state", state, "reason", reason,
                               "detail", words, "attempt", attempt, "suppress", suppress);
    if (due_ms > 0)
        json_object_set_new(result, "due", json_integer(due_ms));
    json_array_append_new(outbox->results, result);
}

static void down(struct outbox *outbox, const char *words)
{
    char text[512];
    outbox->pause_ms = outbox->pause_ms == 0 ? PAUSE_FIRST_MS : outbox->pause_ms * 2;
    if (outbox->pause_ms > PAUSE_MAX_MS)
        outbox->pause_ms = PAUSE_MAX_MS;
    outbox->paused_until_ms = steady_ms(outbox) + outbox->pause_ms;
    snprintf(text, sizeof text, "%.250s: %.240s", outbox->post.address, words);
    log_line(LOG_WARN, "no_delivery", "cause=%s again_ms=%lld", log_quote_c(text),
             (long long)outbox->pause_ms);
    if (outbox->process != NULL)
        process_waits_for(outbox->process, text);
}

static void note_result(struct outbox *outbox, const struct outbox_letter *letter, enum post_outcome outcome,
                        const char *words)
{
    int64_t now_ms = wall_ms(outbox), attempt = letter->attempts + 1;
    bool resends = strcmp(outbox->config->notify.unknown, "resend") == 0,
         is_last = attempt >= outbox->config->notify.attempts;
    int64_t later_ms = now_ms + decide_backoff_ms(outbox->config, attempt, chance(outbox));
    switch (outcome) {
    case POST_ACCEPTED:
        add_result(outbox, letter->id, "sent", "SENT", words, 0, 1, false);
        metric_add(outbox->metrics.sent, 1);
        break;
    case POST_PUT_OFF:
        add_result(outbox, letter->id, is_last ? "dead" : "waiting", is_last ? "GAVE_UP" : "PUT_OFF", words,
                   is_last ? 0 : later_ms, 1, false);
        metric_add(outbox->metrics.put_off, 1);
        break;
    case POST_REFUSED:
        add_result(outbox, letter->id, "dead", "REFUSED", words, 0, 1, true);
        metric_add(outbox->metrics.refused, 1);
        break;
    case POST_UNKNOWN:
        add_result(outbox, letter->id,
                   !resends  ? "unknown"
                   : is_last ? "dead"
                             : "waiting",
                   resends && is_last ? "GAVE_UP" : "LOST", words, resends && !is_last ? later_ms : 0, 1,
                   false);
        metric_add(outbox->metrics.unknown, 1);
        break;
    case POST_DOWN: /* nothing was handed over, and it is not the letter's fault: no attempt is counted */
        down(outbox, words);
        add_result(outbox, letter->id, "waiting", "NO_CONNECTION", words, now_ms + outbox->pause_ms, 0,
                   false);
        metric_add(outbox->metrics.down, 1);
        return;
    }
    outbox->paused_until_ms = outbox->pause_ms = 0;
    if (outbox->process != NULL)
        process_waits_for(outbox->process, NULL);
}

/* How many letters the rate allows now. */
static bool take_token(struct outbox *outbox)
{
    double rate = (double)outbox->config->notify.rate, most = rate / 10 > 1 ? rate / 10 : 1;
    int64_t now_ms = steady_ms(outbox);
    outbox->tokens = fmin(most, outbox->tokens + rate * (double)(now_ms - outbox->tokens_at_ms) / 1000);
    outbox->tokens_at_ms = now_ms;
    if (outbox->tokens < 1)
        return false;
    outbox->tokens -= 1;
    return true;
}

/* Letters that stay behind while nothing can be delivered go back as they were. */
static void give_back(struct outbox *outbox)
{
    for (; outbox->claimed_at < outbox->claimed_count; outbox->claimed_at++)
        add_result(outbox, outbox->claimed[outbox->claimed_at].id, "waiting", "NO_CONNECTION",
                   "the letter before it was not taken", wall_ms(outbox) + outbox->pause_ms, 0, false);
}

static enum ll_status hand_over(struct outbox *outbox, struct ll_err *err)
{
    enum { SLICE_MS = 500 };
    int64_t until_ms = steady_ms(outbox) + SLICE_MS;
    while (outbox->claimed_at < outbox->claimed_count && steady_ms(outbox) < until_ms &&
           !process_stopping() && outbox->paused_until_ms == 0) {
        struct outbox_letter *letter = &outbox->claimed[outbox->claimed_at];
        char words[POST_WORDS_SIZE] = "";
        bool ours = true;
        if (!take_token(outbox))
            break;
        if (!outbox->post.is_repeatable) {
            enum ll_status status = finish(outbox, letter->id, &ours, err);
            if (status != LL_OK) {
                outbox->must_recover = true; /* its row may say "sending" */
                return status;
            }
        }
        outbox->claimed_at++;
        if (!ours) {
            log_line(LOG_WARN, "claim_lost", "letter=%s", letter->id);
            continue;
        }
        const struct post_letter post = { text_of(letter->id),
                                          text_of(outbox->config->notify.from_address),
                                          text_of(letter->to),
                                          { letter->message, (uint32_t)letter->size } };
        enum post_outcome outcome = outbox->post.ops->send(outbox->post.self, &post, words);
        note_result(outbox, letter, outcome, words);
    }
    if (outbox->paused_until_ms != 0)
        give_back(outbox);
    return LL_OK;
}

static enum ll_status recover(struct outbox *outbox, struct ll_err *err)
{
    bool resends = outbox->post.is_repeatable || strcmp(outbox->config->notify.unknown, "resend") == 0;
    json_t *answer = NULL;
    enum ll_status status =
        ask(outbox, "recover",
            json_pack("{s:I, s:s, s:s, s:s, s:I, s:i, s:s}", "now", (json_int_t)wall_ms(outbox), "claim",
                      outbox->claim, "process", outbox->mark, "instance", outbox->instance, "began",
                      (json_int_t)outbox->began_ms, "lease_ms", LEASE_MS, "lost",
                      resends ? "waiting" : "unknown"),
            &answer, err);
    if (status != LL_OK)
        return status;
    if (int_at(answer, "recovered") + int_at(answer, "lost") > 0)
        log_line(LOG_INFO, "recovered", "claimed=%lld handed_over=%lld then=%s",
                 (long long)int_at(answer, "recovered"), (long long)int_at(answer, "lost"),
                 resends ? "sent_again" : "held");
    json_decref(answer);
    outbox->must_recover = false;
    outbox->recover_at_ms = steady_ms(outbox) + RECOVER_MS;
    return LL_OK;
}

static enum ll_status show_waiting(struct outbox *outbox, struct ll_err *err)
{
    json_t *answer = NULL;
    enum ll_status status = ask(outbox, "outlook", json_object(), &answer, err);
    if (status == LL_OK)
        metric_set(outbox->metrics.waiting, int_at(answer, "waiting"));
    json_decref(answer);
    return status;
}

enum ll_status outbox_finish(struct outbox *outbox, struct ll_err *err)
{
    return finish(outbox, NULL, NULL, err);
}

enum ll_status outbox_step(struct outbox *outbox, int64_t *ret_next_ms, struct ll_err *err)
{
    enum ll_status status = LL_OK;
    bool has_claimed = outbox->claimed_at < outbox->claimed_count;
    size_t judged = 0;
    /* The claims below are of the round under way: what it has in hand must be written before another one may be recovered. */
    if (!has_claimed)
        status = finish(outbox, NULL, NULL, err);
    if (status == LL_OK && !has_claimed &&
        (outbox->must_recover || steady_ms(outbox) >= outbox->recover_at_ms)) {
        drop_claimed(outbox);
        new_claim(outbox);
        status = recover(outbox, err);
        if (status == LL_OK)
            status = show_waiting(outbox, err);
    }
    if (steady_ms(outbox) >= outbox->paused_until_ms)
        outbox->paused_until_ms = 0;
    if (status == LL_OK && !has_claimed && outbox->paused_until_ms == 0) {
        drop_claimed(outbox);
        status = judge(outbox, &judged, err);
    }
    if (status == LL_OK)
        status = hand_over(outbox, err);
    has_claimed = outbox->claimed_at < outbox->claimed_count;
    if (status == LL_OK && !has_claimed)
        status = finish(outbox, NULL, NULL, err);
    *ret_next_ms =
        has_claimed || judged > 0 ? steady_ms(outbox) + (has_claimed ? 5 : 0) : steady_ms(outbox) + IDLE_MS;
    return status;
}
