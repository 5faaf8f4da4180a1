/*
 * relay_record.h - what a committed row looks like as a record of ledger or dead-letter.
 * Shape:  pure: a row in, a bus_out out. Texts point into the row and into the maker, until its next call.
 *         ledger: key as the sale's, value lens.ledger, timestamp posted_at; a TICK has no key, value lens.control, and the
 *         headers ll-run, ll-offset (the last offset that it covers) and ll-seq (above any row's).
 *         dead-letter: key, value, headers and timestamp of the record of transactions.valid, then ours: those of every dead
 *         letter (ll-topic, ll-partition, ll-offset name the raw record), and ll-run, ll-valid-partition, ll-valid-offset
 *         (of the refused record), ll-row-offset and ll-row-seq (of its row).
 * Source: DESIGN 3, 5.10.
 */
#pragma once

#include "runtime/bus.h"
#include "schemas/codec.h"
#include "state/relay_store.h"

#include <stddef.h>
#include <stdint.h>

enum { RELAY_HEADERS_MAX = BUS_HEADERS_MAX + 24, RELAY_TICK_SEQ = INT32_MAX };

struct relay_record_maker {
    struct codec *codec; /* kept */
    const char *group;   /* kept */
    int32_t run, dead_partitions;
    struct codec_scratch *scratch;
    struct ledger_line lines[EVENT_LEDGER_LINES_MAX];
    struct ledger_rule rules[EVENT_RULES_MAX];
    char *value; /* owned */
    size_t value_capacity;
    struct bus_header headers[RELAY_HEADERS_MAX];
    size_t header_count;
    char texts[2048]; /* what our headers' values point at */
    size_t used;
};

void relay_record_init(struct relay_record_maker *maker, struct codec *codec, int32_t run, const char *group,
                       int32_t dead_partitions);
void relay_record_done(struct relay_record_maker *maker);

void relay_record_posting(struct relay_record_maker *maker, const struct posting *posting, struct bus_out *ret);
void relay_record_dead(struct relay_record_maker *maker, int32_t partition, const struct kept_record *dead,
                       struct bus_out *ret);
/* The same without its value, which together with our headers is beyond the broker's limit. */
void relay_record_omit(struct relay_record_maker *maker, struct bus_out *out);
/* The clock at upto: all records below that offset have been seen. */
void relay_record_tick(struct relay_record_maker *maker, int32_t partition, int64_t upto, int64_t clock_ms,
                       struct bus_out *ret);
/* The offset of the row that a record of ledger or dead-letter was made of; -1: it was not made by a relay, or not of this
 * run and partition. */
int64_t relay_record_offset(struct relay_record_maker *maker, int32_t partition, const struct bus_record *record,
                            const struct bus_header *headers, size_t header_count);
