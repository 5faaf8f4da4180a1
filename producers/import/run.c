#include "producers/import/run.h"

#include "producers/import/importer.h"
#include "producers/import/send.h"
#include "producers/import/summary.h"
#include "runtime/process.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { STEP_ROWS = 256, PROGRESS_MS = 200, PROGRESS_PLAIN_MS = 5000, PAUSE_MS = 500, PATH_SIZE = 768 };

struct run {
    const struct config *config;
    const struct run_options *options;
    struct clock_source clock;
    char profile_name[64];
    struct profile *profile;
    struct calendar *calendar;
    struct fileset files;
    struct topics topics;
    struct codec *codec;
    char settings[MARK_TEXT_SIZE];
    char nonce[MARK_NONCE_SIZE];

    /* of one try */
    struct send *send;
    struct mark mark;
    struct importer *importer;

    int64_t resumed_at; /* outputs that an earlier run left */
    bool took_over;     /* this run has decided what to do: later tries go on with it */
    int64_t started_ms, progress_ms;
    char started_at[32];
    bool progress_shown;
};

static void end_progress(struct run *run)
{
    if (run->progress_shown)
        fputs("\r\033[K", stderr);
    run->progress_shown = false;
}

static void say(struct run *run, const char *text)
{
    end_progress(run);
    fprintf(stderr, "lens-import: %s\n", text);
}

static void show_progress(struct run *run)
{
    int64_t now_ms = run->clock.steady_ms(run->clock.self);
    if (now_ms - run->progress_ms < (run->options->is_terminal ? PROGRESS_MS : PROGRESS_PLAIN_MS))
        return;
    run->progress_ms = now_ms;
    const struct import_counts *counts = importer_counts(run->importer);
    char rows[32], bad[32], speed[32];
    int64_t bytes = importer_bytes(run->importer), spent_ms = now_ms - run->started_ms;
    fprintf(stderr, "%simport %3d %%  %s rows  %s bad  %s rows/s%s%s",
            run->options->is_terminal ? "\r" : "lens-import: ",
            run->files.size > 0 ? (int)(bytes * 100 / run->files.size) : 100,
            summary_number(counts->lines_read, rows), summary_number(counts->lines_bad, bad),
            summary_number(spent_ms > 0 ? counts->lines_read * 1000 / spent_ms : 0, speed),
            run->send != NULL && counts->outputs < run->resumed_at ? "  (sent before)" : "",
            run->options->is_terminal ? "\033[K" : "\n");
    run->progress_shown = run->options->is_terminal;
}

/* A name is looked for in LENS_HOME/profiles, then among those that come along; a path is a path. */
static void find_profile(struct run *run, char to[PATH_SIZE])
{
    const char *name = run->options->profile;
    const char *slash = strrchr(name, '/'), *base = slash != NULL ? slash + 1 : name;
    size_t size = strcspn(base, ".");
    snprintf(run->profile_name, sizeof run->profile_name, "%.*s", (int)size, base);
    if (slash != NULL || strchr(name, '.') != NULL) {
        snprintf(to, PATH_SIZE, "%s", name);
        return;
    }
    snprintf(to, PATH_SIZE, "%s/profiles/%s.conf", run->config->home, name);
    if (access(to, F_OK) != 0)
        snprintf(to, PATH_SIZE, "%s/deploy/profiles/%s.conf", run->config->share, name);
}

static enum ll_status open_profile(struct run *run, struct ll_err *err)
{
    char path[PATH_SIZE], sum[SHA256_TEXT_SIZE];
    int64_t size, modified_ns;
    find_profile(run, path);
    enum ll_status status =
        profile_load(path, run->config->program.currency, run->config->program.time_zone, &run->profile, err);
    if (status == LL_OK)
        status = calendar_new(run->profile->time_zone, &run->calendar, err);
    if (status == LL_OK)
        status = fileset_sha256(path, sum, &size, &modified_ns, err);
    if (status == LL_OK) /* the number: of the order in which outputs leave; a change of it ends old marks */
        snprintf(run->settings, sizeof run->settings, "1 %s %s %s", sum, run->profile->time_zone,
                 run->profile->currency);
    return status;
}

static enum ll_status open_schemas(struct run *run, struct ll_err *err)
{
    char path[PATH_SIZE];
    enum ll_status status =
        topics_load(config_share_path(run->config, "topics.conf", path, sizeof path), &run->topics, err);
    return status == LL_OK ? codec_new(config_share_path(run->config, "schemas", path, sizeof path), NULL,
                                       &run->codec, err)
                           : status;
}

static json_t *summarize(struct run *run, bool done)
{
    char now[32];
    struct summary_facts facts = {
        .profile = run->profile_name,
        .files = &run->files,
        .importer = run->importer,
        .currency = run->profile->currency,
        .attempt = run->mark.attempt,
        .resumed_at = run->resumed_at,
        .started_at = run->started_at,
        .ended_at = clock_format(run->clock.wall_ms(run->clock.self), now, sizeof now),
        .done = done,
        .seconds = (double)(run->clock.steady_ms(run->clock.self) - run->started_ms) / 1000.0};
    return summary_json(&facts);
}

static void print(const struct run *run, const json_t *summary)
{
    if (run->options->json) {
        json_dumpf(summary, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(6));
        fputc('\n', stdout);
    } else {
        summary_print(summary, stdout);
    }
    fflush(stdout);
}

/* For people and for `lens report`: the mark itself is in Kafka. Failing here fails nothing. */
static void write_copy(struct run *run, const json_t *summary)
{
    char folder[PATH_SIZE], path[PATH_SIZE + 96], fresh[PATH_SIZE + 104];
    config_home_path(run->config, "import", folder, sizeof folder);
    mkdir(run->config->home, 0755);
    mkdir(folder, 0755);
    snprintf(path, sizeof path, "%s/%s.json", folder, run->files.sha256);
    snprintf(fresh, sizeof fresh, "%s.new", path);
    if (json_dump_file(summary, fresh, JSON_INDENT(2) | JSON_REAL_PRECISION(6)) != 0 ||
        rename(fresh, path) != 0)
        say(run, "its summary could not be written to LENS_HOME/import");
}

/* What is there already decides what this run does. *ret_go false: nothing, and the code says how it ends. */
static int decide(struct run *run, bool *ret_go)
{
    struct mark *mark = &run->mark;
    char text[512];
    *ret_go = true;
    if (run->took_over || (run->options->again && mark->state != MARK_NONE)) {
        if (!run->took_over) { /* --again: from the start, as another attempt */
            mark->attempt++;
            mark->outputs = 0;
        }
        return RUN_DONE;
    }
    switch (mark->state) {
    case MARK_NONE:
        mark->attempt = 1;
        return RUN_DONE;
    case MARK_DONE:
        snprintf(
            text, sizeof text,
            "%s was imported before, on %s (sha256 %.16s...): nothing is sent. To send it once more: --again "
            "(nothing is credited twice)",
            run->files.count == 1 ? run->files.files[0].name : "this set of files", mark->updated_at,
            run->files.sha256);
        say(run, text);
        json_object_set_new(mark->summary, "already_imported", json_true());
        print(run, mark->summary);
        *ret_go = false;
        return RUN_BEFORE;
    case MARK_RUNNING:
        if (strcmp(mark->settings, run->settings) == 0) {
            char number[32];
            snprintf(
                text, sizeof text,
                "an import of the same content stopped on %s: going on behind its %s events and dead letters",
                mark->updated_at, summary_number(mark->outputs, number));
            say(run, text);
            return RUN_DONE;
        }
        say(run, "an import of the same content stopped half-way under another profile, time zone or "
                 "currency: it cannot go on. "
                 "To begin anew: --again (nothing is credited twice)");
        break;
    case MARK_UNREADABLE:
        say(run, "topic imports: the mark of this file cannot be read. To begin anew: --again");
        break;
    }
    *ret_go = false;
    return RUN_FAILED;
}

static enum ll_status commit(struct run *run, bool done, struct ll_err *err)
{
    run->mark.state = done ? MARK_DONE : MARK_RUNNING;
    json_decref(run->mark.summary);
    run->mark.summary = summarize(run, done);
    return send_commit(run->send, err);
}

/* Reads on, commit by commit. *ret_done false with LL_OK: a signal came. */
static enum ll_status run_rows(struct run *run, bool *ret_done, struct ll_err *err)
{
    enum ll_status status = LL_OK;
    bool more = true;
    *ret_done = false;
    while (status == LL_OK && more && !process_stopping()) {
        status = importer_step(run->importer, STEP_ROWS, &more, err);
        if (status == LL_OK && run->send != NULL && send_is_due(run->send))
            status = commit(run, false, err);
        if (status == LL_OK)
            show_progress(run);
    }
    if (status == LL_OK && !more && importer_counts(run->importer)->outputs < run->resumed_at)
        return ll_fail(err, LL_FATAL,
                       "the mark counts more events than the files give: begin anew with --again");
    if (status == LL_OK && run->send != NULL)
        status = commit(run, !more, err);
    *ret_done = !more;
    return status;
}

static enum ll_status null_event(void *self, enum topic topic, struct text key, const struct event *event,
                                 struct ll_err *err)
{
    (void)self, (void)topic, (void)key, (void)event, (void)err;
    return LL_OK;
}

static enum ll_status null_dead(void *self, const struct dead_row *row, struct ll_err *err)
{
    (void)self, (void)row, (void)err;
    return LL_OK;
}

static enum ll_status null_settle(void *self, struct ll_err *err)
{
    (void)self, (void)err;
    return LL_OK;
}

static int finish(struct run *run, bool done)
{
    end_progress(run);
    json_t *summary = summarize(run, done);
    if (run->send != NULL)
        write_copy(run, summary);
    if (done)
        print(run, summary);
    else
        say(run, "stopped; what was sent is marked. Run the same command again to go on");
    json_decref(summary);
    return done ? RUN_DONE : RUN_FAILED;
}

static void end_try(struct run *run)
{
    importer_close(run->importer);
    run->importer = NULL;
    send_close(run->send);
    run->send = NULL;
    mark_done(&run->mark);
}

/* From the mark to the end, or to where Kafka fails (LL_RETRY). *ret_code is the exit code, but with
 * LL_RETRY. */
static enum ll_status try_once(struct run *run, int *ret_code, struct ll_err *err)
{
    static const struct import_sink nowhere = {null_event, null_dead, null_settle, NULL};
    bool go = true, done;
    *ret_code = RUN_FAILED;
    enum ll_status status = LL_OK;
    if (!run->options->dry_run) {
        if (!run->took_over)
            status = send_ping(run->config, err);
        if (status == LL_OK)
            status = send_open(run->config, &run->topics, run->codec, run->files.sha256, run->nonce,
                               &run->mark, &run->send, err);
        if (status != LL_OK)
            return status;
        *ret_code = decide(run, &go);
        if (!go)
            return LL_OK;
        *ret_code = RUN_FAILED;
        snprintf(run->mark.settings, sizeof run->mark.settings, "%s", run->settings);
        send_begin(run->send, &run->mark, run->mark.outputs);
        run->resumed_at = run->mark.outputs;
    }
    struct import_sink sink = run->send != NULL ? send_sink(run->send) : nowhere;
    status = importer_open(run->profile, &run->files, run->calendar, &sink, &run->importer, err);
    if (status == LL_OK && run->send != NULL && !run->took_over) {
        run->took_over = true; /* the attempt is in the topic before its first row is: */
        status = commit(run, false, err);
    }
    if (status == LL_OK)
        status = run_rows(run, &done, err);
    if (status == LL_OK)
        *ret_code = finish(run, done);
    else if (run->send != NULL && send_failed(run->send))
        status = LL_RETRY;
    return status;
}

static int run_all(struct run *run)
{
    struct ll_err err = {""};
    int code;
    int64_t failing_since_ms = 0;
    for (;;) {
        enum ll_status status = try_once(run, &code, &err);
        end_try(run);
        if (status == LL_OK)
            return code;
        say(run, err.text);
        if (status != LL_RETRY)
            return RUN_FAILED;
        int64_t now_ms = run->clock.steady_ms(run->clock.self);
        failing_since_ms = failing_since_ms == 0 ? now_ms : failing_since_ms;
        /* Before it ever answered: only what passes soon, such as topics that have no leader yet. */
        if (!run->took_over && (process_stopping() || now_ms - run->started_ms > RUN_FIRST_MS))
            return RUN_UNREACHABLE;
        if (process_stopping() || now_ms - failing_since_ms > RUN_PATIENCE_MS) {
            say(run, "given up; run the same command again to go on where it stopped");
            return RUN_UNREACHABLE;
        }
        process_pause(PAUSE_MS);
    }
}

int run_import(const struct config *config, const struct run_options *options)
{
    struct run *run = calloc(1, sizeof *run);
    if (run == NULL)
        abort();
    struct ll_err err = {""};
    *run = (struct run){.config = config, .options = options, .clock = clock_real()};
    run->started_ms = run->progress_ms = run->clock.steady_ms(run->clock.self);
    clock_format(run->clock.wall_ms(run->clock.self), run->started_at, sizeof run->started_at);
    int code = RUN_USAGE;
    enum ll_status status = options->check ? open_schemas(run, &err) : LL_OK;
    if (status == LL_OK && options->profile != NULL)
        status = open_profile(run, &err);
    if (status == LL_OK && options->check)
        printf("configuration ok: %s\n", config->file);
    if (status == LL_OK && options->check && run->profile != NULL)
        printf("profile ok: %s\n", run->profile->path);
    if (status == LL_OK && !options->check) {
        code = RUN_FAILED;
        status = fileset_open(run->profile, options->paths, options->path_count, &run->files, &err);
        if (status == LL_OK && !options->dry_run)
            status = open_schemas(run, &err);
    }
    if (status != LL_OK)
        say(run, err.text);
    else
        code = options->check ? RUN_DONE : run_all(run);
    codec_free(run->codec);
    fileset_close(&run->files);
    calendar_free(run->calendar);
    profile_free(run->profile);
    free(run);
    return code;
}
