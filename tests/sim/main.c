/*
 * lens-sim [--seeds N] [--first S] [--faults N] [--bug NAME] [--shrink] [--trace] [--cut TEXT]: runs the loops of accrue and
 * of the relay in a simulated world. A failing seed is printed; with --seeds 1 --first SEED --trace it shows what happened, with
 * --shrink it is shortened first, and the cut that is printed then runs the short one again.
 */
#include "tests/sim/world.h"

#include "runtime/log.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct options {
    long long seeds, first;
    int faults;
    enum sim_bug bug;
    bool trace, shrink;
    struct sim_cut cut;
};

static enum sim_bug bug_called(const char *name)
{
    for (int i = 0; i < BUGS; i++)
        if (strcmp(sim_bug_names[i], name) == 0)
            return (enum sim_bug)i;
    fprintf(stderr, "no such bug: %s\n", name);
    exit(2);
}

static bool parse(int argc, char **argv, struct options *ret)
{
    static const struct option options[] = { { "seeds", required_argument, NULL, 'n' },
                                             { "first", required_argument, NULL, 's' },
                                             { "faults", required_argument, NULL, 'f' },
                                             { "bug", required_argument, NULL, 'b' },
                                             { "cut", required_argument, NULL, 'c' },
                                             { "shrink", no_argument, NULL, 'k' },
                                             { "trace", no_argument, NULL, 't' },
                                             { NULL, 0, NULL, 0 } };
    *ret = (struct options){ .seeds = 1000, .first = 1, .faults = 8, .bug = BUG_NONE };
    for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        switch (option) {
        case 'n': ret->seeds = atoll(optarg); break;
        case 's': ret->first = atoll(optarg); break;
        case 'f': ret->faults = atoi(optarg); break;
        case 'b': ret->bug = bug_called(optarg); break;
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

static void run_one(void *arg, const struct sim_case *run, struct sim_result *ret)
{
    struct sim_world *world = arg;
    ret->good = sim_run(world, run);
    ret->bad = world->bad;
    ret->faults = world->faults_done;
    ret->steps = world->step;
    ret->events = 0;
    for (int p = 0; p < SIM_PARTITIONS; p++)
        ret->events += (int)world->logs[p].count;
}

static void print_trace(const struct sim_world *world)
{
    fwrite(world->trace, 1, world->trace_size, stdout);
}

/* The same failure with as few events and faults as possible, and how to see it again. */
static void shrink(struct sim_world *world, const struct options *options, struct sim_case failing)
{
    struct sim_result result, before;
    char cut[SIM_CUT_TEXT_SIZE], *trace = world->trace;
    world->trace = NULL; /* not of every try */
    run_one(world, &failing, &before);
    int64_t runs = sim_shrink(run_one, world, &failing, &result);
    world->trace = trace;
    if (!sim_cut_parse(sim_cut_write(&failing.cut, cut), &failing.cut))
        abort();
    run_one(world, &failing, &result); /* what is printed here is what runs again */
    if (options->trace)
        print_trace(world);
    printf("shortened in %lld runs from %d events, %d faults, %lld steps to %d events, %d faults, %lld steps:\n%s",
           (long long)runs, before.events, before.faults, (long long)before.steps, result.events, result.faults,
           (long long)result.steps, result.bad);
    printf("again: lens-sim --seeds 1 --first %llu --faults %d%s%s --cut %s --trace\n", (unsigned long long)failing.seed,
           failing.faults, failing.bug != BUG_NONE ? " --bug " : "", failing.bug != BUG_NONE ? sim_bug_names[failing.bug] : "",
           cut);
}

int main(int argc, char **argv)
{
    struct options options;
    struct sim_world *world = calloc(1, sizeof *world);
    if (world == NULL)
        abort();
    if (!parse(argc, argv, &options))
        return 2;
    if (options.trace)
        world->trace = malloc(SIM_TRACE_SIZE);
    setenv("LENS_LOG", "error", 0); /* faults are what it is about */
    log_init("sim");
    long long failed = 0, faults_done = 0, steps = 0, first_failed = -1;
    for (long long seed = options.first; seed < options.first + options.seeds; seed++) {
        struct sim_case run = { .seed = (uint64_t)seed, .bug = (int)options.bug, .faults = options.faults, .cut = options.cut };
        struct sim_result result;
        run_one(world, &run, &result);
        faults_done += result.faults;
        steps += result.steps;
        if (options.trace && (result.good || !options.shrink))
            print_trace(world);
        if (result.good)
            continue;
        failed++;
        if (first_failed < 0) {
            first_failed = seed;
            printf("seed %lld fails:\n%s", seed, result.bad);
            if (options.shrink)
                shrink(world, &options, run);
        }
        if (options.bug != BUG_NONE)
            break;
    }
    if (options.bug != BUG_NONE)
        printf("bug %s: %s %lld seeds\n", sim_bug_names[options.bug], failed > 0 ? "found within" : "NOT found in",
               failed > 0 ? first_failed - options.first + 1 : options.seeds);
    else
        printf("%lld seeds, %lld faults, %lld steps, %lld failed\n", options.seeds, faults_done, steps, failed);
    sim_world_done(world);
    free(world);
    return (failed > 0) == (options.bug != BUG_NONE) ? 0 : 1;
}
