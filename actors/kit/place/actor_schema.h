/* SPDX-License-Identifier: MPL-2.0 */
/* The schema of an actor's database: the kit's steps and its own, as one list, so that a database which has both is read once. */
#ifndef LARDER_KIT_ACTOR_SCHEMA_H
#define LARDER_KIT_ACTOR_SCHEMA_H

#include "kit/base/actor_class.h"
#include "kit/db/db.h"

/* Brings the database of a class up to date; see db_migrate(). */
MUST_CHECK err
actor_schema_migrate(const struct actor_class *class, struct db *db, struct err_text *why);

/* Only reads what is missing; see db_schema_read(). */
MUST_CHECK err
actor_schema_read(const struct actor_class *class, struct db *db, struct db_schema *schema, struct err_text *why);

#endif
