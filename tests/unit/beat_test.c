/* SPDX-License-Identifier: MPL-2.0 */
/* Loops that turn, and those that do not. */
#include <criterion/criterion.h>

#include <pthread.h>
#include <stdio.h>

#include "kit/telemetry/beat.h"
#include "kit/base/clock.h"

static char name[BEAT_NAME_SIZE];
static int64_t stuck_ms;

static void
with_still_clock(void)
{
    clock_fake(1);
    beat_set_limit(1000);
}

static void *
begin_beside(void *its_name)
{
    beat_begin(its_name);
    return NULL;
}

static void
begin_in_another_thread(const char *its_name)
{
    char copy[BEAT_NAME_SIZE];
    pthread_t thread;
    snprintf(copy, sizeof copy, "%s", its_name);
    cr_assert_eq(pthread_create(&thread, NULL, begin_beside, copy), 0);
    pthread_join(thread, NULL);
}

TestSuite(beat, .init = with_still_clock);

Test(beat, a_process_without_loops_is_alive)
{
    cr_expect(!beat_find_stuck(name, &stuck_ms));
    beat_turn();
    beat_end();
    cr_expect(!beat_find_stuck(name, &stuck_ms));
}

Test(beat, a_loop_that_turns_is_alive_and_one_that_does_not_is_named)
{
    beat_begin("gateway/0");
    begin_in_another_thread("stock/0");
    clock_fake_advance_ms(1000);
    beat_turn();
    cr_expect(!beat_find_stuck(name, &stuck_ms), "the limit is not over yet");
    clock_fake_advance_ms(1);
    cr_expect(beat_find_stuck(name, &stuck_ms));
    cr_expect_str_eq(name, "stock/0");
    cr_expect_eq(stuck_ms, 1001);
}

Test(beat, of_several_that_stand_still_the_longest_is_named)
{
    begin_in_another_thread("dlq/0");
    clock_fake_advance_ms(5);
    begin_in_another_thread("stock/0");
    clock_fake_advance_ms(2000);
    cr_expect(beat_find_stuck(name, &stuck_ms));
    cr_expect_str_eq(name, "dlq/0");
    cr_expect_eq(stuck_ms, 2005);
}

Test(beat, a_loop_that_has_ended_is_not_missed)
{
    beat_begin("stock/0");
    clock_fake_advance_ms(5000);
    cr_expect(beat_find_stuck(name, &stuck_ms));
    beat_end();
    cr_expect(!beat_find_stuck(name, &stuck_ms));
    beat_begin("stock/0");
    cr_expect(!beat_find_stuck(name, &stuck_ms));
}

Test(beat, one_is_late_long_before_it_is_stuck)
{
    beat_begin("stock/0");
    clock_fake_advance_ms(101);
    cr_expect(beat_is_late("stock/0", 100));
    cr_expect(!beat_is_late("stock/0", 101));
    cr_expect(!beat_is_late("stock/1", 100));
}
