#include "ops/bench.h"
#include "ops/verbs.h"

#include "ops/options.h"
#include "runtime/process.h"

#include <getopt.h>
#include <stdio.h>
#include <string.h>

enum { CUSTOMERS = 200000, RATE = 20000, SECONDS = 15 };
static const int64_t EVENTS = 3000000, EVENTS_MAX = 1000000000;

/* Onto the topics of whatever home is configured: a load beside which something else is measured, or tried by hand. */
static int load(struct bench *bench)
{
    struct bench_truth truth;
    struct ll_err err = { "" };
    enum ll_status status = bench_load(&bench->lens->config, bench->events, bench->seed, bench->customers,
                                       bench->valid, bench->rate_per_s, &truth, &err);
    if (status != LL_OK)
        return lens_end(bench->lens, status, &err);
    double seconds = (double)(truth.elapsed_ms > 0 ? truth.elapsed_ms : 1) / 1000;
    if (bench->lens->json)
        return lens_print_json(bench->lens,
                               json_pack("{s:I, s:I, s:I, s:I, s:I, s:f}", "events", (json_int_t)truth.events,
                                         "anonymous", (json_int_t)truth.anonymous, "net_minor",
                                         (json_int_t)truth.net_minor, "points", (json_int_t)truth.points,
                                         "value_size", (json_int_t)truth.value_size, "seconds", seconds));
    printf("%s events in %.1f s (%s a second), %s points must come out\n", lens_number(truth.events), seconds,
           lens_number((int64_t)((double)truth.events / seconds)), lens_number(truth.points));
    return LENS_DONE;
}

static int parse(struct lens *lens, int argc, char **argv, struct bench *ret)
{
    static const struct option options[] = {
        { "events", required_argument, NULL, 'e' }, { "customers", required_argument, NULL, 'c' },
        { "rate", required_argument, NULL, 'r' },   { "seconds", required_argument, NULL, 's' },
        { "seed", required_argument, NULL, 'd' },   { "keep", no_argument, NULL, 'k' },
        { "valid", no_argument, NULL, 'v' },        { NULL, 0, NULL, 0 },
    };
    int64_t seed = 1;
    *ret = (struct bench){
        .lens = lens, .events = EVENTS, .customers = CUSTOMERS, .rate_per_s = -1, .seconds = SECONDS
    };
    for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        bool good = option != '?';
        if (option == 'e')
            good = option_int(optarg, 1, EVENTS_MAX, &ret->events);
        else if (option == 'c')
            good = option_int(optarg, 1, 99999999, &ret->customers);
        else if (option == 'r')
            good = option_int(optarg, 0, 10000000, &ret->rate_per_s);
        else if (option == 's')
            good = option_int(optarg, 1, 3600, &ret->seconds);
        else if (option == 'd')
            good = option_int(optarg, 0, INT64_C(1) << 32, &seed);
        ret->keep = ret->keep || option == 'k';
        ret->valid = ret->valid || option == 'v';
        if (!good)
            return option == '?' ? LENS_USAGE
                                 : lens_usage(lens, "\"%s\" is no number that fits here", optarg);
    }
    ret->seed = (uint64_t)seed;
    return LENS_DONE;
}

int verb_bench(struct lens *lens, int argc, char **argv)
{
    static const struct {
        const char *name;
        int (*run)(struct bench *bench);
        int64_t rate_per_s; /* where none is given */
    } benches[] = { { "accrue", bench_accrue, 0 },
                    { "line", bench_line, 0 },
                    { "latency", bench_latency, RATE },
                    { "recovery", bench_recovery, RATE },
                    { "segment", bench_segment, 0 },
                    { "load", load, 0 } };
    static struct bench bench;
    int code = parse(lens, argc, argv, &bench);
    if (code != LENS_DONE)
        return code;
    if (optind + 1 != argc)
        return lens_usage(lens, "takes one of accrue, line, latency, recovery, segment, load");
    for (size_t i = 0; i < sizeof(benches) / sizeof(benches[0]); i++) {
        if (strcmp(argv[optind], benches[i].name) != 0)
            continue;
        if (bench.rate_per_s < 0)
            bench.rate_per_s = benches[i].rate_per_s;
        process_take_signals();
        code = benches[i].run(&bench);
        bench_home_close(&bench);
        return code;
    }
    return lens_usage(lens, "there is no \"bench %s\"", argv[optind]);
}
