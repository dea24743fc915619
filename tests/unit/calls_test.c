/* SPDX-License-Identifier: MPL-2.0 */
/* What is remembered of outside calls comes back from its due row as it was. */
#include <criterion/criterion.h>
#include <stdio.h>

#include "kit/peers/calls.h"

/* Through a payload and back. */
static void
store_and_load(struct calls *calls)
{
    struct wire_buffer payload = {0};
    calls_encode(calls, &payload);
    calls_fini(calls);
    calls_init(calls, wire_buffer_slice(&payload));
    wire_buffer_fini(&payload);
}

static void
expect_attempt(const struct calls *calls, int number, int64_t time_ms, const char *error)
{
    struct wire_list past = calls->past;
    struct wire_letter_attempt attempt;
    for (int i = 0; i <= number; i++) {
        cr_assert(wire_list_next(&past, &letter_attempt_body, &attempt), "there is no attempt %d", number);
    }
    cr_expect_eq(attempt.time, time_ms);
    cr_expect(slice_equal(attempt.error, slice_of(error)), "%.*s", (int)attempt.error.size, (const char *)attempt.error.data);
}

Test(calls, an_empty_payload_is_a_call_that_was_never_made)
{
    struct calls calls;
    calls_init(&calls, (struct slice){0});
    cr_expect_eq(calls.wait, CALLS_WAIT_CALL);
    cr_expect_not(calls.has_letter);
    cr_expect_eq(calls.failures, 0);
    cr_expect_eq(calls.past.count, 0);
    cr_expect_eq(calls_first_ms(&calls, 17), 17);
    calls_fini(&calls);
}

Test(calls, a_payload_of_another_kind_is_a_call_that_was_never_made)
{
    static const uint8_t other[40] = {2, 1, 1, 1};
    static const uint8_t wrong[40] = {1, CALLS_WAIT_COUNT, 0, 0};
    struct calls calls;
    calls_init(&calls, (struct slice){other, sizeof other});
    cr_expect_eq(calls.wait, CALLS_WAIT_CALL);
    calls_init(&calls, (struct slice){wrong, sizeof wrong});
    cr_expect_eq(calls.wait, CALLS_WAIT_CALL);
    calls_init(&calls, (struct slice){other, 3});
    cr_expect_eq(calls.past.count, 0);
    calls_fini(&calls);
}

Test(calls, everything_comes_back)
{
    struct calls calls;
    calls_init(&calls, (struct slice){0});
    calls_add(&calls, 1000, slice_of("the factory answered HTTP 500"));
    calls_add(&calls, 2000, slice_of(""));
    calls.wait = CALLS_WAIT_NOBODY;
    calls.has_letter = true;
    calls.failures = 300;
    calls.accepted = INT64_C(1) << 40;
    calls.told = 301;
    store_and_load(&calls);
    cr_expect_eq(calls.wait, CALLS_WAIT_NOBODY);
    cr_expect(calls.has_letter);
    cr_expect_eq(calls.failures, 300);
    cr_expect_eq(calls.accepted, INT64_C(1) << 40);
    cr_expect_eq(calls.told, 301);
    cr_expect_eq(calls.past.count, 2);
    expect_attempt(&calls, 0, 1000, "the factory answered HTTP 500");
    expect_attempt(&calls, 1, 2000, "");
    cr_expect_eq(calls_first_ms(&calls, 17), 1000);
    calls_fini(&calls);
}

Test(calls, of_many_attempts_the_first_and_the_latest_are_kept)
{
    enum { MANY = 2 * CALLS_HISTORY_MAX };
    struct calls calls;
    char error[32];
    calls_init(&calls, (struct slice){0});
    for (int i = 0; i < MANY; i++) {
        snprintf(error, sizeof error, "attempt %d", i);
        calls_add(&calls, i, slice_of(error));
        store_and_load(&calls);
    }
    cr_expect_eq(calls.past.count, CALLS_HISTORY_MAX);
    expect_attempt(&calls, 0, 0, "attempt 0");
    expect_attempt(&calls, 1, MANY - CALLS_HISTORY_MAX + 1, "attempt 33");
    expect_attempt(&calls, CALLS_HISTORY_MAX - 1, MANY - 1, "attempt 63");
    calls_fini(&calls);
}

Test(calls, go_on_until_the_attempts_are_used_up)
{
    cr_expect(calls_again(1, 7, false));
    cr_expect(calls_again(6, 7, false));
    cr_expect_not(calls_again(7, 7, false));
    cr_expect_not(calls_again(INT64_MAX, 7, false));
    cr_expect_not(calls_again(1, 1, false));
}

Test(calls, a_call_that_somebody_asked_for_is_one_call)
{
    cr_expect_not(calls_again(1, 7, true));
    cr_expect_not(calls_again(8, 7, true));
}

Test(calls, what_cannot_be_read_was_never_called)
{
    static const uint8_t nonsense[40] = {9, 9, 9, 99};
    struct calls calls;
    for (size_t size = 0; size <= sizeof nonsense; size++) {
        calls_init(&calls, (struct slice){nonsense, size});
        cr_expect_eq(calls.wait, CALLS_WAIT_CALL);
        cr_expect_eq(calls.failures, 0);
        cr_expect_eq(calls_first_ms(&calls, 7), 7);
        calls_fini(&calls);
    }
}

Test(calls, a_doubt_is_kept_and_ends_when_others_are_answered)
{
    struct calls calls;
    calls_init(&calls, (struct slice){0});
    cr_expect_not(calls_doubt(&calls, 1795212000123, true), "the first time nothing is known of the others since");
    store_and_load(&calls);
    cr_expect_geq(calls.doubted_ms, 1795212000123);
    cr_expect_leq(calls.doubted_ms, 1795212001123);
    cr_expect_not(calls_doubt(&calls, 1795212005000, false));
    cr_expect_leq(calls.doubted_ms, 1795212001123, "the first time counts");
    cr_expect(calls_doubt(&calls, 1795212009000, true));
    calls_fini(&calls);
}
