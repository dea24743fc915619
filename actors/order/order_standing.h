/* SPDX-License-Identifier: MPL-2.0 */
/* Orders whose saga stands still: told by a metric and a line of the log, whatever the reason is that nobody looks after them. */
#ifndef LARDER_ORDER_STANDING_H
#define LARDER_ORDER_STANDING_H

#include "kit/telemetry/metrics.h"
#include "order_store.h"

struct order_standing {
    int64_t patience_ms;
    struct metric *standing;

    /* of the round under way */
    struct id looked_to;
    int64_t now_ms;
    int64_t seen;
    int64_t found;
    struct order_open oldest;
};

void
order_standing_init(struct order_standing *standing, int64_t patience_ms);

/* Each second: looks at some more of the sagas that have not ended, and tells after the last of them. */
MUST_CHECK err
order_standing_look(struct order_standing *standing, struct order_store *store, int64_t now_ms);

#endif
