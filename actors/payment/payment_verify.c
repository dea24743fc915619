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
#include <string.h>

#define TOLD_MAX 20
#define RANGE 10000

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
    {"charge", "SELECT n FROM $charge WHERE came = amount AND (came_currency = '' OR came_currency = currency)",
     "other money came for it than was asked for, but it is the same"},
    {"charge",
     "SELECT n FROM $charge WHERE provider NOT IN ('simulated', 'http', 'by_hand') OR method NOT IN ('pix', 'credit_card', "
     "'debit_card',"
     " 'money', 'unknown') OR (method = 'unknown' AND status <> 'cancelled')",
     "its provider or its method is none that payment writes"},
    {"charge",
     "SELECT c.n FROM $charge c LEFT JOIN $due d ON d.owner = 'charge' AND d.due_key = c.id"
     " WHERE c.status = 'pending' AND c.provider <> 'by_hand' AND d.owner IS NULL",
     "it is pending, but no due row will ask what became of it"},
    {"charge", "SELECT n FROM $charge WHERE status <> 'cancelled' AND (method = 'money') <> (provider = 'by_hand')",
     "it is paid by hand, and not with money, or the other way round"},
    {"charge", "SELECT c.n FROM $charge c LEFT JOIN $answer a ON a.request = c.id WHERE c.status <> 'cancelled' AND a.n IS NULL",
     "what it was answered is not known any more"},
    {"charge", "SELECT n FROM $charge WHERE attempts < 0 OR created <= 0 OR changed <= 0 OR LENGTH(currency) <> 3",
     "its attempts, its times or its currency are none that payment writes"},
    {"charge",
     "SELECT c.n FROM $charge c LEFT JOIN $charge r ON r.id = c.replaces AND r.order_id = c.order_id WHERE c.replaces IS NOT NULL AND "
     "r.n IS NULL",
     "it replaces a charge that its order does not have"},
    {"refund", "SELECT n FROM $refund WHERE attempts < 0 OR created <= 0 OR changed <= 0",
     "its attempts or its times are none that payment writes"},
    {"refund", "SELECT r.n FROM $refund r JOIN $charge c ON c.id = r.charge WHERE r.amount > c.amount",
     "more is to go back than was paid"},
    {"webhook", "SELECT w.n FROM $webhook w LEFT JOIN $charge c ON c.id = w.charge WHERE w.outcome = 'applied' AND c.id IS NULL",
     "it was applied to a charge that is not there"},
    {"webhook", "SELECT n FROM $webhook WHERE received <= 0 OR type = ''", "it has no time or no type"},
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

static void
tell(struct verify_report *report, const char *what, int64_t n, const char *words, int64_t found)
{
    char sentence[256];
    (void)snprintf(sentence, sizeof sentence, "payment: %s %" PRId64 ": %s", what, n, words);
    report->faults++;
    if (found < TOLD_MAX && report->say != NULL) {
        report->say(report->context, sentence);
    }
}

/* "charge 3 (its id)": people know a charge by its id. */
static err
name_charge(struct db *db, int64_t n, char *name, size_t size)
{
    char id_text[ID_TEXT_SIZE];
    struct db_statement *row = db_statement(db, "SELECT id FROM $charge WHERE n = ?");
    db_bind_i64(row, n);
    err code = db_query(row);
    if (code == ERR_ok && db_next(row)) {
        struct id id = db_id(row, 0);
        id_format(&id, id_text);
        (void)snprintf(name, size, "charge %s, number", id_text);
    }
    db_done(row);
    return code;
}

static err
run_check(struct db *db, const struct check *check, struct verify_report *report)
{
    struct db_statement *rows = db_statement(db, check->sql);
    err code = db_query(rows);
    for (int64_t found = 0; code == ERR_ok && db_next(rows); found++) {
        char name[ID_TEXT_SIZE + 24];
        (void)snprintf(name, sizeof name, "%s", check->what);
        if (found < TOLD_MAX && strcmp(check->what, "charge") == 0) {
            code = name_charge(db, db_i64(rows, 0), name, sizeof name);
        }
        tell(report, name, db_i64(rows, 0), check->words, found);
    }
    return code;
}

/* A webhook is known again by the hash of its id. */
static err
check_told(struct db *db, struct verify_report *report)
{
    struct db_statement *rows = db_statement(db, "SELECT n, told, webhook_id FROM $webhook WHERE n > ? ORDER BY n LIMIT ?");
    int64_t after = 0;
    int64_t found = 0;
    for (int64_t count = RANGE; count == RANGE;) {
        db_bind_i64(rows, after);
        db_bind_i64(rows, RANGE);
        err code = db_query(rows);
        if (code != ERR_ok) {
            return code;
        }
        for (count = 0; db_next(rows); count++) {
            struct id told = db_id(rows, 1);
            struct slice given = db_bytes(rows, 2);
            struct id wanted = id_of_bytes(given.data, given.size);
            after = db_i64(rows, 0);
            if (!id_equal(&told, &wanted)) {
                tell(report, "webhook", after, "it would not be known again by its id", found++);
            }
        }
    }
    return ERR_ok;
}

/* Whether the charge that was answered is there, for that order and as much. */
static err
find_charge(struct db *db, const struct charge *answer, bool *is_there)
{
    struct db_statement *row = db_statement(db, "SELECT order_id, amount, currency FROM $charge WHERE id = ?");
    db_bind_id(row, &answer->id);
    err code = db_query(row);
    *is_there = false;
    if (code == ERR_ok && db_next(row)) {
        struct id order = db_id(row, 0);
        bool never_came = slice_equal(answer->amount.currency, slice_of("XXX")); /* it was cancelled before it came */
        *is_there = never_came || (id_equal(&order, &answer->order) && db_i64(row, 1) == answer->amount.amount &&
                                   slice_equal(db_bytes(row, 2), answer->amount.currency));
    }
    db_done(row);
    return code;
}

static err
find_refund(struct db *db, const struct refund *answer, bool *is_there)
{
    struct db_statement *row = db_statement(db, "SELECT charge, amount FROM $refund WHERE id = ?");
    db_bind_id(row, &answer->id);
    err code = db_query(row);
    *is_there = false;
    if (code == ERR_ok && db_next(row)) {
        struct id charge = db_id(row, 0);
        *is_there = id_equal(&charge, &answer->charge) && db_i64(row, 1) == answer->amount.amount;
    }
    db_done(row);
    return code;
}

/* A refund is no charge: each lacks what the other must have. */
static err
check_answer(struct db *db, struct slice body, bool *is_there)
{
    struct charge charge;
    struct refund refund;
    struct err_text why;
    *is_there = true;
    if (wire_decode(&charge_body, body, &charge, &why) == ERR_ok) {
        return find_charge(db, &charge, is_there);
    }
    return wire_decode(&refund_body, body, &refund, &why) == ERR_ok ? find_refund(db, &refund, is_there) : ERR_ok;
}

/* What was answered is there. */
static err
check_answers(struct db *db, struct verify_report *report)
{
    struct db_statement *rows = db_statement(db, "SELECT n, body FROM $answer WHERE status = 'ok' AND n > ? ORDER BY n LIMIT ?");
    int64_t after = 0;
    int64_t found = 0;
    for (int64_t count = RANGE; count == RANGE;) {
        db_bind_i64(rows, after);
        db_bind_i64(rows, RANGE);
        err code = db_query(rows);
        for (count = 0; code == ERR_ok && db_next(rows); count++) {
            bool is_there = true;
            after = db_i64(rows, 0);
            code = check_answer(db, db_bytes(rows, 1), &is_there);
            if (!is_there) {
                tell(report, "answer", after, "what it tells of is not there, or is something else", found++);
            }
        }
        if (code != ERR_ok) {
            return code;
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
    if (code == ERR_ok) {
        code = check_told(db, report);
    }
    return code == ERR_ok ? check_answers(db, report) : code;
}
