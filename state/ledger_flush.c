/*
 * A flush is one transaction, or when it is large, one for each quarter of its partitions, side by side on connections of
 * their own: Postgres works on one command of a connection at a time, on one core, and not while it waits for the disk. Each transaction guards its own
 * partitions, which have nothing to do with one another; when only some of them end well, the flush ends as one whose
 * reply was lost, and what the partitions hold tells the rest.
 */
#include "state/ledger_postgres.h"

#include <assert.h>
#include <poll.h>

enum { LANE_SIZE_MIN = 4 * 1024 * 1024 }; /* smaller flushes are not worth a second commit */

static size_t size_of(const struct ledger_part *part) { return part->postings == NULL ? 0 : part->postings->size; }

static size_t size_of_all(const struct ledger_part *parts, size_t count)
{
    size_t size = 0;
    for (size_t i = 0; i < count; i++)
        size += size_of(&parts[i]);
    return size;
}

/* Lets go of the lanes that are still under way. Without its session the server rolls back, unless the commit has been
 * sent. */
static void drop_lanes(struct ledger_postgres *store)
{
    for (size_t i = 0; i < LEDGER_LANES; i++) {
        struct ledger_lane *lane = &store->lanes[i];
        if (lane->stage != FLUSH_NONE)
            postgres_link_drop(&lane->link);
        lane->stage = FLUSH_NONE;
        lane->parts = NULL;
        lane->count = 0;
    }
    store->parts = NULL;
    store->part_count = 0;
}

/* One lane has ended with reply, or all of them well: what the caller is told. */
static enum store_reply over(struct ledger_postgres *store, enum store_reply reply)
{
    bool only = store->lanes[1].count == 0; /* they are used in their order */
    if (reply == STORE_NOT_MINE && !only)
        reply = STORE_DOWN; /* something was done, or will be */
    for (size_t i = 0; reply != STORE_NOT_MINE && i < store->part_count; i++)
        store->parts[i].reply = reply;
    drop_lanes(store);
    return reply;
}

enum store_reply ledger_flush_begin(void *self, struct ledger_part *parts, size_t count, struct ll_err *err)
{
    struct ledger_postgres *store = self;
    assert(store->parts == NULL && count > 0);
    store->parts = parts;
    store->part_count = count;
    for (size_t i = 0; i < count; i++)
        parts[i].reply = STORE_BUSY;
    size_t all = size_of_all(parts, count), lanes = all < LANE_SIZE_MIN ? 1 : LEDGER_LANES, used = 0, from = 0, before = 0;
    enum store_reply reply = STORE_OK;
    for (size_t lane = 1; lane <= lanes && reply == STORE_OK; lane++) {
        size_t to = from;
        while (to < count && (lane == lanes || before < all * lane / lanes))
            before += size_of(&parts[to++]);
        if (to > from)
            reply = ledger_lane_begin(&store->lanes[used++], parts + from, to - from, err);
        from = to;
    }
    if (reply != STORE_OK)
        drop_lanes(store);
    return reply;
}

void ledger_flush_abandon(void *self)
{
    struct ledger_postgres *store = self;
    if (store->parts != NULL)
        drop_lanes(store);
}

/* Moves every lane on. STORE_BUSY: at least one waits for its server. */
static enum store_reply advance(struct ledger_postgres *store, int64_t now_ms, size_t *fed, struct ll_err *err)
{
    enum store_reply all = STORE_OK;
    for (size_t i = 0; i < LEDGER_LANES; i++) {
        struct ledger_lane *lane = &store->lanes[i];
        if (lane->stage == FLUSH_NONE)
            continue;
        size_t fed_before = *fed;
        enum store_reply reply = ledger_lane_advance(lane, fed, err);
        if (*fed > fed_before)
            lane->heard_ms = now_ms;
        if (reply == STORE_OK || reply == STORE_NOT_MINE)
            lane->stage = FLUSH_NONE; /* its session is as good as new */
        if (reply == STORE_BUSY)
            all = STORE_BUSY;
        else if (reply != STORE_OK)
            return reply;
    }
    return all;
}

/* Waits until a lane can move on, at most timeout_ms, and takes what has come. False: nothing came. */
static bool wait_lanes(struct ledger_postgres *store, int64_t timeout_ms)
{
    struct pollfd sockets[LEDGER_LANES];
    for (size_t i = 0; i < LEDGER_LANES; i++) {
        const struct ledger_lane *lane = &store->lanes[i];
        bool waits = lane->stage != FLUSH_NONE;
        sockets[i] = (struct pollfd){ .fd = waits ? PQsocket(lane->link.conn) : -1,
                                      .events = (short)(POLLIN | (lane->for_write ? POLLOUT : 0)) };
        if (waits && sockets[i].fd < 0)
            return true; /* lost: the next call of libpq says so */
    }
    if (poll(sockets, LEDGER_LANES, timeout_ms < 0 ? 0 : (int)timeout_ms) <= 0)
        return false;
    for (size_t i = 0; i < LEDGER_LANES; i++)
        if (sockets[i].revents != 0) {
            store->lanes[i].heard_ms = ledger_now_ms();
            (void)PQconsumeInput(store->lanes[i].link.conn); /* the next call of libpq says so */
        }
    return true;
}

/* A lane whose server has been silent for longer than a live one would be. */
static const struct ledger_lane *silent_lane(const struct ledger_postgres *store, int64_t now_ms)
{
    for (size_t i = 0; i < LEDGER_LANES; i++)
        if (store->lanes[i].stage != FLUSH_NONE && now_ms - store->lanes[i].heard_ms >= ledger_patience_ms(store))
            return &store->lanes[i];
    return NULL;
}

enum store_reply ledger_flush_poll(void *self, int timeout_ms, struct ll_err *err)
{
    struct ledger_postgres *store = self;
    assert(store->parts != NULL);
    int64_t now_ms = ledger_now_ms(), until_ms = now_ms + timeout_ms;
    for (size_t fed = 0;;) {
        enum store_reply reply = advance(store, now_ms, &fed, err);
        if (reply != STORE_BUSY)
            return over(store, reply);
        /* A server that keeps pace must not keep the loop here. */
        if (timeout_ms == 0 ? fed >= LANE_FEED_SIZE_MAX : now_ms > until_ms)
            return STORE_BUSY;
        bool came = wait_lanes(store, until_ms - now_ms);
        now_ms = ledger_now_ms();
        if (came)
            continue;
        const struct ledger_lane *silent = silent_lane(store, now_ms);
        if (silent != NULL)
            return over(store, postgres_link_silent(&silent->link, ledger_lane_doing(silent),
                                                    now_ms - silent->heard_ms, err));
        if (now_ms >= until_ms)
            return STORE_BUSY;
    }
}
