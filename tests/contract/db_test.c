/* SPDX-License-Identifier: MPL-2.0 */
/*
 * What the database port promises, on both drivers.
 *
 * PURPOSE   ON_BOTH(claim) makes a test of the same body in the suites db_sqlite and db_mysql; what only one engine can show stands
 *           at the end, under its suite's name.
 * STATE     SQLite works in a temporary folder of the test. MySQL works on the server that LARDER_TEST_DB names, in a database
 *           named by the process, dropped at the end; without that variable its tests fail and say how to run them.
 * LIMITS    The disk-full test needs the right to mount, and is skipped with that reason where there is none.
 */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <arpa/inet.h>
#include <mysql.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "kit/db/db.h"

#define LOCK_WAIT_MS 4000 /* engines give up after 2 s */

/* Where a test works. */
struct place {
    struct db_config config;
    char folder[64];
};

static const struct db_step steps[] = {
    {1, "CREATE TABLE IF NOT EXISTS $level (product {NAME 64} NOT NULL PRIMARY KEY, on_hand {I64} NOT NULL, "
        "CHECK (on_hand >= 0)) {KEYED_TABLE_END}"},
    {2, "CREATE TABLE IF NOT EXISTS $move (n {I64} NOT NULL PRIMARY KEY, product {NAME 64} NOT NULL, request {BYTES 16}) {TABLE_END}"},
    {3, "CREATE UNIQUE INDEX $move_by_request ON $move (request)"},
    {4,
     "CREATE TABLE IF NOT EXISTS $shard (shard {I64} NOT NULL PRIMARY KEY, epoch {I64} NOT NULL, batch {I64} NOT NULL) {TABLE_END}"},
    {5, "CREATE TABLE IF NOT EXISTS $note (n {I64} NOT NULL PRIMARY KEY, words {TEXT 200}, bytes {BYTES 65536}) {TABLE_END}"},
};

#define STEP_COUNT (sizeof steps / sizeof *steps)

/* --- the place --- */

static const char *
server_url(void)
{
    const char *url = getenv("LARDER_TEST_DB");
    cr_assert(url != NULL, "LARDER_TEST_DB is not set: run `make test`, or this under `tests/support/mariadb.sh run`");
    return url;
}

/* A connection beside the port, for what the port does not do. */
static MYSQL *
raw_open(const struct place *place)
{
    MYSQL *raw = mysql_init(NULL);
    const char *socket = strncmp(place->config.hosts, "unix:", 5) == 0 ? place->config.hosts + 5 : NULL;
    cr_assert(mysql_real_connect(raw, NULL, place->config.user, place->config.password, NULL, 0, socket, 0) != NULL, "%s",
              mysql_error(raw));
    return raw;
}

static void
raw_run(const struct place *place, const char *sql)
{
    MYSQL *raw = raw_open(place);
    cr_assert(mysql_query(raw, sql) == 0, "%s", mysql_error(raw));
    mysql_close(raw);
}

static void
enter(struct place *place, enum db_driver driver)
{
    struct err_text why = {""};
    char url[256];
    memset(place, 0, sizeof *place);
    if (driver == DB_SQLITE) {
        strcpy(place->folder, "/tmp/larder-test.XXXXXX");
        cr_assert(mkdtemp(place->folder) != NULL);
        snprintf(url, sizeof url, "sqlite:%s", place->folder);
    } else {
        snprintf(url, sizeof url, "%slarder_test_%d", server_url(), (int)getpid());
    }
    cr_assert(db_config_parse(url, &place->config, &why) == ERR_ok, "%s", why.text);
    strcpy(place->config.prefix, "stock_0");
}

static void
leave(struct place *place)
{
    char command[256];
    if (place->config.driver == DB_MYSQL) {
        snprintf(command, sizeof command, "DROP DATABASE IF EXISTS `%s`", place->config.name);
        raw_run(place, command);
        return;
    }
    snprintf(command, sizeof command, "rm -rf '%s'", place->folder);
    cr_assert(system(command) == 0);
}

#define IN_SUITE(suite, claim, engine) \
    Test(suite, claim, .timeout = 60)  \
    {                                  \
        struct place place;            \
        enter(&place, engine);         \
        claim(&place);                 \
        leave(&place);                 \
    }                                  \
    static void claim(struct place *place)

#define ON_SQLITE(claim)                    \
    static void claim(struct place *place); \
    IN_SUITE(db_sqlite, claim, DB_SQLITE)

#define ON_MYSQL(claim)                     \
    static void claim(struct place *place); \
    IN_SUITE(db_mysql, claim, DB_MYSQL)

#define ON_BOTH(claim)                      \
    static void claim(struct place *place); \
    IN_SUITE(db_sqlite, claim, DB_SQLITE);  \
    IN_SUITE(db_mysql, claim, DB_MYSQL)

/* --- short words --- */

static struct db *
open_bare(const struct place *place)
{
    struct db *db = NULL;
    struct err_text why = {""};
    cr_assert(db_open(&place->config, &db, &why) == ERR_ok, "%s", why.text);
    return db;
}

static struct db *
open_made(const struct place *place)
{
    struct err_text why = {""};
    struct db *db = open_bare(place);
    cr_assert(db_migrate(db, steps, STEP_COUNT, &why) == ERR_ok, "%s", why.text);
    return db;
}

static void
expect(struct db *db, err code, err wanted)
{
    cr_assert(code == wanted, "%s instead of %s: %s", err_symbol(code), err_symbol(wanted), db_error(db));
}

static int64_t
number_of(struct db *db, const char *sql)
{
    struct db_statement *read = db_statement(db, sql);
    expect(db, db_query(read), ERR_ok);
    cr_assert(db_next(read), "no row: %s", sql);
    int64_t number = db_i64(read, 0);
    db_done(read);
    return number;
}

static err
put_level(struct db *db, const char *product, int64_t on_hand)
{
    struct db_statement *write = db_statement(db, "INSERT INTO $level (product, on_hand) VALUES (?, ?)");
    db_bind_text(write, slice_of(product));
    db_bind_i64(write, on_hand);
    return db_queue(write, 1);
}

static err
put_move(struct db *db, int64_t n)
{
    struct id request = {{0}};
    memcpy(request.bytes, &n, sizeof n);
    struct db_statement *write = db_statement(db, "INSERT INTO $move (n, product, request) VALUES (?, ?, ?)");
    db_bind_i64(write, n);
    db_bind_text(write, slice_of("donut"));
    db_bind_id(write, &request);
    return db_queue(write, 1);
}

static err
set_level(struct db *db, const char *product, int64_t on_hand)
{
    struct db_statement *write = db_statement(db, "UPDATE $level SET on_hand = ? WHERE product = ?");
    db_bind_i64(write, on_hand);
    db_bind_text(write, slice_of(product));
    return db_queue(write, 1);
}

static int64_t
now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* --- texts --- */

ON_BOTH(reads_by_a_key_that_is_named)
{
    struct db *db = open_made(place);
    expect(db, put_level(db, "donut", 7), ERR_ok);
    cr_assert_eq(number_of(db, "SELECT on_hand FROM $level {BY PRIMARY} WHERE product = 'donut'"), 7);
    db_close(&db);
}

/* A table that was small when it was last looked at: without the key the server reads all of it for many names. */
ON_MYSQL(does_not_read_a_table_whose_statistics_are_old)
{
    struct db *db = open_made(place);
    expect(db, put_level(db, "donut", 7), ERR_ok);
    expect(db, db_commit(db), ERR_ok);
    static const char *const ways[][2] = {
        {"EXPLAIN SELECT on_hand FROM $level WHERE product IN ('donut', 'bagel', 'roll', 'cake')", "ALL"},
        {"EXPLAIN SELECT on_hand FROM $level {BY PRIMARY} WHERE product IN ('donut', 'bagel', 'roll', 'cake')", "range"},
    };
    for (size_t i = 0; i < 2; i++) {
        struct db_statement *read = db_statement(db, ways[i][0]);
        expect(db, db_query(read), ERR_ok);
        cr_assert(db_next(read));
        struct slice way = db_bytes(read, 3);
        cr_assert(slice_equal(way, slice_of(ways[i][1])), "%.*s instead of %s", (int)way.size, (const char *)way.data, ways[i][1]);
        db_done(read);
    }
    db_close(&db);
}

/* --- values --- */

ON_BOTH(keeps_names_as_they_are)
{
    static const char *const names[] = {"Donut", "donut", "007", "7", "1e3", "1000", "a-b_c", "0x10"};
    struct db *db = open_made(place);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        expect(db, put_level(db, names[i], (int64_t)i), ERR_ok);
    }
    expect(db, db_commit(db), ERR_ok);
    struct db_statement *read = db_statement(db, "SELECT product, on_hand FROM $level WHERE product = ?");
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        db_bind_text(read, slice_of(names[i]));
        expect(db, db_query(read), ERR_ok);
        cr_assert(db_next(read), "%s is not there", names[i]);
        cr_expect(slice_equal(db_bytes(read, 0), slice_of(names[i])));
        cr_expect(db_i64(read, 1) == (int64_t)i);
        cr_expect(!db_next(read), "%s is there twice", names[i]);
    }
    db_close(&db);
}

ON_BOTH(keeps_numbers_to_their_ends)
{
    static const int64_t numbers[] = {INT64_MIN,
                                      INT64_MIN + 1,
                                      INT32_MIN - INT64_C(1),
                                      INT32_MIN,
                                      INT16_MIN - 1,
                                      INT16_MIN,
                                      INT8_MIN - 1,
                                      INT8_MIN,
                                      -1,
                                      0,
                                      1,
                                      INT8_MAX,
                                      INT8_MAX + 1,
                                      INT16_MAX,
                                      INT16_MAX + 1,
                                      INT32_MAX,
                                      INT32_MAX + INT64_C(1),
                                      INT64_MAX - 1,
                                      INT64_MAX};
    struct db *db = open_made(place);
    struct db_rows *rows = db_rows(db, "INSERT INTO $note (n)", 1);
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        db_rows_i64(rows, numbers[i]);
    }
    expect(db, db_rows_queue(rows), ERR_ok);
    expect(db, db_commit(db), ERR_ok);
    struct db_statement *read = db_statement(db, "SELECT n FROM $note ORDER BY n");
    expect(db, db_query(read), ERR_ok);
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        cr_assert(db_next(read));
        cr_expect(db_i64(read, 0) == numbers[i]);
    }
    cr_expect(!db_next(read));
    db_close(&db);
}

static void
put_note(struct db *db, int64_t n, struct slice words, struct slice bytes)
{
    struct db_statement *write = db_statement(db, "INSERT INTO $note (n, words, bytes) VALUES (?, ?, ?)");
    db_bind_i64(write, n);
    db_bind_text(write, words);
    db_bind_bytes(write, bytes);
    expect(db, db_queue(write, 1), ERR_ok);
}

ON_BOTH(keeps_empty_large_and_missing_values)
{
    static uint8_t large[65536];
    const char *words = "pão de queijo \xf0\x9f\x8d\xa9 'quoted' \\ \"";
    struct db *db = open_made(place);
    for (size_t i = 0; i < sizeof large; i++) {
        large[i] = (uint8_t)(i * 31 >> 3);
    }
    put_note(db, 1, slice_of(""), (struct slice){NULL, 0});
    put_note(db, 2, slice_of(words), (struct slice){large, sizeof large});
    put_note(db, 3, slice_of("65"), (struct slice){large, 65});
    struct db_statement *nulls = db_statement(db, "INSERT INTO $note (n, words, bytes) VALUES (?, ?, ?)");
    db_bind_i64(nulls, 4);
    db_bind_null(nulls);
    db_bind_null(nulls);
    expect(db, db_queue(nulls, 1), ERR_ok);
    expect(db, db_commit(db), ERR_ok);

    struct db_statement *read = db_statement(db, "SELECT words, bytes FROM $note ORDER BY n");
    expect(db, db_query(read), ERR_ok);
    cr_assert(db_next(read));
    cr_expect(!db_is_null(read, 0) && db_bytes(read, 0).size == 0);
    cr_expect(!db_is_null(read, 1) && db_bytes(read, 1).size == 0);
    cr_assert(db_next(read));
    cr_expect(slice_equal(db_bytes(read, 0), slice_of(words)));
    cr_expect(slice_equal(db_bytes(read, 1), (struct slice){large, sizeof large}));
    cr_assert(db_next(read));
    cr_expect(slice_equal(db_bytes(read, 1), (struct slice){large, 65}));
    cr_assert(db_next(read));
    cr_expect(db_is_null(read, 0) && db_is_null(read, 1));
    cr_expect(db_bytes(read, 1).size == 0);
    cr_expect(!db_next(read));
    db_close(&db);
}

ON_BOTH(keeps_ids)
{
    struct db *db = open_made(place);
    int64_t n = 77;
    struct id wanted = {{0}};
    memcpy(wanted.bytes, &n, sizeof n);
    expect(db, put_move(db, n), ERR_ok);
    struct db_statement *read = db_statement(db, "SELECT request FROM $move WHERE request = ?");
    db_bind_id(read, &wanted);
    expect(db, db_query(read), ERR_ok);
    cr_assert(db_next(read));
    struct id found = db_id(read, 0);
    cr_expect(memcmp(&found, &wanted, sizeof found) == 0);
    db_close(&db);
}

ON_BOTH(adds_up_as_whole_numbers)
{
    struct db *db = open_made(place);
    expect(db, put_level(db, "a", INT64_C(4000000000000)), ERR_ok);
    expect(db, put_level(db, "b", 2), ERR_ok);
    expect(db, db_commit(db), ERR_ok);
    cr_expect(number_of(db, "SELECT SUM(on_hand) FROM $level") == INT64_C(4000000000002));
    cr_expect(number_of(db, "SELECT COUNT(*) FROM $level") == 2);
    cr_expect(number_of(db, "SELECT COALESCE(MAX(n), 0) FROM $move") == 0);
    db_close(&db);
}

ON_BOTH(leaves_quoted_text_alone)
{
    struct db *db = open_made(place);
    struct db_statement *read = db_statement(db, "SELECT '$level {I64} ?'");
    expect(db, db_query(read), ERR_ok);
    cr_assert(db_next(read));
    cr_expect(slice_equal(db_bytes(read, 0), slice_of("$level {I64} ?")));
    db_close(&db);
}

/* --- errors --- */

ON_BOTH(counts_rows_that_match_and_do_not_change)
{
    struct db *db = open_made(place);
    int64_t matched = -1;
    expect(db, put_level(db, "donut", 3), ERR_ok);
    expect(db, db_commit(db), ERR_ok);
    struct db_statement *same = db_statement(db, "UPDATE $level SET on_hand = 3 WHERE product = 'donut'");
    expect(db, db_run(same, &matched), ERR_ok);
    cr_expect(matched == 1);
    struct db_statement *none = db_statement(db, "DELETE FROM $level WHERE product = 'Donut'");
    expect(db, db_run(none, &matched), ERR_ok);
    cr_expect(matched == 0);
    db_close(&db);
}

ON_BOTH(tells_a_duplicate_key)
{
    struct db *db = open_made(place);
    expect(db, put_level(db, "secret-sku", 3), ERR_ok);
    expect(db, db_commit(db), ERR_ok);
    (void)!put_level(db, "secret-sku", 4);
    expect(db, db_settle(db), ERR_db_unique);
    cr_expect(strstr(db_error(db), "secret-sku") == NULL, "the words repeat the value: %s", db_error(db));
    expect(db, db_commit(db), ERR_db_unique);
    db_rollback(db);
    cr_expect(number_of(db, "SELECT on_hand FROM $level") == 3);
    db_close(&db);
}

ON_BOTH(tells_a_value_that_the_schema_refuses)
{
    struct db *db = open_made(place);
    expect(db, put_level(db, "donut", 3), ERR_ok);
    expect(db, db_commit(db), ERR_ok);
    (void)!set_level(db, "donut", -1);
    expect(db, db_commit(db), ERR_db_check);
    db_rollback(db);
    struct db_statement *nothing = db_statement(db, "INSERT INTO $level (product, on_hand) VALUES (?, ?)");
    db_bind_text(nothing, slice_of("b"));
    db_bind_null(nothing);
    (void)!db_queue(nothing, 1);
    expect(db, db_commit(db), ERR_db_check);
    db_rollback(db);
    cr_expect(number_of(db, "SELECT on_hand FROM $level") == 3);
    db_close(&db);
}

ON_BOTH(keeps_the_check_through_replace)
{
    struct db *db = open_made(place);
    struct db_rows *levels = db_rows(db, "REPLACE INTO $level (product, on_hand)", 2);
    expect(db, put_level(db, "a", 3), ERR_ok);
    expect(db, put_level(db, "b", 3), ERR_ok);
    expect(db, db_commit(db), ERR_ok);
    for (int64_t on_hand = 1; on_hand >= -1; on_hand -= 2) {
        db_rows_text(levels, slice_of("a"));
        db_rows_i64(levels, 9);
        db_rows_text(levels, slice_of("b"));
        db_rows_i64(levels, on_hand);
        (void)!db_rows_queue(levels);
        expect(db, db_commit(db), on_hand < 0 ? ERR_db_check : ERR_ok);
    }
    db_rollback(db);
    cr_expect(number_of(db, "SELECT on_hand FROM $level WHERE product = 'a'") == 9);
    cr_expect(number_of(db, "SELECT on_hand FROM $level WHERE product = 'b'") == 1);
    cr_expect(number_of(db, "SELECT COUNT(*) FROM $level") == 2);
    db_close(&db);
}

ON_BOTH(takes_back_all_after_one_failure_in_the_middle)
{
    struct db *db = open_made(place);
    expect(db, put_move(db, 1), ERR_ok);
    expect(db, db_commit(db), ERR_ok);
    expect(db, put_move(db, 2), ERR_ok);
    (void)!put_move(db, 1);
    (void)!put_move(db, 3);
    expect(db, db_settle(db), ERR_db_unique);
    expect(db, db_commit(db), ERR_db_unique);
    cr_expect(db_is_writing(db));
    db_rollback(db);
    cr_expect(!db_is_writing(db));
    cr_expect(number_of(db, "SELECT COUNT(*) FROM $move") == 1);
    expect(db, put_move(db, 2), ERR_ok);
    expect(db, db_commit(db), ERR_ok);
    cr_expect(number_of(db, "SELECT COUNT(*) FROM $move") == 2);
    db_close(&db);
}

ON_BOTH(commits_nothing_when_the_proof_finds_no_row)
{
    struct db *db = open_made(place);
    struct db_statement *make = db_statement(db, "INSERT INTO $shard (shard, epoch, batch) VALUES (0, 7, 0)");
    struct db_statement *prove = db_statement(db, "UPDATE $shard SET batch = batch + 1 WHERE shard = 0 AND epoch = ?");
    expect(db, db_queue(make, 1), ERR_ok);
    expect(db, db_commit(db), ERR_ok);
    expect(db, put_move(db, 1), ERR_ok);
    db_bind_i64(prove, 6);
    (void)!db_queue(prove, 1);
    expect(db, db_commit(db), ERR_db_stale);
    db_rollback(db);
    cr_expect(number_of(db, "SELECT COUNT(*) FROM $move") == 0);
    expect(db, put_move(db, 1), ERR_ok);
    db_bind_i64(prove, 7);
    expect(db, db_queue(prove, 1), ERR_ok);
    expect(db, db_commit(db), ERR_ok);
    struct db *other = open_bare(place);
    cr_expect(number_of(other, "SELECT batch FROM $shard") == 1);
    cr_expect(number_of(other, "SELECT COUNT(*) FROM $move") == 1);
    db_close(&other);
    db_close(&db);
}

ON_BOTH(gives_up_a_lock_that_another_keeps)
{
    struct db *db = open_made(place);
    expect(db, put_level(db, "a", 1), ERR_ok);
    expect(db, put_level(db, "b", 1), ERR_ok);
    expect(db, db_commit(db), ERR_ok);
    struct db *other = open_bare(place);
    expect(other, set_level(other, "b", 5), ERR_ok);
    expect(other, db_settle(other), ERR_ok);

    int64_t start_ms = now_ms();
    (void)!set_level(db, "a", 9);
    (void)!set_level(db, "b", 9);
    (void)!put_move(db, 1);
    expect(db, db_settle(db), ERR_db_busy);
    cr_expect(now_ms() - start_ms < LOCK_WAIT_MS);
    expect(db, db_commit(db), ERR_db_busy);
    db_rollback(db);
    expect(other, db_commit(other), ERR_ok);
    cr_expect(number_of(db, "SELECT on_hand FROM $level WHERE product = 'a'") == 1);
    cr_expect(number_of(db, "SELECT on_hand FROM $level WHERE product = 'b'") == 5);
    cr_expect(number_of(db, "SELECT COUNT(*) FROM $move") == 0);
    expect(db, set_level(db, "b", 9), ERR_ok);
    expect(db, db_commit(db), ERR_ok);
    db_close(&other);
    db_close(&db);
}

ON_BOTH(names_a_statement_that_is_wrong)
{
    struct db *db = open_made(place);
    struct db_statement *wrong = db_statement(db, "SELECT n FROM $nowhere");
    expect(db, db_query(wrong), ERR_db_bug);
    cr_expect(!db_next(wrong));
    cr_expect(strstr(db_error(db), "nowhere") != NULL, "%s", db_error(db));
    db_rollback(db);
    cr_expect(number_of(db, "SELECT COUNT(*) FROM $move") == 0);
    db_close(&db);
}

/* --- reads and writes beside each other --- */

ON_BOTH(reads_what_was_queued)
{
    struct db *db = open_made(place);
    expect(db, put_level(db, "a", 1), ERR_ok);
    cr_expect(number_of(db, "SELECT COUNT(*) FROM $level") == 1);
    db_rollback(db);
    cr_expect(number_of(db, "SELECT COUNT(*) FROM $level") == 0);
    db_close(&db);
}

ON_BOTH(lets_a_read_be_walked_while_its_table_changes)
{
    struct db *db = open_made(place);
    for (int64_t n = 1; n <= 20; n++) {
        expect(db, put_move(db, n), ERR_ok);
    }
    expect(db, db_commit(db), ERR_ok);
    struct db_statement *read = db_statement(db, "SELECT n, product FROM $move ORDER BY n");
    struct db_statement *remove_row = db_statement(db, "DELETE FROM $move WHERE n = ?");
    int64_t seen = 0;
    expect(db, db_query(read), ERR_ok);
    while (db_next(read)) {
        seen++;
        cr_expect(db_i64(read, 0) == seen);
        db_bind_i64(remove_row, 21 - seen);
        expect(db, db_queue(remove_row, DB_ANY_ROWS), ERR_ok);
        expect(db, put_move(db, 100 + seen), ERR_ok);
    }
    cr_expect(seen == 20);
    expect(db, db_commit(db), ERR_ok);
    cr_expect(number_of(db, "SELECT COUNT(*) FROM $move") == 20);
    cr_expect(number_of(db, "SELECT MIN(n) FROM $move") == 101);
    db_close(&db);
}

ON_BOTH(runs_one_statement_more_often_than_fits_on_its_way)
{
    struct db *db = open_made(place);
    struct db_statement *write = db_statement(db, "INSERT INTO $move (n, product) VALUES (?, ?)");
    for (int64_t n = 1; n <= 1500; n++) {
        char product[24];
        snprintf(product, sizeof product, "p%lld", (long long)n);
        db_bind_i64(write, n);
        db_bind_text(write, slice_of(product));
        expect(db, db_queue(write, 1), ERR_ok);
    }
    expect(db, db_commit(db), ERR_ok);
    cr_expect(number_of(db, "SELECT COUNT(DISTINCT product) FROM $move") == 1500);
    cr_expect(number_of(db, "SELECT n FROM $move WHERE product = 'p1234'") == 1234);
    db_close(&db);
}

ON_BOTH(takes_back_what_was_not_committed)
{
    struct db *db = open_made(place);
    struct db_rows *rows = db_rows(db, "INSERT INTO $move (n, product)", 2);
    struct db_in *in = db_in(db, "SELECT n FROM $move WHERE product IN (*)");
    struct db_statement *half = db_statement(db, "INSERT INTO $move (n, product) VALUES (?, ?)");
    expect(db, put_move(db, 1), ERR_ok);
    db_rows_i64(rows, 2);
    db_in_text(in, slice_of("donut"));
    db_bind_i64(half, 3);
    db_rollback(db);
    cr_expect(db_in_count(in) == 0);
    db_bind_i64(half, 4);
    db_bind_text(half, slice_of("donut"));
    expect(db, db_queue(half, 1), ERR_ok);
    expect(db, db_rows_queue(rows), ERR_ok);
    expect(db, db_commit(db), ERR_ok);
    cr_expect(number_of(db, "SELECT n FROM $move") == 4);
    cr_expect(number_of(db, "SELECT COUNT(*) FROM $move") == 1);
    db_close(&db);
}

ON_BOTH(keeps_statements_over_a_reconnect)
{
    struct db *db = open_made(place);
    struct err_text why = {""};
    struct db_statement *read = db_statement(db, "SELECT COUNT(*) FROM $move");
    struct db_statement *write = db_statement(db, "INSERT INTO $move (n, product) VALUES (?, 'donut')");
    for (int64_t n = 1; n <= 3; n++) {
        db_bind_i64(write, n);
        expect(db, db_queue(write, 1), ERR_ok);
        expect(db, db_commit(db), ERR_ok);
        db_bind_i64(write, 100);
        expect(db, db_queue(write, 1), ERR_ok);
        cr_assert(db_reconnect(db, &why) == ERR_ok, "%s", why.text);
        cr_expect(!db_is_writing(db));
        expect(db, db_query(read), ERR_ok);
        cr_assert(db_next(read));
        cr_expect(db_i64(read, 0) == n, "what was not committed before the reconnect came through");
    }
    expect(db, db_check(db), ERR_ok);
    db_close(&db);
}

/* --- many rows, many keys --- */

ON_BOTH(writes_and_reads_any_number_of_rows)
{
    static const int64_t sizes[] = {0, 1, 2, 3, 511, 512, 513, 1500};
    struct db *db = open_made(place);
    struct db_rows *rows = db_rows(db, "INSERT INTO $move (n, product, request)", 3);
    struct db_in *by_product = db_in(db, "SELECT n FROM $move WHERE product IN (*) AND n > 0");
    struct db_in *by_request = db_in(db, "SELECT n, request FROM $move WHERE request IN (*)");
    struct db_statement *empty = db_statement(db, "DELETE FROM $move");
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        for (int64_t n = 1; n <= sizes[i]; n++) {
            char product[24];
            struct id request = {{0}};
            memcpy(request.bytes, &n, sizeof n);
            snprintf(product, sizeof product, "p%lld", (long long)n);
            db_rows_i64(rows, n);
            db_rows_text(rows, slice_of(product));
            db_rows_id(rows, &request);
            db_in_text(by_product, slice_of(product));
            db_in_id(by_request, &request);
        }
        expect(db, db_rows_queue(rows), ERR_ok);
        expect(db, db_commit(db), ERR_ok);
        cr_expect(number_of(db, "SELECT COUNT(*) FROM $move") == sizes[i]);

        int64_t sum[2] = {0, 0};
        struct db_statement *row;
        while ((row = db_in_next(by_product)) != NULL) {
            sum[0] += db_i64(row, 0);
        }
        expect(db, db_in_end(by_product), ERR_ok);
        while ((row = db_in_next(by_request)) != NULL) {
            struct id request = db_id(row, 1);
            cr_expect(memcmp(request.bytes, &(int64_t){db_i64(row, 0)}, sizeof(int64_t)) == 0);
            sum[1] += db_i64(row, 0);
        }
        expect(db, db_in_end(by_request), ERR_ok);
        cr_expect(sum[0] == sizes[i] * (sizes[i] + 1) / 2, "by text, %lld keys", (long long)sizes[i]);
        cr_expect(sum[1] == sum[0], "by id, %lld keys", (long long)sizes[i]);
        cr_expect(db_in_count(by_product) == 0);
        expect(db, db_run(empty, NULL), ERR_ok);
        expect(db, db_commit(db), ERR_ok);
    }
    db_close(&db);
}

ON_BOTH(cuts_rows_of_many_bytes)
{
    static uint8_t large[60000];
    struct db *db = open_made(place);
    struct db_rows *rows = db_rows(db, "INSERT INTO $note (n, bytes, words)", 3);
    memset(large, 'x', sizeof large);
    for (int64_t n = 0; n < 300; n++) {
        db_rows_i64(rows, n);
        db_rows_bytes(rows, (struct slice){large, sizeof large});
        db_rows_null(rows);
    }
    expect(db, db_rows_queue(rows), ERR_ok);
    expect(db, db_commit(db), ERR_ok);
    cr_expect(number_of(db, "SELECT SUM(LENGTH(bytes)) FROM $note") == 300 * (int64_t)sizeof large);
    db_close(&db);
}

/* Columns that no row of a statement has a value in are not named in it. All choices of columns come, more than statements are kept
 * for, and rows of which only some have a value. */
ON_BOTH(writes_rows_with_every_choice_of_columns_that_are_null)
{
    enum { WORDS = 1, BYTES = 2, CHOICES = 4 };
    struct db *db = open_made(place);
    struct db_rows *rows = db_rows(db, "REPLACE INTO $note (n, words, bytes)", 3);
    struct db_statement *read = db_statement(db, "SELECT n, words, bytes FROM $note WHERE n < 64 ORDER BY n");
    db_rows_i64(rows, 99);
    db_rows_text(rows, slice_of("of a batch that is dropped in the middle of a row"));
    db_rollback(db);
    for (int64_t n = 0; n < CHOICES * CHOICES; n++) { /* each two rows a batch of their own, over those that were there before */
        for (int64_t i = 0; i < 2; i++) {
            int64_t choice = i == 0 ? n % CHOICES : n / CHOICES;
            db_rows_i64(rows, n * 2 + i);
            (choice & WORDS) != 0 ? db_rows_text(rows, slice_of("words")) : db_rows_null(rows);
            (choice & BYTES) != 0 ? db_rows_bytes(rows, (struct slice){(const uint8_t *)"\0b", 2}) : db_rows_null(rows);
        }
        expect(db, db_rows_queue(rows), ERR_ok);
        expect(db, db_commit(db), ERR_ok);
    }
    expect(db, db_query(read), ERR_ok);
    for (int64_t n = 0; n < CHOICES * CHOICES * 2; n++) {
        int64_t choice = n % 2 == 0 ? n / 2 % CHOICES : n / 2 / CHOICES;
        cr_assert(db_next(read));
        cr_expect(db_i64(read, 0) == n);
        cr_expect_eq(db_is_null(read, 1), (choice & WORDS) == 0, "words of %lld", (long long)n);
        cr_expect_eq(db_is_null(read, 2), (choice & BYTES) == 0, "bytes of %lld", (long long)n);
        cr_expect(db_is_null(read, 1) || slice_equal(db_bytes(read, 1), slice_of("words")));
        cr_expect(db_is_null(read, 2) || slice_equal(db_bytes(read, 2), (struct slice){(const uint8_t *)"\0b", 2}));
    }
    cr_expect(!db_next(read));
    cr_expect(number_of(db, "SELECT COUNT(*) FROM $note") == CHOICES * CHOICES * 2);
    db_close(&db);
}

/* A byte that a disk has lost can make bytes of a number, which the engine does not notice. */
ON_BOTH(fails_where_a_column_is_not_what_it_can_be)
{
    struct db *db = open_made(place);
    struct db_statement *read = db_statement(db, "SELECT words, n FROM $note");
    put_note(db, 7, slice_of("seven"), slice_of(""));
    expect(db, db_commit(db), ERR_ok);
    for (int column = 0; column < 2; column++) {
        expect(db, db_query(read), ERR_ok);
        cr_assert(db_next(read));
        if (column == 0) {
            cr_expect_eq(db_i64(read, 0), 0);
        } else {
            cr_expect_eq(db_bytes(read, 1).size, 0);
        }
        expect(db, db_settle(db), ERR_db_bug);
        cr_expect_not_null(strstr(db_error(db), column == 0 ? "column 1 is bytes" : "column 2 is a number"), "%s", db_error(db));
        cr_expect_eq(db_commit(db), ERR_db_bug);
        db_rollback(db);
    }
    cr_expect_eq(number_of(db, "SELECT n FROM $note"), 7);
    db_close(&db);
}

/* A chunk's text may be what somebody else writes out by hand. */
ON_BOTH(keeps_the_statements_of_rows_and_keys_apart)
{
    struct db *db = open_made(place);
    struct db_rows *rows = db_rows(db, "INSERT INTO $note (n)", 1);
    struct db_in *in = db_in(db, "SELECT n FROM $note WHERE words IN (*)");
    struct db_statement *write = db_statement(db, "INSERT INTO $note (n) VALUES (?)");
    struct db_statement *read = db_statement(db, "SELECT n FROM $note WHERE words IN (?)");
    db_bind_i64(write, 1);
    db_rows_i64(rows, 2);
    db_bind_text(read, slice_of("a"));
    db_in_text(in, slice_of("b"));
    expect(db, db_rows_queue(rows), ERR_ok);
    expect(db, db_queue(write, 1), ERR_ok);
    cr_expect(db_in_next(in) == NULL);
    expect(db, db_query(read), ERR_ok);
    cr_expect(!db_next(read));
    expect(db, db_commit(db), ERR_ok);
    cr_expect(number_of(db, "SELECT SUM(n) FROM $note") == 3);
    cr_expect(db_statement(db, "SELECT SUM(n) FROM $note") == db_statement(db, "SELECT SUM(n) FROM $note"));
    db_close(&db);
}

ON_BOTH(tells_an_error_before_the_first_key_once)
{
    struct db *db = open_made(place);
    struct db_in *in = db_in(db, "SELECT product FROM $level WHERE product IN (*)");
    expect(db, put_level(db, "a", 1), ERR_ok);
    expect(db, db_commit(db), ERR_ok);
    (void)!put_level(db, "a", 2);
    db_in_text(in, slice_of("a"));
    cr_expect(db_in_next(in) == NULL);
    expect(db, db_in_end(in), ERR_db_unique);
    cr_expect(db_in_count(in) == 0);
    db_rollback(db);
    cr_expect(db_in_next(in) == NULL, "no key, no question");
    expect(db, db_in_end(in), ERR_ok);
    db_in_text(in, slice_of("a"));
    cr_expect(db_in_next(in) != NULL);
    expect(db, db_in_end(in), ERR_ok);
    db_close(&db);
}

ON_BOTH(tells_an_error_between_two_chunks_of_keys)
{
    struct db *db = open_made(place);
    struct db_in *in = db_in(db, "SELECT product FROM $level WHERE product IN (*)");
    expect(db, put_level(db, "a", 1), ERR_ok);
    expect(db, db_commit(db), ERR_ok);
    for (int i = 0; i < 1100; i++) {
        db_in_text(in, slice_of("a"));
    }
    struct db_statement *row = db_in_next(in);
    cr_assert(row != NULL);
    cr_expect(slice_equal(db_bytes(row, 0), slice_of("a")));
    (void)!put_level(db, "a", 2);
    cr_expect(db_in_next(in) == NULL);
    expect(db, db_in_end(in), ERR_db_unique);
    expect(db, db_commit(db), ERR_db_unique);
    db_rollback(db);
    db_close(&db);
}

/* --- migrations --- */

ON_BOTH(migrates_once)
{
    struct err_text why = {""};
    struct db *db = open_made(place);
    cr_expect(db_migrate(db, steps, STEP_COUNT, &why) == ERR_ok, "%s", why.text);
    cr_expect(number_of(db, "SELECT COUNT(*) FROM $schema_version") == (int64_t)STEP_COUNT);
    expect(db, put_level(db, "a", 1), ERR_ok);
    expect(db, db_commit(db), ERR_ok);
    static const struct db_step later[] = {{100, "CREATE TABLE IF NOT EXISTS $more (n {I64} PRIMARY KEY NOT NULL) {TABLE_END}"}};
    cr_expect(db_migrate(db, later, 1, &why) == ERR_ok, "%s", why.text);
    cr_expect(number_of(db, "SELECT COUNT(*) FROM $more") == 0);
    cr_expect(number_of(db, "SELECT COUNT(*) FROM $level") == 1);
    db_close(&db);
}

ON_BOTH(names_the_step_that_fails)
{
    static const struct db_step bad[] = {{1, "CREATE TABLE IF NOT EXISTS $good (n {I64} PRIMARY KEY NOT NULL) {TABLE_END}"},
                                         {2, "CREATE TABEL $bad (n {I64})"}};
    struct err_text why = {""};
    struct db *db = open_bare(place);
    cr_expect(db_migrate(db, bad, 2, &why) == ERR_db_bug);
    cr_expect(strstr(why.text, "step 2") != NULL && strstr(why.text, "stock_0") != NULL, "%s", why.text);
    db_close(&db);
}

static void *
migrate_in_thread(void *argument)
{
    const struct place *place = argument;
    for (int i = 0; i < 3; i++) {
        struct db *db = open_made(place);
        db_close(&db);
    }
    return NULL;
}

ON_BOTH(migrates_safely_beside_another_starter)
{
    pthread_t threads[3];
    for (int i = 0; i < 3; i++) {
        cr_assert(pthread_create(&threads[i], NULL, migrate_in_thread, place) == 0);
    }
    for (int i = 0; i < 3; i++) {
        pthread_join(threads[i], NULL);
    }
    struct db *db = open_bare(place);
    cr_expect(number_of(db, "SELECT COUNT(*) FROM $schema_version") == (int64_t)STEP_COUNT);
    db_close(&db);
}

ON_BOTH(keeps_prefixes_apart)
{
    struct db *one = open_made(place);
    strcpy(place->config.prefix, "stock_1");
    struct db *two = open_made(place);
    expect(one, put_level(one, "a", 1), ERR_ok);
    expect(one, db_commit(one), ERR_ok);
    cr_expect(number_of(two, "SELECT COUNT(*) FROM $level") == 0);
    db_close(&one);
    db_close(&two);
}

/* --- reading only --- */

ON_BOTH(shows_a_reader_one_moment)
{
    struct err_text why = {""};
    struct db *writer = open_made(place);
    struct db *reader = NULL;
    expect(writer, put_level(writer, "a", 1), ERR_ok);
    expect(writer, db_commit(writer), ERR_ok);
    place->config.read_only = true;
    cr_assert(db_open(&place->config, &reader, &why) == ERR_ok, "%s", why.text);
    cr_expect(number_of(reader, "SELECT COUNT(*) FROM $level") == 1);
    expect(writer, put_level(writer, "b", 1), ERR_ok);
    expect(writer, put_move(writer, 1), ERR_ok);
    expect(writer, db_commit(writer), ERR_ok);
    cr_expect(number_of(reader, "SELECT COUNT(*) FROM $level") == 1);
    cr_expect(number_of(reader, "SELECT COUNT(*) FROM $move") == 0);
    db_rollback(reader);
    cr_expect(number_of(reader, "SELECT COUNT(*) FROM $level") == 2);
    (void)!put_level(reader, "c", 1);
    expect(reader, db_settle(reader), ERR_db_readonly);
    db_rollback(reader);
    db_close(&reader);
    db_close(&writer);
}

/* --- SQLite alone --- */

static void
path_of(const struct place *place, const char *file, char *path, size_t size)
{
    snprintf(path, size, "%s/%s", place->folder, file);
}

ON_SQLITE(tells_that_its_file_was_removed)
{
    char path[128];
    struct err_text why = {""};
    struct db *db = open_made(place);
    expect(db, db_check(db), ERR_ok);
    path_of(place, "stock_0.db", path, sizeof path);
    cr_assert(unlink(path) == 0);
    expect(db, db_check(db), ERR_db_stale);
    cr_expect(strstr(db_error(db), path) != NULL, "%s", db_error(db));
    cr_expect(db_reconnect(db, &why) == ERR_db_stale);
    cr_expect(strstr(why.text, path) != NULL, "%s", why.text);
    cr_expect(access(path, F_OK) != 0, "the reconnect made a new, empty database");
    cr_expect(db_query(db_statement(db, "SELECT 1")) == ERR_db_lost);
    db_close(&db);
}

ON_SQLITE(tells_that_its_file_was_replaced)
{
    char path[128];
    char copy[128];
    char command[640];
    struct err_text why = {""};
    struct db *db = open_made(place);
    path_of(place, "stock_0.db", path, sizeof path);
    path_of(place, "copy", copy, sizeof copy);
    snprintf(command, sizeof command, "cp '%s' '%s' && mv '%s' '%s'", path, copy, copy, path);
    cr_assert(system(command) == 0);
    expect(db, db_check(db), ERR_db_stale);
    cr_expect(db_reconnect(db, &why) == ERR_db_stale);
    db_close(&db);
}

ON_SQLITE(names_a_file_that_cannot_be_opened)
{
    struct err_text why = {""};
    struct db *db = NULL;
    char path[128];
    path_of(place, "stock_0.db", path, sizeof path);
    cr_assert(mkdir(path, 0700) == 0);
    cr_expect(db_open(&place->config, &db, &why) == ERR_db_lost);
    cr_expect(strstr(why.text, path) != NULL, "%s", why.text);
    cr_expect(db == NULL);
    place->config.read_only = true;
    strcpy(place->config.prefix, "nowhere");
    cr_expect(db_open(&place->config, &db, &why) == ERR_db_lost);
    cr_expect(strstr(why.text, "nowhere.db") != NULL, "%s", why.text);
}

enum { PEOPLE = 300 };

/* 300 rows with a random name each, of which every third is taken away; `gone` gets those names, in pieces. */
static void
erase_some(const char *path, uint64_t seed, uint8_t gone[PEOPLE / 3][2 * DB_TRACE_SIZE])
{
    sqlite3 *raw = NULL;
    sqlite3_stmt *insert = NULL;
    (void)unlink(path);
    cr_assert(sqlite3_open(path, &raw) == SQLITE_OK);
    cr_assert(sqlite3_exec(raw, "PRAGMA secure_delete=ON; BEGIN; CREATE TABLE person (n BIGINT PRIMARY KEY, name BLOB UNIQUE)", NULL,
                           NULL, NULL) == SQLITE_OK);
    cr_assert(sqlite3_prepare_v2(raw, "INSERT INTO person VALUES (?, ?)", -1, &insert, NULL) == SQLITE_OK);
    for (int i = 0; i < PEOPLE; i++) {
        uint64_t name[2 * DB_TRACE_SIZE / 8];
        for (size_t j = 0; j < sizeof name / sizeof *name; j++) {
            seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
            name[j] = seed ^ seed >> 29;
        }
        if (i % 3 == 0) {
            memcpy(gone[i / 3], name, sizeof name);
        }
        sqlite3_bind_int(insert, 1, i);
        sqlite3_bind_blob(insert, 2, name, sizeof name, SQLITE_STATIC);
        cr_assert(sqlite3_step(insert) == SQLITE_DONE);
        sqlite3_reset(insert);
    }
    sqlite3_finalize(insert);
    sqlite3_exec(raw, "COMMIT", NULL, NULL, NULL);
    for (int i = 0; i < PEOPLE; i += 3) {
        char sql[64];
        snprintf(sql, sizeof sql, "UPDATE person SET name = NULL WHERE n = %d", i);
        cr_assert(sqlite3_exec(raw, sql, NULL, NULL, NULL) == SQLITE_OK);
    }
    cr_assert(sqlite3_close(raw) == SQLITE_OK);
}

static bool
is_any_in_file(const char *path, uint8_t gone[PEOPLE / 3][2 * DB_TRACE_SIZE])
{
    static uint8_t content[1024 * 1024];
    FILE *file = fopen(path, "re");
    cr_assert(file != NULL);
    size_t size = fread(content, 1, sizeof content, file);
    cr_assert(size > 0 && size < sizeof content);
    fclose(file);
    bool found = false;
    for (int i = 0; i < PEOPLE / 3; i++) {
        found = found || memmem(content, size, gone[i], sizeof gone[i]) != NULL;
    }
    return found;
}

/* SQLite's secure_delete leaves a row in a page that was laid out anew meanwhile, now and then: of these seeds the first does. */
ON_SQLITE(scrubs_what_secure_delete_leaves)
{
    char path[128];
    uint8_t gone[PEOPLE / 3][2 * DB_TRACE_SIZE];
    uint64_t seed = 35;
    path_of(place, "stock_0.db", path, sizeof path);
    do {
        erase_some(path, seed, gone);
    } while (!is_any_in_file(path, gone) && seed++ < 5000);
    cr_assert(is_any_in_file(path, gone), "SQLite leaves nothing any more: look for the traces no longer");
    place->config.erases = true;
    struct db *db = open_bare(place);
    expect(db, db_scrub(db, (struct slice){gone[0], sizeof gone}), ERR_ok);
    pid_t child = fork(); /* who closes a descriptor of the file here drops SQLite's locks */
    if (child == 0) {
        _exit(is_any_in_file(path, gone) ? 1 : 0);
    }
    int status = -1;
    cr_assert(waitpid(child, &status, 0) == child);
    cr_expect(WIFEXITED(status) && WEXITSTATUS(status) == 0, "it is still in the file");
    cr_expect(number_of(db, "SELECT COUNT(*) FROM person WHERE name IS NOT NULL") == PEOPLE * 2 / 3);
    db_close(&db);
}

ON_SQLITE(keeps_a_second_process_out)
{
    struct err_text why = {""};
    char folder[128];
    path_of(place, "var", folder, sizeof folder);
    cr_assert(db_lock_folder(folder, &why) == ERR_ok, "%s", why.text);
    pid_t child = fork();
    if (child == 0) {
        bool refused = db_lock_folder(folder, &why) == ERR_wrong_setting && strstr(why.text, folder) != NULL;
        _exit(refused ? 0 : 1);
    }
    int status = -1;
    cr_assert(waitpid(child, &status, 0) == child);
    cr_expect(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

/* Writes notes of 16 KB until the database refuses; returns its code and how many it had taken. */
static err
fill(struct db *db, int64_t from, int64_t *taken)
{
    static uint8_t large[16384];
    err code = ERR_ok;
    struct db_statement *write = db_statement(db, "INSERT INTO $note (n, bytes) VALUES (?, ?)");
    *taken = 0;
    while (code == ERR_ok && *taken < 1000) {
        db_bind_i64(write, from + *taken);
        db_bind_bytes(write, (struct slice){large, sizeof large});
        (void)!db_queue(write, 1);
        code = db_commit(db);
        *taken += code == ERR_ok;
    }
    return code;
}

ON_SQLITE(goes_on_when_a_full_disk_has_space_again)
{
    char ballast[128];
    int64_t taken = 0;
    /* A namespace of its own: the mount ends with this process, however it ends. */
    if (unshare(CLONE_NEWNS) != 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
        mount("none", place->folder, "tmpfs", 0, "size=2m") != 0) {
        cr_skip("a small disk cannot be mounted here: it needs the right to mount");
    }
    path_of(place, "ballast", ballast, sizeof ballast);
    FILE *file = fopen(ballast, "w");
    cr_assert(file != NULL);
    for (int i = 0; i < 1024 * 1024; i++) {
        fputc('x', file);
    }
    fclose(file);
    struct db *db = open_made(place);
    expect(db, fill(db, 0, &taken), ERR_db_full);
    expect(db, db_settle(db), ERR_db_full);
    db_rollback(db);
    cr_expect(number_of(db, "SELECT COUNT(*) FROM $note") == taken);
    cr_assert(unlink(ballast) == 0);
    expect(db, put_level(db, "a", 1), ERR_ok);
    expect(db, db_commit(db), ERR_ok);
    cr_expect(number_of(db, "SELECT COUNT(*) FROM $level") == 1);
    db_close(&db);
    cr_assert(umount(place->folder) == 0);
}

/* A disk whose next fsync of a log fails once. */
static const sqlite3_io_methods *real_methods;
static sqlite3_io_methods failing_methods;
static int (*real_open)(sqlite3_vfs *, const char *, sqlite3_file *, int, int *);
static int failures_left;

static int
failing_sync(sqlite3_file *file, int flags)
{
    if (failures_left > 0) {
        failures_left--;
        return SQLITE_IOERR_FSYNC;
    }
    return real_methods->xSync(file, flags);
}

static int
failing_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *file, int flags, int *out_flags)
{
    int code = real_open(vfs, name, file, flags, out_flags);
    if (code == SQLITE_OK && (flags & SQLITE_OPEN_WAL) != 0) {
        real_methods = file->pMethods;
        failing_methods = *real_methods;
        failing_methods.xSync = failing_sync;
        file->pMethods = &failing_methods;
    }
    return code;
}

ON_SQLITE(does_not_know_after_a_failed_fsync)
{
    static sqlite3_vfs vfs;
    struct err_text why = {""};
    sqlite3_initialize();
    vfs = *sqlite3_vfs_find(NULL);
    real_open = vfs.xOpen;
    vfs.xOpen = failing_open;
    vfs.zName = "failing";
    cr_assert(sqlite3_vfs_register(&vfs, 1) == SQLITE_OK);
    struct db *db = open_made(place);
    expect(db, put_move(db, 1), ERR_ok);
    expect(db, db_commit(db), ERR_ok);
    expect(db, put_move(db, 2), ERR_ok);
    failures_left = 1;
    expect(db, db_commit(db), ERR_db_unknown);
    cr_expect(put_move(db, 3) == ERR_db_lost);
    cr_assert(db_reconnect(db, &why) == ERR_ok, "%s", why.text);
    int64_t count = number_of(db, "SELECT COUNT(*) FROM $move");
    cr_expect(count == 1 || count == 2);
    expect(db, put_move(db, 3), ERR_ok);
    expect(db, db_commit(db), ERR_ok);
    cr_expect(number_of(db, "SELECT COUNT(*) FROM $move") == count + 1);
    db_close(&db);
}

/* --- MySQL alone --- */

ON_MYSQL(is_lost_at_once_when_killed_in_the_middle_of_a_pipeline)
{
    struct err_text why = {""};
    struct db *db = open_made(place);
    struct db *other = open_bare(place);
    expect(db, put_move(db, 1), ERR_ok);
    expect(db, db_settle(db), ERR_ok);
    expect(db, put_move(db, 2), ERR_ok);
    expect(other, db_kill(other, db_connection(db)), ERR_ok);
    int64_t start_ms = now_ms();
    for (int64_t n = 3; n < 20; n++) {
        (void)!put_move(db, n);
    }
    expect(db, db_commit(db), ERR_db_lost);
    cr_expect(now_ms() - start_ms < 1000, "it took %lld ms to see it", (long long)(now_ms() - start_ms));
    cr_expect(put_move(db, 50) == ERR_db_lost);
    cr_assert(db_reconnect(db, &why) == ERR_ok, "%s", why.text);
    cr_expect(number_of(db, "SELECT COUNT(*) FROM $move") == 0);
    expect(db, put_move(db, 1), ERR_ok);
    expect(db, db_commit(db), ERR_ok);
    cr_expect(number_of(other, "SELECT COUNT(*) FROM $move") == 1);
    db_close(&other);
    db_close(&db);
}

ON_MYSQL(does_not_know_when_killed_before_commit)
{
    struct err_text why = {""};
    struct db *db = open_made(place);
    struct db *other = open_bare(place);
    expect(db, put_move(db, 1), ERR_ok);
    expect(db, db_settle(db), ERR_ok);
    expect(other, db_kill(other, db_connection(db)), ERR_ok);
    expect(db, db_commit(db), ERR_db_unknown);
    db_rollback(db);
    cr_expect(db_query(db_statement(db, "SELECT 1")) == ERR_db_lost);
    cr_assert(db_reconnect(db, &why) == ERR_ok, "%s", why.text);
    cr_expect(number_of(db, "SELECT COUNT(*) FROM $move") == 0);
    db_close(&other);
    db_close(&db);
}

ON_MYSQL(kills_nobody_but_a_writer_of_its_database)
{
    struct place elsewhere = *place;
    struct db *db = open_made(place);
    strcat(elsewhere.config.name, "_b");
    struct db *foreign = open_made(&elsewhere);
    expect(db, db_kill(db, INT64_C(987654321)), ERR_ok);
    expect(db, db_kill(db, db_connection(db)), ERR_ok);
    expect(db, db_check(db), ERR_ok);
    expect(db, db_kill(db, db_connection(foreign)), ERR_ok);
    expect(foreign, db_check(foreign), ERR_ok);
    db_close(&foreign);
    db_close(&db);
    leave(&elsewhere);
}

/* After the server was started again the number that is recorded may be anybody's. */
ON_MYSQL(kills_no_other_actor_of_its_process)
{
    struct place beside = *place;
    struct db *db = open_made(place);
    strcpy(beside.config.prefix, "beside_0");
    struct db *other = open_made(&beside);
    int64_t connection = db_connection(other);
    expect(db, db_kill(db, connection), ERR_ok);
    expect(other, db_check(other), ERR_ok);
    expect(other, db_kill(other, db_connection(db)), ERR_ok);
    expect(db, db_check(db), ERR_ok);
    db_close(&other);
    db_close(&db);
}

ON_MYSQL(gives_up_an_answer_after_seconds)
{
    struct err_text why = {""};
    struct db *db = open_made(place);
    int64_t start_ms = now_ms();
    expect(db, db_query(db_statement(db, "SELECT SLEEP(20)")), ERR_db_lost);
    cr_expect(now_ms() - start_ms < 8000);
    cr_assert(db_reconnect(db, &why) == ERR_ok, "%s", why.text);
    expect(db, db_check(db), ERR_ok);
    db_close(&db);
}

ON_MYSQL(names_user_and_host_of_a_refused_login)
{
    struct err_text why = {""};
    struct db *db = NULL;
    struct db_config known = place->config;
    strcpy(place->config.user, "nobody_here");
    strcpy(place->config.password, "geheim");
    cr_expect(db_open(&place->config, &db, &why) == ERR_db_denied);
    cr_expect(strstr(why.text, "nobody_here") != NULL, "%s", why.text);
    cr_expect(strstr(why.text, place->config.hosts) != NULL, "%s", why.text);
    cr_expect(strstr(why.text, "geheim") == NULL, "%s", why.text);
    place->config = known;
}

/* A listener that never says a word; `port` is where. */
static int
silent_listener(unsigned *port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    cr_assert(bind(listener, (struct sockaddr *)&address, sizeof address) == 0 && listen(listener, 4) == 0);
    cr_assert(getsockname(listener, (struct sockaddr *)&address, &size) == 0);
    *port = ntohs(address.sin_port);
    return listener;
}

ON_MYSQL(passes_over_hosts_that_do_not_answer)
{
    char hosts[sizeof place->config.hosts];
    unsigned port = 0;
    int listener = silent_listener(&port);
    snprintf(hosts, sizeof hosts, "127.0.0.1:1,127.0.0.1:%u,%.200s", port, place->config.hosts);
    struct place all = *place;
    strcpy(all.config.hosts, hosts);
    int64_t start_ms = now_ms();
    struct db *db = open_bare(&all);
    cr_expect(now_ms() - start_ms < 2500, "one silent host took %lld ms", (long long)(now_ms() - start_ms));
    expect(db, db_check(db), ERR_ok);
    db_close(&db);
    close(listener);
}

/* Starts a server beside the suite's own that takes no writes; closing the pipe ends it. */
static FILE *
start_replica(const struct place *place, struct place *replica)
{
    char fifo[64];
    char command[256];
    char folder[128] = "";
    snprintf(fifo, sizeof fifo, "/tmp/larder-fifo.%d", (int)getpid());
    cr_assert(mkfifo(fifo, 0600) == 0);
    snprintf(command, sizeof command, "exec tests/support/mariadb.sh run sh -c 'echo \"$LARDER_TEST_DB_FOLDER\" > %s; cat'", fifo);
    FILE *server = popen(command, "w");
    FILE *told = fopen(fifo, "r");
    cr_assert(server != NULL && told != NULL && fgets(folder, sizeof folder, told) != NULL);
    fclose(told);
    unlink(fifo);
    *replica = *place;
    snprintf(replica->config.hosts, sizeof replica->config.hosts, "unix:%.*s/s", (int)strcspn(folder, "\n"), folder);
    raw_run(replica, "SET GLOBAL read_only = 1");
    return server;
}

ON_MYSQL(passes_over_a_server_that_takes_no_writes)
{
    struct place replica;
    struct err_text why = {""};
    struct db *db = NULL;
    FILE *server = start_replica(place, &replica);
    cr_expect(db_open(&replica.config, &db, &why) == ERR_db_readonly);
    cr_expect(strstr(why.text, "takes no writes") != NULL, "%s", why.text);
    size_t size = strlen(replica.config.hosts);
    snprintf(replica.config.hosts + size, sizeof replica.config.hosts - size, ",%.200s", place->config.hosts);
    db = open_made(&replica);
    expect(db, put_move(db, 1), ERR_ok);
    expect(db, db_commit(db), ERR_ok);
    db_close(&db);
    db = open_bare(place);
    cr_expect(number_of(db, "SELECT COUNT(*) FROM $move") == 1, "it went to another server");
    db_close(&db);
    pclose(server);
}

ON_MYSQL(names_every_host_that_failed)
{
    struct err_text why = {""};
    struct db *db = NULL;
    struct place nowhere = *place;
    strcpy(nowhere.config.hosts, "127.0.0.1:1,127.0.0.1:2");
    cr_expect(db_open(&nowhere.config, &db, &why) == ERR_db_lost);
    cr_expect(strstr(why.text, "127.0.0.1:1") != NULL && strstr(why.text, "127.0.0.1:2") != NULL, "%s", why.text);
}

ON_MYSQL(means_tcp_by_localhost_with_a_port)
{
    const char *url = getenv("LARDER_TEST_DB_TCP");
    cr_assert(url != NULL, "LARDER_TEST_DB_TCP is not set: run this under `tests/support/mariadb.sh run`");
    struct place tcp = *place;
    snprintf(tcp.config.hosts, sizeof tcp.config.hosts, "localhost:%d", atoi(strrchr(url, ':') + 1));
    struct db *db = open_bare(&tcp);
    cr_expect(number_of(db, "SELECT COUNT(*) FROM information_schema.processlist WHERE id = CONNECTION_ID() AND host LIKE '%:%'") ==
              1);
    db_close(&db);
}

ON_MYSQL(keeps_a_snapshot_open_while_a_long_proof_reads_other_databases)
{
    struct err_text why = {""};
    struct db *writer = open_made(place);
    struct db *reader = NULL;
    place->config.read_only = true;
    cr_assert(db_open(&place->config, &reader, &why) == ERR_ok, "%s", why.text);
    cr_expect(number_of(reader, "SELECT @@wait_timeout") == 28800);
    db_close(&reader);
    db_close(&writer);
}

ON_MYSQL(sets_its_session_up)
{
    static const struct db_step none[] = {{1, "CREATE TABLE IF NOT EXISTS $x (n {I64} PRIMARY KEY NOT NULL) {TABLE_END}"}};
    struct err_text why = {""};
    struct db *db = open_bare(place);
    for (int i = 0; i < 2; i++) {
        cr_expect(number_of(db, "SELECT @@autocommit = 0 AND @@innodb_lock_wait_timeout = 2 AND @@wait_timeout = 30") == 1);
        cr_expect(number_of(db, "SELECT @@tx_isolation = 'READ-COMMITTED' AND @@sql_mode LIKE '%STRICT_ALL_TABLES%'") == 1);
        cr_expect(number_of(db, "SELECT @@idle_write_transaction_timeout = 5 AND @@time_zone = '+00:00'") == 1);
        cr_expect(number_of(db, "SELECT @@character_set_client = 'utf8mb4' AND @@collation_connection = 'utf8mb4_bin'") == 1);
        cr_expect(number_of(db, "SELECT @@innodb_flush_log_at_trx_commit") == 1, "this server does not keep its promises");
        db_rollback(db);
        cr_assert(db_migrate(db, none, 1, &why) == ERR_ok, "%s", why.text);
    }
    db_close(&db);
}

ON_MYSQL(takes_a_step_that_was_interrupted_as_done)
{
    struct err_text why = {""};
    struct db *db = open_made(place);
    struct db_statement *unrecord = db_statement(db, "DELETE FROM $schema_version WHERE version = 3");
    expect(db, db_queue(unrecord, 1), ERR_ok);
    expect(db, db_commit(db), ERR_ok);
    cr_expect(db_migrate(db, steps, STEP_COUNT, &why) == ERR_ok, "%s", why.text);
    cr_expect(number_of(db, "SELECT COUNT(*) FROM $schema_version") == (int64_t)STEP_COUNT);
    db_close(&db);
}

ON_MYSQL(ends_a_transaction_that_only_read)
{
    struct db *db = open_made(place);
    cr_expect(number_of(db, "SELECT COUNT(*) FROM $level") == 0);
    expect(db, db_check(db), ERR_ok);
    char sql[256];
    snprintf(sql, sizeof sql, "ALTER TABLE `%s`.`stock_0_level` ADD COLUMN extra BIGINT", place->config.name);
    int64_t start_ms = now_ms();
    raw_run(place, sql);
    cr_expect(now_ms() - start_ms < 2000);
    db_close(&db);
}

/* --- settings --- */

struct url_row {
    char url[128];
    char hosts[64];
    char user[32];
    char password[32];
    char name[32];
};

ParameterizedTestParameters(db_config, reads_urls)
{
    static struct url_row rows[] = {
        {"mysql://u@h/n", "h", "u", "", "n"},
        {"mysql://u:p@h:3307/n", "h:3307", "u", "p", "n"},
        {"mysql://u:p@h1:1,h2,[::1]:65535/n", "h1:1,h2,[::1]:65535", "u", "p", "n"},
        {"mysql://u%3a:%40%2f%25@h/n%20m", "h", "u:", "@/%", "n m"},
        {"mysql://u:p:q@unix(/tmp/a@b/s)/n", "unix:/tmp/a@b/s", "u", "p:q", "n"},
    };
    return cr_make_param_array(struct url_row, rows, sizeof rows / sizeof *rows);
}

ParameterizedTest(struct url_row *row, db_config, reads_urls)
{
    struct db_config config;
    struct err_text why = {""};
    cr_assert(db_config_parse(row->url, &config, &why) == ERR_ok, "%s: %s", row->url, why.text);
    cr_expect(config.driver == DB_MYSQL);
    cr_expect_str_eq(config.hosts, row->hosts);
    cr_expect_str_eq(config.user, row->user);
    cr_expect_str_eq(config.password, row->password);
    cr_expect_str_eq(config.name, row->name);
}

struct bad_url_row {
    char url[128];
};

ParameterizedTestParameters(db_config, refuses_urls_without_telling_the_password)
{
    static struct bad_url_row rows[] = {
        {"geheim"},
        {"postgres://u:geheim@h/n"},
        {"sqlite:"},
        {"mysql://u:geheim@h"},
        {"mysql://u:geheim@h/"},
        {"mysql://u:geheim@/n"},
        {"mysql://:geheim@h/n"},
        {"mysql://u:geheim@h:0/n"},
        {"mysql://u:geheim@h:65536/n"},
        {"mysql://u:geheim@h:12x/n"},
        {"mysql://u:geheim@h,,h2/n"},
        {"mysql://u:geheim@h,/n"},
        {"mysql://u:geheim@[::1/n"},
        {"mysql://u:geheim@h/n/m"},
        {"mysql://u:ge/heim@h/n"},
        {"mysql://u:geheim%4@h/n"},
        {"mysql://u:geheim%00@h/n"},
        {"mysql://u:geheim@unix(relative)/n"},
        {"mysql://u:geheim@unix(/s/n"},
        {"mysql://u:geheim@unix(/s)"},
        {"mysql://geheim"},
        {"mysql://u:geheim@h/n?charset=utf8mb4"},
        {"mysql://u:geheim@h/n?"},
        {"mysql://u:geheim@h:3306?ssl=1/n"},
        {"mysql://u:geheim@unix(/s)/n?x=1"},
        {"sqlite:/geheim?mode=ro"},
    };
    return cr_make_param_array(struct bad_url_row, rows, sizeof rows / sizeof *rows);
}

ParameterizedTest(struct bad_url_row *row, db_config, refuses_urls_without_telling_the_password)
{
    struct db_config config;
    struct err_text why = {""};
    cr_expect(db_config_parse(row->url, &config, &why) == ERR_wrong_setting, "%s", row->url);
    cr_expect(why.text[0] != '\0' && strstr(why.text, "geheim") == NULL && strstr(why.text, "heim") == NULL, "%s", why.text);
}

Test(db_config, reads_a_sqlite_folder)
{
    struct db_config config;
    struct err_text why = {""};
    cr_assert(db_config_parse("sqlite:/var/lib/larder", &config, &why) == ERR_ok);
    cr_expect(config.driver == DB_SQLITE);
    cr_expect_str_eq(config.path, "/var/lib/larder");
}

Test(db_config, refuses_a_prefix_that_is_no_name)
{
    struct db_config config;
    struct db *db = NULL;
    struct err_text why = {""};
    cr_assert(db_config_parse("sqlite:/nonexistent", &config, &why) == ERR_ok);
    strcpy(config.prefix, "../x");
    cr_expect(db_open(&config, &db, &why) == ERR_wrong_setting);
    cr_expect(db == NULL);
}
