/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE  Puts the kit's steps (kit_schema.c) before those of a class, for the port's migration (db_migrate.c).
 *
 * STATE    None: a list lives for one call.
 *
 * FAILURES Those of the migration, with its sentences. Out of memory aborts.
 *
 * LIMITS   A class without a database has no schema: do not ask.
 */
#include "actor_schema.h"

#include <stdlib.h>
#include <string.h>

#include "kit_schema.h"
#include "kit/base/memory.h"

static struct db_step *
list_steps(const struct actor_class *class, size_t *count)
{
    *count = kit_step_count + class->step_count;
    struct db_step *steps = memory_new(*count, sizeof *steps);
    memcpy(steps, kit_steps, kit_step_count * sizeof *steps);
    memcpy(steps + kit_step_count, class->steps, class->step_count * sizeof *steps);
    return steps;
}

err
actor_schema_migrate(const struct actor_class *class, struct db *db, struct err_text *why)
{
    size_t count;
    struct db_step *steps = list_steps(class, &count);
    err code = db_migrate(db, steps, count, why);
    free(steps);
    return code;
}

err
actor_schema_read(const struct actor_class *class, struct db *db, struct db_schema *schema, struct err_text *why)
{
    size_t count;
    struct db_step *steps = list_steps(class, &count);
    err code = db_schema_read(db, steps, count, schema, why);
    free(steps);
    return code;
}
