/*
 * feed.h - the side channel of validate: what is known beside the records that it judges.
 * Shape:  a table of functions, so that the simulation can fill it. The real one (feed.c) is a reader without a group over the
 *         reference topics' valid records, loyalty-rules and commands, from their beginning.
 * Errors: as in bus.h.
 */
#pragma once

#include "runtime/bus.h"
#include "runtime/clock.h"
#include "runtime/config.h"
#include "runtime/err.h"

#include <stdbool.h>

struct feed_ops {
    /* BUS_RECORD, BUS_NONE, BUS_DOWN or BUS_BROKEN. */
    enum bus_event (*read)(void *self, int timeout_ms, struct bus_record *ret, struct ll_err *err);
    void (*release)(void *self, struct bus_record *record);
    /* Read up to the end that was there at the opening, or at the last mark_end? */
    bool (*at_end)(void *self);
    enum ll_status (*mark_end)(void *self, struct ll_err *err);
    /* Has the group judged every raw reference record that the broker had when this was asked, and can what came of
     * it be read? While a transaction is open on a topic of valid references (of a process that died or hangs), all
     * behind its first record is hidden, and the end that mark_end would mark is too near. */
    enum ll_status (*judged)(void *self, bool *ret, struct ll_err *err);
    void (*close)(void *self);
};

struct feed {
    const struct feed_ops *ops;
    void *self;
};

enum ll_status feed_open(const struct config *config, const struct topics *topics, const char *group,
                         struct clock_source clock, struct feed *ret, struct ll_err *err);
