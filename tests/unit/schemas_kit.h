/*
 * schemas_kit.h - what the tests of schemas/ share: values written in short scripts, frames, files, a seeded
 * random.
 */
#pragma once

#include "schemas/codec.h"
#include "schemas/schema.h"

#include <stddef.h>
#include <stdint.h>

enum { KIT_BYTES_MAX = 64 << 10, KIT_PATH_SIZE = 512 };

struct kit_bytes {
    size_t size;
    char data[KIT_BYTES_MAX];
};

/* Appends what a script of words says, in Avro's binary encoding:
 *   12, -3     an int, a long, an index or a count
 *   'text      a string, up to the next blank
 *   x00ff      raw bytes
 * e.g. a command: "'validate 'resume 'transactions 3 1700000000000". */
void kit_compose(struct kit_bytes *to, const char *script);
/* A whole value: the frame with the schema id, then the script's bytes. */
void kit_value(struct kit_bytes *to, int32_t schema_id, const char *script);
struct text kit_text(const struct kit_bytes *bytes);

/* The codec of the checked-in schemas, or of dir. */
struct codec *kit_codec(const char *dir, struct registry *registry);

struct schema *kit_schema(const char *json);
/* The file's bytes, NUL-terminated; the caller frees them. */
char *kit_file(const char *path, size_t *ret_size);
/* A path in the shared data ($LENS_SHARED_DATA, else ../shared/data beside the source tree); false: not
 * there. */
bool kit_shared(const char *name, char to[KIT_PATH_SIZE]);

/* splitmix64 */
uint64_t kit_random(uint64_t *seed);
/* "CODE" of the table, or "OK". */
const char *kit_code_name(enum code code);

/* A copy of schemas/ in a new folder of /tmp (its path goes into dir), with one text of one file replaced. */
void kit_copy_schemas(const char *file, const char *from, const char *to, char dir[KIT_PATH_SIZE]);
void kit_remove_schemas(const char *dir);
