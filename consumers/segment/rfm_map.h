/*
 * rfm_map.h - the named segment of each of the 125 cells of scores (recency, frequency, monetary, 1 to 5 each).
 * Shape:  one row per r, one column per fm = (f + m + 1) / 2. rfm_map.c checks at build that all 125 cells have a name, once.
 *         segments.rfm_map in Postgres is the same map; a test compares them.
 * Source: DESIGN 6.
 */
#pragma once

/* X(symbol, what it says of a customer) */
#define RFM_TABLE(X)                                                                                         \
    X(CHAMPION, "bought lately, often and much")                                                             \
    X(LOYAL, "buys often and much")                                                                          \
    X(POTENTIAL_LOYALIST, "bought lately, and more than once")                                               \
    X(NEW_CUSTOMER, "bought just now, for the first time or little")                                         \
    X(PROMISING, "bought lately, but little")                                                                \
    X(NEEDS_ATTENTION, "in the middle of everything, and could go either way")                               \
    X(ABOUT_TO_SLEEP, "has bought little, and not lately")                                                   \
    X(SLIPPING, "bought often and much, but not lately")                                                     \
    X(CANNOT_LOSE, "was among the best, and has not come for long")                                          \
    X(HIBERNATING, "has not come for long, and bought little")                                               \
    X(LOST, "came least, bought least, longest ago")

enum rfm_segment {
    RFM_NONE, /* no sale in twelve months */
#define X(symbol, meaning) RFM_##symbol,
    RFM_TABLE(X)
#undef X
        RFM_COUNT,
};

/* RFM_NONE if a score is not 1 to 5. */
enum rfm_segment rfm_of(int r, int f, int m);
/* "CHAMPION"; "" for RFM_NONE. */
const char *rfm_name(enum rfm_segment segment);
const char *rfm_meaning(enum rfm_segment segment);
/* RFM_NONE if there is no such name. */
enum rfm_segment rfm_find(const char *name);
