/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Where a test of the kit works: SQLite in a temporary folder, or a database of the test's own on the server that LARDER_TEST_DB
 * names.
 *
 *     ON_BOTH(shard, refuses_another_number) { struct db *db = place_open(place); ... }
 *
 * makes a test of the same body in the suites shard_sqlite and shard_mysql.
 */
#ifndef LARDER_TESTS_KIT_PLACE_H
#define LARDER_TESTS_KIT_PLACE_H

#include "kit/db/db.h"
#include "kit/settings/settings.h"

struct place {
    struct db_config config; /* prefix "stock_0" */
    char folder[64];
    int ports_fd;             /* holds its block of ports against tests that run beside it */
    struct settings settings; /* defaults, this database, and ports that were free */
};

/* Fails the test when there is no server for it. */
void
place_enter(struct place *place, enum db_driver driver);

/* Removes the folder, or drops the database. */
void
place_leave(struct place *place);

/* Another connection to the tables of stock_0, with the kit's schema applied. */
struct db *
place_open(const struct place *place);

/* Waits until the ports of stock and of the dlq can be bound again: ZeroMQ closes a listener some time after its socket is destroyed.
 */
void
place_await_ports(const struct place *place);

/* Offsets of topology.def. */
enum { STOCK_OFFSET = 6, DLQ_OFFSET = 8 };

/* Whether nobody has bound the ports of one actor. */
bool
place_are_ports_free(const struct place *place, int offset);

/* Those of one actor, by its offset in topology.def. */
void
place_await_ports_of(const struct place *place, int offset);

/* One statement beside the port, as the server's root. MySQL only. */
void
place_run(const struct place *place, const char *sql);

/* Ends a connection from outside. Nothing on SQLite. */
void
place_kill(const struct place *place, int64_t connection);

/* The first column of the first row of a read that must have one; ends the snapshot that the read began. */
int64_t
place_number(struct db *db, const char *sql);

/* Fails the test, with what the database says, when `code` is another. */
void
place_expect(struct db *db, err code, err wanted);

#define ON_ONE(suite, claim, engine)   \
    Test(suite, claim, .timeout = 120) \
    {                                  \
        struct place place;            \
        place_enter(&place, engine);   \
        claim(&place);                 \
        place_leave(&place);           \
    }

#define ON_BOTH(suite, claim)                \
    static void claim(struct place *place);  \
    ON_ONE(suite##_sqlite, claim, DB_SQLITE) \
    ON_ONE(suite##_mysql, claim, DB_MYSQL)   \
    static void claim(struct place *place)

#define ON_MYSQL(suite, claim)              \
    static void claim(struct place *place); \
    ON_ONE(suite##_mysql, claim, DB_MYSQL)  \
    static void claim(struct place *place)

#endif
