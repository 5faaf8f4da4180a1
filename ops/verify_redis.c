#include "ops/verify.h"

#include "state/redis.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/*
 * Redis runs ahead of the ledger by up to one flush, so a balance that differs may only be in motion. It is wrong for sure if
 * Redis was read between two looks at the ledger (its next_offset within theirs) between which nothing was posted to the
 * customer. So what differs is looked at again, until it agrees, is wrong for sure, or has moved in every round.
 */

enum { ROUNDS = 12, ROUND_MS = 400 };

struct balance {
    struct text customer_id; /* view into names */
    int64_t points, postings;
    int64_t redis_points;
    bool in_redis, suspect;
};

/* The accounts of a partition, sorted as Postgres gives them, with what Redis says. */
struct look {
    struct balance *balances;
    size_t count;
    struct postgres_rows *rows;   /* the texts */
    int64_t next_offset;          /* the ledger's, in the same snapshot */
    int64_t redis_from, redis_to; /* Redis's before and after */
    size_t *slots;                /* index + 1 by hash */
    size_t mask;
    struct text stranger; /* owned: the first one with points in Redis alone; data NULL: none */
    int64_t stranger_points;
};

static size_t hash_of(struct text id)
{
    uint64_t hash = UINT64_C(14695981039346656037);
    for (uint32_t i = 0; i < id.size; i++)
        hash = (hash ^ (unsigned char)id.data[i]) * UINT64_C(1099511628211);
    return (size_t)(hash ^ hash >> 31);
}

static struct balance *find(const struct look *look, struct text id)
{
    for (size_t at = hash_of(id) & look->mask; look->slots[at] != 0; at = (at + 1) & look->mask)
        if (text_equal(look->balances[look->slots[at] - 1].customer_id, id))
            return &look->balances[look->slots[at] - 1];
    return NULL;
}

static void look_done(struct look *look)
{
    if (look->rows != NULL)
        postgres_rows_free(look->rows);
    free(look->balances);
    free(look->slots);
    free((void *)(uintptr_t)look->stranger.data);
    *look = (struct look){ 0 };
}

static enum ll_status look_at_ledger(struct verify *verify, int32_t partition, struct look *ret,
                                     struct ll_err *err)
{
    char run[16], number[16];
    snprintf(run, sizeof(run), "%d", verify->lens->config.program.run);
    snprintf(number, sizeof(number), "%d", partition);
    const char *params[] = { run, number };
    enum ll_status status =
        postgres_query(verify->postgres,
                       "select p.next_offset, a.customer_id, a.points_balance, a.postings"
                       " from loyalty.partitions p left join loyalty.accounts a using (run_id, partition)"
                       " where p.run_id = $1::int and p.partition = $2::int",
                       params, 2, &ret->rows, err);
    if (status != LL_OK)
        return status;
    size_t count = postgres_rows_count(ret->rows);
    size_t slots = 16;
    while (slots < 2 * count)
        slots *= 2;
    ret->mask = slots - 1;
    ret->slots = calloc(slots, sizeof(*ret->slots));
    ret->balances = calloc(count + 1, sizeof(*ret->balances));
    if (ret->slots == NULL || ret->balances == NULL)
        abort();
    ret->next_offset = count > 0 ? postgres_rows_int(ret->rows, 0, "next_offset") : -1;
    for (size_t i = 0; i < count; i++) {
        struct text id = postgres_rows_text(ret->rows, i, "customer_id");
        if (id.data == NULL)
            continue; /* no account at all */
        ret->balances[ret->count++] =
            (struct balance){ .customer_id = id,
                              .points = postgres_rows_int(ret->rows, i, "points_balance"),
                              .postings = postgres_rows_int(ret->rows, i, "postings") };
        size_t at = hash_of(id) & ret->mask;
        while (ret->slots[at] != 0)
            at = (at + 1) & ret->mask;
        ret->slots[at] = ret->count;
    }
    return LL_OK;
}

static void see_balance(void *arg, struct text customer_id, int64_t points)
{
    struct look *look = arg;
    struct balance *balance = find(look, customer_id);
    if (balance == NULL) {
        /* With 0 points it is one whose events were all refused or held: named, but never posted to. */
        if (points != 0 && look->stranger.data == NULL) {
            char *copy = malloc(customer_id.size + 1u);
            if (copy == NULL)
                abort();
            memcpy(copy, customer_id.data, customer_id.size);
            look->stranger = (struct text){ copy, customer_id.size };
            look->stranger_points = points;
        }
        return;
    }
    balance->in_redis = true;
    balance->redis_points = points;
}

static enum ll_status look_at_both(struct verify *verify, int32_t partition, struct look *ret,
                                   struct ll_err *err)
{
    struct lens *lens = verify->lens;
    int64_t epoch = -1;
    *ret = (struct look){ .redis_from = -1 };
    if (verify->view.redis == NULL) {
        enum ll_status status = redis_open(&lens->config, &verify->view.redis, err);
        if (status != LL_OK)
            return status;
    }
    enum ll_status status = look_at_ledger(verify, partition, ret, err);
    if (status == LL_OK)
        status = redis_mark(verify->view.redis, lens->config.program.run, partition, &epoch, &ret->redis_from,
                            err);
    if (status == LL_OK)
        status =
            redis_balances(verify->view.redis, lens->config.program.run, partition, see_balance, ret, err);
    if (status == LL_OK)
        status =
            redis_mark(verify->view.redis, lens->config.program.run, partition, &epoch, &ret->redis_to, err);
    for (size_t i = 0; status == LL_OK && i < ret->count; i++) {
        struct balance *balance = &ret->balances[i];
        balance->suspect = !balance->in_redis || balance->redis_points != balance->points;
    }
    return status;
}

/* Wrong for sure: what Redis said in the first look can be no state of the customer between both looks. */
static bool proven(const struct look *first, const struct look *second, const struct balance *was)
{
    const struct balance *is = find(second, was->customer_id);
    return is != NULL && is->postings == was->postings && is->points == was->points &&
           first->redis_from >= first->next_offset && first->redis_to <= second->next_offset;
}

static void report(struct check *check, int32_t partition, const struct balance *balance)
{
    char next[200];
    snprintf(next, sizeof(next), "lens customer %s", verify_text(balance->customer_id));
    if (balance->in_redis)
        verify_differs(check, next,
                       "customer %s, partition %d: Redis shows %lld points, the account has %lld",
                       verify_text(balance->customer_id), partition, (long long)balance->redis_points,
                       (long long)balance->points);
    else
        verify_differs(check, next,
                       "customer %s, partition %d: Redis shows no balance, the account has %lld points",
                       verify_text(balance->customer_id), partition, (long long)balance->points);
}

static size_t suspects(const struct look *look)
{
    size_t count = 0;
    for (size_t i = 0; i < look->count; i++)
        count += look->balances[i].suspect;
    return count + (look->stranger.data != NULL);
}

/* Reports what is proven wrong; false, and nothing is reported, if something may still be in motion. */
static bool settle(struct check *check, int32_t partition, const struct look *first,
                   const struct look *second)
{
    for (size_t i = 0; i < first->count; i++) {
        if (!first->balances[i].suspect || proven(first, second, &first->balances[i]))
            continue;
        const struct balance *again = find(second, first->balances[i].customer_id);
        if (again == NULL || again->suspect)
            return false;
    }
    for (size_t i = 0; i < first->count; i++)
        if (first->balances[i].suspect && proven(first, second, &first->balances[i]))
            report(check, partition, &first->balances[i]);
    /* The ledger has passed what Redis showed, and still does not know the customer. */
    if (first->stranger.data != NULL && find(second, first->stranger) == NULL)
        verify_differs(check, "lens status",
                       "partition %d: Redis shows %lld points of customer %s, who has no account", partition,
                       (long long)first->stranger_points, verify_text(first->stranger));
    return true;
}

static bool is_current(const struct look *look)
{
    return look->redis_from >= look->next_offset;
}

static bool agrees(const struct look *look)
{
    return is_current(look) && suspects(look) == 0;
}

static enum ll_status check_partition(struct verify *verify, struct check *check, int32_t partition,
                                      int64_t *moving, struct ll_err *err)
{
    struct look first = { 0 }, second = { 0 };
    enum ll_status status = look_at_both(verify, partition, &first, err);
    bool done = status != LL_OK || agrees(&first);
    check->compared += (int64_t)first.count;
    for (int round = 0; !done && round < ROUNDS; round++) {
        poll(NULL, 0, ROUND_MS);
        status = look_at_both(verify, partition, &second, err);
        bool passed = is_current(&first) && second.next_offset >= first.redis_to;
        done = status != LL_OK || agrees(&second) || (passed && settle(check, partition, &first, &second));
        if (!done && (passed || !is_current(&first))) { /* look on from here */
            struct look old = first;
            first = second;
            second = old;
        }
        if (!done)
            look_done(&second);
    }
    if (!done && !is_current(&first))
        verify_differs(
            check, "lens status",
            "partition %d: Redis stands at offset %lld, below the ledger's %lld: accrue has not rebuilt it",
            partition, (long long)first.redis_from, (long long)first.next_offset);
    else if (!done)
        *moving += (int64_t)suspects(&first);
    look_done(&first);
    look_done(&second);
    return status;
}

enum ll_status verify_redis(struct verify *verify, struct ll_err *err)
{
    struct check *check =
        verify_check(verify, "redis", "each balance that Redis shows is the account's", "customers");
    enum ll_status status = LL_OK;
    int64_t moving = 0;
    for (int32_t p = 0; status == LL_OK && p < verify->partitions; p++) {
        lens_progress(verify->lens, "comparing Redis, partition %d of %d", p + 1, verify->partitions);
        if (verify->cuts[p].known)
            status = check_partition(verify, check, p, &moving, err);
    }
    lens_progress_end(verify->lens);
    if (moving > 0)
        verify_note(check,
                    "%s balances were in motion in every look and are not compared; run it again when less "
                    "is going on",
                    lens_number(moving));
    return status;
}
