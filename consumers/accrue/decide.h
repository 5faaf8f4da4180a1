/*
 * decide.h - what one record of transactions.valid does: postings, a refusal, a hold, or nothing. No I/O.
 * Shape:  a batch goes through three steps: decide_needs per record says what memory lacks; the loop asks the ledger for
 *         that and gives it to the partition; decide_record per record, in order of offsets, then cannot miss anything.
 *         A decision depends on the partition's log alone (DESIGN 5), so accrue, its simulation and `lens verify` all run
 *         this code and must get the same rows.
 * Units:  _ms is int64 ms since 1970 UTC, the record's or the event's; points are whole points.
 */
#pragma once

#include "consumers/accrue/partition.h"
#include "consumers/accrue/rulebook.h"
#include "runtime/bus.h"
#include "runtime/clock.h"
#include "schemas/codec.h"

#include <stdbool.h>
#include <stdint.h>

struct decider; /* rules, calendar, scratch; one per thread */

struct decide_settings {
    int32_t run;
    int64_t hold_ms, skew_ms;
    bool reverse_unreferenced; /* a return that names no sale takes points */
};

/* codec, book and calendar are borrowed for the decider's life. */
struct decider *decider_new(struct codec *codec, struct rulebook *book, struct calendar *calendar,
                            const struct decide_settings *settings);
void decider_free(struct decider *decider);

/* One record, decoded. */
struct decide_input {
    int64_t offset, timestamp_ms;
    struct text key, value, headers; /* headers as struct kept_record has them; may be null */
    bool is_control;
    struct control control;
    enum code code; /* not CODE_NONE: it could not be decoded */
    struct transaction transaction;
    uint64_t customer_hash; /* accounts_hash of the customer */
    int64_t identity_hash;
    int64_t sale_hash; /* of the sale that a return or void names, else identity_hash */
    bool needs_identity, needs_sale; /* set by decide_needs */
};

/* Decodes. LL_OK also for what cannot be decoded (input->code says); LL_RETRY: the schema registry does not answer. The
 * texts are views into value; lines lie in scratch and must be copied if they are to live longer. */
enum ll_status decide_decode(struct codec *codec, struct codec_scratch *scratch, struct decide_input *input,
                             struct ll_err *err);

/* What must be asked before the record can be decided: sets needs_identity (postings with identity_hash), needs_sale
 * (postings of sale_hash; a place for it is made). Returns the customer whose balance is missing, or null. */
struct text decide_needs(struct decider *decider, struct partition *partition, struct decide_input *input);
/* Gives the partition a posting that was found for such a need. */
void decide_found(struct partition *partition, const struct posting *posting);

/* Decides; partition->next becomes offset + 1. The rules announced so far must be in the book. */
void decide_record(struct decider *decider, struct partition *partition, const struct decide_input *input);
