/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE
 *   `larder migrate`: brings the databases of a place up to date, and does nothing else. Whoever runs it needs the right to make
 *   tables; a start then finds nothing to do and needs none.
 *
 * STATE
 *   The schemas and whose each database is: no shard is taken, no row of an actor is written. On SQLite the folder is locked as by
 *   `larder run`, on a server each database by itself as at a start, so that it may be done while the shop is open.
 *
 * FAILURES
 *   The first database that cannot be brought up to date ends it with its sentence; those before it are done. Again is always right.
 *
 * LIMITS
 *   What the settings name: with other numbers of shards than the shop's it makes or misses databases, as a start would.
 */
#include "command/command_table.h"

#include <stdio.h>

#include "kit/place/actor_database.h"
#include "kit/place/actor_schema.h"
#include "command/run/command_process.h"
#include "kit/db/db.h"

static void
print_done(const struct hosted *hosted, const struct db_schema *before)
{
    const char *name = hosted->class->name;
    if (before->missing == 0) {
        printf("%s/%d: nothing to do\n", name, hosted->shard);
    } else if (before->is_there) {
        printf("%s/%d: done: step%s %s\n", name, hosted->shard, before->missing == 1 ? "" : "s", before->steps);
    } else {
        printf("%s/%d: made, %zu steps\n", name, hosted->shard, before->missing);
    }
    fflush(stdout);
}

static err
migrate_one(const struct settings *settings, const struct hosted *hosted, struct err_text *why)
{
    struct actor_database database;
    struct db_schema before;
    struct err_text reason = {""};
    err code = actor_database_open(hosted->class, settings, hosted->shard, &database, &reason);
    if (code == ERR_ok) {
        code = actor_schema_read(hosted->class, database.db, &before, &reason);
    }
    if (code == ERR_ok) {
        code = actor_database_migrate(hosted->class, &database, &reason);
    }
    db_close(&database.db);
    if (code != ERR_ok) {
        return err_say(why, code, "%s/%d: %s", hosted->class->name, hosted->shard, reason.text);
    }
    print_done(hosted, &before);
    return ERR_ok;
}

static err
migrate_all(const struct settings *settings, struct err_text *why)
{
    struct process process = {.settings = settings, .signal_fd = -1, .ended_fd = -1};
    err code = process_add_all(&process, why);
    if (code == ERR_ok) {
        code = process_prepare(&process, true, why);
    }
    for (size_t i = 0; code == ERR_ok && i < process.count; i++) {
        if (process.hosted[i].class->steps != NULL) {
            code = migrate_one(settings, &process.hosted[i], why);
        }
    }
    return code;
}

static enum exit_status
migrate_run(struct command_line *line)
{
    struct err_text why;
    err code = command_rest_checked(line, 0, 0, &why);
    if (code == ERR_ok) {
        code = migrate_all(&line->settings, &why);
    }
    return code == ERR_ok ? EXIT_DONE : command_complain(line, code, &why);
}

const struct command migrate_command = {
    .name = "migrate",
    .arguments = "[settings]",
    .summary = "bring the databases up to date, and nothing else",
    .help = "Does the steps of the schemas that the databases of all actors lack, which every start does as well, and prints a line\n"
            "for each database. For a shop whose own database user may not make tables: run this as one who may, before the new\n"
            "version starts. What is up to date stays as it is. A database of a later version that does not allow this one is\n"
            "refused by name.\n"
            "\n"
            "Exit status: 0 all are up to date, 1 one cannot be brought there, 2 a setting is wrong or a database belongs to a\n"
            "later version.\n",
    .has_settings = true,
    .run = migrate_run,
};
