/*
 * service.h - talks to runit: how a supervised service stands, and what it shall do.
 * Shape:  a service is a directory LENS_HOME/service/<name>; runsv keeps its state in supervise/, and takes
 *         one-letter commands through supervise/control (runsv(8)).
 */
#pragma once

#include "runtime/err.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum service_step {
    SERVICE_ABSENT,   /* nobody supervises it */
    SERVICE_DOWN,     /* does not run */
    SERVICE_RUNNING,
    SERVICE_RESTARTING, /* it died; its finish script waits before the next start */
};

struct service_state {
    enum service_step step;
    bool wants_up;
    pid_t pid;        /* of the service, or of its finish script; 0: none */
    int64_t since_s;  /* unix time of the last change of step */
    long restarts;    /* deaths that nobody asked for, since `lens up` */
};

void service_read(const char *dir, struct service_state *ret);
/* False if no runsv listens. */
bool service_command(const char *dir, const char *letters);
/* Asks to stop, also out of a wait for a restart. */
void service_ask_down(const char *dir);
const char *service_step_name(enum service_step step);

/* runsvdir of a home. 0: none runs. */
pid_t supervisor_pid(const char *home);
/* Starts runsvdir, detached from terminal and session. */
enum ll_status supervisor_start(const char *home, struct ll_err *err);
