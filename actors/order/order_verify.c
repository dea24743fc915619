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
 *   Of each check the first VERIFY_TOLD_MAX faults are told, all are counted. What stock and payment have to say of an order is proved
 *   elsewhere, from all databases together. What an order is called, said and written (names, notes, words of a timeline) may be
 *   anything.
 */
#include "order_verify.h"

#include <inttypes.h>
#include <stdio.h>

#include "order.h"
#include "order_row.h"
#include "order/saga/order_rules.h"
#include "order/saga/order_saga.h"
#include "shared/menu.h"

#define RANGE 1000
#define HOLD_ROUND_MAX 255
#define PAID_STATUS "IN ('received', 'in_preparation', 'ready', 'completed')"

/* Columns: n, id of the order. */
static const struct verify_check checks[] = {
    {"SELECT o.n, o.id FROM $order o LEFT JOIN (SELECT n, SUM(quantity * amount) AS total, COUNT(*) AS lines_there, MAX(line) AS last"
     " FROM $line GROUP BY n) l ON l.n = o.n WHERE l.n IS NULL OR l.total <> o.total OR l.lines_there <> l.last",
     "its lines are not all there, or do not add up to its total"},
    {"SELECT l.n, NULL FROM $line l LEFT JOIN $order o ON o.n = l.n WHERE o.n IS NULL GROUP BY l.n", "there are lines, but no order"},
    {"SELECT o.n, o.id FROM $order o LEFT JOIN (SELECT n, COUNT(*) AS entries, MIN(k) AS first, MAX(k) AS last FROM $entry GROUP BY "
     "n) e ON e.n = o.n"
     " WHERE e.n IS NULL OR e.entries <> o.entries OR e.last <> o.entries OR e.first <> 1",
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
    {"SELECT n, id FROM $order WHERE saga IN ('reserving', 'paying') AND (money <> 0 OR sold <> 0)",
     "it waits for its units or its money, but something is paid or sold"},
    {"SELECT n, id FROM $order WHERE money NOT IN (0, 1, 2, 3) OR told NOT BETWEEN 0 AND 15 OR tries < 0 OR round < 0 OR charge_round "
     "< 0"
     " OR charge_round > round OR (money IN (0, 2) AND told IN (1, 5))",
     "what is known of its money, or what was tried, is nothing that the order actor writes"},
    {"SELECT n, id FROM $order WHERE saga = 'paying' AND charge IS NULL", "it waits for its money, but has no charge"},
    {"SELECT o.n, o.id FROM $order o LEFT JOIN $due d ON d.owner = 'saga' AND d.due_key = o.id WHERE o.saga = 'stuck' AND d.owner IS "
     "NULL",
     "it is stuck, but there is no row for its letter to try again"},
    {"SELECT n, id FROM $order WHERE charge IS NULL AND (money <> 0 OR charge_round <> 0)",
     "it has no charge, but something became of it"},
    {"SELECT n, id FROM $order WHERE method NOT IN ('pix', 'credit_card', 'debit_card', 'money') OR placed <= 0 OR deadline <= 0",
     "its method or a time is none that the order actor writes"},
    {"SELECT o.n, o.id FROM $order o JOIN $forgotten f ON f.customer = o.customer", "it names a customer who was erased"},
    {"SELECT o.n, o.id FROM $order o LEFT JOIN $request r ON r.id = o.request WHERE o.saga = 'ended' AND o.request <> o.id AND r.n IS "
     "NULL",
     "what began its last round was neither its place nor a request that is known"},
    {"SELECT r.n, r.order_id FROM $request r LEFT JOIN $order o ON o.id = r.order_id WHERE r.status = 'ok' AND o.n IS NULL",
     "a request was answered by it, but there is no order"},
    {"SELECT version, NULL FROM $secret WHERE version < 1 OR since < 0 OR LENGTH(secret) <> 32",
     "this key is none that secrets are made with"},
    {"SELECT n, order_id FROM $stray WHERE state NOT IN ('refunding', 'refunded', 'stuck') OR amount < 0 OR tries < 0",
     "there is money that it does not take, in a state that the order actor does not write"},
    {"SELECT s.n, s.order_id FROM $stray s LEFT JOIN $order o ON o.id = s.order_id WHERE o.n IS NULL",
     "there is money that it does not take, but no order"},
};

static void
tell(struct verify_report *report, int64_t n, const struct id *id, const char *words, int64_t found)
{
    char text[ID_TEXT_SIZE];
    id_format(id, text);
    if (id_is_zero(id)) {
        verify_tell(report, found, "order: number %" PRId64 ": %s", n, words);
    } else {
        verify_tell(report, found, "order: %s, number %" PRId64 ": %s", text, n, words);
    }
}

static err
tell_found(struct db *db, struct verify_report *report, const struct verify_check *check, struct db_statement *row, int64_t found)
{
    struct id id = db_id(row, 1);
    (void)db;
    tell(report, db_i64(row, 0), &id, check->words, found);
    return ERR_ok;
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

/* Sagas that have stood in one state for longer than those who look after them are patient. In a closed shop nobody does. */
static err
check_standing(struct db *db, struct verify_report *report)
{
    struct db_statement *rows =
        db_statement(db, "SELECT n, id, saga, CASE WHEN entered > 0 THEN entered ELSE changed END, deadline,"
                         " (SELECT MAX(seen) FROM $shard) FROM $order WHERE saga NOT IN ('ended', 'stuck') ORDER BY n");
    err code = db_query(rows);
    for (int64_t found = 0; code == ERR_ok && db_next(rows);) {
        enum saga_state saga = saga_state_find(db_bytes(rows, 2));
        int64_t entered_ms = db_i64(rows, 3);
        int64_t now_ms = report->now_ms > 0 ? report->now_ms : db_i64(rows, 5);
        if (!order_stands(saga, entered_ms, db_i64(rows, 4), report->stuck_ms, now_ms)) {
            continue;
        }
        char words[160];
        struct id id = db_id(rows, 1);
        (void)snprintf(words, sizeof words, "its saga has stood in %s for %" PRId64 " s, and should have gone on",
                       saga_steps[saga].name, (now_ms - entered_ms) / 1000);
        tell(report, db_i64(rows, 0), &id, words, found++);
    }
    return code;
}

/* Ids and rounds that follow from others. */
static const char *
row_fault(const struct id *id, struct db_statement *row)
{
    struct id charge = db_id(row, 2);
    struct id request = db_id(row, 6);
    int64_t round = db_i64(row, 4);
    int64_t holds = db_i64(row, 5);
    if (!db_is_null(row, 2)) {
        struct id wanted = saga_step_id(id, OP_payment_charge, db_i64(row, 3), 0);
        if (!id_equal(&charge, &wanted)) {
            return "its charge is not the one that its round asks for";
        }
    }
    for (; holds != 0; holds = (int64_t)((uint64_t)holds >> 8)) {
        if ((holds & HOLD_ROUND_MAX) > round) {
            return "a hold of it is of a round that has not come";
        }
    }
    if (id_is_zero(id) || id_is_zero(&request)) {
        return "it has no id, or nothing has begun its round";
    }
    struct slice back = db_bytes(row, 7);
    if (back.size > 0 && saga_state_find(back) == SAGA_STATE_COUNT) {
        return "it was stuck in a state that there is not";
    }
    return NULL;
}

struct rows_proof {
    struct verify_report *report;
    int64_t found;
};

static err
see_row(void *context, struct db_statement *row)
{
    struct rows_proof *proof = context;
    struct id id = db_id(row, 1);
    const char *words = row_fault(&id, row);
    if (words != NULL) {
        tell(proof->report, db_i64(row, 0), &id, words, proof->found++);
    }
    return ERR_ok;
}

static err
check_rows(struct db *db, struct verify_report *report)
{
    struct rows_proof proof = {.report = report};
    return verify_walk(&(struct verify_walk){
        .db = db,
        .sql = "SELECT n, id, charge, charge_round, round, holds, request, back FROM $order WHERE n > ? ORDER BY n LIMIT ?",
        .see = see_row,
        .context = &proof,
    });
}

/* --- timelines --- */

struct timeline {
    int64_t n;
    struct id id;
    enum order_status status;
    int64_t changes;
    int64_t version;   /* as the order has it */
    const char *words; /* the first thing that is wrong with it */
};

/* Whether an edge of the table, or the kitchen, leads from one status to another. */
static bool
leads_to(enum order_status from, enum order_status to)
{
    static const enum order_status kitchen[] = {ORDER_RECEIVED, ORDER_IN_PREPARATION, ORDER_READY, ORDER_COMPLETED};
    for (size_t i = 1; i < sizeof kitchen / sizeof kitchen[0]; i++) {
        if (kitchen[i - 1] == from && kitchen[i] == to) {
            return true;
        }
    }
    for (size_t i = 0; i < saga_edge_count; i++) {
        if (saga_edges[i].status == to && order_pair_is_possible(saga_edges[i].from, from)) {
            return true;
        }
    }
    return false;
}

/* Computed once: there are few. */
static bool
may_follow(enum order_status from, enum order_status to)
{
    static bool is_known[ORDER_STATUS_COUNT][ORDER_STATUS_COUNT];
    static bool leads[ORDER_STATUS_COUNT][ORDER_STATUS_COUNT];
    if (!is_known[from][to]) {
        leads[from][to] = leads_to(from, to);
        is_known[from][to] = true;
    }
    return leads[from][to];
}

/* Columns: n, k, time, status, id, version, placed, what. */
static void
see_entry(struct timeline *timeline, struct db_statement *row)
{
    enum order_status status = order_status_find(db_bytes(row, 3));
    int64_t time_ms = db_i64(row, 2);
    if (timeline->n != db_i64(row, 0)) {
        *timeline = (struct timeline){.n = db_i64(row, 0), .id = db_id(row, 4), .status = ORDER_PLACED, .version = db_i64(row, 5)};
        if (status != ORDER_PLACED || time_ms != db_i64(row, 6)) {
            timeline->words = "its timeline does not begin when it was placed";
        }
    }
    if (status == ORDER_STATUS_COUNT || (status != timeline->status && !may_follow(timeline->status, status))) {
        timeline->words = "its timeline goes from one status to another that does not follow it";
        return;
    }
    if (time_ms <= 0 || db_bytes(row, 7).size == 0) {
        timeline->words = "its timeline has an entry without a time or a word";
    }
    if (status != timeline->status) {
        timeline->status = status;
        timeline->changes++;
    }
}

static void
end_timeline(struct verify_report *report, const struct timeline *timeline, int64_t *found)
{
    const char *words = timeline->words;
    if (words == NULL && timeline->changes + 1 != timeline->version) {
        words = "its version is not how often its timeline has changed its status";
    }
    if (timeline->n != 0 && words != NULL) {
        tell(report, timeline->n, &timeline->id, words, (*found)++);
    }
}

static err
check_timelines(struct db *db, struct verify_report *report)
{
    struct db_statement *rows = db_statement(db, "SELECT e.n, e.k, e.time, e.status, o.id, o.version, o.placed, e.what FROM $entry e"
                                                 " JOIN $order o ON o.n = e.n WHERE e.n > ? AND e.n <= ? ORDER BY e.n, e.k");
    int64_t found = 0;
    int64_t last = 0;
    struct db_statement *read = db_statement(db, "SELECT COALESCE(MAX(n), 0) FROM $order");
    err code = db_query(read);
    if (code == ERR_ok && db_next(read)) {
        last = db_i64(read, 0);
        db_done(read);
    }
    for (int64_t after = 0; code == ERR_ok && after < last; after += RANGE) {
        struct timeline timeline = {0};
        db_bind_i64(rows, after);
        db_bind_i64(rows, after + RANGE);
        code = db_query(rows);
        while (code == ERR_ok && db_next(rows)) {
            if (db_i64(rows, 0) != timeline.n) {
                end_timeline(report, &timeline, &found);
            }
            see_entry(&timeline, rows);
        }
        end_timeline(report, &timeline, &found);
    }
    return code;
}

static err
check_requests(struct db *db, struct verify_report *report)
{
    struct db_statement *rows = db_statement(db, "SELECT n, order_id, status, frame, id FROM $request");
    err code = db_query(rows);
    for (int64_t found = 0; code == ERR_ok && db_next(rows);) {
        struct slice status = db_bytes(rows, 2);
        struct slice frame = db_bytes(rows, 3);
        struct id order = db_id(rows, 1);
        struct id id = db_id(rows, 4);
        struct wire_problem problem;
        struct err_text why;
        bool is_ok = slice_equal(status, slice_of("ok"));
        bool is_good = is_ok ? frame.size == 0
                             : err_find((const char *)status.data, status.size) != ERR_COUNT &&
                                   wire_decode(&problem_body, frame, &problem, &why) == ERR_ok;
        if (!is_good || id_is_zero(&id)) {
            tell(report, db_i64(rows, 0), &order, "what a request about it was told cannot be read", found++);
        }
    }
    return code;
}

err
order_verify(struct db *db, struct verify_report *report)
{
    err code = verify_count(db, "SELECT (SELECT COUNT(*) FROM $order) + (SELECT COUNT(*) FROM $line) + (SELECT COUNT(*) FROM $entry)",
                            report);
    if (code == ERR_ok) {
        code = check_pairs(db, report);
    }
    if (code == ERR_ok) {
        code = verify_run_checks(db, checks, sizeof checks / sizeof checks[0], tell_found, report);
    }
    if (code == ERR_ok && report->stuck_ms > 0) {
        code = check_standing(db, report);
    }
    if (code == ERR_ok) {
        code = check_rows(db, report);
    }
    if (code == ERR_ok) {
        code = check_timelines(db, report);
    }
    if (code == ERR_ok) {
        code = check_requests(db, report);
    }
    return code == ERR_ok ? menu_verify(db, report) : code;
}

/* --- what others compare --- */

#define SAID "SELECT n, id, status, saga, round, total, currency, charge, holds, sold, money, method FROM $order"

struct db_statement *
order_select_behind(struct db *db, int64_t after, int64_t most)
{
    struct db_statement *rows = db_statement(db, SAID " WHERE n > ? ORDER BY n LIMIT ?");
    db_bind_i64(rows, after);
    db_bind_i64(rows, most);
    return rows;
}

struct db_statement *
order_select(struct db *db, const struct id *id)
{
    struct db_statement *row = db_statement(db, SAID " WHERE id = ?");
    db_bind_id(row, id);
    return row;
}

void
order_see(struct order_said *order, struct db_statement *row)
{
    struct slice saga = db_bytes(row, 3);
    enum order_status status = order_status_find(db_bytes(row, 2));
    *order = (struct order_said){
        .n = db_i64(row, 0),
        .id = db_id(row, 1),
        .has_ended = slice_equal(saga, slice_of("ended")),
        .is_paying = slice_equal(saga, slice_of("paying")),
        .is_stuck = slice_equal(saga, slice_of("stuck")),
        .is_paid = status == ORDER_RECEIVED || status == ORDER_IN_PREPARATION || status == ORDER_READY || status == ORDER_COMPLETED,
        .is_money_known = db_i64(row, 10) != MONEY_OPEN,
        .is_back = db_i64(row, 10) == MONEY_REFUNDED,
        .round = db_i64(row, 4),
        .total = db_i64(row, 5),
        .charge = db_id(row, 7),
        .holds = db_i64(row, 8),
        .sold = db_i64(row, 9),
    };
    verify_copy_text(order->currency, sizeof order->currency, db_bytes(row, 6));
    verify_copy_text(order->status, sizeof order->status, db_bytes(row, 2));
    verify_copy_text(order->method, sizeof order->method, db_bytes(row, 11));
}

struct db_in *
order_select_ids(struct db *db)
{
    return db_in(db, "SELECT id FROM $order WHERE id IN (*)");
}

struct db_statement *
order_select_lines(struct db *db, int64_t after, int64_t last)
{
    struct db_statement *rows = db_statement(db, "SELECT n, product, quantity FROM $line WHERE n > ? AND n <= ? ORDER BY n");
    db_bind_i64(rows, after);
    db_bind_i64(rows, last);
    return rows;
}

struct db_statement *
order_select_began(struct db *db, int64_t n)
{
    struct db_statement *read = db_statement(db, "SELECT COUNT(*) FROM $entry WHERE n = ? AND status = 'in_preparation'");
    db_bind_i64(read, n);
    return read;
}

struct db_statement *
order_select_strays(struct db *db)
{
    return db_statement(db, "SELECT order_id FROM $stray WHERE state <> 'refunded'");
}

struct id
order_hold(const struct order_said *order, int shard, int64_t round)
{
    return saga_step_id(&order->id, OP_stock_reserve, round, shard);
}

bool
order_says_hold(const struct order_said *order, int shard, int64_t round)
{
    return round == ((order->holds >> (8 * shard)) & HOLD_ROUND_MAX);
}
