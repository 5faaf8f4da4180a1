#include "producers/import/mark.h"

#include "runtime/clock.h"
#include "runtime/kafka.h"
#include "runtime/process.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

/* Longer than a killed import's transaction stays open (SEND_TRANSACTION_MS). */
enum { READ_MS = 45000, POLL_MS = 100 };

static const char *const states[] = {"none", "running", "done", "unreadable"};

void mark_done(struct mark *mark)
{
    json_decref(mark->summary);
    *mark = (struct mark){0};
}

void mark_nonce(char to[MARK_NONCE_SIZE])
{
    uint64_t random = 0;
    if (getrandom(&random, sizeof random, 0) != sizeof random)
        random = (uint64_t)clock_real().wall_ms(NULL);
    snprintf(to, MARK_NONCE_SIZE, "%d-%016llx", (int)getpid(), (unsigned long long)random);
}

void mark_key(const char *sha256, char to[80])
{
    snprintf(to, 80, "%.64s", sha256);
}

void mark_claim_key(const char *sha256, char to[80])
{
    snprintf(to, 80, "claim:%.64s", sha256);
}

static char *dump(json_t *takes)
{
    char *text = json_dumps(takes, JSON_COMPACT | JSON_SORT_KEYS);
    json_decref(takes);
    if (text == NULL)
        abort();
    return text;
}

char *mark_write(const char *sha256, const struct mark *mark)
{
    return dump(json_pack("{s:s, s:s, s:I, s:I, s:s, s:s, s:O?}", "sha256", sha256, "state",
                          states[mark->state], "attempt", (json_int_t)mark->attempt, "outputs",
                          (json_int_t)mark->outputs, "settings", mark->settings, "updated_at",
                          mark->updated_at, "summary", mark->summary));
}

char *mark_write_claim(const char *nonce, int64_t now_ms)
{
    char host[128] = "", at[32];
    gethostname(host, sizeof host - 1);
    return dump(json_pack("{s:s, s:s, s:i, s:s}", "claim", nonce, "host", host, "pid", (int)getpid(), "at",
                          clock_format(now_ms, at, sizeof at)));
}

/* A mark that cannot be read must not pass for none: rows would be doubled. */
static void parse_mark(struct text value, struct mark *ret)
{
    json_t *root = json_loadb(value.data, value.size, 0, NULL);
    const char *state = json_string_value(json_object_get(root, "state"));
    const char *settings = json_string_value(json_object_get(root, "settings"));
    const char *updated_at = json_string_value(json_object_get(root, "updated_at"));
    mark_done(ret);
    *ret = (struct mark){.state = MARK_UNREADABLE,
                         .attempt = json_integer_value(json_object_get(root, "attempt")),
                         .outputs = json_integer_value(json_object_get(root, "outputs")),
                         .summary = json_incref(json_object_get(root, "summary"))};
    snprintf(ret->settings, sizeof ret->settings, "%s", settings != NULL ? settings : "");
    snprintf(ret->updated_at, sizeof ret->updated_at, "%s", updated_at != NULL ? updated_at : "");
    for (int i = MARK_RUNNING; i <= MARK_DONE; i++)
        if (state != NULL && settings != NULL && ret->attempt > 0 && ret->outputs >= 0 &&
            strcmp(state, states[i]) == 0)
            ret->state = (enum mark_state)i;
    json_decref(root);
}

struct reading {
    char key[80], claim_key[80];
    const char *nonce;
    struct mark *mark;
    char *claim;
    bool seen; /* our claim */
};

static void take_record(struct reading *reading, const struct bus_record *record)
{
    if (record->value.data == NULL)
        return;
    if (text_equal(record->key, text_of(reading->key)))
        parse_mark(record->value, reading->mark);
    if (!text_equal(record->key, text_of(reading->claim_key)))
        return;
    json_t *root = json_loadb(record->value.data, record->value.size, 0, NULL);
    const char *nonce = json_string_value(json_object_get(root, "claim"));
    snprintf(reading->claim, MARK_NONCE_SIZE, "%s", nonce != NULL ? nonce : "");
    reading->seen = reading->nonce != NULL && strcmp(reading->claim, reading->nonce) == 0;
    json_decref(root);
}

static enum ll_status read_to(struct kafka_reader *reader, struct reading *reading, struct ll_err *err)
{
    struct clock_source clock = clock_real();
    int64_t until_ms = clock.steady_ms(clock.self) + READ_MS;
    while (!reading->seen && (reading->nonce != NULL || !kafka_reader_at_end(reader))) {
        struct bus_record record;
        enum bus_event event = kafka_reader_read(reader, POLL_MS, &record, err);
        if (event == BUS_BROKEN)
            return LL_RETRY;
        if (event == BUS_RECORD) {
            take_record(reading, &record);
            kafka_reader_release(reader, &record);
        } else if (process_stopping() || clock.steady_ms(clock.self) > until_ms) {
            return event == BUS_DOWN
                       ? LL_RETRY
                       : ll_fail(err, LL_RETRY,
                                 "topic imports cannot be read to its end: another import's open "
                                 "transaction stands in the way; try again in a minute");
        }
    }
    return LL_OK;
}

enum ll_status mark_read(const struct config *config, const struct topics *topics, const char *sha256,
                         const char *nonce, struct mark *ret, char ret_claim[MARK_NONCE_SIZE],
                         struct ll_err *err)
{
    static const enum topic which[] = {TOPIC_IMPORTS};
    struct reading reading = {.nonce = nonce, .mark = ret, .claim = ret_claim};
    struct kafka_reader *reader;
    *ret = (struct mark){0};
    ret_claim[0] = '\0';
    mark_key(sha256, reading.key);
    mark_claim_key(sha256, reading.claim_key);
    enum ll_status status = kafka_reader_open(config, topics, which, 1, &reader, err);
    if (status != LL_OK)
        return status;
    status = read_to(reader, &reading, err);
    kafka_reader_close(reader);
    if (status != LL_OK)
        mark_done(ret);
    return status;
}
