/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Many rows written, and many keys read, in few statements.
 *
 * PURPOSE   Collected rows go out as multi-row statements of 1, 2, 4 ... 512 rows, so that few texts are ever prepared; where a
 *           statement costs the server more than its rows do, of any number up to 64. Collected keys are asked for 512 at a time; the
 *           last chunk is filled up to a power of two by repeating its last key, which finds nothing new: one trip instead of ten.
 *           Columns that are NULL in all rows of a statement are not named in it: the server pays for each value of each row.
 *
 * STATE     Values are copied when they are collected, and lent to the statement when they are sent.
 *
 * FAILURES  A row that is not complete when it is queued is our own bug and asserts. An error between two chunks of keys ends the
 *           read and is told by db_in_end(), settle and commit.
 *
 * LIMITS    512 rows or keys, 65,535 values and 8 MiB in one statement; larger sets are cut. A key that is given twice may bring
 *           its row twice when the two fall into different chunks. A column that is not named becomes its default, so one that has a
 *           default is never given NULL. There are SHAPES_MAX choices of columns for rows of one kind; rows that fit none of them name
 *           more columns than they need.
 */
#include "db_driver.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "kit/base/memory.h"

/* Values collected for later: those with bytes keep the offset in `number` until they are used, because `bytes` moves. */
struct collected {
    struct db_value *values;
    size_t count;
    size_t capacity;
    uint8_t *bytes;
    size_t byte_count;
    size_t byte_capacity;
};

enum { SHAPES_MAX = 3, COLUMNS_MAX = 64 };

/* Statements that name the same columns. */
struct shape {
    uint64_t left_out;                            /* a bit per column; the first is always named */
    size_t columns;                               /* those that are named */
    struct db_statement *exact[DB_EXACT_MAX + 1]; /* by number of rows */
    struct db_statement *powers[DB_CHUNK_SIZES];  /* by exponent */
};

struct db_rows {
    struct db *db;
    struct db_rows *next;
    char *head; /* ends in the list of its columns */
    size_t columns;
    bool is_replacing;
    struct collected collected;
    size_t column;                    /* of the value that comes next */
    uint64_t filled;                  /* columns in which a collected row has a value */
    struct shape *shapes[SHAPES_MAX]; /* the first names all columns */
};

struct db_in {
    struct db *db;
    struct db_in *next;
    char *sql;
    struct collected keys;
    size_t position; /* of the first key that was not asked for yet */
    bool is_begun;
    struct db_statement *current;
    err failure;
    struct db_statement *statements[DB_CHUNK_SIZES];
};

/* --- collected values --- */

static void
collected_fini(struct collected *collected)
{
    free(collected->values);
    free(collected->bytes);
}

static void
collect(struct collected *collected, const struct db_value *value)
{
    collected->values = memory_grow(collected->values, &collected->capacity, collected->count + 1, sizeof *value);
    collected->values[collected->count++] = *value;
}

static void
collect_bytes(struct collected *collected, enum db_kind kind, struct slice bytes)
{
    struct db_value value = {.kind = kind, .number = (int64_t)collected->byte_count, .bytes = bytes};
    collected->bytes = memory_grow(collected->bytes, &collected->byte_capacity, collected->byte_count + bytes.size + 1, 1);
    if (bytes.size > 0) {
        memcpy(collected->bytes + collected->byte_count, bytes.data, bytes.size);
    }
    collected->byte_count += bytes.size;
    collect(collected, &value);
}

static void
collected_clear(struct collected *collected)
{
    collected->count = 0;
    collected->byte_count = 0;
}

/* Points the slices at the copies, which do not move any more. */
static void
collected_seal(struct collected *collected)
{
    for (size_t i = 0; i < collected->count; i++) {
        struct db_value *value = &collected->values[i];
        if (value->kind == DB_TEXT || value->kind == DB_BYTES) {
            value->bytes.data = collected->bytes + value->number;
        }
    }
}

static size_t
exponent_of(size_t power)
{
    size_t exponent = 0;
    while (((size_t)1 << exponent) < power) {
        exponent++;
    }
    return exponent;
}

/* --- many rows --- */

struct db_rows *
db_rows(struct db *db, const char *head, int columns)
{
    assert(columns > 0 && columns <= COLUMNS_MAX);
    for (struct db_rows *known = db->rows; known != NULL; known = known->next) {
        if (strcmp(known->head, head) == 0) {
            return known;
        }
    }
    struct db_rows *rows = memory_new(1, sizeof *rows);
    rows->db = db;
    rows->head = memory_text(head);
    rows->is_replacing = strncmp(head, "REPLACE", 7) == 0;
    rows->columns = (size_t)columns;
    rows->next = db->rows;
    db->rows = rows;
    return rows;
}

static void
count_value(struct db_rows *rows, bool is_null)
{
    rows->filled |= (uint64_t)!is_null << rows->column;
    rows->column = rows->column + 1 == rows->columns ? 0 : rows->column + 1;
}

void
db_rows_i64(struct db_rows *rows, int64_t value)
{
    count_value(rows, false);
    collect(&rows->collected, &(struct db_value){.kind = DB_I64, .number = value});
}

void
db_rows_text(struct db_rows *rows, struct slice text)
{
    count_value(rows, false);
    collect_bytes(&rows->collected, DB_TEXT, text);
}

void
db_rows_bytes(struct db_rows *rows, struct slice bytes)
{
    count_value(rows, false);
    collect_bytes(&rows->collected, DB_BYTES, bytes);
}

void
db_rows_id(struct db_rows *rows, const struct id *id)
{
    count_value(rows, false);
    collect(&rows->collected, &(struct db_value){.kind = DB_ID, .id = *id});
}

void
db_rows_null(struct db_rows *rows)
{
    count_value(rows, true);
    collect(&rows->collected, &(struct db_value){.kind = DB_NULL});
}

static void
forget_rows(struct db_rows *rows)
{
    collected_clear(&rows->collected);
    rows->column = 0;
    rows->filled = 0;
}

static bool
is_named(const struct shape *shape, size_t column)
{
    return (shape->left_out >> column & 1) == 0;
}

static struct shape *
new_shape(const struct db_rows *rows, uint64_t left_out)
{
    struct shape *shape = memory_new(1, sizeof *shape);
    shape->left_out = left_out;
    for (size_t column = 0; column < rows->columns; column++) {
        shape->columns += is_named(shape, column);
    }
    return shape;
}

/* The one that names the fewest columns and still all that have a value; a new one while there is room. */
static struct shape *
find_shape(struct db_rows *rows)
{
    uint64_t columns = UINT64_MAX >> (COLUMNS_MAX - rows->columns);
    uint64_t empty = columns & ~rows->filled & ~UINT64_C(1);
    struct shape *best = NULL;
    for (size_t i = 0; i < SHAPES_MAX; i++) {
        if (rows->shapes[i] == NULL && (best == NULL || best->left_out != empty)) {
            rows->shapes[i] = new_shape(rows, best == NULL ? 0 : empty);
        }
        struct shape *shape = rows->shapes[i];
        if (shape != NULL && (shape->left_out & ~empty) == 0 && (best == NULL || shape->columns < best->columns)) {
            best = shape;
        }
    }
    return best;
}

/* The beginning of a statement: `head` without the columns that the shape leaves out. */
static void
put_head(struct db_text *text, const struct db_rows *rows, const struct shape *shape)
{
    const char *name = strchr(rows->head, '(') + 1;
    db_text_put(text, rows->head, (size_t)(name - rows->head));
    for (size_t column = 0; column < rows->columns; column++) {
        size_t size = strcspn(name, ",)");
        if (is_named(shape, column)) {
            db_text_put_string(text, column == 0 ? "" : ",");
            db_text_put(text, name, size);
        }
        name += size + 1;
    }
    db_text_put_string(text, ") VALUES ");
}

/* Takes the values of columns that are not named out of the collected rows. */
static void
squeeze(struct db_rows *rows, const struct shape *shape)
{
    struct db_value *values = rows->collected.values;
    size_t kept = 0;
    size_t column = 0;
    if (shape->left_out == 0) {
        return;
    }
    for (size_t i = 0; i < rows->collected.count; i++) {
        if (is_named(shape, column)) {
            values[kept++] = values[i];
        }
        column = column + 1 == rows->columns ? 0 : column + 1;
    }
    rows->collected.count = kept;
}

/* The statement for so many rows: one of those that rows_chunk() answers. */
static struct db_statement *
rows_statement(struct db_rows *rows, struct shape *shape, size_t count)
{
    struct db_statement **kept = count <= DB_EXACT_MAX ? &shape->exact[count] : &shape->powers[exponent_of(count)];
    if (*kept == NULL) {
        struct db_text text = {0};
        put_head(&text, rows, shape);
        for (size_t row = 0; row < count; row++) {
            db_text_put_string(&text, row == 0 ? "(" : ",(");
            for (size_t column = 0; column < shape->columns; column++) {
                db_text_put_string(&text, column == 0 ? "?" : ",?");
            }
            db_text_put_string(&text, ")");
        }
        *kept = db_statement_add(rows->db, db_translate(&rows->db->config, text.data));
        free(text.data);
    }
    return *kept;
}

/* How many of the rows from `row` on go into the next statement: a power of two within the limits, or the few that are left. */
static size_t
rows_chunk(const struct db_rows *rows, size_t columns, size_t row, size_t total)
{
    size_t count = rows->is_replacing ? rows->db->slots->replaced_rows_max : rows->db->slots->rows_max;
    while (count > total - row || count * columns > DB_CHUNK_VALUES) {
        count /= 2;
    }
    if (total - row <= rows->db->slots->exact_rows_max && (total - row) * columns <= DB_CHUNK_VALUES) {
        count = total - row;
    }
    const struct db_value *values = &rows->collected.values[row * columns];
    while (count > 1) {
        size_t bytes = 0;
        for (size_t i = 0; i < count * columns; i++) {
            bytes += values[i].kind == DB_TEXT || values[i].kind == DB_BYTES ? values[i].bytes.size : ID_SIZE;
        }
        if (bytes <= DB_CHUNK_BYTES) {
            break;
        }
        count /= 2;
    }
    return count;
}

err
db_rows_queue(struct db_rows *rows)
{
    assert(rows->collected.count % rows->columns == 0 && "a collected row is not complete");
    size_t total = rows->collected.count / rows->columns;
    err code = ERR_ok;
    if (total == 0) {
        return ERR_ok;
    }
    struct shape *shape = find_shape(rows);
    squeeze(rows, shape);
    collected_seal(&rows->collected);
    for (size_t row = 0; row < total && code == ERR_ok;) {
        size_t count = rows_chunk(rows, shape->columns, row, total);
        struct db_value *values = &rows->collected.values[row * shape->columns];
        code = db_lend(rows_statement(rows, shape, count), values, count * shape->columns, false);
        row += count;
    }
    forget_rows(rows);
    return code;
}

void
db_rows_clear(struct db_rows *rows)
{
    forget_rows(rows);
}

/* --- many keys --- */

struct db_in *
db_in(struct db *db, const char *sql)
{
    for (struct db_in *known = db->ins; known != NULL; known = known->next) {
        if (strcmp(known->sql, sql) == 0) {
            return known;
        }
    }
    struct db_in *in = memory_new(1, sizeof *in);
    assert(strstr(sql, "IN (*)") != NULL);
    in->db = db;
    in->sql = memory_text(sql);
    in->next = db->ins;
    db->ins = in;
    return in;
}

void
db_in_id(struct db_in *in, const struct id *id)
{
    collect(&in->keys, &(struct db_value){.kind = DB_ID, .id = *id});
}

void
db_in_text(struct db_in *in, struct slice text)
{
    collect_bytes(&in->keys, DB_TEXT, text);
}

size_t
db_in_count(const struct db_in *in)
{
    return in->keys.count;
}

static void
in_clear(struct db_in *in)
{
    collected_clear(&in->keys);
    in->position = 0;
    in->is_begun = false;
    if (in->current != NULL) {
        db_done(in->current);
        in->current = NULL;
    }
}

static struct db_statement *
in_statement(struct db_in *in, size_t exponent)
{
    if (in->statements[exponent] == NULL) {
        static const char mark[] = "IN (*)";
        const char *found = strstr(in->sql, mark);
        struct db_text text = {0};
        db_text_put(&text, in->sql, (size_t)(found - in->sql));
        for (size_t key = 0; key < (size_t)1 << exponent; key++) {
            db_text_put_string(&text, key == 0 ? "IN (?" : ",?");
        }
        db_text_put_string(&text, ")");
        db_text_put_string(&text, found + sizeof mark - 1);
        in->statements[exponent] = db_statement_add(in->db, db_translate(&in->db->config, text.data));
        free(text.data);
    }
    return in->statements[exponent];
}

/* Reads the next chunk of keys. The last one is filled up to a power of two by repeating its last key, which finds nothing new:
 * one trip instead of up to ten. */
static void
in_read(struct db_in *in)
{
    size_t real = in->keys.count - in->position;
    if (real > DB_CHUNK_MAX) {
        real = DB_CHUNK_MAX;
    }
    size_t exponent = exponent_of(real);
    size_t padded = in->position + ((size_t)1 << exponent);
    struct db_value last = in->keys.values[in->position + real - 1];
    while (in->keys.count < padded) {
        collect(&in->keys, &last);
    }
    struct db_statement *statement = in_statement(in, exponent);
    in->failure = db_lend(statement, &in->keys.values[in->position], padded - in->position, true);
    in->position = padded;
    in->current = in->failure == ERR_ok ? statement : NULL;
}

struct db_statement *
db_in_next(struct db_in *in)
{
    if (!in->is_begun && in->keys.count > 0) {
        in->is_begun = true;
        collected_seal(&in->keys);
        in_read(in);
    }
    while (in->current != NULL) {
        if (db_next(in->current)) {
            return in->current;
        }
        in->current = NULL;
        if (in->position < in->keys.count) {
            in_read(in);
        }
    }
    in_clear(in);
    return NULL;
}

err
db_in_end(struct db_in *in)
{
    err failure = in->failure;
    in_clear(in);
    in->failure = ERR_ok;
    return failure;
}

/* --- for db.c --- */

bool
db_many_waits(const struct db *db)
{
    for (const struct db_rows *rows = db->rows; rows != NULL; rows = rows->next) {
        if (rows->collected.count > 0) {
            return true;
        }
    }
    return false;
}

void
db_many_forget(struct db *db)
{
    for (struct db_rows *rows = db->rows; rows != NULL; rows = rows->next) {
        forget_rows(rows);
    }
    for (struct db_in *in = db->ins; in != NULL; in = in->next) {
        in_clear(in);
    }
}

void
db_many_free(struct db *db)
{
    while (db->rows != NULL) {
        struct db_rows *rows = db->rows;
        db->rows = rows->next;
        collected_fini(&rows->collected);
        for (size_t i = 0; i < SHAPES_MAX; i++) {
            free(rows->shapes[i]);
        }
        free(rows->head);
        free(rows);
    }
    while (db->ins != NULL) {
        struct db_in *in = db->ins;
        db->ins = in->next;
        collected_fini(&in->keys);
        free(in->sql);
        free(in);
    }
}
