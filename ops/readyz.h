/*
 * readyz.h - asks one of our processes whether it is ready, and what it waits for.
 * Shape:  the process tells its loopback port in LENS_HOME/run/<name>-1.port and answers GET /readyz: 200, or
 *         503 and words.
 */
#pragma once

#include "runtime/config.h"
#include "runtime/err.h"

#include <stddef.h>

/* LL_RETRY: not there, or not ready; the words say what it waits for. */
enum ll_status readyz_ask(const struct config *config, const char *process, int timeout_ms, struct ll_err *err);
/* "127.0.0.1:port" of its metrics, "" while it told none. */
void readyz_address(const struct config *config, const char *process, char *to, size_t size);
