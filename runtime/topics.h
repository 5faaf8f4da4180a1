/*
 * topics.h - the map of topics: topics.conf read, checked, and known by enum in the code.
 * Shape:  topics.conf names every topic once; a topic that the code knows and the file does not (or the other way round)
 *         is an error with file and line.
 */
#pragma once

#include "runtime/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* X(symbol, name on the broker) */
#define TOPIC_TABLE(X) \
    X(TRANSACTIONS, "transactions") \
    X(CUSTOMERS, "customers") \
    X(PRODUCTS, "products") \
    X(STORES, "stores") \
    X(PROMOTIONS, "promotions") \
    X(INVENTORY, "inventory") \
    X(LOYALTY_RULES, "loyalty-rules") \
    X(TRANSACTIONS_RETRY, "transactions.retry") \
    X(TRANSACTIONS_VALID, "transactions.valid") \
    X(CUSTOMERS_VALID, "customers.valid") \
    X(PRODUCTS_VALID, "products.valid") \
    X(STORES_VALID, "stores.valid") \
    X(PROMOTIONS_VALID, "promotions.valid") \
    X(INVENTORY_VALID, "inventory.valid") \
    X(DEAD_LETTER, "dead-letter") \
    X(LEDGER, "ledger") \
    X(SEGMENT_CHANGES, "segment-changes") \
    X(COMMANDS, "commands") \
    X(IMPORTS, "imports")

enum topic {
#define X(symbol, name) TOPIC_##symbol,
    TOPIC_TABLE(X)
#undef X
        TOPIC_COUNT,
};

enum { TOPIC_NAME_SIZE = 64, TOPIC_LIST_SIZE = 160 };

struct topic_fact {
    char name[TOPIC_NAME_SIZE];
    int32_t partitions;
    char key[TOPIC_LIST_SIZE];     /* what the key is, in words */
    char schema[TOPIC_NAME_SIZE];  /* value schema: a file of schemas/ without .avsc, or "bytes" */
    bool compacted;                /* cleanup.policy compact instead of delete */
    int64_t retention_ms;          /* -1: for ever */
    bool broker_time;              /* LogAppendTime: the producer's clock is not believed */
    char writers[TOPIC_LIST_SIZE]; /* process names, comma-separated */
    char readers[TOPIC_LIST_SIZE];
};

struct topics {
    struct topic_fact facts[TOPIC_COUNT];
};

enum ll_status topics_load(const char *path, struct topics *ret, struct ll_err *err);

/* The name on the broker. Never NULL. */
const char *topic_name(enum topic topic);
/* TOPIC_COUNT if there is no such name. */
enum topic topic_find(const char *name);
