/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE
 *   The two clocks of the system, how one notices that the wall clock was set, and their standing still for tests.
 *
 *   What is stored or sent is UTC (CLOCK_REALTIME); what is measured or waited for is steady (CLOCK_MONOTONIC), which does not
 *   jump when somebody sets the time. That it was set shows in the wall clock against CLOCK_BOOTTIME, which counts a machine's
 *   sleep as well; what is done about it is retime.h's.
 *
 * STATE
 *   Whether the clocks are faked, and their value then. Plain variables: tests set them before they start any thread.
 *
 * FAILURES
 *   None: both clocks are there on every Linux.
 *
 * LIMITS
 *   While faked, the steady clock counts from 0 at clock_fake().
 */
#include "clock.h"

#include <stdbool.h>
#include <time.h>

static bool is_fake;
static int64_t fake_utc_ms;
static int64_t fake_steady_us;

int64_t
clock_utc_ms(void)
{
    if (is_fake) {
        return fake_utc_ms;
    }
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

int64_t
clock_steady_us(void)
{
    if (is_fake) {
        return fake_steady_us;
    }
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

/* Since the machine started, the time that it slept included: after a night's sleep the wall clock has not been set. */
static int64_t
machine_ms(void)
{
    if (is_fake) {
        return fake_steady_us / 1000;
    }
    struct timespec now;
    clock_gettime(CLOCK_BOOTTIME, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

void
clock_watch_init(struct clock_watch *watch)
{
    watch->seen_ms = machine_ms();
    watch->apart_ms = clock_utc_ms() - watch->seen_ms;
}

int64_t
clock_watch_look(struct clock_watch *watch, int64_t *by_ms)
{
    int64_t machine = machine_ms();
    int64_t now_ms = clock_utc_ms();
    int64_t passed_ms = machine - watch->seen_ms;
    int64_t drift_ms = now_ms - machine - watch->apart_ms;
    bool is_set = drift_ms > CLOCK_TOLERANCE_MS || drift_ms < -CLOCK_TOLERANCE_MS;
    *by_ms = is_set ? drift_ms : 0;
    if (!is_set) { /* a clock that is slewed goes wrong by a tenth at the most; small steps add up */
        int64_t most_ms = passed_ms / 10;
        drift_ms = drift_ms > most_ms ? most_ms : drift_ms;
        drift_ms = drift_ms < -most_ms ? -most_ms : drift_ms;
    }
    watch->apart_ms += drift_ms;
    watch->seen_ms = passed_ms >= 10 || is_set ? machine : watch->seen_ms; /* less than that slews by nothing */
    return now_ms;
}

void
clock_fake(int64_t utc_ms)
{
    is_fake = true;
    fake_utc_ms = utc_ms;
    fake_steady_us = 0;
}

void
clock_fake_advance_ms(int64_t by_ms)
{
    fake_utc_ms += by_ms;
    fake_steady_us += by_ms * 1000;
}

void
clock_fake_set_ms(int64_t utc_ms)
{
    fake_utc_ms = utc_ms;
}

void
clock_real(void)
{
    is_fake = false;
}
