/*
 * metrics_server.h - a small HTTP server on loopback, on a thread of its own: /metrics, /livez, /readyz.
 * Errors: LL_FATAL the port is taken, or no socket is to be had.
 */
#pragma once

#include "runtime/err.h"

#include <stdint.h>
#include <stdio.h>

/* Writes the answer to path and returns its HTTP status; runs on the server's thread. */
typedef unsigned metrics_answer(void *self, const char *path, FILE *to);

struct metrics_server;
/* port 0: any free one. self is kept until stop. */
enum ll_status metrics_server_start(uint16_t port, metrics_answer *answer, void *self,
                                    struct metrics_server **ret, struct ll_err *err);
uint16_t metrics_server_port(const struct metrics_server *server);
void metrics_server_stop(struct metrics_server *server);
