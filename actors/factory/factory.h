/* SPDX-License-Identifier: MPL-2.0 */
/* The actor that refills shelves, by itself or by an outside factory. */
#ifndef LARDER_FACTORY_H
#define LARDER_FACTORY_H

#include "kit/actor.h"
#include "kit/db/db.h"
#include "err.h"
#include "kit/verify.h"

extern const struct actor_class factory_class;

/* Proves the factory's own database: at most one open production per product, shelves that agree with it, a due row behind every open
 * production. `db` is best a read-only snapshot. Faults are counted in the report; an error is one of the database. */
MUST_CHECK err
factory_verify(struct db *db, struct verify_report *report);

#endif
