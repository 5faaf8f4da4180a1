/*
 * ids.h - the local id table: ids.conf read and checked.
 * Shape:  one entry per schema ever published; kind's own, current one is <kind>.avsc, older ones lie in
 *         old/.
 * Errors: LL_FATAL with file and line.
 */
#pragma once

#include "runtime/err.h"
#include "schemas/event.h"

#include <stdint.h>

enum { IDS_MAX = 200, IDS_FILE_SIZE = 64, IDS_PATH_SIZE = 512 };

struct id_entry {
    int32_t id;
    enum event_kind kind;
    bool own;                 /* file is <kind>.avsc: what we write */
    char file[IDS_FILE_SIZE]; /* below the folder of ids.conf */
    uint64_t fingerprint;     /* what was published under the id */
};

struct ids {
    struct id_entry entries[IDS_MAX];
    uint32_t count;
};

enum ll_status ids_load(const char *dir, struct ids *ret, struct ll_err *err);
