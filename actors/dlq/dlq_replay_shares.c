/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE   Counts what a replay would do, without doing any of it.
 *
 * STATE     None: the tally's counters, or the letters themselves, page by page.
 *
 * LIMITS    A filter on more than state, destination and reason reads every letter that it finds: the batch takes that long.
 */
#include "dlq_replay_shares.h"

#include <string.h>

static struct replay_share_sum *
share_of(struct replay_shares *shares, const char *destination, const char *reason)
{
    for (size_t i = 0; i < shares->count; i++) {
        if (strcmp(shares->sums[i].destination, destination) == 0 && strcmp(shares->sums[i].reason, reason) == 0) {
            return &shares->sums[i];
        }
    }
    if (shares->count == REPLAY_SHARES_MAX) {
        return NULL;
    }
    struct replay_share_sum *sum = &shares->sums[shares->count++];
    *sum = (struct replay_share_sum){.letters = 0};
    dlq_copy(sum->destination, sizeof sum->destination, slice_of(destination));
    dlq_copy(sum->reason, sizeof sum->reason, slice_of(reason));
    return sum;
}

static void
add(struct replay_shares *shares, struct replay_share_sum *sum, int64_t letters, int64_t units)
{
    shares->total += letters;
    if (sum != NULL) {
        sum->letters += letters;
        sum->units += units > 0 ? units : 0;
    }
}

static bool
is_told_by_tally(const struct letter_filter *filter)
{
    struct letter_filter told = {0};
    WIRE_SET(&told, letter_filter, state, filter->state);
    WIRE_SET(&told, letter_filter, destination, filter->destination);
    WIRE_SET(&told, letter_filter, reason, filter->reason);
    return (filter->has & ~told.has) == 0;
}

static void
count_by_tally(const struct dlq *dlq, const struct letter_filter *filter, struct replay_shares *shares)
{
    const struct dlq_count *count;
    for (size_t i = 0; (count = dlq_tally_get(dlq->tally, i)) != NULL; i++) {
        bool is_wanted =
            slice_equal(slice_of(dlq_state_name(count->state)), filter->state) &&
            (!WIRE_HAS(filter, letter_filter, destination) || slice_equal(slice_of(count->destination), filter->destination)) &&
            (!WIRE_HAS(filter, letter_filter, reason) || slice_equal(slice_of(count->reason), filter->reason));
        if (is_wanted) {
            add(shares, share_of(shares, count->destination, count->reason), count->letters, count->units);
        }
    }
}

err
replay_shares_count(struct dlq *dlq, const struct batch *batch, const struct letter_filter *filter, struct replay_shares *shares)
{
    if (is_told_by_tally(filter)) {
        count_by_tally(dlq, filter, shares);
        return ERR_ok;
    }
    int64_t after = 0;
    for (int64_t count = DLQ_SELECT_MAX; count == DLQ_SELECT_MAX;) {
        struct db_statement *rows = NULL;
        struct dlq_letter letter;
        struct err_text why = {""};
        err code = dlq_store_select(&dlq->store, filter, batch->now_ms, after, dlq->store.last_n, DLQ_SELECT_MAX, &rows, &why);
        if (code != ERR_ok) {
            return code;
        }
        for (count = 0; dlq_store_next(rows, &letter); count++) {
            add(shares, share_of(shares, letter.destination, letter.reason), 1, letter.units);
            after = letter.n;
        }
    }
    return ERR_ok;
}

struct wire_list
replay_shares_list(const struct replay_shares *shares, struct wire_buffer *buffer)
{
    struct wire_list list = {0};
    buffer->size = 0;
    for (size_t i = 0; i < shares->count; i++) {
        const struct replay_share_sum *sum = &shares->sums[i];
        struct replay_share share = {0};
        WIRE_SET(&share, replay_share, destination, slice_of(sum->destination));
        WIRE_SET(&share, replay_share, reason, slice_of(sum->reason));
        WIRE_SET(&share, replay_share, letters, sum->letters);
        WIRE_SET(&share, replay_share, units, sum->units);
        wire_list_add(&list, &replay_share_body, &share, buffer);
    }
    wire_list_end(&list, buffer);
    return list;
}
