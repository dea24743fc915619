/* SPDX-License-Identifier: MPL-2.0 */
/* PURPOSE  See backoff.h. The quarter keeps those that failed together from coming together again. */
#include "backoff.h"

#include "id.h"

int64_t
backoff_doubled_ms(int64_t first_ms, int64_t most_ms, int64_t attempts)
{
    int64_t pause_ms = first_ms;
    for (int64_t i = 1; i < attempts && pause_ms < most_ms; i++) {
        pause_ms *= 2;
    }
    return pause_ms < most_ms ? pause_ms : most_ms;
}

int64_t
backoff_spread_ms(int64_t pause_ms)
{
    int64_t quarter = pause_ms / 4;
    struct id random = id_new();
    return pause_ms - quarter + (quarter == 0 ? 0 : (int64_t)(id_hash(&random) % (uint64_t)(2 * quarter + 1)));
}

int64_t
backoff_ms(int64_t first_ms, int64_t attempts)
{
    return backoff_spread_ms(backoff_doubled_ms(first_ms, BACKOFF_MAX_MS, attempts));
}
