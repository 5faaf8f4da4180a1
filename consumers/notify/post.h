/*
 * post.h - the seam to whoever carries letters away: a mail server, or files.
 * Shape:  one letter, one outcome, in bounded time. post_smtp.c is the only file of this folder with libcurl.
 *
 *         SMTP cannot be exactly once: between the end of DATA and the server's reply, nobody can know. Everything else is known, by
 *         the command that was under way and the reply to it. libcurl's own codes do not tell: after a lost connection they show the
 *         reply before (curl issue 8356), so post_smtp.c listens to the commands and replies themselves.
 *
 *         | what happened                                   | outcome       | what notify does                                   |
 *         | 250 after DATA                                  | POST_ACCEPTED | sent                                               |
 *         | 4xx to RCPT, to DATA, or after its end          | POST_PUT_OFF  | again later, with back-off                         |
 *         | 5xx to RCPT, to DATA, or after its end          | POST_REFUSED  | dead, the address is suppressed                    |
 *         | lost or silent after 354                        | POST_UNKNOWN  | notify.unknown: hold, or resend                    |
 *         | no connection, or anything before RCPT's answer | POST_DOWN     | not this letter's fault: all wait, then it goes on |
 * Source: RFC 5321 4.2, 4.5.3.2; DESIGN 7.
 */
#pragma once

#include "runtime/config.h"
#include "runtime/err.h"
#include "runtime/text.h"

#include <stdbool.h>
#include <stddef.h>

enum post_outcome { POST_ACCEPTED, POST_PUT_OFF, POST_REFUSED, POST_UNKNOWN, POST_DOWN };
enum { POST_WORDS_SIZE = 256 };

struct post_letter {
    struct text id;       /* hex digits */
    struct text from, to; /* have passed address_valid */
    struct text message;
};

struct post_ops {
    /* words: the server's last reply, or what went wrong; printable ASCII. */
    enum post_outcome (*send)(void *self, const struct post_letter *letter, char words[POST_WORDS_SIZE]);
    /* Before it is written that letters are gone: they are on disk from now on. NULL: they are when send returns. */
    enum ll_status (*settle)(void *self, struct ll_err *err);
    void (*close)(void *self);
};

struct post {
    const struct post_ops *ops;
    void *self;
    bool is_repeatable;                  /* the same letter twice is there once: nothing is ever unknown */
    char address[CONFIG_TEXT_SIZE + 64]; /* of whom, in words */
};

/* Neither connects. LL_FATAL: a setting, or a folder, cannot be used. */
enum ll_status post_smtp_open(const struct config *config, struct post *ret, struct ll_err *err);
enum ll_status post_files_open(const struct config *config, struct post *ret, struct ll_err *err);
/* What of the settings can be wrong without a connection. */
enum ll_status post_smtp_check(const struct config *config, struct ll_err *err);
