/*
 * conf_text.h - configuration files as libconfig should have read them.
 *         @include is no part of them: a syntax error.
 * Why:    libconfig 1.5 cuts a number without the suffix L to 32 bits without a word: 4294967297 becomes 1. Every file and
 *         document of ours goes through here, where long numbers get their suffix.
 */
#pragma once

#include <libconfig.h>
#include <stddef.h>

/* The document with its long numbers suffixed, NUL-terminated, malloc'd: the caller frees. Lines keep their numbers. */
char *conf_text(const char *document, size_t size);
/* config_read_file, but for that; a text that is not UTF-8 is an error like others. config_error_file is not set, the caller knows
 * the path. */
int conf_read_file(config_t *config, const char *path);
