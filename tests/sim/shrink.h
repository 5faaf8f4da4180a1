/*
 * shrink.h - what is left out of a run of the simulation, and the search for as little as still fails.
 * Shape:  a seed brings its events and faults in one order; a cut leaves some out by number, and may take another schedule
 *         (who goes on when, how far). sim_shrink drops events and faults, halves first and then one by one, as long as
 *         the run fails under some schedule. A cut is written as "e3-17,e20,f0,f2,s5", so that it can be run again.
 * Source: Zeller & Hildebrandt, "Simplifying and Isolating Failure-Inducing Input" (2002).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { SIM_TRACE_SIZE = 1 << 18, SIM_CUT_EVENTS_MAX = 256, SIM_CUT_FAULTS_MAX = 64, SIM_CUT_TEXT_SIZE = 2048 };

struct sim_cut {
    bool events[SIM_CUT_EVENTS_MAX], faults[SIM_CUT_FAULTS_MAX]; /* true: left out */
    uint32_t schedule;                                           /* 0: the seed's own */
};

struct sim_case {
    uint64_t seed;
    int bug, faults;
    struct sim_cut cut;
};

struct sim_result {
    bool good;
    const char *bad; /* what an invariant says */
    int events, faults;
    int64_t steps;
};

typedef void sim_run_fn(void *arg, const struct sim_case *run, struct sim_result *ret);

/* Makes the cut of a failing case as large as it gets. Returns how many runs that took; *ret is the last one's result. */
int64_t sim_shrink(sim_run_fn *run, void *arg, struct sim_case *failing, struct sim_result *ret);

bool sim_cut_parse(const char *text, struct sim_cut *ret);
char *sim_cut_write(const struct sim_cut *cut, char to[SIM_CUT_TEXT_SIZE]);
