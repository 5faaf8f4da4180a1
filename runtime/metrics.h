/*
 * metrics.h - the numbers that a process shows, kept where its loop can change them and its server read them.
 * Shape:  one registry per process; struct metric is one series. Prometheus text, one family after the other.
 * Thread: registered and changed by the application's thread alone, written out by any.
 */
#pragma once

#include "runtime/process.h"

#include <stdio.h>

enum metric_kind { METRIC_COUNTER, METRIC_GAUGE, METRIC_HISTOGRAM };

struct metrics;
struct metrics *metrics_new(void);
void metrics_free(struct metrics *metrics);
/* The series of that name and labels, made if it is not there. bounds only for histograms. */
struct metric *metrics_series(struct metrics *metrics, enum metric_kind kind, const char *name,
                              const char *labels, const char *help, const double *bounds, int bound_count);
void metrics_write(struct metrics *metrics, FILE *to);
