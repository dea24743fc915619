/* SPDX-License-Identifier: MPL-2.0 */
/* What stock says of its holds and of productions, for whoever compares it with what others have of them. */
#ifndef LARDER_STOCK_VERIFY_H
#define LARDER_STOCK_VERIFY_H

#include "id.h"
#include "kit/db/db.h"

/* The holds whose ids are added. Columns: hold, product, quantity, state ("open", "committed", ...). */
struct db_in *
stock_select_holds(struct db *db);

/* The productions whose ids are added, and up to `most` behind an id, rising. Columns: production, product, quantity, state ("open",
 * "produced", "failed"). */
struct db_in *
stock_select_productions(struct db *db);
struct db_statement *
stock_select_productions_behind(struct db *db, const struct id *after, int64_t most);

#endif
