#include "consumers/validate/validate.h"

#include "runtime/kafka.h"
#include "runtime/log.h"
#include "schemas/registry.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { PATH_SIZE = 2 * CONFIG_TEXT_SIZE, NAME_SIZE = 160, AGAIN_US = 500000 };

/* All that is opened, in this order, and closed in reverse. */
struct wiring {
    struct process *process;
    const struct config *config;
    struct clock_source clock;
    struct topics topics;
    struct settings settings;
    struct calendar *calendar;
    struct registry *registry;
    struct codec *codec;
    struct feed feed;
    struct bus_consumer consumer;
    struct bus_producer opening; /* until its transactions have begun */
    struct isolate *isolate;
    struct validate *validate;
    char group[NAME_SIZE], transactional_id[NAME_SIZE];
};

/* LENS_HOME/validation.conf if there is one, else the checked-in one. */
static enum ll_status load_settings(const struct config *config, struct settings *ret, struct ll_err *err)
{
    char path[PATH_SIZE];
    config_home_path(config, "validation.conf", path, sizeof path);
    if (access(path, F_OK) != 0)
        config_share_path(config, "deploy/validation.conf", path, sizeof path);
    return settings_load(path, ret, err);
}

static enum ll_status check(const struct config *config, struct ll_err *err)
{
    struct settings settings;
    enum ll_status status = load_settings(config, &settings, err);
    if (status == LL_OK)
        settings_done(&settings);
    return status;
}

static enum ll_status open_files(struct wiring *w, struct ll_err *err)
{
    char path[PATH_SIZE];
    enum ll_status status =
        topics_load(config_share_path(w->config, "topics.conf", path, sizeof path), &w->topics, err);
    if (status == LL_OK)
        status = load_settings(w->config, &w->settings, err);
    if (status == LL_OK)
        status = calendar_new(w->config->program.time_zone, &w->calendar, err);
    if (status == LL_OK && w->config->registry.url[0] != '\0')
        status = registry_open(w->config->registry.url, w->config->registry.timeout_ms, w->clock,
                               &w->registry, err);
    return status;
}

/* With a registry, our own schemas are looked up there: it may be down. */
static enum ll_status open_codec(struct wiring *w, struct ll_err *err)
{
    char path[PATH_SIZE];
    return w->codec != NULL ? LL_OK
                            : codec_new(config_share_path(w->config, "schemas", path, sizeof path),
                                        w->registry, &w->codec, err);
}

static enum ll_status begin_producer(struct wiring *w, struct ll_err *err)
{
    enum { PACE_MS = 10 }; /* at 20,000 sales a second a sale is in Redis after 40 ms (median); without, after 90 to 130 */
    return w->opening.ops != NULL
               ? LL_OK
               : kafka_producer_begin(w->config, w->transactional_id, PACE_MS, &w->opening, err);
}

static enum ll_status open_producer(void *arg, struct bus_producer *ret, struct ll_err *err)
{
    enum { LOOK_MS = 1 };
    struct wiring *w = arg;
    bool is_ready = false;
    enum ll_status status = begin_producer(w, err);
    if (status == LL_OK)
        status = kafka_producer_ready(&w->opening, LOOK_MS, &is_ready, err);
    if (is_ready) {
        *ret = w->opening;
        w->opening = (struct bus_producer){ 0 };
    }
    return status;
}

static enum ll_status open_services(struct wiring *w, struct ll_err *err)
{
    const char *instance = process_instance(w->process);
    bool named = strncmp(instance, "validate", 8) == 0;
    snprintf(w->group, sizeof w->group, "%svalidate", w->config->kafka.group_prefix);
    snprintf(w->transactional_id, sizeof w->transactional_id, "%s%s%s", w->config->kafka.group_prefix,
             named ? "" : "validate-", instance);
    struct kafka_consumer_options options = {
        .group = w->group,
        .instance = instance,
        .topics = VALIDATE_TOPICS,
        .topic_count = VALIDATE_TOPIC_COUNT,
    };
    enum ll_status status = open_codec(w, err);
    /* The feed asks and waits; the others find their coordinators meanwhile. */
    if (status == LL_OK)
        status = begin_producer(w, err);
    if (status == LL_OK && w->consumer.ops == NULL)
        status = kafka_consumer_open(w->config, &options, &w->consumer, err);
    if (status == LL_OK && w->feed.ops == NULL)
        status = feed_open(w->config, &w->topics, w->group, w->clock, &w->feed, err);
    return status;
}

static enum ll_status run(struct wiring *w, struct ll_err *err)
{
    enum ll_status status;
    while ((status = open_services(w, err)) == LL_RETRY && !process_stopping()) {
        process_waits_for(w->process, err->text);
        usleep(AGAIN_US);
    }
    if (status != LL_OK)
        return process_stopping() ? LL_OK : status;
    process_waits_for(w->process, NULL);
    w->isolate = isolate_start(w->config->home, process_instance(w->process), w->config->validate.hang_ms);
    struct validate_needs needs = {
        .config = w->config,
        .topics = &w->topics,
        .settings = &w->settings,
        .codec = w->codec,
        .calendar = w->calendar,
        .clock = w->clock,
        .consumer = w->consumer,
        .feed = w->feed,
        .group = w->group,
        .isolate = w->isolate,
        .process = w->process,
        .open_producer = open_producer,
        .arg = w,
    };
    w->validate = validate_new(&needs);
    process_ready(w->process, true);
    while (status == LL_OK && !process_stopping())
        status = validate_step(w->validate, err);
    return status == LL_OK ? validate_finish(w->validate, err) : status;
}

static void close_all(struct wiring *w)
{
    process_ready(w->process, false);
    validate_free(w->validate);
    if (w->opening.ops != NULL)
        w->opening.ops->close(w->opening.self);
    isolate_close(w->isolate);
    if (w->consumer.ops != NULL)
        w->consumer.ops->close(w->consumer.self);
    if (w->feed.ops != NULL)
        w->feed.ops->close(w->feed.self);
    codec_free(w->codec);
    registry_close(w->registry);
    calendar_free(w->calendar);
    settings_done(&w->settings);
    process_close(w->process);
}

int main(int argc, char **argv)
{
    static struct wiring w;
    struct ll_err err = {""};
    int code;
    w.process = process_open_checked(argc, argv, "validate", check, &code);
    if (w.process == NULL)
        return code;
    w.config = process_config(w.process);
    w.clock = clock_real();
    enum ll_status status = open_files(&w, &err);
    if (status == LL_OK)
        status = run(&w, &err);
    if (status != LL_OK)
        log_line(LOG_ERROR, "failed", "error=%s", log_quote_c(err.text));
    close_all(&w);
    return status == LL_OK ? 0 : 1;
}
