/* SPDX-License-Identifier: MPL-2.0 */
/* Whether a source has had other events than those that somebody has applied, by the databases of both. */
#ifndef LARDER_KIT_PAST_H
#define LARDER_KIT_PAST_H

#include "kit/db/db.h"

/* What a follower has: how far it is, and what the source's chain was there; zero: it does not know. */
struct past {
    int64_t position;
    struct id chain;
};

/* Compares with the event at that position, or the one behind it, as far as the source keeps them, and with its last one. Where
 * nothing can be compared the past is not another one. */
MUST_CHECK err
past_is_other(struct db *source, int shard, const struct past *past, bool *is_other);

#endif
