/* SPDX-License-Identifier: MPL-2.0 */
/* What the factory says of its productions, for whoever compares it with what others have of them. */
#ifndef LARDER_FACTORY_VERIFY_H
#define LARDER_FACTORY_VERIFY_H

#include "id.h"
#include "kit/db/db.h"

/* The productions whose ids are added, and up to `most` behind the n-th, rising. Columns: id, product, quantity, status, n. */
struct db_in *
factory_select(struct db *db);
struct db_statement *
factory_select_behind(struct db *db, int64_t after, int64_t most);

#endif
