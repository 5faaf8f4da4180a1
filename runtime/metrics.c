#include "runtime/metrics.h"

#include <assert.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

enum { BOUNDS_MAX = 32 };

struct metric {
    enum metric_kind kind;
    char *name, *labels, *help; /* labels "" if there are none */
    _Atomic int64_t value;      /* of a histogram: how many were observed */
    _Atomic double sum;
    int bound_count;
    double bounds[BOUNDS_MAX];
    _Atomic int64_t buckets[BOUNDS_MAX]; /* each value in the first that holds it; written out cumulated */
    struct metric *next;
};

struct metrics {
    pthread_mutex_t lock; /* of the list; the values are atomic */
    struct metric *first, **last;
};

static void *must(void *memory)
{
    if (memory == NULL)
        abort();
    return memory;
}

struct metrics *metrics_new(void)
{
    struct metrics *metrics = must(calloc(1, sizeof *metrics));
    pthread_mutex_init(&metrics->lock, NULL);
    metrics->last = &metrics->first;
    return metrics;
}

void metrics_free(struct metrics *metrics)
{
    if (metrics == NULL)
        return;
    for (struct metric *at = metrics->first; at != NULL;) {
        struct metric *next = at->next;
        free(at->name);
        free(at->labels);
        free(at->help);
        free(at);
        at = next;
    }
    pthread_mutex_destroy(&metrics->lock);
    free(metrics);
}

struct metric *metrics_series(struct metrics *metrics, enum metric_kind kind, const char *name,
                              const char *labels, const char *help, const double *bounds, int bound_count)
{
    assert(bound_count >= 0 && bound_count <= BOUNDS_MAX);
    labels = labels == NULL ? "" : labels;
    pthread_mutex_lock(&metrics->lock);
    struct metric *found = metrics->first;
    while (found != NULL && (strcmp(found->name, name) != 0 || strcmp(found->labels, labels) != 0))
        found = found->next;
    if (found == NULL) {
        found = must(calloc(1, sizeof *found));
        found->kind = kind;
        found->name = must(strdup(name));
        found->labels = must(strdup(labels));
        found->help = must(strdup(help));
        found->bound_count = bound_count;
        if (bound_count > 0)
            memcpy(found->bounds, bounds, (size_t)bound_count * sizeof *bounds);
        *metrics->last = found;
        metrics->last = &found->next;
    }
    pthread_mutex_unlock(&metrics->lock);
    assert(found->kind == kind);
    return found;
}

/* One thread writes: a load and a store are enough, and cost no bus lock on a path walked per record. */
void metric_add(struct metric *metric, int64_t by)
{
    if (metric == NULL)
        return;
    int64_t now = atomic_load_explicit(&metric->value, memory_order_relaxed);
    atomic_store_explicit(&metric->value, now + by, memory_order_relaxed);
}

void metric_set(struct metric *metric, int64_t value)
{
    if (metric != NULL)
        atomic_store_explicit(&metric->value, value, memory_order_relaxed);
}

void metric_observe(struct metric *metric, double value)
{
    if (metric == NULL)
        return;
    for (int at = 0; at < metric->bound_count; at++)
        if (value <= metric->bounds[at]) {
            int64_t now = atomic_load_explicit(&metric->buckets[at], memory_order_relaxed);
            atomic_store_explicit(&metric->buckets[at], now + 1, memory_order_relaxed);
            break;
        }
    double sum = atomic_load_explicit(&metric->sum, memory_order_relaxed);
    atomic_store_explicit(&metric->sum, sum + value, memory_order_relaxed);
    metric_add(metric, 1);
}

static void write_pair(const struct metric *metric, const char *suffix, int64_t value, FILE *to)
{
    if (metric->labels[0] == '\0')
        fprintf(to, "%s%s %" PRId64 "\n", metric->name, suffix, value);
    else
        fprintf(to, "%s%s{%s} %" PRId64 "\n", metric->name, suffix, metric->labels, value);
}

static void write_histogram(const struct metric *metric, FILE *to)
{
    const char *comma = metric->labels[0] == '\0' ? "" : ",";
    int64_t so_far = 0;
    for (int at = 0; at < metric->bound_count; at++) {
        so_far += atomic_load_explicit(&metric->buckets[at], memory_order_relaxed);
        fprintf(to, "%s_bucket{%s%sle=\"%g\"} %" PRId64 "\n", metric->name, metric->labels, comma,
                metric->bounds[at], so_far);
    }
    int64_t all = atomic_load_explicit(&metric->value, memory_order_relaxed);
    all = all < so_far ? so_far : all; /* read while it was written */
    fprintf(to, "%s_bucket{%s%sle=\"+Inf\"} %" PRId64 "\n", metric->name, metric->labels, comma, all);
    double sum = atomic_load_explicit(&metric->sum, memory_order_relaxed);
    if (metric->labels[0] == '\0')
        fprintf(to, "%s_sum %g\n", metric->name, sum);
    else
        fprintf(to, "%s_sum{%s} %g\n", metric->name, metric->labels, sum);
    write_pair(metric, "_count", all, to);
}

static void write_series(struct metric *metric, FILE *to)
{
    switch (metric->kind) {
    case METRIC_COUNTER:
    case METRIC_GAUGE:
        write_pair(metric, "", atomic_load_explicit(&metric->value, memory_order_relaxed), to);
        return;
    case METRIC_HISTOGRAM:
        write_histogram(metric, to);
        return;
    }
}

static bool is_first_of_family(const struct metrics *metrics, const struct metric *metric)
{
    const struct metric *at = metrics->first;
    while (strcmp(at->name, metric->name) != 0)
        at = at->next;
    return at == metric;
}

void metrics_write(struct metrics *metrics, FILE *to)
{
    static const char *const kinds[] = {"counter", "gauge", "histogram"};
    pthread_mutex_lock(&metrics->lock);
    for (struct metric *family = metrics->first; family != NULL; family = family->next) {
        if (!is_first_of_family(metrics, family))
            continue;
        fprintf(to, "# HELP %s %s\n# TYPE %s %s\n", family->name, family->help, family->name,
                kinds[family->kind]);
        for (struct metric *at = family; at != NULL; at = at->next)
            if (strcmp(at->name, family->name) == 0)
                write_series(at, to);
    }
    pthread_mutex_unlock(&metrics->lock);
}
