/*
 * seed.h - what every simulated world has: the seed's random numbers, its faults, what is said of the run, and what is wrong.
 */
#pragma once

#include "tests/sim/shrink.h"

enum { SIM_BAD_SIZE = 1024 };

struct sim_seed {
    uint64_t random;
    int64_t step;
    int faults_left, faults_done, faults_due;
    uint32_t fault_odds, fault_of; /* a fault in so many of so many calls */
    struct sim_cut cut;
    char *trace; /* SIM_TRACE_SIZE; NULL: none is kept */
    size_t trace_size;
    char bad[SIM_BAD_SIZE]; /* what an invariant says; empty: all hold */
};

uint32_t seed_random(struct sim_seed *seed, uint32_t below);
void seed_say(struct sim_seed *seed, const char *format, ...) __attribute__((format(printf, 2, 3)));
void seed_bad(struct sim_seed *seed, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Is it time for a fault? Counts it, and leaves it out where the cut says so. */
bool seed_fault_due(struct sim_seed *seed);
