/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Sums of what others say: each number is within its bounds, and their sum may still be larger than a number can be. Whoever adds up
 * without a bound on the count of summands (letters, orders, charges) adds with these.
 */
#ifndef LARDER_KIT_SUM_H
#define LARDER_KIT_SUM_H

#include <stdint.h>

/* Modulo 2^64: what was added can be taken away again, in any order, and two sums of the same are equal. */
static inline int64_t
sum_wrapped(int64_t sum, int64_t more)
{
    return (int64_t)((uint64_t)sum + (uint64_t)more);
}

/* Of numbers that are not negative, to be shown: stays at the largest number there is. */
static inline int64_t
sum_capped(int64_t sum, int64_t more)
{
    int64_t whole = 0;
    return __builtin_add_overflow(sum, more, &whole) ? INT64_MAX : whole;
}

/* A wrapped sum of numbers that are not negative, as it is shown: one that has become negative is larger than any number. */
static inline int64_t
sum_shown(int64_t wrapped)
{
    return wrapped < 0 ? INT64_MAX : wrapped;
}

#endif
