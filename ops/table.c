#include "ops/table.h"

#include "ops/inert.h"
#include "ops/lens.h"

#include <assert.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum { COLUMNS_MAX = 16, CELL_SIZE = 600 };

struct column {
    char head[32];
    bool right;
    size_t width;
};

struct table {
    struct column columns[COLUMNS_MAX];
    size_t column_count;
    bool headed;
    char **cells; /* row after row */
    size_t cell_count, cell_capacity;
};

static size_t characters(const char *text)
{
    size_t count = 0;
    for (; *text != '\0'; text++)
        count += ((unsigned char)*text & 0xc0) != 0x80;
    return count;
}

struct table *table_new(const char *heads)
{
    struct table *table = calloc(1, sizeof(*table));
    if (table == NULL)
        abort();
    for (const char *at = heads; at != NULL; table->column_count++) {
        assert(table->column_count < COLUMNS_MAX);
        struct column *column = &table->columns[table->column_count];
        column->right = *at == '>';
        at += column->right ? 1 : 0;
        const char *end = strchr(at, '|');
        size_t size = end == NULL ? strlen(at) : (size_t)(end - at);
        assert(size < sizeof(column->head));
        memcpy(column->head, at, size);
        column->width = characters(column->head);
        table->headed = table->headed || size > 0;
        at = end == NULL ? NULL : end + 1;
    }
    return table;
}

static void add(struct table *table, const char *text)
{
    if (table->cell_count == table->cell_capacity) {
        table->cell_capacity = table->cell_capacity == 0 ? 64 : table->cell_capacity * 2;
        table->cells = realloc(table->cells, table->cell_capacity * sizeof(*table->cells));
        if (table->cells == NULL)
            abort();
    }
    struct column *column = &table->columns[table->cell_count % table->column_count];
    size_t width = characters(text);
    if (width > column->width)
        column->width = width;
    char *copy = strdup(text);
    if (copy == NULL)
        abort();
    table->cells[table->cell_count++] = copy;
}

void table_cell(struct table *table, const char *format, ...)
{
    char raw[CELL_SIZE], cell[CELL_SIZE];
    va_list args;
    va_start(args, format);
    vsnprintf(raw, sizeof(raw), format, args);
    va_end(args);
    add(table, inert_write(text_of(raw), cell, sizeof(cell)));
}

void table_text(struct table *table, struct text text)
{
    char cell[CELL_SIZE];
    add(table, text.data == NULL ? "-" : inert_write(text, cell, sizeof(cell)));
}

void table_number(struct table *table, int64_t value)
{
    add(table, lens_number(value));
}

static void print_cell(const struct column *column, const char *text, bool last, FILE *to)
{
    int pad = (int)(column->width - characters(text));
    if (column->right)
        fprintf(to, "%*s%s", pad, "", text);
    else
        fprintf(to, "%s%*s", text, last ? 0 : pad, "");
    fputs(last ? "\n" : "  ", to);
}

/* Nothing but empty cells follows in its row. */
static bool is_last(const struct table *table, size_t cell)
{
    for (cell++; cell % table->column_count != 0; cell++)
        if (table->cells[cell][0] != '\0')
            return false;
    return true;
}

void table_print(struct table *takes, int indent, FILE *to)
{
    struct table *table = takes;
    assert(table->cell_count % table->column_count == 0);
    if (table->headed) {
        fprintf(to, "%*s", indent, "");
        for (size_t i = 0; i < table->column_count; i++)
            print_cell(&table->columns[i], table->columns[i].head, i + 1 == table->column_count, to);
    }
    for (size_t i = 0; i < table->cell_count; i++) {
        size_t at = i % table->column_count;
        if (at == 0)
            fprintf(to, "%*s", indent, "");
        bool last = is_last(table, i); /* no blanks at the end of a line */
        print_cell(&table->columns[at], table->cells[i], last, to);
        i += last ? table->column_count - 1 - at : 0;
    }
    table_free(table);
}

size_t table_rows(const struct table *table)
{
    return table->cell_count / table->column_count;
}

void table_free(struct table *table)
{
    if (table == NULL)
        return;
    for (size_t i = 0; i < table->cell_count; i++)
        free(table->cells[i]);
    free(table->cells);
    free(table);
}
