/*
 * importer.h - runs over all files of an import: references first, then sales, a few rows at a time.
 * Shape:  csvfile -> map -> group -> output. Files of one kind are read one after the other; sales and
 * sale_lines side by side, in proportion to their sizes, so that heads and lines of a transaction come near
 * each other.
 */
#pragma once

#include "producers/import/fileset.h"
#include "producers/import/output.h"
#include "producers/import/profile.h"
#include "runtime/clock.h"
#include "runtime/err.h"

#include <stdbool.h>
#include <stdint.h>

struct importer;

/* Opens every file once, so that a wrong header is said before anything is sent. All are borrowed for its
 * life. */
enum ll_status importer_open(const struct profile *profile, const struct fileset *files,
                             struct calendar *calendar, const struct import_sink *sink, struct importer **ret,
                             struct ll_err *err);
void importer_close(struct importer *importer);
/* Reads up to so many rows. *ret_more false: all is read and given out, and rows read = good + bad. */
enum ll_status importer_step(struct importer *importer, int rows, bool *ret_more, struct ll_err *err);
const struct import_counts *importer_counts(const struct importer *importer);
/* Rows of one file so far, and bytes of all of them. */
int64_t importer_file_rows(const struct importer *importer, int index);
int64_t importer_bytes(const struct importer *importer);
