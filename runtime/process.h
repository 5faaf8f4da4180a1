/*
 * process.h - what every process of ours does alike: options, --check, signals, metrics, ready.
 * Shape:  main.c is wiring:
 *             process_open(argc, argv, "accrue", &process, &err)   options, configuration, log, signals
 *             ... open stores in order ...
 *             process_ready(process)                               /readyz is 200 from now on
 *             while (!process_stopping(process)) step
 *             ... close in reverse ...
 * Exit:   0 stopped as asked; 1 failed; 2 usage or configuration.
 */
#pragma once

#include "runtime/config.h"
#include "runtime/err.h"

#include <stdbool.h>
#include <stdint.h>

struct process;

/* Understands --config FILE, --check, --instance NAME, --help, --version. Returns NULL with *ret_exit set when there is
 * nothing more to do (help, --check done well, usage error). Starts the metrics server at once. */
struct process *process_open(int argc, char **argv, const char *name, int *ret_exit);
/* The same, with what else this process reads at its start (validate: deploy/validation.conf): --check calls it too. It
 * connects to nothing. NULL: nothing else. */
typedef enum ll_status process_check(const struct config *config, struct ll_err *err);
struct process *process_open_checked(int argc, char **argv, const char *name, process_check *check, int *ret_exit);
void process_close(struct process *process);
const struct config *process_config(const struct process *process);
const char *process_instance(const struct process *process); /* default "<name>-1" */
void process_ready(struct process *process, bool ready);
/* What it waits for, shown by `lens status` and /readyz ("postgres 127.0.0.1:5432: connection refused"); NULL: nothing. */
void process_waits_for(struct process *process, const char *what);
/* The loop is inside a call that lasts as long as somebody is away: after two seconds /readyz says that it waits for this.
 * NULL: the call has returned. Also usable without a process, from any loop. */
void process_inside(const char *what);
/* SIGTERM or SIGINT came. Also usable without a process, from any loop. */
bool process_stopping(void);
/* Lets process_stopping see signals, and ignores SIGPIPE; process_open does it. For programs that end by themselves. */
void process_take_signals(void);

/* Waits so long, or until SIGTERM or SIGINT comes: for retries before there is a loop. */
void process_pause(int ms);

/* Metrics: counters and gauges with at most two labels, registered once, exposed at /metrics. */
struct metric;
/* labels such as "partition=\"3\"", or NULL. name, help and labels are copied. */
struct metric *metric_counter(struct process *process, const char *name, const char *labels, const char *help);
struct metric *metric_gauge(struct process *process, const char *name, const char *labels, const char *help);
/* Histogram with fixed upper bounds in the unit of the name; bounds are copied. */
struct metric *metric_histogram(struct process *process, const char *name, const char *labels, const char *help,
                                const double *bounds, int bound_count);
/* metric may be NULL (tests, simulation): nothing happens. */
void metric_add(struct metric *metric, int64_t by);
void metric_set(struct metric *metric, int64_t value);
void metric_observe(struct metric *metric, double value);
