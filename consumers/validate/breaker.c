#include "consumers/validate/breaker.h"

#include <stdlib.h>
#include <string.h>

static uint32_t words(uint32_t window)
{
    return (window + 63) / 64;
}

static void verdicts_init(struct verdicts *verdicts, uint32_t window)
{
    verdicts->refusals = calloc(words(window), sizeof *verdicts->refusals);
    if (verdicts->refusals == NULL)
        abort();
}

static void verdicts_add(struct verdicts *verdicts, uint32_t window, bool refused)
{
    uint64_t *word = &verdicts->refusals[verdicts->at / 64];
    uint64_t bit = (uint64_t)1 << (verdicts->at % 64);
    if ((*word & bit) != 0) {
        verdicts->refused--;
        *word &= ~bit;
    }
    if (refused) {
        verdicts->refused++;
        *word |= bit;
    }
    verdicts->at = verdicts->at + 1 == window ? 0 : verdicts->at + 1;
    if (verdicts->seen < window)
        verdicts->seen++;
}

static void verdicts_forget(struct verdicts *verdicts, uint32_t window)
{
    memset(verdicts->refusals, 0, words(window) * sizeof *verdicts->refusals);
    verdicts->seen = verdicts->at = verdicts->refused = 0;
}

static bool is_much(const struct breaker *breaker, const struct verdicts *verdicts)
{
    return (uint64_t)verdicts->refused * 100 > (uint64_t)breaker->refused_percent * verdicts->seen;
}

void breaker_init(struct breaker *breaker, int64_t window, int64_t refused_min, int64_t refused_percent)
{
    *breaker = (struct breaker){
        .window = (uint32_t)window,
        .refused_min = (uint32_t)refused_min,
        .refused_percent = (uint32_t)refused_percent,
    };
    verdicts_init(&breaker->heard, breaker->window);
    verdicts_init(&breaker->decided, breaker->window);
}

void breaker_done(struct breaker *breaker)
{
    free(breaker->heard.refusals);
    free(breaker->decided.refusals);
    *breaker = (struct breaker){0};
}

bool breaker_add(struct breaker *breaker, bool refused)
{
    verdicts_add(&breaker->heard, breaker->window, refused);
    if (breaker->is_waived) {
        verdicts_add(&breaker->decided, breaker->window, refused);
        breaker->is_waived = breaker->decided.seen < breaker->window || is_much(breaker, &breaker->decided);
    }
    if (breaker->open || breaker->is_waived || !refused || !is_much(breaker, &breaker->heard) ||
        breaker->heard.refused < breaker->refused_min)
        return false;
    breaker->open = true;
    return true;
}

void breaker_wait(struct breaker *breaker)
{
    verdicts_add(&breaker->heard, breaker->window, false);
}

void breaker_forget(struct breaker *breaker)
{
    verdicts_forget(&breaker->heard, breaker->window);
    verdicts_forget(&breaker->decided, breaker->window);
}

void breaker_waive(struct breaker *breaker)
{
    breaker_forget(breaker);
    breaker->open = false;
    breaker->is_waived = true;
}
