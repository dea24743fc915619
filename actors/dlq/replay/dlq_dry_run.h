/* SPDX-License-Identifier: MPL-2.0 */
/* What a replay would do: how many letters a filter finds, by destination and reason. */
#ifndef LARDER_DLQ_DRY_RUN_H
#define LARDER_DLQ_DRY_RUN_H

#include "dlq_replay_store.h"
#include "dlq/dlq_state.h"

struct dry_runs;

struct dry_runs *
dry_runs_create(void);
void
dry_runs_destroy(struct dry_runs **runs);

/* Answers the request: at once from the counters when the filter asks for nothing else than they tell, later otherwise. `row` is the
 * replay that it would be, its filter a valid one with a state. */
void
dry_runs_begin(struct dlq *dlq, struct dry_runs *runs, struct batch *batch, struct item *item, const struct replay_row *row);

/* Once in each batch: counts on for some milliseconds. */
MUST_CHECK err
dry_runs_advance(struct dlq *dlq, struct dry_runs *runs, struct batch *batch);

/* Whether there is anything to count. */
bool
dry_runs_are_waiting(const struct dry_runs *runs);

void
dry_runs_committed(struct dry_runs *runs);
void
dry_runs_dropped(struct dry_runs *runs);

#endif
