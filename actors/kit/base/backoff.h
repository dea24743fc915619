/* SPDX-License-Identifier: MPL-2.0 */
/* The pause before something is tried again. */
#ifndef LARDER_KIT_BACKOFF_H
#define LARDER_KIT_BACKOFF_H

#include <stdint.h>

#define BACKOFF_MAX_MS 60000

/* The pause before the attempt number `attempts` + 1: `first_ms`, which is not 0, doubled each time up to `most_ms`. */
int64_t
backoff_doubled_ms(int64_t first_ms, int64_t most_ms, int64_t attempts);

/* Plus or minus a quarter. */
int64_t
backoff_spread_ms(int64_t pause_ms);

/* The same up to a minute, plus or minus a quarter. */
int64_t
backoff_ms(int64_t first_ms, int64_t attempts);

#endif
