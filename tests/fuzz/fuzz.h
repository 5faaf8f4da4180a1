/*
 * fuzz.h - what the fuzz targets share: pieces of the input, the input as a file, and claims that end the process.
 * Shape:  each target is one file with LLVMFuzzerTestOneInput. It must never crash, leak or hang; and where the input is
 *         accepted, what came out must hold what its header promises.
 * Source: libFuzzer of LLVM 14; tests/fuzz/run says how it is called.
 */
#pragma once

#include "runtime/text.h"
#include "schemas/codec.h"
#include "schemas/event.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

/* The input, eaten from its front. */
struct fuzz {
    const char *at;
    size_t left;
};

struct fuzz fuzz_of(const uint8_t *data, size_t size);
uint8_t fuzz_byte(struct fuzz *fuzz);      /* 0 at the end */
struct text fuzz_block(struct fuzz *fuzz); /* two bytes say how long; at most what is left */
struct text fuzz_rest(struct fuzz *fuzz);
/* Up to the line "%%", which goes; all of it where there is none. */
struct text fuzz_part(struct fuzz *fuzz);

/* A path under which the bytes can be read, the same at each call with the same number (0 to 3). */
const char *fuzz_file(int number, struct text bytes);

/* Ends the process, with the words, unless it is so. */
void fuzz_claim(bool is_so, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* UTF-8 that does nothing to a terminal: no control character but a line's end, nothing that turns the direction of
 * writing. */
void fuzz_claim_inert(struct text text, const char *what);
bool fuzz_is_utf8(struct text text);

/* The checked-in schemas. */
struct codec *fuzz_codec(void);
/* An event that was accepted: its texts are UTF-8 and within their limits, its enums are ones, its lists are within theirs;
 * and what is written of it is read again as the same. */
void fuzz_claim_event(const struct event *event);
