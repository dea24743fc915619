/* SPDX-License-Identifier: MPL-2.0 */
/*
 * The part of the database port that both drivers share: SQL text, statements and their results, many rows, many keys, the state
 * of the transaction, migrations.
 *
 * PURPOSE   One text of SQL for two engines. `$move` becomes the table's own name in backticks (both engines read them), a type
 *           word becomes the engine's type. Text in single quotes is left alone.
 * STATE     db->failure is the first error of the transaction; a lost connection outweighs an earlier error, because it decides
 *           what the caller must do. While it is set nothing more is sent. db->dead stands until db_reconnect().
 *           Results are copied out of the engine whole, so a read never stays open beside a write and db_next() cannot fail.
 *           $schema_version(version, applied) holds one row per applied step of the migration.
 * FAILURES  Errors of the engine come from the drivers through db_fail(). Wrong use (an unknown type word, a collected row that is
 *           not complete, rows collected but never queued at a commit) is our own bug and asserts. Out of memory aborts.
 * LIMITS    512 rows or keys, 65,535 values and 8 MiB in one statement; larger sets are cut. A key that is given twice may be
 *           answered twice when the two fall into different chunks.
 */
#include "db_driver.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define RESULT_KEEP_MAX (1024 * 1024) /* a larger buffer is given back when the read ends */
#define INLINE_BYTES_MAX 8192         /* of a row's 65,535 bytes on MySQL; longer columns live outside the row */
#define INLINE_TEXT_MAX 2048          /* characters of up to four bytes */

/* A word of the schema files: on MySQL `mysql`, the number in parentheses when the word carries one that matters, `collation`. */
struct type_word {
    const char *word;
    unsigned long limit_max; /* the row is for words with a number up to this; 0: the word has none */
    const char *sqlite;
    const char *mysql;
    bool sized;
    const char *collation;
};

static const struct type_word type_words[] = {
    {"I64", 0, "INTEGER", "BIGINT", false, ""},
    {"NAME", 255, "TEXT", "VARCHAR", true, " CHARACTER SET ascii COLLATE ascii_bin"},
    {"TEXT", INLINE_TEXT_MAX, "TEXT", "VARCHAR", true, " CHARACTER SET utf8mb4 COLLATE utf8mb4_bin"},
    {"TEXT", 4194303, "TEXT", "MEDIUMTEXT", false, " CHARACTER SET utf8mb4 COLLATE utf8mb4_bin"},
    {"BYTES", INLINE_BYTES_MAX, "BLOB", "VARBINARY", true, ""},
    {"BYTES", 16777215, "BLOB", "MEDIUMBLOB", false, ""},
    {"TABLE_END", 0, "STRICT", "ENGINE=InnoDB", false, ""},
};

/* SQL under construction. */
struct text {
    char *data;
    size_t size;
    size_t capacity;
};

/* Values collected for later: those with bytes keep the offset in `number` until they are used, because `bytes` moves. */
struct collected {
    struct db_value *values;
    size_t count;
    size_t capacity;
    uint8_t *bytes;
    size_t byte_count;
    size_t byte_capacity;
};

struct db_rows {
    struct db *db;
    struct db_rows *next;
    char *head;
    size_t columns;
    struct collected collected;
    struct db_statement *statements[DB_CHUNK_SIZES];
};

struct db_in {
    struct db *db;
    struct db_in *next;
    char *sql;
    struct collected keys;
    size_t position; /* of the first key that was not asked for yet */
    struct db_statement *current;
    err failure;
    struct db_statement *statements[DB_CHUNK_SIZES];
};

void *
db_grow(void *array, size_t *capacity, size_t count, size_t size)
{
    if (count <= *capacity) {
        return array;
    }
    size_t wanted = *capacity < 16 ? 16 : *capacity * 2;
    if (wanted < count) {
        wanted = count;
    }
    void *grown = realloc(array, wanted * size);
    if (grown == NULL) {
        abort();
    }
    *capacity = wanted;
    return grown;
}

static void *
allocate(size_t size)
{
    void *memory = calloc(1, size);
    if (memory == NULL) {
        abort();
    }
    return memory;
}

static char *
copy_text(const char *text)
{
    char *copy = strdup(text);
    if (copy == NULL) {
        abort();
    }
    return copy;
}

/* --- SQL text --- */

static void
text_put(struct text *text, const char *from, size_t size)
{
    text->data = db_grow(text->data, &text->capacity, text->size + size + 1, 1);
    memcpy(text->data + text->size, from, size);
    text->size += size;
    text->data[text->size] = '\0';
}

static void
text_put_string(struct text *text, const char *from)
{
    text_put(text, from, strlen(from));
}

/* Replaces a type word; `word` stands behind its brace. Returns what follows the closing brace. */
static const char *
put_type(struct text *text, enum db_driver driver, const char *word)
{
    size_t size = strspn(word, "ABCDEFGHIJKLMNOPQRSTUVWXYZ_0123456789");
    char *end = NULL;
    unsigned long limit = strtoul(word + size, &end, 10);
    assert(*end == '}' && "a type word has no end");
    for (size_t i = 0; i < sizeof type_words / sizeof *type_words; i++) {
        const struct type_word *type = &type_words[i];
        if (strlen(type->word) != size || memcmp(type->word, word, size) != 0 || limit > type->limit_max ||
            (limit == 0) != (type->limit_max == 0)) {
            continue;
        }
        text_put_string(text, driver == DB_SQLITE ? type->sqlite : type->mysql);
        if (driver == DB_MYSQL && type->sized) {
            char digits[32];
            snprintf(digits, sizeof digits, "(%lu)", limit);
            text_put_string(text, digits);
        }
        text_put_string(text, driver == DB_SQLITE ? "" : type->collation);
        return end + 1;
    }
    assert(false && "an unknown type word in SQL");
    return end + 1;
}

/* Replaces `$name`; `name` stands behind the dollar. Returns what follows it. */
static const char *
put_table(struct text *text, const struct db_config *config, const char *name)
{
    size_t size = strspn(name, "abcdefghijklmnopqrstuvwxyz_0123456789");
    assert(size > 0 && "a dollar without a table's name in SQL");
    text_put_string(text, "`");
    if (config->driver == DB_MYSQL) {
        text_put_string(text, config->prefix);
        text_put_string(text, "_");
    }
    text_put(text, name, size);
    text_put_string(text, "`");
    return name + size;
}

/* The text as the engine reads it; the caller frees it. */
static char *
translate(const struct db_config *config, const char *sql)
{
    struct text text = {0};
    text_put_string(&text, "");
    while (*sql != '\0') {
        size_t plain = strcspn(sql, "'${");
        text_put(&text, sql, plain);
        sql += plain;
        if (*sql == '\'') {
            const char *end = strchr(sql + 1, '\'');
            assert(end != NULL && "a quote has no end in SQL");
            text_put(&text, sql, (size_t)(end + 1 - sql));
            sql = end + 1;
        } else if (*sql == '$') {
            sql = put_table(&text, config, sql + 1);
        } else if (*sql == '{') {
            sql = put_type(&text, config->driver, sql + 1);
        }
    }
    return text.data;
}

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
    result->cells = db_grow(result->cells, &result->cell_capacity, result->cell_count + 1, sizeof *result->cells);
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
    result->bytes = db_grow(result->bytes, &result->byte_capacity, result->byte_count + size, 1);
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
    struct db *made = allocate(sizeof *made);
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
collected_fini(struct collected *collected)
{
    free(collected->values);
    free(collected->bytes);
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
    while (closing->rows != NULL) {
        struct db_rows *rows = closing->rows;
        closing->rows = rows->next;
        collected_fini(&rows->collected);
        free(rows->head);
        free(rows);
    }
    while (closing->ins != NULL) {
        struct db_in *in = closing->ins;
        closing->ins = in->next;
        collected_fini(&in->keys);
        free(in->sql);
        free(in);
    }
    free(closing);
}

static void
collected_clear(struct collected *collected)
{
    collected->count = 0;
    collected->byte_count = 0;
}

static void
in_clear(struct db_in *in)
{
    collected_clear(&in->keys);
    in->position = 0;
    if (in->current != NULL) {
        db_done(in->current);
        in->current = NULL;
    }
}

/* Forgets everything that belonged to the transaction. */
static void
forget(struct db *db)
{
    for (struct db_statement *statement = db->statements; statement != NULL; statement = statement->next) {
        statement->value_count = 0;
    }
    for (struct db_rows *rows = db->rows; rows != NULL; rows = rows->next) {
        collected_clear(&rows->collected);
    }
    for (struct db_in *in = db->ins; in != NULL; in = in->next) {
        in_clear(in);
    }
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

/* --- statements --- */

/* Takes over `sql`. */
static struct db_statement *
add_statement(struct db *db, char *sql)
{
    struct db_statement *statement = allocate(sizeof *statement);
    statement->db = db;
    statement->sql = sql;
    statement->next = db->statements;
    db->statements = statement;
    return statement;
}

struct db_statement *
db_statement(struct db *db, const char *sql)
{
    for (struct db_statement *known = db->statements; known != NULL; known = known->next) {
        if (known->text != NULL && strcmp(known->text, sql) == 0) {
            return known;
        }
    }
    struct db_statement *added = add_statement(db, translate(&db->config, sql));
    added->text = copy_text(sql);
    return added;
}

static void
bind(struct db_statement *statement, const struct db_value *value)
{
    statement->values = db_grow(statement->values, &statement->value_capacity, statement->value_count + 1, sizeof *value);
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
static err
queue(struct db_statement *statement, int64_t rows)
{
    struct db *db = statement->db;
    err code = readiness(db);
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
db_queue(struct db_statement *statement, int64_t rows)
{
    return queue(statement, rows);
}

err
db_run(struct db_statement *statement, int64_t *matched)
{
    err code = queue(statement, DB_ANY_ROWS);
    if (code == ERR_ok) {
        code = db_settle(statement->db);
    }
    if (code == ERR_ok && matched != NULL) {
        *matched = statement->db->matched;
    }
    return code;
}

static err
query(struct db_statement *statement)
{
    struct db *db = statement->db;
    result_clear(&statement->result);
    err code = db_settle(db);
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
db_query(struct db_statement *statement)
{
    return query(statement);
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

int64_t
db_i64(struct db_statement *statement, int column)
{
    const struct db_cell *cell = cell_at(statement, column);
    assert(cell->kind == DB_I64 || cell->kind == DB_NULL);
    return cell->number;
}

struct slice
db_bytes(struct db_statement *statement, int column)
{
    const struct db_cell *cell = cell_at(statement, column);
    assert(cell->kind == DB_BYTES || cell->kind == DB_NULL);
    return (struct slice){statement->result.bytes + cell->number, cell->size};
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

/* --- collected values --- */

static void
collect(struct collected *collected, const struct db_value *value)
{
    collected->values = db_grow(collected->values, &collected->capacity, collected->count + 1, sizeof *value);
    collected->values[collected->count++] = *value;
}

static void
collect_bytes(struct collected *collected, enum db_kind kind, struct slice bytes)
{
    struct db_value value = {.kind = kind, .number = (int64_t)collected->byte_count, .bytes = bytes};
    collected->bytes = db_grow(collected->bytes, &collected->byte_capacity, collected->byte_count + bytes.size + 1, 1);
    if (bytes.size > 0) {
        memcpy(collected->bytes + collected->byte_count, bytes.data, bytes.size);
    }
    collected->byte_count += bytes.size;
    collect(collected, &value);
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

/* Runs `send` on the values from `from` on, lent to the statement instead of copied. */
static err
lend(struct db_statement *statement, struct db_value *from, size_t count, bool is_read)
{
    assert(statement->values == NULL);
    statement->values = from;
    statement->value_count = count;
    err code = is_read ? query(statement) : queue(statement, DB_ANY_ROWS);
    statement->values = NULL;
    statement->value_count = 0;
    return code;
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
    assert(columns > 0);
    for (struct db_rows *known = db->rows; known != NULL; known = known->next) {
        if (strcmp(known->head, head) == 0) {
            return known;
        }
    }
    struct db_rows *rows = allocate(sizeof *rows);
    rows->db = db;
    rows->head = copy_text(head);
    rows->columns = (size_t)columns;
    rows->next = db->rows;
    db->rows = rows;
    return rows;
}

void
db_rows_i64(struct db_rows *rows, int64_t value)
{
    collect(&rows->collected, &(struct db_value){.kind = DB_I64, .number = value});
}

void
db_rows_text(struct db_rows *rows, struct slice text)
{
    collect_bytes(&rows->collected, DB_TEXT, text);
}

void
db_rows_bytes(struct db_rows *rows, struct slice bytes)
{
    collect_bytes(&rows->collected, DB_BYTES, bytes);
}

void
db_rows_id(struct db_rows *rows, const struct id *id)
{
    collect(&rows->collected, &(struct db_value){.kind = DB_ID, .id = *id});
}

void
db_rows_null(struct db_rows *rows)
{
    collect(&rows->collected, &(struct db_value){.kind = DB_NULL});
}

/* The statement for 2^exponent rows. */
static struct db_statement *
rows_statement(struct db_rows *rows, size_t exponent)
{
    if (rows->statements[exponent] == NULL) {
        struct text text = {0};
        text_put_string(&text, rows->head);
        for (size_t row = 0; row < (size_t)1 << exponent; row++) {
            text_put_string(&text, row == 0 ? " VALUES (" : ",(");
            for (size_t column = 0; column < rows->columns; column++) {
                text_put_string(&text, column == 0 ? "?" : ",?");
            }
            text_put_string(&text, ")");
        }
        rows->statements[exponent] = db_statement(rows->db, text.data);
        free(text.data);
    }
    return rows->statements[exponent];
}

/* How many of the rows from `row` on go into the next statement: a power of two within the limits. */
static size_t
rows_chunk(const struct db_rows *rows, size_t row, size_t total)
{
    size_t count = rows->db->slots->rows_max;
    while (count > total - row || count * rows->columns > DB_CHUNK_VALUES) {
        count /= 2;
    }
    const struct db_value *values = &rows->collected.values[row * rows->columns];
    while (count > 1) {
        size_t bytes = 0;
        for (size_t i = 0; i < count * rows->columns; i++) {
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
    collected_seal(&rows->collected);
    for (size_t row = 0; row < total && code == ERR_ok;) {
        size_t count = rows_chunk(rows, row, total);
        code = lend(rows_statement(rows, exponent_of(count)), &rows->collected.values[row * rows->columns], count * rows->columns, false);
        row += count;
    }
    collected_clear(&rows->collected);
    return code;
}

void
db_rows_clear(struct db_rows *rows)
{
    collected_clear(&rows->collected);
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
    struct db_in *in = allocate(sizeof *in);
    assert(strstr(sql, "IN (*)") != NULL);
    in->db = db;
    in->sql = copy_text(sql);
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

static struct db_statement *
in_statement(struct db_in *in, size_t exponent)
{
    if (in->statements[exponent] == NULL) {
        static const char mark[] = "IN (*)";
        const char *found = strstr(in->sql, mark);
        struct text text = {0};
        text_put(&text, in->sql, (size_t)(found - in->sql));
        for (size_t key = 0; key < (size_t)1 << exponent; key++) {
            text_put_string(&text, key == 0 ? "IN (?" : ",?");
        }
        text_put_string(&text, ")");
        text_put_string(&text, found + sizeof mark - 1);
        in->statements[exponent] = db_statement(in->db, text.data);
        free(text.data);
    }
    return in->statements[exponent];
}

/* Reads the next chunk of keys. The last one is filled up to a power of two by repeating its last key, which finds nothing new:
 * one trip instead of up to ten. */
static err
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
    err code = lend(statement, &in->keys.values[in->position], padded - in->position, true);
    in->position = padded;
    in->current = code == ERR_ok ? statement : NULL;
    return code;
}

err
db_in_query(struct db_in *in)
{
    in->failure = ERR_ok;
    in->position = 0;
    if (in->keys.count == 0) {
        return ERR_ok;
    }
    collected_seal(&in->keys);
    in->failure = in_read(in);
    if (in->failure != ERR_ok) {
        in_clear(in);
    }
    return in->failure;
}

struct db_statement *
db_in_next(struct db_in *in)
{
    while (in->current != NULL) {
        if (db_next(in->current)) {
            return in->current;
        }
        in->current = NULL;
        if (in->position < in->keys.count) {
            in->failure = in_read(in);
        }
    }
    in_clear(in);
    return NULL;
}

err
db_in_end(struct db_in *in)
{
    in_clear(in);
    return in->failure;
}

/* --- transactions --- */

bool
db_is_writing(const struct db *db)
{
    return db->writing;
}

err
db_settle(struct db *db)
{
    if (!db->dead) {
        db->slots->settle(db);
    }
    return db->dead && db->failure == ERR_ok ? ERR_db_lost : db->failure;
}

err
db_commit(struct db *db)
{
    for (struct db_rows *rows = db->rows; rows != NULL; rows = rows->next) {
        assert((rows->collected.count == 0 || db->failure != ERR_ok) && "rows were collected and never queued");
    }
    err code = db_settle(db);
    if (code != ERR_ok || !db->writing) {
        return code;
    }
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

/* --- migrations --- */

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
    char *sql = translate(&db->config, step->sql);
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
    char *table = translate(&db->config, "CREATE TABLE IF NOT EXISTS $schema_version "
                                         "(version {I64} PRIMARY KEY, applied {I64} NOT NULL) {TABLE_END}");
    err code = db_settle(db);
    if (code == ERR_ok) {
        code = db->slots->execute(db, table);
    }
    free(table);
    migration.is_applied = allocate((count + 1) * sizeof *migration.is_applied);
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
