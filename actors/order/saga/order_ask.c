/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE   What is asked of other actors in an order's name, and by what its answer is known again.
 *
 * MESSAGES  asks stock.reserve commit release return, and payment.charge cancel refund
 *
 * STATE     What is asked has an id that follows from order, step and round (order_saga.h) and always the same body, so it may be
 *           asked as often as needed; nothing is remembered on disk of asks under way.
 *
 * FAILURES  None: there is always an answer, if only that nobody answers.
 *
 * LIMITS    Numbers of orders up to 2^48, shards up to 255.
 */
#include <string.h>

#include "order/order_state.h"

enum { HOLD_LONGER_MS = 300000, HOLD_AGAIN_MS = 900000 };

/* n << 16 | kind << 8 | shard */
void *
order_context(enum order_ask_kind kind, int64_t n, int shard)
{
    uintptr_t bits = (uintptr_t)((uint64_t)n << 16 | (uint64_t)kind << 8 | (uint64_t)shard);
    void *context = NULL;
    memcpy(&context, &bits, sizeof context);
    return context;
}

enum order_ask_kind
order_ask_kind_of(const struct item *reply)
{
    return reply->op == OP_product_get ? ASKS_MENU : (enum order_ask_kind)((uintptr_t)reply->context >> 8 & 0xff);
}

int64_t
order_context_n(const void *context)
{
    return (int64_t)((uintptr_t)context >> 16);
}

int
order_context_shard(const void *context)
{
    return (int)((uintptr_t)context & 0xff);
}

/* The lines that lie on a shard. */
static struct wire_list
lines_of_shard(struct order_actor *order, const struct order_row *row, int shard)
{
    struct wire_list lines = {0};
    struct wire_list left = row->lines;
    struct wire_order_item item;
    order->list.size = 0;
    while (wire_list_next(&left, &order_item_body, &item)) {
        if (wire_shard_of(item.product, order->shards) == shard) {
            struct wire_stock_line line = {0};
            WIRE_SET(&line, stock_line, product, item.product);
            WIRE_SET(&line, stock_line, quantity, item.quantity);
            wire_list_add(&lines, &stock_line_body, &line, &order->list);
        }
    }
    wire_list_end(&lines, &order->list);
    return lines;
}

static void
ask_stock(struct order_actor *order, const struct order_row *row, struct ask ask)
{
    char reference[ID_TEXT_SIZE];
    struct id hold = order_row_hold(row, ask.shard);
    struct wire_stock_reserve reserve = {0};
    struct wire_stock_commit commit = {0};
    struct wire_stock_release release = {0};
    struct wire_stock_return back = {0};
    id_format(&row->id, reference);
    if (ask.op == OP_stock_reserve) {
        bool is_first = row->saga == SAGA_reserving;
        WIRE_SET(&reserve, stock_reserve, lines, lines_of_shard(order, row, ask.shard));
        WIRE_SET(&reserve, stock_reserve, ttl_ms, is_first ? row->deadline_ms - row->changed_ms + HOLD_LONGER_MS : HOLD_AGAIN_MS);
        WIRE_SET(&reserve, stock_reserve, reference, slice_of(reference));
        ask.body = &reserve;
    } else if (ask.op == OP_stock_commit) {
        WIRE_SET(&commit, stock_commit, hold, hold);
        WIRE_SET(&commit, stock_commit, reference, slice_of(reference));
        ask.body = &commit;
    } else if (ask.op == OP_stock_release) {
        WIRE_SET(&release, stock_release, hold, hold);
        WIRE_SET(&release, stock_release, reference, slice_of(reference));
        ask.body = &release;
    } else {
        WIRE_SET(&back, stock_return, hold, hold);
        WIRE_SET(&back, stock_return, reference, slice_of(reference));
        ask.body = &back;
    }
    batch_ask(order->batch, &ask);
}

static void
ask_payment(struct order_actor *order, const struct order_row *row, struct ask ask)
{
    struct wire_payment_charge charge = {0};
    struct wire_payment_cancel cancel = {0};
    struct wire_payment_refund refund = {0};
    struct wire_money amount = {0};
    if (ask.op == OP_payment_charge) {
        WIRE_SET(&amount, money, amount, row->total);
        WIRE_SET(&amount, money, currency, slice_of(row->currency));
        WIRE_SET(&charge, payment_charge, order, row->id);
        WIRE_SET(&charge, payment_charge, amount, amount);
        WIRE_SET(&charge, payment_charge, method, slice_of(row->method));
        if (row->charge_round > 0) {
            WIRE_SET(&charge, payment_charge, replaces, saga_step_id(&row->id, OP_payment_charge, row->charge_round - 1, 0));
        }
        ask.body = &charge;
    } else if (ask.op == OP_payment_cancel) {
        WIRE_SET(&cancel, payment_cancel, charge, row->charge);
        WIRE_SET(&cancel, payment_cancel, order, row->id);
        ask.body = &cancel;
    } else {
        WIRE_SET(&refund, payment_refund, charge, row->charge);
        ask.body = &refund;
    }
    batch_ask(order->batch, &ask);
}

void
order_ask(struct order_actor *order, struct order_row *row, struct slice traceparent)
{
    uint64_t left = order_row_asks(row) & ~row->known & ~row->asking;
    for (int shard = 0; left != 0; shard++, left >>= 1) {
        if ((left & 1) == 0) {
            continue;
        }
        struct ask ask = {
            .actor = wire_ops[saga_steps[row->saga].op].owner,
            .shard = shard,
            .op = saga_steps[row->saga].op,
            .id = order_row_step_id(row, shard),
            .again = (row->again >> shard & 1) != 0,
            .deadline_ms = order->batch->now_ms + order->settings->request_timeout_ms,
            .traceparent = traceparent,
            .context = order_context(ASKS_STEP, row->n, shard),
        };
        row->asking |= UINT64_C(1) << shard;
        if (saga_steps[row->saga].whom == PAYMENT) {
            ask_payment(order, row, ask);
        } else {
            ask_stock(order, row, ask);
        }
    }
}
