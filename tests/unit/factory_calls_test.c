/* SPDX-License-Identifier: MPL-2.0 */
/* What is remembered of the calls about a production comes back from its due row as it was. */
#include <criterion/criterion.h>
#include <stdio.h>

#include "factory/factory_calls.h"

/* Through a payload and back. */
static void
store_and_load(struct factory_calls *calls)
{
    struct wire_buffer payload = {0};
    factory_calls_encode(calls, &payload);
    factory_calls_fini(calls);
    factory_calls_init(calls, wire_buffer_slice(&payload));
    wire_buffer_fini(&payload);
}

static void
expect_attempt(const struct factory_calls *calls, int number, int64_t time_ms, const char *error)
{
    struct wire_list past = calls->past;
    struct letter_attempt attempt;
    for (int i = 0; i <= number; i++) {
        cr_assert(wire_list_next(&past, &letter_attempt_body, &attempt), "there is no attempt %d", number);
    }
    cr_expect_eq(attempt.time, time_ms);
    cr_expect(slice_equal(attempt.error, slice_of(error)), "%.*s", (int)attempt.error.size, (const char *)attempt.error.data);
}

Test(factory_calls, an_empty_payload_is_a_call_that_was_never_made)
{
    struct factory_calls calls;
    factory_calls_init(&calls, (struct slice){0});
    cr_expect_eq(calls.wait, FACTORY_WAIT_CALL);
    cr_expect_not(calls.has_letter);
    cr_expect_eq(calls.failures, 0);
    cr_expect_eq(calls.past.count, 0);
    cr_expect_eq(factory_calls_first_ms(&calls, 17), 17);
    factory_calls_fini(&calls);
}

Test(factory_calls, a_payload_of_another_kind_is_a_call_that_was_never_made)
{
    static const uint8_t other[40] = {2, 1, 1, 1};
    static const uint8_t wrong[40] = {1, FACTORY_WAIT_COUNT, 0, 0};
    struct factory_calls calls;
    factory_calls_init(&calls, (struct slice){other, sizeof other});
    cr_expect_eq(calls.wait, FACTORY_WAIT_CALL);
    factory_calls_init(&calls, (struct slice){wrong, sizeof wrong});
    cr_expect_eq(calls.wait, FACTORY_WAIT_CALL);
    factory_calls_init(&calls, (struct slice){other, 3});
    cr_expect_eq(calls.past.count, 0);
    factory_calls_fini(&calls);
}

Test(factory_calls, everything_comes_back)
{
    struct factory_calls calls;
    factory_calls_init(&calls, (struct slice){0});
    factory_calls_add(&calls, 1000, "the factory answered HTTP 500");
    factory_calls_add(&calls, 2000, "");
    calls.wait = FACTORY_WAIT_NOBODY;
    calls.has_letter = true;
    calls.failures = 300;
    calls.silences = INT64_C(1) << 40;
    calls.told = 301;
    store_and_load(&calls);
    cr_expect_eq(calls.wait, FACTORY_WAIT_NOBODY);
    cr_expect(calls.has_letter);
    cr_expect_eq(calls.failures, 300);
    cr_expect_eq(calls.silences, INT64_C(1) << 40);
    cr_expect_eq(calls.told, 301);
    cr_expect_eq(calls.past.count, 2);
    expect_attempt(&calls, 0, 1000, "the factory answered HTTP 500");
    expect_attempt(&calls, 1, 2000, "");
    cr_expect_eq(factory_calls_first_ms(&calls, 17), 1000);
    factory_calls_fini(&calls);
}

Test(factory_calls, of_many_attempts_the_first_and_the_latest_are_kept)
{
    enum { MANY = 2 * FACTORY_HISTORY_MAX };
    struct factory_calls calls;
    char error[32];
    factory_calls_init(&calls, (struct slice){0});
    for (int i = 0; i < MANY; i++) {
        snprintf(error, sizeof error, "attempt %d", i);
        factory_calls_add(&calls, i, error);
        store_and_load(&calls);
    }
    cr_expect_eq(calls.past.count, FACTORY_HISTORY_MAX);
    expect_attempt(&calls, 0, 0, "attempt 0");
    expect_attempt(&calls, 1, MANY - FACTORY_HISTORY_MAX + 1, "attempt 33");
    expect_attempt(&calls, FACTORY_HISTORY_MAX - 1, MANY - 1, "attempt 63");
    factory_calls_fini(&calls);
}
