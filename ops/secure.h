/*
 * secure.h - a private stack with passwords, TLS and rights: what `lens up --secure` makes beside the plain one.
 * Shape:  LENS_HOME/secrets holds a password for each process and store (<process>.kafka, .redis, .postgres), an authority's
 *         certificate and what it signed. A home is secure from its first `lens up` on, or never.
 *         Rights on topics follow topics.conf: its readers may read, its writers write; groups and transactional ids begin with
 *         the process's name. Rights on tables are loyalty.grant_roles()'s (state/migrations).
 * Errors: LL_FATAL with the file and the cause. No error and no argument of a process holds a secret.
 */
#pragma once

#include "ops/stack.h"
#include "runtime/topics.h"

enum { SECURE_SECRET_SIZE = 64 };

/* Is this home secure? Its authority's certificate tells. */
bool secure_is(const struct config *config);
/* Makes the passwords and certificates that are missing. A home that was begun without is refused. */
enum ll_status secure_make(const struct stack *stack, struct ll_err *err);
/* "<name>.kafka": its contents; "" if the home is not secure. */
enum ll_status secure_read(const struct config *config, const char *name, char to[SECURE_SECRET_SIZE], struct ll_err *err);
/* Gives every process its rights on the broker: once, and again where they have changed. Needs the broker. */
enum ll_status secure_grant(const struct stack *stack, const struct topics *topics, struct ll_err *err);
