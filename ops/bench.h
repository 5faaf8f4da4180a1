/*
 * bench.h - measure the real line on this machine, in a home of its own that is gone afterwards.
 * Shape:  bench.c is the noun and its options; bench_home.c the home and the processes in it; bench_usage.c what /proc says of CPU and
 *         memory; bench_rate.c `accrue` and `line` (events a second); bench_live.c `latency` and `recovery`.
 * Units:  _us is CPU microseconds, _ms wall milliseconds, _kib KiB.
 */
#pragma once

#include "ops/files.h"
#include "ops/lens.h"
#include "ops/stack.h"
#include "producers/generate/bench_load.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct bench {
    struct lens *lens;
    int64_t events, customers, rate_per_s, seconds;
    uint64_t seed;
    bool keep;  /* leave the home */
    bool valid; /* load: onto transactions.valid */
    char home[PATH_SIZE], programs[PATH_SIZE];
    struct stack stack;
    bool is_up;
};

/* ---- bench_home.c ---- */

/* A new home under $TMPDIR with the stack in it (Kafka with a large heap), our processes too if asked for, the default rule set
 * published. lens->config is of that home afterwards. */
enum ll_status bench_home_open(struct bench *bench, bool processes, struct ll_err *err);
/* Our processes too, in a home that was opened without them. */
enum ll_status bench_processes_up(struct bench *bench, struct ll_err *err);
/* Stops everything; removes the home unless it is kept. */
void bench_home_close(struct bench *bench);
/* Starts build/bin/lens-<name> in the home, its log in log/bench-<name>.log; 0 and words if it cannot. */
pid_t bench_spawn(struct bench *bench, const char *name, struct ll_err *err);
/* `lens bench load` as a process of its own, beside the measuring. */
pid_t bench_spawn_load(struct bench *bench, int64_t events, bool valid, struct ll_err *err);
/* True once it has ended; its exit code to *ret_code (128 + signal). */
bool bench_ended(pid_t pid, int *ret_code);
/* Asks it to end; waits, and kills it after ten seconds. pid 0: nothing. */
void bench_stop(pid_t pid);
/* The last line of a process's log, for errors. */
void bench_last_words(const struct bench *bench, const char *name, char *to, size_t size);
pid_t bench_service_pid(const struct bench *bench, enum stack_service service);

/* ---- bench_usage.c ---- */

/* CPU so far, of all threads; of the children too, those that have ended included (Postgres is many). */
int64_t bench_cpu_us(pid_t pid, bool with_children);
/* Highest resident memory so far; with children: of all now, shared pages once (Pss). */
int64_t bench_rss_kib(pid_t pid, bool with_children);
/* CPU by name of thread, of one process: {"rdk:broker1": us, ...}; the caller owns it. */
json_t *bench_threads(pid_t pid, int64_t events);

/* ---- bench_rate.c, bench_live.c ---- */
int bench_accrue(struct bench *bench);
int bench_line(struct bench *bench);
/* ---- bench_segment.c ---- */
int bench_segment(struct bench *bench);
int bench_latency(struct bench *bench);
int bench_recovery(struct bench *bench);
