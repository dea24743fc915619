/* SPDX-License-Identifier: MPL-2.0 */
/*
 * What stands between the files of this folder; nobody else includes it. db.c calls the drivers and db_many.c, and all of these
 * call db_statement.c.
 *
 * db_statement.c keeps statements, bound values, results and the state of the transaction, db_many.c collected rows; a driver keeps
 * one connection (db->link) and one prepared handle per statement (statement->handle, NULL until first use and again after a
 * close). A driver tells every error through db_fail() and every answered write through db_answered(), so that "first error wins",
 * "lost wins over all" and the proof of row counts are decided in one place.
 */
#ifndef LARDER_KIT_DB_DRIVER_H
#define LARDER_KIT_DB_DRIVER_H

#include "db.h"

#define DB_LOCK_WAIT_S 2
#define DB_CHUNK_MAX 512  /* rows or keys in one statement */
#define DB_CHUNK_SIZES 10 /* 1, 2, 4 ... 512 */
#define DB_EXACT_MAX 64   /* up to here a driver may want one statement for every number of rows */
#define DB_CHUNK_BYTES ((size_t)8 * 1024 * 1024)
#define DB_CHUNK_VALUES 65535 /* parameters that MySQL takes in one statement */
#define DB_ERROR_MAX 512
#define DB_TEXT_BUCKETS 64

enum db_kind { DB_NULL, DB_I64, DB_TEXT, DB_BYTES, DB_ID };

/* One bound parameter. A driver never sees DB_ID: it is DB_BYTES by then, and `bytes.data` is never NULL. */
struct db_value {
    enum db_kind kind;
    int64_t number;
    struct slice bytes;
    struct id id;
};

/* One fetched cell: a number, or `size` bytes from `number` on in the result's bytes. */
struct db_cell {
    enum db_kind kind;
    int64_t number;
    size_t size;
};

struct db_result {
    struct db_cell *cells;
    size_t cell_count;
    size_t cell_capacity;
    uint8_t *bytes;
    size_t byte_count;
    size_t byte_capacity;
    int columns;
    size_t next; /* index of the first cell of the next row */
};

struct db_statement {
    struct db *db;
    struct db_statement *next;
    struct db_statement *next_in_bucket;
    char *text; /* as the caller wrote it; NULL for those of db_rows and db_in, which nobody else may find */
    char *sql;  /* as the engine reads it */
    void *handle;
    struct db_value *values;
    size_t value_count;
    size_t value_capacity;
    struct db_result result;
};

struct db_slots {
    size_t rows_max;          /* rows in one multi-row INSERT, a power of two up to DB_CHUNK_MAX */
    size_t replaced_rows_max; /* the same for REPLACE */
    size_t exact_rows_max;    /* a statement for every number of rows up to this; 0: powers of two only */
    bool ddl_transacts;       /* a migration is one transaction; otherwise each step is committed */

    /* Connects and sets the session up; `again` after a connection that had worked, when nothing may be made anew. On failure
     * nothing is left open. May block for a second per host. */
    err (*open)(struct db *db, bool again, struct err_text *why);

    /* Releases the connection and every handle without waiting for the other side. Called once per successful open. */
    void (*close)(struct db *db);

    /* Gives back what every statement holds prepared. No transaction is open. */
    void (*unprepare)(struct db *db);

    /* Before the first write (or, when the config is read_only, the first read) of a transaction. */
    err (*begin)(struct db *db);

    /* Sends or runs a write whose values are all bound; `rows` goes to db_answered() with the answer, now or in settle. Prepares
     * when needed. The values may be gone when it returns. */
    err (*queue)(struct db_statement *statement, int64_t rows);

    /* Reads the answer of everything sent, also after an error. Idempotent; costs nothing when nothing is on its way. */
    void (*settle)(struct db *db);

    /* Runs a read to its end and fills statement->result by db_result_*(). Nothing is on its way when it is called. */
    err (*query)(struct db_statement *statement);

    /* Runs one text without parameters and without a result (DDL). Nothing is on its way when it is called. */
    err (*execute)(struct db *db, const char *sql);

    /* Commits; every write was answered well. A doubt is ERR_db_unknown and marks the connection dead. */
    err (*commit)(struct db *db);

    /* Ends the transaction, whatever its state, also when the engine has ended it by itself. The connection is alive and nothing
     * is on its way when it is called. A failure marks the connection dead. */
    void (*rollback)(struct db *db);

    /* Between them a migration runs that no other starter runs at the same time. `end` is called after a success only; after a
     * failure the generic part rolls back and closes or reconnects. May block for a minute. */
    err (*migrate_begin)(struct db *db, struct err_text *why);
    err (*migrate_end)(struct db *db, struct err_text *why);

    /* Whether a failed step of a migration means that an earlier, interrupted run had done it. */
    bool (*is_done)(const struct db *db);

    err (*check)(struct db *db);

    /* Outside of a transaction; a failure leaves everything as it was. */
    err (*scrub)(struct db *db, struct slice traces);
    err (*copy)(struct db *db, const char *path, struct err_text *why); /* NULL: it has no files */
    err (*kill)(struct db *db, int64_t connection);
    int64_t (*connection)(const struct db *db);
};

struct db {
    struct db_config config;
    const struct db_slots *slots;
    void *link; /* the driver's connection; NULL when it is closed */
    struct db_statement *statements;
    struct db_statement *by_text[DB_TEXT_BUCKETS];
    struct db_rows *rows;
    struct db_in *ins;
    bool begun;           /* slots->begin ran since the last commit or rollback */
    bool writing;         /* a write was queued since then */
    bool dead;            /* nothing can be done until db_reconnect() */
    err failure;          /* of this transaction; ERR_OK while all went well */
    int64_t matched;      /* by the statement answered last */
    uint64_t file_device; /* SQLite: which file was opened first; a reconnect must find the same one */
    uint64_t file_number;
    char error[DB_ERROR_MAX];
};

extern const struct db_slots db_sqlite_slots;
extern const struct db_slots db_mysql_slots;

/* --- db_statement.c --- */

/* Records an error of the running transaction and its words; ERR_db_lost and ERR_db_unknown mark the connection dead. Returns
 * `code`, or what was recorded before when that weighs more. */
err
db_fail(struct db *db, err code, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* A write was answered: `matched` rows, of `rows` it had to match or DB_ANY_ROWS. */
err
db_answered(struct db_statement *statement, int64_t rows, int64_t matched);

/* Adds cells to a result from left to right; the caller has set result->columns. */
void
db_result_null(struct db_result *result);
void
db_result_i64(struct db_result *result, int64_t value);

/* Adds a cell of `size` bytes and returns where to write them; NULL when size is 0. */
uint8_t *
db_result_bytes(struct db_result *result, size_t size);

/* A statement that is not found by its text. Takes over `sql`, which is translated. */
struct db_statement *
db_statement_add(struct db *db, char *sql);

/* Queues or queries the statement with values that are lent to it instead of copied. */
MUST_CHECK err
db_lend(struct db_statement *statement, struct db_value *values, size_t count, bool is_read);

/* --- db_text.c --- */

/* SQL under construction. */
struct db_text {
    char *data;
    size_t size;
    size_t capacity;
};

void
db_text_put(struct db_text *text, const char *from, size_t size);
void
db_text_put_string(struct db_text *text, const char *from);

/* `sql` as the engine of the config reads it; the caller frees it. */
char *
db_translate(const struct db_config *config, const char *sql);

/* --- db_many.c --- */

/* Whether rows were collected and not queued. */
bool
db_many_waits(const struct db *db);

/* Forgets what was collected; frees everything. */
void
db_many_forget(struct db *db);
void
db_many_free(struct db *db);

#endif
