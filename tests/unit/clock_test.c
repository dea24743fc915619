/* SPDX-License-Identifier: MPL-2.0 */
/* The two clocks, real and faked. */
#include <criterion/criterion.h>

#include "kit/base/clock.h"

Test(clock, utc_is_past_the_day_it_was_written)
{
    cr_assert_gt(clock_utc_ms(), INT64_C(1767225600000));
}

Test(clock, steady_never_goes_back)
{
    int64_t last = clock_steady_us();
    for (int i = 0; i < 10000; i++) {
        int64_t now = clock_steady_us();
        cr_assert_geq(now, last);
        last = now;
    }
}

Test(clock, faked_stands_still)
{
    clock_fake(1000);
    cr_assert_eq(clock_utc_ms(), 1000);
    cr_assert_eq(clock_utc_ms(), 1000);
    cr_assert_eq(clock_steady_us(), 0);
}

Test(clock, faked_moves_both_by_what_is_asked)
{
    clock_fake(1000);
    clock_fake_advance_ms(250);
    cr_assert_eq(clock_utc_ms(), 1250);
    cr_assert_eq(clock_steady_us(), 250000);
}

Test(clock, real_again_after_faking)
{
    clock_fake(1000);
    clock_real();
    cr_assert_gt(clock_utc_ms(), INT64_C(1767225600000));
}

/* --- a clock that is set --- */

static int64_t
look(struct clock_watch *watch)
{
    int64_t by_ms = 0;
    cr_assert_eq(clock_watch_look(watch, &by_ms), clock_utc_ms());
    return by_ms;
}

#define DAY_MS INT64_C(86400000)

Test(clock_watch, tells_how_far_the_clock_was_set_and_tells_it_once)
{
    struct clock_watch watch;
    clock_fake(400 * DAY_MS);
    clock_watch_init(&watch);
    cr_expect_eq(look(&watch), 0);
    clock_fake_set_ms(DAY_MS);
    cr_expect_eq(look(&watch), -399 * DAY_MS);
    cr_expect_eq(look(&watch), 0);
    clock_fake_set_ms(2 * DAY_MS);
    cr_expect_eq(look(&watch), DAY_MS);
    cr_expect_eq(look(&watch), 0);
}

Test(clock_watch, takes_time_that_passes_for_no_step_however_long_nobody_looked)
{
    struct clock_watch watch;
    clock_fake(DAY_MS);
    clock_watch_init(&watch);
    clock_fake_advance_ms(400 * DAY_MS);
    cr_expect_eq(look(&watch), 0);
}

Test(clock_watch, takes_a_clock_that_is_slewed_for_no_step)
{
    struct clock_watch watch;
    clock_fake(DAY_MS);
    clock_watch_init(&watch);
    for (int i = 0; i < 10000; i++) {
        clock_fake_advance_ms(1000);
        clock_fake_set_ms(clock_utc_ms() + 80);
        cr_assert_eq(look(&watch), 0, "%d", i);
    }
}

Test(clock_watch, adds_small_steps_up)
{
    struct clock_watch watch;
    clock_fake(DAY_MS);
    clock_watch_init(&watch);
    int64_t told_ms = 0;
    for (int i = 0; i < 20; i++) {
        clock_fake_advance_ms(100);
        clock_fake_set_ms(clock_utc_ms() - CLOCK_TOLERANCE_MS / 2);
        told_ms += look(&watch);
    }
    cr_expect_lt(told_ms, -20 * CLOCK_TOLERANCE_MS / 2 + 2 * CLOCK_TOLERANCE_MS, "%lld", (long long)told_ms);
}

Test(clock_watch, sees_the_machines_own_clock_as_right)
{
    struct clock_watch watch;
    clock_watch_init(&watch);
    int64_t by_ms = -1;
    cr_expect_gt(clock_watch_look(&watch, &by_ms), INT64_C(1767225600000));
    cr_expect_eq(by_ms, 0);
}
