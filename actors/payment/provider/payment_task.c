/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE   A charge or a refund that a provider is called about: the message that creates it, whether the money that moved is what
 *           was asked for, and the letter when calls end without an outcome.
 *
 * STATE     The slots of the book, and the due row "charge" or "refund" behind the calls (outcall.h).
 *
 * FAILURES  Other money than was asked for is no success, whoever tells it: a letter with what came, and the charge stays as it is
 *           until the provider tells of the right amount, also when somebody asks for the letter.
 */
#include "payment_task.h"

#include <inttypes.h>
#include <stdlib.h>

#include "kit/base/backoff.h"
#include "kit/telemetry/log_often.h"

struct retry
payment_retry(const struct settings *settings)
{
    return (struct retry){settings->retry_first_ms, BACKOFF_MAX_MS, settings->retry_attempts};
}

struct retry
payment_patience(const struct settings *settings, bool is_simulated)
{
    int64_t first_ms = is_simulated ? settings->payment_delay_ms : settings->call_timeout_ms * PAYMENT_PATIENCE_CALLS;
    return (struct retry){first_ms, PAYMENT_PATIENCE_MAX_MS, INT64_MAX};
}

struct payment_task
payment_task_of(struct payment *payment, struct payment_charge_slot *charge, struct payment_refund_slot *refund,
                const struct item *cause)
{
    struct outcall call = {
        .batch = payment->batch, .owner = OWNER_CHARGE, .id = charge->charge.id, .attempts = &charge->charge.attempts};
    if (refund != NULL) {
        call.owner = OWNER_REFUND;
        call.id = refund->refund.id;
        call.attempts = &refund->refund.attempts;
    }
    return (struct payment_task){.charge = charge, .refund = refund, .cause = cause, .call = call};
}

int64_t
payment_task_amount(const struct payment_task *task)
{
    return task->refund != NULL ? task->refund->refund.amount : task->charge->charge.amount;
}

void
payment_task_touch(struct payment_task *task)
{
    *(task->refund != NULL ? &task->refund->is_changed : &task->charge->is_changed) = true;
}

void
payment_task_say(struct payment_task *task, struct slice reason)
{
    *(task->refund != NULL ? &task->refund->refund.reason : &task->charge->charge.reason) = reason;
    payment_task_touch(task);
}

bool
payment_ask_reference(struct payment *payment, struct payment_charge_slot *charge, struct payment_refund_slot *refund)
{
    bool is_there_anybody = charge->charge.provider == PAYMENT_HTTP && payment->settings->payment_url[0] != '\0';
    if (is_there_anybody) {
        struct payment_task task = payment_task_of(payment, charge, refund, NULL);
        outcall_wait(&task.call, CALLS_WAIT_PAUSE, payment->batch->now_ms);
    }
    return is_there_anybody;
}

/* --- letters --- */

struct slice
payment_task_keep(struct payment *payment, json_t *json)
{
    char *text = json_dumps(json, JSON_COMPACT | JSON_PRESERVE_ORDER);
    if (text == NULL) {
        abort(); /* out of memory: all that goes in is UTF-8 */
    }
    struct slice kept = payment_book_keep(&payment->book, slice_of(text));
    free(text);
    json_decref(json);
    return kept;
}

struct slice
payment_task_message(struct payment *payment, const struct payment_task *task)
{
    char id[ID_TEXT_SIZE];
    char other[ID_TEXT_SIZE];
    const struct payment_charge *charge = &task->charge->charge;
    id_format(&task->call.id, id);
    if (task->refund != NULL) {
        id_format(&charge->id, other);
        return payment_task_keep(
            payment, json_pack("{s:s, s:s, s:I}", "id", id, "charge", other, "amount", (json_int_t)task->refund->refund.amount));
    }
    id_format(&charge->order, other);
    return payment_task_keep(payment,
                             json_pack("{s:s, s:I, s:s, s:s, s:s}", "id", id, "amount", (json_int_t)charge->amount, "currency",
                                       charge->currency, "method", payment_method_name(charge->method), "order", other));
}

void
payment_task_bury(struct payment *payment, struct payment_task *task, struct slice error, const struct money_told *moved)
{
    bool has_amount = moved != NULL && moved->amount != MONEY_NOT_TOLD;
    bool has_currency = moved != NULL && moved->currency[0] != '\0';
    const struct payment_charge *charge = &task->charge->charge;
    struct wire_burial burial = {0};
    char order[ID_TEXT_SIZE];
    id_format(&charge->order, order);
    WIRE_SET(&burial, burial, key, slice_of(order));
    WIRE_SET(&burial, burial, type, slice_of(task->refund != NULL ? "payment.refund_call" : "payment.charge_call"));
    WIRE_SET(&burial, burial, body, payment_task_message(payment, task));
    WIRE_SET(&burial, burial, amount, has_amount ? moved->amount : payment_task_amount(task));
    WIRE_SET(&burial, burial, currency, slice_of(has_currency ? moved->currency : charge->currency));
    outcall_bury(&task->call, &burial, moved != NULL ? ERR_money_differs : ERR_call_failed, error);
    log_often(LOG_LEVEL_ERROR, "payment_call_given_up", task->call.owner, LOG_ID(task->call.owner, &task->call.id),
              LOG_I64("attempts", *task->call.attempts), LOG_SLICE("error", error), LOG_TEXT("now", "its letter can be replayed"));
}

/* --- other money --- */

bool
payment_task_is_doubted(const struct payment_task *task)
{
    return task->refund == NULL && payment_is_money_told(&task->charge->charge.came);
}

void
payment_task_take_other_money(struct payment *payment, struct payment_task *task, const struct money_told *told)
{
    struct payment_charge *charge = &task->charge->charge;
    struct err_text why;
    if (!payment_is_money_told(told)) {
        (void)err_say(&why, ERR_ok, "other money came for it before, and the provider does not say how much it is now");
        told = &charge->came;
    } else if (told->amount == MONEY_NOT_TOLD) {
        (void)err_say(&why, ERR_ok, "%" PRId64 " %s were asked for, and %s came", payment_task_amount(task), charge->currency,
                      told->currency);
    } else {
        (void)err_say(&why, ERR_ok, "%" PRId64 " %s were asked for, and %" PRId64 " %s came", payment_task_amount(task),
                      charge->currency, told->amount, told->currency[0] != '\0' ? told->currency : charge->currency);
    }
    struct slice error = payment_book_keep(&payment->book, slice_of(why.text));
    if (task->refund == NULL) {
        charge->came = *told;
    }
    calls_add(&task->call.calls, payment->batch->now_ms, error);
    payment_task_say(task, error);
    payment_task_bury(payment, task, error, told);
}

bool
payment_task_is_right(struct payment_task *task, const struct money_told *told)
{
    bool is_too_little_said = payment_task_is_doubted(task) && told->amount == MONEY_NOT_TOLD;
    if (is_too_little_said || !payment_money_fits(told, payment_task_amount(task), task->charge->charge.currency)) {
        return false;
    }
    if (payment_task_is_doubted(task)) {
        task->charge->charge.came = (struct money_told){.amount = MONEY_NOT_TOLD};
        payment_task_touch(task);
    }
    return true;
}

err
payment_check_money(struct payment *payment, struct payment_charge_slot *charge, struct payment_refund_slot *refund,
                    const struct payment_words *words, const struct item *cause, bool *fits)
{
    struct payment_task task = payment_task_of(payment, charge, refund, cause);
    *fits = payment_task_is_right(&task, &words->money);
    err code = *fits ? ERR_ok : outcall_load(&task.call);
    if (code == ERR_ok && !*fits) {
        payment_task_take_other_money(payment, &task, &words->money);
    }
    outcall_fini(&task.call);
    return code;
}
