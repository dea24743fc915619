/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE   Money of an order that went back though its saga did not ask for it: at the provider, or by payment.refund.
 *
 * MESSAGES  Hears payment.refunded of the order's charge; buries what the kitchen has begun with and nobody pays for any more.
 *
 * STATE     `money` of the order's row: paid back when nothing is left of the charge, as the event says. A saga on its way looks at it
 *           where it would hand the order to the kitchen (order_steps.c). An order that the kitchen has begun with has a due row
 *           "paid_back", keyed by its id, behind its letter.
 *
 * FAILURES  Asked for, the letter opens again as long as the order is not given up: nothing here can bring the money back.
 *
 * LIMITS    A part that is paid back changes nothing but the timeline; what is left of the charge is payment's to know.
 */
#include "order/order_state.h"

#include <inttypes.h>
#include <stdio.h>

#include "kit/telemetry/log.h"

static struct id
letter_of(const struct order_actor *order, const struct order_row *row)
{
    struct id what = id_derive(&row->id, "paid_back");
    return batch_letter_id(order->batch, &what);
}

static void
bury(struct order_actor *order, const struct order_row *row, int64_t attempts)
{
    struct err_text error;
    (void)err_say(&error, ERR_ok, "it is %s, and all its money went back elsewhere", order_status_name(row->status));
    order_bury(order, &(struct order_letter){.id = letter_of(order, row),
                                             .type = "order.paid_back",
                                             .owner = ORDER_DUE_PAID_BACK,
                                             .due_key = &row->id,
                                             .order = &row->id,
                                             .reason = ERR_money_differs,
                                             .error = error.text,
                                             .attempts = attempts,
                                             .first_ms = order->batch->now_ms,
                                             .amount = row->total,
                                             .currency = row->currency});
    batch_due(order->batch, &(struct due){.owner = ORDER_DUE_PAID_BACK,
                                          .key = {row->id.bytes, sizeof row->id.bytes},
                                          .due_ms = DUE_NEVER,
                                          .attempts = attempts});
    log_error("order_is_not_paid_any_more", LOG_ID("order", &row->id), LOG_TEXT("status", order_status_name(row->status)),
              LOG_I64("amount", row->total), LOG_TEXT("currency", row->currency), LOG_TEXT("now", "its letter says what is at stake"));
}

static void
note_part(struct order_actor *order, struct order_row *row, const struct wire_payment_fact *fact, int64_t refunded)
{
    char detail[ERR_TEXT_MAX];
    (void)snprintf(detail, sizeof detail, "%" PRId64 " %s; %" PRId64 " of %" PRId64 " are paid back", fact->amount.amount,
                   row->currency, refunded, row->total);
    order_touch(order, row);
    order_note(order, row, "payment_refunded", "partial", detail);
}

void
order_paid_back(struct order_actor *order, struct order_row *row, const struct item *item)
{
    const struct wire_payment_fact *fact = item->body;
    int64_t refunded = WIRE_HAS(fact, payment_fact, refunded) ? fact->refunded : fact->amount.amount;
    struct order_news news = {order_trigger_of_refund(row->saga, row->back, row->status), "payment_refunded", "ok", "", "", item};
    if (refunded < row->total) {
        note_part(order, row, fact, refunded);
        /* The whole of it may have been refused because of this part: what is left is less. */
        if (row->saga == SAGA_stuck && row->back == SAGA_refunding) {
            (void)order_move(order, row,
                             &(struct order_news){ON_retry, "retry", "asked", "", "a part of it went back elsewhere", item});
        }
        return;
    }
    row->money = MONEY_REFUNDED;
    if (news.trigger != SAGA_TRIGGER_COUNT && order_move(order, row, &news)) {
        return;
    }
    order_touch(order, row);
    order_note(order, row, news.what, "ok", "all of it, before the order asked for it");
    if (row->saga == SAGA_ended) {
        bury(order, row, 1);
    }
}

void
order_paid_back_end(struct order_actor *order, const struct order_row *row)
{
    struct id letter = letter_of(order, row);
    batch_settle(order->batch, &letter);
    batch_due_cancel(order->batch, ORDER_DUE_PAID_BACK, (struct slice){row->id.bytes, sizeof row->id.bytes});
}

err
order_paid_back_due(struct order_actor *order, struct item *item)
{
    struct id id = order_key_of(item);
    const struct order_row *row = order_cache_find(order->cache, &id);
    if (row == NULL) {
        log_error("due_row_of_nothing", LOG_SLICE("owner", item->owner), LOG_ID("id", &id));
    } else if (row->status == ORDER_CANCELLED) {
        order_paid_back_end(order, row);
    } else {
        bury(order, row, item->attempts + 1);
    }
    return ERR_ok;
}
