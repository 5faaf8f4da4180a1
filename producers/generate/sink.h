/*
 * sink.h - the seam between what is made and where it goes: CSV files, or topics.
 * Errors: LL_FATAL a file cannot be written; LL_RETRY no broker.
 */
#pragma once

#include "producers/generate/generate.h"
#include "producers/generate/stream.h"
#include "producers/generate/truth.h"
#include "runtime/config.h"
#include "runtime/err.h"
#include "schemas/event.h"

struct sink_ops {
    /* A customer, product, store or promotion. */
    enum ll_status (*reference)(void *self, const struct event *event, struct placed *ret,
                                struct ll_err *err);
    /* All references are out; transactions follow. */
    enum ll_status (*settle)(void *self, struct ll_err *err);
    enum ll_status (*transaction)(void *self, const struct made *made, struct placed *ret,
                                  struct ll_err *err);
    /* Everything is on the disk, or acknowledged. */
    enum ll_status (*finish)(void *self, struct ll_err *err);
    void (*close)(void *self);
};

struct sink {
    const struct sink_ops *ops;
    void *self;
};

enum ll_status sink_csv_open(const struct generate_options *options, struct sink *ret, struct ll_err *err);
enum ll_status sink_topics_open(const struct generate_options *options, const struct config *config,
                                struct sink *ret, struct ll_err *err);

/* All reference records of the world, and with defects some bad ones. */
enum ll_status references_write(const struct generate_options *options, const struct world *world,
                                struct sink *sink, struct truth *truth, struct ll_err *err);
