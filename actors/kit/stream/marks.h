/* SPDX-License-Identifier: MPL-2.0 */
/*
 * When a stream was how long: tells for how long at least the event behind a position has existed, without a time per event.
 *
 * A mark says that at this moment events up to this seq were there. The age of what lies behind a position is that of the first mark
 * beyond it: never more than the truth, and less by the pause between two marks at the most.
 */
#ifndef LARDER_KIT_MARKS_H
#define LARDER_KIT_MARKS_H

#include <stddef.h>
#include <stdint.h>

#define MARKS_MAX 64

struct mark {
    int64_t seq;
    int64_t time_ms;
};

/* Zero-initialise it. */
struct marks {
    struct mark marks[MARKS_MAX]; /* rising */
    size_t count;
    int64_t pause_ms; /* between two marks; grows when there is no room for more */
};

/* The stream ends at `seq` now. To be said now and then, also when it has not moved. */
void
marks_note(struct marks *marks, int64_t seq, int64_t now_ms);

/* Nobody will ask about positions below this one any more. */
void
marks_forget(struct marks *marks, int64_t position);

/* For how long at least there has been an event behind this position; 0 when none is known to be. */
int64_t
marks_age_ms(const struct marks *marks, int64_t position, int64_t now_ms);

#endif
