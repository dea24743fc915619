/* SPDX-License-Identifier: MPL-2.0 */
/* An actor's own database, and no other: opened for writing only by these. */
#ifndef LARDER_KIT_ACTOR_DATABASE_H
#define LARDER_KIT_ACTOR_DATABASE_H

#include "kit/base/actor_class.h"
#include "kit/db/db.h"
#include "manifest.h"

struct actor_database {
    struct db_config config;
    struct db *db; /* closed by whoever has the struct, also after a failure */
    struct manifest_ticket ticket;
};

/* Lists it, opens it, and makes sure that it is the one that is meant; see manifest_enter() and identity_check(). */
MUST_CHECK err
actor_database_open(const struct actor_class *class, const struct settings *settings, int shard, struct actor_database *database,
                    struct err_text *why);

/* Brings its schema up to date, and has it say whose it is. */
MUST_CHECK err
actor_database_migrate(const struct actor_class *class, struct actor_database *database, struct err_text *why);

#endif
