/* SPDX-License-Identifier: MPL-2.0 */
/*
 * The SQLite driver of the database port.
 *
 * PURPOSE   FOLDER/PREFIX.db, one file per actor and shard, written by one connection of one thread.
 * STATE     WAL, synchronous=FULL: a COMMIT that answered is on disk. secure_delete is off (Debian compiles it on: trimming an
 *           outbox would write zeros over it), but for a config that erases. No memory map: a read error of a mapped file would be
 *           a signal. The inode of the file is remembered at the first open, in db->file_*.
 * FAILURES  A failed fsync at COMMIT is ERR_db_unknown: the frames are in the file, and a crash before the next commit would
 *           bring them back. A full disk is ERR_db_full; SQLite has rolled back by then, and goes on when there is space again.
 *           A file that was removed or replaced is ERR_db_stale, also for a reconnect, which never makes a new one.
 * LIMITS    Neither the .db nor the -shm file may be opened by anybody else in this process: closing any descriptor of one drops
 *           SQLite's locks. Hence stat() by name here and a lock file of its own in db_lock_folder(). A writer waits two seconds
 *           for another one.
 */
#include "db_driver.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kit/base/memory.h"

#define WAL_RETRY_MS 10

struct link {
    sqlite3 *handle;
    sqlite3_stmt *begin;
    sqlite3_stmt *commit;
    sqlite3_stmt *rollback;
};

static struct link *
link_of(const struct db *db)
{
    return db->link;
}

static err
class_of(int code)
{
    switch (code & 0xff) {
    case SQLITE_CONSTRAINT:
        return code == SQLITE_CONSTRAINT_UNIQUE || code == SQLITE_CONSTRAINT_PRIMARYKEY || code == SQLITE_CONSTRAINT_ROWID
                   ? ERR_db_unique
                   : ERR_db_check;
    case SQLITE_MISMATCH:
    case SQLITE_TOOBIG:
        return ERR_db_check;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return ERR_db_busy;
    case SQLITE_FULL:
        return ERR_db_full;
    case SQLITE_READONLY:
        return code == SQLITE_READONLY_DBMOVED ? ERR_db_stale : ERR_db_readonly;
    case SQLITE_IOERR:
    case SQLITE_CANTOPEN:
    case SQLITE_PROTOCOL:
        return ERR_db_lost;
    case SQLITE_PERM:
    case SQLITE_AUTH:
        return ERR_db_denied;
    case SQLITE_NOMEM:
        abort();
    default:
        return ERR_db_bug;
    }
}

/* Records what the engine said last. */
static err
fail(struct db *db, int code)
{
    return db_fail(db, class_of(code), "SQLite %d: %s", code, sqlite3_errmsg(link_of(db)->handle));
}

static void
make_path(const struct db *db, char *path, size_t size)
{
    snprintf(path, size, "%s/%s.db", db->config.path, db->config.prefix);
}

static bool
is_same_file(const struct db *db, const struct stat *file)
{
    return (uint64_t)file->st_dev == db->file_device && (uint64_t)file->st_ino == db->file_number;
}

/* --- open and close --- */

static void
unprepare(struct db *db)
{
    for (struct db_statement *statement = db->statements; statement != NULL; statement = statement->next) {
        sqlite3_finalize(statement->handle);
        statement->handle = NULL;
    }
}

static void
sqlite_close(struct db *db)
{
    struct link *link = link_of(db);
    unprepare(db);
    sqlite3_finalize(link->begin);
    sqlite3_finalize(link->commit);
    sqlite3_finalize(link->rollback);
    int code = sqlite3_close(link->handle);
    assert(code == SQLITE_OK && "a statement was not finalized");
    (void)code;
    free(link);
    db->link = NULL;
}

/* Two connections that make a new file at once may be told "busy" without having waited. */
static int
enter_wal(sqlite3 *handle)
{
    int code = SQLITE_BUSY;
    for (int waited_ms = 0; waited_ms < DB_LOCK_WAIT_S * 1000 && (code & 0xff) == SQLITE_BUSY; waited_ms += WAL_RETRY_MS) {
        sqlite3_stmt *statement = NULL;
        code = sqlite3_prepare_v2(handle, "PRAGMA journal_mode=WAL", -1, &statement, NULL);
        if (code == SQLITE_OK) {
            code = sqlite3_step(statement);
        }
        if (code == SQLITE_ROW) {
            const char *mode = (const char *)sqlite3_column_text(statement, 0);
            code = mode != NULL && strcmp(mode, "wal") == 0 ? SQLITE_OK : SQLITE_CANTOPEN;
        }
        sqlite3_finalize(statement);
        if ((code & 0xff) == SQLITE_BUSY) {
            sqlite3_sleep(WAL_RETRY_MS);
        }
    }
    return code;
}

static int
set_up(struct db *db)
{
    struct link *link = link_of(db);
    bool writes = !db->config.read_only;
    int code = writes ? enter_wal(link->handle) : SQLITE_OK;
    if (code == SQLITE_OK) {
        /* A checkpoint runs inside a COMMIT: seldom, and of pages that many commits have changed, it costs each of them little. */
        code = sqlite3_exec(link->handle,
                            "PRAGMA synchronous=FULL; PRAGMA secure_delete=OFF; PRAGMA mmap_size=0;"
                            " PRAGMA wal_autocheckpoint=8000; PRAGMA cache_size=-16000",
                            NULL, NULL, NULL);
    }
    if (code == SQLITE_OK && db->config.erases) {
        code = sqlite3_exec(link->handle, "PRAGMA secure_delete=ON", NULL, NULL, NULL);
    }
    if (code == SQLITE_OK) {
        code = sqlite3_prepare_v2(link->handle, writes ? "BEGIN IMMEDIATE" : "BEGIN", -1, &link->begin, NULL);
    }
    if (code == SQLITE_OK) {
        code = sqlite3_prepare_v2(link->handle, "COMMIT", -1, &link->commit, NULL);
    }
    if (code == SQLITE_OK) {
        code = sqlite3_prepare_v2(link->handle, "ROLLBACK", -1, &link->rollback, NULL);
    }
    return code;
}

/* Remembers the file at the first open; afterwards it must be the same one. */
static err
identify(struct db *db, const char *path, bool again, struct err_text *why)
{
    struct stat file;
    if (stat(path, &file) != 0) {
        int reason = errno;
        return err_say(why, again ? ERR_db_stale : ERR_db_lost, "the database file %s cannot be found: %s", path, strerror(reason));
    }
    if (again && !is_same_file(db, &file)) {
        return err_say(why, ERR_db_stale, "the database file %s is not the one that was opened", path);
    }
    db->file_device = (uint64_t)file.st_dev;
    db->file_number = (uint64_t)file.st_ino;
    return ERR_ok;
}

/* Whoever has the file open has its log there as well: where none is, nobody writes, and all there is lies in the file itself. */
static bool
is_without_log(const char *path)
{
    char log[512 + DB_PREFIX_MAX + 16];
    struct stat file;
    snprintf(log, sizeof log, "%s-wal", path);
    return stat(path, &file) == 0 && stat(log, &file) != 0;
}

/* SQLite counts the memory that it has in use under a lock of the whole process, which actors that start side by side, and their
 * statements later, waited for. Nobody reads that count. */
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void
set_up_library(void)
{
    (void)sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
}

/* A log is read with an index beside it, which SQLite makes: not possible where nothing may be written. A file without a log can be
 * read as one that never changes. */
static int
connect_file(struct db *db, const char *path, int flags, bool never_changes)
{
    struct link *link = memory_new(1, sizeof *link);
    char uri[3 * (512 + DB_PREFIX_MAX + 8) + 32] = "file:";
    size_t size = strlen(uri);
    for (const char *at = path; *at != '\0' && size + 32 < sizeof uri; at++) {
        bool is_plain = strchr("?#%", *at) == NULL;
        size += (size_t)snprintf(uri + size, sizeof uri - size, is_plain ? "%c" : "%%%02X", is_plain ? *at : (unsigned char)*at);
    }
    snprintf(uri + size, sizeof uri - size, "?immutable=1");
    db->link = link;
    (void)pthread_once(&once, set_up_library);
    int result = sqlite3_open_v2(never_changes ? uri : path, &link->handle, never_changes ? flags | SQLITE_OPEN_URI : flags, NULL);
    if (result == SQLITE_OK) {
        sqlite3_busy_timeout(link->handle, DB_LOCK_WAIT_S * 1000);
        result = set_up(db);
    }
    if (result == SQLITE_OK && db->config.read_only) {
        result = sqlite3_exec(link->handle, "SELECT COUNT(*) FROM sqlite_master", NULL, NULL, NULL);
    }
    return result;
}

static err
say_why_not(const struct db *db, const char *path, int result, struct err_text *why)
{
    sqlite3 *handle = link_of(db)->handle;
    int reason = sqlite3_system_errno(handle);
    if (db->config.read_only && access(path, F_OK) == 0 && access(path, R_OK) != 0) {
        return err_say(why, ERR_db_denied, "the database file %s may not be read by this user", path);
    }
    if (db->config.read_only && access(path, R_OK) == 0 && access(db->config.path, W_OK) != 0 && (result & 0xff) != SQLITE_NOTADB) {
        return err_say(why, ERR_db_denied,
                       "the database file %s has a write-ahead log beside it, and SQLite reads that only where it may write: copy all"
                       " files of %s to a place of your own, or be its user",
                       path, db->config.path);
    }
    return err_say(why, class_of(result), "the database file %s cannot be opened: %s%s%s", path, sqlite3_errmsg(handle),
                   reason != 0 ? ", " : "", reason != 0 ? strerror(reason) : "");
}

static err
sqlite_open(struct db *db, bool again, struct err_text *why)
{
    char path[sizeof db->config.path + DB_PREFIX_MAX + 8];
    make_path(db, path, sizeof path);
    err code = again ? identify(db, path, true, why) : ERR_ok;
    if (code != ERR_ok) {
        return code;
    }
    int flags = SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE;
    if (db->config.read_only) {
        flags |= SQLITE_OPEN_READONLY;
    } else {
        bool may_make = !again && !db->config.must_exist;
        flags |= SQLITE_OPEN_READWRITE | (may_make ? SQLITE_OPEN_CREATE : 0);
        if (may_make) {
            (void)mkdir(db->config.path, 0750); /* when it fails, opening says why */
        }
    }
    int result = connect_file(db, path, flags, false);
    if (result != SQLITE_OK && db->config.read_only && is_without_log(path)) {
        sqlite_close(db);
        result = connect_file(db, path, flags, true);
    }
    if (result != SQLITE_OK) {
        code = say_why_not(db, path, result, why);
    } else {
        code = identify(db, path, again, why);
    }
    if (code != ERR_ok) {
        sqlite_close(db);
    }
    return code;
}

/* --- statements --- */

static int
step_once(sqlite3_stmt *statement)
{
    int code = sqlite3_step(statement);
    int final = sqlite3_reset(statement);
    return code == SQLITE_DONE || code == SQLITE_ROW ? SQLITE_OK : final;
}

static int
prepare(struct db_statement *statement)
{
    if (statement->handle != NULL) {
        return SQLITE_OK;
    }
    sqlite3_stmt *handle = NULL;
    int code = sqlite3_prepare_v3(link_of(statement->db)->handle, statement->sql, -1, SQLITE_PREPARE_PERSISTENT, &handle, NULL);
    statement->handle = handle;
    return code;
}

/* The values are borrowed and stay bound behind their time: nothing looks at them before all are bound anew, and to unbind them
 * costs as much as to bind them. */
static int
bind_values(struct db_statement *statement)
{
    sqlite3_stmt *handle = statement->handle;
    int code = SQLITE_OK;
    assert((size_t)sqlite3_bind_parameter_count(handle) == statement->value_count && "a statement was not given its values");
    for (size_t i = 0; i < statement->value_count && code == SQLITE_OK; i++) {
        const struct db_value *value = &statement->values[i];
        const char *data = (const char *)value->bytes.data;
        int index = (int)i + 1;
        switch (value->kind) {
        case DB_NULL:
            code = sqlite3_bind_null(handle, index);
            break;
        case DB_I64:
            code = sqlite3_bind_int64(handle, index, value->number);
            break;
        case DB_TEXT:
            code = sqlite3_bind_text64(handle, index, data, value->bytes.size, SQLITE_STATIC, SQLITE_UTF8);
            break;
        case DB_BYTES:
        case DB_ID:
            code = sqlite3_bind_blob64(handle, index, data, value->bytes.size, SQLITE_STATIC);
            break;
        }
    }
    return code;
}

static err
sqlite_begin(struct db *db)
{
    int code = step_once(link_of(db)->begin);
    return code == SQLITE_OK ? ERR_ok : fail(db, code);
}

static err
sqlite_queue(struct db_statement *statement, int64_t rows)
{
    struct db *db = statement->db;
    int code = prepare(statement);
    if (code == SQLITE_OK) {
        code = bind_values(statement);
    }
    if (code == SQLITE_OK) {
        code = step_once(statement->handle);
    }
    if (code != SQLITE_OK) {
        (void)fail(db, code);
    }
    return code == SQLITE_OK ? db_answered(statement, rows, sqlite3_changes64(link_of(db)->handle)) : db->failure;
}

static void
sqlite_settle(struct db *db)
{
    (void)db;
}

static void
copy_row(sqlite3_stmt *handle, struct db_result *result)
{
    for (int column = 0; column < result->columns; column++) {
        int type = sqlite3_column_type(handle, column);
        if (type == SQLITE_NULL) {
            db_result_null(result);
        } else if (type == SQLITE_INTEGER || type == SQLITE_FLOAT) {
            db_result_i64(result, sqlite3_column_int64(handle, column));
        } else {
            const void *bytes = sqlite3_column_blob(handle, column);
            size_t size = (size_t)sqlite3_column_bytes(handle, column);
            uint8_t *to = db_result_bytes(result, size);
            if (size > 0) {
                memcpy(to, bytes, size);
            }
        }
    }
}

static err
sqlite_query(struct db_statement *statement)
{
    struct db *db = statement->db;
    int code = prepare(statement);
    if (code == SQLITE_OK) {
        code = bind_values(statement);
    }
    if (code == SQLITE_OK) {
        statement->result.columns = sqlite3_column_count(statement->handle);
        while ((code = sqlite3_step(statement->handle)) == SQLITE_ROW) {
            copy_row(statement->handle, &statement->result);
        }
        code = code == SQLITE_DONE ? SQLITE_OK : code;
    }
    if (code != SQLITE_OK) {
        (void)fail(db, code);
    }
    sqlite3_reset(statement->handle);
    return code == SQLITE_OK ? ERR_ok : db->failure;
}

static err
sqlite_execute(struct db *db, const char *sql)
{
    int code = sqlite3_exec(link_of(db)->handle, sql, NULL, NULL, NULL);
    return code == SQLITE_OK ? ERR_ok : fail(db, code);
}

/* --- transactions --- */

static err
sqlite_commit(struct db *db)
{
    int code = step_once(link_of(db)->commit);
    if (code == SQLITE_OK) {
        return ERR_ok;
    }
    if ((code & 0xff) == SQLITE_IOERR) {
        return db_fail(db, ERR_db_unknown, "SQLite %d at COMMIT: %s", code, sqlite3_errmsg(link_of(db)->handle));
    }
    return fail(db, code);
}

static void
sqlite_rollback(struct db *db)
{
    struct link *link = link_of(db);
    if (sqlite3_get_autocommit(link->handle)) {
        return;
    }
    int code = step_once(link->rollback);
    if (code != SQLITE_OK) {
        (void)db_fail(db, ERR_db_lost, "SQLite %d at ROLLBACK: %s", code, sqlite3_errmsg(link->handle));
    }
}

static err
sqlite_migrate_begin(struct db *db, struct err_text *why)
{
    err code = sqlite_begin(db);
    return code == ERR_ok ? code : err_say(why, code, "the schema of %s cannot be locked: %s", db->config.prefix, db->error);
}

static err
sqlite_migrate_end(struct db *db, struct err_text *why)
{
    (void)db;
    (void)why;
    return ERR_ok;
}

/* A step is in the same transaction as its record: none is ever half done. */
static bool
sqlite_is_done(const struct db *db)
{
    (void)db;
    return false;
}

/* --- the rest --- */

static err
sqlite_check(struct db *db)
{
    char path[sizeof db->config.path + DB_PREFIX_MAX + 8];
    struct stat file;
    make_path(db, path, sizeof path);
    if (stat(path, &file) != 0) {
        int reason = errno;
        return db_fail(db, ERR_db_stale, "the database file %s cannot be found: %s", path, strerror(reason));
    }
    if (!is_same_file(db, &file)) {
        return db_fail(db, ERR_db_stale, "the database file %s is not the one that was opened", path);
    }
    return ERR_ok;
}

static bool
has_trace(const uint8_t *at, struct slice traces)
{
    for (size_t i = 0; i + DB_TRACE_SIZE <= traces.size; i += DB_TRACE_SIZE) {
        if (memcmp(at, traces.data + i, DB_TRACE_SIZE) == 0) {
            return true;
        }
    }
    return false;
}

/* Reads the file through SQLite's own descriptor, see LIMITS. */
static int
find_traces(sqlite3 *handle, struct slice traces, bool *found)
{
    enum { STEP = 256 * 1024 };
    uint8_t *bytes = memory_room(STEP + DB_TRACE_SIZE - 1); /* thread-local would take it from the stack of every thread */
    bool starts[1 << 16] = {false}; /* the first two bytes of each: nearly all places are passed by them alone */
    sqlite3_file *file = NULL;
    sqlite3_int64 size = 0;
    *found = false;
    for (size_t i = 0; i + DB_TRACE_SIZE <= traces.size; i += DB_TRACE_SIZE) {
        starts[traces.data[i] << 8 | traces.data[i + 1]] = true;
    }
    int code = sqlite3_file_control(handle, "main", SQLITE_FCNTL_FILE_POINTER, &file);
    if (code == SQLITE_OK) {
        code = file->pMethods->xFileSize(file, &size);
    }
    for (sqlite3_int64 at = 0; code == SQLITE_OK && at + DB_TRACE_SIZE <= size && !*found; at += STEP) {
        int count = size - at < STEP + DB_TRACE_SIZE - 1 ? (int)(size - at) : STEP + DB_TRACE_SIZE - 1;
        code = file->pMethods->xRead(file, bytes, count, at);
        for (int i = 0; code == SQLITE_OK && i + DB_TRACE_SIZE <= count && !*found; i++) {
            *found = starts[bytes[i] << 8 | bytes[i + 1]] && has_trace(bytes + i, traces);
        }
    }
    free(bytes);
    return code;
}

/* Nobody is waited for: a reader may take its time. */
static err
cut_log(sqlite3 *handle)
{
    int left = 0;
    sqlite3_busy_timeout(handle, 0);
    int code = sqlite3_wal_checkpoint_v2(handle, "main", SQLITE_CHECKPOINT_TRUNCATE, &left, NULL);
    sqlite3_busy_timeout(handle, DB_LOCK_WAIT_S * 1000);
    if (code != SQLITE_OK) {
        return class_of(code);
    }
    return left == 0 ? ERR_ok : ERR_db_busy;
}

/* secure_delete overwrites a row where it is, but not what a page that was laid out anew still holds of it in its gap (rebuildPage()
 * in SQLite's btree.c): about one row in 10,000 that have an index of random bytes. Then all pages are written anew. */
static err
sqlite_scrub(struct db *db, struct slice traces)
{
    sqlite3 *handle = link_of(db)->handle;
    bool found = false;
    err result = cut_log(handle);
    if (result != ERR_ok || traces.size == 0) {
        return result;
    }
    int code = find_traces(handle, traces, &found);
    if (code == SQLITE_OK && found) {
        code = sqlite3_exec(handle, "VACUUM", NULL, NULL, NULL);
        result = code == SQLITE_OK ? cut_log(handle) : ERR_ok;
    }
    return code == SQLITE_OK ? result : class_of(code);
}

static int
take_integrity(void *found, int columns, char **values, char **names)
{
    (void)names;
    struct err_text *first = found;
    if (first->text[0] == '\0' && columns > 0 && values[0] != NULL && strcmp(values[0], "ok") != 0) {
        (void)err_say(first, ERR_db_check, "%.300s", values[0]);
    }
    return 0;
}

/* Pages are copied as they are; the engine's check finds those that do not belong together. */
static int
copy_pages(sqlite3 *from, sqlite3 *to, struct err_text *torn)
{
    sqlite3_backup *backup = sqlite3_backup_init(to, "main", from, "main");
    if (backup == NULL) {
        return sqlite3_errcode(to);
    }
    int code = sqlite3_backup_step(backup, -1);
    int final = sqlite3_backup_finish(backup);
    code = code == SQLITE_DONE ? final : code;
    if (code == SQLITE_OK) {
        code = sqlite3_exec(to, "PRAGMA journal_mode=DELETE", NULL, NULL, NULL);
    }
    return code == SQLITE_OK ? sqlite3_exec(to, "PRAGMA integrity_check(1)", take_integrity, torn, NULL) : code;
}

static err
sqlite_copy(struct db *db, const char *path, struct err_text *why)
{
    sqlite3 *to = NULL;
    struct err_text torn = {""};
    int code =
        sqlite3_open_v2(path, &to, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE, NULL);
    if (code == SQLITE_OK) {
        code = copy_pages(link_of(db)->handle, to, &torn);
    }
    err result = code == SQLITE_OK ? ERR_ok : err_say(why, class_of(code), "%s cannot be written: %s", path, sqlite3_errmsg(to));
    sqlite3_close(to);
    if (torn.text[0] != '\0') {
        result = err_say(why, ERR_db_check, "the database is damaged: %s", torn.text);
    }
    return result;
}

static err
sqlite_kill(struct db *db, int64_t connection)
{
    (void)db;
    (void)connection;
    return ERR_ok;
}

static int64_t
sqlite_connection(const struct db *db)
{
    (void)db;
    return 0;
}

const struct db_slots db_sqlite_slots = {
    .rows_max = DB_CHUNK_MAX,
    .replaced_rows_max = 1, /* several rows in one REPLACE make it keep a journal of the statement: a third slower when spread */
    .ddl_transacts = true,
    .open = sqlite_open,
    .close = sqlite_close,
    .unprepare = unprepare,
    .begin = sqlite_begin,
    .queue = sqlite_queue,
    .settle = sqlite_settle,
    .query = sqlite_query,
    .execute = sqlite_execute,
    .commit = sqlite_commit,
    .rollback = sqlite_rollback,
    .migrate_begin = sqlite_migrate_begin,
    .migrate_end = sqlite_migrate_end,
    .is_done = sqlite_is_done,
    .check = sqlite_check,
    .scrub = sqlite_scrub,
    .copy = sqlite_copy,
    .kill = sqlite_kill,
    .connection = sqlite_connection,
};
