/*
 * intake.h - what the inputs give rise to: customers, standing, balances, letters; gathered until it is committed with the offsets.
 * Shape:  pure but for memory: one event in, entries of the batch for mail.take out (state/migrations/0005_mail.sql). Time comes in
 *         as an argument; whether a letter may go is not asked here, but for what nothing can change any more (decide_at_once).
 * Units:  _ms is int64 ms since 1970 UTC.
 */
#pragma once

#include "consumers/notify/letters.h"
#include "consumers/notify/token.h"
#include "runtime/clock.h"
#include "runtime/config.h"
#include "schemas/event.h"

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

struct intake {
    const struct config *config;
    const struct letters *letters;
    const struct token_key *key;
    struct calendar *calendar;
    json_t *customers, *changes, *points, *notes, *reversals, *unsubscribes, *retries;
    int64_t letter_count; /* gathered since the last clear */
};

/* Everything is borrowed. */
void intake_init(struct intake *intake, const struct config *config, const struct letters *letters,
                 const struct token_key *key, struct calendar *calendar);
void intake_clear(struct intake *intake);
void intake_done(struct intake *intake);

void intake_customer(struct intake *intake, const struct customer *customer);
void intake_ledger(struct intake *intake, const struct ledger_entry *entry, int64_t now_ms);
void intake_change(struct intake *intake, const struct segment_change *change, int64_t now_ms);
/* False: not one for us, or not to be understood. */
bool intake_command(struct intake *intake, const struct command *command);

/* The whole batch as JSON; takes progress. The caller frees. */
char *intake_json(const struct intake *intake, json_t *progress, int64_t now_ms);

/* "RFM_LOYAL_CUSTOMERS": "loyal customers"; "TIER_GOLD": "Gold". Returns to. */
char *intake_segment_words(struct text segment, char *to, size_t size);
