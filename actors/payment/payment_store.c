/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE
 *   All SQL of payment, in the subset that both engines share. What a batch needs is read with one statement for each table, and new
 *   rows go out together, so that a batch of new charges costs one insert and no read.
 *
 * STATE
 *   Tables: payment_schema.def. The statements belong to the db and survive a reconnect.
 *
 * FAILURES
 *   Errors of the database go up unchanged; the kit rolls the batch back. A row with a word that nobody writes was changed by hand:
 *   its status reads as cancelled, its method as unknown, so that no call is made for it, and verify names it.
 *
 * LIMITS
 *   A change of a charge or a refund that was there before is a statement of its own.
 */
#include "payment_store.h"

#include <stdio.h>

#define CHARGE_COLUMNS                                                                                                          \
    "n, id, order_id, amount, currency, method, provider, status, refunded, refunding, replaces, reference, reason, attempts, " \
    "created, changed, came, came_currency"
#define CHARGE_COLUMN_COUNT 18
#define REFUND_COLUMNS "n, id, charge, amount, status, reference, reason, attempts, created, changed, elsewhere"
#define REFUND_COLUMN_COUNT 11
#define NOTE_COLUMNS "n, told, webhook_id, type, charge, refund, reference, reason, received, outcome, amount, currency"
#define NOTE_COLUMN_COUNT 13

const char *
payment_noted_name(enum payment_noted_as outcome)
{
    switch (outcome) {
    case PAYMENT_APPLIED:
        return "applied";
    case PAYMENT_IGNORED:
        return "ignored";
    case PAYMENT_PARKED:
        return "parked";
    case PAYMENT_DISPUTED:
        return "disputed";
    }
    return "ignored";
}

static enum payment_noted_as
find_noted(struct slice name)
{
    enum payment_noted_as outcome = PAYMENT_APPLIED;
    while (outcome < PAYMENT_DISPUTED && !slice_equal(name, slice_of(payment_noted_name(outcome)))) {
        outcome++;
    }
    return outcome;
}

void
payment_store_init(struct payment_store *store, struct db *db)
{
    *store = (struct payment_store){
        .db = db,
        .reads =
            {
                [READ_CHARGES] = db_in(db, "SELECT " CHARGE_COLUMNS " FROM $charge {BY id} WHERE id IN (*)"),
                [READ_REFUNDS] = db_in(db, "SELECT " REFUND_COLUMNS " FROM $refund {BY id} WHERE id IN (*)"),
                [READ_REFUNDS_OF] = db_in(db, "SELECT " REFUND_COLUMNS " FROM $refund {BY charge} WHERE charge IN (*)"),
                [READ_NOTES] = db_in(db, "SELECT " NOTE_COLUMNS " FROM $webhook {BY told} WHERE told IN (*)"),
                [READ_TOLD] = db_in(db, "SELECT told FROM $webhook {BY told} WHERE told IN (*)"),
                [READ_PARKED] = db_in(db, "SELECT " NOTE_COLUMNS " FROM $webhook {BY parked} WHERE parked IN (*)"),
            },
        .charges = db_rows(db, "INSERT INTO $charge (" CHARGE_COLUMNS ")", CHARGE_COLUMN_COUNT),
        .refunds = db_rows(db, "INSERT INTO $refund (" REFUND_COLUMNS ")", REFUND_COLUMN_COUNT),
        .notes = db_rows(db, "INSERT INTO $webhook (" NOTE_COLUMNS ", parked)", NOTE_COLUMN_COUNT),
    };
}

err
payment_store_marks(struct payment_store *store, struct payment_marks *marks)
{
    struct db_statement *read = db_statement(
        store->db, "SELECT (SELECT COALESCE(MAX(n), 0) FROM $charge), (SELECT COALESCE(MAX(n), 0) FROM $refund),"
                   " (SELECT COALESCE(MAX(n), 0) FROM $webhook), (SELECT COUNT(*) FROM $webhook WHERE parked IS NOT NULL)");
    err code = db_query(read);
    if (code != ERR_ok) {
        return code;
    }
    if (db_next(read)) {
        *marks = (struct payment_marks){db_i64(read, 0), db_i64(read, 1), db_i64(read, 2), db_i64(read, 3)};
    }
    db_done(read);
    return ERR_ok;
}

/* --- rows --- */

/* Of two columns. */
static void
read_money(struct db_statement *row, int column, struct money_told *told)
{
    struct slice currency = db_bytes(row, column + 1);
    told->amount = db_is_null(row, column) ? MONEY_NOT_TOLD : db_i64(row, column);
    (void)snprintf(told->currency, sizeof told->currency, "%.*s", (int)currency.size,
                   currency.size == 0 ? "" : (const char *)currency.data);
}

struct payment_charge
payment_store_charge(struct db_statement *row)
{
    struct slice currency = db_bytes(row, 4);
    enum payment_method method = payment_method_find(db_bytes(row, 5));
    enum payment_provider provider = payment_provider_find(db_bytes(row, 6));
    enum payment_status status = payment_status_find(db_bytes(row, 7));
    struct payment_charge charge = {
        .n = db_i64(row, 0),
        .id = db_id(row, 1),
        .order = db_id(row, 2),
        .amount = db_i64(row, 3),
        .method = method == PAYMENT_METHOD_COUNT ? PAYMENT_NO_METHOD : method,
        .provider = provider == PAYMENT_PROVIDER_COUNT ? PAYMENT_BY_HAND : provider,
        .status = status == PAYMENT_STATUS_COUNT ? PAYMENT_CANCELLED : status,
        .refunded = db_i64(row, 8),
        .refunding = db_i64(row, 9),
        .replaces = db_id(row, 10),
        .reference = db_bytes(row, 11),
        .reason = db_bytes(row, 12),
        .attempts = db_i64(row, 13),
        .created_ms = db_i64(row, 14),
        .changed_ms = db_i64(row, 15),
    };
    read_money(row, 16, &charge.came);
    (void)snprintf(charge.currency, sizeof charge.currency, "%.*s", (int)currency.size, (const char *)currency.data);
    return charge;
}

struct payment_refund
payment_store_refund(struct db_statement *row)
{
    enum payment_status status = payment_status_find(db_bytes(row, 4));
    struct payment_refund refund = {
        .n = db_i64(row, 0),
        .id = db_id(row, 1),
        .charge = db_id(row, 2),
        .amount = db_i64(row, 3),
        .status = status == PAYMENT_STATUS_COUNT ? PAYMENT_FAILED : status,
        .reference = db_bytes(row, 5),
        .reason = db_bytes(row, 6),
        .attempts = db_i64(row, 7),
        .created_ms = db_i64(row, 8),
        .changed_ms = db_i64(row, 9),
        .is_elsewhere = db_i64(row, 10) != 0,
    };
    return refund;
}

struct payment_note
payment_store_note(struct db_statement *row)
{
    struct payment_note note = {
        .n = db_i64(row, 0),
        .told = db_id(row, 1),
        .webhook_id = db_bytes(row, 2),
        .type = db_bytes(row, 3),
        .charge = db_id(row, 4),
        .refund = db_id(row, 5),
        .reference = db_bytes(row, 6),
        .reason = db_bytes(row, 7),
        .received_ms = db_i64(row, 8),
        .outcome = find_noted(db_bytes(row, 9)),
    };
    read_money(row, 10, &note.money);
    return note;
}

/* --- reads by many keys --- */

void
payment_store_want(struct payment_store *store, enum payment_reading_of what, const struct id *key)
{
    db_in_id(store->reads[what], key);
}

err
payment_store_read(struct payment_store *store, enum payment_reading_of what, void (*see)(void *context, struct db_statement *row),
                   void *context)
{
    struct db_statement *row = NULL;
    while ((row = db_in_next(store->reads[what])) != NULL) {
        see(context, row);
    }
    return db_in_end(store->reads[what]);
}

/* --- writes --- */

static void
add_id_or_null(struct db_rows *rows, const struct id *id)
{
    if (id_is_zero(id)) {
        db_rows_null(rows);
    } else {
        db_rows_id(rows, id);
    }
}

static void
add_money(struct db_rows *rows, const struct money_told *told)
{
    if (told->amount == MONEY_NOT_TOLD) {
        db_rows_null(rows);
    } else {
        db_rows_i64(rows, told->amount);
    }
    db_rows_text(rows, slice_of(told->currency));
}

void
payment_store_add_charge(struct payment_store *store, const struct payment_charge *charge)
{
    struct db_rows *rows = store->charges;
    db_rows_i64(rows, charge->n);
    db_rows_id(rows, &charge->id);
    db_rows_id(rows, &charge->order);
    db_rows_i64(rows, charge->amount);
    db_rows_text(rows, slice_of(charge->currency));
    db_rows_text(rows, slice_of(payment_method_name(charge->method)));
    db_rows_text(rows, slice_of(payment_provider_name(charge->provider)));
    db_rows_text(rows, slice_of(payment_status_name(charge->status)));
    db_rows_i64(rows, charge->refunded);
    db_rows_i64(rows, charge->refunding);
    add_id_or_null(rows, &charge->replaces);
    db_rows_text(rows, charge->reference);
    db_rows_text(rows, charge->reason);
    db_rows_i64(rows, charge->attempts);
    db_rows_i64(rows, charge->created_ms);
    db_rows_i64(rows, charge->changed_ms);
    add_money(rows, &charge->came);
}

void
payment_store_add_refund(struct payment_store *store, const struct payment_refund *refund)
{
    struct db_rows *rows = store->refunds;
    db_rows_i64(rows, refund->n);
    db_rows_id(rows, &refund->id);
    db_rows_id(rows, &refund->charge);
    db_rows_i64(rows, refund->amount);
    db_rows_text(rows, slice_of(payment_status_name(refund->status)));
    db_rows_text(rows, refund->reference);
    db_rows_text(rows, refund->reason);
    db_rows_i64(rows, refund->attempts);
    db_rows_i64(rows, refund->created_ms);
    db_rows_i64(rows, refund->changed_ms);
    db_rows_i64(rows, refund->is_elsewhere ? 1 : 0);
}

void
payment_store_add_note(struct payment_store *store, const struct payment_note *note)
{
    static const struct id none = {{0}};
    struct db_rows *rows = store->notes;
    db_rows_i64(rows, note->n);
    db_rows_id(rows, &note->told);
    db_rows_bytes(rows, note->webhook_id);
    db_rows_text(rows, note->type);
    db_rows_id(rows, &note->charge);
    add_id_or_null(rows, &note->refund);
    db_rows_text(rows, note->reference);
    db_rows_text(rows, note->reason);
    db_rows_i64(rows, note->received_ms);
    db_rows_text(rows, slice_of(payment_noted_name(note->outcome)));
    add_money(rows, &note->money);
    add_id_or_null(rows, note->outcome == PAYMENT_PARKED ? &note->charge : &none);
}

err
payment_store_update_charge(struct payment_store *store, const struct payment_charge *charge)
{
    struct db_statement *update =
        db_statement(store->db, "UPDATE $charge SET amount = ?, currency = ?, method = ?, provider = ?, status = ?, refunded = ?,"
                                " refunding = ?, replaces = ?, reference = ?, reason = ?, attempts = ?, changed = ?, came = ?,"
                                " came_currency = ? WHERE n = ?");
    db_bind_i64(update, charge->amount);
    db_bind_text(update, slice_of(charge->currency));
    db_bind_text(update, slice_of(payment_method_name(charge->method)));
    db_bind_text(update, slice_of(payment_provider_name(charge->provider)));
    db_bind_text(update, slice_of(payment_status_name(charge->status)));
    db_bind_i64(update, charge->refunded);
    db_bind_i64(update, charge->refunding);
    if (id_is_zero(&charge->replaces)) {
        db_bind_null(update);
    } else {
        db_bind_id(update, &charge->replaces);
    }
    db_bind_text(update, charge->reference);
    db_bind_text(update, charge->reason);
    db_bind_i64(update, charge->attempts);
    db_bind_i64(update, charge->changed_ms);
    if (charge->came.amount == MONEY_NOT_TOLD) {
        db_bind_null(update);
    } else {
        db_bind_i64(update, charge->came.amount);
    }
    db_bind_text(update, slice_of(charge->came.currency));
    db_bind_i64(update, charge->n);
    return db_queue(update, 1);
}

err
payment_store_update_refund(struct payment_store *store, const struct payment_refund *refund)
{
    struct db_statement *update =
        db_statement(store->db, "UPDATE $refund SET status = ?, reference = ?, reason = ?, attempts = ?, changed = ? WHERE n = ?");
    db_bind_text(update, slice_of(payment_status_name(refund->status)));
    db_bind_text(update, refund->reference);
    db_bind_text(update, refund->reason);
    db_bind_i64(update, refund->attempts);
    db_bind_i64(update, refund->changed_ms);
    db_bind_i64(update, refund->n);
    return db_queue(update, 1);
}

err
payment_store_update_note(struct payment_store *store, const struct payment_note *note)
{
    struct db_statement *update = db_statement(store->db, "UPDATE $webhook SET outcome = ?, parked = NULL WHERE n = ?");
    db_bind_text(update, slice_of(payment_noted_name(note->outcome)));
    db_bind_i64(update, note->n);
    return db_queue(update, 1);
}

err
payment_store_queue(struct payment_store *store)
{
    err code = db_rows_queue(store->charges);
    if (code == ERR_ok) {
        code = db_rows_queue(store->refunds);
    }
    if (code == ERR_ok) {
        code = db_rows_queue(store->notes);
    }
    return code;
}

/* --- pages --- */

err
payment_store_page(struct payment_store *store, const struct id *order, int64_t before, int64_t limit, struct db_statement **rows)
{
    struct db_statement *page = NULL;
    if (id_is_zero(order)) {
        page = db_statement(store->db, "SELECT " CHARGE_COLUMNS " FROM $charge {BY PRIMARY} WHERE n < ? ORDER BY n DESC LIMIT ?");
    } else {
        page = db_statement(store->db, "SELECT " CHARGE_COLUMNS
                                       " FROM $charge {BY order_id} WHERE order_id = ? AND n < ? ORDER BY n DESC LIMIT ?");
        db_bind_id(page, order);
    }
    db_bind_i64(page, before);
    db_bind_i64(page, limit);
    err code = db_query(page);
    if (code == ERR_ok) {
        *rows = page;
    }
    return code;
}

err
payment_store_page_refunds(struct payment_store *store, const struct id *charge, int64_t limit, struct db_statement **rows)
{
    struct db_statement *page =
        db_statement(store->db, "SELECT " REFUND_COLUMNS " FROM $refund {BY charge} WHERE charge = ? ORDER BY n LIMIT ?");
    db_bind_id(page, charge);
    db_bind_i64(page, limit);
    err code = db_query(page);
    if (code == ERR_ok) {
        *rows = page;
    }
    return code;
}
