/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE   A place of its own for each test that needs a database, and nothing left of it afterwards.
 * STATE     SQLite: a folder under /tmp. MySQL: a database named by the process, dropped at the end.
 * FAILURES  A test that fails leaves its place behind: the folder to be looked at, the database to its server's end.
 */
#include "kit_place.h"

#include <criterion/criterion.h>
#include <arpa/inet.h>
#include <mysql.h>
#include <netinet/in.h>
#include <poll.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "kit/place/kit_schema.h"
#include "patience.h"

static bool
is_port_free(int port)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int on = 1;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    bool is_free = bind(fd, (const struct sockaddr *)&address, sizeof address) == 0;
    close(fd);
    return is_free;
}

/* The ports of every actor behind it. */
static bool
are_ports_free(int base)
{
    for (int offset = 1; offset <= 8; offset++) {
        if (!is_port_free(base + offset) || !is_port_free(base + 100 + offset)) {
            return false;
        }
    }
    return true;
}

/* A name that one process at a time may have; it goes with the process. Free ports alone would be found by two tests at once. */
static int
hold_ports(int base)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int size = snprintf(address.sun_path + 1, sizeof address.sun_path - 1, "larder-ports-%d", base);
    if (bind(fd, (const struct sockaddr *)&address, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)size)) == 0) {
        return fd;
    }
    close(fd);
    return -1;
}

/* Tens of even hundreds: no two places share a port, so that an actor whose peer is away does not find that of another test. */
static int
find_base_port(int *held_fd)
{
    for (int i = 0; i < 850; i++) {
        int place = (int)(((unsigned)getpid() * 7U + (unsigned)i * 211U) % 850U);
        int base = 1200 + 200 * (place / 10) + 10 * (place % 10);
        *held_fd = hold_ports(base);
        if (*held_fd >= 0 && are_ports_free(base)) {
            return base;
        }
        if (*held_fd >= 0) {
            close(*held_fd);
        }
    }
    cr_assert_fail("there are no free ports");
    return 0;
}

static MYSQL *
raw_open(const struct place *place)
{
    MYSQL *raw = mysql_init(NULL);
    const char *socket = strncmp(place->config.hosts, "unix:", 5) == 0 ? place->config.hosts + 5 : NULL;
    cr_assert(mysql_real_connect(raw, NULL, place->config.user, place->config.password, NULL, 0, socket, 0) != NULL, "%s",
              mysql_error(raw));
    return raw;
}

bool
place_are_ports_free(const struct place *place, int offset)
{
    int base = (int)place->settings.base_port + offset;
    return is_port_free(base) && is_port_free(base + 100);
}

void
place_await_ports_of(const struct place *place, int offset)
{
    for (int i = 0; !place_are_ports_free(place, offset); i++) {
        cr_assert(i < patience_ms(5000) / 10, "the actor's ports are not given back");
        (void)poll(NULL, 0, 10);
    }
}

void
place_await_ports(const struct place *place)
{
    place_await_ports_of(place, STOCK_OFFSET);
    place_await_ports_of(place, DLQ_OFFSET);
}

void
place_run(const struct place *place, const char *sql)
{
    MYSQL *raw = raw_open(place);
    cr_assert(mysql_query(raw, sql) == 0, "%s", mysql_error(raw));
    mysql_close(raw);
}

void
place_kill(const struct place *place, int64_t connection)
{
    if (place->config.driver == DB_MYSQL) {
        char command[64];
        MYSQL *raw = raw_open(place);
        snprintf(command, sizeof command, "KILL %lld", (long long)connection);
        (void)mysql_query(raw, command); /* one that is gone already is as good */
        mysql_close(raw);
    }
}

void
place_enter(struct place *place, enum db_driver driver)
{
    struct err_text why = {""};
    memset(place, 0, sizeof *place);
    cr_assert(settings_init(&place->settings, &why) == ERR_ok, "%s", why.text);
    place->settings.init = 1;
    place->settings.batch_max = 512; /* what the suites were written for, whatever the default is */
    if (driver == DB_SQLITE) {
        strcpy(place->folder, "/tmp/larder-test.XXXXXX");
        cr_assert(mkdtemp(place->folder) != NULL);
        strcpy(place->settings.data, place->folder);
        place->settings.db[0] = '\0';
    } else {
        const char *url = getenv("LARDER_TEST_DB");
        cr_assert(url != NULL, "LARDER_TEST_DB is not set: run `make contract`");
        snprintf(place->settings.db, sizeof place->settings.db, "%slarder_kit_%d", url, (int)getpid());
    }
    place->settings.base_port = find_base_port(&place->ports_fd);
    place->settings.retry_first_ms = 20;
    cr_assert(settings_db(&place->settings, "stock", 0, &place->config, &why) == ERR_ok, "%s", why.text);
}

void
place_leave(struct place *place)
{
    char command[256];
    close(place->ports_fd);
    if (place->config.driver == DB_MYSQL) {
        snprintf(command, sizeof command, "DROP DATABASE IF EXISTS `%s`", place->config.name);
        place_run(place, command);
        return;
    }
    snprintf(command, sizeof command, "rm -rf '%s'", place->folder);
    cr_assert(system(command) == 0);
}

struct db *
place_open(const struct place *place)
{
    struct db *db = NULL;
    struct err_text why = {""};
    cr_assert(db_open(&place->config, &db, &why) == ERR_ok, "%s", why.text);
    cr_assert(db_migrate(db, kit_steps, kit_step_count, &why) == ERR_ok, "%s", why.text);
    return db;
}

int64_t
place_number(struct db *db, const char *sql)
{
    struct db_statement *read = db_statement(db, sql);
    place_expect(db, db_query(read), ERR_ok);
    cr_assert(db_next(read), "no row: %s", sql);
    int64_t number = db_i64(read, 0);
    db_done(read);
    db_rollback(db);
    return number;
}

void
place_expect(struct db *db, err code, err wanted)
{
    cr_assert(code == wanted, "%s instead of %s: %s", err_symbol(code), err_symbol(wanted), db_error(db));
}
