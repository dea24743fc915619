/* SPDX-License-Identifier: MPL-2.0 */
/* The dlq: where what was not delivered or not processed lives, explained, until somebody has dealt with it. */
#ifndef LARDER_DLQ_H
#define LARDER_DLQ_H

#include "kit/actor.h"
#include "kit/db/db.h"
#include "kit/verify.h"

extern const struct actor_class dlq_class;

/* Proves the dlq's own rows in one snapshot: counters against letters, frames and hosted events without a gap. */
MUST_CHECK err
dlq_verify(struct db *db, struct verify_report *report);

#endif
