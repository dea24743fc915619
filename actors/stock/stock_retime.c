/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE   Holds and repeated alarms when the clock was set.
 *
 * STATE     $hold.expires of open holds and their due rows, which say the same. How long a hold was given stands in the ledger: the
 *           time of its reserve, or of its latest extension, and when that was to end. The ledger stays as it was written.
 *
 * LIMITS    A hold that was extended costs a walk over the ledger behind its reserve.
 */
#include "stock_state.h"

#include "kit/durable/retime.h"
#include "stock_rules.h"

/* What it was given at the line that the statement finds. */
static err
read_patience(struct db_statement *read, int64_t *n, int64_t *patience_ms)
{
    err code = db_query(read);
    if (code == ERR_ok && db_next(read)) {
        int64_t given_ms = db_i64(read, 2) - db_i64(read, 1);
        *n = db_i64(read, 0);
        *patience_ms = given_ms > 0 ? given_ms : *patience_ms;
        db_done(read);
    }
    return code;
}

static err
patience_of(const struct retiming *retiming, const struct id *hold, int64_t expires_ms, int64_t *patience_ms)
{
    int64_t n = 0;
    *patience_ms = retiming->settings->hold_ttl_ms;
    struct db_statement *reserve = db_statement(
        retiming->db, "SELECT n, time, expires FROM $move WHERE request = ? AND kind = 'reserve' AND expires IS NOT NULL LIMIT 1");
    db_bind_id(reserve, hold);
    err code = read_patience(reserve, &n, patience_ms);
    struct db_statement *unchanged = db_statement(retiming->db, "SELECT COUNT(*) FROM $move WHERE n = ? AND expires = ?");
    db_bind_i64(unchanged, n);
    db_bind_i64(unchanged, expires_ms);
    code = code == ERR_ok ? db_query(unchanged) : code;
    if (code != ERR_ok || (db_next(unchanged) && db_i64(unchanged, 0) > 0)) {
        return code;
    }
    struct db_statement *extend = db_statement(
        retiming->db, "SELECT n, time, expires FROM $move WHERE n > ? AND hold = ? AND kind = 'extend' ORDER BY n DESC LIMIT 1");
    db_bind_i64(extend, n);
    db_bind_id(extend, hold);
    return read_patience(extend, &n, patience_ms);
}

static err
retime_hold(const struct retiming *retiming, struct due_row *row)
{
    struct id hold;
    int64_t patience_ms = 0;
    memcpy(hold.bytes, row->key.data, sizeof hold.bytes);
    err code = patience_of(retiming, &hold, row->due_ms, &patience_ms);
    row->due_ms = retimed(retiming, row->due_ms, patience_ms);
    if (code != ERR_ok) {
        return code;
    }
    struct db_statement *update =
        db_statement(retiming->db, "UPDATE $hold SET expires = ? WHERE hold = ? AND state = 'open' AND expires <> ?");
    db_bind_i64(update, row->due_ms);
    db_bind_id(update, &hold);
    db_bind_i64(update, row->due_ms);
    return db_queue(update, DB_ANY_ROWS);
}

err
stock_retime(const struct retiming *retiming, struct due_row *row)
{
    if (row == NULL) {
        return ERR_ok;
    }
    bool is_hold = slice_equal(row->owner, slice_of(STOCK_DUE_HOLD)) && row->key.size == ID_SIZE;
    if (!is_hold) {
        row->due_ms = retimed(retiming, row->due_ms, retiming->settings->alarm_repeat_ms);
        return ERR_ok;
    }
    return row->due_ms + retiming->by_ms > retiming->now_ms ? retime_hold(retiming, row) : ERR_ok;
}
