/*
 * profile.h - how the columns of somebody's CSV files become events: a configuration file, not code.
 * Shape:  deploy/profiles/NAME.conf (libconfig) is read once into the structs below, with every check done. online_retail.conf
 *         there explains every key.
 * Errors: LL_FATAL with file:line: a key that is not known, a value of another type or out of range, a column that the header
 *         does not have, a pattern or a format that cannot be read, a field that the kind of file does not have.
 */
#pragma once

#include "producers/import/when.h"
#include "runtime/err.h"
#include "runtime/topics.h"
#include "schemas/codes.h"
#include "schemas/event.h"

#include <regex.h>
#include <stdbool.h>
#include <stdint.h>

enum {
    PROFILE_FILES_MAX = 16,
    PROFILE_COLUMNS_MAX = 64,
    PROFILE_NAME_SIZE = 64,
    PROFILE_VALUE_SIZE = 128,
    PROFILE_WORDS_MAX = 6,
    PROFILE_WORD_SIZE = 16,
};

/* In the order in which they are imported: what is referred to comes before what refers to it.
 * X(symbol, name in the profile, topic) */
#define PROFILE_KINDS(X)                                                                                     \
    X(STORES, "stores", STORES)                                                                              \
    X(PRODUCTS, "products", PRODUCTS)                                                                        \
    X(CUSTOMERS, "customers", CUSTOMERS)                                                                     \
    X(PROMOTIONS, "promotions", PROMOTIONS)                                                                  \
    X(INVENTORY, "inventory", INVENTORY)                                                                     \
    X(TRANSACTION_LINES, "transaction_lines", TRANSACTIONS)                                                  \
    X(SALES, "sales", TRANSACTIONS)                                                                          \
    X(SALE_LINES, "sale_lines", TRANSACTIONS)

enum profile_kind {
#define X(symbol, name, topic) PROFILE_##symbol,
    PROFILE_KINDS(X)
#undef X
        PROFILE_KIND_COUNT,
};

enum field_type {
    FIELD_TEXT,
    FIELD_LIST,
    FIELD_TYPE,
    FIELD_TIME,
    FIELD_DATE,
    FIELD_MONEY,
    FIELD_WHOLE,
    FIELD_BOOLEAN
};

/* Every field of every event that a column can feed. Sets of kinds: which kinds of file have it.
 * X(symbol, name, type, kinds, required by default, code if it is required and empty, code if it is not above
 * zero) */
#define PROFILE_HEADS     (KIND(TRANSACTION_LINES) | KIND(SALES))
#define PROFILE_ITEMS     (KIND(TRANSACTION_LINES) | KIND(SALE_LINES))
#define PROFILE_VERSIONED (KIND(STORES) | KIND(PRODUCTS) | KIND(CUSTOMERS) | KIND(PROMOTIONS))
/* clang-format off */
#define PROFILE_FIELDS(X) \
    X(TRANSACTION_ID, "transaction_id", TEXT, PROFILE_HEADS | PROFILE_ITEMS, true, TRANSACTION_ID_MISSING, NONE) \
    X(TYPE, "type", TYPE, PROFILE_HEADS, true, TYPE_UNKNOWN, NONE) \
    X(ORIGINAL, "original_transaction_id", TEXT, PROFILE_HEADS, false, ORIGINAL_MISSING, NONE) \
    X(EVENT_TIME, "event_time", TIME, PROFILE_HEADS | KIND(INVENTORY), true, TIME_SYNTAX, NONE) \
    X(STORE_ID, "store_id", TEXT, PROFILE_HEADS | KIND(STORES) | KIND(INVENTORY), false, STORE_MISSING, NONE) \
    X(CUSTOMER_ID, "customer_id", TEXT, PROFILE_HEADS | KIND(CUSTOMERS), false, REFERENCE_ID_MISSING, NONE) \
    X(CURRENCY, "currency", TEXT, PROFILE_HEADS, false, CURRENCY_UNKNOWN, NONE) \
    X(TOTAL, "total", MONEY, PROFILE_HEADS, false, AMOUNT_SYNTAX, AMOUNT_NOT_POSITIVE) \
    X(CHANNEL, "channel", TEXT, PROFILE_HEADS, false, VALUE_SYNTAX, NONE) \
    X(LINE_NO, "line_no", WHOLE, PROFILE_ITEMS, true, VALUE_SYNTAX, VALUE_SYNTAX) \
    X(PRODUCT_ID, "product_id", TEXT, PROFILE_ITEMS | KIND(PRODUCTS) | KIND(INVENTORY), false, PRODUCT_MISSING, NONE) \
    X(QUANTITY, "quantity", WHOLE, PROFILE_ITEMS, true, QUANTITY_SYNTAX, QUANTITY_NOT_POSITIVE) \
    X(UNIT_PRICE, "unit_price", MONEY, PROFILE_ITEMS | KIND(PRODUCTS), true, AMOUNT_SYNTAX, PRICE_NOT_POSITIVE) \
    X(DISCOUNT, "discount", MONEY, PROFILE_ITEMS, false, AMOUNT_SYNTAX, DISCOUNT_NEGATIVE) \
    X(AMOUNT, "amount", MONEY, PROFILE_ITEMS, true, AMOUNT_SYNTAX, AMOUNT_NOT_POSITIVE) \
    X(PROMOTION_ID, "promotion_id", TEXT, PROFILE_ITEMS | KIND(PROMOTIONS), false, REFERENCE_ID_MISSING, NONE) \
    X(EFFECTIVE_FROM, "effective_from", TIME, PROFILE_VERSIONED, false, TIME_SYNTAX, NONE) \
    X(NAME, "name", TEXT, PROFILE_VERSIONED, false, VALUE_SYNTAX, NONE) \
    X(EMAIL, "email", TEXT, KIND(CUSTOMERS), false, VALUE_SYNTAX, NONE) \
    X(PHONE, "phone", TEXT, KIND(CUSTOMERS), false, VALUE_SYNTAX, NONE) \
    X(LANGUAGE, "language", TEXT, KIND(CUSTOMERS), false, VALUE_SYNTAX, NONE) \
    X(COUNTRY, "country", TEXT, KIND(CUSTOMERS), false, VALUE_SYNTAX, NONE) \
    X(CONSENT, "consent_marketing", BOOLEAN, KIND(CUSTOMERS), false, VALUE_SYNTAX, NONE) \
    X(ERASED, "erased", BOOLEAN, KIND(CUSTOMERS), false, VALUE_SYNTAX, NONE) \
    X(CATEGORY, "category", TEXT, KIND(PRODUCTS), false, VALUE_SYNTAX, NONE) \
    X(BRAND, "brand", TEXT, KIND(PRODUCTS), false, VALUE_SYNTAX, NONE) \
    X(ACTIVE, "active", BOOLEAN, KIND(PRODUCTS), false, VALUE_SYNTAX, NONE) \
    X(CITY, "city", TEXT, KIND(STORES), false, VALUE_SYNTAX, NONE) \
    X(OPENED, "opened", DATE, KIND(STORES), false, TIME_SYNTAX, NONE) \
    X(CLOSED, "closed", DATE, KIND(STORES), false, TIME_SYNTAX, NONE) \
    X(START, "start", DATE, KIND(PROMOTIONS), true, TIME_SYNTAX, NONE) \
    X(END, "end", DATE, KIND(PROMOTIONS), true, TIME_SYNTAX, NONE) \
    X(PRODUCT_IDS, "product_ids", LIST, KIND(PROMOTIONS), false, VALUE_SYNTAX, NONE) \
    X(CATEGORIES, "categories", LIST, KIND(PROMOTIONS), false, VALUE_SYNTAX, NONE) \
    X(ON_HAND, "on_hand", WHOLE, KIND(INVENTORY), true, QUANTITY_SYNTAX, QUANTITY_NOT_POSITIVE)
/* clang-format on */

enum field_id {
#define X(symbol, name, type, kinds, required, missing, not_positive) FIELD_ID_##symbol,
    PROFILE_FIELDS(X)
#undef X
        FIELD_ID_COUNT,
};

struct field_info {
    const char *name;
    enum field_type type;
    unsigned kinds; /* 1u << enum profile_kind */
    bool required;
    enum code missing, not_positive;
};
const struct field_info *profile_field_info(enum field_id id);
const char *profile_kind_name(enum profile_kind kind);

/* How the rows of one transaction agree on a field: all the same, or the smallest, or the greatest. */
enum field_agree { AGREE_SAME, AGREE_EARLIEST, AGREE_LATEST };

struct profile_pattern {
    bool set;
    regex_t compiled; /* of ^(...)$: the whole value must match */
};

struct profile_field {
    bool used;
    int column;                        /* index into the file's columns; -1: the constant */
    char constant[PROFILE_VALUE_SIZE]; /* value = "..." */
    char empty[PROFILE_VALUE_SIZE];    /* default = "...": taken where the column is empty */
    bool has_empty, required, strip, positive, nonzero, computed;
    char drop_suffix[PROFILE_WORD_SIZE];
    char separator, decimal;
    struct profile_pattern pattern;
    struct profile_pattern types[3]; /* type: by enum transaction_type */
    signed char sign[3];             /* by enum transaction_type: +1, -1, 0 any */
    struct when when;
    char yes[PROFILE_WORDS_MAX][PROFILE_WORD_SIZE], no[PROFILE_WORDS_MAX][PROFILE_WORD_SIZE];
    int yes_count, no_count;
    enum field_agree agree;
};

struct profile_file {
    enum profile_kind kind;
    char match[PROFILE_VALUE_SIZE]; /* shell pattern of the file's name */
    enum topic topic;
    char columns[PROFILE_COLUMNS_MAX][PROFILE_NAME_SIZE];
    int column_count;
    struct profile_field fields[FIELD_ID_COUNT];
};

enum profile_encoding { ENCODING_UTF_8, ENCODING_LATIN_1, ENCODING_WINDOWS_1252 };

struct profile {
    char path[256];
    char source[PROFILE_NAME_SIZE];
    char currency[4];
    int money_digits; /* of currency: the scale of all money in the files */
    char time_zone[PROFILE_NAME_SIZE];
    enum profile_encoding encoding;
    char delimiter;
    bool line_breaks;        /* quotes may enclose them */
    bool reject_transaction; /* bad_row: the whole transaction goes, not the row alone */
    int64_t open_rows;       /* rows of unfinished transactions in memory, at most */
    struct profile_file files[PROFILE_FILES_MAX];
    int file_count;
};

/* currency and time_zone are the program's: taken where the profile names none. */
enum ll_status profile_load(const char *path, const char *currency, const char *time_zone,
                            struct profile **ret, struct ll_err *err);
void profile_free(struct profile *profile);
