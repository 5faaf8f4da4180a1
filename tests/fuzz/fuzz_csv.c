/* A profile, the line "%%", a file for it, and behind another "%%" a second file: imported row by row, and again many rows at a
 * time, which must come to the same. */
#include "tests/fuzz/fuzz.h"

#include "producers/import/csvfile.h"
#include "producers/import/importer.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct taken {
    int64_t events, dead;
    uint64_t hash; /* of everything that came out, in its order */
};

static void mix(struct taken *taken, const void *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++)
        taken->hash = (taken->hash ^ ((const unsigned char *)bytes)[i]) * UINT64_C(0x100000001b3);
}

static enum ll_status take_event(void *self, enum topic topic, struct text key, const struct event *event, struct ll_err *err)
{
    struct taken *taken = self;
    (void)err;
    fuzz_claim(topic < TOPIC_COUNT, "no topic");
    fuzz_claim_event(event);
    size_t room = codec_size_max(event);
    char *value = malloc(room);
    mix(taken, value, codec_write(fuzz_codec(), event, value, room));
    mix(taken, key.data, key.size);
    free(value);
    taken->events++;
    return LL_OK;
}

static enum ll_status take_dead(void *self, const struct dead_row *row, struct ll_err *err)
{
    struct taken *taken = self;
    (void)err;
    fuzz_claim(row->codes != 0 && row->raw.size <= CSV_ROW_SIZE_MAX && row->line > 0, "a dead row without reason, bytes or line");
    mix(taken, row->raw.data, row->raw.size);
    mix(taken, &row->codes, sizeof row->codes);
    taken->dead++;
    return LL_OK;
}

static enum ll_status take_settle(void *self, struct ll_err *err)
{
    (void)self;
    (void)err;
    return LL_OK;
}

static bool import(const struct profile *profile, const struct fileset *files, int rows, struct taken *ret)
{
    *ret = (struct taken){ .hash = 1 };
    struct import_sink sink = { take_event, take_dead, take_settle, ret };
    struct calendar *calendar = NULL;
    struct importer *importer = NULL;
    struct ll_err err = { "" };
    bool more = true;
    enum ll_status status = calendar_new(profile->time_zone, &calendar, &err);
    if (status == LL_OK)
        status = importer_open(profile, files, calendar, &sink, &importer, &err);
    while (status == LL_OK && more)
        status = importer_step(importer, rows, &more, &err);
    if (status == LL_OK) {
        const struct import_counts *counts = importer_counts(importer);
        fuzz_claim(counts->lines_read == counts->lines_good + counts->lines_bad, "read %lld, good %lld, bad %lld",
                   (long long)counts->lines_read, (long long)counts->lines_good, (long long)counts->lines_bad);
        fuzz_claim(counts->outputs == ret->events + ret->dead && counts->lines_bad == ret->dead, "counted otherwise");
    }
    importer_close(importer);
    calendar_free(calendar);
    return status == LL_OK;
}

static void put(const char *folder, const char *name, struct text bytes, char path[64])
{
    snprintf(path, 64, "%s/%s", folder, name);
    FILE *file = fopen(path, "wb");
    fuzz_claim(file != NULL && fwrite(bytes.data, 1, bytes.size, file) == bytes.size && fclose(file) == 0, "%s", path);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static char folder[] = "/dev/shm/lens-fuzz-XXXXXX", first[64], second[64];
    static bool is_made;
    if (!is_made)
        fuzz_claim(mkdtemp(folder) != NULL, "%s", folder);
    is_made = true;
    struct fuzz fuzz = fuzz_of(data, size);
    struct profile *profile = NULL;
    struct fileset files = { .count = 0 };
    struct ll_err err = { "" };
    if (profile_load(fuzz_file(0, fuzz_part(&fuzz)), "GBP", "Europe/London", &profile, &err) != LL_OK) {
        fuzz_claim(err.text[0] != '\0', "refused without a word");
        return 0;
    }
    put(folder, "a.csv", fuzz_part(&fuzz), first);
    put(folder, "b.csv", fuzz_part(&fuzz), second);
    char *paths[] = { first, second };
    if (fileset_open(profile, paths, 2, &files, &err) == LL_OK) {
        struct taken one, many;
        bool good = import(profile, &files, 1, &one);
        fuzz_claim(import(profile, &files, 64, &many) == good, "only sometimes");
        fuzz_claim(one.hash == many.hash && one.events == many.events, "another result by larger steps");
    }
    fileset_close(&files);
    profile_free(profile);
    unlink(first);
    unlink(second);
    return 0;
}
