#include "ops/event_json.h"

#include "ops/inert.h"
#include "runtime/clock.h"

#include <stdio.h>

json_t *event_json_time(int64_t time_ms)
{
    char text[32];
    return json_string(clock_format(time_ms, text, sizeof(text)));
}

json_t *event_json_day(int32_t day)
{
    int year = 0, month = 0, date = 0;
    calendar_date(day, &year, &month, &date);
    char text[48];
    snprintf(text, sizeof(text), "%04d-%02d-%02d", year, month, date);
    return json_string(text);
}

const char *event_type_name(enum transaction_type type)
{
    switch (type) {
    case TRANSACTION_SALE:
        return "SALE";
    case TRANSACTION_RETURN:
        return "RETURN";
    case TRANSACTION_VOID:
        return "VOID";
    }
    return "?";
}

static void set(json_t *to, const char *name, struct text text)
{
    json_object_set_new(to, name, inert_json(text));
}

static void set_int(json_t *to, const char *name, int64_t value)
{
    json_object_set_new(to, name, json_integer(value));
}

static void set_time(json_t *to, const char *name, int64_t time_ms)
{
    json_object_set_new(to, name, event_json_time(time_ms));
}

static json_t *line_json(const struct line *line)
{
    json_t *to = json_object();
    set_int(to, "line_no", line->line_no);
    set(to, "product_id", line->product_id);
    set_int(to, "quantity", line->quantity);
    set_int(to, "unit_price_minor", line->unit_price_minor);
    set_int(to, "discount_minor", line->discount_minor);
    set_int(to, "amount_minor", line->amount_minor);
    set(to, "promotion_id", line->promotion_id);
    if (line->category.data != NULL)
        set(to, "category", line->category);
    return to;
}

static void transaction_json(json_t *to, const struct transaction *t, bool valid)
{
    set(to, "transaction_id", t->transaction_id);
    json_object_set_new(to, "event_type", json_string(event_type_name(t->type)));
    set(to, "original_transaction_id", t->original_transaction_id);
    set_time(to, "event_time", t->event_time_ms);
    set(to, "store_id", t->store_id);
    set(to, "customer_id", t->customer_id);
    set(to, "currency", t->currency);
    json_object_set_new(to, "total_minor", t->has_total ? json_integer(t->total_minor) : json_null());
    set(to, "source", t->source);
    set(to, "source_ref", t->source_ref);
    set(to, "channel", t->channel);
    json_t *lines = json_array();
    for (uint32_t i = 0; i < t->line_count; i++)
        json_array_append_new(lines, line_json(&t->lines[i]));
    json_object_set_new(to, "lines", lines);
    if (!valid)
        return;
    set(to, "raw_topic", t->raw_topic);
    set_int(to, "raw_partition", t->raw_partition);
    set_int(to, "raw_offset", t->raw_offset);
    set_int(to, "attempt", t->attempt);
}

static void texts_json(json_t *to, const char *name, const struct text *texts, uint32_t count)
{
    json_t *list = json_array();
    for (uint32_t i = 0; i < count; i++)
        json_array_append_new(list, inert_json(texts[i]));
    json_object_set_new(to, name, list);
}

static void customer_json(json_t *to, const struct customer *c)
{
    set(to, "customer_id", c->customer_id);
    set_time(to, "effective_from", c->effective_from_ms);
    set(to, "name", c->name);
    set(to, "email", c->email);
    set(to, "phone", c->phone);
    set(to, "language", c->language);
    set(to, "country", c->country);
    json_object_set_new(to, "consent_marketing", json_boolean(c->consent_marketing));
    json_object_set_new(to, "erased", json_boolean(c->erased));
    set(to, "source", c->source);
    set(to, "source_ref", c->source_ref);
}

static void product_json(json_t *to, const struct product *p)
{
    set(to, "product_id", p->product_id);
    set_time(to, "effective_from", p->effective_from_ms);
    set(to, "name", p->name);
    set(to, "category", p->category);
    set(to, "brand", p->brand);
    json_object_set_new(to, "unit_price_minor",
                        p->has_unit_price ? json_integer(p->unit_price_minor) : json_null());
    json_object_set_new(to, "active", json_boolean(p->active));
    set(to, "source", p->source);
    set(to, "source_ref", p->source_ref);
}

static void store_json(json_t *to, const struct store *s)
{
    set(to, "store_id", s->store_id);
    set_time(to, "effective_from", s->effective_from_ms);
    set(to, "name", s->name);
    set(to, "city", s->city);
    json_object_set_new(to, "opened", s->has_opened ? event_json_day(s->opened_day) : json_null());
    json_object_set_new(to, "closed", s->has_closed ? event_json_day(s->closed_day) : json_null());
    set(to, "source", s->source);
    set(to, "source_ref", s->source_ref);
}

static void promotion_json(json_t *to, const struct promotion *p)
{
    set(to, "promotion_id", p->promotion_id);
    set_time(to, "effective_from", p->effective_from_ms);
    set(to, "name", p->name);
    json_object_set_new(to, "start", event_json_day(p->start_day));
    json_object_set_new(to, "end", event_json_day(p->end_day));
    texts_json(to, "product_ids", p->product_ids, p->product_count);
    texts_json(to, "categories", p->categories, p->category_count);
    set(to, "source", p->source);
    set(to, "source_ref", p->source_ref);
}

static void small_json(json_t *to, const struct event *event)
{
    switch (event->kind) {
    case EVENT_CONTROL:
        json_object_set_new(to, "kind", json_string(event->control.kind == CONTROL_TICK ? "TICK" : "RULES"));
        set_int(to, "rules_version", event->control.rules_version);
        set_time(to, "time", event->control.time_ms);
        break;
    case EVENT_INVENTORY:
        set(to, "store_id", event->inventory.store_id);
        set(to, "product_id", event->inventory.product_id);
        set_time(to, "event_time", event->inventory.event_time_ms);
        set_int(to, "on_hand", event->inventory.on_hand);
        set(to, "source", event->inventory.source);
        set(to, "source_ref", event->inventory.source_ref);
        break;
    case EVENT_LOYALTY_RULES:
        set_int(to, "version", event->loyalty_rules.version);
        set_time(to, "effective_from", event->loyalty_rules.effective_from_ms);
        set_time(to, "published_at", event->loyalty_rules.published_at_ms);
        set(to, "document", event->loyalty_rules.document);
        break;
    case EVENT_COMMAND:
        set(to, "process", event->command.process);
        set(to, "verb", event->command.verb);
        set(to, "topic", event->command.topic);
        set_int(to, "partition", event->command.partition);
        set_time(to, "time", event->command.time_ms);
        break;
    case EVENT_TRANSACTION:
    case EVENT_TRANSACTION_VALID:
    case EVENT_CUSTOMER:
    case EVENT_PRODUCT:
    case EVENT_STORE:
    case EVENT_PROMOTION:
    case EVENT_LEDGER:
    case EVENT_SEGMENT_CHANGE:
    case EVENT_KINDS:
        break;
    }
}

json_t *event_json(const struct event *event)
{
    json_t *to = json_object();
    switch (event->kind) {
    case EVENT_TRANSACTION:
    case EVENT_TRANSACTION_VALID:
        transaction_json(to, &event->transaction, event->kind == EVENT_TRANSACTION_VALID);
        break;
    case EVENT_CUSTOMER:
        customer_json(to, &event->customer);
        break;
    case EVENT_PRODUCT:
        product_json(to, &event->product);
        break;
    case EVENT_STORE:
        store_json(to, &event->store);
        break;
    case EVENT_PROMOTION:
        promotion_json(to, &event->promotion);
        break;
    case EVENT_CONTROL:
    case EVENT_INVENTORY:
    case EVENT_LOYALTY_RULES:
    case EVENT_COMMAND:
        small_json(to, event);
        break;
    case EVENT_LEDGER:
    case EVENT_SEGMENT_CHANGE:
    case EVENT_KINDS:
        break;
    }
    return to;
}

bool event_kind_of(enum topic topic, enum event_kind *ret)
{
    static const struct {
        enum topic topic;
        enum event_kind kind;
    } kinds[] = {
        { TOPIC_TRANSACTIONS, EVENT_TRANSACTION },
        { TOPIC_TRANSACTIONS_RETRY, EVENT_TRANSACTION },
        { TOPIC_TRANSACTIONS_VALID, EVENT_TRANSACTION_VALID },
        { TOPIC_CUSTOMERS, EVENT_CUSTOMER },
        { TOPIC_CUSTOMERS_VALID, EVENT_CUSTOMER },
        { TOPIC_PRODUCTS, EVENT_PRODUCT },
        { TOPIC_PRODUCTS_VALID, EVENT_PRODUCT },
        { TOPIC_STORES, EVENT_STORE },
        { TOPIC_STORES_VALID, EVENT_STORE },
        { TOPIC_PROMOTIONS, EVENT_PROMOTION },
        { TOPIC_PROMOTIONS_VALID, EVENT_PROMOTION },
        { TOPIC_INVENTORY, EVENT_INVENTORY },
        { TOPIC_INVENTORY_VALID, EVENT_INVENTORY },
        { TOPIC_LOYALTY_RULES, EVENT_LOYALTY_RULES },
        { TOPIC_COMMANDS, EVENT_COMMAND },
    };
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
        if (kinds[i].topic == topic) {
            *ret = kinds[i].kind;
            return true;
        }
    return false;
}
