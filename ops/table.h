/*
 * table.h - rows of text with aligned columns.
 * Shape:  table_new names the columns, each table_cell fills the next cell, table_print prints and forgets. Widths are counted in
 *         characters, not bytes. Every cell is made inert (ops/inert.h), whoever wrote it.
 */
#pragma once

#include "runtime/text.h"

#include <stdint.h>
#include <stdio.h>

struct table;

/* heads: "CUSTOMER|>POINTS|LAST SALE"; '>' aligns a column to the right. An empty heads ("|>|") prints no head. */
struct table *table_new(const char *heads);
void table_cell(struct table *table, const char *format, ...) __attribute__((format(printf, 2, 3)));
void table_text(struct table *table, struct text text); /* null: "-" */
void table_number(struct table *table, int64_t value);  /* 12,345,678 */
/* Prints every row, indented by so many blanks, and frees the table. */
void table_print(struct table *takes, int indent, FILE *to);
void table_free(struct table *table);
size_t table_rows(const struct table *table);
