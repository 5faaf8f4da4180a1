/*
 * identities.h - which identities a partition has accepted lately: a cache in front of the ledger, never a rule.
 * Shape:  open addressing, 8 bytes a slot {38 bits of the fingerprint, the lowest 26 of the offset}, in two generations: when the
 *         younger one is half of the limit, the elder one is dropped. A table grows by a quarter when three of four slots are
 *         taken; its slots lie in the order of their fingerprints, so that growing reads and writes one behind the other. What is
 *         found may be another identity (one in 2^38 for each that is kept): a hit is a reason to compare, not a proof. A miss is
 *         final only where identities_miss_is_final says so; else the ledger is asked.
 * Units:  _ms is the log's clock (highest record timestamp seen), int64 ms since 1970 UTC.
 * Source: DESIGN 5.8; LIMITS 6 for size and speed.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { IDENTITY_HITS_MAX = 16, IDENTITY_SPAN = 1 << 26 };

struct identity_generation {
    uint64_t *slots;
    size_t slot_count, used; /* used counts tombstones too */
    int64_t since_ms;        /* the clock when its first identity came */
    int64_t first_offset, last_offset;
};

struct identities {
    struct identity_generation young, old;
    size_t limit;      /* of both generations together */
    bool complete;     /* nothing that the partition ever accepted is missing */
    int64_t window_ms; /* every identity posted after this clock is in; only if !complete */
};

/* limit: at most so many identities are kept (at least 1024). A new table is complete: it stands for an empty log. */
void identities_init(struct identities *table, int64_t limit);
void identities_done(struct identities *table);

void identities_add(struct identities *table, int64_t fingerprint, int64_t offset, int64_t clock_ms);
/* What was loaded is not all: everything posted after window_ms is in. */
void identities_incomplete(struct identities *table, int64_t window_ms);
/* Offsets under the fingerprint (of the record whose posting, or held record, carries it), at most IDENTITY_HITS_MAX. Returns how
 * many. Where a generation is longer than IDENTITY_SPAN, an offset comes with the one a span before it, which stands for all that
 * the slot may mean as well: what is not committed must be shorter than a span. */
size_t identities_find(const struct identities *table, int64_t fingerprint, int64_t ret[IDENTITY_HITS_MAX]);
/* Forgets one (a refused event releases its identity). */
void identities_remove(struct identities *table, int64_t fingerprint, int64_t offset);
/* Moves one to another record (a held return that a sale released). */
void identities_move(struct identities *table, int64_t fingerprint, int64_t from_offset, int64_t to_offset);
/* Drops the elder generation if it is time and all of it is committed (offsets below flushed_next). */
void identities_settle(struct identities *table, int64_t flushed_next);
/* arrived_after_ms: no copy of the event can have been posted before (its event time less the skew). */
bool identities_miss_is_final(const struct identities *table, int64_t arrived_after_ms);

/* Fingerprints may be anything; mixed, their highest bits are even. All ones are left to slots without an identity. */
static inline uint64_t identities_tag(int64_t fingerprint)
{
    uint64_t mixed = (uint64_t)fingerprint * UINT64_C(0x9E3779B97F4A7C15) & ~(uint64_t)(IDENTITY_SPAN - 1);
    return mixed + IDENTITY_SPAN == 0 ? mixed - IDENTITY_SPAN : mixed;
}

static inline size_t identities_home(const struct identity_generation *generation, uint64_t slot)
{
    return (size_t)((slot >> 32) * generation->slot_count >> 32);
}

static inline void identities_prefetch(const struct identities *table, int64_t fingerprint)
{
    __builtin_prefetch(&table->young.slots[identities_home(&table->young, identities_tag(fingerprint))]);
}
