/* SPDX-License-Identifier: MPL-2.0 */
/* Delivering a request that was handed over. */
#ifndef LARDER_DLQ_DELIVERY_H
#define LARDER_DLQ_DELIVERY_H

#include "dlq/dlq_state.h"

/* How long after its deadline an answer is taken for lost. */
enum { DLQ_GUARD_MS = 1000 };

/* When it is delivered next. */
void
dlq_delivery_set_due(struct batch *batch, const struct dlq_letter *letter, int64_t due_ms);

/* Delivers now, also one that is dead or stale; dlq_callers_delivered() follows. */
MUST_CHECK err
dlq_delivery_send(struct dlq *dlq, struct batch *batch, const struct dlq_letter *letter);

#endif
