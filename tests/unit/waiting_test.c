/* SPDX-License-Identifier: MPL-2.0 */
/* Requests that wait: what a batch begins or answers counts with its commit, and they outlive the state they were begun in. */
#include "kit/peers/waiting.h"

#include <criterion/criterion.h>

#include "kit/actor.h"

#define MANY 1000

static struct waiting waiting;

static void
fini(void)
{
    waiting_fini(&waiting);
}

TestSuite(waiting, .fini = fini);

/* Tells all whom the batch answered; how many those were. */
static int
commit(void)
{
    int count = 0;
    struct waiter *waiter = NULL;
    while ((waiter = waiting_committed(&waiting)) != NULL) {
        waiting_end(&waiting, waiter);
        count++;
    }
    return count;
}

static void
answer(struct waiter *waiter)
{
    waiting_answer(&waiting, waiter, ERR_ok, slice_of(""));
}

Test(waiting, an_entry_is_used_again_when_its_end_is_committed)
{
    struct waiter *waiter = waiting_begin(&waiting);
    (void)commit();
    cr_expect_neq(waiting_begin(&waiting), waiter, "it waits");
    (void)commit();
    answer(waiter);
    cr_expect_neq(waiting_begin(&waiting), waiter, "the batch that ends it is under way");
    cr_expect_eq(commit(), 1);
    cr_expect_eq(waiting_begin(&waiting), waiter);
}

Test(waiting, an_entry_of_a_dropped_batch_is_free_at_once)
{
    struct waiter *waiter = waiting_begin(&waiting);
    waiting_dropped(&waiting);
    cr_expect_eq(waiting_begin(&waiting), waiter);
    waiting_dropped(&waiting);
    cr_expect_null(waiting.first);
}

Test(waiting, an_end_that_was_dropped_can_come_again)
{
    struct waiter *waiter = waiting_begin(&waiting);
    *(int *)waiter_keep(waiter, sizeof(int)) = 7;
    (void)commit();
    for (int i = 0; i < 3; i++) {
        answer(waiter);
        waiting_dropped(&waiting);
        cr_expect_eq(*(int *)waiter_kept(waiter), 7);
        cr_expect_neq(waiting_begin(&waiting), waiter);
        waiting_dropped(&waiting);
    }
    answer(waiter);
    cr_expect_eq(commit(), 1);
    cr_expect_eq(waiting_begin(&waiting), waiter);
}

/* Read by the sanitizers: nothing is used after it was freed, and nothing is left. */
Test(waiting, entries_keep_what_is_kept_while_others_come_and_go)
{
    struct waiter *waiters[MANY];
    for (int i = 0; i < MANY; i++) {
        waiters[i] = waiting_begin(&waiting);
        *(int *)waiter_keep(waiters[i], sizeof(int)) = i;
    }
    (void)commit();
    for (int i = 0; i < MANY; i++) {
        struct waiter *fresh = waiting_begin(&waiting);
        cr_expect_eq(*(int *)waiter_kept(waiters[i]), i);
        answer(waiters[i]);
        cr_expect_eq(commit(), 1);
        answer(fresh);
        cr_expect_eq(commit(), 1);
    }
    cr_expect_null(waiting.first);
}

Test(waiting, those_for_the_same_are_found_until_they_are_answered)
{
    struct waiter *first = waiting_begin(&waiting);
    struct waiter *second = waiting_begin(&waiting);
    struct waiter *other = waiting_begin(&waiting);
    waiting_for(&waiting, first, 5);
    waiting_for(&waiting, second, 5);
    waiting_for(&waiting, other, 5 + (int64_t)(sizeof waiting.buckets / sizeof waiting.buckets[0]));
    (void)commit();
    for (int i = 0; i < 2; i++) {
        struct waiter *found = waiting_find(&waiting, 5);
        cr_expect(found == first || found == second);
        answer(found);
    }
    cr_expect_null(waiting_find(&waiting, 5));
    waiting_dropped(&waiting);
    cr_expect_not_null(waiting_find(&waiting, 5));
}

/* So that the number of a row that was rolled back finds nobody. */
Test(waiting, what_a_dropped_batch_waited_for_finds_nobody)
{
    struct waiter *waiter = waiting_begin(&waiting);
    (void)commit();
    waiting_for(&waiting, waiter, 5);
    waiting_dropped(&waiting);
    cr_expect_null(waiting_find(&waiting, 5));
    cr_expect_null(waiting_first_lost(waiting.first), "it waits for nothing of the state");
    waiting_for(&waiting, waiter, 6);
    (void)commit();
    cr_expect_eq(waiting_find(&waiting, 6), waiter);
    cr_expect_eq(waiting_first_lost(waiting.first), waiter);
}
