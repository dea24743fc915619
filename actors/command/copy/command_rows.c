/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE
 *   A database is its schema's steps and its rows, on either engine: so a copy is made by the steps that the original has had, and by
 *   every row of every table, read and written through the database port.
 *
 * STATE
 *   Each table of the original but $schema_version, in the order of its primary key; $shard comes first.
 *
 * FAILURES
 *   A schema of a later version, a table without a primary key and a value of another type than its column are refused by name. What
 *   was copied before a failure stays: the target is of no use then.
 *
 * LIMITS
 *   PAGE_ROWS rows are in memory at a time; COMMIT_PAGES pages of them are one commit.
 */
#include "command_rows.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kit/base/memory.h"

enum { PAGE_ROWS = 500, COMMIT_PAGES = 16, COLUMNS_MAX = 64, KEYS_MAX = 4, TABLES_MAX = 64, STEPS_MAX = 512, SQL_MAX = 4096 };

struct column {
    char name[DB_NAME_MAX];
    char type; /* I, T or B: INTEGER, TEXT, BLOB */
};

struct table {
    char name[DB_NAME_MAX];
    struct column columns[COLUMNS_MAX];
    int count;
    int keys[KEYS_MAX]; /* columns of the primary key, in its order */
    int key_count;
};

/* A value of the last row of a page. */
struct key {
    int64_t number;
    uint8_t *bytes;
    size_t size;
};

/* --- the schema --- */

/* Keeps the steps that the original has had, in the order of the list. */
static err
choose_steps(struct db *from, struct db_step *steps, size_t *count, struct err_text *why)
{
    struct db_statement *read = db_statement(from, "SELECT version FROM $schema_version ORDER BY version");
    bool had[STEPS_MAX] = {false};
    err code = db_query(read);
    while (code == ERR_ok && db_next(read)) {
        int64_t version = db_i64(read, 0);
        size_t at = 0;
        while (at < *count && steps[at].version != version) {
            at++;
        }
        if (at == *count || at >= STEPS_MAX) {
            code = err_say(why, ERR_wrong_setting, "its schema has step %lld, which this larder does not know", (long long)version);
            break;
        }
        had[at] = true;
    }
    db_done(read);
    size_t kept = 0;
    for (size_t i = 0; i < *count && i < STEPS_MAX; i++) {
        if (had[i]) {
            steps[kept++] = steps[i];
        }
    }
    *count = kept;
    return code;
}

static err
make_tables(const struct command_rows *copy, struct err_text *why)
{
    size_t count = 0;
    struct db_step *steps = installation_steps(copy->part, &count);
    struct err_text reason = {""};
    err code = choose_steps(copy->from, steps, &count, &reason);
    if (code == ERR_ok) {
        code = db_migrate(copy->to, steps, count, &reason);
    }
    free(steps);
    const char *words = reason.text[0] != '\0' ? reason.text : db_error(copy->from);
    return code == ERR_ok ? ERR_ok : err_say(why, code, "%s: %.400s", copy->part->name, words);
}

static void
copy_name(char name[DB_NAME_MAX], struct slice text)
{
    snprintf(name, DB_NAME_MAX, "%.*s", (int)text.size, text.size == 0 ? "" : (const char *)text.data);
}

static err
read_tables(struct db *sqlite, struct table *tables, size_t *count)
{
    struct db_statement *read = db_statement(sqlite, "SELECT name FROM sqlite_master WHERE type = 'table' AND name <> 'schema_version'"
                                                     " AND name NOT LIKE 'sqlite%' ORDER BY name <> 'shard', name");
    err code = db_query(read);
    *count = 0;
    while (code == ERR_ok && *count < TABLES_MAX && db_next(read)) {
        copy_name(tables[(*count)++].name, db_bytes(read, 0));
    }
    db_done(read);
    return code;
}

static err
read_columns(struct db *sqlite, struct table *table)
{
    struct db_statement *read = db_statement(sqlite, "SELECT name, type, pk FROM pragma_table_info(?) ORDER BY cid");
    db_bind_text(read, slice_of(table->name));
    err code = db_query(read);
    table->count = table->key_count = 0;
    while (code == ERR_ok && table->count < COLUMNS_MAX && db_next(read)) {
        struct column *column = &table->columns[table->count];
        int64_t place = db_i64(read, 2);
        copy_name(column->name, db_bytes(read, 0));
        column->type = db_bytes(read, 1).size > 0 ? (char)db_bytes(read, 1).data[0] : '?';
        if (place > 0 && place <= KEYS_MAX) {
            table->keys[place - 1] = table->count;
            table->key_count = place > table->key_count ? (int)place : table->key_count;
        }
        table->count++;
    }
    db_done(read);
    return code;
}

/* --- one table --- */

/* SQL under construction; too much of it is our own bug and is cut, which no engine takes. */
static void __attribute__((format(printf, 2, 3))) say(char sql[SQL_MAX], const char *format, ...)
{
    size_t size = strlen(sql);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(sql + size, SQL_MAX - size, format, arguments);
    va_end(arguments);
}

static void
say_columns(char sql[SQL_MAX], const struct table *table)
{
    for (int i = 0; i < table->count; i++) {
        say(sql, "%s%s", i == 0 ? "" : ", ", table->columns[i].name);
    }
}

/* (a > ?) OR (a = ? AND b > ?) OR ...: MySQL takes that for a range, and not the comparison of whole keys. */
static struct db_statement *
page_after(struct db *from, const struct table *table, const struct key *last)
{
    char sql[SQL_MAX] = "SELECT ";
    say_columns(sql, table);
    say(sql, " FROM $%s", table->name);
    for (int i = 0; last != NULL && i < table->key_count; i++) {
        say(sql, "%s(", i == 0 ? " WHERE " : " OR ");
        for (int k = 0; k < i; k++) {
            say(sql, "%s = ? AND ", table->columns[table->keys[k]].name);
        }
        say(sql, "%s > ?)", table->columns[table->keys[i]].name);
    }
    for (int i = 0; i < table->key_count; i++) {
        say(sql, "%s%s", i == 0 ? " ORDER BY " : ", ", table->columns[table->keys[i]].name);
    }
    say(sql, " LIMIT %d", PAGE_ROWS);
    struct db_statement *read = db_statement(from, sql);
    for (int i = 0; last != NULL && i < table->key_count; i++) {
        for (int k = 0; k <= i; k++) {
            struct slice bytes = {last[k].bytes, last[k].size};
            char type = table->columns[table->keys[k]].type;
            if (type == 'I') {
                db_bind_i64(read, last[k].number);
            } else if (type == 'T') {
                db_bind_text(read, bytes);
            } else {
                db_bind_bytes(read, bytes);
            }
        }
    }
    return read;
}

static void
remember_key(struct db_statement *row, const struct table *table, struct key *last)
{
    for (int i = 0; i < table->key_count; i++) {
        int column = table->keys[i];
        if (table->columns[column].type == 'I') {
            last[i].number = db_i64(row, column);
            continue;
        }
        struct slice bytes = db_bytes(row, column);
        free(last[i].bytes);
        last[i].bytes = memory_room(bytes.size + 1);
        memcpy(last[i].bytes, bytes.size > 0 ? (const void *)bytes.data : "", bytes.size);
        last[i].size = bytes.size;
    }
}

static void
add_row(struct db_rows *rows, struct db_statement *row, const struct table *table, bool is_closed)
{
    for (int i = 0; i < table->count; i++) {
        if (is_closed && strcmp(table->columns[i].name, "shards") == 0) {
            db_rows_i64(rows, 0);
        } else if (db_is_null(row, i)) {
            db_rows_null(rows);
        } else if (table->columns[i].type == 'I') {
            db_rows_i64(rows, db_i64(row, i));
        } else if (table->columns[i].type == 'T') {
            db_rows_text(rows, db_bytes(row, i));
        } else {
            db_rows_bytes(rows, db_bytes(row, i));
        }
    }
}

/* What the steps themselves have put there is in the original too. */
static err
empty_table(struct db *to, const struct table *table)
{
    char sql[SQL_MAX] = "";
    say(sql, "DELETE FROM $%s", table->name);
    return db_queue(db_statement(to, sql), DB_ANY_ROWS);
}

static err
copy_pages(const struct command_rows *copy, const struct table *table, struct key *last)
{
    char head[SQL_MAX] = "";
    say(head, "INSERT INTO $%s (", table->name);
    say_columns(head, table);
    say(head, ")");
    struct db_rows *rows = db_rows(copy->to, head, table->count);
    bool is_closed = copy->is_closed && strcmp(table->name, "shard") == 0;
    err code = empty_table(copy->to, table);
    int64_t taken = PAGE_ROWS;
    for (int page = 1; code == ERR_ok && taken == PAGE_ROWS; page++) {
        struct db_statement *read = page_after(copy->from, table, page == 1 ? NULL : last);
        code = db_query(read);
        for (taken = 0; code == ERR_ok && db_next(read); taken++) {
            add_row(rows, read, table, is_closed);
            if (taken == PAGE_ROWS - 1) {
                remember_key(read, table, last);
            }
        }
        db_done(read);
        code = code == ERR_ok ? db_rows_queue(rows) : code;
        if (code == ERR_ok && (taken < PAGE_ROWS || page % COMMIT_PAGES == 0)) {
            code = db_commit(copy->to);
        }
    }
    return code;
}

static err
copy_table(const struct command_rows *copy, const struct table *table, struct err_text *why)
{
    struct key last[KEYS_MAX] = {{0}};
    err code = copy_pages(copy, table, last);
    for (int i = 0; i < KEYS_MAX; i++) {
        free(last[i].bytes);
    }
    const char *words = db_error(copy->to)[0] != '\0' ? db_error(copy->to) : db_error(copy->from);
    return code == ERR_ok ? ERR_ok
                          : err_say(why, code, "%s: the rows of %s cannot be copied: %.300s", copy->part->name, table->name, words);
}

err
command_rows_copy(const struct command_rows *copy, struct err_text *why)
{
    static struct table tables[TABLES_MAX];
    struct db *sqlite = db_driver(copy->from) == DB_SQLITE ? copy->from : copy->to;
    size_t count = 0;
    err code = make_tables(copy, why);
    if (code != ERR_ok) {
        return code;
    }
    code = read_tables(sqlite, tables, &count);
    for (size_t i = 0; code == ERR_ok && i < count; i++) {
        code = read_columns(sqlite, &tables[i]);
        if (code == ERR_ok && tables[i].key_count == 0) {
            return err_say(why, ERR_db_bug, "%s: the table %s has no primary key", copy->part->name, tables[i].name);
        }
    }
    if (code != ERR_ok) {
        return err_say(why, code, "%s: the schema cannot be read: %.300s", copy->part->name, db_error(sqlite));
    }
    for (size_t i = 0; code == ERR_ok && i < count; i++) {
        code = copy_table(copy, &tables[i], why);
    }
    return code;
}
