/* SPDX-License-Identifier: MPL-2.0 */
/* Choices that follow from a seed and the number of a request, and from nothing else: what was answered shifts none of them. */
#ifndef LARDER_RANDOM_CHANCE_H
#define LARDER_RANDOM_CHANCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct chance {
    uint64_t state;
};

/* SplitMix64 (Steele, Lea, Flood 2014): every state is a good one, so neighbouring seeds may be taken as they are. */
static inline uint64_t
chance_next(struct chance *chance)
{
    uint64_t mixed = chance->state += UINT64_C(0x9e3779b97f4a7c15);
    mixed = (mixed ^ mixed >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    mixed = (mixed ^ mixed >> 27) * UINT64_C(0x94d049bb133111eb);
    return mixed ^ mixed >> 31;
}

static inline struct chance
chance_of(uint64_t seed, uint64_t number)
{
    struct chance chance = {seed};
    chance.state = chance_next(&chance) + number;
    return chance;
}

/* 0 to limit - 1. */
static inline uint64_t
chance_below(struct chance *chance, uint64_t limit)
{
    return chance_next(chance) % limit;
}

static inline bool
chance_one_in(struct chance *chance, uint64_t many)
{
    return chance_below(chance, many) == 0;
}

/* lo to hi, both inside; also the whole range of int64_t. */
static inline int64_t
chance_between(struct chance *chance, int64_t lo, int64_t hi)
{
    uint64_t width = (uint64_t)hi - (uint64_t)lo;
    uint64_t more = width == UINT64_MAX ? chance_next(chance) : chance_below(chance, width + 1);
    return (int64_t)((uint64_t)lo + more);
}

#endif
