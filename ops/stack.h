/*
 * stack.h - the private stack of one home: which services are ours, where they listen, where they live.
 * Shape:  stack_open reads LENS_HOME/stack.conf and the configuration; `lens up` then chooses what is
 *         missing. Services that lens.conf names are used as they are: they are not private, and nothing here
 *         starts or stops them.
 */
#pragma once

#include "ops/files.h"
#include "runtime/config.h"
#include "runtime/err.h"

#include <stdbool.h>
#include <stddef.h>

/* In the order of starting; stopping goes backwards. */
enum stack_service { STACK_REDIS, STACK_POSTGRES, STACK_KAFKA, STACK_VALIDATE, STACK_ACCRUE, STACK_RELAY, STACK_SEGMENT, STACK_NOTIFY, STACK_SERVICE_COUNT };
enum { STACK_PROCESS_FIRST = STACK_VALIDATE };

struct stack {
    struct config *config; /* kept, the caller's */
    bool is_private[STACK_SERVICE_COUNT]; /* false: lens.conf names an existing one */
    int redis_port, postgres_port, kafka_port, kafka_controller_port; /* 0: not chosen yet */
    char programs[PATH_SIZE];     /* the directory of lens and our processes */
    char postgres_programs[PATH_SIZE]; /* "" if Postgres is not installed */
    char postgres_dir[PATH_SIZE]; /* data and socket; below LENS_HOME where the user that runs Postgres can get there */
    char postgres_user[64];       /* who runs Postgres; "": ourselves */
    char java[PATH_SIZE];         /* "" if there is no Java 17 */
    char jars[PATH_SIZE];         /* Kafka's */
};

enum ll_status stack_open(struct config *config, struct stack *ret, struct ll_err *err);

const char *stack_name(enum stack_service service);
/* LENS_HOME/service/<name> */
char *stack_service_dir(const struct stack *stack, enum stack_service service, char to[PATH_SIZE]);
/* The newest log file of a service. */
char *stack_log(const struct stack *stack, enum stack_service service, char to[PATH_SIZE]);
/* "127.0.0.1:1234", or the path of a socket: where the service is, in words. */
void stack_address(const struct stack *stack, enum stack_service service, char *to, size_t size);

/* Is it there and does it answer? LL_RETRY: not (yet). For our processes: /readyz. */
enum ll_status stack_ask(const struct stack *stack, enum stack_service service, int timeout_ms, struct ll_err *err);

/* Path names are pasted into configuration files and scripts: some letters would break those. */
bool stack_path_is_plain(const char *path);
/* The file that says that a directory is a home of ours, so that --purge removes no other. */
char *stack_mark(const struct config *config, char to[PATH_SIZE]);
