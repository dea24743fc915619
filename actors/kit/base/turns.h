/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Whose turn it is when many want what only one can have at a time, such as the thread that hashes passwords: nobody takes all turns,
 * and who is known to come rightly does not wait for a crowd that guesses. Decides, and does nothing; belongs to whoever locks it.
 */
#ifndef LARDER_KIT_TURNS_H
#define LARDER_KIT_TURNS_H

#include <stddef.h>
#include <stdint.h>

#define TURNS_NONE SIZE_MAX

/* One that waits. Zero is as good a caller or subject as any other. */
struct turn {
    uint64_t caller;  /* a hash of who asks: an address, a peer */
    uint64_t subject; /* a hash of what it is about: an account, known or not */
    uint64_t number;  /* in the order in which they came */
};

/* What is known when one was served. */
enum turn_end { TURN_OVER, TURN_RIGHT, TURN_WRONG };

struct turns;

/* Never NULL. */
struct turns *
turns_create(void);
void
turns_destroy(struct turns **turns);

/* Which of those that wait is served now; it counts as served from here on. `count` must not be 0. */
size_t
turns_next(struct turns *turns, const struct turn *waiting, size_t count);

/* Which of those that wait has to go when there is one too many: it may be the last, which has come just now. */
size_t
turns_loser(const struct turns *turns, const struct turn *waiting, size_t count);

/* How many of those that wait would be served before `turn`, about. */
size_t
turns_before(const struct turns *turns, const struct turn *waiting, size_t count, const struct turn *turn);

/* How one that was served ended. */
void
turns_end(struct turns *turns, const struct turn *turn, enum turn_end end);

#endif
