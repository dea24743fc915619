/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE   Statements of the database port: their text, bound values and results, and the first error of the transaction that they
 *           are part of. The drivers and db_many.c stand on it; db.c, which opens and ends transactions, stands on all of them.
 * STATE     db->failure is the first error of the transaction; a lost connection outweighs an earlier error, because it decides
 *           what the caller must do. While it is set nothing more is sent. db->dead stands until db_reconnect().
 *           Results are copied out of the engine whole, so a read never stays open beside a write and db_next() cannot fail.
 *           The same text is the same statement, found by its hash.
 * FAILURES  Errors of the engine come from the drivers through db_fail(). A cell that is read as what it is not fails the transaction
 *           as well, and reads as nothing: a file that is damaged may hold what a column never held. Out of memory aborts.
 * LIMITS    A result is in memory: read large tables in pages.
 */
#include "db_driver.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hash.h"
#include "kit/base/memory.h"
#include "kit/telemetry/beat.h"

#define RESULT_KEEP_MAX ((size_t)1024 * 1024) /* a larger buffer is given back when the read ends */

/* --- results --- */

static void
result_clear(struct db_result *result)
{
    result->cell_count = 0;
    result->byte_count = 0;
    result->columns = 0;
    result->next = 0;
    if (result->byte_capacity > RESULT_KEEP_MAX || result->cell_capacity * sizeof *result->cells > RESULT_KEEP_MAX) {
        free(result->cells);
        free(result->bytes);
        memset(result, 0, sizeof *result);
    }
}

static struct db_cell *
result_cell(struct db_result *result, enum db_kind kind)
{
    result->cells = memory_grow(result->cells, &result->cell_capacity, result->cell_count + 1, sizeof *result->cells);
    struct db_cell *cell = &result->cells[result->cell_count++];
    *cell = (struct db_cell){.kind = kind};
    return cell;
}

void
db_result_null(struct db_result *result)
{
    result_cell(result, DB_NULL);
}

void
db_result_i64(struct db_result *result, int64_t value)
{
    result_cell(result, DB_I64)->number = value;
}

uint8_t *
db_result_bytes(struct db_result *result, size_t size)
{
    struct db_cell *cell = result_cell(result, DB_BYTES);
    cell->number = (int64_t)result->byte_count;
    cell->size = size;
    result->bytes = memory_grow(result->bytes, &result->byte_capacity, result->byte_count + size, 1);
    result->byte_count += size;
    return size > 0 ? result->bytes + (result->byte_count - size) : NULL;
}

/* --- errors --- */

static int
weight(err code)
{
    return code == ERR_ok ? 0 : code == ERR_db_unknown ? 3 : code == ERR_db_lost ? 2 : 1;
}

err
db_fail(struct db *db, err code, const char *format, ...)
{
    if (weight(code) > weight(db->failure)) {
        va_list arguments;
        va_start(arguments, format);
        vsnprintf(db->error, sizeof db->error, format, arguments);
        va_end(arguments);
        db->failure = code;
    }
    if (weight(code) > 1) {
        db->dead = true;
    }
    return db->failure;
}

err
db_answered(struct db_statement *statement, int64_t rows, int64_t matched)
{
    statement->db->matched = matched;
    if (rows != DB_ANY_ROWS && rows != matched) {
        return db_fail(statement->db, ERR_db_stale, "matched %lld rows instead of %lld: %.300s", (long long)matched, (long long)rows,
                       statement->sql);
    }
    return ERR_ok;
}

/* Whether anything may be sent: ERR_ok, or why not. */
static err
readiness(const struct db *db)
{
    return db->dead ? ERR_db_lost : db->failure;
}

const char *
db_error(const struct db *db)
{
    return db->error;
}

err
db_settle(struct db *db)
{
    if (!db->dead) {
        db->slots->settle(db);
    }
    return db->dead && db->failure == ERR_ok ? ERR_db_lost : db->failure;
}

/* --- statements --- */

struct db_statement *
db_statement_add(struct db *db, char *sql)
{
    struct db_statement *statement = memory_new(1, sizeof *statement);
    statement->db = db;
    statement->sql = sql;
    statement->next = db->statements;
    db->statements = statement;
    return statement;
}

struct db_statement *
db_statement(struct db *db, const char *sql)
{
    uint64_t hash = HASH_FIRST;
    for (const char *letter = sql; *letter != '\0'; letter++) {
        hash = hash_number(hash, (unsigned char)*letter);
    }
    struct db_statement **bucket = &db->by_text[hash % DB_TEXT_BUCKETS];
    for (struct db_statement *known = *bucket; known != NULL; known = known->next_in_bucket) {
        if (strcmp(known->text, sql) == 0) {
            return known;
        }
    }
    struct db_statement *added = db_statement_add(db, db_translate(&db->config, sql));
    added->text = memory_text(sql);
    added->next_in_bucket = *bucket;
    *bucket = added;
    return added;
}

static void
bind(struct db_statement *statement, const struct db_value *value)
{
    statement->values = memory_grow(statement->values, &statement->value_capacity, statement->value_count + 1, sizeof *value);
    statement->values[statement->value_count++] = *value;
}

void
db_bind_i64(struct db_statement *statement, int64_t value)
{
    bind(statement, &(struct db_value){.kind = DB_I64, .number = value});
}

void
db_bind_text(struct db_statement *statement, struct slice text)
{
    bind(statement, &(struct db_value){.kind = DB_TEXT, .bytes = text});
}

void
db_bind_bytes(struct db_statement *statement, struct slice bytes)
{
    bind(statement, &(struct db_value){.kind = DB_BYTES, .bytes = bytes});
}

void
db_bind_id(struct db_statement *statement, const struct id *id)
{
    bind(statement, &(struct db_value){.kind = DB_ID, .id = *id});
}

void
db_bind_null(struct db_statement *statement)
{
    bind(statement, &(struct db_value){.kind = DB_NULL});
}

/* Makes the values what a driver expects, now that they do not move any more. */
static void
seal(struct db_value *values, size_t count)
{
    static const uint8_t nothing[1] = {0};
    for (size_t i = 0; i < count; i++) {
        if (values[i].kind == DB_ID) {
            values[i].kind = DB_BYTES;
            values[i].bytes = (struct slice){values[i].id.bytes, ID_SIZE};
        } else if (values[i].bytes.data == NULL) {
            values[i].bytes.data = nothing;
        }
    }
}

/* Queues the values that the statement has now. */
err
db_queue(struct db_statement *statement, int64_t rows)
{
    struct db *db = statement->db;
    err code = readiness(db);
    beat_turn();
    if (code == ERR_ok && db->config.read_only) {
        code = db_fail(db, ERR_db_readonly, "the database was opened for reading only");
    }
    if (code == ERR_ok) {
        db->writing = true;
        if (!db->begun) {
            code = db->slots->begin(db);
            db->begun = code == ERR_ok;
        }
    }
    if (code == ERR_ok) {
        result_clear(&statement->result);
        seal(statement->values, statement->value_count);
        code = db->slots->queue(statement, rows);
    }
    statement->value_count = 0;
    return code;
}

err
db_run(struct db_statement *statement, int64_t *matched)
{
    err code = db_queue(statement, DB_ANY_ROWS);
    if (code == ERR_ok) {
        code = db_settle(statement->db);
    }
    if (code == ERR_ok && matched != NULL) {
        *matched = statement->db->matched;
    }
    return code;
}

err
db_query(struct db_statement *statement)
{
    struct db *db = statement->db;
    result_clear(&statement->result);
    err code = db_settle(db);
    beat_turn();
    if (code == ERR_ok && db->config.read_only && !db->begun) {
        code = db->slots->begin(db);
        db->begun = code == ERR_ok;
    }
    if (code == ERR_ok) {
        seal(statement->values, statement->value_count);
        code = db->slots->query(statement);
    }
    if (code != ERR_ok) {
        result_clear(&statement->result);
    }
    statement->value_count = 0;
    return code;
}

err
db_lend(struct db_statement *statement, struct db_value *from, size_t count, bool is_read)
{
    assert(statement->values == NULL);
    statement->values = from;
    statement->value_count = count;
    err code = is_read ? db_query(statement) : db_queue(statement, DB_ANY_ROWS);
    statement->values = NULL;
    statement->value_count = 0;
    return code;
}

bool
db_next(struct db_statement *statement)
{
    struct db_result *result = &statement->result;
    if (result->next + (size_t)result->columns > result->cell_count || result->columns == 0) {
        result_clear(result);
        return false;
    }
    result->next += (size_t)result->columns;
    return true;
}

void
db_done(struct db_statement *statement)
{
    result_clear(&statement->result);
}

static const struct db_cell *
cell_at(const struct db_statement *statement, int column)
{
    const struct db_result *result = &statement->result;
    assert(column >= 0 && column < result->columns && result->next > 0);
    return &result->cells[result->next - (size_t)result->columns + (size_t)column];
}

static const struct db_cell *
cell_of(struct db_statement *statement, int column, enum db_kind kind)
{
    const struct db_cell *cell = cell_at(statement, column);
    if (cell->kind != kind && cell->kind != DB_NULL) {
        (void)db_fail(statement->db, ERR_db_bug, "column %d is %s, which cannot be: the database is damaged: %.300s", column + 1,
                      cell->kind == DB_I64 ? "a number" : "bytes", statement->sql);
    }
    return cell;
}

int64_t
db_i64(struct db_statement *statement, int column)
{
    const struct db_cell *cell = cell_of(statement, column, DB_I64);
    return cell->kind == DB_I64 ? cell->number : 0;
}

struct slice
db_bytes(struct db_statement *statement, int column)
{
    const struct db_cell *cell = cell_of(statement, column, DB_BYTES);
    /* A result of nothing but empty values has no bytes to point into. */
    return cell->kind != DB_BYTES || cell->size == 0 ? slice_of("")
                                                     : (struct slice){statement->result.bytes + cell->number, cell->size};
}

struct id
db_id(struct db_statement *statement, int column)
{
    struct id id = {{0}};
    struct slice bytes = db_bytes(statement, column);
    if (bytes.size == ID_SIZE) {
        memcpy(id.bytes, bytes.data, ID_SIZE);
    }
    return id;
}

bool
db_is_null(struct db_statement *statement, int column)
{
    return cell_at(statement, column)->kind == DB_NULL;
}
