/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE   How a production begins and ends: its row, its shelf's row, its event and its due row, in one transaction.
 * STATE     $production, $shelf; a shelf's last_seq is the position of the last fact of its product in the factory's own stream.
 * FAILURES  What the database refuses ends the batch; nothing of it stays.
 */
#include "factory_state.h"

#include <string.h>

#include <sodium.h>

#include "kit/telemetry/log.h"

static err
load_last_n(struct factory *factory)
{
    if (factory->has_last_n) {
        return ERR_ok;
    }
    err code = factory_store_last_n(&factory->store, &factory->last_n);
    factory->has_last_n = code == ERR_ok;
    return code;
}

static void
emit(struct batch *batch, enum event_type type, const struct factory_production *production, const struct item *cause)
{
    struct wire_factory_fact fact = {0};
    WIRE_SET(&fact, factory_fact, production, production->id);
    WIRE_SET(&fact, factory_fact, product, slice_of(production->product));
    WIRE_SET(&fact, factory_fact, quantity, production->quantity);
    if (type == EVENT_factory_failed) {
        WIRE_SET(&fact, factory_fact, error, slice_of(production->error.text));
    }
    batch_emit(batch, type, fact.product, &fact, cause);
}

void
factory_set_due(struct batch *batch, const char *owner, const struct factory_production *production, int64_t due_ms)
{
    batch_due(batch, &(struct due){
                         .owner = owner,
                         .key = {production->id.bytes, sizeof production->id.bytes},
                         .due_ms = due_ms,
                         .attempts = production->attempts,
                     });
}

err
factory_stop(struct factory *factory, const struct factory_production *production)
{
    batch_due_cancel(factory->batch, OWNER_PRODUCTION, (struct slice){production->id.bytes, ID_SIZE});
    return outcall_stop(factory->batch, OWNER_CALL, &production->id);
}

static err
load_secret(struct factory *factory)
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

err
factory_capability(struct factory *factory, const struct id *production, char capability[FACTORY_CAPABILITY_SIZE])
{
    err code = load_secret(factory);
    if (code == ERR_ok) {
        factory_capability_of(factory->secret, production, capability);
    }
    return code;
}

static err
insert(struct factory *factory, const struct factory_production *production)
{
    if (!factory_is_outside(factory)) {
        return factory_store_insert(&factory->store, production, NULL);
    }
    char capability[FACTORY_CAPABILITY_SIZE];
    uint8_t hash[FACTORY_HASH_SIZE];
    err code = factory_capability(factory, &production->id, capability);
    if (code != ERR_ok) {
        return code;
    }
    factory_capability_hash(slice_of(capability), hash);
    return factory_store_insert(&factory->store, production, hash);
}

/* Opens a production, on a shelf that has none open. A wish that was granted before is found again by its id. */
err
factory_begin(struct factory *factory, const struct wish *wish, struct factory_production *production)
{
    bool found = false;
    err code = factory_store_find(&factory->store, &wish->id, production, &found);
    if (code != ERR_ok || found) {
        return code;
    }
    code = load_last_n(factory);
    if (code != ERR_ok) {
        return code;
    }
    bool outside = factory_is_outside(factory);
    *production = (struct factory_production){
        .n = factory->last_n + 1,
        .id = wish->id,
        .quantity = wish->quantity,
        .status = FACTORY_ORDERED,
        .ordered_at_ms = factory->batch->now_ms,
        .due_at_ms = outside ? 0 : factory->batch->now_ms + factory->settings->lead_time_ms,
    };
    memcpy(production->product, wish->product.data, wish->product.size);
    code = insert(factory, production);
    if (code != ERR_ok) {
        return code;
    }
    factory->last_n = production->n;
    struct factory_shelf shelf = {.open_production = production->n, .last_seq = batch_next_seq(factory->batch)};
    code = factory_store_put_shelf(&factory->store, wish->product, &shelf);
    if (code != ERR_ok) {
        return code;
    }
    emit(factory->batch, EVENT_factory_ordered, production, wish->cause);
    if (outside) {
        factory_set_due(factory->batch, OWNER_CALL, production, factory->batch->now_ms);
    } else {
        factory_set_due(factory->batch, OWNER_PRODUCTION, production, production->due_at_ms);
    }
    log_debug("production_ordered", LOG_ID("req", &wish->cause->id), LOG_ID("production", &production->id),
              LOG_SLICE("product", wish->product), LOG_I64("quantity", production->quantity));
    return ERR_ok;
}

/* Ends an open production, whose status says how: its units are to be put on the shelf, or will not come. */
err
factory_end(struct factory *factory, struct factory_production *production, const struct item *cause)
{
    struct factory_shelf shelf;
    struct slice product = slice_of(production->product);
    err code = factory_store_find_shelf(&factory->store, product, &shelf);
    if (code != ERR_ok) {
        return code;
    }
    production->done_at_ms = factory->batch->now_ms;
    code = factory_store_update(&factory->store, production);
    if (code != ERR_ok) {
        return code;
    }
    if (shelf.open_production == production->n) {
        shelf.open_production = 0;
    }
    shelf.last_seq = batch_next_seq(factory->batch);
    code = factory_store_put_shelf(&factory->store, product, &shelf);
    if (code != ERR_ok) {
        return code;
    }
    bool is_produced = production->status == FACTORY_PRODUCED;
    emit(factory->batch, is_produced ? EVENT_factory_produced : EVENT_factory_failed, production, cause);
    log_debug(is_produced ? "production_produced" : "production_failed", LOG_ID("req", &cause->id),
              LOG_ID("production", &production->id), LOG_SLICE("product", product), LOG_I64("quantity", production->quantity));
    return ERR_ok;
}

err
factory_finish(struct factory *factory, struct factory_production *production, const struct item *cause)
{
    production->status = FACTORY_PRODUCED;
    production->error.text[0] = '\0';
    return factory_end(factory, production, cause);
}

/* The shelf of a product, and its open production if it has one. */
err
factory_find_open(struct factory *factory, struct slice product, struct factory_shelf *shelf, struct factory_production *production,
                  bool *is_open)
{
    *is_open = false;
    err code = factory_store_find_shelf(&factory->store, product, shelf);
    if (code != ERR_ok || shelf->open_production == 0) {
        return code;
    }
    bool found = false;
    code = factory_store_find_n(&factory->store, shelf->open_production, production, &found);
    *is_open = code == ERR_ok && found && factory_status_is_open(production->status);
    if (code == ERR_ok && !*is_open) {
        log_error("shelf_without_its_production", LOG_SLICE("product", product), LOG_I64("n", shelf->open_production));
    }
    return code;
}
