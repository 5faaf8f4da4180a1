/* Broken CSV: tests/data/import/NAME.csv, and what must be read from it in NAME.rows. */
#include "import_kit.h"

#include "producers/import/charset.h"
#include "producers/import/csvfile.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *name, *why;
    bool one_line; /* read without line_breaks */
} FILES[] = {
    { "plain", "nothing is wrong", false },
    { "quoted", "commas, doubled quotes and line breaks within quotes", false },
    { "bom", "a byte order mark is no part of the first column's name", false },
    { "crlf", "CR LF line ends, also within quotes and behind them", false },
    { "cr", "CR line ends, as old Macs wrote", false },
    { "no_final_newline", "the last line has no end", false },
    { "no_final_newline_quoted", "nor has one that ends with a quote", false },
    { "quote_inside", "a quote within an unquoted field costs its own line", false },
    { "quote_after", "so does something behind a closing quote", false },
    { "quote_open", "a quote that opens and meets the next line's quotes costs its own line, not the next", false },
    { "quote_open_last", "a quote that never closes costs its own line, not the rest of the file", false },
    { "quote_columns", "one that closes with the wrong number of columns does not take its neighbours along", false },
    { "quote_one_line", "where values have no line breaks, one never reaches the quote of a later line", true },
    { "columns", "too few and too many columns", false },
    { "blank_lines", "empty lines are skipped and counted", false },
    { "nul", "NUL bytes do not end anything", false },
    { "latin_1", "bytes are passed on as they stand", false },
    { "header_only", "no row at all", false },
    { "stray_cr", "a CR within a line is data", false },
    { "empty_fields", "nothing between delimiters is the empty text", false },
};

static void print_row(struct kit *kit, const struct csv_row *row)
{
    static char quoted[8 * 1024];
    kit_print(kit, "%lld", (long long)row->line);
    if (row->line_count > 1)
        kit_print(kit, "+%d", row->line_count - 1);
    kit_print(kit, " %s", row->code == CODE_NONE ? "ok" : code_info(row->code)->name);
    for (size_t i = 0; i < row->field_count; i++) {
        kit_print(kit, "%s%s", i == 0 ? " " : "|", charset_quote(row->fields[i], quoted, sizeof quoted));
        cr_expect_eq(row->fields[i].data[row->fields[i].size], '\0');
    }
    if (row->code == CODE_CSV_SYNTAX)
        kit_print(kit, " <%s> %s", charset_quote(row->raw, quoted, sizeof quoted), row->why);
    kit_print(kit, "\n");
}

/* All rows as lines of text; the raw bytes of all rows, line ends apart, are the file's. */
static void read_all(struct kit *kit, const char *path, bool one_line)
{
    struct csv_format format = { ',', !one_line };
    struct csvfile *file;
    struct csv_row row;
    bool more;
    kit->out_used = 0;
    kit->out[0] = '\0';
    cr_assert_eq(csvfile_open(path, &format, &file, &kit->err), LL_OK, "%s", kit->err.text);
    int64_t next = -1;
    while (csvfile_next(file, &row, &more, &kit->err) == LL_OK && more) {
        cr_expect(row.line >= next, "line %lld comes after %lld", (long long)row.line, (long long)next);
        next = row.line + row.line_count;
        print_row(kit, &row);
    }
    if (csvfile_blank_lines(file) > 0)
        kit_print(kit, "blank %lld\n", (long long)csvfile_blank_lines(file));
    cr_expect_eq(csvfile_offset(file), csvfile_size(file), "%s", path);
    csvfile_close(file);
}

static char *slurp(const char *path)
{
    FILE *file = fopen(path, "rb");
    cr_assert(file != NULL, "%s is missing", path);
    char *text = calloc(1, 1 << 16);
    size_t size = fread(text, 1, (1 << 16) - 1, file);
    text[size] = '\0';
    fclose(file);
    return text;
}

Test(import_csv, broken_files_give_the_rows_beside_them)
{
    struct kit kit;
    kit_init(&kit);
    for (size_t i = 0; i < sizeof FILES / sizeof *FILES; i++) {
        char path[256];
        snprintf(path, sizeof path, LENS_SOURCE_DIR "/tests/data/import/%s.rows", FILES[i].name);
        char *expected = slurp(path);
        snprintf(path, sizeof path, LENS_SOURCE_DIR "/tests/data/import/%s.csv", FILES[i].name);
        read_all(&kit, path, FILES[i].one_line);
        cr_expect_str_eq(kit.out, expected, "%s (%s): is\n%s", FILES[i].name, FILES[i].why, kit.out);
        free(expected);
    }
    kit_done(&kit);
}

static char *repeat(char c, size_t size)
{
    char *bytes = malloc(size);
    memset(bytes, c, size);
    return bytes;
}

/* head, then count times c, then tail. */
static void read_long(struct kit *kit, const char *head, char c, size_t count, const char *tail)
{
    char *middle = repeat(c, count);
    size_t size = strlen(head) + count + strlen(tail);
    char *all = malloc(size);
    memcpy(all, head, strlen(head));
    memcpy(all + strlen(head), middle, count);
    memcpy(all + strlen(head) + count, tail, strlen(tail));
    read_all(kit, kit_file(kit, "long.csv", all, size), false);
    free(all);
    free(middle);
}

Test(import_csv, a_line_that_is_too_long_costs_itself)
{
    struct kit kit;
    kit_init(&kit);
    static const size_t sizes[] = { CSV_ROW_SIZE_MAX + 1, 200 << 10, 300 << 10, 2 << 20 };
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        read_long(&kit, "a,b\n1,2\n", 'x', sizes[i], "\n3,4\n");
        cr_expect_str_eq(kit.out, "2 ok 1|2\n3 CSV_LIMIT\n4 ok 3|4\n", "%zu: %s", sizes[i], kit.out);
        read_long(&kit, "a,b\n1,2\n", 'x', sizes[i], "");
        cr_expect_str_eq(kit.out, "2 ok 1|2\n3 CSV_LIMIT\n", "%zu: %s", sizes[i], kit.out);
    }
    kit_done(&kit);
}

Test(import_csv, the_longest_line_is_read)
{
    struct kit kit;
    kit_init(&kit);
    read_long(&kit, "a\n", 'x', CSV_ROW_SIZE_MAX, "\ny\n");
    cr_expect(strncmp(kit.out, "2 ok xxx", 8) == 0 && strstr(kit.out, "\n3 ok y\n") != NULL);
    kit_done(&kit);
}

Test(import_csv, an_open_quote_gives_up_at_a_rows_limit)
{
    struct kit kit;
    kit_init(&kit);
    read_long(&kit, "a,b\n1,\"2\n", 'x', CSV_ROW_SIZE_MAX, "\n3,4\n");
    cr_expect(strncmp(kit.out, "2 CSV_SYNTAX <1,\\x222>", 22) == 0, "%.80s", kit.out);
    cr_expect(strstr(kit.out, "\n3 CSV_COLUMNS ") != NULL && strstr(kit.out, "\n4 ok 3|4\n") != NULL);
    char *lines = repeat('\n', CSV_ROW_LINES_MAX + 5);
    read_long(&kit, "a,b\n1,\"2\n", '\n', CSV_ROW_LINES_MAX + 5, "3,4\n");
    cr_expect(strstr(kit.out, "\n208 ok 3|4\n") != NULL, "%s", kit.out);
    free(lines);
    kit_done(&kit);
}

Test(import_csv, headers_that_cannot_be_read)
{
    static const struct {
        const char *bytes;
        size_t size;
        const char *words;
    } cases[] = {
        { "", 0, "is empty" },
        { "\n\n\r\n", 4, "is empty" },
        { "\xff\xfe" "a\0,\0", 6, "is UTF-16: convert it first" },
        { "\"a,b\n1,2\n", 9, ":1: the header cannot be read" },
        { "a\"b,c\n", 6, ":1: the header cannot be read" },
    };
    static const struct csv_format format = { ',', true };
    struct kit kit;
    kit_init(&kit);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct csvfile *file = NULL;
        const char *path = kit_file(&kit, "h.csv", cases[i].bytes, cases[i].size);
        cr_expect_eq(csvfile_open(path, &format, &file, &kit.err), LL_FATAL, "case %zu", i);
        cr_expect(strstr(kit.err.text, cases[i].words) != NULL, "case %zu: %s", i, kit.err.text);
    }
    struct csvfile *file = NULL;
    cr_expect_eq(csvfile_open(kit.folder, &format, &file, &kit.err), LL_FATAL);
    cr_expect(strstr(kit.err.text, "is not a regular file") != NULL, "%s", kit.err.text);
    cr_expect_eq(csvfile_open("/nowhere.csv", &format, &file, &kit.err), LL_FATAL);
    kit_done(&kit);
}

/* Any bytes: no crash, and every physical line is in a row, or blank, or of a row with several. */
Test(import_csv, any_bytes_are_rows)
{
    struct kit kit;
    kit_init(&kit);
    uint64_t state = 88172645463325252u;
    static const char alphabet[] = "ab,\"\n\r\0\xe9 ;";
    for (int round = 0; round < 2000; round++) {
        char bytes[400] = "a,b\n";
        size_t size = 4;
        for (state ^= state << 13, state ^= state >> 7, state ^= state << 17; size < 20 + state % 300;) {
            state ^= state << 13, state ^= state >> 7, state ^= state << 17;
            bytes[size++] = alphabet[(state >> 33) % (sizeof alphabet - 1)];
            if (size > 350)
                break;
        }
        read_all(&kit, kit_file(&kit, "any.csv", bytes, size), round % 2 == 0);
        int64_t lines = 0, counted = 1;
        for (size_t i = 0; i < size; i++)
            lines += bytes[i] == '\n';
        lines += bytes[size - 1] != '\n';
        for (const char *at = kit.out; *at != '\0'; at = strchr(at, '\n') + 1) {
            long long first;
            int more = 0;
            if (sscanf(at, "blank %lld", &first) == 1) {
                counted += first;
            } else {
                sscanf(at, "%lld+%d", &first, &more);
                counted += 1 + more;
            }
        }
        cr_assert_eq(counted, lines, "round %d: %lld of %lld lines", round, (long long)counted, (long long)lines);
    }
    kit_done(&kit);
}
