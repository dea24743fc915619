/* SPDX-License-Identifier: MPL-2.0 */
/* What is on the menu, for whoever compares it with copies of it. */
#ifndef LARDER_PRODUCT_VERIFY_H
#define LARDER_PRODUCT_VERIFY_H

#include "kit/db/db.h"
#include "wire.h"

/* Up to `most` products behind one, in their order, and those that are added. Columns: product, name, amount, currency, is_active,
 * version. */
struct db_statement *
product_select_behind(struct db *db, struct slice product, int64_t most);
struct db_in *
product_select(struct db *db);

#endif
