/* What others wrote is shown, and does nothing: not to a terminal, not to a JSON reader. */
#include "ops/inert.h"
#include "ops/table.h"

#include <criterion/criterion.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* As an initializer; TEXT as an expression. */
#define BYTES(literal) { (literal), sizeof(literal) - 1 }

static const struct {
    const char *why;
    struct text text;
    const char *shown;
} cases[] = {
    { "plain text stays", BYTES("T-1 Caf\xc3\xa9 \xe2\x82\xac 5"), "T-1 Caf\xc3\xa9 \xe2\x82\xac 5" },
    { "null is nothing", { NULL, 0 }, "" },
    { "an escape sequence would colour, move, or worse", BYTES("\x1b[31mred\x1b[0m"), "\\x1b[31mred\\x1b[0m" },
    { "a newline would forge a row", BYTES("a\nb\r"), "a\\x0ab\\x0d" },
    { "a NUL would end it", BYTES("a\0b"), "a\\x00b" },
    { "DEL", BYTES("a\x7f"), "a\\x7f" },
    { "C1 in UTF-8 is CSI to some terminals", BYTES("\xc2\x9b" "31m"), "\\xc2\\x9b31m" },
    { "a lone byte above 127 is no UTF-8", BYTES("\x9b" "31m \xe9"), "\\x9b31m \\xe9" },
    { "an overlong slash", BYTES("\xc0\xaf"), "\\xc0\\xaf" },
    { "a surrogate", BYTES("\xed\xa0\x80"), "\\xed\\xa0\\x80" },
    { "beyond Unicode", BYTES("\xf4\x90\x80\x80"), "\\xf4\\x90\\x80\\x80" },
    { "cut in a character", BYTES("\xe2\x82"), "\\xe2\\x82" },
    { "turning the direction hides what is there", BYTES("a\xe2\x80\xae" "b"), "a\\xe2\\x80\\xae" "b" },
    { "a line separator", BYTES("\xe2\x80\xa8"), "\\xe2\\x80\\xa8" },
    { "a byte order mark", BYTES("\xef\xbb\xbf" "a"), "\\xef\\xbb\\xbf" "a" },
    { "what looks like an escape of ours is told from one", BYTES("\\x1b"), "\\\\x1b" },
    { "a backslash elsewhere stays", BYTES("C:\\dir"), "C:\\dir" },
    { "two backslashes", BYTES("a\\\\b"), "a\\\\\\b" },
};

Test(ops_inert, what_is_shown)
{
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char shown[200];
        cr_expect_str_eq(inert_write(cases[i].text, shown, sizeof(shown)), cases[i].shown, "%s: %s", cases[i].why, shown);
    }
}

Test(ops_inert, json_has_the_same_text_or_null)
{
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        json_t *value = inert_json(cases[i].text);
        if (cases[i].text.data == NULL)
            cr_expect(json_is_null(value), "%s", cases[i].why);
        else
            cr_expect_str_eq(json_string_value(value), cases[i].shown, "%s", cases[i].why);
        json_decref(value);
    }
}

Test(ops_inert, every_byte_is_printable_ascii_or_harmless_utf8)
{
    for (int byte = 0; byte < 256; byte++) {
        char one = (char)byte, shown[16];
        inert_write((struct text){ &one, 1 }, shown, sizeof(shown));
        for (const char *at = shown; *at != '\0'; at++)
            cr_expect(*at >= 0x20 && *at < 0x7f, "byte %02x", (unsigned)byte);
    }
}

Test(ops_inert, a_cut_is_told_and_never_splits_a_character)
{
    char shown[16];
    cr_expect_str_eq(inert_write(TEXT("123456789012345"), shown, sizeof(shown)), "123456789012345");
    cr_expect_str_eq(inert_write(TEXT("1234567890123456"), shown, sizeof(shown)), "123456789012...");
    cr_expect_str_eq(inert_write(TEXT("12345678901\xe2\x82\xac\xe2\x82\xac"), shown, sizeof(shown)), "12345678901...");
    cr_expect_str_eq(inert_write(TEXT("1234567890\x1b\x1b\x1b"), shown, sizeof(shown)), "1234567890...");
}

static char *printed(void (*print)(FILE *to))
{
    char *text = NULL;
    size_t size = 0;
    FILE *to = open_memstream(&text, &size);
    print(to);
    fclose(to);
    return text;
}

static void print_dump(FILE *to)
{
    inert_dump(TEXT("\x00\x01" "Avro\x1b[2J 0123456789"), 20, to);
}

Test(ops_inert, a_dump_is_hex_and_dots)
{
    char *text = printed(print_dump);
    cr_expect_str_eq(text, "  000000   00 01 41 76 72 6f 1b 5b  32 4a 20 30 31 32 33 34  |..Avro.[2J 01234|\n"
                           "  000010   35 36 37 38                                       |5678|\n"
                           "  ... 1 bytes more\n",
                     "%s", text);
    free(text);
}

static void print_table(FILE *to)
{
    struct table *table = table_new("NAME|>COUNT|REMARK");
    table_text(table, TEXT("Caf\xc3\xa9"));
    table_number(table, 1234567);
    table_cell(table, "%s", "");
    table_text(table, (struct text){ NULL, 0 });
    table_cell(table, "%d", 5);
    table_cell(table, "\x1b[31m");
    table_print(table, 2, to);
}

Test(ops_table, columns_align_by_characters_and_cells_are_inert)
{
    char *text = printed(print_table);
    cr_expect_str_eq(text, "  NAME      COUNT  REMARK\n"
                           "  Caf\xc3\xa9  1,234,567\n"
                           "  -             5  \\x1b[31m\n",
                     "%s", text);
    free(text);
}
