#include "runtime/conf_text.h"

#include <ctype.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DIGITS_32_BITS = 9 };

struct copy {
    const char *at, *end;
    char *to;
};

static void take(struct copy *copy)
{
    *copy->to++ = *copy->at++;
}

static bool next_is(const struct copy *copy, const char *word)
{
    size_t size = strlen(word);
    return (size_t)(copy->end - copy->at) >= size && memcmp(copy->at, word, size) == 0;
}

/* A comment or a text, whose digits are nobody's number. False: neither begins here. */
static bool take_opaque(struct copy *copy)
{
    if (next_is(copy, "#") || next_is(copy, "//")) {
        while (copy->at < copy->end && *copy->at != '\n')
            take(copy);
    } else if (next_is(copy, "/*")) {
        take(copy);
        take(copy);
        while (copy->at < copy->end && !next_is(copy, "*/"))
            take(copy);
    } else if (next_is(copy, "\"")) {
        take(copy);
        while (copy->at < copy->end && *copy->at != '"') {
            if (*copy->at == '\\' && copy->end - copy->at > 1)
                take(copy);
            take(copy);
        }
        if (copy->at < copy->end)
            take(copy);
    } else {
        return false;
    }
    return true;
}

/* A name, or a number with all that may belong to it: 12, 12L, 0x12, 1.2e5. */
static void take_word(struct copy *copy)
{
    const char *from = copy->at;
    while (copy->at < copy->end && (isalnum((unsigned char)*copy->at) || strchr("_.*", *copy->at) != NULL))
        take(copy);
    size_t digits = 0;
    while (from + digits < copy->at && isdigit((unsigned char)from[digits]))
        digits++;
    if (digits > DIGITS_32_BITS && from + digits == copy->at)
        *copy->to++ = 'L';
}

char *conf_text(const char *document, size_t size)
{
    char *text = malloc(2 * size + 2);
    if (text == NULL)
        abort();
    struct copy copy = { document, document + size, text };
    while (copy.at < copy.end) {
        if (take_opaque(&copy))
            continue;
        bool is_include = *copy.at == '@';
        if (isalnum((unsigned char)*copy.at) || *copy.at == '_')
            take_word(&copy);
        else
            take(&copy);
        if (is_include) /* libconfig's @include ends the process when it is given a folder: a syntax error instead */
            *copy.to++ = ' ';
    }
    *copy.to = '\0';
    return text;
}

/* RFC 3629: no overlong form, no surrogate, nothing above U+10FFFF. */
static bool is_utf8(const char *text)
{
    static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
    for (const unsigned char *at = (const unsigned char *)text; *at != '\0';) {
        size_t size = *at < 0x80 ? 1 : (*at & 0xe0) == 0xc0 ? 2 : (*at & 0xf0) == 0xe0 ? 3 : (*at & 0xf8) == 0xf0 ? 4 : 0;
        if (size == 0)
            return false;
        uint32_t value = size == 1 ? *at : *at & (0x7fu >> size);
        for (size_t i = 1; i < size; i++) {
            if ((at[i] & 0xc0) != 0x80)
                return false;
            value = value << 6 | (at[i] & 0x3fu);
        }
        if (value < least[size] || value > 0x10ffff || (value >= 0xd800 && value <= 0xdfff))
            return false;
        at += size;
    }
    return true;
}

/* A text that is not UTF-8 would be written into events, and shown as JSON. */
static int check_texts(config_t *config, const config_setting_t *setting)
{
    if (config_setting_type(setting) == CONFIG_TYPE_STRING && !is_utf8(config_setting_get_string(setting))) {
        config->error_type = CONFIG_ERR_PARSE;
        config->error_text = "a text is not UTF-8";
        config->error_line = (int)config_setting_source_line(setting);
        return CONFIG_FALSE;
    }
    if (!config_setting_is_aggregate(setting))
        return CONFIG_TRUE;
    for (int i = 0; i < config_setting_length(setting); i++)
        if (check_texts(config, config_setting_get_elem(setting, (unsigned)i)) == CONFIG_FALSE)
            return CONFIG_FALSE;
    return CONFIG_TRUE;
}

int conf_read_file(config_t *config, const char *path)
{
    FILE *file = fopen(path, "re");
    char *bytes = NULL;
    size_t size = 0;
    int done = CONFIG_FALSE;
    if (file != NULL && getdelim(&bytes, &size, EOF, file) >= 0) {
        char *text = conf_text(bytes, strlen(bytes));
        done = config_read_string(config, text);
        free(text);
    } else {
        done = config_read_file(config, path); /* an empty file, or one that cannot be read: libconfig says which */
    }
    free(bytes);
    if (file != NULL)
        fclose(file);
    return done == CONFIG_TRUE ? check_texts(config, config_root_setting(config)) : done;
}
