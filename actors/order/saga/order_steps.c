/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE   The saga's loop: something happens, the table says where that leads, and whom to ask there.
 *
 * MESSAGES  asks stock.reserve commit release return, and payment.charge cancel refund; follows payment.succeeded failed refunded
 *           refund_failed; emits order.placed and each other status; buries what is stuck
 *
 * STATE     A row of the table is on disk before anything it asks for is sent. What is asked has an id that follows from order, step
 *           and round (order_saga.h) and always the same body, so it may be asked as often as needed; nothing is remembered on disk of
 *           asks under way. An order whose saga has not ended has a due row: at the latest it is looked after then, and it is what a
 *           start finds it by.
 *
 * FAILURES  An answer that may be better later is no answer: asked again after a pause that doubles, for ever. One that undoes
 *           something and is refused for good is stuck: a letter with the money at stake, tried again when somebody asks for it. So is
 *           one that is answered as a mismatch, which says of no step that it was not done.
 *
 * LIMITS    RESUME_MAX sagas are asked anew at a time after a start.
 */
#include "order/order_state.h"

#include <stdio.h>
#include <string.h>

#include "kit/telemetry/log.h"
#include "kit/telemetry/log_often.h"
#include "order/order_text.h"

enum { HOLD_LONGER_MS = 300000, HOLD_AGAIN_MS = 900000, RESUME_MAX = 256, POLL_MS = 5000 };

/* --- asking --- */

static void
reference_of(const struct order_row *row, char text[ID_TEXT_SIZE])
{
    id_format(&row->id, text);
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
    reference_of(row, reference);
    ask.actor = "stock";
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
    ask.actor = "payment";
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
    int64_t amount = at_stake(row, news->cause);
    struct wire_burial burial = {0};
    struct wire_letter_attempt attempt = {0};
    struct wire_list history = {0};
    char key[ID_TEXT_SIZE];
    char type[64];
    struct err_text error;
    reference_of(row, key);
    (void)snprintf(type, sizeof type, "order.%s", saga_steps[row->back].name);
    err reason = news->trigger == ON_fault ? ERR_idempotency_mismatch : ERR_compensation_failed;
    (void)err_say(&error, reason, "%s: %s%s%s", news->what, news->outcome, news->detail[0] == '\0' ? "" : ": ", news->detail);
    order->list.size = 0;
    WIRE_SET(&attempt, letter_attempt, time, order->batch->now_ms);
    WIRE_SET(&attempt, letter_attempt, error, slice_of(error.text));
    wire_list_add(&history, &letter_attempt_body, &attempt, &order->list);
    wire_list_end(&history, &order->list);
    WIRE_SET(&burial, burial, letter, batch_letter_id(order->batch, &row->id));
    WIRE_SET(&burial, burial, kind, slice_of("saga"));
    WIRE_SET(&burial, burial, reason, slice_of(err_symbol(reason)));
    WIRE_SET(&burial, burial, error, slice_of(error.text));
    WIRE_SET(&burial, burial, attempts, row->tries + 1);
    WIRE_SET(&burial, burial, first, row->changed_ms);
    WIRE_SET(&burial, burial, last, order->batch->now_ms);
    WIRE_SET(&burial, burial, history, history);
    WIRE_SET(&burial, burial, key, slice_of(key));
    WIRE_SET(&burial, burial, type, slice_of(type));
    WIRE_SET(&burial, burial, owner, slice_of(ORDER_DUE_SAGA));
    WIRE_SET(&burial, burial, due_key, ((struct slice){row->id.bytes, sizeof row->id.bytes}));
    WIRE_SET(&burial, burial, amount, amount);
    WIRE_SET(&burial, burial, currency, slice_of(row->currency));
    batch_bury(order->batch, &burial);
    log_error(news->trigger == ON_fault ? "order_step_is_not_known" : "order_cannot_be_undone", LOG_ID("saga", &row->id),
              LOG_TEXT("step", saga_steps[row->back].name), LOG_I64("amount", amount), LOG_TEXT("currency", row->currency),
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
    reference_of(row, key);
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
        order_waiters_answer(order->waiters, order->batch, row->n, &body);
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

/* --- answers to what was asked --- */

static const char *
detail_of(struct order_actor *order, const struct item *item)
{
    if (item->status == ERR_ok || item->body == NULL) {
        return "";
    }
    const struct wire_problem *problem = item->body;
    char *text = batch_alloc(order->batch, problem->detail.size + 1);
    memcpy(text, problem->detail.size == 0 ? (const uint8_t *)"" : problem->detail.data, problem->detail.size);
    text[problem->detail.size] = '\0';
    return text;
}

static char *
what_of(struct order_actor *order, const char *name)
{
    char *what = batch_alloc(order->batch, ORDER_WHAT_SIZE);
    order_what(name, what);
    return what;
}

/* Whoever has not answered and is not being asked is asked when the due row fires, so that must be soon. Beside those whose answer
 * decided nothing these are shards whose answers were forgotten with the row, which left the cache while others were still asked. */
static void
look_soon(struct order_actor *order, struct order_row *row)
{
    if ((order_row_asks(row) & ~row->known & ~row->asking) == 0) {
        return;
    }
    int64_t soon_ms = order->batch->now_ms + batch_backoff_ms(order->batch, row->attempts + 1);
    bool is_in_time = !saga_has_deadline(row->saga) || soon_ms < row->deadline_ms;
    soon_ms = is_in_time ? soon_ms : row->deadline_ms;
    bool is_set = row->due_ms != ORDER_DUE_UNKNOWN && row->due_ms != ORDER_DUE_NONE && row->due_ms <= soon_ms;
    row->due_ms = is_set ? row->due_ms : soon_ms;
    order_touch(order, row);
}

/* No answer yet: it is asked again later, and who waits is told that it takes long. */
static void
ask_later(struct order_actor *order, struct order_row *row, const struct item *item)
{
    row->again |= UINT64_C(1) << order_context_shard(item->context);
    look_soon(order, row);
    if (!row->is_told_away) {
        row->is_told_away = true;
        order_note(order, row, what_of(order, wire_ops[item->op].name), err_symbol(item->status), "asked again until it is known");
    }
    if (err_disposition(item->status) == ERR_BUG) {
        log_often(LOG_LEVEL_ERROR, "step_fails", wire_ops[item->op].name, LOG_ID("saga", &row->id),
                  LOG_TEXT("op", wire_ops[item->op].name), LOG_TEXT("status", err_symbol(item->status)),
                  LOG_TEXT("detail", detail_of(order, item)), LOG_I64("attempts", row->attempts + 1));
    }
    if (row->saga == SAGA_reserving) {
        struct wire_problem problem =
            order_problem(row, "the order is kept; it is not known yet whether its units are: ask again with the same id");
        order_waiters_refuse(order->waiters, order->batch, row->n, ERR_unavailable, &problem);
    }
}

/* An answer that was waited for has a way in the table, or the table has a fault: the order would stand still. */
static void
go_on(struct order_actor *order, struct order_row *row, const struct order_news *news)
{
    enum saga_state from = row->saga;
    if (!order_move(order, row, news)) {
        log_error("saga_has_no_way", LOG_ID("saga", &row->id), LOG_TEXT("state", saga_steps[from].name), LOG_TEXT("what", news->what),
                  LOG_TEXT("outcome", news->outcome));
    }
}

static err
decide_refusal(struct order_actor *order, struct order_row *row, const struct item *item)
{
    struct order_news news = {.trigger = ON_refused,
                              .what = what_of(order, wire_ops[item->op].name),
                              .outcome = err_symbol(row->refusal),
                              .reason = err_symbol(row->refusal),
                              .detail = detail_of(order, item),
                              .cause = item};
    if (row->saga == SAGA_voiding && item->status == ERR_charge_closed) {
        bool is_back = row->money == MONEY_REFUNDED; /* it came while this was stuck, and went back by itself */
        news.trigger = is_back ? ON_ok : order_trigger_of_payment(row->status, strcmp(row->reason, "expired") == 0);
        go_on(order, row, &news);
        return ERR_ok;
    }
    err code = ERR_ok;
    if (row->saga == SAGA_reserving) {
        code = order_refuse_round(order, row, row->refusal, item->body);
    }
    go_on(order, row, &news);
    return code;
}

static void
decide_ok(struct order_actor *order, struct order_row *row, const struct item *item, enum saga_trigger trigger, const char *detail)
{
    bool is_quiet = trigger == ON_ok && saga_steps[row->saga].whom == PAYMENT && row->saga != SAGA_voiding;
    struct order_news news = {.trigger = trigger,
                              .what = is_quiet ? "" : what_of(order, wire_ops[item->op].name),
                              .outcome = "ok",
                              .reason = "",
                              .detail = detail,
                              .cause = item};
    if (trigger == ON_unpaid || trigger == ON_not_refunded) {
        news.outcome = err_symbol(trigger == ON_unpaid ? ERR_payment_refused : ERR_not_refundable);
        news.reason = err_symbol(ERR_payment_refused);
    }
    go_on(order, row, &news);
}

/* What payment says of the charge, or of the refund, that it was asked about. */
static void
handle_money(struct order_actor *order, struct order_row *row, const struct item *item)
{
    enum saga_trigger trigger = ON_ok;
    if (item->op == OP_payment_charge) {
        const struct wire_charge *charge = item->body;
        if (slice_equal(charge->status, slice_of("succeeded"))) {
            trigger = ON_paid;
        } else if (!slice_equal(charge->status, slice_of("pending"))) {
            trigger = ON_unpaid;
        }
    } else if (item->op == OP_payment_refund) {
        const struct wire_refund *refund = item->body;
        if (slice_equal(refund->status, slice_of("succeeded"))) {
            trigger = ON_refunded;
        } else if (!slice_equal(refund->status, slice_of("pending"))) {
            trigger = ON_not_refunded;
        }
    }
    decide_ok(order, row, item, trigger, "");
}

/* What left the shelf, or came back. */
static void
count_sold(struct order_row *row, enum op op, uint64_t bit)
{
    if (op == OP_stock_commit) {
        row->sold |= (int64_t)bit;
    } else if (op == OP_stock_return) {
        row->sold &= ~(int64_t)bit;
    }
}

/* Decides when enough is known; until then nobody's answer may be missing without being asked for. */
static err
settle_shards(struct order_actor *order, struct order_row *row, const struct item *item)
{
    bool is_all_known = (order_row_asks(row) & ~row->known) == 0;
    bool decides_now = is_all_known || saga_steps[row->saga].decides == FIRST_NO;
    if (row->failed != 0 && decides_now) {
        return decide_refusal(order, row, item);
    }
    if (row->failed == 0 && is_all_known) {
        bool is_gone = row->money == MONEY_REFUNDED && saga_edge(row->saga, ON_money_gone) != NULL;
        decide_ok(order, row, item, is_gone ? ON_money_gone : ON_ok, "");
    } else {
        look_soon(order, row);
    }
    return ERR_ok;
}

/* Its id belongs to another request there, so nobody knows whether the step was done: nothing may be undone for it, and nothing go
 * on. */
static void
stand_still(struct order_actor *order, struct order_row *row, const struct item *item)
{
    if (row->saga == SAGA_reserving) {
        struct wire_problem problem = order_problem(row, "the order is kept, but its reservation is not known: somebody has to look");
        order_waiters_refuse(order->waiters, order->batch, row->n, ERR_internal, &problem);
    }
    go_on(order, row,
          &(struct order_news){.trigger = ON_fault,
                               .what = what_of(order, wire_ops[item->op].name),
                               .outcome = err_symbol(item->status),
                               .reason = "",
                               .detail = detail_of(order, item),
                               .cause = item});
}

/* An ok is believed from any attempt, everything else from the latest alone: an earlier one may have been refused and a later one be
 * done. Each shard has its own attempts. */
static bool
is_outdated(const struct order_row *row, const struct item *item, uint64_t bit)
{
    return item->status != ERR_ok && (row->again & bit) != 0 && !item->again;
}

err
order_handle_step(struct order_actor *order, const struct item *item)
{
    struct order_row *row = NULL;
    int shard = order_context_shard(item->context);
    uint64_t bit = UINT64_C(1) << shard;
    err code = order_store_get_n(order->store, order_context_n(item->context), order->cache, &row);
    if (code != ERR_ok || row == NULL || saga_steps[row->saga].op != item->op) {
        return code; /* the saga has gone on since it was asked */
    }
    struct id wanted = order_row_step_id(row, shard);
    if (!id_equal(&wanted, &item->id) || (row->known & bit) != 0) {
        return ERR_ok;
    }
    if (is_outdated(row, item, bit)) {
        order_ask(order, row, item->traceparent); /* unless the later attempt is on its way */
        return ERR_ok;
    }
    row->asking &= ~bit;
    if (item->status == ERR_idempotency_mismatch) {
        stand_still(order, row, item);
        return ERR_ok;
    }
    if (!order_is_decisive(row->saga, item->status)) {
        ask_later(order, row, item);
        return ERR_ok;
    }
    row->known |= bit;
    if (item->status != ERR_ok) {
        row->failed |= bit;
        row->refusal = item->status;
    }
    if (saga_steps[row->saga].whom != PAYMENT) {
        if (item->status == ERR_ok) {
            count_sold(row, item->op, bit);
        }
        return settle_shards(order, row, item);
    }
    if (item->status != ERR_ok) {
        return decide_refusal(order, row, item);
    }
    handle_money(order, row, item);
    return ERR_ok;
}

/* --- facts about money --- */

static bool
is_expired(const struct order_row *row)
{
    return row->status == ORDER_CANCELLED && strcmp(row->reason, "expired") == 0;
}

/* What an event means here. */
struct told_fact {
    int64_t bit;
    enum saga_trigger trigger;
    bool is_known; /* from an answer, or from an event before */
};

static struct told_fact
judge_fact(const struct order_row *row, const struct item *item)
{
    const struct wire_payment_fact *fact = item->body;
    struct id refund = saga_step_id(&row->charge, OP_payment_refund, row->tries, 0);
    bool is_ours = WIRE_HAS(fact, payment_fact, refund) && id_equal(&fact->refund, &refund);
    if (item->event == EVENT_payment_succeeded) {
        bool is_known = row->money == MONEY_PAID || row->money == MONEY_REFUNDED;
        return (struct told_fact){TOLD_SUCCEEDED,
                                  is_known ? SAGA_TRIGGER_COUNT : order_trigger_of_payment(row->status, is_expired(row)), is_known};
    }
    if (item->event == EVENT_payment_failed) {
        return (struct told_fact){TOLD_FAILED, row->money == MONEY_OPEN ? ON_unpaid : SAGA_TRIGGER_COUNT, row->money == MONEY_FAILED};
    }
    if (item->event == EVENT_payment_refunded) {
        return (struct told_fact){TOLD_REFUNDED, SAGA_TRIGGER_COUNT, row->money == MONEY_REFUNDED};
    }
    /* Another's that has failed leaves more to pay back than there was when ours was refused. */
    bool is_stuck = row->saga == SAGA_stuck && row->back == SAGA_refunding;
    enum saga_trigger trigger = is_ours ? ON_not_refunded : is_stuck ? ON_retry : SAGA_TRIGGER_COUNT;
    return (struct told_fact){TOLD_REFUND_FAILED, trigger, row->saga == SAGA_stuck && is_ours};
}

static struct order_news
news_of_fact(struct order_actor *order, const struct item *item, enum saga_trigger trigger)
{
    const struct wire_payment_fact *fact = item->body;
    char *detail = batch_alloc(order->batch, ERR_TEXT_MAX);
    detail[0] = '\0';
    if (WIRE_HAS(fact, payment_fact, reason)) {
        (void)snprintf(detail, ERR_TEXT_MAX, "%.*s", (int)fact->reason.size, (const char *)fact->reason.data);
    }
    bool is_late = trigger == ON_paid_late || trigger == ON_paid_unwanted;
    return (struct order_news){.trigger = trigger,
                               .what = what_of(order, wire_events[item->event].name),
                               .outcome = is_late ? "late" : "ok",
                               .reason = err_symbol(ERR_payment_refused),
                               .detail = detail,
                               .cause = item};
}

/* An event on this order's charge. The first telling of what an answer has told before is the normal way and leaves no entry; what
 * is told twice, or says nothing any more, is `ignored`. */
static err
handle_fact(struct order_actor *order, struct order_row *row, struct item *item)
{
    struct told_fact told = judge_fact(row, item);
    struct order_news news = news_of_fact(order, item, told.trigger);
    int64_t before = row->told;
    row->told |= told.bit;
    if (item->event == EVENT_payment_refunded && row->money == MONEY_PAID) {
        order_paid_back(order, row, item);
        return ERR_ok;
    }
    if (told.trigger != SAGA_TRIGGER_COUNT && order_move(order, row, &news)) {
        return ERR_ok;
    }
    if (item->event == EVENT_payment_succeeded && !told.is_known) {
        return order_stray_money(order, row, item);
    }
    if (row->money == MONEY_REFUNDED && (told.bit == TOLD_REFUNDED || told.bit == TOLD_REFUND_FAILED) && (before & told.bit) == 0) {
        return order_stray_refund(order, item);
    }
    if (!told.is_known || (before & told.bit) != 0) {
        order_touch(order, row);
        order_note(order, row, news.what, "ignored", told.is_known ? "told twice" : "it changes nothing any more");
    }
    return ERR_ok;
}

err
order_handle_payment(struct order_actor *order, struct item *item)
{
    const struct wire_payment_fact *fact = item->body;
    struct order_row *row = order_cache_find(order->cache, &fact->order);
    if (row == NULL) {
        log_debug("payment_of_no_order", LOG_ID("charge", &fact->charge), LOG_ID("order", &fact->order));
        return ERR_ok;
    }
    if (row->has_charge && id_equal(&row->charge, &fact->charge)) {
        return handle_fact(order, row, item);
    }
    if (item->event == EVENT_payment_succeeded) {
        return order_stray_money(order, row, item);
    }
    return order_stray_refund(order, item);
}

/* --- due rows --- */

static bool
is_behind_deadline(const struct order_actor *order, const struct order_row *row)
{
    return saga_has_deadline(row->saga) && order->batch->now_ms >= row->deadline_ms;
}

/* Everybody who is not being asked may have been asked before. */
static void
ask_anew(struct order_actor *order, struct order_row *row)
{
    row->again |= ~row->asking;
    order_ask(order, row, (struct slice){0});
}

static void
look_after(struct order_actor *order, struct order_row *row)
{
    row->due_ms = saga_has_deadline(row->saga) ? row->deadline_ms : order->batch->now_ms + order_watchdog_ms(order->settings);
    order_touch(order, row);
    if (row->saga == SAGA_refunding) {
        row->known = 0; /* whether it has arrived was not told yet */
    }
    row->attempts++;
    ask_anew(order, row);
}

void
order_handle_due(struct order_actor *order, const struct item *item)
{
    struct id id;
    if (item->key.size != sizeof id.bytes) {
        log_error("due_row_is_nonsense", LOG_SLICE("owner", item->owner));
        return;
    }
    memcpy(id.bytes, item->key.data, sizeof id.bytes);
    struct order_row *row = order_cache_find(order->cache, &id);
    if (row == NULL || row->saga == SAGA_ended) {
        return;
    }
    row->due_ms = row->due_disk_ms = ORDER_DUE_NONE;
    row->attempts = item->attempts > row->attempts ? item->attempts : row->attempts;
    if (row->saga == SAGA_stuck) {
        (void)order_move(order, row, &(struct order_news){ON_retry, "retry", "asked", "", "somebody asked for it", item});
    } else if (is_behind_deadline(order, row)) {
        (void)order_move(order, row, &(struct order_news){ON_deadline, "deadline", "ok", "expired", "not paid in time", item});
    } else {
        look_after(order, row);
    }
}

/* --- after a start --- */

err
order_resume(struct order_actor *order)
{
    struct id ids[RESUME_MAX];
    struct order_found found = {.ids = ids, .limit = RESUME_MAX};
    size_t after_size = id_is_zero(&order->resumed_to) ? 0 : sizeof order->resumed_to.bytes;
    err code = order_store_find_open(order->store, order->cache, (struct slice){order->resumed_to.bytes, after_size}, &found);
    for (size_t i = 0; code == ERR_ok && i < found.count; i++) {
        struct order_row *row = order_cache_find(order->cache, &ids[i]);
        bool is_late = row != NULL && is_behind_deadline(order, row); /* its due row ends what it waits for */
        if (row != NULL && !is_late) {
            ask_anew(order, row);
        }
    }
    if (code == ERR_ok && found.count > 0) {
        order->resumed_to = ids[found.count - 1];
    }
    order->is_resumed = code == ERR_ok && found.count < RESUME_MAX;
    return code;
}
