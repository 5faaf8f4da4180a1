#include "schemas/bind.h"

#include "schemas/schema.h"

#include <string.h>

/* clang-format off */
#define BOUND(record, label, kind, member) \
    .name = (label), .type = (kind), .offset = offsetof(struct record, member)
#define TEXT_IN(record, label, member) \
    { BOUND(record, label, BIND_TEXT, member), .limit = EVENT_TEXT_SIZE_MAX }
#define TEXT_NULL(record, label, member) \
    { BOUND(record, label, BIND_TEXT, member), .limit = EVENT_TEXT_SIZE_MAX, .nullable = true }
#define DOCUMENT_IN(record, label, member) \
    { BOUND(record, label, BIND_TEXT, member), .limit = EVENT_DOCUMENT_SIZE_MAX }
#define INT_IN(record, label, member)     { BOUND(record, label, BIND_INT, member) }
#define LONG_IN(record, label, member)    { BOUND(record, label, BIND_LONG, member) }
#define BOOLEAN_IN(record, label, member) { BOUND(record, label, BIND_BOOLEAN, member) }
#define INT_NULL(record, label, member, flag) \
    { BOUND(record, label, BIND_INT, member), .aside = offsetof(struct record, flag), .nullable = true }
#define LONG_NULL(record, label, member, flag) \
    { BOUND(record, label, BIND_LONG, member), .aside = offsetof(struct record, flag), .nullable = true }
#define ENUM_IN(record, label, member, words) { BOUND(record, label, BIND_ENUM, member), .symbols = (words) }
#define LIST_IN(record, label, member, counter, most, item) \
    { BOUND(record, label, BIND_LIST, member), .aside = offsetof(struct record, counter), \
      .limit = (most), .items = (item) }

#define RECORD(record, table) { sizeof(struct record), sizeof (table) / sizeof (table)[0], (table) }

_Static_assert(sizeof(enum transaction_type) == sizeof(uint32_t), "enums are written as uint32_t");
_Static_assert(sizeof(enum control_kind) == sizeof(uint32_t), "enums are written as uint32_t");

static const char *const TRANSACTION_TYPES[] = {
    [TRANSACTION_SALE] = "SALE", [TRANSACTION_RETURN] = "RETURN", [TRANSACTION_VOID] = "VOID", NULL
};
static const char *const CONTROL_KINDS[] = { [CONTROL_RULES] = "RULES", [CONTROL_TICK] = "TICK", NULL };

static const struct bind_field TEXT_ITEM[] = {
    { .type = BIND_TEXT, .limit = EVENT_TEXT_SIZE_MAX },
};
static const struct bind_record TEXT_LIST = { sizeof(struct text), 1, TEXT_ITEM };

#define LINE_FIELDS                                   \
    INT_IN(line, "line_no", line_no),                 \
    TEXT_NULL(line, "product_id", product_id),        \
    LONG_IN(line, "quantity", quantity),              \
    LONG_IN(line, "unit_price", unit_price_minor),    \
    LONG_IN(line, "discount", discount_minor),        \
    LONG_IN(line, "amount", amount_minor),            \
    TEXT_NULL(line, "promotion_id", promotion_id)

static const struct bind_field LINE[] = { LINE_FIELDS };
static const struct bind_record LINES = RECORD(line, LINE);
static const struct bind_field VALID_LINE[] = { LINE_FIELDS, TEXT_NULL(line, "category", category) };
static const struct bind_record VALID_LINES = RECORD(line, VALID_LINE);

#define TRANSACTION_FIELDS(line_items)                                                          \
    TEXT_IN(transaction, "transaction_id", transaction_id),                                     \
    ENUM_IN(transaction, "event_type", type, TRANSACTION_TYPES),                                \
    TEXT_NULL(transaction, "original_transaction_id", original_transaction_id),                 \
    LONG_IN(transaction, "event_time", event_time_ms),                                          \
    TEXT_NULL(transaction, "store_id", store_id),                                               \
    TEXT_NULL(transaction, "customer_id", customer_id),                                         \
    TEXT_IN(transaction, "currency", currency),                                                 \
    LONG_NULL(transaction, "total_amount", total_minor, has_total),                             \
    TEXT_IN(transaction, "source", source),                                                     \
    TEXT_IN(transaction, "source_ref", source_ref),                                             \
    TEXT_NULL(transaction, "channel", channel),                                                 \
    LIST_IN(transaction, "lines", lines, line_count, EVENT_LINES_MAX, line_items)

static const struct bind_field TRANSACTION[] = { TRANSACTION_FIELDS(&LINES) };

static const struct bind_field TRANSACTION_VALID[] = {
    TRANSACTION_FIELDS(&VALID_LINES),
    LONG_IN(transaction, "content_hash", content_hash),
    TEXT_IN(transaction, "raw_topic", raw_topic),
    INT_IN(transaction, "raw_partition", raw_partition),
    LONG_IN(transaction, "raw_offset", raw_offset),
    INT_IN(transaction, "attempt", attempt),
};

static const struct bind_field CONTROL[] = {
    ENUM_IN(control, "kind", kind, CONTROL_KINDS),
    INT_IN(control, "rules_version", rules_version),
    LONG_IN(control, "time", time_ms),
};

static const struct bind_field CUSTOMER[] = {
    TEXT_IN(customer, "customer_id", customer_id),
    LONG_IN(customer, "effective_from", effective_from_ms),
    TEXT_NULL(customer, "name", name),
    TEXT_NULL(customer, "email", email),
    TEXT_NULL(customer, "phone", phone),
    TEXT_NULL(customer, "language", language),
    TEXT_NULL(customer, "country", country),
    BOOLEAN_IN(customer, "consent_marketing", consent_marketing),
    BOOLEAN_IN(customer, "mailable", mailable),
    BOOLEAN_IN(customer, "erased", erased),
    TEXT_IN(customer, "source", source),
    TEXT_IN(customer, "source_ref", source_ref),
};

static const struct bind_field PRODUCT[] = {
    TEXT_IN(product, "product_id", product_id),
    LONG_IN(product, "effective_from", effective_from_ms),
    TEXT_NULL(product, "name", name),
    TEXT_NULL(product, "category", category),
    TEXT_NULL(product, "brand", brand),
    LONG_NULL(product, "unit_price", unit_price_minor, has_unit_price),
    BOOLEAN_IN(product, "active", active),
    TEXT_IN(product, "source", source),
    TEXT_IN(product, "source_ref", source_ref),
};

static const struct bind_field STORE[] = {
    TEXT_IN(store, "store_id", store_id),
    LONG_IN(store, "effective_from", effective_from_ms),
    TEXT_NULL(store, "name", name),
    TEXT_NULL(store, "city", city),
    INT_NULL(store, "opened_day", opened_day, has_opened),
    INT_NULL(store, "closed_day", closed_day, has_closed),
    TEXT_IN(store, "source", source),
    TEXT_IN(store, "source_ref", source_ref),
};

static const struct bind_field PROMOTION[] = {
    TEXT_IN(promotion, "promotion_id", promotion_id),
    LONG_IN(promotion, "effective_from", effective_from_ms),
    TEXT_NULL(promotion, "name", name),
    INT_IN(promotion, "start_day", start_day),
    INT_IN(promotion, "end_day", end_day),
    LIST_IN(promotion, "product_ids", product_ids, product_count, EVENT_LIST_MAX, &TEXT_LIST),
    LIST_IN(promotion, "categories", categories, category_count, EVENT_LIST_MAX, &TEXT_LIST),
    TEXT_IN(promotion, "source", source),
    TEXT_IN(promotion, "source_ref", source_ref),
};

static const struct bind_field INVENTORY[] = {
    TEXT_IN(inventory, "store_id", store_id),
    TEXT_IN(inventory, "product_id", product_id),
    LONG_IN(inventory, "event_time", event_time_ms),
    LONG_IN(inventory, "on_hand", on_hand),
    TEXT_IN(inventory, "source", source),
    TEXT_IN(inventory, "source_ref", source_ref),
};

static const struct bind_field LOYALTY_RULES[] = {
    INT_IN(loyalty_rules, "version", version),
    LONG_IN(loyalty_rules, "effective_from", effective_from_ms),
    LONG_IN(loyalty_rules, "published_at", published_at_ms),
    DOCUMENT_IN(loyalty_rules, "document", document),
};

static const struct bind_field LEDGER_LINE[] = {
    TEXT_IN(ledger_line, "product_id", product_id),
    TEXT_NULL(ledger_line, "category", category),
    TEXT_NULL(ledger_line, "promotion_id", promotion_id),
    LONG_IN(ledger_line, "amount_minor", amount_minor),
    LONG_IN(ledger_line, "excess_minor", excess_minor),
};
static const struct bind_record LEDGER_LINES = RECORD(ledger_line, LEDGER_LINE);
static const struct bind_field LEDGER_RULE[] = {
    INT_IN(ledger_rule, "rule_id", rule_id),
    LONG_IN(ledger_rule, "points", points),
};
static const struct bind_record LEDGER_RULES = RECORD(ledger_rule, LEDGER_RULE);

static const struct bind_field LEDGER[] = {
    INT_IN(ledger_entry, "run", run),
    INT_IN(ledger_entry, "partition", partition),
    LONG_IN(ledger_entry, "offset", offset),
    INT_IN(ledger_entry, "seq", seq),
    LONG_IN(ledger_entry, "event_offset", event_offset),
    TEXT_IN(ledger_entry, "source", source),
    ENUM_IN(ledger_entry, "event_type", type, TRANSACTION_TYPES),
    TEXT_IN(ledger_entry, "transaction_id", transaction_id),
    TEXT_NULL(ledger_entry, "sale_id", sale_id),
    TEXT_NULL(ledger_entry, "customer_id", customer_id),
    LONG_IN(ledger_entry, "net_minor", net_minor),
    LIST_IN(ledger_entry, "lines", lines, line_count, EVENT_LEDGER_LINES_MAX, &LEDGER_LINES),
    INT_IN(ledger_entry, "sale_day", sale_day),
    LONG_IN(ledger_entry, "points", points),
    INT_IN(ledger_entry, "rules_version", rules_version),
    LIST_IN(ledger_entry, "breakdown", rules, rule_count, EVENT_RULES_MAX, &LEDGER_RULES),
    LONG_IN(ledger_entry, "event_time", event_time_ms),
    LONG_IN(ledger_entry, "posted_at", posted_at_ms),
    LONG_IN(ledger_entry, "flags", flags),
};

static const struct bind_field COMMAND[] = {
    TEXT_IN(command, "process", process),
    TEXT_IN(command, "verb", verb),
    TEXT_IN(command, "topic", topic),
    INT_IN(command, "partition", partition),
    LONG_IN(command, "time", time_ms),
};

static const char *const CHANGE_KINDS[] = { [SEGMENT_ENTERED] = "ENTERED", [SEGMENT_EXITED] = "EXITED", NULL };
static const char *const CHANGE_REASONS[] = {
    [SEGMENT_PURCHASE] = "PURCHASE", [SEGMENT_TIME] = "TIME", [SEGMENT_RETURN] = "RETURN",
    [SEGMENT_THRESHOLD] = "THRESHOLD", [SEGMENT_POINTS_SPENT] = "POINTS_SPENT",
    [SEGMENT_POINTS_EARNED] = "POINTS_EARNED", [SEGMENT_RULES] = "RULES", NULL
};

static const struct bind_field SEGMENT_CHANGE[] = {
    TEXT_IN(segment_change, "change_id", change_id),
    TEXT_IN(segment_change, "customer_id", customer_id),
    TEXT_IN(segment_change, "segment", segment),
    ENUM_IN(segment_change, "kind", kind, CHANGE_KINDS),
    ENUM_IN(segment_change, "reason", reason, CHANGE_REASONS),
    LONG_IN(segment_change, "sequence", sequence),
    LONG_IN(segment_change, "effective_at", effective_at_ms),
    LONG_IN(segment_change, "detected_at", detected_at_ms),
    INT_IN(segment_change, "as_of_day", as_of_day),
    INT_IN(segment_change, "threshold_version", threshold_version),
    INT_IN(segment_change, "recency_days", snapshot.recency_days),
    INT_IN(segment_change, "frequency", snapshot.frequency),
    LONG_IN(segment_change, "monetary_minor", snapshot.monetary_minor),
    INT_IN(segment_change, "r", snapshot.r),
    INT_IN(segment_change, "f", snapshot.f),
    INT_IN(segment_change, "m", snapshot.m),
    TEXT_IN(segment_change, "rfm_segment", snapshot.rfm_segment),
    LONG_IN(segment_change, "points_balance", snapshot.points_balance),
    TEXT_IN(segment_change, "tier", snapshot.tier),
    INT_IN(segment_change, "clv_potential", snapshot.clv_potential),
};

static const struct {
    const char *name;
    struct bind_record record;
} KINDS[EVENT_KINDS] = {
    [EVENT_TRANSACTION] = { "transaction", RECORD(transaction, TRANSACTION) },
    [EVENT_TRANSACTION_VALID] = { "transaction_valid", RECORD(transaction, TRANSACTION_VALID) },
    [EVENT_CONTROL] = { "control", RECORD(control, CONTROL) },
    [EVENT_CUSTOMER] = { "customer", RECORD(customer, CUSTOMER) },
    [EVENT_PRODUCT] = { "product", RECORD(product, PRODUCT) },
    [EVENT_STORE] = { "store", RECORD(store, STORE) },
    [EVENT_PROMOTION] = { "promotion", RECORD(promotion, PROMOTION) },
    [EVENT_INVENTORY] = { "inventory", RECORD(inventory, INVENTORY) },
    [EVENT_LOYALTY_RULES] = { "loyalty_rules", RECORD(loyalty_rules, LOYALTY_RULES) },
    [EVENT_LEDGER] = { "ledger", RECORD(ledger_entry, LEDGER) },
    [EVENT_COMMAND] = { "command", RECORD(command, COMMAND) },
    [EVENT_SEGMENT_CHANGE] = { "segment_change", RECORD(segment_change, SEGMENT_CHANGE) },
};

/* clang-format on */

const struct bind_record *bind_of(enum event_kind kind)
{
    return kind < EVENT_KINDS && KINDS[kind].record.fields != NULL ? &KINDS[kind].record : NULL;
}

const char *event_kind_name(enum event_kind kind)
{
    return kind < EVENT_KINDS ? KINDS[kind].name : "unknown";
}

enum event_kind event_kind_find(const char *name)
{
    for (enum event_kind kind = 0; kind < EVENT_KINDS; kind++)
        if (strcmp(KINDS[kind].name, name) == 0)
            return kind;
    return EVENT_KINDS;
}

static bool symbols_equal(const struct schema_node *node, const char *const *symbols)
{
    uint32_t count = 0;
    for (; symbols[count] != NULL; count++)
        if (count >= node->count || strcmp(node->symbols[count], symbols[count]) != 0)
            return false;
    return count == node->count;
}

static bool record_agrees(const struct schema_node *node, const struct bind_record *bind, struct ll_err *err);

static bool value_agrees(const struct schema_node *node, const struct bind_field *field, struct ll_err *err)
{
    switch (field->type) {
    case BIND_TEXT:
        return node->type == SCHEMA_STRING;
    case BIND_INT:
        return node->type == SCHEMA_INT;
    case BIND_LONG:
        return node->type == SCHEMA_LONG;
    case BIND_BOOLEAN:
        return node->type == SCHEMA_BOOLEAN;
    case BIND_ENUM:
        return node->type == SCHEMA_ENUM && symbols_equal(node, field->symbols);
    case BIND_LIST:
        if (node->type != SCHEMA_ARRAY)
            return false;
        if (field->items->fields[0].name == NULL)
            return value_agrees(node->items, &field->items->fields[0], err);
        return record_agrees(node->items, field->items, err);
    }
    return false;
}

/* Nullable is a union of null and the value, null first, as null is the default. */
static bool field_agrees(const struct schema_node *node, const struct bind_field *field, struct ll_err *err)
{
    if (!field->nullable)
        return value_agrees(node, field, err);
    return node->type == SCHEMA_UNION && node->count == 2 && node->branches[0]->type == SCHEMA_NULL &&
           value_agrees(node->branches[1], field, err);
}

static bool record_agrees(const struct schema_node *node, const struct bind_record *bind, struct ll_err *err)
{
    if (node->type != SCHEMA_RECORD || node->count != bind->count) {
        ll_fail(err, LL_FATAL, "%s: %u fields in the .avsc, %u in schemas/bind.c",
                node->name != NULL ? node->name : schema_type_name(node->type), node->count, bind->count);
        return false;
    }
    for (uint32_t i = 0; i < bind->count; i++) {
        const struct schema_field *field = &node->fields[i];
        if (strcmp(field->name, bind->fields[i].name) == 0 &&
            field_agrees(field->type, &bind->fields[i], err))
            continue;
        if (err->text[0] == '\0') /* else an item's field is named already */
            ll_fail(err, LL_FATAL, "%s.%s is not the field %s of schemas/bind.c, or of another type",
                    node->name, field->name, bind->fields[i].name);
        return false;
    }
    return true;
}

enum ll_status bind_check(const struct schema *schema, const struct bind_record *bind, struct ll_err *err)
{
    struct ll_err words = {.text = ""};
    if (record_agrees(schema_root(schema), bind, &words))
        return LL_OK;
    return ll_fail(err, LL_FATAL, "%s", words.text);
}
