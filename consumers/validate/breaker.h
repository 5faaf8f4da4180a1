/*
 * breaker.h - stops a partition in which too much is refused: then the feed is wrong, not the records.
 * Shape:  a ring of what was heard last; it opens when enough of it, by number and by share, are refusals. A record that waits
 *         for a reference counts twice: as not refused when it begins to wait, and as what is decided then. Closed by hand it
 *         stays closed until a whole window of verdicts was good enough: "go on" is meant for all of the trouble, not for 50
 *         records of it, nor only for those that are decided already.
 * Source: DESIGN 3.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct verdicts {
    uint64_t *refusals; /* owned: one bit a record */
    uint32_t seen, at, refused;
};

struct breaker {
    struct verdicts heard;
    struct verdicts decided; /* since it was closed by hand */
    uint32_t window, refused_min, refused_percent;
    bool open;
    bool is_waived; /* was closed by hand, and no good window came since */
};

void breaker_init(struct breaker *breaker, int64_t window, int64_t refused_min, int64_t refused_percent);
void breaker_done(struct breaker *breaker);
/* True if this verdict opens it. */
bool breaker_add(struct breaker *breaker, bool refused);
/* A record begins to wait. */
void breaker_wait(struct breaker *breaker);
/* An operator says go on. */
void breaker_waive(struct breaker *breaker);
/* Nothing seen yet; stays waived. */
void breaker_forget(struct breaker *breaker);
