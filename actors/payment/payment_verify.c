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
#include "payment_verify.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "payment.h"

#define SUM_OF(status) "(SELECT COALESCE(SUM(r.amount), 0) FROM $refund r WHERE r.charge = c.id AND r.status = '" status "')"

/* Column: n. */
static const struct verify_check checks_of_charges[] = {
    {"SELECT c.n FROM $charge c WHERE c.refunded <> " SUM_OF("succeeded") " AND c.id IN (SELECT charge FROM $refund)",
     "what is paid back of it is not the sum of its refunds"},
    {"SELECT n FROM $charge WHERE refunded + refunding <> 0 AND id NOT IN (SELECT charge FROM $refund)",
     "something is paid back of it, but it has no refund"},
    {"SELECT c.n FROM $charge c WHERE c.refunding <> " SUM_OF("pending") " AND c.id IN (SELECT charge FROM $refund)",
     "what is being paid back of it is not the sum of its pending refunds"},
    {"SELECT n FROM $charge WHERE refunded + refunding > amount", "more is paid back than was paid"},
    {"SELECT n FROM $charge WHERE status <> 'succeeded' AND refunded + refunding <> 0",
     "something is paid back of it, but it is not paid"},
    {"SELECT n FROM $charge WHERE status NOT IN ('pending', 'succeeded', 'failed', 'cancelled')",
     "its status is none that payment writes"},
    {"SELECT n FROM $charge WHERE came = amount AND (came_currency = '' OR came_currency = currency)",
     "other money came for it than was asked for, but it is the same"},
    {"SELECT n FROM $charge WHERE provider NOT IN ('simulated', 'http', 'by_hand') OR method NOT IN ('pix', 'credit_card', "
     "'debit_card',"
     " 'money', 'unknown') OR (method = 'unknown' AND status <> 'cancelled')",
     "its provider or its method is none that payment writes"},
    {"SELECT c.n FROM $charge c LEFT JOIN $due d ON d.owner = 'charge' AND d.due_key = c.id"
     " WHERE c.status = 'pending' AND c.provider <> 'by_hand' AND d.owner IS NULL",
     "it is pending, but no due row will ask what became of it"},
    {"SELECT n FROM $charge WHERE status <> 'cancelled' AND (method = 'money') <> (provider = 'by_hand')",
     "it is paid by hand, and not with money, or the other way round"},
    {"SELECT c.n FROM $charge c LEFT JOIN $answer a ON a.request = c.id WHERE c.status <> 'cancelled' AND a.n IS NULL",
     "what it was answered is not known any more"},
    {"SELECT n FROM $charge WHERE attempts < 0 OR created <= 0 OR changed <= 0 OR LENGTH(currency) <> 3",
     "its attempts, its times or its currency are none that payment writes"},
    {"SELECT c.n FROM $charge c LEFT JOIN $charge r ON r.id = c.replaces AND r.order_id = c.order_id WHERE c.replaces IS NOT NULL AND "
     "r.n IS NULL",
     "it replaces a charge that its order does not have"},
};

static const struct verify_check checks_of_refunds[] = {
    {"SELECT n FROM $refund WHERE attempts < 0 OR created <= 0 OR changed <= 0",
     "its attempts or its times are none that payment writes"},
    {"SELECT r.n FROM $refund r JOIN $charge c ON c.id = r.charge WHERE r.amount > c.amount", "more is to go back than was paid"},
    {"SELECT n FROM $refund WHERE status NOT IN ('pending', 'succeeded', 'failed')", "its status is none that payment writes"},
    {"SELECT n FROM $refund WHERE elsewhere NOT IN (0, 1) OR (elsewhere = 1 AND (status <> 'succeeded' OR reference = ''))",
     "it was made at the provider, but it is not as what the provider tells"},
    {"SELECT r.n FROM $refund r LEFT JOIN $charge c ON c.id = r.charge WHERE c.id IS NULL", "its charge is not there"},
    {"SELECT r.n FROM $refund r LEFT JOIN $due d ON d.owner = 'refund' AND d.due_key = r.id"
     " WHERE r.status = 'pending' AND d.owner IS NULL",
     "it is pending, but no due row will ask what became of it"},
};

static const struct verify_check checks_of_webhooks[] = {
    {"SELECT w.n FROM $webhook w LEFT JOIN $charge c ON c.id = w.charge WHERE w.outcome = 'applied' AND c.id IS NULL",
     "it was applied to a charge that is not there"},
    {"SELECT n FROM $webhook WHERE received <= 0 OR type = ''", "it has no time or no type"},
    {"SELECT w.n FROM $webhook w JOIN $charge c ON c.id = w.parked WHERE w.parked IS NOT NULL AND w.type NOT LIKE 'refund.%'",
     "it waits for a charge that is there"},
    {"SELECT w.n FROM $webhook w JOIN $charge c ON c.id = w.parked WHERE w.type LIKE 'refund.%' AND c.status = 'succeeded' AND NOT"
     " EXISTS (SELECT 1 FROM $refund r JOIN $due d ON d.owner = 'refund' AND d.due_key = r.id WHERE r.charge = c.id)",
     "it waits for refunds of its charge, but none is under way"},
    {"SELECT n FROM $webhook WHERE outcome NOT IN ('applied', 'ignored', 'parked', 'disputed') OR (outcome = 'parked' AND parked IS "
     "NULL)"
     " OR (outcome <> 'parked' AND parked IS NOT NULL) OR (parked IS NOT NULL AND parked <> charge)",
     "its outcome and the charge that it waits for do not agree"},
};

static void
tell(struct verify_report *report, const char *what, int64_t n, const char *words, int64_t found)
{
    verify_tell(report, found, "payment: %s %" PRId64 ": %s", what, n, words);
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
tell_charge(struct db *db, struct verify_report *report, const struct verify_check *check, struct db_statement *row, int64_t found)
{
    char name[ID_TEXT_SIZE + 24] = "charge";
    err code = found < VERIFY_TOLD_MAX ? name_charge(db, db_i64(row, 0), name, sizeof name) : ERR_ok;
    tell(report, name, db_i64(row, 0), check->words, found);
    return code;
}

static err
tell_refund(struct db *db, struct verify_report *report, const struct verify_check *check, struct db_statement *row, int64_t found)
{
    (void)db;
    tell(report, "refund", db_i64(row, 0), check->words, found);
    return ERR_ok;
}

static err
tell_webhook(struct db *db, struct verify_report *report, const struct verify_check *check, struct db_statement *row, int64_t found)
{
    (void)db;
    tell(report, "webhook", db_i64(row, 0), check->words, found);
    return ERR_ok;
}

static err
run_checks(struct db *db, struct verify_report *report)
{
    err code = verify_run_checks(db, checks_of_charges, sizeof checks_of_charges / sizeof checks_of_charges[0], tell_charge, report);
    if (code == ERR_ok) {
        code = verify_run_checks(db, checks_of_refunds, sizeof checks_of_refunds / sizeof checks_of_refunds[0], tell_refund, report);
    }
    return code == ERR_ok ? verify_run_checks(db, checks_of_webhooks, sizeof checks_of_webhooks / sizeof checks_of_webhooks[0],
                                              tell_webhook, report)
                          : code;
}

struct rows_proof {
    struct db *db;
    struct verify_report *report;
    int64_t found;
};

/* A webhook is known again by the hash of its id. */
static err
see_webhook(void *context, struct db_statement *row)
{
    struct rows_proof *proof = context;
    struct id told = db_id(row, 1);
    struct slice given = db_bytes(row, 2);
    struct id wanted = id_of_bytes(given.data, given.size);
    if (!id_equal(&told, &wanted)) {
        tell(proof->report, "webhook", db_i64(row, 0), "it would not be known again by its id", proof->found++);
    }
    return ERR_ok;
}

/* Whether the charge that was answered is there, for that order and as much. */
static err
find_charge(struct db *db, const struct wire_charge *answer, bool *is_there)
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
find_refund(struct db *db, const struct wire_refund *answer, bool *is_there)
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
    struct wire_charge charge;
    struct wire_refund refund;
    struct err_text why;
    *is_there = true;
    if (wire_decode(&charge_body, body, &charge, &why) == ERR_ok) {
        return find_charge(db, &charge, is_there);
    }
    return wire_decode(&refund_body, body, &refund, &why) == ERR_ok ? find_refund(db, &refund, is_there) : ERR_ok;
}

/* What was answered is there. */
static err
see_answer(void *context, struct db_statement *row)
{
    struct rows_proof *proof = context;
    int64_t n = db_i64(row, 0);
    bool is_there = true;
    err code = check_answer(proof->db, db_bytes(row, 1), &is_there);
    if (!is_there) {
        tell(proof->report, "answer", n, "what it tells of is not there, or is something else", proof->found++);
    }
    return code;
}

static err
walk(struct db *db, struct verify_report *report, const char *sql, err (*see)(void *context, struct db_statement *row))
{
    struct rows_proof proof = {.db = db, .report = report};
    return verify_walk(&(struct verify_walk){.db = db, .sql = sql, .see = see, .context = &proof});
}

err
payment_verify(struct db *db, struct verify_report *report)
{
    err code = verify_count(
        db, "SELECT (SELECT COUNT(*) FROM $charge) + (SELECT COUNT(*) FROM $refund) + (SELECT COUNT(*) FROM $webhook)", report);
    if (code == ERR_ok) {
        code = run_checks(db, report);
    }
    if (code == ERR_ok) {
        code = walk(db, report, "SELECT n, told, webhook_id FROM $webhook WHERE n > ? ORDER BY n LIMIT ?", see_webhook);
    }
    return code == ERR_ok
               ? walk(db, report, "SELECT n, body FROM $answer WHERE status = 'ok' AND n > ? ORDER BY n LIMIT ?", see_answer)
               : code;
}

/* --- what others compare --- */

#define SAID "SELECT c.n, c.id, c.order_id, c.amount, c.refunded, c.currency, c.status, c.method"

struct db_statement *
payment_select_behind(struct db *db, int64_t after, int64_t most)
{
    struct db_statement *rows = db_statement(db, SAID " FROM $charge c WHERE c.n > ? ORDER BY c.n LIMIT ?");
    db_bind_i64(rows, after);
    db_bind_i64(rows, most);
    return rows;
}

struct db_in *
payment_select_of_orders(struct db *db)
{
    return db_in(db, SAID " FROM $charge c WHERE c.order_id IN (*)");
}

void
payment_see(struct charge_said *charge, struct db_statement *row)
{
    struct slice status = db_bytes(row, 6);
    charge->n = db_i64(row, 0);
    charge->id = db_id(row, 1);
    charge->order = db_id(row, 2);
    charge->amount = db_i64(row, 3);
    charge->refunded = db_i64(row, 4);
    charge->is_pending = slice_equal(status, slice_of("pending"));
    charge->has_succeeded = slice_equal(status, slice_of("succeeded"));
    charge->is_cancelled = slice_equal(status, slice_of("cancelled"));
    verify_copy_text(charge->currency, sizeof charge->currency, db_bytes(row, 5));
    verify_copy_text(charge->status, sizeof charge->status, status);
    verify_copy_text(charge->method, sizeof charge->method, db_bytes(row, 7));
}

struct db_statement *
payment_select_outside(struct db *db, int64_t below)
{
    struct db_statement *row =
        db_statement(db, SAID ", c.refunding, c.came IS NOT NULL OR c.came_currency <> '',"
                              " EXISTS (SELECT 1 FROM $due d WHERE d.owner = 'charge' AND d.due_key = c.id),"
                              " EXISTS (SELECT 1 FROM $webhook w WHERE w.parked = c.id)"
                              " FROM $charge c WHERE c.provider = 'http' AND c.n < ? ORDER BY c.n DESC LIMIT 1");
    db_bind_i64(row, below);
    return row;
}

void
payment_see_outside(struct charge_outside *outside, struct db_statement *row)
{
    payment_see(&outside->charge, row);
    outside->refunding = db_i64(row, 8);
    outside->has_other_money = db_i64(row, 9) != 0;
    outside->is_watched = db_i64(row, 10) != 0;
    outside->has_notes = db_i64(row, 11) != 0;
}

struct db_statement *
payment_select_count(struct db *db, const char *provider)
{
    struct db_statement *read = db_statement(db, "SELECT COUNT(*) FROM $charge WHERE provider = ?");
    db_bind_text(read, slice_of(provider));
    return read;
}
