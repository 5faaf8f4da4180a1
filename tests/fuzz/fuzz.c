#include "tests/fuzz/fuzz.h"

#include "schemas/bind.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

struct fuzz fuzz_of(const uint8_t *data, size_t size)
{
    return (struct fuzz){ (const char *)data, size };
}

static struct text take(struct fuzz *fuzz, size_t size)
{
    size = size > fuzz->left ? fuzz->left : size;
    struct text text = { fuzz->at, (uint32_t)size };
    fuzz->at += size;
    fuzz->left -= size;
    return text;
}

uint8_t fuzz_byte(struct fuzz *fuzz)
{
    struct text text = take(fuzz, 1);
    return text.size == 0 ? 0 : (uint8_t)text.data[0];
}

struct text fuzz_block(struct fuzz *fuzz)
{
    size_t high = fuzz_byte(fuzz), low = fuzz_byte(fuzz);
    return take(fuzz, high << 8 | low);
}

struct text fuzz_rest(struct fuzz *fuzz)
{
    return take(fuzz, fuzz->left);
}

struct text fuzz_part(struct fuzz *fuzz)
{
    static const char end[] = "\n%%\n";
    const char *found = fuzz->left == 0 ? NULL : memmem(fuzz->at, fuzz->left, end, sizeof end - 1);
    if (found == NULL)
        return fuzz_rest(fuzz);
    struct text text = take(fuzz, (size_t)(found - fuzz->at) + 1);
    take(fuzz, sizeof end - 2);
    return text;
}

const char *fuzz_file(int number, struct text bytes)
{
    static int files[4] = { -1, -1, -1, -1 };
    static char paths[4][32];
    if (files[number] < 0) {
        files[number] = memfd_create("fuzz", MFD_CLOEXEC);
        snprintf(paths[number], sizeof paths[number], "/proc/self/fd/%d", files[number]);
    }
    fuzz_claim(ftruncate(files[number], 0) == 0 &&
                   pwrite(files[number], bytes.data, bytes.size, 0) == (ssize_t)bytes.size,
               "the input cannot be written");
    return paths[number];
}

void fuzz_claim(bool is_so, const char *format, ...)
{
    if (is_so)
        return;
    va_list arguments;
    va_start(arguments, format);
    fputs("fuzz: not so: ", stderr);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    abort();
}

/* The character at the front and how many bytes it takes; 0 bytes: it is none. Not schemas/utf8.c, which is under test. */
static size_t decode(struct text text, uint32_t *ret)
{
    static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
    const unsigned char *at = (const unsigned char *)text.data;
    size_t size = at[0] < 0x80 ? 1 : (at[0] & 0xe0) == 0xc0 ? 2 : (at[0] & 0xf0) == 0xe0 ? 3 : (at[0] & 0xf8) == 0xf0 ? 4 : 0;
    if (size == 0 || size > text.size)
        return 0;
    uint32_t value = size == 1 ? at[0] : at[0] & (0x7fu >> size);
    for (size_t i = 1; i < size; i++) {
        if ((at[i] & 0xc0) != 0x80)
            return 0;
        value = value << 6 | (at[i] & 0x3fu);
    }
    *ret = value;
    return value < least[size] || value > 0x10ffff || (value >= 0xd800 && value <= 0xdfff) ? 0 : size;
}

bool fuzz_is_utf8(struct text text)
{
    uint32_t character;
    for (size_t size; text.size > 0; text.data += size, text.size -= (uint32_t)size)
        if ((size = decode(text, &character)) == 0)
            return false;
    return true;
}

void fuzz_claim_inert(struct text text, const char *what)
{
    uint32_t character = 0;
    for (size_t at = 0, size; at < text.size; at += size) {
        size = decode((struct text){ text.data + at, text.size - (uint32_t)at }, &character);
        fuzz_claim(size > 0, "%s, byte %zu: no UTF-8", what, at);
        bool acts = (character < 0x20 && character != '\n') || (character >= 0x7f && character < 0xa0) ||
                    character == 0x61c || (character >= 0x200e && character <= 0x200f) ||
                    (character >= 0x2028 && character <= 0x202e) || (character >= 0x2066 && character <= 0x2069) ||
                    character == 0xfeff;
        fuzz_claim(!acts, "%s, byte %zu: U+%04X acts on a terminal", what, at, (unsigned)character);
    }
}

/* ---- events ---- */

struct codec *fuzz_codec(void)
{
    static struct codec *codec;
    struct ll_err err;
    if (codec == NULL)
        fuzz_claim(codec_new(LENS_SOURCE_DIR "/schemas", NULL, &codec, &err) == LL_OK, "%s", err.text);
    return codec;
}

static void claim_text(const struct bind_field *field, struct text text)
{
    const char *name = field->name == NULL ? "item" : field->name;
    fuzz_claim(text.data != NULL || field->nullable, "%s is null", name);
    fuzz_claim(text.data == NULL ? text.size == 0 : text.size <= field->limit, "%s has %u bytes", name, text.size);
    fuzz_claim(text.data == NULL || fuzz_is_utf8(text), "%s is no UTF-8", name);
}

static void claim_record(const struct bind_record *bind, const char *record)
{
    for (uint32_t i = 0; i < bind->count; i++) {
        const struct bind_field *field = &bind->fields[i];
        const char *at = record + field->offset;
        if (field->type == BIND_TEXT) {
            claim_text(field, *(const struct text *)(const void *)at);
        } else if (field->type == BIND_ENUM) {
            uint32_t symbols = 0;
            while (field->symbols[symbols] != NULL)
                symbols++;
            fuzz_claim(*(const uint32_t *)(const void *)at < symbols, "%s is no symbol", field->name);
        } else if (field->type == BIND_LIST) {
            uint32_t count = *(const uint32_t *)(const void *)(record + field->aside);
            const char *items = *(const char *const *)(const void *)at;
            fuzz_claim(count <= field->limit, "%s has %u items", field->name, count);
            for (uint32_t k = 0; k < count; k++)
                claim_record(field->items, items + (size_t)k * field->items->size);
        }
    }
}

static char *written(const struct event *event, uint32_t *ret_size)
{
    size_t room = codec_size_max(event);
    char *value = malloc(room);
    size_t size = codec_write(fuzz_codec(), event, value, room);
    fuzz_claim(size > 0 && size <= room, "codec_size_max does not suffice");
    *ret_size = (uint32_t)size;
    return value;
}

void fuzz_claim_event(const struct event *event)
{
    static struct codec_scratch *scratch;
    if (scratch == NULL)
        scratch = codec_scratch_new();
    claim_record(bind_of(event->kind), event_payload_const(event));
    struct event again;
    struct ll_err err = { "" };
    enum code code = CODE_NONE;
    struct text first = { NULL, 0 }, second = { NULL, 0 };
    first.data = written(event, &first.size);
    fuzz_claim(codec_read(fuzz_codec(), event->kind, first, scratch, &again, &code, &err) == LL_OK, "written, but not read: %s",
               err.text);
    second.data = written(&again, &second.size);
    fuzz_claim(text_equal(first, second), "read again it is another");
    free((char *)(uintptr_t)first.data);
    free((char *)(uintptr_t)second.data);
}
