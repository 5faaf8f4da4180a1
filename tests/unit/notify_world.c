#include "tests/unit/notify_world.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct world_letter *world_letter(struct world *w, const char *id)
{
    for (size_t at = 0; at < w->letter_count; at++)
        if (strcmp(w->letters[at].id, id) == 0)
            return &w->letters[at];
    cr_assert_lt(w->letter_count, (size_t)WORLD_LETTERS_MAX);
    struct world_letter *letter = &w->letters[w->letter_count++];
    *letter = (struct world_letter){ .id = "" };
    snprintf(letter->id, sizeof letter->id, "%s", id);
    return letter;
}

void world_doubt(struct world_client *client)
{
    struct world *w = client->world;
    w->kills++;
    for (size_t at = 0; at < w->letter_count && w->policy == POLICY_FILES; at++) {
        w->letters[at].doubts += w->letters[at].is_unnoted;
        w->letters[at].is_unnoted = false;
    }
    if (client->sending[0] == '\0')
        return;
    w->doubtful_kills++;
    world_letter(w, client->sending)->doubts++;
}

void world_die(struct world_client *client)
{
    if (client->is_dead)
        return;
    client->is_dead = true;
    world_doubt(client);
    client->sending[0] = '\0';
}

/* ---- the bus ---- */

static enum bus_event bus_poll(void *self, int timeout_ms, struct bus_record *ret, struct ll_err *err)
{
    struct world_client *client = self;
    struct world *w = client->world;
    w->now_ms += timeout_ms;
    if (client->is_fenced && seed_random(&w->seed, 3) == 0) {
        ll_fail(err, LL_FATAL, "fenced");
        return BUS_BROKEN;
    }
    if (!client->told && client->flowing && client->is_out && seed_random(&w->seed, 3) > 0)
        return BUS_NONE; /* it does not know yet */
    if (!client->told && client->flowing) {
        client->flowing = false;
        return BUS_REVOKED;
    }
    if (!client->told) {
        client->told = true;
        return BUS_ASSIGNED;
    }
    if (client->is_out)
        return BUS_NONE;
    for (uint32_t more = seed_random(&w->seed, 4); more > 0 && w->revealed < w->order_count; more--)
        w->logs[w->order[w->revealed++]].visible++;
    if (seed_random(&w->seed, 8) == 0 && seed_fault_due(&w->seed)) {
        bool is_down = seed_random(&w->seed, 2) == 0;
        seed_say(&w->seed, "!! bus: %s", is_down ? "no broker" : "partitions taken away");
        if (is_down) {
            ll_fail(err, LL_RETRY, "no broker");
            return BUS_DOWN;
        }
        client->told = client->flowing = false;
        return BUS_REVOKED;
    }
    for (int try = 0; client->flowing && try < WORLD_LOGS; try++) {
        uint32_t number = seed_random(&w->seed, WORLD_LOGS);
        const struct world_log *log = &w->logs[number];
        if (client->next[number] >= log->visible)
            continue;
        int64_t offset = client->next[number]++;
        *ret = (struct bus_record){ .topic = log->topic,
                                    .partition = log->partition,
                                    .offset = offset,
                                    .value = { log->values[offset], log->sizes[offset] } };
        return BUS_RECORD;
    }
    return BUS_NONE;
}

static const struct bus_position *bus_changed(void *self, size_t *ret_count, bool *ret_lost)
{
    const struct world_client *client = self;
    *ret_count = client->is_out ? 0 : WORLD_LOGS;
    *ret_lost = client->is_out;
    return client->world->changed;
}

/* From where it is told, or from before: what was taken comes again. */
static enum ll_status bus_start(void *self, const struct bus_position *from, size_t count, struct ll_err *err)
{
    struct world_client *client = self;
    struct world *w = client->world;
    (void)err;
    client->flowing = count > 0;
    for (size_t at = 0; at < count; at++) {
        int64_t next = from[at].offset < 0 ? 0 : from[at].offset;
        int64_t back = seed_random(&w->seed, 2) == 0 ? 0 : seed_random(&w->seed, 6);
        client->next[at] = next > back ? next - back : 0;
    }
    return LL_OK;
}

static enum ll_status bus_stop(void *self, struct ll_err *err)
{
    (void)self, (void)err;
    return LL_OK;
}

static void bus_release(void *self, struct bus_record *record)
{
    (void)self, (void)record;
}

static size_t log_of(const struct world *w, enum topic topic, int32_t partition)
{
    size_t at = 0;
    while (w->logs[at].topic != topic || w->logs[at].partition != partition)
        cr_assert_lt(++at, (size_t)WORLD_LOGS);
    return at;
}

static int64_t bus_position(void *self, enum topic topic, int32_t partition)
{
    const struct world_client *client = self;
    return client->next[log_of(client->world, topic, partition)];
}

static enum ll_status bus_watermarks(void *self, enum topic topic, int32_t partition, int64_t *ret_low,
                                     int64_t *ret_high, struct ll_err *err)
{
    struct world *w = ((struct world_client *)self)->world;
    if (seed_random(&w->seed, 8) == 0 && seed_fault_due(&w->seed))
        return ll_fail(err, LL_RETRY, "watermarks");
    *ret_low = 0;
    *ret_high = w->logs[log_of(w, topic, partition)].visible;
    return LL_OK;
}

static void bus_commit(void *self, const struct bus_position *next, size_t count)
{
    (void)self, (void)next, (void)count;
}

struct bus_consumer world_consumer(struct world_client *client)
{
    static const struct bus_consumer_ops ops = { .poll = bus_poll,
                                                 .changed = bus_changed,
                                                 .start = bus_start,
                                                 .stop = bus_stop,
                                                 .release = bus_release,
                                                 .position = bus_position,
                                                 .watermarks = bus_watermarks,
                                                 .commit = bus_commit };
    return (struct bus_consumer){ &ops, client };
}

bool world_is_drained(const struct world *w, const struct notify *notify)
{
    if (w->revealed < w->order_count || notify->gathered > 0 || notify->input_count != WORLD_LOGS)
        return false;
    for (size_t at = 0; at < WORLD_LOGS; at++)
        if (notify->inputs[at].stands < w->logs[at].count)
            return false;
    return true;
}

static int64_t now(void *self)
{
    return ((struct world *)self)->now_ms;
}

struct clock_source world_clock(struct world *w)
{
    return (struct clock_source){ now, now, w };
}

/* ---- the post ---- */

static void accept_letter(struct world *w, struct world_letter *letter)
{
    letter->accepted++;
    letter->is_unnoted = true;
    int most = w->policy == POLICY_HOLD ? 1 : w->policy == POLICY_RESEND ? 1 + letter->doubts : INT32_MAX;
    if (letter->accepted > most)
        seed_bad(&w->seed, "letter %s was handed over %d times, with %d doubts", letter->id, letter->accepted,
                 letter->doubts);
}

/* Of files, nothing but a full disk comes back. */
static enum post_outcome outcome_of(struct world *w, struct world_letter *letter, const char **ret_words)
{
    enum { PUT_OFF, REFUSED, LOST_TAKEN, LOST, NO_CONNECTION, DIES_BEFORE, DIES_AFTER, KINDS };
    static const char *const words[] = { "450 later", "550 no such user", "lost, taken",  "lost",
                                         "no route",  "dies before it",   "dies after it" };
    bool is_files = w->policy == POLICY_FILES;
    if (w->post_faults_left == 0 || seed_random(&w->seed, 5) > 0) {
        *ret_words = "250 taken";
        accept_letter(w, letter);
        return POST_ACCEPTED;
    }
    w->post_faults_left--;
    uint32_t kind = is_files ? NO_CONNECTION + seed_random(&w->seed, 3) : seed_random(&w->seed, KINDS);
    *ret_words = words[kind];
    switch (kind) {
    case PUT_OFF:
        return POST_PUT_OFF;
    case REFUSED:
        letter->refused++;
        return POST_REFUSED;
    case LOST_TAKEN:
        accept_letter(w, letter);
        letter->doubts++;
        return POST_UNKNOWN;
    case LOST:
        letter->doubts++;
        return POST_UNKNOWN;
    case NO_CONNECTION:
        return POST_DOWN;
    case DIES_AFTER:
        accept_letter(w, letter);
        break;
    default:
        break;
    }
    world_die(w->runs);
    return POST_UNKNOWN;
}

static enum post_outcome post_send(void *self, const struct post_letter *given, char words[POST_WORDS_SIZE])
{
    struct world *w = self;
    char id[OUTBOX_ID_SIZE];
    const char *said;
    if (w->runs->is_dead)
        return POST_UNKNOWN;
    snprintf(id, sizeof id, "%.*s", TEXT_ARG(given->id));
    struct world_letter *letter = world_letter(w, id);
    snprintf(letter->to, sizeof letter->to, "%.*s", TEXT_ARG(given->to));
    if (w->policy != POLICY_FILES && strcmp(w->runs->sending, id) != 0)
        seed_bad(&w->seed, "letter %s is handed over, but its row does not say so", id);
    w->now_ms += 1 + seed_random(&w->seed, 20);
    enum post_outcome outcome = outcome_of(w, letter, &said);
    seed_say(&w->seed, "   post %s to %s: %s", id, letter->to, said);
    snprintf(words, POST_WORDS_SIZE, "%s", said);
    return outcome;
}

static enum ll_status post_settle(void *self, struct ll_err *err)
{
    struct world *w = self;
    if (w->policy == POLICY_FILES && seed_random(&w->seed, 4) == 0 && seed_fault_due(&w->seed))
        return ll_fail(err, LL_RETRY, "disk");
    return LL_OK;
}

struct post world_post(struct world *w)
{
    static const struct post_ops ops = { .send = post_send, .settle = post_settle };
    return (struct post){ &ops, w, w->policy == POLICY_FILES, "post" };
}
