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

/* Tests: both clocks stand still at these values until clock_fake_advance_ms() or clock_real(). Not for use beside threads. */
void
clock_fake(int64_t utc_ms);
void
clock_fake_advance_ms(int64_t by_ms);
void
clock_real(void);

#endif
