/* SPDX-License-Identifier: MPL-2.0 */
/* Turns: whoever floods, somebody quiet is served soon; and nobody is shut out. */
#include "kit/base/turns.h"

#include <stdbool.h>

#include <criterion/criterion.h>
#include <criterion/parameterized.h>

#define PLACES 64
#define QUIET 1000000
#define WARM_UP 400

/* A flood that fills every place as soon as it is free, and somebody quiet. */
struct flood {
    const char *what;
    unsigned callers;
    unsigned subjects; /* 0: a new one each time */
    enum turn_end end;
    bool is_same_caller; /* the quiet one is at the address of the flood */
    bool is_known;       /* and has come rightly before it began */
    unsigned within;     /* turns until he is served, his own included */
};

static struct turns *turns;
static struct turn waiting[PLACES + 1];
static size_t count;
static uint64_t came;

static void
add(uint64_t caller, uint64_t subject)
{
    waiting[count++] = (struct turn){.caller = caller, .subject = subject, .number = came++};
}

static void
fill(const struct flood *flood)
{
    while (count < PLACES) {
        uint64_t number = came;
        add(1 + number % flood->callers, flood->subjects == 0 ? number : number % flood->subjects);
    }
}

static struct turn
serve(enum turn_end end)
{
    size_t next = turns_next(turns, waiting, count);
    struct turn served = waiting[next];
    waiting[next] = waiting[--count];
    turns_end(turns, &served, served.subject == QUIET ? TURN_RIGHT : end);
    return served;
}

ParameterizedTestParameters(turns, serve_somebody_quiet_in_a_flood)
{
    static struct flood rows[] = {
        {"guesses at one account from one address", 1, 1, TURN_WRONG, false, false, 2},
        {"guesses at many accounts from one address", 1, 64, TURN_WRONG, false, false, 2},
        {"guesses at one account from many addresses", 64, 1, TURN_WRONG, false, false, 2},
        {"guesses at accounts that there are not, from many addresses", 64, 0, TURN_WRONG, false, false, 2},
        {"who is right all the time, from one address", 1, 1, TURN_RIGHT, false, false, 2},
        {"who is right all the time, with many accounts from one address", 1, 64, TURN_RIGHT, false, false, 5},
        {"registrations from one address", 1, 0, TURN_OVER, false, false, 2},
        {"guesses at one account from his own address", 1, 1, TURN_WRONG, true, false, 2},
        {"guesses at many accounts from his own address", 1, 64, TURN_WRONG, true, false, 2},
        {"guesses at one account from his own address, who is known", 1, 1, TURN_WRONG, true, true, 2},
        {"guesses at accounts that there are not from his own address, who is known", 1, 0, TURN_WRONG, true, true, 2},
        {"registrations from his own address, who is known", 1, 0, TURN_OVER, true, true, 2},
    };
    return cr_make_param_array(struct flood, rows, sizeof rows / sizeof *rows);
}

ParameterizedTest(struct flood *flood, turns, serve_somebody_quiet_in_a_flood)
{
    uint64_t his_caller = flood->is_same_caller ? 1 : 77777;
    turns = turns_create();
    count = came = 0;
    if (flood->is_known) {
        add(his_caller, QUIET);
        (void)serve(TURN_RIGHT);
    }
    for (int i = 0; i < WARM_UP; i++) {
        fill(flood);
        (void)serve(flood->end);
    }
    for (int round = 0; round < 40; round++) {
        unsigned waited = 0;
        fill(flood);
        add(his_caller, QUIET);
        for (bool is_served = false; !is_served; waited++) {
            is_served = serve(flood->end).subject == QUIET;
            fill(flood);
        }
        cr_assert_leq(waited, flood->within, "%s: the %d. time after %u turns", flood->what, round, waited);
        for (int i = 0; i < 3; i++) {
            (void)serve(flood->end);
            fill(flood);
        }
    }
    turns_destroy(&turns);
}

/* Somebody who has forgotten his password, at the address of a flood of new accounts. */
Test(turns, shut_nobody_out)
{
    const struct flood flood = {.callers = 1, .end = TURN_WRONG};
    turns = turns_create();
    for (int i = 0; i < 3; i++) {
        struct turn his = {.caller = 1, .subject = 5000000};
        turns_end(turns, &his, TURN_WRONG);
    }
    for (int i = 0; i < WARM_UP; i++) {
        fill(&flood);
        (void)serve(TURN_WRONG);
    }
    add(1, 5000000);
    int waited = 0;
    while (serve(TURN_WRONG).subject != 5000000) {
        fill(&flood);
        waited++;
    }
    cr_assert_leq(waited, 4 * PLACES);
    turns_destroy(&turns);
}

Test(turns, go_in_order_among_equals)
{
    turns = turns_create();
    for (uint64_t i = 0; i < PLACES; i++) {
        add(0, 0);
    }
    for (uint64_t i = 0; i < PLACES; i++) {
        cr_assert_eq(serve(TURN_OVER).number, i);
    }
    turns_destroy(&turns);
}

Test(turns, are_lost_by_who_has_most)
{
    turns = turns_create();
    for (int i = 0; i < 10; i++) {
        add(1, 1);
    }
    add(2, 2);
    cr_assert_eq(turns_loser(turns, waiting, count), 9, "the last of the caller that has most");
    count = 0;
    add(3, 1);
    for (int i = 0; i < 10; i++) {
        add(1, 1);
    }
    cr_assert_eq(turns_loser(turns, waiting, count), 10, "which may be who comes");
    turns_destroy(&turns);
}

Test(turns, that_come_before_are_counted_caller_by_caller)
{
    turns = turns_create();
    for (int i = 0; i < 40; i++) {
        add(1, 1);
    }
    struct turn other = {.caller = 2, .subject = 2, .number = came};
    struct turn same = {.caller = 1, .subject = 1, .number = came};
    cr_assert_eq(turns_before(turns, waiting, count, &other), 1);
    cr_assert_eq(turns_before(turns, waiting, count, &same), 40);
    cr_assert_eq(turns_before(turns, waiting, 0, &other), 0);
    turns_destroy(&turns);
}
