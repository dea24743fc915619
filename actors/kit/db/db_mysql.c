/* SPDX-License-Identifier: MPL-2.0 */
/*
 * The MySQL and MariaDB driver of the database port, on libmariadb or libmysqlclient.
 *
 * PURPOSE   One connection, writes sent without waiting for their answers where the library can (libmariadb 3.3: option
 *           SKIP_READ_RESPONSE on prepared statements), one trip each where it cannot. COMMIT is always a trip of its own.
 * STATE     autocommit is off: the first statement after a commit begins the transaction. `touched` tells that there may be one,
 *           also after a mere read. `sent` holds what was sent and not answered, oldest first.
 * FAILURES  A pipeline does not stop at an error: all answers are read, the first error is kept, and nothing is committed. A
 *           statement that failed by itself (1205) leaves its transaction open. After a read timeout the server may still work on the
 *           statement: the connection is given up. Texts that repeat a value (duplicate key, wrong string) lose that part.
 * LIMITS    64 statements on their way, and only statements with small answers, or both sides block on full buffers (a unix socket
 *           counts an answer of 11 bytes as nearly a kilobyte; 512 on their way did block). An answer takes at most 5 s (an hour
 *           while migrating).
 */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "db_mysql.h"
#include "kit/base/memory.h"

#define MIGRATION_TIMEOUT_S 3600U
#define MIGRATION_LOCK_S 60

enum {
    DUPLICATE_KEY = 1062,
    DUPLICATE_KEY_NAMED = 1586,
    UNKNOWN_THREAD = 1094,
    WRONG_STRING = 1366,
    WRONG_VALUE = 1292,
    TABLE_EXISTS = 1050,
    COLUMN_EXISTS = 1060,
    KEY_EXISTS = 1061,
    NOTHING_TO_DROP = 1091,
};

/* --- errors --- */

/* The part of the server's text that repeats no value. */
static const char *
without_values(unsigned number, const char *text)
{
    if (number != DUPLICATE_KEY && number != DUPLICATE_KEY_NAMED && number != WRONG_STRING && number != WRONG_VALUE) {
        return text;
    }
    const char *key = strstr(text, " for key ");
    const char *column = strstr(text, " for column ");
    const char *rest = key != NULL ? key : column;
    return rest != NULL ? rest + 1 : "a value";
}

static err
fail(struct db *db)
{
    MYSQL *handle = link_of(db)->handle;
    unsigned number = mysql_errno(handle);
    return db_fail(db, db_mysql_class_of(number), "MySQL %u: %s", number, without_values(number, mysql_error(handle)));
}

static err
fail_statement(struct db_statement *statement)
{
    unsigned number = mysql_stmt_errno(statement->handle);
    return db_fail(statement->db, db_mysql_class_of(number), "MySQL %u: %s", number,
                   without_values(number, mysql_stmt_error(statement->handle)));
}

static err
mysql_slot_open(struct db *db, bool again, struct err_text *why)
{
    struct attempt attempt = {.again = again, .answer_s = ANSWER_TIMEOUT_S, .lock_s = ANSWER_TIMEOUT_S - 1};
    return db_mysql_connect(db, &attempt, why);
}

/* --- statements --- */

/* Reads the answers of all that was sent. */
static void
mysql_slot_settle(struct db *db)
{
    struct link *link = link_of(db);
    for (size_t i = 0; i < link->sent_count; i++) {
        if (mysql_read_query_result(link->handle)) {
            (void)fail(db);
        } else {
            (void)db_answered(link->sent[i].statement, link->sent[i].rows, (int64_t)mysql_affected_rows(link->handle));
        }
    }
    link->sent_count = 0;
}

/* Preparing is a question with an answer: those on their way come first. */
static err
prepare(struct db_statement *statement)
{
    struct db *db = statement->db;
    struct link *link = link_of(db);
    if (statement->handle != NULL) {
        return ERR_ok;
    }
    mysql_slot_settle(db);
    if (db->failure != ERR_ok) {
        return db->failure;
    }
    MYSQL_STMT *handle = mysql_stmt_init(link->handle);
    if (handle == NULL) {
        abort();
    }
    statement->handle = handle;
    if (mysql_stmt_prepare(handle, statement->sql, (unsigned long)strlen(statement->sql)) == 0) {
        return ERR_ok;
    }
    err code = fail_statement(statement);
    (void)mysql_stmt_close(handle);
    statement->handle = NULL;
    return code;
}

/* The library's structs take no pointer to const, also for what they only read. */
static void *
unconst(const void *pointer)
{
    union {
        const void *from;
        void *to;
    } both = {.from = pointer};
    return both.to;
}

/* The narrowest type that a number fits into: most are small, and each would take eight bytes on its way. The library reads it from
 * the number's own first bytes, so this is for machines that keep the low ones there. */
static enum enum_field_types
number_type(int64_t number)
{
    if (__BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__) {
        return MYSQL_TYPE_LONGLONG;
    }
    if (number >= INT8_MIN && number <= INT8_MAX) {
        return MYSQL_TYPE_TINY;
    }
    if (number >= INT16_MIN && number <= INT16_MAX) {
        return MYSQL_TYPE_SHORT;
    }
    return number >= INT32_MIN && number <= INT32_MAX ? MYSQL_TYPE_LONG : MYSQL_TYPE_LONGLONG;
}

static err
bind_values(struct db_statement *statement)
{
    static const enum enum_field_types types[] = {
        [DB_NULL] = MYSQL_TYPE_NULL,
        [DB_TEXT] = MYSQL_TYPE_STRING,
        [DB_BYTES] = MYSQL_TYPE_BLOB,
        [DB_ID] = MYSQL_TYPE_BLOB,
    };
    struct link *link = link_of(statement->db);
    assert(mysql_stmt_param_count(statement->handle) == statement->value_count && "a statement was not given its values");
    link->binds = memory_grow(link->binds, &link->bind_capacity, statement->value_count + 1, sizeof *link->binds);
    memset(link->binds, 0, statement->value_count * sizeof *link->binds);
    for (size_t i = 0; i < statement->value_count; i++) {
        const struct db_value *value = &statement->values[i];
        MYSQL_BIND *bind = &link->binds[i];
        bind->buffer_type = value->kind == DB_I64 ? number_type(value->number) : types[value->kind];
        bind->buffer = unconst(value->kind == DB_I64 ? (const void *)&value->number : (const void *)value->bytes.data);
        bind->buffer_length = (unsigned long)value->bytes.size;
    }
    return statement->value_count > 0 && mysql_stmt_bind_param(statement->handle, link->binds) ? fail_statement(statement) : ERR_ok;
}

static void
set_pipelining(MYSQL *handle, bool wanted)
{
#if PIPELINE
    my_bool value = wanted;
    mysql_optionsv(handle, MARIADB_OPT_SKIP_READ_RESPONSE, &value);
#else
    (void)handle;
    (void)wanted;
#endif
}

static err
mysql_slot_queue(struct db_statement *statement, int64_t rows)
{
    struct db *db = statement->db;
    struct link *link = link_of(db);
    if (link->sent_count == SENT_MAX) {
        mysql_slot_settle(db);
    }
    err code = prepare(statement);
    if (code == ERR_ok) {
        code = db->failure != ERR_ok ? db->failure : bind_values(statement);
    }
    if (code != ERR_ok) {
        return code;
    }
    link->touched = true;
    set_pipelining(link->handle, true);
    bool failed = mysql_stmt_execute(statement->handle) != 0;
    set_pipelining(link->handle, false);
    if (failed) {
        return fail_statement(statement);
    }
    if (!PIPELINE) {
        return db_answered(statement, rows, (int64_t)mysql_stmt_affected_rows(statement->handle));
    }
    link->sent[link->sent_count++] = (struct sent){statement, rows};
    return ERR_ok;
}

static bool
is_number(enum enum_field_types type)
{
    static const enum enum_field_types numbers[] = {MYSQL_TYPE_TINY,   MYSQL_TYPE_SHORT,    MYSQL_TYPE_INT24,
                                                    MYSQL_TYPE_LONG,   MYSQL_TYPE_LONGLONG, MYSQL_TYPE_FLOAT,
                                                    MYSQL_TYPE_DOUBLE, MYSQL_TYPE_DECIMAL,  MYSQL_TYPE_NEWDECIMAL};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        if (numbers[i] == type) {
            return true;
        }
    }
    return false;
}

static bool
bind_columns(struct db_statement *statement)
{
    struct link *link = link_of(statement->db);
    size_t count = mysql_stmt_field_count(statement->handle);
    MYSQL_RES *metadata = mysql_stmt_result_metadata(statement->handle);
    if (metadata == NULL) {
        return false;
    }
    link->binds = memory_grow(link->binds, &link->bind_capacity, count, sizeof *link->binds);
    link->columns = memory_grow(link->columns, &link->column_capacity, count, sizeof *link->columns);
    memset(link->binds, 0, count * sizeof *link->binds);
    for (size_t i = 0; i < count; i++) {
        MYSQL_BIND *bind = &link->binds[i];
        struct column *column = &link->columns[i];
        bool number = is_number(mysql_fetch_field_direct(metadata, (unsigned)i)->type);
        bind->buffer_type = number ? MYSQL_TYPE_LONGLONG : MYSQL_TYPE_BLOB;
        bind->buffer = number ? (void *)&column->number : (void *)column->bytes;
        bind->buffer_length = number ? sizeof column->number : CELL_MAX;
        bind->length = &column->size;
        bind->is_null = &column->is_null;
        bind->error = &column->is_cut;
    }
    mysql_free_result(metadata);
    statement->result.columns = (int)count;
    return !mysql_stmt_bind_result(statement->handle, link->binds);
}

static bool
copy_row(struct db_statement *statement)
{
    struct link *link = link_of(statement->db);
    struct db_result *result = &statement->result;
    for (int i = 0; i < result->columns; i++) {
        const struct column *column = &link->columns[i];
        if (column->is_null) {
            db_result_null(result);
        } else if (link->binds[i].buffer_type == MYSQL_TYPE_LONGLONG) {
            db_result_i64(result, column->number);
        } else {
            size_t size = column->size;
            uint8_t *to = db_result_bytes(result, size);
            if (size > CELL_MAX) {
                MYSQL_BIND whole = {.buffer_type = MYSQL_TYPE_BLOB, .buffer = to, .buffer_length = (unsigned long)size};
                if (mysql_stmt_fetch_column(statement->handle, &whole, (unsigned)i, 0) != 0) {
                    return false;
                }
            } else if (size > 0) {
                memcpy(to, column->bytes, size);
            }
        }
    }
    return true;
}

static err
mysql_slot_query(struct db_statement *statement)
{
    err code = prepare(statement);
    if (code == ERR_ok) {
        code = bind_values(statement);
    }
    if (code != ERR_ok) {
        return code;
    }
    link_of(statement->db)->touched = true;
    bool ok = mysql_stmt_execute(statement->handle) == 0 && bind_columns(statement);
    while (ok) {
        int fetched = mysql_stmt_fetch(statement->handle);
        if (fetched == MYSQL_NO_DATA) {
            break;
        }
        ok = (fetched == 0 || fetched == MYSQL_DATA_TRUNCATED) && copy_row(statement);
    }
    code = ok ? ERR_ok : fail_statement(statement);
    (void)mysql_stmt_free_result(statement->handle);
    return code;
}

static err
mysql_slot_execute(struct db *db, const char *sql)
{
    return db_mysql_run_text(link_of(db)->handle, sql) ? ERR_ok : fail(db);
}

/* --- transactions --- */

/* Only a read-only db has to say that it begins: autocommit is off. */
static err
mysql_slot_begin(struct db *db)
{
    return db->config.read_only ? mysql_slot_execute(db, "START TRANSACTION WITH CONSISTENT SNAPSHOT") : ERR_ok;
}

static err
mysql_slot_commit(struct db *db)
{
    struct link *link = link_of(db);
    if (db_mysql_run_text(link->handle, "COMMIT")) {
        link->touched = false;
        return ERR_ok;
    }
    err code = db_mysql_class_of(mysql_errno(link->handle));
    if (code == ERR_db_busy || code == ERR_db_readonly) {
        return fail(db); /* refused as a whole: a cluster's conflict, a server that was made a replica */
    }
    return db_fail(db, ERR_db_unknown, "MySQL %u at COMMIT: %s", mysql_errno(link->handle), mysql_error(link->handle));
}

static void
mysql_slot_rollback(struct db *db)
{
    struct link *link = link_of(db);
    if (!link->touched) {
        return;
    }
    link->touched = false;
    if (!db_mysql_run_text(link->handle, "ROLLBACK")) {
        (void)db_fail(db, ERR_db_lost, "MySQL %u at ROLLBACK: %s", mysql_errno(link->handle), mysql_error(link->handle));
    }
}

/* DDL may take long and waits for readers: a connection of its own patience, whose end also gives the lock back. */
static err
mysql_slot_migrate_begin(struct db *db, struct err_text *why)
{
    struct attempt attempt = {.again = true, .answer_s = MIGRATION_TIMEOUT_S, .lock_s = MIGRATION_LOCK_S};
    char sql[96];
    int64_t is_ours = 0;
    db_mysql_drop(db);
    err code = db_mysql_connect(db, &attempt, why);
    if (code != ERR_ok) {
        db->dead = true;
        return code;
    }
    snprintf(sql, sizeof sql, "SELECT GET_LOCK('larder:%s', %d)", db->config.prefix, MIGRATION_LOCK_S);
    if (!db_mysql_read_number(link_of(db)->handle, sql, 0, &is_ours)) {
        code = fail(db);
        return err_say(why, code, "the schema of %s cannot be locked: %s", db->config.prefix, db->error);
    }
    if (is_ours != 1) {
        code = db_fail(db, ERR_db_busy, "another starter holds the lock larder:%s", db->config.prefix);
        return err_say(why, code, "the schema of %s cannot be locked: %s", db->config.prefix, db->error);
    }
    return ERR_ok;
}

static err
mysql_slot_migrate_end(struct db *db, struct err_text *why)
{
    db_mysql_drop(db);
    err code = mysql_slot_open(db, true, why);
    db->dead = code != ERR_ok;
    return code;
}

static bool
mysql_slot_is_done(const struct db *db)
{
    unsigned number = mysql_errno(link_of(db)->handle);
    return number == TABLE_EXISTS || number == COLUMN_EXISTS || number == KEY_EXISTS || number == NOTHING_TO_DROP;
}

/* --- the rest --- */

static err
mysql_slot_check(struct db *db)
{
    struct link *link = link_of(db);
    if (link->touched && !db->writing && !db->config.read_only) {
        mysql_slot_rollback(db);
        return db->failure;
    }
    return mysql_ping(link->handle) == 0 ? ERR_ok : fail(db);
}

static err
mysql_slot_scrub(struct db *db, struct slice traces)
{
    (void)db;
    (void)traces;
    return ERR_ok;
}

/* Numbers of connections start again with the server, so the recorded one may be anybody's by now: only a connection that works on
 * our database is ended, and never this one or another actor's of this process. */
static err
mysql_slot_kill(struct db *db, int64_t connection)
{
    struct link *link = link_of(db);
    char sql[128];
    int64_t found = 0;
    if (connection == (int64_t)mysql_thread_id(link->handle) || db_mysql_is_of_another(db, (unsigned long)connection)) {
        return ERR_ok;
    }
    snprintf(sql, sizeof sql, "SELECT COUNT(*) FROM information_schema.processlist WHERE id = %lld AND db = DATABASE()",
             (long long)connection);
    if (!db_mysql_read_number(link->handle, sql, 0, &found)) {
        return fail(db);
    }
    snprintf(sql, sizeof sql, "KILL %lld", (long long)connection);
    if (found == 0 || db_mysql_run_text(link->handle, sql) || mysql_errno(link->handle) == UNKNOWN_THREAD) {
        return ERR_ok;
    }
    return fail(db);
}

static int64_t
mysql_slot_connection(const struct db *db)
{
    return (int64_t)mysql_thread_id(link_of(db)->handle);
}

const struct db_slots db_mysql_slots = {
    .rows_max = DB_CHUNK_MAX,
    .replaced_rows_max = DB_CHUNK_MAX,
    .exact_rows_max = DB_EXACT_MAX, /* each statement costs the server more than its rows do */
    .ddl_transacts = false,
    .open = mysql_slot_open,
    .close = db_mysql_drop,
    .unprepare = db_mysql_unprepare,
    .begin = mysql_slot_begin,
    .queue = mysql_slot_queue,
    .settle = mysql_slot_settle,
    .query = mysql_slot_query,
    .execute = mysql_slot_execute,
    .commit = mysql_slot_commit,
    .rollback = mysql_slot_rollback,
    .migrate_begin = mysql_slot_migrate_begin,
    .migrate_end = mysql_slot_migrate_end,
    .is_done = mysql_slot_is_done,
    .check = mysql_slot_check,
    .scrub = mysql_slot_scrub,
    .kill = mysql_slot_kill,
    .connection = mysql_slot_connection,
};
