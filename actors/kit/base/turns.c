/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE   Shares turns out. A pair of caller and subject has a standing: who came rightly last and wants one thing is first; who was
 *           wrong WRONG_MIN times in a row, or comes to a subject about which all together were wrong GUESSED_MIN times in a row, is
 *           last; between them is everybody else. Among equals the caller that was served longest
 *           ago is next, then the subject, then who came first. Each FAIR_EVERY turn asks only for the caller and who came first,
 *           so that a standing delays and shuts nobody out. So a flood from one address costs the others one turn in two, a flood
 *           of guesses at one account nobody but whoever guesses there, and who signs in from where he did so before waits for no
 *           guesser at all, even at the same address.
 *
 * STATE     A table of hashes: when a caller, a pair or a subject was served last, and how often in a row it was wrong. Of SETS x
 *           WAYS the one that was served longest ago makes room, and is a newcomer when it comes again.
 *
 * FAILURES  None. Two hashes that are equal by chance share a standing.
 *
 * LIMITS    It looks at all that wait for each turn: for some dozens of them. Behind a proxy all are one caller, and what is left
 *           is the account.
 */
#include "turns.h"

#include <assert.h>
#include <stdbool.h>
#include <stdlib.h>

#include "memory.h"

enum { SETS = 512, WAYS = 4, WRONG_MIN = 2, GUESSED_MIN = 8, FAIR_EVERY = 4 };

#define PAIR UINT64_C(0x9e3779b97f4a7c15)

struct known {
    uint64_t what;
    uint64_t served; /* the number of its latest turn; 0: empty */
    int wrong;       /* how often in a row */
    bool is_right;
};

struct turns {
    uint64_t served; /* turns given */
    struct known known[SETS][WAYS];
};

enum standing { STANDS_RIGHT, STANDS_UNKNOWN, STANDS_WRONG };

/* One that waits, as it is compared. */
struct rank {
    enum standing standing;
    uint64_t caller_served;
    uint64_t pair_served;
    uint64_t number;
};

struct turns *
turns_create(void)
{
    struct turns *turns = memory_new(1, sizeof *turns);
    return turns;
}

void
turns_destroy(struct turns **turns)
{
    free(*turns);
    *turns = NULL;
}

/* --- what is known --- */

static uint64_t
pair_of(const struct turn *turn)
{
    uint64_t mixed = turn->caller * PAIR ^ turn->subject;
    return (mixed ^ mixed >> 29) * PAIR + 1;
}

/* What all callers together have made of it. */
static uint64_t
subject_of(const struct turn *turn)
{
    return (turn->subject ^ turn->subject >> 31) * PAIR + 2;
}

static const struct known *
find(const struct turns *turns, uint64_t what)
{
    const struct known *set = turns->known[what % SETS];
    for (size_t i = 0; i < WAYS; i++) {
        if (set[i].served != 0 && set[i].what == what) {
            return &set[i];
        }
    }
    return NULL;
}

static struct known *
find_or_add(struct turns *turns, uint64_t what)
{
    struct known *set = turns->known[what % SETS];
    struct known *oldest = &set[0];
    for (size_t i = 0; i < WAYS; i++) {
        if (set[i].served != 0 && set[i].what == what) {
            return &set[i];
        }
        oldest = set[i].served < oldest->served ? &set[i] : oldest;
    }
    *oldest = (struct known){.what = what};
    return oldest;
}

/* --- comparing --- */

static size_t
count_pair(const struct turn *waiting, size_t count, const struct turn *turn)
{
    size_t found = 0;
    for (size_t i = 0; i < count; i++) {
        found += waiting[i].caller == turn->caller && waiting[i].subject == turn->subject ? 1 : 0;
    }
    return found;
}

static size_t
count_caller(const struct turn *waiting, size_t count, uint64_t caller)
{
    size_t found = 0;
    for (size_t i = 0; i < count; i++) {
        found += waiting[i].caller == caller ? 1 : 0;
    }
    return found;
}

static struct rank
rank_of(const struct turns *turns, const struct turn *waiting, size_t count, const struct turn *turn)
{
    const struct known *caller = find(turns, turn->caller);
    const struct known *pair = find(turns, pair_of(turn));
    struct rank rank = {.standing = STANDS_UNKNOWN,
                        .caller_served = caller == NULL ? 0 : caller->served,
                        .pair_served = pair == NULL ? 0 : pair->served,
                        .number = turn->number};
    bool is_right = pair != NULL && pair->is_right;
    const struct known *subject = is_right ? NULL : find(turns, subject_of(turn));
    if ((pair != NULL && pair->wrong >= WRONG_MIN) || (subject != NULL && subject->wrong >= GUESSED_MIN)) {
        rank.standing = STANDS_WRONG;
    } else if (is_right && count_pair(waiting, count, turn) <= 1) {
        rank.standing = STANDS_RIGHT;
    }
    return rank;
}

static bool
is_before(const struct rank *a, const struct rank *b, bool by_standing)
{
    if (by_standing && a->standing != b->standing) {
        return a->standing < b->standing;
    }
    if (a->caller_served != b->caller_served) {
        return a->caller_served < b->caller_served;
    }
    if (by_standing && a->pair_served != b->pair_served) {
        return a->pair_served < b->pair_served;
    }
    return a->number < b->number;
}

/* --- deciding --- */

size_t
turns_next(struct turns *turns, const struct turn *waiting, size_t count)
{
    size_t next = 0;
    assert(count > 0);
    bool by_standing = ++turns->served % FAIR_EVERY != 0;
    struct rank best = rank_of(turns, waiting, count, &waiting[0]);
    for (size_t i = 1; i < count; i++) {
        struct rank rank = rank_of(turns, waiting, count, &waiting[i]);
        if (is_before(&rank, &best, by_standing)) {
            best = rank;
            next = i;
        }
    }
    find_or_add(turns, waiting[next].caller)->served = turns->served;
    find_or_add(turns, pair_of(&waiting[next]))->served = turns->served;
    return next;
}

/* Of the caller that has most, of the worst standing there, of the subject that has most: the last that came. */
size_t
turns_loser(const struct turns *turns, const struct turn *waiting, size_t count)
{
    size_t loser = TURNS_NONE;
    size_t most = 0;
    size_t most_of_pair = 0;
    enum standing worst = STANDS_RIGHT;
    for (size_t i = 0; i < count; i++) {
        size_t of_caller = count_caller(waiting, count, waiting[i].caller);
        size_t of_pair = count_pair(waiting, count, &waiting[i]);
        enum standing standing = rank_of(turns, waiting, count, &waiting[i]).standing;
        bool is_worse = of_caller != most         ? of_caller > most
                        : standing != worst       ? standing > worst
                        : of_pair != most_of_pair ? of_pair > most_of_pair
                                                  : waiting[i].number > waiting[loser].number;
        if (loser == TURNS_NONE || is_worse) {
            loser = i;
            most = of_caller;
            most_of_pair = of_pair;
            worst = standing;
        }
    }
    return loser;
}

/* Callers take turns: of another one as many come before it as of its own, and one more when that caller is next before its own. */
size_t
turns_before(const struct turns *turns, const struct turn *waiting, size_t count, const struct turn *turn)
{
    struct rank own = rank_of(turns, waiting, count, turn);
    size_t before = 0;
    size_t own_count = 0;
    for (size_t i = 0; i < count; i++) {
        bool is_own = waiting[i].caller == turn->caller && waiting[i].number != turn->number;
        struct rank rank = rank_of(turns, waiting, count, &waiting[i]);
        own_count += is_own && is_before(&rank, &own, true) ? 1 : 0;
    }
    for (size_t i = 0; i < count; i++) {
        struct rank rank = rank_of(turns, waiting, count, &waiting[i]);
        size_t same = 0;
        for (size_t k = 0; k < i; k++) {
            same += waiting[k].caller == waiting[i].caller ? 1 : 0;
        }
        bool is_round = rank.standing == own.standing && waiting[i].caller != turn->caller;
        before += rank.standing < own.standing || (is_round && same < own_count + (is_before(&rank, &own, true) ? 1 : 0)) ? 1 : 0;
    }
    return before + own_count;
}

static void
count_end(struct turns *turns, uint64_t what, int wrong_max, enum turn_end end)
{
    struct known *known = find_or_add(turns, what);
    known->served = turns->served;
    known->wrong = end == TURN_RIGHT ? 0 : known->wrong + (known->wrong < wrong_max ? 1 : 0);
    known->is_right = end == TURN_RIGHT || (known->is_right && known->wrong < wrong_max);
}

void
turns_end(struct turns *turns, const struct turn *turn, enum turn_end end)
{
    if (end != TURN_OVER) {
        count_end(turns, pair_of(turn), WRONG_MIN, end);
        count_end(turns, subject_of(turn), GUESSED_MIN, end);
    }
}
