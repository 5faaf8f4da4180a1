/*
 * lens-sim [--seeds N] [--first S] [--faults N] [--bug NAME] [--trace]: runs the loops of accrue and of the relay in a simulated world.
 * A failing seed is printed; run again with --seeds 1 --first SEED --trace to see what happened.
 */
#include "tests/sim/world.h"

#include "runtime/log.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static enum sim_bug bug_called(const char *name)
{
    for (int i = 0; i < BUGS; i++)
        if (strcmp(sim_bug_names[i], name) == 0)
            return (enum sim_bug)i;
    fprintf(stderr, "no such bug: %s\n", name);
    exit(2);
}

int main(int argc, char **argv)
{
    static const struct option options[] = { { "seeds", required_argument, NULL, 'n' },
                                             { "first", required_argument, NULL, 's' },
                                             { "faults", required_argument, NULL, 'f' },
                                             { "bug", required_argument, NULL, 'b' },
                                             { "trace", no_argument, NULL, 't' },
                                             { NULL, 0, NULL, 0 } };
    long long seeds = 1000, first = 1;
    int faults = 8;
    enum sim_bug bug = BUG_NONE;
    struct sim_world *world = calloc(1, sizeof *world);
    bool trace = false;
    for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        switch (option) {
        case 'n': seeds = atoll(optarg); break;
        case 's': first = atoll(optarg); break;
        case 'f': faults = atoi(optarg); break;
        case 'b': bug = bug_called(optarg); break;
        case 't': trace = true; break;
        default: return 2;
        }
    }
    if (world == NULL)
        abort();
    if (trace)
        world->trace = malloc(SIM_TRACE_SIZE);
    setenv("LENS_LOG", "error", 0); /* faults are what it is about */
    log_init("sim");
    long long failed = 0, faults_done = 0, steps = 0, first_failed = -1;
    for (long long seed = first; seed < first + seeds; seed++) {
        bool good = sim_run(world, (uint64_t)seed, bug, faults);
        faults_done += world->faults_done;
        steps += world->step;
        if (trace)
            fwrite(world->trace, 1, world->trace_size, stdout);
        if (good)
            continue;
        failed++;
        if (first_failed < 0) {
            first_failed = seed;
            printf("seed %lld fails:\n%s", seed, world->bad);
        }
        if (bug != BUG_NONE)
            break;
    }
    if (bug != BUG_NONE)
        printf("bug %s: %s %lld seeds\n", sim_bug_names[bug], failed > 0 ? "found within" : "NOT found in",
               failed > 0 ? first_failed - first + 1 : seeds);
    else
        printf("%lld seeds, %lld faults, %lld steps, %lld failed\n", seeds, faults_done, steps, failed);
    sim_world_done(world);
    free(world);
    return (failed > 0) == (bug != BUG_NONE) ? 0 : 1;
}
