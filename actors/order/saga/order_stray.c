/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE   Money that has come for a charge which its order does not take, because another charge has replaced it or because the
 *           order is past it: it goes back beside the saga, and the order goes on as if nothing had been.
 *
 * MESSAGES  Asks payment.refund; hears payment.refunded and payment.refund_failed of such charges; buries what cannot go back.
 *
 * STATE     $stray, one row per charge; its due row "stray", keyed by the charge, until the money is back.
 *
 * FAILURES  Not answered, or not heard of: asked again when the due row fires. Refused for good: a letter, tried again under the
 *           next id when somebody asks for it.
 *
 * LIMITS    Rare: nothing here is kept in memory.
 */
#include "order/order_state.h"

#include <stdio.h>

#include "kit/telemetry/log.h"

static void
look_again(struct order_actor *order, const struct order_stray *stray, int64_t due_ms)
{
    batch_due(order->batch, &(struct due){.owner = ORDER_DUE_STRAY,
                                          .key = {stray->charge.bytes, sizeof stray->charge.bytes},
                                          .due_ms = due_ms,
                                          .attempts = stray->tries});
}

static void
ask(struct order_actor *order, const struct order_stray *stray, bool again, struct slice traceparent)
{
    struct wire_payment_refund refund = {0};
    WIRE_SET(&refund, payment_refund, charge, stray->charge);
    look_again(order, stray, order->batch->now_ms + ORDER_STRAY_PAUSE_MS);
    batch_ask(order->batch, &(struct ask){
                                .actor = "payment",
                                .op = OP_payment_refund,
                                .id = saga_step_id(&stray->charge, OP_payment_refund, stray->tries, 0),
                                .again = again,
                                .deadline_ms = order->batch->now_ms + order->settings->request_timeout_ms,
                                .traceparent = traceparent,
                                .body = &refund,
                                .context = order_context(ASKS_STRAY, stray->n, 0),
                            });
}

static err
note(struct order_actor *order, const struct id *id, const char *what, const char *outcome, const char *detail)
{
    struct order_row *row = order_cache_find(order->cache, id);
    if (row == NULL) {
        order_store_want(order->store, id);
        err code = order_store_read(order->store, order->cache);
        row = order_cache_find(order->cache, id);
        if (code != ERR_ok || row == NULL) {
            return code;
        }
    }
    order_touch(order, row);
    order_note(order, row, what, outcome, detail);
    return ERR_ok;
}

static void
bury(struct order_actor *order, const struct order_stray *stray, const char *error)
{
    order_bury(order, &(struct order_letter){.id = batch_letter_id(order->batch, &stray->charge),
                                             .type = "order.stray_money",
                                             .owner = ORDER_DUE_STRAY,
                                             .due_key = &stray->charge,
                                             .order = &stray->order,
                                             .reason = ERR_compensation_failed,
                                             .error = error,
                                             .attempts = stray->tries + 1,
                                             .first_ms = order->batch->now_ms,
                                             .amount = stray->amount,
                                             .currency = stray->currency});
    log_error("money_cannot_go_back", LOG_ID("order", &stray->order), LOG_ID("charge", &stray->charge),
              LOG_I64("amount", stray->amount), LOG_TEXT("currency", stray->currency), LOG_TEXT("error", error),
              LOG_TEXT("now", "its letter can be replayed"));
}

static err
give_up(struct order_actor *order, struct order_stray *stray, const char *error)
{
    stray->state = STRAY_STUCK;
    bury(order, stray, error);
    look_again(order, stray, DUE_NEVER);
    err code = order_store_update_stray(order->store, stray);
    return code == ERR_ok ? note(order, &stray->order, "payment_refund", err_symbol(ERR_compensation_failed), error) : code;
}

static err
finish(struct order_actor *order, struct order_stray *stray)
{
    struct id letter = batch_letter_id(order->batch, &stray->charge);
    if (stray->tries > 0 || stray->state == STRAY_STUCK) {
        batch_settle(order->batch, &letter);
    }
    stray->state = STRAY_REFUNDED;
    batch_due_cancel(order->batch, ORDER_DUE_STRAY, (struct slice){stray->charge.bytes, sizeof stray->charge.bytes});
    err code = order_store_update_stray(order->store, stray);
    return code == ERR_ok ? note(order, &stray->order, "payment_refunded", "ok", "money that the order did not take") : code;
}

err
order_stray_money(struct order_actor *order, struct order_row *row, const struct item *item)
{
    const struct wire_payment_fact *fact = item->body;
    struct order_stray stray = {.charge = fact->charge, .order = fact->order, .amount = fact->amount.amount};
    bool found = false;
    err code = order_store_find_stray(order->store, &fact->charge, &stray, &found);
    if (code != ERR_ok) {
        return code;
    }
    order_touch(order, row);
    if (found || stray.amount == 0) {
        order_note(order, row, "payment_succeeded", "ignored",
                   found ? "told twice, of a charge that the order does not take" : "of a charge that the order does not take");
        return ERR_ok;
    }
    (void)snprintf(stray.currency, sizeof stray.currency, "%.*s", (int)fact->amount.currency.size,
                   (const char *)fact->amount.currency.data);
    code = order_store_insert_stray(order->store, &stray);
    if (code == ERR_ok) {
        bool is_own = row->has_charge && id_equal(&row->charge, &stray.charge);
        row->money = is_own ? MONEY_REFUNDED : row->money;
        order_note(order, row, "payment_succeeded", "late", "of a charge that the order does not take: it goes back");
        ask(order, &stray, false, item->traceparent);
    }
    return code;
}

err
order_stray_refund(struct order_actor *order, const struct item *item)
{
    const struct wire_payment_fact *fact = item->body;
    struct order_stray stray;
    bool found = false;
    if (item->event != EVENT_payment_refunded && item->event != EVENT_payment_refund_failed) {
        return ERR_ok;
    }
    err code = order_store_find_stray(order->store, &fact->charge, &stray, &found);
    if (code != ERR_ok || !found || stray.state == STRAY_REFUNDED) {
        return code;
    }
    struct id ours = saga_step_id(&stray.charge, OP_payment_refund, stray.tries, 0);
    bool is_ours = WIRE_HAS(fact, payment_fact, refund) && id_equal(&fact->refund, &ours);
    if (item->event == EVENT_payment_refunded) {
        int64_t refunded = WIRE_HAS(fact, payment_fact, refunded) ? fact->refunded : fact->amount.amount;
        return refunded >= stray.amount ? finish(order, &stray) : ERR_ok;
    }
    return is_ours && stray.state == STRAY_REFUNDING ? give_up(order, &stray, "payment.refund_failed") : ERR_ok;
}

err
order_stray_reply(struct order_actor *order, struct item *item)
{
    struct order_stray stray;
    bool found = false;
    err code = order_store_find_stray_n(order->store, order_context_n(item->context), &stray, &found);
    if (code != ERR_ok || !found || stray.state != STRAY_REFUNDING) {
        return code;
    }
    struct id ours = saga_step_id(&stray.charge, OP_payment_refund, stray.tries, 0);
    if (!id_equal(&ours, &item->id) || !order_is_decisive(SAGA_refunding, item->status)) {
        return ERR_ok; /* the due row asks again */
    }
    if (item->status != ERR_ok) {
        return give_up(order, &stray, err_symbol(item->status));
    }
    const struct wire_refund *refund = item->body;
    if (slice_equal(refund->status, slice_of("succeeded"))) {
        return finish(order, &stray);
    }
    return slice_equal(refund->status, slice_of("pending")) ? ERR_ok : give_up(order, &stray, "the refund has failed");
}

err
order_stray_due(struct order_actor *order, struct item *item)
{
    struct id charge = order_key_of(item);
    struct order_stray stray;
    bool found = false;
    err code = order_store_find_stray(order->store, &charge, &stray, &found);
    if (code != ERR_ok || !found || stray.state == STRAY_REFUNDED) {
        return code;
    }
    bool was_stuck = stray.state == STRAY_STUCK;
    if (was_stuck) {
        stray.tries++;
        stray.state = STRAY_REFUNDING;
        code = order_store_update_stray(order->store, &stray);
    }
    if (code == ERR_ok) {
        ask(order, &stray, !was_stuck, (struct slice){0});
    }
    return code;
}
