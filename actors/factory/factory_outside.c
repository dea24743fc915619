/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE   Productions of an outside factory: it is called with the donut shop's own message, and calls back when it is done.
 *
 * STATE     The due row "call" of an open production: set before a call to a moment behind the call's time-out, so that a process
 *           that ends in the middle calls again. $secret is the key of the callbacks' addresses.
 *
 * FAILURES  Not accepted: called again with back-off, after retry_attempts each minute, for ever, said once as an error. Accepted and
 *           silent: called again after a patience that doubles. All calls of a production are the same message.
 */
#include "factory_state.h"

#include <inttypes.h>
#include <string.h>

#include <sodium.h>

#include "factory_message.h"
#include "log.h"

bool
factory_is_outside(const struct factory *factory)
{
    return factory->settings->factory_url[0] != '\0';
}

err
factory_load_secret(struct factory *factory)
{
    if (factory->has_secret) {
        return ERR_ok;
    }
    bool found = false;
    err code = factory_store_find_secret(&factory->store, factory->secret, &found);
    if (code == ERR_ok && !found) {
        randombytes_buf(factory->secret, sizeof factory->secret);
        code = factory_store_insert_secret(&factory->store, factory->secret);
    }
    factory->has_secret = code == ERR_ok;
    return code;
}

static char *
copy_text(struct batch *batch, const char *text)
{
    size_t size = strlen(text) + 1;
    char *copy = batch_alloc(batch, size);
    memcpy(copy, text, size);
    return copy;
}

/* Calls; the due row says when to look again should the process end before the outcome. */
static err
call_outside(struct factory *factory, struct batch *batch, struct factory_production *production)
{
    char capability[FACTORY_CAPABILITY_SIZE];
    char callback_url[FACTORY_URL_SIZE];
    char url[FACTORY_URL_SIZE];
    err code = factory_load_secret(factory);
    if (code != ERR_ok) {
        return code;
    }
    production->attempts++;
    code = factory_store_update(&factory->store, production);
    if (code != ERR_ok) {
        return code;
    }
    factory_capability_of(factory->secret, &production->id, capability);
    factory_callback_of(factory->settings, capability, callback_url);
    factory_address_of(factory->settings, url);
    char *json = factory_message_json(production, callback_url);
    int64_t timeout_ms = factory->settings->call_timeout_ms;
    factory_set_due(batch, OWNER_CALL, production, batch->now_ms + 2 * timeout_ms);
    batch_call(batch, &(struct call){
                          .url = copy_text(batch, url),
                          .json = slice_of(copy_text(batch, json)),
                          .timeout_ms = timeout_ms,
                          .context_id = production->id,
                      });
    free(json);
    return ERR_ok;
}

/* A production that was meant for an outside factory, and there is none any more. */
static err
take_over(struct factory *factory, struct batch *batch, struct factory_production *production)
{
    production->due_at_ms = batch->now_ms + factory->settings->lead_time_ms;
    log_warn("production_taken_over", LOG_ID("production", &production->id));
    factory_set_due(batch, OWNER_PRODUCTION, production, production->due_at_ms);
    return factory_store_update(&factory->store, production);
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

err
factory_handle_due(struct factory *factory, struct batch *batch, const struct item *item)
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
        return factory_finish(factory, batch, &production, item);
    }
    if (has_outcome(batch, &id)) {
        return ERR_ok;
    }
    return factory_is_outside(factory) ? call_outside(factory, batch, &production) : take_over(factory, batch, &production);
}

static err
handle_accepted(struct factory *factory, struct batch *batch, struct factory_production *production)
{
    production->status = FACTORY_REQUESTED;
    production->accepted++;
    production->error.text[0] = '\0';
    int64_t patience_ms = factory_patience_ms(production->accepted, factory->settings->call_timeout_ms, randombytes_random());
    factory_set_due(batch, OWNER_CALL, production, batch->now_ms + patience_ms);
    return factory_store_update(&factory->store, production);
}

static err
handle_not_accepted(struct factory *factory, struct batch *batch, struct factory_production *production, const struct item *item)
{
    char capability[FACTORY_CAPABILITY_SIZE];
    int64_t retry_attempts = factory->settings->retry_attempts;
    err code = factory_load_secret(factory);
    if (code != ERR_ok) {
        return code;
    }
    factory_capability_of(factory->secret, &production->id, capability);
    factory_call_error(item->call_status, item->text, capability, &production->error);
    int64_t backoff_ms = production->attempts < retry_attempts ? batch_backoff_ms(batch, production->attempts) : FACTORY_SLOW_PAUSE_MS;
    int64_t pause_ms = factory_retry_pause_ms(production->attempts, retry_attempts, backoff_ms, randombytes_random());
    log_at(production->attempts == retry_attempts ? LOG_LEVEL_ERROR : LOG_LEVEL_WARN, "outside_factory_failed",
           LOG_ID("production", &production->id), LOG_I64("attempts", production->attempts), LOG_I64("again_in_ms", pause_ms),
           LOG_TEXT("error", production->error.text));
    factory_set_due(batch, OWNER_CALL, production, batch->now_ms + pause_ms);
    return factory_store_update(&factory->store, production);
}

err
factory_handle_outcome(struct factory *factory, struct batch *batch, const struct item *item)
{
    struct factory_production production;
    bool found = false;
    err code = factory_store_find(&factory->store, &item->context_id, &production, &found);
    if (code != ERR_ok || !found || !factory_status_is_open(production.status)) {
        return code; /* the callback was faster than the answer */
    }
    if (factory_is_accepted(item->call_status)) {
        return handle_accepted(factory, batch, &production);
    }
    return handle_not_accepted(factory, batch, &production, item);
}
