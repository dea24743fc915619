/* SPDX-License-Identifier: MPL-2.0 */
/*
 * The part of the database port that stands above its drivers: life, and the end of a transaction.
 *
 * PURPOSE   Picks the driver, and keeps what it needs not know, so that both behave alike. db_statement.c has statements and results,
 *           db_text.c makes the SQL, db_many.c many rows and keys, db_migrate.c the schema, db_config.c reads the URL.
 * FAILURES  Rows that were collected and never queued when a transaction commits are our own bug and assert.
 */
#include "db_driver.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kit/base/memory.h"
#include "kit/telemetry/beat.h"

/* --- life --- */

static err
check_config(const struct db_config *config, struct err_text *why)
{
    size_t size = strlen(config->prefix);
    if (size == 0 || strspn(config->prefix, "abcdefghijklmnopqrstuvwxyz_0123456789") != size) {
        return err_say(why, ERR_wrong_setting, "the prefix \"%s\" of the tables has to be made of a-z, 0-9 and _", config->prefix);
    }
    if (config->driver == DB_MYSQL && (config->name[0] == '\0' || strlen(config->name) > DB_NAME_MAX)) {
        return err_say(why, ERR_wrong_setting, "the name of the database has to have 1 to %d bytes", DB_NAME_MAX);
    }
    return ERR_ok;
}

err
db_open(const struct db_config *config, struct db **db, struct err_text *why)
{
    *db = NULL;
    err code = check_config(config, why);
    if (code != ERR_ok) {
        return code;
    }
    struct db *made = memory_new(1, sizeof *made);
    made->config = *config;
    made->slots = config->driver == DB_SQLITE ? &db_sqlite_slots : &db_mysql_slots;
    code = made->slots->open(made, false, why);
    if (code != ERR_ok) {
        free(made);
        return code;
    }
    *db = made;
    return ERR_ok;
}

static void
free_statements(struct db *db)
{
    while (db->statements != NULL) {
        struct db_statement *statement = db->statements;
        db->statements = statement->next;
        free(statement->text);
        free(statement->sql);
        free(statement->values);
        free(statement->result.cells);
        free(statement->result.bytes);
        free(statement);
    }
}

void
db_close(struct db **db)
{
    struct db *closing = *db;
    *db = NULL;
    if (closing == NULL) {
        return;
    }
    if (closing->link != NULL) {
        closing->slots->close(closing);
    }
    free_statements(closing);
    db_many_free(closing);
    free(closing);
}

/* Forgets everything that belonged to the transaction. */
static void
forget(struct db *db)
{
    for (struct db_statement *statement = db->statements; statement != NULL; statement = statement->next) {
        statement->value_count = 0;
    }
    db_many_forget(db);
    db->begun = false;
    db->writing = false;
    db->failure = ERR_ok;
}

err
db_reconnect(struct db *db, struct err_text *why)
{
    if (db->link != NULL) {
        db->slots->close(db);
    }
    forget(db);
    err code = db->slots->open(db, true, why);
    db->dead = code != ERR_ok;
    return code;
}

err
db_lock_folder(const char *folder, struct err_text *why)
{
    char path[600];
    if (mkdir(folder, 0750) != 0 && errno != EEXIST) {
        return err_say(why, ERR_wrong_setting, "the data folder %s cannot be made: %s", folder, strerror(errno));
    }
    int length = snprintf(path, sizeof path, "%s/lock", folder);
    if (length < 0 || (size_t)length >= sizeof path) {
        return err_say(why, ERR_wrong_setting, "the name of the data folder is too long");
    }
    int file = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0640);
    if (file < 0) {
        return err_say(why, ERR_wrong_setting, "the lock %s cannot be opened: %s", path, strerror(errno));
    }
    if (flock(file, LOCK_EX | LOCK_NB) != 0) {
        int reason = errno;
        close(file);
        return err_say(why, ERR_wrong_setting, "the data folder %s cannot be locked: %s", folder,
                       reason == EWOULDBLOCK ? "another process works in it" : strerror(reason));
    }
    return ERR_ok;
}

enum db_driver
db_driver(const struct db *db)
{
    return db->config.driver;
}

void
db_unprepare(struct db *db)
{
    if (db->link != NULL) {
        db->slots->unprepare(db);
    }
}

void
db_describe(const struct db *db, char *text, size_t size)
{
    if (db->config.driver == DB_SQLITE) {
        snprintf(text, size, "the file %s/%s.db", db->config.path, db->config.prefix);
    } else {
        snprintf(text, size, "the tables %s_... of the database %s", db->config.prefix, db->config.name);
    }
}

int64_t
db_connection(const struct db *db)
{
    return db->link == NULL ? 0 : db->slots->connection(db);
}

err
db_kill(struct db *db, int64_t connection)
{
    err code = db_settle(db);
    return code != ERR_ok ? code : db->slots->kill(db, connection);
}

err
db_check(struct db *db)
{
    err code = db_settle(db);
    return code != ERR_ok ? code : db->slots->check(db);
}

err
db_scrub(struct db *db, struct slice traces)
{
    err code = db_settle(db);
    return code != ERR_ok ? code : db->slots->scrub(db, traces);
}

err
db_copy_file(struct db *db, const char *path, struct err_text *why)
{
    assert(db->slots->copy != NULL && db->begun);
    return db->slots->copy(db, path, why);
}

/* --- transactions --- */

bool
db_is_writing(const struct db *db)
{
    return db->writing;
}

err
db_commit(struct db *db)
{
    assert((!db_many_waits(db) || db->failure != ERR_ok) && "rows were collected and never queued");
    err code = db_settle(db);
    if (code != ERR_ok || !db->writing) {
        return code;
    }
    beat_turn();
    code = db->slots->commit(db);
    if (code == ERR_ok) {
        db->writing = false;
        db->begun = false;
    }
    return code;
}

void
db_rollback(struct db *db)
{
    if (!db->dead) {
        db->slots->settle(db);
    }
    if (!db->dead) {
        db->slots->rollback(db);
    }
    forget(db);
}
