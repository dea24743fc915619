/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE   Charges and refunds under way when the clock was set: when the provider is asked next, and how long a cancelled charge is
 *           still looked after.
 *
 * STATE     Due rows, whose payload says what they wait for (calls.h); $charge.changed of a cancelled charge.
 */
#include "payment_state.h"

#include "kit/base/backoff.h"
#include "kit/durable/retime.h"
#include "payment/provider/payment_task.h"
#include "payment_rules.h"

static err
is_simulated(const struct retiming *retiming, const struct due_row *row, bool *is_it)
{
    bool is_refund = slice_equal(row->owner, slice_of(OWNER_REFUND));
    struct db_statement *read = is_refund ? db_statement(retiming->db, "SELECT provider FROM $charge WHERE id ="
                                                                       " (SELECT charge FROM $refund WHERE id = ?)")
                                          : db_statement(retiming->db, "SELECT provider FROM $charge WHERE id = ?");
    db_bind_bytes(read, row->key);
    err code = db_query(read);
    *is_it = false;
    if (code == ERR_ok && db_next(read)) {
        *is_it = slice_equal(db_bytes(read, 0), slice_of(payment_provider_name(PAYMENT_SIMULATED)));
        db_done(read);
    }
    return code;
}

/* The longest that it may have to wait as it stands. */
static int64_t
patience_ms(const struct settings *settings, const struct calls *calls, bool is_simulated_one)
{
    struct retry patience = payment_patience(settings, is_simulated_one);
    switch (calls->wait) {
    case CALLS_WAIT_CALL:
        return is_simulated_one ? settings->payment_delay_ms : 2 * settings->call_timeout_ms;
    case CALLS_WAIT_END:
        return outcall_patience_ms(&patience, calls->accepted) * (is_simulated_one ? 4 : 5) / 4;
    case CALLS_WAIT_PAUSE:
    case CALLS_WAIT_NOBODY:
    case CALLS_WAIT_TURN:
    case CALLS_WAIT_TURN_FIRST:
    case CALLS_WAIT_COUNT:
        break;
    }
    return BACKOFF_MAX_MS;
}

/* So long a cancelled charge is looked after is reckoned from here. */
static err
retime_cancelled(const struct retiming *retiming)
{
    struct db_statement *update =
        db_statement(retiming->db, "UPDATE $charge SET changed = CASE WHEN changed + ? > ? THEN ? ELSE changed + ? END"
                                   " WHERE status = 'cancelled' AND id IN (SELECT due_key FROM $due WHERE owner = ?)");
    db_bind_i64(update, retiming->by_ms);
    db_bind_i64(update, retiming->now_ms);
    db_bind_i64(update, retiming->now_ms);
    db_bind_i64(update, retiming->by_ms);
    db_bind_text(update, slice_of(OWNER_CHARGE));
    return db_queue(update, DB_ANY_ROWS);
}

err
payment_retime(const struct retiming *retiming, struct due_row *row)
{
    if (row == NULL) {
        return retime_cancelled(retiming);
    }
    if (slice_equal(row->owner, slice_of(OWNER_TOLD))) {
        row->due_ms = retimed(retiming, row->due_ms, retiming->settings->payment_delay_ms);
        return ERR_ok;
    }
    struct calls calls;
    bool is_simulated_one = false;
    err code = is_simulated(retiming, row, &is_simulated_one);
    calls_init(&calls, row->payload);
    row->due_ms = retimed(retiming, row->due_ms, patience_ms(retiming->settings, &calls, is_simulated_one));
    retime_calls(retiming, &calls, row);
    calls_fini(&calls);
    return code;
}
