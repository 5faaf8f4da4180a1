#include "ops/verbs.h"

#include "ops/line.h"
#include "ops/options.h"
#include "ops/readyz.h"
#include "runtime/clock.h"

#include <getopt.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TIMEOUT_S = 600, TIMEOUT_S_MAX = 7 * 24 * 3600, POLL_MS = 200, STUCK_POLLS = 3 };

/* One leg of the way: who must pass the ends of one topic. */
struct leg {
    const char *process; /* in words */
    const char *service; /* its name; NULL: as in words */
    enum topic topic;
    enum ll_status (*ask)(struct line_view *view, struct line_part *part, struct ll_err *err);
    bool markers; /* the reader's position may stop below trailing transaction markers */
    struct line_part part;
    bool taken; /* its ends are known */
    int64_t behind;
    struct ll_err why; /* what its process says that it waits for; "": nothing */
};

struct way {
    struct line_view view;
    struct leg *legs;
    size_t count, at;
    int64_t started_ms, deadline_ms, asked_ms;
    int stuck;
};

/* A leg begins when the one before it is done: only then has everything that it must pass been written. */
static void plan(struct way *way)
{
    way->count = line_raw_topic_count + 4;
    way->legs = calloc(way->count, sizeof(*way->legs));
    if (way->legs == NULL)
        abort();
    for (size_t i = 0; i < line_raw_topic_count; i++)
        way->legs[i] = (struct leg){
            .process = "validate", .topic = line_raw_topics[i], .ask = line_validated, .markers = true
        };
    struct leg *last = &way->legs[line_raw_topic_count];
    last[0] = (struct leg){ .process = "validate (missing references)",
                            .service = "validate",
                            .topic = TOPIC_TRANSACTIONS_RETRY,
                            .ask = line_validated,
                            .markers = true };
    last[1] = (struct leg){ .process = "accrue", .topic = TOPIC_TRANSACTIONS_VALID, .ask = line_credited };
    last[2] = (struct leg){ .process = "redis", .service = "accrue", .topic = TOPIC_TRANSACTIONS_VALID, .ask = line_shown };
    last[3] = (struct leg){ .process = "relay", .topic = TOPIC_TRANSACTIONS_VALID, .ask = line_relayed };
}

/* The raw topics' ends are taken together at the start, those of the later legs when their turn comes. */
static enum ll_status take_ends(struct way *way, struct ll_err *err)
{
    size_t last = way->at < line_raw_topic_count ? line_raw_topic_count : way->at + 1;
    for (size_t i = way->at; i < last; i++) {
        struct leg *leg = &way->legs[i];
        if (leg->taken)
            continue;
        if (i > 0 && leg->topic == way->legs[i - 1].topic) { /* redis, relay: the same ends as accrue */
            leg->part = way->legs[i - 1].part;
            memcpy(leg->part.at, leg->part.low, sizeof(leg->part.at));
        } else {
            enum ll_status status = line_written(&way->view, leg->topic, &leg->part, err);
            if (status != LL_OK)
                return status;
            if (leg->part.partitions == 0 && leg->topic == TOPIC_TRANSACTIONS_VALID)
                return ll_fail(err, LL_FATAL, "kafka %s has no topic %s; `lens up` creates it",
                               way->view.lens->config.kafka.bootstrap, topic_name(leg->topic));
        }
        leg->taken = true;
    }
    return LL_OK;
}

static enum ll_status step(struct way *way, bool *ret_done, struct ll_err *err)
{
    enum ll_status status = take_ends(way, err);
    for (; status == LL_OK && way->at < way->count; way->at++) {
        struct leg *leg = &way->legs[way->at];
        if (!leg->taken)
            break;
        int64_t before = leg->behind;
        status = leg->ask(&way->view, &leg->part, err);
        leg->behind = line_behind(&leg->part);
        way->stuck = leg->behind == before ? way->stuck + 1 : 0;
        if (status == LL_OK && leg->behind > 0 && leg->markers && way->stuck >= STUCK_POLLS) {
            status = line_skip_markers(&way->view, &leg->part, err);
            leg->behind = line_behind(&leg->part);
            way->stuck = 0;
        }
        if (status != LL_OK || leg->behind > 0)
            break;
    }
    *ret_done = status == LL_OK && way->at == way->count;
    return status;
}

static void ask_why(const struct way *way, struct leg *leg)
{
    enum { WHY_MS = 500 };
    leg->why.text[0] = '\0';
    readyz_ask(&way->view.lens->config, leg->service != NULL ? leg->service : leg->process, WHY_MS, &leg->why);
}

static json_t *behind_json(const struct way *way)
{
    json_t *all = json_array();
    for (size_t i = way->at; i < way->count; i++)
        if (way->legs[i].taken && way->legs[i].behind > 0)
            json_array_append_new(all, json_pack("{s:s, s:s, s:I, s:s}", "process", way->legs[i].process, "topic",
                                                 topic_name(way->legs[i].topic), "records",
                                                 (json_int_t)way->legs[i].behind, "waits_for",
                                                 way->legs[i].why.text));
    return all;
}

static int finish(struct way *way, bool done, enum ll_status status, const struct ll_err *err)
{
    struct lens *lens = way->view.lens;
    int64_t ms = way->asked_ms - way->started_ms;
    lens_progress_end(lens);
    for (size_t i = way->at; i < way->count; i++)
        if (way->legs[i].taken && way->legs[i].behind > 0)
            ask_why(way, &way->legs[i]);
    if (lens->json)
        lens_print_json(lens, json_pack("{s:b, s:f, s:o}", "done", done, "seconds", (double)ms / 1000,
                                        "behind", behind_json(way)));
    if (done) {
        if (!lens->json)
            printf("all that was produced is credited (waited %lld.%lld s)\n", (long long)(ms / 1000),
                   (long long)(ms % 1000 / 100));
        return LENS_DONE;
    }
    if (status != LL_OK)
        return lens_end(lens, status, err);
    const struct leg *leg = &way->legs[way->at < way->count ? way->at : way->count - 1];
    char where[256] = "";
    size_t used = 0;
    for (int32_t p = 0; p < leg->part.partitions && used + 24 < sizeof(where); p++)
        if (leg->part.at[p] < leg->part.end[p])
            used += (size_t)snprintf(where + used, sizeof(where) - used, "%s%d at %lld of %lld",
                                     used > 0 ? ", " : "", p, (long long)leg->part.at[p],
                                     (long long)leg->part.end[p]);
    return lens_fail(
        lens, "after %lld s %s is still %s records behind in %s (partition %s)%s%s; see `lens status`",
        (long long)(ms / 1000), leg->process, lens_number(leg->behind), topic_name(leg->topic), where,
        leg->why.text[0] != '\0' ? ": " : "", leg->why.text);
}

static void show_progress(const struct way *way)
{
    struct leg *leg = &way->legs[way->at];
    leg->why.text[0] = '\0';
    if (way->view.lens->progress && way->stuck > 0)
        ask_why(way, leg);
    lens_progress(way->view.lens, "%s: %s records to go in %s%s%s", leg->process, lens_number(leg->behind),
                  topic_name(leg->topic), leg->why.text[0] != '\0' ? ": " : "", leg->why.text);
}

static int wait_for(struct lens *lens, int64_t timeout_s)
{
    struct clock_source clock = clock_real();
    struct way way = { 0 };
    struct ll_err err = { "" };
    int code = lens_end(lens, line_open(lens, &way.view, &err), &err);
    if (code != LENS_DONE)
        return code;
    plan(&way);
    way.started_ms = clock.steady_ms(clock.self);
    way.deadline_ms = way.started_ms + timeout_s * 1000;
    enum ll_status status;
    bool done = false;
    for (;;) {
        status = step(&way, &done, &err);
        way.asked_ms = clock.steady_ms(clock.self);
        if (done || (status != LL_OK && status != LL_RETRY) || way.asked_ms >= way.deadline_ms)
            break;
        if (status == LL_RETRY)
            lens_progress(lens, "%s", err.text);
        else
            show_progress(&way);
        poll(NULL, 0, POLL_MS);
    }
    code = finish(&way, done, status, &err);
    line_close(&way.view);
    free(way.legs);
    return code;
}

int verb_wait(struct lens *lens, int argc, char **argv)
{
    static const struct option options[] = { { "timeout", required_argument, NULL, 't' },
                                             { NULL, 0, NULL, 0 } };
    int64_t timeout_s = TIMEOUT_S;
    for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        if (option != 't')
            return LENS_USAGE;
        if (!option_int(optarg, 0, TIMEOUT_S_MAX, &timeout_s))
            return lens_usage(lens, "--timeout is a number of seconds up to %d, not \"%s\"", TIMEOUT_S_MAX,
                              optarg);
    }
    if (optind < argc)
        return lens_usage(lens, "takes no argument, got \"%s\"", argv[optind]);
    return wait_for(lens, timeout_s);
}
