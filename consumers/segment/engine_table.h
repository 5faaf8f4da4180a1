/*
 * engine_table.h - the engine's customers and categories: found by name, listed by the day on which they are due.
 * Shape:  within engine*.c only.
 */
#pragma once

#include "consumers/segment/engine.h"

/* Moves it to the list of its due_day from that of due_was (NO_DAY: it is in none). */
void engine_table_due(struct engine *engine, struct standing *customer, int32_t due_was);
/* Takes the whole list of a day: the first of it; the others by their `next`. */
uint32_t engine_table_take_due(struct engine *engine, int32_t day);
void engine_table_dirty(struct engine *engine, struct standing *customer);
