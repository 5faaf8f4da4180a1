#include "tests/sim/seed.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* splitmix64 */
uint32_t seed_random(struct sim_seed *seed, uint32_t below)
{
    uint64_t z = seed->random += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return (uint32_t)((z ^ (z >> 31)) >> 33) % below;
}

void seed_say(struct sim_seed *seed, const char *format, ...)
{
    if (seed->trace == NULL || seed->trace_size + 256 > SIM_TRACE_SIZE)
        return;
    char *to = seed->trace + seed->trace_size;
    int size = snprintf(to, 16, "%5lld ", (long long)seed->step);
    va_list arguments;
    va_start(arguments, format);
    size += vsnprintf(to + size, 200, format, arguments);
    va_end(arguments);
    size = size > 220 ? 220 : size;
    to[size] = '\n';
    seed->trace_size += (size_t)size + 1;
}

void seed_bad(struct sim_seed *seed, const char *format, ...)
{
    size_t at = strlen(seed->bad);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(seed->bad + at, sizeof seed->bad - at, format, arguments);
    va_end(arguments);
    at = strlen(seed->bad);
    if (at + 2 < sizeof seed->bad)
        memcpy(seed->bad + at, "\n", 2);
}

bool seed_fault_due(struct sim_seed *seed)
{
    if (seed->faults_left == 0 || seed_random(seed, seed->fault_of) >= seed->fault_odds)
        return false;
    seed->faults_left--;
    int number = seed->faults_due++;
    if (number < SIM_CUT_FAULTS_MAX && seed->cut.faults[number])
        return false;
    seed->faults_done++;
    return true;
}
