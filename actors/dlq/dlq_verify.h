/* SPDX-License-Identifier: MPL-2.0 */
/* What the dlq says of its letters and of what it keeps for others, for whoever compares it with what those say. */
#ifndef LARDER_DLQ_VERIFY_H
#define LARDER_DLQ_VERIFY_H

#include "kit/db/db.h"
#include "wire.h"

/* How often an operator has given events for a destination that are about this another body. */
struct db_statement *
dlq_select_edits(struct db *db, struct slice destination, struct slice key);

/* A walk through the letters of a destination. Columns: n, id, kind, state, source, seq, owner and key of the row. */
extern const char dlq_walk_letters[];

/* The state of a letter. */
struct db_statement *
dlq_select_state(struct db *db, int64_t n);

/* How many letters are in a state. */
struct db_statement *
dlq_select_count(struct db *db, int state);

/* Of what is kept. Columns: source, subscriber, incarnation, is_client, position, copied, ended. */
struct db_statement *
dlq_select_hostings(struct db *db);

#endif
