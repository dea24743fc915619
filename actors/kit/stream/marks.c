/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE   A few samples (seq, time) of a stream's end, to say how old the event behind any position is at least. One mark per
 *           subscriber would not do: it starts anew whenever the position passes it, so that a subscriber that is always ten seconds
 *           behind would seem level now and then.
 *
 * FAILURES  A clock that goes back makes ages smaller, never negative.
 *
 * LIMITS    MARKS_MAX samples. When they are full every second one goes and the pause between two doubles: a day is known to
 *           within an hour, a minute to within two seconds.
 */
#include "marks.h"

enum { PAUSE_LEAST_MS = 20 };

static void
thin_out(struct marks *marks)
{
    size_t kept = 0;
    for (size_t i = 0; i < marks->count; i += 2) {
        marks->marks[kept++] = marks->marks[i];
    }
    marks->count = kept;
    marks->pause_ms *= 2;
}

void
marks_note(struct marks *marks, int64_t seq, int64_t now_ms)
{
    const struct mark *last = marks->count == 0 ? NULL : &marks->marks[marks->count - 1];
    if (last == NULL) {
        marks->pause_ms = PAUSE_LEAST_MS;
    } else if (seq <= last->seq || (now_ms >= last->time_ms && now_ms - last->time_ms < marks->pause_ms)) {
        return;
    }
    if (marks->count == MARKS_MAX) {
        thin_out(marks);
    }
    marks->marks[marks->count++] = (struct mark){.seq = seq, .time_ms = now_ms};
}

void
marks_forget(struct marks *marks, int64_t position)
{
    size_t gone = 0;
    while (gone < marks->count && marks->marks[gone].seq <= position) {
        gone++;
    }
    for (size_t i = gone; gone > 0 && i < marks->count; i++) {
        marks->marks[i - gone] = marks->marks[i];
    }
    marks->count -= gone;
}

int64_t
marks_age_ms(const struct marks *marks, int64_t position, int64_t now_ms)
{
    for (size_t i = 0; i < marks->count; i++) {
        if (marks->marks[i].seq > position) {
            return now_ms > marks->marks[i].time_ms ? now_ms - marks->marks[i].time_ms : 0;
        }
    }
    return 0;
}
