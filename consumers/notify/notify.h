/*
 * notify.h - the loop of lens-notify: inputs in, letters out.
 * Shape:  notify_step does every duty once and returns: poll the group, commit what was gathered with its offsets, send what is due.
 *         Inputs: ledger, segment-changes, customers.valid, commands. Where they stand lies in mail.progress and changes in the
 *         transaction that writes what they gave rise to; Kafka's own group offsets are for lag tools. After any doubt (Postgres
 *         away, a reply lost) nothing is repaired in place: what was gathered is dropped, and reading begins again where
 *         mail.progress says.
 *
 *         A letter is judged only when the customers' topic has been read to its end: consent and addresses as they are now.
 * Errors: LL_OK: call it again. LL_FATAL: stop the process (err says why).
 * Source: DESIGN 7.
 */
#pragma once

#include "consumers/notify/intake.h"
#include "consumers/notify/outbox.h"
#include "runtime/bus.h"
#include "schemas/codec.h"

#include <stdbool.h>

enum { NOTIFY_INPUTS_MAX = 600 };

/* One assigned partition. */
struct notify_input {
    enum topic topic;
    int32_t partition;
    int64_t stands;     /* in mail.progress */
    int64_t next;       /* with what was gathered */
    int64_t row_offset; /* ledger: of the last row taken */
    int32_t row_seq;
    int64_t kept_offset; /* ... in mail.progress */
    int32_t kept_seq;
    int64_t noted; /* as Kafka was told */
};

struct notify_metrics {
    struct metric *records[4], *dropped, *refused;
};

struct notify {
    const struct config *config;
    struct process *process; /* NULL in tests */
    struct bus_consumer consumer;
    struct clock_source clock;
    struct codec *codec;
    struct codec_scratch *scratch;
    struct mail_store *store;
    struct intake intake;
    struct outbox outbox;
    struct notify_metrics metrics;

    struct notify_input inputs[NOTIFY_INPUTS_MAX];
    size_t input_count;
    bool is_assigned, is_reading, is_down;
    int64_t gathered, gathered_since_ms;
    int64_t send_at_ms, again_at_ms, backoff_ms, note_at_ms; /* steady */
    bool customers_read;                                     /* to the end, as it was last seen */
    int64_t said_ms;
};

extern const enum topic NOTIFY_TOPICS[];
enum { NOTIFY_TOPIC_COUNT = 4 };

enum ll_status notify_step(struct notify *notify, struct ll_err *err);
/* Commits what was gathered, writes what was handed over. */
enum ll_status notify_finish(struct notify *notify, struct ll_err *err);
