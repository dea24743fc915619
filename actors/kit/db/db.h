/* SPDX-License-Identifier: MPL-2.0 */
/*
 * A small port to a relational database, with two drivers: SQLite and MySQL/MariaDB.
 *
 * Queries are written once, in the subset that both speak, with `?` for every value and `$name` for every table (each actor and
 * shard has its own tables: `$move` is `move` in its own SQLite file and `stock_0_move` on a server). Definitions of tables use
 * the type words {I64} {TEXT n} {NAME n} {BYTES n} and {TABLE_END}, or {KEYED_TABLE_END} where the primary key is not one {I64}
 * (much faster on SQLite): n is characters for TEXT and NAME, bytes for BYTES, and only MySQL enforces it. What is inside single
 * quotes is left as it is. NAME and TEXT compare byte by byte, but MySQL takes 'a' and 'a ' for the same: what may end in a space is
 * BYTES.
 *
 * Writes are queued: on MySQL they are sent without waiting for their answers, on SQLite they run at once; db_settle() collects
 * the answers. The first queued write begins the transaction (BEGIN IMMEDIATE on SQLite). A read settles what is queued first,
 * so reading before writing saves round trips. db_commit() settles, and sends COMMIT as a trip of its own only when every
 * statement succeeded and changed as many rows as it had to.
 *
 * After any error but a lost connection the caller must db_rollback(). After ERR_db_lost or ERR_db_unknown the connection is
 * dead: db_reconnect(). Statements survive a reconnect. Everything here belongs to one thread.
 */
#ifndef LARDER_KIT_DB_H
#define LARDER_KIT_DB_H

#include <stdbool.h>
#include <stdint.h>

#include "err.h"
#include "wire.h"

#define DB_ANY_ROWS (-1)
#define DB_PREFIX_MAX 32
#define DB_NAME_MAX 64
#define DB_STEPS_MAX 128

enum db_driver { DB_SQLITE, DB_MYSQL };

/* Where a database is. Plain values; db_config_parse() fills it from a URL. */
struct db_config {
    enum db_driver driver;
    char path[512];  /* SQLite: folder of the database files */
    char hosts[512]; /* MySQL: host[:port] by comma; "unix:/path" is a socket */
    char user[128];
    char password[256];
    char name[128];             /* MySQL: the database, created when it is missing and we may */
    char prefix[DB_PREFIX_MAX]; /* actor and shard, e.g. "stock_0": the file's name or the tables' prefix */
    bool read_only;             /* a snapshot for verify: no lock is taken, nothing can be written */
    bool erases;                /* SQLite: what is deleted is overwritten, see db_scrub() */
    bool must_exist;            /* the file or, on a server, the database is not made when it is missing */
};

struct db;
struct db_statement;
struct db_rows;
struct db_in;

/* The number of this build among those of the schemas. It is raised by the first step that builds before must not run on, and that
 * step says {BUILD <the new number>}. */
#define DB_BUILD 2

/* One numbered step of a schema: one statement, because DDL commits by itself on MySQL. Words in braces before it say for which
 * databases it is, and for which builds (db_migrate.c). */
struct db_step {
    int version;
    const char *sql;
};

/* What a database has of a list of steps. */
struct db_schema {
    bool is_there;            /* it was migrated at least once */
    size_t missing;           /* steps */
    char steps[DB_STEPS_MAX]; /* which: "61, 130 to 134"; "" for none */
};

/* --- life --- */

/* Reads `sqlite:FOLDER` or `mysql://user[:password]@host[:port][,host...]/name` or `mysql://user@unix(/path.sock)/name`.
 * Returns ERR_wrong_setting with a sentence that never holds the password. */
MUST_CHECK err
db_config_parse(const char *url, struct db_config *config, struct err_text *why);

/* Connects (MySQL: each host in turn, 1 s each, read-only ones passed over). On SQLite the file is made when missing and locked
 * for this process by db_lock_folder(), which the command calls once. */
MUST_CHECK err
db_open(const struct db_config *config, struct db **db, struct err_text *why);

void
db_close(struct db **db);

/* Throws the connection away and makes a new one; statements are prepared anew on their next use. */
MUST_CHECK err
db_reconnect(struct db *db, struct err_text *why);

/* The process lock of a SQLite data folder: flock on FOLDER/lock, kept until exit. ERR_wrong_setting when another process has it. */
MUST_CHECK err
db_lock_folder(const char *folder, struct err_text *why);

/* Applies the steps that were not applied yet, in the order of the list, under GET_LOCK on MySQL. Idempotent and safe beside another
 * starter; where nothing is missing it only reads. Steps are told apart by their versions alone, so two lists with different versions
 * may be applied to one prefix. On SQLite all steps are one transaction; on MySQL each is committed, and one that an interrupted run
 * had done (the table, column or index is there) counts as done. ERR_wrong_setting: a later build has made a step here that this one
 * must not run on. ERR_db_denied: this user may not make what is missing. After a failure db_close(). */
MUST_CHECK err
db_migrate(struct db *db, const struct db_step *steps, size_t count, struct err_text *why);

/* Only reads, also on a read-only db: which of the steps are missing. ERR_wrong_setting as db_migrate(). */
MUST_CHECK err
db_schema_read(struct db *db, const struct db_step *steps, size_t count, struct db_schema *schema, struct err_text *why);

enum db_driver
db_driver(const struct db *db);

/* Gives back what statements that were run once hold prepared; whoever runs one again has it prepared anew. No transaction is open. */
void
db_unprepare(struct db *db);

/* "the file /srv/shop/stock_0.db", "the tables stock_0_... of the database shop". */
void
db_describe(const struct db *db, char *text, size_t size);

/* MySQL: CONNECTION_ID(); SQLite: 0. */
int64_t
db_connection(const struct db *db);

/* MySQL: KILL the connection of another writer; one that is gone is success. SQLite: nothing. */
MUST_CHECK err
db_kill(struct db *db, int64_t connection);

/* SQLite: the file that was opened is still the one at its path (ERR_db_stale otherwise). MySQL: a ping, and the end of a
 * transaction that only read; call it every 10 s or so, a server closes connections that were idle for 30 s, and those that were
 * idle for 5 s inside a transaction that has written. */
MUST_CHECK err
db_check(struct db *db);

/* SQLite, with `erases` in the config: what committed transactions have deleted or replaced is overwritten in the database file,
 * and the log that still held it is cut to nothing. `traces` are pieces of DB_TRACE_SIZE bytes that may be nowhere in the file
 * afterwards; looking for them reads all of it. Outside of a transaction. ERR_db_busy while somebody reads a snapshot from
 * before; no failure changes anything: call it again later. MySQL: nothing; its server keeps old bytes in its log and its pages
 * until it writes over them. */
#define DB_TRACE_SIZE 16
MUST_CHECK err
db_scrub(struct db *db, struct slice traces);

/* SQLite, opened to be read: writes the snapshot that a first read has opened into a new file, whole, and has the engine prove it;
 * others may write meanwhile. No log is left beside the file. MySQL has no files: its rows are read. */
MUST_CHECK err
db_copy_file(struct db *db, const char *path, struct err_text *why);

/* What the engine said last, for the log; never NULL. */
const char *
db_error(const struct db *db);

/* --- statements --- */

/* The statement of this text; the same text is the same statement, so one that is being read from must not be run again before its
 * read ended (db_rows() and db_in() alike). Never fails: it is prepared on first use. Owned by the db. */
struct db_statement *
db_statement(struct db *db, const char *sql);

/* Binds the next parameter, from left to right; running the statement starts again at the first. An id is copied; bytes and text
 * are borrowed until db_queue, db_run or db_query return. */
void
db_bind_i64(struct db_statement *statement, int64_t value);
void
db_bind_text(struct db_statement *statement, struct slice text);
void
db_bind_bytes(struct db_statement *statement, struct slice bytes);
void
db_bind_id(struct db_statement *statement, const struct id *id);
void
db_bind_null(struct db_statement *statement);

/* Sends a write. `rows` is how many rows it must match (matched, not changed), or DB_ANY_ROWS; another number makes the
 * transaction's settle fail with ERR_db_stale. An error is remembered and returned by this or a later call: settle decides. */
MUST_CHECK err
db_queue(struct db_statement *statement, int64_t rows);

/* Like db_queue and db_settle in one; `matched` (may be NULL) is the number of rows matched. Of a REPLACE it means nothing: MySQL
 * counts a replaced row twice. */
MUST_CHECK err
db_run(struct db_statement *statement, int64_t *matched);

/* Starts a read. Settles what is queued first. The whole result is fetched, so another statement may run meanwhile, and large
 * tables are read in pages. Running the same statement again ends its read. */
MUST_CHECK err
db_query(struct db_statement *statement);

/* Goes to the next row; false at the end, and after a db_query() that failed. */
bool
db_next(struct db_statement *statement);

/* Ends a read early. A read that reached its end needs no call. */
void
db_done(struct db_statement *statement);

/* Column of the current row, from 0. Slices live until the read ends. NULL reads as 0, no bytes, the zero id. */
int64_t
db_i64(struct db_statement *statement, int column);
struct slice
db_bytes(struct db_statement *statement, int column);
struct id
db_id(struct db_statement *statement, int column);
bool
db_is_null(struct db_statement *statement, int column);

/* --- many rows, many keys --- */

/* Rows for a multi-row INSERT or REPLACE: `head` ends before VALUES, e.g. "INSERT INTO $move (n, product)". Values are copied and
 * come row by row, each with exactly `columns` of them. Owned by the db. */
struct db_rows *
db_rows(struct db *db, const char *head, int columns);

void
db_rows_i64(struct db_rows *rows, int64_t value);
void
db_rows_text(struct db_rows *rows, struct slice text);
void
db_rows_bytes(struct db_rows *rows, struct slice bytes);
void
db_rows_id(struct db_rows *rows, const struct id *id);
void
db_rows_null(struct db_rows *rows);

/* Queues all collected rows, in statements of up to 512 rows, and forgets them. No rows: nothing is sent. */
MUST_CHECK err
db_rows_queue(struct db_rows *rows);

/* Forgets collected rows. db_rollback() does it for all. */
void
db_rows_clear(struct db_rows *rows);

/* A read by many keys: `sql` holds one `IN (*)` and no other parameter. Keys are copied and collected, then read in chunks of up
 * to 512; a key that was given twice may bring its row twice. Owned by the db. */
struct db_in *
db_in(struct db *db, const char *sql);
void
db_in_id(struct db_in *in, const struct id *id);
void
db_in_text(struct db_in *in, struct slice text);
size_t
db_in_count(const struct db_in *in);

/* Rows come by `while ((row = db_in_next(in)) != NULL)`, columns as of a statement; then db_in_end() says whether that were all.
 * Without a key nothing is asked. The keys are forgotten after the last row, and by db_in_end(). An error is returned by settle and
 * commit as well. */
struct db_statement *
db_in_next(struct db_in *in);
MUST_CHECK err
db_in_end(struct db_in *in);

/* --- transactions --- */

/* Whether a write was queued since the last commit or rollback. */
bool
db_is_writing(const struct db *db);

/* Collects the answers of everything queued; the first error, ERR_db_stale when a statement matched another number of rows. */
MUST_CHECK err
db_settle(struct db *db);

/* Settles and commits. Without queued writes nothing is sent. ERR_db_unknown: it may or may not have happened. */
MUST_CHECK err
db_commit(struct db *db);

/* Takes back everything since the last commit, and forgets values, rows and keys that were collected and not sent. Works after any
 * error; a dead connection stays dead until db_reconnect(). On a read-only db it ends the snapshot. */
void
db_rollback(struct db *db);

#endif
