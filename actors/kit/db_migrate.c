/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Migrations: the numbered steps of a schema, each applied once.
 *
 * PURPOSE   $schema_version(version, applied) holds one row per applied step; what is missing there is applied in order.
 * STATE     On SQLite all steps and their records are one transaction. On MySQL DDL commits by itself: every step is committed with
 *           its record, under GET_LOCK('larder:<prefix>'), on a connection that may wait longer than others.
 * FAILURES  The sentence names the step, the prefix and what the engine said. A step that an interrupted run had done on MySQL
 *           (the table, column or index is there) counts as done. The db is of no use after a failure: close it.
 * LIMITS    Versions ascend within a list; lists with different versions may be applied to one prefix. Steps are not taken back.
 */
#include "db_driver.h"

#include <assert.h>
#include <stdlib.h>
#include <time.h>

struct migration {
    struct db *db;
    const struct db_step *steps;
    size_t count;
    bool *is_applied; /* one per step */
    struct db_statement *read;
    struct db_statement *record;
};

/* Marks which of the steps are recorded, and tells whether all are. */
static err
read_versions(struct migration *migration, bool *all)
{
    *all = true;
    err code = db_query(migration->read);
    while (code == ERR_ok && db_next(migration->read)) {
        int64_t version = db_i64(migration->read, 0);
        for (size_t i = 0; i < migration->count; i++) {
            migration->is_applied[i] = migration->is_applied[i] || migration->steps[i].version == version;
        }
    }
    for (size_t i = 0; i < migration->count; i++) {
        *all = *all && migration->is_applied[i];
    }
    return code;
}

static err
apply_step(struct migration *migration, const struct db_step *step)
{
    struct db *db = migration->db;
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    char *sql = db_translate(&db->config, step->sql);
    err code = db->slots->execute(db, sql);
    free(sql);
    if (code != ERR_ok && !db->dead && db->slots->is_done(db)) {
        db->failure = ERR_ok;
        code = ERR_ok;
    }
    if (code == ERR_ok) {
        db_bind_i64(migration->record, step->version);
        db_bind_i64(migration->record, (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000);
        code = db_queue(migration->record, 1);
    }
    if (code == ERR_ok) {
        code = db->slots->ddl_transacts ? db_settle(db) : db_commit(db);
    }
    return code;
}

static err
apply_steps(struct migration *migration, struct err_text *why)
{
    struct db *db = migration->db;
    bool all = false;
    err code = db->slots->migrate_begin(db, why);
    if (code != ERR_ok) {
        return code;
    }
    db->begun = db->slots->ddl_transacts;
    db->writing = db->begun;
    code = read_versions(migration, &all);
    for (size_t i = 0; i < migration->count && code == ERR_ok; i++) {
        const struct db_step *step = &migration->steps[i];
        assert(i == 0 || step->version > migration->steps[i - 1].version);
        code = migration->is_applied[i] ? ERR_ok : apply_step(migration, step);
        if (code != ERR_ok) {
            return err_say(why, code, "step %d of the schema of %s failed: %s", step->version, db->config.prefix, db->error);
        }
    }
    if (code == ERR_ok) {
        code = db_commit(db);
    }
    if (code != ERR_ok) {
        return err_say(why, code, "the schema of %s cannot be made: %s", db->config.prefix, db->error);
    }
    return db->slots->migrate_end(db, why);
}

err
db_migrate(struct db *db, const struct db_step *steps, size_t count, struct err_text *why)
{
    struct migration migration = {.db = db, .steps = steps, .count = count};
    bool all = false;
    char *table = db_translate(&db->config, "CREATE TABLE IF NOT EXISTS $schema_version "
                                            "(version {I64} PRIMARY KEY, applied {I64} NOT NULL) {TABLE_END}");
    err code = db_settle(db);
    if (code == ERR_ok) {
        code = db->slots->execute(db, table);
    }
    free(table);
    migration.is_applied = db_allocate((count + 1) * sizeof *migration.is_applied);
    migration.read = db_statement(db, "SELECT version FROM $schema_version");
    migration.record = db_statement(db, "INSERT INTO $schema_version (version, applied) VALUES (?, ?)");
    if (code == ERR_ok) {
        code = read_versions(&migration, &all);
    }
    if (code != ERR_ok) {
        err_say(why, code, "the schema of %s cannot be read: %s", db->config.prefix, db->error);
    } else if (!all) {
        code = apply_steps(&migration, why);
    }
    free(migration.is_applied);
    db_rollback(db);
    return code;
}
