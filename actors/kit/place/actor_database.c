/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE  Opens the database of an actor as a start and `larder migrate` do: one that is missing is not made anew, and what lies
 *          in its place is not written to.
 *
 * STATE    None; manifest.c, identity.c and actor_schema.c have it.
 *
 * FAILURES Theirs, with their sentences.
 *
 * LIMITS   A file that is taken away between being looked for and being opened is not made anew either: SQLite is told so.
 */
#include "actor_database.h"

#include "actor_schema.h"
#include "identity.h"

err
actor_database_open(const struct actor_class *class, const struct settings *settings, int shard, struct actor_database *database,
                    struct err_text *why)
{
    *database = (struct actor_database){.db = NULL};
    err code = manifest_enter(settings, class->name, shard, &database->ticket, why);
    if (code == ERR_ok) {
        code = settings_db(settings, class->name, shard, &database->config, why);
    }
    if (code != ERR_ok) {
        return code;
    }
    database->config.erases = class->erases;
    database->config.must_exist = database->config.driver == DB_MYSQL || database->ticket.entry.state == MANIFEST_MADE;
    code = db_open(&database->config, &database->db, why);
    return code == ERR_ok ? identity_check(database->db, &database->ticket, class->steps, class->step_count, why) : code;
}

err
actor_database_migrate(const struct actor_class *class, struct actor_database *database, struct err_text *why)
{
    err code = actor_schema_migrate(class, database->db, why);
    if (code == ERR_ok) {
        code = identity_put(database->db, &database->ticket, why);
    }
    db_unprepare(database->db); /* none of these is run again */
    return code;
}
