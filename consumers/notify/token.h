/*
 * token.h - who may unsubscribe whom: a token in each letter that only we can have made.
 * Shape:  base64url of "1|<list>|<customer>", a dot, base64url of HMAC-SHA256 over it. No state: a token is good for ever, for one
 *         customer and one list, and what it does can be done twice. The key is a file of at least 32 bytes.
 * Source: RFC 8058 3.1 ("opaque and hard to forge"); libcrypto's HMAC. The only file with OpenSSL.
 */
#pragma once

#include "runtime/config.h"
#include "runtime/err.h"
#include "runtime/text.h"

#include <stdbool.h>
#include <stddef.h>

enum {
    TOKEN_KEY_MAX = 1024,
    TOKEN_KEY_MIN = 32,
    TOKEN_CUSTOMER_MAX = 256,
    TOKEN_LIST_MAX = 16,
    TOKEN_SIZE = 480
};

struct token_key {
    unsigned char bytes[TOKEN_KEY_MAX];
    size_t size;
};

/* Reads notify.unsubscribe_key_file, else LENS_HOME/notify.key, which is made of random bytes if it is not there and make is true. */
enum ll_status token_key_load(const struct config *config, bool make, struct token_key *ret,
                              struct ll_err *err);

/* A NUL-terminated token into to; false: the customer's id is too long for one. */
bool token_write(const struct token_key *key, struct text list, struct text customer, char to[TOKEN_SIZE]);
/* False: not one of ours. */
bool token_read(const struct token_key *key, struct text token, char ret_list[TOKEN_LIST_MAX + 1],
                char ret_customer[TOKEN_CUSTOMER_MAX + 1]);
