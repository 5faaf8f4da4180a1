#include "ops/files.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

char *path_of(char to[PATH_SIZE], const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int size = vsnprintf(to, PATH_SIZE, format, args);
    va_end(args);
    assert(size >= 0 && size < PATH_SIZE);
    return to;
}

bool path_exists(const char *path)
{
    return access(path, F_OK) == 0;
}

static enum ll_status fail_path(struct ll_err *err, const char *verb, const char *path)
{
    const char *next = errno == ENOSPC || errno == EDQUOT ? "; make room, then try again" : "";
    return ll_fail(err, LL_FATAL, "cannot %s %s: %s%s", verb, path, strerror(errno), next);
}

enum ll_status path_make_dir(const char *path, struct ll_err *err)
{
    char part[PATH_SIZE];
    path_of(part, "%s", path);
    for (char *slash = strchr(part + 1, '/');; slash = strchr(slash + 1, '/')) {
        if (slash != NULL)
            *slash = '\0';
        if (mkdir(part, 0755) != 0 && errno != EEXIST)
            return fail_path(err, "make the directory", part);
        if (slash == NULL)
            break;
        *slash = '/';
    }
    struct stat facts;
    if (stat(path, &facts) != 0)
        return fail_path(err, "reach", path);
    if (!S_ISDIR(facts.st_mode))
        return ll_fail(err, LL_FATAL, "%s is not a directory", path);
    return LL_OK;
}

static int remove_one(const char *path, const struct stat *facts, int type, struct FTW *walk)
{
    (void)facts, (void)type, (void)walk;
    return remove(path) != 0 && errno != ENOENT ? -1 : 0;
}

enum ll_status path_remove(const char *path, struct ll_err *err)
{
    struct stat facts;
    if (lstat(path, &facts) != 0)
        return errno == ENOENT ? LL_OK : fail_path(err, "remove", path);
    if (!S_ISDIR(facts.st_mode))
        return unlink(path) == 0 ? LL_OK : fail_path(err, "remove", path);
    if (nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS) != 0)
        return fail_path(err, "remove", path);
    return LL_OK;
}

ssize_t file_read(const char *path, char *to, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    size_t used = 0;
    ssize_t got = 0;
    while (used < size - 1 && (got = read(fd, to + used, size - 1 - used)) > 0)
        used += (size_t)got;
    close(fd);
    to[used] = '\0';
    return got < 0 ? -1 : (ssize_t)used;
}

long file_number(const char *path, long otherwise)
{
    char text[64], *end;
    if (file_read(path, text, sizeof text) <= 0)
        return otherwise;
    long number = strtol(text, &end, 10);
    return end == text ? otherwise : number;
}

static bool is_same(const char *path, const char *contents, mode_t mode)
{
    struct stat facts;
    char *before = malloc(FILE_SIZE_MAX);
    if (before == NULL)
        abort();
    bool same = stat(path, &facts) == 0 && (facts.st_mode & 07777) == mode &&
                file_read(path, before, FILE_SIZE_MAX) >= 0 && strcmp(before, contents) == 0;
    free(before);
    return same;
}

enum ll_status file_write(const char *path, const char *contents, mode_t mode, bool *ret_changed,
                          struct ll_err *err)
{
    if (is_same(path, contents, mode))
        return LL_OK;
    char draft[PATH_SIZE];
    path_of(draft, "%s.new", path);
    int fd = open(draft, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);
    if (fd < 0)
        return fail_path(err, "write", draft);
    size_t size = strlen(contents), done = 0;
    while (done < size) {
        ssize_t put = write(fd, contents + done, size - done);
        if (put < 0) {
            close(fd);
            return fail_path(err, "write", draft);
        }
        done += (size_t)put;
    }
    bool whole = fchmod(fd, mode) == 0;
    if (close(fd) != 0 || !whole || rename(draft, path) != 0)
        return fail_path(err, "write", path);
    if (ret_changed != NULL)
        *ret_changed = true;
    return LL_OK;
}

static const char *blank_value(const struct file_blank *blanks, size_t count, const char *name, size_t size)
{
    for (size_t at = 0; at < count; at++)
        if (strlen(blanks[at].name) == size && memcmp(blanks[at].name, name, size) == 0)
            return blanks[at].value;
    return NULL;
}

/* The length of the name between two at signs; 0: this at sign begins no blank. */
static size_t blank_size(const char *at)
{
    size_t size = 0;
    while (isupper((unsigned char)at[1 + size]) || at[1 + size] == '_')
        size++;
    return at[1 + size] == '@' ? size : 0;
}

enum ll_status file_fill(const char *template_path, const char *path, mode_t mode,
                         const struct file_blank *blanks, size_t blank_count, bool *ret_changed,
                         struct ll_err *err)
{
    enum ll_status status;
    char *from = malloc(FILE_SIZE_MAX), *to = malloc(FILE_SIZE_MAX);
    if (from == NULL || to == NULL)
        abort();
    if (file_read(template_path, from, FILE_SIZE_MAX) < 0) {
        status = fail_path(err, "read", template_path);
        goto out;
    }
    size_t used = 0;
    for (const char *at = from; *at != '\0';) {
        size_t size = *at == '@' ? blank_size(at) : 0;
        const char *piece = at;
        size_t piece_size = 1;
        if (size > 0) {
            piece = blank_value(blanks, blank_count, at + 1, size);
            if (piece == NULL) {
                status = ll_fail(err, LL_FATAL, "%s: nothing is known for @%.*s@", template_path, (int)size,
                                 at + 1);
                goto out;
            }
            piece_size = strlen(piece);
        }
        if (used + piece_size >= FILE_SIZE_MAX) {
            status = ll_fail(err, LL_FATAL, "%s: too large", template_path);
            goto out;
        }
        memcpy(to + used, piece, piece_size);
        used += piece_size;
        at += size > 0 ? size + 2 : 1;
    }
    to[used] = '\0';
    status = file_write(path, to, mode, ret_changed, err);
out:
    free(from);
    free(to);
    return status;
}

/* The end of a file as a text without space behind it; false: there is nothing. */
static bool read_tail(const char *path, char *to, size_t size)
{
    to[0] = '\0';
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    off_t end = lseek(fd, 0, SEEK_END);
    off_t from = end > (off_t)size - 1 ? end - (off_t)size + 1 : 0;
    ssize_t got = pread(fd, to, size - 1, from);
    close(fd);
    while (got > 0 && isspace((unsigned char)to[got - 1]))
        got--;
    to[got > 0 ? got : 0] = '\0';
    return got > 0;
}

static void copy_line(const char *line, char *to, size_t size)
{
    size_t used = 0;
    for (; *line != '\0' && *line != '\n' && used + 1 < size; line++)
        to[used++] = iscntrl((unsigned char)*line) ? ' ' : *line; /* a terminal must not obey a log */
    to[used] = '\0';
}

void file_last_line(const char *path, char *to, size_t size)
{
    char tail[2048];
    to[0] = '\0';
    if (!read_tail(path, tail, sizeof tail))
        return;
    const char *line = strrchr(tail, '\n');
    copy_line(line == NULL ? tail : line + 1, to, size);
}

/* How Postgres, Kafka and our processes mark what ends them; and what Postgres says as often to those who only knock. */
static bool is_fault(const char *line, size_t size)
{
    static const char *const marks[] = { " PANIC:  ", " FATAL:  ", " FATAL ", " ERROR ", " level=error " };
    static const char *const answers[] = { "the database system is ", "authentication failed", "terminating connection" };
    bool found = false;
    for (size_t at = 0; at < sizeof marks / sizeof marks[0] && !found; at++)
        found = memmem(line, size, marks[at], strlen(marks[at])) != NULL;
    for (size_t at = 0; at < sizeof answers / sizeof answers[0] && found; at++)
        found = memmem(line, size, answers[at], strlen(answers[at])) == NULL;
    return found;
}

void file_last_fault(const char *path, char *to, size_t size)
{
    char tail[8192];
    const char *fault = NULL;
    file_last_line(path, to, size);
    if (!read_tail(path, tail, sizeof tail))
        return;
    for (const char *line = tail; *line != '\0';) {
        size_t length = strcspn(line, "\n");
        if (is_fault(line, length))
            fault = line;
        line += length + (line[length] == '\n' ? 1 : 0);
    }
    if (fault != NULL)
        copy_line(fault, to, size);
}
