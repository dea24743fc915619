/* SPDX-License-Identifier: MPL-2.0 */
/* What is kept for others, when an installation is made of copies. */
#ifndef LARDER_DLQ_MEND_H
#define LARDER_DLQ_MEND_H

#include "id.h"
#include "kit/db/db.h"
#include "wire.h"

/* What is kept of a source gets its new incarnation. A client that is kept events for knows the old one, and is refused. Writes, and
 * does not commit. */
MUST_CHECK err
dlq_mend_source(struct db *db, struct slice source, const struct id *old, const struct id *renewed);

/* Up to where everything is kept for a subscriber that has applied no more than `most`; null: nothing is. */
struct db_statement *
dlq_select_copied(struct db *db, struct slice source, struct slice subscriber, int64_t most);

#endif
