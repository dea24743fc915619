/* SPDX-License-Identifier: MPL-2.0 */
/* What db_mysql.c (statements and transactions) and db_mysql_link.c (which host, and the session there) share. Not for others. */
#ifndef LARDER_KIT_DB_MYSQL_H
#define LARDER_KIT_DB_MYSQL_H

#include <mysql.h>

#include "db_driver.h"

#if defined(MARIADB_PACKAGE_VERSION_ID) && MARIADB_PACKAGE_VERSION_ID >= 30300 && !defined(LARDER_NO_PIPELINE)
#define PIPELINE 1
#else
#define PIPELINE 0
#endif
#ifndef MARIADB_PACKAGE_VERSION
typedef bool my_bool;
#endif

#define SENT_MAX 64 /* unread answers: on a unix socket the server blocks at fewer than 300, however small they are */
#define ANSWER_TIMEOUT_S 5U
#define CELL_MAX 64 /* longer values are fetched by themselves */

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

/* What differs between ways to connect. */
struct attempt {
    bool again; /* a connection has worked before */
    unsigned answer_s;
    unsigned lock_s;
};

static inline struct link *
link_of(const struct db *db)
{
    return db->link;
}

/* What an error of the server means. */
err
db_mysql_class_of(unsigned number);

bool
db_mysql_run_text(MYSQL *handle, const char *sql);

/* The one number that a query answers with; `missing` when there is no row or NULL. False on an error. */
bool
db_mysql_read_number(MYSQL *handle, const char *sql, int64_t missing, int64_t *number);

/* Connects to the host of the list on which the actors have come furthest. */
MUST_CHECK err
db_mysql_connect(struct db *db, const struct attempt *attempt, struct err_text *why);

/* Gives back what every statement holds prepared. */
void
db_mysql_unprepare(struct db *db);

/* Releases the connection and every handle of a statement. */
void
db_mysql_drop(struct db *db);

/* Whether this connection is that of another actor of this process. */
bool
db_mysql_is_of_another(const struct db *db, unsigned long id);

#endif
