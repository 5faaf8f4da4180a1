/*
 * lens-sim [--validate | --segment] [--seeds N] [--first S] [--faults N] [--bug NAME] [--shrink] [--trace] [--cut TEXT]: runs
 * the loops of accrue and of the relay in a simulated world, or that of validate or of segment in another. A failing seed is
 * printed; with --seeds 1 --first SEED --trace it shows what happened, with --shrink it is shortened first, and the cut that is
 * printed then runs the short one again.
 */
#include "tests/sim/seg.h"
#include "tests/sim/valid.h"
#include "tests/sim/world.h"

#include "runtime/log.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum kind { ACCRUE, VALIDATE, SEGMENT, KINDS };

static const struct kind_fact {
    const char *option;
    const char *const *bugs;
    int bug_count;
} kinds[KINDS] = { [ACCRUE] = { "", sim_bug_names, BUGS },
                   [VALIDATE] = { " --validate", valid_bug_names, VALID_BUGS },
                   [SEGMENT] = { " --segment", seg_bug_names, SEG_BUGS } };

struct options {
    long long seeds, first;
    int faults;
    int bug; /* of the world */
    enum kind kind;
    bool trace, shrink;
    struct sim_cut cut;
};

/* Its name says which world it is planted in. */
static bool find_bug(const char *name, struct options *ret)
{
    for (enum kind kind = 0; kind < KINDS; kind++)
        for (int i = 0; i < kinds[kind].bug_count; i++)
            if (strcmp(kinds[kind].bugs[i], name) == 0) {
                ret->bug = i;
                ret->kind = kind;
                return true;
            }
    fprintf(stderr, "no such bug: %s\n", name);
    return false;
}

static bool parse(int argc, char **argv, struct options *ret)
{
    static const struct option options[] = { { "validate", no_argument, NULL, 'v' },
                                             { "segment", no_argument, NULL, 'g' },
                                             { "seeds", required_argument, NULL, 'n' },
                                             { "first", required_argument, NULL, 's' },
                                             { "faults", required_argument, NULL, 'f' },
                                             { "bug", required_argument, NULL, 'b' },
                                             { "cut", required_argument, NULL, 'c' },
                                             { "shrink", no_argument, NULL, 'k' },
                                             { "trace", no_argument, NULL, 't' },
                                             { NULL, 0, NULL, 0 } };
    *ret = (struct options){ .seeds = 1000, .first = 1, .faults = 8 };
    for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        switch (option) {
        case 'n': ret->seeds = atoll(optarg); break;
        case 's': ret->first = atoll(optarg); break;
        case 'f': ret->faults = atoi(optarg); break;
        case 'b':
            if (!find_bug(optarg, ret))
                return false;
            break;
        case 'v': ret->kind = VALIDATE; break;
        case 'g': ret->kind = SEGMENT; break;
        case 'c':
            if (!sim_cut_parse(optarg, &ret->cut)) {
                fprintf(stderr, "no cut: %s\n", optarg);
                return false;
            }
            break;
        case 'k': ret->shrink = true; break;
        case 't': ret->trace = true; break;
        default: return false;
        }
    }
    return true;
}

/* One of them is run. */
struct worlds {
    enum kind kind;
    struct sim_world *accrue;
    struct valid_world *validate;
    struct seg_world *segment;
    struct sim_seed *seed; /* of that one */
    char *trace;
    bool traces;
};

static bool run_world(struct worlds *worlds, const struct sim_case *run)
{
    switch (worlds->kind) {
    case VALIDATE: return valid_run(worlds->validate, run);
    case SEGMENT: return seg_run(worlds->segment, run);
    case ACCRUE:
    case KINDS: break;
    }
    return sim_run(worlds->accrue, run);
}

static int events_of(const struct worlds *worlds)
{
    int events = 0;
    if (worlds->kind == VALIDATE)
        return worlds->validate->event_count;
    if (worlds->kind == SEGMENT) {
        for (int i = 0; i < worlds->segment->row_count + worlds->segment->late_count; i++)
            events += worlds->segment->rows[i].partition >= 0;
        return events;
    }
    for (int p = 0; p < SIM_PARTITIONS; p++)
        events += (int)worlds->accrue->logs[p].count;
    return events;
}

static void run_one(void *arg, const struct sim_case *run, struct sim_result *ret)
{
    struct worlds *worlds = arg;
    worlds->seed->trace = worlds->traces ? worlds->trace : NULL;
    ret->good = run_world(worlds, run);
    if (ret->good && worlds->kind == VALIDATE && run->seed % 16 == 0) {
        /* now and then once more: the same seed must give the same logs */
        uint64_t hash = worlds->validate->hash;
        ret->good = run_world(worlds, run);
        if (ret->good && worlds->validate->hash != hash) {
            seed_bad(worlds->seed, "the same seed gives other logs");
            ret->good = false;
        }
    }
    ret->bad = worlds->seed->bad;
    ret->faults = worlds->seed->faults_done;
    ret->steps = worlds->seed->step;
    ret->events = events_of(worlds);
    worlds->seed->trace = NULL;
}

static void print_trace(const struct worlds *worlds)
{
    fwrite(worlds->trace, 1, worlds->seed->trace_size, stdout);
}

/* The same failure with as few events and faults as possible, and how to see it again. */
static void shrink(struct worlds *worlds, const struct options *options, struct sim_case failing)
{
    struct sim_result result, before;
    char cut[SIM_CUT_TEXT_SIZE];
    worlds->traces = false; /* not of every try */
    run_one(worlds, &failing, &before);
    int64_t runs = sim_shrink(run_one, worlds, &failing, &result);
    worlds->traces = options->trace;
    if (!sim_cut_parse(sim_cut_write(&failing.cut, cut), &failing.cut))
        abort();
    run_one(worlds, &failing, &result); /* what is printed here is what runs again */
    if (options->trace)
        print_trace(worlds);
    printf("shortened in %lld runs from %d events, %d faults, %lld steps to %d events, %d faults, %lld steps:\n%s",
           (long long)runs, before.events, before.faults, (long long)before.steps, result.events, result.faults,
           (long long)result.steps, result.bad);
    printf("again: lens-sim%s --seeds 1 --first %llu --faults %d%s%s --cut %s --trace\n", kinds[options->kind].option,
           (unsigned long long)failing.seed, failing.faults, options->bug != 0 ? " --bug " : "",
           options->bug != 0 ? kinds[options->kind].bugs[options->bug] : "", cut);
}

static void *fresh(size_t size)
{
    void *memory = calloc(1, size);
    if (memory == NULL)
        abort();
    return memory;
}

static void worlds_open(struct worlds *worlds, const struct options *options)
{
    *worlds = (struct worlds){ .kind = options->kind, .traces = options->trace };
    switch (options->kind) {
    case VALIDATE:
        worlds->validate = fresh(sizeof *worlds->validate);
        worlds->seed = &worlds->validate->seed;
        break;
    case SEGMENT:
        worlds->segment = fresh(sizeof *worlds->segment);
        worlds->seed = &worlds->segment->seed;
        break;
    case ACCRUE:
    case KINDS:
        worlds->accrue = fresh(sizeof *worlds->accrue);
        worlds->seed = &worlds->accrue->seed;
        break;
    }
    worlds->trace = fresh(SIM_TRACE_SIZE);
}

static void worlds_close(struct worlds *worlds)
{
    if (worlds->validate != NULL)
        valid_world_done(worlds->validate);
    if (worlds->segment != NULL)
        seg_world_done(worlds->segment);
    if (worlds->accrue != NULL)
        sim_world_done(worlds->accrue);
    free(worlds->validate);
    free(worlds->segment);
    free(worlds->accrue);
    free(worlds->trace);
}

int main(int argc, char **argv)
{
    struct options options;
    struct worlds worlds;
    if (!parse(argc, argv, &options))
        return 2;
    worlds_open(&worlds, &options);
    setenv("LENS_LOG", "error", 0); /* faults are what it is about */
    log_init("sim");
    long long failed = 0, faults_done = 0, steps = 0, first_failed = -1;
    for (long long seed = options.first; seed < options.first + options.seeds; seed++) {
        struct sim_case run = { .seed = (uint64_t)seed, .bug = options.bug, .faults = options.faults, .cut = options.cut };
        struct sim_result result;
        run_one(&worlds, &run, &result);
        faults_done += result.faults;
        steps += result.steps;
        if (options.trace && (result.good || !options.shrink))
            print_trace(&worlds);
        if (result.good)
            continue;
        failed++;
        if (first_failed < 0) {
            first_failed = seed;
            printf("seed %lld fails:\n%s", seed, result.bad);
            if (options.shrink)
                shrink(&worlds, &options, run);
        }
        if (options.bug != 0)
            break;
    }
    if (options.bug != 0)
        printf("bug %s: %s %lld seeds\n", kinds[options.kind].bugs[options.bug], failed > 0 ? "found within" : "NOT found in",
               failed > 0 ? first_failed - options.first + 1 : options.seeds);
    else
        printf("%lld seeds, %lld faults, %lld steps, %lld failed\n", options.seeds, faults_done, steps, failed);
    worlds_close(&worlds);
    return (failed > 0) == (options.bug != 0) ? 0 : 1;
}
