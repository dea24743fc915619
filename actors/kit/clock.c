/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE
 *   The two clocks of the system, and their standing still for tests.
 *
 *   What is stored or sent is UTC (CLOCK_REALTIME); what is measured or waited for is steady (CLOCK_MONOTONIC), which does not
 *   jump when somebody sets the time.
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
clock_real(void)
{
    is_fake = false;
}
