/*
 * loop.h - what the parts of the validate loop know of each other. validate.h tells which file does what.
 */
#pragma once

#include "consumers/validate/breaker.h"
#include "consumers/validate/dead.h"
#include "consumers/validate/quality.h"
#include "consumers/validate/references.h"
#include "consumers/validate/validate.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A partition holds back so many records that cannot be decided yet; then it is paused until half of them
 * are. */
enum { PART_WAITING_MAX = 4096 };

/* One partition of a topic that the group reads. */
struct part {
    enum topic topic;
    int32_t partition;
    bool owned, started, used;
    bool believe_position; /* the client's position is of this start, not of one before */
    bool is_full;          /* as many wait as may */
    bool is_paused;        /* what the client was told */
    int64_t next;          /* behind the last decided record; -1: none yet */
    int64_t committed;     /* the last next that is safe; -1: none yet */
    /* Records that wait, oldest first: behind a reference that is missing, or a registry that is down. */
    struct bus_record *waiting; /* owned ring of PART_WAITING_MAX */
    uint32_t waiting_first, waiting_count;
    struct breaker breaker;            /* of the raw topics; its state outlives an assignment */
    int64_t opened_ms;                 /* wall, when the breaker opened */
    int64_t last_record_ms;            /* steady, when the last record was polled */
    int64_t log_ms;                    /* highest broker time of a record that was polled */
    int64_t tick_ms, tick_due_ms;      /* the last TICK's time (wall), and when the next is due (steady) */
    int32_t rules_told, rules_telling; /* highest version told and committed, and in the open transaction */
};

enum outcome { OUTCOME_VALID, OUTCOME_DEAD, OUTCOME_RETRY, OUTCOME_LINE_DEAD, OUTCOME_COUNT };

/* What a batch has done, counted once it is committed. */
struct tally {
    int64_t outcomes[TOPIC_COUNT][OUTCOME_COUNT];
    int64_t codes[CODE_COUNT];
};

enum phase {
    PHASE_LOADING,    /* what is known beside the records is read to its end */
    PHASE_REFERENCES, /* raw reference records that came before the sales are judged first */
    PHASE_RUNNING,
};

struct validate {
    struct validate_needs needs;
    struct text currency; /* the program's */

    struct part *parts[TOPIC_COUNT]; /* owned, by partition; NULL: not a topic that we read */
    struct bus_position *positions;  /* owned: room for one of each partition */
    int64_t assigned_ms;             /* wall */
    int64_t read_last_ms;            /* steady, when a reference record was last polled */
    enum phase phase;
    bool assigned, started;

    /* The open transaction. */
    struct bus_producer producer; /* owned; ops NULL: none is open */
    bool open;
    bool news;            /* references changed since the waiting were last tried */
    int64_t opened_at_ms; /* steady */
    int64_t record_count;
    struct tally tally;
    int64_t busy_ms, busy_count; /* steady, of the last commit; records since memory was given back */

    /* What comes in beside the records. */
    struct references *references;
    int64_t marking_ms;    /* wall, before the end to read to was marked */
    int64_t known_ms;      /* every reference that reached the broker before this is in references */
    int64_t quick_ms;      /* steady: until then a start is under way, and rounds are short */
    int64_t settle_due_ms; /* steady */
    int64_t retry_due_ms;  /* steady: the waiting are tried again */
    int32_t rules_version; /* highest published; 0: none */
    bool marked;           /* reading up to a marked end */
    bool behind;           /* since the assignment: raw references were not all judged when that was asked */

    bool down, registry_down; /* seen in this round */
    bool waits;               /* process_waits_for was told something */
    char waits_for[400];
    int64_t trouble_ms;      /* steady: back off until then */
    int64_t warned_since_ms; /* steady */
    int64_t warned_count;

    struct codec_scratch *scratch, *feed_scratch;
    struct quality_verdict verdict;
    struct dead_headers headers;
    char message[DEAD_MESSAGE_SIZE];
    char *buffer; /* owned: the encoded value */
    size_t buffer_size;

    struct {
        struct metric *outcomes[TOPIC_COUNT][OUTCOME_COUNT];
        struct metric *codes[CODE_COUNT];
        struct metric *commit_ms, *commits, *aborts, *waiting, *paused, *references[REFERENCE_KINDS], *rules;
    } metrics;
};

static inline int64_t steady_ms(const struct validate *v)
{
    return v->needs.clock.steady_ms(v->needs.clock.self);
}
static inline int64_t wall_ms(const struct validate *v)
{
    return v->needs.clock.wall_ms(v->needs.clock.self);
}

/* validate.c */
/* Opens the transaction if it is not. Call before each send. */
enum ll_status batch_open(struct validate *v, struct ll_err *err);
enum ll_status batch_send(struct validate *v, const struct bus_out *out, struct ll_err *err);
/* How many records one transaction may take. */
int64_t batch_most(const struct validate *v);
/* The event's own encoding in v->buffer. */
struct text batch_encode(struct validate *v, const struct event *event);

/* judge.c: *ret_wait: it cannot be decided yet, nothing was sent. */
enum ll_status judge_record(struct validate *v, struct part *part, const struct bus_record *record,
                            bool *ret_wait, struct ll_err *err);

/* part.c */
void parts_init(struct validate *v);
void parts_done(struct validate *v);
/* NULL: no such partition is ours. */
struct part *part_of(struct validate *v, enum topic topic, int32_t partition);
/* Walks all owned partitions: start with NULL; NULL at the end. */
struct part *part_next(struct validate *v, struct part *part);
enum ll_status parts_assign(struct validate *v, const struct bus_position *changed, size_t count,
                            struct ll_err *err);
void parts_revoke(struct validate *v);
/* Starts the owned partitions at the last commit: the reference topics alone, or all. */
enum ll_status parts_start(struct validate *v, bool references_only, struct ll_err *err);
/* Forgets what was decided or held back since the last commit. */
void parts_forget(struct validate *v);
/* Decides a polled record, or keeps it for later; takes the record (releases it). */
enum ll_status part_take(struct validate *v, struct part *part, struct bus_record *record,
                         struct ll_err *err);
/* Tries those that wait again. */
enum ll_status parts_retry(struct validate *v, struct ll_err *err);
/* Fills v->positions with what a commit would say of each partition that has moved; returns how many. */
size_t parts_positions(struct validate *v);
/* They are safe. */
void parts_committed(struct validate *v, size_t count);
enum ll_status part_refused_too_much(struct validate *v, struct part *part, struct ll_err *err);
enum ll_status parts_resume(struct validate *v, enum topic topic, int32_t partition, int64_t time_ms,
                            struct ll_err *err);
size_t parts_waiting(struct validate *v);
size_t parts_paused(struct validate *v);

/* follow.c */
enum ll_status follow(struct validate *v, struct ll_err *err);
/* Brings known_ms forward while somebody waits for it, as far as it goes without waiting. Outside of a transaction. */
enum ll_status follow_settle(struct validate *v, struct ll_err *err);

/* control.c */
enum ll_status control_write(struct validate *v, struct ll_err *err);
void control_committed(struct validate *v);

/* report.c: metrics, and what is waited for. */
void report_init(struct validate *v);
void report_committed(struct validate *v, int64_t took_ms);
void report_round(struct validate *v);
/* Tells the process; NULL: all is well again. */
void report_waits_for(struct validate *v, const char *what);
