/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE   What all proofs of databases share: sentences of which the first are told and all are counted, checks that are one query,
 *           and tables that are read a range at a time.
 *
 * LIMITS    RANGE rows are in memory at the most, as MariaDB hands out a whole result.
 */
#include "verify.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>

enum { RANGE = 1000, SENTENCE_SIZE = 512 };

void
verify_tell(struct verify_report *report, int64_t found, const char *format, ...)
{
    char sentence[SENTENCE_SIZE];
    va_list arguments;
    report->faults++;
    if (found >= VERIFY_TOLD_MAX || report->say == NULL) {
        return;
    }
    va_start(arguments, format);
    (void)vsnprintf(sentence, sizeof sentence, format, arguments);
    va_end(arguments);
    report->say(report->context, sentence);
}

err
verify_count(struct db *db, const char *sql, struct verify_report *report)
{
    struct db_statement *row = db_statement(db, sql);
    err code = db_query(row);
    if (code == ERR_ok && db_next(row)) {
        report->rows_checked += db_i64(row, 0);
    }
    db_done(row);
    return code;
}

err
verify_read_number(struct db_statement *read, int64_t *number)
{
    err code = db_query(read);
    *number = code == ERR_ok && db_next(read) ? db_i64(read, 0) : 0;
    db_done(read);
    return code;
}

void
verify_copy_text(char *text, size_t size, struct slice from)
{
    (void)snprintf(text, size, "%.*s", (int)from.size, from.size == 0 ? "" : (const char *)from.data);
}

err
verify_run_checks(struct db *db, const struct verify_check *checks, size_t count, verify_found *tell, struct verify_report *report)
{
    err code = ERR_ok;
    for (size_t i = 0; code == ERR_ok && i < count; i++) {
        struct db_statement *rows = db_statement(db, checks[i].sql);
        code = db_query(rows);
        for (int64_t found = 0; code == ERR_ok && db_next(rows); found++) {
            code = tell(db, report, &checks[i], rows, found);
        }
    }
    return code;
}

static err
read_range(const struct verify_walk *walk, struct db_statement *rows, int64_t after)
{
    if (walk->of.size > 0) {
        db_bind_text(rows, walk->of);
    }
    db_bind_i64(rows, after);
    db_bind_i64(rows, RANGE);
    return db_query(rows);
}

err
verify_walk(const struct verify_walk *walk)
{
    struct db_statement *rows = db_statement(walk->db, walk->sql);
    int64_t after = walk->after;
    err code = ERR_ok;
    for (int64_t count = RANGE; code == ERR_ok && count == RANGE;) {
        code = read_range(walk, rows, after);
        for (count = 0; code == ERR_ok && db_next(rows); count++) {
            after = db_i64(rows, 0);
            code = walk->see(walk->context, rows);
        }
        if (walk->rows != NULL) {
            *walk->rows += count;
        }
    }
    db_done(rows);
    return code;
}

err
verify_find_gap(const struct verify_walk *walk, int64_t after, int64_t *missing)
{
    struct db_statement *rows = db_statement(walk->db, walk->sql);
    err code = ERR_ok;
    *missing = after + 1;
    for (int64_t count = RANGE; code == ERR_ok && count == RANGE;) {
        code = read_range(walk, rows, *missing - 1);
        for (count = 0; code == ERR_ok && db_next(rows) && db_i64(rows, 0) == *missing; count++) {
            (*missing)++;
        }
        db_done(rows);
    }
    return code;
}
