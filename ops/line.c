#include "ops/line.h"

#include "ops/reach.h"
#include "ops/scan.h"

#include <stdio.h>
#include <stdlib.h>

const enum topic line_raw_topics[] = { TOPIC_STORES,     TOPIC_PRODUCTS,  TOPIC_CUSTOMERS,
                                       TOPIC_PROMOTIONS, TOPIC_INVENTORY, TOPIC_TRANSACTIONS };
const size_t line_raw_topic_count = sizeof(line_raw_topics) / sizeof(line_raw_topics[0]);

enum { ASK_MS = 5000 };

enum ll_status line_open(struct lens *lens, struct line_view *ret, struct ll_err *err)
{
    char path[2 * CONFIG_TEXT_SIZE];
    *ret = (struct line_view){ .lens = lens };
    return topics_load(config_share_path(&lens->config, "topics.conf", path, sizeof(path)), &ret->topics,
                       err);
}

/* What failed is opened anew by the next call. */
static enum ll_status give_up(struct line_view *view, enum ll_status status)
{
    line_close(view);
    return status;
}

void line_close(struct line_view *view)
{
    if (view->admin != NULL)
        kafka_admin_close(view->admin);
    if (view->all != NULL)
        kafka_admin_close(view->all);
    if (view->postgres != NULL)
        postgres_close(view->postgres);
    if (view->redis != NULL)
        redis_close(view->redis);
    view->admin = view->all = NULL;
    view->postgres = NULL;
    view->redis = NULL;
}

static enum ll_status need_admin(struct line_view *view, struct ll_err *err)
{
    return view->admin != NULL ? LL_OK : kafka_admin_open(&view->lens->config, &view->admin, err);
}

static enum ll_status ends(struct line_view *view, struct kafka_admin *admin, enum topic topic, struct line_part *ret,
                           struct ll_err *err)
{
    ret->topic = topic;
    ret->partitions = 0;
    enum ll_status status = kafka_admin_partitions(admin, topic, &ret->partitions, ASK_MS, err);
    if (status == LL_OK && ret->partitions > LINE_PARTITIONS_MAX)
        return ll_fail(err, LL_FATAL, "%s has %d partitions; at most %d are looked at", topic_name(topic),
                       ret->partitions, LINE_PARTITIONS_MAX);
    for (int32_t p = 0; status == LL_OK && p < ret->partitions; p++) {
        status = kafka_admin_watermarks(admin, topic, p, &ret->low[p], &ret->end[p], ASK_MS, err);
        ret->at[p] = ret->low[p];
    }
    return status == LL_OK ? LL_OK : give_up(view, status);
}

enum ll_status line_ends(struct line_view *view, enum topic topic, struct line_part *ret, struct ll_err *err)
{
    enum ll_status status = need_admin(view, err);
    return status == LL_OK ? ends(view, view->admin, topic, ret, err) : status;
}

enum ll_status line_written(struct line_view *view, enum topic topic, struct line_part *ret, struct ll_err *err)
{
    enum ll_status status =
        view->all != NULL ? LL_OK : kafka_admin_open_uncommitted(&view->lens->config, &view->all, err);
    return status == LL_OK ? ends(view, view->all, topic, ret, err) : status;
}

static enum ll_status ask_group(struct line_view *view, const char *process, struct line_part *part,
                                struct ll_err *err)
{
    char group[128];
    snprintf(group, sizeof(group), "%s%s", view->lens->config.kafka.group_prefix, process);
    int64_t at[LINE_PARTITIONS_MAX];
    enum ll_status status = need_admin(view, err);
    if (status == LL_OK && part->partitions > 0)
        status = kafka_admin_group_offsets(view->admin, group, part->topic, at, (size_t)part->partitions,
                                           ASK_MS, err);
    if (status != LL_OK)
        return give_up(view, status);
    for (int32_t p = 0; p < part->partitions; p++)
        if (at[p] > part->at[p])
            part->at[p] = at[p];
    return LL_OK;
}

enum ll_status line_validated(struct line_view *view, struct line_part *part, struct ll_err *err)
{
    return ask_group(view, "validate", part, err);
}

enum ll_status line_relayed(struct line_view *view, struct line_part *part, struct ll_err *err)
{
    return ask_group(view, "relay", part, err);
}

enum ll_status line_credited(struct line_view *view, struct line_part *part, struct ll_err *err)
{
    struct postgres_rows *rows = NULL;
    char run[16];
    snprintf(run, sizeof(run), "%d", view->lens->config.program.run);
    const char *params[] = { run };
    enum ll_status status =
        view->postgres != NULL ? LL_OK : postgres_open(&view->lens->config, "lens", &view->postgres, err);
    if (status == LL_OK)
        status = postgres_query(view->postgres,
                                "select partition as source_partition, next_offset from loyalty.partitions"
                                " where run_id = $1::int",
                                params, 1, &rows, err);
    if (status != LL_OK)
        return give_up(view, status);
    for (size_t i = 0; i < postgres_rows_count(rows); i++) {
        int64_t p = postgres_rows_int(rows, i, "source_partition");
        int64_t next = postgres_rows_int(rows, i, "next_offset");
        if (p >= 0 && p < part->partitions && next > part->at[p])
            part->at[p] = next;
    }
    postgres_rows_free(rows);
    return LL_OK;
}

enum ll_status line_shown(struct line_view *view, struct line_part *part, struct ll_err *err)
{
    enum ll_status status = view->redis != NULL ? LL_OK : redis_open(&view->lens->config, &view->redis, err);
    for (int32_t p = 0; status == LL_OK && p < part->partitions; p++) {
        int64_t epoch = -1, next = -1;
        status = redis_mark(view->redis, view->lens->config.program.run, p, &epoch, &next, err);
        if (status == LL_OK && next > part->at[p])
            part->at[p] = next;
    }
    return status == LL_OK ? LL_OK : give_up(view, status);
}

static bool seen_record(void *arg, struct kafka_reader *reader, const struct bus_record *record)
{
    (void)reader;
    struct line_part *first = arg;
    if (record->offset < first->end[record->partition])
        first->at[record->partition] = -1; /* a record, no marker */
    for (int32_t p = 0; p < first->partitions; p++)
        if (first->at[p] >= 0 && first->at[p] < first->end[p])
            return true; /* it may be markers alone */
    return false;
}

enum ll_status line_skip_markers(struct line_view *view, struct line_part *part, struct ll_err *err)
{
    struct line_part *probe = malloc(sizeof(*probe)), *visible = malloc(sizeof(*visible));
    struct bus_position *starts = calloc(LINE_PARTITIONS_MAX, sizeof(*starts));
    if (probe == NULL || visible == NULL || starts == NULL)
        abort();
    *probe = *part;
    enum ll_status status = line_ends(view, part->topic, visible, err);
    for (int32_t p = 0; p < part->partitions; p++)
        starts[p] =
            (struct bus_position){ part->topic, p, part->at[p] < part->end[p] ? part->at[p] : part->end[p] };
    struct scan scan = { &part->topic, 1, starts, (size_t)part->partitions, NULL, seen_record, probe };
    if (status == LL_OK)
        status = scan_run(view->lens, &view->topics, &scan, err);
    for (int32_t p = 0; status == LL_OK && p < part->partitions; p++)
        if (probe->at[p] != -1 && part->at[p] < part->end[p] && p < visible->partitions &&
            visible->end[p] >= part->end[p])
            part->at[p] = part->end[p];
    free(starts);
    free(visible);
    free(probe);
    return status;
}

int64_t line_behind(const struct line_part *part)
{
    int64_t behind = 0;
    for (int32_t p = 0; p < part->partitions; p++)
        if (part->at[p] < part->end[p])
            behind += part->end[p] - part->at[p];
    return behind;
}
