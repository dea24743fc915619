/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE   The life of outside calls about one thing, but for what is sent and what an answer means, which are the actor's.
 *
 * STATE     The due row of (owner, id): its payload (calls.h). `attempts` counts calls and stands in the actor's row.
 *
 * FAILURES  A call in vain is followed by another after a pause that doubles, until there were too many in a row: it is a letter then,
 *           and each call that somebody asks for is one call. Answers that may be about all calls, and not about this one, count as
 *           none until another call was answered well.
 *
 * LIMITS    outcall_load() sees what was committed, and not what this batch has set.
 */
#include "outcall.h"

#include "kit/base/backoff.h"

int64_t
outcall_patience_ms(const struct retry *patience, int64_t times)
{
    return backoff_doubled_ms(patience->first_ms > 0 ? patience->first_ms : 1, patience->most_ms, times);
}

int64_t
outcall_spread_ms(int64_t patience_ms, uint32_t random)
{
    return patience_ms + (int64_t)(random % (uint32_t)(patience_ms / 4 + 1));
}

/* --- the due row --- */

void
outcall_init(struct outcall *call, struct slice payload)
{
    calls_init(&call->calls, payload);
}

err
outcall_load(struct outcall *call)
{
    struct db_statement *read = db_statement(actor_db(call->batch->actor), "SELECT payload FROM $due WHERE owner = ? AND due_key = ?");
    db_bind_text(read, slice_of(call->owner));
    db_bind_bytes(read, (struct slice){call->id.bytes, ID_SIZE});
    err code = db_query(read);
    call->has_row = code == ERR_ok && db_next(read);
    outcall_init(call, call->has_row ? db_bytes(read, 0) : (struct slice){0});
    if (call->has_row) {
        db_done(read);
    }
    return code;
}

void
outcall_fini(struct outcall *call)
{
    calls_fini(&call->calls);
}

void
outcall_wait(struct outcall *call, enum calls_wait wait, int64_t due_ms)
{
    struct wire_buffer payload = {0};
    call->calls.wait = wait;
    calls_encode(&call->calls, &payload);
    batch_due(call->batch, &(struct due){
                               .owner = call->owner,
                               .key = {call->id.bytes, ID_SIZE},
                               .due_ms = due_ms,
                               .attempts = *call->attempts,
                               .payload = wire_buffer_slice(&payload),
                           });
    wire_buffer_fini(&payload);
    call->has_row = true;
}

/* --- calls --- */

bool
outcall_has_turn(struct outcall *call, const struct item *cause, enum calls_wait wait)
{
    bool may_call = batch_may_call(call->batch, cause);
    if (!may_call) {
        outcall_wait(call, wait, batch_turn_ms(call->batch));
    }
    return may_call;
}

bool
outcall_is_held(struct outcall *call, const struct item *item)
{
    bool is_held = item->call_blame == CALL_NOT_CHARGED;
    if (item->call_blame == CALL_IN_DOUBT) {
        bool others_are_answered = batch_others_are_answered(call->batch, call->calls.doubted_ms);
        is_held = !calls_doubt(&call->calls, call->batch->now_ms, others_are_answered);
    }
    if (is_held) {
        outcall_wait(call, CALLS_WAIT_TURN, batch_turn_ms(call->batch));
    }
    return is_held;
}

void
outcall_accepted(struct outcall *call)
{
    call->calls.failures = 0;
    call->calls.doubted_ms = 0;
    outcall_close_letter(call);
}

bool
outcall_failed(struct outcall *call, const struct retry *retry, struct slice error, int64_t *pause_ms)
{
    struct calls *calls = &call->calls;
    calls_add(calls, call->batch->now_ms, error);
    calls->failures++;
    if (!calls_again(calls->failures, retry->attempts, calls->has_letter)) {
        return false;
    }
    *pause_ms = backoff_spread_ms(backoff_doubled_ms(retry->first_ms, retry->most_ms, calls->failures));
    outcall_wait(call, CALLS_WAIT_PAUSE, call->batch->now_ms + *pause_ms);
    return true;
}

/* --- letters --- */

void
outcall_close_letter(struct outcall *call)
{
    if (call->calls.has_letter) {
        struct id letter = batch_letter_id(call->batch, &call->id);
        batch_settle(call->batch, &letter);
        call->calls.has_letter = false;
    }
}

void
outcall_bury(struct outcall *call, struct wire_burial *burial, err reason, struct slice error)
{
    struct calls *calls = &call->calls;
    calls->told = *call->attempts > calls->told ? *call->attempts : calls->told + 1;
    WIRE_SET(burial, burial, letter, batch_letter_id(call->batch, &call->id));
    WIRE_SET(burial, burial, kind, slice_of("call"));
    WIRE_SET(burial, burial, reason, slice_of(err_symbol(reason)));
    WIRE_SET(burial, burial, error, error);
    WIRE_SET(burial, burial, attempts, calls->told);
    WIRE_SET(burial, burial, first, calls_first_ms(calls, call->batch->now_ms));
    WIRE_SET(burial, burial, last, call->batch->now_ms);
    WIRE_SET(burial, burial, history, calls->past);
    WIRE_SET(burial, burial, owner, slice_of(call->owner));
    WIRE_SET(burial, burial, due_key, ((struct slice){call->id.bytes, ID_SIZE}));
    batch_bury(call->batch, burial);
    calls->has_letter = true;
    outcall_wait(call, CALLS_WAIT_NOBODY, DUE_NEVER);
}

void
outcall_end(struct outcall *call)
{
    outcall_close_letter(call);
    if (call->has_row) {
        batch_due_cancel(call->batch, call->owner, (struct slice){call->id.bytes, ID_SIZE});
    }
}

err
outcall_stop(struct batch *batch, const char *owner, const struct id *id)
{
    struct outcall call = {.batch = batch, .owner = owner, .id = *id};
    err code = outcall_load(&call);
    if (code == ERR_ok) {
        call.has_row = true; /* this batch may have set it */
        outcall_end(&call);
    }
    outcall_fini(&call);
    return code;
}
