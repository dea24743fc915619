/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE   The small loop over the saga's table: something happens, the table says where that leads, and whom to ask there.
 *
 * MESSAGES  emits order.placed and each other status; buries what is stuck
 *
 * STATE     A row of the table is on disk before anything it asks for is sent. An order whose saga has not ended has a due row: at
 *           the latest it is looked after then, and it is what a start finds it by.
 *
 * FAILURES  One that undoes something and is refused for good is stuck: a letter with the money at stake, tried again when somebody
 *           asks for it. So is one that is answered as a mismatch, which says of no step that it was not done.
 *
 * LIMITS    255 rounds of holds.
 */
#include <stdio.h>
#include <string.h>

#include "kit/telemetry/log.h"
#include "order/order_state.h"
#include "order/order_text.h"

enum { POLL_MS = 5000 };

/* --- letters --- */

/* What is left to go back, where payment tells how much that is; all of it otherwise. */
static int64_t
at_stake(const struct order_row *row, const struct item *cause)
{
    if (cause->kind == ITEM_EVENT && cause->event == EVENT_payment_refund_failed) {
        const struct wire_payment_fact *fact = cause->body;
        return WIRE_HAS(fact, payment_fact, refunded) && fact->refunded < row->total ? row->total - fact->refunded : row->total;
    }
    if (cause->kind == ITEM_REPLY && cause->op == OP_payment_refund && cause->status == ERR_ok) {
        return ((const struct wire_refund *)cause->body)->amount.amount;
    }
    return row->total;
}

static void
bury(struct order_actor *order, const struct order_row *row, const struct order_news *news)
{
    char type[64];
    struct err_text error;
    (void)snprintf(type, sizeof type, "order.%s", saga_steps[row->back].name);
    err reason = news->trigger == ON_fault ? ERR_idempotency_mismatch : ERR_compensation_failed;
    (void)err_say(&error, reason, "%s: %s%s%s", news->what, news->outcome, news->detail[0] == '\0' ? "" : ": ", news->detail);
    struct order_letter letter = {.id = batch_letter_id(order->batch, &row->id),
                                  .type = type,
                                  .owner = ORDER_DUE_SAGA,
                                  .due_key = &row->id,
                                  .order = &row->id,
                                  .reason = reason,
                                  .error = error.text,
                                  .attempts = row->tries + 1,
                                  .first_ms = row->changed_ms,
                                  .amount = at_stake(row, news->cause),
                                  .currency = row->currency};
    order_bury(order, &letter);
    log_error(news->trigger == ON_fault ? "order_step_is_not_known" : "order_cannot_be_undone", LOG_ID("saga", &row->id),
              LOG_TEXT("step", saga_steps[row->back].name), LOG_I64("amount", letter.amount), LOG_TEXT("currency", row->currency),
              LOG_TEXT("error", error.text), LOG_TEXT("now", "its letter can be replayed"));
}

/* --- moving --- */

static void
emit(struct order_actor *order, const struct order_row *row, const struct item *cause)
{
    static const enum event_type events[ORDER_STATUS_COUNT] = {
        [ORDER_PLACED] = EVENT_order_placed,       [ORDER_AWAITING_PAYMENT] = EVENT_order_awaiting_payment,
        [ORDER_RECEIVED] = EVENT_order_received,   [ORDER_IN_PREPARATION] = EVENT_order_in_preparation,
        [ORDER_READY] = EVENT_order_ready,         [ORDER_COMPLETED] = EVENT_order_completed,
        [ORDER_CANCELLED] = EVENT_order_cancelled, [ORDER_PAYMENT_FAILED] = EVENT_order_payment_failed,
    };
    struct wire_order_fact fact = {0};
    struct wire_money total = {0};
    char key[ID_TEXT_SIZE];
    char tell[ORDER_TELL_SIZE];
    id_format(&row->id, key);
    order_tell(row, tell);
    WIRE_SET(&total, money, amount, row->total);
    WIRE_SET(&total, money, currency, slice_of(row->currency));
    WIRE_SET(&fact, order_fact, order, row->id);
    WIRE_SET(&fact, order_fact, number, row->n);
    WIRE_SET(&fact, order_fact, status, slice_of(order_status_name(row->status)));
    if (row->has_customer) {
        WIRE_SET(&fact, order_fact, customer, row->customer);
    }
    WIRE_SET(&fact, order_fact, total, total);
    if (row->reason[0] != '\0') {
        WIRE_SET(&fact, order_fact, reason, slice_of(row->reason));
    }
    WIRE_SET(&fact, order_fact, tell, slice_of(tell));
    batch_emit(order->batch, events[row->status], slice_of(key), &fact, cause);
}

/* Good news has no reason. */
static void
change_status(struct order_actor *order, struct order_row *row, enum order_status status, const char *reason)
{
    bool is_bad = status == ORDER_CANCELLED || status == ORDER_PAYMENT_FAILED;
    row->status = status;
    row->changed_ms = order->batch->now_ms;
    row->version++;
    (void)snprintf(row->reason, sizeof row->reason, "%s", is_bad ? reason : "");
}

void
order_set_status(struct order_actor *order, struct order_row *row, enum order_status status, const char *reason,
                 const struct item *cause)
{
    change_status(order, row, status, reason);
    order_touch(order, row);
    emit(order, row, cause);
}

static void
learn_money(struct order_row *row, enum saga_trigger trigger)
{
    if (trigger == ON_paid || trigger == ON_paid_late || trigger == ON_paid_unwanted) {
        row->money = MONEY_PAID;
    } else if (trigger == ON_unpaid) {
        row->money = MONEY_FAILED;
    } else if (trigger == ON_refunded) {
        row->money = MONEY_REFUNDED;
    }
}

/* When to look after a state that was just entered. */
static int64_t
due_of(const struct order_actor *order, const struct order_row *row)
{
    if (row->saga == SAGA_ended) {
        return ORDER_DUE_NONE;
    }
    if (row->saga == SAGA_stuck) {
        return DUE_NEVER;
    }
    if (saga_has_deadline(row->saga)) {
        return row->deadline_ms;
    }
    bool is_set = row->due_ms > order->batch->now_ms && row->due_ms != DUE_NEVER;
    return is_set ? row->due_ms : order->batch->now_ms + order_watchdog_ms(order->settings);
}

/* New ids for the holds of what is not sold yet. */
static void
begin_holds(struct order_row *row)
{
    uint64_t left = row->shards & ~(uint64_t)row->sold;
    for (int shard = 0; left != 0; shard++, left >>= 1) {
        if ((left & 1) != 0) {
            order_row_set_hold_round(row, shard, row->round);
        }
    }
}

static void
begin_charge(struct order_row *row)
{
    row->has_charge = true;
    row->charge_round = row->round;
    row->charge = saga_step_id(&row->id, OP_payment_charge, row->charge_round, 0);
    row->money = MONEY_OPEN;
    row->told = 0;
}

static void
enter(struct order_actor *order, struct order_row *row, enum saga_state to, const struct order_news *news)
{
    enum saga_state from = row->saga;
    bool is_after_reserve = saga_steps[from].op == OP_stock_reserve && saga_steps[to].op == OP_stock_release;
    uint64_t nothing_held = is_after_reserve ? row->failed : 0; /* who has refused to hold has nothing to give back */
    bool is_new_round = to == SAGA_reserving_again || news->trigger == ON_pay;
    if (is_new_round) {
        row->round++;
    }
    row->saga = to;
    row->entered_ms = order->batch->now_ms;
    row->known = nothing_held;
    row->failed = row->asking = 0;
    bool asks_anew = saga_steps[to].op == saga_steps[from].op || from == SAGA_stuck;
    row->again = !is_new_round && asks_anew ? UINT64_MAX : 0; /* the same ids were asked for before */
    row->is_told_away = false;
    row->attempts = 0;
    if (saga_steps[to].op == OP_stock_reserve) {
        begin_holds(row);
    } else if (to == SAGA_paying) {
        begin_charge(row);
    } else if (to == SAGA_stuck) {
        row->back = from;
        bury(order, row, news);
    } else if (to == SAGA_ended && row->back != SAGA_STATE_COUNT) {
        struct id letter = batch_letter_id(order->batch, &row->id);
        batch_settle(order->batch, &letter);
        row->back = SAGA_STATE_COUNT;
    }
    row->due_ms = due_of(order, row);
}

static void
take(struct order_actor *order, struct order_row *row, const struct saga_edge *edge, const struct order_news *news)
{
    learn_money(row, edge->on);
    if (edge->status != ORDER_STATUS_COUNT && edge->status != row->status) {
        change_status(order, row, edge->status, edge->reason[0] == '\0' ? news->reason : edge->reason);
    }
    if (edge->to == SAGA_back) {
        row->tries++;
        row->told &= ~TOLD_REFUND_FAILED;
        enter(order, row, row->back, news);
    } else if (edge->to != edge->from) {
        enter(order, row, edge->to, news);
    } else if (!saga_has_deadline(row->saga)) {
        row->attempts = 0;
        row->due_ms = order->batch->now_ms + POLL_MS; /* it is known there; its outcome is asked for when nobody tells it */
    }
}

/* Where nobody has to be asked it goes on from here; NULL when somebody has. What was free is back as it is. */
static const struct saga_edge *
passing(const struct order_row *row)
{
    bool asks_shards = saga_steps[row->saga].whom == UNSOLD || saga_steps[row->saga].whom == SOLD;
    if (asks_shards && (order_row_asks(row) & ~row->known) == 0) {
        return saga_edge(row->saga, ON_ok);
    }
    bool is_back = row->total == 0 || row->money == MONEY_REFUNDED;
    return row->saga == SAGA_refunding && is_back ? saga_edge(row->saga, ON_refunded) : NULL;
}

bool
order_move(struct order_actor *order, struct order_row *row, const struct order_news *news)
{
    const struct saga_edge *edge = saga_edge(row->saga, news->trigger);
    enum order_status before = row->status;
    if (edge == NULL || !order_can_happen(news->trigger, row->status)) {
        return false;
    }
    while (edge != NULL) {
        take(order, row, edge, news);
        edge = edge->to != edge->from ? passing(row) : NULL;
    }
    order_touch(order, row);
    if (news->what[0] != '\0') {
        order_note(order, row, news->what, news->outcome, news->detail);
    }
    if (row->status != before) {
        emit(order, row, news->cause);
    }
    if (before == ORDER_PLACED && row->status != ORDER_PLACED) {
        char secret[ORDER_SECRET_SIZE];
        bool is_place = id_equal(&row->request, &row->id);
        struct wire_order body = is_place ? order_placed(order, row, secret) : order_row_body(row);
        order_answer_waiters(order, row, &body);
    }
    order_ask(order, row, news->cause->traceparent);
    return true;
}

void
order_begin(struct order_actor *order, struct order_row *row, const struct item *cause)
{
    row->saga = SAGA_reserving;
    row->entered_ms = order->batch->now_ms;
    row->due_ms = row->deadline_ms;
    begin_holds(row);
    order_touch(order, row);
    emit(order, row, cause);
    order_ask(order, row, cause->traceparent);
}
