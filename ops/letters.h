/*
 * letters.h - dead letters wherever they lie: Kafka's dead-letter topic, and accrue's rows in loyalty.dead.
 * Shape:  letters_each gives them one by one in the order of the store: first Kafka's by partition, then accrue's. A reference is
 *         dead-letter/PARTITION/OFFSET or accrue/PARTITION/OFFSET/SEQ. What the relay has carried to the topic comes once all the
 *         same, from loyalty.dead, where all of accrue's are; by the topic's reference it can be looked at alone.
 * Source: DESIGN 3 for the headers.
 */
#pragma once

#include "ops/lens.h"
#include "runtime/bus.h"
#include "schemas/codec.h"
#include "schemas/codes.h"
#include "schemas/event.h"

#include <stdbool.h>
#include <stdint.h>

enum { LETTER_REF_SIZE = 96 };

struct letter_ref {
    bool accrue;
    int32_t partition;
    int64_t offset;
    int32_t seq;
};

/* Texts are views, valid during the call of each. */
struct letter {
    struct letter_ref ref;
    uint64_t codes;
    struct text codes_text, stage, message;
    struct text topic; /* where the record lay */
    enum topic origin; /* TOPIC_COUNT: unknown */
    int32_t origin_partition;
    int64_t origin_offset; /* -1: it never lay in a topic (import) */
    int64_t event_offset;  /* accrue: of the refused record in transactions.valid; else -1 */
    int64_t timestamp_ms;  /* the record's own */
    int64_t dead_at_ms;
    bool line_alone;       /* one line of a transaction whose other lines went on */
    struct text file, row; /* import: where in which file */
    struct text key, value;
    const struct bus_header *headers;
    size_t header_count;
};

struct letter_filter {
    uint64_t codes;               /* any of them; 0: all */
    struct text stage;            /* data NULL: all */
    enum topic topic;             /* TOPIC_COUNT: all */
    int64_t since_ms;             /* refused at or after; 0: all */
    const struct letter_ref *ref; /* this one alone; NULL: all */
};

typedef void letter_fn(void *arg, const struct letter *letter);

enum ll_status letters_each(struct lens *lens, const struct letter_filter *filter, letter_fn *each, void *arg,
                            struct ll_err *err);

/* What a record of the topic dead-letter is; the letter's texts are views of the record's and the headers'. */
void letter_of(const struct bus_record *record, const struct bus_header *headers, size_t count, struct letter *ret);
/* The headers as struct kept_record has them, (u32 size, name, u32 size or -1, value) repeated: as many as are whole. */
size_t letter_headers(struct text kept, struct bus_header ret[BUS_HEADERS_MAX]);

bool letter_ref_parse(const char *text, struct letter_ref *ret);
char *letter_ref_write(const struct letter_ref *ref, char to[LETTER_REF_SIZE]);

/* How many lines of sale it stands for: a row or a line is one, a whole transaction its lines, undecodable bytes one, a
 * reference record none. */
int64_t letter_lines(const struct letter *letter, struct codec *codec, struct codec_scratch *scratch);
/* The lines of one transaction: a document without any counts as one. */
int64_t letter_event_lines(const struct transaction *transaction);
/* How an event is called and where it came from: its transaction_id or reference id, its source_ref; data NULL: it has none. */
struct text letter_event_id(const struct event *event, struct text *ret_source_ref);
/* The event in it, if it decodes. What killed a process is not decoded. */
bool letter_event(const struct letter *letter, struct codec *codec, struct codec_scratch *scratch,
                  struct event *ret);
