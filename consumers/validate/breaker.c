#include "consumers/validate/breaker.h"

#include <stdlib.h>
#include <string.h>

static uint32_t words(uint32_t window)
{
    return (window + 63) / 64;
}

void breaker_init(struct breaker *breaker, int64_t window, int64_t refused_min, int64_t refused_percent)
{
    *breaker = (struct breaker){
        .window = (uint32_t)window,
        .refused_min = (uint32_t)refused_min,
        .refused_percent = (uint32_t)refused_percent,
    };
    breaker->refusals = calloc(words(breaker->window), sizeof *breaker->refusals);
    if (breaker->refusals == NULL)
        abort();
}

void breaker_done(struct breaker *breaker)
{
    free(breaker->refusals);
    *breaker = (struct breaker){0};
}

bool breaker_add(struct breaker *breaker, bool refused)
{
    uint64_t *word = &breaker->refusals[breaker->at / 64];
    uint64_t bit = (uint64_t)1 << (breaker->at % 64);
    if ((*word & bit) != 0) {
        breaker->refused--;
        *word &= ~bit;
    }
    if (refused) {
        breaker->refused++;
        *word |= bit;
    }
    breaker->at = breaker->at + 1 == breaker->window ? 0 : breaker->at + 1;
    if (breaker->seen < breaker->window)
        breaker->seen++;
    bool is_much = (uint64_t)breaker->refused * 100 > (uint64_t)breaker->refused_percent * breaker->seen;
    if (breaker->seen == breaker->window && !is_much)
        breaker->is_waived = false;
    if (breaker->open || breaker->is_waived || !refused || !is_much ||
        breaker->refused < breaker->refused_min)
        return false;
    breaker->open = true;
    return true;
}

void breaker_forget(struct breaker *breaker)
{
    memset(breaker->refusals, 0, words(breaker->window) * sizeof *breaker->refusals);
    breaker->seen = breaker->at = breaker->refused = 0;
}

void breaker_waive(struct breaker *breaker)
{
    breaker_forget(breaker);
    breaker->open = false;
    breaker->is_waived = true;
}
