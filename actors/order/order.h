/* SPDX-License-Identifier: MPL-2.0 */
/* The actor of orders and their saga. */
#ifndef LARDER_ORDER_H
#define LARDER_ORDER_H

#include "kit/actor.h"
#include "kit/db/db.h"
#include "err.h"
#include "kit/verify.h"

extern const struct actor_class order_class;

/* Proves the actor's own database. `db` is best a read-only snapshot. Faults are counted in the report; an error is one of the
 * database. */
MUST_CHECK err
order_verify(struct db *db, struct verify_report *report);

#endif
