/*
 * lens-notify: letters about points and standing, each once, to whom they may go. Wiring only; notify.h says what it does.
 */
#include "consumers/notify/address.h"
#include "consumers/notify/mime.h"
#include "consumers/notify/notify.h"
#include "runtime/kafka.h"
#include "runtime/log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NAME_SIZE = 160, PATH_SIZE = 2 * CONFIG_TEXT_SIZE, AGAIN_MS = 500, IDLE_MS = 200 };

/* All that is opened, in this order, and closed in reverse. */
struct wiring {
    struct process *process;
    const struct config *config;
    struct letters letters;
    struct token_key key;
    struct calendar *calendar;
    struct notify notify;
    char group[NAME_SIZE];
};

static const char *letters_folder(const struct config *config, char to[PATH_SIZE])
{
    if (config->notify.letters_dir[0] == '\0')
        return config_share_path(config, "deploy/letters", to, PATH_SIZE);
    snprintf(to, PATH_SIZE, "%s", config->notify.letters_dir);
    return to;
}

/* What of settings and templates can be wrong without a connection. */
static enum ll_status check(const struct config *config, struct ll_err *err)
{
    static struct letters letters;
    char path[PATH_SIZE];
    const char *url = config->notify.unsubscribe_url;
    if (!address_valid(text_of(config->notify.from_address)))
        return ll_fail(err, LL_FATAL, "notify.from_address: \"%s\" is no address",
                       config->notify.from_address);
    if (strncmp(url, "https://", 8) != 0 || !mime_url_valid(text_of(url)))
        return ll_fail(
            err, LL_FATAL,
            "notify.unsubscribe_url: must begin with https:// (RFC 8058) and hold no blank or bracket");
    enum ll_status status = letters_load(letters_folder(config, path), &letters, err);
    letters_done(&letters);
    if (status == LL_OK && strcmp(config->notify.delivery, "smtp") == 0)
        status = post_smtp_check(config, err);
    return status;
}

static void open_metrics(struct wiring *w)
{
    static const char *const topics[] = { "topic=\"ledger\"", "topic=\"segment-changes\"",
                                          "topic=\"customers.valid\"", "topic=\"commands\"" };
    struct notify_metrics *in = &w->notify.metrics;
    struct outbox_metrics *out = &w->notify.outbox.metrics;
    for (int at = 0; at < NOTIFY_TOPIC_COUNT; at++)
        in->records[at] =
            metric_counter(w->process, "lens_notify_records_total", topics[at], "Records taken in");
    in->dropped = metric_counter(w->process, "lens_notify_dropped_total", NULL,
                                 "Ledger rows of another run, or that came again");
    in->refused =
        metric_counter(w->process, "lens_notify_refused_total", NULL, "Records that could not be read");
    const char *name = "lens_notify_letters_total", *help = "Letters handed over, by outcome";
    out->sent = metric_counter(w->process, name, "outcome=\"sent\"", help);
    out->put_off = metric_counter(w->process, name, "outcome=\"put_off\"", help);
    out->refused = metric_counter(w->process, name, "outcome=\"refused\"", help);
    out->unknown = metric_counter(w->process, name, "outcome=\"unknown\"", help);
    out->down = metric_counter(w->process, name, "outcome=\"no_connection\"", help);
    out->waiting = metric_gauge(w->process, "lens_notify_waiting", NULL, "Letters whose time has not come");
    for (int at = DECIDE_OK + 1; at < DECIDE_COUNT; at++) {
        char label[64];
        snprintf(label, sizeof label, "reason=\"%s\"", decide_name((enum decide_reason)at));
        out->held[at] = metric_counter(w->process, "lens_notify_held_total", label,
                                       "Judgements that stopped a letter, by reason");
    }
}

static enum ll_status open_files(struct wiring *w, struct ll_err *err)
{
    char path[PATH_SIZE];
    enum ll_status status = letters_load(letters_folder(w->config, path), &w->letters, err);
    if (status == LL_OK)
        status = token_key_load(w->config, true, &w->key, err);
    if (status == LL_OK)
        status = calendar_new(w->config->program.time_zone, &w->calendar, err);
    if (status == LL_OK)
        status = codec_new(config_share_path(w->config, "schemas", path, sizeof path), NULL, &w->notify.codec,
                           err);
    if (status != LL_OK)
        return status;
    bool is_smtp = strcmp(w->config->notify.delivery, "smtp") == 0;
    return is_smtp ? post_smtp_open(w->config, &w->notify.outbox.post, err)
                   : post_files_open(w->config, &w->notify.outbox.post, err);
}

/* Postgres first: without it, nothing that a partition gives can be kept. */
static enum ll_status open_services(struct wiring *w, struct ll_err *err)
{
    const char *instance = process_instance(w->process);
    snprintf(w->group, sizeof w->group, "%snotify", w->config->kafka.group_prefix);
    const struct kafka_consumer_options options = {
        .group = w->group, .instance = instance, .topics = NOTIFY_TOPICS, .topic_count = NOTIFY_TOPIC_COUNT
    };
    enum ll_status status;
    w->notify.store = mail_store_new(w->config, "lens-notify");
    while ((status = mail_store_call(w->notify.store, "stands", "{}", NULL, err)) == LL_RETRY &&
           !process_stopping()) {
        process_waits_for(w->process, err->text);
        process_pause(AGAIN_MS);
    }
    process_waits_for(w->process, NULL);
    return status == LL_OK ? kafka_consumer_open(w->config, &options, &w->notify.consumer, err) : status;
}

static enum ll_status run(struct wiring *w, struct ll_err *err)
{
    struct notify *n = &w->notify;
    n->config = n->outbox.config = w->config;
    n->process = n->outbox.process = w->process;
    n->clock = n->outbox.clock = clock_real();
    n->scratch = codec_scratch_new();
    n->outbox.letters = &w->letters;
    n->outbox.key = &w->key;
    n->outbox.calendar = w->calendar;
    n->outbox.store = n->store;
    n->outbox.instance = process_instance(w->process);
    intake_init(&n->intake, w->config, &w->letters, &w->key, w->calendar);
    outbox_init(&n->outbox);
    enum ll_status status = LL_OK;
    while (status == LL_OK && !process_stopping())
        status = notify_step(n, err);
    process_ready(w->process, false);
    if (status == LL_OK)
        status = notify_finish(n, err);
    intake_done(&n->intake);
    outbox_done(&n->outbox);
    codec_scratch_free(n->scratch);
    return status;
}

static void close_all(struct wiring *w)
{
    if (w->notify.consumer.ops != NULL)
        w->notify.consumer.ops->close(w->notify.consumer.self);
    mail_store_free(w->notify.store);
    if (w->notify.outbox.post.ops != NULL)
        w->notify.outbox.post.ops->close(w->notify.outbox.post.self);
    codec_free(w->notify.codec);
    calendar_free(w->calendar);
    letters_done(&w->letters);
    explicit_bzero(&w->key, sizeof w->key);
}

int main(int argc, char **argv)
{
    static struct wiring w;
    struct ll_err err = { "" };
    int exit_code;
    w.process = process_open_checked(argc, argv, "notify", check, &exit_code);
    if (w.process == NULL)
        return exit_code;
    w.config = process_config(w.process);
    enum ll_status status = LL_OK;
    if (strcmp(w.config->notify.delivery, "off") == 0) {
        process_ready(w.process, true);
        while (!process_stopping())
            process_pause(IDLE_MS);
    } else {
        open_metrics(&w);
        status = open_files(&w, &err);
        if (status == LL_OK)
            status = open_services(&w, &err);
        if (status == LL_OK)
            status = run(&w, &err);
    }
    close_all(&w);
    if (status != LL_OK && !process_stopping())
        log_line(LOG_ERROR, "stopped", "cause=%s", log_quote_c(err.text));
    process_close(w.process);
    return status == LL_OK || process_stopping() ? 0 : 1;
}
