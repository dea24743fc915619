/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE
 *   Proves that the factory's tables agree with one another. Each check is one query that finds nothing when all is well; what it
 *   finds is a product and a production's n, told in one sentence.
 *
 * FAILURES
 *   A fault means that rows were changed by hand, or a bug of the factory. Errors of the database end the proof and are returned.
 *
 * LIMITS
 *   Of each check the first 20 faults are told, all are counted. One pass over the productions per check.
 */
#include "factory.h"

#include <inttypes.h>
#include <stdio.h>

#define TOLD_MAX 20
#define IS_OPEN "IN ('ordered', 'requested')"

struct check {
    const char *sql; /* columns: product, n or 0 */
    const char *words;
};

static const struct check checks[] = {
    {"SELECT product, MAX(n) FROM $production WHERE status " IS_OPEN " GROUP BY product HAVING COUNT(*) > 1",
     "the product has more than one open production; this is the newest"},
    {"SELECT s.product, s.open_production FROM $shelf s LEFT JOIN $production p"
     " ON p.n = s.open_production AND p.product = s.product AND p.status " IS_OPEN " WHERE s.open_production <> 0 AND p.n IS NULL",
     "the shelf names it as open, but there is no such open production of the product"},
    {"SELECT p.product, p.n FROM $production p LEFT JOIN $shelf s ON s.product = p.product AND s.open_production = p.n"
     " WHERE p.status " IS_OPEN " AND s.product IS NULL",
     "it is open, but its shelf does not name it"},
    {"SELECT p.product, p.n FROM $production p LEFT JOIN $due d ON d.due_key = p.id AND d.owner IN ('production', 'call')"
     " WHERE p.status " IS_OPEN " AND d.owner IS NULL",
     "it is open, but no due row will end it"},
    {"SELECT product, n FROM $production WHERE status NOT IN ('ordered', 'requested', 'produced', 'failed')",
     "its status is none that the factory writes"},
    {"SELECT product, n FROM $production WHERE (status = 'produced' AND done_at = 0) OR (status " IS_OPEN " AND done_at <> 0)",
     "its status and the time when it was done do not agree"},
    {"SELECT product, open_production FROM $shelf WHERE last_seq > (SELECT COALESCE(MAX(seq), 0) FROM $shard)",
     "the shelf's last event lies behind the end of the factory's stream"},
};

static err
run_check(struct db *db, const struct check *check, struct verify_report *report)
{
    struct db_statement *rows = db_statement(db, check->sql);
    err code = db_query(rows);
    if (code != ERR_ok) {
        return code;
    }
    for (int64_t found = 0; db_next(rows); found++) {
        struct slice product = db_bytes(rows, 0);
        char sentence[256];
        (void)snprintf(sentence, sizeof sentence, "factory: %.*s, production %" PRId64 ": %s", (int)product.size,
                       (const char *)product.data, db_i64(rows, 1), check->words);
        report->faults++;
        if (found < TOLD_MAX && report->say != NULL) {
            report->say(report->context, sentence);
        }
    }
    return ERR_ok;
}

static err
count_rows(struct db *db, struct verify_report *report)
{
    struct db_statement *rows = db_statement(db, "SELECT (SELECT COUNT(*) FROM $production) + (SELECT COUNT(*) FROM $shelf)");
    err code = db_query(rows);
    if (code != ERR_ok) {
        return code;
    }
    if (db_next(rows)) {
        report->rows_checked += db_i64(rows, 0);
    }
    db_done(rows);
    return ERR_ok;
}

err
factory_verify(struct db *db, struct verify_report *report)
{
    err code = count_rows(db, report);
    for (size_t i = 0; i < sizeof checks / sizeof checks[0] && code == ERR_ok; i++) {
        code = run_check(db, &checks[i], report);
    }
    return code;
}
