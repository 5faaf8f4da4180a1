/*
 * identities.h - which identities a partition has accepted lately: a cache in front of the ledger, never a rule.
 * Shape:  open addressing, 16 bytes a slot {fingerprint, offset}, in two generations: when the younger one is half of the
 *         limit, the elder one is dropped. A fingerprint may stand for two identities; a hit is a reason to compare, not a
 *         proof. A miss is final only where identities_miss_is_final says so; else the ledger is asked.
 * Units:  _ms is the log's clock (highest record timestamp seen), int64 ms since 1970 UTC.
 * Source: DESIGN 5.8; LIMITS 6 for size and speed.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { IDENTITY_HITS_MAX = 8 };

struct identity_slot {
    int64_t fingerprint;
    int64_t offset; /* of the record whose posting (or held record) carries it */
};

struct identity_generation {
    struct identity_slot *slots;
    size_t mask, used; /* used counts tombstones too */
    int64_t since_ms;  /* the clock when its first identity came */
    int64_t last_offset;
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
/* Offsets under the fingerprint, at most IDENTITY_HITS_MAX. Returns how many. */
size_t identities_find(const struct identities *table, int64_t fingerprint, int64_t ret[IDENTITY_HITS_MAX]);
/* Forgets one (a refused event releases its identity). */
void identities_remove(struct identities *table, int64_t fingerprint, int64_t offset);
/* Moves one to another record (a held return that a sale released). */
void identities_move(struct identities *table, int64_t fingerprint, int64_t from_offset, int64_t to_offset);
/* Drops the elder generation if it is time and all of it is committed (offsets below flushed_next). */
void identities_settle(struct identities *table, int64_t flushed_next);
/* arrived_after_ms: no copy of the event can have been posted before (its event time less the skew). */
bool identities_miss_is_final(const struct identities *table, int64_t arrived_after_ms);

static inline void identities_prefetch(const struct identities *table, int64_t fingerprint)
{
    __builtin_prefetch(&table->young.slots[(uint64_t)fingerprint & table->young.mask]);
}
