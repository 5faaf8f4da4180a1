/*
 * isolate.h - find the record that kills the process, in a bounded number of deaths, and condemn it.
 * Shape:  what a process has in hand stands in a file that it has mapped: a few stores a record, no system call, and the file
 *         is there after any death. A start that finds it had died while it worked on records suspects these, and then takes
 *         at most an eighth of the suspects at a time (isolate_most) until they are committed or it dies of fewer: from 4,096
 *         that is five deaths to a record alone. One that kills it alone ISOLATE_DEATHS times is condemned: it is given out by
 *         isolate_is_condemned, to be refused unread, until its refusal is committed.
 *         A death while it waits (for a broker, a store, the next record) is nobody's fault, and suspects nobody.
 * Where:  LENS_HOME/run/<instance>.attempt: the instance's own. On another host the search begins anew, and is bounded there
 *         as well; nothing that is decided depends on it but the refusal itself, which is committed like every other.
 * Errors: an isolate of NULL, or one that has lost its file, isolates nothing.
 * Source: DESIGN 5.12.
 */
#pragma once

#include "runtime/err.h"
#include "runtime/topics.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { ISOLATE_DEATHS = 2, ISOLATE_SHARE = 8 };

struct isolate;

/* Opens the file, and judges what the last life has left in it. LL_RETRY: it cannot be kept (err says why). */
enum ll_status isolate_open(const char *path, struct isolate **ret, struct ll_err *err);
/* The same in LENS_HOME/run, watched; a file that cannot be kept is a warning in the log, and NULL. */
struct isolate *isolate_start(const char *home, const char *instance, int64_t hang_ms);
/* A record that the calling thread works on for more than hang_ms of CPU ends the process, and so is found like one that kills it
 * (hang.h). 0: never. */
void isolate_watch(struct isolate *isolate, int64_t hang_ms);
void isolate_close(struct isolate *isolate);

/* How many records may be uncommitted at once: INT64_MAX while nobody is suspected. */
int64_t isolate_most(const struct isolate *isolate);
bool isolate_is_condemned(const struct isolate *isolate, enum topic topic, int32_t partition, int64_t offset);

/* Work on a record begins. */
void isolate_take(struct isolate *isolate, enum topic topic, int32_t partition, int64_t offset);
/* Work goes on with what was taken, or rests. */
void isolate_work(struct isolate *isolate, bool works);
/* Everything of the partition below next is committed. */
void isolate_settle(struct isolate *isolate, enum topic topic, int32_t partition, int64_t next);
/* Nothing that was taken is in hand any more: committed, or given back to be read again. Suspects stay suspects. */
void isolate_release(struct isolate *isolate);
void isolate_release_part(struct isolate *isolate, enum topic topic, int32_t partition);
/* The partition is not ours any more: somebody else's search. */
void isolate_drop(struct isolate *isolate, enum topic topic, int32_t partition);
/* What is suspected and not among these partitions is dropped. */
struct bus_position;
void isolate_keep(struct isolate *isolate, const struct bus_position *owned, size_t count);
