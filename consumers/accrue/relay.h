/*
 * relay.h - carries committed postings to the topic ledger and refused records to dead-letter, each once and in order.
 * Shape:  relay_step does every duty once and returns: poll the group, open a producer, learn the progress, look what Postgres
 *         has beyond it, and forward a slice of each partition in one Kafka transaction, with the new progress in it. Bus,
 *         store and clock are seams, so that tests/sim runs this very loop. What a record looks like: relay_record.h.
 *
 *         Progress is the committed offset of transactions.valid of a group of the relay's own: the next offset whose rows
 *         are not relayed. It changes only within the transaction that carries the rows, under the group's real metadata, so
 *         the broker refuses whoever has lost the partition. A producer's opening aborts what its predecessor left open;
 *         only then is the progress read, and only a settled one believed.
 *
 *         A control record TICK follows the rows when the partition's clock has come to another minute (relay.tick_ms): whoever reads the
 *         ledger has its clock from it. It says what the clock was at one offset, which the log alone decides; at which
 *         offsets there is one, depends on where slices end. So a reader takes the highest of TICKs and posted_at, which
 *         gives every row the same clock whatever TICKs came.
 * Errors: LL_OK: call it again. LL_FATAL: stop the process (err says why).
 * Source: DESIGN 5.10; KIP-447.
 */
#pragma once

#include "consumers/accrue/relay_record.h"
#include "runtime/bus.h"
#include "runtime/clock.h"
#include "runtime/config.h"
#include "runtime/process.h"
#include "state/relay_store.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { RELAY_PARTITIONS_MAX = 256 };

/* One assigned partition. */
struct relay_part {
    int32_t number;
    int64_t progress;  /* committed; -1: not known */
    int64_t upto;      /* what the open transaction makes of it; -1: not in it */
    int64_t next;      /* what Postgres had when it was last looked at */
    int64_t noted;     /* what Postgres was told last */
    int64_t minute;    /* of the last TICK; INT64_MIN: none of this process */
    int64_t new_minute; /* of the TICK in the open transaction */
};

struct relay_metrics {
    struct metric *ledger, *dead, *ticks; /* committed records */
    struct metric *transactions, *aborts, *lag;
};

struct relay_needs {
    const struct config *config;
    struct process *process; /* NULL in simulation */
    struct bus_consumer consumer;
    struct relay_store store;
    struct clock_source clock;
    struct codec *codec;
    const char *group;
    int32_t dead_partitions; /* of dead-letter */
    /* A producer with the instance's transactional id: its opening fences the one before it. */
    enum ll_status (*open_producer)(void *arg, struct bus_producer *ret, struct ll_err *err);
    /* For a group that has no progress any more: behind the last offset whose rows are in the topics; 0: none are. */
    enum ll_status (*find_end)(void *arg, int32_t partition, int64_t *ret_progress, struct ll_err *err);
    void *arg;
};

struct relay {
    struct relay_needs needs;
    struct relay_metrics metrics;
    struct bus_producer producer; /* ops NULL: none is open */
    struct relay_part parts[RELAY_PARTITIONS_MAX];
    size_t part_count;
    bool assigned;
    struct relay_record_maker maker;

    /* of the transaction under way */
    enum ll_status sending; /* the first failure */
    struct ll_err sending_err;
    int64_t sent_ledger, sent_dead, sent_ticks;

    int64_t look_at_ms, wait_until_ms, note_at_ms; /* steady */
    int64_t backoff_ms;
    bool is_down;      /* no broker answers */
    const char *doing; /* which duty; a word of the log's */
    const char *said;  /* the duty that waits, as the log was told last */
    int64_t said_ms;
};

/* Everything in needs is borrowed for relay's life; closing the consumer and the store is the caller's. */
void relay_init(struct relay *relay, const struct relay_needs *needs);
enum ll_status relay_step(struct relay *relay, struct ll_err *err);
/* Closes the producer. Between two steps no transaction is open. */
void relay_done(struct relay *relay);
