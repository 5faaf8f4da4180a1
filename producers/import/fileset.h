/*
 * fileset.h - which files an import reads, as what, and the identity of their content.
 * Shape:  files and directories from the command line are matched by name against the profile; of a directory, files that match
 *         nothing are left alone. Sorted in the order of import: references first, then by name.
 * Units:  sha256 is lower-case hex.
 */
#pragma once

#include "producers/import/profile.h"
#include "runtime/err.h"

#include <stdint.h>

enum { FILESET_MAX = 1024, SHA256_TEXT_SIZE = 65 };

struct fileset_file {
    char path[512];
    char name[256]; /* without the directories: what dead letters and source_ref say */
    const struct profile_file *spec;
    int64_t size;
    int64_t modified_ns; /* when it was summed */
    char sha256[SHA256_TEXT_SIZE];
};

struct fileset {
    struct fileset_file *files;
    int count;
    int64_t size;
    char sha256[SHA256_TEXT_SIZE]; /* of one file its own; of several over their kinds and sums */
};

enum ll_status fileset_open(const struct profile *profile, char *const *paths, int path_count,
                            struct fileset *ret, struct ll_err *err);
void fileset_close(struct fileset *set);
/* Of any file. ret_modified_ns: when it was changed last, since 1970 UTC. */
enum ll_status fileset_sha256(const char *path, char ret[SHA256_TEXT_SIZE], int64_t *ret_size,
                              int64_t *ret_modified_ns, struct ll_err *err);
