/* SPDX-License-Identifier: MPL-2.0 */
/* The pause before something is tried again. */
#ifndef LARDER_KIT_BACKOFF_H
#define LARDER_KIT_BACKOFF_H

#include <stdint.h>

#define BACKOFF_MAX_MS 60000

/* The pause before the attempt number `attempts` + 1: `first_ms` doubled each time up to a minute, plus or minus a quarter. */
int64_t
backoff_ms(int64_t first_ms, int64_t attempts);

#endif
