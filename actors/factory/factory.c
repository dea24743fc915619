/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE
 *   Refills shelves: at most one open production per product, each told to the world as factory.ordered and, once, factory.produced.
 *   Built-in, a production takes lead_time_ms. With factory_url set, an outside factory is called and calls back when it is done.
 *
 * MESSAGES
 *   stock.out, stock.low  order what is missing, unless a production is open or the alarm is old news; stock.restocked is passed over
 *   factory.produce       answers the open production; otherwise orders, after asking stock.get when the level is needed or when the
 *                         product is one that the factory never met
 *   factory.get, factory.list, factory.callback; factory.cancel gives an open production up, which is factory.failed
 *   due "production"      the built-in factory is done; key: the production's id
 *   due "call"            call the outside factory (again); key: the production's id
 *
 * STATE
 *   $production, $shelf and $secret (factory_schema.def); each change of a production's openness, its shelf's row and its event are
 *   one transaction. An open production of the built-in factory always has its due row "production", one of an outside factory its
 *   due row "call": set before the call to a moment behind the call's time-out, so that a process that ends in the middle calls again.
 *   In memory: the last n and the secret, read again after a rollback.
 *
 * FAILURES
 *   An outside factory that does not accept is called again with back-off; an accepted call without a callback is repeated after a
 *   patience that doubles. After retry_attempts of either in a row the call is a letter, the production stays open, and it is called
 *   again when somebody asks for it. All calls of a production carry the same message, the same callback address and the same
 *   Idempotency-Key. The first callback finishes the production, later ones change nothing.
 *
 * LIMITS
 *   Without the level at hand (a produce that names a quantity, of a product met before) the quantity is ordered as it is asked for. A
 *   level that is asked for may lack the factory's latest facts while stock catches up.
 */
#include "factory.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <sodium.h>

#include "shared/demo.h"
#include "factory_message.h"
#include "factory_rules.h"
#include "factory_state.h"
#include "factory_store.h"
#include "kit/base/memory.h"
#include "kit/dispatch.h"
#include "kit/telemetry/log.h"
#include "kit/settings/topology.h"

#define PAGE_DEFAULT 100

/* --- what is kept in memory --- */

static void
forget_memory(struct factory *factory)
{
    factory->has_last_n = false;
    factory->has_secret = false;
    sodium_memzero(factory->secret, sizeof factory->secret);
}

/* --- words --- */

static struct wire_production
production_body_of(const struct factory_production *from)
{
    struct wire_production body = {0};
    WIRE_SET(&body, production, id, from->id);
    WIRE_SET(&body, production, product, slice_of(from->product));
    WIRE_SET(&body, production, quantity, from->quantity);
    WIRE_SET(&body, production, status, slice_of(factory_status_name(from->status)));
    WIRE_SET(&body, production, ordered_at, from->ordered_at_ms);
    if (from->due_at_ms > 0) {
        WIRE_SET(&body, production, due_at, from->due_at_ms);
    }
    if (from->done_at_ms > 0) {
        WIRE_SET(&body, production, done_at, from->done_at_ms);
    }
    if (from->attempts > 0) {
        WIRE_SET(&body, production, attempts, from->attempts);
    }
    if (from->error.text[0] != '\0') {
        WIRE_SET(&body, production, error, slice_of(from->error.text));
    }
    return body;
}

static void
answer(struct batch *batch, struct item *item, const struct factory_production *production)
{
    struct wire_production body = production_body_of(production);
    item_answer(batch, item, &body);
}

/* --- alarms --- */

static err
handle_alarm(struct factory *factory, const struct item *item)
{
    const struct wire_stock_alarm *alarm = item->body;
    struct factory_shelf shelf;
    struct factory_production production;
    bool is_open = false;
    struct factory_level level = factory_level_of_alarm(alarm);
    int64_t amount = factory_amount(&level);
    err code = factory_find_open(factory, alarm->product, &shelf, &production, &is_open);
    if (code != ERR_ok || is_open || amount == 0) {
        return code;
    }
    if (factory_alarm_is_stale(shelf.last_seq, alarm)) {
        log_debug("alarm_is_old_news", LOG_ID("req", &item->id), LOG_SLICE("product", alarm->product),
                  LOG_I64("factory_seq", alarm->factory_seq), LOG_I64("last_seq", shelf.last_seq));
        return ERR_ok;
    }
    struct wish wish = {alarm->product, amount, id_derive(&item->id, "production"), item};
    return factory_begin(factory, &wish, &production);
}

static err
handle_event(struct factory *factory, struct item *item)
{
    if (item->event == EVENT_stock_out || item->event == EVENT_stock_low) {
        return handle_alarm(factory, item);
    }
    return ERR_ok;
}

/* --- requests --- */

static void
ask_for_level(struct factory *factory, struct item *item, struct slice product, int64_t quantity)
{
    struct waiter *waiter = item_defer(factory->batch, item);
    *(int64_t *)waiter_keep(waiter, sizeof quantity) = quantity;
    struct wire_stock_get get = {0};
    WIRE_SET(&get, stock_get, product, product);
    batch_ask(factory->batch, &(struct ask){
                                  .actor = "stock",
                                  .shard = wire_shard_of(product, topology_shards(factory->settings, "stock")),
                                  .op = OP_stock_get,
                                  .id = item->id,
                                  .again = item->again,
                                  .deadline_ms = item->deadline_ms,
                                  .traceparent = item->traceparent,
                                  .body = &get,
                                  .context = waiter,
                              });
}

static err
handle_produce(void *state, struct item *item)
{
    struct factory *factory = state;
    const struct wire_factory_produce *produce = item->body;
    struct slice product = demo_sku_of(WIRE_HAS(produce, factory_produce, product) ? produce->product : (struct slice){0});
    int64_t quantity = WIRE_HAS(produce, factory_produce, quantity) ? produce->quantity : 0;
    struct factory_shelf shelf;
    struct factory_production production;
    bool is_open = false;
    err code = factory_find_open(factory, product, &shelf, &production, &is_open);
    if (code != ERR_ok) {
        return code;
    }
    if (!is_open && (quantity == 0 || !shelf.is_known)) {
        ask_for_level(factory, item, product, quantity);
        return ERR_ok;
    }
    if (!is_open) {
        struct wish wish = {product, quantity, id_derive(&item->id, "production"), item};
        code = factory_begin(factory, &wish, &production);
        if (code != ERR_ok) {
            return code;
        }
    }
    answer(factory->batch, item, &production);
    return ERR_ok;
}

static err
handle_get(void *state, struct item *item)
{
    struct factory *factory = state;
    const struct wire_factory_get *get = item->body;
    struct factory_production production;
    bool found = false;
    err code = factory_store_find(&factory->store, &get->id, &production, &found);
    if (code != ERR_ok) {
        return code;
    }
    if (found) {
        answer(factory->batch, item, &production);
    } else {
        char text[ID_TEXT_SIZE];
        id_format(&get->id, text);
        item_refuse(factory->batch, item, ERR_unknown_production, "there is no production %s", text);
    }
    return ERR_ok;
}

static err
answer_page(struct factory *factory, struct item *item, int64_t before)
{
    const struct wire_factory_list *list = item->body;
    struct slice product = WIRE_HAS(list, factory_list, product) ? demo_sku_of(list->product) : (struct slice){0};
    int64_t limit = WIRE_HAS(list, factory_list, limit) ? list->limit : PAGE_DEFAULT;
    struct db_statement *rows = NULL;
    struct factory_production production;
    struct wire_list page = {0};
    int64_t count = 0;
    err code = factory_store_page(&factory->store, product, before, limit + 1, &rows);
    if (code != ERR_ok) {
        return code;
    }
    factory->page.size = 0;
    while (factory_store_next(rows, &production)) {
        if (count++ < limit) {
            struct wire_production body = production_body_of(&production);
            wire_list_add(&page, &production_body, &body, &factory->page);
        }
    }
    wire_list_end(&page, &factory->page);
    struct wire_productions reply = {0};
    WIRE_SET(&reply, productions, productions, page);
    WIRE_SET(&reply, productions, has_more, count > limit);
    item_answer(factory->batch, item, &reply);
    return ERR_ok;
}

static err
handle_list(void *state, struct item *item)
{
    struct factory *factory = state;
    const struct wire_factory_list *list = item->body;
    if (!WIRE_HAS(list, factory_list, before)) {
        return answer_page(factory, item, INT64_MAX);
    }
    struct factory_production last;
    bool found = false;
    err code = factory_store_find(&factory->store, &list->before, &last, &found);
    if (code != ERR_ok) {
        return code;
    }
    if (!found) {
        item_refuse(factory->batch, item, ERR_unknown_production, "factory_list.before: there is no such production");
        return ERR_ok;
    }
    return answer_page(factory, item, last.n);
}

static err
handle_callback(void *state, struct item *item)
{
    struct factory *factory = state;
    const struct wire_factory_callback *callback = item->body;
    struct factory_production production;
    uint8_t hash[FACTORY_HASH_SIZE];
    bool found = false;
    factory_capability_hash(callback->capability, hash);
    err code = factory_store_find_capability(&factory->store, hash, &production, &found);
    if (code != ERR_ok) {
        return code;
    }
    if (!found) {
        item_refuse(factory->batch, item, ERR_unknown_capability, "no production was given this callback");
        return ERR_ok;
    }
    if (factory_status_is_open(production.status)) {
        code = factory_finish(factory, &production, item);
        if (code == ERR_ok) {
            code = factory_stop(factory, &production);
        }
        if (code != ERR_ok) {
            return code;
        }
    }
    answer(factory->batch, item, &production);
    return ERR_ok;
}

static err
handle_cancel(void *state, struct item *item)
{
    struct factory *factory = state;
    const struct wire_factory_cancel *cancel = item->body;
    struct factory_production production;
    bool found = false;
    err code = factory_store_find(&factory->store, &cancel->id, &production, &found);
    if (code != ERR_ok) {
        return code;
    }
    if (!found || !factory_status_is_open(production.status)) {
        item_refuse(factory->batch, item, found ? ERR_production_closed : ERR_unknown_production, "%s",
                    found ? "it was produced or given up before" : "there is no such production");
        return ERR_ok;
    }
    bool has_reason = WIRE_HAS(cancel, factory_cancel, reason);
    production.status = FACTORY_FAILED;
    (void)err_say(&production.error, ERR_ok, "%.*s", has_reason ? (int)cancel->reason.size : 9,
                  has_reason ? (const char *)cancel->reason.data : "cancelled");
    code = factory_end(factory, &production, item);
    if (code == ERR_ok) {
        code = factory_stop(factory, &production);
    }
    if (code != ERR_ok) {
        return code;
    }
    answer(factory->batch, item, &production);
    return ERR_ok;
}

/* --- the level that was asked for --- */

static void
refuse_asked(struct batch *batch, const struct item *reply, struct waiter *waiter)
{
    struct wire_problem problem = {0};
    if (reply->body != NULL) {
        problem = *(const struct wire_problem *)reply->body;
    } else {
        WIRE_SET(&problem, problem, detail, slice_of("stock did not say how full the shelf is"));
    }
    waiter_refuse(batch, &waiter, reply->status, &problem);
}

static void
refuse_full(struct batch *batch, const struct wire_stock_level *level, struct waiter *waiter)
{
    struct wire_problem problem = {0};
    WIRE_SET(&problem, problem, detail, slice_of("the shelf cannot count that many"));
    WIRE_SET(&problem, problem, product, level->product);
    WIRE_SET(&problem, problem, available, level->available);
    waiter_refuse(batch, &waiter, ERR_would_overflow, &problem);
}

static err
handle_level(struct factory *factory, const struct item *reply)
{
    const struct wire_stock_level *level = reply->body;
    struct waiter *waiter = reply->context;
    int64_t quantity = *(const int64_t *)waiter_kept(waiter); /* 0: as much as is missing */
    struct factory_level known = factory_level_of_stock(level);
    known.refused = 1; /* who orders by hand gets a lot, also for a full shelf */
    int64_t amount = quantity > 0 ? quantity : factory_amount(&known);
    struct factory_shelf shelf;
    struct factory_production production;
    bool is_open = false;
    err code = factory_find_open(factory, level->product, &shelf, &production, &is_open);
    if (code != ERR_ok) {
        return code;
    }
    if (!is_open && amount == 0) {
        refuse_full(factory->batch, level, waiter);
        return ERR_ok;
    }
    if (!is_open) {
        struct wish wish = {level->product, amount, id_derive(waiter_id(waiter), "production"), reply};
        code = factory_begin(factory, &wish, &production);
        if (code != ERR_ok) {
            return code;
        }
    }
    struct wire_production body = production_body_of(&production);
    waiter_answer(factory->batch, &waiter, &body);
    return ERR_ok;
}

static err
handle_reply(struct factory *factory, const struct item *reply)
{
    if (reply->status != ERR_ok) {
        refuse_asked(factory->batch, reply, reply->context);
        return ERR_ok;
    }
    return handle_level(factory, reply);
}

/* --- the class --- */

static const struct dispatch requests[OP_COUNT] = {
    [OP_factory_produce] = {.handle = handle_produce}, [OP_factory_get] = {.handle = handle_get},
    [OP_factory_list] = {.handle = handle_list},       [OP_factory_callback] = {.handle = handle_callback},
    [OP_factory_cancel] = {.handle = handle_cancel},
};

static err
handle_item(struct factory *factory, struct item *item)
{
    switch (item->kind) {
    case ITEM_REQUEST:
        return dispatch_handle(requests, factory, item);
    case ITEM_EVENT:
        return handle_event(factory, item);
    case ITEM_DUE:
        return factory_handle_due(factory, item);
    case ITEM_REPLY:
        return handle_reply(factory, item);
    case ITEM_CALL:
        return factory_handle_outcome(factory, item);
    case ITEM_WORK:
    case ITEM_HEAD:
        return ERR_ok;
    }
    return ERR_internal;
}

static err
factory_handle(void *state, struct batch *batch)
{
    struct factory *factory = state;
    factory->batch = batch;
    for (size_t i = 0; i < batch->count; i++) {
        err code = handle_item(factory, &batch->items[i]);
        if (code != ERR_ok) {
            return code;
        }
    }
    return ERR_ok;
}

static void
factory_dropped(void *state)
{
    forget_memory(state);
}

static err
factory_open(struct actor *actor, void **state, struct err_text *why)
{
    const struct settings *settings = actor_settings(actor);
    if (!wire_is_utf8(slice_of(settings->public_url)) || !wire_is_utf8(slice_of(settings->http))) {
        return err_say(why, ERR_wrong_setting,
                       "LARDER_PUBLIC_URL, LARDER_HTTP: must be UTF-8, they go into the outside factory's message");
    }
    struct factory *factory = memory_new(1, sizeof *factory);
    if (sodium_init() < 0) {
        abort();
    }
    factory->actor = actor;
    factory->settings = settings;
    factory_store_init(&factory->store, actor_db(actor));
    *state = factory;
    return ERR_ok;
}

static void
factory_close(void **state)
{
    struct factory *factory = *state;
    *state = NULL;
    if (factory == NULL) {
        return;
    }
    forget_memory(factory);
    wire_buffer_fini(&factory->page);
    free(factory);
}

static const char *const peers[] = {"stock", NULL};

static const struct db_step steps[] = {
#include "factory_schema.def"
};

const struct actor_class factory_class = {
    .name = "factory",
    .peers = peers,
    .steps = steps,
    .step_count = sizeof steps / sizeof steps[0],
    .makes_calls = true,
    .retime = factory_retime,
    .open = factory_open,
    .close = factory_close,
    .handle = factory_handle,
    .dropped = factory_dropped,
};
