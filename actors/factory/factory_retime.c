/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE   Refills that are on their way when the clock was set: when the built-in factory is done, and when the outside one is
 *           called or called again.
 *
 * STATE     $production.due_at and the due rows; the payload of a call says what it waits for (calls.h).
 */
#include "factory_state.h"

#include "factory_rules.h"
#include "kit/base/backoff.h"
#include "kit/durable/retime.h"
#include "kit/peers/calls.h"

static err
retime_production(const struct retiming *retiming, struct due_row *row)
{
    row->due_ms = retimed(retiming, row->due_ms, retiming->settings->lead_time_ms);
    struct db_statement *update =
        db_statement(retiming->db, "UPDATE $production SET due_at = ? WHERE id = ? AND due_at > 0 AND due_at <> ?");
    db_bind_i64(update, row->due_ms);
    db_bind_bytes(update, row->key);
    db_bind_i64(update, row->due_ms);
    return db_queue(update, DB_ANY_ROWS);
}

static err
accepted(const struct retiming *retiming, const struct due_row *row, int64_t *times)
{
    struct db_statement *read = db_statement(retiming->db, "SELECT accepted FROM $production WHERE id = ?");
    db_bind_bytes(read, row->key);
    err code = db_query(read);
    *times = 0;
    if (code == ERR_ok && db_next(read)) {
        *times = db_i64(read, 0);
        db_done(read);
    }
    return code;
}

static err
retime_call(const struct retiming *retiming, struct due_row *row)
{
    struct calls calls;
    int64_t times = 0;
    int64_t timeout_ms = retiming->settings->call_timeout_ms;
    struct retry accepted_patience = factory_patience(retiming->settings);
    err code = accepted(retiming, row, &times);
    calls_init(&calls, row->payload);
    int64_t patience_ms = calls.failures > 0 ? BACKOFF_MAX_MS : 2 * timeout_ms;
    if (calls.wait == CALLS_WAIT_END) {
        patience_ms = outcall_patience_ms(&accepted_patience, times) * 5 / 4;
    }
    row->due_ms = retimed(retiming, row->due_ms, patience_ms);
    retime_calls(retiming, &calls, row);
    calls_fini(&calls);
    return code;
}

err
factory_retime(const struct retiming *retiming, struct due_row *row)
{
    if (row == NULL) {
        return ERR_ok;
    }
    return slice_equal(row->owner, slice_of(OWNER_PRODUCTION)) ? retime_production(retiming, row) : retime_call(retiming, row);
}
