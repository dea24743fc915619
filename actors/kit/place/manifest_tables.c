/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE   The manifest of a server's database, which several processes share: the tables larder_installation, of one row, and
 *           larder_member.
 *
 * STATE     Both are written in one transaction. Who changes them holds GET_LOCK('larder:installation') on a connection of its own,
 *           whose end gives it back, as processes and the actors of one process start side by side. The lock is the whole server's:
 *           two shops there wait for each other for milliseconds, at a start.
 *
 * FAILURES  As those of the database. Who may not CREATE can start as soon as the tables are there.
 */
#include "manifest_store.h"

#include <stdio.h>

#include "kit/base/clock.h"

#define LOCK_WAIT_S 2 /* an answer has to come within five */

static err
fail(struct db *db, err code, const char *what, struct err_text *why)
{
    return err_say(why, code, "the table larder_installation, which says whose the tables here are, cannot be %s: %.120s", what,
                   db_error(db));
}

static err
lock(struct db *db, struct err_text *why)
{
    struct db_statement *get = db_statement(db, "SELECT GET_LOCK('larder:installation', ?)");
    int64_t until_us = clock_steady_us() + MANIFEST_LOCK_MS * INT64_C(1000);
    do {
        db_bind_i64(get, LOCK_WAIT_S);
        err code = db_query(get);
        if (code != ERR_ok) {
            return fail(db, code, "locked", why);
        }
        bool is_ours = db_next(get) && db_i64(get, 0) == 1;
        db_done(get);
        db_rollback(db);
        if (is_ours) {
            return ERR_ok;
        }
    } while (clock_steady_us() < until_us);
    return err_say(why, ERR_db_busy, "another starter holds the lock larder:installation of the server");
}

static err
read_members(struct db *db, struct manifest *manifest, struct err_text *why)
{
    struct db_statement *read = db_statement(db, "SELECT actor, shard, shards, state FROM $member ORDER BY actor, shard");
    err code = db_query(read);
    while (code == ERR_ok && db_next(read)) {
        char actor[MANIFEST_ACTOR_MAX + 1];
        enum manifest_state state = MANIFEST_MADE;
        struct slice name = db_bytes(read, 0);
        snprintf(actor, sizeof actor, "%.*s", (int)name.size, (const char *)name.data);
        code = manifest_state_parse(db_bytes(read, 3), &state, why);
        if (code == ERR_ok && manifest_add(manifest, actor, (int)db_i64(read, 1), (int)db_i64(read, 2), state) == NULL) {
            code = err_say(why, ERR_wrong_setting, "the table larder_member has more than %d rows", MANIFEST_ENTRIES_MAX);
        }
    }
    db_done(read);
    return code == ERR_ok || code == ERR_wrong_setting ? code : fail(db, code, "read", why);
}

err
manifest_tables_read(struct db *db, struct manifest *manifest, bool *is_there, struct err_text *why)
{
    struct db_statement *read = db_statement(db, "SELECT version, id, begun, adopted FROM $installation WHERE one = 1");
    int64_t version = MANIFEST_VERSION;
    *manifest = (struct manifest){0};
    err code = db_query(read);
    *is_there = code == ERR_ok && db_next(read);
    if (*is_there) {
        version = db_i64(read, 0);
        manifest->installation =
            (struct manifest_owner){.id = db_id(read, 1), .begun_ms = db_i64(read, 2), .is_adopted = db_i64(read, 3) != 0};
        db_done(read);
    }
    if (code == ERR_db_bug) { /* there is no such table */
        db_rollback(db);
        return ERR_ok;
    }
    code = code == ERR_ok ? ERR_ok : fail(db, code, "read", why);
    if (code == ERR_ok && version != MANIFEST_VERSION) {
        code = err_say(why, ERR_wrong_setting,
                       "the table larder_installation is of version %lld; this build knows %d: run a later larder", (long long)version,
                       MANIFEST_VERSION);
    }
    if (code == ERR_ok && *is_there) {
        code = read_members(db, manifest, why);
    }
    db_rollback(db);
    return code;
}

err
manifest_tables_open(struct manifest_store *store, struct manifest *manifest, bool *is_there, struct err_text *why)
{
    err code = db_open(&store->config, &store->db, why);
    if (code == ERR_ok) {
        code = lock(store->db, why);
    }
    if (code == ERR_ok) {
        code = manifest_tables_read(store->db, manifest, is_there, why);
    }
    if (code != ERR_ok) {
        manifest_store_close(store);
    }
    return code;
}

static err
make_tables(struct db *db, struct err_text *why)
{
    static const char *const tables[] = {
        "CREATE TABLE IF NOT EXISTS $installation (one {I64} NOT NULL PRIMARY KEY, version {I64} NOT NULL, id {BYTES 16} NOT NULL,"
        " begun {I64} NOT NULL, adopted {I64} NOT NULL) {TABLE_END}",
        "CREATE TABLE IF NOT EXISTS $member (actor {NAME 32} NOT NULL, shard {I64} NOT NULL, shards {I64} NOT NULL,"
        " state {NAME 16} NOT NULL, PRIMARY KEY (actor, shard)) {KEYED_TABLE_END}"};
    struct db_statement *look = db_statement(db, "SELECT COUNT(*) FROM $member");
    err code = db_query(look);
    db_done(look);
    db_rollback(db);
    if (code != ERR_db_bug) { /* there is no such table */
        return code == ERR_ok ? ERR_ok : fail(db, code, "read", why);
    }
    code = ERR_ok;
    for (size_t i = 0; code == ERR_ok && i < sizeof tables / sizeof tables[0]; i++) {
        code = db_run(db_statement(db, tables[i]), NULL);
    }
    code = code == ERR_ok ? db_commit(db) : code;
    if (code != ERR_ok) {
        (void)err_say(why, code,
                      "the database lacks the tables larder_installation and larder_member, and they cannot be made: %.90s; "
                      "`larder migrate`, as one who may, makes them",
                      db_error(db));
    }
    return code;
}

static err
put_rows(struct db *db, const struct manifest *manifest)
{
    struct db_statement *put =
        db_statement(db, "REPLACE INTO $installation (one, version, id, begun, adopted) VALUES (1, ?, ?, ?, ?)");
    db_bind_i64(put, MANIFEST_VERSION);
    db_bind_id(put, &manifest->installation.id);
    db_bind_i64(put, manifest->installation.begun_ms);
    db_bind_i64(put, manifest->installation.is_adopted ? 1 : 0);
    err code = db_queue(put, DB_ANY_ROWS);
    struct db_rows *members = db_rows(db, "REPLACE INTO $member (actor, shard, shards, state)", 4);
    for (size_t i = 0; code == ERR_ok && i < manifest->count; i++) {
        const struct manifest_entry *entry = &manifest->entries[i];
        db_rows_text(members, slice_of(entry->actor));
        db_rows_i64(members, entry->shard);
        db_rows_i64(members, entry->of);
        db_rows_text(members, slice_of(manifest_state_name(entry->state)));
    }
    code = code == ERR_ok ? db_rows_queue(members) : code;
    return code == ERR_ok ? db_commit(db) : code;
}

err
manifest_tables_save(struct manifest_store *store, const struct manifest *manifest, struct err_text *why)
{
    err code = make_tables(store->db, why);
    if (code == ERR_ok) {
        code = put_rows(store->db, manifest);
        code = code == ERR_ok ? ERR_ok : fail(store->db, code, "written", why);
    }
    db_rollback(store->db);
    return code;
}
