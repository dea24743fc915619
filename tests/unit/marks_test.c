/* SPDX-License-Identifier: MPL-2.0 */
/* How old the event behind a position is at least. */
#include "kit/stream/marks.h"

#include <criterion/criterion.h>

Test(marks, knows_no_age_without_events)
{
    struct marks marks = {0};
    cr_expect(marks_age_ms(&marks, 0, 5000) == 0);
    marks_note(&marks, 0, 1000);
    cr_expect(marks_age_ms(&marks, 0, 5000) == 0);
}

Test(marks, tells_the_age_of_the_first_event_behind_a_position)
{
    struct marks marks = {0};
    marks_note(&marks, 10, 1000);
    marks_note(&marks, 20, 2000);
    marks_note(&marks, 20, 3000);
    cr_expect(marks_age_ms(&marks, 9, 5000) == 4000);
    cr_expect(marks_age_ms(&marks, 10, 5000) == 3000);
    cr_expect(marks_age_ms(&marks, 20, 5000) == 0);
    marks_forget(&marks, 10);
    cr_expect(marks.count == 1);
    cr_expect(marks_age_ms(&marks, 15, 5000) == 3000);
}

Test(marks, never_exaggerates_and_is_late_by_a_share)
{
    struct marks marks = {0};
    for (int64_t second = 1; second <= 86400; second++) {
        marks_note(&marks, second, second * 1000);
    }
    for (int64_t second = 1; second < 86400; second++) {
        int64_t age_ms = marks_age_ms(&marks, second - 1, 86400000);
        int64_t truth_ms = 86400000 - second * 1000;
        cr_assert(age_ms <= truth_ms, "second %lld", (long long)second);
        cr_assert(truth_ms - age_ms <= 86400000 / 24, "%lld: %lld", (long long)second, (long long)age_ms);
    }
}

Test(marks, is_exact_again_once_the_laggard_has_come)
{
    struct marks marks = {0};
    for (int64_t second = 1; second <= 86400; second++) {
        marks_note(&marks, second, second * 1000);
    }
    marks_forget(&marks, 86400);
    marks_note(&marks, 86401, 86401000);
    marks_note(&marks, 86402, 86402000);
    cr_expect(marks_age_ms(&marks, 86401, 86403000) == 1000);
}

Test(marks, bears_a_clock_that_goes_back)
{
    struct marks marks = {0};
    marks_note(&marks, 1, 5000);
    marks_note(&marks, 2, 1000);
    cr_expect(marks_age_ms(&marks, 0, 1000) == 0);
    cr_expect(marks_age_ms(&marks, 1, 3000) == 2000);
}
