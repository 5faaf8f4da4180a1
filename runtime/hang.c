#include "runtime/hang.h"

#include "runtime/log.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum { LOOK_MS = 100 };

struct hang {
    _Atomic uint64_t beats; /* the lowest bit: it works */
    int64_t limit_ms;
    hang_words_fn *words;
    const void *arg;
    clockid_t cpu; /* of the loop's thread */
    pthread_t watcher;
    pthread_mutex_t lock;
    pthread_cond_t ends;
    bool is_ending;
};

static int64_t cpu_ms(clockid_t clock)
{
    struct timespec used = {0};
    clock_gettime(clock, &used);
    return (int64_t)used.tv_sec * 1000 + used.tv_nsec / 1000000;
}

static void end_process(const struct hang *hang, int64_t used_ms)
{
    char words[160];
    hang->words(hang->arg, words, sizeof words);
    log_line(LOG_ERROR, "hangs", "cpu_ms=%lld %s", (long long)used_ms, words);
    _exit(HANG_EXIT); /* nothing is finished and nothing flushed: a crash */
}

static void *watch(void *arg)
{
    struct hang *hang = arg;
    uint64_t seen = 0;
    int64_t since_ms = 0;
    pthread_mutex_lock(&hang->lock);
    while (!hang->is_ending) {
        struct timespec until;
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_nsec += LOOK_MS * 1000000L;
        if (until.tv_nsec >= 1000000000L) {
            until.tv_sec++;
            until.tv_nsec -= 1000000000L;
        }
        pthread_cond_timedwait(&hang->ends, &hang->lock, &until);
        uint64_t beats = atomic_load_explicit(&hang->beats, memory_order_relaxed);
        int64_t now_ms = cpu_ms(hang->cpu);
        if (beats != seen || (beats & 1) == 0) {
            seen = beats;
            since_ms = now_ms;
        } else if (now_ms - since_ms > hang->limit_ms)
            end_process(hang, now_ms - since_ms);
    }
    pthread_mutex_unlock(&hang->lock);
    return NULL;
}

struct hang *hang_watch(int64_t limit_ms, hang_words_fn *words, const void *arg)
{
    if (limit_ms == 0)
        return NULL;
    struct hang *hang = calloc(1, sizeof *hang);
    if (hang == NULL)
        abort();
    hang->limit_ms = limit_ms;
    hang->words = words;
    hang->arg = arg;
    pthread_mutex_init(&hang->lock, NULL);
    pthread_cond_init(&hang->ends, NULL);
    if (pthread_getcpuclockid(pthread_self(), &hang->cpu) != 0 ||
        pthread_create(&hang->watcher, NULL, watch, hang) != 0) {
        log_line(LOG_WARN, "watches_nothing", "limit_ms=%lld", (long long)limit_ms);
        free(hang);
        return NULL;
    }
    return hang;
}

void hang_end(struct hang *hang)
{
    if (hang == NULL)
        return;
    pthread_mutex_lock(&hang->lock);
    hang->is_ending = true;
    pthread_cond_signal(&hang->ends);
    pthread_mutex_unlock(&hang->lock);
    pthread_join(hang->watcher, NULL);
    pthread_mutex_destroy(&hang->lock);
    pthread_cond_destroy(&hang->ends);
    free(hang);
}

void hang_beat(struct hang *hang, bool works)
{
    if (hang == NULL)
        return;
    uint64_t beats = atomic_load_explicit(&hang->beats, memory_order_relaxed); /* the loop's thread alone writes it */
    atomic_store_explicit(&hang->beats, ((beats | 1) + 1) | (works ? 1 : 0), memory_order_relaxed);
}
