/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE   Productions of an outside factory: it is called with the donut shop's own message, and calls back when it is done.
 *
 * STATE     The due row "call" of an open production: set before a call to a moment behind the call's time-out, so that a process
 *           that ends in the middle calls again (outcall.h).
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

#include "factory_message.h"
#include "kit/base/backoff.h"
#include "kit/telemetry/log.h"
#include "kit/telemetry/log_often.h"

#define KEPT_BACK "kept-back" /* instead of a capability */

struct retry
factory_retry(const struct settings *settings)
{
    return (struct retry){settings->retry_first_ms, BACKOFF_MAX_MS, settings->retry_attempts};
}

struct retry
factory_patience(const struct settings *settings)
{
    return (struct retry){settings->call_timeout_ms * FACTORY_PATIENCE_CALLS, FACTORY_PATIENCE_MAX_MS, settings->retry_attempts};
}

static struct outcall
call_of(const struct factory *factory, struct factory_production *production)
{
    return (struct outcall){.batch = factory->batch, .owner = OWNER_CALL, .id = production->id, .attempts = &production->attempts};
}

static char *
copy_text(struct batch *batch, const char *text)
{
    size_t size = strlen(text) + 1;
    char *copy = batch_alloc(batch, size);
    memcpy(copy, text, size);
    return copy;
}

/* --- letters --- */

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

/* The call ends here by itself; the production stays open. Its latest attempt says why. */
static err
bury(struct factory *factory, struct factory_production *production, struct outcall *call, err reason)
{
    struct wire_burial burial = {0};
    WIRE_SET(&burial, burial, key, slice_of(production->product));
    WIRE_SET(&burial, burial, type, slice_of("factory.call"));
    WIRE_SET(&burial, burial, body, message_of(factory, production));
    WIRE_SET(&burial, burial, units, production->quantity);
    outcall_bury(call, &burial, reason, slice_of(production->error.text));
    log_often(LOG_LEVEL_ERROR, "outside_call_given_up", err_symbol(reason), LOG_ID("production", &production->id),
              LOG_I64("attempts", production->attempts), LOG_TEXT("reason", err_symbol(reason)),
              LOG_TEXT("error", production->error.text), LOG_TEXT("now", "its letter can be replayed"));
    return factory_store_update(&factory->store, production);
}

/* --- calling --- */

/* Calls, or waits for its turn to; the due row says when to look again should the process end before the outcome. */
static err
call_outside(struct factory *factory, const struct item *cause, struct factory_production *production, struct outcall *call)
{
    char capability[FACTORY_CAPABILITY_SIZE];
    char callback_url[FACTORY_URL_SIZE];
    char url[FACTORY_URL_SIZE];
    if (!outcall_has_turn(call, cause, CALLS_WAIT_TURN)) {
        return ERR_ok;
    }
    err code = factory_capability(factory, &production->id, capability);
    if (code != ERR_ok) {
        return code;
    }
    production->attempts++;
    factory_callback_of(factory->settings, capability, callback_url);
    factory_address_of(factory->settings, url);
    char *json = factory_message_json(production, callback_url);
    int64_t timeout_ms = factory->settings->call_timeout_ms;
    outcall_wait(call, CALLS_WAIT_CALL, factory->batch->now_ms + 2 * timeout_ms);
    batch_call(factory->batch,
               &(struct call){.url = url, .json = slice_of(json), .timeout_ms = timeout_ms, .context_id = production->id});
    free(json);
    return factory_store_update(&factory->store, production);
}

/* A production that was meant for an outside factory, and there is none any more. */
static err
take_over(struct factory *factory, struct factory_production *production, struct outcall *call)
{
    production->due_at_ms = factory->batch->now_ms + factory->settings->lead_time_ms;
    log_warn("production_taken_over", LOG_ID("production", &production->id));
    outcall_close_letter(call);
    factory_set_due(factory->batch, OWNER_PRODUCTION, production, production->due_at_ms);
    return factory_store_update(&factory->store, production);
}

/* Accepted, and the callback did not come. */
static err
handle_silence(struct factory *factory, const struct item *item, struct factory_production *production, struct outcall *call)
{
    struct retry patience = factory_patience(factory->settings);
    struct calls *calls = &call->calls;
    calls->accepted++;
    calls_add(calls, factory->batch->now_ms, slice_of("accepted, and not called back in time"));
    if (calls_again(calls->accepted, patience.attempts, calls->has_letter)) {
        production->error.text[0] = '\0';
        err code = factory_store_update(&factory->store, production);
        return code == ERR_ok ? call_outside(factory, item, production, call) : code;
    }
    (void)err_say(&production->error, ERR_ok, "the factory accepted the production %" PRId64 " times and never called back",
                  production->accepted);
    return bury(factory, production, call, ERR_unacknowledged);
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
    struct outcall call = call_of(factory, production);
    err code = ERR_ok;
    outcall_init(&call, item->payload);
    if (!factory_is_outside(factory)) {
        code = take_over(factory, production, &call);
    } else if (call.calls.wait == CALLS_WAIT_END) {
        code = handle_silence(factory, item, production, &call);
    } else {
        code = call_outside(factory, item, production, &call);
    }
    outcall_fini(&call);
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
handle_accepted(struct factory *factory, struct factory_production *production, struct outcall *call)
{
    struct retry patience = factory_patience(factory->settings);
    production->status = FACTORY_REQUESTED;
    production->accepted++;
    production->error.text[0] = '\0';
    outcall_accepted(call);
    int64_t pause_ms = outcall_spread_ms(outcall_patience_ms(&patience, production->accepted), randombytes_random());
    outcall_wait(call, CALLS_WAIT_END, factory->batch->now_ms + pause_ms);
    return factory_store_update(&factory->store, production);
}

/* Another attempt, or none any more when they are used up or the answer is a no to this message. */
static err
handle_failed(struct factory *factory, struct factory_production *production, const struct item *item, struct outcall *call)
{
    bool is_final = item->call_blame == CALL_IN_DOUBT || (item->call_blame == CALL_ANSWERED && factory_is_refused(item->call_status));
    struct retry retry = factory_retry(factory->settings);
    int64_t pause_ms = 0;
    retry.attempts = is_final ? 0 : retry.attempts;
    if (!outcall_failed(call, &retry, slice_of(production->error.text), &pause_ms)) {
        return bury(factory, production, call, ERR_call_failed);
    }
    log_often(LOG_LEVEL_WARN, "outside_factory_failed", "", LOG_ID("production", &production->id),
              LOG_I64("attempts", production->attempts), LOG_I64("again_in_ms", pause_ms), LOG_TEXT("error", production->error.text));
    return factory_store_update(&factory->store, production);
}

static err
handle_not_accepted(struct factory *factory, struct factory_production *production, const struct item *item, struct outcall *call)
{
    char capability[FACTORY_CAPABILITY_SIZE];
    err code = factory_capability(factory, &production->id, capability);
    if (code != ERR_ok) {
        return code;
    }
    factory_call_error(item->call_status, item->text, capability, &production->error);
    if (!outcall_is_held(call, item)) {
        return handle_failed(factory, production, item, call);
    }
    log_often(LOG_LEVEL_WARN, "outside_call_waits", "", LOG_ID("production", &production->id),
              LOG_TEXT("error", production->error.text));
    return factory_store_update(&factory->store, production);
}

err
factory_handle_outcome(struct factory *factory, const struct item *item)
{
    struct factory_production production;
    bool found = false;
    err code = factory_store_find(&factory->store, &item->context_id, &production, &found);
    if (code != ERR_ok || !found || !factory_status_is_open(production.status)) {
        return code; /* the callback was faster than the answer */
    }
    struct outcall call = call_of(factory, &production);
    code = outcall_load(&call);
    if (code == ERR_ok) {
        code = factory_is_accepted(item->call_status) ? handle_accepted(factory, &production, &call)
                                                      : handle_not_accepted(factory, &production, item, &call);
    }
    outcall_fini(&call);
    return code;
}
