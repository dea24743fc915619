/* SPDX-License-Identifier: MPL-2.0 */
/* The actor of charges and refunds. */
#ifndef LARDER_PAYMENT_H
#define LARDER_PAYMENT_H

#include "kit/actor.h"
#include "kit/db/db.h"
#include "err.h"
#include "kit/verify.h"

extern const struct actor_class payment_class;

/* Proves the actor's own database. `db` is best a read-only snapshot. Faults are counted in the report; an error is one of the
 * database. */
MUST_CHECK err
payment_verify(struct db *db, struct verify_report *report);

#endif
