/*
 * codec.h - from untrusted bytes to an event, and from an event to bytes.
 * Shape:  a value is Confluent's frame (magic 0, schema id big-endian) and Avro's binary encoding. A program is compiled
 *         once per (writer schema id, kind of event) and run per record: field by field copy, skip, promote, default, map,
 *         refuse. No allocation per event; scratch for arrays lives in the caller's struct codec_scratch.
 * Errors: codec_read never trusts, never crashes; it returns a reason code of schemas/codes.h.
 * Source: Avro 1.11 specification, "Schema Resolution"; DESIGN 2; LIMITS 2 for what avro-c gets wrong.
 */
#pragma once

#include "runtime/err.h"
#include "schemas/codes.h"
#include "schemas/event.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { CODEC_FRAME_SIZE = 5 };

struct codec;         /* all schemas of ours, the id table, the programs compiled so far */
struct codec_scratch; /* arrays of the event last read with it; one per thread and per event that must live at once */
struct registry;      /* schemas/registry.h; NULL: the local id table alone */

/* Loads every .avsc and ids.conf from dir; compiles own-to-own programs. registry is borrowed for the codec's life.
 * LL_FATAL: files that do not fit together, or an id that means another schema in the registry; LL_RETRY: the registry,
 * which is asked for that, does not answer. */
enum ll_status codec_new(const char *dir, struct registry *registry, struct codec **ret, struct ll_err *err);
void codec_free(struct codec *codec);

struct codec_scratch *codec_scratch_new(void);
void codec_scratch_free(struct codec_scratch *scratch);

/* Adds a writer schema under an id, as a registry would give it (tests, and the registry itself). kind says which reader
 * schema it is resolved to. LL_POISON: it cannot be resolved to ours; such records are SCHEMA_INCOMPATIBLE. */
enum ll_status codec_add_writer(struct codec *codec, int32_t schema_id, enum event_kind kind, const char *schema_json,
                                size_t size, struct ll_err *err);

/* The schema id in the frame, or -1 (with *ret_code FRAME_SHORT or FRAME_MAGIC). */
int32_t codec_schema_id(struct text value, enum code *ret_code);

/* Reads one framed value as an event of the given kind.
 * Returns LL_OK; LL_POISON with *ret_code set (frame, schema or decode code) and err naming field and byte position;
 * LL_RETRY if the registry did not answer (the environment's failure, never the record's).
 * *ret means something only with LL_OK. The event's texts are views into value, its arrays lie in scratch: valid until
 * scratch is used again or value goes. */
enum ll_status codec_read(struct codec *codec, enum event_kind kind, struct text value, struct codec_scratch *scratch,
                          struct event *ret, enum code *ret_code, struct ll_err *err);

/* Writes the framed value under our own schema id into to[0..capacity). Returns its size, or 0 if it does not fit.
 * codec_size_max gives a capacity that always suffices for this event. event->kind chooses the schema. */
size_t codec_write(const struct codec *codec, const struct event *event, char *to, size_t capacity);
size_t codec_size_max(const struct event *event);

/* Our own schema id of a kind: what codec_write puts into the frame. */
int32_t codec_own_id(const struct codec *codec, enum event_kind kind);

/* What kind a framed value says it is, by its schema id alone: an older id of a kind is that kind too. EVENT_KINDS: a
 * registry's schema of a name that is none of ours. Errors as codec_read, for the frame and the id. */
enum ll_status codec_kind(struct codec *codec, struct text value, enum event_kind *ret, enum code *ret_code,
                          struct ll_err *err);
