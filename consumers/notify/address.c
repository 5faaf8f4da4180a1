#include "consumers/notify/address.h"

#include <ctype.h>
#include <string.h>

enum {
    LOCAL_MAX = 64,
    DOMAIN_MAX = 253,
    LABEL_MAX = 63,
    LINE_MAX_WANTED = 76,
    WORD_BYTES = 42, /* of UTF-8 in one encoded word: 12 + 56 characters, of 75 */
    TEXT_BYTES_MAX = 2048,
};

static bool is_atext(char c)
{
    return isalnum((unsigned char)c) || (c != '\0' && strchr("!#$%&'*+-/=?^_`{|}~", c) != NULL);
}

static bool local_valid(struct text local)
{
    if (local.size == 0 || local.size > LOCAL_MAX)
        return false;
    for (uint32_t at = 0; at < local.size; at++) {
        bool is_dot = local.data[at] == '.';
        if (!is_dot && ((unsigned char)local.data[at] > 0x7e || !is_atext(local.data[at])))
            return false;
        if (is_dot && (at == 0 || at + 1 == local.size || local.data[at - 1] == '.'))
            return false;
    }
    return true;
}

static bool domain_valid(struct text domain)
{
    uint32_t label = 0, labels = 1;
    bool has_letter = false; /* in the last label: an address of digits alone is no host's name */
    if (domain.size == 0 || domain.size > DOMAIN_MAX)
        return false;
    for (uint32_t at = 0; at < domain.size; at++) {
        char c = domain.data[at];
        if (c == '.') {
            if (label == 0 || domain.data[at - 1] == '-')
                return false;
            label = 0;
            labels++;
            has_letter = false;
            continue;
        }
        bool is_letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        if (!is_letter && !(c >= '0' && c <= '9') && (c != '-' || label == 0))
            return false;
        has_letter = has_letter || is_letter;
        if (++label > LABEL_MAX)
            return false;
    }
    return label > 0 && labels > 1 && has_letter && domain.data[domain.size - 1] != '-';
}

bool address_valid(struct text address)
{
    const char *at = address.data == NULL ? NULL : memchr(address.data, '@', address.size);
    if (at == NULL || address.size > ADDRESS_SIZE_MAX)
        return false;
    struct text local = { address.data, (uint32_t)(at - address.data) };
    return local_valid(local) && domain_valid((struct text){ at + 1, address.size - local.size - 1 });
}

struct text address_domain(struct text address)
{
    const char *at = memchr(address.data, '@', address.size);
    return (struct text){ at + 1, address.size - (uint32_t)(at + 1 - address.data) };
}

struct text text_cut(struct text text, uint32_t size_max)
{
    uint32_t size = text.size;
    if (size > size_max)
        for (size = size_max; size > 0 && ((unsigned char)text.data[size] & 0xc0) == 0x80;)
            size--;
    return (struct text){ text.data, size };
}

/* Control characters, line ends above all, become blanks; runs of blanks one; none at the ends. Returns the size. */
static size_t flatten(struct text text, char to[TEXT_BYTES_MAX])
{
    size_t size = 0;
    text = text_cut(text, TEXT_BYTES_MAX);
    for (uint32_t at = 0; at < text.size; at++) {
        unsigned char c = (unsigned char)text.data[at];
        bool is_blank = c <= 0x20 || c == 0x7f;
        if (is_blank && (size == 0 || to[size - 1] == ' '))
            continue;
        to[size++] = is_blank ? ' ' : (char)c;
    }
    while (size > 0 && to[size - 1] == ' ')
        size--;
    return size;
}

/* ASCII that no reader takes for an encoded word, in words short enough to fold at. */
static bool is_plain(const char *text, size_t size)
{
    size_t word = 0;
    for (size_t at = 0; at < size; at++) {
        if ((unsigned char)text[at] > 0x7e || (text[at] == '=' && at + 1 < size && text[at + 1] == '?'))
            return false;
        word = text[at] == ' ' ? 0 : word + 1;
        if (word > 60)
            return false;
    }
    return true;
}

static void write_base64(FILE *to, const unsigned char *bytes, size_t size)
{
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t at = 0; at < size; at += 3) {
        unsigned bits = (unsigned)bytes[at] << 16;
        bits |= at + 1 < size ? (unsigned)bytes[at + 1] << 8 : 0;
        bits |= at + 2 < size ? bytes[at + 2] : 0;
        fputc(letters[bits >> 18], to);
        fputc(letters[bits >> 12 & 63], to);
        fputc(at + 1 < size ? letters[bits >> 6 & 63] : '=', to);
        fputc(at + 2 < size ? letters[bits & 63] : '=', to);
    }
}

/* Each encoded word a line of its own. Blanks between encoded words are no part of the text, so each carries its own. */
static void write_encoded(FILE *to, const char *text, size_t size)
{
    for (size_t at = 0; at < size;) {
        size_t take = size - at < WORD_BYTES ? size - at : WORD_BYTES;
        while (at + take < size && ((unsigned char)text[at + take] & 0xc0) == 0x80)
            take--;
        fputs(at == 0 ? "=?UTF-8?B?" : "\r\n =?UTF-8?B?", to);
        write_base64(to, (const unsigned char *)text + at, take);
        fputs("?=", to);
        at += take;
    }
}

static void write_folded(FILE *to, size_t column, const char *text, size_t size)
{
    for (size_t at = 0; at < size;) {
        const char *blank = memchr(text + at, ' ', size - at);
        size_t word = blank == NULL ? size - at : (size_t)(blank - text) - at;
        if (at > 0) {
            bool folds = column + 1 + word > LINE_MAX_WANTED;
            fputs(folds ? "\r\n " : " ", to);
            column = folds ? 1 : column + 1;
        }
        fwrite(text + at, 1, word, to);
        column += word;
        at += word + (blank != NULL);
    }
}

void header_write_text(FILE *to, const char *name, struct text text)
{
    char flat[TEXT_BYTES_MAX];
    size_t size = flatten(text, flat);
    fprintf(to, "%s: ", name);
    if (is_plain(flat, size))
        write_folded(to, strlen(name) + 2, flat, size);
    else
        write_encoded(to, flat, size);
    fputs("\r\n", to);
}

void header_write_address(FILE *to, const char *name, struct text display, struct text address)
{
    char flat[TEXT_BYTES_MAX];
    size_t size = flatten(display, flat);
    if (size == 0) {
        fprintf(to, "%s: %.*s\r\n", name, TEXT_ARG(address));
        return;
    }
    fprintf(to, "%s: ", name);
    bool fits = strlen(name) + size + address.size + 7 <= LINE_MAX_WANTED;
    if (is_plain(flat, size) && size <= 60) {
        fputc('"', to);
        for (size_t at = 0; at < size; at++) {
            if (flat[at] == '"' || flat[at] == '\\')
                fputc('\\', to);
            fputc(flat[at], to);
        }
        fputc('"', to);
    } else {
        write_encoded(to, flat, size);
        fits = false;
    }
    fprintf(to, "%s <%.*s>\r\n", fits ? "" : "\r\n", TEXT_ARG(address));
}
