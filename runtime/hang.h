/*
 * hang.h - end a process whose loop goes round for ever in one record.
 * Shape:  the loop's thread beats (hang_beat) when it begins with a record and when it rests. A thread of this file's looks, a few
 *         times a second, whether the loop has used so much CPU since its last beat at work: then the process ends at once,
 *         as by any crash, and isolate.h finds the record. CPU and not time: who waits for a broker or a store, was stopped
 *         or gets no turn uses none.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum { HANG_EXIT = 70 };

struct hang;

/* Called by the loop's thread. limit_ms 0: NULL, nothing is watched. what(arg, ...) says, from the watching thread, what was in
 * hand. */
typedef void hang_words_fn(const void *arg, char *to, int size);
struct hang *hang_watch(int64_t limit_ms, hang_words_fn *words, const void *arg);
void hang_end(struct hang *hang);
/* Two stores; NULL: nothing. */
void hang_beat(struct hang *hang, bool works);
