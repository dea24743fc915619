/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE
 *   Proves that payment's tables agree with one another. Each check is one query that finds nothing when all is well; what it finds
 *   is the number of a charge, a refund or a webhook, told in one sentence.
 *
 * FAILURES
 *   A fault means that rows were changed by hand, or a bug of payment. Errors of the database end the proof and are returned.
 *
 * LIMITS
 *   Of each check the first 20 faults are told, all are counted. One pass over the charges per check.
 */
#include "payment.h"

#include <inttypes.h>
#include <stdio.h>

#define TOLD_MAX 20

struct check {
    const char *what; /* of which the number is */
    const char *sql;  /* column: n */
    const char *words;
};

#define SUM_OF(status) "(SELECT COALESCE(SUM(r.amount), 0) FROM $refund r WHERE r.charge = c.id AND r.status = '" status "')"

static const struct check checks[] = {
    {"charge", "SELECT c.n FROM $charge c WHERE c.refunded <> " SUM_OF("succeeded") " AND c.id IN (SELECT charge FROM $refund)",
     "what is paid back of it is not the sum of its refunds"},
    {"charge", "SELECT n FROM $charge WHERE refunded + refunding <> 0 AND id NOT IN (SELECT charge FROM $refund)",
     "something is paid back of it, but it has no refund"},
    {"charge", "SELECT c.n FROM $charge c WHERE c.refunding <> " SUM_OF("pending") " AND c.id IN (SELECT charge FROM $refund)",
     "what is being paid back of it is not the sum of its pending refunds"},
    {"charge", "SELECT n FROM $charge WHERE refunded + refunding > amount", "more is paid back than was paid"},
    {"charge", "SELECT n FROM $charge WHERE status <> 'succeeded' AND refunded + refunding <> 0",
     "something is paid back of it, but it is not paid"},
    {"charge", "SELECT n FROM $charge WHERE status NOT IN ('pending', 'succeeded', 'failed', 'cancelled')",
     "its status is none that payment writes"},
    {"charge",
     "SELECT n FROM $charge WHERE provider NOT IN ('simulated', 'http', 'by_hand') OR method NOT IN ('pix', 'credit_card', "
     "'debit_card',"
     " 'money', 'unknown') OR (method = 'unknown' AND status <> 'cancelled')",
     "its provider or its method is none that payment writes"},
    {"charge",
     "SELECT c.n FROM $charge c LEFT JOIN $due d ON d.owner = 'charge' AND d.due_key = c.id"
     " WHERE c.status = 'pending' AND c.provider <> 'by_hand' AND d.owner IS NULL",
     "it is pending, but no due row will ask what became of it"},
    {"refund", "SELECT n FROM $refund WHERE status NOT IN ('pending', 'succeeded', 'failed')",
     "its status is none that payment writes"},
    {"refund", "SELECT n FROM $refund WHERE elsewhere NOT IN (0, 1) OR (elsewhere = 1 AND (status <> 'succeeded' OR reference = ''))",
     "it was made at the provider, but it is not as what the provider tells"},
    {"refund", "SELECT r.n FROM $refund r LEFT JOIN $charge c ON c.id = r.charge WHERE c.id IS NULL", "its charge is not there"},
    {"refund",
     "SELECT r.n FROM $refund r LEFT JOIN $due d ON d.owner = 'refund' AND d.due_key = r.id"
     " WHERE r.status = 'pending' AND d.owner IS NULL",
     "it is pending, but no due row will ask what became of it"},
    {"webhook",
     "SELECT w.n FROM $webhook w JOIN $charge c ON c.id = w.parked WHERE w.parked IS NOT NULL AND w.type NOT LIKE 'refund.%'",
     "it waits for a charge that is there"},
    {"webhook",
     "SELECT w.n FROM $webhook w JOIN $charge c ON c.id = w.parked WHERE w.type LIKE 'refund.%' AND c.status = 'succeeded' AND NOT"
     " EXISTS (SELECT 1 FROM $refund r JOIN $due d ON d.owner = 'refund' AND d.due_key = r.id WHERE r.charge = c.id)",
     "it waits for refunds of its charge, but none is under way"},
    {"webhook",
     "SELECT n FROM $webhook WHERE outcome NOT IN ('applied', 'ignored', 'parked', 'disputed') OR (outcome = 'parked' AND parked IS "
     "NULL)"
     " OR (outcome <> 'parked' AND parked IS NOT NULL) OR (parked IS NOT NULL AND parked <> charge)",
     "its outcome and the charge that it waits for do not agree"},
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
        char sentence[256];
        (void)snprintf(sentence, sizeof sentence, "payment: %s %" PRId64 ": %s", check->what, db_i64(rows, 0), check->words);
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
    struct db_statement *rows =
        db_statement(db, "SELECT (SELECT COUNT(*) FROM $charge) + (SELECT COUNT(*) FROM $refund) + (SELECT COUNT(*) FROM $webhook)");
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
payment_verify(struct db *db, struct verify_report *report)
{
    err code = count_rows(db, report);
    for (size_t i = 0; i < sizeof checks / sizeof checks[0] && code == ERR_ok; i++) {
        code = run_check(db, &checks[i], report);
    }
    return code;
}
