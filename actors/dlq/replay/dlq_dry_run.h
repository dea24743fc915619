/* SPDX-License-Identifier: MPL-2.0 */
/* What a replay would do: how many letters a filter finds, by destination and reason. */
#ifndef LARDER_DLQ_DRY_RUN_H
#define LARDER_DLQ_DRY_RUN_H

#include "dlq_replay_store.h"
#include "dlq/dlq_state.h"

/* Answers the request: at once from the counters when the filter asks for nothing else than they tell, later otherwise. `row` is the
 * replay that it would be, its filter a valid one with a state. */
void
dry_runs_begin(struct dlq *dlq, struct batch *batch, struct item *item, const struct replay_row *row);

#endif
