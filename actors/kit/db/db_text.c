/* SPDX-License-Identifier: MPL-2.0 */
/*
 * SQL text: one for two engines.
 *
 * PURPOSE   `$move` becomes the table's own name, in backticks, which both engines read: `move` in the SQLite file of its actor and
 *           shard, `stock_0_move` on a server. A type word becomes the engine's type. What stands in single quotes is left alone.
 * STATE     Type words, n in characters for NAME and TEXT and in bytes for BYTES:
 *             {I64} {NAME n} {TEXT n} {BYTES n}   the four types
 *             {TABLE_END}                         ends a table whose key is an {I64}
 *             {KEYED_TABLE_END}                   ends a table whose key is a name, an id or several columns: SQLite then keeps its
 *                                                 rows in the key's own tree, as InnoDB does, instead of in a second one
 *             {BY key}                            behind a table in a query: by this key (PRIMARY, or the first column of another)
 *                                                 and no other way; MySQL reads the whole table while its statistics are of a time
 *                                                 when it was small, as after a bulk load and a restart
 *             {ON $table}                         behind an index that is dropped: SQLite finds it without its table
 * FAILURES  An unknown word or an open quote is our own bug and asserts. Out of memory aborts.
 * LIMITS    NAME up to 255, TEXT up to 4,194,303, BYTES up to 16,777,215. On MySQL long TEXT and BYTES live outside the row, whose
 *           65,535 bytes they would exceed, and their own limit is not enforced.
 */
#include "db_driver.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kit/base/memory.h"

#define INLINE_BYTES_MAX 8192
#define INLINE_TEXT_MAX 2048 /* characters of up to four bytes */

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
    {"KEYED_TABLE_END", 0, "STRICT, WITHOUT ROWID", "ENGINE=InnoDB", false, ""},
};

void
db_text_put(struct db_text *text, const char *from, size_t size)
{
    text->data = memory_grow(text->data, &text->capacity, text->size + size + 1, 1);
    memcpy(text->data + text->size, from, size);
    text->size += size;
    text->data[text->size] = '\0';
}

void
db_text_put_string(struct db_text *text, const char *from)
{
    db_text_put(text, from, strlen(from));
}

/* Replaces a type word; `word` stands behind its brace. Returns what follows the closing brace. */
static const char *
put_type(struct db_text *text, enum db_driver driver, const char *word)
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
        db_text_put_string(text, driver == DB_SQLITE ? type->sqlite : type->mysql);
        if (driver == DB_MYSQL && type->sized) {
            char digits[32];
            snprintf(digits, sizeof digits, "(%lu)", limit);
            db_text_put_string(text, digits);
        }
        db_text_put_string(text, driver == DB_SQLITE ? "" : type->collation);
        return end + 1;
    }
    assert(false && "an unknown type word in SQL");
    return end + 1;
}

/* Replaces `{BY key}`; `key` stands behind the blank. */
static const char *
put_key(struct db_text *text, enum db_driver driver, const char *key)
{
    const char *end = strchr(key, '}');
    assert(end != NULL && "a key has no end");
    if (driver == DB_MYSQL) {
        db_text_put_string(text, "FORCE INDEX (`");
        db_text_put(text, key, (size_t)(end - key));
        db_text_put_string(text, "`)");
    }
    return end + 1;
}

/* Replaces `$name`; `name` stands behind the dollar. Returns what follows it. */
static const char *
put_table(struct db_text *text, const struct db_config *config, const char *name)
{
    size_t size = strspn(name, "abcdefghijklmnopqrstuvwxyz_0123456789");
    assert(size > 0 && "a dollar without a table's name in SQL");
    db_text_put_string(text, "`");
    if (config->driver == DB_MYSQL) {
        db_text_put_string(text, config->prefix);
        db_text_put_string(text, "_");
    }
    db_text_put(text, name, size);
    db_text_put_string(text, "`");
    return name + size;
}

/* Replaces `{ON $table}`, which names the table of an index that goes; `name` stands behind the dollar. */
static const char *
put_owner(struct db_text *text, const struct db_config *config, const char *name)
{
    size_t size = strcspn(name, "}");
    if (config->driver == DB_MYSQL) {
        db_text_put_string(text, "ON ");
        (void)put_table(text, config, name);
    }
    assert(name[size] == '}' && "a table has no end");
    return name + size + 1;
}

char *
db_translate(const struct db_config *config, const char *sql)
{
    struct db_text text = {0};
    db_text_put_string(&text, "");
    while (*sql != '\0') {
        size_t plain = strcspn(sql, "'${");
        db_text_put(&text, sql, plain);
        sql += plain;
        if (*sql == '\'') {
            const char *end = strchr(sql + 1, '\'');
            assert(end != NULL && "a quote has no end in SQL");
            db_text_put(&text, sql, (size_t)(end + 1 - sql));
            sql = end + 1;
        } else if (*sql == '$') {
            sql = put_table(&text, config, sql + 1);
        } else if (strncmp(sql, "{BY ", 4) == 0) {
            sql = put_key(&text, config->driver, sql + 4);
        } else if (strncmp(sql, "{ON $", 5) == 0) {
            sql = put_owner(&text, config, sql + 5);
        } else if (*sql == '{') {
            sql = put_type(&text, config->driver, sql + 1);
        }
    }
    return text.data;
}
