/* SPDX-License-Identifier: MPL-2.0 */
/* When a source is held and when no more, as batches are committed and dropped. */
#include <criterion/criterion.h>

#include "kit/stream/hold.h"

enum { LIMIT = 4 };

static struct hold hold;

static void
begin(void)
{
    hold_init(&hold, LIMIT);
}

static void
end(void)
{
    hold_fini(&hold);
}

TestSuite(hold, .init = begin, .fini = end);

/* Keys from..to - 1 fail, in a batch of their own each. */
static enum hold_change
fail(uint64_t from, uint64_t to)
{
    enum hold_change change = HOLD_SAME;
    for (uint64_t key = from; key < to; key++) {
        hold_failed(&hold, key);
        change = hold_committed(&hold);
    }
    return change;
}

Test(hold, begins_when_so_many_keys_have_failed_in_a_row)
{
    cr_expect_eq(fail(0, LIMIT - 1), HOLD_SAME);
    cr_expect_not(hold_is_on(&hold));
    cr_expect(hold_is_reached_by(&hold, LIMIT - 1));
    cr_expect_eq(fail(LIMIT - 1, LIMIT), HOLD_BEGINS);
    cr_expect(hold_is_on(&hold));
    cr_expect_eq(fail(LIMIT, LIMIT + 9), HOLD_SAME, "it begins once");
}

Test(hold, does_not_begin_for_one_key)
{
    for (int i = 0; i < 100; i++) {
        cr_expect_not(hold_is_reached_by(&hold, 7));
        cr_expect_eq(fail(7, 8), HOLD_SAME);
    }
    cr_expect_not(hold_is_on(&hold));
}

Test(hold, a_success_between_begins_the_count_anew)
{
    fail(0, LIMIT - 1);
    hold_succeeded(&hold);
    cr_expect_eq(hold_committed(&hold), HOLD_SAME);
    cr_expect_eq(fail(10, 10 + LIMIT - 1), HOLD_SAME);
    cr_expect_eq(fail(20, 21), HOLD_BEGINS);
}

Test(hold, ends_with_a_success)
{
    fail(0, LIMIT);
    hold_succeeded(&hold);
    cr_expect(hold_is_on(&hold), "not before the commit");
    cr_expect_eq(hold_committed(&hold), HOLD_ENDS);
    cr_expect_not(hold_is_on(&hold));
    cr_expect_eq(fail(0, LIMIT), HOLD_BEGINS, "and may begin again");
}

Test(hold, forgets_what_a_dropped_batch_said)
{
    fail(0, LIMIT - 1);
    hold_failed(&hold, 50);
    hold_dropped(&hold);
    cr_expect_eq(hold_committed(&hold), HOLD_SAME);
    hold_succeeded(&hold);
    hold_dropped(&hold);
    cr_expect_eq(fail(LIMIT, LIMIT + 1), HOLD_BEGINS);
    hold_succeeded(&hold);
    hold_dropped(&hold);
    cr_expect(hold_is_on(&hold));
}

Test(hold, probes_less_and_less_often)
{
    fail(0, LIMIT);
    static const int64_t pauses_ms[] = {200, 400, 800, 1600, 3200, 5000, 5000, 5000};
    for (size_t i = 0; i < sizeof pauses_ms / sizeof *pauses_ms; i++) {
        cr_expect_eq(hold_pause_ms(&hold, 200), pauses_ms[i]);
    }
    hold_succeeded(&hold);
    (void)hold_committed(&hold);
    fail(0, LIMIT);
    cr_expect_eq(hold_pause_ms(&hold, 200), 200, "a new hold begins anew");
}

Test(hold, never_begins_when_it_is_switched_off)
{
    struct hold never;
    hold_init(&never, 0);
    for (uint64_t key = 0; key < 1000; key++) {
        cr_expect_not(hold_is_reached_by(&never, key));
        hold_failed(&never, key);
        cr_expect_eq(hold_committed(&never), HOLD_SAME);
    }
    hold_fini(&never);
}
