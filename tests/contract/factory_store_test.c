/* SPDX-License-Identifier: MPL-2.0 */
/* The factory's SQL and its proof, on both databases. MySQL: LARDER_TEST_DB names a server that may be filled. */
#include "factory/factory_store.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <criterion/criterion.h>
#include <criterion/parameterized.h>

#include "factory/factory.h"
#include "kit/place/kit_schema.h"

struct driver {
    char name[16];
};

static struct driver drivers[] = {{"sqlite"}, {"mysql"}};

struct place {
    char folder[64];
    struct db *db;
    struct factory_store store;
};

static void
place_fini(struct place *place)
{
    db_close(&place->db);
    if (place->folder[0] != '\0') {
        char command[128];
        (void)snprintf(command, sizeof command, "rm -rf '%s'", place->folder);
        cr_expect_eq(system(command), 0);
    }
}

/* An empty database of the driver with the kit's tables and the factory's; skips the test when there is no server. */
static void
place_init(struct place *place, const struct driver *driver)
{
    struct db_config config;
    struct err_text why = {""};
    char url[512];
    *place = (struct place){0};
    if (strcmp(driver->name, "sqlite") == 0) {
        (void)snprintf(place->folder, sizeof place->folder, "/tmp/larder-XXXXXX");
        cr_assert_not_null(mkdtemp(place->folder));
        (void)snprintf(url, sizeof url, "sqlite:%s", place->folder);
    } else {
        if (getenv("LARDER_TEST_DB") == NULL) {
            cr_skip_test("LARDER_TEST_DB is not set");
        }
        (void)snprintf(url, sizeof url, "%sfactory_%d", getenv("LARDER_TEST_DB"), (int)getpid());
    }
    cr_assert_eq(db_config_parse(url, &config, &why), ERR_ok, "%s", why.text);
    (void)snprintf(config.prefix, sizeof config.prefix, "factory_0");
    cr_assert_eq(db_open(&config, &place->db, &why), ERR_ok, "%s", why.text);
    cr_assert_eq(db_migrate(place->db, kit_steps, kit_step_count, &why), ERR_ok, "%s", why.text);
    cr_assert_eq(db_migrate(place->db, factory_class.steps, factory_class.step_count, &why), ERR_ok, "%s", why.text);
    factory_store_init(&place->store, place->db);
}

static struct factory_production
production_of(int64_t n, const char *product, enum factory_status status)
{
    struct factory_production production = {
        .n = n,
        .id = id_new(),
        .quantity = 10 * n,
        .status = status,
        .ordered_at_ms = 1000 + n,
        .due_at_ms = 2000 + n,
        .done_at_ms = status == FACTORY_PRODUCED ? 3000 + n : 0,
        .attempts = n,
        .accepted = n - 1,
        .error = {"the factory answered HTTP 500: no \xe2\x82\xac"},
    };
    (void)snprintf(production.product, sizeof production.product, "%s", product);
    return production;
}

static struct factory_production
insert_production(struct place *place, int64_t n, const char *product, enum factory_status status)
{
    struct factory_production production = production_of(n, product, status);
    cr_assert_eq(factory_store_insert(&place->store, &production, NULL), ERR_ok);
    return production;
}

static void
put_shelf(struct place *place, const char *product, int64_t open_production, int64_t last_seq)
{
    struct factory_shelf shelf = {.open_production = open_production, .last_seq = last_seq};
    cr_assert_eq(factory_store_put_shelf(&place->store, slice_of(product), &shelf), ERR_ok);
}

static void
run_sql(struct place *place, const char *sql)
{
    cr_assert_eq(db_run(db_statement(place->db, sql), NULL), ERR_ok, "%s: %s", sql, db_error(place->db));
}

static void
insert_due(struct place *place, const char *owner, const struct id *id)
{
    struct db_statement *insert =
        db_statement(place->db, "INSERT INTO $due (owner, due_key, due, attempts, payload) VALUES (?, ?, 1, 0, ?)");
    db_bind_text(insert, slice_of(owner));
    db_bind_id(insert, id);
    db_bind_bytes(insert, slice_of(""));
    cr_assert_eq(db_run(insert, NULL), ERR_ok, "%s", db_error(place->db));
}

#define DRIVERS(test)                                                                         \
    ParameterizedTestParameters(factory_store, test)                                          \
    {                                                                                         \
        return cr_make_param_array(struct driver, drivers, sizeof drivers / sizeof *drivers); \
    }                                                                                         \
    ParameterizedTest(struct driver *driver, factory_store, test)

DRIVERS(a_production_is_read_as_it_was_written)
{
    struct place place;
    place_init(&place, driver);
    struct factory_production written = insert_production(&place, 7, "007", FACTORY_REQUESTED);
    cr_assert_eq(db_commit(place.db), ERR_ok, "%s", db_error(place.db));
    struct factory_production read;
    bool found = false;
    cr_assert_eq(factory_store_find(&place.store, &written.id, &read, &found), ERR_ok);
    cr_assert(found);
    cr_expect_eq(read.n, 7);
    cr_expect(id_equal(&read.id, &written.id));
    cr_expect_str_eq(read.product, "007");
    cr_expect_eq(read.quantity, 70);
    cr_expect_eq(read.status, FACTORY_REQUESTED);
    cr_expect_eq(read.ordered_at_ms, 1007);
    cr_expect_eq(read.due_at_ms, 2007);
    cr_expect_eq(read.done_at_ms, 0);
    cr_expect_eq(read.attempts, 7);
    cr_expect_eq(read.accepted, 6);
    cr_expect_str_eq(read.error.text, written.error.text);
    cr_assert_eq(factory_store_find_n(&place.store, 7, &read, &found), ERR_ok);
    cr_expect(found);
    cr_assert_eq(factory_store_find_n(&place.store, 8, &read, &found), ERR_ok);
    cr_expect_not(found);
    place_fini(&place);
}

DRIVERS(an_update_changes_one_production)
{
    struct place place;
    place_init(&place, driver);
    struct factory_production first = insert_production(&place, 1, "donut", FACTORY_ORDERED);
    struct factory_production second = insert_production(&place, 2, "donut", FACTORY_ORDERED);
    first.status = FACTORY_PRODUCED;
    first.done_at_ms = 99;
    first.error.text[0] = '\0';
    cr_assert_eq(factory_store_update(&place.store, &first), ERR_ok);
    cr_assert_eq(db_commit(place.db), ERR_ok);
    struct factory_production read;
    bool found = false;
    cr_assert_eq(factory_store_find(&place.store, &first.id, &read, &found), ERR_ok);
    cr_expect(found && read.status == FACTORY_PRODUCED && read.done_at_ms == 99 && read.error.text[0] == '\0');
    cr_assert_eq(factory_store_find(&place.store, &second.id, &read, &found), ERR_ok);
    cr_expect(found && read.status == FACTORY_ORDERED);
    place_fini(&place);
}

DRIVERS(an_update_of_nothing_is_stale)
{
    struct place place;
    place_init(&place, driver);
    struct factory_production missing = production_of(1, "donut", FACTORY_ORDERED);
    err queued = factory_store_update(&place.store, &missing);
    err settled = db_settle(place.db);
    cr_expect(queued == ERR_db_stale || settled == ERR_db_stale);
    db_rollback(place.db);
    place_fini(&place);
}

DRIVERS(a_capability_finds_its_production_and_others_have_none)
{
    static const uint8_t hash[FACTORY_HASH_SIZE] = {1};
    static const uint8_t other[FACTORY_HASH_SIZE] = {2};
    struct place place;
    place_init(&place, driver);
    struct factory_production production = production_of(1, "donut", FACTORY_ORDERED);
    cr_assert_eq(factory_store_insert(&place.store, &production, hash), ERR_ok);
    insert_production(&place, 2, "donut", FACTORY_PRODUCED);
    insert_production(&place, 3, "donut", FACTORY_PRODUCED);
    cr_assert_eq(db_commit(place.db), ERR_ok);
    struct factory_production read;
    bool found = false;
    cr_assert_eq(factory_store_find_capability(&place.store, hash, &read, &found), ERR_ok);
    cr_expect(found && read.n == 1);
    cr_assert_eq(factory_store_find_capability(&place.store, other, &read, &found), ERR_ok);
    cr_expect_not(found);
    place_fini(&place);
}

DRIVERS(the_last_n_is_the_highest)
{
    struct place place;
    place_init(&place, driver);
    int64_t n = -1;
    cr_assert_eq(factory_store_last_n(&place.store, &n), ERR_ok);
    cr_expect_eq(n, 0);
    insert_production(&place, 1, "donut", FACTORY_PRODUCED);
    insert_production(&place, 9, "donut", FACTORY_PRODUCED);
    cr_assert_eq(factory_store_last_n(&place.store, &n), ERR_ok);
    cr_expect_eq(n, 9);
    db_rollback(place.db);
    cr_assert_eq(factory_store_last_n(&place.store, &n), ERR_ok);
    cr_expect_eq(n, 0);
    place_fini(&place);
}

static void
check_page(struct place *place, const char *product, int64_t before, int64_t limit, const char *expected)
{
    char seen[64] = "";
    struct db_statement *rows = NULL;
    struct factory_production production;
    cr_assert_eq(factory_store_page(&place->store, slice_of(product), before, limit, &rows), ERR_ok);
    while (factory_store_next(rows, &production)) {
        size_t size = strlen(seen);
        (void)snprintf(seen + size, sizeof seen - size, "%d ", (int)production.n);
    }
    cr_expect_str_eq(seen, expected);
}

DRIVERS(a_page_is_newest_first_and_case_counts)
{
    struct place place;
    place_init(&place, driver);
    for (int64_t n = 1; n <= 6; n++) {
        insert_production(&place, n, n % 2 == 0 ? "donut" : "Donut", FACTORY_PRODUCED);
    }
    cr_assert_eq(db_commit(place.db), ERR_ok);
    check_page(&place, "", INT64_MAX, 100, "6 5 4 3 2 1 ");
    check_page(&place, "", 4, 2, "3 2 ");
    check_page(&place, "donut", INT64_MAX, 100, "6 4 2 ");
    check_page(&place, "Donut", 5, 1, "3 ");
    check_page(&place, "DONUT", INT64_MAX, 100, "");
    place_fini(&place);
}

DRIVERS(a_shelf_is_replaced)
{
    struct place place;
    place_init(&place, driver);
    struct factory_shelf shelf;
    cr_assert_eq(factory_store_find_shelf(&place.store, slice_of("donut"), &shelf), ERR_ok);
    cr_expect_not(shelf.is_known);
    cr_expect_eq(shelf.open_production, 0);
    put_shelf(&place, "donut", 3, 17);
    put_shelf(&place, "Donut", 4, 18);
    put_shelf(&place, "donut", 0, 19);
    cr_assert_eq(db_commit(place.db), ERR_ok);
    cr_assert_eq(factory_store_find_shelf(&place.store, slice_of("donut"), &shelf), ERR_ok);
    cr_expect(shelf.is_known && shelf.open_production == 0 && shelf.last_seq == 19);
    cr_assert_eq(factory_store_find_shelf(&place.store, slice_of("Donut"), &shelf), ERR_ok);
    cr_expect(shelf.is_known && shelf.open_production == 4 && shelf.last_seq == 18);
    place_fini(&place);
}

DRIVERS(the_secret_is_kept)
{
    static const uint8_t secret[FACTORY_SECRET_SIZE] = {0, 1, 2, 0xff};
    uint8_t read[FACTORY_SECRET_SIZE];
    bool found = true;
    struct place place;
    place_init(&place, driver);
    cr_assert_eq(factory_store_find_secret(&place.store, read, &found), ERR_ok);
    cr_expect_not(found);
    cr_assert_eq(factory_store_insert_secret(&place.store, secret), ERR_ok);
    cr_assert_eq(db_commit(place.db), ERR_ok);
    cr_assert_eq(factory_store_find_secret(&place.store, read, &found), ERR_ok);
    cr_expect(found);
    cr_expect_arr_eq(read, secret, sizeof secret);
    place_fini(&place);
}

/* Two products, one with an open production, as the factory leaves them. */
static struct factory_production
insert_sound_rows(struct place *place)
{
    insert_production(place, 1, "donut", FACTORY_PRODUCED);
    insert_production(place, 2, "muffin", FACTORY_PRODUCED);
    struct factory_production open = insert_production(place, 3, "donut", FACTORY_ORDERED);
    put_shelf(place, "donut", 3, 5);
    put_shelf(place, "muffin", 0, 4);
    insert_due(place, "production", &open.id);
    struct db_statement *shard =
        db_statement(place->db, "INSERT INTO $shard (shard, shards, epoch, batch, seq, incarnation, connection)"
                                " VALUES (0, 1, 1, 1, 5, ?, 0)");
    db_bind_id(shard, &open.id);
    cr_assert_eq(db_run(shard, NULL), ERR_ok);
    cr_assert_eq(db_commit(place->db), ERR_ok);
    return open;
}

struct told {
    int count;
    char last[256];
};

static void
tell(void *context, const char *sentence)
{
    struct told *told = context;
    told->count++;
    (void)snprintf(told->last, sizeof told->last, "%s", sentence);
}

DRIVERS(verify_finds_nothing_in_sound_tables)
{
    struct place place;
    struct told told = {0};
    struct verify_report report = {.say = tell, .context = &told};
    place_init(&place, driver);
    insert_sound_rows(&place);
    cr_assert_eq(factory_verify(place.db, &report), ERR_ok, "%s", db_error(place.db));
    cr_expect_eq(report.faults, 0, "%s", told.last);
    cr_expect_eq(told.count, 0);
    cr_expect_eq(report.rows_checked, 5);
    place_fini(&place);
}

struct damage {
    char sql[160];
    char words[64];
};

static struct damage damages[] = {
    {"UPDATE $production SET status = 'requested', done_at = 0 WHERE n = 1", "more than one open production"},
    {"UPDATE $production SET status = 'produced', done_at = 9 WHERE n = 3", "no such open production"},
    {"UPDATE $shelf SET open_production = 2 WHERE product = 'donut'", "its shelf does not name it"},
    {"DELETE FROM $due", "no due row will end it"},
    {"UPDATE $due SET owner = 'Production'", "no due row will end it"},
    {"UPDATE $production SET status = 'lost' WHERE n = 2", "its status is none"},
    {"UPDATE $production SET done_at = 0 WHERE n = 2", "do not agree"},
    {"UPDATE $shelf SET last_seq = 6 WHERE product = 'muffin'", "behind the end"},
    {"DELETE FROM $shelf", "its shelf does not name it"},
};

static void
tell_all(void *context, const char *sentence)
{
    char *all = context;
    size_t size = strlen(all);
    (void)snprintf(all + size, 2048 - size, "%s\n", sentence);
}

DRIVERS(verify_names_what_was_changed_by_hand)
{
    for (size_t i = 0; i < sizeof damages / sizeof *damages; i++) {
        char all[2048] = "";
        struct verify_report report = {.say = tell_all, .context = all};
        struct place place;
        place_init(&place, driver);
        run_sql(&place, "DELETE FROM $production");
        run_sql(&place, "DELETE FROM $shelf");
        run_sql(&place, "DELETE FROM $due");
        run_sql(&place, "DELETE FROM $shard");
        insert_sound_rows(&place);
        run_sql(&place, damages[i].sql);
        cr_assert_eq(db_commit(place.db), ERR_ok);
        cr_assert_eq(factory_verify(place.db, &report), ERR_ok, "%s", db_error(place.db));
        cr_expect(report.faults >= 1, "%s", damages[i].sql);
        cr_expect_not_null(strstr(all, damages[i].words), "%s: %s", damages[i].sql, all);
        place_fini(&place);
    }
}
