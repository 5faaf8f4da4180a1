/*
 * stack_files.h - makes a home: its ports, directories, configuration files and runit's service directories.
 * Shape:  everything is made again from deploy/stack at each `lens up`; what is already so stays untouched,
 *         and is not restarted.
 */
#pragma once

#include "ops/stack.h"

struct stack_options {
    bool bench;     /* Kafka gets a large heap and the full compiler */
    bool new_ports; /* choose ports anew */
    bool secure;    /* passwords, TLS and rights; a home that has them keeps them without being told */
};

/* Makes LENS_HOME if it is not there; a directory that holds something else is refused. */
enum ll_status stack_make_home(const struct stack *stack, struct ll_err *err);
/* Chooses a port for each private service that has none; one that somebody else took meanwhile is an
 * error. is_ours: services that run now hold theirs themselves. */
enum ll_status stack_choose_ports(struct stack *stack, const struct stack_options *options,
                                  const bool is_ours[STACK_SERVICE_COUNT], struct ll_err *err);
/* Writes it all. ret_changed[service]: its files are other ones than before. */
enum ll_status stack_write(struct stack *stack, const struct stack_options *options, bool ret_changed[STACK_SERVICE_COUNT],
                           struct ll_err *err);
/* Where Postgres's files are kept outside of LENS_HOME, with the directory above; "" if they are inside. */
void stack_outside_dir(const struct stack *stack, char to[PATH_SIZE]);
