/* SPDX-License-Identifier: MPL-2.0 */
/* Time, fakeable by tests. */
#ifndef LARDER_KIT_CLOCK_H
#define LARDER_KIT_CLOCK_H

#include <stdint.h>

/* UTC milliseconds since 1970, for what is stored or sent. */
int64_t
clock_utc_ms(void);

/* Microseconds that never go back, for measuring and waiting. */
int64_t
clock_steady_us(void);

/* Somebody who looks at the clock again and again, and would notice that it was set. Plain values; one thread. */
struct clock_watch {
    int64_t apart_ms; /* UTC less the time since the machine started, as it was; followed when it drifts */
    int64_t seen_ms;  /* the latter, when it was looked at */
};

/* The wall clock and that of the machine may drift apart by so much between two looks before it is called a step. */
#define CLOCK_TOLERANCE_MS 5000

void
clock_watch_init(struct clock_watch *watch);

/* UTC now. `by_ms`: how far the wall clock was set since the last look, forward or (negative) back; 0: it was not. */
int64_t
clock_watch_look(struct clock_watch *watch, int64_t *by_ms);

/* Tests: both clocks stand still at these values until clock_fake_advance_ms() or clock_real(). Not for use beside threads. */
void
clock_fake(int64_t utc_ms);
void
clock_fake_advance_ms(int64_t by_ms);
/* Somebody sets the wall clock: the steady one does not notice. */
void
clock_fake_set_ms(int64_t utc_ms);
void
clock_real(void);

#endif
