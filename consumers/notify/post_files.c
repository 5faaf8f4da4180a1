/*
 * post_files.c - letters as files that every mail program opens: <mail_dir>/<id>.eml.
 */
#include "consumers/notify/post.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PATH_SIZE = 2 * CONFIG_TEXT_SIZE + 64 };

struct post_files {
    char folder[2 * CONFIG_TEXT_SIZE];
};

static bool write_all(int fd, struct text text)
{
    for (size_t at = 0; at < text.size;) {
        ssize_t got = write(fd, text.data + at, text.size - at);
        if (got < 0 && errno != EINTR)
            return false;
        at += got > 0 ? (size_t)got : 0;
    }
    return true;
}

/* Whole or not at all, and the same letter again is the same file again. */
static enum post_outcome files_send(void *self, const struct post_letter *letter, char words[POST_WORDS_SIZE])
{
    struct post_files *files = self;
    char path[PATH_SIZE], fresh[PATH_SIZE + 8];
    snprintf(path, sizeof path, "%s/%.*s.eml", files->folder, TEXT_ARG(letter->id));
    snprintf(fresh, sizeof fresh, "%s.new", path);
    int fd = open(fresh, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    bool is_written = fd >= 0 && write_all(fd, letter->message);
    int cause = errno;
    if (fd >= 0)
        close(fd);
    if (is_written && rename(fresh, path) != 0) {
        cause = errno;
        is_written = false;
    }
    if (!is_written) {
        snprintf(words, POST_WORDS_SIZE, "%.160s: %s", path, strerror(cause));
        unlink(fresh);
        return POST_DOWN;
    }
    snprintf(words, POST_WORDS_SIZE, "%.240s", path);
    return POST_ACCEPTED;
}

/* One sync for a round of letters: a sync each costs as much as a hundred. */
static enum ll_status files_settle(void *self, struct ll_err *err)
{
    struct post_files *files = self;
    int fd = open(files->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool is_settled = fd >= 0 && syncfs(fd) == 0;
    int cause = errno;
    if (fd >= 0)
        close(fd);
    return is_settled ? LL_OK : ll_fail(err, LL_RETRY, "%s: %s", files->folder, strerror(cause));
}

static void files_close(void *self)
{
    free(self);
}

static const struct post_ops ops = { .send = files_send, .settle = files_settle, .close = files_close };

enum ll_status post_files_open(const struct config *config, struct post *ret, struct ll_err *err)
{
    struct post_files *files = calloc(1, sizeof *files);
    if (files == NULL)
        abort();
    if (config->notify.mail_dir[0] != '\0')
        snprintf(files->folder, sizeof files->folder, "%s", config->notify.mail_dir);
    else
        config_home_path(config, "mail", files->folder, sizeof files->folder);
    if ((mkdir(files->folder, 0700) != 0 && errno != EEXIST) || access(files->folder, W_OK | X_OK) != 0) {
        enum ll_status status = ll_fail(err, LL_FATAL, "%s: %s; letters go there (notify.mail_dir)",
                                        files->folder, strerror(errno));
        free(files);
        return status;
    }
    *ret = (struct post){ .ops = &ops, .self = files, .is_repeatable = true };
    snprintf(ret->address, sizeof ret->address, "%.300s", files->folder);
    return LL_OK;
}
