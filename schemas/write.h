/*
 * write.h - the bytes of one record in our own schema.
 */
#pragma once

#include "schemas/bind.h"
#include "schemas/event.h"

#include <stddef.h>

/* A room that always suffices for the record (the frame aside). */
size_t event_size_max(const struct event *event);
/* Writes the record; to has room for event_size_max. Returns where it ends. */
char *write_event(char *to, const struct event *event);
/* The same by the table alone: what any kind's bytes are. */
char *write_bound(char *to, const struct bind_record *bind, const void *record);
