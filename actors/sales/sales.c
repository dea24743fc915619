/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE
 *   Sells: shows a product with its stock, and takes one line off the shelf. Every answer is stock's answer in the buyer's words,
 *   with name and price from a copy of the menu. The requests of a batch go onward together, without waiting for one another.
 *
 * MESSAGES
 *   product.changed  is taken over into the copy of the menu: it is followed durably, product is never asked
 *   sales.show      asks stock.get
 *   sales.checkout  asks stock.take with one line, under the same id and the same `again`, with the same deadline and trace:
 *                   the sale's only record is the ledger of stock, and so is its idempotency
 *
 * STATE
 *   The copy of the menu (menu.h), which is all that its database has beside the kit's tables: no answer is kept here, and a batch
 *   in which product told nothing writes nothing. With each request that waits for stock is kept how many units were asked for.
 *
 * FAILURES
 *   A refusal of stock is passed on with its code, its body and its mark of a stored answer. Stock away or silent: the kit says
 *   so in its place (unavailable, deadline_exceeded). An answer that is no answer to the question is `internal`. Product away: the
 *   menu stays as it was. Its own database away: the kit refuses everything (unavailable) until it is back.
 *
 * LIMITS
 *   One product per sale. The product's shard is counted by the setting stock_shards; stock refuses when it counts otherwise.
 */
#include "sales.h"

#include <stdlib.h>

#include "kit/base/memory.h"
#include "kit/telemetry/log.h"
#include "shared/menu.h"
#include "sales_rules.h"
#include "kit/settings/topology.h"

struct sales {
    int shards;
    struct menu *menu;
    struct wire_buffer lines; /* the list of the request that is being made */
};

/* Asks the shard of the product, in the request's own name. */
static void
ask_stock(struct sales *sales, struct batch *batch, struct item *item, struct ask ask, const struct wire_stock_line *line)
{
    struct waiter *waiter = item_defer(batch, item);
    *(int64_t *)waiter_keep(waiter, sizeof line->quantity) = line->quantity;
    ask.actor = "stock";
    ask.shard = wire_shard_of(line->product, sales->shards);
    ask.id = item->id;
    ask.again = item->again;
    ask.deadline_ms = item->deadline_ms;
    ask.traceparent = item->traceparent;
    ask.context = waiter;
    batch_ask(batch, &ask);
}

static void
show(struct sales *sales, struct batch *batch, struct item *item)
{
    struct wire_stock_line line = {.product = sales_product_of(item->body)};
    struct wire_stock_get get = {0};
    WIRE_SET(&get, stock_get, product, line.product);
    ask_stock(sales, batch, item, (struct ask){.op = OP_stock_get, .body = &get}, &line);
}

static void
checkout(struct sales *sales, struct batch *batch, struct item *item)
{
    const struct wire_sales_checkout *checkout = item->body;
    struct wire_stock_line line = sales_line_of(checkout);
    struct wire_stock_take take = {0};
    struct wire_list lines = {0};
    sales->lines.size = 0;
    wire_list_add(&lines, &stock_line_body, &line, &sales->lines);
    wire_list_end(&lines, &sales->lines);
    WIRE_SET(&take, stock_take, lines, lines);
    if (WIRE_HAS(checkout, sales_checkout, reference)) {
        WIRE_SET(&take, stock_take, reference, checkout->reference);
    }
    ask_stock(sales, batch, item, (struct ask){.op = OP_stock_take, .body = &take}, &line);
}

static void
refuse(const struct sales *sales, struct batch *batch, const struct item *reply, struct waiter **waiter)
{
    struct err_text text;
    struct wire_problem problem;
    if (reply->status == ERR_wrong_shard) {
        log_error("shards_disagree", LOG_ID("req", &reply->id), LOG_I64("stock_shards", sales->shards));
    }
    sales_problem_of(reply->status, reply->body, sales->shards, &text, &problem);
    waiter_refuse(batch, waiter, reply->status, &problem);
}

static void
refuse_nonsense(struct batch *batch, const struct item *reply, struct waiter **waiter)
{
    struct wire_problem problem = {0};
    WIRE_SET(&problem, problem, detail, slice_of("stock answered a sale of one product without the one level of that product"));
    log_error("answer_is_nonsense", LOG_ID("req", &reply->id), LOG_TEXT("op", wire_ops[reply->op].name));
    waiter_refuse(batch, waiter, ERR_internal, &problem);
}

static void
answer_show(struct sales *sales, struct batch *batch, const struct item *reply, struct waiter **waiter)
{
    const struct wire_stock_level *level = reply->body;
    struct wire_sales_product card = sales_card_of(level, menu_find(sales->menu, level->product));
    waiter_answer(batch, waiter, &card);
}

static void
answer_checkout(struct batch *batch, const struct item *reply, struct waiter **waiter)
{
    struct wire_sales_receipt receipt;
    const int64_t *quantity = waiter_kept(*waiter);
    if (!sales_receipt_of(waiter_id(*waiter), *quantity, reply->body, &receipt)) {
        refuse_nonsense(batch, reply, waiter);
        return;
    }
    waiter_answer(batch, waiter, &receipt);
}

static void
handle_reply(struct sales *sales, struct batch *batch, const struct item *reply)
{
    struct waiter *waiter = reply->context;
    if (reply->replayed) {
        waiter_mark_replayed(waiter);
    }
    if (reply->status != ERR_ok) {
        refuse(sales, batch, reply, &waiter);
    } else if (reply->op == OP_stock_get) {
        answer_show(sales, batch, reply, &waiter);
    } else {
        answer_checkout(batch, reply, &waiter);
    }
}

static void
handle_request(struct sales *sales, struct batch *batch, struct item *item)
{
    if (item->op == OP_sales_show) {
        show(sales, batch, item);
    } else if (item->op == OP_sales_checkout) {
        checkout(sales, batch, item);
    } else {
        item_refuse(batch, item, ERR_unknown_op, "%s is not done by sales", wire_ops[item->op].name);
    }
}

/* The products of this batch whose cards are needed: one read for all of them that are not in memory. */
static err
read_menu(struct sales *sales, const struct batch *batch)
{
    for (size_t i = 0; i < batch->count; i++) {
        const struct item *item = &batch->items[i];
        if (item->kind == ITEM_EVENT && item->event == EVENT_product_changed) {
            menu_want(sales->menu, ((const struct wire_product_card *)item->body)->product);
        } else if (item->kind == ITEM_REPLY && item->op == OP_stock_get && item->status == ERR_ok) {
            menu_want(sales->menu, ((const struct wire_stock_level *)item->body)->product);
        }
    }
    return menu_read(sales->menu);
}

static void
handle_event(struct sales *sales, const struct item *item)
{
    if (item->event == EVENT_product_changed) {
        (void)menu_apply(sales->menu, item->body);
    }
}

static err
sales_handle(void *state, struct batch *batch)
{
    struct sales *sales = state;
    err status = read_menu(sales, batch);
    if (status != ERR_ok) {
        return status;
    }
    for (size_t i = 0; i < batch->count; i++) {
        struct item *item = &batch->items[i];
        switch (item->kind) {
        case ITEM_REQUEST:
            handle_request(sales, batch, item);
            break;
        case ITEM_REPLY:
            handle_reply(sales, batch, item);
            break;
        case ITEM_EVENT:
            handle_event(sales, item);
            break;
        case ITEM_DUE:
        case ITEM_CALL:
        case ITEM_WORK:
        case ITEM_HEAD:
            break;
        }
    }
    return menu_queue(sales->menu);
}

static void
sales_committed(void *state)
{
    menu_committed(((struct sales *)state)->menu);
}

static void
sales_dropped(void *state)
{
    menu_dropped(((struct sales *)state)->menu);
}

/* A checkout that is asked again is asked again of stock: nothing is kept here. */
static err
sales_recall(void *state, struct batch *batch)
{
    (void)state;
    (void)batch;
    return ERR_ok;
}

static err
sales_open(struct actor *actor, void **state, struct err_text *why)
{
    (void)why;
    struct sales *sales = memory_new(1, sizeof *sales);
    sales->shards = topology_shards(actor_settings(actor), "stock");
    sales->menu = menu_create(actor_db(actor));
    *state = sales;
    return ERR_ok;
}

static void
sales_close(void **state)
{
    struct sales *sales = *state;
    *state = NULL;
    if (sales == NULL) {
        return;
    }
    menu_destroy(&sales->menu);
    wire_buffer_fini(&sales->lines);
    free(sales);
}

static const struct db_step steps[MENU_STEP_COUNT] = {MENU_STEPS};
static const char *const peers[] = {"stock", NULL};

const struct actor_class sales_class = {
    .name = "sales",
    .steps = steps,
    .step_count = MENU_STEP_COUNT,
    .peers = peers,
    .open = sales_open,
    .close = sales_close,
    .handle = sales_handle,
    .committed = sales_committed,
    .dropped = sales_dropped,
    .recall = sales_recall,
};
