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
 *   A charge that was cancelled while it may have been taken is asked for as well, and never told again: a success that comes late is
 *   told to the order, which pays it back. After PAYMENT_WATCH_MS only a webhook can still tell.
 *
 * LIMITS
 *   A charge that is paid by hand has no calls. With no provider's address any more, calls about its charges become letters.
 */
#include "payment_task.h"

#include <stdio.h>
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

static const struct money_told none_told = {.amount = MONEY_NOT_TOLD};

static err
call(struct payment *payment, struct payment_task *task, enum payment_step step);

enum payment_provider
payment_provider_of(const struct payment *payment, enum payment_method method)
{
    if (method == PAYMENT_MONEY) {
        return PAYMENT_BY_HAND;
    }
    return payment->settings->payment_url[0] == '\0' ? PAYMENT_SIMULATED : PAYMENT_HTTP;
}

/* --- what is wanted of the provider --- */

static bool
is_cancelled(const struct payment_task *task)
{
    return task->refund == NULL && task->charge->charge.status == PAYMENT_CANCELLED;
}

/* Whether only the provider's number of it is missing: a refund that was told waits for that. */
static bool
lacks_reference(const struct payment_task *task)
{
    return task->refund != NULL && task->refund->refund.status == PAYMENT_SUCCEEDED && task->refund->refund.reference.size == 0 &&
           payment_has_told_refund(task->charge);
}

/* Whether its outcome is still wanted: it is pending, or cancelled and may have been taken, or other money came. */
static bool
is_wanted(const struct payment_task *task)
{
    if (task->refund != NULL) {
        return task->refund->refund.status == PAYMENT_PENDING || lacks_reference(task);
    }
    return task->charge->charge.status == PAYMENT_PENDING || task->charge->charge.status == PAYMENT_CANCELLED ||
           payment_task_is_doubted(task);
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
settle(struct payment *payment, struct payment_task *task, enum payment_verdict verdict, const struct payment_words *words)
{
    payment_task_touch(task);
    if (task->refund != NULL) {
        (void)payment_settle_refund(payment, task->refund, verdict, words, task->cause);
    } else if (payment_settle_charge(payment, task->charge, verdict, words, task->cause) && verdict == VERDICT_SUCCEEDED) {
        expect_later(payment, &task->charge->charge);
    }
    outcall_end(&task->call);
    return payment_apply_parked(payment, task->charge, task->cause);
}

/* A provider that gives no number knows the refund by our key alone. */
static void
learn_reference(struct payment *payment, struct payment_task *task, struct slice reference)
{
    char text[ID_TEXT_SIZE];
    struct payment_refund *refund = &task->refund->refund;
    id_format(&refund->id, text);
    refund->reference = reference.size > 0 ? reference : payment_book_keep(&payment->book, slice_of(text));
    payment_task_touch(task);
}

static void
take_pending(struct payment *payment, struct payment_task *task, const struct payment_words *words)
{
    const struct payment_charge *charge = &task->charge->charge;
    bool is_simulated = charge->provider == PAYMENT_SIMULATED;
    struct retry patience = payment_patience(payment->settings, is_simulated);
    outcall_accepted(&task->call);
    task->call.calls.accepted++;
    if (words->reference.size > 0) {
        *(task->refund != NULL ? &task->refund->refund.reference : &task->charge->charge.reference) = words->reference;
    }
    payment_task_say(task, words->reason);
    if (is_cancelled(task) && payment->batch->now_ms - charge->changed_ms >= PAYMENT_WATCH_MS) {
        log_warn("cancelled_charge_still_pending", LOG_ID("charge", &charge->id),
                 LOG_TEXT("now", "it is not asked for any more; a webhook can still tell"));
        outcall_end(&task->call);
        return;
    }
    int64_t pause_ms = outcall_patience_ms(&patience, task->call.calls.accepted);
    pause_ms = is_simulated ? pause_ms : outcall_spread_ms(pause_ms, randombytes_random());
    outcall_wait(&task->call, CALLS_WAIT_END, payment->batch->now_ms + pause_ms);
}

/* Calls go on after a pause, until there were too many. */
static void
take_unknown(struct payment *payment, struct payment_task *task, struct slice error)
{
    struct retry retry = payment_retry(payment->settings);
    int64_t pause_ms = 0;
    payment_task_say(task, error);
    if (!outcall_failed(&task->call, &retry, error, &pause_ms)) {
        payment_task_bury(payment, task, error, NULL);
        return;
    }
    log_often(LOG_LEVEL_WARN, "payment_call_without_outcome", task->call.owner, LOG_ID(task->call.owner, &task->call.id),
              LOG_I64("attempts", *task->call.attempts), LOG_I64("again_in_ms", pause_ms), LOG_SLICE("error", error));
}

static err
take_verdict(struct payment *payment, struct payment_task *task, enum payment_verdict verdict, const struct payment_words *words)
{
    if (lacks_reference(task) && verdict != VERDICT_UNKNOWN) {
        learn_reference(payment, task, words->reference);
        outcall_end(&task->call);
        return payment_apply_parked(payment, task->charge, task->cause);
    }
    switch (verdict) {
    case VERDICT_SUCCEEDED:
        if (!payment_task_is_right(task, &words->money)) {
            payment_task_take_other_money(payment, task, &words->money);
            return ERR_ok;
        }
        return settle(payment, task, verdict, words);
    case VERDICT_FAILED:
        return settle(payment, task, verdict, words);
    case VERDICT_PENDING:
        take_pending(payment, task, words);
        return payment_apply_parked(payment, task->charge, task->cause);
    case VERDICT_NOT_TAKEN:
        if (payment_task_is_doubted(task)) {
            payment_task_take_other_money(payment, task, &none_told);
            return ERR_ok;
        }
        if (is_cancelled(task)) {
            outcall_end(&task->call);
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
call_simulated(struct payment *payment, struct payment_task *task, enum payment_step step)
{
    const struct payment_charge *charge = &task->charge->charge;
    char reason[96] = "";
    enum payment_verdict verdict = task->refund != NULL ? payment_simulate_refund(charge->amount, step)
                                                        : payment_simulate_charge(charge->amount, step, charge->attempts == 1);
    if (verdict == VERDICT_UNKNOWN) {
        outcall_wait(&task->call, CALLS_WAIT_CALL, payment->batch->now_ms + payment->settings->payment_delay_ms);
        return ERR_ok;
    }
    if (verdict == VERDICT_FAILED) {
        (void)snprintf(reason, sizeof reason, "the simulated provider refuses%s amounts that end in %02d",
                       task->refund != NULL ? " to pay back" : "", (int)(charge->amount % 100));
    }
    struct payment_words words = {.reference = slice_of(""),
                                  .reason = payment_book_keep(&payment->book, slice_of(reason)),
                                  .money.amount = payment_task_amount(task)};
    return take_verdict(payment, task, verdict, &words);
}

/* --- the outside provider --- */

static void
url_of(const struct payment *payment, const struct payment_task *task, enum payment_step step, char url[URL_SIZE])
{
    const char *base = payment->settings->payment_url;
    const char *what = task->refund != NULL ? "refunds" : "charges";
    char id[ID_TEXT_SIZE];
    size_t size = strlen(base);
    while (size > 0 && base[size - 1] == '/') {
        size--;
    }
    id_format(&task->call.id, id);
    if (step == PAYMENT_ASK) {
        (void)snprintf(url, URL_SIZE, "%.*s/%s/%s", (int)size, base, what, id);
    } else {
        (void)snprintf(url, URL_SIZE, "%.*s/%s", (int)size, base, what);
    }
}

/* The number of the call, whether it is about a refund, and whether it asks. */
static int64_t
tag_of(struct payment_task *task, enum payment_step step)
{
    return *task->call.attempts * 4 + (task->refund != NULL ? 2 : 0) + (step == PAYMENT_ASK ? 1 : 0);
}

bool
payment_call_is_refund(const struct item *item)
{
    return (item->call_tag & 2) != 0;
}

static err
call_outside(struct payment *payment, struct payment_task *task, enum payment_step step)
{
    const struct settings *settings = payment->settings;
    char url[URL_SIZE];
    if (settings->payment_url[0] == '\0') {
        take_unknown(payment, task, slice_of("there is no payment_url any more"));
        return ERR_ok;
    }
    url_of(payment, task, step, url);
    outcall_wait(&task->call, CALLS_WAIT_CALL, payment->batch->now_ms + 2 * settings->call_timeout_ms);
    batch_call(payment->batch, &(struct call){
                                   .url = url,
                                   .json = step == PAYMENT_CREATE ? payment_task_message(payment, task) : (struct slice){0},
                                   .timeout_ms = settings->call_timeout_ms,
                                   .context_id = task->call.id,
                                   .tag = tag_of(task, step),
                                   .bearer = settings->payment_token,
                                   .is_once = step == PAYMENT_CREATE,
                                   .expects_missing = step == PAYMENT_ASK,
                               });
    return ERR_ok;
}

static err
call(struct payment *payment, struct payment_task *task, enum payment_step step)
{
    bool is_outside = task->charge->charge.provider != PAYMENT_SIMULATED && payment->settings->payment_url[0] != '\0';
    if (step == PAYMENT_CREATE && task->refund != NULL && payment_has_told_refund(task->charge)) {
        static const struct payment_words yields = {{(const uint8_t *)"", 0}, YIELDED, {0}};
        return settle(payment, task, VERDICT_FAILED, &yields); /* it is not there yet, so the one that was told is another one */
    }
    enum calls_wait wait = step == PAYMENT_CREATE ? CALLS_WAIT_TURN_FIRST : CALLS_WAIT_TURN;
    if (is_outside && !outcall_has_turn(&task->call, task->cause, wait)) {
        return ERR_ok;
    }
    (*task->call.attempts)++;
    payment_task_touch(task);
    return task->charge->charge.provider == PAYMENT_SIMULATED ? call_simulated(payment, task, step)
                                                              : call_outside(payment, task, step);
}

/* --- beginnings --- */

static err
start(struct payment *payment, struct payment_task *task)
{
    static const struct payment_words none = {{(const uint8_t *)"", 0}, {(const uint8_t *)"", 0}, {MONEY_NOT_TOLD, ""}};
    if (payment_task_amount(task) == 0 || (task->refund != NULL && task->charge->charge.provider == PAYMENT_BY_HAND)) {
        return settle(payment, task, VERDICT_SUCCEEDED, &none); /* nothing has to move, or it moves over the counter */
    }
    if (task->charge->charge.provider == PAYMENT_BY_HAND) {
        return ERR_ok;
    }
    err code = call(payment, task, PAYMENT_CREATE);
    outcall_fini(&task->call);
    return code;
}

err
payment_start_charge(struct payment *payment, struct payment_charge_slot *slot, const struct item *cause)
{
    struct payment_task task = payment_task_of(payment, slot, NULL, cause);
    return start(payment, &task);
}

err
payment_start_refund(struct payment *payment, struct payment_refund_slot *slot, const struct item *cause)
{
    struct payment_charge_slot *charge = payment_book_charge(&payment->book, &slot->refund.charge);
    if (charge == NULL) {
        log_error("refund_without_charge", LOG_ID("refund", &slot->refund.id), LOG_ID("charge", &slot->refund.charge));
        return ERR_db_bug;
    }
    struct payment_task task = payment_task_of(payment, charge, slot, cause);
    return start(payment, &task);
}

/* --- due rows and outcomes --- */

/* False: there is no such charge or refund. */
static bool
find_task(struct payment *payment, bool is_refund, const struct id *id, const struct item *cause, struct payment_task *task)
{
    struct payment_refund_slot *refund = is_refund ? payment_book_refund(&payment->book, id) : NULL;
    const struct id *of = refund != NULL ? &refund->refund.charge : id;
    struct payment_charge_slot *charge = is_refund && refund == NULL ? NULL : payment_book_charge(&payment->book, of);
    if (charge != NULL) {
        *task = payment_task_of(payment, charge, refund, cause);
    }
    return charge != NULL;
}

/* A batch that comes late may hold the outcome of a call and, behind it, the due row that stood in for that outcome. */
static bool *
called_flag(struct payment_task *task)
{
    return task->refund != NULL ? &task->refund->is_called : &task->charge->is_called;
}

err
payment_handle_due(struct payment *payment, const struct item *item)
{
    struct payment_task task;
    struct id id;
    if (item->key.size != ID_SIZE) {
        log_error("due_row_is_nonsense", LOG_SLICE("owner", item->owner));
        return ERR_ok;
    }
    memcpy(id.bytes, item->key.data, ID_SIZE);
    if (!find_task(payment, slice_equal(item->owner, slice_of(OWNER_REFUND)), &id, item, &task)) {
        log_error("due_row_of_nothing", LOG_SLICE("owner", item->owner), LOG_ID("id", &id));
        return ERR_ok;
    }
    if (*called_flag(&task)) {
        return ERR_ok;
    }
    err code = ERR_ok;
    outcall_init(&task.call, item->payload);
    bool is_first = task.call.calls.wait == CALLS_WAIT_TURN_FIRST;
    if (!is_wanted(&task) || (is_first && is_cancelled(&task))) {
        outcall_end(&task.call);
    } else if (is_first) {
        code = call(payment, &task, PAYMENT_CREATE);
    } else {
        if (task.call.calls.wait == CALLS_WAIT_CALL) {
            calls_add(&task.call.calls, payment->batch->now_ms, slice_of("there was no answer in time"));
            task.call.calls.failures++;
        }
        code = call(payment, &task, PAYMENT_ASK);
    }
    outcall_fini(&task.call);
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

/* The answer to a call that nobody waits for says one thing yet: what the provider calls a refund of ours, should it tell of it. */
static err
take_late(struct payment *payment, struct payment_task *task, const struct item *item)
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
    struct payment_task task;
    struct payment_words words;
    if (!find_task(payment, payment_call_is_refund(item), &item->context_id, item, &task)) {
        return ERR_ok;
    }
    if (*task.call.attempts != item->call_tag / 4 || !is_wanted(&task)) {
        return take_late(payment, &task, item); /* a webhook was faster, or the row behind the call has called again */
    }
    err code = outcall_load(&task.call);
    if (code != ERR_ok) {
        return code;
    }
    *called_flag(&task) = true;
    task.call.has_row = true;
    enum payment_verdict verdict = judge(payment, item, &words);
    if (outcall_is_held(&task.call, item)) {
        words.reason = describe(payment, item);
        payment_task_say(&task, words.reason);
        log_often(LOG_LEVEL_WARN, "payment_call_waits", task.call.owner, LOG_ID(task.call.owner, &task.call.id),
                  LOG_SLICE("error", words.reason));
    } else {
        code = take_verdict(payment, &task, verdict, &words);
    }
    outcall_fini(&task.call);
    return code;
}
