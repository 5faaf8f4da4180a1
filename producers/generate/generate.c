#include "producers/generate/generate.h"

#include "producers/generate/sink.h"
#include "producers/generate/stream.h"
#include "producers/generate/truth.h"
#include "producers/generate/world.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

enum { START_DAY = 20458 /* 2026-01-05, a Monday */, DAYS_MAX = 3660, PROGRESS_EVERY = 4096 };
#define SALES_MAX INT64_C(100000000)

void generate_defaults(struct generate_options *ret)
{
    *ret = (struct generate_options){ .seed = 1,
                                      .start_day = START_DAY,
                                      .days = 14,
                                      .customers = 1000,
                                      .products = 300,
                                      .stores = 12,
                                      .sales = 10000,
                                      .defects_permyriad = 100,
                                      .returns_permyriad = 400,
                                      .duplicates_permyriad = 50,
                                      .currency = "GBP" };
}

static bool within(int64_t value, int64_t min, int64_t max)
{
    return value >= min && value <= max;
}

enum ll_status generate_check(const struct generate_options *options, struct ll_err *err)
{
    if (!within(options->days, 1, DAYS_MAX))
        return ll_fail(err, LL_FATAL, "days must be from 1 to %d", DAYS_MAX);
    if (!within(options->customers, 1, WORLD_CUSTOMERS_MAX))
        return ll_fail(err, LL_FATAL, "customers must be from 1 to %d", WORLD_CUSTOMERS_MAX);
    if (!within(options->products, 2 * MADE_LINES_MAX, WORLD_PRODUCTS_MAX))
        return ll_fail(err, LL_FATAL, "products must be from %d to %d", 2 * MADE_LINES_MAX,
                       WORLD_PRODUCTS_MAX);
    if (!within(options->stores, 1, WORLD_STORES_MAX))
        return ll_fail(err, LL_FATAL, "stores must be from 1 to %d", WORLD_STORES_MAX);
    if (!within(options->sales, 0, SALES_MAX))
        return ll_fail(err, LL_FATAL, "sales must be from 0 to %" PRId64, SALES_MAX);
    if (!within(options->defects_permyriad, 0, 10000) || !within(options->returns_permyriad, 0, 10000) ||
        !within(options->duplicates_permyriad, 0, 10000))
        return ll_fail(err, LL_FATAL, "shares must be from 0 to 100 percent");
    if (options->out[0] == '\0')
        return ll_fail(err, LL_FATAL, "name the directory for the files: --out DIR");
    return LL_OK;
}

static enum ll_status make_directory(const char *path, struct ll_err *err)
{
    if (mkdir(path, 0777) != 0 && errno != EEXIST)
        return ll_fail(err, LL_FATAL, "%s: %s", path, strerror(errno));
    return LL_OK;
}

static enum ll_status write_all(const struct generate_options *options, const struct world *world,
                                struct sink *sink, struct truth *truth, generate_progress_fn *progress,
                                void *arg, struct ll_err *err)
{
    enum ll_status status = references_write(options, world, sink, truth, err);
    struct stream *stream = stream_new(options, world);
    const struct made *made;
    for (int64_t sales = 0; status == LL_OK && stream_next(stream, &made);) {
        struct placed placed = { 0 };
        status = sink->ops->transaction(sink->self, made, &placed, err);
        truth_take(truth, made, &placed);
        sales += made->type == TRANSACTION_SALE;
        if (progress != NULL && sales % PROGRESS_EVERY == 0)
            progress(arg, sales, options->sales);
    }
    stream_free(stream);
    return status == LL_OK ? sink->ops->finish(sink->self, err) : status;
}

enum ll_status generate_run(const struct generate_options *options, const struct config *config,
                            generate_progress_fn *progress, void *arg, struct generate_result *ret,
                            struct ll_err *err)
{
    enum ll_status status = generate_check(options, err);
    if (status == LL_OK)
        status = make_directory(options->out, err);
    struct truth *truth = NULL;
    if (status == LL_OK)
        status = truth_new(options, &truth, err);
    struct sink sink = { NULL, NULL };
    if (status == LL_OK)
        status = options->topics ? sink_topics_open(options, config, &sink, err)
                                 : sink_csv_open(options, &sink, err);
    if (status == LL_OK) {
        const struct world_options world_options = {
            options->seed,      options->start_day, options->days,
            options->customers, options->products,  options->stores
        };
        struct world *world = world_new(&world_options);
        status = write_all(options, world, &sink, truth, progress, arg, err);
        world_free(world);
        sink.ops->close(sink.self);
    }
    if (status == LL_OK)
        status = truth_finish(truth, ret, err);
    truth_free(truth);
    return status;
}
