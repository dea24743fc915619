/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE   What people do to an order that is there: advance, cancel, pay once more; and forgetting who placed it.
 * MESSAGES  order.advance, order.cancel, order.pay; user.erased
 *
 * STATE     What was done leaves a line in $request under the request's id, so that it is done once; asked again it is answered with
 *           the order as it is now. A customer who was erased is remembered by his id alone, so that no order of his is taken later,
 *           and what the files still hold of his notes is overwritten by the next tick.
 *
 * FAILURES  A refusal is kept when it was asked for again: it is final for its id.
 *
 * LIMITS    ORDER_ROUNDS_MAX payments of an order; ORDER_FORGET_MAX orders are cleared in a batch, the rest by a due row.
 */
#include "order/order_state.h"

#include <stdio.h>
#include <string.h>

enum { ORDER_ROUNDS_MAX = 200 };

static void
refuse_role(struct order_actor *order, struct item *item)
{
    item_refuse(order->batch, item, ERR_forbidden, "%s is not for %s", wire_ops[item->op].name, role_name(item->role));
}

static void
refuse_transition(struct order_actor *order, struct item *item, const struct order_row *row, const char *to)
{
    char detail[ERR_TEXT_MAX];
    struct wire_problem problem;
    (void)snprintf(detail, sizeof detail, "the order is %s: it cannot become %s", order_status_name(row->status), to);
    problem = order_problem(row, detail);
    WIRE_SET(&problem, problem, allowed, slice_of(item->role >= ROLE_EMPLOYEE ? order_status_allowed(row->status) : ""));
    item_refuse_with(order->batch, item, ERR_wrong_transition, &problem);
}

/* --- advance --- */

err
order_advance(struct order_actor *order, struct item *item)
{
    const struct wire_order_advance *advance = item->body;
    bool is_taken = false;
    err code = order_guard_id(order, item, &is_taken);
    if (code != ERR_ok || is_taken) {
        return code;
    }
    struct order_row *row = order_find_visible(order, item, &advance->order);
    if (row == NULL) {
        return order_keep_refusal(order, item);
    }
    if (item->role < ROLE_EMPLOYEE) {
        refuse_role(order, item);
        return order_keep_refusal(order, item);
    }
    enum order_status next = order_status_next(row->status);
    enum order_status to = WIRE_HAS(advance, order_advance, to) ? order_status_find(advance->to) : next;
    if (WIRE_HAS(advance, order_advance, to) && to == ORDER_STATUS_COUNT) {
        item_refuse(order->batch, item, ERR_invalid_field, "order_advance.to: %.*s is no status", (int)advance->to.size,
                    (const char *)advance->to.data);
        return order_keep_refusal(order, item);
    }
    if (next == ORDER_STATUS_COUNT || to != next) {
        refuse_transition(order, item, row, to == ORDER_STATUS_COUNT ? "anything else this way" : order_status_name(to));
        return order_keep_refusal(order, item);
    }
    order_set_status(order, row, to, "", item);
    order_note(order, row, "order_advance", "ok", "");
    order_answer(order, item, row);
    return order_keep_done(order, item, row);
}

/* --- cancel --- */

err
order_cancel(struct order_actor *order, struct item *item)
{
    const struct wire_order_cancel *cancel = item->body;
    bool is_taken = false;
    err code = order_guard_id(order, item, &is_taken);
    if (code != ERR_ok || is_taken) {
        return code;
    }
    struct order_row *row = order_find_visible(order, item, &cancel->order);
    if (row == NULL) {
        return order_keep_refusal(order, item);
    }
    bool is_employee = item->role >= ROLE_EMPLOYEE;
    enum saga_trigger trigger = order_trigger_of_cancel(row->status, is_employee ? item->role : ROLE_CUSTOMER);
    if (trigger == SAGA_TRIGGER_COUNT) {
        refuse_transition(order, item, row, "cancelled");
        return order_keep_refusal(order, item);
    }
    struct order_news news = {trigger, "order_cancel", "ok", is_employee ? "by_employee" : "by_customer", "", item};
    if (!order_move(order, row, &news)) {
        struct wire_problem problem = order_problem(row, "it is paid and being handed to the kitchen; ask again");
        item_refuse_with(order->batch, item, ERR_unavailable, &problem);
        return ERR_ok;
    }
    if (trigger == ON_cancel_begun && row->money == MONEY_REFUNDED) {
        order_paid_back_end(order, row);
    }
    order_answer(order, item, row);
    return order_keep_done(order, item, row);
}

/* --- pay --- */

/* Refuses what cannot be paid now; false then. */
static bool
guard_pay(struct order_actor *order, struct item *item, const struct order_row *row)
{
    const struct wire_order_pay *pay = item->body;
    if (WIRE_HAS(pay, order_pay, method) && !order_is_method(pay->method)) {
        item_refuse(order->batch, item, ERR_invalid_field, "order_pay.method: none of pix, credit_card, debit_card, money");
        return false;
    }
    if (row->status != ORDER_PAYMENT_FAILED || row->round >= ORDER_ROUNDS_MAX) {
        refuse_transition(order, item, row, "placed once more");
        return false;
    }
    if (row->saga != SAGA_ended) {
        struct wire_problem problem = order_problem(row, "what was done for the last payment is still being undone; ask again");
        item_refuse_with(order->batch, item, ERR_unavailable, &problem);
        return false;
    }
    return true;
}

err
order_pay(struct order_actor *order, struct item *item)
{
    const struct wire_order_pay *pay = item->body;
    bool is_taken = false;
    err code = order_guard_id(order, item, &is_taken);
    if (code != ERR_ok || is_taken) {
        return code;
    }
    struct order_row *row = order_find_visible(order, item, &pay->order);
    if (row != NULL && id_equal(&row->request, &item->id)) {
        order_answer_round(order, item, row);
        return ERR_ok;
    }
    if (row == NULL || !guard_pay(order, item, row)) {
        return order_keep_refusal(order, item);
    }
    row->request = item->id;
    row->deadline_ms = order->batch->now_ms + order->settings->order_ttl_ms;
    if (WIRE_HAS(pay, order_pay, method)) {
        (void)snprintf(row->method, sizeof row->method, "%.*s", (int)pay->method.size, (const char *)pay->method.data);
    }
    (void)order_move(order, row, &(struct order_news){ON_pay, "order_pay", "ok", "", "", item});
    batch_wait_for(order->batch, item_defer(order->batch, item), row->n);
    return order_keep_done(order, item, row);
}

/* --- forgetting --- */

err
order_forget_customer(struct order_actor *order, struct item *item)
{
    struct id customer = item->kind == ITEM_EVENT ? ((const struct wire_user_fact *)item->body)->user : order_key_of(item);
    struct id ids[ORDER_FORGET_MAX];
    struct order_found found = {.ids = ids, .limit = ORDER_FORGET_MAX};
    err code = order_store_find_of_customer(order->store, order->cache, &customer, &found);
    if (code == ERR_ok && item->kind == ITEM_EVENT) {
        code = order_store_add_forgotten(order->store, &customer, order->batch->now_ms);
    }
    for (size_t i = 0; code == ERR_ok && i < found.count; i++) {
        struct order_row *row = order_cache_find(order->cache, &ids[i]);
        if (row == NULL || !row->has_customer || !id_equal(&row->customer, &customer)) {
            continue;
        }
        row->has_customer = false;
        row->customer = (struct id){{0}};
        order_row_set_note(row, (struct slice){0});
        order_touch(order, row);
        order_note(order, row, "user_erased", "ok", "the customer and the note are forgotten");
        code = row->is_new ? ERR_ok : order_store_update_person(order->store, row);
    }
    order->has_forgotten = order->has_forgotten || found.count > 0;
    if (code == ERR_ok && found.count == ORDER_FORGET_MAX) {
        batch_due(
            order->batch,
            &(struct due){.owner = ORDER_DUE_FORGET, .key = {customer.bytes, sizeof customer.bytes}, .due_ms = order->batch->now_ms});
    }
    return code;
}
