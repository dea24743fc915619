/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE
 *   Sells: shows a product with its stock, and takes one line off the shelf. It keeps nothing; every answer is stock's answer
 *   in the buyer's words. The requests of a batch go onward together, without waiting for one another.
 *
 * MESSAGES
 *   sales.show      asks stock.get
 *   sales.checkout  asks stock.take with one line, under the same id and the same `again`, with the same deadline and trace:
 *                   the sale's only record is the ledger of stock, and so is its idempotency
 *
 * STATE
 *   One entry per request that waits for stock: the waiter and how many units were asked for. Entries are kept for reuse, so
 *   a request costs no allocation once as many have waited at the same time.
 *
 * FAILURES
 *   A refusal of stock is passed on with its code, its body and its mark of a stored answer. Stock away or silent: the kit says
 *   so in its place (unavailable, deadline_exceeded). An answer that is no answer to the question is `internal`.
 *
 * LIMITS
 *   One product per sale. The product's shard is counted by the setting stock_shards; stock refuses when it counts otherwise.
 */
#include "sales.h"

#include <stdlib.h>

#include "log.h"
#include "sales_rules.h"
#include "topology.h"

#define SLAB_ENTRIES 256

/* A request that waits for stock; `next` while it is free. */
struct sale {
    struct waiter *waiter;
    int64_t quantity; /* of a checkout */
    struct sale *next;
};

struct slab {
    struct slab *next;
    struct sale sales[SLAB_ENTRIES];
};

struct sales {
    int shards;
    struct sale *free;
    struct slab *slabs;
    struct wire_buffer lines; /* the list of the request that is being made */
};

static struct sale *
sale_take(struct sales *sales)
{
    if (sales->free == NULL) {
        struct slab *slab = calloc(1, sizeof *slab);
        if (slab == NULL) {
            abort();
        }
        slab->next = sales->slabs;
        sales->slabs = slab;
        for (size_t i = 0; i < SLAB_ENTRIES; i++) {
            slab->sales[i].next = sales->free;
            sales->free = &slab->sales[i];
        }
    }
    struct sale *sale = sales->free;
    sales->free = sale->next;
    return sale;
}

static void
sale_give_back(struct sales *sales, struct sale *sale)
{
    sale->waiter = NULL;
    sale->next = sales->free;
    sales->free = sale;
}

/* Asks the shard of the product, in the request's own name. */
static void
ask_stock(struct sales *sales, struct batch *batch, struct item *item, struct ask ask, const struct stock_line *line)
{
    struct sale *sale = sale_take(sales);
    sale->waiter = item_defer(batch, item);
    sale->quantity = line->quantity;
    ask.actor = "stock";
    ask.shard = wire_shard_of(line->product, sales->shards);
    ask.id = item->id;
    ask.again = item->again;
    ask.deadline_ms = item->deadline_ms;
    ask.traceparent = item->traceparent;
    ask.context = sale;
    batch_ask(batch, &ask);
}

static void
show(struct sales *sales, struct batch *batch, struct item *item)
{
    struct stock_line line = {.product = sales_product_of(item->body)};
    struct stock_get get = {0};
    WIRE_SET(&get, stock_get, product, line.product);
    ask_stock(sales, batch, item, (struct ask){.op = OP_stock_get, .body = &get}, &line);
}

static void
checkout(struct sales *sales, struct batch *batch, struct item *item)
{
    const struct sales_checkout *checkout = item->body;
    struct stock_line line = sales_line_of(checkout);
    struct stock_take take = {0};
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
    struct problem problem;
    if (reply->status == ERR_wrong_shard) {
        log_error("shards_disagree", LOG_ID("req", &reply->id), LOG_I64("stock_shards", sales->shards));
    }
    sales_problem_of(reply->status, reply->body, sales->shards, &text, &problem);
    waiter_refuse(batch, waiter, reply->status, &problem);
}

static void
refuse_nonsense(struct batch *batch, const struct item *reply, struct waiter **waiter)
{
    struct problem problem = {0};
    WIRE_SET(&problem, problem, detail, slice_of("stock answered a sale of one product without the one level of that product"));
    log_error("answer_is_nonsense", LOG_ID("req", &reply->id), LOG_TEXT("op", wire_ops[reply->op].name));
    waiter_refuse(batch, waiter, ERR_internal, &problem);
}

static void
answer_show(struct batch *batch, const struct item *reply, struct waiter **waiter)
{
    struct sales_product card = sales_card_of(reply->body);
    waiter_answer(batch, waiter, &card);
}

static void
answer_checkout(struct batch *batch, const struct item *reply, struct waiter **waiter, int64_t quantity)
{
    struct sales_receipt receipt;
    if (!sales_receipt_of(waiter_id(*waiter), quantity, reply->body, &receipt)) {
        refuse_nonsense(batch, reply, waiter);
        return;
    }
    waiter_answer(batch, waiter, &receipt);
}

static void
handle_reply(struct sales *sales, struct batch *batch, const struct item *reply)
{
    struct sale *sale = reply->context;
    if (reply->replayed) {
        waiter_mark_replayed(sale->waiter);
    }
    if (reply->status != ERR_ok) {
        refuse(sales, batch, reply, &sale->waiter);
    } else if (reply->op == OP_stock_get) {
        answer_show(batch, reply, &sale->waiter);
    } else {
        answer_checkout(batch, reply, &sale->waiter, sale->quantity);
    }
    sale_give_back(sales, sale);
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

static err
sales_handle(void *state, struct batch *batch)
{
    struct sales *sales = state;
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
        case ITEM_DUE:
        case ITEM_CALL:
        case ITEM_WORK:
        case ITEM_HEAD:
            break;
        }
    }
    return ERR_ok;
}

static err
sales_open(struct actor *actor, void **state, struct err_text *why)
{
    (void)why;
    struct sales *sales = calloc(1, sizeof *sales);
    if (sales == NULL) {
        abort();
    }
    sales->shards = topology_shards(actor_settings(actor), "stock");
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
    while (sales->slabs != NULL) {
        struct slab *slab = sales->slabs;
        sales->slabs = slab->next;
        free(slab);
    }
    wire_buffer_fini(&sales->lines);
    free(sales);
}

static const char *const peers[] = {"stock", NULL};

const struct actor_class sales_class = {
    .name = "sales",
    .peers = peers,
    .open = sales_open,
    .close = sales_close,
    .handle = sales_handle,
};
