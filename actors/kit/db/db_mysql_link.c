/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE   The connection of the MySQL driver: which host of the list is used, and the session there.
 * STATE     Session: READ COMMITTED (REPEATABLE READ for a read-only db, whose snapshot lasts until the rollback), strict types,
 *           matched rows instead of changed ones, utf8mb4, UTC; InnoDB gives up a lock after 2 s, MariaDB a silent writer after 5 s.
 * FAILURES  Of several writable hosts the one is used on which the actors of the database have come further, by epochs and then
 *           batches of all of them: so they agree, and an old primary that comes back is left alone. A primary whose commits wait for
 *           a replica for ever and that has none is no writable host. Where only an old primary can be reached nobody can know.
 * LIMITS    Connecting takes at most a second per host.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "db_mysql.h"
#include "kit/base/memory.h"

#define CONNECT_TIMEOUT_S 1U
#define WRITER_IDLE_S 30U
#define SNAPSHOT_IDLE_S 28800U
#define HOST_MAX 256
#define QUERY_MAX 512
#define OWN_MAX 256
#define PROGRESS_SQL_MAX 8192
#define PROGRESS_TABLE_MAX 192
#define WAITS_FOR_EVER_MS (INT64_C(24) * 3600 * 1000)

#define SESSION_MODE "STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION,PIPES_AS_CONCAT,NO_BACKSLASH_ESCAPES"

enum { UNKNOWN_DATABASE = 1049, DENIED_DATABASE = 1044, UNKNOWN_HOST = 2005 };

/* One host of the list. */
struct address {
    char host[HOST_MAX];
    char socket[HOST_MAX];
    unsigned port;
};

/* --- errors --- */

struct error_class {
    unsigned number;
    err code;
};

static const struct error_class error_classes[] = {
    {2002, ERR_db_lost},     {2003, ERR_db_lost},     {2006, ERR_db_lost},     {2013, ERR_db_lost},   {2055, ERR_db_lost},
    {1053, ERR_db_lost},     {1077, ERR_db_lost},     {1152, ERR_db_lost},     {1159, ERR_db_lost},   {1161, ERR_db_lost},
    {1927, ERR_db_lost},     {4031, ERR_db_lost},     {1205, ERR_db_busy},     {1213, ERR_db_busy},   {1040, ERR_db_busy},
    {1203, ERR_db_busy},     {1317, ERR_db_busy},     {1412, ERR_db_busy},     {1615, ERR_db_busy},   {1062, ERR_db_unique},
    {1586, ERR_db_unique},   {4025, ERR_db_check},    {3819, ERR_db_check},    {1048, ERR_db_check},  {1264, ERR_db_check},
    {1292, ERR_db_check},    {1366, ERR_db_check},    {1406, ERR_db_check},    {1021, ERR_db_full},   {1114, ERR_db_full},
    {1290, ERR_db_readonly}, {1792, ERR_db_readonly}, {1836, ERR_db_readonly}, {1044, ERR_db_denied}, {1045, ERR_db_denied},
    {1049, ERR_db_denied},   {1095, ERR_db_denied},   {1142, ERR_db_denied},   {1143, ERR_db_denied}, {1227, ERR_db_denied},
    {1698, ERR_db_denied},   {2005, ERR_db_denied},
};

err
db_mysql_class_of(unsigned number)
{
    for (size_t i = 0; i < sizeof error_classes / sizeof *error_classes; i++) {
        if (error_classes[i].number == number) {
            return error_classes[i].code;
        }
    }
    return ERR_db_bug;
}

/* --- text queries --- */

bool
db_mysql_run_text(MYSQL *handle, const char *sql)
{
    return mysql_real_query(handle, sql, (unsigned long)strlen(sql)) == 0;
}

bool
db_mysql_read_number(MYSQL *handle, const char *sql, int64_t missing, int64_t *number)
{
    if (!db_mysql_run_text(handle, sql)) {
        return false;
    }
    MYSQL_RES *result = mysql_store_result(handle);
    if (result == NULL) {
        return false;
    }
    MYSQL_ROW row = mysql_fetch_row(result);
    *number = row != NULL && row[0] != NULL ? strtoll(row[0], NULL, 10) : missing;
    mysql_free_result(result);
    return true;
}

/* --- open and close --- */

/* The connections of this process and whose they are: no other actor of it may take one for a connection that its own writer of before
 * has left. After the server was started again the numbers begin anew, and the actors open side by side. */
static struct {
    pthread_mutex_t lock;
    struct {
        unsigned long id; /* 0: free */
        char prefix[DB_PREFIX_MAX];
    } list[OWN_MAX];
} own = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void
own_add(const struct db *db)
{
    size_t at = 0;
    pthread_mutex_lock(&own.lock);
    while (at < OWN_MAX && own.list[at].id != 0) {
        at++;
    }
    if (at < OWN_MAX) {
        own.list[at].id = mysql_thread_id(link_of(db)->handle);
        memcpy(own.list[at].prefix, db->config.prefix, sizeof own.list[at].prefix);
    }
    pthread_mutex_unlock(&own.lock);
}

static void
own_remove(unsigned long id)
{
    pthread_mutex_lock(&own.lock);
    for (size_t at = 0; at < OWN_MAX; at++) {
        own.list[at].id = own.list[at].id == id ? 0 : own.list[at].id;
    }
    pthread_mutex_unlock(&own.lock);
}

bool
db_mysql_is_of_another(const struct db *db, unsigned long id)
{
    bool found = false;
    pthread_mutex_lock(&own.lock);
    for (size_t at = 0; at < OWN_MAX && !found; at++) {
        found = own.list[at].id == id && strcmp(own.list[at].prefix, db->config.prefix) != 0;
    }
    pthread_mutex_unlock(&own.lock);
    return found;
}

static void
close_handle(MYSQL **handle)
{
    unsigned long id = mysql_thread_id(*handle);
    mysql_close(*handle);
    *handle = NULL;
    own_remove(id);
}

void
db_mysql_unprepare(struct db *db)
{
    for (struct db_statement *statement = db->statements; statement != NULL; statement = statement->next) {
        if (statement->handle != NULL) {
            (void)mysql_stmt_close(statement->handle);
            statement->handle = NULL;
        }
    }
}

void
db_mysql_drop(struct db *db)
{
    struct link *link = link_of(db);
    if (link->handle != NULL) {
        close_handle(&link->handle);
    }
    /* After mysql_close() a statement knows that its connection is gone and is freed without asking the server. */
    db_mysql_unprepare(db);
    free(link->binds);
    free(link->columns);
    free(link);
    db->link = NULL;
}

/* Reads one element of the list, which is not empty. "localhost" means the socket to the library, whatever the port: with a port,
 * the loopback address is meant. */
static bool
parse_address(const char *text, size_t size, struct address *address)
{
    static const char scheme[] = "unix:";
    memset(address, 0, sizeof *address);
    if (size == 0 || size >= HOST_MAX) {
        return false;
    }
    if (size > sizeof scheme - 1 && memcmp(text, scheme, sizeof scheme - 1) == 0) {
        memcpy(address->socket, text + sizeof scheme - 1, size - (sizeof scheme - 1));
        return true;
    }
    bool bracketed = text[0] == '[';
    const char *end = bracketed ? memchr(text, ']', size) : memchr(text, ':', size);
    size_t host_size = end == NULL ? size : (size_t)(end - text);
    const char *colon = end;
    if (bracketed) {
        text++;
        size--;
        host_size = end == NULL ? size : host_size - 1;
        colon = end != NULL && (size_t)(end + 1 - text) < size && end[1] == ':' ? end + 1 : NULL;
    }
    memcpy(address->host, text, host_size);
    if (colon != NULL) {
        char port[8] = "";
        size_t port_size = size - (size_t)(colon + 1 - text);
        memcpy(port, colon + 1, port_size < sizeof port ? port_size : sizeof port - 1);
        address->port = (unsigned)strtoul(port, NULL, 10);
    }
    if (address->port != 0 && strcmp(address->host, "localhost") == 0) {
        snprintf(address->host, sizeof address->host, "127.0.0.1");
    }
    return true;
}

static void
start_library(void)
{
    if (mysql_library_init(0, NULL, NULL) != 0) {
        abort();
    }
}

static MYSQL *
new_handle(const struct attempt *attempt)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    unsigned connect_s = CONNECT_TIMEOUT_S;
    unsigned write_s = ANSWER_TIMEOUT_S;
    unsigned off = 0;
    pthread_once(&once, start_library);
    MYSQL *handle = mysql_init(NULL);
    if (handle == NULL) {
        abort();
    }
    mysql_options(handle, MYSQL_OPT_CONNECT_TIMEOUT, &connect_s);
    mysql_options(handle, MYSQL_OPT_READ_TIMEOUT, &attempt->answer_s);
    mysql_options(handle, MYSQL_OPT_WRITE_TIMEOUT, &write_s);
    mysql_options(handle, MYSQL_OPT_LOCAL_INFILE, &off);
    mysql_options(handle, MYSQL_SET_CHARSET_NAME, "utf8mb4");
    return handle;
}

static bool
is_mariadb(MYSQL *handle)
{
    return strstr(mysql_get_server_info(handle), "MariaDB") != NULL;
}

static bool
set_session(struct db *db, const struct attempt *attempt)
{
    MYSQL *handle = link_of(db)->handle;
    char sql[QUERY_MAX];
    /* a proof reads one database while its snapshots of the others stand, and those lock nothing */
    unsigned most_idle_s = db->config.read_only ? SNAPSHOT_IDLE_S : WRITER_IDLE_S;
    unsigned idle_s = attempt->answer_s > most_idle_s ? attempt->answer_s : most_idle_s;
    snprintf(sql, sizeof sql,
             "SET SESSION sql_mode='" SESSION_MODE "', innodb_lock_wait_timeout=%d, lock_wait_timeout=%u, time_zone='+00:00', "
             "wait_timeout=%u, autocommit=0",
             DB_LOCK_WAIT_S, attempt->lock_s, idle_s);
    return db_mysql_run_text(handle, "SET NAMES utf8mb4 COLLATE utf8mb4_bin") && db_mysql_run_text(handle, sql) &&
           db_mysql_run_text(handle, db->config.read_only ? "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ"
                                                          : "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED") &&
           (!is_mariadb(handle) || db_mysql_run_text(handle, "SET SESSION idle_write_transaction_timeout=5"));
}

/* Enters the database, and makes it when it is missing and is to be made. */
static bool
enter_database(struct db *db)
{
    MYSQL *handle = link_of(db)->handle;
    if (mysql_select_db(handle, db->config.name) == 0) {
        return true;
    }
    if ((mysql_errno(handle) != UNKNOWN_DATABASE && mysql_errno(handle) != DENIED_DATABASE) || db->config.read_only ||
        db->config.must_exist) {
        return false;
    }
    char sql[2 * DB_NAME_MAX + 96] = "CREATE DATABASE IF NOT EXISTS `";
    size_t size = strlen(sql);
    for (const char *letter = db->config.name; *letter != '\0'; letter++) {
        sql[size++] = *letter;
        if (*letter == '`') {
            sql[size++] = '`';
        }
    }
    snprintf(sql + size, sizeof sql - size, "` CHARACTER SET utf8mb4 COLLATE utf8mb4_bin");
    return db_mysql_run_text(handle, sql) && mysql_select_db(handle, db->config.name) == 0;
}

/* A primary whose commits wait for a replica for ever, and that has none: what was its replica may be the primary now. MySQL has other
 * names for it, and is not asked. */
static bool
waits_for_nobody(MYSQL *handle)
{
    int64_t timeout_ms = 0;
    int64_t replicas = 1;
    return db_mysql_read_number(handle, "SELECT IF(@@rpl_semi_sync_master_enabled, @@rpl_semi_sync_master_timeout, 0)", 0,
                                &timeout_ms) &&
           timeout_ms >= WAITS_FOR_EVER_MS &&
           db_mysql_read_number(
               handle,
               "SELECT VARIABLE_VALUE FROM information_schema.GLOBAL_STATUS WHERE VARIABLE_NAME = 'RPL_SEMI_SYNC_MASTER_CLIENTS'", 1,
               &replicas) &&
           replicas == 0;
}

/* How far all actors together have come on a host: the reigns that have begun there, and behind that the commits. */
struct progress {
    int64_t epochs;
    int64_t batches;
};

static bool
is_further(const struct progress *one, const struct progress *other)
{
    return one->epochs != other->epochs ? one->epochs > other->epochs : one->batches > other->batches;
}

/* Of all tables of shards, also of those of other actors: so that all of them come to the same host. */
static struct progress
read_progress(MYSQL *handle)
{
    struct progress progress = {0, 0};
    char sql[PROGRESS_SQL_MAX] = "SELECT SUM(epoch), SUM(batch) FROM (SELECT 0 AS epoch, 0 AS batch";
    size_t size = strlen(sql);
    MYSQL_RES *tables = NULL;
    if (db_mysql_run_text(handle, "SELECT table_name FROM information_schema.tables WHERE table_schema = DATABASE()"
                                  " AND RIGHT(table_name, 6) = '_shard'")) {
        tables = mysql_store_result(handle);
    }
    MYSQL_ROW row = NULL;
    while (tables != NULL && (row = mysql_fetch_row(tables)) != NULL && size + PROGRESS_TABLE_MAX < sizeof sql) {
        size += (size_t)snprintf(sql + size, sizeof sql - size, " UNION ALL SELECT epoch, batch FROM `%.64s`", row[0]);
    }
    mysql_free_result(tables);
    snprintf(sql + size, sizeof sql - size, ") AS shards");
    MYSQL_RES *sums = db_mysql_run_text(handle, sql) ? mysql_store_result(handle) : NULL;
    if (sums != NULL && (row = mysql_fetch_row(sums)) != NULL) {
        progress = (struct progress){strtoll(row[0], NULL, 10), strtoll(row[1], NULL, 10)};
    }
    mysql_free_result(sums);
    (void)db_mysql_run_text(handle, "ROLLBACK");
    return progress;
}

/* Connects to one host and makes the session; a failure leaves link->handle closed and its words in `reason`. */
static err
connect_one(struct db *db, const struct address *address, const struct attempt *attempt, struct err_text *reason)
{
    struct link *link = link_of(db);
    const struct db_config *config = &db->config;
    int64_t is_read_only = 0;
    link->handle = new_handle(attempt);
    const char *host = address->socket[0] == '\0' ? address->host : NULL;
    const char *socket = address->socket[0] == '\0' ? NULL : address->socket;
    bool ok =
        mysql_real_connect(link->handle, host, config->user, config->password, NULL, address->port, socket, CLIENT_FOUND_ROWS) != NULL;
    if (ok) {
        own_add(db);
    }
    ok = ok && db_mysql_read_number(link->handle, "SELECT @@read_only", 0, &is_read_only);
    if (ok && is_read_only != 0 && !config->read_only) {
        close_handle(&link->handle);
        return err_say(reason, ERR_db_readonly, "it takes no writes");
    }
    if (ok && !config->read_only && waits_for_nobody(link->handle)) {
        close_handle(&link->handle);
        return err_say(reason, ERR_db_readonly, "its commits wait for a replica, and none is connected");
    }
    ok = ok && set_session(db, attempt) && enter_database(db);
    if (ok) {
        return ERR_ok;
    }
    unsigned number = mysql_errno(link->handle);
    err code = db_mysql_class_of(number);
    if (number == UNKNOWN_DATABASE && config->must_exist && !attempt->again) {
        code =
            err_say(reason, ERR_wrong_setting,
                    "there is no database %.64s: is it the right one? Where a shop is to begin, add --init once: `larder run --init`",
                    config->name);
    } else {
        (void)err_say(reason, code, "%s", mysql_error(link->handle));
    }
    code = mysql_errno(link->handle) == UNKNOWN_HOST && attempt->again ? ERR_db_lost : code;
    close_handle(&link->handle);
    return code;
}

/* Whether trying again later may help, which then is what the whole list answers. */
static bool
may_come_back(err code)
{
    return code == ERR_db_lost || code == ERR_db_readonly || code == ERR_db_busy;
}

/* Of several hosts that take writes the one is kept on which the actors have come further: an old primary that comes back lacks what
 * its successor has. */
static void
keep_further(struct db *db, MYSQL **kept, struct progress *furthest)
{
    struct link *link = link_of(db);
    struct progress progress = read_progress(link->handle);
    if (*kept != NULL && !is_further(&progress, furthest)) {
        close_handle(&link->handle);
        return;
    }
    if (*kept != NULL) {
        close_handle(kept);
    }
    *kept = link->handle;
    *furthest = progress;
    link->handle = NULL;
}

err
db_mysql_connect(struct db *db, const struct attempt *attempt, struct err_text *why)
{
    struct err_text all = {""};
    size_t length = 0;
    err worst = ERR_wrong_setting;
    bool is_one_enough = strchr(db->config.hosts, ',') == NULL;
    struct progress furthest = {0, 0};
    MYSQL *kept = NULL;
    struct link *link = memory_new(1, sizeof *link);
    db->link = link;
    for (const char *rest = db->config.hosts; rest != NULL;) {
        size_t size = strcspn(rest, ",");
        struct address address;
        struct err_text reason = {"this is no host"};
        err code = ERR_wrong_setting;
        if (parse_address(rest, size, &address)) {
            code = connect_one(db, &address, attempt, &reason);
        }
        if (code == ERR_ok && is_one_enough) {
            return ERR_ok;
        }
        if (code == ERR_ok) {
            keep_further(db, &kept, &furthest);
        } else if (length < sizeof all.text) {
            worst = may_come_back(worst) ? worst : code;
            length += (size_t)snprintf(all.text + length, sizeof all.text - length, "%s%.*s: %s", length > 0 ? "; " : "", (int)size,
                                       rest, reason.text);
        }
        rest = rest[size] == ',' ? rest + size + 1 : NULL;
    }
    if (kept != NULL) {
        link->handle = kept;
        return ERR_ok;
    }
    db_mysql_drop(db);
    return err_say(why, worst, "the database cannot be used: %s", all.text);
}
