#include "consumers/segment/rfm_map.h"

#include <stddef.h>
#include <string.h>

/* X(r, fm, name): the cells with (f + m + 1) / 2 = fm. */
/* clang-format off */
#define RFM_MAP(X) \
    X(5, 1, NEW_CUSTOMER) X(5, 2, POTENTIAL_LOYALIST) X(5, 3, POTENTIAL_LOYALIST) X(5, 4, CHAMPION) X(5, 5, CHAMPION) \
    X(4, 1, PROMISING) X(4, 2, POTENTIAL_LOYALIST) X(4, 3, LOYAL) X(4, 4, LOYAL) X(4, 5, CHAMPION) \
    X(3, 1, ABOUT_TO_SLEEP) X(3, 2, NEEDS_ATTENTION) X(3, 3, NEEDS_ATTENTION) X(3, 4, LOYAL) X(3, 5, LOYAL) \
    X(2, 1, ABOUT_TO_SLEEP) X(2, 2, ABOUT_TO_SLEEP) X(2, 3, NEEDS_ATTENTION) X(2, 4, SLIPPING) X(2, 5, SLIPPING) \
    X(1, 1, LOST) X(1, 2, HIBERNATING) X(1, 3, HIBERNATING) X(1, 4, CANNOT_LOSE) X(1, 5, CANNOT_LOSE)
/* clang-format on */

/* How many of the 25 pairs (f, m) have a given fm; together they are all, since each pair has one. */
#define PAIRS(fm) ((fm) == 1 ? 1 : (fm) == 2 ? 5 : (fm) == 3 ? 9 : (fm) == 4 ? 7 : 3)

#define X(r, fm, name) +PAIRS(fm) * ((r) >= 1 && (r) <= 5 && (fm) >= 1 && (fm) <= 5)
_Static_assert(0 RFM_MAP(X) == 125, "every cell of scores has a name");
#undef X

static enum rfm_segment of(int r, int fm)
{
    switch (r * 10 + fm) { /* a cell named twice does not compile */
#define X(r, fm, name)                                                                                       \
    case (r)*10 + (fm):                                                                                      \
        return RFM_##name;
        RFM_MAP(X)
#undef X
    default:
        return RFM_NONE;
    }
}

enum rfm_segment rfm_of(int r, int f, int m)
{
    if (f < 1 || f > 5 || m < 1 || m > 5)
        return RFM_NONE;
    return of(r, (f + m + 1) / 2);
}

static const struct {
    const char *name, *meaning;
} segments[RFM_COUNT] = { [RFM_NONE] = { "", "has bought nothing in twelve months" },
#define X(symbol, meaning) [RFM_##symbol] = { #symbol, meaning },
                          RFM_TABLE(X)
#undef X
};

const char *rfm_name(enum rfm_segment segment)
{
    return segment < RFM_COUNT ? segments[segment].name : "";
}

const char *rfm_meaning(enum rfm_segment segment)
{
    return segment < RFM_COUNT ? segments[segment].meaning : "";
}

enum rfm_segment rfm_find(const char *name)
{
    for (enum rfm_segment at = RFM_NONE + 1; at < RFM_COUNT; at++)
        if (strcmp(segments[at].name, name) == 0)
            return at;
    return RFM_NONE;
}
