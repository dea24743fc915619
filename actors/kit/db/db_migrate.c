/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Migrations: the numbered steps of a schema, each applied once.
 *
 * PURPOSE   $schema_version(version, applied, oldest) holds one row per applied step; what is missing there is applied in the order of
 *           the list. `oldest` is the first build that may run on a database with this step: every build looks at it in all rows,
 *           also in those of steps that it does not know, and refuses what is later than itself.
 *           A step may begin with words in braces that are no part of its SQL:
 *             {BUILD n}                        builds before n must not run on it; without it every build may
 *             {MYSQL}                          it is for MySQL alone
 *             {UNLESS $table.column}           it is for databases that lack the column
 *             {UNLESS $table.column IN index}  it is for databases whose index of that name lacks the column
 *           Where a step is not for this database it counts as done.
 * STATE     On SQLite all steps and their records are one transaction. On MySQL DDL commits by itself: every step is committed with
 *           its record, under GET_LOCK('larder:<prefix>'), on a connection that may wait longer than others.
 * FAILURES  The sentence names the step, the prefix and what the engine said; a user who may not make a step is told all that are
 *           missing. A step that an interrupted run had done on MySQL (the table, column or index is there) counts as done. The db
 *           is of no use after a failure: close it.
 * LIMITS    A version occurs once; lists with different versions may be applied to one prefix. Steps are not taken back. A step that
 *           was published is never edited (tests/unit/published_steps.def): databases have what its first text made. What an edit
 *           had left behind is repaired by steps with UNLESS; they stand in the list where what they make is needed.
 *           Builds from before `oldest` look at nothing: they run on whatever they find.
 */
#include "db_driver.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "kit/base/memory.h"

#define WORD_MAX 80
#define PLACE_MAX 256

struct migration {
    struct db *db;
    const struct db_step *steps;
    size_t count;
    bool *is_applied; /* one per step */
    bool has_table;
    bool has_oldest;
    bool is_all;
};

/* What the words before a step's SQL say. */
struct guard {
    int64_t oldest;
    bool is_mysql_only;
    char table[DB_NAME_MAX]; /* as the engine knows it; "" without UNLESS */
    char column[DB_NAME_MAX];
    char index[DB_NAME_MAX]; /* "": of the table */
    const char *sql;
};

/* --- what is there --- */

static const char *const find_column[] = {
    [DB_SQLITE] = "SELECT COUNT(*) FROM pragma_table_info(?) WHERE name = ?",
    [DB_MYSQL] = "SELECT COUNT(*) FROM information_schema.columns"
                 " WHERE table_schema = DATABASE() AND table_name = ? AND column_name = ?",
};
static const char *const find_in_index[] = {
    [DB_SQLITE] = "SELECT COUNT(*) FROM pragma_index_list(?) AS l, pragma_index_info(l.name) AS i WHERE i.name = ? AND l.name = ?",
    [DB_MYSQL] = "SELECT COUNT(*) FROM information_schema.statistics"
                 " WHERE table_schema = DATABASE() AND table_name = ? AND column_name = ? AND index_name = ?",
};

static void
name_table(const struct db *db, const char *name, char table[DB_NAME_MAX])
{
    bool is_mysql = db->config.driver == DB_MYSQL;
    int size = snprintf(table, DB_NAME_MAX, "%s%s%s", is_mysql ? db->config.prefix : "", is_mysql ? "_" : "", name);
    assert(size > 0 && size < DB_NAME_MAX && "a table's name is too long");
}

/* Whether the table has the column, or with an index whether that has it. */
static err
look_for(struct db *db, const char *table, const char *column, const char *index, bool *is_there)
{
    enum db_driver driver = db->config.driver;
    struct db_statement *look = db_statement(db, index[0] == '\0' ? find_column[driver] : find_in_index[driver]);
    db_bind_text(look, slice_of(table));
    db_bind_text(look, slice_of(column));
    if (index[0] != '\0') {
        db_bind_text(look, slice_of(index));
    }
    err code = db_query(look);
    *is_there = code == ERR_ok && db_next(look) && db_i64(look, 0) > 0;
    db_done(look);
    return code;
}

static void
name_database(const struct db *db, char words[PLACE_MAX])
{
    const struct db_config *config = &db->config;
    if (config->driver == DB_SQLITE) {
        snprintf(words, PLACE_MAX, "%.80s/%s.db", config->path, config->prefix);
    } else {
        snprintf(words, PLACE_MAX, "%.80s.%s_*", config->name, config->prefix);
    }
}

static err
refuse_later(const struct migration *migration, int64_t version, int64_t oldest, struct err_text *why)
{
    char place[PLACE_MAX];
    name_database(migration->db, place);
    return err_say(why, ERR_wrong_setting,
                   "%s belongs to a later larder: builds before %" PRId64 " must not run on step %" PRId64
                   " of its schema, and this is"
                   " build %d. Start a larder of build %" PRId64 " or later, or restore a backup from before that step",
                   place, oldest, version, DB_BUILD, oldest);
}

/* Marks which of the steps are recorded, and refuses a database on which this build must not run. */
static err
read_versions(struct migration *migration, struct err_text *why)
{
    struct db_statement *read =
        db_statement(migration->db, migration->has_oldest ? "SELECT version, oldest FROM $schema_version ORDER BY version"
                                                          : "SELECT version, 0 FROM $schema_version ORDER BY version");
    err code = db_query(read);
    while (code == ERR_ok && db_next(read)) {
        int64_t version = db_i64(read, 0);
        int64_t oldest = db_i64(read, 1);
        for (size_t i = 0; i < migration->count; i++) {
            migration->is_applied[i] = migration->is_applied[i] || migration->steps[i].version == version;
        }
        if (oldest > DB_BUILD) {
            db_done(read);
            return refuse_later(migration, version, oldest, why);
        }
    }
    return code == ERR_ok
               ? ERR_ok
               : err_say(why, code, "the schema of %s cannot be read: %s", migration->db->config.prefix, migration->db->error);
}

static err
look(struct migration *migration, struct err_text *why)
{
    struct db *db = migration->db;
    char table[DB_NAME_MAX];
    name_table(db, "schema_version", table);
    err code = db_settle(db);
    if (code == ERR_ok) {
        code = look_for(db, table, "oldest", "", &migration->has_oldest);
    }
    migration->has_table = migration->has_oldest;
    if (code == ERR_ok && !migration->has_table) {
        code = look_for(db, table, "version", "", &migration->has_table);
    }
    if (code != ERR_ok) {
        return err_say(why, code, "the schema of %s cannot be read: %s", db->config.prefix, db->error);
    }
    if (migration->has_table) {
        code = read_versions(migration, why);
    }
    migration->is_all = migration->has_oldest;
    for (size_t i = 0; i < migration->count; i++) {
        migration->is_all = migration->is_all && migration->is_applied[i];
    }
    return code;
}

/* The missing ones, "61, 130 to 134"; neighbours in the list whose versions are neighbours too are one range. */
static size_t
list_missing(const struct migration *migration, char words[DB_STEPS_MAX])
{
    size_t missing = 0;
    size_t size = 0;
    words[0] = '\0';
    for (size_t i = 0; i < migration->count; i++) {
        if (migration->is_applied[i]) {
            continue;
        }
        size_t last = i;
        while (last + 1 < migration->count && !migration->is_applied[last + 1] &&
               migration->steps[last + 1].version == migration->steps[last].version + 1) {
            last++;
        }
        char range[40];
        int length = last == i
                         ? snprintf(range, sizeof range, "%d", migration->steps[i].version)
                         : snprintf(range, sizeof range, "%d to %d", migration->steps[i].version, migration->steps[last].version);
        bool fits = size + (size_t)length + 6 < DB_STEPS_MAX;
        if (fits) {
            size += (size_t)snprintf(words + size, DB_STEPS_MAX - size, "%s%s", missing == 0 ? "" : ", ", range);
        } else if (size > 0 && words[size - 1] != '.') {
            size += (size_t)snprintf(words + size, DB_STEPS_MAX - size, ", ...");
        }
        missing += last - i + 1;
        i = last;
    }
    return missing;
}

/* --- one step --- */

static void
read_unless(const struct db *db, const char *word, struct guard *guard)
{
    char table[DB_NAME_MAX];
    int count = sscanf(word, "UNLESS $%63[a-z_].%63[a-z_] IN %63[a-z_]", table, guard->column, guard->index);
    assert(count >= 2 && "UNLESS names no column");
    name_table(db, table, guard->table);
}

static struct guard
read_guard(const struct db *db, const char *sql)
{
    struct guard guard = {.sql = sql};
    while (*guard.sql == '{') {
        char word[WORD_MAX];
        const char *end = strchr(guard.sql, '}');
        assert(end != NULL && end - guard.sql < WORD_MAX && "a word before a step has no end");
        snprintf(word, sizeof word, "%.*s", (int)(end - guard.sql - 1), guard.sql + 1);
        if (strncmp(word, "BUILD ", 6) == 0) {
            guard.oldest = strtol(word + 6, NULL, 10);
            assert(guard.oldest > 0 && guard.oldest <= DB_BUILD && "a step is of this build or an earlier one: raise DB_BUILD");
        } else if (strncmp(word, "UNLESS ", 7) == 0) {
            read_unless(db, word, &guard);
        } else {
            assert(strcmp(word, "MYSQL") == 0 && "an unknown word before a step");
            guard.is_mysql_only = true;
        }
        guard.sql = end + 1 + strspn(end + 1, " ");
    }
    return guard;
}

static err
record(struct migration *migration, int version, int64_t oldest)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    struct db_statement *put = db_statement(migration->db, "INSERT INTO $schema_version (version, applied, oldest) VALUES (?, ?, ?)");
    db_bind_i64(put, version);
    db_bind_i64(put, (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000);
    db_bind_i64(put, oldest);
    return db_queue(put, 1);
}

static err
execute(struct db *db, const char *text)
{
    char *sql = db_translate(&db->config, text);
    err code = db->slots->execute(db, sql);
    free(sql);
    if (code != ERR_ok && !db->dead && db->slots->is_done(db)) {
        db->failure = ERR_ok;
        code = ERR_ok;
    }
    return code;
}

static err
apply_step(struct migration *migration, const struct db_step *step)
{
    struct db *db = migration->db;
    struct guard guard = read_guard(db, step->sql);
    bool is_needless = guard.is_mysql_only && db->config.driver != DB_MYSQL;
    err code = ERR_ok;
    if (!is_needless && guard.table[0] != '\0') {
        code = look_for(db, guard.table, guard.column, guard.index, &is_needless);
    }
    if (code == ERR_ok && !is_needless) {
        code = execute(db, guard.sql);
    }
    if (code == ERR_ok) {
        code = record(migration, step->version, guard.oldest);
    }
    if (code == ERR_ok) {
        code = db->slots->ddl_transacts ? db_settle(db) : db_commit(db);
    }
    return code;
}

/* --- all --- */

static err
make_table(struct migration *migration)
{
    const char *sql = migration->has_table
                          ? "ALTER TABLE $schema_version ADD COLUMN oldest {I64} NOT NULL DEFAULT 0"
                          : "CREATE TABLE IF NOT EXISTS $schema_version (version {I64} PRIMARY KEY, applied {I64} NOT NULL,"
                            " oldest {I64} NOT NULL DEFAULT 0) {TABLE_END}";
    err code = migration->has_oldest ? ERR_ok : execute(migration->db, sql);
    migration->has_oldest = migration->has_table = code == ERR_ok;
    return code;
}

static err
say_failure(const struct migration *migration, err code, int version, struct err_text *why)
{
    const struct db *db = migration->db;
    char steps[DB_STEPS_MAX];
    if (code == ERR_db_denied) {
        size_t missing = list_missing(migration, steps);
        return err_say(why, code,
                       "the schema of %s lacks step%s %s, which this user may not make: let one do it by larder migrate who"
                       " may CREATE, ALTER and INDEX (%s)",
                       db->config.prefix, missing == 1 ? "" : "s", steps, db->error);
    }
    if (version == 0) {
        return err_say(why, code, "the schema of %s cannot be made: %s", db->config.prefix, db->error);
    }
    return err_say(why, code, "step %d of the schema of %s failed: %s", version, db->config.prefix, db->error);
}

static err
apply_steps(struct migration *migration, struct err_text *why)
{
    struct db *db = migration->db;
    err code = db->slots->migrate_begin(db, why);
    if (code != ERR_ok) {
        return code;
    }
    db->begun = db->slots->ddl_transacts;
    db->writing = db->begun;
    code = look(migration, why);
    if (code != ERR_ok) {
        return code;
    }
    code = make_table(migration);
    if (code != ERR_ok) {
        return say_failure(migration, code, 0, why);
    }
    for (size_t i = 0; i < migration->count; i++) {
        code = migration->is_applied[i] ? ERR_ok : apply_step(migration, &migration->steps[i]);
        if (code != ERR_ok) {
            return say_failure(migration, code, migration->steps[i].version, why);
        }
        migration->is_applied[i] = true;
    }
    code = db_commit(db);
    return code == ERR_ok ? db->slots->migrate_end(db, why) : say_failure(migration, code, 0, why);
}

static struct migration
begin(struct db *db, const struct db_step *steps, size_t count)
{
    struct migration migration = {.db = db, .steps = steps, .count = count};
    migration.is_applied = memory_new(1, (count + 1) * sizeof *migration.is_applied);
    for (size_t i = 0; i < count; i++) {
        for (size_t k = 0; k < i; k++) {
            assert(steps[k].version != steps[i].version && "two steps with one version");
        }
    }
    return migration;
}

err
db_migrate(struct db *db, const struct db_step *steps, size_t count, struct err_text *why)
{
    struct migration migration = begin(db, steps, count);
    err code = look(&migration, why);
    if (code == ERR_ok && !migration.is_all) {
        code = apply_steps(&migration, why);
    }
    free(migration.is_applied);
    db_rollback(db);
    return code;
}

err
db_schema_read(struct db *db, const struct db_step *steps, size_t count, struct db_schema *schema, struct err_text *why)
{
    struct migration migration = begin(db, steps, count);
    err code = look(&migration, why);
    *schema = (struct db_schema){.is_there = migration.has_table};
    schema->missing = list_missing(&migration, schema->steps);
    free(migration.is_applied);
    db_rollback(db);
    return code;
}
