/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE   What happens to a saga: answers to what it asked, facts about its money, and time.
 *
 * MESSAGES  hears the answers of stock and payment; follows payment.succeeded failed refunded refund_failed
 *
 * STATE     None beside the order's row. Which shards have answered is in memory alone: it can be asked again.
 *
 * FAILURES  An answer that may be better later is no answer: asked again after a pause that doubles, for ever.
 *
 * LIMITS    RESUME_MAX sagas are asked anew at a time after a start.
 */
#include <stdio.h>
#include <string.h>

#include "kit/telemetry/log.h"
#include "kit/telemetry/log_often.h"
#include "order/order_state.h"

enum { RESUME_MAX = 256 };

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

/* What a timeline calls an operation or an event: "stock.reserve" is stock_reserve. */
static char *
what_of(struct order_actor *order, const char *name)
{
    size_t size = strlen(name) + 1;
    char *what = batch_alloc(order->batch, size);
    for (size_t i = 0; i < size; i++) {
        what[i] = name[i] == '.' ? '_' : name[i];
    }
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
        order_refuse_waiters(order, row, ERR_unavailable, &problem);
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
        news.trigger = is_back ? ON_ok : order_row_trigger_of_payment(row);
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
        order_refuse_waiters(order, row, ERR_internal, &problem);
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
order_handle_step(struct order_actor *order, struct item *item)
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
        return (struct told_fact){TOLD_SUCCEEDED, is_known ? SAGA_TRIGGER_COUNT : order_row_trigger_of_payment(row), is_known};
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

err
order_handle_due(struct order_actor *order, struct item *item)
{
    struct id id = order_key_of(item);
    struct order_row *row = order_cache_find(order->cache, &id);
    if (row == NULL || row->saga == SAGA_ended) {
        return ERR_ok;
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
    return ERR_ok;
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
