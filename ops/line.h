/*
 * line.h - how far the line has come: what validate has decided, what accrue has credited, what the relay has carried on.
 * Shape:  ends are taken once, since control records keep flowing; then the line is asked again and again whether it is past them.
 * Errors: LL_RETRY: a service did not answer this time.
 */
#pragma once

#include "ops/lens.h"
#include "runtime/kafka.h"
#include "state/postgres.h"
#include "state/redis.h"

#include <stdbool.h>
#include <stdint.h>

enum { LINE_PARTITIONS_MAX = 1024 };

/* One topic's partitions: where they ended, and where their reader stands. */
struct line_part {
    enum topic topic;
    int32_t partitions; /* 0: there is no such topic */
    int64_t low[LINE_PARTITIONS_MAX], end[LINE_PARTITIONS_MAX], at[LINE_PARTITIONS_MAX];
};

struct line_view {
    struct lens *lens;
    struct topics topics;
    struct kafka_admin *admin; /* sees what is committed */
    struct kafka_admin *all;   /* ... and what a transaction still hides */
    struct postgres *postgres;
    struct redis *redis;
};

/* The topics that validate reads with its group, and that an import or a generator writes to. */
extern const enum topic line_raw_topics[];
extern const size_t line_raw_topic_count;

/* Nothing is open yet; each call below opens what it needs, and again after LL_RETRY. */
enum ll_status line_open(struct lens *lens, struct line_view *ret, struct ll_err *err);
void line_close(struct line_view *view);

/* The low watermarks and the ends that are visible now. */
enum ll_status line_ends(struct line_view *view, enum topic topic, struct line_part *ret, struct ll_err *err);
/* The same with what a transaction still hides: its commit is answered before the partitions show it. */
enum ll_status line_written(struct line_view *view, enum topic topic, struct line_part *ret, struct ll_err *err);
/* Where validate's group stands (low where it never committed). */
enum ll_status line_validated(struct line_view *view, struct line_part *part, struct ll_err *err);
/* Where accrue stands in transactions.valid by Postgres, or by Redis. */
enum ll_status line_credited(struct line_view *view, struct line_part *part, struct ll_err *err);
enum ll_status line_shown(struct line_view *view, struct line_part *part, struct ll_err *err);
/* Up to where the relay has carried what accrue committed. */
enum ll_status line_relayed(struct line_view *view, struct line_part *part, struct ll_err *err);
/* Sets at to end where nothing but transaction markers lies between, and no transaction is open. */
enum ll_status line_skip_markers(struct line_view *view, struct line_part *part, struct ll_err *err);

/* How many offsets at is below end, in all partitions. */
int64_t line_behind(const struct line_part *part);
