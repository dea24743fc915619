/* SPDX-License-Identifier: MPL-2.0 */
/* What a replay would do: how many letters a filter finds, by destination and reason. */
#ifndef LARDER_DLQ_REPLAY_SHARES_H
#define LARDER_DLQ_REPLAY_SHARES_H

#include "dlq_state.h"

#define REPLAY_SHARES_MAX 100

struct replay_share_sum {
    char destination[DLQ_TEXT_SIZE];
    char reason[DLQ_TEXT_SIZE];
    int64_t letters;
    int64_t units;
};

/* Zero-initialise it. Letters of more than REPLAY_SHARES_MAX shares are in the total alone. */
struct replay_shares {
    int64_t total;
    size_t count;
    struct replay_share_sum sums[REPLAY_SHARES_MAX];
};

/* Reads from the counters when the filter asks for nothing else than they tell, from the letters otherwise. The filter is a valid one
 * and has a state. */
MUST_CHECK err
replay_shares_count(struct dlq *dlq, const struct batch *batch, const struct letter_filter *filter, struct replay_shares *shares);

/* The list of replay_share, encoded into the buffer. */
struct wire_list
replay_shares_list(const struct replay_shares *shares, struct wire_buffer *buffer);

#endif
