/*
 * csvfile.h - the rows of one CSV file, each with its bytes as they stand in the file.
 * Shape:  libcsv (strict) reads the fields; it is fed one physical line at a time, so that every row keeps its raw bytes and
 *         its line number, and a fault costs only the line it stands on. Line ends may be LF, CR LF or CR; a UTF-8 byte order
 *         mark is dropped; the last line needs no end; empty lines are counted and skipped.
 * Units:  lines count from 1, as editors do. _size is bytes.
 * Errors: a broken row is a row with a code (CSV_SYNTAX, CSV_COLUMNS, CSV_LIMIT) and words. A quote that never closes, or that
 *         closes with the wrong number of columns, condemns its own line only: reading goes on at the line after it. LL_FATAL:
 *         the file itself cannot be read.
 * Source: RFC 4180; libcsv 3.0.3.
 */
#pragma once

#include "runtime/err.h"
#include "runtime/text.h"
#include "schemas/codes.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    CSV_ROW_SIZE_MAX = 64 << 10, /* bytes of a row, all its lines */
    CSV_ROW_LINES_MAX = 200,     /* lines of a row, by line breaks within quotes */
    CSV_FIELDS_MAX = 256,
};

struct csv_row {
    int64_t line;       /* of its first line */
    int32_t line_count; /* physical lines that it takes */
    struct text raw;    /* without the last line's end; cut at CSV_ROW_SIZE_MAX where the code is CSV_LIMIT */
    const struct text *fields; /* each ends in a NUL that is not counted */
    size_t field_count;
    enum code code; /* CODE_NONE: the fields are good */
    char why[256];  /* with a code: what is wrong, in words */
};

struct csvfile;

struct csv_format {
    char delimiter;
    bool line_breaks; /* quotes may enclose line breaks; else a quote that is open at its line's end is broken
                       */
};

/* Opens the file and reads its header, which is the first row. Views in a row are valid until the next call.
 */
enum ll_status csvfile_open(const char *path, const struct csv_format *format, struct csvfile **ret,
                            struct ll_err *err);
void csvfile_close(struct csvfile *file);
const struct text *csvfile_header(const struct csvfile *file, size_t *ret_count);
/* *ret_more is false at the end of the file. */
enum ll_status csvfile_next(struct csvfile *file, struct csv_row *ret, bool *ret_more, struct ll_err *err);
int64_t csvfile_size(const struct csvfile *file);
int64_t csvfile_modified_ns(const struct csvfile *file); /* since 1970 UTC */
int64_t csvfile_offset(const struct csvfile *file);      /* bytes read so far, up to the last row's end */
int64_t csvfile_blank_lines(const struct csvfile *file); /* skipped so far */
