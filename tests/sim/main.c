/*
 * lens-sim [--validate] [--seeds N] [--first S] [--faults N] [--bug NAME] [--shrink] [--trace] [--cut TEXT]: runs the loops of
 * accrue and of the relay in a simulated world, or with --validate that of validate in another. A failing seed is printed; with --seeds 1 --first SEED --trace it shows what happened, with
 * --shrink it is shortened first, and the cut that is printed then runs the short one again.
 */
#include "tests/sim/valid.h"
#include "tests/sim/world.h"

#include "runtime/log.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct options {
    long long seeds, first;
    int faults;
    int bug; /* of the world */
    bool validate, trace, shrink;
    struct sim_cut cut;
};

/* Its name says which world it is planted in. */
static bool find_bug(const char *name, struct options *ret)
{
    for (int i = 0; i < BUGS; i++)
        if (strcmp(sim_bug_names[i], name) == 0) {
            ret->bug = i;
            return true;
        }
    for (int i = 0; i < VALID_BUGS; i++)
        if (strcmp(valid_bug_names[i], name) == 0) {
            ret->bug = i;
            ret->validate = true;
            return true;
        }
    fprintf(stderr, "no such bug: %s\n", name);
    return false;
}

static const char *bug_name(const struct options *options)
{
    return options->validate ? valid_bug_names[options->bug] : sim_bug_names[options->bug];
}

static bool parse(int argc, char **argv, struct options *ret)
{
    static const struct option options[] = { { "validate", no_argument, NULL, 'v' },
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
        case 'v': ret->validate = true; break;
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
    struct sim_world *accrue;
    struct valid_world *validate;
    char *trace;
    bool traces;
};

static void run_validate(struct worlds *worlds, const struct sim_case *run, struct sim_result *ret)
{
    struct valid_world *world = worlds->validate;
    world->seed.trace = worlds->traces ? worlds->trace : NULL;
    ret->good = valid_run(world, run);
    if (ret->good && run->seed % 16 == 0) { /* now and then once more: the same seed must give the same logs */
        uint64_t hash = world->hash;
        ret->good = valid_run(world, run);
        if (ret->good && world->hash != hash) {
            seed_bad(&world->seed, "the same seed gives other logs");
            ret->good = false;
        }
    }
    ret->bad = world->seed.bad;
    ret->faults = world->seed.faults_done;
    ret->steps = world->seed.step;
    ret->events = world->event_count;
    world->seed.trace = NULL;
}

static void run_one(void *arg, const struct sim_case *run, struct sim_result *ret)
{
    struct worlds *worlds = arg;
    struct sim_world *world = worlds->accrue;
    if (worlds->validate != NULL) {
        run_validate(worlds, run, ret);
        return;
    }
    world->seed.trace = worlds->traces ? worlds->trace : NULL;
    ret->good = sim_run(world, run);
    ret->bad = world->seed.bad;
    ret->faults = world->seed.faults_done;
    ret->steps = world->seed.step;
    ret->events = 0;
    for (int p = 0; p < SIM_PARTITIONS; p++)
        ret->events += (int)world->logs[p].count;
    world->seed.trace = NULL;
}

static void print_trace(const struct worlds *worlds)
{
    fwrite(worlds->trace, 1, worlds->validate != NULL ? worlds->validate->seed.trace_size : worlds->accrue->seed.trace_size, stdout);
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
    printf("again: lens-sim%s --seeds 1 --first %llu --faults %d%s%s --cut %s --trace\n", options->validate ? " --validate" : "",
           (unsigned long long)failing.seed, failing.faults, options->bug != 0 ? " --bug " : "",
           options->bug != 0 ? bug_name(options) : "", cut);
}

static void worlds_open(struct worlds *worlds, const struct options *options)
{
    *worlds = (struct worlds){ .traces = options->trace };
    if (options->validate)
        worlds->validate = calloc(1, sizeof *worlds->validate);
    else
        worlds->accrue = calloc(1, sizeof *worlds->accrue);
    worlds->trace = malloc(SIM_TRACE_SIZE);
    if ((worlds->validate == NULL && worlds->accrue == NULL) || worlds->trace == NULL)
        abort();
}

static void worlds_close(struct worlds *worlds)
{
    if (worlds->validate != NULL)
        valid_world_done(worlds->validate);
    else
        sim_world_done(worlds->accrue);
    free(worlds->validate);
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
        printf("bug %s: %s %lld seeds\n", bug_name(&options), failed > 0 ? "found within" : "NOT found in",
               failed > 0 ? first_failed - options.first + 1 : options.seeds);
    else
        printf("%lld seeds, %lld faults, %lld steps, %lld failed\n", options.seeds, faults_done, steps, failed);
    worlds_close(&worlds);
    return (failed > 0) == (options.bug != 0) ? 0 : 1;
}
