/* SPDX-License-Identifier: MPL-2.0 */
/*
 * What schemas promise to databases of earlier and of later builds, on both engines.
 *
 * PURPOSE   Databases are made by the lists of steps that were edited after they had been published (schema_editions.def), and brought
 *           up to date: then they have every column and every key that a new database has.
 * LIMITS    What is there beside that is left alone. On SQLite keys are compared by their columns, as some of them have no names.
 */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kit/actor.h"
#include "command/run/command_process.h"
#include "kit/db/db_driver.h"
#include "../support/kit_place.h"
#include "kit/place/kit_schema.h"

#define STEPS_MAX 128
#define LINES_MAX 512

struct published {
    char actor[16];
    char edition[16];
    struct db_step step;
};

#define STEP(actor, edition, version, sql) {#actor, edition, {version, sql}},
static const struct published published[] = {
#include "schema_editions.def"
};
#undef STEP
#define PUBLISHED_COUNT (sizeof published / sizeof published[0])

struct list {
    struct db_step steps[STEPS_MAX];
    size_t count;
};

static void
add_edition(struct list *list, const char *actor, const char *edition)
{
    for (size_t i = 0; i < PUBLISHED_COUNT; i++) {
        if (strcmp(published[i].actor, actor) == 0 && strcmp(published[i].edition, edition) == 0) {
            cr_assert(list->count < STEPS_MAX);
            list->steps[list->count++] = published[i].step;
        }
    }
}

static const char *
last_edition(const char *actor)
{
    const char *last = NULL;
    for (size_t i = 0; i < PUBLISHED_COUNT; i++) {
        last = strcmp(published[i].actor, actor) == 0 ? published[i].edition : last;
    }
    return last;
}

/* All steps of an actor as it is now. */
static void
add_present(struct list *list, const char *actor)
{
    const struct actor_class *class = process_class(actor);
    cr_assert(class != NULL && kit_step_count + class->step_count <= STEPS_MAX);
    memcpy(list->steps, kit_steps, kit_step_count * sizeof *kit_steps);
    memcpy(list->steps + kit_step_count, class->steps, class->step_count * sizeof *class->steps);
    list->count = kit_step_count + class->step_count;
}

static struct db *
open_as(const struct place *place, const char *actor, int shard)
{
    struct db *db = NULL;
    struct err_text why = {""};
    struct db_config config = place->config;
    snprintf(config.prefix, sizeof config.prefix, "%s_%d", actor, shard);
    cr_assert(db_open(&config, &db, &why) == ERR_ok, "%s", why.text);
    return db;
}

static void
migrate(struct db *db, const struct list *list)
{
    struct err_text why = {""};
    cr_assert(db_migrate(db, list->steps, list->count, &why) == ERR_ok, "%s", why.text);
}

static void
run(struct db *db, const char *sql)
{
    err code = db_run(db_statement(db, sql), NULL);
    cr_assert(code == ERR_ok, "%s: %s", sql, db_error(db));
    cr_assert(db_commit(db) == ERR_ok, "%s", db_error(db));
}

/* --- what a database has --- */

struct lines {
    char *text[LINES_MAX];
    size_t count;
};

static const char *const columns_of[] = {
    [DB_SQLITE] = "SELECT m.name || '.' || c.name || ' ' || c.type || ' null ' || (1 - c.\"notnull\")"
                  " FROM sqlite_master AS m, pragma_table_info(m.name) AS c WHERE m.type = 'table' AND ? <> ''",
    [DB_MYSQL] = "SELECT CONCAT(SUBSTRING_INDEX(table_name, '_0_', -1), '.', column_name, ' ', column_type, ' null ', is_nullable)"
                 " FROM information_schema.columns WHERE table_schema = DATABASE() AND table_name LIKE ?",
};
static const char *const keys_of[] = {
    [DB_SQLITE] = "SELECT m.name || ' by ' || (SELECT group_concat(i.name) FROM pragma_index_info(l.name) AS i)"
                  " FROM sqlite_master AS m, pragma_index_list(m.name) AS l WHERE m.type = 'table' AND ? <> ''",
    [DB_MYSQL] = "SELECT CONCAT(SUBSTRING_INDEX(table_name, '_0_', -1), ' by ', SUBSTRING_INDEX(index_name, '_0_', -1), ': ',"
                 " GROUP_CONCAT(column_name ORDER BY seq_in_index)) FROM information_schema.statistics"
                 " WHERE table_schema = DATABASE() AND table_name LIKE ? GROUP BY table_name, index_name",
};

static void
describe(struct db *db, const char *actor, const char *const sql[2], struct lines *lines)
{
    char pattern[40];
    snprintf(pattern, sizeof pattern, "%s_0_%%", actor);
    struct db_statement *read = db_statement(db, sql[db_driver(db)]);
    db_bind_text(read, slice_of(pattern));
    cr_assert(db_query(read) == ERR_ok, "%s", db_error(db));
    while (db_next(read)) {
        struct slice line = db_bytes(read, 0);
        cr_assert(lines->count < LINES_MAX);
        lines->text[lines->count++] = strndup((const char *)line.data, line.size);
    }
    db_rollback(db);
}

static void
forget(struct lines *lines)
{
    while (lines->count > 0) {
        free(lines->text[--lines->count]);
    }
}

static bool
has_line(const struct lines *lines, const char *text)
{
    for (size_t i = 0; i < lines->count; i++) {
        if (strcmp(lines->text[i], text) == 0) {
            return true;
        }
    }
    return false;
}

static void
expect_same(struct db *fresh, struct db *mended, const char *actor, const char *const sql[2], const char *edition)
{
    struct lines wanted = {.count = 0};
    struct lines found = {.count = 0};
    describe(fresh, actor, sql, &wanted);
    describe(mended, actor, sql, &found);
    cr_assert(wanted.count > 10, "only %zu lines", wanted.count);
    for (size_t i = 0; i < wanted.count; i++) {
        cr_expect(has_line(&found, wanted.text[i]), "%s of edition %s, mended, lacks: %s", actor, edition, wanted.text[i]);
    }
    forget(&wanted);
    forget(&found);
}

/* --- databases of earlier builds --- */

/* Two places: one for a new database, one that was made by an edition. */
static void
mend(enum db_driver driver, const char *actor, const char *kit_edition, const char *edition)
{
    struct place new_place;
    struct place old_place;
    struct list old = {.count = 0};
    struct list present = {.count = 0};
    place_enter(&new_place, driver);
    place_enter(&old_place, driver);
    if (driver == DB_MYSQL) {
        strcat(old_place.config.name, "_old");
    }
    add_edition(&old, "kit", kit_edition);
    add_edition(&old, actor, edition);
    add_present(&present, actor);
    struct db *fresh = open_as(&new_place, actor, 0);
    struct db *mended = open_as(&old_place, actor, 0);
    migrate(fresh, &present);
    migrate(mended, &old);
    run(mended, "ALTER TABLE $schema_version DROP COLUMN oldest");
    migrate(mended, &present);
    expect_same(fresh, mended, actor, columns_of, edition);
    expect_same(fresh, mended, actor, keys_of, edition);

    struct db_schema schema;
    struct err_text why = {""};
    cr_expect(db_schema_read(mended, present.steps, present.count, &schema, &why) == ERR_ok, "%s", why.text);
    cr_expect(schema.is_there && schema.missing == 0, "%s is missing", schema.steps);
    db_close(&fresh);
    db_close(&mended);
    place_leave(&new_place);
    place_leave(&old_place);
}

/* Whether the server would be told other words than by the edition that came later: MySQL knows no tables that are one tree. */
static bool
is_another(enum db_driver driver, size_t first, size_t later)
{
    struct db_config config = {.driver = driver};
    for (size_t i = first; i < later; i++) {
        bool is_found = false;
        for (size_t k = later; k < PUBLISHED_COUNT && strcmp(published[k].actor, published[first].actor) == 0; k++) {
            char *old = db_translate(&config, published[i].step.sql);
            char *new = db_translate(&config, published[k].step.sql);
            is_found = is_found || (published[i].step.version == published[k].step.version && strcmp(old, new) == 0);
            free(old);
            free(new);
        }
        if (!is_found) {
            return true;
        }
    }
    return false;
}

/* Each edition of each actor that another one came after, upon the kit's last one, and those of the kit beneath stock. */
static void
mend_all(enum db_driver driver)
{
    size_t mended = 0;
    size_t first = 0;
    for (size_t i = 1; i < PUBLISHED_COUNT; i++) {
        bool is_same = strcmp(published[i].actor, published[first].actor) == 0;
        if (is_same && strcmp(published[i].edition, published[first].edition) == 0) {
            continue;
        }
        if (is_same && is_another(driver, first, i)) {
            bool is_kit = strcmp(published[first].actor, "kit") == 0;
            mend(driver, is_kit ? "stock" : published[first].actor, is_kit ? published[first].edition : last_edition("kit"),
                 is_kit ? last_edition("stock") : published[first].edition);
            mended++;
        }
        first = i;
    }
    cr_expect(mended >= 9, "only %zu editions were looked at", mended);
}

Test(schema_sqlite, databases_of_edited_steps_have_all_that_a_new_one_has, .timeout = 120)
{
    mend_all(DB_SQLITE);
}

Test(schema_mysql, databases_of_edited_steps_have_all_that_a_new_one_has, .timeout = 300)
{
    mend_all(DB_MYSQL);
}

/* --- databases of later builds --- */

static const struct db_step own[] = {
    {1, "CREATE TABLE IF NOT EXISTS $thing (n {I64} NOT NULL PRIMARY KEY) {TABLE_END}"},
    {2, "{BUILD 1} {UNLESS $thing.words} ALTER TABLE $thing ADD COLUMN words {TEXT 20}"},
    {3, "CREATE INDEX IF NOT EXISTS thing_words ON $thing (words)"},
};

static void
put_version(struct db *db, int64_t version, int64_t oldest)
{
    struct db_statement *put = db_statement(db, "INSERT INTO $schema_version (version, applied, oldest) VALUES (?, 1, ?)");
    db_bind_i64(put, version);
    db_bind_i64(put, oldest);
    place_expect(db, db_queue(put, 1), ERR_ok);
    place_expect(db, db_commit(db), ERR_ok);
}

ON_BOTH(schema, a_later_step_that_does_not_allow_this_build_is_refused_by_database_and_step)
{
    struct err_text why = {""};
    struct db_schema schema;
    struct db *db = open_as(place, "stock", 0);
    cr_assert(db_migrate(db, own, 3, &why) == ERR_ok, "%s", why.text);
    put_version(db, 900, DB_BUILD + 1);
    cr_expect(db_schema_read(db, own, 3, &schema, &why) == ERR_wrong_setting);
    cr_expect(db_migrate(db, own, 3, &why) == ERR_wrong_setting);
    cr_expect(strstr(why.text, "stock_0") != NULL && strstr(why.text, "step 900") != NULL, "%s", why.text);
    cr_expect(strstr(why.text, "Start a larder of build") != NULL, "%s", why.text);
    db_close(&db);
}

ON_BOTH(schema, a_later_step_that_allows_this_build_is_run_on)
{
    struct err_text why = {""};
    struct db *db = open_as(place, "stock", 0);
    cr_assert(db_migrate(db, own, 2, &why) == ERR_ok, "%s", why.text);
    put_version(db, 900, DB_BUILD);
    put_version(db, 901, 0);
    cr_expect(db_migrate(db, own, 3, &why) == ERR_ok, "%s", why.text);
    cr_expect(place_number(db, "SELECT COUNT(*) FROM $schema_version") == 5);
    db_close(&db);
}

ON_BOTH(schema, a_step_keeps_the_oldest_build_that_it_names)
{
    struct err_text why = {""};
    struct db *db = open_as(place, "stock", 0);
    cr_assert(db_migrate(db, own, 3, &why) == ERR_ok, "%s", why.text);
    cr_expect(place_number(db, "SELECT SUM(oldest * 100 + version) FROM $schema_version WHERE oldest > 0") == 102);
    db_close(&db);
}

ON_BOTH(schema, what_is_missing_is_named_in_ranges)
{
    struct err_text why = {""};
    struct db_schema schema;
    struct db *db = open_as(place, "stock", 0);
    static const struct db_step later[] = {{5, "SELECT 1"}, {7, "SELECT 1"}, {8, "SELECT 1"}, {9, "SELECT 1"}, {2, "SELECT 1"}};
    cr_expect(db_schema_read(db, later, 5, &schema, &why) == ERR_ok, "%s", why.text);
    cr_expect(!schema.is_there && schema.missing == 5);
    cr_assert(db_migrate(db, own, 3, &why) == ERR_ok, "%s", why.text);
    cr_expect(db_schema_read(db, later, 5, &schema, &why) == ERR_ok, "%s", why.text);
    cr_expect(schema.is_there && schema.missing == 4);
    cr_expect_str_eq(schema.steps, "5, 7 to 9");
    db_close(&db);
}

/* --- a user who may not make tables --- */

struct small_user {
    char name[32];
    struct place place; /* as that user */
};

static void
add_user(const struct place *place, struct small_user *user, const char *rights)
{
    char sql[256];
    user->place = *place;
    snprintf(user->name, sizeof user->name, "small_%d", (int)getpid());
    snprintf(sql, sizeof sql, "CREATE OR REPLACE USER %s@'%%'", user->name);
    place_run(place, sql);
    snprintf(sql, sizeof sql, "CREATE OR REPLACE USER %s@localhost", user->name);
    place_run(place, sql);
    snprintf(sql, sizeof sql, "GRANT %s ON `%s`.* TO %s@'%%', %s@localhost", rights, place->config.name, user->name, user->name);
    place_run(place, sql);
    snprintf(user->place.config.user, sizeof user->place.config.user, "%s", user->name);
    user->place.config.password[0] = '\0';
}

static void
drop_user(const struct place *place, const struct small_user *user)
{
    char sql[128];
    snprintf(sql, sizeof sql, "DROP USER %s@'%%', %s@localhost", user->name, user->name);
    place_run(place, sql);
}

static void
a_user_who_may_not_create_starts_when_nothing_is_to_be_done(struct place *place)
{
    struct err_text why = {""};
    struct small_user user;
    struct db *db = open_as(place, "stock", 0);
    cr_assert(db_migrate(db, own, 2, &why) == ERR_ok, "%s", why.text);
    add_user(place, &user, "SELECT, INSERT, UPDATE, DELETE");
    struct db *small = open_as(&user.place, "stock", 0);
    cr_expect(db_migrate(small, own, 2, &why) == ERR_ok, "%s", why.text);
    cr_expect(db_migrate(small, own, 3, &why) == ERR_db_denied, "%s", why.text);
    cr_expect(strstr(why.text, "stock_0 lacks step 3") != NULL && strstr(why.text, "larder migrate") != NULL, "%s", why.text);
    db_close(&small);
    small = open_as(&user.place, "order", 0);
    cr_expect(db_migrate(small, own, 3, &why) == ERR_db_denied, "%s", why.text);
    cr_expect(strstr(why.text, "order_0 lacks steps 1 to 3") != NULL, "%s", why.text);
    db_close(&small);
    db_close(&db);
    drop_user(place, &user);
}
ON_ONE(schema_mysql, a_user_who_may_not_create_starts_when_nothing_is_to_be_done, DB_MYSQL)
