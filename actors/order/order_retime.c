/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE   Orders under way when the clock was set: until when they may stay unpaid, and when they are looked after.
 *
 * STATE     $order.deadline of an order that has one, and due rows: that of a saga never lies behind its order's deadline.
 */
#include "order_state.h"

#include "kit/durable/retime.h"
#include "order/saga/order_saga.h"

/* An order whose time may run out. */
struct unpaid {
    bool has_deadline;
    int64_t deadline_ms;
};

static err
find_unpaid(const struct retiming *retiming, struct slice id, struct unpaid *unpaid)
{
    struct db_statement *read = db_statement(retiming->db, "SELECT saga, deadline FROM $order WHERE id = ?");
    db_bind_bytes(read, id);
    err code = db_query(read);
    *unpaid = (struct unpaid){0};
    if (code == ERR_ok && db_next(read)) {
        enum saga_state saga = saga_state_find(db_bytes(read, 0));
        unpaid->has_deadline = saga != SAGA_STATE_COUNT && saga_has_deadline(saga);
        unpaid->deadline_ms = db_i64(read, 1);
        db_done(read);
    }
    return code;
}

static err
retime_saga(const struct retiming *retiming, struct due_row *row)
{
    struct unpaid unpaid;
    err code = find_unpaid(retiming, row->key, &unpaid);
    row->due_ms =
        retimed(retiming, row->due_ms, unpaid.has_deadline ? retiming->settings->order_ttl_ms : order_watchdog_ms(retiming->settings));
    if (code != ERR_ok || !unpaid.has_deadline) {
        return code;
    }
    int64_t deadline_ms = retimed(retiming, unpaid.deadline_ms, retiming->settings->order_ttl_ms);
    row->due_ms = row->due_ms < deadline_ms ? row->due_ms : deadline_ms;
    struct db_statement *update = db_statement(retiming->db, "UPDATE $order SET deadline = ? WHERE id = ? AND deadline <> ?");
    db_bind_i64(update, deadline_ms);
    db_bind_bytes(update, row->key);
    db_bind_i64(update, deadline_ms);
    return db_queue(update, DB_ANY_ROWS);
}

err
order_retime(const struct retiming *retiming, struct due_row *row)
{
    if (row == NULL) {
        return ERR_ok;
    }
    if (slice_equal(row->owner, slice_of(ORDER_DUE_SAGA))) {
        return retime_saga(retiming, row);
    }
    row->due_ms = retimed(retiming, row->due_ms, ORDER_STRAY_PAUSE_MS);
    return ERR_ok;
}
