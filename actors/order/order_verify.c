/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE
 *   Proves that the order actor's tables agree with one another: totals with lines, timelines with statuses, statuses with the
 *   saga's table, sagas under way with the due rows that carry them on, money with both. Each check is one query that finds nothing
 *   when all is well.
 *
 * FAILURES
 *   A fault means that rows were changed by hand, or a bug of the order actor. Errors of the database end the proof and are returned.
 *
 * LIMITS
 *   Of each check the first TOLD_MAX faults are told, all are counted. What stock and payment have to say of an order is proved
 *   elsewhere, from all databases together.
 */
#include "order.h"

#include <inttypes.h>
#include <stdio.h>

#include "menu/menu.h"
#include "order_rules.h"
#include "order_saga.h"

#define TOLD_MAX 20
#define PAID_STATUS "IN ('received', 'in_preparation', 'ready', 'completed')"

struct check {
    const char *sql; /* columns: n, id of the order */
    const char *words;
};

static const struct check checks[] = {
    {"SELECT o.n, o.id FROM $order o LEFT JOIN (SELECT n, SUM(quantity * amount) AS total, COUNT(*) AS lines_there, MAX(line) AS last"
     " FROM $line GROUP BY n) l ON l.n = o.n WHERE l.n IS NULL OR l.total <> o.total OR l.lines_there <> l.last",
     "its lines are not all there, or do not add up to its total"},
    {"SELECT l.n, NULL FROM $line l LEFT JOIN $order o ON o.n = l.n WHERE o.n IS NULL GROUP BY l.n", "there are lines, but no order"},
    {"SELECT o.n, o.id FROM $order o LEFT JOIN (SELECT n, COUNT(*) AS entries, MAX(k) AS last FROM $entry GROUP BY n) e ON e.n = o.n"
     " WHERE e.n IS NULL OR e.entries <> o.entries OR e.last <> o.entries",
     "its timeline has gaps, or is not as long as it says"},
    {"SELECT o.n, o.id FROM $order o JOIN $entry e ON e.n = o.n AND e.k = o.entries WHERE e.status <> o.status",
     "the last entry of its timeline has another status"},
    {"SELECT e.n, NULL FROM $entry e LEFT JOIN $order o ON o.n = e.n WHERE o.n IS NULL GROUP BY e.n",
     "there is a timeline, but no order"},
    {"SELECT o.n, o.id FROM $order o LEFT JOIN $due d ON d.owner = 'saga' AND d.due_key = o.id"
     " WHERE o.saga NOT IN ('ended', 'stuck') AND d.owner IS NULL",
     "its saga has not ended, but no due row will carry it on"},
    {"SELECT o.n, o.id FROM $order o JOIN $due d ON d.owner = 'saga' AND d.due_key = o.id"
     " WHERE o.saga IN ('reserving', 'paying') AND d.due > o.deadline",
     "it is not paid, and its due row lies behind its deadline"},
    {"SELECT o.n, o.id FROM $due d JOIN $order o ON o.id = d.due_key WHERE d.owner = 'saga' AND o.saga = 'ended'",
     "its saga has ended, but there is a due row to carry it on"},
    {"SELECT d.due, d.due_key FROM $due d LEFT JOIN $order o ON o.id = d.due_key WHERE d.owner = 'saga' AND o.n IS NULL",
     "there is a due row of a saga, but no order"},
    {"SELECT n, id FROM $order WHERE status " PAID_STATUS " AND (NOT (money = 1 OR (money = 3 AND status <> 'received')) OR sold = 0"
     " OR charge IS NULL)",
     "the kitchen has it, or had it, but it is not paid and sold"},
    {"SELECT n, id FROM $order WHERE saga = 'ended' AND status IN ('cancelled', 'payment_failed') AND money = 1",
     "it has ended without being delivered, and its money was kept"},
    {"SELECT n, id FROM $order WHERE (status IN ('cancelled', 'payment_failed')) <> (reason <> '')",
     "it has a reason without bad news, or bad news without a reason"},
    {"SELECT s.n, s.order_id FROM $stray s LEFT JOIN $due d ON d.owner = 'stray' AND d.due_key = s.charge"
     " WHERE s.state = 'refunding' AND d.owner IS NULL",
     "money that it does not take has to go back, but no due row will see to that"},
    {"SELECT s.n, s.order_id FROM $stray s LEFT JOIN $order o ON o.id = s.order_id WHERE o.n IS NULL",
     "there is money that it does not take, but no order"},
};

static void
tell(struct verify_report *report, int64_t n, const struct id *id, const char *words, int64_t found)
{
    char text[ID_TEXT_SIZE];
    char sentence[320];
    report->faults++;
    if (found >= TOLD_MAX || report->say == NULL) {
        return;
    }
    id_format(id, text);
    if (id_is_zero(id)) {
        (void)snprintf(sentence, sizeof sentence, "order: number %" PRId64 ": %s", n, words);
    } else {
        (void)snprintf(sentence, sizeof sentence, "order: %s, number %" PRId64 ": %s", text, n, words);
    }
    report->say(report->context, sentence);
}

static err
run_check(struct db *db, const struct check *check, struct verify_report *report)
{
    struct db_statement *rows = db_statement(db, check->sql);
    err code = db_query(rows);
    for (int64_t found = 0; code == ERR_ok && db_next(rows); found++) {
        struct id id = db_id(rows, 1);
        tell(report, db_i64(rows, 0), &id, check->words, found);
    }
    return code;
}

/* Every pair of status and saga that there is, against the table: few, however many orders. */
static err
check_pairs(struct db *db, struct verify_report *report)
{
    struct db_statement *rows = db_statement(db, "SELECT status, saga, MIN(n) FROM $order GROUP BY status, saga");
    err code = db_query(rows);
    while (code == ERR_ok && db_next(rows)) {
        struct slice status_word = db_bytes(rows, 0);
        struct slice saga_word = db_bytes(rows, 1);
        enum order_status status = order_status_find(status_word);
        enum saga_state saga = saga_state_find(saga_word);
        bool is_known = status != ORDER_STATUS_COUNT && saga != SAGA_STATE_COUNT;
        if (!is_known || !order_pair_is_possible(saga, status)) {
            char words[160];
            struct id nobody = {{0}};
            (void)snprintf(words, sizeof words, "%.*s while its saga is %.*s: the table never leads there", (int)status_word.size,
                           (const char *)status_word.data, (int)saga_word.size, (const char *)saga_word.data);
            tell(report, db_i64(rows, 2), &nobody, words, 0);
        }
    }
    return code;
}

/* Sagas that have stood in one state for longer than those who look after them are patient. */
static err
check_standing(struct db *db, struct verify_report *report)
{
    struct db_statement *rows =
        db_statement(db, "SELECT n, id, saga, CASE WHEN entered > 0 THEN entered ELSE changed END, deadline FROM $order"
                         " WHERE saga NOT IN ('ended', 'stuck') ORDER BY n");
    err code = db_query(rows);
    for (int64_t found = 0; code == ERR_ok && db_next(rows);) {
        enum saga_state saga = saga_state_find(db_bytes(rows, 2));
        int64_t entered_ms = db_i64(rows, 3);
        if (!order_stands(saga, entered_ms, db_i64(rows, 4), report->stuck_ms, report->now_ms)) {
            continue;
        }
        char words[160];
        struct id id = db_id(rows, 1);
        (void)snprintf(words, sizeof words, "its saga has stood in %s for %" PRId64 " s, and should have gone on",
                       saga_steps[saga].name, (report->now_ms - entered_ms) / 1000);
        tell(report, db_i64(rows, 0), &id, words, found++);
    }
    return code;
}

static err
count_rows(struct db *db, struct verify_report *report)
{
    struct db_statement *rows =
        db_statement(db, "SELECT (SELECT COUNT(*) FROM $order) + (SELECT COUNT(*) FROM $line) + (SELECT COUNT(*) FROM $entry)");
    err code = db_query(rows);
    if (code == ERR_ok && db_next(rows)) {
        report->rows_checked += db_i64(rows, 0);
        db_done(rows);
    }
    return code;
}

err
order_verify(struct db *db, struct verify_report *report)
{
    err code = count_rows(db, report);
    if (code == ERR_ok) {
        code = check_pairs(db, report);
    }
    for (size_t i = 0; i < sizeof checks / sizeof checks[0] && code == ERR_ok; i++) {
        code = run_check(db, &checks[i], report);
    }
    if (code == ERR_ok && report->stuck_ms > 0) {
        code = check_standing(db, report);
    }
    return code == ERR_ok ? menu_verify(db, report) : code;
}
