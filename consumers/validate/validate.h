/*
 * validate.h - judges raw records: the good go to <topic>.valid, the others to dead-letter, each exactly once.
 * Shape:  one loop over the bus (validate_step); a batch of decisions, control records and the offsets that they cover is one Kafka
 *         transaction. Everything outside comes in by struct validate_needs, so that the simulation links the same loop against a bus
 *         and a clock of its own.
 *           validate.c  the loop: batch, commit, reread, rebalance      follow.c   references, rules and commands come in
 *           part.c      a partition: offsets, records that wait         control.c  TICK and RULES go out
 *           judge.c     what becomes of a record                        quality.h  the rules, pure
 *           dead.c      a dead letter's headers                         feed.h     the side channel's seam
 * Errors: LL_RETRY is dealt with inside (abort, read again from the last commit); so is a producer that is lost: another one is
 *         opened. LL_FATAL: stop the process.
 * Source: DESIGN 3 and 5.
 */
#pragma once

#include "consumers/validate/feed.h"
#include "consumers/validate/settings.h"
#include "runtime/bus.h"
#include "runtime/clock.h"
#include "runtime/config.h"
#include "runtime/isolate.h"
#include "runtime/process.h"
#include "runtime/topics.h"
#include "schemas/codec.h"

/* All borrowed for the loop's life. */
struct validate_needs {
    const struct config *config;
    const struct topics *topics;
    const struct settings *settings;
    struct codec *codec;
    struct calendar *calendar;
    struct clock_source clock;
    struct bus_consumer consumer;
    struct feed feed;
    const char *group;
    struct isolate *isolate; /* NULL: a record that kills the process is not looked for */
    struct process *process; /* NULL: no metrics, nobody is told what is waited for */
    /* A transactional producer whose predecessor is fenced, its transaction ended. LL_RETRY: no broker answers. LL_OK with
     * ret->ops NULL: not yet, asked again in the next round. */
    enum ll_status (*open_producer)(void *arg, struct bus_producer *ret, struct ll_err *err);
    void *arg;
};

struct validate;

struct validate *validate_new(const struct validate_needs *needs);
void validate_free(struct validate *v);

/* One round: at most one transaction. Waits a little when there is nothing to do. LL_OK or LL_FATAL. */
enum ll_status validate_step(struct validate *v, struct ll_err *err);
/* Commits what is decided and lets go of all partitions: call before closing. */
enum ll_status validate_finish(struct validate *v, struct ll_err *err);

/* What the group reads. */
extern const enum topic VALIDATE_TOPICS[];
extern const size_t VALIDATE_TOPIC_COUNT;
