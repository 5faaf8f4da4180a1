#include "runtime/isolate.h"

#include "runtime/bus.h"
#include "runtime/hang.h"
#include "runtime/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { PARTS_MAX = 512, BLAMED_MAX = 32, PARTITIONS_MAX = 1024, PATH_MAX_SIZE = 512 };
static const uint64_t MAGIC = UINT64_C(0x3130746c6f736900) + TOPIC_COUNT; /* another map of topics: another file */

/* A record that the process died of while it had nothing else in hand. */
struct blamed {
    int32_t topic, partition;
    int64_t offset;
    int32_t deaths;
};

struct part {
    int32_t topic, partition;
    int64_t next, taken;           /* behind the last record that was taken; how many are in hand */
    int64_t suspect_end, suspects; /* records below it are suspected; how many of them are left. 0: none */
};

/* The file. */
struct state {
    uint64_t magic;
    int32_t works;
    int32_t part_count, blamed_count;
    struct part parts[PARTS_MAX];
    struct blamed blamed[BLAMED_MAX];
};

struct isolate {
    struct state *state; /* mapped */
    int64_t most;        /* follows from the state */
    struct hang *hang;   /* NULL: nobody watches */
    int32_t last_topic, last_partition; /* taken last, for the watcher's words */
    int64_t last_offset;
    int16_t index[TOPIC_COUNT][PARTITIONS_MAX]; /* of parts, plus one; 0: none */
};

static struct part *part_of(struct isolate *isolate, enum topic topic, int32_t partition)
{
    if (isolate == NULL || partition < 0 || partition >= PARTITIONS_MAX)
        return NULL;
    int16_t *at = &isolate->index[topic][partition];
    struct state *state = isolate->state;
    if (*at == 0 && state->part_count < PARTS_MAX) {
        state->parts[state->part_count] = (struct part){ .topic = (int32_t)topic, .partition = partition };
        *at = (int16_t)++state->part_count;
    }
    return *at == 0 ? NULL : &state->parts[*at - 1];
}

static void set_most(struct isolate *isolate)
{
    int64_t suspects = 0;
    for (int32_t i = 0; i < isolate->state->part_count; i++)
        suspects += isolate->state->parts[i].suspects;
    isolate->most = suspects == 0 ? INT64_MAX : suspects < ISOLATE_SHARE ? 1 : suspects / ISOLATE_SHARE;
}

/* ---- after a death ---- */

static struct blamed *blamed_of(struct state *state, int32_t topic, int32_t partition, int64_t offset)
{
    for (int32_t i = 0; i < state->blamed_count; i++) {
        struct blamed *blamed = &state->blamed[i];
        if (blamed->topic == topic && blamed->partition == partition && blamed->offset == offset)
            return blamed;
    }
    return NULL;
}

/* It died of one record alone: nobody else can have been it. */
static void blame(struct state *state, const struct part *part)
{
    int64_t offset = part->next - 1;
    struct blamed *blamed = blamed_of(state, part->topic, part->partition, offset);
    if (blamed == NULL) {
        if (state->blamed_count == BLAMED_MAX) /* the oldest is forgotten: it will be found again */
            memmove(state->blamed, state->blamed + 1, (size_t)--state->blamed_count * sizeof *state->blamed);
        blamed = &state->blamed[state->blamed_count++];
        *blamed = (struct blamed){ part->topic, part->partition, offset, 0 };
    }
    blamed->deaths++;
    log_line(LOG_ERROR, blamed->deaths < ISOLATE_DEATHS ? "died_of_a_record" : "record_condemned",
             "topic=%s partition=%d offset=%lld deaths_alone=%d next=\"lens dlq list --code RECORD_CRASHED\"",
             topic_name((enum topic)part->topic), part->partition, (long long)offset, blamed->deaths);
}

static void judge(struct state *state)
{
    int64_t taken = 0;
    struct part *last = NULL;
    for (int32_t i = 0; i < state->part_count; i++) {
        taken += state->parts[i].taken;
        last = state->parts[i].taken > 0 ? &state->parts[i] : last;
    }
    if (state->works != 0 && taken > 0) {
        if (taken == 1)
            blame(state, last);
        else
            log_line(LOG_WARN, "died_at_work", "suspects=%lld next_at_once=%lld", (long long)taken,
                     (long long)(taken / ISOLATE_SHARE > 0 ? taken / ISOLATE_SHARE : 1));
        for (int32_t i = 0; i < state->part_count; i++) {
            struct part *part = &state->parts[i];
            part->suspects = part->taken;
            part->suspect_end = part->taken > 0 ? part->next : 0;
        }
    }
    for (int32_t i = 0; i < state->part_count; i++)
        state->parts[i].taken = 0;
    state->works = 0;
}

static bool is_sound(const struct state *state)
{
    if (state->magic != MAGIC || state->part_count < 0 || state->part_count > PARTS_MAX || state->blamed_count < 0 ||
        state->blamed_count > BLAMED_MAX)
        return false;
    for (int32_t i = 0; i < state->part_count; i++)
        if (state->parts[i].topic < 0 || state->parts[i].topic >= TOPIC_COUNT || state->parts[i].partition < 0 ||
            state->parts[i].partition >= PARTITIONS_MAX || state->parts[i].taken < 0 || state->parts[i].suspects < 0)
            return false;
    return true;
}

/* ---- open, close ---- */

enum ll_status isolate_open(const char *path, struct isolate **ret, struct ll_err *err)
{
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    void *memory = MAP_FAILED;
    if (fd >= 0 && ftruncate(fd, sizeof(struct state)) == 0 && posix_fallocate(fd, 0, sizeof(struct state)) == 0)
        memory = mmap(NULL, sizeof(struct state), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    int why = errno;
    if (fd >= 0)
        close(fd);
    if (memory == MAP_FAILED)
        return ll_fail(err, LL_RETRY, "%s: %s", path, strerror(why));
    struct isolate *isolate = calloc(1, sizeof *isolate);
    if (isolate == NULL)
        abort();
    isolate->state = memory;
    if (!is_sound(isolate->state))
        *isolate->state = (struct state){ .magic = MAGIC };
    judge(isolate->state);
    set_most(isolate);
    for (int32_t i = 0; i < isolate->state->part_count; i++)
        isolate->index[isolate->state->parts[i].topic][isolate->state->parts[i].partition] = (int16_t)(i + 1);
    *ret = isolate;
    return LL_OK;
}

static void words_of_last(const void *arg, char *to, int size)
{
    const struct isolate *isolate = arg;
    snprintf(to, (size_t)size, "topic=%s partition=%d offset=%lld", topic_name((enum topic)isolate->last_topic),
             isolate->last_partition, (long long)isolate->last_offset);
}

void isolate_watch(struct isolate *isolate, int64_t hang_ms)
{
    if (isolate != NULL && isolate->hang == NULL)
        isolate->hang = hang_watch(hang_ms, words_of_last, isolate);
}

struct isolate *isolate_start(const char *home, const char *instance, int64_t hang_ms)
{
    char path[PATH_MAX_SIZE];
    struct isolate *isolate = NULL;
    struct ll_err err = { "" };
    snprintf(path, sizeof path, "%s/run/%s.attempt", home, instance);
    if (isolate_open(path, &isolate, &err) != LL_OK)
        log_line(LOG_WARN, "isolates_nothing", "error=%s", log_quote_c(err.text));
    isolate_watch(isolate, hang_ms);
    return isolate;
}

void isolate_close(struct isolate *isolate)
{
    if (isolate == NULL)
        return;
    hang_end(isolate->hang);
    munmap(isolate->state, sizeof *isolate->state);
    free(isolate);
}

/* ---- at work ---- */

int64_t isolate_most(const struct isolate *isolate)
{
    return isolate == NULL ? INT64_MAX : isolate->most;
}

bool isolate_is_condemned(const struct isolate *isolate, enum topic topic, int32_t partition, int64_t offset)
{
    if (isolate == NULL || isolate->state->blamed_count == 0)
        return false;
    const struct blamed *blamed = blamed_of(isolate->state, (int32_t)topic, partition, offset);
    return blamed != NULL && blamed->deaths >= ISOLATE_DEATHS;
}

void isolate_take(struct isolate *isolate, enum topic topic, int32_t partition, int64_t offset)
{
    struct part *part = part_of(isolate, topic, partition);
    if (part == NULL)
        return;
    part->next = offset + 1;
    part->taken++;
    isolate->state->works = 1;
    isolate->last_topic = (int32_t)topic;
    isolate->last_partition = partition;
    isolate->last_offset = offset;
    hang_beat(isolate->hang, true);
}

void isolate_work(struct isolate *isolate, bool works)
{
    if (isolate == NULL)
        return;
    isolate->state->works = works;
    hang_beat(isolate->hang, works);
}

static void set_suspects(struct isolate *isolate, struct part *part, int64_t count)
{
    part->suspects = count;
    part->suspect_end = count == 0 ? 0 : part->suspect_end;
    set_most(isolate);
}

void isolate_settle(struct isolate *isolate, enum topic topic, int32_t partition, int64_t next)
{
    struct part *part = part_of(isolate, topic, partition);
    if (part == NULL)
        return;
    if (part->suspects > 0 && next >= part->suspect_end)
        set_suspects(isolate, part, 0);
    else if (part->suspects > 0)
        set_suspects(isolate, part, part->suspects > part->taken ? part->suspects - part->taken : 1);
    if (next >= part->next)
        part->taken = 0;
    struct state *state = isolate->state;
    for (int32_t i = state->blamed_count; i-- > 0;)
        if (state->blamed[i].topic == (int32_t)topic && state->blamed[i].partition == partition && state->blamed[i].offset < next)
            state->blamed[i] = state->blamed[--state->blamed_count];
}

void isolate_release_part(struct isolate *isolate, enum topic topic, int32_t partition)
{
    struct part *part = part_of(isolate, topic, partition);
    if (part != NULL)
        part->taken = 0;
}

void isolate_release(struct isolate *isolate)
{
    for (int32_t i = 0; isolate != NULL && i < isolate->state->part_count; i++)
        isolate->state->parts[i].taken = 0;
    isolate_work(isolate, false);
}

void isolate_drop(struct isolate *isolate, enum topic topic, int32_t partition)
{
    struct part *part = part_of(isolate, topic, partition);
    if (part == NULL)
        return;
    part->taken = 0;
    set_suspects(isolate, part, 0);
}

void isolate_keep(struct isolate *isolate, const struct bus_position *owned, size_t count)
{
    for (int32_t i = 0; isolate != NULL && i < isolate->state->part_count; i++) {
        struct part *part = &isolate->state->parts[i];
        bool is_ours = false;
        for (size_t k = 0; k < count && !is_ours; k++)
            is_ours = (int32_t)owned[k].topic == part->topic && owned[k].partition == part->partition;
        if (!is_ours)
            isolate_drop(isolate, (enum topic)part->topic, part->partition);
    }
}
