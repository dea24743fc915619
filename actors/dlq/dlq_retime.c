/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE   Letters when the clock was set: how long a discarded one can be restored, how long a request that was handed over is
 *           still worth delivering, and when an owner is asked again.
 *
 * STATE     Due rows; $letter.changed of a discarded letter, from which its time to be restored counts; $letter.useful_until of a
 *           request that waits.
 */
#include "dlq_state.h"

#include "kit/base/backoff.h"
#include "kit/durable/retime.h"

/* What counts from a moment of a letter itself. A second time changes nothing more. */
static err
retime_letters(const struct retiming *retiming)
{
    struct db_statement *discarded = db_statement(retiming->db, "UPDATE $letter SET changed = CASE WHEN changed + ? > ? THEN ?"
                                                                " ELSE changed + ? END WHERE state = ?");
    db_bind_i64(discarded, retiming->by_ms);
    db_bind_i64(discarded, retiming->now_ms);
    db_bind_i64(discarded, retiming->now_ms);
    db_bind_i64(discarded, retiming->by_ms);
    db_bind_i64(discarded, DLQ_DISCARDED);
    err code = db_queue(discarded, DB_ANY_ROWS);
    struct db_statement *waiting =
        db_statement(retiming->db, "UPDATE $letter SET useful_until = CASE WHEN opened > ? AND useful_until > opened"
                                   " THEN ? + (useful_until - opened) ELSE useful_until + ? END WHERE state = ? AND kind = ?");
    db_bind_i64(waiting, retiming->now_ms);
    db_bind_i64(waiting, retiming->now_ms);
    db_bind_i64(waiting, retiming->by_ms);
    db_bind_i64(waiting, DLQ_WAITING);
    db_bind_i64(waiting, DLQ_REQUEST);
    return code == ERR_ok ? db_queue(waiting, DB_ANY_ROWS) : code;
}

err
dlq_retime(const struct retiming *retiming, struct due_row *row)
{
    if (row == NULL) {
        return retime_letters(retiming);
    }
    bool is_purge = slice_equal(row->owner, slice_of(DLQ_DUE_PURGE));
    row->due_ms = retimed(retiming, row->due_ms, is_purge ? retiming->settings->undo_ms : BACKOFF_MAX_MS);
    return ERR_ok;
}
