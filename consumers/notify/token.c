#include "consumers/notify/token.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    MAC_SIZE = 32,
    PAYLOAD_MAX = TOKEN_CUSTOMER_MAX + TOKEN_LIST_MAX + 4,
    PATH_SIZE = 2 * CONFIG_TEXT_SIZE
};

/* Whole or not at all: the file is linked into place once its bytes are on disk; of two that make it, one wins and both read that. */
static enum ll_status make_key(const char *path, struct ll_err *err)
{
    char fresh[PATH_SIZE + 32];
    unsigned char bytes[TOKEN_KEY_MIN];
    snprintf(fresh, sizeof fresh, "%s.%d", path, (int)getpid());
    int fd = open(fresh, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    bool is_written = fd >= 0 && getrandom(bytes, sizeof bytes, 0) == (ssize_t)sizeof bytes &&
                      write(fd, bytes, sizeof bytes) == (ssize_t)sizeof bytes && fsync(fd) == 0;
    int cause = errno;
    if (fd >= 0)
        close(fd);
    explicit_bzero(bytes, sizeof bytes);
    if (is_written && link(fresh, path) != 0 && errno != EEXIST) {
        cause = errno;
        is_written = false;
    }
    unlink(fresh);
    return is_written ? LL_OK : ll_fail(err, LL_FATAL, "%s: cannot be made: %s", path, strerror(cause));
}

enum ll_status token_key_load(const struct config *config, bool make, struct token_key *ret,
                              struct ll_err *err)
{
    char path[PATH_SIZE];
    bool is_named = config->notify.unsubscribe_key_file[0] != '\0';
    if (is_named)
        snprintf(path, sizeof path, "%s", config->notify.unsubscribe_key_file);
    else
        config_home_path(config, "notify.key", path, sizeof path);
    if (!is_named && make && access(path, F_OK) != 0) {
        enum ll_status status = make_key(path, err);
        if (status != LL_OK)
            return status;
    }
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return ll_fail(err, LL_FATAL,
                       "%s: %s; it holds the key of unsubscribe tokens (notify.unsubscribe_key_file)", path,
                       strerror(errno));
    struct stat facts;
    if (fstat(fileno(file), &facts) != 0 || (facts.st_mode & 077) != 0) {
        fclose(file);
        return ll_fail(err, LL_FATAL,
                       "%s: others can read or change it, and could unsubscribe anybody; next: chmod 600 %s",
                       path, path);
    }
    ret->size = fread(ret->bytes, 1, sizeof ret->bytes, file);
    fclose(file);
    if (ret->size < TOKEN_KEY_MIN)
        return ll_fail(err, LL_FATAL,
                       "%s: has %zu bytes, a key needs at least %d; make one: head -c 32 /dev/urandom >FILE",
                       path, ret->size, TOKEN_KEY_MIN);
    return LL_OK;
}

static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

static size_t encode(const unsigned char *bytes, size_t size, char *to)
{
    size_t used = 0;
    for (size_t at = 0; at < size; at += 3) {
        unsigned bits = (unsigned)bytes[at] << 16;
        bits |= at + 1 < size ? (unsigned)bytes[at + 1] << 8 : 0;
        bits |= at + 2 < size ? bytes[at + 2] : 0;
        to[used++] = letters[bits >> 18];
        to[used++] = letters[bits >> 12 & 63];
        if (at + 1 < size)
            to[used++] = letters[bits >> 6 & 63];
        if (at + 2 < size)
            to[used++] = letters[bits & 63];
    }
    return used;
}

/* Returns the size, or SIZE_MAX for what encode does not write. */
static size_t decode(struct text text, unsigned char *to, size_t capacity)
{
    size_t used = 0;
    unsigned bits = 0;
    int count = 0;
    for (uint32_t at = 0; at < text.size; at++) {
        const char *found = text.data[at] == '\0' ? NULL : strchr(letters, text.data[at]);
        if (found == NULL)
            return SIZE_MAX;
        bits = (bits << 6 | (unsigned)(found - letters)) & 0xffffff;
        count += 6;
        if (count >= 8) {
            count -= 8;
            if (used == capacity)
                return SIZE_MAX;
            to[used++] = (unsigned char)(bits >> count);
        }
    }
    return text.size % 4 == 1 || (bits & ((1U << count) - 1)) != 0 ? SIZE_MAX : used;
}

static void mac_of(const struct token_key *key, struct text text, unsigned char ret[MAC_SIZE])
{
    unsigned size = MAC_SIZE;
    if (HMAC(EVP_sha256(), key->bytes, (int)key->size, (const unsigned char *)text.data, text.size, ret,
             &size) == NULL ||
        size != MAC_SIZE)
        abort();
}

bool token_write(const struct token_key *key, struct text list, struct text customer, char to[TOKEN_SIZE])
{
    char payload[PAYLOAD_MAX + 1];
    unsigned char mac[MAC_SIZE];
    if (customer.size == 0 || customer.size > TOKEN_CUSTOMER_MAX || list.size == 0 ||
        list.size > TOKEN_LIST_MAX)
        return false;
    int size = snprintf(payload, sizeof payload, "1|%.*s|%.*s", TEXT_ARG(list), TEXT_ARG(customer));
    size_t used = encode((const unsigned char *)payload, (size_t)size, to);
    mac_of(key, (struct text){ to, (uint32_t)used }, mac);
    to[used++] = '.';
    used += encode(mac, sizeof mac, to + used);
    to[used] = '\0';
    return true;
}

bool token_read(const struct token_key *key, struct text token, char ret_list[TOKEN_LIST_MAX + 1],
                char ret_customer[TOKEN_CUSTOMER_MAX + 1])
{
    unsigned char given[MAC_SIZE], mac[MAC_SIZE], payload[PAYLOAD_MAX];
    const char *dot = token.size > TOKEN_SIZE ? NULL : memchr(token.data, '.', token.size);
    if (dot == NULL)
        return false;
    struct text head = { token.data, (uint32_t)(dot - token.data) };
    struct text tail = { dot + 1, token.size - head.size - 1 };
    if (decode(tail, given, sizeof given) != MAC_SIZE)
        return false;
    mac_of(key, head, mac);
    if (CRYPTO_memcmp(given, mac, MAC_SIZE) != 0)
        return false;
    size_t size = decode(head, payload, sizeof payload);
    if (size == SIZE_MAX || size < 4 || memcmp(payload, "1|", 2) != 0)
        return false;
    const char *list = (const char *)payload + 2;
    const char *bar = memchr(list, '|', size - 2);
    if (bar == NULL || bar - list > TOKEN_LIST_MAX)
        return false;
    size_t customer_size = size - (size_t)(bar + 1 - (const char *)payload);
    if (customer_size > TOKEN_CUSTOMER_MAX)
        return false;
    memcpy(ret_list, list, (size_t)(bar - list));
    ret_list[bar - list] = '\0';
    memcpy(ret_customer, bar + 1, customer_size);
    ret_customer[customer_size] = '\0';
    return true;
}
