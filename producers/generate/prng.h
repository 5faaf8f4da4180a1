/*
 * prng.h - random numbers that are the same on every machine: integers only, fixed code, no library.
 * Source: Blackman and Vigna, xoshiro256** 1.0 (public domain) with splitmix64 for the seed; Lemire, "Fast
 *         Random Integer Generation in an Interval" (2019).
 */
#pragma once

#include <assert.h>
#include <stdbool.h>
#include <stdint.h>

struct prng {
    uint64_t state[4];
};

static inline uint64_t prng_mix(uint64_t *seed)
{
    uint64_t z = *seed += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

/* Streams of one seed are independent: a new use takes a new stream, and the old ones stay as they are. */
static inline struct prng prng_of(uint64_t seed, uint64_t stream)
{
    uint64_t mixed = prng_mix(&stream);
    seed ^= mixed;
    struct prng prng;
    for (int i = 0; i < 4; i++)
        prng.state[i] = prng_mix(&seed);
    return prng;
}

static inline uint64_t prng_next(struct prng *prng)
{
    uint64_t *s = prng->state;
    uint64_t scrambled = s[1] * 5;
    uint64_t result = ((scrambled << 7) | (scrambled >> 57)) * 9, t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = (s[3] << 45) | (s[3] >> 19);
    return result;
}

/* 0 .. bound - 1, each equally likely. */
static inline uint32_t prng_below(struct prng *prng, uint32_t bound)
{
    assert(bound > 0);
    uint64_t product = (prng_next(prng) >> 32) * bound;
    if ((uint32_t)product < bound)
        for (uint32_t rest = (uint32_t)-bound % bound; (uint32_t)product < rest;)
            product = (prng_next(prng) >> 32) * bound;
    return (uint32_t)(product >> 32);
}

/* from .. to, both included. */
static inline int32_t prng_between(struct prng *prng, int32_t from, int32_t to)
{
    return from + (int32_t)prng_below(prng, (uint32_t)(to - from) + 1);
}

/* True in so many of a thousand. */
static inline bool prng_chance(struct prng *prng, uint32_t permille)
{
    return prng_below(prng, 1000) < permille;
}
