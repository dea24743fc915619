/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE
 *   Calls to the provider about charges and refunds: an outside one over HTTP, or a simulated one whose answers stand in
 *   payment_amounts.def and go the same way. Each charge and each refund is created once at the provider, under its own id as the key,
 *   whatever happens on the way.
 *
 * STATE
 *   The due row "charge" or "refund" of what is pending: set before a call to a moment behind the call's time-out, so that a
 *   process that ends in the middle goes on. Its payload is what is remembered of the calls (calls.h). `attempts` of the row counts
 *   calls and stands in the call's tag: an outcome with another one is old and is passed over.
 *
 * FAILURES
 *   A call without a clear outcome may have moved money: after a pause the provider is asked, and only when it does not know of it it
 *   is told again, with the same key. After retry_attempts without an outcome it is a letter, and goes on when somebody asks for
 *   it: one question, and from there by itself if it is answered. A definite refusal fails the charge or the refund; trying again is a
 *   new one. What is pending is asked for with a patience that doubles.
 *   Other money than was asked for is no success, whoever tells it: a letter with what came, and the charge stays as it is until the
 * provider tells of the right amount, also when somebody asks for the letter.
 *   A charge that was cancelled while it may have been taken is asked for as well, and never told again: a success that comes late is
 *   told to the order, which pays it back. After PAYMENT_WATCH_MS only a webhook can still tell.
 *
 * LIMITS
 *   A charge that is paid by hand has no calls. With no provider's address any more, calls about its charges become letters.
 */
#include "payment/payment_state.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>
#include <sodium.h>

#include "kit/telemetry/log.h"
#include "kit/telemetry/log_often.h"

#define YIELDED                                                           \
    {                                                                     \
        (const uint8_t *)"it was paid back at the provider meanwhile", 42 \
    }
#define URL_SIZE (SETTING_TEXT_MAX + 64)

/* A charge or a refund on its way to the provider. */
struct task {
    struct payment_charge_slot *charge;
    struct payment_refund_slot *refund; /* NULL: it is the charge itself */
    struct calls calls;
    bool has_row; /* its due row may be there */
    const struct item *cause;
};

static const struct money_told none_told = {.amount = MONEY_NOT_TOLD};

static err
call(struct payment *payment, struct task *task, enum payment_step step);

enum payment_provider
payment_provider_of(const struct payment *payment, enum payment_method method)
{
    if (method == PAYMENT_MONEY) {
        return PAYMENT_BY_HAND;
    }
    return payment->settings->payment_url[0] == '\0' ? PAYMENT_SIMULATED : PAYMENT_HTTP;
}

/* --- what a task is about --- */

static const char *
owner_of(const struct task *task)
{
    return task->refund != NULL ? OWNER_REFUND : OWNER_CHARGE;
}

static const struct id *
id_of(const struct task *task)
{
    return task->refund != NULL ? &task->refund->refund.id : &task->charge->charge.id;
}

static int64_t
amount_of(const struct task *task)
{
    return task->refund != NULL ? task->refund->refund.amount : task->charge->charge.amount;
}

static int64_t *
attempts_of(struct task *task)
{
    return task->refund != NULL ? &task->refund->refund.attempts : &task->charge->charge.attempts;
}

static void
touch(struct task *task)
{
    if (task->refund != NULL) {
        task->refund->is_changed = true;
    } else {
        task->charge->is_changed = true;
    }
}

static void
set_reason(struct task *task, struct slice reason)
{
    *(task->refund != NULL ? &task->refund->refund.reason : &task->charge->charge.reason) = reason;
    touch(task);
}

static bool
is_cancelled(const struct task *task)
{
    return task->refund == NULL && task->charge->charge.status == PAYMENT_CANCELLED;
}

/* Whether only the provider's number of it is missing: a refund that was told waits for that. */
static bool
lacks_reference(const struct task *task)
{
    return task->refund != NULL && task->refund->refund.status == PAYMENT_SUCCEEDED && task->refund->refund.reference.size == 0 &&
           payment_has_told_refund(task->charge);
}

/* Whether a provider took other money for it than was asked for. */
static bool
is_doubted(const struct task *task)
{
    return task->refund == NULL && payment_is_money_told(&task->charge->charge.came);
}

/* Whether its outcome is still wanted: it is pending, or cancelled and may have been taken, or other money came. */
static bool
is_wanted(const struct task *task)
{
    if (task->refund != NULL) {
        return task->refund->refund.status == PAYMENT_PENDING || lacks_reference(task);
    }
    return task->charge->charge.status == PAYMENT_PENDING || task->charge->charge.status == PAYMENT_CANCELLED || is_doubted(task);
}

/* --- the due row --- */

static void
wait_for(struct payment *payment, struct task *task, enum calls_wait wait, int64_t due_ms)
{
    struct wire_buffer payload = {0};
    task->calls.wait = wait;
    calls_encode(&task->calls, &payload);
    batch_due(payment->batch, &(struct due){
                                  .owner = owner_of(task),
                                  .key = {id_of(task)->bytes, ID_SIZE},
                                  .due_ms = due_ms,
                                  .attempts = *attempts_of(task),
                                  .payload = wire_buffer_slice(&payload),
                              });
    wire_buffer_fini(&payload);
    task->has_row = true;
}

static void
close_letter(struct payment *payment, const struct id *id, struct calls *calls)
{
    if (calls->has_letter) {
        struct id letter = batch_letter_id(payment->batch, id);
        batch_settle(payment->batch, &letter);
        calls->has_letter = false;
    }
}

/* Nothing more is to be called. */
static void
end(struct payment *payment, struct task *task)
{
    close_letter(payment, id_of(task), &task->calls);
    if (task->has_row) {
        batch_due_cancel(payment->batch, owner_of(task), (struct slice){id_of(task)->bytes, ID_SIZE});
    }
}

bool
payment_ask_reference(struct payment *payment, const struct payment_charge *charge, const struct payment_refund *refund)
{
    struct wire_buffer payload = {0};
    struct calls calls = {.wait = CALLS_WAIT_PAUSE};
    if (charge->provider != PAYMENT_HTTP || payment->settings->payment_url[0] == '\0') {
        return false;
    }
    calls_encode(&calls, &payload);
    batch_due(payment->batch, &(struct due){
                                  .owner = OWNER_REFUND,
                                  .key = {refund->id.bytes, ID_SIZE},
                                  .due_ms = payment->batch->now_ms,
                                  .attempts = refund->attempts,
                                  .payload = wire_buffer_slice(&payload),
                              });
    wire_buffer_fini(&payload);
    return true;
}

err
payment_stop_calls(struct payment *payment, const char *owner, const struct id *id)
{
    struct wire_buffer payload = {0};
    struct calls calls;
    bool found = false;
    err code = payment_store_find_calls(&payment->store, owner, id, &payload, &found);
    if (code == ERR_ok && found) {
        calls_init(&calls, wire_buffer_slice(&payload));
        close_letter(payment, id, &calls);
        calls_fini(&calls);
    }
    if (code == ERR_ok) {
        batch_due_cancel(payment->batch, owner, (struct slice){id->bytes, ID_SIZE});
    }
    wire_buffer_fini(&payload);
    return code;
}

/* --- letters --- */

static struct slice
keep_json(struct payment *payment, json_t *json)
{
    char *text = json_dumps(json, JSON_COMPACT | JSON_PRESERVE_ORDER);
    if (text == NULL) {
        abort(); /* out of memory: all that goes in is ours */
    }
    struct slice kept = payment_book_keep(&payment->book, slice_of(text));
    free(text);
    json_decref(json);
    return kept;
}

/* What is posted to create it. */
static struct slice
message_of(struct payment *payment, const struct task *task)
{
    char id[ID_TEXT_SIZE];
    char other[ID_TEXT_SIZE];
    const struct payment_charge *charge = &task->charge->charge;
    id_format(id_of(task), id);
    if (task->refund != NULL) {
        id_format(&charge->id, other);
        return keep_json(payment,
                         json_pack("{s:s, s:s, s:I}", "id", id, "charge", other, "amount", (json_int_t)task->refund->refund.amount));
    }
    id_format(&charge->order, other);
    return keep_json(payment, json_pack("{s:s, s:I, s:s, s:s, s:s}", "id", id, "amount", (json_int_t)charge->amount, "currency",
                                        charge->currency, "method", payment_method_name(charge->method), "order", other));
}

/* Calls end here by themselves; it stays as it is. The latest attempt in `calls` says why. `moved` is other money than was asked for;
 * NULL: that is not known. */
static void
bury(struct payment *payment, struct task *task, struct slice error, const struct money_told *moved)
{
    int64_t amount = amount_of(task);
    const char *currency = task->charge->charge.currency;
    struct batch *batch = payment->batch;
    struct wire_burial burial = {0};
    struct calls *calls = &task->calls;
    char order[ID_TEXT_SIZE];
    int64_t attempts = *attempts_of(task);
    calls->told = attempts > calls->told ? attempts : calls->told + 1;
    if (moved != NULL) {
        amount = moved->amount != MONEY_NOT_TOLD ? moved->amount : amount;
        currency = moved->currency[0] != '\0' ? moved->currency : currency;
    }
    id_format(&task->charge->charge.order, order);
    WIRE_SET(&burial, burial, letter, batch_letter_id(batch, id_of(task)));
    WIRE_SET(&burial, burial, kind, slice_of("call"));
    WIRE_SET(&burial, burial, reason, slice_of(err_symbol(moved != NULL ? ERR_money_differs : ERR_call_failed)));
    WIRE_SET(&burial, burial, error, error);
    WIRE_SET(&burial, burial, attempts, calls->told);
    WIRE_SET(&burial, burial, first, calls_first_ms(calls, batch->now_ms));
    WIRE_SET(&burial, burial, last, batch->now_ms);
    WIRE_SET(&burial, burial, history, calls->past);
    WIRE_SET(&burial, burial, key, slice_of(order));
    WIRE_SET(&burial, burial, type, slice_of(task->refund != NULL ? "payment.refund_call" : "payment.charge_call"));
    WIRE_SET(&burial, burial, owner, slice_of(owner_of(task)));
    WIRE_SET(&burial, burial, due_key, ((struct slice){id_of(task)->bytes, ID_SIZE}));
    WIRE_SET(&burial, burial, body, message_of(payment, task));
    WIRE_SET(&burial, burial, amount, amount);
    WIRE_SET(&burial, burial, currency, slice_of(currency));
    batch_bury(batch, &burial);
    calls->has_letter = true;
    log_often(LOG_LEVEL_ERROR, "payment_call_given_up", owner_of(task), LOG_ID(owner_of(task), id_of(task)),
              LOG_I64("attempts", attempts), LOG_SLICE("error", error), LOG_TEXT("now", "its letter can be replayed"));
    wait_for(payment, task, CALLS_WAIT_NOBODY, DUE_NEVER);
}

/* --- verdicts --- */

/* The simulated provider may tell once more what became of a charge. */
static void
expect_later(struct payment *payment, const struct payment_charge *charge)
{
    if (charge->provider == PAYMENT_SIMULATED && payment_simulate_later(charge->amount) != VERDICT_NOT_TAKEN) {
        batch_due(payment->batch, &(struct due){
                                      .owner = OWNER_TOLD,
                                      .key = {charge->id.bytes, ID_SIZE},
                                      .due_ms = payment->batch->now_ms + payment->settings->payment_delay_ms,
                                  });
    }
}

static err
settle(struct payment *payment, struct task *task, enum payment_verdict verdict, const struct payment_words *words)
{
    touch(task);
    if (task->refund != NULL) {
        (void)payment_settle_refund(payment, task->refund, verdict, words, task->cause);
    } else if (payment_settle_charge(payment, task->charge, verdict, words, task->cause) && verdict == VERDICT_SUCCEEDED) {
        expect_later(payment, &task->charge->charge);
    }
    end(payment, task);
    return payment_apply_parked(payment, task->charge, task->cause);
}

/* A provider that gives no number knows the refund by our key alone. */
static void
learn_reference(struct payment *payment, struct task *task, struct slice reference)
{
    char text[ID_TEXT_SIZE];
    struct payment_refund *refund = &task->refund->refund;
    id_format(&refund->id, text);
    refund->reference = reference.size > 0 ? reference : payment_book_keep(&payment->book, slice_of(text));
    touch(task);
}

static void
take_pending(struct payment *payment, struct task *task, const struct payment_words *words)
{
    const struct payment_charge *charge = &task->charge->charge;
    bool is_simulated = charge->provider == PAYMENT_SIMULATED;
    int64_t first_ms =
        is_simulated ? payment->settings->payment_delay_ms : payment->settings->call_timeout_ms * PAYMENT_PATIENCE_CALLS;
    int64_t now_ms = payment->batch->now_ms;
    close_letter(payment, id_of(task), &task->calls);
    task->calls.failures = 0;
    task->calls.doubted_ms = 0;
    task->calls.accepted++;
    if (words->reference.size > 0) {
        *(task->refund != NULL ? &task->refund->refund.reference : &task->charge->charge.reference) = words->reference;
    }
    set_reason(task, words->reason);
    if (is_cancelled(task) && now_ms - charge->changed_ms >= PAYMENT_WATCH_MS) {
        log_warn("cancelled_charge_still_pending", LOG_ID("charge", &charge->id),
                 LOG_TEXT("now", "it is not asked for any more; a webhook can still tell"));
        end(payment, task);
        return;
    }
    int64_t pause_ms = payment_patience_ms(task->calls.accepted, first_ms);
    pause_ms += is_simulated ? 0 : randombytes_uniform((uint32_t)(pause_ms / 4 + 1));
    wait_for(payment, task, CALLS_WAIT_END, now_ms + pause_ms);
}

/* Calls go on after a pause, until there were too many. */
static void
take_unknown(struct payment *payment, struct task *task, struct slice error)
{
    struct calls *calls = &task->calls;
    calls_add(calls, payment->batch->now_ms, error);
    calls->failures++;
    set_reason(task, error);
    if (!calls_again(calls->failures, payment->settings->retry_attempts, calls->has_letter)) {
        bury(payment, task, error, NULL);
        return;
    }
    int64_t pause_ms = batch_backoff_ms(payment->batch, calls->failures);
    log_often(LOG_LEVEL_WARN, "payment_call_without_outcome", owner_of(task), LOG_ID(owner_of(task), id_of(task)),
              LOG_I64("attempts", *attempts_of(task)), LOG_I64("again_in_ms", pause_ms), LOG_SLICE("error", error));
    wait_for(payment, task, CALLS_WAIT_PAUSE, payment->batch->now_ms + pause_ms);
}

/* What went wrong is the provider's, or a setting's of ours: nothing is counted, and when its turn comes it is asked for. */
static void
take_held(struct payment *payment, struct task *task, struct slice error)
{
    set_reason(task, error);
    log_often(LOG_LEVEL_WARN, "payment_call_waits", owner_of(task), LOG_ID(owner_of(task), id_of(task)), LOG_SLICE("error", error));
    wait_for(payment, task, CALLS_WAIT_TURN, batch_turn_ms(payment->batch));
}

/* What came is not what was asked for: nothing is taken as done, and it is not asked for by itself any more. */
static void
take_other_money(struct payment *payment, struct task *task, const struct money_told *told)
{
    struct payment_charge *charge = &task->charge->charge;
    struct err_text why;
    if (!payment_is_money_told(told)) {
        (void)err_say(&why, ERR_ok, "other money came for it before, and the provider does not say how much it is now");
        told = &charge->came;
    } else if (told->amount == MONEY_NOT_TOLD) {
        (void)err_say(&why, ERR_ok, "%" PRId64 " %s were asked for, and %s came", amount_of(task), charge->currency, told->currency);
    } else {
        (void)err_say(&why, ERR_ok, "%" PRId64 " %s were asked for, and %" PRId64 " %s came", amount_of(task), charge->currency,
                      told->amount, told->currency[0] != '\0' ? told->currency : charge->currency);
    }
    struct slice error = payment_book_keep(&payment->book, slice_of(why.text));
    if (task->refund == NULL) {
        charge->came = *told;
    }
    calls_add(&task->calls, payment->batch->now_ms, error);
    set_reason(task, error);
    bury(payment, task, error, told);
}

/* A success without a word about the amount is one of what was asked for, unless other money was told of before. */
static bool
is_right(struct task *task, const struct money_told *told)
{
    bool is_too_little_said = is_doubted(task) && told->amount == MONEY_NOT_TOLD;
    if (is_too_little_said || !payment_money_fits(told, amount_of(task), task->charge->charge.currency)) {
        return false;
    }
    if (is_doubted(task)) {
        task->charge->charge.came = (struct money_told){.amount = MONEY_NOT_TOLD};
        touch(task);
    }
    return true;
}

err
payment_check_money(struct payment *payment, struct payment_charge_slot *slot, struct payment_refund_slot *refund,
                    const struct payment_words *words, const struct item *cause, bool *fits)
{
    struct task task = {.charge = slot, .refund = refund, .cause = cause};
    struct wire_buffer payload = {0};
    *fits = is_right(&task, &words->money);
    if (*fits) {
        return ERR_ok;
    }
    err code = payment_store_find_calls(&payment->store, owner_of(&task), id_of(&task), &payload, &task.has_row);
    if (code == ERR_ok) {
        calls_init(&task.calls, wire_buffer_slice(&payload));
        take_other_money(payment, &task, &words->money);
        calls_fini(&task.calls);
    }
    wire_buffer_fini(&payload);
    return code;
}

static err
take_verdict(struct payment *payment, struct task *task, enum payment_verdict verdict, const struct payment_words *words)
{
    if (lacks_reference(task) && verdict != VERDICT_UNKNOWN) {
        learn_reference(payment, task, words->reference);
        end(payment, task);
        return payment_apply_parked(payment, task->charge, task->cause);
    }
    switch (verdict) {
    case VERDICT_SUCCEEDED:
        if (!is_right(task, &words->money)) {
            take_other_money(payment, task, &words->money);
            return ERR_ok;
        }
        return settle(payment, task, verdict, words);
    case VERDICT_FAILED:
        return settle(payment, task, verdict, words);
    case VERDICT_PENDING:
        take_pending(payment, task, words);
        return payment_apply_parked(payment, task->charge, task->cause);
    case VERDICT_NOT_TAKEN:
        if (is_doubted(task)) {
            take_other_money(payment, task, &none_told);
            return ERR_ok;
        }
        if (is_cancelled(task)) {
            end(payment, task);
            return ERR_ok;
        }
        return call(payment, task, PAYMENT_CREATE);
    case VERDICT_UNKNOWN:
    case VERDICT_COUNT:
        take_unknown(payment, task, words->reason);
        return ERR_ok;
    }
    return ERR_internal;
}

/* --- the simulated provider --- */

static err
call_simulated(struct payment *payment, struct task *task, enum payment_step step)
{
    const struct payment_charge *charge = &task->charge->charge;
    char reason[96] = "";
    enum payment_verdict verdict = task->refund != NULL ? payment_simulate_refund(charge->amount, step)
                                                        : payment_simulate_charge(charge->amount, step, charge->attempts == 1);
    if (verdict == VERDICT_UNKNOWN) {
        wait_for(payment, task, CALLS_WAIT_CALL, payment->batch->now_ms + payment->settings->payment_delay_ms);
        return ERR_ok;
    }
    if (verdict == VERDICT_FAILED) {
        (void)snprintf(reason, sizeof reason, "the simulated provider refuses%s amounts that end in %02d",
                       task->refund != NULL ? " to pay back" : "", (int)(charge->amount % 100));
    }
    struct payment_words words = {
        .reference = slice_of(""), .reason = payment_book_keep(&payment->book, slice_of(reason)), .money.amount = amount_of(task)};
    return take_verdict(payment, task, verdict, &words);
}

/* --- the outside provider --- */

static void
url_of(const struct payment *payment, const struct task *task, enum payment_step step, char url[URL_SIZE])
{
    const char *base = payment->settings->payment_url;
    const char *what = task->refund != NULL ? "refunds" : "charges";
    char id[ID_TEXT_SIZE];
    size_t size = strlen(base);
    while (size > 0 && base[size - 1] == '/') {
        size--;
    }
    id_format(id_of(task), id);
    if (step == PAYMENT_ASK) {
        (void)snprintf(url, URL_SIZE, "%.*s/%s/%s", (int)size, base, what, id);
    } else {
        (void)snprintf(url, URL_SIZE, "%.*s/%s", (int)size, base, what);
    }
}

/* The number of the call, whether it is about a refund, and whether it asks. */
static int64_t
tag_of(struct task *task, enum payment_step step)
{
    return *attempts_of(task) * 4 + (task->refund != NULL ? 2 : 0) + (step == PAYMENT_ASK ? 1 : 0);
}

bool
payment_call_is_refund(const struct item *item)
{
    return (item->call_tag & 2) != 0;
}

static err
call_outside(struct payment *payment, struct task *task, enum payment_step step)
{
    const struct settings *settings = payment->settings;
    char url[URL_SIZE];
    if (settings->payment_url[0] == '\0') {
        take_unknown(payment, task, slice_of("there is no payment_url any more"));
        return ERR_ok;
    }
    url_of(payment, task, step, url);
    wait_for(payment, task, CALLS_WAIT_CALL, payment->batch->now_ms + 2 * settings->call_timeout_ms);
    batch_call(payment->batch, &(struct call){
                                   .url = url,
                                   .json = step == PAYMENT_CREATE ? message_of(payment, task) : (struct slice){0},
                                   .timeout_ms = settings->call_timeout_ms,
                                   .context_id = *id_of(task),
                                   .tag = tag_of(task, step),
                                   .bearer = settings->payment_token,
                                   .is_once = step == PAYMENT_CREATE,
                                   .expects_missing = step == PAYMENT_ASK,
                               });
    return ERR_ok;
}

static err
call(struct payment *payment, struct task *task, enum payment_step step)
{
    bool is_outside = task->charge->charge.provider != PAYMENT_SIMULATED && payment->settings->payment_url[0] != '\0';
    if (step == PAYMENT_CREATE && task->refund != NULL && payment_has_told_refund(task->charge)) {
        static const struct payment_words yields = {{(const uint8_t *)"", 0}, YIELDED, {0}};
        return settle(payment, task, VERDICT_FAILED, &yields); /* it is not there yet, so the one that was told is another one */
    }
    if (is_outside && !batch_may_call(payment->batch, task->cause)) {
        wait_for(payment, task, step == PAYMENT_CREATE ? CALLS_WAIT_TURN_FIRST : CALLS_WAIT_TURN, batch_turn_ms(payment->batch));
        return ERR_ok;
    }
    (*attempts_of(task))++;
    touch(task);
    return task->charge->charge.provider == PAYMENT_SIMULATED ? call_simulated(payment, task, step)
                                                              : call_outside(payment, task, step);
}

/* --- beginnings --- */

static err
start(struct payment *payment, struct task *task)
{
    static const struct payment_words none = {{(const uint8_t *)"", 0}, {(const uint8_t *)"", 0}, {MONEY_NOT_TOLD, ""}};
    if (amount_of(task) == 0 || (task->refund != NULL && task->charge->charge.provider == PAYMENT_BY_HAND)) {
        return settle(payment, task, VERDICT_SUCCEEDED, &none); /* nothing has to move, or it moves over the counter */
    }
    if (task->charge->charge.provider == PAYMENT_BY_HAND) {
        return ERR_ok;
    }
    err code = call(payment, task, PAYMENT_CREATE);
    calls_fini(&task->calls);
    return code;
}

err
payment_start_charge(struct payment *payment, struct payment_charge_slot *slot, const struct item *cause)
{
    struct task task = {.charge = slot, .cause = cause};
    return start(payment, &task);
}

err
payment_start_refund(struct payment *payment, struct payment_refund_slot *slot, const struct item *cause)
{
    struct task task = {.charge = payment_book_charge(&payment->book, &slot->refund.charge), .refund = slot, .cause = cause};
    if (task.charge == NULL) {
        log_error("refund_without_charge", LOG_ID("refund", &slot->refund.id), LOG_ID("charge", &slot->refund.charge));
        return ERR_db_bug;
    }
    return start(payment, &task);
}

/* --- due rows and outcomes --- */

/* False: there is no such charge or refund. */
static bool
find_task(struct payment *payment, bool is_refund, const struct id *id, struct task *task)
{
    if (is_refund) {
        task->refund = payment_book_refund(&payment->book, id);
        task->charge = task->refund == NULL ? NULL : payment_book_charge(&payment->book, &task->refund->refund.charge);
    } else {
        task->charge = payment_book_charge(&payment->book, id);
    }
    return task->charge != NULL;
}

/* A batch that comes late may hold the outcome of a call and, behind it, the due row that stood in for that outcome. */
static bool *
called_flag(struct task *task)
{
    return task->refund != NULL ? &task->refund->is_called : &task->charge->is_called;
}

err
payment_handle_due(struct payment *payment, const struct item *item)
{
    struct task task = {.cause = item};
    struct id id;
    if (item->key.size != ID_SIZE) {
        log_error("due_row_is_nonsense", LOG_SLICE("owner", item->owner));
        return ERR_ok;
    }
    memcpy(id.bytes, item->key.data, ID_SIZE);
    if (!find_task(payment, slice_equal(item->owner, slice_of(OWNER_REFUND)), &id, &task)) {
        log_error("due_row_of_nothing", LOG_SLICE("owner", item->owner), LOG_ID("id", &id));
        return ERR_ok;
    }
    if (*called_flag(&task)) {
        return ERR_ok;
    }
    err code = ERR_ok;
    calls_init(&task.calls, item->payload);
    bool is_first = task.calls.wait == CALLS_WAIT_TURN_FIRST;
    if (!is_wanted(&task) || (is_first && is_cancelled(&task))) {
        end(payment, &task);
    } else if (is_first) {
        code = call(payment, &task, PAYMENT_CREATE);
    } else {
        if (task.calls.wait == CALLS_WAIT_CALL) {
            calls_add(&task.calls, payment->batch->now_ms, slice_of("there was no answer in time"));
            task.calls.failures++;
        }
        code = call(payment, &task, PAYMENT_ASK);
    }
    calls_fini(&task.calls);
    return code;
}

/* What went wrong with a call, for people. An answer that repeats the token is left out. */
static struct slice
describe(struct payment *payment, const struct item *item)
{
    struct err_text error;
    const char *token = payment->settings->payment_token;
    const char *words = item->text.size > 0 ? (const char *)item->text.data : "";
    size_t token_size = strlen(token);
    if (token_size > 0 && memmem(words, item->text.size, token, token_size) != NULL) {
        (void)err_say(&error, ERR_ok, "the provider answered HTTP %d and repeated the token, which is left out", item->call_status);
    } else if (item->call_status == 0) {
        (void)err_say(&error, ERR_ok, "the provider did not answer: %.*s", (int)item->text.size, words);
    } else {
        (void)err_say(&error, ERR_ok, "the provider answered HTTP %d: %.*s", item->call_status, (int)item->text.size, words);
    }
    return payment_clean_text(payment, slice_of(error.text), PAYMENT_REASON_MAX);
}

static struct slice
text_member(const json_t *object, const char *name)
{
    const json_t *member = json_object_get(object, name);
    return json_is_string(member) ? (struct slice){(const uint8_t *)json_string_value(member), json_string_length(member)}
                                  : slice_of("");
}

/* Reads the answer and says what it means. */
static enum payment_verdict
judge(struct payment *payment, const struct item *item, struct payment_words *words)
{
    enum payment_step step = (item->call_tag & 1) != 0 ? PAYMENT_ASK : PAYMENT_CREATE;
    const char *text = item->text.size > 0 ? (const char *)item->text.data : "";
    json_t *answer = json_loadb(text, item->text.size, JSON_REJECT_DUPLICATES, NULL);
    enum payment_verdict verdict = payment_judge(step, item->call_status, text_member(answer, "status"));
    struct money_told money;
    if (payment_read_money(answer, &money) != NULL && verdict == VERDICT_SUCCEEDED) {
        verdict = VERDICT_UNKNOWN;
    }
    *words = (struct payment_words){
        .reference = payment_clean_text(payment, text_member(answer, "reference"), PAYMENT_REFERENCE_MAX),
        .reason = payment_clean_text(payment, text_member(answer, "reason"), PAYMENT_REASON_MAX),
        .money = money,
    };
    json_decref(answer);
    bool is_unexplained = verdict == VERDICT_FAILED && words->reason.size == 0;
    if (verdict == VERDICT_UNKNOWN || verdict == VERDICT_NOT_TAKEN || is_unexplained) {
        words->reason = describe(payment, item);
    }
    return verdict;
}

/* Whether the call counts as not made. */
static bool
is_held(const struct payment *payment, struct task *task, const struct item *item)
{
    if (item->call_blame == CALL_IN_DOUBT) {
        bool others_are_answered = batch_others_are_answered(payment->batch, task->calls.doubted_ms);
        return !calls_doubt(&task->calls, payment->batch->now_ms, others_are_answered);
    }
    return item->call_blame == CALL_NOT_CHARGED;
}

/* The answer to a call that nobody waits for says one thing yet: what the provider calls a refund of ours, should it tell of it. */
static err
take_late(struct payment *payment, struct task *task, const struct item *item)
{
    struct payment_words words;
    enum payment_verdict verdict = judge(payment, item, &words);
    bool is_known = verdict == VERDICT_SUCCEEDED || verdict == VERDICT_PENDING || verdict == VERDICT_FAILED;
    if (task->refund == NULL || !is_known || words.reference.size == 0 || task->refund->refund.reference.size > 0) {
        return ERR_ok;
    }
    learn_reference(payment, task, words.reference);
    return payment_apply_parked(payment, task->charge, item);
}

err
payment_handle_outcome(struct payment *payment, const struct item *item)
{
    struct task task = {.cause = item, .has_row = true};
    struct wire_buffer payload = {0};
    struct payment_words words;
    bool found = false;
    if (!find_task(payment, payment_call_is_refund(item), &item->context_id, &task)) {
        return ERR_ok;
    }
    if (*attempts_of(&task) != item->call_tag / 4 || !is_wanted(&task)) {
        return take_late(payment, &task, item); /* a webhook was faster, or the row behind the call has called again */
    }
    err code = payment_store_find_calls(&payment->store, owner_of(&task), id_of(&task), &payload, &found);
    if (code != ERR_ok) {
        wire_buffer_fini(&payload);
        return code;
    }
    *called_flag(&task) = true;
    calls_init(&task.calls, wire_buffer_slice(&payload));
    enum payment_verdict verdict = judge(payment, item, &words);
    if (is_held(payment, &task, item)) {
        take_held(payment, &task, describe(payment, item));
    } else {
        code = take_verdict(payment, &task, verdict, &words);
    }
    calls_fini(&task.calls);
    wire_buffer_fini(&payload);
    return code;
}
