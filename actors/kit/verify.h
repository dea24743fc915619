/* SPDX-License-Identifier: MPL-2.0 */
/* How an actor's proof of its own database reads and reports: figures, and a sentence for each thing that does not add up. */
#ifndef LARDER_KIT_VERIFY_H
#define LARDER_KIT_VERIFY_H

#include <stddef.h>
#include <stdint.h>

#include "kit/db/db.h"

#define VERIFY_TOLD_MAX 20

struct verify_report {
    int64_t rows_checked; /* added to, so that one report serves several shards */
    int64_t faults;       /* added to; what `say` did not tell is counted too */
    int64_t now_ms;       /* 0: nobody has it open, and for it time stands still since its last commit */
    int64_t stuck_ms;     /* what stands still for longer is a fault; 0: nobody is to judge that */
    void (*say)(void *context, const char *sentence);
    void *context;
};

/* Counts a fault. The sentence is said when fewer than VERIFY_TOLD_MAX of its check were found before it. */
void
verify_tell(struct verify_report *report, int64_t found, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* Adds the number that a query finds to the rows that were checked. */
MUST_CHECK err
verify_count(struct db *db, const char *sql, struct verify_report *report);

/* The first number of a query; 0: it finds nothing. */
MUST_CHECK err
verify_read_number(struct db_statement *read, int64_t *number);

/* As much of it as there is room for, terminated. */
void
verify_copy_text(char *text, size_t size, struct slice from);

/* A check that is one query, which finds nothing when all is well. What its columns are its actor knows. */
struct verify_check {
    const char *sql;
    const char *words;
};

/* Tells of a row that was found; `found` of this check were before it. */
typedef err
verify_found(struct db *db, struct verify_report *report, const struct verify_check *check, struct db_statement *row, int64_t found);

MUST_CHECK err
verify_run_checks(struct db *db, const struct verify_check *checks, size_t count, verify_found *tell, struct verify_report *report);

/* A table that is read whole, but never all of it at once. */
struct verify_walk {
    struct db *db;
    const char *sql; /* column 0 is a number; "... WHERE n > ? ORDER BY n LIMIT ?" */
    struct slice of; /* what is bound before these two; empty: nothing */
    err (*see)(void *context, struct db_statement *row);
    void *context;
    int64_t after; /* rows with a higher number are met: actors count from 1 */
    int64_t *rows; /* added to; NULL: nobody counts */
};

/* Ends with the first error, also of `see`. */
MUST_CHECK err
verify_walk(const struct verify_walk *walk);

/* The first number behind `after` that the walk, which needs no `see`, does not meet. */
MUST_CHECK err
verify_find_gap(const struct verify_walk *walk, int64_t after, int64_t *missing);

#endif
