/*
 * A rule set's document before libconfig sees it.
 * Why: libconfig 1.5 cuts a number without the suffix L to 32 bits without a word (4294967297 becomes 1), and
 *      @include would make a published set depend on other files. So long numbers get their suffix here, and
 *      @include is refused.
 */
#include "consumers/accrue/rules_set.h"

#include <ctype.h>
#include <stdlib.h>

enum { RULES_DOCUMENT_SIZE_MAX = 256 << 10, DIGITS_32_BITS = 9 };

struct copy {
    const char *at, *end;
    char *to;
    int line;
};

static void take(struct copy *copy)
{
    if (*copy->at == '\n')
        copy->line++;
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

enum ll_status rules_text(const char *document, size_t size, const char *name, char **ret, struct ll_err *err)
{
    if (size > RULES_DOCUMENT_SIZE_MAX)
        return ll_fail(err, LL_POISON, "%s: a rule set has at most %d bytes, this has %zu", name,
                       RULES_DOCUMENT_SIZE_MAX, size);
    if (memchr(document, '\0', size) != NULL)
        return ll_fail(err, LL_POISON, "%s: holds a NUL byte: this is no text", name);
    char *text = malloc(size + size / DIGITS_32_BITS + 2);
    if (text == NULL)
        abort();
    struct copy copy = { document, document + size, text, 1 };
    while (copy.at < copy.end) {
        if (next_is(&copy, "@include")) {
            free(text);
            return ll_fail(err, LL_POISON, "%s:%d: a rule set must stand alone: @include is not taken", name,
                           copy.line);
        }
        if (take_opaque(&copy))
            continue;
        if (isalnum((unsigned char)*copy.at) || *copy.at == '_')
            take_word(&copy);
        else
            take(&copy);
    }
    *copy.to = '\0';
    *ret = text;
    return LL_OK;
}
