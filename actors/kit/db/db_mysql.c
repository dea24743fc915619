/* SPDX-License-Identifier: MPL-2.0 */
/*
 * The MySQL and MariaDB driver of the database port, on libmariadb or libmysqlclient.
 *
 * PURPOSE   One connection, writes sent without waiting for their answers where the library can (libmariadb 3.3: option
 *           SKIP_READ_RESPONSE on prepared statements), one trip each where it cannot. COMMIT is always a trip of its own.
 * STATE     autocommit is off: the first statement after a commit begins the transaction. `touched` tells that there may be one,
 *           also after a mere read. `sent` holds what was sent and not answered, oldest first.
 *           Session: READ COMMITTED (REPEATABLE READ for a read-only db, whose snapshot lasts until the rollback), strict types,
 *           matched rows instead of changed ones, utf8mb4, UTC; InnoDB gives up a lock after 2 s, MariaDB a silent writer after 5 s.
 * FAILURES  A pipeline does not stop at an error: all answers are read, the first error is kept, and nothing is committed. A
 *           statement that failed by itself (1205) leaves its transaction open. After a read timeout the server may still work on the
 *           statement: the connection is given up. Texts that repeat a value (duplicate key, wrong string) lose that part. Of several
 *           writable hosts the one is used on which the actors of the database have come further, by epochs and then batches of all
 *           of them: so they agree, and an old primary that comes back is left alone. A primary whose commits wait for a replica for
 *           ever and that has none is no writable host. Where only an old primary can be reached nobody can know.
 * LIMITS    64 statements on their way, and only statements with small answers, or both sides block on full buffers (a unix socket
 *           counts an answer of 11 bytes as nearly a kilobyte; 512 on their way did block). Connecting
 *           takes at most a second per host, an answer at most 5 s (an hour while migrating).
 */
#include "db_driver.h"

#include <assert.h>
#include <mysql.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if defined(MARIADB_PACKAGE_VERSION_ID) && MARIADB_PACKAGE_VERSION_ID >= 30300 && !defined(LARDER_NO_PIPELINE)
#define PIPELINE 1
#else
#define PIPELINE 0
#endif
#ifndef MARIADB_PACKAGE_VERSION
typedef bool my_bool;
#endif

#define SENT_MAX 64 /* unread answers: on a unix socket the server blocks at fewer than 300, however small they are */
#define CONNECT_TIMEOUT_S 1U
#define ANSWER_TIMEOUT_S 5U
#define MIGRATION_TIMEOUT_S 3600U
#define MIGRATION_LOCK_S 60
#define WRITER_IDLE_S 30U
#define SNAPSHOT_IDLE_S 28800U
#define HOST_MAX 256
#define QUERY_MAX 512
#define OWN_MAX 256
#define PROGRESS_SQL_MAX 8192
#define PROGRESS_TABLE_MAX 192
#define WAITS_FOR_EVER_MS (INT64_C(24) * 3600 * 1000)
#define CELL_MAX 64 /* longer values are fetched by themselves */

#define SESSION_MODE "STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION,PIPES_AS_CONCAT,NO_BACKSLASH_ESCAPES"

enum {
    DUPLICATE_KEY = 1062,
    DUPLICATE_KEY_NAMED = 1586,
    UNKNOWN_DATABASE = 1049,
    DENIED_DATABASE = 1044,
    UNKNOWN_THREAD = 1094,
    UNKNOWN_HOST = 2005,
    WRONG_STRING = 1366,
    WRONG_VALUE = 1292,
    TABLE_EXISTS = 1050,
    COLUMN_EXISTS = 1060,
    KEY_EXISTS = 1061,
    NOTHING_TO_DROP = 1091,
};

struct sent {
    struct db_statement *statement;
    int64_t rows;
};

struct column {
    int64_t number;
    unsigned long size;
    my_bool is_null;
    my_bool is_cut;
    uint8_t bytes[CELL_MAX];
};

struct link {
    MYSQL *handle;
    bool touched;
    struct sent sent[SENT_MAX];
    size_t sent_count;
    MYSQL_BIND *binds; /* scratch: the library copies them */
    size_t bind_capacity;
    struct column *columns;
    size_t column_capacity;
};

/* One host of the list. */
struct address {
    char host[HOST_MAX];
    char socket[HOST_MAX];
    unsigned port;
};

/* What differs between ways to connect. */
struct attempt {
    bool again; /* a connection has worked before */
    unsigned answer_s;
    unsigned lock_s;
};

static struct link *
link_of(const struct db *db)
{
    return db->link;
}

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

static err
class_of(unsigned number)
{
    for (size_t i = 0; i < sizeof error_classes / sizeof *error_classes; i++) {
        if (error_classes[i].number == number) {
            return error_classes[i].code;
        }
    }
    return ERR_db_bug;
}

/* The part of the server's text that repeats no value. */
static const char *
without_values(unsigned number, const char *text)
{
    if (number != DUPLICATE_KEY && number != DUPLICATE_KEY_NAMED && number != WRONG_STRING && number != WRONG_VALUE) {
        return text;
    }
    const char *key = strstr(text, " for key ");
    const char *column = strstr(text, " for column ");
    const char *rest = key != NULL ? key : column;
    return rest != NULL ? rest + 1 : "a value";
}

static err
fail(struct db *db)
{
    MYSQL *handle = link_of(db)->handle;
    unsigned number = mysql_errno(handle);
    return db_fail(db, class_of(number), "MySQL %u: %s", number, without_values(number, mysql_error(handle)));
}

static err
fail_statement(struct db_statement *statement)
{
    unsigned number = mysql_stmt_errno(statement->handle);
    return db_fail(statement->db, class_of(number), "MySQL %u: %s", number,
                   without_values(number, mysql_stmt_error(statement->handle)));
}

/* --- text queries: session, schema, the ends of transactions --- */

static bool
run_text(MYSQL *handle, const char *sql)
{
    return mysql_real_query(handle, sql, (unsigned long)strlen(sql)) == 0;
}

/* The one number that a query answers with; `missing` when there is no row or NULL. False on an error. */
static bool
read_number(MYSQL *handle, const char *sql, int64_t missing, int64_t *number)
{
    if (!run_text(handle, sql)) {
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

/* Whether it is that of another actor of this process. */
static bool
own_is_of_another(const struct db *db, unsigned long id)
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

static void
unprepare(struct db *db)
{
    for (struct db_statement *statement = db->statements; statement != NULL; statement = statement->next) {
        if (statement->handle != NULL) {
            (void)mysql_stmt_close(statement->handle);
            statement->handle = NULL;
        }
    }
}

static void
drop_link(struct db *db)
{
    struct link *link = link_of(db);
    if (link->handle != NULL) {
        close_handle(&link->handle);
    }
    /* After mysql_close() a statement knows that its connection is gone and is freed without asking the server. */
    unprepare(db);
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
    return run_text(handle, "SET NAMES utf8mb4 COLLATE utf8mb4_bin") && run_text(handle, sql) &&
           run_text(handle, db->config.read_only ? "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ"
                                                 : "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED") &&
           (!is_mariadb(handle) || run_text(handle, "SET SESSION idle_write_transaction_timeout=5"));
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
    return run_text(handle, sql) && mysql_select_db(handle, db->config.name) == 0;
}

/* A primary whose commits wait for a replica for ever, and that has none: what was its replica may be the primary now. MySQL has other
 * names for it, and is not asked. */
static bool
waits_for_nobody(MYSQL *handle)
{
    int64_t timeout_ms = 0;
    int64_t replicas = 1;
    return read_number(handle, "SELECT IF(@@rpl_semi_sync_master_enabled, @@rpl_semi_sync_master_timeout, 0)", 0, &timeout_ms) &&
           timeout_ms >= WAITS_FOR_EVER_MS &&
           read_number(
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
    if (run_text(handle, "SELECT table_name FROM information_schema.tables WHERE table_schema = DATABASE()"
                         " AND RIGHT(table_name, 6) = '_shard'")) {
        tables = mysql_store_result(handle);
    }
    MYSQL_ROW row = NULL;
    while (tables != NULL && (row = mysql_fetch_row(tables)) != NULL && size + PROGRESS_TABLE_MAX < sizeof sql) {
        size += (size_t)snprintf(sql + size, sizeof sql - size, " UNION ALL SELECT epoch, batch FROM `%.64s`", row[0]);
    }
    mysql_free_result(tables);
    snprintf(sql + size, sizeof sql - size, ") AS shards");
    MYSQL_RES *sums = run_text(handle, sql) ? mysql_store_result(handle) : NULL;
    if (sums != NULL && (row = mysql_fetch_row(sums)) != NULL) {
        progress = (struct progress){strtoll(row[0], NULL, 10), strtoll(row[1], NULL, 10)};
    }
    mysql_free_result(sums);
    (void)run_text(handle, "ROLLBACK");
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
    ok = ok && read_number(link->handle, "SELECT @@read_only", 0, &is_read_only);
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
    err code = class_of(number);
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

static err
connect_any(struct db *db, const struct attempt *attempt, struct err_text *why)
{
    struct err_text all = {""};
    size_t length = 0;
    err worst = ERR_wrong_setting;
    bool is_one_enough = strchr(db->config.hosts, ',') == NULL;
    struct progress furthest = {0, 0};
    MYSQL *kept = NULL;
    struct link *link = calloc(1, sizeof *link);
    if (link == NULL) {
        abort();
    }
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
    drop_link(db);
    return err_say(why, worst, "the database cannot be used: %s", all.text);
}

static err
mysql_slot_open(struct db *db, bool again, struct err_text *why)
{
    struct attempt attempt = {.again = again, .answer_s = ANSWER_TIMEOUT_S, .lock_s = ANSWER_TIMEOUT_S - 1};
    return connect_any(db, &attempt, why);
}

/* --- statements --- */

/* Reads the answers of all that was sent. */
static void
mysql_slot_settle(struct db *db)
{
    struct link *link = link_of(db);
    for (size_t i = 0; i < link->sent_count; i++) {
        if (mysql_read_query_result(link->handle)) {
            (void)fail(db);
        } else {
            (void)db_answered(link->sent[i].statement, link->sent[i].rows, (int64_t)mysql_affected_rows(link->handle));
        }
    }
    link->sent_count = 0;
}

/* Preparing is a question with an answer: those on their way come first. */
static err
prepare(struct db_statement *statement)
{
    struct db *db = statement->db;
    struct link *link = link_of(db);
    if (statement->handle != NULL) {
        return ERR_ok;
    }
    mysql_slot_settle(db);
    if (db->failure != ERR_ok) {
        return db->failure;
    }
    MYSQL_STMT *handle = mysql_stmt_init(link->handle);
    if (handle == NULL) {
        abort();
    }
    statement->handle = handle;
    if (mysql_stmt_prepare(handle, statement->sql, (unsigned long)strlen(statement->sql)) == 0) {
        return ERR_ok;
    }
    err code = fail_statement(statement);
    (void)mysql_stmt_close(handle);
    statement->handle = NULL;
    return code;
}

/* The library's structs take no pointer to const, also for what they only read. */
static void *
unconst(const void *pointer)
{
    union {
        const void *from;
        void *to;
    } both = {.from = pointer};
    return both.to;
}

/* The narrowest type that a number fits into: most are small, and each would take eight bytes on its way. The library reads it from
 * the number's own first bytes, so this is for machines that keep the low ones there. */
static enum enum_field_types
number_type(int64_t number)
{
    if (__BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__) {
        return MYSQL_TYPE_LONGLONG;
    }
    if (number >= INT8_MIN && number <= INT8_MAX) {
        return MYSQL_TYPE_TINY;
    }
    if (number >= INT16_MIN && number <= INT16_MAX) {
        return MYSQL_TYPE_SHORT;
    }
    return number >= INT32_MIN && number <= INT32_MAX ? MYSQL_TYPE_LONG : MYSQL_TYPE_LONGLONG;
}

static err
bind_values(struct db_statement *statement)
{
    static const enum enum_field_types types[] = {
        [DB_NULL] = MYSQL_TYPE_NULL,
        [DB_TEXT] = MYSQL_TYPE_STRING,
        [DB_BYTES] = MYSQL_TYPE_BLOB,
        [DB_ID] = MYSQL_TYPE_BLOB,
    };
    struct link *link = link_of(statement->db);
    assert(mysql_stmt_param_count(statement->handle) == statement->value_count && "a statement was not given its values");
    link->binds = db_grow(link->binds, &link->bind_capacity, statement->value_count + 1, sizeof *link->binds);
    memset(link->binds, 0, statement->value_count * sizeof *link->binds);
    for (size_t i = 0; i < statement->value_count; i++) {
        const struct db_value *value = &statement->values[i];
        MYSQL_BIND *bind = &link->binds[i];
        bind->buffer_type = value->kind == DB_I64 ? number_type(value->number) : types[value->kind];
        bind->buffer = unconst(value->kind == DB_I64 ? (const void *)&value->number : (const void *)value->bytes.data);
        bind->buffer_length = (unsigned long)value->bytes.size;
    }
    return statement->value_count > 0 && mysql_stmt_bind_param(statement->handle, link->binds) ? fail_statement(statement) : ERR_ok;
}

static void
set_pipelining(MYSQL *handle, bool wanted)
{
#if PIPELINE
    my_bool value = wanted;
    mysql_optionsv(handle, MARIADB_OPT_SKIP_READ_RESPONSE, &value);
#else
    (void)handle;
    (void)wanted;
#endif
}

static err
mysql_slot_queue(struct db_statement *statement, int64_t rows)
{
    struct db *db = statement->db;
    struct link *link = link_of(db);
    if (link->sent_count == SENT_MAX) {
        mysql_slot_settle(db);
    }
    err code = prepare(statement);
    if (code == ERR_ok) {
        code = db->failure != ERR_ok ? db->failure : bind_values(statement);
    }
    if (code != ERR_ok) {
        return code;
    }
    link->touched = true;
    set_pipelining(link->handle, true);
    bool failed = mysql_stmt_execute(statement->handle) != 0;
    set_pipelining(link->handle, false);
    if (failed) {
        return fail_statement(statement);
    }
    if (!PIPELINE) {
        return db_answered(statement, rows, (int64_t)mysql_stmt_affected_rows(statement->handle));
    }
    link->sent[link->sent_count++] = (struct sent){statement, rows};
    return ERR_ok;
}

static bool
is_number(enum enum_field_types type)
{
    static const enum enum_field_types numbers[] = {MYSQL_TYPE_TINY,   MYSQL_TYPE_SHORT,    MYSQL_TYPE_INT24,
                                                    MYSQL_TYPE_LONG,   MYSQL_TYPE_LONGLONG, MYSQL_TYPE_FLOAT,
                                                    MYSQL_TYPE_DOUBLE, MYSQL_TYPE_DECIMAL,  MYSQL_TYPE_NEWDECIMAL};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        if (numbers[i] == type) {
            return true;
        }
    }
    return false;
}

static bool
bind_columns(struct db_statement *statement)
{
    struct link *link = link_of(statement->db);
    size_t count = mysql_stmt_field_count(statement->handle);
    MYSQL_RES *metadata = mysql_stmt_result_metadata(statement->handle);
    if (metadata == NULL) {
        return false;
    }
    link->binds = db_grow(link->binds, &link->bind_capacity, count, sizeof *link->binds);
    link->columns = db_grow(link->columns, &link->column_capacity, count, sizeof *link->columns);
    memset(link->binds, 0, count * sizeof *link->binds);
    for (size_t i = 0; i < count; i++) {
        MYSQL_BIND *bind = &link->binds[i];
        struct column *column = &link->columns[i];
        bool number = is_number(mysql_fetch_field_direct(metadata, (unsigned)i)->type);
        bind->buffer_type = number ? MYSQL_TYPE_LONGLONG : MYSQL_TYPE_BLOB;
        bind->buffer = number ? (void *)&column->number : (void *)column->bytes;
        bind->buffer_length = number ? sizeof column->number : CELL_MAX;
        bind->length = &column->size;
        bind->is_null = &column->is_null;
        bind->error = &column->is_cut;
    }
    mysql_free_result(metadata);
    statement->result.columns = (int)count;
    return !mysql_stmt_bind_result(statement->handle, link->binds);
}

static bool
copy_row(struct db_statement *statement)
{
    struct link *link = link_of(statement->db);
    struct db_result *result = &statement->result;
    for (int i = 0; i < result->columns; i++) {
        const struct column *column = &link->columns[i];
        if (column->is_null) {
            db_result_null(result);
        } else if (link->binds[i].buffer_type == MYSQL_TYPE_LONGLONG) {
            db_result_i64(result, column->number);
        } else {
            size_t size = column->size;
            uint8_t *to = db_result_bytes(result, size);
            if (size > CELL_MAX) {
                MYSQL_BIND whole = {.buffer_type = MYSQL_TYPE_BLOB, .buffer = to, .buffer_length = (unsigned long)size};
                if (mysql_stmt_fetch_column(statement->handle, &whole, (unsigned)i, 0) != 0) {
                    return false;
                }
            } else if (size > 0) {
                memcpy(to, column->bytes, size);
            }
        }
    }
    return true;
}

static err
mysql_slot_query(struct db_statement *statement)
{
    err code = prepare(statement);
    if (code == ERR_ok) {
        code = bind_values(statement);
    }
    if (code != ERR_ok) {
        return code;
    }
    link_of(statement->db)->touched = true;
    bool ok = mysql_stmt_execute(statement->handle) == 0 && bind_columns(statement);
    while (ok) {
        int fetched = mysql_stmt_fetch(statement->handle);
        if (fetched == MYSQL_NO_DATA) {
            break;
        }
        ok = (fetched == 0 || fetched == MYSQL_DATA_TRUNCATED) && copy_row(statement);
    }
    code = ok ? ERR_ok : fail_statement(statement);
    (void)mysql_stmt_free_result(statement->handle);
    return code;
}

static err
mysql_slot_execute(struct db *db, const char *sql)
{
    return run_text(link_of(db)->handle, sql) ? ERR_ok : fail(db);
}

/* --- transactions --- */

/* Only a read-only db has to say that it begins: autocommit is off. */
static err
mysql_slot_begin(struct db *db)
{
    return db->config.read_only ? mysql_slot_execute(db, "START TRANSACTION WITH CONSISTENT SNAPSHOT") : ERR_ok;
}

static err
mysql_slot_commit(struct db *db)
{
    struct link *link = link_of(db);
    if (run_text(link->handle, "COMMIT")) {
        link->touched = false;
        return ERR_ok;
    }
    err code = class_of(mysql_errno(link->handle));
    if (code == ERR_db_busy || code == ERR_db_readonly) {
        return fail(db); /* refused as a whole: a cluster's conflict, a server that was made a replica */
    }
    return db_fail(db, ERR_db_unknown, "MySQL %u at COMMIT: %s", mysql_errno(link->handle), mysql_error(link->handle));
}

static void
mysql_slot_rollback(struct db *db)
{
    struct link *link = link_of(db);
    if (!link->touched) {
        return;
    }
    link->touched = false;
    if (!run_text(link->handle, "ROLLBACK")) {
        (void)db_fail(db, ERR_db_lost, "MySQL %u at ROLLBACK: %s", mysql_errno(link->handle), mysql_error(link->handle));
    }
}

/* DDL may take long and waits for readers: a connection of its own patience, whose end also gives the lock back. */
static err
mysql_slot_migrate_begin(struct db *db, struct err_text *why)
{
    struct attempt attempt = {.again = true, .answer_s = MIGRATION_TIMEOUT_S, .lock_s = MIGRATION_LOCK_S};
    char sql[96];
    int64_t is_ours = 0;
    drop_link(db);
    err code = connect_any(db, &attempt, why);
    if (code != ERR_ok) {
        db->dead = true;
        return code;
    }
    snprintf(sql, sizeof sql, "SELECT GET_LOCK('larder:%s', %d)", db->config.prefix, MIGRATION_LOCK_S);
    if (!read_number(link_of(db)->handle, sql, 0, &is_ours)) {
        code = fail(db);
        return err_say(why, code, "the schema of %s cannot be locked: %s", db->config.prefix, db->error);
    }
    if (is_ours != 1) {
        code = db_fail(db, ERR_db_busy, "another starter holds the lock larder:%s", db->config.prefix);
        return err_say(why, code, "the schema of %s cannot be locked: %s", db->config.prefix, db->error);
    }
    return ERR_ok;
}

static err
mysql_slot_migrate_end(struct db *db, struct err_text *why)
{
    drop_link(db);
    err code = mysql_slot_open(db, true, why);
    db->dead = code != ERR_ok;
    return code;
}

static bool
mysql_slot_is_done(const struct db *db)
{
    unsigned number = mysql_errno(link_of(db)->handle);
    return number == TABLE_EXISTS || number == COLUMN_EXISTS || number == KEY_EXISTS || number == NOTHING_TO_DROP;
}

/* --- the rest --- */

static err
mysql_slot_check(struct db *db)
{
    struct link *link = link_of(db);
    if (link->touched && !db->writing && !db->config.read_only) {
        mysql_slot_rollback(db);
        return db->failure;
    }
    return mysql_ping(link->handle) == 0 ? ERR_ok : fail(db);
}

static err
mysql_slot_scrub(struct db *db, struct slice traces)
{
    (void)db;
    (void)traces;
    return ERR_ok;
}

/* Numbers of connections start again with the server, so the recorded one may be anybody's by now: only a connection that works on
 * our database is ended, and never this one or another actor's of this process. */
static err
mysql_slot_kill(struct db *db, int64_t connection)
{
    struct link *link = link_of(db);
    char sql[128];
    int64_t found = 0;
    if (connection == (int64_t)mysql_thread_id(link->handle) || own_is_of_another(db, (unsigned long)connection)) {
        return ERR_ok;
    }
    snprintf(sql, sizeof sql, "SELECT COUNT(*) FROM information_schema.processlist WHERE id = %lld AND db = DATABASE()",
             (long long)connection);
    if (!read_number(link->handle, sql, 0, &found)) {
        return fail(db);
    }
    snprintf(sql, sizeof sql, "KILL %lld", (long long)connection);
    if (found == 0 || run_text(link->handle, sql) || mysql_errno(link->handle) == UNKNOWN_THREAD) {
        return ERR_ok;
    }
    return fail(db);
}

static int64_t
mysql_slot_connection(const struct db *db)
{
    return (int64_t)mysql_thread_id(link_of(db)->handle);
}

const struct db_slots db_mysql_slots = {
    .rows_max = DB_CHUNK_MAX,
    .replaced_rows_max = DB_CHUNK_MAX,
    .exact_rows_max = DB_EXACT_MAX, /* each statement costs the server more than its rows do */
    .ddl_transacts = false,
    .open = mysql_slot_open,
    .close = drop_link,
    .unprepare = unprepare,
    .begin = mysql_slot_begin,
    .queue = mysql_slot_queue,
    .settle = mysql_slot_settle,
    .query = mysql_slot_query,
    .execute = mysql_slot_execute,
    .commit = mysql_slot_commit,
    .rollback = mysql_slot_rollback,
    .migrate_begin = mysql_slot_migrate_begin,
    .migrate_end = mysql_slot_migrate_end,
    .is_done = mysql_slot_is_done,
    .check = mysql_slot_check,
    .scrub = mysql_slot_scrub,
    .kill = mysql_slot_kill,
    .connection = mysql_slot_connection,
};
