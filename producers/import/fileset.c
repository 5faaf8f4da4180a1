#include "producers/import/fileset.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { READ_SIZE = 1 << 18 };

static void hex_of(const unsigned char *digest, char ret[SHA256_TEXT_SIZE])
{
    for (int i = 0; i < 32; i++)
        snprintf(ret + (size_t)i * 2, 3, "%02x", digest[i]);
}

static EVP_MD_CTX *sha256_new(void)
{
    EVP_MD_CTX *sum = EVP_MD_CTX_new();
    if (sum == NULL || EVP_DigestInit_ex(sum, EVP_sha256(), NULL) != 1)
        abort();
    return sum;
}

static void sha256_done(EVP_MD_CTX *sum, char ret[SHA256_TEXT_SIZE])
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    EVP_DigestFinal_ex(sum, digest, NULL);
    EVP_MD_CTX_free(sum);
    hex_of(digest, ret);
}

enum ll_status fileset_sha256(const char *path, char ret[SHA256_TEXT_SIZE], int64_t *ret_size,
                              int64_t *ret_modified_ns, struct ll_err *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return ll_fail(err, LL_FATAL, "%s: cannot be opened: %s", path, strerror(errno));
    struct stat facts = {0};
    fstat(fd, &facts);
    *ret_modified_ns = facts.st_mtim.tv_sec * INT64_C(1000000000) + facts.st_mtim.tv_nsec;
    char *buffer = malloc(READ_SIZE);
    if (buffer == NULL)
        abort();
    EVP_MD_CTX *sum = sha256_new();
    ssize_t got;
    *ret_size = 0;
    while ((got = read(fd, buffer, READ_SIZE)) > 0 || (got < 0 && errno == EINTR)) {
        if (got > 0) {
            EVP_DigestUpdate(sum, buffer, (size_t)got);
            *ret_size += got;
        }
    }
    int bad = got < 0 ? errno : 0;
    sha256_done(sum, ret);
    free(buffer);
    close(fd);
    return bad == 0 ? LL_OK : ll_fail(err, LL_FATAL, "%s: cannot be read: %s", path, strerror(bad));
}

static const struct profile_file *match_name(const struct profile *profile, const char *name)
{
    for (int i = 0; i < profile->file_count; i++)
        if (fnmatch(profile->files[i].match, name, 0) == 0)
            return &profile->files[i];
    return NULL;
}

static enum ll_status add_file(struct fileset *set, const struct profile_file *spec, const char *path,
                               struct ll_err *err)
{
    const char *slash = strrchr(path, '/'), *name = slash != NULL ? slash + 1 : path;
    struct fileset_file *file = &set->files[set->count];
    if (set->count == FILESET_MAX)
        return ll_fail(err, LL_FATAL, "more than %d files: import them in several runs", FILESET_MAX);
    if (strlen(path) >= sizeof file->path || strlen(name) >= sizeof file->name)
        return ll_fail(err, LL_FATAL, "%s: the path is too long", path);
    *file = (struct fileset_file){.spec = spec};
    snprintf(file->path, sizeof file->path, "%s", path);
    snprintf(file->name, sizeof file->name, "%s", name);
    for (int i = 0; i < set->count; i++)
        if (strcmp(set->files[i].name, file->name) == 0)
            return ll_fail(
                err, LL_FATAL,
                "%s and %s have the same name, and a dead letter could not tell their rows apart: rename one",
                set->files[i].path, path);
    set->count++;
    return LL_OK;
}

static enum ll_status add_directory(const struct profile *profile, struct fileset *set, const char *path,
                                    struct ll_err *err)
{
    DIR *directory = opendir(path);
    if (directory == NULL)
        return ll_fail(err, LL_FATAL, "%s: cannot be opened: %s", path, strerror(errno));
    enum ll_status status = LL_OK;
    struct dirent *entry;
    while (status == LL_OK && (entry = readdir(directory)) != NULL) {
        const struct profile_file *spec = match_name(profile, entry->d_name);
        char full[1024];
        struct stat facts;
        snprintf(full, sizeof full, "%s/%s", path, entry->d_name);
        if (spec != NULL && entry->d_name[0] != '.' && stat(full, &facts) == 0 && S_ISREG(facts.st_mode))
            status = add_file(set, spec, full, err);
    }
    closedir(directory);
    return status;
}

static int by_order(const void *a, const void *b)
{
    const struct fileset_file *x = a, *y = b;
    if (x->spec->kind != y->spec->kind)
        return x->spec->kind < y->spec->kind ? -1 : 1;
    return strcmp(x->name, y->name);
}

static enum ll_status sum_all(struct fileset *set, struct ll_err *err)
{
    EVP_MD_CTX *sum = sha256_new();
    enum ll_status status = LL_OK;
    for (int i = 0; i < set->count && status == LL_OK; i++) {
        struct fileset_file *file = &set->files[i];
        status = fileset_sha256(file->path, file->sha256, &file->size, &file->modified_ns, err);
        set->size += file->size;
        const char *kind = profile_kind_name(file->spec->kind);
        EVP_DigestUpdate(sum, kind, strlen(kind) + 1);
        EVP_DigestUpdate(sum, file->sha256, sizeof file->sha256);
    }
    sha256_done(sum, set->sha256);
    if (set->count == 1)
        memcpy(set->sha256, set->files[0].sha256, sizeof set->sha256);
    return status;
}

static enum ll_status check_kinds(const struct profile *profile, const struct fileset *set,
                                  struct ll_err *err)
{
    unsigned kinds = 0;
    for (int i = 0; i < set->count; i++)
        kinds |= 1u << set->files[i].spec->kind;
    if (set->count > 0 && ((kinds >> PROFILE_SALES) & 1) == ((kinds >> PROFILE_SALE_LINES) & 1))
        return LL_OK;
    char wanted[256] = "";
    for (int i = 0; i < profile->file_count; i++) {
        size_t used = strlen(wanted);
        snprintf(wanted + used, sizeof wanted - used, "%s%s", i > 0 ? ", " : "", profile->files[i].match);
    }
    if (set->count == 0)
        return ll_fail(err, LL_FATAL, "no file there has a name that the profile %s knows: %s", profile->path,
                       wanted);
    return ll_fail(
        err, LL_FATAL,
        "a sale is a row of sales and rows of sale_lines: only one of the two is there; give both (%s)",
        wanted);
}

enum ll_status fileset_open(const struct profile *profile, char *const *paths, int path_count,
                            struct fileset *ret, struct ll_err *err)
{
    *ret = (struct fileset){.files = calloc(FILESET_MAX, sizeof *ret->files)};
    if (ret->files == NULL)
        abort();
    enum ll_status status = LL_OK;
    for (int i = 0; i < path_count && status == LL_OK; i++) {
        struct stat facts;
        const char *slash = strrchr(paths[i], '/');
        const struct profile_file *spec = match_name(profile, slash != NULL ? slash + 1 : paths[i]);
        if (stat(paths[i], &facts) != 0)
            status = ll_fail(err, LL_FATAL, "%s: %s", paths[i], strerror(errno));
        else if (S_ISDIR(facts.st_mode))
            status = add_directory(profile, ret, paths[i], err);
        else if (spec == NULL)
            status = ll_fail(err, LL_FATAL, "%s: the profile %s has no kind of file with such a name",
                             paths[i], profile->path);
        else
            status = add_file(ret, spec, paths[i], err);
    }
    qsort(ret->files, (size_t)ret->count, sizeof *ret->files, by_order);
    if (status == LL_OK)
        status = check_kinds(profile, ret, err);
    if (status == LL_OK)
        status = sum_all(ret, err);
    if (status != LL_OK)
        fileset_close(ret);
    return status;
}

void fileset_close(struct fileset *set)
{
    free(set->files);
    *set = (struct fileset){0};
}
