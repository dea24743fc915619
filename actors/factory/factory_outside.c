/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE   Productions of an outside factory: it is called with the donut shop's own message, and calls back when it is done.
 *
 * STATE     The due row "call" of an open production: set before a call to a moment behind the call's time-out, so that a process
 *           that ends in the middle calls again. Its payload is what is remembered of the calls (calls.h). $secret is the key
 *           of the callbacks' addresses.
 *
 * FAILURES  Not accepted: called again with back-off; at once a letter when the answer is a no to this message (4xx). While the
 *           factory is down, or refuses our address or certificate (party.h), calls wait for their turn and nothing is counted.
 *           Accepted and silent: called again after a patience that doubles. After retry_attempts of either in a row the call is
 *           buried: a letter with the answers, the row that fires only when somebody asks for it, and the production that stays
 *           open. One that is asked for is one call: accepted, its letter is closed and the production goes on by its patience; not
 *           accepted, it is buried again. All calls of a production are the same message.
 *
 * LIMITS    A letter holds the message without the callback's capability.
 */
#include "factory_state.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <sodium.h>

#include "kit/peers/calls.h"
#include "factory_message.h"
#include "kit/telemetry/log.h"
#include "kit/telemetry/log_often.h"

#define KEPT_BACK "kept-back" /* instead of a capability */

static char *
copy_text(struct batch *batch, const char *text)
{
    size_t size = strlen(text) + 1;
    char *copy = batch_alloc(batch, size);
    memcpy(copy, text, size);
    return copy;
}

/* Sets the row that leads on from here. */
static void
wait_for(struct batch *batch, const struct factory_production *production, struct calls *calls, enum calls_wait wait, int64_t due_ms)
{
    struct wire_buffer payload = {0};
    calls->wait = wait;
    calls_encode(calls, &payload);
    batch_due(batch, &(struct due){
                         .owner = OWNER_CALL,
                         .key = {production->id.bytes, sizeof production->id.bytes},
                         .due_ms = due_ms,
                         .attempts = production->attempts,
                         .payload = wire_buffer_slice(&payload),
                     });
    wire_buffer_fini(&payload);
}

/* --- letters --- */

static void
settle_letter(struct batch *batch, const struct id *production, struct calls *calls)
{
    if (calls->has_letter) {
        struct id letter = batch_letter_id(batch, production);
        batch_settle(batch, &letter);
        calls->has_letter = false;
    }
}

err
factory_close_letter(struct factory *factory, const struct id *production)
{
    struct wire_buffer payload = {0};
    struct calls calls;
    err code = factory_store_find_calls(&factory->store, production, &payload);
    if (code == ERR_ok) {
        calls_init(&calls, wire_buffer_slice(&payload));
        settle_letter(factory->batch, production, &calls);
        calls_fini(&calls);
    }
    wire_buffer_fini(&payload);
    return code;
}

/* What is posted, but for the secret in it. */
static struct slice
message_of(struct factory *factory, const struct factory_production *production)
{
    char callback_url[FACTORY_URL_SIZE];
    factory_callback_of(factory->settings, KEPT_BACK, callback_url);
    char *json = factory_message_json(production, callback_url);
    struct slice kept = slice_of(copy_text(factory->batch, json));
    free(json);
    return kept;
}

/* The call ends here by itself; the production stays open. `calls` holds the reason as its latest attempt. */
static err
bury(struct factory *factory, struct factory_production *production, struct calls *calls, err reason)
{
    struct wire_burial burial = {0};
    calls->told = production->attempts > calls->told ? production->attempts : calls->told + 1;
    WIRE_SET(&burial, burial, letter, batch_letter_id(factory->batch, &production->id));
    WIRE_SET(&burial, burial, kind, slice_of("call"));
    WIRE_SET(&burial, burial, reason, slice_of(err_symbol(reason)));
    WIRE_SET(&burial, burial, error, slice_of(production->error.text));
    WIRE_SET(&burial, burial, attempts, calls->told);
    WIRE_SET(&burial, burial, first, calls_first_ms(calls, factory->batch->now_ms));
    WIRE_SET(&burial, burial, last, factory->batch->now_ms);
    WIRE_SET(&burial, burial, history, calls->past);
    WIRE_SET(&burial, burial, key, slice_of(production->product));
    WIRE_SET(&burial, burial, type, slice_of("factory.call"));
    WIRE_SET(&burial, burial, owner, slice_of(OWNER_CALL));
    WIRE_SET(&burial, burial, due_key, ((struct slice){production->id.bytes, sizeof production->id.bytes}));
    WIRE_SET(&burial, burial, body, message_of(factory, production));
    WIRE_SET(&burial, burial, units, production->quantity);
    batch_bury(factory->batch, &burial);
    calls->has_letter = true;
    log_often(LOG_LEVEL_ERROR, "outside_call_given_up", err_symbol(reason), LOG_ID("production", &production->id),
              LOG_I64("attempts", production->attempts), LOG_TEXT("reason", err_symbol(reason)),
              LOG_TEXT("error", production->error.text), LOG_TEXT("now", "its letter can be replayed"));
    wait_for(factory->batch, production, calls, CALLS_WAIT_NOBODY, DUE_NEVER);
    return factory_store_update(&factory->store, production);
}

/* --- calling --- */

/* Calls, or waits for its turn to; the due row says when to look again should the process end before the outcome. */
static err
call_outside(struct factory *factory, const struct item *cause, struct factory_production *production, struct calls *calls)
{
    if (!batch_may_call(factory->batch, cause)) {
        wait_for(factory->batch, production, calls, CALLS_WAIT_TURN, batch_turn_ms(factory->batch));
        return ERR_ok;
    }
    char capability[FACTORY_CAPABILITY_SIZE];
    char callback_url[FACTORY_URL_SIZE];
    char url[FACTORY_URL_SIZE];
    err code = factory_capability(factory, &production->id, capability);
    if (code != ERR_ok) {
        return code;
    }
    production->attempts++;
    code = factory_store_update(&factory->store, production);
    if (code != ERR_ok) {
        return code;
    }
    factory_callback_of(factory->settings, capability, callback_url);
    factory_address_of(factory->settings, url);
    char *json = factory_message_json(production, callback_url);
    int64_t timeout_ms = factory->settings->call_timeout_ms;
    wait_for(factory->batch, production, calls, CALLS_WAIT_CALL, factory->batch->now_ms + 2 * timeout_ms);
    batch_call(factory->batch, &(struct call){
                                   .url = copy_text(factory->batch, url),
                                   .json = slice_of(copy_text(factory->batch, json)),
                                   .timeout_ms = timeout_ms,
                                   .context_id = production->id,
                               });
    free(json);
    return ERR_ok;
}

/* A production that was meant for an outside factory, and there is none any more. */
static err
take_over(struct factory *factory, struct factory_production *production, struct calls *calls)
{
    production->due_at_ms = factory->batch->now_ms + factory->settings->lead_time_ms;
    log_warn("production_taken_over", LOG_ID("production", &production->id));
    settle_letter(factory->batch, &production->id, calls);
    factory_set_due(factory->batch, OWNER_PRODUCTION, production, production->due_at_ms);
    return factory_store_update(&factory->store, production);
}

/* Accepted, and the callback did not come. */
static err
handle_silence(struct factory *factory, const struct item *item, struct factory_production *production, struct calls *calls)
{
    err code = ERR_ok;
    calls->accepted++;
    (void)err_say(&production->error, ERR_ok, "the factory accepted the production %" PRId64 " times and never called back",
                  production->accepted);
    calls_add(calls, factory->batch->now_ms, slice_of("accepted, and not called back in time"));
    if (calls_again(calls->accepted, factory->settings->retry_attempts, calls->has_letter)) {
        production->error.text[0] = '\0';
        code = factory_store_update(&factory->store, production);
        return code == ERR_ok ? call_outside(factory, item, production, calls) : code;
    }
    return bury(factory, production, calls, ERR_unacknowledged);
}

/* A batch that comes late may hold the outcome of a call and, behind it, the due row that stood in for that outcome. */
static bool
has_outcome(const struct batch *batch, const struct id *production)
{
    for (size_t i = 0; i < batch->count; i++) {
        if (batch->items[i].kind == ITEM_CALL && id_equal(&batch->items[i].context_id, production)) {
            return true;
        }
    }
    return false;
}

static err
handle_call_due(struct factory *factory, const struct item *item, struct factory_production *production)
{
    struct calls calls;
    err code = ERR_ok;
    calls_init(&calls, item->payload);
    if (!factory_is_outside(factory)) {
        code = take_over(factory, production, &calls);
    } else if (calls.wait == CALLS_WAIT_END) {
        code = handle_silence(factory, item, production, &calls);
    } else {
        code = call_outside(factory, item, production, &calls);
    }
    calls_fini(&calls);
    return code;
}

err
factory_handle_due(struct factory *factory, const struct item *item)
{
    struct id id;
    struct factory_production production;
    bool found = false;
    if (item->key.size != sizeof id.bytes) {
        log_error("due_row_is_nonsense", LOG_SLICE("owner", item->owner));
        return ERR_ok;
    }
    memcpy(id.bytes, item->key.data, sizeof id.bytes);
    err code = factory_store_find(&factory->store, &id, &production, &found);
    if (code != ERR_ok || !found || !factory_status_is_open(production.status)) {
        return code;
    }
    if (slice_equal(item->owner, slice_of(OWNER_PRODUCTION))) {
        return factory_finish(factory, &production, item);
    }
    return has_outcome(factory->batch, &id) ? ERR_ok : handle_call_due(factory, item, &production);
}

/* --- outcomes --- */

static err
handle_accepted(struct factory *factory, struct factory_production *production, struct calls *calls)
{
    production->status = FACTORY_REQUESTED;
    production->accepted++;
    production->error.text[0] = '\0';
    calls->failures = 0;
    calls->doubted_ms = 0;
    settle_letter(factory->batch, &production->id, calls);
    int64_t patience_ms = factory_patience_ms(production->accepted, factory->settings->call_timeout_ms, randombytes_random());
    wait_for(factory->batch, production, calls, CALLS_WAIT_END, factory->batch->now_ms + patience_ms);
    return factory_store_update(&factory->store, production);
}

/* It is not this call's fault: it waits for its turn, as if it had not been made. */
static err
handle_held(struct factory *factory, struct factory_production *production, struct calls *calls)
{
    log_often(LOG_LEVEL_WARN, "outside_call_waits", "", LOG_ID("production", &production->id),
              LOG_TEXT("error", production->error.text));
    wait_for(factory->batch, production, calls, CALLS_WAIT_TURN, batch_turn_ms(factory->batch));
    return factory_store_update(&factory->store, production);
}

/* Another attempt, or none any more when they are used up or it `is_final`. */
static err
handle_failed(struct factory *factory, struct factory_production *production, struct calls *calls, bool is_final)
{
    calls_add(calls, factory->batch->now_ms, slice_of(production->error.text));
    calls->failures++;
    if (is_final || !calls_again(calls->failures, factory->settings->retry_attempts, calls->has_letter)) {
        return bury(factory, production, calls, ERR_call_failed);
    }
    int64_t pause_ms = batch_backoff_ms(factory->batch, calls->failures);
    log_often(LOG_LEVEL_WARN, "outside_factory_failed", "", LOG_ID("production", &production->id),
              LOG_I64("attempts", production->attempts), LOG_I64("again_in_ms", pause_ms), LOG_TEXT("error", production->error.text));
    wait_for(factory->batch, production, calls, CALLS_WAIT_CALL, factory->batch->now_ms + pause_ms);
    return factory_store_update(&factory->store, production);
}

static err
handle_not_accepted(struct factory *factory, struct factory_production *production, const struct item *item, struct calls *calls)
{
    char capability[FACTORY_CAPABILITY_SIZE];
    err code = factory_capability(factory, &production->id, capability);
    if (code != ERR_ok) {
        return code;
    }
    factory_call_error(item->call_status, item->text, capability, &production->error);
    switch (item->call_blame) {
    case CALL_ANSWERED:
        return handle_failed(factory, production, calls, factory_is_refused(item->call_status));
    case CALL_AT_FAULT:
        return handle_failed(factory, production, calls, false);
    case CALL_IN_DOUBT:
        return calls_doubt(calls, factory->batch->now_ms, batch_others_are_answered(factory->batch, calls->doubted_ms))
                   ? handle_failed(factory, production, calls, true)
                   : handle_held(factory, production, calls);
    case CALL_NOT_CHARGED:
        return handle_held(factory, production, calls);
    }
    return ERR_internal;
}

err
factory_handle_outcome(struct factory *factory, const struct item *item)
{
    struct factory_production production;
    struct wire_buffer payload = {0};
    struct calls calls;
    bool found = false;
    err code = factory_store_find(&factory->store, &item->context_id, &production, &found);
    if (code != ERR_ok || !found || !factory_status_is_open(production.status)) {
        return code; /* the callback was faster than the answer */
    }
    code = factory_store_find_calls(&factory->store, &item->context_id, &payload);
    if (code != ERR_ok) {
        wire_buffer_fini(&payload);
        return code;
    }
    calls_init(&calls, wire_buffer_slice(&payload));
    code = factory_is_accepted(item->call_status) ? handle_accepted(factory, &production, &calls)
                                                  : handle_not_accepted(factory, &production, item, &calls);
    calls_fini(&calls);
    wire_buffer_fini(&payload);
    return code;
}
