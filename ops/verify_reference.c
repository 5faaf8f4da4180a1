#include "ops/verify.h"

#include "ops/event_json.h"
#include "ops/letters.h"
#include "ops/scan.h"

#include <poll.h>
#include <stdlib.h>

/*
 * The valid reference topics are compacted: of two records with one key the elder may be gone. So a raw record is accounted
 * for if its key (id and effective_from) is in the valid topic, or its offset in dead-letter.
 */

enum { TRIES = 4, TRY_MS = 500, SLOTS_FIRST = 4096 };

static const enum topic raw_topics[] = { TOPIC_STORES, TOPIC_PRODUCTS, TOPIC_CUSTOMERS, TOPIC_PROMOTIONS,
                                         TOPIC_INVENTORY };
static const enum topic valid_topics[] = { TOPIC_STORES_VALID, TOPIC_PRODUCTS_VALID, TOPIC_CUSTOMERS_VALID,
                                           TOPIC_PROMOTIONS_VALID, TOPIC_INVENTORY_VALID };
enum { REFERENCE_TOPICS = sizeof(raw_topics) / sizeof(raw_topics[0]) };

/* A set of 64-bit fingerprints; 0 is never put in. */
struct prints {
    uint64_t *slots;
    size_t mask, count;
};

static void prints_init(struct prints *set, size_t slots)
{
    *set = (struct prints){ calloc(slots, sizeof(uint64_t)), slots - 1, 0 };
    if (set->slots == NULL)
        abort();
}

static bool prints_has(const struct prints *set, uint64_t print)
{
    size_t at = (size_t)print & set->mask;
    while (set->slots[at] != 0 && set->slots[at] != print)
        at = (at + 1) & set->mask;
    return set->slots[at] != 0;
}

static void prints_add(struct prints *set, uint64_t print)
{
    if (prints_has(set, print))
        return;
    if (2 * ++set->count > set->mask) {
        struct prints bigger;
        prints_init(&bigger, 2 * (set->mask + 1));
        for (size_t i = 0; i <= set->mask; i++)
            if (set->slots[i] != 0)
                prints_add(&bigger, set->slots[i]);
        free(set->slots);
        bigger.count = set->count;
        *set = bigger;
    }
    size_t at = (size_t)print & set->mask;
    while (set->slots[at] != 0)
        at = (at + 1) & set->mask;
    set->slots[at] = print;
}

/* FNV-1a, finished by a multiply: the low bits choose the slot. */
static uint64_t print_of(size_t kind, int64_t number, struct text a, struct text b)
{
    uint64_t hash = UINT64_C(14695981039346656037) ^ (kind + 1);
    for (int i = 0; i < 64; i += 8)
        hash = (hash ^ ((uint64_t)number >> i & 255)) * UINT64_C(1099511628211);
    const struct text parts[] = { a, b };
    for (size_t part = 0; part < 2; part++) {
        for (uint32_t i = 0; i < parts[part].size; i++)
            hash = (hash ^ (unsigned char)parts[part].data[i]) * UINT64_C(1099511628211);
        hash = (hash ^ 0xff) * UINT64_C(1099511628211);
    }
    hash ^= hash >> 29;
    return hash == 0 ? 1 : hash;
}

struct reference_view {
    struct verify *verify;
    struct line_part *cuts; /* by place in raw_topics */
    struct prints valid, dead;
    struct check *check;
};

static const struct text nothing = { NULL, 0 };

static uint64_t key_print(size_t kind, const struct event *event, struct text *ret_id)
{
    struct text store_id = nothing;
    int64_t from_ms;
    if (event->kind == EVENT_STORE) {
        *ret_id = event->store.store_id;
        from_ms = event->store.effective_from_ms;
    } else if (event->kind == EVENT_PRODUCT) {
        *ret_id = event->product.product_id;
        from_ms = event->product.effective_from_ms;
    } else if (event->kind == EVENT_CUSTOMER) {
        *ret_id = event->customer.customer_id;
        from_ms = event->customer.effective_from_ms;
    } else if (event->kind == EVENT_PROMOTION) {
        *ret_id = event->promotion.promotion_id;
        from_ms = event->promotion.effective_from_ms;
    } else {
        *ret_id = event->inventory.product_id;
        from_ms = event->inventory.event_time_ms;
        store_id = event->inventory.store_id;
    }
    return print_of(kind, from_ms, *ret_id, store_id);
}

static bool read_key(struct reference_view *view, size_t kind, struct text value, uint64_t *ret,
                     struct text *ret_id)
{
    enum event_kind event_kind = EVENT_KINDS;
    enum code code = CODE_NONE;
    struct event event;
    struct ll_err err = { "" };
    if (value.data == NULL || !event_kind_of(raw_topics[kind], &event_kind) ||
        codec_read(view->verify->codec, event_kind, value, view->verify->scratch, &event, &code, &err) !=
            LL_OK)
        return false;
    *ret = key_print(kind, &event, ret_id);
    return true;
}

static bool see_valid(void *arg, struct kafka_reader *reader, const struct bus_record *record)
{
    (void)reader;
    struct reference_view *view = arg;
    for (size_t kind = 0; kind < REFERENCE_TOPICS; kind++) {
        uint64_t print = 0;
        struct text id;
        if (record->topic == valid_topics[kind] && read_key(view, kind, record->value, &print, &id))
            prints_add(&view->valid, print);
    }
    return true;
}

static void see_letter(void *arg, const struct letter *letter)
{
    struct reference_view *view = arg;
    for (size_t kind = 0; kind < REFERENCE_TOPICS; kind++)
        if (letter->origin == raw_topics[kind])
            prints_add(&view->dead, print_of(kind, letter->origin_offset * 4096 + letter->origin_partition,
                                             nothing, nothing));
}

static bool see_raw(void *arg, struct kafka_reader *reader, const struct bus_record *record)
{
    (void)reader;
    struct reference_view *view = arg;
    for (size_t kind = 0; kind < REFERENCE_TOPICS; kind++) {
        if (record->topic != raw_topics[kind] || record->partition >= view->cuts[kind].partitions ||
            record->offset >= view->cuts[kind].at[record->partition])
            continue;
        uint64_t print = 0;
        struct text id = nothing;
        view->check->compared++;
        if (prints_has(&view->dead,
                       print_of(kind, record->offset * 4096 + record->partition, nothing, nothing)))
            continue;
        bool decodes = read_key(view, kind, record->value, &print, &id);
        if (!decodes || !prints_has(&view->valid, print))
            verify_differs(
                view->check, "lens status",
                "%s[%d] offset %lld (%s) was read by validate, but is neither in %s nor in dead-letter",
                topic_name(record->topic), record->partition, (long long)record->offset,
                decodes ? verify_text(id) : "undecodable", topic_name(valid_topics[kind]));
    }
    return true;
}

/* What validate had consumed comes first, then what it wrote. */
static enum ll_status one_try(struct reference_view *view, struct ll_err *err)
{
    struct verify *verify = view->verify;
    enum ll_status status = LL_OK;
    enum topic present[REFERENCE_TOPICS], present_valid[REFERENCE_TOPICS];
    size_t count = 0;
    for (size_t kind = 0; status == LL_OK && kind < REFERENCE_TOPICS; kind++) {
        status = line_ends(&verify->view, raw_topics[kind], &view->cuts[kind], err);
        if (status == LL_OK)
            status = line_validated(&verify->view, &view->cuts[kind], err);
        if (view->cuts[kind].partitions == 0)
            continue;
        present[count] = raw_topics[kind];
        present_valid[count++] = valid_topics[kind];
    }
    if (status != LL_OK || count == 0)
        return status;
    struct scan scan = { .topics = present_valid,
                         .topic_count = count,
                         .doing = "reading reference topics",
                         .each = see_valid,
                         .arg = view };
    struct letter_filter filter = { .stage = TEXT("validate"), .topic = TOPIC_COUNT };
    status = scan_run(verify->lens, &verify->view.topics, &scan, err);
    if (status == LL_OK)
        status = letters_each(verify->lens, &filter, see_letter, view, err);
    scan.topics = present;
    scan.each = see_raw;
    return status == LL_OK ? scan_run(verify->lens, &verify->view.topics, &scan, err) : status;
}

enum ll_status verify_reference(struct verify *verify, struct ll_err *err)
{
    struct check *check =
        verify_check(verify, "conservation of references",
                     "each store, product, customer and promotion is valid or dead", "records");
    struct check empty = *check;
    enum ll_status status = LL_OK;
    for (int try = 0; try < TRIES && status == LL_OK; try++) {
        if (try > 0)
            poll(NULL, 0, TRY_MS);
        *check = empty;
        struct reference_view view = { .verify = verify, .check = check };
        view.cuts = calloc(REFERENCE_TOPICS, sizeof(*view.cuts));
        if (view.cuts == NULL)
            abort();
        prints_init(&view.valid, SLOTS_FIRST);
        prints_init(&view.dead, SLOTS_FIRST);
        status = one_try(&view, err);
        free(view.cuts);
        free(view.valid.slots);
        free(view.dead.slots);
        if (check->different == 0)
            break;
    }
    return status;
}
