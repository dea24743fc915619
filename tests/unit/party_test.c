/* SPDX-License-Identifier: MPL-2.0 */
/* The window and the breaker in front of an outside party, on a clock of their own. */
#include <criterion/criterion.h>

#include "kit/peers/party.h"

enum { MOST = 32, PAUSE_MS = 100, TIMEOUT_MS = 4000 };

static struct party party;
static int64_t now_us;

static void
begin(void)
{
    now_us = 1000000;
    party_init(&party, MOST, PAUSE_MS, TIMEOUT_MS);
}

static struct id
call_of(int number)
{
    struct id id = {{0}};
    id.bytes[0] = (uint8_t)number;
    id.bytes[1] = (uint8_t)(number >> 8);
    return id;
}

/* One call from its start to its end. */
static enum call_blame
call(int number, enum party_result result, int64_t took_us)
{
    struct party_answer answer = {.result = result, .call = call_of(number), .started_us = now_us};
    party_started(&party, now_us);
    now_us += took_us;
    return party_ended(&party, &answer, now_us);
}

/* As many at once as there is room for, all ending in the same way. Returns how many. */
static int
round_of(enum party_result result, int64_t took_us)
{
    int count = party_room(&party, now_us);
    int64_t started_us = now_us;
    for (int i = 0; i < count; i++) {
        party_started(&party, now_us);
    }
    now_us += took_us;
    for (int i = 0; i < count; i++) {
        (void)party_ended(&party, &(struct party_answer){.result = result, .call = call_of(i), .started_us = started_us}, now_us);
    }
    return count;
}

/* Broken by failures about different calls. */
static void
bring_down(void)
{
    for (int i = 0; i < 5; i++) {
        (void)call(i, PARTY_FAULT, 1000);
    }
    cr_assert_eq(party.state, PARTY_DOWN);
}

TestSuite(party, .init = begin);

Test(party, window_begins_small_and_grows_to_the_most_while_it_is_used)
{
    int first = round_of(PARTY_GOOD, 50000);
    int second = round_of(PARTY_GOOD, 50000);
    cr_expect_eq(first, 4);
    cr_expect_eq(second, 8);
    for (int i = 0; i < 40; i++) {
        (void)round_of(PARTY_GOOD, 50000);
    }
    cr_expect_eq(party_room(&party, now_us), MOST);
}

Test(party, window_that_is_not_used_does_not_grow)
{
    for (int i = 0; i < 1000; i++) {
        cr_assert_eq(call(i, PARTY_GOOD, 1000), CALL_ANSWERED);
    }
    cr_expect_eq(party_room(&party, now_us), 4);
}

Test(party, time_outs_of_one_round_halve_the_window_once)
{
    for (int i = 0; i < 10; i++) {
        (void)round_of(PARTY_GOOD, 50000);
    }
    int before = party_room(&party, now_us);
    int64_t started_us = now_us;
    for (int i = 0; i < 3; i++) {
        party_started(&party, now_us);
    }
    now_us += 4000000;
    for (int i = 0; i < 3; i++) {
        (void)party_ended(&party, &(struct party_answer){.result = PARTY_SLOW, .call = call_of(0), .started_us = started_us}, now_us);
    }
    cr_expect_eq(party_room(&party, now_us), before / 2);
}

Test(party, answers_that_take_longer_and_longer_shrink_the_window)
{
    for (int i = 0; i < 20; i++) {
        (void)round_of(PARTY_GOOD, 50000);
    }
    int before = party_room(&party, now_us);
    for (int i = 0; i < 8; i++) {
        (void)round_of(PARTY_GOOD, 1500000);
    }
    cr_expect_lt(party_room(&party, now_us), before);
    cr_expect_geq(party_room(&party, now_us), 4);
}

Test(party, noise_in_quick_answers_does_not_shrink_the_window)
{
    for (int i = 0; i < 60; i++) {
        (void)round_of(PARTY_GOOD, i % 2 == 0 ? 2000 : 200000);
    }
    cr_expect_eq(party_room(&party, now_us), MOST);
}

Test(party, retry_after_is_kept_and_busy_is_no_calls_fault)
{
    struct party_answer answer = {.result = PARTY_BUSY, .call = call_of(1), .started_us = now_us, .retry_after_ms = 2000};
    party_started(&party, now_us);
    cr_expect_eq(party_ended(&party, &answer, now_us), CALL_NOT_CHARGED);
    cr_expect_eq(party_room(&party, now_us + 1999000), 0);
    cr_expect_eq(party_next_us(&party), now_us + 2000000);
    cr_expect_gt(party_room(&party, now_us + 2000000), 0);
    cr_expect_eq(party.state, PARTY_UP);
}

Test(party, five_failures_about_different_calls_break_it_and_count_no_further)
{
    for (int i = 0; i < 5; i++) {
        cr_expect_eq(call(i, PARTY_FAULT, 1000), CALL_AT_FAULT);
        cr_expect_eq(party.state, i < 4 ? PARTY_UP : PARTY_DOWN);
    }
    cr_expect_eq(party_room(&party, now_us), 0);
}

Test(party, failures_of_the_same_two_calls_are_theirs)
{
    for (int i = 0; i < 100; i++) {
        cr_assert_eq(call(i % 2, PARTY_FAULT, 1000), CALL_AT_FAULT);
    }
    cr_expect_eq(party.state, PARTY_UP);
}

Test(party, failures_between_good_answers_are_the_calls_own)
{
    for (int i = 0; i < 100; i++) {
        cr_assert_eq(call(i, PARTY_FAULT, 1000), CALL_AT_FAULT);
        cr_assert_eq(call(1000 + i, PARTY_GOOD, 1000), CALL_ANSWERED);
    }
    cr_expect_eq(party.state, PARTY_UP);
}

Test(party, five_times_busy_break_it_even_for_one_call)
{
    for (int i = 0; i < 5; i++) {
        cr_assert_eq(call(1, PARTY_BUSY, 1000), CALL_NOT_CHARGED);
    }
    cr_expect_eq(party.state, PARTY_DOWN);
}

Test(party, broken_lets_one_probe_through_after_pauses_that_grow_to_a_minute)
{
    bring_down();
    int64_t before_us = 0;
    for (int i = 0; i < 14; i++) {
        int64_t pause_us = party_next_us(&party) - now_us;
        cr_assert_geq(pause_us, i < 8 ? before_us : before_us / 2);
        cr_assert_leq(pause_us, 75000000);
        before_us = pause_us;
        cr_assert_eq(party_room(&party, now_us + pause_us - 1), 0);
        now_us += pause_us;
        cr_assert_eq(party_room(&party, now_us), 1);
        party_started(&party, now_us);
        cr_assert_eq(party_room(&party, now_us), 0, "one at a time");
        (void)party_ended(&party, &(struct party_answer){.result = PARTY_FAULT, .call = call_of(i), .started_us = now_us}, now_us);
    }
    cr_expect_geq(before_us, 40000000);
}

Test(party, a_probe_that_fails_is_not_charged_and_one_that_is_answered_opens_the_window_from_one)
{
    bring_down();
    now_us = party_next_us(&party);
    cr_expect_eq(call(9, PARTY_SLOW, 1000), CALL_NOT_CHARGED);
    now_us = party_next_us(&party);
    cr_expect_eq(call(9, PARTY_GOOD, 1000), CALL_ANSWERED);
    cr_expect_eq(party.state, PARTY_UP);
    cr_expect_leq(party_room(&party, now_us), 2);
    cr_expect_geq(party_room(&party, now_us), 1);
}

Test(party, calls_that_began_before_it_came_back_say_nothing_bad_any_more)
{
    bring_down();
    struct party_answer late = {.result = PARTY_SLOW, .call = call_of(7), .started_us = now_us};
    party_started(&party, now_us);
    (void)call(9, PARTY_GOOD, 1000);
    for (int i = 0; i < 10; i++) {
        party_started(&party, now_us);
        late.call = call_of(i);
        cr_expect_eq(party_ended(&party, &late, now_us), CALL_NOT_CHARGED);
    }
    cr_expect_eq(party.state, PARTY_UP);
}

Test(party, somebody_who_asks_gets_a_probe_within_a_second)
{
    bring_down();
    for (int i = 0; i < 10; i++) {
        now_us = party_next_us(&party);
        (void)call(i, PARTY_FAULT, 1000);
    }
    cr_assert_gt(party_next_us(&party), now_us + 10000000);
    party_probe_soon(&party);
    cr_expect_leq(party_next_us(&party), now_us + 1000000);
    cr_expect_eq(party_room(&party, now_us + 1000000), 1);
}

Test(party, one_refusal_breaks_it_and_is_no_calls_fault)
{
    cr_expect_eq(call(1, PARTY_REFUSES, 1000), CALL_NOT_CHARGED);
    cr_expect_eq(party.state, PARTY_REFUSED);
    now_us = party_next_us(&party);
    cr_expect_eq(call(2, PARTY_DOUBT, 1000), CALL_IN_DOUBT);
    cr_expect_eq(party.state, PARTY_REFUSED);
}

Test(party, not_found_says_nothing_about_credentials_and_lets_the_next_call_tell)
{
    (void)call(1, PARTY_REFUSES, 1000);
    now_us = party_next_us(&party);
    cr_expect_eq(call(1, PARTY_SILENT, 1000), CALL_ANSWERED);
    cr_expect_eq(party.state, PARTY_REFUSED);
    cr_expect_eq(party_room(&party, now_us), 1);
}

Test(party, what_was_down_when_the_process_ended_begins_with_a_probe)
{
    party_resume(&party, PARTY_REFUSED, 1, now_us);
    cr_expect_eq(party_room(&party, now_us), 1);
    cr_expect_eq(call(1, PARTY_GOOD, 1000), CALL_ANSWERED);
    cr_expect_eq(party.state, PARTY_UP);
}

Test(party, window_of_one_grows_again)
{
    bring_down();
    now_us = party_next_us(&party);
    (void)call(9, PARTY_GOOD, 1000);
    for (int i = 0; i < 3; i++) {
        (void)round_of(PARTY_GOOD, 1000);
    }
    cr_expect_geq(party_room(&party, now_us), 4);
}
