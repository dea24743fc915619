/* SPDX-License-Identifier: MPL-2.0 */
/* The stock actor: levels, holds and the ledger of a shard. */
#ifndef LARDER_STOCK_H
#define LARDER_STOCK_H

#include "kit/actor.h"
#include "kit/verify.h"

extern const struct actor_class stock_class;

/* Proves that levels, holds, productions and ledger of one shard agree. `db` is a read-only snapshot of its database. Each product
 * that does not add up is named once with both figures. ERR_ok: it was read to the end, whatever was found. */
MUST_CHECK err
stock_verify(struct db *db, struct verify_report *report);

#endif
