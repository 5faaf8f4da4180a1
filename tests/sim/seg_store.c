/* Postgres, as segment sees it: state, changes, epochs and offsets change together, under a claim's epoch. */
#include "tests/sim/seg.h"

#include "state/copy_field.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FIELDS_MAX = 32, SLICE = 7 };

/* A commit, with copies of all that it names: it may arrive when its sender is gone. */
struct seg_write {
    struct segment_owner owner;
    struct segment_part parts[SEG_PARTITIONS];
    const struct seg_kept **standing, **newcomers, **epochs, **changes;
    size_t standing_count, newcomer_count, epoch_count, change_count;
    struct text *categories;
    size_t category_count;
};

/* ---- rows ---- */

struct text seg_field(const struct seg_kept *row, const char *columns, const char *name)
{
    struct copy_cursor cursor = { .at = row->bytes.data, .end = row->bytes.data + row->bytes.size };
    size_t count = take_u16(&cursor), size = strlen(name);
    for (size_t at = 0; at < count; at++) {
        struct text field = take_bytes(&cursor);
        columns += strspn(columns, ", ");
        size_t width = strcspn(columns, ",");
        if (width == size && memcmp(columns, name, size) == 0 && !cursor.bad)
            return field;
        columns += width;
    }
    fprintf(stderr, "no column %s\n", name);
    abort();
}

int64_t seg_number(struct text field)
{
    uint64_t value = 0;
    for (uint32_t at = 0; at < field.size; at++)
        value = value << 8 | (unsigned char)field.data[at];
    return field.size == 4 ? (int32_t)value : (int64_t)value;
}

/* An array has 20 bytes before its elements. */
int64_t seg_element(struct text array, size_t at, uint32_t size)
{
    return array.size < 20 ? 0 : seg_number((struct text){ array.data + 24 + at * (4 + size), size });
}

static size_t row_size(const char *bytes, size_t size)
{
    struct copy_cursor cursor = { .at = bytes, .end = bytes + size };
    size_t count = take_u16(&cursor);
    for (size_t at = 0; at < count; at++)
        take_bytes(&cursor);
    if (cursor.bad)
        abort();
    return (size_t)(cursor.at - bytes);
}

/* key and number: names of columns; NULL: none. */
static const struct seg_kept **keep(struct seg_world *world, const struct row_buffer *rows,
                                    const char *columns, const char *key, const char *number)
{
    const struct seg_kept **list = arena_take(&world->memory, (rows->rows + 1) * sizeof(void *));
    size_t count = 0, size;
    for (size_t at = 0; at < rows->size; at += size) {
        struct seg_kept *kept = arena_take(&world->memory, sizeof *kept);
        size = row_size(rows->data + at, rows->size - at);
        *kept = (struct seg_kept){ .bytes = { arena_copy(&world->memory, rows->data + at, size),
                                              (uint32_t)size } };
        if (key != NULL) {
            struct text text = seg_field(kept, columns, key);
            snprintf(kept->key, sizeof kept->key, "%.*s", (int)text.size, text.data);
        }
        kept->number = number == NULL ? 0 : seg_number(seg_field(kept, columns, number));
        list[count++] = kept;
    }
    return list;
}

static struct seg_write *copy(struct seg_world *world, const struct segment_commit *commit)
{
    struct seg_write *write = arena_take(&world->memory, sizeof *write);
    *write = (struct seg_write){
        .owner = *commit->owner,
        .standing = keep(world, commit->standing, segment_standing_columns, "customer_id", NULL),
        .standing_count = commit->standing->rows,
        .newcomers = keep(world, commit->newcomers, segment_standing_columns, "customer_id", NULL),
        .newcomer_count = commit->newcomers->rows,
        .epochs = keep(world, commit->thresholds, segment_threshold_columns, NULL, "version"),
        .epoch_count = commit->thresholds->rows,
        .changes = keep(world, commit->changes, segment_change_columns, "change_id", "change_no"),
        .change_count = commit->changes->rows,
        .category_count = commit->category_count,
    };
    memcpy(write->parts, commit->parts, commit->part_count * sizeof *write->parts);
    write->categories = arena_take(&world->memory, (commit->category_count + 1) * sizeof(struct text));
    for (size_t at = 0; at < commit->category_count; at++) {
        struct text name = commit->categories[at];
        write->categories[at] =
            (struct text){ arena_copy(&world->memory, name.data, name.size), name.size };
    }
    return write;
}

/* ---- what is committed ---- */

static void put_standing(struct seg_world *world, const struct seg_kept *row, bool is_new)
{
    int customer = atoi(row->key + 1);
    if (customer < 0 || customer >= SEG_CUSTOMERS || row->key[0] != 'C') {
        seed_bad(&world->seed, "a standing of nobody: %s", row->key);
        return;
    }
    if ((world->store.now.standing[customer] == NULL) != is_new)
        seed_bad(&world->seed, "%s is written as %s", row->key, is_new ? "new, and known" : "known, and new");
    world->store.now.standing[customer] = row;
}

static void put_changes(struct seg_world *world, const struct seg_write *write)
{
    struct seg_store *store = &world->store;
    for (size_t at = 0; at < write->change_count; at++) {
        const struct seg_kept *change = write->changes[at];
        if (store->now.change_count == SEG_CHANGES_MAX || change->number != (int64_t)store->now.change_count + 1) {
            seed_bad(&world->seed, "change %lld is written where %zu are", (long long)change->number,
                     store->now.change_count);
            return;
        }
        for (size_t i = 0; i < store->now.change_count; i++)
            if (strcmp(store->changes[i]->key, change->key) == 0)
                seed_bad(&world->seed, "change %s is made twice", change->key);
        store->changes[store->now.change_count++] = change;
    }
}

static void put_parts(struct seg_world *world, const struct seg_write *write)
{
    memcpy(world->store.now.parts, write->parts, sizeof write->parts);
}

static void put_all(struct seg_world *world, const struct seg_write *write)
{
    struct seg_store *store = &world->store;
    int64_t relayed_upto = store->now.owner.relayed_upto;
    store->now.owner = write->owner;
    store->now.owner.relayed_upto = relayed_upto; /* a commit does not write it */
    put_parts(world, write);
    for (size_t at = 0; at < write->newcomer_count; at++)
        put_standing(world, write->newcomers[at], true);
    for (size_t at = 0; at < write->standing_count; at++)
        put_standing(world, write->standing[at], false);
    for (size_t at = 0; at < write->epoch_count; at++) {
        size_t count = store->now.epoch_count;
        if (count == SEG_EPOCHS_MAX || (count > 0 && store->epochs[count - 1]->number >= write->epochs[at]->number))
            seed_bad(&world->seed, "epoch %lld is decided twice", (long long)write->epochs[at]->number);
        else
            store->epochs[store->now.epoch_count++] = write->epochs[at];
    }
    if (world->bug != SEG_BUG_CHANGES_APART)
        put_changes(world, write);
    for (size_t at = 0; at < write->category_count; at++)
        if (store->now.category_count < SEG_CATEGORIES_MAX)
            store->categories[store->now.category_count++] = write->categories[at];
    if (world->history_count < SEG_HISTORY_MAX)
        world->history[world->history_count++] = store->now;
}

static enum store_reply take(struct seg_world *world, const struct seg_write *write)
{
    if (write->owner.epoch != world->store.now.owner.epoch && world->bug != SEG_BUG_EPOCH_UNCHECKED)
        return STORE_NOT_MINE;
    int64_t epoch = world->store.now.owner.epoch;
    put_all(world, write);
    world->store.now.owner.epoch = epoch;
    return STORE_OK;
}

void seg_store_step(struct seg_world *world)
{
    for (size_t at = world->under_way_count; at-- > 0;) {
        if (world->under_way[at].at_step > world->seed.step)
            continue;
        enum store_reply reply = take(world, world->under_way[at].write);
        seed_say(&world->seed, "   a commit arrives late: %s", reply == STORE_OK ? "done" : "refused");
        world->under_way[at] = world->under_way[--world->under_way_count];
    }
    for (int at = 0; at < world->client_count; at++) {
        struct seg_client *client = world->clients[at];
        bool is_gone = !client->alive || client->asleep_until > world->seed.step;
        if (client->has_session && is_gone && client->session_until <= world->seed.step)
            seg_cut_session(client);
    }
}

void seg_cut_session(struct seg_client *client)
{
    client->has_session = client->has_lock = false;
}

void seg_fall_back(struct seg_world *world, bool far)
{
    if (world->history_count < 2)
        return;
    size_t to = far ? world->history_count / 2 : world->history_count - 2;
    world->store.now = world->history[to];
    world->history_count = to + 1;
    world->under_way_count = 0; /* they die with their server */
    world->store.server++;
    for (int at = 0; at < world->client_count; at++)
        seg_cut_session(world->clients[at]);
    const struct segment_owner *owner = &world->store.now.owner;
    int64_t told = world->progress >= 0 ? world->progress : owner->relayed_upto;
    world->fell_behind =
        world->fell_behind || told != world->published_upto || told > owner->next_change;
    seed_say(&world->seed, "   back to %zu changes, %zu epochs; %lld are published", world->store.now.change_count,
             world->store.now.epoch_count, (long long)world->published_upto - 1);
}

/* ---- the seam ---- */

static enum store_reply down(struct seg_client *client, const char *what, struct ll_err *err)
{
    seg_cut_session(client);
    ll_fail(err, LL_RETRY, "postgres: %s: no answer", what);
    return STORE_DOWN;
}

static bool is_reachable(const struct seg_client *client)
{
    return client->world->postgres_down_until <= client->world->seed.step;
}

static enum store_reply claim(void *self, int64_t wall_ms, struct segment_owner *ret, struct segment_part *parts,
                              size_t count, struct ll_err *err)
{
    struct seg_client *client = self;
    struct seg_world *world = client->world;
    enum seg_fault fault = seg_call(client, "claim");
    if (!is_reachable(client) || (fault == SEG_FAILS && seed_random(&world->seed, 2) == 0))
        return down(client, "claim", err);
    for (int at = 0; at < world->client_count; at++)
        if (world->clients[at] != client && world->clients[at]->has_lock) {
            seg_cut_session(client);
            ll_fail(err, LL_RETRY, "another one owns the run");
            return STORE_BUSY;
        }
    client->has_session = client->has_lock = true;
    client->server = world->store.server;
    struct segment_owner *owner = &world->store.now.owner;
    owner->epoch = owner->epoch + 1 > wall_ms ? owner->epoch + 1 : wall_ms;
    client->epoch = owner->epoch;
    seed_say(&world->seed, "%d claims: epoch %lld, %zu changes", client->number, (long long)owner->epoch,
             world->store.now.change_count);
    *ret = *owner;
    memcpy(parts, world->store.now.parts, count * sizeof *parts);
    for (size_t at = 0; at < count && world->bug == SEG_BUG_DOUBT_KEEPS && client->has_kept; at++)
        parts[at].next_offset = client->kept[at];
    for (size_t at = 0; at < count && world->bug == SEG_BUG_ROW_FORGOTTEN; at++)
        parts[at].row_offset = -1;
    if (fault == SEG_CRASH_AFTER)
        seg_die(client);
    return fault == SEG_FAILS ? down(client, "claim", err) : STORE_OK;
}

static void tell_threshold(const struct seg_kept *row, const struct segment_loader *to)
{
#define NUMBER(name) seg_number(seg_field(row, segment_threshold_columns, name))
#define ELEMENT(name, at, size) seg_element(seg_field(row, segment_threshold_columns, name), at, size)
    struct segment_threshold threshold = { .version = (int32_t)NUMBER("version"),
                                           .day = (int32_t)NUMBER("day") + COPY_EPOCH_DAY,
                                           .customers = NUMBER("customers"),
                                           .rated = NUMBER("rated"),
                                           .base = NUMBER("base"),
                                           .k = NUMBER("k"),
                                           .members = NUMBER("members"),
                                           .threshold_minor = NUMBER("threshold_minor"),
                                           .median_balance = NUMBER("median_balance"),
                                           .categories = (int32_t)NUMBER("categories") };
    for (size_t cut = 0; cut < SEGMENT_CUTS; cut++) {
        threshold.r_cuts[cut] = (int32_t)ELEMENT("r_cuts", cut, 4);
        threshold.f_cuts[cut] = (int32_t)ELEMENT("f_cuts", cut, 4);
        threshold.m_cuts[cut] = ELEMENT("m_cuts", cut, 8);
    }
    to->threshold(to->arg, &threshold);
}

static enum store_reply load(void *self, const struct segment_owner *owner, const struct segment_loader *to,
                             struct ll_err *err)
{
    struct seg_client *client = self;
    const struct seg_store *store = &client->world->store;
    enum seg_fault fault = seg_call(client, "load");
    if (!is_reachable(client) || !client->has_session)
        return down(client, "load", err);
    for (size_t at = 0; at < store->now.epoch_count; at++)
        if (store->epochs[at]->number == owner->threshold_version)
            tell_threshold(store->epochs[at], to);
    for (size_t at = 0; at < store->now.category_count; at++)
        to->category(to->arg, store->categories[at]);
    for (size_t at = 0; at < SEG_CUSTOMERS; at++) {
        const struct seg_kept *row = store->now.standing[at];
        if (fault == SEG_FAILS && at == SEG_CUSTOMERS / 2)
            return down(client, "load", err);
        if (row != NULL && !to->standing(to->arg, text_of(row->key), seg_field(row, segment_standing_columns, "state")))
            seed_bad(&client->world->seed, "the standing of %s cannot be loaded", row->key);
    }
    if (fault == SEG_CRASH_AFTER)
        seg_die(client);
    return STORE_OK;
}

/* Parts of a commit that are written by themselves, where a bug wants it so. */
static void put_apart(struct seg_client *client, const struct seg_write *write)
{
    struct seg_world *world = client->world;
    if (world->bug == SEG_BUG_OFFSETS_APART && write->owner.epoch == world->store.now.owner.epoch)
        put_parts(world, write);
    if (world->bug == SEG_BUG_DOUBT_KEEPS)
        for (size_t at = 0; at < SEG_PARTITIONS; at++)
            client->kept[at] = write->parts[at].next_offset;
    client->has_kept = true;
}

static enum store_reply commit(void *self, const struct segment_commit *what, struct ll_err *err)
{
    struct seg_client *client = self;
    struct seg_world *world = client->world;
    struct seg_write *write = copy(world, what);
    if (client->has_session && is_reachable(client))
        put_apart(client, write);
    enum seg_fault fault = seg_call(client, "commit");
    /* A session that was cut may have been carried on by something between: its server is the same, the lock is not. */
    bool carried_on = !client->has_session && client->server == world->store.server &&
                      seed_random(&world->seed, 2) == 0;
    if (!is_reachable(client) || !(client->has_session || carried_on))
        return down(client, "commit", err);
    uint32_t how = fault == SEG_FAILS ? seed_random(&world->seed, 3) : 0;
    if (fault == SEG_FAILS && how > 0 && world->under_way_count < SEG_UNDER_WAY_MAX) {
        if (how == 1) {
            world->under_way[world->under_way_count].at_step = world->seed.step + seed_random(&world->seed, 40);
            world->under_way[world->under_way_count++].write = write;
        }
        seed_say(&world->seed, "   the commit is %s", how == 1 ? "under way" : "not done");
        return world->bug == SEG_BUG_LOST_YES ? STORE_OK : down(client, "commit", err);
    }
    enum store_reply reply = take(world, write);
    seed_say(&world->seed, "%d commits: %s, %zu changes", client->number, reply == STORE_OK ? "done" : "refused",
             world->store.now.change_count);
    if (fault == SEG_CRASH_AFTER)
        seg_die(client);
    if (fault == SEG_FAILS)
        return world->bug == SEG_BUG_LOST_YES ? STORE_OK : down(client, "commit", err);
    if (reply != STORE_OK) {
        seg_cut_session(client);
        ll_fail(err, LL_RETRY, "postgres: another epoch");
        return reply;
    }
    if (world->bug == SEG_BUG_CHANGES_APART) {
        fault = seg_call(client, "changes apart");
        put_changes(world, write);
    }
    return STORE_OK;
}

static enum store_reply changes(void *self, int64_t from, int64_t limit, segment_change_row_fn *each, void *arg,
                                struct ll_err *err)
{
    struct seg_client *client = self;
    const struct seg_store *store = &client->world->store;
    enum seg_fault fault = seg_call(client, "changes");
    if (!is_reachable(client) || !client->has_session)
        return down(client, "changes", err);
    int64_t slice = limit < SLICE ? limit : SLICE;
    for (int64_t number = from; number < from + slice && number <= (int64_t)store->now.change_count; number++) {
        struct segment_change change;
        int64_t change_no;
        const struct seg_kept *row = store->changes[number - 1];
        if (!segment_read_change(row->bytes.data, row->bytes.size, &change_no, &change))
            seed_bad(&client->world->seed, "change %lld cannot be read", (long long)number);
        else
            each(arg, change_no, &change);
        if (fault == SEG_FAILS && number == from)
            return down(client, "changes", err);
    }
    if (fault == SEG_CRASH_AFTER)
        seg_die(client);
    return fault == SEG_FAILS ? down(client, "changes", err) : STORE_OK;
}

static enum store_reply set_relayed(void *self, int64_t upto, int64_t again, struct ll_err *err)
{
    (void)again; /* the topic is compared by the world itself */
    struct seg_client *client = self;
    struct segment_owner *owner = &client->world->store.now.owner;
    enum seg_fault fault = seg_call(client, "note");
    if (!is_reachable(client) || !client->has_session || fault == SEG_FAILS)
        return down(client, "note", err);
    if (owner->relayed_upto < upto)
        owner->relayed_upto = upto;
    if (fault == SEG_CRASH_AFTER)
        seg_die(client);
    return STORE_OK;
}

static void close_store(void *self)
{
    (void)self;
}

struct segment_store seg_store_of(struct seg_client *client)
{
    static const struct segment_store_ops ops = { .claim = claim,
                                                  .load = load,
                                                  .commit = commit,
                                                  .changes = changes,
                                                  .set_relayed = set_relayed,
                                                  .close = close_store };
    return (struct segment_store){ &ops, client };
}
