#include "ops/inert.h"

#include <assert.h>
#include <ctype.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { ESCAPE_SIZE = 4 }; /* \xNN */

/* Length of the well-formed UTF-8 sequence at data, and its code point; 0 if there is none. */
static size_t utf8_read(const unsigned char *data, size_t size, uint32_t *ret_point)
{
    unsigned char first = data[0];
    size_t length = first < 0x80   ? 1
                    : first < 0xc2 ? 0
                    : first < 0xe0 ? 2
                    : first < 0xf0 ? 3
                    : first < 0xf5 ? 4
                                   : 0;
    if (length == 0 || length > size)
        return 0;
    static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
    uint32_t point = length == 1 ? first : (uint32_t)(first & (0xff >> (length + 1)));
    for (size_t i = 1; i < length; i++) {
        if ((data[i] & 0xc0) != 0x80)
            return 0;
        point = point << 6 | (data[i] & 0x3fu);
    }
    if (point < least[length] || point > 0x10ffff || (point >= 0xd800 && point <= 0xdfff))
        return 0;
    *ret_point = point;
    return length;
}

static bool acts_on_terminal(uint32_t point)
{
    return point < 0x20 || (point >= 0x7f && point <= 0x9f)         /* C0, DEL, C1 */
           || point == 0x061c || point == 0x200e || point == 0x200f /* marks of direction */
           || (point >= 0x2028 && point <= 0x202e)                  /* separators, embeddings, overrides */
           || (point >= 0x2066 && point <= 0x2069)                  /* isolates */
           || point == 0xfeff || (point >= 0xfff9 && point <= 0xfffb);
}

size_t inert_harmless(const char *data, size_t size)
{
    uint32_t point = 0;
    if (size == 0)
        return 0;
    size_t length = utf8_read((const unsigned char *)data, size, &point);
    if (length == 0 || acts_on_terminal(point))
        return 0;
    if (data[0] == '\\' && size > 1 && (data[1] == 'x' || data[1] == '\\'))
        return 0;
    return length;
}

/* One character of the text in its inert form; returns how many bytes were read, *ret_size how many stand in piece. */
static size_t piece_of(struct text text, size_t at, char piece[8], size_t *ret_size)
{
    size_t length = inert_harmless(text.data + at, text.size - at);
    if (length > 0) {
        memcpy(piece, text.data + at, length);
        *ret_size = length;
        return length;
    }
    unsigned char byte = (unsigned char)text.data[at];
    if (byte == '\\') {
        memcpy(piece, "\\\\", 2);
        *ret_size = 2;
        return 1;
    }
    static const char digits[] = "0123456789abcdef";
    piece[0] = '\\';
    piece[1] = 'x';
    piece[2] = digits[byte >> 4];
    piece[3] = digits[byte & 15];
    *ret_size = ESCAPE_SIZE;
    return 1;
}

char *inert_write(struct text text, char *to, size_t size)
{
    static const char cut[] = "...";
    assert(size >= sizeof(cut) + 8);
    size_t used = 0;
    size_t whole = 0; /* where a cut still leaves room for its dots */
    for (size_t at = 0; text.data != NULL && at < text.size;) {
        char piece[8];
        size_t piece_size = 0;
        size_t step = piece_of(text, at, piece, &piece_size);
        if (used + piece_size >= size) {
            memcpy(to + whole, cut, sizeof(cut));
            return to;
        }
        memcpy(to + used, piece, piece_size);
        used += piece_size;
        at += step;
        if (used + sizeof(cut) <= size)
            whole = used;
    }
    to[used] = '\0';
    return to;
}

void inert_print(struct text text, FILE *to)
{
    for (size_t at = 0; text.data != NULL && at < text.size;) {
        char piece[8];
        size_t piece_size = 0;
        at += piece_of(text, at, piece, &piece_size);
        fwrite(piece, 1, piece_size, to);
    }
}

json_t *inert_json(struct text text)
{
    if (text.data == NULL)
        return json_null();
    size_t capacity = (size_t)text.size * ESCAPE_SIZE + 1;
    char *safe = malloc(capacity);
    if (safe == NULL)
        abort();
    size_t used = 0;
    for (size_t at = 0; at < text.size;) {
        char piece[8];
        size_t piece_size = 0;
        at += piece_of(text, at, piece, &piece_size);
        memcpy(safe + used, piece, piece_size);
        used += piece_size;
    }
    json_t *value = json_stringn(safe, used);
    free(safe);
    return value;
}

void inert_dump(struct text text, size_t size_max, FILE *to)
{
    size_t size = text.data == NULL ? 0 : text.size < size_max ? text.size : size_max;
    for (size_t at = 0; at < size; at += 16) {
        fprintf(to, "  %06zx ", at);
        for (size_t i = at; i < at + 16; i++) {
            if (i < size)
                fprintf(to, "%s%02x", i % 8 == 0 ? "  " : " ", (unsigned char)text.data[i]);
            else
                fputs(i % 8 == 0 ? "    " : "   ", to);
        }
        fputs("  |", to);
        for (size_t i = at; i < at + 16 && i < size; i++) {
            unsigned char byte = (unsigned char)text.data[i];
            fputc(byte >= 0x20 && byte < 0x7f ? byte : '.', to);
        }
        fputs("|\n", to);
    }
    if (text.data != NULL && text.size > size)
        fprintf(to, "  ... %zu bytes more\n", (size_t)text.size - size);
}
