/* SPDX-License-Identifier: MPL-2.0 */
/* The two clocks, real and faked. */
#include <criterion/criterion.h>

#include "clock.h"

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
