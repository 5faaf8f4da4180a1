#include "tests/sim/shrink.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SCHEDULES = 40 };

struct search {
    sim_run_fn *run;
    void *arg;
    struct sim_case best;
    struct sim_result result; /* of best */
    int64_t runs;
};

static bool is_shorter(const struct sim_result *a, const struct sim_result *b)
{
    if (a->faults != b->faults)
        return a->faults < b->faults;
    if (a->events != b->events)
        return a->events < b->events;
    return a->steps < b->steps;
}

/* Does it fail, under its schedule or another one? Then it is the best, if it is shorter. */
static bool try_case(struct search *search, struct sim_case candidate)
{
    uint32_t own = candidate.cut.schedule;
    for (uint32_t i = 0; i < SCHEDULES; i++) {
        struct sim_result result;
        candidate.cut.schedule = i == 0 ? own : own == i ? 0 : i;
        search->run(search->arg, &candidate, &result);
        search->runs++;
        if (!result.good && is_shorter(&result, &search->result)) {
            search->best = candidate;
            search->result = result;
            return true;
        }
    }
    return false;
}

/* Leaves out runs of what is still there: halves of all first, single ones in the end. */
static bool drop_some(struct search *search, size_t at, size_t count)
{
    bool any = false;
    for (size_t width = count / 2; width > 0; width /= 2)
        for (size_t first = 0; first < count; first += width) {
            struct sim_case candidate = search->best;
            bool *left_out = (bool *)((char *)&candidate.cut + at);
            bool drops = false;
            for (size_t i = first; i < first + width && i < count; i++) {
                drops = drops || !left_out[i];
                left_out[i] = true;
            }
            any = (drops && try_case(search, candidate)) || any;
        }
    return any;
}

int64_t sim_shrink(sim_run_fn *run, void *arg, struct sim_case *failing, struct sim_result *ret)
{
    struct search search = { .run = run, .arg = arg, .best = *failing, .runs = 1 };
    run(arg, failing, &search.result);
    size_t faults = failing->faults < SIM_CUT_FAULTS_MAX ? (size_t)failing->faults : SIM_CUT_FAULTS_MAX;
    bool any = !search.result.good;
    while (any) {
        any = drop_some(&search, offsetof(struct sim_cut, faults), faults);
        any = drop_some(&search, offsetof(struct sim_cut, events), SIM_CUT_EVENTS_MAX) || any;
    }
    /* What never came needs no mention, and fewer steps are easier to read. */
    while (!search.result.good && try_case(&search, search.best)) {}
    *failing = search.best;
    run(arg, failing, ret);
    return search.runs + 1;
}

static bool parse_set(const char **at, bool *set, size_t size)
{
    char *end;
    unsigned long first = strtoul(*at, &end, 10), last = first;
    if (end == *at)
        return false;
    if (*end == '-') {
        const char *second = end + 1;
        last = strtoul(second, &end, 10);
        if (end == second)
            return false;
    }
    if (first > last || last >= size)
        return false;
    for (unsigned long i = first; i <= last; i++)
        set[i] = true;
    *at = end;
    return true;
}

bool sim_cut_parse(const char *text, struct sim_cut *ret)
{
    *ret = (struct sim_cut){ .schedule = 0 };
    for (const char *at = text; *at != '\0';) {
        char what = *at++;
        bool is_good = what == 'e' ? parse_set(&at, ret->events, SIM_CUT_EVENTS_MAX)
                                   : what == 'f' && parse_set(&at, ret->faults, SIM_CUT_FAULTS_MAX);
        if (what == 's') {
            char *end;
            ret->schedule = (uint32_t)strtoul(at, &end, 10);
            is_good = end != at;
            at = end;
        }
        if (!is_good || (*at != ',' && *at != '\0'))
            return false;
        at += *at == ',';
    }
    return true;
}

static size_t write_set(char *to, size_t used, char what, const bool *set, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        size_t first = i;
        while (i < size && set[i])
            i++;
        if (i == first || used + 32 > SIM_CUT_TEXT_SIZE)
            continue;
        used += (size_t)sprintf(to + used, "%s%c%zu", used == 0 ? "" : ",", what, first);
        if (i - first > 1)
            used += (size_t)sprintf(to + used, "-%zu", i - 1);
    }
    return used;
}

char *sim_cut_write(const struct sim_cut *cut, char to[SIM_CUT_TEXT_SIZE])
{
    to[0] = '\0';
    size_t used = write_set(to, 0, 'e', cut->events, SIM_CUT_EVENTS_MAX);
    used = write_set(to, used, 'f', cut->faults, SIM_CUT_FAULTS_MAX);
    if (cut->schedule != 0)
        sprintf(to + used, "%ss%u", used == 0 ? "" : ",", cut->schedule);
    return to;
}
