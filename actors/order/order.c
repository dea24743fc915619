/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE
 *   The order actor: owns orders and their saga. An order is a durable coordinator between stock, payment and the kitchen: what it
 *   does next stands in order_saga.def, and order_move.c is the small loop over it. This file is its life, and the table of what
 *   comes and which part handles it.
 *
 * MESSAGES
 *   order.place (order_place.c), order.advance, cancel, pay (order_change.c), order.get, list, kitchen, timeline (order_pages.c);
 *   follows product (the copy of the menu), payment (order_steps.c, order_stray.c) and user (order_change.c)
 *
 * STATE
 *   The tables of order_schema.c. Orders under way lie in memory as well: a batch first reads those that it will need and that are not
 *   there, in one statement, changes them in memory, and writes each changed row once at its end. A batch that is rolled back drops
 *   all of them. Requests that wait for an order's reservation do so under its number.
 *
 * FAILURES
 *   An error of the database ends the batch; the kit comes again with each item alone.
 *
 * LIMITS
 *   ORDER_CACHED_MAX orders in memory, ORDER_SHARDS_MAX shards of stock.
 */
#include "order.h"

#include <stdlib.h>
#include <string.h>

#include "kit/base/memory.h"
#include "kit/telemetry/log.h"
#include "order_schema.h"
#include "order_state.h"
#include "kit/settings/topology.h"

/* --- what comes, and who handles it --- */

static void
want_card(struct order_actor *order, const struct item *item)
{
    menu_want(order->menu, ((const struct wire_product_card *)item->body)->product);
}

static err
take_card(struct order_actor *order, struct item *item)
{
    (void)menu_apply(order->menu, item->body);
    return ERR_ok;
}

static void
want_key(struct order_actor *order, const struct item *item)
{
    struct id id = order_key_of(item);
    order_want(order, &id);
}

/* What one kind of item needs of the database, before the batch is handled, and who handles it. */
static const struct handler {
    enum item_kind kind;
    unsigned which;    /* its operation, its event, or why it was asked (enum order_ask_kind) */
    const char *owner; /* ITEM_DUE: of the row, whose key is an id */
    size_t about;      /* where its body has the id of the order that it is about; 0: there is none */
    void (*want)(struct order_actor *order, const struct item *item); /* what else it needs; NULL: nothing */
    err (*handle)(struct order_actor *order, struct item *item);
} handlers[] = {
    {ITEM_REQUEST, OP_order_place, NULL, 0, order_place_want, order_place},
    {ITEM_REQUEST, OP_order_get, NULL, offsetof(struct wire_order_get, order), NULL, order_get},
    {ITEM_REQUEST, OP_order_list, NULL, 0, NULL, order_list},
    {ITEM_REQUEST, OP_order_kitchen, NULL, 0, NULL, order_kitchen},
    {ITEM_REQUEST, OP_order_timeline, NULL, offsetof(struct wire_order_timeline, order), NULL, order_timeline},
    {ITEM_REQUEST, OP_order_advance, NULL, offsetof(struct wire_order_advance, order), NULL, order_advance},
    {ITEM_REQUEST, OP_order_cancel, NULL, offsetof(struct wire_order_cancel, order), NULL, order_cancel},
    {ITEM_REQUEST, OP_order_pay, NULL, offsetof(struct wire_order_pay, order), NULL, order_pay},
    {ITEM_EVENT, EVENT_product_changed, NULL, 0, want_card, take_card},
    {ITEM_EVENT, EVENT_user_erased, NULL, 0, NULL, order_forget_customer},
    {ITEM_EVENT, EVENT_payment_succeeded, NULL, offsetof(struct wire_payment_fact, order), NULL, order_handle_payment},
    {ITEM_EVENT, EVENT_payment_failed, NULL, offsetof(struct wire_payment_fact, order), NULL, order_handle_payment},
    {ITEM_EVENT, EVENT_payment_refunded, NULL, offsetof(struct wire_payment_fact, order), NULL, order_handle_payment},
    {ITEM_EVENT, EVENT_payment_refund_failed, NULL, offsetof(struct wire_payment_fact, order), NULL, order_handle_payment},
    {ITEM_DUE, 0, ORDER_DUE_SAGA, 0, want_key, order_handle_due},
    {ITEM_DUE, 0, ORDER_DUE_PAID_BACK, 0, want_key, order_paid_back_due},
    {ITEM_DUE, 0, ORDER_DUE_STRAY, 0, NULL, order_stray_due},
    {ITEM_DUE, 0, ORDER_DUE_FORGET, 0, NULL, order_forget_customer},
    {ITEM_REPLY, ASKS_STEP, NULL, 0, NULL, order_handle_step},
    {ITEM_REPLY, ASKS_STRAY, NULL, 0, NULL, order_stray_reply},
    {ITEM_REPLY, ASKS_MENU, NULL, 0, order_place_want_again, order_place_goes_on},
};

static unsigned
which_of(const struct item *item)
{
    switch (item->kind) {
    case ITEM_REQUEST:
        return item->op;
    case ITEM_EVENT:
        return item->event;
    case ITEM_REPLY:
        return order_ask_kind_of(item);
    case ITEM_DUE:
    case ITEM_CALL:
    case ITEM_WORK:
    case ITEM_HEAD:
        break;
    }
    return 0;
}

/* NULL: nobody, or it was answered when it was recalled. */
static const struct handler *
handler_of(const struct item *item)
{
    unsigned which = which_of(item);
    if (item->kind == ITEM_REQUEST && item_outcome(item) != ERR_COUNT) {
        return NULL;
    }
    for (size_t i = 0; i < sizeof handlers / sizeof handlers[0]; i++) {
        const struct handler *handler = &handlers[i];
        bool is_it = handler->kind == item->kind && handler->which == which;
        if (is_it && (item->kind != ITEM_DUE || (slice_equal(item->owner, slice_of(handler->owner)) && item->key.size == ID_SIZE))) {
            return handler;
        }
    }
    return NULL;
}

static void
want_item(struct order_actor *order, const struct item *item)
{
    const struct handler *handler = handler_of(item);
    if (handler == NULL) {
        return;
    }
    if (handler->about != 0) {
        order_want(order, (const struct id *)(const void *)((const char *)item->body + handler->about));
    }
    if (handler->about != 0 && item->kind == ITEM_REQUEST && (wire_ops[item->op].traits & OP_WRITES) != 0) {
        order_want(order, &item->id); /* which may be that of an order that was placed */
    }
    if (handler->want != NULL) {
        handler->want(order, item);
    }
}

static void
see_forgotten(void *context, const struct id *customer)
{
    struct order_actor *order = context;
    order->forgotten[order->forgotten_count++] = *customer;
}

static err
read_needs(struct order_actor *order)
{
    struct batch *batch = order->batch;
    order->forgotten = batch_alloc(batch, (batch->count * 2 + 1) * sizeof *order->forgotten);
    order->forgotten_count = 0;
    for (size_t i = 0; i < batch->count; i++) {
        want_item(order, &batch->items[i]);
    }
    err code = order_store_read(order->store, order->cache);
    if (code == ERR_ok) {
        code = menu_read(order->menu);
    }
    return code == ERR_ok ? order_store_read_forgotten(order->store, see_forgotten, order) : code;
}

static err
handle_item(struct order_actor *order, struct item *item)
{
    const struct handler *handler = handler_of(item);
    if (handler != NULL) {
        return handler->handle(order, item);
    }
    if (item->kind == ITEM_REQUEST && item_outcome(item) == ERR_COUNT) {
        item_refuse(order->batch, item, ERR_unknown_op, "%s is not done by order", wire_ops[item->op].name);
    } else if (item->kind == ITEM_DUE) {
        log_error("due_row_is_nonsense", LOG_SLICE("owner", item->owner));
    }
    return ERR_ok;
}

/* --- the batch --- */

static err
order_handle(void *state, struct batch *batch)
{
    struct order_actor *order = state;
    order->batch = batch;
    err code = read_needs(order);
    for (size_t i = 0; code == ERR_ok && i < batch->count; i++) {
        code = handle_item(order, &batch->items[i]);
    }
    return code == ERR_ok ? order_flush(order) : code;
}

/* Files still hold what was deleted. */
static void
scrub(struct order_actor *order)
{
    err code = db_scrub(actor_db(order->actor), (struct slice){0});
    order->is_scrub_wanted = code != ERR_ok;
    if (code != ERR_ok) {
        log_warn("files_not_scrubbed", LOG_TEXT("code", err_symbol(code)), LOG_TEXT("now", "tried again each second"));
    }
}

static err
order_tick(void *state, struct batch *batch)
{
    struct order_actor *order = state;
    order->batch = batch;
    if (order->is_scrub_wanted) {
        scrub(order);
    }
    return order->is_resumed ? order_standing_look(&order->standing, order->store, batch->now_ms) : order_resume(order);
}

static int64_t
order_next_ms(const void *state)
{
    const struct order_actor *order = state;
    return order->is_resumed ? INT64_MAX : 0;
}

static void
order_committed(void *state)
{
    struct order_actor *order = state;
    menu_committed(order->menu);
    order_cache_trim(order->cache);
    order->is_scrub_wanted = order->is_scrub_wanted || order->has_forgotten;
    order->has_forgotten = false;
}

static void
order_dropped(void *state)
{
    struct order_actor *order = state;
    order->touched_count = 0;
    order->has_forgotten = false;
    order_cache_clear(order->cache);
    order_store_dropped(order->store);
    menu_dropped(order->menu);
}

/* --- life --- */

static void
order_close(void **state)
{
    struct order_actor *order = *state;
    *state = NULL;
    if (order == NULL) {
        return;
    }
    order_secrets_destroy(&order->secrets);
    order_cache_destroy(&order->cache);
    menu_destroy(&order->menu);
    order_store_destroy(&order->store);
    wire_buffer_fini(&order->list);
    wire_buffer_fini(&order->frame);
    free(order->touched);
    free(order);
}

static err
order_open(struct actor *actor, void **state, struct err_text *why)
{
    int shards = topology_shards(actor_settings(actor), "stock");
    if (shards > ORDER_SHARDS_MAX) {
        return err_say(why, ERR_wrong_setting, "LARDER_STOCK_SHARDS: order can deal with %d shards at the most", ORDER_SHARDS_MAX);
    }
    struct order_actor *order = memory_new(1, sizeof *order);
    order->actor = actor;
    order->settings = actor_settings(actor);
    order->shards = shards;
    order_standing_init(&order->standing, actor_settings(actor)->stuck_ms);
    order->is_scrub_wanted = true; /* a run before may have ended between forgetting and its end */
    order->store = order_store_create(actor_db(actor), shards);
    order->cache = order_cache_create();
    order->menu = menu_create(actor_db(actor));
    order->secrets = order_secrets_create(actor_db(actor));
    *state = order;
    err code = order_secrets_load(order->secrets);
    return code == ERR_internal ? err_say(why, code, "the keys of orders' secrets are none: they were changed by hand") : code;
}

static const char *const peers[] = {"stock", "payment", "product", NULL};

const struct actor_class order_class = {
    .name = "order",
    .peers = peers,
    .steps = order_steps,
    .step_count = ORDER_STEP_COUNT,
    .erases = true,
    .retime = order_retime,
    .open = order_open,
    .close = order_close,
    .handle = order_handle,
    .committed = order_committed,
    .dropped = order_dropped,
    .recall = order_recall,
    .tick = order_tick,
    .next_ms = order_next_ms,
};
