/*
 * event.h - the events of the first line, as C structs: what a topic's value says once it is decoded.
 * Shape:  one struct per .avsc beside this file, fields in the schema's order. Texts are views into the bytes that were
 *         decoded (or that the encoder is to copy); data == NULL is Avro's null.
 * Units:  _minor is int64 minor units of the event's currency; _ms is int64 ms since 1970 UTC; _day is days since
 *         1970-01-01 in the program's time zone.
 */
#pragma once

#include "runtime/text.h"

#include <stdbool.h>
#include <stdint.h>

/* Limits before work (DESIGN 2): a record beyond one of these is DECODE_LIMIT. */
enum {
    EVENT_SIZE_MAX = 1 << 20,     /* bytes of one value, but for two of our own, which grow out of one: */
    EVENT_VALID_SIZE_MAX = 3 << 20, /* bytes of a transaction_valid: what was raw, and a category for each line */
    EVENT_TEXT_SIZE_MAX = 1 << 10, /* bytes of one string, but for a rules document */
    EVENT_LINES_MAX = 1000,       /* lines of one transaction */
    EVENT_LIST_MAX = 1000,        /* products or categories of one promotion */
    EVENT_DOCUMENT_SIZE_MAX = 256 << 10, /* bytes of a rules document */
    EVENT_LEDGER_SIZE_MAX = 3 << 20, /* bytes of one posting: up to two transactions' lines */
    EVENT_LEDGER_LINES_MAX = 2 * EVENT_LINES_MAX,
    EVENT_RULES_MAX = 64, /* rules in one posting */
};

/* One per .avsc; schemas/ids.conf gives each its local schema id. */
enum event_kind {
    EVENT_TRANSACTION,
    EVENT_TRANSACTION_VALID,
    EVENT_CONTROL,
    EVENT_CUSTOMER,
    EVENT_PRODUCT,
    EVENT_STORE,
    EVENT_PROMOTION,
    EVENT_INVENTORY,
    EVENT_LOYALTY_RULES,
    EVENT_LEDGER,
    EVENT_COMMAND,
    EVENT_SEGMENT_CHANGE,
    EVENT_KINDS,
};

enum transaction_type { TRANSACTION_SALE, TRANSACTION_RETURN, TRANSACTION_VOID };

struct line {
    int32_t line_no;
    struct text product_id; /* nullable in the schema, so that its absence can be reported rather than undecodable */
    int64_t quantity;
    int64_t unit_price_minor;
    int64_t discount_minor;
    int64_t amount_minor;
    struct text promotion_id; /* nullable */
    struct text category;     /* nullable; transaction_valid only: as of the event's date */
};

/* transaction.avsc, and with the last group transaction_valid.avsc. lines points at the decoder's scratch. */
struct transaction {
    struct text transaction_id;
    enum transaction_type type;
    struct text original_transaction_id; /* nullable */
    int64_t event_time_ms;
    struct text store_id;    /* nullable */
    struct text customer_id; /* nullable: unidentified spend */
    struct text currency;    /* ISO 4217 */
    bool has_total;
    int64_t total_minor; /* meaningful only if has_total */
    struct text source;  /* import profile or till system: the identity space, never a file */
    struct text source_ref; /* "file:line" */
    struct text channel;    /* nullable */
    struct line *lines;
    uint32_t line_count;
    bool has_no_control; /* no field: the decoder saw no control character in any text; false: nobody has looked */

    /* transaction_valid only */
    int64_t content_hash; /* transaction_content_hash() of what was accepted */
    struct text raw_topic;
    int32_t raw_partition;
    int64_t raw_offset;
    int32_t attempt; /* 0, or how often it was redriven */
};

enum control_kind { CONTROL_RULES, CONTROL_TICK };

/* control.avsc: written by validate into every partition of transactions.valid. */
struct control {
    enum control_kind kind;
    int32_t rules_version; /* RULES: begins here; TICK: 0 */
    int64_t time_ms;       /* TICK: the clock; RULES: when it was announced */
};

/* Reference records. Each is one version of the thing, true from effective_from_ms on, until the next one. */
struct customer {
    struct text customer_id;
    int64_t effective_from_ms;
    struct text name, email, phone, language, country; /* nullable */
    bool consent_marketing;
    bool mailable; /* set by validate: false where the address is not plausible */
    bool erased;
    struct text source, source_ref;
};

struct product {
    struct text product_id;
    int64_t effective_from_ms;
    struct text name, category, brand; /* nullable */
    bool has_unit_price;
    int64_t unit_price_minor;
    bool active;
    struct text source, source_ref;
};

struct store {
    struct text store_id;
    int64_t effective_from_ms;
    struct text name, city; /* nullable */
    bool has_opened, has_closed;
    int32_t opened_day, closed_day; /* Avro date; open on [opened, closed) */
    struct text source, source_ref;
};

struct promotion {
    struct text promotion_id;
    int64_t effective_from_ms;
    struct text name; /* nullable */
    int32_t start_day, end_day; /* Avro date; active on [start, end], both included */
    struct text *product_ids;   /* both lists empty: every product */
    uint32_t product_count;
    struct text *categories;
    uint32_t category_count;
    struct text source, source_ref;
};

struct inventory {
    struct text store_id, product_id;
    int64_t event_time_ms;
    int64_t on_hand;
    struct text source, source_ref;
};

/* loyalty_rules.avsc: announces a rule set that already lies in Postgres, loyalty.rules. */
struct loyalty_rules {
    int32_t version;
    int64_t effective_from_ms;
    int64_t published_at_ms;
    struct text document; /* the rule set as published (libconfig) */
};

/* ledger.avsc: one posting. A row of a return may hold each line of its sale, and each of its own as excess. */
struct ledger_line {
    struct text product_id;
    struct text category;     /* nullable */
    struct text promotion_id; /* nullable */
    int64_t amount_minor;     /* net effect: positive on a sale, negative on a return */
    int64_t excess_minor;     /* returned beyond what the sale holds: no effect on points */
};

struct ledger_rule {
    int32_t rule_id;
    int64_t points;
};

struct ledger_entry {
    int32_t run, partition;
    int64_t offset; /* (partition, offset, seq): the record of transactions.valid that caused it */
    int32_t seq;
    int64_t event_offset;
    struct text source;
    enum transaction_type type;
    struct text transaction_id;
    struct text sale_id;     /* nullable */
    struct text customer_id; /* nullable: unidentified spend */
    int64_t net_minor;
    struct ledger_line *lines;
    uint32_t line_count;
    int32_t sale_day;
    int64_t points;
    int32_t rules_version;
    struct ledger_rule *rules;
    uint32_t rule_count;
    int64_t event_time_ms, posted_at_ms;
    int64_t flags; /* warnings: set of codes */
};

/* command.avsc: what an operator tells an owner (lens resume). */
struct command {
    struct text process; /* "validate" */
    struct text verb;    /* "resume" */
    struct text topic;
    int32_t partition;
    int64_t time_ms;
};

enum segment_change_kind { SEGMENT_ENTERED, SEGMENT_EXITED };

enum segment_change_reason {
    SEGMENT_PURCHASE,
    SEGMENT_TIME,
    SEGMENT_RETURN,
    SEGMENT_THRESHOLD,
    SEGMENT_POINTS_SPENT,
    SEGMENT_POINTS_EARNED,
    SEGMENT_RULES,
};

/* A customer's standing at one moment, as a change of segment tells it. */
struct segment_snapshot {
    int32_t recency_days; /* -1: never bought */
    int32_t frequency;
    int64_t monetary_minor;
    int32_t r, f, m;         /* 1 to 5; 0: no score */
    struct text rfm_segment; /* without RFM_ */
    int64_t points_balance;
    struct text tier; /* BRONZE, SILVER, GOLD */
    int32_t clv_potential;
};

/* segment_change.avsc: one customer entered or left one segment. */
struct segment_change {
    struct text change_id; /* 32 hex digits */
    struct text customer_id;
    struct text segment;
    enum segment_change_kind kind;
    enum segment_change_reason reason;
    int64_t sequence;
    int64_t effective_at_ms, detected_at_ms;
    int32_t as_of_day;
    int32_t threshold_version;
    struct segment_snapshot snapshot;
};

struct event {
    enum event_kind kind;
    union {
        struct transaction transaction; /* also TRANSACTION_VALID */
        struct control control;
        struct customer customer;
        struct product product;
        struct store store;
        struct promotion promotion;
        struct inventory inventory;
        struct loyalty_rules loyalty_rules;
        struct ledger_entry ledger;
        struct command command;
        struct segment_change segment_change;
    };
};

/* Identity of what was accepted: equal content gives equal hashes, whatever file, line, offset or schema version it came
 * by. Covers every business field (transaction_id .. channel, all lines but their category; not source_ref, not the raw
 * position). XXH3-64 over the canonical encoding; it is stored for ever, so it must never change. */
int64_t transaction_content_hash(const struct transaction *transaction);
/* Fingerprint of (source, type, transaction_id): where a duplicate is looked for. Never change it either. */
int64_t transaction_identity_hash(struct text source, enum transaction_type type, struct text transaction_id);
