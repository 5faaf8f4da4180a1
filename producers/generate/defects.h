/*
 * defects.h - every way in which a transaction goes wrong, each with the codes that it must get.
 * Shape:  one table; defects_plant spoils a good sale in the way whose turn it is, so that all ways come up
 *         evenly. The codes are all that apply, not the first one.
 */
#pragma once

#include "producers/generate/stream.h"

#include <stdbool.h>
#include <stddef.h>

/* How many ways there are with that kind of output. */
size_t defects_count(bool topics);
/* turn: 0, 1, 2 ...; the sale must be good, with two lines at least, and not watched. */
void defects_plant(const struct world *world, const struct generate_options *options, uint64_t turn,
                   struct made *made);
