/* SPDX-License-Identifier: MPL-2.0 */
/* What a subscriber does with what a source says, and when it asks. */
#include "stream.h"

#include <criterion/criterion.h>

static const struct id ours = {{1}};
static const struct id theirs = {{2}};

/* A stream whose position a page has confirmed. */
static struct stream
confirmed_at(int64_t position)
{
    struct stream stream;
    stream_init(&stream, &ours, position);
    stream_fetch_sent(&stream, 100);
    cr_assert_eq(stream_fetch_arrived(&stream, &ours, position, 0), STREAM_DUPLICATE);
    return stream;
}

Test(stream, asks_at_the_start_whether_it_missed_something)
{
    struct stream stream;
    stream_init(&stream, NULL, 0);
    cr_expect(stream_wants_fetch(&stream, 0));
    stream = confirmed_at(5);
    cr_expect_not(stream_wants_fetch(&stream, 0));
}

Test(stream, applies_the_next_event_and_no_other)
{
    struct stream stream = confirmed_at(5);
    cr_expect_eq(stream_see_event(&stream, &ours, 5), STREAM_DUPLICATE);
    cr_expect_eq(stream_see_event(&stream, &ours, 6), STREAM_APPLY);
    stream_take(&stream, 6);
    cr_expect_eq(stream_see_event(&stream, &ours, 6), STREAM_DUPLICATE);
    cr_expect_eq(stream_see_event(&stream, &ours, 8), STREAM_GAP);
    cr_expect_eq(stream.position, 6);
}

Test(stream, takes_the_incarnation_of_the_first_message)
{
    struct stream stream;
    stream_init(&stream, NULL, 0);
    cr_expect_eq(stream_see_event(&stream, &ours, 1), STREAM_APPLY);
    cr_expect_eq(stream_see_event(&stream, &theirs, 1), STREAM_OTHER_INCARNATION);
}

Test(stream, counts_no_passing_event)
{
    struct stream stream = confirmed_at(5);
    cr_expect_eq(stream_see_event(&stream, &ours, 0), STREAM_PASSING);
    cr_expect_not(stream_wants_fetch(&stream, 0));
}

Test(stream, fetches_a_gap_once)
{
    struct stream stream = confirmed_at(5);
    cr_expect_eq(stream_see_event(&stream, &ours, 9), STREAM_GAP);
    cr_expect(stream_wants_fetch(&stream, 1000));
    stream_fetch_sent(&stream, 2000);
    cr_expect_not(stream_wants_fetch(&stream, 1999));
    cr_expect_eq(stream_see_event(&stream, &ours, 10), STREAM_GAP);
    cr_expect_not(stream_wants_fetch(&stream, 1999));
    cr_expect(stream_wants_fetch(&stream, 2000), "a page that does not come is asked for again");
}

Test(stream, takes_a_page_and_is_level)
{
    struct stream stream = confirmed_at(5);
    cr_expect_eq(stream_see_head(&stream, &ours, 8), STREAM_GAP);
    stream_fetch_sent(&stream, 2000);
    cr_expect_eq(stream_fetch_arrived(&stream, &ours, 8, 3), STREAM_APPLY);
    for (int64_t seq = 6; seq <= 8; seq++) {
        cr_expect_eq(stream_see_event(&stream, &ours, seq), STREAM_APPLY);
        stream_take(&stream, seq);
    }
    cr_expect_not(stream_wants_fetch(&stream, 0));
    cr_expect_eq(stream_see_head(&stream, &ours, 8), STREAM_DUPLICATE);
}

Test(stream, asks_for_the_rest_when_a_page_ends_early)
{
    struct stream stream = confirmed_at(0);
    (void)stream_see_head(&stream, &ours, 3);
    stream_fetch_sent(&stream, 2000);
    cr_expect_eq(stream_fetch_arrived(&stream, &ours, 3, 1), STREAM_APPLY);
    stream_take(&stream, 1);
    cr_expect(stream_wants_fetch(&stream, 0));
}

Test(stream, asks_again_at_once_when_the_gap_is_younger_than_the_page)
{
    struct stream stream = confirmed_at(5);
    stream_fetch_sent(&stream, 2000);
    cr_expect_eq(stream_see_event(&stream, &ours, 7), STREAM_GAP);
    cr_expect_eq(stream_fetch_arrived(&stream, &ours, 5, 0), STREAM_DUPLICATE);
    cr_expect(stream_wants_fetch(&stream, 0));
}

Test(stream, does_not_spin_on_a_source_that_hides_its_events)
{
    struct stream stream = confirmed_at(5);
    stream_fetch_sent(&stream, 2000);
    cr_expect_eq(stream_fetch_arrived(&stream, &ours, 9, 0), STREAM_GAP);
    stream_fetch_failed(&stream, 1500);
    cr_expect_not(stream_wants_fetch(&stream, 1499));
    cr_expect(stream_wants_fetch(&stream, 1500));
    cr_expect_eq(stream.failures, 1);
}

Test(stream, forgets_its_failures_after_a_page)
{
    struct stream stream = confirmed_at(5);
    stream_fetch_sent(&stream, 2000);
    stream_fetch_failed(&stream, 2100);
    stream_fetch_sent(&stream, 3000);
    (void)stream_fetch_arrived(&stream, &ours, 5, 0);
    cr_expect_eq(stream.failures, 0);
}

Test(stream, believes_only_a_page_that_its_cursor_is_ahead)
{
    struct stream stream;
    stream_init(&stream, &ours, 10);
    cr_expect_eq(stream_see_head(&stream, &ours, 7), STREAM_GAP);
    cr_expect(stream_wants_fetch(&stream, 0));
    stream_fetch_sent(&stream, 2000);
    cr_expect_eq(stream_fetch_arrived(&stream, &ours, 7, 0), STREAM_AHEAD);
}

Test(stream, takes_a_head_that_a_page_overtook_for_an_old_one)
{
    struct stream stream = confirmed_at(10);
    cr_expect_eq(stream_see_head(&stream, &ours, 7), STREAM_DUPLICATE);
    cr_expect_not(stream_wants_fetch(&stream, 0));
}

Test(stream, measures_a_page_by_the_position_it_was_asked_from)
{
    struct stream stream = confirmed_at(5);
    stream_fetch_sent(&stream, 2000);
    stream_take(&stream, 6);
    cr_expect_eq(stream_fetch_arrived(&stream, &ours, 5, 0), STREAM_DUPLICATE);
    cr_expect_not(stream_wants_fetch(&stream, 0));
}

Test(stream, gets_again_what_was_rolled_back)
{
    struct stream stream = confirmed_at(5);
    stream_take(&stream, 6);
    stream_take(&stream, 7);
    stream_rewind(&stream, 5);
    cr_expect(stream_wants_fetch(&stream, 0));
    cr_expect_eq(stream_see_event(&stream, &ours, 6), STREAM_APPLY);
}

Test(stream, holds_on_another_incarnation)
{
    struct stream stream = confirmed_at(5);
    cr_expect_eq(stream_see_event(&stream, &theirs, 1), STREAM_OTHER_INCARNATION);
    cr_expect_eq(stream_see_head(&stream, &theirs, 5), STREAM_OTHER_INCARNATION);
    stream_fetch_sent(&stream, 2000);
    cr_expect_eq(stream_fetch_arrived(&stream, &theirs, 5, 0), STREAM_OTHER_INCARNATION);
    cr_expect_eq(stream.position, 5);
}

Test(stream, passes_over_the_last_words_of_an_incarnation_left_behind)
{
    struct stream stream = confirmed_at(5);
    stream_reset(&stream, &theirs, 0);
    cr_expect_eq(stream_see_event(&stream, &ours, 6), STREAM_DUPLICATE);
    cr_expect_eq(stream_see_head(&stream, &ours, 6), STREAM_DUPLICATE);
    cr_expect_eq(stream_see_event(&stream, &theirs, 1), STREAM_APPLY);
}

Test(stream, believes_events_that_somebody_else_keeps_but_nothing_else_of_his)
{
    struct stream stream = confirmed_at(5);
    stream_doubt(&stream);
    stream_fetch_sent(&stream, 2000);
    cr_expect_eq(stream_fetch_arrived_elsewhere(&stream, &ours, 7, 2), STREAM_APPLY);
    cr_expect_eq(stream_see_event(&stream, &ours, 6), STREAM_APPLY);
    stream_take(&stream, 6);
    cr_expect_eq(stream_see_event(&stream, &ours, 7), STREAM_APPLY);
    stream_take(&stream, 7);
    stream_fetch_sent(&stream, 2000);
    cr_expect_eq(stream_fetch_arrived_elsewhere(&stream, &ours, 3, 0), STREAM_DUPLICATE, "it may end before the position");
    cr_expect(stream_wants_fetch(&stream, 0), "the doubt stays");
    stream_fetch_sent(&stream, 2000);
    cr_expect_eq(stream_fetch_arrived_elsewhere(&stream, &theirs, 9, 1), STREAM_OTHER_INCARNATION);
    cr_expect_eq(stream.head, 7);
}
