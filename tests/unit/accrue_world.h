/*
 * accrue_world.h - a bus, a ledger and a Redis in memory around accrue's own loop; the stores are a few numbers.
 * Shape:  a test says how many records each partition has and what they are, runs the loop, and looks at what was told and
 *         committed; hooks see each call before it is done. Records have even offsets: markers lie between.
 */
#pragma once

#include "consumers/accrue/accrue.h"

enum { PARTITIONS = 3, RECORDS_MAX = 3000 };

struct world {
    int64_t count[PARTITIONS];
    struct text (*value)(int32_t partition, int64_t number); /* of the record; good until the next call */
    int64_t burst; /* after so many records the bus has none, once; 0: never */
    void (*on_apply)(const struct hot_batch *batch);
    void (*on_begin)(const struct ledger_part *part);
    void (*on_commit)(const struct ledger_part *part);
    enum store_reply begin_reply, poll_reply; /* STORE_BROKEN: the answer from now on */

    /* Postgres */
    int64_t epoch, epochs[PARTITIONS], next[PARTITIONS];
    struct ledger_counts counts[PARTITIONS];
    struct ledger_part *parts;
    size_t part_count;
    int begins, polls;
    bool is_away; /* not all identities are in memory, and nobody answers who knows the others */
    /* Redis */
    int64_t told[PARTITIONS]; /* sent, up to here */
    struct hot_batch *batches;
    size_t batch_count;
    int applies;
    /* the client */
    int64_t now_ms, at[PARTITIONS], taken;
    bool assigned, started, paused[PARTITIONS];
    int start_retries; /* so often a start fails */
    int64_t looks; /* polls of the bus */
    int32_t turn;

    struct config config;
    struct codec *codec;
    struct calendar *calendar;
};
extern struct world world;

/* What the broker and Postgres would say when it ends with these words. */
extern const char world_broken[];

/* Empty: nothing to read, default settings, both stores good. */
void world_open(void);
void world_close(void);
/* A process: a loop over what the world holds. isolate may be NULL. */
struct accrue *world_start(struct isolate *isolate);
void world_stop(struct accrue *accrue);
bool world_all_committed(void);
