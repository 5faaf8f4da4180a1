/*
 * segment_world.h - a bus and a store in memory for segment's loop, with faults.
 * Shape:  the tests write a ledger into it, run the loop, and look at what is kept. Any call may fail, one in so many; where the
 *         answer is lost, it may have been done. Sizes are what the tests need.
 */
#pragma once

#include "consumers/segment/segment.h"

enum { PARTITIONS = 4, RECORDS_MAX = 1500, KEPT_MAX = 40000 };

struct kept {
    char *bytes;
    size_t size;
    char key[64];
    int64_t number;
};

struct kept_list {
    struct kept rows[KEPT_MAX];
    size_t count;
};

struct world {
    uint64_t random;
    int faults; /* of 1,000 calls */
    struct config config;
    struct codec *codec;
    struct calendar *calendar;
    int64_t now_ms;

    /* the bus */
    struct {
        char *values[RECORDS_MAX];
        uint32_t sizes[RECORDS_MAX];
        int64_t count, next;
        bool paused;
    } logs[PARTITIONS];
    bool told, flowing;
    int64_t last_tick_ms;
    struct bus_position changed[PARTITIONS];
    struct kept_list sent, published; /* sent: of the open transaction */
    int64_t sent_progress, progress;

    /* the store */
    struct segment_owner owner;
    struct segment_part parts[PARTITIONS];
    struct kept_list standing, thresholds, changes;
    struct text categories[64];
    size_t category_count;
    bool is_owned;
};

/* Kept, not owned. */
struct world *world_new(struct codec *codec, struct calendar *calendar, bool by_event);
void world_free(struct world *w);
struct segment_needs world_needs(struct world *w);
/* The process is gone, and with it its session and its place in the group. */
void world_kill(struct world *w);
uint64_t world_dice(struct world *w, uint64_t sides);

void world_append(struct world *w, int partition, const struct event *event);
void world_tick(struct world *w, int partition, int64_t time_ms);

/* Replaces what has the key; NULL: adds. */
void kept_put(struct kept_list *list, const char *key, int64_t number, const char *bytes, size_t size);
void kept_drop(struct kept_list *list);
