/* SPDX-License-Identifier: MPL-2.0 */
/* Whose a database is: it says so itself, in its table $identity. */
#ifndef LARDER_KIT_IDENTITY_H
#define LARDER_KIT_IDENTITY_H

#include "kit/db/db.h"
#include "err.h"
#include "manifest.h"

struct identity {
    struct id installation;
    char actor[MANIFEST_ACTOR_MAX + 1];
    int shard;
};

/* Before the schema is touched: whether this is the database that the ticket was given for. ERR_wrong_setting, with a sentence, for
 * that of another actor, shard or installation, and for one that has lost what it must have. `own` are the actor's own steps. */
MUST_CHECK err
identity_check(struct db *db, const struct manifest_ticket *ticket, const struct db_step *own, size_t count, struct err_text *why);

/* With the schema applied: writes it down when it is not there yet. */
MUST_CHECK err
identity_put(struct db *db, const struct manifest_ticket *ticket, struct err_text *why);

/* `is_there` false: the database has none, which is no failure. */
MUST_CHECK err
identity_read(struct db *db, struct identity *identity, bool *is_there);

/* The number of rows of a query that counts; -1: there is no such table. Ends the transaction. */
MUST_CHECK err
identity_count(struct db *db, const char *sql, int64_t *count);

#endif
