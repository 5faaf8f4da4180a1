/*
 * files.h - paths and small files for the tools: joined, made, filled in from a template, removed.
 * Shape:  a path is a char[PATH_SIZE] of the caller's; LENS_HOME has at most CONFIG_TEXT_SIZE bytes, so what
 *         is appended here fits.
 * Errors: LL_FATAL with the path and the cause; a full disk says so.
 */
#pragma once

#include "runtime/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

enum { PATH_SIZE = 768, FILE_SIZE_MAX = 64 * 1024 };

/* Writes a path, returns to. Too long is our own bug. */
char *path_of(char to[PATH_SIZE], const char *format, ...) __attribute__((format(printf, 2, 3)));
bool path_exists(const char *path);
/* Makes the directory and what is missing above it. */
enum ll_status path_make_dir(const char *path, struct ll_err *err);
/* Removes a file, or a directory with all in it; a link is removed, not followed. Nothing there is LL_OK. */
enum ll_status path_remove(const char *path, struct ll_err *err);

/* At most size - 1 bytes and a NUL. Returns the length, -1 if it cannot be read. */
ssize_t file_read(const char *path, char *to, size_t size);
/* The file's first line as a number; otherwise where there is none. */
long file_number(const char *path, long otherwise);
/* Replaces the file in one step. *ret_changed (may be NULL) is set to true if its contents were different
 * before, else left. */
enum ll_status file_write(const char *path, const char *contents, mode_t mode, bool *ret_changed, struct ll_err *err);

/* A template's placeholder: @NAME@ becomes value. */
struct file_blank {
    const char *name, *value;
};
/* Copies template to path with its blanks filled in; a blank that nobody fills is an error. */
enum ll_status file_fill(const char *template_path, const char *path, mode_t mode, const struct file_blank *blanks,
                         size_t blank_count, bool *ret_changed, struct ll_err *err);
/* The last line that is not empty, for error messages; "" if there is none. */
void file_last_line(const char *path, char *to, size_t size);
/* Of a service's log: the last line that says why it ended, else the last line. */
void file_last_fault(const char *path, char *to, size_t size);
