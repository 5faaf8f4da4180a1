/*
 * settle.h - waits until validate has judged the references that were just sent.
 * Why:    what refers to something that is not known yet goes to validate's retry topic, and may be overtaken
 *         there by a second copy of itself. Real tills do not open on the day their store is made known; the
 *         truth holds where references come first.
 * Errors: LL_RETRY no broker. No validate within timeout_ms is none: it will read the references first when
 *         it starts.
 */
#pragma once

#include "runtime/config.h"
#include "runtime/err.h"

enum ll_status settle_references(const struct config *config, int timeout_ms, struct ll_err *err);
